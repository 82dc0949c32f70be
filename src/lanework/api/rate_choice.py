"""What follows from the curves of a range test and from the results of a search: a learning rate, with reasons.

Pure functions of numbers; trains nothing, reads nothing, imports no JAX. The facts they fill are those of
`lanework.report.rate_page`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanework.report import units
from lanework.report.facts import Metric
from lanework.report.rate_page import RampFacts, RampState, Trial, rate_text
from lanework.stats import Floats, Interval, Place, Standing, mean_interval, rank_arms

SMOOTHING: Final = 0.7
"""Weight of the past in the average of a range test: with 100 points over seven decades it looks back about 0.2 decades."""
EARLY_SHARE: Final = 0.05  # of the points, whose mean counts as the loss before training
LOST_SHARE: Final = 0.5  # of what was gained: a loss that has given it back for good is lost
NOISE_MARGIN: Final = 4.0  # standard deviations of a point that are still noise
FLAT_SHARE: Final = 0.02  # of the starting loss; a smaller fall is none
BELOW_LIMIT: Final = 10.0
STEP: Final = 3.0  # factor to both sides in which the second round looks
NUM_WIDE, NUM_NARROW, NUM_BEYOND = 9, 3, 4
USUAL_RANGE: Final = (1e-5, 10.0)
BOUNDS: Final = (1e-9, 1e3)  # no search goes further


def smoothed(values: Floats, *, weight: float = SMOOTHING) -> Floats:
    """Exponential average with its start corrected.

    Computes s_t = (b s_{t-1} + (1 - b) x_t), divided by 1 - b^(t+1), so that the first points are not pulled towards 0.

    Args:
        values: Shape [..., point]; after the first NaN all is NaN.
        weight: b, the weight of the past, in [0, 1).

    Returns:
        The averages, same shape.

    Example:
        >>> smoothed(np.array([2.0, 2.0, 8.0]), weight=0.5).round(3).tolist()
        [2.0, 2.0, 5.429]

    Source:
        Kingma and Ba 2014, https://arxiv.org/abs/1412.6980 (section 3), the same correction.
    """
    found = np.empty_like(values, dtype=np.float64)
    running = np.zeros(values.shape[:-1])
    with np.errstate(over="ignore", invalid="ignore"):
        for point in range(values.shape[-1]):
            running = weight * running + (1.0 - weight) * values[..., point]
            found[..., point] = running / (1.0 - weight ** (point + 1))
    return found


def ramp_facts(rates: Floats, losses: Floats, *, about: str) -> RampFacts:
    """Read a range test: where the loss falls fastest, and from which rate on it is lost.

    The loss is *lost* from the first rate on after which its average never comes back below half of what had been gained
    (or is no longer finite). A rate a tenth of that is the usual advice of the literature; so is the rate of the steepest
    fall. The smaller of the two is suggested.

    Args:
        rates: Learning rate of each point, rising, shape [point].
        losses: Training loss of each point, shape [seed, point]; NaN once it is not finite.
        about: The range, steps and seeds of the test, for the sentence.

    Returns:
        The facts.

    Source:
        Smith 2015, "Cyclical learning rates for training neural networks", https://arxiv.org/abs/1506.01186 (section 3.3).
        Departs from it in using the training loss, several seeds and a logarithmic ramp.
    """
    losses = np.where(np.maximum.accumulate(~np.isfinite(losses), axis=1), np.nan, losses)
    smooth_rates = np.exp(smoothed(np.log(rates)))
    smooth = smoothed(losses)
    early = max(3, round(EARLY_SHARE * len(rates)))
    limits = [_limit(raw, curve, early) for raw, curve in zip(losses, smooth, strict=True)]
    places = sorted(len(rates) if limit is None else limit for limit in limits)
    middle = places[len(places) // 2]
    state = _state(losses, smooth, middle, early)
    limit = None if middle == len(rates) else float(rates[middle])
    steepest = _steepest(smooth_rates, _mean(smooth), places[0], early) if state == "ok" else None
    alone = [
        _steepest(smooth_rates, curve, len(rates) if one is None else one, early)
        for curve, one in zip(smooth, limits, strict=True)
    ]
    known_limits = [float(rates[one]) for one in limits if one is not None]
    candidates = [rate for rate in (steepest, limit / BELOW_LIMIT if limit else None) if rate]
    facts = RampFacts(
        rates=rates,
        losses=losses,
        smooth_rates=smooth_rates,
        smooth=smooth,
        state=state,
        steepest=steepest,
        steepest_range=_ends(alone) if steepest else None,
        limit=limit,
        limit_range=_ends(known_limits) if limit else None,
        suggestion=min(candidates) if candidates and state == "ok" else None,
        words="",
    )
    words = _ramp_words(facts, about, num_unbroken=limits.count(None))
    return RampFacts(**{**vars(facts), "words": words})


def _mean(curves: Floats) -> Floats:
    """Mean over the seeds that are left; NaN where none is."""
    count = np.isfinite(curves).sum(axis=0)
    total = np.where(np.isfinite(curves), curves, 0.0).sum(axis=0)
    mean: Floats = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


def _noise(raw: Floats) -> float:
    """Standard deviation of a point around its neighbours, from the median of the steps between points."""
    steps = np.abs(np.diff(raw[np.isfinite(raw)]))
    return float(np.median(steps)) / 0.954 if steps.size else 0.0


def _limit(raw: Floats, curve: Floats, early: int) -> int | None:
    """First point from which on one seed's loss is lost for good; None when it never is."""
    start = float(np.mean(raw[:early]))
    if not math.isfinite(start):
        return 0
    best = np.fmin.accumulate(curve)
    gained = np.maximum(start - best, 0.0)
    lowest = max(
        early, int(np.nanargmin(curve)) + 1
    )  # beyond it the loss may rise a lot, which is no noise
    margin = max(NOISE_MARGIN * _noise(raw[:lowest]), 0.1 * abs(start), 1e-12)
    is_fine = curve <= best + np.maximum(LOST_SHARE * gained, margin)
    last = int(np.flatnonzero(is_fine)[-1])
    return None if last == len(curve) - 1 else last + 1


def _state(losses: Floats, smooth: Floats, limit: int, early: int) -> RampState:
    if limit <= early:
        return "at_once"
    raw, curve = _mean(losses)[:limit], _mean(smooth)[:limit]
    start = float(np.mean(raw[:early]))
    gained = start - float(np.nanmin(curve))
    lowest = max(early, int(np.nanargmin(curve)) + 1)
    is_flat = gained < max(NOISE_MARGIN * _noise(raw[:lowest]), FLAT_SHARE * abs(start), 1e-12)
    return "flat" if is_flat else "ok"


def _steepest(rates: Floats, curve: Floats, limit: int, early: int) -> float | None:
    """Rate of the steepest fall over log rate, before the lowest point and before anything is lost."""
    curve = curve[:limit]
    curve = curve[np.isfinite(curve)]
    end = int(np.argmin(curve)) + 1 if curve.size else 0
    half = max(1, early // 2)  # slopes over a few points, or noise has the last word
    first, last = early, end - half
    if last <= first:
        return None
    logs = np.log(rates)
    middle = np.arange(first, last)
    slopes = (curve[middle + half] - curve[middle - half]) / (
        logs[middle + half] - logs[middle - half]
    )
    return float(rates[first + int(np.argmin(slopes))])


def _ends(rates: Sequence[float | None]) -> tuple[float, float] | None:
    known = [rate for rate in rates if rate is not None]
    return (min(known), max(known)) if len(known) > 1 else None


def _ramp_words(facts: RampFacts, about: str, *, num_unbroken: int) -> str:
    high = rate_text(float(facts.rates[-1]))
    head = f"Range test ({about}):"
    if facts.state == "at_once":
        return (
            f"{head} it shows nothing, the loss breaks at once, at {rate_text(facts.limit or float(facts.rates[0]))}. Look at the "
            "scale of the inputs and targets, and at the initial weights."
        )
    if facts.state == "flat":
        end = (
            f"breaks at {rate_text(facts.limit)}"
            if facts.limit
            else f"does not break up to {high} either"
        )
        return f"{head} it shows nothing, the loss does not fall at any rate and {end}."
    parts = []
    if facts.steepest is not None:
        parts.append(
            f"the loss falls fastest at {rate_text(facts.steepest)}{_spread(facts.steepest_range)}"
        )
    if facts.limit is not None:
        among = _spread(facts.limit_range)
        among += f", with {units.counted(num_unbroken, 'seed')} not at all" if num_unbroken else ""
        parts.append(
            f"breaks at {rate_text(facts.limit)}{among}; a tenth of that is {rate_text(facts.limit / BELOW_LIMIT)}"
        )
    else:
        parts.append(f"does not break up to {high}")
    return f"{head} {' and '.join(parts)}."


def _spread(ends: tuple[float, float] | None) -> str:
    if ends is None:
        return ""
    low, high = (rate_text(end) for end in ends)
    return f" ({low} with every seed)" if low == high else f" ({low} to {high} over the seeds)"


# ---- the search ----------------------------------------------------------------------------


class Outcomes(NamedTuple):
    """Results of one rate: one value for each seed, NaN where it diverged, and the round it was tried in."""

    turn: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class Choice:
    """What a search has found so far.

    Attributes:
        rate: The rate to use; None when every rate diverged.
        best: The rate with the best mean.
        trials: Every rate, rising.
        edge: ``low`` or ``high`` where the best rate is the last one tried on that side, else empty.
        reason: Why this rate.
    """

    rate: float | None
    best: float | None
    trials: tuple[Trial, ...]
    edge: str
    reason: str


def first_rates(ramp: RampFacts) -> tuple[float, ...]:
    """Rates of the first round: where the range test says that something happens, else the usual range."""
    low, high = USUAL_RANGE
    if ramp.state == "ok" and ramp.suggestion is not None:
        top = float(ramp.rates[-1])
        high = min(top, ramp.limit or (ramp.steepest or top) * 100.0)
        low = max(ramp.suggestion / 30.0, high / 1e4)
    return log_spaced(low, high, NUM_WIDE)


def log_spaced(low: float, high: float, count: int) -> tuple[float, ...]:
    """Rates evenly spaced on a log scale, rounded to two digits so that they read well.

    Example:
        >>> log_spaced(1e-3, 1.0, 4)
        (0.001, 0.01, 0.1, 1.0)
    """
    spaced = np.geomspace(low, high, count)
    return tuple(sorted({float(f"{rate:.2g}") for rate in spaced}))


def next_rates(choice: Choice, *, last_turn: int) -> tuple[float, ...]:
    """Rates of the next round; empty when there is nothing more to learn.

    Where everything diverged the search goes on below; where the best rate lies at an edge, beyond that edge; else it
    narrows around the best, once.

    Args:
        choice: What was found so far.
        last_turn: Round that it was found in.
    """
    tried = [trial.rate for trial in choice.trials]
    if choice.best is None:
        return (
            log_spaced(max(BOUNDS[0], tried[0] / 1e4), tried[0] / 3.0, NUM_WIDE)
            if tried[0] > 1e-6
            else ()
        )
    if choice.edge:
        sign = 1.0 if choice.edge == "high" else -1.0
        beyond = [choice.best * STEP ** (sign * (k + 1)) for k in range(NUM_BEYOND)]
        return _fresh([rate for rate in beyond if BOUNDS[0] <= rate <= BOUNDS[1]], tried)
    is_narrow = any(
        trial.turn > 1 and 1.0 < max(trial.rate / choice.best, choice.best / trial.rate) < STEP**0.9
        for trial in choice.trials
    )
    if is_narrow and last_turn > 1:
        return ()
    around = [
        choice.best * STEP ** (k / NUM_NARROW) for k in range(-NUM_NARROW, NUM_NARROW + 1) if k
    ]
    return _fresh(around, tried)


def _fresh(rates: Sequence[float], tried: Sequence[float]) -> tuple[float, ...]:
    """Rounded rates that were not tried yet, nor anything within 7 % of them."""
    rounded = sorted({float(f"{rate:.2g}") for rate in rates})
    return tuple(rate for rate in rounded if all(abs(math.log(rate / one)) > 0.07 for one in tried))


def choose(outcomes: Mapping[float, Outcomes], *, metric: Metric) -> Choice:
    """Choose among the rates tried.

    Only rates at which the fewest seeds diverged come into question. Those whose result cannot be told from the best one
    (paired test over seeds, corrected for all of them) and lies within the best one's 95 % interval are as good as it is, as far as they
    lie next to each other. Of those the middle one on a log scale is taken, the larger one of two: it leaves most room for
    error on both sides.

    Args:
        outcomes: Results by rate, all with the same seeds.
        metric: What they are judged by.
    """
    rates = sorted(outcomes)
    values = np.array([outcomes[rate].values for rate in rates], dtype=np.float64)
    num_bad = np.isnan(values).sum(axis=1)
    places = _places(values, num_bad, metric)
    level = _level(places, resolution=metric.resolution)
    trials = tuple(
        Trial(
            rate=rate,
            turn=outcomes[rate].turn,
            values=tuple(float(value) for value in row if math.isfinite(value)),
            num_bad=int(num_bad[arm]),
            interval=places[arm].interval if arm in places else _interval(row, metric),
            standing=places[arm].standing if arm in places else _unsafe(row),
            is_level=arm in level,
        )
        for arm, (rate, row) in enumerate(zip(rates, values, strict=True))
    )
    if not level:
        reason = (
            f"No rate trained: every run from {rate_text(rates[0])} to {rate_text(rates[-1])} diverged. Look at the scale of the "
            "inputs and targets, the loss, and the initial weights."
        )
        return Choice(None, None, trials, "", reason)
    best = next(arm for arm, place in places.items() if place.standing == "best")
    chosen = _middle([trial.rate for trial in trials if trial.is_level])
    edge = "low" if best == 0 else "high" if best == len(rates) - 1 else ""
    return Choice(chosen, rates[best], trials, edge, _reason(trials, best, chosen, metric))


def _places(values: Floats, num_bad: NDArray[np.intp], metric: Metric) -> dict[int, Place]:
    """Where each rate stands (by its position on the scale) that lost the fewest seeds, the best first."""
    safe = np.flatnonzero(num_bad == num_bad.min())
    ranked = rank_arms(
        values[safe],
        direction=metric.direction,
        is_bad=np.isnan(values[safe]),
        worst=metric.chance,
        resolution=metric.resolution,
        limits=metric.limits,
    )
    return {int(safe[place.arm]): place for place in ranked}


def _interval(row: Floats, metric: Metric) -> Interval:
    return mean_interval(row, limits=metric.limits)


def _unsafe(row: Floats) -> Standing:
    return "failed" if np.isnan(row).all() else "unsafe"


def _level(places: Mapping[int, Place], *, resolution: float) -> frozenset[int]:
    """The rates (by position on the scale) that are as good as the best one and next to it or to each other."""
    best, first = next(iter(places.items()))
    if first.standing == "failed":
        return frozenset()
    width = first.interval.high - first.interval.low
    slack = max(width / 2 if math.isfinite(width) else 0.0, resolution)
    found = {best}
    for step in (-1, 1):
        here = best + step
        while here in places and _is_as_good(places[here], first, slack):
            found.add(here)
            here += step
    return frozenset(found)


def _is_as_good(place: Place, first: Place, slack: float) -> bool:
    return place.standing in ("tied", "untested") and abs(place.score - first.score) <= slack


def _middle(rates: Sequence[float]) -> float:
    """The rate nearest to the middle of all on a log scale, the larger one of two."""
    middle = math.log(rates[0] * rates[-1]) / 2
    return min(rates, key=lambda rate: (round(abs(math.log(rate) - middle), 9), -rate))


def _reason(trials: Sequence[Trial], best: int, chosen: float, metric: Metric) -> str:
    level = [trial for trial in trials if trial.is_level]
    taken = next(trial for trial in trials if trial.rate == chosen)
    seeds = units.counted(len(taken.values) + taken.num_bad, "seed")
    spread = metric.range_text(taken.interval)
    result = f"{metric.label} {metric.text(taken.interval.mean)}{f' {spread}' if spread else ''} over {seeds}"
    if len(level) == 1:
        return f"{rate_text(chosen)}: {result}, the best of {len(trials)} rates tried; none next to it comes within its interval."
    ends = f"{rate_text(level[0].rate)} to {rate_text(level[-1].rate)}"
    why = (
        "the larger of the two"
        if len(level) == 2
        else "the middle of them, with most room on both sides"
    )
    if trials[best].rate != chosen:
        why += f" (the best mean, {metric.text(trials[best].interval.mean)}, was at {rate_text(trials[best].rate)})"
    return f"{rate_text(chosen)}: {result}. The {len(level)} rates tried from {ends} cannot be told apart; this is {why}."


def edge_warning(choice: Choice) -> str:
    """What to say when the best rate lies at an edge of what was tried; empty when it does not."""
    if not choice.edge or choice.best is None:
        return ""
    side, way = ("largest", "larger") if choice.edge == "high" else ("smallest", "smaller")
    return (
        f"The best rate, {rate_text(choice.best)}, is the {side} one tried: a {way} one may be better still. Compare {way} ones in a "
        "study."
    )
