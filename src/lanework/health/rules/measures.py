"""What rules measure on a record: skill against chance, settings by name, levels of a curve, sizes of steps.

Plain functions of `RunRecord`; NaN where something is not known, so that no comparison with it holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from lanework.catalog import CATALOG
from lanework.health.records import Curve, Floats, LayerTable, RunRecord
from lanework.report import units

PLAIN: Final = (
    *("sgd", "gd", "momentum", "nesterov", "noisy_sgd", "optimistic_gd", "sam", "polyak_sgd"),
    *("momo", "schedule_free", "mechanic", "learned"),
)
"""Update rules whose step grows with the size of the gradient."""
LINEAR: Final = ("", "none", "identity", "linear")
GETTING_BETTER: Final = 0.02  # of the chance loss, from one record to the next
CONSTANT_INITS: Final = ("zeros", "ones", "constant")


def name_of(choice: Any) -> str:
    """Name of a choice of the study file: a text, or a mapping with `name`; empty for none."""
    if isinstance(choice, Mapping):
        return str(choice.get("name", ""))
    return "" if choice is None else str(choice)


def number(record: RunRecord, path: str, default: float = math.nan) -> float:
    """A numeric setting; the default where it is not set."""
    value = record.setting(path)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else default


def weight_decay(record: RunRecord) -> float:
    """Decoupled weight decay: that of the recipe, else that of its update rule; 0 for none."""
    own = number(record, "train.weight_decay", 0.0)
    return own if own > 0 else number(record, "train.optimizer.weight_decay", 0.0)


def loss_name(record: RunRecord) -> str:
    """Name of the loss: as set, else that of the network's facts."""
    return name_of(record.setting("train.loss")) or record.net.loss


def batch_size(record: RunRecord) -> float:
    """Samples of a batch; NaN where not known."""
    value = record.setting("train.batch_size")
    if value == "all":
        return float(record.data.num_train or math.nan)
    return number(record, "train.batch_size")


def paired(record: RunRecord) -> tuple[Curve, Curve]:
    """Training and validation loss at the evaluations: of training the last record up to each; only where both are finite."""
    train, val = record.curve("train_loss"), record.curve("val_loss")
    places = np.searchsorted(train.steps, val.steps, side="right") - 1
    known = (places >= 0) & np.isfinite(val.values)
    known[known] &= np.isfinite(train.values[places[known]])
    steps = val.steps[known]
    return Curve(steps, train.values[places[known]]), Curve(steps, val.values[known])


def progress(record: RunRecord) -> float:
    """Share of the planned steps that were taken."""
    return record.steps / record.num_steps if record.num_steps else 1.0


# ---- how well it does ------------------------------------------------------------------------


def skill(record: RunRecord) -> Curve:
    """How far validation is above chance: 0 is chance, 1 perfect (accuracy rescaled, or R2)."""
    accuracy = record.curve("val_accuracy")
    if accuracy:
        chance = record.data.chance_accuracy
        chance = chance if chance < 1.0 else math.nan
        return Curve(accuracy.steps, (accuracy.values - chance) / (1.0 - chance))
    return record.curve("val_r2")


def skill_error(record: RunRecord) -> float:
    """About two standard errors of a skill near chance, from the number of validation samples."""
    count = max(1, record.data.num_val)
    if record.data.task == "regression":
        return 2.0 / math.sqrt(count)
    chance = record.data.chance_accuracy
    if not 0.0 < chance < 1.0:
        return 2.0 / math.sqrt(count)
    return 2.0 * math.sqrt(chance * (1.0 - chance) / count) / (1.0 - chance)


def simple_skill(record: RunRecord) -> float:
    """The same for what simple models make of the data; NaN where that is not known."""
    facts = record.data
    if not facts.simple_chance < 1.0:
        return math.nan
    return (facts.simple_score - facts.simple_chance) / (1.0 - facts.simple_chance)


def chance_loss(record: RunRecord) -> float:
    """Loss of the best answer without inputs, where the loss allows to say so; else the loss of the first steps."""
    facts, loss = record.data, loss_name(record)
    is_usual = loss == ("mse" if facts.task == "regression" else "cross_entropy")
    is_binary = loss == "binary_cross_entropy" and facts.num_classes == 2
    is_known = is_usual or (is_binary and record.net.num_outputs in (0, 1))
    summed = record.setting("train.reduction") == "sum"
    if is_known and not summed and math.isfinite(facts.chance_loss) and facts.chance_loss > 0:
        return facts.chance_loss
    return begin_loss(record)


def begin_loss(record: RunRecord) -> float:
    """Training loss of the first steps; NaN where nothing was recorded."""
    begin = record.curve("train_loss_begin")
    return begin.first if begin else record.curve("train_loss").first


def end_loss(record: RunRecord) -> float:
    """Training loss of the last recorded steps."""
    end = record.curve("train_loss_end")
    return end.last if end else record.curve("train_loss").last


def fit(record: RunRecord) -> float:
    """Share of the chance loss that training has taken away: 1 is a perfect fit of the training samples, 0 none."""
    chance = chance_loss(record)
    loss = record.curve("train_loss")
    if not loss or not chance > 0:
        return math.nan
    return 1.0 - float(np.median(loss.values[-2:])) / chance


def best_skill(record: RunRecord) -> float:
    """Highest skill so far."""
    values = skill(record).values
    known = values[np.isfinite(values)]
    return float(known.max()) if len(known) else math.nan


def late_skill(record: RunRecord) -> float:
    """Median skill of the last three evaluations."""
    values = skill(record).values[-3:]
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else math.nan


def is_behind(record: RunRecord) -> bool:
    """Whether validation is clearly below what simple models reach."""
    return late_skill(record) < simple_skill(record) - max(0.05, skill_error(record))


def is_poor(record: RunRecord, *, below: float = 0.25) -> bool:
    """Whether the run learns badly: clearly worse than simple models, or hardly better than chance; broken runs are.

    A run that goes on and still gets better is not poor, however early it is; nor is one that went back to a snapshot once and
    then learned.
    """
    if is_lost(record):
        return True
    if not record.is_complete and is_improving(record):
        return False
    now, simple = late_skill(record), simple_skill(record)
    if math.isnan(now):
        return fit(record) < below
    if math.isfinite(simple):
        return now < max(min(simple - 0.15, 0.75 * simple), min(below, 0.5 * simple))
    return now < below


def suffers(record: RunRecord, *, below: float = 0.25) -> bool:
    """Whether the run is poor, or is clearly behind simple models and no longer gets better."""
    is_late = record.is_complete or (len(skill(record)) > 2 and not is_improving(record))
    return is_poor(record, below=below) or (is_late and is_behind(record))


def is_improving(record: RunRecord) -> bool:
    """Whether the last record is clearly better than the one before it: in training loss, or in validation."""
    loss, chance = record.curve("train_loss").values[-2:], chance_loss(record)
    begin = begin_loss(record) if len(loss) == 1 else math.nan
    before = loss[0] if len(loss) == 2 else begin
    now = (
        record.curve("train_loss_end").last
        if len(loss) == 1
        else float(loss[-1])
        if len(loss)
        else math.nan
    )
    scores = skill(record).values[-2:]
    rose = float(scores[1] - scores[0]) if len(scores) == 2 else math.nan
    return bool(before - now > GETTING_BETTER * chance or rose > max(0.02, skill_error(record)))


def is_broken(record: RunRecord) -> bool:
    """Whether the loss stopped being finite at least once."""
    return is_lost(record) or any(event.kind == "healed" for event in record.events)


def is_lost(record: RunRecord) -> bool:
    """Whether the loss stopped being finite for good."""
    return (
        record.status == "diverged"
        or any(event.kind == "diverged" for event in record.events)
        or (bool(record.curve("train_loss")) and not math.isfinite(record.curve("train_loss").last))
    )


# ---- sizes of steps and signals ----------------------------------------------------------------


def usual_rate(record: RunRecord) -> float:
    """Learning rate over the default of its update rule in the catalogue; NaN where one of them is not known."""
    row = CATALOG["optimizer"].get(name_of(record.setting("train.optimizer")))
    usual = row.hyper("learning_rate").default if row is not None else None
    if not isinstance(usual, int | float) or not usual > 0:
        return math.nan
    return number(record, "train.learning_rate") / float(usual)


def step_size(record: RunRecord) -> Curve:
    """Median over the layers of update norm / weight norm, at each record; layers that stay still are left out.

    Nothing where weights start constant: any step is large against weights of zero.
    """
    table = record.layer("update_ratio")
    if not table or name_of(record.setting("model.init")) in CONSTANT_INITS:
        return Curve.of([], [])
    values = np.where(np.isfinite(table.values) & (table.values > 0), table.values, np.nan)
    known = np.isfinite(values).any(axis=1)
    medians = np.full(len(values), np.nan)
    medians[known] = np.nanmedian(values[known], axis=1)
    return Curve(table.steps[known], medians[known])


def curvature(record: RunRecord) -> float:
    """Learning rate times the last sharpness, for plain gradient descent at a constant rate; NaN elsewhere (watched deeply only).

    Above 2 a step along the sharpest direction lands higher than it began (Cohen et al. 2021, arXiv:2103.00065).
    """
    is_plain = name_of(record.setting("train.optimizer")) in ("sgd", "gd")
    if not is_plain or name_of(record.setting("train.schedule")) != "constant":
        return math.nan
    return record.curve("sharpness").last * number(record, "train.learning_rate")


def highest(values: Floats) -> float:
    """Largest of what is finite; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.max()) if len(known) else math.nan


def middle(values: Floats) -> float:
    """Median of what is finite; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else math.nan


def hidden(record: RunRecord, name: str) -> LayerTable:
    """A statistic of all layers but the output layer.

    That is the last one; own loops may hand in hidden layers only, which is seen where the last layer with weights is not there.
    """
    table, weighted = record.layer(name), record.layer("param_norm").names
    if weighted and weighted[-1] not in table.names and not record.settings.get("model"):
        return table
    if len(table.names) < 2:
        return LayerTable(table.steps, (), table.values[:, :0])
    return LayerTable(table.steps, table.names[:-1], table.values[:, :-1])


def growth(record: RunRecord) -> float:
    """Norm of all weights at the last record over that at the first."""
    table = record.layer("param_norm")
    if len(table) < 2:
        return math.nan
    norms = np.sqrt(np.square(table.values).sum(axis=1))
    is_known = norms[0] > 0 and np.all(np.isfinite(norms))
    return float(norms[-1] / norms[0]) if is_known else math.nan


def shown(value: float) -> str:
    """A number in three digits."""
    return units.short(value)


def percent(value: float) -> str:
    """A share in per cent."""
    return f"{units.short(100 * value)} %"
