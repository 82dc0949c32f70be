"""Walks of the package's rules and of their oracles over the same problem, tensor by tensor and step by step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lanework import recipes
from tests.contracts.probes import choice
from tests.oracles.numpy_rules import Objective, TreeRule
from tests.oracles.problems import STEPS, Problem, flat, nested

Path = dict[str, np.ndarray]  # tensor [step, ...]


def ours(name: str, options: dict[str, Any], problem: Problem, rates: np.ndarray) -> Path:
    """The weights after each step of the package's rule, in float64; evaluated ones as `evaluated:layer/kernel`."""
    rule = recipes.rule(choice("optimizer", name, **options))

    def step(carry: Any, given: Any) -> tuple[Any, Any]:
        params, state = carry
        rate, k = given
        value, grads = jax.value_and_grad(problem.objective)(params, k)
        hypers = {"learning_rate": rate}
        updates, state = rule.update(
            grads, state, params, hypers, value=value, objective=lambda p: problem.objective(p, k)
        )
        params = jax.tree.map(jnp.add, params, updates)
        judged = {} if rule.evaluated is None else rule.evaluated(state, params, hypers)
        return (params, state), (params, judged)

    def walk(params: Any, given: Any) -> Any:
        return jax.lax.scan(step, (params, rule.init(params)), given)[1]

    with jax.enable_x64(True):
        given = (jnp.asarray(rates), jnp.arange(STEPS))
        walked, judged = jax.jit(walk)(nested(problem.start), given)
        path = flat(walked) | {f"evaluated:{key}": value for key, value in flat(judged).items()}
    assert all(value.dtype == np.float64 for value in path.values())
    return path


def at_step(problem: Problem, k: int) -> Objective:
    """What an oracle may ask in step k = 0, 1, ..."""
    return Objective(
        gradient=lambda params: problem.gradient(params, k),
        loss=lambda params: problem.loss(params, k),
        curvature=lambda params: problem.curvature(params, k) if problem.curvature else {},
    )


def oracle(rule: TreeRule, hypers: dict[str, Any], problem: Problem, rates: np.ndarray) -> Path:
    """The same of an oracle; the weights to be judged are those it keeps as `judged`."""
    params, memory = problem.start, {}
    rows: list[dict[str, np.ndarray]] = []
    for k, rate in enumerate(rates):
        params = rule(params, at_step(problem, k), memory, k + 1, float(rate), hypers)
        judged = memory.get("judged", {})
        rows.append(params | {f"evaluated:{key}": value for key, value in judged.items()})
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def distance(found: Path, expected: Path) -> float:
    """The largest difference, as a share of the largest weight of that tensor in that step."""
    assert found.keys() == expected.keys()
    worst = 0.0
    for key, values in expected.items():
        axes = tuple(range(1, values.ndim))
        size = np.max(np.abs(values), axis=axes)
        apart = np.max(np.abs(found[key] - values), axis=axes) / size
        assert np.all(np.isfinite(apart)), key
        worst = max(worst, float(apart.max()))
    return worst
