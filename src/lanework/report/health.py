"""The health section of the page: verdict cards with their evidence, and layers by time. Facts in, HTML and charts out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from lanework.report import palette, units
from lanework.report.facts import Facts
from lanework.report.figures import SCHEMA, Figure, Panel, Row, Spec, plain
from lanework.report.health_facts import Found, Layers, RunHealth
from lanework.report.html import sign, text

MAX_CARDS: Final = 12
MAX_LAYERS: Final = 24
_SHARES: Final = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)
# Title, what it says, and the bounds of its seven colours: the same for every run, so that runs can be compared.
STATISTICS: Final[dict[str, tuple[str, str, tuple[float, ...]]]] = {
    "update_ratio": (
        "Step over weights",
        "about 0.001 is usual",
        (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
    ),
    "grad_norm": ("Gradient norm", "alike over depth is good", (1e-6, 1e-4, 1e-2, 0.1, 1.0, 10.0)),
    "activation_std": ("Spread of what a layer gives", "", (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)),
    "dead_share": ("Dead units", "zero for every sample looked at", _SHARES),
    "saturated_share": ("Saturated values", "at a limit of the activation", _SHARES),
}
_RARE: Final = ("dead_share", "saturated_share")  # not worth a chart where it is zero throughout
# Which statistic of its layer is the evidence of a cause; the others show the losses.
EVIDENCE: Final = {
    "dead_units": "dead_share",
    "saturated_units": "saturated_share",
    "vanishing_gradients": "grad_norm",
    "exploding_gradients": "grad_norm",
    "rate_too_high": "update_ratio",
    "rate_too_low": "update_ratio",
}


def health_section(facts: Facts) -> str:
    """Cards of what was found and heat maps of the layers; empty where nothing was watched."""
    cards, maps = _cards(facts), _maps(facts)
    return f"{cards}{maps}" if cards or maps else ""


def health_figures(facts: Facts) -> tuple[Figure, ...]:
    """The charts of the section: one figure for each run that is shown, and one for each card."""
    maps = [figure for run in facts.watched if (figure := map_figure(facts, run)) is not None]
    own = {run.run: run for run in facts.watched}
    cards = [
        Figure(_card_name(item), item.title, "", (Panel("", "", "", spec),))
        for _, item in _items(facts)
        if item.row.run in own and (spec := evidence(own[item.row.run], item)) is not None
    ]
    return (*maps, *cards)


# ---- cards -----------------------------------------------------------------------------------


def _items(facts: Facts) -> list[tuple[int, Found]]:
    """What is shown as cards: the worst of each sick recipe first, then what else they have."""
    sick = facts.sick
    first = [(arm, items[0]) for arm, items in sick.items()]
    rest = [(arm, item) for arm, items in sick.items() for item in items[1:]]
    chosen = (first + rest)[:MAX_CARDS]
    order = list(sick)
    return sorted(chosen, key=lambda one: order.index(one[0]))


def _card_name(item: Found) -> str:
    return f"evidence-{item.row.run}-{item.row.code.replace('_', '-')}"


def _cards(facts: Facts) -> str:
    items = _items(facts)
    if not items:
        is_told = (
            any(run.verdict != "incomplete" for run in facts.runs) and facts.causes is not None
        )
        return (
            f'<p class="about">{sign("good", chr(0x2713))} Nothing was found to be the matter with any run.</p>'
            if is_told
            else ""
        )
    figures = {figure.name for figure in health_figures(facts)}
    cards = "".join(_card(facts, arm, item, figures) for arm, item in items)
    left = sum(len(found) for found in facts.sick.values()) - len(items)
    more = (
        f'<p class="small">{left} more findings are in <code>results.json</code> and in <code>lanework diagnose</code>.</p>'
        if left > 0
        else ""
    )
    return f'<ul class="cards">{cards}</ul>{more}'


def _card(facts: Facts, arm: int, item: Found, figures: set[str]) -> str:
    row, one = item.row, facts.arm(arm)
    mark = sign("bad", "\u00d7") if row.level == "fail" else sign("warn", "!")
    runs = (
        f"{item.num_runs} of {units.counted(len(one.runs), 'run')}"
        if len(one.runs) > 1
        else "the run"
    )
    steps = max((run.steps for run in facts.runs if run.run == row.run), default=0)
    when = f", told from step {units.count(row.step)} of {units.count(steps)} on" if steps else ""
    helps = "".join(
        f"<li>{text(units.sentence(words).rstrip('.'))}</li>" for words in item.remedies[:4]
    )
    chart = ""
    if _card_name(item) in figures:
        chart = f'<div class="chart" data-chart="{_card_name(item)}-0" role="img" aria-label="Evidence of {text(item.title)}"></div>'
    return (
        f'<li class="card {row.level}"><h3>{mark}{text(item.title)}</h3>'
        f'<p class="small">{text(one.label)}: {runs}{when}; {round(100 * row.confidence)}\u202f% sure.</p>'
        f"<p>{text(row.sentence)}</p>{chart}"
        f'<p class="small">{text(item.what)}</p><p class="helps">What helps</p><ol>{helps}</ol></li>'
    )


def evidence(run: RunHealth, item: Found) -> Spec | None:
    """A small chart of what tells a cause, with a line where it could first be told."""
    name = EVIDENCE.get(item.row.code, "")
    rows, title, is_log = _layer_rows(run, name, item.row.layer)
    if not rows:
        rows, title, is_log = _loss_rows(run), "loss", True
    if len({row["e"] for row in rows}) < 2:
        return None
    lines = list(dict.fromkeys(row["a"] for row in rows))
    y: Row = {"field": "m", "type": "quantitative", "title": title}
    y["scale"] = {"type": "log"} if is_log else {"domain": [0, 1]}
    y["axis"] = {"tickCount": 4, "format": "~g"}
    colours = [palette.series(index) for index in range(len(lines))]
    colour = {
        "field": "a",
        "type": "nominal",
        "sort": lines,
        "scale": {"domain": lines, "range": colours},
        "legend": {"title": None},
    }
    x = {"field": "e", "type": "quantitative", "title": "epoch", "axis": {"tickCount": 4}}
    layers: list[Spec] = [
        {
            "data": {"values": rows},
            "mark": {"type": "line", "strokeWidth": 2, "point": {"size": 14}},
            "encoding": {"x": x, "y": y, "color": colour},
        }
    ]
    last = max(row["e"] for row in rows)
    told = item.row.step / run.steps_per_epoch if run.steps_per_epoch > 0 else math.nan
    if 0.0 < told <= last:
        layers.append(
            {
                "data": {"values": [{"e": plain(told)}]},
                "mark": {
                    "type": "rule",
                    "color": palette.variable("bad"),
                    "strokeDash": [4, 3],
                    "tooltip": "first told here",
                },
                "encoding": {"x": {**x, "field": "e"}},
            }
        )
    return {
        "$schema": SCHEMA,
        "description": f"Evidence of {item.title}",
        "width": "container",
        "height": 110,
        "layer": layers,
    }


def _layer_rows(run: RunHealth, name: str, layer: str) -> tuple[list[Row], str, bool]:
    table = run.layers.get(name)
    if table is None:
        return [], "", True
    is_share = name in _RARE
    chosen = [layer] if layer in table.names and is_share else [table.names[0], table.names[-1]]
    rows = []
    for one in dict.fromkeys(chosen):
        values = table.values[table.names.index(one)]
        for epoch, value in zip(table.epochs, values, strict=True):
            if math.isfinite(value) and (is_share or value > 0):
                rows.append({"e": plain(float(epoch)), "m": plain(float(value)), "a": one})
    return rows, STATISTICS[name][0].lower(), not is_share


def _loss_rows(run: RunHealth) -> list[Row]:
    return [
        {"e": plain(float(epoch)), "m": plain(float(value)), "a": units.words(name)}
        for name, (epochs, values) in run.losses.items()
        for epoch, value in zip(epochs, values, strict=True)
        if math.isfinite(value) and value > 0
    ]


# ---- layers by time --------------------------------------------------------------------------


def _maps(facts: Facts) -> str:
    figures = [(run, figure) for run in facts.watched if (figure := map_figure(facts, run))]
    if not figures:
        return ""
    from lanework.report.sections import figure as drawn

    options = "".join(
        f'<option value="{figure.name}">{text(figure.title)}</option>' for _, figure in figures
    )
    shown = "".join(
        f'<div data-health="{figure.name}"{" hidden" * (index > 0)}>{drawn(figure)}</div>'
        for index, (_, figure) in enumerate(figures)
    )
    pick = (
        f'<div class="controls"><label class="pick">Run <select id="health-choice">{options}</select></label></div>'
        if len(figures) > 1
        else ""
    )
    return f'<h3 class="maps">Layers by time</h3>{pick}{shown}'


def map_figure(facts: Facts, run: RunHealth) -> Figure | None:
    """Heat maps of the layers of one run; None where nothing was recorded."""
    panels = tuple(
        Panel(title, "transparent", note, _map(run.layers[name], bounds, title))
        for name, (title, note, bounds) in STATISTICS.items()
        if name in run.layers and _is_worth(name, run.layers[name])
    )
    if not panels:
        return None
    one = next(item for item in facts.runs if item.run == run.run)
    titles = [item.title for item in facts.sick.get(one.arm, ()) if item.row.run == run.run]
    state = titles[0].lower() if titles else "nothing found"
    caption = (
        "The input is at the bottom, the output on top; colours mean the same in every run, "
        "\u00d7 is a number that is not finite."
    )
    title = f"{one.arm_label}, seed {one.seed}: {state}"
    return Figure(f"health-{run.run}", title, caption, panels, is_wide=False)


def _is_worth(name: str, table: Layers) -> bool:
    known = table.values[np.isfinite(table.values)]
    return bool(len(known)) and (name not in _RARE or float(known.max()) > 0.0)


def _map(table: Layers, bounds: Sequence[float], title: str) -> Spec:
    names, values = _thinned(table)
    labels = _labels(bounds)
    cells = []
    for place, name in enumerate(names):
        for epoch, value in zip(table.epochs, values[place], strict=True):
            is_known = math.isfinite(value)
            cells.append(
                {
                    "x": plain(float(epoch)),
                    "y": name,
                    "bin": labels[sum(value > bound for bound in bounds)] if is_known else None,
                    "text": units.short(float(value)) if is_known else "not finite",
                }
            )
    ramp = [palette.variable(f"h{index}") for index in range(len(labels))]
    x_axis = {
        "title": "epoch",
        "labelAngle": 0,
        "domain": False,
        "ticks": False,
        "labelOverlap": True,
    }
    x = {"field": "x", "type": "ordinal", "axis": {**x_axis, "format": "~g"}}
    y = {
        "field": "y",
        "type": "ordinal",
        "sort": list(reversed(names)),
        "axis": {"title": None, "labelLimit": 110, "domain": False, "ticks": False},
    }
    colour = {
        "field": "bin",
        "type": "ordinal",
        "sort": labels,
        "scale": {"domain": labels, "range": ramp},
        "legend": {"title": None, "columns": 3, "symbolType": "square", "symbolStrokeWidth": 0},
    }
    tooltip = [
        {"field": "y", "title": "layer"},
        {"field": "x", "title": "epoch"},
        {"field": "text", "title": title.lower()},
    ]
    bad: Row = {"type": "text", "text": "\u00d7", "color": palette.variable("bad")}
    return {
        "$schema": SCHEMA,
        "description": f"{title} by layer and epoch",
        "data": {"values": cells},
        "width": "container",
        "height": {"step": max(9, min(22, 260 // max(1, len(names))))},
        "layer": [
            {
                "transform": [{"filter": "datum.bin !== null"}],
                "mark": {"type": "rect"},
                "encoding": {"x": x, "y": y, "color": colour, "tooltip": tooltip},
            },
            {
                "transform": [{"filter": "datum.bin === null"}],
                "mark": bad,
                "encoding": {"x": x, "y": y, "tooltip": tooltip},
            },
        ],
    }


def _thinned(table: Layers) -> tuple[tuple[str, ...], Any]:
    """At most `MAX_LAYERS` layers, first and last among them."""
    count = len(table.names)
    if count <= MAX_LAYERS:
        return table.names, table.values
    places = np.unique(np.linspace(0, count - 1, MAX_LAYERS).round().astype(int))
    return tuple(table.names[place] for place in places), table.values[places]


def _labels(bounds: Sequence[float]) -> list[str]:
    """Words for the seven classes of colour."""
    shown = [units.short(bound) for bound in bounds]
    between = [f"{low} \u2013 {high}" for low, high in pairwise(shown)]
    return [f"up to {shown[0]}", *between, f"above {shown[-1]}"]
