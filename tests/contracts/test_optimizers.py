"""Every update rule of the catalogue, through one body."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import recipes
from lanework.catalog import CATALOG, Entry
from tests.contracts import probes

NAMES = tuple(CATALOG["optimizer"])
# Rate at which the rule solves the probe in 600 steps; the default rate where a rule is not here.
RATES = {
    "sgd": 0.1,
    "gd": 0.1,
    "momentum": 0.03,
    "nesterov": 0.03,
    "adagrad": 0.5,
    "adadelta": 30.0,
    "rmsprop": 0.01,
    "rprop": 0.01,
    "adam": 0.05,
    "nadam": 0.05,
    "adamax": 0.05,
    "amsgrad": 0.5,
    "adamw": 0.05,
    "radam": 0.05,
    "lookahead": 0.1,
    "ranger": 0.1,
    "mechanic": 1.0,
    "sam": 0.01,
    "lion": 0.005,
    "adabelief": 0.05,
    "acprop": 0.02,
    "yogi": 0.05,
    "adopt": 0.05,
    "adan": 0.05,
    "ademamix": 0.01,
    "simplified_ademamix": 5e-3,
    "optimistic_gd": 0.03,
    "optimistic_adam": 0.05,
    "adafactor": 0.05,
    "sophia": 0.05,
    "madgrad": 0.05,
    "schedule_free": 0.05,
    "lamb": 0.01,
    "lars": 0.1,
    "fromage": 0.05,
    "novograd": 0.01,
    "muon": 0.02,
    "sign_sgd": 0.01,
    "signum": 0.01,
    "sm3": 0.3,
    "noisy_sgd": 0.05,
    "polyak_sgd": 0.05,
    "momo": 0.05,
    "momo_adam": 0.1,
}
# What the probe needs beside the rate: no decay away from its minimum, effects that can be seen.
BASE = {
    "adamw": {"weight_decay": 0.0},
    "mechanic": {"weight_decay": 0.0},
    "lars": {"trust": 0.1},
    "muon": {"adam_share": 0.5},
    "simplified_ademamix": {"b1": 0.9},
    "sophia": {"gamma": 1.0, "b2": 0.5},
}
# Values where those around the default do not differ on this probe.
SPREADS = {
    ("rprop", "min_step"): (1e-3, 4e-3, 8e-3),
    ("rprop", "max_step"): (0.02, 0.05, 0.1),
    ("adafactor", "clip"): (0.25, 0.5, 0.75),
    ("fromage", "min_norm"): (0.01, 0.1, 0.3),
    ("mechanic", "weight_decay"): (0.0, 20.0, 80.0),
    ("dadapt_adamw", "b2"): (0.9, 0.99, 0.999),
}
# Steps after which lanes differ and none has arrived, 20 elsewhere: signs must change first, and
# rules that find their rate start very small (later they would blow up the last digit).
COMPARED_AFTER = {
    "newton": 1,
    "lbfgs": 4,
    "dowg": 10,
    "mechanic": 30,
    "rprop": 60,
    "sophia": 60,
    "signum": 230,
    "dog": 300,
    "cocob": 300,
    "lion": 500,
}
# Rules by layer, which a kernel of equal weights would meet in a corner, and one whose divisor keeps its first value
# unless gradients grow.
UNEVEN = ("lamb", "lars", "amsgrad")


class Programs(NamedTuple):
    """One compiled run of a rule on the probe, alone and in lanes: `(hypers, num_steps) -> loss`."""

    solo: Callable[..., jax.Array]
    lanes: Callable[..., jax.Array]
    traces: list[str]


def start_of(name: str) -> Any:
    return probes.uneven_start() if name in UNEVEN else probes.quadratic_start()


def one_step(rule: recipes.Rule, params: Any, state: Any, hypers: Any) -> tuple[Any, Any]:
    value, grads = jax.value_and_grad(probes.quadratic)(params)
    updates, state = rule.update(
        grads, state, params, hypers, value=value, objective=probes.quadratic
    )
    return jax.tree.map(jnp.add, params, updates), state


@cache
def programs(name: str) -> Programs:
    rule = recipes.rule(probes.choice("optimizer", name))
    traces: list[str] = []

    def train(hypers: dict[str, Any], num_steps: Any) -> jax.Array:
        traces.append(name)
        start = start_of(name)
        params, state = jax.lax.fori_loop(
            0, num_steps, lambda _, carry: one_step(rule, *carry, hypers), (start, rule.init(start))
        )
        if rule.evaluated is not None:
            params = rule.evaluated(state, params, hypers)
        return probes.quadratic(params)

    lanes = jax.jit(jax.vmap(train, in_axes=(0, None)))
    return Programs(jax.jit(train), lanes, traces)


def base(name: str) -> dict[str, float]:
    """Every traced hyperparameter under its full name, with what the probe needs."""
    given = probes.traced(CATALOG["optimizer"][name]) | BASE.get(name, {})
    rate = RATES.get(name, given.pop("learning_rate"))
    given.pop("learning_rate", None)
    return {f"optimizer.{key}": value for key, value in given.items()} | {"learning_rate": rate}


def full_name(hyper: str) -> str:
    return hyper if hyper == "learning_rate" else f"optimizer.{hyper}"


def spreads(entry: Entry) -> dict[str, tuple[float, float, float]]:
    """Three values of each traced hyperparameter, by full name."""
    found = {}
    for hyper in entry.hypers:
        if hyper.traced:
            values = SPREADS.get((entry.name, hyper.name), probes.spread(hyper))
            if hyper.name == "learning_rate":
                rate = base(entry.name)["learning_rate"]
                values = (0.5 * rate, 0.8 * rate, rate)
            found[full_name(hyper.name)] = values
    return found


def as_arrays(hypers: dict[str, float]) -> dict[str, jax.Array]:
    return {key: jnp.float32(value) for key, value in hypers.items()}


def stacked(lanes: list[dict[str, float]]) -> dict[str, jax.Array]:
    return {key: jnp.array([lane[key] for lane in lanes], jnp.float32) for key in lanes[0]}


def test_table_and_catalogue_hold_the_same_rules():
    assert set(recipes.RULES) == set(NAMES)


def test_settings_of_this_file_name_rules_and_their_hyperparameters():
    assert set(RATES) | set(BASE) | set(COMPARED_AFTER) | set(UNEVEN) <= set(NAMES)
    pairs = [*SPREADS, *((name, hyper) for name, given in BASE.items() for hyper in given)]
    assert all(CATALOG["optimizer"][name].hyper(hyper).traced for name, hyper in pairs)


@pytest.mark.parametrize("name", NAMES)
def test_rule_solves_the_probe(name: str):
    start = float(probes.quadratic(start_of(name)))
    end = float(programs(name).solo(as_arrays(base(name)), 600))
    assert end < 5e-3 * start, end / start


@pytest.mark.parametrize("name", NAMES)
def test_state_keeps_structure_shape_and_type(name: str):
    rule = recipes.rule(probes.choice("optimizer", name))
    params = probes.quadratic_start()
    state = rule.init(params)
    hypers = {"learning_rate": jnp.float32(0.1)}
    updates, after = jax.eval_shape(
        lambda params, state: rule.update(
            params, state, params, hypers, value=jnp.float32(1.0), objective=probes.quadratic
        ),
        params,
        state,
    )
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert shapes_and_types(after) == probes.leaves_like(state)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    assert shapes_and_types(updates) == probes.leaves_like(params)


def shapes_and_types(tree: Any) -> list[tuple[tuple[int, ...], str]]:
    return [(leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("name", NAMES)
def test_rule_varies_by_lane_in_every_traced_hyperparameter(name: str):
    """Also: a lane without numbers leaves its neighbours alone, and a second cohort compiles nothing."""
    program, steps, plain = programs(name), COMPARED_AFTER.get(name, 20), base(name)
    values = spreads(CATALOG["optimizer"][name])
    lanes = [plain | {key: value} for key, three in values.items() for value in three]
    broken = plain | {"learning_rate": float("nan")}
    together = np.asarray(program.lanes(stacked([*lanes, broken]), steps))
    alone = np.array([program.solo(as_arrays(lane), steps) for lane in lanes])
    np.testing.assert_allclose(together[:-1], alone, rtol=1e-5)
    assert np.all(np.isfinite(alone))
    assert not np.isfinite(together[-1])
    for place, key in enumerate(values):
        if key != "optimizer.eps":  # too small to be seen on this probe
            three = alone[3 * place : 3 * place + 3]
            assert len({f"{value:.6g}" for value in three}) == 3, (key, three)
    before = len(program.traces)
    program.lanes(stacked([broken, *lanes]), steps + 1)
    assert len(program.traces) == before
