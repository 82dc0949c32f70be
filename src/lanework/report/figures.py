"""Charts of a study as Vega-Lite descriptions: plain dicts, made from facts alone.

One description serves the page (drawn by the embedded script) and files (SVG and PNG by
vl-convert, see `standalone`). Colours are named as CSS variables, see `palette`. Owns no wording
but titles, axes and captions. Must not import Altair, pandas or JAX.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from lanework.report import palette, units
from lanework.report.facts import ArmFacts, Facts

Spec: TypeAlias = dict[str, Any]
Row: TypeAlias = dict[str, Any]

SCHEMA: Final = "https://vega.github.io/schema/vega-lite/v6.json"
MAX_PANELS: Final = 12
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
        legend: Colours with their meaning, drawn by the page below the chart.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    is_wide: bool = True
    legend: tuple[tuple[str, str], ...] = ()


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


def without_legends(spec: Any) -> Any:
    """A chart without its legends, for a page that draws them itself."""
    if isinstance(spec, dict):
        return {key: None if key == "legend" else without_legends(v) for key, v in spec.items()}
    return [without_legends(item) for item in spec] if isinstance(spec, list) else spec


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


# ---- recipes side by side ------------------------------------------------------------------


def recipe_figure(facts: Facts) -> Figure | None:
    """Mean, interval and single runs of the best arm of each level, for a file."""
    if not has_values(facts.arms):
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
                "m": plain(interval.mean * factor),
                "l": plain(interval.low * factor),
                "h": plain(interval.high * factor),
                "c": colour,
            }
        )
        runs = [by_run[number] for number in facts.arm(level.best).runs]
        dots += [{"a": label, "m": plain(run.value * factor), "c": colour} for run in runs if run.value is not None]  # fmt: skip
    unit = f" ({facts.metric.unit})" if facts.metric.unit else ""
    x = {
        "field": "m",
        "type": "quantitative",
        "title": facts.metric.label + unit,
        "scale": {"zero": False},
        "axis": {"tickCount": 5, "format": "~s" if _is_large(rows) else "~g"},
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
    if len(facts.levels) > MAX_PANELS:
        caption += f" The {MAX_PANELS} best of {len(facts.levels)} recipes are shown."
    return Figure("recipes", "The recipes, each at its best", caption, (Panel("", "", "", spec),))


def _is_large(rows: Sequence[Row]) -> bool:
    return any(abs(row["m"] or 0.0) >= 10_000 for row in rows)


def has_values(arms: Sequence[ArmFacts]) -> bool:
    """Whether any of the arms has a result."""
    return any(arm.place.interval.num_values for arm in arms)


def plain(value: float) -> float | None:
    """Five significant digits, and None for what JSON cannot say."""
    if not math.isfinite(value):
        return None
    return float(f"{value:.5g}")
