"""What the data package hands over, and the plain records its modules pass along.

``Dataset`` is the finished thing; ``Loaded`` is what a source gives before anything was split or
learned. Imports numpy and the data package's own records only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lanework.data.prepare import Preparation

__all__ = [
    "Array",
    "Column",
    "Dataset",
    "InputInfo",
    "Loaded",
    "Part",
    "Prepared",
    "Rows",
    "Sequences",
    "Steps",
    "Table",
]

Array = NDArray[Any]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class InputInfo:
    """What enters the network.

    Attributes:
        shape: Shape of one input without the batch axis: ``(width,)`` or ``(height, width, channels)``.
        num_numeric: How many leading entries of a flat input are numbers (0 for images).
        cardinalities: For each entry after those, how many category codes it can take.
        grid: A flat input that is an image can be looked at with this shape (digits: 8, 8, 1);
            empty when there is no such shape.
        kind: ``table``, ``image``, ``tokens`` (int32 codes [time], padded at the end with -1) or
            ``series`` (float32 [time, channels], padded at the end with NaN in all channels).
        vocabulary: How many token codes there are; 0 where the input is no tokens.
        is_stepwise: There is a target for each time step (int32 [time], -1 where padded), as in a
            language model.
    """

    shape: tuple[int, ...]
    num_numeric: int
    cardinalities: tuple[int, ...]
    grid: tuple[int, ...] = ()
    kind: str = "table"
    vocabulary: int = 0
    is_stepwise: bool = False


@dataclass(frozen=True)
class Part:
    """One part of the split.

    Attributes:
        x: float32 [n, *shape], uint8 [n, height, width, channels], or int32 [n, time] tokens.
        y: int32 [n] classes, or float32 [n, k] scaled targets; with a time axis after the first
            where there is a target for each step.
        weight: How much each sample weighs in the training loss, float32 [n] with mean 1; None where all weigh the same.
    """

    x: Array
    y: Array
    weight: Array | None = None

    def __len__(self) -> int:
        return len(self.y)


class Prepared(NamedTuple):
    """The inputs of all parts, prepared.

    Attributes:
        record: What was learned.
        parts: x of train, val and test.
        input: What enters the network.
        told: What was decided, as sentences.
        scale: See ``Dataset.input_scale``.
        shift: See ``Dataset.input_scale``.
    """

    record: Preparation
    parts: tuple[Array, Array, Array]
    input: InputInfo
    told: tuple[str, ...]
    scale: Array | None = None
    shift: Array | None = None


@dataclass(frozen=True)
class Dataset:
    """Everything that training needs and the report tells about the data.

    Attributes:
        task: ``classification`` or ``regression``.
        train: The part that is learned from.
        val: The part that choices are made on.
        test: The part that is used once, at the end.
        input: What enters the network.
        num_outputs: Classes, or regression targets.
        classes: Names of the classes in the order of their codes; empty for regression.
        preparation: The learned record that turns raw rows into ``x`` and outputs into target units.
        target_scale: Per target, ``y_unit = y * scale + shift`` (1 for classification).
        target_shift: See ``target_scale`` (0 for classification).
        input_scale: For uint8 ``x``: the step computes ``x * scale + shift`` in float32; shape
            broadcasts to ``input.shape``. None for float32 ``x``.
        input_shift: See ``input_scale``.
        summary: What the report shows; JSON-able, described in ``lanework.data.summary``.
        fingerprint: SHA-256 over all that training sees, and the split.
    """

    task: str
    train: Part
    val: Part
    test: Part
    input: InputInfo
    num_outputs: int
    classes: tuple[str, ...]
    preparation: Preparation
    target_scale: tuple[float, ...]
    target_shift: tuple[float, ...]
    input_scale: Array | None
    input_shift: Array | None
    summary: dict[str, Any]
    fingerprint: str


@dataclass(frozen=True)
class Column:
    """One column of a table, as read.

    Attributes:
        name: Its name.
        kind: ``numeric`` (float64, NaN is missing), ``date`` (the same, in days since 1970) or
            ``category`` (int32 codes into ``levels``, -1 is missing).
        values: The cells, shape [n].
        levels: The category names in sorted order; empty for numbers.
        is_given: The kind was asked for, not guessed.
        writing: How text cells write their numbers or dates (see ``writing``); may be empty.
        cell_kind: What the cells were when they came: ``text``, ``int``, ``float`` or ``bool``.
    """

    name: str
    kind: str
    values: Array
    levels: tuple[str, ...] = ()
    is_given: bool = False
    writing: str = ""
    cell_kind: str = "text"

    def missing(self) -> NDArray[np.bool_]:
        """Which cells are missing, shape [n]."""
        mask: NDArray[np.bool_] = self.values < 0 if self.levels_used() else np.isnan(self.values)
        return mask

    def levels_used(self) -> bool:
        """Whether the cells are codes into levels."""
        return self.kind == "category"

    def take(self, rows: Rows) -> Column:
        """The same column with only these rows, in this order."""
        return replace(self, values=self.values[rows])


@dataclass(frozen=True)
class Table:
    """Columns of equal length with distinct names."""

    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The column names in order."""
        return tuple(column.name for column in self.columns)

    @property
    def num_rows(self) -> int:
        """How many rows; 0 for a table without columns."""
        return len(self.columns[0].values) if self.columns else 0

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises:
            KeyError: There is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def without(self, names: Sequence[str]) -> Table:
        """The table without these columns."""
        return Table(tuple(column for column in self.columns if column.name not in names))

    def take(self, rows: Rows) -> Table:
        """The table with only these rows, in this order."""
        return Table(tuple(column.take(rows) for column in self.columns))


@dataclass(frozen=True)
class Sequences:
    """Samples of different length, as read: neither coded nor padded.

    Attributes:
        name: The column or array they came from.
        kind: ``text`` (each character is a step), ``words``, ``codes`` (whole numbers that stand
            for something) or ``numbers``.
        items: Object array [n]: ``str`` for text and words, int64 [time] for codes, float64
            [time, channels] for numbers.
        beside: Columns that do not enter but decide the split.
    """

    name: str
    kind: str
    items: Array
    beside: Table = Table(())

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, rows: Rows) -> Sequences:
        return replace(self, items=self.items[rows], beside=self.beside.take(rows))


@dataclass(frozen=True)
class Steps:
    """A class for each time step.

    Attributes:
        name: What the report calls the target.
        values: int32 [n, time], -1 where there is no target.
        classes: Names in the order of the codes.
    """

    name: str
    values: Array
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Rows) -> Steps:
        return replace(self, values=self.values[rows])


@dataclass(frozen=True)
class Loaded:
    """What a source gives: features and target, before any split.

    Attributes:
        features: A table, an array [n, ...] (uint8 images stay uint8), or sequences.
        target: One column, an array [n, k] of several numeric targets, or a class by time step.
        label: What the report calls the source.
        task: ``classification`` or ``regression`` when the source knows; else ``auto``.
        names: Feature names of an array; may be empty.
        class_names: Names for the target's sorted values when the source knows them.
        grid: See ``InputInfo.grid``.
        decisions: What was guessed or decided while reading, as sentences.
        dropped: Columns that were left out while reading, with the reason.
        test: The source's own test part.
        own_val: Which rows are the source's own validation part, bool [n]; None where it has none.
    """

    features: Table | Array | Sequences
    target: Column | Array | Steps
    label: str
    task: str = "auto"
    names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    grid: tuple[int, ...] = ()
    decisions: tuple[str, ...] = ()
    dropped: tuple[tuple[str, str], ...] = field(default=())
    test: Loaded | None = None
    own_val: Array | None = None

    @property
    def num_rows(self) -> int:
        """How many rows were read (without the source's own test part)."""
        return len(self.target.values if isinstance(self.target, Column) else self.target)
