"""Where weights start: gains, initialisers that look at data, single layers by path, biases; and how signals pass."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import models
from lanework.catalog import CATALOG
from lanework.errors import SpecError
from lanework.models import inits, parts
from lanework.models.base import layer_key
from tests.contracts import probes

X = 0.5 + 3.0 * np.random.default_rng(0).normal(size=(200, 12)).astype(np.float32)


def net_of(example: np.ndarray | None = X, bias: Any = None, **options: Any) -> models.Network:
    return models.network(
        probes.model("mlp", **{"hidden": (32, 32, 32), **options}),
        input=probes.Input(shape=(12,), num_numeric=12),
        num_outputs=3,
        example=example,
        output_bias=bias,
    )


def taps_of(net: models.Network, x: np.ndarray = X) -> tuple[Any, dict[str, Any]]:
    params, state = net.init(jax.random.key(0))
    taps: dict[str, Any] = {}
    net.apply(params, state, jnp.asarray(x), is_training=True, hypers={}, taps=taps)
    return params, taps


@pytest.mark.parametrize("name", [n for n in CATALOG["activation"] if n not in ("softmax",)])
def test_gain_keeps_the_mean_square_of_a_normal_signal(name: str):
    nodes, weights = np.polynomial.hermite_e.hermegauss(300)
    function = parts.activation("leaky_relu" if name == "prelu" else name)
    value: Any = name
    if name == "prelu":
        function = parts.activation({"name": "leaky_relu", "slope": 0.25})
    given = np.asarray(function(jnp.asarray(nodes, jnp.float32)), np.float64)
    square = np.sum(weights * given**2) / weights.sum()
    np.testing.assert_allclose(inits.gain(value) ** 2 * square, 1.0, rtol=0.01)


def test_default_suits_the_activation():
    wanted = {"relu": "he_normal", "prelu": "he_normal", "tanh": "xavier_normal", "sigmoid": "xavier_normal", "selu": "lecun_normal"}  # fmt: skip
    assert {name: inits.resolve("auto", activation=name) for name in wanted} == wanted
    assert inits.resolve("auto", activation="relu", is_output=True) == "xavier_normal"
    assert inits.resolve({"name": "he_normal", "fan": "out"}, activation="tanh") == "he_normal"


@pytest.mark.parametrize(
    ("value", "activation", "variance"),
    [
        ({"name": "he_normal", "fan": "out"}, "relu", 2 / 200),
        ({"name": "he_uniform", "fan": "mean"}, "relu", 2 / 250),
        ("he_normal", {"name": "leaky_relu", "slope": 0.5}, 2 / (1.25 * 300)),
        ("he_normal", "prelu", 2 / (1.0625 * 300)),
        ({"name": "xavier_uniform", "gain": 2.0}, "tanh", 8 / 500),
        ("orthogonal", "relu", 2 / 300),
        ({"name": "orthogonal", "gain": 1.0}, "relu", 1 / 300),
        ("random_walk", "relu", 2 * np.exp(2.4 / (300 - 2.4)) / 300),
        ("random_walk", "identity", np.exp(1 / 300) / 300),
        ("truncated_normal", "relu", (0.02 * 0.8796) ** 2),
        ("lsuv", "relu", 1 / 300),
        ("data_dependent", "relu", 1 / 300),
    ],
    ids=str,
)
def test_variance_of_the_formula(value: Any, activation: Any, variance: float):
    weights = inits.initializer(value, activation=activation)(jax.random.key(0), (300, 200))
    np.testing.assert_allclose(np.var(weights), variance, rtol=0.03)


def test_output_layer_has_the_gain_of_no_activation():
    make = inits.initializer("orthogonal", activation="relu", is_output=True)
    np.testing.assert_allclose(np.var(make(jax.random.key(0), (300, 200))), 1 / 300, rtol=0.01)


@pytest.mark.slow
def test_random_walk_keeps_the_logarithm_of_the_length_through_narrow_layers_where_he_loses_it():
    """100 ReLU layers 10 wide: the mean of log |h| stays, with He's gain it falls (Sussillo and Abbott 2014)."""

    def drift(name: str) -> float:
        make = inits.initializer(name, activation="relu")

        def through(key: jax.Array) -> jax.Array:
            first, others = jax.random.split(key)

            def layer(h: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
                return jax.nn.relu(h @ make(jax.random.fold_in(others, number), (10, 10))), None

            h, _ = jax.lax.scan(layer, jax.random.normal(first, (10,)), jnp.arange(100))
            return jnp.sum(jnp.square(h))

        square = np.asarray(jax.jit(jax.vmap(through))(jax.random.split(jax.random.key(0), 400)))
        return float(np.mean(np.log(square[square > 0]))) / 100

    assert drift("he_normal") < -0.2
    assert abs(drift("random_walk")) < 0.08


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["none", "batch", "weight", "weight_standardisation"])
def test_lsuv_gives_every_layer_variance_one_on_its_batch(norm: str):
    params, taps = taps_of(net_of(init="lsuv", norm=norm))
    for name in ("dense_0", "dense_1", "dense_2", "output"):
        np.testing.assert_allclose(jnp.var(taps[name]), 1.0, rtol=1e-3)
    if norm == "none":  # scaled and nothing else
        kernel = np.asarray(params["dense_1"]["kernel"])
        product = kernel.T @ kernel
        np.testing.assert_allclose(product / product[0, 0], np.eye(32), atol=1e-4)


def test_data_dependent_gives_every_unit_mean_zero_and_variance_one():
    _, taps = taps_of(net_of(init="data_dependent"))
    for name in ("dense_0", "dense_1", "dense_2", "output"):
        np.testing.assert_allclose(jnp.mean(taps[name], axis=0), 0.0, atol=1e-4)
        np.testing.assert_allclose(jnp.var(taps[name], axis=0), 1.0, rtol=1e-3)


@pytest.mark.parametrize("name", inits.FROM_DATA)
def test_scaling_on_data_is_right_through_pooling_and_in_lanes(name: str):
    x = np.random.default_rng(0).normal(2.0, 3.0, size=(16, 6, 6, 2)).astype(np.float32)
    net = models.network(
        probes.model("cnn", channels=(4, 6), dense=(8,), init=name),
        input=probes.Input(shape=(6, 6, 2)),
        num_outputs=3,
        example=x,
    )

    def variances(key: jax.Array) -> jax.Array:
        params, state = net.init(key)
        taps: dict[str, Any] = {}
        net.apply(params, state, jnp.asarray(x), is_training=True, hypers={}, taps=taps)
        return jnp.stack([jnp.var(taps[layer]) for layer in net.layer_names])

    found = jax.jit(jax.vmap(variances))(jax.random.split(jax.random.key(0), 3))
    np.testing.assert_allclose(found, 1.0, rtol=1e-3)


def test_scaling_on_data_needs_data():
    with pytest.raises(SpecError, match=r"must be given a batch of the data, got none"):
        net_of(example=None, init="lsuv").init(jax.random.key(0))


def test_scaling_on_data_survives_a_layer_that_gives_nothing():
    net = net_of(example=np.zeros((20, 12), np.float32), init="lsuv")
    params, _ = net.init(jax.random.key(0))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(params))


def test_layers_by_path_have_their_own_start_and_others_keep_theirs():
    rules = {"dense_1": "zeros", "output/kernel": {"name": "constant", "value": 0.5}, "dense_*": "orthogonal"}  # fmt: skip
    params, _ = net_of(init_by_path=rules).init(jax.random.key(0))
    assert np.all(params["dense_1"]["kernel"] == 0.0)
    assert np.all(params["output"]["kernel"] == 0.5)
    own = inits.initializer("orthogonal", activation="relu")
    drawn = own(layer_key(jax.random.key(0), "dense_0"), (12, 32))
    np.testing.assert_array_equal(params["dense_0"]["kernel"], drawn)
    plain, _ = net_of().init(jax.random.key(0))
    kept, _ = net_of(init_by_path={"output": "zeros"}).init(jax.random.key(0))
    np.testing.assert_array_equal(plain["dense_1"]["kernel"], kept["dense_1"]["kernel"])


def test_one_layer_by_path_may_look_at_data():
    _, taps = taps_of(net_of(init_by_path={"output": "lsuv"}))
    np.testing.assert_allclose(jnp.var(taps["output"]), 1.0, rtol=1e-3)
    assert abs(float(jnp.var(taps["dense_0"])) - 1.0) > 0.1


def test_a_pattern_that_fits_nothing_is_refused_with_what_there_is():
    wanted = (
        r"must have patterns that fit a layer, got 'conv_\*'\. The network has dense_0, dense_1"
    )
    with pytest.raises(SpecError, match=wanted):
        net_of(init_by_path={"conv_*": "zeros"})


def test_biases_start_where_asked():
    params, _ = net_of(hidden_bias=0.01, bias=np.array([1.0, 2.0, 3.0])).init(jax.random.key(0))
    np.testing.assert_allclose(params["dense_1"]["bias"], 0.01)
    np.testing.assert_allclose(params["output"]["bias"], [1.0, 2.0, 3.0])
    plain, _ = net_of().init(jax.random.key(0))
    assert all(np.all(own["bias"] == 0.0) for own in plain.values())


def signals_of(depth: int, init: str, activation: str = "relu") -> dict[str, np.ndarray]:
    net = net_of(hidden=(64,) * depth, init=init, activation=activation)
    params, state = net.init(jax.random.key(0))
    layers = models.signal_layers(net, params, state, X)
    assert layers == (*(f"dense_{i}" for i in range(depth)), "output")
    loss = lambda outputs: jnp.sum(jnp.square(outputs - 1.0), axis=-1)
    found = models.signals(net, params, state, jnp.asarray(X), loss=loss, layers=layers)
    return {name: np.asarray(value) for name, value in found.items()}


def test_signals_are_what_taps_and_finite_differences_say():
    net = net_of(hidden=(5,), activation="tanh")
    params, state = net.init(jax.random.key(0))
    x = jnp.asarray(X[:7])
    loss = lambda outputs: jnp.sum(jnp.square(outputs), axis=-1)
    found = models.signals(net, params, state, x, loss=loss, layers=("dense_0", "output"))
    z = x @ params["dense_0"]["kernel"]  # biases start at 0
    f = jnp.tanh(z) @ params["output"]["kernel"]
    back = (2 * f) @ params["output"]["kernel"].T * (1 - jnp.tanh(z) ** 2)
    np.testing.assert_allclose(found["output"], [jnp.var(z), jnp.var(f)], rtol=1e-4)
    np.testing.assert_allclose(found["activation"], [jnp.var(jnp.tanh(z)), jnp.var(f)], rtol=1e-4)
    np.testing.assert_allclose(found["gradient"], [jnp.var(back), jnp.var(2 * f)], rtol=1e-4)


def test_signals_keep_their_size_with_he_and_die_out_with_xavier_in_relu_layers():
    he, xavier = signals_of(19, "he_normal"), signals_of(19, "xavier_normal")
    for name in ("activation", "gradient"):
        ratios = he[name][:-1]
        assert ratios.max() / ratios.min() < 30
    assert xavier["activation"][18] < 1e-4 * xavier["activation"][0]
    assert xavier["gradient"][0] < 1e-4 * xavier["gradient"][18]


def test_zero_weights_give_nothing_and_get_nothing_back():
    zeros = signals_of(3, "zeros")
    assert np.all(zeros["output"] == 0.0)
    assert np.all(zeros["gradient"][:-1] == 0.0)
