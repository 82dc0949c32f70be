"""Bytes from files: gunzip, line-length limit, encoding, and what kind of file it is.

Owns every way in which a file can be unreadable before its content is looked at. Never unpickles.
Standard library only.
"""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import BinaryIO

from lanework.catalog import nearest
from lanework.data.messages import bad, count, listed

__all__ = ["MAX_LINE_BYTES", "decode_text", "file_format", "must_exist", "read_bytes", "read_head"]

MAX_LINE_BYTES = 64 * 2**20
"""A text line longer than this is taken for a broken file."""

_CHUNK_BYTES = 2**20
_GZIP = b"\x1f\x8b"
_FORMATS = (
    (b"PAR1", "parquet"),
    (b"PK\x03\x04", "npz"),
    (b"PK\x05\x06", "npz"),
    (b"\x00\x00\x08", "idx"),
    (b"\x93NUMPY", "npy"),
    (b"\x80\x02", "pickle"),
    (b"\x80\x03", "pickle"),
    (b"\x80\x04", "pickle"),
    (b"\x80\x05", "pickle"),
    (b"\x89PNG", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"%PDF", "PDF"),
    (b"SQLite format 3", "SQLite"),
    (b"\xd0\xcf\x11\xe0", "old Excel"),
    (b"\x89HDF", "HDF5"),
)
_WHAT_TO_USE = "Use CSV, TSV or Parquet with data.target, NPZ with x and y, or IDX files (.gz too)."


def must_exist(path: Path, *, where: str = "data.source") -> None:
    """Check that a file is there and can be read.

    Raises:
        DataError: It is not there (names alike are listed), is a folder, or may not be read.
    """
    if not path.exists():
        folder = path.parent
        beside = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        close = nearest(path.name, beside)
        hint = f"Did you mean {listed(close)} in the same folder? " if close else ""
        hint = hint if folder.is_dir() else f"The folder {folder} does not exist either. "
        raise bad(
            where,
            "must be a file that exists or the name of a built-in set",
            got=f"{path}, which is not there",
            do=f"{hint}Paths in a study file are relative to that file; see lanework list source.",
        )
    if not os.access(path, os.R_OK):
        raise bad(
            where,
            "must be readable",
            got=f"{path} without permission",
            do="Change its permissions.",
        )


def read_head(path: Path, num_bytes: int) -> bytes:
    """The first bytes of a file, decompressed.

    Raises:
        DataError: The gzip data is broken.
    """
    try:
        with _open(path) as stream:
            return stream.read(num_bytes)
    except (EOFError, zlib.error, OSError) as error:
        raise _broken(path, error) from error


def read_bytes(path: Path, *, max_line_bytes: int | None = None) -> bytes:
    """The whole content of a file, decompressed.

    Args:
        path: The file; gzip is recognised by content.
        max_line_bytes: Stop with an error at the first line longer than that, before the rest is
            read; None for files that are no text.

    Returns:
        The bytes.

    Raises:
        DataError: The file is empty, its gzip data is broken, or a line is too long.
    """
    chunks: list[bytes] = []
    line_bytes = 0
    try:
        with _open(path) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                chunks.append(chunk)
                if max_line_bytes is None:
                    continue
                line_bytes = _open_line(chunk, line_bytes)
                if line_bytes > max_line_bytes:
                    raise _long_line(path, chunks, max_line_bytes=max_line_bytes)
    except (EOFError, zlib.error, OSError) as error:
        raise _broken(path, error) from error
    data = b"".join(chunks)
    if not data.strip():
        raise bad(
            path.name, "must hold data", got="an empty file", do="Check how the file was written."
        )
    return data


def file_format(path: Path) -> str:
    """What kind of file it is, by its first bytes: csv, parquet, npz or idx.

    Raises:
        DataError: It is empty, broken, or of a kind that is not read.
    """
    head = read_head(path, 512)
    kind = next((kind for magic, kind in _FORMATS if head.startswith(magic)), "csv")
    if kind == "npz" and head[30:49].startswith((b"[Content_Types].xml", b"_rels", b"xl/")):
        kind = "Excel"
    if kind == "csv" and head.lstrip()[:1] in (b"{", b"["):
        kind = "JSON"
    if kind in ("csv", "parquet", "npz", "idx"):
        return kind
    never = " Pickle files are never opened: they can run code." if kind == "pickle" else ""
    raise bad(
        path.name,
        "must be a table, NPZ or IDX file",
        got=f"what looks like {kind} data",
        do=_WHAT_TO_USE + never,
    )


def decode_text(data: bytes, name: str) -> tuple[bytes, tuple[str, ...]]:
    """Bytes of a text file as UTF-8 without byte-order mark and with line feeds.

    Args:
        data: The raw content.
        name: File name for messages.

    Returns:
        The UTF-8 bytes and sentences about what was decided.

    Raises:
        DataError: It is no text.
    """
    decisions: tuple[str, ...] = ()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        data = _transcode(data, "utf-16", name)
        decisions = (f"{name} is UTF-16 text and was read as such.",)
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in data:
        raise bad(
            name,
            "must be text (CSV, TSV)",
            got=f"binary data (a zero byte at position {data.index(0)})",
            do=_WHAT_TO_USE,
        )
    if not data.isascii():
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            byte = data[error.start]
            data = data.decode("cp1252", errors="replace").encode()
            decisions = (
                f"{name} is not UTF-8 (byte 0x{byte:02X} in line {line}); it was read as "
                "Windows-1252. Save it as UTF-8 if names look wrong.",
            )
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    return data, decisions


def _open(path: Path) -> gzip.GzipFile | BinaryIO:
    """The file opened for reading, through gzip when its first bytes say so."""
    with path.open("rb") as stream:
        is_gzip = stream.read(2) == _GZIP
    if not is_gzip and path.suffix == ".gz" and path.stat().st_size:
        raise gzip.BadGzipFile("not a gzip file, though its name ends in .gz")
    return gzip.open(path, "rb") if is_gzip else path.open("rb")


def _open_line(chunk: bytes, line_bytes: int) -> int:
    """Length of the line that is unfinished after this chunk."""
    end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))
    return line_bytes + len(chunk) if end < 0 else len(chunk) - end - 1


def _transcode(data: bytes, encoding: str, name: str) -> bytes:
    try:
        return data.decode(encoding).encode()
    except UnicodeDecodeError as error:
        raise bad(
            name, f"must be valid {encoding} text", got=str(error), do="Save the file as UTF-8."
        ) from error


def _long_line(path: Path, chunks: list[bytes], *, max_line_bytes: int) -> Exception:
    line = sum(chunk.count(b"\n") for chunk in chunks) + 1
    return bad(
        path.name,
        f"must have lines of at most {_size(max_line_bytes)}",
        got=f"a longer one (line {line})",
        do="Check the line ends and quotes of the file; for images or arrays use NPZ or IDX.",
    )


def _broken(path: Path, error: Exception) -> Exception:
    if isinstance(error, IsADirectoryError):
        got, do = "a folder", "Name a file in it."
    elif isinstance(error, EOFError):
        got, do = "gzip data that ends too early", "Copy or download the file again."
    elif isinstance(error, (gzip.BadGzipFile, zlib.error)):
        got, do = f"broken gzip data ({error})", "Copy or download the file again."
    else:
        got, do = str(error), "Check the file and its permissions."
    return bad(path.name, "must be readable to its end", got=got, do=do)


def _size(num_bytes: int) -> str:
    return f"{num_bytes // 2**20} MiB" if num_bytes >= 2**20 else count(num_bytes, "byte")
