"""A running text: alphabet of the training part, parts by place, windows, counts as a bar, writing on."""

from __future__ import annotations

import gzip
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lanework
from lanework.data import Preparation, load, peek
from lanework.data.text import ngram_losses, windows
from lanework.errors import DataError, SpecError, StoreError
from lanework.spec import DataSpec
from tests.helpers import data_folder
from tests.helpers import lanework as run_lanework

TEXT = "to be or not to be, that is the question. " * 60


def text_file(path: Path, text: str = TEXT) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def joined(part, alphabet) -> str:
    """The targets of a part as text."""
    return "".join(alphabet[code] for row in part.y for code in row if code >= 0)


def test_a_text_is_split_by_place_without_overlap(tmp_path):
    found = load(DataSpec(source=text_file(tmp_path / "a.txt"), context=32))
    n = len(TEXT)
    first, second = int(0.7 * n), int(0.85 * n)
    alphabet = found.preparation.alphabet
    assert joined(found.train, alphabet) == TEXT[1:first]
    assert joined(found.val, alphabet) == TEXT[first + 1 : second]
    assert joined(found.test, alphabet) == TEXT[second + 1 :]


def test_targets_are_the_inputs_shifted_by_one(tmp_path):
    found = load(DataSpec(source=text_file(tmp_path / "a.txt"), context=32))
    x, y = found.train.x, found.train.y
    np.testing.assert_array_equal(x[:-1, 1:], y[:-1, :-1])
    assert found.input.kind == "tokens"
    assert found.input.is_stepwise
    assert found.input.shape == (32,)
    assert found.num_outputs == len(found.classes) == len(found.preparation.alphabet)
    assert found.input.vocabulary == found.num_outputs + 1


def test_a_text_file_is_a_running_text_of_its_own_accord(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    found = load(DataSpec(source=str(path)))
    assert found.input.shape == (128,)
    assert "the task is to foretell the next character" in found.summary["decisions"][0]
    assert peek(DataSpec(source=str(path))) == []


def test_a_text_file_with_a_target_is_a_table(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a;y\n" + "1;2\n3;5\n4;7\n" * 9)
    assert load(DataSpec(source=str(path), target="y", task="regression")).input.kind == "table"


def test_the_alphabet_is_that_of_the_training_part_and_the_rest_is_told(tmp_path):
    text = "ab" * 400 + "aéaß" * 25 + "ba" * 50
    found = load(
        DataSpec(
            source=text_file(tmp_path / "a.txt", text),
            context=10,
            split={"train": 0.8, "val": 0.1, "test": 0.1},
        )
    )
    assert found.preparation.alphabet == ("a", "b")
    assert (
        found.val.x == 2
    ).sum() == 49  # the code of what is unknown; the last one is a target only
    assert set(np.unique(found.val.y)) == {-1, 0}  # it enters, but is no target
    told = " ".join(found.summary["decisions"])
    assert "The validation part has 50 characters (50 %) that training never saw" in told
    assert "'é', 'ß': they enter as one code, 'unknown' and do not count as targets." in told


def test_an_own_test_file(tmp_path):
    spec = DataSpec(
        source=text_file(tmp_path / "a.txt"),
        test=text_file(tmp_path / "b.txt", "not the question"),
        context=16,
    )
    found = load(spec)
    alphabet = found.preparation.alphabet
    assert joined(found.test, alphabet) == "ot the question"
    assert len(joined(found.train, alphabet)) + len(joined(found.val, alphabet)) == len(TEXT) - 2


def test_stride_overlaps_training_windows_only(tmp_path):
    source = text_file(tmp_path / "a.txt")
    one = load(DataSpec(source=source, context=32))
    four = load(DataSpec(source=source, context=32, stride=8))
    assert len(four.train) > 3.5 * len(one.train)
    np.testing.assert_array_equal(four.val.x, one.val.x)
    assert "start every 8; in validation and test they follow one another" in " ".join(
        four.summary["decisions"]
    )


@given(st.integers(2, 60), st.integers(2, 12), st.integers(1, 15))
@settings(max_examples=100, deadline=None)
def test_windows_against_a_slow_twin(length, context, stride):
    codes = np.arange(length)
    x, y = windows(codes, context=context, stride=stride, known=length)
    assert x.shape == y.shape
    seen: Counter[int] = Counter()
    for row_x, row_y in zip(x.tolist(), y.tolist(), strict=True):
        kept = [code for code in row_x if code >= 0]
        assert row_y[: len(kept)] == [code + 1 for code in kept]
        assert set(row_y[len(kept) :]) <= {-1}
        assert kept[0] % stride == 0
        seen.update(code for code in row_y if code >= 0)
    if stride <= context:
        assert set(seen) == set(range(1, length))  # each character but the first is a target
    if stride == context:
        assert set(seen.values()) == {1}


def slow_witten_bell(train: str, other: str, *, order: int, size: int) -> float:
    def chance(history: str, letter: str) -> float:
        lower = chance(history[1:], letter) if history else 1.0 / size
        after = [
            train[i + len(history)]
            for i in range(len(train) - len(history))
            if train[i : i + len(history)] == history
        ]
        kinds = len(set(after))
        if not after:
            return lower
        return (after.count(letter) + kinds * lower) / (len(after) + kinds)

    losses = [
        -math.log(chance(other[max(0, place - order + 1) : place], other[place]))
        for place in range(1, len(other))
    ]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_counts_of_characters_against_a_slow_twin(order):
    train, other = "abracadabra abracadabra", "a cabbage bar"
    letters = sorted(set(train) | set(other))
    codes = [np.array([letters.index(letter) for letter in text]) for text in (train, other)]
    (found,) = ngram_losses(codes[0], [codes[1]], num_codes=len(letters), order=order)
    assert found == pytest.approx(slow_witten_bell(train, other, order=order, size=len(letters)))


def test_repeated_pieces_are_hinted_at(tmp_path):
    found = load(DataSpec(source=text_file(tmp_path / "a.txt"), context=32))
    assert any("stand in the training text as well" in hint for hint in found.summary["hints"])
    letters = np.random.default_rng(0).integers(97, 123, 3000)
    fresh = load(
        DataSpec(source=text_file(tmp_path / "b.txt", "".join(map(chr, letters))), context=32)
    )
    assert fresh.summary["hints"] == []


def test_too_short_a_text_is_refused(tmp_path):
    source = text_file(tmp_path / "a.txt", "to be or not")
    with pytest.raises(DataError, match=r"must have more than 128 characters in its training part"):
        load(DataSpec(source=source))
    with pytest.raises(DataError, match=r"must have at least 2 characters in its validation part"):
        load(DataSpec(source=source, context=2, split={"train": 0.9, "val": 0.05, "test": 0.05}))


def test_windows_that_do_not_fit_are_refused(tmp_path):
    source = text_file(tmp_path / "a.txt", "ab" * 500_000)
    text = r"must leave windows of at most 4 GiB together, got 5.2 GiB .* Use a stride of 2 or more"
    with pytest.raises(DataError, match=text):
        load(DataSpec(source=source, context=1000, stride=1))


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc\0\1\2" * 100)
    with pytest.raises(DataError, match=r"must be text .*got binary data"):
        load(DataSpec(source=str(path)))
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"must hold data, got an empty file"):
        load(DataSpec(source=str(path)))
    with pytest.raises(DataError, match=r"which is not there"):
        load(DataSpec(source=str(tmp_path / "b.txt"), context=5))


def test_bytes_that_are_not_utf8_and_windows_lines_are_read(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("Grüße an alle\r\n".encode("cp1252") * 40)
    found = load(DataSpec(source=str(path), context=20))
    assert "ü" in found.preparation.alphabet
    assert "\r" not in found.preparation.alphabet
    told = " ".join(found.summary["decisions"])
    assert "read as Windows-1252" in told
    assert "line ends of Windows are read as line feeds" in told


def test_keys_that_do_not_go_together():
    with pytest.raises(ValueError, match=r"must be left out with context, got 'y'"):
        DataSpec(source="a.txt", context=10, target="y")
    with pytest.raises(ValueError, match=r"must be classification for running text"):
        DataSpec(source="a.txt", context=10, task="regression")


def test_new_text_is_coded_by_the_record(tmp_path):
    found = load(DataSpec(source=text_file(tmp_path / "a.txt"), context=32))
    record = Preparation.from_json(found.preparation.to_json())
    coded = record.transform(["to be", "É"])
    assert coded.shape == (2, 32)
    assert "".join(record.alphabet[code] for code in coded[0] if code >= 0) == "to be"
    assert coded[1, 0] == len(record.alphabet)


@pytest.mark.data
def test_shakespeare_loads_as_its_note_says():
    source = data_folder() / "tinyshakespeare" / "input.txt"
    found = load(DataSpec(source=str(source), split={"train": 0.9, "val": 0.1, "test": 0.0}))
    assert found.summary["characters"] == "1 003 854 characters train, 111 540 characters val"
    assert found.summary["alphabet"] == 65
    assert "2.049 nats per character on val" in found.summary["n_gram_loss"]


# From a study to a model that writes


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a study of a text that repeats itself."""
    folder = tmp_path_factory.mktemp("text")
    study = {
        "study": "letters",
        "data": {"source": text_file(folder / "a.txt", "abcd" * 500), "context": 8},
        "model": {"net": "gru", "hidden": [16], "embedding": 8},
        "train": {"epochs": 12, "batch_size": 32, "optimizer": "adam", "learning_rate": 0.03},
    }
    return lanework.Study(**study).run(folder / "run").folder


def test_a_running_text_is_ranked_by_loss_and_told_in_bits(written):
    results = lanework.load(written)
    (run,) = results.frame().to_dict("records")
    assert "validation loss" in results.summary()
    assert run["val_loss"] < 0.05
    assert run["val_perplexity"] == pytest.approx(math.exp(run["val_loss"]), rel=1e-4)
    assert run["val_bits"] == pytest.approx(run["val_loss"] / math.log(2.0), rel=1e-4)
    assert run["val_accuracy"] > 0.99


def test_the_exported_model_writes_on(written):
    model = lanework.load(written).best()
    # Longer than the context, with a character that training never saw.
    assert model.sample("?" + "ab" * 20 + "c", length=9, temperature=0.0) == "dabcdabcd"
    assert model.predict(["abca"])[0, :4].tolist() == ["b", "c", "d", "b"]
    with pytest.raises(StoreError, match=r"length must be >= 1 and temperature a number >= 0"):
        model.sample("a", length=0)


@pytest.mark.slow
def test_draws_follow_the_seed(written):
    model = lanework.load(written).best()
    first, again, other = (
        model.sample("a", length=30, temperature=9.0, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert len(model.sample(length=7)) == 7


def test_the_command_line_writes_on(written):
    told = run_lanework(
        *("sample", written, "abcd", "--length", "4", "--temperature", "0"), folder=written
    )
    assert told.stdout == "abcdabcd\n"


def test_metrics_of_steps_need_steps(tmp_path):
    study = lanework.Study(study="a", data="iris", report={"metric": "val_perplexity"})
    with pytest.raises(
        SpecError, match=r"report.metric: must be measured on a target by time step"
    ):
        study.plan()
