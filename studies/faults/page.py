"""The page about the fault zoo, docs/faults.md, from the numbers of one draw or several. Writes Markdown; trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["page"]

BARS: Final = (
    ("named_share", "planted cause among the first two findings (runs)", "at least", 0.95),
    ("early_share", "first correct verdict within 20 % of training (runs)", "at least", 0.80),
    ("healthy_fail_share", "healthy runs with any finding at level fail", "at most", 0.02),
    ("healthy_warn_share", "healthy runs with any finding at level warn", "at most", 0.05),
    ("best_mends_share", "sick studies brought back within 2 points of their twin by the first remedies", "at least", 0.90),
    ("random_mends_share", "the same by as many random changes of one setting", "", None),
    ("first_mends_share", "the same by the very first remedy alone", "", None),
    ("both_share", "of two planted causes, both named (runs)", "", None),
)  # fmt: skip


def page(draws: Sequence[Mapping[str, Any]]) -> str:
    """The page.

    Args:
        draws: What `python -m studies.faults` wrote for each seed, see `studies.faults.__main__`.
    """
    parts = [_head(draws), _bars(draws), *(_draw(one) for one in draws)]
    return "\n".join(parts)


def _head(draws: Sequence[Mapping[str, Any]]) -> str:
    sizes = "; ".join(
        f"seed {one['seed']}: {one['counts']['faults']} faults and {one['counts']['healthy']} healthy studies"
        for one in draws
    )
    return f"""# The fault zoo

Studies with planted faults and healthy studies of the same kinds, drawn by parameters (cause, place, strength, seed) from the tables
in `studies/faults/`: {sizes}, two runs each. Tables, images, sequences and a time series; multi-layer perceptrons, a small
convolutional network, a small ResNet, GRU and LSTM. `make faults` trains them all, calls the rules on what was stored (they see
records and nothing else), trains the first remedies beside as many random changes, and writes this page; `python -m studies.faults
--seed N` draws fresh ones. Each study is an ordinary file in `runs/faults/seed-N/`, with its data.

**What it can show.** The faults are planted, one or two at a time, in small problems whose healthy form is known; the words for the
causes and the faults come from the same people. Real programs are messier: published tools that find nearly every fault of their
own making find about 80 % of real ones, name the right cause in about half, and raise alarms on 36 % to 100 % of healthy models.
Every miss and every false alarm of these draws is listed below. `non_finite_data` cannot be planted: such data is refused or filled
in before training. `plateau` is a symptom; it is accepted where weights start too small.
"""


def _bars(draws: Sequence[Mapping[str, Any]]) -> str:
    seeds = "".join(f" seed {one['seed']}{_role(one)} |" for one in draws)
    lines = [f"| | bar |{seeds}", "|---|---|" + "---|" * len(draws)]
    for name, what, word, bar in BARS:
        values = [one["counts"].get(name) for one in draws]
        if bar is None and all(value is None for value in values):
            continue
        told = "" if bar is None else f"{word} {_percent(bar)}"
        lines.append(f"| {what} | {told} | " + " | ".join(map(_percent, values)) + " |")
    return "\n".join(["## Numbers", "", *lines, ""])


def _role(one: Mapping[str, Any]) -> str:
    return f" ({one['role']})" if one.get("role") else ""


def _percent(value: float | None) -> str:
    return "not measured" if value is None else f"{100 * value:.1f} %"


def _draw(one: Mapping[str, Any]) -> str:
    readings = one["readings"]
    cases = {case["name"]: case for case in one["cases"]}
    missed = [r for r in readings if cases[r["case"]]["planted"] and not r["named"]]
    alarms = [r for r in readings if not cases[r["case"]]["planted"] and r["found"]]
    lines = [f"## Seed {one['seed']}", "", *_by_cause(one), ""]
    lines += ["### Misses", ""]
    lines += [f"- `{r['case']}` run {r['run']}: {_told(r['found'])}" for r in missed] or ["None."]
    lines += ["", "### False alarms", ""]
    lines += [f"- `{r['case']}` run {r['run']}: {_told(r['found'])}" for r in alarms] or ["None."]
    if one["mendings"]:
        lines += ["", "### Remedies", "", *_remedies(one["mendings"])]
    return "\n".join([*lines, ""])


def _told(found: Sequence[Sequence[Any]]) -> str:
    return (
        ", ".join(f"{code} ({level}, {confidence:.2f})" for code, level, confidence in found)
        or "nothing found"
    )


def _by_cause(one: Mapping[str, Any]) -> list[str]:
    planted = {case["name"]: case["planted"] for case in one["cases"] if case["planted"]}
    lines = [
        "| planted cause | studies | runs | named first or second | within 20 % |",
        "|---|---|---|---|---|",
    ]
    for cause in sorted(set(planted.values())):
        rows = [r for r in one["readings"] if planted.get(r["case"]) == cause]
        named, early = sum(r["named"] for r in rows), sum(r["early"] is not None for r in rows)
        studies = len({r["case"] for r in rows})
        lines.append(f"| {cause} | {studies} | {len(rows)} | {named} | {early} |")
    return lines


def _remedies(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "| study | twin | sick | best remedy | of | with it | best random change |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        mark = "" if row["best_mends"] else " **no**"
        lines.append(
            f"| `{row['case']}` | {_number(row['twin'])} | {_number(row['sick'])} | {row['remedy']} | {row['tried']} | "
            f"{_number(row['best'])}{mark} | {_number(row['random'])}{'' if row['random_mends'] else ' no'} |"
        )
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
