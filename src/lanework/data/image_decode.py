"""From bytes of image files to one array: formats, colours, sizes, and what cannot be read.

Owns what is done to images of different kinds. Pillow is imported inside functions. Nothing is silent: what was converted,
resized or left out comes back as sentences.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lanework.data.image_files import Pile
from lanework.data.messages import bad, count, listed
from lanework.data.types import Array, Rows

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Decoded", "decode", "decode_pile"]

FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP")
MAX_PIXELS = 100_000_000
"""Images with more pixels are not decoded: they may be made to fill the memory."""
MAX_BAD_SHARE = 0.5
MAX_THREADS = 8
# What Pillow's decoders raise on damaged files.
_BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, zlib.error, struct.error),
    *(IndexError, KeyError, TypeError, OverflowError, MemoryError),
)
_NOTES = {
    "frames": "{} with several frames: the first one is used.",
    "turned": "{} turned upright as the camera noted.",
    "transparent": "{} with transparent pixels: put on white.",
    "palette": "{} with a palette: colours were looked up.",
    "deep": "{} with 16 bits per pixel: reduced to 8.",
    "converted": "{} in another colour space: converted to red, green, blue.",
    "resized": "{} resized (shorter side to {size} pixels, then cut to the middle).",
    "widened": "{} in grey given three equal channels, as others have colours.",
    "greyed": "{} in colour turned to grey, as the training images are.",
}


class Decoded(NamedTuple):
    """Images as an array.

    Attributes:
        x: uint8 [n, height, width, channels].
        kept: Which images of the pile they are.
        told: What was converted and left out, as sentences.
    """

    x: Array
    kept: Rows
    told: tuple[str, ...]


class _Unreadable(Exception):
    """One image that cannot be used, with the reason as text."""


def decode_pile(
    pile: Pile, *, label: str, image_size: int | None, like: tuple[int, ...] | None = None
) -> Decoded:
    """Decode a pile of images in threads.

    Args:
        pile: The images.
        label: Name of the source, for messages.
        image_size: Resize the shorter side to that, then cut out the middle square; None leaves sizes alone.
        like: Height, width and channels of the training images, which these must have.

    Returns:
        The images that could be read; one channel when all are grey, else three.

    Raises:
        DataError: Images differ in size, or more than half of a class cannot be read.
    """

    def one(number: int) -> tuple[Array, frozenset[str]] | str:
        try:
            return decode(pile.read(number), image_size=image_size)
        except _Unreadable as reason:
            return str(reason)
        except OSError as error:
            return str(error)

    workers = min(MAX_THREADS, os.cpu_count() or 1)
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore")  # of damaged notes in the file: what counts is the pixels
        results = list(pool.map(one, range(len(pile.names)), chunksize=1))
    reasons = {number: found for number, found in enumerate(results) if isinstance(found, str)}
    _check_bad(pile, reasons, label=label)
    good = [(number, found) for number, found in enumerate(results) if not isinstance(found, str)]
    _check_sizes(
        [pile.names[n] for n, _ in good], [f[0].shape[:2] for _, f in good], label=label, like=like
    )
    notes: Counter[str] = Counter(note for _, found in good for note in found[1])
    x, more = _joined([found[0] for _, found in good], like=like)
    notes += more
    kept = np.array([number for number, _ in good], np.intp)
    told = tuple(
        text.format(count(notes[name], "image"), size=image_size)
        for name, text in _NOTES.items()
        if notes[name]
    )
    return Decoded(x, kept, (*_told_bad(pile, reasons), *told))


def decode(data: bytes, *, image_size: int | None = None) -> tuple[Array, frozenset[str]]:
    """One image as uint8 [height, width] when it is grey, else [height, width, 3].

    Args:
        data: Content of the file.
        image_size: See `decode_pile`.

    Returns:
        The pixels, and names of what was done to them.

    Raises:
        _Unreadable: With the reason.
    """
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise _Unreadable("empty file")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise _Unreadable(f"{width} x {height} pixels, more than is safe to decode")
            return _pixels(image, image_size)
    except UnidentifiedImageError:
        raise _Unreadable("no PNG, JPEG, BMP, GIF or WebP image") from None
    except Image.DecompressionBombError:
        raise _Unreadable("more pixels than is safe to decode") from None
    except _BROKEN as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _Unreadable(f"broken: {text}") from None


def _pixels(image: Image, size: int | None) -> tuple[Array, frozenset[str]]:
    """Decode, turn upright, resize, and bring to grey or red, green, blue with 8 bits."""
    from PIL import ImageOps

    notes = set()
    if getattr(image, "n_frames", 1) > 1:
        notes.add("frames")
    if size is not None:
        image.draft(image.mode, (2 * size, 2 * size))  # JPEG alone: decode large photos at less
    image.load()
    if image.getexif().get(0x0112, 1) in range(2, 9):
        notes.add("turned")
        image = ImageOps.exif_transpose(image)
    image, note = _plain_mode(image)
    notes |= note
    if size is not None and image.size != (size, size):
        notes.add("resized")
        image = _resized(image, size)
    array: Array = np.asarray(image, np.uint8)
    if "palette" in notes and array.ndim == 3 and np.ptp(array, axis=2).max(initial=0) == 0:
        array = array[..., 0]
    return array, frozenset(notes)


def _plain_mode(image: Image) -> tuple[Image, set[str]]:
    """The image in mode L or RGB, and what was done."""
    from PIL import Image as images

    mode = image.mode
    if mode in ("L", "RGB"):
        if image.info.get("transparency") is None:
            return image, set()
        return _on_white(image.convert("RGBA" if mode == "RGB" else "LA"))
    if mode == "1":
        return image.convert("L"), set()
    if mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise _Unreadable("grey values beyond 16 bits")
        return images.fromarray((values >> 8).astype(np.uint8)), {"deep"}
    if mode == "P":
        if "transparency" in image.info:
            made, notes = _on_white(image.convert("RGBA"))
            return made, notes | {"palette"}
        return image.convert("RGB"), {"palette"}
    if mode in ("LA", "La", "RGBA", "RGBa", "PA"):
        return _on_white(image.convert("LA" if mode in ("LA", "La") else "RGBA"))
    return image.convert("RGB"), {"converted"}


def _on_white(image: Image) -> tuple[Image, set[str]]:
    """An image with transparency on white paper; grey stays grey."""
    from PIL import Image as images

    alpha = image.getchannel("A")
    plain = "L" if image.mode == "LA" else "RGB"
    if alpha.getextrema() == (255, 255):
        return image.convert(plain), set()
    paper = images.new(plain, image.size, "white")
    paper.paste(image.convert(plain), mask=alpha)
    return paper, {"transparent"}


def _resized(image: Image, size: int) -> Image:
    """Shorter side to `size`, then the middle square."""
    from PIL import Image as images

    width, height = image.size
    factor = size / min(width, height)
    scaled = (max(size, round(width * factor)), max(size, round(height * factor)))
    if scaled != image.size:
        image = image.resize(scaled, images.Resampling.BILINEAR)
    left, upper = (scaled[0] - size) // 2, (scaled[1] - size) // 2
    return image.crop((left, upper, left + size, upper + size))


def _joined(images: list[Array], *, like: tuple[int, ...] | None) -> tuple[Array, Counter[str]]:
    """All images in one array, with as many channels as any of them needs."""
    has_colour = any(image.ndim == 3 for image in images)
    channels = like[2] if like is not None else (3 if has_colour else 1)
    x = np.empty((len(images), *images[0].shape[:2], channels), np.uint8)
    notes: Counter[str] = Counter()
    for number, image in enumerate(images):
        if channels == 1 and image.ndim == 3:
            notes["greyed"] += 1
            weights = np.array([0.299, 0.587, 0.114])
            x[number, ..., 0] = np.round(image @ weights).astype(np.uint8)
        else:
            notes["widened"] += int(channels == 3 and image.ndim == 2)
            x[number] = image if image.ndim == 3 else image[..., None]
        images[number] = x[number]  # let go of the decoded one
    return x, notes


def _check_bad(pile: Pile, reasons: dict[int, str], *, label: str) -> None:
    """Refuse when more than half of a class cannot be read: what is left would be another data set."""
    if not reasons:
        return
    total = Counter(pile.labels)
    lost = Counter(pile.labels[number] for number in reasons)
    worst = max(lost, key=lambda name: lost[name] / total[name])
    if lost[worst] <= MAX_BAD_SHARE * total[worst]:
        return
    first = next(number for number in reasons if pile.labels[number] == worst)
    of = f" of {pile.target} '{worst}'" if worst is not None else ""
    raise bad(
        label,
        "must hold images of which most can be read",
        got=f"{lost[worst]} of {count(total[worst], 'image')}{of} that cannot, such as '{pile.names[first]}' ({reasons[first]})",
        do="Copy or download the images again, or remove the folder.",
    )


def _told_bad(pile: Pile, reasons: dict[int, str]) -> tuple[str, ...]:
    if not reasons:
        return ()
    shown = [f"{pile.names[number]} ({reason})" for number, reason in list(reasons.items())[:5]]
    more = f" and {len(reasons) - len(shown)} more" if len(reasons) > len(shown) else ""
    one = count(len(reasons), "image")
    return (f"{one} left out, as {_it(reasons)} cannot be read: {', '.join(shown)}{more}.",)


def _it(items: dict[int, str]) -> str:
    return "it" if len(items) == 1 else "they"


def _check_sizes(
    names: Sequence[str],
    shapes: Sequence[tuple[int, ...]],
    *,
    label: str,
    like: tuple[int, ...] | None,
) -> None:
    """Refuse images of different sizes, naming the odd ones."""
    sizes = Counter(shapes)
    wanted = tuple(like[:2]) if like is not None else max(sizes, key=lambda s: (sizes[s], s))
    odd = [number for number, shape in enumerate(shapes) if tuple(shape) != wanted]
    if not odd:
        return
    shown = [f"{names[number]} ({_size(shapes[number])})" for number in odd[:3]]
    kinds = f" in {count(len({shapes[n] for n in odd}), 'other size')}" if len(odd) > 1 else ""
    beside = (
        f", beside {len(shapes) - len(odd)} of {_size(wanted)}" if len(odd) < len(shapes) else ""
    )
    square = min(min(shape) for shape in sizes)
    size = wanted[0] if wanted[0] == wanted[1] and (like or len(odd) < len(shapes) / 2) else square
    must = f"of {_size(wanted)} pixels as in training" if like else "of one size"
    raise bad(
        label,
        f"must hold images {must}",
        got=f"{count(len(odd), 'image')} of another size{kinds}: {listed(shown, limit=3)}{beside}",
        do=f"Set data.image_size, for example {size}: each image is then resized (shorter side) and cut to the middle.",
    )


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
