"""One training step of ONE run, as pure functions; `program` makes lanes of it.

Owns what a run carries from step to step and what a segment gives back. Knows no files, no clocks and no lanes:
everything here is written for a single run and never mentions the run axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from lanework.health import probes

Array: TypeAlias = jax.Array
PyTree: TypeAlias = Any
Hypers: TypeAlias = Mapping[str, Array]
_Carry: TypeAlias = tuple[Any, Any, Any]  # lane, losses, gradient norms of the last step


class Problem(NamedTuple):
    """What is trained, as pure functions of one run.

    Attributes:
        init: `key -> (params, state)`; `state` holds what is carried but not differentiated (batch statistics).
        loss: `(params, state, batch, *, key, hypers) -> (scalar, state)` in training mode. `batch["weight"]`
            is 0 for samples that only fill up the last batch of an epoch.
        evaluate: `(params, state, batch, sums, *, hypers) -> sums` in evaluation mode; None when there is nothing to
            evaluate.
        zero_sums: `() -> sums` before the first chunk.
        finish: `sums -> {metric: scalar}`.
        layer_names: First-level names of `params`, in forward order.
    """

    init: Callable[[Array], tuple[PyTree, PyTree]]
    loss: Callable[..., tuple[Array, PyTree]]
    evaluate: Callable[..., PyTree] | None = None
    zero_sums: Callable[[], PyTree] | None = None
    finish: Callable[[PyTree], dict[str, Array]] | None = None
    layer_names: tuple[str, ...] = ()


class Update(NamedTuple):
    """How weights change: penalties, clipping, schedule, rule and decay in one pair of functions.

    Attributes:
        init: `params -> opt_state`.
        apply: `(grads, opt_state, params, *, hypers, step) -> (updates, opt_state, grads)`; the updates are added, the
            gradients come back as the rule saw them.
    """

    init: Callable[[PyTree], PyTree]
    apply: Callable[..., tuple[PyTree, PyTree, PyTree]]


class Watch(NamedTuple):
    """What the segment looks at. `metric` picks the best weights; `sign` is +1 when larger is better, else -1."""

    metric: str = "loss"
    sign: float = -1.0
    keep_best: bool = False
    is_monitored: bool = True


class Lane(NamedTuple):
    """Everything one run carries from segment to segment (all arrays, so that a snapshot is just this).

    `best_*` are empty dicts unless the best weights are kept. `key` is raw key data, uint32 [2].
    """

    params: PyTree
    state: PyTree
    opt_state: PyTree
    step: Array
    key: Array
    best_value: Array
    best_params: PyTree
    best_state: PyTree


class Segment(NamedTuple):
    """What one segment of one run tells the host.

    Attributes:
        losses: Training loss of each step, [step]; steps that were not run are 0.
        metrics: Metrics on the validation part after the last step.
        is_improved: Whether `Watch.metric` beat the best so far.
        health: `{name: [layer]}` of the last step, empty when not monitored.
    """

    losses: Array
    metrics: dict[str, Array]
    is_improved: Array
    health: dict[str, Array]


def fresh_lane(problem: Problem, update: Update, watch: Watch, *, seed: Array) -> Lane:
    """The state of a run before its first step, a pure function of its seed.

    The keys for weights and for the steps are split by purpose from the seed alone, so every recipe of a seed starts from
    the same weights (where shapes allow) and draws the same noise.
    """
    root = jax.random.key(seed)
    key_init, key_steps = jax.random.fold_in(root, 0), jax.random.fold_in(root, 1)
    params, state = problem.init(key_init)
    return Lane(
        params=params,
        state=state,
        opt_state=update.init(params),
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key_data(key_steps),
        best_value=jnp.full((), -jnp.inf, jnp.float32),
        best_params=params if watch.keep_best else {},
        best_state=state if watch.keep_best else {},
    )


def train_step(
    problem: Problem, update: Update, lane: Lane, *, batch: PyTree, hypers: Hypers
) -> tuple[Lane, Array, PyTree]:
    """One forward pass, one backward pass, one update.

    Args:
        problem: What is trained.
        update: How the weights change.
        lane: The run before the step.
        batch: Mapping of arrays with a leading batch axis, and `weight` [batch].
        hypers: Traced hyperparameters of this run, scalars.

    Returns:
        The run after the step, the loss, and the gradients the rule saw.
    """
    key = jax.random.fold_in(jax.random.wrap_key_data(lane.key), lane.step)

    def objective(params: PyTree) -> tuple[Array, PyTree]:
        return problem.loss(params, lane.state, batch, key=key, hypers=hypers)

    (loss, state), grads = jax.value_and_grad(objective, has_aux=True)(lane.params)
    updates, opt_state, grads = update.apply(
        grads, lane.opt_state, lane.params, hypers=hypers, step=lane.step
    )
    params = jax.tree.map(jnp.add, lane.params, updates)
    after = lane._replace(params=params, state=state, opt_state=opt_state, step=lane.step + 1)
    return after, loss, grads


def gather(data: Mapping[str, Array], index: Array) -> dict[str, Array]:
    """Samples by index; a negative index `~i` is sample i with weight 0 (see `lanework.data.batch_indices`)."""
    position = jnp.where(index < 0, ~index, index)
    batch = {name: jnp.take(array, position, axis=0, mode="clip") for name, array in data.items()}
    return batch | {"weight": (index >= 0).astype(jnp.float32)}


def evaluate(
    problem: Problem,
    params: PyTree,
    state: PyTree,
    *,
    data: Mapping[str, Array],
    hypers: Hypers,
    chunk: int,
) -> dict[str, Array]:
    """Metrics over a whole part, in chunks so that activations stay small; the last chunk is padded with weight 0."""
    if problem.evaluate is None or problem.zero_sums is None or problem.finish is None:
        return {}
    num_samples = next(iter(data.values())).shape[0]
    num_chunks = -(-num_samples // chunk)
    zero = problem.zero_sums()
    add = problem.evaluate
    if num_chunks == 1:
        weight = jnp.ones((num_samples,), jnp.float32)
        return problem.finish(
            add(params, state, dict(data) | {"weight": weight}, zero, hypers=hypers)
        )

    def body(index: Array, sums: PyTree) -> PyTree:
        position = index * chunk + jnp.arange(chunk)
        signed = jnp.where(position < num_samples, position, ~(position % num_samples))
        return add(params, state, gather(data, signed), sums, hypers=hypers)

    return problem.finish(lax.fori_loop(0, num_chunks, body, zero))


def train_steps(
    problem: Problem,
    update: Update,
    watch: Watch,
    lane: Lane,
    *,
    hypers: Hypers,
    index: Array,
    num_steps: Array,
    data: Mapping[str, Mapping[str, Array]],
) -> tuple[Lane, Array, dict[str, Array]]:
    """Train one run for `num_steps` steps; arguments as in `train_segment`.

    Returns:
        The run, the loss of each step [step], and the health of the last step (empty when not monitored).
    """
    losses = jnp.zeros((index.shape[0],), jnp.float32)
    seen = probes.unseen(problem.layer_names) if watch.is_monitored else None

    def body(i: Array, carry: _Carry) -> _Carry:
        lane, losses, seen = carry
        batch = gather(data["train"], lax.dynamic_index_in_dim(index, i, keepdims=False))
        lane, loss, grads = train_step(problem, update, lane, batch=batch, hypers=hypers)
        losses = lax.dynamic_update_index_in_dim(losses, loss.astype(jnp.float32), i, 0)
        if watch.is_monitored:
            is_last = i == num_steps - 1
            seen = lax.cond(
                is_last, lambda: probes.layer_norms(problem.layer_names, grads), lambda: seen
            )
        return lane, losses, seen

    if not watch.is_monitored:
        lane, losses, _ = lax.fori_loop(0, num_steps, body, (lane, losses, None))
        return lane, losses, {}

    # Two rounds of one loop, all steps but the last and then the last: the weights between them give the last update without
    # keeping every update of the inner loop in memory, which would cost a tenth of the time of a small network.
    def one_round(number: Array, carry: tuple[_Carry, PyTree]) -> tuple[_Carry, PyTree]:
        inner, _ = carry
        first = jnp.where(number == 0, 0, num_steps - 1)
        last = jnp.where(number == 0, num_steps - 1, num_steps)
        return lax.fori_loop(first, last, body, inner), inner[0].params

    start = ((lane, losses, seen), lane.params)
    (lane, losses, grad_norm), before = lax.fori_loop(0, 2, one_round, start)
    return lane, losses, probes.norms(problem.layer_names, before, lane.params, grad_norm)


def train_segment(
    problem: Problem,
    update: Update,
    watch: Watch,
    lane: Lane,
    *,
    hypers: Hypers,
    index: Array,
    num_steps: Array,
    data: Mapping[str, Mapping[str, Array]],
    chunk: int,
) -> tuple[Lane, Segment]:
    """Train one run for up to `num_steps` steps, then evaluate and probe it.

    Args:
        problem: What is trained.
        update: How the weights change.
        watch: What is looked at.
        lane: The run before the segment.
        hypers: Traced hyperparameters, scalars.
        index: Sample numbers of each batch, int32 [step, batch]; see `gather`.
        num_steps: How many of the rows of `index` count, int32 scalar, the same for every run of a call.
        data: Parts by name; `train` is required, `val` is evaluated when present.
        chunk: Samples per evaluation chunk.

    Returns:
        The run after the segment, and what the host is told.
    """
    lane, losses, health = train_steps(
        problem, update, watch, lane, hypers=hypers, index=index, num_steps=num_steps, data=data
    )
    part = data.get("val", {})
    metrics = (
        evaluate(problem, lane.params, lane.state, data=part, hypers=hypers, chunk=chunk)
        if part
        else {}
    )
    score = metrics.get(watch.metric, -watch.sign * jnp.inf) * watch.sign
    is_improved = score > lane.best_value
    lane = lane._replace(
        best_value=jnp.where(is_improved, score, lane.best_value).astype(jnp.float32)
    )
    if watch.keep_best:
        lane = lane._replace(
            best_params=_choose(is_improved, lane.params, lane.best_params),
            best_state=_choose(is_improved, lane.state, lane.best_state),
        )
    return lane, Segment(losses, metrics, is_improved, health)


def _choose(flag: Array, yes: PyTree, no: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(flag, a, b), yes, no)
