"""Noise on gradients, weights and inputs, drawn anew in each training step.

Pure functions of a key; whoever calls them hands out keys and leaves them out at evaluation. Must not import
`lanework.models`, `lanework.data` or anything above.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from lanework.recipes.choices import Array
from lanework.recipes.penalties import exempt

PyTree: TypeAlias = Any


def gradient_noise(
    grads: PyTree, key: Array, *, step: Any, scale: Any, decay: Any = 0.55
) -> PyTree:
    """Add Gaussian noise that fades over training: variance `scale^2 / (1 + t)^decay` at step t.

    Args:
        grads: Gradients.
        key: Key of this step.
        step: t, counted from 0; may be traced.
        scale: Standard deviation at the first step, in units of the gradient, at least 0; may be traced. The paper's eta
            is its square (0.01, 0.3 or 1).
        decay: How fast the variance falls; may be traced.

    Returns:
        The gradients with noise; exactly the gradients where the scale is 0.

    Source:
        Neelakantan et al. 2015, Adding gradient noise improves learning for very deep networks,
        https://arxiv.org/abs/1511.06807.
    """

    def noisy(leaf: Array, key: Array) -> Array:
        time = jnp.asarray(step, leaf.dtype)
        return _noisy(leaf, key, scale * jnp.power(1 + time, -jnp.asarray(decay, leaf.dtype) / 2))

    leaves, structure = jax.tree.flatten(grads)
    keys = jax.random.split(key, max(len(leaves), 1))
    return jax.tree.unflatten(
        structure, [noisy(leaf, key) for leaf, key in zip(leaves, keys, strict=False)]
    )


def weight_noise(params: PyTree, key: Array, scale: Any) -> PyTree:
    """Weights with Gaussian noise, of which the gradient is taken; the step is then made from the weights without it.

    Args:
        params: The weights. Biases and what else is exempt from penalties stay as they are.
        key: Key of this step.
        scale: Standard deviation, in units of the weights, at least 0; may be traced.

    Returns:
        The weights with noise; exactly the weights where the scale is 0.

    Source:
        Graves 2011, Practical variational inference for neural networks; Jim, Giles and Horne 1996, An analysis of noise
        in recurrent neural networks.
    """
    named, structure = jax.tree_util.tree_flatten_with_path(params)
    keys = jax.random.split(key, max(len(named), 1))
    return jax.tree.unflatten(
        structure,
        [
            leaf if exempt(path) else _noisy(leaf, key, scale)
            for (path, leaf), key in zip(named, keys, strict=False)
        ],
    )


def input_noise(x: Array, key: Array, scale: Any, *, num_numeric: int | None = None) -> Array:
    """Inputs with Gaussian noise.

    Args:
        x: Inputs, [batch, ...]. Whole numbers (codes, tokens) stay as they are.
        key: Key of this step.
        scale: Standard deviation, in units of the prepared inputs, at least 0; may be traced.
        num_numeric: How many leading entries of the last axis are numbers; the codes of categories behind them stay as
            they are. None: all are.

    Returns:
        The inputs with noise; exactly the inputs where the scale is 0.

    Source:
        Sietsma and Dow 1991, Creating artificial neural networks that generalize; Bishop 1995, Training with noise is
        equivalent to Tikhonov regularization.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x
    if num_numeric is None or num_numeric >= x.shape[-1]:
        return _noisy(x, key, scale)
    numbers, codes = x[..., :num_numeric], x[..., num_numeric:]
    return jnp.concatenate([_noisy(numbers, key, scale), codes], axis=-1)


def _noisy(leaf: Array, key: Array, scale: Any) -> Array:
    """Leaf + scale * standard normal, in the leaf's type."""
    # Drawn in a row, then shaped: the same numbers, and XLA compiles it in a fraction of the time.
    drawn = jax.random.normal(key, (leaf.size,), leaf.dtype).reshape(leaf.shape)
    return leaf + jnp.asarray(scale, leaf.dtype) * drawn
