"""Dropout and its relatives: what they keep in expectation, what they leave out, and doubt from several passes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import models
from lanework.models import dropout
from lanework.models.base import Call
from tests.contracts import probes

SHARE = 0.4


def layer_values(form: str, x: jax.Array, *, is_training: bool) -> np.ndarray:
    call = Call(jax.random.key(0) if is_training else None, is_training, {"dropout": SHARE})
    return np.asarray(dropout.dropout("d", form=form).apply({}, {}, x, call)[0])


def test_inverted_and_vanilla_agree_in_expectation_between_training_and_evaluation():
    x = 1.0 + jax.random.uniform(jax.random.key(1), (1, 50))
    many = jnp.broadcast_to(x, (4000, 50))
    for form, kept in (("inverted", 1.0), ("vanilla", 1.0 - SHARE)):
        trained = layer_values(form, many, is_training=True).mean(axis=0)
        evaluated = layer_values(form, x, is_training=False)[0]
        np.testing.assert_allclose(trained, kept * x[0], rtol=0.06)
        np.testing.assert_allclose(evaluated, kept * x[0], rtol=1e-4)
        np.testing.assert_allclose(trained, evaluated, rtol=0.06)


def test_vanilla_without_its_scaling_gives_too_much_at_evaluation():
    x = 1.0 + jax.random.uniform(jax.random.key(1), (1, 50))
    many = jnp.broadcast_to(x, (4000, 50))
    trained = layer_values("vanilla_unscaled", many, is_training=True).mean(axis=0)
    evaluated = layer_values("vanilla_unscaled", x, is_training=False)[0]
    np.testing.assert_allclose(evaluated / trained, 1 / (1 - SHARE), rtol=0.06)
    np.testing.assert_array_equal(evaluated, x[0])


def test_forms_drop_the_same_units():
    x = jnp.ones((20, 30))
    masks = [layer_values(form, x, is_training=True) == 0 for form in dropout.FORMS]
    assert all(np.array_equal(masks[0], mask) for mask in masks)
    assert 0.3 < masks[0].mean() < 0.5


def test_an_unknown_form_is_refused():
    with pytest.raises(
        ValueError, match=r"form must be one of inverted, vanilla, vanilla_unscaled"
    ):
        dropout.dropout("d", form="loud")


def test_stochastic_depth_leaves_whole_samples_out_and_keeps_the_mean():
    branch = jnp.ones((4000, 2, 3))
    left = dropout.drop_path(branch, key=jax.random.key(0), share=0.3, is_training=True)
    by_sample = np.asarray(left).reshape(4000, -1)
    assert np.all(by_sample.min(axis=1) == by_sample.max(axis=1))
    np.testing.assert_allclose(np.mean(by_sample == 0), 0.3, atol=0.03)
    np.testing.assert_allclose(by_sample.mean(), 1.0, atol=0.03)
    assert dropout.drop_path(branch, key=None, share=0.3, is_training=False) is branch
    with pytest.raises(ValueError, match=r"stochastic depth needs a key in training, got None"):
        dropout.drop_path(branch, key=None, share=0.3, is_training=True)


def test_stochastic_depth_leaves_later_branches_out_more_often():
    branch = jnp.ones((4000, 1))
    call = Call(jax.random.key(0), True, {"stochastic_depth": jnp.float32(0.8)})
    left = [
        float(jnp.mean(dropout.drop_branch(branch, call, name="b", index=i, count=4) == 0))
        for i in range(4)
    ]
    np.testing.assert_allclose(left, [0.2, 0.4, 0.6, 0.8], atol=0.03)
    at_rest = call._replace(is_training=False)
    assert dropout.drop_branch(branch, at_rest, name="b", index=3, count=4) is branch
    without = call._replace(hypers={})
    assert dropout.drop_branch(branch, without, name="b", index=3, count=4) is branch


def small_net(**options: Any) -> tuple[models.Network, Any]:
    net = models.network(
        probes.model("mlp", hidden=(40,), **options),
        input=probes.Input(shape=(4,)),
        num_outputs=3,
    )
    return net, net.init(jax.random.key(0))


def test_monte_carlo_averages_passes_and_repeats_itself():
    net, (params, state) = small_net()
    x = jax.random.normal(jax.random.key(1), (6, 4))
    hypers = {"dropout": jnp.float32(0.5)}
    passes = models.sample_outputs(net, params, state, x, hypers=hypers, passes=20)
    assert passes.shape == (20, 6, 3)
    assert float(jnp.min(jnp.std(passes, axis=0))) > 0.0
    averaged = models.monte_carlo(net, "values", passes=20)
    outputs, _ = averaged.apply(params, state, x, is_training=False, hypers=hypers)
    np.testing.assert_allclose(outputs, jnp.mean(passes, axis=0), rtol=1e-5)
    again, _ = averaged.apply(params, state, x, is_training=False, hypers=hypers)
    np.testing.assert_array_equal(outputs, again)
    single, _ = net.apply(params, state, x, is_training=False, hypers=hypers)
    assert not np.allclose(single, outputs, atol=1e-3)


def test_monte_carlo_of_logits_averages_probabilities():
    net, (params, state) = small_net()
    x = jax.random.normal(jax.random.key(1), (6, 4))
    hypers = {"dropout": jnp.float32(0.5)}
    passes = models.sample_outputs(net, params, state, x, hypers=hypers, passes=10)
    averaged = models.monte_carlo(net, "logits", passes=10)
    outputs, _ = averaged.apply(params, state, x, is_training=False, hypers=hypers)
    wanted = np.mean(jax.nn.softmax(passes), axis=0)
    np.testing.assert_allclose(jax.nn.softmax(outputs), wanted, rtol=1e-4)


def test_monte_carlo_leaves_training_and_batch_statistics_alone():
    net, (params, state) = small_net(norm="batch")
    x = jax.random.normal(jax.random.key(1), (6, 4))
    averaged = models.monte_carlo(net, "values", passes=3)
    hypers = {"dropout": jnp.float32(0.5)}
    trained = [
        one.apply(params, state, x, key=jax.random.key(2), is_training=True, hypers=hypers)
        for one in (net, averaged)
    ]
    jax.tree.map(np.testing.assert_array_equal, *trained)
    taps: dict[str, Any] = {}
    _, after = averaged.apply(params, state, x, is_training=False, hypers=hypers, taps=taps)
    jax.tree.map(np.testing.assert_array_equal, after, state)
    assert "dense_0" in taps
