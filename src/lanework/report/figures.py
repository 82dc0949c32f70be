"""Charts of a study as Vega-Lite descriptions: plain dicts, made from facts alone.

One description serves the page (drawn by the embedded script) and files (SVG and PNG by
vl-convert, see `standalone`). Colours are named as CSS variables, see `palette`. Owns no wording
but titles, axes and captions. Must not import Altair, pandas or JAX.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from lanework.report import palette, units
from lanework.report.facts import (
    ArmFacts,
    Curve,
    FactorFacts,
    Facts,
    LevelFacts,
    Metric,
    metric_named,
)
from lanework.stats import band

Spec: TypeAlias = dict[str, Any]
Row: TypeAlias = dict[str, Any]

SCHEMA: Final = "https://vega.github.io/schema/vega-lite/v6.json"
MAX_PANELS: Final = 12
MAX_LINES: Final = 8
MAX_POINTS: Final = 120
MAX_SEED_POINTS: Final = 40_000
FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Panel:
    """One chart of a figure; `colour` and `note` head it on the page."""

    label: str
    colour: str
    note: str
    spec: Spec


@dataclass(frozen=True)
class Figure:
    """A titled chart, or several small ones with the same axes.

    Attributes:
        name: Short identifier, unique on the page.
        title: What it shows.
        caption: How to read it, one or two sentences.
        panels: The charts; more than one are laid out side by side.
        is_wide: A single chart over the whole width.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    is_wide: bool = True


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
        rows: Mean and interval by metric name and arm: ``e`` epoch, ``m`` mean, ``l`` and ``h``.
        seed_rows: Single seeds in the same way: ``e``, ``m``, ``s`` seed.
    """

    metrics: tuple[Metric, ...]
    choices: tuple[CurveChoice, ...]
    specs: Mapping[str, Spec]
    rows: Mapping[str, Mapping[int, list[Row]]]
    seed_rows: Mapping[str, Mapping[int, list[Row]]]


def config() -> Spec:
    """The look shared by all charts: quiet axes, system fonts, legends outside of the plot."""
    ink, soft = palette.variable("ink-2"), palette.variable("ink-3")
    line = palette.variable("line")
    return {
        "background": "transparent",
        "font": FONT,
        "padding": 2,
        "view": {"stroke": "transparent"},
        "axis": {
            "labelColor": soft,
            "titleColor": ink,
            "titleFontWeight": "normal",
            "titleFontSize": 12,
            "labelFontSize": 11,
            "gridColor": line,
            "domainColor": palette.variable("line-2"),
            "tickColor": palette.variable("line-2"),
            "titlePadding": 8,
            "labelOverlap": "greedy",
        },
        "axisX": {"grid": False},
        "axisY": {"domain": False, "ticks": False, "tickCount": 5},
        "legend": {
            "orient": "bottom",
            "labelColor": ink,
            "titleColor": soft,
            "titleFontWeight": "normal",
            "labelFontSize": 11,
            "titleFontSize": 11,
            "columns": 4,
            "symbolStrokeWidth": 2,
        },
        "title": {"color": palette.variable("ink"), "anchor": "start", "fontSize": 14},
        "header": {"labelColor": ink, "titleColor": ink},
        "text": {"color": ink, "fontSize": 11},
    }


def standalone(panel: Panel, *, title: str, is_dark: bool = False, width: int = 640) -> Spec:
    """A chart that needs no page: with rows, title, background and real colours."""
    colours = palette.DARK if is_dark else palette.LIGHT
    heading = title if not panel.label else {"text": title, "subtitle": panel.label}
    if isinstance(heading, dict):
        heading["subtitleColor"] = palette.variable("ink-2")
    spec = {
        **panel.spec,
        "title": heading,
        "config": {**config(), "background": palette.variable("panel")},
    }
    if spec.get("width") == "container":
        spec["width"] = width
    resolved: Spec = palette.resolve({**spec, "padding": 16}, colours)
    return resolved


# ---- learning rate against result ----------------------------------------------------------


def rate_figure(facts: Facts) -> Figure | None:
    """Result against learning rate, one panel for each level; None when it is not varied."""
    rate = facts.factor("rate")
    if rate is None or len(rate.values) < 2 or not _has_values(facts.arms):
        return None
    levels = _rate_levels(facts)
    rows = {level.level: _rate_rows(facts, arms, rate) for level, arms in levels}
    domain = _value_domain(facts, [row for every in rows.values() for row in every])
    every = [row for level_rows in rows.values() for row in level_rows]
    panels = [
        _rate_panel(
            facts, level, arms, rate=rate, rows=rows[level.level], every=every, domain=domain
        )
        for level, arms in levels
    ]
    is_single = len(panels) == 1
    caption = (
        "Mean over seeds with its 95\u202f% interval; dots are single runs. Shaded: rates at which "
        "runs diverged, the darker the more of them."
    )
    if not is_single:
        caption += " The thin grey lines are the other recipes."
    if len(facts.levels) > MAX_PANELS:
        caption += f" The {MAX_PANELS} best of {len(facts.levels)} recipes are shown."
    title = f"{units.sentence(facts.metric.label).rstrip('.')} against learning rate"
    return Figure("rates", title, caption, tuple(panels), is_wide=is_single)


def _rate_levels(facts: Facts) -> list[tuple[LevelFacts, list[ArmFacts]]]:
    by_number = {arm.arm: arm for arm in facts.arms}
    if all(level.rate is None for level in facts.levels):  # the rate is all that varies
        return [(facts.levels[0], list(facts.arms))]
    return [(level, [by_number[arm] for arm in level.arms]) for level in facts.levels[:MAX_PANELS]]


def _rate_rows(facts: Facts, arms: Sequence[ArmFacts], rate: FactorFacts) -> list[Row]:
    factor = facts.metric.factor
    rows = []
    for arm in sorted(arms, key=lambda one: float(one.factors[rate.key])):
        interval = arm.place.interval
        rows.append(
            {
                "rate": float(arm.factors[rate.key]),
                "m": _plain(interval.mean * factor),
                "l": _plain(interval.low * factor),
                "h": _plain(interval.high * factor),
                "bad": arm.num_diverged,
                "runs": len(arm.runs),
                "level": arm.level,
                "text": facts.metric.text(interval.mean),
                "range": facts.metric.range_text(interval),
            }
        )
    return rows


def _rate_panel(
    facts: Facts,
    level: LevelFacts,
    arms: Sequence[ArmFacts],
    *,
    rate: FactorFacts,
    rows: list[Row],
    every: list[Row],
    domain: list[float],
) -> Panel:
    is_single = all(one.rate is None for one in facts.levels)
    colour = palette.series(0 if is_single else level.level)
    scale = {"type": "log" if rate.is_log else "linear", "domain": _spread(rate), "nice": False}
    label = f"learning rate{' (log scale)' if rate.is_log else ''}"
    axis: Row = {"title": label, "format": "~g", "labelFlush": False}
    if rate.is_log:
        low, high = (math.log10(value) for value in _spread(rate))
        axis["values"] = [10.0**power for power in range(math.ceil(low), math.floor(high) + 1)]
    x = {"field": "rate", "type": "quantitative", "scale": scale, "axis": axis}
    unit = f" ({facts.metric.unit})" if facts.metric.unit else ""
    y = {
        "field": "m",
        "type": "quantitative",
        "scale": {"domain": domain, "nice": False, "zero": False},
        "title": facts.metric.label + unit,
    }
    shown = [row for row in rows if row["m"] is not None]
    best = max(
        shown,
        key=lambda row: row["m"] * (1 if facts.metric.direction == "max" else -1),
        default=None,
    )
    layers = [
        _diverged_layer(rows, rate, x),
        _context_layer(
            [row for row in every if row["level"] != level.level] if not is_single else [], x, y
        ),
        *_mean_layers(shown, x, y, colour),
        _runs_layer(facts, arms, rate, x=x, y=y, colour=colour),
        *_best_layers([best] if best else [], x, y, colour),
    ]
    spec: Spec = {
        "$schema": SCHEMA,
        "description": f"{facts.metric.label} against learning rate, {level.label}",
        "width": "container",
        "height": 300 if is_single else 190,
        "layer": layers,
    }
    bad = sum(row["bad"] for row in rows)
    note = f"{units.count(bad)} diverged" if bad else ""
    return Panel("" if is_single else level.label, colour, note, spec)


def _diverged_layer(rows: Sequence[Row], rate: FactorFacts, x: Row) -> Spec:
    edges = _cell_edges(rate)
    values = [
        {
            "low": low,
            "high": high,
            "share": row["bad"] / row["runs"],
            "bad": row["bad"],
            "runs": row["runs"],
        }
        for row in rows
        if row["bad"]
        for low, high in (edges[row["rate"]],)
    ]
    return {
        "data": {"values": values},
        "mark": {"type": "rect", "color": palette.variable("bad"), "clip": True},
        "encoding": {
            "x": {**x, "field": "low"},
            "x2": {"field": "high"},
            "y": {"value": 0},
            "y2": {"value": "height"},
            "opacity": {"field": "share", "type": "quantitative", "scale": {"domain": [0, 1], "range": [0.05, 0.28]}, "legend": None},
            "tooltip": [{"field": "bad", "title": "diverged"}, {"field": "runs", "title": "of runs"}],
        },
    }  # fmt: skip


def _context_layer(rows: Sequence[Row], x: Row, y: Row) -> Spec:
    return {
        "data": {"values": [{key: row[key] for key in ("rate", "m", "level")} for row in rows if row["m"] is not None]},
        "mark": {"type": "line", "color": palette.variable("quiet"), "strokeWidth": 1, "opacity": 0.6, "clip": True},
        "encoding": {"x": x, "y": y, "detail": {"field": "level", "type": "nominal"}},
    }  # fmt: skip


def _mean_layers(rows: Sequence[Row], x: Row, y: Row, colour: str) -> list[Spec]:
    data = {"values": list(rows)}
    tooltip = [
        {"field": "rate", "title": "learning rate", "format": "~g"},
        {"field": "text", "title": "mean"},
        {"field": "range", "title": "95 % interval"},
        {"field": "bad", "title": "diverged"},
    ]
    return [
        {
            "data": data,
            "mark": {"type": "area", "color": colour, "opacity": 0.18, "clip": True},
            "encoding": {"x": x, "y": {**y, "field": "l"}, "y2": {"field": "h"}},
        },
        {
            "data": data,
            "mark": {"type": "line", "color": colour, "strokeWidth": 2, "clip": True, "point": {"color": colour, "size": 28}},
            "encoding": {"x": x, "y": y, "tooltip": tooltip},
        },
    ]  # fmt: skip


def _runs_layer(
    facts: Facts, arms: Sequence[ArmFacts], rate: FactorFacts, *, x: Row, y: Row, colour: str
) -> Spec:
    rates = {arm.arm: float(arm.factors[rate.key]) for arm in arms}
    values = [
        {"rate": rates[run.arm], "m": _plain(run.value * facts.metric.factor), "seed": run.seed, "verdict": run.verdict}
        for run in facts.runs
        if run.arm in rates and run.value is not None
    ]  # fmt: skip
    return {
        "data": {"values": values},
        "mark": {"type": "circle", "color": colour, "size": 12, "opacity": 0.45, "clip": True},
        "encoding": {"x": x, "y": y},
    }


def _best_layers(rows: Sequence[Row], x: Row, y: Row, colour: str) -> list[Spec]:
    values = [{**row, "label": units.short(row["rate"])} for row in rows]
    text = {
        "type": "text",
        "dy": -13,
        "fontSize": 11,
        "fontWeight": 600,
        "color": palette.variable("ink"),
    }
    return [
        {
            "data": {"values": values},
            "mark": {"type": "point", "filled": True, "size": 90, "color": colour, "stroke": palette.variable("panel"), "strokeWidth": 2, "opacity": 1},
            "encoding": {"x": x, "y": y},
        },
        {"data": {"values": values}, "mark": text, "encoding": {"x": x, "y": y, "text": {"field": "label"}}},
    ]  # fmt: skip


def _cell_edges(factor: FactorFacts) -> dict[float, tuple[float, float]]:
    """Bounds half-way to the neighbouring values, on the scale of the factor."""
    values = [float(value) for value in factor.values]
    if factor.is_log and values[0] > 0:
        logs = _halfway([math.log10(value) for value in values])
        return {v: (10.0**low, 10.0**high) for v, (low, high) in zip(values, logs, strict=True)}
    return dict(zip(values, _halfway(values), strict=True))


def _halfway(values: Sequence[float]) -> list[tuple[float, float]]:
    middles = [(a + b) / 2 for a, b in zip(values, values[1:], strict=False)]
    first = values[0] - (middles[0] - values[0])
    last = values[-1] + (values[-1] - middles[-1])
    return list(zip([first, *middles], [*middles, last], strict=True))


def _spread(factor: FactorFacts) -> list[float]:
    edges = list(_cell_edges(factor).values())
    return [edges[0][0], edges[-1][1]]


def _value_domain(facts: Facts, rows: Sequence[Row]) -> list[float]:
    """Range of the means and intervals with some air; a hopeless tail of an error is cut off."""
    known = [row for row in rows if row["m"] is not None]
    means = np.array([row["m"] for row in known], dtype=np.float64)
    ends = [row[key] for row in known for key in ("l", "h") if row[key] is not None]
    low, high = min([*means, *ends]), max([*means, *ends])
    if facts.metric.is_fraction:
        low, high = max(low, 0.0), min(high, 100.0)
    elif facts.metric.direction == "min":
        high = min(
            high,
            means.min() + 4 * max(float(np.median(means) - means.min()), 1e-9, means.min() * 0.25),
        )
        low = max(low, means.min() - (high - means.min()) * 0.1)
    air = (high - low) * 0.1 or abs(high) * 0.05 or 1.0
    top = high + air * (1.4 if not facts.metric.is_fraction or high < 100 else 1.2)
    return [round(low - air * 0.5, 6), round(top, 6)]


# ---- two factors ---------------------------------------------------------------------------


def heat_figures(facts: Facts) -> tuple[Figure, ...]:
    """Heat maps of pairs of factors: each against the learning rate, else the first two."""
    factors = [factor for factor in facts.factors if len(factor.values) > 1]
    factors = [f for f in factors if all(f.key in arm.factors for arm in facts.arms)]
    if len(factors) < 2 or not _has_values(facts.arms):
        return ()
    across = next((f for f in factors if f.kind == "rate"), factors[0])
    others = [factor for factor in factors if factor is not across][:3]
    return tuple(_heat(facts, across, other, num_factors=len(factors)) for other in others)


def _heat(facts: Facts, across: FactorFacts, down: FactorFacts, *, num_factors: int) -> Figure:
    cells = _heat_cells(facts, across, down)
    steps, labels = _heat_steps(facts, [cell["value"] for cell in cells])
    for cell, step in zip(cells, steps, strict=True):
        cell["bin"] = None if step is None else labels[step]
        cell["ink"] = step is not None and palette.NUM_HEAT - len(labels) + step > 4
    order = labels[::-1]
    ramp = [palette.variable(f"h{palette.NUM_HEAT - 1 - index}") for index in range(len(order))]
    x_order, y_order = ([units.scalar(v) for v in factor.values] for factor in (across, down))
    if down.kind != "choice":
        y_order = y_order[::-1]
    x = {
        "field": "x",
        "type": "ordinal",
        "sort": x_order,
        "axis": {"title": across.label, "labelAngle": 0, "domain": False, "ticks": False},
    }
    y = {
        "field": "y",
        "type": "ordinal",
        "sort": y_order,
        "axis": {"title": down.label, "labelLimit": 130},
    }
    unit = f", {facts.metric.unit}" if facts.metric.unit else ""
    colour = {
        "field": "bin",
        "type": "ordinal",
        "sort": order,
        "scale": {"domain": order, "range": ramp},
        "legend": {
            "title": f"{facts.metric.label}{unit}",
            "symbolType": "square",
            "symbolStrokeWidth": 0,
            "symbolSize": 140,
            "columns": 4,
        },
    }
    has_text = len(x_order) <= 12
    layers = _heat_layers(x, y, colour, has_text=has_text)
    height = max(90, min(34 * len(y_order), 560)) if has_text else max(90, 20 * len(y_order))
    spec: Spec = {
        "$schema": SCHEMA,
        "description": f"{facts.metric.label} by {across.label} and {down.label}",
        "data": {"values": cells},
        "width": "container",
        "height": height,
        "layer": layers,
    }  # fmt: skip
    caption = "Mean over seeds; the framed cell is the best. \u00d7 counts diverged runs; a cell with a \u00d7 alone has no result."
    if num_factors > 2:
        caption += " Each cell shows the best recipe among those that differ in the other factors."
    title = f"{units.sentence(facts.metric.label).rstrip('.')} by {across.label} and {down.label}"
    return Figure(f"heat-{down.key.replace('.', '-')}", title, caption, (Panel("", "", "", spec),))


def _heat_cells(facts: Facts, across: FactorFacts, down: FactorFacts) -> list[Row]:
    cells: dict[tuple[str, str], list[ArmFacts]] = {}
    for arm in facts.arms:  # best first
        key = (units.scalar(arm.factors[across.key]), units.scalar(arm.factors[down.key]))
        cells.setdefault(key, []).append(arm)
    best = facts.arms[0].arm
    rows = []
    for (x, y), arms in cells.items():
        interval = arms[0].place.interval
        bad = sum(arm.num_diverged for arm in arms)
        is_known = interval.num_values > 0
        rows.append(
            {
                "x": x,
                "y": y,
                "value": _plain(interval.mean * facts.metric.factor),
                "text": facts.metric.text(interval.mean, has_unit=False) if is_known else "\u00d7" if bad else "",
                "bad": f"{bad}\u00d7" if bad and is_known else "",
                "diverged": bad,
                "runs": sum(len(arm.runs) for arm in arms),
                "range": facts.metric.range_text(interval),
                "label": arms[0].label,
                "best": arms[0].arm == best,
            }
        )  # fmt: skip
    return rows


def _heat_steps(facts: Facts, values: Sequence[float | None]) -> tuple[list[int | None], list[str]]:
    """Colour classes that are finer near the best: bounds grow away from it geometrically."""
    known = [value for value in values if value is not None]
    best, worst = (
        (max(known), min(known)) if facts.metric.direction == "max" else (min(known), max(known))
    )
    span = abs(best - worst)
    smallest = max(10.0**-facts.metric.decimals * 3, span / 60)
    num_bounds = palette.NUM_HEAT - 1
    if span <= smallest:
        return [None if value is None else 0 for value in values], [_bin_label(facts, best, worst)]
    ratio = max((span / smallest) ** (1 / num_bounds), 1.0)
    gaps = [smallest * ratio**power for power in range(num_bounds)]
    gaps = [gap for gap in gaps if gap < span]
    sign = -1.0 if facts.metric.direction == "max" else 1.0
    bounds = [best, *(best + sign * gap for gap in gaps), worst]
    labels = [_bin_label(facts, a, b) for a, b in zip(bounds, bounds[1:], strict=False)]
    steps: list[int | None] = []
    for value in values:
        gap = None if value is None else abs(best - value)
        steps.append(None if gap is None else len(gaps) - sum(gap > bound for bound in gaps))
    return steps, labels[::-1]


def _bin_label(facts: Facts, first: float, second: float) -> str:
    low, high = sorted((first, second))
    decimals = facts.metric.decimals
    return f"{units.fixed(low, decimals)} \u2013 {units.fixed(high, decimals)}"


def _heat_layers(x: Row, y: Row, colour: Row, *, has_text: bool) -> list[Spec]:
    tooltip = [
        {"field": "label", "title": "recipe"},
        {"field": "text", "title": "mean"},
        {"field": "range", "title": "95 % interval"},
        {"field": "diverged", "title": "diverged"},
        {"field": "runs", "title": "of runs"},
    ]
    none = {"type": "rect", "fill": palette.variable("bad-soft"), "cornerRadius": 3}
    gap = {"paddingInner": 0.06, "paddingOuter": 0.03}
    x, y = {**x, "scale": gap}, {**y, "scale": gap}
    layers: list[Spec] = [
        {"transform": [{"filter": "datum.bin === null"}], "mark": none, "encoding": {"x": x, "y": y, "tooltip": tooltip}},
        {"transform": [{"filter": "datum.bin !== null"}], "mark": {"type": "rect", "cornerRadius": 3}, "encoding": {"x": x, "y": y, "color": colour, "tooltip": tooltip}},
        {"transform": [{"filter": "datum.best"}], "mark": {"type": "rect", "cornerRadius": 3, "fill": None, "stroke": palette.variable("ink"), "strokeWidth": 2}, "encoding": {"x": x, "y": y}},
    ]  # fmt: skip
    if has_text:
        ink = {
            "condition": [
                {"test": "datum.bin === null", "value": palette.variable("bad")},
                {"test": "datum.ink", "value": palette.variable("heat-ink-high")},
            ],
            "value": palette.variable("heat-ink-low"),
        }
        layers += [
            {"mark": {"type": "text", "fontSize": 11}, "encoding": {"x": x, "y": y, "text": {"field": "text"}, "color": ink}},
            {"mark": {"type": "text", "fontSize": 8.5, "dy": 11}, "encoding": {"x": x, "y": y, "text": {"field": "bad"}, "color": ink}},
        ]  # fmt: skip
    return layers


# ---- learning curves -----------------------------------------------------------------------


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
    rows: dict[str, dict[int, list[Row]]] = {metric.name: {} for metric in metrics}
    seed_rows: dict[str, dict[int, list[Row]]] = {metric.name: {} for metric in metrics}
    budget = MAX_SEED_POINTS
    shown = dict.fromkeys(line.arm for choice in choices for line in choice.lines)
    for arm in shown:
        for metric in metrics:
            curve = facts.curves.get((arm, metric.name))
            if curve is None:
                continue
            curve = _thinned(curve)
            rows[metric.name][arm] = _band_rows(curve, metric.factor)
            if curve.values.size <= budget:
                budget -= curve.values.size
                seed_rows[metric.name][arm] = _seed_rows(curve, metric.factor)
    specs = {
        metric.name: _curve_spec(facts, metric, rows[metric.name].values()) for metric in metrics
    }
    return CurveFigure(metrics, choices, specs, rows, seed_rows)


def curve_panel(facts: Facts, figure: CurveFigure, *, metric: str, choice: str) -> Panel:
    """The curves of one metric and one choice as a chart with its rows, for a file."""
    lines = next(one for one in figure.choices if one.name == choice).lines
    rows = [
        {**row, "a": line.label} for line in lines for row in figure.rows[metric].get(line.arm, [])
    ]
    spec = with_lines(figure.specs[metric], lines, rows, [])
    spec["encoding"]["color"]["legend"] = {"title": None}
    return Panel("", "", "", spec)


def with_lines(
    spec: Spec, lines: Sequence[Line], rows: Sequence[Row], seed_rows: Sequence[Row]
) -> Spec:
    """A description of curves filled with rows and with the colours of its lines."""
    scale = {"domain": [line.label for line in lines], "range": [line.colour for line in lines]}
    dashes = {"domain": scale["domain"], "range": [list(line.dash) for line in lines]}
    encoding = {
        **spec["encoding"],
        "color": {**spec["encoding"]["color"], "scale": scale},
        "strokeDash": {**spec["encoding"]["strokeDash"], "scale": dashes},
    }
    return {
        **spec,
        "encoding": encoding,
        "datasets": {"mean": list(rows), "seeds": list(seed_rows)},
    }


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


def _curve_spec(facts: Facts, metric: Metric, rows: Iterable[Sequence[Row]]) -> Spec:
    unit = f" ({metric.unit})" if metric.unit else ""
    means = [row["m"] for one in rows for row in one if row["m"] is not None]
    is_log = (
        bool(means)
        and metric.direction == "min"
        and 0 < min(means)
        and max(means) > 100 * min(means)
    )
    scale: Row = {"zero": False, "type": "log" if is_log else "linear", "nice": not is_log}
    if metric.is_fraction and means:
        scale |= {"domainMax": min(100.0, math.ceil(max(means) + 0.5))}
    x = {
        "field": "e",
        "type": "quantitative",
        "title": "epoch",
        "axis": {"tickMinStep": 1},
        "scale": {"nice": False},
    }
    y_title = f"{metric.label}{unit}{' (log scale)' if is_log else ''}"
    y = {"field": "m", "type": "quantitative", "title": y_title, "scale": scale}
    number = ",.2f" if metric.is_fraction else ".4~g"
    tooltip = [
        {"field": "a", "title": "recipe"},
        {"field": "e", "title": "epoch"},
        {"field": "m", "title": metric.label, "format": number},
        {"field": "l", "title": "95 % low", "format": number},
        {"field": "h", "title": "95 % high", "format": number},
    ]
    chance = metric.chance if metric.name == facts.metric.name else None
    layers: list[Spec] = []
    if chance is not None and means and min(means) <= chance * metric.factor * 1.6:
        layers.append(_chance_layer(chance * metric.factor))
    layers += [
        {"mark": {"type": "area", "opacity": 0.16, "clip": True}, "encoding": {"y": {**y, "field": "l"}, "y2": {"field": "h"}, "strokeDash": {"value": [1, 0]}}},
        {"data": {"name": "seeds"}, "mark": {"type": "line", "strokeWidth": 1, "opacity": 0.55, "clip": True}, "encoding": {"detail": {"field": "s", "type": "nominal"}}},
        {"mark": {"type": "line", "strokeWidth": 2, "clip": True, "invalid": "break-paths-show-domains"}, "params": [{"name": "zoom", "select": {"type": "interval", "zoom": "wheel![event.ctrlKey || event.metaKey || event.shiftKey]"}, "bind": "scales"}]},
        {"mark": {"type": "point", "opacity": 0, "size": 120, "filled": True, "clip": True}, "encoding": {"tooltip": tooltip}},
        {"transform": [{"filter": "datum.d"}], "mark": {"type": "point", "shape": "cross", "angle": 45, "size": 60, "filled": True, "color": palette.variable("bad"), "opacity": 1}, "encoding": {"color": {"value": palette.variable("bad")}, "tooltip": [{"field": "a", "title": "diverged"}, {"field": "e", "title": "epoch"}]}},
    ]  # fmt: skip
    return {
        "$schema": SCHEMA,
        "description": f"Learning curves: {metric.label} by epoch",
        "width": "container",
        "height": 340,
        "data": {"name": "mean"},
        "encoding": {
            "x": x,
            "y": y,
            "color": {"field": "a", "type": "nominal", "legend": None},
            "strokeDash": {"field": "a", "type": "nominal", "legend": None},
        },
        "layer": layers,
    }  # fmt: skip


def _chance_layer(value: float) -> Spec:
    plain = {"color": {"value": palette.variable("ink-3")}, "strokeDash": {"value": [3, 3]}}
    return {
        "data": {"values": [{"c": value, "t": "guessing"}]},
        "layer": [
            {"mark": {"type": "rule", "strokeWidth": 1}, "encoding": {**plain, "x": None, "y": {"field": "c", "type": "quantitative"}}},
            {"mark": {"type": "text", "align": "right", "dy": -6, "fontSize": 11}, "encoding": {"x": {"value": "width"}, "y": {"field": "c", "type": "quantitative"}, "text": {"field": "t"}, "color": {"value": palette.variable("ink-3")}, "strokeDash": {"value": [1, 0]}}},
        ],
    }  # fmt: skip


def _band_rows(curve: Curve, factor: float) -> list[Row]:
    finite = np.where(np.isfinite(curve.values), curve.values, np.nan) * factor
    mean, low, high = band(finite)
    rows: list[Row] = []
    for epoch, m, lo, hi in zip(curve.epochs, mean, low, high, strict=True):
        row: Row = {"e": _plain(float(epoch)), "m": _plain(m)}
        if not math.isnan(lo):
            row |= {"l": _plain(lo), "h": _plain(hi)}
        rows.append(row)
    is_gone = (
        not np.isfinite(curve.values).all(axis=1).any()
        and not np.isfinite(curve.values[:, -1]).any()
    )
    known = [row for row in rows if row["m"] is not None]
    if is_gone and known:
        known[-1]["d"] = 1
    return known


def _seed_rows(curve: Curve, factor: float) -> list[Row]:
    return [
        {"e": _plain(float(epoch)), "m": _plain(float(value) * factor), "s": seed}
        for seed, values in zip(curve.seeds, curve.values, strict=True)
        for epoch, value in zip(curve.epochs, values, strict=True)
        if math.isfinite(value)
    ]


def _thinned(curve: Curve) -> Curve:
    """At most `MAX_POINTS` points, the first and the last among them."""
    if len(curve.epochs) <= MAX_POINTS:
        return curve
    kept = np.unique(np.linspace(0, len(curve.epochs) - 1, MAX_POINTS).round().astype(int))
    return Curve(curve.epochs[kept], curve.values[:, kept], curve.seeds)


# ---- recipes side by side ------------------------------------------------------------------


def recipe_figure(facts: Facts) -> Figure | None:
    """Mean, interval and single runs of the best arm of each level, for a file."""
    if not _has_values(facts.arms):
        return None
    by_run = {run.run: run for run in facts.runs}
    rows, dots, order = [], [], []
    for level in facts.levels[:MAX_PANELS]:
        interval = level.place.interval
        if not interval.num_values:
            continue
        rate = "" if level.rate is None else f" at {units.scalar(level.rate)}"
        label, factor = level.label + rate, facts.metric.factor
        order.append(label)
        colour = palette.series(level.level)
        rows.append(
            {
                "a": label,
                "m": _plain(interval.mean * factor),
                "l": _plain(interval.low * factor),
                "h": _plain(interval.high * factor),
                "c": colour,
            }
        )
        runs = [by_run[number] for number in facts.arm(level.best).runs]
        dots += [{"a": label, "m": _plain(run.value * factor), "c": colour} for run in runs if run.value is not None]  # fmt: skip
    unit = f" ({facts.metric.unit})" if facts.metric.unit else ""
    x = {
        "field": "m",
        "type": "quantitative",
        "title": facts.metric.label + unit,
        "scale": {"zero": False},
    }
    y = {
        "field": "a",
        "type": "nominal",
        "sort": order,
        "title": None,
        "axis": {"labelLimit": 260, "domain": False, "ticks": False},
    }
    colour_by = {"field": "c", "type": "nominal", "scale": None}
    spec: Spec = {
        "$schema": SCHEMA,
        "description": f"{facts.metric.label} of the recipes with 95 % intervals",
        "width": "container",
        "height": {"step": 30},
        "encoding": {"y": y, "color": colour_by},
        "layer": [
            {"data": {"values": rows}, "mark": {"type": "rule", "strokeWidth": 2.5}, "encoding": {"x": {**x, "field": "l"}, "x2": {"field": "h"}}},
            {"data": {"values": dots}, "mark": {"type": "tick", "thickness": 1.5, "size": 11, "opacity": 0.6}, "encoding": {"x": x}},
            {"data": {"values": rows}, "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1}, "encoding": {"x": x}},
        ],
    }  # fmt: skip
    caption = "Dots: means over seeds. Lines: 95\u202f% intervals. Ticks: single runs."
    return Figure("recipes", "The recipes, each at its best", caption, (Panel("", "", "", spec),))


def _has_values(arms: Sequence[ArmFacts]) -> bool:
    return any(arm.place.interval.num_values for arm in arms)


def _plain(value: float) -> float | None:
    """Five significant digits, and None for what JSON cannot say."""
    if not math.isfinite(value):
        return None
    return float(f"{value:.5g}")
