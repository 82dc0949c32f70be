"""Rules on single records: what is easily taken for something else, and what is told in an unusual place."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lanework.health.diagnose import diagnose
from lanework.health.records import Curve, Happening, LayerTable, RunRecord
from tests.records import (
    CHANCE,
    LAYERS,
    NUM_RECORDS,
    RULE,
    SICK,
    STEPS,
    codes,
    curve,
    falling,
    healthy,
    overfitted,
    poor_regression,
    regression,
    stuck,
    table,
)


def test_a_root_cause_takes_its_symptoms_along() -> None:
    """Weights that start at zero explain the plateau, the dead units and the gradients that vanish."""
    record = stuck(model__init={"name": "zeros"}, grad_norm=table(0.0, 0.0, 0.0, 0.2))
    assert [finding.code for finding in diagnose(record)] == ["symmetric_weights"]


def test_weights_of_nothing_are_no_measure_of_steps_and_gradients() -> None:
    tiny = {"param_norm": table(1e-6, 1e-6, 1e-6), "grad_norm": table(0.2, 0.2, 0.2)}
    record = stuck(model__init="zeros", update_ratio=table(1.0, 1.0, 1.0), **tiny)
    assert [finding.code for finding in diagnose(record)] == ["symmetric_weights"]


def test_a_large_rate_whose_steps_stay_small_is_not_too_high() -> None:
    """Clipping makes small steps of a large rate: the limit is what is wrong."""
    record = stuck(
        train__optimizer="sgd",
        train__learning_rate=0.1,
        train__clip_norm=1e-3,
        clipped_share=curve([1.0] * NUM_RECORDS),
        grad_norm_p90=curve([0.8] * NUM_RECORDS),
        update_ratio=table(2e-5, 2e-5, 4e-5),
    )
    assert [finding.code for finding in diagnose(record)] == ["clipping_too_much"]


def test_a_loss_that_still_falls_is_no_sign_of_haste() -> None:
    few = healthy(
        train__optimizer="sgd",
        train__learning_rate=0.1,
        train_loss=curve([2.2, 1.9, 1.6, 1.4]),
        val_loss=curve([2.2, 1.9, 1.6, 1.4]),
        val_accuracy=curve([0.12, 0.18, 0.24, 0.3]),
    )
    assert [finding.code for finding in diagnose(few)] == ["too_few_epochs"]


def test_a_network_that_was_stuck_at_first_had_gradients_that_vanished() -> None:
    """Also where units died later, and gradients came back in the end."""
    rows = [[1e-9, 1e-6, 1e-3, 0.3]] * 8 + [[0.1, 0.1, 0.1, 0.3]] * (NUM_RECORDS - 8)
    names = tuple(f"layer_{i}" for i in range(4))
    dead = [[0.1, 0.1, 0.1, 0.0]] * 8 + [[0.1, 0.3, 0.92, 0.0]] * (NUM_RECORDS - 8)
    record = stuck(
        grad_norm=LayerTable.of(STEPS, names, rows), dead_share=LayerTable.of(STEPS, names, dead)
    )
    assert diagnose(record)[0].code == "vanishing_gradients"


def test_a_loss_of_millions_is_told_at_once_and_not_by_too_few_epochs() -> None:
    record = stuck(
        train_loss=curve(falling(4e7, 2e6)),
        val_loss=curve(falling(4e7, 2e6)),
        grad_norm=table(4e6, 4e6, 1e6),
        param_norm=table(80.0, 80.0, 40.0),
    )
    assert [finding.code for finding in diagnose(record)] == ["exploding_gradients"]
    early = diagnose(record.before(0.1))
    assert [finding.code for finding in early] == ["exploding_gradients"]


def test_a_heavy_penalty_is_told_while_it_pulls_the_weights_to_zero() -> None:
    sizes = [[8.0 * 0.9**i, 8.0 * 0.9**i, 4.0 * 0.9**i] for i in range(NUM_RECORDS)]
    record = stuck(train__l2=2.0, param_norm=LayerTable.of(STEPS, LAYERS, sizes))
    better = replace(
        record.before(0.2),
        curves={**record.before(0.2).curves, "val_accuracy": curve([0.2, 0.3, 0.4, 0.5])},
    )
    assert [finding.code for finding in diagnose(better)] == ["over_regularised"]


def test_knowing_by_heart_and_less_than_simple_models_is_overfitting() -> None:
    record = healthy(
        train_loss=curve(falling(CHANCE, 0.001, rate=12.0)),
        val_loss=curve([1.6, 1.3, 1.2, 1.2, *[1.4] * (NUM_RECORDS - 4)]),
        val_accuracy=curve([0.4, 0.5, 0.6, 0.6, *[0.58] * (NUM_RECORDS - 4)]),
    )
    assert [finding.code for finding in diagnose(record)] == ["overfitting"]


def test_two_faults_are_both_named() -> None:
    slow = stuck(
        model__output_activation="softmax",
        train__learning_rate=1e-6,
        update_ratio=table(2e-6, 2e-6, 2e-6),
    )
    assert {finding.code for finding in diagnose(slow)} == {"output_activation", "rate_too_low"}
    record = stuck(model__init="zeros", model__output_activation="softmax")
    assert {finding.code for finding in diagnose(record)} == {
        "symmetric_weights",
        "output_activation",
    }


def test_copies_are_seen_without_any_setting() -> None:
    """Somebody's own loop has no settings: units that all give the same tell it."""
    record = replace(stuck(unit_spread=table(0.0, 0.0, 0.0)), settings={})
    assert diagnose(record)[0].code == "symmetric_weights"


@pytest.mark.parametrize(
    ("output", "loss", "code"),
    [
        ("softmax", "cross_entropy", "output_activation"),
        ("sigmoid", "binary_cross_entropy", "output_activation"),
        ("relu", "cross_entropy", "output_activation"),
        ("sigmoid", "hinge", "wrong_loss"),
        ("sigmoid", "mse", "wrong_loss"),
    ],
)
def test_outputs_against_losses(output: str, loss: str, code: str) -> None:
    record = healthy(model__output_activation=output, train__loss=loss)
    assert [finding.code for finding in diagnose(record)] == [code]


def test_an_output_that_reaches_its_target_is_right() -> None:
    inside = {"target_min": 0.1, "target_max": 0.9, "target_mean": 0.5, "target_std": 0.2}
    assert diagnose(regression(model__output_activation="sigmoid", data=inside)) == ()
    found = diagnose(regression(model__output_activation="sigmoid"))
    assert [finding.code for finding in found] == ["output_activation"]


RARE_CHANCE = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))


def rare(*, num_val: int = 300, **changes: Any) -> RunRecord:
    """One sample in ten is of the rare class; the training loss falls, accuracy stays at chance."""
    shares = {"class_shares": (0.9, 0.1), "val_class_shares": (0.9, 0.1), "num_classes": 2}
    simple = {"simple_score": 0.9, "simple_train_score": 0.9, "simple_chance": 0.9}
    curves = {
        "train_loss": curve(falling(RARE_CHANCE, 0.1)),
        "val_loss": curve([RARE_CHANCE] * NUM_RECORDS),
        "val_accuracy": curve([0.9] * NUM_RECORDS),
    }
    return healthy(**(curves | changes), data={**shares, **simple, "num_val": num_val})


@pytest.mark.parametrize(("share", "is_told"), [(0.97, True), (0.93, False)])
def test_labels_of_a_rare_class_are_wrong_only_where_the_loss_stays_at_chance_too(
    share: float, is_told: bool
) -> None:
    record = rare(val_loss=curve(np.linspace(1.0, share, NUM_RECORDS) * RARE_CHANCE))
    assert (RULE["labels_wrong"].function(record) is not None) == is_told


def test_a_loss_of_numbers_just_below_chance_does_not_clear_the_labels() -> None:
    """There the score says as much as the loss."""
    nothing = {"simple_score": 0.0, "simple_train_score": 0.0}
    record = regression(
        val_loss=curve([0.93] * NUM_RECORDS), val_r2=curve([0.07] * NUM_RECORDS), data=nothing
    )
    assert RULE["labels_wrong"].function(record) is not None


@pytest.mark.parametrize(
    ("commonest", "num_val", "is_told"),
    [
        ([0.96] * 3, 300, True),
        ([0.94] * 3, 300, False),  # more than half as often as such samples come
        ([0.94, 0.94, 0.96], 300, False),  # once only
        ([0.96] * 3, 150, False),  # too few of them to say so
    ],
)
def test_a_rare_class_that_is_answered_seldom_is_a_collapse(
    commonest: list[float], num_val: int, is_told: bool
) -> None:
    """Every class is answered at times, so that no one is missing."""
    answers = [0.94] * (NUM_RECORDS - 3) + commonest
    record = rare(num_val=num_val, commonest_answer=curve(answers))
    assert (RULE["class_collapse"].function(record) is not None) == is_told


def slowing(last: float, *, simple: float = 0.5) -> RunRecord:
    """The loss falls by 1 in three quarters of the training, and by `last` in the last one."""
    loss = curve([*np.linspace(2.3, 1.3, 15), *np.linspace(1.3, 1.3 - last, 6)[1:]])
    return healthy(
        train_loss=loss,
        train_loss_begin=curve([2.3] * NUM_RECORDS),
        val_loss=loss,
        val_accuracy=curve(np.linspace(0.1, 0.6, NUM_RECORDS)),
        data={"simple_score": simple, "simple_train_score": simple},
    )


def test_a_last_quarter_that_adds_little_is_the_end_of_a_fall() -> None:
    rule = RULE["too_few_epochs"].function
    assert rule(slowing(0.2)) is not None
    assert rule(slowing(0.16)) is None
    behind = rule(slowing(0.16, simple=0.93))
    assert behind is not None
    assert behind.level == "fail"


def test_three_records_are_too_few_to_see_the_end_of_a_fall() -> None:
    short = {"train_loss": curve([2.3, 1.45, 1.32]), "val_loss": curve([2.3, 1.45, 1.32])}
    record = slowing(0.16)
    found = RULE["too_few_epochs"].function(replace(record, curves={**record.curves, **short}))
    assert found is not None


@pytest.mark.parametrize(("place", "is_told"), [(5, True), (6, False)])
def test_the_best_came_early_where_it_lies_in_the_first_quarter(place: int, is_told: bool) -> None:
    down, up = np.linspace(1.0, 0.3, place + 1), np.linspace(0.31, 0.5, NUM_RECORDS - place - 1)
    record = healthy(val_loss=curve([*down, *up]))
    assert (RULE["too_many_epochs"].function(record) is not None) == is_told


@pytest.mark.parametrize(
    ("hidden", "is_named"), [([], True), ((), True), ([64], False), (None, False)]
)
def test_underfitting_of_a_network_without_hidden_layers_is_no_symptom(
    hidden: Any, is_named: bool
) -> None:
    """A slow rate explains a poor fit; that there is no hidden layer it does not explain."""
    record = stuck(
        model__hidden=hidden,
        train__learning_rate=1e-6,
        train_loss=curve(np.linspace(2.5, 2.4, NUM_RECORDS)),
        update_ratio=table(2e-6, 2e-6, 3e-6),
    )
    codes = [finding.code for finding in diagnose(record)]
    assert codes == ["rate_too_low", *["underfitting"] * is_named]


# ---- what is not so easily told ----------------------------------------------------------------


def test_a_loop_whose_loss_is_no_number_any_more_has_diverged_without_any_event() -> None:
    losses = falling(CHANCE, 1.0)
    losses[8:] = math.nan
    record = replace(healthy(train_loss=curve(losses)), settings={}, events=())
    found = diagnose(record)
    assert [one.code for one in found] == ["divergence"]
    assert found[0].level == "fail"
    assert found[0].step == STEPS[8]


def test_a_run_that_went_back_once_and_then_learned_is_warned_of_and_not_sick() -> None:
    back = (Happening(STEPS[1], "healed", {}),)
    found = diagnose(healthy(events=back))
    assert [(one.code, one.level) for one in found] == [("divergence", "warn")]
    assert codes(healthy(events=back, saturated_share=table(0.7, 0.7, 0.0))) == ["divergence"]
    assert diagnose(stuck(events=back))[0].level == "fail"


def test_layers_of_a_loop_that_hands_in_hidden_ones_only_are_all_hidden() -> None:
    dead = LayerTable.of(STEPS, LAYERS[:2], [[0.1, 1.0]] * NUM_RECORDS)
    record = replace(stuck(dead_share=dead), settings={})
    found = diagnose(record)[0]
    assert (found.code, found.layer) == ("dead_units", "dense_1")


def test_validation_need_not_be_measured_at_every_record() -> None:
    record = overfitted()
    val = record.curve("val_loss")
    seldom = replace(
        record, curves={**record.curves, "val_loss": Curve(val.steps[::2], val.values[::2])}
    )
    assert codes(seldom) == ["overfitting"]
    gap = val.values.copy()
    gap[10] = math.nan
    assert codes(replace(record, curves={**record.curves, "val_loss": Curve(val.steps, gap)})) == [
        "overfitting"
    ]


def test_one_evaluation_is_said_to_be_one() -> None:
    once = replace(
        healthy(
            train_loss_begin=curve([2.3]), train_loss_end=curve([0.9]), train_loss=curve([1.5]),
            val_loss=curve([0.9]), val_accuracy=curve([0.5]),
        ),
        num_steps=STEPS[0], steps=STEPS[0],
    )  # fmt: skip
    found = diagnose(once)
    assert [one.code for one in found] == ["too_few_epochs"]
    assert "one evaluation only" in found[0].sentence
    assert "quarter" not in found[0].sentence


def test_a_linear_model_may_start_from_zeros() -> None:
    """There are no units that could be copies of each other (logistic regression)."""
    assert codes(healthy(model__init="zeros", model__hidden=[])) == []
    assert codes(healthy(model__init="zeros")) == ["symmetric_weights"]


def test_ratings_that_are_learned_as_numbers_are_left_alone_where_that_works() -> None:
    few = {"target_values": 5, "num_train": 1200}
    assert codes(regression(data=few)) == []
    assert "wrong_loss" in codes(poor_regression(data=few))
    assert codes(regression(data=few | {"target_values": 2})) == ["wrong_loss"]


def test_tiny_batches_of_a_batch_normalisation_are_named_beside_a_rate_too_high() -> None:
    record = stuck(
        model__norm="batch",
        train__batch_size=2,
        train__learning_rate=1.0,
        train_loss=curve([30.0, 9.0] * 10),
        update_ratio=table(0.4, 0.4, 0.5),
    )
    assert {"batch_too_small", "rate_too_high"} <= set(codes(record))


def test_parts_that_are_prepared_alike_and_drift_are_a_warning() -> None:
    drift = {"val_shift": 2.5}
    found = diagnose(healthy(data=drift))
    assert [(one.code, one.level) for one in found] == [("parts_prepared_differently", "warn")]
    assert "drift" in found[0].sentence
    other = diagnose(healthy(data=drift, data__prepare_held_out="none"))
    assert other[0].level == "fail"
    assert "drift" not in other[0].sentence


def test_gradients_vanish_below_a_single_hidden_layer_too() -> None:
    names = ("dense_0", "output")
    record = stuck(
        grad_norm=LayerTable.of(STEPS, names, [[1e-8, 0.3]] * NUM_RECORDS),
        dead_share=LayerTable.of(STEPS, names, [[0.0, 0.0]] * NUM_RECORDS),
    )
    assert codes(record) == ["vanishing_gradients"]
    gone = replace(
        record,
        layers={
            **record.layers,
            "dead_share": LayerTable.of(STEPS, names, [[1.0, 0.0]] * NUM_RECORDS),
        },
    )
    assert codes(gone) == ["dead_units"]


def test_a_loss_that_starts_high_because_of_large_weights_is_no_sign_of_haste() -> None:
    """Ten times the usual rate, small steps, a loss that falls from where large initial weights had put it."""
    record = stuck(
        model__activation="tanh",
        train__learning_rate=0.013,
        train_loss=curve(falling(11.0, 1.4)),
        train_loss_begin=curve(falling(13.0, 1.4)),
        saturated_share=table(0.86, 0.8, 0.0),
        update_ratio=table(4e-3, 4e-3, 4e-3),
    )
    assert codes(record) == ["saturated_units"]


def test_weights_pulled_to_zero_are_told_where_the_run_is_not_poor() -> None:
    sizes = [[8.0 * 0.9**i] * 3 for i in range(NUM_RECORDS)]
    record = healthy(
        train__l1=0.05,
        train_loss=curve(falling(CHANCE, 1.0)),
        val_loss=curve(falling(CHANCE, 1.0)),
        val_accuracy=curve(1.0 - falling(0.7, 0.06)),
        param_norm=LayerTable.of(STEPS, LAYERS, sizes),
    )
    assert codes(record) == ["over_regularised"]
    kept = replace(record, layers={**record.layers, "param_norm": table(8.0, 8.0, 4.0)})
    assert "over_regularised" not in codes(kept)


def test_a_lucky_evaluation_does_not_make_labels_right() -> None:
    lucky = [0.1] * NUM_RECORDS
    lucky[0] = 0.2
    record = stuck(
        train_loss=curve(falling(CHANCE, 1.6)),
        val_accuracy=curve(lucky),
        data={"simple_score": 0.11, "simple_train_score": 0.1},
    )
    assert codes(record)[0] == "labels_wrong"


def test_a_layer_of_which_nothing_is_known_is_no_error() -> None:
    unknown = table(math.nan, math.nan, math.nan)
    record = stuck(dead_share=unknown, saturated_share=unknown, train__learning_rate=1.0)
    assert "dead_units" not in codes(record)


def test_what_early_stopping_has_cut_short_was_not_spent_for_nothing() -> None:
    record = SICK["too_many_epochs"]()
    event = Happening(STEPS[-1], "stopped_early", {"best_step": STEPS[1]})
    assert "too_many_epochs" not in codes(replace(record, events=(event,)))


def test_a_deep_look_says_why_plain_steps_swing() -> None:
    swinging = {
        "train_loss": curve([1.2, 2.2] * 10),
        "val_accuracy": curve([0.2] * 20),
        "train__optimizer": "sgd",
        "train__learning_rate": 0.02,
    }
    sharp = diagnose(stuck(**swinging, sharpness=curve([250.0] * NUM_RECORDS)))[0]
    assert sharp.code == "oscillation"
    assert sharp.evidence["rate_times_sharpness"] == 5.0
    flat = diagnose(stuck(**swinging, sharpness=curve([50.0] * NUM_RECORDS)))[0]
    assert flat.code == "oscillation"
    assert "sharpness" not in flat.sentence
