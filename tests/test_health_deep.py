"""A close look: each number against a slow twin in NumPy, sharpness against the eigenvalues of the whole Hessian."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from lanework.health import deep

LAYERS = ("hidden", "output")
BATCH = 32


def parameters(scale: float = 1.0) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    shapes = {"hidden": {"kernel": (3, 5), "bias": (5,)}, "output": {"kernel": (5, 2)}}
    drawn = {
        layer: {name: draw.normal(size=shape) for name, shape in shapes[layer].items()}
        for layer in LAYERS
    }
    return jax.tree.map(lambda leaf: jnp.asarray(scale * leaf, jnp.float32), drawn)


def samples(count: int = 64) -> dict[str, jax.Array]:
    draw = np.random.default_rng(1)
    return {
        "x": jnp.asarray(draw.normal(size=(count, 3)), jnp.float32),
        "y": jnp.asarray(draw.normal(size=(count, 2)), jnp.float32),
    }


def loss(params: Any, batch: Any) -> jax.Array:
    hidden = jnp.tanh(batch["x"] @ params["hidden"]["kernel"] + params["hidden"]["bias"][None])
    return jnp.mean((hidden @ params["output"]["kernel"] - batch["y"]) ** 2)


def flat_gradients(params: Any, batch: Any, layer: str) -> np.ndarray:
    """The slow twin: gradient of one layer for each part, [part, parameter], in NumPy."""
    size = len(batch["x"]) // deep.NUM_PARTS
    found = []
    for place in range(deep.NUM_PARTS):
        x, y = (np.asarray(batch[k], np.float64)[place * size : (place + 1) * size] for k in "xy")
        w, b = (np.asarray(params["hidden"][k], np.float64) for k in ("kernel", "bias"))
        v = np.asarray(params["output"]["kernel"], np.float64)
        hidden = np.tanh(x @ w + b)
        error = 2.0 * (hidden @ v - y) / y.size
        back = (error @ v.T) * (1.0 - hidden**2)
        if layer == "output":
            found.append((hidden.T @ error).ravel())
        else:
            found.append(np.concatenate([back.sum(axis=0), (x.T @ back).ravel()]))
    return np.stack(found)


def look(params: Any, batch: Any, before: Any) -> tuple[dict[str, jax.Array], Any]:
    return jax.jit(lambda p, b, g: deep.look(loss, p, b, g, layer_names=LAYERS, batch_size=BATCH))(
        params, batch, before
    )


def test_signal_noise_and_agreement_are_those_of_numpy() -> None:
    params, batch = parameters(), samples()
    before = jax.grad(loss)(parameters(0.5), batch)
    told, mean = look(params, batch, before)
    assert set(told) == {*deep.BY_LAYER, *deep.WHOLE}
    for place, layer in enumerate(LAYERS):
        each = flat_gradients(params, batch, layer)
        centre = each.mean(axis=0)
        noise = np.square(each - centre).sum() / (deep.NUM_PARTS - 1)
        signal = max(0.0, np.square(centre).sum() - noise / deep.NUM_PARTS)
        per_sample = noise * (len(batch["x"]) // deep.NUM_PARTS)
        np.testing.assert_allclose(
            told["grad_snr"][place], signal / (per_sample / BATCH), rtol=1e-3
        )
        cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in combinations(each, 2)]
        np.testing.assert_allclose(told["batch_cosine"][place], np.mean(cosines), atol=1e-5)
        last = ravel_pytree(before[layer])[0]
        turn = centre @ np.asarray(last) / np.linalg.norm(centre) / np.linalg.norm(last)
        np.testing.assert_allclose(told["record_cosine"][place], turn, atol=1e-5)
        np.testing.assert_allclose(ravel_pytree(mean[layer])[0], centre, atol=1e-6)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_sharpness_is_the_largest_eigenvalue_of_the_hessian(scale: float) -> None:
    params, batch = parameters(scale), samples()
    flat, restore = ravel_pytree(params)
    whole = np.asarray(jax.hessian(lambda x: loss(restore(x), batch))(flat), np.float64)
    largest = np.linalg.eigvalsh((whole + whole.T) / 2)[-1]
    found = look(params, batch, params)[0]["sharpness"]
    assert found.shape == (1,)
    np.testing.assert_allclose(found[0], largest, rtol=0.02)
    close = deep.sharpness(lambda at: loss(at, batch), params, iterations=flat.size)
    np.testing.assert_allclose(close, largest, rtol=1e-4)


def test_sharpness_of_a_bowl_is_its_largest_curvature_and_may_be_below_zero() -> None:
    for curvatures in ([1.0, 4.0, 9.0], [-9.0, -4.0, -1.0], [7.0]):
        half = jnp.asarray(curvatures, jnp.float32) / 2
        found = deep.sharpness(lambda at, half=half: jnp.sum(half * at**2), jnp.ones(len(half)))
        np.testing.assert_allclose(found, max(curvatures), rtol=1e-4)


def test_a_loss_that_is_not_finite_gives_no_number() -> None:
    told, _ = look(parameters(jnp.inf), samples(), parameters())
    assert all(np.isnan(column).all() for column in told.values())


def test_the_first_record_agrees_with_nothing_and_pure_noise_has_no_signal() -> None:
    params, batch = parameters(), samples()
    told, _ = look(params, batch, jax.tree.map(jnp.zeros_like, params))
    assert np.isnan(told["record_cosine"]).all()
    # The same inputs with targets of opposite sign around what the network gives: gradients cancel.
    half = {name: column[:4] for name, column in batch.items()}
    hidden = jnp.tanh(half["x"] @ params["hidden"]["kernel"] + params["hidden"]["bias"][None])
    given = hidden @ params["output"]["kernel"]
    signs = jnp.repeat(jnp.asarray([1.0, -1.0] * 4), 4)[:, None]
    noisy = {"x": jnp.tile(half["x"], (8, 1)), "y": jnp.tile(given, (8, 1)) + signs}
    told, _ = look(params, noisy, params)
    np.testing.assert_allclose(told["grad_snr"], 0.0, atol=1e-6)
    assert (np.asarray(told["batch_cosine"]) < 0).all()


@pytest.mark.parametrize(("num_train", "count"), [(3, 8), (20, 16), (63, 56), (10_000, 64)])
def test_parts_are_equal(num_train: int, count: int) -> None:
    assert deep.num_samples(num_train) == count
