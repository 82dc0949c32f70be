"""Sources: built-in sets, generated ones, files of each format, Python objects; order and limits."""

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets

from lanework.catalog import CATALOG
from lanework.data import load
from lanework.data.builtin import GENERATED
from lanework.data.sources import FORMATS, SOURCES, read_source
from lanework.data.types import Column
from lanework.spec import DataSpec
from tests.helpers import data_folder

BUNDLED = ("digits", "breast_cancer", "wine", "iris", "diabetes")


def test_every_source_of_the_catalogue_can_be_read():
    assert set(CATALOG["source"]) <= set(SOURCES)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_sets_are_scikit_learns(name):
    options = {"scaled": False} if name == "diabetes" else {}
    oracle = getattr(sklearn.datasets, f"load_{name}")(**options)
    loaded = read_source(DataSpec(source=name))
    assert isinstance(loaded.target, Column)
    np.testing.assert_array_equal(loaded.features, oracle.data)
    np.testing.assert_array_equal(loaded.target.values, oracle.target)
    names = [str(feature).replace("_0", "_0") for feature in oracle.feature_names]
    assert list(loaded.names) == names or name == "digits"
    if loaded.class_names:
        assert list(loaded.class_names) == list(oracle.target_names)


def test_digits_need_neither_scikit_learn_nor_pandas():
    import subprocess

    code = (
        "import sys; from lanework.data import load; from lanework.spec import DataSpec; "
        "data = load(DataSpec(source='digits')); assert data.train.x.shape == (1258, 64); "
        "print([m for m in ('sklearn', 'pandas', 'scipy', 'pyarrow', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_digits_can_be_seen_as_images():
    data = load(DataSpec(source="digits", prepare="none"))
    assert data.input.grid == (8, 8, 1)
    assert data.train.x.reshape(-1, 8, 8).max() == 16


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_generated_sets_are_balanced_and_fixed(name):
    spec = DataSpec.model_construct(**{**DataSpec(source="iris").__dict__, "source": name})
    data = load(spec)
    assert data.input.shape == (2,)
    assert data.fingerprint == load(spec).fingerprint
    counts = [row["train"] for row in data.summary["classes"]]
    assert min(counts) > 0.8 * max(counts)
    assert data.summary["hints"] == []


def frame(num_rows: int = 80) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": generator.normal(size=num_rows),
            "colour": generator.choice(["red", "blue"], num_rows),
            "label": generator.choice(["no", "yes"], num_rows),
        }
    )


@pytest.mark.parametrize(
    "ending", ["csv", "csv.gz", "tsv", "tsv.gz", "parquet", "parquet.gz", "txt"]
)
def test_the_same_table_in_every_format(tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    if "parquet" in ending:
        frame().to_parquet(path)
        if ending.endswith(".gz"):
            path.write_bytes(gzip.compress(path.read_bytes()))
    else:
        frame().to_csv(path, index=False, sep="\t" if "tsv" in ending else ",")
    data = load(DataSpec(source=str(path), target="label"))
    expected = load(DataSpec(source="<object>", target="label"), arrays=frame())
    np.testing.assert_allclose(data.train.x, expected.train.x, rtol=1e-6)
    np.testing.assert_array_equal(data.test.y, expected.test.y)


def test_frame_of_many_types():
    num_rows = 90
    made = frame(num_rows).assign(
        when=pd.date_range("2024-01-01", periods=num_rows, freq="7h"),
        ok=np.arange(num_rows) % 3 == 0,
        grade=pd.Categorical(np.array(["a", "b", "c"])[np.arange(num_rows) % 3]),
        count=pd.array([*range(num_rows - 5), *[None] * 5], dtype="Int64"),
        mixed=["one", 2, None] * (num_rows // 3),
    )
    data = load(DataSpec(source="<object>", target="label"), arrays=made)
    kinds = {column["name"]: column["kind"] for column in data.summary["columns"]}
    assert kinds == {
        "size": "numeric",
        "colour": "category",
        "when": "date",
        "ok": "numeric",
        "grade": "category",
        "count": "numeric",
        "mixed": "category",
    }
    np.testing.assert_array_equal(
        data.preparation.transform(made)[:1].shape, (1, data.input.shape[0])
    )


def test_features_and_target_apart():
    made = frame()
    together = load(DataSpec(source="<object>", target="label"), arrays=made)
    apart = load(DataSpec(source="<object>"), arrays=(made[["size", "colour"]], made["label"]))
    np.testing.assert_array_equal(apart.train.x, together.train.x)
    assert apart.classes == together.classes
    assert apart.summary["target"] == {"name": "label"}
    assert apart.summary["baseline"]["val"]["accuracy"] >= 0.4
    columns = load(DataSpec(source="<object>"), arrays=(made[["size", "colour"]], made[["label"]]))
    assert columns.classes == together.classes
    lists = load(
        DataSpec(source="<object>"),
        arrays=(made[["size", "colour"]].to_numpy().tolist(), made["label"].tolist()),
    )
    np.testing.assert_allclose(lists.train.x, together.train.x, rtol=1e-6)


def test_own_test_arrays():
    made = frame()
    x, y = made[["size", "colour"]], made["label"]
    data = load(DataSpec(source="<object>"), arrays=(x, y, x[:7], y[:7]))
    assert [len(part) for part in (data.train, data.val, data.test)] == [66, 14, 7]
    np.testing.assert_array_equal(data.test.x, data.preparation.transform(x[:7]))


def test_own_test_file(tmp_path):
    frame().to_csv(tmp_path / "train.csv", index=False)
    frame()[["label", "colour", "size"]].iloc[:9].to_csv(tmp_path / "test.csv", index=False)
    data = load(
        DataSpec.model_validate(
            {
                "source": str(tmp_path / "train.csv"),
                "target": "label",
                "test": str(tmp_path / "test.csv"),
            }
        )
    )
    assert data.summary["parts"] == {"train": 66, "val": 14, "test": 9}
    np.testing.assert_array_equal(data.test.x, data.preparation.transform(frame().iloc[:9]))


def test_npz_with_and_without_test_part(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    np.savez(tmp_path / "a.npz", x=x, y=y)
    assert load(DataSpec(source=str(tmp_path / "a.npz"))).summary["parts"]["test"] == 6
    np.savez(tmp_path / "b.npz", x_train=x, y_train=y, x_test=x[:5], y_test=y[:5])
    data = load(DataSpec(source=str(tmp_path / "b.npz")))
    assert data.summary["parts"]["test"] == 5
    np.savez(tmp_path / "c.npz", x=x, other=y * 0.5 + x[:, 0])
    assert load(DataSpec(source=str(tmp_path / "c.npz"), target="other")).task == "regression"


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def test_idx_files_with_labels_beside_or_named(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 5, 5))
    for part in ("train", "t10k"):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(40) % 4)
    source = str(tmp_path / "train-images-idx3-ubyte.gz")
    data = load(DataSpec(source=source))
    assert data.input.shape == (5, 5, 1)
    assert data.classes == ("0", "1", "2", "3")
    assert "Read as images of 5 x 5 with one channel." in data.summary["decisions"]
    own = DataSpec.model_validate(
        {
            "source": source,
            "target": "t10k-labels-idx1-ubyte.gz",
            "test": str(tmp_path / "t10k-images-idx3-ubyte.gz"),
        }
    )
    assert load(own).summary["parts"]["test"] == 40


def test_images_with_channels_first_are_turned_around():
    images = np.random.default_rng(0).integers(0, 256, (30, 3, 6, 7), dtype=np.uint8)
    data = load(DataSpec(source="<object>"), arrays=(images, np.arange(30) % 2))
    assert data.input.shape == (6, 7, 3)
    assert "Channels came first and were put last" in " ".join(data.summary["decisions"])


def test_limit_rows_draws_at_random():
    data = load(DataSpec(source="digits", limit_rows=200))
    assert data.summary["rows"] == 200
    assert "200 of 1 797 rows drawn at random (limit_rows)." in data.summary["decisions"]
    assert len({row["name"] for row in data.summary["classes"] if row["train"]}) == 10


def test_the_fingerprint_follows_what_training_sees():
    base = load(DataSpec(source="iris")).fingerprint
    assert base == load(DataSpec(source="iris")).fingerprint
    changes = [{"split": {"seed": 1}}, {"prepare": "minmax"}, {"limit_rows": 149}]
    others = {
        load(DataSpec.model_validate({"source": "iris", **change})).fingerprint
        for change in changes
    }
    assert len(others | {base}) == 4


def test_no_test_part():
    data = load(DataSpec.model_validate({"source": "iris", "split": {"train": 0.8, "test": 0}}))
    assert len(data.test) == 0
    assert data.test.x.shape == (0, 4)


def test_matrix_columns_are_described_like_table_columns():
    made = load(DataSpec(source="iris")).summary["columns"]
    raw = read_source(DataSpec(source="iris"))
    frame = pd.DataFrame(raw.features, columns=list(raw.names))
    again = load(DataSpec(source="<object>"), arrays=(frame, raw.target.values)).summary["columns"]
    for one, other in zip(made, again, strict=True):
        assert one == pytest.approx(other)


def test_formats_are_a_table():
    assert set(FORMATS) == {"csv", "parquet", "npz", "idx"}


@pytest.mark.data
def test_adult():
    folder = data_folder() / "adult"
    data = load(
        DataSpec.model_validate(
            {
                "source": str(folder / "adult-train.csv.gz"),
                "target": "income",
                "test": str(folder / "adult-test.csv.gz"),
            }
        )
    )
    assert data.summary["parts"] == {"train": 26815, "val": 5746, "test": 16281}
    assert data.input.shape == (108,)
    assert data.classes == ("<=50K", ">50K")
    missing = {c["name"]: c["missing"] for c in data.summary["columns"] if c["missing"]}
    assert sum(missing.values()) == 4262
    assert set(missing) == {"workclass", "occupation", "native-country"}
    told = " ".join(data.summary["decisions"])
    assert "Columns 'workclass', 'occupation', 'native-country': '?' read as missing." in told
    assert any("same features as a training row" in hint for hint in data.summary["hints"])


@pytest.mark.data
def test_california_housing():
    path = data_folder() / "california-housing" / "housing.csv.gz"
    data = load(DataSpec(source=str(path), target="median_house_value"))
    assert data.task == "regression"
    assert data.input.shape == (13,)
    assert "207 missing cells in 'total_bedrooms' filled" in " ".join(data.summary["decisions"])
    assert any("may have been cut off" in hint for hint in data.summary["hints"])


@pytest.mark.data
def test_fashion_mnist(monkeypatch):
    monkeypatch.setenv("LANEWORK_DATA", str(data_folder()))
    data = load(DataSpec(source="fashion-mnist"))
    assert data.summary["parts"] == {"train": 49412, "val": 10588, "test": 10000}
    mean = float(-data.input_shift[0] / data.input_scale[0]) / 255
    assert mean == pytest.approx(0.2860, abs=1e-3)
    assert 1 / float(data.input_scale[0]) / 255 == pytest.approx(0.3530, abs=1e-3)
