"""The health section: which evidence a card shows, which maps a run has, which runs are shown, where a run was lost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanework.report.facts import Facts, read_facts
from lanework.report.figures import Panel, standalone
from lanework.report.health import health_figures, health_section
from lanework.report.health_evidence import BEST, BY_LAYER, SHORT, WHOLE, evidence
from lanework.report.health_facts import Found, Layers, RunHealth, Series, first_lost, run_health
from lanework.report.health_maps import map_figure
from lanework.store import Event, FindingRow, Store
from lanework.store import Layers as Records
from tests.synthetic import write_study

EPOCHS = np.arange(1.0, 6.0)
NAMES = ("dense_0", "dense_1", "output")


def series(*values: float) -> Series:
    return EPOCHS[: len(values)], np.array(values)


def table(*rows: float) -> Layers:
    """A statistic whose layers grow from these values."""
    return Layers(NAMES, EPOCHS, np.outer(rows, 1.0 + 0.1 * np.arange(5)))


def run(
    layers: Mapping[str, Layers] | None = None, whole: Mapping[str, Series] | None = None
) -> RunHealth:
    losses = {"train_loss": series(5, 4, 3, 2, 1), "val_loss": series(5, 3, 2, 4, 5)}
    usual = {name: table(0.1, 0.2, 0.3) for name in ("grad_norm", "update_ratio", "dead_share")}
    return RunHealth(0, usual if layers is None else layers, losses, 10.0, whole or {})


def found(code: str, layer: str = "", step: int = 20) -> Found:
    row = FindingRow(0, code, "fail", 0.9, "It is so.", {}, step, layer, ())
    return Found(row, code.replace("_", " "), "What it is.", ("Do this",), 1)


def lines_of(spec: Any) -> dict[str, list[float]]:
    drawn: dict[str, list[float]] = {}
    for row in spec["layer"][0]["data"]["values"]:
        drawn.setdefault(row["a"], []).append(row["m"])
    return drawn


def axis(spec: Any) -> dict[str, Any]:
    return spec["layer"][0]["encoding"]["y"]


# ---- evidence --------------------------------------------------------------------------------


def test_the_losses_are_the_evidence_where_a_setting_tells() -> None:
    spec = evidence(run(), found("wrong_loss"))
    assert lines_of(spec) == {"train loss": [5, 4, 3, 2, 1], "val loss": [5, 3, 2, 4, 5]}
    assert axis(spec)["scale"] == {"type": "log"}
    assert axis(spec)["axis"]["labelExpr"] == SHORT
    (rule,) = [layer for layer in spec["layer"][1:] if layer["mark"]["type"] == "rule"]
    assert rule["data"]["values"] == [{"e": 2.0}]


@pytest.mark.parametrize("code", BEST)
def test_the_best_evaluation_is_ringed_where_it_matters(code: str) -> None:
    spec = evidence(run(), found(code))
    (ring,) = [layer for layer in spec["layer"] if layer["mark"]["type"] == "point"]
    assert ring["data"]["values"] == [{"e": 3.0, "m": 2.0, "a": "val loss"}]


def test_answers_are_the_evidence_of_a_collapse() -> None:
    whole = {"predicted_share": series(1, 0.5, 0.1), "commonest_answer": series(0.2, 0.6, 0.9)}
    spec = evidence(run(whole=whole), found("class_collapse"))
    assert lines_of(spec) == {
        "classes that are answered": [1, 0.5, 0.1],
        "samples with the commonest answer": [0.2, 0.6, 0.9],
    }
    assert axis(spec)["scale"] == {"domain": [0, 1]}


@pytest.mark.parametrize(
    ("code", "name", "shown"),
    [
        ("clipping_too_much", "clipped_share", "clipped steps"),
        ("oscillation", "train_loss_std", "spread from step to step"),
        ("batch_too_small", "train_loss_std", "spread from step to step"),
    ],
)
def test_numbers_of_steps_are_the_evidence_of_noise_and_clipping(
    code: str, name: str, shown: str
) -> None:
    spec = evidence(run(whole={name: series(0.5, 0.6, 0.7)}), found(code))
    assert lines_of(spec)[shown] == [0.5, 0.6, 0.7]
    without = evidence(run(), found(code))
    assert "train loss" in lines_of(without)


def test_copies_are_shown_beside_a_layer_that_is_none() -> None:
    spread = Layers(NAMES, EPOCHS, np.array([[0.0] * 5, [0.0] * 5, [0.5] * 5]))
    spec = evidence(run({"unit_spread": spread}), found("symmetric_weights", "dense_0"))
    assert lines_of(spec) == {"dense_0": [0.0] * 5, "output": [0.5] * 5}
    assert axis(spec)["scale"] == {"zero": True}


def test_the_layer_in_question_is_shown() -> None:
    spec = evidence(run(), found("dead_units", "dense_1"))
    assert list(lines_of(spec)) == ["dense_1"]
    ends = evidence(run(), found("vanishing_gradients", "dense_1"))
    assert list(lines_of(ends)) == ["dense_0", "output"]
    assert evidence(run({})._replace(losses={}), found("dead_units")) is None


# ---- the page --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("health") / "demo", "demo")


@pytest.fixture(scope="module")
def facts(folder: Path) -> Facts:
    return read_facts(folder)


DEEP = {
    "grad_snr": table(0.5, 1.0, 2.0),
    "batch_cosine": table(0.1, 0.2, 0.3),
    "record_cosine": table(-0.5, 0.2, 0.9),
}


def test_a_close_look_has_a_panel_for_each_number(facts: Facts) -> None:
    plain = map_figure(facts, run())
    assert [panel.label for panel in plain.panels] == [
        "Step over weights", "Gradient norm", "Dead units",
    ]  # fmt: skip
    deep = map_figure(facts, run(DEEP, {"sharpness": series(3, 2, 1)}))
    assert [panel.label for panel in deep.panels] == [
        "Signal over noise", "Agreement in a batch", "Agreement over time", "Sharpness",
    ]  # fmt: skip
    assert [row["m"] for row in deep.panels[3].spec["data"]["values"]] == [3, 2, 1]
    # The first record has none before it to agree with.
    cells = deep.panels[2].spec["data"]["values"]
    assert min(cell["x"] for cell in cells) == 2.0


def test_maps_that_tell_nothing_are_left_out(facts: Facts) -> None:
    still = Layers(NAMES, EPOCHS, np.ones((3, 5)))
    calm = map_figure(facts, run({"param_norm": still, "activation_std": still}))
    assert [panel.label for panel in calm.panels] == ["Spread of what a layer gives"]
    grown = Layers(NAMES, EPOCHS, np.outer([1, 1, 1], [1, 2, 3, 4, 5.0]))
    far = Layers(NAMES, EPOCHS, 10 * grown.values)
    layers = {"param_norm": grown, "activation_mean": far, "activation_std": still}
    wild = map_figure(facts, run(layers))
    assert [panel.label for panel in wild.panels] == [
        "Spread of what a layer gives", "Mean of what a layer gives", "Weight norm",
    ]  # fmt: skip


def test_all_charts_of_the_section_are_valid_vega_lite(facts: Facts) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    module = pytest.importorskip("altair.vegalite.v6.schema")
    schema = json.loads((Path(module.__file__).parent / "vega-lite-schema.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    usual = run().layers
    whole = {"sharpness": series(3, 2, 1), "clipped_share": series(0.1, 0.2, 0.3)}
    sick = run({**usual, **DEEP, "unit_spread": table(0, 0, 1)}, whole)
    specs = [panel.spec for panel in map_figure(facts, sick).panels]
    specs += [evidence(sick, found(code)) for code in (*BY_LAYER, *WHOLE, *BEST)]
    for spec in specs:
        one = standalone(Panel("", "", "", spec), title="t")
        assert [error.message[:300] for error in validator.iter_errors(one)] == []
        assert "var(--" not in json.dumps(one, allow_nan=False)


def test_the_section_says_which_runs_are_shown_and_where_one_was_lost(facts: Facts) -> None:
    first, second = facts.runs[0], facts.runs[1]
    item = found("divergence")
    item = item._replace(row=item.row._replace(run=first.run))
    data = {"first_not_finite": "weights", "layer": "dense_1", "at_step": 7}
    sick = replace(
        facts,
        sick={first.arm: (item,)},
        watched=(run()._replace(run=first.run), run()._replace(run=second.run)),
        events=(Event(first.run, 8, "diverged", "Lost.", data),),
    )
    html = health_section(sick)
    assert f"2 of {len(facts.runs)} runs are shown: the worst run of each sick recipe" in html
    assert "It is so. The first that was not finite: the weights of dense_1, at step 7." in html
    assert len(health_figures(sick)) == 3
    healthy = replace(facts, watched=sick.watched)
    assert "are shown: the best run of each recipe, best first." in health_section(healthy)
    whole = replace(sick, runs=facts.runs[:2])
    assert "are shown" not in health_section(whole)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"first_not_finite": "activation", "layer": "b"}, "what b gives."),
        ({"first_not_finite": "gradient", "layer": "b", "at_step": 3}, "the gradient of b, at step 3."),
        ({"first_not_finite": "loss", "layer": ""}, ""),
        ({"learning_rate": 0.1}, ""),
    ],
)  # fmt: skip
def test_what_was_lost_first_is_said_where_a_layer_is_known(data: Any, said: str) -> None:
    assert first_lost(data) == (f"The first that was not finite: {said}" if said else "")


def test_a_loss_that_was_lost_first_is_said() -> None:
    said = first_lost({"first_not_finite": "loss", "layer": "", "at_step": 5})
    assert said == "Gradients and weights were finite before step 5: the loss itself was first."


def test_numbers_of_the_whole_run_are_read(folder: Path) -> None:
    names = {"sharpness": ("",), "grad_norm": ("dense_0",)}
    values = np.array([[3.0, 2.0], [4.0, 5.0]], np.float32)
    with Store(folder, create=False) as store:
        store.add_health(Records(names, [0, 0], [9990, 9995], values))
        read = run_health(store, 0)
    assert read.whole["sharpness"][1].tolist() == [3.0, 4.0]
    assert read.layers["grad_norm"].values[0, -2:].tolist() == [2.0, 5.0]
