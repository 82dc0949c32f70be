"""Sequences drawn with a fixed seed, on which what networks remember can be measured.

Owns the long-range tasks. numpy only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanework.data.sequences import object_array
from lanework.data.types import Column, Loaded, Sequences, Steps

__all__ = ["GENERATED_SEQUENCES", "adding", "copy"]

_SEED = 20
_MOST_LISTED = 2**22


def copy(options: Mapping[str, Any]) -> Loaded:
    """Symbols to be told again after a long wait.

    ``span`` symbols, ``length - 1`` blanks, a mark, ``span`` blanks; after the mark the symbols are
    the targets, in their order. All other steps have no target.

    Args:
        options: ``length``, ``span``, ``symbols`` and ``samples``.

    Returns:
        Codes [length + 2 span] with a target for each of the last ``span`` steps. Guessing reaches
        1 / symbols.

    Source:
        Hochreiter and Schmidhuber 1997, section 5.2; the form of Arjovsky, Shah and Bengio 2016,
        https://arxiv.org/abs/1511.06464, section 5.1. There the blanks are targets as well; here
        only what must be remembered counts.
    """
    length, span, symbols = (int(options[name]) for name in ("length", "span", "symbols"))
    samples = int(options["samples"])
    generator = np.random.Generator(np.random.PCG64(_SEED))
    shown = _distinct(generator, (samples, span), symbols)
    blank, mark = symbols, symbols + 1
    x = np.full((samples, length + 2 * span), blank, np.int64)
    x[:, :span] = shown
    x[:, span + length - 1] = mark
    y = np.full(x.shape, -1, np.int32)
    y[:, -span:] = shown
    return Loaded(
        features=Sequences("symbols", "codes", object_array(list(x))),
        target=Steps("symbol", y, tuple(str(symbol) for symbol in range(symbols))),
        label=f"copy (generated, length {length})",
        task="classification",
        decisions=(
            f"{samples} sequences drawn with a fixed seed: {span} of {symbols} symbols, told again "
            f"{length} steps later; {blank} is blank, {mark} says go.",
        ),
    )


def _distinct(
    generator: np.random.Generator, shape: tuple[int, int], symbols: int
) -> NDArray[np.int64]:
    """Random symbols; all rows different where there are enough of them and few enough to list."""
    samples, span = shape
    num_rows = symbols**span
    if not samples <= num_rows <= _MOST_LISTED:
        return generator.integers(0, symbols, shape)
    rows = generator.choice(num_rows, samples, replace=False)
    return rows[:, None] // symbols ** np.arange(span) % symbols


def adding(options: Mapping[str, Any]) -> Loaded:
    """Two marked numbers of a long sequence are to be added.

    Args:
        options: ``length`` and ``samples``.

    Returns:
        Numbers [length, 2]: uniform in [0, 1], and a mark at one step of each half; the target is the sum of the two
        marked numbers. Always saying 1 has a mean squared error of 1/6.

    Source:
        Hochreiter and Schmidhuber 1997, section 5.4; the form of Arjovsky, Shah and Bengio 2016.
    """
    length, samples = int(options["length"]), int(options["samples"])
    generator = np.random.Generator(np.random.PCG64(_SEED))
    numbers = generator.uniform(0.0, 1.0, (samples, length))
    half = length // 2
    first = generator.integers(0, half, samples)
    second = generator.integers(half, length, samples)
    marks = np.zeros((samples, length))
    row = np.arange(samples)
    marks[row, first] = marks[row, second] = 1.0
    total = numbers[row, first] + numbers[row, second]
    return Loaded(
        features=Sequences(
            "number and mark", "numbers", object_array(list(np.stack([numbers, marks], axis=-1)))
        ),
        target=Column("sum", "numeric", total, cell_kind="float"),
        label=f"adding (generated, length {length})",
        task="regression",
        decisions=(f"{samples} sequences of {length} steps drawn with a fixed seed.",),
    )


GENERATED_SEQUENCES: Mapping[str, Callable[[Mapping[str, Any]], Loaded]] = MappingProxyType(
    {"copy": copy, "adding": adding}
)
"""By name; each takes the options of its catalogue row."""
