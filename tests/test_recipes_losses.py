"""Losses against slow twins, on any target, and what is refused."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import recipes
from lanework.errors import SpecError
from tests.contracts.probes import choice

OUTPUTS = np.random.default_rng(0).normal(size=(6, 3)) * 2.0
CLASSES = np.array([0, 1, 2, 2, 1, 0])
NUMBERS = np.random.default_rng(1).normal(size=(6, 3))


def softmax(f: np.ndarray) -> np.ndarray:
    e = np.exp(f)
    return e / e.sum()


def slow_cross_entropy(f, y, s):
    target = (1 - s) * np.eye(3)[y] + s / 3
    return -np.sum(target * np.log(softmax(f)))


def slow_binary(f, y, s):
    target = (1 - s) * np.eye(3)[y] + s / 3
    p = 1 / (1 + np.exp(-f))
    return -np.sum(target * np.log(p) + (1 - target) * np.log(1 - p))


def slow_mse(f, y, s):
    target = (1 - s) * np.eye(3)[y] + s / 3
    return np.mean((f - target) ** 2)


def slow_hinge(f, y, s):
    return sum(max(0.0, f[j] - f[y] + 1.0) for j in range(3) if j != y)


SLOW = {
    "cross_entropy": slow_cross_entropy,
    "binary_cross_entropy": slow_binary,
    "mse": slow_mse,
    "hinge": slow_hinge,
}


def run(
    name: str, outputs: Any, targets: Any, *, task: str = "classification", **hypers: Any
) -> np.ndarray:
    loss = recipes.loss(choice("loss", name), task=task)
    outputs, targets = jnp.asarray(outputs, jnp.float32), jnp.asarray(targets)
    return np.asarray(loss(outputs, targets, hypers))


@pytest.mark.parametrize("smoothing", [None, 0.0, 0.3])
@pytest.mark.parametrize("name", SLOW)
def test_loss_on_classes_is_its_formula(name: str, smoothing: float | None):
    hypers = {} if smoothing is None else {"label_smoothing": jnp.float32(smoothing)}
    found = run(name, OUTPUTS, CLASSES, **hypers)
    pairs = zip(OUTPUTS, CLASSES, strict=True)
    np.testing.assert_allclose(
        found, [SLOW[name](f, y, smoothing or 0.0) for f, y in pairs], rtol=1e-5
    )


def test_losses_on_numbers_take_them_as_they_are():
    found = run("mse", OUTPUTS, NUMBERS.astype(np.float32), task="regression")
    np.testing.assert_allclose(found, np.mean((OUTPUTS - NUMBERS) ** 2, axis=1), rtol=1e-5)
    shares = np.array([softmax(row) for row in NUMBERS])
    found = run("cross_entropy", OUTPUTS, shares.astype(np.float32), task="regression")
    wanted = [-np.sum(p * np.log(softmax(f))) for p, f in zip(shares, OUTPUTS, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    found = run("binary_cross_entropy", OUTPUTS, shares.astype(np.float32), task="regression")
    p = 1 / (1 + np.exp(-OUTPUTS))
    wanted = -np.sum(shares * np.log(p) + (1 - shares) * np.log(1 - p), axis=1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_regression_is_not_smoothed():
    found = run("mse", OUTPUTS, NUMBERS.astype(np.float32), task="regression", label_smoothing=0.5)
    np.testing.assert_allclose(found, np.mean((OUTPUTS - NUMBERS) ** 2, axis=1), rtol=1e-5)


def test_one_output_for_two_classes():
    f, y = np.array([[2.0], [-1.0]]), np.array([1, 1])
    np.testing.assert_allclose(
        run("binary_cross_entropy", f, y), np.log1p(np.exp(-f[:, 0])), rtol=1e-6
    )
    np.testing.assert_allclose(run("hinge", f, y), [0.0, 2.0])
    np.testing.assert_allclose(run("mse", f, y), [1.0, 4.0])
    smoothed = run("mse", f, y, label_smoothing=0.2)
    np.testing.assert_allclose(smoothed, [1.1**2, 1.9**2], rtol=1e-6)


def test_margin_of_the_hinge_may_be_traced():
    loss = recipes.loss(choice("loss", "hinge"), task="classification")
    outputs, targets = jnp.array([[0.0, 0.0, 0.0]]), jnp.array([1])
    found = jax.vmap(lambda m: loss(outputs, targets, {"loss.margin": m}))(jnp.array([0.5, 2.0]))
    np.testing.assert_allclose(found[:, 0], [1.0, 4.0])


@pytest.mark.parametrize("scale", [1e3, 1e30])
def test_huge_outputs_give_finite_losses_and_gradients(scale: float):
    outputs, targets = jnp.asarray(scale * OUTPUTS, jnp.float32), jnp.asarray(CLASSES)
    for name in ("cross_entropy", "binary_cross_entropy"):
        loss = recipes.loss(choice("loss", name), task="classification")
        value, grads = jax.value_and_grad(lambda o, loss=loss: jnp.mean(loss(o, targets, {})))(
            outputs
        )
        assert np.isfinite(value)
        assert np.all(np.isfinite(grads))


def test_chance_is_the_logarithm_of_the_number_of_classes():
    np.testing.assert_allclose(
        run("cross_entropy", np.zeros((1, 10)), np.array([3])), np.log(10), rtol=1e-6
    )


@pytest.mark.parametrize("name", SLOW)
def test_gradients_against_finite_differences(name: str):
    with jax.enable_x64(True):
        loss = recipes.loss(choice("loss", name), task="classification")
        total = lambda o: jnp.sum(loss(o, jnp.asarray(CLASSES), {"label_smoothing": 0.1}))
        outputs = jnp.asarray(OUTPUTS)
        grads = np.asarray(jax.grad(total)(outputs))
        for i, j in ((0, 0), (2, 1), (5, 2)):
            ends = [float(total(outputs.at[i, j].add(sign * 1e-6))) for sign in (1, -1)]
            np.testing.assert_allclose(
                grads[i, j], (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-8
            )


@pytest.mark.parametrize(
    ("name", "outputs", "targets", "task", "message"),
    [
        ("cross_entropy", np.ones((2, 1)), np.array([0, 1]), "classification", r"train\.loss: cross_entropy must have an output for each class, got 1 .* Use binary_cross_entropy"),
        ("hinge", np.ones((2, 1)), np.ones((2, 1), "f"), "regression", r"train\.loss: hinge must have classes to tell apart, got a target of numbers\. Use loss: mse"),
        ("mse", np.ones((2, 3)), np.ones((2, 1), "f"), "regression", r"model\.num_outputs: must be 1, the number of targets of this regression, got 3\. Leave it out"),
        ("mse", np.ones((2,)), np.array([0, 1]), "classification", r"outputs must have the shape \[batch, outputs\], got 1 axes\. End the network"),
    ],
)  # fmt: skip
def test_what_cannot_fit_is_refused(name: str, outputs: Any, targets: Any, task: str, message: str):
    with pytest.raises(SpecError, match=message):
        run(name, outputs, targets, task=task)


def test_unknown_loss_names_the_nearest():
    wrong = choice("loss", "mse")
    wrong.name = "msee"
    with pytest.raises(
        SpecError, match=r"train\.loss: must be one of the names .* got 'msee'\. Use mse"
    ):
        recipes.loss(wrong, task="regression")
