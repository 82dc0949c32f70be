"""From a study to its arms: crossing, exclusion, readable unique names."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lanework import own_code
from lanework.catalog import CATALOG
from lanework.errors import Problem, SpecError
from lanework.spec.check import got, names_hint
from lanework.spec.compare import CHOICES, NoPartsError, apply_all
from lanework.spec.sections import build_config, plain_config
from lanework.spec.types import (
    AUTO,
    Arm,
    Choice,
    Factor,
    Recipe,
    RunConfig,
    StudySpec,
    known_task,
)

__all__ = ["check_arms", "check_values", "completed", "expand", "resolve"]

MAX_ARMS = 100_000
OWN_ACTIVATION_INIT = "he_normal"
"""What `init: auto` is before an own activation, of which nothing is known."""
LOSS_BY_TASK: Mapping[str, str] = {
    "classification": "cross_entropy",
    "regression": "mse",
}
METRIC_BY_TASK: Mapping[str, str] = {
    "classification": "val_accuracy",
    "regression": "val_rmse",
}
Label = float | int | bool | str | None


def expand(spec: StudySpec) -> tuple[Arm, ...]:
    """All arms of a study, in the order of the file, the last factor changing fastest.

    Args:
        spec: The study.

    Returns:
        The arms; each is to be run once per seed.

    Raises:
        SpecError: A combination is impossible; all problems together.
    """
    arms, problems = check_arms(spec)
    if problems:
        raise SpecError(problems, where=spec.study)
    return arms


def resolve(spec: StudySpec, *, task: str, metric: str | None = None) -> StudySpec:
    """The study with what follows from the task filled in: task, loss and metric of the report.

    Where data sets of different tasks are compared, task and loss stay with each arm.

    Args:
        spec: The study.
        task: ``classification`` or ``regression``, as found in the data.
        metric: What recipes are ranked by where the study does not say; not given: the usual one of the task.
    """
    metric = spec.report.metric or metric or METRIC_BY_TASK[task]
    report = spec.report.model_copy(update={"metric": metric})
    spec = spec.model_copy(update={"report": report})
    tasks = (
        {known_task(arm.config.data) for arm in check_arms(spec)[0]} if _is_data(spec) else set()
    )
    if tasks - {None, task}:
        return spec
    data = spec.data.model_copy(update={"task": task})
    train = spec.train
    if train.loss is None:
        train = train.model_copy(update={"loss": Choice(name=LOSS_BY_TASK[task])})
    return spec.model_copy(update={"data": data, "train": train})


def _is_data(spec: StudySpec) -> bool:
    """Whether something of the data is compared."""
    paths = [factor.path for factor in spec.compare.factors]
    paths += [path for recipe in spec.compare.recipes for path in recipe.settings]
    return any(path.partition(".")[0] == "data" for path in paths)


def check_arms(spec: StudySpec) -> tuple[tuple[Arm, ...], list[Problem]]:
    """All arms and all problems of making them."""
    problems = [*_too_many(spec), *_check_exclude(spec)]
    if problems:
        return (), problems
    base = plain_config(RunConfig(data=spec.data, model=spec.model, train=spec.train))
    cells, problems = _cells(spec)
    memo: dict[str, Any] = {}
    configs = []
    known = set(problems)
    for cell in cells:
        config, found = _config(base, cell, memo=memo)
        fresh = [item for item in found if item not in known]
        problems += fresh
        known.update(fresh)
        configs.append(config)
    if problems:
        return (), problems
    return _name_arms(spec, cells, configs=[item for item in configs if item is not None]), []


def check_values(base: dict[str, Any], factors: Sequence[Factor]) -> list[Problem]:
    """Problems of single factor values, for a file whose other problems forbid combinations.

    Args:
        base: The base configuration in the form of the file, right or wrong.
        factors: The factors.
    """
    problems = []
    for factor in factors:
        for index in range(len(factor.values)):
            cell = _Cell(recipe=None, factors=(factor,), picks=(index,))
            _, found = _config(base, cell, memo={})
            problems += [item for item in found if item.path.startswith("compare.")]
    return problems


@dataclass(frozen=True)
class _Cell:
    """One combination: a recipe, if any, and one value (by position) of each factor."""

    recipe: Recipe | None
    factors: Sequence[Factor]
    picks: Sequence[int]

    def values(self) -> list[tuple[Factor, Any]]:
        """Each factor with its value here."""
        pairs = zip(self.factors, self.picks, strict=True)
        return [(factor, factor.values[pick]) for factor, pick in pairs]

    def places(self) -> dict[str, str]:
        """Full path to the place in the file that set it."""
        recipe = self.recipe
        places = (
            {path: f"compare.recipes.{recipe.name}.{path}" for path in recipe.settings}
            if recipe
            else {}
        )
        for factor, pick in zip(self.factors, self.picks, strict=True):
            places[factor.path] = f"compare.{factor.key}[{pick}]"
        return places


def _cells(spec: StudySpec) -> tuple[list[_Cell], list[Problem]]:
    """The combinations that are not excluded; an exclusion without effect is a problem."""
    recipes: Sequence[Recipe | None] = spec.compare.recipes or (None,)
    ranges = [range(len(factor.values)) for factor in spec.compare.factors]
    cells: list[_Cell] = []
    used: set[int] = set()
    for recipe, picks in itertools.product(recipes, itertools.product(*ranges)):
        cell = _Cell(recipe=recipe, factors=spec.compare.factors, picks=picks)
        hits = [index for index, rule in enumerate(spec.exclude) if _matches(rule, cell)]
        used.update(hits)
        if not hits:
            cells.append(cell)
    problems = []
    for index, rule in enumerate(spec.exclude):
        if index not in used:
            text = f"must match a combination, got {got(rule)}, which matches none. "
            text += "Write the values as `lanework plan` shows them, or remove it."
            problems.append(Problem(f"exclude[{index}]", text))
    if not cells:
        text = "must leave a combination, got rules that exclude all. Remove one."
        problems.append(Problem("exclude", text))
    return cells, problems


def _matches(rule: Mapping[str, Any], cell: _Cell) -> bool:
    known: dict[str, Any] = {"recipe": cell.recipe.name if cell.recipe else None}
    for factor, value in cell.values():
        known[factor.key] = known[factor.path] = value
    return all(_is_among(known[key], wanted) for key, wanted in rule.items())


def _is_among(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, list | tuple) and not (isinstance(value, list) and value == list(wanted)):
        return any(_is_among(value, item) for item in wanted)
    name = value.get("name", value.get("net")) if isinstance(value, Mapping) else value
    if isinstance(wanted, Mapping) and isinstance(value, Mapping):
        return all(key in value and value[key] == item for key, item in wanted.items())
    if isinstance(name, bool) or isinstance(wanted, bool):
        return name is wanted
    return bool(name == wanted)


def _check_exclude(spec: StudySpec) -> list[Problem]:
    known = [name for factor in spec.compare.factors for name in (factor.key, factor.path)]
    if spec.compare.recipes:
        known.append("recipe")
    problems = []
    for index, rule in enumerate(spec.exclude):
        where = f"exclude[{index}]"
        if not rule:
            problems.append(Problem(where, "must name a factor, got nothing. Remove it."))
        for key in rule:
            if key not in known:
                text = f"must be a factor of compare, got {key!r}. {names_hint(key, known)}"
                problems.append(Problem(f"{where}.{key}", text))
    return problems


def _too_many(spec: StudySpec) -> list[Problem]:
    count = max(len(spec.compare.recipes), 1)
    for factor in spec.compare.factors:
        count *= len(factor.values)
    if count <= MAX_ARMS:
        return []
    text = f"must make at most {MAX_ARMS} combinations, got {count}. Use fewer values per factor."
    return [Problem("compare", text)]


def _config(
    base: dict[str, Any], cell: _Cell, *, memo: dict[str, Any]
) -> tuple[RunConfig | None, list[Problem]]:
    places = cell.places()
    settings = list(cell.recipe.settings.items()) if cell.recipe else []
    try:
        plain = apply_all(base, settings)
        plain = apply_all(plain, [(factor.path, value) for factor, value in cell.values()])
    except NoPartsError as error:
        return None, [_no_parts(str(error), places)]
    config, problems = build_config(plain, memo=memo)
    if config is None:
        return None, [_relocate(problem, places) for problem in problems]
    return completed(config), []


def completed(config: RunConfig) -> RunConfig:
    """What follows from other choices: the loss, the initial weights, which weights are kept."""
    train, model = config.train, config.model
    task = known_task(config.data)
    changes: dict[str, Any] = {}
    if train.loss is None and task is not None:
        changes["loss"] = Choice(name=LOSS_BY_TASK[task])
    if train.keep is None:
        changes["keep"] = "last" if train.early_stopping is None else "best"
    if changes:
        train = train.model_copy(update=changes)
    if model.options.get("init") == "auto" and not model.is_own:
        # Gated cells have no choice of activation: they squash by tanh.
        activation = model.options.get("activation", "tanh")
        name = activation["name"] if isinstance(activation, Mapping) else activation
        row = CATALOG["activation"].get(name)
        init = row.facts["init"] if row else OWN_ACTIVATION_INIT
        model = model.model_copy(update={"options": {**model.options, "init": init}})
    return config.model_copy(update={"train": train, "model": model})


def _no_parts(path: str, places: Mapping[str, str]) -> Problem:
    inner = next((place for full, place in places.items() if full.startswith(f"{path}.")), path)
    text = f"must be a key that exists, got a part of {path}, which has no parts. Use {path}."
    return Problem(inner, text)


def _relocate(problem: Problem, places: Mapping[str, str]) -> Problem:
    """The problem at the place in `compare` that caused it."""
    fitting = [path for path in places if f"{problem.path}.".startswith(f"{path}.")]
    if fitting:
        path = max(fitting, key=len)
        return Problem(places[path] + problem.path.removeprefix(path), problem.message)
    parts = [path for path in places if path.startswith(f"{problem.path}.")]
    if parts:
        return Problem(places[parts[0]], problem.message)
    section = problem.path.partition(".")[0]
    related = [place for path, place in places.items() if path.partition(".")[0] == section]
    if related:
        return Problem(problem.path, f"{problem.message} (Met in combination with {related[0]}.)")
    return problem


def _name_arms(
    spec: StudySpec, cells: Sequence[_Cell], *, configs: Sequence[RunConfig]
) -> tuple[Arm, ...]:
    labels = [_labels(factor) for factor in spec.compare.factors]
    arms: list[Arm] = []
    seen: dict[str, int] = {}
    for index, (cell, config) in enumerate(zip(cells, configs, strict=True)):
        factors: dict[str, Label] = {}
        words = []
        if cell.recipe is not None:
            factors["recipe"] = cell.recipe.name
            words.append(cell.recipe.name)
        for factor, pick, label in zip(cell.factors, cell.picks, labels, strict=True):
            value = factor.values[pick]
            is_long = isinstance(value, Mapping | list) or own_code.is_own(value)
            factors[factor.key] = label[pick] if is_long else value
            words.append(_word(factor, label[pick]))
        name = ", ".join(words) or _only_name(config)
        seen[name] = seen.get(name, 0) + 1
        unique = name if seen[name] == 1 else f"{name} ({seen[name]})"
        arms.append(Arm(index=index, name=unique, factors=factors, config=config))
    return tuple(arms)


def _word(factor: Factor, label: str) -> str:
    if factor.path in CHOICES or factor.path in ("model.net", "model", "train", "data"):
        return label
    return f"{factor.key}={label}"


def _only_name(config: RunConfig) -> str:
    rate = _label(config.train.learning_rate, digits=3)
    return f"{config.train.optimizer.name}, learning_rate={rate}"


def _labels(factor: Factor) -> list[str]:
    """Short texts of a factor's values, different from each other."""
    for digits in (3, 6, 17):
        labels = [_label(value, digits=digits) for value in factor.values]
        if len(set(labels)) == len(labels):
            return labels
    return [f"{label}#{index}" for index, label in enumerate(labels)]


def _label(value: Any, *, digits: int) -> str:
    if isinstance(value, Mapping):
        return _mapping_label(value, digits=digits)
    if isinstance(value, list | tuple):
        sign = "+" if any(isinstance(item, Mapping) for item in value) else "-"
        return sign.join(_label(item, digits=digits) for item in value) or "none"
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value.replace("\\", "/").rpartition("/")[2] or value
    return "none" if value is None else str(value)


def _mapping_label(value: Mapping[str, Any], *, digits: int) -> str:
    name = value.get("name", value.get("net", ""))
    defaults = _defaults(name)
    parts = [
        f"{key}={_label(item, digits=digits)}"
        for key, item in value.items()
        if key not in ("name", "net") and _plain(defaults.get(key, ...)) != item
    ]
    inside = ", ".join(parts)
    if not name:
        return inside or "base"
    short = _label(name, digits=digits)
    return f"{short}({inside})" if inside else short


def _defaults(name: Any) -> Mapping[str, Any]:
    rows: Iterable[Mapping[str, Any]] = CATALOG.values()
    for row in rows:
        if name in row:
            defaults: Mapping[str, Any] = row[name].defaults()
            return defaults
    return {}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def may_have_auto(spec: StudySpec) -> bool:
    """Whether the word stands anywhere in the recipes; expanding a study for nothing would cost time."""
    values = [list(one.settings.values()) for one in spec.compare.recipes]
    values += [list(one.values) for one in spec.compare.factors]
    return AUTO in (spec.train.learning_rate, *_texts(values))


def _texts(value: Any) -> Iterator[str]:
    """Every text inside of plain values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
