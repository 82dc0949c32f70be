"""What is the matter with the runs of a study, as plain records for the report. Imports `store` and `stats` through `facts` only."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from lanework.stats import Floats
from lanework.store import FindingRow, HealthRow, MetricRow, Store

LEVELS: Final = ("fail", "warn")
MAX_RUNS: Final = 8
CURVES: Final = ("train_loss", "val_loss")
BESIDE: Final = ("clipped_share", "grad_norm_p90")
"""Numbers of a run's steps that are evidence of something."""
Series: TypeAlias = tuple[Floats, Floats]
"""Epochs and values."""
NOUNS: Final = {
    "gradient": "the gradient of {}",
    "weights": "the weights of {}",
    "activation": "what {} gives",
}


class Layers(NamedTuple):
    """One statistic of the layers of a run; `values` is [layer, point]."""

    names: tuple[str, ...]
    epochs: Floats
    values: Floats


class RunHealth(NamedTuple):
    """What was recorded of one run: statistics of its layers, its losses, and other numbers of the whole run."""

    run: int
    layers: Mapping[str, Layers]
    losses: Mapping[str, Series]
    steps_per_epoch: float
    whole: Mapping[str, Series] = MappingProxyType({})


class Found(NamedTuple):
    """One cause in one recipe.

    Attributes:
        row: The worst of its findings.
        title: The cause in a few words.
        what: What it is.
        remedies: What helps, in words, best first.
        num_runs: Runs of the recipe that have it.
    """

    row: FindingRow
    title: str
    what: str
    remedies: tuple[str, ...]
    num_runs: int


def grouped(
    rows: Iterable[FindingRow], arm_of: Mapping[int, int], causes: Mapping[str, Any]
) -> dict[int, tuple[Found, ...]]:
    """Findings by recipe, each cause once, worst first.

    Args:
        rows: Findings of runs.
        arm_of: Recipe of each run.
        causes: Title, meaning and remedies by code, as recorded.
    """
    by_arm: dict[int, dict[str, list[FindingRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_arm[arm_of[row.run]][row.code].append(row)
    found = {}
    for arm, by_code in by_arm.items():
        items = [_found(own, causes.get(code) or {}) for code, own in by_code.items()]
        found[arm] = tuple(sorted(items, key=lambda one: (badness(one.row), -one.num_runs)))
    return found


def badness(row: FindingRow) -> tuple[int, float]:
    """Sorts findings worst first."""
    return LEVELS.index(row.level), -row.confidence


def _found(rows: Sequence[FindingRow], cause: Mapping[str, Any]) -> Found:
    worst = min(rows, key=badness)
    words = cause.get("remedies") or {}
    remedies = tuple(str(words.get(code) or code.replace("_", " ")) for code in worst.remedies)
    title = str(cause.get("title") or worst.code.replace("_", " "))
    return Found(worst, title, str(cause.get("what") or ""), remedies, len({r.run for r in rows}))


def shown_runs(
    found: Mapping[int, Sequence[Found]], arms: Sequence[int], best: Mapping[int, int]
) -> tuple[int, ...]:
    """Runs whose layers are shown: the worst of each sick recipe, worst first, then the best of the others.

    Args:
        found: Findings by recipe.
        arms: All recipes, best first.
        best: The best run of each recipe.
    """
    sick = sorted(found, key=lambda arm: badness(found[arm][0].row))
    healthy = [arm for arm in arms if arm not in found]
    runs = [found[arm][0].row.run for arm in sick] + [best[arm] for arm in healthy if arm in best]
    # One healthy run is worth seeing beside the sick ones.
    if len(sick) >= MAX_RUNS and healthy and healthy[0] in best:
        runs.insert(MAX_RUNS - 1, best[healthy[0]])
    return tuple(dict.fromkeys(runs))[:MAX_RUNS]


def run_health(store: Store, run: int) -> RunHealth:
    """What the store holds of one run; layers in forward order where the records know it."""
    forward = [name for own in store.layers(run) for names in own.names.values() for name in names]
    metrics = store.metrics(run)
    per_epoch = next((row.step / row.epoch for row in metrics if row.epoch > 0), math.nan)
    by_name: dict[str, list[HealthRow]] = defaultdict(list)
    whole: dict[str, list[HealthRow]] = defaultdict(list)
    for row in store.health(run):
        (by_name if row.layer else whole)[row.name].append(row)
    layers = {name: _layers(rows, forward, per_epoch) for name, rows in by_name.items()}
    beside = {name: _series(rows, per_epoch) for name, rows in whole.items()}
    return RunHealth(
        run, layers, _curves(metrics, CURVES), per_epoch, beside | _curves(metrics, BESIDE)
    )


def first_lost(data: Mapping[str, Any]) -> str:
    """What an event says of what first was not finite, as a sentence; empty where nothing is known.

    Example:
        >>> first_lost({"first_not_finite": "gradient", "layer": "dense_0", "at_step": 12})
        'The first that was not finite: the gradient of dense_0, at step 12.'
    """
    what, layer = data.get("first_not_finite"), data.get("layer")
    if what == "loss" and "at_step" in data:
        return f"Gradients and weights were finite before step {data['at_step']}: the loss itself was first."
    noun = NOUNS.get(str(what))
    if noun is None or not layer:
        return ""
    when = f", at step {data['at_step']}" if "at_step" in data else ""
    return f"The first that was not finite: {noun.format(layer)}{when}."


def _curves(rows: Sequence[MetricRow], names: Sequence[str]) -> dict[str, Series]:
    found = {}
    for name in names:
        own = [row for row in rows if row.name == name]
        if own:
            found[name] = (
                np.array([row.epoch for row in own]),
                np.array([row.value for row in own]),
            )
    return found


def _series(rows: Sequence[HealthRow], per_epoch: float) -> Series:
    own = sorted(rows, key=lambda row: row.step)
    return np.array([row.step for row in own]) / per_epoch, np.array([row.value for row in own])


def _layers(rows: Sequence[HealthRow], forward: Sequence[str], per_epoch: float) -> Layers:
    known = {name: place for place, name in enumerate(dict.fromkeys(forward))}
    names = sorted(
        {row.layer for row in rows}, key=lambda name: (known.get(name, len(known)), name)
    )
    steps = sorted({row.step for row in rows})
    values = np.full((len(names), len(steps)), np.nan)
    where = {name: place for place, name in enumerate(names)}
    when = {step: place for place, step in enumerate(steps)}
    for row in rows:
        values[where[row.layer], when[row.step]] = row.value
    return Layers(tuple(names), np.array(steps) / per_epoch, values)
