"""Programs on disk: what one process wrote, another one runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
import jax
from lanework.cohort import executables

name, way = sys.argv[1:]
function = {"qr": jax.numpy.linalg.qr, "eigh": jax.numpy.linalg.eigh, "sum": jax.numpy.sum}[name]
x = jax.numpy.eye(5) * 2
if way == "write":
    assert executables.save(name, jax.jit(function).lower(x).compile())
else:
    found = executables.load(name, jax.devices()[:1])
    assert found is not None
    for told, here in zip(jax.tree.leaves(found(x)), jax.tree.leaves(function(x)), strict=True):
        assert jax.numpy.array_equal(told, here)
"""


@pytest.mark.parametrize("name", ["qr", "eigh", "sum"])
def test_a_program_runs_in_a_process_that_never_lowered_it(tmp_path: Path, name: str) -> None:
    for way in ("write", "read"):
        subprocess.run(
            [sys.executable, "-c", PROGRAM, name, way],
            env=os.environ | {"LANEWORK_CACHE": str(tmp_path)},
            check=True,
        )
