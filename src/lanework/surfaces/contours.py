"""Level sets of a grid of heights as closed outlines (marching squares). Imports NumPy only."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["below", "simplify"]

Outline = NDArray[np.float64]

# Sides of a cell. A line keeps the lower ground on its left: (side where it enters, side where it leaves).
_BOTTOM, _RIGHT, _TOP, _LEFT = range(4)
_LINES: Final[dict[int, tuple[tuple[int, int], ...]]] = {
    1: ((_BOTTOM, _LEFT),),
    2: ((_RIGHT, _BOTTOM),),
    3: ((_RIGHT, _LEFT),),
    4: ((_TOP, _RIGHT),),
    6: ((_TOP, _BOTTOM),),
    7: ((_TOP, _LEFT),),
    8: ((_LEFT, _TOP),),
    9: ((_BOTTOM, _TOP),),
    11: ((_RIGHT, _TOP),),
    12: ((_LEFT, _RIGHT),),
    13: ((_BOTTOM, _RIGHT),),
    14: ((_LEFT, _BOTTOM),),
}
_APART: Final = {5: ((_BOTTOM, _LEFT), (_TOP, _RIGHT)), 10: ((_RIGHT, _BOTTOM), (_LEFT, _TOP))}
_JOINED: Final = {5: ((_BOTTOM, _RIGHT), (_TOP, _LEFT)), 10: ((_LEFT, _BOTTOM), (_RIGHT, _TOP))}


def below(heights: NDArray[np.float64], level: float) -> list[Outline]:
    """Outlines of the region where the height is below a level.

    The ground outside of the grid counts as high, so every outline is closed; where the region touches the border, its
    outline runs along it.

    Args:
        heights: Height at each grid point, [row, column].
        level: The level.

    Returns:
        Closed outlines [point, (column, row)] in grid units, the region on their left. Drawn together they fill it.

    Source:
        Lorensen and Cline 1987, Marching cubes, in two dimensions; a saddle cell is decided by its mean.
    """
    padded = np.pad(heights, 1, constant_values=level + 1.0)
    steps = _steps(padded, level)
    outlines = []
    while steps:
        first, at = steps.popitem()
        sides = [first]
        while at != first:
            sides.append(at)
            at = steps.pop(at)
        outlines.append(_places(np.array(sides), padded, level))
    return outlines


def simplify(outline: Outline, tolerance: float) -> Outline:
    """Leave out points that lie within the tolerance of the line that then joins their neighbours.

    Args:
        outline: Points [point, 2]; closed or not makes no difference.
        tolerance: Greatest distance, in the units of the points.

    Source:
        Douglas and Peucker 1973, Algorithms for the reduction of the number of points required to represent a line.
    """
    keep = np.zeros(len(outline), bool)
    keep[[0, -1]] = True
    spans = [(0, len(outline) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        away = _distances(outline[first + 1 : last], outline[first], outline[last])
        far = int(away.argmax())
        if away[far] > tolerance:
            middle = first + 1 + far
            keep[middle] = True
            spans += [(first, middle), (middle, last)]
    return outline[keep]


def _distances(points: Outline, start: Outline, end: Outline) -> NDArray[np.float64]:
    along = end - start
    length = float(np.hypot(*along))
    away = points - start
    if length == 0.0:
        return np.hypot(away[:, 0], away[:, 1])
    return np.abs(along[0] * away[:, 1] - along[1] * away[:, 0]) / length


def _steps(padded: NDArray[np.float64], level: float) -> dict[int, int]:
    """From each crossed side of a cell to the next one; a side is named by `_side`."""
    low = padded < level
    corners = (low[:-1, :-1], low[:-1, 1:], low[1:, 1:], low[1:, :-1])
    case = np.zeros(corners[0].shape, np.int64)
    for bit, corner in enumerate(corners):
        case |= corner.astype(np.int64) << bit
    columns = padded.shape[1]
    steps: dict[int, int] = {}
    for row, column in np.argwhere((case > 0) & (case < 15)).tolist():
        index = int(case[row, column])
        lines = _LINES.get(index) or _crossing(padded, level, index, row, column)
        for enter, leave in lines:
            steps[_side(enter, row, column, columns)] = _side(leave, row, column, columns)
    return steps


def _crossing(
    padded: NDArray[np.float64], level: float, index: int, row: int, column: int
) -> tuple[tuple[int, int], ...]:
    mean = padded[row : row + 2, column : column + 2].mean()
    return _JOINED[index] if mean < level else _APART[index]


def _side(side: int, row: int, column: int, columns: int) -> int:
    """Number of a side: twice the number of the grid point it starts at, plus 1 when it goes up."""
    row += side == _TOP
    column += side == _RIGHT
    return 2 * (row * columns + column) + (side in (_LEFT, _RIGHT))


def _places(sides: NDArray[np.int64], padded: NDArray[np.float64], level: float) -> Outline:
    """Where the level crosses those sides, in units of the grid without its padding."""
    point, is_up = sides // 2, sides % 2
    row, column = point // padded.shape[1], point % padded.shape[1]
    first = padded[row, column]
    last = padded[row + is_up, column + 1 - is_up]
    share = (level - first) / (last - first)
    x, y = column + share * (1 - is_up) - 1, row + share * is_up - 1
    most = np.array(padded.shape[::-1]) - 3
    return np.clip(np.stack([x, y], axis=1), 0, most)
