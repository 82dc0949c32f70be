"""The findings in words: a golden text for each kind of study, and the words themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lanework import report
from lanework.report import units
from lanework.report.answers import answer, is_too_few, p_text, standing_text
from lanework.report.facts import read_facts
from lanework.stats import rank_arms
from tests.synthetic import STUDIES, write_study

Golden = Callable[[str, str], None]


def test_the_answers_to_all_kinds_of_studies(tmp_path: Path, golden: Golden) -> None:
    texts = []
    for kind in STUDIES:
        folder = write_study(tmp_path / kind, kind)
        texts.append(f"== {kind}\n{report.summary(folder)}\n")
    golden("report-answers.txt", "\n".join(texts))


def test_every_sentence_is_one(tmp_path: Path) -> None:
    for kind in STUDIES:
        found = answer(read_facts(write_study(tmp_path / kind, kind)))
        sentences = [found.title, *found.lead, *(item.text for item in found.troubles)]
        assert all(sentence.endswith(".") for sentence in sentences), sentences
        assert not any("nan" in sentence.split() for sentence in sentences), sentences


def words_of(folder: Path, kind: str) -> str:
    return report.summary(write_study(folder / kind, kind))


def test_a_regression_at_the_mean_is_not_said_to_have_learned_nothing(tmp_path: Path) -> None:
    text = words_of(tmp_path, "at_the_mean")
    assert "They did no better than predicting the mean: init zeros (5)." in text
    assert "learn" not in text
    assert "chance" not in text
    facts = read_facts(tmp_path / "at_the_mean")
    assert facts.verdict("chance").label == "no better than the mean"


def test_two_seeds_are_said_to_be_too_few(tmp_path: Path) -> None:
    text = words_of(tmp_path, "two_seeds")
    assert "with only 2 seeds this cannot be told" in text
    assert "within seed noise" not in text


def test_a_clear_uncorrected_difference_is_not_called_noise() -> None:
    base = np.array([0.0, 0.1, 0.2, 0.1])
    noisy = [base + np.array([0.2, 0.3, 0.4, 0.3]) + 0.1 * k * base[::-1] for k in range(9)]
    places = rank_arms(
        np.stack([base, *noisy]),
        direction="min",
        is_bad=np.zeros((10, 4), dtype=bool),
        error_rate=0.01,
    )
    near = next(place for place in places[1:] if place.standing == "tied")
    assert near.against_best is not None
    assert near.against_best.difference.low > 0
    assert is_too_few(near)
    assert standing_text(near)[1] == "With only 4 seeds this cannot be told."
    assert not is_too_few(places[0])


def test_recipes_on_different_rows_are_named(tmp_path: Path) -> None:
    text = words_of(tmp_path, "splits")
    assert "Recipes that differ in split seed were measured on different rows" in text
    assert "different rows" not in words_of(tmp_path, "no_rate")


def test_without_validation_the_missing_value_is_named(tmp_path: Path) -> None:
    text = words_of(tmp_path, "no_validation")
    assert "There is no validation value to rank by." in text
    assert "10 runs finished without a value of validation accuracy" in text
    assert "No run has finished yet" not in text


def test_one_run_reads_like_one(tmp_path: Path) -> None:
    text = words_of(tmp_path, "one_run")
    assert "The recipe reached" in text
    assert "That is one seed, which says nothing about noise." in text
    assert "runs" not in text


def test_labels_of_an_axis_share_a_prefix() -> None:
    assert units.axis_labels([1.2e6, 1.25e6]) == ["1.2\u202fM", "1.25\u202fM"]
    assert units.axis_labels([]) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.00316, "0.00316"),
        (1.0, "1"),
        (100.0, "100"),
        (1234.5, "1234"),
        (3.1623e-6, "3.16e\u22126"),
        (-0.5, "\u22120.5"),
        (0.0, "0"),
        (2.5e7, "2.5e7"),
        (float("nan"), "\u2013"),
        (float("-inf"), "\u2212\u221e"),
    ],
)
def test_short_numbers(value: float, expected: str) -> None:
    assert units.short(value) == expected


def test_values_of_factors() -> None:
    assert units.scalar(True) == "yes"
    assert units.scalar(None) == "none"
    assert units.scalar(64) == "64"
    assert units.scalar(100_000) == "100\u202f000"
    assert units.scalar("adam") == "adam"
    assert units.scalar((64, 32)) == "64\u2009\u00d7\u200932"


def test_times_and_sizes() -> None:
    assert units.seconds(None) == "\u2013"
    assert units.seconds(0.2) == "200\u202fms"
    assert units.seconds(59.99) == "1\u202fmin"
    assert units.seconds(3600.0) == "1\u202fh"
    assert units.by_name("peak_flop_per_s", 1.81e11) == "181\u202fGflop/s"
    assert units.by_name("samples_per_s", 1.79e6) == "1.79\u202fM samples/s"
    assert units.by_name("memory_bytes", 2**30) == "1.0\u202fGiB"
    assert units.by_name("is_shared", True) == "yes"


def test_words_and_lists() -> None:
    assert units.words("matrix_peak_flop_per_s") == "matrix peak flop"
    assert units.listed([]) == ""
    assert units.sentence("xgboost won") == "Xgboost won."
    assert units.sentence("RMSE fell!") == "RMSE fell!"
    assert p_text(0.0004) == "p < 0.001"
    assert p_text(0.0213) == "p = 0.021"
