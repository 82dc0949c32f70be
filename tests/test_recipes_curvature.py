"""Second-order rules against SciPy, closed forms and slow twins; how they behave in lanes and where they refuse."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize

from lanework import recipes
from lanework.catalog import CATALOG
from lanework.recipes import curvature
from tests.contracts.probes import choice, leaves_like

# Long paths against slow twins; the contracts over the catalogue look at every rule and row by default.
pytestmark = pytest.mark.slow

NAMES = ("newton", "bfgs", "lbfgs")
QUASI = ("bfgs", "lbfgs")
Objective = Callable[[Any], jax.Array]


def walk(
    name: str, objective: Objective, start: Any, *, steps: int, **options: Any
) -> tuple[Any, Any, jax.Array]:
    """Parameters, state and the loss before each step, in one compiled loop."""
    rule = recipes.rule(choice("optimizer", name, **options))

    def step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], jax.Array]:
        params, state = carry
        value, grads = jax.value_and_grad(objective)(params)
        hypers = {"learning_rate": options.get("learning_rate", 1.0)}
        updates, state = rule.update(grads, state, params, hypers, value=value, objective=objective)
        return (jax.tree.map(jnp.add, params, updates), state), value

    (params, state), values = jax.lax.scan(step, (start, rule.init(start)), length=steps)
    return params, state, values


def quadratic(params: Any) -> jax.Array:
    """1/2 (x - 1)' A (x - 1) over a dictionary of two leaves, with curvatures from 0.1 to about 100."""
    x = jnp.concatenate([params["a"].ravel(), params["b"]]) - 1.0
    rotated = x + 0.3 * jnp.roll(x, 1)
    return 0.5 * jnp.sum(jnp.geomspace(0.1, 100.0, x.size).astype(x.dtype) * rotated**2)


def quadratic_start() -> Any:
    return {"a": jnp.full((2, 2), -1.0), "b": jnp.arange(3.0)}


def rosenbrock(x: jax.Array) -> jax.Array:
    return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def logistic(w: jax.Array) -> jax.Array:
    """L2-regularised logistic regression on 60 samples and 5 features of different scale, and a bias."""
    draw = np.random.default_rng(3)
    x = draw.normal(size=(60, 5)) * np.array([0.3, 1.0, 1.0, 2.0, 3.0])
    sign = np.where(x @ np.array([2.0, -1.0, 0.5, 0.0, 0.3]) + draw.normal(size=60) > 0, 1.0, -1.0)
    margins = jnp.asarray(sign) * (jnp.asarray(x) @ w[:5] + w[5])
    return jnp.mean(jax.nn.softplus(-margins)) + 0.05 * jnp.sum(w**2)


PROBLEMS = {
    "rosenbrock": (rosenbrock, np.array([-1.2, 1.0])),
    "logistic": (logistic, np.zeros(6)),
}
SCIPY = {"bfgs": ("BFGS", {"gtol": 1e-11}), "lbfgs": ("L-BFGS-B", {"gtol": 1e-11, "ftol": 0.0})}


def mlp(params: Any) -> jax.Array:
    """Mean squared error of a tanh network with 3 hidden units on a sine: non-convex, 10 parameters."""
    x = jnp.linspace(-2.0, 2.0, 20)[:, None]
    hidden = jnp.tanh(x @ params["in"] + params["bias"][None, :])
    return jnp.mean((hidden @ params["out"] + params["offset"] - jnp.sin(2.0 * x[:, 0])) ** 2)


def mlp_start(seed: int) -> Any:
    keys = jax.random.split(jax.random.key(seed), 3)
    return {
        "in": jax.random.normal(keys[0], (1, 3)),
        "bias": 0.1 * jax.random.normal(keys[1], (3,)),
        "out": jax.random.normal(keys[2], (3,)),
        "offset": jnp.zeros(()),
    }


def test_newton_solves_a_quadratic_in_one_step():
    with jax.enable_x64(True):
        params, state, _ = walk("newton", quadratic, quadratic_start(), steps=1, damping=0.0)
        for leaf in jax.tree.leaves(params):
            np.testing.assert_allclose(leaf, 1.0, rtol=1e-10)
        assert int(curvature.evaluations(state)) == 1 + 7 + 1  # its own, the Hessian, one trial


@pytest.mark.parametrize("name", QUASI)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_quasi_newton_reaches_the_optimum_that_scipy_finds(name: str, problem: str):
    objective, start = PROBLEMS[problem]
    with jax.enable_x64(True):
        method, options = SCIPY[name]
        compiled = jax.jit(jax.value_and_grad(objective))

        def both(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = compiled(jnp.asarray(x))
            return float(value), np.asarray(gradient)

        theirs = optimize.minimize(both, start, jac=True, method=method, options=options)
        ours, _, values = walk(name, objective, jnp.asarray(start), steps=80)
        np.testing.assert_allclose(ours, theirs.x, atol=1e-8)
        assert abs(float(objective(ours)) - theirs.fun) <= 1e-8
        # Of the same order of cost until convergence, which a search that wanders would not be.
        steps = int(np.argmax(np.asarray(values) - theirs.fun <= 1e-10))
        assert 0 < steps < 2 * theirs.nit + 10


def test_newton_reaches_the_optimum_of_logistic_regression_in_a_few_steps():
    with jax.enable_x64(True):
        x, _, _ = walk("newton", logistic, jnp.zeros(6), steps=8)
        assert float(jnp.max(jnp.abs(jax.grad(logistic)(x)))) < 1e-10


@pytest.mark.parametrize("name", NAMES)
def test_loss_never_rises_on_a_non_convex_network(name: str):
    with jax.enable_x64(True):
        lanes = jax.tree.map(lambda *rows: jnp.stack(rows), *map(mlp_start, range(4)))
        run = partial(walk, name, mlp, steps=60)
        _, _, values = jax.jit(jax.vmap(lambda start: run(start=start)))(lanes)
    values = np.asarray(values)
    assert np.all(np.diff(values, axis=1) <= 1e-14)
    assert np.all(np.diff(values[:, :10], axis=1) < 0)
    assert np.all(values[:, -1] < 0.2 * values[:, 0])


def test_newton_leaves_a_saddle_that_the_plain_step_walks_into():
    def saddle(x: jax.Array) -> jax.Array:
        return 0.5 * x[0] ** 2 - 0.5 * x[1] ** 2 + 0.25 * x[1] ** 4

    start = jnp.array([1.0, 1e-3])
    plain = start - jnp.linalg.solve(jax.hessian(saddle)(start), jax.grad(saddle)(start))
    assert float(jnp.max(jnp.abs(plain))) < 1e-6
    x, _, _ = walk("newton", saddle, start, steps=30)
    np.testing.assert_allclose(jnp.abs(x), jnp.array([0.0, 1.0]), atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_lanes_are_what_each_run_is_alone(name: str):
    starts = jnp.array([[-1.2, 1.0], [0.5, -0.5], [1.0, 1.0], [3.0, -2.0]])
    rates = jnp.array([1.0, 0.7, 1.0, 0.3])

    def lane(start: jax.Array, rate: jax.Array) -> tuple[Any, Any, jax.Array]:
        return walk(name, rosenbrock, start, steps=12, learning_rate=rate)

    with jax.enable_x64(True):
        starts, rates = starts.astype(float), rates.astype(float)
        together, states, _ = jax.jit(jax.vmap(lane))(starts, rates)
        solo = jax.jit(lane)
        for row, (start, rate) in enumerate(zip(starts, rates, strict=True)):
            alone, state, _ = solo(start, rate)
            np.testing.assert_allclose(together[row], alone, rtol=1e-8)
            assert int(states.evaluations[row]) == int(state.evaluations)
        # The third starts at the optimum: it waits, bit for bit, and evaluates nothing but what every step does.
        np.testing.assert_array_equal(together[2], starts[2])
        hessians = 12 * 2 if name == "newton" else 0
        assert int(states.evaluations[2]) == 12 + hessians
        assert int(states.evaluations[0]) > 12 + hessians


@pytest.mark.parametrize("name", NAMES)
def test_a_neighbour_without_numbers_has_no_effect(name: str):
    def holed(x: jax.Array) -> jax.Array:
        return jnp.where(x[0] > 2.0, jnp.nan, rosenbrock(x))

    lane = lambda start: walk(name, holed, start, steps=15)
    with jax.enable_x64(True):  # the path through the valley would amplify the rounding of float32
        starts = jnp.array([[-1.2, 1.0], [jnp.nan, 0.0], [5.0, 1.0], [1.9, -1.0]])
        together, states, values = jax.jit(jax.vmap(lane))(starts)
        alone, _, _ = jax.jit(lane)(starts[0])
    np.testing.assert_allclose(together[0], alone, rtol=1e-8)
    assert np.all(np.isnan(values[1]))
    assert np.all(np.isnan(values[2]))
    # A trial in the hole counts as too long; the run goes on.
    assert np.all(np.isfinite(values[3]))
    assert float(values[3, -1]) < 0.1 * float(values[3, 0])
    for leaf in jax.tree.leaves(states.memory):
        assert np.all(
            np.isfinite(leaf)
        )  # that of the lanes without numbers too: they learn nothing


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", NAMES)
def test_state_keeps_structure_shape_and_type_with_x64_on(name: str, dtype: Any):
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: leaf.astype(dtype), quadratic_start())
        rule = recipes.rule(choice("optimizer", name))
        state = rule.init(params)
        value, grads = jax.value_and_grad(quadratic)(params)
        hypers = {"learning_rate": jnp.asarray(1.0, jnp.float64)}
        updates, after = rule.update(grads, state, params, hypers, value=value, objective=quadratic)
        assert jax.tree.structure(after) == jax.tree.structure(state)
        assert leaves_like(after) == leaves_like(state)
        assert leaves_like(updates) == leaves_like(params)
        assert after.evaluations.dtype == jnp.int32
        assert {leaf.dtype for leaf in jax.tree.leaves(after.memory)} <= {
            jnp.dtype(dtype),
            jnp.dtype(jnp.int32),
        }


@pytest.mark.parametrize("name", NAMES)
def test_learning_rate_is_a_factor_of_the_accepted_step(name: str):
    with jax.enable_x64(True):
        start = jnp.array([-1.2, 1.0])
        whole, _, _ = walk(name, rosenbrock, start, steps=1, learning_rate=1.0)
        half, _, _ = walk(name, rosenbrock, start, steps=1, learning_rate=0.5)
        np.testing.assert_allclose(half - start, 0.5 * (whole - start), rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_every_evaluation_is_counted(name: str):
    calls = 0

    def objective(x: jax.Array) -> jax.Array:
        nonlocal calls
        calls += 1
        return rosenbrock(x)

    rule = recipes.rule(choice("optimizer", name))
    x = jnp.array([-1.2, 1.0])
    state = rule.init(x)
    with jax.disable_jit():  # loops run as Python, so that each evaluation is a call
        for _ in range(3):
            value, grads = jax.value_and_grad(objective)(x)
            updates, state = rule.update(
                grads, state, x, {"learning_rate": 1.0}, value=value, objective=objective
            )
            x = x + updates
    # The columns of the Hessian are one vectorised call here, and counted as two gradients.
    assert int(curvature.evaluations(state)) == calls + (3 if name == "newton" else 0)


def test_evaluations_are_found_in_lanes_and_inside_other_states_and_are_none_for_other_rules():
    state = recipes.rule(choice("optimizer", "lbfgs")).init(jnp.zeros(3))
    lanes = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
    assert curvature.evaluations({"slow": jnp.zeros(3), "fast": lanes}).shape == (2,)
    sgd = recipes.rule(choice("optimizer", "sgd")).init(jnp.zeros(3))
    assert curvature.evaluations(sgd) is None


def test_a_count_stops_at_the_largest_number():
    largest = np.iinfo(np.int32).max
    assert int(curvature._add(jnp.int32(largest - 2), 10)) == largest


LINES = {
    "parabola": lambda t: 3.0 * (t - 7.0) ** 2,
    "far away": lambda t: 1e-4 * (t - 5e3) ** 2,
    "very near": lambda t: 1e4 * (t - 1e-3) ** 2,
    "kink": lambda t: abs(t - 0.3) + 0.1 * t,
    "wave": lambda t: jnp.sin(3.0 * t - 2.0) + 0.1 * t,
    "wall": lambda t: jnp.where(t < 0.4, -t, jnp.inf),
    "logarithm": lambda t: 0.2 * t - jnp.log(0.6 - t) - 2.0 * jnp.log(t + 0.1),
}


@pytest.mark.parametrize("label", LINES)
def test_line_search_ends_where_the_loss_falls_enough_and_the_slope_has_risen(label: str):
    with jax.enable_x64(True):
        both = jax.value_and_grad(lambda x: jnp.sum(LINES[label](x)))
        x = jnp.zeros(1)
        value, gradient = both(x)
        slope = float(gradient[0])
        assert slope < 0
        found = curvature.line_search(
            both, x, direction=jnp.ones(1), value=value, gradient=gradient, max_steps=40
        )
        new_value, new_gradient = both(x + found.step)
        assert float(found.step) > 0
        assert float(new_value) <= float(value) + 1e-4 * float(found.step) * slope
        np.testing.assert_array_equal(found.gradient, new_gradient)
        if label != "wall":  # where no step has a larger slope, the longest good one is taken
            assert float(new_gradient[0]) >= 0.9 * slope
            assert int(found.evaluations) < 15
        else:
            assert 0.399 < float(found.step) < 0.4


def test_line_search_looks_nowhere_from_a_minimum_or_uphill_and_says_when_it_is_stuck():
    search = partial(curvature.line_search, x=jnp.zeros(2), value=jnp.float32(0.0), max_steps=5)
    both = jax.value_and_grad(lambda x: jnp.sum(x**2))
    for gradient in (jnp.zeros(2), -jnp.ones(2), jnp.full(2, jnp.nan)):
        found = search(both, direction=-jnp.ones(2), gradient=gradient)
        assert float(found.step) == 0
        assert int(found.evaluations) == 0
        assert not bool(found.is_stuck)
    wrong = search(both, direction=-jnp.ones(2), gradient=jnp.ones(2))  # not the gradient
    assert bool(wrong.is_stuck)
    assert int(wrong.evaluations) == 5
    assert float(wrong.step) == 0


@pytest.mark.parametrize("name", QUASI)
def test_a_run_that_is_stuck_forgets_and_starts_anew(name: str):
    rule = recipes.rule(choice("optimizer", name))
    x = jnp.array([-1.2, 1.0])
    _, state, _ = walk(name, rosenbrock, x, steps=3)
    value, grads = jax.value_and_grad(rosenbrock)(x)
    _, after = rule.update(
        grads, state, x, {"learning_rate": 1.0}, value=value - 1e4, objective=rosenbrock
    )
    for leaf, fresh in zip(
        jax.tree.leaves(after.memory), jax.tree.leaves(rule.init(x).memory), strict=True
    ):
        np.testing.assert_array_equal(leaf, fresh)
    assert int(after.evaluations) > int(state.evaluations)


def pairs(num: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps and changes of the gradient of a positive definite quadratic."""
    draw = np.random.default_rng(1)
    root = draw.normal(size=(size, size))
    s = draw.normal(size=(num, size))
    return s, s @ (root @ root.T + np.eye(size))


def dense_update(inverse: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The published product form, one pair."""
    r, identity = 1 / (s @ y), np.eye(s.size)
    left = identity - r * np.outer(s, y)
    return left @ inverse @ left.T + r * np.outer(s, s)


def test_bfgs_update_is_the_product_form():
    steps, changes = pairs(4, 5)
    with jax.enable_x64(True):
        memory = curvature._bfgs_start(jnp.zeros(5))
        scale = (steps[0] @ changes[0]) / (changes[0] @ changes[0])
        expected = scale * np.eye(5)
        for s, y in zip(steps, changes, strict=True):
            memory = curvature.bfgs_learn(memory, jnp.asarray(s), jnp.asarray(y))
            expected = dense_update(expected, s, y)
            np.testing.assert_allclose(memory.matrix, expected, rtol=1e-9)
            np.testing.assert_allclose(memory.matrix @ y, s, rtol=1e-9)
            np.testing.assert_array_equal(memory.matrix, memory.matrix.T)
        assert int(memory.num_pairs) == 4
        assert np.linalg.eigvalsh(memory.matrix)[0] > 0


@pytest.mark.parametrize("num", [0, 1, 3, 6])
def test_lbfgs_direction_is_that_of_the_dense_matrix_of_its_pairs(num: int):
    steps, changes = pairs(num, 5) if num else (np.zeros((0, 5)), np.zeros((0, 5)))
    gradient = np.arange(1.0, 6.0)
    with jax.enable_x64(True):
        memory = curvature.Pairs(jnp.zeros((4, 5)), jnp.zeros((4, 5)), jnp.zeros(4))
        for s, y in zip(steps, changes, strict=True):
            memory = curvature.lbfgs_learn(memory, jnp.asarray(s), jnp.asarray(y))
        found = curvature.lbfgs_direction(memory, jnp.asarray(gradient))
    kept = range(max(0, num - 4), num)
    scale = 1 / np.linalg.norm(gradient)
    if num:
        scale = (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
    inverse = scale * np.eye(5)
    for row in kept:
        inverse = dense_update(inverse, steps[row], changes[row])
    np.testing.assert_allclose(found, -inverse @ gradient, rtol=1e-9)


def test_lbfgs_directions_are_those_of_optax_on_full_batches():
    theirs = optax.scale_by_lbfgs(memory_size=3)
    with jax.enable_x64(True):
        x = jnp.array([-1.2, 1.0, 0.4])
        state = theirs.init(x)
        memory = curvature.Pairs(jnp.zeros((3, 3)), jnp.zeros((3, 3)), jnp.zeros(3))
        gradient = jax.grad(quadratic_of_vector)(x)
        for _ in range(6):
            expected, state = theirs.update(gradient, state, x)
            direction = curvature.lbfgs_direction(memory, gradient)
            np.testing.assert_allclose(direction, -expected, rtol=1e-9, atol=1e-14)
            after = x + 0.5 * direction
            new_gradient = jax.grad(quadratic_of_vector)(after)
            memory = curvature.lbfgs_learn(memory, after - x, new_gradient - gradient)
            x, gradient = after, new_gradient


def quadratic_of_vector(x: jax.Array) -> jax.Array:
    return 0.5 * jnp.sum(jnp.array([1.0, 10.0, 100.0]) * (x - 1.0) ** 2)


@pytest.mark.parametrize("y", [[-1.0, 0.0], [0.0, 1.0], [jnp.nan, 1.0], [0.0, 0.0]])
def test_pairs_without_positive_curvature_are_not_learnt(y: list[float]):
    s = jnp.array([1.0, 0.0])
    matrix = curvature.InverseHessian(2.0 * jnp.eye(2), jnp.int32(3))
    few = curvature.lbfgs_learn(
        curvature.Pairs(jnp.zeros((2, 2)), jnp.zeros((2, 2)), jnp.zeros(2)),
        jnp.array([0.5, 0.5]),
        jnp.array([1.0, 1.0]),
    )
    for learn, memory in ((curvature.bfgs_learn, matrix), (curvature.lbfgs_learn, few)):
        after = learn(memory, s, jnp.array(y))
        for old, new in zip(jax.tree.leaves(memory), jax.tree.leaves(after), strict=True):
            np.testing.assert_array_equal(old, new)


def test_a_hessian_is_the_one_of_jax_and_one_without_numbers_gives_gradient_descent():
    x = jnp.linspace(-1.0, 1.0, 70)  # more than one block of columns
    found = curvature._hessian(jax.value_and_grad(rosenbrock), x)
    np.testing.assert_allclose(found, jax.hessian(rosenbrock)(x), rtol=1e-5, atol=1e-3)
    gradient = jnp.array([1.0, -2.0])
    direction = curvature.newton_direction(jnp.full((2, 2), jnp.nan), gradient, 1.0)
    np.testing.assert_allclose(direction, -0.5 * gradient, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_that_searches_says_that_it_needs_the_objective(name: str):
    rule = recipes.rule(choice("optimizer", name))
    x = jnp.zeros(2)
    with pytest.raises(
        ValueError, match=rf"{name} must be given .* `objective`.*; got none\. Pass"
    ):
        rule.update(x, rule.init(x), x, {"learning_rate": 1.0}, value=jnp.float32(0.0))


@pytest.mark.parametrize(
    ("name", "memory"),
    [("newton", curvature.newton_memory_bytes), ("bfgs", curvature.bfgs_memory_bytes)],
)
def test_matrices_of_a_compiled_step_fit_the_stated_memory(name: str, memory: Callable[[int], int]):
    rule = recipes.rule(choice("optimizer", name))
    x = jnp.zeros(400)
    objective = lambda x: jnp.sum(jnp.cosh(x - 1.0))

    def step(x: jax.Array, state: Any) -> Any:
        value, grads = jax.value_and_grad(objective)(x)
        return rule.update(
            grads, state, x, {"learning_rate": 1.0}, value=value, objective=objective
        )

    analysis = jax.jit(step).lower(x, rule.init(x)).compile().memory_analysis()
    used = (
        analysis.temp_size_in_bytes
        + analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
    )
    assert 0.3 * memory(400) < used <= memory(400)


def test_networks_that_are_too_large_are_refused_with_the_memory_they_would_need():
    for name in ("newton", "bfgs"):
        limit = int(CATALOG["optimizer"][name].facts["max_parameters"])
        assert curvature.check_size(name, limit, 1000) is None
    assert curvature.check_size("newton", 20_000, 1) == (
        "newton must have at most 5000 parameters to work on, because it keeps square matrices of that size, got 20000, "
        "which would need 4.8 GB for each run. Use a smaller network, or lbfgs."
    )
    text = curvature.check_size("bfgs", 100_000, 3)
    assert text is not None
    assert "at most 10000 parameters" in text
    assert "120.0 GB for each run, 360.0 GB for the 3 runs of a program" in text
    assert curvature.check_size("lbfgs", 10**8, 100) is None
    assert curvature.check_size("adam", 10**8, 100) is None


def test_what_changes_the_loss_between_steps_is_warned_of():
    warn = curvature.warnings_for
    assert warn("lbfgs", batch_is_all=True, dropout=0.0, augmented=False) == []
    assert warn("adam", batch_is_all=False, dropout=0.5, augmented=True) == []
    texts = warn("lbfgs", batch_is_all=False, dropout=0.25, augmented=True)
    assert len(texts) == 3
    assert "use batch_size: all" in texts[0]
    assert "dropout 0.25" in texts[1]
    assert "augmentation" in texts[2]
    assert all(text.startswith("lbfgs ") for text in texts)
    assert len(warn("newton", batch_is_all=True, dropout=0.1, augmented=False)) == 1


def test_catalogue_says_what_the_rules_need():
    for name in NAMES:
        assert CATALOG["optimizer"][name].facts["needs"] == "objective"
        assert CATALOG["optimizer"][name].defaults()["learning_rate"] == 1.0
    assert set(curvature.RULES) == set(NAMES)
