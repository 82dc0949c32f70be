"""Judging the gate before training: from numbers to a level, a sentence and what to do.

Owns `Item` and one small function for each thing that is looked at. Sees numbers only, no arrays of a training. Where a
threshold is not from its source, it is set so that sound networks of every shipped kind pass. Must not import `recipes`,
`models`, `data` or anything above.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

__all__ = ["LEVELS", "Item", "worst"]

LEVELS: Final = ("pass", "warn", "fail")
CS231N: Final = "CS231n notes, Neural Networks Part 3"
KARPATHY: Final = "Karpathy 2019, A recipe for training neural networks"
PLAYBOOK: Final = "Google Research, Deep learning tuning playbook"
GLOROT: Final = (
    "Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward networks"
)
GOODFELLOW: Final = "Goodfellow, Bengio and Courville 2016, Deep learning, chapter 11"


@dataclass(frozen=True)
class Item:
    """One thing that was looked at.

    Attributes:
        name: What, as a code: `initial_loss`.
        level: `pass`, `warn` or `fail`.
        numbers: What was measured, by name.
        sentence: What they say.
        advice: What to do; empty where nothing is to be done.
        source: Where the test comes from.
        arm: Which configurations are meant; empty for all of them.
    """

    name: str
    level: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    sentence: str = ""
    advice: str = ""
    source: str = ""
    arm: str = ""


def worst(levels: Sequence[str]) -> str:
    """The worst of some levels; `pass` where there is none.

    Example:
        >>> worst(["pass", "fail", "warn"])
        'fail'
    """
    return max(levels, key=LEVELS.index, default="pass")


def _banded(value: float, *, warn: float, fail: float) -> str:
    """The level of a number of which less is better; what is not a number fails."""
    if not value <= fail:
        return "fail"
    return "pass" if value <= warn else "warn"


def _said(value: float) -> str:
    return f"{value:.3g}"


# ---- the network at its start ----------------------------------------------------------------

NATS_WARN, NATS_FAIL = 3.0, 12.0
TIMES_WARN, TIMES_FAIL = 6.0, 50.0
LOW_SHARE: Final = 0.5


def initial_loss(*, loss: float, neutral: float, prior: float, is_entropy: bool) -> Item:
    """Loss of the untrained network, regularisation off, against that of outputs that know nothing.

    Args:
        loss: Mean over training samples.
        neutral: The loss where all outputs are 0: ln C for a softmax over C classes.
        prior: The least loss of constant outputs: entropy of the class shares, or the target's variance.
        is_entropy: Whether the loss is in nats, so that differences count and not ratios.
    """
    numbers = {"loss": loss, "neutral": neutral, "prior": prior}
    chance = max(neutral, prior)
    if is_entropy:
        level = _banded(loss - chance, warn=NATS_WARN, fail=NATS_FAIL)
    else:
        level = _banded(loss / max(chance, 1e-12), warn=TIMES_WARN, fail=TIMES_FAIL)
    against = f"{_said(loss)} at the start, {_said(neutral)} for outputs of 0, {_said(prior)} for the best constant answer"
    if not math.isfinite(loss):
        said, advice = f"The loss is not finite before the first step: {against}.", _TOO_HIGH
    elif level != "pass":
        said, advice = f"The loss starts far above chance: {against}.", _TOO_HIGH
    elif loss < LOW_SHARE * min(neutral, prior):
        level, said = "warn", f"The loss starts below chance: {against}."
        advice = "Look whether the target is among the inputs, and whether the loss is the one that is meant."
    else:
        said, advice = f"The loss starts near chance: {against}.", ""
    return Item("initial_loss", level, numbers, said, advice, f"{CS231N}; {KARPATHY}")


_TOO_HIGH: Final = "Scale the inputs (data.prepare: auto) and the target, or start from smaller weights (model.init: auto)."
IMBALANCE: Final = 0.6


def output_bias(*, loss: float, neutral: float, prior: float, is_regression: bool) -> Item:
    """Whether the output starts at the base rate, where that matters.

    The gap between outputs of 0 and the best constant ones is what the first steps are spent on.
    """
    gap = (neutral - prior) / max(neutral, 1e-12)
    distance = (loss - prior) / max(neutral, 1e-12)
    numbers = {"gap": gap, "distance": distance}
    is_far = gap > IMBALANCE and distance > LOW_SHARE
    what = "the mean of the target" if is_regression else "the shares of the classes"
    if not is_far:
        said = f"Starting at {what} would save {_said(100 * max(gap, 0.0))} % of the loss of outputs of 0."
        return Item("output_bias", "pass", numbers, said, "", KARPATHY)
    advice = "Set model.output_bias: base_rate" + (
        ", or scale the target (data.scale_target: true)." if is_regression else "."
    )
    said = f"{what[0].upper()}{what[1:]} explain {_said(100 * gap)} % of the loss, and the output does not start there."
    return Item("output_bias", "warn", numbers, said, advice, KARPATHY)


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
        said = f"Regularisation is on and adds {_said(value)} to the loss."
        advice = (
            "Look whether the weights are all 0, or named like biases, which no penalty touches."
        )
        return Item("regularisation", "fail", numbers, said, advice, source)
    said = f"Regularisation adds {_said(value)} to a loss of {_said(loss)}."
    if not error <= GRADIENT_WARN:
        said += f" Its gradient is wrong by {_said(error)}."
        return Item("regularisation", "fail", numbers, said, "Report this: it is ours.", source)
    if value > PENALTY_WARN * max(loss, 1e-12):
        advice = "Make l1 or l2 smaller by a factor of 10, or be sure that you mean it."
        return Item(
            "regularisation", "warn", numbers, f"{said} It outweighs the data.", advice, source
        )
    return Item("regularisation", "pass", numbers, said, "", source)


PENALTY_WARN: Final = 2.0
STD_WARN, STD_FAIL = 1e2, 1e4
GRAD_WARN, GRAD_FAIL = 1e3, 1e5


def layer_variance(
    names: Sequence[str], *, activations: Sequence[float], gradients: Sequence[float]
) -> Item:
    """How what layers give, and the gradient there, changes with depth before the first step.

    The last layer is the output and may start at 0.

    Args:
        names: The layers, in forward order.
        activations: Standard deviation of what each gives.
        gradients: Root mean square of the gradient of a sample's loss there.
    """
    inner = [value for value in activations[:-1] if value > 0] or [1.0]
    back = [value for value in gradients if value > 0] or [1.0]
    forward_ratio, backward_ratio = max(inner) / min(inner), max(back) / min(back)
    numbers = {"activation_ratio": forward_ratio, "gradient_ratio": backward_ratio}
    numbers |= {f"activation_std.{n}": a for n, a in zip(names, activations, strict=True)}
    numbers |= {f"gradient_rms.{n}": g for n, g in zip(names, gradients, strict=True)}
    forward = _banded(forward_ratio, warn=STD_WARN, fail=STD_FAIL)
    backward = _banded(backward_ratio, warn=GRAD_WARN, fail=GRAD_FAIL)
    is_finite = all(map(math.isfinite, [*activations, *gradients]))
    level = worst([forward, backward]) if is_finite else "fail"
    said = (
        f"From layer to layer the spread of activations changes {_said(forward_ratio)} times at most, that of "
        f"gradients {_said(backward_ratio)} times."
    )
    advice = ""
    if level != "pass":
        grows = activations[max(0, len(activations) - 2)] > activations[0]
        word = "explode" if grows and forward != "pass" else "vanish"
        said = f"Signals {word} with depth. {said}"
        advice = "Use model.init: auto, an activation of the ReLU family, or a normalisation (model.norm)."
    return Item("layer_variance", level, numbers, said, advice, GLOROT)


def symmetry(*, twins: Sequence[str], idle: Sequence[str], num_kernels: int) -> Item:
    """Whether units of a layer differ and every tensor learns, after a short training.

    Args:
        twins: Tensors all of whose units are equal.
        idle: Tensors that did not move at all.
        num_kernels: Tensors that hold weights of units.
    """
    numbers = {"twins": float(len(twins)), "idle": float(len(idle))}
    source = f"{GOODFELLOW.replace('11', '8')}, section 8.4"
    if twins:
        said = f"After a short training all units of {_listed(twins)} are still the same: they learn one and the same thing."
        advice = "Start from random weights: model.init: auto instead of zeros or a constant."
        return Item("symmetry", "fail", numbers, said, advice, source)
    if idle:
        said = f"{_listed(idle)} did not move in a short training: no gradient gets there."
        advice = "Look for units that are dead from the start (all inputs of a ReLU below 0), or weights the output does not use."
        level = "fail" if 2 * len(idle) >= num_kernels else "warn"
        return Item("symmetry", level, numbers, said, advice, source)
    return Item("symmetry", "pass", numbers, "Units differ and all weights move.", "", source)


def _listed(names: Sequence[str], limit: int = 3) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


# ---- outputs and loss ------------------------------------------------------------------------

WITHIN: Final = 1e-3


@dataclass(frozen=True)
class Reach:
    """Where outputs get under many different weights, and where targets lie.

    Attributes:
        low: Least output seen.
        high: Largest output seen.
        row_sum_error: Largest distance of the sum of a sample's outputs from 1.
        outside: Share of training targets that outputs within those limits would miss.
        num_outputs: Outputs of the network.
        num_wanted: Outputs that the data asks for.
    """

    low: float
    high: float
    row_sum_error: float
    outside: float
    num_outputs: int
    num_wanted: int


def outputs(reach: Reach, *, takes_scores: bool) -> Item:
    """Whether what the network can give is what the loss takes.

    Args:
        reach: Where outputs get.
        takes_scores: Whether the loss takes scores of any size (cross-entropies, hinge), not values.
    """
    numbers = {"low": reach.low, "high": reach.high, "row_sum_error": reach.row_sum_error}
    numbers |= {"outside": reach.outside}
    source = f"{GOODFELLOW.replace('chapter 11', 'section 6.2.2')}"

    def found(level: str, said: str, advice: str) -> Item:
        return Item("outputs", level, numbers, said, advice, source)

    if not reach.high - reach.low > 0.0:
        said = f"The output is {_said(reach.low)} whatever the weights are."
        return found("fail", said, "One output under a softmax is always 1: take it off.")
    if reach.num_outputs > reach.num_wanted:
        said = f"The network has {reach.num_outputs} outputs, the data asks for {reach.num_wanted}."
        return found("warn", said, "Leave model.num_outputs out.")
    limits = f"between {_said(reach.low)} and {_said(reach.high)}, whatever the weights are"
    is_unit = reach.low >= -WITHIN and reach.high <= 1.0 + WITHIN
    is_narrow = reach.low >= -1.0 - WITHIN and reach.high <= 1.0 + WITHIN
    is_positive = reach.low >= 0.0
    if not takes_scores:
        if (is_narrow or is_positive) and reach.outside > 0.01:
            said = f"Outputs lie {limits}; {_said(100 * reach.outside)} % of the targets do not."
            return found(
                "fail", said, "Take the activation off the output (none), or scale the target."
            )
        return found("pass", "Outputs reach all targets.", "")
    if is_unit and reach.row_sum_error < WITHIN and reach.num_outputs > 1:
        said = "Outputs are probabilities already (they sum to 1), and the loss takes their softmax once more."
        return found("fail", said, "Take the softmax off the output: the loss has its own.")
    if is_unit or is_positive or is_narrow:
        said = (
            f"Outputs lie {limits}, and the loss takes scores of any size: it can never get small."
        )
        return found("fail", said, "Take the activation off the output: the loss has its own.")
    return found("pass", "Outputs take any sign and size, as the loss expects.", "")


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
        level = _banded(error, warn=GRADIENT_WARN, fail=GRADIENT_FAIL)
    else:
        level = _banded(error, warn=COARSE_WARN, fail=COARSE_FAIL)
    numbers = {"error": error, "kinks": float(num_kinks), "entries": float(num_entries)}
    numbers |= {"bits": float(bits)} | {f"error.{key}": value for key, value in errors.items()}
    said = f"Largest relative error of {num_entries} gradients against central differences: {_said(error)} ({name})."
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
    said = f"{num_samples} samples, {num_steps} steps of Adam: the loss went to {_said(end)} ({_said(100 * share)} % of chance)."
    level, advice = _banded(share, warn=FITTED, fail=HARDLY), ""
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
    said = f"After {num_steps} steps the loss is {_said(real)} with real inputs and {_said(zeroed)} with zeros."
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
        training: Loss in training mode after a short training.
        evaluation: Loss of the same samples in evaluation mode.
        chance: Loss of the best constant answer.
        has_statistics: Whether the network carries batch statistics.
    """

    noise: float
    loudness: float
    training: float
    evaluation: float
    chance: float
    has_statistics: bool


def modes(seen: Modes) -> Item:
    """Whether training and evaluation mode differ as they should: noise and batch statistics in training only."""
    numbers = {
        "noise": seen.noise,
        "loudness": seen.loudness,
        "training": seen.training,
        "evaluation": seen.evaluation,
    }
    source = "Srivastava et al. 2014, Dropout; Ioffe and Szegedy 2015, Batch normalization"
    losses = f"{_said(seen.training)} in training mode, {_said(seen.evaluation)} at evaluation"

    def found(level: str, said: str, advice: str) -> Item:
        return Item("modes", level, numbers, said, advice, source)

    if not seen.noise <= MIXED:
        said = f"Two evaluations of the same samples differ by {_said(100 * seen.noise)} %: something random is on."
        return found(
            "fail", said, "Switch dropout off at evaluation (deterministic when not training)."
        )
    if not seen.has_statistics and seen.loudness > LOUDER:
        said = f"Outputs at evaluation are {_said(seen.loudness)} times as large as in training on average."
        return found("warn", said, "Scale what dropout keeps: model.dropout_form: inverted.")
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
        said = f"The loss goes up within {num_steps} steps: from {_said(one.start)} to {_said(one.end)} at rate {_said(one.rate)}."
        return found("fail", said, "Lower the rate tenfold, or search for one: lanework rate.")
    if len(rates) > 1:
        said = f"{len(sound)} of {len(rates)} rates are stable over {num_steps} steps"
        if unstable:
            return found("pass", f"{said}; from {_said(unstable[0].rate)} on the loss goes up.")
        return found("pass", f"{said}.")
    (course,) = courses
    edge = [factor for factor in sorted(course) if course[factor].level() == "fail"]
    limit = (
        f"at {edge[0]:g} times the rate the loss goes up"
        if edge
        else "so are 2 and 5 times the rate"
    )
    said = f"Rate {_said(rates[0].rate)} is stable over {num_steps} steps; {limit}."
    if levels == ["warn"]:
        said = f"The loss went up to {_said(rates[0].peak)} before it came down from {_said(rates[0].start)}; {limit}."
        return found("warn", said, "Warm the rate up (schedule with warmup_epochs), or lower it.")
    if 2.0 in edge:
        advice = "Warm up, clip (clip_norm: 1), or halve the rate: it is at the edge."
        return found("warn", said, advice)
    return found("pass", said)
