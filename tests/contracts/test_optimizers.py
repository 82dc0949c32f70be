"""Every update rule of the catalogue, through one body."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import recipes
from lanework.catalog import CATALOG
from tests.contracts import probes

NAMES = tuple(CATALOG["optimizer"])
# Rate at which the rule solves the probe in 600 steps.
RATES = {
    "sgd": 0.1,
    "momentum": 0.03,
    "nesterov": 0.03,
    "adagrad": 0.5,
    "adadelta": 30.0,
    "rmsprop": 0.01,
    "adam": 0.05,
    "adamw": 0.05,
    "radam": 0.05,
    "lion": 0.005,
}


def train(name: str, hypers: dict[str, object], *, num_steps: int = 600) -> jax.Array:
    """Loss at the end of training on the quadratic probe."""
    rule = recipes.rule(probes.choice("optimizer", name))
    params = probes.quadratic_start()

    def step(carry: object, _: object) -> tuple[object, None]:
        params, state = carry
        grads = jax.grad(probes.quadratic)(params)
        updates, state = rule.update(grads, state, params, hypers)
        return (jax.tree.map(jnp.add, params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, rule.init(params)), length=num_steps)
    return probes.quadratic(params)


def test_table_and_catalogue_hold_the_same_rules():
    assert set(recipes.RULES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_rule_solves_the_probe(name: str):
    hypers = {"learning_rate": RATES[name]}
    if name == "adamw":
        hypers["optimizer.weight_decay"] = 0.0
    start = float(probes.quadratic(probes.quadratic_start()))
    assert float(train(name, hypers)) < 5e-3 * start


@pytest.mark.parametrize("name", NAMES)
def test_state_keeps_structure_shape_and_type(name: str):
    rule = recipes.rule(probes.choice("optimizer", name))
    params = probes.quadratic_start()
    state = rule.init(params)
    hypers = {"learning_rate": jnp.float32(0.1)}
    updates, after = rule.update(params, state, params, hypers)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert probes.leaves_like(after) == probes.leaves_like(state)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    assert probes.leaves_like(updates) == probes.leaves_like(params)


@pytest.mark.parametrize("name", NAMES)
def test_rule_varies_by_lane_in_every_traced_hyperparameter(name: str):
    entry = CATALOG["optimizer"][name]
    for hyper in entry.hypers:
        if not hyper.traced:
            continue
        values = probes.spread(hyper)
        fixed = {f"optimizer.{k}": v for k, v in probes.traced(entry).items()}
        fixed = fixed | {"learning_rate": RATES[name]}
        del fixed["optimizer.learning_rate"]
        key = "learning_rate" if hyper.name == "learning_rate" else f"optimizer.{hyper.name}"

        def lane(value: jax.Array, key: str = key, fixed: dict = fixed) -> jax.Array:
            # Steps of lion depend on its memories only once signs change.
            return train(name, {**fixed, key: value}, num_steps=500 if name == "lion" else 20)

        together = jax.jit(jax.vmap(lane))(jnp.array(values, jnp.float32))
        solo = jax.jit(lane)
        alone = [float(solo(jnp.float32(value))) for value in values]
        np.testing.assert_allclose(together, alone, rtol=1e-5)
        if hyper.name != "eps":  # too small to be seen on this probe
            assert len({f"{value:.6g}" for value in alone}) == 3, (name, hyper.name)


@pytest.mark.parametrize("name", NAMES)
def test_a_second_cohort_of_equal_shape_does_not_compile_again(name: str):
    count = 0

    def lane(rate: jax.Array) -> jax.Array:
        nonlocal count
        count += 1
        return train(name, {"learning_rate": rate}, num_steps=2)

    program = jax.jit(jax.vmap(lane))
    program(jnp.array([0.1, 0.2]))
    program(jnp.array([0.3, 0.4]))
    assert count == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_lane_without_numbers_leaves_its_neighbour_alone(name: str):
    rates = jnp.array([RATES[name], jnp.nan])
    both = jax.vmap(lambda rate: train(name, {"learning_rate": rate}, num_steps=20))(rates)
    alone = train(name, {"learning_rate": jnp.float32(RATES[name])}, num_steps=20)
    np.testing.assert_allclose(both[0], alone, rtol=1e-5)
    assert not np.isfinite(both[1])
