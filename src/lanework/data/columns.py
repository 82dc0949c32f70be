"""From cells to typed columns: numbers, dates, categories, and what counts as missing.

Owns every guess about a column. pyarrow is imported inside functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lanework.data.messages import bad, count, listed
from lanework.data.types import Array, Column, Table
from lanework.data.writing import (
    date_order,
    guess_writing,
    is_number_writing,
    iso_date,
    number_text,
    told_writing,
)

__all__ = [
    "NUMBER_MARKERS",
    "TEXT_MARKERS",
    "Guesses",
    "arrow_array",
    "decimal_sign",
    "frame_columns",
    "read_column",
    "read_columns",
    "table_from_frame",
]

NUMBER_MARKERS = (
    *("", "?", "-", "--", ".", "*", "NA", "N/A", "n/a", "na", "#N/A", "#NA", "<NA>", "NaN", "nan"),
    *("NAN", "-nan", "-NaN", "null", "NULL", "Null", "None", "none", "NONE", "nil", "missing"),
)
"""Missing in a column of numbers."""

TEXT_MARKERS = ("", "?")
"""Missing in a column of text, where NA may be Namibia and Nan a name."""

_AMBIGUOUS = frozenset(NUMBER_MARKERS) - frozenset(TEXT_MARKERS) - {"-", "--", ".", "*"}
_TOO_LARGE = 1e30


@dataclass
class Guesses:
    """Sentences gathered while columns are read; the same kind of guess is told once.

    Attributes:
        decisions: Finished sentences.
        dropped: Columns left out, with the reason.
        by_kind: Column names by the kind of guess, for sentences that join columns.
        markers: Missing markers that were met.
        num_huge: Cells that were infinite or huge.
        decimal: ``comma`` when some column of the table surely has a decimal comma.
    """

    decisions: list[str]
    dropped: list[tuple[str, str]]
    by_kind: dict[str, list[str]]
    markers: set[str]
    num_huge: int = 0
    decimal: str = ""

    @classmethod
    def empty(cls) -> Guesses:
        """No guesses yet."""
        return cls([], [], {}, set())

    def note(self, kind: str, name: str) -> None:
        """Remember that this guess was made for this column."""
        self.by_kind.setdefault(kind, []).append(name)

    def note_markers(self, name: str, markers: set[str]) -> None:
        """Remember which words were read as missing in this column (empty cells go unsaid)."""
        if markers - {""}:
            self.note("marker", name)
            self.markers |= markers - {""}

    def sentences(self) -> tuple[str, ...]:
        """Everything that was decided."""
        joined = [
            text.format(
                columns=("Column " if len(names) == 1 else "Columns ") + listed(names),
                markers=listed(sorted(self.markers)),
                huge=count(self.num_huge, "cell"),
            )
            for kind, text in _SENTENCES.items()
            if (names := self.by_kind.get(kind))
        ]
        return (*self.decisions, *joined)


_SENTENCES = {
    "marker": "{columns}: {markers} read as missing.",
    "bool": "{columns}: true and false enter as 1 and 0.",
    "date": "{columns}: dates enter as days since 1970-01-01.",
    "decimal_comma": "{columns}: written with a decimal comma.",
    "thousands": "{columns}: written with commas between the thousands.",
    "infinite": "{columns}: {huge} infinite or huge (above 1e30): counted as missing.",
}


def read_columns(
    columns: Mapping[str, Any],
    *,
    kinds: Mapping[str, str],
    missing: Sequence[str],
    target: str | None,
    guesses: Guesses,
) -> Table:
    """Turn Arrow columns into typed ones; columns without use are left out with a reason.

    Args:
        columns: Name to Arrow array, in file order.
        kinds: What the study file says: numeric, category, date or ignore, by column; or what
            training found, as ``numeric:`` or ``date:`` with the writing of the cells.
        missing: Extra missing markers.
        target: The column to predict; never left out.
        guesses: Filled with what was decided.

    Returns:
        The table, target included.

    Raises:
        DataError: A column does not hold what ``kinds`` says.
    """
    found = []
    guesses.decimal = decimal_sign(columns, missing=missing)
    for name, cells in columns.items():
        given = kinds.get(name)
        if given == "ignore":
            guesses.dropped.append((name, "ignored, as data.columns says"))
            continue
        if given is None and name == target and str(cells.type) == "bool":
            given = "category"
        column = read_column(name, cells, given=given, missing=missing, guesses=guesses)
        reason = "" if given or name == target else _useless(column)
        if not given and name != target and name in guesses.by_kind.get("unclear_date", ()):
            reason = (
                "dates whose day and month cannot be told apart (no part is above 12); write them "
                "like 2024-12-31"
            )
        if reason:
            guesses.dropped.append((name, reason))
        else:
            found.append(column)
    return Table(tuple(found))


def read_column(
    name: str, cells: Any, *, given: str | None, missing: Sequence[str], guesses: Guesses
) -> Column:
    """Turn one Arrow array into a typed column.

    Args:
        name: Its name.
        cells: ``pyarrow.Array`` or ``ChunkedArray``.
        given: numeric, category or date when asked for; None guesses. With a colon, what training
            found: ``numeric:comma|€``.
        missing: Extra missing markers.
        guesses: Filled with what was decided.

    Returns:
        The column.

    Raises:
        DataError: The cells are not what was asked for, or of a nested type.
    """
    import pyarrow as pa

    kind = cells.type
    if pa.types.is_dictionary(kind):
        cells = cells.cast(kind.value_type)
        kind = cells.type
    cell_kind = _cell_kind(kind)
    base, _, _ = (given or "").partition(":")
    if pa.types.is_boolean(kind) and given != "category":
        guesses.note("bool", name)
        return Column(name, "numeric", _floats(cells), (), given is not None, "", cell_kind)
    if pa.types.is_temporal(kind) and given != "category":
        return _date_column(name, cells, given=given, guesses=guesses)
    if _is_number_type(kind) and given != "category":
        values = _finite(name, _floats(cells), guesses)
        return Column(name, base or "numeric", values, (), given is not None, "", cell_kind)
    codes, levels = _encode(name, cells)
    column = _text_column(name, codes, levels, given=given, missing=missing, guesses=guesses)
    return column if column.kind == "numeric" else replace(column, cell_kind=cell_kind)


def _cell_kind(kind: Any) -> str:
    """What the cells are when they come: text, int, float or bool."""
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "int"
    return "float" if pa.types.is_floating(kind) or pa.types.is_decimal(kind) else "text"


def decimal_sign(columns: Mapping[str, Any], *, missing: Sequence[str]) -> str:
    """``comma`` when the first cells of some text column surely have a decimal comma."""
    import pyarrow as pa

    for cells in columns.values():
        if not (pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)):
            continue
        head = [str(cell).strip() for cell in cells[:200].to_pylist() if cell is not None]
        words = [cell for cell in head if cell not in NUMBER_MARKERS and cell not in missing]
        if is_number_writing(words, guess_writing(words)):
            return "comma"
    return ""


def table_from_frame(
    frame: Any,
    *,
    kinds: Mapping[str, str],
    missing: Sequence[str] = (),
    target: str | None = None,
    guesses: Guesses,
) -> Table:
    """Turn a pandas DataFrame (or a mapping of names to arrays) into a table.

    Raises:
        DataError: Names repeat, or a column holds something that is no cell.
    """
    columns = frame_columns(frame)
    return read_columns(columns, kinds=kinds, missing=missing, target=target, guesses=guesses)


def frame_columns(frame: Any) -> dict[str, Any]:
    """Name to Arrow array of a DataFrame or a mapping of columns.

    Raises:
        DataError: Names repeat.
    """
    keys = list(frame.columns if hasattr(frame, "columns") else frame)
    names = [str(key) for key in keys]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise bad(
            "data",
            "must have distinct column names",
            got=f"{listed(repeated)} more than once",
            do="Rename them: df.columns = [...].",
        )
    return {name: arrow_array(frame[key]) for name, key in zip(names, keys, strict=True)}


def arrow_array(cells: Any) -> Any:
    """An Arrow array of any one-dimensional thing; mixed cells become text."""
    import pyarrow as pa

    try:
        return pa.array(cells, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        texts = [None if _is_nothing(cell) else str(cell) for cell in cells]
        return pa.array(texts, pa.string())


def _is_nothing(cell: object) -> bool:
    return cell is None or cell != cell


def _is_number_type(kind: Any) -> bool:
    import pyarrow as pa

    types = pa.types
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_null(kind)
    )


def _floats(cells: Any) -> Array:
    """Arrow numbers or booleans as float64 with NaN for missing, shape [n]."""
    import pyarrow as pa

    if pa.types.is_boolean(cells.type):
        cells = cells.cast(pa.uint8())
    values = cells.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.array(values, np.float64)


def _finite(name: str, values: Array, guesses: Guesses) -> Array:
    """The values with infinite and huge ones turned into NaN, said aloud."""
    with np.errstate(invalid="ignore"):
        is_huge = np.abs(values) > _TOO_LARGE
    if not is_huge.any():
        return values
    guesses.note("infinite", name)
    guesses.num_huge += int(is_huge.sum())
    return np.where(is_huge, np.nan, values)


def _date_column(name: str, cells: Any, *, given: str | None, guesses: Guesses) -> Column:
    """Dates and times as days since 1970 (times of day as fractions of a day)."""
    import pyarrow as pa

    if pa.types.is_duration(cells.type) or pa.types.is_time(cells.type):
        cells = cells.cast(pa.int32() if pa.types.is_time32(cells.type) else pa.int64())
        return Column(name, "numeric", _floats(cells), (), given is not None)
    stamps = cells.cast(pa.timestamp("s"), safe=False)
    days = _floats(stamps.cast(pa.int64())) / 86400.0
    guesses.note("date", name)
    return Column(name, "date", days, (), given is not None)


def _encode(name: str, cells: Any) -> tuple[Array, list[str]]:
    """Codes [n] (-1 for null) and the distinct texts, blanks around them removed."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = cells.type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise bad(
            f"column '{name}'",
            "must hold numbers, text, dates or true/false",
            got=f"cells of type {kind}",
            do=f"Leave it out with data.columns: {{'{name}': ignore}}, or convert it first.",
        )
    texts = cells.cast(pa.string())
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    encoded = pc.utf8_trim_whitespace(texts).dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return codes, encoded.dictionary.to_pylist()


def _text_column(
    name: str,
    codes: Array,
    levels: list[str],
    *,
    given: str | None,
    missing: Sequence[str],
    guesses: Guesses,
) -> Column:
    """A column of text cells: numbers after all, dates, or categories."""
    markers = {*NUMBER_MARKERS, *missing}
    if given != "category":
        is_date = given is not None and given.startswith("date")
        words = [level for level in levels if level not in markers]
        order = date_order(words) if given is None or is_date else ""
        if is_date or order in ("day", "month", "year"):
            return _parse_dates(
                name, codes, levels, markers=markers, given=given, order=order, guesses=guesses
            )
        if order == "unclear":
            guesses.note("unclear_date", name)
        numbers = _parse_numbers(name, codes, levels, markers=markers, given=given, guesses=guesses)
        if numbers is not None:
            return replace(numbers, is_given=given is not None)
    text_markers = {*TEXT_MARKERS, *missing}
    guesses.note_markers(name, text_markers.intersection(levels))
    kept = sorted(level for level in levels if level not in text_markers)
    position = {level: code for code, level in enumerate(kept)}
    recode = np.array([*(position.get(level, -1) for level in levels), -1], np.int32)
    _tell_ambiguous(name, kept, guesses)
    return Column(name, "category", recode[codes], tuple(kept), given is not None)


def _tell_ambiguous(name: str, levels: Iterable[str], guesses: Guesses) -> None:
    words = sorted(_AMBIGUOUS.intersection(levels))
    if words:
        guesses.decisions.append(
            f"Column '{name}' holds text, so {listed(words)} stays a value of its own; list it "
            "under data.missing to have it read as missing."
        )


def _parse_numbers(
    name: str,
    codes: Array,
    levels: list[str],
    *,
    markers: set[str],
    given: str | None,
    guesses: Guesses,
) -> Column | None:
    """The column as numbers, or None when it is text."""
    words = [level for level in levels if level not in markers]
    base, is_known, known = (given or "").partition(":")
    writing = known or guess_writing(words, hint=guesses.decimal)
    values = np.array([*(_to_float(level, writing, markers) for level in levels), np.nan])
    is_wrong = np.isnan(values[:-1]) & np.array([level not in markers for level in levels], bool)
    wrong = [level for level, flag in zip(levels, is_wrong, strict=True) if flag]
    if base == "numeric" and wrong:
        cells = int(np.isin(codes, np.flatnonzero(is_wrong)).sum())
        raise bad(
            f"column '{name}'",
            f"must hold numbers, as {'in training' if is_known else 'data.columns says'}",
            got=f"{count(cells, 'cell')} such as {listed(wrong, limit=3)}",
            do="Correct these cells, or leave them empty if the value is missing."
            if is_known
            else "Correct them, list them under data.missing, or call the column a category.",
        )
    num_numbers = len(words) - len(wrong)
    if len(wrong) > (1 if num_numbers >= 20 else 0) or (num_numbers == 0 and base != "numeric"):
        return None
    if wrong:
        cells = int((codes == levels.index(wrong[0])).sum())
        guesses.decisions.append(
            f"Column '{name}' holds numbers except for '{wrong[0]}' ({count(cells, 'cell')}), which "
            "counts as missing."
        )
    guesses.note_markers(name, markers.intersection(levels))
    _tell_writing(name, writing, guesses)
    cells_found = _finite(name, values[codes], guesses)
    present = values[np.isfinite(values)]
    is_whole = bool(np.all(present == np.round(present))) and not any("." in w for w in words)
    kind = "int" if is_whole else "float"
    return Column(name, "numeric", cells_found, (), False, writing, kind)


def _tell_writing(name: str, writing: str, guesses: Guesses) -> None:
    """Say how the numbers are written, when not as Python writes them."""
    separators, mark = told_writing(writing)
    if separators:
        guesses.note(separators, name)
    if mark:
        guesses.decisions.append(
            f"Column '{name}': numbers written with '{mark}', which is left away (the values stay "
            "in that unit)."
        )


def _parse_dates(
    name: str,
    codes: Array,
    levels: list[str],
    *,
    markers: set[str],
    given: str | None,
    order: str,
    guesses: Guesses,
) -> Column:
    """Dates in any common writing, for a column that holds them or is said to."""
    import pandas as pd

    _, is_known, known = (given or "").partition(":")
    order = known or order
    texts = [None if level in markers else iso_date(level, order) for level in levels]
    stamps = pd.to_datetime(pd.Series(texts, dtype="str"), errors="coerce", format="mixed")
    wrong = [text for text, is_bad in zip(texts, stamps.isna(), strict=True) if is_bad and text]
    if wrong and given is None:
        guesses.decisions.append(
            f"Column '{name}' holds dates that no calendar has ({listed(wrong, limit=3)}): counted "
            "as missing."
        )
    elif wrong:
        raise bad(
            f"column '{name}'",
            f"must hold dates, as {'in training' if is_known else 'data.columns says'}",
            got=f"{listed(wrong, limit=3)}",
            do="Write dates like 2024-12-31, or call the column a category.",
        )
    days = (stamps - pd.Timestamp(0)) / pd.Timedelta(days=1)
    guesses.note("date", name)
    if order in ("day", "month", "unclear"):
        first = "day" if order == "day" else "month"
        guesses.decisions.append(f"Column '{name}': dates are read with the {first} first.")
    values = np.append(days.to_numpy(float), np.nan)[codes]
    return Column(name, "date", values, (), given is not None, order)


def _to_float(word: str, writing: str, markers: set[str]) -> float:
    if word in markers or "_" in word:
        return np.nan
    try:
        return float(number_text(word, writing))
    except ValueError:
        return np.nan


def _useless(column: Column) -> str:
    """Why a guessed column should not enter, or an empty string."""
    missing = column.missing()
    num_present = int(len(missing) - missing.sum())
    if num_present == 0:
        return "every cell is missing"
    if column.kind == "category":
        num_levels = len(column.levels)
        if num_levels > 20 and num_levels > 0.5 * num_present:
            return f"free text or names ({count(num_levels, 'different value')})"
        return ""
    if column.kind == "numeric" and num_present == len(missing) > 20:
        steps = np.diff(column.values)
        if np.all(steps == 1) and column.values[0] in (0.0, 1.0):
            return "row numbers"
    return ""
