"""What was learned from the training part to turn raw rows into network inputs, and back.

Owns the record and the one transform that applies it; scikit-learn's transformers do the learning
(imported only for tables with gaps or categories; plain numbers are learned with numpy by the
same formulas). The record is JSON-able and needs no scikit-learn to be applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lanework.data import sequences
from lanework.data.columns import Guesses, table_from_frame
from lanework.data.levels import (
    MAX_LEVELS,
    MISSING_LEVEL,
    LevelRule,
    date_part,
    learn_levels,
    level_codes,
    level_places,
)
from lanework.data.messages import bad, count, listed
from lanework.data.numbers import NumberBlock, NumberStep, apply_block
from lanework.data.types import Array, Sequences, Table

__all__ = [
    "MAX_LEVELS",
    "MISSING_LEVEL",
    "LevelRule",
    "NumberRule",
    "Preparation",
    "apply_table",
    "learn_images",
    "learn_levels",
    "learn_numbers",
    "level_codes",
]

SEQUENCE_FORMS = ("text", "words", "codes", "sequences", "characters")
"""Forms of ``Preparation`` whose samples have a time axis and may differ in length."""


@dataclass(frozen=True)
class NumberRule:
    """One numeric column: ``(value - shift) / scale``, with ``fill`` where it is missing.

    ``writing`` says how text cells of the training file wrote their numbers or dates. A number that
    was made of another column names it in ``column`` and says in ``part`` what it is: a part of a
    date (see ``lanework.data.levels.date_part``), or ``place`` among ``levels``.
    """

    name: str
    kind: str
    fill: float
    shift: float
    scale: float
    writing: str = ""
    column: str = ""
    part: str = ""
    levels: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The column it is made of."""
        return self.column or self.name

    def cells(self, table: Table) -> Array:
        """The number of each row before any preparation, float64 [n]."""
        column = table.column(self.source)
        if self.part == "place":
            return level_places(column, self.levels)
        return date_part(column.values, self.part)


@dataclass(frozen=True)
class Preparation:
    """The learned record: from raw features to ``x``, from outputs to the target's unit.

    Attributes:
        form: ``table`` (named columns), ``matrix`` (numbers by position), ``images`` (float),
            ``bytes`` (uint8 images that the training step scales), ``text``, ``words`` or ``codes``
            (tokens by row), ``characters`` (one running text), ``sequences`` (numbers by row) or
            ``windows`` (a time series).
        shape: Shape of one prepared input.
        numbers: Rules of the numeric columns, in order.
        levels: Rules of the categories, in order.
        encoding: ``onehot`` or ``embed``.
        blocks: Numbers that take steps beyond fill, shift and scale; empty where none does, else
            every number is in one of them.
        padding: Inputs that are always zero, behind the numbers and one-hot levels: where folds
            saw fewer levels than others.
        channel_shift: Images: subtracted per channel.
        channel_scale: Images: divided by per channel.
        missing: Extra missing markers of the study.
        target_names: Names of the targets.
        classes: Names of the classes.
        target_scale: ``y_unit = y * scale + shift``.
        target_shift: See ``target_scale``.
        target_log: The target was taken as ``log(1 + y)`` before it was scaled.
        class_kind: What the classes were when they came: ``text``, ``int``, ``float`` or ``bool``.
        column: Sequences: the column they stand in.
        alphabet: Tokens: what each code stands for; the code after the last one is what training
            never saw.
        order: Time series: name and kind of the column that says what came first; may be empty.
    """

    form: str
    shape: tuple[int, ...]
    numbers: tuple[NumberRule, ...] = ()
    levels: tuple[LevelRule, ...] = ()
    encoding: str = "onehot"
    channel_shift: tuple[float, ...] = ()
    channel_scale: tuple[float, ...] = ()
    missing: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    target_scale: tuple[float, ...] = (1.0,)
    target_shift: tuple[float, ...] = (0.0,)
    class_kind: str = "text"
    column: str = ""
    alphabet: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    blocks: tuple[NumberBlock, ...] = ()
    padding: int = 0
    target_log: bool = False

    def transform(self, rows: Any) -> Array:
        """Prepare raw rows for the network.

        Args:
            rows: A DataFrame or mapping of columns; or an array [n, columns] when all columns are
                numeric; or images [n, ...].

        Returns:
            float32 [n, *shape]; uint8 for form ``bytes``.

        Raises:
            DataError: A column is not there, or the shape is another.
        """
        if self.form in ("images", "bytes"):
            return self._transform_images(np.asarray(rows))
        if self.form in SEQUENCE_FORMS:
            return _transform_sequences(self, rows)
        if self.form == "windows":
            return _transform_windows(self, rows)
        if isinstance(rows, Mapping) or hasattr(rows, "columns"):
            return apply_table(self, self._table(rows))
        return self._transform_matrix(np.asarray(rows))

    def unscale(self, y: Array) -> Array:
        """Outputs [n, k] of a regression in the target's unit."""
        scaled: Array = y * np.asarray(self.target_scale) + np.asarray(self.target_shift)
        return np.expm1(scaled) if self.target_log else scaled

    def labels(self) -> Array:
        """The classes in the order of their codes, as the type the target had: [num_classes].

        Example:
            >>> Preparation("matrix", (1,), classes=("-1", "1"), class_kind="int").labels()
            array([-1,  1])
        """
        if self.class_kind == "bool":
            return np.array([name.lower() in ("true", "1") for name in self.classes], np.bool_)
        if self.class_kind == "int":
            return np.array([int(name) for name in self.classes], np.int64)
        if self.class_kind == "float":
            return np.array([float(name) for name in self.classes], np.float64)
        return np.array(self.classes, np.str_)

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON-able values."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Preparation:
        """The record back from ``to_json`` (also after a trip through a JSON file)."""
        values = _no_lists(record)
        values["numbers"] = tuple(NumberRule(**_no_lists(rule)) for rule in record["numbers"])
        values["levels"] = tuple(LevelRule(**_no_lists(rule)) for rule in record["levels"])
        values["blocks"] = tuple(_block(block) for block in record.get("blocks", ()))
        return cls(**values)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that enter, numbers first."""
        numbers = dict.fromkeys(rule.source for rule in self.numbers)
        return (*numbers, *(rule.name for rule in self.levels))

    def _table(self, rows: Any) -> Table:
        given = [str(name) for name in (rows.columns if hasattr(rows, "columns") else rows)]
        lacking = [name for name in self.names if name not in given]
        if lacking:
            raise bad(
                "rows to prepare",
                f"must have the {count(len(self.names), 'column')} of the training data",
                got=f"no {listed(lacking)}",
                do="Add the missing columns; cells may be empty.",
            )
        kinds = {
            **dict.fromkeys(given, "ignore"),
            **{rule.source: _known_kind(rule) for rule in self.numbers},
            **{rule.name: "category" for rule in self.levels},
            **({self.order[0]: self.order[1]} if self.order and self.order[0] in given else {}),
        }
        return table_from_frame(rows, kinds=kinds, missing=self.missing, guesses=Guesses.empty())

    def _transform_matrix(self, rows: Array) -> Array:
        if self.levels or rows.ndim != 2 or rows.shape[1] != len(self.numbers):
            wanted = "a DataFrame with named columns" if self.levels else "an array"
            raise bad(
                "rows to prepare",
                f"must be {wanted} with {count(len(self.names), 'column')}",
                got=f"an array of shape {rows.shape}",
                do="Give the same features as in training, in the same order.",
            )
        numbers = prepare_numbers(self, rows)
        return np.pad(numbers, ((0, 0), (0, self.padding))) if self.padding else numbers

    def _transform_images(self, rows: Array) -> Array:
        if rows.shape[1:] != self.shape and (*rows.shape[1:], 1) == self.shape:
            rows = rows[..., None]
        if rows.shape[1:] != self.shape:
            raise bad(
                "images to prepare",
                f"must have the shape {self.shape}",
                got=f"{rows.shape[1:]}",
                do="Resize or crop them to the size used in training.",
            )
        if self.form == "bytes":
            if rows.dtype != np.uint8:
                raise bad(
                    "images to prepare",
                    "must be bytes (uint8) as in training",
                    got=str(rows.dtype),
                    do="Give the original bytes, not scaled ones.",
                )
            return rows
        shift, scale = (np.asarray(v, np.float32) for v in (self.channel_shift, self.channel_scale))
        prepared: Array = (rows.astype(np.float32) - shift) / scale
        return prepared


def _no_lists(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's lists back as tuples."""
    return {key: _tuples(value) for key, value in values.items()}


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _block(record: Mapping[str, Any]) -> NumberBlock:
    steps = tuple(NumberStep(step["kind"], _no_lists(step["values"])) for step in record["steps"])
    return NumberBlock(tuple(record["columns"]), steps, record["width"])


def _known_kind(rule: NumberRule) -> str:
    """The kind found in training with the writing of the cells, as ``read_column`` takes it."""
    return "category" if rule.part == "place" else f"{rule.kind}:{rule.writing}"


def apply_table(record: Preparation, table: Table) -> Array:
    """Apply the record to a table: numbers, one-hot levels, padding, codes; float32 [n, width]."""
    num_rows = table.num_rows
    x = np.zeros((num_rows, record.shape[0]), np.float32)
    start = 0
    if record.numbers:
        cells = np.stack([rule.cells(table) for rule in record.numbers], axis=1)
        numbers = prepare_numbers(record, cells)
        start = numbers.shape[1]
        x[:, :start] = numbers
    embedded = [rule for rule in record.levels if _is_embedded(record, rule)]
    for rule in record.levels:
        if rule in embedded:
            continue
        codes = level_codes(rule, table)
        known = np.flatnonzero(codes >= 0)
        x[known, start + codes[known]] = 1.0
        start += rule.width
    start += record.padding
    for place, rule in enumerate(embedded, start=start):
        x[:, place] = level_codes(rule, table)
    return x


def _is_embedded(record: Preparation, rule: LevelRule) -> bool:
    return (rule.encoding or record.encoding) == "embed"


def prepare_numbers(record: Preparation, matrix: Array) -> Array:
    """All numbers prepared, in the order of the blocks where there are any: float32 [n, width]."""
    if not record.blocks:
        return _apply_numbers(record.numbers, matrix)
    exact = matrix.astype(np.float64, copy=False)
    made = [apply_block(block, exact) for block in record.blocks]
    return np.concatenate(made, axis=1).astype(np.float32)


def learn_numbers(
    matrix: Array, names: tuple[str, ...], *, kinds: tuple[str, ...], prepare: str
) -> tuple[NumberRule, ...]:
    """Learn fill, shift and scale of numeric columns from the training part.

    Args:
        matrix: [n, columns], NaN where missing.
        names: Column names.
        kinds: numeric or date, per column.
        prepare: ``standard`` (mean 0, variance 1), ``centre`` (mean 0), ``minmax`` ([0, 1]) or
            ``none``.

    Returns:
        One rule per column. A constant column gets scale 1.

    Source:
        scikit-learn: SimpleImputer(median), StandardScaler, MinMaxScaler; a test compares.
    """
    if matrix.shape[1] == 0:
        return ()
    if np.isnan(matrix).any():
        fill, shift, scale = _learn_with_gaps(matrix, prepare)
    else:
        fill = np.median(matrix, axis=0)
        shift, scale = _MOMENTS[prepare](matrix)
    return tuple(
        NumberRule(name, kind, float(f), float(m), float(s))
        for name, kind, f, m, s in zip(names, kinds, fill, shift, scale, strict=True)
    )


def learn_images(images: Array, *, prepare: str) -> tuple[Array, Array]:
    """Shift and scale per channel, float64 [channels], learned without copying all images.

    Args:
        images: [n, height, width, channels].
        prepare: ``standard``, ``centre`` (bytes by 255 as well), ``minmax`` or ``none``.

    Returns:
        Shift and scale such that ``(image - shift) / scale`` is prepared.
    """
    channels = images.shape[-1]
    if prepare == "none":
        return np.zeros(channels), np.ones(channels)
    if prepare == "minmax":
        if images.dtype == np.uint8:
            return np.zeros(channels), np.full(channels, 255.0)
        low = images.min(axis=(0, 1, 2)).astype(float)
        return low, _no_zero(images.max(axis=(0, 1, 2)) - low)
    flat = images.reshape(-1, channels)
    total, squares = np.zeros(channels), np.zeros(channels)
    for start in range(0, len(flat), 2**20):
        block = flat[start : start + 2**20]
        exact = np.uint32 if images.dtype == np.uint8 else np.float64
        total += block.sum(axis=0, dtype=np.float64)
        wide: Array = block.astype(exact)
        squares += (wide * wide).sum(axis=0, dtype=np.float64)
    mean = total / len(flat)
    if prepare == "centre":
        return mean, np.full(channels, 255.0 if images.dtype == np.uint8 else 1.0)
    return mean, _no_zero(np.sqrt(np.maximum(squares / len(flat) - mean**2, 0.0)))


def _learn_with_gaps(matrix: Array, prepare: str) -> tuple[Array, Array, Array]:
    """Fill, shift and scale by scikit-learn's transformers."""
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    filled = imputer.fit_transform(matrix)
    fill = imputer.statistics_
    if prepare == "standard":
        scaler = StandardScaler().fit(filled)
        return fill, scaler.mean_, scaler.scale_
    if prepare == "minmax":
        minmax = MinMaxScaler().fit(filled)
        return fill, minmax.data_min_, 1.0 / minmax.scale_
    if prepare == "centre":
        return fill, filled.mean(axis=0), np.ones(matrix.shape[1])
    return fill, np.zeros(matrix.shape[1]), np.ones(matrix.shape[1])


def _moments_standard(matrix: Array) -> tuple[Array, Array]:
    """Mean and standard deviation; 1 for columns that are constant up to rounding."""
    exact = matrix.astype(np.float64, copy=False)
    mean, variance = exact.mean(axis=0), exact.var(axis=0)
    eps, num_rows = np.finfo(np.float64).eps, len(matrix)
    is_constant = variance <= num_rows * eps * variance + (num_rows * mean * eps) ** 2
    return mean, np.where(is_constant, 1.0, np.sqrt(variance))


def _moments_minmax(matrix: Array) -> tuple[Array, Array]:
    low = matrix.min(axis=0).astype(np.float64)
    return low, _no_zero(matrix.max(axis=0) - low)


def _moments_none(matrix: Array) -> tuple[Array, Array]:
    return np.zeros(matrix.shape[1]), np.ones(matrix.shape[1])


def _moments_centre(matrix: Array) -> tuple[Array, Array]:
    return matrix.astype(np.float64, copy=False).mean(axis=0), np.ones(matrix.shape[1])


_MOMENTS = {
    "centre": _moments_centre,
    "standard": _moments_standard,
    "minmax": _moments_minmax,
    "none": _moments_none,
}


def _no_zero(scale: Array) -> Array:
    return np.where(scale == 0, 1.0, scale)


def _apply_numbers(rules: tuple[NumberRule, ...], matrix: Array) -> Array:
    """Numbers by position, float32 [n, columns]."""
    fill, shift, scale = (
        np.array([getattr(rule, name) for rule in rules]) for name in ("fill", "shift", "scale")
    )
    values = matrix.astype(np.float64, copy=False)
    is_gap = ~np.isfinite(values)
    if is_gap.any():
        values = np.where(is_gap, fill, values)
    prepared: Array = ((values - shift) / scale).astype(np.float32)
    return prepared


def _transform_sequences(record: Preparation, rows: Any) -> Array:
    """Strings, lists or arrays of different length as padded inputs; what is too long is cut at the end."""
    items = _items_of(record, rows)
    kind = "numbers" if record.form == "sequences" else record.form
    if kind in ("numbers", "codes"):
        array = sequences.number_items(items, kind=kind, where="sequences to prepare")
    else:
        array = sequences.object_array(items)
    kind = "text" if kind == "characters" else kind
    empty = np.flatnonzero(sequences.length_of(Sequences("", kind, array)) == 0)
    if len(empty):
        raise bad(
            "sequences to prepare",
            "must have at least one step each",
            got=f"length 0 in {count(len(empty), 'row')}: {listed(empty.tolist())} (from 0)",
            do="Leave these rows out.",
        )
    time = record.shape[0]
    if kind != "numbers":
        codes, lengths = sequences.to_codes(array, kind, alphabet=record.alphabet)
        return sequences.pad_codes(codes, lengths, time=time)
    channels = record.shape[1]
    wrong = {item.shape[1] for item in array if item.shape[1] != channels}
    if wrong:
        raise bad(
            "sequences to prepare",
            f"must have {count(channels, 'channel')} as in training",
            got=listed(sorted(wrong)),
            do="Give each sequence as [time, channels].",
        )
    rules = record.numbers
    filled = sequences.object_array(
        [_apply_numbers(rules, np.where(np.isfinite(item), item, np.nan)) for item in array]
    )
    return sequences.pad_numbers(filled, time=time, channels=channels)


def _items_of(record: Preparation, rows: Any) -> list[Any]:
    """The sequences among whatever was given: a column of a table, a list, or one string."""
    if isinstance(rows, str):
        return [rows]
    if isinstance(rows, Mapping) or hasattr(rows, "columns"):
        if record.column not in rows:
            raise bad(
                "rows to prepare",
                f"must have the column '{record.column}' of the training data",
                got=f"the columns {listed(rows)}",
                do="Rename or add it.",
            )
        rows = rows[record.column]
    items = list(rows)
    if record.form in ("text", "characters") and not all(isinstance(i, str) for i in items):
        raise bad(
            "sequences to prepare",
            "must be text",
            got=f"{type(next(i for i in items if not isinstance(i, str))).__name__}",
            do="Give a list of strings.",
        )
    return items


def _transform_windows(record: Preparation, rows: Any) -> Array:
    """A table (each window of its rows, in order of time) or windows [n, window, channels]."""
    if not (isinstance(rows, Mapping) or hasattr(rows, "columns")):
        array = np.asarray(rows, np.float64)
        if array.ndim == 2 and len(record.numbers) == 1:
            array = array[..., None]
        if array.shape[1:] != record.shape:
            raise bad(
                "windows to prepare",
                f"must have the shape {record.shape}: steps, channels",
                got=f"{array.shape[1:]}",
                do="Give a table with the columns of training, or windows of that shape.",
            )
        flat = _apply_numbers(record.numbers, array.reshape(-1, array.shape[-1]))
        return flat.reshape(array.shape)
    table = record._table(rows)
    matrix = np.stack([table.column(rule.name).values for rule in record.numbers], axis=1)
    if record.order and record.order[0] in table.names:
        matrix = matrix[np.argsort(table.column(record.order[0]).values, kind="stable")]
    window = record.shape[0]
    if len(matrix) < window:
        raise bad(
            "rows to prepare",
            f"must be at least {window} (the window)",
            got=count(len(matrix), "row"),
            do="Give more of the past.",
        )
    x = _apply_numbers(record.numbers, sequences.fill_forward(matrix))
    return np.ascontiguousarray(sequences.cut_windows(x, window=window))
