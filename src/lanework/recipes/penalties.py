"""Penalties on the weights, decoupled decay, the proximal step of L1, and max-norm.

Must not import `lanework.models`, `lanework.data` or anything above.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from lanework.recipes.choices import Array, Hypers

PyTree: TypeAlias = Any

# Last names of parameters that no penalty touches: biases, scale and shift of normalisation layers, and the learned
# slopes of PReLU (He et al. 2015, https://arxiv.org/abs/1502.01852, section 2.1: decay would push them to ReLU).
EXEMPT_LEAVES = frozenset(
    {
        "bias",
        "b",
        "scale",
        "offset",
        "shift",
        "beta",
        "gamma",
        "gain",
        "slope",
        "negative_slope",
    }
)


def exempt(path: tuple[Any, ...]) -> bool:
    """Whether the parameter at this path is left out of penalties and decay.

    Biases, the parameters of normalisation layers and learned slopes are, told by the last name of the path.

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


def soft_threshold(params: PyTree, amount: Any) -> PyTree:
    """Proximal step of an L1 penalty: `w = sign(w) max(|w| - amount, 0)` for weights that are not exempt.

    Taken after each step of gradient descent on the loss without the penalty, with `amount = learning_rate * l1`, it
    descends on loss + l1 sum |w| and sets weights to exactly zero (ISTA). After rules that scale each weight's step
    (Adam and its like), the amount is no longer the one that belongs to that step: zeros are as exact, but the strength
    is not that of the penalty.

    Args:
        params: The weights after the step.
        amount: Learning rate (as scheduled) times strength, at least 0; may be traced. 0 changes nothing.

    Returns:
        The weights. What is not a number stays visible.

    Example:
        >>> import jax.numpy as jnp
        >>> params = {"kernel": jnp.array([0.5, -0.1, -2.0]), "bias": jnp.array([0.1])}
        >>> found = soft_threshold(params, 0.25)
        >>> found["kernel"], found["bias"]
        (Array([ 0.25,  0.  , -1.75], dtype=float32), Array([0.1], dtype=float32))

    Source:
        Daubechies, Defrise and De Mol 2004, https://arxiv.org/abs/math/0307152; Duchi and Singer 2009, Efficient online
        and batch learning using forward backward splitting.
    """

    def shrunk(path: tuple[Any, ...], weight: Array) -> Array:
        if exempt(path):
            return weight
        by = jnp.asarray(amount, weight.dtype)
        return weight - jnp.clip(weight, -by, by)  # the same numbers as the formula, and never -0

    return jax.tree_util.tree_map_with_path(shrunk, params)


def limit_norm(params: PyTree, max_norm: Any) -> PyTree:
    """Max-norm: scale each unit's incoming weights down to an L2 norm of at most `max_norm`.

    The incoming weights of a unit are a kernel's entries over all axes but the last. Biases, parameters of normalisation
    layers and everything else with fewer than two axes stay as they are.

    Args:
        params: The weights after the step.
        max_norm: The most that a norm may be, above 0; may be traced. 3 to 4 is usual.

    Returns:
        The weights; a unit within the limit is untouched bit for bit, and NaN stays visible.

    Example:
        >>> import jax.numpy as jnp
        >>> limit_norm({"kernel": jnp.array([[3.0, 0.1], [4.0, 0.2]])}, 1.0)["kernel"]
        Array([[0.6, 0.1],
               [0.8, 0.2]], dtype=float32)

    Source:
        Srebro, Rennie and Jaakkola 2005, Maximum-margin matrix factorization; Srivastava et al. 2014, Dropout, section
        5.1, https://jmlr.org/papers/v15/srivastava14a.html.
    """

    def limited(path: tuple[Any, ...], weight: Array) -> Array:
        if exempt(path) or weight.ndim < 2:
            return weight
        most = jnp.asarray(max_norm, weight.dtype)
        axes = tuple(range(weight.ndim - 1))
        norm = jnp.sqrt(jnp.sum(jnp.square(weight), axis=axes, keepdims=True))
        return weight * jnp.where(norm <= most, 1.0, most / norm).astype(weight.dtype)

    return jax.tree_util.tree_map_with_path(limited, params)
