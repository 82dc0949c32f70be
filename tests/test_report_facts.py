"""From records to facts: who won, who cannot be told apart, what went wrong where."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from lanework.report.facts import VERDICTS, Facts, factors_label, metric_named, read_facts
from lanework.store import RunResult, RunRow, Store
from tests.synthetic import STUDIES, write_study


@pytest.fixture(scope="module")
def facts_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Facts]:
    return {
        kind: read_facts(write_study(tmp_path_factory.mktemp(kind), kind))
        for kind in STUDIES
        if kind != "huge"
    }


def test_arms_are_grouped_by_all_but_the_learning_rate(facts_of: dict[str, Facts]) -> None:
    facts = facts_of["demo"]
    assert [level.label for level in facts.levels] == ["adam", "momentum", "sgd"]
    assert [level.rate for level in facts.levels] == [0.003162, 0.1, 0.3162]
    assert [level.place.standing for level in facts.levels] == ["best", "tied", "worse"]
    assert [level.level for level in facts.levels] == [0, 1, 2]
    assert sorted(arm for level in facts.levels for arm in level.arms) == list(range(27))


def test_without_another_factor_each_rate_is_a_group(facts_of: dict[str, Facts]) -> None:
    facts = facts_of["small"]
    assert len(facts.levels) == len(facts.arms) == 5
    assert facts.levels[0].label == "learning rate 0.00316"
    assert facts.levels[0].rate is None


def test_every_arm_has_its_rank_and_counts(facts_of: dict[str, Facts]) -> None:
    for kind, facts in facts_of.items():
        assert [arm.rank for arm in facts.arms] == list(range(1, len(facts.arms) + 1)), kind
        lost = sum(arm.num_diverged for arm in facts.arms)
        assert lost == sum(run.status == "diverged" for run in facts.runs), kind
        scores = [arm.place.score for arm in facts.arms if arm.place.standing != "failed"]
        sign = 1 if facts.metric.direction == "min" else -1
        assert scores == sorted(scores, key=lambda score: sign * score), kind


def test_the_metric_knows_chance_and_resolution_from_the_data(facts_of: dict[str, Facts]) -> None:
    metric = facts_of["demo"].metric
    assert metric.label == "validation accuracy"
    assert metric.chance == pytest.approx(0.1)
    assert metric.resolution == pytest.approx(1 / 270)
    assert metric.text(0.9786) == "97.9\u202f%"
    assert metric.text(None) == "\u2013"
    assert metric.difference_text(-0.01) == "\u22121.0 point"
    assert metric.difference_text(0.012, is_signed=True) == "+1.2 points"
    regression = facts_of["regression"].metric
    assert (regression.name, regression.direction, regression.decimals) == ("val_rmse", "min", 1)
    assert metric_named("val_r2").direction == "max"
    assert metric_named("train_loss").label == "training loss"
    assert metric_named("speed").label == "speed"


def test_a_best_value_at_the_edge_is_noticed(facts_of: dict[str, Facts]) -> None:
    (edge,) = facts_of["edge"].edges
    assert (edge.factor, edge.value, edge.side) == ("learning_rate", 0.01, "largest")
    assert facts_of["demo"].edges == ()
    assert facts_of["hopeless"].edges == ()


def test_unfinished_runs_are_absent_and_not_bad(facts_of: dict[str, Facts]) -> None:
    facts = facts_of["unfinished"]
    assert facts.num_open == 7
    waiting = [run for run in facts.runs if run.verdict == "incomplete"]
    assert all(run.value is None and not run.is_bad for run in waiting)
    assert sum(arm.num_open for arm in facts.arms) == 7


def test_curves_have_a_row_for_each_seed(facts_of: dict[str, Facts]) -> None:
    curve = facts_of["demo"].curves[facts_of["demo"].levels[0].best, "val_accuracy"]
    assert curve.values.shape == (5, 30)
    np.testing.assert_array_equal(curve.epochs, np.arange(1.0, 31.0))
    assert not np.isnan(curve.values).any()


def test_every_verdict_of_the_records_has_a_sentence(facts_of: dict[str, Facts]) -> None:
    for verdict in VERDICTS.values():
        assert verdict.sentence.endswith(".")
        assert verdict.label
    assert {run.verdict for facts in facts_of.values() for run in facts.runs} <= set(VERDICTS)


def test_only_names_of_choices_stand_without_their_factor() -> None:
    assert factors_label({"optimizer": "adam", "train.schedule": "cosine"}) == "adam \u00b7 cosine"
    assert factors_label({"hidden": "64-64"}) == "hidden 64-64"
    assert factors_label({"data.scaling": "standard", "split.seed": 1}) == (
        "scaling standard \u00b7 split seed 1"
    )
    assert factors_label({"columns": "all"}) == "columns all"


def test_limits_of_a_metric_are_those_of_its_quantity() -> None:
    assert metric_named("val_accuracy").limits == (0.0, 1.0)
    assert metric_named("val_rmse").limits == (0.0, math.inf)
    assert metric_named("val_r2").limits == (-math.inf, 1.0)
    assert metric_named("speed").limits == (-math.inf, math.inf)


def test_a_bare_folder_is_read_without_any_document(tmp_path: Path) -> None:
    with Store(tmp_path / "bare", create=True) as store:
        store.add_runs([RunRow(0, 0, "whole recipe", 0, {}, 0)])
        store.finish_run(RunResult(0, "ok", "ok", 10, 10, 0.1, 0.0, {"val_loss": 0.5}))
    facts = read_facts(tmp_path / "bare")
    assert facts.study == "bare"
    assert facts.metric.name == "val_loss"
    assert facts.levels[0].label == "whole recipe"
    assert facts.data == {}
    assert math.isnan(facts.levels[0].place.interval.low)


def test_several_data_sets_and_a_given_metric_are_understood(tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as store:
        store.put_meta("study", {"study": "two", "report": {"metric": None}})
        store.put_meta("metric", "val_loss")
        store.put_meta("data", [{"source": "a", "task": "classification"}, {"source": "b"}])
        for run, value in enumerate((0.5, math.nan)):
            row = RunRow(run, run, f"arm {run}", 0, {"size": str(run)}, 0)
            store.add_runs([row])
            metrics = {"val_loss": value, "val_accuracy": 0.5}
            store.finish_run(RunResult(run, "ok", "ok", 10, 10, 0.1, 0.0, metrics))
    facts = read_facts(tmp_path)
    assert facts.metric.name == "val_loss"
    assert [summary["source"] for summary in facts.datasets] == ["a", "b"]
    assert facts.runs[1].value is None


def test_labels_that_would_not_be_unique_fall_back_to_names(tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as store:
        store.add_runs([RunRow(i, i, f"recipe {i}", 0, {"k": "same"}, 0) for i in range(2)])
    assert {arm.label for arm in read_facts(tmp_path).arms} == {"recipe 0", "recipe 1"}
