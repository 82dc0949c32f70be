"""The gate's judging: from numbers to items, from items of many configurations to few, and from settings to mistakes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lanework
from lanework import recipes
from lanework.api import (
    check,
    check_data,
    check_items,
    check_networks,
    check_rates,
    check_settings,
    preparing,
)
from lanework.cohort import gating
from lanework.health import gate, judge, judge_data, judge_training
from lanework.health.judge import Item
from lanework.report import check as page

# ---- numbers ---------------------------------------------------------------------------------


def variance(activations: list[float], gradients: list[float], *, spread: float = 1.0) -> Item:
    names = [f"layer_{place}" for place in range(len(activations))]
    return judge.layer_variance(names, activations=activations, gradients=gradients, spread=spread)


def test_numbers_are_shown_in_the_terminal_and_on_the_page_layer_by_layer() -> None:
    item = variance([1.0, 1e-6, 1.0], [0.1, 0.2, 0.3])
    found = check.Check("s", (item, replace(item, level="pass")), num_arms=1, seconds=0.1)
    lines = found.text().splitlines()
    assert lines[1].strip() == (
        "Measured: activation ratio 1\u202f000\u202f000; gradient ratio 3; activation std: layer_0 1, layer_1 1e\u22126, layer_2 1; gradient rms: "
        "layer_0 0.1, layer_1 0.2, layer_2 0.3."
    )
    assert sum("Measured" in line for line in lines) == 1  # what passes is told in its sentence
    shown = page.check(found.record())
    assert "<summary>activation std</summary>" in shown
    assert shown.count("<dt>layer_1</dt><dd>1e\u22126</dd>") == 2
    assert "activation ratio 1\u202f000\u202f000, gradient ratio 3" in shown


def test_counts_are_written_in_full() -> None:
    assert page.in_words({"steps": 3000.0, "share": 0.12345, "ratio": 2.5e7}) == (
        "steps 3000; share 0.123; ratio 2.5e7"
    )


def test_numbers_that_are_not_finite_are_shown_too() -> None:
    found = check.Check("s", (variance([1.0, math.nan, 1.0], [0.1, 0.2, 0.3]),), 1, 0.1)
    assert "layer_1 nan" in found.text()
    assert "<dd>nan</dd>" in page.check(found.record())


@pytest.mark.parametrize(
    "item",
    [
        judge.symmetry(twins=[], idle=[], num_kernels=2),
        judge.outputs(judge.Reach(-3.0, 5.0, 7.0, 0.0, 3, 3), takes_scores=True),
        judge.outputs(judge.Reach(-3.0, 5.0, 7.0, 0.0, 3, 3), takes_scores=False),
        judge_training.batch_mixing(training=0.0, evaluation=0.0, has_statistics=False),
        judge_training.modes(judge_training.Modes(0.0, 1.0, None, None, 1.0, False)),
        judge_training.penalty(off=2.3, on=2.4, error=0.0),
        variance([1.0, 1.0], [0.1, 0.2]),
    ],
)
def test_sentences_of_what_passes_carry_their_numbers(item: Item) -> None:
    assert item.level == "pass"
    assert any(character.isdigit() for character in item.sentence)


# ---- signals, outputs, gradients -------------------------------------------------------------


@pytest.mark.parametrize(
    ("activations", "gradients", "level"),
    [
        ([1.0, 0.0, 0.0], [0.1, 0.2, 0.3], "fail"),  # gone from the second layer on
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.1], "fail"),  # zeros from the start
        ([1.0, 0.0, 0.4], [0.0, 0.0, 0.1], "fail"),  # a dead layer, its biases behind it
        ([1.0, 1.0, 1.0], [0.0, 0.2, 0.3], "fail"),  # the way back is cut
        ([1.0, 1.0, 0.0], [0.0, 0.0, 0.0], "fail"),  # no gradient at all
        ([1.0, 1.0, 0.0], [0.0, 0.0, 0.3], "pass"),  # an output layer that starts at 0
        ([1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.3], "pass"),  # and with a branch that does
        ([1.0, 0.0, 1.0, 1.0], [0.1, 0.1, 0.1, 0.3], "pass"),
        ([0.0], [0.3], "pass"),
    ],
)
def test_signals_that_are_gone_fail_and_what_starts_at_zero_passes(
    activations: list[float], gradients: list[float], level: str
) -> None:
    assert variance(activations, gradients).level == level


def test_an_output_layer_of_zeros_that_starts_at_the_base_rate_passes() -> None:
    assert variance([1.0, 1.0, 0.3], [0.0, 0.0, 0.3], spread=0.0).level == "pass"
    assert variance([1.0, 1.0, 0.3], [0.0, 0.0, 0.3], spread=0.5).level == "fail"


def test_a_sentence_says_where_the_signal_ends() -> None:
    assert "What layer_1 gives is the same" in variance([1.0, 0.0, 0.0], [0.1, 0.2, 0.3]).sentence
    assert "from layer_1 back to layer_0" in variance([1.0, 1.0, 1.0], [0.0, 0.2, 0.3]).sentence


def test_all_that_is_wrong_with_outputs_is_said_worst_first() -> None:
    item = judge.outputs(judge.Reach(0.0, 1.0, 1e-9, 0.0, 20, 10), takes_scores=True)
    assert item.level == "fail"
    assert item.sentence.index("softmax") < item.sentence.index("20 outputs")
    assert "Take the softmax off" in item.advice
    assert "Leave model.num_outputs out" in item.advice
    many = judge.outputs(judge.Reach(-5.0, 5.0, 9.0, 0.0, 20, 10), takes_scores=True)
    assert many.level == "warn"


def test_gradients_that_could_not_be_compared_do_not_pass() -> None:
    item = judge_training.gradient({}, num_kinks=8, num_entries=0, bits=64, unknown=["a", "b"])
    assert item.level == "warn"
    assert "all 8 entries lay at a kink" in item.sentence
    assert item.advice
    slopes = {
        "error": np.ones((2, 4)),
        "is_kink": np.array([[True] * 4, [True] * 4]),
        "bits": 64,
        "has_inputs": False,
    }
    assert check_items._gradient_item(slopes, ["a", "b"]).level == "warn"
    half = slopes | {"error": np.array([[1.0] * 4, [1e-9] * 4])}
    found = check_items._gradient_item(half, ["a", "b"])
    assert found.level == "pass"  # right at the kink counts as right
    assert "all that were tried of a" in found.sentence


# ---- stability -------------------------------------------------------------------------------

SOUND = judge_training.Course(0.1, 2.3, 2.3, 0.5)


def test_a_rate_that_is_too_high_tells_its_peak() -> None:
    high = judge_training.Course(0.01, 1.5, 9.7, 1.14)
    said = judge_training.stability([{1.0: high}], num_steps=50).sentence
    assert "from 1.5 to a peak of 9.7, and is 1.14 at the end" in said
    lost = replace(high, peak=math.nan, end=math.nan)
    assert "no number" in judge_training.stability([{1.0: lost}], num_steps=50).sentence


def test_only_what_was_probed_is_said() -> None:
    def said(*factors: float) -> str:
        course = {factor: replace(SOUND, rate=0.1 * factor) for factor in factors}
        return judge_training.stability([course], num_steps=50).sentence

    assert "times the rate" not in said(1.0)
    assert "so are 2 times the rate" in said(1.0, 2.0)
    assert "so are 2 and 5 times the rate" in said(1.0, 2.0, 5.0)


def test_of_several_rates_each_is_judged_by_its_own_probes() -> None:
    def course(rate: float, **lost: bool) -> dict[float, judge_training.Course]:
        end = {1.0: lost.get("own"), 2.0: lost.get("twice"), 5.0: lost.get("five")}
        return {
            f: replace(SOUND, rate=rate * f, end=math.nan if is_lost else 0.5)
            for f, is_lost in end.items()
        }

    rates = [
        course(0.01),
        course(0.1, five=True),
        course(0.3, twice=True, five=True),
        course(1.0, own=True, twice=True, five=True),
    ]
    item = judge_training.stability(rates, num_steps=50)
    assert item.level == "pass"
    assert item.sentence == (
        "3 of 4 rates are stable over 50 steps (0.01 to 0.3); from 1 on the loss goes up; at 2 times 0.3 the loss goes up; at 5 times "
        "0.1 the loss goes up."
    )
    none = judge_training.stability(rates[3:] * 2, num_steps=50)
    assert none.level == "fail"
    assert "the lowest of 2; no other is stable" in none.sentence
    assert (
        "so are 2 and 5 times each" in judge_training.stability(rates[:1] * 2, num_steps=9).sentence
    )


# ---- data ------------------------------------------------------------------------------------


def data_item(x: np.ndarray, y: np.ndarray, split: dict[str, Any], name: str) -> Item:
    study = lanework.Study(study="d", data={"source": (x, y), "split": split}, model="mlp")
    (dataset,) = prepared_of(study).datasets
    return next(item for item in check_data.items(dataset) if item.name == name)


def prepared_of(study: lanework.Study) -> preparing.Prepared:
    return study._prepare(study.spec, memory=None, known=None)


def test_copies_of_training_rows_are_found_however_many_rows_there_are() -> None:
    generator = np.random.default_rng(0)
    whole = generator.normal(size=(200_000, 4)).astype(np.float32)
    part = SimpleNamespace
    rows = lambda x: check_data.Part(x, np.zeros(len(x), np.int32))
    info = part(is_stepwise=False, kind="table", num_numeric=4)
    dataset: Any = part(
        train=rows(whole), val=rows(whole[:30_000]), task="classification", input=info
    )
    item = check_data._duplicates(dataset)
    assert item.numbers["val_seen"] == 1.0
    assert item.level == "warn"
    other = generator.normal(size=(30_000, 4)).astype(np.float32)
    dataset.val = rows(other)
    assert check_data._duplicates(dataset).level == "pass"


def test_columns_of_few_values_repeat_rows_without_a_fault() -> None:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 3, (800, 3)).astype(np.float32)
    y = (x.sum(axis=1) + generator.normal(size=800) > 3).astype(int)
    item = data_item(x, y, {"train": 0.6, "val": 0.4, "test": 0.0}, "duplicates")
    assert item.level == "pass"
    assert item.numbers["conflicting"] > judge_data.SEEN
    assert "says nothing" in item.sentence
    rows = np.repeat(generator.normal(size=(200, 6)), 4, axis=0).astype(np.float32)
    found = data_item(
        rows, generator.integers(0, 2, 800), {"train": 0.6, "val": 0.4, "test": 0.0}, "duplicates"
    )
    assert found.level == "warn"
    assert "belong together" in found.advice
    assert "copies stay together" in found.advice  # both are said


# ---- merging ---------------------------------------------------------------------------------


def arms(*names: str) -> list[Any]:
    return [SimpleNamespace(name=name, factors={"recipe": name}) for name in names]


def test_of_several_passes_the_least_comfortable_speaks_with_the_numbers_of_all() -> None:
    items = [
        judge.initial_loss(loss=loss, neutral=2.3, prior=2.3, is_entropy=True)
        for loss in (2.4, 4.9, 2.5)
    ]
    (one,) = check_items.merged(arms("a", "b", "c"), [(item, (i,)) for i, item in enumerate(items)])
    assert one.level == "pass"
    assert one.arm == ""
    assert one.numbers["loss"] == 4.9
    assert (one.numbers["loss.least"], one.numbers["loss.most"]) == (2.4, 4.9)
    assert "neutral.least" not in one.numbers
    assert one.sentence.endswith("(This is the least comfortable of 3: b.)")


def test_numbers_that_only_one_of_several_has_are_kept() -> None:
    one, other = Item("rates", "pass", {"x1.0.1": 2.0}, "a"), Item("rates", "pass", {"x1.0.2": 3.0})
    (told,) = check_items.merged(arms("a", "b"), [(one, (0,)), (other, (1,))])
    assert told.numbers == {"x1.0.1": 2.0, "x1.0.2": 3.0}


def test_equal_findings_are_told_once_and_different_ones_apart() -> None:
    bad = judge.initial_loss(loss=6.0, neutral=2.3, prior=2.3, is_entropy=True)
    worse = judge.initial_loss(loss=7.0, neutral=2.3, prior=2.3, is_entropy=True)
    good = judge.initial_loss(loss=2.3, neutral=2.3, prior=2.3, is_entropy=True)
    told = check_items.merged(
        arms("a", "b", "c", "d"), [(good, (0,)), (bad, (1,)), (worse, (2,)), (bad, (3,))]
    )
    assert [item.level for item in told] == ["warn", "pass"]
    assert "7 at the start" in told[0].sentence
    assert "the worst of 3: c" in told[0].sentence
    assert told[0].arm == "b and 2 more"
    alike = check_items.merged(arms("a", "b"), [(bad, (0,)), (bad, (1,))])
    assert [item.sentence for item in alike] == [bad.sentence]


# ---- settings --------------------------------------------------------------------------------


def told_of(**changes: Any) -> dict[str, Item]:
    given: dict[str, Any] = {
        "study": "settings",
        "data": "iris",
        "model": {"net": "mlp", "hidden": [8]},
        "train": {"epochs": 8, "batch_size": 16},
    }
    study = lanework.Study(**(given | changes))
    return {item.name: item for item in check_settings.items(prepared_of(study))}


@pytest.mark.parametrize(
    ("changes", "name", "level", "advice"),
    [
        ({"train": {"loss": "mse"}}, "wrong_loss", "warn", "usual loss"),
        ({"data": {"source": "digits", "label_noise": 0.4}}, "labels_wrong", "fail", "labels"),
        ({"train": {"reduction": "sum"}}, "loss_summed", "warn", "Average"),
        ({"train": {"sampling": "in_order"}}, "not_shuffled", "fail", "Shuffle"),
        ({"model": {"activation": "identity"}}, "hidden_activation", "warn", "non-linear"),
        (
            {"data": {"source": "iris", "prepare_held_out": "none"}},
            "parts_prepared_differently",
            "fail",
            "like training",
        ),
        (
            {"model": {"dropout": 0.5, "dropout_at_evaluation": True}},
            "dropout_at_evaluation",
            "fail",
            "Switch dropout off",
        ),
        (
            {"model": {"norm": "batch"}, "train": {"batch_size": 4}},
            "batch_too_small",
            "warn",
            "larger batches",
        ),
    ],
)
def test_settings_that_are_mistakes_are_named(
    changes: dict[str, Any], name: str, level: str, advice: str
) -> None:
    found = told_of(**changes)
    assert set(found) == {name}
    assert found[name].level == level
    assert advice in found[name].advice
    assert found[name].sentence
    assert found[name].source


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model": {"hidden": [], "activation": "identity"}},
        {"train": {"sampling": "in_order", "batch_size": "all"}},
        {"train": {"reduction": "sum", "batch_size": 1}},
        {"data": {"source": "iris", "prepare": "none", "prepare_held_out": "none"}},
        {"model": {"dropout_at_evaluation": True}},
        {"model": {"dropout": 0.5, "mc_passes": 20}},
        {"data": "diabetes", "train": {"loss": "mae"}},
    ],
)
def test_settings_that_only_seem_mistakes_are_passed(changes: dict[str, Any]) -> None:
    found = told_of(**changes)
    assert set(found) == {"settings"}
    assert found["settings"].level == "pass"


def test_mistakes_are_told_of_the_configurations_that_have_them() -> None:
    found = told_of(compare={"reduction": ["mean", "sum"]})
    assert found["loss_summed"].arm == "reduction=sum"
    assert found["settings"].arm == "reduction=mean"


# ---- measured on whole studies ---------------------------------------------------------------


def checked(**changes: Any) -> dict[str, Item]:
    given: dict[str, Any] = {
        "study": "items",
        "data": "iris",
        "model": {"net": "mlp", "hidden": [8]},
        "train": {"epochs": 8, "batch_size": 16},
    }
    found = lanework.Study(**(given | changes)).check()
    return {item.name: item for item in found.items}


@contextmanager
def groups_of(prepared: preparing.Prepared) -> Iterator[list[check_networks.Group]]:
    """The groups of a prepared study, its programs compiled meanwhile."""
    with ThreadPoolExecutor(2) as pool:
        built = [check._programs(prepared, laid, pool) for laid in prepared.laid]
        yield check_networks.groups(prepared, built)


@pytest.mark.slow
def test_built_in_dropout_that_stays_on_at_evaluation_fails_and_monte_carlo_passes() -> None:
    model = {"net": "mlp", "hidden": [8], "dropout": 0.5}
    found = checked(model=model | {"dropout_at_evaluation": True})
    assert found["modes"].level == "fail"
    assert "something random is on" in found["modes"].sentence
    assert found["dropout_at_evaluation"].level == "fail"
    meant = checked(model=model | {"mc_passes": 5})
    assert meant["modes"].level == "pass"
    assert "dropout_at_evaluation" not in meant


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"data": {"source": "wine", "prepare": "none"}}, "input_scale"),
        ({"data": {"source": "diabetes", "scale_target": False}}, "target_scale"),
        ({"model": {"output_activation": "softmax"}}, "outputs"),
        (
            {
                "data": "breast_cancer",
                "model": {"output_activation": "softmax"},
                "train": {"loss": "binary_cross_entropy"},
            },
            "outputs",
        ),
        ({"data": "diabetes", "model": {"output_activation": "sigmoid"}}, "outputs"),
        ({"model": {"num_outputs": 20}}, "outputs"),
        ({"model": {"init": "zeros"}}, "symmetry"),
        ({"model": {"dropout": 0.5, "dropout_form": "vanilla_unscaled"}}, "modes"),
        ({"model": {"num_outputs": 1}, "train": {"loss": "mse"}}, "wrong_loss"),
    ],
)
def test_mistakes_that_are_measured_are_named(changes: dict[str, Any], name: str) -> None:
    assert checked(**changes)[name].level != "pass"


def test_the_objective_is_evaluated_with_the_penalty_and_without() -> None:
    study = lanework.Study(
        study="penalised",
        data="iris",
        model={"net": "mlp", "hidden": [8]},
        train={"epochs": 8, "batch_size": 16},
        compare={"l2": [0.0, 0.1, 0.2], "l1": [0.0, 0.01]},
    )
    prepared = prepared_of(study)
    with groups_of(prepared) as (group,):
        told = check_networks._objectives(prepared, group)
        loss = float(check_networks.look(group)["loss"][0])
    params = jax.tree.map(lambda leaf: np.asarray(leaf[0], np.float64), group.start.params)
    kernels = [layer["kernel"] for layer in params.values()]
    squares = sum(float(np.square(kernel).sum()) for kernel in kernels)
    sizes = sum(float(np.abs(kernel).sum()) for kernel in kernels)
    assert len(told) == 5  # all but the one without a penalty
    for arm, (off, on) in told.items():
        train = prepared.arms[arm].config.train
        np.testing.assert_allclose(off, loss, rtol=1e-5)
        np.testing.assert_allclose(on - off, train.l2 / 2 * squares + train.l1 * sizes, rtol=1e-9)


def test_a_penalty_that_is_not_added_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    study = lanework.Study(
        study="unpenalised", data="iris", model="mlp", train={"epochs": 8, "l2": 0.01}
    )
    prepared = prepared_of(study)
    with groups_of(prepared) as (group,):
        monkeypatch.setattr(recipes, "penalty", lambda params, hypers: jnp.zeros(()))
        # A function of its own is no program that was kept on disk.
        pieces = replace(group.pieces, identity=None)
        told = check_networks._objectives(prepared, replace(group, pieces=pieces))
    ((item, _),) = check_items._penalty_items({"objectives": told})
    assert item.level == "fail"
    assert "does not go up" in item.sentence


def test_rates_that_are_compared_are_probed_beyond_and_each_only_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probed: list[float] = []

    def probe(programs: Any, runs: Any, *, order: Any, boundaries: Any) -> np.ndarray:
        probed.extend(run.hypers["learning_rate"] for run in runs)
        losses = [0.3 if run.hypers["learning_rate"] < 0.09 else math.nan for run in runs]
        return np.repeat(np.array(losses)[:, None], len(boundaries), axis=1)

    monkeypatch.setattr(gating, "probe", probe)
    found = checked(compare={"learning_rate": [0.01, 0.02, 0.04]})["stability"]
    assert sorted(probed) == [0.01, 0.02, 0.04, 0.05, 0.08, 0.1, 0.2]
    assert found.level == "pass"
    assert "at 5 times 0.02, 0.04 the loss goes up" in found.sentence
    assert math.isnan(found.numbers["end_x5.0.1"])
    assert check_rates._known(0.05 * 2) == 0.1


# ---- by heart --------------------------------------------------------------------------------


def by_heart(share: float, *, is_falling: bool) -> str:
    return judge_training.overfit(
        start=2.3, end=2.3 * share, is_falling=is_falling, num_samples=20, num_steps=300
    ).level


def test_a_handful_must_be_known_nearly_by_heart() -> None:
    assert by_heart(0.009, is_falling=False) == "pass"
    assert by_heart(0.02, is_falling=False) == "warn"
    assert by_heart(0.15, is_falling=True) == "warn"  # falling is no excuse
    assert by_heart(0.5, is_falling=True) == "warn"
    assert by_heart(0.3, is_falling=False) == "fail"
    assert by_heart(1.1, is_falling=True) == "fail"


@pytest.mark.slow
def test_where_few_steps_are_not_enough_there_are_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_networks, "MOST_TRAINING", 40)
    found = checked(model={"net": "mlp", "hidden": [16]}, data="diabetes")["overfit"]
    assert found.level == "pass"
    assert 40 < found.numbers["steps"] < check_networks.MOST_LONGER


def trained(rows: np.ndarray, *, num_steps: int, enough: float | None = None) -> dict[str, Any]:
    """A linear regression without noise, by the gate's short training."""
    course = gate.Course(
        jnp.asarray(rows, jnp.int32),
        jnp.arange(8, dtype=jnp.int32),
        jnp.float32(0.05),
        jnp.zeros((), jnp.bool_),
        jnp.int32(num_steps),
        None if enough is None else jnp.float32(enough),
    )
    model = gate.Model(linear, squares, ("w",), dict)
    told = gate.short_training(
        model,
        {"w": jnp.zeros((3, 1))},
        {},
        course,
        samples=gate.Samples(jnp.asarray(INPUTS), jnp.asarray(TARGETS)),
        key=jax.random.key(0),
        hypers={},
    )
    return jax.tree.map(np.asarray, told)


INPUTS = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
TARGETS = INPUTS @ np.array([[1.0], [-2.0], [0.5]], np.float32)


def linear(params: Any, state: Any, x: Any, **rest: Any) -> Any:
    return x @ params["w"], state


def squares(outputs: Any, y: Any, hypers: Any) -> Any:
    return jnp.mean(jnp.square(outputs - y), axis=1), jnp.ones((len(y),))


def test_a_short_training_is_adam_with_a_rate_that_falls_to_a_tenth() -> None:
    rows = np.random.default_rng(1).integers(0, 16, (7, 4))
    told = trained(rows, num_steps=40)
    rule = optax.adam(lambda count: 0.05 * (1.0 - 0.9 * count / 40))
    weights = {"w": jnp.zeros((3, 1))}
    state, losses = rule.init(weights), []
    for step in range(40):
        own = rows[step % 7]
        loss = lambda at, own=own: jnp.mean(squares(INPUTS[own] @ at["w"], TARGETS[own], {})[0])
        value, grads = jax.value_and_grad(loss)(weights)
        updates, state = rule.update(grads, state)
        weights = optax.apply_updates(weights, updates)
        losses.append(float(value))
    np.testing.assert_allclose(told["losses"], np.reshape(losses, (10, 4)).mean(axis=1), rtol=1e-4)
    after = float(np.mean(squares(INPUTS[:8] @ weights["w"], TARGETS[:8], {})[0]))
    np.testing.assert_allclose(told["evaluation"], after, rtol=1e-3)
    assert told["steps"] == 40


def test_a_short_training_stops_when_it_is_enough_and_one_of_no_steps_does_nothing() -> None:
    rows = np.arange(16).reshape(1, 16)
    early = trained(rows, num_steps=400, enough=0.5)
    assert early["steps"] % gate.BLOCK == 0
    assert 0 < early["steps"] < 200
    assert early["evaluation"] < 1.0
    assert (early["losses"][-5:] == early["losses"][-1]).all()
    assert trained(rows, num_steps=400)["steps"] == 400
    none = trained(rows, num_steps=0)
    assert none["steps"] == 0
    assert (none["moved"] == 0).all()
