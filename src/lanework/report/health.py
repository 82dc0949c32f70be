"""The health section of the page: verdict cards with their evidence, and layers by time. Facts in, HTML and charts out."""

from __future__ import annotations

from typing import Final

from lanework.report import health_facts, sections, units
from lanework.report.facts import Facts
from lanework.report.figures import Figure, Panel
from lanework.report.health_evidence import evidence
from lanework.report.health_facts import Found
from lanework.report.health_maps import map_figure
from lanework.report.html import sign, text

MAX_CARDS: Final = 12
LOST: Final = ("divergence", "exploding_gradients", "rate_too_high", "non_finite_data")
"""Causes for which it matters what first was not finite."""


def health_section(facts: Facts) -> str:
    """Cards of what was found and heat maps of the layers; empty where nothing was watched."""
    cards, maps = _cards(facts), _maps(facts)
    return f"{cards}{maps}" if cards or maps else ""


def health_figures(facts: Facts) -> tuple[Figure, ...]:
    """The charts of the section: one figure for each run that is shown, and one for each card."""
    maps = [figure for run in facts.watched if (figure := map_figure(facts, run)) is not None]
    own = {run.run: run for run in facts.watched}
    cards = [
        Figure(_card_name(item), item.title, "", (Panel("", "", "", spec),))
        for _, item in _items(facts)
        if item.row.run in own and (spec := evidence(own[item.row.run], item)) is not None
    ]
    return (*maps, *cards)


# ---- cards -----------------------------------------------------------------------------------


def _items(facts: Facts) -> list[tuple[int, Found]]:
    """What is shown as cards: the worst of each sick recipe first, then what else they have."""
    sick = facts.sick
    first = [(arm, items[0]) for arm, items in sick.items()]
    rest = [(arm, item) for arm, items in sick.items() for item in items[1:]]
    chosen = (first + rest)[:MAX_CARDS]
    order = list(sick)
    return sorted(chosen, key=lambda one: order.index(one[0]))


def _card_name(item: Found) -> str:
    return f"evidence-{item.row.run}-{item.row.code.replace('_', '-')}"


def _cards(facts: Facts) -> str:
    items = _items(facts)
    if not items:
        is_told = (
            any(run.verdict != "incomplete" for run in facts.runs) and facts.causes is not None
        )
        return (
            f'<p class="about">{sign("good", chr(0x2713))} Nothing was found to be the matter with any run.</p>'
            if is_told
            else ""
        )
    figures = {figure.name for figure in health_figures(facts)}
    cards = "".join(_card(facts, arm, item, figures) for arm, item in items)
    left = sum(len(found) for found in facts.sick.values()) - len(items)
    more = (
        f'<p class="small">{left} more findings are in <code>results.json</code> and in <code>lanework diagnose</code>.</p>'
        if left > 0
        else ""
    )
    return f'<ul class="cards">{cards}</ul>{more}'


def _card(facts: Facts, arm: int, item: Found, figures: set[str]) -> str:
    row, one = item.row, facts.arm(arm)
    mark = sign("bad", "\u00d7") if row.level == "fail" else sign("warn", "!")
    runs = (
        f"{item.num_runs} of {units.counted(len(one.runs), 'run')}"
        if len(one.runs) > 1
        else "the run"
    )
    steps = max((run.steps for run in facts.runs if run.run == row.run), default=0)
    when = f", told from step {units.count(row.step)} of {units.count(steps)} on" if steps else ""
    helps = "".join(
        f"<li>{text(units.sentence(words).rstrip('.'))}</li>" for words in item.remedies[:4]
    )
    chart = ""
    if _card_name(item) in figures:
        chart = f'<div class="chart" data-chart="{_card_name(item)}-0" role="img" aria-label="Evidence of {text(item.title)}"></div>'
    lost = first_lost(facts, row.run) if row.code in LOST else ""
    return (
        f'<li class="card {row.level}"><h3>{mark}{text(item.title)}</h3>'
        f'<p class="small">{text(one.label)}: {runs}{when}; {round(100 * row.confidence)}\u202f% sure.</p>'
        f"<p>{text(' '.join(filter(None, (row.sentence, lost))))}</p>{chart}"
        f'<p class="small">{text(item.what)}</p><p class="helps">What helps</p><ol>{helps}</ol></li>'
    )


def first_lost(facts: Facts, run: int) -> str:
    """What first was not finite in a run, as a sentence; empty where that is not known."""
    for event in facts.events:
        layer = event.data.get("layer") if event.run == run else None
        if layer:
            return health_facts.first_lost(event.data)
    return ""


# ---- layers by time --------------------------------------------------------------------------


def _maps(facts: Facts) -> str:
    figures = [(run, figure) for run in facts.watched if (figure := map_figure(facts, run))]
    if not figures:
        return ""
    options = "".join(
        f'<option value="{figure.name}">{text(figure.title)}</option>' for _, figure in figures
    )
    shown = "".join(
        f'<div data-health="{figure.name}"{" hidden" * (index > 0)}>{sections.figure(figure)}</div>'
        for index, (_, figure) in enumerate(figures)
    )
    pick = (
        f'<div class="controls"><label class="pick">Run <select id="health-choice">{options}</select></label></div>'
        if len(figures) > 1
        else ""
    )
    return f'<h3 class="maps">Layers by time</h3>{_chosen(facts, len(figures))}{pick}{shown}'


def _chosen(facts: Facts, num_shown: int) -> str:
    """Which runs are shown, where it is not all of them."""
    if num_shown >= len(facts.runs):
        return ""
    which = (
        "the worst run of each sick recipe, worst first, then the best run of the others"
        if facts.sick
        else "the best run of each recipe, best first"
    )
    return f'<p class="small">{num_shown} of {units.counted(len(facts.runs), "run")} are shown: {which}.</p>'
