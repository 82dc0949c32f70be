"""Where weights start, for any network of the catalogue: single layers by path, biases, scaling on a batch of the data.

Owns what the options `init_by_path`, `hidden_bias` and `output_bias` do, and the initialisers that look at data. Works on
the finished network: layers need not know of it. Must not import `lanework.recipes`, `lanework.data` or anything above.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lanework.models import inits, norms
from lanework.models.base import (
    Array,
    ModelSpec,
    Network,
    Params,
    State,
    Taps,
    layer_key,
    option,
    pick,
    refuse,
)

OUTPUT = "output"
NO_DATA = "must be given a batch of the data, got none. Give example=... with at least 2 samples."
_TINY = 1e-12  # variance below which a layer gives nothing to scale


def started(
    net: Network,
    spec: ModelSpec,
    *,
    example: np.ndarray | None = None,
    output_bias: np.ndarray | None = None,
) -> Network:
    """The network with its weights started as the options say.

    Args:
        net: The network; its own `init` draws what `init` and the activation ask for.
        spec: Options of the network.
        example: Prepared training samples [n, *shape], at least 2, for the initialisers that look at data.
        output_bias: Where the bias of the output layer starts, [num_outputs]; not given: 0.

    Returns:
        The network, unchanged where nothing is asked for.

    Raises:
        SpecError: A pattern fits no layer, or an option asks for something that the network does not have.
    """
    rules = dict(_given(spec, "init_by_path") or {})
    hidden = float(_given(spec, "hidden_bias") or 0.0)
    if not (rules or hidden or output_bias is not None or needs_data(spec)):
        return net
    shapes, _ = jax.eval_shape(net.init, jax.random.key(0))
    _check(shapes, rules=rules, has_output_bias=output_bias is not None)
    methods = _methods(spec, shapes, rules)

    def init(key: Array) -> tuple[Params, State]:
        params, state = net.init(key)
        params = _drawn_anew(spec, params, key, rules=rules)
        if methods:
            params = fitted(net, params, state, example=example, methods=methods)
        if hidden:
            params = {name: _biased(name, own, hidden) for name, own in params.items()}
        if output_bias is not None:
            last = params[OUTPUT]
            bias = jnp.asarray(output_bias, last["bias"].dtype).reshape(last["bias"].shape)
            params = {**params, OUTPUT: {**last, "bias": bias}}
        return params, state

    return net._replace(init=init)


def needs_data(spec: ModelSpec) -> bool:
    """Whether some layer starts from a batch of the data."""
    chosen = [_given(spec, "init"), *dict(_given(spec, "init_by_path") or {}).values()]
    return any(item and pick("init", item)[0] in inits.FROM_DATA for item in chosen)


def _given(spec: ModelSpec, name: str) -> Any:
    """An option of the network; None for a network that has no such option."""
    return spec.options[name] if name in spec.options else _default(spec, name)


def _default(spec: ModelSpec, name: str) -> Any:
    try:
        return option(spec, name)
    except KeyError:
        return None


def _fits(pattern: str, layer: str, leaf: str) -> bool:
    return fnmatchcase(layer, pattern) or fnmatchcase(f"{layer}/{leaf}", pattern)


def _rule_for(rules: Mapping[str, Any], layer: str, leaf: str) -> Any:
    """The initialiser of the first pattern that fits, None where none does."""
    return next((item for pattern, item in rules.items() if _fits(pattern, layer, leaf)), None)


def _weights_of(params: Params) -> list[tuple[str, str]]:
    """Layer and name of all weights (arrays with an input and an output axis)."""
    return [
        (layer, leaf)
        for layer, own in params.items()
        for leaf, value in own.items()
        if value.ndim >= 2
    ]


def _check(shapes: Params, *, rules: Mapping[str, Any], has_output_bias: bool) -> None:
    weights = _weights_of(shapes)
    for pattern in rules:
        if not any(_fits(pattern, *weight) for weight in weights):
            known = ", ".join(dict.fromkeys(layer for layer, _ in weights))
            refuse(
                "model.init_by_path",
                f"must have patterns that fit a layer, got {pattern!r}. The network has {known}.",
            )
    if has_output_bias and "bias" not in shapes.get(OUTPUT, {}):
        refuse(
            "model.output_bias",
            "must go with a network whose last layer is named output and has a bias, got one without. Use zero.",
        )


def _methods(spec: ModelSpec, shapes: Params, rules: Mapping[str, Any]) -> dict[str, str]:
    """Layers that are scaled on data, and how."""
    found = {}
    for layer, leaf in _weights_of(shapes):
        if leaf != "kernel":
            continue
        name = pick("init", _rule_for(rules, layer, leaf) or _given(spec, "init"))[0]
        if name in inits.FROM_DATA:
            found[layer] = name
    return found


def _drawn_anew(spec: ModelSpec, params: Params, key: Array, *, rules: Mapping[str, Any]) -> Params:
    """Weights that a pattern fits, drawn by its initialiser with the key that the layer has anyway."""
    after = dict(params)
    for layer, leaf in _weights_of(params) if rules else ():
        choice = _rule_for(rules, layer, leaf)
        if choice is None:
            continue
        activation = _given(spec, "activation") or "identity"
        make = inits.initializer(choice, activation=activation, is_output=layer == OUTPUT)
        own_key = layer_key(key, layer)
        own_key = own_key if leaf == "kernel" else layer_key(own_key, leaf)
        drawn = {leaf: make(own_key, params[layer][leaf].shape)}
        if "gain" in params[layer] and leaf == "kernel":
            drawn = norms.weight_form(_given(spec, "norm")).make(drawn[leaf])
        after[layer] = {**after[layer], **drawn}
    return after


def _biased(name: str, own: Params, value: float) -> Params:
    """The layer with its bias at a value, where it is a hidden one with weights and a bias."""
    if name == OUTPUT or "bias" not in own or "kernel" not in own:
        return own
    return {**own, "bias": own["bias"] + value}


def fitted(
    net: Network,
    params: Params,
    state: State,
    *,
    example: np.ndarray | None,
    methods: Mapping[str, str],
) -> Params:
    """Scale weights so that layers give variance 1 on a batch, in one forward pass.

    What a layer gives is linear in its weights while its bias is 0, so scaling its outputs on their way is scaling its
    weights: each layer sees what the scaled ones before it give. `lsuv` divides a layer by the deviation of all its
    outputs; `data_dependent` each unit by its own, and shifts its bias so that its mean is 0 (where it has a bias).

    Args:
        net: The network.
        params: Weights as drawn, biases 0.
        state: Its state.
        example: Samples [n, *shape], at least 2.
        methods: Layer to `lsuv` or `data_dependent`.

    Returns:
        The weights.

    Raises:
        SpecError: There is no batch, or a layer is not seen by the taps of the network.

    Source:
        Mishkin and Matas 2015, https://arxiv.org/abs/1511.06422; Kraehenbuehl et al. 2015, https://arxiv.org/abs/1511.06856,
        algorithm 1.
    """
    if example is None or len(example) < 2:
        refuse("model.init", NO_DATA)
    found: dict[str, tuple[Array, Array]] = {}

    def change(name: str, x: Array) -> Array:
        if name not in methods:
            return x
        is_by_unit = methods[name] == "data_dependent"
        axes = tuple(range(x.ndim - 1)) if is_by_unit else tuple(range(x.ndim))
        is_shifted = is_by_unit and "bias" in params[name]
        mean = jnp.mean(x, axes, keepdims=True)
        variance = jnp.mean(jnp.square(x - mean), axes, keepdims=True)
        factor = jnp.where(variance > _TINY, jax.lax.rsqrt(jnp.maximum(variance, _TINY)), 1.0)
        shift = -mean * factor if is_shifted else jnp.zeros_like(mean)
        found[name] = (factor.reshape(-1), shift.reshape(-1))
        return x * factor + shift

    x = jnp.asarray(example)
    net.apply(params, state, x, key=None, is_training=True, hypers={}, taps=Taps(change))
    if lacking := [name for name in methods if name not in found]:
        refuse(
            "model.init",
            f"{methods[lacking[0]]} must see what each layer gives, got a network that does not show {', '.join(lacking)}. "
            "Use another initialiser, or init_by_path for the other layers.",
        )
    return {name: _scaled(own, found.get(name)) for name, own in params.items()}


def _scaled(own: Params, found: tuple[Array, Array] | None) -> Params:
    if found is None:
        return own
    factor, shift = found
    scaled = "gain" if "gain" in own else "kernel"  # under a weight norm the length is the gain's
    after = {**own, scaled: own[scaled] * norms.along_last(factor, own[scaled])}
    return {**after, "bias": own["bias"] + shift} if "bias" in own else after
