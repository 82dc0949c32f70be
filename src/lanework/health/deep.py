"""What only a close look tells: signal and noise of gradients, whether they agree, and the sharpness of the loss.

Owns pure functions of a loss, weights and a few samples. They cost gradients and Hessian products of their own, so they are made
at chosen records and not at every step. Must not import `recipes`, `models`, `data` or anything above.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import eigh_tridiagonal

from lanework.health.probes import layer_norms

__all__ = ["BY_LAYER", "NUM_PARTS", "WHOLE", "Parts", "look", "num_samples", "sharpness", "summed"]

Array: TypeAlias = jax.Array
PyTree: TypeAlias = Any
Loss: TypeAlias = Callable[[PyTree, PyTree], Array]
"""From weights and samples [sample, ...] to a mean loss; always the same function."""

BY_LAYER = ("grad_snr", "batch_cosine", "record_cosine")
WHOLE = ("sharpness",)
"""What `look` tells of each layer, and of the network as a whole."""
NUM_PARTS = 8
MOST_SAMPLES = 64
ITERATIONS = 10  # of Lanczos: the largest eigenvalues of trained networks stand far out
TINY = 1e-30


class Parts(NamedTuple):
    """Sums over the gradients g of some parts of a batch.

    Attributes:
        total: Sum of g, a tree like the weights.
        units: Sum of g / |g|, where |g| is that of the layer.
        squares: Sum of |g|^2, [layer].
    """

    total: PyTree
    units: PyTree
    squares: Array


def num_samples(num_train: int) -> int:
    """How many samples are looked at: at most `MOST_SAMPLES`, and as many in each part."""
    return NUM_PARTS * max(1, min(MOST_SAMPLES, num_train) // NUM_PARTS)


def summed(loss: Loss, params: PyTree, samples: PyTree, *, layer_names: Sequence[str]) -> Parts:
    """Gradients of the `NUM_PARTS` parts of some samples, summed up one after the other.

    Args:
        loss: The loss.
        params: Weights, by layer.
        samples: Arrays [sample, ...], a multiple of `NUM_PARTS`.
        layer_names: First-level names of the weights.
    """
    parts = jax.tree.map(lambda x: x.reshape(NUM_PARTS, -1, *x.shape[1:]), samples)
    zero = jax.tree.map(jnp.zeros_like, params)
    sums = Parts(zero, zero, jnp.zeros((len(layer_names),)))

    def add(sums: Parts, part: PyTree) -> tuple[Parts, None]:
        grads = jax.grad(loss)(params, part)
        sizes = layer_norms(layer_names, grads)
        unit = {
            name: jax.tree.map(lambda g, size=size: g / (size + TINY).astype(g.dtype), grads[name])
            for name, size in zip(layer_names, sizes, strict=True)
        }
        total = jax.tree.map(jnp.add, sums.total, grads)
        units = {**sums.units, **jax.tree.map(jnp.add, {n: sums.units[n] for n in unit}, unit)}
        return Parts(total, units, sums.squares + jnp.square(sizes)), None

    return lax.scan(add, sums, parts)[0]


def look(
    loss: Loss,
    params: PyTree,
    samples: PyTree,
    before: PyTree,
    *,
    layer_names: Sequence[str],
    batch_size: int,
) -> tuple[dict[str, Array], PyTree]:
    """Look closely at a run.

    With G the mean of the gradients g of M parts of b samples and V their variance, `grad_snr` = max(0, |G|^2 - V / M) / (V b / B)
    is the squared signal of the gradient over the noise that a batch of B samples has: below 1 a step is mostly noise.
    `batch_cosine` is the mean cosine between gradients of two parts, `record_cosine` that between G and the G of the record before
    (NaN at the first): near -1 the run jumps from side to side, near 1 it goes straight on. `sharpness` is the largest eigenvalue of
    the Hessian; plain gradient descent is stable below 2 / rate.

    Args:
        loss: The loss.
        params: Weights, by layer.
        samples: Arrays [sample, ...], a multiple of `NUM_PARTS`; the same at every record.
        before: G at the record before, zeros at the first.
        layer_names: First-level names of the weights, in forward order.
        batch_size: B, samples of a training batch.

    Returns:
        `BY_LAYER`, each [layer], and `WHOLE`, each [1]; and G, for the next record.

    Source:
        McCandlish et al. 2018, https://arxiv.org/abs/1812.06162, appendix A.1; Cohen et al. 2021, https://arxiv.org/abs/2103.00065
    """
    sums = summed(loss, params, samples, layer_names=layer_names)
    mean = jax.tree.map(lambda g: g / NUM_PARTS, sums.total)
    size = layer_norms(layer_names, mean)
    noise = jnp.maximum(sums.squares - NUM_PARTS * jnp.square(size), 0.0) / (NUM_PARTS - 1)
    signal = jnp.maximum(jnp.square(size) - noise / NUM_PARTS, 0.0)
    part_size = jax.tree.leaves(samples)[0].shape[0] // NUM_PARTS
    agreeing = jnp.square(layer_norms(layer_names, sums.units))
    told = {
        "grad_snr": signal / (noise * part_size / batch_size),
        "batch_cosine": (agreeing - NUM_PARTS) / (NUM_PARTS * (NUM_PARTS - 1)),
        "record_cosine": _dots(layer_names, mean, before)
        / (size * layer_norms(layer_names, before)),
        "sharpness": sharpness(lambda at: loss(at, samples), params)[None],
    }
    return told, mean


def sharpness(
    loss: Callable[[PyTree], Array], params: PyTree, *, iterations: int = ITERATIONS
) -> Array:
    """Largest eigenvalue of the Hessian, by Lanczos with Hessian-vector products; a lower bound that soon is close.

    Three vectors of the size of the weights are held; without orthogonalising anew, eigenvalues are found more than once, which
    leaves the largest as it is.

    Args:
        loss: From weights to a scalar.
        params: Where, a tree of float arrays.
        iterations: Hessian-vector products.

    Returns:
        A scalar, in loss per squared unit of the weights.

    Source:
        Lanczos 1950, An iteration method for the solution of the eigenvalue problem; Pearlmutter 1994, Fast exact multiplication by
        the Hessian
    """
    flat, restore = ravel_pytree(params)
    count = min(iterations, flat.size)
    slope = jax.grad(lambda x: loss(restore(x)))

    def product(vector: Array) -> Array:
        # Backwards twice: convolutions of our own have no forward mode.
        return jax.grad(lambda x: jnp.vdot(slope(x), vector))(flat)

    def step(carry: tuple[Array, Array, Array], _: None) -> tuple[Any, tuple[Array, Array]]:
        last, now, beta = carry
        ahead = product(now) - beta * last
        alpha = jnp.vdot(ahead, now)
        ahead = ahead - alpha * now
        size = jnp.linalg.norm(ahead)
        return (now, ahead / (size + TINY), size), (alpha, size)

    start = jax.random.normal(jax.random.key(0), flat.shape, flat.dtype)
    carry = (jnp.zeros_like(flat), start / jnp.linalg.norm(start), jnp.zeros((), flat.dtype))
    _, (diagonal, beside) = lax.scan(step, carry, None, length=count)
    if count == 1:
        return diagonal[0]
    largest = eigh_tridiagonal(
        diagonal, beside[:-1], eigvals_only=True, select="i", select_range=(count - 1, count - 1)
    )[0]
    # Bisection would find a number where there is none.
    is_finite = jnp.all(jnp.isfinite(diagonal)) & jnp.all(jnp.isfinite(beside))
    return jnp.where(is_finite, largest, jnp.nan)


def _dots(layer_names: Sequence[str], one: PyTree, other: PyTree) -> Array:
    """Inner product of two trees by layer, [layer]."""
    products = jax.tree.map(
        lambda a, b: jnp.vdot(a.astype(jnp.float32), b.astype(jnp.float32)), one, other
    )
    return jnp.stack([sum(jax.tree.leaves(products[name]), jnp.zeros(())) for name in layer_names])
