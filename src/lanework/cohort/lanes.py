"""Lanes: stacking, choosing and moving runs between slots.

Everything but `packed` happens between segments and rarely, so it works on the host with NumPy: nothing to compile, and no
difference between one device and many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

PyTree: TypeAlias = Any


def to_host(tree: PyTree) -> PyTree:
    """The same tree with NumPy arrays."""
    return jax.device_get(tree)


def to_devices(tree: PyTree, sharding: Any) -> PyTree:
    """The same tree on the devices, sharded by lane."""
    return jax.device_put(tree, sharding)


@partial(jax.tree_util.register_dataclass, data_fields=("arrays",), meta_fields=("tree", "leaves"))
@dataclass(frozen=True)
class Packed:
    """A tree of small arrays in one array for each type: to fetch an array takes the host longer than to copy what it holds.

    Attributes:
        arrays: By name of the type, [lane, number].
        tree: How the leaves belong together.
        leaves: Type and shape of each, without the run axis.
    """

    arrays: dict[str, jax.Array]
    tree: jax.tree_util.PyTreeDef
    leaves: tuple[tuple[str, tuple[int, ...]], ...]


def packed(tree: PyTree) -> Packed:
    """Arrays [lane, ...] put side by side; part of a compiled program, see `unpacked`."""
    leaves, structure = jax.tree.flatten(tree)
    columns: dict[str, list[jax.Array]] = {}
    for leaf in leaves:
        columns.setdefault(leaf.dtype.name, []).append(
            leaf.reshape(leaf.shape[0], math.prod(leaf.shape[1:]))
        )
    arrays = {name: jnp.concatenate(parts, axis=1) for name, parts in columns.items()}
    return Packed(arrays, structure, tuple((leaf.dtype.name, leaf.shape[1:]) for leaf in leaves))


def unpacked(told: Packed) -> PyTree:
    """The tree with NumPy arrays [lane, ...]; waits until they are there."""
    arrays, begun = to_host(told.arrays), dict.fromkeys(told.arrays, 0)
    leaves = []
    for name, shape in told.leaves:
        rows, end = arrays[name], begun[name] + math.prod(shape)
        leaves.append(rows[:, begun[name] : end].reshape(len(rows), *shape))
        begun[name] = end
    return jax.tree.unflatten(told.tree, leaves)


def take(tree: PyTree, slots: Sequence[int] | np.ndarray) -> PyTree:
    """Lanes `slots` of a host tree, in that order, as copies."""
    order = np.asarray(slots, dtype=np.intp)
    return jax.tree.map(lambda leaf: np.take(leaf, order, axis=0), tree)


def one(tree: PyTree, slot: int) -> PyTree:
    """One lane of a host tree, without the run axis, as copies."""
    return jax.tree.map(lambda leaf: np.array(leaf[slot]), tree)


def merge(mask: np.ndarray, new: PyTree, old: PyTree) -> PyTree:
    """Lanes of `new` where `mask` [lane] is true, of `old` elsewhere (host trees)."""

    def choose(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.where(mask.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(choose, new, old)


def pad_slots(active: Sequence[int], width: int) -> np.ndarray:
    """Slots to carry into a call of `width` lanes: the active ones, then the first again as filling, int [width].

    Filling lanes are computed and thrown away; they exist because a compiled program has a fixed width.
    """
    slots = np.full((width,), active[0], dtype=np.intp)
    slots[: len(active)] = active
    return slots


def widths(largest: int, quantum: int) -> tuple[int, ...]:
    """The few widths a cohort may shrink to, largest first: halves of `largest`, whole multiples of `quantum`.

    Example:
        >>> widths(32, 2)
        (32, 16, 8, 4, 2)
    """
    found = [largest]
    while found[-1] > quantum:
        half = -(-found[-1] // (2 * quantum)) * quantum
        if half == found[-1]:
            break
        found.append(half)
    return tuple(found)
