"""Facts as ``results.json``, a versioned schema for other programs.

Every key is described in ``docs/reference/results.md``. Strict JSON: what is not a finite number
is null. Imports `facts` and `answers` only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lanework.report.answers import answer
from lanework.report.facts import ArmFacts, Facts, LevelFacts, RunFacts
from lanework.stats import Interval, Place
from lanework.store import FindingRow

SCHEMA_VERSION: Final = 1


def results_json(facts: Facts) -> str:
    """The results as JSON text.

    Args:
        facts: What was read from a study folder.

    Returns:
        Strict JSON (no NaN, no infinity), the same text for the same facts.
    """
    parts = (f"{_line(key)}: {_block(value)}" for key, value in _finite(results(facts)).items())
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _block(value: Any) -> str:
    """Lists of objects with one object on a line; everything else on one line."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n  " + ",\n  ".join(map(_line, value)) + "\n]"
    return _line(value)


def _line(value: Any) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def results(facts: Facts) -> dict[str, Any]:
    """The results as plain data; see ``docs/reference/results.md`` for every key."""
    found = answer(facts)
    metric = facts.metric
    by_run: dict[int, list[FindingRow]] = {}
    for row in facts.findings:
        by_run.setdefault(row.run, []).append(row)
    return {
        "schema_version": SCHEMA_VERSION,
        "study": {
            "name": facts.study,
            "hash": facts.content_hash,
            "notes": facts.notes,
            "task": facts.task,
            "seeds": facts.seeds,
            **({} if facts.folds is None else {"folds": facts.folds._asdict()}),
            "factors": {factor.key: factor.values for factor in facts.factors},
            "is_complete": facts.num_open == 0,
        },
        "metric": {
            "name": metric.name,
            "direction": metric.direction,
            "unit": "" if metric.is_fraction else metric.unit,
            "chance": metric.chance,
        },
        "answer": {
            "title": found.title,
            "sentences": [*found.lead, *([found.test] if found.test else [])],
            "troubles": [
                {"kind": item.kind, "title": item.title, "text": item.text}
                for item in found.troubles
            ],
        },
        "groups": [_group(level) for level in facts.levels],
        "arms": [_arm(arm) for arm in facts.arms],
        "runs": [_run(run, by_run.get(run.run, ())) for run in facts.runs],
        "remedies": facts.remedies or None,
        "events": [event._asdict() for event in facts.events],
        "check": facts.check or None,
        "data": facts.datasets,
        "plan": facts.plan,
        "timings": _timings(facts),
        "machine": facts.machine,
    }


def _group(level: LevelFacts) -> dict[str, Any]:
    return {
        "label": level.label,
        "arms": level.arms,
        "best_arm": level.best,
        "best_learning_rate": level.rate,
        **_place(level.place),
    }


def _arm(arm: ArmFacts) -> dict[str, Any]:
    return {
        "arm": arm.arm,
        "name": arm.name,
        "factors": arm.factors,
        "rank": arm.rank,
        "runs": arm.runs,
        "num_diverged": arm.num_diverged,
        "num_healed": arm.num_healed,
        "num_at_chance": arm.num_chance,
        "num_unfinished": arm.num_open,
        "seconds": arm.seconds,
        "test": _interval(arm.test),
        **_place(arm.place),
    }


def _place(place: Place) -> dict[str, Any]:
    against = place.against_best
    return {
        "value": _interval(place.interval),
        "score": place.score,
        "standing": place.standing,
        "against_best": None
        if against is None
        else {
            "difference": _interval(against.difference),
            "p_value": against.p_value,
            "p_adjusted": place.p_adjusted,
        },
        "more_seeds_needed": place.more_seeds,
    }


def _interval(interval: Interval) -> dict[str, Any] | None:
    if interval.num_values == 0:
        return None
    return interval._asdict()


def _run(run: RunFacts, findings: Sequence[FindingRow]) -> dict[str, Any]:
    splits: dict[str, dict[str, float]] = {}
    for name, value in run.metrics.items():
        part, _, quantity = name.partition("_")
        splits.setdefault(part if quantity else "", {})[quantity or name] = value
    return {
        "run": run.run,
        "arm": run.arm,
        "seed": run.seed,
        **({} if run.fold is None else {"fold": run.fold}),
        "bucket": run.bucket,
        "status": run.status,
        "verdict": run.verdict,
        "num_healed": run.num_healed,
        "steps": run.steps,
        "best_step": run.best_step,
        "seconds": run.seconds,
        "test_seconds": run.test_seconds,
        "metrics": splits,
        "findings": [
            {name: value for name, value in row._asdict().items() if name != "run"}
            for row in findings
        ],
    }


def _timings(facts: Facts) -> dict[str, Any]:
    shares = [run.seconds for run in facts.runs if run.seconds > 0]
    tests = [run.test_seconds for run in facts.runs if run.test_seconds > 0]
    return {
        **{name.removesuffix("_s"): value for name, value in facts.timings.items()},
        "per_run_share": sum(shares) / len(shares) if shares else None,
        "test_per_run": sum(tests) / len(tests) if tests else None,
        "unit": "s",
    }


def _finite(value: Any) -> Any:
    """Plain JSON data: mappings, lists, and null for numbers that are not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
