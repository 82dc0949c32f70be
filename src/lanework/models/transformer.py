"""A small transformer, for a label per sequence, a forecast, or an output for each step.

Must not import `lanework.recipes`, `lanework.data` or anything above; imports no Flax. What it shares with the recurrent
networks is in `sequences`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lanework.models import parts, sequences
from lanework.models.base import (
    Array,
    Call,
    Input,
    ModelSpec,
    Network,
    Params,
    option,
    refuse,
)
from lanework.models.cells import standardised
from lanework.models.dropout import drop_branch, dropout
from lanework.models.sequences import Make, Stage, Steps, affine, tap

ROTARY_BASE = 10_000.0
LARGE = 1e30  # a score that no other comes near; finite in float32


class Block(NamedTuple):
    """One block: attention, then a feed-forward part.

    Attributes:
        place: Its number from 0.
        depth: How many there are.
        width: Features of a step.
        heads: Attentions side by side.
        hidden: Units of the feed-forward part.
        is_causal: Whether a step sees only itself and those before.
        is_rotary: Whether queries and keys are turned by their place.
        is_norm_first: Whether normalisation stands before each part.
        activation: Of the feed-forward part.
    """

    place: int
    depth: int
    width: int
    heads: int
    hidden: int
    is_causal: bool
    is_rotary: bool
    is_norm_first: bool
    activation: Callable[[Array], Array]


def transformer(spec: ModelSpec, *, input: Input, num_outputs: int) -> Network:
    """Blocks of attention and a feed-forward part, each added to what came in.

    Where each step has a target, a step sees only itself and those before it. Steps that are padding are never seen.

    Args:
        spec: Options of the catalogue row `transformer`.
        input: What comes in: tokens or a series.
        num_outputs: Outputs that the data needs, unless the spec says another number.

    Returns:
        The pure functions.

    Raises:
        SpecError: The width cannot be shared out among the heads, or what comes in is no sequence.

    Source:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; normalisation first as in Xiong et al. 2020,
        https://arxiv.org/abs/2002.04745.
    """
    width, how = int(option(spec, "width")), str(option(spec, "pooling"))
    has_token = how == "cls" and not input.is_stepwise
    stages = [_start(spec, input, has_token=has_token), sequences.dropped("embed_dropout")]
    stages += [_block_stage(block, spec) for block in _blocks(spec, input)]
    if option(spec, "norm_position") == "before":
        stages.append(_norm_stage("norm", width))

    def readout(steps: Steps) -> Array:
        if input.is_stepwise:
            return steps.features()
        if has_token:
            return steps.features()[:, 0]
        time_first = jnp.swapaxes(steps.features(), 0, 1)
        return sequences.pooled(time_first, steps.mask.T, how=how)

    first = sequences.reader(spec, input, width=width, is_time_first=False)
    output = sequences.output_stage(spec, width, num_outputs=num_outputs)
    return sequences.join(first, stages, output, readout=readout)


def _blocks(spec: ModelSpec, input: Input) -> list[Block]:
    width, heads, depth = (int(option(spec, name)) for name in ("width", "heads", "layers"))
    is_rotary = option(spec, "positions") == "rotary"
    unit = 2 * heads if is_rotary else heads
    if width % unit:
        why = "2 x heads (rotary positions turn pairs)" if is_rotary else "heads"
        refuse(
            "model.width",
            f"must be a multiple of {why}, got width {width} and heads {heads}. Use width: {-(-width // unit) * unit}.",
        )
    return [
        Block(
            place=place,
            depth=depth,
            width=width,
            heads=heads,
            hidden=int(option(spec, "expansion")) * width,
            is_causal=input.is_stepwise,
            is_rotary=is_rotary,
            is_norm_first=option(spec, "norm_position") == "before",
            activation=parts.activation(option(spec, "activation")),
        )
        for place in range(depth)
    ]


def _start(spec: ModelSpec, input: Input, *, has_token: bool) -> Stage:
    """From what was read to features of the right width: a projection of series, the first token, positions."""
    width, positions = int(option(spec, "width")), str(option(spec, "positions"))
    time = int(input.shape[0]) + int(has_token)
    makes: dict[str, Make] = {}
    if input.kind == "series":
        size, start = int(input.shape[-1]), _initializer(spec)
        makes["embed"] = lambda key: _affine(start, key, (size, width))
    if has_token:
        makes["cls"] = lambda key: {"table": jax.random.normal(key, (1, width))}
    if positions == "learned":
        makes["positions"] = lambda key: {"table": jax.random.normal(key, (time, width))}

    def apply(params: Params, steps: Steps, call: Call) -> Steps:
        if input.kind == "series":
            x = steps.times(params["embed"]["kernel"], params["embed"]["bias"])
            tap(call, "embed", lambda: x, is_time_first=False)
        else:
            x = steps.features()
        mask = steps.mask
        if has_token:
            token = jnp.broadcast_to(params["cls"]["table"][None], (x.shape[0], 1, width))
            x = jnp.concatenate([token.astype(x.dtype), x], axis=1)
            mask = jnp.concatenate([jnp.ones_like(mask[:, :1]), mask], axis=1)
        if positions == "learned":
            x = x + params["positions"]["table"][None, : x.shape[1]]
        elif positions == "sinusoidal":
            x = x + waves(x.shape[1], width)[None].astype(x.dtype)
        return Steps(x, mask)

    return Stage(makes, apply)


def _affine(start: parts.Init, key: Array, sizes: tuple[int, int]) -> Params:
    return {"kernel": start(key, sizes), "bias": jnp.zeros((sizes[1],))}


def _initializer(spec: ModelSpec, *, activation: object = "identity") -> parts.Init:
    return parts.initializer(option(spec, "init"), activation=activation)


def _block_stage(block: Block, spec: ModelSpec) -> Stage:
    width, hidden = block.width, block.hidden
    straight = _initializer(spec)
    bent = _initializer(spec, activation=option(spec, "activation"))
    named = {name: f"{name}_{block.place}" for name in ("attention", "feed")}

    def attention_weights(key: Array) -> Params:
        """Queries, keys and values are drawn on their own, as the matrices they are."""
        drawn = [straight(own, (width, width)) for own in jax.random.split(key, 3)]
        return {"kernel": jnp.concatenate(drawn, axis=1), "bias": jnp.zeros((3 * width,))}

    makes: dict[str, Make] = {
        f"{named['attention']}_norm": lambda key: _norm_params(width),
        named["attention"]: attention_weights,
        f"{named['attention']}_output": lambda key: _affine(straight, key, (width, width)),
        f"{named['feed']}_norm": lambda key: _norm_params(width),
        named["feed"]: lambda key: _affine(bent, key, (width, hidden)),
        f"{named['feed']}_output": lambda key: _affine(straight, key, (hidden, width)),
    }

    def apply(params: Params, steps: Steps, call: Call) -> Steps:
        x = steps.features()
        x = _residual(
            lambda x: _attention(block, params, Steps(x, steps.mask), call),
            x,
            block=block,
            name=named["attention"],
            params=params,
            call=call,
        )
        x = _residual(
            lambda x: _feed(block, params, x, call),
            x,
            block=block,
            name=named["feed"],
            params=params,
            call=call,
        )
        return Steps(x, steps.mask)

    return Stage(makes, apply)


def _residual(
    branch: Callable[[Array], Array],
    x: Array,
    *,
    block: Block,
    name: str,
    params: Params,
    call: Call,
) -> Array:
    """Add a branch to x, normalised before the branch or after the sum."""
    own = params[f"{name}_norm"]
    found = branch(_norm(own, x) if block.is_norm_first else x)
    found, _ = dropout(f"{name}_dropout").apply({}, {}, found, call)
    x = x + drop_branch(found, call, name=name, index=block.place, count=block.depth)
    return x if block.is_norm_first else _norm(own, x)


def _norm_params(width: int) -> Params:
    return {"scale": jnp.ones((width,)), "bias": jnp.zeros((width,))}


def _norm(params: Params, x: Array) -> Array:
    return standardised(x) * params["scale"][None, None, :] + params["bias"][None, None, :]


def _norm_stage(name: str, width: int) -> Stage:
    def apply(params: Params, steps: Steps, call: Call) -> Steps:
        return Steps(_norm(params[name], steps.features()), steps.mask)

    return Stage({name: lambda key: _norm_params(width)}, apply)


def _feed(block: Block, params: Params, x: Array, call: Call) -> Array:
    name = f"feed_{block.place}"
    hidden = affine(x, params[name]["kernel"], params[name]["bias"])
    tap(call, name, lambda: hidden, is_time_first=False)
    hidden = block.activation(hidden)
    tap(call, f"{name}_activation", lambda: hidden, is_time_first=False)
    last = params[f"{name}_output"]
    found = affine(hidden, last["kernel"], last["bias"])
    tap(call, f"{name}_output", lambda: found, is_time_first=False)
    return found


def _attention(block: Block, params: Params, steps: Steps, call: Call) -> Array:
    """Heads side by side: softmax(Q K^T / sqrt(d)) V over the steps that may be seen, then the output weights."""
    name = f"attention_{block.place}"
    mixed = steps.times(params[name]["kernel"], params[name]["bias"])
    tap(call, name, lambda: mixed, is_time_first=False)
    batch, time, _ = mixed.shape
    split = mixed.reshape(batch, time, 3, block.heads, -1)
    query, key, value = split[:, :, 0], split[:, :, 1], split[:, :, 2]
    if block.is_rotary:
        query, key = turned(query), turned(key)
    # [batch, 1, step that looks, step that is seen]
    allowed = steps.mask[:, None, None, :]
    if block.is_causal:
        allowed = allowed & jnp.tri(time, dtype=bool)[None, None]
    seen = attend(query, key, value, allowed=allowed).reshape(batch, time, block.width)
    last = params[f"{name}_output"]
    found = affine(seen, last["kernel"], last["bias"])
    tap(call, f"{name}_output", lambda: found, is_time_first=False)
    return found


def attend(query: Array, key: Array, value: Array, *, allowed: Array) -> Array:
    """Scaled dot-product attention.

    Computes softmax(Q K^T / sqrt(d)) V over the steps that are allowed.

    Args:
        query: [batch, time, head, d].
        key: As the query.
        value: As the query.
        allowed: Which step (last axis) may be seen by which (the one before), bool, broadcast to
            [batch, head, time, time].

    Returns:
        [batch, time, head, d]; for a step that may see nothing, the mean of all values.

    Source:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, equation 1.
    """
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / math.sqrt(query.shape[-1])
    # Finite, so that a step that may see nothing gives no NaN: its weight is 0 later, and 0 times NaN would be NaN.
    scores = jnp.where(allowed, scores, -LARGE)
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, axis=-1), value)


def waves(time: int, width: int) -> Array:
    """Sinusoidal positions [time, width]: sin(p / 10000^(2i / width)) in even columns, cos in odd ones.

    Source:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.5.
    """
    angle = _angles(time, -(-width // 2), width)
    both = jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1)
    return both.reshape(time, -1)[:, :width]


def turned(x: Array) -> Array:
    """Rotary positions: pairs of features (i, i + d/2) turned by the angle p / 10000^(2i / d) at place p.

    Args:
        x: Queries or keys [batch, time, head, d], d even.

    Source:
        Su et al. 2021, https://arxiv.org/abs/2104.09864, with the halves paired as in GPT-NeoX.
    """
    half = x.shape[-1] // 2
    angle = _angles(x.shape[1], half, x.shape[-1])[None, :, None, :].astype(x.dtype)
    first, second = x[..., :half], x[..., half:]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _angles(time: int, count: int, width: int) -> Array:
    place = jnp.arange(time, dtype=float)[:, None]
    rate = ROTARY_BASE ** (-2.0 * jnp.arange(count, dtype=float) / width)
    return place * rate[None, :]
