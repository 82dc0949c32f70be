"""Writes docs/reference/ anew from the catalogue, the study schema and the command line.

    python tools/make_reference.py            write the pages
    python tools/make_reference.py --check    only say which pages are out of date (exit 1)

`docs/reference/results.md` is written by hand and left alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from lanework import cli, spec
from lanework.catalog import CATALOG, KINDS, Entry, Hyper

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
MADE = "<!-- Made by `make docs`; do not edit. -->"
COMMANDS = ("run", "plan", "list", "schema", "show", "report", "rate", "heal", "surface")
SECTIONS = {
    "": "At the top",
    "data": "`data`",
    "SplitSpec": "`data.split`",
    "train": "`train`",
    "GroupSpec": "`train.groups`",
    "EarlyStopping": "`train.early_stopping`",
    "Heal": "`train.heal`",
}


def pages() -> dict[str, str]:
    """Every generated page by file name."""
    return {
        "catalogue.md": catalogue_page(),
        "cli.md": cli_page(),
        "study-file.md": study_page(spec.schema()),
        "study.schema.json": json.dumps(spec.schema(), indent=1) + "\n",
    }


def catalogue_page() -> str:
    """All rows of the catalogue, by kind."""
    lines = ["# Catalogue", "", MADE, "", "Everything that can be chosen by name in a study file."]
    lines += [
        "`lanework list [KIND] [NAME]` prints the same. *Traced* values vary by lane inside one"
    ]
    lines += ["compiled program; comparing *static* ones compiles one program for each.", ""]
    for kind, what in KINDS.items():
        lines += [f"## {kind}", "", f"{what[0].upper()}{what[1:]}.", ""]
        for row in CATALOG[kind].values():
            lines += [*_row(row), ""]
    return "\n".join(lines)


def _row(row: Entry) -> list[str]:
    lines = [f"### `{row.name}`", "", row.summary, ""]
    lines += [f"- Formula: {_code(row.formula)}"] if row.formula else []
    lines += [f"- Source: {row.source}"] if row.source else []
    lines += [f"- Note: {row.notes}"] if row.notes else []
    if row.hypers:
        lines += ["", "| option | default | must be | | what it is |", "|---|---|---|---|---|"]
        lines += [_option(hyper) for hyper in row.hypers]
    return lines


def _option(hyper: Hyper) -> str:
    kind = "traced" if hyper.traced else "static"
    default = "not set" if hyper.default is None else _code(_value(hyper.default))
    cells = [f"`{hyper.name}`", default, hyper.range_text(), kind, hyper.summary]
    return _table_line(cells)


def cli_page() -> str:
    """The help of every command."""
    lines = [
        "# Command line",
        "",
        MADE,
        "",
        "Exit codes: 0 done; 1 the study ran, but no run of it ended",
    ]
    lines += [
        "well; 2 a bad request, told in words without a traceback; 130 interrupted, and resumable.",
        "",
    ]
    for command in ("", *COMMANDS):
        arguments = [*([command] if command else []), "--help"]
        shown = CliRunner().invoke(cli.app, arguments, prog_name="lanework", env={"COLUMNS": "80"})
        lines += [f"## lanework {command}".rstrip(), "", "```text", shown.output.strip(), "```", ""]
    return "\n".join(lines)


def study_page(schema: Mapping[str, Any]) -> str:
    """Every key of a study file."""
    lines = [
        "# Study file",
        "",
        MADE,
        "",
        "All keys, with what they are when a study does not say. Any",
    ]
    lines += [
        "scalar can be a factor under `compare`. An editor completes and checks study files with the"
    ]
    lines += ["[JSON schema](study.schema.json) (`lanework schema` prints it).", ""]
    for name, title in SECTIONS.items():
        section = schema["$defs"][name] if name else schema
        lines += [f"## {title}", "", "| key | default | what it is |", "|---|---|---|"]
        lines += [_key(key, part) for key, part in section["properties"].items()]
        lines += [""]
    lines += [
        "## `model`",
        "",
        "`net` names the network; its options stand beside it. For an own module",
    ]
    lines += ["(`net: file.py:Class`) the other keys are arguments of its constructor.", ""]
    for row in CATALOG["net"].values():
        lines += [f"### `net: {row.name}`", "", *_row(row)[2:], ""]
    return "\n".join(lines)


def _key(key: str, part: Mapping[str, Any]) -> str:
    if "$ref" in part:
        title = SECTIONS.get(part["$ref"].rpartition("/")[2], key).strip("`")
        return _table_line([f"`{key}`", "", f"see [`{title}`](#{title.replace('.', '')})"])
    default = part.get("default", "")
    shown = (
        "" if default in ("", None, {}, []) or isinstance(default, dict) else _code(_value(default))
    )
    return _table_line([f"`{key}`", shown, part.get("description", "")])


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _code(text: str) -> str:
    return f"`{text}`"


def _table_line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def main() -> int:
    """Write the pages, or only compare."""
    is_check = "--check" in sys.argv[1:]
    stale = []
    for name, text in pages().items():
        path = FOLDER / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not is_check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    print(f"{'out of date' if is_check else 'written'}: {', '.join(stale) or 'nothing'}")
    return int(is_check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
