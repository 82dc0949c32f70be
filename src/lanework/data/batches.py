"""The order of batches: a pure function of seed and step, the same for all recipes of a seed.

Owns shuffled epochs and the cutting of epochs into steps; `sampling` has the other orders. numpy only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lanework.data.messages import bad

__all__ = ["EpochOrder", "batch_indices", "check_batches", "cut_steps", "generator"]

_WORD = 2**64
# Number of an epoch -> all its batches, int32 [steps_per_epoch, batch_size].
EpochOrder: TypeAlias = Callable[[int], NDArray[np.int32]]


def batch_indices(
    num_samples: int, batch_size: int, *, seed: int, first_step: int, num_steps: int
) -> NDArray[np.int32]:
    """Sample numbers of consecutive batches out of the endless stream of shuffled epochs.

    Each epoch is one permutation of all samples, drawn from a Philox generator keyed by
    ``(seed, epoch)`` alone, cut into ``ceil(num_samples / batch_size)`` batches. The last batch of
    an epoch is filled up from the start of the same permutation with indices stored as ``~index``
    (negative); these must get weight 0. So every epoch counts every sample exactly once.

    Args:
        num_samples: Samples in the training part, at least 1.
        batch_size: Samples in a batch, between 1 and ``num_samples``.
        seed: The run's seed (any integer).
        first_step: Number of the first batch wanted, counted from 0 over all epochs.
        num_steps: How many batches.

    Returns:
        int32 [num_steps, batch_size].

    Raises:
        DataError: A number is out of range.

    Example:
        >>> batches = batch_indices(5, 2, seed=0, first_step=0, num_steps=3)
        >>> sorted(batches[batches >= 0].tolist())
        [0, 1, 2, 3, 4]
        >>> bool(~batches[-1, -1] == batches[0, 0])
        True

    Source:
        Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox).
    """
    check_batches(num_samples, batch_size, first_step=first_step, num_steps=num_steps)

    def epoch_order(epoch: int) -> NDArray[np.int32]:
        return _epoch_order(num_samples, batch_size, seed=seed, epoch=epoch)

    steps_per_epoch = -(-num_samples // batch_size)
    return cut_steps(epoch_order, steps_per_epoch, first_step=first_step, num_steps=num_steps)


def cut_steps(
    epoch_order: EpochOrder, steps_per_epoch: int, *, first_step: int, num_steps: int
) -> NDArray[np.int32]:
    """Consecutive batches out of the endless stream of epochs.

    Args:
        epoch_order: All batches of an epoch by its number.
        steps_per_epoch: Batches in each.
        first_step: Number of the first batch wanted, counted from 0 over all epochs.
        num_steps: How many batches, at least 1.

    Returns:
        int32 [num_steps, batch_size].
    """
    pieces: list[NDArray[np.int32]] = []
    step, end = first_step, first_step + num_steps
    while step < end or not pieces:
        epoch, offset = divmod(step, steps_per_epoch)
        piece = epoch_order(epoch)[offset : offset + end - step]
        pieces.append(piece)
        step += max(1, len(piece))
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def generator(seed: int, *, stream: int) -> np.random.Generator:
    """Random numbers that depend on a seed and the number of a stream only.

    Source:
        Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox).
    """
    return np.random.Generator(
        np.random.Philox(key=np.array([seed % _WORD, stream % _WORD], np.uint64))
    )


def _epoch_order(num_samples: int, batch_size: int, *, seed: int, epoch: int) -> NDArray[np.int32]:
    """All batches of one epoch, int32 [steps_per_epoch, batch_size]."""
    permutation = generator(seed, stream=epoch).permutation(num_samples)
    num_missing = -num_samples % batch_size
    filled = np.concatenate([permutation, ~permutation[:num_missing]])
    return filled.astype(np.int32).reshape(-1, batch_size)


def check_batches(num_samples: int, batch_size: int, *, first_step: int, num_steps: int) -> None:
    """Refuse sizes for which there are no batches.

    Raises:
        DataError: A number is out of range.
    """
    if not 1 <= batch_size <= num_samples < 2**31:
        raise bad(
            "batch_size",
            "must lie between 1 and the number of training samples (below 2^31)",
            got=f"{batch_size} for {num_samples} samples",
            do="Use a smaller batch, or 'all'.",
        )
    if first_step < 0 or num_steps < 0:
        raise bad(
            "batch_indices",
            "first_step and num_steps must not be negative",
            got=f"{first_step} and {num_steps}",
            do="Count steps from 0.",
        )
