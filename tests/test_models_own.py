"""The user's own `nnx.Module`: loading, arguments, state, randomness, and what it is told when it does not fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lanework import models
from lanework.errors import SpecError
from tests.contracts.probes import Input, leaves_like, model

SOURCE = """
from flax import nnx
import helper_beside

class Net(nnx.Module):
    def __init__(self, in_features, num_classes, width=8, *, rngs):
        self.first = nnx.Linear(in_features, width, rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(2)])
        self.bn = nnx.BatchNorm(width, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.gain = nnx.Param(nnx.initializers.ones(rngs.params(), ()))
        self.a_last = nnx.Linear(width, num_classes, rngs=rngs)

    def __call__(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = helper_beside.activation(block(x))
        return self.a_last(self.drop(self.bn(x))) * self.gain

class NotAModule:
    pass
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "helper_beside.py").write_text("from flax.nnx import relu as activation\n")
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


def build(net: Any, *, num_outputs: int = 3, input: Any = None, **options: Any) -> models.Network:
    module = None if isinstance(net, str) else net
    spec = model(net if isinstance(net, str) else "<object>", **options)
    return models.network(spec, input=input or Input(), num_outputs=num_outputs, module=module)


def refused(net: Any, **settings: Any) -> str:
    with pytest.raises(SpecError) as caught:
        build(net, **settings)
    assert len(caught.value.problems) == 1
    return str(caught.value)


def test_file_is_loaded_with_what_lies_beside_it_and_arguments_are_filled_in(file: Path):
    net = build(f"{file}:Net", width=16)
    assert net.layer_names == ("first", "blocks/0", "blocks/1", "bn", "own", "a_last")
    params, state = net.init(jax.random.key(0))
    assert params["first"]["kernel"].shape == (4, 16)
    assert params["blocks/1"]["kernel"].shape == (16, 16)
    assert params["a_last"]["kernel"].shape == (16, 3)
    assert params["own"]["gain"].shape == ()
    assert {name: value.shape for name, value in state["bn"].items()} == {
        "mean": (16,),
        "var": (16,),
    }


def test_training_over_lanes_under_scan_keeps_and_moves_the_state(file: Path):
    net = build(f"{file}:Net")
    keys = jax.random.split(jax.random.key(0), 3)
    params, state = jax.vmap(net.init)(keys)
    x = jax.random.normal(jax.random.key(1), (16, 4)) + 2.0

    def loss(params: Any, state: Any, key: jax.Array) -> tuple[jax.Array, Any]:
        outputs, state = net.apply(params, state, x, key=key, is_training=True, hypers={})
        return jnp.mean(outputs**2), state

    def step(carry: Any, index: jax.Array) -> tuple[Any, jax.Array]:
        params, state = carry
        now = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, index)
        grad = jax.value_and_grad(loss, has_aux=True)
        (value, state), grads = jax.vmap(grad)(params, state, now)
        return (jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), state), value

    run = jax.jit(lambda carry: jax.lax.scan(step, carry, jnp.arange(20)))
    (_, after), values = run((params, state))
    assert leaves_like(after) == leaves_like(state)
    assert np.all(values[-1] < 0.5 * values[0])
    assert not np.allclose(after["bn"]["mean"], 0.0)


def test_dropout_follows_the_key_and_is_off_at_evaluation(file: Path):
    net = build(f"{file}:Net")
    params, state = net.init(jax.random.key(0))
    x = jnp.arange(8.0).reshape(2, 4)

    def outputs(seed: int, *, is_training: bool) -> np.ndarray:
        key = jax.random.key(seed)
        return np.asarray(
            net.apply(params, state, x, key=key, is_training=is_training, hypers={})[0]
        )

    np.testing.assert_array_equal(outputs(1, is_training=True), outputs(1, is_training=True))
    assert not np.array_equal(outputs(1, is_training=True), outputs(2, is_training=True))
    np.testing.assert_array_equal(outputs(1, is_training=False), outputs(2, is_training=False))
    without_key, same = net.apply(params, state, x, is_training=False, hypers={})
    np.testing.assert_array_equal(without_key, outputs(1, is_training=False))
    np.testing.assert_array_equal(same["bn"]["mean"], state["bn"]["mean"])


class Pictures(nnx.Module):
    """A class given from Python, with a convolution."""

    def __init__(
        self, in_channels: int, input_shape: tuple[int, ...], num_outputs: int, *, rngs: nnx.Rngs
    ):
        self.conv = nnx.Conv(in_channels, 4, (3, 3), rngs=rngs)
        self.out = nnx.Linear(4 * input_shape[0] * input_shape[1], num_outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.out(nnx.relu(self.conv(x)).reshape(x.shape[0], -1))


@pytest.mark.slow
def test_convolutions_of_own_modules_are_the_fast_ones():
    picture = Input(shape=(6, 6, 2), num_numeric=0)
    net = build(Pictures, input=picture)
    params, state = net.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (5, 6, 6, 2))

    def loss(params: Any) -> jax.Array:
        return jnp.sum(net.apply(params, state, x, is_training=True, hypers={})[0] ** 2)

    assert "custom_vjp" in str(jax.make_jaxpr(loss)(params))
    native = Pictures(2, (6, 6, 2), 3, rngs=nnx.Rngs(0))
    for name in ("conv", "out"):
        layer = getattr(native, name)
        layer.kernel[...], layer.bias[...] = params[name]["kernel"], params[name]["bias"]
    wanted = nnx.grad(lambda module: jnp.sum(module(x) ** 2))(native)
    found = jax.grad(loss)(params)
    np.testing.assert_allclose(
        found["conv"]["kernel"], wanted["conv"]["kernel"][...], rtol=1e-4, atol=1e-4
    )


class NoRandom(nnx.Module):
    """A constructor without `rngs`."""

    def __init__(self) -> None:
        self.weight = nnx.Param(jnp.ones((4, 3)))

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.weight[...]


def test_constructor_without_rngs_and_class_from_python():
    net = build(NoRandom)
    params, state = net.init(jax.random.key(0))
    assert state == {}
    assert net.layer_names == ("own",)
    outputs, _ = net.apply(params, state, jnp.ones((2, 4)), is_training=True, hypers={})
    np.testing.assert_array_equal(outputs, 4.0)


def test_what_is_wrong_with_the_file_is_said(file: Path):
    folder = file.parent
    assert re.search(
        r"model\.net: must name a file that exists, got .*gone\.py\. Write",
        refused(f"{folder}/gone.py:Net"),
    )
    assert re.search(
        r"must name a class in mine\.py, got 'Nett'\. Use Net", refused(f"{file}:Nett")
    )
    text = refused(f"{file}:NotAModule")
    assert re.search(r"derived from flax\.nnx\.Module, got 'NotAModule' \(type\) in mine\.py", text)
    (folder / "broken.py").write_text("import flax\nx = 1 / 0\n")
    text = refused(f"{folder}/broken.py:Net")
    assert (
        "must be a file that runs, got ZeroDivisionError: division by zero at broken.py line 2. Mend"
        in text
    )
    (folder / "typo.py").write_text("class Net(:\n")
    assert re.search(r"got SyntaxError: .* at typo\.py line 1", refused(f"{folder}/typo.py:Net"))
    (folder / "empty.py").write_text("")
    assert "Define it there as class ...(nnx.Module)" in refused(f"{folder}/empty.py:Net")
    (folder / "net.txt").write_text("")
    assert "must be a Python file (.py), got net.txt. Rename it." in refused(
        f"{folder}/net.txt:Net"
    )


def test_what_is_wrong_with_the_arguments_is_said(file: Path):
    text = refused(f"{file}:Net", widht=3)
    assert "must fit the constructor of Net, which takes in_features, num_classes, width" in text
    assert "'widht'. Did you mean width? Set its arguments beside net." in text
    text = refused(f"{file}:Net", width="wide")
    assert re.search(
        r"arguments with which Net can be made, got TypeError: .* at mine\.py line 7", text
    )


def test_what_is_wrong_with_the_outputs_is_said(file: Path):
    text = refused(f"{file}:Net", num_classes=7)
    assert (
        "must give outputs of shape [batch, 3], got shape [batch, 7] from Net. End it with a layer of 3"
        in text
    )
    text = refused(f"{file}:Net", in_features=7)
    assert re.search(
        r"takes inputs of shape \[batch, 4\], got TypeError: .* when calling Net\. Mend", text
    )

    class Scalar(NoRandom):
        def __call__(self, x: jax.Array) -> jax.Array:
            return jnp.sum(x)

    class Tuple(NoRandom):
        def __call__(self, x: jax.Array) -> tuple[jax.Array]:
            return (x,)

    assert "got shape () for 2 samples from Scalar" in refused(Scalar)
    assert "got tuple from Tuple" in refused(Tuple)


def test_an_object_instead_of_a_class_is_refused():
    text = refused(object())
    assert re.search(
        r"model: must be a class derived from flax\.nnx\.Module, got <object .*Give the class itself",
        text,
    )


def test_a_changed_file_is_loaded_anew(file: Path):
    build(f"{file}:Net")
    file.write_text(SOURCE.replace("width=8", "width=9"))
    import os

    os.utime(file, (1, 1))
    params, _ = build(f"{file}:Net").init(jax.random.key(0))
    assert params["first"]["kernel"].shape == (4, 9)


def forward_with_taps(net: models.Network, x: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
    taps: dict[str, jax.Array] = {}
    params, state = net.init(jax.random.key(0))
    outputs, _ = net.apply(params, state, x, is_training=False, hypers={}, taps=taps)
    return outputs, taps


def test_layers_of_an_own_module_can_be_looked_at_and_change_nothing(file: Path):
    net = build(f"{file}:Net", width=6)
    x = jax.random.normal(jax.random.key(1), (5, 4))
    outputs, taps = forward_with_taps(net, x)
    params, state = net.init(jax.random.key(0))
    plain, _ = net.apply(params, state, x, is_training=False, hypers={})
    np.testing.assert_array_equal(outputs, plain)
    first = x @ params["first"]["kernel"] + params["first"]["bias"][None, :]
    np.testing.assert_allclose(taps["first"], first, rtol=1e-6)
    np.testing.assert_array_equal(taps["blocks/0_activation"], jax.nn.relu(taps["blocks/0"]))
    assert set(net.layer_names) - {"own"} <= set(taps)


class Scanned(nnx.Module):
    def __init__(self, in_features, num_classes, *, rngs):
        self.inner = nnx.Linear(in_features, in_features, rngs=rngs)
        self.outer = nnx.Linear(in_features, num_classes, rngs=rngs)

    def __call__(self, x):
        x, _ = jax.lax.scan(lambda h, _: (self.inner(h), None), x, length=3)
        return self.outer(x)


def test_layers_that_are_called_inside_of_a_scan_are_left_out():
    net = build(Scanned)
    outputs, taps = forward_with_taps(net, jnp.ones((5, 4)))
    assert outputs.shape == (5, 3)
    assert set(taps) == {"outer"}
