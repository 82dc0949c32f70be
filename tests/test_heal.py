"""Healing: which recipes are tried, what is said of their effects, and whole studies that are mended."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

import lanework
from lanework import report
from lanework.api.heal_effects import Effect, best_of, document, effects
from lanework.api.heal_trials import AS_IT_WAS, Complaint, Patient, Trial, trials
from lanework.errors import StoreError
from lanework.health.findings import Finding
from lanework.health.records import Curve, DataFacts, RunRecord
from lanework.health.remedies import evidence_of
from lanework.report.facts import metric_named
from lanework.report.remedies import NOTHING, change_text, effect_text, remedies_text, strongest
from lanework.spec import expand, load_study, parse_study
from lanework.spec.brief import brief_study
from lanework.spec.sections import plain_config
from lanework.store import Store
from tests.helpers import ROOT
from tests.helpers import lanework as command
from tests.synthetic import write_study


def patient(study: dict[str, Any], *codes: str, **facts: Any) -> Patient:
    """A sick recipe with findings made by hand."""
    spec = parse_study({"study": "sick", "data": {"source": "wine"}, **study}, base=ROOT)
    arm = expand(spec)[0]
    record = RunRecord(settings=plain_config(arm.config), data=DataFacts(**facts))
    found = [Finding(code, "fail", 0.9, f"It is {code}.") for code in codes]
    complaints = tuple(Complaint(one, evidence_of(record, one)) for one in found)
    return Patient(arm.index, arm.name, arm.config, complaints)


# Which recipes are tried ------------------------------------------------------------------------


def test_the_recipe_as_it_was_comes_first_then_each_remedy_then_all_together() -> None:
    study = {"data": {"source": "wine", "prepare": "none"}, "model": {"init": "zeros"}}
    plan = trials(patient(study, "inputs_not_scaled", "symmetric_weights"), top=2)
    assert (plan[0].label, plan[0].edits) == (AS_IT_WAS, {})
    # He initialisation is the usual one for ReLU: what comes out equal is trained once.
    assert [trial.remedies for trial in plan[1:]] == [
        ("scale_inputs",),
        ("add_normalisation",),
        ("default_initialisation",),
        ("scale_inputs", "default_initialisation"),
    ]
    assert plan[-1].edits == {"data.prepare": "standard", "model.init": "auto"}
    assert plan[-1].config.data.prepare == "standard"
    assert plan[-1].config.model.options["init"] == "he_normal"


def test_a_remedy_with_strengths_is_tried_at_all_of_them_and_counts_once() -> None:
    plan = trials(patient({"train": {"learning_rate": 0.1}}, "rate_too_high"), top=1)
    rates = [trial.config.train.learning_rate for trial in plan]
    assert rates == [0.1, 0.01, 0.001, 0.0001, 0.0333]
    assert plan[2].label == "Lower the learning rate (0.001)"


def test_remedies_that_do_not_apply_are_not_counted() -> None:
    study = {"train": {"clip_norm": 1.0, "learning_rate": 0.1}}
    plan = trials(patient(study, "exploding_gradients"), top=2)
    assert {trial.remedies[0] for trial in plan[1:]} == {"add_normalisation", "lower_rate"}


def test_only_words_leave_the_recipe_as_it_was() -> None:
    assert len(trials(patient({}, "labels_wrong"), top=3)) == 1


def test_what_only_makes_the_score_honest_goes_under_everything_else() -> None:
    plan = trials(patient({}, "data_leak", "rate_too_high", leak_column="alcohol"), top=1)
    assert [trial.is_honest for trial in plan[:3]] == [False, True, False]
    assert all(trial.edits["data.columns"] == {"alcohol": "ignore"} for trial in plan[1:])


def test_a_lesser_cause_does_not_take_back_what_a_worse_one_asked_for() -> None:
    study = {"train": {"learning_rate": 0.1}}
    plan = trials(patient(study, "rate_too_high", "rate_too_low"), top=1)
    assert all(len(trial.remedies) < 2 for trial in plan)


def test_every_trial_is_a_recipe_of_its_own() -> None:
    sick = patient({"train": {"learning_rate": 1.0}}, "rate_too_high", "overfitting", "underfitting")  # fmt: skip
    plan = trials(sick, top=3)
    assert len({trial.label for trial in plan}) == len(plan)
    assert all(a.config != b.config for place, a in enumerate(plan) for b in plan[:place])


def test_evidence_holds_what_the_sick_run_was_and_did() -> None:
    record = RunRecord(
        settings={"train": {"learning_rate": 0.5, "epochs": 9}},
        curves={"val_loss": Curve.of([4, 8, 12], [2.0, math.nan, 1.0])},
        steps_per_epoch=4,
    )
    known = evidence_of(record, Finding("overfitting", "warn", 0.5, "It is.", {"gap": 2.0}))
    assert known["train.learning_rate"] == 0.5
    assert (known["best_epoch"], known["gap"]) == (3.0, 2.0)


# What is said of effects ------------------------------------------------------------------------


def facts_of(values: Sequence[Sequence[float | None]], metric: str = "val_accuracy", **given: Any) -> Any:  # fmt: skip
    """Runs by recipe and seed; None for one that diverged."""
    runs = tuple(
        SimpleNamespace(
            arm=arm, seed=seed, fold=None, value=value, is_bad=value is None, steps=10, verdict="ok"
        )
        for arm, row in enumerate(values)
        for seed, value in enumerate(row)
    )
    made = replace(metric_named(metric), **given)
    return SimpleNamespace(runs=runs, folds=None, metric=made)


SICK = (0.10, 0.11, 0.09, 0.10, 0.12)
GOOD = (0.95, 0.96, 0.97, 0.95, 0.96)


def judged(rows: Sequence[Sequence[float | None]], metric: str = "val_accuracy", **given: Any) -> tuple[Effect, ...]:  # fmt: skip
    sick = patient({}, "rate_too_high")
    plan = [
        Trial(str(number), (f"remedy {number}",) * bool(number), (), {}, sick.config)
        for number in range(len(rows))
    ]
    return effects(plan, range(len(rows)), facts_of(rows, metric, **given))


def test_an_effect_is_the_paired_difference_of_the_textbook() -> None:
    effect = judged([SICK, GOOD])[1]
    assert effect.paired is not None
    want = scipy_stats.ttest_rel(GOOD, SICK)
    low, high = want.confidence_interval()
    assert effect.paired.p_value == pytest.approx(want.pvalue)
    assert effect.paired.difference[:3] == pytest.approx((np.mean(GOOD) - np.mean(SICK), low, high))
    assert effect.verdict == "better"


def test_p_values_are_corrected_for_all_remedies_of_a_recipe() -> None:
    alone = judged([SICK, GOOD])[1]
    among = judged([SICK, GOOD, SICK[::-1], SICK[1:] + SICK[:1]])[1]
    assert among.p_adjusted == pytest.approx(3 * alone.p_adjusted)


@pytest.mark.parametrize(
    ("metric", "row", "verdict"),
    [
        ("val_rmse", (60.0, 62.0, 58.0, 61.0, 59.0), "better"),
        ("val_rmse", (90.0, 92.0, 88.0, 91.0, 89.0), "worse"),
        ("val_r2", (90.0, 92.0, 88.0, 91.0, 89.0), "better"),
        ("val_rmse", (80.1, 81.9, 78.1, 81.0, 78.9), "none"),
        ("val_rmse", (60.0, 92.0, 58.0, 91.0, 79.0), "unclear"),
        ("val_rmse", (None,) * 5, "failed"),
    ],
)
def test_the_direction_of_the_metric_counts(
    metric: str, row: tuple[float | None, ...], verdict: str
) -> None:
    found = judged([(80.0, 82.0, 78.0, 81.0, 79.0), row], metric)
    assert found[1].verdict == verdict
    assert (best_of(found, metric_named(metric)) is None) == (verdict != "better")


def test_one_seed_tests_nothing() -> None:
    assert judged([(0.1,), (0.9,)])[1].verdict == "untested"


def test_a_sick_recipe_that_diverged_counts_as_guessing_and_is_told_as_diverged() -> None:
    found = judged([(None,) * 5, GOOD, (None, *GOOD[1:])], chance=0.1)
    assert [one.verdict for one in found] == ["reference", "better", "better"]
    assert best_of(found, metric_named("val_accuracy")) is found[1]
    arm, record = told(found)
    text = effect_text(arm, arm["tried"][1], record)
    assert text.startswith("diverged in 5 of 5 \u2192 0 of 5, validation accuracy 95.8\u202f% [")
    assert "5 of 5 \u2192 1 of 5" in effect_text(arm, arm["tried"][2], record)


def told(found: Sequence[Effect], metric: str = "val_accuracy", unit: str = "") -> tuple[Any, Any]:
    """One sick recipe as it is stored, and the record around it."""
    base = metric_named(metric, unit=unit)
    arm = document(patient({}, "rate_too_high", "labels_wrong"), found, metric=base, left=[[] for _ in found])  # fmt: skip
    about = {name: getattr(base, name) for name in ("name", "unit", "decimals", "direction")}
    record = {"arms": [arm], "metric": about, "seeds": [0, 1, 2, 3, 4], "is_folded": False, "untreated": [], "file": "healed.yaml"}  # fmt: skip
    return arm, record


def test_effects_are_told_with_their_interval_and_how_sure_they_are() -> None:
    unclear = (0.05, 0.30, 0.02, 0.28, 0.20)
    arm, record = told(judged([SICK, GOOD, unclear, SICK]))
    texts = [effect_text(arm, one, record) for one in arm["tried"][1:]]
    assert re.fullmatch(
        r"validation accuracy 10\.4.% . 95\.8.%, \+85\.4 points \[83\.5, 87\.3\] over 5 seeds",
        texts[0],
    )
    assert texts[1].startswith("cannot be told from no effect (about ")
    assert texts[2].startswith("no effect: validation accuracy")
    whole = remedies_text(record)
    assert "Best: 1." in whole
    assert "by hand: Look at the labels." in whole
    assert whole.endswith("Mended study: healed.yaml")


def test_errors_are_told_in_the_unit_of_the_target() -> None:
    sick, good = (80.0, 82.0, 78.0, 81.0, 79.0), (60.0, 62.0, 58.0, 61.0, 59.5)
    arm, record = told(judged([sick, good], "val_rmse", unit="mm"), "val_rmse", "mm")
    text = effect_text(arm, arm["tried"][1], record)
    assert text.startswith(
        "validation RMSE 80.000\u202fmm \u2192 60.100\u202fmm, \u221219.900\u202fmm ["
    )


def test_the_strongest_form_of_a_remedy_stands_for_it() -> None:
    rows = [{"remedies": ["a"], "verdict": "better", "gain": gain} for gain in (0.1, 0.3, math.nan)]
    first = {"remedies": [], "verdict": "reference", "gain": math.nan}
    assert strongest([first, *rows]) == [rows[1]]


def test_nothing_found_is_said() -> None:
    assert remedies_text({"arms": [], "file": None}) == NOTHING


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"path": "model.init", "from": "zeros", "to": "auto"}, "model.init: zeros \u2192 auto"),
        ({"path": "train.clip_norm", "from": None, "to": 1.0}, "train.clip_norm: not given \u2192 1"),
        ({"path": "model.hidden", "from": [2], "to": [64]}, "model.hidden: [2] \u2192 [64]"),
    ],
)  # fmt: skip
def test_a_change_reads_as_in_the_study_file(change: dict[str, Any], text: str) -> None:
    assert change_text(change) == text


def page_of(folder: Path, record: Any) -> str:
    """The report of a made-up study with that stored as what was tried."""
    write_study(folder, "small")
    with Store(folder, create=False) as store:
        store.put_meta("remedies", record)
    return report.write(folder).read_text(encoding="utf-8")


def test_the_report_shows_each_remedy_with_its_effect(tmp_path: Path) -> None:
    found = judged([SICK, GOOD, (0.05, 0.30, 0.02, 0.28, 0.20), (None,) * 5], chance=0.1)
    _, record = told(found)
    page = page_of(tmp_path / "s", record)
    section = page.partition('id="remedies"')[2].partition("</section>")[0]
    assert len(re.findall(r'<td class="glyph"><div class="glyph-box"', section)) == 3
    assert section.count('class="zero"') == 3
    assert "<b>+85.4 points</b> [83.5, 87.3]" in section
    assert "cannot be told from no effect" in section
    assert "does not help" in section
    assert "5 of 5 runs diverged" in section
    results = json.loads((tmp_path / "s" / "results.json").read_text())
    assert results["remedies"]["arms"][0]["best"] == 1
    assert results["remedies"]["arms"][0]["tried"][3]["values"] == [None] * 5


def test_a_study_without_remedies_has_no_such_section(tmp_path: Path) -> None:
    page = page_of(tmp_path / "s", {"arms": [], "metric": None, "file": None})
    assert 'id="remedies"' not in page


def test_names_in_a_study_cannot_become_markup_among_the_remedies(tmp_path: Path) -> None:
    arm, record = told(judged([SICK, GOOD]))
    evil = "<img src=x>"
    arm |= {"name": evil, "causes": [{**arm["causes"][0], "sentence": evil}]}
    arm["tried"][1] |= {"label": evil, "changes": [{"path": evil, "from": evil, "to": [evil]}]}
    assert evil not in page_of(tmp_path / "s", record)


# The short form of a study ----------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "studies").rglob("*.yaml")), ids=lambda p: p.stem)
def test_a_brief_study_is_the_same_study(path: Path) -> None:
    spec = load_study(path)
    again = parse_study(brief_study(spec), base=path.parent)
    assert [arm.name for arm in expand(again)] == [arm.name for arm in expand(spec)]
    assert [arm.config.train for arm in expand(again)] == [arm.config.train for arm in expand(spec)]
    assert [arm.config.model for arm in expand(again)] == [arm.config.model for arm in expand(spec)]
    assert again.seeds == spec.seeds


def test_a_brief_study_leaves_the_defaults_out() -> None:
    given = {"study": "a", "data": {"source": "digits"}, "train": {"epochs": 3, "l2": 0.1}}
    assert brief_study(parse_study(given, base=ROOT)) == {
        "study": "a",
        "data": {"source": "digits"},
        "model": {"net": "mlp"},
        "train": {"epochs": 3, "optimizer": "adam", "learning_rate": 0.001, "l2": 0.1},
        "seeds": 1,
        "report": {"metric": "val_accuracy"},
    }


# Whole studies that are mended ------------------------------------------------------------------


def healed(folder: Path, **study: Any) -> Any:
    made = lanework.Study(study="sick", seeds=2, **study)
    return made.run(folder).heal(top=2, seeds=3)


def found_codes(healing: Any) -> list[str]:
    return [one["code"] for arm in healing.record["arms"] for one in arm["causes"]]


def best_row(healing: Any) -> dict[str, Any]:
    arm = healing.record["arms"][0]
    assert arm["best"] is not None, healing.text()
    return dict(arm["tried"][arm["best"]])


@pytest.mark.slow
def test_zero_weights_are_mended_and_the_file_keeps_its_word(tmp_path: Path) -> None:
    healing = healed(
        tmp_path / "sick",
        data="digits",
        model={"net": "mlp", "hidden": [32], "init": "zeros"},
        train={"epochs": 5},
    )
    assert found_codes(healing)[0] == "symmetric_weights"
    best = best_row(healing)
    assert best["value"]["mean"] > 0.6
    assert best["difference"]["low"] > 0.3
    assert healing.file is not None
    assert healing.file == tmp_path / "sick" / "healed.yaml"
    text = healing.file.read_text()
    assert "wrong: Weights start all alike." in text
    again = lanework.run(healing.file, folder=tmp_path / "again")
    assert list(again.frame()["val_accuracy"]) == pytest.approx(best["values"], abs=1e-3)
    results = json.loads((tmp_path / "sick" / "results.json").read_text())
    assert results["remedies"]["arms"][0]["tried"][0]["label"] == AS_IT_WAS
    page = (tmp_path / "sick" / "report.html").read_text()
    assert "Remedies tried" in page
    # A second time nothing is trained again and no file is written over.
    second = lanework.load(tmp_path / "sick").heal(top=2, seeds=3)
    assert second.text().replace("healed-2", "healed") == healing.text()
    assert second.file == tmp_path / "sick" / "healed-2.yaml"
    assert second.trials == healing.trials


@pytest.mark.slow
def test_unscaled_inputs_are_mended(tmp_path: Path) -> None:
    healing = healed(
        tmp_path / "sick",
        data={"source": "wine", "prepare": "none"},
        model={"net": "mlp", "hidden": [16]},
        train={"epochs": 20, "batch_size": 16, "optimizer": "momentum", "learning_rate": 0.01},
    )
    assert "inputs_not_scaled" in found_codes(healing)
    best = best_row(healing)
    assert "scale_inputs" in best["remedies"]
    assert best["value"]["mean"] > 0.9


@pytest.mark.slow
def test_a_rate_far_too_high_is_mended_also_where_every_run_diverged(tmp_path: Path) -> None:
    healing = healed(
        tmp_path / "sick",
        data="diabetes",
        model={"net": "mlp", "hidden": [16]},
        train={"epochs": 10, "optimizer": "sgd", "learning_rate": 100.0, "heal": {"retries": 0}},
    )
    assert set(found_codes(healing)) & {"rate_too_high", "divergence"}
    best = best_row(healing)
    sick = healing.record["arms"][0]["tried"][0]
    assert (sick["num_diverged"], best["num_diverged"]) == (3, 0)
    assert healing.record["metric"]["direction"] == "min"
    assert best["difference"]["mean"] < 0
    assert "diverged in 3 of 3 \u2192 0 of 3, validation RMSE" in healing.text()


@pytest.mark.slow
def test_a_summed_loss_is_mended(tmp_path: Path) -> None:
    healing = healed(
        tmp_path / "sick",
        data="digits",
        model={"net": "mlp", "hidden": [32]},
        train={"epochs": 5, "optimizer": "sgd", "learning_rate": 0.5, "reduction": "sum"},
    )
    assert "loss_summed" in found_codes(healing)
    assert best_row(healing)["value"]["mean"] > 0.8


def test_a_healthy_study_has_nothing_to_heal_and_trains_nothing(tmp_path: Path) -> None:
    made = lanework.Study(study="well", data="digits", train={"epochs": 15})
    results = made.run(tmp_path / "well")
    healing = results.heal()
    assert healing.text() == NOTHING
    assert (healing.trials, healing.file) == (None, None)
    assert not (tmp_path / "well" / "remedies").exists()


@pytest.mark.slow
def test_remedies_try_does_it_at_the_end_of_a_run(tmp_path: Path) -> None:
    study = {
        "study": "zeros",
        "data": {"source": "iris"},
        "model": {"net": "mlp", "hidden": [8], "init": "zeros"},
        "train": {"epochs": 20, "learning_rate": 0.01},
        "seeds": 2,
        "remedies": "try",
    }
    file = tmp_path / "zeros.yaml"
    file.write_text(json.dumps(study))
    results = lanework.run(file, folder=tmp_path / "zeros")
    record = json.loads((results.folder / "results.json").read_text())["remedies"]
    assert record["arms"][0]["best"] is not None
    assert len(record["seeds"]) == 5
    assert (results.folder / "healed.yaml").is_file()
    assert "remedies: try" not in (results.folder / "healed.yaml").read_text()
    assert "Remedies tried:" in results.summary()
    again = lanework.run(file, folder=tmp_path / "zeros", resume=True)
    assert not (again.folder / "healed-2.yaml").exists()


@pytest.mark.slow
def test_data_and_networks_from_python_are_healed_but_leave_no_file(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    healing = healed(
        tmp_path / "own",
        data=(x, y),
        model={"net": "mlp", "hidden": [16], "init": "zeros"},
        train={"epochs": 20, "learning_rate": 0.01},
    )
    assert best_row(healing)["difference"]["low"] > 0
    assert healing.file is None


@pytest.mark.slow
def test_a_study_that_was_interrupted_is_finished_first(tmp_path: Path) -> None:
    folder = tmp_path / "half"
    lanework.Study(study="half", data="iris", train={"epochs": 1}).run(folder)
    with Store(folder, create=False) as store:
        store.put_meta("complete", False)
    with pytest.raises(StoreError, match=r"needs a study that was trained to its end.*--resume"):  # fmt: skip
        lanework.load(folder).heal()


# The command line -------------------------------------------------------------------------------

SICK_FILE = """\
study: sick
data: {source: digits}
model: {net: mlp, hidden: [16], init: zeros}
train: {epochs: 15}
seeds: 2
"""


def test_the_command_heals_a_file_and_then_its_folder(tmp_path: Path) -> None:
    (tmp_path / "sick.yaml").write_text(SICK_FILE)
    done = command("heal", "sick.yaml", "--seeds", "3", "--top", "1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"Use the usual initialisation: validation accuracy .* over 3 seeds", done.stdout)  # fmt: skip
    assert done.stdout.rstrip().endswith("Report: runs/sick/report.html")
    assert (tmp_path / "runs" / "sick" / "healed.yaml").is_file()
    assert "runs done" in done.stderr
    again = command("heal", "runs/sick", "--seeds", "3", "--top", "1", "-q", folder=tmp_path)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.replace("healed-2", "healed") == done.stdout
    plan = command("plan", "runs/sick/healed.yaml", folder=tmp_path)
    assert plan.returncode == 0, plan.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.yaml",), r"nowhere\.yaml.*must be a study file"),
        (("empty",), r"must hold records\.sqlite; it is missing; empty"),
        (("sick.yaml", "--top", "0"), r"must be a whole number >= 1, got 0"),
        (("sick.yaml", "--seeds", "none"), r"'--seeds'.* valid int"),
        (("wrong.yaml",), r"must be try or off, got 'maybe'"),
    ],
)
def test_a_bad_request_to_heal_is_told_in_words(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    (tmp_path / "sick.yaml").write_text(SICK_FILE)
    (tmp_path / "wrong.yaml").write_text(f"{SICK_FILE}remedies: maybe\n")
    (tmp_path / "empty").mkdir()
    done = command("heal", *arguments, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert re.search(message, " ".join(done.stderr.split()))
