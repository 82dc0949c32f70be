"""What enters the network in training: stored samples, prepared, augmented and with noise.

Owns the joining of data and augmentation. The loss trains on what `entering` gives, and `lanework look` shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from lanework import recipes
from lanework.catalog import CATALOG
from lanework.cohort.updates import own_key
from lanework.data import Dataset
from lanework.errors import Problem, SpecError
from lanework.recipes.augment import Images, Samples
from lanework.spec import TrainSpec

Array: TypeAlias = jax.Array
# (batch, key of the step, hypers) -> samples
Enter: TypeAlias = Callable[[Mapping[str, Array], Array, Mapping[str, Array]], Samples]


def entering(train: TrainSpec, dataset: Dataset, *, prepare: Callable[[Array], Array]) -> Enter:
    """What of a batch enters the network in training, and the targets that belong to it.

    Args:
        train: The recipe.
        dataset: The data.
        prepare: Stored samples to inputs, without augmentation.

    Returns:
        `(batch, key, hypers) -> samples`. `batch` has `x`, `y` and, for augmentation, `key`; strengths that are not in `hypers`
        are off.

    Raises:
        SpecError: An augmentation does not suit the data.
    """
    num_numeric = dataset.input.num_numeric if dataset.input.cardinalities else None
    augment = None
    if train.augment:
        check(train, dataset)
        augment = recipes.augmentation(
            train.augment, prepare=prepare, images=images_of(dataset), num_numeric=num_numeric
        )

    def enter(batch: Mapping[str, Array], key: Array, hypers: Mapping[str, Array]) -> Samples:
        if augment is None:
            samples = Samples(prepare(batch["x"]), batch["y"])
        else:
            samples = augment(batch["x"], batch["y"], batch["key"], hypers)
        if "input_noise" in hypers:
            x = recipes.input_noise(
                samples.x,
                own_key(key, "input_noise"),
                hypers["input_noise"],
                num_numeric=num_numeric,
            )
            samples = samples._replace(x=x)
        return samples

    return enter


def check(train: TrainSpec, dataset: Dataset) -> None:
    """Refuse augmentations that do not suit the data.

    Raises:
        SpecError: With all that do not.
    """
    is_image = dataset.input.kind == "image" or bool(dataset.input.grid)
    kinds = {"image", "table"} if dataset.input.grid else {dataset.input.kind}
    problems = []
    for place, choice in enumerate(train.augment):
        row = CATALOG["augmentation"][choice.name]
        fits = row.facts["fits"].split()
        path = f"train.augment[{place}]"
        if not kinds & set(fits):
            what = {"image": "images", "table": "a table", "series": "a time series"}
            got = what.get(dataset.input.kind, dataset.input.kind)
            others = _fitting(kinds)
            do = f"Use {' or '.join(others)}." if others else "Remove it."
            text = f"must suit the data, got {choice.name}, which is for {' and '.join(what[f] for f in fits)}, with {got}. {do}"
            problems.append(Problem(path, text))
        elif is_image and fits == ["image"] and not _is_invertible(dataset):
            text = f"must come with data.prepare standard, minmax or none, got {choice.name} with steps that mix or bend "
            problems.append(Problem(path, text + "pixels. Change one of them."))
        elif choice.name in ("mixup", "cutmix") and dataset.input.is_stepwise:
            text = (
                f"must be left out with a target for each time step, got {choice.name}. Remove it."
            )
            problems.append(Problem(path, text))
    if problems:
        raise SpecError(problems)


def _fitting(kinds: set[str]) -> list[str]:
    rows = CATALOG["augmentation"].values()
    return [row.name for row in rows if kinds & set(row.facts["fits"].split())]


def _is_invertible(dataset: Dataset) -> bool:
    """Whether pixels can be found again from what is stored."""
    record = dataset.preparation
    return bool(record.form == "bytes" or record.channel_scale or _positions(dataset))


def _positions(dataset: Dataset) -> tuple[np.ndarray, np.ndarray] | None:
    """Shift and scale by pixel of flat images; None where they are prepared in another way."""
    record = dataset.preparation
    numbers = getattr(record, "numbers", ())
    if getattr(record, "blocks", ()) or len(numbers) != int(np.prod(dataset.input.shape)):
        return None
    shift = np.array([rule.shift for rule in numbers], np.float32)
    scale = np.array([rule.scale for rule in numbers], np.float32)
    return shift, scale


def images_of(dataset: Dataset) -> Images | None:
    """How the samples of a data set are images; None where they are none.

    Pixels are in the unit in which they were read, so that black stays black and colours can be cut to their range.
    """
    shape = dataset.input.grid or dataset.input.shape
    if len(shape) != 3 or not (dataset.input.grid or dataset.input.kind == "image"):
        return None
    height, width, channels = (int(size) for size in shape)
    size = (height, width, channels)
    if dataset.input_scale is not None and dataset.input_shift is not None:
        scale, shift = (
            np.asarray(a, np.float32) for a in (dataset.input_scale, dataset.input_shift)
        )
        return Images(
            size,
            lambda x: x,
            lambda x: x.astype(jnp.float32) * _column(scale, 4) + _column(shift, 4),
            0.0,
            255.0,
        )
    record = dataset.preparation
    if dataset.input.grid:
        positions = _positions(dataset)
        if positions is None:
            return Images(size, lambda x: x, lambda x: x, 0.0, 1.0)  # mixed, but never moved
        moved, spread = positions
    else:
        moved = np.asarray(record.channel_shift or (0.0,), np.float32)
        spread = np.asarray(record.channel_scale or (1.0,), np.float32)
    rank = 2 if dataset.input.grid else 4
    moved, spread = _column(moved, rank), _column(spread, rank)
    train = np.asarray(dataset.train.x[:4096]) * spread + moved
    return Images(
        size,
        lambda x: (x * spread.astype(x.dtype) + moved.astype(x.dtype)).reshape(-1, *size),
        lambda x: (
            (x.reshape(-1, *dataset.input.shape) - moved.astype(x.dtype)) / spread.astype(x.dtype)
        ),
        float(train.min()),
        float(train.max()),
    )


def _column(values: np.ndarray, rank: int) -> np.ndarray:
    """Values of the last axis as an array of that rank."""
    return values.reshape((1,) * (rank - values.ndim) + values.shape)


def as_pixels(dataset: Dataset, x: np.ndarray) -> tuple[np.ndarray, float, float] | None:
    """Inputs of the network undone to pixels, for the eye: images [n, height, width, channels], black and white.

    Args:
        dataset: The data.
        x: What enters the network, [n, *shape].

    Returns:
        None where inputs are no images, or cannot be undone.
    """
    images = images_of(dataset)
    if images is None or not _is_invertible(dataset):
        return None
    if dataset.input_scale is not None and dataset.input_shift is not None:
        scale, shift = (
            np.asarray(a, np.float32) for a in (dataset.input_scale, dataset.input_shift)
        )
        return (x - _column(shift, 4)) / _column(scale, 4), images.low, images.high
    shown: Any = np.asarray(images.stored(jnp.asarray(x)))
    return shown, images.low, images.high
