"""Recurrent networks: slow twins, padding, directions, pooling, derivatives, lanes, refusals."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from lanework import models
from lanework.errors import SpecError
from lanework.models import cells, sequences
from lanework.models.cells import CELLS, Driven, Scales
from lanework.models.recurrent import gradient_over_time
from tests.contracts.probes import Input, model

NETS = ("rnn", "gru", "lstm")
TOKENS = Input(shape=(6,), num_numeric=0, kind="tokens", vocabulary=5)
SERIES = Input(shape=(6, 2), num_numeric=0, kind="series")


def build(net: str, input: Input = TOKENS, **options: Any) -> models.Network:
    options = {"hidden": (4,), "embedding": 3, **options}
    return models.network(model(net, **options), input=input, num_outputs=3)


def some(net: models.Network) -> Any:
    """Weights of which none is zero."""
    params, state = net.init(jax.random.key(0))
    assert state == {}
    return jax.tree.map(lambda a: a + 0.1 * jnp.cos(jnp.arange(a.size).reshape(a.shape)), params)


def samples(input: Input, count: int = 4) -> jax.Array:
    if input.kind == "tokens":
        return jax.random.randint(jax.random.key(1), (count, *input.shape), 0, input.vocabulary)
    return jax.random.normal(jax.random.key(1), (count, *input.shape))


def outputs_of(net: models.Network, params: Any, x: Any) -> np.ndarray:
    run = jax.jit(lambda params, x: net.apply(params, {}, x, is_training=False, hypers={})[0])
    return np.asarray(run(params, jnp.asarray(x)))


def logistic(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def standard(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def slow_states(kind: str, own: Any, x: np.ndarray, *, is_normalised: bool = False) -> np.ndarray:
    """The papers' formulas, step by step: hidden states [batch, time, unit] of inputs [batch, time, feature]."""
    w, u, b = (np.asarray(own[name], float) for name in ("kernel", "recurrent_kernel", "bias"))
    size, unit = w.shape[1], u.shape[0]
    scale = np.asarray(own["scale"], float) if is_normalised else np.ones(1)
    blocks = {"tanh": [1], "relu": [1], "gru": [2, 1], "lstm": [4]}[kind]
    ends = np.cumsum(blocks)[:-1] * unit

    def norm(value: np.ndarray, factors: np.ndarray) -> np.ndarray:
        if not is_normalised:
            return value
        return np.concatenate([standard(p) for p in np.split(value, ends, axis=-1)], -1) * factors

    h = c = np.zeros((len(x), unit))
    states = []
    for step in range(x.shape[1]):
        if kind in ("tanh", "relu"):
            a = norm(x[:, step] @ w + h @ u, scale) + b
            h = np.tanh(a) if kind == "tanh" else np.maximum(a, 0)
            states.append(h)
            continue
        given, back = (
            norm(x[:, step] @ w, scale[:size]) + b[:size],
            norm(h @ u, scale[size : 2 * size]),
        )
        if kind == "gru":
            (g_r, g_z, g_n), (v_r, v_z, v_n) = np.split(given, 3, -1), np.split(back, 3, -1)
            r, z = logistic(g_r + v_r), logistic(g_z + v_z)
            n = np.tanh(g_n + r * (v_n + b[3 * unit :]))
            h = (1 - z) * n + z * h
        else:
            i, f, g, o = np.split(given + back, 4, -1)
            c = logistic(f) * c + logistic(i) * np.tanh(g)
            shown = standard(c) * scale[2 * size :] + b[size:] if is_normalised else c
            h = logistic(o) * np.tanh(shown)
        states.append(h)
    return np.stack(states, axis=1)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("kind", CELLS)
def test_cells_against_the_papers_step_by_step(kind: str, layer_norm: bool):
    net = "rnn" if kind in ("tanh", "relu") else kind
    options = {"activation": kind} if net == "rnn" else {}
    built = build(net, SERIES, layer_norm=layer_norm, **options)
    params, x = some(built), samples(SERIES)

    @jax.jit
    def run(params: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        taps: dict[str, jax.Array] = {}
        return built.apply(params, {}, x, is_training=False, hypers={}, taps=taps)[0], taps

    outputs, taps = run(params)
    wanted = slow_states(kind, params[f"{net}_0"], np.asarray(x), is_normalised=layer_norm)
    np.testing.assert_allclose(taps[f"{net}_0"], wanted, rtol=1e-4, atol=1e-5)
    output = jax.tree.map(np.asarray, params["output"])
    last = wanted[:, -1] @ output["kernel"] + output["bias"]
    np.testing.assert_allclose(outputs, last, rtol=1e-4, atol=1e-5)
    assert (f"{net}_0_activation" in taps) == (net == "rnn")


def driven(kind: str, *, time: int = 5, batch: int = 3, unit: int = 4) -> Driven:
    size = CELLS[kind].num_gates * unit
    keys = jax.random.split(jax.random.key(3), 4)
    return Driven(
        jax.random.normal(keys[0], (time, batch, size)),
        0.5 * jax.random.normal(keys[1], (unit, size)),
        jax.random.normal(keys[2], (size,)) if kind == "gru" else None,
        0.1 * jax.random.normal(keys[3], (time, batch, unit)),
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", CELLS)
def test_derivative_of_the_loop_is_the_one_that_jax_finds(kind: str):
    cell, given = CELLS[kind], driven(kind)
    mask = jnp.arange(5)[:, None] >= jnp.array([[0, 2, 1]])
    weights = jax.random.normal(jax.random.key(4), (5, 3, 4))

    def by_us(given: Driven) -> jax.Array:
        return cells.unroll(cell, given, mask=mask)

    def by_jax(given: Driven) -> jax.Array:
        return cells._forward(cell, given, mask[:, :, None])[0][0]

    @jax.jit
    def derivatives(given: Driven) -> Any:
        found = []
        for states in (by_us, by_jax):
            total = lambda given, states=states: jnp.sum(jnp.sin(states(given)) * weights)
            # Forward over reverse: what rules that look at the curvature ask for.
            grads, bent = jax.jvp(jax.grad(total), (given,), (given,))
            found.append((states(given), grads, bent))
        return found

    ours, wanted = derivatives(given)
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
    jax.tree.map(close, ours, wanted)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(wanted[1]))


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS)
def test_gradients_against_finite_differences(net: str):
    with jax.enable_x64(True):
        built = build(net, hidden=(3, 2), bidirectional=True)
        params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), some(built))
        x = samples(TOKENS).at[1, 4:].set(-1)

        def loss(params: Any) -> jax.Array:
            outputs, _ = built.apply(params, {}, x, is_training=True, hypers={})
            assert outputs.dtype == jnp.float64
            return jnp.sum(jnp.sin(outputs))

        check_grads(jax.jit(loss), (params,), order=1, modes=["rev"], rtol=1e-6, eps=1e-6)


def padded(x: np.ndarray, *, more: int) -> np.ndarray:
    filling = -1 if x.dtype.kind == "i" else np.nan
    widths = [(0, 0), (0, more)] + [(0, 0)] * (x.ndim - 2)
    return np.pad(x, widths, constant_values=filling)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "pooling", "input"),
    [("rnn", "last", TOKENS), ("gru", "max", SERIES), ("lstm", "mean", TOKENS)],
)
def test_padding_changes_nothing(net: str, pooling: str, input: Input):
    built = build(net, input, hidden=(4, 3), bidirectional=True, pooling=pooling)
    params, x = some(built), np.asarray(samples(input))
    bare = outputs_of(built, params, x[:, :4])
    mixed = padded(x[:, :4], more=5)
    mixed[1] = padded(x[1:2], more=3)[0]  # a longer one beside
    found = outputs_of(built, params, mixed)
    np.testing.assert_allclose(found[[0, 2, 3]], bare[[0, 2, 3]], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], outputs_of(built, params, x)[1], rtol=1e-5, atol=1e-6)
    assert np.max(np.abs(found[1] - bare[1])) > 1e-3


@pytest.mark.parametrize("net", ["gru", "lstm"])
def test_gradients_of_padded_sequences_are_finite_and_those_of_bare_ones(net: str):
    built = build(net, SERIES, bidirectional=True)
    params, x = some(built), np.asarray(samples(SERIES))[:, :4]
    total = lambda p, x: jnp.sum(jnp.sin(built.apply(p, {}, x, is_training=True, hypers={})[0]))
    grads = jax.jit(jax.grad(total))
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, grads(params, padded(x, more=3)), grads(params, x))


def test_outputs_by_step_do_not_see_later_steps():
    stepwise = Input(shape=(6,), num_numeric=0, kind="tokens", vocabulary=5, is_stepwise=True)
    for net in ("gru", "lstm"):
        built = build(net, stepwise, hidden=(4, 4))
        params, x = some(built), np.asarray(samples(stepwise))
        outputs = outputs_of(built, params, x)
        assert outputs.shape == (4, 6, 3)
        other = x.copy()
        other[:, 3:] = (other[:, 3:] + 1) % 5
        np.testing.assert_array_equal(outputs_of(built, params, other)[:, :3], outputs[:, :3])
        assert np.all(np.any(outputs_of(built, params, other)[:, 3] != outputs[:, 3], axis=-1))


def test_reading_backwards_is_reading_the_reversed_sequence():
    built = build("gru", SERIES, bidirectional=True)
    params, x = some(built), samples(SERIES)
    there = {**params, "gru_0_reverse": params["gru_0"], "gru_0": params["gru_0_reverse"]}
    swapped = params["output"]["kernel"][jnp.array([4, 5, 6, 7, 0, 1, 2, 3])]
    there["output"] = {**params["output"], "kernel": swapped}
    np.testing.assert_allclose(
        outputs_of(built, params, x), outputs_of(built, there, x[:, ::-1]), rtol=1e-5, atol=1e-6
    )


def test_pooling_counts_valid_steps_only():
    values = jnp.arange(12.0).reshape(3, 2, 2) - 20.0
    mask = jnp.array([[True, True], [True, False], [False, False]])
    wanted = {
        "last": [[-16, -15], [-18, -17]],
        "first": [[-20, -19], [-18, -17]],
        "mean": [[-18, -17], [-18, -17]],
        "max": [[-16, -15], [-18, -17]],
    }
    for how, rows in wanted.items():
        np.testing.assert_allclose(sequences.pooled(values, mask, how=how), rows)
        nothing = sequences.pooled(values, jnp.zeros_like(mask), how=how)
        np.testing.assert_array_equal(nothing, np.zeros((2, 2)))


@pytest.mark.parametrize("count", [5, sequences.ONE_HOT_UP_TO + 1])
def test_looking_up_and_its_gradient(count: int):
    table = jax.random.normal(jax.random.key(0), (count, 3))
    codes = jnp.array([[0, count - 1], [2, 2]])
    found, pull = jax.vjp(lambda t: sequences.lookup(t, codes), table)
    np.testing.assert_array_equal(found, np.asarray(table)[np.asarray(codes)])
    cotangent = jax.random.normal(jax.random.key(1), found.shape)
    wanted = np.zeros((count, 3))
    np.add.at(wanted, np.asarray(codes), np.asarray(cotangent))
    np.testing.assert_allclose(pull(cotangent)[0], wanted, rtol=1e-6, atol=1e-6)
    kernel = jax.random.normal(jax.random.key(2), (3, 2))
    lazy = sequences.Codes(table, codes).times(kernel, jnp.ones(2))
    np.testing.assert_allclose(lazy, found @ kernel + 1.0, rtol=1e-4, atol=1e-5)


def test_where_weights_start():
    built = build("lstm", hidden=(8,), forget_bias=2.5, recurrent_init="orthogonal")
    own = built.init(jax.random.key(0))[0]["lstm_0"]
    np.testing.assert_array_equal(own["bias"], np.repeat([0, 2.5, 0, 0], 8))
    for gate in np.split(np.asarray(own["recurrent_kernel"]), 4, axis=1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(8), atol=1e-5)
    again = build("rnn", activation="relu", recurrent_init="identity").init(jax.random.key(0))[0]
    np.testing.assert_array_equal(again["rnn_0"]["recurrent_kernel"], np.eye(4))
    drawn = build("gru", recurrent_init="as_input", init="zeros").init(jax.random.key(0))[0]
    assert not np.any(drawn["gru_0"]["recurrent_kernel"])
    assert drawn["gru_0"]["bias"].shape == (16,)


@pytest.mark.slow
def test_lanes_with_their_own_dropout_are_what_they_are_alone():
    built = build("gru", hidden=(4, 4))
    keys = jax.random.split(jax.random.key(0), 3)
    params, _ = jax.vmap(built.init)(keys)
    x, rates = samples(TOKENS), jnp.array([0.0, 0.3, 0.6])

    def train(params: Any, key: jax.Array, rate: jax.Array) -> jax.Array:
        hypers = {"dropout": rate}
        return built.apply(params, {}, x, key=key, is_training=True, hypers=hypers)[0]

    together = jax.jit(jax.vmap(train))(params, keys, rates)
    alone = jax.jit(train)(*jax.tree.map(lambda a: a[1], (params, keys, rates)))
    np.testing.assert_allclose(together[1], alone, rtol=1e-4, atol=1e-5)
    still = jax.vmap(lambda p: built.apply(p, {}, x, is_training=False, hypers={})[0])(params)
    np.testing.assert_allclose(together[0], still[0], rtol=1e-5, atol=1e-6)
    assert np.max(np.abs(together[1] - still[1])) > 1e-3


@pytest.mark.slow
def test_gradient_over_time_against_finite_differences():
    with jax.enable_x64(True):
        built = build("lstm", SERIES, pooling="mean")
        params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), some(built))
        x = jnp.asarray(samples(SERIES, 1), jnp.float64)
        loss = lambda outputs: jnp.sum(jnp.square(outputs), axis=-1)
        found = gradient_over_time(built, params, x, loss)
        assert {name: value.shape for name, value in found.items()} == {"lstm_0": (6,)}

        @jax.jit
        def nudged(nudge: jax.Array) -> jax.Array:
            own = {**params, "lstm_0": {**params["lstm_0"], "nudge": nudge}}
            return loss(built.apply(own, {}, x, is_training=False, hypers={})[0])[0]

        eps, slopes = 1e-5, np.zeros((6, 4))
        for step, unit in np.ndindex(6, 4):
            one = jnp.zeros((6, 1, 4)).at[step, 0, unit].set(eps)
            slopes[step, unit] = (nudged(one) - nudged(-one)) / (2 * eps)
        np.testing.assert_allclose(found["lstm_0"], np.linalg.norm(slopes, axis=1), rtol=1e-6)


def test_gradient_over_time_of_a_linear_recurrence_is_a_power():
    built = build("rnn", SERIES, activation="relu", recurrent_init="identity")
    params = built.init(jax.random.key(0))[0]
    own = params["rnn_0"]
    params["rnn_0"] = {**own, "recurrent_kernel": 0.5 * jnp.eye(4), "bias": jnp.ones(4)}
    x = jnp.zeros((2, 6, 2))
    found = gradient_over_time(built, params, x, lambda outputs: outputs[:, 0])["rnn_0"]
    np.testing.assert_allclose(found / found[-1], 0.5 ** np.arange(5, -1, -1), rtol=1e-5)


def test_what_cannot_be_read_is_refused_with_the_alternative():
    with pytest.raises(SpecError, match=r"gru must get sequences .* got a table .*Use net: mlp"):
        build("gru", Input())
    with pytest.raises(SpecError, match=r"got images of shape \(8, 8, 1\)\. Use net: cnn"):
        build("lstm", Input(shape=(8, 8, 1), kind="image"))
    stepwise = Input(shape=(6,), num_numeric=0, kind="tokens", vocabulary=5, is_stepwise=True)
    with pytest.raises(SpecError, match=r"bidirectional: must be false where each step has"):
        build("gru", stepwise, bidirectional=True)
    with pytest.raises(SpecError, match=r"mlp must get numbers .* got tokens\. Use net: gru"):
        models.network(model("mlp"), input=TOKENS, num_outputs=3)


def test_mlp_takes_a_window_of_a_series():
    built = models.network(model("mlp", hidden=(4,)), input=SERIES, num_outputs=3)
    params, _ = built.init(jax.random.key(0))
    x = np.array(samples(SERIES))
    x[0, 4:] = np.nan
    zeros = np.where(np.isnan(x), 0.0, x)
    np.testing.assert_array_equal(outputs_of(built, params, x), outputs_of(built, params, zeros))
    assert np.all(np.isfinite(outputs_of(built, params, x)))


def test_normalised_cell_needs_its_scales():
    """Twice the scale of the recurrent term is another network: the scales are used."""
    given, cell = driven("lstm"), CELLS["lstm"]
    given = given._replace(nudge=None)
    ones = Scales(jnp.ones(16), jnp.ones(16), jnp.ones(4), jnp.zeros(4))
    first = cells.unroll_normalised(cell, given, ones, bias=jnp.zeros(16))
    for changed in (
        ones._replace(x=2 * jnp.ones(16)),
        ones._replace(v=2 * jnp.ones(16)),
        ones._replace(memory=2 * jnp.ones(4)),
        ones._replace(shift=jnp.ones(4)),
    ):
        other = cells.unroll_normalised(cell, given, changed, bias=jnp.zeros(16))
        assert np.max(np.abs(other - first)) > 1e-2
