"""The order of batches: a pure function of seed and step, the same for all recipes of a seed.

Owns nothing but that function; numpy only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lanework.data.messages import bad

__all__ = ["batch_indices"]

_WORD = 2**64


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
    _check(num_samples, batch_size, first_step=first_step, num_steps=num_steps)
    steps_per_epoch = -(-num_samples // batch_size)
    batches = np.empty((num_steps, batch_size), np.int32)
    step = first_step
    while step < first_step + num_steps:
        epoch, offset = divmod(step, steps_per_epoch)
        taken = min(steps_per_epoch - offset, first_step + num_steps - step)
        order = _epoch_order(num_samples, batch_size, seed=seed, epoch=epoch)
        batches[step - first_step : step - first_step + taken] = order[offset : offset + taken]
        step += taken
    return batches


def _epoch_order(num_samples: int, batch_size: int, *, seed: int, epoch: int) -> NDArray[np.int32]:
    """All batches of one epoch, int32 [steps_per_epoch, batch_size]."""
    key = np.array([seed % _WORD, epoch], np.uint64)
    permutation = np.random.Generator(np.random.Philox(key=key)).permutation(num_samples)
    num_missing = -num_samples % batch_size
    filled = np.concatenate([permutation, ~permutation[:num_missing]])
    return filled.astype(np.int32).reshape(-1, batch_size)


def _check(num_samples: int, batch_size: int, *, first_step: int, num_steps: int) -> None:
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
