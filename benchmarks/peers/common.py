"""What every peer script shares: the job it is given, the data, clocks, and the result it writes.

Each peer is called as `python PEER.py job.json result.json`, trains all runs of the job in this one
process, and must not import lanework. The arrays come split and prepared (by Lanework, in another
process), so a peer pays for its imports, its training and its evaluation, and for nothing else.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

STARTED = time.perf_counter()  # common is the first import of every peer


@dataclass(frozen=True)
class Run:
    """One recipe and seed."""

    optimizer: str
    options: dict[str, float]
    learning_rate: float
    seed: int


@dataclass(frozen=True)
class Job:
    """The work: which net on which arrays, how long, and which runs."""

    data: str
    net: str  # "mlp", "cnn", "resnet" or "gru"
    hidden: tuple[int, ...]  # widths of the MLP or GRU, or of the dense layers after convolutions
    channels: tuple[int, ...]
    embedding: int  # entries of a token's vector; 0 without tokens
    vocabulary: int  # token codes; 0 without tokens
    depth: int  # layers of a ResNet of the CIFAR family; 0 without
    num_classes: int
    epochs: int
    batch_size: int
    threads: int | None  # None: the peer's default
    runs: tuple[Run, ...]


@dataclass
class Clock:
    """Seconds by phase, and what each run reached; becomes the result file."""

    seconds: dict[str, float] = field(default_factory=dict)
    runs: list[dict[str, object]] = field(default_factory=list)
    num_steps: int = 0
    num_samples: int = 0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def finish(self, run: Run, *, history: list[float], val: float, test: float) -> None:
        """Store one run: validation accuracy after each epoch, at the end, and on the test part."""
        self.runs.append(
            {
                "optimizer": run.optimizer,
                "learning_rate": run.learning_rate,
                "seed": run.seed,
                "num_evaluations": len(history),
                "val_accuracy": val,
                "test_accuracy": test,
            }
        )


def main(work: Callable[[Job, Clock], dict[str, object] | None]) -> None:
    """Read the job, let the peer do the work, write the result."""
    clock = Clock(seconds={"import": time.perf_counter() - STARTED})
    raw = json.loads(Path(sys.argv[1]).read_text())
    runs = tuple(Run(**run) for run in raw.pop("runs"))
    raw["hidden"], raw["channels"] = tuple(raw["hidden"]), tuple(raw["channels"])
    facts = work(Job(runs=runs, **raw), clock) or {}
    result = {
        "seconds": clock.seconds,
        "num_steps": clock.num_steps,
        "num_samples": clock.num_samples,
        "runs": clock.runs,
        "facts": facts,
    }
    Path(sys.argv[2]).write_text(json.dumps(result, indent=1))


def load_arrays(job: Job) -> tuple:
    """(x, y) of train, val and test: float32 [n, ...] and int64 [n]; flat rows for an MLP.

    Of tokens both are int64 [n, time], y -100 where there is no target.
    """
    import numpy as np

    with np.load(job.data) as file:
        arrays = [file[f"{kind}_{part}"] for part in ("train", "val", "test") for kind in "xy"]
    if job.net == "mlp":
        arrays = [a.reshape(len(a), -1) if a.ndim > 1 else a for a in arrays]
    return tuple(zip(arrays[0::2], arrays[1::2], strict=True))
