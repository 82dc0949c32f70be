"""Heat maps of two factors. Facts in, charts out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from lanework.report import palette, units
from lanework.report.facts import ArmFacts, FactorFacts, Facts
from lanework.report.figures import SCHEMA, Figure, Panel, Row, Spec, has_values, plain


def heat_figures(facts: Facts) -> tuple[Figure, ...]:
    """Heat maps of pairs of factors: each against the learning rate, else the first two."""
    factors = [factor for factor in facts.factors if len(factor.values) > 1]
    factors = [f for f in factors if all(f.key in arm.factors for arm in facts.arms)]
    if len(factors) < 2 or not has_values(facts.arms):
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
    y_order = y_order[::-1]
    if down.kind == "choice":  # the best on top
        y_order = list(dict.fromkeys(units.scalar(arm.factors[down.key]) for arm in facts.arms))
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
    unit = f"\u202f{facts.metric.unit}" if facts.metric.unit else ""
    colour = {
        "field": "bin",
        "type": "ordinal",
        "sort": order,
        "scale": {"domain": order, "range": ramp},
        "legend": {
            "title": facts.metric.label,
            "symbolType": "square",
            "symbolStrokeWidth": 0,
            "symbolSize": 140,
            "columns": 4,
        },
    }
    has_text = len(x_order) <= 12
    layers = _heat_layers(x, y, colour, has_text=has_text)
    height = max(90, min(40 * len(y_order), 560)) if has_text else max(90, 20 * len(y_order))
    spec: Spec = {
        "$schema": SCHEMA,
        "description": f"{facts.metric.label} by {across.label} and {down.label}",
        "data": {"values": cells},
        "width": "container",
        "height": height,
        "layer": layers,
    }  # fmt: skip
    caption = f"Mean over {facts.noun}s; the framed cell is the best. \u00d7 counts diverged runs; a cell with a \u00d7 alone has no result."
    if num_factors > 2:
        caption += " Each cell shows the best recipe among those that differ in the other factors."
    legend = tuple(zip(ramp, (f"{label}{unit}" for label in order), strict=True))
    title = f"{units.sentence(facts.metric.label).rstrip('.')} by {across.label} and {down.label}"
    return Figure(
        f"heat-{down.key.replace('.', '-')}",
        title,
        caption,
        (Panel("", "", "", spec),),
        legend=legend,
    )


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
                "value": plain(interval.mean * facts.metric.factor),
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
    labels = [_bin_label(facts, a, b) for a, b in pairwise(bounds)]
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
        is_lost = "datum.bad !== ''"
        encoding = {"x": x, "y": y, "text": {"field": "text"}, "color": ink}
        layers += [
            {"transform": [{"filter": f"!({is_lost})"}], "mark": {"type": "text", "fontSize": 11}, "encoding": encoding},
            {"transform": [{"filter": is_lost}], "mark": {"type": "text", "fontSize": 11, "dy": -5}, "encoding": encoding},
            {"transform": [{"filter": is_lost}], "mark": {"type": "text", "fontSize": 10, "dy": 9}, "encoding": {**encoding, "text": {"field": "bad"}}},
        ]  # fmt: skip
    return layers
