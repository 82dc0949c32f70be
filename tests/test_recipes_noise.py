"""Noise: its distribution, its decay over 200 steps, what it leaves alone, and zero strength as no noise."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lanework import recipes

# Long paths against slow twins; the contracts over the catalogue look at every rule and row by default.
pytestmark = pytest.mark.slow

PARAMS = {
    "dense_0": {"kernel": jnp.linspace(-1.0, 1.0, 12).reshape(4, 3), "bias": jnp.ones(3)},
    "norm_0": {"scale": jnp.full((3,), 2.0)},
    "output": {"kernel": jnp.ones((4, 3)), "bias": jnp.zeros(3)},
}


def test_gradient_noise_is_its_formula_over_200_steps():
    """The draws of each step, taken at strength 1 and step 0, times scale / (1 + t)^(decay / 2) by NumPy."""
    steps, scale, decay = np.arange(200), 0.7, 0.55
    with jax.enable_x64(True):
        grads = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), PARAMS)
        zeros = jax.tree.map(jnp.zeros_like, grads)

        def one(step: Any) -> tuple[Any, Any]:
            key = jax.random.fold_in(jax.random.key(7), step)
            draws = recipes.gradient_noise(zeros, jax.random.clone(key), step=0, scale=1.0)
            return recipes.gradient_noise(grads, key, step=step, scale=scale), draws

        found, draws = jax.vmap(one)(jnp.asarray(steps))
    for leaf, draw, grad in zip(*map(jax.tree.leaves, (found, draws, grads)), strict=True):
        sd = scale / (1.0 + steps) ** (decay / 2)
        wanted = np.asarray(grad)[None] + sd.reshape(-1, *(1,) * grad.ndim) * np.asarray(draw)
        assert leaf.dtype == np.float64
        np.testing.assert_allclose(leaf, wanted, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("step", [0, 9, 999])
def test_gradient_noise_is_normal_with_the_variance_of_the_paper(step: int):
    grads = {"a": jnp.zeros(20_000), "b": {"c": jnp.zeros((100, 200))}}
    found = recipes.gradient_noise(grads, jax.random.key(7), step=step, scale=0.5)
    sd = np.sqrt(0.5**2 / (1 + step) ** 0.55)
    first, second = np.asarray(found["a"]), np.asarray(found["b"]["c"]).ravel()
    for noise in (first, second):
        assert stats.kstest(noise, stats.norm(scale=sd).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03


@pytest.mark.parametrize(("noise", "scale"), [("weight", 0.3), ("input", 2.0)])
def test_weight_and_input_noise_are_normal(noise: str, scale: float):
    x = jnp.ones((100, 200))
    if noise == "weight":
        found = recipes.weight_noise({"kernel": x}, jax.random.key(7), scale)["kernel"]
    else:
        found = recipes.input_noise(x, jax.random.key(7), scale)
    drawn = np.asarray(found - x, np.float64).ravel()
    assert stats.kstest(drawn, stats.norm(scale=scale).cdf).pvalue > 1e-3


def test_weight_noise_leaves_exempt_weights_alone():
    found = recipes.weight_noise(PARAMS, jax.random.key(7), 0.1)
    for layer, name in (("dense_0", "bias"), ("norm_0", "scale"), ("output", "bias")):
        assert found[layer][name] is PARAMS[layer][name]
    moved = [found[layer]["kernel"] - PARAMS[layer]["kernel"] for layer in ("dense_0", "output")]
    assert np.all(moved[0] != 0)
    assert not np.allclose(moved[0], moved[1])


def test_input_noise_leaves_codes_alone():
    tokens = jnp.arange(6).reshape(2, 3)
    assert recipes.input_noise(tokens, jax.random.key(7), 1.0) is tokens
    table = jnp.ones((5, 4))
    found = recipes.input_noise(table, jax.random.key(1), 0.5, num_numeric=3)
    assert np.all(found[:, :3] != 1.0)
    np.testing.assert_array_equal(found[:, 3], 1.0)
    none = recipes.input_noise(table, jax.random.key(2), 0.5, num_numeric=0)
    np.testing.assert_array_equal(none, table)
    image = jnp.zeros((2, 4, 4, 3))
    assert np.all(recipes.input_noise(image, jax.random.key(3), 0.5) != 0.0)


@pytest.mark.parametrize("scale", [0.0, jnp.float32(0.0)])
def test_no_strength_is_no_noise(scale: Any):
    x = jnp.linspace(-3.0, 3.0, 50)
    same = (
        recipes.gradient_noise({"w": x}, jax.random.key(1), step=3, scale=scale)["w"],
        recipes.weight_noise({"w": x}, jax.random.key(2), scale)["w"],
        recipes.input_noise(x, jax.random.key(3), scale),
    )
    for found in same:
        np.testing.assert_array_equal(found, x)


def test_same_key_same_noise_other_key_other_noise():
    first, again, other = (
        recipes.weight_noise(PARAMS, jax.random.key(seed), 0.1)["dense_0"]["kernel"]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.all(first != other)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_type_stays_that_of_what_is_disturbed(dtype: Any):
    leaf = jnp.ones((3,), dtype)
    scale = jnp.float32(0.1)
    found = recipes.gradient_noise({"w": leaf}, jax.random.key(1), step=jnp.int32(2), scale=scale)
    assert found["w"].dtype == dtype
    assert recipes.weight_noise({"w": leaf}, jax.random.key(2), scale)["w"].dtype == dtype
    assert recipes.input_noise(leaf, jax.random.key(3), scale).dtype == dtype


def test_nothing_to_disturb():
    assert recipes.gradient_noise({}, jax.random.key(1), step=0, scale=1.0) == {}
    assert recipes.weight_noise({}, jax.random.key(2), 1.0) == {}


def test_strength_varies_by_lane():
    scales = jnp.array([0.0, 0.5, 1.0])
    keys = jax.random.split(jax.random.key(7), 3)

    def lane(scale: jax.Array, key: jax.Array) -> tuple[Any, Any, Any]:
        own = jax.random.split(key, 3)
        grads = recipes.gradient_noise(PARAMS, own[0], step=4, scale=scale)
        return (
            grads,
            recipes.weight_noise(PARAMS, own[1], scale),
            recipes.input_noise(jnp.ones(4), own[2], scale),
        )

    together = jax.vmap(lane)(scales, jax.random.clone(keys))
    for index in range(3):
        alone = lane(scales[index], keys[index])
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[index], b, rtol=1e-6)
