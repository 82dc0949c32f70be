"""Rules of optimisation: steps too large, too small, swinging, or going nowhere."""

from __future__ import annotations

import math

import numpy as np

from lanework.health.findings import Finding
from lanework.health.records import RunRecord
from lanework.health.rules import measures as m
from lanework.health.rules.measures import percent, shown

FAST, SLOW = 3.0, 0.3  # learning rate over the default of its rule
FAR = 10.0  # beyond them by that much, the setting speaks for itself
LARGE, HUGE = 0.03, 0.1  # update over weights
USUAL, SMALL = 1e-3, 5e-4
EDGE = 2.0  # learning rate times sharpness
DIED = "units died"


def divergence(record: RunRecord) -> Finding | None:
    """The loss stopped being finite, or ends far above where it began."""
    bad = [event for event in record.events if event.kind in ("diverged", "healed")]
    if bad:
        is_lost = record.status == "diverged" or any(event.kind == "diverged" for event in bad)
        step = bad[0].step
        said = (
            "and the run was given up"
            if is_lost
            else f"; the run went back {len(bad)} time{'s' * (len(bad) > 1)} with a lower rate"
        )
        return Finding(
            "divergence",
            "fail" if is_lost or m.suffers(record) else "warn",
            0.8 if is_lost else 0.7,
            f"The loss stopped being a finite number near step {step} {said}.".replace(" ;", ";"),
            {"first_bad_step": float(step), "returns": float(len(bad))},
            step,
        )
    if m.is_lost(record):
        step = _first_bad(record)
        said = f"The loss stopped being a finite number near step {step}."
        return Finding("divergence", "fail", 0.8, said, {"first_bad_step": float(step)}, step)
    loss, begin = record.curve("train_loss"), m.begin_loss(record)
    if len(loss) < 2 or not begin > 0 or not m.is_poor(record):
        return None
    last = float(np.min(loss.values[-2:]))
    if not last > 3.0 * begin or not last > 3.0 * m.chance_loss(record):
        return None
    return Finding(
        "divergence",
        "fail",
        0.75,
        f"The training loss grew from {shown(begin)} to {shown(last)}.",
        {"begin": begin, "end": last},
    )


def _first_bad(record: RunRecord) -> int:
    """Step of the first loss that is not finite; the last step where none was recorded."""
    curves = (record.curve("train_loss"), record.curve("val_loss"))
    bad = [int(curve.steps[~np.isfinite(curve.values)][0]) for curve in curves if not np.isfinite(curve.values).all()]  # fmt: skip
    return min(bad, default=record.steps)


def rate_too_high(record: RunRecord) -> Finding | None:
    """Steps far too large for the weights, with a loss that suffers from it."""
    ratio, sizes = m.usual_rate(record), m.step_size(record)
    size = m.middle(sizes.values)
    largest = m.highest(sizes.values)
    points = (ratio >= FAST) + (ratio >= 3 * FAST) + (size >= LARGE) + (size >= HUGE)
    signs = _signs_of_haste(record, ratio, is_large=size >= LARGE)
    # Without a rate to compare with (own loops), the size of the steps must speak for itself.
    needed = 2 if math.isfinite(ratio) or size >= HUGE else 3
    is_marked = ratio >= 3 * FAST or size >= HUGE
    if points < needed or not is_marked or not signs or ratio < 1.0:
        return None
    # A rate is what it does: where clipping or a schedule keeps every step small, it is not too high. Dead units stand still.
    is_small = largest < USUAL
    if is_small and not m.is_broken(record) and DIED not in signs:
        return None
    known = {"learning_rate": m.number(record, "train.learning_rate"), "over_usual": ratio}
    evidence = {
        name: value for name, value in (known | {"update_ratio": largest}).items() if value == value
    }
    rate = (
        f"The learning rate is {shown(ratio)} times the usual one of its rule"
        if ratio == ratio
        else "Steps are large"
    )
    steps = f", steps move the weights by up to {percent(largest)}" if largest == largest else ""
    return Finding(
        "rate_too_high",
        "fail",
        min(0.95, 0.72 + 0.05 * points + 0.04 * len(signs)),
        f"{rate}{steps}, and {_and(signs)}.",
        evidence,
        stands=ratio >= FAR * FAST,
    )


def _signs_of_haste(record: RunRecord, ratio: float, *, is_large: bool) -> list[str]:
    """What a loss does under steps that are too large; a slow fall speaks against it where steps are not large."""
    signs = []
    if m.is_broken(record):
        signs.append("the loss stopped being finite")
    loss, chance = record.curve("train_loss"), m.chance_loss(record)
    if len(loss) >= 2 and chance > 0:
        late = float(np.median(loss.values[-3:]))
        is_wild = is_large or not _falls(record)
        if late > 1.05 * chance and is_wild:
            signs.append(f"the training loss of {shown(late)} is above chance ({shown(chance)})")
        elif late > 0.5 * chance and m.is_poor(record) and is_wild:
            signs.append(f"the training loss stays high at {shown(late)}")
        elif _swing(record) > 0.35 and m.fit(record) < 0.97 and m.is_poor(record):
            signs.append("the training loss jumps up and down")
        peak = m.highest(loss.values)
        # A loss that starts high (large initial weights) was not driven there by small steps.
        is_driven = ratio >= FAR * FAST or m.highest(m.step_size(record).values) >= LARGE
        if not signs and ratio >= 3 * FAST and peak > 2.5 * chance and is_driven:
            signs.append(
                f"the training loss first rose to {shown(peak)} (chance is {shown(chance)})"
            )
    if m.growth(record) > 8.0 and m.is_poor(record):
        signs.append(f"the weights grew {shown(m.growth(record))}-fold")
    dead = m.hidden(record, "dead_share")
    if dead and m.highest(dead.values[-1]) >= 0.9 and m.is_poor(record):
        signs.append(DIED)
    return signs


def _falls(record: RunRecord) -> bool:
    """Whether the training loss still falls, if slowly: steps that are too large make it jump."""
    late = record.curve("train_loss").values[-8:]
    return m.is_improving(record) or bool(len(late) > 3 and np.mean(np.diff(late) < 0) >= 0.8)


def _and(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def rate_too_low(record: RunRecord) -> Finding | None:
    """Weights hardly move although the loss would still fall."""
    ratio, sizes = m.usual_rate(record), m.step_size(record)
    loss = record.curve("train_loss")
    if len(loss) < 2 or m.is_broken(record):
        return None
    size = m.middle(sizes.values[: max(2, len(sizes) // 2)])
    is_slow = size < SMALL and (ratio <= SLOW or math.isnan(ratio))
    is_tiny = ratio <= SLOW / FAR and not size > 10 * SMALL
    fit = m.fit(record)
    if not (is_slow or is_tiny) or not fit < 0.6 or not m.is_poor(record, below=0.5):
        return None
    # Means over a whole record: those of its first and last batches are noise where the loss hardly moves.
    begin, end = loss.first, loss.last
    if end > 1.02 * begin:
        return None
    evidence = {"learning_rate": m.number(record, "train.learning_rate"), "over_usual": ratio}
    evidence |= {"update_ratio": size, "begin": begin, "end": end}
    return Finding(
        "rate_too_low",
        "fail",
        0.9 if ratio <= 0.1 else 0.75,
        f"Each step moves the weights by {percent(size)} only; in {record.steps} steps the training loss went from {shown(begin)} "
        f"to {shown(end)}.",
        {name: value for name, value in evidence.items() if value == value},
        stands=ratio <= SLOW / FAR,
    )


def _swing(record: RunRecord) -> float:
    """Median change of the training loss from record to record over its level, where most changes are undone."""
    values = record.curve("train_loss").values
    if len(values) < 5:
        return 0.0
    late = values[len(values) // 3 :]
    changes = np.diff(late)
    if len(changes) < 3 or not np.all(np.isfinite(changes)):
        return 0.0
    undone = np.mean(changes[1:] * changes[:-1] < 0)
    level = float(np.median(np.abs(late)))
    return float(np.median(np.abs(changes))) / level if undone >= 0.5 and level > 0 else 0.0


def oscillation(record: RunRecord) -> Finding | None:
    """The training loss goes up and down from record to record without getting on."""
    swing, fit = _swing(record), m.fit(record)
    if swing < 0.25 or not fit < 0.9 or not m.is_poor(record, below=0.6):
        return None
    said = f"From record to record the training loss changes by {percent(swing)}, and most changes are undone by the next"
    evidence, edge = {"swing": swing, "fit": fit}, m.curvature(record)
    if edge > EDGE:
        said += f"; the rate times the sharpness of the loss is {shown(edge)}, where plain steps swing above {shown(EDGE)}"
        evidence["rate_times_sharpness"] = edge
    level = "fail" if swing > 0.5 else "warn"
    return Finding("oscillation", level, min(0.8, 0.5 + swing / 2), f"{said}.", evidence)


def plateau(record: RunRecord) -> Finding | None:
    """The training loss stopped falling close to chance."""
    loss, chance = record.curve("train_loss"), m.chance_loss(record)
    if len(loss) < 4 or not chance > 0 or m.progress(record) < 0.15 or m.is_broken(record):
        return None
    late = loss.values[len(loss) // 3 :]
    moved = float(
        np.median(late[: max(1, len(late) // 3)]) - np.median(late[-max(1, len(late) // 3) :])
    )
    simple = m.simple_skill(record)
    # Where simple models know nothing either, a flat loss is what there is to expect.
    if (
        not m.fit(record) < 0.15
        or not abs(moved) < 0.03 * chance
        or not m.is_poor(record)
        or simple < 0.2
    ):
        return None
    return Finding(
        "plateau",
        "fail",
        0.6,
        f"The training loss stays at {shown(loss.last)}, where an answer without inputs would be at {shown(chance)}.",
        {"loss": loss.last, "chance": chance, "moved": moved},
    )
