"""Fashion-MNIST by name: found in the data folder, or downloaded with a checksum.

Owns where named files are looked for and how they are fetched. Standard library only, until read.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import numpy as np

from lanework.data.binary import read_idx
from lanework.data.messages import bad
from lanework.data.types import Column, Loaded
from lanework.errors import DataError
from lanework.folders import cache_folder

__all__ = ["FILES", "data_folders", "fashion_mnist", "fetch_file", "find_fashion"]

FILES: Mapping[str, str] = MappingProxyType(
    {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    }
)
"""File name to MD5, as the authors publish them (README of zalandoresearch/fashion-mnist)."""

_NAME = "fashion-mnist"
_ADDRESS = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
_TIMEOUT_S = 20.0
_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


def data_folders() -> tuple[Path, ...]:
    """Where named files are looked for: LANEWORK_DATA first, then the user's cache folder."""
    given = os.environ.get("LANEWORK_DATA")
    return (*((Path(given).expanduser(),) if given else ()), cache_folder() / "data")


def find_fashion() -> Path | None:
    """The first folder that holds all four files, or None."""
    places = [place for folder in data_folders() for place in (folder / _NAME, folder)]
    return next((p for p in places if all((p / name).is_file() for name in FILES)), None)


def fashion_mnist(address: str = _ADDRESS) -> Loaded:
    """Fashion-MNIST with its own test part.

    Args:
        address: Where to download from when the files are not found; a test gives its own server.

    Returns:
        60 000 training and 10 000 test images, uint8 [n, 28, 28, 1].

    Raises:
        DataError: Not found and not downloadable (the text says what to put where), or damaged.
    """
    folder = find_fashion()
    decisions: tuple[str, ...] = ()
    if folder is None:
        folder = cache_folder() / "data" / _NAME
        _download(folder, address)
        decisions = (f"Downloaded from {address} and checked by MD5.",)
    train, test = (_part(folder, part) for part in ("train", "t10k"))
    return Loaded(
        features=train.features,
        target=train.target,
        label="fashion-mnist (Zalando)",
        task="classification",
        class_names=_CLASSES,
        decisions=decisions,
        test=test,
    )


def fetch_file(address: str, path: Path, *, md5: str) -> None:
    """Download one file; it appears under its name only when its checksum is right.

    Raises:
        DataError: The server cannot be reached or the content is another.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.md5(usedforsecurity=False)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as out, _opened(address) as stream:
            while chunk := stream.read(2**18):
                digest.update(chunk)
                out.write(chunk)
        if digest.hexdigest() != md5:
            raise bad(
                address,
                f"must have the MD5 sum {md5}",
                got=digest.hexdigest(),
                do="The download is damaged or the server gives another file; try again later.",
            )
        Path(part).replace(path)
    finally:
        Path(part).unlink(missing_ok=True)


def _opened(address: str) -> BinaryIO:
    if not address.startswith(("http://", "https://")):
        raise bad("download", "must use http or https", got=address, do="Give a web address.")
    stream: BinaryIO = urllib.request.urlopen(address, timeout=_TIMEOUT_S)
    return stream


def _download(folder: Path, address: str) -> None:
    """Fetch the files that are not there yet.

    Raises:
        DataError: One cannot be had; says which files to put where.
    """
    for name, md5 in FILES.items():
        if (folder / name).is_file():
            continue
        try:
            fetch_file(address + name, folder / name, md5=md5)
        except (OSError, DataError) as error:
            raise _unreachable(folder, address, error) from error


def _unreachable(folder: Path, address: str, error: Exception) -> DataError:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    wanted = "\n".join(f"  {name}  (MD5 {md5})" for name, md5 in FILES.items())
    searched = ", ".join(str(place) for place in data_folders())
    return bad(
        "data.source: fashion-mnist",
        "needs four files that are on this machine or can be downloaded",
        got=f"none in {searched}, and no download from {address} ({reason})",
        do=f"Put these files into {folder}, or into a folder 'fashion-mnist' in the folder that the "
        f"environment variable LANEWORK_DATA names:\n{wanted}\n",
    )


def _part(folder: Path, part: str) -> Loaded:
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
    target = Column("label", "numeric", labels.astype(np.float64))
    return Loaded(images[..., None], target, label=f"fashion-mnist {part}")
