"""Judging the gate's short trainings: gradients, learning by heart, one sample and one answer, both modes, stability of the rate.

Owns one small function for each, as `judge` does for the network at its start. Must not import `recipes`, `models`, `data` or
anything above.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lanework.health.judge import CS231N, GOODFELLOW, KARPATHY, PLAYBOOK, Item, banded, said_of

# ---- gradients -------------------------------------------------------------------------------

GRADIENT_WARN, GRADIENT_FAIL = 1e-4, 1e-2
COARSE_WARN, COARSE_FAIL = 3e-2, 3e-1
"""The bands of a network that computes in single precision whatever it is given; a factor of 2 in a gradient is still told."""


def gradient(errors: Mapping[str, float], *, num_kinks: int, num_entries: int, bits: int) -> Item:
    """Gradients against central differences.

    Args:
        errors: Largest symmetric relative error by tensor, entries at kinks left out.
        num_kinks: Entries left out.
        num_entries: Entries that were tried.
        bits: Precision in which the network computed, 64 or less.
    """
    name, error = max(errors.items(), key=lambda pair: _nan_last(pair[1]), default=("", 0.0))
    if bits >= 64:
        level = banded(error, warn=GRADIENT_WARN, fail=GRADIENT_FAIL)
    else:
        level = banded(error, warn=COARSE_WARN, fail=COARSE_FAIL)
    numbers = {"error": error, "kinks": float(num_kinks), "entries": float(num_entries)}
    numbers |= {"bits": float(bits)} | {f"error.{key}": value for key, value in errors.items()}
    said = f"Largest relative error of {num_entries} gradients against central differences: {said_of(error)} ({name})."
    if num_kinks:
        said += f" {num_kinks} more lay at a kink."
    if bits < 64:
        said += f" The network computes in {bits} bits, so the bands are wider."
    advice = ""
    if level == "fail":
        said = f"The gradient of {name} is wrong. {said}"
        advice = "Look at hand-written gradients (custom_vjp, stop_gradient) on the way from it to the loss."
    elif level == "warn":
        advice = "Deep networks and strong curvature can do that; a hand-written gradient should do better."
    return Item("gradient", level, numbers, said, advice, CS231N)


def _nan_last(value: float) -> float:
    return math.inf if math.isnan(value) else value


PENALTY_WARN: Final = 2.0


def penalty(*, value: float, loss: float, error: float) -> Item:
    """Whether regularisation raises the loss, by an amount that leaves the data a say.

    Args:
        value: The penalty on the weights at the start.
        loss: The loss of the data there.
        error: Largest relative error of the penalty's gradient.
    """
    numbers = {"penalty": value, "loss": loss, "gradient_error": error}
    source = CS231N
    if not (math.isfinite(value) and value > 0.0):
        said = f"Regularisation is on and adds {said_of(value)} to the loss."
        advice = (
            "Look whether the weights are all 0, or named like biases, which no penalty touches."
        )
        return Item("regularisation", "fail", numbers, said, advice, source)
    said = f"Regularisation adds {said_of(value)} to a loss of {said_of(loss)}."
    if not error <= GRADIENT_WARN:
        said += f" Its gradient is wrong by {said_of(error)}."
        return Item("regularisation", "fail", numbers, said, "Report this: it is ours.", source)
    if value > PENALTY_WARN * max(loss, 1e-12):
        advice = "Make l1 or l2 smaller by a factor of 10, or be sure that you mean it."
        return Item(
            "regularisation", "warn", numbers, f"{said} It outweighs the data.", advice, source
        )
    return Item("regularisation", "pass", numbers, said, "", source)


# ---- short trainings -------------------------------------------------------------------------

FITTED, HARDLY = 0.2, 0.6


def overfit(
    *, start: float, end: float, is_falling: bool, num_samples: int, num_steps: int
) -> Item:
    """Whether a handful of samples can be learned by heart, regularisation off.

    Args:
        start: Loss of the best constant answer on them.
        end: Loss after the training, the best of a few rates.
        is_falling: Whether it still fell clearly at the end.
        num_samples: How many they are.
        num_steps: How long it was trained.
    """
    share = end / max(start, 1e-12)
    numbers = {"chance": start, "end": end, "share": share, "samples": float(num_samples)}
    said = f"{num_samples} samples, {num_steps} steps of Adam: the loss went to {said_of(end)} ({said_of(100 * share)} % of chance)."
    level, advice = banded(share, warn=FITTED, fail=HARDLY), ""
    if level == "warn" and is_falling:
        level, said = "pass", f"{said} It is still falling."
    elif level == "fail" and is_falling and share < 1.0:
        level, said = "warn", f"{said} It falls, but slowly."
    if level != "pass":
        advice = (
            "A network that cannot learn a handful by heart has a fault: look at the loss, the output activation, the gradient, the "
            "labels, the scale of the inputs."
        )
    return Item("overfit", level, numbers, said, advice, f"{CS231N}; {KARPATHY}; {GOODFELLOW}")


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
    if real < zeroed - BETTER * abs(zeroed):
        return Item("inputs_matter", "pass", numbers, said, "", KARPATHY)
    return Item("inputs_matter", "warn", numbers, said, advice, KARPATHY)


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
    where += ["at evaluation"] if not evaluation <= MIXED else []
    where += ["in training"] if not (has_statistics or training <= MIXED) else []
    if where:
        said = (
            f"The output of a sample depends on other samples of the batch {' and '.join(where)}."
        )
        return Item("batch_mixing", "fail", numbers, said, advice, KARPATHY)
    said = "The output of a sample depends on that sample only"
    exempt = training > MIXED
    said += " (at evaluation; batch statistics mix in training, as they should)." if exempt else "."
    return Item("batch_mixing", "pass", numbers, said, "", KARPATHY)


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

    def found(level: str, said: str, advice: str) -> Item:
        return Item("modes", level, numbers, said, advice, source)

    if not seen.noise <= MIXED:
        said = f"Two evaluations of the same samples differ by {said_of(100 * seen.noise)} %: something random is on."
        return found(
            "fail", said, "Switch dropout off at evaluation (deterministic when not training)."
        )
    if not seen.has_statistics and seen.loudness > LOUDER:
        said = f"Outputs at evaluation are {said_of(seen.loudness)} times as large as in training on average."
        return found("warn", said, "Scale what dropout keeps: model.dropout_form: inverted.")
    if seen.training is None or seen.evaluation is None:
        return found(
            "pass",
            "Nothing random is on at evaluation, and outputs are as large as in training.",
            "",
        )
    numbers |= {"training": seen.training, "evaluation": seen.evaluation}
    losses = f"{said_of(seen.training)} in training mode, {said_of(seen.evaluation)} at evaluation"
    is_apart = seen.evaluation > LOSSES_APART * seen.training and seen.evaluation > seen.chance
    if not math.isfinite(seen.evaluation) or is_apart:
        said = f"The same samples have quite another loss in the two modes: {losses}."
        advice = "Batch statistics that move too slowly or are not carried do that; a larger batch or a lower norm momentum helps."
        return found("warn", said, advice)
    return found("pass", f"Both modes agree as they should: {losses}.", "")


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
    """Whether the learning rate is one at which training goes down, and how far from instability it is.

    Args:
        courses: For each of some configurations that differ in the rate only: the probe by factor on the rate (1, 2, 5).
        num_steps: How long each probe was.
    """
    rates = sorted((course[1.0] for course in courses), key=lambda one: one.rate)
    levels = [one.level() for one in rates]
    numbers = {
        f"end.x{factor:g}.{c.rate:.3g}": c.end for one in courses for factor, c in one.items()
    }
    numbers |= {"stable": float(levels.count("pass")), "rates": float(len(rates))}
    unstable = [one for one, level in zip(rates, levels, strict=True) if level == "fail"]
    sound = [one for one, level in zip(rates, levels, strict=True) if level != "fail"]
    source = f"{PLAYBOOK}; Wu et al. 2018, How SGD selects the global minima"

    def found(level: str, said: str, advice: str = "") -> Item:
        return Item("stability", level, numbers, said, advice, source)

    if not sound:
        one = rates[0]
        said = f"The loss goes up within {num_steps} steps: from {said_of(one.start)} to {said_of(one.end)} at rate {said_of(one.rate)}."
        return found("fail", said, "Lower the rate tenfold, or search for one: lanework rate.")
    if len(rates) > 1:
        said = f"{len(sound)} of {len(rates)} rates are stable over {num_steps} steps"
        if unstable:
            return found("pass", f"{said}; from {said_of(unstable[0].rate)} on the loss goes up.")
        return found("pass", f"{said}.")
    (course,) = courses
    edge = [factor for factor in sorted(course) if course[factor].level() == "fail"]
    limit = (
        f"at {edge[0]:g} times the rate the loss goes up"
        if edge
        else "so are 2 and 5 times the rate"
    )
    said = f"Rate {said_of(rates[0].rate)} is stable over {num_steps} steps; {limit}."
    if levels == ["warn"]:
        said = f"The loss went up to {said_of(rates[0].peak)} before it came down from {said_of(rates[0].start)}; {limit}."
        return found("warn", said, "Warm the rate up (schedule with warmup_epochs), or lower it.")
    if 2.0 in edge:
        advice = "Warm up, clip (clip_norm: 1), or halve the rate: it is at the edge."
        return found("warn", said, advice)
    return found("pass", said)
