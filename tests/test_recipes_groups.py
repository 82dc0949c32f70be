"""Groups of parameters: equal to separate rules, frozen bit for bit, rates by lane, refusals."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import recipes
from lanework.errors import SpecError
from tests.contracts.probes import choice, leaves_like

STEPS = 200
PARAMS = {
    "embed": {"table_0": jnp.linspace(-1.0, 1.0, 6).reshape(3, 2)},
    "blocks/0": {"kernel": jnp.full((2, 3), -1.0), "bias": jnp.array([-0.0, 0.0, 1.0])},
    "output": {"kernel": jnp.full((3, 2), 0.5), "bias": jnp.zeros(2)},
}
ADAM = recipes.rule(choice("optimizer", "adam"))
MOMENTUM = recipes.rule(choice("optimizer", "momentum"))
ADAMW = recipes.rule(choice("optimizer", "adamw", weight_decay=0.5))


def objective(params: Any) -> jax.Array:
    """A bowl in every parameter apart, so that groups do not meet; minimum where all are 2."""
    total = jnp.zeros(())
    for leaf in jax.tree.leaves(params):
        curvature = jnp.linspace(1.0, 3.0, leaf.size).reshape(leaf.shape)
        total = total + 0.5 * jnp.sum(curvature * jnp.square(leaf - 2.0))
    return total


def train(rule: recipes.Rule, params: Any, hypers: Any, *, num_steps: int = STEPS) -> Any:
    def step(carry: Any, _: None) -> tuple[Any, None]:
        params, state = carry
        grads = jax.grad(objective)(params)
        updates, state = rule.update(grads, state, params, hypers)
        return (jax.tree.map(jnp.add, params, updates), state), None

    def run(params: Any) -> Any:
        return jax.lax.scan(step, (params, rule.init(params)), length=num_steps)[0][0]

    return jax.jit(run)(params)


def test_matching_paths():
    assert recipes.matches(PARAMS, "*/bias") == ["blocks/0/bias", "output/bias"]
    assert recipes.matches(PARAMS, "blocks/*") == ["blocks/0/bias", "blocks/0/kernel"]
    assert recipes.matches(PARAMS, "*") == [
        "blocks/0/bias",
        "blocks/0/kernel",
        "embed/table_0",
        "output/bias",
        "output/kernel",
    ]
    assert recipes.matches(PARAMS, "head/*") == []
    assert recipes.matches(PARAMS, "OUTPUT/*") == []


def test_groups_equal_separate_rules_over_200_steps():
    """Each group alone, with its rule and rate, walks where it walks among the others."""
    groups = [
        recipes.Group("output/*", MOMENTUM),
        recipes.Group("*/bias", None, 3.0),
        recipes.Group("embed/*", ADAMW, "groups.2.rate"),
    ]
    hypers = {"learning_rate": 0.01, "groups.2.rate": 0.25}
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), PARAMS)
        found = train(recipes.grouped(ADAM, groups), params, hypers)
        alone = {
            "output": train(MOMENTUM, {"output": params["output"]}, {"learning_rate": 0.01}),
            "embed": train(ADAMW, {"embed": params["embed"]}, {"learning_rate": 0.0025}),
        }
        kernel = {"blocks/0": {"kernel": params["blocks/0"]["kernel"]}}
        bias = {"blocks/0": {"bias": params["blocks/0"]["bias"]}}
        kernel = train(ADAM, kernel, {"learning_rate": 0.01})["blocks/0"]["kernel"]
        bias = train(ADAM, bias, {"learning_rate": 0.03})["blocks/0"]["bias"]
    wanted = {
        "output": alone["output"]["output"],
        "embed": alone["embed"]["embed"],
        "blocks/0": {"kernel": kernel, "bias": bias},
    }
    assert jax.tree.structure(found) == jax.tree.structure(PARAMS)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert a.dtype == np.float64
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_groups_by_numpy_over_200_steps():
    """Momentum for the base, plain descent with a tenth of the rate for the output: the formulas, step by step."""
    sgd = recipes.rule(choice("optimizer", "sgd"))
    rule = recipes.grouped(MOMENTUM, [recipes.Group("output/*", sgd, 0.1)])
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), PARAMS)
        found = train(rule, params, {"learning_rate": 0.02})
    for layer, leaves in PARAMS.items():
        for name, leaf in leaves.items():
            x = np.asarray(leaf, np.float64)
            v, curvature = np.zeros_like(x), np.linspace(1.0, 3.0, x.size).reshape(x.shape)
            for _ in range(STEPS):
                g = curvature * (x - 2.0)
                v = g if layer == "output" else 0.9 * v + g
                x = x - (0.002 if layer == "output" else 0.02) * v
            np.testing.assert_allclose(found[layer][name], x, rtol=1e-10)


def test_no_groups_is_the_base_rule():
    hypers = {"learning_rate": 0.01}
    found = train(recipes.grouped(ADAM, []), PARAMS, hypers, num_steps=20)
    wanted = train(ADAM, PARAMS, hypers, num_steps=20)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(a, b)


def bits(leaf: Any) -> np.ndarray:
    return np.asarray(leaf).view(np.uint32)


def test_frozen_groups_are_untouched_bit_for_bit():
    """Minus zero stays minus zero, and gradients that are no numbers do nothing."""
    groups = [recipes.Group("blocks/*", is_frozen=True)]
    found = train(recipes.grouped(ADAM, groups), PARAMS, {"learning_rate": 0.01})
    for name, leaf in PARAMS["blocks/0"].items():
        np.testing.assert_array_equal(bits(found["blocks/0"][name]), bits(leaf))
    assert np.signbit(found["blocks/0"]["bias"][0])
    assert np.all(found["output"]["kernel"] != PARAMS["output"]["kernel"])
    rule = recipes.grouped(ADAM, groups)
    bad = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), PARAMS)
    updates, _ = rule.update(bad, rule.init(PARAMS), PARAMS, {"learning_rate": 0.01})
    for leaf in jax.tree.leaves(updates["blocks/0"]):
        np.testing.assert_array_equal(leaf, 0.0)


def test_frozen_groups_stay_frozen_under_decay():
    groups = [recipes.Group("output/*", None, 2.0), recipes.Group("*/kernel", is_frozen=True)]
    updates = jax.tree.map(jnp.ones_like, PARAMS)
    found = recipes.keep_frozen(updates, groups)
    np.testing.assert_array_equal(found["blocks/0"]["kernel"], 0.0)
    assert np.all(np.signbit(found["blocks/0"]["kernel"]))
    for layer, name in (("output", "kernel"), ("output", "bias"), ("blocks/0", "bias")):
        np.testing.assert_array_equal(found[layer][name], 1.0)


def test_the_first_group_that_fits_counts():
    groups = [
        recipes.Group("output/kernel", None, 0.0),
        recipes.Group("output/*", None, 5.0),
        recipes.Group("*", None, 7.0),
    ]
    sgd = recipes.rule(choice("optimizer", "sgd"))
    rule = recipes.grouped(sgd, groups)
    ones = jax.tree.map(jnp.ones_like, PARAMS)
    updates, state = rule.update(ones, rule.init(PARAMS), PARAMS, {"learning_rate": 1.0})
    np.testing.assert_array_equal(updates["output"]["kernel"], 0.0)
    np.testing.assert_array_equal(updates["output"]["bias"], -5.0)
    np.testing.assert_array_equal(updates["embed"]["table_0"], -7.0)
    assert state[3] == (), "nothing is left for the base rule"


def test_the_rate_of_a_group_varies_by_lane():
    rule = recipes.grouped(ADAM, [recipes.Group("output/*", None, "groups.0.rate")])
    factors = jnp.array([0.0, 0.5, 2.0])

    def lane(factor: jax.Array) -> Any:
        hypers = {"learning_rate": 0.01, "groups.0.rate": factor}
        return train(rule, PARAMS, hypers, num_steps=50)

    together = jax.vmap(lane)(factors)
    for index in range(3):
        alone = lane(factors[index])
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[index], b, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(together["output"]["kernel"][0], PARAMS["output"]["kernel"])
    assert np.all(together["output"]["kernel"][1] != together["output"]["kernel"][2])


def test_hyperparameters_of_the_base_rule_do_not_reach_a_group_with_its_own():
    """`weight_decay` of training and `optimizer.momentum` of the base are not those of the group's rule."""
    groups = [recipes.Group("output/*", ADAMW), recipes.Group("embed/*", MOMENTUM)]
    rule = recipes.grouped(MOMENTUM, groups)
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    hypers = {"learning_rate": 0.1, "weight_decay": 0.0, "optimizer.momentum": 0.0}
    updates, _ = rule.update(zeros, rule.init(PARAMS), PARAMS, hypers)
    np.testing.assert_allclose(updates["output"]["kernel"], -0.1 * 0.5 * 0.5, rtol=1e-6)
    own = hypers | {"groups.0.optimizer.weight_decay": 1.0}
    updates, _ = rule.update(zeros, rule.init(PARAMS), PARAMS, own)
    np.testing.assert_allclose(updates["output"]["kernel"], -0.1 * 1.0 * 0.5, rtol=1e-6)
    ones, state = jax.tree.map(jnp.ones_like, PARAMS), rule.init(PARAMS)
    _, state = rule.update(ones, state, PARAMS, hypers)
    updates, _ = rule.update(ones, state, PARAMS, hypers)
    np.testing.assert_allclose(updates["blocks/0"]["kernel"], -0.1, rtol=1e-6)  # no momentum
    np.testing.assert_allclose(updates["embed"]["table_0"], -0.19, rtol=1e-6)  # its own 0.9


def test_exemptions_hold_inside_a_group():
    rule = recipes.grouped(MOMENTUM, [recipes.Group("*", ADAMW)])
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = rule.update(zeros, rule.init(PARAMS), PARAMS, {"learning_rate": 0.1})
    np.testing.assert_array_equal(updates["blocks/0"]["bias"], 0.0)
    assert np.all(updates["blocks/0"]["kernel"] != 0.0)


def test_state_keeps_structure_shape_and_type():
    groups = [recipes.Group("output/*", MOMENTUM), recipes.Group("embed/*", is_frozen=True)]
    rule = recipes.grouped(ADAM, groups)
    state = rule.init(PARAMS)
    updates, after = rule.update(PARAMS, state, PARAMS, {"learning_rate": jnp.float32(0.1)})
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert leaves_like(after) == leaves_like(state)
    assert leaves_like(updates) == leaves_like(PARAMS)
    assert jax.tree.structure(updates) == jax.tree.structure(PARAMS)


def test_a_rule_that_evaluates_the_loss_is_refused():
    def update(grads: Any, state: Any, params: Any, hypers: Any, *, value: Any, objective: Any):
        return (grads, state) if objective(params) < value else (params, state)

    searching = recipes.Rule(lambda params: (), update)
    for rule in (
        recipes.grouped(searching, [recipes.Group("output/*", None, 0.5)]),
        recipes.grouped(ADAM, [recipes.Group("output/*", searching)]),
    ):
        with pytest.raises(
            SpecError,
            match=r"train\.groups: must go with update rules that look at gradients only, got a rule that evaluates "
            r"the loss while it steps\. Take a first-order rule such as adam, or leave the groups out\.",
        ):
            rule.update(
                PARAMS,
                rule.init(PARAMS),
                PARAMS,
                {"learning_rate": 0.1},
                value=1.0,
                objective=objective,
            )


def test_weights_to_evaluate_are_those_of_each_rule():
    def halved(state: Any, params: Any, hypers: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf * hypers["learning_rate"], params)

    free = recipes.Rule(ADAM.init, ADAM.update, halved)
    groups = [recipes.Group("output/*", free, 0.5), recipes.Group("embed/*", is_frozen=True)]
    rule = recipes.grouped(ADAM, groups)
    assert rule.evaluated is not None
    found = rule.evaluated(rule.init(PARAMS), PARAMS, {"learning_rate": 1.0})
    np.testing.assert_array_equal(found["output"]["kernel"], 0.25)
    for layer in ("embed", "blocks/0"):
        for name, leaf in PARAMS[layer].items():
            assert found[layer][name] is leaf
    assert recipes.grouped(ADAM, [recipes.Group("output/*")]).evaluated is None
