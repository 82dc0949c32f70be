"""Diagnosis: all rules over the record of one run, root causes first. Plain Python and NumPy."""

from __future__ import annotations

from collections.abc import Iterable

from lanework.health.findings import Finding, at_step, without_symptoms
from lanework.health.records import RunRecord
from lanework.health.rules import RULES, Rule

__all__ = ["diagnose"]

MOST_PREFIXES = 24


def diagnose(record: RunRecord) -> tuple[Finding, ...]:
    """What is the matter with a run.

    Args:
        record: All that was recorded of it, or what there is so far.

    Returns:
        Findings, worst first; those that are only symptoms of another one are left out. Nothing for a healthy run. The step of
        each is the first recorded one at which its rule could have told it.
    """
    found = [(rule, finding) for rule in RULES if (finding := rule.function(record)) is not None]
    kept = without_symptoms(finding for _, finding in found)
    rule_of = {finding.code: rule for rule, finding in found}
    shorter = _prefixes(record) if kept else ()
    return tuple(at_step(one, _first_told(rule_of[one.code], record, shorter)) for one in kept)


def _prefixes(record: RunRecord) -> tuple[RunRecord, ...]:
    """The record as it stood at some of its steps, in order."""
    steps = record.record_steps
    # The early ones count: all of the first, then ever fewer.
    stride = max(1, -(-len(steps) // (MOST_PREFIXES // 2)))
    chosen = sorted({*steps[: MOST_PREFIXES // 2], *steps[::stride]})
    return tuple(record.until(step) for step in chosen if step < record.steps)


def _first_told(rule: Rule, record: RunRecord, shorter: Iterable[RunRecord]) -> int:
    """The first recorded step at which a rule could have told its cause."""
    for prefix in shorter:
        if rule.function(prefix) is not None:
            return prefix.steps
    return record.steps
