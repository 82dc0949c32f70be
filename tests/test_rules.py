"""Rules on synthetic records: each fires on the sick one, is silent on its healthy twin, and knows nothing of the future."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lanework.health.causes import CAUSES
from lanework.health.diagnose import diagnose
from lanework.health.records import Curve, Happening, LayerTable, RunRecord
from lanework.health.rules import RULES
from tests.records import (
    CHANCE,
    LAYERS,
    NUM_RECORDS,
    RULE,
    SETTINGS,
    SICK,
    STEPS,
    curve,
    falling,
    healthy,
    regression,
    stuck,
    table,
)


def test_there_is_one_rule_for_each_cause() -> None:
    assert set(RULE) == set(CAUSES) == set(SICK)
    assert len(RULES) == len(RULE)


@pytest.mark.parametrize("code", CAUSES)
def test_each_rule_finds_its_cause_on_a_sick_record(code: str) -> None:
    finding = RULE[code].function(SICK[code]())
    assert finding is not None
    assert finding.code == code
    assert finding.sentence.endswith(".")
    assert all(math.isfinite(value) for value in finding.evidence.values())


@pytest.mark.parametrize("code", CAUSES)
def test_each_cause_is_named_first_or_second_by_all_rules_together(code: str) -> None:
    found = [finding.code for finding in diagnose(SICK[code]())]
    # A loss that is stuck for no reason, and one that swings or was never fitted, are what is left when nothing else is.
    assert code in found[:2], found


HEALTHY: dict[str, RunRecord] = {
    "plain": healthy(),
    "regression": regression(),
    "adam at three times the usual rate": healthy(train__learning_rate=0.003),
    "batch normalisation": healthy(model__norm="batch", net={"has_batch_norm": True}),
    "some dropout": healthy(model__dropout=0.3),
    "usual decay": healthy(train__weight_decay=0.01, train__l2=1e-4),
    "clipping at work": healthy(
        train__clip_norm=1.0,
        clipped_share=curve([0.9] * NUM_RECORDS),
        grad_norm_p90=curve([2.0] * NUM_RECORDS),
    ),
    "saturated and good": healthy(model__activation="tanh", saturated_share=table(0.7, 0.7, 0.0)),
    "some dead units": healthy(dead_share=table(0.5, 0.5, 0.0)),
    "deep with small gradients below": healthy(grad_norm=table(1e-4, 1e-3, 1e-2, 0.3)),
    "unequal classes, all answered": healthy(
        train_loss=curve(falling(0.32, 0.05)),
        val_loss=curve(falling(0.3, 0.1)),
        data={
            "val_class_shares": (0.9, 0.1),
            "class_shares": (0.9, 0.1),
            "simple_chance": 0.9,
            "simple_score": 0.96,
            "simple_train_score": 0.96,
        },
    ),
    "cosine": healthy(
        train__schedule={"name": "cosine"},
        update_ratio=LayerTable.of(
            STEPS, LAYERS, [[3e-3 * (1 - i / 20)] * 3 for i in range(NUM_RECORDS)]
        ),
    ),
    "stopped late": replace(
        healthy(train__early_stopping={"patience": 5, "min_delta": 0.0}).until(STEPS[14]),
        events=(Happening(STEPS[14], "stopped_early", {}),),
        status="ok",
    ),
    "a hard task": healthy(
        data={"simple_score": 0.45, "simple_train_score": 0.46},
        train_loss=curve(falling(CHANCE, 1.5)),
        val_loss=curve(falling(2.3, 1.6)),
        val_accuracy=curve(1.0 - falling(0.9, 0.52)),
    ),
    "nothing recorded yet": RunRecord(settings=SETTINGS, num_steps=100),
    "nothing known but losses": RunRecord(
        curves={"train_loss": curve(falling(3.0, 0.2)), "val_loss": curve(falling(3.0, 0.25))},
        num_steps=STEPS[-1],
        steps=STEPS[-1],
        status="ok",
    ),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_records_get_nothing(name: str) -> None:
    assert diagnose(HEALTHY[name]) == ()


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 0.95])
def test_healthy_records_get_nothing_while_they_run(name: str, share: float) -> None:
    assert diagnose(HEALTHY[name].before(share)) == ()


@pytest.mark.parametrize("code", CAUSES)
def test_a_finding_says_the_first_step_at_which_its_rule_could_tell_it(code: str) -> None:
    record = SICK[code]()
    for finding in diagnose(record):
        rule = RULE[finding.code].function
        assert finding.step <= record.steps
        assert rule(record.until(finding.step)) is not None
        earlier = [step for step in record.record_steps[:12] if step < finding.step]
        assert all(rule(record.until(step)) is None for step in earlier)


@pytest.mark.parametrize("code", CAUSES)
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_rules_look_at_nothing_that_came_later(code: str, share: float) -> None:
    """A record that was cut, and one whose future is another: the same findings."""
    record = SICK[code]()
    cut = record.before(share)
    other = replace(
        record,
        curves={
            name: Curve(c.steps, np.where(c.steps <= cut.steps, c.values, 1e9))
            for name, c in record.curves.items()
        },
    )
    assert diagnose(other.before(share)) == diagnose(cut)


MONOTONE: dict[str, tuple[Callable[[float], RunRecord], tuple[float, ...]]] = {
    "rate_too_high": (
        lambda x: stuck(
            train__learning_rate=0.001 * x,
            train_loss=curve([9.0, 30.0] * 10),
            update_ratio=table(0.002 * x, 0.002 * x, 0.002 * x),
        ),
        (1.0, 10.0, 100.0, 1000.0),
    ),
    "dead_units": (lambda x: stuck(dead_share=table(0.0, x, 0.0)), (0.1, 0.5, 0.7, 0.95, 1.0)),
    "inputs_not_scaled": (
        lambda x: stuck(data={"feature_rms": x, "feature_std_max": x}),
        (1.0, 5.0, 15.0, 100.0, 1e4),
    ),
    "labels_wrong": (
        lambda x: healthy(data={"simple_train_score": 0.93 - x}),
        (0.0, 0.1, 0.2, 0.4, 0.8),
    ),
    "over_regularised": (lambda x: stuck(train__l2=x), (0.0, 1e-4, 1e-2, 0.1, 1.0)),
    "parts_prepared_differently": (
        lambda x: stuck(data={"val_shift": x}),
        (0.0, 1.0, 3.0, 30.0),
    ),
}


@pytest.mark.parametrize("code", MONOTONE)
def test_a_stronger_fault_is_no_less_sure(code: str) -> None:
    make, strengths = MONOTONE[code]
    found = [RULE[code].function(make(strength)) for strength in strengths]
    sure = [0.0 if finding is None else finding.confidence for finding in found]
    assert sure[0] == 0.0
    assert sure[-1] > 0.5
    assert sure == sorted(sure)
