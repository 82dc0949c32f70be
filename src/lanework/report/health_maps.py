"""Heat maps of the layers of a run over its training, and its sharpness. Facts in, charts out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from lanework.report import palette, units
from lanework.report.facts import Facts
from lanework.report.figures import SCHEMA, Figure, Panel, Row, Spec, plain
from lanework.report.health_evidence import SHORT
from lanework.report.health_facts import Layers, RunHealth

MAX_LAYERS: Final = 24
GREW: Final = 2.0
OFF_CENTRE: Final = 2.0
_COSINES: Final = (-0.5, -0.2, -0.05, 0.05, 0.2, 0.5)
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
    "activation_mean": (
        "Mean of what a layer gives",
        "far from 0 beside its spread",
        (-10.0, -1.0, -0.1, 0.1, 1.0, 10.0),
    ),
    "param_norm": ("Weight norm", "grows or shrinks", (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)),
    "dead_share": ("Dead units", "zero for every sample looked at", _SHARES),
    "saturated_share": ("Saturated values", "at a limit of the activation", _SHARES),
    "grad_snr": (
        "Signal over noise",
        "below 1 mostly noise",
        (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0),
    ),
    "batch_cosine": ("Agreement in a batch", "cosine", _COSINES),
    "record_cosine": ("Agreement over time", "cosine", _COSINES),
}


_RARE: Final = ("dead_share", "saturated_share")  # not worth a chart where it is zero throughout


def map_figure(facts: Facts, run: RunHealth) -> Figure | None:
    """Heat maps of the layers of one run; None where nothing was recorded."""
    panels = tuple(
        Panel(title, "transparent", note, _map(_known_from(run.layers[name], name), bounds, title))
        for name, (title, note, bounds) in STATISTICS.items()
        if name in run.layers and _is_worth(name, run)
    )
    panels = (*panels, *_sharpness(run))
    if not panels:
        return None
    one = next(item for item in facts.runs if item.run == run.run)
    titles = [item.title for item in facts.sick.get(one.arm, ()) if item.row.run == run.run]
    state = titles[0].lower() if titles else "nothing found"
    caption = (
        "The input is at the bottom, the output on top; colours mean the same in every run, "
        "\u00d7 is a number that is not finite or cannot be told."
    )
    title = f"{one.arm_label}, seed {one.seed}: {state}"
    return Figure(f"health-{run.run}", title, caption, panels, is_wide=False)


def _known_from(table: Layers, name: str) -> Layers:
    """The table without the first record of what is told against the record before."""
    if name != "record_cosine":
        return table
    return Layers(table.names, table.epochs[1:], table.values[:, 1:])


def _is_worth(name: str, run: RunHealth) -> bool:
    """Whether a map tells something that others do not, or that is not the same throughout."""
    table = run.layers[name]
    known = table.values[np.isfinite(table.values)]
    if not len(known):
        return False
    if name in _RARE:
        return float(known.max()) > 0.0
    if name == "param_norm":
        return _change(table.values) > GREW
    if name == "activation_mean":
        spread = run.layers.get("activation_std")
        is_beside = spread is not None and spread.values.shape == table.values.shape
        return is_beside and _is_off_centre(table.values, spread.values if spread else known)
    return True


def _change(values: Any) -> float:
    """The largest factor by which a layer's number changed over the training."""
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.nanmax(values, axis=1) / np.nanmin(values, axis=1)
    known = factors[np.isfinite(factors)]
    return float(known.max()) if len(known) else 1.0


def _is_off_centre(mean: Any, spread: Any) -> bool:
    is_known = np.isfinite(mean) & np.isfinite(spread) & (spread > 0)
    return bool((np.abs(mean[is_known]) > OFF_CENTRE * spread[is_known]).any())


def _sharpness(run: RunHealth) -> tuple[Panel, ...]:
    """The largest eigenvalue of the Hessian as a line; nothing where it was not looked at."""
    rows = [
        {"e": plain(float(epoch)), "m": plain(float(value))}
        for epoch, value in zip(*run.whole.get("sharpness", ((), ())), strict=True)
        if math.isfinite(value)
    ]
    if len(rows) < 2:
        return ()
    spec: Spec = {
        "$schema": SCHEMA,
        "description": "Sharpness by epoch",
        "data": {"values": rows},
        "width": "container",
        "height": 120,
        "mark": {
            "type": "line",
            "strokeWidth": 2,
            "point": {"size": 14},
            "color": palette.series(0),
        },
        "encoding": {
            "x": {"field": "e", "type": "quantitative", "title": "epoch", "axis": {"tickCount": 4}},
            "y": {
                "field": "m",
                "type": "quantitative",
                "title": "largest curvature",
                "axis": {"tickCount": 4, "labelExpr": SHORT},
            },
            "tooltip": [{"field": "e", "title": "epoch"}, {"field": "m", "title": "sharpness"}],
        },
    }
    note = "SGD is stable below 2 / rate"
    return (Panel("Sharpness", "transparent", note, spec),)


def _map(table: Layers, bounds: Sequence[float], title: str) -> Spec:
    names, values = _thinned(table)
    x, y = _axes(names)
    tooltip = [
        {"field": "y", "title": "layer"},
        {"field": "x", "title": "epoch"},
        {"field": "text", "title": title.lower()},
    ]
    shared = {"x": x, "y": y, "tooltip": tooltip}
    return {
        "$schema": SCHEMA,
        "description": f"{title} by layer and epoch",
        "data": {"values": _cells(names, table.epochs, values, bounds=bounds)},
        "width": "container",
        "height": {"step": max(9, min(22, 260 // max(1, len(names))))},
        "layer": [
            {
                "transform": [{"filter": "datum.bin !== null"}],
                "mark": {"type": "rect"},
                "encoding": {**shared, "color": _colour(_labels(bounds))},
            },
            {
                "transform": [{"filter": "datum.bin === null"}],
                "mark": {"type": "text", "text": "\u00d7", "color": palette.variable("bad")},
                "encoding": shared,
            },
        ],
    }


def _axes(names: Sequence[str]) -> tuple[Row, Row]:
    """Epochs along, layers up from the input."""
    bare = {"domain": False, "ticks": False}
    along = {"title": "epoch", "labelAngle": 0, "labelOverlap": True, "labelSeparation": 5}
    x: Row = {"field": "x", "type": "ordinal", "axis": {**along, **bare, "format": "~g"}}
    y: Row = {"field": "y", "type": "ordinal", "sort": list(reversed(names))}
    y["axis"] = {"title": None, "labelLimit": 110, **bare}
    return x, y


def _colour(labels: Sequence[str]) -> Row:
    ramp = [palette.variable(f"h{index}") for index in range(len(labels))]
    return {
        "field": "bin",
        "type": "ordinal",
        "sort": labels,
        "scale": {"domain": labels, "range": ramp},
        "legend": {"title": None, "columns": 3, "symbolType": "square", "symbolStrokeWidth": 0},
    }


def _cells(names: Sequence[str], epochs: Any, values: Any, *, bounds: Sequence[float]) -> list[Row]:
    """A row for each layer and epoch, with its class of colour; none where the number is not finite."""
    labels = _labels(bounds)
    cells = []
    for name, of_layer in zip(names, values, strict=True):
        for epoch, value in zip(epochs, of_layer, strict=True):
            is_known = math.isfinite(value)
            cells.append(
                {
                    "x": plain(float(epoch)),
                    "y": name,
                    "bin": labels[sum(value > bound for bound in bounds)] if is_known else None,
                    "text": units.short(float(value)) if is_known else "not finite",
                }
            )
    return cells


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
