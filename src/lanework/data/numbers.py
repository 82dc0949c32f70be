"""Steps of preparation over numeric columns: learned from the training part, applied with NumPy.

Owns the records of learned steps (plain values, fit for JSON) and the functions that learn and
apply them. scikit-learn's transformers do the learning; none is needed to apply.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from lanework.catalog.preparation import Chosen
from lanework.data.messages import bad
from lanework.data.types import Array

__all__ = ["NumberBlock", "NumberStep", "apply_block", "learn_block"]

_NO_VARIANCE = 1e-12
_EDGE = 1e-7


@dataclass(frozen=True)
class NumberStep:
    """One learned step.

    Attributes:
        kind: ``fill``, ``affine``, ``log``, ``clip``, ``ranks`` or ``turn``; what is computed is
            said by the function of that name in this module.
        values: What was learned, as numbers, text and (nested) tuples of them.
    """

    kind: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class NumberBlock:
    """Columns that take the same steps together.

    Attributes:
        columns: Which of the numbers, by position.
        steps: The steps in order.
        width: How many columns come out.
    """

    columns: tuple[int, ...]
    steps: tuple[NumberStep, ...]
    width: int


def learn_block(matrix: Array, steps: Sequence[Chosen], *, columns: Sequence[int]) -> NumberBlock:
    """Learn steps one after the other, each on what the ones before it made of the training part.

    Args:
        matrix: Training part of these columns, float64 [n, columns], NaN where missing.
        steps: What to learn, see `lanework.catalog.preparation.chosen_steps`.
        columns: Where the columns stand among all numbers.

    Returns:
        The learned block.

    Raises:
        DataError: A step does not fit the data.
    """
    learned: list[NumberStep] = []
    for name, options in steps:
        if name == "none":
            continue
        with warnings.catch_warnings():
            # A column that is empty in the training part gives NaN, which a later step fills in.
            warnings.filterwarnings("ignore", "All-NaN|Mean of empty|Degrees of freedom")
            step = _LEARN[name](matrix, options)
        learned.append(step)
        matrix = _APPLY[step.kind](step.values, matrix)
    return NumberBlock(tuple(columns), tuple(learned), matrix.shape[1])


def apply_block(block: NumberBlock, matrix: Array) -> Array:
    """Apply learned steps to all numbers: float64 [n, numbers] to [n, width]."""
    values: Array = matrix[:, list(block.columns)].astype(np.float64, copy=False)
    for step in block.steps:
        values = _APPLY[step.kind](step.values, values)
    return values


# ---- learning ------------------------------------------------------------------------------


def _learn_fill(matrix: Array, options: Mapping[str, Any]) -> NumberStep:
    from sklearn.impute import SimpleImputer

    imputer = SimpleImputer(
        strategy=options["strategy"], fill_value=options["value"], keep_empty_features=True
    ).fit(matrix)
    flags = np.flatnonzero(np.isnan(matrix).any(axis=0)) if options["indicator"] else ()
    fill = np.nan_to_num(np.asarray(imputer.statistics_, np.float64))
    return NumberStep("fill", {"fill": _plain(fill), "flags": tuple(map(int, flags))})


def _learn_standard(matrix: Array, options: Mapping[str, Any]) -> NumberStep:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(matrix)
    return _affine(scaler.mean_, scaler.scale_)


def _learn_centre(matrix: Array, options: Mapping[str, Any]) -> NumberStep:
    mean = np.nanmean(matrix, axis=0)
    return _affine(mean, np.ones_like(mean))


def _learn_minmax(matrix: Array, options: Mapping[str, Any]) -> NumberStep:
    from sklearn.preprocessing import MinMaxScaler

    scaler = MinMaxScaler().fit(matrix)
    return _affine(scaler.data_min_, 1.0 / scaler.scale_)


def _learn_robust(matrix: Array, options: Mapping[str, Any]) -> NumberStep:
    from sklearn.preprocessing import RobustScaler

    limits = (100.0 * options["low"], 100.0 * options["high"])
    scaler = RobustScaler(quantile_range=limits).fit(matrix)
    return _affine(scaler.center_, scaler.scale_)


def _affine(shift: Array, scale: Array) -> NumberStep:
    """A column that was empty keeps its NaN, and its unit."""
    shift, scale = np.nan_to_num(shift), np.where(np.isfinite(scale), scale, 1.0)
    return NumberStep("affine", {"shift": _plain(shift), "scale": _plain(scale)})


def _learn_ranks(matrix: Array, options: Mapping[str, Any]) -> NumberStep:
    from sklearn.preprocessing import QuantileTransformer

    number = min(options["quantiles"], len(matrix))
    made = QuantileTransformer(n_quantiles=number, subsample=None).fit(matrix)
    landmarks = np.nan_to_num(made.quantiles_.T)
    return NumberStep(
        "ranks", {"landmarks": tuple(map(_plain, landmarks)), "output": options["output"]}
    )


def _learn_log(matrix: Array, options: Mapping[str, Any]) -> NumberStep:
    mean = np.nanmean(matrix, axis=0)
    spread = np.nanmean((matrix - mean) ** 2, axis=0)
    third = np.nanmean((matrix - mean) ** 3, axis=0)
    skewness = third / np.where(spread > 0, spread, 1.0) ** 1.5
    is_long = (skewness > options["min_skew"]) & (np.nanmin(matrix, axis=0) >= 0)
    return NumberStep("log", {"columns": tuple(np.flatnonzero(is_long).tolist())})


def _learn_clip(matrix: Array, options: Mapping[str, Any]) -> NumberStep:
    low, high = np.nanquantile(matrix, [options["low"], options["high"]], axis=0)
    return NumberStep("clip", {"low": _plain(low), "high": _plain(high)})


def _learn_pca(matrix: Array, options: Mapping[str, Any]) -> NumberStep:
    from sklearn.decomposition import PCA

    num_rows, num_columns = matrix.shape
    wanted = options["components"] or num_columns
    if wanted > min(num_rows, num_columns):
        raise bad(
            "data.prepare.components",
            f"must be at most {min(num_rows, num_columns)} here, columns and training rows counted",
            got=str(wanted),
            do="Use fewer components, or share.",
        )
    solver = "covariance_eigh" if num_rows >= num_columns else "full"
    made = PCA(svd_solver=solver).fit(matrix)
    variance = np.asarray(made.explained_variance_, np.float64)
    kept = int((variance > _NO_VARIANCE * max(float(variance[0]), 1e-300)).sum())
    if options["share"] is not None:
        shares = np.cumsum(made.explained_variance_ratio_)
        kept = min(kept, int(np.searchsorted(shares, options["share"], side="right")) + 1)
    kept = max(1, min(kept, wanted))
    turn = made.components_[:kept].T
    if options["whiten"]:
        turn = turn / np.sqrt(np.maximum(variance[:kept], 1e-300))
    return _turn(made.mean_, turn)


def _learn_zca(matrix: Array, options: Mapping[str, Any]) -> NumberStep:
    mean = matrix.mean(axis=0)
    centred = matrix - mean
    variance, axes = np.linalg.eigh(centred.T @ centred / max(len(matrix) - 1, 1))
    scale = 1.0 / np.sqrt(np.maximum(variance, 0.0) + options["eps"])
    return _turn(mean, (axes * scale) @ axes.T)


def _turn(mean: Array, matrix: Array) -> NumberStep:
    return NumberStep("turn", {"mean": _plain(mean), "matrix": tuple(map(_plain, matrix))})


def _plain(values: Array) -> tuple[float, ...]:
    return tuple(np.asarray(values, np.float64).tolist())


_LEARN: Mapping[str, Callable[[Array, Mapping[str, Any]], NumberStep]] = {
    "impute": _learn_fill,
    "standard": _learn_standard,
    "centre": _learn_centre,
    "minmax": _learn_minmax,
    "robust": _learn_robust,
    "quantile": _learn_ranks,
    "log1p": _learn_log,
    "clip": _learn_clip,
    "pca": _learn_pca,
    "zca": _learn_zca,
}


# ---- applying ------------------------------------------------------------------------------


def _apply_fill(values: Mapping[str, Any], matrix: Array) -> Array:
    """``fill`` where a number is missing; then a column of 0 and 1 for each of ``flags``."""
    is_gap = ~np.isfinite(matrix)
    filled = np.where(is_gap, np.asarray(values["fill"]), matrix)
    flags = is_gap[:, list(values["flags"])].astype(np.float64)
    return np.concatenate([filled, flags], axis=1)


def _apply_affine(values: Mapping[str, Any], matrix: Array) -> Array:
    """``(x - shift) / scale``."""
    prepared: Array = (matrix - np.asarray(values["shift"])) / np.asarray(values["scale"])
    return prepared


def _apply_log(values: Mapping[str, Any], matrix: Array) -> Array:
    """``sign(x) log(1 + |x|)`` of ``columns``."""
    chosen = list(values["columns"])
    logged = matrix.copy()
    logged[:, chosen] = np.sign(matrix[:, chosen]) * np.log1p(np.abs(matrix[:, chosen]))
    return logged


def _apply_clip(values: Mapping[str, Any], matrix: Array) -> Array:
    """Into [``low``, ``high``]."""
    clipped: Array = np.clip(matrix, np.asarray(values["low"]), np.asarray(values["high"]))
    return clipped


def _apply_ranks(values: Mapping[str, Any], matrix: Array) -> Array:
    """Each column's place among its ``landmarks``, as a share or a normal deviate."""
    landmarks = [np.asarray(column) for column in values["landmarks"]]
    shares = np.stack(
        [_share_below(cells, known) for cells, known in zip(matrix.T, landmarks, strict=True)],
        axis=1,
    )
    return shares if values["output"] == "uniform" else _deviate(shares)


def _share_below(cells: Array, known: Array) -> Array:
    """Interpolated from both sides, so that ties land in their middle.

    Source: scikit-learn, QuantileTransformer.
    """
    places = np.linspace(0.0, 1.0, len(known))
    upward = np.interp(cells, known, places)
    downward = np.interp(-cells, -known[::-1], -places[::-1])
    shares = 0.5 * (upward - downward)
    shares[cells == known[-1]] = 1.0
    shares[cells == known[0]] = 0.0
    shares[np.isnan(cells)] = np.nan
    return shares


def _deviate(shares: Array) -> Array:
    """Standard normal deviates; the ends are cut where scikit-learn cuts them, at +-5.2.

    Source: Wichura 1988, algorithm AS 241 (as in Python's statistics module), once per value.
    """
    edge = NormalDist().inv_cdf(_EDGE)
    known, places = np.unique(shares, return_inverse=True)
    inside = np.clip(known, _EDGE, 1.0 - _EDGE)
    table = [edge if np.isnan(p) else NormalDist().inv_cdf(float(p)) for p in inside]
    deviates: Array = np.clip(np.asarray(table)[places.reshape(shares.shape)], edge, -edge)
    return np.where(np.isnan(shares), np.nan, deviates)


def _apply_turn(values: Mapping[str, Any], matrix: Array) -> Array:
    """``(x - mean) matrix``."""
    turned: Array = (matrix - np.asarray(values["mean"])) @ np.asarray(values["matrix"])
    return turned


_APPLY: Mapping[str, Callable[[Mapping[str, Any], Array], Array]] = {
    "fill": _apply_fill,
    "affine": _apply_affine,
    "log": _apply_log,
    "clip": _apply_clip,
    "ranks": _apply_ranks,
    "turn": _apply_turn,
}
