"""Averages of the weights, kept beside them: exponential, tail, Polyak, SWA, and ensembles of checkpoints.

Owns the table from the name of an average to pure functions. Must not import `lanework.models`, `lanework.data` or
anything above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from lanework.recipes.choices import Array, Choice, Hypers, Read, look_up, reader

PyTree: TypeAlias = Any


class Average(NamedTuple):
    """One average for one run.

    Attributes:
        init: From the initial weights to the state, a pytree of arrays whose structure, shapes and types never change.
        update: `(state, params, *, step, hypers) -> state`, called after every step with the weights that it led to; the
            step counts from 0, as for schedules.
        value: `(state, params) -> params`: the average; the given weights as they are before it has begun.
        is_stacked: `value` gives several weights along a new first axis, whose predictions are to be averaged.
    """

    init: Callable[[PyTree], PyTree]
    update: Callable[..., PyTree]
    value: Callable[[PyTree, PyTree], PyTree]
    is_stacked: bool = False


class RunningMean(NamedTuple):
    """State of an average: the mean so far, and the weight of all that went into it (0: nothing yet)."""

    mean: PyTree
    weight: Array


class Checkpoints(NamedTuple):
    """State of an ensemble: the last weights, [count, ...], as a ring, and how many were ever put in."""

    slots: PyTree
    num_stored: Array


class Length(NamedTuple):
    """Length of training, in steps."""

    total_steps: int
    steps_per_epoch: int


# (choice, length) -> the average
Builder: TypeAlias = Callable[[Choice, Length], Average]
# (steps made, read) -> whether the weights after that step are taken in
Taken: TypeAlias = Callable[[Array, Read], Any]


def _ema(choice: Choice, length: Length) -> Average:
    """With debias, m / (1 - d^k) kept as such: m += (1 - d) / (1 - d^k) (x - m); else m += (1 - d) (x - m)."""
    is_debiased = bool(choice.options["debias"])

    def init(params: PyTree) -> RunningMean:
        if is_debiased:
            return RunningMean(_zeros(params), jnp.zeros((), _exact_type(params)))
        return RunningMean(params, jnp.ones((), _exact_type(params)))

    def update(state: RunningMean, params: PyTree, *, step: Any, hypers: Hypers) -> RunningMean:
        decay = jnp.asarray(_read(choice, hypers)("decay"), state.weight.dtype)
        weight = decay * state.weight + (1 - decay) if is_debiased else state.weight
        return RunningMean(_towards(state.mean, params, (1 - decay) / weight), weight)

    return Average(init, update, _mean_or_raw)


def _mean_of(taken: Taken, choice: Choice) -> Average:
    """Plain mean of the weights after the steps that are taken in."""

    def init(params: PyTree) -> RunningMean:
        return RunningMean(_zeros(params), jnp.zeros((), jnp.int32))

    def update(state: RunningMean, params: PyTree, *, step: Any, hypers: Hypers) -> RunningMean:
        is_taken = jnp.asarray(taken(jnp.asarray(step, jnp.int32) + 1, _read(choice, hypers)))
        count = state.weight + is_taken.astype(jnp.int32)
        share = 1 / jnp.maximum(count, 1).astype(_exact_type(params))
        moved = _towards(state.mean, params, share)
        # Chosen, not multiplied by 0: weights that are not taken in may be anything.
        return RunningMean(_choose(is_taken, moved, state.mean), count)

    return Average(init, update, _mean_or_raw)


def _polyak(choice: Choice, length: Length) -> Average:
    return _mean_of(lambda made, read: True, choice)


def _tail(choice: Choice, length: Length) -> Average:
    def taken(made: Array, read: Read) -> Any:
        num_averaged = jnp.maximum(1, _round(read("share") * length.total_steps))
        return made > length.total_steps - num_averaged

    return _mean_of(taken, choice)


def _swa(choice: Choice, length: Length) -> Average:
    """Algorithm 1 of the paper: the weights at the start of the phase are the first of the average."""

    def taken(made: Array, read: Read) -> Any:
        begin = _round(read("start") * length.total_steps)
        period = jnp.maximum(1, _round(read("every") * length.steps_per_epoch))
        return (made >= begin) & ((made - begin) % period == 0)

    return _mean_of(taken, choice)


def _checkpoints(choice: Choice, length: Length) -> Average:
    count = int(choice.options["count"])

    def init(params: PyTree) -> Checkpoints:
        return Checkpoints(_repeated(params, count), jnp.zeros((), jnp.int32))

    def update(state: Checkpoints, params: PyTree, *, step: Any, hypers: Hypers) -> Checkpoints:
        is_end = (jnp.asarray(step, jnp.int32) + 1) % length.steps_per_epoch == 0
        place = state.num_stored % count

        def put(slots: Array, leaf: Array) -> Array:
            # One slot is written, itself or the new weights: the others are not copied at every step.
            own = jax.lax.dynamic_index_in_dim(slots, place, keepdims=False)
            new = jnp.where(is_end, leaf, own)
            return jax.lax.dynamic_update_index_in_dim(slots, new, place, 0)

        slots = jax.tree.map(put, state.slots, params)
        return Checkpoints(slots, state.num_stored + is_end.astype(jnp.int32))

    def value(state: Checkpoints, params: PyTree) -> PyTree:
        latest = (state.num_stored - 1) % count

        def filled(slots: Array, leaf: Array) -> Array:
            newest = jax.lax.dynamic_index_in_dim(slots, latest, keepdims=True)
            newest = jnp.where(state.num_stored > 0, newest, leaf[None])
            is_filled = jnp.arange(count) < state.num_stored
            return jnp.where(is_filled.reshape(count, *(1,) * leaf.ndim), slots, newest)

        return jax.tree.map(filled, state.slots, params)

    return Average(init, update, value, is_stacked=True)


AVERAGES: Mapping[str, Builder] = {
    "ema": _ema,
    "tail": _tail,
    "polyak": _polyak,
    "swa": _swa,
    "checkpoints": _checkpoints,
}


def average(choice: Choice, *, total_steps: int, steps_per_epoch: int) -> Average:
    """Turn a catalogue choice of kind `average` into pure functions.

    Works on any pytree of numbers, so that moving averages of batch normalisation can be averaged with the weights; they are
    then not what they would be if measured anew with the averaged weights.

    Args:
        choice: Name and options.
        total_steps: Steps of the whole run, at least 1.
        steps_per_epoch: Steps of an epoch, at least 1.

    Returns:
        The average. Hyperparameters are read by bare name or as `average.<name>`, else from the options.

    Raises:
        SpecError: There is no average of that name.

    Example:
        >>> import jax.numpy as jnp
        >>> from types import SimpleNamespace
        >>> polyak = average(
        ...     SimpleNamespace(name="polyak", options={}), total_steps=2, steps_per_epoch=1
        ... )
        >>> state = polyak.init({"w": jnp.array([9.0])})
        >>> for step, weight in enumerate([1.0, 2.0]):
        ...     state = polyak.update(state, {"w": jnp.array([weight])}, step=step, hypers={})
        >>> polyak.value(state, {"w": jnp.array([2.0])})["w"]
        Array([1.5], dtype=float32)
    """
    builder = look_up(AVERAGES, choice.name, path="train.average")
    return builder(choice, Length(max(total_steps, 1), max(steps_per_epoch, 1)))


def _read(choice: Choice, hypers: Hypers) -> Read:
    return reader(choice, hypers, prefix="average")


def _round(number: Any) -> Array:
    """To the nearest whole number: shares and epochs are rounded, steps are not."""
    return jnp.round(jnp.asarray(number)).astype(jnp.int32)


def _exact_type(params: PyTree) -> Any:
    """Type of the clockwork of an average: that of the weights, but no shorter than 32 bits."""
    return jnp.promote_types(jnp.result_type(*jax.tree.leaves(params)), jnp.float32)


def _towards(mean: PyTree, params: PyTree, share: Array) -> PyTree:
    """A share of the way from the mean to the weights, in the type of the mean."""
    return jax.tree.map(lambda m, x: m + share.astype(m.dtype) * (x - m), mean, params)


def _mean_or_raw(state: RunningMean, params: PyTree) -> PyTree:
    return _choose(state.weight > 0, state.mean, params)


def _choose(flag: Array, yes: PyTree, no: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(flag, a, b), yes, no)


def _zeros(params: PyTree) -> PyTree:
    """A mean of nothing; a start at the weights would leave its rounding in the first of them."""
    return jax.tree.map(jnp.zeros_like, params)


def _repeated(params: PyTree, count: int) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.repeat(leaf[None], count, axis=0), params)
