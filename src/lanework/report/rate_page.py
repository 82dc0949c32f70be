"""What a search for a learning rate found: its facts, and a page and a picture made of them.

Owns the facts of range tests and searches (`RampFacts`, `Trial`, `RateFacts`, `SearchFacts`), `rate.html` and
`rate.svg`. Facts in, documents out; must not import JAX, Altair or pandas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np

from lanework.report import figures, palette, sections, units
from lanework.report.facts import Metric
from lanework.report.figures import SCHEMA, Figure, Panel, Row, Spec, plain, without_legends
from lanework.report.html import Cell, Column, bullets, island, table, text
from lanework.report.page import document
from lanework.stats import Floats, Interval, Standing, band

RampState: TypeAlias = Literal["ok", "flat", "at_once"]
COLOUR: Final = palette.series(0)


@dataclass(frozen=True)
class RampFacts:
    """What a range test showed.

    Attributes:
        rates: Learning rate of each point, rising, shape [point].
        losses: Mean training loss over the few steps of a point, shape [seed, point]; NaN once it is not finite.
        smooth_rates: Rates averaged with the weights of `smooth`, so that smoothing shifts nothing, shape [point].
        smooth: Losses after exponential averaging, shape [seed, point].
        state: ``ok``; ``flat`` (no rate makes the loss fall); ``at_once`` (the loss breaks at the lowest rates).
        steepest: Rate at which the mean loss falls fastest over the logarithm of the rate; None when it does not.
        steepest_range: Smallest and largest of the same over single seeds.
        limit: Rate from which on the loss is lost, median over seeds; None when that was not reached.
        limit_range: Smallest and largest of the same over single seeds.
        suggestion: Rate that the range test alone suggests.
        words: All of it in words.
    """

    rates: Floats
    losses: Floats
    smooth_rates: Floats
    smooth: Floats
    state: RampState
    steepest: float | None
    steepest_range: tuple[float, float] | None
    limit: float | None
    limit_range: tuple[float, float] | None
    suggestion: float | None
    words: str


@dataclass(frozen=True)
class Trial:
    """One rate that was tried.

    Attributes:
        rate: The learning rate.
        turn: Round of the search in which it was tried, from 1.
        values: Result of each seed that finished.
        num_bad: Seeds that diverged.
        interval: Mean and 95 % interval of `values`.
        standing: Against the best rate, see `lanework.stats.Place`.
        is_level: Cannot be told from the best, and neither can any rate between the two.
    """

    rate: float
    turn: int
    values: tuple[float, ...]
    num_bad: int
    interval: Interval
    standing: Standing
    is_level: bool


@dataclass(frozen=True)
class RateFacts:
    """What was found for one recipe.

    Attributes:
        name: Its label.
        rate: The rate to use; None when no rate trained without diverging.
        best: Rate with the best mean.
        reason: Why this one, in words with figures.
        warnings: What to be careful about.
        ramp: The range test.
        trials: Every rate tried, rising.
        epochs: Epochs of a run of the search.
        steps: Steps of a run of the search.
        rows: Rows that were used where it was a part of the data, else None.
    """

    name: str
    rate: float | None
    best: float | None
    reason: str
    warnings: tuple[str, ...]
    ramp: RampFacts
    trials: tuple[Trial, ...]
    epochs: int
    steps: int
    rows: int | None


@dataclass(frozen=True)
class SearchFacts:
    """A whole search: one `RateFacts` for each recipe that differs in more than its rate."""

    study: str
    metric: Metric
    num_seeds: int
    recipes: tuple[RateFacts, ...]


def rate_text(rate: float) -> str:
    """A rate as it is pasted into a study file.

    Example:
        >>> rate_text(0.0032), rate_text(3.2e-05), rate_text(10.0)
        ('0.0032', '3.2e-5', '10.0')
    """
    if 1e-4 <= rate < 1e4:
        written = f"{float(f'{rate:.3g}'):f}".rstrip("0")
        return f"{written}0" if written.endswith(".") else written
    mantissa, exponent = f"{rate:.2e}".split("e")
    mantissa = mantissa.rstrip("0")
    mantissa = f"{mantissa}0" if mantissa.endswith(".") else mantissa
    return f"{mantissa}e{int(exponent)}"


# ---- the page ------------------------------------------------------------------------------


def rate_page(facts: SearchFacts) -> str:
    """The search as one HTML file that opens offline.

    Args:
        facts: What was found.
    """
    charts: dict[str, Spec] = {}
    body = [_answer(facts)]
    links = ['<a href="#answer">Answer</a>']
    for number, recipe in enumerate(facts.recipes):
        shown = _figures(facts, recipe, number)
        charts |= {f"{one.name}-0": without_legends(one.panels[0].spec) for one in shown}
        name = f"recipe-{number}"
        inside = (
            "".join(sections.figure(one) for one in shown)
            + bullets(recipe.warnings)
            + _trials(facts, recipe, number)
        )
        body.append(sections.section(name, recipe.name, text(recipe.reason), inside))
        links.append(f'<a href="#{name}">{text(recipe.name)}</a>')
    return document(
        title=f"{facts.study}: learning rate \u2013 Lanework",
        links="".join(links),
        body="".join(body),
        footer=(
            "Made by Lanework: <code>lanework rate</code>. The runs of the search were thrown away; only this page and "
            "<code>rate.svg</code> are kept. Charts drawn by Vega (BSD-3-Clause)."
        ),
        data=island("data-config", figures.config()) + island("data-charts", charts),
    )


def _answer(facts: SearchFacts) -> str:
    found = [one for one in facts.recipes if one.rate is not None]
    if len(facts.recipes) == 1 and found:
        title = f"learning_rate: {rate_text(found[0].rate or 0.0)}"
    elif len(found) == len(facts.recipes):
        title = f"Learning rates for {len(found)} recipes"
    else:
        title = f"A learning rate for {len(found)} of {units.counted(len(facts.recipes), 'recipe')}"
    seeds = units.counted(facts.num_seeds, "seed")
    lead = (
        f"Each rate was trained with {seeds}, apart from those of the study, and judged by {facts.metric.label}. Rates that "
        "cannot be told from the best share its place; of those the middle one is suggested, because it leaves most room on "
        "both sides."
    )
    columns = [
        Column("Recipe"),
        *(Column(label, True) for label in ("learning_rate", "Result there", "95\u202f% interval")),
        *(Column(label, True) for label in ("As good from", "to", "Falls fastest at", "Breaks at")),
    ]
    rows = [("", _summary_cells(facts, one)) for one in facts.recipes]
    shown = table(
        columns, rows, name="rates-table", label="Suggested learning rates", is_sortable=False
    )
    return (
        '<section id="answer" aria-labelledby="title">'
        f'<p class="eyebrow">{text(facts.study)} \u00b7 search for a learning rate</p>'
        f'<h1 id="title">{text(title)}</h1><p class="lead">{text(lead)}</p>{shown}{_paste(facts)}</section>'
    )


def _paste(facts: SearchFacts) -> str:
    """Lines for the study file."""
    found = [one for one in facts.recipes if one.rate is not None]
    if not found:
        return ""
    lines = [
        f"learning_rate: {rate_text(one.rate or 0.0)}"
        + (f"  # {one.name}" if len(facts.recipes) > 1 else "")
        for one in found
    ]
    return (
        '<div class="copy-row" style="margin-top:1.75rem"><h3>For the study file</h3>'
        '<button type="button" class="copy" data-copy="paste">Copy</button></div>'
        f'<pre id="paste">{text(chr(10).join(lines))}</pre>'
    )


def _summary_cells(facts: SearchFacts, recipe: RateFacts) -> list[Cell]:
    chosen = next((one for one in recipe.trials if one.rate == recipe.rate), None)
    level = [one.rate for one in recipe.trials if one.is_level]
    return [
        Cell(text(recipe.name)),
        Cell(f"<b>{_rate_or_dash(recipe.rate)}</b>", recipe.rate, True),
        Cell(text(facts.metric.text(chosen.interval.mean if chosen else None)), None, True),
        Cell(text(facts.metric.range_text(chosen.interval) if chosen else ""), None, True),
        *(Cell(_rate_or_dash(end(level, default=None)), None, True) for end in (min, max)),
        *(Cell(_rate_or_dash(rate), None, True) for rate in (recipe.ramp.steepest, recipe.ramp.limit)),
    ]  # fmt: skip


def _rate_or_dash(rate: float | None) -> str:
    return units.MISSING if rate is None else rate_text(rate)


def _trials(facts: SearchFacts, recipe: RateFacts, number: int) -> str:
    """Every rate tried, as a table behind a summary line."""
    if not recipe.trials:
        return ""
    columns = [
        *(Column(label, True) for label in ("Rate", "Round", facts.metric.label)),
        *(Column(label, True) for label in ("95\u202f% interval", "Diverged")),
        Column("Against the best"),
    ]
    rows = [
        (
            ' class="top-arm"' if one.rate == recipe.rate else "",
            [
                Cell(rate_text(one.rate), one.rate, True),
                Cell(str(one.turn), one.turn, True),
                Cell(text(facts.metric.text(plain(one.interval.mean))), plain(one.interval.mean), True),
                Cell(text(facts.metric.range_text(one.interval)), plain(one.interval.low), True),
                Cell(f"{one.num_bad} of {one.num_bad + len(one.values)}", one.num_bad, True),
                Cell(text(_standing(one))),
            ],
        )
        for one in recipe.trials
    ]  # fmt: skip
    shown = table(
        columns, rows, name=f"trials-{number}", label=f"Rates tried with {recipe.name}, rising"
    )
    return f"<details><summary>All {len(rows)} rates tried</summary>{shown}</details>"


def _standing(trial: Trial) -> str:
    words = {
        "best": "best mean",
        "tied": "cannot be told apart",
        "untested": "not tested: one seed",
        "worse": "worse by more than seed noise",
        "unsafe": "diverged more often",
        "failed": "every seed diverged",
    }
    shown = words[trial.standing]
    is_far = trial.standing in ("tied", "untested") and not trial.is_level
    return f"{shown}, but its mean is outside of the best's interval" if is_far else shown


# ---- charts --------------------------------------------------------------------------------


def _figures(facts: SearchFacts, recipe: RateFacts, number: int) -> list[Figure]:
    shown = []
    if np.isfinite(recipe.ramp.smooth).any():
        caption = (
            "Training loss while the rate rises within a run; nothing of these runs is kept. Line: mean over seeds, smoothed; "
            "band: its 95\u202f% interval; thin lines: single seeds. Shaded: the loss is lost for good. Dashed: the rate suggested "
            "in the end."
        )
        panel = Panel("", COLOUR, "", _ramp_spec(recipe))
        shown.append(Figure(f"ramp{number}", "Range test", caption, (panel,)))
    if recipe.trials:
        level = sum(one.is_level for one in recipe.trials)
        caption = (
            f"Runs of {units.counted(recipe.epochs, 'epoch')} at a fixed rate. Points: means over seeds with 95\u202f% intervals, "
            "hollow in the first round; ticks: single seeds. Shaded red: seeds diverged, the darker the more of them."
        )
        caption += " Shaded blue: rates that cannot be told from the best." if level > 1 else ""
        panel = Panel("", COLOUR, "", _search_spec(facts, recipe))
        shown.append(
            Figure(f"search{number}", f"Search by {facts.metric.label}", caption, (panel,))
        )
    return shown


class _View(NamedTuple):
    """What both drawings show of one chart: bounds of the axes."""

    x: tuple[float, float]
    y: tuple[float, float]


def _ramp_view(ramp: RampFacts) -> _View:
    """The whole range of rates; losses up to a little above the start."""
    mean = _ramp_band(ramp)[0]
    known = mean[np.isfinite(mean)]
    start, lowest = float(known[: max(1, len(known) // 20)].mean()), float(known.min())
    drop = max(start - lowest, abs(start) * 0.1, 1e-9)
    return _View(
        (float(ramp.rates[0]), float(ramp.rates[-1])), (lowest - 0.08 * drop, start + 0.5 * drop)
    )


def _ramp_band(ramp: RampFacts) -> tuple[Floats, Floats, Floats]:
    """Mean over the seeds that are left, with its interval."""
    with np.errstate(over="ignore", invalid="ignore"):
        return band(np.clip(ramp.smooth, -1e30, 1e30))


def _ramp_line(ramp: RampFacts, view: _View) -> tuple[Floats, Floats, Floats]:
    """The band up to where the mean leaves the chart for good; one point beyond, so that the line is seen to leave."""
    mean, low, high = (part.copy() for part in _ramp_band(ramp))
    inside = np.flatnonzero(mean <= view.y[1])
    end = int(inside[-1]) + 1 if inside.size else 0
    mean[end + 1 :] = np.nan
    low[end:], high[end:] = np.nan, np.nan
    return mean, low, high


def _search_view(facts: SearchFacts, recipe: RateFacts) -> _View:
    """All rates tried; results from the best down to where it is hopeless anyway."""
    factor = facts.metric.factor
    edges = _edges([one.rate for one in recipe.trials])
    means = np.array([one.interval.mean for one in recipe.trials]) * factor
    means = means[np.isfinite(means)]
    if not means.size:
        return _View((edges[0][0], edges[-1][1]), (0.0, 1.0))
    near = [one.interval for one in recipe.trials if one.is_level]
    ends = [value * factor for one in near for value in (one.low, one.high) if math.isfinite(value)]
    is_max = facts.metric.direction == "max"
    best = means.max() if is_max else means.min()
    reach = float(np.quantile(np.abs(means - best), 0.8)) or abs(best) * 0.05 or 1.0
    low, high = (best - 1.3 * reach, best) if is_max else (best, best + 1.3 * reach)
    low, high = min([low, *ends]), max([high, *ends])
    air = (high - low) * 0.08
    least, most = (limit * factor for limit in facts.metric.limits)
    return _View((edges[0][0], edges[-1][1]), (max(low - air, least), min(high + air, most + air)))


def _edges(rates: Sequence[float]) -> list[tuple[float, float]]:
    """Bounds of each rate half-way to its neighbours on a log scale; rates rise."""
    logs = [math.log10(rate) for rate in rates]
    if len(logs) < 2:
        return [(10 ** (log - 0.25), 10 ** (log + 0.25)) for log in logs]
    middles = [(a + b) / 2 for a, b in pairwise(logs)]
    ends = [2 * logs[0] - middles[0], *middles, 2 * logs[-1] - middles[-1]]
    return [(10.0**low, 10.0**high) for low, high in pairwise(ends)]


def _x(view: _View) -> Row:
    low, high = (math.log10(end) for end in view.x)
    decades = [10.0**power for power in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)]
    axis: Row = {"title": "learning rate (log scale)", "format": "~g", "labelFlush": False}
    if len(decades) > 1:
        axis["values"] = decades
    scale = {"type": "log", "domain": list(view.x), "nice": False}
    return {"field": "rate", "type": "quantitative", "scale": scale, "axis": axis}


def _y(view: _View, field: str, title: str) -> Row:
    low, high = (plain(end) for end in view.y)
    scale = {"domain": [low, high], "nice": False, "zero": False}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale}


def _ramp_spec(recipe: RateFacts) -> Spec:
    ramp, view = recipe.ramp, _ramp_view(recipe.ramp)
    x, y = _x(view), _y(view, "m", "training loss")
    mean, low, high = _ramp_line(ramp, view)
    rows: list[Row] = [
        {"rate": plain(rate), "m": plain(m), "l": plain(l), "h": plain(h)}
        for rate, m, l, h in zip(ramp.smooth_rates, mean, low, high, strict=True)
        if math.isfinite(m)
    ]
    seeds: list[Row] = [
        {"rate": plain(rate), "m": plain(value), "s": seed}
        for seed, values in enumerate(ramp.smooth)
        for rate, value in zip(ramp.smooth_rates, values, strict=True)
        if math.isfinite(value) and abs(value) < 1e30
    ]
    tooltip = [
        {"field": "rate", "title": "learning rate", "format": ".3~g"},
        {"field": "m", "title": "training loss", "format": ".4~g"},
    ]
    layers: list[Spec] = [
        *_shade(view, x, ramp.limit),
        {"data": {"values": seeds}, "mark": {"type": "line", "color": COLOUR, "strokeWidth": 1, "opacity": 0.35, "clip": True}, "encoding": {"x": x, "y": y, "detail": {"field": "s", "type": "nominal"}}},
        {"data": {"values": rows}, "mark": {"type": "area", "color": COLOUR, "opacity": 0.16, "clip": True}, "encoding": {"x": x, "y": {**y, "field": "l"}, "y2": {"field": "h"}}},
        {"data": {"values": rows}, "mark": {"type": "line", "color": COLOUR, "strokeWidth": 2, "clip": True}, "encoding": {"x": x, "y": y}},
        {"data": {"values": rows}, "mark": {"type": "point", "opacity": 0, "size": 90, "filled": True, "clip": True}, "encoding": {"x": x, "y": y, "tooltip": tooltip}},
        *_points(_marks(ramp), x, y),
        *_suggested(recipe.rate, x),
    ]  # fmt: skip
    return _chart("Training loss while the learning rate rises", layers)


def _marks(ramp: RampFacts) -> list[Row]:
    """The points of a range test that have a name."""
    mean = _ramp_band(ramp)[0]
    is_known = np.isfinite(mean)
    if ramp.steepest is None or not is_known.any():
        return []
    logs = np.log(ramp.smooth_rates[is_known])
    value = float(np.interp(math.log(ramp.steepest), logs, mean[is_known]))
    return [{"rate": plain(ramp.steepest), "m": plain(value), "t": "falls fastest"}]


def _search_spec(facts: SearchFacts, recipe: RateFacts) -> Spec:
    metric, view = facts.metric, _search_view(facts, recipe)
    unit = f" ({metric.unit})" if metric.unit else ""
    x, y = _x(view), _y(view, "m", metric.label + unit)
    edges = _edges([one.rate for one in recipe.trials])
    rows: list[Row] = [
        {
            "rate": one.rate,
            "m": plain(one.interval.mean * metric.factor),
            "l": plain(one.interval.low * metric.factor),
            "h": plain(one.interval.high * metric.factor),
            "r": one.turn,
            "text": metric.text(one.interval.mean),
            "range": metric.range_text(one.interval),
            "bad": f"{one.num_bad} of {one.num_bad + len(one.values)}",
        }
        for one in recipe.trials
        if one.values
    ]
    dots: list[Row] = [
        {"rate": one.rate, "m": plain(value * metric.factor)}
        for one in recipe.trials
        for value in one.values
    ]
    bad: list[Row] = [
        {"rate": low, "to": high, "share": one.num_bad / (one.num_bad + len(one.values))}
        for one, (low, high) in zip(recipe.trials, edges, strict=True)
        if one.num_bad
    ]
    tooltip = [
        {"field": "rate", "title": "learning rate", "format": ".3~g"},
        {"field": "text", "title": "mean"},
        {"field": "range", "title": "95 % interval"},
        {"field": "bad", "title": "diverged"},
        {"field": "r", "title": "round"},
    ]
    fill = {
        "condition": {"test": "datum.r > 1", "value": COLOUR},
        "value": palette.variable("panel"),
    }
    layers: list[Spec] = [
        *_level_layer(recipe, edges, x),
        {"data": {"values": bad}, "mark": {"type": "rect", "color": palette.variable("bad"), "clip": True}, "encoding": {"x": x, "x2": {"field": "to"}, "y": {"value": 0}, "y2": {"value": "height"}, "opacity": {"field": "share", "type": "quantitative", "scale": {"domain": [0, 1], "range": [0.05, 0.28]}, "legend": None}}},
        {"data": {"values": rows}, "mark": {"type": "line", "color": COLOUR, "strokeWidth": 1, "opacity": 0.5, "clip": True}, "encoding": {"x": x, "y": y}},
        {"data": {"values": dots}, "mark": {"type": "tick", "color": COLOUR, "thickness": 1.5, "size": 9, "opacity": 0.5, "clip": True}, "encoding": {"x": x, "y": y}},
        {"data": {"values": [row for row in rows if row["l"] is not None]}, "mark": {"type": "rule", "color": COLOUR, "strokeWidth": 1.5, "clip": True}, "encoding": {"x": x, "y": {**y, "field": "l"}, "y2": {"field": "h"}}},
        {"data": {"values": rows}, "mark": {"type": "point", "filled": True, "size": 60, "stroke": COLOUR, "strokeWidth": 2, "opacity": 1, "clip": True}, "encoding": {"x": x, "y": y, "fill": fill, "tooltip": tooltip}},
        *_suggested(recipe.rate, x),
    ]  # fmt: skip
    return _chart(f"{metric.label} against learning rate", layers)


def _level_layer(recipe: RateFacts, edges: Sequence[tuple[float, float]], x: Row) -> list[Spec]:
    level = [place for place, one in enumerate(recipe.trials) if one.is_level]
    if len(level) < 2:
        return []
    values = [{"rate": edges[level[0]][0], "to": edges[level[-1]][1]}]
    return [
        {
            "data": {"values": values},
            "mark": {"type": "rect", "color": palette.variable("accent-soft"), "clip": True},
            "encoding": {
                "x": x,
                "x2": {"field": "to"},
                "y": {"value": 0},
                "y2": {"value": "height"},
            },
        }
    ]


def _shade(view: _View, x: Row, start: float | None) -> list[Spec]:
    """The rates from which on training is lost."""
    if start is None or start >= view.x[1]:
        return []
    values = [{"rate": plain(start), "to": view.x[1], "t": "breaks"}]
    bad = palette.variable("bad")
    return [
        {"data": {"values": values}, "mark": {"type": "rect", "color": bad, "opacity": 0.12, "clip": True}, "encoding": {"x": x, "x2": {"field": "to"}, "y": {"value": 0}, "y2": {"value": "height"}}},
        {"data": {"values": values}, "mark": {"type": "text", "align": "right", "baseline": "bottom", "dx": -4, "dy": -4, "fontSize": 11, "color": bad}, "encoding": {"x": {"value": "width"}, "y": {"value": "height"}, "text": {"field": "t"}}},
    ]  # fmt: skip


def _points(rows: Sequence[Row], x: Row, y: Row) -> list[Spec]:
    if not rows:
        return []
    ink = palette.variable("ink-2")
    return [
        {"data": {"values": rows}, "mark": {"type": "point", "filled": True, "size": 70, "color": COLOUR, "stroke": palette.variable("panel"), "strokeWidth": 2, "opacity": 1}, "encoding": {"x": x, "y": y}},
        {"data": {"values": rows}, "mark": {"type": "text", "align": "right", "dx": -8, "dy": 12, "fontSize": 11, "color": ink}, "encoding": {"x": x, "y": y, "text": {"field": "t"}}},
    ]  # fmt: skip


def _suggested(rate: float | None, x: Row) -> list[Spec]:
    """A dashed line at the rate to use, with its number."""
    if rate is None:
        return []
    values = [{"rate": rate, "t": rate_text(rate)}]
    ink = palette.variable("ink")
    return [
        {"data": {"values": values}, "mark": {"type": "rule", "color": ink, "strokeDash": [4, 3], "strokeWidth": 1.2}, "encoding": {"x": x}},
        {"data": {"values": values}, "mark": {"type": "text", "align": "left", "baseline": "top", "dx": 5, "dy": 3, "fontSize": 12, "fontWeight": 600, "color": ink}, "encoding": {"x": x, "y": {"value": 0}, "text": {"field": "t"}}},
    ]  # fmt: skip


def _chart(description: str, layers: list[Spec]) -> Spec:
    return {
        "$schema": SCHEMA,
        "description": description,
        "width": "container",
        "height": 280,
        "layer": layers,
    }


# ---- the picture ---------------------------------------------------------------------------

PANEL_WIDTH, PANEL_HEIGHT = 430.0, 230.0
LEFT, TOP, RIGHT, BOTTOM = 64.0, 58.0, 16.0, 48.0


class _Frame(NamedTuple):
    """Where a panel of the picture lies, and what its axes show."""

    left: float
    top: float
    view: _View

    def x(self, rate: float) -> float:
        """Place of a rate, kept inside of the panel."""
        low, high = (math.log10(end) for end in self.view.x)
        share = (math.log10(rate) - low) / (high - low)
        return self.left + PANEL_WIDTH * min(1.0, max(0.0, share))

    def y(self, value: float) -> float:
        """Place of a value, kept inside of the panel."""
        low, high = self.view.y
        share = (value - low) / (high - low)
        return self.top + PANEL_HEIGHT * (1.0 - min(1.0, max(0.0, share)))


def rate_svg(facts: SearchFacts, *, is_dark: bool = False) -> str:
    """The search as a still picture: for each recipe the range test and the search side by side.

    Args:
        facts: What was found.
        is_dark: Colours for dark paper.

    Returns:
        An SVG document that needs nothing from outside.
    """
    row = TOP + PANEL_HEIGHT + BOTTOM
    column = LEFT + PANEL_WIDTH + RIGHT
    parts = []
    for number, recipe in enumerate(facts.recipes):
        top = number * row + TOP
        found = (
            "no rate found" if recipe.rate is None else f"learning_rate: {rate_text(recipe.rate)}"
        )
        parts.append(_text(16, top - 32, f"{recipe.name} \u2013 {found}", size=15, weight=600))
        if np.isfinite(recipe.ramp.smooth).any():
            parts.append(_ramp_panel(recipe, _Frame(LEFT, top, _ramp_view(recipe.ramp))))
        if recipe.trials:
            frame = _Frame(column + LEFT, top, _search_view(facts, recipe))
            parts.append(_search_panel(facts, recipe, frame))
    width, height = 2 * column, len(facts.recipes) * row + 8
    title = f"{facts.study}: search for a learning rate"
    drawn = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f'font-family="{escape(figures.FONT)}"><title>{escape(title)}</title>'
        f'<rect width="100%" height="100%" fill="var(--panel)"/>{"".join(parts)}</svg>\n'
    )
    resolved: str = palette.resolve(drawn, palette.DARK if is_dark else palette.LIGHT)
    return resolved


def _ramp_panel(recipe: RateFacts, frame: _Frame) -> str:
    ramp = recipe.ramp
    mean, low, high = _ramp_line(ramp, frame.view)
    parts = [_axes(frame, "training loss")]
    if ramp.limit is not None:
        parts.append(_box(frame, ramp.limit, frame.view.x[1], "var(--bad)", 0.12))
    is_known = np.isfinite(mean)
    rates = ramp.smooth_rates[is_known]
    if np.isfinite(low[is_known]).any():
        outline = [*zip(rates, high[is_known], strict=True)]
        outline += [*zip(rates, low[is_known], strict=True)][::-1]
        outline = [(rate, value) for rate, value in outline if math.isfinite(value)]
        path = _path(frame, outline)
        parts.append(f'<path d="{path}Z" fill="{COLOUR}" fill-opacity="0.16"/>')
    path = _path(frame, list(zip(rates, mean[is_known], strict=True)))
    parts.append(f'<path d="{path}" fill="none" stroke="{COLOUR}" stroke-width="2"/>')
    for mark in _marks(ramp):
        parts.append(_dot(frame, mark["rate"], mark["m"], COLOUR))
    return "".join(parts) + _suggested_line(frame, recipe.rate)


def _search_panel(facts: SearchFacts, recipe: RateFacts, frame: _Frame) -> str:
    metric = facts.metric
    unit = f" ({metric.unit})" if metric.unit else ""
    parts = [_axes(frame, metric.label + unit)]
    edges = _edges([one.rate for one in recipe.trials])
    level = [edge for one, edge in zip(recipe.trials, edges, strict=True) if one.is_level]
    if len(level) > 1:
        parts.append(_box(frame, level[0][0], level[-1][1], "var(--accent-soft)", 1.0))
    for one, (low, high) in zip(recipe.trials, edges, strict=True):
        share = one.num_bad / (one.num_bad + len(one.values))
        if share:
            parts.append(_box(frame, low, high, "var(--bad)", 0.05 + 0.23 * share))
    for one in recipe.trials:
        mean, low, high = (value * metric.factor for value in one.interval[:3])
        if not frame.view.y[0] <= mean <= frame.view.y[1]:
            continue
        if math.isfinite(low):
            x, y, to = frame.x(one.rate), frame.y(low), frame.y(high)
            parts.append(
                f'<path d="M{x:.1f} {y:.1f}V{to:.1f}" stroke="{COLOUR}" stroke-width="1.5"/>'
            )
        parts.append(_dot(frame, one.rate, mean, COLOUR if one.turn > 1 else "var(--panel)"))
    return "".join(parts) + _suggested_line(frame, recipe.rate)


def _axes(frame: _Frame, title: str) -> str:
    """Grid, ticks and titles of a panel."""
    bottom, right = frame.top + PANEL_HEIGHT, frame.left + PANEL_WIDTH
    parts = []
    for value in _ticks(*frame.view.y):
        y = frame.y(value)
        parts.append(f'<path d="M{frame.left:g} {y:.1f}H{right:g}" stroke="var(--line)"/>')
        parts.append(
            _text(frame.left - 8, y + 4, units.short(value, 4), anchor="end", tone="ink-3")
        )
    low, high = (math.log10(end) for end in frame.view.x)
    for power in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1):
        x = frame.x(10.0**power)
        parts.append(f'<path d="M{x:.1f} {bottom:g}v5" stroke="var(--line-2)"/>')
        parts.append(_text(x, bottom + 18, units.short(10.0**power), anchor="middle", tone="ink-3"))
    parts.append(f'<path d="M{frame.left:g} {bottom:g}H{right:g}" stroke="var(--line-2)"/>')
    parts.append(_text(frame.left, frame.top - 10, title, tone="ink-2"))
    middle = frame.left + PANEL_WIDTH / 2
    parts.append(
        _text(middle, bottom + 36, "learning rate (log scale)", anchor="middle", tone="ink-2")
    )
    return "".join(parts)


def _ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers between two ends, about as many as wanted.

    Example:
        >>> _ticks(0.0, 2.6)
        [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    """
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.95)
    first = math.ceil(low / step - 1e-9)
    return [
        float(f"{(first + i) * step:.10g}")
        for i in range(math.floor(high / step + 1e-9) - first + 1)
    ]


def _path(frame: _Frame, points: Sequence[tuple[float, float]]) -> str:
    places = [f"{frame.x(rate):.1f} {frame.y(value):.1f}" for rate, value in points]
    return "M" + "L".join(places)


def _box(frame: _Frame, low: float, high: float, colour: str, opacity: float) -> str:
    left, right = frame.x(low), frame.x(high)
    return (
        f'<rect x="{left:.1f}" y="{frame.top:g}" width="{right - left:.1f}" height="{PANEL_HEIGHT:g}" fill="{colour}" '
        f'fill-opacity="{opacity:.2f}"/>'
    )


def _dot(frame: _Frame, rate: float, value: float, fill: str) -> str:
    return (
        f'<circle cx="{frame.x(rate):.1f}" cy="{frame.y(value):.1f}" r="4" fill="{fill}" stroke="{COLOUR}" '
        'stroke-width="2"/>'
    )


def _suggested_line(frame: _Frame, rate: float | None) -> str:
    if rate is None:
        return ""
    x = frame.x(rate)
    line = f'<path d="M{x:.1f} {frame.top:g}v{PANEL_HEIGHT:g}" stroke="var(--ink)" stroke-dasharray="4 3"/>'
    return line + _text(x + 5, frame.top + 12, rate_text(rate), weight=600)


def _text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = 12,
    weight: int = 400,
    anchor: str = "start",
    tone: str = "ink",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="var(--{tone})">{escape(words)}</text>'
    )
