"""The split: disjoint, complete, stratified, deterministic, kind to small classes."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanework.data import load
from lanework.data.split import fold_parts, split_groups, split_rows, split_time
from lanework.errors import DataError
from lanework.spec import DataSpec

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


# ---- groups, time, folds -------------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(1, 12), min_size=4, max_size=40),
    seed=st.integers(0, 2**32 - 1),
    fractions=st.sampled_from([USUAL, (0.5, 0.25, 0.25), (0.8, 0.2, 0.0)]),
)
def test_a_group_is_never_in_two_parts(sizes, seed, fractions):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = (np.arange(len(groups)) % 3).astype(np.int32)
    parts = split_groups(groups, labels, fractions=fractions, seed=seed)
    assert sorted(np.concatenate(parts[:3]).tolist()) == list(range(len(groups)))
    of_part = [set(groups[rows].tolist()) for rows in parts[:3]]
    assert not of_part[0] & of_part[1]
    assert not of_part[0] & of_part[2]
    assert not of_part[1] & of_part[2]
    asked = np.array(fractions) > 0
    assert all(len(rows) for rows, is_asked in zip(parts[:3], asked, strict=True) if is_asked)
    # No part is further from its share than the largest group, or one group that it must have.
    for rows, fraction in zip(parts[:3], fractions, strict=True):
        assert abs(len(rows) - fraction * len(groups)) <= 2 * max(sizes)


def test_groups_keep_the_shares_of_rare_classes():
    generator = np.random.default_rng(0)
    groups = generator.integers(0, 200, 4000)
    labels = (generator.random(200)[groups] < 0.1).astype(np.int32)
    parts = split_groups(groups, labels, fractions=USUAL, seed=0)
    shares = [labels[rows].mean() for rows in parts[:3]]
    assert shares == pytest.approx([labels.mean()] * 3, abs=0.02)
    assert [len(rows) / 4000 for rows in parts[:3]] == pytest.approx(USUAL, abs=0.02)


def test_fewer_groups_than_parts():
    with pytest.raises(
        DataError, match=r"data.split.group: must leave a group for each of 3 parts"
    ):
        split_groups(np.array([0, 0, 1, 1]), None, fractions=USUAL, seed=0)


@given(
    times=st.lists(st.integers(0, 30), min_size=30, max_size=80),
    gap=st.integers(0, 3),
)
def test_by_time_every_part_comes_after_the_one_before(times, gap):
    order = np.array(times, float)
    if len(set(times)) < 12:
        return
    try:
        parts = split_time(order, fractions=(0.5, 0.25, 0.25), gap=gap)
    except DataError:
        return  # ties can swallow a part, which is said
    assert order[parts.train].max() < order[parts.val].min()
    assert order[parts.val].max() < order[parts.test].min()
    if not gap:
        assert len(np.concatenate(parts[:3])) == len(order)


def test_a_gap_leaves_rows_out_between_parts():
    parts = split_time(np.arange(100.0), fractions=USUAL, gap=5)
    assert parts.train[-1] == 69
    assert (parts.val[0], parts.val[-1]) == (75, 84)
    assert (parts.test[0], parts.test[-1]) == (90, 99)


def test_one_time_for_all_rows_cannot_be_split():
    with pytest.raises(
        DataError,
        match=r"data.split.time: must leave rows for train, got 1 different time in 40 rows",
    ):
        split_time(np.zeros(40), fractions=USUAL)


@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=5),
    folds=st.integers(2, 6),
    repeats=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_each_row_is_validated_once_per_repeat_and_folds_are_alike(sizes, folds, repeats, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    rows = np.arange(len(labels))
    if len(rows) < folds:
        return
    parts = fold_parts(rows, rows[:0], folds=folds, repeats=repeats, seed=seed, labels=labels)
    assert len(parts) == folds * repeats
    for repeat in range(repeats):
        own = parts[repeat * folds : (repeat + 1) * folds]
        assert sorted(np.concatenate([part.val for part in own]).tolist()) == rows.tolist()
        lengths = [len(part.val) for part in own]
        assert max(lengths) - min(lengths) <= 1
        for part in own:
            assert sorted([*part.train, *part.val]) == rows.tolist()
        for code in range(len(sizes)):
            counts = [int((labels[part.val] == code).sum()) for part in own]
            assert max(counts) - min(counts) <= 1


def test_repeats_and_seeds_deal_rows_anew():
    rows = np.arange(60)
    parts = fold_parts(rows, rows[:0], folds=3, repeats=2, seed=0)
    other = fold_parts(rows, rows[:0], folds=3, repeats=2, seed=1)
    again = fold_parts(rows, rows[:0], folds=3, repeats=2, seed=0)
    vals = {tuple(part.val.tolist()) for part in (*parts, *other)}
    assert len(vals) == 12
    assert all((a.val == b.val).all() for a, b in zip(parts, again, strict=True))


def test_folds_keep_groups_together_and_tell_small_classes():
    groups = np.repeat(np.arange(20), 5)
    labels = np.zeros(100, np.int32)
    labels[:3] = 1
    parts = fold_parts(
        np.arange(100), np.arange(0), folds=5, repeats=1, seed=0,
        labels=labels, groups=groups, classes=("many", "few"),
    )  # fmt: skip
    for part in parts:
        assert not set(groups[part.train].tolist()) & set(groups[part.val].tolist())
        assert len(part.val) == 20
    assert parts[0].decisions == (
        "Class 'few' has fewer rows (3 rows at least) than there are folds (5): not in the validation part of "
        "every fold.",
    )


# ---- as a study says it --------------------------------------------------------------------


def frame(num_rows=200):
    generator = np.random.default_rng(0)
    day = generator.permutation(num_rows)
    return pd.DataFrame(
        {
            "who": generator.choice([f"p{n:02d}" for n in range(25)], num_rows),
            "when": pd.Timestamp("2021-03-01") + pd.to_timedelta(day, unit="D"),
            "x": day + generator.normal(0, 0.1, num_rows),
            "y": generator.choice(["no", "yes"], num_rows),
        }
    )


def loaded(rows, **changes):
    spec = {"source": "<object>", "target": "y", "prepare": "none", **changes}
    return load(DataSpec.model_validate(spec), arrays=rows)


def test_the_column_of_groups_decides_and_is_no_feature():
    data = loaded(frame(), split={"group": "who"})
    assert "who" not in data.preparation.names
    told = data.summary["decisions"]
    assert "Column 'who' is not used: it names the groups of the split." in told
    assert any(text.startswith("Rows are split by 'who' (25 groups)") for text in told)


def test_rows_without_a_group_are_groups_of_their_own():
    rows = frame()
    rows.loc[rows.index[:150], "who"] = None
    data = loaded(rows, split={"group": "who"})
    assert any("by 'who' (17" in text for text in data.summary["decisions"])


def test_a_column_of_dates_splits_even_when_it_is_ignored_as_a_feature():
    for columns in ({}, {"when": "ignore"}):
        data = loaded(frame(), split={"time": "when"}, columns=columns)
        place = list(data.preparation.names).index("x")
        assert data.train.x[:, place].max() < data.val.x[:, place].min() + 0.5
        assert data.val.x[:, place].max() < data.test.x[:, place].min() + 0.5
        assert ("when" in data.preparation.names) == (not columns)


def test_the_order_of_rows_splits_arrays_too():
    x = np.arange(100.0)[:, None]
    y = (np.arange(100) % 2).astype(int)
    spec = DataSpec.model_validate(
        {"source": "<object>", "prepare": "none", "split": {"time": True}}
    )
    data = load(spec, arrays=(x, y))
    assert data.train.x[:, 0].tolist() == list(range(70))
    assert data.test.x[:, 0].tolist() == list(range(85, 100))


@pytest.mark.parametrize(
    ("split", "text"),
    [
        ({"group": "whom"}, r"data.split.group: must be a column of .*, got 'whom'. Did you mean 'who' or 'when'"),
        ({"group": "y"}, r"data.split.group: must be another column than the target"),
        ({"time": "who"}, r"data.split.time: must be a column of numbers or dates.*got text"),
    ],
)  # fmt: skip
def test_columns_that_cannot_decide_a_split(split, text):
    with pytest.raises(DataError, match=text):
        loaded(frame(), split=split)


def test_a_time_with_gaps_is_refused():
    rows = frame()
    rows.loc[rows.index[3], "when"] = None
    with pytest.raises(DataError, match=r"data.split.time: .* got 1 row without a time"):
        loaded(rows, split={"time": "when"})


@pytest.mark.parametrize("key", ["folds", "group", "time"])
def test_text_and_series_have_a_split_of_their_own(tmp_path, key):
    path = tmp_path / "a.csv"
    frame().to_csv(path, index=False)
    split = {"folds": 3} if key == "folds" else {key: "who"}
    spec = DataSpec.model_validate(
        {"source": str(path), "target": "x", "window": 5, "split": split}
    )
    with pytest.raises(DataError, match=rf"data.split.{key}: must be left out for a time series"):
        load(spec)


def test_arrays_on_disk_are_split_at_random_only(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32))
    np.save(tmp_path / "y.npy", np.arange(64) % 2)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    spec = DataSpec.model_validate({"source": "<object>", "split": {"folds": 3}})
    with pytest.raises(DataError, match=r"data.split.folds: must be left out for arrays on disk"):
        load(spec, arrays=(x, np.arange(64) % 2))
