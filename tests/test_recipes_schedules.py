"""Schedules against their formulas; warm-up joined to any."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import recipes
from lanework.errors import SpecError
from tests.contracts.probes import choice

PER_EPOCH, TOTAL = 7, 140
T = np.arange(TOTAL) / PER_EPOCH


def run(name: str, hypers: Any = None, **options: Any) -> np.ndarray:
    factor = recipes.schedule(
        choice("schedule", name, **options), total_steps=TOTAL, steps_per_epoch=PER_EPOCH
    )
    return np.asarray(jax.vmap(lambda step: factor(step, hypers or {}))(jnp.arange(TOTAL)))


FORMULAS = {
    "constant": ({}, np.ones(TOTAL)),
    "step": ({"every": 3.0, "factor": 0.5}, 0.5 ** (np.arange(TOTAL) // (3 * PER_EPOCH))),
    "exponential": ({"rate": 0.2}, np.exp(-0.2 * T)),
    "inverse": ({"rate": 0.2}, 1 / (1 + 0.2 * T)),
    "cosine": ({"final": 0.1}, 0.1 + 0.9 * (1 + np.cos(np.pi * np.arange(TOTAL) / TOTAL)) / 2),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_schedule_is_its_formula(name: str):
    options, wanted = FORMULAS[name]
    np.testing.assert_allclose(run(name, **options), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
def test_warm_up_joins_to_any(name: str):
    options, wanted = FORMULAS[name]
    rise = np.minimum(1.0, (np.arange(TOTAL) + 1) / (2 * PER_EPOCH))
    found = run(name, warmup_epochs=2.0, **options)
    np.testing.assert_allclose(found, wanted * rise, rtol=1e-4, atol=1e-6)
    assert found[0] > 0


def test_linear_warm_up_rises_and_stays():
    found = run("linear_warmup", warmup_epochs=1.0)
    np.testing.assert_allclose(
        found[:PER_EPOCH], np.arange(1, PER_EPOCH + 1) / PER_EPOCH, rtol=1e-5
    )
    np.testing.assert_array_equal(found[PER_EPOCH:], 1.0)


def test_a_warm_up_of_no_length_is_none():
    np.testing.assert_array_equal(
        run("constant", {"schedule.warmup_epochs": jnp.float32(0.0)}), 1.0
    )
    np.testing.assert_array_equal(
        run("constant", {"schedule.warmup_epochs": jnp.float32(0.01)}), 1.0
    )


@pytest.mark.parametrize("per_epoch", [1, 3, 7, 20, 49, 469, 937])
@pytest.mark.parametrize("every", [0.1, 1.0, 3.0, 10.0])
def test_drops_come_at_the_very_step(per_epoch: int, every: float):
    """Rounding of step / steps per epoch must not move a drop."""
    factor = recipes.schedule(
        choice("schedule", "step", every=every, factor=0.5),
        total_steps=1,
        steps_per_epoch=per_epoch,
    )
    drops = np.arange(1, 9)
    first = np.ceil(np.round(drops * every * per_epoch, 6)).astype(int)
    after = np.asarray(jax.vmap(lambda step: factor(step, {}))(jnp.asarray(first)))
    before = np.asarray(jax.vmap(lambda step: factor(step, {}))(jnp.asarray(first - 1)))
    told = np.floor(np.round(first / (per_epoch * every), 6))
    np.testing.assert_allclose(np.log2(after), -told, atol=1e-3)
    assert np.all(np.log2(before) > -told - 1e-3)


def test_bare_and_full_names_and_the_end_of_training():
    full = run("exponential", {"schedule.rate": 0.5})
    np.testing.assert_allclose(full, run("exponential", {"rate": 0.5}))
    factor = recipes.schedule(choice("schedule", "cosine"), total_steps=10, steps_per_epoch=5)
    np.testing.assert_allclose(float(factor(50, {})), 0.0, atol=1e-6)


def test_unknown_schedule_names_the_nearest():
    wrong = choice("schedule", "constant")
    wrong.name = "cosin"
    with pytest.raises(
        SpecError, match=r"train\.schedule: must be one of .* got 'cosin'\. Use cosine"
    ):
        recipes.schedule(wrong, total_steps=1, steps_per_epoch=1)
