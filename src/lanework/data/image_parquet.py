"""Images in Parquet files as Hugging Face writes them: a column of {bytes, path}, and a column of labels.

Owns finding these columns, the names of classes in the file's metadata, and which files belong together. pyarrow is imported
inside functions.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lanework.data.image_files import PART_NAMES, Pile
from lanework.data.messages import bad, count, listed, no_column

__all__ = ["image_column", "parquet_files", "pile_of_parquet"]

LABELS = ("label", "labels", "fine_label", "class", "target", "y")
"""Names of columns that are taken for the target when the study names none, first come first."""


def parquet_files(path: Path) -> tuple[Path, ...]:
    """The Parquet files that a path means: a file, those of a folder, or all that fit a pattern with ``*``."""
    if path.is_dir():
        return tuple(sorted(path.rglob("*.parquet")))
    if path.exists():
        return (path,) if path.suffix == ".parquet" else ()
    return tuple(sorted(Path(name) for name in glob.glob(str(path), recursive=True)))


def image_column(path: Path) -> str | None:
    """The first column of a Parquet file that holds images, from its schema; None when there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError):
        return None
    for field in schema:
        is_struct = pa.types.is_struct(field.type)
        names = (
            [field.type.field(i).name for i in range(field.type.num_fields)] if is_struct else []
        )
        is_bytes = pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
        if "bytes" in names or (is_bytes and field.name in ("image", "img", "png", "jpg")):
            return str(field.name)
    return None


def pile_of_parquet(files: Sequence[Path], *, label: str, target: str | None) -> Pile:
    """The images of Parquet files; parts are known by file names such as ``train-00000-of-00002.parquet``.

    Args:
        files: The files, which must have the same columns.
        label: Name of the source, for messages.
        target: Column of the labels; None looks for one of the usual names.

    Raises:
        DataError: A file is broken, or has no such columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = image_column(files[0])
    try:
        schema = pq.read_schema(files[0])
        name = _label_column(schema.names, image, target, label=label)
        tables = [pq.read_table(file, columns=[name]) for file in files]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise bad(
            label,
            "must be whole Parquet files with the same columns",
            got=f"what cannot be read ({str(error).splitlines()[0]})",
            do="Copy or download them again.",
        ) from error
    lengths = [table.num_rows for table in tables]
    labels = [value for table in tables for value in table.column(name).to_pylist()]
    own = [_part_of(file) for file in files]
    has_parts = "train" in own and len(set(own)) > 1
    parts = [part for part, length in zip(own, lengths, strict=True) for _ in range(length)]
    named = [
        f"{file.name} row {row + 1}"
        for file, length in zip(files, lengths, strict=True)
        for row in range(length)
    ]
    kept = [i for i, part in enumerate(parts) if part] if has_parts else list(range(len(named)))
    lines = [f"{f.resolve()}\0{f.stat().st_size}\0{f.stat().st_mtime_ns}" for f in files]
    mark = "\n".join([*lines, str(image), name])
    told = [f"Images are read from column '{image}', labels from '{name}'."]
    told += [f"{count(len(files), 'file')} read together."] if len(files) > 1 else []
    told += ["The parts are those of the file names."] if has_parts else []
    reader = _reader(tuple(files), str(image))
    return Pile(
        names=[named[i] for i in kept],
        labels=[labels[i] for i in kept],
        parts=[parts[i] for i in kept] if has_parts else (),
        read=lambda number: reader(kept[number]),
        mark=hashlib.sha256(mark.encode()).hexdigest(),
        told=tuple(told),
        target=name,
        class_names=_class_names(schema, name),
    )


def _part_of(file: Path) -> str:
    word = re.split(r"[-_.]", file.name.lower())[0]
    return PART_NAMES.get(word, "")


def _label_column(
    names: Sequence[str], image: str | None, target: str | None, *, label: str
) -> str:
    others = [name for name in names if name != image]
    if target is None:
        found = next((name for name in LABELS if name in others), None)
        if found is not None:
            return found
        raise bad(
            "data.target",
            f"must name the column of the labels in {label}",
            got="nothing",
            do=f"Its columns besides the images are {listed(others, limit=12) or 'none'}.",
        )
    if target in others:
        return target
    raise no_column("data.target", target, others, source=label, besides=" besides the images")


def _class_names(schema: Any, name: str) -> tuple[str, ...]:
    """Names of numbered classes, as Hugging Face writes them into the metadata."""
    metadata = schema.metadata or {}
    try:
        record = json.loads(metadata.get(b"huggingface", b"{}"))
        names = record["info"]["features"][name]["names"]
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(str(item) for item in names) if isinstance(names, list) else ()


def _reader(files: tuple[Path, ...], image: str) -> Any:
    """From the number of a row over all files to the bytes of its image; columns are read when first asked for."""

    @lru_cache(maxsize=1)
    def columns() -> tuple[list[Any], np.ndarray]:
        import pyarrow.parquet as pq

        read = [pq.read_table(file, columns=[image]).column(image) for file in files]
        return read, np.cumsum([0, *(len(column) for column in read)])

    def read(number: int) -> bytes:
        tables, starts = columns()
        place = int(np.searchsorted(starts, number, side="right")) - 1
        value = tables[place][number - int(starts[place])].as_py()
        if isinstance(value, dict):
            if value.get("bytes") is None and value.get("path"):
                raise OSError(f"only a path ({value['path']}), no bytes")
            value = value.get("bytes")
        return bytes(value or b"")

    return read
