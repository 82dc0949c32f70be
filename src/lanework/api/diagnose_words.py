"""What `lanework diagnose` prints below its findings: where runs were lost, the gate, remedies that were tried, layers.

Owns the words; what they tell was recorded or judged elsewhere. Imports no JAX.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from lanework.health.findings import LEVELS
from lanework.health.records import RunRecord
from lanework.report import check as check_page
from lanework.report.health_facts import first_lost
from lanework.report.remedies import remedies_text
from lanework.report.units import counted, short

__all__ = ["check_text", "layers_text", "lost_lines", "tried_text"]

COLUMNS: Final = {
    "grad_norm": "gradient",
    "param_norm": "weights",
    "update_ratio": "step/weights",
    "activation_mean": "mean",
    "activation_std": "spread",
    "dead_share": "dead",
    "saturated_share": "saturated",
}
WIDTH: Final = 13


def lost_lines(records: Sequence[RunRecord]) -> list[str]:
    """What first was not finite in runs of a recipe, a sentence for each layer and the earliest of its steps."""
    found = []
    for record in records:
        for event in record.events:
            if event.data.get("layer"):
                found.append(event.data)
                break
    counts = Counter((one.get("first_not_finite"), one["layer"]) for one in found)
    lines = []
    for (what, layer), count in counts.most_common():
        same = [
            one for one in found if (one.get("first_not_finite"), one["layer"]) == (what, layer)
        ]
        said = first_lost(min(same, key=lambda one: one.get("at_step", 0)))
        runs = f" ({counted(count, 'run')})" if len(records) > 1 else ""
        lines.append(f"{said.rstrip('.')}{runs}.")
    return lines


def check_text(record: Mapping[str, Any]) -> str:
    """What the gate found before training, worst first; empty where it found nothing or was not asked."""
    items = [item for item in record.get("items") or () if item["level"] in LEVELS]
    if not items:
        return ""
    items.sort(key=lambda item: LEVELS.index(item["level"]))
    return "\n".join(["Found before training:", *check_page.lines(items, numbers=False)])


def tried_text(record: Mapping[str, Any]) -> str:
    """What remedies did; empty where none were tried."""
    return f"Remedies tried:\n{remedies_text(record)}" if record.get("arms") else ""


def layers_text(records: Iterable[RunRecord]) -> str:
    """The last record of the layers of some runs, a table each."""
    return "\n\n".join(filter(None, map(_table, records)))


def _table(record: RunRecord) -> str:
    shown = {name: record.layer(name) for name in COLUMNS if record.layer(name)}
    if not shown:
        return ""
    names = list(dict.fromkeys(name for table in shown.values() for name in table.names))
    width = max(len("layer"), *map(len, names))
    step = max(int(table.steps[-1]) for table in shown.values())
    head = "layer".ljust(width) + "".join(COLUMNS[name].rjust(WIDTH) for name in shown)
    lines = [f"Layers of {record.name}, run {record.run}, at step {step}:", head]
    for name in names:
        last = [
            table.values[-1, table.names.index(name)] if name in table.names else math.nan
            for table in shown.values()
        ]
        lines.append(name.ljust(width) + "".join(short(value).rjust(WIDTH) for value in last))
    return "\n".join(lines)
