"""The section with what was looked at before training. The numbers were measured when the study ran; nothing is judged here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from lanework.report import units
from lanework.report.html import Cell, Column, sign, table, text

SIGNS: Final = {"fail": ("bad", "!"), "warn": ("warn", "!"), "pass": ("good", "\u2713")}
ORDER: Final = {"fail": 0, "warn": 1, "pass": 2}
WHOLE: Final = 1e5
"""Whole numbers below are written in full: they are counts."""


def check(record: Mapping[str, Any]) -> str:
    """The items of the gate as a table, worst first.

    Args:
        record: What was stored of it, see `lanework.api.check.Check.record`; empty where none was made.

    Returns:
        HTML; empty without a record.
    """
    items = record.get("items") or []
    if not items:
        return ""
    rows = []
    for item in sorted(items, key=lambda item: ORDER.get(item["level"], 0)):
        kind, mark = SIGNS.get(item["level"], ("", "?"))
        said = " ".join(filter(None, (item["sentence"], item["advice"])))
        cells = [
            Cell(text(item["name"].replace("_", " "))),
            Cell(
                f'<span class="nowrap">{sign(kind, mark)} {text(item["level"])}</span>',
                ORDER.get(item["level"], 0),
            ),
            Cell(text(item["arm"] or "all")),
            Cell(text(said)),
            Cell(_numbers(item["numbers"])),
        ]
        rows.append(("", cells))
    labels = ("Looked at", "Result", "Recipes", "What was found", "Measured")
    columns = [Column(label) for label in labels]
    return table(columns, rows, name="check-items", label="What was looked at before training")


def in_words(numbers: Mapping[str, Any]) -> str:
    """What was measured, as text: single numbers first, then those of each layer, tensor or rate.

    Example:
        >>> in_words({"loss": 2.3026, "activation_std.dense_0": 0.98, "activation_std.output": 1.2})
        'loss 2.3; activation std: dense_0 0.98, output 1.2'
    """
    single, groups = _grouped(numbers)
    told = [f"{name} {value}" for name, value in single.items()]
    for family, members in groups.items():
        told.append(f"{family}: " + ", ".join(f"{name} {value}" for name, value in members.items()))
    return "; ".join(told)


def lines(items: Iterable[Mapping[str, Any]], *, numbers: bool = True) -> list[str]:
    """Items for the terminal: a line each, and below what is not as it should be what was measured and what to do.

    Args:
        items: As in `lanework.api.check.Check.record`.
        numbers: Tell what was measured, too.
    """
    told = []
    for item in items:
        arm = f" [{item['arm']}]" if item["arm"] else ""
        told.append(f"{item['level']:<5} {item['name']}{arm}: {item['sentence']}")
        if item["level"] == "pass":
            continue
        measured = in_words(item["numbers"]) if numbers else ""
        told += [f"      Measured: {measured}."] if measured else []
        told += [f"      What to do: {item['advice']}"] if item["advice"] else []
    return told


def _grouped(numbers: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Single numbers, and those of one family (`activation_std.dense_0`) together, in words."""
    single: dict[str, str] = {}
    groups: dict[str, dict[str, str]] = {}
    for name, value in numbers.items():
        family, _, member = name.partition(".")
        if member:
            groups.setdefault(units.words(family), {})[member] = _number(value)
        else:
            single[units.words(family)] = _number(value)
    return single, groups


def _number(value: Any) -> str:
    if isinstance(value, str) or not math.isfinite(value):  # what is not finite is stored as text
        return str(value)
    is_count = abs(value) < WHOLE and value == round(value)
    return units.scalar(round(value)) if is_count else units.short(value)


def _numbers(numbers: Mapping[str, Any]) -> str:
    """Single numbers in a line, families as tables that open, for example the spread of each layer."""
    single, groups = _grouped(numbers)
    shown = text(", ".join(f"{name} {value}" for name, value in single.items()))
    for family, members in groups.items():
        rows = "".join(
            f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in members.items()
        )
        shown += (
            f'<details><summary>{text(family)}</summary><dl class="facts">{rows}</dl></details>'
        )
    return shown


def about(record: Mapping[str, Any]) -> str:
    """A sentence on how much was looked at."""
    left_out = [str(name).replace("_", " ") for name in record.get("left_out") or []]
    if not left_out:
        return "What was looked at before training, worst first."
    return f"What was looked at before training, worst first. Left out, to save time: {', '.join(left_out)}; lanework check looks at all."
