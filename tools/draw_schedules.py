"""Draws docs/images/schedules.svg: the shape of every schedule of the catalogue, from the code that training uses.

python tools/draw_schedules.py            write the figure
python tools/draw_schedules.py --check    only say whether it is out of date (exit 1)
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp

from lanework import recipes
from lanework.catalog import CATALOG
from lanework.report.palette import LIGHT

TARGET = Path(__file__).parent.parent / "docs" / "images" / "schedules.svg"
EPOCHS, PER_EPOCH = 40, 25
COLUMNS, WIDTH, HEIGHT, GAP, MARGIN = 4, 200, 96, 62, 34
ANNEALED = 0.9  # the base value of the panel that ramps momentum
# Options of each curve of a panel; the first is drawn strongest.
PANELS: dict[str, Sequence[dict[str, Any]]] = {
    "constant": [{}, {"warmup_epochs": 5.0}],
    "linear_warmup": [{"warmup_epochs": 5.0}],
    "step": [{"every": 10.0}],
    "multi_step": [{}],
    "exponential": [{"rate": 0.1}],
    "inverse": [{"rate": 0.1}],
    "inverse_sqrt": [{"flat": 4.0}, {"flat": 4.0, "warmup_epochs": 4.0}],
    "linear": [{}],
    "polynomial": [{"power": 2.0}, {"power": 0.5}],
    "cosine": [{}, {"warmup_epochs": 5.0}],
    "cosine_restarts": [{"period": 10.0}, {"period": 5.0, "multiplier": 2.0}],
    "one_cycle": [{}, {"form": "linear", "three_phase": True, "peak": 0.45}],
    "cyclic": [{"form": "triangular"}, {"form": "triangular2"}],
    "wsd": [{"warmup_epochs": 3.0}, {"warmup_epochs": 3.0, "form": "root"}],
    "ramp": [{"from_value": 0.5, "epochs": 15.0}],
    "geometric_ramp": [{"start": 1e-3}],
    "plateau": [{}],
}
DROPS = (17.0, 28.0)  # epochs at which the drawn run on a plateau has its rate lowered
INK = ((LIGHT["s0"], ""), (LIGHT["s1"], ' stroke-dasharray="5 2.5"'))  # colour and a second sign


def figure() -> str:
    """The whole figure as SVG."""
    rows = -(-len(PANELS) // COLUMNS)
    width = 2 * MARGIN + COLUMNS * WIDTH + (COLUMNS - 1) * MARGIN
    height = GAP * (rows + 1) + rows * HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{LIGHT["ink-3"]}">',
        "<title>Shapes of the schedules over a run of 40 epochs</title>",
        f'<rect width="{width}" height="{height}" fill="{LIGHT["panel"]}"/>',
    ]
    for place, (name, curves) in enumerate(PANELS.items()):
        left = MARGIN + (place % COLUMNS) * (WIDTH + MARGIN)
        top = GAP + (place // COLUMNS) * (HEIGHT + GAP)
        parts.append(f'<g transform="translate({left} {top})">')
        parts += _panel(name, curves)
        parts.append("</g>")
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _panel(name: str, curves: Sequence[dict[str, Any]]) -> list[str]:
    """Title, frame, curves from the last to the first, and a line below that says the options."""
    grid = f'stroke="{LIGHT["line"]}"'
    parts = [
        f'<text y="-12" font-size="14" font-weight="600" fill="{LIGHT["ink"]}">{name}</text>',
        f'<path d="M0 0H{WIDTH}M0 {HEIGHT / 2:g}H{WIDTH}" {grid}/>',
        f'<path d="M0 {HEIGHT}H{WIDTH}" stroke="{LIGHT["line-2"]}"/>',
        f'<text x="-5" y="4" text-anchor="end">1</text><text x="-5" y="{HEIGHT + 4}" text-anchor="end">0</text>',
    ]
    for (ink, dash), options in reversed(list(zip(INK, curves, strict=False))):
        path = _path(_values(name, options))
        parts.append(
            f'<path d="{path}" fill="none" stroke="{ink}" stroke-width="2" stroke-linejoin="round"{dash}/>'
        )
    says = [_said(name, options) for options in curves]
    for line, ((ink, _), text) in enumerate(zip(INK, says, strict=False)):
        y = HEIGHT + 15 + 13 * line
        parts.append(f'<text y="{y}" font-size="10.5" fill="{ink}">{text}</text>')
    return parts


def _values(name: str, options: dict[str, Any]) -> list[float]:
    """Value of each step, as training computes it; 1 is the top of the panel."""
    filled = SimpleNamespace(name=name, options=CATALOG["schedule"][name].defaults() | options)
    factor = recipes.schedule(
        filled, total_steps=EPOCHS * PER_EPOCH, steps_per_epoch=PER_EPOCH, of="base"
    )
    base = ANNEALED if name == "ramp" else 1.0
    factors = jax.vmap(lambda step: factor(step, {"base": base}))(jnp.arange(EPOCHS * PER_EPOCH))
    drops = DROPS if name == "plateau" else ()
    return [
        base * float(value) * 0.5 ** sum(step >= drop * PER_EPOCH for drop in drops)
        for step, value in enumerate(factors)
    ]


def _path(values: Sequence[float]) -> str:
    """A polyline through every step, without the points that lie on a straight line."""
    x = [WIDTH * step / (len(values) - 1) for step in range(len(values))]
    y = [HEIGHT * (1 - value) for value in values]
    kept = [0]
    for place in range(1, len(values) - 1):
        begin = kept[-1]
        slope = (y[place + 1] - y[begin]) / (x[place + 1] - x[begin])
        passed = range(begin + 1, place + 1)
        if any(abs(y[begin] + slope * (x[i] - x[begin]) - y[i]) > 0.15 for i in passed):  # pixels
            kept.append(place)
    kept.append(len(values) - 1)
    return "M" + "L".join(f"{x[place]:.1f} {y[place]:.1f}" for place in kept)


def _said(name: str, options: dict[str, Any]) -> str:
    if name == "plateau":
        return "factor 0.5, where the metric stalled"
    text = ", ".join(f"{key} {_shown(value)}" for key, value in options.items())
    return f"{text} (momentum 0.9)" if name == "ramp" else text or "as it comes"


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _is_same(first: str, second: str) -> bool:
    """The same but for rounding of the last digit, which may differ between machines."""
    number = r"\d+\.\d"
    if re.sub(number, "#", first) != re.sub(number, "#", second):
        return False
    pairs = zip(re.findall(number, first), re.findall(number, second), strict=True)
    return all(abs(float(one) - float(other)) < 0.25 for one, other in pairs)


def main() -> int:
    """Write the figure, or compare it with what is there."""
    if set(PANELS) != set(CATALOG["schedule"]):
        print(f"no panel or no row: {', '.join(set(PANELS) ^ set(CATALOG['schedule']))}")
        return 1
    drawn = figure()
    if "--check" in sys.argv[1:]:
        is_current = TARGET.exists() and _is_same(TARGET.read_text(encoding="utf-8"), drawn)
        print(f"{TARGET.name}: {'current' if is_current else 'out of date'}")
        return 0 if is_current else 1
    TARGET.write_text(drawn, encoding="utf-8")
    print(f"wrote {TARGET.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
