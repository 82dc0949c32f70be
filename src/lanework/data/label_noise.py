"""Wrong targets on purpose: a share of the training part, so that a study can show what wrong labels do. numpy only."""

from __future__ import annotations

import numpy as np

from lanework.data.messages import count
from lanework.data.types import Array, Rows

__all__ = ["noisy_targets", "told_noise"]


def noisy_targets(
    y: Array, *, rows: Rows, num_rows: int, share: float, seed: int, num_classes: int
) -> Array:
    """Targets of the training part, a share of which is wrong.

    Which rows, and which class, depends on seed and number of a row alone as far as can be: folds of a cross-validation spoil
    mostly the same rows, whatever else they hold.

    Args:
        y: Targets of the training part: classes int [n] (or [n, time], -1 where padded), or numbers [n, k].
        rows: Numbers of these rows in the whole data, [n].
        num_rows: Rows of the whole data.
        share: Share of the rows that get a wrong target, in [0, 1].
        seed: Decides which, and what they get.
        num_classes: Number of classes: a wrong one is each of the others with equal chance. 0 for numbers, where the chosen
            rows exchange theirs in a ring.

    Returns:
        A copy with round(share n) wrong rows.

    Example:
        >>> wrong = noisy_targets(
        ...     np.zeros(10, np.int32),
        ...     rows=np.arange(10),
        ...     num_rows=10,
        ...     share=0.3,
        ...     seed=0,
        ...     num_classes=2,
        ... )
        >>> int(wrong.sum())
        3

    Source:
        Frenay and Verleysen 2014, Classification in the presence of label noise: a survey (noise completely at random).
    """
    generator = np.random.Generator(np.random.PCG64([seed % 2**64, 0x1ABE]))
    rank = generator.random(num_rows)[rows]
    chosen = np.argsort(rank, kind="stable")[: round(share * len(rows))]
    wrong = y.copy()
    if not num_classes:
        wrong[chosen] = y[np.roll(chosen, 1)]
        return wrong
    away = generator.integers(1, max(2, num_classes), num_rows)[rows[chosen]]
    own = y[chosen]
    other = (own + away.reshape(-1, *[1] * (y.ndim - 1))) % num_classes
    wrong[chosen] = np.where(own >= 0, other, own)
    return wrong


def told_noise(num_rows: int, *, share: float, num_classes: int) -> tuple[str, ...]:
    """The sentence about it; none where no target was spoilt."""
    if not share:
        return ()
    what = "another class" if num_classes else "that of another row"
    rows = count(num_rows, "training target")
    return (f"{round(share * num_rows)} of {rows} replaced by {what} (label_noise).",)
