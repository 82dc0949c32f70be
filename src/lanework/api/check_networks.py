"""What the gate measures of networks before training: each distinct one once, in lanes, by programs that are kept on disk.

Owns which configurations share what is measured (`Group`), on which samples, and the programs of a group: the look, the short
trainings, the gradient check, the objective with and without penalties. Judges nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import jax
import numpy as np

from lanework import data as data_package
from lanework import recipes
from lanework.api.preparing import Laid, Prepared
from lanework.catalog import CATALOG
from lanework.cohort import assemble, compiled, gating, plan
from lanework.cohort.program import over_lanes
from lanework.cohort.runs import Run
from lanework.data.leaks import row_hashes
from lanework.health import gate, gradients
from lanework.health.judge_training import NEAR_ZERO
from lanework.models import passes_at_evaluation, sample_outputs
from lanework.models.base import Network, Taps
from lanework.spec import ZERO_IS_OFF, Arm, static_key, traced_values
from lanework.spec.sections import plain_config

PyTree: TypeAlias = Any

TRAINING_SECONDS, LONGER_SECONDS = 4.0, 12.0
MOST_TRAINING, LEAST_TRAINING = 300, 40
MOST_LONGER, LEAST_LONGER = 3000, 200
"""Steps by heart where the first ones were not enough: a handful stops as soon as it is known, so few ever take as many."""
USUAL_RATE: Final = 3e10  # floating-point operations per second of two cores in training
HANDFUL, BATCH, BATCHES, POOL, JUDGED, LOOKED = 20, 32, 128, 1024, 256, 32
OVERFIT_RATES: Final = (1e-3, 5e-3, 2e-2)
REAL_RATES: Final = (2e-3, 1e-2)
NUM_COURSES: Final = len(OVERFIT_RATES) + 2 * len(REAL_RATES)
TARGETS: Final = 4096


@dataclass(frozen=True)
class Subject:
    """Configurations that start from the same networks and losses: all but the update rule is equal.

    Attributes:
        arms: Their numbers.
        laid: Position of the bucket of the first of them.
        run: A run of that one.
    """

    arms: tuple[int, ...]
    laid: int
    run: Run


@dataclass(frozen=True)
class Group:
    """Subjects that share a program: they differ in initial weights and traced hyperparameters only."""

    subjects: tuple[Subject, ...]
    start: gating.Start
    pieces: Pieces
    material: Material
    dataset: data_package.Dataset
    num_steps: int
    more_steps: int
    device: Any


@dataclass(frozen=True)
class Pieces:
    """Network and loss of a group, apart."""

    model: gate.Model
    prepare: Callable[[Any], Any]
    identity: object
    group: int
    loss: str
    num_outputs: int
    num_wanted: int


def laid_of(prepared: Prepared, arm: int) -> int:
    """Position of the bucket that trains an arm."""
    return next(i for i, laid in enumerate(prepared.laid) if arm in laid.bucket.arms)


def data_of(prepared: Prepared, arm: int) -> int:
    """Number of the data set of an arm."""
    return prepared.laid[laid_of(prepared, arm)].bucket.data


def groups(prepared: Prepared, built: Sequence[compiled.Programs]) -> list[Group]:
    """Subjects sorted into programs, with their weights before training."""
    kinds = _kinds(prepared)
    found = []
    for number, subjects in enumerate(kinds):
        members = [_subject(prepared, arms) for arms in subjects]
        found.append(_group(prepared, built, members, number=number, count=len(kinds)))
    return found


def num_groups(prepared: Prepared) -> int:
    """How many groups there are."""
    return len(_kinds(prepared))


def _kinds(prepared: Prepared) -> list[list[list[int]]]:
    """Arms by subject, subjects by program."""
    subjects: dict[str, list[int]] = {}
    programs: dict[str, list[str]] = {}
    for arm in prepared.arms:
        static = static_key(arm.config)
        own = plain_config(arm.config)
        place = data_of(prepared, arm.index)
        key = text([place, own["model"], own["train"]["loss"]])
        if key not in subjects:
            programs.setdefault(text([place, static["model"], static["train"]["loss"]]), []).append(
                key
            )
        subjects.setdefault(key, []).append(arm.index)
    return [[subjects[key] for key in keys] for keys in programs.values()]


def text(value: Any) -> str:
    """Plain values as a key."""
    return json.dumps(value, sort_keys=True, default=str)


def _subject(prepared: Prepared, arms: Sequence[int]) -> Subject:
    laid = laid_of(prepared, arms[0])
    return Subject(tuple(arms), laid, first_run(prepared, arms[0]))


def first_run(prepared: Prepared, arm: int) -> Run:
    """The first run of an arm."""
    bucket = prepared.laid[laid_of(prepared, arm)].bucket
    return next(run for run in bucket.runs if run.arm == arm)


def _group(
    prepared: Prepared,
    built: Sequence[compiled.Programs],
    members: Sequence[Subject],
    *,
    number: int,
    count: int,
) -> Group:
    laid = prepared.laid[members[0].laid]
    dataset = prepared.datasets[laid.bucket.data]
    params, state = _weights(built, members)
    values = [_hypers(prepared.arms[one.arms[0]]) for one in members]
    columns = {name: np.array([row[name] for row in values], np.float32) for name in values[0]}
    plain = {name: column for name, column in columns.items() if name not in ZERO_IS_OFF}
    active = {n: c for n, c in columns.items() if n not in ZERO_IS_OFF or (c > 0).any()}
    sample_s = step_seconds(laid) / laid.bucket.shapes.batch_size
    one_step = sample_s * BATCH * len(members) * count
    all_steps, few_steps = one_step * NUM_COURSES, one_step * len(OVERFIT_RATES)
    at_hand = jax.devices()
    pieces = _pieces(prepared, laid, dataset)
    return Group(
        tuple(members),
        gating.Start(params, state, plain, active),
        pieces,
        _material(params, dataset, pieces),
        dataset,
        _whole(TRAINING_SECONDS / all_steps, LEAST_TRAINING, MOST_TRAINING),
        _whole(LONGER_SECONDS / few_steps, LEAST_LONGER, MOST_LONGER),
        at_hand[number % len(at_hand)],
    )


def _whole(steps: float, least: int, most: int) -> int:
    """Steps within limits, as a multiple of the blocks in which they are taken."""
    return int(min(most, max(least, steps))) // gate.BLOCK * gate.BLOCK


def _weights(
    built: Sequence[compiled.Programs], members: Sequence[Subject]
) -> tuple[PyTree, PyTree]:
    """Weights and states of subjects before training, [subject]."""
    made: dict[int, tuple[PyTree, PyTree]] = {}
    for laid in {one.laid for one in members}:
        places = [i for i, one in enumerate(members) if one.laid == laid]
        lanes = gating.fresh(built[laid], [members[i].run for i in places])
        for lane, place in enumerate(places):
            cut = lambda leaf: leaf[lane]
            made[place] = jax.tree.map(cut, (lanes.params, lanes.state))
    ordered = [made[place] for place in range(len(members))]
    params, state = jax.tree.map(lambda *leaves: np.stack(leaves), *ordered)
    return params, state


def step_seconds(laid: Laid) -> float:
    """About what a step of one run takes; not measured, so that the same study is looked at in the same way everywhere."""
    return laid.estimate.flops / laid.estimate.calls / USUAL_RATE + plan.CALL_SECONDS


def _hypers(arm: Arm) -> dict[str, float]:
    """Traced hyperparameters that the network and the loss read."""
    config = arm.config
    rows = () if config.model.is_own else CATALOG["net"][config.model.net].hypers
    of_net = {hyper.name for hyper in rows if hyper.traced}
    values = traced_values(config)
    return {n: v for n, v in values.items() if n in of_net or n.startswith("loss.")}


def _pieces(prepared: Prepared, laid: Laid, dataset: data_package.Dataset) -> Pieces:
    """Network, loss and preparation of a bucket, apart from each other."""
    config = laid.bucket.config
    choice = config.train.loss
    if choice is None:
        raise ValueError("the loss must be filled in from the task first (lanework.spec.resolve)")
    outputs = assemble.num_outputs(choice.name, dataset)
    net = assemble.network(config.model, dataset, outputs=outputs, module=prepared.module)
    if not config.model.is_own:
        net = _as_judged(net, config.model.options)
    per_sample = recipes.loss(choice, task=dataset.task)
    by_step = assemble.flattening(dataset)

    def losses(outputs: Any, y: Any, hypers: Any) -> tuple[Any, Any]:
        weight = jax.numpy.ones((y.shape[0],), outputs.dtype)
        outputs, y, weight = by_step(outputs, y, weight)
        return per_sample(outputs, y, hypers), weight

    return Pieces(
        gate.Model(net.apply, losses, net.layer_names, Taps),
        assemble.input_scaling(dataset),
        _identity(laid, dataset, outputs),
        1 if laid.estimate.has_convolution and jax.default_backend() == "cpu" else 64,
        choice.name,
        _num_outputs(net, dataset),
        outputs,
    )


def _identity(laid: Laid, dataset: data_package.Dataset, outputs: int) -> object:
    """Everything that network and loss were built from; None for own modules, whose code may import anything."""
    config, static = laid.bucket.config, static_key(laid.bucket.config)
    if config.model.is_own:
        return None
    parts = text([static["model"], static["train"]["loss"]])
    return parts, dataset.input, dataset.task, outputs


def _as_judged(net: Network, options: Mapping[str, Any]) -> Network:
    """The network as its study evaluates it where dropout was forgotten; averages over many passes are meant, and not looked at."""
    if options.get("mc_passes") or not passes_at_evaluation(options):
        return net

    def apply(
        params: PyTree,
        state: PyTree,
        x: Any,
        *,
        key: Any = None,
        is_training: bool,
        hypers: Any,
        taps: Any = None,
    ) -> Any:
        if is_training or taps is not None:
            told = {"key": key, "is_training": is_training, "hypers": hypers, "taps": taps}
            return net.apply(params, state, x, **told)
        return sample_outputs(net, params, state, x, hypers=hypers, passes=1, key=key)[0], state

    return net._replace(apply=apply)


def _num_outputs(net: Network, dataset: data_package.Dataset) -> int:
    """Outputs that the network really has."""
    dtype = dataset.train.x.dtype if dataset.input.kind == "tokens" else np.float32
    x = jax.ShapeDtypeStruct((2, *dataset.input.shape), dtype)

    def outputs(x: Any) -> Any:
        key = jax.random.key(0)
        return net.apply(*net.init(key), x, key=key, is_training=True, hypers={})[0]

    return int(jax.eval_shape(outputs, x).shape[-1])


@dataclass(frozen=True)
class Material:
    """Samples on which a group is looked at."""

    pool: gate.Samples
    handful: int
    targets: np.ndarray
    constants: np.ndarray


def _material(params: PyTree, dataset: data_package.Dataset, pieces: Pieces) -> Material:
    """A pool of training samples, the handful first, and constant answers to compare with."""
    train = dataset.train
    num_params = sum(leaf[0].size for leaf in jax.tree.leaves(params))
    wanted = HANDFUL if not dataset.input.is_stepwise else 2
    most = max(2, num_params // (2 * pieces.num_outputs))
    generator = np.random.default_rng(0)
    order = generator.permutation(len(train))[: 4 * POOL]
    first = _handful(train, order, min(wanted, most))
    rest = order[~np.isin(order, first)][: POOL - len(first)]
    rows = np.concatenate([first, rest])
    x = np.asarray(pieces.prepare(jax.numpy.asarray(train.x[rows])))
    targets = train.y[order[:TARGETS]]
    constants = _constants(dataset, targets, pieces.num_outputs)
    return Material(gate.Samples(x, train.y[rows]), len(first), targets, constants)


def _handful(train: data_package.Part, order: np.ndarray, count: int) -> np.ndarray:
    """Rows with different inputs, classes in turn."""
    _, firsts = np.unique(row_hashes(train.x[order]), return_index=True)
    rows = order[np.sort(firsts)]
    if train.y.ndim > 1 or not np.issubdtype(train.y.dtype, np.integer):
        return rows[:count]
    labels = np.asarray(train.y)[rows]
    turn = np.zeros(len(rows), int)
    for label in np.unique(labels):
        turn[labels == label] = np.arange(int((labels == label).sum()))
    found: np.ndarray = rows[np.argsort(turn, kind="stable")][:count]
    return found


def _constants(dataset: data_package.Dataset, y: np.ndarray, num_outputs: int) -> np.ndarray:
    """Constant outputs of which one is the best, or nearly, under any usual loss, [constant, output]; zeros first."""
    zeros = np.zeros(num_outputs)
    if dataset.task != "classification":
        flat = y.reshape(-1, y.shape[-1])
        flat = flat[np.isfinite(flat).all(axis=1)]
        centres = [flat.mean(axis=0), np.median(flat, axis=0)]
        rows = [np.broadcast_to(row, (num_outputs,)) for row in centres]
        return np.stack([zeros, *rows]).astype(np.float32)
    codes = y.reshape(-1)
    counts = np.bincount(codes[codes >= 0], minlength=max(num_outputs, len(dataset.classes), 2))
    shares = (counts + 1e-3) / (counts + 1e-3).sum()
    if num_outputs == 1:
        one = shares[1:2]
        rows = [np.log(one / (1 - one)), one, np.sign(2 * one - 1)]
        # More than two classes under one output: the class is taken as a number.
        rows += [shares @ np.arange(len(shares), dtype=float)[:, None]] if len(shares) > 2 else []
    else:
        shares = shares[:num_outputs]
        rows = [
            np.log(shares),
            shares,
            2.0 * (shares == shares.max()) - 1.0,
            np.log(shares / (1 - shares)),
        ]
    return np.stack([zeros, *rows]).astype(np.float32)


def look(group: Group) -> PyTree:
    """One pass over a few samples and all that is told of the network from it, see `gate.inspect`; [subject, ...]."""
    pieces, material, pool = group.pieces, group.material, group.material.pool
    count = min(LOOKED, len(pool.x))
    samples = gate.Samples(pool.x[:count], pool.y[:count])
    has_gradient = bool(np.issubdtype(pool.x.dtype, np.floating) and np.isfinite(pool.x).all())
    handful = pool.y[: material.handful]
    function, arguments = gating.looked_at(
        pieces.model,
        group.start,
        samples,
        (material.targets, handful),
        material.constants,
        has_gradient=has_gradient,
        group=pieces.group,
    )
    identity = pieces.identity and ("look", pieces.identity, has_gradient, pieces.group)
    told = gating.call(function, arguments, identity=identity, device=group.device)
    one = jax.tree.map(lambda leaf: leaf[0], group.start)
    names = gate.layer_taps(pieces.model, one.params, one.state, samples.x, hypers=one.plain)
    return {**told, "names": names}


def train(group: Group, look: Future[PyTree]) -> PyTree:
    """Courses: the handful at three rates, then real and zeroed inputs at two; `longer`: the handful with more steps where it needs them.

    Args:
        group: What is trained.
        look: What the look at it will give: the loss of the best constant answer on the handful.
    """
    told = _trained(group, _courses(group, by_heart=group.num_steps, real=group.num_steps))
    chance = np.nanmin(look.result()["constants"][1], axis=1)
    if (known_by_heart(told) <= NEAR_ZERO * chance).all():
        return told
    # Half of what is asked for, so that the loss of the judged rows is within it too.
    enough = NEAR_ZERO / 2 * float(chance.min())
    longer = _trained(group, _courses(group, by_heart=group.more_steps, real=0, enough=enough))
    return {
        **told,
        "longer": {name: leaf[:, : len(OVERFIT_RATES)] for name, leaf in longer.items()},
    }


def known_by_heart(told: PyTree) -> np.ndarray:
    """Least loss to which the handful got, the best of the rates, [subject]; infinite where none is finite."""
    return ends_by_heart(told).min(axis=-1)


def ends_by_heart(told: PyTree) -> np.ndarray:
    """Loss to which the handful got at each rate, in whichever mode it is lower, [..., rate]."""
    count = len(OVERFIT_RATES)
    seen = [told["training"], told["evaluation"], told["losses"][..., -1]]
    ends = np.stack([np.asarray(one)[..., :count] for one in seen])
    found: np.ndarray = np.where(np.isfinite(ends), ends, np.inf).min(axis=0)
    return found


def _courses(group: Group, *, by_heart: int, real: int, enough: float = -np.inf) -> gate.Course:
    """Courses of the same shape whatever their length, so that one program serves all; [course, ...]."""
    n, num_rows = group.material.handful, len(group.material.pool.x)
    generator = np.random.default_rng(1)
    few = (np.arange(BATCHES * BATCH) % n).reshape(BATCHES, BATCH)
    many = generator.integers(0, num_rows, (BATCHES, BATCH))
    judged = np.arange(min(JUDGED, num_rows))
    is_few = np.arange(NUM_COURSES) < len(OVERFIT_RATES)
    rates = [*OVERFIT_RATES, *REAL_RATES, *REAL_RATES]
    return gate.Course(
        np.stack([few if one else many for one in is_few]).astype(np.int32),
        np.stack([judged % n if one else judged for one in is_few]).astype(np.int32),
        np.array(rates, np.float32),
        np.arange(NUM_COURSES) >= len(OVERFIT_RATES) + len(REAL_RATES),
        np.where(is_few, by_heart, real).astype(np.int32),
        np.where(is_few, enough, -np.inf).astype(np.float32),
    )


def _trained(group: Group, courses: gate.Course) -> PyTree:
    pieces = group.pieces
    function, arguments = gating.trained(
        pieces.model, group.start, group.material.pool, courses, group=pieces.group
    )
    identity = pieces.identity and ("train", pieces.identity, pieces.group)
    return gating.call(function, arguments, identity=identity, device=group.device, is_once=False)


def slopes(prepared: Prepared, group: Group) -> PyTree:
    """The gradient check of the first subject: the others run the same code."""
    pieces, pool = group.pieces, group.material.pool
    start = jax.tree.map(lambda leaf: leaf[:1], group.start)
    samples = gate.Samples(pool.x[:3], pool.y[:3])
    info = group.dataset.input
    is_number = np.issubdtype(pool.x.dtype, np.floating) and np.isfinite(samples.x).all()
    num_free = (info.num_numeric if info.cardinalities else -1) if is_number else 0
    is_penalised = any(strengths(prepared, one) for one in group.subjects)
    one = {"l1": 1.0, "l2": 1.0}
    value: Callable[[PyTree], Any] | None = None
    slope: Callable[[PyTree], Any] | None = None
    if is_penalised:
        value = lambda at: recipes.penalty(at, one)
        slope = lambda at: recipes.penalty_gradient(at, one)
    bits = gating.bits(pieces.model, start, samples)
    step = gradients.STEP if bits >= 64 else gradients.COARSE_STEP
    function, arguments = gating.slopes(
        pieces.model, start, samples, value, slope, num_free=num_free, step=step
    )
    identity = pieces.identity and ("slopes", pieces.identity, num_free, step, is_penalised)
    told = gating.call(function, arguments, identity=identity, device=group.device, is_double=True)
    told = {**told, "bits": bits, "has_inputs": bool(num_free)}
    return told | ({"objectives": _objectives(prepared, group)} if is_penalised else {})


def _objectives(prepared: Prepared, group: Group) -> dict[int, np.ndarray]:
    """By arm with penalties: what its training makes small at the start, without and with them, in double precision."""
    cases = [
        (lane, *case)
        for lane, subject in enumerate(group.subjects)
        for case in strengths(prepared, subject)
    ]
    lanes = [lane for lane, *_ in cases]
    start = jax.tree.map(lambda leaf: _wide(leaf[lanes]), group.start)
    pool, count = group.material.pool, min(LOOKED, len(group.material.pool.x))
    samples = gate.Samples(_wide(pool.x[:count]), _wide(pool.y[:count]))
    amounts = {name: np.array([case[i] for case in cases]) for name, i in (("l1", 2), ("l2", 3))}

    def function(start: gating.Start, samples: gate.Samples, amounts: PyTree) -> PyTree:
        def one(start: gating.Start, amounts: PyTree) -> PyTree:
            return gate.objectives(
                group.pieces.model,
                start.params,
                start.state,
                samples,
                penalty=partial(recipes.penalty, hypers=amounts),
                hypers=start.plain,
            )

        return over_lanes(one, group=group.pieces.group)(start, amounts)

    identity = group.pieces.identity and ("objectives", group.pieces.identity)
    told = gating.call(
        function, (start, samples, amounts), identity=identity, device=group.device, is_double=True
    )
    return {arm: row for (_, arm, *_), row in zip(cases, told, strict=True)}


def _wide(leaf: Any) -> np.ndarray:
    leaf = np.asarray(leaf)
    return leaf.astype(np.float64) if np.issubdtype(leaf.dtype, np.floating) else leaf


def strengths(prepared: Prepared, subject: Subject) -> list[tuple[int, float, float]]:
    """Arms of a subject that have penalties, with their L1 and L2 strength."""
    trains = [(arm, prepared.arms[arm].config.train) for arm in subject.arms]
    return [(arm, train.l1, train.l2) for arm, train in trains if train.l1 > 0 or train.l2 > 0]
