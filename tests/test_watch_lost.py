"""A run that is lost is told where: which layer's gradient, weights or values first were not finite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lanework
from lanework.api import diagnose as diagnosing
from lanework.health import lost
from lanework.store import Event, Store

LAYERS = ("one", "two", "output")
SOURCE = """
import jax
import jax.numpy as jnp
from flax import nnx

class Roots(nnx.Module):
    \"\"\"The slope of a root at 0 is not finite, so that its gradient spoils what lies before it.\"\"\"

    def __init__(self, is_sick: bool = True, *, rngs: nnx.Rngs):
        self.one = nnx.Linear(30, 16, rngs=rngs)
        self.two = nnx.Linear(16, 16, rngs=rngs)
        self.output = nnx.Linear(16, 2, rngs=rngs)
        self.is_sick = is_sick

    def __call__(self, x):
        x = jnp.maximum(self.two(jax.nn.relu(self.one(x))), 0.0)
        return self.output(jnp.sqrt(x) if self.is_sick else jnp.sqrt(x + 0.1))
"""


def row(**bad: int) -> dict[str, np.ndarray]:
    """What a lane tells, its statistics not finite from the input up to and with (or from, for what goes forward) a layer."""
    found = {
        name: np.ones(3) for name in ("grad_norm", "param_norm", "update_ratio", "activation_mean")
    }
    for name, place in bad.items():
        cut = slice(None, place + 1) if name == "grad_norm" else slice(place, None)
        found[name][cut] = np.nan
    return found


@pytest.mark.parametrize(
    ("bad", "num_steps", "expected"),
    [
        ({"grad_norm": 1, "update_ratio": 0}, 5, ("gradient", "two", 4)),
        ({"update_ratio": 1, "activation_mean": 1}, 5, ("weights", "two", 5)),
        ({"activation_mean": 1}, 5, ("activation", "two", 5)),
        ({}, 5, ("loss", "", 5)),
        ({"grad_norm": 2, "update_ratio": 0}, 0, ("loss", "", 0)),
        ({"grad_norm": 0}, 0, ("gradient", "one", 0)),
        ({"grad_norm": 2, "param_norm": 1}, 0, ("weights", "two", 0)),
    ],
)
def test_the_first_that_was_not_finite(bad: Any, num_steps: int, expected: Any) -> None:
    assert lost.origin(row(**bad), lambda name: LAYERS, num_steps=num_steps) == expected


def test_a_segment_is_gone_through_again_for_the_commonest_steps_only() -> None:
    asked = []

    def replay(length: int) -> dict[str, np.ndarray]:
        asked.append(length)
        return {name: np.tile(column, (6, 1)) for name, column in row(activation_mean=1).items()}

    first_bad = {0: 7, 1: 4, 2: 7, 3: 9, 5: 0}
    found = lost.replayed(replay, first_bad, lambda name: LAYERS)
    assert asked == [7, 1]
    assert {lane: (one.what, one.step) for lane, one in found.items()} == {
        0: ("activation", 7), 2: ("activation", 7), 5: ("loss", 0),
    }  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lost")
    (folder / "net.py").write_text(SOURCE)
    net = f"{folder / 'net.py'}:Roots"
    return (
        lanework.Study(
            study="lost",
            data={"source": "breast_cancer"},
            train={"epochs": 2, "batch_size": 32, "optimizer": "sgd", "learning_rate": 0.01},
            compare={
                "recipes": [
                    {"name": "roots", "model": {"net": net}},
                    {"name": "well", "model": {"net": net, "is_sick": False}},
                ]
            },
        )
        .run(folder=folder / "out")
        .folder
    )


def lost_events(folder: Path) -> list[Event]:
    with Store(folder, create=False) as store:
        return [event for event in store.events() if event.kind in ("healed", "diverged")]


def test_the_event_names_the_layer_and_a_healthy_neighbour_has_none(study: Path) -> None:
    events = lost_events(study)
    assert {event.run for event in events} == {0}
    assert [event.kind for event in events] == ["healed", "healed", "diverged"]
    first = events[0]
    assert first.data["first_not_finite"] == "gradient"
    assert first.data["layer"] == "two"
    step = first.data["at_step"]
    assert step == first.data["first_bad_step"] - 1
    assert first.text.endswith(
        f"The first that was not finite: the gradient of two, at step {step}."
    )
    # What comes after says nothing new.
    assert "layer" not in events[1].data


def test_the_terminal_and_the_report_name_the_layer(study: Path) -> None:
    text = diagnosing.diagnose(study).text()
    (line,) = [one for one in text.splitlines() if "The first that was not finite" in one]
    assert "the gradient of two, at step" in line
    assert text.index(line) < text.index("\n\nlost: ")
    page = (study / "report.html").read_text()
    assert "The first that was not finite: the gradient of two" in page[page.index('id="health"') :]
