"""Every activation, initialiser, norm and form of dropout of the catalogue keeps the same promises.

Shapes and types, gradients by finite differences, alone as in lanes, files there and back, documented.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load, save

from lanework import models
from lanework.catalog import CATALOG, entry, listing
from lanework.models import dropout, inits, layers, norms, parts
from lanework.models.base import Call, Layer
from tests.contracts import probes

SHAPES = {"features": (6, 5), "steps": (6, 3, 5), "pixels": (6, 4, 3, 5)}
# Where a norm has nothing to average over.
REFUSED = {("instance", "features"), ("instance", "steps")}
OUTPUT_NORMS = [name for name in CATALOG["norm"] if name in norms.OUTPUT_NORMS]
CASES = [(name, shape) for name in OUTPUT_NORMS for shape in SHAPES if (name, shape) not in REFUSED]


def call(*, is_training: bool = True, **hypers: Any) -> Call:
    return Call(jax.random.key(7), is_training, hypers)


def started(layer: Layer, seed: int = 0) -> tuple[Any, Any]:
    """Parameters moved off their start, so that no gradient is zero by symmetry."""
    params, state = layer.init(jax.random.key(seed)) if layer.init else ({}, {})
    moved = {
        name: leaf + 0.3 * jax.random.normal(jax.random.key(1), leaf.shape, leaf.dtype)
        for name, leaf in params.items()
    }
    return moved, state


def has_right_gradient(loss: Callable[..., jax.Array], *arguments: Any) -> None:
    """The gradient along a random direction, against a central difference (float64)."""
    rng = np.random.default_rng(1)
    direction = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), arguments)

    @jax.jit
    def along(step: jax.Array) -> jax.Array:
        return loss(*jax.tree.map(lambda leaf, d: leaf + step * d, arguments, direction))

    _, slope = jax.jvp(along, (jnp.float64(0.0),), (jnp.float64(1.0),))
    pulled = jax.grad(along)(jnp.float64(0.0))
    central = (along(jnp.float64(1e-6)) - along(jnp.float64(-1e-6))) / 2e-6
    np.testing.assert_allclose(slope, central, rtol=1e-6)
    np.testing.assert_allclose(pulled, central, rtol=1e-6)


def keeps_the_lane_law(make: Callable[[jax.Array], jax.Array]) -> None:
    """A function of a seed gives in a lane of three what it gives alone."""
    together = jax.jit(jax.vmap(make))(jax.random.split(jax.random.key(3), 3))
    alone = jax.jit(make)(jax.random.split(jax.random.key(3), 3)[1])
    np.testing.assert_allclose(together[1], alone, rtol=2e-5, atol=2e-6)
    assert np.all(np.isfinite(together))


def test_tables_and_catalogue_hold_the_same_names():
    assert set(parts.ACTIVATIONS) == set(CATALOG["activation"])
    assert set(inits.INITS) == set(CATALOG["init"])
    assert set(norms.NORMS) | {"none"} == set(CATALOG["norm"])


@pytest.mark.parametrize("kind", ["activation", "init", "norm"])
def test_rows_are_documented_with_formula_and_source(kind: str):
    for row in CATALOG[kind].values():
        assert row.formula
        assert row.source
        assert row.summary.endswith(".")
        text = listing(kind, row.name)
        assert row.formula in text
        assert all(hyper.name in text for hyper in row.hypers)


# ---- activations ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", CATALOG["activation"])
def test_activation_keeps_shape_and_type(name: str, shape: tuple[int, ...]):
    layer = layers.activation("a", shape[-1], choice=name)
    x = jax.random.normal(jax.random.key(0), shape)
    params, state = started(layer)
    apply = jax.jit(lambda x: layer.apply(params, state, x, call()))
    outputs, after = apply(x)
    assert (outputs.shape, outputs.dtype, after) == (x.shape, jnp.float32, {})
    assert np.all(np.isfinite(apply(1e4 * x)[0]))


@pytest.mark.parametrize("name", CATALOG["activation"])
def test_activation_has_the_gradient_of_finite_differences_in_float64(name: str):
    with jax.enable_x64(True):
        layer = layers.activation("a", 5, choice=name)
        # Away from the kink at 0, where there is no derivative.
        x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)))
        x = x + 0.2 * jnp.sign(x)
        params, state = started(layer)

        def loss(params: Any, x: jax.Array) -> jax.Array:
            return jnp.sum(jnp.sin(layer.apply(params, state, x, call())[0]))

        assert layer.apply(params, state, x, call())[0].dtype == jnp.float64
        has_right_gradient(loss, params, x)


@pytest.mark.slow
@pytest.mark.parametrize("name", CATALOG["activation"])
def test_activation_in_a_lane_is_the_activation_alone(name: str):
    layer = layers.activation("a", 5, choice=name)
    params, state = started(layer)
    keeps_the_lane_law(
        lambda key: layer.apply(params, state, jax.random.normal(key, (4, 5)), call())[0]
    )


# ---- initialisers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [(7, 5), pytest.param((3, 3, 4, 6), marks=pytest.mark.slow)],
    ids=["dense", "convolution"],
)
@pytest.mark.parametrize("name", CATALOG["init"])
def test_initialiser_gives_weights_of_shape_and_type_and_depends_on_its_key_only(
    name: str, shape: tuple[int, ...]
):
    make = parts.initializer(name, activation="relu")
    weights = make(jax.random.key(0), shape)
    assert (weights.shape, weights.dtype) == (shape, jnp.float32)
    np.testing.assert_array_equal(weights, make(jax.random.key(0), shape))
    is_fixed = name in ("zeros", "ones", "constant")
    assert np.array_equal(weights, make(jax.random.key(1), shape)) == is_fixed
    keeps_the_lane_law(lambda key: make(key, shape))
    with jax.enable_x64(True):
        assert make(jax.random.key(0), shape).dtype == jnp.float64


# ---- norms ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_norm_keeps_shape_and_type_and_carries_the_same_state(name: str, shape: str):
    layer = norms.norm("n", 5, choice=name)
    assert layer is not None
    x = 3.0 + 2.0 * jax.random.normal(jax.random.key(0), SHAPES[shape])
    params, state = layer.init(jax.random.key(0))
    for is_training in (True, False):
        outputs, after = layer.apply(params, state, x, call(is_training=is_training))
        assert (outputs.shape, outputs.dtype) == (x.shape, jnp.float32)
        assert probes.leaves_like(after) == probes.leaves_like(state)
        assert jax.tree.structure(after) == jax.tree.structure(state)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_norm_has_the_gradient_of_finite_differences_in_float64(name: str, shape: str):
    with jax.enable_x64(True):
        layer = norms.norm("n", 5, choice=name)
        assert layer is not None
        x = jnp.asarray(np.random.default_rng(0).normal(size=SHAPES[shape]))
        params, state = started(layer)

        def loss(params: Any, x: jax.Array) -> jax.Array:
            return jnp.sum(jnp.sin(layer.apply(params, state, x, call())[0]))

        assert layer.apply(params, state, x, call())[0].dtype == jnp.float64
        has_right_gradient(loss, params, x)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape"), CASES)
def test_norm_in_a_lane_is_the_norm_alone(name: str, shape: str):
    layer = norms.norm("n", 5, choice=name)
    assert layer is not None
    params, state = started(layer)
    keeps_the_lane_law(
        lambda key: layer.apply(params, state, jax.random.normal(key, SHAPES[shape]), call())[0]
    )


@pytest.mark.parametrize("name", [name for name in OUTPUT_NORMS if name != "batch"])
def test_norms_of_samples_look_at_one_sample_and_are_the_same_at_evaluation(name: str):
    layer = norms.norm("n", 5, choice=name)
    assert layer is not None
    params, state = started(layer)
    x = jax.random.normal(jax.random.key(0), SHAPES["pixels"])
    whole, _ = layer.apply(params, state, x, call())
    np.testing.assert_allclose(layer.apply(params, state, x[2:3], call())[0], whole[2:3], rtol=1e-5)
    evaluated, _ = layer.apply(params, state, x, call(is_training=False))
    np.testing.assert_array_equal(evaluated, whole)


@pytest.mark.parametrize("name", [n for n in OUTPUT_NORMS if n not in ("batch", "instance")])
def test_norms_of_sequences_do_not_see_other_steps(name: str):
    layer = norms.norm("n", 5, choice=name)
    assert layer is not None
    params, state = started(layer)
    x = jax.random.normal(jax.random.key(0), SHAPES["steps"])
    before, _ = layer.apply(params, state, x, call())
    after, _ = layer.apply(params, state, x.at[:, -1].set(100.0), call())
    np.testing.assert_array_equal(before[:, :-1], after[:, :-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", norms.WEIGHT_NORMS)
@pytest.mark.parametrize("shape", [(7, 5), (3, 3, 4, 6)], ids=["dense", "convolution"])
def test_weight_norm_starts_as_drawn_and_depends_on_direction_and_gain_alone(
    name: str, shape: tuple[int, ...]
):
    form = norms.weight_form(name)
    drawn = jax.random.normal(jax.random.key(0), shape)
    if name == "weight_standardisation":
        drawn = drawn - jnp.mean(drawn, tuple(range(drawn.ndim - 1)), keepdims=True)
    params = form.make(drawn)
    assert params["gain"].shape == shape[-1:]
    np.testing.assert_allclose(form.kernel(params), drawn, rtol=1e-5, atol=1e-6)
    longer = {**params, "kernel": 3.0 * params["kernel"]}
    np.testing.assert_allclose(form.kernel(longer), drawn, rtol=1e-5, atol=1e-6)
    doubled = {**params, "gain": 2.0 * params["gain"]}
    np.testing.assert_allclose(form.kernel(doubled), 2.0 * drawn, rtol=1e-5, atol=1e-6)
    keeps_the_lane_law(lambda key: form.kernel(form.make(jax.random.normal(key, shape))))


@pytest.mark.parametrize("name", norms.WEIGHT_NORMS)
def test_weight_norm_has_the_gradient_of_finite_differences_in_float64(name: str):
    with jax.enable_x64(True):
        form = norms.weight_form(name)
        params = form.make(jnp.asarray(np.random.default_rng(0).normal(size=(2, 2, 3, 4))))

        def loss(params: Any) -> jax.Array:
            return jnp.sum(jnp.sin(form.kernel(params)))

        assert form.kernel(params).dtype == jnp.float64
        has_right_gradient(loss, params)


def test_weight_norm_of_zeros_has_a_finite_gradient():
    for name in norms.WEIGHT_NORMS:
        form = norms.weight_form(name)
        grads = jax.grad(lambda p, form=form: jnp.sum(form.kernel(p)))(form.make(jnp.zeros((4, 3))))
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))


# ---- whole networks -------------------------------------------------------------------------

CHOICES = [
    *(("activation", name) for name in CATALOG["activation"]),
    *(("init", name) for name in CATALOG["init"]),
    *(("norm", name) for name in CATALOG["norm"]),
]


def built(kind: str, name: str) -> models.Network:
    x = np.random.default_rng(0).normal(size=(8, 4, 4, 2)).astype(np.float32)
    return models.network(
        probes.model("cnn", channels=(4,), dense=(6,), **{kind: name}),
        input=probes.Input(shape=(4, 4, 2)),
        num_outputs=3,
        example=x,
    )


# A compilation or two each: those with parameters, state or data of their own in the default suite, all in the slow one.
OFTEN = {"prelu", "lsuv", "data_dependent", "batch", "weight"}
MARKED = [
    pytest.param(kind, name, marks=() if name in OFTEN else pytest.mark.slow)
    for kind, name in CHOICES
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), MARKED)
def test_network_with_it_goes_to_a_file_and_back(kind: str, name: str):
    net = built(kind, name)
    params, state = jax.jit(net.init)(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (5, 4, 4, 2))
    flat = {
        f"{place}|{owner}|{leaf}": np.asarray(value)
        for place, tree in (("params", params), ("state", state))
        for owner, own in tree.items()
        for leaf, value in own.items()
    }
    trees: dict[str, dict[str, Any]] = {"params": {}, "state": {}}
    for path, value in load(save(flat)).items():
        place, owner, leaf = path.split("|")
        trees[place].setdefault(owner, {})[leaf] = value
    assert jax.tree.structure(trees["params"]) == jax.tree.structure(params)
    apply = jax.jit(lambda p, s: net.apply(p, s, x, is_training=False, hypers={})[0])
    read_back = apply(trees["params"], trees["state"])
    np.testing.assert_array_equal(apply(params, state), read_back)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), MARKED)
def test_network_with_it_starts_and_trains_in_lanes_as_alone(kind: str, name: str):
    net = built(kind, name)
    x = jax.random.normal(jax.random.key(1), (5, 4, 4, 2))

    def step(key: jax.Array) -> jax.Array:
        params, state = net.init(key)

        def loss(params: Any) -> jax.Array:
            return jnp.sum(
                jnp.square(net.apply(params, state, x, is_training=True, hypers={})[0] - 1.0)
            )

        params = jax.tree.map(lambda w, g: w - 1e-4 * g, params, jax.grad(loss)(params))
        return net.apply(params, state, x, is_training=True, hypers={})[0]

    together = jax.jit(jax.vmap(step))(jax.random.split(jax.random.key(3), 2))
    alone = jax.jit(step)(jax.random.split(jax.random.key(3), 2)[1])
    np.testing.assert_allclose(together[1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", entry("net", "mlp").hyper("dropout_form").choices)
def test_dropout_varies_by_lane_with_a_traced_share(form: str):
    layer = dropout.dropout("d", form=form)
    x = jnp.ones((50, 40))

    def dropped(share: jax.Array) -> jax.Array:
        return layer.apply({}, {}, x, call(dropout=share))[0]

    shares = jnp.array([0.0, 0.25, 0.75])
    together = jax.vmap(dropped)(shares)
    for lane, share in enumerate(shares):
        np.testing.assert_array_equal(together[lane], dropped(share))
    np.testing.assert_allclose(np.mean(together == 0.0, axis=(1, 2)), shares, atol=0.03)
