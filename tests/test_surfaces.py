"""Surfaces: the table, the contours, the paths of rules, and what is written about them."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanework import surfaces
from lanework.catalog import CATALOG
from lanework.errors import SpecError, StoreError, UnknownNameError
from lanework.surfaces import Request, Surface, request
from lanework.surfaces.contours import below, simplify
from lanework.surfaces.figure import MOST_POINTS, formula, frame, leaving, pixels, still, stride
from lanework.surfaces.functions import SURFACES, find
from lanework.surfaces.page import moving, page
from lanework.surfaces.races import Race, Trajectory
from lanework.surfaces.requests import DEFAULT_RULES, Entrant
from lanework.surfaces.summary import summary
from lanework.surfaces.trajectories import choose, race
from tests.helpers import lanework

ALL = pytest.mark.parametrize("surface", SURFACES.values(), ids=list(SURFACES))


def gradient(surface: Surface, point: tuple[float, float], step: float = 1e-5) -> list[float]:
    (x, y), h = point, step
    return [
        (surface.at((x + h, y)) - surface.at((x - h, y))) / (2 * h),
        (surface.at((x, y + h)) - surface.at((x, y - h))) / (2 * h),
    ]


# The table -------------------------------------------------------------------------------------


@ALL
def test_minima_are_where_nothing_is_lower_and_the_slope_is_zero(surface: Surface) -> None:
    for point in surface.minima:
        assert surface.at(point) == pytest.approx(surface.lowest, abs=1e-9)
        assert gradient(surface, point) == pytest.approx([0.0, 0.0], abs=1e-4)
    xs, ys = np.linspace(*surface.x, 201), np.linspace(*surface.y, 201)
    heights = surface.value(xs[None, :], ys[:, None], np)
    assert heights.min() >= surface.lowest - 1e-9


@ALL
def test_other_marked_points_have_no_slope_and_are_higher(surface: Surface) -> None:
    for _, point in surface.traps:
        assert gradient(surface, point) == pytest.approx([0.0, 0.0], abs=1e-4)
        assert surface.at(point) > surface.lowest + 1e-3


@ALL
def test_every_surface_is_documented_and_starts_inside_of_its_picture(surface: Surface) -> None:
    assert surface.entry.kind == "surface"
    assert surface.entry.summary
    assert surface.entry.formula
    assert surface.entry.source
    for x, y in (surface.start, *surface.minima):
        assert surface.x[0] < x < surface.x[1]
        assert surface.y[0] < y < surface.y[1]
    assert surface.at(surface.start) > surface.lowest + 0.1


@pytest.mark.parametrize(
    ("name", "point", "value"),
    [
        ("bowl", (3.0, 4.0), 12.5),
        ("ravine", (2.0, 0.1), 2.75),
        ("saddle", (1.0, 2.0), 7.0),
        ("plateau", (1.0, 1.0), 1 - math.exp(-1)),
        ("double_well", (1.0, 2.0), 3.9),
        ("beale", (0.0, 0.0), 14.203125),
        ("rosenbrock", (-1.2, 1.0), 24.2),
        ("rastrigin", (1.0, 1.0), 2.0),
        ("himmelblau", (0.0, 0.0), 170.0),
    ],
)
def test_heights_are_those_of_the_books(
    name: str, point: tuple[float, float], value: float
) -> None:
    assert find(name).at(point) == pytest.approx(value, rel=1e-12)


def test_the_public_names() -> None:
    assert set(SURFACES) == {
        "bowl", "ravine", "saddle", "plateau", "double_well", "beale", "rosenbrock", "rastrigin", "himmelblau",
    }  # fmt: skip
    assert surfaces.__all__ == [
        "SURFACES", "Drawn", "Entrant", "Request", "Surface", "draw", "find", "listing", "request",
    ]  # fmt: skip


def test_an_unknown_surface_is_told_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match=r"got 'rosenbrok'\. Did you mean rosenbrock\?"):
        find("rosenbrok")


# Requests --------------------------------------------------------------------------------------


def test_the_usual_request() -> None:
    asked = request(find("bowl"))
    assert [one.label for one in asked.entrants] == list(DEFAULT_RULES)
    assert all(one.rate is None for one in asked.entrants)
    assert len(asked.rates) == 40
    assert asked.rates[0] == pytest.approx(1e-5)
    assert asked.rates[-1] == pytest.approx(1e2)
    ratios = [b / a for a, b in pairwise(asked.rates)]
    assert ratios == pytest.approx([ratios[0]] * 39)
    assert (asked.start, asked.steps, asked.noise) == ((-2.4, 1.7), 100, 0.0)


def test_options_and_rates_of_single_rules() -> None:
    texts = [
        "momentum:momentum=0.95,form=velocity",
        "sgd:learning_rate=0.5",
        "sgd",
        "rmsprop:centered=true",
    ]
    asked = request(find("bowl"), texts, rate=0.25, start="-1, 0.5")
    assert [(one.label, one.rate) for one in asked.entrants] == [
        ("momentum, momentum 0.95, form velocity", 0.25),
        ("sgd", 0.5),
        ("sgd, rate 0.25", 0.25),
        ("rmsprop, centered true", 0.25),
    ]
    assert asked.entrants[0].choice.options == {"momentum": 0.95, "form": "velocity"}
    assert asked.entrants[3].choice.options["centered"] is True
    assert asked.start == (-1.0, 0.5)


def test_a_budget_of_one_is_the_middle() -> None:
    assert request(find("bowl"), budget=1, rates="0.01,1").rates == pytest.approx((0.1,))


@pytest.mark.parametrize(
    ("rules", "options", "message"),
    [
        (["adm"], {}, r"surface, --optimizer adm: must be the name of an optimizer, got 'adm'\. Did you mean adam"),
        (["sgd:b1=0.5"], {}, r"--optimizer sgd:b1=0\.5: b1 must be an option of sgd, got 'b1' = 0\.5"),
        (["momentum:momentum=1"], {}, r"momentum must be a number >= 0 and < 1, got 1"),
        (["sgd:learning_rate=-1"], {}, r"learning_rate must be a number > 0, got -1"),
        (["momentum:0.95"], {}, r"must have options as name=value, got '0\.95'\. Use for example momentum:"),
        (["momentum:momentum=0.5,momentum=0.6"], {}, r"must give momentum once, got it twice\. Remove one"),
        (["sgd", "sgd"], {}, r"--optimizer sgd: must be given once, got it twice\. Remove one"),
        ([], {"steps": 0}, r"--steps: must be from 1 to 10000, got 0\. Use for example 100"),
        ([], {"steps": 10_001}, r"--steps: must be from 1 to 10000, got 10001"),
        ([], {"budget": 0}, r"--budget: must be from 1 to 200, got 0\. Use for example 40"),
        ([], {"rate": 0.0}, r"--rate: must be finite and > 0, got 0\.0\. Use for example 0\.01"),
        ([], {"rate": math.nan}, r"--rate: must be finite and > 0, got nan"),
        ([], {"noise": -1.0}, r"--noise: must be finite and >= 0, got -1\.0"),
        ([], {"noise": math.inf}, r"--noise: must be finite and >= 0, got inf"),
        ([], {"seed": -1}, r"--seed: must be from 0 to 4294967295, got -1"),
        ([], {"rates": "1"}, r"--rates: must be the lowest and the highest rate, both > 0, got '1'"),
        ([], {"rates": "1,0.1"}, r"--rates: must be the lowest and the highest rate.*Use for example 1e-5,100"),
        ([], {"rates": "0,1"}, r"--rates: must be the lowest"),
        ([], {"start": "1;2"}, r"--start: must be two numbers x,y, got '1;2'\. Use for example -2\.4,1\.7"),
        ([], {"start": "nan,2"}, r"--start: must be two numbers x,y, got 'nan,2'"),
        ([], {"start": "9,9"}, r"--start: must lie in the picture of bowl, x from -3 to 3 and y from -2\.4 to 2\.4, got '9,9'"),
    ],
)  # fmt: skip
def test_bad_requests_are_told_in_words(
    rules: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        request(find("bowl"), rules, **options)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SpecError, match="3 problems") as caught:
        request(find("bowl"), ["adm"], steps=0, noise=-1.0)
    assert len(caught.value.problems) == 3


# Contours --------------------------------------------------------------------------------------


def area(outline: np.ndarray) -> float:
    """Signed area inside of an outline (shoelace)."""
    x, y = outline[:, 0], outline[:, 1]
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def test_the_outline_of_a_disc_has_its_place_and_area() -> None:
    rows, columns = np.mgrid[0:81, 0:101]
    distance = np.hypot(columns - 50.0, rows - 40.0)
    (outline,) = below(distance, 30.0)
    assert np.hypot(outline[:, 0] - 50, outline[:, 1] - 40) == pytest.approx(30.0, abs=0.02)
    assert area(outline) == pytest.approx(math.pi * 900, rel=2e-3)


def test_a_ring_has_an_outer_and_an_inner_outline_of_opposite_sense() -> None:
    rows, columns = np.mgrid[0:81, 0:81]
    ring = np.abs(np.hypot(columns - 40.0, rows - 40.0) - 20.0)
    areas = sorted(area(outline) for outline in below(ring, 5.0))
    assert areas == pytest.approx([-math.pi * 225, math.pi * 625], rel=5e-3)


def test_a_region_at_the_border_is_closed_along_it() -> None:
    slope = np.tile(np.arange(11.0), (6, 1))
    (outline,) = below(slope, 4.5)
    assert area(outline) == pytest.approx(4.5 * 5)
    assert outline.min(axis=0).tolist() == [0.0, 0.0]
    assert outline.max(axis=0).tolist() == [4.5, 5.0]
    assert below(slope, -1.0) == []
    (whole,) = below(slope, 99.0)
    assert area(whole) == pytest.approx(50.0)


@pytest.mark.parametrize(("level", "count"), [(0.4, 2), (0.6, 1)])
def test_a_saddle_cell_is_decided_by_its_mean(level: float, count: int) -> None:
    heights = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert len(below(heights, level)) == count


def test_outlines_agree_with_counting_grid_points() -> None:
    heights = np.random.default_rng(3).normal(size=(40, 50))
    smooth = sum(np.roll(heights, (i, j), (0, 1)) for i in range(4) for j in range(4))
    fine = np.kron(np.asarray(smooth), np.ones((1, 1)))
    total = sum(area(outline) for outline in below(fine, 0.0))
    assert total == pytest.approx(np.mean(fine < 0) * 39 * 49, rel=0.05)


def test_simplifying_keeps_within_the_tolerance() -> None:
    angle = np.linspace(0, 2 * np.pi, 400)
    circle = 100 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    few = simplify(circle, 0.5)
    assert 8 < len(few) < 80
    for point in circle:
        gaps = []
        for start, end in pairwise(few):
            along = end - start
            share = np.clip(np.dot(point - start, along) / np.dot(along, along), 0, 1)
            gaps.append(np.hypot(*(point - start - share * along)))
        assert min(gaps) <= 0.5 + 1e-9


# Paths -----------------------------------------------------------------------------------------


def asked_for(name: str, rules: list[str], **options: Any) -> Request:
    return request(find(name), rules, **options)


def test_sgd_on_the_bowl_goes_straight_down_as_the_formula_says() -> None:
    (one,) = race(asked_for("bowl", ["sgd:learning_rate=0.25"], steps=30)).trajectories
    shrink = 0.75 ** np.arange(31)
    assert one.points == pytest.approx(np.outer(shrink, [-2.4, 1.7]), rel=1e-5)
    assert one.values == pytest.approx((2.4**2 + 1.7**2) / 2 * shrink**2, rel=1e-5)
    reached = math.ceil(math.log(1e-3 / ((2.4**2 + 1.7**2) / 2)) / (2 * math.log(0.75)))
    assert one.reached_at == reached
    assert (one.diverged_at, one.is_searched, one.edge) == (None, False, "")


def test_momentum_in_the_ravine_agrees_with_a_slow_loop() -> None:
    (one,) = race(asked_for("ravine", ["momentum"], rate=0.004, steps=120)).trajectories
    point, speed, path = np.array([-3.0, 0.3]), np.zeros(2), [np.array([-3.0, 0.3])]
    for _ in range(120):
        speed = 0.9 * speed + np.array([1.0, 150.0]) * point
        point = point - 0.004 * speed
        path.append(point)
    assert one.points == pytest.approx(np.array(path), abs=2e-5)


def test_noise_is_added_to_the_gradient_keyed_by_seed_and_step() -> None:
    def path(steps: int, seed: int) -> np.ndarray:
        asked = asked_for("bowl", ["sgd"], rate=0.1, steps=steps, noise=0.5, seed=seed)
        return np.asarray(race(asked).trajectories[0].points)

    long, short, other = path(400, 0), path(20, 0), path(400, 1)
    assert short == pytest.approx(long[:21])
    noise = (long[:-1] - long[1:]) / 0.1 - long[:-1]
    noise_of_other = (other[:-1] - other[1:]) / 0.1 - other[:-1]
    assert abs(noise.mean()) < 0.06
    assert noise.std() == pytest.approx(0.5, rel=0.1)
    assert abs(np.corrcoef(noise[:, 0], noise_of_other[:, 0])[0, 1]) < 0.2


def test_a_diverging_rule_ends_where_it_left() -> None:
    (one,) = race(asked_for("bowl", ["sgd"], rate=3.0, steps=60)).trajectories
    step = next(
        k for k in range(60) if 2.4 * 2**k / 6 > 100
    )  # |1 - 3| = 2; 100 widths of the picture
    assert one.diverged_at == step
    assert len(one.points) == len(one.values) == step
    assert one.final_value is None
    assert one.reached_at is None


def test_a_value_that_is_not_finite_counts_as_diverged() -> None:
    asked = asked_for("beale", ["sgd"], rate=1e12, steps=5)
    (one,) = race(asked).trajectories
    assert one.diverged_at == 1
    assert np.isfinite(one.values).all()


def test_the_best_lane_moves_as_if_it_were_alone() -> None:
    asked = asked_for("rosenbrock", ["adam"], steps=60, budget=7)
    (best,) = race(asked).trajectories
    (alone,) = race(asked_for("rosenbrock", ["adam"], steps=60, rate=best.rate)).trajectories
    assert best.points == pytest.approx(alone.points, rel=1e-4, abs=1e-5)


def test_momentum_crosses_the_ravine_three_times_faster_than_sgd() -> None:
    sgd, momentum = race(asked_for("ravine", ["sgd", "momentum"])).trajectories
    assert sgd.reached_at is not None
    assert momentum.reached_at is not None
    assert sgd.reached_at >= 3 * momentum.reached_at
    assert (sgd.edge, momentum.edge) == ("", "")


def reached(name: str, rules: list[str]) -> list[int | None]:
    return [one.reached_at for one in race(asked_for(name, rules)).trajectories]


def test_a_rate_for_each_coordinate_leaves_the_saddle_sooner() -> None:
    sgd, adagrad, nesterov = reached("saddle", ["sgd", "adagrad", "nesterov"])
    assert sgd is not None
    assert adagrad is not None
    assert nesterov is not None
    assert adagrad < 10 < nesterov < sgd


def test_in_the_valley_of_rosenbrock_momentum_and_adam_arrive_and_sgd_does_not() -> None:
    sgd, momentum, adam = reached("rosenbrock", ["sgd", "momentum", "adam"])
    assert sgd is None
    assert momentum is not None
    assert adam is not None
    assert momentum < adam


def test_in_a_round_bowl_nothing_beats_plain_descent() -> None:
    sgd, momentum = reached("bowl", ["sgd", "momentum"])
    assert sgd is not None
    assert momentum is not None
    assert sgd <= 3 < momentum


def chosen(values: list[list[float]], rates: tuple[float, ...]) -> Trajectory:
    """The choice among lanes of those heights, all standing at the start."""
    asked = asked_for("bowl", ["sgd"], steps=len(values[0]) - 1)
    points = np.zeros((len(values), len(values[0]), 2))
    return choose(asked, asked.entrants[0], rates, points=points, values=np.array(values))


def test_the_best_rate_reaches_first_and_stays() -> None:
    lanes = [
        [5, 3, 2, 1e-4],
        [5, 1e-4, 1e-4, 1e-4],
        [5, 0, 5, 1e-9],
        [5, math.inf, 0, 0],
        [5, 4, 3, 2],
    ]
    one = chosen(lanes, (0.1, 0.2, 0.3, 0.4, 0.5))
    assert (one.rate, one.reached_at, one.num_diverged, one.edge) == (0.2, 1, 1, "")


def test_where_none_reaches_the_lowest_end_wins() -> None:
    one = chosen([[5, 3, 2], [5, 1, 4], [5, 4, 0.5]], (0.1, 0.2, 0.3))
    assert (one.rate, one.reached_at, one.edge) == (0.3, None, "highest")


def test_where_all_diverge_the_lowest_rate_is_shown() -> None:
    one = chosen([[5, 4, math.nan], [5, math.inf, math.inf]], (0.1, 0.2))
    assert (one.rate, one.diverged_at, one.num_diverged, one.edge) == (0.1, 2, 2, "")
    asked = asked_for("bowl", ["sgd"], steps=2, rates="0.1,0.2", budget=2)
    assert Race(asked, (one,)).warnings() == [
        "sgd diverged at every rate from 0.1 to 0.2; shown is 0.1. Try lower ones: --rates 0.0001,0.1."
    ]


def test_a_best_rate_at_the_edge_is_told() -> None:
    came_out = race(asked_for("bowl", ["sgd"], rates="1e-4,1e-2", budget=3, steps=20))
    assert came_out.warnings() == [
        "sgd: its best rate, 0.01, is the highest of those tried, so a better one may lie beyond. Try --rates 0.0001,1."
    ]
    assert "--rates 0.0001,1." in page(came_out)


@pytest.mark.slow
@pytest.mark.parametrize("name", CATALOG["optimizer"])
def test_every_rule_of_the_catalogue_moves_downhill(name: str) -> None:
    asked = asked_for("bowl", [name], steps=100, budget=8)
    (one,) = race(asked).trajectories
    assert one.diverged_at is None
    assert one.values[-1] < 0.9 * one.values[0]


# Pictures --------------------------------------------------------------------------------------


def spiral(label: str, count: int, *, is_lost: bool = False) -> Trajectory:
    """A path that needs no rule."""
    angle = np.linspace(0, 20, count)
    size = np.linspace(1, 40 if is_lost else 0, count)
    points = np.stack([size * np.cos(angle), size * np.sin(angle)], axis=1)
    return Trajectory(
        label=label,
        rate=0.1,
        is_searched=False,
        points=points,
        values=(points**2).sum(axis=1) / 2,
        diverged_at=count if is_lost else None,
        reached_at=None,
        num_diverged=int(is_lost),
        edge="",
    )


def made(*paths: Trajectory, name: str = "bowl") -> Race:
    steps = max(len(path.points) for path in paths) - 1
    return Race(request(find(name), ["sgd"], rate=0.1, steps=steps), paths)


def test_the_page_is_one_file_that_asks_for_nothing() -> None:
    text = page(made(spiral("a", 200), spiral("b", 150, is_lost=True)))
    assert len(text.encode()) < 500_000
    without_namespaces = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|@import|<link rel=\"stylesheet|src=", without_namespaces)
    assert text.count("<script") == 2
    assert "diverged at step 150" in text


@ALL
def test_every_surface_makes_a_small_page_and_a_readable_figure(surface: Surface) -> None:
    angle = np.linspace(0, 6, 300)[:, None]
    points = np.array([surface.start]) + 0.1 * np.hstack([np.cos(angle), np.sin(angle)])
    values = surface.value(points[:, 0], points[:, 1], np)
    paths = [replace(spiral(name, 300), points=points, values=values) for name in "abcdefghij"]
    came_out = made(*paths, name=surface.name)
    assert len(page(came_out).encode()) < 500_000
    figure = still(came_out)
    assert "var(" not in figure
    root = ET.fromstring(figure)
    words = "".join(root.itertext())
    assert formula(surface) in words
    assert all(path.label in words for path in paths)


def test_formulas_are_set_with_powers() -> None:
    assert formula(find("double_well")) == "f = x\u2074 / 4 \u2212 x\u00b2 / 2 + 0.15 x + y\u00b2"
    assert not any(set("^-") & set(formula(surface)) for surface in SURFACES.values())


def test_the_page_says_what_noise_does_to_late_arrivals() -> None:
    quiet = made(spiral("a", 20))
    noisy = Race(replace(quiet.asked, noise=0.5), quiet.trajectories)
    words = "shortly before the end may have done so by luck"
    assert words not in page(quiet)
    assert words in page(noisy)
    assert "noise 0.5 on the gradient" in still(noisy)


def test_labels_are_escaped() -> None:
    came_out = made(spiral("<b>&", 20))
    assert "<b>&" not in page(came_out).replace("\\u003cb>&", "")
    assert "&lt;b&gt;&amp;" in still(came_out)


def test_the_animation_holds_every_step() -> None:
    came_out = made(spiral("a", 500))
    (rule,) = moving(came_out)["rules"]
    steps, x, y = (np.cumsum(rule[key]) for key in "kxy")
    places = pixels(frame(find("bowl")), came_out.trajectories[0].points)
    shown = np.searchsorted(steps, np.arange(500), side="right") - 1
    assert x[shown].tolist() == places[:, 0].tolist()
    assert y[shown].tolist() == places[:, 1].tolist()


def test_very_long_paths_are_thinned_and_keep_their_end() -> None:
    came_out = made(*(spiral(name, 10_000) for name in "abcdefgh"))
    data = moving(came_out)
    assert stride(came_out) == 5
    assert sum(len(rule["k"]) for rule in data["rules"]) <= MOST_POINTS + 16
    assert all(sum(rule["k"]) <= 9_999 for rule in data["rules"])
    last = pixels(frame(find("bowl")), came_out.trajectories[0].points[-1:])[0].tolist()
    assert [sum(data["rules"][0][key]) for key in "xy"] == last
    text = page(came_out)
    assert "one step in 5 is drawn" in text
    assert len(text.encode()) < 500_000


def test_places_far_away_are_drawn_in_along_their_direction() -> None:
    box = frame(find("bowl"))
    near, far = pixels(box, np.array([[0.1, 0.05], [1e30, 5e29]])) - np.array([500, 400])
    assert near.tolist() == pytest.approx([17, -8], abs=1)
    assert far[0] == 4000
    assert far[1] / far[0] == pytest.approx(-0.5, abs=0.01)


def test_a_cross_stands_where_the_path_left() -> None:
    box = frame(find("bowl"))
    places = np.array([[500, 400], [900, 400], [1700, 400]])
    assert leaving(places, box) == (988.0, 400.0)
    assert leaving(places[:2], box) == (900.0, 400.0)
    assert leaving(np.array([[500, 400], [500, -4000]]), box) == (500.0, 12.0)


def test_the_summary_says_what_came_out() -> None:
    lines = summary(made(spiral("sgd", 30), spiral("lion", 20, is_lost=True))).splitlines()
    assert lines[0] == "bowl: 29 steps from \u22122.4, 1.7"
    assert lines[2].split() == ["rule", "rate", "steps", "to", "0.001", "final", "value", "end"]
    assert lines[3].split()[:4] == ["sgd", "0.1", "never", "0"]
    assert lines[4].endswith("diverged at step 20")


def test_drawing_pages_does_not_load_jax() -> None:
    code = (
        "import sys, lanework.surfaces.page, lanework.surfaces.summary; print('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


# The command -----------------------------------------------------------------------------------


def test_help_reads_as_reviewed(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    done = lanework("surface", "--help", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    golden("help-surface.txt", done.stdout)


def test_the_command_writes_a_page_and_a_figure(tmp_path: Path) -> None:
    done = lanework(
        "surface", "saddle", "--optimizer", "sgd", "--optimizer", "momentum:momentum=0.5",
        "--steps", "20", "--budget", "5", "--start", "-1,0.1", folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"^momentum, momentum 0\.5 +\S+ +(\d+|never) ", done.stdout, re.MULTILINE)
    assert done.stdout.endswith(
        "Page:   runs/surfaces/saddle.html\nFigure: runs/surfaces/saddle.svg\n"
    )
    folder = tmp_path / "runs/surfaces"
    assert sorted(path.name for path in folder.iterdir()) == ["saddle.html", "saddle.svg"]


def test_the_command_lists_the_surfaces(tmp_path: Path) -> None:
    done = lanework("surface", "--list", folder=tmp_path)
    assert done.returncode == 0
    assert all(f"f = {row.entry.formula}" in done.stdout for row in SURFACES.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), r"must have the name of a surface\. Use one of bowl, ravine"),
        (("hole",), r"must be the name of a surface, got 'hole'"),
        (("bowl", "--optimizer", "adm"), r"--optimizer adm: must be the name of an optimizer, got 'adm'\."),
        (("bowl", "--steps", "0"), r"--steps: must be from 1 to 10000, got 0"),
    ],
)  # fmt: skip
def test_a_bad_request_ends_with_2(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = lanework("surface", *arguments, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert re.search(message, " ".join(done.stderr.split()))


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    asked = asked_for("bowl", ["sgd"], rate=0.1, steps=2)
    with pytest.raises(StoreError, match=r"taken: must be a folder that can be written.*--out"):
        surfaces.draw(asked, folder=tmp_path / "taken")


def test_entrants_are_plain_records() -> None:
    asked = request(find("bowl"), ["sgd:learning_rate=0.5"])
    assert asked.entrants == (Entrant("sgd", asked.entrants[0].choice, 0.5),)
