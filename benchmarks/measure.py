"""Start one process and measure it; describe the machine.

Owns wall clock, peak memory and machine facts. Imports only the standard library: a parent with
a small footprint, because Linux counts the parent's pages into a child's peak before `exec`.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "lanework", "jax", "jaxlib", "flax", "optax", "numpy", "torch", "scikit-learn", "keras",
    "lightning", "skorch",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What one process did: exit code, wall clock, peak resident memory, end of its output."""

    code: int
    wall_s: float
    peak_rss_bytes: int
    tail: str


def run_process(
    command: Sequence[str],
    *,
    folder: Path,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 3600.0,
) -> Outcome:
    """Run `command` in `folder` to its end and measure the whole process.

    Args:
        command: Program and arguments.
        folder: Working directory, which also receives the output file.
        env: Variables set on top of the present environment.
        timeout_s: The process is killed after this many seconds (exit code -9).

    Returns:
        Exit code, wall clock from start to end (s), peak resident set of that process, and the
        last 2 000 characters it printed.
    """
    log = folder / "output.txt"
    with log.open("wb") as sink:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **(env or {})}, stdout=sink, stderr=sink
        )
        status, usage = _wait(process.pid, started + timeout_s)
        wall_s = time.perf_counter() - started
    process.returncode = code = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB on Linux
    tail = log.read_text(errors="replace")[-2000:]
    return Outcome(code, wall_s, usage.ru_maxrss * unit, tail)


def _wait(pid: int, deadline: float) -> tuple[int, object]:
    """wait4 with a deadline; polling every 2 ms costs nothing measurable."""
    while True:
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found == pid:
            return status, usage
        if time.perf_counter() > deadline:
            os.kill(pid, 9)
            _, status, usage = os.wait4(pid, 0)
            return status, usage
        time.sleep(0.002)


def versions() -> dict[str, str | None]:
    """Versions of everything that takes part; None where a package is missing."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def machine() -> dict[str, object]:
    """Processor, cores, memory and accelerator of this machine."""
    return {
        "name": machine_name(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "accelerator": _accelerator(),
    }


def machine_name() -> str:
    """A short name for file names: kind of accelerator or processor, and cores."""
    accelerator = _accelerator()
    if accelerator:
        return "".join(c if c.isalnum() else "-" for c in accelerator.split(",")[0].lower())
    wide = "avx512" if "avx512f" in _cpu_info("flags").split() else platform.machine()
    return f"cpu{os.cpu_count()}-{wide}"


def _processor() -> str:
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")


def _accelerator() -> str | None:
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout else None


def commit(root: Path) -> str:
    """Commit that is measured, with `+` when tracked files differ from it."""
    try:
        git = ["git", "-C", str(root)]
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
        )
        dirty = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return "unknown"
    if head.returncode != 0:
        return "unknown"
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
