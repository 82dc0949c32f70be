"""Study files in and out: parse, dump, content hash, JSON schema."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lanework.errors import Problem, SpecError
from lanework.spec.check import got, names_hint
from lanework.spec.compare import parse_compare
from lanework.spec.expand import METRIC_BY_TASK, LOSS_BY_TASK, check_arms
from lanework.spec.sections import (
    build_config,
    check_metric,
    locate,
    locate_net,
    plain_config,
    plain_section,
)
from lanework.spec.types import (
    Choice,
    Compare,
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
)
MAX_SEED = 2**32
Plain = dict[str, Any]


def load_study(path: Path) -> StudySpec:
    """Read a study file.

    Args:
        path: The YAML file.

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
    return parse_study(raw, base=Path(path).resolve().parent, where=where)


def parse_study(mapping: Any, *, base: Path, where: str = "study") -> StudySpec:
    """Check a study given as plain mappings.

    Args:
        mapping: The content of a study file.
        base: Folder that relative paths start from.
        where: Name of the place, for the messages.

    Returns:
        The study, checked down to every combination.

    Raises:
        SpecError: Something is wrong; all problems together.
    """
    if not isinstance(mapping, Mapping):
        text = (
            f"must be a mapping with study, data, model and train, got {got(mapping)}. "
        )
        raise SpecError([Problem("", text + "See studies/digits.yaml.")], where=where)
    spec, problems = _parse(mapping, base=Path(base))
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
    return plain


def content_hash(spec: StudySpec) -> str:
    """A fingerprint of everything in the study that its numbers depend on.

    The name and the notes do not count; of files only the name does, so that a moved folder keeps
    its hash (the data has a fingerprint of its own).

    Returns:
        64 hexadecimal digits.
    """
    plain = plain_study(spec)
    plain.pop("study")
    plain.pop("notes", None)
    text = json.dumps(_without_folders(plain), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _parse(
    raw: Mapping[str, Any], *, base: Path
) -> tuple[StudySpec | None, list[Problem]]:
    problems = [
        Problem(str(key), f"must be a known key, got {key!r}. {names_hint(key, KEYS)}")
        for key in raw
        if key not in KEYS
    ]
    plain = _located(raw, base=base)
    _first_values(plain, raw.get("compare"), base=base)
    config, found = build_config(plain)
    problems += found
    name, found = _name(raw.get("study"))
    problems += found
    seeds, found = _seeds(raw.get("seeds", 1))
    problems += found
    notes = raw.get("notes", "")
    if not isinstance(notes, str):
        problems.append(
            Problem("notes", f"must be text, got {got(notes)}. Put it in quotes.")
        )
    exclude, found = _exclude(raw.get("exclude", ()))
    problems += found
    reference = plain if config is None else plain_config(config)
    train = raw.get("train")
    has_rate = isinstance(train, Mapping) and "learning_rate" in train
    compare, found = parse_compare(
        raw.get("compare"), base=reference, has_rate=has_rate, folder=base
    )
    problems += found
    report, found = _report(raw.get("report", {}), config=config)
    problems += found
    if config is None or report is None or problems:
        return None, problems
    spec = StudySpec(
        study=name, data=config.data, model=config.model, train=config.train, compare=compare,
        exclude=exclude, seeds=seeds, report=report, notes=notes,
    )  # fmt: skip
    spec = _fill_in(spec)
    return spec, check_arms(spec)[1]


def _located(raw: Mapping[str, Any], *, base: Path) -> Plain:
    """The sections with absolute paths."""
    plain = {name: raw.get(name, {}) for name in ("data", "model", "train")}
    if isinstance(plain["data"], Mapping):
        data = dict(plain["data"])
        for key in ("source", "test"):
            if key in data:
                data[key] = locate(data[key], base)
        plain["data"] = data
    if isinstance(plain["model"], Mapping) and "net" in plain["model"]:
        plain["model"] = {
            **plain["model"],
            "net": locate_net(plain["model"]["net"], base),
        }
    return plain


def _first_values(plain: Plain, compare: Any, *, base: Path) -> None:
    """A source that is compared need not stand under data too: the base takes its first value."""
    if not isinstance(compare, Mapping) or not isinstance(plain["data"], dict):
        return
    for key in ("source", "data.source"):
        values = compare.get(key)
        if isinstance(values, list) and values and "source" not in plain["data"]:
            plain["data"]["source"] = locate(values[0], base)


def _fill_in(spec: StudySpec) -> StudySpec:
    """Loss and metric by task, where the task is known and not itself under comparison."""
    task = known_task(spec.data)
    if task is None:
        return spec
    paths = [factor.path for factor in spec.compare.factors]
    paths += [path for recipe in spec.compare.recipes for path in recipe.settings]
    if not any(
        path in ("data", "data.source", "data.task", "data.target") for path in paths
    ):
        if spec.train.loss is None:
            loss = Choice(name=LOSS_BY_TASK[task])
            spec = spec.model_copy(
                update={"train": spec.train.model_copy(update={"loss": loss})}
            )
    if spec.report.metric is None:
        report = spec.report.model_copy(update={"metric": METRIC_BY_TASK[task]})
        spec = spec.model_copy(update={"report": report})
    return spec


def _name(value: Any) -> tuple[str, list[Problem]]:
    if value is None:
        return "study", [
            Problem("study", "must be given, got nothing. Add study: and a short name.")
        ]
    is_bad = not isinstance(value, str) or not value.strip() or value.strip(".") == ""
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


def _report(
    value: Any, *, config: RunConfig | None
) -> tuple[ReportSpec | None, list[Problem]]:
    from lanework.spec.sections import build_section

    report, problems = build_section(ReportSpec, value, "report")
    if report is not None:
        task = known_task(config.data) if config else None
        problems = check_metric(report.metric, "report.metric", task=task)
    return report, problems


def _plain_compare(compare: Compare) -> Any:
    plain: Plain = {factor.key: list(factor.values) for factor in compare.factors}
    if compare.recipes:
        plain["recipes"] = [
            {"name": item.name, **item.settings} for item in compare.recipes
        ]
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
    files = (
        sorted(item.name for item in folder.glob("*.y*ml")) if folder.is_dir() else []
    )
    hint = names_hint(path.name, files) if files else "Check the path."
    return f"must be a study file, but there is none at this path. {hint}"
