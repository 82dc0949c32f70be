"""Signs in the order of rows: targets that hang together with the rows before them.

Owns the runs test and the autocorrelation of the target by row, and the words about them. numpy only.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lanework.data.messages import share
from lanework.data.types import Array

__all__ = ["Neighbours", "neighbours", "order_hints"]

_MIN_ROWS = 40
_SURE = 6.0
_STRONG = 0.2


class Neighbours(NamedTuple):
    """How alike the targets of neighbouring rows are.

    Attributes:
        likeness: Share of equal neighbours (classes), or lag-1 autocorrelation of the ranks.
        by_chance: What a random order of the same rows gives on average.
        z: Distance from chance in standard deviations of a random order.
        is_sorted: The rows are sorted by the target.
    """

    likeness: float
    by_chance: float
    z: float
    is_sorted: bool


def neighbours(y: Array, *, num_classes: int) -> Neighbours:
    """Compare neighbouring rows with a random order of the same rows.

    Classes: the number of equal neighbours E among n rows with n_c of class c. In a random order its
    mean is sum n_c (n_c - 1) / n, and its variance follows from the exact moments of Wald and
    Wolfowitz (for several classes as in Mood 1940). Numbers: the lag-1 autocorrelation r of the
    ranks, with mean -1 / (n - 1) and variance about 1 / n.

    Args:
        y: Class codes or numbers, [n], in the order of the rows.
        num_classes: 0 for numbers.

    Source:
        Wald and Wolfowitz 1940, "On a test whether two samples are from the same population"; Mood
        1940, "The distribution theory of runs".

    Example:
        >>> neighbours(np.repeat([0, 1], 50), num_classes=2).is_sorted
        True
    """
    num_rows = len(y)
    steps = np.diff(y)
    if num_classes:
        counts = np.bincount(y.astype(np.intp), minlength=num_classes).astype(float)
        equal = float((steps == 0).sum())
        mean, variance = _equal_moments(counts)
        z = (equal - mean) / math.sqrt(variance) if variance > 0 else 0.0
        is_sorted = num_rows - 1 - equal == (counts > 0).sum() - 1
        return Neighbours(equal / (num_rows - 1), mean / (num_rows - 1), z, bool(is_sorted))
    _, places, counts = np.unique(y, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - 0.5 * counts)[places]
    ranks = ranks - ranks.mean()
    spread = float(np.sum(ranks**2))
    likeness = float(np.sum(ranks[1:] * ranks[:-1])) / spread if spread > 0 else 0.0
    by_chance = -1.0 / (num_rows - 1)
    is_sorted = bool((steps >= 0).all() or (steps <= 0).all())
    return Neighbours(likeness, by_chance, (likeness - by_chance) * math.sqrt(num_rows), is_sorted)


def _equal_moments(counts: Array) -> tuple[float, float]:
    """Mean and variance of the number of equal neighbours in a random order of rows with these class counts."""
    n = float(counts.sum())
    pairs = float(np.sum(counts * (counts - 1)))
    triples = float(np.sum(counts * (counts - 1) * (counts - 2)))
    # Two pairs of neighbours overlap in a row (n - 2 such), or are apart: then one or two classes.
    quads = float(np.sum(counts * (counts - 1) * (counts - 2) * (counts - 3)))
    apart = quads + pairs**2 - float(np.sum((counts * (counts - 1)) ** 2))
    mean = pairs / n
    second = mean + 2 * triples / n / (n - 1) + apart / n / (n - 1)
    return mean, max(second - mean**2, 0.0)


def order_hints(
    y: Array, *, num_classes: int, is_by_order: bool, is_grouped: bool
) -> tuple[str, ...]:
    """A sentence when targets hang together with the rows before them, and what to do.

    Args:
        y: Class codes or one numeric target of all rows, in the order of the file.
        num_classes: 0 for numbers.
        is_by_order: The split follows the order of the rows.
        is_grouped: The split keeps groups together, or goes by a column of times.

    Returns:
        One sentence, or none. Rows sorted by class do no harm where the split is random, and are
        not told; nor is anything under 0.2 above chance.
    """
    if len(y) < _MIN_ROWS:
        return ()
    found = neighbours(y, num_classes=num_classes)
    if is_by_order and found.is_sorted:
        return (
            "The rows are sorted by the target, and the split follows their order: the parts hold "
            "different targets. Use a random split (leave out split.time).",
        )
    excess = (found.likeness - found.by_chance) / max(1.0 - found.by_chance, 1e-9)
    is_clear = found.z > _SURE and excess > _STRONG
    if is_by_order or is_grouped or found.is_sorted or not is_clear:
        return ()
    if num_classes:
        what = (
            f"{share(round(found.likeness * (len(y) - 1)), len(y) - 1)} of neighbouring rows are of one class "
            f"({share(round(found.by_chance * (len(y) - 1)), len(y) - 1)} by chance)"
        )
    else:
        what = f"the autocorrelation of the target from row to row is {found.likeness:.2f} (about 0 by chance)"
    return (
        f"The order of the rows tells the target: {what}. If rows that stand together belong together (one "
        "time, place or person), a random split lets a row's neighbours give it away: use split: {time: true} "
        "or {group: COLUMN}.",
    )
