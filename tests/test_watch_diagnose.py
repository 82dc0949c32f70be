"""What `lanework diagnose` prints below its findings."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import lanework
from lanework.api.diagnose import ArmDiagnosis, Diagnosis, diagnose
from lanework.api.diagnose_words import check_text, layers_text, lost_lines
from lanework.health.findings import Finding
from lanework.health.records import Happening, LayerTable, RunRecord
from tests import helpers

ITEMS = [
    {"name": "shuffle", "level": "pass", "arm": "", "sentence": "Fine.", "advice": ""},
    {"name": "scale", "level": "warn", "arm": "", "sentence": "Inputs differ.", "advice": ""},
    {"name": "symmetry", "level": "fail", "arm": "zeros", "sentence": "Alike.", "advice": "Draw."},
]
TABLE = LayerTable.of([10, 20], ("dense_0", "output"), [[1.0, 2.0], [3.0, math.nan]])
RECORD = RunRecord(layers={"grad_norm": TABLE, "sharpness": TABLE}, name="zeros", run=4)


def lost(what: str, layer: str, step: int) -> RunRecord:
    data = {"first_not_finite": what, "layer": layer, "at_step": step}
    again = Happening(step + 5, "diverged", {"learning_rate": 1.0})
    return RunRecord(events=(Happening(step + 1, "healed", data), again))


def test_the_check_is_told_worst_first_and_without_what_passed() -> None:
    assert check_text({"items": ITEMS}).splitlines() == [
        "Found before training:",
        "fail  symmetry [zeros]: Alike.",
        "      What to do: Draw.",
        "warn  scale: Inputs differ.",
    ]
    assert check_text({"items": ITEMS[:1]}) == check_text({}) == ""


def test_layers_are_told_as_of_the_last_record() -> None:
    assert layers_text([RECORD, RunRecord()]).splitlines() == [
        "Layers of zeros, run 4, at step 20:",
        "layer       gradient",
        "dense_0            3",
        "output             \u2013",
    ]


def test_lost_layers_are_told_once_with_the_earliest_step() -> None:
    runs = [lost("gradient", "b", 9), lost("gradient", "b", 4), lost("loss", "", 2), RunRecord()]
    assert lost_lines(runs) == [
        "The first that was not finite: the gradient of b, at step 4 (2 runs)."
    ]
    assert lost_lines(runs[:1]) == ["The first that was not finite: the gradient of b, at step 9."]


def test_findings_come_first_and_what_else_is_known_below() -> None:
    found = Finding("symmetric_weights", "fail", 0.9, "All alike.")
    sick = ArmDiagnosis("zeros", 2, ((found, 2),), ("The first.",), RECORD)
    remedies: dict[str, Any] = {"arms": [], "untreated": [], "file": None}
    plain = Diagnosis("s", (sick,))
    more = Diagnosis("s", (sick,), {"items": ITEMS}, remedies)
    assert plain.text() == plain.found()
    assert plain.found().splitlines()[0] == "zeros"
    assert "      The first." in plain.found().splitlines()
    assert more.text(layers=True).split("\n\n")[2:] == [
        check_text({"items": ITEMS}),
        layers_text([RECORD]),
    ]


@pytest.mark.slow
def test_a_healed_study_tells_all(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(
        "study: zeros\ndata: {source: breast_cancer}\nmodel: {net: mlp, hidden: [16], init: zeros}\n"
        "train: {epochs: 6, batch_size: 32}\nseeds: 2\nremedies: try\n"
    )
    lanework.run(tmp_path / "study.yaml", folder=tmp_path / "out", check=True)
    done = helpers.lanework("diagnose", "out", "--layers", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    places = [
        done.stdout.index(part)
        for part in (
            "[symmetric_weights]",
            "Found before training:",
            "Remedies tried:",
            "Layers of",
        )
    ]
    assert places == sorted(places)
    assert done.stdout.startswith(diagnose(tmp_path / "out").found())
