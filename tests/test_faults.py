"""The fault zoo: what is drawn is what it says, and a few of it are told apart by the rules. All of it: `make faults`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanework.health.causes import CAUSES
from lanework.spec import expand, load_study
from lanework.spec.compare import apply_all
from lanework.spec.sections import plain_config
from studies.faults import gate, healing, measure, zoo
from studies.faults.page import page
from studies.faults.worlds import DATA, write_data

NOT_PLANTED = {"non_finite_data", "plateau"}  # refused or filled before training; a symptom
SICK = (
    "inputs_not_scaled-cancer",
    "not_shuffled-iris",
    "output_activation-sigmoid-wine",
    "parts_prepared_differently-wine",
    "wrong_loss-code-iris",
)
WELL = (
    "healthy-cancer",
    "healthy-cancer-linear",
    "healthy-iris",
    "healthy-wine",
    "healthy-wine-robust",
)


def test_a_draw_plants_every_cause_and_as_many_healthy_studies() -> None:
    faults, healthy = zoo.faults(0), zoo.healthy(0)
    assert {case.planted for case in faults} == set(CAUSES) - NOT_PLANTED
    assert len(faults) >= 40
    assert len(healthy) >= 40
    names = [case.name for case in faults + healthy]
    assert len(set(names)) == len(names)
    for case in faults:
        assert set(case.accepted) <= set(CAUSES)
        assert case.planted in case.accepted
        assert not case.second or case.second in case.accepted
    kinds = {(case.study["model"]["net"], case.study["data"]["source"]) for case in faults}
    assert {net for net, _ in kinds} == {"mlp", "cnn", "gru"}
    assert len({source for _, source in kinds}) >= 10


def test_each_fault_differs_from_its_twin_in_what_was_planted_only() -> None:
    twins = {case.name: case for case in zoo.healthy(0)}
    for case in zoo.faults(0):
        if case.planted == "class_collapse":  # the data is the fault
            continue
        twin, own = twins[case.twin].study, case.study
        changed = {
            f"{section}.{key}"
            for section in ("data", "model", "train")
            for key in {*twin[section], *own[section]}
            if twin[section].get(key) != own[section].get(key)
        }
        assert changed
        assert changed <= set(case.edits)


def test_a_draw_depends_on_its_seed_alone() -> None:
    first, again, other = (zoo.draw(seed) for seed in (3, 3, 4))
    assert [case.study for case in first] == [case.study for case in again]
    assert [case.name for case in first] == [case.name for case in other]
    moved = sum(a.study != b.study for a, b in zip(first, other, strict=True))
    assert moved == len(first)


@pytest.mark.parametrize("name", sorted(DATA))
def test_generated_data_depends_on_its_seed_alone(name: str, tmp_path: Path) -> None:
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_data(name, tmp_path / folder, seed=seed)
    contents = [_content(tmp_path / folder / name) for folder in "abc"]
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


def _content(path: Path) -> Any:
    if path.suffix != ".npz":
        return path.read_text()
    with np.load(path) as arrays:
        return [arrays[name].tolist() for name in ("x", "y")]


def test_files_of_one_world_hold_the_same_rows(tmp_path: Path) -> None:
    for name in ("clouds.csv", "sorted-clouds.csv", "leaky-clouds.csv"):
        write_data(name, tmp_path, seed=0)
    rows = (tmp_path / "clouds.csv").read_text().splitlines()
    ordered = (tmp_path / "sorted-clouds.csv").read_text().splitlines()
    leaky = (tmp_path / "leaky-clouds.csv").read_text().splitlines()
    assert sorted(rows) == sorted(ordered)
    assert [row.partition(",")[2] for row in leaky] == rows


def test_every_study_of_a_draw_is_a_file_that_loads(tmp_path: Path) -> None:
    for case in zoo.draw(5):
        spec = load_study(zoo.write(case, tmp_path, seed=5))
        assert spec.study == case.name


def test_counts_and_the_page_tell_misses_and_false_alarms() -> None:
    sick, well = zoo.faults(0)[0], zoo.healthy(0)[0]
    alarm = (("overfitting", "warn", 0.6),)
    readings = [
        measure.Reading(sick.name, 0, ((sick.planted, "fail", 0.9),), True, False, 0.1),
        measure.Reading(sick.name, 1, alarm, False, False, float("nan")),
        measure.Reading(well.name, 0, (), True, False, float("nan")),
        measure.Reading(well.name, 1, alarm, False, False, float("nan")),
    ]
    counts = measure.counted([sick, well], readings)
    assert counts["named_share"] == counts["early_share"] == 0.5
    assert (counts["healthy_fail_share"], counts["healthy_warn_share"]) == (0.0, 0.5)
    cases = [{"name": one.name, "planted": one.planted} for one in (sick, well)]
    told = {"seed": 0, "counts": counts, "cases": cases, "mendings": []}
    text = page([told | {"readings": measure.as_rows(readings)}])
    misses, alarms = text.split("### False alarms")
    assert f"`{sick.name}` run 1: overfitting (warn, 0.60)" in misses
    assert f"`{well.name}` run 1: overfitting (warn, 0.60)" in alarms
    assert f"`{well.name}` run 0" not in text


def test_what_the_gate_says_is_counted_for_sick_and_healthy_studies_apart() -> None:
    sick, well = zoo.faults(0)[:3], zoo.healthy(0)[:2]
    told = {
        sick[0].name: {"settings": "fail", "overfit": "warn"},
        sick[1].name: {"overfit": "warn"},
        sick[2].name: {},
        well[0].name: {"stability": "warn"},
        well[1].name: {},
    }
    counts = gate.counted([*sick, *well], told)
    assert (counts["gate_faults"], counts["gate_healthy"]) == (3, 2)
    assert counts["gate_told_share"] == pytest.approx(2 / 3)
    assert counts["gate_fail_share"] == pytest.approx(1 / 3)
    assert (counts["gate_healthy_fail_share"], counts["gate_healthy_warn_share"]) == (0.0, 0.5)
    assert gate.counted(sick, told)["gate_healthy_warn_share"] is None


def _mending(name: str, *, best: bool, random: bool) -> dict[str, Any]:
    one = healing.Mending(
        case=name,
        twin=0.9,
        sick=0.5,
        first=0.9 if best else 0.5,
        best=0.9 if best else 0.5,
        remedy="He initialisation",
        tried=3,
        random=0.89 if random else 0.5,
        change="train.l2: 0.0",
    )
    return one.row()


def test_the_page_says_where_a_bar_is_missed_and_how_certain_remedies_beat_chance() -> None:
    sick = zoo.faults(0)[:8]
    readings = [measure.Reading(one.name, 0, (), False, False, math.nan) for one in sick]
    mendings = [_mending(one.name, best=True, random=False) for one in sick[:6]]
    mendings += [_mending(one.name, best=True, random=True) for one in sick[6:]]
    cases = [{"name": one.name, "planted": one.planted} for one in sick]
    told = {
        "seed": 0,
        "counts": measure.counted(sick, readings) | {"best_mends_share": 1.0},
        "cases": cases,
        "mendings": mendings,
        "readings": measure.as_rows(readings),
    }
    text = page([told])
    assert "| 0.0 % (**missed**) |" in text
    assert "| 100.0 % |" in text
    # Six of six that only one of them mends: twice a half to the sixth.
    assert "6 by remedies only, 0 by random changes only (sign test: p = 0.031)" in text
    assert "2 are mended by remedies and by random changes" in text


def test_random_changes_alter_as_many_settings_as_they_are_asked_to(tmp_path: Path) -> None:
    spec = load_study(zoo.write(zoo.healthy(0)[0], tmp_path, seed=0))
    base = plain_config(expand(spec)[0].config)
    sizes = [size for size in (1, 2, 3) for _ in range(20)]
    random = np.random.default_rng(0)
    drawn = [healing._drawn(base, size, random) for size in sizes]
    assert [len(one) for one in drawn] == sizes
    assert len({path for one in drawn for path in one}) > 10
    admitted = [(len(one), healing._applied(base, one)) for one in drawn]
    admitted = [(size, settings) for size, settings in admitted if settings]
    assert {size for size, _ in admitted} == {1, 2, 3}
    for size, settings in admitted:
        changed = apply_all(base, list(settings.items()))
        assert healing._num_changed(base, changed) >= size


@pytest.mark.slow
def test_a_few_faults_are_named_and_as_many_healthy_studies_are_left_alone(tmp_path: Path) -> None:
    cases = {case.name: case for case in zoo.draw(0)}
    for name in (*WELL, *SICK):
        folder = measure.trained(cases[name], tmp_path, seed=0)
        for one in measure.read(cases[name], folder):
            assert one.named, f"{name} run {one.run}: {measure.worst(one.found)}"


@pytest.mark.slow
@pytest.mark.parametrize("cause", sorted(set(CAUSES) - NOT_PLANTED))
def test_a_fault_of_each_cause_is_named(cause: str, tmp_path: Path) -> None:
    case = zoo.faults(0, only=cause)[0]
    readings = measure.read(case, measure.trained(case, tmp_path, seed=0))
    assert any(one.named for one in readings), measure.worst(readings[0].found)
