"""The transformer: attention by a slow twin, masks, positions, derivatives, lanes, refusals."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from lanework import models
from lanework.errors import SpecError
from lanework.models import transformer
from tests.contracts.probes import Input, model

TOKENS = Input(shape=(6,), num_numeric=0, kind="tokens", vocabulary=5)
BY_STEP = Input(shape=(6,), num_numeric=0, kind="tokens", vocabulary=5, is_stepwise=True)
SERIES = Input(shape=(6, 2), num_numeric=0, kind="series")
SMALL = {"layers": 2, "width": 8, "heads": 2, "expansion": 2}


def build(input: Input = TOKENS, **options: Any) -> models.Network:
    spec = model("transformer", **{**SMALL, **options})
    return models.network(spec, input=input, num_outputs=3)


def samples(input: Input, count: int = 4) -> np.ndarray:
    draw = np.random.default_rng(0)
    if input.kind == "tokens":
        return draw.integers(0, input.vocabulary, (count, *input.shape)).astype(np.int32)
    return draw.normal(size=(count, *input.shape)).astype(np.float32)


def outputs_of(net: models.Network, params: Any, x: Any) -> np.ndarray:
    run = jax.jit(lambda params, x: net.apply(params, {}, x, is_training=False, hypers={})[0])
    return np.asarray(run(params, jnp.asarray(x)))


def test_attention_against_loops():
    draw = np.random.default_rng(0)
    query, key, value = draw.normal(size=(3, 2, 5, 3, 4)).astype(np.float32)
    allowed = draw.random((2, 1, 5, 5)) < 0.6
    allowed[:, :, np.arange(5), np.arange(5)] = True
    found = transformer.attend(query, key, value, allowed=jnp.asarray(allowed))
    wanted = np.zeros_like(query)
    for sample, step, head in np.ndindex(2, 5, 3):
        seen = np.flatnonzero(allowed[sample, 0, step])
        scores = key[sample, seen, head] @ query[sample, step, head] / 2.0
        share = np.exp(scores) / np.exp(scores).sum()
        wanted[sample, step, head] = share @ value[sample, seen, head]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    nothing = transformer.attend(query, key, value, allowed=jnp.zeros((2, 1, 5, 5), bool))
    assert np.all(np.isfinite(nothing))


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary", "none"])
def test_outputs_by_step_do_not_see_later_steps(positions: str):
    net = build(BY_STEP, positions=positions)
    params, state = net.init(jax.random.key(0))
    assert state == {}
    x = samples(BY_STEP)
    outputs = outputs_of(net, params, x)
    assert outputs.shape == (4, 6, 3)
    assert outputs.dtype == np.float32
    other = x.copy()
    other[:, 3:] = (other[:, 3:] + 1) % 5
    changed = outputs_of(net, params, other)
    np.testing.assert_allclose(changed[:, :3], outputs[:, :3], rtol=1e-6, atol=1e-6)
    assert np.all(np.any(changed[:, 3] != outputs[:, 3], axis=-1))


@pytest.mark.parametrize(
    ("input", "pooling"),
    [(TOKENS, "mean"), (SERIES, "cls"), (TOKENS, "last"), (SERIES, "max")],
    ids=["mean", "cls", "last", "max"],
)
def test_padding_changes_nothing(input: Input, pooling: str):
    net = build(input, pooling=pooling)
    params, x = net.init(jax.random.key(0))[0], samples(input)
    filling = -1 if input.kind == "tokens" else np.nan
    short = x.copy()
    short[[0, 2], 4:] = filling
    bare = outputs_of(net, params, x[:, :4])
    found = outputs_of(net, params, short)
    np.testing.assert_allclose(found[[0, 2]], bare[[0, 2]], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[[1, 3]], outputs_of(net, params, x)[[1, 3]], rtol=1e-5, atol=1e-5)  # fmt: skip
    assert np.max(np.abs(found[1] - bare[1])) > 1e-3


@pytest.mark.slow
def test_without_positions_order_is_lost_and_with_them_it_is_not():
    x = samples(TOKENS)
    for positions in ("learned", "sinusoidal", "rotary", "none"):
        net = build(positions=positions)
        params = net.init(jax.random.key(0))[0]
        apart = np.max(np.abs(outputs_of(net, params, x) - outputs_of(net, params, x[:, ::-1])))
        assert (apart > 1e-3) == (positions != "none")


def test_rotary_scores_depend_on_distances_only():
    draw = np.random.default_rng(0)
    query, key = (jnp.asarray(np.tile(draw.normal(size=4), (1, 6, 1, 1))) for _ in range(2))
    scores = jnp.einsum("bqhd,bkhd->qk", transformer.turned(query), transformer.turned(key))
    for distance in range(5):
        np.testing.assert_allclose(np.diag(scores, distance), scores[0, distance], rtol=1e-4)
    assert abs(scores[0, 1] - scores[0, 0]) > 1e-3
    np.testing.assert_allclose(transformer.turned(query)[:, 0], query[:, 0], rtol=1e-6)


def test_waves_are_those_of_the_paper():
    found = transformer.waves(7, 6)
    for place, column in np.ndindex(7, 6):
        angle = place / 10_000 ** (2 * (column // 2) / 6)
        wanted = np.sin(angle) if column % 2 == 0 else np.cos(angle)
        np.testing.assert_allclose(found[place, column], wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("input", "options"),
    [
        (TOKENS, {"positions": "rotary", "norm_position": "after"}),
        (BY_STEP, {"positions": "learned"}),
        (SERIES, {"pooling": "cls", "positions": "sinusoidal"}),
    ],
    ids=["tokens", "by step", "series"],
)
def test_gradients_against_finite_differences(input: Input, options: dict[str, str]):
    with jax.enable_x64(True):
        net = build(input, layers=1, **options)
        params = net.init(jax.random.key(0))[0]
        params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64) + 0.01, params)
        x = samples(input)
        x[1, 4:] = -1 if input.kind == "tokens" else np.nan

        def loss(params: Any) -> jax.Array:
            outputs, _ = net.apply(params, {}, jnp.asarray(x), is_training=True, hypers={})
            assert outputs.dtype == jnp.float64
            return jnp.sum(jnp.sin(outputs))

        check_grads(jax.jit(loss), (params,), order=1, modes=["rev"], rtol=1e-5, eps=1e-6)


@pytest.mark.slow
def test_lanes_with_their_own_dropout_and_depth_are_what_they_are_alone():
    net = build()
    keys = jax.random.split(jax.random.key(0), 3)
    params, _ = jax.vmap(net.init)(keys)
    x = jnp.asarray(samples(TOKENS))
    hypers = {"dropout": jnp.array([0.0, 0.3, 0.0]), "stochastic_depth": jnp.array([0.0, 0.0, 0.9])}

    def train(params: Any, key: jax.Array, hypers: Any) -> jax.Array:
        return net.apply(params, {}, x, key=key, is_training=True, hypers=hypers)[0]

    together = jax.jit(jax.vmap(train))(params, keys, hypers)
    alone = jax.jit(train)(*jax.tree.map(lambda a: a[1], (params, keys, hypers)))
    np.testing.assert_allclose(together[1], alone, rtol=1e-4, atol=1e-5)
    still = jax.vmap(lambda p: net.apply(p, {}, x, is_training=False, hypers={})[0])(params)
    np.testing.assert_allclose(together[0], still[0], rtol=1e-4, atol=1e-5)
    for lane in (1, 2):
        assert np.max(np.abs(together[lane] - still[lane])) > 1e-3


@pytest.mark.slow
def test_taps_show_each_layer_by_step():
    net, taps = build(SERIES), {}
    params, x = net.init(jax.random.key(0))[0], jnp.asarray(samples(SERIES))
    net.apply(params, {}, x, is_training=False, hypers={}, taps=taps)
    shapes = {name: taps[name].shape for name in taps}
    assert shapes["embed"] == (4, 6, 8)
    assert shapes["attention_1"] == (4, 6, 24)
    assert shapes["feed_0"] == shapes["feed_0_activation"] == (4, 6, 16)
    assert shapes["output"] == (4, 3)
    np.testing.assert_allclose(
        jax.nn.gelu(taps["feed_0"], approximate=True), taps["feed_0_activation"], rtol=1e-6
    )


def test_width_must_be_shared_out_among_the_heads():
    with pytest.raises(SpecError, match=r"model\.width: must be a multiple of heads, got width 10 and heads 4\. Use width: 12"):  # fmt: skip
        build(width=10, heads=4)
    with pytest.raises(SpecError, match=r"must be a multiple of 2 x heads .* Use width: 8"):
        build(width=6, heads=2, positions="rotary")
    with pytest.raises(SpecError, match=r"transformer must get sequences .* got a table"):
        build(Input())
