"""Rows in order of time: sorted, and what is odd about their order told. numpy only."""

from __future__ import annotations

import numpy as np

from lanework.data.messages import count, listed
from lanework.data.types import Array, Column, Rows

__all__ = ["in_order", "shown_time", "told_missing"]


def in_order(
    matrix: Array, when: Column | None, *, where: str
) -> tuple[Array, Column | None, tuple[str, ...]]:
    """Rows sorted by their date or number, and sentences about order and gaps."""
    if when is None:
        alone = (
            f"{where}: no column of dates; rows are taken in the order of the file, oldest first."
        )
        return matrix, None, (alone,)
    told: list[str] = []
    missing = when.missing()
    if missing.any():
        kept: Rows = np.flatnonzero(~missing)
        matrix, when = matrix[kept], when.take(kept)
        told.append(f"{count(int(missing.sum()), 'row')} without '{when.name}' left out.")
    steps = np.diff(when.values)
    if (steps < 0).any():
        order: Rows = np.argsort(when.values, kind="stable")
        matrix, when = matrix[order], when.take(order)
        told.append(
            f"Rows were not in the order of '{when.name}' ({count(int((steps < 0).sum()), 'step')} "
            "back) and have been sorted."
        )
        steps = np.diff(when.values)
    else:
        told.append(f"Rows are in the order of '{when.name}'.")
    if (steps == 0).any():
        told.append(
            f"{count(int((steps == 0).sum()), 'row')} with the same '{when.name}' as the row before: "
            "kept, in the order of the file. Several series in one table must be split up first."
        )
    return matrix, when, (*told, *_told_steps(when, steps))


def _told_steps(when: Column, steps: Array) -> tuple[str, ...]:
    """A sentence about steps that are longer than usual."""
    forward = steps[steps > 0]
    if not len(forward):
        return ()
    usual = float(np.median(forward))
    gaps = np.flatnonzero(steps > 1.5 * usual)
    if not len(gaps):
        return ()
    after = listed([shown_time(when, float(when.values[gap])) for gap in gaps], limit=3)
    unit = count(round(usual), "day") if when.kind == "date" and usual >= 1 else f"{usual:.4g}"
    return (
        f"{count(len(gaps), 'gap')} in '{when.name}' (usually {unit} apart), after {after}: the rows "
        "on both sides are taken as neighbours.",
    )


def shown_time(when: Column, value: float) -> str:
    """A date as people write it, or the number of an order that is no date."""
    if when.kind != "date":
        return f"{value:g}"
    text = str(np.datetime64(round(value * 86400), "s"))
    return text.removesuffix("T00:00:00")


def told_missing(matrix: Array, channels: list[Column]) -> tuple[str, ...]:
    """A sentence about missing values of a series [rows, channels], and what stands there instead."""
    gaps = np.isnan(matrix).sum(axis=0)
    names = [column.name for column, number in zip(channels, gaps, strict=True) if number]
    if not names:
        return ()
    return (
        f"{count(int(gaps.sum()), 'missing value')} in {listed(names)}: in windows, the last value "
        "before the gap stands there (at the start the training median).",
    )
