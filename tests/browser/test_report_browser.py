"""The report in a real browser: no message on the console, no empty chart, working controls."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lanework import report
from tests.synthetic import write_study

pytestmark = pytest.mark.browser
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
KINDS = ("demo", "regression", "three", "hopeless", "one_arm", "one_seed", "unfinished")
CONSOLE = re.compile(r"CONSOLE[:(]\d+\)?\]? (.*)")

# Appended to a copy of the page: waits for the charts, runs the body, leaves what it returns in the DOM.
PROBE = """
<script>
(async () => {
  const tell = (value) => { document.documentElement.dataset.probe = JSON.stringify(value); };
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const drawn = async () => {
    for (let turn = 0; turn < 100; turn++) {
      const charts = [...document.querySelectorAll(".chart")].filter((chart) => !chart.closest("[hidden]"));
      if (charts.every((chart) => chart.dataset.drawn)) return;
      await wait(50);
    }
  };
  try {
    await drawn();
    await wait(100);
    tell(await (async () => { BODY })());
  } catch (error) { tell({ failed: String(error) }); }
})();
</script>
"""
MARKS = """
return [...document.querySelectorAll(".chart")].filter((chart) => !chart.closest("[hidden]")).map((chart) => ({
  name: chart.dataset.chart || chart.id,
  marks: chart.querySelectorAll("svg g.mark-line path, svg g.mark-rect path, svg g.mark-symbol path").length,
  width: chart.querySelector("svg") ? chart.querySelector("svg").getBoundingClientRect().width : 0,
}));
"""
CONTROLS = """
const box = document.getElementById("curve-chart");
const lines = () => box.querySelectorAll("g.mark-line path").length;
const title = () => [...box.querySelectorAll("text")].map((node) => node.textContent).join("|");
const first = { lines: lines(), title: title().includes("validation accuracy (%)") };
document.querySelector('[data-metric="val_loss"]').click(); await wait(300);
const loss = title().includes("validation loss");
document.getElementById("curve-seeds").click(); await wait(300);
const seeds = lines();
document.querySelector("#curve-legend button").click(); await wait(300);
const hidden = lines();
document.getElementById("curve-seeds").click(); await wait(300);
const select = document.getElementById("curve-choice");
select.value = select.options[1].value;
select.dispatchEvent(new Event("change")); await wait(300);
const rates = lines();
const labels = () => box.querySelector("g.mark-text.role-axis-label").textContent;
const whole = labels();
document.querySelector('[data-zoom="in"]').click(); await wait(300);
const zoomed = labels();
document.querySelector('[data-zoom="all"]').click(); await wait(300);
const again = labels();
const head = [...document.querySelectorAll("#runs-table th button")].find((b) => b.textContent === "Validation");
head.click(); head.click();
const column = [...document.querySelectorAll("#runs-table tbody tr")].map((row) => Number(row.cells[5].dataset.v || NaN));
const filter = document.querySelector('[data-filter="runs-table"]');
filter.querySelector("select").value = "diverged";
filter.querySelector("select").dispatchEvent(new Event("change"));
const shown = [...document.querySelectorAll("#runs-table tbody tr")].filter((row) => !row.hidden).length;
return { first, loss, seeds, hidden, rates, whole, zoomed, again, column, shown, left: filter.querySelector("output").textContent };
"""
LAYOUT = """
return {
  page: document.documentElement.scrollWidth, window: innerWidth,
  paper: getComputedStyle(document.body).backgroundColor,
  line: getComputedStyle(document.querySelector("#curve-chart g.mark-line path")).stroke,
  unreachable: [...document.querySelectorAll("button, select, input, a[href], summary")].filter((node) => node.tabIndex < 0).length,
};
"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.skip("no Chromium: the report was not looked at in a browser")
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("pages")
    made = {kind: write_study(base / kind, kind) for kind in KINDS}
    for folder in made.values():
        report.write(folder)
    return made


def visit(
    browser: str, page: Path, body: str, *, size: str = "1280,1800", is_dark: bool = False
) -> Any:
    """What `body` returns in the page; fails on anything written to the console."""
    copy = page.with_name("probe.html")
    text = page.read_text(encoding="utf-8")
    head, _, tail = text.rpartition("</body>")  # the drawing script holds that word too
    copy.write_text(f"{head}{PROBE.replace('BODY', body)}</body>{tail}", "utf-8")
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--no-first-run", "--disable-background-networking", "--enable-logging=stderr",
        f"--user-data-dir={page.parent / 'profile'}", f"--window-size={size}",
        f"--blink-settings=preferredColorScheme={0 if is_dark else 1}",
        "--virtual-time-budget=20000", "--dump-dom", copy.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    messages = CONSOLE.findall(done.stderr)
    assert not messages, "\n".join(sorted(set(messages)))
    found = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert found is not None, done.stderr[-2000:]
    value = json.loads(found[1].replace("&quot;", '"').replace("&lt;", "<").replace("&amp;", "&"))
    assert not (isinstance(value, dict) and "failed" in value), value
    return value


@pytest.mark.parametrize(
    "kind", ["demo", "regression", "three", "hopeless", "one_arm", "one_seed", "unfinished"]
)
def test_no_chart_is_empty_and_the_console_stays_silent(
    browser: str, folders: dict[str, Path], kind: str
) -> None:
    charts = visit(browser, folders[kind] / "report.html", MARKS)
    assert charts
    for chart in charts:
        assert chart["marks"] > 0, chart
        assert chart["width"] > 200, chart


def test_the_controls_do_what_they_say(browser: str, folders: dict[str, Path]) -> None:
    seen = visit(browser, folders["demo"] / "report.html", CONTROLS)
    assert seen["first"] == {"lines": 3, "title": True}
    assert seen["loss"]
    assert seen["seeds"] == 3 + 3 * 5
    assert seen["hidden"] == 2 + 2 * 5
    assert seen["rates"] == 9
    assert seen["whole"] == seen["again"] != seen["zoomed"]
    known = [value for value in seen["column"] if value is not None]
    assert known == sorted(known, reverse=True)
    assert seen["column"][: len(known)] == known
    assert seen["shown"] == 13
    assert seen["left"] == "13 shown"


@pytest.mark.parametrize("size", ["1280,1800", "500,1800"])  # headless windows are 500 px or wider
@pytest.mark.parametrize("is_dark", [False, True])
def test_the_page_fits_its_window_and_follows_the_colour_scheme(
    browser: str, folders: dict[str, Path], size: str, is_dark: bool
) -> None:
    page = folders["demo"] / "report.html"
    seen = visit(browser, page, LAYOUT, size=size, is_dark=is_dark)
    assert seen["page"] <= seen["window"]
    assert seen["unreachable"] == 0
    assert seen["paper"] == ("rgb(19, 23, 27)" if is_dark else "rgb(251, 250, 248)")
    assert seen["line"] == ("rgb(114, 155, 249)" if is_dark else "rgb(50, 117, 238)")
