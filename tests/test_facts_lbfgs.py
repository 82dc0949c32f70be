"""The study of L-BFGS on all samples and on mini-batches: its parts, its verdict, and (slow) its result."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import ROOT


@pytest.fixture(scope="module")
def fact() -> ModuleType:
    path = ROOT / "studies" / "facts" / "lbfgs.py"
    spec = importlib.util.spec_from_file_location("facts_lbfgs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def figures(fact: ModuleType, **changes: Any) -> Any:
    facts = fact.Facts(
        descent=5000,
        descent_rate=1.0,
        lbfgs=100,
        batch_descent_gap=1e-3,
        batch_descent_rate=0.1,
        batch_lbfgs_gap=1e-2,
        batch_lbfgs_factor=0.1,
        budget=850,
    )
    return facts._replace(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "holds: 50 times fewer gradient evaluations .* the lead is lost"),
        ({"lbfgs": 501}, "DOES NOT HOLD: 10 times fewer"),
        ({"descent": None}, r"DOES NOT HOLD: a gap of 1e-08 was not reached\."),
        ({"lbfgs": None}, "DOES NOT HOLD: a gap of 1e-08 was not reached"),
        ({"batch_lbfgs_gap": 9e-4}, r"DOES NOT HOLD: .* the lead is kept \(expected: lost\)"),
    ],
)
def test_verdict_and_exit_status_follow_from_the_figures(
    fact: ModuleType,
    changes: dict[str, Any],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(fact, "measure", lambda: figures(fact, **changes))
    assert fact.main() == int("DOES NOT" in words)
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.match(words, last), last


def test_optimum_is_below_every_neighbour_and_batches_are_reshuffled(fact: ModuleType) -> None:
    with jax.enable_x64(True):
        x, y = (jnp.asarray(part) for part in fact.load())
        best = fact.optimum(x, y)
        assert 0 < best < float(fact.loss(jnp.zeros(31), x, y))
        w = jnp.asarray(np.random.default_rng(0).normal(size=31))
        assert float(fact.loss(w, x, y)) > best
    index = fact.batches(70, 5, seed=1)
    assert index.shape == (5, 32)
    assert len(np.unique(index[:2])) == 64
    assert not np.array_equal(np.sort(index[0]), np.sort(index[2]))


@pytest.mark.slow
def test_the_fact_comes_out_as_stated(fact: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert fact.main() == 0
    assert "\nholds: " in capsys.readouterr().out
