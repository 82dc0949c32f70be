"""The Python API: the same things as a study file, with the same names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flax import nnx

import lanework
from lanework.errors import DataError, DeviceError, SpecError, StoreError
from lanework.store import Store

QUICK = {"epochs": 3, "batch_size": 32}


class OwnNet(nnx.Module):
    """A user's module: constructor arguments that Lanework fills in, a layer with batch statistics."""

    def __init__(self, in_features: int, out_features: int, width: int, *, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(in_features, width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.last = nnx.Linear(width, out_features, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.last(nnx.relu(self.norm(self.first(x))))


class Block(nnx.Module):
    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.dense = nnx.Linear(width, width, rngs=rngs)
        self.gain = nnx.Param(np.float32(0.1))

    def __call__(self, x: Any) -> Any:
        return x + self.gain[...] * nnx.relu(self.dense(x))


class Nested(nnx.Module):
    """Modules in a list, and a parameter that is a single number."""

    def __init__(self, in_features: int, out_features: int, *, rngs: nnx.Rngs) -> None:
        self.blocks = nnx.List([Block(in_features, rngs=rngs) for _ in range(2)])
        self.last = nnx.Linear(in_features, out_features, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.last(x)


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> lanework.Results:
    study = lanework.Study(
        study="iris",
        data="iris",
        model={"net": "mlp", "hidden": [8]},
        train={"epochs": 15, "batch_size": 16},
        compare={
            "optimizer": ["adam", {"name": "momentum", "momentum": 0.9}],
            "learning_rate": [0.01, 0.05],
        },
        seeds=2,
    )
    return study.run(tmp_path_factory.mktemp("iris") / "out")


def test_exported_names_are_these() -> None:
    assert lanework.__all__ == [
        "Plan",
        "Progress",
        "Results",
        "Study",
        "__version__",
        "load",
        "run",
    ]
    assert all(hasattr(lanework, name) for name in lanework.__all__)


def test_a_study_leaves_everything_behind(iris: lanework.Results) -> None:
    names = {path.name for path in iris.folder.iterdir()}
    assert {"study.yaml", "records.sqlite", "report.html", "results.json", "best"} <= names
    assert not list((iris.folder / "snapshots").glob("*.safetensors"))


def test_the_frame_has_one_row_per_run(iris: lanework.Results) -> None:
    frame = iris.frame()
    assert len(frame) == 2 * 2 * 2
    assert set(frame["status"]) == {"ok"}
    assert frame["val_accuracy"].between(0, 1).all()
    assert frame.groupby(["optimizer", "learning_rate"]).size().eq(2).all()


def test_the_best_model_predicts_what_the_records_say(iris: lanework.Results) -> None:
    model = iris.best()
    frame = iris.frame().set_index("run")
    row = frame.loc[model.run]
    assert row["arm"] == model.name
    from lanework.data import load
    from lanework.spec import load_study

    data = load(load_study(iris.folder / "study.yaml").data)
    guess = model.forward(data.test.x).argmax(axis=1)
    assert (guess == data.test.y).mean() == pytest.approx(row["test_accuracy"])


def test_the_summary_names_the_winner_or_the_tie(iris: lanework.Results) -> None:
    text = iris.summary()
    assert "adam" in text
    assert "momentum" in text
    assert "test part, which was used once" in text


def test_loading_gives_the_same_results(iris: lanework.Results) -> None:
    again = lanework.load(iris.folder)
    pd.testing.assert_frame_equal(again.frame(), iris.frame())
    assert again.report() == iris.folder / "report.html"


def test_the_study_left_behind_is_the_same_study(iris: lanework.Results) -> None:
    again = lanework.run(iris.folder / "study.yaml", folder=iris.folder, resume=True)
    assert again.folder == iris.folder


def test_arrays_from_python(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(240, 5)).astype(np.float32)
    y = np.where(x[:, 0] + x[:, 1] > 0, "up", "down")
    results = lanework.Study(
        data=(x, y),
        model={"net": "mlp", "hidden": [16]},
        train={**QUICK, "epochs": 40, "learning_rate": 0.01},
        seeds=2,
    ).run(tmp_path / "out")
    assert results.frame()["test_accuracy"].min() > 0.85
    model = results.best()
    assert set(model.predict(x[:20])) <= {"up", "down"}
    np.testing.assert_allclose(model.predict_proba(x[:20]).sum(axis=1), 1.0, rtol=1e-6)


def test_a_frame_with_gaps_categories_and_a_numeric_target(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    size = rng.uniform(20, 200, 300)
    town = rng.choice(["Ulm", "Bonn", "Kiel"], 300)
    price = 1000.0 * size + np.where(town == "Bonn", 5e4, 0.0) + rng.normal(0, 2e3, 300)
    frame = pd.DataFrame(
        {"size": np.where(rng.random(300) < 0.05, np.nan, size), "town": town, "price": price}
    )
    results = lanework.Study(
        data={"source": frame, "target": "price"},
        model={"net": "mlp", "hidden": [32]},
        train={"epochs": 60, "batch_size": 32, "learning_rate": 0.01},
        seeds=2,
    ).run(tmp_path / "out")
    row = results.frame().iloc[0]
    assert row["test_r2"] > 0.7
    assert 1e2 < row["test_rmse"] < 3e4  # in the unit of the price
    guess = results.best().predict(pd.DataFrame({"size": [50.0, 150.0], "town": ["Ulm", "Ulm"]}))
    assert guess.shape == (2,)
    assert guess[1] - guess[0] == pytest.approx(1e5, rel=0.3)


def test_an_own_module_class(tmp_path: Path) -> None:
    results = lanework.Study(
        data="iris",
        model={"net": OwnNet, "width": 12},
        train={"epochs": 15, "learning_rate": 0.01},
        seeds=2,
    ).run(tmp_path / "out")
    assert results.frame()["val_accuracy"].max() > 0.85
    assert results.best().forward(np.zeros((3, 4), np.float32)).shape == (3, 3)


def test_the_plan_counts_without_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = lanework.Study(
        data="iris",
        train=QUICK,
        compare={"optimizer": ["sgd", "adam"], "learning_rate": [0.1, 0.01]},
        seeds=3,
    )
    record = study.plan().record()
    assert record["runs"] == 12
    assert len(record["buckets"]) == 2
    assert "12 runs in 2 programs" in study.plan().text()
    assert list(tmp_path.iterdir()) == []


def test_lanes_are_limited_by_memory() -> None:
    study = lanework.Study(
        data="iris",
        train=QUICK,
        compare={"learning_rate": {"log": [1e-3, 0.1], "points": 8}},
        seeds=8,
    )
    wide = study.plan().record()["buckets"][0]
    tight = study.plan(memory=4e5).record()["buckets"][0]
    assert tight["strategy"]["width"] < wide["strategy"]["width"]
    assert "take turns" in tight["why"]


def test_a_run_that_diverges_is_a_result(tmp_path: Path) -> None:
    results = lanework.Study(
        data="iris",
        train={**QUICK, "optimizer": "sgd", "heal": {"retries": 0}},
        compare={"learning_rate": [0.01, 1e20]},
        seeds=2,
    ).run(tmp_path / "out")
    frame = results.frame()
    assert frame.groupby("learning_rate")["status"].first().to_dict() == {
        0.01: "ok",
        1e20: "diverged",
    }


def test_a_healed_run_says_so(tmp_path: Path) -> None:
    results = lanework.Study(
        data="iris",
        train={
            **QUICK,
            "optimizer": "sgd",
            "learning_rate": 1e20,
            "heal": {"retries": 2, "factor": 1e-11},
        },
        seeds=1,
    ).run(tmp_path / "out")
    assert results.frame()["verdict"].tolist() in (["healed"], ["chance"])
    assert "went back to step" in (results.folder / "report.html").read_text()


def test_every_problem_is_told_together(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("size,price\n1,2\n3,4\n5,6\n")
    (tmp_path / "s.yaml").write_text(
        "study: s\ndata: {source: t.csv, target: pricee}\ntrain: {optimizer: adamm, learning_rate: -1}\n"
    )
    with pytest.raises(SpecError) as caught:
        lanework.Study.from_file(tmp_path / "s.yaml")
    text = str(caught.value)
    assert "pricee" in text
    assert "price" in text
    assert "adamm" in text
    assert "-1" in text


def test_a_folder_in_use_is_never_overwritten_silently(iris: lanework.Results) -> None:
    study = lanework.Study.from_file(iris.folder / "study.yaml")
    with pytest.raises(
        StoreError, match="a new study needs an empty folder, this one holds a complete study"
    ):
        study.run(iris.folder)


def test_a_changed_study_is_not_resumed(iris: lanework.Results) -> None:
    study = lanework.Study(data="iris", train=QUICK, seeds=1)
    with pytest.raises(
        StoreError, match="must be the one that was started there, but it has changed"
    ):
        study.run(iris.folder, resume=True)


def test_changed_data_is_not_resumed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 3)), rng.integers(0, 2, 80)
    lanework.Study(data=(x, y), train=QUICK, seeds=1).run(tmp_path / "out")
    with pytest.raises(StoreError, match="the data must be what the study started with"):
        lanework.Study(data=(x**2, y), train=QUICK, seeds=1).run(tmp_path / "out", resume=True)


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(StoreError, match="this one holds other files"):
        lanework.Study(data="iris", train=QUICK, seeds=1).run(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep me"


def test_no_study_in_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        lanework.load(tmp_path)


def test_one_class_only_is_a_data_error(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(50, 3))
    with pytest.raises(DataError, match="class"):
        lanework.Study(data=(x, np.zeros(50, int)), train=QUICK, seeds=1).run(tmp_path / "out")


@pytest.mark.slow
def test_early_stopping_follows_the_metric_it_names(tmp_path: Path) -> None:
    """The accuracy is as good as it gets while the loss still falls, so the two stop at different steps."""
    train = {"epochs": 60, "batch_size": 16, "learning_rate": 0.005}
    ends = {}
    for metric in ("val_loss", "val_accuracy"):
        study = lanework.Study(
            data="wine",
            model={"net": "mlp", "hidden": [32]},
            train={**train, "early_stopping": {"patience": 4, "metric": metric}},
            seeds=1,
        )
        results = study.run(tmp_path / metric)
        curve = _curve(results, metric)
        best = min(curve, key=lambda row: (row[1] if metric == "val_loss" else -row[1], row[0]))
        assert results.frame()["best_step"].item() == best[0]
        ends[metric] = results.frame()["steps"].item()
        assert curve[-1][0] == ends[metric]
    assert ends["val_loss"] != ends["val_accuracy"]


def _curve(results: lanework.Results, metric: str) -> list[tuple[int, float]]:
    with Store(results.folder, create=False) as store:
        return sorted((row.step, row.value) for row in store.metrics() if row.name == metric)


@pytest.mark.slow
def test_a_nested_own_module_reads_back(tmp_path: Path) -> None:
    study = lanework.Study(
        data="iris", model={"net": Nested}, train={**QUICK, "learning_rate": 0.01}
    )
    results = study.run(tmp_path / "out")
    assert results.best().forward(np.zeros((2, 4), np.float32)).shape == (2, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "loss"),
    [
        ({"output_activation": "sigmoid"}, "binary_cross_entropy"),
        ({}, "binary_cross_entropy"),
        ({"num_outputs": 1}, "mse"),
        ({"output_activation": "softmax"}, "cross_entropy"),
        ({}, "hinge"),
    ],
)
def test_predictions_agree_with_the_recorded_accuracy(
    tmp_path: Path, model: dict[str, Any], loss: str
) -> None:
    """Also where outputs are shares already, or a single one decides."""
    study = lanework.Study(
        data="breast_cancer",
        model={"net": "mlp", "hidden": [8], **model},
        train={"epochs": 8, "batch_size": 32, "learning_rate": 0.01, "loss": loss},
    )
    results = study.run(tmp_path / "out")
    best = results.best()
    from lanework.data import load
    from lanework.spec import load_study

    data = load(load_study(results.folder / "study.yaml").data)
    outputs = best.forward(data.test.x)
    shares = best.probabilities(outputs)
    recorded = results.frame()["test_accuracy"].item()
    assert (shares.argmax(axis=1) == data.test.y).mean() == pytest.approx(recorded)
    assert recorded > 0.85
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-6)


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LANEWORK_CACHE", str(tmp_path / "file" / "cache"))
    results = lanework.Study(data="iris", train=QUICK).run(tmp_path / "out")
    assert results.frame()["status"].tolist() == ["ok"]


def test_no_cache_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANEWORK_CACHE", "off")
    monkeypatch.chdir(tmp_path)
    lanework.Study(data="iris", train=QUICK).run("out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_zero_weights_learn_nothing_and_the_verdict_says_so(tmp_path: Path) -> None:
    study = lanework.Study(
        data="wine",
        model={"net": "mlp", "hidden": [8], "init": "zeros"},
        train={**QUICK, "optimizer": "sgd"},
    )
    assert study.run(tmp_path / "out").frame()["verdict"].tolist() == ["chance"]


def test_a_network_that_cannot_fit_is_refused() -> None:
    study = lanework.Study(
        data="iris", model={"net": "mlp", "hidden": [1_000_000, 1_000_000]}, train=QUICK
    )
    with pytest.raises(
        DeviceError, match="one run must fit into the memory that lanes may use, it needs"
    ):
        study.plan()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="the results need a folder that can be written"):
        lanework.Study(data="iris", train=QUICK).run(tmp_path / "file")


def test_a_study_needs_validation_rows() -> None:
    x, y = np.eye(4), np.array([0, 0, 1, 1])
    with pytest.raises(DataError, match="the validation part must have rows"):
        lanework.Study(data=(x, y), train=QUICK).plan()


def test_numpy_values_are_taken_as_they_are() -> None:
    study = lanework.Study(
        data="iris", compare={"dropout": np.linspace(0, 0.5, 3)}, seeds=np.arange(2)
    )
    assert study.spec.seeds == (0, 1)
    assert len(study.spec.compare.factors[0].values) == 3


def test_a_model_says_what_it_is_in_one_line(iris: lanework.Results) -> None:
    text = repr(iris.best())
    assert len(text) < 150
    assert "3 classes" in text


@pytest.mark.slow
@pytest.mark.parametrize("values", [[False, True], [-1, 1], [1.0, 2.0], ["no", "yes"]])
def test_predictions_are_of_the_type_of_the_labels(tmp_path: Path, values: list[Any]) -> None:
    x = np.random.default_rng(0).normal(size=(200, 3))
    y = np.array(values)[(x[:, 0] > 0).astype(int)]
    train = {"epochs": 20, "batch_size": 32, "learning_rate": 0.03}
    results = lanework.Study(data=(x, y), model={"net": "mlp", "hidden": [8]}, train=train).run(
        tmp_path / "out"
    )
    assert (results.best().predict(x) == y).mean() > 0.9
