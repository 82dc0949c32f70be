"""Judging the gate's short trainings: gradients, learning by heart, one sample and one answer, both modes, stability of the rate.

Owns one small function for each, as `judge` does for the network at its start. Must not import `recipes`, `models`, `data` or
anything above.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lanework.health.judge import (
    CS231N,
    GOODFELLOW,
    KARPATHY,
    LEVELS,
    PLAYBOOK,
    Item,
    banded,
    said_of,
    strained,
)

# ---- gradients -------------------------------------------------------------------------------

GRADIENT_WARN, GRADIENT_FAIL = 1e-4, 1e-2
COARSE_WARN, COARSE_FAIL = 3e-2, 3e-1
"""The bands of a network that computes in single precision whatever it is given; a factor of 2 in a gradient is still told."""


def gradient(
    errors: Mapping[str, float],
    *,
    num_kinks: int,
    num_entries: int,
    bits: int,
    unknown: Sequence[str] = (),
) -> Item:
    """Gradients against central differences.

    Args:
        errors: Largest symmetric relative error by tensor, entries at kinks left out.
        num_kinks: Entries left out.
        num_entries: Entries that could be compared.
        bits: Precision in which the network computed, 64 or less.
        unknown: Tensors all of whose entries were left out.
    """
    name, error = max(errors.items(), key=lambda pair: _nan_last(pair[1]), default=("", 0.0))
    warn, fail = (GRADIENT_WARN, GRADIENT_FAIL) if bits >= 64 else (COARSE_WARN, COARSE_FAIL)
    level = banded(error, warn=warn, fail=fail)
    numbers = {"error": error, "kinks": float(num_kinks), "entries": float(num_entries)}
    numbers |= {"bits": float(bits)} | {f"error.{key}": value for key, value in errors.items()}
    if not num_entries:
        said = f"No gradient could be compared with central differences: all {num_kinks} entries lay at a kink."
        advice = (
            "Look again with a smooth activation (model.activation: gelu), which takes the same way back; units that sit exactly at a "
            "kink for every sample do not learn."
        )
        return Item("gradient", "warn", numbers, said, advice, CS231N, strain=1.0)
    said = f"Largest relative error of {num_entries} gradients against central differences: {said_of(error)} ({name})."
    if num_kinks:
        said += f" {num_kinks} more lay at a kink."
    if unknown:
        said += f" So did all that were tried of {', '.join(unknown)}."
    if bits < 64:
        said += f" The network computes in {bits} bits, so the bands are wider."
    advice = ""
    if level == "fail":
        said = f"The gradient of {name} is wrong. {said}"
        advice = "Look at hand-written gradients (custom_vjp, stop_gradient) on the way from it to the loss."
    elif level == "warn":
        advice = "Deep networks and strong curvature can do that; a hand-written gradient should do better."
    return Item("gradient", level, numbers, said, advice, CS231N, strain=strained(error, warn=warn))


def _nan_last(value: float) -> float:
    return math.inf if math.isnan(value) else value


PENALTY_WARN: Final = 2.0
"""Times the loss of the data: beyond, the first steps shrink weights more than they learn; a usual penalty is a small share."""


def penalty(*, off: float, on: float, error: float) -> Item:
    """Whether regularisation raises what training makes small, by an amount that leaves the data a say.

    Args:
        off: The objective at the start without the penalty: the loss of the data.
        on: The same with the penalty.
        error: Largest relative error of the penalty's gradient.

    Source:
        CS231n notes, Neural Networks Part 3: "increasing the regularization strength should increase the loss".
    """
    value = on - off
    numbers = {"loss_off": off, "loss_on": on, "penalty": value, "gradient_error": error}
    strain = strained(value / max(off, 1e-12), warn=PENALTY_WARN)

    def found(level: str, said: str, advice: str = "") -> Item:
        return Item("regularisation", level, numbers, said, advice, CS231N, strain=strain)

    raised = (
        f"from {said_of(off)} without to {said_of(on)} with regularisation (by {said_of(value)})"
    )
    if not (math.isfinite(value) and value > 0.0):
        advice = (
            "Look whether the weights are all 0, or named like biases, which no penalty touches."
        )
        return found("fail", f"Regularisation is on and the loss does not go up: {raised}.", advice)
    said = f"The loss goes {raised}."
    if not error <= GRADIENT_WARN:
        said += f" The penalty's gradient is wrong by {said_of(error)}."
        return found("fail", said, "Report this: it is ours.")
    if value > PENALTY_WARN * max(off, 1e-12):
        advice = "Make l1 or l2 smaller by a factor of 10, or be sure that you mean it."
        return found("warn", f"{said} It outweighs the data.", advice)
    return found("pass", said)


# ---- short trainings -------------------------------------------------------------------------

NEAR_ZERO, HARDLY = 0.01, 0.2
"""Of the loss of the best constant answer. With a hundredth left, ten classes are given right with 98 % each: a handful is known by
heart. With a fifth left and nothing falling any more, some of it cannot be learned at all."""


def overfit(
    *, start: float, end: float, is_falling: bool, num_samples: int, num_steps: int
) -> Item:
    """Whether a handful of samples can be learned by heart, regularisation off: the loss must go to nearly zero.

    Whoever asks gives more steps first where a few were not enough (`lanework.api.check_networks.train`); the bar stays.

    Args:
        start: Loss of the best constant answer on them.
        end: Loss after the training, the best of a few rates.
        is_falling: Whether it still fell clearly at the end.
        num_samples: How many they are.
        num_steps: How long it was trained.

    Source:
        CS231n notes, Neural Networks Part 3: "make sure you can achieve zero cost" on a tiny subset; Karpathy 2019: "reach the lowest
        possible loss (e.g. zero)"; Goodfellow, Bengio and Courville 2016, section 11.5. They name no number for nearly.
    """
    share = end / max(start, 1e-12)
    numbers = {"chance": start, "end": end, "share": share}
    numbers |= {"samples": float(num_samples), "steps": float(num_steps)}
    said = f"{num_samples} samples, {num_steps} steps of Adam: the loss went to {said_of(end)} ({said_of(100 * share)} % of chance)."
    level, advice = banded(share, warn=NEAR_ZERO, fail=HARDLY), ""
    if level == "fail" and is_falling and share < 1.0:
        level, said = "warn", f"{said} It falls, but slowly."
    elif level != "pass":
        said = f"{said} It should go to nearly zero."
    if level != "pass":
        advice = (
            "A network that cannot learn a handful by heart has a fault: look at the loss, the output activation, the gradient, the "
            "labels, the scale of the inputs."
        )
    source = f"{CS231N}; {KARPATHY}; {GOODFELLOW}"
    strain = strained(share, warn=NEAR_ZERO)
    return Item("overfit", level, numbers, said, advice, source, strain=strain)


BETTER: Final = 0.01


def inputs_matter(*, real: float, zeroed: float, spread: float, num_steps: int) -> Item:
    """Whether real inputs do better than zeros, after a short training on each.

    Args:
        real: Loss with real inputs.
        zeroed: Loss with zeros instead.
        spread: How far outputs of different samples are apart at the start, relative to their size.
        num_steps: How long both were trained.
    """
    numbers = {"real": real, "zeroed": zeroed, "spread": spread}
    said = f"After {num_steps} steps the loss is {said_of(real)} with real inputs and {said_of(zeroed)} with zeros."
    advice = "Look whether the network uses its inputs at all, and whether rows and labels still belong together."
    if spread <= 0.0 and not real < zeroed:
        said = f"Outputs do not depend on the inputs. {said}"
        return Item("inputs_matter", "fail", numbers, said, advice, KARPATHY)
    level = "pass" if real < zeroed - BETTER * abs(zeroed) else "warn"
    strain = strained(real, warn=max(zeroed, 1e-12))
    return Item(
        "inputs_matter",
        level,
        numbers,
        said,
        "" if level == "pass" else advice,
        KARPATHY,
        strain=strain,
    )


# ---- one sample, one answer ------------------------------------------------------------------

MIXED: Final = 1e-5


def batch_mixing(*, training: float, evaluation: float, has_statistics: bool) -> Item:
    """Whether a sample's output depends on the other samples of its batch.

    Args:
        training: Size of that dependence relative to that on the sample itself, in training mode.
        evaluation: The same in evaluation mode.
        has_statistics: Whether the network carries batch statistics, which mix in training mode.
    """
    numbers = {"training": training, "evaluation": evaluation}
    advice = "Look for a reshape or a mean over the wrong axis, or a softmax over the batch."
    where = []
    where += [f"at evaluation ({said_of(evaluation)})"] if not evaluation <= MIXED else []
    is_mixed = not (has_statistics or training <= MIXED)
    where += [f"in training ({said_of(training)})"] if is_mixed else []
    strain = strained(evaluation, warn=MIXED)
    if where:
        said = (
            f"The output of a sample depends on other samples of the batch {' and '.join(where)}, where 1 is as much as on the sample "
            "itself."
        )
        return Item("batch_mixing", "fail", numbers, said, advice, KARPATHY, strain=strain)
    said = f"The output of a sample depends on that sample only (others: {said_of(evaluation)} at evaluation, {said_of(training)} in training"
    said += ", where batch statistics mix, as they should)." if training > MIXED else ")."
    return Item("batch_mixing", "pass", numbers, said, "", KARPATHY, strain=strain)


LOUDER, LOSSES_APART = 1.6, 4.0


@dataclass(frozen=True)
class Modes:
    """The network in both modes.

    Attributes:
        noise: How far two evaluations of the same samples are apart, relative to the size of outputs.
        loudness: Size of outputs at evaluation relative to their mean over noise in training, before training.
        training: Loss in training mode after a short training; None without one.
        evaluation: Loss of the same samples in evaluation mode; None without one.
        chance: Loss of the best constant answer.
        has_statistics: Whether the network carries batch statistics.
    """

    noise: float
    loudness: float
    training: float | None
    evaluation: float | None
    chance: float
    has_statistics: bool


def modes(seen: Modes) -> Item:
    """Whether training and evaluation mode differ as they should: noise and batch statistics in training only."""
    numbers = {"noise": seen.noise, "loudness": seen.loudness}
    source = "Srivastava et al. 2014, Dropout; Ioffe and Szegedy 2015, Batch normalization"
    strain = max(strained(seen.noise, warn=MIXED), strained(seen.loudness, warn=LOUDER))

    if seen.training is not None and seen.evaluation is not None:
        numbers |= {"training": seen.training, "evaluation": seen.evaluation}
    level, said, advice = _of_modes(seen)
    return Item("modes", level, numbers, said, advice, source, strain=strain)


def _of_modes(seen: Modes) -> tuple[str, str, str]:
    """Level, sentence and advice."""
    if not seen.noise <= MIXED:
        said = f"Two evaluations of the same samples differ by {said_of(100 * seen.noise)} %: something random is on."
        advice = "Switch dropout off at evaluation: leave model.dropout_at_evaluation out; own modules: deterministic when not training."
        return "fail", said, advice
    if not seen.has_statistics and seen.loudness > LOUDER:
        said = f"Outputs at evaluation are {said_of(seen.loudness)} times as large as in training on average."
        return "warn", said, "Scale what dropout keeps: model.dropout_form: inverted."
    if seen.training is None or seen.evaluation is None:
        said = (
            f"Nothing random is on at evaluation (two differ by {said_of(seen.noise)}), and outputs are {said_of(seen.loudness)} times as "
            "large as in training."
        )
        return "pass", said, ""
    losses = f"{said_of(seen.training)} in training mode, {said_of(seen.evaluation)} at evaluation"
    is_apart = seen.evaluation > LOSSES_APART * seen.training and seen.evaluation > seen.chance
    if not math.isfinite(seen.evaluation) or is_apart:
        said = f"The same samples have quite another loss in the two modes: {losses}."
        advice = "Batch statistics that move too slowly or are not carried do that; a larger batch or a lower norm momentum helps."
        return "warn", said, advice
    return "pass", f"Both modes agree as they should: {losses}.", ""


# ---- stability of the rate -------------------------------------------------------------------

JUMP, STUCK, PEAK = 0.5, 0.75, 5.0
"""In losses at the start: how far up is up; an end above this has not come back; a peak that is told although it has."""


@dataclass(frozen=True)
class Course:
    """A probe at some rate.

    Attributes:
        rate: The learning rate.
        start: Loss of the first steps.
        peak: Largest loss, a few steps averaged.
        end: Loss of the last quarter.
    """

    rate: float
    start: float
    peak: float
    end: float

    def level(self) -> str:
        """`fail` where the loss is lost, or went up and did not come back below its start; `warn` where it went far up and came back."""
        if not (math.isfinite(self.end) and math.isfinite(self.peak)):
            return "fail"
        room = 1e-3 + abs(self.start)
        is_up = self.peak > self.start + JUMP * room
        if is_up and self.end > STUCK * room:
            return "fail"
        return "warn" if self.peak > PEAK * room else "pass"


def stability(courses: Sequence[Mapping[float, Course]], *, num_steps: int) -> Item:
    """Whether learning rates are ones at which training goes down, and how far from instability they are.

    Each configuration is judged by its own courses. Where rates are compared, some may be too high (that is how the highest stable one
    is found), so the item fails only where none is stable; it says which are not, and which are at the edge.

    Args:
        courses: For each of some configurations that differ in the rate only: the probe by factor on the rate (1, 2, 5).
        num_steps: How long each probe was.

    Source:
        Google Research, Deep learning tuning playbook, "Identifying unstable workloads": look at twice the best rate, then at more.
    """
    told = sorted(courses, key=lambda one: one[1.0].rate)
    unstable = [one for one in told if one[1.0].level() == "fail"]
    sound = [one for one in told if one[1.0].level() != "fail"]
    numbers = {
        f"end_x{factor:g}.{course.rate:.3g}": course.end
        for one in told
        for factor, course in one.items()
    }
    numbers |= {"stable": float(len(sound)), "rates": float(len(told))}
    if not sound:
        said, advice = (
            _lost(told, num_steps),
            "Lower the rate tenfold, or search for one: lanework rate.",
        )
        level = "fail"
    elif len(told) == 1:
        level, said, advice = _at_one_rate(sound[0], num_steps)
    else:
        level, said, advice = "pass", _at_many_rates(sound, unstable, num_steps), ""
    strain = (len(unstable) + 0.5 * sum(map(_is_at_edge, sound))) / len(told)
    source = f"{PLAYBOOK}; Wu et al. 2018, How SGD selects the global minima"
    strain += LEVELS.index(level)
    return Item("stability", level, numbers, said, advice, source, strain=strain)


def _is_at_edge(course: Mapping[float, Course]) -> bool:
    return 2.0 in course and course[2.0].level() == "fail"


def _edge(course: Mapping[float, Course]) -> float | None:
    """The least multiple of the rate at which the loss goes up."""
    return next((factor for factor in sorted(course) if course[factor].level() == "fail"), None)


def _lost(told: Sequence[Mapping[float, Course]], num_steps: int) -> str:
    """No rate is stable: what became of the lowest."""
    one = told[0][1.0]
    way = f"from {said_of(one.start)} to a peak of {said_of(one.peak)}, and is {said_of(one.end)} at the end"
    if not (math.isfinite(one.peak) and math.isfinite(one.end)):
        way = f"from {said_of(one.start)} to what is no number any more"
    said = f"The loss goes up within {num_steps} steps: {way}, at rate {said_of(one.rate)}"
    more = f", the lowest of {len(told)}; no other is stable" if len(told) > 1 else ""
    return f"{said}{more}."


def _at_one_rate(course: Mapping[float, Course], num_steps: int) -> tuple[str, str, str]:
    """Level, sentence and advice of a single rate that is stable."""
    own, edge = course[1.0], _edge(course)
    more = " and ".join(f"{factor:g}" for factor in sorted(course) if factor > 1)
    limit = f"; so are {more} times the rate" if more else ""
    if edge is not None:
        limit = f"; at {edge:g} times the rate the loss goes up (to {said_of(course[edge].peak)})"
    if own.level() == "warn":
        said = (
            f"At rate {said_of(own.rate)} the loss went from {said_of(own.start)} up to {said_of(own.peak)} before it came down to "
            f"{said_of(own.end)} ({num_steps} steps){limit}."
        )
        return "warn", said, "Warm the rate up (schedule with warmup_epochs), or lower it."
    said = f"Rate {said_of(own.rate)} is stable over {num_steps} steps (loss {said_of(own.start)} to {said_of(own.end)}){limit}."
    if edge == 2.0:
        advice = "Warm up, clip (clip_norm: 1), or halve the rate: it is at the edge."
        return "warn", said, advice
    return "pass", said, ""


def _at_many_rates(
    sound: Sequence[Mapping[float, Course]],
    unstable: Sequence[Mapping[float, Course]],
    num_steps: int,
) -> str:
    """Of compared rates: which are stable, which are not, and which of the stable ones are at the edge."""
    good = [one[1.0].rate for one in sound]
    bad = [one[1.0].rate for one in unstable]
    said = (
        f"{len(good)} of {len(good) + len(bad)} rates are stable over {num_steps} steps ({said_of(good[0])} to "
        f"{said_of(good[-1])})"
    )
    if bad:
        where = (
            f"from {said_of(bad[0])} on"
            if bad[0] > good[-1]
            else f"at {', '.join(map(said_of, bad))}"
        )
        said += f"; {where} the loss goes up"
    factors = sorted({factor for one in sound for factor in one if factor > 1})
    edges = {
        factor: [said_of(one[1.0].rate) for one in sound if _edge(one) == factor]
        for factor in factors
    }
    lines = [
        f"at {f:g} times {', '.join(rates)} the loss goes up" for f, rates in edges.items() if rates
    ]
    if factors and not lines:
        lines = [f"so are {' and '.join(f'{f:g}' for f in factors)} times each"]
    return "; ".join([said, *lines]) + "."
