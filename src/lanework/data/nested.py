"""Sequences out of tables, arrays and Python objects: which column or array they are, and what goes with them.

Owns the way from cells to ``Sequences`` and to targets by time step. pyarrow is met, never imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lanework.data.messages import bad, count, listed
from lanework.data.sequences import is_ragged, length_of, number_items, object_array
from lanework.data.types import Array, Column, Loaded, Sequences, Steps

__all__ = ["as_categories", "is_ragged", "of_arrays", "of_columns", "same_form", "sequence_column"]

Kinds = Mapping[str, str]
TEXTS = ("text", "words")
ReadTarget = Callable[..., tuple[Column | Array, tuple[str, ...]]]


def sequence_column(
    columns: Mapping[str, Any], kinds: Kinds, *, target: str, asked: str | None
) -> tuple[str, str] | None:
    """The column that holds sequences, and their kind; None when the table has none.

    It is the column called ``text`` or ``words`` in ``data.columns``, else a column of lists.

    Args:
        columns: Arrow columns by name.
        kinds: What the study says of columns.
        target: The column to predict.
        asked: ``data.sequences``.

    Raises:
        DataError: There are several.
    """
    given = [name for name, kind in kinds.items() if kind in TEXTS and name in columns]
    if target in given:
        raise bad(
            f"data.columns.{target}",
            "must not be text or words for the target",
            got=kinds[target],
            do="Name the column of sequences, and another one as data.target.",
        )
    lists = [
        name
        for name, cells in columns.items()
        if "list" in str(cells.type) and name != target and kinds.get(name) != "ignore"
    ]
    found = given or lists
    if not found:
        return None
    if len(found) > 1:
        raise bad(
            "data.columns",
            "must leave one column of sequences",
            got=listed(found),
            do="Set the others to ignore.",
        )
    name = found[0]
    if name in given:
        return name, kinds[name]
    inner = str(columns[name].type)
    return name, asked or ("words" if "string" in inner else "numbers")


def of_columns(
    columns: Mapping[str, Any], found: tuple[str, str], *, kinds: Kinds, target: str
) -> tuple[Sequences, tuple[tuple[str, str], ...]]:
    """The sequences of a column, and the other columns, which do not enter.

    Args:
        columns: Arrow columns by name.
        found: Name and kind of the column of sequences.
        kinds: What the study says of columns.
        target: The column to predict.

    Returns:
        The sequences, and columns left out with the reason.
    """
    name, kind = found
    cells = columns[name].to_pylist()
    if kind == "text" or (kind == "words" and "list" not in str(columns[name].type)):
        items = object_array(["" if cell is None else str(cell) for cell in cells])
    elif kind == "words":
        items = object_array([[] if cell is None else list(cell) for cell in cells])
    else:
        lists = [[] if cell is None else cell for cell in cells]
        items = number_items(lists, kind=kind, where=f"column '{name}'")
    reason = f"the sequences in '{name}' are the input"
    said = "ignored, as data.columns says"
    dropped = tuple(
        (other, said if kinds.get(other) == "ignore" else reason)
        for other in columns
        if other not in (name, target)
    )
    return Sequences(name, kind, items), dropped


def as_categories(features: Sequences) -> Column:
    """Each different sequence as a category: rows that are equal can be kept in one part."""
    words = np.array([str(item) for item in features.items], object)
    levels, codes = np.unique(words, return_inverse=True)
    return Column(features.name, "category", codes.astype(np.int32), tuple(levels.tolist()))


def of_arrays(
    x: Any,
    y: Any,
    *,
    label: str,
    target: str,
    kind: str | None,
    read: ReadTarget,
    lengths: Any = None,
) -> Loaded:
    """Sequences and targets given apart.

    Args:
        x: A list of lists or arrays, a list of texts, or a padded array [n, time] or
            [n, time, channels].
        y: One value for each sequence; or one class for each step: a list of lists of whole
            numbers as long as the sequences, or whole numbers [n, time].
        label: What the report calls it.
        target: Name of the target.
        kind: What ``data.sequences`` says; None: whole numbers [n, time] with lengths are codes, all else numbers.
        read: Reads a target of one value per sequence.
        lengths: Steps of each row of a padded array.

    Returns:
        What was read.

    Raises:
        DataError: Not sequences, or as many targets as there are sequences are missing.
    """
    told: tuple[str, ...] = ()
    if kind is None:
        kind = "numbers"
        if lengths is not None and np.asarray(x).ndim == 2 and np.asarray(x).dtype.kind in "iu":
            kind = "codes"
            told = (
                f"{label}: whole numbers [rows, time] are read as codes of tokens; "
                "set data.sequences: numbers if they are quantities.",
            )
    rows = list(x) if lengths is None else _cut(x, lengths, where=label)
    if kind in TEXTS:
        items = object_array(
            [item if kind == "words" and _is_list(item) else str(item) for item in rows]
        )
    else:
        items = number_items(rows, kind=kind, where=label)
    features = Sequences("x", kind, items)
    steps = _steps(y, features, target=target, lengths=lengths)
    found: Column | Array | Steps
    found, more = (steps, ()) if steps else read(y, target=target, where=label, kinds={})
    num_targets = len(found.values if isinstance(found, Column) else found)
    if num_targets != len(features):
        raise bad(
            label,
            "must have as many targets as sequences",
            got=f"{count(len(features), 'sequence')} and {count(num_targets, 'target')}",
            do="Check that x and y belong together.",
        )
    if not num_targets:
        raise bad(label, "must hold sequences", got="none", do="Check how it was made.")
    return Loaded(features, found, label, decisions=(*told, *more))


def same_form(test: Loaded, loaded: Loaded, *, name: str) -> Loaded:
    """The test part, if its sequences are of the kind of those in training.

    Raises:
        DataError: They are not.
    """
    forms = [
        (part.features.kind, part.features.items[0].shape[1:] if _is_numeric(part) else ())
        if isinstance(part.features, Sequences)
        else ("no sequences", ())
        for part in (loaded, test)
    ]
    if forms[0] != forms[1] or isinstance(loaded.target, Steps) != isinstance(test.target, Steps):
        raise bad(
            "data.test",
            f"must hold {forms[0][0]} {forms[0][1] or ''}".rstrip() + " as in training",
            got=f"{forms[1][0]} {forms[1][1] or ''}".rstrip() + f" in {name}",
            do="Give the test part in the same form.",
        )
    return test


def _is_numeric(part: Loaded) -> bool:
    features = part.features
    return isinstance(features, Sequences) and features.kind == "numbers" and len(features) > 0


def _is_list(item: Any) -> bool:
    return isinstance(item, list | tuple | np.ndarray)


def _cut(x: Any, lengths: Any, *, where: str) -> list[Any]:
    """Rows of a padded array without their padding.

    Raises:
        DataError: The lengths do not fit the array.
    """
    array, steps = np.asarray(x), np.asarray(lengths)
    is_fit = array.ndim in (2, 3) and steps.shape == (len(array),) and steps.dtype.kind in "iu"
    if not is_fit or (len(steps) and (steps.min() < 0 or steps.max() > array.shape[1])):
        raise bad(
            f"{where}, array 'lengths'",
            f"must hold the steps of each of {count(len(array), 'row')}, from 0 to "
            f"{array.shape[1] if array.ndim > 1 else '?'}",
            got=f"shape {steps.shape} with {steps.min() if steps.size else 'no'} to "
            f"{steps.max() if steps.size else 'values'} for x of shape {array.shape}",
            do="Write x as [rows, time] or [rows, time, channels] and lengths as whole numbers [rows].",
        )
    return [row[:size] for row, size in zip(array, steps.tolist(), strict=True)]


def _steps(y: Any, features: Sequences, *, target: str, lengths: Any) -> Steps | None:
    """Targets by time step, where y has one for each; None otherwise.

    Whole numbers below 0 are steps without a target.
    """
    sizes = length_of(features)
    if is_ragged(y):
        rows = [np.asarray(item) for item in y]
    else:
        array = np.asarray(y)
        if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind not in "iu":
            return None
        if len(array) != len(sizes) or array.shape[1] < sizes.max():
            return None
        rows = [row[:size] for row, size in zip(array, sizes.tolist(), strict=True)]
    found = [len(row) for row in rows]
    if found != sizes.tolist() or any(row.dtype.kind not in "iu" for row in rows if len(row)):
        raise bad(
            f"target '{target}'",
            "must have one class (a whole number) for each step of each sequence",
            got="lists of other lengths or types",
            do="Give y as lists as long as those of x, -1 where there is no target.",
        )
    most = max((int(row.max()) for row in rows if len(row)), default=-1)
    if most < 0:
        raise bad(f"target '{target}'", "must have targets", got="none", do="Check y.")
    values = np.full((len(rows), int(sizes.max())), -1, np.int32)
    for index, row in enumerate(rows):
        values[index, : len(row)] = np.maximum(row, -1)
    return Steps(target, values, tuple(str(code) for code in range(most + 1)))
