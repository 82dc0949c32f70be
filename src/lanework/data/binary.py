"""Arrays from files: NPZ, and IDX (the MNIST family).

Owns their formats and what can be wrong with them. Objects are never unpickled. numpy only.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lanework.data.files import must_exist, read_bytes
from lanework.data.messages import bad, count, listed
from lanework.data.types import Array

__all__ = ["labels_beside", "read_idx", "read_npz", "xy_of_npz"]

_IDX_TYPES: Mapping[int, str] = {
    0x08: ">u1",
    0x09: ">i1",
    0x0B: ">i2",
    0x0C: ">i4",
    0x0D: ">f4",
    0x0E: ">f8",
}
_X_NAMES = ("x", "X", "data", "images", "features", "x_train", "X_train", "train_x", "train_images")
_Y_NAMES = ("y", "Y", "target", "labels", "y_train", "Y_train", "train_y", "train_labels")
_X_TEST = ("x_test", "X_test", "test_x", "test_images")
_Y_TEST = ("y_test", "Y_test", "test_y", "test_labels")


def read_npz(path: Path) -> dict[str, Array]:
    """All arrays of an NPZ file.

    Raises:
        DataError: Not a whole NPZ file, or one that holds Python objects (never unpickled).
    """
    arrays = {}
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            for name in archive.files:
                arrays[name] = _member(archive, name, path)
    except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise bad(
            path.name,
            "must be a whole NPZ file",
            got=f"one that cannot be read ({error})",
            do="Write it again with numpy.savez(path, x=..., y=...).",
        ) from error
    return arrays


def xy_of_npz(
    arrays: Mapping[str, Array], name: str, *, target: str | None
) -> tuple[Array, Array, tuple[Array, Array] | None]:
    """Features and target out of the arrays of an NPZ file, and its own test part if it has one.

    Args:
        arrays: What the file holds.
        name: File name for messages.
        target: Name of the target array when it is not one of the usual ones.

    Returns:
        x, y and, when there are arrays such as x_test and y_test, both of these.

    Raises:
        DataError: The arrays are not there.
    """
    x = _first(arrays, _X_NAMES)
    y = arrays.get(target) if target is not None else _first(arrays, _Y_NAMES)
    if x is None or y is None:
        wanted = f"'{target}'" if target is not None and y is None else "x and y"
        raise bad(
            name,
            f"must hold the arrays {wanted}"
            if wanted == "x and y"
            else f"must hold the array {wanted} (data.target)",
            got=listed(arrays) or "no array",
            do="Write it with numpy.savez(path, x=features, y=target).",
        )
    x_test, y_test = _first(arrays, _X_TEST), _first(arrays, _Y_TEST)
    return x, y, None if x_test is None or y_test is None else (x_test, y_test)


def read_idx(path: Path) -> Array:
    """The array of an IDX file (.gz or not).

    Returns:
        The array with the shape its header states; bytes stay uint8.

    Raises:
        DataError: Not IDX, or shorter or longer than its header says.

    Source:
        LeCun, Cortes and Burges, "The MNIST database", section "File formats".
    """
    data = read_bytes(path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES:
        raise bad(
            path.name,
            "must be an IDX file (it starts with two zero bytes and a type)",
            got=f"the bytes {data[:4].hex(' ')}",
            do="Check that this is the file you mean; it may have been unpacked wrongly.",
        )
    kind, num_axes = np.dtype(_IDX_TYPES[data[2]]), data[3]
    start = 4 + 4 * num_axes
    shape = struct.unpack(f">{num_axes}I", data[4:start]) if len(data) >= start else ()
    num_bytes = int(np.prod(shape, dtype=object)) * kind.itemsize if shape else -1
    if num_bytes != len(data) - start:
        size = " x ".join(map(str, shape)) or "an unreadable size"
        raise bad(
            path.name,
            f"must hold what its header says ({size}: {count(max(num_bytes, 0), 'byte')})",
            got=count(len(data) - start, "byte"),
            do="The file is truncated or damaged: copy or download it again.",
        )
    array = np.frombuffer(data, kind, offset=start).reshape(shape)
    return array.astype(kind.newbyteorder("="), copy=False)


def labels_beside(path: Path) -> Path:
    """The label file that belongs to an image file of the MNIST family, by its name.

    Raises:
        DataError: The name says nothing of images, or the label file is not there.
    """
    name = path.name
    for images, labels in (("images-idx3", "labels-idx1"), ("images.idx3", "labels.idx1")):
        if images in name:
            labels_path = path.with_name(name.replace(images, labels))
            must_exist(labels_path, where="data.source (labels of the images)")
            return labels_path
    raise bad(
        "data.target",
        "must name the file with the labels",
        got=f"nothing, and {name} is not called ...images-idx3...",
        do="Set data.target to the label file's name.",
    )


def _first(arrays: Mapping[str, Array], names: tuple[str, ...]) -> Array | None:
    return next((arrays[name] for name in names if name in arrays), None)


def _member(archive: Mapping[str, Array], name: str, path: Path) -> Array:
    try:
        return archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise bad(
            path.name,
            "must hold plain numbers or text",
            got=f"Python objects in '{name}', which are never unpickled",
            do=f"Convert first: numpy.savez(path, {name}={name}.astype(float), ...).",
        ) from error
