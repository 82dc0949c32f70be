"""Layers as pure functions: dense, convolution, normalisation, dropout, pooling, embedding.

Must not import `lanework.recipes`, `lanework.data` or anything above; imports no Flax.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lanework.models.base import Array, Call, Layer, Params, State, layer_key, pick, refuse
from lanework.models.conv import convolve
from lanework.models.parts import Init

ONE_HOT_UP_TO = 128  # codes: below, a product with one-hot rows beats gather, whose gradient is a slow scatter on CPUs


def dense(name: str, sizes: tuple[int, int], *, init: Init, has_bias: bool = True) -> Layer:
    """Fully connected layer x W + b.

    Args:
        name: Name among the parameters.
        sizes: Inputs and outputs.
        init: Initialiser of the weights; the bias starts at 0.
        has_bias: Whether there is a bias.

    Returns:
        A layer from [batch, inputs] to [batch, outputs].
    """

    def make(key: Array) -> tuple[Params, State]:
        params = {"kernel": init(key, sizes)}
        return (params | {"bias": jnp.zeros((sizes[1],))} if has_bias else params), {}

    def apply(params: Params, state: State, x: Array, call: Call) -> tuple[Array, State]:
        x = x @ params["kernel"]
        return (x + params["bias"][None, :] if has_bias else x), state

    return Layer(name, make, apply)


def convolution(
    name: str,
    sizes: tuple[int, int],
    *,
    kernel: int,
    init: Init,
    has_bias: bool = True,
    is_pooled: bool = False,
) -> Layer:
    """Convolution with stride 1 that keeps height and width (zero padding), and perhaps 2 x 2 max pooling.

    Pooling comes before the bias, which gives the same numbers and leaves the bias a quarter of the work.

    Args:
        name: Name among the parameters.
        sizes: Channels in and out.
        kernel: Side of the window, in pixels.
        init: Initialiser of the weights; the bias starts at 0.
        has_bias: Whether there is a bias.
        is_pooled: Whether 2 x 2 max pooling follows.

    Returns:
        A layer from [batch, height, width, in] to [batch, height, width, out], or half of each side.
    """

    def make(key: Array) -> tuple[Params, State]:
        params = {"kernel": init(key, (kernel, kernel, *sizes))}
        return (params | {"bias": jnp.zeros((sizes[1],))} if has_bias else params), {}

    def apply(params: Params, state: State, x: Array, call: Call) -> tuple[Array, State]:
        x = convolve(x, params["kernel"])
        x = max_pool(x) if is_pooled else x
        return (add_bias(x, params["bias"]) if has_bias else x), state

    return Layer(name, make, apply)


@jax.custom_vjp
def add_bias(x: Array, bias: Array) -> Array:
    """Add one number per channel to feature maps [batch, height, width, channel].

    The gradient of the bias is a product with a row of ones: XLA's reduction over rows takes ten times as long on CPUs.
    """
    return x + bias.reshape((1,) * (x.ndim - 1) + bias.shape)


def _add_bias_backward(saved: None, grad: Array) -> tuple[Array, Array]:
    rows = grad.reshape(-1, grad.shape[-1])
    return grad, jnp.ones((rows.shape[0],), grad.dtype) @ rows


add_bias.defvjp(lambda x, bias: (add_bias(x, bias), None), _add_bias_backward)


def _along_last(vector: Array, x: Array) -> Array:
    return vector.reshape((1,) * (x.ndim - 1) + vector.shape)


def _batch_norm(name: str, size: int, *, momentum: float, eps: float) -> Layer:
    """Batch normalisation over all axes but the last; samples that only fill the last batch take part."""

    def make(key: Array) -> tuple[Params, State]:
        params = {"scale": jnp.ones((size,)), "bias": jnp.zeros((size,))}
        return params, {"mean": jnp.zeros((size,)), "var": jnp.ones((size,))}

    def apply(params: Params, state: State, x: Array, call: Call) -> tuple[Array, State]:
        if call.is_training:
            if x.shape[0] == 1:
                refuse(
                    "model.norm",
                    "batch normalisation must have batches of at least 2 samples, got batch size 1. "
                    "Use norm: layer (layer or group normalisation), or a larger batch_size.",
                )
            axes = tuple(range(x.ndim - 1))
            mean = jnp.mean(x, axes)
            var = jnp.mean(jnp.square(x - _along_last(mean, x)), axes)
            state = {
                "mean": momentum * state["mean"] + (1 - momentum) * jax.lax.stop_gradient(mean),
                "var": momentum * state["var"] + (1 - momentum) * jax.lax.stop_gradient(var),
            }
        else:
            mean, var = state["mean"], state["var"]
        factor = params["scale"] * jax.lax.rsqrt(var + eps)
        shift = params["bias"] - mean * factor
        return x * _along_last(factor, x) + _along_last(shift, x), state

    return Layer(name, make, apply)


def _layer_norm(name: str, size: int, *, eps: float) -> Layer:
    """Layer normalisation over all axes of a sample, with one scale and shift per feature or channel."""

    def make(key: Array) -> tuple[Params, State]:
        return {"scale": jnp.ones((size,)), "bias": jnp.zeros((size,))}, {}

    def apply(params: Params, state: State, x: Array, call: Call) -> tuple[Array, State]:
        axes = tuple(range(1, x.ndim))
        centred = x - jnp.mean(x, axes, keepdims=True)
        factor = jax.lax.rsqrt(jnp.mean(jnp.square(centred), axes, keepdims=True) + eps)
        x = centred * factor * _along_last(params["scale"], x)
        return x + _along_last(params["bias"], x), state

    return Layer(name, make, apply)


NORMS: Mapping[str, Callable[..., Layer]] = {"batch": _batch_norm, "layer": _layer_norm}


def norm(name: str, size: int, *, choice: Any) -> Layer | None:
    """Normalisation layer over `size` features or channels by catalogue name; None for `none`."""
    kind, options = pick("norm", choice)
    return None if kind == "none" else NORMS[kind](name, size, **options)


def dropout(name: str) -> Layer:
    """Inverted dropout: in training each entry is zero with probability `hypers["dropout"]`, the rest is scaled up.

    Without `dropout` among the hypers, or at evaluation, it is not there at all. The rate may be traced; it is rounded
    to a multiple of 2^-16, and the scale is exact for the rounded rate.

    Source:
        Srivastava et al. 2014, Dropout: a simple way to prevent neural networks from overfitting.
    """

    def apply(params: Params, state: State, x: Array, call: Call) -> tuple[Array, State]:
        if not call.is_training or "dropout" not in call.hypers:
            return x, state
        if call.key is None:
            message = "dropout needs a key in training, got None. Give apply(..., key=...)."
            raise ValueError(message)
        keep = jnp.round((1.0 - call.hypers["dropout"]) * 65536.0)  # of 2^16 equally likely draws
        # 16 random bits per entry cost half of the 32 that a uniform number takes.
        bits = jax.random.bits(layer_key(call.key, name), x.shape, "uint16").astype(jnp.int32)
        scale = 65536.0 / jnp.maximum(keep, 1.0)
        return jnp.where(bits < keep.astype(jnp.int32), x * scale, 0.0), state

    return Layer(name, None, apply)


@jax.custom_vjp
def max_pool(x: Array) -> Array:
    """Largest value of each 2 x 2 window, [batch, height, width, channel]; an odd last row or column is left out.

    The gradient goes to the first of several equal largest values. Forward and backward together take a tenth of the
    time of `jnp.max` over reshaped windows on CPUs, and what is kept for the gradient is one byte per window.
    """
    return _pool_forward(x)[0]


def _pool_forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    height, width = x.shape[1] // 2, x.shape[2] // 2
    windows = x[:, : 2 * height, : 2 * width]
    windows = windows.reshape(x.shape[0], height, 2, width, 2, x.shape[3])
    a, b = windows[:, :, 0, :, 0], windows[:, :, 0, :, 1]
    c, d = windows[:, :, 1, :, 0], windows[:, :, 1, :, 1]
    upper, lower = jnp.maximum(a, b), jnp.maximum(c, d)
    largest = jnp.maximum(upper, lower)
    place = jnp.where(
        largest == upper, jnp.where(a == largest, 0, 1), jnp.where(c == largest, 2, 3)
    )
    shape_only = jnp.zeros((0, *x.shape[1:]), x.dtype)
    return largest, (place.astype(jnp.int8), shape_only)


def _pool_backward(saved: tuple[Array, Array], grad: Array) -> tuple[Array]:
    place, shape_only = saved
    batch, height, width, channels = grad.shape
    shape = (1, 1, 2, 1, 2, 1)
    row = jax.lax.broadcasted_iota(jnp.int8, shape, 2)
    column = jax.lax.broadcasted_iota(jnp.int8, shape, 4)
    is_source = place[:, :, None, :, None] == 2 * row + column
    spread = jnp.where(is_source, grad[:, :, None, :, None], 0)
    spread = spread.reshape(batch, 2 * height, 2 * width, channels)
    rows, columns = shape_only.shape[1] - 2 * height, shape_only.shape[2] - 2 * width
    return (jnp.pad(spread, ((0, 0), (0, rows), (0, columns), (0, 0))),)


max_pool.defvjp(_pool_forward, _pool_backward)


def flatten(x: Array) -> Array:
    """[batch, ...] to [batch, features]."""
    return x.reshape(x.shape[0], -1)


def embedding_width(cardinality: int) -> int:
    """Entries of the vector that stands for a category: half as many as there are codes, at most 50."""
    return max(1, min(50, (cardinality + 1) // 2))


def embeddings(name: str, cardinalities: tuple[int, ...], *, num_numeric: int) -> Layer:
    """Replace category codes by learned vectors.

    Args:
        name: Name among the parameters; each category has its own table there.
        cardinalities: Number of codes of each category; a code beyond is taken as the last one.
        num_numeric: Number of leading numeric entries, which stay as they are.

    Returns:
        A layer from [batch, num_numeric + categories] to [batch, num_numeric + sum of widths].
    """
    sizes = tuple((count, embedding_width(count)) for count in cardinalities)

    def make(key: Array) -> tuple[Params, State]:
        tables = {}
        for index, size in enumerate(sizes):
            draw = jax.random.normal(jax.random.fold_in(key, index), size, jnp.float32)
            tables[f"table_{index}"] = draw / size[1] ** 0.5
        return tables, {}

    def apply(params: Params, state: State, x: Array, call: Call) -> tuple[Array, State]:
        pieces = [x[:, :num_numeric]]
        codes = x[:, num_numeric:].astype(jnp.int32)
        for index, (count, _) in enumerate(sizes):
            code = jnp.clip(codes[:, index], 0, count - 1)
            table = params[f"table_{index}"]
            if count <= ONE_HOT_UP_TO:
                pieces.append(jax.nn.one_hot(code, count, dtype=table.dtype) @ table)
            else:
                pieces.append(jnp.take(table, code, axis=0, mode="clip"))
        return jnp.concatenate(pieces, axis=1), state

    return Layer(name, make, apply)
