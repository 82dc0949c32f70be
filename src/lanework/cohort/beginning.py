"""What a run starts from and weighs by, as far as the data decides it: base rates and weights of classes.

Owns numbers that are learned from the training targets before the first step. NumPy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lanework.catalog import nearest
from lanework.data import Dataset
from lanework.errors import Problem, SpecError
from lanework.spec import ModelSpec, TrainSpec

Floats: TypeAlias = NDArray[np.float64]


def class_counts(dataset: Dataset) -> Floats:
    """Training targets of each class; padded time steps are of none."""
    targets = np.asarray(dataset.train.y).reshape(-1)
    return np.bincount(targets[targets >= 0], minlength=len(dataset.classes)).astype(np.float64)


def class_weights(chosen: str | Mapping[str, float], dataset: Dataset) -> Floats:
    """Weight of each class, scaled so that training samples weigh 1 on average.

    `balanced` is n / (classes n_class): every class counts the same. A mapping gives some classes a weight, the others 1.

    Args:
        chosen: `balanced`, or class to weight.
        dataset: The data.

    Returns:
        One weight per class.

    Raises:
        SpecError: The targets are numbers, or there is no class of that name.

    Source:
        King and Zeng 2001, Logistic regression in rare events data.
    """
    path = "train.class_weights"
    if dataset.task != "classification":
        text = "must be left out for a regression, got weights: its targets are no classes. "
        raise SpecError([Problem(path, text + "Use data.sample_weights.")])
    counts = class_counts(dataset)
    if chosen == "balanced":
        raw = np.where(counts > 0, counts.sum() / np.maximum(counts, 1.0), 1.0)
    else:
        raw = _named(dict(chosen) if isinstance(chosen, Mapping) else {}, dataset, path=path)
    weights: Floats = raw * counts.sum() / np.sum(raw * counts)
    return weights


def _named(given: Mapping[str, float], dataset: Dataset, *, path: str) -> Floats:
    known = {_plain(name): place for place, name in enumerate(dataset.classes)}
    problems = []
    weights = np.ones(len(dataset.classes))
    for name, weight in given.items():
        if _plain(name) in known:
            weights[known[_plain(name)]] = weight
            continue
        close = nearest(name, dataset.classes)
        shown = ", ".join(dataset.classes[:12])
        hint = f"Did you mean {' or '.join(close)}?" if close else f"The classes are {shown}."
        problems.append(Problem(f"{path}.{name}", f"must be a class, got {name!r}. {hint}"))
    if problems:
        raise SpecError(problems)
    return weights


def _plain(name: str) -> str:
    """A class as a study file may write it: `1` and `1.0`, `True` and `true` are the same."""
    try:
        return f"{float(name):g}"
    except ValueError:
        return name.strip().lower()


def base_rate(spec: ModelSpec, train: TrainSpec, dataset: Dataset, *, num_outputs: int) -> Floats:
    """The output bias with which a network that sees nothing guesses as well as one can.

    Cross-entropy and focal loss: log of the class shares; binary: their log odds; squared error and Huber: the mean of the
    targets, absolute error the median (for classes: their shares, or 1 for the most frequent one by absolute error).
    Class weights change the shares.

    Args:
        spec: The network.
        train: The recipe, its loss filled in.
        dataset: The data.
        num_outputs: Outputs of the network.

    Returns:
        The bias, [num_outputs].

    Raises:
        SpecError: The loss, or an activation after the output, has no base rate.

    Source:
        Karpathy 2019, A recipe for training neural networks ("init well"); Lin et al. 2017,
        https://arxiv.org/abs/1708.02002, section 3.3.
    """
    loss = train.loss.name if train.loss else ""
    final = spec.options.get("output_activation", "none")
    if final not in ("none", "identity"):
        _refuse(f"must be zero with an activation after the output, got base_rate with {final}.")
    if dataset.task == "regression":
        middle = np.median if loss == "mae" else np.mean
        targets = np.asarray(dataset.train.y, np.float64).reshape(-1, num_outputs)
        return np.asarray(middle(targets[~np.isnan(targets).any(axis=1)], axis=0))
    counts = np.maximum(
        class_counts(dataset), 0.5
    )  # a class without samples is rare, not impossible
    if train.class_weights is not None:
        counts = counts * class_weights(train.class_weights, dataset)
    return _of_shares(counts / counts.sum(), loss=loss, num_outputs=num_outputs)


def _of_shares(shares: Floats, *, loss: str, num_outputs: int) -> Floats:
    if num_outputs not in (1, len(shares)):
        _refuse(
            f"must be zero with {num_outputs} outputs for {len(shares)} classes, got base_rate."
        )
    own = shares if num_outputs > 1 else shares[1:2]
    if loss in ("cross_entropy", "focal") and num_outputs > 1:
        return np.asarray(np.log(own))
    if loss in ("binary_cross_entropy", "focal"):
        return np.asarray(np.log(own) - np.log1p(-own))
    if loss in ("mse", "huber"):
        return own
    if loss == "mae":
        return np.asarray((own > 0.5).astype(np.float64))
    return _refuse(f"must be zero with the loss {loss}, which has no base rate, got base_rate.")


def _refuse(text: str) -> Any:
    raise SpecError([Problem("model.output_bias", f"{text} Use output_bias: zero.")])
