"""Recurrent layers and transformer blocks against PyTorch on the same weights: outputs and gradients, float64."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import models
from tests.contracts.probes import Input, model

torch = pytest.importorskip("torch")

BATCH, TIME, CHANNELS, UNITS = 5, 7, 3, 4
LENGTHS = (7, 4, 6, 1, 7)
SERIES = Input(shape=(TIME, CHANNELS), num_numeric=0, kind="series")
BY_STEP = Input(shape=(TIME, CHANNELS), num_numeric=0, kind="series", is_stepwise=True)
AGREEMENT = 1e-10


@pytest.fixture(autouse=True)
def in_float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def series(*, is_padded: bool) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(BATCH, TIME, CHANNELS))
    for sample, length in enumerate(LENGTHS if is_padded else ()):
        x[sample, length:] = np.nan
    return x


def weights(net: models.Network) -> Any:
    """Weights of which none is zero, float64."""
    draw = np.random.default_rng(1)
    params, _ = net.init(jax.random.key(0))
    return jax.tree.map(lambda a: jnp.asarray(a + 0.1 * draw.normal(size=a.shape)), params)


def outputs_and_gradients(net: models.Network, params: Any, x: np.ndarray) -> tuple[Any, Any]:
    def total(params: Any) -> tuple[jax.Array, jax.Array]:
        outputs, _ = net.apply(params, {}, jnp.asarray(x), is_training=True, hypers={})
        return jnp.sum(jnp.sin(outputs)), outputs

    grads, outputs = jax.jit(jax.grad(total, has_aux=True))(params)
    return np.asarray(outputs), jax.tree.map(np.asarray, grads)


def tensor(value: Any) -> Any:
    return torch.tensor(np.array(value).T.copy())


close = partial(np.testing.assert_allclose, rtol=AGREEMENT, atol=AGREEMENT)


def put(module: Any, ending: str, own: Any, *, kind: str) -> None:
    """Our weights into a layer of PyTorch, which has a second bias that only the GRU needs."""
    bias = np.array(own["bias"])
    inner = np.zeros_like(bias)
    if kind == "gru":
        inner = np.concatenate([np.zeros(2 * UNITS), bias[3 * UNITS :]])
        bias = bias[: 3 * UNITS]
    with torch.no_grad():
        getattr(module, f"weight_ih_{ending}").copy_(tensor(own["kernel"]))
        getattr(module, f"weight_hh_{ending}").copy_(tensor(own["recurrent_kernel"]))
        getattr(module, f"bias_ih_{ending}").copy_(torch.tensor(bias))
        getattr(module, f"bias_hh_{ending}").copy_(torch.tensor(inner))


def gradients_of(module: Any, ending: str, *, kind: str) -> dict[str, np.ndarray]:
    grad = lambda name: getattr(module, f"{name}_{ending}").grad.numpy()
    bias = grad("bias_ih")
    if kind == "gru":
        bias = np.concatenate([bias, grad("bias_hh")[2 * UNITS :]])
    return {
        "kernel": grad("weight_ih").T,
        "recurrent_kernel": grad("weight_hh").T,
        "bias": bias,
    }


@pytest.mark.parametrize("is_two_way", [False, True], ids=["forwards", "both ways"])
@pytest.mark.parametrize("kind", ["tanh", "relu", "gru", "lstm"])
def test_two_recurrent_layers_of_sequences_of_different_length(kind: str, is_two_way: bool):
    net = kind if kind in ("gru", "lstm") else "rnn"
    options = {"activation": kind} if net == "rnn" else {}
    spec = model(net, hidden=(UNITS, UNITS), bidirectional=is_two_way, **options)
    built = models.network(spec, input=SERIES, num_outputs=2)
    params, x = weights(built), series(is_padded=True)
    outputs, grads = outputs_and_gradients(built, params, x)

    made = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[net]
    extra = {"nonlinearity": kind} if net == "rnn" else {}
    module = made(CHANNELS, UNITS, 2, batch_first=True, bidirectional=is_two_way, **extra).double()
    names = {f"{net}_{layer}": f"l{layer}" for layer in range(2)}
    if is_two_way:
        names |= {f"{name}_reverse": f"{end}_reverse" for name, end in names.items()}
    for name, ending in names.items():
        put(module, ending, params[name], kind=kind)
    head = torch.nn.Linear(UNITS * (1 + is_two_way), 2).double()
    with torch.no_grad():
        head.weight.copy_(tensor(params["output"]["kernel"]))
        head.bias.copy_(tensor(params["output"]["bias"]))
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.tensor(np.nan_to_num(x)),
        torch.tensor(LENGTHS),
        batch_first=True,
        enforce_sorted=False,
    )
    _, last = module(packed)
    last = last[0] if net == "lstm" else last
    found = head(torch.cat([last[-2], last[-1]], dim=1) if is_two_way else last[-1])
    torch.sin(found).sum().backward()

    close(outputs, found.detach().numpy())
    for name, ending in names.items():
        jax.tree.map(close, grads[name], gradients_of(module, ending, kind=kind))
    close(grads["output"]["kernel"], head.weight.grad.numpy().T)


@pytest.mark.parametrize("is_norm_first", [True, False], ids=["norm first", "norm after"])
@pytest.mark.parametrize("is_causal", [False, True], ids=["all steps", "by step"])
def test_transformer_blocks(is_causal: bool, is_norm_first: bool):
    width, heads = 8, 2
    spec = model(
        "transformer",
        layers=1,
        width=width,
        heads=heads,
        expansion=3,
        activation="relu",
        positions="none",
        norm_position="before" if is_norm_first else "after",
    )
    input = BY_STEP if is_causal else SERIES
    built = models.network(spec, input=input, num_outputs=2)
    params, x = weights(built), series(is_padded=not is_causal)
    outputs, grads = outputs_and_gradients(built, params, x)

    block = torch.nn.TransformerEncoderLayer(
        width, heads, 3 * width, 0.0, "relu", batch_first=True, norm_first=is_norm_first
    ).double()
    places = {
        ("attention_0", "kernel"): block.self_attn.in_proj_weight,
        ("attention_0", "bias"): block.self_attn.in_proj_bias,
        ("attention_0_output", "kernel"): block.self_attn.out_proj.weight,
        ("attention_0_output", "bias"): block.self_attn.out_proj.bias,
        ("feed_0", "kernel"): block.linear1.weight,
        ("feed_0", "bias"): block.linear1.bias,
        ("feed_0_output", "kernel"): block.linear2.weight,
        ("feed_0_output", "bias"): block.linear2.bias,
        ("attention_0_norm", "scale"): block.norm1.weight,
        ("attention_0_norm", "bias"): block.norm1.bias,
        ("feed_0_norm", "scale"): block.norm2.weight,
        ("feed_0_norm", "bias"): block.norm2.bias,
    }
    embed, head = torch.nn.Linear(CHANNELS, width).double(), torch.nn.Linear(width, 2).double()
    for name, layer in (("embed", embed), ("output", head)):
        places |= {(name, "kernel"): layer.weight, (name, "bias"): layer.bias}
    norm = torch.nn.LayerNorm(width).double() if is_norm_first else torch.nn.Identity()
    if is_norm_first:
        places |= {("norm", "scale"): norm.weight, ("norm", "bias"): norm.bias}
    with torch.no_grad():
        for (layer, leaf), parameter in places.items():
            parameter.copy_(tensor(params[layer][leaf]))
    is_padding = torch.tensor(np.isnan(x[:, :, 0]))
    mask = torch.nn.Transformer.generate_square_subsequent_mask(TIME).double()
    found = block(
        embed(torch.tensor(np.nan_to_num(x))),
        src_mask=mask if is_causal else None,
        src_key_padding_mask=None if is_causal else is_padding,
    )
    found = norm(found)
    if not is_causal:
        counts = (~is_padding).sum(1, keepdim=True)
        found = torch.where(is_padding[:, :, None], 0.0, found).sum(1) / counts
    found = head(found)
    torch.sin(found).sum().backward()

    close(outputs, found.detach().numpy())
    for (layer, leaf), parameter in places.items():
        close(grads[layer][leaf], parameter.grad.numpy().T)


def test_attention_is_that_of_pytorch():
    from lanework.models.transformer import attend

    draw = np.random.default_rng(0)
    query, key, value = draw.normal(size=(3, 2, 6, 3, 4))
    allowed = np.tril(np.ones((6, 6), bool))[None, None]
    found = attend(jnp.asarray(query), jnp.asarray(key), jnp.asarray(value), allowed=jnp.asarray(allowed))  # fmt: skip
    heads_first = [torch.tensor(array).transpose(1, 2) for array in (query, key, value)]
    wanted = torch.nn.functional.scaled_dot_product_attention(*heads_first, is_causal=True)
    close(found, wanted.transpose(1, 2).numpy())
