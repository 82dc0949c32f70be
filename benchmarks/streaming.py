"""Streaming from disk: `python streaming.py RESULT.json [rate|memory|tiny ...]` (what `run.py` calls for R7).

`rate`: the same study, the same batches, with the training part in memory and streamed, alternating, each in a process of its
own. The rate is samples trained on per second of training and validation, all lanes together.
`memory`: peak resident memory of a process that trains on a file of 6 GiB, all pages counted, those of mapped files too; the
kernel's own page cache is not part of any process and is not counted.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure import run_process

HERE = Path(__file__).resolve().parent
CLASSES = 10


@dataclass(frozen=True)
class Size:
    """Rows and float32 columns of a set, and how it is trained."""

    rows: int
    columns: int
    epochs: int
    eval_every: float
    seeds: int
    rates: tuple[float, ...]


RATE = Size(100_000, 1024, 2, 0.5, 2, (0.0003, 0.001))
MEMORY = Size(6 * 2**30 // 4096 + 1, 1024, 1, 0.5, 1, (0.001,))
TINY = Size(3000, 64, 1, 0.5, 1, (0.001,))


def write(folder: Path, size: Size) -> None:
    """Class means and noise as x.npy [rows, columns] float32 and y.npy, a block at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, size.rows).astype(np.int32)
    means = 0.1 * rng.standard_normal((CLASSES, size.columns)).astype(np.float32)
    noise = rng.standard_normal((5000, size.columns)).astype(np.float32)
    shape = (size.rows, size.columns)
    head = {"descr": "<f4", "fortran_order": False, "shape": shape}
    # Not through a mapping: its pages would be the peak of this process, and Linux hands that on to those it starts.
    with (folder / "x.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, head)
        for first in range(0, size.rows, 4096):
            labels = y[first : first + 4096]
            start = int(rng.integers(0, len(noise) - len(labels) + 1))
            file.write((means[labels] + noise[start : start + len(labels)]).tobytes())
    np.save(folder / "y.npy", y)


def study(size: Size, *, stream: bool) -> str:
    """The study file beside the folder `set`."""
    return f"""
study: streaming
data: {{source: set/x.npy, target: y.npy, stream: {str(stream).lower()}}}
model: {{net: mlp, hidden: [256, 128]}}
train: {{epochs: {size.epochs}, batch_size: 128, eval_every: {size.eval_every}}}
compare: {{learning_rate: {list(size.rates)}}}
seeds: {size.seeds}
"""


def run(folder: Path, size: Size, *, stream: bool) -> dict[str, float]:
    """Train once in a process of its own."""
    (folder / "study.yaml").write_text(study(size, stream=stream))
    command = [sys.executable, str(Path(__file__)), "train", "study.yaml", "train.json"]
    done = run_process(command, folder=folder, timeout_s=3600.0)
    if done.code != 0:
        raise RuntimeError(done.tail)
    found = json.loads((folder / "train.json").read_text())
    return {**found, "peak_rss_bytes": done.peak_rss_bytes, "wall_s": done.wall_s}


def train(path: str, result: str) -> None:
    """What runs in the process: the study, and the seconds of training as its records have them."""
    import lanework

    with tempfile.TemporaryDirectory() as folder:
        frame = lanework.Study.from_file(path).run(Path(folder) / "out").frame()
        found = {
            # A run's seconds are its share of the time of its segments, evaluation included.
            "training_s": float(frame.seconds.sum()),
            "samples": float(frame.steps.sum() * 128),
            "val_accuracy": float(frame.val_accuracy.mean()),
            "val_loss": float(frame.val_loss.mean()),
        }
    Path(result).write_text(json.dumps(found))


def rate(folder: Path, size: Size, *, reps: int) -> dict[str, object]:
    """Samples per second in memory and streamed, alternating, and the ratio of their medians."""
    write(folder / "set", size)
    rows: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    for stream in (False, True):
        run(folder, size, stream=stream)  # compiles, and fills the page cache
    for repetition in range(reps):
        for stream in (False, True) if repetition % 2 == 0 else (True, False):
            rows[stream].append(run(folder, size, stream=stream))
    rates = {
        stream: statistics.median(row["samples"] / row["training_s"] for row in made)
        for stream, made in rows.items()
    }
    return {
        "size": size.__dict__ | {"rates": list(size.rates)},
        "file_bytes": (folder / "set" / "x.npy").stat().st_size,
        "in_memory": rows[False],
        "streamed": rows[True],
        "samples_per_s": {"in_memory": rates[False], "streamed": rates[True]},
        "streamed_fraction": rates[True] / rates[False],
        "is_same_loss": len({row["val_loss"] for made in rows.values() for row in made}) == 1,
    }


def memory(folder: Path, size: Size) -> dict[str, object]:
    """Peak resident memory while a large file is trained on."""
    write(folder / "set", size)
    found = run(folder, size, stream=True)
    return {**found, "file_bytes": (folder / "set" / "x.npy").stat().st_size}


def main() -> None:
    if sys.argv[1] == "train":
        return train(*sys.argv[2:4])
    result, wanted = Path(sys.argv[1]).resolve(), sys.argv[2:] or ["rate", "memory"]
    is_tiny = "tiny" in wanted
    found: dict[str, object] = {}
    for name in ("rate", "memory"):
        if name not in wanted and not is_tiny:
            continue
        with tempfile.TemporaryDirectory(prefix="lanework-stream-") as place:
            folder = Path(place)
            if name == "rate":
                found[name] = rate(folder, TINY if is_tiny else RATE, reps=1 if is_tiny else 5)
            else:
                found[name] = memory(folder, TINY if is_tiny else MEMORY)
    result.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
