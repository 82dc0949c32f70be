"""Metrics: added up over padded chunks, finished into numbers in the unit of the target.

Must not import `lanework.models`, `lanework.data` or anything above.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np

from lanework.recipes.choices import Array, refuse

Sums: TypeAlias = dict[str, Array]


class Metrics(NamedTuple):
    """What an evaluation adds up and what it says in the end.

    Attributes:
        names: Names of the finished metrics, `loss` first.
        zero: `() -> sums` of no chunk.
        add: `(sums, outputs [batch, k], targets, losses [batch], weights [batch]) -> sums` with one more chunk. Samples
            of weight 0 count for nothing, even where their outputs are not finite.
        finish: `sums -> {name: scalar}`. Losses that are not finite stay visible.
    """

    names: tuple[str, ...]
    zero: Callable[[], Sums]
    add: Callable[[Sums, Array, Array, Array, Array], Sums]
    finish: Callable[[Sums], Sums]


def metrics(
    task: str,
    *,
    num_outputs: int,
    target_scale: Sequence[float] = (),
    threshold: float = 0.0,
    is_stepwise: bool = False,
) -> Metrics:
    """Metrics of a task: loss and accuracy (of time steps perplexity and bits too), or loss, rmse, mae and r2.

    Args:
        task: `classification` or `regression`.
        num_outputs: Number of classes, or of targets of a regression.
        target_scale: Units of the target per unit of the output, for each target; 1 when empty.
        threshold: With one output: above it, the answer is class 1. 0 suits logits, 0.5 suits probabilities and squared
            error; with more than two classes the output is then the class as a number, and the nearest one the answer.
        is_stepwise: The samples are time steps of sequences, as in a language model; perplexity and bits are those of
            cross-entropy.

    Returns:
        The functions. Means over several targets give each the same say; r2 too.

    Raises:
        SpecError: There is no such task.

    Example:
        >>> import jax.numpy as jnp
        >>> table = metrics("classification", num_outputs=3)
        >>> outputs, targets = jnp.eye(3), jnp.array([0, 1, 0])
        >>> sums = table.add(
        ...     table.zero(), outputs, targets, jnp.ones(3), jnp.array([1.0, 1.0, 0.0])
        ... )
        >>> float(table.finish(sums)["accuracy"])  # the third sample has weight 0
        1.0
    """
    if task == "classification" and is_stepwise:
        names = ("loss", "accuracy", "perplexity", "bits")
        return Metrics(names, _zero_classes, _classifier(threshold, num_outputs), _finish_steps)
    if task == "classification":
        add = _classifier(threshold, num_outputs)
        return Metrics(("loss", "accuracy"), _zero_classes, add, _finish_classes)
    if task != "regression":
        refuse("data.task", f"must be classification or regression, got {task!r}. Use one of them.")
    scale = np.broadcast_to(np.abs(np.asarray(target_scale or (1.0,), np.float32)), (num_outputs,))

    def zero() -> Sums:
        sums = {"weight": jnp.zeros(()), "loss": jnp.zeros(())}
        per_target = ("squared", "absolute", "target_mean", "target_spread")
        return sums | {name: jnp.zeros((num_outputs,)) for name in per_target}

    def finish(sums: Sums) -> Sums:
        squared, weight = sums["squared"], sums["weight"]
        return {
            "loss": sums["loss"] / weight,
            "rmse": jnp.sqrt(jnp.mean(squared / weight * scale**2)),
            "mae": jnp.mean(sums["absolute"] / weight * scale),
            "r2": jnp.mean(1.0 - squared / sums["target_spread"]),
        }

    return Metrics(("loss", "rmse", "mae", "r2"), zero, _add_regression, finish)


def _weighted_sum(values: Array, weights: Array) -> Array:
    """Sum over the batch in which weight 0 hides even NaN."""
    column = weights.reshape((-1,) + (1,) * (values.ndim - 1))
    return jnp.sum(jnp.where(column > 0, values * column, 0.0), axis=0)


def _zero_classes() -> Sums:
    return {name: jnp.zeros(()) for name in ("weight", "loss", "correct")}


def answers(outputs: Array, *, threshold: float, num_classes: int) -> Array:
    """The class that each row of outputs means, [batch]; outputs beyond the classes are no answers.

    Args:
        outputs: [batch, output].
        threshold: As in `metrics`.
        num_classes: Number of classes.
    """
    if outputs.shape[-1] > 1:
        return jnp.argmax(outputs[:, :num_classes], axis=-1)
    if num_classes > 2 and threshold > 0:
        number = jnp.clip(jnp.round(outputs[:, 0]), 0, num_classes - 1)
        return jnp.where(jnp.isnan(number), -1, number)
    return outputs[:, 0] > threshold


def _classifier(
    threshold: float, num_classes: int
) -> Callable[[Sums, Array, Array, Array, Array], Sums]:
    def add(sums: Sums, outputs: Array, targets: Array, losses: Array, weights: Array) -> Sums:
        guess = answers(outputs, threshold=threshold, num_classes=num_classes)
        is_right = (guess.astype(targets.dtype) == targets).astype(losses.dtype)
        return {
            "weight": sums["weight"] + jnp.sum(weights),
            "loss": sums["loss"] + _weighted_sum(losses, weights),
            "correct": sums["correct"] + _weighted_sum(is_right, weights),
        }

    return add


def _finish_classes(sums: Sums) -> Sums:
    weight = sums["weight"]
    return {"loss": sums["loss"] / weight, "accuracy": sums["correct"] / weight}


def _finish_steps(sums: Sums) -> Sums:
    found = _finish_classes(sums)
    loss = found["loss"]
    return {**found, "perplexity": jnp.exp(loss), "bits": loss / np.log(2.0)}


def _add_regression(
    sums: Sums, outputs: Array, targets: Array, losses: Array, weights: Array
) -> Sums:
    """Errors add up; the spread of the target is joined chunk by chunk around the running mean (Chan et al. 1979)."""
    error = outputs - targets
    before, here = sums["weight"], jnp.sum(weights)
    total = before + here
    mean = _weighted_sum(targets, weights) / jnp.maximum(here, 1e-30)
    spread = _weighted_sum(jnp.square(targets - mean[None, :]), weights)
    apart = mean - sums["target_mean"]
    share = here / jnp.maximum(total, 1e-30)
    return {
        "weight": total,
        "loss": sums["loss"] + _weighted_sum(losses, weights),
        "squared": sums["squared"] + _weighted_sum(jnp.square(error), weights),
        "absolute": sums["absolute"] + _weighted_sum(jnp.abs(error), weights),
        "target_mean": sums["target_mean"] + apart * share,
        "target_spread": sums["target_spread"] + spread + jnp.square(apart) * before * share,
    }
