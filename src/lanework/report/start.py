"""The section that shows what weights start from and how signals pass through the networks at first.

Imports nothing but the report's own helpers; the numbers were measured when the study ran.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from lanework.report import units
from lanework.report.html import Cell, Column, bullets, table, text

FACTOR: Final = 100.0  # a variance that changes by this much over the depth is called so
DEAD: Final = 1e-12


def start(found: Sequence[Mapping[str, Any]]) -> str:
    """Sentences on the initial weights, and a table of variances by layer for each network.

    Args:
        found: What was recorded of each network.

    Returns:
        HTML; empty for a study without such records.
    """
    if not found:
        return ""
    is_alone = len(found) == 1
    sentences = [
        one["why"] if is_alone else f"{units.sentence(one['label']).rstrip('.')}: {one['why']}"
        for one in found
    ]
    tables = "".join(_table(one, index, is_open=len(found) <= 4) for index, one in enumerate(found))
    return bullets(dict.fromkeys(sentences)) + tables


def _table(one: Mapping[str, Any], index: int, *, is_open: bool) -> str:
    signals = one.get("signals")
    if not isinstance(signals, Mapping) or not signals.get("layers"):
        return ""
    columns = [
        Column("Layer"),
        *(Column(label, True) for label in ("Outputs", "After activation", "Gradient")),
    ]
    rows = [
        ("", [Cell(text(name)), *(Cell(_number(value), _key(value), True) for value in values)])
        for name, *values in zip(
            *(signals[key] for key in ("layers", "output", "activation", "gradient")), strict=True
        )
    ]
    label = f"Variance by layer at the start, {one['label']}"
    body = table(columns, rows, name=f"start-{index}", label=label)
    said = f"<p>{text(verdict(signals))}</p>"
    opened = " open" if is_open else ""
    return f"<details{opened}><summary>{text(label)}</summary>{said}{body}</details>"


def verdict(signals: Mapping[str, Any]) -> str:
    """What the variances say, in a sentence or two.

    Args:
        signals: Variances by layer.

    Example:
        >>> verdict(
        ...     {
        ...         "layers": ["a", "b"],
        ...         "output": [1.0, 1.0],
        ...         "activation": [1.0, 1.0],
        ...         "gradient": [1.0, 1.0],
        ...     }
        ... )
        'Signals and gradients keep their size over the depth.'
    """
    forward, back = signals["activation"][:-1], signals["gradient"][:-1]
    hidden_back = signals["gradient"]
    if any(value is None or value != value for value in (*forward, *hidden_back)):
        return "Some variances are not finite numbers: signals overflow before the first step."
    said = []
    if forward and max(forward) <= DEAD:
        said.append(
            "No hidden layer gives anything but a constant: every sample looks the same to the output layer."
        )
    elif forward:
        said.append(_trend("Signals", forward[0], forward[-1], where="the last hidden layer"))
    if back and max(back) <= DEAD:
        said.append("No gradient reaches the hidden layers: they cannot learn.")
    elif back:
        said.append(_trend("Gradients", back[-1], back[0], where="the first layer"))
    kept = [sentence for sentence in said if sentence]
    return " ".join(kept) or "Signals and gradients keep their size over the depth."


def _trend(what: str, begin: float, end: float, *, where: str) -> str:
    if begin <= DEAD and end <= DEAD:
        return ""
    if end * FACTOR < begin:
        return f"{what} die out: their variance at {where} is {_share(end, begin)} of what it was."
    if end > begin * FACTOR:
        return f"{what} explode: their variance at {where} is {end / max(begin, 1e-300):.2g} times what it was."
    return ""


def _share(end: float, begin: float) -> str:
    return "nothing" if end <= 0 else f"{end / begin:.1g}"


def _number(value: Any) -> str:
    return "\u2013" if value is None else f"{float(value):.3g}"


def _key(value: Any) -> float | str:
    return "" if value is None or value != value else float(value)
