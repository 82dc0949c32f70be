"""The colours of the report, once for light and once for dark paper.

Everything drawn names a colour as ``var(--name)``; the page resolves it by CSS (so that dark mode
and print need no script), `resolve` resolves it for files drawn without a browser. The series
colours keep their distance also for colour-blind readers and stand out from both papers; a
test checks it. Vermilion is kept for what went wrong.
"""

from __future__ import annotations

import re
from typing import Any, Final

LIGHT: Final[dict[str, str]] = {
    "paper": "#fbfaf8",
    "panel": "#ffffff",
    "sunken": "#f3f2ee",
    "ink": "#1c2126",
    "ink-2": "#454e57",
    "ink-3": "#626c75",
    "line": "#e2e0da",
    "line-2": "#c9c7bf",
    "accent": "#0a5aa6",
    "accent-soft": "#e4eef8",
    "bad": "#b92f12",
    "bad-soft": "#fbe7e1",
    "warn": "#8a5a00",
    "warn-soft": "#fdf1d8",
    "good": "#146c43",
    "good-soft": "#e0f2e8",
    "run-ok": "#9fb6c9",
    "run-healed": "#d9a21b",
    "run-chance": "#6f7a85",
    "run-open": "#ffffff",
    "quiet": "#b9b7b0",
    "s0": "#3275ee",
    "s1": "#ea6c09",
    "s2": "#147269",
    "s3": "#bc7daf",
    "s4": "#0e3648",
    "s5": "#1e2faf",
    "h0": "#eff3f6",
    "h1": "#d3e2ec",
    "h2": "#b0cde0",
    "h3": "#86b3d1",
    "h4": "#5a95be",
    "h5": "#2f74a6",
    "h6": "#0f4f82",
    "heat-ink-low": "#14202b",
    "heat-ink-high": "#ffffff",
}

DARK: Final[dict[str, str]] = {
    "paper": "#13171b",
    "panel": "#1a1f24",
    "sunken": "#20262c",
    "ink": "#e9ecef",
    "ink-2": "#bcc4cb",
    "ink-3": "#949ea7",
    "line": "#2c343b",
    "line-2": "#434d56",
    "accent": "#7fbcf5",
    "accent-soft": "#1b3044",
    "bad": "#ff8b72",
    "bad-soft": "#3d211b",
    "warn": "#edbb52",
    "warn-soft": "#362b14",
    "good": "#6fce9d",
    "good-soft": "#183325",
    "run-ok": "#4f6b83",
    "run-healed": "#d9a93a",
    "run-chance": "#a3adb6",
    "run-open": "#1a1f24",
    "quiet": "#535d66",
    "s0": "#729bf9",
    "s1": "#d06115",
    "s2": "#80fbbe",
    "s3": "#a7719a",
    "s4": "#a7c6ee",
    "s5": "#406de7",
    "h0": "#1f2830",
    "h1": "#203c52",
    "h2": "#244f6f",
    "h3": "#2a6188",
    "h4": "#34749f",
    "h5": "#71aed8",
    "h6": "#bfe0f7",
    "heat-ink-low": "#f2f6f9",
    "heat-ink-high": "#0d1820",
}

NUM_SERIES: Final = 6
NUM_HEAT: Final = 7
DASHES: Final = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3))  # a second sign when colours run out
_VARIABLE: Final = re.compile(r"var\(--([a-z0-9-]+)\)")


def variable(name: str) -> str:
    """The colour `name` as CSS and the charts write it."""
    return f"var(--{name})"


def series(index: int) -> str:
    """Colour of the series with that number; numbers beyond `NUM_SERIES` start again."""
    return variable(f"s{index % NUM_SERIES}")


def dash(index: int) -> tuple[int, ...]:
    """Dash pattern that goes with `series`: solid for the first round of colours."""
    return DASHES[(index // NUM_SERIES) % len(DASHES)]


def css(colours: dict[str, str]) -> str:
    """The colours as declarations of CSS variables."""
    return "".join(f"--{name}:{value};" for name, value in colours.items())


def resolve(spec: Any, colours: dict[str, str] = LIGHT) -> Any:
    """A chart with every ``var(--name)`` replaced by its colour, for drawing without a browser."""
    if isinstance(spec, str):
        return _VARIABLE.sub(lambda found: colours[found.group(1)], spec)
    if isinstance(spec, dict):
        return {key: resolve(value, colours) for key, value in spec.items()}
    if isinstance(spec, list | tuple):
        return [resolve(value, colours) for value in spec]
    return spec
