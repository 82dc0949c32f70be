"""Question: do Adam with L2 and AdamW shrink weights in different ways?

Expected: under gradients that are noise alone, AdamW keeps the same share of every weight, (1 - a w)^k = 0.74 within 0.05,
    however loud the noise; Adam with L2 divides the pull of the penalty by the noise and keeps under 0.1 where the noise
    is 0.01 and over 0.9 where it is 10.
Time: about 5 s.
Hardware: 2 CPU cores.

Source: Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101, proposition 2. Run: python studies/facts/l2_is_not_decay.py
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from lanework import recipes
from lanework.catalog import CATALOG

STEPS, RATE, STRENGTH, COPIES = 300, 0.01, 0.1, 1024
LOUDNESS = np.array([0.01, 0.1, 1.0, 10.0])
KEPT = (1.0 - RATE * STRENGTH) ** STEPS


def kept(name: str, *, l2: float, weight_decay: float) -> np.ndarray:
    """Mean weight after training, by loudness of the noise; all weights begin at 1."""
    options = CATALOG["optimizer"][name].defaults()
    rule = recipes.rule(SimpleNamespace(name=name, options=options))
    hypers = {"learning_rate": RATE, "optimizer.weight_decay": weight_decay}

    def step(carry: tuple, key: jax.Array) -> tuple[tuple, None]:
        params, state = carry
        noise = jax.random.normal(key, params["w"].shape) * jnp.asarray(LOUDNESS)[:, None]
        pull = recipes.penalty_gradient(params, {"l2": l2})
        updates, state = rule.update({"w": noise + pull["w"]}, state, params, hypers)
        return (jax.tree.map(jnp.add, params, updates), state), None

    start = {"w": jnp.ones((len(LOUDNESS), COPIES))}
    keys = jax.random.split(jax.random.key(0), STEPS)
    run = jax.jit(lambda carry: jax.lax.scan(step, carry, keys)[0][0])
    return np.asarray(jnp.mean(run((start, rule.init(start)))["w"], axis=1))


def measure() -> dict[str, np.ndarray]:
    """What is left of the weights under both."""
    return {
        "adam + l2": kept("adam", l2=STRENGTH, weight_decay=0.0),
        "adamw": kept("adamw", l2=0.0, weight_decay=STRENGTH),
    }


def holds(figures: dict[str, np.ndarray]) -> bool:
    """Whether the stated outcome is there."""
    coupled, decoupled = figures["adam + l2"], figures["adamw"]
    is_even = bool(np.all(np.abs(decoupled - KEPT) <= 0.05))
    return is_even and bool(abs(coupled[0]) < 0.1 and coupled[-1] > 0.9)


def main() -> int:
    """Measure, print, judge."""
    figures = measure()
    lines = ["share kept   " + "".join(f"noise {x:<8g}" for x in LOUDNESS)]
    lines += [f"{name:<13}" + "".join(f"{x:<14.3f}" for x in row) for name, row in figures.items()]
    is_there = holds(figures)
    lines.append(
        f"holds: AdamW keeps {KEPT:.2f} everywhere, Adam with L2 does not"
        if is_there
        else "DOES NOT HOLD"
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if is_there else 1


if __name__ == "__main__":
    sys.exit(main())
