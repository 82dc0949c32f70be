"""Records of one study in SQLite: written by one thread, read by anybody.

Owns the file ``records.sqlite`` of a study folder, its tables, its ordered migrations and the
coding of numbers that are not finite (SQLite turns NaN into NULL, JSON has no word for it).
It stores and returns plain rows; what they mean is said by `lanework.report.facts`.

Must not import JAX, Flax, Optax, pandas, SciPy, or anything of Lanework but `errors`.
"""

from __future__ import annotations

import hashlib
import json
import math
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeAlias
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from lanework.errors import StoreError

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None

FILE_NAME: Final = "records.sqlite"
APPLICATION_ID: Final = 0x4C4E574B  # "LNWK", so that `file records.sqlite` can tell what it is
NONFINITE_KEY: Final = "$float"  # {"$float": "nan"} stands for NaN inside stored JSON
PAUSE_S: Final = 0.25  # records may be that much behind, unless somebody waits for them (`flush`)
_CODES: Final = {"nan": 1, "inf": 2, "-inf": 3}
_DECODED: Final = {1: math.nan, 2: math.inf, 3: -math.inf}

# Applied in order, each in its own transaction; `PRAGMA user_version` counts those applied.
# Never change one that has been released: append the next.
MIGRATIONS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE run (
        run INTEGER PRIMARY KEY, arm INTEGER NOT NULL, arm_name TEXT NOT NULL,
        seed INTEGER NOT NULL, factors TEXT NOT NULL, bucket INTEGER NOT NULL
    );
    CREATE TABLE metric (
        run INTEGER NOT NULL, name TEXT NOT NULL, step INTEGER NOT NULL, epoch REAL NOT NULL,
        value REAL, code INTEGER NOT NULL DEFAULT 0 CHECK ((value IS NULL) = (code <> 0)),
        PRIMARY KEY (run, name, step)
    ) WITHOUT ROWID;
    CREATE TABLE health (
        run INTEGER NOT NULL, name TEXT NOT NULL, layer TEXT NOT NULL, step INTEGER NOT NULL,
        value REAL, code INTEGER NOT NULL DEFAULT 0 CHECK ((value IS NULL) = (code <> 0)),
        PRIMARY KEY (run, name, layer, step)
    ) WITHOUT ROWID;
    CREATE TABLE event (
        id INTEGER PRIMARY KEY, run INTEGER, step INTEGER NOT NULL, kind TEXT NOT NULL,
        text TEXT NOT NULL, data TEXT NOT NULL
    );
    CREATE TABLE result (
        run INTEGER PRIMARY KEY, status TEXT NOT NULL, verdict TEXT NOT NULL,
        steps INTEGER NOT NULL, best_step INTEGER NOT NULL, seconds REAL NOT NULL,
        test_seconds REAL NOT NULL, metrics TEXT NOT NULL
    );
    """,
    "ALTER TABLE run ADD COLUMN fold INTEGER",
    # All numbers of a record of the layers in one row: a row for each number, as in `health` above, took as long to write as a
    # tenth of a short training.
    """
    CREATE TABLE layout (layout INTEGER PRIMARY KEY, content TEXT NOT NULL);
    CREATE TABLE layers (
        run INTEGER NOT NULL, step INTEGER NOT NULL, layout INTEGER NOT NULL, content BLOB NOT NULL,
        PRIMARY KEY (run, step, layout)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE finding (
        run INTEGER NOT NULL, place INTEGER NOT NULL, code TEXT NOT NULL, level TEXT NOT NULL,
        confidence REAL NOT NULL, sentence TEXT NOT NULL, evidence TEXT NOT NULL, step INTEGER NOT NULL,
        layer TEXT NOT NULL, remedies TEXT NOT NULL, PRIMARY KEY (run, place)
    ) WITHOUT ROWID;
    """,
)


@dataclass(frozen=True)
class RunRow:
    """One run of the plan: a recipe (arm) with one seed.

    Attributes:
        run: Number of the run, unique in the study.
        arm: Number of the recipe.
        arm_name: Short readable label of the recipe, unique among the arms.
        seed: Seed of the run.
        factors: What the study varies, by factor name, for this run.
        bucket: Number of the compiled program that trains it.
        fold: Number of the fold it is validated on, counted from 0 over all repeats; None without
            cross-validation.
    """

    run: int
    arm: int
    arm_name: str
    seed: int
    factors: Mapping[str, Any]
    bucket: int
    fold: int | None = None


@dataclass(frozen=True)
class RunResult:
    """How one run ended.

    Attributes:
        run: Number of the run.
        status: ``ok``, ``diverged`` or ``failed``.
        verdict: Code of the verdict, see `lanework.report.facts.VERDICTS`.
        steps: Optimizer steps taken.
        best_step: Step at which the reported metric was best.
        seconds: Share of the training time that this run took, in seconds.
        test_seconds: Share of the time for testing, in seconds.
        metrics: Final numbers by name, for example ``val_accuracy``.
    """

    run: int
    status: str
    verdict: str
    steps: int
    best_step: int
    seconds: float
    test_seconds: float
    metrics: Mapping[str, float]


class MetricRow(NamedTuple):
    """One recorded number of a run; `epoch` may be a fraction."""

    run: int
    step: int
    epoch: float
    name: str
    value: float


class Layers(NamedTuple):
    """Records of layers that tell of the same statistics of the same layers.

    Attributes:
        names: The layers of each statistic, `{statistic: (layer, ...)}`.
        runs: Run of each record.
        steps: Step of each record.
        values: Numbers [record, number], float32: statistic after statistic, layer after layer.
    """

    names: Mapping[str, tuple[str, ...]]
    runs: Sequence[int]
    steps: Sequence[int]
    values: NDArray[np.float32]


class HealthRow(NamedTuple):
    """One recorded number of one layer of a run."""

    run: int
    step: int
    layer: str
    name: str
    value: float


class Event(NamedTuple):
    """Something that happened at a step; `run` is None when it concerns the whole study."""

    run: int | None
    step: int
    kind: str
    text: str
    data: Mapping[str, Any]


class FindingRow(NamedTuple):
    """One thing that was found to be the matter with a run; those of a run are ordered, worst first."""

    run: int
    code: str
    level: str
    confidence: float
    sentence: str
    evidence: Mapping[str, float]
    step: int
    layer: str
    remedies: tuple[str, ...]


class _Write(NamedTuple):
    sql: str
    rows: Callable[[], Iterable[tuple[Any, ...]]]  # evaluated by the writer, beside training


class _Barrier(NamedTuple):
    reached: threading.Event
    last: bool


def encode_json(value: Any) -> str:
    """Writes plain data as strict JSON, numbers that are not finite as coded objects.

    Args:
        value: Dicts with string keys, lists, tuples, strings, numbers (NumPy's too), None.

    Returns:
        JSON text in which NaN is ``{"$float": "nan"}``; `decode_json` turns it back.

    Raises:
        TypeError: When something in it has no JSON form.
    """
    return json.dumps(_coded(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def decode_json(text: str) -> Any:
    """Reads what `encode_json` wrote, NaN and the infinities included."""
    return json.loads(text, object_hook=_uncoded)


class Store:
    """The records of one study folder; a context manager.

    Writes are queued and carried out in order by one thread, many rows in one transaction, so
    that training never waits for the disk. `flush` waits until everything queued is
    committed; call it before a snapshot is saved, so that records are never behind a snapshot.
    Readers see everything written before through this object. The writing thread starts with
    the first write: opening a store to read it is cheap and works in a read-only folder.
    """

    def __init__(self, folder: Path, *, create: bool) -> None:
        """Opens the records of `folder`.

        Args:
            folder: Study folder; made when missing and `create` is true.
            create: True for a new study (no records may exist), False for an existing one.

        Raises:
            StoreError: Records exist already, are missing, are damaged or of a newer version.
        """
        self.folder = Path(folder)
        self.path = self.folder / FILE_NAME
        self._queue: queue.SimpleQueue[_Write | _Barrier] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._problem: Exception | None = None
        self._closed = False
        self._read_lock = threading.Lock()
        if create:
            _create(self.path)
        self._reader = _open_reader(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ---- writing -------------------------------------------------------------------------

    def put_meta(self, key: str, value: Json) -> None:
        """Stores one document under `key`, replacing an earlier one."""
        text = encode_json(value)
        self._write("INSERT OR REPLACE INTO meta VALUES (?, ?)", lambda: ((key, text),))

    def add_runs(self, runs: Sequence[RunRow]) -> None:
        """Stores the plan's runs; a run stored before is replaced."""
        rows = [
            (
                int(r.run),
                int(r.arm),
                r.arm_name,
                int(r.seed),
                encode_json(r.factors),
                int(r.bucket),
                None if r.fold is None else int(r.fold),
            )
            for r in runs
        ]
        self._write("INSERT OR REPLACE INTO run VALUES (?, ?, ?, ?, ?, ?, ?)", lambda: rows)

    def add_metrics(self, rows: Sequence[tuple[int, int, float, str, float]]) -> None:
        """Stores numbers as ``(run, step, epoch, name, value)``; the last write of one stays.

        Args:
            rows: Any number of rows; values may be NaN or infinite. Do not change the
                sequence afterwards: it is read by the writing thread.
        """
        self._write(
            "INSERT OR REPLACE INTO metric VALUES (?, ?, ?, ?, ?, ?)",
            lambda: (
                (int(run), name, int(step), float(epoch), *_code(value))
                for run, step, epoch, name, value in rows
            ),
        )

    def add_health(self, records: Layers) -> None:
        """Stores numbers of layers, NaN and the infinities as they are; the last of equal records stays.

        Args:
            records: Any number of them. Do not change the arrays afterwards: they are read by the writing thread.
        """
        layout, content = _layout(tuple(records.names.items()))
        self._write("INSERT OR IGNORE INTO layout VALUES (?, ?)", lambda: ((layout, content),))
        self._write(
            "INSERT OR REPLACE INTO layers VALUES (?, ?, ?, ?)",
            lambda: (
                (int(run), int(step), layout, row.astype("<f4").tobytes())
                for run, step, row in zip(records.runs, records.steps, records.values, strict=True)
            ),
        )

    def add_event(
        self, run: int | None, step: int, kind: str, text: str, data: Mapping[str, Any]
    ) -> None:
        """Stores what happened to a run (or to the study, `run` None) at `step`."""
        row = (
            None if run is None else int(run),
            int(step),
            kind,
            text,
            encode_json(data),
        )
        self._write(
            "INSERT INTO event (run, step, kind, text, data) VALUES (?, ?, ?, ?, ?)",
            lambda: (row,),
        )

    def finish_run(self, row: RunResult) -> None:
        """Stores how a run ended, replacing an earlier result of the same run."""
        values = (
            *(
                int(row.run),
                row.status,
                row.verdict,
                int(row.steps),
                int(row.best_step),
            ),
            *(float(row.seconds), float(row.test_seconds), encode_json(row.metrics)),
        )
        self._write(
            "INSERT OR REPLACE INTO result VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            lambda: (values,),
        )

    def put_findings(self, run: int, rows: Sequence[FindingRow]) -> None:
        """Stores what is the matter with a run, worst first, replacing what was stored of it."""
        values = [
            (
                *(int(run), place, row.code, row.level, float(row.confidence), row.sentence),
                *(encode_json(row.evidence), int(row.step), row.layer),
                encode_json(row.remedies),
            )
            for place, row in enumerate(rows)
        ]
        self._write("DELETE FROM finding WHERE run = ?", lambda: ((int(run),),))
        self._write("INSERT INTO finding VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", lambda: values)

    def rewind(self, run: int, step: int, *, num_events: int) -> None:
        """Drops what was recorded of a run after a snapshot, and its result, before a resume.

        Args:
            run: Number of the run.
            step: Step of the snapshot; metrics and health of later steps go.
            num_events: How many of its events the snapshot knows; the later ones go. (Their steps cannot tell: a run that is
                healed goes back in steps.)
        """
        where = (int(run), int(step))
        for table in ("metric", "health", "layers"):
            self._write(f"DELETE FROM {table} WHERE run = ? AND step > ?", lambda: (where,))
        events = (int(run), int(run), int(num_events))
        self._write(
            "DELETE FROM event WHERE run = ? AND id NOT IN "
            "(SELECT id FROM event WHERE run = ? ORDER BY id LIMIT ?)",
            lambda: (events,),
        )
        for table in ("result", "finding"):
            self._write(f"DELETE FROM {table} WHERE run = ?", lambda: (where[:1],))

    def flush(self) -> None:
        """Waits until everything written so far is committed.

        Raises:
            StoreError: When a write failed since the last call.
        """
        if self._writer is not None:
            self._barrier(last=False)
        self._raise_problem()

    def close(self) -> None:
        """Commits, closes, and leaves one plain file that can be copied or sent.

        Raises:
            StoreError: When a write failed.
        """
        if self._closed:
            return
        self._closed = True
        with self._read_lock:
            self._reader.close()
        if self._writer is not None:
            self._barrier(last=True)
            self._writer.join()
            self._writer = None
        self._raise_problem()

    # ---- reading -------------------------------------------------------------------------

    def meta(self, key: str) -> Any:
        """Returns the document stored under `key`, or None."""
        rows = self._read("SELECT value FROM meta WHERE key = ?", (key,))
        return decode_json(rows[0][0]) if rows else None

    def meta_keys(self) -> tuple[str, ...]:
        """Returns the keys of all stored documents, sorted."""
        return tuple(row[0] for row in self._read("SELECT key FROM meta ORDER BY key", ()))

    def runs(self) -> tuple[RunRow, ...]:
        """Returns the plan's runs in the order of their numbers."""
        rows = self._read(
            "SELECT run, arm, arm_name, seed, factors, bucket, fold FROM run ORDER BY run", ()
        )
        return tuple(
            RunRow(run, arm, name, seed, decode_json(factors), bucket, fold)
            for run, arm, name, seed, factors, bucket, fold in rows
        )

    def metrics(self, run: int | None = None) -> list[MetricRow]:
        """Returns recorded numbers by run, name and step; of all runs when `run` is None."""
        rows = self._read_numbers("metric", "run, step, epoch, name", "run, name, step", run)
        return [
            MetricRow(run_, step, epoch, name, _value(value, code))
            for run_, step, epoch, name, value, code in rows
        ]

    def health(self, run: int | None = None) -> list[HealthRow]:
        """Returns numbers of layers by run, name, layer and step; of all runs by default."""
        # Records of version 2 and before hold a row for each number.
        rows = self._read_numbers("health", "run, step, layer, name", "run", run)
        found = [
            HealthRow(run_, step, layer, name, _value(value, code))
            for run_, step, layer, name, value, code in rows
        ]
        for records in self.layers(run):
            places = [(layer, name) for name, own in records.names.items() for layer in own]
            for one, step, values in zip(*records[1:3], records.values.tolist(), strict=True):
                found += [
                    HealthRow(one, step, *place, value)
                    for place, value in zip(places, values, strict=True)
                ]
        return sorted(found, key=lambda row: (row.run, row.name, row.layer, row.step))

    def layers(self, run: int | None = None) -> tuple[Layers, ...]:
        """Returns records of layers by run and step, those of one layout together; of all runs by default."""
        where, values = ("", ()) if run is None else ("WHERE run = ?", (int(run),))
        sql = f"SELECT run, step, layout, content FROM layers {where} ORDER BY run, step"
        contents = dict(self._read("SELECT layout, content FROM layout ORDER BY layout", ()))
        rows = self._read(sql, values)
        found = []
        for layout in dict.fromkeys(row[2] for row in rows):
            own = [row for row in rows if row[2] == layout]
            names = {name: tuple(row) for name, row in decode_json(contents[layout]).items()}
            numbers = np.frombuffer(b"".join(row[3] for row in own), "<f4").reshape(len(own), -1)
            runs, steps = [row[0] for row in own], [row[1] for row in own]
            found.append(Layers(names, runs, steps, numbers))
        return tuple(found)

    def events(self) -> tuple[Event, ...]:
        """Returns all events in the order in which they were stored."""
        rows = self._read("SELECT run, step, kind, text, data FROM event ORDER BY id", ())
        return tuple(
            Event(run, step, kind, text, decode_json(data)) for run, step, kind, text, data in rows
        )

    def results(self) -> tuple[RunResult, ...]:
        """Returns the results stored so far, in the order of the runs' numbers."""
        rows = self._read("SELECT * FROM result ORDER BY run", ())
        return tuple(
            RunResult(a, b, c, d, e, f, g, decode_json(metrics))
            for a, b, c, d, e, f, g, metrics in rows
        )

    def findings(self) -> tuple[FindingRow, ...]:
        """Returns what is the matter, by run, worst first."""
        rows = self._read(
            "SELECT run, code, level, confidence, sentence, evidence, step, layer, remedies "
            "FROM finding ORDER BY run, place",
            (),
        )
        return tuple(
            FindingRow(a, b, c, d, e, decode_json(f), g, h, tuple(decode_json(i)))
            for a, b, c, d, e, f, g, h, i in rows
        )

    # ---- inside --------------------------------------------------------------------------

    def _read_numbers(self, table: str, columns: str, order: str, run: int | None) -> list[Any]:
        where, values = ("", ()) if run is None else ("WHERE run = ?", (int(run),))
        sql = f"SELECT {columns}, value, code FROM {table} {where} ORDER BY {order}"
        return self._read(sql, values)

    def _read(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        self._require_open()
        self.flush()
        with self._read_lock:
            try:
                return self._reader.execute(sql, values).fetchall()
            except sqlite3.DatabaseError as error:
                raise _damaged(self.path, error) from error

    def _write(self, sql: str, rows: Callable[[], Iterable[tuple[Any, ...]]]) -> None:
        self._require_open()
        if self._writer is None:
            self._writer = threading.Thread(
                target=self._write_all, name="lanework-records", daemon=True
            )
            self._writer.start()
        self._queue.put(_Write(sql, rows))

    def _barrier(self, *, last: bool) -> None:
        reached = threading.Event()
        self._queue.put(_Barrier(reached, last))
        reached.wait()

    def _write_all(self) -> None:
        """Body of the writing thread: one transaction for whatever waits in the queue."""
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=30.0)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA cache_size = -32000")
        except sqlite3.Error as error:
            self._problem = error
        is_last = False
        while not is_last:
            batch, barrier = self._batch()
            self._commit(connection, batch)
            if barrier is not None:
                is_last = barrier.last
                if is_last:
                    _leave_one_file(connection)
                barrier.reached.set()

    def _batch(self) -> tuple[list[_Write], _Barrier | None]:
        """What comes within `PAUSE_S` of the first write, or up to a barrier.

        A transaction costs a third of a millisecond and writes whole pages, of which rows of many runs touch many: one for each
        segment of a small study takes as long as the layers' health itself.
        """
        batch: list[_Write] = []
        item = self._queue.get()
        due = time.monotonic() + PAUSE_S
        while isinstance(item, _Write):
            batch.append(item)
            try:
                item = self._queue.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                return batch, None
        return batch, item

    def _commit(self, connection: sqlite3.Connection, batch: Sequence[_Write]) -> None:
        """Writes a batch or nothing of it; after a failure nothing more is written."""
        if not batch or self._problem is not None:
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            for sql, rows in batch:
                connection.executemany(sql, rows())
            connection.execute("COMMIT")
        except (sqlite3.Error, TypeError, ValueError, OverflowError) as error:
            self._problem = error
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _raise_problem(self) -> None:
        if self._problem is not None:
            raise StoreError(
                f"Records must be writable and made of plain numbers; writing failed with "
                f"{type(self._problem).__name__}: {self._problem}; in {self.path}. Check the "
                f"disk's free space and the folder's rights, then continue with --resume."
            ) from self._problem

    def _require_open(self) -> None:
        if self._closed:
            raise StoreError(
                f"A store must be open to be used; this one was closed; {self.path}. "
                f"Open it again with Store(folder, create=False)."
            )


@cache
def _layout(names: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[int, str]:
    """Number and content of a layout; the number follows from the content, so that nobody has to keep count of layouts."""
    content = encode_json(dict(names))
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:6], "big"), content


def _create(path: Path) -> None:
    if path.exists():
        raise StoreError(
            f"A new study needs a folder without records; found some; {path}. "
            f"Use another folder, --resume to continue, or --overwrite to start again."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"The study folder must be writable; got {error}; {path.parent}. "
            f"Choose another folder with --out."
        ) from error
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    _migrate(connection, 0)
    connection.close()


def _open_reader(path: Path) -> sqlite3.Connection:
    """Opens read-only, after bringing records of an older version up to date."""
    if not path.is_file():
        raise StoreError(
            f"A study folder must hold {FILE_NAME}; it is missing; {path.parent}. "
            f"Give the folder that a study wrote, for example runs/digits-optimizers."
        )
    uri = f"file:{quote(str(path))}?mode=ro"
    try:
        reader = sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=30.0)
        version = int(reader.execute("PRAGMA user_version").fetchone()[0])
        application = int(reader.execute("PRAGMA application_id").fetchone()[0])
    except sqlite3.Error as error:
        raise _damaged(path, error) from error
    if application != APPLICATION_ID:
        reader.close()
        raise StoreError(
            f"Records must have been written by Lanework; application id is {application:#x}, "
            f"expected {APPLICATION_ID:#x}; {path}. Give the folder that a study wrote."
        )
    if version > len(MIGRATIONS):
        reader.close()
        raise StoreError(
            f"Records must be of version {len(MIGRATIONS)} or older; got version {version}; "
            f"{path}. Update Lanework, a newer one wrote them."
        )
    if version < len(MIGRATIONS):
        connection = sqlite3.connect(path, isolation_level=None, timeout=30.0)
        _migrate(connection, version)
        connection.close()
    return reader


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;"
        )


def _leave_one_file(connection: sqlite3.Connection) -> None:
    """Folds the write-ahead log into the file, unless another process reads it just now."""
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.OperationalError:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    connection.close()


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"Records must be a readable SQLite file; got {error}; {path}. "
        f"Restore the file from a copy, or run the study again."
    )


def _code(value: float) -> tuple[float | None, int]:
    number = float(value)
    return (number, 0) if math.isfinite(number) else (None, _CODES[repr(number)])


def _value(value: float | None, code: int) -> float:
    return _DECODED[code] if value is None else value


def _coded(value: Any) -> Any:
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        number = float(value)
        return number if math.isfinite(number) else {NONFINITE_KEY: repr(number)}
    if isinstance(value, Mapping):
        return {str(key): _coded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_coded(item) for item in value]
    if callable(getattr(value, "tolist", None)):  # NumPy's scalars and arrays
        return _coded(value.tolist())
    raise TypeError(f"records hold plain data only, got {type(value).__name__}")


def _uncoded(item: dict[str, Any]) -> Any:
    if len(item) == 1 and item.get(NONFINITE_KEY) in _CODES:
        return float(item[NONFINITE_KEY])
    return item
