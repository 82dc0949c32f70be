"""Runs update rules on a surface: all rates of a rule as lanes of one compiled program.

Imports JAX and the recipes; must not import `lanework.cohort` or anything about pages.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from lanework.recipes import Rule, rule
from lanework.surfaces.functions import Surface
from lanework.surfaces.races import Floats, Race, Trajectory
from lanework.surfaces.requests import Entrant, Request

__all__ = ["choose", "race"]

FAR: Final = 100.0
"""So many picture widths from its middle a rule counts as diverged."""


def race(asked: Request) -> Race:
    """Send every rule over the surface, each at its fixed rate or at its best one.

    The rates of a rule are lanes of one program. The best rate is the one whose lane comes within `Race.tolerance` of the
    lowest value in the fewest steps and stays there; if none does, the one with the lowest final value. Lanes that
    diverged are left out, unless all did: then the lowest rate is shown.

    With noise, step k of every lane sees the same objective f(p) + n_k p with n_k drawn for that step, so value,
    gradient and what a line search evaluates agree with each other; the values returned are those of f.

    Args:
        asked: A checked request.

    Returns:
        One trajectory for each rule, in the order of the request.
    """
    pushes = _noise(asked)
    return Race(asked, tuple(_one(asked, entrant, pushes) for entrant in asked.entrants))


def _noise(asked: Request) -> jax.Array:
    """What is added to the gradient, [step, 2]; the first steps do not depend on how many follow."""
    key_noise = jax.random.key(asked.seed)
    steps = jnp.arange(asked.steps)

    def push(step: jax.Array) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(key_noise, step), (2,))

    return asked.noise * jax.vmap(push)(steps)


def _one(asked: Request, entrant: Entrant, pushes: jax.Array) -> Trajectory:
    rates = asked.rates if entrant.rate is None else (entrant.rate,)
    lanes = jax.jit(jax.vmap(_lane(rule(entrant.choice), asked.surface), in_axes=(0, None, None)))
    points, values = lanes(jnp.asarray(rates), jnp.asarray(asked.start), pushes)
    return choose(asked, entrant, rates, points=np.asarray(points), values=np.asarray(values))


def _lane(
    chosen: Rule, surface: Surface
) -> Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """The pure function from rate, start [2] and noise [step, 2] to points [step + 1, 2] and values [step + 1]."""

    def height(point: jax.Array) -> jax.Array:
        return surface.value(point[0], point[1], jnp)

    def lane(rate: jax.Array, start: jax.Array, pushes: jax.Array) -> tuple[jax.Array, jax.Array]:
        hypers = {"learning_rate": rate}
        params = {"point": start}

        def step(carry: Any, push: jax.Array) -> tuple[Any, jax.Array]:
            params, state = carry

            def objective(at: Any) -> jax.Array:
                return height(at["point"]) + jnp.vdot(push, at["point"])

            value, grads = jax.value_and_grad(objective)(params)
            updates, state = chosen.update(
                grads, state, params, hypers, value=value, objective=objective
            )
            params = jax.tree.map(jnp.add, params, updates)
            kept = params if chosen.evaluated is None else chosen.evaluated(state, params, hypers)
            return (params, state), kept["point"]

        _, after = jax.lax.scan(step, (params, chosen.init(params)), pushes)
        points = jnp.concatenate([start[None], after])
        return points, jax.vmap(height)(points)

    return lane


# Choosing the best lane ------------------------------------------------------------------------


def choose(
    asked: Request, entrant: Entrant, rates: tuple[float, ...], *, points: Floats, values: Floats
) -> Trajectory:
    """The trajectory of the best rate, see `race`.

    Args:
        asked: The request.
        entrant: Whose lanes these are.
        rates: Learning rate of each lane.
        points: Where each lane was, [lane, step, 2], the start first.
        values: The height there, [lane, step].
    """
    ends = _ends(asked.surface, points, values)
    arrivals = [
        _arrival(values[lane] - asked.surface.lowest, Race.tolerance) if end is None else None
        for lane, end in enumerate(ends)
    ]
    best = min(range(len(rates)), key=lambda lane: _rank(ends, arrivals, values, lane))
    end = ends[best]
    stop = len(values[best]) if end is None else end
    return Trajectory(
        label=entrant.label,
        rate=rates[best],
        is_searched=entrant.rate is None,
        points=np.asarray(points[best][:stop], np.float64),
        values=np.asarray(values[best][:stop], np.float64),
        diverged_at=end,
        reached_at=arrivals[best],
        num_diverged=sum(one is not None for one in ends),
        edge=_edge(best, len(rates), is_open=entrant.rate is None and end is None),
    )


def _ends(surface: Surface, points: Floats, values: Floats) -> list[int | None]:
    """For each lane the first step at which it had diverged, if it did."""
    wide, high = surface.x[1] - surface.x[0], surface.y[1] - surface.y[0]
    middle = np.array([sum(surface.x) / 2, sum(surface.y) / 2])
    with np.errstate(invalid="ignore", over="ignore"):
        away = np.abs((points.astype(np.float64) - middle) / np.array([wide, high])).max(axis=-1)
        gone = ~(np.isfinite(values) & (away <= FAR))
    return [int(lane.argmax()) if lane.any() else None for lane in gone]


def _arrival(above: Floats, tolerance: float) -> int | None:
    """The first step from which on the value stays within the tolerance."""
    outside = np.flatnonzero(above > tolerance)
    if outside.size == 0:
        return 0
    first = int(outside[-1]) + 1
    return first if first < len(above) else None


def _rank(
    ends: list[int | None], arrivals: list[int | None], values: Floats, lane: int
) -> tuple[bool, float, float]:
    arrival = arrivals[lane]
    if ends[lane] is not None:
        return True, math.inf, float(lane)
    return False, math.inf if arrival is None else arrival, float(values[lane][-1])


def _edge(best: int, count: int, *, is_open: bool) -> str:
    if not is_open or count < 2:
        return ""
    return {0: "lowest", count - 1: "highest"}.get(best, "")
