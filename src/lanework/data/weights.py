"""How much each row weighs: a column that is taken out of the features. Imports numpy and the data package's records only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lanework.data.messages import bad, count, no_column
from lanework.data.types import Array, Loaded, Rows, Table

__all__ = ["normalised", "take_weights"]

KEY = "data.sample_weights"


def take_weights(loaded: Loaded, name: str | None) -> tuple[Loaded, Array | None]:
    """Take the column of weights out of the features, also of the source's own test part.

    Args:
        loaded: What a source gave.
        name: The column; None for no weights.

    Returns:
        The rest, and the weights float64 [n].

    Raises:
        DataError: There is no such column of numbers, or a weight is missing, negative or not finite.
    """
    if name is None:
        return loaded, None
    features = loaded.features
    if isinstance(features, Table):
        if name not in features.names:
            raise no_column(KEY, name, features.names, source=loaded.label)
        column = features.column(name)
        if column.levels_used():
            raise bad(KEY, "must be a column of numbers", got=f"text in '{name}'", do="Correct it.")
        weights = np.asarray(column.values, np.float64)
        loaded = replace(loaded, features=features.without([name]))
        test = loaded.test
        if test is not None and isinstance(test.features, Table):
            loaded = replace(loaded, test=replace(test, features=test.features.without([name])))
    elif isinstance(features, np.ndarray) and features.ndim == 2 and name in loaded.names:
        place = loaded.names.index(name)
        weights = np.asarray(features[:, place], np.float64)
        loaded = _without_place(loaded, place)
        if loaded.test is not None:
            loaded = replace(loaded, test=_without_place(loaded.test, place))
    else:
        raise no_column(KEY, name, loaded.names, source=loaded.label)
    _check(weights, name)
    return replace(
        loaded, dropped=(*loaded.dropped, (name, "it says how much each row weighs"))
    ), weights


def _without_place(loaded: Loaded, place: int) -> Loaded:
    features = np.delete(np.asarray(loaded.features), place, axis=1)
    names = tuple(name for index, name in enumerate(loaded.names) if index != place)
    return replace(loaded, features=features, names=names)


def _check(weights: Array, name: str) -> None:
    wrong = ~np.isfinite(weights) | (weights < 0)
    if wrong.any():
        raise bad(
            KEY,
            f"must hold a number >= 0 for every row, such as '{name}' should",
            got=f"{count(int(wrong.sum()), 'row')} without one",
            do="Correct the cells, or remove these rows.",
        )


def normalised(weights: Array | None, rows: Rows) -> Array | None:
    """Weights of the training rows, float32 with mean 1, so that the loss keeps its size.

    Raises:
        DataError: They are all zero.
    """
    if weights is None:
        return None
    own = weights[rows]
    if own.sum() <= 0:
        raise bad(KEY, "must be above 0 for some training row", got="zeros", do="Correct it.")
    found: Array = (own / own.mean()).astype(np.float32)
    return found
