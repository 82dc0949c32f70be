"""The gradient check: gradients against central differences, in double precision, with kinks told apart from faults.

Owns pure functions; whoever calls them has switched double precision on and sees to it that the loss is the same function at
every call (same key). Must not import `recipes`, `models`, `data` or anything above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core
from jax.flatten_util import ravel_pytree

__all__ = ["Checked", "bits_of", "compare", "errors"]

Array: TypeAlias = jax.Array
PyTree: TypeAlias = Any

NUM_RANDOM: Final = 2
PER_TENSOR: Final = NUM_RANDOM + 2
"""Directions tried in each tensor: its entry of largest gradient, some at random, and one through all entries at once."""
STEP, COARSE_STEP = 1e-5, 1e-2
KINK: Final = 1e-3


class Checked(NamedTuple):
    """Slopes along directions, each array [tensor, direction].

    Attributes:
        slope: By the gradient.
        central: (f(x + h) - f(x - h)) / 2h.
        forward: (f(x + h) - f(x)) / h.
        backward: (f(x) - f(x - h)) / h.
        floor: A slope below which nothing can be told, scalar.
    """

    slope: Array
    central: Array
    forward: Array
    backward: Array
    floor: Array


def compare(
    loss: Callable[[PyTree], Array], at: PyTree, *, key: Array, step: float = STEP
) -> Checked:
    """Slopes of a loss by its gradient and by differences, along a few directions in every tensor.

    Args:
        loss: From a tree of arrays to a scalar, always the same function.
        at: Where, a tree of float arrays.
        key: For the choice of entries.
        step: h, along directions of length 1.

    Returns:
        The slopes.

    Source:
        CS231n notes, Neural Networks Part 3, "Gradient checks".
    """
    leaves = jax.tree.leaves(at)
    flat, restore = ravel_pytree(at)
    value, tree = jax.value_and_grad(loss)(at)
    grads, _ = ravel_pytree(tree)
    starts, start = [], 0
    for leaf in leaves:
        starts.append(start)
        start += leaf.size
    draws = [
        jax.random.randint(jax.random.fold_in(key, number), (NUM_RANDOM,), 0, leaf.size)
        for number, leaf in enumerate(leaves)
    ]
    peaks = [
        jnp.argmax(jnp.abs(grads[first : first + leaf.size]))
        for first, leaf in zip(starts, leaves, strict=True)
    ]
    entries = jnp.stack(
        [
            jnp.concatenate([jnp.stack([peak + first, -1 - number]), draw + first])
            for number, (first, peak, draw) in enumerate(zip(starts, peaks, draws, strict=True))
        ]
    )  # [tensor, direction]; -1 - number stands for all entries of that tensor
    signs = jnp.where(jax.random.bernoulli(key, 0.5, flat.shape), 1.0, -1.0).astype(flat.dtype)

    def slopes(entry: Array) -> tuple[Array, Array, Array]:
        pieces = [
            jnp.where(entry == -1 - number, signs[first : first + leaf.size], 0.0)
            for number, (first, leaf) in enumerate(zip(starts, leaves, strict=True))
        ]
        whole = jnp.concatenate(pieces)
        whole = whole / jnp.maximum(jnp.linalg.norm(whole), 1.0)
        single = (jnp.arange(flat.size) == entry).astype(flat.dtype)
        direction = jnp.where(entry < 0, whole, single).astype(flat.dtype)
        sides = lax.map(lambda h: loss(restore(flat + h * direction)), jnp.array([step, -step]))
        return jnp.dot(grads, direction), sides[0], sides[1]

    slope, above, below = lax.map(slopes, entries.reshape(-1))
    shape = entries.shape
    largest = jnp.maximum(jnp.max(jnp.abs(grads)), jnp.abs(value))
    return Checked(
        slope.reshape(shape),
        ((above - below) / (2 * step)).reshape(shape),
        ((above - value) / step).reshape(shape),
        ((value - below) / step).reshape(shape),
        1e-5 * largest,
    )


def errors(found: Checked) -> tuple[Array, Array]:
    """Symmetric relative error of each slope, and whether a kink lies at it.

    |a - n| / max(|a|, |n|), where a slope below the floor counts as the floor, so that two zeros agree. Where the two one-sided
    differences disagree there is a kink between them; the gradient is then right if it is one of the two.

    Args:
        found: Slopes, see `compare`.

    Returns:
        Errors and flags, [tensor, direction].

    Example:
        >>> one = jnp.array([[1.0]])
        >>> errors(Checked(one, one, 2 * one, 0 * one, jnp.array(1e-6)))[1]
        Array([[ True]], dtype=bool)
    """

    def error(other: Array) -> Array:
        size = jnp.maximum(jnp.maximum(jnp.abs(found.slope), jnp.abs(other)), found.floor)
        return jnp.abs(found.slope - other) / size

    sides = jnp.maximum(jnp.abs(found.forward), jnp.abs(found.backward))
    is_kink = jnp.abs(found.forward - found.backward) > KINK * jnp.maximum(sides, found.floor)
    nearest = jnp.minimum(error(found.forward), error(found.backward))
    return jnp.where(
        is_kink, jnp.minimum(nearest, error(found.central)), error(found.central)
    ), is_kink


def bits_of(function: Callable[..., Any], *arguments: Any) -> int:
    """Precision in which a function computes on double-precision inputs: 64, or the least to which it casts them.

    Args:
        function: Traced on `arguments`, which may be shapes.
        arguments: What it takes.
    """
    closed = jax.make_jaxpr(function)(*arguments)
    return min((bits for bits in _casts(closed.jaxpr)), default=64)


def _casts(jaxpr: core.Jaxpr) -> Iterator[int]:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "convert_element_type":
            source: Any = equation.invars[0].aval
            target: Any = equation.outvars[0].aval
            before, after = source.dtype, target.dtype
            is_real = jnp.issubdtype(before, jnp.floating) and jnp.issubdtype(after, jnp.floating)
            if is_real and after.itemsize < before.itemsize:
                yield 8 * after.itemsize
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                if isinstance(inner, core.ClosedJaxpr):
                    yield from _casts(inner.jaxpr)
                elif isinstance(inner, core.Jaxpr):
                    yield from _casts(inner)
