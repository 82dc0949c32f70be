"""Arrays on disk that are larger than memory: NPY files that are mapped, and never read whole.

Owns `MappedRows`, which reads rows of a mapped array, and the loading of a data set from such an array: split by row number,
statistics learned in passes over the file, a bounded validation part. numpy only.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from lanework.data import summary
from lanework.data.files import must_exist
from lanework.data.messages import bad, count, share
from lanework.data.prepare import NumberRule, Preparation
from lanework.data.split import Parts, limited_rows, split_rows
from lanework.data.target import (
    Classes,
    class_kind,
    decide_task,
    encode_classes,
    find_classes,
    numeric_target,
    scaled_targets,
)
from lanework.data.types import Array, Column, Dataset, InputInfo, Loaded, Part, Rows

if TYPE_CHECKING:
    from lanework.spec import DataSpec

__all__ = ["MappedRows", "is_mapped", "load_mapped", "mapped_problems"]

X_NAME, Y_NAME = "x.npy", "y.npy"
DTYPES = ("uint8", "float16", "float32", "float64")
PREPARES = ("standard", "minmax", "none")
READ_BYTES = 32 * 2**20
"""Bytes that are read at a time."""
LOOKED_ROWS = 256
"""Rows that are read before their pages are given back: the kernel maps up to megabytes around each."""
STATISTICS_BYTES = 2**30
"""Bytes of training rows from which means and spreads are learned; more are sampled."""
VAL_ROWS, VAL_BYTES = 10_000, 128 * 2**20
"""Rows and bytes of the validation part, which is in memory."""
_FINGERPRINT_ROWS = 1024
_BLOCK_ROWS = 256


class MappedRows:
    """Rows of an array on disk, by number; the rest of the file is never looked at.

    Rows are read through the mapping, in the order of the file, and their pages are given back at once: pages that were touched
    would count as resident, and the kernel maps up to megabytes around each. What the kernel keeps in its own cache it gives up
    when somebody needs the memory. One system call for each row would give the same and takes three times as long.

    Example:
        >>> part = MappedRows(np.arange(12.0, dtype=np.float32).reshape(6, 2), np.array([5, 0]))
        >>> part.shape, part[[1, 0]].tolist()
        ((2, 2), [[0.0, 1.0], [10.0, 11.0]])
    """

    def __init__(
        self, source: Array, rows: Rows | None = None, *, shape: tuple[int, ...] | None = None
    ) -> None:
        """Take rows of an array.

        Args:
            source: The array [n, ...], mapped or not.
            rows: Which of its rows, in which order; all of them by default.
            shape: Shape of one row, where it is another than that of the array (a channel axis).
        """
        self._source = np.asarray(source)
        self._mapping = _Mapping.under(source)
        self._rows = np.arange(len(source)) if rows is None else rows
        self.shape = (len(self._rows), *(source.shape[1:] if shape is None else shape))
        self.dtype = np.dtype(np.float32) if source.dtype == np.float64 else source.dtype
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Any) -> Array:
        """Rows by slice, numbers or truth values, as an array of its own; one row by its number."""
        if isinstance(rows, int | np.integer):
            if not -len(self) <= rows < len(self):
                raise IndexError(f"row {rows} of {len(self)}")
            return cast("Array", self[[rows]][0])
        places = np.arange(len(self))[rows]
        out = np.empty((len(places), *self.shape[1:]), self.dtype)
        # In the order of the file, which is faster to read; then back.
        order = np.argsort(self._rows[places], kind="stable")
        self.read_into(places[order], out)
        if np.array_equal(order, np.arange(len(order))):
            return out
        back = np.empty_like(out)
        back[order] = out
        return back

    def read_into(self, rows: NDArray[Any], out: Array) -> None:
        """Write rows by ascending number to an array [len(rows), ...] of the right type."""
        row_bytes = max(1, self._source.itemsize * int(np.prod(self._source.shape[1:])))
        step = max(1, READ_BYTES // row_bytes)
        flat = out.reshape(len(out), *self._source.shape[1:])
        for first in range(0, len(rows), step):
            wanted = self._rows[rows[first : first + step]]
            target = flat[first : first + step]
            if self._source.dtype == self.dtype:
                self._read(wanted, target)
            else:
                raw = np.empty(target.shape, self._source.dtype)
                self._read(wanted, raw)
                target[:] = raw

    def _read(self, wanted: Rows, target: Array) -> None:
        if self._mapping is None:
            np.take(self._source, wanted, axis=0, out=target, mode="clip")
            return
        self._mapping.must_hold(self._source.nbytes)
        size = self._source.nbytes // max(1, len(self._source))
        for first in range(0, len(wanted), LOOKED_ROWS):
            some = wanted[first : first + LOOKED_ROWS]
            # Another mode than clip would fill a copy first.
            np.take(self._source, some, axis=0, out=target[first : first + len(some)], mode="clip")
            self._mapping.give_back(int(some.min()) * size, (int(some.max()) + 1) * size)


class _Mapping(NamedTuple):
    """The mapping under an array, whose pages are given back once they were read.

    Attributes:
        pages: The mapping.
        skipped: Bytes of the file before it.
        first: Place of the array in it, in bytes.
    """

    pages: mmap.mmap
    skipped: int
    first: int

    @classmethod
    def under(cls, source: Array) -> _Mapping | None:
        """The mapping under an array; None where giving pages back would lose something, or cannot be."""
        base: Any = source
        while isinstance(base, np.ndarray) and not isinstance(base.base, mmap.mmap):
            base = base.base
        # What was written to a copy-on-write mapping is in its pages only.
        is_plain = isinstance(base, np.memmap) and base.mode != "c" and source.flags.c_contiguous
        if not is_plain or not hasattr(mmap, "MADV_DONTNEED"):
            return None
        ahead = base.offset % mmap.ALLOCATIONGRANULARITY
        addresses = [array.__array_interface__["data"][0] for array in (source, base)]
        return cls(base.base, base.offset - ahead, ahead + addresses[0] - addresses[1])

    def must_hold(self, size: int) -> None:
        """Raise where the file has become shorter: to look at what is gone would end the process."""
        if self.pages.size() < self.skipped + self.first + size:
            raise bad(
                "arrays on disk (NPY)",
                "must stay as they are while a study runs",
                got="a file that has become shorter",
                do="Put it back and go on with --resume.",
            )

    def give_back(self, start: int, end: int) -> None:
        """Count the bytes from `start` to `end` of the array as resident no longer; the kernel still has them in its cache."""
        page = (self.first + start) // mmap.PAGESIZE * mmap.PAGESIZE
        self.pages.madvise(mmap.MADV_DONTNEED, page, self.first + end - page)


def is_mapped(spec: DataSpec, *, arrays: Any = None) -> bool:
    """Whether a data section names arrays on disk: an NPY file, a folder with x.npy and y.npy, or `np.memmap` objects."""
    if arrays is not None:
        is_pair = isinstance(arrays, tuple | list) and len(arrays) == 2
        return is_pair and isinstance(arrays[0], np.memmap)
    path = Path(spec.source)
    return path.suffix == ".npy" or (path / X_NAME).is_file()


def load_mapped(spec: DataSpec, *, arrays: Any = None) -> Dataset:
    """The data set of arrays on disk.

    Args:
        spec: The data section of a study, of which `is_mapped` holds.
        arrays: `(np.memmap, targets)` from Python.

    Returns:
        Training and test parts whose inputs are `MappedRows`, a validation part in memory. Inputs are raw: the training
        step scales them (`Dataset.input_scale`).

    Raises:
        DataError: A file is missing or damaged, shapes do not fit, or the study asks for what needs the whole array.
    """
    _refuse_whole(spec)
    x, loaded = _read(spec, arrays)
    task, sentence = decide_task(loaded, given=spec.task)
    classes, y = _coded(loaded, task)
    decisions = [f"{loaded.label} is read from disk by row, never whole."]
    decisions += [sentence] if sentence else []
    kept, limited = limited_rows(len(y), spec.limit_rows, seed=spec.split.seed)
    parts, told = _split(task, classes, y[kept], spec)
    decisions += [*limited, *told]
    rows = [kept[part] for part in parts[:3]]
    held, more = _bounded(rows[1], x, seed=spec.split.seed)
    decisions += more
    rows[1] = held
    own = _own_test(spec, x, loaded, task, classes)
    shape = x.shape[1:] if x.ndim != 3 else (*x.shape[1:], 1)
    learned, more = _learn(x, rows[0], prepare=spec.prepare)
    decisions += more
    train, val = MappedRows(x, rows[0], shape=shape), MappedRows(x, rows[1], shape=shape)[:]
    test: MappedRows = MappedRows(x, rows[2], shape=shape) if own is None else own[0]
    raw_y = [y[rows[0]], y[rows[1]], y[rows[2]] if own is None else own[1]]
    return _assembled(
        spec,
        loaded,
        _Coded(task, classes, raw_y),
        inputs=[train, val, test],
        learned=learned,
        decisions=decisions,
        fingerprint=_fingerprint(x, y, rows),
    )


def mapped_problems(spec: DataSpec) -> str:
    """What is wrong with the files, from their heads alone; empty when nothing is."""
    from lanework.errors import DataError

    try:
        _refuse_whole(spec)
        _read(spec, None)
    except DataError as error:
        return str(error)
    return ""


class _Learned(NamedTuple):
    """Shift and scale of each column or channel, float64."""

    shift: Array
    scale: Array


class _Coded(NamedTuple):
    """Task, classes and the targets of the three parts."""

    task: str
    classes: Classes
    y: list[Array]


def _refuse_whole(spec: DataSpec) -> None:
    """Raise where the study asks for something that needs the whole array at once."""
    split = spec.split
    given = {
        "data.split.folds": split.folds,
        "data.split.group": split.group,
        "data.split.time": split.time or None,
        "data.sample_weights": spec.sample_weights,
        "data.columns": spec.columns or None,
        "data.label_noise": spec.label_noise or None,
        "data.prepare_held_out": None if spec.prepare_held_out == "same" else spec.prepare_held_out,
    }
    for key, value in given.items():
        if value is not None:
            raise bad(
                key,
                "must be left out for arrays on disk (NPY)",
                got=repr(value),
                do="Remove it, or give the data as a table, which is read whole.",
            )
    if spec.prepare not in PREPARES:
        raise bad(
            "data.prepare",
            f"must be {', '.join(PREPARES[:-1])} or {PREPARES[-1]} for arrays on disk (NPY)",
            got=repr(spec.prepare),
            do="Other steps need the whole array at once; do them before you write it.",
        )


def _read(spec: DataSpec, arrays: Any) -> tuple[Array, Loaded]:
    """The mapped inputs, and the target in memory."""
    if arrays is not None:
        x, y, label = arrays[0], np.asarray(arrays[1]), "The memory-mapped array"
    else:
        path, targets = _paths(spec)
        x, y, label = _open(path), np.array(_open(targets)), path.name
    _check(x, y, label)
    name = "y" if spec.target is None or spec.target.endswith(".npy") else spec.target
    return x, Loaded(x[:0], _target(y, name, label), label)


def _paths(spec: DataSpec) -> tuple[Path, Path]:
    source = Path(spec.source)
    if source.is_dir():
        return source / X_NAME, source / (spec.target or Y_NAME)
    return source, source.parent / (spec.target or Y_NAME)


def _open(path: Path) -> Array:
    must_exist(path, where="data.target" if path.name == Y_NAME else "data.source")
    try:
        return cast("Array", np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise bad(
            path.name,
            "must be a whole NPY file of numbers",
            got=f"one that cannot be mapped ({error})",
            do="Write it with numpy.save, or numpy.lib.format.open_memmap for one that is larger than memory.",
        ) from error


def _check(x: Array, y: Array, label: str) -> None:
    if x.dtype.name not in DTYPES or not 2 <= x.ndim <= 4:
        raise bad(
            label,
            f"must hold {', '.join(DTYPES[:-1])} or {DTYPES[-1]}, [rows, columns] or [rows, height, width, channels]",
            got=f"an array of shape {x.shape} and type {x.dtype}",
            do="Write it in one of these forms.",
        )
    if not x.flags.c_contiguous:
        raise bad(
            label,
            "must be stored row by row (C order)",
            got="column by column (Fortran order)",
            do="Write it with numpy.save(path, numpy.ascontiguousarray(x)).",
        )
    if len(x) != len(y) or not len(x):
        raise bad(
            label,
            "must have as many targets as rows, at least one",
            got=f"{count(len(x), 'row')} and {count(len(y), 'target')}",
            do="Check that x and y belong together.",
        )


def _target(y: Array, name: str, label: str) -> Column | Array:
    values = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if values.dtype.kind in "US" and values.ndim == 1:
        levels, codes = np.unique(values.astype(str), return_inverse=True)
        return Column(name, "category", codes.astype(np.int32), tuple(levels.tolist()))
    if values.dtype.kind not in "fiub" or values.ndim > 2:
        raise bad(
            f"targets of {label}",
            "must be numbers or texts [rows], or numbers [rows, targets]",
            got=f"an array of shape {y.shape} and type {y.dtype}",
            do="Write one target per row.",
        )
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise bad(
            f"targets of {label}",
            "must be finite",
            got=count(int((~np.isfinite(numbers)).sum()), "value") + " NaN or infinite",
            do="Remove these rows.",
        )
    kind = "float" if values.dtype.kind == "f" else "int"
    return Column(name, "numeric", numbers, cell_kind=kind) if values.ndim == 1 else numbers


def _coded(loaded: Loaded, task: str) -> tuple[Classes, Array]:
    """The classes, and the target of all rows in numbers."""
    if task == "regression":
        return Classes((), ()), numeric_target(_plain_target(loaded), where=loaded.label)
    classes = find_classes(loaded)
    return classes, encode_classes(cast("Column", loaded.target), classes, where=loaded.label)


def _plain_target(loaded: Loaded) -> Column | Array:
    return cast("Column | Array", loaded.target)


def _split(task: str, classes: Classes, y: Array, spec: DataSpec) -> tuple[Parts, list[str]]:
    split = spec.split
    is_stratified = split.stratify and task == "classification"
    test = 0.0 if spec.test_source is not None else split.test
    parts = split_rows(
        y if is_stratified else None,
        len(y),
        fractions=(split.train, split.val, test),
        seed=split.seed,
        classes=classes.names,
    )
    how = "at random, the same share of each class in each part" if is_stratified else "at random"
    return parts, [f"Rows are split {how}.", *parts.decisions]


def _bounded(rows: Rows, x: Array, *, seed: int) -> tuple[Rows, list[str]]:
    """A validation part that fits into memory: after every evaluation interval, all of it is evaluated."""
    row_bytes = x.itemsize * int(np.prod(x.shape[1:]))
    most = max(1, min(VAL_ROWS, VAL_BYTES // max(1, row_bytes)))
    if len(rows) <= most:
        return rows, []
    rng = np.random.Generator(np.random.PCG64([seed, 0x0A1]))
    told = (
        f"The validation part is a random sample of {count(most, 'row')} ({share(most, len(rows))} of its {len(rows)}), so "
        "that evaluating takes a bounded time and memory; the other rows of it are not used."
    )
    return np.sort(rng.choice(rows, most, replace=False)), [told]


def _own_test(
    spec: DataSpec, x: Array, loaded: Loaded, task: str, classes: Classes
) -> tuple[MappedRows, Array] | None:
    """The test part of a study that brings its own."""
    if spec.test_source is None:
        return None
    other = spec.model_copy(update={"source": spec.test_source, "test_source": None})
    if Path(spec.test_source).is_dir() and spec.target is None:
        other = other.model_copy(update={"target": None})
    held, told = _read(other, None)
    if held.shape[1:] != x.shape[1:] or held.dtype != x.dtype:
        raise bad(
            "data.test",
            f"must have rows of shape {x.shape[1:]} and type {x.dtype} as in training",
            got=f"{held.shape[1:]} and {held.dtype}",
            do="Write the test part in the same form.",
        )
    shape = x.shape[1:] if x.ndim != 3 else (*x.shape[1:], 1)
    if task == "regression":
        y = numeric_target(_plain_target(told), where=told.label)
    else:
        y = encode_classes(cast("Column", told.target), classes, where=told.label)
    return MappedRows(held, None, shape=shape), y


def _learn(x: Array, rows: Rows, *, prepare: Any) -> tuple[_Learned, list[str]]:
    """Shift and scale by column (or channel) from one pass over the training rows, or over a sample of them.

    Source:
        Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance" (sums around a first mean).
    """
    width = x.shape[1] if x.ndim == 2 else (x.shape[3] if x.ndim == 4 else 1)
    if prepare == "minmax" and x.dtype == np.uint8:
        return _Learned(np.zeros(width), np.full(width, 255.0)), []
    looked, told = _sampled(x, rows)
    number, origin = 0, np.zeros(width)
    total, squares = np.zeros(width), np.zeros(width)
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    for first, block in _blocks(x, looked):
        flat = block.reshape(-1, width).astype(np.float64)
        if not np.isfinite(flat).all():
            raise _gap(block, looked[first:])
        origin = flat.mean(axis=0) if not number else origin
        number += len(flat)
        total += (flat - origin).sum(axis=0)
        squares += np.square(flat - origin).sum(axis=0)
        low, high = np.minimum(low, flat.min(axis=0)), np.maximum(high, flat.max(axis=0))
    if prepare == "none":
        return _Learned(np.zeros(width), np.ones(width)), told
    if prepare == "minmax":
        return _Learned(low, _no_zero(high - low)), told
    mean = origin + total / number
    variance = np.maximum(squares / number - np.square(total / number), 0.0)
    return _Learned(mean, _no_zero(np.sqrt(variance))), told


def _sampled(x: Array, rows: Rows) -> tuple[Rows, list[str]]:
    """The rows to learn from: all, or evenly spread blocks of them where they are too many."""
    row_bytes = x.itemsize * int(np.prod(x.shape[1:]))
    most = max(_BLOCK_ROWS, STATISTICS_BYTES // max(1, row_bytes))
    if len(rows) <= most:
        return rows, []
    starts = np.linspace(0, len(rows) - _BLOCK_ROWS, max(1, most // _BLOCK_ROWS)).astype(np.intp)
    chosen = np.unique(starts[:, None] + np.arange(_BLOCK_ROWS))
    told = (
        f"Means and spreads are learned from {count(len(chosen), 'training row')} ({share(len(chosen), len(rows))}), in blocks "
        "spread evenly over the file; whether values are finite was looked at in these rows only."
    )
    return rows[chosen], [told]


def _blocks(x: Array, rows: Rows) -> Iterator[tuple[int, Array]]:
    part = MappedRows(x, rows)
    row_bytes = x.itemsize * int(np.prod(x.shape[1:]))
    step = max(1, READ_BYTES // (4 * max(1, row_bytes)))
    for first in range(0, len(part), step):
        yield first, part[first : first + step]


def _gap(block: Array, rows: Rows) -> Exception:
    is_bad = ~np.isfinite(block.reshape(len(block), -1)).all(axis=1)
    return bad(
        "arrays on disk (NPY)",
        "must hold finite numbers",
        got=f"NaN or infinity, first in row {int(rows[int(np.argmax(is_bad))])}",
        do="Fill or remove such rows before you write the array; missing values can be filled in tables only.",
    )


def _no_zero(scale: Array) -> Array:
    return np.where(scale == 0, 1.0, scale)


def _fingerprint(x: Array, y: Array, rows: list[Rows]) -> str:
    """SHA-256 over shape, type, all targets, the split, and evenly spread rows of the inputs."""
    digest = hashlib.sha256(f"{x.shape}{x.dtype.str}".encode())
    for array in (y, *rows):
        digest.update(np.ascontiguousarray(array).tobytes())
    some = np.unique(np.linspace(0, len(x) - 1, min(len(x), _FINGERPRINT_ROWS)).astype(np.intp))
    digest.update(MappedRows(x, some)[:].tobytes())
    return digest.hexdigest()


def _assembled(
    spec: DataSpec,
    loaded: Loaded,
    coded: _Coded,
    *,
    inputs: list[Any],
    learned: _Learned,
    decisions: list[str],
    fingerprint: str,
) -> Dataset:
    """Targets scaled, the record of the preparation, the summary."""
    train = inputs[0]
    name = loaded.target.name if isinstance(loaded.target, Column) else "y"
    y, scale, shift = scaled_targets(
        coded.y, task=coded.task, name=name, is_scaled=spec.scale_target
    )
    # The training step scales, so what comes before it must not.
    width = len(learned.shift)
    is_flat = len(train.shape) == 2
    form = "matrix" if is_flat else ("bytes" if train.dtype == np.uint8 else "images")
    rules = tuple(
        NumberRule(f"x{place + 1}", "numeric", float(mean), 0.0, 1.0)
        for place, mean in enumerate(learned.shift if is_flat else ())
    )
    record = Preparation(
        form,
        train.shape[1:],
        numbers=rules,
        target_names=(name,),
        classes=coded.classes.names,
        target_scale=tuple(scale.tolist()),
        target_shift=tuple(shift.tolist()),
        class_kind=class_kind(loaded) if coded.classes.names else "text",
        channel_shift=() if is_flat else (0.0,) * width,
        channel_scale=() if is_flat else (1.0,) * width,
    )
    info = InputInfo(
        train.shape[1:], width if is_flat else 0, (), kind="table" if is_flat else "image"
    )
    num_outputs = len(coded.classes.names) or coded.y[0].shape[1]
    return Dataset(
        task=coded.task,
        train=Part(inputs[0], y[0]),
        val=Part(inputs[1], y[1]),
        test=Part(inputs[2], y[2]),
        input=info,
        num_outputs=num_outputs,
        classes=coded.classes.names,
        preparation=record,
        target_scale=record.target_scale,
        target_shift=record.target_shift,
        input_scale=(1.0 / learned.scale).astype(np.float32),
        input_shift=(-learned.shift / learned.scale).astype(np.float32),
        summary={
            # Columns are not described one by one.
            **summary.describe(
                coded.task,
                source=loaded.label,
                name=name,
                classes=coded.classes.names,
                y=coded.y,
                form=form,
                info=info,
                num_columns=info.shape[0] if is_flat else 0,
            ),
            "decisions": decisions,
            "fingerprint": fingerprint,
        },
        fingerprint=fingerprint,
    )
