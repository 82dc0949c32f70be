"""Ready networks: shapes, twins in Flax, options, refusals."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from lanework import models
from lanework.errors import SpecError
from tests.contracts.probes import Input, leaves_like, model

IMAGE = Input(shape=(9, 8, 2), num_numeric=0)


def build(net: str, *, input: Any = None, num_outputs: int = 3, **options: Any) -> models.Network:
    return models.network(model(net, **options), input=input or Input(), num_outputs=num_outputs)


def test_mlp_is_the_same_as_flax_layers():
    net = build("mlp", hidden=(6, 5), activation="tanh")
    assert net.layer_names == ("dense_0", "dense_1", "output")
    params, state = net.init(jax.random.key(0))
    assert state == {}
    x = jax.random.normal(jax.random.key(1), (7, 4))
    outputs, _ = net.apply(params, state, x, is_training=True, hypers={})
    wanted = x
    for name, (n_in, n_out) in zip(net.layer_names, [(4, 6), (6, 5), (5, 3)], strict=True):
        layer = nnx.Linear(n_in, n_out, rngs=nnx.Rngs(0))
        layer.kernel[...], layer.bias[...] = params[name]["kernel"], params[name]["bias"]
        wanted = layer(wanted) if name == "output" else jnp.tanh(layer(wanted))
    np.testing.assert_allclose(outputs, wanted, rtol=1e-5, atol=1e-6)
    assert outputs.dtype == jnp.float32


@pytest.mark.slow
def test_cnn_is_the_same_as_flax_layers():
    net = build("cnn", input=IMAGE, channels=(4, 6), dense=(10,))
    assert net.layer_names == ("conv_0", "conv_1", "dense_0", "output")
    params, state = net.init(jax.random.key(0))
    params = jax.tree.map(lambda a: a + 0.1, params)  # biases that are not 0
    x = jax.random.normal(jax.random.key(1), (3, 9, 8, 2))
    outputs, _ = jax.jit(partial(net.apply, is_training=False, hypers={}))(params, state, x)
    wanted = x
    for name, (n_in, n_out) in {"conv_0": (2, 4), "conv_1": (4, 6)}.items():
        layer = nnx.Conv(n_in, n_out, (3, 3), rngs=nnx.Rngs(0))
        layer.kernel[...], layer.bias[...] = params[name]["kernel"], params[name]["bias"]
        wanted = nnx.max_pool(nnx.relu(layer(wanted)), (2, 2), (2, 2))
    wanted = wanted.reshape(3, -1)
    wanted = nnx.relu(wanted @ params["dense_0"]["kernel"] + params["dense_0"]["bias"][None])
    wanted = wanted @ params["output"]["kernel"] + params["output"]["bias"][None]
    np.testing.assert_allclose(outputs, wanted, rtol=1e-4, atol=1e-5)


def test_mlp_without_hidden_layers_is_linear_and_flattens_images():
    net = build("mlp", input=IMAGE, hidden=())
    assert net.layer_names == ("output",)
    params, state = net.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (5, 9, 8, 2))
    outputs, _ = net.apply(params, state, x, is_training=False, hypers={})
    np.testing.assert_allclose(
        outputs, x.reshape(5, -1) @ params["output"]["kernel"], rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("net", ["mlp", "cnn"])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("position", ["before", "after"])
def test_every_norm_and_position_keeps_its_state_and_varies_by_lane(
    net: str, norm: str, position: str
):
    built = build(net, input=IMAGE, norm=norm, norm_position=position, dropout=0.2)
    keys = jax.random.split(jax.random.key(0), 3)
    params, state = jax.vmap(built.init)(keys)
    x = jax.random.normal(jax.random.key(1), (6, 9, 8, 2))
    rates = jnp.array([0.0, 0.3, 0.6])

    def train(params: Any, state: Any, key: jax.Array, rate: jax.Array) -> tuple[jax.Array, Any]:
        return built.apply(params, state, x, key=key, is_training=True, hypers={"dropout": rate})

    outputs, after = jax.jit(jax.vmap(train))(params, state, keys, rates)
    assert outputs.shape == (3, 6, 3)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert leaves_like(after) == leaves_like(state)
    assert bool(state) == (norm == "batch")
    own = jax.tree.map(lambda a: a[1], (params, state, keys, rates))
    np.testing.assert_allclose(outputs[1], jax.jit(train)(*own)[0], rtol=1e-3, atol=1e-4)
    has_bias = "bias" in params[built.layer_names[0]]
    assert has_bias == (norm != "batch" or position == "after")
    assert "bias" in params["output"]


def test_order_of_norm_and_activation():
    for position, is_positive in (("before", True), ("after", False)):
        built = build("mlp", hidden=(8,), norm="layer", norm_position=position, num_outputs=8)
        params, state = built.init(jax.random.key(0))
        params["output"] = {"kernel": jnp.eye(8), "bias": jnp.zeros(8)}
        x = jax.random.normal(jax.random.key(1), (20, 4))
        outputs, _ = built.apply(params, state, x, is_training=False, hypers={})
        assert bool(jnp.all(outputs >= 0)) == is_positive


def test_weights_of_a_seed_do_not_depend_on_norm_depth_or_dropout():
    """Common random numbers: the same seed gives the same weights where shapes allow."""
    plain, other = build("mlp"), build("mlp", norm="layer", dropout=0.5, hidden=(64, 64, 64))
    first, second = (net.init(jax.random.key(3))[0] for net in (plain, other))
    for name in ("dense_0", "dense_1"):
        np.testing.assert_array_equal(first[name]["kernel"], second[name]["kernel"])


def test_apply_does_not_depend_on_the_initialiser():
    """Recipes that differ in `init` only share one program."""
    x = jnp.ones((2, 4))
    programs = []
    for init in ("he_normal", "zeros"):
        net = build("mlp", init=init)
        params, state = net.init(jax.random.key(0))
        run = lambda params, net=net, state=state: net.apply(
            params, state, x, is_training=True, hypers={}
        )
        programs.append(str(jax.make_jaxpr(run)(params)))
    assert programs[0] == programs[1]


def test_no_dropout_means_no_randomness_in_the_program():
    net = build("mlp")
    params, state = net.init(jax.random.key(0))

    def program(hypers: Any) -> str:
        run = lambda key: net.apply(
            params, state, jnp.ones((2, 4)), key=key, is_training=True, hypers=hypers
        )
        return str(jax.make_jaxpr(run)(jax.random.key(0)))

    assert "random_bits" not in program({})
    assert "random_bits" in program({"dropout": jnp.float32(0.0)})


def test_categories_go_through_embeddings():
    net = build("mlp", input=Input(shape=(5,), num_numeric=3, cardinalities=(4, 9)), hidden=(6,))
    assert net.layer_names == ("embed", "dense_0", "output")
    params, state = net.init(jax.random.key(0))
    assert params["dense_0"]["kernel"].shape == (3 + 2 + 5, 6)
    outputs, _ = net.apply(params, state, jnp.ones((2, 5)), is_training=False, hypers={})
    assert outputs.shape == (2, 3)


def test_outputs_can_be_overridden_and_activated():
    net = build("mlp", num_outputs=3, output_activation="softmax")
    params, state = net.init(jax.random.key(0))
    outputs, _ = net.apply(params, state, jnp.ones((2, 4)), is_training=False, hypers={})
    np.testing.assert_allclose(jnp.sum(outputs, axis=1), 1.0, rtol=1e-5)
    wide = models.network(model("mlp", num_outputs=7), input=Input(), num_outputs=3)
    assert wide.init(jax.random.key(0))[0]["output"]["kernel"].shape == (64, 7)


def test_cnn_reads_flat_pictures_by_their_grid():
    flat = Input(shape=(64,), num_numeric=64, grid=(8, 8, 1))
    net = build("cnn", input=flat, channels=(4,), dense=())
    params, state = net.init(jax.random.key(0))
    assert net.apply(params, state, jnp.ones((2, 64)), is_training=False, hypers={})[0].shape == (
        2,
        3,
    )
    assert params["output"]["kernel"].shape == (4 * 4 * 4, 3)


def test_cnn_stops_pooling_when_the_picture_is_used_up():
    net = build("cnn", input=Input(shape=(4, 4, 1)), channels=(2, 2, 2, 2), dense=(3,))
    params, _ = net.init(jax.random.key(0))
    assert params["dense_0"]["kernel"].shape == (2, 3)


def test_cnn_refuses_tables():
    with pytest.raises(
        SpecError,
        match=r"model\.net: cnn must get images .* got inputs of shape \(4,\)\. Use net: mlp",
    ):
        build("cnn")


def test_unknown_network_names_the_nearest():
    with pytest.raises(
        SpecError, match=r"must be the name of a network or file\.py:Class, got 'mpl'\. Use mlp"
    ):
        build_unknown("mpl")
    with pytest.raises(SpecError, match=r"got 'xyzzy'\. Use mlp, cnn"):
        build_unknown("xyzzy")


def build_unknown(name: str) -> models.Network:
    return models.network(model(name), input=Input(), num_outputs=3)


@pytest.mark.parametrize(
    "options",
    [{}, {"norm": "batch"}, {"norm": "layer", "norm_position": "after"}, {"activation": "gelu"}],
    ids=str,
)
def test_gradients_of_the_cnn_against_finite_differences(options: dict[str, str]):
    with jax.enable_x64(True):
        net = build("cnn", input=IMAGE, channels=(3,), dense=(5,), **options)
        params, state = net.init(jax.random.key(0))
        params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64) + 0.01, params)
        state = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), state)
        x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 9, 8, 2)))

        def loss(params: Any) -> jax.Array:
            outputs, _ = net.apply(params, state, x, is_training=True, hypers={})
            return jnp.sum(jnp.sin(outputs))

        check_grads(jax.jit(loss), (params,), order=1, modes=["rev"], rtol=1e-4, eps=1e-6)


def test_importing_models_and_building_an_mlp_does_not_load_flax():
    import subprocess
    import sys

    code = (
        "import sys; from types import SimpleNamespace as N; from lanework import models; "
        "models.network(N(net='cnn', options={}), input=N(shape=(8,8,1), num_numeric=0, cardinalities=(), grid=()), "
        "num_outputs=2); sys.exit('flax' in sys.modules or 'optax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
