"""The multi-layer perceptron as pure functions.

Must not import `lanework.recipes`, `lanework.data` or anything above; imports no Flax.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lanework.models.base import Hypers, Input, ModelSpec, Network, Params, State


def mlp(spec: ModelSpec, *, input: Input, num_outputs: int) -> Network:
    """A multi-layer perceptron."""
    hidden = tuple(spec.options["hidden"])
    sizes = (int(np.prod(input.shape)), *hidden, num_outputs)
    names = tuple(f"dense_{i}" for i in range(len(hidden))) + ("output",)

    def init(key: jax.Array) -> tuple[Params, State]:
        make = jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")
        params = {}
        for index, name in enumerate(names):
            kernel = make(jax.random.fold_in(key, index), (sizes[index], sizes[index + 1]))
            params[name] = {"kernel": kernel, "bias": jnp.zeros((sizes[index + 1],))}
        return params, {}

    def apply(
        params: Params,
        state: State,
        x: jax.Array,
        *,
        key: Any = None,
        is_training: bool,
        hypers: Hypers,
    ) -> tuple[jax.Array, State]:
        x = x.reshape(x.shape[0], -1)
        for name in names[:-1]:
            x = jax.nn.relu(x @ params[name]["kernel"] + params[name]["bias"][None])
        return x @ params["output"]["kernel"] + params["output"]["bias"][None], state

    return Network(init, apply, names)
