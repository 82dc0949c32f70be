"""Recipes: catalogue entries as pure functions over pytrees.

Owns the update rules, schedules, losses, metrics, clipping and penalties. Imports JAX and Optax only; must not import
`lanework.models`, `lanework.data`, `lanework.health` or anything above them.
"""

from lanework.recipes.losses import LOSSES, Loss, loss
from lanework.recipes.metrics import Metrics, metrics
from lanework.recipes.penalties import (
    clip_by_global_norm,
    decay_update,
    exempt,
    penalty,
    penalty_gradient,
)
from lanework.recipes.rules import RULES, Rule, rule
from lanework.recipes.schedules import SCHEDULES, Schedule, schedule

__all__ = [
    "LOSSES",
    "RULES",
    "SCHEDULES",
    "Loss",
    "Metrics",
    "Rule",
    "Schedule",
    "clip_by_global_norm",
    "decay_update",
    "exempt",
    "loss",
    "metrics",
    "penalty",
    "penalty_gradient",
    "rule",
    "schedule",
]
