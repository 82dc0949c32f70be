"""Snapshots of a study in training, and going on from them.

Owns the files under `snapshots/`: `lanes-N` (a bucket in training) and `kept-N` (the best weights of a finished one). Records
are always on the disk before the snapshot that counts on them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from lanework import export
from lanework.api.preparing import Laid, num_samples
from lanework.api.session import Session
from lanework.cohort import plan, program, snapshot
from lanework.cohort.runs import Tick

PyTree: TypeAlias = Any


def lanes_file(session: Session, bucket: plan.Bucket) -> Path:
    """Where a bucket in training is saved."""
    return session.folder / "snapshots" / f"lanes-{bucket.index}.safetensors"


def kept_file(session: Session, bucket: plan.Bucket) -> Path:
    """Where the best weights of a finished bucket are saved."""
    return session.folder / "snapshots" / f"kept-{bucket.index}.safetensors"


def is_done(session: Session, bucket: plan.Bucket) -> bool:
    """Whether a bucket ended before: all results stored and the weights of its arms saved."""
    have = {row.run for row in session.store.results()}
    return kept_file(session, bucket).is_file() and all(run.run in have for run in bucket.runs)


def save_snapshot(session: Session, bucket: plan.Bucket, tick: Tick) -> None:
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
    snapshot.save(lanes_file(session, bucket), arrays, info)
    session.last_snapshot = time.perf_counter()


def save_kept(session: Session, bucket: plan.Bucket) -> None:
    """Save the best weights of each arm of a finished bucket; from then on it never trains again."""
    arrays: dict[str, np.ndarray] = {}
    info: dict[str, Any] = {}
    for arm, (score, run, weights) in session.kept.items():
        if arm in bucket.arms:
            arrays |= {
                f"kept/{arm}/{name}": leaf for name, leaf in snapshot.flatten(weights).items()
            }
            info[str(arm)] = [score, run]
    session.store.flush()
    snapshot.save(kept_file(session, bucket), arrays, {"kept": info})


def recall_finished(session: Session, bucket: plan.Bucket) -> None:
    """Take a bucket that ended before the interruption as done."""
    arrays, info = snapshot.load(kept_file(session, bucket))
    _recall(session, arrays, info)
    session.done += len(bucket.runs)
    session.samples_done += num_samples(bucket)


def _recall(session: Session, arrays: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> None:
    for arm, (score, run) in info.get("kept", {}).items():
        prefix = f"kept/{arm}/"
        flat = {
            name[len(prefix) :]: leaf for name, leaf in arrays.items() if name.startswith(prefix)
        }
        session.kept[int(arm)] = (score, run, export.nested(flat))


def restore(session: Session, laid: Laid) -> tuple[PyTree, Mapping[str, Any]] | None:
    """The state to go on from, with the records taken back to it; None to start the bucket again."""
    store, bucket = session.store, laid.bucket
    path = lanes_file(session, bucket)
    if not path.is_file():
        for run in bucket.runs:
            store.rewind(run.run, -1, num_events=0)
        return None
    arrays, info = snapshot.load(path)
    _recall(session, arrays, info)
    lane = program.lane_shapes(*laid.functions)
    likes = {"lanes": lane, "waiting": program.kept_weights(lane)}
    trees = {}
    for name, like in likes.items():
        prefix = f"{name}/"
        flat = {key[len(prefix) :]: leaf for key, leaf in arrays.items() if key.startswith(prefix)}
        if flat:
            trees[name] = snapshot.unflatten(like, flat)
    unfinished = {*info["pending"], *info["active"], *info["waiting"]}
    for run in bucket.runs:
        known = info["progress"].get(str(run.run))
        if run.run in unfinished:
            state = known or {"step": -1, "num_events": 0}
            store.rewind(run.run, state["step"], num_events=state["num_events"])
        if known:
            session.done += run.run not in unfinished
            session.samples_done += known["step"] * bucket.shapes.batch_size
            session.troubled.update({run.run} if known["retries"] else ())
    session.stopped_early.update(
        e.run for e in store.events() if e.kind == "stopped_early" and e.run is not None
    )
    return trees, info
