"""Each update rule against a slow, obvious twin in NumPy, over 200 steps in float64."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import recipes
from lanework.errors import SpecError
from tests.contracts.probes import choice

STEPS = 200


CURVATURE = np.array([0.1, 1.0, 10.0, 3.0])
# Noise keeps gradients away from 0, where rules that divide by their size would amplify the last digit.
NOISE = 3.0 * np.random.default_rng(0).normal(size=(STEPS, 4))


def gradient(x: np.ndarray, k: int) -> np.ndarray:
    """Of 1/2 c x^2 + n x in step k = 1, 2, ..., with curvatures c over two decades and noise n."""
    return CURVATURE * x + NOISE[k - 1]


START = np.array([2.0, -1.0, 0.5, -3.0])


def rates() -> np.ndarray:
    """A rate that changes from step to step, as a schedule makes it."""
    return 0.02 * (1.0 + 0.5 * np.sin(np.arange(STEPS) / 10.0))


def sgd(x, rate, _, k, h):
    return x - rate * gradient(x, k), None


def momentum(x, rate, v, k, h):
    v = h["momentum"] * (0.0 if v is None else v) + gradient(x, k)
    return x - rate * v, v


def velocity(x, rate, v, k, h):
    v = h["momentum"] * (0.0 if v is None else v) - rate * gradient(x, k)
    return x + v, v


def nesterov(y, rate, v, k, h):
    """y is where the gradient is taken, x + m v."""
    old = np.zeros_like(y) if v is None else v
    v = h["momentum"] * old - rate * gradient(y, k)
    return y - h["momentum"] * old + (1 + h["momentum"]) * v, v


def adagrad(x, rate, s, k, h):
    g = gradient(x, k)
    s = (0.0 if s is None else s) + g**2
    return x - rate * g / (np.sqrt(s) + h["eps"]), s


def adadelta(x, rate, memory, k, h):
    g = gradient(x, k)
    s, u = (0.0, 0.0) if memory is None else memory
    s = h["rho"] * s + (1 - h["rho"]) * g**2
    d = g * np.sqrt(u + h["eps"]) / np.sqrt(s + h["eps"])
    u = h["rho"] * u + (1 - h["rho"]) * d**2
    return x - rate * d, (s, u)


def rmsprop(x, rate, memory, k, h):
    g = gradient(x, k)
    s, m, v = (0.0, 0.0, 0.0) if memory is None else memory
    s = h["decay"] * s + (1 - h["decay"]) * g**2
    m = h["decay"] * m + (1 - h["decay"]) * g
    root = np.sqrt(s - m**2) if h.get("centered") else np.sqrt(s)
    v = h.get("momentum", 0.0) * v + g / (root + h["eps"])
    return x - rate * v, (s, m, v)


def adam(x, rate, memory, k, h):
    g = gradient(x, k)
    m, v = (0.0, 0.0) if memory is None else memory
    m = h["b1"] * m + (1 - h["b1"]) * g
    v = h["b2"] * v + (1 - h["b2"]) * g**2
    ahead, root = m / (1 - h["b1"] ** k), np.sqrt(v / (1 - h["b2"] ** k))
    decay = h.get("weight_decay", 0.0) * x
    return x - rate * (ahead / (root + h["eps"]) + decay), (m, v)


def radam(x, rate, memory, k, h):
    """Liu et al. 2019, algorithm 2, with the threshold of 5 that the authors' code has (the paper says 4)."""
    g = gradient(x, k)
    b1, b2 = h["b1"], h["b2"]
    m, v = (0.0, 0.0) if memory is None else memory
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    longest = 2 / (1 - b2) - 1
    length = longest - 2 * k * b2**k / (1 - b2**k)
    ahead = m / (1 - b1**k)
    if length < 5:
        return x - rate * ahead, (m, v)
    up = (length - 4) * (length - 2) * longest
    rectifier = np.sqrt(up / ((longest - 4) * (longest - 2) * length))
    return x - rate * rectifier * ahead / (np.sqrt(v / (1 - b2**k)) + h["eps"]), (m, v)


def lion(x, rate, m, k, h):
    g = gradient(x, k)
    m = 0.0 if m is None else m
    direction = np.sign(h["b1"] * m + (1 - h["b1"]) * g)
    return x - rate * direction, h["b2"] * m + (1 - h["b2"]) * g


ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-8}
TWINS = {
    "sgd": ("sgd", sgd, {}),
    "momentum": ("momentum", momentum, {"momentum": 0.9}),
    "momentum, velocity form": ("momentum", velocity, {"momentum": 0.9, "form": "velocity"}),
    "nesterov": ("nesterov", nesterov, {"momentum": 0.9}),
    "adagrad": ("adagrad", adagrad, {"eps": 1e-7}),
    "adadelta": ("adadelta", adadelta, {"rho": 0.95, "eps": 1e-6}),
    "rmsprop": ("rmsprop", rmsprop, {"decay": 0.9, "eps": 1e-8}),
    "rmsprop with momentum": ("rmsprop", rmsprop, {"decay": 0.9, "eps": 1e-8, "momentum": 0.7}),
    "rmsprop centred": ("rmsprop", rmsprop, {"decay": 0.9, "eps": 1e-3, "centered": True}),
    "adam": ("adam", adam, ADAM),
    "adam with large eps": ("adam", adam, {**ADAM, "eps": 0.1}),
    "adamw": ("adamw", adam, {**ADAM, "weight_decay": 0.01}),
    "radam": ("radam", radam, ADAM),
    "lion": ("lion", lion, {"b1": 0.9, "b2": 0.99}),
}


def ours(name: str, hypers: dict[str, Any]) -> np.ndarray:
    rule = recipes.rule(choice("optimizer", name, **hypers))
    params = {"dense_0": {"kernel": jnp.asarray(START)}}

    def step(carry: Any, given: Any) -> tuple[Any, jax.Array]:
        params, state = carry
        rate, noise = given
        grads = jax.tree.map(lambda x: jnp.asarray(CURVATURE) * x + noise, params)
        updates, state = rule.update(grads, state, params, {"learning_rate": rate})
        params = jax.tree.map(jnp.add, params, updates)
        return (params, state), params["dense_0"]["kernel"]

    _, path = jax.lax.scan(
        step, (params, rule.init(params)), (jnp.asarray(rates()), jnp.asarray(NOISE))
    )
    return np.asarray(path)


@pytest.mark.parametrize("label", TWINS)
def test_rule_is_what_the_catalogue_says(label: str):
    name, twin, hypers = TWINS[label]
    x, memory, path = START, None, []
    for k, rate in enumerate(rates(), start=1):
        x, memory = twin(x, rate, memory, k, hypers)
        path.append(x)
    with jax.enable_x64(True):
        found = ours(name, hypers)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, np.array(path), rtol=1e-9, atol=1e-12)


def test_both_forms_of_nesterov_walk_the_same_path():
    x, v, m = START.copy(), np.zeros(4), 0.9
    y, w = START.copy(), None
    for k, rate in enumerate(rates(), start=1):
        v = m * v - rate * gradient(x + m * v, k)
        x = x + v
        y, w = nesterov(y, rate, w, k, {"momentum": m})
        np.testing.assert_allclose(y, x + m * v, rtol=1e-9, atol=1e-12)


def test_adam_with_l2_is_not_adamw():
    params = {"dense_0": {"kernel": jnp.array([2.0, -1.0])}}
    grads = {"dense_0": {"kernel": jnp.array([0.1, 3.0])}}
    penalised = jax.tree.map(jnp.add, grads, recipes.penalty_gradient(params, {"l2": 0.1}))
    adam, adamw = (recipes.rule(choice("optimizer", name)) for name in ("adam", "adamw"))
    hypers = {"learning_rate": 0.1, "weight_decay": 0.1}
    coupled, _ = adam.update(penalised, adam.init(params), params, hypers)
    decoupled, _ = adamw.update(grads, adamw.init(params), params, hypers)
    apart = coupled["dense_0"]["kernel"] - decoupled["dense_0"]["kernel"]
    assert np.all(np.abs(apart) > 5e-3)


def test_decay_of_adamw_leaves_biases_alone():
    params = {"dense_0": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}}
    zeros = jax.tree.map(jnp.zeros_like, params)
    adamw = recipes.rule(choice("optimizer", "adamw", weight_decay=0.5))
    updates, _ = adamw.update(zeros, adamw.init(params), params, {"learning_rate": 0.1})
    np.testing.assert_allclose(updates["dense_0"]["kernel"], -0.05, rtol=1e-6)
    np.testing.assert_array_equal(updates["dense_0"]["bias"], 0.0)


def test_full_names_win_over_bare_ones():
    """`weight_decay` alone is that of training, not that of the rule."""
    params = {"dense_0": {"kernel": jnp.ones(2)}}
    zeros = jax.tree.map(jnp.zeros_like, params)
    adamw = recipes.rule(choice("optimizer", "adamw"))
    hypers = {"learning_rate": 1.0, "weight_decay": 0.0, "optimizer.weight_decay": 0.25}
    updates, _ = adamw.update(zeros, adamw.init(params), params, hypers)
    np.testing.assert_allclose(updates["dense_0"]["kernel"], -0.25)


def test_centred_rmsprop_survives_equal_gradients():
    """Rounding makes the running variance of equal gradients negative; its root must not be NaN."""
    rule = recipes.rule(choice("optimizer", "rmsprop", centered=True))
    params = {"w": jnp.zeros(64)}
    grads = {"w": jnp.linspace(0.1, 7.7, 64)}
    state = rule.init(params)
    for _ in range(200):
        updates, state = rule.update(grads, state, params, {"learning_rate": 1e-3})
    assert np.all(np.isfinite(updates["w"]))


def test_unknown_rule_names_the_nearest():
    with pytest.raises(
        SpecError, match=r"train\.optimizer: must be one of .* got 'adm'\. Use adam"
    ):
        recipes.rule(choice_of("adm"))


def choice_of(name: str) -> Any:
    template = choice("optimizer", "sgd")
    template.name = name
    return template
