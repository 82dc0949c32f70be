"""Rules of signals through the layers: vanishing, exploding, dead, saturated, all alike."""

from __future__ import annotations

import math

import numpy as np

from lanework.health.findings import Finding
from lanework.health.records import Floats, LayerTable, RunRecord
from lanework.health.rules import measures as m
from lanework.health.rules.measures import percent, shown

VANISHED, EXPLODED = 1e-3, 1e3
DEAD_WARN, DEAD_FAIL, ALL_DEAD = 0.6, 0.9, 0.99
SATURATED = 0.5


def symmetric_weights(record: RunRecord) -> Finding | None:
    """Weights that start constant, or units that are copies of each other."""
    init = m.name_of(record.setting("model.init"))
    copies = _copies(record)
    has_hidden = record.setting("model.hidden") not in ((), [])
    if init in m.CONSTANT_INITS and has_hidden:
        told = f"All weights start from the same value (init {init}), so the units of a layer stay copies of each other."
        evidence = {"layers_of_copies": float(len(copies))}
        level = "fail" if m.suffers(record) else "warn"
        return Finding("symmetric_weights", level, 0.97, told, evidence, layer="".join(copies[:1]))
    if not copies or not m.is_poor(record):
        return None
    told = (
        f"All units of {copies[0]} give the same for every sample: they are copies of each other."
    )
    return Finding(
        "symmetric_weights",
        "fail",
        0.9,
        told,
        {"layers_of_copies": float(len(copies))},
        layer=copies[0],
    )


def _copies(record: RunRecord) -> list[str]:
    """Hidden layers whose units gave the same in all records, though not always nothing."""
    spread, std = m.hidden(record, "unit_spread"), m.hidden(record, "activation_std")
    mean = m.hidden(record, "activation_mean")
    if not spread or spread.values.shape != std.values.shape:
        return []
    with np.errstate(invalid="ignore"):
        size = np.abs(mean.values) + std.values
        are_same = spread.values <= 1e-5 * size
        is_alive = size > 0
    return [
        name
        for column, name in enumerate(spread.names)
        if are_same[:, column].all() and is_alive[:, column].all()
    ]


def _profile(record: RunRecord) -> tuple[float, float, LayerTable]:
    """Gradient norm of the first layer over that of the last, and of the last alone: medians of the records."""
    table = record.layer("grad_norm")
    if len(table.names) < 2 or not table:
        return math.nan, math.nan, table
    return m.middle(_shares(table)), m.middle(table.values[:, -1]), table


def _shares(table: LayerTable) -> Floats:
    """Gradient norm of the first layer over that of the last, at each record."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(table.values[:, 0] / table.values[:, -1])


def vanishing_gradients(record: RunRecord) -> Finding | None:
    """The gradient shrinks by orders of magnitude on its way down, and the run learns badly."""
    ratio, last, table = _profile(record)
    if table:
        # A network that was stuck at first has lost that time, also where its gradients came back in the end.
        ratio = min(ratio, m.middle(_shares(table)[: max(1, len(table) // 4)]))
    if not ratio < 10 * VANISHED or not last > 0 or not m.suffers(record):
        return None
    is_shallow = len(table.names) < 3
    if ratio > VANISHED and (is_shallow or not _sinks(table)):
        return None
    # Nothing passes a single hidden layer whose units died on the way: that is another matter.
    if is_shallow and _late_dead(record) >= DEAD_WARN:
        return None
    if _is_dead(record) or m.name_of(record.setting("model.init")) in m.CONSTANT_INITS:
        return None
    sigmoid = m.name_of(record.setting("model.activation")) in ("sigmoid", "tanh", "softmax")
    remedies = (
        () if sigmoid else ("he_initialisation", "add_normalisation", "use_residual", "use_relu")
    )
    return Finding(
        "vanishing_gradients",
        "fail",
        0.88 if ratio < VANISHED else 0.72,
        f"The gradient of {table.names[0]} is {shown(ratio)} times that of {table.names[-1]}: what the loss says does not reach "
        "the first layers.",
        {"first_over_last": ratio, "last": last},
        layer=table.names[0],
        remedies=remedies,
    )


def _sinks(table: LayerTable) -> bool:
    """Whether gradient norms fall layer by layer towards the input, and are not small in one layer only."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(np.median(table.values, axis=0))
    return bool(np.all(np.isfinite(logs)) and np.mean(np.diff(logs) > 0) >= 0.7)


def _is_dead(record: RunRecord) -> bool:
    """Whether a whole layer was dead at the first record: some units, or later ones, are no reason for small gradients."""
    dead = m.hidden(record, "dead_share")
    return bool(dead) and bool(m.highest(dead.values[0]) > ALL_DEAD)


def _late_dead(record: RunRecord) -> float:
    """Largest share of dead units of a hidden layer at the last record."""
    return m.highest(m.hidden(record, "dead_share").values[-1:])


def exploding_gradients(record: RunRecord) -> Finding | None:
    """Gradients that grow towards the input or are huge beside the weights; or a deep network that diverged at a usual rate."""
    grad, param = record.layer("grad_norm"), record.layer("param_norm")
    if not grad or grad.values.shape != param.values.shape:
        return _burst(record)
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.sqrt(np.square(grad.values).sum(axis=1) / np.square(param.values).sum(axis=1))
    size = m.middle(sizes)
    ratio = _profile(record)[0]
    is_steep = ratio > EXPLODED and size > 1.0
    # Falling from millions to half a million is no learning.
    is_lost = size > EXPLODED and m.fit(record) < -1.0
    if not (is_steep or size > 30.0) or not (is_lost or m.suffers(record)):
        return _burst(record)
    return Finding(
        "exploding_gradients",
        "fail",
        0.8 if is_steep or is_lost else 0.7,
        f"The gradient is {shown(size)} times as large as the weights"
        + (
            f" and {shown(ratio)} times as large in {grad.names[0]} as in {grad.names[-1]}."
            if is_steep
            else "."
        ),
        {"over_weights": size} | ({"first_over_last": ratio} if ratio == ratio else {}),
        layer=grad.names[0],
    )


def _burst(record: RunRecord) -> Finding | None:
    """A recurrent network that lost its loss at a rate that is not large."""
    is_recurrent = m.name_of(record.setting("model.net")) in ("rnn", "gru", "lstm")
    if not m.is_broken(record) or not is_recurrent or not m.usual_rate(record) <= 3.0:
        return None
    return Finding(
        "exploding_gradients",
        "fail",
        0.85,
        "The loss of a recurrent network stopped being finite at a usual learning rate: gradients through time grew without bound.",
        {"over_usual": m.usual_rate(record)},
    )


def dead_units(record: RunRecord) -> Finding | None:
    """A large share of a hidden layer gives zero for every sample."""
    table = m.hidden(record, "dead_share")
    if not table or m.name_of(record.setting("model.init")) == "zeros":
        return None
    late = table.values[-min(2, len(table)) :].min(axis=0)
    if not np.isfinite(late).any():
        return None
    place = int(np.nanargmax(late))
    share = float(late[place])
    if share < DEAD_WARN or not m.suffers(record):
        return None
    layer = table.names[place]
    return Finding(
        "dead_units",
        "fail" if share >= DEAD_FAIL else "warn",
        0.88 if share >= 0.98 else 0.75 if share >= DEAD_FAIL else 0.55,
        f"{percent(share)} of the units of {layer} give zero for every sample looked at.",
        {"dead_share": share},
        layer=layer,
    )


def saturated_units(record: RunRecord) -> Finding | None:
    """Most values of a bounded hidden layer sit at its limits, and the run learns badly."""
    table = m.hidden(record, "saturated_share")
    if not table:
        return None
    late = table.values[-min(2, len(table)) :].min(axis=0)
    if not np.isfinite(late).any():
        return None
    place = int(np.nanargmax(late))
    share = float(late[place])
    if share < SATURATED or not m.suffers(record):
        return None
    layer = table.names[place]
    return Finding(
        "saturated_units",
        "fail",
        0.65 + 0.2 * share,
        f"{percent(share)} of the values of {layer} lie at a limit of its activation, where the slope is nearly zero.",
        {"saturated_share": share},
        layer=layer,
    )
