"""Facts of a data set for the rules of `lanework.health`: counts, moments, and what simple models make of it.

Looks at prepared arrays, as the network gets them, of at most a few thousand rows, so that it takes a fraction of a second. Trains no
network and imports no JAX.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanework.data import Dataset, Part
from lanework.data.leaks import giveaways, row_hashes
from lanework.health.records import DataFacts

__all__ = ["data_facts", "has_room"]

Array = NDArray[Any]
MOST_ROWS = 4000
MOST_WIDTH = 256
NEIGHBOURS = 5
BLOCKS = 20
LEAST_ROWS = 20


def data_facts(dataset: Dataset) -> DataFacts:
    """What is known of a data set before training; see `DataFacts` for every number."""
    train, val = _sample(dataset.train), _sample(dataset.val)
    is_class = dataset.task == "classification"
    facts: dict[str, Any] = {
        "task": dataset.task,
        "num_train": len(dataset.train),
        "num_val": len(dataset.val),
        "num_features": int(np.prod(dataset.input.shape)),
        "kind": _kind(dataset),
        "num_classes": len(dataset.classes) if is_class else 0,
        "num_targets": dataset.num_outputs,
        "num_non_finite": _num_non_finite(dataset, train),
    }
    facts |= _shares(dataset) if is_class else _target(dataset)
    facts |= _features(dataset, train, val)
    if not dataset.input.is_stepwise and min(len(train), len(val)) >= LEAST_ROWS:
        facts |= _simple(dataset, train, val) | _leaks(dataset, train)
        facts["order_signal"] = _order_signal(dataset)
    return DataFacts(**facts)


def _sample(part: Part) -> Part:
    """A fixed random sample of a large part, in its order, and in memory where the part is on disk."""
    if len(part) <= MOST_ROWS:
        return Part(part.x[:], part.y[:])
    rows = np.sort(np.random.default_rng(0).choice(len(part), MOST_ROWS, replace=False))
    return Part(part.x[rows], part.y[rows])


def _kind(dataset: Dataset) -> str:
    known = {"tokens": "codes", "series": "sequence", "image": "image"}
    return known.get(dataset.input.kind, "table")


def _numbers(dataset: Dataset, x: Array) -> Array | None:
    """Numeric inputs as the network gets them, float64; None where inputs are codes."""
    if np.issubdtype(x.dtype, np.signedinteger):
        return None
    if dataset.input_scale is not None and dataset.input_shift is not None:
        return np.asarray(x * dataset.input_scale + dataset.input_shift, np.float64)
    shown = x[:, : dataset.input.num_numeric] if dataset.input.kind == "table" else x
    return np.asarray(shown, np.float64)


def _num_non_finite(dataset: Dataset, train: Part) -> int:
    bad = 0
    for values, is_input in ((train.x, True), (train.y, False)):
        if np.issubdtype(values.dtype, np.floating):
            is_bad = ~np.isfinite(values)
            if is_input and dataset.input.kind == "series":  # NaN in all channels is padding
                is_bad &= ~np.isnan(values).all(axis=-1, keepdims=True)
            if not is_input and dataset.input.is_stepwise:
                continue
            bad += int(is_bad.sum())
    return bad


def _shares(dataset: Dataset) -> dict[str, Any]:
    found = {}
    for name, part in (("class_shares", dataset.train), ("val_class_shares", dataset.val)):
        y = part.y.reshape(-1)
        counts = np.bincount(y[y >= 0], minlength=len(dataset.classes)).astype(np.float64)
        found[name] = tuple((counts / max(1.0, counts.sum())).tolist())
    return found


def _target(dataset: Dataset) -> dict[str, Any]:
    y = np.asarray(dataset.train.y, np.float64)
    y = y[np.isfinite(y)]
    if not len(y):
        return {}
    return {
        "target_mean": float(y.mean()),
        "target_std": float(y.std()),
        "target_min": float(y.min()),
        "target_max": float(y.max()),
        "target_values": len(np.unique(y)) if dataset.num_outputs == 1 else 0,
    }


def _features(dataset: Dataset, train: Part, val: Part) -> dict[str, Any]:
    """Location and spread of the inputs, and how far those of the parts are apart."""
    x = _numbers(dataset, train.x)
    if x is None or not x.size:
        return {}
    # A picture or a series has one scale by channel, a table one by column.
    is_table = dataset.input.kind == "table"
    axes = (0,) if is_table else tuple(range(x.ndim - 1))
    x = np.where(np.isfinite(x), x, np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = np.nanmean(x, axis=axes), np.nanstd(x, axis=axes)
        rms = float(np.sqrt(np.nanmean(np.square(x))))
    varying = std > 1e-9 * (1.0 + np.abs(mean))
    found: dict[str, Any] = {
        "feature_mean": float(np.abs(mean).max()),
        "feature_rms": rms,
    }
    if varying.any():
        found |= {
            "feature_std_min": float(std[varying].min()),
            "feature_std_max": float(std[varying].max()),
        }
    other = _numbers(dataset, val.x)
    if other is not None and len(other) >= LEAST_ROWS and varying.any():
        other = np.where(np.isfinite(other), other, np.nan)
        apart = np.abs(np.nanmean(other, axis=axes) - mean)[varying] / std[varying]
        found["val_shift"] = float(np.median(apart))
        found["val_scale"] = float(np.median(np.nanstd(other, axis=axes)[varying] / std[varying]))
    return found


def _leaks(dataset: Dataset, train: Part) -> dict[str, Any]:
    """Rows in both parts, and a column that alone tells the target."""
    found: dict[str, Any] = {}
    # What is on disk may be larger than memory, and is not read whole for that.
    is_held = isinstance(dataset.train.x, np.ndarray)
    if is_held and len(dataset.val) and has_room(dataset):
        known = row_hashes(dataset.train.x)
        found["shared_rows"] = float(np.isin(row_hashes(dataset.val.x), known).mean())
    x = _numbers(dataset, train.x) if dataset.input.kind == "table" else None
    if x is None or x.ndim != 2 or not 0 < x.shape[1] <= MOST_WIDTH or dataset.input.grid:
        return found
    y = train.y if dataset.task == "classification" else np.asarray(train.y, np.float64)[:, 0]
    tellers = giveaways(
        x,
        _names(dataset, x.shape[1]),
        y=y,
        num_classes=len(dataset.classes) if dataset.task == "classification" else 0,
        rows=np.arange(len(x)),
    )
    if tellers:
        name, score = max(tellers, key=lambda one: one[1])
        found |= {"leak_column": name, "leak_score": float(score)}
    return found


def has_room(dataset: Dataset) -> bool:
    """Whether rows differ by nature: columns of few different values repeat rows without anything being wrong."""
    x = dataset.train.x[:MOST_ROWS]
    x = x.reshape(len(x), -1)[:, :MOST_WIDTH]
    room = sum(math.log(len(np.unique(column))) for column in x.T)
    return room > math.log(100.0 * len(dataset.train))


def _names(dataset: Dataset, width: int) -> tuple[str, ...]:
    """Names of the inputs, where there is one for each column of the data."""
    columns = [
        str(column["name"])
        for column in dataset.summary.get("columns", ())
        if column.get("kind") == "numeric"
    ]
    return tuple(columns) if len(columns) == width else tuple(f"input {i}" for i in range(width))


def _order_signal(dataset: Dataset) -> float:
    """Correlation ratio of the target with its place in the training part, less what chance gives, in [0, 1]."""
    y = dataset.train.y.reshape(len(dataset.train), -1)
    if dataset.task == "classification":
        y = (y[:, :1] == np.arange(max(1, len(dataset.classes)))[None, :]).astype(np.float64)
    rows = len(y)
    blocks = min(BLOCKS, rows // 4)
    y = np.asarray(y, np.float64) - np.mean(y, axis=0, keepdims=True)
    total = float(np.square(y).sum())
    if blocks < 2 or not total > 0:
        return 0.0
    means = [(len(part), part.mean(axis=0)) for part in np.array_split(y, blocks)]
    between = sum(size * float(np.square(mean).sum()) for size, mean in means) / total
    by_chance = (blocks - 1) / max(1, rows - 1)
    return float(np.clip((between - by_chance) / (1.0 - by_chance), 0.0, 1.0))


# ---- what simple models make of it -----------------------------------------------------------


def _simple(dataset: Dataset, train: Part, val: Part) -> dict[str, Any]:
    """Scores of least squares and nearest neighbours, each learned on either half of the training rows and judged on the other."""
    x, other = _flat(dataset, train.x), _flat(dataset, val.x)
    order = np.random.default_rng(0).permutation(len(x))
    half, rest = order[: len(order) // 2], order[len(order) // 2 :]
    is_class = dataset.task == "classification"
    wanted = _coded(train.y, len(dataset.classes)) if is_class else train.y.reshape(len(train), -1)
    judged = _coded(val.y, len(dataset.classes)) if is_class else val.y.reshape(len(val), -1)
    wanted, judged = (np.nan_to_num(np.asarray(one, np.float64)) for one in (wanted, judged))
    mean, std = x[half].mean(axis=0), x[half].std(axis=0)
    scale = np.where(std > 1e-12, std, 1.0)
    x, other = (np.clip((one - mean) / scale, -30.0, 30.0) for one in (x, other))
    score = _accuracy if is_class else _r2
    found = []
    for model in (_least_squares, _neighbours):
        pairs = [
            (
                score(model(x[own], wanted[own], other), judged),
                score(model(x[own], wanted[own], x[left]), wanted[left]),
            )
            for own, left in ((half, rest), (rest, half))
        ]
        found.append(tuple(float(np.mean(column)) for column in zip(*pairs, strict=True)))
    on_val, on_train = max(found)
    chance = float(judged.mean(axis=0).max()) if is_class else 0.0
    return {"simple_score": on_val, "simple_train_score": on_train, "simple_chance": chance}


def _flat(dataset: Dataset, x: Array) -> Array:
    """Samples as rows of at most `MOST_WIDTH` numbers: codes as counts, much else thrown together at random."""
    if np.issubdtype(x.dtype, np.signedinteger):
        codes = max(1, dataset.input.vocabulary)
        rows = x.reshape(len(x), -1)
        flat = np.stack([np.bincount(row[row >= 0], minlength=codes) for row in rows])
    else:
        flat = x.reshape(len(x), -1)
    flat = np.nan_to_num(flat.astype(np.float64), posinf=0.0, neginf=0.0)
    if flat.shape[1] <= MOST_WIDTH:
        return flat
    draw = np.random.default_rng(1).standard_normal((flat.shape[1], MOST_WIDTH))
    return flat @ (draw / np.sqrt(flat.shape[1]))


def _coded(y: Array, num_classes: int) -> Array:
    return (y.reshape(-1)[:, None] == np.arange(max(1, num_classes))[None, :]).astype(np.float64)


def _least_squares(x: Array, y: Array, new: Array) -> Array:
    """Ridge regression, its strength a hundredth of the spread of the inputs."""
    offset = y.mean(axis=0)
    gram = x.T @ x / len(x)
    ridge = 1e-2 * max(1e-12, float(np.trace(gram)) / len(gram)) * np.eye(len(gram))
    weights = np.linalg.solve(gram + ridge, x.T @ (y - offset) / len(x))
    found: Array = new @ weights + offset
    return found


def _neighbours(x: Array, y: Array, new: Array) -> Array:
    """Mean over the nearest training rows."""
    apart = (
        np.square(new).sum(axis=1)[:, None] - 2.0 * new @ x.T + np.square(x).sum(axis=1)[None, :]
    )
    count = min(NEIGHBOURS, len(x))
    near = np.argpartition(apart, count - 1, axis=1)[:, :count]
    found: Array = y[near].mean(axis=1)
    return found


def _accuracy(guess: Array, right: Array) -> float:
    return float(np.mean(guess.argmax(axis=1) == right.argmax(axis=1)))


def _r2(guess: Array, right: Array) -> float:
    spread = np.square(right - right.mean(axis=0)).sum(axis=0)
    rest = np.square(guess - right).sum(axis=0)
    is_known = spread > 0
    return float(np.mean(1.0 - rest[is_known] / spread[is_known])) if is_known.any() else 0.0
