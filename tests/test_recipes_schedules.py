"""Schedules against slow transcriptions of their formulas and against PyTorch; warm-up joined to any; misfits told."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import recipes
from lanework.catalog import CATALOG
from lanework.errors import SpecError
from lanework.recipes.schedules import problems
from tests.contracts.probes import choice
from tests.helpers import ROOT

# Long paths against slow twins; the contracts over the catalogue look at every rule and row by default.
pytestmark = pytest.mark.slow

PER_EPOCH, TOTAL = 7, 300
BASE = 0.8


def run(
    name: str, hypers: Any = None, *, total: int = TOTAL, per_epoch: int = PER_EPOCH, **options: Any
) -> np.ndarray:
    factor = recipes.schedule(
        choice("schedule", name, **options), total_steps=total, steps_per_epoch=per_epoch
    )
    return np.asarray(jax.vmap(lambda step: factor(step, hypers or {}))(jnp.arange(total)))


# --- slow twins: one step at a time, times as exact fractions ------------------------------------


def exact(value: float) -> Fraction:
    return Fraction(str(value))


def half_cosine(share: float) -> float:
    return (1 + math.cos(math.pi * share)) / 2


def slow_step(k: int, n: int, o: dict[str, Any]) -> float:
    value, drop = 1.0, exact(o["every"]) * PER_EPOCH
    while k >= drop:
        value, drop = value * o["factor"], drop + exact(o["every"]) * PER_EPOCH
    return value


def slow_multi_step(k: int, n: int, o: dict[str, Any]) -> float:
    value = 1.0
    for epoch in o.get("milestones") or [
        exact(o[key]) * n / PER_EPOCH for key in ("first", "second")
    ]:
        if Fraction(k, PER_EPOCH) >= epoch:
            value *= o["factor"]
    return value


def slow_restarts(k: int, n: int, o: dict[str, Any]) -> float:
    left, length = Fraction(k), exact(o["period"]) * PER_EPOCH
    while left >= length:
        left, length = left - length, length * exact(o["multiplier"])
    return o["final"] + (1 - o["final"]) * half_cosine(float(left / length))


def slow_one_cycle(k: int, n: int, o: dict[str, Any]) -> float:
    top, last = o["peak"] * n - 1, n - 1
    knots = [(0.0, o["start"]), (top, 1.0), (last, o["final"])]
    if o.get("three_phase"):
        knots.insert(2, (2 * top, o["start"]))
    for (begin, first), (end, second) in pairwise(knots):
        if k <= end:
            share = (k - begin) / (end - begin)
            left = half_cosine(share) if o["form"] == "cosine" else 1 - share
            return second + (first - second) * left
    raise AssertionError(k)


def slow_cyclic(k: int, n: int, o: dict[str, Any]) -> float:
    cycle, left, period = 0, Fraction(k), exact(o["period"]) * PER_EPOCH
    while left >= period:
        cycle, left = cycle + 1, left - period
    up = 2 * left / period if left <= period / 2 else 2 - 2 * left / period
    height = {
        "triangular": 1.0,
        "triangular2": 0.5**cycle,
        "exp_range": o.get("decay", 1.0) ** (k / PER_EPOCH),
    }
    return o["low"] + (1 - o["low"]) * float(up) * height[o["form"]]


def slow_wsd(k: int, n: int, o: dict[str, Any]) -> float:
    fall = exact(o["decay"]) * n
    share = float(max(Fraction(0), (k - (n - fall)) / fall))
    left = 1 - (math.sqrt(share) if o["form"] == "root" else share)
    return o["final"] + (1 - o["final"]) * left


def slow_ramp(k: int, n: int, o: dict[str, Any]) -> float:
    share = min(1.0, k / PER_EPOCH / o["epochs"])
    return (o["from_value"] + (BASE - o["from_value"]) * share) / BASE


SLOW: dict[str, Callable[[int, int, dict[str, Any]], float]] = {
    "constant": lambda k, n, o: 1.0,
    "plateau": lambda k, n, o: 1.0,
    "linear_warmup": lambda k, n, o: 1.0,
    "step": slow_step,
    "multi_step": slow_multi_step,
    "exponential": lambda k, n, o: math.exp(-o["rate"] * k / PER_EPOCH),
    "inverse": lambda k, n, o: 1 / (1 + o["rate"] * k / PER_EPOCH),
    "inverse_sqrt": lambda k, n, o: 1 / math.sqrt(max(1.0, k / PER_EPOCH / o["flat"])),
    "polynomial": lambda k, n, o: o["final"] + (1 - o["final"]) * (1 - k / n) ** o["power"],
    "linear": lambda k, n, o: o["final"] + (1 - o["final"]) * (1 - k / n),
    "cosine": lambda k, n, o: o["final"] + (1 - o["final"]) * half_cosine(k / n),
    "cosine_restarts": slow_restarts,
    "one_cycle": slow_one_cycle,
    "cyclic": slow_cyclic,
    "wsd": slow_wsd,
    "ramp": slow_ramp,
    "geometric_ramp": lambda k, n, o: o["start"] ** (1 - k / (n - 1)),
}
CYCLE = {"peak": 0.3, "start": 0.04, "final": 4e-6}
FALLING_RAMP = {"from_value": 1.6, "epochs": 3.5}  # the only factor above 1
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("constant", {}),
    ("plateau", {}),
    ("linear_warmup", {"warmup_epochs": 0.0}),
    ("step", {"every": 3.0, "factor": 0.5}),
    ("step", {"every": 2.5, "factor": 0.1}),
    ("multi_step", {"milestones": (10, 25, 40), "factor": 0.2}),
    ("multi_step", {"first": 0.5, "second": 0.75, "factor": 0.1}),
    ("exponential", {"rate": 0.2}),
    ("inverse", {"rate": 0.2}),
    ("inverse_sqrt", {"flat": 2.0}),
    ("polynomial", {"power": 0.9, "final": 0.0}),
    ("polynomial", {"power": 3.0, "final": 0.1}),
    ("linear", {"final": 0.05}),
    ("cosine", {"final": 0.1}),
    ("cosine_restarts", {"period": 6.0, "multiplier": 1.0, "final": 0.0}),
    ("cosine_restarts", {"period": 2.0, "multiplier": 2.0, "final": 0.1}),
    ("cosine_restarts", {"period": 2.5, "multiplier": 1.5, "final": 0.0}),
    ("one_cycle", {**CYCLE, "form": "cosine"}),
    ("one_cycle", {**CYCLE, "form": "linear", "peak": 0.41}),
    ("one_cycle", {**CYCLE, "form": "linear", "three_phase": True}),
    ("one_cycle", {**CYCLE, "form": "cosine", "three_phase": True, "peak": 0.45}),
    ("cyclic", {"period": 8.0, "low": 0.25, "form": "triangular"}),
    ("cyclic", {"period": 5.0, "low": 0.1, "form": "triangular2"}),
    ("cyclic", {"period": 4.5, "low": 0.2, "form": "exp_range", "decay": 0.95}),
    ("wsd", {"decay": 0.2, "final": 0.0, "form": "linear", "warmup_epochs": 0.0}),
    ("wsd", {"decay": 0.25, "final": 0.1, "form": "root", "warmup_epochs": 0.0}),
    ("ramp", {"from_value": 0.3, "epochs": 10.0}),
    ("ramp", FALLING_RAMP),
    ("geometric_ramp", {"start": 1e-6}),
]
IDS = [f"{name}-{place}" for place, (name, _) in enumerate(SETTINGS)]
every_setting = pytest.mark.parametrize(("name", "options"), SETTINGS, ids=IDS)


def slow(name: str, options: dict[str, Any], *, total: int = TOTAL) -> np.ndarray:
    return np.array([SLOW[name](k, total, options) for k in range(total)])


def test_every_schedule_has_a_slow_twin():
    assert {name for name, _ in SETTINGS} == set(SLOW) == set(CATALOG["schedule"])


@every_setting
def test_schedule_is_its_formula(name: str, options: dict[str, Any]):
    found = run(name, {"learning_rate": jnp.float32(BASE)}, **options)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, slow(name, options), rtol=1e-6, atol=1e-6)


@every_setting
def test_schedule_is_its_formula_in_double_precision(name: str, options: dict[str, Any]):
    with jax.enable_x64(True):
        found = run(name, {"learning_rate": jnp.float64(BASE)}, **options)
        assert found.dtype == np.float64
    np.testing.assert_allclose(found, slow(name, options), rtol=1e-11, atol=1e-13)


@every_setting
def test_traced_options_say_the_same_as_static_ones(name: str, options: dict[str, Any]):
    """In lanes, compiled, beside lanes of other values."""
    made = choice("schedule", name, **options)
    row = CATALOG["schedule"][name]
    traced = {h.name: float(made.options[h.name]) for h in row.hypers if h.traced}
    lanes = {
        f"schedules.x.{key}": jnp.array([value, 0.9 * value, value], jnp.float32)
        for key, value in traced.items()
    }
    lanes["x"] = jnp.full(3, BASE)
    factor = recipes.schedule(
        made, total_steps=TOTAL, steps_per_epoch=PER_EPOCH, prefix="schedules.x", of="x"
    )
    over_steps = jax.vmap(factor, in_axes=(0, None))
    together = np.asarray(
        jax.jit(jax.vmap(over_steps, in_axes=(None, 0)))(jnp.arange(TOTAL), lanes)
    )
    np.testing.assert_allclose(together[0], slow(name, options), rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(together[0], together[2], rtol=1e-6, atol=1e-6)


# --- warm-up -------------------------------------------------------------------------------------

JOINED = [
    item
    for item in SETTINGS
    if any(h.name == "warmup_epochs" for h in CATALOG["schedule"][item[0]].hypers)
]


@pytest.mark.parametrize(("name", "options"), JOINED)
def test_warm_up_joins_to_any(name: str, options: dict[str, Any]):
    rise = np.minimum(1.0, (np.arange(TOTAL) + 1) / (2 * PER_EPOCH))
    found = run(name, **{**options, "warmup_epochs": 2.0})
    np.testing.assert_allclose(found, slow(name, options) * rise, rtol=1e-6, atol=1e-6)
    assert found[0] > 0


def test_only_ramps_have_no_warm_up():
    names = {name for name, _ in JOINED}
    assert set(CATALOG["schedule"]) - names == {"ramp", "geometric_ramp"}


def test_linear_warm_up_rises_and_stays():
    found = run("linear_warmup", warmup_epochs=1.0)
    np.testing.assert_allclose(
        found[:PER_EPOCH], np.arange(1, PER_EPOCH + 1) / PER_EPOCH, rtol=1e-5
    )
    np.testing.assert_array_equal(found[PER_EPOCH:], 1.0)


def test_a_warm_up_of_no_length_is_none():
    for length in (0.0, 0.01):
        hypers = {"schedule.warmup_epochs": jnp.float32(length)}
        np.testing.assert_array_equal(run("constant", hypers), 1.0)


# --- changes at the very step --------------------------------------------------------------------


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


@pytest.mark.parametrize("per_epoch", [3, 49, 469])
@pytest.mark.parametrize(("period", "multiplier"), [(1.0, 1.0), (3.0, 1.0), (1.0, 2.0), (2.0, 3.0)])
def test_restarts_come_at_the_very_step(per_epoch: int, period: float, multiplier: float):
    lengths = period * per_epoch * multiplier ** np.arange(6)
    at = np.cumsum(lengths).round().astype(int)
    factor = recipes.schedule(
        choice("schedule", "cosine_restarts", period=period, multiplier=multiplier),
        total_steps=1,
        steps_per_epoch=per_epoch,
    )
    by_step = jax.jit(jax.vmap(lambda step: factor(step, {})))
    np.testing.assert_allclose(by_step(jnp.asarray(at)), 1.0, rtol=1e-6)
    before = [half_cosine(1 - 1 / length) for length in lengths]
    np.testing.assert_allclose(by_step(jnp.asarray(at - 1)), before, atol=1e-6)


@pytest.mark.parametrize("total", [2, 10, 77, 300, 1001, 9380])
@pytest.mark.parametrize(("first", "second"), [(0.5, 0.75), (0.1, 0.3), (0.6, 0.9)])
def test_shares_of_the_run_drop_at_the_very_step(total: int, first: float, second: float):
    factor = recipes.schedule(
        choice("schedule", "multi_step", first=first, second=second, factor=0.5),
        total_steps=total,
        steps_per_epoch=9,
    )
    steps = np.arange(total)
    drops = [(steps >= math.ceil(exact(share) * total)).astype(int) for share in (first, second)]
    found = jax.vmap(lambda step: factor(step, {}))(jnp.asarray(steps))
    np.testing.assert_allclose(found, 0.5 ** sum(drops), rtol=1e-6)


# --- edges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"), [item for item in SETTINGS if item[1] != FALLING_RAMP]
)
@pytest.mark.parametrize(("total", "per_epoch"), [(1, 1), (1, 50), (2, 1), (7, 7), (8, 7)])
def test_short_runs_are_finite_and_at_most_one(name, options, total: int, per_epoch: int):
    found = run(
        name, {"learning_rate": jnp.float32(BASE)}, total=total, per_epoch=per_epoch, **options
    )
    assert found.shape == (total,)
    assert np.all((found > 0) & (found <= 1))


@pytest.mark.parametrize(
    ("name", "first", "last", "after"),
    [
        ("cosine", 1.0, 0.1 + 0.9 * half_cosine(9 / 10), 0.1),
        ("linear", 1.0, 0.1 + 0.9 * 0.1, 0.1),
        ("polynomial", 1.0, 0.1 + 0.9 * 0.1**0.9, 0.1),
        ("wsd", 1.0, 0.1 + 0.9 * 0.5, 0.1),
        ("one_cycle", 0.04, 0.1, 0.1),
        ("geometric_ramp", 1e-6, 1.0, 1.0),
    ],
)
def test_first_step_last_step_and_beyond(name: str, first: float, last: float, after: float):
    """What falls over the whole run is not at its end before the last step was taken."""
    names = [hyper.name for hyper in CATALOG["schedule"][name].hypers]
    options = {"final": 0.1} if "final" in names else {}
    options |= {"warmup_epochs": 0.0} if name == "wsd" else {}
    made = choice("schedule", name, **options)
    factor = recipes.schedule(made, total_steps=10, steps_per_epoch=5)
    found = [float(factor(step, {})) for step in (0, 9, 10, 50)]
    np.testing.assert_allclose(found, [first, last, after, after], rtol=1e-5)


@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_of_one_step_takes_it_at_the_full_rate(three_phase: bool):
    np.testing.assert_array_equal(run("one_cycle", total=1, three_phase=three_phase), 1.0)


def test_the_peak_of_one_cycle_is_the_rate_that_was_given():
    found = run("one_cycle", total=100, per_epoch=10, peak=0.3)
    assert found.argmax() == 29
    np.testing.assert_allclose(found[29], 1.0, rtol=1e-6)


def test_bare_and_full_names():
    full = run("exponential", {"schedule.rate": 0.5})
    np.testing.assert_array_equal(full, run("exponential", {"rate": 0.5}))
    np.testing.assert_array_equal(full, run("exponential", rate=0.5))


def test_unknown_schedule_names_the_nearest():
    wrong = choice("schedule", "constant")
    wrong.name = "cosin"
    with pytest.raises(
        SpecError, match=r"train\.schedule: must be one of .* got 'cosin'\. Use cosine"
    ):
        recipes.schedule(wrong, total_steps=1, steps_per_epoch=1)
    with pytest.raises(SpecError, match=r"train\.schedules\.momentum: must be one of"):
        recipes.schedule(wrong, total_steps=1, steps_per_epoch=1, prefix="schedules.momentum")


# --- other values than the rate ------------------------------------------------------------------


def momentum_schedule(hypers: dict[str, Any], **options: Any) -> np.ndarray:
    factor = recipes.schedule(
        choice("schedule", "ramp", **options),
        total_steps=40,
        steps_per_epoch=10,
        prefix="schedules.momentum",
        of="optimizer.momentum",
    )
    return np.asarray(jax.vmap(lambda step: factor(step, hypers))(jnp.arange(40)))


def test_momentum_is_annealed_from_a_value_to_its_own():
    hypers = {"optimizer.momentum": jnp.float32(0.9), "schedules.momentum.epochs": 2.0}
    found = 0.9 * momentum_schedule(hypers, from_value=0.5, epochs=3.0)
    wanted = 0.5 + 0.4 * np.minimum(1.0, np.arange(40) / 20)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_names_of_another_schedule_are_not_read():
    hypers = {"optimizer.momentum": jnp.float32(0.9), "schedule.epochs": 1.0}
    found = momentum_schedule(hypers, from_value=0.5, epochs=3.0)
    np.testing.assert_allclose(0.9 * found[15], 0.7, rtol=1e-6)


def test_a_base_value_of_zero_stays_zero_and_finite():
    found = momentum_schedule({"optimizer.momentum": jnp.float32(0.0)}, from_value=0.5)
    np.testing.assert_array_equal(found, 1.0)


def test_a_ramp_without_its_base_value_names_it():
    with pytest.raises(KeyError, match=r"optimizer\.momentum"):
        momentum_schedule({"learning_rate": jnp.float32(0.1)})


def test_the_factor_has_the_precision_of_the_base_value():
    factor = recipes.schedule(choice("schedule", "cosine"), total_steps=9, steps_per_epoch=3)
    with jax.enable_x64(True):
        assert factor(4, {"learning_rate": jnp.float32(1.0)}).dtype == jnp.float32
        assert factor(4, {"learning_rate": jnp.float64(1.0)}).dtype == jnp.float64
        assert factor(jnp.int32(4), {}).dtype == jnp.float64
    assert factor(4, {"learning_rate": 1}).dtype == jnp.float32


def test_a_schedule_runs_inside_a_compiled_loop():
    factor = recipes.schedule(
        choice("schedule", "cosine_restarts", period=3.0, multiplier=2.0),
        total_steps=TOTAL,
        steps_per_epoch=PER_EPOCH,
    )

    def add(step: jax.Array, total: jax.Array) -> jax.Array:
        return total + factor(step, {})

    found = jax.jit(lambda: jax.lax.fori_loop(0, TOTAL, add, jnp.zeros(())))()
    wanted = slow("cosine_restarts", {"period": 3.0, "multiplier": 2.0, "final": 0.0}).sum()
    np.testing.assert_allclose(float(found), wanted, rtol=1e-5)


# --- PyTorch -------------------------------------------------------------------------------------

SPE = 10  # steps per epoch, where PyTorch's periods are whole numbers of steps
TORCH: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("step", {"every": 3.0, "factor": 0.5}, "StepLR", {"step_size": 30, "gamma": 0.5}),
    (
        "multi_step",
        {"milestones": (4, 9, 20), "factor": 0.2},
        "MultiStepLR",
        {"milestones": [40, 90, 200], "gamma": 0.2},
    ),
    ("exponential", {"rate": 0.2}, "ExponentialLR", {"gamma": math.exp(-0.2 / SPE)}),
    ("polynomial", {"power": 0.9}, "PolynomialLR", {"total_iters": TOTAL, "power": 0.9}),
    (
        "linear",
        {"final": 0.1},
        "LinearLR",
        {"start_factor": 1.0, "end_factor": 0.1, "total_iters": TOTAL},
    ),
    (
        "ramp",
        {"from_value": 0.2 * BASE, "epochs": 5.0},
        "LinearLR",
        {"start_factor": 0.2, "total_iters": 50},
    ),
    ("cosine", {"final": 0.1}, "CosineAnnealingLR", {"T_max": TOTAL, "eta_min": 0.1 * BASE}),
    (
        "cosine_restarts",
        {"period": 6.0, "final": 0.1},
        "CosineAnnealingWarmRestarts",
        {"T_0": 60, "eta_min": 0.1 * BASE},
    ),
    (
        "cosine_restarts",
        {"period": 2.0, "multiplier": 2.0},
        "CosineAnnealingWarmRestarts",
        {"T_0": 20, "T_mult": 2},
    ),
    *(
        (
            "one_cycle",
            {"peak": peak, "form": form, "three_phase": three_phase},
            "OneCycleLR",
            {
                "max_lr": BASE,
                "total_steps": TOTAL,
                "pct_start": peak,
                "anneal_strategy": {"cosine": "cos", "linear": "linear"}[form],
                "three_phase": three_phase,
                "cycle_momentum": False,
            },
        )
        for peak, form, three_phase in [
            (0.3, "cosine", False),
            (0.41, "linear", False),
            (0.3, "linear", True),
            (0.45, "cosine", True),
        ]
    ),
    *(
        (
            "cyclic",
            {"period": 8.0, "low": 0.25, "form": form, "decay": 0.95},
            "CyclicLR",
            {
                "base_lr": 0.25 * BASE,
                "max_lr": BASE,
                "step_size_up": 40,
                "mode": form,
                "gamma": 0.95 ** (1 / SPE),
                "cycle_momentum": False,
            },
        )
        for form in ("triangular", "triangular2", "exp_range")
    ),
]


@pytest.mark.parametrize(("name", "options", "other", "theirs"), TORCH)
def test_schedule_is_that_of_pytorch(name: str, options: Any, other: str, theirs: Any):
    """Stepped once per update; the first update is made with the value from before any step of the schedule."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, dtype=torch.float64, requires_grad=True)], lr=BASE)
    scheduler = getattr(torch.optim.lr_scheduler, other)(optimizer, **theirs)
    wanted = []
    for _ in range(TOTAL - 1):
        wanted.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    wanted.append(optimizer.param_groups[0]["lr"])
    with jax.enable_x64(True):
        found = run(name, {"learning_rate": jnp.float64(BASE)}, per_epoch=SPE, **options)
    np.testing.assert_allclose(BASE * found, wanted, rtol=1e-9, atol=1e-12)


# --- what does not fit the run -------------------------------------------------------------------

MISFITS: list[tuple[str, dict[str, Any], int, str]] = [
    (
        "cosine",
        {"warmup_epochs": 3.0},
        3,
        "warmup_epochs: must be below epochs (3), got 3: the warm-up would never end. "
        "Use for example 0.3, a tenth of training.",
    ),
    (
        "step",
        {},
        4,
        "every: must be below epochs (4), got 10: the rate would never drop. "
        "Use for example 1, or schedule: constant.",
    ),
    (
        "multi_step",
        {"milestones": (30, 10, 10)},
        40,
        "milestones: must ascend, got [30, 10, 10]: each milestone comes once and in order. "
        "Use [10, 30].",
    ),
    (
        "multi_step",
        {"milestones": (10, 20, 30)},
        20,
        "milestones: must be below epochs (20), got 20, 30: the rate would not drop there. "
        "Use for example [10, 15].",
    ),
    (
        "multi_step",
        {"milestones": (5,)},
        1,
        "milestones: must be below epochs (1), got 5: the rate would not drop there. "
        "Use schedule: constant.",
    ),
    (
        "inverse_sqrt",
        {"flat": 20.0},
        20,
        "flat: must be below epochs (20), got 20: the rate would never fall. "
        "Use for example 2, or schedule: constant.",
    ),
    (
        "cosine_restarts",
        {},
        8,
        "period: must be below epochs (8), got 10: there would be no restart. "
        "Use for example 2, or schedule: cosine.",
    ),
    (
        "cyclic",
        {},
        8,
        "period: must be <= epochs (8), got 10: not one cycle would be whole. "
        "Use for example 4, two cycles.",
    ),
    (
        "ramp",
        {},
        4,
        "epochs: must be <= epochs (4), got 5: the base value would never be reached. "
        "Use for example 2, half of training.",
    ),
    (
        "one_cycle",
        {"warmup_epochs": 4.0},
        10,
        "warmup_epochs: must be <= the rise of the cycle (3 epochs), got 4: the peak would be passed before "
        "the warm-up is over. Use warmup_epochs: 0; the rise is a warm-up.",
    ),
    (
        "one_cycle",
        {"three_phase": True, "peak": 0.5},
        10,
        "peak: must be below 0.5 with three_phase, got 0.5: the fall is as long as the rise. "
        "Use for example 0.45, or three_phase: false.",
    ),
    (
        "wsd",
        {"warmup_epochs": 9.0},
        10,
        "warmup_epochs: must be <= the epochs before the fall (8), got 9: the full rate would never be "
        "reached. Use for example 2, or a smaller decay.",
    ),
]


@pytest.mark.parametrize(("name", "options", "epochs", "text"), MISFITS)
@pytest.mark.parametrize("per_epoch", [1, 50])
def test_what_does_not_fit_the_run_is_told(name, options, epochs: int, text: str, per_epoch: int):
    found = problems(
        choice("schedule", name, **options),
        total_steps=epochs * per_epoch,
        steps_per_epoch=per_epoch,
        path="train.schedule",
    )
    assert [str(problem) for problem in found] == [f"train.schedule.{text}"]


@pytest.mark.parametrize(
    ("name", "options", "epochs"),
    [
        *((name, {}, 20) for name in CATALOG["schedule"]),
        ("step", {"every": 3.9}, 4),
        ("multi_step", {"milestones": (1, 3)}, 4),
        ("multi_step", {}, 1),
        ("cyclic", {"period": 4.0}, 4),
        ("ramp", {"epochs": 4.0}, 4),
        ("one_cycle", {"warmup_epochs": 3.0}, 10),
        ("one_cycle", {"three_phase": True, "peak": 0.49}, 10),
        ("wsd", {"warmup_epochs": 8.0}, 10),
        ("linear_warmup", {"warmup_epochs": 0.9}, 1),
    ],
)
def test_what_fits_the_run_is_left_alone(name: str, options: dict[str, Any], epochs: int):
    made = choice("schedule", name, **options)
    assert problems(made, total_steps=epochs * 9, steps_per_epoch=9, path="here") == []


def test_all_misfits_are_told_together():
    made = choice("schedule", "multi_step", milestones=(40, 30), warmup_epochs=25.0)
    found = problems(made, total_steps=20, steps_per_epoch=1, path="train.schedules.momentum")
    assert [problem.path.rpartition(".")[2] for problem in found] == [
        "warmup_epochs",
        "milestones",
        "milestones",
    ]
    assert all(re.fullmatch(r"must .+, got .+: .+\. .+\.", problem.message) for problem in found)


# --- documentation -------------------------------------------------------------------------------


def test_the_figure_and_the_page_show_every_schedule():
    drawn = (ROOT / "docs/images/schedules.svg").read_text(encoding="utf-8")
    page = (ROOT / "docs/explain/schedules.md").read_text(encoding="utf-8")
    for name in CATALOG["schedule"]:
        assert f">{name}<" in drawn
        assert f"`{name}`" in page
