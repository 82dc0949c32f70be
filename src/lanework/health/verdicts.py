"""Verdicts: what became of a run, as a code from its records.

Owns rules over numbers that were recorded; each rule is small and sees no arrays of the training. Must not import
`recipes`, `models`, `data` or anything above.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

# Rounding of a mean over samples in float32; a real gain over chance is far larger.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Outcome:
    """What is known of a run that ended.

    Attributes:
        status: `ok` or `diverged`.
        retries: How often it was healed.
        is_stopped_early: Whether early stopping ended it.
        metrics: Final metrics on the validation part.
        chance_loss: Loss of the best answer that ignores the inputs (class-prior entropy); None when
            the loss does not allow the comparison.
        chance_accuracy: Share of the commonest class; None for regression.
    """

    status: str
    retries: int
    is_stopped_early: bool
    metrics: Mapping[str, float]
    chance_loss: float | None = None
    chance_accuracy: float | None = None


def verdict(outcome: Outcome) -> str:
    """The code of the verdict, worst first: `diverged`, `chance`, `healed`, `stopped_early`, `ok`."""
    if outcome.status == "diverged":
        return "diverged"
    if is_at_chance(outcome):
        return "chance"
    if outcome.retries:
        return "healed"
    return "stopped_early" if outcome.is_stopped_early else "ok"


def is_at_chance(outcome: Outcome) -> bool:
    """Whether the run does no better than an answer that ignores its inputs.

    Classification asks the loss and the accuracy (a confident network may lose on the one and still have learned),
    regression asks R2.
    """
    if "r2" in outcome.metrics:
        return not outcome.metrics["r2"] > 0.0
    accuracy = outcome.metrics.get("accuracy", math.nan)
    loss = outcome.metrics.get("loss", math.nan)
    if outcome.chance_accuracy is None or math.isnan(accuracy):
        return False
    loss_is_poor = outcome.chance_loss is None or not loss < outcome.chance_loss * (1.0 - TOLERANCE)
    return not accuracy > outcome.chance_accuracy + TOLERANCE and loss_is_poor
