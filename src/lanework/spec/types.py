"""The frozen models that a study is made of. Imports pydantic, the catalogue and errors only.

The models check themselves (strictly: an unknown key or a number in quotes is a problem) and fill
in every default, so that what is stored is what is run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from lanework.catalog import CATALOG, Entry
from lanework.catalog.preparation import chosen_steps, order_problem
from lanework.errors import Problem
from lanework.spec.check import (
    check_arguments,
    check_choice,
    check_options,
    check_value,
    got,
    is_number,
    join,
    names_hint,
    simplify,
)

__all__ = [
    "Arm",
    "Choice",
    "Compare",
    "DataSpec",
    "EarlyStopping",
    "Factor",
    "GroupSpec",
    "Heal",
    "ModelSpec",
    "Recipe",
    "ReportSpec",
    "RunConfig",
    "SplitSpec",
    "StudySpec",
    "TrainSpec",
    "known_task",
]

OBJECT = "<object>"
AUTO = "auto"
PARTS = ("train", "val", "test")
CHOICES = ("optimizer", "schedule", "loss", "average", "sampling", "watch")
"""Keys of ``train`` that choose from the catalogue kind of the same name."""
OPTIONAL_CHOICES = ("loss", "average")
SCHEDULABLE = ("momentum", "b1", "b2", "weight_decay", "l1", "l2", "label_smoothing", "dropout")
"""What ``train.schedules`` can vary over training, besides the learning rate."""
MOST = 1_000_000


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        populate_by_name=True,
    )


def _refuse(problems: list[Problem]) -> PydanticCustomError:
    """A pydantic error that carries problems, with paths relative to where it is raised."""
    text = "; ".join(str(problem) for problem in problems)
    return PydanticCustomError("lanework", "{text}", {"text": text, "problems": problems})


def _refuse_text(message: str) -> PydanticCustomError:
    return _refuse([Problem("", message)])


class Choice(_Frozen):
    """A name of the catalogue with every option filled in.

    Attributes:
        name: The name of the catalogue row.
        options: Every option with its value (the learning rate of an update rule is not among
            them: it is ``TrainSpec.learning_rate``).
    """

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


def _to_choice(kind: str, value: Any) -> Any:
    if value is None and kind in OPTIONAL_CHOICES:
        return None
    if isinstance(value, Choice):
        value = {"name": value.name, **value.options}
    name, options, problems = check_choice(kind, value, "")
    if problems:
        raise _refuse(problems)
    options.pop("learning_rate", None)
    return Choice(name=name, options=options)


def _to_augment(value: Any) -> Any:
    """A list of augmentations, each once; all problems of them together."""
    if value is None:
        return ()
    items = value if isinstance(value, list | tuple) else (value,)
    chosen: list[Choice] = []
    problems: list[Problem] = []
    for place, item in enumerate(items):
        where = f"[{place}]" if isinstance(value, list | tuple) else ""
        plain = {"name": item.name, **item.options} if isinstance(item, Choice) else item
        name, options, found = check_choice("augmentation", plain, where)
        if name and name in [choice.name for choice in chosen]:
            text = f"must be listed once, got {got(name)} again. Remove one of them."
            found = [*found, Problem(where, text)]
        problems += found
        chosen.append(Choice(name=name, options=options))
    if problems:
        raise _refuse(problems)
    return tuple(chosen)


def _to_name(kind: str, value: Any) -> Any:
    name, _, problems = check_choice(kind, value, "")
    if problems:
        raise _refuse(problems)
    return name


def _to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _to_text(value: Any) -> Any:
    """A column given by number is the column of that name."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class SplitSpec(_Frozen):
    """How the samples are shared out; parts that are not given share what is left evenly.

    With a test file of its own, ``test`` is not used and ``train`` and ``val`` keep their ratio.
    With ``folds``, ``test`` (0 unless given) is held out first, and ``train`` and ``val`` follow.
    """

    train: float = Field(default=0.7, gt=0, le=1, description="share of the samples to learn from")
    val: float = Field(default=0.15, gt=0, lt=1, description="share to choose by and to stop by")
    test: float = Field(default=0.15, ge=0, lt=1, description="share used once, at the end")
    stratify: bool = Field(default=True, description="same class shares in all parts")
    seed: int = Field(default=0, ge=0, lt=2**32, description="seed of the split")
    group: Annotated[str | None, BeforeValidator(_to_text)] = Field(
        default=None,
        examples=["patient"],
        min_length=1,
        description="column whose equal values never lie in two parts",
    )
    time: Annotated[str | bool, BeforeValidator(_to_text)] = Field(
        default=False,
        examples=["date"],
        description="column by which earlier rows are learned from and later ones tested; true: order of the rows",
    )
    gap: int = Field(default=0, ge=0, le=MOST, description="by time: rows left out between parts")
    folds: int | None = Field(
        default=None,
        ge=2,
        le=1000,
        examples=[5],
        description="cross-validation: one run per fold, each validated on its own part",
    )
    repeats: int = Field(default=1, ge=1, le=1000, description="times the folds are dealt anew")

    @model_validator(mode="before")
    @classmethod
    def _share_rest(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        if isinstance(value.get("folds"), int) and value["folds"] > 1:
            return _folded(value)
        given = {part: value[part] for part in PARTS if part in value}
        absent = [part for part in PARTS if part not in given]
        numbers = [item for item in given.values() if is_number(item)]
        if not given or not absent or len(numbers) < len(given):
            return value
        rest = round((1 - sum(numbers)) / len(absent), 12)
        return {**value, **dict.fromkeys(absent, rest)} if rest > 0 else value

    @model_validator(mode="after")
    def _sum_to_one(self) -> SplitSpec:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            text = f"must have train, val and test that add up to 1, got {total:.6g}. Give two of "
            text += "them, the last one takes what is left; compare whole splits, for example "
            raise _refuse_text(text + "split: [{train: 0.5, val: 0.25}, {train: 0.7, val: 0.15}].")
        problems = _split_problems(self)
        if problems:
            raise _refuse(problems)
        return self


def _folded(value: Mapping[str, Any]) -> dict[str, Any]:
    """A split with folds, its shares worked out: each fold is validated on its part of what is not test."""
    test = value.get("test", 0.0)
    if not is_number(test) or not 0 <= test < 1:
        return dict(value)
    val = round((1 - test) / value["folds"], 12)
    shares = {"train": round(1 - test - val, 12), "val": val}
    problems = []
    for part, share in shares.items():
        given = value.get(part, share)
        if not is_number(given) or abs(given - share) > 1e-9:
            text = f"must be left out with folds, got {got(given)}: with {value['folds']} folds each run learns "
            text += (
                f"from {shares['train']:.3g} and is validated on {val:.3g} of the rows. Remove it; "
            )
            text += "compare whole splits."
            problems.append(Problem(part, text))
    if problems:
        raise _refuse(problems)
    return {**value, "test": float(test), **shares}


def _split_problems(split: SplitSpec) -> list[Problem]:
    """Keys of a split that contradict each other."""
    problems = []
    is_timed = split.time is not False
    if split.repeats > 1 and split.folds is None:
        text = f"must come with folds, got {split.repeats} alone. Add folds: 5, or remove it."
        problems.append(Problem("repeats", text))
    if is_timed and split.folds is not None:
        text = f"must be left out with time, got {split.folds}: most folds would learn from later rows and be "
        text += "validated on earlier ones. Remove folds (train, val and test follow each other), or time."
        problems.append(Problem("folds", text))
    if is_timed and split.group is not None:
        text = f"must be left out with time, got {split.group!r}: a point in time cuts through groups. "
        problems.append(Problem("group", text + "Remove group or time."))
    if split.time == "":
        problems.append(
            Problem("time", "must name a column, got nothing. Use true for the order of the rows.")
        )
    if split.gap and not is_timed:
        text = f"must come with time, got {split.gap} alone. Add time: true, or remove it."
        problems.append(Problem("gap", text))
    return problems


def _to_steps(value: Any) -> Any:
    """Steps of preparation as short as they can be said: a name, a mapping with options, or a list of those."""
    items = value if isinstance(value, list | tuple) else (value,)
    steps, problems = [], []
    for place, item in enumerate(items):
        where = f"[{place}]" if isinstance(value, list | tuple) else ""
        name, options, found = check_choice("preparation", item, where)
        problems += found
        if not found:
            steps.append(simplify("preparation", name, options))
    if not items:
        problems.append(Problem("", "must name a step, got an empty list. Use none."))
    if not problems and (text := order_problem(chosen_steps(steps))):
        problems.append(Problem("", text))
    if problems:
        raise _refuse(problems)
    return steps[0] if len(steps) == 1 else tuple(steps)


def _to_rare(value: Any) -> Any:
    """A share of the rows below 1, else a number of rows."""
    if value is None:
        return None
    if is_number(value) and (0 < value < 1 or (value >= 1 and float(value).is_integer())):
        return value if value < 1 else int(value)
    text = f"must be a share of the rows > 0 and < 1, or a whole number of rows >= 1, got {got(value)}. "
    raise _refuse_text(text + "Use for example 0.01 or 20.")


def _to_dates(value: Any) -> Any:
    """Parts of a date, as a list of names."""
    items = value if isinstance(value, list | tuple) else [value]
    problems = []
    for place, item in enumerate(items):
        if not isinstance(item, str) or item not in CATALOG["date_part"]:
            hint = names_hint(item, CATALOG["date_part"])
            text = f"must be the name of a date_part, got {got(item)}. {hint}"
            problems.append(Problem(f"[{place}]" if value is items else "", text))
    if not items:
        problems.append(
            Problem("", "must name a part, got an empty list. Use days, or ignore the column.")
        )
    if problems:
        raise _refuse(problems)
    return tuple(dict.fromkeys(items))


COLUMN_KINDS = ("numeric", "category", "date", "ignore", "text", "words")


def _to_kind(value: Any) -> Any:
    if value in COLUMN_KINDS:
        return value
    words = f"{', '.join(COLUMN_KINDS[:-1])} or {COLUMN_KINDS[-1]}"
    raise _refuse_text(f"must be {words}, got {got(value)}. {names_hint(value, COLUMN_KINDS)}")


_COLUMN_KEYS: Mapping[str, Callable[[Any], Any]] = {
    "kind": _to_kind,
    "prepare": _to_steps,
    "categories": partial(_to_name, "encoding"),
    "rare": _to_rare,
    "dates": _to_dates,
}
"""What can be said of one column, and how it is read."""


def _to_columns(value: Any) -> Any:
    """Column name to its kind, or to a mapping of what holds for this column."""
    if not isinstance(value, Mapping):
        return value
    found, problems = {}, []
    for key, item in value.items():
        name = _to_text(key)
        found[name], wrong = _to_column(item)
        problems += [Problem(_below(str(name), one.path), one.message) for one in wrong]
    if problems:
        raise _refuse(problems)
    return found


def _below(path: str, inner: str) -> str:
    return path + inner if not inner or inner.startswith("[") else join(path, inner)


def _to_column(item: Any) -> tuple[Any, list[Problem]]:
    given = item if isinstance(item, Mapping) else {"kind": item}
    made, problems = {}, []
    for key, value in given.items():
        if key not in _COLUMN_KEYS:
            text = f"must be a known key, got {key!r}. {names_hint(key, _COLUMN_KEYS)}"
            problems.append(Problem(str(key), text))
            continue
        try:
            made[key] = _COLUMN_KEYS[key](value)
        except PydanticCustomError as error:
            nested: list[Problem] = (error.context or {})["problems"]
            at = key if isinstance(item, Mapping) else ""
            problems += [Problem(_below(at, one.path), one.message) for one in nested]
    if not given:
        problems.append(
            Problem("", f"must say something, got nothing. Use {', '.join(COLUMN_KINDS)}.")
        )
    return (made["kind"] if list(made) == ["kind"] else made), problems


def _check_source(value: Any) -> Any:
    if not isinstance(value, str) or value in CATALOG["source"] or value.startswith("<"):
        return value
    if "/" in value or "\\" in value or "." in value:
        return value
    hint = names_hint(value, CATALOG["source"])
    raise _refuse_text(
        f"must be the name of a data set or the path of a file, got {got(value)}. {hint} "
        "A file is looked for beside the study file."
    )


def _to_horizon(value: Any) -> Any:
    """Steps ahead: one number, or several."""
    items = value if isinstance(value, list | tuple) else (value,)
    is_whole = all(isinstance(item, int) and not isinstance(item, bool) for item in items)
    if not items or not is_whole or min(items) < 1 or len(set(items)) < len(items):
        text = f"must be a whole number >= 1 or a list of different ones, got {got(value)}. "
        raise _refuse_text(text + "Use for example 1, or [1, 7].")
    return tuple(items) if isinstance(value, list | tuple) else value


class DataSpec(_Frozen):
    """Which data, and how it is prepared."""

    source: Annotated[str, BeforeValidator(_check_source)] = Field(
        description="name of a built-in data set, or path of a file relative to the study file"
    )
    target: Annotated[str | None, BeforeValidator(_to_text)] = Field(
        default=None, examples=["price"], min_length=1, description="column to predict"
    )
    task: Literal["auto", "classification", "regression"] = Field(
        default="auto", description="auto: decided from the target, and said in the report"
    )
    split: SplitSpec = Field(default=SplitSpec(), description="how the samples are shared out")
    test_source: str | None = Field(
        default=None,
        examples=["test.csv"],
        min_length=1,
        validation_alias="test",
        serialization_alias="test",
        description="file with the test part, of the same form as the source",
    )
    columns: Annotated[dict[str, Any], BeforeValidator(_to_columns)] = Field(
        default={},
        description="column name to numeric, category, date or ignore (text or words for sequences), or to a mapping "
        "of what holds for it alone: kind, prepare, categories, rare, dates",
    )
    prepare: Annotated[Any, BeforeValidator(_to_steps)] = Field(
        default="standard",
        description="what is done to numbers, one step or a list; learned on the training part only",
    )
    prepare_held_out: Literal["same", "none"] = Field(
        default="same",
        description="numbers of the validation and test part: same, prepared as in training; none, as they are, which shows "
        "a mistake",
    )
    categories: Annotated[str, BeforeValidator(partial(_to_name, "encoding"))] = Field(
        default="onehot", description="how categories enter"
    )
    rare: Annotated[float | int | None, BeforeValidator(_to_rare)] = Field(
        default=None,
        examples=[0.01],
        description="levels below that share (or number) of the training rows are merged; not given: none",
    )
    dates: Annotated[tuple[str, ...], BeforeValidator(_to_dates)] = Field(
        default=("days",),
        description="what of a date enters: days, year, month, day, weekday, hour",
    )
    missing: Annotated[tuple[str, ...], BeforeValidator(_to_tuple)] = Field(
        default=(), description="further markers of a missing value, besides the usual ones"
    )
    delimiter: str | None = Field(
        default=None,
        examples=[","],
        min_length=1,
        max_length=1,
        description="between columns; not given: guessed",
    )
    header: bool | None = Field(
        default=None, examples=[True], description="first line holds names; not given: guessed"
    )
    image_size: int | None = Field(
        default=None,
        ge=2,
        le=4096,
        examples=[64],
        description="images in files: shorter side resized to that, then cut to the middle; not given: as they are",
    )
    limit_rows: int | None = Field(
        default=None, ge=2, examples=[1000], description="use only that many rows"
    )
    scale_target: bool = Field(
        default=True, description="regression: train on a target of mean 0 and variance 1"
    )
    sample_weights: Annotated[str | None, BeforeValidator(_to_text)] = Field(
        default=None,
        examples=["weight"],
        min_length=1,
        description="column that holds how much each row weighs in the training loss; it is no input. Scaled to mean 1 over "
        "the training part; metrics count every row once",
    )
    log_target: bool = Field(
        default=False, description="regression: train on log(1 + target); metrics stay in its unit"
    )
    label_noise: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the training targets that are wrong: another class, or the number of another row; drawn by the "
        "seed of the split, to show what wrong labels do",
    )
    stream: bool | None = Field(
        default=None,
        examples=[True],
        description="training rows come from disk batch by batch; not given: where they need too much memory",
    )
    options: dict[str, Any] = Field(
        default={}, examples=[{"length": 50}], description="options of a generated source"
    )
    context: int | None = Field(
        default=None,
        ge=2,
        le=MOST,
        examples=[128],
        description="running text: characters in a sample; not given: 128 for a text file",
    )
    stride: int | None = Field(
        default=None,
        ge=1,
        le=MOST,
        examples=[64],
        description="steps between the starts of training samples cut from a text or series; not given: context, or 1",
    )
    window: int | None = Field(
        default=None, ge=1, le=MOST, examples=[30], description="time series: past rows that enter"
    )
    horizon: Annotated[int | tuple[int, ...], BeforeValidator(_to_horizon)] = Field(
        default=1, description="time series: rows ahead of the last known one; several: a list"
    )
    order: Annotated[str | None, BeforeValidator(_to_text)] = Field(
        default=None,
        examples=["Date"],
        min_length=1,
        description="time series: column that says what came first; not given: the column of dates",
    )
    max_length: int | None = Field(
        default=None,
        ge=1,
        le=MOST,
        examples=[200],
        description="sequences: steps that are kept; not given: the longest in training, at most 1000",
    )
    sequences: Literal["numbers", "codes", "text", "words"] | None = Field(
        default=None, description="arrays: read samples as sequences of that kind"
    )

    @property
    def kinds(self) -> dict[str, str]:
        """The kinds to read columns by: those that were given, but for what decides the split, which is read anyway."""
        found = {}
        for name, item in self.columns.items():
            kind = item.get("kind") if isinstance(item, Mapping) else item
            if kind is not None and not (kind == "ignore" and name == self.split.time):
                found[name] = kind
        group = self.split.group
        if group is not None and found.get(group) not in ("text", "words"):
            found[group] = "category"
        return found

    def of_column(self, name: str, key: str) -> Any:
        """What holds for one column: ``prepare``, ``categories``, ``rare`` or ``dates``."""
        item = self.columns.get(name)
        if isinstance(item, Mapping) and key in item:
            return item[key]
        return getattr(self, key)

    @model_validator(mode="after")
    def _fit_together(self) -> DataSpec:
        problems = _series_problems(self)
        row = CATALOG["source"].get(self.source)
        if row is None and self.options:
            text = f"must be left out for a file, got {got(self.options)}. Remove it."
            problems.append(Problem("options", text))
        elif row is not None:
            options, found = check_options(row, self.options, "options")
            problems += found
            self.options.update(options if not found else {})
        if problems:
            raise _refuse(problems)
        return self


def _series_problems(data: DataSpec) -> list[Problem]:
    """Problems of keys for text, sequences and series with each other."""
    problems = []
    if data.window is None:
        for key in ("order", "horizon"):
            if key in data.model_fields_set and getattr(data, key) not in (None, 1):
                text = (
                    f"must come with window (a time series), got {got(getattr(data, key))} alone. "
                )
                problems.append(Problem(key, text + "Add window: 30, or remove it."))
    elif data.context is not None:
        text = f"must be left out with window, got {data.context}: context is for running text, "
        problems.append(Problem("context", text + "window for a time series. Keep one of them."))
    elif data.task == "classification":
        text = "must be regression for a time series, got classification. Leave it out."
        problems.append(Problem("task", text))
    if data.context is not None and data.target is not None:
        text = (
            f"must be left out with context, got {got(data.target)}: the target of a running text "
        )
        problems.append(Problem("target", text + "is its next character. Remove one of them."))
    if data.context is not None and data.task == "regression":
        text = "must be classification for running text, got regression. Leave it out."
        problems.append(Problem("task", text))
    return problems


class ModelSpec(_Frozen):
    """The network: a catalogue name with every option, or an own module with its arguments.

    In a study file the options stand beside ``net``. ``net`` is a catalogue name,
    ``"file.py:Class"``, or ``"<object>"`` for a class given from Python.
    """

    net: str = Field(default="mlp", description="name of a network, or file.py:Class")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the network")
    weights: str | None = Field(
        default=None,
        examples=["resnet18.safetensors"],
        min_length=1,
        description="start from the weights of a safetensors file (our own, or a ResNet under the names of "
        "torchvision or timm) or of an earlier study's folder; not given: from fresh ones",
    )
    head: Literal["new", "keep"] = Field(
        default="new", description="with weights: draw the output layer afresh, or take it too"
    )

    @property
    def is_own(self) -> bool:
        """Whether the network is the user's own module."""
        return is_own_net(self.net)

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or not isinstance(value.get("options", {}), Mapping):
            return value
        net = value.get("net", "mlp")
        options, problems = check_net(net, value.get("options", {}))
        if problems:
            raise _refuse(problems)
        return {**value, "net": net, "options": options}


def is_own_net(net: object) -> bool:
    """Whether ``net`` names the user's own module and not a row of the catalogue."""
    return isinstance(net, str) and (net.startswith("<") or ":" in net)


def check_net(net: Any, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """The options of a network with every default, and the problems (paths relative to model)."""
    if is_own_net(net):
        return check_arguments(given, "")
    name, options, problems = check_choice("net", net, "net")
    if not name or not isinstance(net, str):
        text = problems[0].message if problems else f"must be a name, got {got(net)}. Use mlp."
        hint = " An own module is written file.py:Class."
        return {}, [Problem("net", text + hint)]
    options, problems = check_options(CATALOG["net"][name], given, "")
    return options, problems


class EarlyStopping(_Frozen):
    """Stop a run that has not got better for some evaluations."""

    patience: int = Field(
        default=5, ge=1, le=MOST, description="evaluations without progress before stopping"
    )
    min_delta: float = Field(
        default=0.0, ge=0, description="what counts as progress, in the metric's unit"
    )
    metric: str | None = Field(default=None, description="not given: the metric of the report")


class Heal(_Frozen):
    """What happens when a run's loss stops being finite."""

    retries: int = Field(
        default=2, ge=0, le=1000, description="returns to the last good snapshot; 0: none"
    )
    factor: float = Field(
        default=0.5, gt=0, lt=1, description="learning rate times this at each return"
    )


def _to_stopping(value: Any) -> Any:
    if value is False:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return {"patience": value}
    return value


def _to_schedules(value: Any) -> Any:
    """Schedules by the name of what they vary; all problems of them together."""
    if not isinstance(value, Mapping):
        raise _refuse_text(
            f"must be a mapping from a hyperparameter to a schedule, got {got(value)}. "
            "Write for example {momentum: {name: ramp, from_value: 0.5, epochs: 5}}."
        )
    chosen, problems = {}, []
    for key, item in value.items():
        if key not in SCHEDULABLE:
            text = f"must be something a schedule can vary, got {got(key)}. "
            problems.append(Problem(str(key), text + names_hint(key, SCHEDULABLE)))
            continue
        plain = {"name": item.name, **item.options} if isinstance(item, Choice) else item
        name, options, found = check_choice("schedule", plain, str(key))
        problems += found
        chosen[key] = Choice(name=name, options=options)
    if problems:
        raise _refuse(problems)
    return chosen


def _to_own_rule(value: Any) -> Any:
    return None if value is None else _to_choice("optimizer", value)


class GroupSpec(_Frozen):
    """Parameters that are trained in a way of their own, found by their path."""

    match: str = Field(
        min_length=1,
        description="pattern over paths of parameters, for example dense_0/* or */bias",
    )
    optimizer: Annotated[Choice | None, BeforeValidator(_to_own_rule)] = Field(
        default=None, description="update rule of the group; not given: that of all"
    )
    rate: float = Field(default=1.0, gt=0, description="factor on the learning rate")
    frozen: bool = Field(default=False, description="do not train these parameters at all")


class Unfreeze(_Frozen):
    """Frozen layers that join the training one after the other, the topmost first."""

    every: float = Field(
        default=1.0, gt=0, le=MOST, description="epochs from one group of layers to the next"
    )


def _to_patterns(value: Any) -> Any:
    """A pattern or several; those with ! in front take out of what those before them fit."""
    if isinstance(value, str):
        value = (value,)
    if isinstance(value, list):
        value = tuple(value)
    if not isinstance(value, tuple) or any(
        not isinstance(item, str) or not item.lstrip("!") for item in value
    ):
        text = f"must be patterns over paths of parameters, got {got(value)}. "
        raise _refuse_text(text + 'Use for example ["stem*", "stage1*"] or ["*", "!output/*"].')
    return value


def _to_groups(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_rate(value: Any) -> Any:
    if value == AUTO:
        return value
    hyper = CATALOG["optimizer"]["sgd"].hyper("learning_rate")
    checked, problems = check_value(hyper, value, "")
    if problems:
        raise _refuse_text(
            problems[0].message.removesuffix("Use for example 0.01.")
            + "Use for example 0.001, or auto."
        )
    return checked


def _check_batch(value: Any) -> Any:
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise _refuse_text(f"must be a whole number >= 1 or all, got {got(value)}. Use for example 64.")


def _rule_row(rule: Any) -> Entry | None:
    name = rule.name if isinstance(rule, Choice) else rule
    name = name.get("name") if isinstance(name, Mapping) else name
    return CATALOG["optimizer"].get(name) if isinstance(name, str) else None


def wants_whole_batch(rule: Any) -> bool:
    """Whether an update rule (name, mapping or choice) is only defined for the whole training part at once."""
    row = _rule_row(rule)
    return row is not None and row.facts.get("batch") == "all"


def _to_class_weights(value: Any) -> Any:
    """Weights by the name of the class as text; anything wrong with them together."""
    if value is None or value == "balanced":
        return value
    if not isinstance(value, Mapping) or not value:
        raise _refuse_text(
            f"must be balanced or a mapping from classes to weights, got {got(value)}. "
            "Write for example {yes: 5}."
        )
    weights, problems = {}, []
    for name, weight in value.items():
        key = str(name).lower() if isinstance(name, bool) else str(name)
        if not is_number(weight) or weight <= 0:
            text = f"must be a number > 0, got {got(weight)}. Use for example 5."
            problems.append(Problem(key, text))
            continue
        weights[key] = float(weight)
    if problems:
        raise _refuse(problems)
    return weights


class TrainSpec(_Frozen):
    """The recipe: everything about how a run is trained."""

    epochs: int = Field(default=20, ge=1, le=MOST, description="passes over the training part")
    batch_size: Annotated[int | str, BeforeValidator(_check_batch)] = Field(
        default=64, description="samples per step; all: the whole training part"
    )
    sampling: Annotated[Choice, BeforeValidator(partial(_to_choice, "sampling"))] = Field(
        default_factory=lambda: _to_choice("sampling", "shuffled"),
        description="how the samples of a batch are drawn",
    )
    augment: Annotated[tuple[Choice, ...], BeforeValidator(_to_augment)] = Field(
        default=(), description="random changes of training samples, new in each epoch; a list"
    )
    loss: Annotated[Choice | None, BeforeValidator(partial(_to_choice, "loss"))] = Field(
        default=None, description="not given: cross_entropy for classes, mse for numbers"
    )
    reduction: Literal["mean", "sum"] = Field(
        default="mean",
        description="what of the losses of a batch is made small: mean; sum, which grows with the batch and shows a mistake "
        "(losses are recorded as means all the same)",
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="share of a label that is spread over all classes"
    )
    class_weights: Annotated[
        Literal["balanced"] | dict[str, float] | None, BeforeValidator(_to_class_weights)
    ] = Field(
        default=None,
        description="weight of each class in the training loss: balanced (n / (classes n_class)), or class to number, the "
        "others 1; scaled so that samples weigh 1 on average. Metrics count every sample once",
    )
    optimizer: Annotated[Choice, BeforeValidator(partial(_to_choice, "optimizer"))] = Field(
        default_factory=lambda: _to_choice("optimizer", "adam"),
        description="update rule",
    )
    learning_rate: Annotated[float | str, BeforeValidator(_check_rate)] = Field(
        default=0.001, description="not given: the update rule's default; auto: searched for first"
    )
    schedule: Annotated[Choice, BeforeValidator(partial(_to_choice, "schedule"))] = Field(
        default_factory=lambda: _to_choice("schedule", "constant"),
        description="how the learning rate changes over training",
    )
    schedules: Annotated[dict[str, Choice], BeforeValidator(_to_schedules)] = Field(
        default={}, description="how other hyperparameters change: momentum, dropout, ..."
    )
    clip_norm: float | None = Field(
        default=None,
        examples=[1.0],
        gt=0,
        description="scale the gradient down to this global norm; not given: off",
    )
    clip_value: float | None = Field(
        default=None,
        examples=[0.5],
        gt=0,
        description="cut each entry of the gradient to +- this; not given: off",
    )
    clip_layer_norm: float | None = Field(
        default=None,
        examples=[1.0],
        gt=0,
        description="scale the gradient of each layer down to this norm; not given: off",
    )
    clip_adaptive: float | None = Field(
        default=None,
        examples=[0.01],
        gt=0,
        description="keep each unit's gradient below this share of its weights; not given: off",
    )
    l1: float = Field(default=0.0, ge=0, description="adds l1 sum |w| to the loss")
    l2: float = Field(default=0.0, ge=0, description="adds l2 / 2 sum w^2 to the loss")
    weight_decay: float = Field(
        default=0.0,
        ge=0,
        description="decoupled: each step takes rate times this share off the weights",
    )
    l1_proximal: bool = Field(
        default=False, description="take l1 as a proximal step, which gives exact zeros"
    )
    max_norm: float | None = Field(
        default=None,
        examples=[3.0],
        gt=0,
        description="keep the norm of each unit's incoming weights below this; not given: off",
    )
    gradient_noise: float = Field(
        default=0.0, ge=0, description="standard deviation of noise on the gradient at the start"
    )
    weight_noise: float = Field(
        default=0.0, ge=0, description="standard deviation of noise on the weights in training"
    )
    input_noise: float = Field(
        default=0.0, ge=0, description="standard deviation of noise on the inputs in training"
    )
    average: Annotated[Choice | None, BeforeValidator(partial(_to_choice, "average"))] = Field(
        default=None, description="average of the weights, evaluated beside them; not given: none"
    )
    groups: Annotated[tuple[GroupSpec, ...], BeforeValidator(_to_groups)] = Field(
        default=(),
        description="parameters with a rule or a rate of their own; the first match counts",
    )
    freeze: Annotated[tuple[str, ...], BeforeValidator(_to_patterns)] = Field(
        default=(),
        examples=[["stem*", "stage1*"]],
        description="patterns over paths of parameters that do not train, the last that fits counts, ! takes out; the "
        "batch statistics of such layers stay still too",
    )
    unfreeze: Unfreeze | None = Field(
        default=None,
        description="frozen layers join one group at a time, from the top; without freeze, all but the head start frozen",
    )
    layer_decay: float | None = Field(
        default=None,
        examples=[0.8],
        gt=0,
        le=1,
        description="each group of layers trains at this times the rate of the one above it; not given: all alike",
    )
    accumulate: int = Field(
        default=1, ge=1, le=MOST, description="batches whose gradients are averaged to one step"
    )
    early_stopping: Annotated[EarlyStopping | None, BeforeValidator(_to_stopping)] = Field(
        default=None, description="stop when nothing got better for `patience` evaluations"
    )
    keep: Literal["best", "last"] | None = Field(
        default=None,
        description="weights to keep; not given: best with early stopping, else last",
    )
    eval_every: float = Field(
        default=1.0, gt=0, description="epochs between evaluations, or a fraction"
    )
    heal: Heal = Field(default=Heal(), description="what happens when the loss stops being finite")
    watch: Annotated[Choice, BeforeValidator(partial(_to_choice, "watch"))] = Field(
        default_factory=lambda: _to_choice("watch", "default"),
        description="how closely layers are watched; changes no number of the training",
    )

    @model_validator(mode="before")
    @classmethod
    def _own_rate(cls, value: Any) -> Any:
        """The rate: given in train, else with the rule, else the rule's default; the batch a rule insists on."""
        if not isinstance(value, Mapping):
            return value
        rule = value.get("optimizer", "adam")
        if wants_whole_batch(rule) and "batch_size" not in value:
            value = {**value, "batch_size": "all"}
        if "learning_rate" in value:
            return value
        given = dict(rule) if isinstance(rule, Mapping) else {}
        if "learning_rate" in given:
            rate = given.pop("learning_rate")
            return {**value, "optimizer": given, "learning_rate": rate}
        row = _rule_row(rule)
        rate = row.hyper("learning_rate").default if row else 0.001
        return {**value, "learning_rate": rate}


class ReportSpec(_Frozen):
    """What the report ranks by."""

    metric: str | None = Field(
        default=None, description="not given: val_accuracy for classes, val_rmse for numbers"
    )


class RunConfig(_Frozen):
    """Everything about a run but its seed."""

    data: DataSpec
    model: ModelSpec
    train: TrainSpec


class Factor(_Frozen):
    """One factor of the comparison.

    Attributes:
        key: As written in the file (``optimizer``).
        path: The full key path (``train.optimizer``).
        values: Its values in the form of the file, with every default filled in.
    """

    key: str
    path: str
    values: tuple[Any, ...]


class Recipe(_Frozen):
    """A whole named recipe: settings by full key path, in the form of the file."""

    name: str
    settings: dict[str, Any]


class Compare(_Frozen):
    """What is compared: factors, crossed with each other and with the recipes, if any."""

    factors: tuple[Factor, ...] = ()
    recipes: tuple[Recipe, ...] = ()


class StudySpec(_Frozen):
    """A whole study, as understood.

    Attributes:
        study: Name of the study, also of its folder.
        data: The data of every arm, unless compared.
        model: The network of every arm, unless compared.
        train: The recipe of every arm, unless compared.
        compare: What is compared.
        exclude: Combinations to leave out: factor key to a value or a list of values.
        seeds: The seeds; each arm is run once per seed.
        report: What the report ranks by.
        notes: Free text for the report.
        remedies: ``try``: what was found sick is trained again with its remedies at the end; ``off``.
    """

    study: str
    data: DataSpec
    model: ModelSpec
    train: TrainSpec
    compare: Compare = Compare()
    exclude: tuple[dict[str, Any], ...] = ()
    seeds: tuple[int, ...] = (0,)
    report: ReportSpec = ReportSpec()
    notes: str = ""
    remedies: Literal["off", "try"] = "off"


@dataclass(frozen=True)
class Arm:
    """One thing that is compared: a combination of factor values, to be run once per seed.

    Attributes:
        index: Position in the expanded study.
        name: Short label made of the factor values; unique in the study.
        factors: Factor key to value; a choice by its label, a list as ``64-64``.
        config: Everything about its runs but the seed.
    """

    index: int
    name: str
    factors: dict[str, float | int | bool | str | None]
    config: RunConfig


def known_task(data: DataSpec) -> str | None:
    """``classification`` or ``regression`` where it is known without looking at the data."""
    if data.task != "auto":
        return data.task
    if data.window is not None:
        return "regression"
    if data.context is not None:
        return "classification"
    row = CATALOG["source"].get(data.source)
    return row.facts.get("task") if row else None
