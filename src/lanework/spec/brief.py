"""A study as a person would write it: only what differs from the defaults.

`dump_study` writes every default, which repeats a study for good; this form is for a file that somebody reads and edits.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lanework.errors import SpecError
from lanework.spec.expand import expand
from lanework.spec.sections import build_section, plain_section
from lanework.spec.study import parse_study, plain_study
from lanework.spec.types import (
    CHOICES,
    DataSpec,
    ModelSpec,
    RunConfig,
    StudySpec,
    TrainSpec,
    known_task,
)

__all__ = ["brief_study"]

Plain = dict[str, Any]
FOLLOWS = (("train", "loss"), ("train", "keep"), ("model", "init"), ("data", "task"))
"""Keys that are filled in from others: left out wherever the same study follows without them."""


def brief_study(spec: StudySpec) -> Plain:
    """The study in the form of the file, without what the defaults say anyway.

    Returns:
        Plain values that `parse_study` reads as a study with the same recipes.
    """
    full = plain_study(spec)
    wanted = _recipes(spec)
    plain = {
        **full,
        "data": _without(full["data"], _data_defaults(full["data"]), kept=("source",)),
        "model": _without(full["model"], _model_defaults(full["model"]), kept=("net",)),
        "train": _brief_train(full["train"]),
    }
    if not _is_same(plain, wanted):
        return full
    for section, key in FOLLOWS:
        part = plain[section]
        shorter = {**plain, section: {name: item for name, item in part.items() if name != key}}
        if key in part and _is_same(shorter, wanted):
            plain = shorter
    if plain["report"] == {"metric": None}:
        del plain["report"]
    return plain


def _is_same(plain: Plain, wanted: list[RunConfig]) -> bool:
    try:
        return _recipes(parse_study(plain, base=Path.cwd())) == wanted
    except SpecError:
        return False


def _recipes(spec: StudySpec) -> list[RunConfig]:
    """What is run, the task filled in wherever the source says it."""
    configs = (arm.config for arm in expand(spec))
    return [_with_task(config) for config in configs]


def _with_task(config: RunConfig) -> RunConfig:
    data = config.data.model_copy(update={"task": known_task(config.data) or "auto"})
    return config.model_copy(update={"data": data})


def _without(given: Mapping[str, Any], defaults: Mapping[str, Any], *, kept: tuple[str, ...]) -> Plain:  # fmt: skip
    return {
        key: item
        for key, item in given.items()
        if key in kept or key not in defaults or defaults[key] != item
    }


def _data_defaults(data: Mapping[str, Any]) -> Plain:
    return plain_section(DataSpec(source=data["source"]))


def _model_defaults(model: Mapping[str, Any]) -> Plain:
    usual, _ = build_section(ModelSpec, {"net": model["net"]}, "model")
    return {} if usual is None else plain_section(usual)


def _brief_train(train: Mapping[str, Any]) -> Plain:
    usual, _ = build_section(TrainSpec, {"optimizer": train["optimizer"]}, "train")
    if usual is None:
        return dict(train)
    kept = ("epochs", "optimizer", "learning_rate")
    short = _without(train, plain_section(usual), kept=kept)
    for kind in CHOICES:
        value = short.get(kind)
        if isinstance(value, Mapping) and _is_usual(kind, value):
            short[kind] = value["name"]
    return short


def _is_usual(kind: str, choice: Mapping[str, Any]) -> bool:
    """Whether every option of a choice has its default, so that the name alone says it."""
    usual, _ = build_section(TrainSpec, {kind: choice["name"]}, "train")
    return usual is not None and plain_section(usual)[kind] == choice
