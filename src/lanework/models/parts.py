"""Activations by catalogue name (initialisers: `inits`).

Must not import `lanework.recipes`, `lanework.data` or anything above; imports no Flax.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from lanework import own_code
from lanework.models.base import Array, pick, refuse
from lanework.models.inits import INITS, OUTPUT_INIT, Init, initializer

__all__ = [
    "ACTIVATIONS",
    "INITS",
    "MONOTONE",
    "OUTPUT_INIT",
    "Activation",
    "Init",
    "activation",
    "initializer",
    "pick",
]

Activation: TypeAlias = Callable[[Array], Array]


def _leaky_relu(x: Array, *, slope: Any) -> Array:
    return jnp.where(x > 0, x, slope * x)


ACTIVATIONS: Mapping[str, Callable[..., Array]] = {
    "identity": lambda x: x,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": _leaky_relu,
    "prelu": _leaky_relu,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "gelu": partial(jax.nn.gelu, approximate=True),
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "softmax": jax.nn.softmax,
}
# Never falling: the largest of a window may be taken before the activation, for a quarter of the work. (PReLU is not among
# them: a slope may be learned to be negative.)
MONOTONE = frozenset(
    {"identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "softplus"}
)


def activation(value: Any) -> Activation:
    """The activation of that name or mapping (`{name: leaky_relu, slope: 0.2}`); `none` is the identity.

    An own one is a function `x -> x` with its options as keywords, `file.py:name`.

    Raises:
        SpecError: For PReLU, whose slopes are learned: it is a layer (`layers.activation`), and cannot stand where a network
            has no place for parameters (inside a recurrent cell, after the output).
    """
    name, options = pick("activation", value)
    if name in ("none", "identity"):
        return ACTIVATIONS["identity"]
    if name == "prelu":
        refuse(
            "model",
            "the activation must have no parameters here, got prelu, which learns a slope per channel. Use leaky_relu.",
        )
    own = own_code.is_own(name)
    function = own_code.load_function(name, path="model.activation") if own else ACTIVATIONS[name]
    return partial(function, **options) if options else function
