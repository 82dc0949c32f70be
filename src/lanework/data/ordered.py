"""Data in which order matters: parts by place, and the finished ``Dataset`` of a text or a series.

Owns where the borders between the parts lie. numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from lanework.data import summary
from lanework.data.prepare import Preparation
from lanework.data.target import scaled_targets
from lanework.data.types import Array, Dataset, InputInfo, Part

if TYPE_CHECKING:
    from lanework.spec import DataSpec

__all__ = ["Ordered", "borders", "finish"]


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
    y, scale, shift = scaled_targets(
        made.y, task=made.task, name=made.name, is_scaled=spec.scale_target
    )
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
            **summary.describe(
                made.task,
                source=made.source,
                name=made.name,
                classes=made.classes,
                y=made.y,
                form=made.record.form,
                info=made.input,
            ),
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
