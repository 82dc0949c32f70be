"""Studies of initial weights and normalisation: each loads and says what it expects; the slow suite runs it to that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lanework
from lanework.report.start import verdict
from lanework.spec import expand, load_study
from lanework.store import Store
from tests.helpers import ROOT

FOLDER = ROOT / "studies" / "networks"


def zero_weights(means: Any, starts: dict[str, Any]) -> None:
    assert means["init=zeros"] < 0.13
    assert means["init=constant"] < 0.3
    assert means["init=he_normal"] > 0.92
    assert "No gradient reaches the hidden layers: they cannot learn." in verdict(
        starts["init zeros"]
    )


def deep_relu(means: Any, starts: dict[str, Any]) -> None:
    assert means["init=he_normal"] > means["init=xavier_normal"] + 0.3
    assert "die out" in verdict(starts["init xavier_normal"])
    assert (
        verdict(starts["init he_normal"]) == "Signals and gradients keep their size over the depth."
    )


def norm_and_rate(means: Any, starts: dict[str, Any]) -> None:
    assert largest(means, "batch") >= 9.9 * largest(means, "none")


def largest(means: Any, norm: str) -> float:
    """The largest rate with which a network still reaches nine in ten."""
    rates = [float(name.rpartition("=")[2]) for name in means.index if f"norm={norm}," in name and means[name] > 0.9]  # fmt: skip
    return max(rates)


def one_sample_a_step(means: Any, starts: dict[str, Any]) -> None:
    assert means["norm=layer"] > 0.91
    assert means["norm=group"] > 0.88


OUTCOMES: dict[str, Callable[[Any, dict[str, Any]], None]] = {
    "zero-weights": zero_weights,
    "deep-relu": deep_relu,
    "norm-and-rate": norm_and_rate,
    "one-sample-a-step": one_sample_a_step,
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_study_loads_and_says_what_it_expects(name: str) -> None:
    path = FOLDER / f"{name}.yaml"
    head = path.read_text(encoding="utf-8").split("study:")[0]
    for word in ("# Question: ", "# Expected: ", "# Time: ", "# Hardware: "):
        assert word in head
    assert "TO BE MEASURED" not in head
    spec = load_study(path)
    assert spec.study == name
    assert len(expand(spec)) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", OUTCOMES)
def test_a_study_comes_out_as_stated(name: str, tmp_path: Path) -> None:
    results = lanework.Study.from_file(FOLDER / f"{name}.yaml").run(tmp_path / "out")
    means = results.frame().groupby("arm")["val_accuracy"].mean()
    with Store(tmp_path / "out", create=False) as store:
        starts = {one["label"]: one["signals"] for one in store.meta("starts") if "signals" in one}
    OUTCOMES[name](means, starts)
