"""Hints about leakage: repeated rows, columns that give the target away, targets cut off."""

import numpy as np
import pandas as pd
import pytest

from lanework.data import load, order
from lanework.data.leaks import capped_hint, duplicate_hints, row_hashes
from lanework.spec import DataSpec


def hints(arrays: object, **changes: object) -> str:
    spec = DataSpec.model_validate({"source": "<object>", **changes})
    return "\n".join(load(spec, arrays=arrays).summary["hints"])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 7, 64])
def test_hashes_are_equal_for_equal_rows_only(dtype, width):
    x = np.random.default_rng(0).integers(0, 3, (300, width)).astype(dtype)
    hashes = row_hashes(x)
    _, by_hash = np.unique(hashes, return_inverse=True)
    _, by_row = np.unique(x, axis=0, return_inverse=True)
    same_hash = by_hash[:, None] == by_hash
    same_row = by_row.reshape(-1)[:, None] == by_row.reshape(-1)
    np.testing.assert_array_equal(same_hash, same_row)


def test_rows_that_appear_in_several_parts():
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    found = duplicate_hints(x, val=np.concatenate([x[:2], x[2:8] + 1]), test=x[5:6])
    assert found == (
        "2 of 8 validation rows (25 %) have the same features as a training row; results on such "
        "rows may flatter. If they are the same thing twice, remove one, or keep both in one part by "
        "split: {group: COLUMN}.",
        "1 of 1 test row (100 %) has the same features as a training row; results on such rows "
        "may flatter. If they are the same thing twice, remove one, or keep both in one part by "
        "split: {group: COLUMN}.",
    )
    assert duplicate_hints(np.concatenate([x, x[:1]]), val=x[:0], test=x[:0]) == (
        "1 training row (2 %) repeats the features of another.",
    )


def test_clean_data_gives_no_hint():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 4))
    assert hints((x, (x.sum(axis=1) > 0).astype(int))) == ""
    assert hints((x, x.sum(axis=1))) == ""


def test_columns_that_give_the_class_away():
    generator = np.random.default_rng(0)
    y = generator.choice(["a", "b", "c"], 300)
    x = pd.DataFrame(
        {
            "innocent": generator.normal(size=300),
            "code": pd.Series(y).map({"a": 7.0, "b": -1.0, "c": 3.5})
            + generator.normal(size=300) / 50,
            "copy": [f"is {label}" for label in y],
        }
    )
    text = hints((x, y))
    assert "Column 'code' alone gives the target away (accuracy 1.000)" in text
    assert "Column 'copy' alone gives the target away (accuracy 1.000)" in text
    assert "innocent" not in text


def test_columns_that_give_a_number_away():
    generator = np.random.default_rng(0)
    y = generator.lognormal(size=400)
    x = np.stack([generator.normal(size=400), 3 * y + 2], axis=1)
    text = hints((x, y))
    assert "Column 'x2' alone gives the target away (R2 " in text
    assert "'x1'" not in text


def test_ties_do_not_hide_a_copy():
    y = np.random.default_rng(0).choice([0.5, 1.5, 7.0], 300)
    assert "Column 'x1' alone gives the target away" in hints(
        (y[:, None] * 2, y), task="regression"
    )


def test_a_rare_class_is_not_given_away_by_anything():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(1000, 3))
    y = (np.arange(1000) % 100 == 0).astype(int)
    assert hints((x, y)) == ""


def test_targets_that_are_cut_off():
    values = np.minimum(np.random.default_rng(0).normal(10, 3, 1000), 14.0)
    (text,) = capped_hint(values, "price")
    assert "have the largest target, 14: 'price' may have been cut off there." in text
    assert capped_hint(np.random.default_rng(0).normal(size=1000), "price") == ()
    assert capped_hint(np.random.default_rng(0).integers(0, 30, 1000).astype(float), "n") == ()


# ---- the order of rows ---------------------------------------------------------------------


@pytest.mark.parametrize("counts", [[5, 7, 3], [20, 20], [1, 9, 4, 4]])
def test_moments_of_equal_neighbours_are_those_of_shuffling(counts):
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(counts)), counts)
    seen = [int((np.diff(generator.permutation(labels)) == 0).sum()) for _ in range(20_000)]
    scores = [
        order.neighbours(generator.permutation(labels), num_classes=len(counts)).z
        for _ in range(2_000)
    ]
    found = order.neighbours(labels, num_classes=len(counts))
    assert found.by_chance * (len(labels) - 1) == pytest.approx(np.mean(seen), rel=0.02)
    assert np.std(scores) == pytest.approx(1.0, abs=0.06)
    assert found.is_sorted


def hints_of(frame, **split):
    spec = DataSpec.model_validate({"source": "<object>", "target": "y", "split": split})
    return load(spec, arrays=frame).summary["hints"]


def walk(num_rows=600):
    """A table in order of time: the target drifts, and x says nothing about it."""
    generator = np.random.default_rng(2)
    drift = np.cumsum(generator.normal(0, 1, num_rows))
    return pd.DataFrame({"x": generator.normal(0, 1, num_rows), "y": drift})


def test_a_target_that_drifts_from_row_to_row_is_told_with_what_to_do():
    (hint,) = hints_of(walk())
    assert hint.startswith(
        "The order of the rows tells the target: the autocorrelation of the target from row to row is 0.9"
    )
    assert "use split: {time: true} or {group: COLUMN}" in hint
    assert hints_of(walk(), time=True) == []
    shuffled = walk().sample(frac=1, random_state=0)
    assert hints_of(shuffled) == []


def test_classes_in_stretches_are_told_and_sorted_ones_only_where_it_matters():
    generator = np.random.default_rng(0)
    x = generator.normal(0, 1, 400)
    stretches = pd.DataFrame({"x": x, "y": np.repeat(generator.integers(0, 3, 40), 10).astype(str)})
    (hint,) = hints_of(stretches)
    assert "% of neighbouring rows are of one class (" in hint
    halves = pd.DataFrame({"x": x, "y": np.repeat(["a", "b"], 200)})
    assert hints_of(halves) == []
    (hint,) = hints_of(halves, time=True)
    assert hint.startswith("The rows are sorted by the target, and the split follows their order")


# ---- groups --------------------------------------------------------------------------------


def test_an_id_that_repeats_across_parts_is_told_until_the_split_respects_it():
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "patient_id": generator.integers(1000, 1060, 600),
            "x": generator.normal(0, 1, 600),
            "y": generator.choice(["no", "yes"], 600),
        }
    )
    (hint,) = hints_of(frame)
    assert hint == (
        "Column 'patient_id' looks like an id of what rows belong to: 60 values, 10.0 rows each; 100 % of the "
        "validation rows share theirs with a training row, so results may flatter for new ones. Use split: "
        "{group: patient_id}."
    )
    assert hints_of(frame, group="patient_id") == []
    renamed = frame.rename(columns={"patient_id": "households"})
    assert hints_of(renamed) == [], "a number of households is no household"


def test_equal_images_in_two_parts_are_told():
    generator = np.random.default_rng(0)
    x = generator.integers(0, 255, (100, 6, 6, 3)).astype(np.uint8)
    x[50:60] = x[:10]
    hints = load(DataSpec(source="<object>"), arrays=(x, np.arange(100) % 2)).summary["hints"]
    assert any("Remove these images from one of the parts." in hint for hint in hints)


@pytest.mark.parametrize(
    "source",
    [
        *("digits", "breast_cancer", "wine", "iris", "diabetes"),
        *("xor", "moons", "circles", "spirals", "blobs"),
    ],
)
def test_no_false_alarm_on_built_in_data(source):
    assert load(DataSpec(source=source)).summary["hints"] == []


@pytest.mark.data
def test_true_alarms_on_shared_data():
    """Adult has equal people in several parts; neighbouring blocks of California cost alike, and prices are cut off."""
    from tests.helpers import data_folder

    houses = data_folder() / "california-housing" / "housing.csv.gz"
    spec = DataSpec(source=str(houses), target="median_house_value")
    first, second = load(spec).summary["hints"]
    assert "autocorrelation of the target from row to row is 0.86" in first
    assert "have the largest target, 500001" in second
