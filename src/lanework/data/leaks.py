"""Signs that the data gives the answer away: repeated rows, and columns that tell the target.

Owns hints, never decisions: nothing is removed. numpy only.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from lanework.data.messages import count, share
from lanework.data.types import Array, Column, Rows, Table

__all__ = [
    "capped_hint",
    "duplicate_hints",
    "giveaway_hints",
    "giveaways",
    "group_hints",
    "id_hints",
    "raw_rows",
    "row_hashes",
]

_MAX_ROWS = 4000
_NUM_BINS = 64
_MIN_ROWS = 40
_GIVEAWAY = 0.99
_ID_NAME = re.compile(r"(.*[_ .-])?id", re.IGNORECASE)
_MIN_IDS = 20
_GROUP_NAME = re.compile(
    r"(.*[_ .-])?(id|patient|subject|person|participant|user|customer|client|household|session|"
    r"account|device|sensor|speaker|writer|author|group)([_ .-]?(id|no|nr|number|code|name))?",
    re.IGNORECASE,
)
_ROWS_PER_GROUP = 1.5
_SEEN = 0.5


def row_hashes(x: Array) -> NDArray[np.uint64]:
    """A 64-bit hash of each sample, equal for equal samples, uint64 [n].

    The bytes of a sample are read as words, mixed, and summed with fixed random odd weights.
    """
    num_rows = len(x)
    data = np.ascontiguousarray(x).reshape(num_rows, -1).view(np.uint8)
    padding = -data.shape[1] % 8
    if padding:
        data = np.pad(data, ((0, 0), (0, padding)))
    generator = np.random.Generator(np.random.PCG64(7))
    words = data.view(np.uint64)
    weights = generator.integers(1, 2**63, words.shape[1], dtype=np.uint64) * np.uint64(
        2
    ) + np.uint64(1)
    hashes = np.empty(num_rows, np.uint64)
    for start in range(0, num_rows, 8192):
        block = words[start : start + 8192]
        hashes[start : start + 8192] = (block ^ (block >> np.uint64(29))) @ weights
    return hashes


def duplicate_hints(
    train: Array, *, val: Array, test: Array, is_image: bool = False
) -> tuple[str, ...]:
    """Sentences about samples that appear in more than one part, or often in train.

    Args:
        train: Prepared inputs [n, ...] of each part.
        val: See ``train``.
        test: See ``train``.
        is_image: Samples are images, which are compared byte for byte.

    Returns:
        One sentence for each part concerned.
    """
    known = np.unique(row_hashes(train))
    hints = []
    for name, x in (("validation", val), ("test", test)):
        num_seen = int(np.isin(row_hashes(x), known).sum()) if len(x) else 0
        if num_seen:
            have = "has" if num_seen == 1 else "have"
            hints.append(
                f"{num_seen} of {count(len(x), f'{name} row')} ({share(num_seen, len(x))}) {have} "
                "the same features as a training row; results on such rows may flatter. "
                + (
                    "Remove these images from one of the parts."
                    if is_image
                    else "If they are the same thing twice, remove one, or keep both in one part by split: "
                    "{group: COLUMN}."
                )
            )
    num_repeated = len(train) - len(known)
    if num_repeated:
        hints.append(
            f"{count(num_repeated, 'training row')} ({share(num_repeated, len(train))}) "
            f"{'repeats' if num_repeated == 1 else 'repeat'} the features of another."
        )
    return tuple(hints)


def raw_rows(table: Table, *, like: Table) -> Array:
    """The cells of a table as read, float64 [n, columns]; equal cells give equal numbers.

    Args:
        table: The rows; may come from another file, with levels of its own.
        like: The table that numbers the levels; has the same columns.
    """
    columns = []
    for column in table.columns:
        values = column.values.astype(np.float64) + 0.0
        known = like.column(column.name).levels
        if column.levels_used() and column.levels != known:
            code_of = {level: code for code, level in enumerate(known)}
            codes = [code_of.get(level, len(known) + i) for i, level in enumerate(column.levels)]
            values = np.array([*codes, -1], np.float64)[column.values]
        columns.append(np.where(np.isnan(values), np.nan, values))
    return np.stack(columns, axis=1)


def group_hints(
    features: Table | Array, names: tuple[str, ...], *, train: Rows, val: Rows
) -> dict[str, str]:
    """Columns that name what rows belong to (a patient, a session) and whose values stand in several parts.

    Args:
        features: The raw features.
        names: Column names of a matrix.
        train: Rows of the training part.
        val: Rows of the validation part.

    Returns:
        Column to sentence. Looked at are columns called so (``patient``, ``user_id``), of text or
        whole numbers, with at least 20 values that repeat.
    """
    found = {}
    for name, values, _ in _columns(features, names):
        known = values[train]
        is_whole = values.dtype.kind != "f" or bool(np.all(values == np.round(values)))
        if not (_GROUP_NAME.fullmatch(name) and is_whole and len(val)):
            continue
        seen = np.unique(known)
        num_values = len(np.unique(values))
        num_inside = int(np.isin(values[val], seen).sum())
        is_repeated = _ROWS_PER_GROUP * num_values <= len(values)
        if num_values < _MIN_IDS or not is_repeated or num_inside < _SEEN * len(val):
            continue
        found[name] = (
            f"Column '{name}' looks like an id of what rows belong to: {num_values} values, "
            f"{len(values) / num_values:.1f} rows each; {share(num_inside, len(val))} of the validation rows share "
            "theirs with a training row, so results may flatter for new ones. Use split: "
            f"{{group: {name}}}."
        )
    return found


def _columns(features: Table | Array, names: tuple[str, ...]) -> list[tuple[str, Array, str]]:
    """Name, cells and kind of each column; none for images."""
    if isinstance(features, Table):
        return [(column.name, column.values, column.kind) for column in features.columns]
    if features.ndim == 2:
        return [(name, features[:, i], "numeric") for i, name in enumerate(names)]
    return []


def id_hints(
    features: Table | Array, names: tuple[str, ...], *, known: Collection[str] = ()
) -> tuple[str, ...]:
    """Sentences about columns that look like ids: consecutive whole numbers, or called id.

    Args:
        features: The raw features.
        names: Column names of a matrix.
        known: Columns of which it was told already.

    Returns:
        One sentence for each such column.
    """
    hints = []
    for name, values, kind in _columns(features, names):
        if name in known:
            continue
        is_counted = kind == "numeric" and _is_consecutive(values)
        if not is_counted and not _ID_NAME.fullmatch(name):
            continue
        why = "consecutive whole numbers, all different" if is_counted else "by its name"
        hints.append(
            f"Column '{name}' looks like an id ({why}): leave it out with data.columns: "
            f"{{{name}: ignore}} unless it says something about the target."
        )
    return tuple(hints)


def _is_consecutive(values: Array) -> bool:
    """Whether these are n different whole numbers without a gap, in any order."""
    if len(values) <= _MIN_IDS or values[0] != np.round(values[0]):
        return False
    if values.max() - values.min() != len(values) - 1:
        return False
    return bool(np.all(np.diff(np.sort(values)) == 1))


def giveaway_hints(
    features: Table | Array,
    names: tuple[str, ...],
    *,
    y: Array,
    num_classes: int,
    rows: Rows,
) -> tuple[str, ...]:
    """Sentences about columns that alone predict the target nearly perfectly.

    Each column is tried alone: numbers cut into at most 64 bins (classes) or interpolated
    (regression, of the target's ranks), categories by level; learned on one half of the rows and judged on the other,
    both ways round. Up to 4 000 rows are looked at, and no images.

    Args:
        features: The raw features.
        names: Column names of a matrix.
        y: Class codes, or one numeric target, for all rows.
        num_classes: 0 for regression.
        rows: Rows to look at (train and val; the test part stays unseen).

    Returns:
        One sentence for each such column.
    """
    what = "accuracy" if num_classes else "R2 of its ranks"
    found = giveaways(features, names, y=y, num_classes=num_classes, rows=rows)
    return tuple(
        f"Column '{name}' alone gives the target away ({what} {score:.3f}): is it known before the target is?"
        for name, score in found
    )


def giveaways(
    features: Table | Array,
    names: tuple[str, ...],
    *,
    y: Array,
    num_classes: int,
    rows: Rows,
) -> tuple[tuple[str, float], ...]:
    """Columns that alone predict the target nearly perfectly, with their score; see `giveaway_hints`."""
    is_image = not isinstance(features, Table) and features.ndim != 2
    if is_image or len(rows) < _MIN_ROWS:
        return ()
    order = np.random.Generator(np.random.PCG64(11)).permutation(rows)[:_MAX_ROWS]
    half, other = order[::2], order[1::2]
    if isinstance(features, Table):
        columns = list(features.columns)
    else:
        columns = [Column(name, "numeric", features[:, index]) for index, name in enumerate(names)]
    if not num_classes:
        y = _ranks(y)
    found = []
    for column in columns:
        first = _score(column, y, learn=half, judge=other, num_classes=num_classes)
        if first < _GIVEAWAY:
            continue
        second = _score(column, y, learn=other, judge=half, num_classes=num_classes)
        if second >= _GIVEAWAY:
            found.append((column.name, (first + second) / 2))
    return tuple(found)


def capped_hint(values: Array, name: str) -> tuple[str, ...]:
    """A sentence when many rows share the largest or smallest value of a numeric target.

    Args:
        values: The target of the training part, [n].
        name: Its name.

    Returns:
        One sentence for each end at which at least 1 % of the rows pile up, if that is ten times
        more than at other values on average.
    """
    hints = []
    usual = len(values) / len(np.unique(values))
    for word, edge in (("largest", values.max()), ("smallest", values.min())):
        num_rows = int((values == edge).sum())
        if num_rows >= max(0.01 * len(values), 10 * usual, 10):
            hints.append(
                f"{count(num_rows, 'training row')} ({share(num_rows, len(values))}) "
                f"have the {word} target, {edge:g}: '{name}' may have been cut off there."
            )
    return tuple(hints)


def _ranks(values: Array) -> Array:
    """Ranks with ties at their middle, float64 [n]."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = (np.cumsum(counts) - 0.5 * counts)[inverse]
    return ranks


def _score(column: Column, y: Array, *, learn: Rows, judge: Rows, num_classes: int) -> float:
    """How well the column alone predicts the target on the rows to judge."""
    groups = _groups(column, learn, judge, is_fine=not num_classes)
    if num_classes:
        return _class_score(groups, (y[learn], y[judge]), num_classes)
    return _number_score(groups, (y[learn], y[judge]))


def _groups(column: Column, learn: Rows, judge: Rows, *, is_fine: bool) -> tuple[Array, Array]:
    """Each row's level, bin or (for regression) value; missing is a group of its own."""
    learned, judged = column.values[learn], column.values[judge]
    if column.levels_used():
        return learned + 1, judged + 1
    present = learned[~np.isnan(learned)]
    if is_fine or not len(present):
        return learned, judged
    edges = np.unique(present)
    if len(edges) > _NUM_BINS:
        edges = np.unique(np.sort(present)[:: -(-len(present) // _NUM_BINS)])
    cuts = 0.5 * (edges[1:] + edges[:-1])
    codes = [np.searchsorted(cuts, values) + 1 for values in (learned, judged)]
    for code, values in zip(codes, (learned, judged), strict=True):
        code[np.isnan(values)] = 0
    return codes[0], codes[1]


def _class_score(groups: tuple[Array, Array], y: tuple[Array, Array], num_classes: int) -> float:
    """Accuracy of the commonest class of each group; 0 when the commonest class alone is as good."""
    learned, judged = groups
    num_groups = int(max(learned.max(), judged.max())) + 1
    table = np.bincount(learned * num_classes + y[0], minlength=num_groups * num_classes)
    table = table.reshape(num_groups, num_classes)
    guess = np.where(table.any(axis=1), table.argmax(axis=1), table.sum(axis=0).argmax())
    accuracy = float(np.mean(guess[judged] == y[1]))
    blind = float(np.mean(table.sum(axis=0).argmax() == y[1]))
    return accuracy if 1.0 - accuracy <= 0.1 * (1.0 - blind) else 0.0


def _number_score(groups: tuple[Array, Array], y: tuple[Array, Array]) -> float:
    """R2 of interpolating the target over the column's values."""
    learned, judged = groups
    is_known = ~np.isnan(learned)
    values, inverse, counts = np.unique(learned[is_known], return_inverse=True, return_counts=True)
    if len(values) < 2:
        return 0.0
    means = np.bincount(inverse, weights=y[0][is_known]) / counts
    guess = np.where(np.isnan(judged), y[0].mean(), np.interp(judged, values, means))
    spread = float(np.sum((y[1] - y[1].mean()) ** 2))
    return 1.0 - float(np.sum((guess - y[1]) ** 2)) / spread if spread > 0 else 0.0
