"""The table of causes, findings in order, and records cut short."""

from dataclasses import replace

import numpy as np
import pytest

from lanework.health import causes, findings, records
from lanework.health.causes import CAUSES
from lanework.health.findings import Finding
from lanework.health.records import Curve, Happening, LayerTable, RunRecord


def told(code: str, level: str = "fail", confidence: float = 0.9) -> Finding:
    return Finding(code, level, confidence, "It is so.")


@pytest.mark.parametrize("code", CAUSES)
def test_each_cause_is_told_in_full_and_points_at_known_causes_only(code: str) -> None:
    cause = CAUSES[code]
    assert all(len(text) > 5 for text in (cause.title, cause.what, cause.sign, cause.source))
    assert cause.what.endswith(".")
    assert cause.sign.endswith(".")
    assert cause.remedies
    assert len(set(cause.remedies)) == len(cause.remedies)
    assert set(cause.brings) <= set(CAUSES) - {code}


def test_findings_take_the_remedies_of_their_cause_unless_they_bring_their_own() -> None:
    assert told("overfitting").remedies == CAUSES["overfitting"].remedies
    own = Finding("overfitting", "warn", 0.5, "So.", remedies=("add_dropout",))
    assert own.remedies == ("add_dropout",)


@pytest.mark.parametrize(
    ("code", "level", "confidence"),
    [("no_such", "fail", 0.5), ("overfitting", "bad", 0.5), ("overfitting", "warn", 1.5)],
)
def test_a_finding_outside_of_the_tables_is_refused(
    code: str, level: str, confidence: float
) -> None:
    with pytest.raises(ValueError, match="a finding needs a"):
        Finding(code, level, confidence, "So.")


def test_worst_first_and_symptoms_go_with_their_cause() -> None:
    found = [told("plateau", "warn", 0.9), told("symmetric_weights", "fail", 0.8)]
    assert [one.code for one in findings.ordered(found)] == ["symmetric_weights", "plateau"]
    assert [one.code for one in findings.without_symptoms(found)] == ["symmetric_weights"]


def test_a_warning_does_not_explain_a_failure_away() -> None:
    found = [told("too_few_epochs", "warn"), told("underfitting", "fail")]
    codes = [one.code for one in findings.without_symptoms(found)]
    assert codes == ["underfitting", "too_few_epochs"]


def test_of_two_that_bring_each_other_about_the_worse_one_stays() -> None:
    assert "rate_too_high" in CAUSES["exploding_gradients"].brings
    assert "exploding_gradients" in CAUSES["rate_too_high"].brings
    found = [told("exploding_gradients", "fail", 0.6), told("rate_too_high", "fail", 0.7)]
    assert [one.code for one in findings.without_symptoms(found)] == ["rate_too_high"]


def test_what_a_setting_shows_is_no_symptom() -> None:
    vanishing = told("vanishing_gradients", "fail", 0.9)
    slow = told("rate_too_low", "fail", 0.8)
    assert "rate_too_low" in CAUSES["vanishing_gradients"].brings
    assert len(findings.without_symptoms([vanishing, slow])) == 1
    assert len(findings.without_symptoms([vanishing, replace(slow, stands=True)])) == 2


def record() -> RunRecord:
    return RunRecord(
        curves={"train_loss": Curve.of([10, 20, 30], [3.0, 2.0, float("nan")])},
        layers={"grad_norm": LayerTable.of([10, 30], ["dense_0", "output"], [[1, 2], [3, 4]])},
        events=(Happening(25, "healed", {}),),
        settings={"train": {"learning_rate": 0.1}},
        num_steps=30,
        steps=30,
        status="ok",
    )


def test_a_record_cut_short_knows_nothing_of_what_came_later() -> None:
    cut = record().before(0.7)
    assert cut.curve("train_loss").values.tolist() == [3.0, 2.0]
    assert cut.layer("grad_norm").values.tolist() == [[1.0, 2.0]]
    assert cut.events == ()
    assert (cut.status, cut.steps) == ("running", 21)
    assert record().record_steps == (10, 20, 25, 30)


def test_a_record_before_its_end_is_the_record() -> None:
    whole = record().before(1.0)
    assert (whole.status, whole.steps, len(whole.events)) == ("ok", 30, 1)
    np.testing.assert_array_equal(
        whole.curve("train_loss").values, record().curve("train_loss").values
    )


def test_what_was_not_recorded_is_empty_and_not_an_error() -> None:
    assert not record().curve("val_loss")
    assert np.isnan(record().curve("val_loss").last)
    assert not record().layer("dead_share")
    assert record().setting("train.learning_rate") == 0.1
    assert record().setting("train.clip_norm.x", "none") == "none"


def test_chance_follows_from_the_facts_of_the_data() -> None:
    facts = records.DataFacts(
        task="classification", class_shares=(0.5, 0.5), val_class_shares=(0.4, 0.6)
    )
    assert facts.chance_accuracy == 0.6
    assert facts.chance_loss == pytest.approx(np.log(2))
    assert records.DataFacts(task="regression", target_std=3.0).chance_loss == 9.0


def test_the_modules_are_plain() -> None:
    for module in (causes, findings, records):
        assert "jax" not in vars(module)
