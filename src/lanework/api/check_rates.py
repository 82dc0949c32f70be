"""The gate's probes of learning rates: the first steps of every configuration, with the very programs that train the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from lanework.api import check_items, check_networks
from lanework.api.preparing import Laid, Prepared
from lanework.cohort import compiled, gating, ordering
from lanework.health import judge_training
from lanework.health.judge import Item
from lanework.spec import Arm
from lanework.spec.sections import plain_config

PROBE_SECONDS: Final = 4.0
MOST_PROBE, LEAST_PROBE, POINTS, LEAST_POINTS, MOST_CALLS = 100, 10, 12, 1, 20
FACTORS: Final = (1.0, 2.0, 5.0)


def probed(
    prepared: Prepared,
    built: Sequence[compiled.Programs],
    unknown: frozenset[int],
    starts: Mapping[int, float],
) -> list[Item]:
    """The first steps of every configuration at its rate, and at 2 and 5 times that; rates that come up twice are probed once."""
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
    return check_networks.text(plain)


def _probed_bucket(
    prepared: Prepared,
    laid: Laid,
    programs: compiled.Programs,
    families: Sequence[Sequence[int]],
    starts: Mapping[int, float],
) -> list[Item]:
    """Items of a bucket; `families` are its configurations that differ in the rate only."""
    own_rate = {arm: _first_rate(prepared, arm) for own in families for arm in own}
    # A configuration of each family stands for all its rates: a rate is but a number of a lane.
    tried = list(
        dict.fromkeys(
            (own[0], _known(own_rate[arm] * factor))
            for own in families
            for arm in own
            for factor in FACTORS
        )
    )
    boundaries, losses = _losses(prepared, laid, programs, tried)
    courses = {
        key: _course(key[1], row, start=starts[key[0]])
        for key, row in zip(tried, losses, strict=True)
    }
    found = []
    for own in families:
        told = [
            {factor: courses[own[0], _known(own_rate[arm] * factor)] for factor in FACTORS}
            for arm in own
        ]
        found.append((judge_training.stability(told, num_steps=boundaries[-1]), tuple(own)))
    return check_items.merged(prepared.arms, found)


def _first_rate(prepared: Prepared, arm: int) -> float:
    """The learning rate of an arm's first run."""
    return float(check_networks.first_run(prepared, arm).hypers["learning_rate"])


def _known(rate: float) -> float:
    """A rate to six digits, so that 2 times 0.05 is 0.1."""
    return float(f"{rate:.6g}")


def _losses(
    prepared: Prepared,
    laid: Laid,
    programs: compiled.Programs,
    tried: Sequence[tuple[int, float]],
) -> tuple[tuple[int, ...], np.ndarray]:
    """Steps at which losses are told, and the losses [probe, step] of arms at rates."""
    runs = []
    for number, (arm, rate) in enumerate(tried):
        run = check_networks.first_run(prepared, arm)
        hypers = {**run.hypers, "learning_rate": rate}
        runs.append(replace(run, run=number, arm=number, hypers=hypers))
    width = laid.strategy.width
    boundaries = _boundaries(prepared, laid, -(-len(runs) // width) * width)
    order = ordering.order(laid.bucket, prepared.datasets[laid.bucket.data])
    return boundaries, gating.probe(programs, runs, order=order, boundaries=boundaries)


def _boundaries(prepared: Prepared, laid: Laid, num_lanes: int) -> tuple[int, ...]:
    """Steps at which the losses of probes are told, evenly, as far as time allows; each costs a pass over the validation part."""
    bucket = laid.bucket
    step_s = check_networks.step_seconds(laid) * num_lanes * len(prepared.laid)
    num_val = len(prepared.datasets[bucket.data].val)
    look_s = step_s / bucket.shapes.batch_size * num_val / 3
    num_points = int(min(POINTS, max(LEAST_POINTS, PROBE_SECONDS / look_s)))
    wanted = int(min(MOST_PROBE, max(LEAST_PROBE, PROBE_SECONDS / step_s)))
    most = min(wanted, bucket.total_steps)
    gap = min(bucket.shapes.max_steps, max(1, -(-most // num_points)))
    return tuple(range(gap, most + 1, gap))[:MOST_CALLS]


def _course(rate: float, losses: np.ndarray, *, start: float) -> judge_training.Course:
    quarter = losses[-max(1, len(losses) // 4) :]
    return judge_training.Course(rate, start, float(losses.max()), float(quarter.mean()))
