"""Update rules: from a catalogue choice to two pure functions built on Optax.

Owns the table from rule name to an `optax.GradientTransformation` made of (possibly traced) hyperparameters. Must not
import `lanework.models`, `lanework.data` or anything above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from lanework.recipes import curvature, learned
from lanework.recipes.choices import Choice, Hypers, Read, look_up, reader
from lanework.recipes.penalties import exempt

PyTree: TypeAlias = Any
Builder: TypeAlias = Callable[[Read], optax.GradientTransformation]


class Rule(NamedTuple):
    """One update rule for one run.

    Attributes:
        init: From the parameters to the state of the rule; its structure depends on the static options only.
        update: `(grads, opt_state, params, hypers, *, value=None, objective=None) -> (updates, opt_state)`. The updates are
            ADDED to the parameters. `hypers["learning_rate"]` is the scheduled rate; other hyperparameters are read by
            bare name or as `optimizer.<name>`, and fall back to the options of the choice. Rules that search along a line
            need `value`, the loss at the parameters, and `objective`, the pure function from parameters to that loss on
            the same batch, of which `grads` is the gradient.
        evaluated: `(opt_state, params, hypers) -> params`: the weights that the rule wants evaluated and kept, where they are
            not those it steps with (schedule-free rules); None otherwise.
    """

    init: Callable[[PyTree], PyTree]
    update: Callable[..., tuple[PyTree, PyTree]]
    evaluated: Callable[[PyTree, PyTree, Hypers], PyTree] | None = None


def _sgd(read: Read) -> optax.GradientTransformation:
    return optax.scale(-read("learning_rate"))


def _after_rate(read: Read, scaled: optax.GradientTransformation) -> optax.GradientTransformation:
    """The direction of a rule, times minus the learning rate."""
    return optax.chain(scaled, optax.scale(-read("learning_rate")))


def _momentum(read: Read) -> optax.GradientTransformation:
    trace = optax.trace(decay=read("momentum"))
    if read("form") == "velocity":  # v = m v - a g: the rate is inside v
        return optax.chain(optax.scale(-read("learning_rate")), trace)
    return _after_rate(read, trace)


def _nesterov(read: Read) -> optax.GradientTransformation:
    """In the variables y = x + m v, where the gradient is taken: y += -m v_old + (1 + m) v.

    The rate is inside v, as in the paper, so a changing rate acts on new gradients only.
    """
    return optax.chain(
        optax.scale(-read("learning_rate")), optax.trace(decay=read("momentum"), nesterov=True)
    )


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
    return _after_rate(read, _scale_by_adagrad(read("eps")))


def _adadelta(read: Read) -> optax.GradientTransformation:
    return _after_rate(read, optax.scale_by_adadelta(rho=read("rho"), eps=read("eps")))


class _CenteredState(NamedTuple):
    mean: PyTree
    mean_of_squares: PyTree


def _scale_by_centered_rms(decay: Any, eps: Any) -> optax.GradientTransformation:
    """`g / (sqrt(s - m^2) + eps)`; Optax's gives NaN where rounding makes s - m^2 negative."""

    def init(params: PyTree) -> _CenteredState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return _CenteredState(zeros, zeros)

    def update(grads: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, Any]:
        mean = jax.tree.map(lambda m, g: decay * m + (1 - decay) * g, state.mean, grads)
        squares = jax.tree.map(
            lambda s, g: decay * s + (1 - decay) * g * g, state.mean_of_squares, grads
        )
        scaled = jax.tree.map(
            lambda g, m, s: g / (jnp.sqrt(jnp.maximum(s - m * m, 0.0)) + eps), grads, mean, squares
        )
        return scaled, _CenteredState(mean, squares)

    return optax.GradientTransformation(init, update)


def _rmsprop(read: Read) -> optax.GradientTransformation:
    if read("centered"):
        by_root = _scale_by_centered_rms(read("decay"), read("eps"))
    else:
        by_root = optax.scale_by_rms(decay=read("decay"), eps=read("eps"), eps_in_sqrt=False)
    # The momentum may be traced, so its memory is kept even where it is 0.
    return _after_rate(read, optax.chain(by_root, optax.trace(decay=read("momentum"))))


def _scale_by_adam(read: Read) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1=read("b1"), b2=read("b2"), eps=read("eps"))


def _adam(read: Read) -> optax.GradientTransformation:
    return _after_rate(read, _scale_by_adam(read))


def _decayed(path: tuple[Any, ...], update: Any, weight: Any, *, strength: Any) -> Any:
    return update if exempt(path) else update + strength * weight


def _add_decay(strength: Any) -> optax.GradientTransformation:
    """Add `strength * w` for the weights that are not exempt."""

    def update(updates: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, Any]:
        add = partial(_decayed, strength=strength)
        return jax.tree_util.tree_map_with_path(add, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _adamw(read: Read) -> optax.GradientTransformation:
    return _after_rate(read, optax.chain(_scale_by_adam(read), _add_decay(read("weight_decay"))))


def _radam(read: Read) -> optax.GradientTransformation:
    return _after_rate(read, optax.scale_by_radam(b1=read("b1"), b2=read("b2"), eps=read("eps")))


def _lion(read: Read) -> optax.GradientTransformation:
    return _after_rate(read, optax.scale_by_lion(b1=read("b1"), b2=read("b2")))


FIRST_ORDER: Mapping[str, Builder] = {
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
RULES: Mapping[str, Builder] = {**FIRST_ORDER, **curvature.RULES, **learned.RULES}


def rule(choice: Choice) -> Rule:
    """Turn a catalogue choice of kind `optimizer` into pure functions.

    The Optax transformation is made anew inside `update` from that run's hyperparameters, which may be traced: under
    `jax.vmap` each lane has its own.

    Args:
        choice: Name and options.

    Returns:
        The rule. Its state is a pytree of arrays whose structure, shapes and types never change.

    Raises:
        SpecError: There is no rule of that name.

    Example:
        >>> import jax.numpy as jnp
        >>> from types import SimpleNamespace
        >>> sgd = rule(SimpleNamespace(name="sgd", options={}))
        >>> params = {"w": jnp.array([1.0])}
        >>> grads = {"w": jnp.array([2.0])}
        >>> updates, _ = sgd.update(grads, sgd.init(params), params, {"learning_rate": 0.5})
        >>> updates["w"]
        Array([-1.], dtype=float32)
    """
    builder = look_up(RULES, choice.name, path="train.optimizer")

    def init(params: PyTree) -> PyTree:
        return builder(lambda name: choice.options.get(name, 0.0)).init(params)

    def update(
        grads: PyTree,
        opt_state: PyTree,
        params: PyTree,
        hypers: Hypers,
        *,
        value: Any = None,
        objective: Callable[[PyTree], Any] | None = None,
    ) -> tuple[PyTree, PyTree]:
        transformation = optax.with_extra_args_support(
            builder(reader(choice, hypers, prefix="optimizer"))
        )
        updates, after = transformation.update(
            grads, opt_state, params, value=value, grad=grads, value_fn=objective
        )
        return updates, after

    return Rule(init, update)
