"""The section with what was looked at before training. The numbers were measured when the study ran; nothing is judged here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lanework.report.html import Cell, Column, sign, table, text

SIGNS: Final = {"fail": ("bad", "!"), "warn": ("warn", "!"), "pass": ("good", "\u2713")}
ORDER: Final = {"fail": 0, "warn": 1, "pass": 2}


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
            Cell(f"{sign(kind, mark)} {text(item['level'])}", ORDER.get(item["level"], 0)),
            Cell(text(item["arm"] or "all")),
            Cell(text(said)),
        ]
        rows.append(("", cells))
    columns = [Column(label) for label in ("Looked at", "Result", "Recipes", "What was found")]
    return table(columns, rows, name="check-items", label="What was looked at before training")


def about(record: Mapping[str, Any]) -> str:
    """A sentence on how much was looked at."""
    left_out = [str(name).replace("_", " ") for name in record.get("left_out") or []]
    if not left_out:
        return "What was looked at before training, worst first."
    return f"What was looked at before training, worst first. Left out, to save time: {', '.join(left_out)}; lanework check looks at all."
