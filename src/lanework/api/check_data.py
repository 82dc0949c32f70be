"""The gate's look at data: counts and moments of prepared arrays, judged by `lanework.health.judge_data`.

Trains nothing and imports no JAX.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanework.api.data_facts import has_room
from lanework.data import Dataset, Part
from lanework.data.leaks import row_hashes
from lanework.health import judge_data
from lanework.health.judge import Item

Array = NDArray[Any]
MOST_ROWS = 20_000
LEAKS = ("gives the target away", "looks like an id")


def items(dataset: Dataset) -> list[Item]:
    """What can be said of a data set without a network."""
    train = _limited(dataset.train)
    x = _numbers(dataset, train.x)
    found = [_finite(dataset, train), _duplicates(dataset)]
    if dataset.task == "classification":
        counts = np.bincount(_classes(train.y), minlength=len(dataset.classes))
        found.append(judge_data.labels(counts.tolist(), [str(name) for name in dataset.classes]))
    else:
        y = train.y[np.isfinite(train.y)].astype(np.float64)
        found.append(judge_data.target_scale(mean=float(y.mean()), std=float(y.std())))
    if x is not None:
        found += _columns(dataset, x)
    hints = [text for text in dataset.summary.get("hints", []) if any(k in text for k in LEAKS)]
    return [*found, judge_data.leakage(hints)]


def _limited(part: Part) -> Part:
    """A fixed random sample of a large part."""
    if len(part) <= MOST_ROWS:
        return part
    rows = np.sort(np.random.default_rng(0).choice(len(part), MOST_ROWS, replace=False))
    return Part(part.x[rows], part.y[rows])


def _classes(y: Array) -> Array:
    flat: Array = y.reshape(-1)
    return flat[flat >= 0]  # -1 stands where a step has no target


def _numbers(dataset: Dataset, x: Array) -> Array | None:
    """Numeric inputs as the network gets them, [row, input] or [row, step, channel]; None where inputs are codes."""
    if np.issubdtype(x.dtype, np.signedinteger):
        return None
    if dataset.input_scale is not None and dataset.input_shift is not None:
        x = x[:MOST_ROWS].astype(np.float32) * dataset.input_scale + dataset.input_shift
    return x[:, : dataset.input.num_numeric] if dataset.input.kind == "table" else x


def _finite(dataset: Dataset, train: Part) -> Item:
    bad = ~np.isfinite(train.x) if np.issubdtype(train.x.dtype, np.floating) else np.zeros(1, bool)
    if dataset.input.kind == "series":  # NaN in all channels is padding
        bad = bad & ~np.isnan(train.x).all(axis=-1, keepdims=True)
    targets = 0
    if np.issubdtype(train.y.dtype, np.floating) and not dataset.input.is_stepwise:
        targets = int((~np.isfinite(train.y)).sum())
    return judge_data.finite(bad_inputs=int(bad.sum()), bad_targets=targets)


def _duplicates(dataset: Dataset) -> Item:
    train, val, share = _comparable(dataset)
    hashes, labels = row_hashes(train.x), train.y.reshape(len(train), -1)
    order = np.argsort(hashes, kind="stable")
    is_same = hashes[order][1:] == hashes[order][:-1]
    is_other = (labels[order][1:] != labels[order][:-1]).any(axis=1)
    seen = float(np.isin(row_hashes(val.x), hashes).mean()) if len(val) else 0.0
    is_class = dataset.task == "classification" and not dataset.input.is_stepwise
    return judge_data.duplicates(
        seen=min(1.0, seen / share),
        repeated=float(is_same.mean()) if len(is_same) else 0.0,
        conflicting=float((is_same & is_other).mean()) if len(is_same) and is_class else 0.0,
        has_room=has_room(dataset),
    )


def _comparable(dataset: Dataset) -> tuple[Part, Part, float]:
    """Training and validation rows that are compared, and the share of the training rows that they are.

    All of them where they are in memory: hashing a row costs next to nothing, and a sample would miss most copies. What lies on disk may
    be larger than memory; there a sample tells, by its share, how many there would be.
    """
    train, val = dataset.train, dataset.val
    if isinstance(train.x, np.ndarray):
        return train, val, 1.0
    few = _limited(train)
    return few, _limited(val), len(few) / max(1, len(train))


def _columns(dataset: Dataset, x: Array) -> list[Item]:
    """Constant inputs and the scale of the others."""
    if not x.size:
        return []
    # A picture or a series has one scale by channel, a table one by column.
    axes = (0,) if dataset.input.kind == "table" else tuple(range(x.ndim - 1))
    with np.errstate(over="ignore", invalid="ignore"):
        spread = np.nanstd(x.astype(np.float64), axis=axes)
        size = float(np.sqrt(np.nanmean(np.square(x.astype(np.float64)))))
    varying = spread[spread > 1e-12]
    is_grid = bool(dataset.input.grid) or dataset.input.kind != "table"
    apart = float(varying.max() / varying.min()) if len(varying) and not is_grid else 1.0
    return [
        judge_data.constants(
            num_constant=int((spread <= 1e-12).sum()), num_columns=spread.size, is_grid=is_grid
        ),
        judge_data.input_scale(size=size, apart=apart),
    ]
