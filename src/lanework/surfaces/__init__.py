"""Update rules on 2-D surfaces: how they move, side by side.

Owns the surfaces, the race of rules over them, and its page and figure. Takes the rules from `lanework.recipes`; knows
nothing of studies, runs and data. JAX is imported only when something moves.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from lanework.errors import StoreError
from lanework.surfaces.functions import SURFACES, Surface, find, listing
from lanework.surfaces.requests import Entrant, Request, request

__all__ = [
    "SURFACES",
    "Drawn",
    "Entrant",
    "Request",
    "Surface",
    "draw",
    "find",
    "listing",
    "request",
]


class Drawn(NamedTuple):
    """What was written: a few lines for a terminal, and two files."""

    summary: str
    page: Path
    figure: Path


def draw(asked: Request, *, folder: Path) -> Drawn:
    """Let the rules run and write `NAME.html` and `NAME.svg`.

    Each file is written beside its target and renamed over it, so a reader never sees half.

    Args:
        asked: What is to be drawn.
        folder: Where; made if it does not exist.

    Raises:
        StoreError: The folder cannot be written.
    """
    from lanework.surfaces.figure import still
    from lanework.surfaces.page import page
    from lanework.surfaces.summary import summary
    from lanework.surfaces.trajectories import race

    came_out = race(asked)
    paths = [folder / f"{asked.surface.name}.{kind}" for kind in ("html", "svg")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in zip(paths, (page(came_out), still(came_out)), strict=True):
            beside = path.with_name(f".{path.name}.tmp")
            beside.write_text(content, encoding="utf-8")
            os.replace(beside, path)
    except OSError as error:
        text = f"{folder}: must be a folder that can be written, got: {error.strerror}. Give another with --out."
        raise StoreError(text) from None
    return Drawn(summary(came_out), *paths)
