"""Learning curves with bands over seeds. Facts in, a chart with its rows out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from lanework.report import palette, units
from lanework.report.facts import Curve, FactorFacts, Facts, LevelFacts, Metric, metric_named
from lanework.report.figures import SCHEMA, Panel, Row, Spec
from lanework.stats import Floats, band

MAX_LINES: Final = 8
MAX_POINTS: Final = 120
MAX_SEED_POINTS: Final = 40_000


@dataclass(frozen=True)
class Line:
    """One line of the curves: a recipe with its colour and dash."""

    arm: int
    label: str
    colour: str
    dash: tuple[int, ...]


@dataclass(frozen=True)
class CurveChoice:
    """A set of lines to look at together, for example one optimizer at all its rates."""

    name: str
    label: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class CurveFigure:
    """The learning curves: one description per metric, with rows for each arm.

    Attributes:
        metrics: Metrics to switch between, the study's own first.
        choices: Sets of lines to switch between.
        specs: Description without rows, by metric name.
        bands: By metric name and arm, columns of equal length: ``e`` epoch, ``m`` mean, ``l`` and
            ``h`` bounds; ``gone`` is true where every run of the arm diverged.
        seeds: By metric name and arm, a column for each seed, for the same epochs.
        note: Which recipes have no line, if any.
    """

    metrics: tuple[Metric, ...]
    choices: tuple[CurveChoice, ...]
    specs: Mapping[str, Spec]
    bands: Mapping[str, Mapping[int, Mapping[str, Any]]]
    seeds: Mapping[str, Mapping[int, Mapping[int, list[float | None]]]]
    note: str = ""


def curve_figure(facts: Facts) -> CurveFigure | None:
    """Learning curves with bands over seeds; None when no curve was recorded."""
    names = list(dict.fromkeys(name for _, name in facts.curves))
    if not names:
        return None
    names.sort(key=lambda name: (name != facts.metric.name, not name.startswith("val_"), name))
    unit = str(facts.data.get("target_unit") or "")
    metrics = tuple(
        facts.metric if name == facts.metric.name else metric_named(name, unit=unit)
        for name in names
    )
    choices = _choices(facts)
    bands: dict[str, dict[int, Mapping[str, Any]]] = {metric.name: {} for metric in metrics}
    seeds: dict[str, dict[int, Mapping[int, list[float | None]]]] = {name: {} for name in bands}
    budget = MAX_SEED_POINTS
    for arm in dict.fromkeys(line.arm for choice in choices for line in choice.lines):
        recipe = facts.arm(arm)
        is_gone = recipe.num_diverged == len(recipe.runs)
        for metric in metrics:
            found = facts.curves.get((arm, metric.name))
            if found is None:
                continue
            curve = _thinned(found)
            bands[metric.name][arm] = _band(curve, metric, is_gone=is_gone)
            if curve.values.size <= budget:
                budget -= curve.values.size
                columns = zip(curve.seeds, curve.values * metric.factor, strict=True)
                seeds[metric.name][arm] = {seed: _column(values) for seed, values in columns}
    for name, metric in zip(bands, metrics, strict=True):
        lowest, highest = _extent(bands[name])
        if _is_log(metric, lowest, highest):
            bands[name] = {arm: _above_zero(one, lowest) for arm, one in bands[name].items()}
    specs = {
        name: _curve_spec(facts, metric, bands[name])
        for name, metric in zip(bands, metrics, strict=True)
    }
    return CurveFigure(metrics, choices, specs, bands, seeds, _note(facts, choices))


def _note(facts: Facts, choices: Sequence[CurveChoice]) -> str:
    """Says so when recipes are left out."""
    num_shown = len({line.arm for choice in choices for line in choice.lines})
    if num_shown == len(facts.arms):
        return ""
    count = units.count(len(facts.arms))
    return f"Not every recipe has a line: {num_shown} of {count} are drawn, the best ones."


def curve_panel(figure: CurveFigure, *, metric: str, choice: str) -> Panel:
    """The curves of one metric and one choice as a chart with its rows, for a file."""
    lines = next(one for one in figure.choices if one.name == choice).lines
    bands = figure.bands[metric]
    rows = [
        row for line in lines if line.arm in bands for row in _rows(bands[line.arm], line.label)
    ]
    spec = with_lines(figure.specs[metric], lines, rows)
    for layer in spec["layer"]:
        if layer.get("name") == "means":
            layer["encoding"]["color"]["legend"] = {"title": None}
    return Panel("", "", "", spec)


def _rows(columns: Mapping[str, Any], label: str) -> list[Row]:
    """The rows that the page's script makes of columns."""
    rows = [
        {"a": label, "e": e, "m": m, "l": low, "h": high}
        for e, m, low, high in zip(*(columns[key] for key in ("e", "m", "l", "h")), strict=True)
        if m is not None
    ]
    if columns["gone"] and rows:
        rows[-1]["d"] = 1
    return rows


def with_lines(spec: Spec, lines: Sequence[Line], rows: Sequence[Row]) -> Spec:
    """A description of curves filled with rows and with the colours of its lines."""
    domain = [line.label for line in lines]
    ranges = {
        "color": [line.colour for line in lines],
        "strokeDash": [list(line.dash) for line in lines],
    }
    is_drawn = {
        "seeds": False,
        "bands": any(row.get("l") is not None for row in rows),
        "ends": any("d" in row for row in rows),
    }
    layers = []
    for layer in spec["layer"]:
        if not is_drawn.get(layer.get("name"), True):
            continue
        encoding = {
            channel: {**item, "scale": {"domain": domain, "range": ranges[channel]}}
            if channel in ranges and "field" in item
            else item
            for channel, item in layer.get("encoding", {}).items()
        }
        layers.append({**layer, "encoding": encoding} if encoding else layer)
    return {**spec, "layer": layers, "datasets": {"mean": list(rows)}}


def _choices(facts: Facts) -> tuple[CurveChoice, ...]:
    have = {arm for arm, _ in facts.curves}
    levels = [level for level in facts.levels if level.best in have]
    is_grouped = any(level.rate is not None for level in levels)
    best = tuple(
        Line(
            level.best,
            level.label
            if level.rate is None
            else f"{level.label} \u00b7 {units.scalar(level.rate)}",
            palette.series(
                level.level if is_grouped or len(levels) <= palette.NUM_SERIES else index
            ),
            palette.dash(level.level if is_grouped else index),
        )
        for index, level in enumerate(levels[:MAX_LINES])
    )
    title = "Each recipe at its best learning rate" if is_grouped else "The best recipes"
    choices = [CurveChoice("best", title, best)]
    rate = facts.factor("rate")
    if is_grouped and rate is not None:
        for level in levels[:MAX_LINES]:
            lines = _rate_lines(facts, level, rate, have)
            if len(lines) > 1:
                label = f"{level.label} at every learning rate"
                choices.append(CurveChoice(f"level-{level.level}", label, lines))
    return tuple(choices)


def _rate_lines(
    facts: Facts, level: LevelFacts, rate: FactorFacts, have: set[int]
) -> tuple[Line, ...]:
    arms = [arm for arm in facts.arms if arm.arm in level.arms and arm.arm in have][:12]
    arms.sort(key=lambda arm: float(arm.factors[rate.key]))
    steps = palette.NUM_HEAT - 2
    return tuple(
        Line(
            arm.arm,
            units.scalar(arm.factors[rate.key]),
            palette.variable(f"h{2 + round(index * (steps - 1) / max(1, len(arms) - 1))}"),
            palette.DASHES[index % 3],
        )
        for index, arm in enumerate(arms)
    )


def _extent(bands: Mapping[int, Mapping[str, Any]]) -> tuple[float, float]:
    means = [m for columns in bands.values() for m in columns["m"] if m is not None]
    return min(means, default=0.0), max(means, default=0.0)


def _is_log(metric: Metric, lowest: float, highest: float) -> bool:
    """Whether a loss falls so far that only a logarithmic axis shows all of it."""
    return metric.direction == "min" and lowest > 0 and highest > 30 * lowest


def _above_zero(columns: Mapping[str, Any], lowest: float) -> dict[str, Any]:
    """The same with lower bounds that a logarithmic axis can show."""
    bounds = [None if low is None else max(low, lowest / 2) for low in columns["l"]]
    return {**columns, "l": bounds}


def _curve_spec(facts: Facts, metric: Metric, bands: Mapping[int, Mapping[str, Any]]) -> Spec:
    unit = f" ({metric.unit})" if metric.unit else ""
    lowest, highest = _extent(bands)
    is_log = _is_log(metric, lowest, highest)
    scale: Row = {"type": "log", "nice": False} if is_log else {"zero": False}
    if metric.is_fraction:
        scale |= {"domainMax": min(100.0, math.ceil(highest + 0.5))}
    x = {
        "field": "e",
        "type": "quantitative",
        "title": "epoch",
        "axis": {"tickMinStep": 1},
        "scale": {"nice": False},
    }
    y_title = f"{metric.label}{unit}{' (log scale)' if is_log else ''}"
    y = {"field": "m", "type": "quantitative", "title": y_title, "scale": scale}
    if highest >= 10_000:
        y["axis"] = {"format": "~s"}
    number = ",.2f" if metric.is_fraction else ".4~g"
    tooltip = [
        {"field": "a", "title": "recipe"},
        {"field": "e", "title": "epoch"},
        {"field": "m", "title": metric.label, "format": number},
        {"field": "l", "title": "95 % low", "format": number},
        {"field": "h", "title": "95 % high", "format": number},
    ]
    colour = {"field": "a", "type": "nominal", "legend": None}
    dash = {"field": "a", "type": "nominal", "legend": None}
    chance = metric.chance if metric.name == facts.metric.name else None
    layers: list[Spec] = []
    air = 0.25 * (highest - lowest)
    if chance is not None and lowest - air <= chance * metric.factor <= highest + air:
        layers.append(_chance_layer(chance * metric.factor))
    layers += [
        {"name": "bands", "mark": {"type": "area", "opacity": 0.16, "clip": True}, "encoding": {"x": x, "y": {**y, "field": "l"}, "y2": {"field": "h"}, "color": colour}},
        {"name": "seeds", "data": {"name": "seeds"}, "mark": {"type": "line", "strokeWidth": 1, "opacity": 0.55, "clip": True}, "encoding": {"x": x, "y": y, "color": colour, "strokeDash": dash, "detail": {"field": "s", "type": "nominal"}}},
        {"name": "means", "mark": {"type": "line", "strokeWidth": 2, "clip": True}, "encoding": {"x": x, "y": y, "color": colour, "strokeDash": dash}, "params": [{"name": "zoom", "select": {"type": "interval", "zoom": "wheel![event.ctrlKey || event.metaKey || event.shiftKey]"}, "bind": "scales"}]},
        {"name": "points", "mark": {"type": "point", "opacity": 0, "size": 120, "filled": True, "clip": True}, "encoding": {"x": x, "y": y, "color": colour, "tooltip": tooltip}},
        {"name": "ends", "transform": [{"filter": "datum.d"}], "mark": {"type": "point", "shape": "cross", "angle": 45, "size": 60, "filled": True, "opacity": 1}, "encoding": {"x": x, "y": y, "color": {"value": palette.variable("bad")}, "tooltip": [{"field": "a", "title": "diverged"}, {"field": "e", "title": "epoch"}]}},
    ]  # fmt: skip
    return {
        "$schema": SCHEMA,
        "description": f"Learning curves: {metric.label} by epoch",
        "width": "container",
        "height": 340,
        "data": {"name": "mean"},
        "layer": layers,
    }


def _chance_layer(value: float) -> Spec:
    quiet = {"color": {"value": palette.variable("ink-3")}, "strokeDash": {"value": [3, 3]}}
    return {
        "data": {"values": [{"c": value, "t": "guessing"}]},
        "layer": [
            {"mark": {"type": "rule", "strokeWidth": 1}, "encoding": {**quiet, "y": {"field": "c", "type": "quantitative"}}},
            {"mark": {"type": "text", "align": "right", "dy": -6, "fontSize": 11}, "encoding": {"x": {"value": "width"}, "y": {"field": "c", "type": "quantitative"}, "text": {"field": "t"}, "color": {"value": palette.variable("ink-3")}}},
        ],
    }  # fmt: skip


def _band(curve: Curve, metric: Metric, *, is_gone: bool) -> dict[str, Any]:
    finite = np.where(np.isfinite(curve.values), curve.values, np.nan) * metric.factor
    mean, low, high = band(finite, overlap=curve.overlap)
    least, most = (limit * metric.factor for limit in metric.limits)
    low, high = np.clip(low, least, most), np.clip(high, least, most)
    columns = {"e": curve.epochs, "m": mean, "l": low, "h": high}
    return {**{key: _column(values) for key, values in columns.items()}, "gone": is_gone}


def _column(values: Floats) -> list[float | None]:
    """Five significant digits, and None for what JSON cannot say."""
    known = np.isfinite(values)
    safe = np.where(known & (values != 0), np.abs(values), 1.0)
    scale = 10.0 ** (4 - np.floor(np.log10(safe)))
    rounded = (np.round(np.where(known, values, 0.0) * scale) / scale).tolist()
    return [value if is_known else None for value, is_known in zip(rounded, known, strict=True)]


def _thinned(curve: Curve) -> Curve:
    """At most `MAX_POINTS` points, the first and the last among them."""
    if len(curve.epochs) <= MAX_POINTS:
        return curve
    kept = np.unique(np.linspace(0, len(curve.epochs) - 1, MAX_POINTS).round().astype(int))
    return curve._replace(epochs=curve.epochs[kept], values=curve.values[:, kept])
