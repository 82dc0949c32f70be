"""From a resolved configuration and a data set to the pure functions that the engine trains.

Owns the joining of models, losses and data into a `Problem` and a `Watch` (`updates` makes the `Update`). Everything static is
decided here; everything traced arrives later as `hypers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from lanework import models, own_code, recipes
from lanework.cohort import beginning, entering
from lanework.cohort.compiled import SAMPLE
from lanework.cohort.step import FOLD, Problem, Watch
from lanework.cohort.updates import groups_of, own_key
from lanework.data import Dataset
from lanework.health import activations, answers
from lanework.health.limits import squashed
from lanework.models.base import refuse
from lanework.spec import OF_NET, ZERO_IS_OFF, ModelSpec, RunConfig, TrainSpec

PyTree: TypeAlias = Any
SCORED_SAMPLES = 10_000
SCORED_BYTES, FEWEST_SCORED = 2**28, 500
EXAMPLE_SAMPLES = 256
# Name, among the arrays of a part, of how much each sample weighs in the training loss (1 on average).
IMPORTANCE = "importance"
# Losses that compare a single output with the class as a number: wrong for more than two classes, but it can be trained.
OF_NUMBERS = ("mse", "mae", "huber", "binary_cross_entropy")
Array: TypeAlias = jax.Array

# Names of metrics for which less is better; every other one wants more.
LOWER_IS_BETTER = frozenset({"loss", "rmse", "mae", "perplexity", "bits"})


def network(
    spec: ModelSpec,
    dataset: Dataset,
    *,
    outputs: int,
    module: Any = None,
    train: TrainSpec | None = None,
) -> models.Network:
    """The network of a model spec for this data set; `train` says what the output bias starts from, where it does."""
    bias = None
    if train is not None and spec.options.get("output_bias") == "base_rate":
        bias = beginning.base_rate(spec, train, dataset, num_outputs=outputs)
    net = models.network(
        spec,
        input=dataset.input,
        num_outputs=outputs,
        example=example(dataset) if models.needs_data(spec) else dataset.train.x[:2],
        module=module,
        output_bias=bias,
    )
    if spec.weights is None:
        return net
    return models.start_from(net, spec.weights, head=spec.head)[0]


def told_start(config: RunConfig, dataset: Dataset, *, module: Any = None) -> str:
    """What was loaded from the weights file of a configuration, what is new and what did not fit; empty without one."""
    spec, loss = config.model, config.train.loss
    if spec.weights is None:
        return ""
    outputs = num_outputs(loss.name if loss else "", dataset)
    fresh = spec.model_copy(update={"weights": None})
    net = network(fresh, dataset, outputs=outputs, module=module, train=config.train)
    return models.start_from(net, spec.weights, head=spec.head)[1].text()


def example_rows(dataset: Dataset, *, count: int = EXAMPLE_SAMPLES) -> np.ndarray:
    """Rows of training samples to look at before the first step, evenly spread over the training part."""
    num_train = len(dataset.train)
    return np.unique(np.linspace(0, num_train - 1, min(count, num_train)).astype(np.intp))


def example(dataset: Dataset) -> np.ndarray:
    """Prepared training samples, as they enter the network; see `example_rows`."""
    return np.asarray(input_scaling(dataset)(dataset.train.x[example_rows(dataset)]))


def num_outputs(loss: str, dataset: Dataset) -> int:
    """Outputs of the network: one per class or target, a single one for two classes under a binary loss."""
    if loss == "binary_cross_entropy" and len(dataset.classes) == 2:
        return 1
    return dataset.num_outputs


def _checked_outputs(config: RunConfig, dataset: Dataset) -> int:
    """Outputs that the data needs; fewer than classes are refused where the loss asks for the output of a class that has none.

    Raises:
        SpecError: The loss cannot be computed. (More outputs than classes can be trained, and so can the class as one number.)
    """
    loss = config.train.loss.name if config.train.loss else ""
    needed, classes = num_outputs(loss, dataset), len(dataset.classes)
    is_own = config.model.is_own or own_code.is_own(loss)
    given = None if is_own else config.model.options.get("num_outputs")
    # For two classes, one output is right; cross_entropy has a word of its own about that.
    is_one = given == 1 and (classes == 2 or loss in (*OF_NUMBERS, "cross_entropy"))
    if given is None or not classes or given >= needed or is_one:
        return needed
    text = f"must be at least {classes} for {loss}, an output for each class, got {given}: the loss asks for the output of the "
    text += "right class. Leave it out. (A single output takes the class as a number, with loss: "
    text += f"{', '.join(OF_NUMBERS[:-1])} or {OF_NUMBERS[-1]}.)"
    refuse("model.num_outputs", text)


def are_shares(config: RunConfig) -> bool:
    """Whether outputs for classes are shares (between 0 and 1) and not scores: then a single one turns at 1/2, not at 0."""
    activation = config.model.options.get("output_activation", "identity")
    loss = config.train.loss.name if config.train.loss else ""
    return activation in ("sigmoid", "softmax", "relu") or loss in ("mse", "mae", "huber")


def output_kind(config: RunConfig) -> str:
    """What outputs are, so that predictions of several networks can be averaged: `logits`, `binary_logits` or `values`."""
    loss = config.train.loss.name if config.train.loss else ""
    kinds = {"cross_entropy": "logits", "focal": "logits", "binary_cross_entropy": "binary_logits"}
    return "values" if are_shares(config) else kinds.get(loss, "values")


def problem(
    config: RunConfig,
    dataset: Dataset,
    *,
    used: frozenset[str],
    module: Any = None,
    has_folds: bool = False,
) -> Problem:
    """What one run of this configuration trains, as pure functions.

    Args:
        config: The configuration, its loss filled in.
        dataset: The data.
        used: Strengths that some run of the bucket sets above 0 (see `lanework.spec.ZERO_IS_OFF`); the others cost nothing.
        module: The user's own module class, if any.
        has_folds: The data holds all folds of a cross-validation; runs say which one they are of, see `fold_hypers`.
    """
    choice = config.train.loss
    if choice is None:
        raise ValueError("the loss must be filled in from the task first (lanework.spec.resolve)")
    needed = _checked_outputs(config, dataset)
    net = network(config.model, dataset, outputs=needed, module=module, train=config.train)
    per_sample = recipes.loss(choice, task=dataset.task)
    table, add = _metrics(config, dataset, has_folds=has_folds)
    tracked = _training(config, dataset, net, per_sample=per_sample, used=used)
    answered = _answering(dataset, per_sample=per_sample, used=used)
    shown = _shown(config, net)
    ensemble = models.ensemble(shown, output_kind(config))
    watched = _watched(config.model, net, dataset)
    look = _looking(config, dataset, watched, answered=partial(answered, shown), add=add)
    is_tracked = config.train.sampling.name == "hard"

    def loss(
        params: PyTree,
        state: PyTree,
        batch: Mapping[str, Array],
        *,
        key: Array,
        hypers: Mapping[str, Array],
    ) -> tuple[Array, PyTree]:
        value, (state, _) = tracked(params, state, batch, key=key, hypers=hypers)
        return value, state

    def evaluate(
        params: PyTree,
        state: PyTree,
        batch: Mapping[str, Array],
        sums: PyTree,
        *,
        hypers: Mapping[str, Array],
        is_stacked: bool = False,
    ) -> PyTree:
        judged = ensemble if is_stacked else shown
        return add(sums, *answered(judged, params, state, batch, hypers))

    return Problem(
        net.init,
        loss,
        evaluate,
        table.zero,
        table.finish,
        net.layer_names,
        steps_per_epoch=steps_per_epoch(config.train, len(dataset.train)),
        observe=look.observe if watched else None,
        zero_seen=look.zero,
        finish_seen=look.finish,
        seen_layers=tuple(layer.name for layer in watched),
        tracked=tracked if is_tracked else None,
        num_tracked=len(dataset.train) if is_tracked else 0,
        terms=_terms(flattening(dataset)) if config.train.reduction == "sum" else None,
    )


def _training(
    config: RunConfig,
    dataset: Dataset,
    net: models.Network,
    *,
    per_sample: recipes.Loss,
    used: frozenset[str],
) -> Callable[..., tuple[Array, tuple[PyTree, Array]]]:
    """The loss of a batch in training, with the state after it and the loss of each sample, see `Problem.tracked`."""
    trained, by_step = _weighted(config.train, dataset, per_sample), flattening(dataset)
    enter = entering.entering(config.train, dataset, prepare=input_scaling(dataset))
    learner = _with_frozen(net, config.train)

    def tracked(
        params: PyTree,
        state: PyTree,
        batch: Mapping[str, Array],
        *,
        key: Array,
        hypers: Mapping[str, Array],
    ) -> tuple[Array, tuple[PyTree, Array]]:
        active = {
            name: value for name, value in hypers.items() if name not in ZERO_IS_OFF or name in used
        }
        samples = enter(batch, key, active)
        if "weight_noise" in active:
            params = recipes.weight_noise(
                params, own_key(key, "weight_noise"), active["weight_noise"]
            )
        outputs, state = learner.apply(
            params, state, samples.x, key=key, is_training=True, hypers=active
        )
        outputs, targets, weight = by_step(outputs, samples.y, batch["weight"])
        losses = trained(outputs, targets, active)
        if samples.other is not None and samples.share is not None:
            # Two labels with shares instead of soft ones: right for every loss.
            others = trained(outputs, samples.other, active)
            losses = others + samples.share * (losses - others)
        losses = _important(losses, batch)
        value = REDUCTIONS[config.train.reduction](losses, weight)
        return value, (state, _by_row(losses, weight, len(batch["weight"])))

    return tracked


def _answering(
    dataset: Dataset, *, per_sample: recipes.Loss, used: frozenset[str]
) -> Callable[..., tuple[Any, ...]]:
    """What a network answers to a batch, as the metrics take it: outputs, targets, losses, weight, hyperparameters."""
    prepare, by_step = input_scaling(dataset), flattening(dataset)

    def answered(
        judged: models.Network,
        params: PyTree,
        state: PyTree,
        batch: Mapping[str, Array],
        hypers: Mapping[str, Array],
        taps: dict[str, Array] | None = None,
    ) -> tuple[Any, ...]:
        # What is switched on in training only: the metrics are those of the plain loss.
        plain = _at_evaluation(hypers, used)
        x = prepare(batch["x"])
        outputs, _ = judged.apply(
            params, state, x, key=None, is_training=False, hypers=plain, taps=taps
        )
        outputs, targets, weight = by_step(outputs, batch["y"], batch["weight"])
        losses = per_sample(outputs, targets, plain)
        return outputs, targets, losses, weight, plain

    return answered


class _Looking(NamedTuple):
    """How layers and answers are looked at on the way through an evaluation, see `Problem.observe`."""

    observe: Callable[..., tuple[PyTree, PyTree]]
    zero: Callable[[], PyTree]
    finish: Callable[[PyTree], dict[str, Array]]


def _looking(
    config: RunConfig,
    dataset: Dataset,
    watched: Sequence[activations.Layer],
    *,
    answered: Callable[..., tuple[Any, ...]],
    add: Callable[..., PyTree],
) -> _Looking:
    # Of a running text the answers are too many, and their shares tell nothing.
    is_counted = dataset.task == "classification" and not dataset.input.is_stepwise
    num_classes = max(1, len(dataset.classes)) if is_counted else 0
    threshold = 0.5 if are_shares(config) else 0.0

    def observe(
        params: PyTree,
        state: PyTree,
        batch: Mapping[str, Array],
        sums: PyTree,
        seen: PyTree,
        *,
        hypers: Mapping[str, Array],
    ) -> tuple[PyTree, PyTree]:
        taps: dict[str, Array] = {}
        found = answered(params, state, batch, hypers, taps)
        outputs, targets, _, weight, _ = found
        layers, counts = seen
        if is_counted:
            guess = recipes.answers(outputs, threshold=threshold, num_classes=num_classes)
            counts = answers.add(counts, guess, targets, weight=weight)
        layers = activations.add(watched, layers, taps, weight=batch["weight"])
        return add(sums, *found), (layers, counts)

    def finish(seen: PyTree) -> dict[str, Array]:
        layers, counts = seen
        told = answers.finish(counts) if is_counted else {}
        return activations.finish(watched, layers) | told

    return _Looking(observe, lambda: (activations.zero(watched), answers.zero(num_classes)), finish)


def _metrics(
    config: RunConfig, dataset: Dataset, *, has_folds: bool
) -> tuple[recipes.Metrics, Callable[..., PyTree]]:
    """The metrics, and how a chunk is added to them: `table.add` with the hyperparameters behind."""
    table = recipes.metrics(
        dataset.task,
        num_outputs=dataset.num_outputs,
        target_scale=metric_scale(dataset),
        threshold=0.5 if are_shares(config) else 0.0,
        is_stepwise=dataset.input.is_stepwise,
    )
    in_unit = _in_unit(dataset, has_folds=has_folds)

    def add(
        sums: PyTree,
        outputs: Array,
        targets: Array,
        losses: Array,
        weight: Array,
        hypers: Mapping[str, Array],
    ) -> PyTree:
        return table.add(sums, in_unit(outputs, hypers), in_unit(targets, hypers), losses, weight)

    return table, add


def metric_scale(dataset: Dataset) -> tuple[float, ...]:
    """Units of the target per unit of what the metrics see, one for each target of a regression.

    What the network gives is that already, unless it learned the logarithm: then its numbers are turned back first, and the
    spread of the targets is the unit, so that sums of squares stay near 1.
    """
    if dataset.task != "regression" or not dataset.preparation.target_log:
        return dataset.target_scale
    y = np.asarray(dataset.train.y, np.float64).reshape(len(dataset.train.y), -1)
    spread = dataset.preparation.unscale(y).std(axis=0)
    return tuple(np.where(spread > 0, spread, 1.0).tolist())


def fold_hypers(number: int, fold: Dataset) -> dict[str, float]:
    """What a run must say of its fold: which one it is, and how its targets were scaled."""
    told = {FOLD: float(number)}
    if fold.task == "regression":
        for place, (scale, shift) in enumerate(
            zip(fold.target_scale, fold.target_shift, strict=True)
        ):
            told |= {f"{FOLD}.scale.{place}": scale, f"{FOLD}.shift.{place}": shift}
    return told


def _in_unit(dataset: Dataset, *, has_folds: bool) -> Callable[[Array, Mapping[str, Array]], Array]:
    """From outputs or targets as trained to what the metrics see: the same for every fold, and no logarithm."""
    is_log = dataset.preparation.target_log
    if dataset.task != "regression" or not (has_folds or is_log):
        return lambda values, hypers: values
    unit = np.asarray(metric_scale(dataset), np.float32)
    known = {"scale": dataset.target_scale, "shift": dataset.target_shift}

    def learned(name: str, hypers: Mapping[str, Array], dtype: Any) -> Array:
        places = range(len(unit))
        if has_folds:
            return jnp.stack([hypers[f"{FOLD}.{name}.{place}"] for place in places]).astype(dtype)
        return jnp.asarray(known[name], dtype)

    def convert(values: Array, hypers: Mapping[str, Array]) -> Array:
        # The first axis is the batch; targets may have a second one, or time steps were made samples before.
        scale = learned("scale", hypers, values.dtype)[None, :]
        if not is_log:
            return values * (scale / unit[None, :].astype(values.dtype))
        shift = learned("shift", hypers, values.dtype)[None, :]
        return jnp.expm1(values * scale + shift) / unit[None, :].astype(values.dtype)

    return convert


def _weighted(train: TrainSpec, dataset: Dataset, per_sample: recipes.Loss) -> recipes.Loss:
    """The training loss: each sample's part times the weight of its class, where classes have weights."""
    if train.class_weights is None:
        return per_sample
    return recipes.class_weighted(per_sample, beginning.class_weights(train.class_weights, dataset))


def _important(losses: Array, batch: Mapping[str, Array]) -> Array:
    """Losses times what their samples weigh, where samples have weights; [batch], or [batch * time]."""
    if IMPORTANCE not in batch:
        return losses
    each = batch[IMPORTANCE]
    return losses * jnp.repeat(each, losses.shape[0] // each.shape[0])


def _shown(config: RunConfig, net: models.Network) -> models.Network:
    """The network as it is evaluated: with dropout left on and averaged, where that is asked for."""
    passes = 0 if config.model.is_own else models.passes_at_evaluation(config.model.options)
    return models.monte_carlo(net, output_kind(config), passes=passes) if passes else net


def _at_evaluation(hypers: Mapping[str, Array], used: frozenset[str]) -> dict[str, Array]:
    """Hyperparameters without what is for training only.

    Shares of what is left out stay, since some forms of dropout act at evaluation too.
    """
    kept = used.intersection(OF_NET)
    return {
        name: value for name, value in hypers.items() if name not in ZERO_IS_OFF or name in kept
    }


def _watched(
    spec: ModelSpec, net: models.Network, dataset: Dataset
) -> tuple[activations.Layer, ...]:
    """The layers whose values can be looked at, found by tracing a forward pass on shapes."""

    def forward(x: Array) -> dict[str, Array]:
        taps: dict[str, Array] = {}
        params, state = net.init(jax.random.key(0))
        net.apply(params, state, x, key=None, is_training=False, hypers={}, taps=taps)
        return taps

    dtype = dataset.train.x.dtype if dataset.input.kind == "tokens" else jnp.float32
    x = jax.ShapeDtypeStruct((2, *dataset.input.shape), dtype)
    shown = {tap: value.shape for tap, value in jax.eval_shape(forward, x).items()}
    chosen = spec.options.get("activation", "")
    name = chosen.get("name", "") if isinstance(chosen, Mapping) else str(chosen)
    limits = {}
    if spec.is_own or own_code.is_own(name):
        # The output has no limits that matter: a sigmoid there is meant to reach them.
        found = squashed(forward, x)
        limits = {tap: bounds for tap, bounds in found.items() if tap.endswith("_activation")}
    elif spec.net in activations.GATED:
        tanh = activations.BOUNDS["tanh"]
        limits = {tap: tanh for tap in shown if tap.startswith(f"{spec.net}_")}
    return activations.layers(net.layer_names, shown, activation=name, limits=limits)


def _with_frozen(net: models.Network, train: TrainSpec) -> models.Network:
    """The network in training, the batch statistics of frozen layers as they are."""
    shapes = jax.eval_shape(net.init, jax.random.key(0))[0]
    groups = groups_of(train, layer_names=net.layer_names, params=shapes)
    if not groups:
        return net

    def apply(
        params: PyTree, state: PyTree, x: Array, *, hypers: Mapping[str, Array], **rest: Any
    ) -> tuple[Array, PyTree]:
        still = recipes.still_layers(params, state, groups, hypers)
        if not still:
            return net.apply(params, state, x, hypers=hypers, **rest)
        outputs, after = net.apply(params, state, x, hypers={**hypers, "still": still}, **rest)
        kept = dict(after)
        for layer, flag in still.items():  # an own module does not know which of its layers are
            kept[layer] = jax.tree.map(
                lambda old, new, flag=flag: jnp.where(flag, old, new), state[layer], after[layer]
            )
        return outputs, kept

    return net._replace(apply=apply)


def steps_per_epoch(train: TrainSpec, num_samples: int) -> int:
    """Batches in an epoch, the short last one counted."""
    size = num_samples if train.batch_size == "all" else min(int(train.batch_size), num_samples)
    return -(-num_samples // size)


def flattening(dataset: Dataset) -> Callable[[Array, Array, Array], tuple[Array, Array, Array]]:
    """From outputs, targets and weights of a batch to those of its samples, or of its time steps where each has a target."""
    return _by_step if dataset.input.is_stepwise else _by_sample


def _by_step(outputs: Array, targets: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Each time step as a sample of its own: [batch, time, k] becomes [batch * time, k]; padded steps weigh nothing."""
    flat = targets.reshape(-1, *targets.shape[2:])
    is_padded = flat < 0 if targets.ndim == 2 else jnp.isnan(flat).any(axis=-1)
    each = jnp.repeat(weight, targets.shape[1]) * ~is_padded
    shown = jnp.where(
        is_padded.reshape(-1, *(1,) * (flat.ndim - 1)), jnp.zeros((), flat.dtype), flat
    )
    return outputs.reshape(-1, outputs.shape[-1]), shown, each


def _sum(losses: Array, weight: Array) -> Array:
    # Where instead of a bare product: a filling sample that overflows must not poison the batch.
    return jnp.sum(jnp.where(weight > 0, losses * weight, 0.0))


def _mean(losses: Array, weight: Array) -> Array:
    return _sum(losses, weight) / jnp.sum(weight)


REDUCTIONS: Mapping[str, Callable[[Array, Array], Array]] = {"mean": _mean, "sum": _sum}


def _terms(by_step: Callable[..., Any]) -> Callable[[Mapping[str, Array]], Array]:
    """How many losses a batch adds up."""
    return lambda batch: jnp.sum(by_step(batch["y"], batch["y"], batch["weight"])[2])


def _by_row(losses: Array, weight: Array, num_rows: int) -> Array:
    """Loss of each sample of a batch, the mean over its time steps where it has several, [batch]."""
    counts = (weight > 0).astype(losses.dtype).reshape(num_rows, -1)
    each = jnp.where(counts > 0, losses.reshape(num_rows, -1), 0.0)
    return jnp.sum(each, axis=1) / jnp.maximum(jnp.sum(counts, axis=1), 1.0)


def _by_sample(outputs: Array, targets: Array, weight: Array) -> tuple[Array, Array, Array]:
    return outputs, targets, weight


def input_scaling(dataset: Dataset) -> Any:
    """Bytes become numbers after they were gathered, so that a batch of images moves a quarter of the memory."""
    if dataset.input_scale is None or dataset.input_shift is None:
        return lambda x: x
    scale = np.asarray(dataset.input_scale, np.float32)
    shift = np.asarray(dataset.input_shift, np.float32)
    rank = len(dataset.input.shape) + 1
    scale = scale.reshape((1,) * (rank - scale.ndim) + scale.shape)
    shift = shift.reshape((1,) * (rank - shift.ndim) + shift.shape)
    return lambda x: x.astype(jnp.float32) * scale + shift


def watch(config: RunConfig, *, metric: str) -> Watch:
    """What the compiled segment looks at."""
    name = followed(config, metric)
    chosen = config.train.watch
    return Watch(
        metric=name,
        sign=direction(name),
        keep_best=config.train.keep == "best",
        is_monitored=chosen.name != "off",
        deep_every=int(chosen.options.get("every", 0)),
    )


def followed(config: RunConfig, metric: str) -> str:
    """The metric, measured on the validation part, by which a run is stopped and its best weights are chosen.

    That of early stopping where it names one, else that of the report.
    """
    stopping = config.train.early_stopping
    return (stopping.metric if stopping and stopping.metric else metric).split("_", 1)[-1]


def direction(metric: str) -> float:
    """+1 when more of a metric is better, else -1; the part's name in front does not matter."""
    return -1.0 if metric.split("_", 1)[-1] in LOWER_IS_BETTER else 1.0


def parts(dataset: Dataset) -> dict[str, dict[str, np.ndarray]]:
    """The parts of a data set that have samples, as the engine takes them.

    A large training part comes with a fixed random sample of it, on which finished runs are scored: 10 000 samples tell
    the training accuracy to half a point, at a fraction of the time. Of very large samples it takes fewer.
    """
    named = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    found = {name: {"x": part.x, "y": part.y} for name, part in named.items() if len(part.y)}
    if dataset.train.weight is not None:
        # In every part, so that one program scores all of them; only the training loss looks at it.
        for part in found.values():
            part[IMPORTANCE] = np.ones(len(part["y"]), np.float32)
        found["train"][IMPORTANCE] = dataset.train.weight
    per_sample = dataset.train.x.dtype.itemsize * math.prod(dataset.train.x.shape[1:])
    most = min(SCORED_SAMPLES, max(FEWEST_SCORED, SCORED_BYTES // max(1, per_sample)))
    if len(dataset.train) > most:
        rows = np.random.default_rng(0).choice(len(dataset.train), most, replace=False)
        found[SAMPLE] = {name: array[rows] for name, array in found["train"].items()}
    return found
