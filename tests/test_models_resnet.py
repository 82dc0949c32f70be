"""Residual networks: shapes and counts, options, lanes, gradients, refusals."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from lanework import models
from lanework.errors import SpecError
from lanework.models import resnet
from tests.contracts.probes import Input, leaves_like, model

IMAGE = Input(shape=(9, 8, 3), num_numeric=0)


def key(seed: int = 0) -> jax.Array:
    return jax.random.key(seed)


def images(*shape: int, seed: int = 1) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def build(net: str = "resnet", *, input: Any = IMAGE, num_outputs: int = 5, **options: Any) -> Any:
    options = {"depth": 8, "width": 4, **options}
    return models.network(model(net, **options), input=input, num_outputs=num_outputs)


def weights(net: models.Network) -> Any:
    """Random weights of a network's shapes and untouched batch statistics; nothing to compile."""
    rng = np.random.default_rng(0)
    params, state = shapes_of(net)
    params = jax.tree.map(
        lambda leaf: (0.3 * rng.normal(size=leaf.shape)).astype(np.float32), params
    )
    return params, {
        layer: {"mean": np.zeros(own["mean"].shape, "f"), "var": np.ones(own["var"].shape, "f")}
        for layer, own in state.items()
    }


def compiled(net: models.Network, *, is_training: bool = False, hypers: Any = None) -> Any:
    """`(params, state, x) -> (outputs, state, taps)`."""

    def run(params: Any, state: Any, x: Any) -> Any:
        taps: dict[str, jax.Array] = {}
        outputs, after = net.apply(
            params, state, x, is_training=is_training, hypers=hypers or {}, taps=taps
        )
        return outputs, after, taps

    return jax.jit(run)


def shapes_of(net: models.Network) -> Any:
    return jax.eval_shape(net.init, key())


def count(net: models.Network) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(shapes_of(net)[0]))


@pytest.mark.parametrize(
    ("net", "depth", "classes", "shortcut", "wanted"),
    [
        # Known counts: torchvision's resnet18/34/50 with 1000 classes; the paper's CIFAR networks (0.27, 0.46, 0.85 million).
        ("resnet", 18, 1000, "projection", 11_689_512),
        ("resnet", 34, 1000, "projection", 21_797_672),
        ("resnet", 50, 1000, "projection", 25_557_032),
        ("resnet", 20, 10, "padding", 269_722),
        ("resnet", 32, 10, "padding", 464_154),
        ("resnet", 56, 10, "padding", 853_018),
    ],
)
def test_number_of_parameters(
    net: str, depth: int, classes: int, shortcut: str, wanted: int
) -> None:
    made = build(
        net,
        input=Input(shape=(32, 32, 3)),
        num_outputs=classes,
        depth=depth,
        width=None,
        shortcut=shortcut,
    )
    assert count(made) == wanted


def test_plain_is_the_residual_network_without_what_shortcuts_need() -> None:
    plain, padded = build("plain"), build(shortcut="padding")
    assert shapes_of(plain) == shapes_of(padded)
    assert count(build()) > count(plain)
    x = images(4, 9, 8, 3)
    found = [compiled(net)(*weights(plain), x)[0] for net in (plain, padded)]
    assert not np.allclose(*found)


def test_layers_stand_in_forward_order_two_levels_deep() -> None:
    net = build(depth=8)
    assert net.layer_names[:6] == (
        *("stem", "stem_norm", "stage1_block0_conv1", "stage1_block0_conv1_norm"),
        *("stage1_block0_conv2", "stage1_block0_conv2_norm"),
    )
    assert "stage2_block0_shortcut_norm" in net.layer_names
    assert net.layer_names[-1] == "output"
    params, state = shapes_of(net)
    assert set(params) == set(net.layer_names)
    assert set(params["stem"]) == {"kernel"}
    assert set(state["stem_norm"]) == {"mean", "var"}


def test_identity_and_both_shortcuts_by_hand() -> None:
    """With all of F at zero, a block gives act(shortcut(x))."""
    net = build(shortcut="padding", norm="none")
    params, _ = weights(net)
    params = {
        name: jax.tree.map(np.zeros_like, leaves) if name.startswith("stage") else leaves
        for name, leaves in params.items()
    }
    _, _, taps = compiled(net)(params, {}, images(2, 9, 8, 3))
    first = taps["stage1_block0_conv2_activation"]
    np.testing.assert_array_equal(first, taps["stem_activation"])
    second = taps["stage2_block0_conv2_activation"]
    assert second.shape == (2, 5, 4, 8)
    np.testing.assert_array_equal(second[..., :4], first[:, ::2, ::2])
    assert not second[..., 4:].any()


def test_taps_hold_what_weights_and_activations_give() -> None:
    net = build(norm="none")
    outputs, _, taps = compiled(net)(weights(net)[0], {}, images(2, 9, 8, 3))
    assert set(net.layer_names) <= set(taps)
    np.testing.assert_array_equal(taps["output"], outputs)
    before, after = taps["stage1_block0_conv1"], taps["stage1_block0_conv1_activation"]
    np.testing.assert_array_equal(jnp.maximum(before, 0), after)


@pytest.mark.slow
def test_zero_init_makes_blocks_start_as_their_shortcut() -> None:
    net = build(zero_init=True)
    params, state = jax.jit(net.init)(key())
    assert not params["stage1_block0_conv2_norm"]["scale"].any()
    assert params["stage1_block0_conv1_norm"]["scale"].all()
    _, _, taps = compiled(net, is_training=True)(params, state, images(2, 9, 8, 3))
    np.testing.assert_array_equal(taps["stage1_block0_conv2_activation"], taps["stem_activation"])


def test_stochastic_depth_leaves_blocks_out_in_training_only() -> None:
    net = build(norm="none", depth=14, num_outputs=2)
    params, state = weights(net)
    x = jnp.tile(images(1, 9, 8, 3), (64, 1, 1, 1))
    run = jax.jit(partial(net.apply, is_training=True))
    never, _ = run(params, state, x, key=key(), hypers={"stochastic_depth": jnp.float32(0)})
    often, _ = run(params, state, x, key=key(), hypers={"stochastic_depth": jnp.float32(0.9)})
    other, _ = run(params, state, x, key=key(1), hypers={"stochastic_depth": jnp.float32(0.9)})
    np.testing.assert_allclose(never, jnp.broadcast_to(never[:1], never.shape), rtol=1e-5)
    assert len(np.unique(np.round(often[:, 0], 5))) > 8  # samples lose different blocks
    assert not np.allclose(often, other)
    calm, _, _ = compiled(net, hypers={"stochastic_depth": 0.9})(params, state, x)
    np.testing.assert_allclose(calm, never, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="needs a key in training, got None"):
        compiled(net, is_training=True, hypers={"stochastic_depth": 0.5})(params, state, x)


@pytest.mark.parametrize(
    ("net", "options"),
    [
        ("resnet", {}),
        pytest.param("plain", {}, marks=pytest.mark.slow),
        pytest.param("resnet", {"norm": "layer", "norm_position": "after"}, marks=pytest.mark.slow),
    ],
)
def test_lanes_and_state(net: str, options: dict[str, str]) -> None:
    built = build(net, **options)
    keys = jax.random.split(key(), 2)
    params, state = jax.tree.map(lambda leaf: np.stack([leaf, 0.9 * leaf]), weights(built))
    x = images(6, 9, 8, 3)
    rates = jnp.array([0.0, 0.4])

    def train(params: Any, state: Any, key: jax.Array, rate: jax.Array) -> Any:
        return built.apply(params, state, x, key=key, is_training=True, hypers={"dropout": rate})

    outputs, after = jax.jit(jax.vmap(train))(params, state, keys, rates)
    assert outputs.shape == (2, 6, 5)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert leaves_like(after) == leaves_like(state)
    own = jax.tree.map(lambda a: a[1], (params, state, keys, rates))
    np.testing.assert_allclose(outputs[1], jax.jit(train)(*own)[0], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"norm": "none", "activation": "tanh"}, {"activation": "silu"}], ids=str
)
def test_gradients_against_finite_differences(options: dict[str, str]) -> None:
    with jax.enable_x64(True):
        net = build(stem="imagenet", width=2, num_outputs=2, **options)
        params, state = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), weights(net))
        x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 9, 8, 3)))

        def loss(params: Any) -> jax.Array:
            outputs, _ = net.apply(params, state, x, is_training=True, hypers={})
            return jnp.sum(jnp.sin(outputs))

        assert loss(params).dtype == jnp.float64
        check_grads(jax.jit(loss), (params,), order=1, modes=["rev"], rtol=1e-4, eps=1e-6)


@pytest.mark.parametrize("side", [7, 8])
def test_max_pooling_is_the_window_reduction(side: int) -> None:
    x = images(2, side, side + 1, 3)
    pads = ((0, 0), (1, 1), (1, 1), (0, 0))
    window = partial(
        lax.reduce_window,
        init_value=-jnp.inf,
        computation=lax.max,
        window_dimensions=(1, 3, 3, 1),
        window_strides=(1, 2, 2, 1),
        padding=pads,
    )
    np.testing.assert_array_equal(resnet.max_pool(x), window(x))
    cotangent = images(*window(x).shape, seed=2)
    found, wanted = (jax.vjp(f, x)[1](cotangent)[0] for f in (resnet.max_pool, window))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depth": 21}, r"model\.depth: must be 18, 34, 50 or 6n \+ 2 .*, got 21\. Use .* 20"),
        (
            {"zero_init": True, "norm": "none"},
            r"model\.zero_init: must go with a normalisation that ends each block",
        ),
        (
            {"zero_init": True, "norm_position": "after"},
            r"model\.zero_init: must go with a normalisation that ends each block",
        ),
    ],
)
def test_refusals(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        shapes_of(build(**options))


def test_tables_are_refused_and_flat_pictures_read_by_their_grid() -> None:
    with pytest.raises(SpecError, match=r"plain must get images .* shape \(4,\)\. Use net: mlp"):
        build("plain", input=Input())
    net = build(input=Input(shape=(64,), num_numeric=64, grid=(8, 8, 1)))
    outputs, _, _ = jax.eval_shape(compiled(net), *weights(net), jnp.ones((2, 64)))
    assert outputs.shape == (2, 5)


@pytest.mark.slow
def test_frozen_statistics_stay_still_and_are_what_is_used() -> None:
    net = build()
    params, state = weights(net)
    x = 2.0 + images(6, 9, 8, 3)
    still = dict.fromkeys(state, True)
    frozen, after, _ = compiled(net, is_training=True, hypers={"still": still})(params, state, x)
    calm, _, _ = compiled(net)(params, state, x)
    np.testing.assert_array_equal(frozen, calm)
    jax.tree.map(np.testing.assert_array_equal, after, state)
    moving, moved, _ = compiled(net, is_training=True)(params, state, x)
    assert not np.allclose(moved["stem_norm"]["mean"], state["stem_norm"]["mean"])

    @jax.jit
    def run(flag: jax.Array) -> Any:
        flags = dict.fromkeys(state, flag)
        return net.apply(params, state, x, is_training=True, hypers={"still": flags})

    for flag, wanted, wanted_state in ((True, frozen, state), (False, moving, moved)):
        outputs, found = run(jnp.asarray(flag))
        np.testing.assert_allclose(outputs, wanted, rtol=1e-3, atol=1e-4)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), found, wanted_state)
