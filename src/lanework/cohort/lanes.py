"""Lanes: stacking, choosing and moving runs between slots.

Everything here happens between segments and rarely, so it works on the host with NumPy: nothing to compile, and no
difference between one device and many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

PyTree: TypeAlias = Any


def to_host(tree: PyTree) -> PyTree:
    """The same tree with NumPy arrays."""
    return jax.device_get(tree)


def to_devices(tree: PyTree, sharding: Any) -> PyTree:
    """The same tree on the devices, sharded by lane."""
    return jax.device_put(tree, sharding)


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
