"""Cross-validation: folds as lanes, each with data and a preparation of its own, told apart everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lanework
from lanework import data as data_package
from lanework.api import preparing
from lanework.data import even_epochs, load_folds, merged, sampling
from lanework.errors import DataError, SpecError
from lanework.spec import DataSpec
from lanework.stats import Resampling, paired_test, rank_arms
from lanework.store import Store

RECIPE: dict[str, Any] = {
    "model": {"net": "mlp", "hidden": [8]},
    "train": {"epochs": 4, "batch_size": 16, "learning_rate": 0.01},
}


def frame(num_rows: int = 150) -> pd.DataFrame:
    generator = np.random.default_rng(3)
    size = generator.lognormal(1, 1, num_rows)
    town = generator.choice(list("abcdefghijklm"), num_rows, p=np.arange(13, 0, -1) / 91)
    noise = generator.normal(0, 1, num_rows)
    return pd.DataFrame(
        {
            "size": np.where(generator.random(num_rows) < 0.1, np.nan, size),
            "town": town,
            "who": generator.integers(0, 25, num_rows).astype(str),
            "price": np.exp(0.5 * size.clip(0, 6) + 0.3 * noise),
        }
    )


def spec(**changes: Any) -> DataSpec:
    return DataSpec.model_validate(
        {"source": "<object>", "target": "price", "columns": {"who": "ignore"}, **changes}
    )


def test_each_fold_learns_its_own_preparation_and_all_have_one_shape():
    for categories in ("onehot", "embed"):
        folds = load_folds(spec(split={"folds": 5}, categories=categories), arrays=frame())
        assert len({fold.train.x.shape[1:] for fold in folds}) == 1
        assert len({fold.input for fold in folds}) == 1
        shifts = {fold.preparation.numbers[0].shift for fold in folds}
        assert len(shifts) == 5, "each training part has a mean of its own"
        for fold in folds:
            learned = fold.train.x[:, 0]
            assert abs(float(learned.mean())) < 1e-5
            rows = fold.preparation.transform(frame())
            known = {row.tobytes() for row in rows}
            assert {row.tobytes() for row in fold.val.x} <= known


def test_folds_that_know_fewer_levels_get_inputs_that_are_always_zero():
    rows = frame(60)
    folds = load_folds(spec(split={"folds": 10}), arrays=rows)
    assert any(fold.preparation.padding for fold in folds)
    for fold in folds:
        padding = fold.preparation.padding
        own = fold.input.num_numeric - padding
        assert not fold.train.x[:, own:].any()


def test_merged_folds_share_memory_and_keep_every_row():
    folds = load_folds(spec(split={"folds": 4}), arrays=frame(61))
    whole, views = merged(folds)
    for fold, view in zip(folds, views, strict=True):
        np.testing.assert_array_equal(view.train.x, fold.train.x)
        np.testing.assert_array_equal(view.val.y, fold.val.y)
        assert np.shares_memory(view.train.x, whole.train.x)
    assert len(whole.val) == 4 * max(len(fold.val) for fold in folds)


@settings(deadline=None, max_examples=40)
@given(
    num_samples=st.integers(1, 60),
    batch_size=st.integers(1, 70),
    more_steps=st.integers(0, 4),
    epoch=st.integers(0, 3),
)
def test_an_epoch_in_more_batches_still_counts_every_sample_once(
    num_samples, batch_size, more_steps, epoch
):
    own = min(batch_size, num_samples)
    order = sampling.shuffled_epochs(num_samples, own, seed=1)
    steps = min(-(-num_samples // own) + more_steps, num_samples)
    steps = max(steps, -(-num_samples // own))
    batches = even_epochs(order, batch_size, steps_per_epoch=steps)(epoch)
    assert batches.shape == (steps, batch_size)
    assert sorted(batches[batches >= 0].tolist()) == list(range(num_samples))
    assert (batches >= 0).any(axis=1).all(), "no batch is filling only"
    assert np.where(batches < 0, ~batches, batches).max() < num_samples


@pytest.mark.slow
def test_a_fold_among_the_others_is_the_fold_alone(tmp_path, monkeypatch):
    rows = frame()
    given = {"source": rows, "target": "price", "split": {"folds": 3, "group": "who"}}
    together = lanework.Study(data=given, **RECIPE, seeds=2)
    found = together.run(tmp_path / "together").frame().set_index(["seed", "fold"])
    folds = load_folds(together.spec.data, arrays=rows)
    assert len({-(-len(fold.train) // 16) for fold in folds}) == 1, "else there is no twin"
    assert len({len(fold.val) for fold in folds}) > 1, "validation parts differ in size here"
    shortest = int(np.argmin([len(fold.val) for fold in folds]))
    monkeypatch.setattr(data_package, "load_folds", lambda *a, **k: (folds[shortest],))
    plain = {"source": rows, "target": "price"}
    alone = lanework.Study(data=plain, **RECIPE, seeds=2).run(tmp_path / "alone")
    for _, row in alone.frame().iterrows():
        twin = found.loc[(row["seed"], shortest)]
        for name in ("val_rmse", "train_rmse", "val_loss", "val_r2"):
            assert twin[name] == pytest.approx(row[name], rel=1e-4), name


@pytest.mark.parametrize("log_target", [pytest.param(False, marks=pytest.mark.slow), True])
def test_metrics_of_every_fold_are_in_the_unit_of_the_target(tmp_path, monkeypatch, log_target):
    rows = frame()
    given = {
        "source": rows,
        "target": "price",
        "columns": {"who": "ignore"},
        "log_target": log_target,
        "split": {"folds": 3},
    }
    study = lanework.Study(data=given, **RECIPE)
    folds = load_folds(study.spec.data, arrays=rows)
    results = study.run(tmp_path / "a")
    model = results.best()
    with Store(tmp_path / "a", create=False) as store:
        fold = store.runs()[model.run].fold
        told = store.results()[model.run].metrics
    assert fold is not None
    outputs = model.forward(folds[fold].val.x)
    record = folds[fold].preparation
    error = record.unscale(outputs) - record.unscale(folds[fold].val.y)
    assert told["val_rmse"] == pytest.approx(float(np.sqrt(np.mean(error**2))), rel=1e-4)
    assert model.predict(rows).shape == (150,)
    prices = rows["price"].to_numpy()
    assert (
        np.isclose(record.unscale(folds[fold].val.y)[:, 0], prices[:, None], rtol=1e-4).any(0).all()
    )


def test_every_recipe_seed_and_fold_is_a_run_and_says_so(tmp_path):
    study = lanework.Study(
        data={"source": "wine", "split": {"folds": 3, "repeats": 2, "test": 0.2}},
        **RECIPE,
        compare={"optimizer": ["sgd", "adam"]},
        seeds=2,
    )
    assert "2 recipes x 2 seeds x 6 folds = 24 runs" in study.plan().text()
    results = study.run(tmp_path / "a")
    table = results.frame()
    assert len(table) == 24
    assert sorted(table["fold"].unique()) == list(range(6))
    assert table["test_accuracy"].notna().all()
    told = json.loads((tmp_path / "a" / "results.json").read_text())
    assert told["study"]["folds"] == {"number": 3, "repeats": 2}
    assert {run["fold"] for run in told["runs"]} == set(range(6))
    text = results.summary()
    assert "Nadeau and Bengio 2003" in text
    assert "Cross-validation with 3 folds, dealt 2 times, means over 2 seeds first" in text
    assert "its 12 models have" in text
    value = told["arms"][0]["value"]
    best = table[table["arm"] == told["arms"][0]["name"]].groupby("fold")["val_accuracy"].mean()
    assert value["num_values"] == 6
    half = 2.5705818 * best.std() * np.sqrt(1 / 6 + 1 / 2)  # t with 5 degrees of freedom
    assert value["mean"] == pytest.approx(best.mean())
    assert value["low"] == pytest.approx(best.mean() - half, rel=1e-6)
    page = (tmp_path / "a" / "report.html").read_text()
    assert "Lines are means over folds" in page


def test_without_folds_nothing_speaks_of_them(tmp_path):
    results = lanework.Study(data="iris", **RECIPE, seeds=2).run(tmp_path / "a")
    assert "fold" not in results.frame().columns
    assert "fold" not in results.summary()


class StopError(Exception):
    """Raised in the middle of a study."""


@pytest.mark.parametrize("moment", [pytest.param(3, marks=pytest.mark.slow), 6])
def test_an_interrupted_cross_validation_goes_on_to_the_same_numbers(tmp_path, moment):
    study = lanework.Study(
        data={"source": "iris", "split": {"folds": 3}},
        **RECIPE,
        compare={"optimizer": ["sgd", "adam"]},
    )
    whole = study.run(tmp_path / "whole").frame()
    left = [moment]

    def stop(progress: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise StopError

    with pytest.raises(StopError):
        study.run(tmp_path / "half", progress=stop, snapshot_every_s=0.0)
    again = study.run(tmp_path / "half", resume=True).frame()
    pd.testing.assert_frame_equal(
        again.drop(columns=["seconds"]), whole.drop(columns=["seconds"]), check_exact=True
    )


@pytest.mark.slow
def test_batch_all_and_class_balanced_batches_work_on_uneven_folds(tmp_path):
    rows = frame()
    rows["label"] = np.where(rows["price"] > rows["price"].median(), "dear", "cheap")
    given = {
        "source": rows.drop(columns="price"),
        "target": "label",
        "split": {"folds": 3, "group": "who"},
    }
    for train in (
        {"epochs": 2, "batch_size": "all", "optimizer": "gd"},
        {"epochs": 2, "batch_size": 16, "sampling": "balanced"},
        {"epochs": 2, "batch_size": 16, "sampling": "hard"},
    ):
        name = str(train.get("sampling", "all"))
        found = lanework.Study(data=given, model=RECIPE["model"], train=train).run(tmp_path / name)
        assert (found.frame()["status"] == "ok").all()


@pytest.mark.slow
def test_byte_images_are_prepared_fold_by_fold(tmp_path):
    generator = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = (
        generator.integers(0, 100, (60, 8, 8, 1)).astype(np.uint8)
        + (y * 100).astype(np.uint8)[:, None, None, None]
    )
    given = {"source": (x, y), "split": {"folds": 3}}
    folds = load_folds(DataSpec.model_validate({**given, "source": "<object>"}), arrays=(x, y))
    assert {fold.train.x.dtype for fold in folds} == {np.dtype(np.float32)}
    assert len({fold.preparation.channel_shift for fold in folds}) == 3
    net = {"net": "mlp", "hidden": [8]}
    results = lanework.Study(
        data=given, model=net, train={"epochs": 10, "batch_size": 8, "learning_rate": 0.01}
    ).run(tmp_path / "a")
    assert results.frame()["val_accuracy"].min() > 0.9
    assert (results.best().predict(x) == y).mean() > 0.9


def test_the_corrected_test_equals_the_formula():
    generator = np.random.default_rng(0)
    first, second = generator.normal(0.2, 1, 10), generator.normal(0, 1, 10)
    found = paired_test(first, second, resampling=Resampling(tuple(range(10)), 1 / 9))
    difference = first - second
    from scipy.stats import t

    statistic = difference.mean() / np.sqrt((1 / 10 + 1 / 9) * difference.var(ddof=1))
    assert found.p_value == pytest.approx(2 * t.sf(abs(statistic), 9))
    plain = paired_test(first, second)
    assert found.difference.low < plain.difference.low
    assert found.difference.mean == pytest.approx(plain.difference.mean)


def test_seeds_of_a_fold_are_no_further_folds():
    values = np.array([[0.8, 0.8, 0.9, 0.9], [0.7, 0.7, 0.75, 0.75]])
    doubled = rank_arms(
        values,
        direction="max",
        is_bad=np.zeros((2, 4), bool),
        resampling=Resampling((0, 0, 1, 1), 1.0),
    )
    single = rank_arms(
        values[:, ::2],
        direction="max",
        is_bad=np.zeros((2, 2), bool),
        resampling=Resampling((0, 1), 1.0),
    )
    assert doubled[1].p_adjusted == pytest.approx(single[1].p_adjusted)
    assert doubled[0].interval == pytest.approx(single[0].interval)


@pytest.mark.slow
def test_uncorrected_intervals_over_folds_are_too_narrow_and_corrected_ones_cover():
    """Two rules that are equally good: how often do ten times ten folds call them different?"""
    generator = np.random.default_rng(1)
    plain, corrected = 0, 0
    for _ in range(200):
        x, y = generator.normal(size=(60, 2)), generator.normal(size=60)
        differences = []
        for _ in range(10):
            fold_of = generator.permutation(np.arange(60) % 10)
            for k in range(10):
                train, val = fold_of != k, fold_of == k
                errors = [
                    (np.polyval(np.polyfit(x[train, j], y[train], 1), x[val, j]) - y[val]) ** 2
                    for j in range(2)
                ]
                differences.append(float(errors[0].mean() - errors[1].mean()))
        zeros = np.zeros(100)
        plain += paired_test(differences, zeros).p_value < 0.05
        how = Resampling(tuple(range(100)), 1 / 9)
        corrected += paired_test(differences, zeros, resampling=how).p_value < 0.05
    assert corrected / 200 < 0.1
    assert plain / 200 > 0.2, "four times what was promised, and more"


@pytest.mark.parametrize(
    ("split", "text"),
    [
        ({"folds": 5, "train": 0.5}, "train: must be left out with folds, got 0.5"),
        ({"repeats": 3}, "repeats: must come with folds, got 3 alone"),
        ({"folds": 5, "time": True}, "folds: must be left out with time, got 5: most folds would learn from later rows"),
        ({"group": "g", "time": "t"}, "group: must be left out with time, got 'g'"),
        ({"gap": 2}, "gap: must come with time, got 2 alone"),
        ({"folds": 1}, "folds: must be >= 2, got 1"),
    ],
)  # fmt: skip
def test_splits_that_contradict_themselves_are_refused(split, text):
    with pytest.raises(SpecError, match=r"data\.split\." + text.replace("(", r"\(")):
        lanework.Study(data={"source": "iris", "split": split})


def test_more_folds_than_rows():
    with pytest.raises(
        DataError, match=r"data.split.folds: must be at most the number of rows \(60\)"
    ):
        load_folds(spec(split={"folds": 61}), arrays=frame(60))


def test_folds_survive_the_study_file(tmp_path: Path):
    study = lanework.Study(data={"source": "iris", "split": {"folds": 4, "test": 0.1}}, **RECIPE)
    prepared = preparing.prepare(study.spec)
    import yaml

    from lanework.spec import dump_study, parse_study

    again = parse_study(yaml.safe_load(dump_study(prepared.spec)), base=tmp_path, where="x")
    assert again.data.split == study.spec.data.split
