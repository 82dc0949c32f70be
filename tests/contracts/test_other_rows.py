"""Schedules, losses, nets, activations, initialisers and norms of the catalogue, and refusal of bad values."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import models, recipes
from lanework.catalog import CATALOG
from lanework.errors import SpecError
from lanework.models import layers, parts
from lanework.spec import parse_study
from tests.contracts import probes

ACTS_WITH = {("cyclic", "decay"): {"form": "exp_range"}}
"""What else an option of a schedule needs in order to act."""


@pytest.mark.slow
@pytest.mark.parametrize("name", CATALOG["schedule"])
def test_schedule_stays_between_zero_and_one_and_varies_by_lane(name: str):
    entry = CATALOG["schedule"][name]
    base = {"learning_rate": jnp.float32(1.0)}
    for hyper in entry.hypers:
        made = probes.choice("schedule", name, **ACTS_WITH.get((name, hyper.name), {}))
        factor = recipes.schedule(made, total_steps=300, steps_per_epoch=10)
        values = np.asarray(jax.vmap(factor, in_axes=(0, None))(jnp.arange(300), base))
        assert values.shape == (300,)
        assert np.all((values >= 0) & (values <= 1))
        assert values.dtype == np.float32
        if not hyper.traced:
            continue
        spread = jnp.maximum(jnp.array(probes.spread(hyper), jnp.float32), hyper.low)
        steps = jnp.arange(0, 300, 7)

        def lane(value: jax.Array, name: str = hyper.name, steps: jax.Array = steps) -> jax.Array:
            return jax.vmap(lambda step: factor(step, base | {f"schedule.{name}": value}))(steps)

        together = jax.vmap(lane)(spread)
        alone = jnp.stack([lane(v) for v in spread])
        np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-7)
        is_done_by_host = "host" in entry.facts and hyper.name != "warmup_epochs"
        assert np.allclose(together[0], together[2]) == is_done_by_host


def test_tables_and_catalogue_hold_the_same_names():
    assert set(recipes.SCHEDULES) == set(CATALOG["schedule"])
    assert set(recipes.LOSSES) == set(CATALOG["loss"])
    assert set(parts.ACTIVATIONS) == set(CATALOG["activation"])
    assert set(parts.INITS) == set(CATALOG["init"])
    assert set(layers.NORMS) | {"none"} == set(CATALOG["norm"])
    assert set(models.NETS) == set(CATALOG["net"])


@pytest.mark.parametrize("name", CATALOG["loss"])
def test_loss_falls_along_its_gradient_and_survives_large_outputs(name: str):
    loss = recipes.loss(probes.choice("loss", name), task="classification")
    targets = jnp.array([0, 1, 2, 1])
    outputs = jax.random.normal(jax.random.key(1), (4, 3))

    def total(outputs: jax.Array) -> jax.Array:
        return jnp.sum(loss(outputs, targets, {}))

    grads = jax.grad(total)(outputs)
    assert total(outputs - 1e-2 * grads) < total(outputs)
    values, pull = jax.vjp(lambda o: loss(o, targets, {}), 1e4 * outputs)
    assert values.shape == (4,)
    assert np.all(np.isfinite(values))
    assert np.all(np.isfinite(pull(jnp.ones(4))[0]))


OF_NETS = {
    "cnn": {"channels": (16,), "dense": (16,)},
    "resnet": {"depth": 8, "width": 4},
    "plain": {"depth": 8, "width": 4},
    "transformer": {"width": 16},
}
SEQUENCE_NETS = ("rnn", "gru", "lstm", "transformer")
LEARNS = [("mlp", name) for name in CATALOG["loss"]]
LEARNS += [(net, "cross_entropy") for net in CATALOG["net"] if net != "mlp"]


@pytest.mark.parametrize(("net", "name"), LEARNS)
def test_net_learns_xor(net: str, name: str):
    x, y = probes.xor()
    options, kind = OF_NETS.get(net, {"hidden": (16,)}), "table"
    if net in ("cnn", "resnet", "plain"):  # the two numbers as a picture of 2 x 2 pixels
        x = jnp.concatenate([x, jnp.zeros_like(x)], axis=1).reshape(16, 2, 2, 1)
    elif net in SEQUENCE_NETS:  # one number after the other
        x, kind = x[:, :, None], "series"
    built = models.network(
        probes.model(net, **options), input=probes.Input(x.shape[1:], kind=kind), num_outputs=2
    )
    per_sample = recipes.loss(probes.choice("loss", name), task="classification")
    rule = recipes.rule(probes.choice("optimizer", "adam"))
    params, state = built.init(jax.random.key(0))

    def objective(params: object) -> tuple[jax.Array, jax.Array]:
        outputs, _ = built.apply(params, state, x, is_training=True, hypers={})
        return jnp.mean(per_sample(outputs, y, {})), outputs

    def step(carry: object, _: object) -> tuple[object, None]:
        params, memory = carry
        grads, _ = jax.grad(objective, has_aux=True)(params)
        updates, memory = rule.update(grads, memory, params, {"learning_rate": 0.02})
        return (jax.tree.map(jnp.add, params, updates), memory), None

    carry = (params, rule.init(params))
    (params, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, length=200))(carry)
    _, outputs = objective(params)
    assert float(jnp.mean(jnp.argmax(outputs, axis=1) == y)) == 1.0


CASES = [
    (kind, row.name, hyper.name, value)
    for kind in ("optimizer", "schedule", "loss")
    for row in CATALOG[kind].values()
    for hyper in row.hypers
    for value in hyper.bad_values()
]


@pytest.mark.parametrize(("kind", "name", "hyper", "value"), CASES)
def test_bad_value_is_refused_with_path_value_and_range(kind, name, hyper, value, tmp_path):
    study = {
        "study": "bad",
        "data": {"source": "digits"},
        "train": {kind: {"name": name, hyper: value}},
    }
    with pytest.raises(SpecError) as caught:
        parse_study(study, base=tmp_path)
    problem = caught.value.problems[0]
    assert problem.path.startswith(f"train.{kind}.{hyper}")
    assert re.search(r"must be .*, got .*\. .+", problem.message)
