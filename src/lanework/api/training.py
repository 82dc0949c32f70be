"""Carrying a prepared study out: cohorts, records, best model, report, in this order.

The one place where clocks, files and the compiled programs meet. Everything below it is either pure or owns one of
them.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from lanework import export
from lanework.api import diagnose
from lanework.api.first_check import FirstCheck, OnCheck
from lanework.api.preparing import Laid, Prepared, identity, initialisers, num_samples, plan_record
from lanework.api.resuming import (
    is_done,
    lanes_file,
    recall_finished,
    restore,
    save_kept,
    save_snapshot,
)
from lanework.api.session import SNAPSHOT_EVERY_S, Session, Watcher, record, tell
from lanework.api.starts import starts, worth_measuring
from lanework.cohort import assemble, compiled, devices, history, loop, measure, ordering, plan
from lanework.cohort.program import Strategy
from lanework.errors import DeviceError, StoreError
from lanework.spec import dump_study
from lanework.store import RunRow, Store


def carry_out(
    prepared: Prepared,
    *,
    folder: Path,
    resume: bool,
    watcher: Watcher | None,
    clock: dict[str, float],
    begun: float,
    snapshot_every_s: float = SNAPSHOT_EVERY_S,
    is_checked: bool = False,
    on_check: OnCheck | None = None,
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
        is_checked: Whether a new study gets the quick check, see `check.quick`.
        on_check: Called with what it found.

    Raises:
        KeyboardInterrupt: Passed on after a snapshot was saved.
    """
    with Store(folder, create=not resume) as store:
        session = Session(store, folder, prepared, watcher, begun, snapshot_every_s, clock)
        _describe(session, resume=resume)
        pool = ThreadPoolExecutor(max_workers=devices.available_cores())
        try:
            with session.interrupt:
                gate = FirstCheck(session, on_check) if is_checked and not resume else None
                _train_all(session, pool, resume=resume, gate=gate)
        except jax.errors.JaxRuntimeError as problem:
            if "RESOURCE_EXHAUSTED" not in str(problem) and "Out of memory" not in str(problem):
                raise
            raise DeviceError(
                f"the lanes must fit into memory, the devices ran out of it ({str(problem).splitlines()[0]}). Give less with "
                "--memory, so that fewer lanes train at a time; what is done is kept, go on with --resume."
            ) from problem
        finally:
            # Whoever interrupts a study does not want to wait for programs that are still compiling.
            pool.shutdown(wait=False, cancel_futures=True)
        _finish(session)


def check_same(folder: Path, prepared: Prepared) -> None:
    """Make sure that a folder holds this very study, on this very data.

    Raises:
        StoreError: When the study or the data has changed since.
    """
    with Store(folder, create=False) as store:
        is_same = store.meta("hash") == prepared.spec_hash
        fingerprints = store.meta("fingerprints")
    if not is_same:
        raise StoreError(
            f"{folder}: to resume, the study must be the one that was started there, but it has changed since. Put the old settings "
            "back, give another folder with --out, or start again with --overwrite."
        )
    if fingerprints != [dataset.fingerprint for dataset in prepared.datasets]:
        raise StoreError(
            f"{folder}: to resume, the data must be what the study started with, but it has changed since. Put the old data back, "
            "or start again with --overwrite."
        )


def _describe(session: Session, *, resume: bool) -> None:
    """Write down what is about to happen."""
    prepared, store = session.prepared, session.store
    for laid in prepared.laid:
        session.samples_total += num_samples(laid.bucket)
        session.run_arm.update({run.run: run.arm for run in laid.bucket.runs})
    if resume:
        store.add_event(None, 0, "resumed", "The study was continued.", {})
        return
    (session.folder / "study.yaml").write_text(dump_study(prepared.spec))
    store.put_meta("study", prepared.spec.model_dump(mode="json"))
    store.put_meta("hash", prepared.spec_hash)
    store.put_meta("asked", prepared.asked)
    store.put_meta("rates", list(prepared.rates))
    if prepared.check is not None:
        store.put_meta("check", dict(prepared.check))
    store.put_meta("metric", prepared.metric)
    store.put_meta("task", prepared.datasets[0].task)
    store.put_meta("data", [dataset.summary for dataset in prepared.datasets])
    store.put_meta("fingerprints", [dataset.fingerprint for dataset in prepared.datasets])
    store.put_meta("machine", devices.machine())
    store.add_event(None, 0, "planned", f"Programs planned: {len(prepared.laid)}.", {})
    for found in prepared.rates:
        text = f"{found['recipe']}: learning rate {found['learning_rate']:.3g}. {found['reason']}"
        store.add_event(None, 0, "rate_found", text, found)
    for text in prepared.warnings:
        store.add_event(None, 0, "warning", text, {})
    for text in dict.fromkeys(prepared.loaded.values()):
        store.add_event(None, 0, "weights_loaded", text, {})
    rows = [
        RunRow(
            run.run,
            run.arm,
            prepared.arms[run.arm].name,
            run.seed,
            prepared.arms[run.arm].factors,
            laid.bucket.index,
            run.fold if laid.bucket.spans else None,
        )
        for laid in prepared.laid
        for run in laid.bucket.runs
    ]
    store.add_runs(sorted(rows, key=lambda row: row.run))
    # Last: a folder without a plan was killed before it was described whole, and starts afresh.
    store.put_meta("plan", plan_record(prepared))
    store.flush()


def _train_all(
    session: Session, pool: ThreadPoolExecutor, *, resume: bool, gate: FirstCheck | None = None
) -> None:
    """Compile all buckets in the background, train them one after the other."""
    prepared = session.prepared
    placed: dict[tuple[int, int, bool], Any] = {}
    waiting: list[Laid | tuple[Laid, compiled.Programs]] = []
    for laid in prepared.laid:
        if resume and is_done(session, laid.bucket):
            waiting.append(laid)
        else:
            waiting.append(_laid_out(session, laid, placed, pool, may_measure=not resume))
    laid_now = tuple(item if isinstance(item, Laid) else item[0] for item in waiting)
    if laid_now != prepared.laid:
        session.prepared = prepared = replace(prepared, laid=laid_now)
        session.store.put_meta("plan", plan_record(prepared))
    if not resume:
        # While programs compile: what the rules of `diagnose` want to know of data and networks.
        session.store.put_meta("watched", diagnose.what_is_watched(prepared))
    # Before the first step: a resumed study must find the layout that its numbers were made with.
    session.store.flush()
    if gate is not None:
        gate.begin([item[1] for item in waiting if not isinstance(item, Laid)], pool)
    waiting.reverse()
    while waiting:
        item = waiting.pop()  # executables and buffers of a finished bucket go at once
        if isinstance(item, Laid):
            recall_finished(session, item.bucket)
        else:
            _train_bucket(session, *item, resume=resume, is_last=not waiting)
        if gate is not None:
            gate.take(is_last=not waiting)


def _laid_out(
    session: Session,
    laid: Laid,
    placed: dict[tuple[int, int, bool], Any],
    pool: ThreadPoolExecutor,
    *,
    may_measure: bool,
) -> tuple[Laid, compiled.Programs]:
    """The programs of a bucket, compiling already; layouts are measured first where that pays."""
    prepared, bucket = session.prepared, laid.bucket
    inits = initialisers(prepared, bucket)

    def build(strategy: Strategy) -> compiled.Programs:
        is_streamed = bucket.shapes.buffer_rows > 0
        which = (bucket.data, strategy.num_devices, is_streamed)
        if which not in placed:
            parts = assemble.parts(prepared.datasets[bucket.data])
            placed[which] = compiled.place(
                parts,
                num_devices=strategy.num_devices,
                is_streamed=is_streamed,
                folds=[assemble.parts(one) for one in prepared.folds.get(bucket.data, ())],
            )
        built = compiled.Programs(
            *laid.functions,
            strategy=strategy,
            shapes=bucket.shapes,
            data=placed[which],
            pool=pool,
            inits=inits,
            identity=identity(prepared, bucket),
            has_pieces=ordering.has_pieces(bucket.boundaries, bucket.shapes.max_steps),
        )
        built.prepare(init_kinds=range(len(inits)))
        return built

    expected, _ = plan.expected_seconds(laid.estimate, bucket.key)
    has_choice = len(measure.candidates(laid.strategy)) > 1
    is_long = expected >= measure.WORTH_SECONDS
    if not (may_measure and has_choice and is_long) or laid.is_measured:
        return laid, build(laid.strategy)
    begun = time.perf_counter()
    strategy, why, programs = measure.best(
        build, laid.strategy, tell=lambda text: tell(session, text, active=0)
    )
    session.clock["measure"] = session.clock.get("measure", 0.0) + time.perf_counter() - begun
    return replace(laid, strategy=strategy, why=why, is_measured=True), programs


def _train_bucket(
    session: Session, laid: Laid, programs: compiled.Programs, *, resume: bool, is_last: bool
) -> None:
    bucket, dataset = laid.bucket, session.prepared.datasets[laid.bucket.data]
    start = restore(session, laid) if resume else None
    begun = time.perf_counter()
    session.last_snapshot = begun
    tell(session, f"compiling program {bucket.index + 1} of {len(session.prepared.laid)}", active=0)
    order = ordering.order(bucket, dataset)
    rules = plan.rules(bucket, metric=session.prepared.metric)
    waited = programs.wait(is_stopped=lambda: session.interrupt.is_asked)
    session.clock["wait_for_compiler"] = session.clock.get("wait_for_compiler", 0.0) + waited
    for tick in loop.train(programs, bucket.runs, rules=rules, order=order, start=start):
        record(session, laid, tick)
        if session.interrupt.is_asked:
            save_snapshot(session, bucket, tick)
            session.store.add_event(None, 0, "interrupted", "The study was interrupted.", {})
            raise KeyboardInterrupt
        is_due = time.perf_counter() - session.last_snapshot > session.snapshot_every_s
        if tick.is_boundary and is_due:
            save_snapshot(session, bucket, tick)
    seconds = time.perf_counter() - begun - waited
    session.clock["train"] = session.clock.get("train", 0.0) + seconds
    if start is None and seconds > 0.0:
        _remember(laid, seconds)
    session.store.put_meta(
        f"program:{bucket.index}", {"compile_seconds": dict(programs.compile_seconds)}
    )
    if not is_last or seconds > session.snapshot_every_s:
        save_kept(session, bucket)
    lanes_file(session, bucket).unlink(missing_ok=True)


def _remember(laid: Laid, seconds: float) -> None:
    rate = laid.estimate.flops / seconds
    entry: dict[str, Any] = {"flops_per_s": rate}
    if laid.is_measured:
        entry |= {"group": laid.strategy.group, "why": laid.why}
    history.remember({history.bucket_key(laid.bucket.key): entry})


def _finish(session: Session) -> None:
    """Choose and export the best model, then write the report."""
    from lanework import report

    prepared, store = session.prepared, session.store
    begun = time.perf_counter()
    store.flush()
    best = report.best_arm(session.folder)
    if best is not None and best in session.kept:
        _, run, weights = session.kept[best]
        arm = prepared.arms[best]
        laid = next(laid for laid in prepared.laid if best in laid.bucket.arms)
        export.write(
            session.folder / "best",
            arm=arm,
            run=run,
            weights=weights,
            dataset=prepared.dataset_of(laid.bucket, run),
            module=prepared.module,
            members=_num_members(laid, weights),
        )
        store.put_meta("best", {"arm": best, "run": run, "name": arm.name})
    session.clock["export"] = time.perf_counter() - begun
    begun = time.perf_counter()
    store.put_meta("starts", starts(prepared, is_measured=worth_measuring(prepared)))
    session.clock["starts"] = time.perf_counter() - begun
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
    tell(session, "judging the runs and writing the report", active=0)
    diagnose.keep(store, session.folder)
    store.flush()
    report.write(session.folder)
    for path in (session.folder / "snapshots").glob("*.safetensors"):
        path.unlink()


def _num_members(laid: Laid, weights: Any) -> int:
    """Networks in the ensemble that a run of this bucket hands over; 0 where it hands over a single one."""
    update = laid.functions[1]
    return len(jax.tree.leaves(weights)[0]) if update.is_stacked() else 0
