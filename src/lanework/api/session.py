"""What changes while a study runs: records written, best so far, how far it is.

Owns `Session` and `Progress`. Takes ticks of the engine in and writes rows out; trains nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from lanework import data as data_package
from lanework.api.interrupting import Interrupt
from lanework.api.preparing import Laid, Prepared, loss_name
from lanework.cohort import assemble
from lanework.cohort.runs import Finished, Tick
from lanework.health import verdicts
from lanework.store import RunResult, Store

PyTree: TypeAlias = Any

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


@dataclass
class Session:
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
    interrupt: Interrupt = field(default_factory=Interrupt)


def record(session: Session, laid: Laid, tick: Tick) -> None:
    """Write a tick down and tell how far the study is."""
    store, prepared = session.store, session.prepared
    store.add_metrics(tick.metrics)
    for records in tick.health:
        store.add_health(records)
    for event in tick.events:
        store.add_event(event.run, event.step, event.kind, event.text, event.data)
        if event.kind in ("healed", "diverged"):
            session.troubled.add(event.run)
        if event.kind == "stopped_early":
            session.stopped_early.add(event.run)
    sign = assemble.direction(prepared.metric)
    for run, _, _, name, value in tick.metrics:
        if name == prepared.metric and value * sign > session.best[0]:
            session.best = (value * sign, run)
    for finished in tick.finished:
        _keep(session, laid, finished)
    session.samples_done += tick.num_samples
    if tick.num_samples:
        session.samples_per_s = tick.num_samples / tick.seconds
    tell(
        session,
        f"training program {laid.bucket.index + 1} of {len(prepared.laid)}",
        active=tick.num_active,
    )


def _keep(session: Session, laid: Laid, finished: Finished) -> None:
    """Store a run's result, and its weights when they are the best of its arm so far."""
    dataset = session.prepared.dataset_of(laid.bucket, finished.run)
    val = finished.metrics.get("val", {})
    outcome = verdicts.Outcome(
        status=finished.status,
        retries=finished.retries,
        is_stopped_early=finished.run in session.stopped_early,
        metrics=val,
        **_chance(dataset, loss_name(laid.bucket)),
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
    for stage, seconds in (("evaluate", finished.score_seconds), ("test", finished.test_seconds)):
        session.clock[stage] = session.clock.get(stage, 0.0) + seconds
    score = metrics.get(session.prepared.metric, math.nan) * assemble.direction(
        session.prepared.metric
    )
    if finished.status == "ok" and score > session.kept.get(finished.arm, (-math.inf,))[0]:
        session.kept[finished.arm] = (score, finished.run, finished.weights)


def _chance(dataset: data_package.Dataset, loss: str) -> dict[str, float | None]:
    if dataset.task != "classification":
        return {"chance_loss": None, "chance_accuracy": None}
    # The shares of the validation part, on which the run is judged: the best that ignoring the inputs could do there.
    targets = np.ravel(dataset.val.y)
    targets = targets[targets >= 0]  # a step that is padded has no target
    counts = np.bincount(targets, minlength=max(1, len(dataset.classes)))
    shares = counts[counts > 0] / counts.sum()
    entropy = float(-(shares * np.log(shares)).sum())
    known = loss in ("cross_entropy", "binary_cross_entropy")
    return {"chance_loss": entropy if known else None, "chance_accuracy": float(shares.max())}


def tell(session: Session, message: str, *, active: int) -> None:
    """Tell whoever watches how far the study is."""
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
            best_value=best_value * assemble.direction(prepared.metric),
            samples_per_s=rate,
            seconds_left=left,
            elapsed_s=time.perf_counter() - session.begun,
        )
    )


def announce(watcher: Watcher | None, message: str, *, begun: float) -> None:
    """Tell whoever watches what is being done before any run of the study trains."""
    if watcher is not None:
        elapsed = time.perf_counter() - begun
        watcher(Progress(message, 0, 0, 0, 0, "", "", math.nan, 0.0, None, elapsed))
