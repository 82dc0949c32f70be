"""Losses: one number per sample from outputs and targets.

Owns the table from loss name to a numerically stable function of raw outputs (logits). Must not import
`lanework.models`, `lanework.data` or anything above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from lanework.recipes.choices import Choice, Hypers, Read, reader

Loss: TypeAlias = Callable[[jax.Array, jax.Array, Hypers], jax.Array]


def _one_hot(targets: jax.Array, outputs: jax.Array) -> jax.Array:
    classes = jax.lax.broadcasted_iota(targets.dtype, outputs.shape, outputs.ndim - 1)
    return (targets[:, None] == classes).astype(outputs.dtype)


def _cross_entropy(outputs: jax.Array, targets: jax.Array, read: Read) -> jax.Array:
    log_probs = jax.nn.log_softmax(outputs)
    return -jnp.sum(log_probs * _one_hot(targets, outputs), axis=-1)


def _mse(outputs: jax.Array, targets: jax.Array, read: Read) -> jax.Array:
    wanted = targets if targets.ndim == 2 else _one_hot(targets, outputs)
    return jnp.mean(jnp.square(outputs - wanted), axis=-1)


LOSSES: Mapping[str, Callable[[jax.Array, jax.Array, Read], Any]] = {
    "cross_entropy": _cross_entropy,
    "mse": _mse,
}


def loss(choice: Choice, *, task: str) -> Loss:
    """Turn a catalogue choice of kind `loss` into a function giving one loss per sample."""
    function = LOSSES[choice.name]

    def per_sample(outputs: jax.Array, targets: jax.Array, hypers: Hypers) -> jax.Array:
        return jnp.asarray(function(outputs, targets, reader(choice, hypers, prefix="loss")))

    return per_sample
