"""Programs of the gate before training: single-device, compiled once and kept on disk; and probes with a study's own programs.

Owns how the pure functions of `lanework.health.gate` and `lanework.health.gradients` become lanes. Judges nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from lanework.cohort import executables
from lanework.cohort import lanes as lane_tools
from lanework.cohort.compiled import Programs
from lanework.cohort.loop import train
from lanework.cohort.program import over_lanes
from lanework.cohort.runs import Order, Rules, Run
from lanework.cohort.step import Lane
from lanework.health import gate, gradients

PyTree: TypeAlias = Any


class Start(NamedTuple):
    """Networks before training, host arrays with a leading lane axis.

    Attributes:
        params: Weights.
        state: State.
        plain: Hyperparameters with all regularisation off.
        active: As the configurations have them.
    """

    params: PyTree
    state: PyTree
    plain: Mapping[str, np.ndarray]
    active: Mapping[str, np.ndarray]


def call(
    function: Callable[..., PyTree],
    arguments: Sequence[PyTree],
    *,
    identity: object,
    device: Any,
    is_double: bool = False,
    is_once: bool = True,
) -> PyTree:
    """Call a function on one device, compiled or loaded from disk; gives host arrays.

    Args:
        function: A pure function of arrays.
        arguments: Host arrays.
        identity: Everything it was built from, with a faithful `repr`; None where that cannot be known.
        device: Where it runs.
        is_double: In double precision.
        is_once: It does so little that XLA need not think hard.
    """
    with jax.enable_x64(is_double):
        placed = jax.device_put(tuple(arguments), device)
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding),
            placed,
        )
    name, lowered = "", None
    if executables.is_on():
        if identity is None:
            lowered = _lowered(function, shapes, is_double)
            identity = (lowered.as_text(), str(lowered.in_tree), str(lowered.out_tree))
        # Outside of double precision: what the key says of the settings is remembered from the first call.
        name = executables.key("gate", identity, is_double, is_once, str(shapes))
        compiled = executables.load(name, [device])
        if compiled is not None:
            with jax.enable_x64(is_double):
                return lane_tools.to_host(compiled(*placed))
    with jax.enable_x64(is_double):
        found = (lowered or _lowered(function, shapes, is_double)).compile(
            compiler_options=_options(is_once)
        )
        if name:
            executables.save(name, found)
        return lane_tools.to_host(found(*placed))


def _lowered(function: Callable[..., PyTree], shapes: PyTree, is_double: bool) -> Any:
    with jax.enable_x64(is_double):
        return jax.jit(function).lower(*shapes)


def _options(is_once: bool) -> dict[str, str | bool]:
    if jax.default_backend() != "cpu":
        return {}
    options: dict[str, str | bool] = {"xla_cpu_multi_thread_eigen": False}
    return options | ({"xla_backend_optimization_level": "0"} if is_once else {})


def looked_at(
    model: gate.Model,
    start: Start,
    samples: gate.Samples,
    targets: Sequence[np.ndarray],
    constants: np.ndarray,
    *,
    has_gradient: bool,
    group: int,
) -> tuple[Callable[..., PyTree], tuple[PyTree, ...]]:
    """`gate.inspect` of each lane, and the loss of constant outputs on some targets: the function and its arguments for `call`."""
    num_outputs = constants.shape[1]
    cotangent = np.random.default_rng(0).standard_normal(num_outputs, np.float32)
    near = jittered(start.params, share=0.1, seed=1)
    zeros = jax.tree.map(np.zeros_like, start.params)
    far = [_moved(zeros, start.params, share=1.0, seed=seed) for seed in (2, 3)]
    point = gate.Point(start.params, start.state, near, (far[0], far[1]))

    def function(
        point: gate.Point,
        plain: Any,
        active: Any,
        samples: Any,
        targets: Any,
        constants: Any,
        cotangent: Any,
    ) -> PyTree:
        def one(point: gate.Point, plain: PyTree, active: PyTree) -> PyTree:
            seen = gate.inspect(
                model,
                point,
                samples=samples,
                cotangent=cotangent,
                plain=plain,
                active=active,
                has_gradient=has_gradient,
            )
            told = [gate.best_constants(model, y, constants, hypers=plain) for y in targets]
            return seen | {"constants": told}

        return over_lanes(one, group=group)(point, plain, active)

    return function, (point, start.plain, start.active, samples, targets, constants, cotangent)


def jittered(params: PyTree, *, share: float, seed: int) -> PyTree:
    """Weights a little off, [lane]: each tensor moves by normal noise of `share` of its size plus a tenth of that share."""
    return _moved(params, params, share=share, seed=seed)


def _moved(params: PyTree, sizes: PyTree, *, share: float, seed: int) -> PyTree:
    generator = np.random.default_rng(seed)

    def move(leaf: np.ndarray, like: np.ndarray) -> np.ndarray:
        axes = tuple(range(1, like.ndim))
        size = np.sqrt(np.mean(np.square(like, dtype=np.float64), axis=axes, keepdims=True))
        noise = generator.standard_normal(leaf.shape[1:], np.float32)
        return (leaf + share * (size + 0.1) * noise).astype(leaf.dtype)

    return jax.tree.map(move, params, sizes)


def trained(
    model: gate.Model, start: Start, samples: gate.Samples, courses: gate.Course, *, group: int
) -> tuple[Callable[..., PyTree], tuple[PyTree, ...]]:
    """`gate.short_training` of each lane for each course; results are [lane, course]. For `call`."""

    def function(start: Start, samples: Any, courses: gate.Course) -> PyTree:
        def one(params: PyTree, state: PyTree, plain: PyTree, active: PyTree) -> PyTree:
            train = partial(
                gate.short_training, model, params, state, samples=samples, key=jax.random.key(1)
            )
            many = over_lanes(
                lambda *course: train(gate.Course(*course), hypers=plain), group=group
            )
            return many(*courses)

        return over_lanes(one, group=group)(*start)

    return function, (start, samples, courses)


def slopes(
    model: gate.Model,
    start: Start,
    samples: gate.Samples,
    penalty: Callable[[PyTree], jax.Array] | None,
    penalty_gradient: Callable[[PyTree], PyTree] | None,
    *,
    num_free: int,
    step: float,
) -> tuple[Callable[..., PyTree], tuple[PyTree, ...]]:
    """The gradient check of the first lane, in double precision: by weights, by inputs, and of the penalty. For `call`.

    Args:
        model: The network and its loss.
        start: The lanes.
        samples: Two or three samples.
        penalty: Of weights, to a scalar; None for none.
        penalty_gradient: What the engine adds to the gradient for it.
        num_free: How many leading entries of a flat input are numbers; -1 for all, 0 for none (codes).
        step: Size of the differences.
    """
    at = {"weights": jittered(start.params, share=0.1, seed=1)}
    if num_free:
        free = samples.x if num_free < 0 else samples.x[..., :num_free]
        at["inputs"] = np.asarray(free)[None]
    along = gradients.directions(jax.tree.map(lambda leaf: leaf[0], at))
    along_weights = gradients.directions(jax.tree.map(lambda leaf: leaf[0], at["weights"]))

    def function(
        at: PyTree, state: PyTree, plain: PyTree, samples: Any, along: Any, along_weights: Any
    ) -> PyTree:
        at, state, plain = jax.tree.map(lambda leaf: leaf[0], (at, state, plain))
        loss = _free_loss(model, state, samples, num_free=num_free, hypers=plain)
        error, is_kink = gradients.errors(gradients.compare(loss, at, along, step=step))
        told = {"error": error, "is_kink": is_kink}
        if penalty is None or penalty_gradient is None:
            return told
        penalised = _with_gradient(penalty, penalty_gradient)
        check = gradients.compare(penalised, at["weights"], along_weights, step=step)
        return told | {"penalty": gradients.errors(check)[0]}

    given = (at, start.state, start.plain, samples, along, along_weights)
    return function, _doubled(given)


def bits(model: gate.Model, start: Start, samples: gate.Samples) -> int:
    """Precision in which the network and its loss compute when everything comes in 64 bits."""
    with jax.enable_x64(True):
        one = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), _doubled(start)
        )
        loss = lambda start, samples: _free_loss(
            model, start.state, samples, num_free=0, hypers=start.plain
        )({"weights": start.params})
        return gradients.bits_of(loss, one, _doubled(samples))


def _free_loss(
    model: gate.Model, state: PyTree, samples: gate.Samples, *, num_free: int, hypers: PyTree
) -> Callable[[PyTree], jax.Array]:
    def loss(at: PyTree) -> jax.Array:
        x = samples.x
        if num_free:
            x = jnp.concatenate([at["inputs"], x[..., at["inputs"].shape[-1] :]], axis=-1)
        return gate.mean_loss(
            model,
            at["weights"],
            state,
            gate.Samples(x, samples.y),
            key=jax.random.key(3),
            is_training=True,
            hypers=hypers,
        )[0]

    return loss


def _with_gradient(
    value: Callable[[PyTree], jax.Array], gradient: Callable[[PyTree], PyTree]
) -> Callable[[PyTree], jax.Array]:
    """The function with that gradient, whatever its own is."""
    joined = jax.custom_vjp(value)
    joined.defvjp(
        lambda at: (value(at), at),
        lambda at, scale: (jax.tree.map(lambda g: scale * g, gradient(at)),),
    )
    return joined


def _doubled(tree: PyTree) -> PyTree:
    def double(leaf: Any) -> Any:
        leaf = np.asarray(leaf)
        return leaf.astype(np.float64) if np.issubdtype(leaf.dtype, np.floating) else leaf

    return jax.tree.map(double, tree)


# ---- with the programs of the study itself ---------------------------------------------------


def fresh(programs: Programs, runs: Sequence[Run]) -> Lane:
    """The runs before their first step, as the study would start them: host arrays [run]."""
    width = programs.strategy.width
    found = []
    for first in range(0, len(runs), width):
        some = runs[first : first + width]
        slots = lane_tools.pad_slots(range(len(some)), width)
        seeds = np.array([some[slot].seed for slot in slots], np.uint32)
        kinds = np.array([some[slot].init for slot in slots])
        lane: Lane | None = None
        for kind in sorted(set(kinds.tolist())):
            made = lane_tools.to_host(programs.init(kind, width)(seeds))
            lane = made if lane is None else lane_tools.merge(kinds == kind, made, lane)
        found.append(lane_tools.take(lane, range(len(some))))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)


def probe(
    programs: Programs, runs: Sequence[Run], *, order: Order, boundaries: Sequence[int]
) -> np.ndarray:
    """Mean training losses between some steps, [run, boundary], with the very programs that train the study.

    Args:
        programs: Of the bucket.
        runs: With the hyperparameters to be tried, numbered from 0.
        order: Which samples each sees.
        boundaries: Steps at which losses are told, no further apart than a call of the programs reaches.

    Returns:
        Losses; NaN once one was not finite.
    """
    losses = np.full((len(runs), len(boundaries)), np.nan)
    place = {step: column for column, step in enumerate(boundaries)}
    rules = Rules(
        tuple(boundaries), programs.problem.steps_per_epoch, retries=0, is_compacted=False
    )
    for tick in train(programs, runs, rules=rules, order=order):
        for run, step, _, name, value in tick.metrics:
            if name == "train_loss" and step in place:
                losses[run, place[step]] = value
    return losses
