"""Result against learning rate, with the rates at which runs diverged. Facts in, charts out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lanework.report import palette, units
from lanework.report.facts import ArmFacts, FactorFacts, Facts, LevelFacts
from lanework.report.figures import MAX_PANELS, SCHEMA, Figure, Panel, Row, Spec, has_values, plain


def rate_figure(facts: Facts) -> Figure | None:
    """Result against learning rate, one panel for each level; None when it is not varied."""
    rate = facts.factor("rate")
    if rate is None or len(rate.values) < 2 or not has_values(facts.arms):
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
                "m": plain(interval.mean * factor),
                "l": plain(interval.low * factor),
                "h": plain(interval.high * factor),
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
        *_best_layers(
            [best] if best else [], x, y, colour, dy=-13 if facts.metric.direction == "max" else 19
        ),
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
    line = {
        "data": data,
        "mark": {"type": "line", "color": colour, "strokeWidth": 2, "clip": True, "point": {"color": colour, "size": 28}},
        "encoding": {"x": x, "y": y, "tooltip": tooltip},
    }  # fmt: skip
    if all(row["l"] is None for row in rows):
        return [line]
    area = {
        "data": data,
        "mark": {"type": "area", "color": colour, "opacity": 0.18, "clip": True},
        "encoding": {"x": x, "y": {**y, "field": "l"}, "y2": {"field": "h"}},
    }
    return [area, line]


def _runs_layer(
    facts: Facts, arms: Sequence[ArmFacts], rate: FactorFacts, *, x: Row, y: Row, colour: str
) -> Spec:
    rates = {arm.arm: float(arm.factors[rate.key]) for arm in arms}
    values = [
        {"rate": rates[run.arm], "m": plain(run.value * facts.metric.factor), "seed": run.seed, "verdict": run.verdict}
        for run in facts.runs
        if run.arm in rates and run.value is not None
    ]  # fmt: skip
    return {
        "data": {"values": values},
        "mark": {"type": "circle", "color": colour, "size": 12, "opacity": 0.45, "clip": True},
        "encoding": {"x": x, "y": y},
    }


def _best_layers(rows: Sequence[Row], x: Row, y: Row, colour: str, *, dy: int) -> list[Spec]:
    values = [{**row, "label": units.short(row["rate"])} for row in rows]
    text = {
        "type": "text",
        "dy": dy,
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
    middles = [(a + b) / 2 for a, b in pairwise(values)]
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
    below, above = (0.5, 1.4) if facts.metric.direction == "max" else (1.8, 0.6)
    return [round(low - air * below, 6), round(high + air * above, 6)]
