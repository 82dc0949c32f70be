"""Update rules: from a catalogue choice to two pure functions built on Optax.

Owns the table from rule name to an `optax.GradientTransformation` made of (possibly traced) hyperparameters. Must not
import `lanework.models`, `lanework.data` or anything above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from lanework.recipes.choices import Choice, Hypers, Read, reader

PyTree: TypeAlias = Any
Builder: TypeAlias = Callable[[Read], optax.GradientTransformation]


class Rule(NamedTuple):
    """One update rule for one run.

    Attributes:
        init: From the parameters to the state of the rule; its structure depends on the static options only.
        update: `(grads, opt_state, params, hypers) -> (updates, opt_state)`. The updates are ADDED to the parameters.
            `hypers["learning_rate"]` is the scheduled rate; other hyperparameters are read by bare name or as
            `optimizer.<name>`, and fall back to the options of the choice.
    """

    init: Callable[[PyTree], PyTree]
    update: Callable[[PyTree, PyTree, PyTree, Hypers], tuple[PyTree, PyTree]]


def _sgd(read: Read) -> optax.GradientTransformation:
    return optax.scale(-read("learning_rate"))


def _traced_momentum(read: Read, *, is_nesterov: bool, form: str) -> optax.GradientTransformation:
    trace = optax.trace(decay=read("momentum"), nesterov=is_nesterov)
    scale = optax.scale(-read("learning_rate"))
    return optax.chain(scale, trace) if form == "velocity" else optax.chain(trace, scale)


def _momentum(read: Read) -> optax.GradientTransformation:
    return _traced_momentum(read, is_nesterov=False, form=read("form"))


def _nesterov(read: Read) -> optax.GradientTransformation:
    return _traced_momentum(read, is_nesterov=True, form="velocity")


class _AdagradState(NamedTuple):
    sum_of_squares: PyTree


def _scale_by_adagrad(eps: Any) -> optax.GradientTransformation:
    """`s += g^2; g / (sqrt(s) + eps)` from s = 0 (Optax puts eps inside the root and starts s at 0.1)."""

    def init(params: PyTree) -> _AdagradState:
        return _AdagradState(jax.tree.map(jnp.zeros_like, params))

    def update(grads: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, Any]:
        sums = jax.tree.map(lambda s, g: s + g * g, state.sum_of_squares, grads)
        return jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + eps), grads, sums), _AdagradState(sums)

    return optax.GradientTransformation(init, update)


def _adagrad(read: Read) -> optax.GradientTransformation:
    return optax.chain(_scale_by_adagrad(read("eps")), optax.scale(-read("learning_rate")))


def _adadelta(read: Read) -> optax.GradientTransformation:
    return optax.chain(
        optax.scale_by_adadelta(rho=read("rho"), eps=read("eps")),
        optax.scale(-read("learning_rate")),
    )


def _rmsprop(read: Read) -> optax.GradientTransformation:
    return optax.chain(
        optax.scale_by_rms(decay=read("decay"), eps=read("eps"), eps_in_sqrt=False),
        optax.scale(-read("learning_rate")),
    )


def _adam(read: Read) -> optax.GradientTransformation:
    return optax.chain(
        optax.scale_by_adam(b1=read("b1"), b2=read("b2"), eps=read("eps")),
        optax.scale(-read("learning_rate")),
    )


def _adamw(read: Read) -> optax.GradientTransformation:
    return optax.chain(
        optax.scale_by_adam(b1=read("b1"), b2=read("b2"), eps=read("eps")),
        optax.add_decayed_weights(read("weight_decay")),
        optax.scale(-read("learning_rate")),
    )


def _radam(read: Read) -> optax.GradientTransformation:
    return optax.chain(
        optax.scale_by_radam(b1=read("b1"), b2=read("b2"), eps=read("eps")),
        optax.scale(-read("learning_rate")),
    )


def _lion(read: Read) -> optax.GradientTransformation:
    return optax.chain(
        optax.scale_by_lion(b1=read("b1"), b2=read("b2")), optax.scale(-read("learning_rate"))
    )


RULES: Mapping[str, Builder] = {
    "sgd": _sgd,
    "momentum": _momentum,
    "nesterov": _nesterov,
    "adagrad": _adagrad,
    "adadelta": _adadelta,
    "rmsprop": _rmsprop,
    "adam": _adam,
    "adamw": _adamw,
    "radam": _radam,
    "lion": _lion,
}


def rule(choice: Choice) -> Rule:
    """Turn a catalogue choice of kind `optimizer` into pure functions."""
    builder = RULES[choice.name]

    def init(params: PyTree) -> PyTree:
        return builder(reader(choice, {"learning_rate": 0.0}, prefix="optimizer")).init(params)

    def update(
        grads: PyTree, opt_state: PyTree, params: PyTree, hypers: Hypers
    ) -> tuple[PyTree, PyTree]:
        transformation = builder(reader(choice, hypers, prefix="optimizer"))
        return transformation.update(grads, opt_state, params)

    return Rule(init, update)
