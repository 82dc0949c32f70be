"""Dropout and its relatives: entries, channels or branches left out at random, in training and, if wanted, at test.

All shares may be traced. A share is rounded to a multiple of 2^-16, and scales are exact for the rounded share. Must not
import `lanework.recipes`, `lanework.data` or anything above; imports no Flax.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from lanework.models.base import (
    Array,
    Call,
    Hypers,
    Layer,
    ModelSpec,
    Network,
    Params,
    State,
    drawn,
    layer_key,
    option,
)
from lanework.models.ensemble import mean_prediction

FORMS = ("inverted", "vanilla", "vanilla_unscaled")
# Among the hyperparameters of an evaluation: dropout stays on (Monte Carlo).
AT_TEST = "dropout_at_test"
_DRAWS = 65536  # 16 random bits per entry cost half of the 32 that a uniform number takes


def dropout(
    name: str, *, form: str = "inverted", hyper: str = "dropout", is_spatial: bool = False
) -> Layer:
    """Dropout: in training each entry is zero with probability `hypers[hyper]`.

    `inverted` scales what is kept by 1 / (1 - share) in training, and is not there at all at evaluation. `vanilla` scales
    nothing in training and everything by (1 - share) at evaluation: the same in expectation. `vanilla_unscaled` forgets
    that, so that at evaluation the next layer sees more than it ever did: a mistake to look at. Without the share among the
    hyperparameters there is no dropout at all.

    Args:
        name: Name of the layer; the noise depends on it.
        form: `inverted`, `vanilla` or `vanilla_unscaled`.
        hyper: Which hyperparameter holds the share.
        is_spatial: Leave out whole channels of [batch, ..., channel] instead of entries (spatial dropout).

    Source:
        Srivastava et al. 2014, Dropout: a simple way to prevent neural networks from overfitting; Tompson et al. 2015,
        https://arxiv.org/abs/1411.4280 (spatial).
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")

    def apply(params: Params, state: State, x: Array, call: Call) -> tuple[Array, State]:
        if hyper not in call.hypers:
            return x, state
        share = call.hypers[hyper]
        if not is_on(call):
            return (x * _kept_share(share) if form == "vanilla" else x), state
        shape = (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1]) if is_spatial else x.shape
        mask = _keep(_key_of(call, name), shape, share)
        factor = _inverse(share) if form == "inverted" else 1.0
        return jnp.where(mask, x * factor, 0.0), state

    return Layer(name, None, apply)


def of_spec(spec: ModelSpec, name: str) -> Layer:
    """The dropout layer that the options of a network ask for, after hidden units."""
    return dropout(name, form=str(option(spec, "dropout_form")))


def spatial(name: str) -> Layer:
    """Spatial dropout with share `hypers["spatial_dropout"]`, after the feature maps of a block."""
    return dropout(name, hyper="spatial_dropout", is_spatial=True)


def is_on(call: Call) -> bool:
    """Whether something is left out in this call: in training, and at evaluation where Monte Carlo asks for it."""
    return call.is_training or AT_TEST in call.hypers


def drop_path(branch: Array, *, key: Array | None, share: Any, is_training: bool) -> Array:
    """Stochastic depth: leave a whole residual branch out, for each sample on its own.

    In training a sample's branch is zero with probability `share`, and else scaled by 1 / (1 - share); at evaluation it is
    what it is. H(x) = x + drop_path(F(x)).

    Args:
        branch: F(x) [batch, ...].
        key: Key of this branch in this step; None is allowed at evaluation.
        share: Probability of leaving out, in [0, 1); may be traced.
        is_training: Whether the network trains.

    Returns:
        The branch, in the same shape and dtype.

    Source:
        Huang et al. 2016, https://arxiv.org/abs/1603.09382 (there the branch is scaled at test instead).
    """
    if not is_training:
        return branch
    if key is None:
        raise ValueError("stochastic depth needs a key in training, got None. Give key=...")
    mask = _keep(key, (branch.shape[0], *(1,) * (branch.ndim - 1)), share)
    return jnp.where(mask, branch * _inverse(share), 0.0).astype(branch.dtype)


def drop_branch(branch: Array, call: Call, *, name: str, index: int, count: int) -> Array:
    """`drop_path` for branch `index` of `count`, as `hypers["stochastic_depth"]` says.

    The share grows linearly with depth: `rate (index + 1) / count`, so that the last branch is left out most. Without
    `stochastic_depth` among the hyperparameters nothing happens.

    Args:
        branch: F(x) [batch, ...].
        call: The call of the network.
        name: Name of the block; the noise depends on it.
        index: Place of the block, from 0.
        count: Blocks of the network.

    Returns:
        The branch.
    """
    if "stochastic_depth" not in call.hypers or not call.is_training:
        return branch
    share = call.hypers["stochastic_depth"] * ((index + 1) / count)
    key = _key_of(call, f"{name}_path")
    return drop_path(branch, key=key, share=share, is_training=True)


def monte_carlo(net: Network, kind: str, *, passes: int) -> Network:
    """The network whose evaluation leaves dropout on and averages several passes.

    Args:
        net: The network.
        kind: What its outputs are, see `ensemble`.
        passes: Passes to average, at least 1. Their noise is the same at every call, so evaluations repeat.

    Returns:
        A network with the same parameters; its training is unchanged.

    Source:
        Gal and Ghahramani 2016, https://arxiv.org/abs/1506.02142
    """

    def apply(
        params: Params,
        state: State,
        x: Array,
        *,
        key: Array | None = None,
        is_training: bool,
        hypers: Hypers,
        taps: dict[str, Array] | None = None,
    ) -> tuple[Array, State]:
        if is_training:
            return net.apply(params, state, x, key=key, is_training=True, hypers=hypers, taps=taps)
        if taps is not None:  # what layers give is looked at without dropout
            net.apply(params, state, x, key=None, is_training=False, hypers=hypers, taps=taps)
        outputs = sample_outputs(net, params, state, x, hypers=hypers, passes=passes, key=key)
        return mean_prediction(outputs, kind), state

    return Network(net.init, apply, net.layer_names)


def passes_at_evaluation(options: Mapping[str, Any]) -> int:
    """Passes with dropout left on that an evaluation averages, from the options of a network; 0: dropout is off then.

    Dropout that was merely forgotten (`dropout_at_evaluation`) is a single pass.

    Example:
        >>> (
        ...     passes_at_evaluation({"mc_passes": 20}),
        ...     passes_at_evaluation({"dropout_at_evaluation": True}),
        ... )
        (20, 1)
    """
    return int(options.get("mc_passes") or options.get("dropout_at_evaluation") or 0)


def sample_outputs(
    net: Network,
    params: Params,
    state: State,
    x: Any,
    *,
    hypers: Hypers,
    passes: int,
    key: Array | None = None,
) -> Array:
    """Outputs of several evaluations with dropout left on, [pass, batch, num_outputs]; their spread is the model's doubt.

    Args:
        net: The network.
        params: Its weights.
        state: Its state; batch statistics stay as they are.
        x: Inputs [batch, ...].
        hypers: Hyperparameters; `dropout` and its relatives are the shares.
        passes: How many.
        key: Where the noise starts; a fixed one when not given.

    Returns:
        One set of outputs per pass.
    """
    root = jax.random.key(0) if key is None else key
    on = {**hypers, AT_TEST: 1.0}

    def one(number: Array) -> Array:
        drawn = jax.random.fold_in(root, number)
        return net.apply(params, state, x, key=drawn, is_training=False, hypers=on)[0]

    # One pass after the other: all at once would need `passes` times the memory.
    return jax.lax.map(one, jnp.arange(passes))


def _key_of(call: Call, name: str) -> Array:
    if call.key is None:
        raise ValueError("dropout needs a key in training, got None. Give apply(..., key=...).")
    return layer_key(call.key, name)


def _draws_kept(share: Any) -> Array:
    return jnp.round((1.0 - jnp.asarray(share)) * _DRAWS)


def _kept_share(share: Any) -> Array:
    return _draws_kept(share) / _DRAWS


def _inverse(share: Any) -> Array:
    return _DRAWS / jnp.maximum(_draws_kept(share), 1.0)


def _keep(key: Array, shape: tuple[int, ...], share: Any) -> Array:
    """Which entries stay, bool."""
    bits = drawn(partial(jax.random.bits, dtype="uint16"), key, shape).astype(jnp.int32)
    return bits < _draws_kept(share).astype(jnp.int32)
