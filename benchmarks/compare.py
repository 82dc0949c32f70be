"""Compare two result files: `python benchmarks/compare.py BEFORE.json AFTER.json`.

One line per figure that both have; a change counts as more than noise when the ranges of the
repetitions do not overlap. Exits 1 when something of Lanework's got slower beyond noise.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from checks import checks, median, show

QUANTITIES = ("wall_s", "training_s", "peak_rss_bytes")


def span(contender: dict, quantity: str) -> tuple[float, float] | None:
    values = [
        row[quantity] for row in contender.get("repetitions", ()) if row.get(quantity) is not None
    ]
    return (min(values), max(values)) if values else None


def verdict(before: tuple[float, float], after: tuple[float, float]) -> str:
    if after[0] > before[1]:
        return "worse"
    return "better" if after[1] < before[0] else ""


def rows(before: dict, after: dict) -> list[tuple[str, str, str, float, float, str]]:
    """(case, contender, quantity, before, after, verdict) for everything in both files."""
    found = []
    for case in before["cases"]:
        old_case = before["cases"][case].get("contenders", {})
        new_case = after["cases"].get(case, {}).get("contenders", {})
        for name in (name for name in old_case if name in new_case):
            for quantity in QUANTITIES:
                spans = span(old_case[name], quantity), span(new_case[name], quantity)
                if spans[0] and spans[1]:
                    medians = median(old_case[name], quantity), median(new_case[name], quantity)
                    found.append((case, name, quantity, *medians, verdict(*spans)))
    return found


def header(before: dict, after: dict) -> list[str]:
    lines = []
    for key in ("date", "commit"):
        lines.append(f"{key:10s} {before[key]} -> {after[key]}")
    if before["machine"] != after["machine"]:
        lines.append("Different machines: compare ratios, not seconds.")
    changed = [
        f"{name} {before['versions'].get(name)} -> {version}"
        for name, version in after["versions"].items()
        if before["versions"].get(name) != version
    ]
    return [*lines, *(f"version    {text}" for text in changed), ""]


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__)
        return 2
    before, after = (json.loads(Path(name).read_text()) for name in sys.argv[1:])
    print("\n".join(header(before, after)))
    is_worse = False
    for case, name, quantity, old, new, said in rows(before, after):
        unit = "bytes" if quantity.endswith("bytes") else "s"
        change = 100 * (new / old - 1) if old else 0.0
        print(
            f"{case:7s} {name:20s} {quantity:15s} {show(old, unit):>10s} {show(new, unit):>10s} {change:+6.1f} % {said}"
        )
        is_worse |= said == "worse" and name.startswith("lanework")
    print()
    for old, new in zip(checks(before), checks(after), strict=True):
        if old.value is not None and new.value is not None:
            unit = old.bar.unit
            print(
                f"{old.bar.text:78s} {show(old.value, unit):>10s} -> {show(new.value, unit):>10s}"
            )
    return 1 if is_worse else 0


if __name__ == "__main__":
    sys.exit(main())
