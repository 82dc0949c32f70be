"""Snapshots: the state of a cohort as one checked file, written whole or not at all.

Owns the format: safetensors (never pickle) with the bookkeeping as JSON in its header and a SHA-256 over the arrays. A
snapshot is written beside its target, flushed to the disk and renamed over it, and the one before is kept until then,
so that a kill at any moment leaves a readable one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np

from lanework.errors import StoreError

PyTree: TypeAlias = Any
VERSION = 1


def flatten(tree: PyTree) -> dict[str, np.ndarray]:
    """Leaves by path, `{"params/dense_0/kernel": array}`; host arrays."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {_path_text(path): np.asarray(leaf) for path, leaf in leaves}


def unflatten(like: PyTree, arrays: Mapping[str, np.ndarray]) -> PyTree:
    """The tree shaped `like` (structure only) filled from leaves by path.

    Raises:
        StoreError: When a leaf is missing, which means that the snapshot is of another program.
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(like)
    names = [_path_text(path) for path, _ in paths]
    missing = [name for name in names if name not in arrays]
    if missing:
        raise StoreError(
            f"a snapshot must hold every array of its run, {missing[0]!r} is not in it. It was written by another version or "
            "for another study: start again with --overwrite."
        )
    return jax.tree_util.tree_unflatten(structure, [arrays[name] for name in names])


def _path_text(path: tuple[Any, ...]) -> str:
    parts = []
    for entry in path:
        for attribute in ("key", "name", "idx"):
            value = getattr(entry, attribute, None)
            if value is not None:
                parts.append(str(value))
                break
    return "/".join(parts)


def save(path: Path, arrays: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> None:
    """Write arrays and JSON-able bookkeeping, atomically.

    Args:
        path: Target file; its folder is made.
        arrays: Arrays by name.
        info: Bookkeeping; must be JSON-able without NaN.
    """
    from safetensors.numpy import save as to_bytes

    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    header = {
        "lanework": json.dumps(dict(info), allow_nan=False),
        "version": str(VERSION),
        "sha256": _digest(plain),
    }
    temporary = path.with_suffix(path.suffix + ".part")
    with temporary.open("wb") as file:
        file.write(to_bytes(plain, metadata=header))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `save` wrote.

    Raises:
        StoreError: When the file is not a snapshot, is cut short, or its checksum does not fit.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as problem:
        raise StoreError(
            f"{path}: a snapshot must be a whole safetensors file, reading it failed ({problem}). Delete it; the runs in it "
            "start again."
        ) from problem
    if header.get("version") != str(VERSION) or header.get("sha256") != _digest(arrays):
        raise StoreError(
            f"{path}: a snapshot must carry version {VERSION} and the checksum of its arrays, this one does not. Delete it; the "
            "runs in it start again."
        )
    info: dict[str, Any] = json.loads(header["lanework"])
    return arrays, info


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
