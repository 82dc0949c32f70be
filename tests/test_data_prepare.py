"""Preparation: the record's transform equals scikit-learn's pipeline; JSON and shapes."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

import lanework
from lanework.data import Preparation, load
from lanework.data.prepare import MAX_LEVELS, learn_images
from lanework.errors import DataError, SpecError
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


# ---- lists of steps ------------------------------------------------------------------------


def gappy(num_rows: int = 500, *, seed: int = 0) -> pd.DataFrame:
    """Numbers of several shapes, two of them with gaps."""
    generator = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "plain": generator.normal(5, 2, num_rows),
            "long": generator.lognormal(0, 1.5, num_rows),
            "ties": generator.integers(0, 4, num_rows).astype(float),
            "tied to plain": 0.0,
        }
    )
    table["tied to plain"] = table["plain"] * 2 + generator.normal(0, 0.5, num_rows)
    for name in ("long", "ties"):
        table.loc[generator.random(num_rows) < 0.15, name] = np.nan
    return table


def impute(strategy: str = "median", **options: object) -> SimpleImputer:
    return SimpleImputer(strategy=strategy, **options)


def skewed(matrix: np.ndarray) -> np.ndarray:
    """log1p of the second column, the only one with a long tail."""
    return np.column_stack([matrix[:, 0], np.log1p(matrix[:, 1]), matrix[:, 2:]])


PIPELINES = {
    "robust": ("robust", lambda: make_pipeline(impute(), RobustScaler())),
    "robust wide": (
        {"name": "robust", "low": 0.1, "high": 0.9},
        lambda: make_pipeline(impute(), RobustScaler(quantile_range=(10, 90))),
    ),
    "quantile": (
        "quantile",
        lambda: make_pipeline(
            impute(),
            QuantileTransformer(n_quantiles=350, output_distribution="normal", subsample=None),
        ),
    ),
    "quantile uniform": (
        {"name": "quantile", "output": "uniform", "quantiles": 20},
        lambda: make_pipeline(impute(), QuantileTransformer(n_quantiles=20, subsample=None)),
    ),
    "mean, indicator": (
        [{"name": "impute", "strategy": "mean", "indicator": True}, "standard"],
        lambda: make_pipeline(impute("mean", add_indicator=True), StandardScaler()),
    ),
    "constant": (
        [{"name": "impute", "strategy": "constant", "value": -3.0}, "minmax"],
        lambda: make_pipeline(impute("constant", fill_value=-3.0), MinMaxScaler()),
    ),
    "scaled before filled": (
        ["standard", {"name": "impute", "strategy": "constant"}],
        lambda: make_pipeline(StandardScaler(), impute("constant", fill_value=0.0)),
    ),
    "log": (
        ["log1p", "standard"],
        lambda: make_pipeline(impute(), FunctionTransformer(skewed), StandardScaler()),
    ),
    "centre": ("centre", lambda: make_pipeline(impute(), StandardScaler(with_std=False))),
    "pca": (
        ["standard", "pca"],
        lambda: make_pipeline(
            impute(), StandardScaler(), PCA(whiten=True, svd_solver="covariance_eigh")
        ),
    ),
    "pca by share": (
        ["standard", {"name": "pca", "share": 0.7, "whiten": False}],
        lambda: make_pipeline(impute(), StandardScaler(), PCA(0.7, svd_solver="full")),
    ),
    "pca by number": (
        [{"name": "pca", "components": 2}],
        lambda: make_pipeline(impute(), PCA(2, whiten=True, svd_solver="covariance_eigh")),
    ),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", PIPELINES)
def test_lists_of_steps_equal_the_scikit_learn_pipeline(name, seed):
    prepare, oracle = PIPELINES[name]
    table = gappy(seed=seed)
    table["label"] = np.random.default_rng(9).choice(["no", "yes"], len(table))
    spec = spec_for(prepare=prepare)
    data = load(spec, arrays=table)
    train, val, test = rows_of_parts(table, spec)
    matrix = table.drop(columns="label").to_numpy()
    made = oracle().fit(matrix[train])
    for part, rows in ((data.train, train), (data.val, val), (data.test, test)):
        np.testing.assert_allclose(part.x, made.transform(matrix[rows]), rtol=2e-5, atol=2e-5)
    # Numbers by position go the same way, and the record survives JSON bit for bit.
    arrays = load(DataSpec(source="<object>", prepare=prepare), arrays=(matrix, table["label"]))
    np.testing.assert_array_equal(arrays.val.x, data.val.x)
    again = Preparation.from_json(
        json.loads(json.dumps(data.preparation.to_json(), allow_nan=False))
    )
    assert again == data.preparation
    np.testing.assert_array_equal(again.transform(table.iloc[test]), data.test.x)


def test_zca_whitens_and_stays_near_the_columns():
    table = gappy().drop(columns=["long", "ties"])
    table["label"] = np.arange(len(table)) % 2
    data = load(spec_for(prepare=["standard", {"name": "zca", "eps": 1e-9}]), arrays=table)
    covariance = np.cov(data.train.x, rowvar=False)
    np.testing.assert_allclose(covariance, np.eye(2), atol=1e-4)
    plain = load(spec_for(prepare="standard"), arrays=table).train.x
    whitened = PCA(whiten=True).fit(plain)
    np.testing.assert_allclose(
        data.train.x, whitened.transform(plain) @ whitened.components_, atol=1e-3
    )
    turned = whitened.transform(plain)
    assert np.mean((data.train.x - plain) ** 2) < np.mean((turned - plain) ** 2)


def test_outliers_are_clipped_to_quantiles_of_the_training_part():
    table = gappy().drop(columns=["long", "ties"])
    table["label"] = np.arange(len(table)) % 2
    spec = spec_for(prepare=[{"name": "clip", "low": 0.05, "high": 0.9}])
    data = load(spec, arrays=table)
    train, _, test = rows_of_parts(
        table.assign(label=np.where(table["label"] == 1, "yes", "no")), spec
    )
    matrix = table.drop(columns="label").to_numpy()
    low, high = np.quantile(matrix[train], [0.05, 0.9], axis=0)
    np.testing.assert_allclose(data.test.x, np.clip(matrix[test], low, high), rtol=1e-6)


def test_only_columns_with_a_long_tail_take_the_logarithm():
    from scipy.stats import skew

    generator = np.random.default_rng(0)
    x = np.stack([generator.normal(9, 1, 400), generator.lognormal(0, 1, 400), -generator.lognormal(0, 1, 400)], axis=1)  # fmt: skip
    assert [round(float(value)) >= 1 for value in skew(x)] == [False, True, False]
    data = load(DataSpec(source="<object>", prepare="log1p"), arrays=(x, np.arange(400) % 2))
    (block,) = data.preparation.blocks
    assert block.steps[-1].values["columns"] == (1,)
    later = data.preparation.transform(np.array([[0.0, -3.0, 0.0]]))
    assert later[0, 1] == pytest.approx(-np.log(4.0)), "values below 0 that come later are mirrored"


def test_each_column_can_have_steps_of_its_own():
    table = gappy()
    table["label"] = np.arange(len(table)) % 2
    columns = {"long": {"prepare": ["log1p", "robust"]}, "ties": {"prepare": "none"}}
    data = load(spec_for(columns=columns), arrays=table)
    record = data.preparation
    assert [block.columns for block in record.blocks] == [(0, 3), (1,), (2,)]
    x = data.train.x
    assert x[:, :2].mean(axis=0) == pytest.approx([0, 0], abs=1e-5)
    assert np.median(x[:, 2]) == pytest.approx(0, abs=1e-6)
    assert set(np.unique(x[:, 3]).tolist()) <= {0.0, 1.0, 2.0, 3.0, 1.5}
    assert record.transform(table).shape == (len(table), 4)


def test_indicators_are_told_and_numbers_that_were_never_missing_get_none():
    table = gappy()
    table["label"] = np.arange(len(table)) % 2
    data = load(spec_for(prepare={"name": "impute", "indicator": True}), arrays=table)
    assert data.input.shape == (6,)
    assert any("marked in a column of their own" in text for text in data.summary["decisions"])


# ---- levels, order and dates ---------------------------------------------------------------


@pytest.mark.parametrize("rare", [0.06, 40])
def test_rare_levels_are_merged_as_scikit_learn_does(rare):
    generator = np.random.default_rng(0)
    town = generator.choice(list("abcdef"), 800, p=[0.4, 0.3, 0.2, 0.05, 0.03, 0.02])
    table = pd.DataFrame({"town": town, "label": generator.choice(["no", "yes"], 800)})
    spec = spec_for(rare=rare)
    data = load(spec, arrays=table)
    train, val, _ = rows_of_parts(table, spec)
    oracle = OneHotEncoder(
        min_frequency=rare, handle_unknown="infrequent_if_exist", sparse_output=False
    ).fit(table[["town"]].iloc[train])
    np.testing.assert_array_equal(data.val.x, oracle.transform(table[["town"]].iloc[val]))
    assert any("rare levels of 'town' merged" in text for text in data.summary["decisions"])


def test_ordinal_places_equal_the_ordinal_encoder():
    generator = np.random.default_rng(0)
    size = generator.choice(["1 small", "2 medium", "3 large", "4 huge"], 300)
    table = pd.DataFrame({"size": size, "label": generator.choice(["no", "yes"], 300)})
    spec = spec_for(categories="ordinal", prepare="none")
    data = load(spec, arrays=table)
    train, val, _ = rows_of_parts(table, spec)
    oracle = OrdinalEncoder().fit(table[["size"]].iloc[train])
    np.testing.assert_array_equal(data.val.x, oracle.transform(table[["size"]].iloc[val]))
    strange = data.preparation.transform(pd.DataFrame({"size": ["5 vast", None, "2 medium"]}))
    median = np.median(oracle.transform(table[["size"]].iloc[train]))
    assert strange[:, 0].tolist() == [median, median, 1.0]


def test_encodings_by_column_and_codes_come_last():
    table = mixed_frame()
    columns = {"town": {"categories": "embed"}, "colour": "category"}
    data = load(spec_for(columns=columns), arrays=table)
    assert data.input.num_numeric == 2 + 3
    assert data.input.cardinalities == (7,)
    assert data.train.x[:, -1].max() <= 6


def test_parts_of_dates_are_those_of_the_calendar():
    generator = np.random.default_rng(0)
    when = pd.Timestamp("1999-12-01") + pd.to_timedelta(
        generator.integers(0, 10**6, 400), unit="min"
    )
    table = pd.DataFrame({"when": when, "label": generator.choice(["no", "yes"], 400)})
    table.loc[5, "when"] = pd.NaT
    parts = ["year", "month", "day", "weekday", "hour", "days"]
    data = load(spec_for(dates=parts, prepare="none"), arrays=table)
    x = data.preparation.transform(table.drop(index=5))
    date = when.delete(5)
    hours = date.hour + date.minute / 60
    wanted = [
        date.year, np.sin(2 * np.pi * (date.month - 1) / 12), np.cos(2 * np.pi * (date.month - 1) / 12), date.day,
        np.sin(2 * np.pi * date.day_of_week / 7), np.cos(2 * np.pi * date.day_of_week / 7),
        np.sin(2 * np.pi * hours / 24), np.cos(2 * np.pi * hours / 24),
        (date - pd.Timestamp(0)) / pd.Timedelta(days=1),
    ]  # fmt: skip
    np.testing.assert_allclose(x, np.stack(wanted, axis=1), atol=2e-3)
    assert np.isfinite(data.preparation.transform(table)).all()
    assert data.preparation.names == ("when",)
    again = Preparation.from_json(json.loads(json.dumps(data.preparation.to_json())))
    np.testing.assert_array_equal(again.transform(table), data.preparation.transform(table))


# ---- the logarithm of a target -------------------------------------------------------------


def test_a_target_is_learned_as_a_logarithm_and_comes_back():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(200, 2))
    y = np.exp(4 + x[:, 0])
    spec = DataSpec(source="<object>", task="regression", log_target=True)
    data = load(spec, arrays=(x, y))
    assert float(data.train.y.std()) == pytest.approx(1.0, abs=1e-5)
    assert abs(float(np.corrcoef(data.train.x[:, 0], data.train.y[:, 0])[0, 1])) > 0.95
    back = data.preparation.unscale(data.train.y)[:, 0]
    assert np.isclose(back[:, None], y, rtol=1e-4).any(axis=1).all()


def test_a_target_without_a_logarithm_is_refused():
    x = np.arange(60.0)[:, None]
    with pytest.raises(
        DataError, match=r"data.log_target: must come with targets above -1.*got 9 values"
    ):
        load(
            DataSpec(source="<object>", task="regression", log_target=True), arrays=(x, x[:, 0] - 9)
        )


# ---- what is refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"prepare": ["pca", "impute"]}, r"data.prepare: must have impute before pca"),
        ({"prepare": []}, r"data.prepare: must name a step, got an empty list"),
        ({"prepare": ["none", "robust"]}, r"data.prepare: must have none alone, got robust beside it"),
        ({"prepare": ["standrd"]}, r"data.prepare\[0\]: must be the name of a preparation.*Did you mean standard"),
        ({"prepare": {"name": "clip", "low": 0.9, "high": 0.1}}, r"data.prepare.low: must be below high"),
        ({"prepare": {"name": "pca", "components": 2, "share": 0.5}}, r"data.prepare: must say how much pca keeps once"),
        ({"columns": {"a": {"prepare": "robst"}}}, r"data.columns.a.prepare: must be the name of a preparation"),
        ({"columns": {"a": {"kid": 1}}}, r"data.columns.a.kid: must be a known key, got 'kid'. Did you mean kind\?"),
        ({"columns": {"a": 3}}, r"data.columns.a: must be numeric, category, date, ignore, text or words, got 3"),
        ({"rare": 1.5}, r"data.rare: must be a share of the rows > 0 and < 1, or a whole number"),
        ({"dates": ["days", "moth"]}, r"data.dates\[1\]: must be the name of a date_part, got 'moth'. Did you mean month"),
    ],
)  # fmt: skip
def test_words_about_preparation_that_cannot_be_followed(changes, text):
    with pytest.raises(SpecError, match=text):
        lanework.Study(data={"source": "iris", **changes})


def test_steps_that_the_data_does_not_allow():
    frame = mixed_frame()
    with pytest.raises(DataError, match=r"data.prepare.components: must be at most 2 here.*got 9"):
        load(spec_for(prepare={"name": "pca", "components": 9}), arrays=frame)
    with pytest.raises(
        DataError, match=r"data.columns.town.prepare: must be left out for a category"
    ):
        load(spec_for(columns={"town": {"prepare": "robust"}}), arrays=frame)
    images = np.zeros((20, 4, 4, 1), np.uint8)
    with pytest.raises(
        DataError, match=r"data.prepare: must be one of standard, .* for images, got pca"
    ):
        load(DataSpec(source="<object>", prepare="pca"), arrays=(images, np.arange(20) % 2))
    with pytest.raises(DataError, match=r"data.columns.x9: must be a column of the data, got 'x9'"):
        load(DataSpec.model_validate({"source": "iris", "columns": {"x9": "ignore"}}))
