"""Rules on synthetic records: each fires on the sick one, is silent on its healthy twin, and knows nothing of the future."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lanework.health.causes import CAUSES
from lanework.health.diagnose import diagnose
from lanework.health.records import Curve, DataFacts, Happening, LayerTable, NetFacts, RunRecord
from lanework.health.rules import RULES

NUM_RECORDS, PER_RECORD = 20, 30
STEPS = [PER_RECORD * (i + 1) for i in range(NUM_RECORDS)]
LAYERS = ("dense_0", "dense_1", "output")
CHANCE = math.log(10)


def curve(values: Any) -> Curve:
    return Curve.of(STEPS[: len(values)], values)


def falling(begin: float, end: float, *, rate: float = 5.0, count: int = NUM_RECORDS) -> Any:
    """An exponential fall, with a little noise that is the same each time."""
    time = np.linspace(0.0, 1.0, count)
    noise = 1.0 + 0.01 * np.random.default_rng(0).standard_normal(count)
    return (end + (begin - end) * np.exp(-rate * time)) * noise


def table(*columns: float) -> LayerTable:
    """A statistic that stays as it is, one number for each layer."""
    names = (
        LAYERS if len(columns) == len(LAYERS) else tuple(f"layer_{i}" for i in range(len(columns)))
    )
    return LayerTable.of(STEPS, names, [columns] * NUM_RECORDS)


SETTINGS: dict[str, Any] = {
    "data": {"prepare": "standard", "scale_target": True, "prepare_held_out": "same"},
    "model": {
        "net": "mlp",
        "hidden": [64, 64],
        "activation": "relu",
        "init": "he_normal",
        "norm": "none",
        "dropout": 0.0,
        "output_activation": "none",
    },
    "train": {
        "epochs": 20,
        "batch_size": 64,
        "sampling": "shuffled",
        "loss": "cross_entropy",
        "optimizer": {"name": "adam"},
        "learning_rate": 0.001,
        "schedule": {"name": "constant"},
        "l1": 0.0,
        "l2": 0.0,
        "weight_decay": 0.0,
        "clip_norm": None,
        "reduction": "mean",
    },
}
FACTS = DataFacts(
    task="classification",
    num_train=1200,
    num_val=300,
    num_features=64,
    kind="table",
    num_classes=10,
    num_targets=10,
    class_shares=(0.1,) * 10,
    val_class_shares=(0.1,) * 10,
    feature_mean=0.0,
    feature_std_min=0.9,
    feature_std_max=1.1,
    feature_rms=1.0,
    val_shift=0.05,
    val_scale=1.0,
    order_signal=0.0,
    simple_score=0.93,
    simple_train_score=0.93,
    simple_chance=0.1,
)


def healthy(**changes: Any) -> RunRecord:
    """A run that trains as it should; settings by path, `data`, `net`, curves and layers by name."""
    curves = {
        "train_loss": curve(falling(CHANCE, 0.05)),
        "train_loss_begin": curve(falling(CHANCE, 0.06)),
        "train_loss_end": curve(falling(1.0, 0.05)),
        "train_loss_std": curve(falling(0.2, 0.03)),
        "val_loss": curve(falling(2.2, 0.12)),
        "val_accuracy": curve(1.0 - falling(0.7, 0.03)),
        "predicted_share": curve([1.0] * NUM_RECORDS),
        "commonest_answer": curve([0.11] * NUM_RECORDS),
    }
    layers = {
        "grad_norm": table(0.3, 0.4, 0.5),
        "param_norm": table(8.0, 8.0, 4.0),
        "update_ratio": table(2e-3, 2e-3, 3e-3),
        "activation_mean": table(0.4, 0.4, 0.0),
        "activation_std": table(0.6, 0.7, 3.0),
        "dead_share": table(0.02, 0.05, 0.0),
        "saturated_share": table(0.0, 0.0, 0.0),
        "unit_spread": table(0.5, 0.6, 2.5),
    }
    settings = {part: dict(values) for part, values in SETTINGS.items()}
    data = replace(FACTS, **changes.pop("data", {}))
    net = NetFacts(5000, 10, 10, "cross_entropy")
    net = replace(net, **changes.pop("net", {}))
    rest = {}
    for name, value in changes.items():
        if "__" in name:
            part, _, key = name.partition("__")
            settings[part][key] = value
        elif isinstance(value, Curve):
            curves[name] = value
        elif isinstance(value, LayerTable):
            layers[name] = value
        else:
            rest[name] = value
    given = {"num_steps": STEPS[-1], "steps": STEPS[-1], "status": "ok", "steps_per_epoch": 30}
    return RunRecord(settings, curves, layers, data=data, net=net, **(given | rest))


def stuck(**changes: Any) -> RunRecord:
    """A run that stays at chance."""
    flat = {
        "train_loss": curve([CHANCE * (1 + 0.001 * (-1) ** i) for i in range(NUM_RECORDS)]),
        "train_loss_begin": curve([CHANCE] * NUM_RECORDS),
        "train_loss_end": curve([CHANCE] * NUM_RECORDS),
        "val_loss": curve([CHANCE] * NUM_RECORDS),
        "val_accuracy": curve([0.1] * NUM_RECORDS),
        "predicted_share": curve([0.1] * NUM_RECORDS),
        "commonest_answer": curve([1.0] * NUM_RECORDS),
    }
    return healthy(**(flat | changes))


def regression(**changes: Any) -> RunRecord:
    facts = {
        "task": "regression",
        "num_classes": 0,
        "num_targets": 1,
        "class_shares": (),
        "val_class_shares": (),
        "target_mean": 0.0,
        "target_std": 1.0,
        "target_min": -2.0,
        "target_max": 3.0,
        "target_values": 900,
        "simple_score": 0.6,
        "simple_train_score": 0.6,
        "simple_chance": 0.0,
    }
    given: dict[str, Any] = {
        "data": facts | changes.pop("data", {}),
        "net": {"num_outputs": 1, "usual_outputs": 1, "loss": "mse"},
        "train__loss": "mse",
        "train_loss": curve(falling(1.0, 0.3)),
        "train_loss_begin": curve(falling(1.0, 0.3)),
        "val_loss": curve(falling(0.9, 0.4)),
        "val_r2": curve(1.0 - falling(0.95, 0.4)),
    }
    record = healthy(**(given | changes))
    kept = ("val_accuracy", "predicted_share", "commonest_answer")
    return replace(record, curves={n: c for n, c in record.curves.items() if n not in kept})


def poor_regression(**changes: Any) -> RunRecord:
    flat = {"val_r2": curve([-0.5] * NUM_RECORDS)}
    return regression(**(flat | changes))


SICK: dict[str, Callable[[], RunRecord]] = {
    "divergence": lambda: stuck(
        status="diverged", events=(Happening(40, "diverged", {}),), train__learning_rate=0.001
    ),
    "rate_too_high": lambda: stuck(
        train__learning_rate=1.0,
        train_loss=curve([30.0, 9.0] * 10),
        update_ratio=table(0.4, 0.4, 0.5),
    ),
    "rate_too_low": lambda: stuck(
        train__learning_rate=1e-6,
        train_loss=curve(np.linspace(2.5, 2.4, NUM_RECORDS)),
        update_ratio=table(2e-6, 2e-6, 3e-6),
    ),
    "oscillation": lambda: stuck(train_loss=curve([1.2, 2.2] * 10), val_accuracy=curve([0.2] * 20)),
    "plateau": stuck,
    "vanishing_gradients": lambda: stuck(
        model__activation="sigmoid", grad_norm=table(1e-9, 1e-6, 1e-3, 0.3)
    ),
    "exploding_gradients": lambda: stuck(
        grad_norm=table(3e5, 2e2, 1.0), param_norm=table(8.0, 8.0, 4.0)
    ),
    "dead_units": lambda: stuck(dead_share=table(0.2, 1.0, 0.0)),
    "saturated_units": lambda: stuck(
        model__activation="tanh", saturated_share=table(0.95, 0.6, 0.0)
    ),
    "symmetric_weights": lambda: stuck(model__init={"name": "zeros"}),
    "inputs_not_scaled": lambda: stuck(
        data={"feature_rms": 250.0, "feature_std_max": 500.0, "feature_std_min": 0.003}
    ),
    "target_not_scaled": lambda: poor_regression(data={"target_mean": 150.0, "target_std": 77.0}),
    "labels_wrong": lambda: stuck(
        train_loss=curve(falling(CHANCE, 0.3)),
        data={"simple_score": 0.11, "simple_train_score": 0.1},
    ),
    "wrong_loss": lambda: healthy(train__loss="mse"),
    "output_activation": lambda: healthy(model__output_activation="softmax"),
    "hidden_activation": lambda: healthy(model__activation="identity"),
    "wrong_number_of_outputs": lambda: healthy(net={"num_outputs": 20}),
    "loss_summed": lambda: healthy(train__reduction="sum"),
    "over_regularised": lambda: stuck(train__l2=1.0),
    "no_regularisation_effect": lambda: overfitted(train__l2=1e-7),
    "overfitting": lambda: overfitted(),
    "underfitting": lambda: stuck(
        train_loss=curve([1.4] * NUM_RECORDS), val_accuracy=curve([0.5] * NUM_RECORDS)
    ),
    "data_leak": lambda: healthy(data={"leak_column": "outcome_code", "leak_score": 0.999}),
    "class_collapse": lambda: healthy(
        data={"val_class_shares": (0.9, 0.1), "class_shares": (0.9, 0.1)},
        predicted_share=curve([0.5] * NUM_RECORDS),
        commonest_answer=curve([1.0] * NUM_RECORDS),
    ),
    "batch_too_small": lambda: healthy(model__norm="batch", train__batch_size=2),
    "too_few_epochs": lambda: unfinished(),
    "too_many_epochs": lambda: healthy(
        val_loss=curve([0.4, 0.3, *np.linspace(0.31, 0.5, NUM_RECORDS - 2)])
    ),
    "early_stop_too_eager": lambda: stopped(),
    "schedule_decays_too_early": lambda: frozen(),
    "clipping_too_much": lambda: stuck(
        train__optimizer="sgd",
        train__clip_norm=1e-3,
        clipped_share=curve([1.0] * NUM_RECORDS),
        grad_norm_p90=curve([0.8] * NUM_RECORDS),
    ),
    "dropout_at_evaluation": lambda: healthy(model__dropout=0.5, model__dropout_at_evaluation=True),
    "not_shuffled": lambda: stuck(train__sampling="in_order", data={"order_signal": 0.95}),
    "non_finite_data": lambda: stuck(data={"num_non_finite": 12}),
    "parts_prepared_differently": lambda: stuck(data={"val_shift": 6.0, "val_scale": 5.0}),
}


def overfitted(**changes: Any) -> RunRecord:
    up = [*falling(2.2, 0.5, count=5), *np.linspace(0.55, 2.0, NUM_RECORDS - 5)]
    return healthy(
        **({"val_loss": curve(up), "train_loss": curve(falling(CHANCE, 0.001))} | changes)
    )


def unfinished() -> RunRecord:
    return healthy(
        train_loss=curve(np.linspace(2.3, 1.2, NUM_RECORDS)),
        val_loss=curve(np.linspace(2.3, 1.25, NUM_RECORDS)),
        val_accuracy=curve(np.linspace(0.1, 0.6, NUM_RECORDS)),
    )


def stopped() -> RunRecord:
    record = healthy(
        train_loss=curve(np.linspace(2.3, 0.2, NUM_RECORDS)),
        val_accuracy=curve(np.linspace(0.1, 0.95, NUM_RECORDS)),
        train__early_stopping={"patience": 1, "min_delta": 0.0},
    )
    early = record.until(STEPS[4])
    event = Happening(STEPS[4], "stopped_early", {"best_step": STEPS[3]})
    return replace(early, events=(event,), status="ok")


def frozen() -> RunRecord:
    ratios = [[2e-3 * 0.1**i] * 3 for i in range(NUM_RECORDS)]
    return healthy(
        train__schedule={"name": "step", "every": 1.0, "factor": 0.1},
        update_ratio=LayerTable.of(STEPS, LAYERS, ratios),
        train_loss=curve([2.3, 1.6, *[1.55] * (NUM_RECORDS - 2)]),
        val_loss=curve([2.2, 1.6, *[1.56] * (NUM_RECORDS - 2)]),
        val_accuracy=curve([0.2, 0.45, *[0.46] * (NUM_RECORDS - 2)]),
    )


RULE = {rule.name: rule for rule in RULES}


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
