"""Findings: what a rule says of a run, and how they are put in order.

Plain Python; imports `causes` only and no JAX.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from lanework.health.causes import CAUSES

__all__ = ["LEVELS", "Finding", "as_row", "ordered", "without_symptoms"]

LEVELS: Final = ("fail", "warn")
"""Worst first: `fail` spoils the run, `warn` costs something."""


@dataclass(frozen=True)
class Finding:
    """One thing that is the matter with a run.

    Attributes:
        code: Row of `lanework.health.causes.CAUSES`.
        level: `fail` or `warn`.
        confidence: How sure the rule is, in [0, 1].
        sentence: One sentence with the numbers, for people.
        evidence: The numbers by name.
        step: First recorded step at which it could be told.
        layer: Where it sits; empty where it is no matter of one layer.
        remedies: Codes of remedies, best first, chosen for this run; those of the cause by default.
        stands: A setting speaks for it: it is nobody's symptom, whatever else is found.
    """

    code: str
    level: str
    confidence: float
    sentence: str
    evidence: Mapping[str, float] = field(default_factory=dict)
    step: int = 0
    layer: str = ""
    remedies: tuple[str, ...] = ()
    stands: bool = False

    def __post_init__(self) -> None:
        """Fill in the remedies.

        Raises:
            ValueError: An unknown code or level, or a confidence outside of [0, 1].
        """
        if self.code not in CAUSES:
            raise ValueError(f"a finding needs a code of CAUSES, got {self.code!r}")
        if self.level not in LEVELS or not 0.0 <= self.confidence <= 1.0:
            raise ValueError(
                f"a finding needs a level of {LEVELS} and a confidence in [0, 1], got {self.level!r} and {self.confidence!r}"
            )
        if not self.remedies:
            object.__setattr__(self, "remedies", CAUSES[self.code].remedies)


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Worst first: by level, then by confidence, then in the order of the causes' table."""
    rank = {code: place for place, code in enumerate(CAUSES)}
    return tuple(
        sorted(findings, key=lambda f: (LEVELS.index(f.level), -f.confidence, rank[f.code]))
    )


def without_symptoms(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings without those that another one, at least as bad, brings about; worst first.

    Two that would bring each other about are decided by their order: the worse one stays.
    """
    kept: list[Finding] = []
    candidates = ordered(findings)
    for place, finding in enumerate(candidates):
        others = [*kept, *candidates[place + 1 :]]
        if not any(_explains(other, finding, is_worse=other in kept) for other in others):
            kept.append(finding)
    return tuple(kept)


def _explains(cause: Finding, symptom: Finding, *, is_worse: bool) -> bool:
    if symptom.stands or symptom.code not in CAUSES[cause.code].brings:
        return False
    # A mere warning does not explain a failure away, unless the two point at each other and it came first.
    if LEVELS.index(cause.level) > LEVELS.index(symptom.level):
        return False
    return is_worse or cause.code not in CAUSES[symptom.code].brings


def as_row(finding: Finding) -> dict[str, Any]:
    """A finding as plain data, the way it is stored."""
    return {
        "code": finding.code,
        "level": finding.level,
        "confidence": float(finding.confidence),
        "sentence": finding.sentence,
        "evidence": {name: float(value) for name, value in finding.evidence.items()},
        "step": int(finding.step),
        "layer": finding.layer,
        "remedies": list(finding.remedies),
    }


def at_step(finding: Finding, step: int) -> Finding:
    """The same finding with the step at which it could first be told."""
    return replace(finding, step=step)
