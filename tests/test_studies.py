"""The shipped studies: each loads and says what it expects; `make test-all` runs each to that result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lanework
from lanework.report.start import verdict
from lanework.spec import expand, load_study
from lanework.store import Store
from tests.helpers import ROOT, data_folder

FOLDERS = ("studies", "studies/choosing", "studies/networks")
STUDIES = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.yaml"))
NEEDS_DATA = {
    *("adult", "california-preparation", "cifar", "depth", "fashion-cnn"),
    *("fashion-mnist", "mixup-gap", "names", "shakespeare", "temperatures"),
}


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_loads_and_says_what_it_expects(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path.stem in NEEDS_DATA:
        monkeypatch.setenv("LANEWORK_DATA", str(data_folder()))
    head = path.read_text(encoding="utf-8").split("study:")[0]
    for word in ("# Question: ", "# Expected: ", "# Time: ", "# Hardware: "):
        assert word in head
    assert "TO BE MEASURED" not in head
    spec = load_study(path)
    assert spec.study == path.stem
    assert len(expand(spec)) >= 2


def digits(results: dict[str, Any], frame: Any) -> None:
    best = frame.groupby(["optimizer", "learning_rate"])["val_accuracy"].mean().groupby("optimizer")
    assert best.max().between(0.955, 0.985).all()
    rates = best.idxmax()
    ratio = rates["sgd"][1] / rates["adam"][1]
    assert 10 <= ratio <= 1000
    assert tied_levels(results) == 3


def breast_cancer(results: dict[str, Any], frame: Any) -> None:
    assert frame.groupby("arm")["val_accuracy"].mean().between(0.96, 1.0).all()
    assert frame.groupby("arm")["test_accuracy"].mean().max() > 0.95


def diabetes(results: dict[str, Any], frame: Any) -> None:
    best = frame.groupby("arm")["val_rmse"].mean()
    assert 46 < best.min() < 52
    assert "hidden=none" in best.idxmin()


def adult(results: dict[str, Any], frame: Any) -> None:
    assert frame.groupby("arm")["test_accuracy"].mean().min() > 0.85
    assert frame.groupby("arm")["test_accuracy"].mean().max() >= 0.855


def fashion_mnist(results: dict[str, Any], frame: Any) -> None:
    means = frame.groupby("arm")["val_accuracy"].mean()
    assert means.min() > 0.88
    cosine = next(name for name in means.index if "cosine" in name)
    assert means.idxmax() == cosine


def fashion_cnn(results: dict[str, Any], frame: Any) -> None:
    assert frame["test_accuracy"].min() > 0.925
    assert frame["train_accuracy"].min() > 0.96


def cifar(results: dict[str, Any], frame: Any) -> None:
    means = frame.groupby("arm")["test_accuracy"].mean()
    assert means.min() > 0.72
    assert means.max() > 0.745


def names(results: dict[str, Any], frame: Any) -> None:
    assert frame["test_accuracy"].between(0.838, 0.862).all()
    assert frame["test_accuracy"].max() > 0.845


def shakespeare(results: dict[str, Any], frame: Any) -> None:
    last_tenth = (frame["val_loss"] + frame["test_loss"]) / 2  # nats per character
    assert last_tenth.max() < 1.55
    assert last_tenth.min() < 1.52


def depth(results: dict[str, Any], frame: Any) -> None:
    """By seed: what 36 more layers cost in training loss, with and without shortcuts."""
    loss = frame.assign(net=frame["arm"].str.split("(").str[0]).pivot_table(
        index="seed", columns=["net", "depth"], values="train_loss"
    )
    plain, resnet = (loss[net][56] - loss[net][20] for net in ("plain", "resnet"))
    assert (plain > 0).all()
    assert (plain > resnet).all()
    assert plain.mean() > 0.3
    assert abs(resnet.mean()) < 0.3


def rules_at_their_best(results: dict[str, Any], frame: Any) -> None:
    best = frame.groupby(["optimizer", "learning_rate"])["val_accuracy"].mean().groupby("optimizer")
    assert best.max().between(0.953, 0.984).all()
    assert tied_levels(results) == sum(
        group["standing"] != "untested" for group in results["groups"]
    )
    assert best.idxmax()["lion"][1] < 1e-3 < 0.1 < best.idxmax()["sgd"][1]


def few_epochs(results: dict[str, Any], frame: Any) -> None:
    means = frame.groupby("arm")["val_accuracy"].mean()
    assert means.idxmax() == "prodigy"
    assert means[["adagrad", "momentum", "nesterov", "rmsprop"]].between(0.89, 0.95).all()
    assert means["sgd"] < 0.8
    assert means[["lion", "radam"]].max() < 0.5


def unscaled_inputs(results: dict[str, Any], frame: Any) -> None:
    means = frame.groupby("arm")["val_accuracy"].mean()
    assert (frame["verdict"] == "chance").sum() > 30
    assert means["sgd, learning_rate=0.001"] > 0.9 > 0.7 > means["sgd, learning_rate=0.01"]


def small_and_whole(results: dict[str, Any], frame: Any) -> None:
    means = frame.groupby("arm")["train_loss"].mean()
    assert abs(means["lbfgs"] - means["newton"]) < 1e-4
    assert means["lbfgs"] < 0.9 * means.drop(["lbfgs", "newton"]).min()


def schedules(results: dict[str, Any], frame: Any) -> None:
    assert frame.groupby("arm")["val_accuracy"].mean().between(0.95, 0.97).all()
    assert all(group["standing"] != "worse" for group in results["groups"])


def zero_weights(results: dict[str, Any], frame: Any) -> None:
    means = frame.groupby("arm")["val_accuracy"].mean()
    assert means["init=zeros"] < 0.13
    assert means["init=constant"] < 0.3
    assert means["init=he_normal"] > 0.92
    assert "No gradient reaches the hidden layers: they cannot learn." in verdict(
        results["starts"]["init zeros"]
    )


def deep_relu(results: dict[str, Any], frame: Any) -> None:
    means = frame.groupby("arm")["val_accuracy"].mean()
    assert means["init=he_normal"] > means["init=xavier_normal"] + 0.3
    assert "die out" in verdict(results["starts"]["init xavier_normal"])
    assert (
        verdict(results["starts"]["init he_normal"])
        == "Signals and gradients keep their size over the depth."
    )


def norm_and_rate(results: dict[str, Any], frame: Any) -> None:
    means = frame.groupby("arm")["val_accuracy"].mean()
    assert largest(means, "batch") >= 9.9 * largest(means, "none")


def largest(means: Any, norm: str) -> float:
    """The largest rate with which a network still reaches nine in ten."""
    rates = [float(name.rpartition("=")[2]) for name in means.index if f"norm={norm}," in name and means[name] > 0.9]  # fmt: skip
    return max(rates)


def one_sample_a_step(results: dict[str, Any], frame: Any) -> None:
    means = frame.groupby("arm")["val_accuracy"].mean()
    assert means["norm=layer"] > 0.91
    assert means["norm=group"] > 0.88


def copy_task(results: dict[str, Any], frame: Any) -> None:
    means = frame.groupby("model")["val_accuracy"].mean()
    lstm = next(name for name in means.index if name.startswith("lstm"))
    rnn = next(name for name in means.index if name.startswith("rnn"))
    assert means[rnn] < 0.16
    assert 0.34 < means[lstm] < 0.58


def california_preparation(results: dict[str, Any], frame: Any) -> None:
    means = frame.groupby("arm")["test_r2"].mean()
    assert means[["standard", "logs", "ranks"]].min() > 0.8
    assert means.idxmax() == "logs"


def temperatures(results: dict[str, Any], frame: Any) -> None:
    linear = frame[frame["hidden"] == "none"].groupby("arm")
    assert linear["val_rmse"].mean().min() == pytest.approx(2.43, abs=0.01)
    assert linear["test_rmse"].mean().min() < 2.25 < 2.481


def mixup_gap(results: dict[str, Any], frame: Any) -> None:
    gap = (frame["val_loss"] - frame["train_loss"]).groupby(frame["arm"]).mean()
    plain = next(name for name in gap.index if "mixup" not in name)
    assert gap.drop(plain).max() < gap[plain] - 0.1


EXPECTED: dict[str, Callable[[dict[str, Any], Any], None]] = {
    "adult": adult,
    "breast-cancer": breast_cancer,
    "cifar": cifar,
    "depth": depth,
    "diabetes": diabetes,
    "names": names,
    "digits": digits,
    "fashion-cnn": fashion_cnn,
    "fashion-mnist": fashion_mnist,
    "few-epochs": few_epochs,
    "rules-at-their-best": rules_at_their_best,
    "shakespeare": shakespeare,
    "schedules": schedules,
    "small-and-whole": small_and_whole,
    "california-preparation": california_preparation,
    "copy-task": copy_task,
    "mixup-gap": mixup_gap,
    "temperatures": temperatures,
    "zero-weights": zero_weights,
    "deep-relu": deep_relu,
    "norm-and-rate": norm_and_rate,
    "one-sample-a-step": one_sample_a_step,
    "unscaled-inputs": unscaled_inputs,
}


def tied_levels(results: dict[str, Any]) -> int:
    """Recipes, each at its best rate, that cannot be told from the best one, itself included."""
    return sum(group["standing"] in ("best", "tied") for group in results["groups"])


def test_every_study_has_an_expectation() -> None:
    assert sorted(EXPECTED) == sorted(path.stem for path in STUDIES)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", ["copy_task", "transfer_fashion"])
def test_a_script_comes_to_its_stated_result(name: str, tmp_path: Path) -> None:
    script = ROOT / "studies" / "networks" / f"{name}.py"
    head = script.read_text(encoding="utf-8").split('"""')[1]
    for word in ("Question: ", "Expected: ", "Time: ", "Hardware: ", "Source: "):
        assert word in head
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "LANEWORK_DATA": str(data_folder())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_runs_to_its_stated_result(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path.stem in NEEDS_DATA:
        monkeypatch.setenv("LANEWORK_DATA", str(data_folder()))
    done = lanework.run(path, folder=tmp_path / "out")
    results = json.loads((done.folder / "results.json").read_text(encoding="utf-8"))
    with Store(done.folder, create=False) as store:
        starts = store.meta("starts") or []
    results["starts"] = {one["label"]: one["signals"] for one in starts if "signals" in one}
    EXPECTED[path.stem](results, done.frame())
    assert os.path.getsize(done.folder / "report.html") < 3_000_000
