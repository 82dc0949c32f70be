"""A study killed at any moment goes on to the same numbers, bit for bit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lanework
from lanework import spec as specs
from lanework.export import read
from lanework.spec.sections import plain_config
from lanework.store import Store

STUDY = """
study: killed
data: {source: iris}
model: {net: mlp, hidden: [8], dropout: 0.1}
train: {epochs: 6, batch_size: 32}
compare: {optimizer: [sgd, adam], learning_rate: [0.01, 0.1]}
seeds: 3
"""

# Runs the study; kills itself, as hard as the system can, after the given number of progress reports.
SCRIPT = """
import os, signal, sys
import lanework
left = int(sys.argv[2])
def watch(progress):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
lanework.run("study.yaml", folder=sys.argv[1], resume=sys.argv[3] == "resume", progress=watch,
             snapshot_every_s=float(sys.argv[4]))
"""


def start(where: Path, folder: str, *, kill_after: int, how: str, every: float = 0.0) -> int:
    command = [sys.executable, "-c", SCRIPT, folder, str(kill_after), how, str(every)]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode


def numbers(folder: Path) -> tuple[object, ...]:
    with Store(folder, create=False) as store:
        metrics = sorted(store.metrics())
        health = sorted(store.health())
        # As text: a run that diverged has NaN, which equals nothing.
        results = [
            repr((r.run, r.status, r.steps, r.best_step, r.metrics)) for r in store.results()
        ]
    return metrics, health, results


def weights(folder: Path) -> dict[str, np.ndarray]:
    return read(folder / "best").params


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("resume")
    (where / "study.yaml").write_text(STUDY)
    assert start(where, "whole", kill_after=0, how="new") == 0
    return where


@pytest.mark.parametrize(
    ("moment", "every"),
    [
        *((1, 0.0), (11, 1e9)),
        *(
            pytest.param(moment, 0.0, marks=pytest.mark.slow, id=f"{moment}-0.0")
            for moment in (2, 5, 7, 8, 11, 13, 14)
        ),
    ],
)
def test_a_killed_study_resumes_to_the_same_numbers(whole: Path, moment: int, every: float) -> None:
    folder = f"killed-{moment}-{every:g}"
    assert start(whole, folder, kill_after=moment, how="new", every=every) == -9
    assert start(whole, folder, kill_after=0, how="resume", every=every) == 0
    assert numbers(whole / folder) == numbers(whole / "whole")
    again, first = weights(whole / folder), weights(whole / "whole")
    for layer, tensors in first.items():
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(again[layer][name], tensor)


HEALED = (
    STUDY.replace("killed", "healed")
    .replace("[0.01, 0.1]", "[0.01, 1.0e+20]")
    .replace("batch_size: 32", "batch_size: 32, heal: {retries: 2, factor: 1.0e-6}")
)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [3, 6])
def test_healing_is_remembered_once(tmp_path: Path, moment: int) -> None:
    (tmp_path / "study.yaml").write_text(HEALED)
    assert start(tmp_path, "whole", kill_after=0, how="new") == 0
    assert start(tmp_path, "part", kill_after=moment, how="new") == -9
    assert start(tmp_path, "part", kill_after=0, how="resume") == 0
    events = [healings(tmp_path / name) for name in ("whole", "part")]
    assert events[0] == events[1]
    assert len(events[0]) > 0
    assert numbers(tmp_path / "whole") == numbers(tmp_path / "part")


def healings(folder: Path) -> list[tuple[object, ...]]:
    with Store(folder, create=False) as store:
        return sorted((e.run, e.step, e.kind, e.text) for e in store.events() if e.run is not None)


def test_a_study_killed_while_it_reports_gets_its_report(whole: Path) -> None:
    folder = whole / "reported"
    shutil.copytree(whole / "whole", folder)
    (folder / "report.html").unlink()
    assert start(whole, "reported", kill_after=0, how="resume") == 0
    assert (folder / "report.html").is_file()


@pytest.mark.slow
def test_a_study_killed_twice_resumes_to_the_same_numbers(whole: Path) -> None:
    assert start(whole, "twice", kill_after=4, how="new") == -9
    assert start(whole, "twice", kill_after=5, how="resume") == -9
    assert start(whole, "twice", kill_after=0, how="resume") == 0
    assert numbers(whole / "twice") == numbers(whole / "whole")


def test_recipes_with_whole_sections_of_their_own_resume(tmp_path: Path) -> None:
    """As healing makes them: `auto` in them is an initialisation, not a rate that was searched for."""
    spec = lanework.Study(data="iris", model={"net": "mlp", "hidden": [8]}).spec
    base = plain_config(specs.expand(spec)[0].config)
    edits = {
        "model": {**base["model"], "init": "auto"},
        "data": {**base["data"], "prepare": "none"},
    }
    recipes = tuple(specs.Recipe(name=key, settings={key: value}) for key, value in edits.items())
    train = spec.train.model_copy(update={"epochs": 1})
    update = {"train": train, "compare": specs.Compare(recipes=recipes), "seeds": (0,)}
    study = lanework.Study._of(spec.model_copy(update=update))
    first = study.run(tmp_path / "runs")
    assert study.run(tmp_path / "runs", resume=True).folder == first.folder
