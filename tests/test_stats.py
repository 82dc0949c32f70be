"""Statistics against SciPy and against slow obvious twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as oracle

from lanework.stats import (
    Interval,
    band,
    holm,
    mean_interval,
    paired_test,
    rank_arms,
    seeds_needed,
    t_quantile,
    t_tail,
)

finite = st.floats(-1e3, 1e3, allow_nan=False)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 9, 29, 99, 1000])
@pytest.mark.parametrize("t", [1e-9, 1e-3, 0.5, 1.0, 2.776, 8.0, 40.0, 1e4])
def test_tail_agrees_with_scipy(t: float, df: int) -> None:
    assert t_tail(t, df) == pytest.approx(2 * oracle.t.sf(t, df), rel=1e-9, abs=1e-300)
    assert t_tail(-t, df) == t_tail(t, df)


@pytest.mark.parametrize("df", [1, 2, 4, 9, 99])
@pytest.mark.parametrize("level", [0.1, 0.5, 0.6, 0.95, 0.99, 0.99999])
def test_quantile_agrees_with_scipy(level: float, df: int) -> None:
    assert t_quantile(level, df) == pytest.approx(oracle.t.ppf((1 + level) / 2, df), rel=1e-9)


def test_tail_at_its_ends() -> None:
    assert t_tail(0.0, 5) == 1.0
    assert t_tail(math.inf, 5) == 0.0
    assert math.isnan(t_tail(math.nan, 5))


@settings(deadline=None)
@given(st.lists(finite, min_size=2, max_size=12))
def test_interval_agrees_with_scipy(values: list[float]) -> None:
    interval = mean_interval(values)
    spread = np.std(values, ddof=1) / math.sqrt(len(values))
    if spread > 1e-9:
        low, high = oracle.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=spread)
        assert interval.low == pytest.approx(low, rel=1e-9, abs=1e-9)
        assert interval.high == pytest.approx(high, rel=1e-9, abs=1e-9)


def test_interval_of_few_values() -> None:
    assert mean_interval([]).num_values == 0
    one = mean_interval([0.5, math.nan])
    assert one.mean == 0.5
    assert one.num_values == 1
    assert math.isnan(one.low)
    assert math.isnan(one.high)


@settings(deadline=None)
@given(st.lists(st.tuples(finite, finite), min_size=2, max_size=12))
def test_paired_test_agrees_with_scipy(pairs: list[tuple[float, float]]) -> None:
    first, second = np.array(pairs).T
    if np.std(first - second) > 1e-6:
        expected = oracle.ttest_rel(first, second).pvalue
        assert paired_test(first, second).p_value == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_equal_differences_of_a_stepped_metric_are_not_certainty() -> None:
    first, second = [0.9] * 2, [0.9 + 1 / 300] * 2
    assert paired_test(first, second).p_value == 0.0
    assert paired_test(first, second, resolution=1 / 300).p_value > 0.1
    assert paired_test(first, first).p_value == 1.0


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_is_what_its_definition_says(p_values: list[float]) -> None:
    order = np.argsort(p_values, kind="stable")
    expected = [0.0] * len(p_values)
    for rank, index in enumerate(order):
        earlier = [p_values[i] * (len(p_values) - r) for r, i in enumerate(order[: rank + 1])]
        expected[index] = min(1.0, max(earlier))
    assert holm(p_values) == pytest.approx(expected)


def test_holm_leaves_out_what_was_not_tested() -> None:
    adjusted = holm([0.02, math.nan, 0.04])
    assert adjusted[0] == pytest.approx(0.04)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.04)


def test_seeds_needed_reach_the_wanted_power() -> None:
    needed = seeds_needed(Interval(0.5, 0.0, 1.0, 1.0, 5))
    assert needed is not None
    draws = np.random.default_rng(0).normal(0.5, 1.0, size=(4000, needed))
    found = np.mean(oracle.ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05)
    assert 0.77 < found < 0.86


def test_seeds_needed_knows_when_to_give_up() -> None:
    assert seeds_needed(Interval(0.0, -1, 1, 1.0, 5)) is None
    assert seeds_needed(Interval(1e-4, -1, 1, 1.0, 5)) is None
    assert seeds_needed(Interval(1.0, math.nan, math.nan, math.nan, 1)) is None
    assert seeds_needed(Interval(1.0, 0.9, 1.1, 1e-6, 3)) == 2


def test_band_is_the_interval_of_each_step() -> None:
    values = np.random.default_rng(1).normal(size=(4, 6))
    values[1, 2:] = math.nan
    values[:, 5] = math.nan
    mean, low, high = band(values)
    for step in range(6):
        expected = mean_interval(values[:, step])
        np.testing.assert_allclose(
            [mean[step], low[step], high[step]], expected[:3], equal_nan=True, rtol=1e-12
        )


def none_bad(values: np.ndarray) -> np.ndarray:
    return np.zeros(values.shape, dtype=bool)


def test_a_clear_winner_a_tie_and_a_loser() -> None:
    rng = np.random.default_rng(0)
    seeds = rng.normal(0, 0.01, size=5)  # shared by all recipes: what pairing removes
    values = np.stack(
        [
            0.95 + seeds + rng.normal(0, 0.002, 5),
            0.9505 + seeds + rng.normal(0, 0.002, 5),
            0.90 + seeds + rng.normal(0, 0.002, 5),
        ]
    )
    places = rank_arms(values, direction="max", is_bad=none_bad(values))
    assert [p.standing for p in places] == ["best", "tied", "worse"]
    assert places[2].arm == 2
    assert places[1].more_seeds is None or places[1].more_seeds > 0
    backwards = rank_arms(-values, direction="min", is_bad=none_bad(values))
    assert [p.arm for p in backwards] == [p.arm for p in places]


def test_a_recipe_that_diverges_for_a_seed_is_never_called_equal() -> None:
    values = np.array([[0.97, 0.96, 0.97, 0.96], [0.98, 0.98, np.nan, 0.98], [np.nan] * 4])
    is_bad = np.isnan(values)
    places = rank_arms(values, direction="max", is_bad=is_bad, worst=0.1)
    assert [(p.arm, p.standing, p.num_bad) for p in places] == [
        (0, "best", 0),
        (1, "unsafe", 1),
        (2, "failed", 4),
    ]
    assert places[1].interval.mean == pytest.approx(0.98)
    assert places[1].score == pytest.approx((3 * 0.98 + 0.1) / 4)


def test_one_seed_is_not_tested_and_nothing_finished_is_said() -> None:
    values = np.array([[0.9], [0.8]])
    places = rank_arms(values, direction="max", is_bad=none_bad(values))
    assert [p.standing for p in places] == ["best", "untested"]
    nothing = np.full((2, 3), np.nan)
    places = rank_arms(nothing, direction="min", is_bad=np.ones((2, 3), dtype=bool))
    assert [p.standing for p in places] == ["failed", "failed"]
    assert rank_arms(np.zeros((0, 3)), direction="max", is_bad=np.zeros((0, 3), dtype=bool)) == ()


def test_absent_runs_are_left_out_of_their_pairs() -> None:
    values = np.array([[0.9, 0.91, 0.92, 0.93], [0.5, 0.51, 0.52, np.nan]])
    places = rank_arms(values, direction="max", is_bad=none_bad(values))
    assert places[1].against_best is not None
    assert places[1].against_best.difference.num_values == 3
    assert places[1].standing == "worse"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_the_family_wise_error_rate_is_kept(seed: int) -> None:
    """Under no difference at all a fixed best is rarely told from any of ten others."""
    rng = np.random.default_rng(seed)
    found = 0
    for _ in range(20):
        values = rng.normal(size=(11, 8))
        p_values = [paired_test(values[i], values[0]).p_value for i in range(1, 11)]
        found += min(holm(p_values)) < 0.05
    assert found <= 6  # binomial(20, 0.05) exceeds 6 with probability 3e-5


def test_an_interval_stays_within_what_is_possible() -> None:
    interval = mean_interval([0.96, 1.0, 1.0, 0.99], limits=(0.0, 1.0))
    assert interval.high == 1.0
    assert mean_interval([0.96, 1.0, 1.0, 0.99]).high > 1.0
