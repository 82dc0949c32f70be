"""The picture of a race as SVG: contours, paths, marks, and how high each rule was at each step.

One picture serves the page (colours as CSS variables, parts named for its script) and the still file (colours written
out, legend beside it). Must not import JAX.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lanework.report import palette, units
from lanework.report.figures import FONT
from lanework.report.html import text
from lanework.surfaces.contours import below, simplify
from lanework.surfaces.functions import Point, Surface
from lanework.surfaces.races import Floats, Race, Trajectory

__all__ = [
    "MOST_POINTS",
    "Frame",
    "conditions",
    "formula",
    "frame",
    "heights_svg",
    "kept",
    "leaving",
    "map_svg",
    "pixels",
    "said_end",
    "still",
    "stride",
    "ticks",
]

Rise: TypeAlias = Callable[[float], float]
NUM_LEVELS: Final = 12
GRID: Final = 241
WIDTH: Final = 1000.0
LEFT, BOTTOM, EDGE = 58.0, 44.0, 12.0
HEIGHTS_SIZE: Final = (620.0, 420.0)
MOST_POINTS: Final = 16_000
"""Points of all paths together; beyond that only every second, third, ... step is drawn."""
FLOOR: Final = 1e-6
"""Heights above the lowest value below this are drawn at it."""


class Frame(NamedTuple):
    """From the coordinates of a surface to those of its picture."""

    x: Point
    y: Point
    width: float
    height: float

    def place(self, points: Floats) -> NDArray[np.float64]:
        """Points [..., 2] of the surface as picture coordinates, not cut off at the frame."""
        low = np.array([self.x[0], self.y[1]])
        size = np.array([self.x[1] - self.x[0], self.y[0] - self.y[1]])
        return (np.asarray(points, np.float64) - low) / size * np.array([self.width, self.height])


def frame(surface: Surface) -> Frame:
    """The frame of a surface: true proportions, unless it is so flat that it must be stretched."""
    shape = (surface.y[1] - surface.y[0]) / (surface.x[1] - surface.x[0])
    height = WIDTH * (shape if 0.5 <= shape <= 1.25 else 0.62)
    return Frame(surface.x, surface.y, WIDTH, round(height))


def pixels(box: Frame, points: Floats) -> NDArray[np.int64]:
    """Points as whole picture coordinates; those far outside are drawn in along their direction.

    Args:
        box: The frame.
        points: Points [step, 2].
    """
    middle = np.array([box.width, box.height]) / 2
    away = box.place(points) - middle
    size = np.maximum(np.abs(away).max(axis=-1, keepdims=True), 1e-9)
    return np.rint(middle + away * np.minimum(1.0, 4 * WIDTH / size)).astype(np.int64)


def formula(surface: Surface) -> str:
    """The formula with raised powers and true minus signs."""
    raised = surface.entry.formula.replace("^2", "\u00b2").replace("^3", "\u00b3")
    return "f = " + raised.replace("^4", "\u2074").replace("-", units.MINUS)


def said_end(one: Trajectory) -> str:
    """How it ended, in few words."""
    if one.diverged_at is not None:
        return f"diverged at step {one.diverged_at}"
    x, y = (units.short(round(float(part), 4)) for part in one.points[-1])
    return f"({x}, {y})"


# The map ---------------------------------------------------------------------------------------


def map_svg(race: Race) -> str:
    """The surface with the whole path of each rule, for the page.

    Paths carry `data-rule`; the page's script draws the moving parts into the group `#moving`.
    """
    box = frame(race.asked.surface)
    label = f"Contours of {race.asked.surface.name} with the paths of {_names(race)}"
    return (
        f'<svg id="map" viewBox="{-LEFT:g} {-EDGE:g} {box.width + LEFT + EDGE:g} {box.height + BOTTOM + EDGE:g}" '
        f'role="img" aria-label="{text(label)}">{_map(race, box)}</svg>'
    )


def _map(race: Race, box: Frame) -> str:
    size = f'width="{box.width:g}" height="{box.height:g}"'
    every = stride(race)
    paths = "".join(
        _path(index, one, box, every=every) for index, one in enumerate(race.trajectories)
    )
    crosses = "".join(_cross(index, one, box) for index, one in enumerate(race.trajectories))
    return (
        f'<clipPath id="inside"><rect {size}/></clipPath>'
        f'<rect {size} fill="var(--panel)"/><g clip-path="url(#inside)">{_contours(race.asked.surface, box)}'
        f'{_marks(race, box)}<g id="paths" fill="none" stroke-linejoin="round" stroke-linecap="round">{paths}</g>'
        f'</g><g id="moving" clip-path="url(#inside)"></g>{crosses}'
        f'<rect {size} fill="none" stroke="var(--line-2)"/>{_axes(box)}'
    )


def _contours(surface: Surface, box: Frame) -> str:
    """Stacked translucent regions: the lower the ground, the deeper the colour."""
    xs, ys = np.linspace(*surface.x, GRID), np.linspace(*surface.y, GRID)
    heights = np.asarray(surface.value(xs[None, :], ys[:, None], np), np.float64) - surface.lowest
    shapes = []
    for level in _levels(heights):
        parts = (_closed(outline, box) for outline in below(heights, level))
        shapes.append(f'<path d="{"".join(parts)}"/>')
    return (
        '<g fill="var(--h5)" fill-opacity=".075" fill-rule="evenodd" stroke="var(--h5)" stroke-opacity=".38" '
        f'stroke-width="1.2">{"".join(shapes)}</g>'
    )


def _levels(heights: NDArray[np.float64]) -> list[float]:
    """Levels at equal distances on a log scale, from just below the highest point down."""
    top = float(heights.max()) * 0.75
    return np.geomspace(top, top / 2000, NUM_LEVELS).tolist()


def _closed(outline: NDArray[np.float64], box: Frame) -> str:
    scale = np.array([box.width, -box.height]) / (GRID - 1)
    places = np.rint(simplify(outline * scale + np.array([0.0, box.height]), 0.6)).astype(np.int64)
    return _line(places) + "z" if len(places) > 2 else ""


def _line(places: NDArray[np.int64]) -> str:
    """A path in steps relative to each other, which is short; places equal to the one before are left out."""
    moves = np.diff(places, axis=0)
    moves = moves[np.any(moves != 0, axis=1)]
    first = f"M{places[0][0]} {places[0][1]}"
    return first + ("l" + " ".join(f"{x} {y}" for x, y in moves.tolist()) if len(moves) else "h0")


def _path(index: int, one: Trajectory, box: Frame, *, every: int) -> str:
    places = pixels(box, one.points[kept(len(one.points), every)])
    line = _line(np.rint(simplify(places.astype(np.float64), 0.5)).astype(np.int64))
    name = f"path-{index}"
    colour = palette.series(index)
    halo = f'<use href="#{name}" stroke="var(--panel)" stroke-width="6.5" stroke-opacity=".75"/>'
    own = f'<use href="#{name}" stroke="{colour}" stroke-width="3.2"{_dash(index)}/>'
    x, y = places[-1]
    dot = f'<circle cx="{x}" cy="{y}" r="7.5" fill="{colour}" stroke="var(--panel)" stroke-width="2"/>'
    return (
        f'<g data-rule="{index}"><defs><path id="{name}" d="{line}"/></defs>{halo}{own}'
        f"{dot if one.diverged_at is None else ''}</g>"
    )


def stride(race: Race) -> int:
    """1, or more where a race is so long that drawing every step would make a heavy page."""
    return -(-sum(len(one.points) for one in race.trajectories) // MOST_POINTS)


def kept(count: int, every: int) -> list[int]:
    """Every so many steps, and the last."""
    return sorted({*range(0, count, every), count - 1})


def _dash(index: int) -> str:
    pattern = palette.dash(index)
    return (
        f' stroke-dasharray="{" ".join(f"{2 * part}" for part in pattern)}"' if pattern[1] else ""
    )


def _cross(index: int, one: Trajectory, box: Frame) -> str:
    """A cross where a rule diverged, at the border when that was outside."""
    if one.diverged_at is None:
        return ""
    x, y = leaving(pixels(box, one.points), box)
    return (
        f'<g data-rule="{index}" class="cross" stroke="{palette.series(index)}" stroke-width="5" '
        f'stroke-linecap="round"><title>{text(one.label)} diverged</title>'
        f'<path d="M{x - 10:.0f} {y - 10:.0f}l20 20m0-20l-20 20"/></g>'
    )


def leaving(places: NDArray[np.int64], box: Frame) -> tuple[float, float]:
    """Where a path left the picture for good: the last point inside, moved to the border along its way."""
    limits = np.array([box.width, box.height])
    inside = np.all((places >= 0) & (places <= limits), axis=1)
    if inside[-1] or not inside.any():
        x, y = np.clip(places[-1], 12, limits - 12)
        return float(x), float(y)
    last = int(np.flatnonzero(inside)[-1])
    here = places[last].astype(np.float64)
    way = places[last + 1] - here
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(way > 0, (limits - here) / way, np.where(way < 0, -here / way, np.inf))
    x, y = np.clip(here + way * min(1.0, float(shares.min())), 12, limits - 12)
    return float(x), float(y)


def _marks(race: Race, box: Frame) -> str:
    surface = race.asked.surface
    shapes = []
    for x, y in box.place(np.array(surface.minima)):
        shapes.append(
            f'<g stroke="var(--ink)" stroke-width="2.2"><title>lowest point</title>'
            f'<path d="M{x - 9:.1f} {y:.1f}h18M{x:.1f} {y - 9:.1f}v18"/></g>'
        )
    for kind, point in surface.traps:
        x, y = box.place(np.array(point))
        shapes.append(
            f'<g><title>{text(kind)}</title><circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="none" '
            'stroke="var(--ink-3)" stroke-width="2"/></g>'
        )
    x, y = box.place(np.array(race.asked.start))
    shapes.append(
        f'<g><title>start</title><rect x="{x - 8:.1f}" y="{y - 8:.1f}" width="16" height="16" '
        'fill="var(--panel)" stroke="var(--ink)" stroke-width="2.4"/></g>'
    )
    return f'<g class="marks">{"".join(shapes)}</g>'


def _axes(box: Frame) -> str:
    parts = []
    for value in ticks(*box.x):
        x = box.place(np.array([value, box.y[0]]))[0]
        parts.append(f'<path d="M{x:.1f} {box.height:g}v6"/>' + _words(x, box.height + 28, value))
    for value in ticks(*box.y):
        y = box.place(np.array([box.x[0], value]))[1]
        parts.append(f'<path d="M0 {y:.1f}h-6"/>' + _words(-12, y + 7, value, anchor="end"))
    return f'<g font-size="20" fill="var(--ink-3)" stroke="none">{"".join(parts)}</g>'.replace(
        '<path d="M', '<path stroke="var(--line-2)" d="M'
    )


def _words(x: float, y: float, value: float, *, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{units.short(round(value, 9))}</text>'


def ticks(low: float, high: float, *, count: int = 6) -> list[float]:
    """Round numbers inside of a range, about that many.

    Example:
        >>> ticks(-1.8, 1.6), ticks(0.0, 100.0)
        ([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5], [0.0, 20.0, 40.0, 60.0, 80.0, 100.0])
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((f * power for f in (1, 2, 2.5, 5, 10)), key=lambda size: abs(size - rough))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


# Height by step --------------------------------------------------------------------------------


def heights_svg(race: Race) -> str:
    """How far above the lowest value each rule was at each step, on a log scale."""
    width, height = HEIGHTS_SIZE
    label = f"Height above the lowest value by step, for {_names(race)}"
    return (
        f'<svg id="heights" viewBox="{-LEFT - 14:g} {-EDGE:g} {width + LEFT + 14 + EDGE:g} {height + 62:g}" '
        f'role="img" aria-label="{text(label)}" data-width="{width:g}">{_heights(race, width, height)}</svg>'
    )


def _heights(race: Race, width: float, height: float) -> str:
    lowest = race.asked.surface.lowest
    above = [np.maximum(one.values - lowest, FLOOR) for one in race.trajectories]
    start = above[0][0]
    low = max(FLOOR, min(float(one.min()) for one in above))
    low = min(10.0 ** math.floor(math.log10(low)), race.tolerance / 10)
    high = 10.0 ** math.ceil(math.log10(max(float(start), race.tolerance) * 3))

    def rise(value: float) -> float:
        return height * (1 - math.log10(max(value, low) / low) / math.log10(high / low))

    lines = "".join(
        _curve(index, one, rise, steps=race.asked.steps, width=width, every=_every(len(one)))
        for index, one in enumerate(above)
    )
    mark = rise(race.tolerance)
    return (
        f'<clipPath id="chart"><rect y="-6" width="{width:g}" height="{height + 6:g}"/></clipPath>'
        f"{_scale(low, high, rise, width)}{_steps_axis(race.asked.steps, width, height)}"
        f'<path d="M0 {mark:.1f}h{width:g}" stroke="var(--ink-3)" stroke-dasharray="3 4"/>'
        f'<g clip-path="url(#chart)" fill="none" stroke-linejoin="round">{lines}</g>'
        f'<text x="{width:g}" y="{mark - 6:.1f}" text-anchor="end" font-size="15" fill="var(--ink-2)" '
        f'stroke="var(--paper)" stroke-width="4" paint-order="stroke">reached</text>'
        f'<path id="now" d="M0 -6v{height + 6:g}" stroke="var(--ink)" stroke-width="1.4" visibility="hidden"/>'
    )


def _every(count: int) -> int:
    """Of a long run only every so many heights are drawn: the chart has no more pixels."""
    return max(1, count // 1000)


def _curve(index: int, above: Floats, rise: Rise, *, steps: int, width: float, every: int) -> str:
    chosen = kept(len(above), every)
    x = np.array(chosen) * (width / steps)
    y = np.array([rise(float(above[step])) for step in chosen])
    places = np.rint(simplify(np.stack([x, np.maximum(y, -2000)], axis=1), 0.4)).astype(np.int64)
    return (
        f'<path data-rule="{index}" d="{_line(places)}" stroke="{palette.series(index)}" '
        f'stroke-width="2.4"{_dash(index)}/>'
    )


def _scale(low: float, high: float, rise: Rise, width: float) -> str:
    first, last = round(math.log10(low)), round(math.log10(high))
    parts = []
    for power in range(first, last + 1, max(1, math.ceil((last - first) / 7))):
        y = rise(10.0**power)
        word = units.short(10.0**power) if -4 <= power <= 4 else f"1e{units.short(power)}"
        parts.append(
            f'<path stroke="var(--line)" d="M0 {y:.1f}h{width:g}"/>'
            f'<text x="-10" y="{y + 5:.1f}" text-anchor="end">{word}</text>'
        )
    return f'<g font-size="16" fill="var(--ink-3)">{"".join(parts)}</g>'


def _steps_axis(steps: int, width: float, height: float) -> str:
    parts = [
        f'<text x="{value / steps * width:.1f}" y="{height + 22:g}" text-anchor="middle">{units.short(value)}</text>'
        for value in ticks(0.0, float(steps))
        if value == int(value)
    ]
    parts.append(f'<text x="{width / 2:g}" y="{height + 44:g}" text-anchor="middle">step</text>')
    line = f'<path d="M0 {height:g}h{width:g}" stroke="var(--line-2)"/>'
    return f'<g font-size="16" fill="var(--ink-3)">{line}{"".join(parts)}</g>'


# The still figure ------------------------------------------------------------------------------


def still(race: Race) -> str:
    """The picture as a file of its own: title, map, legend with rates and what came out."""
    surface = race.asked.surface
    box = frame(surface)
    rows = [*_legend(race)]
    top, line = 96.0, 34.0
    width = box.width + LEFT + EDGE + 28
    height = top + box.height + BOTTOM + 28 + line * len(rows) + 30
    title = f"{surface.name.replace('_', ' ')}: {formula(surface)}"
    legend = "".join(row for row in rows)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width * 0.75:g}" '
        f'height="{height * 0.75:g}" font-family="{text(FONT)}" role="img"><title>{text(title)}</title>'
        f'<rect width="{width:g}" height="{height:g}" fill="var(--paper)"/>'
        f'<g fill="var(--ink)"><text x="{LEFT + 14:g}" y="42" font-size="27" font-weight="600">{text(title)}</text>'
        f'<text x="{LEFT + 14:g}" y="74" font-size="20" fill="var(--ink-2)">{text(conditions(race))}</text></g>'
        f'<g transform="translate({LEFT + 14:g} {top:g})">{_map(race, box)}</g>'
        f'<g transform="translate({LEFT + 14:g} {top + box.height + BOTTOM + 20:g})" font-size="20" fill="var(--ink)">'
        f"{legend}</g></svg>\n"
    )
    return str(palette.resolve(svg))


def conditions(race: Race) -> str:
    """Start, steps, noise and how rates were chosen, in one line."""
    asked = race.asked
    start = f"from {units.short(asked.start[0])}, {units.short(asked.start[1])}"
    parts = [f"{units.counted(asked.steps, 'step')} {start}"]
    if asked.noise:
        parts.append(f"noise {units.short(asked.noise)} on the gradient")
    if race.is_searched:
        low, high = units.short(asked.rates[0]), units.short(asked.rates[-1])
        parts.append(f"each rule at its best of {len(asked.rates)} rates from {low} to {high}")
    return ", ".join(parts)


def _legend(race: Race) -> Sequence[str]:
    columns = (56.0, 430.0, 590.0, 800.0)
    heads = ("rule", "rate", f"steps to {race.tolerance:g}", "final value")
    rows = [_row(0, None, heads, columns)]
    for index, one in enumerate(race.trajectories):
        final = "diverged" if one.final_value is None else units.short(one.final_value)
        reached = "never" if one.reached_at is None else units.count(one.reached_at)
        cells = (one.label, units.short(one.rate), reached, final)
        rows.append(_row(index + 1, index, cells, columns))
    return rows


def _row(line: int, index: int | None, cells: Sequence[str], columns: Sequence[float]) -> str:
    y = 34.0 * line + 22
    colour = ' fill="var(--ink-3)"' if index is None else ""
    words = "".join(
        f'<text x="{x:g}" y="{y:g}"{colour}>{text(cell)}</text>'
        for x, cell in zip(columns, cells, strict=True)
    )
    if index is None:
        return words
    sign = f'<path d="M2 {y - 7:g}h40" stroke="{palette.series(index)}" stroke-width="4.5"{_dash(index)}/>'
    return sign + words


def _names(race: Race) -> str:
    return units.listed(one.label for one in race.trajectories)
