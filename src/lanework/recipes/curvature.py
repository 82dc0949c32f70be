"""Second-order update rules: Newton, BFGS, L-BFGS, with a line search that runs in lanes.

Owns the three directions, the one line search they share, the count of what they evaluate, and the texts about where they
fit. All of it works on the parameters as one vector. Must not import `lanework.models`, `lanework.data` or anything above.

The line search is ours, not `optax.scale_by_zoom_linesearch`, for three reasons: in lanes that one evaluates both of its
phases in every round, so each trial costs two gradients; when it fails it takes a step that may go up; and it gives back
the whole parameter tree many times over. L-BFGS is ours because `optax.scale_by_lbfgs` also learns from pairs of negative
curvature, and compares gradients of two different batches. In full batches its directions are the same (tested).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.flatten_util import ravel_pytree

from lanework.catalog import CATALOG
from lanework.recipes.choices import Read

Array: TypeAlias = jax.Array
PyTree: TypeAlias = Any
ValueAndGrad: TypeAlias = Callable[[Array], tuple[Array, Array]]

_SUFFICIENT = 1e-4  # c1 and c2 of Nocedal and Wright, as for quasi-Newton methods there
_CURVATURE = 0.9
_COLUMNS = (
    64  # columns of a Hessian that are computed at once: bounds the memory of their activations
)
# Square matrices alive at once in one step, rounded up: measured 2.7 for newton (workspace of the eigendecomposition
# included) and 2.0 for bfgs on a CPU.
_MATRICES: Mapping[str, int] = {"newton": 3, "bfgs": 3}

_dot = partial(jnp.matmul, precision=lax.Precision.HIGHEST)  # an accelerator would round to 10 bits


def _eps(x: Array) -> float:
    """Distance from 1 to the next number of that type."""
    return float(jnp.finfo(x.dtype).eps)  # type: ignore[no-untyped-call]


class Found(NamedTuple):
    """Where a line search ended.

    Attributes:
        step: Factor of the direction; 0 when nothing better was found, or nothing was sought.
        gradient: Gradient there, [parameter].
        evaluations: How often value and gradient were computed, int32.
        is_stuck: The direction leads down but no step along it did.
    """

    step: Array
    gradient: Array
    evaluations: Array
    is_stuck: Array


class _Bracket(NamedTuple):
    """The line search between two trials. Up to `low` the loss falls enough; at `high` it does not (infinite at first)."""

    trial: Array
    low: Array
    low_value: Array
    low_slope: Array
    low_gradient: Array
    high: Array
    high_value: Array
    evaluations: Array
    is_done: Array


def line_search(
    value_and_grad: ValueAndGrad,
    x: Array,
    *,
    direction: Array,
    value: Array,
    gradient: Array,
    max_steps: int,
    curvature: float = _CURVATURE,
) -> Found:
    """A step t with f(x + t d) <= f(x) + c1 t d'g and d'g(x + t d) >= c2 d'g (weak Wolfe conditions).

    Doubles t (or more, where the slopes say so) until a step too long is known, then interpolates between the longest
    good and the shortest bad step, each time with one value and one gradient. A trial without numbers counts as too
    long. Near the minimum, where f cannot be told apart any more, the slope decides instead (Hager and Zhang).
    One masked loop: under `jax.vmap` lanes that are done keep what they have while the others go on.

    Args:
        value_and_grad: The objective as a function of the vector x.
        x: Where to start, [parameter].
        direction: d, [parameter]. If it does not lead down (d'g < 0), nothing is evaluated and the step is 0.
        value: f(x).
        gradient: g, the gradient at x, [parameter].
        max_steps: Trials at most; then the longest good step so far is taken.
        curvature: c2; infinity makes it a search for sufficient decrease only.

    Returns:
        The step and what is known there.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> f = jax.value_and_grad(lambda x: jnp.sum(x * x))
        >>> x = jnp.array([2.0])
        >>> value, g = f(x)
        >>> line_search(f, x, direction=-g, value=value, gradient=g, max_steps=9).step
        Array(0.5, dtype=float32)

    Source:
        Lewis and Overton 2013, Nonsmooth optimization via quasi-Newton methods, algorithm 4.6; interpolation as in
        Nocedal and Wright 2006, section 3.5; decrease near the minimum: Hager and Zhang 2005, the approximate Wolfe
        conditions.
    """
    slope = _dot(direction, gradient)
    slack = 10 * _eps(x) * jnp.abs(value)  # rounding of a value, roughly

    def body(at: _Bracket) -> _Bracket:
        new_value, new_gradient = value_and_grad(x + at.trial * direction)
        new_value = new_value.astype(x.dtype)
        new_slope = _dot(direction, new_gradient)
        falls = new_value <= value + _SUFFICIENT * at.trial * slope
        nearly = (new_value <= value + slack) & (new_slope <= (2 * _SUFFICIENT - 1) * slope)
        is_good = (falls | nearly) & jnp.isfinite(new_value) & jnp.isfinite(new_slope)
        is_short = is_good & (new_slope < curvature * slope)
        longer = _extrapolated(at, new_slope)
        after = at._replace(
            low=jnp.where(is_good, at.trial, at.low),
            low_value=jnp.where(is_good, new_value, at.low_value),
            low_slope=jnp.where(is_good, new_slope, at.low_slope),
            low_gradient=jnp.where(is_good, new_gradient, at.low_gradient),
            high=jnp.where(is_good, at.high, at.trial),
            high_value=jnp.where(is_good, at.high_value, new_value),
            evaluations=at.evaluations + 1,
            is_done=is_good & ~is_short,
        )
        between = _interpolated(after)
        return after._replace(trial=jnp.where(jnp.isinf(after.high), longer, between))

    zero, infinity = jnp.zeros((), x.dtype), jnp.full((), jnp.inf, x.dtype)
    start = _Bracket(
        trial=jnp.ones((), x.dtype),
        low=zero,
        low_value=value,
        low_slope=slope,
        low_gradient=gradient,
        high=infinity,
        high_value=infinity,
        evaluations=jnp.zeros((), jnp.int32),
        is_done=~(slope < 0),
    )
    end = lax.while_loop(lambda at: ~at.is_done & (at.evaluations < max_steps), body, start)
    return Found(end.low, end.low_gradient, end.evaluations, (slope < 0) & (end.low == 0))


def _extrapolated(at: _Bracket, new_slope: Array) -> Array:
    """Where the slope would be 0 if it went on as from `low` to `trial`, but 2 to 10 times as far."""
    root = at.trial - new_slope * (at.trial - at.low) / (new_slope - at.low_slope)
    root = jnp.where(jnp.isfinite(root), root, at.trial)
    return jnp.clip(root, 2 * at.trial, 10 * at.trial)


def _interpolated(at: _Bracket) -> Array:
    """The minimum of the parabola through value and slope at `low` and the value at `high`, away from both ends."""
    width = at.high - at.low
    rise = at.high_value - at.low_value - at.low_slope * width
    share = -at.low_slope * width / (2 * rise)
    share = jnp.where(jnp.isfinite(share) & jnp.isfinite(rise), share, 0.5)
    return at.low + jnp.clip(share, 0.1, 0.9) * width


class CurvatureState(NamedTuple):
    """State of a second-order rule.

    Attributes:
        memory: What is known of the curvature: nothing, a matrix or pairs, by rule.
        evaluations: Gradients computed so far, int32, with the one of the training step itself; a Hessian counts one
            gradient per parameter.
    """

    memory: PyTree
    evaluations: Array


class _Method(NamedTuple):
    """How a rule finds a direction.

    Attributes:
        start: `x -> memory`, knowing nothing.
        direction: `(memory, x, gradient, value_and_grad) -> direction`.
        learn: `(memory, s, y) -> memory`: the gradient changed by y along the step s.
        cost: `num_params -> gradients` that a direction takes.
        curvature: c2 of the line search.
    """

    start: Callable[[Array], PyTree]
    direction: Callable[[PyTree, Array, Array, ValueAndGrad], Array]
    learn: Callable[[PyTree, Array, Array], PyTree]
    cost: Callable[[int], int]
    curvature: float = _CURVATURE


def _searched(read: Read, method: _Method, name: str) -> optax.GradientTransformationExtraArgs:
    """Direction, line search, and what is learnt from both ends of the step, on the same batch."""

    def init(params: PyTree) -> CurvatureState:
        x, _ = ravel_pytree(params)
        return CurvatureState(method.start(x), jnp.zeros((), jnp.int32))

    def update(
        grads: PyTree,
        state: optax.OptState,
        params: PyTree | None = None,
        *,
        value: Any = None,
        value_fn: Callable[[PyTree], Array] | None = None,
        **_: Any,
    ) -> tuple[PyTree, CurvatureState]:
        if value is None or value_fn is None or params is None:
            raise ValueError(
                f"{name} must be given the parameters, `value` and `objective`, because it searches along a line; got none. "
                "Pass the loss of this batch and the function from parameters to it."
            )
        x, unravel = ravel_pytree(params)  # [parameter]
        gradient = ravel_pytree(grads)[0].astype(x.dtype)
        objective = jax.value_and_grad(lambda flat: value_fn(unravel(flat)))
        direction = _leading_down(method.direction(state.memory, x, gradient, objective), gradient)
        found = line_search(
            objective,
            x,
            direction=direction,
            value=jnp.asarray(value, x.dtype),
            gradient=gradient,
            max_steps=read("search_steps"),
            curvature=method.curvature,
        )
        step = found.step * direction
        memory = method.learn(state.memory, step, found.gradient - gradient)
        # A direction along which nothing falls came from a wrong picture of the curvature: start anew.
        memory = _choose(found.is_stuck, method.start(x), memory)
        count = _add(state.evaluations, 1 + method.cost(x.size) + found.evaluations)
        updates = (jnp.asarray(read("learning_rate"), x.dtype) * step).astype(x.dtype)
        return unravel(updates), CurvatureState(memory, count)

    return optax.GradientTransformationExtraArgs(init, update)


def _leading_down(direction: Array, gradient: Array) -> Array:
    """The direction where it leads down and has numbers, else that of steepest descent."""
    slope = _dot(direction, gradient)
    is_usable = (slope < 0) & jnp.isfinite(slope) & jnp.all(jnp.isfinite(direction))
    return jnp.where(is_usable, direction, -_first_scale(gradient) * gradient)


def _first_scale(gradient: Array) -> Array:
    """Makes a first step at most 1 long, as long as nothing is known of the curvature."""
    norm = jnp.sqrt(_dot(gradient, gradient))
    return jnp.where(norm > 1, 1 / norm, jnp.ones_like(norm))


def _choose(flag: Array, yes: PyTree, no: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(flag, a, b), yes, no)


def _add(count: Array, more: Array | int) -> Array:
    """Counts that stop at the largest number instead of becoming negative."""
    total = count + jnp.asarray(more, jnp.int32)
    return jnp.where(total < count, np.iinfo(np.int32).max, total)


def _is_informative(s: Array, y: Array) -> Array:
    """Whether curvature along the step is positive beyond rounding; false for anything without numbers."""
    sizes = jnp.sqrt(_dot(s, s)) * jnp.sqrt(_dot(y, y))
    return _dot(s, y) > _eps(s) * sizes


def _hessian(value_and_grad: ValueAndGrad, x: Array) -> Array:
    """The dense Hessian [parameter, parameter], by products with unit vectors, some at a time."""

    def gradient(at: Array) -> Array:
        return value_and_grad(at)[1]

    def column(i: Array) -> Array:
        return jax.jvp(gradient, (x,), (jnp.zeros_like(x).at[i].set(1.0),))[1]

    return lax.map(column, jnp.arange(x.size), batch_size=min(_COLUMNS, x.size))


def _one_eigh(matrix: Array) -> tuple[Array, Array]:
    values, vectors = jnp.linalg.eigh(matrix)
    return values, vectors


# Eigenvalues and eigenvectors, of several lanes one after the other: a batch of matrices is shared out over XLA's threads on a
# CPU, and with a program on each core those threads are all waiting for it already; nothing would move any more.
_eigh: Callable[[Array], tuple[Array, Array]] = jax.custom_batching.sequential_vmap(_one_eigh)


def newton_direction(hessian: Array, gradient: Array, damping: Array | float) -> Array:
    """The damped Newton direction -(|H| + c I)^-1 g, which leads down on non-convex problems too.

    |H| has the eigenvectors of H and the absolute values of its eigenvalues: along negative curvature the plain Newton
    step would climb to the saddle or maximum, this one leaves it.

    Args:
        hessian: H, [parameter, parameter]; the identity is taken where it has entries that are no numbers.
        gradient: g, [parameter].
        damping: c, added to the curvatures.

    Returns:
        The direction, [parameter].

    Example:
        >>> newton_direction(jnp.diag(jnp.array([2.0, -4.0])), jnp.array([2.0, 4.0]), 0.0)
        Array([-1., -1.], dtype=float32)

    Source:
        Dauphin et al. 2014, Identifying and attacking the saddle point problem, https://arxiv.org/abs/1406.2572;
        damping: Levenberg 1944, Marquardt 1963.
    """
    identity = jnp.eye(gradient.size, dtype=gradient.dtype)
    usable = jnp.where(jnp.all(jnp.isfinite(hessian)), hessian, identity)
    values, vectors = _eigh(usable)
    curvatures = jnp.abs(values) + jnp.asarray(damping, gradient.dtype)
    # Flat directions divide by rounding errors of the steepest one instead of by 0.
    floor = _eps(gradient) * jnp.max(curvatures)
    return -_dot(vectors, _dot(vectors.T, gradient) / jnp.maximum(curvatures, floor))


def _newton(read: Read) -> optax.GradientTransformationExtraArgs:
    def direction(_: PyTree, x: Array, gradient: Array, objective: ValueAndGrad) -> Array:
        return newton_direction(_hessian(objective, x), gradient, read("damping"))

    method = _Method(
        start=lambda x: (),
        direction=direction,
        learn=lambda memory, s, y: memory,
        cost=lambda num_params: num_params,
        curvature=math.inf,
    )
    return _searched(read, method, "newton")


class InverseHessian(NamedTuple):
    """Memory of BFGS: the approximation B of the inverse Hessian, and the number of pairs in it."""

    matrix: Array
    num_pairs: Array


def bfgs_learn(memory: InverseHessian, s: Array, y: Array) -> InverseHessian:
    """B = (I - r s y') B (I - r y s') + r s s' with r = 1 / s'y; the first B is (s'y / y'y) I.

    Args:
        memory: B before.
        s: Step, [parameter].
        y: Change of the gradient along it, [parameter]. Where s'y is not positive beyond rounding, B stays.

    Returns:
        B after, symmetric, with B y = s.

    Source:
        Nocedal and Wright 2006, Numerical optimization, equations 6.17 and 6.20.
    """
    curvature = _dot(s, y)
    scale = jnp.where(memory.num_pairs == 0, curvature / _dot(y, y), 1.0)
    before = scale * memory.matrix
    along = _dot(before, y)  # B y
    outer = jnp.outer(along, s)
    growth = (curvature + _dot(y, along)) / curvature**2
    after = before + growth * jnp.outer(s, s) - (outer + outer.T) / curvature
    learnt = InverseHessian(after, memory.num_pairs + 1)
    return _choose(_is_informative(s, y), learnt, memory)


def _bfgs_start(x: Array) -> InverseHessian:
    return InverseHessian(jnp.eye(x.size, dtype=x.dtype), jnp.zeros((), jnp.int32))


def _bfgs_direction(memory: InverseHessian, x: Array, gradient: Array, _: ValueAndGrad) -> Array:
    scale = jnp.where(memory.num_pairs == 0, _first_scale(gradient), 1.0)
    return -scale * _dot(memory.matrix, gradient)


def _bfgs(read: Read) -> optax.GradientTransformationExtraArgs:
    method = _Method(_bfgs_start, _bfgs_direction, bfgs_learn, lambda num_params: 0)
    return _searched(read, method, "bfgs")


class Pairs(NamedTuple):
    """Memory of L-BFGS, oldest first; unused rows are 0 and have no effect.

    Attributes:
        s: Steps, [pair, parameter].
        y: Changes of the gradient, [pair, parameter].
        weights: 1 / s'y, [pair].
    """

    s: Array
    y: Array
    weights: Array


def lbfgs_learn(memory: Pairs, s: Array, y: Array) -> Pairs:
    """Append a pair and drop the oldest; a pair whose s'y is not positive beyond rounding is not taken."""
    pair = Pairs(s, y, 1 / _dot(s, y))
    learnt = jax.tree.map(lambda rows, row: jnp.concatenate([rows[1:], row[None]]), memory, pair)
    return _choose(_is_informative(s, y), learnt, memory)


def lbfgs_direction(memory: Pairs, gradient: Array) -> Array:
    """-B g, where B is the inverse Hessian that BFGS makes of the remembered pairs, starting from c I.

    c is s'y / y'y of the newest pair. B itself is never made: two passes over the pairs suffice.

    Args:
        memory: The pairs.
        gradient: g, [parameter].

    Returns:
        The direction, [parameter].

    Source:
        Nocedal 1980, Updating quasi-Newton matrices with limited storage; Nocedal and Wright 2006, algorithm 7.4.
    """

    def newest_first(q: Array, pair: Pairs) -> tuple[Array, Array]:
        alpha = pair.weights * _dot(pair.s, q)
        return q - alpha * pair.y, alpha

    def oldest_first(q: Array, given: tuple[Pairs, Array]) -> tuple[Array, None]:
        pair, alpha = given
        return q + (alpha - pair.weights * _dot(pair.y, q)) * pair.s, None

    newest_y, weight = memory.y[-1], memory.weights[-1]
    scale = 1 / (weight * _dot(newest_y, newest_y))
    scale = jnp.where(weight > 0, scale, _first_scale(gradient))
    q, alphas = lax.scan(newest_first, gradient, memory, reverse=True)
    q, _ = lax.scan(oldest_first, scale * q, (memory, alphas))
    return -q


def _lbfgs(read: Read) -> optax.GradientTransformationExtraArgs:
    def start(x: Array) -> Pairs:
        rows = jnp.zeros((read("memory"), x.size), x.dtype)
        return Pairs(rows, rows, jnp.zeros((read("memory"),), x.dtype))

    method = _Method(
        start=start,
        direction=lambda memory, x, gradient, objective: lbfgs_direction(memory, gradient),
        learn=lbfgs_learn,
        cost=lambda num_params: 0,
    )
    return _searched(read, method, "lbfgs")


RULES: Mapping[str, Callable[[Read], optax.GradientTransformation]] = {
    "newton": _newton,
    "bfgs": _bfgs,
    "lbfgs": _lbfgs,
}


def evaluations(opt_state: PyTree) -> Array | None:
    """How many gradients a second-order rule has computed so far, that of each training step included.

    Values computed in a line search come with their gradient and count as one; a Hessian counts as one gradient per
    parameter.

    Args:
        opt_state: State of an update rule, wherever in it the second-order rule is.

    Returns:
        The count, int32 (with a leading axis where the state has one); None for rules that take one gradient a step.

    Example:
        >>> state = CurvatureState(memory=(), evaluations=jnp.int32(3))
        >>> evaluations((state, {"count": 7}))
        Array(3, dtype=int32)
        >>> evaluations({"momentum": 0.9}) is None
        True
    """
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, CurvatureState))
    counts = [node.evaluations for node in nodes if isinstance(node, CurvatureState)]
    return sum(counts[1:], start=counts[0]) if counts else None


def newton_memory_bytes(num_params: int, *, item_bytes: int = 4) -> int:
    """Bytes that one run of `newton` needs at once for its square matrices: Hessian, eigenvectors and their making.

    Example:
        >>> newton_memory_bytes(1000)
        12000000
    """
    return _MATRICES["newton"] * item_bytes * num_params**2


def bfgs_memory_bytes(num_params: int, *, item_bytes: int = 4) -> int:
    """Bytes that one run of `bfgs` needs at once for its square matrices: the old and the new one, and their making.

    Example:
        >>> bfgs_memory_bytes(1000)
        12000000
    """
    return _MATRICES["bfgs"] * item_bytes * num_params**2


_MEMORY: Mapping[str, Callable[[int], int]] = {
    "newton": newton_memory_bytes,
    "bfgs": bfgs_memory_bytes,
}


def check_size(name: str, num_params: int, num_lanes: int = 1) -> str | None:
    """Why a network is too large for a rule that keeps a square matrix, with the memory it would need.

    Args:
        name: Name of the update rule.
        num_params: Parameters of the network.
        num_lanes: Runs in one program.

    Returns:
        The text of the refusal; None where the rule fits, and for rules that keep no square matrix.

    Example:
        >>> print(check_size("newton", 20_000, 10))
        newton must have at most 5000 parameters to work on, because it keeps square matrices of that size, got 20000, which
        would need 4.8 GB for each run, 48.0 GB for the 10 runs of a program. Use a smaller network, or lbfgs.
        >>> check_size("sgd", 20_000, 10)
    """
    if name not in _MEMORY:
        return None
    limit = int(CATALOG["optimizer"][name].facts["max_parameters"])
    if num_params <= limit:
        return None
    each = _MEMORY[name](num_params)
    together = f", {_size(each * num_lanes)} for the {num_lanes} runs of a program"
    return (
        f"{name} must have at most {limit} parameters to work on, because it keeps square matrices of that size, "
        f"got {num_params}, which would need {_size(each)} for each run{together if num_lanes > 1 else ''}. "
        "Use a smaller network, or lbfgs."
    )


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB"


def warnings_for(
    name: str, *, batch_is_all: bool, dropout: float = 0.0, augmented: bool = False
) -> list[str]:
    """What makes the objective change from step to step, which second-order rules take for curvature or cannot follow.

    Args:
        name: Name of the update rule.
        batch_is_all: Each step sees all training samples.
        dropout: Share of units dropped, in [0, 1).
        augmented: Samples are changed at random.

    Returns:
        One sentence for each reason; empty for other rules and where there is none.

    Example:
        >>> warnings_for("lbfgs", batch_is_all=True)
        []
        >>> print(*warnings_for("lbfgs", batch_is_all=False))
        lbfgs steps to about the minimum of each batch, which is not that of all samples: use batch_size: all.
    """
    if name not in RULES:
        return []
    warnings = []
    if not batch_is_all:
        warnings.append(
            f"{name} steps to about the minimum of each batch, which is not that of all samples: use batch_size: all."
        )
    if dropout > 0:
        warnings.append(
            f"{name} searches along a line of one fixed loss, but dropout {dropout:g} gives another loss in every step: "
            "use dropout: 0, or adam."
        )
    if augmented:
        warnings.append(
            f"{name} searches along a line of one fixed loss, but augmentation gives another loss in every step: "
            "train without it, or use adam."
        )
    return warnings
