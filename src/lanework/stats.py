"""Statistics of a comparison: intervals, paired tests over seeds, correction, rankings.

Owns every number in the results that is more than a mean. Imports NumPy only, because it is on
the path of every study: Student's t is computed here from the incomplete beta function (tested
against SciPy). Must not import JAX, pandas, SciPy or anything of Lanework.

A run without a usable result (diverged) is never dropped silently: it is counted, and it enters
means for ranking and tests with the worst value that a run can be blamed for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]
Direction: TypeAlias = Literal["max", "min"]
Standing: TypeAlias = Literal["best", "tied", "worse", "unsafe", "untested", "failed"]

LEVEL: Final = 0.95
POWER: Final = 0.8
MAX_SEEDS: Final = 500  # beyond that many seeds a difference is not worth telling


UNLIMITED = (-math.inf, math.inf)


class Interval(NamedTuple):
    """A mean over seeds with its interval; the bounds are NaN with fewer than two values.

    Attributes:
        mean: Mean of the values.
        low: Lower bound of the interval for the mean.
        high: Upper bound.
        sd: Standard deviation of the values (divisor n - 1).
        num_values: How many values.
    """

    mean: float
    low: float
    high: float
    sd: float
    num_values: int


class Resampling(NamedTuple):
    """How the values of one recipe hang together when folds share training rows.

    Attributes:
        folds: The fold of each column of values, shape [column]; seeds of a fold are averaged, as they
            share all of their data.
        overlap: Validation rows of a fold over its training rows, 1 / (k - 1) for k folds.
    """

    folds: tuple[int, ...]
    overlap: float


class Paired(NamedTuple):
    """A difference between two recipes over the seeds they share.

    Attributes:
        difference: Mean of the differences with its interval, uncorrected.
        p_value: Two-sided p-value of the paired t test; NaN with fewer than two pairs.
    """

    difference: Interval
    p_value: float


@dataclass(frozen=True)
class Place:
    """Where one recipe stands against the best one.

    Attributes:
        arm: Row of the recipe in the given table.
        score: Mean with bad runs counted as the worst value: what the ranking goes by.
        interval: Mean and interval over the finished runs, as it is shown.
        num_bad: Runs that diverged or failed.
        against_best: Paired difference, this recipe minus the best (None for the best itself).
        p_adjusted: p-value after Holm's correction over all recipes compared; NaN if untested.
        standing: ``best``; ``tied`` (cannot be told apart); ``worse`` (told apart);
            ``unsafe`` (more runs diverged than with the best); ``untested`` (too few seeds);
            ``failed`` (no run finished).
        more_seeds: Further seeds that would tell a tied recipe from the best; None if
            not tied, or if no reasonable number would.
    """

    arm: int
    score: float
    interval: Interval
    num_bad: int
    against_best: Paired | None
    p_adjusted: float
    standing: Standing
    more_seeds: int | None


def t_tail(t: float, df: float) -> float:
    """Probability that a Student t variable lies further from zero than `t`.

    Computes P(abs(T) > abs(t)) = I_x(df/2, 1/2) with x = df / (df + t^2).

    Args:
        t: Value of the statistic; its sign does not matter.
        df: Degrees of freedom, > 0.

    Returns:
        The two-sided p-value in [0, 1].

    Example:
        >>> round(t_tail(2.0, 4), 4)
        0.1161

    Source:
        Abramowitz and Stegun 1964, 26.7.1; continued fraction of Lentz as in Press et al.,
        Numerical Recipes, section 6.4.
    """
    if math.isnan(t):
        return math.nan
    square = t * t
    if math.isinf(square):
        return 0.0
    return _incomplete_beta(df / 2, 0.5, df / (df + square), square / (df + square))


@lru_cache(maxsize=4096)
def t_quantile(level: float, df: float) -> float:
    """Half-width, in standard errors, of a two-sided interval of Student's t.

    Args:
        level: Probability inside of the interval, in (0, 1), for example 0.95.
        df: Degrees of freedom, > 0.

    Returns:
        The t with P(abs(T) <= t) = `level`.

    Example:
        >>> round(t_quantile(0.95, 4), 3)
        2.776
    """
    outside = 1.0 - level
    low, high = 0.0, math.inf
    z = NormalDist().inv_cdf((1.0 + level) / 2)
    t = z + (z**3 + z) / (4 * df)  # Cornish-Fisher, then Newton inside of a shrinking bracket
    for _ in range(100):
        excess = t_tail(t, df) - outside
        low, high = (t, high) if excess > 0 else (low, t)
        better = t + excess / (2 * _t_density(t, df))
        if not low <= better <= high:
            better = (low + high) / 2 if math.isfinite(high) else 2 * t
        if abs(better - t) <= 1e-13 * t:
            break
        t = better
    return t


def mean_interval(
    values: Sequence[float] | Floats,
    *,
    level: float = LEVEL,
    limits: tuple[float, float] = UNLIMITED,
    overlap: float = 0.0,
) -> Interval:
    """Mean of values with its Student t interval.

    The variance of the mean is sd^2 (1 / n + overlap): values of independent seeds have no overlap,
    those of folds share training rows, which the second term makes up for.

    Args:
        values: Finite numbers, one for each seed or fold, shape [seed]; NaN entries are left out.
        level: Coverage of the interval.
        limits: Smallest and largest value there can be, for example 0 and 1 for an accuracy; the bounds are cut there.
        overlap: Validation rows over training rows of a fold; 0 for independent values.

    Returns:
        The interval; bounds and sd are NaN with one value, all is NaN with none.

    Source:
        Nadeau and Bengio 2003, "Inference for the generalization error", the corrected resampled t.

    Example:
        >>> interval = mean_interval([0.96, 0.97, 0.98])
        >>> [round(x, 4) for x in interval[:3]]
        [0.97, 0.9452, 0.9948]
    """
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    count = int(array.size)
    if count == 0:
        return Interval(math.nan, math.nan, math.nan, math.nan, 0)
    mean = float(array.mean())
    if count == 1:
        return Interval(mean, math.nan, math.nan, math.nan, 1)
    sd = float(array.std(ddof=1))
    half = t_quantile(level, count - 1) * sd * math.sqrt(1.0 / count + overlap)
    return Interval(mean, max(mean - half, limits[0]), min(mean + half, limits[1]), sd, count)


def band(
    values: Floats, *, level: float = LEVEL, overlap: float = 0.0
) -> tuple[Floats, Floats, Floats]:
    """Mean and interval over the first axis, for the curves of one recipe.

    Args:
        values: Shape [seed, step]; NaN where a run has no value.
        level: Coverage of the interval at each step.
        overlap: See `mean_interval`.

    Returns:
        Mean, lower and upper bound, each of shape [step]; NaN where nothing is known.
    """
    is_known = ~np.isnan(values)
    count = is_known.sum(axis=0)
    safe = np.maximum(count, 1)
    mean = np.where(is_known, values, 0.0).sum(axis=0) / safe
    square = np.where(is_known, (values - mean) ** 2, 0.0).sum(axis=0)
    sd = np.sqrt(square / np.maximum(count - 1, 1))
    quantiles = np.array([t_quantile(level, max(int(n) - 1, 1)) for n in range(len(values) + 1)])
    half = quantiles[count] * sd * np.sqrt(1.0 / safe + overlap)
    mean = np.where(count > 0, mean, np.nan)
    half = np.where(count > 1, half, np.nan)
    return mean, mean - half, mean + half


def paired_test(
    first: Sequence[float] | Floats,
    second: Sequence[float] | Floats,
    *,
    resolution: float = 0.0,
    resampling: Resampling | None = None,
) -> Paired:
    """Paired t test of `first` minus `second` over shared seeds, or pairs of seed and fold.

    Departs from the textbook in one point: when a metric moves in steps (an accuracy on n
    samples moves by 1/n), a few seeds can give equal differences by chance and a standard
    deviation of zero; it is therefore not taken below half of `resolution`.

    Args:
        first: Values by seed, shape [seed]; NaN where a run is absent.
        second: The same for the other recipe, in the same order of seeds.
        resolution: Smallest possible step of the metric, in its units.
        resampling: Which values are folds of one another; None for independent seeds.

    Returns:
        Mean difference with its interval, and the two-sided p-value.

    Source:
        Student (Gosset) 1908, "The probable error of a mean"; for folds Nadeau and Bengio 2003,
        "Inference for the generalization error".
    """
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    overlap = resampling.overlap if resampling else 0.0
    interval = mean_interval(by_fold(differences, resampling), overlap=overlap)
    if interval.num_values < 2:
        return Paired(interval, math.nan)
    sd = max(interval.sd, resolution / 2)
    error = sd * math.sqrt(1.0 / interval.num_values + overlap)
    half = t_quantile(LEVEL, interval.num_values - 1) * error
    interval = interval._replace(low=interval.mean - half, high=interval.mean + half, sd=sd)
    if error == 0.0:
        return Paired(interval, 1.0 if interval.mean == 0.0 else 0.0)
    return Paired(interval, t_tail(interval.mean / error, interval.num_values - 1))


def by_fold(values: Floats, resampling: Resampling | None) -> Floats:
    """Means over the seeds of each fold, shape [fold]; the values as they are without folds.

    Args:
        values: Shape [column]; NaN where a run is absent.
        resampling: Which fold each column belongs to.

    Example:
        >>> by_fold(np.array([1.0, 3.0, 5.0]), Resampling((0, 0, 1), 0.25)).tolist()
        [2.0, 5.0]
    """
    if resampling is None:
        return values
    codes = np.unique(np.array(resampling.folds), return_inverse=True)[1]
    is_known = ~np.isnan(values)
    counts = np.bincount(codes[is_known], minlength=int(codes.max()) + 1)
    sums = np.bincount(codes[is_known], weights=values[is_known], minlength=len(counts))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down correction for many comparisons.

    Args:
        p_values: Uncorrected p-values; NaN (not tested) stays NaN and is not counted.

    Returns:
        Corrected p-values in the given order, to be compared with the wanted error rate.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        (0.03, 0.06, 0.06)

    Source:
        Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    tested = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    running = 0.0
    for rank, (p, index) in enumerate(tested):
        running = max(running, min(1.0, p * (len(tested) - rank)))
        adjusted[index] = running
    return tuple(adjusted)


def seeds_needed(
    difference: Interval, *, error_rate: float = 1 - LEVEL, power: float = POWER
) -> int | None:
    """Seeds with which the observed difference would be told from seed noise.

    Smallest n with n >= ((t_{1-e/2, n-1} + t_{power, n-1}) sd / mean)^2: the usual planning
    formula, with the observed difference and spread taken for the true ones. A rough guide:
    both are estimates.

    Args:
        difference: Mean and sd of the paired differences seen so far.
        error_rate: Two-sided error rate allowed for this comparison, after correction.
        power: Wanted probability of telling them apart.

    Returns:
        The number of seeds in all, or None beyond `MAX_SEEDS` or without two pairs.

    Source:
        Chow, Shao and Wang 2008, Sample Size Calculations in Clinical Research, chapter 3.
    """
    if difference.num_values < 2 or difference.mean == 0.0:
        return None
    ratio = difference.sd / abs(difference.mean)

    def is_enough(count: int) -> bool:
        quantiles = t_quantile(1 - error_rate, count - 1) + t_quantile(2 * power - 1, count - 1)
        return count >= (quantiles * ratio) ** 2

    if not is_enough(MAX_SEEDS):
        return None
    low, high = 1, MAX_SEEDS  # `low` is too few, `high` is enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def rank_arms(
    values: Floats,
    *,
    direction: Direction,
    is_bad: Mask,
    worst: float | None = None,
    resolution: float = 0.0,
    error_rate: float = 1 - LEVEL,
    limits: tuple[float, float] = UNLIMITED,
    resampling: Resampling | None = None,
) -> tuple[Place, ...]:
    """Orders recipes and says which cannot be told from the best one.

    Each recipe is compared with the best by a paired test over the seeds they share; the
    p-values are corrected together by Holm's method. Bad runs count as `worst`, so a recipe
    that fails for some seeds falls behind one that never does, and it is never called equal
    to a recipe that failed less often.

    Args:
        values: Final metric, shape [arm, seed]; NaN where a run is bad or absent.
        direction: ``max`` or ``min``: what is better.
        is_bad: Runs that diverged or failed, shape [arm, seed]. A run that is NaN but not bad
            is absent (not finished yet): its pair is left out.
        worst: Value that stands for a bad run, for example the score of guessing; never
            better than the worst run that did finish, which is the default.
        resolution: Smallest possible step of the metric, see `paired_test`.
        error_rate: Wanted family-wise error rate.
        limits: See `mean_interval`.
        resampling: Which columns of values are folds of one another; None for independent seeds.

    Returns:
        One place for each recipe, the best first.
    """
    filled: Floats = np.where(
        is_bad, _worst_value(values, direction=direction, worst=worst), values
    )
    is_failed = [
        bool(bad.any() and np.isnan(row).all()) for bad, row in zip(is_bad, values, strict=True)
    ]
    scores = [mean_interval(row).mean for row in filled]
    sign = -1.0 if direction == "max" else 1.0

    def order(arm: int) -> tuple[bool, bool, float, int]:
        is_unknown = math.isnan(scores[arm])
        return is_unknown, is_failed[arm], 0.0 if is_unknown else sign * scores[arm], arm

    ordered = sorted(range(len(filled)), key=order)
    if not ordered:
        return ()
    best = ordered[0]
    paired = {
        arm: paired_test(filled[arm], filled[best], resolution=resolution, resampling=resampling)
        for arm in ordered[1:]
    }
    adjusted = holm([paired[arm].p_value for arm in ordered[1:]])
    num_bad = [int(bad.sum()) for bad in is_bad]
    standings: list[Standing] = ["failed" if is_failed[best] else "best"]
    standings += [
        _standing(p, is_failed=is_failed[arm], is_unsafe=num_bad[arm] > num_bad[best],
                  error_rate=error_rate)
        for arm, p in zip(ordered[1:], adjusted, strict=True)
    ]  # fmt: skip
    share = error_rate / max(1, standings.count("tied"))
    return tuple(
        Place(
            arm=arm,
            score=scores[arm],
            interval=arm_interval(values[arm], limits=limits, resampling=resampling),
            num_bad=num_bad[arm],
            against_best=paired.get(arm),
            p_adjusted=p,
            standing=standing,
            more_seeds=_more_seeds(paired[arm], share)
            if standing == "tied" and resampling is None
            else None,
        )
        for arm, p, standing in zip(ordered, (math.nan, *adjusted), standings, strict=True)
    )


def arm_interval(
    values: Floats, *, limits: tuple[float, float] = UNLIMITED, resampling: Resampling | None = None
) -> Interval:
    """Mean and interval of one recipe, over seeds or over folds.

    Args:
        values: Shape [column]; NaN where a run has no value.
        limits: See `mean_interval`.
        resampling: Which columns are folds of one another.
    """
    overlap = resampling.overlap if resampling else 0.0
    return mean_interval(by_fold(values, resampling), limits=limits, overlap=overlap)


def _standing(p: float, *, is_failed: bool, is_unsafe: bool, error_rate: float) -> Standing:
    if is_failed:
        return "failed"
    if not math.isnan(p) and p < error_rate:
        return "worse"
    if is_unsafe:
        return "unsafe"
    return "untested" if math.isnan(p) else "tied"


def _more_seeds(paired: Paired, error_rate: float) -> int | None:
    needed = seeds_needed(paired.difference, error_rate=error_rate)
    return None if needed is None else max(1, needed - paired.difference.num_values)


def _worst_value(values: Floats, *, direction: Direction, worst: float | None) -> float:
    known: list[Any] = [float(x) for x in values[np.isfinite(values)]]
    if worst is not None and math.isfinite(worst):
        known.append(worst)
    if not known:
        return 0.0
    return float(min(known) if direction == "max" else max(known))


def _t_density(t: float, df: float) -> float:
    log_front = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    return math.exp(log_front - (df + 1) / 2 * math.log1p(t * t / df))


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """Regularised I_x(a, b); `rest` is 1 - x, given apart to keep its digits."""
    if x <= 0.0:
        return 0.0
    if rest <= 0.0:
        return 1.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(log_front + a * math.log(x) + b * math.log(rest))
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _beta_fraction(a, b, x) / a
    return 1.0 - front * _beta_fraction(b, a, rest) / b


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function, by Lentz's method."""
    tiny = 1e-300
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0), tiny)
    total = d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / _away_from_zero(1.0 + term * d, tiny)
            c = _away_from_zero(1.0 + term / c, tiny)
            total *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return total


def _away_from_zero(value: float, tiny: float) -> float:
    return tiny if abs(value) < tiny else value
