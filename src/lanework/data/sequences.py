"""Sequences of different length: coded by an alphabet, cut, padded at the end; and windows of a series.

Owns the arrays' layout: tokens are int32 [n, time] padded with -1, numbers float32
[n, time, channels] padded with NaN. Pure functions on arrays; numpy only. What is learned from the
training part is learned in ``padded``, ``text`` and ``series``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanework.data.messages import bad, count, listed
from lanework.data.types import Array, Sequences

__all__ = [
    "MAX_WORDS",
    "PADDING",
    "as_characters",
    "cut_windows",
    "fill_forward",
    "is_ragged",
    "learn_alphabet",
    "length_of",
    "number_items",
    "object_array",
    "pad_codes",
    "pad_numbers",
    "to_codes",
    "tokens_of",
]

PADDING = -1
"""Token code of steps after the end of a sequence."""

MAX_WORDS = 20_000
"""Most words that have a code of their own."""

_MIN_WORDS = 2


def as_characters(text: str) -> NDArray[np.uint32]:
    """The code points of a text, [characters]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint32)


def tokens_of(item: Any, kind: str) -> list[str]:
    """The tokens of one item of kind ``text``, ``words`` or ``codes``.

    Example:
        >>> tokens_of("to be", "words"), tokens_of("be", "text")
        (['to', 'be'], ['b', 'e'])
    """
    if kind == "words":
        return str(item).split() if isinstance(item, str) else [str(word) for word in item]
    if kind == "text":
        return list(item)
    return [str(code) for code in np.asarray(item).tolist()]


def learn_alphabet(items: Array, kind: str) -> tuple[str, ...]:
    """The tokens that get a code of their own, from the training part.

    Characters and codes: each one that occurs, in order. Words: those that occur at least twice,
    the commonest ``MAX_WORDS``; rarer ones share the code of what is unknown, which is trained that
    way.

    Args:
        items: Items of the training part, see ``Sequences``.
        kind: ``text``, ``words`` or ``codes``.

    Returns:
        What each code stands for.

    Example:
        >>> learn_alphabet(np.array(["abba", "c"], object), "text")
        ('a', 'b', 'c')
    """
    if kind == "text":
        points = np.unique(as_characters("".join(items.tolist())))
        return tuple(chr(point) for point in points)
    if kind == "codes":
        found = np.unique(np.concatenate([np.asarray(item, np.int64) for item in items]))
        return tuple(str(code) for code in found.tolist())
    counts = Counter(word for item in items for word in tokens_of(item, kind))
    common = [word for word, number in counts.most_common(MAX_WORDS) if number >= _MIN_WORDS]
    return tuple(sorted(common or counts))


def to_codes(items: Array, kind: str, *, alphabet: Sequence[str]) -> tuple[Array, Array]:
    """All tokens as codes, one item after the other; unknown tokens get the code after the last.

    Args:
        items: See ``Sequences``.
        kind: ``text``, ``words`` or ``codes``.
        alphabet: What each code stands for.

    Returns:
        Codes int32 [tokens of all items] and the length of each item [n].
    """
    unknown = len(alphabet)
    if kind == "text":
        lengths = np.array([len(item) for item in items], np.intp)
        points = as_characters("".join(items.tolist()))
        return _look_up(points, np.array([ord(letter) for letter in alphabet], np.uint32)), lengths
    if kind == "codes":
        lengths = np.array([len(item) for item in items], np.intp)
        joined = [np.asarray(item, np.int64) for item in items]
        known = np.array([int(token) for token in alphabet], np.int64)
        return _look_up(np.concatenate([*joined, np.empty(0, np.int64)]), known), lengths
    code_of = {token: code for code, token in enumerate(alphabet)}
    lists = [tokens_of(item, kind) for item in items]
    codes = [code_of.get(token, unknown) for tokens in lists for token in tokens]
    return np.array(codes, np.int32), np.array([len(tokens) for tokens in lists], np.intp)


def _look_up(values: Array, known: Array) -> NDArray[np.int32]:
    """Place of each value among the known ones, which need not be sorted; their number when it is none."""
    order = np.argsort(known)
    place = np.searchsorted(known[order], values).clip(0, max(len(known) - 1, 0))
    if not len(known):
        return np.zeros(len(values), np.int32)
    found = order[place]
    return np.where(known[found] == values, found, len(known)).astype(np.int32)


def pad_codes(codes: Array, lengths: Array, *, time: int) -> NDArray[np.int32]:
    """Codes of all items as int32 [n, time]: cut after ``time``, padded at the end.

    Example:
        >>> pad_codes(np.array([7, 8, 9]), np.array([1, 2]), time=2)
        array([[ 7, -1],
               [ 8,  9]], dtype=int32)
    """
    padded = np.full((len(lengths), time), PADDING, np.int32)
    is_used, is_kept = _masks(lengths, time)
    padded[is_used] = codes[is_kept]
    return padded


def pad_numbers(items: Array, *, time: int, channels: int) -> NDArray[np.float32]:
    """Items [time, channels] as float32 [n, time, channels]: cut after ``time``, padded with NaN."""
    lengths = np.array([len(item) for item in items], np.intp)
    padded = np.full((len(items), time, channels), np.nan, np.float32)
    is_used, is_kept = _masks(lengths, time)
    if len(items):
        padded[is_used] = np.concatenate(list(items))[is_kept]
    return padded


def _masks(lengths: Array, time: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which places [n, time] are filled, and which steps of all items fill them."""
    is_used = np.arange(time)[None, :] < lengths[:, None]
    starts = np.cumsum(lengths) - lengths
    position = np.arange(int(lengths.sum())) - np.repeat(starts, lengths)
    return is_used, position < time


def cut_windows(values: Array, *, window: int) -> Array:
    """Every window of consecutive rows: [rows - window + 1, window, ...], a view without a copy.

    Example:
        >>> cut_windows(np.arange(4), window=3)
        array([[0, 1, 2],
               [1, 2, 3]])
    """
    view = np.lib.stride_tricks.sliding_window_view(values, window, axis=0)
    return np.moveaxis(view, -1, 1)


def fill_forward(matrix: Array) -> Array:
    """Gaps (NaN) take the last value before them, by column; those at the start stay gaps.

    Example:
        >>> fill_forward(np.array([[np.nan], [1.0], [np.nan]]))[:, 0]
        array([nan,  1.,  1.])
    """
    place = np.where(np.isnan(matrix), 0, np.arange(len(matrix))[:, None])
    last = np.maximum.accumulate(place, axis=0)
    return np.take_along_axis(matrix, last, axis=0)


def object_array(items: Sequence[Any]) -> Array:
    """Items of any kind as an object array [n], never taken apart."""
    array = np.empty(len(items), object)
    for index, item in enumerate(items):
        array[index] = item
    return array


def is_ragged(values: Any) -> bool:
    """Whether these are sequences of different length: a list of lists or arrays that do not fit one array."""
    is_list = isinstance(values, list | tuple)
    is_objects = isinstance(values, np.ndarray) and values.dtype == object and values.ndim == 1
    if not (is_list or is_objects) or len(values) == 0:
        return False
    if not all(isinstance(item, list | tuple | np.ndarray) for item in values):
        return False
    if any(isinstance(item, np.ndarray) and item.ndim == 0 for item in values):
        return False
    return len({len(item) for item in values}) > 1


def number_items(items: Sequence[Any], *, kind: str, where: str) -> Array:
    """Lists or arrays as items of kind ``numbers`` [time, channels] or ``codes`` [time].

    Args:
        items: One list or array per sample: [time], or [time, channels].
        kind: ``numbers`` or ``codes``.
        where: Name for messages.

    Returns:
        Object array [n].

    Raises:
        DataError: An item holds something else, or the numbers of channels differ.
    """
    found, wrong = [], []
    for index, item in enumerate(items):
        try:
            array = np.asarray(item, np.float64)
        except (ValueError, TypeError):
            array = np.empty(())
        wanted = (1,) if kind == "codes" else (1, 2)
        if array.ndim not in wanted and not (array.size == 0 and array.ndim == 1):
            wrong.append(index)
            continue
        is_whole = kind != "codes" or bool(np.all(array == np.round(array)))
        if not is_whole:
            wrong.append(index)
            continue
        found.append(array.astype(np.int64) if kind == "codes" else _with_channel(array))
    if wrong:
        what = "whole numbers [time]" if kind == "codes" else "numbers [time] or [time, channels]"
        raise bad(
            where,
            f"must hold sequences of {what}",
            got=f"something else in {count(len(wrong), 'sequence')}, the first at {wrong[0]} "
            f"(counted from 0)",
            do="Convert each with numpy.asarray(sequence, float), or remove it.",
        )
    if kind == "numbers":
        widths = sorted({item.shape[1] for item in found if len(item)})
        if len(widths) > 1:
            raise bad(
                where,
                "must have the same number of channels in each sequence",
                got=f"sequences with {listed(widths)} channels",
                do="Give each as [time, channels] with the same channels.",
            )
        found = [item.reshape(len(item), widths[0] if widths else 1) for item in found]
    return object_array(found)


def _with_channel(array: Array) -> Array:
    return array[:, None] if array.ndim == 1 else array


def length_of(sequences: Sequences) -> Array:
    """Steps of each item, [n]."""
    if sequences.kind == "words":
        return np.array([len(tokens_of(item, "words")) for item in sequences.items], np.intp)
    return np.array([len(item) for item in sequences.items], np.intp)
