"""The multi-layer perceptron.

Must not import `lanework.recipes`, `lanework.data` or anything above; imports no Flax.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp

from lanework.models import dropout, layers, norms, parts
from lanework.models.base import (
    Array,
    Input,
    Layer,
    ModelSpec,
    Network,
    chain,
    option,
    plain,
    refuse,
)


def mlp(spec: ModelSpec, *, input: Input, num_outputs: int) -> Network:
    """Fully connected layers: dense, normalisation, activation, dropout for each width, then the output layer.

    Images are flattened, and so are windows of a series, whose padded steps count as zeros; category codes go through
    embeddings first.

    Args:
        spec: Options of the catalogue row `mlp`.
        input: Shape of a sample.
        num_outputs: Outputs that the data needs, unless the spec says another number.

    Returns:
        The pure functions.

    Raises:
        SpecError: What comes in is tokens, or has a target for each step; or the normalisation needs feature maps.

    Source:
        Rumelhart, Hinton and Williams 1986, Learning representations by back-propagating errors.
    """
    if norms.output_norm(option(spec, "norm")) == "instance":
        refuse(
            "model.norm",
            "instance must be over the pixels of feature maps, got net: mlp, which has none. Use layer or group.",
        )
    if input.kind == "tokens" or input.is_stepwise:
        what = "tokens" if input.kind == "tokens" else "a target for each step"
        refuse(
            "model.net",
            f"mlp must get numbers and give one answer per sample, got {what}. "
            "Use net: gru (or rnn, lstm, transformer).",
        )
    built: list[Layer] = []
    size = math.prod(input.shape)
    if input.kind == "series":
        built.append(plain("padding", without_padding))
    if input.cardinalities:
        built.append(layers.embeddings("embed", input.cardinalities, num_numeric=input.num_numeric))
        size = input.num_numeric + sum(map(layers.embedding_width, input.cardinalities))
    elif len(input.shape) != 1:
        built.append(plain("flatten", layers.flatten))
    return chain(built + head(spec, size, widths=option(spec, "hidden"), num_outputs=num_outputs))


def without_padding(x: Array) -> Array:
    """A series [batch, time, channel] with zeros where a step is padding (NaN in every channel)."""
    is_padding = jnp.all(jnp.isnan(x), axis=-1, keepdims=True)
    return jnp.where(is_padding, 0.0, x)


def head(spec: ModelSpec, size: int, *, widths: Any, num_outputs: int) -> list[Layer]:
    """Hidden dense layers and the output layer.

    Args:
        spec: Options of the network.
        size: Entries that come in.
        widths: Width of each hidden layer.
        num_outputs: Outputs that the data needs, unless the spec says another number.

    Returns:
        The layers, in forward order.
    """
    init, activation = option(spec, "init"), option(spec, "activation")
    built: list[Layer] = []
    for index, width in enumerate(int(width) for width in widths):
        weights = layers.dense(
            f"dense_{index}",
            (size, width),
            init=parts.initializer(init, activation=activation),
            has_bias=has_bias(spec),
            form=norms.weight_form(option(spec, "norm")),
        )
        built += [weights, *finish_block(spec, f"dense_{index}", size=width, has_pixels=False)]
        built.append(dropout.of_spec(spec, f"dense_{index}_dropout"))
        size = width
    num_outputs = int(option(spec, "num_outputs") or num_outputs)
    last = parts.initializer(init, activation=activation, is_output=True)
    built.append(layers.dense("output", (size, num_outputs), init=last))
    if option(spec, "output_activation") not in ("none", "identity"):
        final = parts.activation(option(spec, "output_activation"))
        built.append(plain("output_activation", final))
    return built


def has_bias(spec: ModelSpec) -> bool:
    """Whether weights need a bias: batch normalisation right after them would take it off again."""
    is_first = option(spec, "norm_position") == "before"
    return not (is_first and norms.output_norm(option(spec, "norm")) == "batch")


def finish_block(spec: ModelSpec, name: str, *, size: int, has_pixels: bool = True) -> list[Layer]:
    """What follows the weights of a hidden layer: normalisation and activation in the order asked for.

    Args:
        spec: Options of the network.
        name: Name of the layer with the weights.
        size: Its features or channels.
        has_pixels: Whether it gives feature maps; instance normalisation is left out where it does not, since a single
            number has no spread.

    Returns:
        The layers, in forward order.
    """
    activation = layers.activation(f"{name}_activation", size, choice=option(spec, "activation"))
    choice = option(spec, "norm")
    is_without = not has_pixels and norms.output_norm(choice) == "instance"
    norm = norms.norm(f"{name}_norm", size, choice="none" if is_without else choice)
    if norm is None:
        return [activation]
    return [activation, norm] if option(spec, "norm_position") == "after" else [norm, activation]
