"""What the report tells about the data: a plain JSON-able description. numpy only.

The summary is a dict with these keys:

``source``       what the data is called
``task``         classification or regression
``rows``         rows used, in all parts together
``parts``        rows in train, val and test
``target``       name, and for regression min, max, mean, std in its unit (training part)
``columns``      for tables and matrices, at most 100: name, kind (numeric, date, category,
                 ignored), guessed (or given), missing (cells, own test file not counted), distinct; for numbers
                 min, max, mean, std (training part); for categories levels (the commonest, with
                 counts); for ignored ones the reason
``num_columns``  how many columns there are (columns may be cut short)
``input``        shape, width, num_numeric, cardinalities, kind (table, matrix, images, bytes)
``classes``      name and rows in train, val and test (empty for regression)
``baseline``     what a network must beat, for val and test: accuracy of always saying the class
                 that is commonest in train, or rmse of the training mean (in the target's unit)
``decisions``    what was guessed or decided, as sentences
``hints``        signs of leakage or other trouble, as sentences
``fingerprint``  SHA-256 of what training sees
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from lanework.data.split import PARTS
from lanework.data.types import Array, Column, InputInfo, Loaded, Part, Rows, Sequences, Table

__all__ = ["describe", "describe_columns", "fingerprint_of"]

_MAX_COLUMNS = 100
_MAX_LEVELS = 12


def describe(
    task: str,
    *,
    source: str,
    name: str,
    classes: Sequence[str],
    y: Sequence[Array],
    form: str,
    info: InputInfo,
    columns: Sequence[dict[str, Any]] = (),
    num_columns: int = 0,
    hints: Sequence[str] = (),
) -> dict[str, Any]:
    """The summary without decisions and fingerprint, which are added when all is known.

    Args:
        task: ``classification`` or ``regression``.
        source: What the data is called.
        name: Name of the target.
        classes: Names of the classes.
        y: Targets of train, val and test in the target's unit.
        form: See ``Preparation.form``.
        info: What enters the network.
        columns: See `describe_columns`.
        num_columns: How many columns there are.
        hints: Signs of leakage or other trouble, as sentences.
    """
    named = list(zip(PARTS, y, strict=True))
    is_classes = task == "classification"
    return {
        "baseline": _baseline(named, num_classes=len(classes)),
        "source": source,
        "task": task,
        "rows": sum(len(values) for values in y),
        "parts": {part: len(values) for part, values in named},
        "target": _target(name, None if is_classes else y[0]),
        "columns": list(columns),
        "num_columns": num_columns,
        "input": {
            "kind": form,
            "shape": list(info.shape),
            "width": int(np.prod(info.shape)),
            "num_numeric": info.num_numeric,
            "cardinalities": list(info.cardinalities),
        },
        "classes": _classes(classes, named) if is_classes else [],
        "hints": list(hints),
    }


def describe_columns(loaded: Loaded, train: Rows) -> tuple[list[dict[str, Any]], int]:
    """One dict for each column (the first 100), and how many there are."""
    features = loaded.features
    if isinstance(features, Table):
        columns = [_column(column, train) for column in features.columns[:_MAX_COLUMNS]]
        dropped = [_ignored(name, reason) for name, reason in loaded.dropped]
        return columns + dropped, len(features.columns) + len(dropped)
    if isinstance(features, Sequences):
        dropped = [_ignored(name, reason) for name, reason in loaded.dropped]
        return [_sequences(features, train), *dropped], 1 + len(dropped)
    if features.ndim != 2:
        return [], 0
    return _matrix_columns(features[:, :_MAX_COLUMNS], loaded.names, train), features.shape[1]


def _classes(names: Sequence[str], parts: Sequence[tuple[str, Array]]) -> list[dict[str, Any]]:
    """Name and number of rows in each part, for each class."""
    counts = {part: np.bincount(y[y >= 0], minlength=len(names)) for part, y in parts}
    return [
        {"name": name, **{part: int(counts[part][code]) for part in counts}}
        for code, name in enumerate(names)
    ]


def _baseline(
    parts: Sequence[tuple[str, Array]], *, num_classes: int
) -> dict[str, dict[str, float]]:
    """What the simplest guess reaches on val and test (empty parts left out), of the first target."""
    train = parts[0][1]
    held = [(name, y) for name, y in parts[1:] if len(y)]
    if num_classes:  # -1 stands where there is no target (steps that are padded)
        guess = np.bincount(train[train >= 0], minlength=num_classes).argmax()
        return {name: {"accuracy": float(np.mean(y[y >= 0] == guess))} for name, y in held}
    mean = train[:, 0].mean()
    return {name: {"rmse": float(np.sqrt(np.mean((y[:, 0] - mean) ** 2)))} for name, y in held}


def _target(name: str, values: Array | None) -> dict[str, Any]:
    """The target's name and, for regression, the spread of the first one in the training part."""
    return {"name": name} if values is None else {"name": name, **_spread(values[:, 0])}


def fingerprint_of(
    parts: Sequence[Part], *, extra: Sequence[Array | None], classes: Sequence[str]
) -> str:
    """SHA-256 over all bytes that training, choosing and testing see, with types and shapes."""
    digest = hashlib.sha256("\n".join(classes).encode())
    for array in (*(array for part in parts for array in (part.x, part.y)), *extra):
        if array is None:
            digest.update(b"none")
            continue
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _matrix_columns(matrix: Array, names: Sequence[str], train: Rows) -> list[dict[str, Any]]:
    """The same as ``_column`` for all columns of a matrix at once, where there is no gap."""
    missing = np.isnan(matrix).sum(axis=0)
    if missing.any():
        columns = (
            Column(name, "numeric", cells) for name, cells in zip(names, matrix.T, strict=False)
        )
        return [_column(column, train) for column in columns]
    learned = np.sort(matrix[train], axis=0)
    distinct = 1 + np.count_nonzero(np.diff(learned, axis=0), axis=0)
    spread = (learned[0], learned[-1], learned.mean(axis=0), learned.std(axis=0))
    table = np.stack([np.asarray(values, np.float64) for values in spread], axis=1).tolist()
    return [
        {
            "name": name,
            "kind": "numeric",
            "guessed": True,
            "missing": 0,
            "distinct": int(number),
            **dict(zip(("min", "max", "mean", "std"), row, strict=True)),
        }
        for name, number, row in zip(names, distinct, table, strict=False)
    ]


def _column(column: Column, train: Rows) -> dict[str, Any]:
    missing = column.missing()
    row: dict[str, Any] = {
        "name": column.name,
        "kind": column.kind,
        "guessed": not column.is_given,
        "missing": int(missing.sum()),
    }
    learned = column.values[train]
    if column.levels_used():
        counts = np.bincount(learned[learned >= 0], minlength=len(column.levels))
        order = np.argsort(-counts, kind="stable")
        row["distinct"] = len(column.levels)
        row["levels"] = [[column.levels[code], int(counts[code])] for code in order[:_MAX_LEVELS]]
        return row
    present = learned[~missing[train]]
    row["distinct"] = len(np.unique(present))
    return {**row, **(_spread(present) if len(present) else {})}


def _sequences(features: Sequences, train: Rows) -> dict[str, Any]:
    row: dict[str, Any] = {"name": features.name, "kind": features.kind, "guessed": False}
    items = features.items[train]
    if features.kind == "text":
        row["distinct"] = len(set(items.tolist()))
    return {**row, "missing": 0}


def _ignored(name: str, reason: str) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "ignored",
        "guessed": not reason.startswith("ignored, as"),
        "reason": reason,
    }


def _spread(values: Array) -> dict[str, float]:
    return {
        "min": float(values.min()),
        "max": float(values.max()),
        "mean": float(values.mean()),
        "std": float(values.std()),
    }
