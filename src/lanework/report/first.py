"""The first screen of the page: answer, figures in numbers, recipes, troubles, every run.

Drawn as HTML and CSS without a script, so that it is there at once and prints well.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from lanework.report import palette, units
from lanework.report.answers import Trouble, answer, is_too_few, p_text, standing_text
from lanework.report.facts import VERDICTS, ArmFacts, Facts, LevelFacts, RunFacts
from lanework.report.html import sign, swatch, text

MAX_LEAGUE: Final = 10
MAX_LANE_ROWS: Final = 14
DENSE_COLUMNS: Final = 12
MAX_AXIS_LETTERS: Final = 32
MARKS: Final = {
    "sick-fail": sign("bad", "\u00d7"),
    "sick-warn": sign("warn", "!"),
    "diverged": sign("bad", "\u00d7"),
    "failed": sign("bad", "\u00d7"),
    "chance": sign("warn", "?"),
    "healed": sign("warn", "+"),
    "incomplete": sign("", "\u2026"),
    "seeds": sign("", "i"),
    "clipping": sign("", "!"),
    "warning": sign("", "!"),
    "edge": sign("", "\u2192"),
    "ok": sign("good", "\u2713"),
    "stopped_early": sign("good", "\u25a0"),
}


def first_screen(facts: Facts) -> str:
    """The section that answers the study's question."""
    found = answer(facts)
    lead = " ".join(text(sentence) for sentence in found.lead)
    league, troubles = _league(facts), _trouble_list(facts, found.troubles)
    both = (
        f'<div class="two"><div>{league}</div><div>{troubles}</div></div>' if league else troubles
    )
    notes = f'<p class="about">{text(facts.notes)}</p>' if facts.notes else ""
    return (
        '<section id="answer" aria-labelledby="title">'
        f'<p class="eyebrow">{text(_eyebrow(facts))}</p>'
        f'<h1 id="title">{text(found.title)}</h1>'
        f'<p class="lead">{lead}</p>{notes}{_tiles(facts)}'
        f"{both}{_lanes(facts)}</section>"
    )


def _eyebrow(facts: Facts) -> str:
    recipes = units.counted(len(facts.arms), "recipe")
    seeds = units.counted(len(facts.seeds), "seed")
    if facts.folds is not None:
        seeds += f" \u00d7 {units.counted(facts.folds.number * facts.folds.repeats, 'fold')}"
    runs = units.counted(len(facts.runs), "run")
    parts = [
        facts.study,
        f"{recipes} \u00d7 {seeds} = {runs}"
        if len(facts.runs) == len(facts.arms) * facts.num_columns
        else runs,
    ]
    source = facts.data.get("source")
    return " \u00b7 ".join([*parts, f"data: {source}"] if source else parts)  # fmt: skip


# ---- numbers -------------------------------------------------------------------------------


def _tiles(facts: Facts) -> str:
    tiles = [*_result_tiles(facts), _trouble_tile(facts), _cost_tile(facts)]
    return f'<dl class="tiles">{"".join(tiles)}</dl>'


def _result_tiles(facts: Facts) -> list[str]:
    if not facts.levels or not facts.levels[0].place.interval.num_values:
        return []
    metric, best = facts.metric, facts.levels[0]
    interval = best.place.interval
    spread = (
        f"95\u202f% interval {metric.range_text(interval)}"
        if interval.num_values > 1
        else "one seed"
    )
    tiles = [_tile(f"Best {metric.label}", metric.text(interval.mean), spread)]
    ahead = _ahead(facts)
    if ahead:
        tiles.append(ahead)
    test = facts.arm(best.best).test
    if test.num_values:
        low_high = (
            f"95\u202f% interval {metric.range_text(test)}" if test.num_values > 1 else "one seed"
        )
        tiles.append(_tile("Test part, used once", metric.text(test.mean), low_high))
    return tiles


def _ahead(facts: Facts) -> str:
    others = [level for level in facts.levels[1:] if level.place.against_best is not None]
    if not others or others[0].place.against_best is None:
        return ""
    nearest = others[0]
    paired = others[0].place.against_best
    if not paired.difference.num_values:
        return ""
    gap = facts.metric.difference_text(abs(paired.difference.mean))
    words = {
        "tied": f"cannot be told with {units.counted(paired.difference.num_values, facts.noun)}"
        if is_too_few(nearest.place)
        else f"within {facts.noun} noise",
        "worse": f"more than {facts.noun} noise, {p_text(nearest.place.p_adjusted)}",
        "unsafe": "and fewer runs diverged",
        "untested": "not tested: one seed",
    }
    return _tile(f"Ahead of {nearest.label}", gap, words.get(nearest.place.standing, ""))


def _trouble_tile(facts: Facts) -> str:
    bad = sum(run.is_bad for run in facts.runs)
    chance = sum(run.verdict == "chance" for run in facts.runs)
    healed = sum(run.num_healed > 0 and not run.is_bad for run in facts.runs)
    total = units.count(len(facts.runs))
    if not bad and not chance:
        sub = f"{units.counted(healed, 'run')} healed on the way" if healed else "nothing diverged"
        return _tile("Went wrong", f"0 of {total}", sub, kind="good")
    parts = [f"{units.count(bad)} diverged"] if bad else []
    parts += [f"{units.count(chance)} {facts.verdict('chance').label}"] if chance else []
    parts += [f"{units.count(healed)} healed"] if healed else []
    return _tile(
        "Went wrong",
        f"{units.count(bad + chance)} of {total}",
        ", ".join(parts),
        kind="bad",
    )


def _cost_tile(facts: Facts) -> str:
    total = facts.timings.get("total_s", facts.timings.get("total"))
    shares = [run.seconds for run in facts.runs if run.seconds > 0]
    each = units.seconds(sum(shares) / len(shares)) if shares else ""
    shown = float(total) if isinstance(total, int | float) else sum(shares)
    return _tile("Whole study", units.seconds(shown), f"training {each} per run" if each else "")


def _tile(label: str, big: str, sub: str, *, kind: str = "") -> str:
    return (
        f'<div class="tile {kind}"><dt>{text(label)}</dt><dd><span class="big">{text(big)}</span>'
        f'<span class="sub">{text(sub)}</span></dd></div>'
    )


# ---- recipes side by side ------------------------------------------------------------------


def _league(facts: Facts) -> str:
    levels = [
        level for level in facts.levels if level.place.interval.num_values or level.place.num_bad
    ]
    if not any(level.place.interval.num_values for level in levels):
        return ""
    shown = levels[:MAX_LEAGUE]
    low, high = _league_scale(facts, shown)
    rows = "".join(_league_row(facts, level, low, high, index) for index, level in enumerate(shown))
    is_grouped = any(level.rate is not None for level in levels)
    title = "The recipes, best first" if len(levels) > 1 else "The recipe"
    title = "Each recipe at its best learning rate" if is_grouped else title
    more = ""
    if len(levels) > len(shown):
        more = f'<p class="small">{len(levels) - len(shown)} more in the <a href="#arms">table of recipes</a>.</p>'
    scale = _scale(facts, low, high)
    cut = " \u25c2 \u25b8: the bar goes on." if "ci-cut" in rows else ""
    how = "Dot: the single run."
    if facts.num_columns > 1:
        how = f"Dot: mean over {facts.noun}s. Bar: 95\u202f% interval. Ticks: single runs.{cut}"
        if len(levels) > 1:
            how += f" The verdict comes from a paired test over {facts.noun}s, corrected for all comparisons."
    return (
        f"<h2>{title}</h2>"
        f'<p class="small">{how}</p>'
        '<table class="league"><thead><tr><th scope="col">Recipe</th><td></td>'
        f'<th scope="col" class="n">{text(units.sentence(facts.metric.label.split(" ", 1)[-1]).rstrip("."))}</th>'
        f'<th scope="col">{"Against the best" if len(levels) > 1 else ""}</th></tr></thead><tbody>{rows}{scale}</tbody></table>{more}'
    )


def _league_scale(facts: Facts, levels: Sequence[LevelFacts]) -> tuple[float, float]:
    """Range of the drawing: all that is near the best; what is far off is marked at the rim."""
    known = [level.place.interval for level in levels if level.place.interval.num_values]
    if not known:
        return 0.0, 1.0
    best = known[0].mean
    widths = [i.high - i.mean if math.isfinite(i.high) else 0.0 for i in known]
    gaps = sorted(abs(i.mean - best) + w for i, w in zip(known, widths, strict=True))
    reach = max(4 * sorted(widths)[len(widths) // 2], 2.2 * gaps[len(gaps) // 2], 1e-9)
    near = [gap for gap in gaps if gap <= reach] or [reach]
    values = [
        run.value
        for level in levels
        for run in _runs_of(facts, level.best)
        if run.value is not None and abs(run.value - best) <= reach
    ]
    sign_ = 1.0 if facts.metric.direction == "max" else -1.0
    ends = [best - sign_ * max(near), best + sign_ * (widths[0] or 0.0), *values, best]
    low, high = min(ends), max(ends)
    air = (high - low) * 0.05 or abs(best) * 0.02 or 0.01
    return low - air, high + air


def _league_row(facts: Facts, level: LevelFacts, low: float, high: float, index: int) -> str:
    metric, place = facts.metric, level.place
    colour = palette.series(level.level)
    rate = (
        ""
        if level.rate is None
        else f"<small>learning rate {text(units.scalar(level.rate))}</small>"
    )
    value = metric.text(place.interval.mean) if place.interval.num_values else "\u2013"
    weight = "b" if index == 0 else "span"
    lost = (
        f'<br><span class="small">{place.num_bad} of {len(_runs_of(facts, level.best))} runs diverged</span>'
        if place.num_bad
        else ""
    )
    return (
        f'<tr><th scope="row" class="name">{swatch(colour)}<{weight}>{text(level.label)}</{weight}>{rate}</th>'
        f'<td class="glyph">{_glyph(facts, level, low, high, colour)}</td>'
        f'<td class="n"><{weight}>{text(value)}</{weight}></td>'
        f'<td class="verdict">{_standing(facts, level)}{lost}</td></tr>'
    )  # fmt: skip


def _standing(facts: Facts, level: LevelFacts) -> str:
    label, meaning = standing_text(level.place, noun=facts.noun)
    paired = level.place.against_best
    if len(facts.levels) == 1 and level.place.standing == "best":
        return ""
    if level.place.standing == "best":
        return f'<span class="chip" title="{text(meaning)}">{sign("good", chr(0x2713))}<b>best</b></span>'
    shown = ""
    if paired is not None and level.place.interval.num_values:
        shown = facts.metric.difference_text(paired.difference.mean, is_signed=True)
    if level.place.standing == "worse":
        return f'<span class="nowrap" title="{text(meaning)}">{text(shown)}</span>'
    more = f'<br><span class="small nowrap">{text(shown)}</span>' if shown else ""
    return f'<span title="{text(meaning)}">{text(label)}</span>{more}'


def _glyph(facts: Facts, level: LevelFacts, low: float, high: float, colour: str) -> str:
    interval = level.place.interval
    if not interval.num_values:
        return '<div class="glyph-box"></div>'

    def at(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    if not 0 <= at(interval.mean) <= 100:
        side, arrow = ("right", "{} \u25b8") if at(interval.mean) > 100 else ("", "\u25c2 {}")
        shown = arrow.format(facts.metric.text(interval.mean, has_unit=False))
        return f'<div class="glyph-box"><i class="off {side}">{text(shown)}</i></div>'
    pieces = []
    if math.isfinite(interval.low):
        left, right = max(at(interval.low), 0.0), min(at(interval.high), 100.0)
        pieces.append(
            f'<i class="ci" style="left:{left}%;width:{right - left:.2f}%;background:{colour};"></i>'
        )
        pieces += ['<i class="ci-cut">\u25c2</i>'] if at(interval.low) < 0 else []
        pieces += ['<i class="ci-cut right">\u25b8</i>'] if at(interval.high) > 100 else []
    pieces += [
        f'<i class="tick" style="left:{at(run.value)}%;background:{colour}"></i>'
        for run in _runs_of(facts, level.best)
        if run.value is not None and 0 <= at(run.value) <= 100
    ]
    pieces.append(f'<i class="dot" style="left:{at(interval.mean)}%;background:{colour}"></i>')
    return f'<div class="glyph-box" aria-hidden="true">{"".join(pieces)}</div>'


def _scale(facts: Facts, low: float, high: float) -> str:
    factor = facts.metric.factor
    ticks, labels = labelled_ticks(low * factor, high * factor)
    marks = "".join(
        f'<span style="left:{100 * (tick / factor - low) / (high - low):.2f}%">{label}</span>'
        for tick, label in zip(ticks, labels, strict=True)
    )
    unit = f" {facts.metric.unit}" if facts.metric.unit else ""
    return (
        f'<tr class="scale-row" aria-hidden="true"><td class="name small">{text(facts.metric.label + unit)}</td>'
        f'<td class="glyph"><div class="scale">{marks}</div></td><td class="n"></td><td class="verdict"></td></tr>'
    )


def labelled_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Round numbers inside of a range with labels, as many as have room side by side."""
    for parts in (4, 3, 2):
        ticks = _round_ticks(low, high, parts)
        labels = units.axis_labels(ticks)
        if sum(len(label) + 3 for label in labels) <= MAX_AXIS_LETTERS:
            return ticks, labels
    return ticks[:1] + ticks[-1:] * (len(ticks) > 1), labels[:1] + labels[-1:] * (len(ticks) > 1)


def _round_ticks(low: float, high: float, parts: int = 4) -> list[float]:
    """About `parts` round numbers inside of a range."""
    if not high > low:
        return []
    rough = (high - low) / parts
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough)
    first = math.ceil(low / step + 0.12)
    ticks = [round(step * number, 10) for number in range(first, first + 8)]
    return [tick for tick in ticks if tick <= high - (high - low) * 0.03]


def _runs_of(facts: Facts, arm: int) -> list[RunFacts]:
    return [run for run in facts.runs if run.arm == arm]


# ---- what went wrong -----------------------------------------------------------------------


def _trouble_list(facts: Facts, troubles: Sequence[Trouble]) -> str:
    title = "<h2>What went wrong, and where</h2>"
    if not troubles:
        total = units.counted(len(facts.runs), "run")
        every = (
            f"All {total} trained to their end"
            if len(facts.runs) > 1
            else "The run trained to its end"
        )
        still = ", none had to be healed"
        if any(run.value is not None for run in facts.runs):
            known = "all beat the mean" if facts.task == "regression" else "none stayed at chance"
            still = f"{still}, {known}"
        none = f" None diverged{still}." if len(facts.runs) > 1 else ""
        return (
            f'{title}<ul class="troubles"><li>{MARKS["ok"]}<strong>Nothing</strong>'
            f"<p>{every}.{none}</p></li></ul>"
        )
    items = "".join(
        f"<li>{MARKS[item.kind]}<strong>{text(item.title)}</strong><p>{text(item.text)}</p></li>"
        for item in troubles
    )
    return f'{title}<ul class="troubles">{items}</ul>'


# ---- every run as a square -----------------------------------------------------------------


def _lanes(facts: Facts) -> str:
    if len(facts.runs) < 2:
        return ""
    columns, rows = _lane_cells(facts)
    shown = rows[:MAX_LANE_ROWS]
    dense = " dense" if len(columns) > DENSE_COLUMNS or facts.num_columns > 10 else ""
    body = "".join(
        f'<tr><th scope="row">{text(label)}</th>{"".join(_lane_cell(facts, cell) for cell in cells)}</tr>'
        for label, cells in shown
    )
    heads = _lane_heads(columns)
    used = {run.verdict for run in facts.runs}
    key = "".join(
        f'<li><i class="{verdict}"></i>{text(facts.verdict(verdict).label)}</li>'
        for verdict in (
            "ok",
            "stopped_early",
            "healed",
            "diverged",
            "chance",
            "failed",
            "incomplete",
        )
        if verdict in used
    )
    rest = ""
    if len(rows) > len(shown):
        rest = f'<p class="small">The {len(shown)} best of {len(rows)} rows are shown.</p>'
    rate = facts.factor("rate")
    across = f" Columns: {rate.label}." if rate is not None and len(columns) > 1 else ""
    held = "the folds and seeds" if facts.folds else "the seeds"
    return (
        f'<div class="lanes{dense}"><h2>Every run</h2>'
        f'<p class="small">Each square is one run; a group holds {held} of one recipe.{text(across)}</p>'
        f'<div class="lanes-scroll" tabindex="0" role="region" aria-label="Outcome of every run"><table style="--n:{_squares_across(facts.num_columns)}">{heads}<tbody>{body}</tbody></table></div>'
        f'<ul class="key">{key}</ul>{rest}</div>'
    )  # fmt: skip


def _squares_across(num_seeds: int) -> int:
    rows = math.ceil(num_seeds / 6)
    return math.ceil(num_seeds / rows)


def _lane_cells(facts: Facts) -> tuple[list[str], list[tuple[str, list[list[RunFacts]]]]]:
    """Rows are levels and columns learning rates; without levels, one row of recipes."""
    by_arm: dict[int, list[RunFacts]] = defaultdict(list)
    for run in facts.runs:
        by_arm[run.arm].append(run)
    arms = {arm.arm: arm for arm in facts.arms}
    rate = facts.factor("rate")
    if rate is None or any(rate.key not in arm.factors for arm in facts.arms):
        return [""], [(level.label, [by_arm[level.best]]) for level in facts.levels]
    columns = [units.scalar(value) for value in rate.values]
    is_grouped = len(facts.levels) < len(facts.arms)
    groups = (
        [(level.label, [arms[arm] for arm in level.arms]) for level in facts.levels]
        if is_grouped
        else [("every recipe", list(arms.values()))]
    )
    return columns, [(label, _by_rate(own, rate.key, rate.values, by_arm)) for label, own in groups]


def _by_rate(
    own: Sequence[ArmFacts], key: str, values: Sequence[Any], by_arm: dict[int, list[RunFacts]]
) -> list[list[RunFacts]]:
    found: dict[Any, list[RunFacts]] = defaultdict(list)
    for arm in own:
        found[arm.factors[key]] += by_arm[arm.arm]
    return [found[value] for value in values]


def _lane_heads(columns: Sequence[str]) -> str:
    if len(columns) < 2:
        return ""
    every = max(1, math.ceil(len(columns) / 10))
    cells = "".join(
        f'<th scope="col"{"" if every == 1 else f" colspan={min(every, len(columns) - index)}"}>{text(label)}</th>'
        for index, label in enumerate(columns)
        if index % every == 0
    )
    return f"<thead><tr><td></td>{cells}</tr></thead>"


def _lane_cell(facts: Facts, runs: Sequence[RunFacts]) -> str:
    squares = "".join(
        f'<i class="{run.verdict}" title="{text(run.arm_label)}, seed {run.seed}: {facts.verdict(run.verdict).label}"></i>'
        if run.verdict in VERDICTS
        else "<i></i>"
        for run in runs
    )
    return f'<td><div class="cell">{squares}</div></td>'
