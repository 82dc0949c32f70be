"""Which recipes are trained to heal: the sick one, each of its first remedies, and the first remedies of several causes together.

Owns the step from findings to configurations. Trains nothing; what the trials showed is said by `heal_effects`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lanework.health.edits import Edits, Rule
from lanework.health.findings import Finding
from lanework.health.remedies import REMEDIES, Remedy
from lanework.report import units
from lanework.spec import RunConfig
from lanework.spec.compare import NoPartsError, apply_all
from lanework.spec.expand import completed
from lanework.spec.sections import build_config, plain_config

__all__ = ["AS_IT_WAS", "MAX_CAUSES", "Complaint", "Patient", "Trial", "trials"]

AS_IT_WAS: Final = "as it was"
MAX_CAUSES: Final = 3
"""Causes of a recipe that are treated, worst first; more would share one sick run's evidence among too many."""
Plain = dict[str, Any]


@dataclass(frozen=True)
class Complaint:
    """One finding of a recipe, with the evidence that its remedies go by (see `remedies.evidence_of`)."""

    finding: Finding
    evidence: Mapping[str, Any]
    num_runs: int = 1


@dataclass(frozen=True)
class Patient:
    """A recipe in which something was found.

    Attributes:
        arm: Its number in the study.
        name: Its label.
        config: Everything about its runs.
        complaints: What was found, worst first.
        num_runs: Runs that were looked at.
    """

    arm: int
    name: str
    config: RunConfig
    complaints: tuple[Complaint, ...]
    num_runs: int = 1


@dataclass(frozen=True)
class Trial:
    """One recipe that is trained beside the sick one.

    Attributes:
        label: What was done, for people; unique for its patient.
        remedies: Codes of the remedies in it; none for the recipe as it was.
        causes: Codes of the causes they are for.
        edits: What was changed, by study-file path.
        config: Everything about its runs.
        is_honest: It only takes away what made the score too good: the others are compared with it.
    """

    label: str
    remedies: tuple[str, ...]
    causes: tuple[str, ...]
    edits: Edits
    config: RunConfig
    is_honest: bool = False


@dataclass(frozen=True)
class _Step:
    """One remedy for one cause, at one strength."""

    code: str
    cause: str
    rule: Rule
    evidence: Mapping[str, Any]

    @property
    def remedy(self) -> Remedy:
        return REMEDIES[self.code]


def trials(patient: Patient, *, top: int) -> tuple[Trial, ...]:
    """The recipes to train for one sick recipe, the recipe as it was first.

    Where a remedy only makes the score honest (a column that tells the target is dropped), that comes second, and all
    others are tried on top of it. Recipes that come out equal are trained once.

    Args:
        patient: The sick recipe.
        top: Remedies of each cause to try, those that do not apply not counted.
    """
    sick = Trial(AS_IT_WAS, (), (), {}, patient.config)
    complaints = patient.complaints[:MAX_CAUSES]
    found = [sick]
    honest = [step for one in complaints for step in _steps(one) if step.remedy.kind == "honest"]
    base = _together(sick, honest[:1])
    if base is not None:
        found.append(base)
    start = base or sick
    for one in complaints:
        found += _single(start, one, top)
    found += _joint(start, complaints)
    return _distinct(found)


def _steps(complaint: Complaint) -> Iterator[_Step]:
    for code in complaint.finding.remedies:
        yield _Step(code, complaint.finding.code, REMEDIES[code].edits, complaint.evidence)


def _single(start: Trial, complaint: Complaint, top: int) -> Iterator[Trial]:
    """The first remedies of one cause, each at all its strengths."""
    left = top
    for step in _steps(complaint):
        if step.remedy.kind != "trial" or not left:
            continue
        made = [_together(start, [one]) for one in _strengths(step)]
        yield from (one for one in made if one is not None)
        left -= any(one is not None for one in made)


def _strengths(step: _Step) -> list[_Step]:
    rules = (step.rule, *step.remedy.further)
    return [_Step(step.code, step.cause, rule, step.evidence) for rule in rules]


def _joint(start: Trial, complaints: Sequence[Complaint]) -> Iterator[Trial]:
    """The first remedies of the first two causes together, then of the first three, at all strengths of each."""
    firsts = [step for one in complaints for step in [_first(start, one)] if step is not None]
    for count in range(2, len(firsts) + 1):
        steps = firsts[:count]
        chosen = [steps]
        for place, step in enumerate(steps):
            for other in _strengths(step)[1:]:
                chosen.append([*steps[:place], other, *steps[place + 1 :]])
        made = (_together(start, one) for one in chosen)
        yield from (one for one in made if one is not None)


def _first(start: Trial, complaint: Complaint) -> _Step | None:
    """The first remedy of a cause that changes something."""
    for step in _steps(complaint):
        if step.remedy.kind == "trial" and _together(start, [step]) is not None:
            return step
    return None


def _together(start: Trial, steps: Sequence[_Step]) -> Trial | None:
    """A recipe with some remedies, each applied to what those before it left; None where one changes nothing or cannot be."""
    plain, edits, titles = plain_config(start.config), dict(start.edits), []
    for step in steps:
        found = step.rule(plain, step.evidence) or {}
        # What a worse cause asked for is not taken back for the sake of a lesser one.
        found = {path: value for path, value in found.items() if path not in edits}
        if not found:
            return None
        try:
            plain = apply_all(plain, list(found.items()))
        except NoPartsError:
            return None
        edits |= found
        titles.append(_title(step.remedy, found))
    config, _ = build_config(plain)
    if config is None or not steps:
        return None
    return Trial(
        label=" + ".join(titles),
        remedies=tuple(step.code for step in steps),
        causes=tuple(dict.fromkeys(step.cause for step in steps)),
        edits=edits,
        config=completed(config),
        is_honest=all(step.remedy.kind == "honest" for step in steps),
    )


def _title(remedy: Remedy, found: Edits) -> str:
    """What is done; with what it sets, where the remedy comes in several strengths."""
    if not remedy.further:
        return remedy.title
    values = ["off" if value is None else units.scalar(value) for value in found.values()]
    return f"{remedy.title} ({', '.join(dict.fromkeys(values))})"


def _distinct(found: Sequence[Trial]) -> tuple[Trial, ...]:
    """Each configuration once, with a label of its own."""
    kept: list[Trial] = []
    for trial in found:
        if all(trial.config != one.config for one in kept):
            kept.append(trial)
    return tuple(kept)
