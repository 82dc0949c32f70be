"""Carrying a study out: data, plan, cohorts, records, best model, report, in this order.

The one place where clocks, files and the compiled programs meet. Everything below it is either pure or owns one of
them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from lanework import data as data_package
from lanework import export
from lanework.cohort import (
    assemble,
    compiled,
    devices,
    history,
    loop,
    measure,
    plan,
    program,
    snapshot,
)
from lanework.cohort.program import Strategy
from lanework.errors import DataError, StoreError
from lanework.health import verdicts
from lanework.spec import Arm, StudySpec, content_hash, dump_study, expand, resolve
from lanework.store import RunResult, RunRow, Store

PyTree: TypeAlias = Any

MEMORY_SHARE = 0.6
SNAPSHOT_EVERY_S = 15.0


@dataclass(frozen=True)
class Progress:
    """How far a study is; given to the progress callback after each segment.

    Attributes:
        message: What is being done.
        runs_total: Runs of the study.
        runs_done: Runs that ended.
        lanes_active: Runs training now.
        lanes_in_trouble: Runs that were healed or have diverged so far.
        metric: The metric of the report.
        best_name: Label of the arm of the best run so far; empty before the first evaluation.
        best_value: Its value.
        samples_per_s: Training samples per second over the last segments.
        seconds_left: Estimate, None when nothing is known yet.
        elapsed_s: Seconds since the start.
    """

    message: str
    runs_total: int
    runs_done: int
    lanes_active: int
    lanes_in_trouble: int
    metric: str
    best_name: str
    best_value: float
    samples_per_s: float
    seconds_left: float | None
    elapsed_s: float


Watcher: TypeAlias = Callable[[Progress], None]


@dataclass(frozen=True)
class Laid:
    """One bucket of a prepared study: its functions, cost and layout."""

    bucket: plan.Bucket
    functions: tuple[Any, Any, Any]
    estimate: plan.Estimate
    strategy: Strategy
    why: str


@dataclass(frozen=True)
class Prepared:
    """A study up to the point where something would be trained."""

    spec: StudySpec
    spec_hash: str
    arms: tuple[Arm, ...]
    datasets: tuple[data_package.Dataset, ...]
    metric: str
    laid: tuple[Laid, ...]
    memory_bytes: float
    module: Any = None


@dataclass
class _Session:
    """What changes while a study runs."""

    store: Store
    folder: Path
    prepared: Prepared
    watcher: Watcher | None
    begun: float
    snapshot_every_s: float = SNAPSHOT_EVERY_S
    clock: dict[str, float] = field(default_factory=dict)
    done: int = 0
    troubled: set[int] = field(default_factory=set)
    stopped_early: set[int] = field(default_factory=set)
    samples_done: float = 0.0
    samples_total: float = 0.0
    samples_per_s: float = 0.0
    best: tuple[float, int] = (-math.inf, -1)
    kept: dict[int, tuple[float, int, PyTree]] = field(default_factory=dict)
    last_snapshot: float = 0.0
    run_arm: dict[int, int] = field(default_factory=dict)


def prepare(
    spec: StudySpec,
    *,
    arrays: Any = None,
    module: Any = None,
    memory_bytes: float | None = None,
    strategies: Mapping[str, Any] | None = None,
    is_monitored: bool = True,
) -> Prepared:
    """Load the data, expand the grid, sort runs into buckets and lay out lanes.

    Args:
        spec: The study.
        arrays: Data given from Python, see `lanework.data.load`.
        module: `nnx.Module` class given from Python.
        memory_bytes: What lanes may use; 60 % of the machine's memory by default.
        strategies: Layouts by bucket key from an earlier start of the same study, which are then kept.
        is_monitored: Whether layers are watched.
    """
    import jax

    spec_hash = content_hash(spec)
    first = data_package.load(spec.data, arrays=arrays)
    spec = resolve(spec, task=first.task)
    arms = expand(spec)
    datasets, data_of_arm = _load_data(arms, arrays, known={spec.data.model_dump_json(): first})
    metric = spec.report.metric or ""
    memory = memory_bytes or MEMORY_SHARE * devices.total_memory_bytes()
    laid = []
    for bucket in plan.buckets(spec, arms, datasets, data_of_arm):
        dataset = datasets[bucket.data]
        functions = plan.functions(
            bucket, dataset, metric=metric, is_monitored=is_monitored, module=module
        )
        estimate = plan.estimate(bucket, dataset, functions)
        strategy, why = plan.choose(
            bucket,
            estimate,
            num_devices=len(jax.devices()),
            backend=jax.default_backend(),
            memory_bytes=memory,
        )
        known = (strategies or {}).get(bucket.key) or _remembered(bucket, strategy)
        if known:
            strategy, why = Strategy(**known["strategy"]), known["why"]
        laid.append(Laid(bucket, functions, estimate, strategy, why))
    return Prepared(spec, spec_hash, arms, datasets, metric, tuple(laid), memory, module)


def _remembered(bucket: plan.Bucket, guess: Strategy) -> Mapping[str, Any] | None:
    """The layout that was measured for this very bucket on this machine, if it still fits."""
    entry = history.recall().get(history.bucket_key(bucket.key), {})
    layout = entry.get("strategy")
    if (
        not layout
        or layout["num_devices"] != guess.num_devices
        or layout["width"] > guess.width + guess.group * guess.num_devices
    ):
        return None
    return {"strategy": layout, "why": entry["why"]}


def _load_data(
    arms: Sequence[Arm], arrays: Any, *, known: dict[str, data_package.Dataset]
) -> tuple[tuple[data_package.Dataset, ...], tuple[int, ...]]:
    """Each distinct data configuration once, and which one each arm uses."""
    loaded: dict[str, data_package.Dataset] = {}
    which = []
    for arm in arms:
        key = arm.config.data.model_dump_json()
        if key not in loaded:
            loaded[key] = known.get(key) or data_package.load(arm.config.data, arrays=arrays)
        which.append(list(loaded).index(key))
    tasks = {dataset.task for dataset in loaded.values()}
    if len(tasks) > 1:
        raise DataError(
            "all arms of a study must have the same task, got classification and regression. Compare them in two studies."
        )
    return tuple(loaded.values()), tuple(which)


def carry_out(
    prepared: Prepared,
    *,
    folder: Path,
    resume: bool,
    watcher: Watcher | None,
    clock: dict[str, float],
    begun: float,
    snapshot_every_s: float = SNAPSHOT_EVERY_S,
) -> None:
    """Train everything that is not done yet and leave the study's folder complete.

    Args:
        prepared: The study.
        folder: Its folder; new, or of the same study when resuming.
        resume: Go on with what is there.
        watcher: Told of progress.
        clock: Seconds by stage so far; completed and stored.
        begun: `time.perf_counter()` at the start.
        snapshot_every_s: Seconds between snapshots of the runs in training.

    Raises:
        KeyboardInterrupt: Passed on after a snapshot was saved.
    """
    with Store(folder, create=not resume) as store:
        session = _Session(store, folder, prepared, watcher, begun, snapshot_every_s, clock)
        _describe(session, resume=resume)
        with ThreadPoolExecutor(max_workers=devices.available_cores()) as pool:
            try:
                _train_all(session, pool, resume=resume)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        _finish(session)


def _describe(session: _Session, *, resume: bool) -> None:
    """Write down what is about to happen."""
    prepared, store = session.prepared, session.store
    for laid in prepared.laid:
        session.samples_total += _samples(laid.bucket)
        session.run_arm.update({run.run: run.arm for run in laid.bucket.runs})
    fingerprints = [dataset.fingerprint for dataset in prepared.datasets]
    if resume:
        if store.meta("fingerprints") != fingerprints:
            raise StoreError(
                f"{session.folder}: to resume, the data must be what the study started with, but it has changed since. Put the old "
                "data back, or start again with --overwrite."
            )
        store.add_event(None, 0, "resumed", "The study was continued.", {})
        return
    (session.folder / "study.yaml").write_text(dump_study(prepared.spec))
    store.put_meta("study", prepared.spec.model_dump(mode="json"))
    store.put_meta("hash", prepared.spec_hash)
    store.put_meta("metric", prepared.metric)
    store.put_meta("task", prepared.datasets[0].task)
    store.put_meta("data", [dataset.summary for dataset in prepared.datasets])
    store.put_meta("fingerprints", fingerprints)
    store.put_meta("machine", devices.machine())
    store.put_meta("plan", plan_record(prepared))
    rows = [
        RunRow(
            run.run,
            run.arm,
            prepared.arms[run.arm].name,
            run.seed,
            prepared.arms[run.arm].factors,
            laid.bucket.index,
        )
        for laid in prepared.laid
        for run in laid.bucket.runs
    ]
    store.add_runs(sorted(rows, key=lambda row: row.run))
    store.flush()


def _samples(bucket: plan.Bucket) -> float:
    return float(len(bucket.runs)) * bucket.total_steps * bucket.shapes.batch_size


def plan_record(prepared: Prepared) -> dict[str, Any]:
    """The plan as it is stored and shown: buckets with layout, reason and cost."""
    return {
        "runs": sum(len(laid.bucket.runs) for laid in prepared.laid),
        "memory_bytes": prepared.memory_bytes,
        "buckets": [
            {
                "index": laid.bucket.index,
                "key": laid.bucket.key,
                "arms": [prepared.arms[arm].name for arm in laid.bucket.arms],
                "runs": len(laid.bucket.runs),
                "steps": laid.bucket.total_steps,
                "segments": len(laid.bucket.boundaries),
                "batch_size": laid.bucket.shapes.batch_size,
                "parameters": laid.estimate.num_params,
                "flops": laid.estimate.flops,
                "lane_bytes": laid.estimate.lane_bytes,
                "strategy": asdict(laid.strategy),
                "layout": laid.strategy.describe(),
                "why": laid.why,
            }
            for laid in prepared.laid
        ],
    }


def _train_all(session: _Session, pool: ThreadPoolExecutor, *, resume: bool) -> None:
    """Compile all buckets in the background, train them one after the other."""
    prepared = session.prepared
    placed: dict[tuple[int, int], Any] = {}
    waiting: list[Laid | tuple[Laid, compiled.Programs]] = []
    for laid in prepared.laid:
        if resume and _is_done(session, laid.bucket):
            waiting.append(laid)
        else:
            waiting.append(_laid_out(session, laid, placed, pool, may_measure=not resume))
    laid_now = tuple(item if isinstance(item, Laid) else item[0] for item in waiting)
    if laid_now != prepared.laid:
        session.prepared = prepared = replace(prepared, laid=laid_now)
        session.store.put_meta("plan", plan_record(prepared))
    # Before the first step: a resumed study must find the layout that its numbers were made with.
    session.store.flush()
    waiting.reverse()
    while waiting:
        item = waiting.pop()  # executables and buffers of a finished bucket go at once
        if isinstance(item, Laid):
            _recall_finished(session, item.bucket)
        else:
            _train_bucket(session, *item, resume=resume, is_last=not waiting)


def _laid_out(
    session: _Session,
    laid: Laid,
    placed: dict[tuple[int, int], Any],
    pool: ThreadPoolExecutor,
    *,
    may_measure: bool,
) -> tuple[Laid, compiled.Programs]:
    """The programs of a bucket, compiling already; layouts are measured first where that pays."""
    prepared, bucket = session.prepared, laid.bucket
    inits = [
        assemble.network(
            spec,
            prepared.datasets[bucket.data],
            outputs=assemble.num_outputs(_loss_name(bucket), prepared.datasets[bucket.data]),
            module=prepared.module,
        ).init
        for spec in bucket.inits
    ]

    def build(strategy: Strategy) -> compiled.Programs:
        which = (bucket.data, strategy.num_devices)
        if which not in placed:
            parts = assemble.parts(prepared.datasets[bucket.data])
            placed[which] = compiled.place(parts, num_devices=strategy.num_devices)
        built = compiled.Programs(
            *laid.functions,
            strategy=strategy,
            shapes=bucket.shapes,
            data=placed[which],
            pool=pool,
            inits=inits,
            identity=_identity(prepared, bucket),
        )
        built.prepare(init_kinds=range(len(inits)))
        return built

    expected, is_known = plan.expected_seconds(laid.estimate, bucket.key)
    if not may_measure or is_known or expected < measure.WORTH_SECONDS:
        return laid, build(laid.strategy)
    begun = time.perf_counter()
    strategy, why, programs = measure.best(
        build, laid.strategy, tell=lambda text: _tell(session, text, active=0)
    )
    session.clock["measure"] = session.clock.get("measure", 0.0) + time.perf_counter() - begun
    return replace(laid, strategy=strategy, why=why), programs


def _identity(prepared: Prepared, bucket: plan.Bucket) -> object:
    """Everything the functions of a bucket were built from; None for own modules, whose code may import anything."""
    if any(spec.is_own for spec in bucket.inits):
        return None
    return (
        bucket.key,
        [spec.model_dump_json() for spec in bucket.inits],
        sorted(plan.used_strengths(bucket)),
        bucket.boundaries,
        prepared.datasets[bucket.data].fingerprint,
    )


def _lanes_file(session: _Session, bucket: plan.Bucket) -> Path:
    return session.folder / "snapshots" / f"lanes-{bucket.index}.safetensors"


def _kept_file(session: _Session, bucket: plan.Bucket) -> Path:
    return session.folder / "snapshots" / f"kept-{bucket.index}.safetensors"


def _is_done(session: _Session, bucket: plan.Bucket) -> bool:
    """Whether a bucket ended before: all results stored and the weights of its arms saved."""
    have = {row.run for row in session.store.results()}
    return _kept_file(session, bucket).is_file() and all(run.run in have for run in bucket.runs)


def _train_bucket(
    session: _Session, laid: Laid, programs: compiled.Programs, *, resume: bool, is_last: bool
) -> None:
    bucket, dataset = laid.bucket, session.prepared.datasets[laid.bucket.data]
    start = _restore(session, laid) if resume else None
    begun = time.perf_counter()
    session.last_snapshot = begun
    _tell(
        session, f"compiling program {bucket.index + 1} of {len(session.prepared.laid)}", active=0
    )
    batch_size, num_train = bucket.shapes.batch_size, len(dataset.train)

    def order(seed: int, first_step: int, num_steps: int) -> np.ndarray:
        return data_package.batch_indices(
            num_train, batch_size, seed=seed, first_step=first_step, num_steps=num_steps
        )

    rules = plan.rules(bucket, metric=session.prepared.metric)
    newest: loop.Tick | None = None
    try:
        for tick in loop.train(programs, bucket.runs, rules=rules, order=order, start=start):
            newest = tick
            _record(session, laid, tick)
            if time.perf_counter() - session.last_snapshot > session.snapshot_every_s:
                _save_snapshot(session, bucket, tick)
    except KeyboardInterrupt:
        if newest is not None:
            _save_snapshot(session, bucket, newest)
        session.store.add_event(None, 0, "interrupted", "The study was interrupted.", {})
        raise
    seconds = time.perf_counter() - begun
    session.clock["train"] = session.clock.get("train", 0.0) + seconds
    if start is None and seconds > 0.0:
        _remember(laid, seconds)
    session.store.put_meta(f"program:{bucket.index}", {"compile_seconds": programs.compile_seconds})
    if not is_last:
        _save_kept(session, bucket)
    _lanes_file(session, bucket).unlink(missing_ok=True)


def _remember(laid: Laid, seconds: float) -> None:
    rate = laid.estimate.flops / seconds
    entry = {"flops_per_s": rate, "strategy": asdict(laid.strategy), "why": laid.why}
    history.remember(
        {history.bucket_key(laid.bucket.key): entry, history.rate_key(): {"flops_per_s": rate}}
    )


def _record(session: _Session, laid: Laid, tick: loop.Tick) -> None:
    """Write a tick down and tell how far the study is."""
    store, prepared = session.store, session.prepared
    store.add_metrics(tick.metrics)
    store.add_health(tick.health)
    for event in tick.events:
        store.add_event(event.run, event.step, event.kind, event.text, event.data)
        if event.kind in ("healed", "diverged"):
            session.troubled.add(event.run)
        if event.kind == "stopped_early":
            session.stopped_early.add(event.run)
    sign = _sign(prepared.metric)
    for run, _, _, name, value in tick.metrics:
        if name == prepared.metric and value * sign > session.best[0]:
            session.best = (value * sign, run)
    for finished in tick.finished:
        _keep(session, laid, finished)
    session.samples_done += tick.num_samples
    if tick.num_samples:
        session.samples_per_s = tick.num_samples / tick.seconds
    _tell(
        session,
        f"training program {laid.bucket.index + 1} of {len(prepared.laid)}",
        active=tick.num_active,
    )


def _sign(metric: str) -> float:
    return -1.0 if metric.split("_", 1)[-1] in assemble.LOWER_IS_BETTER else 1.0


def _keep(session: _Session, laid: Laid, finished: loop.Finished) -> None:
    """Store a run's result, and its weights when they are the best of its arm so far."""
    dataset = session.prepared.datasets[laid.bucket.data]
    val = finished.metrics.get("val", {})
    outcome = verdicts.Outcome(
        status=finished.status,
        retries=finished.retries,
        is_stopped_early=finished.run in session.stopped_early,
        metrics=val,
        **_chance(dataset, _loss_name(laid.bucket)),
    )
    metrics = {
        f"{part}_{name}": value
        for part, row in finished.metrics.items()
        for name, value in row.items()
    }
    session.store.finish_run(
        RunResult(
            run=finished.run,
            status=finished.status,
            verdict=verdicts.verdict(outcome),
            steps=finished.step,
            best_step=finished.best_step,
            seconds=finished.seconds,
            test_seconds=finished.test_seconds,
            metrics=metrics,
        )
    )
    session.done += 1
    score = metrics.get(session.prepared.metric, math.nan) * _sign(session.prepared.metric)
    if finished.status == "ok" and score > session.kept.get(finished.arm, (-math.inf,))[0]:
        session.kept[finished.arm] = (score, finished.run, finished.weights)


def _loss_name(bucket: plan.Bucket) -> str:
    loss = bucket.config.train.loss
    return loss.name if loss else ""


def _chance(dataset: data_package.Dataset, loss: str) -> dict[str, float | None]:
    if dataset.task != "classification":
        return {"chance_loss": None, "chance_accuracy": None}
    counts = np.bincount(dataset.train.y, minlength=max(1, len(dataset.classes)))
    shares = counts[counts > 0] / counts.sum()
    entropy = float(-(shares * np.log(shares)).sum())
    known = loss in ("cross_entropy", "binary_cross_entropy")
    return {"chance_loss": entropy if known else None, "chance_accuracy": float(shares.max())}


def _tell(session: _Session, message: str, *, active: int) -> None:
    if session.watcher is None:
        return
    prepared = session.prepared
    best_value, best_run = session.best
    rate = session.samples_per_s
    left = (session.samples_total - session.samples_done) / rate if rate else None
    session.watcher(
        Progress(
            message=message,
            runs_total=sum(len(laid.bucket.runs) for laid in prepared.laid),
            runs_done=session.done,
            lanes_active=active,
            lanes_in_trouble=len(session.troubled),
            metric=prepared.metric,
            best_name=prepared.arms[session.run_arm[best_run]].name if best_run >= 0 else "",
            best_value=best_value * _sign(prepared.metric),
            samples_per_s=rate,
            seconds_left=left,
            elapsed_s=time.perf_counter() - session.begun,
        )
    )


def _save_snapshot(session: _Session, bucket: plan.Bucket, tick: loop.Tick) -> None:
    """Records first, then the snapshot: what a snapshot claims is always on the disk already."""
    session.store.flush()
    trees, info = tick.snapshot()
    arrays = snapshot.flatten(trees)
    for arm, (score, run, weights) in session.kept.items():
        if arm in bucket.arms:
            arrays |= {
                f"kept/{arm}/{name}": leaf for name, leaf in snapshot.flatten(weights).items()
            }
            info.setdefault("kept", {})[str(arm)] = [score, run]
    snapshot.save(_lanes_file(session, bucket), arrays, info)
    session.last_snapshot = time.perf_counter()


def _save_kept(session: _Session, bucket: plan.Bucket) -> None:
    arrays: dict[str, np.ndarray] = {}
    info: dict[str, Any] = {}
    for arm, (score, run, weights) in session.kept.items():
        if arm in bucket.arms:
            arrays |= {
                f"kept/{arm}/{name}": leaf for name, leaf in snapshot.flatten(weights).items()
            }
            info[str(arm)] = [score, run]
    session.store.flush()
    snapshot.save(_kept_file(session, bucket), arrays, {"kept": info})


def _recall_finished(session: _Session, bucket: plan.Bucket) -> None:
    arrays, info = snapshot.load(_kept_file(session, bucket))
    _recall(session, arrays, info)
    session.done += len(bucket.runs)
    session.samples_done += _samples(bucket)


def _recall(session: _Session, arrays: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> None:
    for arm, (score, run) in info.get("kept", {}).items():
        prefix = f"kept/{arm}/"
        flat = {
            name[len(prefix) :]: leaf for name, leaf in arrays.items() if name.startswith(prefix)
        }
        session.kept[int(arm)] = (score, run, export.nested(flat))


def _restore(session: _Session, laid: Laid) -> tuple[PyTree, Mapping[str, Any]] | None:
    """The state to go on from, with the records taken back to it; None to start the bucket again."""
    store, bucket = session.store, laid.bucket
    path = _lanes_file(session, bucket)
    if not path.is_file():
        for run in bucket.runs:
            store.rewind(run.run, -1)
        return None
    arrays, info = snapshot.load(path)
    _recall(session, arrays, info)
    like = program.lane_shapes(*laid.functions)
    trees = {}
    for name in ("lanes", "waiting"):
        prefix = f"{name}/"
        flat = {key[len(prefix) :]: leaf for key, leaf in arrays.items() if key.startswith(prefix)}
        if flat:
            trees[name] = snapshot.unflatten(like, flat)
    unfinished = {*info["pending"], *info["active"], *info["waiting"]}
    for run in bucket.runs:
        known = info["progress"].get(str(run.run))
        if run.run in unfinished:
            store.rewind(run.run, known["step"] if known else -1)
        if known:
            session.done += run.run not in unfinished
            session.samples_done += known["step"] * bucket.shapes.batch_size
            session.troubled.update({run.run} if known["retries"] else ())
    session.stopped_early.update(
        e.run for e in store.events() if e.kind == "stopped_early" and e.run is not None
    )
    return trees, info


def _finish(session: _Session) -> None:
    """Choose and export the best model, then write the report."""
    from lanework import report

    prepared, store = session.prepared, session.store
    begun = time.perf_counter()
    store.flush()
    best = _best_arm(session)
    if best is not None:
        _, run, weights = session.kept[best]
        arm = prepared.arms[best]
        laid = next(laid for laid in prepared.laid if best in laid.bucket.arms)
        export.write(
            session.folder / "best",
            arm=arm,
            run=run,
            weights=weights,
            dataset=prepared.datasets[laid.bucket.data],
            module=prepared.module,
        )
        store.put_meta("best", {"arm": best, "run": run, "name": arm.name})
    session.clock["export"] = time.perf_counter() - begun
    session.clock["compile"] = sum(
        seconds
        for laid in prepared.laid
        for seconds in (store.meta(f"program:{laid.bucket.index}") or {})
        .get("compile_seconds", {})
        .values()
    )
    session.clock["total"] = time.perf_counter() - session.begun
    store.put_meta("timings", session.clock)
    store.put_meta("complete", True)
    store.flush()
    _tell(session, "writing the report", active=0)
    report.write(session.folder)
    for path in (session.folder / "snapshots").glob("*.safetensors"):
        path.unlink()


def _best_arm(session: _Session) -> int | None:
    """The arm whose runs are best on average; one that lost runs only wins over arms that lost more."""
    scores: dict[int, list[float]] = {}
    sign = _sign(session.prepared.metric)
    for row in session.store.results():
        value = row.metrics.get(session.prepared.metric, math.nan)
        good = row.status == "ok" and math.isfinite(value)
        scores.setdefault(session.run_arm[row.run], []).append(value * sign if good else -math.inf)
    ranked = {
        arm: (
            -sum(math.isinf(v) for v in values),
            float(np.mean([v for v in values if math.isfinite(v)] or [-math.inf])),
        )
        for arm, values in scores.items()
        if arm in session.kept
    }
    return max(ranked, key=lambda arm: ranked[arm]) if ranked else None
