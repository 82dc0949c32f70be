"""The shape of a piece of a training curve in a few numbers. NumPy only, no JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["STATISTICS", "loss_shape"]

STATISTICS = ("train_loss_begin", "train_loss_end", "train_loss_std")
"""What `loss_shape` tells of a run."""

EDGE = 0.1  # share of the steps at either end
LEAST = 3


def loss_shape(losses: npt.NDArray[Any]) -> dict[str, npt.NDArray[np.float64]]:
    """What the training losses of consecutive steps look like.

    Args:
        losses: Loss of each step, [..., step].

    Returns:
        `train_loss_begin` and `train_loss_end`, the means of the first and the last tenth of the steps (at least three), and
        `train_loss_std`, the standard deviation around a straight line through them all (0 for fewer than three); each [...].
    """
    values = np.asarray(losses, np.float64)
    count = values.shape[-1]
    edge = min(count, max(LEAST, round(EDGE * count)))
    spread = np.zeros(values.shape[:-1])
    with np.errstate(invalid="ignore", over="ignore"):
        if count >= LEAST:
            place = np.arange(count) - (count - 1) / 2
            slope = (values @ place / (place @ place))[..., None]
            # Two numbers are taken off by the line.
            rest = values - values.mean(axis=-1, keepdims=True) - slope * place
            spread = np.sqrt(np.square(rest).sum(axis=-1) / max(1, count - 2))
        return {
            "train_loss_begin": values[..., :edge].mean(axis=-1),
            "train_loss_end": values[..., -edge:].mean(axis=-1),
            "train_loss_std": spread,
        }
