"""A study without monitoring and without records of its course: `python unwatched.py STUDY FOLDER`.

What remains is training, evaluation, the final result of each run, and the report. The difference
in training time against `lanework run` is the price of watching. Not a way to use Lanework.
"""

from __future__ import annotations

import sys
from pathlib import Path

import lanework
from lanework.store import Store


def drop(store: Store, rows: object) -> None:
    """Takes the place of the methods that store rows."""


if __name__ == "__main__":
    Store.add_metrics = Store.add_health = drop
    lanework.Study.from_file(Path(sys.argv[1])).run(Path(sys.argv[2]), is_monitored=False)
