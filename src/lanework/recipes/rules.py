"""Update rules: from a catalogue choice to two pure functions built on Optax.

Owns the table from rule name to an `optax.GradientTransformation` made of (possibly traced) hyperparameters, the classic
rules, and the rules that wrap another one. Must not import `lanework.models`, `lanework.data` or anything above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lanework import own_code
from lanework.catalog import CATALOG
from lanework.recipes import curvature, learned, modern
from lanework.recipes.choices import Choice, Hypers, Read, look_up, reader, refuse
from lanework.recipes.steps import (
    Builder,
    Evaluator,
    PyTree,
    add_decay,
    after_rate,
    from_first_step,
)


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
            not those it steps with (schedule-free rules, Lookahead); None otherwise.
    """

    init: Callable[[PyTree], PyTree]
    update: Callable[..., tuple[PyTree, PyTree]]
    evaluated: Callable[[PyTree, PyTree, Hypers], PyTree] | None = None


def _sgd(read: Read) -> optax.GradientTransformation:
    return optax.scale(-read("learning_rate"))


def _momentum(read: Read) -> optax.GradientTransformation:
    trace = optax.trace(decay=read("momentum"))
    if read("form") == "velocity":  # v = m v - a g: the rate is inside v
        return optax.chain(optax.scale(-read("learning_rate")), trace)
    return after_rate(read, trace)


class _NesterovState(NamedTuple):
    velocity: PyTree
    momentum: Any  # that of the last step


def _nesterov_in_two_steps(rate: Any, momentum: Any) -> optax.GradientTransformation:
    """`v = m v - a g(x + m v); x += v`, where the stored weights are y = x + m v: there g is taken.

    x is y - m v with the m of the last step, so m may change from step to step.

    Args:
        rate: a.
        momentum: m.
    """

    def init(params: PyTree) -> _NesterovState:
        zero = jnp.zeros([], optax.tree.dtype(params, "lowest"))
        return _NesterovState(jax.tree.map(jnp.zeros_like, params), zero)

    def update(grads: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, Any]:
        def moved(y: Any, old: Any, new: Any) -> Any:
            x = y - state.momentum * old
            return x + new + momentum * new - y

        velocity = jax.tree.map(lambda v, g: momentum * v - rate * g, state.velocity, grads)
        updates = jax.tree.map(moved, params, state.velocity, velocity)
        last = jnp.asarray(momentum, state.momentum.dtype)
        return updates, _NesterovState(velocity, last)

    return optax.GradientTransformation(init, update)


def _nesterov(read: Read) -> optax.GradientTransformation:
    """Both forms keep y = x + m v as the weights. Rewritten in y alone: y += -m v_old + (1 + m) v.

    The rate is inside v, as in the paper, so a changing rate acts on new gradients only.
    """
    if read("form") == "lookahead":
        return _nesterov_in_two_steps(read("learning_rate"), read("momentum"))
    return optax.chain(
        optax.scale(-read("learning_rate")), optax.trace(decay=read("momentum"), nesterov=True)
    )


def _nesterov_evaluated(read: Read) -> Evaluator | None:
    """The x of the rule, which only the form in two steps knows."""
    if read("form") != "lookahead":
        return None
    return lambda state, params: jax.tree.map(
        lambda y, v: y - state.momentum * v, params, state.velocity
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
    return after_rate(read, _scale_by_adagrad(read("eps")))


def _adadelta(read: Read) -> optax.GradientTransformation:
    return after_rate(read, optax.scale_by_adadelta(rho=read("rho"), eps=read("eps")))


class _Moments(NamedTuple):
    mean: PyTree
    mean_of_squares: PyTree


def _no_moments(params: PyTree) -> _Moments:
    zeros = jax.tree.map(jnp.zeros_like, params)
    return _Moments(zeros, zeros)


def _running(moments: _Moments, grads: PyTree, *, b1: Any, b2: Any) -> _Moments:
    """`m = b1 m + (1-b1) g` and `v = b2 v + (1-b2) g^2`."""
    mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, moments.mean, grads)
    squares = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, moments.mean_of_squares, grads)
    return _Moments(mean, squares)


def _scale_by_centered_rms(decay: Any, eps: Any) -> optax.GradientTransformation:
    """`g / (sqrt(s - m^2) + eps)`; Optax's gives NaN where rounding makes s - m^2 negative."""

    def update(grads: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, Any]:
        after = _running(state, grads, b1=decay, b2=decay)
        scaled = jax.tree.map(
            lambda g, m, s: g / (jnp.sqrt(jnp.maximum(s - m * m, 0.0)) + eps), grads, *after
        )
        return scaled, after

    return optax.GradientTransformation(_no_moments, update)


def _rmsprop(read: Read) -> optax.GradientTransformation:
    if read("centered"):
        by_root = _scale_by_centered_rms(read("decay"), read("eps"))
    else:
        by_root = optax.scale_by_rms(decay=read("decay"), eps=read("eps"), eps_in_sqrt=False)
    # The momentum may be traced, so its memory is kept even where it is 0.
    return after_rate(read, by_root, optax.trace(decay=read("momentum")))


class _RpropState(NamedTuple):
    sizes: PyTree
    last: PyTree


def _by_sign_changes(
    rate: Any, *, shrink: Any, grow: Any, smallest: Any, largest: Any
) -> optax.GradientTransformation:
    """`d *= p if g g_old > 0, q if g g_old < 0 (then no step); -d sign(g)`, within limits of d.

    After a change of sign the next gradient counts as the first one. Optax 0.2.8 returns the step before this one.

    Args:
        rate: a, the first step size d of every weight.
        shrink: q.
        grow: p.
        smallest: Lower limit of d.
        largest: Upper limit of d.

    Source:
        Riedmiller and Braun 1993, https://doi.org/10.1109/ICNN.1993.298623, as iRprop- of Igel and Huesken 2000.
    """

    def init(params: PyTree) -> _RpropState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return _RpropState(jax.tree.map(lambda x: jnp.full_like(x, rate), params), zeros)

    def sized(d: Any, agreement: Any) -> Any:
        changed = jnp.clip(d * jnp.where(agreement > 0, grow, shrink), smallest, largest)
        return jnp.where(agreement == 0, d, changed)

    def update(grads: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, Any]:
        signs = jax.tree.map(jnp.sign, grads)
        agreement = jax.tree.map(jnp.multiply, signs, state.last)
        sizes = jax.tree.map(sized, state.sizes, agreement)
        kept = jax.tree.map(lambda s, same: jnp.where(same < 0, 0.0, s), signs, agreement)
        return jax.tree.map(lambda d, s: -d * s, sizes, kept), _RpropState(sizes, kept)

    return optax.GradientTransformation(init, update)


def _rprop(read: Read) -> optax.GradientTransformation:
    return from_first_step(
        _by_sign_changes(
            read("learning_rate"),
            shrink=read("shrink"),
            grow=read("grow"),
            smallest=read("min_step"),
            largest=read("max_step"),
        )
    )


def _scale_by_uncorrected_adam(b1: Any, b2: Any, eps: Any) -> optax.GradientTransformation:
    """`m / (sqrt(v) + eps)` with both moments as they are, too small at the start.

    The first m is (1-b1) g and the first v (1-b2) g^2: the first step is (1-b1) / sqrt(1-b2) times the rate, which is
    3.2 times too large at 0.9 and 0.999.

    Args:
        b1: Memory of m, the running mean of gradients.
        b2: Memory of v, the running mean of squared gradients.
        eps: Added to the root.
    """

    def update(grads: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, Any]:
        after = _running(state, grads, b1=b1, b2=b2)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), *after), after

    return optax.GradientTransformation(_no_moments, update)


def _betas(read: Read) -> dict[str, Any]:
    return {"b1": read("b1"), "b2": read("b2"), "eps": read("eps")}


def _adam(read: Read) -> optax.GradientTransformation:
    is_corrected = read("bias_correction")
    scaled = optax.scale_by_adam if is_corrected else _scale_by_uncorrected_adam
    return after_rate(read, scaled(**_betas(read)))


def _nadam(read: Read) -> optax.GradientTransformation:
    return after_rate(read, optax.scale_by_adam(**_betas(read), nesterov=True))


def _adamax(read: Read) -> optax.GradientTransformation:
    return after_rate(read, optax.scale_by_adamax(**_betas(read)))


def _amsgrad(read: Read) -> optax.GradientTransformation:
    return after_rate(read, optax.scale_by_amsgrad(**_betas(read)))


def _adamw(read: Read) -> optax.GradientTransformation:
    return after_rate(read, optax.scale_by_adam(**_betas(read)), add_decay(read("weight_decay")))


def _radam(read: Read) -> optax.GradientTransformation:
    return after_rate(read, optax.scale_by_radam(**_betas(read)))


FIRST_ORDER: Mapping[str, Builder] = {
    "sgd": _sgd,
    "gd": _sgd,
    "momentum": _momentum,
    "nesterov": _nesterov,
    "adagrad": _adagrad,
    "adadelta": _adadelta,
    "rmsprop": _rmsprop,
    "rprop": _rprop,
    "adam": _adam,
    "nadam": _nadam,
    "adamax": _adamax,
    "amsgrad": _amsgrad,
    "adamw": _adamw,
    "radam": _radam,
}
INNER: Mapping[str, Builder] = {**FIRST_ORDER, **modern.MODERN, **learned.RULES}


def _inner(read: Read) -> optax.GradientTransformation:
    """The wrapped rule, a static choice, with the rate of the rule that wraps it."""
    given, path = read("inner"), "train.optimizer.inner"
    options = dict(given) if isinstance(given, Mapping) else {"name": given}
    name = options.pop("name")
    if name not in CATALOG["optimizer"]:  # a choice made by hand: a study file is checked before
        look_up(INNER, name, path=path)
    row = CATALOG["optimizer"][name]
    asks_for_loss = row.facts.get("needs") == "objective"
    if name not in INNER or name in modern.EVALUATED or asks_for_loss:
        text = f"must be a first-order rule that needs its gradient only, got {name!r}: a rule that wraps another one, "
        text += "steps apart from the weights it is judged by or asks for the loss cannot be wrapped. Use for example "
        refuse(path, f"{text}adam.")
    rate = row.hyper("learning_rate").default
    given_rate = options.pop("learning_rate", rate)
    if given_rate != rate:
        text = f"must be left out, got {given_rate}: the rule that wraps has the rate. "
        refuse(f"{path}.learning_rate", f"{text}Use train.learning_rate.")
    own = {**row.defaults(), **options, "learning_rate": read("learning_rate")}
    return INNER[name](own.__getitem__)


class _LookaheadState(NamedTuple):
    inner: PyTree
    slow: PyTree
    since_sync: Any


def _look_ahead(
    fast: optax.GradientTransformation, *, sync_steps: int, alpha: Any
) -> optax.GradientTransformationExtraArgs:
    """Every k steps of the fast rule: `slow += alpha (fast - slow); fast := slow`.

    Args:
        fast: The inner rule; its memory goes on through the interpolation.
        sync_steps: k.
        alpha: The share of the way that the slow weights go.

    Source:
        Zhang, Lucas, Hinton and Ba 2019, https://arxiv.org/abs/1907.08610, algorithm 1.
    """
    fast = optax.with_extra_args_support(fast)

    def init(params: PyTree) -> _LookaheadState:
        return _LookaheadState(fast.init(params), params, jnp.zeros([], jnp.int32))

    def update(
        grads: PyTree, state: Any, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        updates, inner = fast.update(grads, state.inner, params, **extra)
        is_sync = state.since_sync == sync_steps - 1

        def interpolated(slow: Any, weight: Any, step: Any) -> Any:
            return jnp.where(is_sync, slow + alpha * (weight + step - slow), slow)

        slow = jax.tree.map(interpolated, state.slow, params, updates)
        updates = jax.tree.map(lambda s, x, u: jnp.where(is_sync, s - x, u), slow, params, updates)
        since_sync = jnp.where(is_sync, 0, state.since_sync + 1)
        return updates, _LookaheadState(inner, slow, since_sync)

    return optax.GradientTransformationExtraArgs(init, update)


def _lookahead(read: Read) -> optax.GradientTransformation:
    return _look_ahead(_inner(read), sync_steps=read("sync_steps"), alpha=read("alpha"))


def _centralized(grad: Any) -> Any:
    """Less the mean over all axes but the last, which counts the units: a kernel is [inputs, units]."""
    if grad.ndim < 2:
        return grad
    return grad - jnp.mean(grad, axis=tuple(range(grad.ndim - 1)), keepdims=True)


def _ranger(read: Read) -> optax.GradientTransformation:
    """RAdam inside Lookahead; `g -= mean of g over the inputs of a unit` where `centralize` says so.

    Optax's `centralize` keeps the first axis, which in our kernels is that of the inputs.
    """
    fast = _radam(read)
    if read("centralize"):
        center = optax.stateless(lambda grads, params: jax.tree.map(_centralized, grads))
        fast = optax.chain(center, fast)
    return _look_ahead(fast, sync_steps=read("sync_steps"), alpha=read("alpha"))


def _mechanic(read: Read) -> optax.GradientTransformation:
    return from_first_step(
        optax.contrib.mechanize(
            _inner(read),
            weight_decay=read("weight_decay"),
            eps=read("eps"),
            s_init=read("s_init"),
        )
    )


def _sam(read: Read) -> optax.GradientTransformation:
    """`x -= step of the inner rule for g(x + rho g / |g|)`, with g again on the same batch.

    Source:
        Foret et al. 2020, https://arxiv.org/abs/2010.01412 (p = 2). Optax's spends every second batch on the way up.
    """
    inner, rho = optax.with_extra_args_support(_inner(read)), read("rho")

    def update(
        grads: PyTree, state: Any, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        norm = optax.tree.norm(grads)
        scale = rho / jnp.where(norm > 0, norm, 1.0)
        worst = jax.tree.map(lambda x, g: x + scale * g, params, grads)
        sharp = jax.grad(modern.objective_of(extra, rule="sam"))(worst)
        return inner.update(sharp, state, params, **{**extra, "grad": sharp})

    return optax.GradientTransformationExtraArgs(inner.init, update)


WRAPPERS: Mapping[str, Builder] = {
    "lookahead": _lookahead,
    "ranger": _ranger,
    "mechanic": _mechanic,
    "sam": _sam,
}
RULES: Mapping[str, Builder] = {
    **FIRST_ORDER,
    **modern.MODERN,
    **WRAPPERS,
    **curvature.RULES,
    **learned.RULES,
}


def _slow(read: Read) -> Evaluator:
    return lambda state, params: state.slow


EVALUATED: Mapping[str, Callable[[Read], Evaluator | None]] = {
    "nesterov": _nesterov_evaluated,
    "lookahead": _slow,
    "ranger": _slow,
    **modern.EVALUATED,
}


def _own(choice: Choice) -> Builder:
    """A function of the user, `(learning_rate, **options) -> optax.GradientTransformation`."""
    given = own_code.load_function(choice.name, path="train.optimizer")

    def build(read: Read) -> optax.GradientTransformation:
        made = given(learning_rate=read("learning_rate"), **choice.options)
        if not isinstance(made, optax.GradientTransformation):
            refuse(
                "train.optimizer",
                f"must name a function of learning_rate that gives an optax.GradientTransformation, got "
                f"{type(made).__name__} from {given.__name__}. Return for example optax.chain(...).",
            )
        return made

    return build


def rule(choice: Choice) -> Rule:
    """Turn a catalogue choice of kind `optimizer` into pure functions.

    The Optax transformation is made anew inside `update` from that run's hyperparameters, which may be traced: under
    `jax.vmap` each lane has its own.

    Args:
        choice: Name and options.

    Returns:
        The rule. Its state is a pytree of arrays whose structure, shapes and types never change.

    Raises:
        SpecError: There is no rule of that name, or it wraps one that cannot be wrapped.

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
    is_own = own_code.is_own(choice.name)
    builder = _own(choice) if is_own else look_up(RULES, choice.name, path="train.optimizer")

    def static(name: str) -> Any:
        return choice.options.get(name, 0.0)

    if choice.name in WRAPPERS:
        builder(static)  # an inner rule that cannot be wrapped is refused here, not while training

    def init(params: PyTree) -> PyTree:
        return builder(static).init(params)

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

    evaluator = EVALUATED[choice.name](static) if choice.name in EVALUATED else None
    if evaluator is None:
        return Rule(init, update)
    judged = evaluator

    def evaluated(opt_state: PyTree, params: PyTree, hypers: Hypers) -> PyTree:
        return judged(opt_state, params)

    return Rule(init, update, evaluated)
