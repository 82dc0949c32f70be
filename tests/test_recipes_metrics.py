"""Metrics over padded chunks against the plain formulas over all samples at once."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import recipes
from lanework.errors import SpecError


def add_in_chunks(
    table: recipes.Metrics, outputs: Any, targets: Any, losses: Any, *, chunk: int
) -> dict[str, float]:
    """Chunks of a fixed size, the last one filled up with nonsense of weight 0."""
    sums = table.zero()
    for start in range(0, len(outputs), chunk):
        part = [np.asarray(a[start : start + chunk]) for a in (outputs, targets, losses)]
        missing = chunk - len(part[0])
        weights = jnp.asarray([1.0] * len(part[0]) + [0.0] * missing)
        bad = [np.nan, 1, np.inf]
        filled = [
            np.concatenate([a, np.full((missing, *a.shape[1:]), value, a.dtype)])
            for a, value in zip(part, bad, strict=True)
        ]
        before = jax.tree.map(jnp.shape, sums)
        sums = table.add(sums, *map(jnp.asarray, filled), weights)
        assert jax.tree.map(jnp.shape, sums) == before
    return {name: float(value) for name, value in table.finish(sums).items()}


@pytest.mark.parametrize("chunk", [4, 10, 64])
def test_classification(chunk: int):
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(50, 5)).astype(np.float32)
    targets = rng.integers(0, 5, 50).astype(np.int32)
    losses = rng.uniform(size=50).astype(np.float32)
    table = recipes.metrics("classification", num_outputs=5)
    found = add_in_chunks(table, outputs, targets, losses, chunk=chunk)
    assert tuple(found) == table.names == ("loss", "accuracy")
    np.testing.assert_allclose(found["loss"], losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(found["accuracy"], (outputs.argmax(1) == targets).mean(), rtol=1e-6)


def test_one_output_answers_by_the_threshold():
    outputs, targets = jnp.array([[0.2], [0.7], [-0.5]]), jnp.array([0, 1, 0])
    for threshold, wanted in ((0.0, 2 / 3), (0.5, 1.0)):
        table = recipes.metrics("classification", num_outputs=2, threshold=threshold)
        sums = table.add(table.zero(), outputs, targets, jnp.zeros(3), jnp.ones(3))
        np.testing.assert_allclose(table.finish(sums)["accuracy"], wanted, rtol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 3000.0])
@pytest.mark.parametrize("chunk", [4, 64])
def test_regression_in_units_of_the_target(chunk: int, offset: float):
    rng = np.random.default_rng(0)
    targets = (rng.normal(size=(50, 2)) + offset).astype(np.float32)
    outputs = (targets + 0.3 * rng.normal(size=(50, 2))).astype(np.float32)
    scale = np.array([10.0, 0.5])
    table = recipes.metrics("regression", num_outputs=2, target_scale=tuple(scale))
    found = add_in_chunks(table, outputs, targets, np.ones(50, np.float32), chunk=chunk)
    assert tuple(found) == table.names == ("loss", "rmse", "mae", "r2")
    error = (outputs.astype(float) - targets) * scale
    np.testing.assert_allclose(found["rmse"], np.sqrt(np.mean(error**2)), rtol=1e-3)
    np.testing.assert_allclose(found["mae"], np.mean(np.abs(error)), rtol=1e-3)
    spread = np.var(targets.astype(float), axis=0)
    share = np.mean((outputs.astype(float) - targets) ** 2, axis=0) / spread
    np.testing.assert_allclose(found["r2"], np.mean(1 - share), rtol=1e-3)


def test_lanes_and_chunks_inside_a_compiled_loop():
    table = recipes.metrics("regression", num_outputs=1, target_scale=(2.0,))
    y = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4, 1)
    ones = jnp.ones(4)

    def lane(shift: jax.Array) -> jax.Array:
        add = lambda i, sums: table.add(sums, y[i] + shift, y[i], ones, ones)
        return table.finish(jax.lax.fori_loop(0, 3, add, table.zero()))["rmse"]

    np.testing.assert_allclose(jax.vmap(lane)(jnp.array([0.5, 1.0])), [1.0, 2.0], rtol=1e-6)


def test_a_loss_that_is_not_finite_stays_visible():
    table = recipes.metrics("classification", num_outputs=2)
    sums = table.add(
        table.zero(), jnp.ones((1, 2)), jnp.array([0]), jnp.array([jnp.nan]), jnp.ones(1)
    )
    assert np.isnan(table.finish(sums)["loss"])


def test_unknown_task_is_refused():
    with pytest.raises(
        SpecError, match=r"data\.task: must be classification or regression, got 'ranking'"
    ):
        recipes.metrics("ranking", num_outputs=1)


def test_time_steps_are_told_in_perplexity_and_bits():
    table = recipes.metrics("classification", num_outputs=3, is_stepwise=True)
    assert table.names == ("loss", "accuracy", "perplexity", "bits")
    losses, weights = jnp.array([1.0, 3.0, jnp.nan]), jnp.array([1.0, 1.0, 0.0])
    sums = table.add(table.zero(), jnp.eye(3), jnp.array([0, 0, 0]), losses, weights)
    found = {name: float(value) for name, value in table.finish(sums).items()}
    assert found["loss"] == pytest.approx(2.0)
    assert found["perplexity"] == pytest.approx(np.exp(2.0))
    assert found["bits"] == pytest.approx(2.0 / np.log(2.0))
    assert found["accuracy"] == pytest.approx(0.5)
