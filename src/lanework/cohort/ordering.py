"""Which samples the runs of a bucket see, and whether their rows are streamed.

Owns the way from `train.sampling` and `data.stream` of a study to the engine's `Order` and sizes; the orders themselves are
those of `lanework.data.sampling`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from lanework.cohort import streaming
from lanework.cohort.plan import Bucket
from lanework.cohort.runs import Order, Run, by_seed
from lanework.data import Dataset, even_epochs, sampling
from lanework.data.batches import EpochOrder
from lanework.errors import Problem

BUFFERS_ALIVE = 3  # in use, filled, and on its way to the devices


def order(bucket: Bucket, dataset: Dataset) -> Order:
    """Which samples each run of a bucket sees at each step."""
    if bucket.spans:
        return _of_folds(bucket, dataset)
    name, batch_size = bucket.config.train.sampling.name, bucket.shapes.batch_size
    if name == "hard":
        return Order(partial(_hard, batch_size, len(dataset.train)), lambda run: run.run, True)

    @cache
    def epochs(seed: int) -> EpochOrder:
        if name in sampling.PLAIN_EPOCHS:
            return sampling.PLAIN_EPOCHS[name](len(dataset.train), batch_size, seed=seed)
        return sampling.EPOCHS[name](dataset.train.y, batch_size, seed=seed)

    def steps(seed: int, first_step: int, num_steps: int) -> np.ndarray:
        return sampling.indices(epochs(seed), first_step=first_step, num_steps=num_steps)

    return by_seed(steps)


def _of_folds(bucket: Bucket, dataset: Dataset) -> Order:
    """The order within each fold, moved to where the fold begins in the joint training part."""
    name, batch_size = bucket.config.train.sampling.name, bucket.shapes.batch_size
    is_hard = name == "hard"

    @cache
    def epochs(seed: int, fold: int) -> EpochOrder:
        first, count = bucket.spans[fold]
        size = min(batch_size, count)
        if name in sampling.PLAIN_EPOCHS:
            own = sampling.PLAIN_EPOCHS[name](count, size, seed=seed)
        else:
            own = sampling.EPOCHS[name](dataset.train.y[first : first + count], size, seed=seed)
        return even_epochs(own, batch_size, steps_per_epoch=bucket.steps_per_epoch)

    def draw(
        run: Run, first_step: int, num_steps: int, last_losses: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        first, count = bucket.spans[run.fold]
        weight = None
        if is_hard:
            known = None if last_losses is None else last_losses[first : first + count]
            index, weight = _hard(batch_size, count, run, first_step, num_steps, known)
        else:
            index = sampling.indices(
                epochs(run.seed, run.fold), first_step=first_step, num_steps=num_steps
            )
        return np.where(index < 0, index - first, index + first).astype(np.int32), weight

    return Order(draw, lambda run: run.run if is_hard else (run.seed, run.fold), is_hard)


def _hard(
    batch_size: int,
    num_samples: int,
    run: Run,
    first_step: int,
    num_steps: int,
    last_losses: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Hard examples more often, with the run's own strengths."""
    options = {
        key.removeprefix("sampling."): value
        for key, value in run.hypers.items()
        if key.startswith("sampling.")
    }
    unknown = np.full(num_samples, np.nan) if last_losses is None else last_losses
    drawn = sampling.hard_batches(
        unknown, batch_size, seed=run.seed, first_step=first_step, num_steps=num_steps, **options
    )
    return drawn.index, drawn.weight


def problems(bucket: Bucket, dataset: Dataset) -> list[Problem]:
    """What about the sampling of a bucket cannot work with this data."""
    name = bucket.config.train.sampling.name
    if name not in sampling.EPOCHS:
        return []
    if dataset.task != "classification":
        text = f"must be shuffled or hard for {dataset.task}, got {name!r}: there are no classes. Use sampling: shuffled."
        return [Problem("train.sampling", text)]
    if dataset.train.y.ndim != 1:
        text = f"must be shuffled or hard where each time step has a class, got {name!r}. Use sampling: shuffled."
        return [Problem("train.sampling", text)]
    return []


def notes(bucket: Bucket, dataset: Dataset) -> tuple[str, ...]:
    """What the sizes and the sampling of a bucket lead to, in sentences, where somebody may not expect it."""
    train, num_train = bucket.config.train, len(dataset.train)
    told: tuple[str, ...] = ()
    if train.batch_size != "all" and int(train.batch_size) > num_train:
        told = (
            f"train.batch_size {train.batch_size} is more than the {num_train} training samples: every batch is all of them.",
        )
    if train.sampling.name in sampling.EPOCHS and not problems(bucket, dataset):
        told += sampling.class_notes(
            train.sampling.name, dataset.train.y, bucket.shapes.batch_size, dataset.classes
        )
    return told


def streamed(
    bucket: Bucket, dataset: Dataset, *, num_devices: int, memory_bytes: float
) -> tuple[Bucket, float]:
    """The bucket with a buffer instead of the training part where that is streamed, and the memory left for lanes.

    Args:
        bucket: The bucket.
        dataset: Its data.
        num_devices: Devices at hand.
        memory_bytes: What lanes may use.
    """
    part = train_part(dataset)
    asked = bucket.config.data.stream
    if not streaming.is_needed(
        part, is_asked=asked, num_devices=num_devices, memory_bytes=memory_bytes
    ):
        return bucket, memory_bytes
    key = order(bucket, dataset).key
    num_orders = len({key(run) for run in bucket.runs})
    shapes = streaming.streamed_shapes(
        bucket.shapes, part, num_orders=num_orders, buffer_bytes=streaming.BUFFER_BYTES
    )
    taken = BUFFERS_ALIVE * shapes.buffer_rows * streaming.row_bytes(part)
    return replace(bucket, shapes=shapes), max(memory_bytes - taken, memory_bytes / 4)


def told_streaming(bucket: Bucket) -> str:
    """A sentence for the plan where the training part is streamed; else empty."""
    shapes = bucket.shapes
    if not shapes.buffer_rows:
        return ""
    return (
        f"The training part is streamed: calls of at most {shapes.max_steps} step(s) come with the rows they need "
        f"({shapes.buffer_rows} at most)."
    )


def train_part(dataset: Dataset) -> dict[str, Any]:
    """The arrays of a training part by name."""
    return {"x": dataset.train.x, "y": dataset.train.y}


def has_pieces(boundaries: Sequence[int], longest: int) -> bool:
    """Whether a segment between these boundaries takes more than one call of so many steps."""
    lengths = [b - a for a, b in zip((0, *boundaries), boundaries, strict=False)]
    return max(lengths) > longest
