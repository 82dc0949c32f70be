"""Losses: one number per sample from outputs and targets.

Owns the table from loss name to a numerically stable function of raw outputs (logits). Must not import
`lanework.models`, `lanework.data` or anything above.

Any loss may be asked for on any target, so that mistakes can be shown: squared error on class labels compares with
one-hot rows, cross-entropy on real targets takes them as probabilities. Only what cannot fit in shape is refused, while
tracing. When the network ends in an activation of its own, the losses still take what comes as logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from lanework import own_code
from lanework.recipes.choices import Array, Choice, Hypers, Read, look_up, reader, refuse

Loss: TypeAlias = Callable[[Array, Array, Hypers], Array]
# (outputs [batch, k], targets [batch] of classes or [batch, k] of numbers, read, label smoothing) -> [batch]
PerSample: TypeAlias = Callable[[Array, Array, Read, Any], Array]


def _one_hot(targets: Array, outputs: Array) -> Array:
    """Where the class of each row is, bool [batch, k]; a comparison, because gather has a slow gradient on CPUs."""
    classes = jax.lax.broadcasted_iota(targets.dtype, outputs.shape, 1)
    return targets[:, None] == classes


def _is_class(targets: Array) -> bool:
    return targets.ndim == 1


def _wanted(targets: Array, outputs: Array, smoothing: Any) -> Array:
    """Targets as numbers in the shape of the outputs, classes as (smoothed) one-hot rows.

    With one output, the class is a number: 0 or 1 is smoothed towards 1/2.
    """
    if not _is_class(targets):
        return targets
    num_outputs = outputs.shape[1]
    if num_outputs == 1:
        rows, share = targets[:, None].astype(outputs.dtype), 0.5
    else:
        rows, share = _one_hot(targets, outputs).astype(outputs.dtype), 1.0 / num_outputs
    return rows if smoothing is None else rows + smoothing * (share - rows)


def _cross_entropy(outputs: Array, targets: Array, read: Read, smoothing: Any) -> Array:
    if outputs.shape[1] == 1:
        refuse(
            "train.loss",
            "cross_entropy must have an output for each class, got 1 output: the softmax of one number is always 1. "
            "Use binary_cross_entropy, or leave model.num_outputs out.",
        )
    if not _is_class(targets):
        return -jnp.sum(targets * jax.nn.log_softmax(outputs), axis=-1)
    # log sum e^f - f_y, both relative to the largest output.
    shifted = outputs - jax.lax.stop_gradient(jnp.max(outputs, axis=-1, keepdims=True))
    log_sum = jnp.log(jnp.sum(jnp.exp(shifted), axis=-1))
    of_class = jnp.sum(jnp.where(_one_hot(targets, outputs), shifted, 0.0), axis=-1)
    if smoothing is None:
        return log_sum - of_class
    return log_sum - (1.0 - smoothing) * of_class - smoothing * jnp.mean(shifted, axis=-1)


def _binary_cross_entropy(outputs: Array, targets: Array, read: Read, smoothing: Any) -> Array:
    wanted = _wanted(targets, outputs, smoothing)
    # -y log s(f) - (1-y) log(1 - s(f)) = log(1 + e^f) - y f
    return jnp.sum(jax.nn.softplus(outputs) - wanted * outputs, axis=-1)


def _mse(outputs: Array, targets: Array, read: Read, smoothing: Any) -> Array:
    return jnp.mean(jnp.square(outputs - _wanted(targets, outputs, smoothing)), axis=-1)


def _mae(outputs: Array, targets: Array, read: Read, smoothing: Any) -> Array:
    return jnp.mean(jnp.abs(outputs - _wanted(targets, outputs, smoothing)), axis=-1)


def _huber(outputs: Array, targets: Array, read: Read, smoothing: Any) -> Array:
    delta = read("delta")
    error = outputs - _wanted(targets, outputs, smoothing)
    size = jnp.abs(error)
    near = 0.5 * jnp.square(error)
    return jnp.mean(jnp.where(size <= delta, near, delta * (size - 0.5 * delta)), axis=-1)


def _focal(outputs: Array, targets: Array, read: Read, smoothing: Any) -> Array:
    gamma = read("gamma")
    wanted = _wanted(targets, outputs, smoothing)
    if outputs.shape[1] == 1:
        yes, no = jax.nn.log_sigmoid(outputs), jax.nn.log_sigmoid(-outputs)
        each = wanted * _hard(yes, no, gamma) + (1.0 - wanted) * _hard(no, yes, gamma)
        return jnp.sum(each, axis=-1)
    log_p = jax.nn.log_softmax(outputs)
    # log(1 - p) from the other classes' outputs would cost a row each; where p is almost 1, 1 - p is lost to rounding, but
    # so is the loss.
    rest = jnp.log(jnp.maximum(-jnp.expm1(log_p), 1e-30))
    return jnp.sum(wanted * _hard(log_p, rest, gamma), axis=-1)


def _hard(log_p: Array, log_rest: Array, gamma: Any) -> Array:
    """-(1 - p)^gamma log p, from log p and log(1 - p)."""
    return -jnp.exp(gamma * log_rest) * log_p


def _hinge(outputs: Array, targets: Array, read: Read, smoothing: Any) -> Array:
    if not _is_class(targets):
        refuse(
            "train.loss",
            "hinge must have classes to tell apart, got a target of numbers. Use loss: mse.",
        )
    margin = read("margin")
    if outputs.shape[1] == 1:
        side = 2.0 * targets.astype(outputs.dtype) - 1.0
        return jax.nn.relu(margin - side * outputs[:, 0])
    is_class = _one_hot(targets, outputs)
    of_class = jnp.sum(jnp.where(is_class, outputs, 0.0), axis=-1, keepdims=True)
    return jnp.sum(jnp.where(is_class, 0.0, jax.nn.relu(outputs - of_class + margin)), axis=-1)


LOSSES: Mapping[str, PerSample] = {
    "cross_entropy": _cross_entropy,
    "binary_cross_entropy": _binary_cross_entropy,
    "mse": _mse,
    "mae": _mae,
    "huber": _huber,
    "hinge": _hinge,
    "focal": _focal,
}


def loss(choice: Choice, *, task: str) -> Loss:
    """Turn a catalogue choice of kind `loss` into a function giving one loss per sample.

    Args:
        choice: Name and options.
        task: `classification` or `regression`, for the messages.

    Returns:
        `(outputs [batch, k], targets, hypers) -> [batch]`, cross-entropies in nats. Targets are classes int [batch] or
        numbers [batch, k]. `hypers["label_smoothing"]`, where it is there, moves that share of each class to all.

    Raises:
        SpecError: There is no loss of that name; or, when it is called, outputs and targets cannot fit in shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from types import SimpleNamespace
        >>> entropy = loss(SimpleNamespace(name="cross_entropy", options={}), task="classification")
        >>> entropy(jnp.zeros((1, 10)), jnp.array([3]), {})  # chance: ln 10
        Array([2.302585], dtype=float32)
    """
    is_own = own_code.is_own(choice.name)
    function = _own(choice) if is_own else look_up(LOSSES, choice.name, path="train.loss")

    def per_sample(outputs: Array, targets: Array, hypers: Hypers) -> Array:
        _check_shapes(outputs, targets, task=task)
        read = reader(choice, hypers, prefix="loss")
        smoothing = hypers.get("label_smoothing") if task == "classification" else None
        return function(outputs, targets, read, smoothing)

    return per_sample


def _own(choice: Choice) -> PerSample:
    """A function of the user, `(outputs, targets, **options) -> [batch]`."""
    given = own_code.load_function(choice.name, path="train.loss")

    def function(outputs: Array, targets: Array, read: Read, smoothing: Any) -> Array:
        losses = given(outputs, targets, **choice.options)
        shape = getattr(losses, "shape", None)
        if shape != outputs.shape[:1]:
            refuse(
                "train.loss",
                f"must give one loss per sample, shape [batch], got {shape} from {given.__name__}. "
                "Do not take the mean over the batch.",
            )
        return jnp.asarray(losses)

    return function


def class_weighted(function: Loss, weights: Any) -> Loss:
    """The loss with each sample's part times the weight of its class.

    Args:
        function: The loss.
        weights: One weight per class, [classes]; with mean 1 over the training samples, the loss keeps its size.

    Returns:
        A loss of the same form, for classes int [batch].

    Example:
        >>> import jax.numpy as jnp
        >>> from types import SimpleNamespace
        >>> entropy = loss(SimpleNamespace(name="cross_entropy", options={}), task="classification")
        >>> rare_first = class_weighted(entropy, [3.0, 1.0])
        >>> rare_first(jnp.zeros((2, 2)), jnp.array([0, 1]), {})  # 3 ln 2, ln 2
        Array([2.079..., 0.693...], dtype=float32)

    Source:
        King and Zeng 2001, Logistic regression in rare events data (weights by class).
    """

    def per_sample(outputs: Array, targets: Array, hypers: Hypers) -> Array:
        losses = function(outputs, targets, hypers)
        table = jnp.asarray(weights, losses.dtype)
        classes = jnp.arange(table.shape[0], dtype=targets.dtype)
        # A comparison instead of a gather; targets outside of the classes (padding) weigh nothing.
        own = jnp.where(targets[:, None] == classes[None, :], table[None, :], 0.0)
        return losses * jnp.sum(own, axis=-1)

    return per_sample


def _check_shapes(outputs: Array, targets: Array, *, task: str) -> None:
    if outputs.ndim != 2:
        refuse(
            "model",
            f"outputs must have the shape [batch, outputs], got {outputs.ndim} axes. End the network with a dense layer.",
        )
    if targets.ndim == 2 and targets.shape[1] != outputs.shape[1]:
        refuse(
            "model.num_outputs",
            f"must be {targets.shape[1]}, the number of targets of this {task}, got {outputs.shape[1]}. Leave it out.",
        )
