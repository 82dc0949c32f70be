"""Cost of a step, counted from its jaxpr: multiply-adds of products and convolutions, bytes of what is computed.

Pure counting; nothing is run. It gives the planner and `lanework plan` a first estimate before anything is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
from jax.extend import core


@dataclass(frozen=True)
class Cost:
    """Floating-point operations (a multiply-add counts 2) and bytes of all intermediate results of one call."""

    flops: float
    bytes_made: float
    has_convolution: bool


def count(function: Callable[..., Any], *arguments: Any) -> Cost:
    """Cost of `function(*arguments)`; the arguments may be shapes."""
    closed = jax.make_jaxpr(function)(*arguments)
    flops, made, convolution = 0.0, 0.0, False
    for equation, times in _equations(closed.jaxpr, 1):
        made += times * sum(_size(variable) for variable in equation.outvars)
        if equation.primitive.name == "dot_general":
            flops += times * _dot_flops(equation)
        elif equation.primitive.name == "conv_general_dilated":
            flops += times * _conv_flops(equation)
            convolution = True
    return Cost(flops, made, convolution)


def _equations(jaxpr: core.Jaxpr, times: int) -> Iterator[tuple[Any, int]]:
    for equation in jaxpr.eqns:
        inner = [found for value in equation.params.values() for found in _jaxprs(value)]
        if not inner:
            yield equation, times
        repeats = int(equation.params.get("length", 1)) if equation.primitive.name == "scan" else 1
        for sub in inner:
            yield from _equations(sub, times * repeats)


def _jaxprs(value: Any) -> list[core.Jaxpr]:
    if isinstance(value, core.ClosedJaxpr):
        return [value.jaxpr]
    if isinstance(value, core.Jaxpr):
        return [value]
    if isinstance(value, tuple | list):
        return [found for item in value for found in _jaxprs(item)]
    return []


def _size(variable: Any) -> float:
    shape = getattr(variable.aval, "shape", ())
    dtype = getattr(variable.aval, "dtype", None)
    return math.prod(shape) * float(getattr(dtype, "itemsize", 4))


def _dot_flops(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    inner = math.prod(left[axis] for axis in contracted)
    return float(2.0 * inner * math.prod(equation.outvars[0].aval.shape))


def _conv_flops(equation: Any) -> float:
    kernel = equation.invars[1].aval.shape
    numbers = equation.params["dimension_numbers"]
    outputs = kernel[numbers.rhs_spec[0]]
    return float(2.0 * math.prod(kernel) / outputs * math.prod(equation.outvars[0].aval.shape))
