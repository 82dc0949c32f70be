"""Between which values a layer of somebody's own network is squashed, read off the traced program.

Owns the way back from a value to the function that made it. Nothing is guessed from numbers: a ReLU that gives zeros, a softmax or
an input that happens to lie in [0, 1] has no limits here. Must not import `recipes`, `models`, `data` or anything above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import jax
from jax.extend import core

__all__ = ["Bounds", "squashed"]

Bounds: TypeAlias = tuple[float, float]

PRIMITIVES: Final[Mapping[str, Bounds]] = {
    "tanh": (-1.0, 1.0),
    "logistic": (0.0, 1.0),
    "erf": (-1.0, 1.0),
}
FUNCTIONS: Final[Mapping[str, Bounds]] = {
    "hard_tanh": (-1.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "soft_sign": (-1.0, 1.0),
}
"""Functions of `jax.nn` that are made of several operations, by the name of their call."""
PASSING: Final = ("reshape", "transpose", "squeeze", "convert_element_type", "copy", "reduce_precision")  # fmt: skip
"""Operations that leave each number what it is."""


def squashed(function: Callable[..., Mapping[str, Any]], *arguments: Any) -> dict[str, Bounds]:
    """Which of the values that a function gives come straight out of a squashing function, and its limits.

    Args:
        function: Gives arrays by name; traced, never run.
        arguments: What it takes; shapes will do.

    Returns:
        Limits by name; names whose values are not squashed are left out.

    Example:
        >>> import jax.numpy as jnp
        >>> layers = lambda x: {
        ...     "one": jnp.tanh(2 * x),
        ...     "two": jax.nn.relu(x),
        ...     "three": x * jax.nn.sigmoid(x),
        ... }
        >>> squashed(layers, jnp.ones(3))
        {'one': (-1.0, 1.0)}
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    names = jax.tree.leaves({name: name for name in shapes})
    ends = zip(names, closed.jaxpr.outvars, strict=True)
    found = {name: _origin(closed.jaxpr, end) for name, end in ends}
    return {name: limits for name, limits in found.items() if isinstance(limits, tuple)}


def _origin(jaxpr: core.Jaxpr, end: Any) -> Bounds | int | None:
    """Limits of a value; the number of the input that it is, where nothing was done to it; else None."""
    makers = {made: equation for equation in jaxpr.eqns for made in equation.outvars}
    while not isinstance(end, core.Literal):
        equation = makers.get(end)
        if equation is None:
            return jaxpr.invars.index(end) if end in jaxpr.invars else None
        limits = _limits(equation)
        if limits is not None:
            return limits
        place = 0 if equation.primitive.name in PASSING else _straight_through(equation, end)
        if not isinstance(place, int):
            return place
        end = equation.invars[place]
    return None


def _limits(equation: core.JaxprEqn) -> Bounds | None:
    called = FUNCTIONS.get(str(equation.params.get("name", "")))
    return PRIMITIVES.get(equation.primitive.name, called)


def _straight_through(equation: core.JaxprEqn, end: Any) -> Bounds | int | None:
    """What is inside of a call that made a value."""
    if equation.primitive.name == "scan":  # carries and slices: another matter
        return None
    for key in ("jaxpr", "call_jaxpr"):
        inner = equation.params.get(key)
        inner = inner.jaxpr if isinstance(inner, core.ClosedJaxpr) else inner
        if isinstance(inner, core.Jaxpr) and len(inner.outvars) == len(equation.outvars):
            return _origin(inner, inner.outvars[equation.outvars.index(end)])
    return None
