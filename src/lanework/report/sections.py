"""The sections of the page below the first screen, each a function from facts to HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lanework.report import palette, units
from lanework.report.answers import standing_text
from lanework.report.curves import CurveFigure
from lanework.report.facts import VERDICTS, ArmFacts, FactorFacts, Facts, RunFacts, metric_named
from lanework.report.figures import Figure, Panel
from lanework.report.first import MARKS
from lanework.report.html import Cell, Column, bullets, definitions, swatch, table, text

MAX_COLUMNS_OPEN: Final = 24
MAX_EVENTS: Final = 500


def section(name: str, title: str, about: str, body: str) -> str:
    """A section with its heading; nothing when there is no body."""
    if not body:
        return ""
    words = f'<p class="about">{about}</p>' if about else ""
    return f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{text(title)}</h2>{words}{body}</section>'


# ---- charts --------------------------------------------------------------------------------


def figure(item: Figure) -> str:
    """A figure with places for its charts; the script draws them."""
    panels = "".join(
        _panel(panel, f"{item.name}-{index}", item) for index, panel in enumerate(item.panels)
    )
    body = panels if item.is_wide else f'<div class="panels">{panels}</div>'
    keys = "".join(
        f'<li><i style="background:{colour}"></i>{text(label)}</li>'
        for colour, label in item.legend
    )
    legend = f'<ul class="key">{keys}</ul>' if keys else ""
    return (
        f'<figure id="figure-{item.name}"><figcaption><h3>{text(item.title)}</h3>'
        f"<p>{text(item.caption)}</p></figcaption>{body}{legend}</figure>"
    )


def _panel(panel: Panel, name: str, item: Figure) -> str:
    label = f"{item.title}, {panel.label}" if panel.label else item.title
    chart = f'<div class="chart" data-chart="{name}" role="img" aria-label="{text(label)}"></div>'
    if not panel.label:
        return chart
    note = f'<span class="note">{text(panel.note)}</span>' if panel.note else ""
    return (
        f'<div class="panel"><h4>{swatch(panel.colour)}{text(panel.label)}{note}</h4>{chart}</div>'
    )


def curves(item: CurveFigure, *, noun: str = "seed") -> str:
    """The learning curves with their controls; `noun` is what lines are means over."""
    metrics = "".join(
        f'<button type="button" data-metric="{text(metric.name)}" aria-pressed="{str(index == 0).lower()}">'
        f"{text(metric.label)}</button>"
        for index, metric in enumerate(item.metrics)
    )
    choices = ""
    if len(item.choices) > 1:
        options = "".join(
            f'<option value="{text(choice.name)}">{text(choice.label)}</option>'
            for choice in item.choices
        )
        choices = f'<label class="pick">Show <select id="curve-choice">{options}</select></label>'
    note = f" {item.note}" if item.note else ""
    return (
        f'<figure id="figure-curves"><figcaption><p>Lines are means over {noun}s, bands their 95\u202f% '
        "intervals. Drag to move, Ctrl + wheel to zoom, double click to go back; a \u00d7 marks the last value before every "
        f"{noun} diverged.{text(note)}</p></figcaption>"
        f'<div class="controls"><div class="seg" role="group" aria-label="Metric">{metrics}</div>{choices}'
        f'<button type="button" id="curve-seeds" aria-pressed="false">Single {noun}s</button>'
        '<div class="seg" role="group" aria-label="Zoom"><button type="button" data-zoom="all">Whole</button>'
        '<button type="button" data-zoom="in">Last half</button></div></div>'
        '<ul class="legend" id="curve-legend" aria-label="Lines; press to hide or show"></ul>'
        '<div class="chart" id="curve-chart" role="img" aria-label="Learning curves"></div></figure>'
    )


# ---- tables --------------------------------------------------------------------------------


def arms(facts: Facts) -> str:
    """The table of recipes, best first."""
    factors = [f for f in facts.factors if all(f.key in arm.factors for arm in facts.arms)]
    heads = [Column(units.sentence(f.label).rstrip("."), f.kind != "choice") for f in factors]
    columns = [
        Column("Rank", True),
        *(heads or [Column("Recipe")]),
        *(Column(label, True) for label in ("Mean", "95\u202f% interval", _against_head(facts))),
        Column("Verdict"),
        *(Column(label, True) for label in ("Test", "Diverged", "Healed", "Time")),
    ]
    rows = [(_arm_attributes(arm), _arm_cells(facts, arm, factors)) for arm in facts.arms]
    label = "Recipes with their results, best first"
    return _filter("arms-table", "Filter recipes", ()) + table(
        columns, rows, name="arms-table", label=label
    )


def _arm_attributes(arm: ArmFacts) -> str:
    return ' class="top-arm"' if arm.rank == 1 else ""


def _arm_cells(facts: Facts, arm: ArmFacts, factors: Sequence[FactorFacts]) -> list[Cell]:
    metric, place = facts.metric, arm.place
    mean = place.interval.mean if place.interval.num_values else None
    label, meaning = standing_text(place, noun=facts.noun)
    against = place.against_best.difference.mean if place.against_best else 0.0
    total = len(arm.runs)
    names = [_factor_cell(arm, factor, index) for index, factor in enumerate(factors)]
    return [
        Cell(str(arm.rank), arm.rank, True),
        *(names or [Cell(text(arm.label))]),
        Cell(text(metric.text(mean)), _key(mean), True),
        Cell(text(metric.range_text(place.interval)), _key(place.interval.low), True),
        Cell(text(_against_text(facts, arm)), _key(against), True),
        Cell(f'<span class="nowrap" title="{text(meaning)}">{text(label)}</span>'),
        Cell(text(metric.text(arm.test.mean) if arm.test.num_values else "\u2013"), _key(arm.test.mean), True),
        Cell(_count_of(arm.num_diverged, total), arm.num_diverged, True),
        Cell(_count_of(arm.num_healed, total), arm.num_healed, True),
        Cell(units.seconds(arm.seconds), arm.seconds, True),
    ]  # fmt: skip


def _against_head(facts: Facts) -> str:
    unit = "points" if facts.metric.is_fraction else facts.metric.unit
    return f"Against the best ({unit})" if unit else "Against the best"


def _against_text(facts: Facts, arm: ArmFacts) -> str:
    paired, metric = arm.place.against_best, facts.metric
    if paired is None or not arm.place.interval.num_values:
        return ""
    number = units.fixed(paired.difference.mean * metric.factor, metric.decimals, is_signed=True)
    return f"{number} {metric.range_text(paired.difference)}".strip()


def _factor_cell(arm: ArmFacts, factor: FactorFacts, index: int) -> Cell:
    value = arm.factors[factor.key]
    mark = swatch(palette.series(arm.level)) if index == 0 and factor.kind == "choice" else ""
    key = value if factor.kind != "choice" else None
    return Cell(
        f'<span class="nowrap">{mark}{text(units.scalar(value))}</span>',
        key,
        factor.kind != "choice",
    )


def _count_of(number: int, total: int) -> str:
    return f"{number} of {total}" if number else '<span class="dim">0</span>'


def runs(facts: Facts) -> str:
    """The table of runs."""
    metric = facts.metric
    train, test = f"train_{metric.quantity}", f"test_{metric.quantity}"
    columns = [
        Column("Run", True),
        Column("Recipe"),
        Column("Seed", True),
        *([Column("Fold", True)] if facts.folds else []),
        Column("Outcome"),
        *(Column(part, True) for part in ("Train", "Validation" if metric.part == "val" else "Result", "Test")),
        *(Column(label, True) for label in ("Best step", "Steps", "Healed", "Time")),
    ]  # fmt: skip
    levels = {arm.arm: arm.level for arm in facts.arms}
    rows = [
        (
            f' data-verdict="{text(run.verdict)}"',
            _run_cells(facts, run, train, test, levels[run.arm]),
        )
        for run in facts.runs
    ]
    used = [verdict for verdict in VERDICTS if any(run.verdict == verdict for run in facts.runs)]
    outcomes = [(verdict, facts.verdict(verdict).label) for verdict in used]
    filters = _filter("runs-table", "Filter runs", outcomes)
    meanings = "".join(
        f"<dt>{MARKS[v]} {text(facts.verdict(v).label)}</dt><dd>{text(facts.verdict(v).sentence)}</dd>"
        for v in used
    )
    body = table(columns, rows, name="runs-table", label="Every run")
    return f'{filters}{body}{_events(facts)}<details open><summary>What the outcomes mean</summary><dl class="facts">{meanings}</dl></details>'


def _events(facts: Facts) -> str:
    """What happened while training: healed, diverged, stopped, interrupted, resumed."""
    if not facts.events:
        return ""
    labels = {run.run: run.arm_label for run in facts.runs}
    heads = [Column("Step", True), Column("Run", True), Column("Recipe"), Column("What happened")]
    rows = [
        (
            "",
            [
                Cell(units.count(event.step), event.step, True),
                Cell("" if event.run is None else str(event.run), event.run, True),
                Cell(text(labels.get(event.run, "the whole study") if event.run is not None else "the whole study")),
                Cell(text(event.text or event.kind)),
            ],
        )
        for event in facts.events[:MAX_EVENTS]
    ]  # fmt: skip
    total = len(facts.events)
    note = f" (the first {MAX_EVENTS} are listed)" if total > MAX_EVENTS else ""
    body = table(heads, rows, name="events-table", label="What happened while training")
    return f"<details><summary>{units.counted(total, 'event')} while training{note}</summary>{body}</details>"


def _run_cells(facts: Facts, run: RunFacts, train: str, test: str, level: int) -> list[Cell]:
    label = facts.verdict(run.verdict).label
    value = run.value
    return [
        Cell(str(run.run), run.run, True),
        Cell(f'<span class="nowrap">{swatch(palette.series(level))}{text(run.arm_label)}</span>'),
        Cell(str(run.seed), run.seed, True),
        *([_fold_cell(run)] if facts.folds else []),
        Cell(f'<span class="chip">{MARKS.get(run.verdict, "")}{text(label)}</span>', label),
        _metric_cell(facts, run.metrics.get(train)),
        _metric_cell(facts, value),
        _metric_cell(facts, run.metrics.get(test)),
        Cell(units.count(run.best_step), run.best_step, True),
        Cell(units.count(run.steps), run.steps, True),
        Cell(str(run.num_healed) if run.num_healed else '<span class="dim">0</span>', run.num_healed, True),
        Cell(units.seconds(run.seconds), run.seconds, True),
    ]  # fmt: skip


def _fold_cell(run: RunFacts) -> Cell:
    """The fold, counted from 1 for the eye."""
    return Cell("\u2013" if run.fold is None else str(run.fold + 1), run.fold, True)


def _metric_cell(facts: Facts, value: float | None) -> Cell:
    return Cell(text(facts.metric.text(value)), _key(value), True)


def _key(value: float | None) -> float | str:
    return "" if value is None or value != value else round(value, 8)


def _filter(target: str, label: str, verdicts: Sequence[tuple[str, str]]) -> str:
    options = "".join(f'<option value="{code}">{text(word)}</option>' for code, word in verdicts)
    choice = (
        f'<label class="pick">Outcome <select><option value="">all</option>{options}</select></label>'
        if len(verdicts) > 1
        else ""
    )
    return (
        f'<div class="controls filter" data-filter="{target}"><label class="pick">{text(label)} '
        f'<input type="search" autocomplete="off"></label>{choice}<output class="small"></output></div>'
    )


# ---- data ----------------------------------------------------------------------------------

_KNOWN_DATA: Final = ("baseline", "columns", "classes", "decisions", "hints", "parts", "rows", "task", "source", "target", "num_columns", "input", "fingerprint", "folds")  # fmt: skip


def data(facts: Facts) -> str:
    """What the data is, what was guessed and what was decided."""
    several = [one for one in facts.datasets if one]
    return "".join(_dataset(one, index) for index, one in enumerate(several))


def _dataset(summary: Mapping[str, Any], index: int) -> str:
    target = summary.get("target")
    shown = {
        "source": summary.get("source"),
        "task": summary.get("task"),
        "rows": units.count(int(summary.get("rows") or 0)),
        "parts": _parts(summary.get("parts")),
        "target": target.get("name") if isinstance(target, Mapping) else target,
        "target_range": _target_range(target),
        "columns": summary.get("num_columns") or len(summary.get("columns") or ()),
        "input": _input(summary.get("input")),
        **{key: value for key, value in summary.items() if key not in _KNOWN_DATA},
        "guessing_reaches": _baseline(summary.get("baseline")),
        "fingerprint": str(summary.get("fingerprint") or "")[:16],
    }
    hints = summary.get("hints") or ()
    warnings = "<h3>Worth a look</h3>" + bullets(hints) if hints else ""
    decisions = summary.get("decisions") or ()
    decided = "<h3>What was decided</h3>" + bullets(decisions) if decisions else ""
    left = f"<div>{definitions(shown)}</div>"
    right = f"<div>{warnings}{decided}</div>" if warnings or decided else ""
    return f'<div class="grid3">{left}{right}</div>{_classes(summary, index)}{_columns(summary, index)}'


def _baseline(baseline: Any) -> str:
    values = baseline.get("val") if isinstance(baseline, Mapping) else None
    if not isinstance(values, Mapping):
        return ""
    known = [(metric_named(f"val_{name}"), value) for name, value in values.items()]
    return units.listed(
        f"{metric.text(float(value))} {metric.label}"
        for metric, value in known
        if isinstance(value, int | float)
    )


def _parts(parts: Any) -> str:
    if not isinstance(parts, Mapping):
        return ""
    return ", ".join(f"{units.count(int(size))} {name}" for name, size in parts.items())


def _target_range(target: Any) -> str:
    if not isinstance(target, Mapping) or "min" not in target:
        return ""
    low, high, mean, std = (
        units.short(float(target[key]), 4) for key in ("min", "max", "mean", "std")
    )
    return f"{low} to {high}, mean {mean}, standard deviation {std}"


def _input(value: Any) -> str:
    if not isinstance(value, Mapping):
        return ""
    shape = units.scalar(tuple(value.get("shape") or ()))
    kind = value.get("kind") or ""
    return f"{kind} {shape}".strip()


def _classes(summary: Mapping[str, Any], index: int) -> str:
    classes = [row for row in summary.get("classes") or () if isinstance(row, Mapping)]
    if not classes:
        return ""
    names = [key for key in classes[0] if key != "name"]
    largest = max(int(row.get(names[0]) or 0) for row in classes) or 1
    columns = [Column("Class"), *(Column(name, True) for name in names), Column("")]
    rows = [
        (
            "",
            [
                Cell(text(str(row.get("name")))),
                *(Cell(units.count(int(row.get(n) or 0)), int(row.get(n) or 0), True) for n in names),
                Cell(f'<div class="shares"><i style="width:{100 * int(row.get(names[0]) or 0) / largest:.1f}%"></i></div>'),
            ],
        )
        for row in classes
    ]  # fmt: skip
    body = table(
        columns,
        rows,
        name=f"classes-{index}",
        label="Rows of each class by part",
        is_sortable=False,
    )
    is_open = " open" if len(classes) <= 20 else ""
    return f"<details{is_open}><summary>{units.counted(len(classes), 'class', 'classes')}</summary>{body}</details>"


def _columns(summary: Mapping[str, Any], index: int) -> str:
    columns = [row for row in summary.get("columns") or () if isinstance(row, Mapping)]
    if not columns:
        return ""
    heads = [
        Column("Column"),
        Column("Kind"),
        Column("Why"),
        Column("Missing", True),
        Column("Distinct", True),
        Column("Values"),
    ]
    rows = [("", _column_cells(row)) for row in columns]
    total = int(summary.get("num_columns") or len(columns))
    note = f" (the first {len(columns)} are listed)" if total > len(columns) else ""
    body = table(heads, rows, name=f"columns-{index}", label="Columns of the data")
    is_open = " open" if len(columns) <= MAX_COLUMNS_OPEN else ""
    return f"<details{is_open}><summary>{units.counted(total, 'column')}{note}</summary>{body}</details>"


def _column_cells(row: Mapping[str, Any]) -> list[Cell]:
    why = str(row.get("reason") or ("guessed" if row.get("guessed") else "given in the study file"))
    missing, distinct = row.get("missing"), row.get("distinct")
    return [
        Cell(text(str(row.get("name")))),
        Cell(text(str(row.get("kind")))),
        Cell(text(why)),
        Cell(units.count(int(missing)) if missing is not None else "\u2013", missing, True),
        Cell(units.count(int(distinct)) if distinct is not None else "\u2013", distinct, True),
        Cell(text(_column_values(row))),
    ]


def _column_values(row: Mapping[str, Any]) -> str:
    levels = row.get("levels")
    if isinstance(levels, list):
        shown = ", ".join(f"{level} {units.count(int(number))}" for level, number in levels[:4])
        return shown + (", \u2026" if len(levels) > 4 else "")
    if "min" in row:
        low, high, mean = (units.short(float(row[key])) for key in ("min", "max", "mean"))
        return f"{low} to {high}, mean {mean}"
    return ""


# ---- plan, timings, machine, file ----------------------------------------------------------

_STAGES: Final[tuple[str, ...]] = ("import", "prepare", "measure", "compile", "train", "evaluate", "test", "export", "report")  # fmt: skip
_STAGE_COLOURS: Final = ("s4", "s3", "s5", "s1", "s0", "s2", "s2", "quiet", "quiet")


def plan(facts: Facts) -> str:
    """Buckets with what was chosen and why, then where the time went."""
    buckets = [row for row in facts.plan.get("buckets") or () if isinstance(row, Mapping)]
    body = ""
    if buckets:
        heads = [
            Column("Program", True),
            Column("Recipes"),
            Column("Runs", True),
            Column("Parameters", True),
            Column("Memory per run", True),
            Column("Layout"),
            Column("Why"),
        ]
        rows = [("", _bucket_cells(index, row)) for index, row in enumerate(buckets)]
        body = table(heads, rows, name="buckets", label="Compiled programs", is_sortable=False)
    rest = {
        key: v
        for key, v in facts.plan.items()
        if key not in ("buckets", "runs") and not isinstance(v, list)
    }
    return f"{body}{definitions(rest)}{_timings(facts)}"


def _bucket_cells(index: int, row: Mapping[str, Any]) -> list[Cell]:
    names = row.get("arms") or [row.get("label") or ""]
    recipes = text(str(names[0])) + (
        f' <span class="dim">and {len(names) - 1} more</span>' if len(names) > 1 else ""
    )
    strategy = row.get("strategy")
    layout = row.get("layout") or (strategy if isinstance(strategy, str) else "")
    parameters, memory = row.get("parameters"), row.get("lane_bytes", row.get("memory_bytes"))
    return [
        Cell(str(index + 1), index, True),
        Cell(recipes),
        Cell(units.count(int(row.get("runs") or 0)), None, True),
        Cell(units.count(int(parameters)) if parameters else "\u2013", None, True),
        Cell(units.num_bytes(float(memory)) if memory else "\u2013", None, True),
        Cell(text(str(layout))),
        Cell(text(str(row.get("why") or ""))),
    ]


def _timings(facts: Facts) -> str:
    times = {
        name.removesuffix("_s"): float(value)
        for name, value in facts.timings.items()
        if isinstance(value, int | float) and not name.endswith("_per_s")
    }
    total = times.pop("total", 0.0)
    stages = [(name, times.pop(name)) for name in _STAGES if name in times]
    stages += list(times.items())
    if not stages:
        return ""
    whole = sum(value for _, value in stages) or 1.0
    colours = dict(zip(_STAGES, _STAGE_COLOURS, strict=True))
    bar = "".join(
        f'<span style="width:{100 * value / whole:.2f}%;background:var(--{colours.get(name, "quiet")})" title="{text(units.words(name))} {units.seconds(value)}"></span>'
        for name, value in stages
        if value > 0
    )
    key = "".join(
        f'<li><i style="background:var(--{colours.get(name, "quiet")})"></i>{text(units.words(name))} {units.seconds(value)}</li>'
        for name, value in stages
    )
    shares = [run.seconds for run in facts.runs if run.seconds > 0]
    tests = [run.test_seconds for run in facts.runs if run.test_seconds > 0]
    rate = next(
        (value for name, value in facts.timings.items() if name.endswith("samples_per_s")), None
    )
    rest = {
        "total_s": total or None,
        "training_per_run_s": sum(shares) / len(shares) if shares else None,
        "testing_per_run_s": sum(tests) / len(tests) if tests else None,
        "speed": f"{units.metric_prefix(rate)} samples/s".replace(f"{units.THIN} ", " ")
        if isinstance(rate, int | float)
        else None,
    }
    return (
        '<h3 style="margin-top:1.5rem">Where the time went</h3><p class="about">Compiling goes on beside training, so the stages '
        f'may add up to more than the total.</p><div class="bar" aria-hidden="true">{bar}</div><ul class="key">{key}</ul>{definitions(rest)}'
    )


def machine(facts: Facts) -> str:
    """The machine and the versions of what ran on it."""
    plain = {key: value for key, value in facts.machine.items() if key != "versions"}
    versions = facts.machine.get("versions")
    if isinstance(versions, Mapping) and versions:
        plain["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    return definitions(plain)


def study_file(facts: Facts) -> str:
    """The study file as understood, with a button that copies it."""
    if not facts.text:
        return ""
    return (
        '<div class="copy-row"><p class="about">As understood, with every default filled in. Saved as <code>study.yaml</code>, '
        "it repeats the study.</p>"
        '<button type="button" class="copy" data-copy="study-text">Copy</button></div>'
        f'<pre tabindex="0" aria-label="Study file"><code id="study-text">{_coloured(facts.text)}</code></pre>'
    )


_LINE: Final = re.compile(r"^(\s*(?:- )?)([A-Za-z_][\w.-]*)(:)(?=\s|$)")


def _coloured(source: str) -> str:
    lines = []
    for line in source.rstrip("\n").split("\n"):
        found = _LINE.match(line)
        if line.lstrip().startswith("#"):
            lines.append(f'<span class="c">{text(line)}</span>')
        elif found:
            lines.append(
                f'{found[1]}<span class="k">{text(found[2])}</span>:{text(line[found.end() :])}'
            )
        else:
            lines.append(text(line))
    return "\n".join(lines)
