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


def _norm(tree: PyTree) -> jax.Array:
    total = jnp.zeros((), jnp.float32)
    for leaf in jax.tree.leaves(tree):
        total = total + jnp.sum(jnp.square(leaf.astype(jnp.float32)))
    return jnp.sqrt(total)


def layer_norms(layer_names: Sequence[str], tree: PyTree) -> jax.Array:
    """L2 norm of everything below each first-level name, [layer]; non-finite values stay visible."""
    return jnp.stack([_norm(tree[name]) for name in layer_names])


def norms(
    layer_names: Sequence[str], before: PyTree, after: PyTree, grads: PyTree
) -> dict[str, jax.Array]:
    """What is recorded of the last step of a segment.

    Args:
        layer_names: First-level names of the parameters, in forward order.
        before: Weights before the step.
        after: Weights after it.
        grads: Gradients as the rule saw them.

    Returns:
        `grad_norm`, `param_norm` (before the step) and `update_ratio` = ||update|| / (||weights|| + 1e-12), each [layer].
        About 1e-3 is usual for the ratio. Non-finite values stay visible.

    Source:
        CS231n notes, "Neural Networks Part 3", section "Ratio of weights:updates".
    """
    update = layer_norms(layer_names, jax.tree.map(jnp.subtract, after, before))
    param_norm = layer_norms(layer_names, before)
    return {
        "grad_norm": layer_norms(layer_names, grads),
        "param_norm": param_norm,
        "update_ratio": update / (param_norm + 1e-12),
    }
