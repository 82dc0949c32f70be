"""How signals and gradients pass through a network as it starts: their variance layer by layer.

Must not import `lanework.recipes`, `lanework.data` or anything above.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lanework.models.base import Array, Network, Params, State, Taps

ACTIVATION = "_activation"


def signal_layers(net: Network, params: Params, state: State, x: Any) -> tuple[str, ...]:
    """Names of the layers with weights whose outputs the network shows, in forward order; x may be shapes only."""
    taps: dict[str, Array] = {}

    def forward(params: Params, state: State, x: Array) -> Array:
        return net.apply(params, state, x, key=None, is_training=True, hypers={}, taps=taps)[0]

    jax.eval_shape(forward, params, state, x)
    is_weighted = {
        name: any(leaf.ndim >= 2 for leaf in jax.tree.leaves(own)) for name, own in params.items()
    }
    return tuple(name for name in net.layer_names if name in taps and is_weighted[name])


def signals(
    net: Network,
    params: Params,
    state: State,
    x: Array,
    *,
    loss: Callable[[Array], Array],
    layers: tuple[str, ...],
) -> dict[str, Array]:
    """Variance of what each layer gives, of its activation, and of the loss gradient that comes back to it.

    Over all samples and units of a batch, with dropout off and batch norms as in training. A network that keeps these
    figures level over depth can be trained; where they shrink or grow from layer to layer by a factor c, they do by c^L
    over L layers.

    Args:
        net: The network.
        params: Its weights.
        state: Its state.
        x: A batch [batch, ...], at least 2 samples.
        loss: From outputs to one loss per sample [batch].
        layers: Names as `signal_layers` gives them.

    Returns:
        `output`, `activation` and `gradient`, each [layer]: variance of the outputs before the activation, of what comes
        after it (of the outputs themselves where none follows), and of the gradient of a sample's loss with respect to the
        outputs.

    Source:
        Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward neural networks, section 4.2.
    """

    def forward(probes: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        taps = Taps(lambda name, x: x + probes[name] if name in probes else x)
        outputs, _ = net.apply(params, state, x, key=None, is_training=True, hypers={}, taps=taps)
        return jnp.sum(loss(outputs)), dict(taps)

    none: dict[str, Array] = {}
    shapes = jax.eval_shape(lambda: forward(none)[1])
    probes = {name: jnp.zeros(shapes[name].shape, shapes[name].dtype) for name in layers}
    gradients, given = jax.grad(forward, has_aux=True)(probes)
    after = {name: given.get(name + ACTIVATION, given[name]) for name in layers}
    return {
        "output": jnp.stack([jnp.var(given[name]) for name in layers]),
        "activation": jnp.stack([jnp.var(after[name]) for name in layers]),
        "gradient": jnp.stack([jnp.var(gradients[name]) for name in layers]),
    }
