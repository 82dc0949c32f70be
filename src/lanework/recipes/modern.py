"""Update rules since 2015 beyond Adam's closest relatives: builders from hyperparameters to Optax transformations.

Optax's own wherever they do what the catalogue says; each departure says why. Must not import `lanework.models`,
`lanework.data` or anything above, nor `lanework.recipes.rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from lanework.recipes.choices import Read
from lanework.recipes.steps import (
    Builder,
    Evaluator,
    PyTree,
    add_decay,
    after_rate,
    decayed,
    from_first_step,
    is_decayed,
    sign_seed,
    step_keys,
)


def objective_of(extra: Mapping[str, Any], *, rule: str) -> Callable[[PyTree], Any]:
    """The function from weights to the loss of this batch, which some rules cannot do without."""
    objective: Callable[[PyTree], Any] | None = extra.get("value_fn")
    if objective is None:
        raise TypeError(f"{rule} needs objective=, the function from parameters to the loss")
    return objective


def _betas(read: Read) -> dict[str, Any]:
    return {"b1": read("b1"), "b2": read("b2"), "eps": read("eps")}


# -- relatives of Adam --------------------------------------------------------------------------------------------


def _adabelief(read: Read) -> optax.GradientTransformation:
    return after_rate(read, optax.scale_by_belief(**_betas(read), eps_root=read("eps")))


def _acprop(read: Read) -> optax.GradientTransformation:
    eps = read("eps")
    return contrib.acprop(read("learning_rate"), **_betas(read), eps_root=eps)


def _yogi(read: Read) -> optax.GradientTransformation:
    return after_rate(read, optax.scale_by_yogi(**_betas(read)))


def _adopt(read: Read) -> optax.GradientTransformation:
    return contrib.adopt(read("learning_rate"), **_betas(read), use_clipping=read("clip"))


def _ademamix(read: Read) -> optax.GradientTransformation:
    return contrib.ademamix(
        read("learning_rate"), **_betas(read), b3=read("b3"), alpha=read("alpha")
    )


def _simplified_ademamix(read: Read) -> optax.GradientTransformation:
    return contrib.simplified_ademamix(read("learning_rate"), **_betas(read), alpha=read("alpha"))


def _optimistic_gd(read: Read) -> optax.GradientTransformation:
    optimism = optax.scale_by_optimistic_gradient(alpha=1.0, beta=read("optimism"))
    return after_rate(read, optimism)


def _optimistic_adam(read: Read) -> optax.GradientTransformation:
    optimism = optax.scale_by_optimistic_gradient(alpha=1.0, beta=read("optimism"))
    return after_rate(read, optax.scale_by_adam(**_betas(read)), optimism)


class _AdanState(NamedTuple):
    count: Any
    mean: PyTree
    mean_change: PyTree
    mean_square: PyTree
    last: PyTree


def _scale_by_adan(*, b1: Any, b2: Any, b3: Any, eps: Any) -> optax.GradientTransformation:
    """`(m^ + b2 v^) / (sqrt(n^) + eps)`: m, v, n run over g, d = g - g_old and (g + b2 d)^2; d is 0 in the first step.

    Optax 0.2.8 has 1 - b2 in the place of b2 (github.com/google-deepmind/optax/pull/1715): the paper's betas are ours
    taken from 1.

    Args:
        b1: Memory of m, the running mean of gradients.
        b2: Memory of v, the running mean of their changes, and the weight of a change.
        b3: Memory of n, the running mean of squares.
        eps: Added to the root.

    Source:
        Xie et al. 2022, https://arxiv.org/abs/2208.06677, algorithm 1, with the bias correction of the authors' code.
    """

    def init(params: PyTree) -> _AdanState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return _AdanState(jnp.zeros([], jnp.int32), zeros, zeros, zeros, zeros)

    def update(grads: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, Any]:
        change = jax.tree.map(
            lambda g, old: jnp.where(state.count == 0, 0.0, g - old), grads, state.last
        )
        ahead = jax.tree.map(lambda g, d: g + b2 * d, grads, change)
        count = optax.safe_increment(state.count)
        moments = (
            optax.tree.update_moment(grads, state.mean, b1, 1),
            optax.tree.update_moment(change, state.mean_change, b2, 1),
            optax.tree.update_moment(ahead, state.mean_square, b3, 2),
        )
        fair = (
            optax.tree.bias_correction(moment, b, count)
            for moment, b in zip(moments, (b1, b2, b3), strict=True)
        )
        scaled = jax.tree.map(lambda m, v, n: (m + b2 * v) / (jnp.sqrt(n) + eps), *fair)
        return scaled, _AdanState(count, *moments, grads)

    return optax.GradientTransformation(init, update)


def _adan(read: Read) -> optax.GradientTransformation:
    return after_rate(read, _scale_by_adan(**_betas(read), b3=read("b3")))


def _adafactor(read: Read) -> optax.GradientTransformation:
    """Optax's parts; the memory `1 - k^-c` is computed in the type of the run and not always in float32."""
    factored = optax.scale_by_factored_rms(
        decay_rate=read("decay"),
        min_dim_size_to_factor=read("min_dim_size_to_factor"),
        epsilon=read("eps"),
        decay_rate_fn=lambda step, exponent: 1.0 - (step + 1.0) ** (-exponent),
    )
    parts = [factored, optax.clip_by_block_rms(read("clip"))]
    if read("scale_by_weights"):
        parts.append(optax.scale_by_param_block_rms())
    return after_rate(read, *parts)


# -- steps by layer -----------------------------------------------------------------------------------------------


def _lamb(read: Read) -> optax.GradientTransformation:
    adam = optax.scale_by_adam(**_betas(read))
    return after_rate(read, adam, add_decay(read("weight_decay")), optax.scale_by_trust_ratio())


def _lars(read: Read) -> optax.GradientTransformation:
    """`v = m v + a c |x|/|g + w x| (g + w x); x -= v`; biases and norms keep `a g`."""
    ratio = optax.scale_by_trust_ratio(trust_coefficient=read("trust"))
    by_layer = optax.masked(ratio, is_decayed)
    momentum = optax.trace(decay=read("momentum"))
    return optax.chain(after_rate(read, add_decay(read("weight_decay")), by_layer), momentum)


def _fromage(read: Read) -> optax.GradientTransformation:
    return optax.fromage(read("learning_rate"), min_norm=read("min_norm"))


def _novograd(read: Read) -> optax.GradientTransformation:
    """Optax's normalised gradient; decay and momentum come after it, so that biases can be exempt from decay."""
    normalised = optax.scale_by_novograd(b1=0.0, b2=read("b2"), eps=read("eps"))
    decay = add_decay(read("weight_decay"))
    return after_rate(read, normalised, decay, optax.trace(decay=read("b1")))


def _axes_of_matrix(weight: Any) -> contrib.MuonDimensionNumbers | None:
    """A kernel as a matrix [inputs, units]: the last axis counts the units."""
    if weight.ndim < 2:
        return None
    return contrib.MuonDimensionNumbers(tuple(range(weight.ndim - 1)), weight.ndim - 1)


def _muon(read: Read) -> optax.GradientTransformation:
    """Optax's, for kernels of every rank >= 2; the rest steps by Nesterov-Adam at a share of the rate."""
    rate = read("learning_rate")
    return contrib.muon(
        rate,
        ns_steps=read("ns_steps"),
        beta=read("momentum"),
        eps=read("eps"),
        nesterov=read("nesterov"),
        adam_learning_rate=rate * read("adam_share"),
        muon_weight_dimension_numbers=lambda params: jax.tree.map(_axes_of_matrix, params),
    )


# -- signs and small memory -----------------------------------------------------------------------------------------


def _sign_sgd(read: Read) -> optax.GradientTransformation:
    return optax.sign_sgd(read("learning_rate"))


def _signum(read: Read) -> optax.GradientTransformation:
    return optax.signum(read("learning_rate"), beta=read("momentum"))


def _lion(read: Read) -> optax.GradientTransformation:
    return after_rate(read, optax.scale_by_lion(b1=read("b1"), b2=read("b2")))


def _sm3(read: Read) -> optax.GradientTransformation:
    """Optax's, which knows no scalars: they pass as vectors of one."""
    inner = optax.scale_by_sm3(b1=read("momentum"), eps=read("eps"))

    def as_vectors(tree: PyTree) -> PyTree:
        return jax.tree.map(jnp.atleast_1d, tree)

    def update(grads: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, Any]:
        updates, state = inner.update(as_vectors(grads), state)
        return jax.tree.map(lambda u, g: u.reshape(g.shape), updates, grads), state

    by_axes = optax.GradientTransformation(lambda params: inner.init(as_vectors(params)), update)
    return after_rate(read, by_axes)


class _NoiseState(NamedTuple):
    count: Any
    seed: Any


def _no_noise_yet(params: PyTree) -> _NoiseState:
    return _NoiseState(jnp.zeros([], jnp.int32), sign_seed(params))


def _add_noise(*, variance: Any, decay: Any) -> optax.GradientTransformation:
    """`g + n`, n normal with variance `eta / k^gamma` in step k = 1, 2, ...

    As Optax's, but without a key in the state: the noise is made of the count and of the weights a run starts with.

    Args:
        variance: eta.
        decay: gamma.

    Source:
        Neelakantan et al. 2015, https://arxiv.org/abs/1511.06807, equation 1.
    """

    def update(grads: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, Any]:
        count = optax.safe_increment(state.count)
        deviation = jnp.sqrt(variance / (1.0 * count) ** decay)

        def noisy(g: Any, key: Any) -> Any:
            return g + (deviation * jax.random.normal(key, g.shape, g.dtype)).astype(g.dtype)

        keys = step_keys(state.seed, state.count, grads)
        return jax.tree.map(noisy, grads, keys), _NoiseState(count, state.seed)

    return optax.GradientTransformation(_no_noise_yet, update)


def _noisy_sgd(read: Read) -> optax.GradientTransformation:
    return after_rate(read, _add_noise(variance=read("variance"), decay=read("decay")))


# -- averages and curvature -------------------------------------------------------------------------------------------


class _MadgradState(NamedTuple):
    count: Any
    start: PyTree
    total: PyTree
    total_squares: PyTree


def _dual_averaging(*, rate: Any, momentum: Any, eps: Any) -> optax.GradientTransformation:
    """`s += l g; v += l g^2; x = m x + (1-m) (x_0 - s / (v^(1/3) + e))` with `l = (a + e) sqrt(k)`.

    As Optax's, which takes the root of k in float32 whatever the type of the run.

    Args:
        rate: a.
        momentum: m, the share of the last weights that is kept.
        eps: e.

    Source:
        Defazio and Jelassi 2021, https://arxiv.org/abs/2101.11075, algorithm 1; e in l is from the authors' code.
    """

    def init(params: PyTree) -> _MadgradState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return _MadgradState(jnp.zeros([], jnp.int32), params, zeros, zeros)

    def update(grads: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, Any]:
        count = optax.safe_increment(state.count)
        weight = (rate + eps) * (1.0 * count) ** 0.5
        total = jax.tree.map(lambda s, g: s + weight * g, state.total, grads)
        squares = jax.tree.map(lambda v, g: v + weight * g * g, state.total_squares, grads)

        def moved(x0: Any, s: Any, v: Any, x: Any) -> Any:
            return (1 - momentum) * (x0 - s / (jnp.cbrt(v) + eps) - x)

        updates = jax.tree.map(moved, state.start, total, squares, params)
        return updates, _MadgradState(count, state.start, total, squares)

    return optax.GradientTransformation(init, update)


def _madgrad(read: Read) -> optax.GradientTransformation:
    return from_first_step(
        _dual_averaging(rate=read("learning_rate"), momentum=read("momentum"), eps=read("eps"))
    )


def _schedule_free(read: Read) -> optax.GradientTransformation:
    """Optax's wrapper, around a step whose decay leaves biases alone."""
    rate, parts = read("learning_rate"), []
    if read("base") == "adamw":
        parts = [
            optax.scale_by_rms(
                decay=read("b2"), eps=read("eps"), eps_in_sqrt=False, bias_correction=True
            )
        ]
    base = after_rate(read, *parts, add_decay(read("weight_decay")))
    return from_first_step(contrib.schedule_free(base, rate, b1=read("b1")))


def _schedule_free_evaluated(read: Read) -> Evaluator:
    """The average x of the steps z, from y = b1 x + (1-b1) z."""
    return lambda state, params: contrib.schedule_free_eval_params(state.inner, params)


def _hutchinson() -> optax.GradientTransformationExtraArgs:
    """Estimate the diagonal of the Hessian: `u * (H u)` with random signs u, exact where H is diagonal.

    H u is the derivative of the gradient along u, on the batch of the step.

    Source:
        Liu et al. 2023, https://arxiv.org/abs/2305.14342, algorithm 1, with signs for normal numbers as in Optax.
    """

    def update(
        grads: PyTree, state: Any, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        keys = step_keys(state.seed, state.count, params)
        signs = jax.tree.map(
            lambda x, key: jax.random.rademacher(key, x.shape, x.dtype), params, keys
        )
        gradient = jax.grad(objective_of(extra, rule="sophia"))
        _, product = jax.jvp(gradient, (params,), (signs,))
        after = _NoiseState(optax.safe_increment(state.count), state.seed)
        return jax.tree.map(lambda u, hu: u * hu, signs, product), after

    return optax.GradientTransformationExtraArgs(_no_noise_yet, update)


def _sophia(read: Read) -> optax.GradientTransformation:
    return contrib.sophia(
        read("learning_rate"),
        **_betas(read),
        weight_decay=0.0,
        gamma=read("gamma"),
        clip_threshold=read("clip"),
        update_interval=read("update_interval"),
        hessian_diagonal_fn=_hutchinson(),
    )


# -- rules that find their rate -----------------------------------------------------------------------------------------


def _polyak_sgd(read: Read) -> optax.GradientTransformation:
    """`x -= min((f - f_min) / |g|^2, a) g`: the rate is the cap (Optax's puts a schedule into the gradient)."""
    capped = optax.scale_by_polyak(
        f_min=read("lower_bound"), max_learning_rate=read("learning_rate"), variant="sps+"
    )
    return optax.chain(optax.scale(-1.0), capped)


def _momo(read: Read) -> optax.GradientTransformation:
    return from_first_step(
        contrib.momo(
            read("learning_rate"),
            beta=read("momentum"),
            lower_bound=read("lower_bound"),
            adapt_lower_bound=read("adapt_lower_bound"),
        )
    )


def _momo_adam(read: Read) -> optax.GradientTransformation:
    return from_first_step(
        contrib.momo_adam(
            read("learning_rate"),
            **_betas(read),
            lower_bound=read("lower_bound"),
            adapt_lower_bound=read("adapt_lower_bound"),
        )
    )


def _dog(read: Read) -> optax.GradientTransformation:
    start = ("heuristic", read("start"))
    return from_first_step(contrib.dog(read("learning_rate"), init_step=start, eps=read("eps")))


def _dowg(read: Read) -> optax.GradientTransformation:
    return from_first_step(contrib.dowg(read("learning_rate"), eps=read("eps")))


def _cocob(read: Read) -> optax.GradientTransformation:
    """Optax's, whose rate scales the gradient, to which the rule is blind; here it scales the move."""
    coin = contrib.cocob(1.0, alpha=read("alpha"), eps=read("eps"))
    return from_first_step(optax.chain(coin, optax.scale(read("learning_rate"))))


def _with_estimated_decay(
    rule: optax.GradientTransformation, read: Read
) -> optax.GradientTransformation:
    """Add `- w d a c x` with the estimate d of the rule before the step, and c = sqrt(1-b2^k) / (1-b1^k).

    As Optax's own decay of these rules, which would shrink biases too.
    """
    rule = optax.with_extra_args_support(rule)

    def update(
        grads: PyTree, state: Any, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        count = optax.safe_increment(state.count)
        fair = (1 - read("b2") ** count) ** 0.5 / (1 - read("b1") ** count)
        strength = read("weight_decay") * state.estim_lr * read("learning_rate") * fair
        updates, after = rule.update(grads, state, params, **extra)
        return decayed(updates, params, -strength), after

    return from_first_step(optax.GradientTransformationExtraArgs(rule.init, update))


def _prodigy(read: Read) -> optax.GradientTransformation:
    rule = contrib.prodigy(
        read("learning_rate"),
        betas=(read("b1"), read("b2")),
        eps=read("eps"),
        estim_lr0=read("start"),
        estim_lr_coef=read("coefficient"),
        safeguard_warmup=read("safeguard_warmup"),
    )
    return _with_estimated_decay(rule, read)


def _dadapt_adamw(read: Read) -> optax.GradientTransformation:
    rule = contrib.dadapt_adamw(
        read("learning_rate"),
        betas=(read("b1"), read("b2")),
        eps=read("eps"),
        estim_lr0=read("start"),
    )
    return _with_estimated_decay(rule, read)


MODERN: Mapping[str, Builder] = {
    "lion": _lion,
    "adabelief": _adabelief,
    "acprop": _acprop,
    "yogi": _yogi,
    "adopt": _adopt,
    "adan": _adan,
    "ademamix": _ademamix,
    "simplified_ademamix": _simplified_ademamix,
    "optimistic_gd": _optimistic_gd,
    "optimistic_adam": _optimistic_adam,
    "adafactor": _adafactor,
    "lamb": _lamb,
    "lars": _lars,
    "fromage": _fromage,
    "novograd": _novograd,
    "muon": _muon,
    "sign_sgd": _sign_sgd,
    "signum": _signum,
    "sm3": _sm3,
    "noisy_sgd": _noisy_sgd,
    "madgrad": _madgrad,
    "schedule_free": _schedule_free,
    "sophia": _sophia,
    "polyak_sgd": _polyak_sgd,
    "momo": _momo,
    "momo_adam": _momo_adam,
    "dog": _dog,
    "dowg": _dowg,
    "cocob": _cocob,
    "prodigy": _prodigy,
    "dadapt_adamw": _dadapt_adamw,
}
EVALUATED: Mapping[str, Callable[[Read], Evaluator | None]] = {
    "schedule_free": _schedule_free_evaluated
}
