"""A small convolutional network.

Must not import `lanework.recipes`, `lanework.data` or anything above; imports no Flax.
"""

from __future__ import annotations

from collections.abc import Callable

from lanework.models import dropout, layers, norms, parts
from lanework.models.base import (
    Array,
    Input,
    Layer,
    ModelSpec,
    Network,
    chain,
    option,
    pick,
    plain,
    refuse,
)
from lanework.models.mlp import finish_block, has_bias, head


def cnn(spec: ModelSpec, *, input: Input, num_outputs: int) -> Network:
    """Blocks of convolution, normalisation, activation and 2 x 2 max pooling, then dense layers.

    A block whose image is a single row or column already is not pooled. Dropout acts on the dense hidden layers; where
    there are none, on the features that enter the output layer. Spatial dropout acts on the feature maps of each block.

    Args:
        spec: Options of the catalogue row `cnn`.
        input: Shape of a sample: (height, width, channels), or flat with a `grid`.
        num_outputs: Outputs that the data needs, unless the spec says another number.

    Returns:
        The pure functions.

    Raises:
        SpecError: The input is no image.

    Source:
        LeCun et al. 1998, Gradient-based learning applied to document recognition.
    """
    shape = tuple(input.shape)
    built: list[Layer] = []
    if len(shape) == 1 and len(input.grid) == 3:
        shape = tuple(input.grid)
        built.append(plain("grid", _reshape_to(shape)))
    if len(shape) != 3:
        refuse(
            "model.net",
            f"cnn must get images of shape (height, width, channels), got inputs of shape {shape}. "
            "Use net: mlp for tables.",
        )
    height, width, channels = shape
    init, activation = option(spec, "init"), option(spec, "activation")
    is_commuting = _pools_first(spec)
    for index, features in enumerate(int(count) for count in option(spec, "channels")):
        is_pooled = min(height, width) >= 2
        weights = layers.convolution(
            f"conv_{index}",
            (channels, features),
            kernel=int(option(spec, "kernel")),
            init=parts.initializer(init, activation=activation),
            has_bias=has_bias(spec),
            is_pooled=is_pooled and is_commuting,
            form=norms.weight_form(option(spec, "norm")),
        )
        built += [weights, *finish_block(spec, f"conv_{index}", size=features)]
        if is_pooled and not is_commuting:
            built.append(plain(f"conv_{index}_pool", layers.max_pool))
        built.append(dropout.spatial(f"conv_{index}_dropout"))
        if is_pooled:
            height, width = height // 2, width // 2
        channels = features
    widths = option(spec, "dense")
    built.append(plain("flatten", layers.flatten))
    if not widths:
        built.append(dropout.of_spec(spec, "flatten_dropout"))
    size = height * width * channels
    return chain(built + head(spec, size, widths=widths, num_outputs=num_outputs))


def _pools_first(spec: ModelSpec) -> bool:
    """Whether the largest of a window may be taken before bias and activation: a never falling one, nothing between."""
    is_monotone = pick("activation", option(spec, "activation"))[0] in parts.MONOTONE
    return is_monotone and norms.output_norm(option(spec, "norm")) == "none"


def _reshape_to(shape: tuple[int, ...]) -> Callable[[Array], Array]:
    return lambda x: x.reshape(x.shape[0], *shape)
