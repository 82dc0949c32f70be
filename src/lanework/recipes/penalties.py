"""Penalties on the weights and clipping of gradients.

Must not import `lanework.models`, `lanework.data` or anything above.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax

from lanework.recipes.choices import Hypers

PyTree: TypeAlias = Any

EXEMPT_LEAVES = frozenset({"bias", "b", "scale", "offset", "beta", "gamma", "negative_slope"})


def _name(entry: Any) -> str:
    """The plain text of one entry of a key path of JAX, or of a plain string or index."""
    for attribute in ("key", "name", "idx"):
        value = getattr(entry, attribute, None)
        if value is not None:
            return str(value)
    return str(entry)


def exempt(path: tuple[Any, ...]) -> bool:
    """Whether the parameter at this path is left out of penalties and decay (biases, norm parameters)."""
    return bool(path) and _name(path[-1]) in EXEMPT_LEAVES


def penalty_gradient(params: PyTree, hypers: Hypers) -> PyTree:
    """Gradient of `l2/2 sum w^2 + l1 sum |w|` over the weights that are not exempt (zeros elsewhere)."""

    def gradient(path: tuple[Any, ...], weight: jax.Array) -> jax.Array:
        total = jnp.zeros_like(weight)
        if exempt(path):
            return total
        if "l2" in hypers:
            total = total + hypers["l2"] * weight
        if "l1" in hypers:
            total = total + hypers["l1"] * jnp.sign(weight)
        return total

    return jax.tree_util.tree_map_with_path(gradient, params)


def decay_update(updates: PyTree, params: PyTree, hypers: Hypers) -> PyTree:
    """Add the decoupled decay `-learning_rate * weight_decay * w` to the updates of weights that are not exempt."""

    def decayed(path: tuple[Any, ...], update: jax.Array, weight: jax.Array) -> jax.Array:
        if exempt(path):
            return update
        return update - hypers["learning_rate"] * hypers["weight_decay"] * weight

    return jax.tree_util.tree_map_with_path(decayed, updates, params)


def clip_by_global_norm(grads: PyTree, max_norm: Any) -> tuple[PyTree, jax.Array]:
    """Scale gradients down to a global L2 norm of at most `max_norm`; gives the norm before clipping too."""
    norm = optax.tree.norm(grads)
    scale = jnp.where(norm > max_norm, max_norm / norm, 1.0)
    return jax.tree.map(lambda g: g * scale, grads), norm
