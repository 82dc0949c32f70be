"""From the study's words about the split to row numbers: columns that decide, folds, sentences.

Owns which kind of split is made and what is told of it; `split` owns how. numpy only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lanework.data.messages import bad, count, no_column
from lanework.data.split import Parts, fold_parts, split_groups, split_rows, split_time
from lanework.data.types import Array, Column, Loaded, Rows, Sequences, Table

if TYPE_CHECKING:
    from lanework.spec import DataSpec, SplitSpec

__all__ = ["Keys", "split_keys", "split_parts"]


class Keys(NamedTuple):
    """What of a row decides where it goes, besides its class.

    Attributes:
        groups: Group code of each row, int [n]; None without groups.
        order: When each row happened, float64 [n]; None where the split is not by time.
        group_name: The column of the groups.
    """

    groups: Array | None = None
    order: Array | None = None
    group_name: str = ""


def split_keys(loaded: Loaded, spec: DataSpec) -> tuple[Loaded, Keys]:
    """Take out what decides the split: the groups (which are no feature), and the order.

    Raises:
        DataError: There is no such column, or it does not say what it must for every row.
    """
    split = spec.split
    keys = Keys()
    if split.time is True:
        keys = keys._replace(order=np.arange(loaded.num_rows, dtype=np.float64))
    elif isinstance(split.time, str):
        keys = keys._replace(order=_times(loaded, split.time))
        if spec.columns.get(split.time) == "ignore":
            loaded = _without(loaded, split.time, "ignored, as data.columns says")
    if split.group is not None:
        column = _column(loaded, split.group, where="data.split.group")
        keys = keys._replace(groups=_codes(column), group_name=column.name)
        loaded = _without(loaded, split.group, "it names the groups of the split")
    return loaded, keys


def _times(loaded: Loaded, name: str) -> Array:
    reason = dict(loaded.dropped).get(name, "")
    if reason == "row numbers":
        return np.arange(loaded.num_rows, dtype=np.float64)
    column = _column(loaded, name, where="data.split.time")
    missing = column.missing()
    if column.levels_used() or missing.any():
        got = f"{count(int(missing.sum()), 'row')} without a time" if missing.any() else "text"
        raise bad(
            "data.split.time",
            f"must be a column of numbers or dates without gaps, such as '{name}' should be",
            got=got,
            do="Correct the cells, or use time: true for the order of the rows.",
        )
    return column.values


def _codes(column: Column) -> Array:
    """A number for each group; a row without one is a group of its own."""
    missing = column.missing()
    codes = np.unique(column.values, return_inverse=True)[1].astype(np.intp)
    codes[missing] = int(codes.max()) + 1 + np.arange(int(missing.sum()))
    return np.unique(codes, return_inverse=True)[1]


def _column(loaded: Loaded, name: str, *, where: str) -> Column:
    features = loaded.features
    if isinstance(loaded.target, Column) and loaded.target.name == name:
        raise bad(where, "must be another column than the target", got=repr(name), do="Choose one.")
    if isinstance(features, Table):
        names = features.names
        if name in names:
            return features.column(name)
    elif isinstance(features, Sequences):
        names = features.beside.names
        if name in names:
            return features.beside.column(name)
    else:
        names = loaded.names
        if name in names and isinstance(features, np.ndarray):
            return Column(name, "numeric", features[:, names.index(name)])
    if name in dict(loaded.dropped):
        raise bad(
            where,
            "must be a column that is used",
            got=f"'{name}', left out: {dict(loaded.dropped)[name]}",
            do="Say what it is with data.columns: {" + name + ": numeric}, or date.",
        )
    raise no_column(where, name, names, source=loaded.label)


def _without(loaded: Loaded, name: str, reason: str) -> Loaded:
    """Without one column, which is told."""
    features = loaded.features
    dropped = (*loaded.dropped, (name, reason))
    if isinstance(features, Table):
        if not features.without([name]).columns:
            raise bad(
                loaded.label,
                "must have a column to learn from",
                got=f"only '{name}', which decides the split",
                do="Add columns.",
            )
        return replace(loaded, features=features.without([name]), dropped=dropped)
    if not isinstance(features, np.ndarray):
        return loaded
    kept = [place for place, other in enumerate(loaded.names) if other != name]
    names = tuple(loaded.names[place] for place in kept)
    return replace(loaded, features=features[:, kept], names=names, dropped=dropped)


def split_parts(
    spec: DataSpec,
    keys: Keys,
    *,
    labels: Array | None,
    num_rows: int,
    classes: tuple[str, ...],
    has_own_test: bool,
) -> tuple[tuple[Parts, ...], tuple[str, ...]]:
    """Share rows out as the study says.

    Args:
        spec: The data section of a study.
        keys: What decides besides the class.
        labels: Class codes of all rows to stratify by; None for none.
        num_rows: How many rows.
        classes: Names of the classes.
        has_own_test: The test part is a set of its own.

    Returns:
        One split, or one for each fold of each repeat; and what was decided, as sentences.

    Raises:
        DataError: Rows, groups or times do not suffice.
    """
    split = spec.split
    fractions = (split.train, split.val, 0.0 if has_own_test else split.test)
    own = "; the test part is a set of its own" if has_own_test else ""
    if keys.order is not None:
        return _by_time(split, keys.order, fractions=fractions, own=own)
    how = (
        "at random, the same share of each class in each part"
        if labels is not None
        else "at random"
    )
    if keys.groups is not None:
        how = f"by '{keys.group_name}' ({count(int(keys.groups.max()) + 1, 'group')}), no group in two parts"
        if labels is not None:
            how += ", the shares of the classes as even as the groups allow"
    if split.folds is not None:
        return _by_fold(
            split, keys, labels=labels, num_rows=num_rows, classes=classes, how=how, own=own
        )
    if keys.groups is not None:
        parts = split_groups(keys.groups, labels, fractions=fractions, seed=split.seed)
    else:
        parts = split_rows(labels, num_rows, fractions=fractions, seed=split.seed, classes=classes)
    return (parts,), (f"Rows are split {how}{own}.", *parts.decisions)


def _by_time(
    split: SplitSpec, order: Array, *, fractions: tuple[float, float, float], own: str
) -> tuple[tuple[Parts, ...], tuple[str, ...]]:
    parts = split_time(order, fractions=fractions, gap=split.gap)
    what = "the order of the rows" if split.time is True else f"'{split.time}'"
    gap = f", {count(split.gap, 'row')} left out in between" if split.gap else ""
    told = f"Rows are split by {what}: the earliest to learn from, later ones to choose by"
    told += f" and the latest to test{gap}{own}." if len(parts.test) else f"{gap}{own}."
    return (parts,), (told,)


def _by_fold(
    split: SplitSpec,
    keys: Keys,
    *,
    labels: Array | None,
    num_rows: int,
    classes: tuple[str, ...],
    how: str,
    own: str,
) -> tuple[tuple[Parts, ...], tuple[str, ...]]:
    rows: Rows = np.arange(num_rows)
    test: Rows = np.arange(0)
    told: list[str] = []
    if not own and split.test > 0:
        fractions = (1.0 - split.test, 0.0, split.test)
        held = (
            split_rows(labels, num_rows, fractions=fractions, seed=split.seed, classes=classes)
            if keys.groups is None
            else split_groups(keys.groups, labels, fractions=fractions, seed=split.seed)
        )
        rows, test = held.train, held.test
        own = f"; {count(len(test), 'row')} were held out as the test part first"
        told += held.decisions
    parts = fold_parts(
        rows,
        test,
        folds=split.folds or 2,
        repeats=split.repeats,
        seed=split.seed,
        labels=labels,
        groups=keys.groups,
        classes=classes,
    )
    again = f", dealt anew {split.repeats} times" if split.repeats > 1 else ""
    first = (
        f"Rows are dealt into {split.folds} folds {how}{again}{own}. Each run learns from all folds but one and is "
        "validated on that one."
    )
    return parts, (first, *parts[0].decisions, *told)
