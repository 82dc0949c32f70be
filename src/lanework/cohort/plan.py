"""The plan: which runs share a program, how many lanes a call takes, and why.

Owns buckets (runs whose static choices are equal), the first estimate of their cost, and the choice of a `Strategy`.
Estimates come from counting (`cost`) and from what earlier studies on this machine measured; where measuring more would
cost more than it could save, the plan says so.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from lanework.cohort import assemble, cost, history, program, updates
from lanework.cohort.program import Shapes, Strategy
from lanework.cohort.runs import Rules, Run, Stopping
from lanework.cohort.step import Problem, Update, Watch
from lanework.data import Dataset, Part
from lanework.errors import DeviceError
from lanework.spec import (
    ZERO_IS_OFF,
    Arm,
    ModelSpec,
    RunConfig,
    StudySpec,
    static_key,
    traced_values,
)

# Memory that the lanes of one vectorised group may touch in a step before they fall out of a core's cache, bytes. Measured on
# a 2-core AVX-512 machine: 16 lanes of an MLP 784-256-128-10 run at 83 % of matrix peak two by two, 60 % all at once.
GROUP_BYTES = 3 * 2**20
MAX_LANES_PER_DEVICE = 256
MAX_SCORE_CHUNK = 512
# Records of the layers over a run: enough for a heat map and to date a finding, and little to write.
HEALTH_POINTS = 40
# Before anything was measured: the share of a matrix product's rate that training reaches, and what a step costs at least.
USUAL_SHARE = 0.3
CALL_SECONDS = 2e-5
EVALUATION_BYTES = 2 * 2**20


@dataclass(frozen=True)
class Bucket:
    """Runs that share their compiled programs and their data.

    Attributes:
        index: Position in the plan.
        key: Hash of everything static, shapes included.
        config: Configuration of the first arm; its static part holds for all.
        arms: Numbers of the arms.
        runs: The runs, arm by arm, seed by seed.
        data: Which of the study's data sets.
        inits: Model specs that differ in the initialisation only, by `Run.init`.
        total_steps: Steps of a whole run.
        steps_per_epoch: Steps of an epoch.
        boundaries: Steps at which segments end.
        shapes: Static sizes.
        spans: First training row and number of training rows of each fold in the data of the bucket; empty without
            cross-validation.
    """

    index: int
    key: str
    config: RunConfig
    arms: tuple[int, ...]
    runs: tuple[Run, ...]
    data: int
    inits: tuple[ModelSpec, ...]
    total_steps: int
    steps_per_epoch: int
    boundaries: tuple[int, ...]
    shapes: Shapes
    spans: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Estimate:
    """What a bucket will cost.

    Attributes:
        flops: Floating-point operations of training, all runs.
        lane_bytes: Memory of one lane's state, bytes.
        step_bytes: Memory one lane touches in a step, bytes.
        has_convolution: Whether it convolves.
        num_params: Parameters of one run.
        calls: Steps of all runs: each costs a little even when there is nothing to compute.
    """

    flops: float
    lane_bytes: int
    step_bytes: int
    has_convolution: bool
    num_params: int
    calls: float


def segment_boundaries(
    total_steps: int, steps_per_epoch: int, eval_every: float
) -> tuple[int, ...]:
    """Steps at which segments end: as even as whole steps allow, the last one at `total_steps`.

    Example:
        >>> segment_boundaries(10, 5, 0.5)
        (3, 5, 8, 10)
    """
    wanted = max(1.0, steps_per_epoch * eval_every)
    count = max(1, round(total_steps / wanted))
    # Halves go up: 2.5 -> 3. Whole epochs stay exact because count divides them.
    return tuple(math.floor(total_steps * (i + 1) / count + 0.5) for i in range(count))


def buckets(
    spec: StudySpec,
    arms: Sequence[Arm],
    datasets: Sequence[Dataset],
    data_of_arm: Sequence[int],
    folds: Mapping[int, Sequence[Dataset]] | None = None,
) -> tuple[Bucket, ...]:
    """Sort all runs into buckets; every grid point lands in exactly one.

    Args:
        spec: The study.
        arms: Its arms.
        datasets: The distinct data sets.
        data_of_arm: Which of them each arm uses.
        folds: By number of a data set that holds several folds (see `lanework.data.merged`), those folds.
    """
    folds = folds or {}
    groups: dict[str, list[Arm]] = {}
    for arm in arms:
        static = static_key(arm.config)
        text = json.dumps([static, data_of_arm[arm.index]], sort_keys=True, default=str)
        groups.setdefault(text, []).append(arm)
    found, number = [], 0
    run_number = {}
    for arm in arms:
        num_folds = len(folds.get(data_of_arm[arm.index], (None,)))
        for seed, fold in itertools.product(spec.seeds, range(num_folds)):
            run_number[arm.index, seed, fold] = number
            number += 1
    for index, (text, members) in enumerate(groups.items()):
        data = data_of_arm[members[0].index]
        own = folds.get(data, ())
        found.append(_bucket(index, text, members, spec, data, datasets[data], own, run_number))
    return tuple(found)


def _bucket(
    index: int,
    text: str,
    members: Sequence[Arm],
    spec: StudySpec,
    data: int,
    dataset: Dataset,
    folds: Sequence[Dataset],
    run_number: Mapping[tuple[int, int, int], int],
) -> Bucket:
    config = members[0].config
    train = config.train
    sizes_of_train = [len(one.train) for one in folds] or [len(dataset.train)]
    num_train, least = max(sizes_of_train), min(sizes_of_train)
    batch_size = num_train if train.batch_size == "all" else min(int(train.batch_size), least)
    steps_per_epoch = -(-num_train // batch_size)
    total_steps = steps_per_epoch * train.epochs
    boundaries = segment_boundaries(total_steps, steps_per_epoch, train.eval_every)
    max_steps = max(b - a for a, b in zip((0, *boundaries), boundaries, strict=False))
    inits = {_text(arm.config.model): arm.config.model for arm in members}
    runs = _runs(members, spec, folds, run_number, inits=tuple(inits))
    shapes = Shapes(
        max_steps=max_steps,
        batch_size=batch_size,
        chunk=_chunk(dataset),
        score_chunk=min(MAX_SCORE_CHUNK, _chunk(dataset), max(map(len, _parts(dataset)))),
        hypers=tuple(sorted(runs[0].hypers)),
        has_weights=any(run.hypers.get("sampling.correction", 0.0) > 0 for run in runs),
    )
    sizes = [str(part.x.shape) + str(part.x.dtype) for part in _parts(dataset)]
    sizes += [str([len(part) for part in _parts(one)]) for one in folds]
    firsts = itertools.accumulate(sizes_of_train, initial=0)
    digest = hashlib.sha256("\n".join([text, str(shapes), *sizes]).encode()).hexdigest()
    return Bucket(
        index=index,
        key=digest[:16],
        config=config,
        arms=tuple(a.index for a in members),
        runs=runs,
        data=data,
        inits=tuple(inits.values()),
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        boundaries=boundaries,
        shapes=shapes,
        spans=tuple(zip(firsts, sizes_of_train, strict=False)) if folds else (),
    )


def _runs(
    members: Sequence[Arm],
    spec: StudySpec,
    folds: Sequence[Dataset],
    run_number: Mapping[tuple[int, int, int], int],
    *,
    inits: Sequence[str],
) -> tuple[Run, ...]:
    """The runs of a bucket, arm by arm, seed by seed, fold by fold."""
    values = {arm.index: traced_values(arm.config) for arm in members}
    # A strength that is zero in all runs is not even handed to the program.
    idle = {
        name for name in ZERO_IS_OFF if not any(row.get(name, 0.0) > 0 for row in values.values())
    }
    init_number = {text: place for place, text in enumerate(inits)}
    of_folds = [assemble.fold_hypers(i, one) for i, one in enumerate(folds)] or [{}]
    return tuple(
        Run(
            run=run_number[arm.index, seed, fold],
            arm=arm.index,
            seed=seed,
            hypers={k: v for k, v in values[arm.index].items() if k not in idle} | of_fold,
            init=init_number[_text(arm.config.model)],
            fold=fold,
        )
        for arm in members
        for seed in spec.seeds
        for fold, of_fold in enumerate(of_folds)
    )


def _text(model: ModelSpec) -> str:
    return json.dumps(model.model_dump(mode="json"), sort_keys=True)


def _parts(dataset: Dataset) -> tuple[Part, ...]:
    return (dataset.train, dataset.val, dataset.test)


def _chunk(dataset: Dataset) -> int:
    per_sample = 4 * math.prod(dataset.input.shape)
    return int(min(2048, max(64, EVALUATION_BYTES // per_sample)))


def used_strengths(bucket: Bucket) -> frozenset[str]:
    """Strengths (see `lanework.spec.ZERO_IS_OFF`) that some run sets above 0; the others cost nothing."""
    return frozenset(
        name for name in ZERO_IS_OFF if any(run.hypers.get(name, 0.0) > 0 for run in bucket.runs)
    )


def functions(
    bucket: Bucket, dataset: Dataset, *, metric: str, module: Any = None
) -> tuple[Problem, Update, Watch]:
    """The pure functions of a bucket."""
    problem = assemble.problem(
        bucket.config,
        dataset,
        used=used_strengths(bucket),
        module=module,
        has_folds=bool(bucket.spans),
    )._replace(steps_per_epoch=bucket.steps_per_epoch)
    update = updates.update(
        bucket.config.train,
        total_steps=bucket.total_steps,
        steps_per_epoch=bucket.steps_per_epoch,
        used=used_strengths(bucket),
        layer_names=problem.layer_names,
        params=jax.eval_shape(problem.init, jax.random.key(0))[0],
    )
    return problem, update, assemble.watch(bucket.config, metric=metric)


def rules(bucket: Bucket, *, metric: str) -> Rules:
    """What the host decides by in this bucket."""
    train = bucket.config.train
    name = assemble.followed(bucket.config, metric)
    stopping = train.early_stopping
    return Rules(
        boundaries=bucket.boundaries,
        steps_per_epoch=bucket.steps_per_epoch,
        metric=name,
        sign=assemble.direction(name),
        stopping=Stopping(stopping.patience, stopping.min_delta) if stopping else None,
        retries=train.heal.retries,
        gentler=train.heal.factor,
        health_every=-(-len(bucket.boundaries) // HEALTH_POINTS),
        deep_every=int(train.watch.options.get("every", 0)),
        is_host_scheduled=train.schedule.name == "plateau",
    )


def estimate(
    bucket: Bucket, dataset: Dataset, functions: tuple[Problem, Update, Watch]
) -> Estimate:
    """Count what one step costs, without running it."""
    problem, update, watch = functions
    lane = program.lane_shapes(problem, update, watch)
    batch = {
        "x": jax.ShapeDtypeStruct(
            (bucket.shapes.batch_size, *dataset.train.x.shape[1:]), dataset.train.x.dtype
        ),
        "y": jax.ShapeDtypeStruct(
            (bucket.shapes.batch_size, *dataset.train.y.shape[1:]), dataset.train.y.dtype
        ),
        "weight": jax.ShapeDtypeStruct((bucket.shapes.batch_size,), jnp.float32),
        "key": jax.ShapeDtypeStruct((bucket.shapes.batch_size, 2), jnp.uint32),
    }
    hypers = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in bucket.shapes.hypers}
    key = jax.eval_shape(lambda: jax.random.key(0))
    counted = cost.count(
        lambda p, s, b, k, h: problem.loss(p, s, b, key=k, hypers=h),
        lane.params,
        lane.state,
        batch,
        key,
        hypers,
    )
    lane_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(lane))
    num_params = sum(leaf.size for leaf in jax.tree.leaves(lane.params))
    steps = bucket.total_steps * len(bucket.runs)
    return Estimate(
        flops=3.0 * counted.flops * steps,  # the backward pass costs about twice the forward pass
        lane_bytes=lane_bytes,
        step_bytes=int(2 * lane_bytes + 2 * counted.bytes_made),
        has_convolution=counted.has_convolution,
        num_params=num_params,
        calls=float(steps),
    )


def choose(
    bucket: Bucket, guess: Estimate, *, num_devices: int, backend: str, memory_bytes: float
) -> tuple[Strategy, str]:
    """Lay lanes out before anything was measured.

    Args:
        bucket: The runs.
        guess: Their cost.
        num_devices: Devices at hand.
        backend: `cpu`, `gpu` or `tpu`.
        memory_bytes: What all lanes together may use.

    Returns:
        The strategy, and a sentence that says why.

    Raises:
        DeviceError: Not even one run fits.
    """
    num_runs = len(bucket.runs)
    # Two copies of each lane are alive while a segment runs (the state before it is the snapshot to go back to).
    table = (
        8.0 * bucket.shapes.max_steps * bucket.shapes.batch_size
    )  # sample numbers, host and device
    per_lane = 3.0 * guess.lane_bytes + guess.step_bytes + table
    fitting = int(memory_bytes / per_lane)
    if fitting < 1:
        raise DeviceError(
            f"one run must fit into the memory that lanes may use, it needs about {_gib(per_lane)} and may use {_gib(memory_bytes)}. "
            "Make the network or the batch smaller, or give more memory with --memory."
        )
    used_devices = min(num_devices, num_runs, fitting)
    per_device = min(-(-num_runs // used_devices), fitting // used_devices, MAX_LANES_PER_DEVICE)
    group, why = _group(guess, per_device, backend)
    strategy = with_group(Strategy(used_devices, used_devices * per_device, per_device), group)
    if num_runs > strategy.width:
        why += f" {num_runs} runs take turns in {strategy.width} lanes (memory and table size)."
    return strategy, why


def with_group(strategy: Strategy, group: int) -> Strategy:
    """The same lanes in groups of about that size, all groups equal."""
    per_device = strategy.width // strategy.num_devices
    rounds = -(-per_device // min(group, per_device))
    even = -(-per_device // rounds)
    return Strategy(strategy.num_devices, strategy.num_devices * rounds * even, even)


def expected_seconds(guess: Estimate, key: str) -> tuple[float, bool]:
    """Expected training time of a bucket, and whether this very bucket was measured here before.

    Args:
        guess: Its cost.
        key: Its key.
    """
    known = history.recall().get(history.bucket_key(key))
    if known:
        return guess.flops / max(float(known["flops_per_s"]), 1.0), True
    return guess.flops / (USUAL_SHARE * history.matrix_rate()) + guess.calls * CALL_SECONDS, False


def _gib(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.3g} GiB"


def _group(guess: Estimate, per_device: int, backend: str) -> tuple[int, str]:
    if backend != "cpu":
        return per_device, "An accelerator wants all lanes at once."
    if guess.has_convolution:
        return 1, (
            "Vectorising over convolution weights makes a grouped convolution, which is slow on a CPU, so lanes go one after "
            "the other on each core."
        )
    fitting = max(1, min(per_device, GROUP_BYTES // max(1, guess.step_bytes)))
    group = _even_group(per_device, int(fitting))
    size = guess.step_bytes / 2**20
    return group, (
        f"A lane touches about {size:.2g} MiB per step, so about {fitting} at a time stay in a core's cache."
    )


def _even_group(lanes: int, fitting: int) -> int:
    """A group size near `fitting` that leaves few empty lanes; of equal ones the largest.

    Example:
        >>> _even_group(13, 6)
        7
    """
    near = range(max(1, fitting * 3 // 4), min(lanes, fitting * 4 // 3) + 1)
    return min(near, key=lambda group: (-(-lanes // group) * group, -group))
