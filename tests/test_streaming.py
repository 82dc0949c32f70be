"""Training parts that are streamed give the numbers of those in memory; arrays on disk are never read whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lanework
from lanework.cohort import streaming
from lanework.cohort.program import Shapes
from lanework.data import load, memory_map
from lanework.data.memory_map import MappedRows
from lanework.errors import DataError, LaneworkError
from lanework.spec import DataSpec
from lanework.store import Store
from tests.helpers import ROOT

RNG = np.random.default_rng(0)


# Rows of a call --------------------------------------------------------------------------------


@pytest.mark.parametrize("num_samples", [40, 100_000])
def test_tables_in_positions_are_the_same_samples(num_samples: int) -> None:
    tables = [RNG.integers(-40, 40, size=(5, 8)).astype(np.int32) for _ in range(3)]
    numbers, places = streaming.unique_rows(tables, num_samples)
    assert numbers.tolist() == sorted(set(numbers.tolist()))
    for table, place in zip(tables, places, strict=True):
        assert np.array_equal(place < 0, table < 0)
        position = np.where(place < 0, ~place, place)
        assert np.array_equal(numbers[position], np.where(table < 0, ~table, table))


def test_a_buffer_holds_at_least_two_steps_and_at_most_the_part() -> None:
    part = {"x": np.zeros((1000, 16), np.float32), "y": np.zeros(1000, np.int32)}
    shapes = Shapes(50, 10, 64, 64, ("learning_rate",))
    assert streaming.row_bytes(part) == 68

    def sizes(num_orders: int, buffer_bytes: int) -> tuple[int, int]:
        made = streaming.streamed_shapes(
            shapes, part, num_orders=num_orders, buffer_bytes=buffer_bytes
        )
        return made.max_steps, made.buffer_rows

    assert sizes(1, 68 * 10 * 7) == (7, 70)
    assert sizes(2, 68 * 10 * 7) == (3, 60)
    assert sizes(1, 1) == (2, 20)
    assert sizes(3, 10**9) == (50, 1000)
    assert streaming.cuts(3, 7) == ((0, 3),)


def test_when_a_part_is_streamed() -> None:
    part = {"x": np.zeros((1000, 16), np.float32)}
    whole = 64_000

    def is_needed(memory: float, *, is_asked: bool | None = None, devices: int = 1) -> bool:
        return streaming.is_needed(
            part, is_asked=is_asked, num_devices=devices, memory_bytes=memory
        )

    assert not is_needed(2 * whole)
    assert is_needed(2 * whole, devices=2)
    assert is_needed(whole)
    assert not is_needed(1, is_asked=False)
    assert is_needed(1e12, is_asked=True)


def test_a_feeder_gives_what_is_asked_for_whatever_was_begun() -> None:
    x = np.arange(50, dtype=np.float32)[:, None]
    feeder = streaming.Feeder({"x": x}, num_rows=8, put=lambda buffer: buffer)
    try:
        first = {"a": np.array([[4, 7], [~4, 9]], np.int32)}
        other = {"b": np.array([[1, 2]], np.int32)}
        for begun in (first, other, {**first, **other}):
            feeder.ahead(frozenset(begun), lambda begun=begun: begun)
            fed = feeder.take(first)
            rows = fed.rows["a"]
            assert fed.train["x"].shape == (8, 1)
            assert np.array_equal(rows < 0, first["a"] < 0)
            assert fed.train["number"][np.where(rows < 0, ~rows, rows)].tolist() == [[4, 7], [4, 9]]
            assert fed.train["x"][rows[0], 0].tolist() == [4.0, 7.0]
        assert feeder.take(other).train["number"][:2].tolist() == [1, 2]
    finally:
        feeder.close()


# Studies ---------------------------------------------------------------------------------------


def blobs(num_rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, num_rows)
    x = rng.normal(size=(3, 6))[y] + rng.normal(size=(num_rows, 6))
    return x.astype(np.float32), y


def study(*, is_streamed: bool, sampling: object = "shuffled") -> lanework.Study:
    """Two seeds, one of three rates far too large, best weights kept, evaluations twice an epoch."""
    return lanework.Study(
        data={"source": blobs(), "stream": is_streamed},
        model={"net": "mlp", "hidden": [8], "dropout": 0.1},
        train={
            "epochs": 3,
            "batch_size": 16,
            "eval_every": 0.5,
            "optimizer": "momentum",
            "keep": "best",
            "sampling": sampling,
        },
        compare={"learning_rate": [0.003, 0.03, 1e25]},
        seeds=2,
    )


def numbers(folder: Path) -> tuple[object, ...]:
    with Store(folder, create=False) as store:
        results = [
            repr((r.run, r.status, r.steps, r.best_step, r.metrics)) for r in store.results()
        ]
        return sorted(map(repr, store.metrics())), sorted(map(repr, store.health())), results


HARD = {"name": "hard", "correction": 0.5}


@pytest.fixture
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buffers of two steps: seven steps between evaluations come in four calls."""
    monkeypatch.setattr(streaming, "BUFFER_BYTES", 2 * 2 * 16 * 28)


@pytest.mark.usefixtures("small_buffers")
@pytest.mark.parametrize(
    "sampling",
    ["shuffled", pytest.param(HARD, marks=pytest.mark.slow)],
    ids=["shuffled", "hard"],
)
def test_streaming_changes_no_number(tmp_path: Path, sampling: object) -> None:
    told: list[str] = []
    study(is_streamed=False, sampling=sampling).run(tmp_path / "memory")
    streamed = study(is_streamed=True, sampling=sampling)
    assert "The training part is streamed: calls of at most" in streamed.plan().text()
    streamed.run(tmp_path / "stream", progress=lambda progress: told.append(progress.message))
    assert numbers(tmp_path / "stream") == numbers(tmp_path / "memory")
    # More calls than evaluations: a call is a piece of what lies between them.
    assert sum(message.startswith("training") for message in told) > 12


@pytest.mark.usefixtures("small_buffers")
@pytest.mark.parametrize(
    "sampling",
    ["shuffled", pytest.param(HARD, marks=pytest.mark.slow)],
    ids=["shuffled", "hard"],
)
def test_interrupted_in_the_middle_of_a_segment_and_resumed(
    tmp_path: Path, sampling: object
) -> None:
    study(is_streamed=True, sampling=sampling).run(tmp_path / "whole")
    left = 14

    def interrupt(progress: lanework.Progress) -> None:
        nonlocal left
        left -= progress.message.startswith("training")
        if left == 0:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        study(is_streamed=True, sampling=sampling).run(tmp_path / "cut", progress=interrupt)
    study(is_streamed=True, sampling=sampling).run(tmp_path / "cut", resume=True)
    assert numbers(tmp_path / "cut") == numbers(tmp_path / "whole")


# Arrays on disk --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
def test_rows_of_a_file_are_those_of_the_array(tmp_path: Path, dtype: str) -> None:
    array = RNG.integers(0, 200, size=(3000, 3, 5)).astype(dtype)
    np.save(tmp_path / "x.npy", array)
    source = np.load(tmp_path / "x.npy", mmap_mode="r")
    rows = RNG.permutation(3000)[:2000]
    part = MappedRows(source, rows, shape=(3, 5, 1))
    assert part.shape == (2000, 3, 5, 1)
    assert part.dtype == ("float32" if dtype == "float64" else dtype)
    assert len(part) == 2000
    wanted = np.array([1999, 0, 5, 5, 700])
    assert np.array_equal(part[wanted][..., 0], array[rows[wanted]])
    assert np.array_equal(part[10:13][..., 0], array[rows[10:13]])
    assert np.array_equal(part[:][..., 0], array[rows])
    assert np.array_equal(part[-1][..., 0], array[rows[-1]])
    assert np.array_equal(part[rows < 9][..., 0], array[rows][rows < 9])
    with pytest.raises(IndexError):
        part[2000]
    # Far apart, close together, and a view that begins later.
    ends = MappedRows(source)
    for some in ([0, 2999], [0, 1, 2, 2998, 2999], [7]):
        assert np.array_equal(ends[np.array(some)], array[some])
    assert np.array_equal(MappedRows(source[1000:])[[0, 5]], array[[1000, 1005]])


def test_a_file_that_was_replaced_is_still_the_one_that_was_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((10, 4), np.float32))
    source = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.save(tmp_path / "new.npy", np.zeros((10, 4), np.float32))
    (tmp_path / "new.npy").replace(tmp_path / "x.npy")
    assert MappedRows(source)[[3]].tolist() == [[1.0] * 4]


def test_a_file_cut_short_while_it_is_read_is_told(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((1000, 64), np.float32))
    part = MappedRows(np.load(tmp_path / "x.npy", mmap_mode="r"))
    os.truncate(tmp_path / "x.npy", 4096)
    with pytest.raises(DataError, match="must stay as they are while a study runs"):
        part[[999]]


def test_what_was_written_to_a_copy_on_write_mapping_stays(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((1000, 64), np.float32))
    source = np.load(tmp_path / "x.npy", mmap_mode="c")
    source[500] = 7
    part = MappedRows(source)
    assert part[[500]].max() == 7
    assert part[[500]].max() == 7


@pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="counts resident pages of Linux"
)
def test_pages_that_were_read_are_given_back(tmp_path: Path) -> None:
    def resident() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))

    np.save(tmp_path / "x.npy", np.ones((64_000, 256), np.float32))
    part = MappedRows(np.load(tmp_path / "x.npy", mmap_mode="r"))
    out = np.empty((64_000, 256), np.float32)
    before = resident()
    part.read_into(np.arange(64_000), out)
    assert out.min() == 1.0
    assert resident() - before < 8_000  # kB, of 64 000


def write(folder: Path, x: np.ndarray, y: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    return folder


def test_a_folder_a_file_and_a_mapped_array_are_the_same_data(tmp_path: Path) -> None:
    x, y = blobs(900)
    folder = write(tmp_path / "set", x * 3 + 1, y)
    found = load(DataSpec(source=str(folder)))
    pair = load(DataSpec(source=str(folder / "x.npy"), target="y.npy"))
    mapped = load(DataSpec(source="<object>"), arrays=(np.load(folder / "x.npy", mmap_mode="r"), y))
    assert found.fingerprint == pair.fingerprint == mapped.fingerprint
    assert found.classes == ("0", "1", "2")
    whole = load(DataSpec(source="<object>"), arrays=(x * 3 + 1, y))
    for part in ("train", "val", "test"):
        raw = getattr(found, part).x[:]
        assert found.input_scale is not None
        scaled = raw * found.input_scale + found.input_shift
        assert np.allclose(scaled, getattr(whole, part).x, atol=1e-5)
        assert np.array_equal(getattr(found, part).y, getattr(whole, part).y)
    limited = load(DataSpec(source=str(folder), limit_rows=100))
    assert limited.summary["rows"] == 100
    other = load(DataSpec(source=str(write(tmp_path / "other", x, y))))
    assert other.fingerprint != found.fingerprint


def test_large_files_are_sampled_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = blobs(4000)
    folder = write(tmp_path / "set", x, y)
    whole = load(DataSpec(source=str(folder)))
    monkeypatch.setattr(memory_map, "STATISTICS_BYTES", 512 * 24)
    monkeypatch.setattr(memory_map, "VAL_ROWS", 50)
    some = load(DataSpec(source=str(folder)))
    assert len(some.val) == 50
    assert isinstance(some.val.x, np.ndarray)
    assert some.input_scale is not None
    assert np.allclose(some.input_scale, whole.input_scale, rtol=0.2)
    told = " ".join(some.summary["decisions"])
    assert "The validation part is a random sample of 50 rows (8.3 % of its 600)" in told
    assert "Means and spreads are learned from 512 training rows (18 %)" in told
    assert "x.npy is read from disk by row, never whole." in told


@pytest.mark.parametrize("prepare", ["standard", "minmax", "none"])
def test_images_on_disk_are_scaled_by_channel(tmp_path: Path, prepare: str) -> None:
    x = RNG.integers(0, 255, size=(120, 4, 5, 3)).astype(np.uint8)
    y = np.arange(120) % 2
    found = load(DataSpec(source=str(write(tmp_path / "set", x, y)), prepare=prepare))
    whole = load(DataSpec(source="<object>", prepare=prepare), arrays=(x, y))
    assert np.array_equal(found.train.x[:], whole.train.x)
    assert np.allclose(found.input_scale, whole.input_scale, rtol=1e-5)
    assert np.allclose(found.input_shift, whole.input_shift, rtol=1e-5, atol=1e-6)
    assert found.preparation.form == "bytes"
    assert found.input == whole.input


def test_regression_targets_and_a_test_part_of_its_own(tmp_path: Path) -> None:
    x, _ = blobs(200)
    target = (x @ np.arange(6.0) * 50 + 7).astype(np.float32)
    folder = write(tmp_path / "set", x, target)
    test = write(tmp_path / "held", x[:30], target[:30])
    found = load(DataSpec(source=str(folder), test=str(test)))
    assert found.task == "regression"
    assert len(found.test) == 30
    assert found.train.y.std() == pytest.approx(1.0, abs=1e-5)
    unit = found.preparation.unscale(found.test.y)
    assert np.allclose(unit[:, 0], target[:30], rtol=1e-4, atol=1e-2)


def test_a_model_from_an_array_on_disk_predicts_raw_rows(tmp_path: Path) -> None:
    x, y = blobs(400)
    folder = write(tmp_path / "set", (x * 10 + 100).astype(np.float16), y)
    made = lanework.Study(
        data={"source": str(folder), "stream": True},
        model={"net": "mlp", "hidden": [16]},
        train={"epochs": 12, "batch_size": 16, "learning_rate": 0.02},
    ).run(tmp_path / "out")
    is_right = made.best().predict((x * 10 + 100).astype(np.float16)) == y
    accuracy = made.frame().train_accuracy[0]
    assert is_right.mean() == pytest.approx(accuracy, abs=0.05)
    assert accuracy > 0.8


BAD = {
    "no targets": (lambda f: (f / "y.npy").unlink(), {}, "must be a file that exists"),
    "targets of another length": (
        lambda f: np.save(f / "y.npy", np.zeros(7)),
        {},
        "must have as many targets as rows, at least one, got 60 rows and 7 targets",
    ),
    "pickled objects": (
        lambda f: np.save(f / "x.npy", np.array([{}] * 60, object), allow_pickle=True),
        {},
        "must be a whole NPY file of numbers",
    ),
    "cut short": (
        lambda f: os.truncate(f / "x.npy", 500),
        {},
        "x.npy: must be a whole NPY file of numbers, got one that cannot be mapped",
    ),
    "whole numbers": (
        lambda f: np.save(f / "x.npy", np.zeros((60, 3), np.int64)),
        {},
        "must hold uint8, float16, float32 or float64",
    ),
    "column by column": (
        lambda f: np.save(f / "x.npy", np.asfortranarray(np.ones((60, 3), np.float32))),
        {},
        "must be stored row by row",
    ),
    "folds": (lambda f: None, {"split": {"folds": 5}}, "data.split.folds: must be left out"),
    "steps": (lambda f: None, {"prepare": "robust"}, "must be standard, minmax or none for arrays"),
    "gaps": (
        lambda f: np.save(f / "x.npy", np.full((60, 3), np.nan, np.float32)),
        {},
        "must hold finite numbers, got NaN or infinity, first in row",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_messages(tmp_path: Path, case: str) -> None:
    spoil, options, message = BAD[case]
    x, y = blobs(60)
    folder = write(tmp_path / "set", x, y)
    spoil(folder)
    with pytest.raises(LaneworkError, match=message.replace("(", r"\(")):
        lanework.Study(data={"source": str(folder), **options}).plan()


@pytest.mark.slow
def test_six_gigabytes_train_within_two(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "streaming.py"), "out.json", "memory"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=3000, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())["memory"]
    assert found["file_bytes"] >= 6 * 2**30
    # All resident pages of the process count, those of mapped files included.
    assert found["peak_rss_bytes"] < 2 * 2**30
    assert found["val_accuracy"] > 0.9
