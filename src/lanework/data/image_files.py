"""Where images stand: class folders in a folder or a zip, as a pile that is read one by one.

Owns the layout of folders and every way in which an archive can be unsafe. Nothing is ever unpacked to disk. Decodes nothing;
standard library only.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from lanework.data.messages import bad, count, listed

__all__ = ["ENDINGS", "Pile", "has_images", "pile_of_folder", "pile_of_zip", "zip_has_images"]

ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp")
"""Endings of files that are taken for images."""
PART_NAMES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("train", "training"), "train"),
        **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
        **dict.fromkeys(("test", "testing"), "test"),
    }
)
"""Names of folders (and beginnings of file names) that stand for parts of the split."""
MAX_FILE_BYTES = 256 * 2**20
"""A single image file larger than this is not read."""
# Images hardly shrink when packed, so an archive that grows a hundredfold holds something else.
MAX_GROWTH, GROWTH_FREE_BYTES = 100, 64 * 2**20
_SKIPPED = ("__MACOSX", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Pile:
    """Images that have not been decoded yet.

    Attributes:
        names: Their names, for messages.
        labels: Class of each: a name, a number, or None where it is not known.
        parts: Part of the split of each (``train``, ``val``, ``test``); empty where the source has none.
        read: From the number of an image to its bytes.
        mark: Text that changes when the content does.
        told: What was decided, as sentences.
        target: What the report calls the target.
        class_names: Names of classes that are numbered; may be empty.
    """

    names: Sequence[str]
    labels: Sequence[str | float | None]
    parts: Sequence[str]
    read: Callable[[int], bytes]
    mark: str
    told: tuple[str, ...] = ()
    target: str = "class"
    class_names: tuple[str, ...] = ()


def has_images(folder: Path) -> bool:
    """Whether a folder or what is in it holds a file that is named like an image."""
    return next(_walk(folder), None) is not None


def zip_has_images(path: Path) -> bool:
    """Whether a file is a zip in which something is named like an image."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(_is_image(name) for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def pile_of_folder(folder: Path) -> Pile:
    """The images of a folder with a folder for each class, perhaps in folders train, val and test.

    Raises:
        DataError: There is no folder for each class.
    """
    found = sorted(_walk(folder))
    names = [name for name, _ in found]
    lines = [f"{name}\0{entry.st_size}\0{entry.st_mtime_ns}" for name, entry in found]
    others = _others(folder)

    def read(number: int) -> bytes:
        if found[number][1].st_size > MAX_FILE_BYTES:
            raise OSError(f"larger than {MAX_FILE_BYTES // 2**20} MiB")
        return (folder / names[number]).read_bytes()

    mark = hashlib.sha256("\n".join([str(folder.resolve()), *lines]).encode()).hexdigest()
    return _laid_out(folder.name, names, read, mark=mark, others=others)


def pile_of_zip(path: Path) -> Pile:
    """The images of a zip, laid out as in `pile_of_folder`; read from the archive, never unpacked to disk.

    Raises:
        DataError: The archive is broken, encrypted, or unsafe (names that lead out of it, a size out of proportion).
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise bad(
            path.name,
            "must be a whole zip file",
            got=f"one that cannot be read ({error})",
            do="Copy or make it again.",
        ) from error
    members = [info for info in archive.infolist() if not info.is_dir()]
    _check_members(path, members)
    images = sorted((i for i in members if _is_image(i.filename)), key=lambda i: i.filename)
    others = [
        i.filename for i in members if not _is_image(i.filename) and not _is_skipped(i.filename)
    ]

    def read(number: int) -> bytes:
        try:
            return archive.read(images[number])
        except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
            raise OSError(f"broken in the archive: {error}") from error

    entry = path.stat()
    text = f"{path.resolve()}\0{entry.st_size}\0{entry.st_mtime_ns}"
    mark = hashlib.sha256(text.encode()).hexdigest()
    names = [info.filename for info in images]
    return _laid_out(path.name, names, read, mark=mark, others=others)


def _walk(folder: Path, inside: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Images below a folder as relative name and file entry; links to folders are not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _SKIPPED:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), f"{inside}{entry.name}/")
            elif _is_image(entry.name) and entry.is_file():
                yield f"{inside}{entry.name}", entry.stat()


def _others(folder: Path) -> list[str]:
    """Files of the two upper levels that are no images, for a sentence about them."""
    levels = (folder.glob("*"), folder.glob("*/*"))
    files = [path for level in levels for path in level if path.is_file()]
    names = [str(path.relative_to(folder)) for path in files]
    return sorted(name for name in names if not _is_image(name) and not _is_skipped(name))


def _is_image(name: str) -> bool:
    return name.lower().endswith(ENDINGS) and not _is_skipped(name)


def _is_skipped(name: str) -> bool:
    """Files that systems leave behind, and hidden ones."""
    return any(part.startswith(".") or part in _SKIPPED for part in name.split("/"))


def _check_members(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse archives that no honest tool makes of a folder of images."""
    leading_out = [info.filename for info in members if _leads_out(info)]
    if leading_out:
        raise bad(
            path.name,
            "must hold files with names inside of the archive",
            got=f"{listed(leading_out, limit=3)}, which would lead out of it or is a link",
            do="Do not trust this file; make it again from the images.",
        )
    if any(info.flag_bits & 1 for info in members):
        raise bad(path.name, "must not be encrypted", got="a password", do="Pack it without one.")
    unpacked = sum(info.file_size for info in members)
    packed = max(path.stat().st_size, 1)
    largest = max(members, key=lambda info: info.file_size, default=None)
    if unpacked > GROWTH_FREE_BYTES and unpacked > MAX_GROWTH * packed:
        raise bad(
            path.name,
            f"must not grow more than {MAX_GROWTH} times when unpacked",
            got=f"{unpacked / packed:.0f} times ({unpacked / 2**20:.0f} MiB out of {packed / 2**20:.1f} MiB)",
            do="Images hardly shrink when packed: check where the file comes from.",
        )
    if largest is not None and _is_image(largest.filename) and largest.file_size > MAX_FILE_BYTES:
        raise bad(
            path.name,
            f"must hold images of at most {MAX_FILE_BYTES // 2**20} MiB each",
            got=f"'{largest.filename}' with {largest.file_size / 2**20:.0f} MiB",
            do="Remove it.",
        )


def _leads_out(info: zipfile.ZipInfo) -> bool:
    name = info.filename
    is_link = stat.S_ISLNK(info.external_attr >> 16)
    is_rooted = name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) is not None
    return is_link or is_rooted or ".." in name.replace("\\", "/").split("/")


def _num_common(paths: Sequence[Sequence[str]]) -> int:
    """How many folders at the top hold everything and are neither a class nor a part."""
    top = 0
    while paths:
        found = {path[top] if len(path) > top + 2 else "" for path in paths}
        if len(found) > 1 or "" in found or found.pop().lower() in PART_NAMES:
            break
        top += 1
    return top


def _laid_out(
    label: str,
    names: Sequence[str],
    read: Callable[[int], bytes],
    *,
    mark: str,
    others: Sequence[str],
) -> Pile:
    """The pile with class and part of each image; images outside of a class folder are left out."""
    paths = [name.split("/") for name in names]
    top = _num_common(paths)
    has_parts = any(
        PART_NAMES.get(path[top].lower()) == "train" and len(path) > top + 2 for path in paths
    )
    depth = top + (1 if has_parts else 0)
    kept, parts = [], []
    for number, path in enumerate(paths):
        part = PART_NAMES.get(path[top].lower(), "") if has_parts else "train"
        if len(path) > depth + 1 and part:
            kept.append(number)
            parts.append(part)
    if not kept:
        raise bad(
            label,
            "must have a folder for each class, with its images in it",
            got=f"{count(len(names), 'image')} without such a folder" if names else "no image",
            do="Sort the images into folders named after their classes.",
        )
    told = []
    outside = [name for number, name in enumerate(names) if number not in set(kept)]
    if outside:
        told.append(
            f"{count(len(outside), 'image')} outside of a class folder not used: {listed(outside, limit=3)}."
        )
    if others:
        told.append(f"{count(len(others), 'other file')} not used: {listed(others, limit=3)}.")
    if has_parts:
        found = [part for part in ("train", "val", "test") if part in parts]
        told.append(f"The parts {', '.join(found)} are those of the folders.")
    return Pile(
        names=[names[number] for number in kept],
        labels=[paths[number][depth] for number in kept],
        parts=parts if has_parts else (),
        read=lambda number: read(kept[number]),
        mark=mark,
        told=tuple(told),
    )
