"""Layers, activations and initialisers against closed forms and slow twins."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from lanework.errors import SpecError
from lanework.models import layers, parts
from lanework.models.base import Call, Layer, layer_key, pick

EVALUATION = Call(None, False, {})


def run(layer: Layer, x: jax.Array, call: Call) -> tuple[Any, Any, jax.Array, Any]:
    params, state = layer.init(jax.random.key(0)) if layer.init else ({}, {})
    outputs, after = layer.apply(params, state, x, call)
    return params, state, outputs, after


# Variance of the weights for n_in = 300 and n_out = 200, and the limit of the uniform ones.
VARIANCE = {
    "he_normal": 2 / 300,
    "he_uniform": 2 / 300,
    "xavier_normal": 2 / 500,
    "xavier_uniform": 2 / 500,
    "lecun_normal": 1 / 300,
    "lecun_uniform": 1 / 300,
    "small_normal": 1e-4,
    "zeros": 0.0,
}


@pytest.mark.parametrize("name", VARIANCE)
def test_initialiser_has_the_variance_of_its_formula(name: str):
    weights = parts.initializer(name, activation="relu")(jax.random.key(0), (300, 200))
    assert weights.dtype == jnp.float32
    np.testing.assert_allclose(np.var(weights), VARIANCE[name], rtol=0.03)
    np.testing.assert_allclose(np.mean(weights), 0.0, atol=2e-3)
    if name.endswith("uniform"):
        limit = np.sqrt(3 * VARIANCE[name])
        assert 0.99 * limit < np.max(np.abs(weights)) <= limit
    elif name != "zeros":  # a plain normal, not one cut off at two deviations
        assert np.max(np.abs(weights)) > 3.5 * np.sqrt(VARIANCE[name])


def test_fans_of_a_convolution_count_the_window():
    weights = parts.initializer("he_normal", activation="relu")(jax.random.key(0), (3, 3, 32, 64))
    np.testing.assert_allclose(np.var(weights), 2 / (9 * 32), rtol=0.05)


@pytest.mark.parametrize(
    ("activation", "wanted"),
    [
        ("relu", 2 / 300),
        ("gelu", 2 / 300),
        ("tanh", 2 / 500),
        ("sigmoid", 2 / 500),
        ("selu", 1 / 300),
    ],
)
def test_automatic_initialiser_suits_the_activation(activation: str, wanted: float):
    init = parts.initializer("auto", activation=activation)
    np.testing.assert_allclose(np.var(init(jax.random.key(0), (300, 200))), wanted, rtol=0.03)
    last = parts.initializer("auto", activation=activation, is_output=True)
    np.testing.assert_allclose(np.var(last(jax.random.key(0), (300, 200))), 2 / 500, rtol=0.03)


def test_options_of_choices_inside_a_network():
    weights = parts.initializer({"name": "small_normal", "std": 0.5}, activation="relu")(
        jax.random.key(0), (300, 200)
    )
    np.testing.assert_allclose(np.std(weights), 0.5, rtol=0.02)
    leaky = parts.activation({"name": "leaky_relu", "slope": 0.5})
    np.testing.assert_allclose(leaky(jnp.array([-2.0, 3.0])), [-1.0, 3.0])
    assert pick("norm", "batch") == ("batch", {"momentum": 0.9, "eps": 1e-5})


Z = np.linspace(-3, 3, 13)
FORMULAS = {
    "identity": Z,
    "sigmoid": 1 / (1 + np.exp(-Z)),
    "tanh": np.tanh(Z),
    "relu": np.maximum(Z, 0),
    "leaky_relu": np.where(Z > 0, Z, 0.01 * Z),
    "elu": np.where(Z > 0, Z, np.exp(Z) - 1),
    "selu": 1.0507 * np.where(Z > 0, Z, 1.6733 * (np.exp(Z) - 1)),
    "gelu": 0.5 * Z * (1 + np.tanh(np.sqrt(2 / np.pi) * (Z + 0.044715 * Z**3))),
    "silu": Z / (1 + np.exp(-Z)),
    "softplus": np.log(1 + np.exp(Z)),
    "softmax": np.exp(Z) / np.exp(Z).sum(),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_activation_is_its_formula(name: str):
    found = parts.activation(name)(jnp.asarray(Z, jnp.float32)[None, :])[0]
    np.testing.assert_allclose(found, FORMULAS[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", sorted(parts.MONOTONE))
def test_pooling_first_gives_the_same_for_what_is_called_monotone(name: str):
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    act = parts.activation(name)
    np.testing.assert_array_equal(act(layers.max_pool(x)), layers.max_pool(act(x)))


def slow_pool(x: np.ndarray) -> np.ndarray:
    height, width = x.shape[1] // 2, x.shape[2] // 2
    out = np.zeros((x.shape[0], height, width, x.shape[3]))
    for i in range(height):
        for j in range(width):
            out[:, i, j] = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max(axis=(1, 2))
    return out


@pytest.mark.parametrize("shape", [(2, 6, 8, 3), (2, 7, 5, 3), (1, 2, 2, 1)])
def test_max_pool_and_its_gradient(shape: tuple[int, ...]):
    x = jax.random.normal(jax.random.key(0), shape)
    found, pull = jax.vjp(layers.max_pool, x)
    np.testing.assert_allclose(found, slow_pool(np.asarray(x)), rtol=1e-6)
    cotangent = jax.random.normal(jax.random.key(1), found.shape)

    def by_reshape(x: jax.Array) -> jax.Array:
        height, width = shape[1] // 2, shape[2] // 2
        windows = x[:, : 2 * height, : 2 * width].reshape(shape[0], height, 2, width, 2, shape[3])
        return jnp.max(windows, axis=(2, 4))

    wanted = jax.vjp(by_reshape, x)[1](cotangent)[0]
    np.testing.assert_allclose(pull(cotangent)[0], wanted, rtol=1e-6)


def test_max_pool_gives_the_gradient_of_a_tie_to_one_pixel():
    grads = jax.grad(lambda x: jnp.sum(layers.max_pool(x)))(jnp.zeros((1, 2, 2, 1)))
    np.testing.assert_array_equal(grads.ravel(), [1.0, 0.0, 0.0, 0.0])


def test_max_pool_keeps_what_is_not_a_number_visible():
    x = jnp.zeros((1, 2, 2, 1)).at[0, 1, 0, 0].set(jnp.nan)
    assert np.isnan(layers.max_pool(x)[0, 0, 0, 0])


def test_bias_of_feature_maps_and_its_gradient():
    x = jax.random.normal(jax.random.key(0), (3, 4, 5, 6))
    bias = jax.random.normal(jax.random.key(1), (6,))

    def slow(x: jax.Array, bias: jax.Array) -> jax.Array:
        return x + bias[None, None, None, :]

    np.testing.assert_array_equal(layers.add_bias(x, bias), slow(x, bias))
    cotangent = jax.random.normal(jax.random.key(2), x.shape)
    found = jax.vjp(layers.add_bias, x, bias)[1](cotangent)
    wanted = jax.vjp(slow, x, bias)[1](cotangent)
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(32, 5), (8, 4, 4, 5)])
def test_batch_norm_in_training_and_at_evaluation(shape: tuple[int, ...]):
    layer = layers.norm("n", 5, choice="batch")
    x = 3.0 + 2.0 * jax.random.normal(jax.random.key(1), shape)
    params, state, outputs, after = run(layer, x, Call(None, True, {}))
    axes = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(jnp.mean(outputs, axes), 0.0, atol=1e-5)
    np.testing.assert_allclose(jnp.std(outputs, axes), 1.0, rtol=1e-3)
    np.testing.assert_allclose(after["mean"], 0.1 * np.mean(x, axes), rtol=1e-5)
    np.testing.assert_allclose(after["var"], 0.9 + 0.1 * np.var(x, axes), rtol=1e-4)
    for _ in range(100):
        _, state = layer.apply(params, state, x, Call(None, True, {}))
    evaluated, same = layer.apply(params, state, x, EVALUATION)
    np.testing.assert_allclose(evaluated, outputs, atol=1e-3)
    assert same is state


def test_batch_norm_refuses_a_batch_of_one():
    layer = layers.norm("n", 5, choice="batch")
    with pytest.raises(
        SpecError, match=r"must be >= 2 with batch normalisation, got 1.* layer or group"
    ):
        run(layer, jnp.ones((1, 5)), Call(None, True, {}))


@pytest.mark.parametrize("shape", [(6, 5), (6, 4, 4, 5)])
def test_layer_norm_normalises_each_sample(shape: tuple[int, ...]):
    layer = layers.norm("n", 5, choice="layer")
    x = 3.0 + 2.0 * jax.random.normal(jax.random.key(1), shape)
    params, state, outputs, _ = run(layer, x, Call(None, True, {}))
    axes = tuple(range(1, len(shape)))
    np.testing.assert_allclose(jnp.mean(outputs, axes), 0.0, atol=1e-5)
    np.testing.assert_allclose(jnp.std(outputs, axes), 1.0, rtol=1e-3)
    alone, _ = layer.apply(params, state, x[:1], EVALUATION)
    np.testing.assert_allclose(alone, outputs[:1], rtol=1e-5)


@pytest.mark.parametrize("choice", ["batch", "layer"])
def test_gradients_of_norms_against_finite_differences(choice: str):
    with jax.enable_x64(True):
        layer = layers.norm("n", 4, choice=choice)
        x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)))
        params, state = layer.init(jax.random.key(0))
        params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64) + 0.3, params)

        def loss(params: Any, x: jax.Array) -> jax.Array:
            return jnp.sum(jnp.sin(layer.apply(params, state, x, Call(None, True, {}))[0]))

        check_grads(loss, (params, x), order=1, modes=["rev"], rtol=1e-5)


def test_dropout_drops_the_asked_share_and_keeps_the_mean():
    layer = layers.dropout("d")
    x = jnp.ones((200, 500))
    for rate in (0.1, 0.5, 0.9):
        _, _, outputs, _ = run(
            layer, x, Call(jax.random.key(0), True, {"dropout": jnp.float32(rate)})
        )
        np.testing.assert_allclose(np.mean(outputs == 0.0), rate, atol=5e-3)
        np.testing.assert_allclose(np.mean(outputs), 1.0, atol=0.02 / (1 - rate))
        np.testing.assert_allclose(np.max(outputs), 1 / (1 - rate), rtol=1e-3)


def test_dropout_is_absent_at_evaluation_without_a_rate_and_at_rate_zero():
    layer = layers.dropout("d")
    x = jax.random.normal(jax.random.key(0), (4, 5))
    assert run(layer, x, Call(jax.random.key(0), False, {"dropout": 0.5}))[2] is x
    assert run(layer, x, Call(None, True, {}))[2] is x
    zero = Call(jax.random.key(0), True, {"dropout": jnp.float32(0.0)})
    np.testing.assert_array_equal(run(layer, x, zero)[2], x)
    with pytest.raises(ValueError, match=r"dropout needs a key in training, got None\. Give apply"):
        run(layer, x, Call(None, True, {"dropout": 0.5}))


def test_dropout_differs_by_lane_by_step_and_by_layer():
    x = jnp.ones((3, 64))

    def drop(seed: int, name: str = "d") -> jax.Array:
        call = Call(jax.random.key(seed), True, {"dropout": 0.5})
        return layers.dropout(name).apply({}, {}, x, call)[0]

    assert not np.array_equal(drop(0), drop(1))
    assert not np.array_equal(drop(0), drop(0, "e"))
    np.testing.assert_array_equal(drop(0), drop(0))


def test_embeddings_look_codes_up_and_keep_numbers():
    layer = layers.embeddings("embed", (3, 200), num_numeric=2)
    x = jnp.array([[0.5, -1.0, 2.0, 199.0], [1.5, 2.0, 0.0, 0.0]])
    params, _, outputs, _ = run(layer, x, EVALUATION)
    assert {name: table.shape for name, table in params.items()} == {
        "table_0": (3, 2),
        "table_1": (200, 50),
    }
    wanted = np.concatenate(
        [x[:, :2], params["table_0"][np.array([2, 0])], params["table_1"][np.array([199, 0])]],
        axis=1,
    )
    np.testing.assert_allclose(outputs, wanted, rtol=1e-6)
    grads = jax.grad(lambda p: jnp.sum(layer.apply(p, {}, x, EVALUATION)[0]))(params)
    np.testing.assert_array_equal(grads["table_0"], [[1, 1], [0, 0], [1, 1]])
    assert float(jnp.sum(grads["table_1"])) == 100.0
    beyond, _ = layer.apply(params, {}, x.at[0, 2].set(7.0), EVALUATION)
    np.testing.assert_allclose(beyond[0, 2:4], params["table_0"][2])


def test_keys_of_layers_depend_on_their_names_only():
    key = jax.random.key(0)
    first, second = (jax.random.key_data(layer_key(key, name)) for name in ("dense_0", "dense_1"))
    assert not np.array_equal(first, second)
