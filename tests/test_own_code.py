"""Own functions named in a study file: activation, initialiser, loss and update rule of `file.py:name`."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lanework
from lanework import own_code
from lanework.errors import SpecError
from lanework.models import inits, parts
from lanework.recipes import loss, rule
from lanework.spec import Choice

SOURCE = """
import jax
import jax.numpy as jnp
import optax

def swish(x, beta=1.0):
    return x * jax.nn.sigmoid(beta * x)

def tiny(key, shape, std=0.1):
    return std * jax.random.normal(key, shape)

def brier(outputs, targets):
    wanted = jax.nn.one_hot(targets, outputs.shape[1])
    return jnp.mean((jax.nn.softmax(outputs) - wanted) ** 2, axis=-1)

def averaged(outputs, targets):
    return jnp.mean(outputs)

def clipped(learning_rate, clip=1.0):
    return optax.chain(optax.clip(clip), optax.sgd(learning_rate))

def nothing(learning_rate):
    return None

def broken(x):
    return x.no_such_thing

number = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(SOURCE)
    return tmp_path


def named(folder: Path, name: str) -> str:
    return f"{folder / 'mine.py'}:{name}"


def test_a_study_compares_own_functions_with_those_of_the_catalogue(folder: Path):
    study = folder / "study.yaml"
    study.write_text(
        """
study: own
data: {source: iris}
model: {net: mlp, hidden: [8], activation: mine.py:swish, init: {name: mine.py:tiny, std: 0.3}}
train: {epochs: 8, learning_rate: 0.05, batch_size: 16, loss: mine.py:brier}
compare:
  optimizer: [adam, {name: mine.py:clipped, clip: 0.5}]
seeds: 2
"""
    )
    results = lanework.run(study, folder=folder / "out")
    frame = results.frame()
    assert set(frame["optimizer"]) == {
        "adam(learning_rate=0.05)",
        "mine.py:clipped(clip=0.5, learning_rate=0.05)",
    }
    # All but the slow one beat the commonest class by far.
    assert frame[frame.optimizer.str.startswith("adam")]["val_accuracy"].min() > 0.6


def test_own_functions_are_called_with_their_options(folder: Path):
    x = jnp.linspace(-2.0, 2.0, 7)
    act = parts.activation({"name": named(folder, "swish"), "beta": 3.0})
    np.testing.assert_allclose(act(x), x / (1.0 + np.exp(-3.0 * x)), rtol=1e-6)
    outputs, targets = jnp.array([[2.0, 0.0], [0.0, 1.0]]), jnp.array([0, 0])
    losses = loss(Choice(name=named(folder, "brier")), task="classification")(outputs, targets, {})
    shares = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    wanted = ((shares - np.array([[1.0, 0.0], [1.0, 0.0]])) ** 2).mean(axis=1)
    np.testing.assert_allclose(losses, wanted, rtol=1e-6)


def test_own_update_rule_takes_the_rate_of_the_run(folder: Path):
    own = rule(Choice(name=named(folder, "clipped"), options={"clip": 0.5}))
    params, grads = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([3.0, -0.1])}
    updates, _ = own.update(grads, own.init(params), params, {"learning_rate": jnp.array(0.2)})
    plain = optax.chain(optax.clip(0.5), optax.sgd(0.2))
    wanted, _ = plain.update(grads, plain.init(params), params)
    np.testing.assert_allclose(updates["w"], wanted["w"], rtol=1e-6)


def test_gain_of_an_own_activation_is_measured(folder: Path):
    assert inits.gain(named(folder, "swish")) == pytest.approx(inits.gain("silu"), rel=1e-3)


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("activation", "swsh", "swish"),
        ("activation", "number", "must name a function, got 'number' (int)"),
        ("activation", "broken", "mine.py line"),
        ("loss", "averaged", "one loss per sample"),
        ("optimizer", "nothing", "optax.GradientTransformation"),
    ],
)
def test_what_is_wrong_with_an_own_function_is_said(folder: Path, kind: str, name: str, said: str):
    calls = {
        "activation": lambda: parts.activation(named(folder, name))(jnp.ones(2)),
        "loss": lambda: loss(Choice(name=named(folder, name)), task="classification")(
            jnp.ones((2, 3)), jnp.zeros(2, int), {}
        ),
        "optimizer": lambda: rule(Choice(name=named(folder, name))).init({"w": jnp.ones(2)}),
    }
    with pytest.raises(SpecError) as caught:
        calls[kind]()
    assert said in str(caught.value)


def test_a_file_that_does_not_run_is_said_with_its_line(tmp_path: Path):
    (tmp_path / "bad.py").write_text("import jax\n\ndef f(:\n")
    with pytest.raises(SpecError, match=r"bad.py line 3"):
        own_code.load_function(f"{tmp_path / 'bad.py'}:f", path="model.activation")


def test_own_code_is_found_wherever_it_is_named():
    assert own_code.is_named_in({"train": {"loss": {"name": "a.py:f"}}})
    assert own_code.is_named_in({"model": {"init": ["x", "b/c.py:g"]}})
    assert not own_code.is_named_in({"model": {"activation": "relu"}, "note": "see a.py"})
