"""The target: which task it asks for, its classes and codes, its scale. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanework.catalog import nearest
from lanework.data.dialect import is_number
from lanework.data.messages import bad, count, listed
from lanework.data.types import Array, Column, Loaded, Steps

__all__ = [
    "Classes",
    "class_kind",
    "decide_task",
    "encode_classes",
    "find_classes",
    "log_targets",
    "numeric_target",
    "scaled_targets",
]

MAX_INTEGER_CLASSES = 20
"""Whole numbers with at most that many different values are taken for classes."""


class Classes(NamedTuple):
    """The classes of a target in the order of their codes.

    Attributes:
        names: For people.
        keys: What the raw target holds: level names, or numbers.
    """

    names: tuple[str, ...]
    keys: tuple[str, ...] | tuple[float, ...]


def decide_task(loaded: Loaded, *, given: str) -> tuple[str, str]:
    """Classification or regression, and a sentence that says why.

    Args:
        loaded: What the source gave (rows without target already removed).
        given: What the study file says; ``auto`` decides from the target.

    Returns:
        The task and the sentence (empty when nothing was decided).

    Raises:
        DataError: Regression is asked for, but the target is no number.
    """
    target = loaded.target
    is_text = isinstance(target, Column) and target.levels_used()
    if given == "regression" and isinstance(target, Column) and is_text:
        raise bad(
            "data.task",
            "can be regression only for a numeric target",
            got=f"'{target.name}' with cells that do not all read as numbers, such as "
            f"{listed(_odd_levels(target.levels), limit=3)}",
            do="Write these cells like 1234.5, or list them under data.missing; task: "
            "classification takes each text for a class.",
        )
    if given != "auto":
        return given, ""
    if loaded.task != "auto":
        return loaded.task, ""
    if not isinstance(target, Column):
        return "regression", "Regression, as there are several targets."
    if is_text:
        what = "true and false" if target.cell_kind == "bool" else "text"
        if target.cell_kind in ("int", "float"):
            what = "categories, as data.columns says"
        return "classification", f"Classification, as '{target.name}' holds {what}."
    distinct = np.unique(target.values)
    shown = count(len(distinct), "different value")
    if len(distinct) > MAX_INTEGER_CLASSES or not np.all(distinct == np.round(distinct)):
        return "regression", (
            f"Regression, as '{target.name}' holds numbers with {shown}; set data.task to change."
        )
    return "classification", (
        f"Classification, as '{target.name}' holds whole numbers with only {shown}; set data.task "
        "to change."
    )


def class_kind(loaded: Loaded) -> str:
    """What the classes were when they came: text, int, float or bool."""
    target = loaded.target
    if loaded.class_names or not isinstance(target, Column):
        return "text"
    return target.cell_kind


def _odd_levels(levels: tuple[str, ...]) -> list[str]:
    """The texts that stand in the way of numbers; all of them when none is a number."""
    odd = [level for level in levels if not is_number(level)]
    return odd or list(levels)


def find_classes(loaded: Loaded) -> Classes:
    """The classes of a target.

    Args:
        loaded: What the source gave.

    Returns:
        Names and raw values in the order of the codes.

    Raises:
        DataError: There is one class only, several targets, or a class for nearly every row.
    """
    target = loaded.target
    if not isinstance(target, Column):
        raise bad(
            "data.task",
            "can be classification only with one target column",
            got=f"an array of shape {(target.values if isinstance(target, Steps) else target).shape}",
            do="Give the class as one column (of one-hot columns take the argmax).",
        )
    if target.levels_used():
        names = tuple(target.levels[code] for code in np.unique(target.values))
        _check_classes(target, names)
        return Classes(names, names)
    keys: tuple[float, ...] = tuple(np.unique(target.values).tolist())
    names = tuple(_number_text(value) for value in keys)
    if loaded.class_names and set(keys) <= set(range(len(loaded.class_names))):
        keys = tuple(float(code) for code in range(len(loaded.class_names)))
        names = loaded.class_names
    _check_classes(target, names)
    return Classes(names, keys)


def encode_classes(target: Column, classes: Classes, *, where: str) -> NDArray[np.int32]:
    """Class codes of a target column, int32 [n].

    Raises:
        DataError: It holds labels that the training data does not have.
    """
    if target.levels_used():
        known = {str(key): code for code, key in enumerate(classes.keys)}
        lookup = np.array([known.get(level, -1) for level in target.levels], np.int32)
        codes = lookup[target.values]
        wrong: list[str] = [target.levels[code] for code in np.unique(target.values[codes < 0])]
    else:
        keys = np.array(classes.keys, np.float64)
        codes = np.searchsorted(keys, target.values).clip(0, len(keys) - 1).astype(np.int32)
        is_wrong = keys[codes] != target.values
        codes[is_wrong] = -1
        wrong = [_number_text(value) for value in np.unique(target.values[is_wrong])]
    if wrong:
        close = nearest(wrong[0], classes.names, count=1)
        alike = f"'{wrong[0]}' may be meant as '{close[0]}': check the spelling. " if close else ""
        raise bad(
            f"{where}, column '{target.name}'",
            f"must hold only labels of the training data ({listed(classes.names)})",
            got=f"{listed(wrong)} in {count(int((codes < 0).sum()), 'row')}",
            do=f"{alike}Otherwise remove these rows, or add such rows to the training data.",
        )
    return codes


def numeric_target(target: Column | Array, *, where: str) -> Array:
    """Regression targets, float64 [n, k].

    Raises:
        DataError: The target is text, or the same everywhere.
    """
    values = target.values[:, None] if isinstance(target, Column) else target
    if isinstance(target, Column) and target.levels_used():
        raise bad(
            f"{where}, column '{target.name}'",
            "must hold numbers (regression)",
            got=f"text such as {listed(target.levels, limit=3)}",
            do="Correct the cells, or use task: classification.",
        )
    values = values.astype(np.float64)
    return values


def log_targets(parts: tuple[Array, ...], *, name: str) -> tuple[Array, ...]:
    """``log(1 + y)`` of the targets of all parts.

    Raises:
        DataError: A target is -1 or less.
    """
    low = min(float(values.min()) for values in parts if len(values))
    if low <= -1.0:
        num_low = sum(int((values <= -1.0).sum()) for values in parts)
        raise bad(
            "data.log_target",
            f"must come with targets above -1, as log(1 + {name}) is learned",
            got=f"{count(num_low, 'value')} at or below -1, down to {_number_text(low)}",
            do="Set log_target: false.",
        )
    return tuple(np.log1p(values) for values in parts)


def scaled_targets(
    parts: Sequence[Array], *, task: str, name: str, is_scaled: bool
) -> tuple[tuple[Array, ...], Array, Array]:
    """Targets of all parts as they are trained on, with scale and shift [k]; classes stay as they are.

    Raises:
        DataError: A regression target is the same in every training row.
    """
    if task != "regression":
        return tuple(parts), np.ones(1), np.zeros(1)
    scale, shift = _scale_of(parts[0], name=name, is_scaled=is_scaled)
    return tuple(((y - shift) / scale).astype(np.float32) for y in parts), scale, shift


def _scale_of(values: Array, *, name: str, is_scaled: bool) -> tuple[Array, Array]:
    spread = values.std(axis=0)
    if np.any(spread == 0):
        raise bad(
            f"target '{name}'",
            "must vary",
            got=f"{_number_text(float(values[0, int(np.argmin(spread))]))} in every training row",
            do="Check data.target.",
        )
    if not is_scaled:
        return np.ones_like(spread), np.zeros_like(spread)
    return spread, values.mean(axis=0)


def _check_classes(target: Column, names: tuple[str, ...]) -> None:
    if len(names) < 2:
        raise bad(
            f"target '{target.name}'",
            "must have at least two classes",
            got=f"{listed(names) or 'none'} in every row",
            do="Check data.target, or that the file is complete.",
        )
    if len(names) > 100 and len(names) > 0.5 * len(target.values):
        raise bad(
            f"target '{target.name}'",
            "must have several rows in most classes",
            got=f"{count(len(names), 'class')} in {count(len(target.values), 'row')}",
            do="Use another target; if these are meant as numbers, write the cells like 1234.5."
            if target.levels_used()
            else "Use task: regression, or another target.",
        )


def _number_text(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
