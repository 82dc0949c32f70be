"""Question: does AdaGrad's step fade with time where RMSProp's does not?

Expected: under gradients that stay as large as they are (mini-batches with noisy targets), the size of AdaGrad's step
    falls like 1 / sqrt(k) (exponent -0.5 within 0.1) and RMSProp's stays (exponent 0 within 0.1), from step 20 to 2000.
Time: about 5 s.
Hardware: 2 CPU cores.

Source: Duchi, Hazan and Singer 2011 (s only grows); Hinton 2012, lecture 6e (s forgets). Run: python studies/facts/adagrad_fades.py
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from lanework import recipes
from lanework.catalog import CATALOG

STEPS, WEIGHTS, BATCH = 2000, 20, 16
RATES = {"adagrad": 0.01, "rmsprop": 0.001}
SHOWN = (20, 200, 2000)
EXPECTED = {"adagrad": -0.5, "rmsprop": 0.0}
WITHIN = 0.1


def step_sizes(name: str) -> np.ndarray:
    """Root mean square of each step [step] while linear regression trains on noisy targets."""
    options = CATALOG["optimizer"][name].defaults()
    rule = recipes.rule(SimpleNamespace(name=name, options=options))
    truth = jax.random.normal(jax.random.key(0), (WEIGHTS,))

    def loss(params: dict[str, jax.Array], key: jax.Array) -> jax.Array:
        key_x, key_noise = jax.random.split(key)
        x = jax.random.normal(key_x, (BATCH, WEIGHTS))
        y = x @ truth + 3.0 * jax.random.normal(key_noise, (BATCH,))
        return jnp.mean((x @ params["w"] - y) ** 2)

    def step(carry: tuple, key: jax.Array) -> tuple[tuple, jax.Array]:
        params, state = carry
        grads = jax.grad(loss)(params, key)
        updates, state = rule.update(grads, state, params, {"learning_rate": RATES[name]})
        size = jnp.sqrt(jnp.mean(updates["w"] ** 2))
        return (jax.tree.map(jnp.add, params, updates), state), size

    start = {"w": truth}  # where only noise is left to be learned from
    keys = jax.random.split(jax.random.key(1), STEPS)
    return np.asarray(jax.jit(lambda c: jax.lax.scan(step, c, keys)[1])((start, rule.init(start))))


def exponent(sizes: np.ndarray) -> float:
    """The p of size ~ k^p, fitted from step 20 on in steps of equal width on a logarithmic axis."""
    k = np.unique(np.geomspace(SHOWN[0], STEPS, 200).astype(int))
    return float(np.polyfit(np.log(k), np.log(sizes[k - 1]), 1)[0])


def measure() -> dict[str, np.ndarray]:
    """Sizes of all steps by rule."""
    return {name: step_sizes(name) for name in RATES}


def holds(figures: dict[str, np.ndarray]) -> bool:
    """Whether the stated outcome is there."""
    return all(abs(exponent(figures[name]) - p) <= WITHIN for name, p in EXPECTED.items())


def main() -> int:
    """Measure, print, judge."""
    figures = measure()
    lines = ["rule      " + "".join(f"step {k:<9}" for k in SHOWN) + "exponent"]
    for name, sizes in figures.items():
        near = [float(np.mean(sizes[max(0, k - 10) : k])) for k in SHOWN]
        lines.append(
            f"{name:<10}" + "".join(f"{x:<14.2e}" for x in near) + f"{exponent(sizes):.2f}"
        )
    is_there = holds(figures)
    lines.append("holds: AdaGrad's step fades, RMSProp's does not" if is_there else "DOES NOT HOLD")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if is_there else 1


if __name__ == "__main__":
    sys.exit(main())
