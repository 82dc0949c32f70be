"""What a network is made of: layers, shapes, parameters and multiply-adds, read off its traced forward pass.

Nothing is run. Works for every network, the user's own modules included: a multiply-add belongs to the layer whose parameters
enter the product. Must not import `lanework.recipes`, `lanework.data` or anything above.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
from jax.extend import core

from lanework.models.base import Network

PyTree: TypeAlias = Any

BETWEEN = "(between layers)"
"""Where products of values with values are counted, as in attention."""
# Traced with more than one sample, so that an axis of length 1 is none of the batch.
_SAMPLES = 2


@dataclass(frozen=True)
class LayerFacts:
    """One layer with parameters.

    Attributes:
        name: First-level name of its parameters.
        weights: Shape of each array of parameters by path.
        output: Shape of what it gives for one sample; None where the trace does not say.
        num_params: Its parameters.
        multiply_adds: Multiply-adds of products and convolutions for one sample, forward.
    """

    name: str
    weights: Mapping[str, tuple[int, ...]]
    output: tuple[int, ...] | None
    num_params: int
    multiply_adds: int


def layer_facts(net: Network, shape: Sequence[int], dtype: Any) -> tuple[LayerFacts, ...]:
    """The layers of a network in forward order, with what each costs.

    Products and convolutions are counted with all their terms, padding included, as is usual; additions, normalisation and
    activations are not. Products that involve no parameters (attention) stand in a last row of their own.

    Args:
        net: The network.
        shape: Shape of one sample.
        dtype: Type of its entries as they enter the network.

    Returns:
        One row per layer.
    """
    params, state = jax.eval_shape(net.init, jax.eval_shape(lambda: jax.random.key(0)))
    x = jax.ShapeDtypeStruct((_SAMPLES, *shape), dtype)

    def forward(params: PyTree, state: PyTree, x: jax.Array) -> jax.Array:
        return net.apply(params, state, x, key=None, is_training=False, hypers={})[0]

    def tapped(params: PyTree, state: PyTree, x: jax.Array) -> dict[str, jax.Array]:
        taps: dict[str, jax.Array] = {}
        net.apply(params, state, x, key=None, is_training=False, hypers={}, taps=taps)
        return taps

    closed = jax.make_jaxpr(forward)(params, state, x)
    owners = [_owner(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    others = len(closed.jaxpr.invars) - len(owners)
    known = [_Value(frozenset({name}), False) for name in owners]
    # The input is the last argument; batch statistics before it belong to no layer.
    known += [_Value(frozenset(), place == others - 1) for place in range(others)]
    count = _Count()
    _walk(closed.jaxpr, known, 1, count)
    shapes = {name: tap.shape[1:] for name, tap in jax.eval_shape(tapped, params, state, x).items()}
    rows = [
        LayerFacts(
            name,
            _shapes_of(params[name]),
            shapes.get(name, count.outputs.get(name)),
            sum(leaf.size for leaf in jax.tree.leaves(params[name])),
            round(count.terms.get(name, 0) / _SAMPLES),
        )
        for name in _in_order(net.layer_names, params)
    ]
    if between := round(count.terms.get(BETWEEN, 0) / _SAMPLES):
        rows.append(LayerFacts(BETWEEN, {}, None, 0, between))
    return tuple(rows)


@dataclass(frozen=True)
class _Value:
    """What is known of a value: the layers whose parameters it was made of, and whether the input enters it."""

    owners: frozenset[str]
    is_data: bool


@dataclass
class _Count:
    """Terms of products by layer, and the shape of the last value that a layer's parameters entered."""

    terms: dict[str, float] = field(default_factory=dict)
    outputs: dict[str, tuple[int, ...]] = field(default_factory=dict)


def _in_order(names: Sequence[str], params: Mapping[str, Any]) -> list[str]:
    """All layers: those the network names, in its order, then any others."""
    return [*(name for name in names if name in params), *(n for n in params if n not in names)]


def _owner(path: tuple[Any, ...]) -> str:
    first = path[0]
    return str(getattr(first, "key", getattr(first, "name", first)))


def _shapes_of(params: PyTree) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    leaves.sort(key=lambda item: -item[1].ndim)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
        for path, leaf in leaves
    }


def _walk(jaxpr: core.Jaxpr, given: Sequence[_Value], times: int, count: _Count) -> list[_Value]:
    """Follow every value through a trace; gives what is known of its results."""
    nothing = _Value(frozenset(), False)
    known: dict[Any, _Value] = dict(zip(jaxpr.invars, given, strict=True))

    def of(variable: Any) -> _Value:
        return nothing if isinstance(variable, core.Literal) else known.get(variable, nothing)

    for equation in jaxpr.eqns:
        operands = [of(variable) for variable in equation.invars]
        inner = [] if _is_convolution(equation) else _inner(equation)
        if inner:
            results = _into(equation, inner, operands, times, count)
        else:
            results = [_apply(equation, operands, times, count)] * len(equation.outvars)
        known.update(zip(equation.outvars, results, strict=True))
    return [of(variable) for variable in jaxpr.outvars]


def _apply(equation: Any, operands: Sequence[_Value], times: int, count: _Count) -> _Value:
    """One operation: count it, and say what its result is made of."""
    owners = frozenset().union(*(operand.owners for operand in operands))
    is_data = any(operand.is_data for operand in operands)
    terms = times * _terms(equation)
    if terms and is_data:
        for owner in sorted(owners) or [BETWEEN]:
            count.terms[owner] = count.terms.get(owner, 0) + terms / max(1, len(owners))
    if not is_data:
        return _Value(owners, False)
    for owner in owners:
        shape = equation.outvars[0].aval.shape
        # What starts with the batch; a step of a recurrent layer does, too, and is overruled by its tap.
        count.outputs[owner] = tuple(shape[1:])
    return _Value(frozenset(), True)


def _into(
    equation: Any,
    inner: Sequence[core.Jaxpr],
    operands: Sequence[_Value],
    times: int,
    count: _Count,
) -> list[_Value]:
    """An operation that holds traces of its own: loops, calls, branches (of which the costliest counts)."""
    name = equation.primitive.name
    repeats = int(equation.params.get("length", 1)) if name == "scan" else 1
    if name == "while":
        skipped = int(equation.params["cond_nconsts"])
        inner, operands = inner[-1:], operands[skipped:]
    best: tuple[float, _Count, list[_Value]] | None = None
    for jaxpr in inner[:1] if name != "cond" else inner:
        own = _Count()
        taken = operands[len(operands) - len(jaxpr.invars) :]
        found = _walk(jaxpr, taken, times * repeats, own)
        cost = sum(own.terms.values())
        if best is None or cost > best[0]:
            best = (cost, own, found)
    if best is None:
        return []
    for owner, terms in best[1].terms.items():
        count.terms[owner] = count.terms.get(owner, 0) + terms
    count.outputs.update(best[1].outputs)
    # What a loop carries may depend on the input from its second round on.
    is_data = any(operand.is_data for operand in operands)
    results = best[2][: len(equation.outvars)]
    loops = name in ("scan", "while")
    return [_Value(frozenset(), True) if loops and is_data else result for result in results]


def _inner(equation: Any) -> list[core.Jaxpr]:
    found: list[core.Jaxpr] = []
    for key, value in equation.params.items():
        if key in ("jvp_jaxpr_fun", "jvp_jaxpr_thunk", "fwd_jaxpr_thunk", "bwd"):
            continue
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                found.append(item.jaxpr)
            elif isinstance(item, core.Jaxpr):
                found.append(item)
    return found


def _is_convolution(equation: Any) -> bool:
    """Whether this is the convolution of `lanework.models.conv`, whose way of computing may take more terms than it has."""
    if equation.primitive.name != "custom_vjp_call" or len(equation.invars) != 2:
        return False
    x, kernel = (variable.aval for variable in equation.invars)
    out = equation.outvars[0].aval
    is_one = x.ndim == kernel.ndim == out.ndim >= 3 and x.shape[0] == out.shape[0]
    return bool(is_one and kernel.shape[-2:] == (x.shape[-1], out.shape[-1]))


def _terms(equation: Any) -> float:
    """Multiply-adds of a product or convolution; 0 for everything else."""
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        inner = math.prod(left[axis] for axis in contracted)
        return float(inner * math.prod(equation.outvars[0].aval.shape))
    if _is_convolution(equation):
        return float(math.prod(equation.invars[1].aval.shape[:-1]) * equation.outvars[0].aval.size)
    if equation.primitive.name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
        size = math.prod(equation.outvars[0].aval.shape)
        return float(math.prod(kernel) / outputs * size)
    return 0.0
