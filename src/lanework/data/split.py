"""Which row belongs to which part. Owns every split: random, stratified, grouped, by time, folds.

A split depends on the target, the groups or the order, the fractions and the seed, on nothing else;
numpy only.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanework.data.messages import bad, count, listed
from lanework.data.types import Array, Rows

__all__ = [
    "PARTS",
    "Parts",
    "fold_parts",
    "limited_rows",
    "split_groups",
    "split_rows",
    "split_time",
]

PARTS = ("train", "val", "test")
Codes = NDArray[np.int32]


class Parts(NamedTuple):
    """Row numbers of each part, each in ascending order, and what had to be decided."""

    train: Rows
    val: Rows
    test: Rows
    decisions: tuple[str, ...]


def limited_rows(num_rows: int, limit: int | None, *, seed: int) -> tuple[Rows, tuple[str, ...]]:
    """At most `limit` rows, drawn at random and in file order; told where some are left out."""
    if limit is None or num_rows <= limit:
        return np.arange(num_rows), ()
    generator = np.random.Generator(np.random.PCG64([seed, 0x11A1]))
    rows = np.sort(generator.permutation(num_rows)[:limit])
    return rows, (f"{limit} of {count(num_rows, 'row')} drawn at random (limit_rows).",)


def split_rows(
    labels: NDArray[np.int32] | None,
    num_rows: int,
    *,
    fractions: tuple[float, float, float],
    seed: int,
    classes: tuple[str, ...] = (),
) -> Parts:
    """Split rows into train, val and test, stratified by class when labels are given.

    The sizes of the parts are right over all classes together, as far as small classes allow (what
    one class is owed by rounding, at most one row, goes to the next). Every class keeps a row in train; a class with three rows or more has a row
    in every part that is asked for.

    Args:
        labels: Class codes [num_rows] to stratify by; None splits at random.
        num_rows: How many rows.
        fractions: Sizes of train, val and test relative to each other; 0 asks for no such part.
        seed: Decides which rows go where.
        classes: Names of the classes, for the sentences.

    Returns:
        The row numbers and sentences about classes that are too small for every part.

    Raises:
        DataError: There are fewer rows than parts.
    """
    wanted = [name for name, fraction in zip(PARTS, fractions, strict=True) if fraction > 0]
    if num_rows < len(wanted):
        raise bad(
            "data.split",
            f"needs at least one row for each of {', '.join(wanted)}",
            got=count(num_rows, "row"),
            do="Give more data, or set a part's fraction to 0.",
        )
    generator = np.random.Generator(np.random.PCG64([seed % 2**64, 0x5911]))
    quota = np.asarray(fractions, float) / sum(fractions)
    groups = [np.arange(num_rows)]
    if labels is not None:
        groups = [np.flatnonzero(labels == code) for code in range(int(labels.max()) + 1)]
    part_of = np.empty(num_rows, np.int8)
    owed = np.zeros(3)
    for rows in groups:
        sizes = _sizes(len(rows), quota, owed=owed)
        owed = np.clip(owed + quota * len(rows) - sizes, -1.0, 1.0)
        part_of[generator.permutation(rows)] = np.repeat(np.arange(3, dtype=np.int8), sizes)
    train, val, test = (np.flatnonzero(part_of == part) for part in range(3))
    decisions = _small_classes(groups, part_of, wanted=wanted, classes=classes)
    return Parts(train, val, test, decisions if labels is not None else ())


def _sizes(num_rows: int, quota: NDArray[np.float64], *, owed: NDArray[np.float64]) -> Rows:
    """How many of a class's rows go to each part; sums to num_rows, train first served."""
    asked = quota > 0
    least = np.zeros(3, np.intp)
    least[0] = min(1, num_rows)
    if num_rows >= asked.sum():
        least[asked] = 1
    elif num_rows == 2:
        least[2 if asked[2] else 1] = 1
    ideal = np.where(asked, np.maximum(quota * num_rows + owed, least), 0.0)
    sizes = np.maximum(np.floor(ideal).astype(np.intp), least)
    while sizes.sum() < num_rows:
        sizes[np.argmax(np.where(asked, ideal - sizes, -np.inf))] += 1
    while sizes.sum() > num_rows:
        sizes[np.argmax(np.where(sizes > least, sizes - ideal, -np.inf))] -= 1
    return sizes


def _small_classes(
    groups: list[Rows], part_of: NDArray[np.int8], *, wanted: list[str], classes: tuple[str, ...]
) -> tuple[str, ...]:
    """Sentences about classes that do not reach every part."""
    decisions = []
    for size in range(1, len(wanted)):
        small = [code for code, rows in enumerate(groups) if len(rows) == size]
        if not small:
            continue
        names = listed([classes[code] if classes else code for code in small])
        present = {PARTS[part] for code in small for part in part_of[groups[code]]}
        lacking = " and ".join(name for name in wanted if name not in present)
        have, is_are = ("has", "is") if len(small) == 1 else ("have", "are")
        decisions.append(
            f"Class {names} {have} {count(size, 'row')}: in train first, so "
            f"{'it' if len(small) == 1 else 'they'} {is_are} not in {lacking}."
        )
    return tuple(decisions)


def split_groups(
    groups: Array,
    labels: Codes | None,
    *,
    fractions: tuple[float, float, float],
    seed: int,
    where: str = "data.split.group",
) -> Parts:
    """Split rows so that all rows of a group lie in one part.

    Groups are shuffled, taken from the largest to the smallest, and each is given to the part that
    it brings closest to its share of every class (of the rows, without labels).

    Args:
        groups: Group code of each row, int [num_rows].
        labels: Class codes [num_rows] whose shares should be alike in all parts; None for none.
        fractions: As in `split_rows`.
        seed: Decides between groups of equal size.
        where: Key for the message.

    Returns:
        The row numbers.

    Raises:
        DataError: There are fewer groups than parts.
    """
    quota = np.asarray(fractions, float) / sum(fractions)
    asked = np.flatnonzero(quota > 0)
    part_of = _deal_groups(groups, labels, quota=quota[asked], seed=seed, where=where)
    chosen = asked[part_of[groups]]
    train, val, test = (np.flatnonzero(chosen == part) for part in range(3))
    return Parts(train, val, test, ())


def split_time(order: Array, *, fractions: tuple[float, float, float], gap: int = 0) -> Parts:
    """Split rows by time: the earliest to learn from, then those to choose by, the latest to test.

    Rows of equal time stay together, so sizes are as near to the fractions as ties allow.

    Args:
        order: When each row happened, [num_rows]; finite numbers.
        fractions: As in `split_rows`.
        gap: Rows left out between two parts (at most; ties may make it more).

    Returns:
        The row numbers.

    Raises:
        DataError: A part would be empty.
    """
    num_rows = len(order)
    ranks = np.argsort(order, kind="stable")
    times = np.asarray(order)[ranks]
    ends = np.round(np.cumsum(fractions) / sum(fractions) * num_rows).astype(np.intp)
    # A cut inside of equal times moves up to where they begin.
    cuts = [
        0,
        *(int(np.searchsorted(times, times[end])) if end < num_rows else num_rows for end in ends),
    ]
    spans = []
    for part, (first, last) in enumerate(itertools.pairwise(cuts)):
        begin = min(first + gap, last) if part and first else first
        spans.append(np.sort(ranks[begin:last]))
    for name, fraction, rows in zip(PARTS, fractions, spans, strict=True):
        if fraction > 0 and not len(rows):
            raise bad(
                "data.split.time",
                f"must leave rows for {name}",
                got=f"{count(len(np.unique(times)), 'different time')} in {count(num_rows, 'row')}"
                + (f" and a gap of {count(gap, 'row')}" if gap else ""),
                do="Use a column with finer times, other shares, or a smaller gap.",
            )
    return Parts(spans[0], spans[1], spans[2], ())


def fold_parts(
    rows: Rows,
    test: Rows,
    *,
    folds: int,
    repeats: int,
    seed: int,
    labels: Codes | None = None,
    groups: Array | None = None,
    classes: tuple[str, ...] = (),
) -> tuple[Parts, ...]:
    """Cross-validation: each row is in the validation part of exactly one fold of each repeat.

    Sizes of the folds differ by at most one row, and so do the numbers of rows of each class
    (with groups: as nearly as the groups allow).

    Args:
        rows: Row numbers that are shared out.
        test: Row numbers held out before, the same in every fold.
        folds: Folds, at least 2.
        repeats: How often rows are dealt out anew.
        seed: Decides which rows go where.
        labels: Class codes of all rows to stratify by; None for none.
        groups: Group codes of all rows, which then stay together; None for none.
        classes: Names of the classes, for the sentences.

    Returns:
        Repeat by repeat, fold by fold, the parts.

    Raises:
        DataError: There are fewer rows or groups than folds.

    Source:
        Kohavi 1995, "A study of cross-validation and bootstrap for accuracy estimation and model
        selection".
    """
    if len(rows) < folds:
        raise bad(
            "data.split.folds",
            f"must be at most the number of rows ({len(rows)})",
            got=str(folds),
            do="Use fewer folds, or give more data.",
        )
    own = None if labels is None else labels[rows]
    found = []
    for repeat in range(repeats):
        if groups is None:
            fold_of = _deal_rows(len(rows), own, folds=folds, seed=seed, repeat=repeat)
        else:
            codes = np.unique(groups[rows], return_inverse=True)[1]
            part_of = _deal_groups(
                codes, own, quota=np.full(folds, 1 / folds), seed=seed + repeat * 2**32,
                where="data.split.folds",
            )  # fmt: skip
            fold_of = part_of[codes]
        found += [Parts(rows[fold_of != k], rows[fold_of == k], test, ()) for k in range(folds)]
    told = () if own is None else _small_in_folds(own, folds=folds, classes=classes)
    return tuple(part._replace(decisions=told) for part in found)


def _deal_rows(
    num_rows: int, labels: Codes | None, *, folds: int, seed: int, repeat: int
) -> NDArray[np.intp]:
    """The fold of each row: class by class in random order, like cards, going on where the last class ended."""
    generator = np.random.Generator(np.random.PCG64([seed % 2**64, 0xF01D, repeat]))
    order = generator.permutation(num_rows)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    fold_of = np.empty(num_rows, np.intp)
    fold_of[order] = np.arange(num_rows) % folds
    return generator.permutation(folds)[fold_of]


def _deal_groups(
    groups: Array, labels: Codes | None, *, quota: NDArray[np.float64], seed: int, where: str
) -> NDArray[np.intp]:
    """The part of each group: from the largest group down, to where it is needed most."""
    num_groups, num_parts = int(groups.max()) + 1, len(quota)
    if num_groups < num_parts:
        raise bad(
            where,
            f"must leave a group for each of {num_parts} parts",
            got=count(num_groups, "group"),
            do="Use fewer folds or parts, or a column with more groups.",
        )
    codes = np.zeros(len(groups), np.intp) if labels is None else labels.astype(np.intp)
    num_classes = int(codes.max()) + 1
    table = np.bincount(groups * num_classes + codes, minlength=num_groups * num_classes)
    table = table.reshape(num_groups, num_classes).astype(float)
    # Every class has the same say, however rare; the size as a whole counts as one more class.
    table = np.column_stack([table, table.sum(axis=1)]) / np.append(table.sum(axis=0), len(groups))
    generator = np.random.Generator(np.random.PCG64([seed % 2**64, seed // 2**64, 0x6409]))
    order = generator.permutation(num_groups)
    order = order[np.argsort(-table[order, -1], kind="stable")]
    have = np.zeros((num_parts, table.shape[1]))
    part_of = np.empty(num_groups, np.intp)
    for place, group in enumerate(order):
        # Filling a part by its share of what it still lacks; an empty part comes first near the end.
        short = np.flatnonzero(~have.any(axis=1))
        allowed = short if len(short) >= num_groups - place else np.arange(num_parts)
        before = (have[allowed] - quota[allowed, None]) ** 2
        after = (have[allowed] + table[group] - quota[allowed, None]) ** 2
        best = allowed[np.argmin(((after - before) / quota[allowed, None]).sum(axis=1))]
        part_of[group] = best
        have[best] += table[group]
    return part_of


def _small_in_folds(labels: Codes, *, folds: int, classes: tuple[str, ...]) -> tuple[str, ...]:
    """A sentence about classes with fewer rows than folds."""
    counts = np.bincount(labels, minlength=len(classes))
    small = [code for code, rows in enumerate(counts) if 0 < rows < folds]
    if not small:
        return ()
    names = listed([classes[code] if classes else code for code in small])
    rows = count(int(counts[small].min()), "row")
    return (
        f"Class {names} {'has' if len(small) == 1 else 'have'} fewer rows ({rows} at least) than there are folds "
        f"({folds}): not in the validation part of every fold"
        + (", and missing in the training part of one." if counts[small].min() == 1 else "."),
    )
