"""Penalties on the weights, decoupled decay, and clipping of gradients.

Must not import `lanework.models`, `lanework.data` or anything above.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from lanework.recipes.choices import Array, Hypers

PyTree: TypeAlias = Any

# Last names of parameters that no penalty touches: biases, and scale and shift of normalisation layers.
EXEMPT_LEAVES = frozenset({"bias", "b", "scale", "offset", "shift", "beta", "gamma", "gain"})


def exempt(path: tuple[Any, ...]) -> bool:
    """Whether the parameter at this path is left out of penalties and decay.

    Biases and the parameters of normalisation layers are, told by the last name of the path.

    Args:
        path: Key path of JAX, or plain names.

    Example:
        >>> exempt(("dense_0", "bias")), exempt(("dense_0", "kernel"))
        (True, False)
    """
    return bool(path) and _name(path[-1]) in EXEMPT_LEAVES


def _name(entry: Any) -> str:
    if isinstance(entry, jax.tree_util.DictKey):
        return str(entry.key)
    return str(entry.name) if isinstance(entry, jax.tree_util.GetAttrKey) else str(entry)


def penalty_gradient(params: PyTree, hypers: Hypers) -> PyTree:
    """Gradient of `l2/2 sum w^2 + l1 sum |w|` over the weights that are not exempt (elsewhere zeros).

    Args:
        params: The weights.
        hypers: Strengths `l2` and `l1`; the one that is not there costs nothing.

    Returns:
        What is to be added to the gradient of the loss, in the shape of the weights. The gradient of |w| at 0 is 0.
    """

    def gradient(path: tuple[Any, ...], weight: Array) -> Array:
        terms = []
        if "l2" in hypers and not exempt(path):
            terms.append(hypers["l2"] * weight)
        if "l1" in hypers and not exempt(path):
            terms.append(hypers["l1"] * jnp.sign(weight))
        return sum(terms[1:], start=terms[0]) if terms else jnp.zeros_like(weight)

    return jax.tree_util.tree_map_with_path(gradient, params)


def penalty(params: PyTree, hypers: Hypers) -> Array:
    """The penalty itself, `l2/2 sum w^2 + l1 sum |w|` over the weights that are not exempt (a scalar)."""
    total = jnp.zeros(())
    for path, weight in jax.tree_util.tree_leaves_with_path(params):
        if not exempt(path):
            total = total + hypers.get("l2", 0.0) / 2 * jnp.sum(jnp.square(weight))
            total = total + hypers.get("l1", 0.0) * jnp.sum(weight * jnp.sign(weight))
    return total


def decay_update(updates: PyTree, params: PyTree, hypers: Hypers) -> PyTree:
    """Add decoupled decay to the updates: `- learning_rate * weight_decay * w` for weights that are not exempt.

    Args:
        updates: What the rule adds to the weights.
        params: The weights before the step.
        hypers: `learning_rate` (as scheduled) and `weight_decay`.

    Returns:
        The updates with the decay.

    Source:
        Loshchilov and Hutter 2017, Decoupled weight decay regularization, https://arxiv.org/abs/1711.05101.
    """
    strength = hypers["learning_rate"] * hypers["weight_decay"]

    def decayed(path: tuple[Any, ...], update: Array, weight: Array) -> Array:
        return update if exempt(path) else update - strength * weight

    return jax.tree_util.tree_map_with_path(decayed, updates, params)


def clip_by_global_norm(grads: PyTree, max_norm: Any) -> tuple[PyTree, Array]:
    """Scale a whole gradient down to an L2 norm of at most `max_norm`.

    Args:
        grads: Gradients.
        max_norm: The threshold, above 0; may be traced.

    Returns:
        The gradients, untouched bit for bit when their norm is within the threshold, and the norm before clipping. A
        norm that is not finite stays visible in both.

    Source:
        Pascanu, Mikolov and Bengio 2013, https://arxiv.org/abs/1211.5063.
    """
    norm = jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(grads)))
    scale = jnp.where(norm <= max_norm, 1.0, max_norm / norm)
    return jax.tree.map(lambda leaf: leaf * scale, grads), norm
