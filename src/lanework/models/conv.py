"""Convolution whose gradients are fast inside a compiled loop on a CPU.

Owns a replacement for `jax.lax.conv_general_dilated` (same signature, same result) that `nnx.Conv` accepts. Must not
import anything of Lanework; imports no Flax.

Inside a `scan` or `while` XLA's CPU backend runs the weight-gradient convolution with a naive loop (0.4 to 2 GFLOP/s),
because it is not in the one layout that its Eigen kernel knows. So both gradients are written here as *forward*
convolutions in that layout:

* input gradient: the output gradient, dilated by the strides, convolved with the flipped kernel;
* weight gradient: the input with channels as batch and images as channels, convolved with the output gradient as kernel;
  a few images at a time, added up by an inner `scan`, so that the transposed pieces stay in the cache.

Weight gradients of 3x3 convolutions in a loop, batch 64, one AVX-512 core, GFLOP/s (height, channels in -> out):
chunked convolution / best patches-times-gradient matrix product / naive: 14, 32 -> 64: 86 / 57 / 0.4; 7, 64 -> 128:
103 / 75 / 1.1; 32, 16 -> 16: 38 / 22 / -; 16, 32 -> 32: 76 / 42 / 0.4; 28, 1 -> 32: 31 / 17 / -. Hence no patches here.

Few features are the other trouble: the matrix product inside Eigen's convolution is only fast with some 32 of them. So where
there are fewer, neighbouring pixels of a row are computed together, as features of one wider window: a window of k pixels
and stride 1 that gives F features is one of k + p - 1 pixels and stride p that gives p F of them, (k + p - 1) / k times
the multiplications (the added weights are 0). Seconds for 3x3, 64 images of 32x32, one core: forward 16 -> 16, 7.9 to 4.9 ms;
weight gradient 13.6 to 7.6 ms; forward 3 -> 16, 6.0 to 1.4 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

CHUNK_BYTES = (
    512 * 1024
)  # of input and output gradient per chunk of images: half of a common L2 cache
MAX_CHUNK = 8
PAD_FIRST_BELOW = (
    17  # Eigen is 2 to 3 times slower with implicit padding when the kernel has at most 16 outputs
)

ENOUGH_FEATURES = 32
ENOUGH_FEATURES_ODD = 64  # with a number of channels in that is no multiple of 8
MOST_TOGETHER = 4  # pixels: beyond, the added zeros cost more than they bring

Pads: TypeAlias = tuple[tuple[int, int], ...]
_barrier: Any = lax.optimization_barrier  # untyped in JAX


class _Window(NamedTuple):
    """The static part of a convolution with channels last, by spatial axis."""

    strides: tuple[int, ...]
    pads: Pads
    dilation: tuple[int, ...]
    groups: int
    precision: Any


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> jax.Array:
    """`jax.lax.conv_general_dilated`, with gradients that are fast inside `scan` on a CPU.

    Positional arguments and names are JAX's, so that `nnx.Conv(conv_general_dilated=...)` takes it. Served are
    convolutions with channels last and no input dilation; everything else, and every other device, gets the native one.
    Gradients are reverse-mode only (`jax.grad`, `jax.vjp`).

    Args:
        lhs: Images, [batch, *space, channel].
        rhs: Kernel, [*window, channel / groups, feature].
        window_strides: Step of the window along each spatial axis, in pixels.
        padding: `SAME`, `VALID`, or pixels before and after for each spatial axis.
        lhs_dilation: Dilation of the images; only None or ones are served here.
        rhs_dilation: Dilation of the window.
        dimension_numbers: Meaning of the axes, as in JAX.
        feature_group_count: Number of groups of channels.
        batch_group_count: Number of groups of the batch; only 1 is served here.
        precision: As in JAX.
        preferred_element_type: As in JAX; only None is served here.
        out_sharding: As in JAX; only None is served here.

    Returns:
        The feature maps, [batch, *space, feature].
    """
    num_axes = lhs.ndim - 2
    dilation = tuple(rhs_dilation or (1,) * num_axes)
    window = [
        (size - 1) * step + 1 for size, step in zip(rhs.shape[:num_axes], dilation, strict=False)
    ]
    is_served = (
        jax.default_backend() == "cpu"
        and _is_channels_last(lhs, rhs, dimension_numbers)
        and batch_group_count == 1
        and preferred_element_type is None
        and out_sharding is None
        and set(lhs_dilation or (1,)) == {1}
    )
    if is_served:
        pads = _pads(lhs.shape[1:-1], window, window_strides, padding=padding)
        is_served = all(0 <= lo < size for (lo, _), size in zip(pads, window, strict=True))
    if is_served:
        settings = _Window(tuple(window_strides), pads, dilation, feature_group_count, precision)
        is_pointwise = set(window) == {1} and feature_group_count == 1
        return _pointwise(lhs, rhs, settings) if is_pointwise else _convolve(lhs, rhs, settings)
    return lax.conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        batch_group_count=batch_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
        out_sharding=out_sharding,
    )


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Two-dimensional convolution with stride 1 and as many pixels out as in.

    Args:
        x: Images, [batch, height, width, channel].
        kernel: [height, width, channel, feature].

    Returns:
        Feature maps, [batch, height, width, feature].
    """
    return conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _numbers(num_axes: int) -> lax.ConvDimensionNumbers:
    """Channels last, for that many spatial axes."""
    space = tuple(range(1, num_axes + 1))
    image = (0, num_axes + 1, *space)
    kernel = (num_axes + 1, num_axes, *range(num_axes))
    return lax.ConvDimensionNumbers(image, kernel, image)


def _is_channels_last(lhs: jax.Array, rhs: jax.Array, numbers: Any) -> bool:
    if lhs.ndim < 3 or lhs.dtype != rhs.dtype or numbers is None:
        return False
    return lax.conv_dimension_numbers(lhs.shape, rhs.shape, numbers) == _numbers(lhs.ndim - 2)


def _pads(
    space: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    *,
    padding: str | Sequence[tuple[int, int]],
) -> Pads:
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(space, window, strides, padding)
    return tuple((int(lo), int(hi)) for lo, hi in padding)


def _native(
    x: jax.Array,
    kernel: jax.Array,
    window: _Window,
    *,
    input_dilation: tuple[int, ...] | None = None,
) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        window.strides,
        window.pads,
        lhs_dilation=input_dilation,
        rhs_dilation=window.dilation,
        dimension_numbers=_numbers(x.ndim - 2),
        feature_group_count=window.groups,
        precision=window.precision,
    )


def _pointwise(x: jax.Array, kernel: jax.Array, window: _Window) -> jax.Array:
    """A window of one pixel is a matrix product, and so are its gradients (2 to 4 times faster)."""
    picked = lax.slice(x, (0,) * x.ndim, x.shape, (1, *window.strides, 1))
    weights = kernel.reshape(kernel.shape[-2:])
    product = jnp.dot(picked.reshape(-1, picked.shape[-1]), weights, precision=window.precision)
    return product.reshape(*picked.shape[:-1], -1)


def _pixels_together(window: _Window, shape: Sequence[int], width: int, *, enough: int) -> int:
    """Pixels of a row to compute at once: 1, 2 or 4; a divisor of the row.

    Args:
        window: The convolution.
        shape: That of its kernel, [*window, channel / groups, feature].
        width: Pixels of a row that come out.
        enough: Features from which on it is fast.
    """
    if window.groups != 1 or window.strides[-1] != 1 or window.dilation[-1] != 1:
        return 1
    together = 1
    while (
        2 * together <= MOST_TOGETHER
        and together * shape[-1] < enough
        and width % (2 * together) == 0
    ):
        together *= 2
    return together


def _several(x: jax.Array, kernel: jax.Array, window: _Window) -> jax.Array:
    """The convolution, several pixels of a row at a time where there are few features."""
    low, high = window.pads[-1]
    width = x.shape[-2] + low + high - kernel.shape[-3] + 1
    enough = ENOUGH_FEATURES if kernel.shape[-2] % 8 == 0 else ENOUGH_FEATURES_ODD
    together = _pixels_together(window, kernel.shape, width, enough=enough)
    if together == 1:
        return _native(x, kernel, window)
    wide = _native(x, _widened(kernel, together), _strided(window, together))
    return wide.reshape(*wide.shape[:-2], width, kernel.shape[-1])


def _strided(window: _Window, together: int) -> _Window:
    """The window that gives several pixels at once."""
    return window._replace(strides=(*window.strides[:-1], together))


def _widened(kernel: jax.Array, together: int) -> jax.Array:
    """The kernel for each of several neighbouring pixels in one wider window, [..., k + p - 1, channel, p feature]."""
    axis = kernel.ndim - 3
    shifted = []
    for place in range(together):
        pads = [(0, 0)] * kernel.ndim
        pads[axis] = (place, together - 1 - place)
        shifted.append(jnp.pad(kernel, pads))
    stacked = jnp.stack(shifted, axis=-2)
    return stacked.reshape(*stacked.shape[:-2], -1)


def _narrowed(wide: jax.Array, together: int) -> jax.Array:
    """Gradient of a kernel from that of its wider window: the transpose of `_widened`."""
    axis = wide.ndim - 3
    size = wide.shape[axis] - together + 1
    split = wide.reshape(*wide.shape[:-1], together, -1)
    pieces = [
        lax.slice_in_dim(split[..., place, :], place, place + size, axis=axis)
        for place in range(together)
    ]
    return sum(pieces[1:], start=pieces[0])


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x: jax.Array, kernel: jax.Array, window: _Window) -> jax.Array:
    return _several(x, kernel, window)


def _forward(
    x: jax.Array, kernel: jax.Array, window: _Window
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    # Not `_several`: the gradient of a gradient goes through here too.
    return _convolve(x, kernel, window), (x, kernel)


def _backward(
    window: _Window, saved: tuple[jax.Array, jax.Array], grad: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    return _input_gradient(grad, kernel, x.shape, window), _kernel_gradient(
        x, grad, kernel.shape, window
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _input_gradient(
    grad: jax.Array, kernel: jax.Array, shape: tuple[int, ...], window: _Window
) -> jax.Array:
    """Forward convolution of the dilated output gradient with the flipped kernel."""
    return _to_input(grad, kernel, shape, window=window)


def _input_gradient_forward(
    grad: jax.Array, kernel: jax.Array, shape: tuple[int, ...], window: _Window
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _input_gradient(grad, kernel, shape, window), (grad, kernel)


def _input_gradient_backward(
    shape: tuple[int, ...], window: _Window, saved: tuple[jax.Array, jax.Array], x: jax.Array
) -> tuple[jax.Array, jax.Array]:
    grad, kernel = saved
    return _convolve(x, kernel, window), _kernel_gradient(x, grad, kernel.shape, window)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _kernel_gradient(
    x: jax.Array, grad: jax.Array, shape: tuple[int, ...], window: _Window
) -> jax.Array:
    """Sum over chunks of images of a forward convolution with the output gradient as its kernel."""
    return _to_kernel(x, grad, shape, window=window)


def _kernel_gradient_forward(
    x: jax.Array, grad: jax.Array, shape: tuple[int, ...], window: _Window
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _kernel_gradient(x, grad, shape, window), (x, grad)


def _kernel_gradient_backward(
    shape: tuple[int, ...], window: _Window, saved: tuple[jax.Array, jax.Array], kernel: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, grad = saved
    return _input_gradient(grad, kernel, x.shape, window), _convolve(x, kernel, window)


# A convolution is linear in the image and in the kernel, so the gradients of its gradients are these three again. Left to JAX they
# would be convolutions that Eigen does not know: 46 times as long for a product with the Hessian of two 3x3 layers.
_convolve.defvjp(_forward, _backward)
_input_gradient.defvjp(_input_gradient_forward, _input_gradient_backward)
_kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)


def _to_input(
    grad: jax.Array, kernel: jax.Array, shape: tuple[int, ...], *, window: _Window
) -> jax.Array:
    num_axes = grad.ndim - 2
    pads = []
    for axis in range(num_axes):
        reach = (kernel.shape[axis] - 1) * window.dilation[axis]
        spread = (grad.shape[axis + 1] - 1) * window.strides[axis] + 1
        before = reach - window.pads[axis][0]
        pads.append((before, shape[axis + 1] + reach - spread - before))
    channels, features = kernel.shape[-2:]
    # [*window, channel / groups, groups, feature / groups] -> [*window, feature / groups, channel]
    split = kernel.reshape(*kernel.shape[:-1], window.groups, features // window.groups)
    swapped = jnp.moveaxis(jnp.flip(split, tuple(range(num_axes))), -1, num_axes)
    swapped = jnp.swapaxes(swapped, -1, -2)
    flipped = swapped.reshape(*kernel.shape[:num_axes], -1, channels * window.groups)
    backwards = window._replace(strides=(1,) * num_axes, pads=tuple(pads))
    # The barrier keeps XLA from folding the flip into a window that Eigen does not know.
    flipped = _barrier(flipped)
    if set(window.strides) == {1}:
        return _several(grad, flipped, backwards)
    return _native(grad, flipped, backwards, input_dilation=window.strides)


def _to_kernel(
    x: jax.Array, grad: jax.Array, shape: tuple[int, ...], *, window: _Window
) -> jax.Array:
    together = _pixels_together(window, shape, grad.shape[-2], enough=ENOUGH_FEATURES)
    if together > 1:
        wide = grad.reshape(*grad.shape[:-2], grad.shape[-2] // together, -1)
        wide_shape = (*shape[:-3], shape[-3] + together - 1, shape[-2], together * shape[-1])
        found = _to_kernel(x, wide, wide_shape, window=_strided(window, together))
        return _narrowed(found, together)
    seen = _seen(x.shape[1:-1], grad.shape[1:-1], shape, window=window)
    cropped = tuple((0, min(hi, 0)) for _, hi in seen)  # no window saw that
    first = seen if shape[-1] < PAD_FIRST_BELOW else cropped
    left = tuple((lo - done, hi - gone) for (lo, hi), (done, gone) in zip(seen, first, strict=True))
    window = window._replace(pads=left)
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((*p, 0) for p in first), (0, 0, 0)))
    chunk = _chunk_size(x, grad)

    def gradient(index: Any) -> jax.Array:
        images, kernel = (lax.dynamic_slice_in_dim(a, index * chunk, chunk) for a in (x, grad))
        return _chunk_gradient(images, kernel, window)

    def add(total: jax.Array, index: jax.Array) -> tuple[jax.Array, None]:
        return total + gradient(index), None

    # Starting from the first chunk instead of zeros keeps the type of the sum right inside `shard_map`.
    return lax.scan(add, gradient(0), jnp.arange(1, x.shape[0] // chunk))[0]


def _seen(
    space: Sequence[int], space_out: Sequence[int], shape: Sequence[int], *, window: _Window
) -> Pads:
    """Padding (negative: cropping) after which input and output gradient give just the window's size."""
    pads = []
    for axis, (before, _) in enumerate(window.pads):
        reach = (shape[axis] - 1) * window.dilation[axis]
        spread = (space_out[axis] - 1) * window.strides[axis] + 1
        pads.append((before, spread + reach - space[axis] - before))
    return tuple(pads)


def _chunk_size(x: jax.Array, grad: jax.Array) -> int:
    """Images per chunk: as many as fit in `CHUNK_BYTES`, a divisor of the batch, at most `MAX_CHUNK`."""
    batch = x.shape[0]
    image_bytes = (x.size + grad.size) // max(batch, 1) * x.dtype.itemsize
    fitting = max(1, min(MAX_CHUNK, CHUNK_BYTES // max(image_bytes, 1)))
    return max(size for size in range(1, fitting + 1) if batch % size == 0)


def _chunk_gradient(x: jax.Array, grad: jax.Array, window: _Window) -> jax.Array:
    """Kernel gradient of a few images, all at once."""
    num_axes = x.ndim - 2
    space = tuple(range(1, num_axes + 1))
    # [n, *space, channel] -> [channel / groups, *space, groups n]: channels are the batch, images the channels.
    images = x.reshape(*x.shape[:-1], window.groups, -1)
    images = images.transpose(num_axes + 2, *space, num_axes + 1, 0)
    images = images.reshape(*images.shape[:-2], -1)
    kernel = grad.transpose(*space, 0, num_axes + 1)  # [*space_out, n, feature]
    turned = window._replace(strides=window.dilation, dilation=window.strides)
    # The barriers keep XLA from folding the transposes into a convolution that Eigen does not know.
    images, kernel = _barrier((images, kernel))
    result = _barrier(_native(images, kernel, turned))
    return jnp.moveaxis(result, 0, num_axes)  # [*window, channel / groups, feature]
