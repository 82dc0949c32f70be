"""Images in files as a source: class folders, zips of them, Parquet files with image bytes.

Owns the way from such a path to ``Loaded``; finding, decoding and keeping live in ``image_files``, ``image_decode``,
``image_parquet`` and ``image_cache``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lanework.data.image_cache import cached
from lanework.data.image_decode import Decoded, decode_pile
from lanework.data.image_files import Pile, has_images, pile_of_folder, pile_of_zip, zip_has_images
from lanework.data.image_parquet import image_column, parquet_files, pile_of_parquet
from lanework.data.messages import bad, count, listed
from lanework.data.split import Parts, split_rows
from lanework.data.types import Array, Column, Loaded, Rows

if TYPE_CHECKING:
    from lanework.spec import DataSpec

__all__ = ["check_unused", "holds_images", "is_pattern", "load_images", "own_parts"]


def is_pattern(path: Path) -> bool:
    """Whether a path stands for all files that fit it (``train-*.parquet``)."""
    return any(sign in str(path) for sign in "*?[") and not path.exists()


def holds_images(path: Path) -> bool:
    """Whether a path means images in files: a folder or zip with images, or Parquet with image bytes."""
    if is_pattern(path):
        return True
    if path.is_dir():
        return has_images(path) or _first_with_images(path) is not None
    if path.suffix.lower() == ".parquet":
        return image_column(path) is not None
    return path.is_file() and zip_has_images(path)


def load_images(
    path: Path, spec: DataSpec, *, where: str, like: tuple[int, ...] | None = None
) -> Loaded:
    """Read images and their classes.

    Args:
        path: Folder, zip, Parquet file, folder of Parquet files, or a pattern such as ``data/*.parquet``.
        spec: The data section of a study.
        where: Its key, for messages.
        like: Shape of the training images, which a test part must have.

    Returns:
        Images uint8 [n, height, width, channels] with their classes; the source's own test part beside them, and its own
        validation part marked in `own_val`.

    Raises:
        DataError: Images of different sizes, too many that cannot be read, no classes, or an unsafe archive.
    """
    pile = _pile(path, spec, where=where)
    label = path.name
    options = (spec.image_size, like)
    decoded = cached(
        pile.mark,
        options,
        lambda: decode_pile(pile, label=label, image_size=spec.image_size, like=like),
    )
    num_channels = decoded.x.shape[-1]
    what = "red, green, blue" if num_channels == 3 else "grey"
    height, width = decoded.x.shape[1:3]
    told = [*pile.told, f"{count(len(decoded.x), 'image')} of {width} x {height} pixels, {what}."]
    told += decoded.told
    return _loaded(pile, decoded, label=label, told=tuple(told), is_test=where == "data.test")


def own_parts(
    y: Array, own_val: Array, spec: DataSpec, *, has_own_test: bool
) -> tuple[tuple[Parts, ...], tuple[str, ...]]:
    """The parts of a source that says itself which rows to validate on.

    Args:
        y: Targets of all rows but those of the source's own test part.
        own_val: Which of them are the validation part.
        spec: The data section of a study.
        has_own_test: The test part is a set of its own; else it is split off the other rows.
    """
    val, rest = np.flatnonzero(own_val), np.flatnonzero(~own_val)
    if has_own_test or spec.split.test == 0:
        told = "The training, validation and test part are those of the source."
        return (Parts(rest, val, np.arange(0), ()),), (told,)
    share = spec.split.test / (spec.split.train + spec.split.test)
    is_stratified = spec.split.stratify and y.ndim == 1 and y.dtype.kind == "i"
    made = split_rows(
        y[rest] if is_stratified else None,
        len(rest),
        fractions=(1 - share, 0.0, share),
        seed=spec.split.seed,
    )
    told = "The validation part is the source's own; the test part was split off its training part."
    parts = Parts(rest[made.train], val, rest[made.test], ())
    return (parts,), (told, *made.decisions)


def check_unused(spec: DataSpec) -> None:
    """Refuse `image_size` for a source that is no folder or archive of images.

    Raises:
        DataError: It is given.
    """
    if spec.image_size is not None:
        raise bad(
            "data.image_size",
            "must be left out unless data.source is a folder, zip or Parquet file of images",
            got=str(spec.image_size),
            do="Remove it; arrays are taken as they are.",
        )


def _first_with_images(folder: Path) -> Path | None:
    return next((file for file in parquet_files(folder)[:1] if image_column(file)), None)


def _pile(path: Path, spec: DataSpec, *, where: str) -> Pile:
    if path.suffix.lower() == ".parquet" or is_pattern(path) or path.is_dir():
        files = parquet_files(path)
        if is_pattern(path) and not files:
            raise bad(
                where,
                "must fit files",
                got=f"{path}, which fits none",
                do="Check the pattern; it is relative to the study file.",
            )
        if files and not (path.is_dir() and has_images(path)):
            odd = [file.name for file in files if image_column(file) is None]
            if odd:
                raise bad(
                    where,
                    "must mean Parquet files with a column of image bytes",
                    got=listed(odd, limit=3),
                    do="A pattern is for images only; name a single file for a table.",
                )
            return pile_of_parquet(files, label=path.name, target=spec.target)
    if spec.target is not None:
        raise bad(
            "data.target",
            "must be left out for images in class folders",
            got=repr(spec.target),
            do="The folder an image stands in is its class. Remove it.",
        )
    return pile_of_folder(path) if path.is_dir() else pile_of_zip(path)


def _loaded(
    pile: Pile, decoded: Decoded, *, label: str, told: tuple[str, ...], is_test: bool
) -> Loaded:
    target = _target(pile, decoded.kept)
    whole = Loaded(
        features=decoded.x,
        target=target,
        label=label,
        task="auto" if target.kind == "numeric" else "classification",
        class_names=pile.class_names,
        decisions=told,
    )
    if not pile.parts:
        return whole
    part = np.array(pile.parts)[decoded.kept]
    if is_test:
        rows = np.flatnonzero(part == "test")
        return (
            whole
            if not len(rows)
            else replace(whole, features=decoded.x[rows], target=target.take(rows))
        )
    learn, test = np.flatnonzero(part != "test"), np.flatnonzero(part == "test")
    is_val = part[learn] == "val"
    loaded = replace(
        whole,
        features=decoded.x[learn],
        target=target.take(learn),
        own_val=is_val if is_val.any() else None,
    )
    if not len(test):
        return loaded
    held = Loaded(decoded.x[test], target.take(test), label=f"{label} (test)")
    return replace(loaded, test=held)


def _target(pile: Pile, kept: Rows) -> Column:
    """The classes as a column: numbers where the source numbers them, else names."""
    labels = [pile.labels[number] for number in kept]
    if all(isinstance(item, int | float | None) for item in labels):
        cell_kind = "int" if all(isinstance(item, int) for item in labels) else "float"
        values: Array = np.array([np.nan if v is None else float(v) for v in labels])
        return Column(pile.target, "numeric", values, cell_kind=cell_kind)
    texts = ["" if item is None else str(item) for item in labels]
    levels = tuple(sorted(set(texts) - {""}))
    codes = {level: code for code, level in enumerate(levels)}
    values = np.array([codes.get(text, -1) for text in texts], np.int32)
    return Column(pile.target, "category", values, levels, is_given=True)
