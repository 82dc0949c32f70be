"""The search for a learning rate: range tests with a known limit, the choice among rates, `auto`, the command."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lanework
from lanework.api import rate_choice, rates
from lanework.api.rate_choice import Outcomes, choose, edge_warning, first_rates, next_rates
from lanework.errors import SpecError
from lanework.report import rate_page
from lanework.report.facts import metric_named
from lanework.report.rate_page import RampFacts, RateFacts, SearchFacts, rate_text
from lanework.spec import StudySpec, content_hash, dump_study, expand, parse_study
from lanework.spec.yaml_io import from_yaml
from tests.helpers import lanework as command

ACCURACY = replace(metric_named("val_accuracy"), resolution=0.01)
RAMP = np.geomspace(1e-6, 10.0, 100)


def parsed(**keys: Any) -> StudySpec:
    plain = {"study": "tiny", "data": {"source": "iris"}, "model": {"net": "mlp", "hidden": [8]}}
    return parse_study({**plain, **keys}, base=Path.cwd())


# Smoothing and reading a curve -----------------------------------------------------------------


def test_smoothing_is_a_weighted_mean_of_all_points_so_far() -> None:
    values = np.random.default_rng(0).normal(size=(3, 20))
    found = rate_choice.smoothed(values, weight=0.8)
    for point in range(20):
        weights = 0.8 ** np.arange(point, -1, -1)
        slow = (values[:, : point + 1] * weights).sum(axis=1) / weights.sum()
        np.testing.assert_allclose(found[:, point], slow, rtol=1e-12)


def falling(*, at: float, lost: float, noise: float, seeds: int = 5, start: float = 2.3) -> Any:
    """Losses that fall most steeply at one rate (over log rate), and explode beyond another."""
    logs = np.log(RAMP)
    curve = start / (1.0 + np.exp(2.0 * (logs - math.log(at))))
    curve = curve + np.where(lost < RAMP, (RAMP / lost) ** 8 - 1.0, 0.0)
    return curve + noise * np.random.default_rng(1).normal(size=(seeds, len(RAMP)))


@pytest.mark.parametrize(("at", "lost"), [(1e-3, 0.1), (1e-2, 1.0), (3e-5, 1e-3)])
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.15])
def test_steepest_fall_and_limit_of_a_known_curve(at: float, lost: float, noise: float) -> None:
    facts = rate_choice.ramp_facts(RAMP, falling(at=at, lost=lost, noise=noise), about="once")
    assert facts.state == "ok"
    assert facts.steepest is not None
    assert facts.limit is not None
    assert 0.5 <= facts.steepest / at <= 2.0
    assert 0.9 <= facts.limit / lost <= 1.6
    assert facts.suggestion == min(facts.steepest, facts.limit / 10)
    assert f"falls fastest at {rate_text(facts.steepest)}" in facts.words
    assert f"breaks at {rate_text(facts.limit)}" in facts.words


def test_smoothing_does_not_shift_the_curve() -> None:
    raw = falling(at=1e-2, lost=1e9, noise=0.0)
    facts = rate_choice.ramp_facts(RAMP, raw, about="once")
    later = np.interp(np.log(facts.smooth_rates), np.log(RAMP), raw[0])
    assert np.abs(facts.smooth[0] - later)[10:].max() < 0.1
    assert np.abs(facts.smooth[0] - raw[0])[10:].max() > 0.3


def test_seeds_that_are_no_longer_finite_are_lost_from_there_on() -> None:
    losses = falling(at=1e-3, lost=1e9, noise=0.01)
    for seed, point in enumerate([80, 70, 75, 60, 72]):
        losses[seed, point:] = np.nan
        losses[seed, 99] = 1.0  # what comes after is not looked at
    facts = rate_choice.ramp_facts(RAMP, losses, about="once")
    assert facts.limit == pytest.approx(RAMP[72])
    assert facts.limit_range is not None
    assert facts.limit_range[0] < facts.limit < facts.limit_range[1]
    assert np.isnan(facts.smooth[3, 60:]).all()


def test_a_flat_curve_says_that_it_shows_nothing() -> None:
    noise = np.random.default_rng(2).normal(size=(5, 100))
    facts = rate_choice.ramp_facts(RAMP, 2.3 + 0.05 * noise, about="once")
    assert (facts.state, facts.suggestion) == ("flat", None)
    assert "it shows nothing, the loss does not fall at any rate" in facts.words
    assert first_rates(facts)[0] == 1e-5
    assert first_rates(facts)[-1] == 10.0


@pytest.mark.parametrize("start", [0, 2])
def test_a_curve_that_breaks_at_once_says_so(start: int) -> None:
    losses = np.full((3, 100), 2.3)
    losses[:, start:] = np.nan
    facts = rate_choice.ramp_facts(RAMP, losses, about="once")
    assert (facts.state, facts.suggestion) == ("at_once", None)
    assert "it shows nothing, the loss breaks at once" in facts.words


def test_a_curve_that_never_breaks_says_so() -> None:
    facts = rate_choice.ramp_facts(RAMP, falling(at=1e-2, lost=1e9, noise=0.02), about="once")
    assert facts.limit is None
    assert "does not break up to 10.0" in facts.words


def test_the_first_round_lies_where_the_range_test_points() -> None:
    facts = rate_choice.ramp_facts(RAMP, falling(at=1e-2, lost=0.5, noise=0.02), about="once")
    found = first_rates(facts)
    assert len(found) == 9
    assert facts.limit is not None
    assert found[-1] == pytest.approx(facts.limit, rel=0.1)
    assert 1e-4 < found[0] < 1e-2


# Choosing --------------------------------------------------------------------------------------


def tried(results: dict[float, Sequence[float]], turn: int = 1) -> dict[float, Outcomes]:
    return {rate: Outcomes(turn, tuple(values)) for rate, values in results.items()}


def around(mean: float, spread: float = 0.004) -> list[float]:
    return [mean + spread * step for step in (-1, 0.5, 1, -0.5, 0)]


def test_the_middle_of_rates_that_cannot_be_told_apart_is_taken() -> None:
    shuffled = [around(0.96)[i] for i in (3, 1, 4, 0, 2)]
    results = {0.001: around(0.80), 0.003: shuffled, 0.01: around(0.961), 0.03: shuffled[::-1], 0.1: around(0.7)}  # fmt: skip
    found = choose(tried(results), metric=ACCURACY)
    assert (found.rate, found.edge) == (0.01, "")
    assert [trial.rate for trial in found.trials if trial.is_level] == [0.003, 0.01, 0.03]
    assert (
        "The 3 rates tried from 0.003 to 0.03 cannot be told apart; this is the middle"
        in found.reason
    )


def test_of_two_equal_rates_the_larger_one_is_taken() -> None:
    results = {0.001: around(0.8), 0.01: around(0.96), 0.1: around(0.96)[::-1], 1.0: around(0.5)}
    found = choose(tried(results), metric=ACCURACY)
    assert found.rate == 0.1


def test_a_rate_beyond_a_worse_one_is_not_as_good_as_the_best() -> None:
    results = {0.001: around(0.96), 0.01: around(0.8), 0.1: around(0.961), 1.0: around(0.5)}
    found = choose(tried(results), metric=ACCURACY)
    assert [trial.rate for trial in found.trials if trial.is_level] == [0.1]
    assert found.rate == 0.1
    assert "the best of 4 rates tried" in found.reason


def test_a_rate_that_loses_a_seed_is_not_as_good_as_the_best() -> None:
    results = {0.01: around(0.96), 0.1: [*around(0.97)[:4], math.nan], 1.0: [math.nan] * 5}
    found = choose(tried(results), metric=ACCURACY)
    assert found.rate == 0.01
    assert [trial.num_bad for trial in found.trials] == [0, 1, 5]


@pytest.mark.parametrize(("order", "edge", "words"), [(1, "high", "largest one tried: a larger"), (-1, "low", "smallest one tried: a smaller")])  # fmt: skip
def test_a_best_rate_at_an_edge_is_warned_about_and_passed(
    order: int, edge: str, words: str
) -> None:
    means = [0.5, 0.7, 0.8, 0.9][::order]
    found = choose(tried(dict(zip([0.001, 0.01, 0.1, 1.0], map(around, means), strict=True))), metric=ACCURACY)  # fmt: skip
    assert found.edge == edge
    assert words in edge_warning(found)
    beyond = next_rates(found, last_turn=1)
    assert len(beyond) == 4
    assert min(beyond) > 1.0 if edge == "high" else max(beyond) < 0.001


def test_the_second_round_narrows_and_then_it_is_enough() -> None:
    first = {0.001: around(0.8), 0.01: around(0.96), 0.1: around(0.9)}
    found = choose(tried(first), metric=ACCURACY)
    assert edge_warning(found) == ""
    second = next_rates(found, last_turn=1)
    assert len(second) == 6
    assert min(second) == pytest.approx(0.01 / 3, rel=0.05)
    assert max(second) == pytest.approx(0.01 * 3, rel=0.05)
    both = tried(first) | tried({rate: around(0.95) for rate in second}, turn=2)
    assert next_rates(choose(both, metric=ACCURACY), last_turn=2) == ()


def test_where_everything_diverged_the_search_goes_on_below_and_then_says_so() -> None:
    found = choose(tried({rate: [math.nan] * 3 for rate in (0.001, 0.1)}), metric=ACCURACY)
    assert (found.rate, found.best) == (None, None)
    assert "No rate trained: every run from 0.001 to 0.1 diverged" in found.reason
    assert max(next_rates(found, last_turn=1)) < 0.001


def test_one_seed_makes_rates_equal_only_where_results_are() -> None:
    results = {0.001: [0.90], 0.01: [0.96], 0.1: [0.955], 1.0: [0.8]}
    found = choose(tried(results), metric=ACCURACY)
    assert [trial.rate for trial in found.trials if trial.is_level] == [0.01, 0.1]


def test_of_an_error_less_is_better() -> None:
    results = {0.001: around(9.0), 0.01: around(2.0), 0.1: around(5.0)}
    found = choose(tried(results), metric=metric_named("val_rmse", unit="cm"))
    assert found.rate == 0.01
    assert "validation RMSE 2.000\u202fcm" in found.reason


@pytest.mark.parametrize("rate", [1e-9, 3.2e-5, 0.0001, 0.00032, 0.05, 1.0, 3.0, 10.0, 250.0])
def test_a_rate_is_written_so_that_a_study_file_reads_it_as_a_number(rate: float) -> None:
    assert from_yaml(f"learning_rate: {rate_text(rate)}", where="here") == {"learning_rate": rate}


# The whole search ------------------------------------------------------------------------------


def linear(scale: float, rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, 4)).astype(np.float32) * np.float32(scale)
    y = x @ np.array([1.0, -2.0, 0.5, 1.0], np.float32) / scale
    return x, (y + 0.3 * random.normal(size=rows)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_the_range_test_finds_the_limit_of_stability(
    scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "MAX_TURNS", 1)
    x, y = linear(scale)
    study = lanework.Study(
        data={"source": (x, y), "prepare": "none", "task": "regression"},
        model={"net": "mlp", "hidden": []},
        train={"optimizer": "sgd", "batch_size": 70, "epochs": 2},
    )
    (found,) = rates.search(study.spec, arrays=(x, y), num_seeds=3).recipes
    # Mean squared error of a linear model: the curvature is twice the second moments of inputs and bias.
    inputs = np.hstack([x, np.ones((len(x), 1))])
    limit = 2.0 / (2.0 * np.linalg.eigvalsh(inputs.T @ inputs / len(x)).max())
    assert found.ramp.limit is not None
    assert 0.5 <= found.ramp.limit / limit <= 2.0
    assert found.rate is not None
    assert found.rate < limit
    assert (
        any(trial.num_bad for trial in found.trials if trial.rate > 2 * limit)
        or max(trial.rate for trial in found.trials) < 2 * limit
    )


@pytest.mark.slow
def test_the_rate_found_for_adam_on_digits_is_as_good_as_the_best_of_a_grid() -> None:
    data = {"source": "digits", "limit_rows": 600}
    train = {"epochs": 8, "batch_size": 32, "optimizer": "adam"}
    common: dict[str, Any] = {"data": data, "model": {"net": "mlp", "hidden": [32]}}
    study = lanework.Study(study="digits", train={**train, "learning_rate": "auto"}, **common)
    done, (record,) = rates.resolve_auto(study.spec)
    found = record["learning_rate"]
    assert 3e-4 <= found <= 3e-2
    assert done.train.learning_rate == found
    assert record["range_test"]["state"] == "ok"

    grid = [found, 1e-4, 3.16e-4, 1e-3, 3.16e-3, 1e-2, 3.16e-2, 0.1]
    grid = list(dict.fromkeys(grid))
    compared = lanework.Study(
        study="grid", train=train, compare={"learning_rate": grid}, seeds=5, **common
    )
    table = _frame(compared).groupby("learning_rate")["val_accuracy"].mean()
    assert table[found] >= table.max() - 0.02


def _frame(study: lanework.Study) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return study.run(Path(folder) / "runs").frame()


# auto ------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that is over at once: fewer steps, seeds and rates, everything else as it is."""
    monkeypatch.setattr(rates, "RAMP_STEPS", 60)
    monkeypatch.setattr(rates, "RAMP_POINTS", 30)
    monkeypatch.setattr(rates, "NUM_SEEDS", 2)
    monkeypatch.setattr(rates, "MAX_TURNS", 1)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_auto_gives_each_recipe_its_own_rate_and_keeps_the_rest() -> None:
    spec = parsed(
        train={"epochs": 3, "batch_size": 16, "learning_rate": "auto"},
        compare={"optimizer": ["sgd", "adam"], "l2": [0.01, 0.1]},
        exclude=[{"optimizer": "sgd", "l2": 0.01}],
        seeds=2,
    )
    before = expand(spec)
    done, records = rates.resolve_auto(spec)
    after = expand(done)
    assert [arm.name for arm in after] == [arm.name for arm in before]
    assert [record["recipe"] for record in records] == [arm.name for arm in before]
    for old, new, record in zip(before, after, records, strict=True):
        assert new.config.train.learning_rate == record["learning_rate"]
        wanted = old.config.train.model_copy(update={"learning_rate": record["learning_rate"]})
        assert new.config == old.config.model_copy(update={"train": wanted})
        assert rate_text(record["learning_rate"]) in record["reason"]
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    again = parse_study(from_yaml(dump_study(done), where="here"), base=Path.cwd())
    assert content_hash(again) == content_hash(done)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_auto_leaves_rates_that_were_given() -> None:
    spec = parsed(
        train={"epochs": 2, "batch_size": 16},
        compare=[{"name": "found", "optimizer": "adam", "learning_rate": "auto"}, {"name": "given", "optimizer": "sgd", "learning_rate": 0.05}],
    )  # fmt: skip
    done, records = rates.resolve_auto(spec)
    assert [record["recipe"] for record in records] == ["found"]
    used = {arm.name: arm.config.train.learning_rate for arm in expand(done)}
    assert used == {"found": records[0]["learning_rate"], "given": 0.05}
    assert rates.resolve_auto(spec) == (done, records)  # the same study finds the same rates


def test_a_study_without_auto_stays_as_it_is() -> None:
    spec = parsed(train={"learning_rate": 0.01}, compare={"model.init": ["auto", "zeros"]})
    done, records = rates.resolve_auto(spec)
    assert done is spec
    assert records == []


def doomed() -> tuple[StudySpec, tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(0)
    x = (random.normal(size=(80, 3)) * 1e17).astype(np.float32)
    y = random.normal(size=80).astype(np.float32)
    study = lanework.Study(
        data={"source": (x, y), "prepare": "none", "task": "regression"},
        model={"net": "mlp", "hidden": [4]},
        train={"optimizer": "sgd", "epochs": 2, "learning_rate": "auto"},
    )
    return study.spec, (x, y)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_where_every_rate_diverges_auto_is_a_clear_error() -> None:
    spec, arrays = doomed()
    with pytest.raises(SpecError, match=r"train\.learning_rate: auto must find a rate for .*got none\. No rate trained: every run from"):  # fmt: skip
        rates.resolve_auto(spec, arrays=arrays)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_where_every_rate_diverges_the_search_says_so() -> None:
    spec, arrays = doomed()
    facts = rates.search(spec, arrays=arrays, num_seeds=2)
    assert facts.recipes[0].rate is None
    assert facts.recipes[0].ramp.state == "at_once"
    words = rates.summary(facts)
    assert "no learning rate found" in words
    assert "the loss breaks at once" in words
    assert "A learning rate for 0 of 1 recipe" in rate_page.rate_page(facts)


def test_too_many_recipes_are_refused_before_anything_is_trained() -> None:
    spec = parsed(compare={"hidden": [[width] for width in range(2, 40)]})
    with pytest.raises(SpecError, match=r"must leave at most 24 recipes .* got 38"):
        rates.search(spec)


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ({"compare": {"learning_rate": [0.1, 0.01]}}, ["adam"]),
        ({"train": {"optimizer": "sgd", "learning_rate": 0.1}}, ["sgd"]),
        (
            {
                "compare": {
                    "optimizer": ["sgd", {"name": "adam", "learning_rate": 0.1}, "adam"],
                    "l2": [0.0, 0.1],
                },
                "exclude": [{"optimizer": {"name": "adam", "learning_rate": 0.1}, "l2": 0.1}],
            },
            ["sgd, l2=0", "sgd, l2=0.1", "adam, l2=0", "adam, l2=0.1"],
        ),
        (
            {"compare": [{"name": "a", "learning_rate": 0.1}, {"name": "b", "learning_rate": 0.2}, {"name": "c", "l2": 0.1}]},
            ["a", "c"],
        ),
    ],
)  # fmt: skip
def test_rates_of_a_study_do_not_count_as_recipes(keys: dict[str, Any], names: list[str]) -> None:
    assert [name for name, _ in rates.distinct(parsed(**keys))] == names


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_large_study_is_searched_in_shorter_runs_on_fewer_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rates, "SEARCH_STEPS", 10)
    monkeypatch.setattr(rates, "MOST_SEARCH_STEPS", 5)
    spec = parsed(train={"epochs": 9, "batch_size": 8, "schedule": "cosine"})
    (found,) = rates.search(spec, num_seeds=2).recipes
    assert found.epochs == 2
    assert found.rows == 54  # 105 rows to train on in 14 steps; 5 of them
    told = found.warnings[-1]
    assert "the study has 9 epochs" in told
    assert "schedule (cosine) was left out" in told
    assert "on 54 of 150 rows" in told


# Command, page and picture ---------------------------------------------------------------------

STUDY = """\
study: tiny
data: {source: digits, limit_rows: 200}
model: {net: mlp, hidden: [8]}
train: {epochs: 3, batch_size: 32}
compare: {optimizer: [sgd, adam]}
"""


def test_help_reads_as_reviewed(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    done = command("rate", "--help", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    golden("help-rate.txt", done.stdout)


def test_the_command_prints_lines_to_paste_and_leaves_a_page(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY)
    done = command("rate", "tiny.yaml", "--seeds", "2", "--budget", "2", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("Page: runs/tiny-rate/rate.html")
    lines = re.findall(r"^  (learning_rate: [0-9.e-]+)$", done.stdout, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        assert from_yaml(line, where="here")["learning_rate"] > 0
    assert "range test: training program" in done.stderr
    assert "searching, round 2" in done.stderr
    assert sorted(path.name for path in (tmp_path / "runs/tiny-rate").iterdir()) == [
        "rate.html",
        "rate.svg",
    ]
    page = (tmp_path / "runs/tiny-rate/rate.html").read_text()
    assert all(line in page for line in lines)
    ElementTree.parse(tmp_path / "runs/tiny-rate/rate.svg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.yaml",), r"nowhere\.yaml"),
        (
            ("x.yaml", "--seeds", "0"),
            r"--seeds.*must be a whole number >= 1, got 0\. Use for example 5",
        ),
        (
            ("x.yaml", "--budget", "0"),
            r"--budget.*must be a whole number >= 1, got 0\. Use for example 5",
        ),
    ],
)
def test_a_bad_request_ends_with_2(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = command("rate", *arguments, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert re.search(message, " ".join(done.stderr.split()))


def made_up() -> SearchFacts:
    """Facts of two recipes as a search leaves them; one of them found nothing."""
    random = np.random.default_rng(0)
    good = rate_choice.ramp_facts(RAMP, falling(at=1e-2, lost=0.6, noise=0.05), about="once")
    bad: RampFacts = rate_choice.ramp_facts(RAMP, np.full((5, 100), np.nan), about="once")
    results: dict[float, Sequence[float]] = {}
    for rate in np.geomspace(1e-4, 1.0, 9):
        mean = 0.95 - 0.05 * math.log10(rate / 0.02) ** 2
        results[float(f"{rate:.2g}")] = (mean + 0.006 * random.normal(size=5)).tolist()
    results[1.0] = [math.nan] * 5
    results[0.32][1] = math.nan  # type: ignore[index]
    outcomes = tried(results)
    outcomes |= tried({0.02: around(0.952), 0.014: around(0.949), 0.028: around(0.951)}, turn=2)
    choices = [choose(outcomes, metric=ACCURACY), choose(tried({0.1: [math.nan] * 5}), metric=ACCURACY)]  # fmt: skip
    recipes = tuple(
        RateFacts(name, one.rate, one.best, one.reason, (ramp.words,), ramp, one.trials, 8, 400, None)
        for name, one, ramp in zip(("adam <b>", "sgd"), choices, (good, bad), strict=True)
    )  # fmt: skip
    return SearchFacts("made & up", ACCURACY, 5, recipes)


def test_the_page_escapes_and_names_everything() -> None:
    page = rate_page.rate_page(made_up())
    body = page[: page.index("<script")]
    assert "adam &lt;b&gt;" in body
    assert "<b></" not in body
    assert "made &amp; up" in body
    assert "A learning rate for 1 of 2 recipes" in body
    assert "https://" not in body
    for name in ("ramp0-0", "search0-0", "search1-0"):
        assert f'data-chart="{name}"' in body
    assert 'data-chart="ramp1-0"' not in body  # nothing finite to draw


@pytest.mark.parametrize("is_dark", [False, True])
def test_the_picture_is_xml_with_real_colours_and_all_inside_of_it(is_dark: bool) -> None:
    drawn = rate_page.rate_svg(made_up(), is_dark=is_dark)
    root = ElementTree.fromstring(drawn)
    assert "var(--" not in drawn
    assert "nan" not in drawn
    width, height = (float(root.attrib[key]) for key in ("width", "height"))
    for node in root.iter():
        x, y = node.attrib.get("x", node.attrib.get("cx")), node.attrib.get("y")
        assert x is None or 0 <= float(x) <= width
        assert y is None or 0 <= float(y) <= height
    texts = [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert any(text.startswith("adam <b> \u2013 learning_rate: ") for text in texts)
    assert "sgd \u2013 no rate found" in texts


@pytest.mark.browser
@pytest.mark.parametrize(("size", "is_dark"), [("1280,1800", False), ("500,1800", True)])
def test_the_page_opens_in_a_browser(tmp_path: Path, size: str, is_dark: bool) -> None:
    import shutil

    from tests.browser.test_report_browser import MARKS, NAMES, visit

    browser = next((path for path in map(shutil.which, NAMES) if path), None)
    if browser is None:
        pytest.skip("no Chromium: the page was not looked at in a browser")
    page = tmp_path / "rate.html"
    page.write_text(rate_page.rate_page(made_up()), encoding="utf-8")
    charts = visit(browser, page, MARKS, size=size, is_dark=is_dark)
    assert [chart["name"] for chart in charts] == ["ramp0-0", "search0-0", "search1-0"]
    for chart in charts:
        assert chart["marks"] > 0, chart
        assert chart["width"] > 200, chart
    width = visit(
        browser,
        page,
        "return [document.documentElement.scrollWidth, innerWidth];",
        size=size,
        is_dark=is_dark,
    )
    assert width[0] <= width[1]
