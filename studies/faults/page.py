"""The page about the fault zoo, docs/faults.md, from the numbers of one draw or several. Writes Markdown; trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from scipy import stats

from studies.faults.zoo import UNMENDED

__all__ = ["page"]

BARS: Final = (
    ("named_share", "planted cause among the first two findings (runs)", "at least", 0.95),
    ("early_share", "first correct verdict within 20 % of training (runs)", "at least", 0.80),
    ("healthy_fail_share", "healthy runs with any finding at level fail", "at most", 0.02),
    ("healthy_warn_share", "healthy runs with any finding at level warn", "at most", 0.05),
    ("best_mends_share", "sick studies brought back within 2 points of their twin by the first remedies", "at least", 0.90),
    ("random_mends_share", "the same by as many random changes of as many settings", "", None),
    ("first_mends_share", "the same by the very first remedy alone", "", None),
    ("both_share", "of two planted causes, both named (runs)", "", None),
    ("gate_healthy_fail_share", "healthy studies of which `lanework check` fails anything", "at most", 0.02),
    ("gate_healthy_warn_share", "healthy studies of which `lanework check` warns", "at most", 0.05),
    ("gate_told_share", "faulty studies of which `lanework check` says anything", "", None),
    ("at_start_share", "named from settings and data alone, before the first record (runs)", "", None),
)  # fmt: skip


def page(draws: Sequence[Mapping[str, Any]]) -> str:
    """The page.

    Args:
        draws: What `python -m studies.faults` wrote for each seed, see `studies.faults.__main__`.
    """
    parts = [_head(draws), _bars(draws), *(_draw(one) for one in draws)]
    return "\n".join(parts)


def _head(draws: Sequence[Mapping[str, Any]]) -> str:
    of_size: dict[str, list[str]] = {}
    for one in draws:
        told = f"{one['counts']['faults']} faults and {one['counts']['healthy']} healthy studies"
        of_size.setdefault(told, []).append(str(one["seed"]))
    sizes = "; ".join(f"{told} with seed {', '.join(seeds)}" for told, seeds in of_size.items())
    left_out = "; ".join(f"`{cause}` ({why})" for cause, why in UNMENDED.items())
    return f"""# The fault zoo

Studies with planted faults and healthy studies of the same kinds, drawn by parameters (cause, place, strength, seed) from the tables
in `studies/faults/`: {sizes}; two runs of each. Tables, images, sequences and a time series; multi-layer perceptrons, a small
convolutional network, a small ResNet, GRU and LSTM. `make faults` trains them all, calls the rules on what was stored (they see
records and nothing else), trains the first remedies beside as many random changes, and writes this page; `python -m studies.faults
--seed N` draws fresh ones. Each study is an ordinary file in `runs/faults/seed-N/`, with its data.

**What it can show.** The faults are planted, one or two at a time, in small problems whose healthy form is known; the words for the
causes and the faults come from the same people. Real programs are messier: published tools that find nearly every fault of their
own making find about 80 % of real ones, name the right cause in about half, and raise alarms on 36 % to 100 % of healthy models.
Every miss and every false alarm of these draws is listed below. Many planted faults stand in the settings (an output activation, a
summed loss, samples in order): rules that read settings name them before the first step, which counts as early; the last row of the
table says how many those are. `non_finite_data` cannot be planted: such data is refused or filled in before training. `plateau` is a
symptom; it is accepted where weights start too small.

**Remedies** are tried on one study of each row of the fault table, another one in each draw, and count where the fault hurts: where
the sick study is more than 2 points (validation accuracy or R2) below its healthy twin. Beside them as many random recipes are
trained; each changes as many settings as its remedy does, any setting that remedies touch being as likely as any other. Left out,
because no setting brings their metric back: {left_out}.
"""


def _bars(draws: Sequence[Mapping[str, Any]]) -> str:
    seeds = "".join(f" seed {one['seed']}{_role(one)} |" for one in draws)
    lines = [f"| | bar |{seeds}", "|---|---|" + "---|" * len(draws)]
    for name, what, word, bar in BARS:
        values = [one["counts"].get(name) for one in draws]
        if bar is None and all(value is None for value in values):
            continue
        told = "" if bar is None else f"{word} {_percent(bar)}"
        cells = [_percent(value) + _verdict(value, word, bar) for value in values]
        lines.append(f"| {what} | {told} | " + " | ".join(cells) + " |")
    return "\n".join(["## Numbers", "", *lines, ""])


def _verdict(value: float | None, word: str, bar: float | None) -> str:
    """Nothing where a bar is met."""
    if value is None or bar is None:
        return ""
    is_met = value >= bar if word == "at least" else value <= bar
    return "" if is_met else " (**missed**)"


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
    if one.get("gate"):
        lines += ["", "### The check before training, on healthy studies", "", *_gate(one, cases)]
    if one["mendings"]:
        lines += ["", "### Remedies", "", *_remedies(one["mendings"])]
    return "\n".join([*lines, ""])


def _gate(one: Mapping[str, Any], cases: Mapping[str, Mapping[str, Any]]) -> list[str]:
    alarms = {
        name: told for name, told in one["gate"].items() if told and not cases[name]["planted"]
    }
    return [
        f"- `{name}`: {', '.join(f'{item} ({level})' for item, level in told.items())}"
        for name, told in alarms.items()
    ] or ["Nothing."]


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


def _against_chance(rows: Sequence[Mapping[str, Any]]) -> str:
    """Remedies and random changes on the same sick studies: a sign test over those that only one of them mends."""
    sick = [row for row in rows if row["hurts"]]
    ours = sum(row["best_mends"] and not row["random_mends"] for row in sick)
    theirs = sum(row["random_mends"] and not row["best_mends"] for row in sick)
    both = sum(row["best_mends"] and row["random_mends"] for row in sick)
    told = (
        f"Of {len(rows)} studies the fault hurts {len(sick)}: {both} are mended by remedies and by random changes, "
        f"{ours} by remedies only, {theirs} by random changes only"
    )
    if not ours + theirs:
        return f"{told}."
    p = stats.binomtest(ours, ours + theirs).pvalue
    return f"{told} (sign test: p = {p:.2g})."


def _remedies(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        _against_chance(rows),
        "",
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
