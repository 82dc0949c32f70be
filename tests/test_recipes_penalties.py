"""Penalties against the gradient of their formula; decay; clipping."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import models, recipes
from tests.contracts.probes import Input, model

PARAMS = {
    "dense_0": {"kernel": jnp.array([[1.0, -2.0], [0.0, 3.0]]), "bias": jnp.array([5.0, -5.0])},
    "norm_0": {"scale": jnp.array([2.0]), "bias": jnp.array([1.0])},
}


@pytest.mark.parametrize("hypers", [{"l2": 0.3}, {"l1": 0.2}, {"l2": 0.3, "l1": 0.2}, {}], ids=str)
def test_gradient_is_that_of_the_penalty(hypers: dict[str, float]):
    found = recipes.penalty_gradient(PARAMS, hypers)
    wanted = jax.grad(lambda params: recipes.penalty(params, hypers))(PARAMS)
    kernel = PARAMS["dense_0"]["kernel"]
    by_hand = hypers.get("l2", 0.0) * kernel + hypers.get("l1", 0.0) * np.sign(kernel)
    np.testing.assert_allclose(found["dense_0"]["kernel"], by_hand, rtol=1e-6)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_penalty_is_its_formula():
    found = recipes.penalty(PARAMS, {"l2": 0.5, "l1": 0.1})
    np.testing.assert_allclose(found, 0.25 * 14.0 + 0.1 * 6.0, rtol=1e-6)


def test_biases_and_norms_of_a_network_are_exempt():
    net = models.network(model("mlp", norm="layer"), input=Input(), num_outputs=2)
    params, _ = net.init(jax.random.key(0))
    touched = {
        (path[0].key, path[-1].key)
        for path, _ in jax.tree_util.tree_leaves_with_path(params)
        if not recipes.exempt(path)
    }
    assert touched == {("dense_0", "kernel"), ("dense_1", "kernel"), ("output", "kernel")}
    assert recipes.exempt(("blocks/0", "bias"))
    assert not recipes.exempt(("embed", "table_0"))
    assert not recipes.exempt(())


def test_decay_is_decoupled_and_follows_the_rate():
    updates = jax.tree.map(jnp.ones_like, PARAMS)
    found = recipes.decay_update(updates, PARAMS, {"learning_rate": 0.1, "weight_decay": 0.5})
    np.testing.assert_allclose(
        found["dense_0"]["kernel"], 1.0 - 0.05 * PARAMS["dense_0"]["kernel"], rtol=1e-6
    )
    np.testing.assert_array_equal(found["dense_0"]["bias"], 1.0)
    np.testing.assert_array_equal(found["norm_0"]["scale"], 1.0)


def test_clipping_by_the_global_norm():
    grads = {"a": jnp.array([3.0]), "b": {"c": jnp.array([[4.0]])}}
    clipped, norm = recipes.clip_by_global_norm(grads, 1.0)
    np.testing.assert_allclose(norm, 5.0)
    np.testing.assert_allclose([clipped["a"][0], clipped["b"]["c"][0, 0]], [0.6, 0.8], rtol=1e-6)
    same, _ = recipes.clip_by_global_norm(grads, 5.0)
    np.testing.assert_array_equal(same["a"], grads["a"])
    zero, norm = recipes.clip_by_global_norm({"a": jnp.zeros(2)}, 1.0)
    np.testing.assert_array_equal(zero["a"], 0.0)
    assert norm == 0.0


def test_clipping_keeps_what_is_not_finite_visible():
    for bad in (jnp.nan, jnp.inf):
        clipped, norm = recipes.clip_by_global_norm({"a": jnp.array([bad, 1.0])}, 1.0)
        assert not np.isfinite(norm)
        assert not np.all(np.isfinite(clipped["a"]))


def test_threshold_varies_by_lane():
    grads = {"a": jnp.array([3.0, 4.0])}
    found = jax.vmap(lambda c: recipes.clip_by_global_norm(grads, c)[0]["a"])(
        jnp.array([1.0, 10.0])
    )
    np.testing.assert_allclose(found, [[0.6, 0.8], [3.0, 4.0]], rtol=1e-6)
