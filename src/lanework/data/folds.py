"""Data sets of the folds of a cross-validation, brought to equal shapes.

Each fold learns its own preparation, so one may know a level, or keep a direction, that another
does not. Inputs that are always zero make up for it: nothing that was learned is shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lanework.data.batches import batch_indices
from lanework.data.types import Array, Dataset, Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["aligned", "fold_batches"]


def aligned(datasets: Sequence[Dataset]) -> tuple[Dataset, ...]:
    """The same data sets with inputs of one shape.

    Tables get zero inputs behind their numbers, and categories as many codes as the fold that knows
    most; sequences are padded at the end to the longest.

    Args:
        datasets: One for each fold, of the same columns.
    """
    if len({dataset.input for dataset in datasets}) == 1:
        return tuple(datasets)
    if datasets[0].input.kind in ("tokens", "series"):
        return tuple(_lengthen(dataset, datasets) for dataset in datasets)
    return tuple(_widen(dataset, datasets) for dataset in datasets)


def _widen(dataset: Dataset, datasets: Sequence[Dataset]) -> Dataset:
    width = max(one.input.num_numeric for one in datasets)
    own = dataset.input.num_numeric
    columns = zip(*(one.input.cardinalities for one in datasets), strict=True)
    cardinalities = tuple(max(column) for column in columns)
    shape = (width + len(cardinalities),)

    def padded(part: Part) -> Part:
        numbers, codes = part.x[:, :own], part.x[:, own:]
        zeros = np.zeros((len(part.x), width - own), np.float32)
        return replace(part, x=np.concatenate([numbers, zeros, codes], axis=1))

    return replace(
        dataset,
        train=padded(dataset.train),
        val=padded(dataset.val),
        test=padded(dataset.test),
        input=replace(
            dataset.input, shape=shape, num_numeric=width, cardinalities=cardinalities, grid=()
        ),
        preparation=replace(dataset.preparation, shape=shape, padding=width - own),
    )


def _lengthen(dataset: Dataset, datasets: Sequence[Dataset]) -> Dataset:
    info = dataset.input
    time = max(one.input.shape[0] for one in datasets)
    vocabulary = max(one.input.vocabulary for one in datasets)
    shape = (time, *info.shape[1:])
    fill = -1 if info.kind == "tokens" else np.nan

    def padded(part: Part) -> Part:
        y = _longer(part.y, time, fill=-1 if part.y.dtype.kind == "i" else np.nan)
        return replace(
            part, x=_longer(part.x, time, fill=fill), y=y if info.is_stepwise else part.y
        )

    return replace(
        dataset,
        train=padded(dataset.train),
        val=padded(dataset.val),
        test=padded(dataset.test),
        input=replace(info, shape=shape, vocabulary=vocabulary),
        preparation=replace(dataset.preparation, shape=shape),
    )


def _longer(array: Array, time: int, *, fill: float) -> Array:
    """Padded at the end of the second axis."""
    if array.ndim < 2:
        return array
    widths = [(0, 0), (0, time - array.shape[1]), *[(0, 0)] * (array.ndim - 2)]
    return np.pad(array, widths, constant_values=fill)


def fold_batches(
    num_samples: int,
    batch_size: int,
    *,
    steps_per_epoch: int,
    seed: int,
    first_step: int,
    num_steps: int,
) -> NDArray[np.int32]:
    """As `lanework.data.batch_indices`, in epochs of a given number of batches.

    Folds differ by a few samples, but their epochs must have equally many steps. Where a fold would
    have fewer, its samples are spread over all batches as evenly as can be, and each batch is filled
    up with indices stored as ``~index``; so every epoch still counts every sample exactly once.

    Args:
        num_samples: Samples in the training part of this fold.
        batch_size: Samples in a batch.
        steps_per_epoch: Batches of an epoch, at least ``ceil(num_samples / batch_size)`` and at most
            ``num_samples``.
        seed: The run's seed.
        first_step: Number of the first batch wanted.
        num_steps: How many batches.

    Returns:
        int32 [num_steps, batch_size].
    """
    if batch_size <= num_samples and steps_per_epoch == -(-num_samples // batch_size):
        return batch_indices(
            num_samples, batch_size, seed=seed, first_step=first_step, num_steps=num_steps
        )
    batches = np.empty((num_steps, batch_size), np.int32)
    sizes = np.diff(np.linspace(0, num_samples, steps_per_epoch + 1).astype(np.intp))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    order, epoch_of_order = np.empty(0, np.int32), -1
    for place, step in enumerate(range(first_step, first_step + num_steps)):
        epoch, batch = divmod(step, steps_per_epoch)
        if epoch != epoch_of_order:
            # One batch of all samples is the whole permutation of that epoch.
            order, epoch_of_order = (
                batch_indices(num_samples, num_samples, seed=seed, first_step=epoch, num_steps=1)[
                    0
                ],
                epoch,
            )
        own = order[starts[batch] : starts[batch] + sizes[batch]]
        batches[place] = np.concatenate([own, ~np.resize(order, batch_size - len(own))])
    return batches
