"""Going on with a sequence of tokens by drawing one after the other from a trained network.

Owns the loop of it; knows nothing of letters. Must not import anything of Lanework.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

Array = jax.Array

__all__ = ["go_on"]


def go_on(
    outputs: Callable[[Array], Array],
    codes: Array,
    *,
    num_new: int,
    context: int,
    temperature: float,
    key: Array,
) -> Array:
    """Draw tokens one after the other, each from the network's outputs for those before it.

    p(next = k) is proportional to exp(f_k / temperature), f the outputs at the last step of the
    ``context`` tokens before it. Each token is computed from its context anew, so that any network
    with outputs by time step can be asked, in the form in which it was trained.

    Args:
        outputs: `codes [1, context] -> [1, context, k]`, -1 where padded at the end.
        codes: What is there already, int32 [time], at least one.
        num_new: How many to draw.
        context: Steps that the network takes.
        temperature: Above 1 more varied, below 1 more cautious; 0 always takes the likeliest.
        key: For the draws.

    Returns:
        The new codes, int32 [num_new].

    Example:
        >>> after = lambda codes: jax.nn.one_hot((codes + 1) % 3, 3)  # what comes next is one more
        >>> start = jnp.array([0])
        >>> go_on(after, start, num_new=4, context=2, temperature=0.0, key=jax.random.key(0))
        Array([1, 2, 0, 1], dtype=int32)
    """
    size = max(len(codes) + num_new, context)
    filled = jnp.full((size,), -1, jnp.int32).at[: len(codes)].set(codes.astype(jnp.int32))
    draw = partial(_draw, outputs, context=context, is_greedy=temperature <= 0.0)
    run = jax.jit(lambda *args: jax.lax.fori_loop(len(codes), len(codes) + num_new, draw, args)[0])
    return run(filled, key, jnp.asarray(temperature or 1.0))[len(codes) : len(codes) + num_new]


def _draw(
    outputs: Callable[[Array], Array],
    place: Array,
    carry: tuple[Array, Array, Array],
    *,
    context: int,
    is_greedy: bool,
) -> tuple[Array, Array, Array]:
    """Fill one place; what is not drawn yet is -1, like padding."""
    codes, key, temperature = carry
    start = jnp.maximum(place - context, 0)
    window = jax.lax.dynamic_slice(codes, (start,), (context,))
    scores = outputs(window[None, :])[0, place - start - 1]
    if is_greedy:
        drawn = jnp.argmax(scores)
    else:
        drawn = jax.random.categorical(jax.random.fold_in(key, place), scores / temperature)
    return codes.at[place].set(drawn.astype(jnp.int32)), key, temperature
