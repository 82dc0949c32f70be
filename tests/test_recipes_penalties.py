"""Penalties against the gradient of their formula; decay; the proximal step and max-norm against NumPy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import models, recipes
from tests.contracts.probes import Input, choice, model

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


def test_learned_slopes_are_exempt():
    assert recipes.exempt(("prelu_0", "slope"))
    assert recipes.exempt(("prelu_0", "negative_slope"))


STEPS = 200


def steps_of(project_jax: Any, project_numpy: Any) -> None:
    """200 steps of w = project(w + noise) in float64, by JAX and by NumPy, for a kernel, a convolution and a bias."""
    rng = np.random.default_rng(3)
    shapes = {"kernel": (5, 4), "filter": (3, 3, 2, 4), "bias": (4,)}
    start = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    noise = {name: 0.3 * rng.normal(size=(STEPS, *shape)) for name, shape in shapes.items()}
    wanted, changed = start, 0
    for k in range(STEPS):
        before = {name: leaf + noise[name][k] for name, leaf in wanted.items()}
        wanted = {name: project_numpy(name, leaf) for name, leaf in before.items()}
        changed += any(not np.array_equal(before[name], wanted[name]) for name in before)
    assert changed > 10, "the strength has to matter"

    def step(params: Any, noise: Any) -> tuple[Any, None]:
        return project_jax(jax.tree.map(jnp.add, params, noise)), None

    with jax.enable_x64(True):
        found, _ = jax.lax.scan(step, jax.tree.map(jnp.asarray, start), noise)
    for name, leaf in wanted.items():
        assert found[name].dtype == np.float64
        np.testing.assert_allclose(found[name], leaf, rtol=1e-10, atol=1e-12)


def test_soft_threshold_is_its_formula_over_200_steps():
    def by_numpy(name: str, leaf: np.ndarray) -> np.ndarray:
        return leaf if name == "bias" else np.sign(leaf) * np.maximum(np.abs(leaf) - 0.05, 0.0)

    steps_of(lambda params: recipes.soft_threshold(params, 0.05), by_numpy)


def test_max_norm_is_its_formula_over_200_steps():
    def by_numpy(name: str, leaf: np.ndarray) -> np.ndarray:
        if name == "bias":
            return leaf
        limited = leaf.copy()
        for unit in range(leaf.shape[-1]):
            norm = np.linalg.norm(leaf[..., unit])
            if norm > 1.5:
                limited[..., unit] = leaf[..., unit] * 1.5 / norm
        return limited

    steps_of(lambda params: recipes.limit_norm(params, 1.5), by_numpy)


def test_soft_threshold_gives_exact_zeros_and_leaves_the_rest():
    found = recipes.soft_threshold(PARAMS, 1.0)
    np.testing.assert_array_equal(found["dense_0"]["kernel"], [[0.0, -1.0], [0.0, 2.0]])
    assert not np.any(np.signbit(found["dense_0"]["kernel"][:, 0]))
    for layer, name in (("dense_0", "bias"), ("norm_0", "scale"), ("norm_0", "bias")):
        assert found[layer][name] is PARAMS[layer][name]
    same = recipes.soft_threshold(PARAMS, 0.0)
    np.testing.assert_array_equal(same["dense_0"]["kernel"], PARAMS["dense_0"]["kernel"])
    assert np.isnan(recipes.soft_threshold({"kernel": jnp.array([jnp.nan])}, 1.0)["kernel"][0])


def test_proximal_descent_finds_the_lasso_solution_with_its_zeros():
    """Gradient descent with proximal steps against coordinate descent of scikit-learn: equal support, equal weights."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(5)
    inputs, truth = rng.normal(size=(80, 12)), np.zeros(12)
    truth[[1, 4, 7]] = [2.0, -1.0, 0.3]
    targets = inputs @ truth + 0.1 * rng.normal(size=80)
    strength, rate = 0.1, 0.3
    wanted = linear_model.Lasso(alpha=strength, fit_intercept=False, tol=1e-12, max_iter=100_000)
    wanted.fit(inputs, targets)
    sgd = recipes.rule(choice("optimizer", "sgd"))
    hypers = {"learning_rate": rate}

    with jax.enable_x64(True):
        x, y = jnp.asarray(inputs), jnp.asarray(targets)

        def objective(params: Any) -> jax.Array:
            return jnp.mean(jnp.square(x @ params["kernel"] - y)) / 2

        def step(params: Any, _: None) -> tuple[Any, None]:
            grads = jax.grad(objective)(params)
            updates, _ = sgd.update(grads, sgd.init(params), params, hypers)
            moved = jax.tree.map(jnp.add, params, updates)
            return recipes.soft_threshold(moved, rate * strength), None

        found, _ = jax.lax.scan(step, {"kernel": jnp.ones(12)}, length=2000)
    weights = np.asarray(found["kernel"])
    assert 0 < np.sum(weights == 0.0) < 12
    np.testing.assert_array_equal(weights == 0.0, wanted.coef_ == 0.0)
    np.testing.assert_allclose(weights, wanted.coef_, rtol=1e-6)
    # The conditions of the minimum itself, which no solver's tolerance blurs.
    slope = inputs.T @ (inputs @ weights - targets) / 80
    at = weights != 0.0
    np.testing.assert_allclose(slope[at], -strength * np.sign(weights[at]), rtol=1e-10)
    assert np.all(np.abs(slope[~at]) < strength)


def test_the_penalty_in_the_loss_gives_no_exact_zeros_where_the_proximal_step_does():
    targets = jnp.array([2.0, 0.03, -0.01])
    penalised, proximal = {"kernel": jnp.ones(3)}, {"kernel": jnp.ones(3)}
    for _ in range(300):
        grads = {"kernel": penalised["kernel"] - targets}
        grads = jax.tree.map(jnp.add, grads, recipes.penalty_gradient(penalised, {"l1": 0.1}))
        penalised = jax.tree.map(lambda w, g: w - 0.03 * g, penalised, grads)
        moved = {"kernel": proximal["kernel"] - 0.03 * (proximal["kernel"] - targets)}
        proximal = recipes.soft_threshold(moved, 0.003)
    assert np.all(penalised["kernel"] != 0.0)
    np.testing.assert_array_equal(proximal["kernel"] == 0.0, [False, True, True])
    np.testing.assert_allclose(proximal["kernel"][0], 1.9, rtol=1e-3)


def test_max_norm_holds_after_every_step_and_leaves_the_rest():
    params = {"dense_0": {"kernel": jnp.ones((3, 2)), "bias": jnp.full((2,), 9.0)}}
    key = jax.random.key(0)

    def step(params: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        push = jax.random.normal(key, (3, 2))
        moved = {"dense_0": {**params["dense_0"], "kernel": params["dense_0"]["kernel"] + push}}
        after = recipes.limit_norm(moved, 1.25)
        return after, jnp.sqrt(jnp.sum(jnp.square(after["dense_0"]["kernel"]), axis=0))

    last, norms = jax.lax.scan(step, params, jax.random.split(key, STEPS))
    assert np.all(norms <= 1.25 * (1 + 1e-6))
    assert np.any(norms < 1.0)
    np.testing.assert_array_equal(last["dense_0"]["bias"], 9.0)
    small = {"kernel": jnp.array([[0.1, 0.0], [0.2, 0.0]]), "vector": jnp.array([7.0])}
    same = recipes.limit_norm(small, 1.0)
    np.testing.assert_array_equal(same["kernel"], small["kernel"])
    np.testing.assert_array_equal(same["vector"], 7.0)
    bad = recipes.limit_norm({"kernel": jnp.array([[jnp.nan, 5.0]])}, 1.0)["kernel"]
    assert np.isnan(bad[0, 0])
    np.testing.assert_allclose(bad[0, 1], 1.0)
