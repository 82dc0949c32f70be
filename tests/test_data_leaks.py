"""Hints about leakage: repeated rows, columns that give the target away, targets cut off."""

import numpy as np
import pandas as pd
import pytest

from lanework.data import load
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
        "rows may flatter.",
        "1 of 1 test row (100 %) has the same features as a training row; results on such rows "
        "may flatter.",
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
