"""Saturated values where no name of an activation tells the limits: own modules, own functions, gated cells."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from flax import nnx

import lanework
from lanework.api.diagnose import records
from lanework.health.limits import squashed

SOURCE = """
import jax
import jax.numpy as jnp
from flax import nnx

class Squashed(nnx.Module):
    def __init__(self, scale: float = 1.0, *, rngs: nnx.Rngs):
        start = nnx.initializers.normal(scale)
        self.first = nnx.Linear(30, 16, kernel_init=start, rngs=rngs)
        self.second = nnx.Linear(16, 16, rngs=rngs)
        self.output = nnx.Linear(16, 2, rngs=rngs)

    def __call__(self, x):
        x = jnp.tanh(self.first(x))
        x = jax.nn.relu(self.second(x))
        return jax.nn.softmax(20.0 * self.output(x))

def squash(x):
    return jnp.tanh(8.0 * x)
"""
TRAIN = {"epochs": 2, "batch_size": 32, "learning_rate": 1e-4}


def saturated(model: dict[str, object], folder: Path, data: object = None) -> dict[str, float]:
    """The last recorded share of each layer."""
    study = lanework.Study(
        study="s", data=data or {"source": "breast_cancer"}, model=model, train=TRAIN
    )
    results = study.run(folder=folder / "out", check=False)
    table = records(results.folder)[0].layer("saturated_share")
    return dict(zip(table.names, table.values[-1].tolist(), strict=True))


def test_functions_are_known_by_what_they_do_and_nothing_else_has_limits() -> None:
    def layers(x: jax.Array) -> dict[str, jax.Array]:
        return {
            "tanh": jnp.tanh(x).reshape(-1),
            "sigmoid": jax.nn.sigmoid(x).T,
            "within": jax.jit(lambda x: nnx.hard_tanh(x).astype(jnp.float16))(x),
            "through": jax.jit(lambda x: x)(jnp.tanh(x)),
            "own": jax.checkpoint(jax.lax.erf)(x),
            "relu": jax.nn.relu(x),
            "swish": jax.nn.swish(x),
            "gelu": jax.nn.gelu(x),
            "softmax": jax.nn.softmax(x),
            "clipped": jnp.clip(x, 0.0, 1.0),
            "kept": x,
            "sum": jnp.tanh(x) + x,
        }

    found = squashed(layers, jax.ShapeDtypeStruct((2, 3), jnp.float32))
    assert found == {
        "tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0), "within": (-1.0, 1.0), "through": (-1.0, 1.0),
        "own": (-1.0, 1.0),
    }  # fmt: skip


@pytest.mark.parametrize(("scale", "low", "high"), [(10.0, 0.9, 1.0), (0.05, 0.0, 0.05)])
def test_an_own_module_tells_its_saturated_share(
    tmp_path: Path, scale: float, low: float, high: float
) -> None:
    """`first` squashes; ReLU zeros of `second` and a softmax that is sure of itself are no saturation."""
    (tmp_path / "net.py").write_text(SOURCE)
    told = saturated({"net": f"{tmp_path / 'net.py'}:Squashed", "scale": scale}, tmp_path)
    assert low <= told["first"] <= high
    assert (told["second"], told["output"]) == (0.0, 0.0)


def test_an_own_function_tells_its_saturated_share(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(SOURCE)
    activation = f"{tmp_path / 'net.py'}:squash"
    told = saturated({"net": "mlp", "hidden": [16], "activation": activation}, tmp_path)
    assert told["dense_0"] > 0.5
    assert told["output"] == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("net", ["lstm", pytest.param("gru", marks=pytest.mark.slow)])
def test_gated_cells_are_squashed_by_tanh(tmp_path: Path, net: str) -> None:
    draw = np.random.default_rng(0)
    told = {}
    for name, scale in (("calm", 1.0), ("wild", 1e5)):
        folder = tmp_path / name
        folder.mkdir()
        when = pd.date_range("2020-01-01", periods=300).strftime("%Y-%m-%d")
        rows = pd.DataFrame({"day": when, "height": scale * draw.normal(size=300)})
        rows.to_csv(folder / "rows.csv", index=False)
        data = {
            "source": str(folder / "rows.csv"), "target": "height", "window": 6, "prepare": "none",
        }  # fmt: skip
        told[name] = saturated({"net": net, "hidden": [8]}, folder, data)
    assert told["calm"][f"{net}_0"] < 0.01
    assert told["wild"][f"{net}_0"] > 0.04  # gates that are shut give 0
    assert told["wild"]["output"] == 0.0
