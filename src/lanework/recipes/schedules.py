"""Learning-rate schedules as factors of the base rate.

Owns the table from schedule name to a factor of time, and the warm-up that joins to any. Must not import
`lanework.models`, `lanework.data` or anything above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax.numpy as jnp

from lanework.recipes.choices import Array, Choice, Hypers, Read, look_up, reader

Schedule: TypeAlias = Callable[[Any, Hypers], Array]
# (time in epochs, read, epochs of the whole run) -> factor
Shape: TypeAlias = Callable[[Array, Read, float], Any]


def _constant(time: Array, read: Read, total: float) -> Any:
    return jnp.ones_like(time)


def _step(time: Array, read: Read, total: float) -> Any:
    # Steps are whole but time / every is rounded: a hair is added so that a drop is never a step late.
    return jnp.power(read("factor"), jnp.floor(time / read("every") * (1 + 1e-6)))


def _exponential(time: Array, read: Read, total: float) -> Any:
    return jnp.exp(-read("rate") * time)


def _inverse(time: Array, read: Read, total: float) -> Any:
    return 1.0 / (1.0 + read("rate") * time)


def _cosine(time: Array, read: Read, total: float) -> Any:
    left = 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(time / total, 0.0, 1.0)))
    return read("final") + (1.0 - read("final")) * left


SCHEDULES: Mapping[str, Shape] = {
    "constant": _constant,
    "step": _step,
    "exponential": _exponential,
    "inverse": _inverse,
    "cosine": _cosine,
    "linear_warmup": _constant,
}


def schedule(choice: Choice, *, total_steps: int, steps_per_epoch: int) -> Schedule:
    """Turn a catalogue choice of kind `schedule` into a factor: learning_rate(step) = base rate * factor.

    With `warmup_epochs` above 0, the factor first rises linearly, over that many epochs, to what the schedule says then;
    step k of w warm-up steps gets (k + 1) / w, so that the first step already moves. The schedule's own clock runs from
    the first step on, warm-up or not.

    Args:
        choice: Name and options.
        total_steps: Steps of the whole run, at least 1.
        steps_per_epoch: Steps of an epoch, at least 1.

    Returns:
        `(step, hypers) -> factor`; the step may be traced and counts from 0. Hyperparameters are read by bare name or as
        `schedule.<name>`, else from the options.

    Raises:
        SpecError: There is no schedule of that name.

    Example:
        >>> from types import SimpleNamespace
        >>> halve = SimpleNamespace(name="step", options={"every": 2.0, "factor": 0.5})
        >>> factor = schedule(halve, total_steps=100, steps_per_epoch=10)
        >>> [float(factor(step, {})) for step in (0, 19, 20, 45)]
        [1.0, 1.0, 0.5, 0.25]
    """
    shape = look_up(SCHEDULES, choice.name, path="train.schedule")
    total = max(total_steps, 1) / steps_per_epoch
    has_warmup = "warmup_epochs" in choice.options

    def factor(step: Any, hypers: Hypers) -> Array:
        read = reader(choice, hypers, prefix="schedule")
        time = jnp.asarray(step, jnp.float32) / steps_per_epoch
        value = shape(time, read, total)
        if has_warmup:
            value = value * _warmup(time, read("warmup_epochs"), step_size=1.0 / steps_per_epoch)
        return jnp.asarray(value)

    return factor


def _warmup(time: Array, epochs: Any, *, step_size: float) -> Array:
    """(k + 1) / w during the warm-up, then 1; no division by a warm-up of no length."""
    risen = (time + step_size) / jnp.maximum(epochs, step_size)
    return jnp.minimum(1.0, risen)
