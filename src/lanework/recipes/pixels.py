"""What augmentation does to the pixels of images: mirror, cut out, resample, colour.

Pure functions of images [batch, height, width, channels] (floating or bytes) and a key for each. Must not import anything of
Lanework.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

Array: TypeAlias = jax.Array
# Samples that are gathered from at a time on a CPU. Measured on 64 images of 32 x 32 x 3: resampling takes 0.8 ms in groups of
# 8, 5 ms all at once, because places are then found anew for each of the four neighbours and each channel; mixup 0.3 and 1.2 ms.
GROUP = 8
GREY = (0.299, 0.587, 0.114)


def by_group(function: Callable[[Any], Array], each: Any) -> Array:
    """A function of one sample over all of a batch: a few at a time on a CPU, else all at once."""
    count = jax.tree.leaves(each)[0].shape[0]
    group = GROUP if jax.default_backend() == "cpu" else count
    return jax.lax.map(function, each, batch_size=min(group, count))


def flip(images: Array, keys: Array, horizontal: Any, vertical: Any) -> Array:
    """Mirror images left to right with one chance, and upside down with another.

    Args:
        images: [batch, height, width, channels].
        keys: One for each image, [batch].
        horizontal: Chance of mirroring left to right, in [0, 1]; may be traced.
        vertical: Chance of turning upside down, in [0, 1]; may be traced.

    Returns:
        The images; chances of 0 and 1 are exact.
    """

    def one(image: Array, key: Array) -> Array:
        draws = jax.random.uniform(key, (2,))
        image = jnp.where(draws[0] < horizontal, image[:, ::-1], image)
        return jnp.where(draws[1] < vertical, image[::-1], image)

    return jax.vmap(one)(images, keys)


def crop(images: Array, keys: Array, padding: int, *, fill: float | None = None) -> Array:
    """Pad images on all sides and cut a window of the old size out, at an offset uniform in 0 to 2 padding on each axis.

    Args:
        images: [batch, height, width, channels].
        keys: One for each image, [batch].
        padding: Pixels on each side, below height and width.
        fill: Value of the padding; None mirrors the image, its edge not repeated.

    Returns:
        Images of the same shape and type.
    """
    width = ((padding, padding), (padding, padding), (0, 0))

    def one(image: Array, key: Array) -> Array:
        offset = jax.random.randint(key, (2,), 0, 2 * padding + 1)
        if fill is None:
            padded = jnp.pad(image, width, mode="reflect")
        else:
            padded = jnp.pad(image, width, constant_values=jnp.asarray(fill, image.dtype))
        return jax.lax.dynamic_slice(padded, (offset[0], offset[1], 0), image.shape)

    return jax.vmap(one)(images, keys)


def affine(
    images: Array,
    keys: Array,
    *,
    shift: Any = None,
    rotate: Any = None,
    zoom: Any = None,
    shear: Any = None,
) -> Array:
    """Shift, rotate, zoom and shear images, each at random up to a strength, in one resampling.

    Args:
        images: [batch, height, width, channels].
        keys: One for each image, [batch].
        shift: Largest shift as a share of height and width; None: none. May be traced, as all strengths.
        rotate: Largest angle in degrees; None: none.
        zoom: Largest enlargement as a share; None: none.
        shear: Largest slant in degrees; None: none.

    Returns:
        The images; bytes become floating, in the same units.
    """
    kind = images.dtype if jnp.issubdtype(images.dtype, jnp.floating) else jnp.float32
    height, width = images.shape[1:3]

    def drawn(key: Array) -> tuple[Array, Array]:
        # Always five draws, so that what else is asked for does not change an image's angle.
        u = jax.random.uniform(key, (5,), kind, minval=-1.0, maxval=1.0)
        matrix = affine_matrix(
            angle=0.0 if rotate is None else u[0] * jnp.deg2rad(jnp.asarray(rotate, kind)),
            factor=1.0 if zoom is None else jnp.exp(u[1] * jnp.log1p(jnp.asarray(zoom, kind))),
            slant=0.0 if shear is None else jnp.tan(u[2] * jnp.deg2rad(jnp.asarray(shear, kind))),
            dtype=kind,
        )
        moved = jnp.zeros(2, kind)
        if shift is not None:
            moved = u[3:] * jnp.asarray(shift, kind) * jnp.asarray([height, width], kind)
        return matrix, moved

    matrices, shifts = jax.vmap(drawn)(keys)
    return by_group(
        lambda each: resample(each[0].astype(kind), each[1], each[2]), (images, matrices, shifts)
    )


def affine_matrix(*, angle: Any, factor: Any, slant: Any, dtype: Any = jnp.float32) -> Array:
    """From a place in the new image to its source in the old one, both (row, column) from the centre: R(angle) S(slant) / factor.

    Args:
        angle: Turn counter-clockwise, in radians.
        factor: Enlargement.
        slant: Tangent of the slant: a row moves sideways by that much per row from the centre.
        dtype: Floating type.

    Returns:
        [2, 2].
    """
    cos, sin = jnp.cos(jnp.asarray(angle, dtype)), jnp.sin(jnp.asarray(angle, dtype))
    turn = jnp.stack([jnp.stack([cos, sin]), jnp.stack([-sin, cos])])
    one, zero = jnp.ones((), dtype), jnp.zeros((), dtype)
    lean = jnp.stack([jnp.stack([one, zero]), jnp.stack([-jnp.asarray(slant, dtype), one])])
    # Written out: a matrix product may be rounded to less than float32 on an accelerator.
    return jnp.sum(turn[:, :, None] * lean[None], axis=1) / jnp.asarray(factor, dtype)


def resample(image: Array, matrix: Array, shift: Array) -> Array:
    """One image read at other places, linear in between, mirrored beyond its edge.

    Args:
        image: [height, width, channels], floating.
        matrix: See `affine_matrix`.
        shift: How far the image moves (down, to the right), in pixels, [2].

    Returns:
        The image, [height, width, channels].
    """
    height, width, channels = image.shape
    rows = jnp.arange(height, dtype=matrix.dtype)[:, None] - (height - 1) / 2 - shift[0]
    columns = jnp.arange(width, dtype=matrix.dtype)[None, :] - (width - 1) / 2 - shift[1]
    row = matrix[0, 0] * rows + matrix[0, 1] * columns + (height - 1) / 2
    column = matrix[1, 0] * rows + matrix[1, 1] * columns + (width - 1) / 2
    top, down = _split(row, height)
    left, right = _split(column, width)
    place = (top * width + left).reshape(-1)
    down, right = down.reshape(-1, 1), right.reshape(-1, 1)
    flat = image.reshape(-1, channels)
    below, beside = (width if height > 1 else 0), (1 if width > 1 else 0)

    def at(offset: int) -> Array:
        return flat.at[place + offset].get(mode="promise_in_bounds")

    upper = at(0) * (1 - right) + at(beside) * right
    lower = at(below) * (1 - right) + at(below + beside) * right
    return (upper * (1 - down) + lower * down).reshape(image.shape).astype(image.dtype)


def _split(place: Array, size: int) -> tuple[Array, Array]:
    """Whole number of a mirrored place, at most the last but one, and the rest in [0, 1]."""
    period = 2.0 * max(size - 1, 1)
    place = jnp.abs(place)
    place = place - period * jnp.floor(place / period)
    place = jnp.minimum(place, period - place) if size > 1 else jnp.zeros_like(place)
    whole = jnp.clip(jnp.floor(place), 0, max(size - 2, 0))
    return whole.astype(jnp.int32), place - whole


def color_jitter(
    images: Array,
    keys: Array,
    *,
    brightness: Any,
    contrast: Any,
    saturation: Any,
    limits: tuple[float, float],
) -> Array:
    """Change brightness, contrast and saturation by factors uniform in [1 - strength, 1 + strength], in this order.

    Args:
        images: [batch, height, width, channels]; with three channels: red, green, blue.
        keys: One for each image, [batch].
        brightness: Strength, in [0, 1]; may be traced, as the others.
        contrast: Strength: the distance of each pixel to the mean grey of its image is scaled.
        saturation: Strength: the distance of each colour to the grey of its pixel is scaled. Nothing with one channel.
        limits: Black and white, to which each step is cut.

    Returns:
        The images, exactly where a strength is 0; bytes become floating, in the same units.
    """
    kind = images.dtype if jnp.issubdtype(images.dtype, jnp.floating) else jnp.float32
    strengths = jnp.stack([jnp.asarray(item, kind) for item in (brightness, contrast, saturation)])
    low, high = limits

    def one(image: Array, key: Array) -> Array:
        image = image.astype(kind)
        change = strengths * jax.random.uniform(key, (3,), kind, minval=-1.0, maxval=1.0)
        towards: tuple[Callable[[Array], Any], ...] = (
            lambda x: low,
            lambda x: jnp.mean(_grey(x)),
            _grey,
        )
        for place, centre in enumerate(towards if image.shape[-1] > 1 else towards[:2]):
            # x + (factor - 1) (x - centre): exact where the factor is 1.
            image = jnp.clip(image + change[place] * (image - centre(image)), low, high)
        return image

    return jax.vmap(one)(images, keys)


def _grey(image: Array) -> Array:
    """[height, width, 1]."""
    if image.shape[-1] == len(GREY):
        red, green, blue = (weight * image[..., i : i + 1] for i, weight in enumerate(GREY))
        return red + green + blue
    return jnp.mean(image, axis=-1, keepdims=True)
