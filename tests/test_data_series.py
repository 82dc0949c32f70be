"""Time series: windows of the past, split by time, order and gaps told, scale of the training part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanework.data import Preparation, load, peek
from lanework.data.series import origins
from lanework.errors import DataError
from lanework.spec import DataSpec
from tests.helpers import data_folder


def frame(num_rows: int = 100) -> pd.DataFrame:
    when = pd.date_range("2020-01-01", periods=num_rows).strftime("%Y-%m-%d")
    values = np.sin(np.arange(num_rows) / 7.0) * 5.0 + 10.0
    return pd.DataFrame({"Date": when, "Temp": values, "Wind": np.arange(num_rows) % 5 + 0.5})


def written(path: Path, rows: pd.DataFrame) -> str:
    rows.to_csv(path, index=False)
    return str(path)


def spec_of(path: Path, rows: pd.DataFrame, **extra: object) -> DataSpec:
    given = {"target": "Temp", "window": 7, **extra}
    return DataSpec(source=written(path / "temps.csv", rows), **given)  # type: ignore[arg-type]


def told(found) -> str:
    return " ".join(found.summary["decisions"])


def test_windows_hold_the_past_and_targets_come_after(tmp_path):
    rows = frame()
    found = load(spec_of(tmp_path, rows, prepare="none", scale_target=False, horizon=2))
    assert found.task == "regression"
    assert found.input.kind == "series"
    assert found.input.shape == (7, 2)
    assert found.num_outputs == 1
    values = rows[["Temp", "Wind"]].to_numpy()
    np.testing.assert_allclose(found.train.x[0], values[:7], rtol=1e-6)
    assert found.train.y[0, 0] == pytest.approx(values[8, 0])
    np.testing.assert_allclose(found.test.y[-1], values[-1, :1], rtol=1e-6)


def test_parts_follow_each_other_and_targets_do_not_overlap(tmp_path):
    rows = frame()
    rows["Temp"] = np.arange(100.0)  # each value says its row
    found = load(spec_of(tmp_path, rows, prepare="none", scale_target=False, horizon=[1, 3]))
    train, val, test = (part.y for part in (found.train, found.val, found.test))
    assert train.max() == 69
    assert (val.min(), val.max()) == (70, 84)
    assert (test.min(), test.max()) == (85, 99)
    np.testing.assert_array_equal(val[:, 1] - val[:, 0], 2.0)
    assert found.val.x[0, -1, 0] == 69  # windows may reach back into what came before
    assert (found.train.x[..., 0].max(axis=1) < train.min(axis=1)).all()


@given(
    st.integers(1, 9),
    st.lists(st.integers(1, 6), min_size=1, max_size=3, unique=True),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(1, 4),
)
@settings(max_examples=150, deadline=None)
def test_origins_against_a_slow_twin(window, horizons, low, size, stride):
    high = low + size
    found = origins((low, high, stride), num_rows=60, window=window, horizons=tuple(horizons))
    slow = [
        row
        for row in range(60)
        if row >= window - 1 and all(low <= row + ahead < high for ahead in horizons)
    ]
    assert found.tolist() == slow[::stride]


def test_scale_is_learned_on_the_training_part(tmp_path):
    rows = frame()
    rows.loc[70:, "Temp"] += 1000.0
    found = load(spec_of(tmp_path, rows))
    rule = found.preparation.numbers[0]
    assert rule.shift == pytest.approx(rows["Temp"][:70].mean())
    assert found.target_shift[0] == pytest.approx(rows["Temp"][7:70].mean())


def test_rows_in_another_order_are_sorted_and_it_is_said(tmp_path):
    rows = frame()
    shuffled = rows.sample(frac=1.0, random_state=0)
    found, plain = load(spec_of(tmp_path, shuffled)), load(spec_of(tmp_path, rows))
    assert "Rows were not in the order of 'Date'" in told(found)
    np.testing.assert_array_equal(found.train.x, plain.train.x)
    assert "Rows are in the order of 'Date'." in told(plain)


def test_gaps_in_the_dates_are_told(tmp_path):
    found = load(spec_of(tmp_path, frame().drop(index=[30, 31, 60])))
    assert "2 gaps in 'Date' (usually 1 day apart), after '2020-01-30', '2020-02-29'" in told(found)


def test_repeated_dates_are_told(tmp_path):
    rows = frame()
    rows.loc[5, "Date"] = rows.loc[4, "Date"]
    assert "1 row with the same 'Date' as the row before" in told(load(spec_of(tmp_path, rows)))


def test_missing_values_take_the_last_one_and_are_no_targets(tmp_path):
    rows = frame()
    rows.loc[20, "Temp"] = np.nan
    found = load(spec_of(tmp_path, rows, prepare="none", scale_target=False))
    assert "1 missing value in 'Temp': in windows, the last value before the gap" in told(found)
    assert "1 sample left out, as the target is missing there." in told(found)
    assert len(found.train) == 70 - 7 - 1
    window = found.train.x[14, :, 0]  # the one that ends with row 21
    assert window[-2] == pytest.approx(rows.loc[19, "Temp"])
    assert window[-1] == pytest.approx(rows.loc[21, "Temp"])


def test_an_order_column_of_numbers(tmp_path):
    rows = frame().drop(columns="Date")
    rows["hour"] = np.arange(100)[::-1]
    found = load(spec_of(tmp_path, rows, order="hour", prepare="none", scale_target=False))
    assert "not in the order of 'hour'" in told(found)
    assert found.train.x[0, 0, 0] == pytest.approx(rows["Temp"].iloc[-1])
    assert found.input.shape == (7, 2)  # the order itself does not enter


def test_without_dates_the_file_tells_the_order(tmp_path):
    found = load(spec_of(tmp_path, frame().drop(columns="Date")))
    assert "no column of dates; rows are taken in the order of the file" in told(found)


def test_text_columns_do_not_enter(tmp_path):
    rows = frame()
    rows["sky"] = ["clear", "cloudy"] * 50
    found = load(spec_of(tmp_path, rows))
    assert found.input.shape == (7, 2)
    assert "Column 'sky' is not used: a series takes numbers, it holds text." in told(found)
    ignored = load(spec_of(tmp_path, rows, columns={"Wind": "ignore", "sky": "category"}))
    assert ignored.input.shape == (7, 1)
    assert "Column 'sky' is not used: it holds category." in told(ignored)


def test_stride_thins_training_only(tmp_path):
    plain, thin = load(spec_of(tmp_path, frame())), load(spec_of(tmp_path, frame(), stride=3))
    np.testing.assert_array_equal(thin.train.x, plain.train.x[::3])
    assert len(thin.val) == len(plain.val)


def test_an_own_test_file_is_a_series_of_its_own(tmp_path):
    test = written(tmp_path / "later.csv", frame(30))
    found = load(spec_of(tmp_path, frame(), test=test))
    assert len(found.test) == 30 - 7
    assert "the test part is a file of its own" in told(found)


def test_persistence_is_what_repeating_the_last_value_reaches(tmp_path):
    rows = frame()
    found = load(spec_of(tmp_path, rows))
    values = rows["Temp"].to_numpy()
    expected = np.sqrt(np.mean((values[85:] - values[84:-1]) ** 2))
    assert f"rmse {expected:.4g} on test" in found.summary["persistence"]


def test_a_column_that_knows_the_future_is_hinted_at(tmp_path):
    rows = frame()
    rows["Temp"] += np.random.default_rng(0).normal(0.0, 2.0, len(rows))
    assert load(spec_of(tmp_path, rows)).summary["hints"] == []
    rows["Tomorrow"] = rows["Temp"].shift(-1)
    (hint,) = load(spec_of(tmp_path, rows)).summary["hints"]
    assert hint.startswith(
        "Column 'Tomorrow' gives the target 1 row later away (correlation 1.000)"
    )


def test_a_data_frame_and_arrays(tmp_path):
    rows = frame()
    from_file = load(spec_of(tmp_path, rows))
    from_frame = load(DataSpec(source="<object>", target="Temp", window=7), arrays=rows)
    np.testing.assert_allclose(from_frame.train.x, from_file.train.x, atol=1e-6)
    pair = (rows[["Wind"]].to_numpy(), rows["Temp"].to_numpy())
    from_arrays = load(DataSpec(source="<object>", target="Temp", window=7), arrays=pair)
    np.testing.assert_allclose(from_arrays.train.x, from_file.train.x, atol=1e-6)


def test_new_rows_are_prepared_like_the_training_rows(tmp_path):
    rows = frame()
    found = load(spec_of(tmp_path, rows))
    record = Preparation.from_json(found.preparation.to_json())
    assert record == found.preparation
    x = record.transform(rows)
    assert x.shape == (94, 7, 2)  # the last one forecasts the day after the last
    np.testing.assert_allclose(x[: len(found.train)], found.train.x, atol=1e-6)
    np.testing.assert_array_equal(record.transform(rows.sample(frac=1.0, random_state=1)), x)
    raw = rows[["Temp", "Wind"]].to_numpy()[None, :7]
    np.testing.assert_allclose(record.transform(raw), x[:1], atol=1e-6)
    with pytest.raises(DataError, match=r"must be at least 7 \(the window\), got 5 rows"):
        record.transform(rows[:5])
    with pytest.raises(DataError, match=r"must have the shape \(7, 2\)"):
        record.transform(np.zeros((3, 6, 2)))


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ({"target": "Tmp"}, r"must be a column of temps.csv, got 'Tmp'. Did you mean 'Temp'"),
        ({"order": "Dat"}, r"data.order: must be a column of temps.csv, got 'Dat'. Did you mean"),
        ({"target": "Date"}, r"must hold numbers \(it is the series to forecast\)"),
        ({"window": 80}, r"must have at least 82 rows in its training part \(window 80, horizon 1"),
        ({"horizon": [1, 20]}, r"must leave a sample .* got none in validation and test"),
    ],
)
def test_wrong_requests_are_refused(tmp_path, extra, text):
    with pytest.raises(DataError, match=text):
        load(spec_of(tmp_path, frame(), **extra))


def test_peek_finds_wrong_columns(tmp_path):
    assert peek(spec_of(tmp_path, frame())) == []
    (problem,) = peek(spec_of(tmp_path, frame(), order="Dat"))
    assert problem.path == "data.order"


def test_a_series_of_text_is_refused(tmp_path):
    rows = frame()
    rows["Temp"] = ["warm", "cold"] * 50
    with pytest.raises(
        DataError, match=r"must hold numbers .* got 'cold', 'warm'. Correct the cells"
    ):
        load(spec_of(tmp_path, rows))


def test_an_image_file_is_no_series(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros((9, 2)), y=np.arange(9.0))
    with pytest.raises(
        DataError, match=r"must be a table .* for a time series, got a.npz, of kind npz"
    ):
        load(DataSpec(source=str(path), target="y", window=3))


def test_keys_that_do_not_go_together():
    with pytest.raises(ValueError, match=r"must come with window"):
        DataSpec(source="a.csv", target="y", order="Date")
    with pytest.raises(ValueError, match=r"must be regression for a time series"):
        DataSpec(source="a.csv", target="y", window=3, task="classification")
    with pytest.raises(ValueError, match=r"context is for running text"):
        DataSpec(source="a.csv", window=3, context=4)
    with pytest.raises(ValueError, match=r"must be a whole number >= 1 or a list of different"):
        DataSpec(source="a.csv", window=3, horizon=[1, 1])


@pytest.mark.data
def test_temperatures_load_as_their_note_says():
    source = data_folder() / "min-temperatures" / "daily-min-temperatures.csv.gz"
    split = {"train": 0.7, "val": 0.1, "test": 0.2}
    found = load(DataSpec(source=str(source), target="Temp", window=30, split=split))
    assert len(found.test) == 730
    assert "rmse 2.481 on test" in found.summary["persistence"]
    assert "2 gaps in 'Date'" in told(found)
