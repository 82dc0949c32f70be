"""The report as one HTML file that opens offline: style, words, tables, charts and their script.

Puts the sections together; each section and each figure is made elsewhere from facts alone, so
another page can use them too. Must not import Altair, pandas or JAX.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from lanework.report import check, figures, palette, sections, units
from lanework.report.curves import CurveFigure, curve_figure
from lanework.report.facts import Facts
from lanework.report.figures import Figure
from lanework.report.first import first_screen
from lanework.report.health import health_figures, health_section
from lanework.report.heat import heat_figures
from lanework.report.html import island, text
from lanework.report.rates import rate_figure
from lanework.report.remedies import remedies
from lanework.report.start import start

MONO: Final = (
    "ui-monospace, SFMono-Regular, 'SF Mono', Menlo, Consolas, 'Liberation Mono', monospace"
)
_LOGO: Final = (
    '<svg viewBox="0 0 20 20" aria-hidden="true" fill="none" stroke-width="2.4" stroke-linecap="round">'
    '<path d="M2 4h15" stroke="var(--s0)"/><path d="M2 10h10" stroke="var(--s1)"/>'
    '<path d="M2 16h13" stroke="var(--s2)"/></svg>'
)


def page(facts: Facts) -> str:
    """The whole report.

    Args:
        facts: What was read from a study folder.

    Returns:
        A complete HTML document that needs nothing from outside.
    """
    rates = rate_figure(facts)
    heats = heat_figures(facts)
    curves, health = curve_figure(facts), health_figures(facts)
    body = [
        ("answer", "Answer", first_screen(facts)),
        ("curves", "Curves", _curve_section(curves, facts.noun)),
        ("factors", "Factors", _factor_section([*([rates] if rates else []), *heats])),
        ("health", "Health", _health_section(facts)),
        ("arms", "Recipes", _arms_section(facts)),
        ("remedies", "Remedies", _remedies_section(facts)),
        ("runs", "Runs", sections.section("runs", "Runs", "", sections.runs(facts))),
        ("data", "Data", sections.section("data", "Data", "", sections.data(facts))),
        ("check", "Check", sections.section("check", "Check before training", text(check.about(facts.check)), check.check(facts.check))),
        ("start", "Start", _start_section(facts)),
        ("plan", "Plan and time", _plan_section(facts)),
        ("machine", "Machine", sections.section("machine", "Machine", "", sections.machine(facts))),
        ("file", "Study file", sections.section("file", "Study file", "", sections.study_file(facts))),
    ]  # fmt: skip
    shown = [(name, label, html) for name, label, html in body if html]
    links = "".join(f'<a href="#{name}">{label}</a>' for name, label, _ in shown)
    return document(
        title=f"{facts.study} \u2013 Lanework",
        links=links,
        body="".join(html for _, _, html in shown),
        footer=_footer(facts),
        data=_islands([*([rates] if rates else []), *heats], health, curves),
    )


def document(*, title: str, links: str, body: str, footer: str, data: str) -> str:
    """The frame of a page: head, bar with links, content, data and scripts.

    Args:
        title: Title of the window.
        links: Links of the bar, as HTML.
        body: Sections, as HTML.
        footer: Last lines, as HTML.
        data: JSON elements for the script, see `lanework.report.html.island`.
    """
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{text(title)}</title><link rel="icon" href="data:,"><style>{_style()}</style></head><body>'
        '<a class="skip" href="#main">To the content</a>'
        f'<header class="top"><div class="wrap"><a class="mark" href="#answer">{_LOGO}<span>Lanework</span></a>'
        f'<nav aria-label="Sections" tabindex="-1">{links}</nav></div></header>'
        f'<main id="main" class="wrap">{body}</main><footer class="wrap">{footer}</footer>'
        f"{data}<script>{_vega()}</script><script>{asset('report.js')}</script></body></html>\n"
    )


def asset(name: str) -> str:
    """A text file that ships with the package."""
    return files("lanework.report").joinpath("assets", name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _vega() -> str:
    packed = files("lanework.report").joinpath("assets", "vega.js.gz").read_bytes()
    return gzip.decompress(packed).decode("utf-8")


def _style() -> str:
    light, dark = palette.css(palette.LIGHT), palette.css(palette.DARK)
    return (
        f":root{{--sans:{figures.FONT};--mono:{MONO};{light}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}{asset('report.css')}"
    )


def _islands(items: Sequence[Figure], health: Sequence[Figure], curves: CurveFigure | None) -> str:
    charts = {
        f"{item.name}-{index}": figures.without_legends(panel.spec)
        for item in items
        for index, panel in enumerate(item.panels)
    }
    # Colours mean another thing in each of these charts: they keep their own legends.
    charts |= {
        f"{item.name}-{index}": panel.spec
        for item in health
        for index, panel in enumerate(item.panels)
    }
    parts = [island("data-config", figures.config()), island("data-charts", charts)]
    if curves is not None:
        parts.append(island("data-curves", _curve_data(curves)))
    return "".join(parts)


def _curve_data(item: CurveFigure) -> dict[str, Any]:
    return {
        "metrics": [metric.name for metric in item.metrics],
        "choices": [
            {
                "name": choice.name,
                "lines": [
                    {"arm": line.arm, "label": line.label, "colour": line.colour, "dash": line.dash}
                    for line in choice.lines
                ],
            }
            for choice in item.choices
        ],
        "specs": item.specs,
        "bands": item.bands,
        "seeds": item.seeds,
    }


def _curve_section(item: CurveFigure | None, noun: str) -> str:
    if item is None:
        return ""
    return sections.section("curves", "Learning curves", "", sections.curves(item, noun=noun))


def _factor_section(items: Sequence[Figure]) -> str:
    body = "".join(sections.figure(item) for item in items)
    return sections.section("factors", "What each factor does", "", body)


def _health_section(facts: Facts) -> str:
    about = "What rules over the records found, root causes first. <code>lanework diagnose FOLDER</code> says the same in a terminal."
    return sections.section("health", "Health", about, health_section(facts))


def _arms_section(facts: Facts) -> str:
    about = (
        "Means go over the runs that finished. For the ranking a diverged run counts as the worst of all results, or as "
        "guessing if that is worse."
    )
    if len(facts.arms) > 1:
        corrected = units.counted(len(facts.arms) - 1, "comparison")
        about += (
            f" Differences to the best are paired over {facts.noun}s; the verdict is corrected for {corrected} by "
            "Holm\u2019s method, the interval is not."
        )
    return sections.section("arms", "Recipes", text(about), sections.arms(facts))


def _remedies_section(facts: Facts) -> str:
    about = (
        "Each remedy was trained beside the recipe as it was, with the same seeds, rows and batches. Dot and bar: mean change and its "
        f"95\u202f% interval, paired over {facts.noun}s, a diverged run counted as guessing; the verdict is corrected for all remedies "
        "of a recipe by Holm\u2019s method."
    )
    return sections.section("remedies", "Remedies tried", about, remedies(facts))


def _start_section(facts: Facts) -> str:
    about = (
        "Variance over samples and units of what each layer gives, of what its activation makes of it, and of the gradient of a "
        "sample\u2019s loss that comes back to it, on up to 256 training samples with the weights of the first seed."
    )
    is_measured = any(one.get("signals") for one in facts.starts)
    return sections.section("start", "Start", about if is_measured else "", start(facts.starts))


def _plan_section(facts: Facts) -> str:
    about = (
        "Runs whose static choices are equal share one compiled program; each run is a lane of it."
    )
    return sections.section("plan", "Plan and time", about, sections.plan(facts))


def _footer(facts: Facts) -> str:
    version = facts.machine.get("versions")
    own = version.get("lanework") if isinstance(version, dict) else None
    made = f"Made by Lanework {text(str(own))}." if own else "Made by Lanework."
    mark = f" Study {text(facts.content_hash[:12])}." if facts.content_hash else ""
    return (
        f"{made}{mark} All numbers of this page: <code>results.json</code>; all records: <code>records.sqlite</code>. "
        "Charts drawn by Vega (BSD-3-Clause)."
    )
