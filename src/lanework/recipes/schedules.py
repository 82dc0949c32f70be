"""Schedules as factors of a base value: of the learning rate, or of another hyperparameter.

Owns the table from schedule name to a factor of time, and the warm-up that joins to any. Must not import
`lanework.models`, `lanework.data` or anything above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import optax

from lanework.catalog.schedules import problems
from lanework.recipes.choices import Array, Choice, Hypers, Read, look_up, reader

__all__ = ["SCHEDULES", "Schedule", "problems", "schedule"]

Schedule: TypeAlias = Callable[[Any, Hypers], Array]
HAIR = 1 + 1e-6
"""Steps are whole, but step / period is rounded: a hair is added so that nothing happens a step late."""


class Clock(NamedTuple):
    """When it is.

    Attributes:
        step: Step, from 0, as a floating-point scalar (exact to 2^24 in float32). Shapes count in steps where a change
            must come at the very step.
        per_epoch: Steps of an epoch.
        total: Steps of the whole run.
        of: Name of the hyperparameter that is scheduled.
    """

    step: Array
    per_epoch: int
    total: int
    of: str

    def epochs(self) -> Array:
        """Time in epochs."""
        return self.step / self.per_epoch


Shape: TypeAlias = Callable[[Clock, Read], Any]  # -> factor


def _constant(clock: Clock, read: Read) -> Any:
    return jnp.ones_like(clock.step)


def _step(clock: Clock, read: Read) -> Any:
    every = read("every") * clock.per_epoch
    return jnp.power(read("factor"), jnp.floor(clock.step / every * HAIR))


def _multi_step(clock: Clock, read: Read) -> Any:
    # The milestones are static, so that the lanes of a program have equally many.
    milestones = [epoch * clock.per_epoch for epoch in read("milestones")]
    shares = [read(name) * clock.total / HAIR for name in ("first", "second")]
    reached = sum(jnp.where(clock.step >= begin, 1.0, 0.0) for begin in milestones or shares)
    return jnp.power(read("factor"), reached)


def _exponential(clock: Clock, read: Read) -> Any:
    return jnp.exp(-read("rate") * clock.epochs())


def _inverse(clock: Clock, read: Read) -> Any:
    return 1.0 / (1.0 + read("rate") * clock.epochs())


def _inverse_sqrt(clock: Clock, read: Read) -> Any:
    flat = read("flat") * clock.per_epoch
    return 1.0 / jnp.sqrt(jnp.maximum(1.0, clock.step / flat))


def _polynomial(clock: Clock, read: Read) -> Any:
    return optax.polynomial_schedule(1.0, read("final"), read("power"), clock.total)(clock.step)


def _linear(clock: Clock, read: Read) -> Any:
    return optax.linear_schedule(1.0, read("final"), clock.total)(clock.step)


def _cosine(clock: Clock, read: Read) -> Any:
    return optax.cosine_decay_schedule(1.0, clock.total, alpha=read("final"))(clock.step)


def _cosine_restarts(clock: Clock, read: Read) -> Any:
    """Restart i comes at period (m^i - 1) / (m - 1), or at period i where the multiplier m is 1.

    The logarithm that finds i is rounded, so i is corrected by where the restarts lie.
    """
    period, growth = read("period") * clock.per_epoch, jnp.asarray(read("multiplier") - 1.0)
    is_even = growth <= 0
    growth = jnp.where(is_even, 1.0, growth)

    def begin(index: Array) -> Array:
        grown = jnp.expm1(index * jnp.log1p(growth)) / growth
        return period * jnp.where(is_even, index, grown)

    grown = jnp.log1p(clock.step / period * growth) / jnp.log1p(growth)
    guess = jnp.floor(jnp.where(is_even, clock.step / period, grown))
    guess = jnp.where(clock.step * HAIR < begin(guess), guess - 1, guess)
    index = jnp.where(clock.step * HAIR >= begin(guess + 1), guess + 1, guess)
    length = period * jnp.where(is_even, 1.0, jnp.power(1 + growth, index))
    return _between("cosine", 1.0, read("final"), (clock.step - begin(index)) / length)


def _one_cycle(clock: Clock, read: Read) -> Any:
    """Ends at the last step, not after it: PyTorch's and fastai's convention for this schedule."""
    form, start, final = read("form"), read("start"), read("final")
    step, last = clock.step, clock.total - 1
    top = jnp.maximum(read("peak") * clock.total - 1, 0.0)
    rise = _between(form, start, 1.0, _over(step, 0.0, top))
    if not read("three_phase"):
        return jnp.where(step < top, rise, _between(form, 1.0, final, _over(step, top, last)))
    fall = _between(form, 1.0, start, _over(step, top, 2 * top))
    end = _between(form, start, final, _over(step, 2 * top, last))
    return jnp.where(step < top, rise, jnp.where(step <= 2 * top, fall, end))


def _cyclic(clock: Clock, read: Read) -> Any:
    period = read("period") * clock.per_epoch
    index = jnp.floor(clock.step / period * HAIR)
    passed = jnp.maximum(clock.step - index * period, 0.0) / period
    heights: Mapping[str, Callable[[], Any]] = {
        "triangular": lambda: 1.0,
        "triangular2": lambda: jnp.exp2(-index),
        "exp_range": lambda: jnp.power(read("decay"), clock.epochs()),
    }
    height = heights[read("form")]() * (1.0 - jnp.abs(2.0 * passed - 1.0))
    return read("low") + (1.0 - read("low")) * height


def _wsd(clock: Clock, read: Read) -> Any:
    fall = read("decay") * clock.total
    over = jnp.clip((clock.step - (clock.total - fall)) / fall, 0.0, 1.0)
    return _between(
        "linear", 1.0, read("final"), jnp.sqrt(over) if read("form") == "root" else over
    )


def _ramp(clock: Clock, read: Read) -> Any:
    """(from_value + (v0 - from_value) s) / v0: a factor, since factors are what lanes multiply by."""
    base = jnp.asarray(read(clock.of))
    is_zero = base == 0
    begin = jnp.where(is_zero, 1.0, read("from_value") / jnp.where(is_zero, 1.0, base))
    over = jnp.minimum(1.0, clock.step / (read("epochs") * clock.per_epoch))
    return _between("linear", begin, 1.0, over)


def _geometric_ramp(clock: Clock, read: Read) -> Any:
    return jnp.power(read("start"), 1.0 - _over(clock.step, 0.0, clock.total - 1))


SCHEDULES: Mapping[str, Shape] = {
    "constant": _constant,
    "step": _step,
    "multi_step": _multi_step,
    "exponential": _exponential,
    "inverse": _inverse,
    "inverse_sqrt": _inverse_sqrt,
    "polynomial": _polynomial,
    "linear": _linear,
    "cosine": _cosine,
    "cosine_restarts": _cosine_restarts,
    "one_cycle": _one_cycle,
    "cyclic": _cyclic,
    "wsd": _wsd,
    "ramp": _ramp,
    "geometric_ramp": _geometric_ramp,
    "plateau": _constant,  # the host lowers the rate, from what it measures
    "linear_warmup": _constant,
}


def schedule(
    choice: Choice,
    *,
    total_steps: int,
    steps_per_epoch: int,
    prefix: str = "schedule",
    of: str = "learning_rate",
) -> Schedule:
    """Turn a catalogue choice of kind `schedule` into a factor: value(step) = base value * factor.

    With t = step / steps_per_epoch the time in epochs, T the length of the run in epochs, k the step and n the number of
    steps, the factor is

    - constant, plateau, linear_warmup: 1
    - step: factor^floor(t / every)
    - multi_step: factor^(number of milestones <= t); without milestones, of first T and second T
    - exponential: e^(-rate t)
    - inverse: 1 / (1 + rate t)
    - inverse_sqrt: 1 / sqrt(max(1, t / flat))
    - polynomial: final + (1 - final) (1 - t / T)^power
    - linear: final + (1 - final) (1 - t / T)
    - cosine: final + (1 - final) (1 + cos(pi t / T)) / 2
    - cosine_restarts: the same with s / p_i for t / T: s the time since restart i, p_i = period multiplier^i
    - one_cycle: from start at k = 0 to 1 at k = peak n - 1 and to final at k = n - 1, each way half a cosine or a line;
      with three_phase back to start at k = 2 (peak n - 1) before it goes to final
    - cyclic: low + (1 - low) h (1 - |2 s / period - 1|), s the time in cycle i, h = 1, 2^-i or decay^t
    - wsd: 1 until (1 - decay) T, then final + (1 - final) (1 - s) or (1 - sqrt(s)), s the share of the fall
    - ramp: b + (1 - b) min(1, t / epochs) with b = from_value / base value (1 where that is 0)
    - geometric_ramp: start^(1 - k / (n - 1))

    With `warmup_epochs` above 0, the factor first rises linearly, over that many epochs, to what the schedule says then;
    step k of w warm-up steps gets (k + 1) / w, so that the first step already moves. The schedule's own clock runs from
    the first step on, warm-up or not.

    Args:
        choice: Name and options.
        total_steps: Steps of the whole run, at least 1.
        steps_per_epoch: Steps of an epoch, at least 1.
        prefix: First part of the full names of the options in `hypers`, for example `schedules.momentum`.
        of: Name, in `hypers`, of the base value that the factor is for, for example `optimizer.momentum`. Only `ramp`
            reads it.

    Returns:
        `(step, hypers) -> factor`; the step may be traced and counts from 0. Hyperparameters are read by bare name or as
        `<prefix>.<name>`, else from the options. Time is computed in the default precision; the factor has that of the
        base value where it stands in `hypers`.

    Raises:
        SpecError: There is no schedule of that name.

    Example:
        >>> from types import SimpleNamespace
        >>> halve = SimpleNamespace(name="step", options={"every": 2.0, "factor": 0.5})
        >>> factor = schedule(halve, total_steps=100, steps_per_epoch=10)
        >>> [float(factor(step, {})) for step in (0, 19, 20, 45)]
        [1.0, 1.0, 0.5, 0.25]

    Source:
        Each row of the catalogue names its own.
    """
    shape = look_up(SCHEDULES, choice.name, path=f"train.{prefix}")
    has_warmup = "warmup_epochs" in choice.options

    def factor(step: Any, hypers: Hypers) -> Array:
        read = reader(choice, hypers, prefix=prefix)
        now = jnp.asarray(step, jnp.result_type(float))
        clock = Clock(now, steps_per_epoch, max(total_steps, 1), of)
        value = shape(clock, read)
        if has_warmup:
            value = value * _warmup(now, read("warmup_epochs") * steps_per_epoch)
        return jnp.asarray(value, _precision(hypers.get(of)))

    return factor


def _warmup(step: Array, num_steps: Any) -> Array:
    """(k + 1) / w during the warm-up, then 1; no division by a warm-up of no length."""
    return jnp.minimum(1.0, (step + 1.0) / jnp.maximum(num_steps, 1.0))


def _between(form: str, begin: Any, end: Any, share: Array) -> Array:
    """From one value to the other along a line or half a cosine; the share is 0 at the begin and 1 at the end."""
    left = 1.0 - share if form == "linear" else 0.5 * (1.0 + jnp.cos(jnp.pi * share))
    return begin * left + end * (1.0 - left)  # either end is met exactly


def _over(step: Array, begin: Any, end: Any) -> Array:
    """How much of a stretch is over, in [0, 1]; one of no length is not."""
    length = jnp.asarray(end - begin, step.dtype)
    return jnp.clip((step - begin) / jnp.where(length > 0, length, 1.0), 0.0, 1.0)


def _precision(base: Any) -> Any:
    """The floating-point type of the base value, else the default one."""
    default = jnp.result_type(float)
    kind = default if base is None else jnp.result_type(base)
    return kind if jnp.issubdtype(kind, jnp.floating) else default
