"""Activations and initialisers by catalogue name.

Must not import `lanework.recipes`, `lanework.data` or anything above; imports no Flax.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp

from lanework.catalog import CATALOG
from lanework.models.base import Array, pick

Fan: TypeAlias = Literal["fan_in", "fan_avg"]
Distribution: TypeAlias = Literal["normal", "uniform"]
Activation: TypeAlias = Callable[[Array], Array]
# (key, shape) -> weights; the last two axes are inputs and outputs, those before are the window.
Init: TypeAlias = Callable[[Array, tuple[int, ...]], Array]

ACTIVATIONS: Mapping[str, Callable[..., Array]] = {
    "identity": lambda x: x,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": lambda x, *, slope: jnp.where(x > 0, x, slope * x),
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "gelu": partial(jax.nn.gelu, approximate=True),
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "softmax": jax.nn.softmax,
}
# Never falling: the largest of a window may be taken before the activation, for a quarter of the work.
MONOTONE = frozenset(
    {"identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "softplus"}
)


def _scaled(scale: float, mode: Fan, distribution: Distribution) -> Callable[..., Init]:
    def build() -> Init:
        make = jax.nn.initializers.variance_scaling(scale, mode, distribution)
        return lambda key, shape: jnp.asarray(make(key, shape, jnp.float32))

    return build


def _small_normal(*, std: float) -> Init:
    return lambda key, shape: std * jax.random.normal(key, shape, jnp.float32)


def _zeros() -> Init:
    return lambda key, shape: jnp.zeros(shape, jnp.float32)


# He, Xavier and LeCun "normal" are the plain normal distribution of the papers, not Flax's truncated one.
INITS: Mapping[str, Callable[..., Init]] = {
    "zeros": _zeros,
    "small_normal": _small_normal,
    "xavier_normal": _scaled(1.0, "fan_avg", "normal"),
    "xavier_uniform": _scaled(1.0, "fan_avg", "uniform"),
    "he_normal": _scaled(2.0, "fan_in", "normal"),
    "he_uniform": _scaled(2.0, "fan_in", "uniform"),
    "lecun_normal": _scaled(1.0, "fan_in", "normal"),
    "lecun_uniform": _scaled(1.0, "fan_in", "uniform"),
}
OUTPUT_INIT = "xavier_normal"


def activation(value: Any) -> Activation:
    """The activation of that name or mapping (`{name: leaky_relu, slope: 0.2}`); `none` is the identity."""
    name, options = pick("activation", value)
    if name in ("none", "identity"):
        return ACTIVATIONS["identity"]
    return partial(ACTIVATIONS[name], **options) if options else ACTIVATIONS[name]


def initializer(value: Any, *, activation: Any, is_output: bool = False) -> Init:
    """The initialiser of that name or mapping.

    Args:
        value: Name or mapping; `auto` suits the activation (He for the ReLU family, Xavier for tanh and sigmoid,
            LeCun for SELU) and gives the output layer, which has no activation, Xavier.
        activation: The activation that follows the layer.
        is_output: Whether it is the output layer.

    Returns:
        A function from key and shape to weights. Fans are counted over the window: n_in is the product of all axes
        but the last.
    """
    name, options = pick("init", value)
    if name == "auto":
        suited = CATALOG["activation"][pick("activation", activation)[0]].facts["init"]
        name = OUTPUT_INIT if is_output else suited
    return INITS[name](**options)
