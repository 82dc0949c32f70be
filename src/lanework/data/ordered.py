"""Data in which order matters: parts by place, and the finished ``Dataset`` of a text or a series.

Owns where the borders between the parts lie. numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lanework.data import summary
from lanework.data.prepare import Preparation
from lanework.data.target import scale_of
from lanework.data.types import Array, Dataset, InputInfo, Part

if TYPE_CHECKING:
    from lanework.spec import DataSpec

__all__ = ["Ordered", "borders", "finish"]

PARTS = ("train", "val", "test")


class Ordered(NamedTuple):
    """What a text or a series hands over.

    Attributes:
        task: ``classification`` or ``regression``.
        x: Inputs of train, val and test.
        y: Targets: int32 [n, time] classes, or float64 [n, k] in the target's unit.
        record: What was learned.
        input: What enters the network.
        name: Name of the target.
        classes: Names of the classes.
        source: What the data is called.
        decisions: What was decided, as sentences.
        extra: Further rows of the summary, and those of it that differ from the usual.
    """

    task: str
    x: tuple[Array, Array, Array]
    y: tuple[Array, Array, Array]
    record: Preparation
    input: InputInfo
    name: str
    classes: tuple[str, ...]
    source: str
    decisions: tuple[str, ...]
    extra: Mapping[str, Any]


def borders(length: int, spec: DataSpec, *, has_own_test: bool) -> tuple[int, int]:
    """Where train and val end, by the fractions of the split, in the order of time.

    Example:
        >>> from lanework.spec import DataSpec
        >>> borders(1000, DataSpec(source="a.txt"), has_own_test=False)
        (700, 850)
    """
    split = spec.split
    test = 0.0 if has_own_test else split.test
    total = split.train + split.val + test
    first = int(length * split.train / total + 1e-6)
    second = length
    if test > 0.0:
        second = int(length * (split.train + split.val) / total + 1e-6)
    return first, second


def finish(made: Ordered, spec: DataSpec) -> Dataset:
    """Scale the targets, describe the data, and make the data set."""
    scale, shift = np.ones(1), np.zeros(1)
    y: tuple[Array, ...] = made.y
    if made.task == "regression":
        scale, shift = scale_of(made.y[0], name=made.name, is_scaled=spec.scale_target)
        y = tuple(((values - shift) / scale).astype(np.float32) for values in made.y)
    parts = [Part(x, targets) for x, targets in zip(made.x, y, strict=True)]
    fingerprint = summary.fingerprint_of(
        parts, extra=(None, None, scale, shift), classes=made.classes
    )
    record = _with_target(made, scale, shift)
    return Dataset(
        task=made.task,
        train=parts[0],
        val=parts[1],
        test=parts[2],
        input=made.input,
        num_outputs=len(made.classes) or made.y[0].shape[1],
        classes=made.classes,
        preparation=record,
        target_scale=record.target_scale,
        target_shift=record.target_shift,
        input_scale=None,
        input_shift=None,
        summary={
            **_describe(made),
            **made.extra,
            "decisions": list(made.decisions),
            "fingerprint": fingerprint,
        },
        fingerprint=fingerprint,
    )


def _with_target(made: Ordered, scale: Array, shift: Array) -> Preparation:
    return replace(
        made.record,
        target_names=(made.name,),
        classes=made.classes,
        target_scale=tuple(scale.tolist()),
        target_shift=tuple(shift.tolist()),
    )


def _describe(made: Ordered) -> dict[str, Any]:
    named = list(zip(PARTS, made.y, strict=True))
    is_classes = made.task == "classification"
    info = made.input
    return {
        "baseline": summary.describe_baseline(named, num_classes=len(made.classes)),
        "source": made.source,
        "task": made.task,
        "rows": sum(len(values) for values in made.y),
        "parts": {part: len(values) for part, values in named},
        "target": summary.describe_target(made.name, None if is_classes else made.y[0]),
        "columns": [],
        "num_columns": 0,
        "input": {
            "kind": made.record.form,
            "shape": list(info.shape),
            "width": int(np.prod(info.shape)),
            "num_numeric": info.num_numeric,
            "cardinalities": list(info.cardinalities),
        },
        "classes": summary.describe_classes(made.classes, named) if is_classes else [],
        "hints": [],
    }
