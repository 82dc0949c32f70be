"""What layers give, as running moments: mean, spread, dead units, saturated share.

Owns pure functions from the taps of a forward pass (`lanework.models.Network.apply(..., taps=...)`) to small sums that are
joined chunk by chunk, over the first samples of each; no activation is kept. They ride on the pass over the validation part,
which is made anyway, so that looking costs reductions only. A unit counts as dead when it is zero for all of these. Must not import
`recipes`, `models`, `data` or anything above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

__all__ = ["BOUNDS", "GATED", "STATISTICS", "Layer", "Sums", "add", "finish", "layers", "zero"]

Array: TypeAlias = jax.Array
Sums: TypeAlias = dict[str, dict[str, Array]]

STATISTICS = (
    "activation_mean",
    "activation_std",
    "dead_share",
    "saturated_share",
    "unit_spread",
)
"""What `finish` tells of each layer."""
BOUNDS: Mapping[str, tuple[float, float]] = {
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "softmax": (0.0, 1.0),
}
"""Values that an activation cannot leave, by its catalogue name."""
GATED = ("gru", "lstm")
"""Networks whose cells squash what they give by tanh, whatever `model.activation` says."""
SAMPLES = 64  # the first of each chunk: with all of them, looking would cost twice as much
NEAR = 0.02  # share of the range: there the slope of sigmoid is 8 % of its largest, that of tanh 8 % too


class Layer(NamedTuple):
    """One layer that is looked at.

    Attributes:
        name: Name of the layer with the weights.
        tap: Under which its values come: those after its activation where it has one.
        units: Entries of the last axis.
        bounds: Limits of a saturating activation; None where there are none.
    """

    name: str
    tap: str
    units: int
    bounds: tuple[float, float] | None = None


def layers(
    layer_names: Sequence[str],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    activation: str = "",
    limits: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> tuple[Layer, ...]:
    """Which layers can be looked at.

    Args:
        layer_names: Layers with weights, in forward order.
        shapes: Shape of each tap, samples first.
        activation: Name of the hidden activation, for its bounds.
        limits: Bounds by tap where they are known otherwise: of gated cells, of own modules (`lanework.health.limits`).

    Returns:
        The layers that write a tap, in forward order.
    """
    found = []
    for name in layer_names:
        after = f"{name}_activation"
        tap = after if after in shapes else name
        if tap in shapes:
            bounds = BOUNDS.get(activation) if tap == after else None
            bounds = limits.get(tap, bounds)
            found.append(Layer(name, tap, shapes[tap][-1], bounds))
    return tuple(found)


def zero(watched: Sequence[Layer]) -> Sums:
    """Sums of no sample."""
    scalars = ("count", "mean", "spread", "saturated", "across")
    return {
        layer.name: {name: jnp.zeros(()) for name in scalars} | {"peak": jnp.zeros((layer.units,))}
        for layer in watched
    }


def add(watched: Sequence[Layer], sums: Sums, taps: Mapping[str, Array], *, weight: Array) -> Sums:
    """Sums with one more chunk; moments are joined as in Chan et al. 1979.

    Args:
        watched: The layers.
        sums: Sums so far.
        taps: Values by tap, [sample, ..., unit].
        weight: [sample]; samples of weight 0 count for nothing.
    """
    some = weight[:SAMPLES]
    return {
        layer.name: _add(
            sums[layer.name], taps[layer.tap][:SAMPLES], weight=some, bounds=layer.bounds
        )
        for layer in watched
    }


def finish(watched: Sequence[Layer], sums: Sums) -> dict[str, Array]:
    """`STATISTICS`, each [layer]; values that are not finite stay visible.

    `dead_share` is the share of units that were exactly 0 for every sample looked at, `saturated_share` that of all values within 2 %
    of the range of a limit of their activation (0 where it has none). `unit_spread` is the spread across the units for one and the
    same sample, root mean square over the samples: 0 where all units of a layer are copies of each other, NaN for a single one.
    """
    columns: dict[str, list[Array]] = {name: [] for name in STATISTICS}
    for layer in watched:
        told = sums[layer.name]
        count = jnp.maximum(told["count"], 1.0)
        columns["activation_mean"].append(told["mean"])
        columns["activation_std"].append(jnp.sqrt(told["spread"] / count))
        columns["dead_share"].append(jnp.mean((told["peak"] == 0.0).astype(jnp.float32)))
        columns["saturated_share"].append(told["saturated"] / count)
        # A single unit has nobody to be alike.
        spread = jnp.sqrt(told["across"] / count) if layer.units > 1 else jnp.full((), jnp.nan)
        columns["unit_spread"].append(spread)
    return {name: jnp.stack(column) for name, column in columns.items() if column}


def _add(
    before: Mapping[str, Array],
    values: Array,
    *,
    weight: Array,
    bounds: tuple[float, float] | None,
) -> dict[str, Array]:
    values = values.astype(jnp.float32)
    each = (weight > 0).astype(jnp.float32).reshape((-1,) + (1,) * (values.ndim - 1))
    shown = jnp.where(each > 0, values, 0.0)  # what fills up the last chunk must not spoil the sums
    inner = values.size // values.shape[0]
    here = jnp.sum(each) * inner
    mean = jnp.sum(shown) / jnp.maximum(here, 1.0)
    spread = jnp.sum(jnp.square(shown - mean) * each)
    total = before["count"] + here
    apart, share = mean - before["mean"], here / jnp.maximum(total, 1.0)
    axes = tuple(range(values.ndim - 1))
    told = {
        "count": total,
        "mean": before["mean"] + apart * share,
        "spread": before["spread"] + spread + jnp.square(apart) * before["count"] * share,
        "peak": jnp.maximum(before["peak"], jnp.max(jnp.abs(shown), axis=axes)),
        "saturated": before["saturated"],
        # Around each sample's own mean over the units, so that copies give 0 and not a rounding error.
        "across": before["across"]
        + jnp.sum(jnp.square(shown - jnp.mean(shown, axis=-1, keepdims=True)) * each),
    }
    if bounds is not None:
        low, high = bounds
        margin = NEAR * (high - low)
        is_near = (values < low + margin) | (values > high - margin)
        told["saturated"] = told["saturated"] + jnp.sum(is_near * each)
    return told
