"""Records of runs made by hand: a healthy one, and what ails the others; for tests of rules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

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


RULE = {rule.name: rule for rule in RULES}
"""Rule by name."""


def codes(record: RunRecord) -> list[str]:
    """Causes of what all rules together find, worst first."""
    return [finding.code for finding in diagnose(record)]
