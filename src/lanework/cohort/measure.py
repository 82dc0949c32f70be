"""Measuring layouts: short trials of the real program, when a study is long enough to repay them.

Owns the trials. Lanes used here are thrown away, so measuring never changes a result.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from lanework.cohort.compiled import Programs
from lanework.cohort.plan import with_group
from lanework.cohort.program import Strategy
from lanework.cohort.step import Batches

# A bucket shorter than this does not repay compiling and timing two or three more programs.
WORTH_SECONDS = 60.0
TRIAL_SECONDS = 1.0
# Steps that are timed at least beside the first one, so that the clock's noise does not decide.
LEAST_TRIAL_STEPS = 4


def candidates(strategy: Strategy) -> tuple[Strategy, ...]:
    """Layouts to try: the first guess, and groups of half and of twice its size, and of 1."""
    per_device = strategy.width // strategy.num_devices
    wished = {strategy.group, max(1, strategy.group // 2), min(per_device, strategy.group * 2), 1}
    found = [with_group(strategy, group) for group in sorted(wished)]
    return tuple(dict.fromkeys(found))


def lane_steps_per_s(programs: Programs, *, learning_rate: float = 1e-4) -> float:
    """Steps per second of all lanes together, timed on throw-away lanes with the compiled segment.

    Args:
        programs: Programs of one layout.
        learning_rate: Rate of the trial; small, so that no lane overflows and slows the arithmetic down.
    """
    width, shapes = programs.strategy.width, programs.shapes
    lanes = programs.init(0, width)(np.arange(width, dtype=np.uint32))
    hypers = {name: np.zeros((width,), np.float32) for name in shapes.hypers}
    if "learning_rate" in hypers:
        hypers["learning_rate"][:] = learning_rate
    num_train = shapes.buffer_rows or programs.num_samples("train")
    index = np.arange(shapes.max_steps * shapes.batch_size, dtype=np.int32) % num_train
    index = np.broadcast_to(
        index.reshape(shapes.max_steps, shapes.batch_size),
        (width, shapes.max_steps, shapes.batch_size),
    )
    batches = Batches(index, np.ones(index.shape, np.float32) if shapes.has_weights else {})
    segment, train = programs.segment(width), programs.blank()

    def seconds(num_steps: int) -> float:
        begun = time.perf_counter()
        segment(lanes, hypers, batches, num_steps, train)
        return time.perf_counter() - begun

    # A whole segment of a large network takes longer than its layout is worth: a short one and one of about a second tell what
    # a step takes and what the evaluation does that ends every segment.
    seconds(1)  # touches memory for the first time
    one = seconds(1)
    more = min(shapes.max_steps - 1, max(LEAST_TRIAL_STEPS, int(TRIAL_SECONDS / one)))
    if more < 1:
        return width / one
    step = max(seconds(1 + more) - one, 0.0) / more
    return width * shapes.max_steps / (one + step * (shapes.max_steps - 1))


def best(
    build: Callable[[Strategy], Programs], strategy: Strategy, *, tell: Callable[[str], None]
) -> tuple[Strategy, str, Programs]:
    """Try layouts with the real program and take the fastest.

    Args:
        build: Makes the programs of a layout; compiling starts at once.
        strategy: The first guess.
        tell: Told what is being tried.

    Returns:
        The fastest layout, a sentence with the figures, and its programs, compiled.
    """
    tried = {layout: build(layout) for layout in candidates(strategy)}
    for programs in tried.values():
        # All of them first: a compiler at work on the other cores would slow down whoever is timed meanwhile.
        programs.wait_for_all()
    rates: dict[Strategy, float] = {}
    for layout, programs in tried.items():
        tell(f"measuring {layout.group} lane(s) at a time")
        rates[layout] = lane_steps_per_s(programs)
    winner = max(rates, key=lambda layout: rates[layout])
    figures = ", ".join(
        f"{layout.group} at a time {rate:.3g}"
        for layout, rate in sorted(rates.items(), key=lambda item: item[0].group)
    )
    why = f"Measured on this machine, steps per second of all lanes together: {figures}."
    return winner, why, tried[winner]
