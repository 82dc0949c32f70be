"""A study without monitoring and without records of its course: `python unwatched.py STUDY FOLDER`.

What remains is training, evaluation, the final result of each run, and the report. The difference
in training time against `lanework run` is the price of watching. Not a way to use Lanework.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

BEGUN = time.perf_counter()


def main() -> None:
    from lanework import spec
    from lanework.api import training
    from lanework.cohort import devices
    from lanework.store import Store

    for name in ("add_metrics", "add_health"):
        setattr(Store, name, lambda store, rows: None)
    devices.prepare()
    study, folder = spec.load_study(Path(sys.argv[1])), Path(sys.argv[2])
    clock: dict[str, float] = {"import": time.perf_counter() - BEGUN}
    prepared = training.prepare(study, is_monitored=False)
    training.carry_out(
        prepared, folder=folder, resume=False, watcher=None, clock=clock, begun=BEGUN
    )


if __name__ == "__main__":
    main()
