"""Page, charts and results.json: complete, strict, offline, readable and small."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanework import report
from lanework.report import palette
from lanework.report.curves import curve_figure, curve_panel
from lanework.report.facts import Facts, read_facts
from lanework.report.figures import Panel, recipe_figure, standalone
from lanework.report.heat import heat_figures
from lanework.report.rates import rate_figure
from tests.helpers import ROOT
from tests.synthetic import STUDIES, write_study

VOID = {"meta", "link", "br", "input", "path", "line"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("studies")
    made = {kind: write_study(base / kind, kind) for kind in STUDIES}
    for folder in made.values():
        report.write(folder)
    return made


class Balanced(HTMLParser):
    """Collects tags that are not closed where they should be, and identifiers."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.names: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.names += [str(given["id"])] if "id" in given else []
        self.links += [str(given["href"])] if tag == "a" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        return

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.mark.parametrize("kind", sorted(STUDIES))
def test_the_page_is_well_formed_and_its_links_lead_somewhere(
    folders: dict[str, Path], kind: str
) -> None:
    parser = Balanced()
    parser.feed((folders[kind] / "report.html").read_text(encoding="utf-8"))
    assert parser.wrong == []
    assert parser.open == []
    assert len(parser.names) == len(set(parser.names))
    assert all(link[0] == "#" and link[1:] in parser.names for link in parser.links)


@pytest.mark.parametrize("kind", sorted(STUDIES))
def test_results_are_strict_json_of_the_documented_shape(
    folders: dict[str, Path], kind: str
) -> None:
    text = (folders[kind] / "results.json").read_text(encoding="utf-8")
    results = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    documented = (ROOT / "docs/reference/results.md").read_text(encoding="utf-8")
    assert results["schema_version"] == 1
    assert len(results["runs"]) == sum(len(arm["runs"]) for arm in results["arms"])
    for path in _paths(results):
        assert f"`{path}`" in documented, path


def _paths(results: dict[str, Any]) -> set[str]:
    """Key paths of the parts whose shape the schema fixes, two levels deep."""
    found = set(results)
    for key in ("study", "metric", "answer"):
        found |= {f"{key}.{inner}" for inner in results[key]}
    for key in ("groups", "arms", "runs", "events"):
        found |= {f"{key}[].{inner}" for item in results[key] for inner in item}
    return found


def test_nothing_is_fetched_from_outside(folders: dict[str, Path]) -> None:
    text = (folders["demo"] / "report.html").read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)\s*=\s*"(?!#|data:)', text.split("<script>")[0])
    assert "@import" not in text.split("</style>")[0]


def test_the_demo_stays_under_three_megabytes(folders: dict[str, Path]) -> None:
    assert (folders["demo"] / "report.html").stat().st_size < 3_000_000
    assert (folders["huge"] / "report.html").stat().st_size < 6_000_000


def test_text_of_the_study_cannot_become_markup(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "s", "one_seed")
    evil = "</script><img src=x onerror=alert(1)>"
    (folder / "study.yaml").write_text(f"study: {evil}\n# {evil}\n", encoding="utf-8")
    from lanework.store import Store

    with Store(folder, create=False) as store:
        store.put_meta("study", {"study": evil, "notes": evil})
        store.put_meta("machine", {evil: evil})
        store.add_runs([run for run in store.runs() if run.run > 0])
    page = report.write(folder).read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert page.count("</script>") == 5


def test_writing_needs_none_of_the_heavy_libraries(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "s", "small")
    code = (
        "import sys; from pathlib import Path; from lanework import report\n"
        "report.write(Path(sys.argv[1]))\n"
        "heavy = {'jax', 'pandas', 'scipy', 'altair', 'sklearn', 'pydantic', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_writing_twice_gives_the_same_bytes(folders: dict[str, Path]) -> None:
    for name in ("report.html", "results.json"):
        before = (folders["demo"] / name).read_bytes()
        report.write(folders["demo"])
        assert (folders["demo"] / name).read_bytes() == before
    assert not list(folders["demo"].glob(".*.tmp"))


# ---- charts --------------------------------------------------------------------------------


def charts(facts: Facts) -> list[tuple[str, Panel]]:
    found: list[tuple[str, Panel]] = []
    for figure in (rate_figure(facts), recipe_figure(facts), *heat_figures(facts)):
        if figure is not None:
            found += [(figure.title, panel) for panel in figure.panels]
    curves = curve_figure(facts)
    if curves is not None:
        found += [
            ("Learning curves", curve_panel(curves, metric=metric.name, choice=choice.name))
            for metric in curves.metrics
            for choice in curves.choices
        ]
    return found


@pytest.mark.parametrize("kind", ["demo", "regression", "three", "hopeless", "one_arm", "no_rate"])
def test_charts_are_valid_vega_lite(folders: dict[str, Path], kind: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema_file = pytest.importorskip("altair.vegalite.v6.schema")
    schema = json.loads((Path(schema_file.__file__).parent / "vega-lite-schema.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    for title, panel in charts(read_facts(folders[kind])):
        spec = standalone(panel, title=title)
        problems = [error.message[:300] for error in validator.iter_errors(spec)]
        assert problems == [], title
        assert "var(--" not in json.dumps(spec, allow_nan=False)


@pytest.mark.parametrize("is_dark", [False, True])
def test_the_same_charts_become_svg_without_a_browser(
    folders: dict[str, Path], is_dark: bool
) -> None:
    vl_convert = pytest.importorskip("vl_convert")
    seen = set()
    for title, panel in charts(read_facts(folders["demo"])):
        if title in seen:
            continue
        seen.add(title)
        svg = vl_convert.vegalite_to_svg(standalone(panel, title=title, is_dark=is_dark))
        assert title in svg
        assert svg.count("<path") > 5
    assert len(seen) == 4


def test_every_axis_has_a_title_with_its_unit(folders: dict[str, Path]) -> None:
    for title, panel in charts(read_facts(folders["demo"])):
        text = json.dumps(panel.spec)
        assert "accuracy" in text or "loss" in text, title
        if "accuracy" in text and title != "Validation accuracy by learning rate and optimizer":
            assert "accuracy (%)" in text, title


def test_heat_maps_pair_each_factor_with_the_rate(folders: dict[str, Path]) -> None:
    assert [figure.name for figure in heat_figures(read_facts(folders["three"]))] == [
        "heat-optimizer",
        "heat-hidden",
    ]
    assert heat_figures(read_facts(folders["no_rate"])) == ()
    assert heat_figures(read_facts(folders["hopeless"])) == ()


def test_diverged_rates_are_shaded_as_often_as_they_occur(folders: dict[str, Path]) -> None:
    facts = read_facts(folders["demo"])
    figure = rate_figure(facts)
    assert figure is not None
    shaded = {panel.label: panel.spec["layer"][0]["data"]["values"] for panel in figure.panels}
    lost = {
        level.label: [
            arm.num_diverged
            for arm in sorted(facts.arms, key=lambda arm: arm.factors["learning_rate"])
            if arm.arm in level.arms and arm.num_diverged
        ]
        for level in facts.levels
    }
    assert {label: [cell["bad"] for cell in cells] for label, cells in shaded.items()} == lost
    assert sum(lost["adam"]) == 13


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    from lanework.report.curves import MAX_POINTS, _thinned
    from lanework.report.facts import Curve

    curve = Curve(np.arange(1000.0), np.arange(2000.0).reshape(2, 1000), (0, 1))
    thin = _thinned(curve)
    assert len(thin.epochs) <= MAX_POINTS
    assert thin.epochs[0] == 0
    assert thin.epochs[-1] == 999
    assert thin.values.shape == (2, len(thin.epochs))


def test_bands_stay_within_what_is_possible() -> None:
    from lanework.report.curves import _band
    from lanework.report.facts import Curve, metric_named

    curve = Curve(np.arange(2.0), np.array([[0.99, 0.01], [0.6, 0.3]]), (0, 1))
    columns = _band(curve, metric_named("val_accuracy"), is_gone=False)
    assert columns["h"] == [100.0, 100.0]
    assert columns["l"] == [0.0, 0.0]
    assert _band(curve, metric_named("val_rmse"), is_gone=False)["l"] == [0.0, 0.0]


def test_the_curves_say_when_recipes_are_left_out(folders: dict[str, Path]) -> None:
    huge = (folders["huge"] / "report.html").read_text(encoding="utf-8")
    assert "Not every recipe has a line: " in huge
    assert "Not every recipe" not in (folders["demo"] / "report.html").read_text(encoding="utf-8")


def test_large_numbers_fit_on_the_axis_of_the_recipes(folders: dict[str, Path]) -> None:
    page = (folders["two_seeds"] / "report.html").read_text(encoding="utf-8")
    marks = re.findall(r'<span style="left:[^"]*">([^<]*)</span>', page)
    assert 2 <= len(marks) <= 5
    assert all(mark.endswith("\u202fk") for mark in marks)
    assert "ci-cut" in page.split("</style>")[1]


def test_runs_that_stopped_early_have_their_own_mark(folders: dict[str, Path]) -> None:
    page = (folders["splits"] / "report.html").read_text(encoding="utf-8")
    assert "i.stopped_early{" in page
    assert "\u25a0" in page


# ---- colours -------------------------------------------------------------------------------

SEEN_BY = {
    "everybody": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}  # fmt: skip  # Machado, Oliveira and Fernandes 2009, severity 1.0


def linear(colour: str) -> np.ndarray:
    levels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def oklab(rgb: np.ndarray) -> np.ndarray:
    cones = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566], [0.0883024619, 0.2817188376, 0.6299787005]])  # fmt: skip
    axes = np.array([[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099], [0.0259040371, 0.7827717662, -0.8086757660]])  # fmt: skip
    return axes @ np.cbrt(cones @ np.clip(rgb, 0, 1))


def contrast(first: str, second: str) -> float:
    lights = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (first, second))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


@pytest.mark.parametrize("eyes", sorted(SEEN_BY))
@pytest.mark.parametrize("name", ["LIGHT", "DARK"])
def test_series_colours_differ_for_everybody(name: str, eyes: str) -> None:
    colours = getattr(palette, name)
    seen = {
        key: oklab(np.array(SEEN_BY[eyes]) @ linear(colours[key]))
        for key in (*(f"s{i}" for i in range(palette.NUM_SERIES)), "bad")
    }
    for first, second in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[first] - seen[second]) > 0.09, (first, second)


@pytest.mark.parametrize("name", ["LIGHT", "DARK"])
def test_text_and_lines_have_contrast(name: str) -> None:
    colours = getattr(palette, name)
    for paper in ("paper", "panel", "sunken"):
        for ink in ("ink", "ink-2", "ink-3", "accent", "bad"):
            assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)
    for kind in ("bad", "warn", "good", "accent"):
        assert contrast(colours[kind], colours[f"{kind}-soft"]) >= 4.5, kind
    for index in range(palette.NUM_SERIES):
        assert contrast(colours[f"s{index}"], colours["panel"]) >= 3.0, index
    for index in range(palette.NUM_HEAT):
        ink = "heat-ink-high" if index > 4 else "heat-ink-low"
        assert contrast(colours[f"h{index}"], colours[ink]) >= 4.5, index


def test_light_and_dark_name_the_same_colours() -> None:
    assert list(palette.LIGHT) == list(palette.DARK)


# ---- shipped script ------------------------------------------------------------------------


def test_the_shipped_script_is_what_the_pinned_version_gives() -> None:
    pytest.importorskip("vl_convert")
    tool = ROOT / "tools" / "bundle_scripts.py"
    done = subprocess.run([sys.executable, str(tool), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_shipped_script_cannot_end_its_element_and_names_its_licence() -> None:
    assets = files("lanework.report").joinpath("assets")
    script = gzip.decompress(assets.joinpath("vega.js.gz").read_bytes()).decode()
    assert "</script" not in script.lower()
    assert "<!--" not in script
    assert "BSD-3-Clause" in assets.joinpath("LICENSES.txt").read_text(encoding="utf-8")
