"""The report of a study: facts, answers, figures, page and results.json. Must not import JAX."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["best_arm", "summary", "write"]


def write(folder: Path) -> Path:
    """Writes ``report.html`` and ``results.json`` into a study folder, from its records alone.

    Each file is written beside its target and renamed over it, so a reader never sees half.

    Args:
        folder: Folder that a study wrote; it may be unfinished.

    Returns:
        Path of ``report.html``.

    Raises:
        StoreError: The folder holds no readable records.
    """
    from lanework.report.facts import read_facts
    from lanework.report.page import page
    from lanework.report.results import results_json

    facts = read_facts(folder)
    _replace(Path(folder) / "results.json", results_json(facts))
    target = Path(folder) / "report.html"
    _replace(target, page(facts))
    return target


def summary(folder: Path) -> str:
    """The findings of a study as a few lines for a terminal.

    Args:
        folder: Folder that a study wrote.

    Raises:
        StoreError: The folder holds no readable records.
    """
    from lanework.report.answers import summary_lines
    from lanework.report.facts import read_facts
    from lanework.report.remedies import remedies_text

    facts = read_facts(folder)
    found = "\n".join(summary_lines(facts))
    if not facts.remedies or not facts.remedies["arms"]:
        return found
    return f"{found}\n\nRemedies tried:\n\n{remedies_text(facts.remedies)}"


def best_arm(folder: Path) -> int | None:
    """Number of the recipe that the report ranks first; None when no run of the study ended.

    Args:
        folder: Folder that a study wrote.

    Raises:
        StoreError: The folder holds no readable records.
    """
    from lanework.report.facts import read_facts

    levels = read_facts(folder).levels
    return levels[0].best if levels else None


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
