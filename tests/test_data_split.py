"""The split: disjoint, complete, stratified, deterministic, kind to small classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanework.data.split import split_rows
from lanework.errors import DataError

USUAL = (0.7, 0.15, 0.15)


@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=6),
    seed=st.integers(0, 2**32),
    fractions=st.sampled_from([USUAL, (0.5, 0.25, 0.25), (0.8, 0.2, 0.0)]),
)
def test_parts_are_disjoint_complete_and_stratified(sizes, seed, fractions):
    labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    if len(labels) < 3:
        return
    parts = split_rows(labels, len(labels), fractions=fractions, seed=seed)
    together = np.concatenate(parts[:3])
    assert sorted(together.tolist()) == list(range(len(labels)))
    for code, size in enumerate(sizes):
        counts = [int((labels[rows] == code).sum()) for rows in parts[:3]]
        assert counts[0] >= 1
        if size >= 3:
            asked = np.array(fractions) > 0
            assert all(np.array(counts)[asked] >= 1)
        assert np.all(np.abs(np.array(counts) - np.array(fractions) * size) <= 3)


def test_sizes_are_right_over_many_classes():
    labels = np.repeat(np.arange(10), 178)[:1777].astype(np.int32)
    parts = split_rows(labels, 1777, fractions=USUAL, seed=0)
    assert [len(rows) for rows in parts[:3]] == pytest.approx([1243.9, 266.6, 266.6], abs=1)


def test_the_seed_decides_and_nothing_else():
    labels = (np.arange(300) % 3).astype(np.int32)
    first = split_rows(labels, 300, fractions=USUAL, seed=4)
    again = split_rows(labels, 300, fractions=USUAL, seed=4)
    other = split_rows(labels, 300, fractions=USUAL, seed=5)
    np.testing.assert_array_equal(first.train, again.train)
    assert (first.train != other.train).any()


def test_a_class_with_one_row_stays_in_train_and_is_named():
    labels = np.array([0] * 20 + [1], np.int32)
    parts = split_rows(labels, 21, fractions=USUAL, seed=0, classes=("many", "one"))
    assert 20 in parts.train
    assert parts.decisions == (
        "Class 'one' has 1 row: in train first, so it is not in val and test.",
    )


def test_a_class_with_two_rows_is_learned_and_tested():
    labels = np.array([0] * 20 + [1] * 2, np.int32)
    parts = split_rows(labels, 22, fractions=USUAL, seed=0, classes=("many", "two"))
    assert (labels[parts.test] == 1).sum() == 1
    assert parts.decisions == ("Class 'two' has 2 rows: in train first, so it is not in val.",)


def test_without_labels_the_sizes_are_exact():
    parts = split_rows(None, 1000, fractions=USUAL, seed=0)
    assert [len(rows) for rows in parts[:3]] == [700, 150, 150]
    assert parts.decisions == ()


def test_too_few_rows():
    with pytest.raises(
        DataError, match=r"data.split: needs at least one row for each of train, val"
    ):
        split_rows(None, 2, fractions=USUAL, seed=0)
