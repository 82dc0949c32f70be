"""The gate before training: every configuration of a study looked at in lanes, in seconds.

Owns the stringing together: what is looked at once for a data set, once for a network, once for a recipe. What is measured is in
`lanework.health.gate` and `gradients`, what follows from it in `lanework.health.judge`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, TypeAlias

import jax
import numpy as np

from lanework import data as data_package
from lanework import recipes
from lanework.api import check_data
from lanework.api.preparing import Laid, Prepared, identity, initialisers
from lanework.catalog import CATALOG
from lanework.cohort import assemble, compiled, devices, gating, ordering, plan
from lanework.cohort.loop import Run
from lanework.data.leaks import row_hashes
from lanework.errors import Problem, SpecError
from lanework.health import gate, gradients, judge
from lanework.health.judge import LEVELS, Item
from lanework.models import passes_at_evaluation
from lanework.models.base import Network, Taps
from lanework.spec import ZERO_IS_OFF, Arm, static_key, traced_values
from lanework.spec.sections import plain_config

__all__ = ["Check", "check"]

PyTree: TypeAlias = Any
Tell: TypeAlias = Callable[[str], None]

TRAINING_SECONDS: Final = 4.0
PROBE_SECONDS: Final = 4.0
MOST_TRAINING, LEAST_TRAINING = 300, 40
MOST_PROBE, LEAST_PROBE, POINTS, LEAST_POINTS, MOST_CALLS = 100, 10, 12, 1, 20
USUAL_RATE: Final = 3e10  # floating-point operations per second of two cores in training
FACTORS: Final = (1.0, 2.0, 5.0)
HANDFUL, BATCH, POOL, JUDGED, LOOKED = 20, 32, 1024, 256, 32
OVERFIT_RATES: Final = (1e-3, 5e-3, 2e-2)
REAL_RATES: Final = (2e-3, 1e-2)
TARGETS: Final = 4096


@dataclass(frozen=True)
class Check:
    """What the gate found.

    Attributes:
        study: Name of the study.
        items: Everything that was looked at, worst first.
        num_arms: Configurations.
        seconds: How long it took.
    """

    study: str
    items: tuple[Item, ...]
    num_arms: int
    seconds: float

    @property
    def failed(self) -> tuple[Item, ...]:
        """The items that failed."""
        return tuple(item for item in self.items if item.level == "fail")

    @property
    def is_good(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    def warnings(self) -> tuple[str, ...]:
        """The items that failed as sentences, for the records of a study."""
        return tuple(_told(item) for item in self.failed)

    def insist(self) -> None:
        """Refuse a study of which something failed.

        Raises:
            SpecError: With every item that failed.
        """
        if self.failed:
            problems = [Problem("", _told(item)) for item in self.failed]
            raise SpecError(list(dict.fromkeys(problems)), where=f"{self.study} (check)")

    def record(self) -> dict[str, Any]:
        """Plain values, as stored with the study and printed by `--json`."""
        items = [asdict(item) for item in self.items]
        return {
            "study": self.study,
            "configurations": self.num_arms,
            "seconds": self.seconds,
            "items": [{**item, "numbers": _plain(item["numbers"])} for item in items],
        }

    def text(self, *, passed: bool = True) -> str:
        """The items in words, worst first.

        Args:
            passed: Tell those too that are as they should be.
        """
        lines = []
        for item in self.items:
            if item.level == "pass" and not passed:
                continue
            arm = f" [{item.arm}]" if item.arm else ""
            lines.append(f"{item.level:<5} {item.name}{arm}: {item.sentence}")
            if item.level != "pass" and item.advice:
                lines.append(f"      What to do: {item.advice}")
        return "\n".join(lines)

    def summary(self) -> str:
        """How many items there are of each level, in one line."""
        counts = [sum(item.level == level for item in self.items) for level in LEVELS]
        return (
            f"{self.study}, {self.num_arms} configurations: {counts[2]} failed, {counts[1]} warnings, {counts[0]} passed "
            f"({self.seconds:.1f} s)."
        )


def _told(item: Item) -> str:
    arm = f" ({item.arm})" if item.arm else ""
    return f"Check of {item.name}{arm}: {item.sentence} {item.advice}".rstrip()


def _plain(numbers: Mapping[str, float]) -> dict[str, float | str]:
    """Numbers as JSON has them: what is not finite as text."""
    return {name: v if math.isfinite(v) else str(v) for name, v in numbers.items()}


@dataclass(frozen=True)
class _Subject:
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
class _Group:
    """Subjects that share a program: they differ in initial weights and traced hyperparameters only."""

    subjects: tuple[_Subject, ...]
    start: gating.Start
    pieces: _Pieces
    material: _Material
    dataset: data_package.Dataset
    num_steps: int
    device: Any


@dataclass(frozen=True)
class _Pieces:
    """Network and loss of a group, apart."""

    model: gate.Model
    prepare: Callable[[Any], Any]
    identity: object
    group: int
    loss: str
    num_outputs: int
    num_wanted: int
    is_noisy: bool


def check(
    prepared: Prepared, *, tell: Tell = lambda text: None, unknown: frozenset[int] = frozenset()
) -> Check:
    """Look at every configuration of a prepared study.

    Args:
        prepared: The study.
        tell: Told what is being done.
        unknown: Arms whose learning rate is still to be searched for; their rates are not probed.

    Returns:
        What was found.
    """
    begun = time.perf_counter()
    with ThreadPoolExecutor(max_workers=devices.available_cores()) as pool:
        tell("checking the data")
        looked = [pool.submit(check_data.items, dataset) for dataset in prepared.datasets]
        built = [_programs(prepared, laid, pool) for laid in prepared.laid]
        tell("checking the networks")
        groups = _groups(prepared, built)
        waiting = [_submitted(prepared, group, pool) for group in groups]
        tell("probing learning rates")
        items = _probed(prepared, built, unknown, _starting_losses(groups, waiting))
        tell("checking gradients and short trainings")
        for group, told in zip(groups, waiting, strict=True):
            items += _judged(prepared, group, *(future.result() for future in told))
        for place, future in enumerate(looked):
            arms = [arm.index for arm in prepared.arms if _data_of(prepared, arm.index) == place]
            items += [replace(item, arm=label(prepared.arms, arms)) for item in future.result()]
    items.sort(key=lambda item: -LEVELS.index(item.level))
    seconds = time.perf_counter() - begun
    return Check(prepared.spec.study, tuple(items), len(prepared.arms), seconds)


def label(arms: Sequence[Arm], chosen: Sequence[int]) -> str:
    """What tells some arms from the others: the factors that are the same for them and not for all; empty for all arms."""
    if len(chosen) == len(arms):
        return ""
    if len(chosen) == 1:
        return arms[chosen[0]].name
    inside = [arms[place].factors for place in chosen]
    shared = {
        key: value
        for key, value in inside[0].items()
        if all(one.get(key) == value for one in inside)
    }
    telling = [
        f"{key} {value}"
        for key, value in shared.items()
        if any(a.factors.get(key) != value for a in arms)
    ]
    return ", ".join(telling) or f"{inside and arms[chosen[0]].name} and {len(chosen) - 1} more"


def _laid_of(prepared: Prepared, arm: int) -> int:
    return next(i for i, laid in enumerate(prepared.laid) if arm in laid.bucket.arms)


def _data_of(prepared: Prepared, arm: int) -> int:
    return prepared.laid[_laid_of(prepared, arm)].bucket.data


def _programs(prepared: Prepared, laid: Laid, pool: ThreadPoolExecutor) -> compiled.Programs:
    """The study's own programs of a bucket, for training and starting only; what is compiled here is not compiled again."""
    bucket, dataset = laid.bucket, prepared.datasets[laid.bucket.data]
    inits = initialisers(prepared, bucket)
    programs = gating.ProbePrograms(
        *laid.functions,
        strategy=laid.strategy,
        shapes=bucket.shapes,
        data=compiled.place(
            assemble.parts(dataset),
            num_devices=laid.strategy.num_devices,
            is_streamed=bucket.shapes.buffer_rows > 0,
            folds=[assemble.parts(one) for one in prepared.folds.get(bucket.data, ())],
        ),
        pool=pool,
        inits=inits,
        score_parts=(),
        identity=identity(prepared, bucket),
    )
    programs.prepare(init_kinds=range(len(inits)))
    return programs


# ---- networks --------------------------------------------------------------------------------


def _groups(prepared: Prepared, built: Sequence[compiled.Programs]) -> list[_Group]:
    """Subjects sorted into programs, with their weights before training."""
    subjects: dict[str, list[int]] = {}
    programs: dict[str, list[str]] = {}
    for arm in prepared.arms:
        static = static_key(arm.config)
        own = plain_config(arm.config)
        place = _data_of(prepared, arm.index)
        key = _text([place, own["model"], own["train"]["loss"]])
        if key not in subjects:
            programs.setdefault(
                _text([place, static["model"], static["train"]["loss"]]), []
            ).append(key)
        subjects.setdefault(key, []).append(arm.index)
    found = []
    for number, keys in enumerate(programs.values()):
        members = [_subject(prepared, subjects[key]) for key in keys]
        found.append(_group(prepared, built, members, number=number, count=len(programs)))
    return found


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _subject(prepared: Prepared, arms: Sequence[int]) -> _Subject:
    laid = _laid_of(prepared, arms[0])
    return _Subject(tuple(arms), laid, _first_run(prepared, arms[0]))


def _first_run(prepared: Prepared, arm: int) -> Run:
    bucket = prepared.laid[_laid_of(prepared, arm)].bucket
    return next(run for run in bucket.runs if run.arm == arm)


def _group(
    prepared: Prepared,
    built: Sequence[compiled.Programs],
    members: Sequence[_Subject],
    *,
    number: int,
    count: int,
) -> _Group:
    laid = prepared.laid[members[0].laid]
    dataset = prepared.datasets[laid.bucket.data]
    params, state = _weights(built, members)
    values = [_hypers(prepared.arms[one.arms[0]]) for one in members]
    columns = {name: np.array([row[name] for row in values], np.float32) for name in values[0]}
    plain = {name: column for name, column in columns.items() if name not in ZERO_IS_OFF}
    active = {n: c for n, c in columns.items() if n not in ZERO_IS_OFF or (c > 0).any()}
    sample_s = _step_seconds(laid) / laid.bucket.shapes.batch_size
    num_courses = len(OVERFIT_RATES) + 2 * len(REAL_RATES)
    one_step = sample_s * BATCH * num_courses * len(members) * count
    num_steps = int(min(MOST_TRAINING, max(LEAST_TRAINING, TRAINING_SECONDS / one_step)))
    at_hand = jax.devices()
    pieces = _pieces(prepared, laid, dataset)
    return _Group(
        tuple(members),
        gating.Start(params, state, plain, active),
        pieces,
        _material(params, dataset, pieces),
        dataset,
        num_steps,
        at_hand[number % len(at_hand)],
    )


def _weights(
    built: Sequence[compiled.Programs], members: Sequence[_Subject]
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


def _step_seconds(laid: Laid) -> float:
    """About what a step of one run takes; not measured, so that the same study is looked at in the same way everywhere."""
    return laid.estimate.flops / laid.estimate.calls / USUAL_RATE + plan.CALL_SECONDS


def _hypers(arm: Arm) -> dict[str, float]:
    """Traced hyperparameters that the network and the loss read."""
    config = arm.config
    rows = () if config.model.is_own else CATALOG["net"][config.model.net].hypers
    of_net = {hyper.name for hyper in rows if hyper.traced}
    values = traced_values(config)
    return {n: v for n, v in values.items() if n in of_net or n.startswith("loss.")}


def _pieces(prepared: Prepared, laid: Laid, dataset: data_package.Dataset) -> _Pieces:
    """Network, loss and preparation of a bucket, apart from each other."""
    config = laid.bucket.config
    choice = config.train.loss
    if choice is None:
        raise ValueError("the loss must be filled in from the task first (lanework.spec.resolve)")
    outputs = assemble.num_outputs(choice.name, dataset)
    net = assemble.network(config.model, dataset, outputs=outputs, module=prepared.module)
    per_sample = recipes.loss(choice, task=dataset.task)
    by_step = assemble.flattening(dataset)

    def losses(outputs: Any, y: Any, hypers: Any) -> tuple[Any, Any]:
        weight = jax.numpy.ones((y.shape[0],), outputs.dtype)
        outputs, y, weight = by_step(outputs, y, weight)
        return per_sample(outputs, y, hypers), weight

    static = static_key(config)
    known = None
    if not config.model.is_own:
        known = (
            _text([static["model"], static["train"]["loss"]]),
            dataset.input,
            dataset.task,
            outputs,
        )
    return _Pieces(
        gate.Model(net.apply, losses, net.layer_names, Taps),
        assemble.input_scaling(dataset),
        known,
        1 if laid.estimate.has_convolution and jax.default_backend() == "cpu" else 64,
        choice.name,
        _num_outputs(net, dataset),
        outputs,
        not config.model.is_own and passes_at_evaluation(config.model.options) > 0,
    )


def _num_outputs(net: Network, dataset: data_package.Dataset) -> int:
    """Outputs that the network really has."""
    dtype = dataset.train.x.dtype if dataset.input.kind == "tokens" else np.float32
    x = jax.ShapeDtypeStruct((2, *dataset.input.shape), dtype)

    def outputs(x: Any) -> Any:
        key = jax.random.key(0)
        return net.apply(*net.init(key), x, key=key, is_training=True, hypers={})[0]

    return int(jax.eval_shape(outputs, x).shape[-1])


@dataclass(frozen=True)
class _Material:
    """Samples on which a group is looked at."""

    pool: gate.Samples
    handful: int
    targets: np.ndarray
    constants: np.ndarray


def _material(params: PyTree, dataset: data_package.Dataset, pieces: _Pieces) -> _Material:
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
    return _Material(gate.Samples(x, train.y[rows]), len(first), targets, constants)


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


def _submitted(
    prepared: Prepared, group: _Group, pool: ThreadPoolExecutor
) -> tuple[Future[Any], ...]:
    """The three programs of a group, started: the look, the short trainings, the gradient check."""
    return (
        pool.submit(_look, group),
        pool.submit(_train, group),
        pool.submit(_slopes, prepared, group),
    )


def _look(group: _Group) -> PyTree:
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


def _train(group: _Group) -> PyTree:
    """Courses: the handful at three rates, then real and zeroed inputs at two."""
    pieces, steps, n = group.pieces, group.num_steps, group.material.handful
    num_rows = len(group.material.pool.x)
    generator = np.random.default_rng(1)
    few = (np.arange(steps * BATCH) % n).reshape(steps, BATCH)
    many = generator.integers(0, num_rows, (steps, BATCH))
    judged = np.arange(min(JUDGED, num_rows))
    rates = [*OVERFIT_RATES, *REAL_RATES, *REAL_RATES]
    courses = gate.Course(
        np.stack([few if i < len(OVERFIT_RATES) else many for i in range(len(rates))]).astype(
            np.int32
        ),
        np.stack(
            [judged % n if i < len(OVERFIT_RATES) else judged for i in range(len(rates))]
        ).astype(np.int32),
        np.array(rates, np.float32),
        np.arange(len(rates)) >= len(OVERFIT_RATES) + len(REAL_RATES),
    )
    function, arguments = gating.trained(
        pieces.model, group.start, group.material.pool, courses, group=pieces.group
    )
    identity = pieces.identity and ("train", pieces.identity, pieces.group)
    return gating.call(
        function, arguments, identity=identity, device=group.device, is_once=steps < LEAST_TRAINING
    )


def _slopes(prepared: Prepared, group: _Group) -> PyTree:
    """The gradient check of the first subject: the others run the same code."""
    pieces, pool = group.pieces, group.material.pool
    start = jax.tree.map(lambda leaf: leaf[:1], group.start)
    samples = gate.Samples(pool.x[:3], pool.y[:3])
    info = group.dataset.input
    is_number = np.issubdtype(pool.x.dtype, np.floating) and np.isfinite(samples.x).all()
    num_free = (info.num_numeric if info.cardinalities else -1) if is_number else 0
    is_penalised = any(_strengths(prepared, one) for one in group.subjects)
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
    return {**told, "bits": bits, "has_inputs": bool(num_free)}


def _strengths(prepared: Prepared, subject: _Subject) -> list[tuple[int, float, float]]:
    """Arms of a subject that have penalties, with their L1 and L2 strength."""
    trains = [(arm, prepared.arms[arm].config.train) for arm in subject.arms]
    return [(arm, train.l1, train.l2) for arm, train in trains if train.l1 > 0 or train.l2 > 0]


# ---- judging ---------------------------------------------------------------------------------


def _judged(
    prepared: Prepared, group: _Group, look: PyTree, trained: PyTree, slopes: PyTree
) -> list[Item]:
    """Items of all subjects of a group; equal ones told once."""
    found: list[tuple[Item, tuple[int, ...]]] = []
    all_arms = tuple(arm for one in group.subjects for arm in one.arms)
    paths = _paths(group.start.params)
    found.append((_gradient_item(slopes, paths), all_arms))
    names = look.pop("names")
    for lane, subject in enumerate(group.subjects):
        own_look = jax.tree.map(lambda leaf: leaf[lane], look)
        own_trained = jax.tree.map(lambda leaf: leaf[lane], trained)
        params = jax.tree.map(lambda leaf: leaf[lane], group.start.params)
        items = _network_items(group, own_look, own_trained, names, paths, params)
        found += [(item, subject.arms) for item in items]
        error = float(np.max(slopes.get("penalty", 0.0), initial=0.0))
        for arm, l1, l2 in _strengths(prepared, subject):
            value = _penalty(params, l1=l1, l2=l2)
            item = judge.penalty(value=value, loss=float(own_look["loss"]), error=error)
            found.append((item, (arm,)))
    return _merged(prepared.arms, found)


def _merged(arms: Sequence[Arm], found: Sequence[tuple[Item, tuple[int, ...]]]) -> list[Item]:
    """Passes of the same name as one item, the least comfortable; everything else by configuration."""
    passed: dict[str, tuple[Item, list[int]]] = {}
    told = []
    for item, own in found:
        if item.level != "pass":
            told.append(replace(item, arm=label(arms, own)))
        elif item.name in passed:
            passed[item.name][1].extend(own)
        else:
            passed[item.name] = (item, list(own))
    return told + [replace(item, arm=label(arms, own)) for item, own in passed.values()]


def _paths(params: PyTree) -> list[str]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]


def _penalty(params: PyTree, *, l1: float, l2: float) -> float:
    total = 0.0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not recipes.exempt(path):
            wide = np.asarray(leaf, np.float64)
            total += l2 / 2 * float(np.square(wide).sum()) + l1 * float(np.abs(wide).sum())
    return total


def _gradient_item(slopes: PyTree, paths: Sequence[str]) -> Item:
    error, is_kink = slopes["error"], slopes["is_kink"]
    # A kink is skipped unless the gradient is right there too.
    right = judge.GRADIENT_WARN if slopes["bits"] >= 64 else judge.COARSE_WARN
    is_told = ~is_kink | (error <= right)
    # Inputs come first in the tree: names are sorted.
    names = (["inputs"] if slopes["has_inputs"] else []) + list(paths)
    worst = {
        name: float(np.max(row[told], initial=0.0))
        for name, row, told in zip(names, error, is_told, strict=True)
    }
    num_kinks = int((~is_told).sum())
    return judge.gradient(
        worst, num_kinks=num_kinks, num_entries=int(error.size) - num_kinks, bits=slopes["bits"]
    )


def _network_items(
    group: _Group,
    look: PyTree,
    trained: PyTree,
    names: Sequence[str],
    paths: Sequence[str],
    params: PyTree,
) -> list[Item]:
    dataset = group.dataset
    on_all, on_handful = look["constants"]
    neutral, prior = float(on_all[0]), float(np.nanmin(on_all))
    loss = float(look["loss"])
    kind = group.pieces.loss
    is_regression = dataset.task != "classification"
    carries = bool(jax.tree.leaves(group.start.state))
    back = look["gradients"] if (look["gradients"] > 0).any() else look["weight_gradients"]
    back = back[: len(names)] if len(back) >= len(names) else look["gradients"]
    real = slice(len(OVERFIT_RATES), len(OVERFIT_RATES) + len(REAL_RATES))
    items = [
        judge.initial_loss(loss=loss, neutral=neutral, prior=prior, is_entropy="cross" in kind),
        judge.output_bias(loss=loss, neutral=neutral, prior=prior, is_regression=is_regression),
        judge.outputs(
            _reach(group, look["reach"]),
            takes_scores=not is_regression
            and kind in ("cross_entropy", "binary_cross_entropy", "hinge"),
        ),
        _symmetry(trained, paths, params),
        _overfit(group, trained, float(np.nanmin(on_handful))),
        judge.inputs_matter(
            real=_least(trained["training"][real]),
            zeroed=_least(trained["training"][real.stop :]),
            spread=float(look["spread"]),
            num_steps=group.num_steps,
        ),
        judge.batch_mixing(
            training=float(look["mixing"]["training"]),
            evaluation=float(look["mixing"]["evaluation"]),
            has_statistics=carries,
        ),
        _modes(group, look, trained, prior, carries),
    ]
    if names:
        activations = [float(value) for value in look["activations"]]
        items.append(
            judge.layer_variance(
                names, activations=activations, gradients=[float(value) for value in back]
            )
        )
    return items


def _least(values: np.ndarray) -> float:
    """The least of some losses; NaN only where all are."""
    good = values[np.isfinite(values)]
    return float(good.min()) if len(good) else math.nan


def _reach(group: _Group, reach: PyTree) -> judge.Reach:
    low, high = float(reach["low"]), float(reach["high"])
    y = group.dataset.train.y
    outside = 0.0
    if group.dataset.task != "classification":
        values = y[np.isfinite(y)]
        outside = float(np.mean((values < low) | (values > high)))
    return judge.Reach(
        low,
        high,
        float(reach["row_sum_error"]),
        outside,
        group.pieces.num_outputs,
        group.pieces.num_wanted,
    )


def _symmetry(trained: PyTree, paths: Sequence[str], params: PyTree) -> Item:
    is_kernel = np.array([np.ndim(leaf) >= 2 for leaf in jax.tree.leaves(params)])
    is_twin = (trained["twins"][len(OVERFIT_RATES) :] > 0).all(axis=0)
    is_idle = (trained["moved"] == 0).all(axis=0) & is_kernel
    return judge.symmetry(
        twins=[path for path, flag in zip(paths, is_twin, strict=True) if flag],
        idle=[path for path, flag in zip(paths, is_idle, strict=True) if flag],
        num_kernels=int(is_kernel.sum()),
    )


def _overfit(group: _Group, trained: PyTree, chance: float) -> Item:
    count = len(OVERFIT_RATES)
    losses = trained["losses"][:count]
    tail = max(1, losses.shape[1] // 10)
    ends = np.stack(
        [trained["training"][:count], trained["evaluation"][:count], losses[:, -tail:].mean(axis=1)]
    )
    ends = np.where(np.isfinite(ends), ends, np.inf).min(axis=0)
    best = int(np.argmin(ends))
    middle = losses[best, -4 * tail : -3 * tail].mean() if losses.shape[1] > 4 * tail else np.inf
    num_samples = group.material.handful
    return judge.overfit(
        start=chance,
        end=float(ends[best]),
        is_falling=bool(losses[best, -tail:].mean() < 0.95 * middle),
        num_samples=num_samples,
        num_steps=group.num_steps,
    )


def _modes(group: _Group, look: PyTree, trained: PyTree, chance: float, carries: bool) -> Item:
    first = len(OVERFIT_RATES)
    real = trained["evaluation"][first : first + len(REAL_RATES)]
    best = first + int(np.argmin(np.where(np.isfinite(real), real, np.inf)))
    return judge.modes(
        judge.Modes(
            noise=0.0 if group.pieces.is_noisy else float(look["noise"]),
            loudness=float(look["loudness"]),
            training=float(trained["training"][best]),
            evaluation=float(trained["evaluation"][best]),
            chance=chance,
            has_statistics=carries,
        )
    )


# ---- learning rates --------------------------------------------------------------------------


def _starting_losses(
    groups: Sequence[_Group], waiting: Sequence[tuple[Future[Any], ...]]
) -> dict[int, float]:
    """Loss of each arm before its first step: a small batch alone would not tell."""
    found: dict[int, float] = {}
    for group, (look, *_) in zip(groups, waiting, strict=True):
        for lane, subject in enumerate(group.subjects):
            found |= dict.fromkeys(subject.arms, float(look.result()["loss"][lane]))
    return found


def _probed(
    prepared: Prepared,
    built: Sequence[compiled.Programs],
    unknown: frozenset[int],
    starts: Mapping[int, float],
) -> list[Item]:
    """The first steps of every configuration at its rate; where the rate is not compared, at 2 and 5 times the rate too."""
    items: list[Item] = []
    for laid, programs in zip(prepared.laid, built, strict=True):
        families: dict[str, list[int]] = {}
        for arm in laid.bucket.arms:
            if arm not in unknown:
                families.setdefault(_rateless(prepared.arms[arm]), []).append(arm)
        if families:
            items += _probed_bucket(prepared, laid, programs, list(families.values()), starts)
    return items


def _rateless(arm: Arm) -> str:
    plain = plain_config(arm.config)
    plain["train"].pop("learning_rate")
    return _text(plain)


def _probed_bucket(
    prepared: Prepared,
    laid: Laid,
    programs: compiled.Programs,
    families: Sequence[Sequence[int]],
    starts: Mapping[int, float],
) -> list[Item]:
    tried = [
        (arm, factor)
        for own in families
        for arm in own
        for factor in (FACTORS if len(own) == 1 else (1.0,))
    ]
    runs = []
    for number, (arm, factor) in enumerate(tried):
        run = _first_run(prepared, arm)
        rate = run.hypers["learning_rate"] * factor
        hypers = {**run.hypers, "learning_rate": rate}
        runs.append(replace(run, run=number, arm=number, hypers=hypers))
    width = laid.strategy.width
    boundaries = _boundaries(prepared, laid, -(-len(runs) // width) * width)
    order = ordering.order(laid.bucket, prepared.datasets[laid.bucket.data])
    losses = gating.probe(programs, runs, order=order, boundaries=boundaries)
    courses = {
        key: _course(run.hypers["learning_rate"], row, start=starts[key[0]])
        for key, run, row in zip(tried, runs, losses, strict=True)
    }
    found = []
    for own in families:
        told = [{f: c for (one, f), c in courses.items() if one == arm} for arm in own]
        found.append((judge.stability(told, num_steps=boundaries[-1]), tuple(own)))
    return _merged(prepared.arms, found)


def _boundaries(prepared: Prepared, laid: Laid, num_lanes: int) -> tuple[int, ...]:
    """Steps at which the losses of probes are told, evenly, as far as time allows; each costs a pass over the validation part."""
    bucket = laid.bucket
    step_s = _step_seconds(laid) * num_lanes * len(prepared.laid)
    num_val = len(prepared.datasets[bucket.data].val)
    look_s = step_s / bucket.shapes.batch_size * num_val / 3
    num_points = int(min(POINTS, max(LEAST_POINTS, PROBE_SECONDS / look_s)))
    wanted = int(min(MOST_PROBE, max(LEAST_PROBE, PROBE_SECONDS / step_s)))
    most = min(wanted, bucket.total_steps)
    gap = min(bucket.shapes.max_steps, max(1, -(-most // num_points)))
    return tuple(range(gap, most + 1, gap))[:MOST_CALLS]


def _course(rate: float, losses: np.ndarray, *, start: float) -> judge.Course:
    quarter = losses[-max(1, len(losses) // 4) :]
    return judge.Course(rate, start, float(losses.max()), float(quarter.mean()))
