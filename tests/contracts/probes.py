"""Rows of the catalogue as cases, and probe problems with known answers."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp

from lanework.catalog import CATALOG, Entry, Hyper


@dataclass(frozen=True)
class Input:
    """Like `lanework.data.InputInfo`, without the data package."""

    shape: tuple[int, ...] = (4,)
    num_numeric: int = 4
    cardinalities: tuple[int, ...] = ()
    grid: tuple[int, ...] = ()
    kind: str = "table"
    vocabulary: int = 0
    is_stepwise: bool = False


def choice(kind: str, name: str, **options: Any) -> Any:
    """A choice with every default filled in, as `lanework.spec` makes it (the rate stands elsewhere)."""
    defaults = CATALOG[kind][name].defaults()
    defaults.pop("learning_rate", None)
    return SimpleNamespace(name=name, options={**defaults, **options})


def model(net: str, **options: Any) -> Any:
    return SimpleNamespace(net=net, options=options)


def traced(entry: Entry) -> dict[str, float]:
    """Default of each traced hyperparameter."""
    return {h.name: float(h.default) for h in entry.hypers if h.traced and h.default is not None}


def spread(hyper: Hyper) -> tuple[float, float, float]:
    """Three allowed values of a traced hyperparameter."""
    default = float(hyper.default or 0.0)
    room = 4.0 if hyper.high is None else hyper.high - default
    if default == 0.0:
        return (0.0, 0.25 * room, 0.5 * room)
    return (0.5 * default, default, 2.0 * default if hyper.high is None else default + 0.5 * room)


def quadratic(params: Any) -> jax.Array:
    """1/2 sum c (x - 1)^2 with curvatures from 1 to 10: minimum 0 where all parameters are 1."""
    total = jnp.zeros(())
    for leaf in jax.tree.leaves(params):
        curvature = jnp.linspace(1.0, 10.0, leaf.size).reshape(leaf.shape)
        total = total + 0.5 * jnp.sum(curvature * jnp.square(leaf - 1.0))
    return total


def quadratic_start() -> Any:
    return {"dense_0": {"kernel": jnp.full((2, 3), -1.0), "bias": jnp.zeros((3,))}}


def uneven_start() -> Any:
    """No two weights alike, some of them near the minimum."""
    kernel = jnp.array([[2.0, 0.5, -1.5], [-0.5, 1.02, 0.2]])
    return {"dense_0": {"kernel": kernel, "bias": jnp.array([0.3, 0.98, -0.7])}}


def leaves_like(tree: Any) -> list[tuple[tuple[int, ...], str]]:
    return [(jnp.shape(leaf), str(jnp.asarray(leaf).dtype)) for leaf in jax.tree.leaves(tree)]


def xor() -> tuple[jax.Array, jax.Array]:
    """Sixteen noisy corners of a square [16, 2] and their parity."""
    corners = jnp.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    noise = 0.1 * jax.random.normal(jax.random.key(0), (4, 4, 2))
    x = (corners[:, None, :] + noise).reshape(16, 2)
    return x, (x[:, 0] * x[:, 1] < 0).astype(jnp.int32)
