"""What came out of a race of rules over a surface, as plain records. Must not import JAX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lanework.surfaces.requests import Request

__all__ = ["Floats", "Race", "Trajectory"]

Floats: TypeAlias = NDArray[np.floating]


@dataclass(frozen=True)
class Trajectory:
    """The way of one rule.

    Attributes:
        label: The rule, with the options that were given.
        rate: Its learning rate.
        is_searched: Whether the rate was found among several.
        points: Where it was, [step, 2], from the start to the last point before it diverged.
        values: The height there, [step].
        diverged_at: The first step at which it was too far away or not finite, if it was.
        reached_at: The first step from which on it stays within the tolerance of the lowest value, if it does.
        num_diverged: How many of the rates tried diverged.
        edge: `lowest` or `highest` when the best rate is at that end of the rates tried.
    """

    label: str
    rate: float
    is_searched: bool
    points: Floats
    values: Floats
    diverged_at: int | None
    reached_at: int | None
    num_diverged: int
    edge: str

    @property
    def final_value(self) -> float | None:
        """The height at the end; None when it diverged."""
        return None if self.diverged_at is not None else float(self.values[-1])


@dataclass(frozen=True)
class Race:
    """All rules on one surface from one start.

    Attributes:
        asked: What decided it.
        trajectories: One for each rule.
        tolerance: What counts as reaching the lowest value, in units of the surface's height.
    """

    asked: Request
    trajectories: tuple[Trajectory, ...]
    tolerance: ClassVar[float] = 1e-3

    @property
    def is_searched(self) -> bool:
        """Whether any rate was searched."""
        return any(one.is_searched for one in self.trajectories)

    def warnings(self) -> list[str]:
        """Sentences about rates that a wider search might better."""
        low, high = self.asked.rates[0], self.asked.rates[-1]
        found = []
        for one in self.trajectories:
            if one.is_searched and one.diverged_at is not None:
                text = f"{one.label} diverged at every rate from {low:g} to {high:g}; shown is {one.rate:g}. "
                found.append(f"{text}Try lower ones: --rates {low / 1000:g},{low:g}.")
            elif one.edge:
                wider = (low / 100, high) if one.edge == "lowest" else (low, high * 100)
                text = f"{one.label}: its best rate, {one.rate:.3g}, is the {one.edge} of those tried, so a better one "
                found.append(f"{text}may lie beyond. Try --rates {wider[0]:g},{wider[1]:g}.")
        return found
