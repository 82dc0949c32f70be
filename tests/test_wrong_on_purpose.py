"""Mistakes that a study may make on purpose: summed losses, outputs of another number or form, wrong labels, no shuffling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lanework
from lanework import data
from lanework.cohort import assemble
from lanework.data import sampling
from lanework.data.label_noise import noisy_targets
from lanework.errors import DataError, SpecError
from lanework.export import read
from lanework.spec import DataSpec, expand, parse_study
from lanework.store import Store

NET = {"net": "mlp", "hidden": [8]}
TRAIN = {"epochs": 3, "batch_size": 16, "learning_rate": 0.01}


def study_of(source: str = "iris", **sections: Any) -> dict[str, Any]:
    return {
        "study": "wrong",
        "data": {"source": source, **sections.get("data", {})},
        "model": {**NET, **sections.get("model", {})},
        "train": {**TRAIN, **sections.get("train", {})},
    }


def config_of(source: str = "iris", **sections: Any) -> Any:
    return expand(parse_study(study_of(source, **sections), base=Path()))[0].config


def problem_of(source: str = "iris", **sections: Any) -> tuple[Any, Any]:
    config = config_of(source, **sections)
    dataset = data.load(config.data)
    return assemble.problem(config, dataset, used=frozenset({"dropout"})), dataset


def trained(folder: Path, source: str = "iris", **sections: Any) -> lanework.Results:
    return lanework.Study(**study_of(source, **sections)).run(folder)


def last(results: lanework.Results, name: str) -> float:
    with Store(results.folder, create=False) as store:
        return [row.value for row in store.metrics() if row.name == name][-1]


def refused(source: str = "iris", **sections: Any) -> str:
    with pytest.raises(SpecError) as caught:
        parse_study(study_of(source, **sections), base=Path())
    return str(caught.value)


# ---- the keys themselves -----------------------------------------------------------------------


def test_what_is_wrong_with_the_keys_is_told_together() -> None:
    text = refused(
        data={"label_noise": 1.5, "prepare_held_out": "raw"},
        model={"output_activation": "softmx", "num_outputs": 0},
        train={"reduction": "total", "sampling": "inorder"},
    )
    for path in ("data.label_noise", "data.prepare_held_out", "model.output_activation"):
        assert path in text
    assert "train.reduction: must be mean or sum, got 'total'" in text.replace('"', "'")
    assert "in_order" in text
    assert "model.num_outputs" in text


def test_dropout_at_evaluation_is_said_once() -> None:
    text = refused(model={"dropout": 0.5, "mc_passes": 3, "dropout_at_evaluation": True})
    assert "model.dropout_at_evaluation: must be left out with mc_passes, got true with 3" in text


# ---- summed losses -----------------------------------------------------------------------------


def batch_of(dataset: Any, count: int, weight: np.ndarray) -> dict[str, Any]:
    part = assemble.parts(dataset)["train"]
    return {name: jnp.asarray(array[:count]) for name, array in part.items()} | {
        "weight": jnp.asarray(weight, jnp.float32)
    }


def test_the_gradient_of_a_summed_loss_is_the_batch_size_times_that_of_the_mean() -> None:
    weight = np.array([1.0] * 10 + [0.0] * 2)  # two samples only fill the batch up
    grads, values = {}, {}
    for reduction in ("mean", "sum"):
        problem, dataset = problem_of(train={"reduction": reduction})
        batch = batch_of(dataset, 12, weight)
        params, state = problem.init(jax.random.key(0))

        def loss(
            params: Any, problem: Any = problem, state: Any = state, batch: Any = batch
        ) -> Any:
            return problem.loss(params, state, batch, key=jax.random.key(1), hypers={})[0]

        values[reduction], grads[reduction] = jax.value_and_grad(loss)(params)
        assert (problem.terms is None) == (reduction == "mean")
    assert problem.terms(batch) == 10.0
    np.testing.assert_allclose(values["sum"], 10 * values["mean"], rtol=1e-5)
    for summed, mean in zip(*map(jax.tree.leaves, (grads["sum"], grads["mean"])), strict=True):
        np.testing.assert_allclose(summed, 10 * mean, rtol=1e-4, atol=1e-5)


def test_a_summed_loss_is_recorded_as_a_mean_and_trains_as_a_larger_rate(tmp_path: Path) -> None:
    # Full batches and plain gradient descent: summed over 105 samples is the mean at 105 times the rate.
    plain = {"batch_size": "all", "optimizer": "sgd", "epochs": 5}
    summed = trained(tmp_path / "sum", train={**plain, "learning_rate": 1e-3, "reduction": "sum"})
    mean = trained(tmp_path / "mean", train={**plain, "learning_rate": 0.105})
    for name in ("train_loss", "val_loss"):
        assert last(summed, name) == pytest.approx(last(mean, name), rel=1e-3)


# ---- outputs -----------------------------------------------------------------------------------


def accuracy_by_model(results: lanework.Results, source: str) -> float:
    """Share of validation rows that the exported model answers right."""
    model = read(results.folder / "best")
    dataset = data.load(DataSpec(source=source))
    answers = model.probabilities(model.forward(dataset.val.x)).argmax(axis=-1)
    return float(np.mean(answers == dataset.val.y))


@pytest.mark.parametrize(
    ("model", "train"),
    [
        ({"num_outputs": 1}, {"loss": "mse", "epochs": 30}),
        ({"num_outputs": 5}, {"loss": "cross_entropy"}),
    ],
    ids=["class as a number", "more outputs than classes"],
)
def test_metrics_and_the_exported_model_agree_on_odd_outputs(
    tmp_path: Path, model: dict[str, Any], train: dict[str, Any]
) -> None:
    results = trained(tmp_path, model=model, train=train)
    assert last(results, "val_accuracy") == pytest.approx(accuracy_by_model(results, "iris"))
    probabilities = read(results.folder / "best").predict_proba(np.ones((2, 4)))
    assert probabilities.shape == (2, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "model", "train"),
    [
        ("iris", {}, {"loss": "mse"}),
        ("iris", {"num_outputs": 1}, {"loss": "binary_cross_entropy"}),
        ("iris", {"output_activation": "softmax"}, {}),
        ("iris", {"output_activation": "sigmoid"}, {"loss": "hinge"}),
        ("iris", {"output_activation": "relu"}, {}),
        ("breast_cancer", {"output_activation": "softmax"}, {"loss": "binary_cross_entropy"}),
        (
            "breast_cancer",
            {"output_activation": "sigmoid"},
            {"loss": "mse", "average": {"name": "checkpoints", "count": 2}},
        ),
    ],
)
def test_odd_losses_and_output_activations_train_and_export(
    tmp_path: Path, source: str, model: dict[str, Any], train: dict[str, Any]
) -> None:
    results = trained(tmp_path, source, model=model, train=train)
    assert last(results, "val_accuracy") == pytest.approx(accuracy_by_model(results, source))


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_an_output_activation_bounds_what_a_regression_can_say(
    tmp_path: Path, activation: str
) -> None:
    results = trained(tmp_path, "diabetes", model={"output_activation": activation})
    model = read(results.folder / "best")
    dataset = data.load(DataSpec(source="diabetes"))
    outputs = model.forward(dataset.val.x)
    assert outputs.min() >= 0.0
    assert activation != "sigmoid" or outputs.max() <= 1.0
    told = float(np.sqrt(np.mean((outputs - dataset.val.y) ** 2))) * dataset.target_scale[0]
    assert last(results, "val_rmse") == pytest.approx(told, rel=1e-4)


@pytest.mark.parametrize(
    ("outputs", "loss"), [(2, "cross_entropy"), (2, "mse"), (1, "hinge"), (1, "focal")]
)
def test_fewer_outputs_than_classes_are_refused_where_a_class_would_have_none(
    outputs: int, loss: str
) -> None:
    with pytest.raises(SpecError, match=r"model\.num_outputs: must be at least 3 for") as caught:
        problem_of(model={"num_outputs": outputs}, train={"loss": loss})
    assert "A single output takes the class as a number, with loss: mse" in str(caught.value)


# ---- data --------------------------------------------------------------------------------------


def test_label_noise_spoils_the_share_of_training_rows_and_no_other() -> None:
    clean, noisy = (data.load(DataSpec(source="iris", label_noise=share)) for share in (0.0, 0.2))
    wrong = clean.train.y != noisy.train.y
    assert wrong.sum() == round(0.2 * len(clean.train.y))
    np.testing.assert_array_equal(clean.val.y, noisy.val.y)
    np.testing.assert_array_equal(clean.test.y, noisy.test.y)
    np.testing.assert_array_equal(clean.train.x, noisy.train.x)
    assert "21 of 105 training targets replaced by another class" in str(noisy.summary["decisions"])
    again = data.load(DataSpec(source="iris", label_noise=0.2))
    np.testing.assert_array_equal(noisy.train.y, again.train.y)


def test_label_noise_gives_each_other_class_the_same_chance() -> None:
    rows = np.arange(6000)
    wrong = noisy_targets(
        np.zeros(6000, np.int32), rows=rows, num_rows=6000, share=1.0, seed=3, num_classes=4
    )
    counts = np.bincount(wrong, minlength=4)
    assert counts[0] == 0
    assert np.all(np.abs(counts[1:] - 2000) < 5 * np.sqrt(6000 * 2 / 9))


def test_label_noise_on_numbers_exchanges_them() -> None:
    clean, noisy = (data.load(DataSpec(source="diabetes", label_noise=s)) for s in (0.0, 1.0))
    assert not np.array_equal(clean.train.y, noisy.train.y)
    np.testing.assert_allclose(np.sort(clean.train.y, axis=0), np.sort(noisy.train.y, axis=0))


def test_label_noise_is_refused_for_a_running_text(tmp_path: Path) -> None:
    (tmp_path / "song.txt").write_text("la la la\n" * 200)
    with pytest.raises(DataError, match="label_noise: must be left out for a running text"):
        data.load(DataSpec(source=str(tmp_path / "song.txt"), label_noise=0.1))


def test_held_out_parts_can_be_left_as_they_are() -> None:
    raw = data.load(DataSpec(source="wine", prepare="none"))
    same = data.load(DataSpec(source="wine"))
    apart = data.load(DataSpec(source="wine", prepare_held_out="none"))
    np.testing.assert_array_equal(apart.train.x, same.train.x)
    for part in ("val", "test"):
        np.testing.assert_array_equal(getattr(apart, part).x, getattr(raw, part).x)
    assert apart.fingerprint != same.fingerprint


def test_held_out_images_can_be_left_as_they_are() -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 1)).astype(np.uint8)
    y = np.arange(40) % 2
    spec = DataSpec(source="<object>", task="classification", prepare_held_out="none")
    made = data.load(spec, arrays=(images, y))
    assert made.input_scale is None  # parts in ways of their own cannot be scaled by one program
    assert abs(float(made.train.x.mean())) < 0.05
    assert made.val.x.mean() > 50


def test_held_out_parts_cannot_be_left_where_columns_are_made_anew() -> None:
    with pytest.raises(DataError, match="prepare_held_out: must be same with steps that make"):
        data.load(DataSpec(source="wine", prepare="pca", prepare_held_out="none"))


# ---- order and dropout -------------------------------------------------------------------------


def test_batches_in_order_are_the_same_in_every_epoch() -> None:
    order = sampling.PLAIN_EPOCHS["in_order"](7, 3, seed=5)
    assert order(0).tolist() == [[0, 1, 2], [3, 4, 5], [6, ~0, ~1]]
    np.testing.assert_array_equal(order(0), order(9))
    full = sampling.PLAIN_EPOCHS["in_order"](6, 3, seed=5)
    assert full(0).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_rows_sorted_by_class_in_order_forget_the_others(tmp_path: Path) -> None:
    # The rows of iris are sorted by class.
    shown = {
        name: trained(tmp_path / name, train={"sampling": name, "epochs": 2, "optimizer": "sgd"})
        for name in ("shuffled", "in_order")
    }
    losses = {name: last(results, "train_loss") for name, results in shown.items()}
    assert losses["in_order"] != losses["shuffled"]


def test_dropout_left_on_at_evaluation_is_one_pass_with_dropout() -> None:
    sections = {"model": {"hidden": [32], "dropout": 0.5}}
    outputs = {}
    for is_on in (False, True):
        sections["model"]["dropout_at_evaluation"] = is_on
        problem, dataset = problem_of(**sections)
        params, state = problem.init(jax.random.key(0))
        batch = batch_of(dataset, 50, np.ones(50))
        sums = problem.evaluate(
            params, state, batch, problem.zero_sums(), hypers={"dropout": jnp.float32(0.5)}
        )
        outputs[is_on] = float(problem.finish(sums)["loss"])
    assert outputs[True] != pytest.approx(outputs[False], rel=1e-3)
