"""Feature arrays from Python objects and array files: tables, matrices, images.

Owns what an array's shape and type mean. numpy only, unless cells are text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lanework.data.messages import bad, count
from lanework.data.types import Array, Table

__all__ = ["as_features"]

Found = tuple[Table | Array, tuple[str, ...], tuple[str, ...], tuple[tuple[str, str], ...]]


def as_features(x: Any, *, kinds: Mapping[str, str], where: str) -> Found:
    """Turn whatever was given as features into a table or an array.

    A DataFrame or an array of text or objects becomes a table. [n] and [n, k] become a float
    matrix; [n, h, w] and [n, h, w, c] images, uint8 kept as bytes; [n, c, h, w] is turned around.

    Args:
        x: DataFrame, array, or nested list.
        kinds: Column kinds that were asked for.
        where: Name for messages.

    Returns:
        The features, names of a matrix's columns, decisions, and columns left out.

    Raises:
        DataError: Not rectangular, complex, more than four axes, or images with gaps.
    """
    if hasattr(x, "columns") and hasattr(x, "iloc"):
        return _table(x, kinds=kinds)
    try:
        array = np.asarray(x)
    except (ValueError, TypeError, RuntimeError) as error:
        raise bad(
            where,
            "must be a rectangular array",
            got=f"something else ({error})",
            do="Make all rows equally long, or convert with numpy.asarray.",
        ) from error
    if array.dtype.kind in "OUS" and array.ndim > 0:
        matrix = array.reshape(len(array), -1) if array.size else array.reshape(0, 0)
        columns = {f"x{index + 1}": matrix[:, index] for index in range(matrix.shape[1])}
        return _table(columns, kinds=kinds)
    if array.dtype.kind not in "fiub" or array.ndim == 0 or array.ndim > 4:
        raise bad(
            where,
            "must hold real numbers with one to four axes",
            got=f"an array of shape {array.shape} and type {array.dtype}",
            do="Give [rows, columns] or [rows, height, width, channels].",
        )
    if array.size == 0:
        raise bad(where, "must hold data", got=f"an array of shape {array.shape}", do="Check x.")
    return _matrix(array) if array.ndim < 3 else _images(array, where=where)


def _table(x: Any, *, kinds: Mapping[str, str]) -> Found:
    from lanework.data.columns import Guesses, table_from_frame

    guesses = Guesses.empty()
    table = table_from_frame(x, kinds=kinds, guesses=guesses)
    return table, (), guesses.sentences(), tuple(guesses.dropped)


def _matrix(array: Array) -> Found:
    matrix = array.reshape(len(array), -1)
    if matrix.dtype.kind != "f":
        matrix = matrix.astype(np.float64)
    decisions = []
    with np.errstate(invalid="ignore"):
        is_huge = np.abs(matrix) > 1e30
    if is_huge.any():
        decisions.append(
            f"{count(int(is_huge.sum()), 'feature value')} infinite or above 1e30: counted as "
            "missing."
        )
        matrix = np.where(is_huge, np.nan, matrix)
    names = tuple(f"x{index + 1}" for index in range(matrix.shape[1]))
    return matrix, names, tuple(decisions), ()


def _images(array: Array, *, where: str) -> Found:
    decisions: tuple[str, ...] = ()
    if array.ndim == 3:
        array = array[..., None]
        height, width = array.shape[1:3]
        decisions = (f"Read as images of {height} x {width} with one channel.",)
    elif array.shape[1] in (1, 3, 4) and array.shape[3] not in (1, 3, 4):
        array = np.ascontiguousarray(array.transpose(0, 2, 3, 1))
        decisions = (f"Channels came first and were put last: images of {array.shape[1:]}.",)
    if array.dtype == np.uint8:
        return array, (), decisions, ()
    if array.dtype.kind != "f":
        array = array.astype(np.float32)
    is_bad = ~np.isfinite(array)
    if is_bad.any():
        first = tuple(int(axis) for axis in np.argwhere(is_bad)[0])
        raise bad(
            where,
            "must have finite values in images",
            got=f"{count(int(is_bad.sum()), 'value')} NaN or infinite, the first at {first}",
            do="Repair or remove these images.",
        )
    return array, (), decisions, ()
