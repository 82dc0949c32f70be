"""Learning-rate schedules as factors of the base rate.

Owns the table from schedule name to a factor of the step number. Must not import `lanework.models`, `lanework.data`
or anything above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from lanework.recipes.choices import Choice, Hypers, Read, reader

Schedule: TypeAlias = Callable[[jax.Array, Hypers], jax.Array]
# (step as float, read, total_steps, steps_per_epoch) -> factor
Shape: TypeAlias = Callable[[jax.Array, Read, float, float], Any]


def _constant(step: jax.Array, read: Read, total_steps: float, steps_per_epoch: float) -> Any:
    return jnp.ones_like(step)


def _step(step: jax.Array, read: Read, total_steps: float, steps_per_epoch: float) -> Any:
    return jnp.power(read("factor"), jnp.floor(step / (read("every") * steps_per_epoch)))


def _exponential(step: jax.Array, read: Read, total_steps: float, steps_per_epoch: float) -> Any:
    return jnp.exp(-read("rate") * step / steps_per_epoch)


def _inverse(step: jax.Array, read: Read, total_steps: float, steps_per_epoch: float) -> Any:
    return 1.0 / (1.0 + read("rate") * step / steps_per_epoch)


def _cosine(step: jax.Array, read: Read, total_steps: float, steps_per_epoch: float) -> Any:
    floor = read("final")
    share = jnp.clip(step / max(total_steps, 1.0), 0.0, 1.0)
    return floor + (1.0 - floor) * 0.5 * (1.0 + jnp.cos(jnp.pi * share))


SCHEDULES: Mapping[str, Shape] = {
    "constant": _constant,
    "step": _step,
    "exponential": _exponential,
    "inverse": _inverse,
    "cosine": _cosine,
}


def schedule(choice: Choice, *, total_steps: int, steps_per_epoch: int) -> Schedule:
    """Turn a catalogue choice of kind `schedule` into a factor of the base rate."""
    shape = SCHEDULES[choice.name]

    def factor(step: jax.Array, hypers: Hypers) -> jax.Array:
        read = reader(choice, hypers, prefix="schedule")
        position = jnp.asarray(step, jnp.float32)
        return jnp.asarray(shape(position, read, float(total_steps), float(steps_per_epoch)))

    return factor
