"""Recurrent networks: `rnn`, `gru` and `lstm`, for a label per sequence, a forecast, or an output for each step.

Must not import `lanework.recipes`, `lanework.data` or anything above; imports no Flax. The arithmetic is in `cells`, what
the networks share with `transformer` in `sequences`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lanework.models import cells, parts, sequences
from lanework.models.base import Array, Call, Input, ModelSpec, Network, Params, option, refuse
from lanework.models.cells import Cell, Driven, Scales
from lanework.models.sequences import Stage, Steps

REVERSE = "_reverse"
RECURRENT = "recurrent_kernel"


def rnn(spec: ModelSpec, *, input: Input, num_outputs: int) -> Network:
    """Vanilla recurrent network, h_t = act(W x_t + U h_{t-1} + b).

    Its gradient is multiplied by diag(act') U^T at each step back, so that it fades or explodes over long sequences.

    Args:
        spec: Options of the catalogue row `rnn`.
        input: What comes in: tokens or a series.
        num_outputs: Outputs that the data needs, unless the spec says another number.

    Returns:
        The pure functions.

    Source:
        Elman 1990, Finding structure in time; with ReLU and the identity at the start Le, Jaitly and Hinton 2015,
        https://arxiv.org/abs/1504.00941.
    """
    return _network(spec, str(option(spec, "activation")), input=input, num_outputs=num_outputs)


def gru(spec: ModelSpec, *, input: Input, num_outputs: int) -> Network:
    """Gated recurrent unit, h_t = (1 - z) n + z h_{t-1}; arguments as for `rnn`.

    r, z = sigmoid(W x_t + U h_{t-1} + b), n = tanh(W_n x_t + b_n + r (U_n h_{t-1} + b_u)).

    Source:
        Cho et al. 2014, https://arxiv.org/abs/1406.1078, with the reset gate after the product as in cuDNN and PyTorch.
    """
    return _network(spec, "gru", input=input, num_outputs=num_outputs)


def lstm(spec: ModelSpec, *, input: Input, num_outputs: int) -> Network:
    """Long short-term memory, c_t = f c_{t-1} + i g, h_t = o tanh(c_t); arguments as for `rnn`.

    i, f, o = sigmoid(W x_t + U h_{t-1} + b), g = tanh(W_g x_t + U_g h_{t-1} + b_g).

    Source:
        Hochreiter and Schmidhuber 1997; the forget gate Gers, Schmidhuber and Cummins 2000.
    """
    return _network(spec, "lstm", input=input, num_outputs=num_outputs)


def _network(spec: ModelSpec, kind: str, *, input: Input, num_outputs: int) -> Network:
    is_two_way = bool(option(spec, "bidirectional"))
    if is_two_way and input.is_stepwise:
        refuse(
            "model.bidirectional",
            "must be false where each step has a target, got true: read backwards, a step has already seen what it is to "
            "foretell. Use bidirectional: false.",
        )
    embedding = int(option(spec, "embedding"))
    first = sequences.reader(spec, input, width=embedding, is_time_first=True)
    size = embedding if input.kind == "tokens" else int(input.shape[-1])
    stages: list[Stage] = []
    for index, width in enumerate(int(width) for width in option(spec, "hidden")):
        name = f"{spec.net}_{index}"
        plan = _Plan(kind, (size, width), spec)
        stages += [_stage(plan, name, is_two_way=is_two_way), sequences.dropped(f"{name}_dropout")]
        size = 2 * width if is_two_way else width
    how = str(option(spec, "pooling"))

    def readout(steps: Steps) -> Array:
        values = steps.features()
        if input.is_stepwise:
            return jnp.swapaxes(values, 0, 1)
        if how == "last" and is_two_way:  # read backwards, the last state stands at the first step
            there, back = jnp.split(values, 2, axis=-1)
            ends = [
                sequences.pooled(part, steps.mask, how=end)
                for part, end in ((there, "last"), (back, "first"))
            ]
            return jnp.concatenate(ends, axis=-1)
        return sequences.pooled(values, steps.mask, how=how)

    output = sequences.output_stage(spec, size, num_outputs=num_outputs)
    return sequences.join(first, stages, output, readout=readout)


class _Plan(NamedTuple):
    """A recurrent layer: kind of cell, inputs and units, options."""

    kind: str
    sizes: tuple[int, int]
    spec: ModelSpec

    def cell(self) -> Cell:
        return cells.CELLS[self.kind]

    def is_normalised(self) -> bool:
        return bool(option(self.spec, "layer_norm"))


def _stage(plan: _Plan, name: str, *, is_two_way: bool) -> Stage:
    """One layer, in one direction or in both side by side."""
    names = (name, name + REVERSE) if is_two_way else (name,)

    def apply(params: Params, steps: Steps, call: Call) -> Steps:
        found = [
            _states(plan, params[own], steps, is_reverse=own.endswith(REVERSE)) for own in names
        ]
        for own, states in zip(names, found, strict=True):
            sequences.tap(call, own, lambda states=states: states, is_time_first=True)  # type: ignore[misc]
            if plan.kind in parts.ACTIVATIONS:
                after = f"{own}_activation"
                sequences.tap(call, after, lambda states=states: states, is_time_first=True)  # type: ignore[misc]
        values = jnp.concatenate(found, axis=-1) if is_two_way else found[0]
        return Steps(values, steps.mask)

    return Stage(dict.fromkeys(names, lambda key: _make(plan, key)), apply)


def _states(plan: _Plan, params: Params, steps: Steps, *, is_reverse: bool) -> Array:
    """Hidden states of a layer [time, batch, unit], each at the step it was read at."""
    cell, width = plan.cell(), plan.sizes[1]
    # A normalised cell adds its bias after normalisation, within the cell.
    bias = params["bias"][: cell.num_gates * width]
    inputs = steps.times(params["kernel"], None if plan.is_normalised() else bias)
    inner = None
    if plan.kind == "gru":  # its second bias, which the reset gate multiplies too
        inner = jnp.concatenate([jnp.zeros_like(bias[: 2 * width]), params["bias"][3 * width :]])
    # Padding stands at the end: read forwards, nothing that counts comes after it.
    mask = None
    if is_reverse:
        inputs, mask = inputs[::-1], steps.mask[::-1]
    driven = Driven(inputs, params[RECURRENT], inner, params.get("nudge"))
    if plan.is_normalised():
        scales = _scales(plan, params)
        states = cells.unroll_normalised(cell, driven, scales, bias=bias, mask=mask)
    else:
        states = cells.unroll(cell, driven, mask=mask)
    return states[::-1] if is_reverse else states


def _scales(plan: _Plan, params: Params) -> Scales:
    size = plan.cell().num_gates * plan.sizes[1]
    scale = params["scale"]
    if plan.kind in parts.ACTIVATIONS:
        return Scales(None, scale)
    if plan.kind == "gru":
        return Scales(scale[:size], scale[size:])
    return Scales(scale[:size], scale[size : 2 * size], scale[2 * size :], params["bias"][size:])


def _make(plan: _Plan, key: Array) -> Params:
    """Weights of a layer; each gate is drawn on its own, as the matrix it is."""
    spec, (size, width), cell = plan.spec, plan.sizes, plan.cell()
    activation = plan.kind if plan.kind in parts.ACTIVATIONS else "tanh"
    start = parts.initializer(option(spec, "init"), activation=activation)
    again = _recurrent_init(str(option(spec, "recurrent_init")), start)
    keys = jax.random.split(key, (2, cell.num_gates))
    kernel = [start(own, (size, width)) for own in keys[0]]
    recurrent = [again(own, (width, width)) for own in keys[1]]
    bias = [jnp.zeros((width,))] * cell.num_gates
    num_scales = 0
    if plan.kind == "lstm":
        bias[1] = jnp.full((width,), float(option(spec, "forget_bias")))
        num_scales = 9
        bias += [jnp.zeros((width,))] if plan.is_normalised() else []
    elif plan.kind == "gru":
        bias, num_scales = [*bias, jnp.zeros((width,))], 6
    params = {
        "kernel": jnp.concatenate(kernel, axis=1),
        RECURRENT: jnp.concatenate(recurrent, axis=1),
        "bias": jnp.concatenate(bias),
    }
    if plan.is_normalised():
        params["scale"] = jnp.ones((max(1, num_scales) * width,))
    return params


def _recurrent_init(name: str, as_inputs: parts.Init) -> parts.Init:
    if name == "identity":
        return lambda key, shape: jnp.eye(shape[0])
    if name == "orthogonal":
        return parts.initializer({"name": "orthogonal", "gain": 1.0}, activation="identity")
    return as_inputs


def gradient_over_time(
    net: Network,
    params: Params,
    x: Array,
    loss: Callable[[Array], Array],
    *,
    hypers: Mapping[str, Any] | None = None,
) -> dict[str, Array]:
    """Norm of the gradient of the loss with respect to the hidden state of each step.

    Computes ||dL / dh_t||_2 over the units, for each sample on its own, and the mean over the samples. Where it falls by
    orders of magnitude from the last step back to the first, what happened early cannot be learned (vanishing gradient).

    Args:
        net: A network with recurrent layers.
        params: Its weights.
        x: Samples [batch, ...].
        loss: `outputs -> [batch]`, the loss of each sample.
        hypers: Hyperparameters of the network; none by default.

    Returns:
        For each recurrent layer by name (a second one with `_reverse` where it is read backwards too), [time]. Padded steps
        count as zero.

    Source:
        Bengio, Simard and Frasconi 1994; Pascanu, Mikolov and Bengio 2013, https://arxiv.org/abs/1211.5063.
    """
    names = [name for name in net.layer_names if RECURRENT in params[name]]

    def total(nudges: Mapping[str, Array]) -> Array:
        nudged = {name: {**own, **nudges.get(name, {})} for name, own in params.items()}  # type: ignore[dict-item]
        outputs, _ = net.apply(nudged, {}, x, key=None, is_training=False, hypers=hypers or {})
        return jnp.sum(loss(outputs))

    still = {}
    for name in names:
        kernel = params[name][RECURRENT]
        shape = (x.shape[1], x.shape[0], kernel.shape[0])
        still[name] = {"nudge": jnp.zeros(shape, kernel.dtype)}
    found = {}
    for name, grads in jax.grad(total)(still).items():
        norms = jnp.linalg.norm(grads["nudge"], axis=-1).mean(axis=1)
        found[name] = norms[::-1] if name.endswith(REVERSE) else norms
    return found
