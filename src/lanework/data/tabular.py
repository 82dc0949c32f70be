"""Tables and matrices: what of each column enters, learned on the training part and applied to all parts.

Owns the choice of steps and encodings by column and what is told of it; `numbers` and `levels` own
the steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lanework.catalog.preparation import chosen_steps
from lanework.data.held_out import told_unprepared, ways_of_parts
from lanework.data.levels import CYCLES, MAX_LEVELS, MISSING_LEVEL, LevelRule, learn_levels
from lanework.data.messages import bad, count, listed
from lanework.data.numbers import learn_block
from lanework.data.prepare import NumberRule, Preparation, apply_table, learn_numbers
from lanework.data.types import Array, Column, InputInfo, Prepared, Table

if TYPE_CHECKING:
    from lanework.spec import DataSpec

__all__ = ["PLAIN_STEPS", "prepare_matrix", "prepare_table"]

PLAIN_STEPS = ("standard", "centre", "minmax", "none")
"""Steps that are one fill, shift and scale, learned without scikit-learn where there is no gap."""


def prepare_table(tables: tuple[Table, Table, Table], spec: DataSpec) -> Prepared:
    """Learn on the first table how columns enter, and prepare all three.

    Args:
        tables: Train, val and test.
        spec: The data section of a study.

    Raises:
        DataError: A step does not fit its column.
    """
    train = tables[0]
    rules = [rule for column in train.columns for rule in _number_rules(column, spec)]
    cells = [rule.cells(train) for rule in rules]
    matrix = np.stack(cells, axis=1) if cells else np.empty((train.num_rows, 0))
    prepare = [spec.of_column(rule.source, "prepare") for rule in rules]
    record = _with_numbers(Preparation("table", (0,)), matrix, rules, prepare)
    levels = _learn_levels(train, spec)
    embedded = [rule for rule in levels if rule.encoding == "embed"]
    num_onehot = sum(rule.width for rule in levels if rule.encoding != "embed")
    num_numeric = record.shape[0] + num_onehot
    record = replace(
        record,
        shape=(num_numeric + len(embedded),),
        levels=levels,
        encoding=spec.categories if spec.categories != "ordinal" else "onehot",
        missing=tuple(spec.missing),
    )
    ways = ways_of_parts(record, spec)
    x = tuple(apply_table(way, rows) for way, rows in zip(ways, tables, strict=True))
    info = InputInfo(record.shape, num_numeric, tuple(rule.width for rule in embedded))
    told = (
        *told_unprepared(spec),
        *_told_dates(train, spec),
        *_told_gaps(tables, record, spec),
        *_told_rare(record),
        *_told_new(tables, record),
    )
    return Prepared(record, (x[0], x[1], x[2]), info, told)


def prepare_matrix(
    raw: tuple[Array, Array, Array],
    names: tuple[str, ...],
    spec: DataSpec,
    *,
    grid: tuple[int, ...],
) -> Prepared:
    """The same for numbers by position.

    Args:
        raw: Train, val and test, [n, columns], NaN where missing.
        names: Column names; made up when empty.
        spec: The data section of a study.
        grid: See ``InputInfo.grid``; kept where the columns stay what they were.

    Raises:
        DataError: A step does not fit its column, or a column of ``data.columns`` is not there.
    """
    width = raw[0].shape[1]
    names = names or tuple(f"x{index + 1}" for index in range(width))
    strange = [name for name in spec.columns if name not in names]
    if strange:
        raise bad(
            f"data.columns.{strange[0]}",
            "must be a column of the data",
            got=repr(strange[0]),
            do=f"Its columns are {listed(names, limit=12)}.",
        )
    rules = [NumberRule(name, "numeric", 0.0, 0.0, 1.0) for name in names]
    prepare = [spec.of_column(name, "prepare") for name in names]
    record = _with_numbers(Preparation("matrix", (0,)), raw[0], rules, prepare)
    ways = ways_of_parts(record, spec)
    x = tuple(way.transform(rows) for way, rows in zip(ways, raw, strict=True))
    kept = grid if record.shape == (width,) and not _is_turned(record) else ()
    info = InputInfo(record.shape, record.shape[0], (), kept)
    told = [*told_unprepared(spec)]
    num_missing = sum(int(np.isnan(rows).sum()) for rows in raw)
    if num_missing:
        how = _filled_how(spec.prepare)
        told.append(f"{count(num_missing, 'missing feature value')} filled with {how}.")
    if not record.blocks:
        constant = [name for name, cells in zip(names, x[0].T, strict=True) if not np.ptp(cells)]
        if constant:
            told.append(f"The same value in every training row, kept as it is: {listed(constant)}.")
    return Prepared(record, (x[0], x[1], x[2]), info, tuple(told))


def _is_turned(record: Preparation) -> bool:
    return any(step.kind == "turn" for block in record.blocks for step in block.steps)


def _number_rules(column: Column, spec: DataSpec) -> list[NumberRule]:
    """What of a column enters as numbers; nothing learned yet but the levels of an ordinal one."""
    name = column.name
    blank = NumberRule(name, column.kind, 0.0, 0.0, 1.0, column.writing)
    if column.kind == "date":
        parts = [
            side
            for part in spec.of_column(name, "dates")
            for side in ([f"{part} sin", f"{part} cos"] if part in CYCLES else [part])
        ]
        return [
            blank
            if part == "days"
            else replace(blank, name=f"{name} ({part})", column=name, part=part)
            for part in parts
        ]
    if not column.levels_used():
        return [blank]
    if spec.of_column(name, "categories") != "ordinal":
        if isinstance(given := spec.columns.get(name), dict) and "prepare" in given:
            raise bad(
                f"data.columns.{name}.prepare",
                "must be left out for a category, which has no numbers",
                got=str(given["prepare"]),
                do="Set categories: ordinal for it, or kind: numeric.",
            )
        return []
    seen = np.unique(column.values)
    levels = tuple(column.levels[code] for code in seen if code >= 0)
    return [replace(blank, kind="numeric", column=name, part="place", levels=levels)]


def _with_numbers(
    record: Preparation, matrix: Array, rules: list[NumberRule], prepare: Sequence[Any]
) -> Preparation:
    """The record with its numbers learned: as one shift and scale where that is all, else in blocks."""
    ways: dict[str, tuple[Any, list[int]]] = {}
    for place, way in enumerate(prepare):
        ways.setdefault(repr(way), (way, []))[1].append(place)
    if len(ways) <= 1 and (not ways or prepare[0] in PLAIN_STEPS):
        names = tuple(rule.name for rule in rules)
        kinds = tuple(rule.kind for rule in rules)
        learned = learn_numbers(matrix, names, kinds=kinds, prepare=prepare[0] if rules else "none")
        numbers = tuple(
            replace(rule, fill=one.fill, shift=one.shift, scale=one.scale)
            for rule, one in zip(rules, learned, strict=True)
        )
        return replace(record, numbers=numbers, shape=(len(numbers),))
    exact = matrix.astype(np.float64, copy=False)
    blocks = tuple(
        learn_block(exact[:, places], chosen_steps(way), columns=places)
        for way, places in ways.values()
    )
    shape = (sum(block.width for block in blocks),)
    return replace(record, numbers=tuple(rules), blocks=blocks, shape=shape)


def _learn_levels(train: Table, spec: DataSpec) -> tuple[LevelRule, ...]:
    """Rules of the categories in the order of the columns; those learned alike are learned together."""
    ways: dict[tuple[str, float | None], list[Column]] = {}
    for column in train.columns:
        encoding = spec.of_column(column.name, "categories")
        if column.levels_used() and encoding != "ordinal":
            ways.setdefault((encoding, spec.of_column(column.name, "rare")), []).append(column)
    learned = {
        rule.name: rule
        for (encoding, rare), columns in ways.items()
        for rule in learn_levels(Table(tuple(columns)), encoding=encoding, rare=rare)
    }
    return tuple(learned[name] for name in train.names if name in learned)


# ---- what is told --------------------------------------------------------------------------


def _filled_how(prepare: Any) -> str:
    """What stands in for a missing number, in words."""
    options = next(options for name, options in chosen_steps(prepare) if name == "impute")
    strategy = options["strategy"]
    how = f"{options['value']:g}" if strategy == "constant" else f"the training {strategy}"
    return f"{how}, and marked in a column of their own" if options["indicator"] else how


def _told_dates(train: Table, spec: DataSpec) -> tuple[str, ...]:
    """A sentence for each choice of parts of dates that is not the usual one."""
    ways: dict[tuple[str, ...], list[str]] = {}
    for column in train.columns:
        parts = tuple(spec.of_column(column.name, "dates"))
        if column.kind == "date" and parts != ("days",):
            ways.setdefault(parts, []).append(column.name)
    return tuple(f"Of {listed(names)} enter: {', '.join(parts)}." for parts, names in ways.items())


def _told_gaps(tables: tuple[Table, ...], record: Preparation, spec: DataSpec) -> tuple[str, ...]:
    """Sentences about missing cells."""
    told = []
    names = tables[0].names
    gaps = {n: sum(int(table.column(n).missing().sum()) for table in tables) for n in names}
    ways: dict[str, list[str]] = {}
    for source in dict.fromkeys(rule.source for rule in record.numbers):
        if gaps[source]:
            ways.setdefault(_filled_how(spec.of_column(source, "prepare")), []).append(source)
    for how, filled in ways.items():
        num_cells = count(sum(gaps[name] for name in filled), "missing cell")
        told.append(f"{num_cells} in {listed(filled)} filled with {how}.")
    marked = [rule.name for rule in record.levels if gaps[rule.name]]
    if marked:
        num_cells = count(sum(gaps[name] for name in marked), "missing cell")
        unseen = [r.name for r in record.levels if gaps[r.name] and MISSING_LEVEL not in r.levels]
        told.append(
            f"{num_cells} in {listed(marked)}: a level '(missing)' of its own"
            f"{f' (unknown in {listed(unseen)}, as training has none)' if unseen else ''}."
        )
    return tuple(told)


def _told_rare(record: Preparation) -> tuple[str, ...]:
    """Sentences about levels that share an output."""
    told = []
    joined = [rule for rule in record.levels if len(set(rule.outputs)) < len(rule.levels)]
    for encoding, most in MAX_LEVELS.items():
        many = [r.name for r in joined if r.encoding == encoding and len(r.levels) >= most]
        if many:
            told.append(
                f"Levels beyond the commonest {most - 1} of {listed(many)} share one input."
            )
    few = [rule for rule in joined if len(rule.levels) < MAX_LEVELS[rule.encoding]]
    if few:
        merged = sum(len(rule.levels) - len(set(rule.outputs)) + 1 for rule in few)
        told.append(
            f"{count(merged, 'rare level')} of {listed(rule.name for rule in few)} merged "
            f"(rare), one input for each column."
        )
    return tuple(told)


def _told_new(tables: tuple[Table, Table, Table], record: Preparation) -> tuple[str, ...]:
    """Sentences about levels in val and test that training never saw."""
    told = []
    known = [(rule.name, rule.levels, rule.unknown < 0) for rule in record.levels]
    places = [(rule.source, rule.levels) for rule in record.numbers if rule.part == "place"]
    for part, table in zip(("validation", "test"), tables[1:], strict=True):
        for name, levels, is_zero in known:
            how = "all zeros" if is_zero else "the unknown level"
            told += _new_in(table.column(name), levels, part=part, how=how)
        for name, levels in places:
            told += _new_in(table.column(name), levels, part=part, how="missing")
    return tuple(told)


def _new_in(column: Column, known: tuple[str, ...], *, part: str, how: str) -> list[str]:
    new = {column.levels[code] for code in np.unique(column.values) if code >= 0} - set(known)
    if not new:
        return []
    codes = [code for code, level in enumerate(column.levels) if level in new]
    cells = count(int(np.isin(column.values, codes).sum()), "cell")
    return [
        f"Column '{column.name}': training has no {listed(sorted(new), limit=3)}; {cells} of "
        f"the {part} part read as {how}."
    ]
