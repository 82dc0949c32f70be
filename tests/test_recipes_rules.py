"""Each update rule against a slow, obvious twin in NumPy, over 200 steps in float64."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import recipes
from lanework.catalog import CATALOG
from lanework.errors import SpecError
from lanework.recipes import rules
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


def uncorrected_adam(x, rate, memory, k, h):
    g = gradient(x, k)
    m, v = (0.0, 0.0) if memory is None else memory
    m = h["b1"] * m + (1 - h["b1"]) * g
    v = h["b2"] * v + (1 - h["b2"]) * g**2
    return x - rate * m / (np.sqrt(v) + h["eps"]), (m, v)


def nadam(x, rate, memory, k, h):
    g = gradient(x, k)
    m, v = (0.0, 0.0) if memory is None else memory
    b1, b2 = h["b1"], h["b2"]
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    ahead = b1 * m / (1 - b1 ** (k + 1)) + (1 - b1) * g / (1 - b1**k)
    return x - rate * ahead / (np.sqrt(v / (1 - b2**k)) + h["eps"]), (m, v)


def adamax(x, rate, memory, k, h):
    g = gradient(x, k)
    m, u = (0.0, 0.0) if memory is None else memory
    m = h["b1"] * m + (1 - h["b1"]) * g
    u = np.maximum(h["b2"] * u, np.abs(g) + h["eps"])
    return x - rate * m / (1 - h["b1"] ** k) / u, (m, u)


def amsgrad(x, rate, memory, k, h):
    g = gradient(x, k)
    m, v, u = (0.0, 0.0, 0.0) if memory is None else memory
    m = h["b1"] * m + (1 - h["b1"]) * g
    v = h["b2"] * v + (1 - h["b2"]) * g**2
    u = np.maximum(u, v / (1 - h["b2"] ** k))
    return x - rate * m / (1 - h["b1"] ** k) / (np.sqrt(u) + h["eps"]), (m, v, u)


def rprop(x, rate, memory, k, h):
    """iRprop-: where the sign changes the step shrinks, is left out, and the next one counts as the first."""
    g = gradient(x, k)
    d, old = (np.full(4, rate), np.zeros(4)) if memory is None else memory
    factor = np.where(g * old > 0, h["grow"], np.where(g * old < 0, h["shrink"], 1.0))
    d = np.where(factor == 1.0, d, np.clip(d * factor, h["min_step"], h["max_step"]))
    g = np.where(g * old < 0, 0.0, g)
    return x - d * np.sign(g), (d, g)


def lookahead(x, rate, memory, k, h):
    """Around momentum 0.8 in the form with the rate inside."""
    v, slow = (None, x) if memory is None else memory
    x, v = velocity(x, rate, v, k, {"momentum": 0.8})
    if k % h["sync_steps"] == 0:
        slow = slow + h["alpha"] * (x - slow)
        x = slow
    return x, (v, slow)


def ranger(x, rate, memory, k, h):
    inner, slow = (None, x) if memory is None else memory
    x, inner = radam(x, rate, inner, k, h)
    if k % h["sync_steps"] == 0:
        slow = slow + h["alpha"] * (x - slow)
        x = slow
    return x, (inner, slow)


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
INNER_MOMENTUM = {"name": "momentum", "momentum": 0.8, "form": "velocity"}
TWINS = {
    "sgd": ("sgd", sgd, {}),
    "gd": ("gd", sgd, {}),
    "momentum": ("momentum", momentum, {"momentum": 0.9}),
    "momentum, velocity form": ("momentum", velocity, {"momentum": 0.9, "form": "velocity"}),
    "nesterov": ("nesterov", nesterov, {"momentum": 0.9}),
    "nesterov in two steps": ("nesterov", nesterov, {"momentum": 0.9, "form": "lookahead"}),
    "adagrad": ("adagrad", adagrad, {"eps": 1e-7}),
    "adadelta": ("adadelta", adadelta, {"rho": 0.95, "eps": 1e-6}),
    "rmsprop": ("rmsprop", rmsprop, {"decay": 0.9, "eps": 1e-8}),
    "rmsprop with momentum": ("rmsprop", rmsprop, {"decay": 0.9, "eps": 1e-8, "momentum": 0.7}),
    "rmsprop centred": ("rmsprop", rmsprop, {"decay": 0.9, "eps": 1e-3, "centered": True}),
    "adam": ("adam", adam, ADAM),
    "adam with large eps": ("adam", adam, {**ADAM, "eps": 0.1}),
    "adam without correction": ("adam", uncorrected_adam, {**ADAM, "bias_correction": False}),
    "nadam": ("nadam", nadam, ADAM),
    "adamax": ("adamax", adamax, ADAM),
    "amsgrad": ("amsgrad", amsgrad, {**ADAM, "b2": 0.9}),
    "rprop": ("rprop", rprop, {"shrink": 0.5, "grow": 1.2, "min_step": 0.01, "max_step": 0.05}),
    "lookahead": (
        "lookahead",
        lookahead,
        {"inner": INNER_MOMENTUM, "sync_steps": 5, "alpha": 0.3},
    ),
    "ranger": ("ranger", ranger, {**ADAM, "sync_steps": 6, "alpha": 0.5}),
    "adamw": ("adamw", adam, {**ADAM, "weight_decay": 0.01}),
    "radam": ("radam", radam, ADAM),
    "lion": ("lion", lion, {"b1": 0.9, "b2": 0.99}),
}


def ours(name: str, hypers: dict[str, Any], *, given: Any = None) -> np.ndarray:
    """The weights after each step, at the given rates or those of `rates`."""
    rule = recipes.rule(choice("optimizer", name, **hypers))
    changing = rates() if given is None else given
    params = {"dense_0": {"kernel": jnp.asarray(START)}}

    def step(carry: Any, given: Any) -> tuple[Any, jax.Array]:
        params, state = carry
        rate, noise = given
        grads = jax.tree.map(lambda x: jnp.asarray(CURVATURE) * x + noise, params)
        updates, state = rule.update(grads, state, params, {"learning_rate": rate})
        params = jax.tree.map(jnp.add, params, updates)
        return (params, state), params["dense_0"]["kernel"]

    _, path = jax.lax.scan(
        step, (params, rule.init(params)), (jnp.asarray(changing), jnp.asarray(NOISE))
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


def test_momentum_forms_agree_while_the_rate_stays_and_part_when_it_falls():
    constant, falling = np.full(STEPS, 0.02), 0.02 * 0.97 ** np.arange(STEPS)
    with jax.enable_x64(True):
        heavy, velocity = (
            [ours("momentum", {"form": form}, given=r) for r in (constant, falling)]
            for form in ("heavy_ball", "velocity")
        )
    np.testing.assert_allclose(heavy[0], velocity[0], rtol=1e-10)
    np.testing.assert_allclose(heavy[1][0], velocity[1][0], rtol=1e-12)
    assert np.max(np.abs(heavy[1] - velocity[1])) > 1e-2


def test_two_steps_of_nesterov_follow_a_changing_momentum_and_evaluate_x():
    """x and v of the paper, with the momentum of each step; the gradient is taken with that of the step before."""
    rule = recipes.rule(choice("optimizer", "nesterov", form="lookahead"))
    with jax.enable_x64(True):
        params = {"w": jnp.asarray(START)}
        state = rule.init(params)
        x, v, last = START.copy(), np.zeros(4), 0.0
        for k in range(1, 31):
            m = 0.5 + 0.4 * k / 30
            grads = {"w": jnp.asarray(gradient(np.asarray(params["w"]), k))}
            v = m * v - 0.02 * gradient(x + last * v, k)
            x, last = x + v, m
            hypers = {"learning_rate": 0.02, "momentum": m}
            updates, state = rule.update(grads, state, params, hypers)
            params = jax.tree.map(jnp.add, params, updates)
            np.testing.assert_allclose(params["w"], x + m * v, rtol=1e-9)
            np.testing.assert_allclose(rule.evaluated(state, params, hypers)["w"], x, rtol=1e-9)


def test_rewritten_nesterov_evaluates_what_it_trains():
    assert recipes.rule(choice("optimizer", "nesterov")).evaluated is None


def test_adam_without_bias_correction_is_biased_at_the_start():
    """Both means start at 0: the first step is (1-b1) / sqrt(1-b2) of the corrected one, which is the rate."""
    params, grads = {"w": jnp.zeros(3)}, {"w": jnp.array([0.5, -2.0, 30.0])}
    first = {}
    for is_corrected in (True, False):
        adam = recipes.rule(choice("optimizer", "adam", bias_correction=is_corrected))
        updates, _ = adam.update(grads, adam.init(params), params, {"learning_rate": 0.1})
        first[is_corrected] = np.asarray(updates["w"])
    np.testing.assert_allclose(np.abs(first[True]), 0.1, rtol=1e-5)
    np.testing.assert_allclose(
        first[False] / first[True], (1 - 0.9) / np.sqrt(1 - 0.999), rtol=1e-4
    )


def test_lookahead_evaluates_its_slow_weights():
    rule = recipes.rule(choice("optimizer", "lookahead", inner="sgd", sync_steps=2, alpha=0.5))
    params, grads = {"w": jnp.zeros(1)}, {"w": jnp.ones(1)}
    state, seen = rule.init(params), []
    for _ in range(4):
        updates, state = rule.update(grads, state, params, {"learning_rate": 1.0})
        params = jax.tree.map(jnp.add, params, updates)
        slow = rule.evaluated(state, params, {})
        seen.append((float(params["w"][0]), float(slow["w"][0])))
    assert seen == [(-1.0, 0.0), (-1.0, -1.0), (-2.0, -1.0), (-2.0, -2.0)]


CANNOT_BE_WRAPPED = ["lookahead", "ranger", "mechanic", "sam", "schedule_free", "momo", "lbfgs"]


@pytest.mark.parametrize("wrapper", ["lookahead", "mechanic", "sam"])
@pytest.mark.parametrize("inner", CANNOT_BE_WRAPPED)
def test_what_cannot_be_wrapped_is_refused(wrapper: str, inner: str):
    with pytest.raises(
        SpecError,
        match=rf"train\.optimizer\.inner: must be a first-order rule .* got '{inner}'.*adam",
    ):
        recipes.rule(choice("optimizer", wrapper, inner=inner))


def test_the_rate_stands_with_the_rule_that_wraps():
    with pytest.raises(
        SpecError,
        match=r"inner\.learning_rate: must be left out, got 0\.5: .*Use train\.learning_rate",
    ):
        recipes.rule(choice("optimizer", "lookahead", inner={"name": "sgd", "learning_rate": 0.5}))


def test_unknown_inner_rule_names_the_nearest():
    with pytest.raises(SpecError, match=r"inner: must be one of .* got 'adm'\. Use adam"):
        recipes.rule(choice("optimizer", "lookahead", inner="adm"))


@pytest.mark.slow
def test_every_first_order_rule_can_be_wrapped():
    """One step of each inside lookahead is its own step, since the first interpolation comes later."""
    params = {"dense_0": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}
    grads = jax.tree.map(lambda x: 0.3 * x, params)
    for name in rules.INNER:
        row = CATALOG["optimizer"][name]
        if (name in rules.EVALUATED and name != "nesterov") or row.facts.get("needs"):
            continue
        found = []
        for one in (choice("optimizer", name), choice("optimizer", "lookahead", inner=name)):
            rule = recipes.rule(one)
            updates, _ = rule.update(grads, rule.init(params), params, {"learning_rate": 0.1})
            found.append(updates)
        jax.tree.map(np.testing.assert_array_equal, *found)


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
