"""The contact sheet of `lanework look`: samples before and after augmentation, as a page and as a picture.

Owns their look; knows nothing of how samples came about. Pillow is imported inside functions. Must not import JAX.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

import numpy as np

from lanework.report import palette, units
from lanework.report.figures import FONT
from lanework.report.html import Cell as TableCell
from lanework.report.html import Column, table, text
from lanework.report.page import MONO, asset

__all__ = ["Cell", "Group", "Sheet", "page", "picture"]

SIDE: Final = 96  # pixels of a cell of the picture
MAX_COLUMNS: Final = 40  # of a table; more would not be read
GAP, TEXT, HEAD = 10, 15, 26
TITLE: Final = 68  # room for the name of a moment
MAX_PICTURE_COLUMNS: Final = 10
_LOGO: Final = (
    '<svg viewBox="0 0 20 20" aria-hidden="true" fill="none" stroke-width="2.4" stroke-linecap="round">'
    '<path d="M2 4h15" stroke="var(--s0)"/><path d="M2 10h10" stroke="var(--s1)"/>'
    '<path d="M2 16h13" stroke="var(--s2)"/></svg>'
)


@dataclass(frozen=True)
class Cell:
    """One sample at one moment.

    Attributes:
        label: Its target in words.
        pixels: uint8 [height, width, channels] where it is an image.
        values: What enters, where it is none: [width], or [time, channels].
        text: Tokens as text.
        moments: Mean, standard deviation, least and largest number that enters.
    """

    label: str = ""
    pixels: Any = None
    values: Any = None
    text: str = ""
    moments: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Group:
    """Recipes to which the same samples enter.

    Attributes:
        arms: Their names.
        kind: ``image``, ``table``, ``tokens`` or ``series``.
        rows: Numbers of the samples in the training part.
        columns: What the moments are called.
        cells: By sample, then moment.
        names: Names of the entries of a flat input.
        augmented: The augmentations in words.
        shape: Shape of an input.
        source: Where the data comes from.
        input_noise: Standard deviation of ``train.input_noise``.
    """

    arms: tuple[str, ...]
    kind: str
    rows: tuple[int, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    names: tuple[str, ...] = ()
    augmented: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    source: str = ""
    input_noise: float = 0.0

    def title(self) -> str:
        """The recipes, at most three by name."""
        shown = ", ".join(self.arms[:3])
        return shown + (f" and {len(self.arms) - 3} more" if len(self.arms) > 3 else "")

    def about(self) -> str:
        """What is seen, in sentences."""
        size = " x ".join(map(str, self.shape))
        parts = [
            f"{units.counted(len(self.rows), 'sample')} of the first batch, inputs of shape {size}."
        ]
        if len(self.columns) == 1:
            parts.append("Nothing is changed at random: each epoch sees the same samples.")
        else:
            done = "; ".join(self.augmented)
            noise = f"input_noise {self.input_noise:g}" if self.input_noise else ""
            parts.append(
                f"Changed in training: {'; '.join(item for item in (done, noise) if item)}."
            )
        if self.kind == "image":
            parts.append(
                "These are the tensors that enter the network; for the eye alone, their scaling is undone and what lies beyond "
                "black and white is cut."
            )
        elif self.kind in ("table", "series"):
            parts.append("The numbers are those that enter the network, after preparation.")
        return " ".join(parts)


@dataclass(frozen=True)
class Sheet:
    """Everything that is shown."""

    study: str
    seed: int
    groups: tuple[Group, ...]

    def summary(self) -> str:
        """A few lines for a terminal."""
        lines = [f"What enters the network in {self.study}, seed {self.seed}:"]
        lines += [f"  {group.title()}: {group.about()}" for group in self.groups]
        return "\n".join(lines)


# Page ------------------------------------------------------------------------------------------


def page(sheet: Sheet) -> str:
    """The whole page as text; it needs nothing from outside."""
    body = "".join(_section(group, place) for place, group in enumerate(sheet.groups))
    links = "".join(
        f'<a href="#group-{place}">{text(_short(group.title(), 24))}</a>'
        for place, group in enumerate(sheet.groups[:6])
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{text(sheet.study)} \u2013 what enters</title><link rel="icon" href="data:,"><style>{_style()}</style>'
        '</head><body><a class="skip" href="#main">To the content</a><header class="top"><div class="wrap">'
        f'<a class="mark" href="#main">{_LOGO}<span>Lanework</span></a><nav aria-label="Recipes" tabindex="-1">{links}</nav>'
        '</div></header><main id="main" class="wrap"><section><p class="eyebrow">What enters the network</p>'
        f'<h1>{text(sheet.study)}</h1><p class="lead">{_lead(sheet)}</p></section>{body}</main>'
        f'<footer class="wrap">Made by Lanework: lanework look. Seed {sheet.seed}.</footer></body></html>\n'
    )


def _lead(sheet: Sheet) -> str:
    sources = units.listed(dict.fromkeys(text(group.source) for group in sheet.groups))
    return (
        f"Training samples of {sources}, drawn and changed by the very functions that training runs. "
        "The draws depend on seed, epoch and number of the sample only."
    )


def _section(group: Group, place: int) -> str:
    content = {"image": _images, "tokens": _tokens, "series": _series}.get(group.kind, _table)
    return (
        f'<section id="group-{place}"><h2>{text(group.title())}</h2><p class="about">{text(group.about())}</p>'
        f"{content(group)}{_moments(group)}</section>"
    )


def _images(group: Group) -> str:
    """Samples side by side, moments below each other."""
    heads = "".join(f'<th scope="col">sample {row}</th>' for row in group.rows)
    rows = "".join(
        f'<tr><th scope="row">{text(title)}</th>{"".join(_image(cells[place]) for cells in group.cells)}</tr>'
        for place, title in enumerate(group.columns)
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Contact sheet"><table class="sheet">'
        f'<thead><tr><th scope="col"></th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _image(cell: Cell) -> str:
    label = "<br>+ ".join(text(part) for part in cell.label.split(" + "))
    if cell.pixels is None:
        return f'<td><span class="small">{label}</span></td>'
    height, width = cell.pixels.shape[:2]
    shown = max(64, min(SIDE, 2 * max(height, width)))
    scale = shown / max(height, width)
    return (
        f'<td><img src="{_data(cell.pixels)}" alt="{text(cell.label)}" width="{round(width * scale)}" '
        f'height="{round(height * scale)}"><span class="small">{label}</span></td>'
    )


def _table(group: Group) -> str:
    """Samples as rows; where something is changed, each is followed by what became of it."""
    names = group.names[:MAX_COLUMNS]
    columns = [Column("sample"), Column("moment"), Column("target")]
    columns += [Column(name, is_number=True) for name in names]
    rows = []
    for row, cells in zip(group.rows, group.cells, strict=True):
        for title, cell in zip(group.columns, cells, strict=True):
            values = [] if cell.values is None else list(np.ravel(cell.values)[: len(names)])
            numbers = [TableCell(units.short(float(v)), is_number=True) for v in values]
            heads = [TableCell(str(row)), TableCell(text(title)), TableCell(text(cell.label))]
            rows.append(("", [*heads, *numbers]))
    more = len(group.names) - len(names)
    note = (
        f'<p class="small">The first {len(names)} of {len(group.names)} entries.</p>'
        if more > 0
        else ""
    )
    made = table(columns, rows, name="rows", label="Prepared rows", is_sortable=False)
    return made + note


def _tokens(group: Group) -> str:
    items = "".join(
        f'<li><span class="small">sample {row}{f", {text(cell.label)}" if cell.label else ""}</span>'
        f"<pre>{text(cell.text)}</pre></li>"
        for row, cells in zip(group.rows, group.cells, strict=True)
        for cell in cells[:1]
    )
    return f'<ol class="texts">{items}</ol>'


def _series(group: Group) -> str:
    heads = "".join(f'<th scope="col">{text(title)}</th>' for title in group.columns)
    rows = "".join(
        f'<tr><th scope="row">{row}</th>'
        + "".join(
            f'<td>{_plot(cell)}<span class="small">{text(cell.label)}</span></td>' for cell in cells
        )
        + "</tr>"
        for row, cells in zip(group.rows, group.cells, strict=True)
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Series"><table class="sheet"><thead><tr>'
        f'<th scope="col">sample</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _plot(cell: Cell, *, width: int = 200, height: int = 56) -> str:
    """A small line for each channel."""
    if cell.values is None:
        return ""
    values = np.asarray(cell.values, float).reshape(len(cell.values), -1)
    known = values[np.isfinite(values).all(axis=1)]
    if not len(known):
        return ""
    low, high = float(known.min()), float(known.max())
    across = np.linspace(2, width - 2, max(len(known), 2))[: len(known)]
    lines = ""
    for channel in range(min(known.shape[1], palette.NUM_SERIES)):
        up = height - 3 - (known[:, channel] - low) / max(high - low, 1e-12) * (height - 6)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, up, strict=True))
        lines += f'<polyline points="{points}" fill="none" stroke="{palette.series(channel)}" stroke-width="1.5"/>'
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{len(known)} steps from {units.short(low)} to {units.short(high)}">{lines}</svg>'
    )


def _moments(group: Group) -> str:
    """Mean, spread and range of what enters, by moment: wrong scaling shows here at once."""
    columns = [
        Column("What enters"),
        *(Column(n, is_number=True) for n in ("mean", "std", "min", "max")),
    ]
    rows = []
    for place, title in enumerate(group.columns):
        found = [cells[place].moments for cells in group.cells]
        known = np.array([item for item in found if item is not None])
        if not len(known):
            continue
        spread = np.sqrt(np.mean(known[:, 1] ** 2 + known[:, 0] ** 2) - known[:, 0].mean() ** 2)
        numbers = (known[:, 0].mean(), spread, known[:, 2].min(), known[:, 3].max())
        cells = [TableCell(units.short(float(value)), is_number=True) for value in numbers]
        rows.append(("", [TableCell(text(title)), *cells]))
    if not rows:
        return ""
    label = "Mean, standard deviation and range"
    return f'<div class="narrow">{table(columns, rows, name="moments", label=label, is_sortable=False)}</div>'


def _data(pixels: Any) -> str:
    """A small image inside of the page."""
    return "data:image/png;base64," + base64.b64encode(_png(_as_image(pixels))).decode()


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}\u2026"


@lru_cache(maxsize=1)
def _own_style() -> str:
    return files("lanework.report").joinpath("assets", "look.css").read_text(encoding="utf-8")


def _style() -> str:
    light, dark = palette.css(palette.LIGHT), palette.css(palette.DARK)
    return (
        f":root{{--sans:{FONT};--mono:{MONO};{light}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}{asset('report.css')}{_own_style()}"
    )


# Picture ---------------------------------------------------------------------------------------


def picture(sheet: Sheet) -> bytes:
    """The sheet as one PNG on light paper."""
    from PIL import Image, ImageDraw

    blocks = [_block(group) for group in sheet.groups]
    width = max(block.width for block in blocks) + 2 * GAP
    title = f"{sheet.study}, seed {sheet.seed}"
    height = HEAD + 2 * GAP + sum(block.height + GAP for block in blocks)
    whole = Image.new("RGB", (max(width, 360), height), palette.LIGHT["paper"])
    pen = ImageDraw.Draw(whole)
    pen.text((GAP, GAP), title, fill=palette.LIGHT["ink"], font=_font(17))
    top = GAP + HEAD
    for block in blocks:
        whole.paste(block, (GAP, top))
        top += block.height + GAP
    return _png(whole)


def _block(group: Group) -> Any:
    """One group of the picture."""
    from PIL import Image, ImageDraw

    if group.kind != "image":
        return _lines(group)
    cells = group.cells[:MAX_PICTURE_COLUMNS]
    parts = max(len(cell.label.split(" + ")) for row in cells for cell in row)
    wide, tall = SIDE + GAP, SIDE + parts * TEXT + GAP
    size = (len(cells) * wide + TITLE, TEXT + 8 + len(group.columns) * tall)
    block = Image.new("RGB", (max(size[0], 340), size[1]), palette.LIGHT["paper"])
    pen = ImageDraw.Draw(block)
    pen.text((0, 0), _short(group.title(), 60), fill=palette.LIGHT["ink"], font=_font(14))
    for place, title in enumerate(group.columns):
        top = TEXT + 8 + place * tall
        pen.text((0, top + SIDE // 2 - 8), title, fill=palette.LIGHT["ink-3"], font=_font(12))
        for sample, row in enumerate(cells):
            left, cell = TITLE + sample * wide, row[place]
            if cell.pixels is not None:
                block.paste(_enlarged(cell.pixels), (left, top))
            for line, part in enumerate(cell.label.split(" + ")):
                label = _short(f"+ {part}" if line else part, 17)
                at = (left, top + SIDE + 1 + line * (TEXT - 2))
                pen.text(at, label, fill=palette.LIGHT["ink-2"], font=_font(11))
    return block


def _lines(group: Group) -> Any:
    """Numbers and texts as lines of text."""
    from PIL import Image, ImageDraw

    names = group.names[:8]
    lines = [_short(group.title(), 100), "  ".join(_short(name, 12).rjust(12) for name in names)]
    for row, cells in zip(group.rows, group.cells, strict=True):
        for title, cell in zip(group.columns, cells, strict=True):
            values = np.ravel([] if cell.values is None else cell.values)[: len(names) or 8]
            shown = "  ".join(units.short(float(value)).rjust(12) for value in values)
            lines.append(f"{row} {title} {cell.label}: {shown}{_short(cell.text, 90)}")
    font = _font(12)
    block = Image.new("RGB", (1100, (TEXT + 3) * len(lines) + 4), palette.LIGHT["paper"])
    pen = ImageDraw.Draw(block)
    for place, line in enumerate(lines):
        ink = palette.LIGHT["ink" if place == 0 else "ink-2"]
        pen.text((0, place * (TEXT + 3)), line.replace("\n", " "), fill=ink, font=font)
    return block


def _as_image(pixels: Any) -> Any:
    from PIL import Image

    array = np.asarray(pixels, np.uint8)
    if array.shape[-1] == 3:
        return Image.fromarray(array)
    return Image.fromarray(array[..., 0])  # of other channels, the first


def _enlarged(pixels: Any) -> Any:
    """Whole pixels, no smoothing: what is there is what is seen."""
    from PIL import Image

    image = _as_image(pixels).convert("RGB")
    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX)


def _png(image: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@lru_cache(maxsize=8)
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)
