"""What came out of a race as lines for a terminal. Must not import JAX."""

from __future__ import annotations

from lanework.report import units
from lanework.surfaces.figure import conditions, said_end
from lanework.surfaces.races import Race, Trajectory

__all__ = ["summary"]


def summary(race: Race) -> str:
    """A heading, one line for each rule, and the warnings.

    Args:
        race: What came out.
    """
    heads = ("rule", "rate", f"steps to {race.tolerance:g}", "final value", "end")
    rows = [heads, *(_row(one) for one in race.trajectories)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = [f"{race.asked.surface.name}: {conditions(race)}", ""]
    lines += [_line(row, widths) for row in rows]
    warnings = race.warnings()
    return "\n".join([*lines, *([""] if warnings else []), *warnings])


def _row(one: Trajectory) -> tuple[str, ...]:
    reached = "never" if one.reached_at is None else units.count(one.reached_at)
    final = units.MISSING if one.final_value is None else units.short(one.final_value)
    return one.label, units.short(one.rate), reached, final, said_end(one)


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    """The name to the left, numbers to the right, the end as it comes."""
    name, *numbers, end = row
    cells = [f"{number:>{width}s}" for number, width in zip(numbers, widths[1:-1], strict=True)]
    return "  ".join([f"{name:{widths[0]}s}", *cells, end]).rstrip()
