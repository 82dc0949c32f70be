"""Time the segments of a study: `python segments.py STUDY FOLDER RESULT.json`.

The command line gives the time of the whole process; this gives the training alone. Through the
progress callback of the Python API it takes the time of each segment (training to the next
evaluation, and that evaluation on the validation part), and keeps those that neither waited for a
compiler (the first) nor scored finished runs (the last of a run).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import lanework


class Stopwatch:
    """Progress callback that notes when each segment ended; a class because it remembers."""

    def __init__(self) -> None:
        self.segments: list[dict[str, float]] = []
        self.before: tuple[float, int] | None = None

    def __call__(self, progress: object) -> None:
        now = time.perf_counter()
        if not progress.message.startswith("training"):
            self.before = None  # compiling or reporting comes in between
            return
        if self.before is not None and self.before[1] == progress.runs_done:
            self.segments.append({"seconds": now - self.before[0], "lanes": progress.lanes_active})
        self.before = (now, progress.runs_done)


def main() -> None:
    study, folder, result = (Path(name) for name in sys.argv[1:4])
    stopwatch = Stopwatch()
    lanework.Study.from_file(study).run(folder, progress=stopwatch)
    result.write_text(json.dumps(stopwatch.segments))


if __name__ == "__main__":
    main()
