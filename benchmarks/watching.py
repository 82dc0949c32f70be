"""What watching costs: `python watching.py STUDY RESULT.json RUNS` (what `run.py` calls for R1, R3 and R4).

Repetitions of whole processes differ by more than what is looked for. So the same study runs four times in one process, in
threads that take turns: each trains for about a tenth of a second (at least a segment) and writes its records, then the next one
does. A slow moment hits neighbours alike, and turns are compared with the turn of their own round. The four are `bare` (nothing is watched, and the
course of the runs is not stored either), and `train.watch` off, default and deep.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lanework
from lanework.catalog import entry
from lanework.spec.types import Choice
from lanework.store import Store

FORMS = {"bare": "off", "off": "off", "default": "default", "deep": "deep"}
TURN_S = 0.1
HERE = threading.local()  # the runner of this thread


class Turns:
    """Whose turn it is; a class because threads meet in it. Who goes first changes from round to round."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.left, self.round = list(names), list(names)
        self.begun = threading.Barrier(len(names))
        self.changed = threading.Condition()

    def wait(self, name: str) -> None:
        """Wait for one's turn."""
        with self.changed:
            self.changed.wait_for(lambda: self.round[0] == name)

    def give(self, name: str, *, for_good: bool = False) -> None:
        """Let the next one train; `for_good` when this one has ended."""
        with self.changed:
            if for_good:
                self.left.remove(name)
            self.round = [one for one in self.round if one != name]
            if not self.round and self.left:
                self.left.append(self.left.pop(0))
                self.round = list(self.left)
            self.changed.notify_all()


class Runner:
    """One run of the study, and the seconds of its turns; a class because it is called back."""

    def __init__(self, form: str, study: Path, folder: Path, turns: Turns, length: int) -> None:
        self.form, self.study, self.folder = form, study, folder
        self.turns, self.length = turns, length
        self.seconds: list[float] = []
        self.store: Store | None = None
        self.num_segments, self.begun = 0, math.nan

    def train(self) -> None:
        """The whole run, in a thread of its own."""
        HERE.runner = self
        asked = lanework.Study.from_file(self.study)
        watch = FORMS[self.form]
        choice = Choice(name=watch, options=entry("watch", watch).defaults())
        train = asked.spec.train.model_copy(update={"watch": choice})
        asked.spec = asked.spec.model_copy(update={"train": train})
        try:
            asked.run(self.folder, progress=self)
        finally:
            self.turns.give(self.form, for_good=True)
            if not self.num_segments:  # it failed: the others must not wait for it
                self.turns.begun.abort()

    def __call__(self, progress: object) -> None:
        """Progress callback: after each segment."""
        if not progress.message.startswith("training"):
            return
        self.num_segments += 1
        if self.num_segments == 1:  # it may have waited for the compiler
            self.turns.begun.wait()
            self.turns.wait(self.form)
        elif (self.num_segments - 1) % self.length == 0:
            if self.store is not None:
                self.store.flush()
            self.seconds.append(time.perf_counter() - self.begun)
            self.turns.give(self.form)
            self.turns.wait(self.form)
        else:
            return
        self.begun = time.perf_counter()


def record_for_all_but_bare() -> None:
    """Records of `bare` are dropped; the others know their stores, to wait for what they wrote."""

    def kept(write):
        def write_or_drop(store: Store, rows: object) -> None:
            if HERE.runner.form != "bare":
                HERE.runner.store = store
                write(store, rows)

        return write_or_drop

    Store.add_metrics, Store.add_health = kept(Store.add_metrics), kept(Store.add_health)


def in_turns(study: Path, *, length: int) -> dict[str, list[float]]:
    """One run of each form, in turns of so many segments; seconds of each turn."""
    turns = Turns(tuple(FORMS))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(FORMS)) as pool:
        runners = [Runner(form, study, Path(folder, form), turns, length) for form in FORMS]
        for future in [pool.submit(runner.train) for runner in runners]:
            future.result()
    return {runner.form: runner.seconds for runner in runners}


def main() -> None:
    study, result, num_runs = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    record_for_all_but_bare()
    first = in_turns(study, length=1)  # fills the cache of programs
    length = max(1, round(TURN_S / statistics.median(first["off"])))
    rounds: dict[str, list[float]] = {form: [] for form in FORMS}
    for _ in range(num_runs):
        for form, seconds in in_turns(study, length=length).items():
            rounds[form] += seconds
    result.write_text(json.dumps({"segments_per_turn": length, "seconds": rounds}))


if __name__ == "__main__":
    main()
