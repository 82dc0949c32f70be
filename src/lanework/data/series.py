"""A table in order of time as samples for forecasting: windows of the past, values some rows ahead.

Owns what is the past of what: order of the rows, gaps, and which window belongs to which part. The
rule against leaks: a sample belongs to the part in which its targets lie, all of them; its window
may reach back into the part before, whose values are known by then. numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lanework.data import sequences
from lanework.data.chronology import in_order, shown_time, told_missing
from lanework.data.held_out import told_unprepared, ways_of_parts
from lanework.data.messages import bad, count, listed, no_column
from lanework.data.ordered import Ordered, borders, finish
from lanework.data.prepare import Preparation, learn_numbers
from lanework.data.sources import resolve_target, table_columns
from lanework.data.types import Array, Column, Dataset, InputInfo, Rows

if TYPE_CHECKING:
    from lanework.spec import DataSpec

__all__ = ["load_series", "origins", "resolve_order"]

_GIVEAWAY = 0.99


class _Series(NamedTuple):
    """A table read as a series, in order of time.

    Attributes:
        matrix: float64 [rows, channels], the target first, gaps as read (NaN).
        names: The channels.
        kinds: numeric or date, and how cells are written, by channel.
        order: The column that says what came first; None: the rows come in order.
        label: What the data is called.
        told: What was decided.
        ignored: Columns that do not enter, with the reason.
    """

    matrix: Array
    names: tuple[str, ...]
    writing: tuple[str, ...]
    order: Column | None
    label: str
    told: tuple[str, ...]
    ignored: tuple[tuple[str, str], ...]


def load_series(spec: DataSpec, *, arrays: Any = None) -> Dataset:
    """Read a time series and cut it into windows.

    Args:
        spec: The data section of a study; ``window`` is given.
        arrays: A DataFrame, or ``(x, y)``, instead of ``spec.source``.

    Returns:
        The data set: x float32 [n, window, channels], y [n, horizons].
        ``summary['persistence']`` says what repeating the last value reaches.

    Raises:
        DataError: The target is no number, a column is not there, or there are too few rows.
    """
    series = _read(spec, arrays=arrays, test=False)
    own = None
    if spec.test_source is not None and arrays is None:
        own = _read(spec, arrays=None, test=True, like=series)
    horizons = spec.horizon if isinstance(spec.horizon, tuple) else (spec.horizon,)
    window = spec.window or 1
    first, second = borders(len(series.matrix), spec, has_own_test=own is not None)
    _check_sizes(first, series, window=window, horizons=horizons)
    numbers = learn_numbers(
        series.matrix[:first],
        series.names,
        kinds=("numeric",) * len(series.names),
        prepare=spec.prepare,
    )
    numbers = tuple(
        replace(rule, writing=writing)
        for rule, writing in zip(numbers, series.writing, strict=True)
    )
    order = () if series.order is None else (series.order.name, _known_kind(series.order))
    record = Preparation("windows", (window, len(numbers)), numbers=numbers, order=order)
    ranges = [(0, first, spec.stride or 1), (first, second, 1), (second, len(series.matrix), 1)]
    ways = ways_of_parts(record, spec)
    cuts = [_cut(series, way, horizons, span=span) for way, span in zip(ways, ranges, strict=True)]
    if own is not None:
        cuts[2] = _cut(own, ways[2], horizons, span=(0, len(own.matrix), 1))
    _check_parts(cuts, spec, has_own_test=own is not None)
    told = (
        *series.told,
        *told_unprepared(spec),
        *(own.told if own else ()),
        _told_split(series, (first, second), has_own_test=own is not None),
        *_told_lost(cuts),
    )
    info = InputInfo(record.shape, len(numbers), (), kind="series")
    return finish(
        Ordered(
            task="regression",
            x=(cuts[0].x, cuts[1].x, cuts[2].x),
            y=(cuts[0].y, cuts[1].y, cuts[2].y),
            record=record,
            input=info,
            name=series.names[0],
            classes=(),
            source=series.label,
            decisions=tuple(dict.fromkeys(told)),
            extra=_described(series, cuts, first=first, window=window, horizons=horizons),
        ),
        spec,
    )


class _Cut(NamedTuple):
    """Samples of one part: inputs, targets in their unit, last known targets, and targets that are missing."""

    x: Array
    y: Array
    last: Array
    num_lost: int


def origins(
    span: tuple[int, int, int], *, num_rows: int, window: int, horizons: tuple[int, ...]
) -> Rows:
    """Rows up to which the samples of a part see: the window ends there, all targets lie in the part.

    Args:
        span: First row of the part, the row after its last, and rows between samples.
        num_rows: Rows of the whole series.
        window: Rows in a window.
        horizons: Rows ahead of the targets.

    Returns:
        Row numbers.

    Example:
        >>> origins((0, 8, 1), num_rows=10, window=3, horizons=(1, 2)).tolist()
        [2, 3, 4, 5]
        >>> origins((8, 10, 1), num_rows=10, window=3, horizons=(1, 2)).tolist()
        [7]
    """
    low, high, stride = span
    start = max(window - 1, low - min(horizons))
    return np.arange(start, min(high, num_rows) - max(horizons), stride)


def resolve_order(order: str | None, names: tuple[str, ...], *, name: str) -> str | None:
    """The column that says what came first, if the study names one.

    Raises:
        DataError: There is no such column.
    """
    if order is None or order in names:
        return order
    raise no_column("data.order", order, names, source=name)


def _cut(
    series: _Series, record: Preparation, horizons: tuple[int, ...], *, span: tuple[int, int, int]
) -> _Cut:
    """The samples of one part; those with a missing target are left out."""
    window = record.shape[0]
    ends = origins(span, num_rows=len(series.matrix), window=window, horizons=horizons)
    filled = sequences.fill_forward(series.matrix)
    targets = np.stack([series.matrix[ends + ahead, 0] for ahead in horizons], axis=1)
    is_known = ~np.isnan(targets).any(axis=1)
    ends = ends[is_known]
    x = np.empty((0, *record.shape), np.float32)
    if len(ends):
        every = record.transform(dict(zip(series.names, filled.T, strict=True)))
        x = np.ascontiguousarray(every[ends - window + 1])
    return _Cut(x, targets[is_known], filled[ends, 0], int((~is_known).sum()))


def _read(spec: DataSpec, *, arrays: Any, test: bool, like: _Series | None = None) -> _Series:
    """A table as channels in order of time."""
    columns, told, label = _columns(spec, arrays, test=test)
    names = tuple(columns)
    target = resolve_target(spec.target, names, name=label)
    order = resolve_order(spec.order, names, name=label)
    if like is not None:
        lacking = [name for name in like.names if name not in columns]
        if lacking:
            raise bad(
                "data.test",
                "must have the columns of data.source",
                got=f"{label} without {listed(lacking)}",
                do="Add these columns.",
            )
        columns = {name: columns[name] for name in names if name in (*like.names, _order_of(like))}
    found, ignored, told_columns = _typed(columns, spec, target=target, order=order, where=label)
    when = found.pop(order or "", None)
    if when is None:
        when = next((column for column in found.values() if column.kind == "date"), None)
    channels = [column for column in found.values() if column.kind == "numeric"]
    channels.sort(key=lambda column: column.name != target)
    dates = [c.name for c in found.values() if c.kind == "date" and c is not when]
    ignored += [(name, "dates, of which another column tells the order") for name in dates]
    matrix = np.stack([column.values for column in channels], axis=1)
    matrix, when, told_order = in_order(matrix, when, where=label)
    told = (*told, *told_columns, *told_order, *told_missing(matrix, channels))
    return _Series(
        matrix,
        tuple(column.name for column in channels),
        tuple(column.writing for column in channels),
        when,
        label,
        (*told, *(f"Column '{name}' is not used: {reason}." for name, reason in ignored)),
        tuple(ignored),
    )


def _order_of(series: _Series) -> str:
    return "" if series.order is None else series.order.name


def _columns(
    spec: DataSpec, arrays: Any, *, test: bool
) -> tuple[Mapping[str, Any], tuple[str, ...], str]:
    """Arrow columns of a file, a DataFrame or features and target; sentences; what it is called."""
    if arrays is None:
        path = Path(spec.test_source or "") if test else Path(spec.source)
        return *table_columns(path, spec, where="data.test" if test else "data.source"), path.name
    from lanework.data.columns import arrow_array, frame_columns

    if hasattr(arrays, "columns") and hasattr(arrays, "iloc"):
        return frame_columns(arrays), (), "the DataFrame"
    if not isinstance(arrays, tuple | list) or len(arrays) != 2:
        raise bad(
            "data",
            "must be a DataFrame with data.target or (x, y) for a time series",
            got=type(arrays).__name__,
            do="Give a DataFrame whose rows are in order of time.",
        )
    x, y = np.asarray(arrays[0]), np.asarray(arrays[1])
    x = x.reshape(len(x), -1) if x.size else np.empty((len(y), 0))
    if len(x) != len(y):
        raise bad(
            "data",
            "must have as many targets as rows",
            got=f"{len(x)} and {len(y)}",
            do="Check that x and y belong together.",
        )
    columns = {f"x{index + 1}": arrow_array(x[:, index]) for index in range(x.shape[1])}
    return {**columns, spec.target or "y": arrow_array(y)}, (), "Python arrays"


def _typed(
    columns: Mapping[str, Any], spec: DataSpec, *, target: str, order: str | None, where: str
) -> tuple[dict[str, Column], list[tuple[str, str]], tuple[str, ...]]:
    """Columns by name as numbers and dates; those that are neither, with the reason."""
    from lanework.data.columns import Guesses, read_column

    guesses = Guesses.empty()
    found: dict[str, Column] = {}
    ignored = []
    for name, cells in columns.items():
        given = spec.kinds.get(name)
        if given == "ignore" or (given is not None and given != "numeric"):
            reason = "ignored, as data.columns says" if given == "ignore" else f"it holds {given}"
            ignored.append((name, reason))
            continue
        column = read_column(name, cells, given=given, missing=spec.missing, guesses=guesses)
        if name in (target, order):
            _check_numbers(column, is_target=name == target, where=where)
            found[name] = column
        elif column.levels_used():
            ignored.append((name, "a series takes numbers, it holds text"))
        elif column.missing().all():
            ignored.append((name, "every cell is missing"))
        else:
            found[name] = column
    if target not in found:
        raise bad(
            f"data.columns.{target}",
            "must be numeric for the target of a time series",
            got=repr(spec.kinds[target]),
            do="Leave it out.",
        )
    told = tuple(t for t in guesses.sentences() if "dates enter as days" not in t)
    return found, ignored, told


def _check_numbers(column: Column, *, is_target: bool, where: str) -> None:
    """Raise when a target is no number, or an order neither number nor date."""
    is_right = column.kind == "numeric" or (column.kind == "date" and not is_target)
    if is_right and not column.missing().all():
        return
    what = (
        "numbers (it is the series to forecast)" if is_target else "dates or numbers (data.order)"
    )
    cells = listed(column.levels, limit=3) if column.levels else f"cells of kind {column.kind}"
    raise bad(
        f"{where}, column '{column.name}'",
        f"must hold {what}",
        got=f"{cells}{' only' if column.missing().all() else ''}",
        do="Correct the cells, list marks of missing values under data.missing, or name another column.",
    )


def _told_split(series: _Series, ends: tuple[int, int], *, has_own_test: bool) -> str:
    when = series.order
    starts = [end for end in ends if end < len(series.matrix)]
    places = [f"row {start + 1}" for start in starts]
    if when is not None:
        places = [shown_time(when, float(when.values[start])) for start in starts]
    parts = [
        f"{name} starts at {at}" for name, at in zip(("validation", "test"), places, strict=False)
    ]
    parts += ["the test part is a file of its own"] if has_own_test else []
    return (
        f"Samples are split by time: {', '.join(parts)}. A sample belongs to "
        "the part in which its target lies; its window may reach back into the part before."
    )


def _told_lost(cuts: list[_Cut]) -> tuple[str, ...]:
    lost = sum(cut.num_lost for cut in cuts)
    if not lost:
        return ()
    return (f"{count(lost, 'sample')} left out, as the target is missing there.",)


def _known_kind(column: Column) -> str:
    return f"{column.kind}:{column.writing}"


def _check_sizes(num_rows: int, series: _Series, *, window: int, horizons: tuple[int, ...]) -> None:
    least = window + max(horizons) + 1
    if num_rows < least:
        raise bad(
            f"data.source, {series.label}",
            f"must have at least {least} rows in its training part (window {window}, horizon "
            f"{max(horizons)}, two samples)",
            got=f"{num_rows} of {count(len(series.matrix), 'row')}",
            do="Give a longer series, or a smaller data.window.",
        )


def _check_parts(cuts: list[_Cut], spec: DataSpec, *, has_own_test: bool) -> None:
    asked = {"training": True, "validation": True, "test": has_own_test or spec.split.test > 0}
    empty = [
        name
        for (name, is_asked), cut in zip(asked.items(), cuts, strict=True)
        if is_asked and not len(cut.y)
    ]
    if empty:
        raise bad(
            "data.split",
            "must leave a sample (a window and its targets) in each part",
            got=f"none in {' and '.join(empty)}",
            do="Give a longer series, a smaller data.window or data.horizon, or other shares.",
        )


def _described(
    series: _Series, cuts: list[_Cut], *, first: int, window: int, horizons: tuple[int, ...]
) -> dict[str, Any]:
    """What the report says of a series besides the usual."""
    rows: list[dict[str, Any]] = []
    for name, values in zip(series.names, series.matrix.T, strict=True):
        known = values[:first][~np.isnan(values[:first])]
        spread = {key: float(getattr(known, key)()) for key in ("min", "max", "mean", "std")}
        row = {
            "name": name,
            "kind": "numeric",
            "guessed": True,
            "missing": int(np.isnan(values).sum()),
        }
        rows.append({**row, "distinct": len(np.unique(known)), **(spread if len(known) else {})})
    rows += [
        {"name": name, "kind": "ignored", "guessed": True, "reason": reason}
        for name, reason in series.ignored
    ]
    errors = [
        (name, float(np.sqrt(np.nanmean((cut.y[:, 0] - cut.last) ** 2))))
        for name, cut in zip(("val", "test"), cuts[1:], strict=True)
        if len(cut.y)
    ]
    ahead = horizons[0] if len(horizons) == 1 else list(horizons)
    return {
        "columns": rows,
        "num_columns": len(rows),
        "series": f"{count(len(series.matrix), 'row')}, window {window}, {ahead} ahead",
        "hints": list(_foretold(series, first, horizons)),
        "persistence": ", ".join(f"rmse {error:.4g} on {name}" for name, error in errors)
        + " (the last known value, said again)",
    }


def _foretold(series: _Series, first: int, horizons: tuple[int, ...]) -> tuple[str, ...]:
    """Sentences about columns that already hold the target of later rows (training part)."""
    hints = []
    matrix = series.matrix[:first]
    for ahead in horizons:
        later = matrix[ahead:, 0]
        own = _correlation(matrix[:-ahead, 0], later)
        for name, values in zip(series.names[1:], matrix[:-ahead, 1:].T, strict=True):
            found = _correlation(values, later)
            if found > _GIVEAWAY and found > own:
                hints.append(
                    f"Column '{name}' gives the target {count(ahead, 'row')} later away (correlation "
                    f"{found:.3f}): is it known by then?"
                )
    return tuple(hints)


def _correlation(first: Array, second: Array) -> float:
    """Size of the correlation over rows where both are known; 0 where one of them does not vary."""
    known = ~(np.isnan(first) | np.isnan(second))
    first, second = first[known], second[known]
    if len(first) < 20 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return abs(float(np.corrcoef(first, second)[0, 1]))
