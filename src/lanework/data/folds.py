"""Data sets of the folds of a cross-validation, brought to equal shapes.

Each fold learns its own preparation, so one may know a level, or keep a direction, that another
does not. Inputs that are always zero make up for it: nothing that was learned is shared.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lanework.data.batches import EpochOrder
from lanework.data.types import Array, Dataset, Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["aligned", "even_epochs", "merged"]


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


def merged(datasets: Sequence[Dataset]) -> tuple[Dataset, tuple[Dataset, ...]]:
    """One data set that holds the parts of all folds one behind the other, and the folds as views of it.

    Args:
        datasets: The folds, of equal shapes (see `aligned`).

    Returns:
        The whole: training parts joined, validation parts each filled up with its first row to the
        size of the largest; and the folds, which share its memory.
    """
    if len(datasets) == 1:
        return datasets[0], tuple(datasets)
    train = _joined([one.train for one in datasets], size=0)
    size = max(len(one.val) for one in datasets)
    val = _joined([one.val for one in datasets], size=size)
    digest = hashlib.sha256("\n".join(one.fingerprint for one in datasets).encode()).hexdigest()
    summary = datasets[0].summary | {"fingerprint": digest}
    whole = replace(datasets[0], train=train, val=val, summary=summary, fingerprint=digest)
    first, views = 0, []
    for place, one in enumerate(datasets):
        last = first + len(one.train)
        views.append(
            replace(
                one,
                train=_cut(train, first, last),
                val=_cut(val, place * size, place * size + len(one.val)),
            )
        )
        first = last
    return whole, tuple(views)


def _joined(parts: Sequence[Part], *, size: int) -> Part:
    def filled(array: Array) -> Array:
        short = max(0, size - len(array))
        return np.concatenate([array, np.repeat(array[:1], short, axis=0)]) if short else array

    weights = [filled(part.weight) for part in parts if part.weight is not None]
    return Part(
        np.concatenate([filled(part.x) for part in parts]),
        np.concatenate([filled(part.y) for part in parts]),
        np.concatenate(weights) if weights else None,
    )


def _cut(part: Part, first: int, last: int) -> Part:
    weight = None if part.weight is None else part.weight[first:last]
    return Part(part.x[first:last], part.y[first:last], weight)


def even_epochs(order: EpochOrder, batch_size: int, *, steps_per_epoch: int) -> EpochOrder:
    """The same samples epoch by epoch, in a given number of batches of a given size.

    Folds differ by a few samples, but their epochs must have equally many steps. Where an epoch has
    fewer, its samples are spread over all batches as evenly as can be, and each batch is filled up
    with indices stored as ``~index``; so every epoch still counts every sample exactly once.

    Args:
        order: Batches by epoch.
        batch_size: Samples in a batch, at least as many as in ``order``.
        steps_per_epoch: Batches of an epoch, at least as many as in ``order``.
    """

    def epoch(number: int) -> NDArray[np.int32]:
        batches = order(number)
        if batches.shape == (steps_per_epoch, batch_size):
            return batches
        real = batches[batches >= 0]
        ends = np.linspace(0, len(real), steps_per_epoch + 1).astype(np.intp)
        filled = ~np.resize(real, batch_size)
        rows = [
            np.concatenate([real[a:b], filled[: batch_size - (b - a)]])
            for a, b in itertools.pairwise(ends)
        ]
        return np.stack(rows).astype(np.int32)

    return epoch
