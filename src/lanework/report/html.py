"""Small pieces of HTML, each escaped where text comes in. Imports the standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from lanework.report import units

text = escape


class Cell(NamedTuple):
    """A table cell: markup, the value it is sorted by, and whether it is a number."""

    html: str
    key: float | str | None = None
    is_number: bool = False


class Column(NamedTuple):
    """Head of a table column."""

    label: str
    is_number: bool = False


def table(
    columns: Sequence[Column],
    rows: Iterable[tuple[str, Sequence[Cell]]],
    *,
    name: str,
    label: str,
    is_sortable: bool = True,
) -> str:
    """A table that scrolls inside of its box; the first cell of a row is its heading.

    Args:
        columns: Heads.
        rows: Attributes of the row (markup, may be empty) and its cells.
        name: Identifier on the page.
        label: What the table shows, for those who cannot see it.
        is_sortable: Whether a click on a head sorts by it.
    """
    heads = "".join(_head(column, is_sortable=is_sortable) for column in columns)
    body = "".join(
        f"<tr{attributes}>{''.join(_cell(cell, is_first=i == 0) for i, cell in enumerate(cells))}</tr>"
        for attributes, cells in rows
    )
    kind = ' class="sortable"' if is_sortable else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(label)}">'
        f'<table id="{name}"{kind}><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def definitions(items: Mapping[str, Any]) -> str:
    """A list of names and values; units come from the names, see `units.by_name`."""
    rows = "".join(
        f"<dt>{text(units.sentence(units.words(name)).rstrip('.'))}</dt><dd>{_value(name, value)}</dd>"
        for name, value in items.items()
        if value not in (None, "", [], {})
    )
    return f'<dl class="facts">{rows}</dl>' if rows else ""


def bullets(sentences: Iterable[Any]) -> str:
    """A list of sentences; empty when there are none."""
    items = "".join(f"<li>{text(str(sentence))}</li>" for sentence in sentences)
    return f'<ul class="plain">{items}</ul>' if items else ""


def swatch(colour: str) -> str:
    """A small square in the colour of a series."""
    return f'<i class="swatch" style="background:{colour}" aria-hidden="true"></i>'


def sign(kind: str, mark: str) -> str:
    """A round mark: ``bad``, ``warn``, ``good`` or plain."""
    return f'<i class="sign {kind}" aria-hidden="true">{mark}</i>'


def island(name: str, data: Any) -> str:
    """Data for the page's script, as strict JSON that cannot end the script element."""
    content = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return f'<script type="application/json" id="{name}">{content.replace("<", chr(92) + "u003c")}</script>'


def _head(column: Column, *, is_sortable: bool) -> str:
    kind = ' class="n"' if column.is_number else ""
    inner = text(column.label)
    if is_sortable:
        inner = f'<button type="button">{inner}</button>'
    return f'<th scope="col"{kind}>{inner}</th>'


def _cell(cell: Cell, *, is_first: bool) -> str:
    key = "" if cell.key is None else f' data-v="{text(str(cell.key))}"'
    kind = ' class="n"' if cell.is_number else ""
    if is_first:
        return f'<th scope="row"{key}{kind}>{cell.html}</th>'
    return f"<td{key}{kind}>{cell.html}</td>"


def _value(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(
            f"{units.words(str(key))} {units.by_name(str(key), item)}"
            for key, item in value.items()
            if not isinstance(item, Mapping | list)
        )
        return text(inside)
    if isinstance(value, list | tuple):
        return text(", ".join(units.scalar(item) for item in value[:20]))
    return text(units.by_name(name, value))
