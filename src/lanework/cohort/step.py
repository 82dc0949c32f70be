"""One training step of ONE run, as pure functions; `program` makes lanes of it.

Owns what a run carries from step to step and what a segment gives back. Knows no files, no clocks and no lanes:
everything here is written for a single run and never mentions the run axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from lanework.health import activations, answers, deep, probes, series

Array: TypeAlias = jax.Array
PyTree: TypeAlias = Any
Hypers: TypeAlias = Mapping[str, Array]
_Carry: TypeAlias = tuple[Any, Any]  # lane, series by step
_OF_WHOLE = frozenset((*deep.WHOLE, *answers.STATISTICS, *series.STATISTICS))
FOLD = "fold"
"""Hyperparameter that says which fold a run is judged on."""
FOLD_ROWS = "fold_rows"
"""Beside the arrays of a part that holds all folds: how many rows of each fold count, int32 [fold]."""


class Problem(NamedTuple):
    """What is trained, as pure functions of one run.

    Attributes:
        init: `key -> (params, state)`; `state` holds what is carried but not differentiated (batch statistics).
        loss: `(params, state, batch, *, key, hypers) -> (scalar, state)` in training mode. `batch["weight"]`
            is 0 for samples that only fill up the last batch of an epoch; `batch["key"]` is a key for each sample (raw,
            uint32 [batch, 2]), which depends on seed, epoch and number of the sample only.
        evaluate: `(params, state, batch, sums, *, hypers, is_stacked=False) -> sums` in evaluation mode; None when there is
            nothing to evaluate. Stacked weights [member, ...] are an ensemble, whose predictions are averaged.
        observe: `(params, state, batch, sums, seen, *, hypers) -> (sums, seen)`: the same, and what layers give; None where
            layers cannot be looked at.
        zero_sums: `() -> sums` before the first chunk.
        zero_seen: The same for what layers give.
        finish: `sums -> {metric: scalar}`.
        finish_seen: `seen -> {statistic: [layer]}`; scalars tell of the whole network.
        layer_names: First-level names of `params`, in forward order.
        seen_layers: Those that `observe` looks at.
        steps_per_epoch: Steps after which samples get new keys.
        tracked: Like `loss`, and gives the loss of each sample: `-> (scalar, (state, [batch]))`; None where they are not asked
            for.
        num_tracked: Samples of the training part whose last losses a run remembers; 0 without `tracked`.
        terms: `batch -> scalar`: how many losses `loss` is the sum of, so that the mean can be recorded; None where it is a
            mean.
    """

    init: Callable[[Array], tuple[PyTree, PyTree]]
    loss: Callable[..., tuple[Array, PyTree]]
    evaluate: Callable[..., PyTree] | None = None
    zero_sums: Callable[[], PyTree] | None = None
    finish: Callable[[PyTree], dict[str, Array]] | None = None
    layer_names: tuple[str, ...] = ()
    steps_per_epoch: int = 1
    observe: Callable[..., tuple[PyTree, PyTree]] | None = None
    zero_seen: Callable[[], PyTree] = dict
    finish_seen: Callable[[PyTree], dict[str, Array]] = dict
    seen_layers: tuple[str, ...] = ()
    tracked: Callable[..., tuple[Array, tuple[PyTree, Array]]] | None = None
    num_tracked: int = 0
    terms: Callable[[Mapping[str, Array]], Array] | None = None

    def layers_of(self, statistic: str) -> tuple[str, ...]:
        """The layers that a recorded statistic tells of; an empty name for the network as a whole."""
        if statistic in _OF_WHOLE:
            return ("",)
        return self.seen_layers if statistic in activations.STATISTICS else self.layer_names


class Told(NamedTuple):
    """What one application of an `Update` gives.

    Attributes:
        updates: Added to the weights.
        opt_state: State of the rule afterwards.
        grads: The gradients as the rule saw them.
        series: Scalars of this step by name, always the same names (`Update.series`).
    """

    updates: PyTree
    opt_state: PyTree
    grads: PyTree
    series: dict[str, Array]


def _unchanged(hypers: Hypers, step: Array) -> Hypers:
    return hypers


class Update(NamedTuple):
    """How weights change: schedules, penalties, clipping, noise, rule, decay and averages.

    Attributes:
        init: `params -> opt_state`.
        apply: `(grads, opt_state, params, *, hypers, step, key, value, objective) -> Told`. `value` is the loss of the batch,
            `objective` the pure function from parameters to it, for rules that search along a line.
        scheduled: `(hypers, step) -> hypers` of this very step.
        series: Names of the scalars that each step tells.
        evaluated: `(opt_state, params, hypers) -> params`: the weights a rule wants to be judged by, where they are not those it
            steps with; None otherwise.
        evaluations: `opt_state -> gradients computed so far`, or None for rules that compute one per step.
        average: Average of the weights (`lanework.recipes.Average`), which is then what is evaluated and kept; None for
            none.
    """

    init: Callable[[PyTree], PyTree]
    apply: Callable[..., Told]
    scheduled: Callable[[Hypers, Array], Hypers] = _unchanged
    series: tuple[str, ...] = ()
    evaluated: Callable[[PyTree, PyTree, Hypers], PyTree] | None = None
    evaluations: Callable[[PyTree], Array | None] = lambda opt_state: None
    average: Any = None

    def has_own_view(self) -> bool:
        """Whether other weights than the trained ones are evaluated."""
        return self.evaluated is not None or self.average is not None

    def is_stacked(self) -> bool:
        """Whether what is evaluated is an ensemble, [member, ...]."""
        return self.average is not None and bool(self.average.is_stacked)


class Watch(NamedTuple):
    """What is looked at.

    Attributes:
        metric: Picks the best weights.
        sign: +1 when more of it is better, else -1.
        keep_best: Whether the best weights are kept.
        is_monitored: Whether layers are looked at.
        deep_every: Evaluations from one close look to the next; 0 for none.
    """

    metric: str = "loss"
    sign: float = -1.0
    keep_best: bool = False
    is_monitored: bool = True
    deep_every: int = 0


class Lane(NamedTuple):
    """Everything one run carries from segment to segment (all arrays, so that a snapshot is just this).

    `kept_*` is what a finished run hands over where that is not simply its weights (the best ones, an average), else empty
    dicts; `average` is the state of an average. `key` is raw key data, uint32 [2]. `last_losses` is the last known loss of
    each training sample, float32 [sample], NaN before the first; an empty dict where nobody asks. `last_gradient` is that of the last
    close look, zeros before the first; an empty dict where there is none.
    """

    params: PyTree
    state: PyTree
    opt_state: PyTree
    step: Array
    key: Array
    average: PyTree
    best_value: Array
    kept_params: PyTree
    kept_state: PyTree
    last_losses: PyTree
    last_gradient: PyTree


class Batches(NamedTuple):
    """Batches of a run for some steps.

    Attributes:
        rows: Which rows of the training part, int32 [step, batch]; `~i` is row i with weight 0.
        weight: What each weighs in the loss, float32 [step, batch]; an empty dict where all weigh the same.
    """

    rows: PyTree
    weight: PyTree


class Segment(NamedTuple):
    """What one segment of one run tells the host.

    Attributes:
        losses: Training loss of each step, [step]; steps that were not run are 0.
        series: What else the update tells of each step, `{name: [step]}`.
        metrics: Metrics on the validation part after the last step; where an average is what counts, those of the weights
            themselves stand beside as `raw_...`.
        health: `{name: [layer]}` of the last step, scalars of the whole network; empty when not monitored.
        evaluations: Gradients computed since the first step; None for rules that compute one per step.
    """

    losses: Array
    series: dict[str, Array]
    metrics: dict[str, Array]
    health: dict[str, Array]
    evaluations: Array | None = None


def fresh_lane(problem: Problem, update: Update, watch: Watch, *, seed: Array) -> Lane:
    """The state of a run before its first step, a pure function of its seed.

    The keys for weights and for the steps are split by purpose from the seed alone, so every recipe of a seed starts from
    the same weights (where shapes allow) and draws the same noise.
    """
    root = jax.random.key(seed)
    key_init, key_steps = jax.random.fold_in(root, 0), jax.random.fold_in(root, 1)
    params, state = problem.init(key_init)
    lane = Lane(
        params=params,
        state=state,
        opt_state=update.init(params),
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key_data(key_steps),
        average=update.average.init((params, _as_numbers(state))) if update.average else {},
        best_value=jnp.full((), -jnp.inf, jnp.float32),
        kept_params={},
        kept_state={},
        last_losses=jnp.full((problem.num_tracked,), jnp.nan, jnp.float32)
        if problem.tracked
        else {},
        last_gradient=jax.tree.map(jnp.zeros_like, params) if watch.deep_every else {},
    )
    if not (watch.keep_best or update.has_own_view()):
        return lane
    # The rule's own view depends on hyperparameters, which do not exist yet; before the first step it is the weights.
    kept = _averaged(update, lane) if update.average else (params, state)
    return lane._replace(kept_params=kept[0], kept_state=kept[1])


def _as_numbers(state: PyTree) -> PyTree:
    """Counters and flags as numbers, so that they can be averaged like the rest."""
    inexact = jnp.inexact
    return jax.tree.map(
        lambda x: x if jnp.issubdtype(x.dtype, inexact) else x.astype(jnp.float32), state
    )


def _averaged(update: Update, lane: Lane) -> tuple[PyTree, PyTree]:
    params, state = update.average.value(lane.average, (lane.params, _as_numbers(lane.state)))
    return params, jax.tree.map(lambda x, like: x.astype(like.dtype), state, lane.state)


def shown_weights(update: Update, lane: Lane, hypers: Hypers) -> tuple[PyTree, PyTree]:
    """Parameters and state by which a run is judged."""
    if update.average is not None:
        return _averaged(update, lane)
    if update.evaluated is not None:
        return update.evaluated(lane.opt_state, lane.params, hypers), lane.state
    return lane.params, lane.state


def train_step(
    problem: Problem, update: Update, lane: Lane, *, batch: PyTree, hypers: Hypers
) -> tuple[Lane, Array, Told]:
    """One forward pass, one backward pass, one update.

    Args:
        problem: What is trained.
        update: How the weights change.
        lane: The run before the step.
        batch: Mapping of arrays with a leading batch axis, and `weight` [batch]; where losses of samples are remembered, also
            `number` [batch], each sample's place in the training part.
        hypers: Traced hyperparameters of this run, scalars.

    Returns:
        The run after the step, the mean loss, and what the update tells.
    """
    key = jax.random.fold_in(jax.random.wrap_key_data(lane.key), lane.step)
    hypers = update.scheduled(hypers, lane.step)

    def objective(params: PyTree) -> tuple[Array, tuple[PyTree, PyTree]]:
        if problem.tracked is not None:
            return problem.tracked(params, lane.state, batch, key=key, hypers=hypers)
        value, state = problem.loss(params, lane.state, batch, key=key, hypers=hypers)
        return value, (state, {})

    (loss, (state, each)), grads = jax.value_and_grad(objective, has_aux=True)(lane.params)
    told = update.apply(
        grads,
        lane.opt_state,
        lane.params,
        hypers=hypers,
        step=lane.step,
        key=key,
        value=loss,
        objective=lambda params: objective(params)[0],
    )
    params = jax.tree.map(jnp.add, lane.params, told.updates)
    after = lane._replace(params=params, state=state, opt_state=told.opt_state, step=lane.step + 1)
    if problem.tracked is not None:
        after = after._replace(last_losses=_remembered(lane.last_losses, batch, each))
    if update.average is not None:
        now = (params, _as_numbers(state))
        average = update.average.update(lane.average, now, step=lane.step, hypers=hypers)
        after = after._replace(average=average)
    return after, loss if problem.terms is None else loss / problem.terms(batch), told


def _remembered(last: Array, batch: Mapping[str, Array], each: Array) -> Array:
    """Last losses with those of a batch; of a sample that stands in it twice the larger one, in whatever order they come."""
    place = jnp.where(batch["weight"] > 0, batch["number"], last.shape[0])  # outside: not written
    cleared = last.at[place].set(-jnp.inf, mode="drop")
    return cleared.at[place].max(each.astype(last.dtype), mode="drop")


def gather(data: Mapping[str, Array], index: Array) -> dict[str, Array]:
    """Samples by index; a negative index `~i` is sample i with weight 0 (see `lanework.data.batch_indices`)."""
    position = jnp.where(index < 0, ~index, index)
    batch = {name: jnp.take(array, position, axis=0, mode="clip") for name, array in data.items()}
    return batch | {"weight": (index >= 0).astype(jnp.float32)}


def sample_keys(lane: Lane, index: Array, *, steps_per_epoch: int) -> Array:
    """A raw key for each sample of a batch, uint32 [batch, 2]: the same whatever else is in the batch, new each epoch."""
    # Steps count from 0 up, epochs from 2^31 up: no key of a step is that of an epoch.
    epoch = jnp.uint32(2**31) + (lane.step // steps_per_epoch).astype(jnp.uint32)
    root = jax.random.fold_in(jax.random.wrap_key_data(lane.key), epoch)
    position = jnp.where(index < 0, ~index, index)
    return jax.vmap(lambda number: jax.random.key_data(jax.random.fold_in(root, number)))(position)


def evaluate(
    problem: Problem,
    params: PyTree,
    state: PyTree,
    *,
    data: Mapping[str, Array],
    hypers: Hypers,
    chunk: int,
    is_stacked: bool = False,
) -> dict[str, Array]:
    """Metrics over a whole part, in chunks so that activations stay small; the last chunk is padded with weight 0."""
    if problem.evaluate is None or problem.zero_sums is None or problem.finish is None:
        return {}
    add = partial(problem.evaluate, is_stacked=True) if is_stacked else problem.evaluate

    def judge(batch: Mapping[str, Array], sums: PyTree) -> PyTree:
        return add(params, state, batch, sums, hypers=hypers)

    sums = _over_chunks(judge, problem.zero_sums(), data=data, hypers=hypers, chunk=chunk)
    return problem.finish(sums)


def observe(
    problem: Problem,
    params: PyTree,
    state: PyTree,
    *,
    data: Mapping[str, Array],
    hypers: Hypers,
    chunk: int,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """`evaluate`, and what layers give on the way, from one forward pass."""
    look, finish, zero = problem.observe, problem.finish, problem.zero_sums
    if look is None or finish is None or zero is None:
        return evaluate(problem, params, state, data=data, hypers=hypers, chunk=chunk), {}

    def judge(batch: Mapping[str, Array], sums: PyTree) -> PyTree:
        return look(params, state, batch, *sums, hypers=hypers)

    before = (zero(), problem.zero_seen())
    sums, seen = _over_chunks(judge, before, data=data, hypers=hypers, chunk=chunk)
    return finish(sums), problem.finish_seen(seen)


def _over_chunks(
    add: Callable[[Mapping[str, Array], PyTree], PyTree],
    zero: PyTree,
    *,
    data: Mapping[str, Array],
    hypers: Hypers,
    chunk: int,
) -> PyTree:
    """Sums over a whole part, or over the rows of the run's own fold where it holds several."""
    if FOLD_ROWS in data:
        return _over_fold(add, zero, data=data, fold=hypers[FOLD], chunk=chunk)
    num_samples = next(iter(data.values())).shape[0]
    num_chunks = -(-num_samples // chunk)
    if num_chunks == 1:
        return add(dict(data) | {"weight": jnp.ones((num_samples,), jnp.float32)}, zero)

    def body(index: Array, sums: PyTree) -> PyTree:
        position = index * chunk + jnp.arange(chunk)
        signed = jnp.where(position < num_samples, position, ~(position % num_samples))
        return add(gather(data, signed), sums)

    return lax.fori_loop(0, num_chunks, body, zero)


def _over_fold(
    add: Callable[[Mapping[str, Array], PyTree], PyTree],
    zero: PyTree,
    *,
    data: Mapping[str, Array],
    fold: Array,
    chunk: int,
) -> PyTree:
    """Sums over one fold of a part in which folds of equal length follow each other; what only fills up has weight 0."""
    arrays = {name: array for name, array in data.items() if name != FOLD_ROWS}
    rows = data[FOLD_ROWS]
    size = next(iter(arrays.values())).shape[0] // rows.shape[0]
    place = fold.astype(jnp.int32)
    count = jnp.take(rows, place, mode="clip")
    length = min(chunk, size)

    def body(index: Array, sums: PyTree) -> PyTree:
        position = index * length + jnp.arange(length)
        inside = place * size + position % size
        return add(gather(arrays, jnp.where(position < count, inside, ~inside)), sums)

    return lax.fori_loop(0, -(-size // length), body, zero)


def train_steps(
    problem: Problem,
    update: Update,
    watch: Watch,
    lane: Lane,
    *,
    hypers: Hypers,
    batches: Batches,
    num_steps: Array,
    data: Mapping[str, Mapping[str, Array]],
) -> tuple[Lane, dict[str, Array], dict[str, Array]]:
    """Train one run for `num_steps` steps; arguments as in `train_segment`.

    Returns:
        The run, `loss` and what the update tells of each step `{name: [step]}`, and the health of the last step (empty when
        not monitored).
    """
    empty = jnp.zeros((batches.rows.shape[0],), jnp.float32)
    series = dict.fromkeys(("loss", *update.series), empty)

    def step(i: Array, carry: _Carry) -> tuple[_Carry, Told]:
        lane, series = carry
        batch = _batch(batches, i, data["train"])
        keys = sample_keys(lane, batch["number"], steps_per_epoch=problem.steps_per_epoch)
        batch["key"] = keys
        lane, loss, told = train_step(problem, update, lane, batch=batch, hypers=hypers)
        now = {"loss": loss, **told.series}
        series = {
            name: lax.dynamic_update_index_in_dim(row, now[name].astype(jnp.float32), i, 0)
            for name, row in series.items()
        }
        return (lane, series), told

    def body(i: Array, carry: _Carry) -> _Carry:
        return step(i, carry)[0]

    if not watch.is_monitored:
        lane, series = lax.fori_loop(0, num_steps, body, (lane, series))
        return lane, series, {}
    # The last step stands outside of the loop: looking at it inside, under a condition, would slow every step down.
    before, series = lax.fori_loop(0, num_steps - 1, body, (lane, series))
    (lane, series), told = step(num_steps - 1, (before, series))
    seen = probes.norms(problem.layer_names, before.params, lane.params, told.grads)
    return lane, series, seen


def _batch(batches: Batches, i: Array, data: Mapping[str, Array]) -> dict[str, Array]:
    """Batch number i, with `weight` and `number`: rows of a part that is streamed say which sample they are."""
    rows, weight = jax.tree.map(
        lambda table: lax.dynamic_index_in_dim(table, i, keepdims=False), batches
    )
    batch = gather(data, rows)
    batch.setdefault("number", jnp.where(rows < 0, ~rows, rows))
    if isinstance(weight, jax.Array):
        batch["weight"] = batch["weight"] * weight
    return batch


def train_segment(
    problem: Problem,
    update: Update,
    watch: Watch,
    lane: Lane,
    *,
    hypers: Hypers,
    batches: Batches,
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
        batches: The batches of each step.
        num_steps: How many of them count, int32 scalar, the same for every run of a call.
        data: Parts by name; `train` is required, `val` is evaluated when present.
        chunk: Samples per evaluation chunk.

    Returns:
        The run after the segment, and what the host is told.
    """
    lane, series, health = train_steps(
        problem, update, watch, lane, hypers=hypers, batches=batches, num_steps=num_steps, data=data
    )
    has_own_view = update.has_own_view()
    shown = shown_weights(update, lane, hypers)
    metrics: dict[str, Array] = {}
    if part := data.get("val", {}):
        judge = partial(evaluate, problem, data=part, hypers=hypers, chunk=chunk)
        if watch.is_monitored and not update.is_stacked():
            metrics, seen = observe(problem, *shown, data=part, hypers=hypers, chunk=chunk)
            health = health | seen
        else:
            metrics = judge(*shown, is_stacked=update.is_stacked())
        if has_own_view:
            raw = judge(lane.params, lane.state)
            metrics = metrics | {f"raw_{name}": value for name, value in raw.items()}
    score = metrics.get(watch.metric, -watch.sign * jnp.inf) * watch.sign
    is_improved = score > lane.best_value
    best_value = jnp.where(is_improved, score, lane.best_value).astype(jnp.float32)
    kept = (lane.kept_params, lane.kept_state)
    if watch.keep_best:
        kept = _choose(is_improved, shown, kept)
    elif has_own_view:
        kept = shown
    lane = lane._replace(best_value=best_value, kept_params=kept[0], kept_state=kept[1])
    losses = series.pop("loss")
    evaluations = update.evaluations(lane.opt_state)
    return lane, Segment(losses, series, metrics, health, evaluations)


def look_deeper(
    problem: Problem,
    lane: Lane,
    *,
    hypers: Hypers,
    rows: Array,
    is_due: Array,
    data: Mapping[str, Mapping[str, Array]],
    batch_size: int,
) -> tuple[Lane, dict[str, Array]]:
    """A close look at one run between two segments, see `lanework.health.deep.look`; trains nothing.

    The loss is that of training without penalties, with the same noise each time.

    Args:
        problem: What is trained.
        lane: The run.
        hypers: Traced hyperparameters, scalars.
        rows: Rows of the training part to look at, int32 [sample].
        is_due: Whether the run is to remember the gradient that is found.
        data: Parts by name.
        batch_size: Samples of a training batch.

    Returns:
        The run with the gradient of this look, and the statistics.
    """
    batch = gather(data["train"], rows)
    batch.setdefault("number", rows)
    key = jax.random.key(0)
    batch["key"] = jax.vmap(lambda number: jax.random.key_data(jax.random.fold_in(key, number)))(
        batch["number"]
    )

    def loss(params: PyTree, samples: PyTree) -> Array:
        return problem.loss(params, lane.state, samples, key=key, hypers=hypers)[0]

    told, gradient = deep.look(
        loss,
        lane.params,
        batch,
        lane.last_gradient,
        layer_names=problem.layer_names,
        batch_size=batch_size,
    )
    return lane._replace(last_gradient=_choose(is_due, gradient, lane.last_gradient)), told


def _choose(flag: Array, yes: PyTree, no: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(flag, a, b), yes, no)
