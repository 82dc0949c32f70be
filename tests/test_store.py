"""Records: round trips, one writer, rewinding, migrations, and every error's text."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanework import store as store_module
from lanework.errors import StoreError
from lanework.store import (
    FILE_NAME,
    NONFINITE_KEY,
    Event,
    FindingRow,
    HealthRow,
    Layers,
    MetricRow,
    RunResult,
    RunRow,
    Store,
    decode_json,
    encode_json,
)

RUN = RunRow(0, 0, "adam", 3, {"optimizer": "adam", "learning_rate": 1e-3}, 0)
RESULT = RunResult(0, "ok", "ok", 40, 30, 0.25, 0.01, {"val_accuracy": 0.97, "test_loss": math.inf})


def same(left: object, right: object) -> bool:
    """Equality in which NaN equals NaN and the infinities keep their sign."""
    return repr(left) == repr(right)


def test_a_study_is_read_back_as_written(tmp_path: Path) -> None:
    rows = [(0, 10, 1.0, "train_loss", 0.5), (0, 20, 2.0, "train_loss", math.nan)]
    with Store(tmp_path / "s", create=True) as store:
        store.put_meta("study", {"study": "digits", "seeds": [0, 1]})
        store.add_runs([RUN])
        store.add_metrics(rows)
        values = np.array([[-math.inf, 2.0, math.nan]], np.float32)
        names = {"grad_norm": ("dense_0", "output"), "dead_share": ("dense_0",)}
        store.add_health(Layers(names, [0], [10], values))
        store.add_event(0, 10, "healed", "rate halved", {"factor": 0.5})
        store.add_event(None, 0, "planned", "25 runs", {})
        store.finish_run(RESULT)
    with Store(tmp_path / "s", create=False) as store:
        assert store.meta("study") == {"study": "digits", "seeds": [0, 1]}
        assert store.meta("nothing") is None
        assert store.meta_keys() == ("study",)
        assert store.runs() == (RUN,)
        expected = [MetricRow(r, s, e, n, v) for r, s, e, n, v in rows]
        assert same(store.metrics(), expected)
        assert store.metrics(1) == []
        health = [
            HealthRow(0, 10, "dense_0", "dead_share", math.nan),
            HealthRow(0, 10, "dense_0", "grad_norm", -math.inf),
            HealthRow(0, 10, "output", "grad_norm", 2.0),
        ]
        assert same(store.health(0), health)
        assert store.health(1) == []
        assert store.events() == (
            Event(0, 10, "healed", "rate halved", {"factor": 0.5}),
            Event(None, 0, "planned", "25 runs", {}),
        )
        assert same(store.results(), (RESULT,))


def test_numpy_numbers_are_stored_as_plain_ones(tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as store:
        store.add_metrics([(np.int32(1), np.int64(2), np.float32(0.5), "x", np.float32("nan"))])
        store.put_meta("grid", {"rates": np.array([0.5, np.inf]), "count": np.int64(3)})
        assert same(store.metrics(1), [MetricRow(1, 2, 0.5, "x", math.nan)])
        assert same(store.meta("grid"), {"rates": [0.5, math.inf], "count": 3})


def test_the_last_write_of_a_number_stays(tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as store:
        store.add_metrics([(0, 1, 0.1, "x", 1.0)])
        store.add_metrics([(0, 1, 0.1, "x", 2.0)])
        store.finish_run(RESULT)
        store.finish_run(RunResult(0, "diverged", "diverged", 1, 0, 0.0, 0.0, {}))
        assert store.metrics(0) == [MetricRow(0, 1, 0.1, "x", 2.0)]
        assert [r.status for r in store.results()] == ["diverged"]


def test_rewind_drops_later_rows_and_the_result_of_that_run_only(
    tmp_path: Path,
) -> None:
    with Store(tmp_path, create=True) as store:
        for run in (0, 1):
            store.add_metrics([(run, step, 0.0, "x", 1.0) for step in (10, 20, 30)])
            steps = [10, 20, 30]
            ones = np.ones((3, 1), np.float32)
            store.add_health(Layers({"x": ("l",)}, [run] * 3, steps, ones))
            store.add_event(run, 30, "healed", "", {})
            store.finish_run(RunResult(run, "ok", "ok", 30, 30, 0.0, 0.0, {}))
        store.add_event(None, 30, "interrupted", "", {})
        store.rewind(0, 20, num_events=0)
        assert [m.step for m in store.metrics(0)] == [10, 20]
        assert [m.step for m in store.health(0)] == [10, 20]
        assert [m.step for m in store.metrics(1)] == [10, 20, 30]
        assert [e.run for e in store.events()] == [1, None]
        assert [r.run for r in store.results()] == [1]


numbers = st.floats(allow_nan=True, allow_infinity=True)
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text().filter(lambda key: key != NONFINITE_KEY), inner)
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(documents)
def test_documents_survive_as_strict_json(document: object) -> None:
    text = encode_json(document)
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert same(decode_json(text), document)


@settings(max_examples=15, deadline=None)
@given(values=st.lists(numbers, max_size=30))
def test_numbers_survive_exactly_but_for_the_sign_of_zero(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    with Store(tmp_path_factory.mktemp("s"), create=True) as store:
        store.add_metrics([(0, step, 0.5, "x", value) for step, value in enumerate(values)])
        assert same([m.value for m in store.metrics(0)], [value + 0.0 for value in values])


def test_a_killed_writer_loses_nothing_that_was_flushed(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from lanework.store import Store\n"
        "s = Store(Path(sys.argv[1]), create=True)\n"
        "s.add_metrics([(0, i, 0.0, 'x', 1.0) for i in range(1000)]); s.flush()\n"
        "s.add_metrics([(1, i, 0.0, 'x', 1.0) for i in range(1000)]); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    with Store(tmp_path, create=False) as store:
        assert len(store.metrics(0)) == 1000
        assert len(store.metrics(1)) in (0, 1000)
        store.add_metrics([(2, 0, 0.0, "x", 1.0)])
        assert len(store.metrics(2)) == 1


def test_a_closed_study_is_one_file(tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as store:
        store.add_runs([RUN])
        store.close()  # twice does no harm
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_reading_starts_no_thread_and_works_in_a_folder_without_rights(
    tmp_path: Path,
) -> None:
    Store(tmp_path, create=True).close()
    tmp_path.chmod(0o500)
    try:
        with Store(tmp_path, create=False) as store:
            assert store.runs() == ()
            assert store._writer is None
    finally:
        tmp_path.chmod(0o700)


def test_two_processes_can_write_in_turn(tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as first, Store(tmp_path, create=False) as second:
        first.put_meta("a", 1)
        first.flush()
        second.put_meta("b", 2)
        second.flush()
        assert first.meta_keys() == second.meta_keys() == ("a", "b")


FINDING = FindingRow(
    0, "dead_units", "fail", 0.9, "So.", {"share": 1.0, "x": math.nan}, 30, "dense_0", ("adam",)
)


def test_findings_come_back_in_order_and_replace_earlier_ones(tmp_path: Path) -> None:
    other = FINDING._replace(code="plateau", level="warn", layer="", evidence={})
    with Store(tmp_path, create=True) as store:
        store.put_findings(1, [FINDING._replace(run=1)])
        store.put_findings(0, [other, other, FINDING])
        store.put_findings(0, [FINDING, other])
    with Store(tmp_path, create=False) as store:
        first, second, third = store.findings()
        assert (first._replace(evidence={}), second) == (FINDING._replace(evidence={}), other)
        assert first.evidence["share"] == 1.0
        assert math.isnan(first.evidence["x"])
        assert third.run == 1
    with Store(tmp_path, create=False) as store:
        store.rewind(0, 0, num_events=0)
        assert [row.run for row in store.findings()] == [1]


def test_existing_records_are_not_overwritten(tmp_path: Path) -> None:
    Store(tmp_path, create=True).close()
    with pytest.raises(StoreError, match=r"needs a folder without records; found some; .*--resume"):
        Store(tmp_path, create=True)


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"must hold records.sqlite; it is missing; .*runs/digits"):
        Store(tmp_path / "nowhere", create=False)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"folder must be writable; got .*; Choose|--out"):
        Store(tmp_path / "file" / "study", create=True)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("not a database, but long enough to be looked at" * 20)
    with pytest.raises(StoreError, match=r"must be a readable SQLite file; got file is not a"):
        Store(tmp_path, create=False)


def test_a_foreign_database_is_refused(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / FILE_NAME).execute("PRAGMA user_version = 1").connection.close()
    with pytest.raises(StoreError, match=r"must have been written by Lanework; application id is"):
        Store(tmp_path, create=False)


def test_records_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    Store(tmp_path, create=True).close()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match=r"version \d or older; got version 99; .*Update Lanework"):
        Store(tmp_path, create=False)


def test_records_of_an_older_version_are_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path, create=True) as store:
        store.add_runs([RUN])
    newer = (
        *store_module.MIGRATIONS,
        "CREATE TABLE extra (x)",
        "ALTER TABLE extra ADD COLUMN y",
    )
    monkeypatch.setattr(store_module, "MIGRATIONS", newer)
    with Store(tmp_path, create=False) as store:
        assert store.runs() == (RUN,)
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(newer),)
    assert connection.execute("SELECT x, y FROM extra").fetchall() == []
    connection.close()


def test_a_failed_write_is_told_at_the_next_flush(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    store.add_metrics([(0, 0, 0.0, "x", "not a number")])  # type: ignore[list-item]
    with pytest.raises(
        StoreError, match=r"plain numbers; writing failed with ValueError.*--resume"
    ):
        store.flush()
    with pytest.raises(StoreError, match="writing failed"):
        store.close()


def test_what_has_no_json_form_is_refused_at_once(tmp_path: Path) -> None:
    with (
        Store(tmp_path, create=True) as store,
        pytest.raises(TypeError, match="got object"),
    ):
        store.put_meta("x", object())  # type: ignore[arg-type]


def test_a_closed_store_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    store.close()
    with pytest.raises(StoreError, match=r"must be open to be used; this one was closed"):
        store.runs()
    with pytest.raises(StoreError, match="must be open"):
        store.put_meta("x", 1)


def test_numbers_of_layers_as_version_2_kept_them_are_still_read(tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as store:
        values = np.array([[0.5]], np.float32)
        store.add_health(Layers({"x": ("b",)}, [1], [20], values))
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    rows = [(1, "x", "a", 10, 2.0, 0), (1, "x", "b", 10, None, 3), (1, "x", "b", 30, 1.0, 0)]
    connection.executemany("INSERT INTO health VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    with Store(tmp_path, create=False) as store:
        store.rewind(1, 20, num_events=0)
        assert store.health(1) == [
            HealthRow(1, 10, "a", "x", 2.0),
            HealthRow(1, 10, "b", "x", -math.inf),
            HealthRow(1, 20, "b", "x", 0.5),
        ]


def test_records_of_different_layouts_stand_beside_each_other(tmp_path: Path) -> None:
    one, two = {"x": ("a", "b")}, {"x": ("a", "b"), "sharpness": ("",)}
    with Store(tmp_path, create=True) as store:
        store.add_health(Layers(one, [0, 1], [5, 5], np.array([[1, 2], [3, 4]], np.float32)))
        store.add_health(Layers(two, [0], [10], np.array([[5, 6, 7]], np.float32)))
        found = store.layers(0)
        assert [records.names for records in found] == [one, two]
        assert [records.steps for records in found] == [[5], [10]]
        assert [records.values.tolist() for records in found] == [[[1.0, 2.0]], [[5.0, 6.0, 7.0]]]
        assert [row.value for row in store.health(1)] == [3.0, 4.0]
