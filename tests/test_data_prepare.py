"""Preparation: the record's transform equals scikit-learn's pipeline; JSON and shapes."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler

from lanework.data import Preparation, load
from lanework.data.prepare import MAX_LEVELS, learn_images
from lanework.errors import DataError
from lanework.spec import DataSpec, SplitSpec

SCALERS = {"standard": StandardScaler, "minmax": MinMaxScaler, "none": lambda: "passthrough"}


def mixed_frame(num_rows: int = 400, num_towns: int = 5) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    towns = generator.choice([f"town {n:03d}" for n in range(num_towns)], num_rows).astype(object)
    towns[generator.random(num_rows) < 0.1] = None
    age = generator.normal(40, 12, num_rows).round(1)
    age[generator.random(num_rows) < 0.2] = np.nan
    return pd.DataFrame(
        {
            "town": towns,
            "age": age,
            "income": generator.lognormal(10, 1, num_rows),
            "colour": generator.choice(["red", "green", "blue"], num_rows),
            "label": generator.choice(["no", "yes"], num_rows),
        }
    )


def spec_for(**changes: object) -> DataSpec:
    return DataSpec.model_validate({"source": "<object>", "target": "label", **changes})


def rows_of_parts(frame: pd.DataFrame, spec: DataSpec) -> tuple[np.ndarray, ...]:
    from lanework.data.split import split_rows

    labels = (frame["label"] == "yes").to_numpy().astype(np.int32)
    split = spec.split
    fractions = (split.train, split.val, split.test)
    return split_rows(labels, len(frame), fractions=fractions, seed=split.seed)[:3]


@pytest.mark.parametrize("prepare", ["standard", "minmax", "none"])
@pytest.mark.parametrize("num_towns", [5, 100])
def test_one_hot_tables_equal_the_scikit_learn_pipeline(prepare, num_towns):
    frame = mixed_frame(num_rows=3000, num_towns=num_towns)
    spec = spec_for(prepare=prepare)
    data = load(spec, arrays=frame)
    numeric, categories = ["age", "income"], ["town", "colour"]
    oracle = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(SimpleImputer(strategy="median"), SCALERS[prepare]()),
                numeric,
            ),
            (
                "categories",
                make_pipeline(
                    SimpleImputer(strategy="constant", fill_value="(missing)", missing_values=None),
                    OneHotEncoder(
                        handle_unknown="infrequent_if_exist",
                        max_categories=MAX_LEVELS["onehot"],
                        sparse_output=False,
                    ),
                ),
                categories,
            ),
        ]
    )
    cells = frame[numeric].join(
        frame[categories].astype(object).where(frame[categories].notna(), None)
    )
    train, val, test = rows_of_parts(frame, spec)
    oracle.fit(cells.iloc[train])
    for part, rows in ((data.train, train), (data.val, val), (data.test, test)):
        expected = oracle.transform(cells.iloc[rows])
        np.testing.assert_allclose(part.x, expected, rtol=1e-5, atol=1e-6)
    assert data.input.num_numeric == data.train.x.shape[1]
    np.testing.assert_array_equal(data.preparation.transform(frame.iloc[test]), data.test.x)


def test_embedded_codes_equal_the_ordinal_encoder():
    frame = mixed_frame()
    spec = spec_for(categories="embed")
    data = load(spec, arrays=frame)
    train, val, _ = rows_of_parts(frame, spec)
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-7)
    cells = frame[["town", "colour"]].astype(object)
    cells = cells.where(cells.notna(), "(missing)")
    encoder.fit(cells.iloc[train])
    np.testing.assert_array_equal(data.val.x[:, 2:], encoder.transform(cells.iloc[val]))
    assert data.input.num_numeric == 2
    assert data.input.cardinalities == (7, 4)  # levels, missing for towns, and one for unknown
    strange = frame.iloc[:1].assign(town="nowhere", colour="mauve")
    np.testing.assert_array_equal(data.preparation.transform(strange)[0, 2:], [6, 3])


@pytest.mark.parametrize("prepare", ["standard", "minmax"])
def test_plain_numbers_equal_scikit_learn(prepare):
    data = load(DataSpec(source="digits", prepare=prepare))
    raw = load(DataSpec(source="digits", prepare="none"))
    scaler = SCALERS[prepare]().fit(raw.train.x)
    for name in ("train", "val", "test"):
        expected = scaler.transform(getattr(raw, name).x)
        np.testing.assert_allclose(getattr(data, name).x, expected, rtol=1e-5, atol=1e-6)


def test_a_column_that_is_constant_up_to_rounding_is_not_blown_up():
    x = np.full((100, 2), 1e5 + 0.1)
    x[:, 1] = np.arange(100)
    x[::2, 0] += 1e-11
    data = load(DataSpec(source="<object>"), arrays=(x, np.arange(100) % 2))
    assert np.abs(data.train.x[:, 0]).max() < 1e-6


def test_gaps_in_a_matrix_are_filled_with_the_training_median():
    x = np.arange(200.0).reshape(100, 2)
    x[5:15, 1] = np.nan
    x[20, 0] = np.inf
    data = load(DataSpec(source="<object>", prepare="none"), arrays=(x, np.arange(100) % 2))
    told = " ".join(data.summary["decisions"])
    assert "1 feature value infinite or above 1e30: counted as missing." in told
    assert "11 missing feature values filled with the training median." in told
    assert all(np.isfinite(part.x).all() for part in (data.train, data.val, data.test))
    fills = {rule.name: rule.fill for rule in data.preparation.numbers}
    gaps = np.concatenate([data.train.x, data.val.x, data.test.x])
    assert (gaps[:, 1] == np.float32(fills["x2"])).sum() >= 10


def test_the_record_survives_json():
    data = load(spec_for(), arrays=mixed_frame())
    text = json.dumps(data.preparation.to_json(), allow_nan=False)
    again = Preparation.from_json(json.loads(text))
    assert again == data.preparation
    frame = mixed_frame().drop(columns="label")
    np.testing.assert_array_equal(again.transform(frame), data.preparation.transform(frame))


def test_the_summary_is_json_without_nan():
    data = load(spec_for(), arrays=mixed_frame())
    json.dumps(data.summary, allow_nan=False)


def test_regression_targets_are_scaled_on_the_training_part_and_come_back():
    data = load(DataSpec(source="diabetes"))
    assert data.task == "regression"
    assert data.train.y.shape == (310, 1)
    assert data.train.y.mean() == pytest.approx(0, abs=1e-6)
    assert data.train.y.std() == pytest.approx(1, abs=1e-6)
    unit = data.preparation.unscale(data.test.y)
    assert unit.min() >= 25 - 1e-3
    assert unit.max() <= 346 + 1e-3
    assert np.abs(unit - np.round(unit)).max() < 1e-3
    plain = load(DataSpec(source="diabetes", scale_target=False))
    np.testing.assert_allclose(plain.test.y, unit, rtol=1e-5)
    assert plain.target_scale == (1.0,)


def test_several_targets():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(50, 3))
    data = load(DataSpec(source="<object>"), arrays=(x, x[:, :2] * [1, 100] + 5))
    assert data.num_outputs == 2
    assert data.train.y.shape == (35, 2)
    assert data.target_scale[1] == pytest.approx(100 * data.target_scale[0], rel=0.5)


def test_byte_images_stay_bytes_and_are_scaled_per_channel():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (60, 4, 5, 3), dtype=np.uint8)
    data = load(DataSpec(source="<object>"), arrays=(images, np.arange(60) % 3))
    assert data.train.x.dtype == np.uint8
    assert data.input.shape == (4, 5, 3)
    scaled = data.train.x * data.input_scale + data.input_shift
    np.testing.assert_allclose(scaled.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=(0, 1, 2)), 1, atol=1e-5)
    assert data.preparation.transform(images[:2]).dtype == np.uint8


def test_float_images_are_standardised_like_bytes():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (60, 4, 5, 3), dtype=np.uint8)
    labels = np.arange(60) % 3
    bytes_ = load(DataSpec(source="<object>"), arrays=(images, labels))
    floats = load(DataSpec(source="<object>"), arrays=(images.astype(np.float32), labels))
    scaled = bytes_.val.x * bytes_.input_scale + bytes_.input_shift
    np.testing.assert_allclose(floats.val.x, scaled, atol=1e-5)
    assert floats.input_scale is None


@pytest.mark.parametrize("prepare", ["standard", "minmax", "none"])
def test_image_statistics_equal_numpy(prepare):
    images = np.random.default_rng(1).integers(0, 200, (30, 8, 8, 2), dtype=np.uint8)
    shift, scale = learn_images(images, prepare=prepare)
    expected = {
        "standard": (images.mean(axis=(0, 1, 2)), images.std(axis=(0, 1, 2))),
        "minmax": (np.zeros(2), np.full(2, 255.0)),
        "none": (np.zeros(2), np.ones(2)),
    }[prepare]
    np.testing.assert_allclose(shift, expected[0])
    np.testing.assert_allclose(scale, expected[1])


def test_transform_says_which_columns_are_missing():
    record = load(spec_for(), arrays=mixed_frame()).preparation
    with pytest.raises(
        DataError, match=r"must have the 4 columns of the training data, got no 'age'"
    ):
        record.transform(mixed_frame().drop(columns="age"))


def test_transform_refuses_other_shapes():
    table = load(spec_for(), arrays=mixed_frame()).preparation
    with pytest.raises(DataError, match=r"must be a DataFrame with named columns with 4 columns"):
        table.transform(np.zeros((2, 4)))
    matrix = load(DataSpec(source="iris")).preparation
    assert matrix.transform(np.zeros((2, 4))).shape == (2, 4)
    with pytest.raises(DataError, match=r"must be an array with 4 columns, got .*\(2, 3\)"):
        matrix.transform(np.zeros((2, 3)))
    images = np.zeros((30, 6, 6), np.uint8)
    images[::2] = 9
    pictures = load(DataSpec(source="<object>"), arrays=(images, np.arange(30) % 2)).preparation
    assert pictures.transform(images[:3]).shape == (3, 6, 6, 1)
    with pytest.raises(DataError, match=r"must have the shape \(6, 6, 1\), got \(7, 6\)"):
        pictures.transform(np.zeros((2, 7, 6), np.uint8))
    with pytest.raises(DataError, match=r"must be bytes .*got float32"):
        pictures.transform(images.astype(np.float32))


def test_nothing_is_learned_from_val_or_test():
    frame = mixed_frame()
    spec = DataSpec(source="<object>", target="label", split=SplitSpec(seed=3))
    _train, val, test = rows_of_parts(frame, spec)
    changed = frame.copy()
    rows = np.concatenate([val, test])
    changed.loc[rows, "income"] = 1e9
    changed.loc[rows, "town"] = "elsewhere"
    first, second = load(spec, arrays=frame), load(spec, arrays=changed)
    assert first.preparation == second.preparation
    np.testing.assert_array_equal(first.train.x, second.train.x)
    told = " ".join(second.summary["decisions"])
    assert "Column 'town': training has no 'elsewhere'; " in told
