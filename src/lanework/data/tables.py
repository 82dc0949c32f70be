"""Tables from files: CSV and its relatives, and Parquet.

Owns parsing; what a column means is decided in ``columns``. pyarrow is imported inside functions.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lanework.data.columns import NUMBER_MARKERS, decimal_sign
from lanework.data.dialect import Dialect, guess_dialect
from lanework.data.files import MAX_LINE_BYTES, decode_text, read_bytes, read_head
from lanework.data.messages import bad, count, listed

__all__ = ["parquet_columns", "parquet_names", "text_columns", "text_names"]

_HEAD_BYTES = 2**18


def text_columns(
    path: Path,
    *,
    delimiter: str | None = None,
    header: bool | None = None,
    target: str | None = None,
    missing: tuple[str, ...] = (),
    as_text: tuple[str, ...] = (),
    max_line_bytes: int = MAX_LINE_BYTES,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Read a CSV-like file into Arrow columns.

    Args:
        path: The file; .gz is unpacked.
        delimiter: Instead of guessing.
        header: Whether the first line holds names, instead of guessing.
        target: Name of the target column (a first line with it is a header).
        missing: Extra missing markers.
        as_text: Columns that must be kept as text (categories such as 007).
        max_line_bytes: Longest line allowed.

    Returns:
        Name to Arrow array, and sentences about what was guessed.

    Raises:
        DataError: Empty, binary, ragged, or with an endless line or quote.
    """
    raw = read_bytes(path, max_line_bytes=max_line_bytes)
    data, decisions = decode_text(raw, path.name)
    del raw
    dialect = guess_dialect(
        _first_lines(data), path.name, delimiter=delimiter, header=header, target=target
    )
    if dialect.delimiter == " ":
        data = re.sub(rb"[ \t]+", b" ", re.sub(rb"(?m)^[ \t]+|[ \t\r]+$", b"", data))
    table = _parse(data, path.name, dialect=dialect, missing=missing, as_text=as_text)
    # 1.234 beside cells such as 5.599,35 is a whole number: such columns are read again as text.
    doubles = tuple(field.name for field in table.schema if str(field.type) == "double")
    if doubles and decimal_sign(
        dict(zip(dialect.names, table.columns, strict=True)), missing=missing
    ):
        texts = (*as_text, *doubles)
        table = _parse(data, path.name, dialect=dialect, missing=missing, as_text=texts)
    return (
        {name: table.column(index) for index, name in enumerate(dialect.names)},
        (*decisions, *dialect.decisions),
    )


def text_names(
    path: Path, *, delimiter: str | None, header: bool | None, target: str | None
) -> tuple[str, ...]:
    """The column names of a CSV-like file, from its first lines only.

    Raises:
        DataError: Empty, or no text.
    """
    head = read_head(path, _HEAD_BYTES)
    if not head.strip():
        read_bytes(path)
    data, _ = decode_text(head, path.name)
    return guess_dialect(
        _first_lines(data), path.name, delimiter=delimiter, header=header, target=target
    ).names


def parquet_columns(path: Path) -> dict[str, Any]:
    """Read a Parquet file into Arrow columns.

    Raises:
        DataError: Broken, empty, or with repeated names.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(read_bytes(path)))
    except (pa.ArrowException, OSError) as error:
        raise _broken_parquet(path, error) from error
    names = table.column_names
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise bad(
            path.name,
            "must have distinct column names",
            got=f"{listed(repeated)} more than once",
            do="Rename them when writing the file.",
        )
    if table.num_rows == 0:
        raise bad(
            path.name, "must hold rows of data", got="none", do="Check how the file was written."
        )
    return {name: table.column(name) for name in names if name != "__index_level_0__"}


def parquet_names(path: Path) -> tuple[str, ...]:
    """The column names of a Parquet file, without reading the cells.

    Raises:
        DataError: Broken.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".gz":
            return tuple(pq.read_schema(pa.BufferReader(read_bytes(path))).names)
        return tuple(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise _broken_parquet(path, error) from error


def _broken_parquet(path: Path, error: Exception) -> Exception:
    return bad(
        path.name,
        "must be a whole Parquet file",
        got=f"one that cannot be read ({str(error).splitlines()[0]})",
        do="Copy or write the file again.",
    )


def _first_lines(data: bytes) -> str:
    """The first complete lines as text."""
    head = data[:_HEAD_BYTES]
    end = head.rfind(b"\n")
    if len(data) > _HEAD_BYTES and end > 0:
        head = head[:end]
    return head.decode("utf-8", errors="replace")


def _parse(
    data: bytes,
    name: str,
    *,
    dialect: Dialect,
    missing: tuple[str, ...],
    as_text: tuple[str, ...],
) -> Any:
    """The Arrow table, all rows of equal length."""
    import pyarrow as pa
    from pyarrow import csv

    ragged: list[Any] = []

    def keep(row: Any) -> str:
        ragged.append(row)
        return "skip"

    has_quotes = b'"' in data
    parse = csv.ParseOptions(
        delimiter=dialect.delimiter, newlines_in_values=has_quotes, invalid_row_handler=keep
    )
    read = csv.ReadOptions(
        column_names=list(dialect.names),
        skip_rows=int(dialect.has_header),
        use_threads=len(data) > 2**22,
        block_size=max(2**22, _longest_line(data) + 1),
    )
    convert = csv.ConvertOptions(
        null_values=[*NUMBER_MARKERS, *missing],
        strings_can_be_null=False,
        true_values=["true", "True", "TRUE"],
        false_values=["false", "False", "FALSE"],
        column_types=dict.fromkeys(set(as_text) & set(dialect.names), pa.string()),
    )
    try:
        table = csv.read_csv(
            pa.BufferReader(data), read_options=read, parse_options=parse, convert_options=convert
        )
    except pa.ArrowInvalid as error:
        if not ragged:
            raise _unparsable(name, str(error)) from error
    if ragged:
        raise _ragged(data, name, dialect=dialect, rows=ragged)
    if has_quotes and data.count(b'"') % 2:
        _check_last_quote(table, data, name)
    return table


def _longest_line(data: bytes) -> int:
    """Bytes of the longest line, looked for only where a line could exceed a block."""
    longest = start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + 2**21)
        if end < 0:
            end = data.find(b"\n", start)
            end = len(data) if end < 0 else end
            longest = max(longest, end - start)
        start = end + 1
    return longest + 2**21


def _unparsable(name: str, reason: str) -> Exception:
    return bad(
        name,
        "must be a table",
        got=f"something the reader stops at ({reason.splitlines()[0]})",
        do="Check the quotes, or set data.delimiter.",
    )


def _ragged(data: bytes, name: str, *, dialect: Dialect, rows: list[Any]) -> Exception:
    """Which lines have the wrong number of cells, by a slow second look."""
    expected = len(dialect.names)
    lines = data.split(b"\n")
    numbers_of: dict[bytes, list[int]] = {}
    for number, content in enumerate(lines, 1):
        numbers_of.setdefault(content.rstrip(b"\r"), []).append(number)
    shown = []
    for row in rows[:3]:
        numbers = numbers_of.get(row.text.encode().rstrip(b"\r\n"))
        line = numbers.pop(0) if numbers else None
        shown.append(
            f"{'a line' if line is None else f'line {line}'} with {count(row.actual_columns, 'cell')}"
        )
    more = f" and {count(len(rows) - 3, 'more line')}" if len(rows) > 3 else ""
    return bad(
        name,
        f"must have {count(expected, 'cell')} in every line",
        got=f"{', '.join(shown)}{more}",
        do="Put quotes around cells that contain the delimiter, complete the lines, or set "
        "data.delimiter.",
    )


def _check_last_quote(table: Any, data: bytes, name: str) -> None:
    """Raise when a quote is opened and never closed, so that the rest became one cell.

    Raises:
        DataError: The last row has a cell that runs over lines to the end of the file.
    """
    import pyarrow as pa

    for cells in table.columns:
        if not pa.types.is_string(cells.type) or len(cells) == 0:
            continue
        last = cells[-1].as_py() or ""
        tail = data.rstrip()[-40:].decode("utf-8", errors="replace").replace("\r\n", "\n")
        if "\n" in last and last.rstrip().replace("\r\n", "\n").endswith(
            tail[-20:].split("\n")[-1]
        ):
            first = data.rstrip().count(b"\n") - last.rstrip().count("\n") + 1
            raise bad(
                name,
                "must close every quote it opens",
                got=f"a quote opened in line {first} that runs to the end of the file",
                do="Close it, or double quotes that belong to the text.",
            )
