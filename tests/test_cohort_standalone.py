"""The engine without a study: pure functions and NNX modules of one's own."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lanework.cohort import nnx_pair, train_lanes
from lanework.errors import SpecError

X = np.linspace(-1, 1, 96, dtype=np.float32)[:, None]
LINE = {"x": X, "y": 3.0 * X[:, 0] + 1.0}
RATES = (1e-3, 1e-2, 0.1, 0.5)


def line_init(key: Any) -> dict[str, Any]:
    return {"w": jnp.zeros(1), "b": jnp.zeros(())}


def line_loss(params: Any, batch: Any, key: Any) -> Any:
    return jnp.mean((batch["x"] @ params["w"] + params["b"] - batch["y"]) ** 2)


def sgd(hypers: Any) -> optax.GradientTransformation:
    return optax.sgd(hypers["learning_rate"])


def test_full_batch_descent_has_its_closed_form() -> None:
    """On a quadratic w_k = w* + (I - 2 a A)^k (w_0 - w*), with A the second moment of the features."""
    trained = train_lanes(
        line_init,
        line_loss,
        LINE,
        optimizer=sgd,
        hypers={"learning_rate": RATES},
        num_steps=25,
        batch_size=96,
        report_every=10,
    )
    features = np.c_[X.astype(np.float64), np.ones(96)]
    moment = features.T @ features / 96
    for run, rate in enumerate(RATES):
        power = np.linalg.matrix_power(np.eye(2) - 2 * np.float64(np.float32(rate)) * moment, 25)
        expected = np.array([3.0, 1.0]) + power @ (-np.array([3.0, 1.0]))
        found = [trained.params["w"][run, 0], trained.params["b"][run]]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(trained.steps, [10, 20, 25])


def test_a_run_that_diverges_is_named_and_the_others_go_on() -> None:
    trained = train_lanes(
        line_init,
        line_loss,
        LINE,
        optimizer=sgd,
        hypers={"learning_rate": (0.1, 1e6, 0.3)},
        num_steps=200,
        batch_size=32,
        report_every=50,
    )
    assert trained.diverged.tolist() == [False, True, False]
    assert trained.losses[0, -1] < 1e-3
    assert np.isnan(trained.losses[1, -1])


class Net(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(1, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.drop = nnx.Dropout(0.1, rngs=rngs)
        self.last = nnx.Linear(16, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(self.drop(nnx.relu(self.norm(self.first(x)))))[:, 0]


def test_an_nnx_module_with_batch_statistics_and_dropout_trains() -> None:
    init, loss = nnx_pair(Net, lambda net, batch: jnp.mean((net(batch["x"]) - batch["y"]) ** 2))
    trained = train_lanes(
        init,
        loss,
        LINE,
        optimizer=lambda h: optax.adam(h["learning_rate"]),
        hypers={"learning_rate": (1e-3, 1e-2, 3e-2)},
        seeds=(0, 0, 1),
        num_steps=150,
        batch_size=32,
        report_every=50,
    )
    assert trained.losses[2, -1] < 0.5 * trained.losses[2, 0]
    assert not np.allclose(trained.state["norm"]["mean"], 0.0)


def test_hyperparameters_must_be_one_per_run() -> None:
    with pytest.raises(SpecError, match="must hold one value per run each, got"):
        train_lanes(
            line_init,
            line_loss,
            LINE,
            optimizer=sgd,
            hypers={"learning_rate": (0.1, 0.2)},
            seeds=(1,),
            num_steps=5,
            batch_size=8,
        )
