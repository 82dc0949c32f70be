"""Facts from papers, as scripts in studies/facts: each says what it expects, and comes out so."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.helpers import ROOT

FOLDER = ROOT / "studies" / "facts"
FAST = ("adagrad_fades", "l2_is_not_decay", "momentum_crosses_ravine")
SLOW = ("l1_gives_zeros",)
OURS = (*FAST, *SLOW)


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"facts_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_a_fact_says_what_it_expects(path: Path) -> None:
    head = path.read_text(encoding="utf-8").split('"""')[1]
    for word in ("Question: ", "Expected: ", "Time: ", "Hardware: ", "Source: "):
        assert word in head
    assert "TO BE MEASURED" not in head


def check(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert script(name).main() == 0
    printed = capsys.readouterr().out
    assert "\nholds: " in printed
    assert "NOT HOLD" not in printed


@pytest.mark.parametrize("name", FAST)
def test_a_fact_comes_out_as_stated(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    check(name, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_slow_fact_comes_out_as_stated(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    check(name, capsys)


def test_a_fact_runs_as_a_command() -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / "l2_is_not_decay.py")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "holds: AdamW keeps 0.74 everywhere" in done.stdout


def other_figures(name: str, module: Any) -> dict[str, Any]:
    """What a machine would measure on which the fact is not true."""
    k = np.arange(1, module.STEPS + 1) if hasattr(module, "STEPS") else np.arange(1)
    if name == "adagrad_fades":
        return {"adagrad": k**-0.5, "rmsprop": k**-0.3}
    if name == "l2_is_not_decay":
        even = np.full(4, module.KEPT)
        return {"adam + l2": even, "adamw": even}
    if name == "momentum_crosses_ravine":
        return {"sgd": module.Best(299, 0.1), "momentum": module.Best(100, 0.1)}
    return {label: module.Outcome(0.5, 0.9) for label in module.RECIPES}


@pytest.mark.parametrize("name", OURS)
def test_a_fact_that_does_not_hold_is_told_and_exits_1(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = script(name)
    monkeypatch.setattr(module, "measure", lambda: other_figures(name, module))
    assert module.main() == 1
    assert "DOES NOT HOLD" in capsys.readouterr().out


def test_a_rule_that_never_arrives_shows_nothing() -> None:
    module = script("momentum_crosses_ravine")
    never = module.MAX_STEPS + 1
    assert not module.holds({"sgd": module.Best(never, 0.1), "momentum": module.Best(9, 0.1)})
