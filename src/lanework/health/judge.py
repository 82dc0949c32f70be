"""Judging the gate before training: from numbers to a level, a sentence and what to do.

Owns `Item` and one small function for each thing that is looked at in a network before its first step. Sees numbers only, no arrays of a training. Where a
threshold is not from its source, it is set so that sound networks of every shipped kind pass. Must not import `recipes`,
`models`, `data` or anything above.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lanework.report import units

__all__ = ["LEVELS", "Item", "banded", "said_of", "strained", "worst"]

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
        strain: How near it is to a warning: 0 far, 1 at the limit, more beyond. Of several that are told as one, the most strained
            speaks.
    """

    name: str
    level: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    sentence: str = ""
    advice: str = ""
    source: str = ""
    arm: str = ""
    strain: float = 0.0


def worst(levels: Sequence[str]) -> str:
    """The worst of some levels; `pass` where there is none.

    Example:
        >>> worst(["pass", "fail", "warn"])
        'fail'
    """
    return max(levels, key=LEVELS.index, default="pass")


def banded(value: float, *, warn: float, fail: float) -> str:
    """The level of a number of which less is better; what is not a number fails."""
    if not value <= fail:
        return "fail"
    return "pass" if value <= warn else "warn"


MOST_STRAIN: Final = 1e9


def strained(value: float, *, warn: float) -> float:
    """How much of the way to a warning a number has gone, finite whatever it is.

    Example:
        >>> strained(0.5, warn=2.0), strained(math.nan, warn=2.0)
        (0.25, 1000000000.0)
    """
    return min(max(0.0, value / warn), MOST_STRAIN) if math.isfinite(value) else MOST_STRAIN


def said_of(value: float) -> str:
    """A number in words of three digits."""
    return units.short(value) if math.isfinite(value) else str(value)


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
    limits = (NATS_WARN, NATS_FAIL) if is_entropy else (TIMES_WARN, TIMES_FAIL)
    excess = loss - chance if is_entropy else loss / max(chance, 1e-12)
    level = banded(excess, warn=limits[0], fail=limits[1])
    against = f"{said_of(loss)} at the start, {said_of(neutral)} for outputs of 0, {said_of(prior)} for the best constant answer"
    if not math.isfinite(loss):
        said, advice = f"The loss is not finite before the first step: {against}.", _TOO_HIGH
    elif level != "pass":
        said, advice = f"The loss starts far above chance: {against}.", _TOO_HIGH
    elif loss < LOW_SHARE * min(neutral, prior):
        level, said = "warn", f"The loss starts below chance: {against}."
        advice = "Look whether the target is among the inputs, and whether the loss is the one that is meant."
    else:
        said, advice = f"The loss starts near chance: {against}.", ""
    source, strain = f"{CS231N}; {KARPATHY}", strained(excess, warn=limits[0])
    return Item("initial_loss", level, numbers, said, advice, source, strain=strain)


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
    strain = min(strained(gap, warn=IMBALANCE), strained(distance, warn=LOW_SHARE))
    what = "the mean of the target" if is_regression else "the shares of the classes"
    explain = "explains" if is_regression else "explain"
    if not is_far:
        said = f"Starting at {what} would save {said_of(100 * max(gap, 0.0))} % of the loss of outputs of 0."
        return Item("output_bias", "pass", numbers, said, "", KARPATHY, strain=strain)
    advice = "Set model.output_bias: base_rate" + (
        ", or scale the target (data.scale_target: true)." if is_regression else "."
    )
    said = f"{what[0].upper()}{what[1:]} {explain} {said_of(100 * gap)} % of the loss, and the output does not start there."
    return Item("output_bias", "warn", numbers, said, advice, KARPATHY, strain=strain)


STD_WARN, STD_FAIL = 1e2, 1e4
GRAD_WARN, GRAD_FAIL = 1e3, 1e5


def layer_variance(
    names: Sequence[str],
    *,
    activations: Sequence[float],
    gradients: Sequence[float],
    spread: float = 1.0,
) -> Item:
    """How what layers give, and the gradient there, changes with depth before the first step.

    The last layer is the output and may start at 0; a branch may give 0 where others lead around it. Signals that are gone fail.

    Args:
        names: The layers, in forward order.
        activations: Standard deviation of what each gives.
        gradients: Root mean square of the gradient of a sample's loss there.
        spread: How far outputs of different samples are apart.

    Source:
        Glorot and Bengio 2010, section 4.2: both variances should stay about the same from layer to layer. They say no limit; ours are
        ratios that single precision bears and no shipped network comes near.
    """
    forward_ratio, backward_ratio = _ratio(activations[:-1]), _ratio(gradients)
    numbers = {"activation_ratio": forward_ratio, "gradient_ratio": backward_ratio}
    numbers |= {f"activation_std.{n}": a for n, a in zip(names, activations, strict=True)}
    numbers |= {f"gradient_rms.{n}": g for n, g in zip(names, gradients, strict=True)}
    forward = banded(forward_ratio, warn=STD_WARN, fail=STD_FAIL)
    backward = banded(backward_ratio, warn=GRAD_WARN, fail=GRAD_FAIL)
    strain = max(strained(forward_ratio, warn=STD_WARN), strained(backward_ratio, warn=GRAD_WARN))
    said = (
        f"From layer to layer the spread of activations changes {said_of(forward_ratio)} times at most, that of "
        f"gradients {said_of(backward_ratio)} times."
    )
    level, advice = worst([forward, backward]), ""
    gone = _gone(names, activations=activations, gradients=gradients, spread=spread)
    if gone:
        level, said, strain = "fail", gone, MOST_STRAIN
        advice = (
            "Start from random weights (model.init: auto), and look for units that are dead from the start (all inputs of a ReLU below "
            "0) and for gradients that are cut off."
        )
    elif level != "pass":
        grows = activations[max(0, len(activations) - 2)] > activations[0]
        word = "explode" if grows and forward != "pass" else "vanish"
        said = f"Signals {word} with depth. {said}"
        advice = "Use model.init: auto, an activation of the ReLU family, or a normalisation (model.norm)."
    return Item("layer_variance", level, numbers, said, advice, GLOROT, strain=strain)


def _ratio(values: Sequence[float]) -> float:
    """Largest over least of what is above 0; NaN where something is not finite."""
    if not all(map(math.isfinite, values)):
        return math.nan
    known = [value for value in values if value > 0] or [1.0]
    return max(known) / min(known)


def _gone(
    names: Sequence[str],
    *,
    activations: Sequence[float],
    gradients: Sequence[float],
    spread: float,
) -> str:
    """Where signals end altogether, in a sentence; empty where they get through.

    Of a network whose output layer starts at 0 (it learns in the first step) the gradients before it say nothing.
    """
    starts_at_0 = len(names) > 1 and activations[-2] > 0 and gradients[-1] > 0
    starts_at_0 &= activations[-1] == 0 or spread == 0
    for place, name in enumerate(names[:-1]):
        is_end = not any(activations[place:])
        is_cut = activations[place] == 0 and not any(gradients[: place + 1]) and not starts_at_0
        if is_end or is_cut:
            return f"What {name} gives is the same for all units and samples (spread 0), and no signal leads around it."
    if len(names) > 1 and gradients[0] == 0 and not starts_at_0:
        until = next((n for n, value in zip(names, gradients, strict=True) if value), "the loss")
        return f"No gradient gets from {until} back to {names[0]} (it is 0 there)."
    return ""


def symmetry(*, twins: Sequence[str], idle: Sequence[str], num_kernels: int) -> Item:
    """Whether units of a layer differ and every tensor learns, after a short training.

    Args:
        twins: Tensors all of whose units are equal.
        idle: Tensors that did not move at all.
        num_kernels: Tensors that hold weights of units.
    """
    numbers = {
        "twins": float(len(twins)),
        "idle": float(len(idle)),
        "kernels": float(num_kernels),
    }
    source = f"{GOODFELLOW.replace('11', '8')}, section 8.4"
    if twins:
        said = f"After a short training all units of {_listed(twins)} are still the same: they learn one and the same thing."
        advice = "Start from random weights: model.init: auto instead of zeros or a constant."
        return Item("symmetry", "fail", numbers, said, advice, source)
    if idle:
        said = (
            f"{_listed(idle)} ({len(idle)} of {num_kernels} tensors of weights) did not move in a short training: no gradient gets "
            "there."
        )
        advice = "Look for units that are dead from the start (all inputs of a ReLU below 0), or weights the output does not use."
        level = "fail" if 2 * len(idle) >= num_kernels else "warn"
        return Item("symmetry", level, numbers, said, advice, source)
    said = f"Units differ and weights move in all of {num_kernels} layers."
    return Item("symmetry", "pass", numbers, said, "", source)


def _listed(names: Sequence[str], limit: int = 3) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


# ---- outputs and loss ------------------------------------------------------------------------

WITHIN: Final = 1e-3
MISSED: Final = 0.01
"""Share of targets out of reach that is told: fewer are outliers that no study hangs on."""


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
    """Whether what the network can give is what the loss takes; everything that speaks against it, worst first.

    Args:
        reach: Where outputs get.
        takes_scores: Whether the loss takes scores of any size (cross-entropies, hinge), not values.
    """
    numbers = {"low": reach.low, "high": reach.high, "row_sum_error": reach.row_sum_error}
    numbers |= {"outside": reach.outside}
    numbers |= {"outputs": float(reach.num_outputs), "wanted": float(reach.num_wanted)}
    source = f"{GOODFELLOW.replace('chapter 11', 'section 6.2.2')}"
    found = [
        *_unable(reach, takes_scores=takes_scores),
        *_too_many(reach),
    ]
    if not found:
        limits = (
            f"(from {said_of(reach.low)} to {said_of(reach.high)} under weights far from the start)"
        )
        said = (
            f"Outputs take any sign and size {limits}, as the loss expects."
            if takes_scores
            else f"Outputs reach all targets {limits}."
        )
        return Item("outputs", "pass", numbers, said, "", source)
    found.sort(key=lambda one: -LEVELS.index(one[0]))
    levels, sentences, advices = zip(*found, strict=True)
    said, advice = " ".join(sentences), " ".join(dict.fromkeys(advices))
    return Item("outputs", worst(levels), numbers, said, advice, source)


def _too_many(reach: Reach) -> list[tuple[str, str, str]]:
    """More outputs than the data asks for: level, sentence, advice."""
    if reach.num_outputs <= reach.num_wanted:
        return []
    said = f"The network has {reach.num_outputs} outputs, the data asks for {reach.num_wanted}."
    return [("warn", said, "Leave model.num_outputs out.")]


def _unable(reach: Reach, *, takes_scores: bool) -> list[tuple[str, str, str]]:
    """What outputs cannot give although the loss or the targets ask for it: level, sentence, advice."""
    if not reach.high - reach.low > 0.0:
        said = f"The output is {said_of(reach.low)} whatever the weights are."
        return [("fail", said, "One output under a softmax is always 1: take it off.")]
    limits = f"between {said_of(reach.low)} and {said_of(reach.high)}, whatever the weights are"
    is_unit = reach.low >= -WITHIN and reach.high <= 1.0 + WITHIN
    is_narrow = reach.low >= -1.0 - WITHIN and reach.high <= 1.0 + WITHIN
    is_positive = reach.low >= 0.0
    if not (is_narrow or is_positive):
        return []
    if not takes_scores:
        said = f"Outputs lie {limits}; {said_of(100 * reach.outside)} % of the targets do not."
        advice = "Take the activation off the output (none), or scale the target."
        return [("fail", said, advice)] if reach.outside > MISSED else []
    advice = "Take the activation off the output: the loss has its own."
    if is_unit and reach.row_sum_error < WITHIN and reach.num_outputs > 1:
        said = (
            f"Outputs are probabilities already (they sum to 1 within {said_of(reach.row_sum_error)}), and the loss takes their softmax "
            "once more."
        )
        return [("fail", said, "Take the softmax off the output: the loss has its own.")]
    said = f"Outputs lie {limits}, and the loss takes scores of any size: it can never get small."
    return [("fail", said, advice)]
