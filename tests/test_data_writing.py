"""How cells are written: European numbers, signs and units, dates, ids, the type of the classes."""

import json

import numpy as np
import pandas as pd
import pytest

from lanework.data import Preparation, load
from lanework.data.writing import date_order, guess_writing, number_text
from lanework.errors import DataError
from lanework.spec import DataSpec


def frame(cells: list[object], *, name: str = "c", num_rows: int = 60) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            name: [cells[n % len(cells)] for n in range(num_rows)],
            "x": generator.normal(size=num_rows),
            "label": ["no" if n % 3 else "yes" for n in range(num_rows)],
        }
    )


def read(data: object, **changes: object):
    spec = {"source": "<object>", "target": "label", **changes}
    return load(DataSpec.model_validate(spec), arrays=data)


def column(data, name: str = "c") -> dict[str, object]:
    return next(row for row in data.summary["columns"] if row["name"] == name)


def told(data) -> str:
    return "\n".join(data.summary["decisions"])


@pytest.mark.parametrize(
    ("cells", "largest", "sentence"),
    [
        (["5.599,35", "12,5", "1.234"], 5599.35, "written with a decimal comma"),
        (["$1,234.50", "$7.25", "-$3"], 1234.5, "numbers written with '$'"),
        (["1,234.5", "7", "12"], 1234.5, "commas between the thousands"),
        (["12%", "7 %", "0%"], 12.0, "numbers written with '%'"),
        (["30 kg", "7 kg", "2.5 kg"], 30.0, "numbers written with 'kg'"),
        (["1.234,50 €", "7,25 €"], 1234.5, "numbers written with '€'"),
        (["1'234.50", "7.25"], 1234.5, "'c'"),
    ],
)
def test_written_numbers_are_numbers(cells, largest, sentence):
    data = read(frame(cells))
    assert column(data)["kind"] == "numeric"
    assert column(data)["max"] == largest
    assert sentence in told(data)


@pytest.mark.parametrize(
    "cells", [["$5", "€7"], ["5 kg", "7 cm"], ["a1", "b2"], ["2 doors", "4 doors"], ["1,2,3", "4"]]
)
def test_other_cells_stay_text(cells):
    assert column(read(frame(cells)))["kind"] == "category"


def test_ambiguous_columns_follow_the_others(tmp_path):
    path = tmp_path / "x.csv"
    rows = [f"{1 + n % 7}.{100 + n};{n},5;{'ab'[n % 2]}" for n in range(60)]
    path.write_text("\n".join(["c;d;label", *rows]))
    data = load(DataSpec(source=str(path), target="label"))
    assert column(data)["min"] > 1000
    alone = [row.replace(",5", "") for row in rows]
    path.write_text("\n".join(["c;d;label", *alone]))
    assert column(load(DataSpec(source=str(path), target="label")))["max"] < 8


def test_new_rows_are_read_as_the_training_rows_were():
    record = read(frame(["5.599,35", "12,5", "1.234"])).preparation
    record = Preparation.from_json(json.loads(json.dumps(record.to_json())))
    x = record.transform(pd.DataFrame({"c": ["1.234", "1.234,0"], "x": [0.0, 0.0]}))
    assert x[0, 0] == x[1, 0]
    with pytest.raises(DataError, match=r"must hold numbers, as in training, got 1 cell .*'12\.5'"):
        record.transform(pd.DataFrame({"c": ["12.5"], "x": [0.0]}))


@pytest.mark.parametrize("task", ["auto", "regression"])
def test_a_european_target_is_a_number(task):
    cells = [f"{n}.{100 + n},{n % 10}5" for n in range(1, 61)]
    data = read(frame(cells), target="c", task=task)
    assert data.task == "regression"
    assert data.summary["target"]["max"] > 1000


def test_the_form_of_the_cells_is_named_not_another_task():
    cells = ["1,5", "about 7", "8 or 9", "12"]
    with pytest.raises(DataError, match=r"cells that do not all read as numbers, such as '8 or 9'"):
        read(frame(cells), target="c", task="regression")
    many = frame([f"item {n}" for n in range(300)], num_rows=300)
    with pytest.raises(
        DataError, match=r"if these are meant as numbers, write the cells like 1234"
    ):
        read(many, target="c", task="classification")


@pytest.mark.parametrize(
    ("cells", "order"),
    [
        (["01.01.2022", "31.12.2022"], "day"),
        (["3/4/2023", "12/25/2023"], "month"),
        (["2022/01/31", "2022/02/01"], "year"),
        (["3/4/2023", "5/6/2023"], "unclear"),
        (["13/4/2023", "5/16/2023"], ""),
        (["1.5", "2.5"], ""),
    ],
)
def test_the_order_of_dates(cells, order):
    assert date_order(cells) == order


def test_dates_are_read_when_their_order_is_clear():
    data = read(frame(["01.02.2022", "31.01.2022"]))
    days = (np.datetime64("2022-02-01") - np.datetime64("1970-01-01")).astype(int)
    assert column(data)["kind"] == "date"
    assert column(data)["max"] == days
    assert "Column 'c': dates are read with the day first." in told(data)
    one = data.preparation.transform(pd.DataFrame({"c": ["03.02.2022"], "x": [0.0]}))
    two = data.preparation.transform(pd.DataFrame({"c": ["2022-02-03"], "x": [0.0]}))
    index = data.preparation.names.index("c")
    assert one[0, index] == pytest.approx(two[0, index])


def test_dates_without_a_clear_order_are_left_out_and_told():
    data = read(frame(["3/4/2023", "5/6/2023"]))
    assert "day and month cannot be told apart" in told(data)
    assert "c" not in data.preparation.names


@pytest.mark.parametrize(
    ("values", "kind", "labels"),
    [
        (np.array([True, False]), "bool", np.array([False, True])),
        (np.array([1.0, 2.0]), "float", np.array([1.0, 2.0])),
        (np.array([-1, 1]), "int", np.array([-1, 1])),
        (np.array(["b", "a"]), "text", np.array(["a", "b"])),
    ],
)
@pytest.mark.parametrize("form", ["arrays", "frame"])
def test_labels_have_the_type_of_the_target(values, kind, labels, form):
    y = np.tile(values, 30)
    x = np.random.default_rng(0).normal(size=(60, 2))
    table = pd.DataFrame({"u": x[:, 0], "v": x[:, 1], "label": y})
    record = read((x, y) if form == "arrays" else table, task="classification").preparation
    record = Preparation.from_json(json.loads(json.dumps(record.to_json())))
    assert record.class_kind == kind
    assert record.labels().dtype == labels.dtype
    assert record.labels().tolist() == labels.tolist()


def test_labels_of_a_file_and_of_an_old_record(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("\n".join(["u,label", *(f"{n * 7 % 11},{n % 2 - 1}" for n in range(60))]))
    record = load(DataSpec(source=str(path), target="label")).preparation
    assert record.labels().dtype == np.int64
    assert record.labels().tolist() == [-1, 0]
    old = {key: value for key, value in record.to_json().items() if key != "class_kind"}
    assert Preparation.from_json(old).labels().tolist() == ["-1", "0"]
    iris = load(DataSpec(source="iris")).preparation
    assert iris.labels().tolist() == list(iris.classes)


def test_huge_cells_are_counted_outside_the_quotes():
    table = frame([1.0, 2.0, 1e40])
    assert "Column 'c': 20 cells infinite or huge" in told(read(table))


def test_rare_levels_do_not_make_rows_repeat():
    table = pd.DataFrame(
        {
            "town": [f"town {n:04d}" for n in range(300)],
            "v": [n % 2 for n in range(300)],
            "label": ["no" if n % 3 else "yes" for n in range(300)],
        }
    )
    data = read(table, columns={"town": "category"})
    assert not [hint for hint in data.summary["hints"] if "features" in hint]
    copied = pd.concat([table, table], ignore_index=True)
    hints = "\n".join(read(copied, columns={"town": "category"}).summary["hints"])
    assert "the same features as a training row" in hints


def test_columns_that_look_like_ids_give_a_hint():
    table = frame(["a", "b"])
    table["customer_id"] = np.random.default_rng(1).integers(0, 10**6, 60)
    table["number"] = np.random.default_rng(1).permutation(60) + 500
    hints = "\n".join(read(table).summary["hints"])
    assert "Column 'customer_id' looks like an id (by its name)" in hints
    assert "Column 'number' looks like an id (consecutive whole numbers" in hints
    assert "'x' looks" not in hints


def test_a_target_number_does_not_make_a_header_of_data(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("\n".join(f"{n % 7 / 2},{n * 5 % 11},{3 - n % 3}" for n in range(60)))
    data = load(DataSpec(source=str(path), target="3"))
    assert data.summary["rows"] == 60
    path.write_text("\n".join(["1,2,3", *(f"{n % 7},{n * 5 % 11},{n % 3}" for n in range(60))]))
    assert load(DataSpec(source=str(path), target="3")).summary["rows"] == 60


def test_one_cell_by_a_known_writing():
    assert guess_writing(["1.234", "5.678"]) == ""
    assert guess_writing(["1.234", "5.678"], hint="comma") == "comma|"
    assert number_text("1 234,5", "comma|") == "1234.5"
    assert number_text("12.5", "comma|") == "?"


def test_dates_that_no_calendar_has():
    data = read(frame(["31.01.2022", "30.02.2022", "01.02.2022"]))
    assert "Column 'c' holds dates that no calendar has ('2022-02-30')" in told(data)
    with pytest.raises(DataError, match=r"must hold dates, as in training, got 'soon'"):
        data.preparation.transform(pd.DataFrame({"c": ["soon"], "x": [0.0]}))
