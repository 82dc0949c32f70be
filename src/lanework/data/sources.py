"""Where data comes from: one table of named sets, one of file formats, one function each.

Owns the way from ``DataSpec.source`` (or Python objects) to ``Loaded``. A new source is one row in
``SOURCES``, a new format one row in ``FORMATS``. Heavy readers are imported when needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from lanework.catalog import CATALOG
from lanework.data import binary, images, nested
from lanework.data.builtin import BUNDLED, GENERATED
from lanework.data.fashion import fashion_mnist
from lanework.data.features import as_features
from lanework.data.files import file_format, must_exist
from lanework.data.generated import GENERATED_SEQUENCES
from lanework.data.messages import bad, count, listed, no_column
from lanework.data.types import Array, Column, Loaded, Sequences, Table

if TYPE_CHECKING:
    from lanework.spec import DataSpec

__all__ = [
    "FORMATS",
    "SOURCES",
    "column_names",
    "read_source",
    "read_test",
    "resolve_target",
    "table_columns",
]

SOURCES: Mapping[str, Callable[[], Loaded]] = MappingProxyType(
    {
        **BUNDLED,
        "fashion-mnist": fashion_mnist,
        **GENERATED,
        **{
            name: partial(make, CATALOG["source"][name].defaults())
            for name, make in GENERATED_SEQUENCES.items()
        },
    }
)
"""Named sources."""

Kinds = Mapping[str, str]


def read_source(spec: DataSpec, *, arrays: Any = None) -> Loaded:
    """Read what ``spec.source`` names.

    Args:
        spec: The data section of a study.
        arrays: Python objects instead: ``(x, y)``, ``(x, y, x_test, y_test)`` or a DataFrame.

    Returns:
        Features and target as read.

    Raises:
        DataError: Anything that is wrong with the source.
    """
    if arrays is not None:
        return _usable(_from_objects(arrays, spec, kinds=spec.kinds))
    if spec.source in GENERATED_SEQUENCES:
        return GENERATED_SEQUENCES[spec.source](spec.options)
    if spec.source in SOURCES:
        images.check_unused(spec)
        return SOURCES[spec.source]()
    path = Path(spec.source)
    return _usable(_from_path(path, spec, kinds=spec.kinds, where="data.source"))


def read_test(spec: DataSpec, loaded: Loaded, *, path: str) -> Loaded:
    """Read the study's own test file with the types found in the training file.

    Raises:
        DataError: The file is wrong, or lacks columns of the training file.
    """
    kinds: dict[str, str] = dict(spec.kinds)
    if isinstance(loaded.features, Table):
        kinds = {name: "ignore" for name, _ in loaded.dropped}
        kinds |= {column.name: _known_kind(column) for column in loaded.features.columns}
    if isinstance(loaded.target, Column) and isinstance(loaded.features, Table | Sequences):
        kinds[loaded.target.name] = _known_kind(loaded.target)
    if isinstance(loaded.features, np.ndarray) and images.holds_images(Path(path)):
        return images.load_images(
            Path(path), spec, where="data.test", like=loaded.features.shape[1:]
        )
    test = _from_path(Path(path), spec, kinds=kinds, where="data.test")
    if isinstance(loaded.features, Table) != isinstance(test.features, Table):
        raise bad(
            "data.test",
            "must be a file of the same form as data.source",
            got=f"{Path(path).name} beside {Path(spec.source).name}",
            do="Give both as tables, or both as arrays.",
        )
    return _same_columns(test, loaded, name=Path(path).name)


def _known_kind(column: Column) -> str:
    """The kind found in training with the writing of the cells, as ``read_column`` takes it."""
    return "category" if column.levels_used() else f"{column.kind}:{column.writing}"


def column_names(path: Path, spec: DataSpec) -> tuple[str, ...] | None:
    """The names that ``data.target`` can choose from, read cheaply; None when not a table.

    Raises:
        DataError: The file cannot be read.
    """
    from lanework.data import tables

    kind = file_format(path)
    if kind == "parquet":
        return tables.parquet_names(path)
    if kind == "csv":
        return tables.text_names(
            path, delimiter=spec.delimiter, header=spec.header, target=spec.target
        )
    return None


def resolve_target(target: str | None, names: tuple[str, ...], *, name: str) -> str:
    """The target column among the columns of a table.

    Args:
        target: What the study file says; a number counts columns from 1 where there is no header.
        names: The columns.
        name: File name for messages.

    Returns:
        The column's name.

    Raises:
        DataError: Not given or not there; lists the nearest names.
    """
    if target is None:
        raise bad(
            "data.target",
            f"must name the column to predict in {name}",
            got="nothing",
            do=f"Its columns are {listed(names, limit=12)}.",
        )
    numbered = f"column {target}" if target.isdigit() else target
    found = next((known for known in (target, target.strip(), numbered) if known in names), None)
    if found is not None:
        return found
    raise no_column("data.target", target, names, source=name)


def _usable(loaded: Loaded) -> Loaded:
    """The same, if it has a column to learn from.

    Raises:
        DataError: Every column is left out; says why.
    """
    if isinstance(loaded.features, Table) and not loaded.features.columns:
        name = loaded.target.name if isinstance(loaded.target, Column) else "y"
        reasons = "; ".join(f"'{column}': {reason}" for column, reason in loaded.dropped)
        raise bad(
            loaded.label,
            f"must have a usable column besides the target '{name}'",
            got=reasons or "none",
            do="Set data.columns to numeric or category for those that should be used.",
        )
    return loaded


def _from_path(path: Path, spec: DataSpec, *, kinds: Kinds, where: str) -> Loaded:
    if images.holds_images(path):
        return images.load_images(path, spec, where=where)
    must_exist(path, where=where)
    images.check_unused(spec)
    if path.is_dir():
        raise bad(
            where,
            "must be a file, a folder with images, or the name of a built-in set",
            got=f"the folder {path}, in which no file is named like an image",
            do="Name a file in it, or put a folder of images for each class into it.",
        )
    return FORMATS[file_format(path)](path, spec, kinds)


def table_columns(
    path: Path, spec: DataSpec, *, where: str
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Arrow columns of a table file, and sentences about what was guessed.

    Raises:
        DataError: No table, or one that cannot be read.
    """
    must_exist(path, where=where)
    kind = "folder" if path.is_dir() else file_format(path)
    if kind not in ("csv", "parquet"):
        raise bad(
            where,
            "must be a table (CSV, TSV or Parquet) for a time series",
            got=f"{path.name}, {'a folder' if kind == 'folder' else f'of kind {kind}'}",
            do="Write it as a table with a column of dates.",
        )
    return (_text_cells if kind == "csv" else _parquet_cells)(path, spec, spec.kinds)


def _text_cells(
    path: Path, spec: DataSpec, kinds: Kinds
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    from lanework.data import tables

    return tables.text_columns(
        path,
        delimiter=spec.delimiter,
        header=spec.header,
        target=spec.target,
        missing=tuple(spec.missing),
        as_text=tuple(
            name
            for name, kind in kinds.items()
            if kind in ("category", "text", "words") or kind.partition(":")[2]
        ),
    )


def _parquet_cells(
    path: Path, spec: DataSpec, kinds: Kinds
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    from lanework.data import tables

    return tables.parquet_columns(path), ()


def _from_text(path: Path, spec: DataSpec, kinds: Kinds) -> Loaded:
    columns, decisions = _text_cells(path, spec, kinds)
    return _from_columns(columns, spec, kinds=kinds, name=path.name, decisions=decisions)


def _from_parquet(path: Path, spec: DataSpec, kinds: Kinds) -> Loaded:
    columns, decisions = _parquet_cells(path, spec, kinds)
    return _from_columns(columns, spec, kinds=kinds, name=path.name, decisions=decisions)


def _from_npz(path: Path, spec: DataSpec, kinds: Kinds) -> Loaded:
    arrays = binary.read_npz(path)
    x, y, test = binary.xy_of_npz(arrays, path.name, target=spec.target)
    name = spec.target or "y"

    def read(pair: tuple[Array, Array], label: str, lengths: str) -> Loaded:
        x, y = pair
        if lengths in arrays or spec.sequences is not None:
            steps = arrays.get(lengths)
            return nested.of_arrays(
                x, y, label=label, target=name, kind=spec.sequences, lengths=steps, read=_target_of
            )
        return _from_arrays(x, y, label=label, target=name, kinds=kinds)

    loaded = read((x, y), path.name, "lengths")
    if test is None:
        return loaded
    return replace(loaded, test=read(test, f"{path.name} (test)", "lengths_test"))


def _from_idx(path: Path, spec: DataSpec, kinds: Kinds) -> Loaded:
    is_named = spec.target is not None and str(path) == spec.source
    labels = path.parent / str(spec.target) if is_named else binary.labels_beside(path)
    must_exist(labels, where="data.target")
    x, y = binary.read_idx(path), binary.read_idx(labels)
    return _from_arrays(x, y, label=path.name, target="label", kinds=kinds)


FORMATS: Mapping[str, Callable[[Path, Any, Kinds], Loaded]] = MappingProxyType(
    {"csv": _from_text, "parquet": _from_parquet, "npz": _from_npz, "idx": _from_idx}
)
"""File formats by what ``files.file_format`` recognises."""


def _from_columns(
    columns: Mapping[str, Any],
    spec: DataSpec,
    *,
    kinds: Kinds,
    name: str,
    decisions: tuple[str, ...],
) -> Loaded:
    """A table with its target taken out."""
    from lanework.data.columns import Guesses, read_columns

    target = resolve_target(spec.target, tuple(columns), name=name)
    _check_kinds(spec.columns, tuple(columns), name=name, target=target)
    guesses = Guesses.empty()
    if found := nested.sequence_column(columns, kinds, target=target, asked=spec.sequences):
        features, dropped = nested.of_columns(columns, found, kinds=kinds, target=target)
        split = (str(spec.split.group), str(spec.split.time))
        keys = [key for key in split if key in columns]
        wanted = {key: columns[key] for key in (target, *keys) if key != features.name}
        table = read_columns(
            wanted, kinds=kinds, missing=spec.missing, target=target, guesses=guesses
        )
        told = (*decisions, *guesses.sentences())
        beside = [column for column in table.columns if column.name != target]
        if features.name in keys:
            beside.append(nested.as_categories(features))
        features = replace(features, beside=Table(tuple(beside)))
        return Loaded(features, table.column(target), name, decisions=told, dropped=dropped)
    table = read_columns(columns, kinds=kinds, missing=spec.missing, target=target, guesses=guesses)
    return Loaded(
        features=table.without([target]),
        target=table.column(target),
        label=name,
        decisions=(*decisions, *guesses.sentences()),
        dropped=tuple(guesses.dropped),
    )


def _check_kinds(kinds: Kinds, names: tuple[str, ...], *, name: str, target: str) -> None:
    for column, kind in kinds.items():
        if column not in names:
            raise no_column(f"data.columns.{column}", column, names, source=name)
        if column == target and kind == "ignore":
            raise bad(
                f"data.columns.{column}",
                "must not be ignore for the target",
                got="ignore",
                do="Choose another target, or leave it out.",
            )


def _from_objects(arrays: Any, spec: DataSpec, *, kinds: Kinds) -> Loaded:
    """Python objects: a DataFrame with its target in it, or features and target."""
    if hasattr(arrays, "columns") and hasattr(arrays, "iloc"):
        from lanework.data.columns import frame_columns

        columns = frame_columns(arrays)
        return _from_columns(columns, spec, kinds=kinds, name="the DataFrame", decisions=())
    if not isinstance(arrays, tuple | list) or len(arrays) not in (2, 4):
        raise bad(
            "data",
            "must be a DataFrame with data.target, (x, y) or (x, y, x_test, y_test)",
            got=f"{type(arrays).__name__}"
            + (f" of length {len(arrays)}" if hasattr(arrays, "__len__") else ""),
            do="For example data=(features, labels).",
        )
    name = spec.target or "y"

    def read(pair: Any, label: str) -> Loaded:
        x, y = pair
        if spec.sequences is not None or nested.is_ragged(x):
            return nested.of_arrays(
                x, y, label=label, target=name, kind=spec.sequences, read=_target_of
            )
        return _from_arrays(x, y, label=label, target=name, kinds=kinds)

    loaded = read(arrays[:2], "Python arrays")
    if len(arrays) == 2:
        return loaded
    if isinstance(loaded.features, Sequences):
        held = read(arrays[2:], "Python arrays (test)")
        return replace(loaded, test=_same_columns(held, loaded, name="the test arrays"))
    if isinstance(loaded.features, Table):
        kinds = {column.name: _known_kind(column) for column in loaded.features.columns}
        kinds |= {column: "ignore" for column, _ in loaded.dropped}
    held = _from_arrays(*arrays[2:], label="Python arrays (test)", target=name, kinds=kinds)
    return replace(loaded, test=_same_columns(held, loaded, name="the test arrays"))


def _from_arrays(x: Any, y: Any, *, label: str, target: str, kinds: Kinds) -> Loaded:
    """Features and target given apart, as arrays, lists, DataFrame and Series."""
    features, names, decisions, dropped = as_features(x, kinds=kinds, where=label)
    num_rows = features.num_rows if isinstance(features, Table) else len(features)
    found, more = _target_of(y, target=target, where=label, kinds=kinds)
    num_targets = len(found.values if isinstance(found, Column) else found)
    has_columns = not isinstance(features, Table) or bool(features.columns)
    if has_columns and num_rows != num_targets:
        raise bad(
            label,
            "must have as many targets as rows",
            got=f"{count(num_rows, 'row')} and {count(num_targets, 'target')}",
            do="Check that x and y belong together.",
        )
    if num_targets == 0:
        raise bad(label, "must hold rows of data", got="none", do="Check how it was made.")
    return Loaded(
        features=features,
        target=found,
        label=label,
        names=names,
        decisions=(*decisions, *more),
        dropped=dropped,
    )


def _target_of(
    y: Any, *, target: str, where: str, kinds: Kinds
) -> tuple[Column | Array, tuple[str, ...]]:
    """A target given apart: one column, or several numeric ones [n, k]."""
    try:
        values = np.asarray(y)
    except (ValueError, TypeError, RuntimeError) as error:
        raise bad(
            where,
            "must be one value per row",
            got=f"something else ({error})",
            do="Give targets as a list, an array or a Series.",
        ) from error
    if values.ndim == 2 and values.shape[1] == 1:
        values = y = values[:, 0]
    if values.dtype.kind in "fiu" and values.ndim == 1:
        name = str(getattr(y, "name", None) or target)
        cell_kind = "float" if values.dtype.kind == "f" else "int"
        return Column(name, "numeric", values.astype(float), cell_kind=cell_kind), ()
    if values.dtype.kind in "fiu" and values.ndim == 2:
        if not np.isfinite(values).all():
            raise bad(
                where,
                "must have finite targets",
                got=f"{count(int((~np.isfinite(values)).sum()), 'value')} that is NaN or infinite",
                do="Remove these rows.",
            )
        return values.astype(float), ()
    if values.ndim != 1:
        raise bad(
            where,
            "must have one target for each row, or a numeric array [rows, targets]",
            got=f"an array of shape {values.shape} and type {values.dtype}",
            do="Give class names or numbers.",
        )
    from lanework.data.columns import Guesses, arrow_array, read_column

    guesses = Guesses.empty()
    name = str(getattr(y, "name", None) or target)
    cells = arrow_array(y if hasattr(y, "dtype") else list(y))
    kind = kinds.get(name) or ("category" if values.dtype.kind in "bUS" else None)
    column = read_column(name, cells, given=kind, missing=(), guesses=guesses)
    return column, guesses.sentences()


def _same_columns(test: Loaded, loaded: Loaded, *, name: str) -> Loaded:
    """The test part with the columns of the training part, in its order."""
    if isinstance(loaded.features, Sequences) or isinstance(test.features, Sequences):
        return nested.same_form(test, loaded, name=name)
    if not isinstance(loaded.features, Table) or not isinstance(test.features, Table):
        shapes = [
            part.features.shape[1:] if isinstance(part.features, np.ndarray) else ()
            for part in (loaded, test)
        ]
        if shapes[0] != shapes[1]:
            raise bad(
                "data.test",
                f"must have samples of shape {shapes[0]} as in training",
                got=f"{shapes[1]} in {name}",
                do="Give the test part in the same form.",
            )
        return test
    lacking = [column for column in loaded.features.names if column not in test.features.names]
    if lacking:
        raise bad(
            "data.test",
            "must have the columns of data.source",
            got=f"{name} without {listed(lacking)}",
            do="Add these columns (cells may be empty), or set them to ignore in data.columns.",
        )
    table = Table(tuple(test.features.column(column) for column in loaded.features.names))
    known = {*loaded.features.names, *(column for column, _ in loaded.dropped)}
    extra = [column for column in test.features.names if column not in known]
    told = (f"{name}: {listed(extra)} is not in the training file and not used.",) if extra else ()
    return replace(test, features=table, decisions=(*test.decisions, *told))
