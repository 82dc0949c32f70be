"""The laws of a cohort: what may not change a run's numbers.

Every law trains real lanes through the compiled programs, on two host devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import models, recipes
from lanework.cohort import compiled, devices, lanes, loop, snapshot
from lanework.cohort.program import Shapes, Strategy
from lanework.cohort.runs import Event, Finished, Rules, Run, Stopping
from lanework.cohort.step import Lane, Problem, Told, Update, Watch, fresh_lane, train_step
from lanework.data import batch_indices
from lanework.health import deep, series
from tests.contracts.probes import Input

BATCH, NUM_TRAIN, NUM_FEATURES, NUM_CLASSES = 16, 150, 8, 3
STEPS_PER_EPOCH = -(-NUM_TRAIN // BATCH)
# Groups of two lanes: four of them in a whole call, two in half of one.
WHOLE, HALF = Strategy(2, 8, 2), Strategy(2, 4, 2)
RATES = (1e-3, 3e-3, 1e-2, 3e-2)


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    devices.prepare()
    with ThreadPoolExecutor(2) as executor:
        yield executor


def blobs() -> dict[str, dict[str, np.ndarray]]:
    """Three overlapping Gaussian blobs, the last batch of an epoch being short."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(NUM_CLASSES, NUM_FEATURES)) * 1.5
    y = rng.integers(0, NUM_CLASSES, NUM_TRAIN + 60).astype(np.int32)
    x = (centres[y] + rng.normal(size=(len(y), NUM_FEATURES))).astype(np.float32)
    return {
        "train": {"x": x[:NUM_TRAIN], "y": y[:NUM_TRAIN]},
        "val": {"x": x[NUM_TRAIN:], "y": y[NUM_TRAIN:]},
    }


def problem() -> Problem:
    spec = SimpleNamespace(
        net="mlp", options={"hidden": (16, 16), "activation": "relu", "init": "he_normal"}
    )
    spec.options |= {"norm": "none", "dropout": 0.0, "output_activation": "none"}
    inputs = Input(shape=(NUM_FEATURES,), num_numeric=NUM_FEATURES)
    example = np.zeros((2, NUM_FEATURES), np.float32)
    net = models.network(spec, input=inputs, num_outputs=NUM_CLASSES, example=example)
    choice = SimpleNamespace(name="cross_entropy", options={})
    per_sample = recipes.loss(choice, task="classification")
    table = recipes.metrics("classification", num_outputs=NUM_CLASSES)

    def loss(params: Any, state: Any, batch: Any, *, key: Any, hypers: Any) -> Any:
        out, state = net.apply(params, state, batch["x"], key=key, is_training=True, hypers={})
        losses, weight = per_sample(out, batch["y"], {}), batch["weight"]
        return jnp.sum(losses * weight) / jnp.sum(weight), state

    def evaluate(params: Any, state: Any, batch: Any, sums: Any, *, hypers: Any) -> Any:
        out, _ = net.apply(params, state, batch["x"], key=None, is_training=False, hypers={})
        return table.add(sums, out, batch["y"], per_sample(out, batch["y"], {}), batch["weight"])

    return Problem(net.init, loss, evaluate, table.zero, table.finish, net.layer_names)


def adam() -> Update:
    choice = SimpleNamespace(
        name="adam", options={"b1": 0.9, "b2": 0.999, "eps": 1e-8, "bias_correction": True}
    )
    rule = recipes.rule(choice)

    def apply(grads: Any, opt_state: Any, params: Any, *, hypers: Any, **_: Any) -> Told:
        updates, opt_state = rule.update(grads, opt_state, params, hypers)
        return Told(updates, opt_state, grads, {})

    return Update(rule.init, apply)


def programs(
    pool: ThreadPoolExecutor, strategy: Strategy, *, watch: Watch | None = None
) -> compiled.Programs:
    return compiled.Programs(
        problem(),
        adam(),
        watch or Watch("accuracy", 1.0),
        strategy=strategy,
        shapes=Shapes(STEPS_PER_EPOCH, BATCH, 64, 64, ("learning_rate",)),
        data=compiled.place(blobs(), num_devices=strategy.num_devices),
        pool=pool,
    )


def order(seed: int, first_step: int, num_steps: int) -> np.ndarray:
    return batch_indices(NUM_TRAIN, BATCH, seed=seed, first_step=first_step, num_steps=num_steps)


def rules(epochs: int, **changes: Any) -> Rules:
    boundaries = tuple(STEPS_PER_EPOCH * (i + 1) for i in range(epochs))
    return replace(Rules(boundaries, STEPS_PER_EPOCH, "accuracy", 1.0), **changes)


def grid(rates: tuple[float, ...] = RATES, seeds: int = 2) -> list[Run]:
    return [
        Run(i * seeds + seed, i, seed, {"learning_rate": rate})
        for i, rate in enumerate(rates)
        for seed in range(seeds)
    ]


def train(
    built: compiled.Programs, runs: list[Run], how: Rules, **start: Any
) -> tuple[dict[int, Finished], list[Any], list[Event]]:
    finished, metrics, events = {}, [], []
    for tick in loop.train(built, runs, rules=how, order=order, **start):
        metrics += tick.metrics
        events += tick.events
        finished |= {item.run: item for item in tick.finished}
    return finished, metrics, events


def weights(item: Finished) -> dict[str, np.ndarray]:
    return snapshot.flatten(item.weights)


def same_bits(one: Finished, other: Finished) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def relative_error(one: Finished, other: Finished) -> float:
    a = np.concatenate([leaf.ravel() for leaf in weights(one).values()])
    b = np.concatenate([leaf.ravel() for leaf in weights(other).values()])
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.fixture(scope="module")
def cohort(pool: ThreadPoolExecutor) -> tuple[dict[int, Finished], list[Any]]:
    finished, metrics, _ = train(programs(pool, WHOLE), grid(), rules(3))
    return finished, metrics


def test_every_grid_point_runs_exactly_once(cohort: Any) -> None:
    finished, metrics = cohort
    assert sorted(finished) == list(range(8))
    losses = [(run, step) for run, step, _, name, _ in metrics if name == "train_loss"]
    assert len(losses) == len(set(losses)) == 8 * 3


def test_a_lane_learns(cohort: Any) -> None:
    finished, _ = cohort
    assert max(item.metrics["val"]["accuracy"] for item in finished.values()) > 0.85


def test_a_lane_alone_equals_the_lane_in_a_cohort_over_200_steps(pool: ThreadPoolExecutor) -> None:
    epochs = 20  # 200 steps
    together, _, _ = train(programs(pool, WHOLE), grid(), rules(epochs))
    alone, _, _ = train(programs(pool, Strategy(1, 1, 1)), grid()[3:4], rules(epochs))
    assert alone[3].step >= 200
    assert relative_error(together[3], alone[3]) < 1e-4


def test_a_lane_equals_a_plain_loop_over_the_step(cohort: Any) -> None:
    """The slow obvious twin: one run, one step at a time, no scan, no vmap."""
    finished, _ = cohort
    what, update, data = problem(), adam(), blobs()["train"]
    lane: Lane = fresh_lane(what, update, Watch(), seed=jnp.uint32(1))
    step = jax.jit(
        lambda lane, batch: train_step(
            what, update, lane, batch=batch, hypers={"learning_rate": jnp.float32(RATES[1])}
        )[0]
    )
    for row in order(1, 0, 3 * STEPS_PER_EPOCH):
        position = np.where(row < 0, ~row, row)
        batch = {name: array[position] for name, array in data.items()}
        lane = step(lane, batch | {"weight": (row >= 0).astype(np.float32)})
    plain = replace(finished[3], weights=lanes.to_host((lane.params, lane.state)))
    assert relative_error(finished[3], plain) < 1e-5


def test_splitting_a_cohort_changes_nothing(pool: ThreadPoolExecutor, cohort: Any) -> None:
    finished, _ = cohort
    built = programs(pool, HALF)
    halves = [train(built, grid()[part], rules(3))[0] for part in (slice(0, 4), slice(4, 8))]
    split = halves[0] | halves[1]
    assert all(same_bits(split[run], finished[run]) for run in finished)


def test_another_group_size_changes_only_rounding(pool: ThreadPoolExecutor, cohort: Any) -> None:
    finished, _ = cohort
    for group in (1, 4):
        ended, _, _ = train(programs(pool, Strategy(2, 8, group)), grid(), rules(3))
        assert max(relative_error(ended[run], finished[run]) for run in finished) < 1e-5


def test_taking_turns_in_fewer_lanes_changes_nothing(pool: ThreadPoolExecutor, cohort: Any) -> None:
    finished, _ = cohort
    turns, _, _ = train(programs(pool, HALF), grid(), rules(3))
    assert all(same_bits(turns[run], finished[run]) for run in finished)


def test_the_order_of_lanes_changes_nothing(pool: ThreadPoolExecutor, cohort: Any) -> None:
    finished, _ = cohort
    backwards, _, _ = train(programs(pool, WHOLE), grid()[::-1], rules(3))
    assert all(same_bits(backwards[run], finished[run]) for run in finished)


def test_a_diverging_neighbour_changes_nothing(pool: ThreadPoolExecutor, cohort: Any) -> None:
    finished, _ = cohort
    runs = grid()
    runs[5] = replace(runs[5], hypers={"learning_rate": 1e30})
    ended, _, events = train(programs(pool, WHOLE), runs, rules(3, retries=0))
    assert ended[5].status == "diverged"
    assert [event.kind for event in events] == ["diverged"]
    assert all(same_bits(ended[run], finished[run]) for run in finished if run != 5)


@pytest.mark.parametrize(
    "change", [{"is_monitored": False}, pytest.param({"deep_every": 1}, marks=pytest.mark.slow)]
)
def test_watching_changes_nothing(pool: ThreadPoolExecutor, cohort: Any, change: Any) -> None:
    finished, _ = cohort
    watch = Watch("accuracy", 1.0, **change)
    how = rules(3, deep_every=watch.deep_every)
    ended, _, _ = train(programs(pool, WHOLE, watch=watch), grid(), how)
    assert all(same_bits(ended[run], finished[run]) for run in finished)


@pytest.mark.slow
def test_a_close_look_is_taken_when_it_is_due_at_each_run_for_itself(
    pool: ThreadPoolExecutor,
) -> None:
    """Every second evaluation and the last, also beside a run that went back; numbers are those of the weights at that step."""
    built = programs(pool, WHOLE, watch=Watch("accuracy", 1.0, deep_every=2))
    runs = grid()
    runs[2] = replace(runs[2], hypers={"learning_rate": 1e30})
    how = rules(3, deep_every=2, retries=2, gentler=1e-17)
    ticks = list(loop.train(built, runs, rules=how, order=order))
    finished = {item.run: item for tick in ticks for item in tick.finished}
    told: dict[tuple[int, int], dict[str, np.ndarray]] = {}
    for records in (records for tick in ticks for records in tick.health):
        assert set(records.names) in (USUAL, set(DEEP))
        if "sharpness" in records.names:
            assert records.names["sharpness"] == ("",)
            assert records.names["grad_snr"] == problem().layer_names
            for run, step, values in zip(*records[1:], strict=True):
                told[run, step] = dict(zip(DEEP, np.split(values, [3, 6, 9]), strict=True))
    assert sorted(told) == [(run, step) for run in range(8) for step in (20, 30)]
    data, rows = blobs()["train"], np.arange(64) * NUM_TRAIN // 64
    batch = {name: array[rows] for name, array in data.items()} | {"weight": np.ones(64)}
    for run in (0, 2):
        params, state = finished[run].weights
        loss = lambda at, state=state: problem().loss(at, state, batch, key=None, hypers={})[0]
        np.testing.assert_allclose(
            told[run, 30]["sharpness"][0], deep.sharpness(loss, params), rtol=1e-3
        )
        assert np.isnan(told[run, 20]["record_cosine"]).all()
        assert (np.abs(told[run, 30]["record_cosine"]) <= 1.0 + 1e-6).all()


USUAL = {"grad_norm", "param_norm", "update_ratio", *series.STATISTICS}
DEEP = dict.fromkeys((*deep.BY_LAYER, *deep.WHOLE))


def test_a_bad_lane_is_healed_and_its_siblings_never_notice(
    pool: ThreadPoolExecutor, cohort: Any
) -> None:
    finished, _ = cohort
    runs = grid()
    runs[2] = replace(runs[2], hypers={"learning_rate": 1e30})
    how = rules(3, retries=2, gentler=1e-17)
    ended, _, events = train(programs(pool, WHOLE), runs, how)
    assert [event.kind for event in events] == ["healed", "healed"]
    assert "went back to step 0" in events[0].text
    assert ended[2].status == "ok"
    assert ended[2].retries == 2
    assert all(same_bits(ended[run], finished[run]) for run in finished if run != 2)


def test_same_seed_starts_from_the_same_weights_and_batches() -> None:
    first = fresh_lane(problem(), adam(), Watch(), seed=jnp.uint32(7))
    again = fresh_lane(problem(), adam(), Watch(), seed=jnp.uint32(7))
    other = fresh_lane(problem(), adam(), Watch(), seed=jnp.uint32(8))
    same = [
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(first.params), jax.tree.leaves(again.params), strict=True)
    ]
    differ = [
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(first.params), jax.tree.leaves(other.params), strict=True)
    ]
    assert all(same)
    assert any(differ)


def test_early_stopping_stops_after_patience_and_keeps_the_best(pool: ThreadPoolExecutor) -> None:
    watch = Watch("accuracy", 1.0, keep_best=True)
    how = rules(40, stopping=Stopping(patience=3))
    ended, metrics, events = train(programs(pool, WHOLE, watch=watch), grid(), how)
    assert {event.kind for event in events} == {"stopped_early"}
    for event in events:
        curve = [
            (step, v)
            for run, step, _, name, v in metrics
            if run == event.run and name == "val_accuracy"
        ]
        best = max(value for _, value in curve)
        first_best = next(step for step, value in curve if value == best)
        assert event.step == first_best + 3 * STEPS_PER_EPOCH
        assert ended[event.run].metrics["val"]["accuracy"] == pytest.approx(best)


def test_a_snapshot_goes_on_bit_for_bit(
    pool: ThreadPoolExecutor, cohort: Any, tmp_path: Any
) -> None:
    finished, whole = cohort
    built = programs(pool, WHOLE)
    ticks = loop.train(built, grid(), rules=rules(3), order=order)
    next(ticks)
    trees, info = next(ticks).snapshot()
    snapshot.save(tmp_path / "s.safetensors", snapshot.flatten(trees), info)
    arrays, info = snapshot.load(tmp_path / "s.safetensors")
    like = {"lanes": fresh_lane(problem(), adam(), Watch(), seed=jnp.uint32(0))}
    start = (snapshot.unflatten(like, arrays), info)
    resumed, rest, _ = train(programs(pool, WHOLE), grid(), rules(3), start=start)
    assert all(same_bits(resumed[run], finished[run]) for run in finished)
    assert sorted(rest) == sorted(row for row in whole if row[1] > 2 * STEPS_PER_EPOCH)


def test_equal_shaped_cohorts_compile_once(pool: ThreadPoolExecutor) -> None:
    built = programs(pool, WHOLE)
    train(built, grid(), rules(2))
    names = set(built.compile_seconds)
    train(built, grid(rates=(5e-3, 6e-3)), rules(2))
    assert set(built.compile_seconds) == names


def test_a_cohort_shrinks_without_changing_a_number(pool: ThreadPoolExecutor, cohort: Any) -> None:
    finished, _ = cohort
    built = programs(pool, WHOLE)
    built.segment(4)  # so that the narrower program is there at once
    runs = grid()
    stopped = [replace(run, hypers={"learning_rate": 1e30}) for run in runs[2:]]
    ended, _, _ = train(built, runs[:2] + stopped, rules(3, retries=0))
    assert {ended[run].status for run in range(2, 8)} == {"diverged"}
    assert all(same_bits(ended[run], finished[run]) for run in (0, 1))


def test_lanes_one_at_a_time_shrink_without_changing_a_number(pool: ThreadPoolExecutor) -> None:
    """A group of one, as convolutions on a CPU have it, must stay the same loop when one lane is left."""
    single = Strategy(2, 8, 1)
    finished, _, _ = train(programs(pool, single), grid(), rules(3))
    built = programs(pool, single)
    built.segment(2)
    runs = grid()
    stopped = [replace(run, hypers={"learning_rate": 1e30}) for run in runs[2:]]
    ended, _, _ = train(built, runs[:2] + stopped, rules(3, retries=0))
    assert all(same_bits(ended[run], finished[run]) for run in (0, 1))


def test_the_mean_loss_counts_samples_not_batches(pool: ThreadPoolExecutor) -> None:
    """The last batch of an epoch is short, so its loss weighs less; at rate 0 the mean is that of the whole part."""
    runs = [Run(0, 0, 0, {"learning_rate": 0.0})]
    built = programs(pool, Strategy(1, 1, 1))
    _, metrics, _ = train(built, runs, rules(1))
    lane = fresh_lane(problem(), adam(), Watch(), seed=jnp.uint32(0))
    data = blobs()["train"] | {"weight": np.ones(NUM_TRAIN, np.float32)}
    whole, _ = problem().loss(lane.params, lane.state, data, key=jax.random.key(0), hypers={})
    assert next(v for *_, name, v in metrics if name == "train_loss") == pytest.approx(
        float(whole), rel=1e-5
    )
