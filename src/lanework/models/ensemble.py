"""Several networks of one kind as one: their predictions, not their weights, are averaged.

Must not import `lanework.recipes`, `lanework.data` or anything above.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lanework.models.base import Array, Hypers, Network, Params, State

KINDS = ("logits", "binary_logits", "values")


def ensemble(net: Network, kind: str) -> Network:
    """The network whose weights are stacked, [member, ...], and whose output is the mean prediction.

    Args:
        net: The network of one member.
        kind: What its outputs are. `logits`: probabilities softmax(f) are averaged, and their logarithm comes out, which is again
            something a softmax can be taken of; `binary_logits`: the same with the sigmoid, for each output apart; `values`:
            the outputs themselves are averaged.

    Returns:
        A network with the same `init` (of one member) and layer names.

    Source:
        Hansen and Salamon 1990, Neural network ensembles; Lakshminarayanan et al. 2017,
        https://arxiv.org/abs/1612.01474 (averaging of probabilities).
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")

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
        del taps  # there is no one set of activations

        def one(params: Params, state: State) -> Array:
            return net.apply(params, state, x, key=key, is_training=is_training, hypers=hypers)[0]

        return mean_prediction(jax.vmap(one)(params, state), kind), state

    return Network(net.init, apply, net.layer_names)


def mean_prediction(outputs: Any, kind: str) -> Array:
    """Outputs [member, n, k] of several networks as one [n, k]; see `ensemble`."""
    count = outputs.shape[0]
    if kind == "logits":
        return jax.nn.logsumexp(jax.nn.log_softmax(outputs, axis=-1), axis=0) - jnp.log(count)
    if kind == "binary_logits":
        yes = jax.nn.logsumexp(jax.nn.log_sigmoid(outputs), axis=0)
        no = jax.nn.logsumexp(jax.nn.log_sigmoid(-outputs), axis=0)
        return yes - no
    return jnp.mean(outputs, axis=0)
