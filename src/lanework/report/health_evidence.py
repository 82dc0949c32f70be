"""The chart on a verdict card: what tells the cause, over the training. Facts in, a chart out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from lanework.report import palette
from lanework.report.figures import SCHEMA, Row, Spec, plain
from lanework.report.health_facts import Found, RunHealth, Series

# Losses of raw targets run to billions; they are written as people write them, not in full.
SHORT: Final = "datum.value && (abs(datum.value) >= 1e5 || abs(datum.value) < 1e-3) ? format(datum.value, '.0e') : format(datum.value, '~g')"
SCALES: Final[Mapping[str, Row]] = {
    "log": {"type": "log"},
    "share": {"domain": [0, 1]},
    "from_zero": {"zero": True},
}
# Statistic of its layer that is the evidence of a cause, its title and its scale.
BY_LAYER: Final = {
    "dead_units": ("dead_share", "dead units", "share"),
    "saturated_units": ("saturated_share", "saturated values", "share"),
    "vanishing_gradients": ("grad_norm", "gradient norm", "log"),
    "exploding_gradients": ("grad_norm", "gradient norm", "log"),
    "rate_too_high": ("update_ratio", "step over weights", "log"),
    "rate_too_low": ("update_ratio", "step over weights", "log"),
    "symmetric_weights": ("unit_spread", "spread across units", "from_zero"),
}
# Numbers of the whole run that are; the other causes show the losses.
WHOLE: Final = {
    "class_collapse": (("predicted_share", "commonest_answer"), "share", "share"),
    "clipping_too_much": (("clipped_share",), "clipped steps", "share"),
    "oscillation": (("train_loss", "train_loss_std"), "loss", "log"),
    "batch_too_small": (("train_loss", "train_loss_std"), "loss", "log"),
}
# Causes that are about when validation was at its best.
BEST: Final = ("overfitting", "too_many_epochs", "too_few_epochs", "early_stop_too_eager")
NAMES: Final = {
    "train_loss": "train loss",
    "val_loss": "val loss",
    "predicted_share": "classes that are answered",
    "commonest_answer": "samples with the commonest answer",
    "clipped_share": "clipped steps",
    "train_loss_std": "spread from step to step",
}


class _Lines(NamedTuple):
    """What is drawn: rows of epoch `e`, number `m` and line `a`."""

    rows: list[Row]
    title: str
    scale: str


def evidence(run: RunHealth, item: Found) -> Spec | None:
    """A small chart of what tells a cause, with a line where it could first be told."""
    lines = _lines(run, item)
    if len({row["e"] for row in lines.rows}) < 2:
        return None
    last = max(row["e"] for row in lines.rows)
    told = item.row.step / run.steps_per_epoch if run.steps_per_epoch > 0 else math.nan
    marks = [_mark_of_best(run)] if item.row.code in BEST else []
    if 0.0 < told <= last:
        marks.append(_mark_of_time(told))
    return {
        "$schema": SCHEMA,
        "description": f"Evidence of {item.title}",
        "width": "container",
        "height": 110,
        "layer": [_drawn(lines), *(mark for mark in marks if mark is not None)],
    }


def _lines(run: RunHealth, item: Found) -> _Lines:
    code = item.row.code
    found = _Lines([], "", "log")
    if code in BY_LAYER:
        found = _of_layers(run, *BY_LAYER[code], layer=item.row.layer)
    elif code in WHOLE:
        names, title, scale = WHOLE[code]
        found = _Lines(_rows({**run.losses, **run.whole}, names, scale), title, scale)
    return found if found.rows else _Lines(_rows(run.losses, run.losses, "log"), "loss", "log")


def _rows(series: Mapping[str, Series], names: Iterable[str], scale: str) -> list[Row]:
    return [
        {"e": plain(float(epoch)), "m": plain(float(value)), "a": NAMES.get(name, name)}
        for name in names
        if name in series
        for epoch, value in zip(*series[name], strict=True)
        if _is_drawn(value, scale)
    ]


def _is_drawn(value: float, scale: str) -> bool:
    return math.isfinite(value) and (value > 0 or scale != "log")


def _of_layers(run: RunHealth, name: str, title: str, scale: str, *, layer: str) -> _Lines:
    """The layer in question beside the last one, or the first beside the last where none is."""
    table = run.layers.get(name)
    if table is None:
        return _Lines([], title, scale)
    ends = [table.names[0], table.names[-1]]
    chosen = [layer] if layer in table.names and scale != "log" else ends
    if scale == "from_zero":  # a healthy layer says how large is usual
        chosen = [*chosen, table.names[-1]]
    series = {one: (table.epochs, table.values[table.names.index(one)]) for one in chosen}
    return _Lines(_rows(series, series, scale), title, scale)


def _drawn(lines: _Lines) -> Spec:
    names = list(dict.fromkeys(row["a"] for row in lines.rows))
    colours = [palette.series(index) for index in range(len(names))]
    return {
        "data": {"values": lines.rows},
        "mark": {"type": "line", "strokeWidth": 2, "point": {"size": 14}},
        "encoding": {
            "x": _epochs(),
            "y": {
                "field": "m",
                "type": "quantitative",
                "title": lines.title,
                "scale": SCALES[lines.scale],
                "axis": {"tickCount": 4, "labelExpr": SHORT},
            },
            "color": {
                "field": "a",
                "type": "nominal",
                "sort": names,
                "scale": {"domain": names, "range": colours},
                "legend": {"title": None},
            },
        },
    }


def _epochs() -> dict[str, Any]:
    return {"field": "e", "type": "quantitative", "title": "epoch", "axis": {"tickCount": 4}}


def _mark_of_time(told: float) -> Spec:
    mark: Row = {"type": "rule", "color": palette.variable("bad"), "strokeDash": [4, 3]}
    return {
        "data": {"values": [{"e": plain(told)}]},
        "mark": {**mark, "tooltip": "first told here"},
        "encoding": {"x": _epochs()},
    }


def _mark_of_best(run: RunHealth) -> Spec | None:
    """The smallest validation loss, as a ring."""
    rows = _rows(run.losses, ("val_loss",), "log")
    if not rows:
        return None
    best = min(rows, key=lambda row: float(row["m"]))
    mark: Row = {"type": "point", "size": 90, "strokeWidth": 2, "color": palette.variable("ink")}
    return {
        "data": {"values": [best]},
        "mark": {**mark, "tooltip": "smallest validation loss"},
        "encoding": {"x": _epochs(), "y": {"field": "m", "type": "quantitative"}},
    }
