"""The fault zoo: healthy studies and the same with a planted fault, drawn by seed as ordinary study files.

Owns the table of faults: which cause is planted where and how strongly, and which causes are right answers for it. A table of
draws instead of eighty files, so that fresh ones can be drawn: a rule that was tuned to the instances of one seed shows with the
next. Knows study-file paths only; must not import rules, remedies or anything that trains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from studies.faults.worlds import (
    DATA,
    VARIANTS,
    WORLDS,
    Edits,
    Random,
    Study,
    edited,
    generator,
    world,
    write_data,
)

__all__ = ["FAULTS", "Case", "Fault", "draw", "faults", "healthy", "write"]

Draw: TypeAlias = Callable[[Random, Study], Edits]
UNMENDED: Final = {
    "labels_wrong": "only people can mend labels",
    "data_leak": "mending it takes a false score away",
    "class_collapse": "accuracy does not show it",
    "too_many_epochs": "it costs time, not accuracy",
}
"""Causes whose faults no setting brings back to the twin's metric, and why; they do not count for remedies."""


@dataclass(frozen=True)
class Case:
    """One study of the zoo.

    Attributes:
        name: Its name, also of its file and folder.
        study: The study as a mapping, as in a study file.
        planted: The cause that was planted; empty for a healthy study.
        accepted: Causes that are right answers, the planted one among them.
        second: A second cause that was planted beside it; empty for none.
        twin: Name of the healthy study that it was made from; its own where it is healthy.
        edits: What was changed.
    """

    name: str
    study: Study = field(compare=False)
    planted: str = ""
    accepted: tuple[str, ...] = ()
    second: str = ""
    twin: str = ""
    edits: Edits = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Fault:
    """A way to plant a cause.

    Attributes:
        cause: The code of `lanework.health.causes.CAUSES`.
        worlds: Worlds it is planted in, each `name` or `name/variant`.
        draw: From random numbers and the healthy study to the settings to change.
        also: Other causes that are right answers.
        tag: What tells it from other faults of the same cause.
        second: A second planted cause.
    """

    cause: str
    worlds: tuple[str, ...]
    draw: Draw
    also: tuple[str, ...] = ()
    tag: str = ""
    second: str = ""


def _set(**edits: Any) -> Draw:
    """Fixed settings; `train__loss="mse"` is `train.loss`."""
    return lambda random, study: {name.replace("__", "."): value for name, value in edits.items()}


def _log(random: Random, low: float, high: float) -> float:
    """A number between two others, evenly on a log scale, of two digits."""
    return float(f"{low * (high / low) ** random.random():.2g}")


def _between(path: str, low: float, high: float, **fixed: Any) -> Draw:
    """A setting somewhere between two values, beside fixed ones."""
    return lambda random, study: {path: _log(random, low, high), **_set(**fixed)(random, study)}


def _rate(low: float, high: float, **fixed: Any) -> Draw:
    """The learning rate of the healthy study times a factor."""

    def draw(random: Random, study: Study) -> Edits:
        rate = float(f"{study['train']['learning_rate'] * _log(random, low, high):.2g}")
        return {**_set(**fixed)(random, study), "train.learning_rate": rate}

    return draw


def _all_wrong(random: Random, study: Study) -> Edits:
    """So much label noise that labels say nothing: of k classes (k - 1) / k are wrong; all numbers are exchanged."""
    classes = {"digits": 10, "clouds.csv": 4, "shapes.npz": 4, "waves.npz": 3, "blobs": 4}
    count = classes.get(study["data"]["source"])
    return {"data.label_noise": round(1.0 - 1.0 / count, 4) if count else 1.0}


def _init(name: str, option: str, low: float, high: float, **fixed: Any) -> Draw:
    """Initial weights with an option between two values."""
    return lambda random, study: {
        "model.init": {"name": name, option: _log(random, low, high)},
        **_set(**fixed)(random, study),
    }


def _eager(batch: int) -> Draw:
    """Stopped at the first of many evaluations that is no better."""

    def draw(random: Random, study: Study) -> Edits:
        return {
            "train.early_stopping": {"patience": 1},
            "train.eval_every": float(random.choice([0.1, 0.2])),
            "train.batch_size": batch,
            "train.learning_rate": study["train"]["learning_rate"] / 4,
        }

    return draw


def _early_fall(random: Random, study: Study) -> Edits:
    """The rate falls to next to nothing within the first epochs."""
    at, factor = float(random.choice([1.0, 2.0])), _log(random, 1e-4, 1e-3)
    step = {"name": "step", "factor": factor, "every": at}
    rate = study["train"]["learning_rate"]
    return {"train.schedule": step, "train.learning_rate": rate / 2}


_REGRESSIONS: Final = ("surface", "diabetes")
FAULTS: Final[Sequence[Fault]] = (
    # data and preparation
    Fault("inputs_not_scaled", ("clouds", "surface", "cancer", "waves"), _set(data__prepare="none")),
    Fault("target_not_scaled", (*_REGRESSIONS, "series"), _set(data__scale_target=False)),
    Fault("labels_wrong", ("digits", "clouds", "surface"), _all_wrong),
    Fault("data_leak", ("clouds",), _set(data__source="leaky-clouds.csv"), tag="column"),
    Fault("data_leak", ("surface",), _set(data__source="leaky-surface.csv"), tag="column"),
    Fault("data_leak", ("clouds",), _set(data__source="twin-clouds.csv"), tag="copies"),
    Fault("parts_prepared_differently", ("clouds", "wine", "shapes"), _set(data__prepare_held_out="none")),
    Fault("class_collapse", ("rare",), _set(), ("underfitting",)),
    Fault("not_shuffled", ("iris",), _set(train__sampling="in_order")),
    Fault("not_shuffled", ("clouds",), _set(data__source="sorted-clouds.csv", train__sampling="in_order"), tag="sorted"),
    Fault("not_shuffled", ("shapes",), _set(data__source="sorted-shapes.npz", train__sampling="in_order"), tag="sorted"),
    # loss and output
    Fault("wrong_loss", ("iris", "wine"), _set(train__loss="mse", model__num_outputs=1), ("wrong_number_of_outputs",), "code"),
    Fault("wrong_loss", ("digits", "cancer"), _set(train__loss="mse", model__output_activation="sigmoid"), ("output_activation",), "squares"),
    Fault("wrong_loss", ("digits",), _set(train__loss="hinge", model__output_activation="sigmoid"), ("output_activation",), "hinge"),
    Fault("wrong_loss", ("surface",), _set(train__loss="binary_cross_entropy"), tag="classes"),
    Fault("output_activation", ("digits", "shapes"), _set(model__output_activation="softmax"), ("wrong_loss",), "softmax-twice"),
    Fault("output_activation", ("clouds",), _set(model__output_activation="relu"), ("wrong_loss",), "relu"),
    Fault("output_activation", ("wine",), _set(model__output_activation="sigmoid"), ("wrong_loss",), "sigmoid"),
    Fault("output_activation", _REGRESSIONS, _set(model__output_activation="sigmoid"), ("wrong_loss",), "sigmoid"),
    Fault("output_activation", ("surface",), _set(model__output_activation="relu"), ("wrong_loss",), "relu"),
    Fault("output_activation", ("cancer",), _set(train__loss="binary_cross_entropy", model__output_activation="softmax"), ("wrong_loss",), "one-unit"),
    Fault("wrong_number_of_outputs", ("digits", "iris", "shapes"), lambda random, study: {"model.num_outputs": int(random.integers(15, 60))}),
    Fault("loss_summed", ("digits/sgd", "surface/sgd", "shapes/momentum"), _set(train__reduction="sum")),
    # network and start
    Fault("hidden_activation", ("circles", "spirals"), _set(model__activation="identity")),
    Fault("hidden_activation", ("digits",), _set(model__activation="softmax"), tag="softmax"),
    Fault("symmetric_weights", ("digits", "spirals"), _set(model__init="zeros"), tag="zeros"),
    Fault("symmetric_weights", ("clouds",), _init("constant", "value", 0.02, 0.2), tag="constant"),
    Fault("vanishing_gradients", ("digits/deep", "clouds/deep"), _set(model__activation="sigmoid"), ("hidden_activation",), "sigmoid"),
    Fault("vanishing_gradients", ("digits/deep",), _init("small_normal", "std", 0.005, 0.02), ("plateau",), "small"),
    Fault("exploding_gradients", ("digits/deep", "clouds/deep"), _init("xavier_normal", "gain", 8.0, 20.0), ("divergence",)),
    Fault("dead_units", ("digits", "clouds", "shapes"), lambda random, study: {"model.hidden_bias": -_log(random, 6.0, 10.0)}),
    Fault("saturated_units", ("digits/tanh", "iris/tanh"), _init("small_normal", "std", 4.0, 12.0), ("exploding_gradients",)),
    Fault("underfitting", ("digits", "spirals"), lambda random, study: {"model.hidden": [int(random.integers(1, 3))]}, tag="narrow"),
    Fault("underfitting", ("circles",), _set(model__hidden=[]), ("hidden_activation",), "linear"),
    # the rate
    Fault("rate_too_low", ("digits", "shapes", "waves"), _rate(5e-4, 3e-3)),
    Fault("rate_too_low", ("digits/sgd", "spirals"), _rate(0.01, 0.03), ("too_few_epochs",), "mild"),
    Fault("rate_too_high", ("digits", "clouds", "waves"), _rate(150.0, 600.0), ("divergence",)),
    Fault("rate_too_high", ("shapes",), _rate(50.0, 200.0), ("divergence", "dead_units")),
    Fault("divergence", ("surface/sgd", "diabetes/sgd"), _rate(100.0, 1000.0), ("rate_too_high",)),
    Fault("oscillation", ("digits/momentum", "surface/sgd"), _rate(6.0, 12.0), ("rate_too_high", "divergence", "dead_units")),
    Fault("schedule_decays_too_early", ("digits/sgd", "spirals", "clouds"), _early_fall, ("rate_too_low",)),
    Fault("clipping_too_much", ("digits/sgd", "clouds/sgd"), _between("train.clip_norm", 1e-3, 5e-3), ("rate_too_low",)),
    Fault("batch_too_small", ("digits/norm", "clouds/norm"), _set(train__batch_size=2, train__epochs=4)),
    # length
    Fault("too_few_epochs", ("digits/sgd", "clouds"), _set(train__epochs=1, train__eval_every=0.2), ("rate_too_low", "underfitting")),
    Fault("too_few_epochs", ("spirals",), _set(train__epochs=3, train__eval_every=0.2), ("rate_too_low", "underfitting")),
    Fault("too_many_epochs", ("iris", "blobs"), _set(train__epochs=400, train__eval_every=4.0), ("overfitting",)),
    Fault("early_stop_too_eager", ("digits/sgd", "spirals"), _eager(8), ("too_few_epochs", "rate_too_low")),
    # regularisation
    Fault("over_regularised", ("digits", "surface"), _between("train.l2", 0.5, 5.0), tag="l2"),
    Fault("over_regularised", ("clouds",), _between("model.dropout", 0.9, 0.95), tag="dropout"),
    Fault("over_regularised", ("shapes",), _between("train.l1", 0.03, 0.2), tag="l1"),
    Fault("overfitting", ("noisy",), _set(model__hidden=[200, 200], train__epochs=60), ("too_many_epochs",)),
    Fault("overfitting", ("diabetes",), _set(model__hidden=[200, 200], train__epochs=100), ("too_many_epochs",)),
    Fault("no_regularisation_effect", ("noisy",), _between("train.l2", 1e-9, 1e-7, model__hidden=[200, 200], train__epochs=60), ("overfitting",)),
    Fault("dropout_at_evaluation", ("digits/dropout", "clouds/dropout"), _between("model.dropout", 0.5, 0.6, model__dropout_at_evaluation=True)),
    # several at once, as in most real programs
    Fault("inputs_not_scaled", ("clouds",), _rate(30.0, 60.0, data__prepare="none"), ("rate_too_high", "divergence"), "and-rate", "rate_too_high"),
    Fault("target_not_scaled", ("surface",), _set(data__scale_target=False, model__output_activation="sigmoid"), ("output_activation",), "and-sigmoid", "output_activation"),
    Fault("vanishing_gradients", ("digits/deep",), _rate(0.01, 0.02, model__activation="sigmoid"), ("hidden_activation", "rate_too_low"), "and-rate", "rate_too_low"),
    Fault("output_activation", ("digits",), _rate(1e-3, 5e-3, model__output_activation="softmax"), ("wrong_loss", "rate_too_low"), "and-rate", "rate_too_low"),
)  # fmt: skip


def healthy(seed: int) -> list[Case]:
    """The healthy studies of a draw: every world but the one that is rare on purpose, and every variant."""
    pairs = [(name, "") for name in WORLDS if name != "rare"] + list(VARIANTS)
    return [_healthy(name, variant, seed) for name, variant in pairs]


def _healthy(name: str, variant: str, seed: int) -> Case:
    label = f"healthy-{name}" + (f"-{variant}" if variant else "")
    study = {"study": label, **world(name, seed=seed, variant=variant)}
    return Case(label, study, twin=label)


def faults(seed: int, *, only: str = "") -> list[Case]:
    """The planted faults of a draw; `only` those of one cause."""
    return [
        _planted(fault, place, seed)
        for fault in FAULTS
        for place in fault.worlds
        if only in ("", fault.cause)
    ]


def _planted(fault: Fault, place: str, seed: int) -> Case:
    name, _, variant = place.partition("/")
    twin = _healthy(name, variant, seed)
    label = "-".join(filter(None, (fault.cause, fault.tag, name, variant)))
    edits = dict(fault.draw(generator(seed, label), twin.study))
    return Case(
        name=label,
        study={**edited(twin.study, edits), "study": label},
        planted=fault.cause,
        accepted=(fault.cause, *fault.also),
        second=fault.second,
        twin=twin.name,
        edits=edits,
    )


def draw(seed: int, *, only: str = "", part: str = "") -> list[Case]:
    """Studies of a draw, those of one world side by side so that they find its data and programs warm."""
    found = [] if part == "healthy" else faults(seed, only=only)
    twins = {case.twin for case in found}
    kept = [case for case in healthy(seed) if case.name in twins or (not only and part != "faults")]
    order = list(WORLDS)
    return sorted(kept + found, key=lambda case: order.index(_world_of(case)))


def _world_of(case: Case) -> str:
    words = (case.twin or case.name).removeprefix("healthy-").split("-")
    return words[0]


def write(case: Case, folder: Path, *, seed: int) -> Path:
    """Write a study and its data as a user would have them; `lanework run FILE` runs it."""
    folder.mkdir(parents=True, exist_ok=True)
    study = {**case.study, "data": dict(case.study["data"])}
    if study["data"]["source"] in DATA:
        write_data(study["data"]["source"], folder / "data", seed=seed)
        study["data"]["source"] = f"data/{study['data']['source']}"
    what = (
        "healthy"
        if not case.planted
        else f"planted: {', '.join(filter(None, (case.planted, case.second)))}"
    )
    head = f"# Fault zoo, seed {seed}, {what}; right answers: {', '.join(case.accepted) or 'nothing found'}; twin: {case.twin}\n"
    path = folder / f"{case.name}.yaml"
    body = yaml.safe_dump(study, sort_keys=False, allow_unicode=True)
    path.write_text(head + body, encoding="utf-8")
    return path
