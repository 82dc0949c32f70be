"""Bad input of every kind: a clear error, or a decision told in the summary."""

import contextlib
import gzip
import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from lanework.data import load, peek
from lanework.data.files import read_bytes
from lanework.data.tables import text_columns
from lanework.errors import DataError
from lanework.spec import DataSpec

ROWS = [f"{n},{n % 7},{'yes' if n % 3 else 'no'}" for n in range(60)]


def table(path: Path, lines: list[str] | None = None, *, header: str = "a,b,label") -> str:
    path.write_text("\n".join([header, *(ROWS if lines is None else lines)]) + "\n")
    return str(path)


def read(source: object, **changes: object):
    return load(DataSpec.model_validate({"source": str(source), "target": "label", **changes}))


def told(data) -> str:
    return "\n".join(data.summary["decisions"])


# Files that cannot be read at all


def test_missing_file_names_its_neighbour(tmp_path):
    table(tmp_path / "houses.csv")
    with pytest.raises(DataError, match=r"must be a file that exists .*Did you mean 'houses.csv'"):
        read(tmp_path / "house.csv")


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match=r"The folder .*nowhere does not exist either"):
        read(tmp_path / "nowhere" / "x.csv")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(
        DataError, match=r"got the folder .*no file is named like an image.*Name a file in it"
    ):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n\n  \n"])
@pytest.mark.parametrize("is_packed", [False, True])
def test_empty_file(tmp_path, content, is_packed):
    path = tmp_path / ("x.csv.gz" if is_packed else "x.csv")
    path.write_bytes(gzip.compress(content) if is_packed else content)
    with pytest.raises(DataError, match=r"must hold data, got an empty file"):
        read(path)


def test_header_only(tmp_path):
    with pytest.raises(
        DataError, match=r"must hold rows of data, got a header only .'a', 'b', 'lab"
    ):
        read(table(tmp_path / "x.csv", []))


def test_corrupt_gzip(tmp_path):
    whole = gzip.compress("\n".join(["a,b,label", *ROWS]).encode())
    path = tmp_path / "x.csv.gz"
    path.write_bytes(whole[:-20])
    with pytest.raises(
        DataError, match=r"must be readable to its end, got gzip data that ends too e"
    ):
        read(path)
    path.write_bytes(whole[:20] + b"\xff\xff\xff" + whole[23:])
    with pytest.raises(DataError, match=r"must be readable to its end, got broken gzip data"):
        read(path)
    path.write_bytes(b"a,b,label\n1,2,yes\n")
    with pytest.raises(DataError, match=r"not a gzip file, though its name ends in .gz"):
        read(path)


def test_endless_line_stops_before_the_rest_is_read(tmp_path):
    path = tmp_path / "x.csv"
    with path.open("wb") as stream:
        stream.write(b"a,b,label\n1,2,yes\n")
        for _ in range(8):
            stream.write(b"7" * 2**20)
    with pytest.raises(
        DataError, match=r"x.csv: must have lines of at most 2 MiB, got .*\(line 3\)"
    ):
        text_columns(path, max_line_bytes=2 * 2**20)
    packed = tmp_path / "x.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(
        DataError, match=r"must have lines of at most 1000 bytes|at most 1 000 bytes"
    ):
        read_bytes(packed, max_line_bytes=1000)


def test_a_long_but_allowed_line_is_read(tmp_path):
    path = tmp_path / "x.csv"
    lines = [*ROWS, f'1,2,"{"y" * 6_000_000}"']
    path.write_text("\n".join(["a,b,label", *lines]))
    columns, _ = text_columns(path)
    assert len(columns["label"]) == 61


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b'{"a": [1, 2]}', "JSON data"),
        (pickle.dumps({"x": 1}), "pickle data.*Pickle files are never opened: they can run code"),
        (b"\x89PNG\r\n\x1a\n0000", "image data"),
        (b"%PDF-1.4", "PDF data"),
    ],
)
def test_other_formats_are_recognised(tmp_path, content, what):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=f"must be a table, NPZ or IDX file, got what looks like {what}"
    ):
        read(path)


def test_excel_is_recognised(tmp_path):
    path = tmp_path / "x.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<x/>")
    with pytest.raises(DataError, match=r"looks like Excel data. Use CSV"):
        read(path)


def test_binary_is_no_text(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\0c\n1,2,3\n")
    with pytest.raises(
        DataError, match=r"must be text .* got binary data \(a zero byte at position 3"
    ):
        read(path)


def test_not_utf8_is_read_and_told(tmp_path):
    path = tmp_path / "x.csv"
    text = "\n".join(["a,b,label", *ROWS, "61,3,J\u00e9r\u00f4me", "62,3,J\u00e9r\u00f4me"])
    path.write_bytes(text.encode("cp1252"))
    data = read(path)
    assert "J\u00e9r\u00f4me" in data.classes
    assert "x.csv is not UTF-8 (byte 0xE9 in line 62); it was read as Windows-1252." in told(data)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_byte_order_marks_are_no_part_of_a_name(tmp_path, encoding):
    path = tmp_path / "x.csv"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    path.write_bytes((mark + "\n".join(["label,a,b", *ROWS])).encode(encoding))
    names, _ = text_columns(path)
    assert list(names) == ["label", "a", "b"]


@pytest.mark.parametrize("ends", ["\r\n", "\r"])
def test_foreign_line_ends(tmp_path, ends):
    path = tmp_path / "x.csv"
    path.write_bytes(ends.join(["a,b,label", *ROWS]).encode())
    assert read(path).summary["rows"] == 60


# Tables whose lines do not fit together


def test_ragged_rows_are_counted_and_placed(tmp_path):
    lines = [*ROWS[:3], "1,2", *ROWS[3:], "1,2,yes,4", "5", "6"]
    with pytest.raises(
        DataError,
        match=r"x.csv: must have 3 cells in every line, got line 5 with 2 cells, line 63 with 4 cells, "
        r"line 64 with 1 cell and 1 more line",
    ):
        read(table(tmp_path / "x.csv", lines))


def test_a_quote_that_is_never_closed(tmp_path):
    lines = [*ROWS[:20], '1,2,"yes', *ROWS[20:]]
    with pytest.raises(
        DataError, match=r"must close every quote .* a quote opened in line 22 that runs"
    ):
        read(table(tmp_path / "x.csv", lines))


def test_quotes_may_hold_delimiters_and_line_ends(tmp_path):
    lines = [*ROWS, '1,2,"maybe,\nnot"', '3,4,"maybe,\nnot"', '5,5" wide,no', "6,6,no"]
    data = read(table(tmp_path / "x.csv", lines), columns={"b": "category"})
    assert "maybe,\nnot" in data.classes


def test_repeated_column_names_are_told(tmp_path):
    data = read(table(tmp_path / "x.csv", header="a,a,label"))
    assert [column["name"] for column in data.summary["columns"]][:1] == ["a (2)"]
    assert "1 column name is used more than once ('a'); the later ones are called 'a (2)'" in told(
        data
    )


def test_repeated_column_names_of_a_frame():
    frame = pd.DataFrame(np.zeros((30, 3)), columns=["a", "a", "label"])
    with pytest.raises(DataError, match=r"must have distinct column names, got 'a' more than once"):
        load(DataSpec(source="<object>", target="label"), arrays=frame)


# Targets


def test_target_not_there_lists_the_nearest(tmp_path):
    path = table(tmp_path / "x.csv")
    with pytest.raises(
        DataError, match=r"data.target: must be a column of x.csv, got 'lable'. Did you "
    ):
        read(path, target="lable")
    problem = peek(DataSpec(source=path, target="lable"))[0]
    assert problem.path == "data.target"
    assert "Did you mean 'label'?" in problem.message


def test_target_not_given(tmp_path):
    path = table(tmp_path / "x.csv")
    with pytest.raises(
        DataError, match=r"must name the column to predict in x.csv, got nothing. Its col"
    ):
        load(DataSpec(source=path))


def test_one_class_only(tmp_path):
    path = table(tmp_path / "x.csv", [f"{n},{n % 3},yes" for n in range(30)])
    with pytest.raises(
        DataError, match=r"target 'label': must have at least two classes, got 'yes' in ev"
    ):
        read(path)


def test_one_value_only():
    with pytest.raises(DataError, match=r"target 'y': must vary, got 3 in every training row"):
        load(
            DataSpec(source="<object>", task="regression"),
            arrays=(np.random.default_rng(0).normal(size=(30, 2)), np.full(30, 3.0)),
        )


def test_rows_without_target_are_left_out_and_told(tmp_path):
    data = read(table(tmp_path / "x.csv", [*ROWS, "1,2,", "1,3,?"]))
    assert data.summary["rows"] == 60
    assert "x.csv: 2 rows without a value in the target 'label' left out (3.2 %)." in told(data)


def test_target_missing_everywhere(tmp_path):
    with pytest.raises(
        DataError, match=r"must have values \(it is the target\), got missing in every row"
    ):
        read(table(tmp_path / "x.csv", [f"{n},{n % 3}," for n in range(30)]))


def test_infinite_target():
    y = np.arange(30.0) / 7
    y[3] = np.inf
    with pytest.raises(DataError, match=r"must have finite targets, got 1 infinite value"):
        load(DataSpec(source="<object>"), arrays=(np.arange(60.0).reshape(30, 2), y))


def test_text_is_no_regression_target(tmp_path):
    with pytest.raises(
        DataError, match=r"can be regression only for a numeric target, got 'label' with"
    ):
        read(table(tmp_path / "x.csv"), task="regression")


def test_a_class_for_every_row(tmp_path):
    lines = [f"{n % 7},{n % 3},name {n}" for n in range(200)]
    with pytest.raises(
        DataError, match=r"several rows in most classes, got 200 classes in 200 rows"
    ):
        read(table(tmp_path / "x.csv", lines))


def test_a_class_with_one_row_is_told(tmp_path):
    data = read(table(tmp_path / "x.csv", [*ROWS, "1,2,rare"]))
    assert "Class 'rare' has 1 row: in train first, so it is not in val and test." in told(data)


def test_a_class_without_training_rows_is_told(tmp_path):
    split = {"train": 0.1, "val": 0.45, "test": 0.45, "stratify": False}
    data = read(table(tmp_path / "x.csv", [*ROWS, "1,2,rare"]), split=split)
    assert "No training row for class 'rare': set data.split.stratify to true." in told(data)


def test_labels_of_the_test_file_must_be_known(tmp_path):
    path = table(tmp_path / "x.csv")
    test = table(tmp_path / "t.csv", ["1,2,yes.", "2,3,no"])
    with pytest.raises(
        DataError,
        match=r"t.csv, column 'label': must hold only labels of the training data .'no', 'yes'., got "
        r"'yes.' in 1 row. 'yes.' may be meant as 'yes'",
    ):
        read(path, test=test)


def test_numeric_labels_of_the_test_part_must_be_known():
    x = np.random.default_rng(0).normal(size=(30, 2))
    with pytest.raises(DataError, match=r"got '7' in 2 rows"):
        load(
            DataSpec(source="<object>"),
            arrays=(x, np.arange(30) % 3, x[:4], np.array([0, 7, 1, 7])),
        )


def test_the_test_file_must_have_the_columns(tmp_path):
    path = table(tmp_path / "x.csv")
    test = table(tmp_path / "t.csv", ["2,no", "3,yes"], header="a,label")
    with pytest.raises(
        DataError, match=r"data.test: must have the columns of data.source, got t.csv with"
    ):
        read(path, test=test)


def test_columns_only_in_the_test_file_are_told(tmp_path):
    test = table(tmp_path / "t.csv", ["2,1,5,no", "3,1,5,yes"], header="a,b,more,label")
    data = read(table(tmp_path / "x.csv"), test=test)
    assert "t.csv: 'more' is not in the training file and not used." in told(data)


def test_words_in_a_numeric_column_of_the_test_file(tmp_path):
    test = table(tmp_path / "t.csv", ["2,one,no", "3,two,yes"])
    with pytest.raises(
        DataError, match=r"column 'b': must hold numbers, .* got 2 cells such as 'one', 't"
    ):
        read(table(tmp_path / "x.csv"), test=test)


# Columns


def test_a_column_without_values_is_left_out_and_told(tmp_path):
    lines = [f"{row},{'?' if n % 2 else ''}" for n, row in enumerate(ROWS)]
    data = read(table(tmp_path / "x.csv", lines, header="a,b,label,gone"))
    assert "Column 'gone' is not used: every cell is missing." in told(data)
    assert data.summary["columns"][-1] == {
        "name": "gone",
        "kind": "ignored",
        "guessed": True,
        "reason": "every cell is missing",
    }


def test_nothing_but_useless_columns(tmp_path):
    with pytest.raises(
        DataError, match=r"must have a usable column besides the target 'label', got 'a'"
    ):
        read(table(tmp_path / "x.csv", [f",{row.split(',')[2]}" for row in ROWS], header="a,label"))
    with pytest.raises(
        DataError, match=r"must have a column that varies, got 'a': the same value in ev"
    ):
        read(
            table(tmp_path / "x.csv", [f"1,{row.split(',')[2]}" for row in ROWS], header="a,label")
        )


def test_infinite_and_huge_cells_count_as_missing_and_are_told(tmp_path):
    data = read(table(tmp_path / "x.csv", [*ROWS, "inf,1,no", "-1e300,2,yes", "nan,3,no"]))
    assert "Column 'a': 2 cells infinite or huge (above 1e30): counted as missing." in told(data)
    assert "3 missing cells in 'a' filled with the training median." in told(data)
    assert np.isfinite(data.train.x).all()


def test_gaps_in_images_are_refused():
    images = np.zeros((30, 4, 4), np.float32)
    images[2, 1, 3] = np.nan
    with pytest.raises(
        DataError, match=r"finite values in images, got 1 value NaN .* at \(2, 1, 3, 0\)"
    ):
        load(DataSpec(source="<object>"), arrays=(images, np.arange(30) % 2))


def test_unknown_levels_in_the_test_file_are_told(tmp_path):
    lines = [f"{n},{'red' if n % 2 else 'blue'},{'yes' if n % 3 else 'no'}" for n in range(60)]
    test = table(tmp_path / "t.csv", ["2,green,no", "3,red,yes"])
    data = read(table(tmp_path / "x.csv", lines), test=test, columns={"a": "numeric"})
    message = "Column 'b': training has no 'green'; 1 cell of the test part read as all zeros."
    assert message in told(data)
    assert data.test.x[0, 1:].tolist() == [0, 0]


def test_words_in_a_column_said_to_be_numeric(tmp_path):
    lines = [*ROWS, "old,1,no", "young,1,no"]
    with pytest.raises(
        DataError, match=r"column 'a': must hold numbers, as data.columns says, got 2 cell"
    ):
        read(table(tmp_path / "x.csv", lines), columns={"a": "numeric"})


def test_columns_that_are_not_there(tmp_path):
    path = table(tmp_path / "x.csv")
    with pytest.raises(DataError, match=r"data.columns.c: must be a column of x.csv, got 'c'"):
        read(path, columns={"c": "numeric"})
    problems = peek(DataSpec(source=path, target="label", columns={"c": "numeric"}))
    assert [problem.path for problem in problems] == ["data.columns.c"]


def test_the_target_cannot_be_ignored(tmp_path):
    with pytest.raises(DataError, match=r"must not be ignore for the target"):
        read(table(tmp_path / "x.csv"), columns={"label": "ignore"})


def test_delimiter_must_be_one_character(tmp_path):
    with pytest.raises(DataError, match=r"data.delimiter: must be one character"):
        text_columns(Path(table(tmp_path / "x.csv")), delimiter="::")


def test_broken_parquet(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1" + b"0" * 50)
    with pytest.raises(
        DataError, match=r"must be a whole Parquet file, got one that cannot be read"
    ):
        read(path)
    assert "must be a whole Parquet file" in peek(DataSpec(source=str(path), target="a"))[0].message


def test_parquet_without_rows(tmp_path):
    path = tmp_path / "x.parquet"
    pd.DataFrame({"a": [], "label": []}).to_parquet(path)
    with pytest.raises(DataError, match=r"must hold rows of data, got none"):
        read(path)


def test_nested_cells_are_named(tmp_path):
    path = tmp_path / "x.parquet"
    pd.DataFrame({"a": [{"k": 1}, {"k": 2}] * 9, "label": ["x", "y"] * 9}).to_parquet(path)
    with pytest.raises(
        DataError, match=r"column 'a': must hold numbers, text, dates .* got cells of type "
    ):
        read(path)


# Arrays


def npz(path: Path, **arrays: object) -> str:
    np.savez(path, **arrays)
    return str(path)


def test_npz_with_other_names(tmp_path):
    source = npz(tmp_path / "a.npz", foo=np.zeros(3), bar=np.ones(3))
    with pytest.raises(DataError, match=r"must hold the arrays x and y, got 'foo', 'bar'"):
        load(DataSpec(source=source))
    with pytest.raises(
        DataError, match=r"must hold the array 'baz' .data.target., got 'foo', 'bar'"
    ):
        load(DataSpec(source=source, target="baz"))


def test_npz_with_objects_is_never_unpickled(tmp_path):
    source = npz(tmp_path / "a.npz", x=np.array([{"a": 1}, None], object), y=np.zeros(2))
    with pytest.raises(
        DataError, match=r"must hold plain numbers or text, got Python objects in 'x', wh"
    ):
        load(DataSpec(source=source))


def test_broken_npz(tmp_path):
    path = tmp_path / "a.npz"
    npz(path, x=np.zeros((30, 2)), y=np.zeros(30))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"must be a whole NPZ file, got one that cannot be read"):
        load(DataSpec(source=str(path)))


def test_npz_with_a_broken_member(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00garbage")
        archive.writestr("y.npy", b"nothing at all")
    with pytest.raises(DataError, match=r"must be a whole NPZ file"):
        load(DataSpec(source=str(path)))


def test_arrays_of_different_length():
    with pytest.raises(
        DataError, match=r"must have as many targets as rows, got 30 rows and 29 targets"
    ):
        load(DataSpec(source="<object>"), arrays=(np.zeros((30, 2)), np.zeros(29)))


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (np.zeros((5, 2), complex), "must hold real numbers with one to four axes"),
        (scipy.sparse.eye(5, format="csr"), "must hold real numbers .* got an array of shape ()"),
        (np.zeros((5, 1, 1, 1, 1)), "must hold real numbers with one to four axes"),
        ([[1, 2], 3], "must be a rectangular array, got something else .*inhomogeneous"),
        (np.zeros((0, 3)), r"must hold data, got an array of shape \(0, 3\)"),
    ],
)
def test_arrays_of_other_kinds(x, text):
    with pytest.raises(DataError, match=text):
        load(DataSpec(source="<object>"), arrays=(x, np.arange(5) % 2))


def test_python_data_of_another_form():
    with pytest.raises(
        DataError, match=r"must be a DataFrame with data.target, \(x, y\) or .* got int"
    ):
        load(DataSpec(source="<object>"), arrays=7)
    with pytest.raises(DataError, match=r"got tuple of length 3"):
        load(DataSpec(source="<object>"), arrays=(1, 2, 3))


def test_targets_of_other_forms():
    x = np.zeros((30, 2))
    with pytest.raises(DataError, match=r"must have one target for each row, or a numeric array"):
        load(DataSpec(source="<object>"), arrays=(x, np.full((30, 2), "a")))
    with pytest.raises(DataError, match=r"can be classification only with one target column"):
        load(DataSpec(source="<object>", task="classification"), arrays=(x, np.zeros((30, 2))))
    with pytest.raises(DataError, match=r"must be one value per row, got something else"):
        load(DataSpec(source="<object>"), arrays=(x, [[1], [2, 3]]))
    y = np.zeros((30, 2))
    y[0, 0] = np.nan
    with pytest.raises(
        DataError, match=r"must have finite targets, got 1 value that is NaN or infinite"
    ):
        load(DataSpec(source="<object>"), arrays=(x, y))


def test_test_arrays_of_another_shape():
    x, y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 2
    with pytest.raises(
        DataError, match=r"must have samples of shape \(2,\) as in training, got \(3,\)"
    ):
        load(DataSpec(source="<object>"), arrays=(x, y, np.zeros((4, 3)), y[:4]))


# IDX


def idx(path: Path, array: np.ndarray, *, cut: int = 0) -> str:
    data = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    data += array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data[: len(data) - cut]))
    return str(path)


def test_truncated_idx(tmp_path):
    source = idx(tmp_path / "train-images-idx3-ubyte.gz", np.zeros((30, 4, 4)), cut=7)
    idx(tmp_path / "train-labels-idx1-ubyte.gz", np.arange(30) % 2)
    with pytest.raises(
        DataError, match=r"must hold what its header says \(30 x 4 x 4: 480 bytes\), got 473 bytes"
    ):
        load(DataSpec(source=source))


def test_idx_with_a_cut_header(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(b"\0\0\x08\x03\0\0")
    idx(tmp_path / "train-labels-idx1-ubyte", np.arange(30) % 2)
    with pytest.raises(DataError, match=r"an unreadable size"):
        load(DataSpec(source=str(path)))


def test_idx_without_labels(tmp_path):
    source = idx(tmp_path / "train-images-idx3-ubyte.gz", np.zeros((30, 4, 4)))
    with pytest.raises(DataError, match=r"labels of the images.*must be a file that exists"):
        load(DataSpec(source=source))
    other = idx(tmp_path / "pictures.gz", np.zeros((30, 4, 4)))
    with pytest.raises(
        DataError, match=r"data.target: must name the file with the labels, got nothing"
    ):
        load(DataSpec(source=other))


def test_labels_that_are_no_idx(tmp_path):
    source = idx(tmp_path / "train-images-idx3-ubyte.gz", np.zeros((30, 4, 4)))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"hello world"))
    with pytest.raises(DataError, match=r"must be an IDX file .* got the bytes 68 65 6c 6c"):
        load(DataSpec(source=source))


def test_images_and_labels_of_different_number(tmp_path):
    source = idx(tmp_path / "train-images-idx3-ubyte.gz", np.zeros((30, 4, 4)))
    idx(tmp_path / "train-labels-idx1-ubyte.gz", np.arange(29) % 2)
    with pytest.raises(DataError, match=r"as many targets as rows, got 30 rows and 29 targets"):
        load(DataSpec(source=source))


def test_peek_finds_files_and_is_quiet_when_all_is_well(tmp_path):
    path = table(tmp_path / "x.csv")
    assert peek(DataSpec(source=path, target="label")) == []
    assert peek(DataSpec(source="digits")) == []
    spec = DataSpec.model_validate(
        {"source": path, "target": "label", "test": str(tmp_path / "t.csv")}
    )
    problems = peek(spec)
    assert [problem.path for problem in problems] == ["data.test"]
    assert "must be a file that exists" in problems[0].message
    empty = tmp_path / "empty.csv"
    empty.write_bytes(b"")
    assert "an empty file" in peek(DataSpec(source=str(empty), target="a"))[0].message


def test_random_bytes_never_give_a_traceback(tmp_path):
    generator = np.random.default_rng(0)
    for number in range(60):
        path = tmp_path / f"{number}.csv"
        content = generator.integers(0, 256, generator.integers(0, 400), dtype=np.uint8).tobytes()
        if number % 3 == 0:
            content = bytes(byte for byte in content if byte)
        if number % 3 == 1:
            text = io.StringIO()
            cells = generator.choice(["1", "x", '"', ",", "\n", "", "nan", " ", ";"], 80)
            text.write("".join(cells))
            content = text.getvalue().encode()
        path.write_bytes(content)
        with contextlib.suppress(DataError):
            load(DataSpec(source=str(path), target="1"))


def test_arrays_without_a_usable_column():
    x = pd.DataFrame({"name": [f"person {n}" for n in range(60)]})
    with pytest.raises(
        DataError, match=r"usable column .*'name': free text or names .60 different val"
    ):
        load(DataSpec(source="<object>"), arrays=(x, np.arange(60) % 2))
