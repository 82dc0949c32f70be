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

from lanework.data.columns import Guesses, table_from_frame
from lanework.data.messages import bad, count, listed
from lanework.data.types import Array, Table

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

MAX_LEVELS: Mapping[str, int] = {"onehot": 64, "embed": 1024}
"""Most levels a category keeps; the rarer ones share one."""

MISSING_LEVEL = "(missing)"


@dataclass(frozen=True)
class NumberRule:
    """One numeric column: ``(value - shift) / scale``, with ``fill`` where it is missing.

    ``writing`` says how text cells of the training file wrote their numbers or dates.
    """

    name: str
    kind: str
    fill: float
    shift: float
    scale: float
    writing: str = ""


@dataclass(frozen=True)
class LevelRule:
    """One category: which output each known level has.

    Attributes:
        name: The column.
        levels: Levels seen in training.
        outputs: For each level its output, in [0, width).
        width: How many outputs (one-hot columns, or codes of an embedding).
        unknown: Output of levels never seen in training; -1: all zeros.
    """

    name: str
    levels: tuple[str, ...]
    outputs: tuple[int, ...]
    width: int
    unknown: int


@dataclass(frozen=True)
class Preparation:
    """The learned record: from raw features to ``x``, from outputs to the target's unit.

    Attributes:
        form: ``table`` (named columns), ``matrix`` (numbers by position), ``images`` (float), or
            ``bytes`` (uint8 images that the training step scales).
        shape: Shape of one prepared input.
        numbers: Rules of the numeric columns, in order.
        levels: Rules of the categories, in order.
        encoding: ``onehot`` or ``embed``.
        channel_shift: Images: subtracted per channel.
        channel_scale: Images: divided by per channel.
        missing: Extra missing markers of the study.
        target_names: Names of the targets.
        classes: Names of the classes.
        target_scale: ``y_unit = y * scale + shift``.
        target_shift: See ``target_scale``.
        class_kind: What the classes were when they came: ``text``, ``int``, ``float`` or ``bool``.
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
        if isinstance(rows, Mapping) or hasattr(rows, "columns"):
            return apply_table(self, self._table(rows))
        return self._transform_matrix(np.asarray(rows))

    def unscale(self, y: Array) -> Array:
        """Outputs [n, k] of a regression in the target's unit."""
        scaled: Array = y * np.asarray(self.target_scale) + np.asarray(self.target_shift)
        return scaled

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
        values["numbers"] = tuple(NumberRule(**rule) for rule in record["numbers"])
        values["levels"] = tuple(LevelRule(**_no_lists(rule)) for rule in record["levels"])
        return cls(**values)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that enter, numbers first."""
        numbers = tuple(rule.name for rule in self.numbers)
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
            **{rule.name: f"{rule.kind}:{rule.writing}" for rule in self.numbers},
            **{rule.name: "category" for rule in self.levels},
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
        return _apply_numbers(self.numbers, rows)

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
    return {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}


def apply_table(record: Preparation, table: Table) -> Array:
    """Apply the record to a table: numbers first, then categories; float32 [n, width]."""
    num_rows = table.num_rows
    x = np.zeros((num_rows, record.shape[0]), np.float32)
    for index, rule in enumerate(record.numbers):
        values = table.column(rule.name).values
        x[:, index] = (np.where(np.isnan(values), rule.fill, values) - rule.shift) / rule.scale
    start = len(record.numbers)
    for level_rule in record.levels:
        codes = level_codes(level_rule, table)
        if record.encoding == "embed":
            x[:, start] = codes
            start += 1
            continue
        known = np.flatnonzero(codes >= 0)
        x[known, start + codes[known]] = 1.0
        start += level_rule.width
    return x


def level_codes(rule: LevelRule, table: Table) -> Array:
    """Output of each cell of a category, int [n]; -1 for all zeros."""
    column = table.column(rule.name)
    output_of = dict(zip(rule.levels, rule.outputs, strict=True))
    lookup = np.array(
        [
            *(output_of.get(level, rule.unknown) for level in column.levels),
            output_of.get(MISSING_LEVEL, rule.unknown),
        ]
    )
    codes: Array = lookup[column.values]
    return codes


def learn_numbers(
    matrix: Array, names: tuple[str, ...], *, kinds: tuple[str, ...], prepare: str
) -> tuple[NumberRule, ...]:
    """Learn fill, shift and scale of numeric columns from the training part.

    Args:
        matrix: [n, columns], NaN where missing.
        names: Column names.
        kinds: numeric or date, per column.
        prepare: ``standard`` (mean 0, variance 1), ``minmax`` ([0, 1]) or ``none``.

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


def learn_levels(table: Table, *, encoding: str) -> tuple[LevelRule, ...]:
    """Learn which levels of the categories exist in the training part, and their outputs.

    Missing cells are a level of their own. Levels beyond ``MAX_LEVELS`` share one output, the
    rarest ones. Levels never seen in training share that output too, or are all zeros (one-hot)
    or have a code of their own (embed).

    Args:
        table: The categories of the training part.
        encoding: ``onehot`` or ``embed``.

    Returns:
        One rule per column.

    Source:
        scikit-learn: SimpleImputer(constant), OneHotEncoder, OrdinalEncoder; a test compares.
    """
    if not table.columns:
        return ()
    from sklearn.preprocessing import OneHotEncoder

    names_of, codes = [], []
    for column in table.columns:
        levels = sorted([*column.levels, MISSING_LEVEL])
        position = np.array([levels.index(level) for level in (*column.levels, MISSING_LEVEL)])
        names_of.append(levels)
        codes.append(position[column.values])
    encoder = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=MAX_LEVELS[encoding]
    )
    encoder.fit(np.stack(codes, axis=1))
    rules = []
    for index, column in enumerate(table.columns):
        rare = encoder.infrequent_categories_[index]
        kept = encoder.categories_[index]
        rules.append(_level_rule(column.name, names_of[index], kept, rare=rare, encoding=encoding))
    return tuple(rules)


def learn_images(images: Array, *, prepare: str) -> tuple[Array, Array]:
    """Shift and scale per channel, float64 [channels], learned without copying all images.

    Args:
        images: [n, height, width, channels].
        prepare: ``standard``, ``minmax`` or ``none``.

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


_MOMENTS = {"standard": _moments_standard, "minmax": _moments_minmax, "none": _moments_none}


def _no_zero(scale: Array) -> Array:
    return np.where(scale == 0, 1.0, scale)


def _level_rule(
    name: str, levels: list[str], kept: Array, *, rare: Array | None, encoding: str
) -> LevelRule:
    """Outputs in scikit-learn's order: frequent levels as sorted, then the shared one."""
    rare_codes = set() if rare is None else {int(code) for code in rare}
    frequent = [int(code) for code in kept if int(code) not in rare_codes]
    outputs = {code: position for position, code in enumerate(frequent)}
    outputs.update(dict.fromkeys(rare_codes, len(frequent)))
    width = len(frequent) + bool(rare_codes)
    unknown = len(frequent) if rare_codes else -1
    if encoding == "embed" and not rare_codes:
        unknown, width = width, width + 1
    known = [int(code) for code in kept]
    return LevelRule(
        name,
        tuple(levels[code] for code in known),
        tuple(outputs[code] for code in known),
        width,
        unknown,
    )


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
