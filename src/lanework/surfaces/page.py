"""The page of a race: one HTML file that opens offline, with the paths as an animation.

Without a script, and in print, the whole paths are shown. Must not import JAX.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

import numpy as np

from lanework.report import palette, units
from lanework.report.figures import FONT
from lanework.report.html import Cell, Column, bullets, island, table, text
from lanework.report.page import MONO
from lanework.report.page import asset as report_asset
from lanework.surfaces.figure import (
    conditions,
    formula,
    frame,
    heights_svg,
    kept,
    map_svg,
    pixels,
    said_end,
    stride,
)
from lanework.surfaces.races import Race, Trajectory

__all__ = ["moving", "page"]

SPEEDS: Final = (
    ("\u00bc\u00d7", 0.25),
    ("\u00bd\u00d7", 0.5),
    ("1\u00d7", 1.0),
    ("2\u00d7", 2.0),
    ("4\u00d7", 4.0),
)
_LOGO: Final = (
    '<svg viewBox="0 0 20 20" aria-hidden="true" fill="none" stroke-width="2.4" stroke-linecap="round">'
    '<path d="M2 4h15" stroke="var(--s0)"/><path d="M2 10h10" stroke="var(--s1)"/>'
    '<path d="M2 16h13" stroke="var(--s2)"/></svg>'
)


def page(race: Race) -> str:
    """The whole page as text.

    Args:
        race: What came out.
    """
    surface = race.asked.surface
    name = surface.name.replace("_", " ")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{text(name)} \u2013 Lanework</title><link rel="icon" href="data:,"><style>{_style()}</style></head><body>'
        '<a class="skip" href="#main">To the content</a>'
        f'<header class="top"><div class="wrap"><a class="mark" href="#main">{_LOGO}<span>Lanework</span></a>'
        '<nav aria-label="Sections" tabindex="-1"><a href="#race">Paths</a><a href="#table">Table</a>'
        f'<a href="#surface">Surface</a></nav></div></header><main id="main" class="wrap">{_body(race, name)}</main>'
        f'<footer class="wrap">Made by Lanework: lanework surface {text(surface.name)}.</footer>'
        f"{island('data-race', moving(race))}<script>{_asset('surface.js')}</script></body></html>\n"
    )


def _body(race: Race, name: str) -> str:
    surface = race.asked.surface
    warnings = race.warnings()
    notes = f'<div class="notes">{bullets(warnings)}</div>' if warnings else ""
    return (
        '<section id="race"><p class="eyebrow">How the rules move</p>'
        f"<h1>{text(units.sentence(name).rstrip('.'))}</h1>"
        f'<p class="lead">{text(surface.entry.summary)} {text(units.sentence(conditions(race)))}</p>'
        f'{_legend(race)}<div class="stage"><figure>{map_svg(race)}{_controls(race)}</figure>'
        f"<figure>{heights_svg(race)}<figcaption>{_caption(race)}</figcaption></figure></div>{notes}</section>"
        f'<section id="table"><h2>What came out</h2><p class="about">{text(_about(race))}</p>{_table(race)}</section>'
        f'<section id="surface"><h2>The surface</h2>{_facts(race)}</section>'
    )


def _legend(race: Race) -> str:
    items = "".join(
        f'<li><button type="button" aria-pressed="true" data-toggle="{index}">{_sign(index)}{text(one.label)}'
        f'<span class="dim">rate {units.short(one.rate)}</span></button></li>'
        for index, one in enumerate(race.trajectories)
    )
    return f'<ul class="legend" aria-label="Rules: press to hide or show">{items}</ul>'


def _sign(index: int) -> str:
    dash = palette.dash(index)
    pattern = f' stroke-dasharray="{" ".join(map(str, dash))}"' if dash[1] else ""
    return (
        '<svg viewBox="0 0 24 8" aria-hidden="true"><line x1="0" y1="4" x2="24" y2="4" stroke-width="2.5" '
        f'stroke="{palette.series(index)}"{pattern}/></svg>'
    )


def _controls(race: Race) -> str:
    steps = race.asked.steps
    speeds = "".join(
        f'<option value="{factor:g}"{" selected" if factor == 1 else ""}>{label}</option>'
        for label, factor in SPEEDS
    )
    return (
        '<div class="controls play" hidden><button type="button" id="play">Play</button>'
        '<button type="button" id="restart">Restart</button>'
        '<div class="scrub"><span><label for="scrub">Step</label> '
        f'<output id="step" for="scrub">{steps}</output> of {steps}</span>'
        f'<input type="range" id="scrub" min="0" max="{steps}" value="{steps}" step="1"></div>'
        f'<label class="pick">Speed <select id="speed">{speeds}</select></label></div>'
    )


def _caption(race: Race) -> str:
    return text(
        f"Height above the lowest value at each step, on a log scale. Reached means: within {race.tolerance:g} of it, and staying "
        "there."
        + (f" The paths are long: one step in {stride(race)} is drawn." if stride(race) > 1 else "")
    )


def _about(race: Race) -> str:
    parts = []
    if race.is_searched:
        count = len(race.asked.rates)
        parts.append(
            f"Each rule was tried at {units.counted(count, 'learning rate')}. Its best one is that which comes within "
            f"{race.tolerance:g} of the lowest value in the fewest steps and stays there; if none does, the one that ends "
            "lowest. Rates that diverged are left out. The best rate was chosen on this very path, so it flatters every "
            "rule, and luck counts."
        )
    if race.asked.noise:
        parts.append(
            "With noise, a rule that arrives shortly before the end may have done so by luck: it need not have stayed."
        )
    parts.append(
        "Steps are counted, not evaluations: a rule that searches along a line looks at the surface several times a step."
    )
    return " ".join(parts)


def _table(race: Race) -> str:
    columns = [
        Column("Rule"),
        Column("Rate", is_number=True),
        Column(f"Steps to within {race.tolerance:g}", is_number=True),
        Column("Final value", is_number=True),
        Column("Where it ended"),
        *([Column("Rates that diverged", is_number=True)] if race.is_searched else []),
    ]
    rows = [("", _cells(race, index, one)) for index, one in enumerate(race.trajectories)]
    return table(
        columns, rows, name="paths-table", label="What came out for each rule", is_sortable=False
    )


def _cells(race: Race, index: int, one: Trajectory) -> list[Cell]:
    name = _sign(index) + text(one.label)
    reached = "never" if one.reached_at is None else units.count(one.reached_at)
    final = units.MISSING if one.final_value is None else units.short(one.final_value)
    cells = [
        Cell(name),
        Cell(units.short(one.rate), is_number=True),
        Cell(reached, is_number=True),
        Cell(final, is_number=True),
        Cell(text(said_end(one))),
    ]
    if race.is_searched:
        of = f"{one.num_diverged} of {len(race.asked.rates)}" if one.is_searched else "fixed rate"
        cells.append(Cell(of, is_number=True))
    return cells


def _facts(race: Race) -> str:
    surface, asked = race.asked.surface, race.asked
    items = {
        "Formula": formula(surface),
        "Lowest": f"{units.short(surface.lowest)} at {_points(surface.minima)} (cross)",
        "Other points": "; ".join(f"{kind} at {_points((at,))}" for kind, at in surface.traps),
        "Start": f"{_points((asked.start,))} (square), {units.short(surface.at(asked.start))} high",
        "Noise": f"standard deviation {units.short(asked.noise)} on each part of the gradient, seed {asked.seed}; "
        "the same for all"
        if asked.noise
        else "",
        "Note": surface.entry.notes,
        "Source": surface.entry.source,
    }
    rows = "".join(
        f"<dt>{text(key)}</dt><dd>{text(value)}</dd>" for key, value in items.items() if value
    )
    return f'<dl class="facts">{rows}</dl>'


def _points(points: tuple[tuple[float, float], ...]) -> str:
    return units.listed(f"({units.short(x)}, {units.short(y)})" for x, y in points)


# Data of the animation -------------------------------------------------------------------------


def moving(race: Race) -> dict[str, Any]:
    """What the animation needs: paths in whole picture coordinates, of which only steps that moved, as differences.

    Args:
        race: What came out.
    """
    box = frame(race.asked.surface)
    every = stride(race)
    rules = [
        {
            "label": one.label,
            "colour": palette.series(index),
            "dash": [2 * part for part in palette.dash(index)] if palette.dash(index)[1] else [],
            "ends": one.diverged_at is not None,
            "last": len(one.points) - 1,
            **_track(pixels(box, one.points), every),
        }
        for index, one in enumerate(race.trajectories)
    ]
    return {"steps": race.asked.steps, "rules": rules}


def _track(places: Any, every: int) -> dict[str, Any]:
    steps = np.array(kept(len(places), every))
    chosen = places[steps]
    moved = np.concatenate([[True], np.any(np.diff(chosen, axis=0) != 0, axis=1)])
    steps, chosen = steps[moved], chosen[moved]
    return {
        "k": np.diff(steps, prepend=0).tolist(),
        "x": np.diff(chosen[:, 0], prepend=0).tolist(),
        "y": np.diff(chosen[:, 1], prepend=0).tolist(),
    }


# Frame -----------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _asset(name: str) -> str:
    return files("lanework.surfaces").joinpath("assets", name).read_text(encoding="utf-8")


def _style() -> str:
    light, dark = palette.css(palette.LIGHT), palette.css(palette.DARK)
    return (
        f":root{{--sans:{FONT};--mono:{MONO};{light}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}{report_asset('report.css')}{_asset('surface.css')}"
    )
