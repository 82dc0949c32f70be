"""Rules of schedule, clipping and the end of training."""

from __future__ import annotations

import math

import numpy as np

from lanework.health.findings import Finding
from lanework.health.records import RunRecord
from lanework.health.rules import measures as m
from lanework.health.rules.measures import percent, shown

FALLEN = 0.02  # largest step of a layer over the largest so far
STILL = 1e-6
CLIPPED = 0.5
EARLY = 0.25
IN_FALL = 0.15  # share of the fall in training loss that came in the last quarter


def too_few_epochs(record: RunRecord) -> Finding | None:
    """The run ended in full fall."""
    if not record.is_complete or m.is_broken(record) or _was_stopped(record):
        return None
    fall = _fall(record)
    if fall is None:
        return None
    train, val, chance = fall
    now, is_behind = m.late_skill(record), m.is_behind(record)
    if not val > 0.05 * chance or not train > 0.05 * chance or now > 0.95:
        return None
    # A last quarter that adds little to what fell before is the end of a fall.
    total = m.begin_loss(record) - record.curve("train_loss").last
    if len(record.curve("train_loss")) > 3 and train < IN_FALL * total and not is_behind:
        return None
    # Far above chance it is not time that is wanting.
    if m.fit(record) < -1.0:
        return None
    said = f"In the last quarter of the training the training loss still fell by {shown(train)} and the validation loss by {shown(val)}."
    evidence = {"train_fall": train, "val_fall": val, "skill": now}
    if len(record.curve("val_loss")) == 1:
        begin, end = m.begin_loss(record), m.end_loss(record)
        said = f"From its first tenth to its last the training loss fell from {shown(begin)} to {shown(end)}; there is one evaluation only."
        evidence = {"begin": begin, "end": end, "skill": now}
    level, confidence = ("fail", 0.8) if is_behind else ("warn", 0.6)
    return Finding("too_few_epochs", level, confidence, said, evidence)


def _fall(record: RunRecord) -> tuple[float, float, float] | None:
    """How far training and validation loss fell over the last quarter, with the chance loss; None where nothing can be said.

    Where validation was measured once, half of what training fell over its whole length stands for both.
    """
    (train, val), chance = m.paired(record), m.chance_loss(record)
    if not chance > 0 or not len(val):
        return None
    if len(val) == 1:
        begin, end = record.curve("train_loss_begin").first, record.curve("train_loss_end").last
        fall = (begin - end) / 2
        return (fall, fall, chance) if fall == fall else None
    first = min(len(val) - 2, math.floor(0.75 * len(val)) - 1)
    first = max(0, first)
    at_best = val.values[-1] <= np.min(val.values) + 0.02 * chance
    found = (float(c.values[first] - c.values[-1]) for c in (train, val))
    return (*found, chance) if at_best else None  # type: ignore[return-value]


def too_many_epochs(record: RunRecord) -> Finding | None:
    """The best state came in the first quarter, and it only got worse since."""
    val, chance = m.paired(record)[1], m.chance_loss(record)
    # What early stopping has cut short was not spent for nothing.
    if not record.is_complete or len(val) < 20 or m.is_poor(record) or _was_stopped(record):
        return None
    place = int(np.argmin(val.values))
    best, late = float(val.values[place]), float(np.median(val.values[-3:]))
    has_risen = late - best > 0.05 * chance and late > 1.1 * best
    has_risen |= late - best > 0.005 * chance and late > 1.5 * best
    if place > EARLY * len(val) or not has_risen:
        return None
    return Finding(
        "too_many_epochs",
        "warn",
        0.6,
        f"The best evaluation was at step {int(val.steps[place])} of {record.steps}; since then the validation loss rose from "
        f"{shown(best)} to {shown(late)}.",
        {"best_step": float(val.steps[place]), "steps": float(record.steps)},
    )


def _was_stopped(record: RunRecord) -> bool:
    return any(event.kind == "stopped_early" for event in record.events)


def early_stop_too_eager(record: RunRecord) -> Finding | None:
    """Stopped by the noise of a few evaluations, in full fall of the training loss."""
    train, chance = record.curve("train_loss"), m.chance_loss(record)
    if not _was_stopped(record) or len(train) < 2 or not chance > 0:
        return None
    patience = m.number(record, "train.early_stopping.patience")
    share, fit = m.progress(record), m.fit(record)
    recent = train.values[-min(len(train), 4) :]
    falling = float(recent[0] - recent[-1]) / max(1, len(recent) - 1)
    is_behind = m.is_behind(record)
    if share > 0.5 or patience > 3 or not (falling > 0.01 * chance or is_behind) or not fit < 0.9:
        return None
    return Finding(
        "early_stop_too_eager",
        "fail" if is_behind else "warn",
        0.85 if is_behind else 0.7,
        f"Stopped after {percent(share)} of the steps with a patience of {shown(patience)} evaluations, while the training loss still "
        f"fell by {shown(falling)} from record to record.",
        {"share": share, "patience": patience, "falling": falling, "fit": fit},
    )


def schedule_decays_too_early(record: RunRecord) -> Finding | None:
    """The rate came close to zero early, and the loss froze where it was."""
    schedule = m.name_of(record.setting("train.schedule"))
    table, train = record.layer("update_ratio"), record.curve("train_loss")
    if schedule in ("", "constant", "plateau") or len(table) < 4 or len(train) < 4:
        return None
    with np.errstate(invalid="ignore"):
        sizes = np.nan_to_num(table.values).max(axis=1)
    # Rises at the beginning (warm-up) are no fall: what counts is the largest step so far.
    fallen = sizes < np.maximum(FALLEN * np.maximum.accumulate(sizes), STILL)
    if not fallen[-2:].all():
        return None
    first = 0 if fallen.all() else len(fallen) - int(np.argmin(fallen[::-1]))
    share = float(table.steps[first]) / max(1, record.num_steps)
    fit = m.fit(record)
    before = train.until(int(table.steps[first])).values
    fell = (
        float(before[0] - before[-1])
        if len(before) > 1
        else m.begin_loss(record) - float(before[-1])
    )
    if share > 0.5 or not fit < 0.9 or not fell > 0:
        return None
    is_poor = m.suffers(record, below=0.5)
    return Finding(
        "schedule_decays_too_early",
        "fail" if is_poor else "warn",
        0.9 if is_poor else 0.7,
        f"The schedule {schedule} had brought steps below {percent(FALLEN)} of their size after {percent(share)} of the training; the "
        f"loss froze at {shown(train.last)}.",
        {"share": share, "fit": fit, "loss": train.last},
    )


def clipping_too_much(record: RunRecord) -> Finding | None:
    """Nearly every gradient is clipped, far below its size, and learning suffers."""
    clipped, norms = record.curve("clipped_share"), record.curve("grad_norm_p90")
    if len(clipped) < 2 or not clipped.values.mean() > CLIPPED:
        return None
    limit = m.number(record, "train.clip_norm")
    scale = limit / m.middle(norms.values) if norms else math.nan
    rule = m.name_of(record.setting("train.optimizer"))
    is_poor = m.suffers(record, below=0.5)
    is_bound = rule in m.PLAIN and scale < 0.1
    if not is_poor and not is_bound:
        return None
    return Finding(
        "clipping_too_much",
        "fail" if is_poor else "warn",
        (0.9 if is_bound else 0.6) if is_poor else 0.7,
        f"{percent(float(clipped.values.mean()))} of the steps are clipped"
        + (f", to about {percent(scale)} of their gradient." if scale == scale else "."),
        {"clipped_share": float(clipped.values.mean())}
        | ({"scale": scale} if scale == scale else {}),
    )
