"""Training parts larger than memory: the rows of the next call are gathered while the current one trains.

Owns the cutting of segments into calls, the buffer of rows that comes with a call, and the thread that fills it. A buffer
holds each row once, whichever lanes ask for it, and says which sample each row is; the program sees positions in the buffer
and the same samples, in the same order, as if the whole part were on the devices.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lanework.cohort.program import Shapes

PyTree: TypeAlias = Any
Index: TypeAlias = NDArray[Any]
# Tables of rows by who asks for them, int32 [step, batch] each.
Asked: TypeAlias = Mapping[Hashable, Index]

BUFFER_BYTES = 64 * 2**20
"""Size of a buffer: large against what a call costs, small against memory (two are alive)."""
ALIGNMENT = 64
"""Address of a buffer in bytes: the devices of a CPU use an array in place only from such an address on."""
MEMORY_SHARE = 0.5
"""Share of the memory for lanes that a training part may take before it is streamed."""
# Programs for a single step are simplified by the compiler, which changes the last bits of sums.
FEWEST_STEPS = 2
# Below that share of all samples, sorting what is asked for is cheaper than ticking off all samples.
SPARSE = 1 / 64


class Rows(Protocol):
    """A part's array that is read by row (`lanework.data.memory_map.MappedRows` is one)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples, then the shape of one."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of an entry."""

    def read_into(self, rows: NDArray[Any], out: NDArray[Any]) -> None:
        """Write rows, by ascending number, to an array [row, ...]."""


def row_bytes(part: Mapping[str, Any]) -> int:
    """Bytes of one sample of a part."""
    return sum(
        int(np.prod(array.shape[1:], dtype=np.int64)) * np.dtype(array.dtype).itemsize
        for array in part.values()
    )


def is_needed(
    part: Mapping[str, Any], *, is_asked: bool | None, num_devices: int, memory_bytes: float
) -> bool:
    """Whether a training part is streamed: as the study says, else where all devices together cannot well hold it.

    Args:
        part: Its arrays.
        is_asked: What the study says.
        num_devices: Devices, each of which would hold the whole part.
        memory_bytes: What lanes may use, all devices together.
    """
    if is_asked is not None:
        return is_asked
    whole = row_bytes(part) * len(next(iter(part.values()))) * num_devices
    return whole > MEMORY_SHARE * memory_bytes


def streamed_shapes(
    shapes: Shapes, part: Mapping[str, Any], *, num_orders: int, buffer_bytes: int
) -> Shapes:
    """The sizes of a bucket whose training part is streamed.

    Args:
        shapes: Its sizes with the part in memory.
        part: The training part.
        num_orders: How many different orders of samples its runs have: runs of a seed share theirs.
        buffer_bytes: Size of a buffer; at least two steps fit whatever it is.

    Returns:
        Calls of as many steps as a buffer feeds, and the rows of a buffer.
    """
    per_step = shapes.batch_size * num_orders
    steps = int(buffer_bytes // max(1, per_step * row_bytes(part)))
    steps = min(max(FEWEST_STEPS, steps), shapes.max_steps)
    rows = min(per_step * steps, len(next(iter(part.values()))))
    return replace(shapes, max_steps=steps, buffer_rows=rows)


def cuts(num_steps: int, longest: int) -> tuple[tuple[int, int], ...]:
    """A segment cut into calls: `(first step, steps)` of each, equal but for the last.

    Example:
        >>> cuts(10, 4)
        ((0, 4), (4, 4), (8, 2))
    """
    return tuple((first, min(longest, num_steps - first)) for first in range(0, num_steps, longest))


@dataclass(frozen=True)
class Fed:
    """What a call is fed.

    Attributes:
        train: The buffer on the devices, `{name: [row, ...]}` with `number`, the sample that each row is.
        rows: Positions in the buffer by who asked, int32 [step, batch]; `~p` as in `Asked`.
    """

    train: PyTree
    rows: Mapping[Hashable, Index]


class Feeder:
    """Fills buffers in a thread of its own. A class because the thread and the buffer under way have a lifetime.

    What is asked for has a key: equal keys must mean equal rows.
    """

    def __init__(
        self,
        part: Mapping[str, Rows | NDArray[Any]],
        *,
        num_rows: int,
        put: Callable[[dict[str, NDArray[Any]]], PyTree],
    ) -> None:
        """Start the thread.

        Args:
            part: The training part.
            num_rows: Rows of a buffer.
            put: Brings a buffer to the devices.
        """
        self._part, self._put = part, put
        self._num_samples = int(next(iter(part.values())).shape[0])
        # Two, in turn. New ones would cost more than the reading does (a page fault for every 4 kB, and again for the copy that
        # each device makes of an array that is not aligned). A buffer is written again when the call after the one that it fed
        # is under way: a call has ended before the next one takes its rows.
        self._buffers = tuple(_buffer(part, num_rows) for _ in range(2))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lanework-feed")
        self._under_way: tuple[frozenset[Hashable], Future[Fed]] | None = None

    def ahead(self, keys: frozenset[Hashable], asked: Callable[[], Asked]) -> None:
        """Begin to fill the buffer of a later call.

        Args:
            keys: The keys of what is asked for.
            asked: Gives it; called in the thread.
        """
        self._under_way = (keys, self._thread.submit(lambda: self._fill(asked())))

    def take(self, asked: Asked) -> Fed:
        """The buffer of a call: the one that was begun if it has all that is asked for, else one that is filled now."""
        begun, self._under_way = self._under_way, None
        if begun is not None and begun[0].issuperset(asked):
            return begun[1].result()
        return self._thread.submit(lambda: self._fill(asked)).result()

    def close(self) -> None:
        """End the thread; what it is filling is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _fill(self, asked: Asked) -> Fed:
        numbers, tables = unique_rows(list(asked.values()), self._num_samples)
        buffer, *others = self._buffers
        self._buffers = (*others, buffer)
        for name, array in self._part.items():
            _read(array, numbers, buffer[name][: len(numbers)])
        buffer["number"][: len(numbers)] = numbers
        buffer["number"][len(numbers) :] = 0
        return Fed(self._put(buffer), dict(zip(asked, tables, strict=True)))


def _buffer(part: Mapping[str, Rows | NDArray[Any]], num_rows: int) -> dict[str, NDArray[Any]]:
    """Room for rows of a part, and for the numbers of their samples."""
    room = {
        name: _aligned((num_rows, *array.shape[1:]), array.dtype) for name, array in part.items()
    }
    return {**room, "number": _aligned((num_rows,), np.dtype(np.int32))}


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Zeros from an address that is a multiple of `ALIGNMENT`."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = np.zeros(size + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + size].view(dtype).reshape(shape)


def _read(array: Rows | NDArray[Any], rows: NDArray[Any], out: NDArray[Any]) -> None:
    if isinstance(array, np.ndarray):
        np.take(array, rows, axis=0, out=out, mode="clip")  # another mode would fill a copy first
    else:
        array.read_into(rows, out)


def unique_rows(tables: Sequence[Index], num_samples: int) -> tuple[NDArray[np.int32], list[Index]]:
    """The samples that tables ask for, each once and in ascending order, and the tables in positions among them.

    Args:
        tables: Sample numbers [...]; `~i` is sample i as filling, and stays a filling.
        num_samples: How many samples there are.

    Returns:
        Sample numbers, and the tables.

    Example:
        >>> unique_rows([np.array([7, 3, ~7], np.int32)], 10)
        (array([3, 7], dtype=int32), [array([ 1,  0, -2], dtype=int32)])
    """
    places = [np.where(table < 0, ~table, table) for table in tables]
    size = sum(table.size for table in tables)
    if size < SPARSE * num_samples:
        numbers = np.unique(np.concatenate([place.ravel() for place in places]))
        found: list[Index] = [np.searchsorted(numbers, place) for place in places]
    else:
        is_asked = np.zeros(num_samples, bool)
        for place in places:
            is_asked[place] = True
        numbers = np.flatnonzero(is_asked)
        position = np.empty(num_samples, np.int32)
        position[numbers] = np.arange(len(numbers), dtype=np.int32)
        found = [position[place] for place in places]
    signed = [
        np.where(table < 0, ~place, place).astype(np.int32)
        for table, place in zip(tables, found, strict=True)
    ]
    return numbers.astype(np.int32), signed
