"""What layers give: running moments over chunks against NumPy, dead units, saturation, samples that only fill up."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from lanework.health import activations

SHAPES = {"dense_0": (2, 5), "dense_0_activation": (2, 5), "output": (2, 3)}


def test_layers_are_those_with_a_tap_after_their_activation_where_they_have_one():
    names = ("embed", "dense_0", "output")
    found = activations.layers(names, SHAPES, activation="tanh")
    assert [layer.name for layer in found] == ["dense_0", "output"]
    assert [layer.tap for layer in found] == ["dense_0_activation", "output"]
    assert [layer.bounds for layer in found] == [(-1.0, 1.0), None]


def test_moments_over_chunks_are_those_of_numpy_and_filling_counts_for_nothing():
    draw = np.random.default_rng(0)
    watched = activations.layers(("dense_0",), SHAPES, activation="tanh")
    chunks = [
        np.tanh(3.0 * draw.standard_normal((8, 5)) + 1.0).astype(np.float32) for _ in range(3)
    ]
    weights = [np.ones(8, np.float32), np.ones(8, np.float32), np.array([1, 1, 1, 0, 0, 0, 0, 0.0])]
    chunks[2][3:] = np.nan  # what only fills up may be anything
    for chunk in chunks:
        chunk[:, 2] = np.where(np.isnan(chunk[:, 2]), np.nan, 0.0)
    sums = activations.zero(watched)
    for chunk, weight in zip(chunks, weights, strict=True):
        taps = {"dense_0_activation": jnp.asarray(chunk)}
        sums = activations.add(watched, sums, taps, weight=jnp.asarray(weight, jnp.float32))
    told = activations.finish(watched, sums)
    seen = np.concatenate([chunks[0], chunks[1], chunks[2][:3]])
    np.testing.assert_allclose(told["activation_mean"], [seen.mean()], rtol=1e-5)
    np.testing.assert_allclose(told["activation_std"], [seen.std()], rtol=1e-5)
    np.testing.assert_allclose(told["saturated_share"], [(np.abs(seen) > 0.96).mean()], rtol=1e-5)
    np.testing.assert_allclose(told["dead_share"], [0.2], rtol=1e-6)
    spread = np.sqrt(np.square(seen - seen.mean(axis=1, keepdims=True)).mean())
    np.testing.assert_allclose(told["unit_spread"], [spread], rtol=1e-5)


def test_only_the_first_samples_of_a_chunk_are_looked_at():
    watched = activations.layers(("output",), SHAPES)
    values = np.ones((activations.SAMPLES + 10, 3), np.float32)
    values[activations.SAMPLES :] = 100.0
    weight = jnp.ones(len(values))
    sums = activations.add(
        watched, activations.zero(watched), {"output": jnp.asarray(values)}, weight=weight
    )
    np.testing.assert_allclose(activations.finish(watched, sums)["activation_mean"], [1.0])


def test_values_that_are_not_finite_stay_visible():
    watched = activations.layers(("output",), SHAPES)
    values = jnp.full((4, 3), jnp.inf)
    sums = activations.add(
        watched, activations.zero(watched), {"output": values}, weight=jnp.ones(4)
    )
    assert not np.isfinite(activations.finish(watched, sums)["activation_mean"]).any()


def test_units_that_are_copies_of_each_other_have_no_spread():
    watched = activations.layers(("output",), SHAPES)
    values = jnp.tile(jnp.arange(4.0)[:, None], (1, 3))
    sums = activations.add(
        watched, activations.zero(watched), {"output": values}, weight=jnp.ones(4)
    )
    told = activations.finish(watched, sums)
    assert float(told["unit_spread"][0]) == 0.0
    assert float(told["activation_std"][0]) > 1.0
