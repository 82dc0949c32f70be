"""Sequences of different length: coded, cut, padded; from tables, lists, Parquet and NPZ; generated tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanework.data import Preparation, load, peek, sequences
from lanework.errors import DataError, SpecError
from lanework.spec import DataSpec, expand, parse_study
from tests.helpers import data_folder


def table(path: Path, rows: list[tuple[str, str]], header: str = "name,language") -> str:
    path.write_text(header + "\n" + "\n".join(",".join(row) for row in rows) + "\n", "utf-8")
    return str(path)


def names(path: Path, **extra: object) -> DataSpec:
    rows = [
        (name, "x" if "a" in name else "y") for name in ["Anna", "Bob", "NA", "Nan", "Eve"] * 20
    ]
    given = {"target": "language", "columns": {"name": "text"}, **extra}
    return DataSpec(source=table(path / "names.csv", rows), **given)  # type: ignore[arg-type]


# From tables


def test_a_column_of_text_becomes_padded_codes(tmp_path):
    found = load(names(tmp_path))
    assert found.input.kind == "tokens"
    assert found.input.shape == (4,)
    assert not found.input.is_stepwise
    assert found.input.vocabulary == len(found.preparation.alphabet) + 1
    assert found.train.x.dtype == np.int32
    words = {"".join(found.preparation.alphabet[c] for c in row if c >= 0) for row in found.train.x}
    assert words == {"Anna", "Bob", "NA", "Nan", "Eve"}  # NA and Nan are names, not gaps
    assert found.summary["lengths"] == "2 to 4 characters, median 3"
    told = " ".join(found.summary["decisions"])
    assert "padded at the end to 4 characters, and the padding is masked" in told


def test_padding_stands_at_the_end(tmp_path):
    x = load(names(tmp_path)).train.x
    is_padded = x == sequences.PADDING
    assert is_padded.any()
    assert (np.diff(is_padded.astype(int), axis=1) >= 0).all()


def test_the_alphabet_is_that_of_the_training_part(tmp_path):
    rows = [("ab", "x"), ("ba", "y")] * 50
    source = table(tmp_path / "a.csv", rows)
    test = table(tmp_path / "b.csv", [("aé", "x"), ("bb", "y"), ("éß", "y")])
    found = load(DataSpec(source=source, test=test, target="language", columns={"name": "text"}))
    assert found.preparation.alphabet == ("a", "b")
    unknown = len(found.preparation.alphabet)
    assert found.test.x.tolist() == [[0, unknown], [1, 1], [unknown, unknown]]
    told = " ".join(found.summary["decisions"])
    assert "The test part has 3 characters (50 %) that training never saw" in told
    assert "'é', 'ß'" in told


def test_empty_sequences_are_named_counted_and_left_out(tmp_path):
    rows = [("ab", "x"), ("ba", "y")] * 30
    rows[3] = rows[9] = ("", "y")
    spec = DataSpec(
        source=table(tmp_path / "a.csv", rows), target="language", columns={"name": "text"}
    )
    found = load(spec)
    assert found.summary["rows"] == 58
    told = " ".join(found.summary["decisions"])
    assert "2 of 60 rows left out, as their sequences have length 0 (rows '4', '10'" in told


def test_a_column_of_empty_sequences_is_refused(tmp_path):
    rows = [("", "x"), ("", "y")] * 30
    spec = DataSpec(
        source=table(tmp_path / "a.csv", rows), target="language", columns={"name": "text"}
    )
    with pytest.raises(DataError, match=r"must hold sequences, got length 0 in all 60 rows"):
        load(spec)


def test_what_is_longer_than_max_length_is_cut_and_told(tmp_path):
    found = load(names(tmp_path, max_length=3))
    assert found.input.shape == (3,)
    told = " ".join(found.summary["decisions"])
    assert "longer than 3 (data.max_length): the end of these sequences is cut off" in told


def test_words_share_a_code_when_they_are_rare(tmp_path):
    rows = [("good film", "x"), ("bad film", "y")] * 30 + [("odd thing", "x")] * 1
    spec = DataSpec(
        source=table(tmp_path / "a.csv", rows),
        target="language",
        columns={"name": "words"},
        split={"train": 0.98, "val": 0.01, "test": 0.01},
    )
    found = load(spec)
    assert set(found.preparation.alphabet) == {"good", "bad", "film"}
    coded = found.preparation.transform(["good film", "never seen film"])
    assert coded.tolist() == [[2, 1], [3, 3]]


def test_other_columns_do_not_enter_and_it_is_said(tmp_path):
    source = table(
        tmp_path / "a.csv", [("ab", "1", "x"), ("ba", "2", "y")] * 20, "name,age,language"
    )
    found = load(DataSpec(source=source, target="language", columns={"name": "text"}))
    told = " ".join(found.summary["decisions"])
    assert "Column 'age' is not used: the sequences in 'name' are the input." in told


def test_two_columns_of_sequences_are_refused(tmp_path):
    source = table(tmp_path / "a.csv", [("ab", "ba", "x"), ("b", "a", "y")] * 9, "a,b,language")
    spec = DataSpec(source=source, target="language", columns={"a": "text", "b": "words"})
    with pytest.raises(DataError, match=r"must leave one column of sequences, got 'a', 'b'"):
        load(spec)


def test_a_column_of_text_that_is_not_there_is_named(tmp_path):
    spec = names(tmp_path, columns={"nome": "text"})
    assert "must be a column of names.csv, got 'nome'" in str(peek(spec)[0])
    with pytest.raises(DataError, match=r"must be a column of names.csv, got 'nome'. Did you mean"):
        load(spec)


def test_the_target_can_be_no_text(tmp_path):
    spec = names(tmp_path, columns={"language": "text"})
    with pytest.raises(DataError, match=r"must not be text or words for the target, got text"):
        load(spec)


def test_rows_in_more_than_one_part_are_hinted_at(tmp_path):
    assert any(
        "same features as a training row" in h for h in load(names(tmp_path)).summary["hints"]
    )


def test_equal_sequences_can_be_kept_in_one_part(tmp_path):
    rows = [(name, "xy"[i % 2]) for i, name in enumerate(["ab", "ba", "aab", "bba", "abab"] * 20)]
    split = {"train": 0.6, "val": 0.2, "test": 0.2, "group": "name"}
    source = table(tmp_path / "a.csv", rows)
    found = load(DataSpec(source=source, target="language", columns={"name": "text"}, split=split))
    parts = [{tuple(row) for row in part.x} for part in (found.train, found.val, found.test)]
    assert not parts[0] & parts[1]
    assert not (parts[0] | parts[1]) & parts[2]


def test_another_column_can_decide_the_split(tmp_path):
    rows = [("ab" * (i % 5 + 1), str(i % 10), "xy"[i % 2]) for i in range(200)]
    source = table(tmp_path / "a.csv", rows, "name,family,language")
    for key in ("group", "time"):
        split = {"train": 0.6, "val": 0.2, "test": 0.2, key: "family"}
        spec = DataSpec(source=source, target="language", columns={"name": "text"}, split=split)
        assert len(load(spec).train) == 120
    spec = spec.model_copy(update={"split": spec.split.model_copy(update={"time": "famly"})})
    with pytest.raises(DataError, match=r"must be a column of a.csv, got 'famly'"):
        load(spec)


def test_parquet_lists_are_sequences_of_numbers(tmp_path):
    path = tmp_path / "x.parquet"
    lists = [[1.0, 2.0], [3.0], [4.0, 5.0, 6.0]] * 20
    pd.DataFrame({"signal": lists, "label": ["a", "b", "c"] * 20}).to_parquet(path)
    found = load(DataSpec(source=str(path), target="label", prepare="none"))
    assert found.input.kind == "series"
    assert found.input.shape == (3, 1)
    rows = {tuple(row[~np.isnan(row)]) for row in found.train.x[..., 0]}
    assert rows == {(1.0, 2.0), (3.0,), (4.0, 5.0, 6.0)}


def test_parquet_lists_of_words_and_channels(tmp_path):
    path = tmp_path / "x.parquet"
    words = [["to", "be"], ["or"], ["not", "to", "be"]] * 20
    pd.DataFrame({"text": words, "label": ["a", "b", "c"] * 20}).to_parquet(path)
    assert load(DataSpec(source=str(path), target="label")).input.shape == (3,)
    pairs = [[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]] * 20
    pd.DataFrame({"signal": pairs, "label": ["a", "b"] * 20}).to_parquet(path)
    assert load(DataSpec(source=str(path), target="label")).input.shape == (2, 2)


# From arrays


def test_lists_of_different_length_are_sequences():
    x = [[1.0, 2.0, 3.0], [4.0], [5.0, 6.0]] * 10
    found = load(DataSpec(source="<object>", prepare="none"), arrays=(x, ["a", "b", "c"] * 10))
    assert found.input.shape == (3, 1)
    by_class = dict(zip(found.train.y.tolist(), found.train.x[..., 0].tolist(), strict=True))
    np.testing.assert_array_equal(by_class[1], [4.0, np.nan, np.nan])


def test_scale_is_learned_on_training_steps_only():
    generator = np.random.default_rng(0)
    x = [generator.normal(3.0, 2.0, (int(n), 2)) for n in generator.integers(1, 9, 200)]
    y = generator.integers(0, 2, 200)
    found = load(DataSpec(source="<object>"), arrays=(x, y))
    steps = found.train.x[~np.isnan(found.train.x[..., 0])]
    np.testing.assert_allclose(steps.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(steps.std(axis=0), 1.0, atol=1e-5)


def test_equal_lengths_are_sequences_when_asked_for():
    x = np.arange(120.0).reshape(20, 6)
    found = load(DataSpec(source="<object>", sequences="numbers"), arrays=(x, np.arange(20) % 2))
    assert found.input.shape == (6, 1)
    assert load(DataSpec(source="<object>"), arrays=(x, np.arange(20) % 2)).input.shape == (6,)


def test_npz_with_lengths(tmp_path):
    x = np.array([[3, 4, 0], [5, 0, 0], [4, 4, 4], [3, 3, 0]] * 10)
    lengths = np.array([2, 1, 3, 2] * 10)
    path = tmp_path / "a.npz"
    np.savez(path, x=x, y=np.arange(40) % 2, lengths=lengths)
    found = load(DataSpec(source=str(path)))
    assert found.input.kind == "tokens"
    assert found.preparation.alphabet == ("3", "4", "5")
    assert "read as codes of tokens" in " ".join(found.summary["decisions"])
    as_numbers = load(DataSpec(source=str(path), sequences="numbers"))
    assert as_numbers.input.kind == "series"


def test_npz_with_wrong_lengths_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros((4, 3)), y=np.arange(4), lengths=np.array([1, 2, 3, 4]))
    with pytest.raises(DataError, match=r"must hold the steps of each of 4 rows, from 0 to 3"):
        load(DataSpec(source=str(path)))


def test_a_target_for_each_step():
    x = [[1, 2, 3], [4], [5, 6]] * 10
    y = [[0, 1, -1], [2], [1, 0]] * 10
    found = load(DataSpec(source="<object>", sequences="codes"), arrays=(x, y))
    assert found.input.is_stepwise
    assert found.num_outputs == 3
    assert {tuple(row) for row in found.train.y.tolist()} == {(0, 1, -1), (2, -1, -1), (1, 0, -1)}


def test_steps_without_their_targets_are_refused():
    x, y = [[1, 2, 3], [4]] * 10, [[0, 1], [2]] * 10
    with pytest.raises(DataError, match=r"one class \(a whole number\) for each step"):
        load(DataSpec(source="<object>", sequences="codes"), arrays=(x, y))


@pytest.mark.parametrize(
    ("x", "text"),
    [
        ([[1.0, 2.0], ["a", "b", "c"]], "something else in 1 sequence, the first at 1"),
        ([np.zeros((2, 3)), np.zeros((4, 2))], "the same number of channels in each sequence"),
    ],
)
def test_sequences_that_are_none(x, text):
    with pytest.raises(DataError, match=text):
        load(DataSpec(source="<object>"), arrays=(x, [0, 1]))


def test_new_rows_are_prepared_like_the_training_rows(tmp_path):
    found = load(names(tmp_path))
    record = Preparation.from_json(found.preparation.to_json())
    assert record == found.preparation
    coded = record.transform(["Bob", "Annabel", "Zoë"])
    assert coded.shape == (3, 4)
    unknown, known = len(record.alphabet), record.alphabet.index("o")
    assert coded[2].tolist() == [unknown, known, unknown, -1]
    np.testing.assert_array_equal(record.transform({"name": ["Bob"]}), coded[:1])
    np.testing.assert_array_equal(record.transform("Bob"), coded[:1])
    with pytest.raises(DataError, match=r"must have at least one step each, got length 0 in 1 row"):
        record.transform(["Bob", ""])
    with pytest.raises(DataError, match=r"must have the column 'name'"):
        record.transform({"nome": ["Bob"]})
    with pytest.raises(DataError, match=r"must be text, got int"):
        record.transform([3])


# Pieces


@given(st.lists(st.text(max_size=8), min_size=1, max_size=9), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_coding_against_a_slow_twin(items, time):
    array = sequences.object_array(items)
    alphabet = sequences.learn_alphabet(array, "text")
    codes, lengths = sequences.to_codes(array, "text", alphabet=alphabet)
    padded = sequences.pad_codes(codes, lengths, time=time)
    slow = [
        [alphabet.index(letter) for letter in item[:time]] + [-1] * (time - len(item[:time]))
        for item in items
    ]
    assert padded.tolist() == slow


def test_windows_are_views_of_consecutive_rows():
    values = np.arange(12.0).reshape(6, 2)
    cut = sequences.cut_windows(values, window=3)
    assert cut.shape == (4, 3, 2)
    np.testing.assert_array_equal(cut[1], values[1:4])


# Generated


def test_copy_tells_the_symbols_again():
    found = load(DataSpec(source="copy", options={"length": 7, "span": 3, "samples": 100}))
    x, y = found.train.x, found.train.y
    assert x.shape[1] == 7 + 2 * 3
    assert found.input.is_stepwise
    np.testing.assert_array_equal(y[:, -3:], x[:, :3])
    assert (y[:, :-3] == -1).all()
    assert (x[:, 9] == 9).all()  # the mark is the step before the answer
    assert len(np.unique(x[:, :3], axis=0)) == len(x)


def test_adding_adds_the_marked_numbers():
    found = load(
        DataSpec(source="adding", prepare="none", scale_target=False, options={"length": 9})
    )
    numbers, marks = found.train.x[..., 0], found.train.x[..., 1]
    assert (marks.sum(axis=1) == 2).all()
    np.testing.assert_allclose((numbers * marks).sum(axis=1), found.train.y[:, 0], rtol=1e-5)


def test_options_of_a_generated_source_are_checked():
    with pytest.raises(ValueError, match=r"must be a whole number >= 1"):
        DataSpec(source="copy", options={"length": 0})
    with pytest.raises(ValueError, match=r"must be an option of copy, got 'lenght'"):
        DataSpec(source="copy", options={"lenght": 3})
    with pytest.raises(ValueError, match=r"must be left out for a file"):
        DataSpec(source="a.csv", options={"length": 3})
    assert DataSpec(source="copy").options["length"] == 50


def test_options_can_be_compared():
    def study(lengths: list[int]) -> object:
        raw = {
            "study": "a",
            "data": {"source": "copy"},
            "compare": {"data.options.length": lengths},
        }
        return expand(parse_study(raw, base=Path()))

    found = [arm.config.data.options["length"] for arm in study([10, 20])]
    assert found == [10, 20]
    with pytest.raises(SpecError, match=r"must be a whole number >= 1"):
        study([0, 20])


@pytest.mark.data
def test_names_load_whole():
    source = data_folder() / "names" / "names.csv.gz"
    found = load(DataSpec(source=str(source), target="language", columns={"name": "text"}))
    assert found.summary["rows"] == 20_050
    assert len(found.classes) == 18
    assert found.input.shape == (20,)
    assert found.summary["baseline"]["test"]["accuracy"] == pytest.approx(0.468, abs=0.001)
    repeats = found.preparation.transform(["Nan"])
    assert (repeats >= 0).sum() == 3
