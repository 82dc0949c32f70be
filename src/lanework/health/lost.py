"""Where a run stopped being finite: which layer, and whether its gradient, its weights or what it gives.

Owns the reading of what was told around the step in question. A healthy run pays nothing for it: when a run of a study is lost,
its segment is gone through once more from the last good state, by the same compiled program, up to the last step whose loss was
finite (`lanework.cohort.loop`). What is trained does not change by that; the lanes that come out are thrown away. NumPy only, no JAX.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np

__all__ = ["MOST_REPLAYS", "Origin", "chosen", "origin", "replayed"]

Table: TypeAlias = Mapping[str, np.ndarray]

MOST_REPLAYS: Final = 2
"""Of a segment: the runs of a cohort are mostly lost at once or at very different steps."""
_SEEN: Final = "activation_mean"


class Origin(NamedTuple):
    """What first was not finite.

    Attributes:
        what: `gradient`, `weights`, `activation` or, where none of these can be blamed, `loss`.
        layer: The layer; empty for `loss`.
        step: Steps taken before it was seen, counted from the start of the segment.
    """

    what: str
    layer: str
    step: int


def chosen(first_bad: Mapping[int, int]) -> tuple[int, ...]:
    """Up to which steps a segment is gone through again, by the first bad step of each lost lane; the commonest first.

    Example:
        >>> chosen({0: 7, 1: 4, 2: 7, 3: 9})
        (7, 4)
    """
    counts = Counter(max(1, step) for step in first_bad.values())
    ranked = sorted(counts, key=lambda step: (-counts[step], step))
    return tuple(ranked[:MOST_REPLAYS])


def replayed(
    replay: Callable[[int], Table],
    first_bad: Mapping[int, int],
    layers_of: Callable[[str], Sequence[str]],
) -> dict[int, Origin]:
    """What first was not finite in lanes that were lost.

    Args:
        replay: Goes through the first steps of the segment again, at least one, and gives `{statistic: [lane, layer]}` after them.
        first_bad: Lanes that were lost, and how many of their steps had a finite loss.
        layers_of: Names of the layers a statistic tells of.

    Returns:
        By lane; a lane that was lost at a step of its own may be left out.
    """
    found = {}
    for length in chosen(first_bad):
        told = replay(length)
        for lane, step in first_bad.items():
            if max(1, step) == length:
                row = {name: np.asarray(column)[lane] for name, column in told.items()}
                found[lane] = origin(row, layers_of, num_steps=step)
    return found


def origin(row: Table, layers_of: Callable[[str], Sequence[str]], *, num_steps: int) -> Origin:
    """What first was not finite, by what one lane tells after the last step whose loss was finite.

    Args:
        row: `{statistic: [layer]}`.
        layers_of: Names of the layers a statistic tells of.
        num_steps: Steps of finite loss; with 0 the row is that of the bad step itself.
    """

    def bad(name: str) -> list[str]:
        if name not in row:
            return []
        is_bad = ~np.isfinite(np.atleast_1d(row[name]))
        return [one for one, flag in zip(layers_of(name), is_bad, strict=True) if flag]

    gradients = bad("grad_norm")
    # The backward pass goes from the output to the input and spoils all that it reaches. Once the loss is lost, every gradient is.
    if gradients and (num_steps > 0 or len(gradients) < len(layers_of("grad_norm"))):
        return Origin("gradient", gradients[-1], max(0, num_steps - 1))
    if num_steps == 0:
        held = bad("param_norm")
        return Origin("weights", held[0], 0) if held else Origin("loss", "", 0)
    # Norms are sums of squares, which overflow before the numbers do: weights are lost where what they give is, too.
    given = bad(_SEEN)
    looked_at = layers_of(_SEEN) if _SEEN in row else ()
    weights = [one for one in bad("update_ratio") if one in given or one not in looked_at]
    if weights:
        return Origin("weights", weights[0], num_steps)
    return Origin("activation", given[0], num_steps) if given else Origin("loss", "", num_steps)
