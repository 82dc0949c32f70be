"""Probe problems with known answers and small tools shared by the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def data_folder() -> Path:
    """The folder with real data sets that are never committed; skips the test where there is none."""
    named = os.environ.get("LANEWORK_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no data folder: set LANEWORK_DATA to the folder with the real data sets")
    return folder


def lanework(
    *arguments: str | Path, folder: Path, timeout_s: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """The command line as a user starts it, in `folder`, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "lanework.cli", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
