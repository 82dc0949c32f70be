"""The gradient check: gradients against central differences, in double precision, with kinks told apart from faults.

Owns pure functions; whoever calls them has switched double precision on and sees to it that the loss is the same function at
every call (same key). Must not import `recipes`, `models`, `data` or anything above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core
from jax.flatten_util import ravel_pytree

__all__ = ["Checked", "Directions", "bits_of", "compare", "directions", "errors"]

Array: TypeAlias = Any  # of JAX within programs, of NumPy where they are called
PyTree: TypeAlias = Any

NUM_RANDOM: Final = 2
PER_TENSOR: Final = NUM_RANDOM + 2
"""Directions tried in each tensor: its entry of largest gradient, some at random, and one through all entries at once."""
STEP, COARSE_STEP = 1e-5, 3e-3
FLOOR, COARSE_FLOOR = 1e-5, 1e-2
"""Slopes below this share of the largest gradient drown in rounding, in double and in single precision."""
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


class Directions(NamedTuple):
    """Along what slopes are compared; drawn outside of the program, see `directions`.

    Attributes:
        entries: Entries drawn at random, int32 [tensor, `NUM_RANDOM`], counted within the tensor.
        signs: +1 or -1 for each entry of the whole tree, flat.
    """

    entries: Array
    signs: Array


def directions(at: PyTree, *, seed: int = 0) -> Directions:
    """Draw the directions for `compare`; `at` may be shapes."""
    sizes = [leaf.size for leaf in jax.tree.leaves(at)]
    generator = np.random.default_rng(seed)
    entries = np.stack([generator.integers(0, size, NUM_RANDOM) for size in sizes])
    return Directions(
        entries.astype(np.int32), generator.choice(np.array([-1.0, 1.0], np.float32), sum(sizes))
    )


def compare(
    loss: Callable[[PyTree], Array], at: PyTree, along: Directions, *, step: float = STEP
) -> Checked:
    """Slopes of a loss by its gradient and by differences, along a few directions in every tensor.

    Args:
        loss: From a tree of arrays to a scalar, always the same function.
        at: Where, a tree of float arrays.
        along: Directions besides that of each tensor's largest gradient.
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
    starts = np.cumsum([0, *(leaf.size for leaf in leaves)])
    peaks = [jnp.argmax(jnp.abs(leaf.reshape(-1))) for leaf in jax.tree.leaves(tree)]
    firsts = jnp.asarray(starts[:-1], jnp.int32).reshape(-1, 1)
    ends = jnp.asarray(starts[1:], jnp.int32).reshape(-1, 1)
    single = jnp.concatenate(
        [jnp.stack(peaks).astype(jnp.int32).reshape(-1, 1), along.entries], axis=1
    )
    # [tensor, direction] as spans of entries: single ones first, then the whole tensor.
    low = jnp.concatenate([single + firsts, firsts], axis=1)
    high = jnp.concatenate([single + firsts + 1, ends], axis=1)
    place = jnp.arange(flat.size, dtype=jnp.int32)

    def slopes(span: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        is_inside = (place >= span[0]) & (place < span[1])
        length = jnp.sqrt((span[1] - span[0]).astype(flat.dtype))
        direction = jnp.where(is_inside, along.signs.astype(flat.dtype), 0.0) / length
        sides = lax.map(lambda h: loss(restore(flat + h * direction)), jnp.array([step, -step]))
        return jnp.dot(grads, direction), sides[0], sides[1]

    slope, above, below = lax.map(slopes, (low.reshape(-1), high.reshape(-1)))
    shape = low.shape
    largest = jnp.maximum(jnp.max(jnp.abs(grads)), jnp.abs(value))
    return Checked(
        slope.reshape(shape),
        ((above - below) / (2 * step)).reshape(shape),
        ((above - value) / step).reshape(shape),
        ((value - below) / step).reshape(shape),
        (FLOOR if step < COARSE_STEP else COARSE_FLOOR) * largest,
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
