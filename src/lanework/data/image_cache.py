"""Decoded images kept in the user's cache folder, so that a second start is fast.

An entry is known by what the files were (names, sizes, times of change) and by the options; a changed file makes a new entry.
The oldest entries go when there are too many. Standard library and numpy only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lanework.data.image_decode import Decoded
from lanework.folders import cache_folder, is_cache_on

__all__ = ["MAX_BYTES", "cached"]

VERSION = 1
"""Counts up when images are decoded in another way."""
MAX_BYTES = 8 * 2**30
"""What all entries together may take on disk."""


def cached(mark: str, options: object, make: Callable[[], Decoded]) -> Decoded:
    """Decoded images from the cache, or made and kept.

    Args:
        mark: Text that changes when the files do.
        options: Everything else that the result depends on, with a faithful `repr`.
        make: Decodes them.

    Returns:
        The images. A cache that cannot be read or written is as good as none.
    """
    if not is_cache_on():
        return make()
    text = f"{VERSION}\0{mark}\0{options!r}"
    folder = cache_folder() / "images" / hashlib.sha256(text.encode()).hexdigest()[:32]
    found = _read(folder)
    if found is not None:
        return found
    decoded = make()
    with contextlib.suppress(OSError):
        _write(folder, decoded)
        _prune(folder.parent, keep=folder)
    return decoded


def _read(folder: Path) -> Decoded | None:
    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        x = np.load(folder / "x.npy", allow_pickle=False)
        os.utime(folder)
        return Decoded(x, np.array(record["kept"], np.intp), tuple(record["told"]))
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _write(folder: Path, decoded: Decoded) -> None:
    """Write beside and rename, so that a reader never sees half."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
    try:
        np.save(beside / "x.npy", decoded.x)
        record = {"kept": decoded.kept.tolist(), "told": list(decoded.told)}
        (beside / "record.json").write_text(json.dumps(record), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _prune(folder: Path, *, keep: Path) -> None:
    """Delete the entries that were not used for longest until the rest fits."""
    entries = [entry for entry in folder.iterdir() if entry.is_dir() and entry != keep]
    sizes = {entry: sum(f.stat().st_size for f in entry.iterdir()) for entry in (*entries, keep)}
    total = sum(sizes.values())
    for entry in sorted(entries, key=lambda e: e.stat().st_mtime):
        if total <= MAX_BYTES:
            return
        shutil.rmtree(entry, ignore_errors=True)
        total -= sizes[entry]
