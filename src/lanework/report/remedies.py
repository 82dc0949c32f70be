"""Remedies that were tried, in words and on the page: what each did to the sick recipe beside which it was trained.

Reads the document that healing stores with a study (`lanework.api.heal`), plain values all the way. Must not import JAX.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from lanework.report import units
from lanework.report.facts import Facts, Metric, metric_named
from lanework.report.first import labelled_ticks
from lanework.report.html import bullets, sign, text

Row = Mapping[str, Any]

MARKS: Final = {
    "better": sign("good", "\u2713"),
    "worse": sign("bad", "\u00d7"),
    "failed": sign("bad", "\u00d7"),
    "none": sign("", "="),
    "unclear": sign("", "?"),
    "untested": sign("", "?"),
    "honest": sign("warn", "!"),
    "reference": sign("", "\u2022"),
}
NOTHING: Final = "Nothing found, nothing to heal."
ARROW: Final = "\u2192"


# ---- words -------------------------------------------------------------------------------------


def remedies_text(record: Row) -> str:
    """Everything that was found and tried, for a terminal.

    Args:
        record: What healing stored, see ``docs/reference/results.md``.
    """
    if not record["arms"]:
        return NOTHING
    blocks = ["\n".join(_arm_lines(arm, record)) for arm in record["arms"]]
    if record["untreated"]:
        names = units.listed(record["untreated"])
        blocks.append(f"Sick too, but nothing was tried yet for: {names}.")
    if record["file"]:
        blocks.append(f"Mended study: {record['file']}")
    return "\n\n".join(blocks)


def _arm_lines(arm: Row, record: Row) -> list[str]:
    lines = [str(arm["name"])]
    lines += [f"  {one['level']}  {one['title']}: {one['sentence']}" for one in arm["causes"]]
    lines += [f"  by hand: {one['title']}. {one['summary']}" for one in arm["by_hand"]]
    if not arm["tried"]:
        return [*lines, "  No remedy of these is a setting of this study, so nothing was tried."]
    shown = strongest(arm["tried"])
    lines += [f"  {one['label']}: {effect_text(arm, one, record)}" for one in shown]
    return [*lines, f"  {best_text(arm)}"]


def best_text(arm: Row) -> str:
    """Which remedy to take, or that none is certain."""
    if arm["best"] is None:
        return "No remedy certainly helped, so none is recommended."
    best = arm["tried"][arm["best"]]
    rest = f" Still found then: {units.listed(_titles(best['left']))}." if best["left"] else ""
    return f"Best: {best['label']}.{rest}"


def strongest(tried: Sequence[Row]) -> list[Row]:
    """Each remedy once, at the strength that did most for the metric, in the order in which they were tried.

    The recipe as it was is left out: it is what the others are compared with.
    """
    groups: dict[tuple[str, ...], list[Row]] = {}
    for one in tried:
        if one["verdict"] != "reference":
            groups.setdefault(tuple(one["remedies"]), []).append(one)
    return [max(same, key=_gain) for same in groups.values()]


def _gain(one: Row) -> float:
    mean = float(one["gain"])
    return mean if math.isfinite(mean) else -math.inf


def effect_text(arm: Row, one: Row, record: Row) -> str:
    """What one remedy did: before, after, the paired difference with its interval, and how sure that is."""
    metric, against = metric_of(record), reference(arm, one)
    noun = _noun(record)
    parts = [*_diverged(one, against), *_values(metric, one, against)]
    pair = one["difference"]
    count = pair["num_values"] if pair else 0
    if pair and math.isfinite(pair["low"]) and one["value"]["num_values"] and against["value"]["num_values"]:  # fmt: skip
        parts.append(
            f"{_gap(metric, one)} {_range(metric, pair)} over {units.counted(count, noun)}"
        )
    said = _said(one, noun)
    return f"{said}{': ' if said else ''}{', '.join(parts)}"


def _diverged(one: Row, against: Row) -> list[str]:
    if one["num_diverged"] == against["num_diverged"] == 0:
        return []
    before = f"{against['num_diverged']} of {against['num_runs']}"
    return [f"diverged in {before} {ARROW} {one['num_diverged']} of {one['num_runs']}"]


def _values(metric: Metric, one: Row, against: Row) -> list[str]:
    """Means before and after, as far as runs finished."""
    after, before = one["value"], against["value"]
    if not after["num_values"]:
        return []
    if not before["num_values"]:
        bounds = _range(metric, after)
        return [f"{metric.label} {metric.text(after['mean'])} {bounds}".strip()]
    return [f"{metric.label} {metric.text(before['mean'])} {ARROW} {metric.text(after['mean'])}"]


def _range(metric: Metric, interval: Row) -> str:
    if not math.isfinite(interval["low"]):
        return ""
    low, high = interval["low"] * metric.factor, interval["high"] * metric.factor
    return f"[{units.fixed(low, metric.decimals)}, {units.fixed(high, metric.decimals)}]"


def _said(one: Row, noun: str) -> str:
    """How sure an effect is; nothing where it is a certain gain, which speaks for itself."""
    if one["verdict"] == "unclear":
        more = one["more_seeds"]
        seeds = f" (about {units.counted(more, f'more {noun}')} would tell)" if more else ""
        return f"cannot be told from no effect{seeds}"
    return {
        "better": "",
        "worse": "makes it worse",
        "none": "no effect",
        "untested": f"not tested, one {noun}",
        "failed": "does not help",
        "honest": "what the score really is",
        "reference": "",
    }[str(one["verdict"])]


def change_text(change: Row) -> str:
    """One setting before and after, for example ``train.learning_rate: 1 \u2192 0.001``."""
    return f"{change['path']}: {_plain(change['from'])} {ARROW} {_plain(change['to'])}"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key}: {_plain(item)}" for key, item in value.items() if key != "name")
        name = str(value.get("name", ""))
        return f"{name} ({inner})" if name and inner else name or f"{{{inner}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_plain(item) for item in value)}]"
    return "not given" if value is None else units.scalar(value)


def _titles(found: Sequence[Row]) -> list[str]:
    return [str(one["title"]).lower() for one in found]


def reference(arm: Row, one: Row) -> Row:
    """What a trial was compared with: the recipe as it was, or without what made its score too good."""
    return arm["tried"][one["against"]]


def metric_of(record: Row) -> Metric:
    """The metric that effects are told in."""
    known = record["metric"]
    base = metric_named(known["name"], unit=known["unit"])
    return replace(base, decimals=known["decimals"])


# ---- the page ----------------------------------------------------------------------------------


def remedies(facts: Facts) -> str:
    """For each sick recipe what was found, and a table of what its remedies did; nothing where none was looked for."""
    record = facts.remedies
    if not record or not record["arms"]:
        return ""
    file = ""
    if record["file"]:
        name = text(str(record["file"]))
        file = f'<p class="small">The study with the best remedies in it: <code>{name}</code>, beside this report.</p>'
    return "".join(_arm(arm, record) for arm in record["arms"]) + file


def _arm(arm: Row, record: Row) -> str:
    causes = bullets(
        f"{one['title']} ({one['level']}, {one['num_runs']} of {one['of_runs']} runs): {one['sentence']}"
        for one in arm["causes"]
    )
    hand = bullets(f"By hand: {one['title']}. {one['summary']}" for one in arm["by_hand"])
    head = f"<h3>{text(str(arm['name']))}</h3>{causes}{hand}"
    if not arm["tried"]:
        return f'{head}<p class="small">No remedy of these is a setting of this study, so nothing was tried.</p>'
    shown = strongest(arm["tried"])
    low, high = _scale(shown)
    metric = metric_of(record)
    rows = "".join(_row(arm, one, record, low, high) for one in shown)
    return (
        f'{head}<table class="league remedies"><thead><tr><th scope="col">Remedy</th><td></td>'
        f'<th scope="col" class="n">{text(units.sentence(metric.label.split(" ", 1)[-1]).rstrip("."))}</th>'
        f'<th scope="col">Effect</th></tr></thead><tbody>{_first_row(arm, metric)}{rows}{_axis(metric, low, high)}</tbody></table>'
        f"<p>{text(best_text(arm))}</p>"
    )


def _first_row(arm: Row, metric: Metric) -> str:
    sick = arm["tried"][0]
    return (
        f'<tr><th scope="row" class="name">{text(str(sick["label"]))}</th><td class="glyph"></td>'
        f'<td class="n">{text(_value(metric, sick))}</td><td class="verdict small">{text(_lost(sick))}</td></tr>'
    )


def _lost(one: Row) -> str:
    parts = []
    if one["num_diverged"]:
        parts.append(f"{one['num_diverged']} of {one['num_runs']} runs diverged")
    if one["num_at_chance"]:
        parts.append(f"{one['num_at_chance']} of {one['num_runs']} no better than guessing")
    return ", ".join(parts)


def _value(metric: Metric, one: Row) -> str:
    return metric.text(one["value"]["mean"]) if one["value"]["num_values"] else units.MISSING


def _row(arm: Row, one: Row, record: Row, low: float, high: float) -> str:
    metric = metric_of(record)
    is_best = arm["best"] is not None and arm["tried"][arm["best"]] is one
    weight = "b" if is_best else "span"
    changes = "; ".join(change_text(change) for change in one["changes"])
    same = [other for other in arm["tried"] if other["remedies"] == one["remedies"]]
    best_of = f" Best of {len(same)} strengths." if len(same) > 1 else ""
    lost = _lost(one)
    return (
        f'<tr><th scope="row" class="name">{MARKS[one["verdict"]]} <{weight}>{text(str(one["label"]))}</{weight}>'
        f"<small>{text(changes)}.{best_of}</small></th>"
        f'<td class="glyph">{_glyph(one, low, high)}</td>'
        f'<td class="n"><{weight}>{text(_value(metric, one))}</{weight}></td>'
        f'<td class="verdict">{_verdict(metric, one, record)}'
        f"{f'<br><span class=small>{text(lost)}</span>' if lost else ''}</td></tr>"
    )


def _verdict(metric: Metric, one: Row, record: Row) -> str:
    """How sure it is, and the change with its interval; a certain gain is its number."""
    said, gap = _said(one, _noun(record)), _gap(metric, one)
    if not said:
        return f"<b>{text(gap)}</b> {text(_range(metric, one['difference']))}"
    return f'{text(said)}<br><span class="small">{text(gap)} {text(_range(metric, one["difference"]))}</span>'


def _gap(metric: Metric, one: Row) -> str:
    mean = one["difference"]["mean"]
    return metric.difference_text(mean, is_signed=True) if math.isfinite(mean) else ""


def _noun(record: Row) -> str:
    return "fold" if record["is_folded"] else "seed"


def _scale(shown: Sequence[Row]) -> tuple[float, float]:
    """Range of the differences, zero included."""
    ends = [0.0]
    for one in shown:
        pair = one["difference"]
        ends += [pair[key] for key in ("mean", "low", "high") if math.isfinite(pair[key])]
    low, high = min(ends), max(ends)
    air = (high - low) * 0.06 or 0.01
    return low - air, high + air


def _glyph(one: Row, low: float, high: float) -> str:
    pair = one["difference"]

    def at(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    zero = f'<i class="zero" style="left:{at(0.0)}%"></i>'
    if not math.isfinite(pair["mean"]):
        return f'<div class="glyph-box" aria-hidden="true">{zero}</div>'
    colour = {"better": "var(--good)", "worse": "var(--bad)", "failed": "var(--bad)"}.get(
        str(one["verdict"]), "var(--ink-3)"
    )
    bar = ""
    if math.isfinite(pair["low"]):
        left, right = at(pair["low"]), at(pair["high"])
        bar = (
            f'<i class="ci" style="left:{left}%;width:{right - left:.2f}%;background:{colour}"></i>'
        )
    dot = f'<i class="dot" style="left:{at(pair["mean"])}%;background:{colour}"></i>'
    return f'<div class="glyph-box" aria-hidden="true">{zero}{bar}{dot}</div>'


def _axis(metric: Metric, low: float, high: float) -> str:
    factor = metric.factor
    ticks, labels = labelled_ticks(low * factor, high * factor)
    marks = "".join(
        f'<span style="left:{100 * (tick / factor - low) / (high - low):.2f}%">{label}</span>'
        for tick, label in zip(ticks, labels, strict=True)
    )
    unit = "points" if metric.is_fraction else metric.unit
    return (
        f'<tr class="scale-row" aria-hidden="true"><td class="name small">{text(f"Change of {metric.label} {unit}".strip())}</td>'
        f'<td class="glyph"><div class="scale">{marks}</div></td><td class="n"></td><td class="verdict"></td></tr>'
    )
