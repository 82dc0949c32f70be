"""What the gate before training measures of one untrained network: pure functions, lanes are made of them elsewhere.

Owns the looking (one pass over a few samples) and the short trainings; what follows from their numbers is said by `judge`. The
network and its loss come in as functions. Must not import `recipes`, `models`, `data` or anything above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

__all__ = [
    "Course",
    "Model",
    "Point",
    "Samples",
    "best_constants",
    "inspect",
    "objectives",
    "short_training",
    "zeroed",
]

Array: TypeAlias = Any  # of JAX within programs, of NumPy where they are called
PyTree: TypeAlias = Any
Hypers: TypeAlias = Mapping[str, Array]
Numbers: TypeAlias = dict[str, Any]

NUM_DRAWS = 8  # of weights far from the start, half of each kind
NUM_NOISES = 16  # training passes averaged
FIRST_STEPS, FIRST_RATE = 6, 5e-3  # enough that what starts behind a layer of zeros gets a gradient
B1, B2, EPS = 0.9, 0.999, 1e-8
BLOCK = 10  # steps of a short training between two looks at whether it is done
TENTHS = 10


class Model(NamedTuple):
    """A network and its loss as pure functions.

    Attributes:
        apply: `(params, state, x, *, key, is_training, hypers, taps=None) -> (outputs, state)`.
        losses: `(outputs, y, hypers) -> (losses [m], weight [m])`, a row for each sample or time step.
        layer_names: First-level names of the parameters, in forward order.
        changing: From `change(name, value) -> value` to an empty dict of taps that also change what passes.
    """

    apply: Callable[..., tuple[Array, PyTree]]
    losses: Callable[..., tuple[Array, Array]]
    layer_names: tuple[str, ...]
    changing: Callable[[Callable[[str, Array], Array]], dict[str, Array]]


class Samples(NamedTuple):
    """Samples as the network takes them, x [sample, ...] and y [sample, ...]."""

    x: Array
    y: Array


class Point(NamedTuple):
    """Weights at which a network is looked at.

    Chance comes from the host: drawing it in the program would take longer to compile than all the rest.

    Attributes:
        params: Those at the start.
        state: State at the start.
        near: Weights a little off, so that nothing sits on a kink or is exactly 0.
        noise: Two directions far off, each like the weights.
    """

    params: PyTree
    state: PyTree
    near: PyTree
    noise: tuple[PyTree, PyTree]


def mean_loss(
    model: Model,
    params: PyTree,
    state: PyTree,
    samples: Samples,
    *,
    key: Array,
    is_training: bool,
    hypers: Hypers,
    taps: dict[str, Array] | None = None,
) -> tuple[Array, tuple[PyTree, Array]]:
    """Mean loss of some samples, and the state and the outputs beside it."""
    outputs, state = model.apply(
        params, state, samples.x, key=key, is_training=is_training, hypers=hypers, taps=taps
    )
    return _mean(*model.losses(outputs, samples.y, hypers)), (state, outputs)


def _mean(losses: Array, weight: Array) -> Array:
    total = jnp.sum(jnp.where(weight > 0, losses * weight, 0.0))
    return total / jnp.maximum(jnp.sum(weight), 1.0)


def objectives(
    model: Model,
    params: PyTree,
    state: PyTree,
    samples: Samples,
    *,
    penalty: Callable[[PyTree], Array],
    hypers: Hypers,
) -> Array:
    """What training makes small, without and with the penalty that it adds to the loss, [2].

    Args:
        model: The network and its loss.
        params: Weights.
        state: State.
        samples: Some training samples.
        penalty: Of weights, to a scalar, as the engine adds it.
        hypers: Hyperparameters with all regularisation off.

    Source:
        CS231n notes, Neural Networks Part 3, "Before learning: sanity checks tips/tricks".
    """
    key = jax.random.key(0)
    loss, _ = mean_loss(model, params, state, samples, key=key, is_training=True, hypers=hypers)
    return jnp.stack([loss, loss + penalty(params)])


def zeroed(x: Array) -> Array:
    """Inputs that say nothing: zeros, padding (negative codes, NaN) left where it is."""
    if jnp.issubdtype(x.dtype, jnp.integer):
        return jnp.minimum(x, 0)
    return jnp.where(jnp.isnan(x), x, jnp.zeros((), x.dtype))


def inspect(
    model: Model,
    point: Point,
    *,
    samples: Samples,
    cotangent: Array,
    plain: Hypers,
    active: Hypers,
    has_gradient: bool,
) -> Numbers:
    """Look at an untrained network.

    Args:
        model: The network and its loss.
        point: Its weights.
        samples: A few training samples.
        cotangent: Random weights of outputs, [output].
        plain: Hyperparameters with all regularisation off.
        active: As the configuration has them.
        has_gradient: Whether outputs can be differentiated by the inputs (not by codes, nor through padding).

    Returns:
        `loss`, `spread` of outputs over samples, `activations` and `gradients` [layer], `reach` (least and largest output, error of
        row sums), `mixing` (training, evaluation), `noise`, `loudness`, and `moved` and `twins` of a few `steps`; see `judge`.
    """
    key = jax.random.key(0)
    params, state = point.params, point.state
    loss, (_, outputs) = mean_loss(
        model, params, state, samples, key=key, is_training=True, hypers=plain
    )

    def first(x: Array, is_training: bool) -> Array:
        given, _ = model.apply(point.near, state, x, key=key, is_training=is_training, hypers=plain)
        return given[0]

    mixing = _mixing if has_gradient else _exchanging
    size = jnp.max(jnp.abs(outputs)) + 1e-30
    return {
        "loss": loss,
        "spread": jnp.max(jnp.max(outputs, axis=0) - jnp.min(outputs, axis=0)) / size,
        **_by_layer(model, params, state, samples, key=key, hypers=plain),
        "reach": _reach(model, point, samples.x, key=key, hypers=plain),
        "mixing": {
            "training": mixing(lambda x: first(x, True), samples.x, cotangent),
            "evaluation": mixing(lambda x: first(x, False), samples.x, cotangent),
        },
        **_both_modes(model, point.near, state, samples.x, key=key, hypers=active),
        "steps": _first_steps(model, params, state, samples, key=key, hypers=plain),
    }


def _first_steps(
    model: Model, params: PyTree, state: PyTree, samples: Samples, *, key: Array, hypers: Hypers
) -> Numbers:
    """Which tensors move in a few steps on the same samples, and whether units stay alike, [1, tensor]."""
    rows = jnp.arange(samples.x.shape[0], dtype=jnp.int32)
    course = Course(
        rows[None],
        rows[:2],  # two, since batch normalisation refuses one
        jnp.float32(FIRST_RATE),
        jnp.zeros((), jnp.bool_),
        FIRST_STEPS,
    )
    told = short_training(
        model, params, state, course, samples=samples, key=key, hypers=hypers, block=FIRST_STEPS
    )
    return {name: told[name][None] for name in ("moved", "twins")}


def best_constants(model: Model, y: Array, constants: Array, *, hypers: Hypers) -> Array:
    """Mean loss of constant outputs [constant, output], for the samples or steps with targets `y`."""

    def one(constant: Array) -> Array:
        return _mean(
            *model.losses(jnp.broadcast_to(constant, (*y_rows(y), constant.size)), y, hypers)
        )

    return lax.map(one, constants)


def y_rows(y: Array) -> tuple[int, ...]:
    """Leading axes of outputs that belong to these targets: [sample], or [sample, time] for a class by step."""
    is_class = jnp.issubdtype(y.dtype, jnp.integer)
    return tuple(y.shape if is_class else y.shape[:-1])


def _tapped_names(layer_names: Sequence[str], taps: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Layers that can be looked at, and the tap of each: after its activation where it has one."""
    found = []
    for name in layer_names:
        after = f"{name}_activation"
        tap = after if after in taps else name
        if tap in taps:
            found.append((name, tap))
    return found


def _by_layer(
    model: Model, params: PyTree, state: PyTree, samples: Samples, *, key: Array, hypers: Hypers
) -> Numbers:
    """Spread of what each layer gives, and root mean square of a sample's gradient there.

    Networks whose layers cannot be changed from outside give the gradient of their weights instead.
    """

    def look(params: PyTree, moves: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        taps = model.changing(lambda name, x: x + moves[name] if name in moves else x)
        loss, _ = mean_loss(
            model, params, state, samples, key=key, is_training=True, hypers=hypers, taps=taps
        )
        return loss, dict(taps)

    shapes = jax.eval_shape(lambda p: look(p, {})[1], params)
    moves = {name: jnp.zeros(shape.shape, shape.dtype) for name, shape in shapes.items()}
    (by_weight, by_move), taps = jax.grad(look, argnums=(0, 1), has_aux=True)(params, moves)
    pairs = _tapped_names(model.layer_names, taps)
    count = samples.x.shape[0]
    return {
        "activations": _stacked([jnp.std(taps[tap]) for _, tap in pairs]),
        "gradients": _stacked([count * _rms([by_move[tap]]) for _, tap in pairs]),
        "weight_gradients": _stacked(
            [_rms(jax.tree.leaves(by_weight[name])) for name in model.layer_names]
        ),
    }


def layer_taps(model: Model, params: PyTree, state: PyTree, x: Any, *, hypers: Hypers) -> list[str]:
    """Names of the layers that `inspect` tells of, from shapes alone."""

    def taps(params: PyTree, state: PyTree, x: Array) -> dict[str, Array]:
        found: dict[str, Array] = {}
        model.apply(
            params, state, x, key=jax.random.key(0), is_training=True, hypers=hypers, taps=found
        )
        return found

    return [
        name for name, _ in _tapped_names(model.layer_names, jax.eval_shape(taps, params, state, x))
    ]


def _stacked(values: Sequence[Array]) -> Array:
    return jnp.stack(values) if values else jnp.zeros((0,))


def _rms(leaves: Sequence[Array]) -> Array:
    count = sum(leaf.size for leaf in leaves)
    return jnp.sqrt(
        sum((jnp.sum(jnp.square(leaf)) for leaf in leaves), jnp.zeros(())) / max(1, count)
    )


def _reach(model: Model, point: Point, x: Array, *, key: Array, hypers: Hypers) -> Numbers:
    """Least and largest output, and the error of row sums, under weights far from the start.

    Half of the draws make all weights four times as large, half the last layer thirty times; what overflows is left out.
    """
    last = model.layer_names[-1]
    angles = 2.0 * jnp.pi * (jnp.arange(NUM_DRAWS) + 0.5) / NUM_DRAWS

    def draw(given: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        number, angle = given
        one, two = jnp.cos(angle), jnp.sin(angle)
        is_whole = number % 2 == 0

        def move(path: tuple[Any, ...], leaf: Array, first: Array, second: Array) -> Array:
            is_last = getattr(path[0], "key", None) == last
            scale = jnp.where(is_whole, 4.0, 30.0 if is_last else 1.0)
            return ((leaf + one * first + two * second) * scale).astype(leaf.dtype)

        wild = jax.tree_util.tree_map_with_path(move, point.params, *point.noise)
        outputs, _ = model.apply(wild, point.state, x, key=key, is_training=True, hypers=hypers)
        is_good = jnp.isfinite(outputs)
        sums = jnp.abs(jnp.sum(outputs, axis=-1) - 1.0)
        return (
            jnp.min(jnp.where(is_good, outputs, jnp.inf)),
            jnp.max(jnp.where(is_good, outputs, -jnp.inf)),
            jnp.max(jnp.where(jnp.isfinite(sums), sums, 0.0)),
        )

    low, high, error = lax.map(draw, (jnp.arange(NUM_DRAWS), angles))
    return {"low": jnp.min(low), "high": jnp.max(high), "row_sum_error": jnp.max(error)}


def _mixing(first: Callable[[Array], Array], x: Array, cotangent: Array) -> Array:
    """How much the first sample's output depends on the other samples, relative to what it depends on itself."""
    grads = jnp.abs(jax.grad(lambda x: jnp.sum(first(x) @ cotangent))(x))
    return jnp.max(grads[1:]) / (jnp.max(grads) + 1e-30)


def _exchanging(first: Callable[[Array], Array], x: Array, cotangent: Array) -> Array:
    """The same without a gradient: what becomes of it when all others are the second sample."""
    others = jnp.concatenate([x[:1], jnp.broadcast_to(x[1:2], (x.shape[0] - 1, *x.shape[1:]))])
    here, there = first(x), first(others)
    return jnp.max(jnp.abs(here - there)) / (jnp.max(jnp.abs(here)) + 1e-30)


def _both_modes(
    model: Model, params: PyTree, state: PyTree, x: Array, *, key: Array, hypers: Hypers
) -> Numbers:
    """Difference of two evaluations, and size of outputs at evaluation relative to their mean in training."""

    def outputs(number: Array, is_training: bool) -> Array:
        own = jax.random.fold_in(key, number)
        return model.apply(params, state, x, key=own, is_training=is_training, hypers=hypers)[0]

    here, there = outputs(jnp.int32(0), False), outputs(jnp.int32(1), False)
    zero = jnp.zeros_like(here)
    noisy = lax.fori_loop(0, NUM_NOISES, lambda i, total: total + outputs(i, True), zero)
    size = jnp.max(jnp.abs(here)) + 1e-30
    return {
        "noise": jnp.max(jnp.abs(here - there)) / size,
        "loudness": _rms([here]) / (_rms([noisy / NUM_NOISES]) + 1e-30),
    }


# ---- short trainings -------------------------------------------------------------------------


class Course(NamedTuple):
    """What one short training is to do.

    How long it is comes as a value, so that one program serves short and long courses.

    Attributes:
        rows: Rows of the samples in each batch, int32 [batch, row]; batches come in turn, over and over.
        judged: Rows on which it is judged, int32 [row].
        rate: Learning rate at the start; it falls to a tenth.
        is_zeroed: Whether inputs are replaced by zeros.
        num_steps: Steps, a multiple of `block` (see `short_training`).
        enough: Loss (mean over a block) below which it stops early; None for never.
    """

    rows: Array
    judged: Array
    rate: Array
    is_zeroed: Array
    num_steps: Array
    enough: Array | None = None


class _Adam(NamedTuple):
    """What a short training carries: weights, state, both moments, steps taken, sum of losses by tenth, mean of the last block."""

    params: PyTree
    state: PyTree
    first: PyTree
    second: PyTree
    step: Array
    sums: Array
    last: Array


def short_training(
    model: Model,
    params: PyTree,
    state: PyTree,
    course: Course,
    *,
    samples: Samples,
    key: Array,
    hypers: Hypers,
    block: int = BLOCK,
) -> Numbers:
    """Train with Adam for a few steps, regularisation off, and look what came of it.

    Args:
        model: The network and its loss.
        params: Weights at the start.
        state: State at the start.
        course: What is trained on, how fast and how long.
        samples: All samples that rows may name.
        key: Where noise starts.
        hypers: Hyperparameters with all regularisation off.
        block: Steps between two looks at whether it is done.

    Returns:
        `losses` by tenth of the course (those it did not get to are that of the end), `steps` taken, `training` and `evaluation` loss of
        the judged rows in both modes; for each tensor `moved` (how far, relative to its size) and `twins` (whether all its units are
        equal).

    Source:
        Kingma and Ba 2014, https://arxiv.org/abs/1412.6980
    """
    given = Samples(jnp.where(course.is_zeroed, zeroed(samples.x), samples.x), samples.y)
    loss_of = partial(_loss_of_rows, model, samples=given, hypers=hypers)

    def step(_: int, carry: _Adam) -> _Adam:
        rows = course.rows[carry.step % course.rows.shape[0]]
        noise = jax.random.fold_in(key, carry.step)
        (loss, state), grads = jax.value_and_grad(
            lambda params: loss_of(params, carry.state, rows, noise, is_training=True),
            has_aux=True,
        )(carry.params)
        return _adam_step(carry._replace(state=state), grads, loss, course, block=block)

    end = lax.while_loop(
        lambda carry: (carry.step < course.num_steps) & ~_is_enough(carry, course),
        lambda carry: lax.fori_loop(0, block, step, carry._replace(last=jnp.float32(0.0))),
        _begin(params, state),
    )
    judged = partial(loss_of, end.params, end.state, course.judged, key)
    leaves = jax.tree.leaves(params), jax.tree.leaves(end.params)
    return {
        "losses": _by_tenth(end, course),
        "steps": end.step,
        "training": judged(is_training=True)[0],
        "evaluation": judged(is_training=False)[0],
        "moved": _stacked([_moved(a, b) for a, b in zip(*leaves, strict=True)]),
        "twins": _stacked([_twins(leaf) for leaf in leaves[1]]),
    }


def _loss_of_rows(
    model: Model,
    params: PyTree,
    state: PyTree,
    rows: Array,
    key: Array,
    *,
    samples: Samples,
    is_training: bool,
    hypers: Hypers,
) -> tuple[Array, PyTree]:
    few = Samples(jnp.take(samples.x, rows, axis=0), jnp.take(samples.y, rows, axis=0))
    loss, (state, _) = mean_loss(
        model, params, state, few, key=key, is_training=is_training, hypers=hypers
    )
    return loss, state


def _begin(params: PyTree, state: PyTree) -> _Adam:
    zeros = jax.tree.map(jnp.zeros_like, params)
    last = jnp.float32(jnp.inf)  # no block is done yet, so nothing is enough
    return _Adam(params, state, zeros, zeros, jnp.int32(0), jnp.zeros(TENTHS), last)


def _is_enough(carry: _Adam, course: Course) -> Array:
    return jnp.zeros((), jnp.bool_) if course.enough is None else carry.last < course.enough


def _adam_step(carry: _Adam, grads: PyTree, loss: Array, course: Course, *, block: int) -> _Adam:
    """One step of Adam, and the loss before it added to the sums."""
    i = carry.step
    first = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, carry.first, grads)
    second = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * jnp.square(g), carry.second, grads)
    rate = course.rate * (1.0 - 0.9 * i / _length(course))
    one, two = 1.0 - B1 ** (i + 1.0), 1.0 - B2 ** (i + 1.0)
    params = jax.tree.map(
        lambda p, m, v: p - (rate * (m / one) / (jnp.sqrt(v / two) + EPS)).astype(p.dtype),
        carry.params,
        first,
        second,
    )
    loss = loss.astype(jnp.float32)
    sums = carry.sums.at[_tenth(i, course)].add(loss)
    return _Adam(params, carry.state, first, second, i + 1, sums, carry.last + loss / block)


def _length(course: Course) -> Array:
    return jnp.maximum(course.num_steps, 1)  # a course of no steps is there to fill up a program


def _tenth(step: Array, course: Course) -> Array:
    return jnp.minimum(TENTHS * step // _length(course), TENTHS - 1)


def _by_tenth(end: _Adam, course: Course) -> Array:
    """Mean loss of each tenth of the course; where it stopped early, the last one for all that follow."""
    place = jnp.arange(TENTHS, dtype=jnp.int32)
    edges = -(-jnp.arange(TENTHS + 1, dtype=jnp.int32) * course.num_steps // TENTHS)
    counts = jnp.minimum(edges[1:], end.step) - jnp.minimum(edges[:-1], end.step)
    means = end.sums / jnp.maximum(counts, 1)
    return jnp.where(place > _tenth(end.step - 1, course), end.last, means)


def _moved(before: Array, after: Array) -> Array:
    return jnp.max(jnp.abs(after - before)) / (jnp.max(jnp.abs(before)) + 1e-12)


def _twins(leaf: Array) -> Array:
    """Whether a kernel's units (its last axis) are all equal; never for a tensor with a single unit or without inputs."""
    if leaf.ndim < 2 or leaf.shape[-1] < 2:
        return jnp.zeros(())
    apart = jnp.max(jnp.abs(leaf - leaf[..., :1]))
    return (apart <= 1e-6 * jnp.max(jnp.abs(leaf))).astype(jnp.float32)
