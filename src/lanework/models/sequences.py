"""What networks for sequences share: reading tokens and series, what is padded, pooling over time, the output layer.

Must not import `lanework.recipes`, `lanework.data` or anything above; imports no Flax.

Samples come padded at the end, tokens with -1 and series with NaN in every channel. What is padded is found from that, and
nothing of it reaches what a sample gives: a padded sequence gives the same as the bare one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from lanework.models import parts
from lanework.models.base import (
    Array,
    Call,
    Hypers,
    Input,
    ModelSpec,
    Network,
    Params,
    State,
    layer_key,
    option,
    refuse,
)
from lanework.models.dropout import dropout

Make: TypeAlias = Callable[[Array], Params]
# Tokens: up to that many codes, the gradient of a table is a product with one-hot rows; scattering is slow on CPUs.
ONE_HOT_UP_TO = 512


class Codes(NamedTuple):
    """Rows of a table that were not looked up yet, so that a product with the table can come first.

    Attributes:
        table: [code, feature].
        codes: int32 [...].
    """

    table: Array
    codes: Array

    def rows(self) -> Array:
        """The rows, [..., feature]."""
        return lookup(self.table, self.codes)

    def times(self, kernel: Array, bias: Array | None) -> Array:
        """`rows @ kernel + bias`; a small table is multiplied instead of its many rows."""
        if self.table.shape[0] > ONE_HOT_UP_TO:
            return affine(self.rows(), kernel, bias)
        return lookup(affine(self.table, kernel, bias), self.codes)


class Steps(NamedTuple):
    """Sequences on their way through a network.

    Attributes:
        values: Features of each step, [..., feature], or codes of them.
        mask: Which steps are no padding, bool; the first two axes of the values.
    """

    values: Array | Codes
    mask: Array

    def features(self) -> Array:
        """The features as an array."""
        return self.values.rows() if isinstance(self.values, Codes) else self.values

    def times(self, kernel: Array, bias: Array | None) -> Array:
        """The features of each step times weights, plus a bias."""
        if isinstance(self.values, Codes):
            return self.values.times(kernel, bias)
        return affine(self.values, kernel, bias)


class Stage(NamedTuple):
    """Part of a network: what it learns by layer name, and what it does to what comes in."""

    makes: Mapping[str, Make]
    apply: Callable[[Params, Steps, Call], Steps]


def affine(x: Array, kernel: Array, bias: Array | None) -> Array:
    """X W + b over the last axis, as one product of matrices."""
    rows = x.reshape(-1, x.shape[-1]) @ kernel
    rows = rows if bias is None else rows + bias[None, :]
    return rows.reshape(*x.shape[:-1], -1)


@jax.custom_jvp
def _few_rows(table: Array, codes: Array) -> Array:
    return jnp.take(table, codes, axis=0, mode="clip")


@_few_rows.defjvp
def _few_rows_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    table, codes = primals
    hot = jax.nn.one_hot(codes.reshape(-1), table.shape[0], dtype=table.dtype)
    return _few_rows(table, codes), (hot @ tangents[0]).reshape(*codes.shape, table.shape[1])


def lookup(table: Array, codes: Array) -> Array:
    """Rows of a table by code, [..., feature]; codes must lie inside."""
    if table.shape[0] > ONE_HOT_UP_TO:
        return jnp.take(table, codes, axis=0, mode="clip")
    return _few_rows(table, codes)


def join(
    reader: Stage, stages: Sequence[Stage], output: Stage, *, readout: Callable[[Steps], Array]
) -> Network:
    """A network from its parts.

    Args:
        reader: Turns what comes in into steps: its `apply` gets them with the raw samples as values and an empty mask.
        stages: What follows, in order.
        output: The output layer, on what the readout gives.
        readout: From the last steps to [batch, feature] or, with an output by step, [batch, time, feature].
    """
    parts_in_order = (reader, *stages, output)
    makes = {name: make for stage in parts_in_order for name, make in stage.makes.items()}

    def init(key: Array) -> tuple[Params, State]:
        return {name: make(layer_key(key, name)) for name, make in makes.items()}, {}

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
        call = Call(key, is_training, hypers, taps)
        steps = reader.apply(params, Steps(x, jnp.zeros((0,), bool)), call)
        for stage in stages:
            steps = stage.apply(params, steps, call)
        found = Steps(readout(steps), steps.mask)
        return output.apply(params, found, call).features(), state

    return Network(init, apply, tuple(makes))


def reader(spec: ModelSpec, input: Input, *, width: int, is_time_first: bool) -> Stage:
    """The first stage: tokens to rows of a learned table, series to their numbers.

    Args:
        spec: Name of the network.
        input: What comes in.
        width: Entries of the vector that stands for a token.
        is_time_first: Whether later stages want [time, batch, ...].

    Raises:
        SpecError: What comes in is no sequence.
    """
    if input.kind not in ("tokens", "series"):
        what = "images" if input.kind == "image" else "a table"
        refuse(
            "model.net",
            f"{spec.net} must get sequences (tokens or a series), got {what} of shape {tuple(input.shape)}. "
            f"Use net: {'cnn' if input.kind == 'image' else 'mlp'}.",
        )
    if input.kind == "tokens":
        return _token_reader(input.vocabulary, width, is_time_first=is_time_first)

    def apply(params: Params, steps: Steps, call: Call) -> Steps:
        x = steps.features()
        x = jnp.swapaxes(x, 0, 1) if is_time_first else x
        mask = ~jnp.all(jnp.isnan(x), axis=-1)
        return Steps(jnp.where(mask[:, :, None], x, 0.0), mask)

    return Stage({}, apply)


def _token_reader(vocabulary: int, width: int, *, is_time_first: bool) -> Stage:
    def make(key: Array) -> Params:
        return {"table": jax.random.normal(key, (vocabulary, width))}

    def apply(params: Params, steps: Steps, call: Call) -> Steps:
        x = steps.features()
        x = jnp.swapaxes(x, 0, 1) if is_time_first else x
        found = Codes(params["embed"]["table"], jnp.maximum(x, 0))
        tap(call, "embed", found.rows, is_time_first=is_time_first)
        return Steps(found, x >= 0)

    return Stage({"embed": make}, apply)


def tap(call: Call, name: str, values: Callable[[], Array], *, is_time_first: bool) -> None:
    """Show what a layer gives, [batch, time, feature], where somebody looks."""
    if call.taps is not None:
        found = values()
        call.taps[name] = jnp.swapaxes(found, 0, 1) if is_time_first else found


def dropped(name: str) -> Stage:
    """Dropout of the features of each step, as a stage."""
    layer = dropout(name)

    def apply(params: Params, steps: Steps, call: Call) -> Steps:
        return Steps(layer.apply({}, {}, steps.features(), call)[0], steps.mask)

    return Stage({}, apply)


def pooled(values: Array, mask: Array, *, how: str) -> Array:
    """One vector for a sequence, over the steps that are no padding.

    Args:
        values: [time, batch, feature].
        mask: [time, batch].
        how: `last`, `first`, `mean` or `max`.

    Returns:
        [batch, feature]; zeros for a sequence without a step.
    """
    wide = mask[:, :, None]
    if how == "max":
        largest = jnp.max(jnp.where(wide, values, -jnp.inf), axis=0)
        return jnp.where(jnp.any(wide, axis=0), largest, 0.0)
    if how == "mean":
        count = jnp.maximum(jnp.sum(wide, axis=0), 1).astype(values.dtype)
        return jnp.sum(jnp.where(wide, values, 0.0), axis=0) / count
    time = jnp.arange(mask.shape[0])[:, None]
    last = jnp.max(jnp.where(mask, time, -1), axis=0, keepdims=True)
    chosen = time == (last if how == "last" else 0)
    # A sum with one term: gathering rows by number has a slow gradient on CPUs.
    return jnp.sum(jnp.where((chosen & mask)[:, :, None], values, 0.0), axis=0)


def output_stage(spec: ModelSpec, size: int, *, num_outputs: int) -> Stage:
    """The output layer and its activation, on [batch, feature] or [batch, time, feature].

    Args:
        spec: Options of the network.
        size: Features that come in.
        num_outputs: Outputs that the data needs, unless the spec says another number.
    """
    count = int(option(spec, "num_outputs") or num_outputs)
    start = parts.initializer(option(spec, "init"), activation="identity", is_output=True)
    final = parts.activation(option(spec, "output_activation"))

    def make(key: Array) -> Params:
        return {"kernel": start(key, (size, count)), "bias": jnp.zeros((count,))}

    def apply(params: Params, steps: Steps, call: Call) -> Steps:
        own = params["output"]
        x = affine(steps.features(), own["kernel"], own["bias"])
        tap(call, "output", lambda: x, is_time_first=False)
        return Steps(final(x), steps.mask)

    return Stage({"output": make}, apply)
