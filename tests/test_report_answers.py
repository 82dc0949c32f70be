"""The findings in words: a golden text for each kind of study, and the words themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lanework import report
from lanework.report import units
from lanework.report.answers import answer, p_text
from lanework.report.facts import read_facts
from tests.synthetic import STUDIES, write_study

Golden = Callable[[str, str], None]


def test_the_answers_to_all_kinds_of_studies(tmp_path: Path, golden: Golden) -> None:
    texts = []
    for kind in STUDIES:
        folder = write_study(tmp_path / kind, kind)
        texts.append(f"== {kind}\n{report.summary(folder)}\n")
    golden("report-answers.txt", "\n".join(texts))


def test_every_sentence_is_one(tmp_path: Path) -> None:
    for kind in ("demo", "hopeless", "one_seed", "no_rate", "unfinished", "edge", "regression"):
        found = answer(read_facts(write_study(tmp_path / kind, kind)))
        sentences = [found.title, *found.lead, *(item.text for item in found.troubles)]
        assert all(sentence.endswith(".") for sentence in sentences), sentences
        assert not any("nan" in sentence.split() for sentence in sentences), sentences


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
