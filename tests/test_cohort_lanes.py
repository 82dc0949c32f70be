"""What lanes tell the host: packed into few arrays inside a program, and back."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework.cohort import lanes
from lanework.cohort.step import Segment

TOLD = Segment(
    losses=jnp.arange(6, dtype=jnp.float32).reshape(3, 2),
    series={"clipped": jnp.ones((3, 2))},
    metrics={"accuracy": jnp.array([0.1, jnp.nan, jnp.inf])},
    health={"grad_norm": jnp.arange(12, dtype=jnp.float32).reshape(3, 4)},
    evaluations=jnp.array([1, 2**24 + 1, 3]),
)


def test_what_is_packed_comes_back_as_it_was_in_one_array_for_each_type() -> None:
    packed = jax.jit(lanes.packed)(TOLD)
    assert set(packed.arrays) == {"float32", "int32"}
    back = lanes.unpacked(packed)
    assert isinstance(back, Segment)
    for one, other in zip(jax.tree.leaves(back), jax.tree.leaves(TOLD), strict=True):
        assert isinstance(one, np.ndarray)
        np.testing.assert_array_equal(one, np.asarray(other), strict=True)


@pytest.mark.parametrize("empty", [{}, {"loss": jnp.zeros((2, 0))}])
def test_nothing_is_packed_too(empty: dict[str, jax.Array]) -> None:
    back = lanes.unpacked(jax.jit(lanes.packed)(empty))
    assert set(back) == set(empty)
    assert all(back[name].shape == array.shape for name, array in empty.items())
