"""Layers as pure functions: dense, convolution, activation, pooling, embedding (normalisation and dropout: `norms`, `dropout`).

Must not import `lanework.recipes`, `lanework.data` or anything above; imports no Flax.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lanework.models import parts
from lanework.models.base import Array, Call, Layer, Params, State, plain
from lanework.models.conv import convolve
from lanework.models.dropout import dropout
from lanework.models.norms import NORMS, PLAIN, WeightForm, norm
from lanework.models.parts import Init

__all__ = [
    "NORMS",
    "ONE_HOT_UP_TO",
    "activation",
    "add_bias",
    "convolution",
    "dense",
    "dropout",
    "embedding_width",
    "embeddings",
    "flatten",
    "max_pool",
    "norm",
]

ONE_HOT_UP_TO = 128  # codes: below, a product with one-hot rows beats gather, whose gradient is a slow scatter on CPUs


def dense(
    name: str,
    sizes: tuple[int, int],
    *,
    init: Init,
    has_bias: bool = True,
    form: WeightForm = PLAIN,
) -> Layer:
    """Fully connected layer x W + b.

    Args:
        name: Name among the parameters.
        sizes: Inputs and outputs.
        init: Initialiser of the weights; the bias starts at 0.
        has_bias: Whether there is a bias.
        form: How the weights are written (weight normalisation and standardisation).

    Returns:
        A layer from [batch, ..., inputs] to [batch, ..., outputs].
    """

    def make(key: Array) -> tuple[Params, State]:
        params = form.make(init(key, sizes))
        return (params | {"bias": jnp.zeros((sizes[1],))} if has_bias else params), {}

    def apply(params: Params, state: State, x: Array, call: Call) -> tuple[Array, State]:
        x = x @ form.kernel(params)
        if not has_bias:
            return x, state
        return x + params["bias"].reshape((1,) * (x.ndim - 1) + (sizes[1],)), state

    return Layer(name, make, apply)


def convolution(
    name: str,
    sizes: tuple[int, int],
    *,
    kernel: int,
    init: Init,
    has_bias: bool = True,
    is_pooled: bool = False,
    form: WeightForm = PLAIN,
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
        form: How the weights are written (weight normalisation and standardisation).

    Returns:
        A layer from [batch, height, width, in] to [batch, height, width, out], or half of each side.
    """

    def make(key: Array) -> tuple[Params, State]:
        params = form.make(init(key, (kernel, kernel, *sizes)))
        return (params | {"bias": jnp.zeros((sizes[1],))} if has_bias else params), {}

    def apply(params: Params, state: State, x: Array, call: Call) -> tuple[Array, State]:
        x = convolve(x, form.kernel(params))
        x = max_pool(x) if is_pooled else x
        return (add_bias(x, params["bias"]) if has_bias else x), state

    return Layer(name, make, apply)


def activation(name: str, size: int, *, choice: Any) -> Layer:
    """The activation of that name or mapping as a layer, with a learned slope per feature or channel where it is PReLU.

    Args:
        name: Name of the layer.
        size: Features or channels that come in.
        choice: Name or mapping of the catalogue.
    """
    kind, options = parts.pick("activation", choice)
    if kind != "prelu":
        return plain(name, parts.activation(choice))

    def make(key: Array) -> tuple[Params, State]:
        return {"slope": jnp.full((size,), float(options["start"]))}, {}

    def apply(params: Params, state: State, x: Array, call: Call) -> tuple[Array, State]:
        slope = params["slope"].reshape((1,) * (x.ndim - 1) + (size,))
        return parts.ACTIVATIONS["prelu"](x, slope=slope), state

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
