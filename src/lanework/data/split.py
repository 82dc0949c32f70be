"""Which row belongs to which part. Owns the split; numpy only.

The result depends on the target, the fractions and the seed, on nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanework.data.messages import bad, count, listed
from lanework.data.types import Rows

__all__ = ["Parts", "split_rows"]

PARTS = ("train", "val", "test")


class Parts(NamedTuple):
    """Row numbers of each part, each in ascending order, and what had to be decided."""

    train: Rows
    val: Rows
    test: Rows
    decisions: tuple[str, ...]


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
