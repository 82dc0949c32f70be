"""Trials of layouts: short ones tell what a whole segment takes."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from lanework.cohort import measure


def programs(*, max_steps: int, step_s: float, evaluation_s: float) -> tuple[Any, list[int]]:
    """Programs of two lanes whose segments only take time, and the steps that they were called with."""
    asked: list[int] = []

    def segment(lanes: Any, hypers: Any, batches: Any, num_steps: int, train: Any) -> None:
        asked.append(num_steps)
        time.sleep(evaluation_s + num_steps * step_s)

    shapes = SimpleNamespace(
        max_steps=max_steps,
        batch_size=4,
        hypers=("learning_rate",),
        buffer_rows=0,
        has_weights=False,
    )
    made = SimpleNamespace(
        strategy=SimpleNamespace(width=2),
        shapes=shapes,
        num_samples=lambda part: 10,
        init=lambda *_: lambda seeds: None,
        segment=lambda width: segment,
        blank=lambda: None,
    )
    return made, asked


@pytest.mark.parametrize(("max_steps", "most"), [(1000, 2 + 1 + 150), (6, 2 + 6), (1, 2)])
def test_a_short_trial_tells_the_rate_of_a_whole_segment(max_steps: int, most: int) -> None:
    made, asked = programs(max_steps=max_steps, step_s=0.002, evaluation_s=0.01)
    rate = measure.lane_steps_per_s(made)
    assert rate == pytest.approx(2 * max_steps / (0.01 + 0.002 * max_steps), rel=0.3)
    assert sum(asked) <= most
    assert max(asked) <= max_steps
