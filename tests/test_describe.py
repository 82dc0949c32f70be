"""`lanework describe`: counts of layers against counts by hand."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import lanework
from lanework import models
from lanework.models.base import Network
from lanework.models.describe import BETWEEN, layer_facts
from tests.helpers import lanework as command


def network(net: str, shape: tuple[int, ...], *, module: Any = None, **options: object) -> Network:
    is_image = len(shape) == 3
    inputs = SimpleNamespace(
        shape=shape,
        num_numeric=0 if is_image else shape[0],
        cardinalities=(),
        grid=(),
        kind="image" if is_image else "table",
        vocabulary=0,
        is_stepwise=False,
    )
    return models.network(
        SimpleNamespace(net=net, options=options),
        input=inputs,
        num_outputs=10,
        module=module,
        example=np.zeros((2, *shape), np.float32),
    )


def table(net: Network, shape: tuple[int, ...]) -> dict[str, tuple[Any, int, int]]:
    rows = layer_facts(net, shape, jnp.float32)
    return {row.name: (row.output, row.num_params, row.multiply_adds) for row in rows}


def test_an_mlp() -> None:
    found = table(network("mlp", (64,), hidden=(32, 16), norm="layer"), (64,))
    assert found == {
        "dense_0": ((32,), 64 * 32 + 32, 64 * 32),
        "dense_0_norm": ((32,), 64, 0),
        "dense_1": ((16,), 32 * 16 + 16, 32 * 16),
        "dense_1_norm": ((16,), 32, 0),
        "output": ((10,), 16 * 10 + 10, 16 * 10),
    }


def test_a_small_convolutional_network() -> None:
    found = table(network("cnn", (28, 28, 1), channels=(32, 64), dense=(128,)), (28, 28, 1))
    counts = {name: row[1:] for name, row in found.items()}
    assert counts == {
        "conv_0": (3 * 3 * 1 * 32 + 32, 28 * 28 * 3 * 3 * 1 * 32),
        "conv_1": (3 * 3 * 32 * 64 + 64, 14 * 14 * 3 * 3 * 32 * 64),
        "dense_0": (7 * 7 * 64 * 128 + 128, 7 * 7 * 64 * 128),
        "output": (128 * 10 + 10, 128 * 10),
    }


def test_resnet_20() -> None:
    """The figure of the literature, 41 M multiply-adds and 0.27 M parameters, and its terms one by one."""
    rows = layer_facts(network("resnet", (32, 32, 3), depth=20), (32, 32, 3), jnp.float32)
    by_hand = 32 * 32 * 9 * 3 * 16 + 6 * 32 * 32 * 9 * 16 * 16
    by_hand += 16 * 16 * 9 * (16 * 32 + 5 * 32 * 32) + 16 * 16 * 16 * 32
    by_hand += 8 * 8 * 9 * (32 * 64 + 5 * 64 * 64) + 8 * 8 * 32 * 64 + 64 * 10
    assert sum(row.multiply_adds for row in rows) == by_hand
    assert 0.26e6 < sum(row.num_params for row in rows) < 0.28e6
    assert rows[0].name == "stem"


class Attention(nnx.Module):
    """Two projections, a product of values with values, and a shared layer that is used twice."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(6, 8, rngs=rngs)
        self.twice = nnx.Linear(8, 8, rngs=rngs)
        self.last = nnx.Linear(8, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        steps = jax.nn.relu(self.first(x[:, None, :] * jnp.ones((1, 5, 1))))
        steps = self.twice(self.twice(steps))
        scores = steps @ steps.transpose(0, 2, 1)
        return self.last((jax.nn.softmax(scores) @ steps).mean(axis=1))


def test_an_own_module_and_products_without_parameters() -> None:
    found = table(network("<object>", (6,), module=Attention), (6,))
    counts = {name: row[1:] for name, row in found.items()}
    assert counts == {
        "first": (6 * 8 + 8, 5 * 6 * 8),
        "twice": (8 * 8 + 8, 2 * 5 * 8 * 8),
        "last": (8 * 10 + 10, 8 * 10),
        BETWEEN: (0, 2 * 5 * 5 * 8),
    }


class Loop(nnx.Module):
    """A recurrent layer as a scan over 7 steps."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.cell = nnx.Linear(4, 4, rngs=rngs)
        self.last = nnx.Linear(4, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, bias = self.cell.kernel[...], self.cell.bias[...]
        step = lambda carry, _: (jnp.tanh(carry @ kernel + bias[None, :]), None)
        return self.last(jax.lax.scan(step, x, None, length=7)[0])


def test_a_loop_counts_as_often_as_it_runs() -> None:
    found = table(network("<object>", (4,), module=Loop), (4,))
    assert found["cell"][1:] == (20, 7 * 16)
    assert found["last"][1:] == (50, 40)


STUDY = """
study: two
data: {source: digits, limit_rows: 200}
model: {net: mlp, hidden: [8]}
train: {batch_size: 32}
compare: {optimizer: [sgd, adam], learning_rate: [0.01, 0.1]}
"""


def test_the_command_and_its_json(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    said = command("describe", "study.yaml", folder=tmp_path)
    assert said.returncode == 0, said.stderr
    assert "two: 1 network in 2 programs" in said.stdout
    assert "mlp: input 64, 10 outputs" in said.stdout
    assert "dense_0  kernel 64 x 8, bias 8 " in said.stdout
    total = next(line for line in said.stdout.splitlines() if line.startswith("  total"))
    assert total.split() == ["total", "610", "592"]
    told = command("describe", "study.yaml", "--json", folder=tmp_path)
    networks = json.loads(told.stdout)["networks"]
    assert [network["num_params"] for network in networks] == [610, 610]
    assert networks[0]["layers"][0]["weights"] == {"kernel": [64, 8], "bias": [8]}
    sgd, adam = (network["memory"] for network in networks)
    assert sgd["weights"] == adam["weights"] == 4 * 610
    assert sgd["optimizer"] < 100
    assert adam["optimizer"] == pytest.approx(2 * 4 * 610, abs=100)
    assert adam["total"] > sgd["total"] > 3 * sgd["weights"] + sgd["activations"]


def test_from_python_with_a_class() -> None:
    study = lanework.Study(
        data=(np.random.default_rng(0).normal(size=(60, 6)), np.arange(60) % 3), model=Attention
    )
    with pytest.raises(lanework.errors.SpecError, match="must give outputs of shape"):
        study.describe()  # the module's ten outputs do not fit three classes

    class Fitting(nnx.Module):
        def __init__(self, num_outputs: int, rngs: nnx.Rngs) -> None:
            self.only = nnx.Linear(6, num_outputs, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.only(x)

    found = lanework.Study(
        data=(np.random.default_rng(0).normal(size=(60, 6)), np.arange(60) % 3), model=Fitting
    ).describe()
    assert found.networks[0].net == "Fitting"
    assert found.networks[0].multiply_adds == 18
    assert str(found).startswith("study: 1 network in 1 program\n")
