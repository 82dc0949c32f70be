"""Facts of somebody's own arrays, for `lanework.health.Monitor`: the same numbers that a study knows of its data.

Owns the way from plain arrays to a `Dataset` that is only looked at. Imports no JAX.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lanework.api.data_facts import data_facts
from lanework.data.prepare import Preparation
from lanework.data.types import Array, Dataset, InputInfo, Part
from lanework.health.records import DataFacts

__all__ = ["array_facts"]

KINDS = {"table": "table", "image": "image", "sequence": "series", "codes": "tokens"}
TASKS = ("classification", "regression")


def array_facts(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    x_val: npt.ArrayLike | None = None,
    y_val: npt.ArrayLike | None = None,
    *,
    task: str = "",
    kind: str = "",
    num_classes: int = 0,
) -> DataFacts:
    """What is known of data before training, from arrays as the network gets them.

    Args:
        x: Inputs of the training part, [sample, ...]; prepare them first as your loop does.
        y: Targets of the training part: classes as whole numbers [sample], one-hot classes with `task="classification"`, or
            numbers [sample] or [sample, target].
        x_val: Inputs of the validation part; without it little is known of leaks and of what simple models reach.
        y_val: Its targets.
        task: `classification` or `regression`; by default whole numbers are classes.
        kind: `table`, `image`, `sequence` or `codes` (inputs are numbers of an embedding table); by default whole numbers with a sign
            are codes, four axes are an image, three a sequence, two a table.
        num_classes: Classes, where the largest may be missing in `y`.

    Returns:
        The facts; see `DataFacts` for each.

    Raises:
        ValueError: Parts of unequal length, inputs or targets that are no numbers, one of `x_val` and `y_val` alone, or an unknown task
            or kind.

    Example:
        >>> facts = array_facts([[0.0], [1.0], [2.0], [4.0]], [0, 0, 0, 1])
        >>> facts.class_shares
        (0.75, 0.25)
    """
    if task not in ("", *TASKS) or kind not in ("", *KINDS):
        raise ValueError(
            f"task must be one of {', '.join(TASKS)} and kind one of {', '.join(KINDS)}, got {task!r} and {kind!r}. "
            "Leave them out to have them told by the arrays."
        )
    if (x_val is None) != (y_val is None):
        raise ValueError("x_val and y_val must come together, got one of them. Give both or none.")
    train = _part(x, y, task, kind, name="x and y")
    if x_val is None or y_val is None:
        val = Part(train.x[:0], train.y[:0])
    else:
        val = _part(x_val, y_val, task, kind, name="x_val and y_val")
    is_class = np.issubdtype(train.y.dtype, np.integer)
    labels = (int(part.y.max(initial=-1)) + 1 for part in (train, val)) if is_class else (0,)
    count = max(num_classes, *labels) if is_class else 0
    shape = train.x.shape[1:]
    outputs = count if is_class else train.y.shape[1]
    dataset = Dataset(
        task=task or ("classification" if is_class else "regression"),
        train=train,
        val=val,
        test=Part(train.x[:0], train.y[:0]),
        input=_input(train.x, kind, is_stepwise=is_class and train.y.ndim > 1),
        num_outputs=outputs,
        classes=tuple(map(str, range(count))),
        preparation=Preparation("matrix", shape),
        target_scale=(1.0,) * outputs,
        target_shift=(0.0,) * outputs,
        input_scale=None,
        input_shift=None,
        summary={},
        fingerprint="",
    )
    return data_facts(dataset)


def _part(x: npt.ArrayLike, y: npt.ArrayLike, task: str, kind: str, *, name: str) -> Part:
    inputs, targets = np.asarray(x), np.asarray(y)
    if inputs.ndim < 1 or len(inputs) != len(targets):
        raise ValueError(
            f"{name} must hold a row for each sample, got shapes {inputs.shape} and {targets.shape}. Give as many targets as samples."
        )
    for what, array in (("inputs", inputs), ("targets", targets)):
        if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
            raise ValueError(
                f"{what} in {name} must be numbers as the network gets them, got {array.dtype}. Classes are whole numbers: "
                "numpy.unique(y, return_inverse=True)[1] gives them."
            )
    inputs = inputs.reshape(len(inputs), -1) if inputs.ndim == 1 else inputs
    if kind not in ("", "codes") or not np.issubdtype(inputs.dtype, np.signedinteger):
        inputs = inputs.astype(np.float32)
    is_whole = not np.issubdtype(targets.dtype, np.floating)
    if task == "classification" and not is_whole and targets.ndim > 1:
        targets, is_whole = targets.argmax(axis=-1), True
    if task == "classification" or (is_whole and task != "regression"):
        flat = targets.reshape(len(targets)) if targets.shape[1:] == (1,) else targets
        return Part(inputs, flat.astype(np.int32))
    return Part(inputs, targets.reshape(len(targets), -1).astype(np.float32))


def _input(x: Array, kind: str, *, is_stepwise: bool) -> InputInfo:
    """What enters the network, by the form of the array where nobody says it."""
    if not kind:
        is_code = np.issubdtype(x.dtype, np.signedinteger)
        kind = "codes" if is_code else {4: "image", 3: "sequence"}.get(x.ndim, "table")
    vocabulary = int(x.max(initial=-1)) + 1 if kind == "codes" else 0
    width = x.shape[1] if kind == "table" and x.ndim == 2 else 0
    return InputInfo(x.shape[1:], width, (), (), KINDS[kind], vocabulary, is_stepwise)
