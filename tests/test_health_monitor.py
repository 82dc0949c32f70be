"""The monitor for own loops: its numbers against NumPy, that it changes nothing, and what the rules make of sick loops."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lanework.health import Monitor
from lanework.health.records import DataFacts

ORDER = ("wide", "narrow", "output")
CLASSES, BATCH, STEPS = 3, 50, 200


def weights(scale: float = 1.0) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    sizes = {"wide": (6, 32), "narrow": (32, 16), "output": (16, CLASSES)}
    return {
        name: {
            "kernel": jnp.asarray(
                scale * draw.normal(size=size) * np.sqrt(2 / size[0]), jnp.float32
            ),
            "bias": jnp.zeros(size[1]),
        }
        for name, size in sizes.items()
    }


def layers(params: Any, x: jax.Array) -> dict[str, jax.Array]:
    found = {}
    for name in ORDER:
        x = x @ params[name]["kernel"] + params[name]["bias"][None]
        found[name] = x = x if name == "output" else jax.nn.relu(x)
    return found


def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    scores = layers(params, x)["output"]
    return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()


def data(count: int = 600) -> tuple[jax.Array, jax.Array]:
    x = np.random.default_rng(1).normal(size=(count, 6)).astype(np.float32)
    return jnp.asarray(x), jnp.argmax(jnp.asarray(x[:, :CLASSES]), axis=1)


def trained(
    params: Any, name: str, *, rate: float, is_watched: bool = True, records: int = 20
) -> tuple[Any, Monitor]:
    """A loop of one's own, watched or not."""
    rule = getattr(optax, name)(rate)
    recipe = {"optimizer": name, "learning_rate": rate, "batch_size": BATCH}
    facts = DataFacts(
        task="classification", num_train=500, num_val=100, num_classes=CLASSES,
        class_shares=(1 / 3,) * 3,
    )  # fmt: skip
    monitor = Monitor(
        params,
        settings={"train": recipe, "model": {"activation": "relu"}},
        data=facts,
        num_steps=STEPS,
        steps_per_epoch=500 // BATCH,
    )
    x, y = data()
    state = rule.init(params)

    @jax.jit
    def step(params: Any, state: Any, rows: jax.Array) -> tuple[Any, ...]:
        value, grads = jax.value_and_grad(loss)(params, x[rows], y[rows])
        updates, state = rule.update(grads, state, params)
        seen = layers(params, x[500:564])
        told = monitor.observe(params, grads, updates, seen) if is_watched else {}
        return optax.apply_updates(params, updates), state, value, told

    draw, losses, every = np.random.default_rng(2), [], STEPS // records
    for number in range(1, STEPS + 1):
        params, state, value, told = step(params, state, draw.permutation(500)[:BATCH])
        losses.append(float(value))
        if number % every == 0:
            scores = layers(params, x[500:])["output"]
            accuracy = float(jnp.mean(scores.argmax(axis=1) == y[500:]))
            monitor.add(
                number,
                loss=losses[-every:],
                stats=told,
                val_loss=float(loss(params, x[500:], y[500:])),
                val_accuracy=accuracy,
            )
    monitor.finish()
    return params, monitor


def codes(monitor: Monitor) -> list[str]:
    return [found.code for found in monitor.findings()]


def test_the_numbers_are_those_of_numpy_in_forward_order_with_and_without_jit() -> None:
    params, (x, y) = weights(), data()
    grads = jax.grad(loss)(params, x[:40], y[:40])
    updates = jax.tree.map(lambda g: -0.1 * g, grads)
    monitor = Monitor(params)
    assert monitor.layer_names == ORDER
    seen = layers(params, x[:40])
    plain = monitor.observe(params, grads, updates, seen)
    for told in (plain, jax.jit(monitor.observe)(params, grads, updates, seen)):
        monitor.add(monitor.record().steps + 1, loss=1.0, stats=told)

    def norm(tree: Any) -> float:
        return float(
            np.sqrt(
                sum(np.square(np.asarray(leaf, np.float64)).sum() for leaf in jax.tree.leaves(tree))
            )
        )

    for name in ("grad_norm", "param_norm", "update_ratio", "dead_share", "activation_std"):
        table = monitor.record().layer(name)
        assert table.names == ORDER
        twin = {
            "grad_norm": lambda layer: norm(grads[layer]),
            "param_norm": lambda layer: norm(params[layer]),
            "update_ratio": lambda layer: norm(updates[layer]) / norm(params[layer]),
            "dead_share": lambda layer: np.mean(np.all(np.asarray(seen[layer]) == 0, axis=0)),
            "activation_std": lambda layer: np.asarray(seen[layer]).std(),
        }[name]
        expected = [float(twin(layer)) for layer in ORDER]
        np.testing.assert_allclose(table.values, [expected, expected], rtol=1e-4, atol=1e-7)


def test_watching_changes_no_bit_of_training() -> None:
    one, _ = trained(weights(), "adam", rate=1e-3)
    other, _ = trained(weights(), "adam", rate=1e-3, is_watched=False)
    same = jax.tree.map(lambda a, b: bool((a == b).all()), one, other)
    assert all(jax.tree.leaves(same))


def test_curves_hold_what_was_added() -> None:
    monitor = Monitor(weights(), num_steps=30)
    monitor.add(10, loss=[3.0, 2.0, 1.0, 0.5], val_loss=0.9, val_accuracy=0.5)
    monitor.add(20, loss=0.4, clipped_share=0.25)
    record = monitor.record()
    assert record.curve("train_loss").values.tolist() == [1.625, 0.4]
    assert record.curve("train_loss_begin").steps.tolist() == [10]
    assert record.curve("val_accuracy").values.tolist() == [0.5]
    assert record.curve("clipped_share").steps.tolist() == [20]
    assert (record.status, record.steps, record.num_steps) == ("running", 20, 30)
    monitor.add(30, loss=float("nan"))
    monitor.finish()
    assert monitor.record().status == "diverged"


def test_a_healthy_loop_gets_no_finding() -> None:
    _, monitor = trained(weights(), "adam", rate=3e-3)
    assert monitor.record().curve("val_accuracy").last > 0.85
    assert codes(monitor) == []


def test_a_loop_with_dead_units_is_told_where() -> None:
    params = weights()
    params["wide"]["bias"] = params["wide"]["bias"] - 30.0
    _, monitor = trained(params, "adam", rate=1e-3)
    found = monitor.findings()
    assert found[0].code == "dead_units"
    assert found[0].layer == "wide"
    assert found[0].remedies


def test_a_loop_with_too_high_a_rate_is_told_so() -> None:
    _, monitor = trained(weights(), "sgd", rate=30.0)
    assert set(codes(monitor)[:2]) & {"rate_too_high", "divergence", "oscillation"}


def test_layers_of_an_nnx_module_are_its_attributes() -> None:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.first = nnx.Linear(4, 5, rngs=rngs)
            self.last = nnx.Linear(5, 2, rngs=rngs)

    params = nnx.state(Net(nnx.Rngs(0)), nnx.Param)
    monitor = Monitor(params, layer_names=("first", "last"))
    told = jax.jit(monitor.observe)(params, params, params)
    np.testing.assert_allclose([float(v) for v in told["update_ratio"].values()], 1.0, rtol=1e-6)


def test_what_cannot_be_is_refused() -> None:
    monitor = Monitor(weights())
    monitor.add(5, loss=1.0)
    with pytest.raises(ValueError, match=r"step must be above .* 5, got 5\. Count all steps"):
        monitor.add(5, loss=1.0)
    with pytest.raises(ValueError, match=r"layer_names must name .*wide, narrow, output; got wide"):
        Monitor(weights(), layer_names=("wide",))
    with pytest.raises(TypeError, match=r"weights must be a mapping .* got list\. Give a dict"):
        Monitor([jnp.ones(3)])


def test_rules_come_without_jax() -> None:
    code = "import sys, lanework.health, lanework.health.diagnose; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    with pytest.raises(AttributeError, match="no attribute 'Monitors'"):
        sys.modules["lanework.health"].Monitors  # noqa: B018
