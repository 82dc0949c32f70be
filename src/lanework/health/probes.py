"""Probes: per-layer statistics of one run, computed inside the compiled segment.

Owns pure functions from weights, gradients and updates to small arrays. They only read: a watched run trains
bit for bit like an unwatched one. Must not import `recipes`, `models`, `data` or anything above.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

PyTree: TypeAlias = Any

NAMES = ("grad_norm", "param_norm", "update_ratio")


def empty(layer_names: Sequence[str]) -> dict[str, jax.Array]:
    """The statistics before anything was seen: zeros, `{name: [layer]}`."""
    return {name: jnp.zeros((len(layer_names),), jnp.float32) for name in NAMES}


def _norm(tree: PyTree) -> jax.Array:
    total = jnp.zeros((), jnp.float32)
    for leaf in jax.tree.leaves(tree):
        total = total + jnp.sum(jnp.square(leaf.astype(jnp.float32)))
    return jnp.sqrt(total)


def norms(
    layer_names: Sequence[str], params: PyTree, grads: PyTree, updates: PyTree
) -> dict[str, jax.Array]:
    """L2 norms by layer of one step.

    Args:
        layer_names: First-level names of the parameters, in forward order.
        params: Weights before the step.
        grads: Gradients of the step, as the rule saw them.
        updates: What the step added to the weights.

    Returns:
        `grad_norm`, `param_norm` and `update_ratio` = ||update|| / (||weights|| + 1e-12), each [layer]. About 1e-3 is
        usual for the ratio. Non-finite values stay visible.

    Source:
        CS231n notes, "Neural Networks Part 3", section "Ratio of weights:updates".
    """
    weights = jnp.stack([_norm(params[name]) for name in layer_names])
    return {
        "grad_norm": jnp.stack([_norm(grads[name]) for name in layer_names]),
        "param_norm": weights,
        "update_ratio": jnp.stack([_norm(updates[name]) for name in layer_names])
        / (weights + 1e-12),
    }
