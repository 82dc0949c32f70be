"""Recipes: catalogue entries as pure functions over pytrees.

Owns the update rules and groups of them, schedules, losses, metrics, clipping, penalties, noise and averages. Imports JAX
and Optax only; must not import `lanework.models`, `lanework.data`, `lanework.health` or anything above them.
"""

from lanework.recipes.augment import AUGMENTATIONS, augmentation
from lanework.recipes.averages import AVERAGES, Average, average
from lanework.recipes.clipping import (
    clip_adaptive,
    clip_advice,
    clip_by_global_norm,
    clip_by_layer,
    clip_by_value,
    global_norm,
)
from lanework.recipes.groups import (
    THAWED,
    Group,
    grouped,
    keep_frozen,
    layer_groups,
    matches,
    scaled_by_depth,
    selected,
    still_layers,
    thawing,
    without_frozen,
)
from lanework.recipes.losses import LOSSES, Loss, class_weighted, loss
from lanework.recipes.metrics import Metrics, answers, metrics
from lanework.recipes.noise import gradient_noise, input_noise, weight_noise
from lanework.recipes.penalties import (
    decay_update,
    exempt,
    limit_norm,
    penalty,
    penalty_gradient,
    soft_threshold,
)
from lanework.recipes.rules import RULES, Rule, rule
from lanework.recipes.schedules import SCHEDULES, Schedule, schedule

__all__ = [
    "AUGMENTATIONS",
    "AVERAGES",
    "LOSSES",
    "RULES",
    "SCHEDULES",
    "THAWED",
    "Average",
    "Group",
    "Loss",
    "Metrics",
    "Rule",
    "Schedule",
    "answers",
    "augmentation",
    "average",
    "class_weighted",
    "clip_adaptive",
    "clip_advice",
    "clip_by_global_norm",
    "clip_by_layer",
    "clip_by_value",
    "decay_update",
    "exempt",
    "global_norm",
    "gradient_noise",
    "grouped",
    "input_noise",
    "keep_frozen",
    "layer_groups",
    "limit_norm",
    "loss",
    "matches",
    "metrics",
    "penalty",
    "penalty_gradient",
    "rule",
    "scaled_by_depth",
    "schedule",
    "selected",
    "soft_threshold",
    "still_layers",
    "thawing",
    "weight_noise",
    "without_frozen",
]
