"""The table of 2-D surfaces: formula, domain, start, minima, source.

Each function takes the two coordinates and the module whose `exp` and `cos` it shall use, so the same line serves JAX
(for trajectories and gradients), NumPy (for contours) and `math` (for one point). Must import neither JAX nor NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from lanework.catalog import Entry
from lanework.errors import Problem, UnknownNameError
from lanework.spec.check import names_hint

__all__ = ["SURFACES", "Point", "Surface", "find", "listing"]

Point: TypeAlias = tuple[float, float]
WHERE: Final = "surface"


@dataclass(frozen=True)
class Surface:
    """One surface and all that is known about it.

    Attributes:
        entry: Name, summary, formula and source, as in the catalogue.
        value: `(x, y, xp) -> f`, with `xp` any module that has `exp`, `cos` and `pi`.
        x: Lowest and highest x of the picture.
        y: The same of y.
        start: Where all rules start, unless told otherwise.
        minima: The global minima.
        traps: Other points where the gradient vanishes, with what they are.
        steps: Steps that show what the surface teaches.
    """

    entry: Entry
    value: Callable[[Any, Any, Any], Any]
    x: Point
    y: Point
    start: Point
    minima: tuple[Point, ...]
    traps: tuple[tuple[str, Point], ...] = ()
    steps: int = 200

    @property
    def name(self) -> str:
        """The name on the command line."""
        return self.entry.name

    @property
    def lowest(self) -> float:
        """The value at the global minima."""
        return min(self.at(point) for point in self.minima)

    def at(self, point: Point) -> float:
        """The value at one point."""
        return float(self.value(point[0], point[1], math))


def _bowl(x: Any, y: Any, xp: Any) -> Any:
    return (x**2 + y**2) / 2


def _ravine(x: Any, y: Any, xp: Any) -> Any:
    return (x**2 + 150 * y**2) / 2


def _saddle(x: Any, y: Any, xp: Any) -> Any:
    return 5 * x**2 - y**2 / 2 + y**4 / 4


def _plateau(x: Any, y: Any, xp: Any) -> Any:
    return 1 - xp.exp(-(x**2 + y**2) / 2)


def _double_well(x: Any, y: Any, xp: Any) -> Any:
    return x**4 / 4 - x**2 / 2 + 0.15 * x + y**2


def _beale(x: Any, y: Any, xp: Any) -> Any:
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def _rosenbrock(x: Any, y: Any, xp: Any) -> Any:
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def _rastrigin(x: Any, y: Any, xp: Any) -> Any:
    waves = xp.cos(2 * xp.pi * x) + xp.cos(2 * xp.pi * y)
    return 20 + x**2 + y**2 - 10 * waves


def _himmelblau(x: Any, y: Any, xp: Any) -> Any:
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


def _row(name: str, summary: str, formula: str, source: str, notes: str = "") -> Entry:
    return Entry("surface", name, summary, formula, source, notes=notes)


_OWN: Final = "made for Lanework"
_ROWS: Final = (
    Surface(
        _row("bowl", "Equal curvature everywhere: no rule has an excuse.", "(x^2 + y^2) / 2", _OWN),
        _bowl,
        x=(-3.0, 3.0),
        y=(-2.4, 2.4),
        start=(-2.4, 1.7),
        minima=((0.0, 0.0),),
        steps=100,
    ),
    Surface(
        _row(
            "ravine",
            "150 times more curvature across than along: one rate must serve both.",
            "(x^2 + 150 y^2) / 2",
            _OWN,
            notes="The picture is stretched in y.",
        ),
        _ravine,
        x=(-3.6, 1.2),
        y=(-0.48, 0.48),
        start=(-3.0, 0.3),
        minima=((0.0, 0.0),),
        steps=400,
    ),
    Surface(
        _row(
            "saddle",
            "Down to the saddle point first, then sideways where the slope is almost nothing.",
            "5 x^2 - y^2 / 2 + y^4 / 4",
            _OWN,
        ),
        _saddle,
        x=(-1.4, 1.4),
        y=(-1.5, 1.5),
        start=(-1.0, 0.001),
        minima=((0.0, 1.0), (0.0, -1.0)),
        traps=(("saddle point", (0.0, 0.0)),),
        steps=150,
    ),
    Surface(
        _row(
            "plateau",
            "A hole in a plain: the gradient is tiny until one is nearly there.",
            "1 - exp(-(x^2 + y^2) / 2)",
            _OWN,
        ),
        _plateau,
        x=(-4.4, 3.0),
        y=(-3.2, 2.7),
        start=(-3.4, -2.2),
        minima=((0.0, 0.0),),
        steps=300,
    ),
    Surface(
        _row(
            "double_well",
            "Two valleys; the start is on the side of the shallower one.",
            "x^4 / 4 - x^2 / 2 + 0.15 x + y^2",
            _OWN,
        ),
        _double_well,
        x=(-1.8, 1.8),
        y=(-1.3, 1.3),
        start=(1.5, 1.0),
        minima=((-1.0679230137, 0.0),),
        traps=(("local minimum", (0.9142973158, 0.0)), ("saddle point", (0.1536256978, 0.0))),
        steps=150,
    ),
    Surface(
        _row(
            "beale",
            "Flat in the middle, steep at the corners, one minimum at the end of a valley.",
            "(1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2",
            "Beale 1958, On an iterative method for finding a local minimum of a function of more than one variable",
        ),
        _beale,
        x=(-1.0, 4.5),
        y=(-1.8, 2.0),
        start=(1.0, 1.5),
        minima=((3.0, 0.5),),
        traps=(("saddle point", (0.0, 1.0)),),
        steps=300,
    ),
    Surface(
        _row(
            "rosenbrock",
            "A bent valley with steep walls and a nearly flat floor.",
            "(1 - x)^2 + 100 (y - x^2)^2",
            "Rosenbrock 1960, An automatic method for finding the greatest or least value of a function",
        ),
        _rosenbrock,
        x=(-1.8, 1.6),
        y=(-0.6, 2.2),
        start=(-1.2, 1.0),
        minima=((1.0, 1.0),),
        steps=1000,
    ),
    Surface(
        _row(
            "rastrigin",
            "A bowl full of pits: every whole-numbered point is close to a local minimum.",
            "20 + x^2 + y^2 - 10 (cos 2 pi x + cos 2 pi y)",
            "Rastrigin 1974, Systems of extremal control; two-dimensional form",
        ),
        _rastrigin,
        x=(-5.12, 5.12),
        y=(-5.12, 5.12),
        start=(-3.3, 2.6),
        minima=((0.0, 0.0),),
        steps=200,
    ),
    Surface(
        _row(
            "himmelblau",
            "Four minima of equal depth around a hilltop: small differences at the start decide.",
            "(x^2 + y - 11)^2 + (x + y^2 - 7)^2",
            "Himmelblau 1972, Applied nonlinear programming",
        ),
        _himmelblau,
        x=(-5.5, 5.5),
        y=(-5.0, 5.0),
        start=(-0.4, -1.1),
        minima=(
            (3.0, 2.0),
            (-2.8051180869, 3.1313125183),
            (-3.7793102534, -3.2831859913),
            (3.5844283403, -1.8481265269),
        ),
        traps=(("hilltop", (-0.2708445907, -0.9230385565)),),
        steps=150,
    ),
)

SURFACES: Final[Mapping[str, Surface]] = MappingProxyType({row.name: row for row in _ROWS})
"""Name to surface."""


def find(name: str) -> Surface:
    """The surface of that name.

    Args:
        name: As on the command line.

    Raises:
        UnknownNameError: There is none; the text lists the nearest ones.
    """
    if name not in SURFACES:
        text = f"must be the name of a surface, got {name!r}. {names_hint(name, SURFACES)}"
        raise UnknownNameError([Problem("", text)], where=WHERE)
    return SURFACES[name]


def listing() -> str:
    """What `lanework surface --list` prints: each surface with its formula, start and minima."""
    width = max(len(name) for name in SURFACES)
    lines = []
    for row in SURFACES.values():
        minima = " ".join(_shown(point) for point in row.minima)
        lines += [
            f"{row.name:{width}s}  {row.entry.summary}",
            f"{'':{width}s}  f = {row.entry.formula}",
            f"{'':{width}s}  start {_shown(row.start)}, lowest at {minima}; source: {row.entry.source}",
        ]
    return "\n".join(lines)


def _shown(point: Point) -> str:
    return f"({point[0]:.4g}, {point[1]:.4g})"
