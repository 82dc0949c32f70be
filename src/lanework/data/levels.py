"""Categories and dates: from levels to outputs, from days to parts of the calendar.

Owns the record of a learned category and the functions that make inputs of levels and dates.
scikit-learn's encoders do the learning; none is needed to apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lanework.data.types import Array, Column, Table

__all__ = [
    "CYCLES",
    "MAX_LEVELS",
    "MISSING_LEVEL",
    "LevelRule",
    "date_part",
    "learn_levels",
    "level_codes",
    "level_places",
]

MAX_LEVELS: Mapping[str, int] = {"onehot": 64, "embed": 1024}
"""Most levels a category keeps; the rarer ones share one."""

MISSING_LEVEL = "(missing)"

CYCLES: Mapping[str, float] = {"month": 12.0, "weekday": 7.0, "hour": 24.0}
"""Parts of a date that come round again, with the length of the circle."""


@dataclass(frozen=True)
class LevelRule:
    """One category: which output each known level has.

    Attributes:
        name: The column.
        levels: Levels seen in training.
        outputs: For each level its output, in [0, width).
        width: How many outputs (one-hot columns, or codes of an embedding).
        unknown: Output of levels never seen in training; -1: all zeros.
        encoding: ``onehot`` or ``embed``; empty: that of the whole record.
    """

    name: str
    levels: tuple[str, ...]
    outputs: tuple[int, ...]
    width: int
    unknown: int
    encoding: str = ""


def learn_levels(
    table: Table, *, encoding: str, rare: float | None = None
) -> tuple[LevelRule, ...]:
    """Learn which levels of the categories exist in the training part, and their outputs.

    Missing cells are a level of their own. Levels beyond ``MAX_LEVELS`` share one output, the
    rarest ones, and so do those that are rarer than ``rare``. Levels never seen in training share
    that output too, or are all zeros (one-hot) or have a code of their own (embed).

    Args:
        table: The categories of the training part.
        encoding: ``onehot`` or ``embed``.
        rare: Below that many rows (or, under 1, that share of the rows) a level is rare.

    Returns:
        One rule per column.

    Source:
        scikit-learn: SimpleImputer(constant), OneHotEncoder, OrdinalEncoder; a test compares.
    """
    if not table.columns:
        return ()
    from sklearn.preprocessing import OneHotEncoder

    names_of, codes = [], []
    for column in table.columns:
        levels = sorted([*column.levels, MISSING_LEVEL])
        position = np.array([levels.index(level) for level in (*column.levels, MISSING_LEVEL)])
        names_of.append(levels)
        codes.append(position[column.values])
    encoder = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=MAX_LEVELS[encoding],
        min_frequency=int(rare) if rare is not None and rare >= 1 else rare,
    )
    encoder.fit(np.stack(codes, axis=1))
    rules = []
    for index, column in enumerate(table.columns):
        joined = encoder.infrequent_categories_[index]
        kept = encoder.categories_[index]
        rules.append(
            _level_rule(column.name, names_of[index], kept, rare=joined, encoding=encoding)
        )
    return tuple(rules)


def _level_rule(
    name: str, levels: list[str], kept: Array, *, rare: Array | None, encoding: str
) -> LevelRule:
    """Outputs in scikit-learn's order: frequent levels as sorted, then the shared one."""
    rare_codes = set() if rare is None else {int(code) for code in rare}
    frequent = [int(code) for code in kept if int(code) not in rare_codes]
    outputs = {code: position for position, code in enumerate(frequent)}
    outputs.update(dict.fromkeys(rare_codes, len(frequent)))
    width = len(frequent) + bool(rare_codes)
    unknown = len(frequent) if rare_codes else -1
    if encoding == "embed" and not rare_codes:
        unknown, width = width, width + 1
    known = [int(code) for code in kept]
    return LevelRule(
        name,
        tuple(levels[code] for code in known),
        tuple(outputs[code] for code in known),
        width,
        unknown,
        encoding,
    )


def level_codes(rule: LevelRule, table: Table) -> Array:
    """Output of each cell of a category, int [n]; -1 for all zeros."""
    column = table.column(rule.name)
    output_of = dict(zip(rule.levels, rule.outputs, strict=True))
    lookup = np.array(
        [
            *(output_of.get(level, rule.unknown) for level in column.levels),
            output_of.get(MISSING_LEVEL, rule.unknown),
        ]
    )
    codes: Array = lookup[column.values]
    return codes


def level_places(column: Column, levels: tuple[str, ...]) -> Array:
    """Place of each cell among the sorted levels, float64 [n]; NaN for missing and unknown ones."""
    place_of = {level: float(place) for place, level in enumerate(levels)}
    lookup = np.array([*(place_of.get(level, np.nan) for level in column.levels), np.nan])
    places: Array = lookup[column.values]
    return places


def date_part(days: Array, part: str) -> Array:
    """One part of dates as numbers, float64 [n].

    Args:
        days: Days since 1970-01-01 with a fraction, [n]; NaN stays NaN.
        part: ``days``, ``year``, ``day``, or ``month``, ``weekday``, ``hour`` followed by ``sin`` or
            ``cos``.

    Example:
        >>> date_part(np.array([0.0, 31.25]), "day").tolist()  # 1970-01-01, 1970-02-01 06:00
        [1.0, 1.0]
        >>> date_part(np.array([31.25]), "hour sin").round(3).tolist()
        [1.0]
    """
    if part in ("", "days"):
        return days
    name, _, side = part.partition(" ")
    is_gap = ~np.isfinite(days)
    whole = np.floor(np.where(is_gap, 0.0, days))
    dates = whole.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    values: Array
    if name == "year":
        values = dates.astype("datetime64[Y]").astype(np.float64) + 1970.0
    elif name == "day":
        values = (dates - months.astype("datetime64[D]")).astype(np.float64) + 1.0
    elif name == "month":
        values = months.astype(np.float64) % 12.0
    elif name == "weekday":
        values = (whole + 3.0) % 7.0  # 1970-01-01 was a Thursday
    else:
        values = (np.where(is_gap, 0.0, days) - whole) * 24.0
    if side:
        angle = 2.0 * np.pi * values / CYCLES[name]
        values = np.sin(angle) if side == "sin" else np.cos(angle)
    return np.where(is_gap, np.nan, values)
