"""From a study to findings: records from the store, `lanework diagnose`, results, report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lanework
from lanework.api import diagnose as diagnosing
from lanework.api.data_facts import data_facts
from lanework.data import load
from lanework.health.diagnose import diagnose
from lanework.health.findings import as_row
from lanework.spec import DataSpec
from lanework.store import FILE_NAME, Store
from tests import helpers
from tests.synthetic import write_study

SICK = """\
study: sick
data: {source: breast_cancer}
model: {net: mlp, hidden: [16, 16]}
train: {epochs: 12, batch_size: 32, learning_rate: 0.003}
compare:
  recipes:
    - {name: healthy}
    - {name: zeros, model.init: zeros}
    - {name: fast, train.learning_rate: 3.0}
    - {name: twice, model.output_activation: softmax}
seeds: 2
"""
EXPECTED = {"zeros": "symmetric_weights", "fast": "rate_too_high", "twice": "output_activation"}


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sick")
    (folder / "sick.yaml").write_text(SICK)
    return lanework.run(folder / "sick.yaml", folder=folder / "out").folder


def test_each_sick_recipe_gets_its_cause_and_the_healthy_one_nothing(sick: Path) -> None:
    found = lanework.load(sick).findings()
    worst = found.drop_duplicates("run")
    assert dict(zip(worst["arm"], worst["code"], strict=True)) == EXPECTED
    assert len(worst) == 2 * len(EXPECTED)
    assert set(found["level"]) <= {"fail", "warn"}
    assert found["confidence"].between(0.0, 1.0).all()
    assert (worst["step"] <= 0.2 * 12 * 13).all()


def test_what_is_stored_is_what_the_records_say(sick: Path) -> None:
    fresh = diagnosing.findings(sick)
    with Store(sick, create=False) as store:
        stored = [row._asdict() | {"remedies": list(row.remedies)} for row in store.findings()]
    said = [{"run": run, **as_row(one)} for run, found in fresh.items() for one in found]
    assert stored == said


def test_records_hold_what_rules_look_at(sick: Path) -> None:
    record = diagnosing.records(sick)[0]
    assert (record.name, record.status, record.num_steps) == ("healthy", "ok", 12 * 13)
    assert record.setting("train.learning_rate") == 0.003
    assert record.layer("grad_norm").names == ("dense_0", "dense_1", "output")
    assert len(record.curve("train_loss")) == len(record.curve("train_loss_std")) == 12
    assert record.curve("predicted_share").last == 1.0
    assert (record.data.num_classes, record.net.num_outputs) == (2, 2)
    assert record.data.feature_rms == pytest.approx(1.0, abs=0.05)
    assert record.data.simple_score > 0.9


def test_results_json_lists_findings_by_run(sick: Path) -> None:
    runs = json.loads((sick / "results.json").read_text())["runs"]
    codes = [[finding["code"] for finding in run["findings"]] for run in runs]
    assert codes[0] == codes[1] == []
    assert codes[2][0] == "symmetric_weights"
    assert set(runs[2]["findings"][0]) == {
        *("code", "level", "confidence", "sentence", "evidence", "step", "layer", "remedies")
    }


def test_the_terminal_says_what_is_the_matter(sick: Path) -> None:
    done = helpers.lanework("diagnose", str(sick), folder=sick)
    assert (done.returncode, done.stderr) == (0, "")
    text = done.stdout
    assert "fail  Weights start all alike [symmetric_weights]" in text
    assert "What helps, best first:" in text
    assert "Nothing found: healthy." in text
    assert "3 of 4 recipes are sick" in text
    shown = helpers.lanework("show", str(sick), folder=sick).stdout
    assert "Sick: 6 of 8 runs: " in shown
    assert "learning rate too high (2 runs)" in shown


def test_the_report_shows_it_on_the_first_screen_and_in_its_section(sick: Path) -> None:
    page = (sick / "report.html").read_text()
    first = page[page.index('<section id="answer"') : page.index('<section id="curves"')]
    assert "Weights start all alike" in first
    health = page[page.index('<section id="health"') :]
    assert 'data-chart="evidence-2-symmetric-weights-0"' in health
    assert 'id="health-choice"' in health
    assert "nothing found</option>" in health


def test_diagnosis_imports_no_jax(sick: Path) -> None:
    code = f"import sys; from lanework.api import diagnose; diagnose.diagnose({str(sick)!r}); sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_running_study_can_be_judged(sick: Path, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes((sick / FILE_NAME).read_bytes())
    (tmp_path / "study.yaml").write_bytes((sick / "study.yaml").read_bytes())
    with Store(tmp_path, create=False) as store:
        for run in range(8):
            store.rewind(run, 6 * 13, num_events=0)
    cut = diagnosing.records(tmp_path)
    assert {record.status for record in cut} == {"running"}
    whole = diagnosing.records(sick)
    for early, late in zip(cut, whole, strict=True):
        assert [f.code for f in diagnose(early)] == [f.code for f in diagnose(late.before(0.5))]


def test_a_folder_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """Without facts of the data, and with a study file that the catalogue of today need not understand."""
    folder = write_study(tmp_path / "demo", "demo")
    found = diagnosing.diagnose(folder)
    assert len(found.arms) == 27
    assert found.summary().startswith("digits-optimizers: ")


# ---- facts of the data -------------------------------------------------------------------------


def test_facts_of_data_that_is_prepared_and_of_data_that_is_not() -> None:
    usual = data_facts(load(DataSpec(source="wine")))
    raw = data_facts(load(DataSpec(source="wine", prepare="none")))
    assert usual.feature_rms == pytest.approx(1.0, abs=0.05)
    assert usual.feature_std_max / usual.feature_std_min < 1.5
    assert raw.feature_rms > 100
    assert raw.feature_std_max / raw.feature_std_min > 100
    assert usual.class_shares == raw.class_shares
    assert sum(usual.class_shares) == pytest.approx(1.0)


def test_facts_tell_parts_that_are_prepared_differently() -> None:
    same = data_facts(load(DataSpec(source="wine")))
    other = data_facts(load(DataSpec(source="wine", prepare_held_out="none")))
    assert same.val_shift < 0.5
    assert 0.7 < same.val_scale < 1.4
    assert other.val_shift > 2.0


def test_simple_models_see_wrong_labels() -> None:
    right = data_facts(load(DataSpec(source="digits")))
    noisy = data_facts(load(DataSpec(source="digits", label_noise=0.4)))
    assert right.simple_score > 0.9
    assert abs(right.simple_score - right.simple_train_score) < 0.05
    assert noisy.simple_score - noisy.simple_train_score > 0.2


def test_a_column_that_tells_the_target_is_named() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    x = np.column_stack([rng.standard_normal((400, 3)), y + 0.01 * rng.standard_normal(400)])
    found = data_facts(load(DataSpec(source="<object>"), arrays=(x, y)))
    assert found.leak_column
    assert found.leak_score > 0.99
    clean = data_facts(load(DataSpec(source="<object>"), arrays=(x[:, :3], y)))
    assert (clean.leak_column, clean.shared_rows) == ("", 0.0)


def test_the_order_of_the_rows_is_seen() -> None:
    shuffled = data_facts(load(DataSpec(source="wine")))
    assert shuffled.order_signal < 1.0
