"""Every option of a recipe through the whole product: from study to records, by what it must do to a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import lanework
from lanework.errors import SpecError
from lanework.store import Store

NET = {"net": "mlp", "hidden": [8]}
TRAIN = {"epochs": 4, "batch_size": 16, "optimizer": "momentum", "learning_rate": 0.05}


def trained(folder: Path, *, name: str = "out", **train: Any) -> lanework.Results:
    """A small study on iris; `compare` and `seeds` may be among the keywords."""
    compare, seeds = train.pop("compare", None), train.pop("seeds", 2)
    study = lanework.Study(
        study="options",
        data="iris",
        model=NET,
        train={**TRAIN, **train},
        compare=compare,
        seeds=seeds,
    )
    return study.run(folder / name)


def weights(results: lanework.Results) -> dict[str, np.ndarray]:
    return load_file(str(results.folder / "best" / "weights.safetensors"))


def rows(results: lanework.Results, name: str) -> list[float]:
    with Store(results.folder, create=False) as store:
        return [row.value for row in store.metrics() if row.name == name]


def events(results: lanework.Results, kind: str) -> list[Any]:
    with Store(results.folder, create=False) as store:
        return [event for event in store.events() if event.kind == kind]


def refused(**train: Any) -> str:
    with pytest.raises(SpecError) as caught:
        lanework.Study(study="wrong", data="iris", model=NET, train={**TRAIN, **train}).plan()
    return str(caught.value)


# ---- averages --------------------------------------------------------------------------------


def test_an_average_without_memory_is_the_weights_themselves(tmp_path: Path) -> None:
    average = {"name": "ema", "decay": 0.0, "debias": True}
    results = trained(tmp_path, average=average)
    averaged, raw = rows(results, "val_loss"), rows(results, "val_raw_loss")
    assert len(averaged) == len(raw) == 8
    np.testing.assert_allclose(averaged, raw, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ema", "tail", "polyak", "swa"])
def test_an_average_is_evaluated_beside_the_weights_and_kept(tmp_path: Path, name: str) -> None:
    results = trained(tmp_path, average=name, seeds=1, learning_rate=0.3)
    plain = trained(tmp_path, name="plain", seeds=1, learning_rate=0.3)
    raw, averaged = rows(results, "val_raw_loss"), rows(results, "val_loss")
    np.testing.assert_allclose(raw, rows(plain, "val_loss"), rtol=1e-5)  # watching changes nothing
    assert averaged[-1] != raw[-1]
    assert results.frame()["val_raw_accuracy"].notna().all()
    changed = [
        key for key, value in weights(results).items() if (value != weights(plain)[key]).any()
    ]
    assert changed  # the average is what is exported


@pytest.mark.slow
def test_an_ensemble_of_checkpoints_predicts_what_was_measured(tmp_path: Path) -> None:
    results = trained(tmp_path, average={"name": "checkpoints", "count": 3}, seeds=1)
    model = results.best()
    assert model.members == 3
    assert all(len(value) == 3 for value in weights(results).values())
    from sklearn.datasets import load_iris

    table = load_iris(as_frame=True).data
    probabilities = model.predict_proba(table)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-6)
    assert (
        model.predict(table) == np.array(load_iris().target_names)[load_iris().target]
    ).mean() > 0.6


@pytest.mark.slow
def test_averages_are_a_factor_like_any_other(tmp_path: Path) -> None:
    results = trained(tmp_path, compare={"average": [None, "ema"]})
    assert len(results.frame()) == 4
    assert len(rows(results, "val_raw_loss")) == 8


# ---- schedules --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_ramp_that_starts_at_the_value_changes_nothing(tmp_path: Path) -> None:
    flat = {"momentum": {"name": "ramp", "from_value": 0.9, "epochs": 2}}
    steep = {"momentum": {"name": "ramp", "from_value": 0.1, "epochs": 2}}
    plain = rows(trained(tmp_path, seeds=1), "val_loss")
    np.testing.assert_allclose(
        rows(trained(tmp_path, name="flat", seeds=1, schedules=flat), "val_loss"), plain, rtol=1e-5
    )
    assert (
        rows(trained(tmp_path, name="steep", seeds=1, schedules=steep), "val_loss")[0] != plain[0]
    )


@pytest.mark.slow
def test_plateau_lowers_the_rate_of_the_runs_that_need_it(tmp_path: Path) -> None:
    schedule = {"name": "plateau", "patience": 2, "factor": 0.5, "min_delta": 0.0}
    results = trained(
        tmp_path,
        epochs=12,
        schedule=schedule,
        compare={"learning_rate": [1e-6, 0.05]},
        seeds=1,
    )
    lowered = events(results, "rate_lowered")
    assert lowered
    # Accuracy stands still at the tiny rate, so that run's rate falls; each event tells its factor.
    assert {event.run for event in lowered} >= {0}
    assert [event.data["factor"] for event in lowered if event.run == 0][:2] == [0.5, 0.25]


def test_a_schedule_of_something_the_rule_has_not_is_refused() -> None:
    text = refused(optimizer="adam", schedules={"momentum": "cosine"})
    assert "train.schedules.momentum" in text
    assert "b1" in text


# ---- clipping, noise, penalties ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["clip_norm", "clip_value", "clip_layer_norm", "clip_adaptive"])
def test_clipping_is_recorded_and_does_nothing_when_never_reached(
    tmp_path: Path, name: str
) -> None:
    plain = rows(trained(tmp_path, seeds=1), "val_loss")
    loose = trained(tmp_path, name="loose", seeds=1, **{name: 1e6})
    np.testing.assert_allclose(rows(loose, "val_loss"), plain, rtol=1e-5)
    assert rows(loose, "clipped_share") == [0.0] * 4
    tight = trained(tmp_path, name="tight", seeds=1, **{name: 1e-5})
    assert rows(tight, "clipped_share") == [1.0] * 4
    assert all(value > 0 for value in rows(tight, "grad_norm_p90"))
    assert "clipped" in tight.summary()


def test_proximal_l1_gives_exact_zeros_and_l2_does_not(tmp_path: Path) -> None:
    common = {"optimizer": "sgd", "epochs": 20, "learning_rate": 0.1, "seeds": 1}
    sparse = weights(trained(tmp_path, name="l1", l1=0.05, l1_proximal=True, **common))
    smooth = weights(trained(tmp_path, name="l2", l2=0.05, **common))
    share = {
        name: np.mean(
            [(value == 0).mean() for key, value in tree.items() if key.endswith("kernel")]
        )
        for name, tree in {"l1": sparse, "l2": smooth}.items()
    }
    assert share["l1"] > 0.2
    assert share["l2"] == 0.0


@pytest.mark.slow
def test_max_norm_holds(tmp_path: Path) -> None:
    tree = weights(trained(tmp_path, max_norm=0.5, seeds=1))
    for key, value in tree.items():
        if key.endswith("kernel"):
            assert (np.linalg.norm(value, axis=0) <= 0.5 + 1e-5).all(), key


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gradient_noise", "weight_noise", "input_noise"])
def test_noise_is_a_lane_value_and_none_is_none(tmp_path: Path, name: str) -> None:
    results = trained(tmp_path, compare={name: [0.0, 0.5]}, seeds=1)
    plain = rows(trained(tmp_path, name="plain", seeds=1), "val_loss")
    losses = rows(results, "val_loss")
    np.testing.assert_allclose(losses[:4], plain, rtol=1e-5)
    assert np.isfinite(losses[4:]).all()
    assert not np.allclose(losses[4:], plain, rtol=1e-3)


# ---- groups and accumulation -------------------------------------------------------------------


def test_a_frozen_group_keeps_its_first_weights(tmp_path: Path) -> None:
    groups = [{"match": "dense_0/*", "frozen": True}]
    short = weights(trained(tmp_path, seeds=1, epochs=1, groups=groups, weight_decay=0.1))
    long = weights(
        trained(tmp_path, name="long", seeds=1, epochs=4, groups=groups, weight_decay=0.1)
    )
    assert (short["0/dense_0/kernel"] == long["0/dense_0/kernel"]).all()
    assert (short["0/output/kernel"] != long["0/output/kernel"]).any()


def test_a_group_that_fits_nothing_is_refused_with_the_paths_there_are() -> None:
    text = refused(groups=[{"match": "head/*", "rate": 0.1}])
    assert "train.groups[0].match" in text
    assert "dense_0/kernel" in text


@pytest.mark.slow
def test_accumulated_batches_equal_one_large_batch(tmp_path: Path) -> None:
    # 96 training rows: 6 batches of 16, taken two by two, are 3 batches of 32.
    split = {"train": 0.64, "val": 0.18, "test": 0.18}
    found = []
    for name, train in {
        "small": {"batch_size": 16, "accumulate": 2},
        "large": {"batch_size": 32},
    }.items():
        study = lanework.Study(
            study=name,
            data={"source": "iris", "split": split},
            model=NET,
            train={**TRAIN, **train},
        )
        found.append(rows(study.run(tmp_path / name), "val_loss"))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


# ---- rules that want the whole batch, or the objective -------------------------------------------


def test_gradient_descent_takes_the_whole_training_part(tmp_path: Path) -> None:
    results = trained(tmp_path, optimizer="gd", batch_size="all", seeds=1)
    assert len(rows(results, "val_loss")) == 4
    assert "train.batch_size" in refused(optimizer="gd", batch_size=16)


@pytest.mark.slow
def test_rules_are_compared_across_kinds(tmp_path: Path) -> None:
    study = lanework.Study(
        study="kinds",
        data="iris",
        model=NET,
        train={"epochs": 6, "batch_size": 16},  # no rate: each rule has its own
        compare={"optimizer": ["gd", "lbfgs", "newton"]},
        seeds=4,  # several on each device: their Hessians are taken apart side by side
    )
    results = study.run(tmp_path / "kinds")
    frame = results.frame().groupby("optimizer").mean(numeric_only=True)
    assert frame.loc["lbfgs", "val_accuracy"] > 0.8
    assert frame.loc["newton", "train_loss"] < frame.loc["gd", "train_loss"]
    assert any("lbfgs" in event.text for event in events(results, "warning"))  # mini-batches
    counts = rows(results, "gradient_evaluations")
    assert counts
    assert max(counts) > 6


def test_newton_refuses_a_large_network_with_the_memory_it_would_need() -> None:
    with pytest.raises(SpecError, match=r"newton must have at most 5000 parameters.*GB"):
        lanework.Study(
            study="large",
            data="digits",
            model={"net": "mlp", "hidden": [100]},
            train={"optimizer": "newton"},
        ).plan()


# ---- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "path"),
    [
        ({"schedule": {"name": "step", "every": 10}}, "train.schedule.every"),
        ({"schedule": {"name": "constant", "warmup_epochs": 5}}, "train.schedule.warmup_epochs"),
        ({"optimizer": {"name": "momentum", "momentum": 1.0}}, "train.optimizer.momentum"),
        ({"optimizer": {"name": "adam", "b1": 0.999, "b2": 0.9}}, "train.optimizer.b1"),
        ({"clip_norm": 0}, "train.clip_norm"),
        ({"l1_proximal": True}, "train.l1_proximal"),
        ({"schedules": {"batch": "cosine"}}, "train.schedules.batch"),
        ({"average": "emma"}, "train.average"),
        ({"groups": [{"match": "*", "optimizer": "lbfgs"}]}, "train.groups[0].optimizer"),
        ({"optimizer": "lbfgs", "accumulate": 2}, "train.accumulate"),
        ({"learning_rate": "fast"}, "train.learning_rate"),
    ],
)
def test_bad_options_are_told_with_their_place(train: dict[str, Any], path: str) -> None:
    assert path in refused(**train)


# ---- learning_rate: auto ----------------------------------------------------------------------------


@pytest.mark.slow
def test_auto_finds_a_rate_says_why_and_keeps_it_on_resume(tmp_path: Path) -> None:
    study = lanework.Study(
        study="auto",
        data="iris",
        model=NET,
        train={"epochs": 4, "batch_size": 16, "learning_rate": "auto"},
    )
    assert study.plan().record()["runs"] == 1  # trains nothing
    results = study.run(tmp_path / "out")
    (found,) = events(results, "rate_found")
    assert 1e-4 < found.data["learning_rate"] < 1.0
    assert found.data["reason"]
    again = study.run(tmp_path / "out", resume=True)
    assert [event.data["learning_rate"] for event in events(again, "rate_found")] == [
        found.data["learning_rate"]
    ]
