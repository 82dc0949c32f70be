"""How one lane's segment is judged: whether it counts, goes back to a snapshot, is given up, stops early or lowers its rate.

Decisions depend on what was told only, never on clocks. Knows runs, not lanes: moving states about is `loop`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lanework.cohort.runs import Event, Progress, Rules, Run
from lanework.cohort.step import Segment
from lanework.health import lost
from lanework.report.health_facts import first_lost

__all__ = ["Said", "Verdict", "first_bad", "judge"]


def first_bad(losses: np.ndarray) -> list[int | None]:
    """The first step of each lane whose loss is not finite, None where all are; losses [lane, step]."""
    is_bad = ~np.isfinite(losses)
    return [
        int(first) if any_bad else None
        for first, any_bad in zip(is_bad.argmax(axis=1), is_bad.any(axis=1), strict=True)
    ]


class Said(NamedTuple):
    """The training losses of one lane's segment in short, and what first was not finite where that is known."""

    num_steps: int
    first_bad: int | None
    mean_loss: float
    origin: lost.Origin | None


class Verdict(NamedTuple):
    """What a segment meant for one run.

    Attributes:
        is_going: The segment counts.
        is_kept_back: The lane goes back to where it stood before the segment.
        metrics: Rows as in `Tick.metrics`.
        events: What happened.
    """

    is_going: bool
    is_kept_back: bool
    metrics: list[tuple[int, int, float, str, float]]
    events: list[Event]


def judge(
    rules: Rules, run: Run, where: Progress, told: Segment, *, slot: int, said: Said
) -> Verdict:
    """Read what one lane tells, and move its run on.

    Args:
        rules: What the host decides by.
        run: The run.
        where: Where it stands; changed.
        told: What the segment told of all lanes, on the host.
        slot: The run's lane.
        said: Its training losses in short.
    """
    values = {name: float(column[slot]) for name, column in told.metrics.items()}
    events: list[Event] = []
    if said.first_bad is not None or not math.isfinite(values.get("loss", 0.0)):
        bad = where.step + (said.num_steps if said.first_bad is None else said.first_bad)
        is_healed = _heal(rules, run, where, bad, said.origin, events)
        return Verdict(False, is_healed, [], events)
    where.step += said.num_steps
    where.segment += 1
    numbers = [("train_loss", said.mean_loss)]
    numbers += [(f"val_{name}", value) for name, value in values.items()]
    numbers += _summed_up(told, slot, said)
    epoch = where.step / rules.steps_per_epoch
    metrics = [(run.run, where.step, epoch, name, value) for name, value in numbers]
    where.beside = {name: value for name, value in values.items() if name.startswith("raw_")}
    _follow(rules, where, values, events)
    if rules.is_host_scheduled and where.status == "running":
        _look_for_plateau(rules, where, values, run.hypers, events)
    return Verdict(True, False, metrics, events)


def _summed_up(told: Segment, slot: int, said: Said) -> list[tuple[str, float]]:
    """What the update told of its steps, over a segment: gradients computed, share of clipped steps, 90th percentile of norms."""
    found = []
    if told.evaluations is not None:
        found.append(("gradient_evaluations", float(told.evaluations[slot])))
    if "clipped" in told.series:
        share = told.series["clipped"][slot, : said.num_steps].mean(dtype=np.float64)
        found.append(("clipped_share", float(share)))
    if "grad_norm" in told.series:
        norms = told.series["grad_norm"][slot, : said.num_steps]
        found.append(("grad_norm_p90", float(np.percentile(norms, 90))))
    return found


def _look_for_plateau(
    rules: Rules,
    where: Progress,
    values: Mapping[str, float],
    hypers: Mapping[str, float],
    events: list[Event],
) -> None:
    """Lower the rate of a run whose metric has not got better for some evaluations.

    Source: the rule of Keras and PyTorch, `ReduceLROnPlateau`.
    """
    seen, score = where.plateau, values.get(rules.metric, math.nan) * rules.sign
    if score > seen.best_value + hypers["schedule.min_delta"]:
        seen.best_value, seen.waited = score, 0
        return
    if seen.resting > 0:
        seen.resting, seen.waited = seen.resting - 1, 0
        return
    seen.waited += 1
    scale = max(seen.scale * hypers["schedule.factor"], hypers["schedule.min_factor"])
    if seen.waited < hypers["schedule.patience"] or scale >= seen.scale:
        return
    where.num_events += 1
    text = (
        f"The learning rate went to {scale:.3g} of its first value: val_{rules.metric} had not got better in {seen.waited} "
        "evaluations."
    )
    events.append(Event(where.run, where.step, "rate_lowered", text, {"factor": scale}))
    seen.scale, seen.waited, seen.resting = scale, 0, int(hypers["schedule.cooldown"])


def _heal(
    rules: Rules,
    run: Run,
    where: Progress,
    first_bad: int,
    origin: lost.Origin | None,
    events: list[Event],
) -> bool:
    """Send a run back to its last good state with a gentler rate; False when it is given up."""
    rate = run.hypers.get("learning_rate", math.nan) * where.rate_scale
    why, data = _blamed(origin, where.step)
    if where.retries >= rules.retries:
        where.status = "diverged"
        where.step = first_bad
        where.num_events += 1
        text = (
            f"The loss was no longer finite at step {first_bad}"
            + (f", also after {where.retries} returns with a gentler rate" if where.retries else "")
            + f"; the run was retired.{why}"
        )
        data = {"learning_rate": _plain(rate), **data}
        events.append(Event(where.run, first_bad + 1, "diverged", text, data))
        return False
    where.retries += 1
    where.num_events += 1
    where.rate_scale *= rules.gentler
    text = (
        f"The loss was no longer finite at step {first_bad}; the run went back to step {where.step} with learning rate "
        f"{rate * rules.gentler:.3g} instead of {rate:.3g} (return {where.retries} of {rules.retries}).{why}"
    )
    numbers = {"from": _plain(rate), "to": _plain(rate * rules.gentler), "first_bad_step": first_bad}  # fmt: skip
    events.append(Event(where.run, first_bad + 1, "healed", text, {**numbers, **data}))
    return True


def _blamed(origin: lost.Origin | None, step: int) -> tuple[str, dict[str, Any]]:
    """What first was not finite, as a sentence and as data; the segment began at `step`."""
    if origin is None:
        return "", {}
    when = step + origin.step
    data = {"first_not_finite": origin.what, "layer": origin.layer, "at_step": when}
    return f" {first_lost(data)}", data


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _follow(
    rules: Rules, where: Progress, values: Mapping[str, float], events: list[Event]
) -> None:
    """Best step, early stopping and the end."""
    score = values.get(rules.metric, math.nan) * rules.sign
    margin = rules.stopping.min_delta if rules.stopping else 0.0
    if score > where.best_value + margin:
        where.waited = 0
    else:
        where.waited += 1
    if score > where.best_value:
        where.best_value, where.best_step = score, where.step
    if where.step >= rules.boundaries[-1]:
        where.status = "ok"
    elif rules.stopping and where.waited >= rules.stopping.patience:
        where.status = "ok"
        where.num_events += 1
        text = (
            f"Stopped at step {where.step}: val_{rules.metric} did not beat its best (step {where.best_step}) in "
            f"{where.waited} evaluations."
        )
        events.append(
            Event(where.run, where.step, "stopped_early", text, {"best_step": where.best_step})
        )
    if not math.isfinite(score):
        where.best_step = where.step
