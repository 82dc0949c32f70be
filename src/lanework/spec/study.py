"""Study files in and out: parse, dump, content hash, JSON schema."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lanework.errors import Problem, SpecError
from lanework.spec.check import got, names_hint
from lanework.spec.compare import parse_compare
from lanework.spec.expand import LOSS_BY_TASK, METRIC_BY_TASK, check_arms, check_values
from lanework.spec.sections import (
    SECTIONS,
    build_config,
    build_section,
    check_metric,
    locate,
    locate_code,
    locate_net,
    plain_config,
    plain_section,
)
from lanework.spec.types import (
    Choice,
    Compare,
    DataSpec,
    ReportSpec,
    RunConfig,
    StudySpec,
    known_task,
)
from lanework.spec.yaml_io import from_yaml, to_yaml

__all__ = ["content_hash", "dump_study", "load_study", "parse_study", "plain_study"]

KEYS = (
    "study",
    "data",
    "model",
    "train",
    "compare",
    "exclude",
    "seeds",
    "report",
    "notes",
    "remedies",
)
MAX_SEED = 2**32
Plain = dict[str, Any]


Look: TypeAlias = Callable[[DataSpec], list[Problem]]


def load_study(path: Path, *, look: Look | None = None) -> StudySpec:
    """Read a study file.

    Args:
        path: The YAML file.
        look: Cheap check of the data section (`lanework.data.peek`), so that a missing column is told together with
            everything else.

    Returns:
        The study, checked down to every combination; paths in it are absolute.

    Raises:
        SpecError: The file cannot be read, or something in it is wrong; all problems together.
    """
    where = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError([Problem("", _no_file(Path(path)))], where=where) from None
    except (OSError, UnicodeDecodeError) as error:
        text = f"must be a readable text file in UTF-8, got {error}. Check the path and the file."
        raise SpecError([Problem("", text)], where=where) from None
    raw = from_yaml(text, where=where)
    return parse_study(raw, base=Path(path).resolve().parent, where=where, look=look)


def parse_study(
    mapping: Any, *, base: Path, where: str = "study", look: Look | None = None
) -> StudySpec:
    """Check a study given as plain mappings.

    Args:
        mapping: The content of a study file.
        base: Folder that relative paths start from.
        where: Name of the place, for the messages.
        look: Cheap check of the data section, see `load_study`.

    Returns:
        The study, checked down to every combination.

    Raises:
        SpecError: Something is wrong; all problems together.
    """
    if not isinstance(mapping, Mapping):
        text = f"must be a mapping with study, data, model and train, got {got(mapping)}. "
        raise SpecError([Problem("", text + "See studies/digits.yaml.")], where=where)
    spec, problems = _parse(mapping, base=Path(base))
    if look is not None:
        problems = [*problems, *_data_problems(mapping, base=Path(base), look=look)]
    if spec is None or problems:
        raise SpecError(dict.fromkeys(problems), where=where)
    return spec


def dump_study(spec: StudySpec) -> str:
    """The study as understood, every default filled in, as YAML that loads to an equal study."""
    return to_yaml(plain_study(spec))


def plain_study(spec: StudySpec) -> Plain:
    """The study in the form of the file, every default filled in."""
    config = RunConfig(data=spec.data, model=spec.model, train=spec.train)
    plain: Plain = {"study": spec.study, **plain_config(config)}
    compare = _plain_compare(spec.compare)
    if compare:
        plain["compare"] = compare
    if spec.exclude:
        plain["exclude"] = [dict(rule) for rule in spec.exclude]
    is_count = spec.seeds == tuple(range(len(spec.seeds)))
    plain["seeds"] = len(spec.seeds) if is_count else list(spec.seeds)
    plain["report"] = plain_section(spec.report)
    if spec.notes:
        plain["notes"] = spec.notes
    if spec.remedies != "off":
        plain["remedies"] = spec.remedies
    return plain


def content_hash(spec: StudySpec) -> str:
    """A fingerprint of everything in the study that its numbers depend on.

    The name, the notes and what is tried afterwards do not count; of files only the name does, so that a moved folder keeps
    its hash (the data has a fingerprint of its own).

    Returns:
        64 hexadecimal digits.
    """
    plain = plain_study(spec)
    plain.pop("study")
    plain.pop("notes", None)
    plain.pop("remedies", None)
    text = json.dumps(_without_folders(plain), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _data_problems(raw: Mapping[str, Any], *, base: Path, look: Look) -> list[Problem]:
    """What is wrong with the data itself, as far as its section can be understood alone."""
    alone = {"study": "data", "data": raw.get("data")}
    spec, problems = _parse(alone, base=base)
    return [] if spec is None or problems else look(spec.data)


def _parse(raw: Mapping[str, Any], *, base: Path) -> tuple[StudySpec | None, list[Problem]]:
    raw = {key: locate_code(item, base) for key, item in raw.items()}
    plain = _first_values(_located(raw, base=base), raw.get("compare"), base=base)
    config, config_problems = build_config(plain)
    reference = plain if config is None else plain_config(config)
    compare, compare_problems = parse_compare(
        raw.get("compare"), base=reference, has_base_rate=_has_rate(raw), folder=base
    )
    name, name_problems = _name(raw.get("study"))
    seeds, seed_problems = _seeds(raw.get("seeds", 1))
    exclude, exclude_problems = _exclude(raw.get("exclude"))
    report, report_problems = _report(raw.get("report"), config=config)
    notes, notes_problems = _notes(raw.get("notes"))
    remedies, remedy_problems = _remedies(raw.get("remedies", "off"))
    problems = [
        *_unknown_keys(raw), *name_problems, *config_problems, *compare_problems,
        *exclude_problems, *seed_problems, *report_problems, *notes_problems, *remedy_problems,
    ]  # fmt: skip
    if config is None or report is None or problems:
        return None, [*problems, *check_values(reference, compare.factors)]
    spec = StudySpec(
        study=name, data=config.data, model=config.model, train=config.train, compare=compare,
        exclude=exclude, seeds=seeds, report=report, notes=notes, remedies=remedies,
    )  # fmt: skip
    spec = _fill_in(spec)
    return spec, check_arms(spec)[1]


def _unknown_keys(raw: Mapping[str, Any]) -> list[Problem]:
    return [
        Problem(str(key), f"must be a known key, got {got(key)}. {names_hint(key, KEYS)}")
        for key in raw
        if key not in KEYS
    ]


def _has_rate(raw: Mapping[str, Any]) -> bool:
    train = raw.get("train")
    return isinstance(train, Mapping) and "learning_rate" in train


def _located(raw: Mapping[str, Any], *, base: Path) -> Plain:
    """The sections with absolute paths."""
    plain = {name: {} if raw.get(name) is None else raw[name] for name in SECTIONS}
    if isinstance(plain["data"], Mapping):
        data = dict(plain["data"])
        data |= {key: locate(data[key], base) for key in ("source", "test") if key in data}
        plain["data"] = data
    if isinstance(plain["model"], Mapping) and "net" in plain["model"]:
        plain["model"] = {**plain["model"], "net": locate_net(plain["model"]["net"], base)}
    if isinstance(plain["model"], Mapping) and "weights" in plain["model"]:
        weights = locate(plain["model"]["weights"], base)
        plain["model"] = {**plain["model"], "weights": weights}
    return plain


def _first_values(plain: Plain, compare: Any, *, base: Path) -> Plain:
    """A source that is compared need not stand under data too: the base takes its first value."""
    data = plain["data"]
    if not isinstance(compare, Mapping) or not isinstance(data, Mapping) or "source" in data:
        return plain
    for key in ("source", "data.source"):
        values = compare.get(key)
        if isinstance(values, list | tuple) and values:
            return {**plain, "data": {**data, "source": locate(values[0], base)}}
    return plain


def _fill_in(spec: StudySpec) -> StudySpec:
    """What follows from other choices that are not themselves under comparison."""
    paths = [factor.path for factor in spec.compare.factors]
    paths += [path for recipe in spec.compare.recipes for path in recipe.settings]
    train = spec.train
    task = known_task(spec.data)
    if not {"data", "data.source", "data.task", "data.target"} & set(paths) and task is not None:
        if train.loss is None:
            train = train.model_copy(update={"loss": Choice(name=LOSS_BY_TASK[task])})
        if spec.report.metric is None:
            metric = METRIC_BY_TASK[task] if spec.data.context is None else "val_loss"
            report = spec.report.model_copy(update={"metric": metric})
            spec = spec.model_copy(update={"report": report})
    is_stopping_compared = any(
        path == "train" or path.startswith("train.early_stopping") for path in paths
    )
    if train.keep is None and not is_stopping_compared:
        keep = "last" if train.early_stopping is None else "best"
        train = train.model_copy(update={"keep": keep})
    return spec.model_copy(update={"train": train})


def _name(value: Any) -> tuple[str, list[Problem]]:
    if value is None:
        return "study", [
            Problem("study", "must be given, got nothing. Add study: and a short name.")
        ]
    is_bad = not isinstance(value, str) or not 0 < len(value.strip(". ")) <= 100
    if is_bad or any(letter in value for letter in '/\\:*?"<>|\n\t\0'):
        text = f"must be a short name that can name a folder, got {got(value)}. "
        return "study", [Problem("study", text + "Use letters, digits, - and _.")]
    return value, []


def _seeds(value: Any) -> tuple[tuple[int, ...], list[Problem]]:
    def is_whole(item: Any) -> bool:
        return isinstance(item, int) and not isinstance(item, bool)

    if is_whole(value) and 1 <= value <= 10_000:
        return tuple(range(value)), []
    if not isinstance(value, list | tuple) or not value:
        text = f"must be a whole number >= 1 and <= 10000 or a list of seeds, got {got(value)}."
        return (0,), [Problem("seeds", f"{text} Use for example 5.")]
    problems = [
        Problem(
            f"seeds[{index}]",
            f"must be a whole number >= 0 and < 2^32, got {got(item)}. Use for example 0.",
        )
        for index, item in enumerate(value)
        if not is_whole(item) or not 0 <= item < MAX_SEED
    ]
    if not problems and len(set(value)) < len(value):
        twice = next(item for item in value if value.count(item) > 1)
        text = f"must differ from each other, got {twice} twice. A seed repeated adds nothing."
        problems.append(Problem("seeds", text))
    return ((0,) if problems else tuple(value)), problems


def _exclude(value: Any) -> tuple[tuple[dict[str, Any], ...], list[Problem]]:
    if value is None:
        return (), []
    if not isinstance(value, list | tuple):
        text = f"must be a list of mappings, got {got(value)}. "
        text += "Use for example [{optimizer: sgd, learning_rate: 0.0001}]."
        return (), [Problem("exclude", text)]
    problems = [
        Problem(
            f"exclude[{index}]",
            f"must be a mapping, got {got(item)}. Write {{factor: value}}.",
        )
        for index, item in enumerate(value)
        if not isinstance(item, Mapping)
    ]
    return (() if problems else tuple(dict(item) for item in value)), problems


def _report(value: Any, *, config: RunConfig | None) -> tuple[ReportSpec | None, list[Problem]]:
    report, problems = build_section(ReportSpec, {} if value is None else value, "report")
    if report is not None:
        task = known_task(config.data) if config else None
        problems = check_metric(report.metric, "report.metric", task=task)
    return report, problems


def _notes(value: Any) -> tuple[str, list[Problem]]:
    if value is None or isinstance(value, str):
        return value or "", []
    return "", [Problem("notes", f"must be text, got {got(value)}. Put it in quotes.")]


def _remedies(value: Any) -> tuple[Literal["off", "try"], list[Problem]]:
    if value in ("off", "try"):
        return value, []
    text = f"must be try or off, got {got(value)}. Use try: recipes that are found sick are then "
    text += "trained again with their remedies. Or leave it out."
    return "off", [Problem("remedies", text)]


def _plain_compare(compare: Compare) -> Any:
    plain: Plain = {factor.key: list(factor.values) for factor in compare.factors}
    if compare.recipes:
        plain["recipes"] = [{"name": item.name, **item.settings} for item in compare.recipes]
    return plain


def _without_folders(value: Any, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {name: _without_folders(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(item, key) for item in value]
    if isinstance(value, str) and key.rpartition(".")[2] in ("source", "test", "net"):
        return value.replace("\\", "/").rpartition("/")[2]
    return value


def _no_file(path: Path) -> str:
    folder = path.parent
    files = sorted(item.name for item in folder.glob("*.y*ml")) if folder.is_dir() else []
    hint = names_hint(path.name, files) if files else "Check the path."
    return f"must be a study file, but there is none at this path. {hint}"
