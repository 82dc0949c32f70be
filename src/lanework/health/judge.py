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

__all__ = ["LEVELS", "Item", "banded", "said_of", "worst"]

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


def banded(value: float, *, warn: float, fail: float) -> str:
    """The level of a number of which less is better; what is not a number fails."""
    if not value <= fail:
        return "fail"
    return "pass" if value <= warn else "warn"


def said_of(value: float) -> str:
    """A number in words of three digits."""
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
        level = banded(loss - chance, warn=NATS_WARN, fail=NATS_FAIL)
    else:
        level = banded(loss / max(chance, 1e-12), warn=TIMES_WARN, fail=TIMES_FAIL)
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
        said = f"Starting at {what} would save {said_of(100 * max(gap, 0.0))} % of the loss of outputs of 0."
        return Item("output_bias", "pass", numbers, said, "", KARPATHY)
    advice = "Set model.output_bias: base_rate" + (
        ", or scale the target (data.scale_target: true)." if is_regression else "."
    )
    said = f"{what[0].upper()}{what[1:]} explain {said_of(100 * gap)} % of the loss, and the output does not start there."
    return Item("output_bias", "warn", numbers, said, advice, KARPATHY)


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
    forward = banded(forward_ratio, warn=STD_WARN, fail=STD_FAIL)
    backward = banded(backward_ratio, warn=GRAD_WARN, fail=GRAD_FAIL)
    is_finite = all(map(math.isfinite, [*activations, *gradients]))
    level = worst([forward, backward]) if is_finite else "fail"
    said = (
        f"From layer to layer the spread of activations changes {said_of(forward_ratio)} times at most, that of "
        f"gradients {said_of(backward_ratio)} times."
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
        said = f"The output is {said_of(reach.low)} whatever the weights are."
        return found("fail", said, "One output under a softmax is always 1: take it off.")
    if reach.num_outputs > reach.num_wanted:
        said = f"The network has {reach.num_outputs} outputs, the data asks for {reach.num_wanted}."
        return found("warn", said, "Leave model.num_outputs out.")
    limits = f"between {said_of(reach.low)} and {said_of(reach.high)}, whatever the weights are"
    is_unit = reach.low >= -WITHIN and reach.high <= 1.0 + WITHIN
    is_narrow = reach.low >= -1.0 - WITHIN and reach.high <= 1.0 + WITHIN
    is_positive = reach.low >= 0.0
    if not takes_scores:
        if (is_narrow or is_positive) and reach.outside > 0.01:
            said = f"Outputs lie {limits}; {said_of(100 * reach.outside)} % of the targets do not."
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
