"""How signals pass through the networks of a study before their first step.

Owns the joining of network, loss and a batch of the data for `lanework.models.signals`. Trains nothing.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from lanework import models, recipes
from lanework.cohort import assemble
from lanework.data import Dataset
from lanework.spec import RunConfig, traced_values

Array: TypeAlias = jax.Array


def at_start(
    config: RunConfig, dataset: Dataset, *, seed: int, module: Any = None
) -> dict[str, list[Any]]:
    """Variance of outputs, activations and gradients by layer, for the weights that a seed starts from.

    Args:
        config: The configuration, its loss filled in.
        dataset: The data; up to 256 training samples are looked at.
        seed: Seed of the run, whose initial weights these are.
        module: The user's own module class, if any.

    Returns:
        `layers` (names, in forward order), and `output`, `activation` and `gradient`, a number for each; see
        `lanework.models.signals`; None where it is not finite. Empty lists for a network that does not show its layers.
    """
    choice = config.train.loss
    if choice is None:
        raise ValueError("the loss must be filled in from the task first (lanework.spec.resolve)")
    outputs = assemble.num_outputs(choice.name, dataset)
    net = assemble.network(
        config.model, dataset, outputs=outputs, module=module, train=config.train
    )
    rows = assemble.example_rows(dataset)
    x, y = assemble.example(dataset), np.asarray(dataset.train.y[rows])
    # The same key as `step.fresh_lane` draws the weights from.
    key = jax.random.fold_in(jax.random.key(seed), 0)
    params, state = jax.eval_shape(net.init, key)
    layers = models.signal_layers(net, params, state, x)
    if not layers or len(x) < 2:
        return {"layers": [], "output": [], "activation": [], "gradient": []}
    per_sample = recipes.loss(choice, task=dataset.task)
    hypers = {name: jnp.float32(value) for name, value in traced_values(config).items()}

    def loss(given: Array) -> Array:
        if not dataset.input.is_stepwise:
            return per_sample(given, jnp.asarray(y), hypers)
        flat = jnp.asarray(y).reshape(-1, *y.shape[2:])
        is_there = flat >= 0 if flat.ndim == 1 else ~jnp.isnan(flat).any(axis=-1)
        shown = jnp.where(is_there.reshape(-1, *(1,) * (flat.ndim - 1)), flat, 0)
        losses = per_sample(given.reshape(-1, given.shape[-1]), shown, hypers)
        return jnp.where(is_there, losses, 0.0)

    def measured(key: Array, x: Array) -> dict[str, Array]:
        params, state = net.init(key)
        return models.signals(net, params, state, x, loss=loss, layers=layers)

    found = jax.jit(measured)(key, x)
    # Records hold numbers or nothing: what overflows is nothing.
    return {"layers": list(layers)} | {
        name: [float(one) if np.isfinite(one) else None for one in np.asarray(value)]
        for name, value in found.items()
    }
