"""What a classifier answers on the validation part: how often each class, whatever the right one is.

Owns pure functions that ride on the evaluation of a segment, as `activations` does. Must not import `recipes`, `models`, `data` or
anything above.
"""

from __future__ import annotations

from typing import TypeAlias

import jax
import jax.numpy as jnp

__all__ = ["STATISTICS", "add", "finish", "zero"]

Array: TypeAlias = jax.Array

STATISTICS = ("predicted_share", "commonest_answer")
"""What `finish` tells of a run."""


def zero(num_classes: int) -> Array:
    """Answers before the first sample: how often each class was given and how often it was right to, [2, class]."""
    return jnp.zeros((2, num_classes))


def add(counts: Array, guess: Array, targets: Array, *, weight: Array) -> Array:
    """Counts with one more chunk.

    Args:
        counts: Counts so far.
        guess: Classes that were answered, [batch].
        targets: Classes that are right, [batch].
        weight: [batch]; samples of weight 0 count for nothing.
    """
    classes = jnp.arange(counts.shape[1])
    shown = (weight > 0).astype(counts.dtype)[:, None]
    rows = [(one.reshape(-1)[:, None] == classes[None, :]) * shown for one in (guess, targets)]
    return counts + jnp.stack([jnp.sum(row, axis=0) for row in rows])


def finish(counts: Array) -> dict[str, Array]:
    """`STATISTICS`, each a scalar.

    `predicted_share` is the share of the classes, among those that occur, which are answered at least a tenth as often as they
    occur; `commonest_answer` is the share of the samples that got the commonest answer.
    """
    given, right = counts
    occurs = right > 0
    is_answered = occurs & (given >= 0.1 * right)
    total = jnp.maximum(jnp.sum(given), 1.0)
    return {
        "predicted_share": jnp.sum(is_answered) / jnp.maximum(jnp.sum(occurs), 1),
        "commonest_answer": jnp.max(given) / total,
    }
