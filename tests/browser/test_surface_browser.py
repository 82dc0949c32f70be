"""The page of a race in a real browser: it plays, scrubs, hides rules, fits, and keeps still where asked to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lanework.surfaces import find, request
from lanework.surfaces.page import page
from lanework.surfaces.races import Race, Trajectory
from tests.browser.test_report_browser import browser, visit

__all__ = ["browser"]  # a fixture
pytestmark = pytest.mark.browser
STEPS = 60
# A headless browser that draws nothing asks for no frames.
FRAMES = (
    "<script>requestAnimationFrame = (f) => setTimeout(() => f(performance.now()), 16);</script>"
)
CALM = "<script>matchMedia = () => ({ matches: true });</script>"

CONTROLS = """
const node = (id) => document.getElementById(id);
const count = (rule) => {
  const points = document.querySelector(`#moving [data-rule="${rule}"] polyline`).getAttribute("points");
  return points.trim().split(" ").length;
};
const isSeen = (element) => getComputedStyle(element).display !== "none" && getComputedStyle(element).visibility === "visible";
const scrub = async (step) => { node("scrub").value = step; node("scrub").dispatchEvent(new Event("input")); await wait(50); };
const atStart = { label: node("play").textContent, isMoving: isSeen(node("moving")), hasControls: isSeen(node("play")) };
await scrub(10);
const ten = { count: count(0), step: node("step").textContent, label: node("play").textContent, whole: isSeen(node("paths")),
  now: isSeen(node("now")), cross: isSeen(document.querySelector(".cross")) };
await scrub(50);
const fifty = { counts: [count(0), count(1)], cross: isSeen(document.querySelector(".cross")) };
node("play").click(); await wait(400);
const playing = { label: node("play").textContent, step: Number(node("step").textContent) };
node("play").click(); await wait(100);
const paused = Number(node("step").textContent); await wait(400);
const still = Number(node("step").textContent) === paused && node("play").textContent === "Play";
node("speed").value = "4"; node("restart").click(); await wait(300);
const again = Number(node("step").textContent);
await wait(5000);
const end = { step: node("step").textContent, label: node("play").textContent, whole: isSeen(node("paths")),
  moving: isSeen(node("moving")), cross: isSeen(document.querySelector(".cross")) };
document.querySelector('[data-toggle="0"]').click(); await wait(50);
const hidden = [...document.querySelectorAll('svg [data-rule="0"]')].map(isSeen);
const other = isSeen(document.querySelector('#paths [data-rule="1"]'));
document.querySelector('[data-toggle="0"]').click(); await wait(50);
const back = [...document.querySelectorAll('#paths [data-rule="0"], #heights [data-rule="0"]')].map(isSeen);
return { atStart, ten, fifty, playing, paused, still, again, end, hidden, other, back };
"""
CALMLY = """
const node = (id) => document.getElementById(id);
const first = { step: node("step").textContent, label: node("play").textContent, running: document.documentElement.classList.contains("running") };
const seen = new Set();
node("speed").value = "4"; node("play").click();
for (let turn = 0; turn < 200; turn++) { seen.add(node("step").textContent); await wait(25); }
return { first, count: seen.size, last: node("step").textContent };
"""
LAYOUT = """
return {
  page: document.documentElement.scrollWidth, window: innerWidth,
  paper: getComputedStyle(document.body).backgroundColor,
  map: document.getElementById("map").getBoundingClientRect().width,
  unreachable: [...document.querySelectorAll("button, select, input, a[href]")].filter((node) => node.tabIndex < 0).length,
  unnamed: [...document.querySelectorAll("input, select")].filter((node) => !node.labels.length).length,
};
"""


def _path(label: str, *, end: int, is_lost: bool) -> Trajectory:
    way = np.linspace(0, 1, end)[:, None]
    points = np.array([[-2.4, 1.7]]) * (1 - way) + np.array([[40.0 if is_lost else 0.0, 0.0]]) * way
    return Trajectory(
        label=label,
        rate=0.1,
        is_searched=False,
        points=points,
        values=(points**2).sum(axis=1) / 2,
        diverged_at=end if is_lost else None,
        reached_at=None,
        num_diverged=int(is_lost),
        edge="",
    )


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rules = (
        _path("sgd", end=STEPS + 1, is_lost=False),
        _path("momentum", end=30, is_lost=True),
    )
    asked = request(find("bowl"), ["sgd"], rate=0.1, steps=STEPS)
    path = tmp_path_factory.mktemp("surface") / "bowl.html"
    text = page(Race(asked, rules))
    path.write_text(text.replace("<head>", f"<head>{FRAMES}"), "utf-8")
    return path


def test_the_controls_do_what_they_say(browser: str, drawn: Path) -> None:
    seen = visit(browser, drawn, CONTROLS)
    assert seen["atStart"] == {"label": "Pause", "isMoving": True, "hasControls": True}
    assert seen["ten"] == {
        "count": 11, "step": "10", "label": "Play", "whole": False, "now": True, "cross": False,
    }  # fmt: skip
    assert seen["fifty"] == {"counts": [51, 30], "cross": True}
    assert seen["playing"]["label"] == "Pause"
    assert 50 < seen["playing"]["step"] <= seen["paused"] < STEPS
    assert seen["still"]
    assert 0 < seen["again"] < 30
    assert seen["end"] == {
        "step": str(STEPS), "label": "Play", "whole": True, "moving": False, "cross": True,
    }  # fmt: skip
    assert len(seen["hidden"]) == 3
    assert not any(seen["hidden"])
    assert seen["other"]
    assert all(seen["back"])


def test_where_less_motion_is_asked_for_nothing_moves_by_itself(
    browser: str, drawn: Path, tmp_path: Path
) -> None:
    calm = tmp_path / "calm.html"
    calm.write_text(drawn.read_text("utf-8").replace("<head>", f"<head>{CALM}"), "utf-8")
    seen = visit(browser, calm, CALMLY)
    assert seen["first"] == {"step": str(STEPS), "label": "Play", "running": False}
    assert 2 < seen["count"] <= 22
    assert seen["last"] == str(STEPS)


@pytest.mark.parametrize("size", ["1280,1400", "500,1400"])  # headless windows are 500 px or wider
@pytest.mark.parametrize("is_dark", [False, True])
def test_the_page_fits_its_window_and_follows_the_colour_scheme(
    browser: str, drawn: Path, size: str, is_dark: bool
) -> None:
    seen = visit(browser, drawn, LAYOUT, size=size, is_dark=is_dark)
    assert seen["page"] <= seen["window"]
    assert (seen["unreachable"], seen["unnamed"]) == (0, 0)
    assert seen["map"] > 400
    assert seen["paper"] == ("rgb(19, 23, 27)" if is_dark else "rgb(251, 250, 248)")
