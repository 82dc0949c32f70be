"""Clipping of gradients: by global norm, by value, by layer, adaptively; and advice about the threshold.

Must not import `lanework.models`, `lanework.data` or anything above.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from lanework.recipes.choices import Array

PyTree: TypeAlias = Any

OFTEN = 0.5
"""Above this share of clipped steps the threshold sets the size of the steps instead of catching outliers."""
SELDOM = 0.01
"""Below this share the threshold hardly acts."""


def global_norm(grads: PyTree) -> Array:
    """L2 norm of all entries of a gradient taken together (a scalar); not finite where an entry is not."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(grads)))


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
    norm = global_norm(grads)
    scale = jnp.where(norm <= max_norm, 1.0, max_norm / norm)
    return jax.tree.map(lambda leaf: leaf * scale.astype(leaf.dtype), grads), norm


def clip_by_value(grads: PyTree, limit: Any) -> PyTree:
    """Cut each entry of a gradient to lie between `-limit` and `limit`: g = max(-c, min(c, g)).

    This changes the direction of the gradient, which clipping by a norm does not.

    Args:
        grads: Gradients.
        limit: c, above 0; may be traced.

    Returns:
        The gradients. NaN stays; an infinite entry becomes the limit, as the formula says.

    Example:
        >>> import jax.numpy as jnp
        >>> clip_by_value({"w": jnp.array([0.2, -3.0])}, 1.0)["w"]
        Array([ 0.2, -1. ], dtype=float32)

    Source:
        Mikolov 2012, Statistical language models based on neural networks (PhD thesis, Brno).
    """

    def cut(leaf: Array) -> Array:
        bound = jnp.asarray(limit, leaf.dtype)
        return jnp.clip(leaf, -bound, bound)

    return jax.tree.map(cut, grads)


def clip_by_layer(grads: Mapping[str, PyTree], max_norm: Any) -> dict[str, PyTree]:
    """Scale the gradient of each layer down to an L2 norm of at most `max_norm`.

    Args:
        grads: Gradients; each first-level entry (kernel and bias of a layer) is clipped on its own.
        max_norm: The threshold, above 0; may be traced.

    Returns:
        The gradients; a layer within the threshold is untouched bit for bit.

    Example:
        >>> import jax.numpy as jnp
        >>> found = clip_by_layer({"a": jnp.array([3.0, 4.0]), "b": jnp.array([0.5])}, 1.0)
        >>> found["a"], found["b"]
        (Array([0.6, 0.8], dtype=float32), Array([0.5], dtype=float32))

    Source:
        Pascanu, Mikolov and Bengio 2013, https://arxiv.org/abs/1211.5063, applied to one layer at a time.
    """
    return {name: clip_by_global_norm(layer, max_norm)[0] for name, layer in grads.items()}


def clip_adaptive(grads: PyTree, params: PyTree, clipping: Any, eps: float = 1e-3) -> PyTree:
    """Adaptive gradient clipping: no unit's gradient is larger than a share of that unit's weights.

    For each unit i, g_i is scaled by `min(1, clipping max(||w_i||, eps) / ||g_i||)`. A unit is what leads to one output:
    a column of a dense kernel, all axes but the last of a convolution kernel; a vector (bias, scale) is one unit, so
    biases are clipped too, as in the authors' code. `optax.adaptive_grad_clip` does it; for arrays of three axes it
    takes the norm over the first one.

    The paper leaves the last linear layer out; here every layer is clipped. To follow it, clip the gradients without
    that layer.

    Args:
        grads: Gradients.
        params: The weights, in the same shape.
        clipping: The share, above 0; may be traced. The paper takes 0.01 for batches of 4096, more for smaller ones.
        eps: Least norm that a unit is taken to have, so that weights that start at zero can move.

    Returns:
        The gradients; a unit within its limit is untouched bit for bit, and NaN stays visible.

    Example:
        >>> import jax.numpy as jnp
        >>> grads = {"kernel": jnp.array([[3.0, 0.1], [4.0, 0.0]])}  # norms of the units: 5 and 0.1
        >>> params = {"kernel": jnp.array([[6.0, 2.0], [8.0, 0.0]])}  # 10 and 2
        >>> clip_adaptive(grads, params, 0.1)["kernel"]
        Array([[0.6, 0.1],
               [0.8, 0. ]], dtype=float32)

    Source:
        Brock, De, Smith and Simonyan 2021, https://arxiv.org/abs/2102.06171, section 4.
    """
    rule = optax.adaptive_grad_clip(clipping, eps)
    clipped, _ = rule.update(grads, rule.init(params), params)
    return jax.tree.map(lambda leaf, grad: leaf.astype(grad.dtype), clipped, grads)


def clip_advice(norms: npt.ArrayLike, threshold: float | None) -> str:
    """What the norms of the gradients say about the threshold, in words.

    Args:
        norms: Global norms before clipping, of any steps, runs or both; those that are not finite are counted and left
            out.
        threshold: `clip_norm` of the recipe; None where nothing was clipped.

    Returns:
        One to three sentences: the share of clipped steps, the 90th percentile of the norms, and what to do.

    Example:
        >>> clip_advice([1.0] * 90 + [20.0] * 10, 5.0)
        'clip_norm 5 clipped 10 of 100 steps (10 %); 9 of 10 norms were at most 2.9. The threshold catches the outliers; keep it.'

    Source:
        Pascanu, Mikolov and Bengio 2013, section 3.2: choose the threshold by the typical norms of a run.
    """
    given = np.asarray(norms, np.float64).ravel()
    finite = given[np.isfinite(given)]
    lost = given.size - finite.size
    left_out = f" {lost} of {given.size} norms were not finite and are left out." if lost else ""
    if not finite.size:
        return "No finite gradient norm was recorded, so no threshold can be suggested." + left_out
    typical = float(np.percentile(finite, 90))
    if threshold is None:
        return _advice_without(typical) + left_out
    clipped = int(np.sum(finite > threshold))
    share = clipped / finite.size
    facts = (
        f"clip_norm {threshold:.3g} clipped {clipped} of {finite.size} steps ({_percent(share)}); "
        f"9 of 10 norms were at most {typical:.2g}."
    )
    return f"{facts} {_advice_with(share, typical)}{left_out}"


def _advice_without(typical: float) -> str:
    facts = f"Nothing was clipped; 9 of 10 gradient norms were at most {typical:.2g}."
    if typical <= 0.0:
        return f"{facts} A threshold needs gradients above 0."
    return f"{facts} clip_norm: {typical:.2g} would clip the largest tenth of the steps."


def _advice_with(share: float, typical: float) -> str:
    if share > OFTEN:
        return (
            "With over half the steps clipped, the threshold sets the size of the steps: lower the learning rate, "
            f"or set clip_norm: {typical:.2g}."
        )
    if share < SELDOM:
        lower = f"; clip_norm: {typical:.2g} would clip a tenth of the steps" if typical > 0 else ""
        return f"The threshold hardly acts{lower}."
    return "The threshold catches the outliers; keep it."


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"
