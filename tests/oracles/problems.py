"""Small problems in float64 on which rules are compared step by step.

Each has its gradient written out by hand in NumPy, for the oracles, and its objective in JAX, which differentiates it
for the rules of the package. Step k sees its own noise or its own batch, so gradients never shrink to rounding errors,
which rules that divide by their size would blow up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Tree = dict[str, np.ndarray]

STEPS = 220


class Problem(NamedTuple):
    """One problem.

    `start` names tensors as `layer/kernel`; `loss(params, k)` and `gradient(params, k)` are NumPy, `objective(params, k)` is
    the same loss in JAX on nested dicts; `rate` suits plain gradient descent; `curvature(params, k)` is the Hessian where
    that is diagonal. Steps count from k = 0.
    """

    start: Tree
    loss: Callable[[Tree, int], float]
    gradient: Callable[[Tree, int], Tree]
    objective: Callable[[Any, Any], jax.Array]
    rate: float
    curvature: Callable[[Tree, int], Tree] | None = None


def nested(params: Tree) -> dict[str, dict[str, jax.Array]]:
    """`{"layer/kernel": x}` as `{"layer": {"kernel": x}}`, in JAX."""
    tree: dict[str, dict[str, jax.Array]] = {}
    for name, value in params.items():
        layer, leaf = name.split("/")
        tree.setdefault(layer, {})[leaf] = jnp.asarray(value)
    return tree


def flat(params: Any) -> Tree:
    """The opposite of `nested`."""
    return {
        f"{layer}/{leaf}": np.asarray(value)
        for layer, leaves in params.items()
        for leaf, value in leaves.items()
    }


def quadratic() -> Problem:
    """1/2 x^T H x + n_k^T x: a rotated bowl, 10^4 times steeper in one direction than in another."""
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    hessian = rotation @ np.diag(np.logspace(-3, 1, 6)) @ rotation.T
    noise = 0.5 * rng.normal(size=(STEPS, 6))

    def loss(params: Tree, k: int) -> float:
        x = params["bowl/kernel"]
        return float(0.5 * x @ hessian @ x + noise[k] @ x)

    def gradient(params: Tree, k: int) -> Tree:
        return {"bowl/kernel": hessian @ params["bowl/kernel"] + noise[k]}

    def objective(params: Any, k: Any) -> jax.Array:
        x = params["bowl"]["kernel"]
        return 0.5 * x @ jnp.asarray(hessian) @ x + jnp.asarray(noise)[k] @ x

    return Problem({"bowl/kernel": 2.0 * rng.normal(size=6)}, loss, gradient, objective, 0.02)


def rosenbrock() -> Problem:
    """The chained valley of four numbers, laid out as a matrix of 2 x 2."""

    def loss(params: Tree, k: int) -> float:
        x = params["valley/kernel"].reshape(4)
        return sum(100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2 for i in range(3))

    def gradient(params: Tree, k: int) -> Tree:
        x = params["valley/kernel"].reshape(4)
        slope = np.zeros(4)
        for i in range(3):
            off = x[i + 1] - x[i] ** 2
            slope[i] += -400.0 * x[i] * off - 2.0 * (1.0 - x[i])
            slope[i + 1] += 200.0 * off
        return {"valley/kernel": slope.reshape(2, 2)}

    def objective(params: Any, k: Any) -> jax.Array:
        x = params["valley"]["kernel"].reshape(4)
        return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)

    start = {"valley/kernel": np.array([[-1.2, 1.0], [0.7, 1.3]])}
    return Problem(start, loss, gradient, objective, 1e-4)


def _samples(num_batches: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Batches of 8 samples with five features [batch, sample, feature] and one of three labels, one-hot."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_batches, 8, 5)) * np.array([0.3, 1.0, 1.0, 2.0, 3.0])
    scores = x @ rng.normal(size=(5, 3)) + rng.gumbel(size=(num_batches, 8, 3))
    return x, np.eye(3)[np.argmax(scores, axis=2)]


def _softmax(f: np.ndarray) -> np.ndarray:
    e = np.exp(f - f.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _mean_surprise(outputs: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.mean(np.log(np.sum(_softmax(outputs) * labels, axis=1))))


def _cross_entropy(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    return -jnp.mean(jnp.sum(labels * jax.nn.log_softmax(outputs), axis=1))


def logistic() -> Problem:
    """Softmax regression with three classes, on one of five batches a step: a matrix and a vector."""
    x, y = _samples(5, seed=1)
    rng = np.random.default_rng(2)

    def loss(params: Tree, k: int) -> float:
        outputs = x[k % 5] @ params["dense_0/kernel"] + params["dense_0/bias"]
        return _mean_surprise(outputs, y[k % 5])

    def gradient(params: Tree, k: int) -> Tree:
        x_k, y_k = x[k % 5], y[k % 5]
        outputs = x_k @ params["dense_0/kernel"] + params["dense_0/bias"]
        error = (_softmax(outputs) - y_k) / len(x_k)
        return {"dense_0/kernel": x_k.T @ error, "dense_0/bias": error.sum(axis=0)}

    def objective(params: Any, k: Any) -> jax.Array:
        outputs = jnp.asarray(x)[k % 5] @ params["dense_0"]["kernel"]
        return _cross_entropy(outputs + params["dense_0"]["bias"][None], jnp.asarray(y)[k % 5])

    start = {
        "dense_0/kernel": rng.normal(size=(5, 3)),
        "dense_0/bias": 0.1 * rng.normal(size=3),
    }
    return Problem(start, loss, gradient, objective, 0.05)


def mlp() -> Problem:
    """A tanh network 5-4-3 on one of five batches a step: two matrices, one tall and one wide, two vectors."""
    x, y = _samples(5, seed=3)
    rng = np.random.default_rng(4)

    def loss(params: Tree, k: int) -> float:
        hidden = np.tanh(x[k % 5] @ params["dense_0/kernel"] + params["dense_0/bias"])
        return _mean_surprise(hidden @ params["dense_1/kernel"] + params["dense_1/bias"], y[k % 5])

    def gradient(params: Tree, k: int) -> Tree:
        x_k, y_k = x[k % 5], y[k % 5]
        hidden = np.tanh(x_k @ params["dense_0/kernel"] + params["dense_0/bias"])
        outputs = hidden @ params["dense_1/kernel"] + params["dense_1/bias"]
        error = (_softmax(outputs) - y_k) / len(x_k)
        back = error @ params["dense_1/kernel"].T * (1.0 - hidden**2)
        return {
            "dense_0/kernel": x_k.T @ back,
            "dense_0/bias": back.sum(axis=0),
            "dense_1/kernel": hidden.T @ error,
            "dense_1/bias": error.sum(axis=0),
        }

    def objective(params: Any, k: Any) -> jax.Array:
        first, second = params["dense_0"], params["dense_1"]
        hidden = jnp.tanh(jnp.asarray(x)[k % 5] @ first["kernel"] + first["bias"][None])
        outputs = hidden @ second["kernel"] + second["bias"][None]
        return _cross_entropy(outputs, jnp.asarray(y)[k % 5])

    start = {
        "dense_0/kernel": 0.5 * rng.normal(size=(5, 4)),
        "dense_0/bias": 0.1 * rng.normal(size=4),
        "dense_1/kernel": 0.5 * rng.normal(size=(4, 3)),
        "dense_1/bias": 0.1 * rng.normal(size=3),
    }
    return Problem(start, loss, gradient, objective, 0.05)


def wells() -> Problem:
    """Sum of (x^2 - 1)^2 / 4 + n_k x over a matrix and a vector: no weight knows of another, the Hessian is diagonal.

    Between the wells the curvature is negative.
    """
    rng = np.random.default_rng(5)
    start = {
        "dense_0/kernel": 1.2 * rng.normal(size=(3, 4)),
        "dense_0/bias": 1.2 * rng.normal(size=4),
    }
    noise = {name: 0.3 * rng.normal(size=(STEPS, *x.shape)) for name, x in start.items()}

    def loss(params: Tree, k: int) -> float:
        return float(
            sum(np.sum((x**2 - 1.0) ** 2 / 4.0 + noise[n][k] * x) for n, x in params.items())
        )

    def gradient(params: Tree, k: int) -> Tree:
        return {n: x**3 - x + noise[n][k] for n, x in params.items()}

    def curvature(params: Tree, k: int) -> Tree:
        return {n: 3.0 * x**2 - 1.0 for n, x in params.items()}

    def objective(params: Any, k: Any) -> jax.Array:
        total = jnp.zeros(())
        for name, n in noise.items():
            layer, leaf = name.split("/")
            x = params[layer][leaf]
            total = total + jnp.sum((x**2 - 1.0) ** 2 / 4.0 + jnp.asarray(n)[k] * x)
        return total

    return Problem(start, loss, gradient, objective, 0.05, curvature)


def bowls() -> Problem:
    """Sum of c x^2 / 2 + n_k x with curvatures from 0.01 to 10: a diagonal Hessian too."""
    rng = np.random.default_rng(6)
    start = {"dense_0/kernel": rng.normal(size=(3, 4)), "dense_0/bias": rng.normal(size=4)}
    steep = {
        "dense_0/kernel": np.logspace(-2, 1, 12).reshape(3, 4),
        "dense_0/bias": np.logspace(-1, 0, 4),
    }
    noise = {name: 0.3 * rng.normal(size=(STEPS, *x.shape)) for name, x in start.items()}

    def loss(params: Tree, k: int) -> float:
        return float(
            sum(np.sum(steep[n] * x**2 / 2.0 + noise[n][k] * x) for n, x in params.items())
        )

    def gradient(params: Tree, k: int) -> Tree:
        return {n: steep[n] * x + noise[n][k] for n, x in params.items()}

    def curvature(params: Tree, k: int) -> Tree:
        return dict(steep)

    def objective(params: Any, k: Any) -> jax.Array:
        total = jnp.zeros(())
        for name, n in noise.items():
            layer, leaf = name.split("/")
            x = params[layer][leaf]
            total = total + jnp.sum(jnp.asarray(steep[name]) * x**2 / 2.0 + jnp.asarray(n)[k] * x)
        return total

    return Problem(start, loss, gradient, objective, 0.05, curvature)


PROBLEMS: dict[str, Problem] = {
    "quadratic": quadratic(),
    "rosenbrock": rosenbrock(),
    "logistic": logistic(),
    "mlp": mlp(),
}
SEPARABLE: dict[str, Problem] = {"wells": wells(), "bowls": bowls()}
"""For rules that estimate the diagonal of the Hessian by random signs, which is exact here."""


def rates(base: float, *, is_constant: bool = False) -> np.ndarray:
    """The rate of each step; it changes from step to step as a schedule makes it, unless `is_constant`."""
    waves = np.zeros(STEPS) if is_constant else np.sin(np.arange(STEPS) / 10.0)
    return base * (1.0 + 0.5 * waves)
