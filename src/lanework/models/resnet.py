"""Residual networks, and the same networks without their shortcuts.

Owns `resnet` and `plain`: the CIFAR family (depths 6n + 2) and the ImageNet family (18, 34, 50). Must not import
`lanework.recipes`, `lanework.data` or anything above; imports no Flax.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lanework.models import layers, norms, parts
from lanework.models.base import (
    Array,
    Call,
    Hypers,
    Input,
    Layer,
    ModelSpec,
    Network,
    Params,
    State,
    initialiser,
    option,
    refuse,
    through,
    with_weights,
)
from lanework.models.base import plain as without_weights
from lanework.models.conv import conv_general_dilated
from lanework.models.dropout import drop_branch
from lanework.models.mlp import finish_block, has_bias, head

EXPANSION = 4  # channels out of a bottleneck for each channel within


class Family(NamedTuple):
    """What depth stands for: blocks of each stage, their kind, and the usual first layer."""

    blocks: tuple[int, ...]
    is_bottleneck: bool
    stem: str
    width: int


IMAGENET: Mapping[int, Family] = {
    18: Family((2, 2, 2, 2), False, "imagenet", 64),
    34: Family((3, 4, 6, 3), False, "imagenet", 64),
    50: Family((3, 4, 6, 3), True, "imagenet", 64),
}


class Block(NamedTuple):
    """A residual block: after(main(x) + shortcut(x)).

    Attributes:
        name: Its name, for the noise of stochastic depth.
        place: Its number from 0, and how many there are.
        main: The layers of F.
        shortcut: Layers of the shortcut, empty for the identity; None where there is no shortcut.
        after: What follows the sum.
    """

    name: str
    place: tuple[int, int]
    main: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] | None
    after: tuple[Layer, ...]


def resnet(spec: ModelSpec, *, input: Input, num_outputs: int) -> Network:
    """Residual network: blocks whose input is added to their output, so that depth costs no trainability.

    H(x) = F(x) + x. Depths 6n + 2 are the CIFAR family: 3 stages of n basic blocks (two 3x3 convolutions) with 16, 32 and
    64 channels. Depths 18, 34 and 50 are the ImageNet family: 4 stages with 64 to 512 channels, bottlenecks (1x1, 3x3,
    1x1; the stride in the 3x3 one) in 50. Then the mean over all pixels and the output layer.

    Args:
        spec: Options of the catalogue row `resnet`.
        input: Shape of a sample: (height, width, channels), or flat with such a grid.
        num_outputs: Outputs that the data needs, unless the spec says another number.

    Returns:
        The pure functions.

    Raises:
        SpecError: The inputs are no images, or an option does not fit the others.

    Source:
        He, Zhang, Ren and Sun 2015, Deep residual learning for image recognition, https://arxiv.org/abs/1512.03385.
        Stochastic depth: Huang et al. 2016, https://arxiv.org/abs/1603.09382.
    """
    return _network(spec, input=input, num_outputs=num_outputs, has_shortcuts=True)


def plain(spec: ModelSpec, *, input: Input, num_outputs: int) -> Network:
    """The residual network of that depth with all shortcuts taken out; arguments as in `resnet`.

    Source:
        He, Zhang, Ren and Sun 2015, https://arxiv.org/abs/1512.03385, the plain networks of section 4.
    """
    return _network(spec, input=input, num_outputs=num_outputs, has_shortcuts=False)


def family(depth: int) -> Family:
    """Blocks, kind and first layer of a depth.

    Raises:
        SpecError: There is no residual network of that depth.

    Example:
        >>> family(20).blocks, family(34).blocks
        ((3, 3, 3), (3, 4, 6, 3))
    """
    if depth in IMAGENET:
        return IMAGENET[depth]
    if depth < 8 or depth % 6 != 2:
        below = max(8, (depth - 2) // 6 * 6 + 2)
        refuse(
            "model.depth",
            f"must be 18, 34, 50 or 6n + 2 (8, 14, 20, 32, 44, 56, 110, ...), got {depth}. "
            f"Use for example {below}.",
        )
    return Family((depth // 6,) * 3, False, "cifar", 16)


def _network(spec: ModelSpec, *, input: Input, num_outputs: int, has_shortcuts: bool) -> Network:
    shape = _image_shape(spec, input)
    kind = family(int(option(spec, "depth")))
    width = int(option(spec, "width") or kind.width)
    stem = _stem(spec, kind, channels=shape[2], width=width)
    if shape != tuple(input.shape):
        stem.insert(0, without_weights("grid", lambda x: x.reshape(x.shape[0], *shape)))
    blocks = _blocks(spec, kind, width=width, has_shortcuts=has_shortcuts)
    size = width * 2 ** (len(kind.blocks) - 1) * (EXPANSION if kind.is_bottleneck else 1)
    top = [without_weights("pool", _mean_pixel), layers.dropout("pool_dropout")]
    top += head(spec, size, widths=(), num_outputs=num_outputs)
    every = [*stem, *_layers_of(blocks), *top]

    def apply(
        params: Params,
        state: State,
        x: Array,
        *,
        key: Array | None = None,
        is_training: bool,
        hypers: Hypers,
        taps: dict[str, Array] | None = None,
    ) -> tuple[Array, State]:
        call, after = Call(key, is_training, hypers, taps), dict(state)

        def run(some: Sequence[Layer], x: Array) -> Array:
            return through(some, x, call, params=params, state=state, after=after)

        x = run(stem, x)
        for block in blocks:
            x = _through_block(block, x, call, run)
        return run(top, x), after

    return Network(initialiser(every), apply, with_weights(every))


def _image_shape(spec: ModelSpec, input: Input) -> tuple[int, int, int]:
    shape = tuple(input.grid) if len(input.shape) == 1 else tuple(input.shape)
    if len(shape) != 3:
        refuse(
            "model.net",
            f"{spec.net} must get images of shape (height, width, channels), got inputs of shape "
            f"{tuple(input.shape)}. Use net: mlp for tables.",
        )
    height, width, channels = shape
    return height, width, channels


def _stem(spec: ModelSpec, kind: Family, *, channels: int, width: int) -> list[Layer]:
    """The first convolution: 3x3, or 7x7 with stride 2 and max pooling."""
    name = option(spec, "stem")
    if (kind.stem if name == "auto" else name) == "cifar":
        weights = _weights(spec, "stem", (channels, width), kernel=3)
        return [weights, *finish_block(spec, "stem", size=width)]
    weights = _weights(spec, "stem", (channels, width), kernel=7, stride=2)
    pool = without_weights("stem_pool", max_pool)
    return [weights, *finish_block(spec, "stem", size=width), pool]


def _blocks(spec: ModelSpec, kind: Family, *, width: int, has_shortcuts: bool) -> list[Block]:
    built: list[Block] = []
    channels, count = width, sum(kind.blocks)
    for stage, number in enumerate(kind.blocks):
        inner = width * 2**stage
        for index in range(number):
            name = f"stage{stage + 1}_block{index}"
            stride = 2 if stage > 0 and index == 0 else 1
            main, after, out = _main(
                spec, name, channels, inner=inner, stride=stride, is_bottleneck=kind.is_bottleneck
            )
            shortcut = None
            if has_shortcuts:
                main = _zeroed(main) if option(spec, "zero_init") else main
                shortcut = _shortcut(spec, name, (channels, out), stride=stride)
            built.append(Block(name, (len(built), count), tuple(main), shortcut, tuple(after)))
            channels = out
    return built


def _main(
    spec: ModelSpec, name: str, channels: int, *, inner: int, stride: int, is_bottleneck: bool
) -> tuple[list[Layer], list[Layer], int]:
    """Layers of F, those after the sum, and the channels that come out."""
    if is_bottleneck:
        steps = [(1, 1, inner), (3, stride, inner), (1, 1, EXPANSION * inner)]
    else:
        steps = [(3, stride, inner), (3, 1, inner)]
    main: list[Layer] = []
    after: list[Layer] = []
    for place, (kernel, step, size) in enumerate(steps, start=1):
        own = f"{name}_conv{place}"
        main.append(_weights(spec, own, (channels, size), kernel=kernel, stride=step))
        end = finish_block(spec, own, size=size)
        if place < len(steps):
            main += end
        else:
            # The sum stands before the last activation, whatever comes before that.
            split = [layer.name for layer in end].index(f"{own}_activation")
            main, after = main + end[:split], end[split:]
        channels = size
    return main, after, channels


def _shortcut(
    spec: ModelSpec, name: str, sizes: tuple[int, int], *, stride: int
) -> tuple[Layer, ...]:
    """Layers of the shortcut; the identity where the shape stays."""
    if sizes[0] == sizes[1] and stride == 1:
        return ()
    if option(spec, "shortcut") == "padding":
        extra = sizes[1] - sizes[0]
        pad = ((0, 0), (0, 0), (0, 0), (0, extra))
        return (
            without_weights(
                f"{name}_shortcut", lambda x: jnp.pad(x[:, ::stride, ::stride, :], pad)
            ),
        )
    weights = _weights(spec, f"{name}_shortcut", sizes, kernel=1, stride=stride)
    norm = norms.norm(f"{name}_shortcut_norm", sizes[1], choice=option(spec, "norm"))
    return (weights,) if norm is None else (weights, norm)


def _zeroed(main: Sequence[Layer]) -> list[Layer]:
    """The same with a scale of 0 in the last normalisation: each block starts as its shortcut."""
    last = main[-1]
    make = last.init
    if make is None or not last.name.endswith("_norm"):
        refuse(
            "model.zero_init",
            "must go with a normalisation that ends each block, got none there. "
            "Use norm: batch with norm_position: before, or leave zero_init out.",
        )

    def init(key: Array) -> tuple[Params, State]:
        params, state = make(key)
        if "scale" not in params:
            refuse(
                "model.zero_init",
                "must go with a normalisation that has a scale, got one without. Use norm: batch, or leave zero_init out.",
            )
        return {**params, "scale": jnp.zeros_like(params["scale"])}, state

    return [*main[:-1], last._replace(init=init)]


def _weights(
    spec: ModelSpec, name: str, sizes: tuple[int, int], *, kernel: int, stride: int = 1
) -> Layer:
    """Convolution that keeps height and width, or halves them with stride 2; no bias where a norm takes it off again."""
    init = parts.initializer(option(spec, "init"), activation=option(spec, "activation"))
    form = norms.weight_form(option(spec, "norm"))
    is_biased = has_bias(spec)
    pads = ((kernel // 2, kernel // 2),) * 2

    def make(key: Array) -> tuple[Params, State]:
        params = form.make(init(key, (kernel, kernel, *sizes)))
        return (params | {"bias": jnp.zeros((sizes[1],))} if is_biased else params), {}

    def apply(params: Params, state: State, x: Array, call: Call) -> tuple[Array, State]:
        x = conv_general_dilated(
            x,
            form.kernel(params),
            (stride, stride),
            pads,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return (layers.add_bias(x, params["bias"]) if is_biased else x), state

    return Layer(name, make, apply)


def _through_block(
    block: Block, x: Array, call: Call, run: Callable[[Sequence[Layer], Array], Array]
) -> Array:
    found = run(block.main, x)
    if block.shortcut is not None:
        index, count = block.place
        found = drop_branch(found, call, name=block.name, index=index, count=count)
        found = found + run(block.shortcut, x)
    return run(block.after, found)


def _layers_of(blocks: Iterable[Block]) -> list[Layer]:
    """All layers of blocks, in forward order."""
    return [
        layer for block in blocks for layer in (*block.main, *(block.shortcut or ()), *block.after)
    ]


def _mean_pixel(x: Array) -> Array:
    """[batch, height, width, channel] to [batch, channel]."""
    return jnp.mean(x, axis=(1, 2))


def max_pool(x: Array) -> Array:
    """Largest value of each 3 x 3 window with stride 2, [batch, height, width, channel]; borders count as -inf.

    Rows first, then columns: six slices instead of a window reduction, whose gradient is slow on CPUs.
    """
    return _largest_of_three(_largest_of_three(x, axis=1), axis=2)


def _largest_of_three(x: Array, *, axis: int) -> Array:
    pads = [(0, 0)] * x.ndim
    pads[axis] = (1, 1)
    padded = jnp.pad(x, pads, constant_values=-jnp.inf)
    size = x.shape[axis]
    first, middle, last = (
        jax.lax.slice_in_dim(padded, start, start + size, stride=2, axis=axis) for start in range(3)
    )
    return jnp.maximum(jnp.maximum(first, middle), last)
