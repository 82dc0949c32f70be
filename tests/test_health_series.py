"""Numbers beside the layers: shape of the training losses and answers by class, against plain twins."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from lanework.health import answers
from lanework.health.series import STATISTICS, loss_shape


def test_the_shape_of_losses_is_that_of_a_fitted_line() -> None:
    losses = np.random.default_rng(0).standard_normal((3, 40)) + np.linspace(3.0, 1.0, 40)
    told = loss_shape(losses)
    assert tuple(told) == STATISTICS
    for lane in range(3):
        own = losses[lane]
        line = np.polyval(np.polyfit(np.arange(40), own, 1), np.arange(40))
        spread = np.sqrt(np.square(own - line).sum() / 38)
        np.testing.assert_allclose(told["train_loss_std"][lane], spread)
        np.testing.assert_allclose(told["train_loss_begin"][lane], own[:4].mean())
        np.testing.assert_allclose(told["train_loss_end"][lane], own[-4:].mean())


def test_the_shape_of_few_losses() -> None:
    told = loss_shape(np.array([[3.0, 1.0]]))
    assert [column.tolist() for column in told.values()] == [[2.0], [2.0], [0.0]]


def test_answers_are_counted_over_chunks_and_filling_counts_for_nothing() -> None:
    draw = np.random.default_rng(0)
    guess, right = draw.integers(0, 3, 60), draw.integers(0, 4, 60)
    guess[guess == 1] = 2  # class 1 is never answered, and class 3 neither
    counts = answers.zero(5)
    for first in range(0, 60, 20):
        part = slice(first, first + 20)
        weight = np.ones(20, np.float32)
        weight[15:] = 0.0
        counts = answers.add(
            counts, jnp.asarray(guess[part]), jnp.asarray(right[part]), weight=jnp.asarray(weight)
        )
    told = answers.finish(counts)
    kept = np.arange(60) % 20 < 15
    given = np.bincount(guess[kept], minlength=5)
    wanted = np.bincount(right[kept], minlength=5)
    occurs = wanted > 0
    share = (given[occurs] >= 0.1 * wanted[occurs]).mean()
    np.testing.assert_allclose(told["predicted_share"], share)
    np.testing.assert_allclose(told["commonest_answer"], given.max() / kept.sum())
    assert share == 0.5
