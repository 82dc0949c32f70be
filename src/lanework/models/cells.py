"""Recurrent cells, and the one loop over time that runs them.

Owns the arithmetic of the vanilla cell, GRU and LSTM, and their derivatives. Arrays are [time, batch, unit] here. Must not
import `lanework.recipes`, `lanework.data` or anything above; imports no Flax.

The loop holds only what depends on the step before: one product with the recurrent weights and the gates. Left to
itself, JAX would add up the gradient of those weights step by step. So the derivative is written down: it is a linear
recurrence whose coefficients are known after the forward pass, and the gradient of the weights is one product over all
steps. Forward and reverse mode both follow from it, so that rules which ask for curvature work too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from lanework.models.base import Array

Carry: TypeAlias = tuple[Array, ...]  # hidden state, and for the LSTM its memory
Squash: TypeAlias = Callable[[Array], Array]


class Cell(NamedTuple):
    """One kind of recurrent cell; x is what the input brings to the gates, v what the hidden state brings.

    Attributes:
        num_gates: Blocks of units in x and v.
        num_carried: Arrays that go from step to step.
        blocks: Gates that layer normalisation takes together.
        step: `(carry, x, v, squash) -> (carry, saved)`; `squash` is tanh, of the LSTM's memory.
        slopes: `(carry before, saved) -> coefficients` of the linear recurrence.
        join: `(dx, dv) -> (dx, dv)` where the two enter the gates only as a sum, that sum and None.
        linear: `(d carry, coefficients, dx, dv) -> d carry`, linear in all but the coefficients.
    """

    num_gates: int
    num_carried: int
    blocks: tuple[int, ...]
    step: Callable[[Carry, Array, Array, Squash], tuple[Carry, Any]]
    slopes: Callable[[Carry, Any], Any]
    join: Callable[[Array, Array], tuple[Array | None, Array]]
    linear: Callable[[Carry, Any, Array | None, Array], Carry]


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x) by way of tanh, which CPUs compute in half of the time."""
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def gates(x: Array, count: int) -> list[Array]:
    """The blocks of the last axis."""
    return jnp.split(x, count, axis=-1)


def _as_sum(dx: Array, dv: Array) -> tuple[None, Array]:
    return None, dx + dv


def _tanh_step(carry: Carry, x: Array, v: Array, squash: Squash) -> tuple[Carry, Any]:
    h = jnp.tanh(x + v)
    return (h,), (h,)


def _relu_step(carry: Carry, x: Array, v: Array, squash: Squash) -> tuple[Carry, Any]:
    h = jnp.maximum(x + v, 0.0)
    return (h,), (h,)


def _tanh_slopes(before: Carry, saved: Any) -> Any:
    return (1.0 - jnp.square(saved[0]),)


def _relu_slopes(before: Carry, saved: Any) -> Any:
    return ((saved[0] > 0).astype(saved[0].dtype),)


def _vanilla_linear(d: Carry, slopes: Any, dx: Array | None, dv: Array) -> Carry:
    return (slopes[0] * dv,)


def _gru_step(carry: Carry, x: Array, v: Array, squash: Squash) -> tuple[Carry, Any]:
    """H' = (1 - z) n + z h, n = tanh(x_n + r v_n)."""
    (x_r, x_z, x_n), (v_r, v_z, v_n) = gates(x, 3), gates(v, 3)
    r, z = sigmoid(x_r + v_r), sigmoid(x_z + v_z)
    n = jnp.tanh(x_n + r * v_n)
    return (n + z * (carry[0] - n),), (r, z, n, v_n)


def _gru_slopes(before: Carry, saved: Any) -> Any:
    r, z, n, v_n = saved
    of_n = (1.0 - z) * (1.0 - jnp.square(n))
    of_r = of_n * v_n * r * (1.0 - r)
    return of_r, (before[0] - n) * z * (1.0 - z), of_n, of_n * r, z


def _gru_join(dx: Array, dv: Array) -> tuple[Array, Array]:
    """The two of n are not added: r stands between them."""
    dx_rz, dx_n = jnp.split(dx, [2 * dx.shape[-1] // 3], axis=-1)
    padding = [(0, 0)] * (dx.ndim - 1) + [(0, dx_n.shape[-1])]
    return dx_n, dv + jnp.pad(dx_rz, padding)


def _gru_linear(d: Carry, slopes: Any, dx: Array | None, dv: Array) -> Carry:
    of_r, of_z, of_n, of_v, keep = slopes
    d_r, d_z, d_v = gates(dv, 3)
    return (of_r * d_r + of_z * d_z + of_n * dx + of_v * d_v + keep * d[0],)


def _lstm_step(carry: Carry, x: Array, v: Array, squash: Squash) -> tuple[Carry, Any]:
    """C' = f c + i g, h' = o tanh(c')."""
    (x_i, x_f, x_g, x_o), (v_i, v_f, v_g, v_o) = gates(x, 4), gates(v, 4)
    i, f, o = sigmoid(x_i + v_i), sigmoid(x_f + v_f), sigmoid(x_o + v_o)
    g = jnp.tanh(x_g + v_g)
    c = f * carry[1] + i * g
    squashed = squash(c)
    return (o * squashed, c), (i, f, g, o, squashed)


def _lstm_slopes(before: Carry, saved: Any) -> Any:
    i, f, g, o, squashed = saved
    of_gates = (g * i * (1.0 - i), before[1] * f * (1.0 - f), i * (1.0 - jnp.square(g)))
    return *of_gates, squashed * o * (1.0 - o), f, o * (1.0 - jnp.square(squashed))


def _lstm_linear(d: Carry, slopes: Any, dx: Array | None, dv: Array) -> Carry:
    of_i, of_f, of_g, of_o, keep, of_c = slopes
    d_i, d_f, d_g, d_o = gates(dv, 4)
    d_c = of_i * d_i + of_f * d_f + of_g * d_g + keep * d[1]
    return of_o * d_o + of_c * d_c, d_c


CELLS: Mapping[str, Cell] = {
    "tanh": Cell(1, 1, (1,), _tanh_step, _tanh_slopes, _as_sum, _vanilla_linear),
    "relu": Cell(1, 1, (1,), _relu_step, _relu_slopes, _as_sum, _vanilla_linear),
    "gru": Cell(3, 1, (2, 1), _gru_step, _gru_slopes, _gru_join, _gru_linear),
    "lstm": Cell(4, 2, (4,), _lstm_step, _lstm_slopes, _as_sum, _lstm_linear),
}


class Driven(NamedTuple):
    """What drives a recurrence.

    Attributes:
        inputs: Product of all inputs with their weights and the bias, [time, batch, gates].
        kernel: Recurrent weights [unit, gates].
        inner: Added to the product with the recurrent weights, [gates]; None for nothing.
        nudge: Added to the hidden state after each step, [time, batch, unit]; None for nothing. Its gradient is that of the
            hidden state.
    """

    inputs: Array
    kernel: Array
    inner: Array | None = None
    nudge: Array | None = None


def unroll(cell: Cell, driven: Driven, *, mask: Array | None = None) -> Array:
    """Hidden states of all steps, [time, batch, unit], from a start at zero.

    Args:
        cell: Kind of cell.
        driven: Inputs and weights.
        mask: Steps that count, bool [time, batch]; at the others the state is set to zero. Needed only where padding comes
            before the sequence, as when it is read backwards.

    Source:
        Elman 1990; Hochreiter and Schmidhuber 1997; Cho et al. 2014, https://arxiv.org/abs/1406.1078 (with the reset gate
        after the product, as in cuDNN and PyTorch).
    """
    return _unroll(cell, driven, None if mask is None else mask[:, :, None])


def _forward(cell: Cell, driven: Driven, mask: Array | None) -> tuple[Carry, Any]:
    """Carried arrays and what was saved, of all steps."""

    def body(carry: Carry, now: Any) -> tuple[Carry, Any]:
        x, is_counted, nudge = now
        v = carry[0] @ driven.kernel
        v = v if driven.inner is None else v + driven.inner[None, :]
        after, saved = cell.step(carry, x, v, jnp.tanh)
        after = _finish(after, is_counted, nudge)
        return after, (after, saved)

    start = _zeros(cell, driven)
    return lax.scan(body, start, (driven.inputs, mask, driven.nudge))[1]


def _finish(carry: Carry, is_counted: Array | None, nudge: Array | None) -> Carry:
    if is_counted is not None:
        carry = tuple(jnp.where(is_counted, array, 0.0) for array in carry)
    return carry if nudge is None else (carry[0] + nudge, *carry[1:])


def _zeros(cell: Cell, driven: Driven) -> Carry:
    shape = (driven.inputs.shape[1], driven.kernel.shape[0])
    return (jnp.zeros(shape, driven.inputs.dtype),) * cell.num_carried


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _unroll(cell: Cell, driven: Driven, mask: Array | None) -> Array:
    return _forward(cell, driven, mask)[0][0]


@_unroll.defjvp
def _unroll_jvp(cell: Cell, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (driven, mask), d_driven = primals, tangents[0]
    carries, saved = _forward(cell, driven, mask)
    start = _zeros(cell, driven)
    before = tuple(jnp.concatenate([s[None], c[:-1]]) for s, c in zip(start, carries, strict=True))
    # One product of matrices: left as a batch of them, its transpose takes half as long again.
    d_v = (before[0].reshape(-1, before[0].shape[-1]) @ d_driven.kernel).reshape(
        d_driven.inputs.shape
    )
    d_v = d_v if d_driven.inner is None else d_v + d_driven.inner[None, None, :]
    d_x, d_v = cell.join(d_driven.inputs, d_v)

    # Recomputed step by step on the way back, the slopes never leave the cache.
    @partial(jax.checkpoint, prevent_cse=False)
    def body(d: Carry, now: Any) -> tuple[Carry, Array]:
        before, saved, is_counted, d_x, d_v, d_nudge = now
        slopes = cell.slopes(before, saved)
        if is_counted is not None:
            slopes = tuple(jnp.where(is_counted, slope, 0.0) for slope in slopes)
        d = cell.linear(d, slopes, d_x, d_v + d[0] @ driven.kernel)
        d = _finish(d, None, d_nudge)
        return d, d[0]

    states = lax.scan(body, start, (before, saved, mask, d_x, d_v, d_driven.nudge))[1]
    return carries[0], states


class Scales(NamedTuple):
    """What layer normalisation learns inside a cell: factors of x and v [gates], and factor and shift of the memory [unit]."""

    x: Array | None
    v: Array
    memory: Array | None = None
    shift: Array | None = None


def unroll_normalised(
    cell: Cell, driven: Driven, scales: Scales, *, bias: Array, mask: Array | None = None
) -> Array:
    """`unroll` with layer normalisation inside of the cell, at every step.

    The vanilla cell normalises the sum W x + U h; GRU and LSTM normalise both terms on their own (the GRU its candidate apart
    from its gates), and the LSTM its memory before tanh too.

    Args:
        cell: Kind of cell.
        driven: Inputs without a bias, and weights.
        scales: What is learned.
        bias: Added after normalisation, [gates].
        mask: As in `unroll`.

    Source:
        Ba, Kiros and Hinton 2016, https://arxiv.org/abs/1607.06450, equation 4 and the supplement.
    """
    is_joint = scales.x is None
    inputs = driven.inputs
    if scales.x is not None:
        inputs = _normalised(cell, inputs, scales.x[None, None, :]) + bias[None, None, :]

    def squash(c: Array) -> Array:
        if scales.memory is None or scales.shift is None:
            return jnp.tanh(c)
        return jnp.tanh(standardised(c) * scales.memory[None, :] + scales.shift[None, :])

    def body(carry: Carry, now: Any) -> tuple[Carry, Array]:
        x, is_counted, nudge = now
        v = carry[0] @ driven.kernel
        if is_joint:
            x, v = bias[None, :], _normalised(cell, x + v, scales.v[None, :])
        else:
            v = _normalised(cell, v, scales.v[None, :])
        v = v if driven.inner is None else v + driven.inner[None, :]
        after = _finish(cell.step(carry, x, v, squash)[0], is_counted, nudge)
        return after, after[0]

    wide = None if mask is None else mask[:, :, None]
    states: Array = lax.scan(body, _zeros(cell, driven), (inputs, wide, driven.nudge))[1]
    return states


def _normalised(cell: Cell, x: Array, scale: Array) -> Array:
    """Blocks of gates, each standardised on its own, times the factors."""
    unit = x.shape[-1] // cell.num_gates
    ends = [unit * sum(cell.blocks[: place + 1]) for place in range(len(cell.blocks) - 1)]
    blocks = jnp.split(x, ends, axis=-1)
    return jnp.concatenate([standardised(block) for block in blocks], axis=-1) * scale


def standardised(x: Array, *, eps: float = 1e-5) -> Array:
    """Mean 0 and variance 1 over the last axis."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    return centred * lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + eps)
