"""What remedies did: paired effects over the seeds that sick and mended recipes share, in words of one code each.

Owns the statistics of a trial and the document that is stored with the study. Reads records; trains nothing, draws nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from lanework.api.heal_trials import Patient, Trial
from lanework.health.causes import CAUSES
from lanework.health.edits import setting
from lanework.health.remedies import REMEDIES
from lanework.report.facts import Facts, Metric, RunFacts
from lanework.spec.sections import plain_config
from lanework.stats import (
    LEVEL,
    Interval,
    Paired,
    Resampling,
    arm_interval,
    holm,
    paired_test,
    seeds_needed,
)

__all__ = ["Effect", "best_of", "document", "effects"]

MARGIN: Final = 0.01
"""What counts as no effect: an interval within a point of a share, or within that share of the sick recipe's value."""


@dataclass(frozen=True)
class Effect:
    """What one trial did beside the recipe that it is compared with.

    Attributes:
        trial: The recipe.
        runs: Its runs.
        value: Mean and interval over its finished runs, in the unit of the metric.
        paired: Trial minus reference over shared seeds, a diverged run counted as guessing; None for the recipe as it was.
        p_adjusted: After Holm's correction for all trials of this sick recipe.
        verdict: `better`, `worse`, `none`, `unclear`, `untested`, `failed`, `honest`, or `reference`.
        against: Place of the recipe that it is compared with.
        more_seeds: Further seeds that would tell an unclear effect from none; None where no reasonable number would.
    """

    trial: Trial
    runs: tuple[RunFacts, ...]
    value: Interval
    paired: Paired | None
    p_adjusted: float
    verdict: str
    against: int = 0
    more_seeds: int | None = None

    @property
    def num_diverged(self) -> int:
        """Runs without a usable result."""
        return sum(run.is_bad for run in self.runs)


def effects(trials: Sequence[Trial], arms: Sequence[int], facts: Facts) -> tuple[Effect, ...]:
    """The effect of each trial of one sick recipe, in the order given.

    Args:
        trials: The recipe as it was first.
        arms: Number of each trial in the study that trained them.
        facts: That study.
    """
    runs = [tuple(run for run in facts.runs if run.arm == arm) for arm in arms]
    columns = sorted({_pair(run) for own in runs for run in own})
    resampling = None
    if facts.folds is not None:
        resampling = Resampling(tuple(fold for _, fold in columns), facts.folds.overlap)
    table = np.full((len(runs), len(columns)), np.nan)
    for row, own in enumerate(runs):
        for run in own:
            if run.value is not None:
                table[row, columns.index(_pair(run))] = run.value
    filled = _filled(table, runs, columns, facts.metric)
    against = max((place for place, trial in enumerate(trials) if trial.is_honest), default=0)
    pairs: list[Paired | None] = [
        None
        if place == 0
        else paired_test(
            filled[place],
            filled[0 if trial.is_honest else against],
            resolution=facts.metric.resolution,
            resampling=resampling,
        )
        for place, trial in enumerate(trials)
    ]
    adjusted = iter(holm([pair.p_value for pair in pairs if pair is not None]))
    found = []
    for place, (trial, own, pair) in enumerate(zip(trials, runs, pairs, strict=True)):
        value = arm_interval(table[place], limits=facts.metric.limits, resampling=resampling)
        p = math.nan if pair is None else next(adjusted)
        beside = 0 if trial.is_honest else against
        effect = Effect(trial, own, value, pair, p, "reference", beside)
        usual = float(np.nanmean(filled[against]))
        found.append(_judged(effect, facts.metric, usual=usual, is_folded=resampling is not None))
    return tuple(found)


def best_of(found: Sequence[Effect], metric: Metric) -> Effect | None:
    """The trial that helped most, among those that certainly helped; fewer changes where two did equally well."""
    sign = 1.0 if metric.direction == "max" else -1.0
    helped = [one for one in found if one.verdict == "better" and one.paired is not None]

    def order(one: Effect) -> tuple[float, int]:
        gain = one.paired.difference.mean if one.paired else math.nan
        return -sign * gain, len(one.trial.edits)

    return min(helped, key=order, default=None)


def _pair(run: RunFacts) -> tuple[int, int]:
    """Seed and fold: runs of different recipes with equal ones saw the same rows and batches."""
    return run.seed, -1 if run.fold is None else run.fold


def _filled(
    table: Any, runs: Sequence[Sequence[RunFacts]], columns: Sequence[Any], metric: Metric
) -> Any:
    """The table with the worst value that a run can be blamed for wherever one diverged (see `lanework.stats`)."""
    known = [float(value) for value in table[np.isfinite(table)]]
    known += [] if metric.chance is None else [metric.chance]
    worst = (min if metric.direction == "max" else max)(known, default=0.0)
    filled = table.copy()
    for row, own in enumerate(runs):
        for run in own:
            if run.is_bad:
                filled[row, columns.index(_pair(run))] = worst
    return filled


def _judged(effect: Effect, metric: Metric, *, usual: float, is_folded: bool) -> Effect:
    pair = effect.paired
    if pair is None:
        return effect
    if effect.trial.is_honest:
        return replace(effect, verdict="honest")
    if effect.num_diverged == len(effect.runs):
        return replace(effect, verdict="failed")
    if math.isnan(effect.p_adjusted):
        return replace(effect, verdict="untested")
    difference = pair.difference
    if effect.p_adjusted < 1 - LEVEL:
        is_better = difference.mean > 0 if metric.direction == "max" else difference.mean < 0
        return replace(effect, verdict="better" if is_better else "worse")
    margin = MARGIN if metric.is_fraction else MARGIN * abs(usual)
    if -margin <= difference.low and difference.high <= margin:
        return replace(effect, verdict="none")
    is_worth_telling = abs(difference.mean) > margin and not is_folded
    needed = seeds_needed(difference) if is_worth_telling else None
    more = None if needed is None else max(1, needed - difference.num_values)
    return replace(effect, verdict="unclear", more_seeds=more)


# ---- as it is stored ---------------------------------------------------------------------------


def document(
    patient: Patient,
    found: Sequence[Effect],
    *,
    metric: Metric,
    left: Sequence[Sequence[str]],
) -> dict[str, Any]:
    """One sick recipe with what was tried, as plain values for the study's records.

    Args:
        patient: The sick recipe.
        found: Its effects; empty where no remedy applied.
        metric: What they are measured by.
        left: Codes of the causes still found in each trial.
    """
    best = best_of(found, metric)
    plain = plain_config(patient.config)
    words = [
        code
        for one in patient.complaints
        for code in one.finding.remedies
        if REMEDIES[code].kind == "words"
    ]
    return {
        "arm": patient.arm,
        "name": patient.name,
        "causes": [
            {
                "code": one.finding.code,
                "title": CAUSES[one.finding.code].title,
                "level": one.finding.level,
                "sentence": one.finding.sentence,
                "num_runs": one.num_runs,
                "of_runs": patient.num_runs,
            }
            for one in patient.complaints
        ],
        "by_hand": [
            {"code": code, "title": REMEDIES[code].title, "summary": REMEDIES[code].summary}
            for code in dict.fromkeys(words)
        ],
        "tried": [
            _row(effect, plain, codes, metric) for effect, codes in zip(found, left, strict=True)
        ],
        "best": None if best is None else list(found).index(best),
    }


def _row(
    effect: Effect, sick: Mapping[str, Any], left: Sequence[str], metric: Metric
) -> dict[str, Any]:
    sign = 1.0 if metric.direction == "max" else -1.0
    ended = [run for run in effect.runs if not run.is_bad]
    return {
        "label": effect.trial.label,
        "remedies": list(effect.trial.remedies),
        "causes": list(effect.trial.causes),
        "changes": [
            {"path": path, "from": setting(sick, path), "to": value}
            for path, value in effect.trial.edits.items()
        ],
        "verdict": effect.verdict,
        "value": effect.value._asdict(),
        "values": [run.value for run in effect.runs],
        "difference": None if effect.paired is None else effect.paired.difference._asdict(),
        "gain": math.nan if effect.paired is None else sign * effect.paired.difference.mean,
        "against": effect.against,
        "p_value": None if effect.paired is None else effect.paired.p_value,
        "p_adjusted": effect.p_adjusted,
        "more_seeds": effect.more_seeds,
        "num_runs": len(effect.runs),
        "num_diverged": effect.num_diverged,
        "num_at_chance": sum(run.verdict == "chance" for run in effect.runs),
        "steps": float(np.mean([run.steps for run in ended])) if ended else math.nan,
        "left": [{"code": code, "title": CAUSES[code].title} for code in left],
    }
