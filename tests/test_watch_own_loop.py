"""What a monitor knows besides numbers of layers: events, facts of the network, facts of plain arrays."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lanework.api.array_facts import array_facts
from lanework.api.data_facts import data_facts
from lanework.data import load
from lanework.health import Monitor
from lanework.health.records import DataFacts
from lanework.spec import DataSpec


class Net(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, *, is_normed: bool = True) -> None:
        self.wide = nnx.Linear(4, 5, rngs=rngs)
        if is_normed:
            self.norm = nnx.BatchNorm(5, rngs=rngs)
        self.narrow = nnx.Linear(5, 2, rngs=rngs)


WEIGHTS = {"one": jnp.ones(3), "two": jnp.ones(3)}


# ---- events ----------------------------------------------------------------------------------


def test_a_loss_that_is_lost_is_an_event_at_its_step_and_only_the_first() -> None:
    monitor = Monitor(WEIGHTS, num_steps=100)
    monitor.add(40, loss=[1.0] * 10)
    monitor.add(50, loss=[1.0, 0.9, float("nan"), float("nan")])
    monitor.add(60, loss=[float("nan")] * 10)
    monitor.finish()
    record = monitor.record()
    assert record.status == "diverged"
    assert [(event.step, event.kind) for event in record.events] == [(49, "diverged")]
    assert record.until(48).events == ()
    assert monitor.findings()[0].code in ("divergence", "rate_too_high")
    assert monitor.findings()[0].step == 49


def test_a_validation_loss_that_is_lost_is_an_event_too() -> None:
    monitor = Monitor(WEIGHTS)
    monitor.add(10, loss=0.5, val_loss=float("inf"))
    assert (monitor.record().status, monitor.record().events[0].step) == ("diverged", 10)


def test_the_layer_is_named_where_it_can_be_told() -> None:
    monitor, everywhere = Monitor(WEIGHTS), Monitor(WEIGHTS)
    bad = {"one": jnp.full(3, jnp.nan), "two": jnp.ones(3)}
    monitor.add(5, loss=float("inf"), stats=monitor.observe(WEIGHTS, bad, WEIGHTS))
    assert monitor.record().events[0].data == {"first_not_finite": "gradient", "layer": "one"}
    lost = jax.tree.map(lambda x: x * jnp.nan, WEIGHTS)
    everywhere.add(5, loss=float("nan"), stats=everywhere.observe(lost, lost, lost))
    assert everywhere.record().events[0].data == {}


def test_a_loop_says_what_it_did() -> None:
    monitor = Monitor(WEIGHTS)
    monitor.add(20, loss=0.5)
    monitor.happened(20, "stopped_early", best_step=10)
    monitor.happened(10, "rate_lowered")
    assert [event.kind for event in monitor.record().events] == ["rate_lowered", "stopped_early"]
    assert monitor.record().events[1].data == {"best_step": 10}
    with pytest.raises(ValueError, match=r"kind must be one of diverged, healed, .* got 'paused'"):
        monitor.happened(20, "paused")


# ---- facts of the network --------------------------------------------------------------------


def test_the_network_is_known_as_far_as_it_is_shown() -> None:
    module = Net(nnx.Rngs(0))
    params = nnx.state(module, nnx.Param)
    monitor = Monitor(
        params,
        module=module,
        outputs=jnp.zeros((7, 2)),
        settings={"train": {"loss": {"name": "cross_entropy"}}},
        data=DataFacts(task="classification", num_classes=3, num_targets=3),
    )
    net = monitor.record().net
    assert (net.num_outputs, net.usual_outputs, net.loss) == (2, 3, "cross_entropy")
    assert net.has_batch_norm
    assert monitor.layer_names == ("wide", "norm", "narrow")
    plain = Net(nnx.Rngs(0), is_normed=False)
    other = Monitor(nnx.state(plain, nnx.Param), module=plain).record().net
    assert (other.has_batch_norm, other.num_outputs, other.usual_outputs) == (False, 0, 0)


def test_gated_cells_are_saturated_at_the_limits_of_tanh() -> None:
    values = {"one": jnp.full((8, 3), 0.99), "two": jnp.zeros((8, 3))}
    for net, share in (("lstm", 1.0), ("mlp", 0.0)):
        monitor = Monitor(WEIGHTS, settings={"model": {"net": net, "activation": "relu"}})
        told = monitor.observe(WEIGHTS, WEIGHTS, WEIGHTS, values)
        assert float(told["saturated_share"]["one"]) == share


# ---- facts of arrays -------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["wine", "diabetes", "digits"])
def test_facts_of_arrays_are_those_of_a_study(source: str) -> None:
    dataset = load(DataSpec(source=source))
    train, val = dataset.train, dataset.val
    found = array_facts(train.x, train.y, val.x, val.y)
    known = data_facts(dataset)
    for name in DataFacts.__dataclass_fields__:
        # Columns have names in a study only.
        if name != "leak_column":
            assert getattr(found, name) == pytest.approx(getattr(known, name), nan_ok=True), name


@pytest.mark.parametrize(
    ("x", "kind"),
    [
        (np.zeros((4, 3)), "table"),
        (np.zeros((4, 3), np.uint8), "table"),
        (np.zeros((4, 3), np.int32), "codes"),
        (np.zeros((4, 8, 8, 1)), "image"),
        (np.zeros((4, 8, 2)), "sequence"),
    ],
)
def test_what_inputs_are_is_told_by_their_form(x: Any, kind: str) -> None:
    assert array_facts(x, [0, 1, 0, 1]).kind == kind


def test_what_arrays_are_can_be_said() -> None:
    x = np.arange(12).reshape(4, 3)
    one_hot = np.eye(3)[[0, 1, 0, 1]]
    facts = array_facts(jnp.asarray(x), one_hot, kind="table", task="classification", num_classes=5)
    assert (facts.kind, facts.num_classes, facts.num_targets, facts.num_val) == ("table", 5, 5, 0)
    assert facts.class_shares == (0.5, 0.5, 0.0, 0.0, 0.0)
    assert facts.feature_mean == 6.5
    counts = array_facts(x, [3, 1, 4, 1], task="regression", kind="table")
    assert (counts.task, counts.target_max, counts.num_classes) == ("regression", 4.0, 0)
    assert array_facts(x, np.ones((4, 2))).num_targets == 2


def test_arrays_that_do_not_fit_are_refused() -> None:
    x = np.zeros((4, 3))
    with pytest.raises(ValueError, match=r"x and y must hold a row for each sample, got shapes"):
        array_facts(x, [1, 2])
    with pytest.raises(ValueError, match="x_val and y_val must come together, got one of them"):
        array_facts(x, [1, 2, 3, 4], x)
    with pytest.raises(
        ValueError, match=r"targets in x and y must be numbers .* got <U1.*whole num"
    ):
        array_facts(x, ["a", "b", "a", "b"])
    with pytest.raises(ValueError, match=r"inputs in x and y must be numbers .* got object"):
        array_facts(np.array([[None], [1]], object), [1, 2])
    with pytest.raises(ValueError, match=r"task must be one of .* got 'ranking' and ''"):
        array_facts(x, [1, 2, 3, 4], task="ranking")
