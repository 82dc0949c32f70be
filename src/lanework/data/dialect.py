"""How a text table is written: what separates cells, and whether the first line is a header.

Owns guessing; looks at the first lines only. Standard library only.
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass

from lanework.data.messages import bad, count, listed

__all__ = ["Dialect", "guess_dialect", "is_number"]

_DELIMITERS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas"}
_WORDS = {**_DELIMITERS, " ": "blanks"}
_NAMED = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|", "space": " "}
_SAMPLE_LINES = 200


@dataclass(frozen=True)
class Dialect:
    """How a text table is written.

    Attributes:
        delimiter: One character; a blank stands for any run of blanks and tabs.
        has_header: The first line holds the column names.
        names: The column names: from the header, or ``column 1`` and so on.
        decisions: What was guessed, as sentences.
    """

    delimiter: str
    has_header: bool
    names: tuple[str, ...]
    decisions: tuple[str, ...] = ()


def guess_dialect(
    sample: str,
    name: str,
    *,
    delimiter: str | None = None,
    header: bool | None = None,
    target: str | None = None,
) -> Dialect:
    r"""Guess delimiter and header from the beginning of a text table.

    The delimiter is the one that cuts most lines into the same number of cells (more than one),
    unless the first line has the target's name as a cell under one delimiter only.
    The first line is a header when none of its cells is a number or empty and either the cells
    below are numbers in some column, or its cells never occur again below.

    Args:
        sample: The first lines, complete ones.
        name: File name for messages.
        delimiter: What the study file says, instead of guessing.
        header: What the study file says, instead of guessing.
        target: Name of the target column; a first line that contains it is a header.

    Returns:
        The dialect with sentences about every guess.

    Raises:
        DataError: There is a header and nothing else, or the delimiter is no single character.

    Example:
        >>> guess_dialect("age;job\n31;cook\n45;smith\n", "people.csv").names
        ('age', 'job')
    """
    lines = [line for line in sample.splitlines() if line.strip()][:_SAMPLE_LINES]
    mark = _delimiter(lines, name, given=delimiter, target=target)
    rows = _cells(lines, mark)
    has_header = _has_header(rows, target) if header is None else header
    guessed = [
        f"{name}: cells are separated by {_WORDS.get(mark, repr(mark))}"
        f"{'' if delimiter is None else ' (as given)'}",
        f"the first line {'holds the column names' if has_header else 'is data, not a header'}"
        f"{'' if header is None else ' (as given)'}",
    ]
    if has_header and len(rows) < 2:
        raise bad(
            name,
            "must hold rows of data",
            got=f"a header only ({listed(rows[0])})" if rows else "no line",
            do="Check how the file was written; set data.header to false if this line is data.",
        )
    decisions = [f"{'; '.join(guessed)}."]
    num_cells = len(rows[0])
    names = [f"column {number}" for number in range(1, num_cells + 1)]
    if has_header:
        names, changes = _header_names(rows, name)
        decisions += changes
    return Dialect(mark, has_header, tuple(names), tuple(decisions))


def is_number(cell: str) -> bool:
    """Whether a cell reads as a number (a decimal comma counts)."""
    try:
        float(cell.replace(",", ".", 1))
    except ValueError:
        return False
    return True


def _delimiter(lines: list[str], name: str, *, given: str | None, target: str | None) -> str:
    if given is not None:
        mark = _NAMED.get(given, given)
        if len(mark) != 1:
            raise bad(
                "data.delimiter",
                "must be one character (or tab, comma, semicolon, bar, space)",
                got=repr(given),
                do=f"Leave it out to have it guessed for {name}.",
            )
        return mark
    tried = {mark: _cells(lines, mark) for mark in _DELIMITERS}
    marks = [*_DELIMITERS, " "] if target and not is_number(target) and lines else []
    fitting = [mark for mark in marks if _has_cell(lines[0], mark, target)]
    if len(fitting) == 1:
        return fitting[0]
    best = max(tried, key=lambda mark: (_consistency(tried[mark]), _share_of_numbers(tried[mark])))
    if _consistency(tried[best]) > 0.5:
        return best
    return " " if _consistency(_cells(lines, " ")) > 0.9 else ","


def _consistency(rows: list[list[str]]) -> float:
    """Share of lines with the commonest number of cells; 0 when that is one cell."""
    if not rows:
        return 0.0
    (num_cells, num_lines), *_ = Counter(len(row) for row in rows).most_common(1)
    return num_lines / len(rows) if num_cells > 1 else 0.0


def _has_cell(line: str, mark: str, text: str | None) -> bool:
    """Whether the text is one of several cells of the line."""
    row = (_cells([line], mark) or [[]])[0]
    return len(row) > 1 and text in row


def _share_of_numbers(rows: list[list[str]]) -> float:
    """Tells 1,5;2,5 (semicolons, decimal commas) from 1,5;2,5 cut at the commas."""
    cells = [cell for row in rows for cell in row]
    return sum(is_number(cell) for cell in cells) / max(len(cells), 1)


def _cells(lines: list[str], mark: str) -> list[list[str]]:
    if mark == " ":
        return [line.split() for line in lines]
    try:
        rows = list(csv.reader(lines, delimiter=mark, skipinitialspace=True))
    except csv.Error:
        rows = [line.split(mark) for line in lines]
    return [[cell.strip() for cell in row] for row in rows if row]


def _has_header(rows: list[list[str]], target: str | None) -> bool:
    if not rows:
        return True
    first, below = rows[0], rows[1:]
    if target is not None and target in first:
        return not _may_be_number_of_column(target, first)
    if any(is_number(cell) for cell in first) or not any(first) or not below:
        return not below and not any(is_number(cell) for cell in first)
    columns = list(zip(*[row for row in below if len(row) == len(first)], strict=False))
    if any(any(is_number(cell) for cell in column) for column in columns):
        return True
    return not any(cell in column for cell, column in zip(first, columns, strict=False))


def _may_be_number_of_column(target: str, first: list[str]) -> bool:
    """Whether the target counts columns and the first line is data, not a header 0, 1, 2, ..."""
    if not target.isdigit() or not 1 <= int(target) <= len(first):
        return False
    is_counted = any(first == [str(start + i) for i in range(len(first))] for start in (0, 1))
    return not is_counted and all(is_number(cell) for cell in first if cell == target)


def _header_names(rows: list[list[str]], name: str) -> tuple[list[str], list[str]]:
    """Distinct, non-empty names, and sentences about what was changed to get them."""
    names = list(rows[0])
    decisions = []
    if len(rows) > 1 and all(len(row) == len(names) + 1 for row in rows[1:]):
        names = ["row name", *names]
        decisions.append(
            f"{name}: the header has one name less than the rows have cells; the first cells are "
            "taken for row names."
        )
    for index, cell in enumerate(names):
        if not cell:
            names[index] = f"column {index + 1}"
    seen: Counter[str] = Counter()
    for index, cell in enumerate(names):
        seen[cell] += 1
        if seen[cell] > 1:
            names[index] = f"{cell} ({seen[cell]})"
    repeated = [cell for cell, number in seen.items() if number > 1]
    if repeated:
        decisions.append(
            f"{name}: {count(len(repeated), 'column name')} {'is' if len(repeated) == 1 else 'are'} "
            f"used more than once ({listed(repeated)}); the later ones are called "
            f"{listed(f'{cell} (2)' for cell in repeated)} and so on."
        )
    return names, decisions
