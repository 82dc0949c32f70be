"""What a network is, what it is built from, and nothing else.

Must not import anything of Lanework but `errors`; imports no Flax.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

import jax

Params: TypeAlias = dict[str, Any]
State: TypeAlias = dict[str, Any]
Hypers: TypeAlias = Mapping[str, Any]


class Input(Protocol):
    """What a network must know of its input (`lanework.data.InputInfo` is one)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample, without the batch axis."""

    @property
    def num_numeric(self) -> int:
        """Number of leading numeric columns of a table."""

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of codes of each trailing category column; empty when there is none."""


class ModelSpec(Protocol):
    """Name and options of a network (`lanework.spec.ModelSpec` is one)."""

    @property
    def net(self) -> str:
        """Name of the catalogue, or `file.py:Class`."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Every option of the network."""


class Network(NamedTuple):
    """A network of one run as pure functions; `vmap` makes lanes.

    Attributes:
        init: `key -> (params, state)`: nested dicts of arrays; the state is `{}` when the network has none.
        apply: `(params, state, x, *, key, is_training, hypers) -> (outputs [batch, num_outputs], state)`.
        layer_names: First-level names of the parameters, in forward order.
    """

    init: Callable[[jax.Array], tuple[Params, State]]
    apply: Callable[..., tuple[jax.Array, State]]
    layer_names: tuple[str, ...]
