"""Normalisation: of what a layer gives (batch, layer, group, instance, RMS) and of its weights (weight norm, standardisation).

Must not import `lanework.recipes`, `lanework.data` or anything above; imports no Flax.

What a sample's statistics are taken over follows from the shape: all features of [batch, features]; height, width and
channels of an image [batch, height, width, channel]; of a sequence [batch, time, feature] the features of each step alone,
so that no step sees a later one or the padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lanework.models.base import Array, Call, Layer, Params, State, pick, refuse

SEQUENCE = 3  # axes of [batch, time, feature]
BATCH_OF_ONE = (
    "must be >= 2 with batch normalisation, got 1: a batch of one has no variance. "
    "Use model.norm: layer or group, which look at each sample alone, or a larger batch."
)


def along_last(vector: Array, x: Array) -> Array:
    """A vector over the last axis of x, with axes of size 1 in front."""
    return vector.reshape((1,) * (x.ndim - 1) + vector.shape)


def _scale_and_shift(size: int) -> Params:
    return {"scale": jnp.ones((size,)), "bias": jnp.zeros((size,))}


def _scaled(params: Params, x: Array) -> Array:
    x = x * along_last(params["scale"], x)
    return x + along_last(params["bias"], x) if "bias" in params else x


def _inner_axes(x: Array) -> tuple[int, ...]:
    """Axes over which one sample (of a sequence: one step) is normalised."""
    return (x.ndim - 1,) if x.ndim == SEQUENCE else tuple(range(1, x.ndim))


def _standardised(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    centred = x - jnp.mean(x, axes, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axes, keepdims=True) + eps)


def _batch_norm(name: str, size: int, *, momentum: float, eps: float) -> Layer:
    """Batch normalisation over all axes but the last; samples that only fill the last batch take part.

    So a last batch in which a single sample counts has the statistics of a whole one.
    """

    def make(key: Array) -> tuple[Params, State]:
        return _scale_and_shift(size), {"mean": jnp.zeros((size,)), "var": jnp.ones((size,))}

    def apply(params: Params, state: State, x: Array, call: Call) -> tuple[Array, State]:
        if call.is_training:
            if x.shape[0] == 1:
                refuse("train.batch_size", BATCH_OF_ONE)
            axes = tuple(range(x.ndim - 1))
            mean = jnp.mean(x, axes)
            var = jnp.mean(jnp.square(x - along_last(mean, x)), axes)
            state = {
                "mean": momentum * state["mean"] + (1 - momentum) * jax.lax.stop_gradient(mean),
                "var": momentum * state["var"] + (1 - momentum) * jax.lax.stop_gradient(var),
            }
        else:
            mean, var = state["mean"], state["var"]
        factor = params["scale"] * jax.lax.rsqrt(var + eps)
        shift = params["bias"] - mean * factor
        return x * along_last(factor, x) + along_last(shift, x), state

    return Layer(name, make, apply)


def _of_sample(
    name: str, size: int, function: Callable[[Array], Array], *, has_bias: bool = True
) -> Layer:
    """A normalisation that looks at each sample alone, then a learned scale and shift per feature or channel."""

    def make(key: Array) -> tuple[Params, State]:
        params = _scale_and_shift(size)
        return (params if has_bias else {"scale": params["scale"]}), {}

    def apply(params: Params, state: State, x: Array, call: Call) -> tuple[Array, State]:
        return _scaled(params, function(x)), state

    return Layer(name, make, apply)


def _layer_norm(name: str, size: int, *, eps: float) -> Layer:
    """Layer normalisation over all axes of a sample, with one scale and shift per feature or channel."""
    return _of_sample(name, size, lambda x: _standardised(x, _inner_axes(x), eps))


def num_groups(size: int, groups: int) -> int:
    """Groups of at least two channels each, as many as divide them, at most `groups`.

    Example:
        >>> num_groups(64, 8), num_groups(10, 8), num_groups(7, 8)
        (8, 5, 1)
    """
    fitting = [n for n in range(1, groups + 1) if size % n == 0 and size // n >= min(2, size)]
    return max(fitting, default=1)


def _group_norm(name: str, size: int, *, groups: int, eps: float) -> Layer:
    """Group normalisation: like layer normalisation, for each of some groups of channels alone."""
    count = num_groups(size, groups)

    def normalise(x: Array) -> Array:
        grouped = x.reshape(*x.shape[:-1], count, size // count)
        inner = () if x.ndim == SEQUENCE else tuple(range(1, x.ndim - 1))
        return _standardised(grouped, (*inner, x.ndim), eps).reshape(x.shape)

    return _of_sample(name, size, normalise)


def _instance_norm(name: str, size: int, *, eps: float) -> Layer:
    """Instance normalisation: each channel of each image over its pixels."""

    def normalise(x: Array) -> Array:
        if x.ndim <= SEQUENCE or math.prod(x.shape[1:-1]) == 1:
            refuse(
                "model.norm",
                f"instance must be over the pixels of feature maps, got values of shape [batch, "
                f"{', '.join(map(str, x.shape[1:]))}] at {name}, where there is nothing to average. Use layer or group.",
            )
        return _standardised(x, tuple(range(1, x.ndim - 1)), eps)

    return _of_sample(name, size, normalise)


def _rms_norm(name: str, size: int, *, eps: float) -> Layer:
    """RMS normalisation: divide by the root mean square, without centring; a learned scale and no shift."""

    def normalise(x: Array) -> Array:
        square = jnp.mean(jnp.square(x), _inner_axes(x), keepdims=True)
        return x * jax.lax.rsqrt(square + eps)

    return _of_sample(name, size, normalise, has_bias=False)


# Of what a layer gives, by catalogue name.
OUTPUT_NORMS: Mapping[str, Callable[..., Layer]] = {
    "batch": _batch_norm,
    "layer": _layer_norm,
    "group": _group_norm,
    "instance": _instance_norm,
    "rms": _rms_norm,
}


class WeightForm(NamedTuple):
    """How the weights of a layer are written.

    Attributes:
        make: From drawn weights (outputs last) to what is learned; it always holds `kernel`.
        kernel: From what is learned to the weights that act.
    """

    make: Callable[[Array], Params]
    kernel: Callable[[Params], Array]


def _unit_norm(kernel: Array) -> Array:
    """L2 norm of each unit's incoming weights, with axes of size 1 in front."""
    return jnp.sqrt(jnp.sum(jnp.square(kernel), tuple(range(kernel.ndim - 1)), keepdims=True))


def _centred(kernel: Array) -> Array:
    return kernel - jnp.mean(kernel, tuple(range(kernel.ndim - 1)), keepdims=True)


def _directed(params: Params, direction: Array, eps: float) -> Array:
    # The root of the sum and not the norm itself: its gradient is finite also where all weights are zero.
    square = jnp.sum(jnp.square(direction), tuple(range(direction.ndim - 1)), keepdims=True)
    return along_last(params["gain"], direction) * direction * jax.lax.rsqrt(square + eps)


def _weight_norm(*, eps: float) -> WeightForm:
    """Weight normalisation W = gain v / ||v|| for each unit; the gain starts at ||v||, so that W starts as drawn."""

    def make(kernel: Array) -> Params:
        return {"kernel": kernel, "gain": _unit_norm(kernel).reshape(-1)}

    return WeightForm(make, lambda params: _directed(params, params["kernel"], eps))


def _weight_standardisation(*, then: str, eps: float) -> WeightForm:
    """Weight standardisation W = gain (v - mean) / ||v - mean|| for each unit; W starts as drawn, centred."""
    del then  # the normalisation after it, see `norm`

    def make(kernel: Array) -> Params:
        return {"kernel": kernel, "gain": _unit_norm(_centred(kernel)).reshape(-1)}

    return WeightForm(make, lambda params: _directed(params, _centred(params["kernel"]), eps))


WEIGHT_NORMS: Mapping[str, Callable[..., WeightForm]] = {
    "weight": _weight_norm,
    "weight_standardisation": _weight_standardisation,
}
PLAIN = WeightForm(lambda kernel: {"kernel": kernel}, lambda params: params["kernel"])
NORMS: Mapping[str, Callable[..., Any]] = {**OUTPUT_NORMS, **WEIGHT_NORMS}


def output_norm(choice: Any) -> str:
    """Name of the normalisation that follows the weights, `none` where there is none."""
    kind, options = pick("norm", choice)
    if kind in WEIGHT_NORMS:
        return str(options.get("then", "none"))
    return kind


def norm(name: str, size: int, *, choice: Any) -> Layer | None:
    """Normalisation layer over `size` features or channels by catalogue name; None where none follows the weights."""
    kind, options = pick("norm", choice)
    if kind in WEIGHT_NORMS:
        kind, options = pick("norm", options.get("then", "none"))
    return None if kind == "none" else OUTPUT_NORMS[kind](name, size, **options)


def weight_form(choice: Any) -> WeightForm:
    """How the weights before a normalisation of that name are written; as drawn for all but the weight norms."""
    kind, options = pick("norm", choice)
    return WEIGHT_NORMS[kind](**options) if kind in WEIGHT_NORMS else PLAIN
