"""What the host knows of runs in lanes: what is asked, by which rules it decides, where each run stands, and what a segment gave.

Frozen records, but for the two that remember (`Progress`, `Plateau`). Decides nothing: that is `judging` and `loop`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from lanework.store import Layers

__all__ = [
    "BatchOrder",
    "Drawn",
    "Event",
    "Finished",
    "Order",
    "Plateau",
    "Progress",
    "Rules",
    "Run",
    "Stopping",
    "Tick",
    "by_seed",
]

PyTree: TypeAlias = Any
# (seed, first_step, num_steps) -> int32 [step, batch]; a pure function, see `lanework.data.batch_indices`.
BatchOrder: TypeAlias = Callable[[int, int, int], np.ndarray]
Drawn: TypeAlias = tuple[np.ndarray, np.ndarray | None]  # sample numbers, weights


@dataclass(frozen=True)
class Run:
    """One run to be trained in a lane.

    Attributes:
        run: Its number in the study.
        arm: Number of its recipe.
        seed: Seed of weights, batch order and noise.
        hypers: Traced hyperparameters by name.
        init: Which of the bucket's initialisers starts it.
        fold: Which fold of the data it is trained and judged on; 0 without cross-validation.
    """

    run: int
    arm: int
    seed: int
    hypers: Mapping[str, float]
    init: int = 0
    fold: int = 0


@dataclass(frozen=True)
class Order:
    """Which samples runs see, as pure functions.

    Attributes:
        draw: `(run, first_step, num_steps, last_losses) -> (index, weight)` of a segment: sample numbers int32 [step, batch],
            and their weights float32 [step, batch] or None. `last_losses` [sample] are as of the start of the segment, None
            where they are not needed.
        key: Runs with equal keys see the same samples at the same step, which are then drawn once.
        needs_losses: Whether what is drawn depends on the last known losses.
    """

    draw: Callable[[Run, int, int, np.ndarray | None], Drawn]
    key: Callable[[Run], Hashable]
    needs_losses: bool = False


def by_seed(order: BatchOrder) -> Order:
    """An order of samples that depends on the seed only."""

    def draw(
        run: Run, first_step: int, num_steps: int, last_losses: np.ndarray | None
    ) -> tuple[np.ndarray, None]:
        return order(run.seed, first_step, num_steps), None

    return Order(draw, lambda run: run.seed)


@dataclass(frozen=True)
class Stopping:
    """Early stopping: after `patience` evaluations in a row that did not beat the best by more than `min_delta`."""

    patience: int
    min_delta: float = 0.0


@dataclass(frozen=True)
class Rules:
    """What the host decides by.

    Attributes:
        boundaries: Steps at which segments end, increasing; the last one is the length of a run.
        steps_per_epoch: To say epochs in the records.
        metric: Metric of the validation part that is followed, without the part's name.
        sign: +1 when larger is better, else -1.
        stopping: Early stopping, None for none.
        retries: How often a run with a non-finite loss returns to its last good snapshot.
        gentler: Factor on its learning rate at each return.
        health_every: Evaluations from one record of the layers to the next (the last one is always recorded).
        deep_every: The same for a close look; 0 for none.
        is_host_scheduled: Whether the learning rate falls when the followed metric stays on a plateau; each run by its own
            metric and its own `schedule.*` hyperparameters.
        is_compacted: Whether the last runs move to narrower programs; a few steps are not worth compiling one.
    """

    boundaries: tuple[int, ...]
    steps_per_epoch: int
    metric: str = "loss"
    sign: float = -1.0
    stopping: Stopping | None = None
    retries: int = 2
    gentler: float = 0.5
    health_every: int = 1
    deep_every: int = 0
    is_host_scheduled: bool = False
    is_compacted: bool = True


@dataclass
class Plateau:
    """What lowering the rate on a plateau remembers of a run.

    Attributes:
        scale: Factor on the learning rate so far.
        best_value: Best of the followed metric, larger is better.
        waited: Evaluations since that one.
        resting: Evaluations of a cool-down that are left.
    """

    scale: float = 1.0
    best_value: float = -math.inf
    waited: int = 0
    resting: int = 0


@dataclass
class Progress:
    """Where a run stands; everything the host must remember of it.

    `beside` are the last metrics of the weights themselves where an average is what counts.
    """

    run: int
    segment: int = 0
    step: int = 0
    rate_scale: float = 1.0
    retries: int = 0
    best_step: int = 0
    best_value: float = -math.inf
    waited: int = 0
    seconds: float = 0.0
    status: str = "running"
    num_events: int = 0
    plateau: Plateau = field(default_factory=Plateau)
    beside: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """Something that happened to a run, in words and data."""

    run: int
    step: int
    kind: str
    text: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Finished:
    """A run that left its lane.

    Attributes:
        run: Its number.
        arm: Its recipe.
        status: `ok` or `diverged`.
        step: Steps taken.
        best_step: Step of the best evaluation.
        seconds: Its share of the training time.
        test_seconds: Its share of the time for scoring the test part.
        score_seconds: Its share of the time for scoring all parts.
        retries: How often it was healed.
        metrics: `{part: {metric: value}}` of the weights that were kept.
        weights: `(params, state)` on the host.
    """

    run: int
    arm: int
    status: str
    step: int
    best_step: int
    seconds: float
    test_seconds: float
    score_seconds: float
    retries: int
    metrics: Mapping[str, Mapping[str, float]]
    weights: PyTree


@dataclass(frozen=True)
class Tick:
    """What one segment of a cohort gave.

    Attributes:
        metrics: Rows `(run, step, epoch, name, value)`.
        health: What was told of layers.
        events: What happened.
        finished: Runs that left.
        num_active: Lanes still training.
        num_samples: Training samples seen in this segment, all runs together.
        seconds: Wall time of the segment, scoring included.
        snapshot: Call it to get `(arrays, info)` of the whole cohort as of the last evaluation.
        is_boundary: Whether this is the end of a segment; False after a piece of one that comes in several calls.
    """

    metrics: list[tuple[int, int, float, str, float]]
    health: list[Layers]
    events: list[Event]
    finished: list[Finished]
    num_active: int
    num_samples: int
    seconds: float
    snapshot: Callable[[], tuple[PyTree, dict[str, Any]]]
    is_boundary: bool = True
