"""Guesses about text tables: delimiter, header, numbers, missing markers, kinds of columns."""

from pathlib import Path

import numpy as np
import pytest

from lanework.data import load
from lanework.data.dialect import guess_dialect
from lanework.data.tables import text_columns, text_names
from lanework.spec import DataSpec


@pytest.mark.parametrize(
    ("text", "mark", "has_header"),
    [
        ("a,b\n1,2\n3,4\n", ",", True),
        ("a;b\n1,5;2,5\n3,5;4,5\n", ";", True),
        ("1,5;2,5\n3,5;4,5\n", ";", False),
        ("a\tb\n1\tx, y\n3\tz, y\n", "\t", True),
        ("a|b\n1|2\n", "|", True),
        ("1,2,x\n3,4,y\n", ",", False),
        ("name,kind\nanna,x\nbert,y\nanna,y\n", ",", True),
        ("x,y\ny,x\nx,x\n", ",", False),
        ("only\n1\n2\n", ",", True),
        ("1\n2\n", ",", False),
        ("  1.0   2.0\n  3.0   4.0\n", " ", False),
        ("x1  x2 label\n1.0   2.0 a\n", " ", True),
        ('a,b\n"x,1",2\n"y,2",3\n', ",", True),
        ("id,text\n1,one; two; three\n2,four\n", ",", True),
        ("a, b\n1, 2\n", ",", True),
    ],
)
def test_delimiter_and_header(text, mark, has_header):
    dialect = guess_dialect(text, "x.csv")
    assert (dialect.delimiter, dialect.has_header) == (mark, has_header)


def test_guesses_can_be_overridden_and_are_told():
    dialect = guess_dialect("a,b\nc,d\n", "x.csv", header=True, delimiter="comma")
    assert dialect.names == ("a", "b")
    assert dialect.decisions == (
        "x.csv: cells are separated by commas (as given); the first line holds the column names "
        "(as given).",
    )
    dialect = guess_dialect("a,b\n1,2\n", "x.csv", header=False)
    assert dialect.names == ("column 1", "column 2")


def test_a_first_line_with_the_target_is_a_header():
    assert guess_dialect("1990,1991,y\n1,2,3\n", "x.csv", target="y").has_header


def test_the_target_tells_the_delimiter():
    text = "a b y\none two, x\ntwo one, z\n"
    assert guess_dialect(text, "x.csv").delimiter == ","
    for target in ("a", "y"):
        assert guess_dialect(text, "x.csv", target=target).names == ("a", "b", "y")


def test_a_header_without_the_row_names():
    dialect = guess_dialect("a,b\nr1,1,2\nr2,3,4\n", "x.csv")
    assert dialect.names == ("row name", "a", "b")
    assert "the first cells are taken for row names" in dialect.decisions[1]


def test_empty_and_repeated_names():
    dialect = guess_dialect(",a,a,a\n1,2,3,4\n", "x.csv", header=True)
    assert dialect.names == ("column 1", "a", "a (2)", "a (3)")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "x.csv"
    path.write_text(text)
    return path


def columns_of(path: Path, **changes: object) -> dict[str, dict[str, object]]:
    data = load(DataSpec.model_validate({"source": str(path), "target": "label", **changes}))
    return {column["name"]: column for column in data.summary["columns"]} | {
        "told": {"text": "\n".join(data.summary["decisions"])}
    }


def rows(*makers: object, num_rows: int = 60) -> str:
    lines = [",".join(str(maker(n)) for maker in makers) for n in range(num_rows)]
    names = ",".join(["x", "v", "label"][-len(makers) :])
    return "\n".join([names, *lines]) + "\n"


def label(n: int) -> str:
    return "yes" if n % 3 else "no"


def noise(n: int) -> float:
    return round((n * 0.7) % 13, 2)


@pytest.mark.parametrize(
    ("maker", "kind", "sentence"),
    [
        (lambda n: n % 5, "numeric", ""),
        (lambda n: "?" if n % 10 == 0 else noise(n), "numeric", "6 missing cells in 'v' filled"),
        (lambda n: " ?" if n % 10 == 0 else f" {noise(n)}", "numeric", "'v': '?' read as missing"),
        (lambda n: "broken" if n == 7 else noise(n), "numeric", "except for 'broken' (1 cell)"),
        (lambda n: f'"1,{n:03d}.5"', "numeric", "with commas between the thousands"),
        (lambda n: "True" if n % 2 else "False", "numeric", "true and false enter as 1 and 0"),
        (lambda n: ["NA", "DE", "FR"][n % 3], "category", "'NA' stays a value of its own"),
        (lambda n: ["red", "blue", ""][n % 3], "category", "a level '(missing)' of its own"),
        (lambda n: f" {'ab'[n % 2]} ", "category", ""),
        (lambda n: f"2024-01-{n % 28 + 1:02d}", "date", "dates enter as days since 1970-01-01"),
        (lambda n: f"2024-01-{n % 28 + 1:02d}T12:00:00", "date", "dates enter as days"),
        (lambda n: f"{n % 24:02d}:30:00", "numeric", ""),
        (lambda n: f"person {n}", "ignored", "free text or names (60 different values)"),
        (lambda n: n + 1, "ignored", "row numbers"),
        (lambda n: 4, "ignored", "the same value in every training row"),
    ],
)
def test_kinds_are_guessed_and_told(tmp_path, maker, kind, sentence):
    found = columns_of(write(tmp_path, rows(noise, maker, label)))
    assert found["v"]["kind"] == kind
    assert sentence in found["told"]["text"]


def test_decimal_commas(tmp_path):
    text = "x;v;label\n" + "".join(f"{n % 5},5;{n},25;{label(n)}\n" for n in range(60))
    found = columns_of(write(tmp_path, text))
    assert found["v"]["max"] > 40
    assert "Columns 'x', 'v': written with a decimal comma." in found["told"]["text"]


def test_kinds_can_be_overridden(tmp_path):
    path = write(tmp_path, rows(lambda n: f"{n % 4:02d}", lambda n: n + 1, label))
    found = columns_of(path, columns={"x": "category", "v": "numeric"})
    assert [level for level, _ in found["x"]["levels"]] == ["01", "03", "00", "02"]
    assert found["x"]["guessed"] is False
    assert found["v"]["kind"] == "numeric"
    found = columns_of(path, columns={"x": "ignore", "v": "numeric"})
    assert found["x"]["reason"] == "ignored, as data.columns says"


def test_extra_missing_markers(tmp_path):
    path = write(tmp_path, rows(noise, lambda n: -999 if n % 6 == 0 else noise(n), label))
    assert columns_of(path)["v"]["missing"] == 0
    found = columns_of(path, missing=["-999"])
    assert found["v"]["missing"] == 10
    assert found["v"]["min"] >= 0


def test_files_without_header_number_their_columns(tmp_path):
    text = rows(noise, noise, label).split("\n", 1)[1]
    path = write(tmp_path, text)
    for target in ("column 3", "3"):
        data = load(DataSpec(source=str(path), target=target))
        assert data.classes == ("no", "yes")
    assert text_names(path, delimiter=None, header=None, target=None) == (
        "column 1",
        "column 2",
        "column 3",
    )


def test_blanks_between_cells(tmp_path):
    path = write(tmp_path, "".join(f"  {noise(n)}   {n % 4}  {label(n)} \n" for n in range(60)))
    columns, _ = text_columns(path)
    assert [len(cells) for cells in columns.values()] == [60, 60, 60]


def test_many_levels_share_one_input(tmp_path):
    path = write(
        tmp_path,
        rows(noise, lambda n: f"level {int(n**0.75) if n < 1400 else n % 9}", label, num_rows=3000),
    )
    found = columns_of(path)
    assert "Levels beyond the commonest 63 of 'v' share one input." in found["told"]["text"]
    data = load(DataSpec(source=str(path), target="label"))
    assert data.train.x.shape[1] == 1 + 64
    assert np.all(data.train.x[:, 1:].sum(axis=1) == 1)


@pytest.mark.parametrize(
    ("maker", "task", "sentence"),
    [
        (lambda n: "ab"[n % 2], "classification", "as 'label' holds text"),
        (lambda n: n % 4, "classification", "whole numbers with only 4 different values"),
        (lambda n: n * 3 % 59, "regression", "numbers with 59 different values"),
        (lambda n: (n % 4) / 2, "regression", "numbers with 4 different values"),
        (lambda n: n % 2 == 0, "classification", "as 'label' holds true and false"),
    ],
)
def test_the_task_follows_from_the_target(tmp_path, maker, task, sentence):
    path = write(tmp_path, rows(noise, lambda n: n % 7, maker))
    data = load(DataSpec(source=str(path), target="label"))
    assert data.task == task
    assert sentence in "\n".join(data.summary["decisions"])


def test_the_task_can_be_given(tmp_path):
    path = write(tmp_path, rows(noise, lambda n: n % 7, lambda n: n % 4))
    data = load(DataSpec(source=str(path), target="label", task="regression"))
    assert data.train.y.dtype == np.float32
    assert data.num_outputs == 1
