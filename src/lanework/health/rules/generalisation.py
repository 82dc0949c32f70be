"""Rules of generalisation: too much or too little fit, too much or too little regularisation, classes left out."""

from __future__ import annotations

import math

import numpy as np

from lanework.health.findings import Finding
from lanework.health.records import RunRecord
from lanework.health.rules import measures as m
from lanework.health.rules.measures import percent, shown

LEAST_COUNT = 5  # validation samples of a class, to say that it is never answered


def over_regularised(record: RunRecord) -> Finding | None:
    """Penalties, decay, dropout or noise so strong that the training samples are not even fitted."""
    strong = _strong(record)
    is_poor = m.is_poor(record, below=0.5)
    if not strong or m.is_broken(record):
        return None
    fit, shrunk = m.fit(record), m.growth(record)
    name, value = max(strong.items(), key=lambda item: item[1])
    # Weights that are pulled to zero need not be waited for until the loss has come back to chance.
    is_pulled = value >= 2.0 and shrunk < 0.8
    if not fit < 0.7 or not (is_pulled or m.suffers(record, below=0.5)):
        return None
    said = f"{_WORDS[name].format(shown(_value(record, name)))} is strong"
    if shrunk < 0.7:
        said += f", the weights shrank to {percent(shrunk)} of their size"
    dropping = name == "dropout"
    evidence = {name: _value(record, name), "strength": value, "fit": fit}
    return Finding(
        "over_regularised",
        "fail" if is_poor or value >= 2.0 else "warn",
        0.92 if value >= 2.0 else 0.8,
        f"{said}, and training takes away only {percent(max(0.0, fit))} of the chance loss.",
        evidence | ({"weights_left": shrunk} if shrunk == shrunk else {}),
        remedies=("less_dropout", "less_regularisation") if dropping else (),
    )


_PATHS = {
    "l1": "train.l1",
    "l2": "train.l2",
    "weight_decay": "train.weight_decay",
    "dropout": "model.dropout",
    "label_smoothing": "train.label_smoothing",
    "input_noise": "train.input_noise",
    "weight_noise": "train.weight_noise",
    "gradient_noise": "train.gradient_noise",
    "max_norm": "train.max_norm",
}
_WORDS = {
    "l1": "An L1 penalty of {}",
    "l2": "An L2 penalty of {}",
    "weight_decay": "A weight decay of {}",
    "dropout": "Dropping {} of the hidden units",
    "label_smoothing": "A label smoothing of {}",
    "input_noise": "Input noise of standard deviation {}",
    "weight_noise": "Weight noise of standard deviation {}",
    "gradient_noise": "Gradient noise of standard deviation {}",
    "max_norm": "A limit of {} on the norm of incoming weights",
}
# From here on it is strong (1); ten times as much counts 2.
_STRONG = {
    "l1": 1e-3,
    "l2": 1e-2,
    "weight_decay": 0.1,
    "label_smoothing": 0.5,
    "input_noise": 1.0,
    "weight_noise": 0.1,
    "gradient_noise": 0.3,
}


def _value(record: RunRecord, name: str) -> float:
    return m.weight_decay(record) if name == "weight_decay" else m.number(record, _PATHS[name], 0.0)


def _strong(record: RunRecord) -> dict[str, float]:
    """Regularisers that are strong by their settings: how strong, 1 for just so."""
    found = {}
    for name, limit in _STRONG.items():
        value = _value(record, name)
        if value >= limit:
            found[name] = 1.0 + math.log10(value / limit)
    dropout, limit = m.number(record, "model.dropout", 0.0), m.number(record, "train.max_norm")
    if dropout >= 0.65:
        found["dropout"] = 1.0 + (dropout - 0.65) / 0.2
    if limit <= 0.5:
        found["max_norm"] = 1.0 + math.log10(0.5 / limit)
    return found


def no_regularisation_effect(record: RunRecord) -> Finding | None:
    """A penalty that is set and too weak to change anything, while the run overfits."""
    if overfitting(record) is None:
        return None
    share = _penalty_share(record)
    if not share < 0.01:
        return None
    name = "l2" if m.number(record, "train.l2", 0.0) > 0 else "weight_decay"
    return Finding(
        "no_regularisation_effect",
        "warn",
        0.7,
        f"The {name.replace('_', ' ')} of {shown(_value(record, name))} changes the weights by {percent(share)} of what the "
        "loss does, and the run overfits.",
        {"share": share},
    )


def _penalty_share(record: RunRecord) -> float:
    """Pull of a penalty on the weights over that of the loss; NaN where none is set."""
    l2, decay = m.number(record, "train.l2", 0.0), m.weight_decay(record)
    if decay > 0 and l2 == 0:
        return decay * m.number(record, "train.learning_rate") * max(1, record.num_steps)
    grad, param = record.layer("grad_norm"), record.layer("param_norm")
    if not l2 > 0 or not grad or grad.values.shape != param.values.shape:
        return math.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = l2 * np.sqrt(
            np.square(param.values).sum(axis=1) / np.square(grad.values).sum(axis=1)
        )
    return m.middle(shares[: max(1, len(shares) // 2)])


def overfitting(record: RunRecord) -> Finding | None:
    """Validation loss well above its earlier best while the training loss keeps falling."""
    (train, val), chance = m.paired(record), m.chance_loss(record)
    if len(val) < 5:
        return None
    place = int(np.argmin(val.values))
    best, late = float(val.values[place]), float(np.median(val.values[-3:]))
    then, now = float(train.values[place]), float(np.median(train.values[-3:]))
    rise = late - best
    is_after = place <= 0.75 * (len(val) - 1) and len(val) - 1 - place >= 3
    has_risen = late > 1.3 * best and rise > 0.15 * chance
    # Training samples known by heart, and simple models do better: that the loss rose little is no comfort.
    by_heart = now < 0.1 * late and late > 1.05 * best and m.is_behind(record)
    if not is_after or not (has_risen or by_heart) or not now < 0.75 * then:
        return None
    scores = m.skill(record).values
    lost = m.highest(scores) - m.middle(scores[-3:])
    is_bad = (
        by_heart
        or late > 2.0 * best
        or late > chance
        or lost > max(0.05, 2.0 * m.skill_error(record))
    )
    return Finding(
        "overfitting",
        "fail" if is_bad else "warn",
        min(0.8, 0.6 + 0.1 * late / max(best, 0.01 * chance)),
        f"The validation loss was best at step {int(val.steps[place])} ({shown(best)}) and is {shown(late)} now, while the training "
        f"loss fell from {shown(then)} to {shown(now)}.",
        {
            "best": best,
            "late": late,
            "train_then": then,
            "train_now": now,
            "best_step": float(val.steps[place]),
        },
    )


def underfitting(record: RunRecord) -> Finding | None:
    """Poor on training and validation alike, flat, and worse than simple models."""
    loss, simple, now = record.curve("train_loss"), m.simple_skill(record), m.late_skill(record)
    is_early = not record.is_complete and (len(loss) < 6 or m.is_improving(record))
    if is_early or len(loss) < 4 or m.is_broken(record) or not math.isfinite(simple):
        return None
    late = loss.values[-max(2, len(loss) // 3) :]
    moved = (late[0] - late[-1]) / max(1e-12, abs(late[0]))
    behind = simple - now
    if (
        not behind > max(0.12, 2.0 * m.skill_error(record))
        or not moved < 0.1
        or not m.fit(record) < 0.7
    ):
        return None
    return Finding(
        "underfitting",
        "fail" if behind > 0.25 else "warn",
        min(0.75, 0.5 + behind),
        f"Validation reaches a skill of {shown(now)} where simple models reach {shown(simple)}; the training loss of "
        f"{shown(loss.last)} hardly falls any more.",
        {"skill": now, "simple_skill": simple, "fit": m.fit(record)},
        stands=record.setting("model.hidden") in ((), []),
    )


def class_collapse(record: RunRecord) -> Finding | None:
    """Classes that occur in validation and are hardly ever answered."""
    seen, top = record.curve("predicted_share"), record.curve("commonest_answer")
    shares = [share for share in record.data.val_class_shares if share > 0]
    is_early = not record.is_complete and m.progress(record) < 0.15
    if len(seen) < 3 or len(shares) < 2 or is_early:
        return None
    late = float(np.max(seen.values[-3:]))
    missing = round((1.0 - late) * len(shares))
    countable = sum(share * record.data.num_val >= LEAST_COUNT for share in shares)
    unequal = max(shares) / min(shares)
    # Answers outside of the commonest class that come half as often as such samples do, where there are enough to say so.
    others = 1.0 - max(shares)
    is_seldom = 1.0 - float(np.median(top.values[-3:])) < 0.5 * others
    is_seldom &= others * record.data.num_val >= 4 * LEAST_COUNT
    is_missing = missing - (len(shares) - countable) >= 1
    if unequal < 3.0 or not (is_missing or is_seldom):
        return None
    is_gross = top.last > max(shares) + 0.5 * (1.0 - max(shares)) or late <= 0.5
    return Finding(
        "class_collapse",
        "fail" if is_gross else "warn",
        0.85 if is_gross else 0.65,
        (f"{missing} of {len(shares)} classes are hardly ever answered; " if missing else "")
        + f"{percent(top.last)} of the answers are the same class, whose "
        f"share is {percent(max(shares))}.",
        {"missing": float(missing), "classes": float(len(shares)), "commonest_answer": top.last},
    )
