"""Metrics: sums added up over padded chunks, finished into numbers in the units of the target.

Must not import `lanework.models`, `lanework.data` or anything above.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

Sums: TypeAlias = dict[str, jax.Array]


class Metrics(NamedTuple):
    """What an evaluation adds up and what it says in the end.

    Attributes:
        names: Names of the finished metrics, `loss` first.
        zero: `() -> sums`, all zero: the sums of no chunk.
        add: `(sums, outputs [batch, k], targets, losses [batch], weights [batch]) -> sums`, with one chunk added.
            Samples of weight 0 count for nothing, even where their outputs are not finite.
        finish: `sums -> {name: scalar}`.
    """

    names: tuple[str, ...]
    zero: Callable[[], Sums]
    add: Callable[[Sums, jax.Array, jax.Array, jax.Array, jax.Array], Sums]
    finish: Callable[[Sums], Sums]


def _masked_sum(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Weighted sum over the batch in which weight 0 hides even NaN."""
    shape = (-1,) + (1,) * (values.ndim - 1)
    return jnp.sum(jnp.where(weights.reshape(shape) > 0, values * weights.reshape(shape), 0), axis=0)


def _classification(threshold: float) -> Metrics:
    def zero() -> Sums:
        return {name: jnp.zeros(()) for name in ("weight", "loss", "correct")}

    def add(sums: Sums, outputs: jax.Array, targets: jax.Array, losses: jax.Array, weights: jax.Array) -> Sums:
        if outputs.shape[-1] == 1:
            predicted = (outputs[:, 0] > threshold).astype(targets.dtype)
        else:
            predicted = jnp.argmax(outputs, axis=-1).astype(targets.dtype)
        hit = (predicted == targets).astype(losses.dtype)
        return {
            "weight": sums["weight"] + jnp.sum(weights),
            "loss": sums["loss"] + _masked_sum(losses, weights),
            "correct": sums["correct"] + _masked_sum(hit, weights),
        }

    def finish(sums: Sums) -> Sums:
        return {"loss": sums["loss"] / sums["weight"], "accuracy": sums["correct"] / sums["weight"]}

    return Metrics(("loss", "accuracy"), zero, add, finish)


def _regression(num_outputs: int, scale: np.ndarray) -> Metrics:
    per_output = ("squared", "absolute", "target", "target_squared")

    def zero() -> Sums:
        scalars = {name: jnp.zeros(()) for name in ("weight", "loss")}
        return scalars | {name: jnp.zeros((num_outputs,)) for name in per_output}

    def add(sums: Sums, outputs: jax.Array, targets: jax.Array, losses: jax.Array, weights: jax.Array) -> Sums:
        error = outputs - targets
        chunk = {
            "squared": error * error,
            "absolute": jnp.abs(error),
            "target": targets,
            "target_squared": targets * targets,
            "loss": losses,
        }
        added = {name: sums[name] + _masked_sum(value, weights) for name, value in chunk.items()}
        return added | {"weight": sums["weight"] + jnp.sum(weights)}

    def finish(sums: Sums) -> Sums:
        weight = sums["weight"]
        spread = sums["target_squared"] - sums["target"] ** 2 / weight
        return {
            "loss": sums["loss"] / weight,
            "rmse": jnp.sqrt(jnp.mean(sums["squared"] / weight * scale**2)),
            "mae": jnp.mean(sums["absolute"] / weight * scale),
            "r2": jnp.mean(1.0 - sums["squared"] / spread),
        }

    return Metrics(("loss", "rmse", "mae", "r2"), zero, add, finish)


def metrics(
    task: str, *, num_outputs: int, target_scale: Sequence[float] = (), threshold: float = 0.0
) -> Metrics:
    """Metrics of a task."""
    if task == "classification":
        return _classification(threshold)
    scale = np.abs(np.asarray(target_scale or (1.0,), np.float32))
    return _regression(num_outputs, np.broadcast_to(scale, (num_outputs,)))
