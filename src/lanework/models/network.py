"""The network contract and the table of networks.

Must not import `lanework.recipes`, `lanework.data` or anything above; imports no Flax.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from lanework.models.base import Input, ModelSpec, Network
from lanework.models.mlp import mlp

NETS: Mapping[str, Callable[..., Network]] = {"mlp": mlp}


def network(
    spec: ModelSpec, *, input: Input, num_outputs: int, example: np.ndarray | None = None
) -> Network:
    """Build the pure functions of a network."""
    return NETS[spec.net](spec, input=input, num_outputs=num_outputs)
