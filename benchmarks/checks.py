"""From raw repetitions to figures and verdicts. Pure: a result dictionary in, rows out."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import NamedTuple

from cases import BARS, VARIANTS, Bar


@dataclass(frozen=True)
class Check:
    """One bar with what was measured.

    Attributes:
        bar: The promise.
        value: Measured figure; None when something was not measured.
        value_best: The same against the fastest variant of the peer (threads, cache); None
            when there is no other variant.
        is_met: Whether the bar is reached (None: not measured, or only an aim was set).
        missing: What was not measured.
    """

    bar: Bar
    value: float | None
    value_best: float | None
    is_met: bool | None
    missing: str = ""

    def is_met_only_by_default(self) -> bool:
        """Whether the bar is reached against the peer's defaults, but not against its best variant."""
        known = self.value_best is not None and self.bar.bar is not None
        return bool(self.is_met and known and self.value_best < self.bar.bar)

    def verdict(self) -> str:
        """Met, missed and by how much, or why there is no figure; in words."""
        if self.value is None:
            return f"not measured: {self.missing}"
        if self.is_met_only_by_default():
            return "met, but not against the fastest variant"
        return {True: "met", False: f"MISSED, {self.short_of()}", None: "no bar"}[self.is_met]

    def short_of(self) -> str:
        """By how much the bar is missed, in words; empty when it is not."""
        if self.is_met is not False or self.value is None or self.bar.bar is None:
            return ""
        if self.bar.is_ceiling:
            return f"{show(self.value - self.bar.bar, self.bar.unit)} over"
        return f"{100 * (1 - self.value / self.bar.bar):.0f} % short"


def show(value: float | None, unit: str) -> str:
    """A figure with its unit, for people."""
    if value is None:
        return "-"
    if unit == "bytes":
        return f"{value / 1024**3:.2f} GiB"
    if unit == "fraction":
        return f"{100 * value:.1f} %"
    return f"{value:.2f} {unit}" if unit == "s" else f"{value:.2f}{unit}"


def median(contender: dict, quantity: str) -> float | None:
    """Median over the repetitions of a contender; None when it was not measured."""
    values = [
        float(row[quantity])
        for row in contender.get("repetitions", ())
        if row.get(quantity) is not None
    ]
    return statistics.median(values) if values else None


def rate(contender: dict) -> float | None:
    """Median of samples trained on per second of training and validation, all lanes together."""
    values = [
        row["training_samples"] / row["training_s"]
        for row in contender.get("repetitions", ())
        if row.get("training_s") and row.get("training_samples")
    ]
    return statistics.median(values) if values else None


def seconds_per_sample(contender: dict) -> float | None:
    """Inverse of `rate`."""
    found = rate(contender)
    return 1 / found if found else None


def cost(contender: dict, measure: str) -> float | None:
    """What less of is better: seconds of the process or of training, or seconds per sample."""
    if measure == "wall":
        return median(contender, "wall_s")
    return seconds_per_sample(contender)


def peak_fraction(result: dict, case: dict, bar: Bar) -> float | None:
    """Share of the measured matrix peak that training and validation reach."""
    peak = result["cases"].get("peak", {}).get("gflops", {}).get("float32")
    reached = rate(case["contenders"].get(bar.ours, {}))
    if not peak or not reached:
        return None
    return reached * case["work"]["flops_per_sample"] / (peak * 1e9)


class Cost(NamedTuple):
    """What one form of watching costs beside another, as a share of its time: the median over rounds, and its 95 % interval."""

    share: float
    low: float
    high: float
    rounds: int


def watching_cost(case: dict, form: str, *, beside: str = "bare") -> Cost | None:
    """Seconds of turns over those of the same round, minus 1 (see watching.py)."""
    seconds = case.get("seconds", {})
    pairs = list(zip(seconds.get(form, ()), seconds.get(beside, ()), strict=True))
    if not pairs:
        return None
    ratios, count = sorted(one / other - 1 for one, other in pairs), len(pairs)
    # Ranks between which the median lies: how many of `count` fair coins show heads.
    out = int(count / 2 - 0.98 * math.sqrt(count))
    low, high = (ratios[0], ratios[-1]) if out < 0 else (ratios[out], ratios[count - 1 - out])
    return Cost(statistics.median(ratios), low, high, count)


def single(result: dict, case: dict, bar: Bar) -> float | None:
    """A figure that is not a ratio against a peer."""
    if bar.measure == "peak_fraction":
        return peak_fraction(result, case, bar)
    if bar.measure == "watching_fraction":
        found = watching_cost(case.get(bar.id.split(".")[0], {}), "default", beside=bar.theirs)
        return found and found.share
    if bar.case == "start":
        return case.get(bar.measure)
    if bar.case == "r7":
        return streaming_figure(case, bar.measure)
    return median(case["contenders"].get(bar.ours, {}), bar.measure)


def streaming_figure(case: dict, measure: str) -> float | None:
    """Rate of streaming against memory, or the peak memory on a large file (see streaming.py)."""
    return case.get("memory" if measure == "peak_rss_bytes" else "rate", {}).get(measure)


def check(result: dict, bar: Bar) -> Check:
    """Measure one bar in a result."""
    case = result["cases"].get(bar.case)
    if case is None:
        return Check(bar, None, None, None, f"{bar.case} was not run")
    best = None
    if bar.theirs and bar.measure != "watching_fraction":
        contenders = case["contenders"]
        ours = cost(contenders.get(bar.ours, {}), bar.measure)
        costs = {
            name: cost(contenders.get(name, {}), bar.measure)
            for name in VARIANTS.get(bar.theirs, (bar.theirs,))
        }
        theirs = costs[bar.theirs]
        value = theirs / ours if theirs and ours else None
        known = [found for found in costs.values() if found]
        best = min(known) / ours if len(known) > 1 and ours else None
    else:
        value = single(result, case, bar)
    if value is None:
        return Check(bar, None, None, None, why_missing(case, bar))
    if bar.bar is None:
        return Check(bar, value, best, None)
    return Check(bar, value, best, value <= bar.bar if bar.is_ceiling else value >= bar.bar)


def why_missing(case: dict, bar: Bar) -> str:
    """Which contender has no figure, and why."""
    for name in (bar.ours, bar.theirs):
        contender = case.get("contenders", {}).get(name)
        if name and "contenders" in case and contender is None:
            return f"{name} was not run"
        if contender is not None and not contender.get("repetitions"):
            reason = contender.get("skipped") or contender.get("failed", "")
            return f"{name}: {reason.strip().splitlines()[-1] if reason else 'no figure'}"
    return "not measured"


def checks(result: dict) -> list[Check]:
    """All bars in the order of the table."""
    return [check(result, bar) for bar in BARS]


def lines(result: dict) -> list[str]:
    """The bars as text, one line each."""
    rows = []
    for found in checks(result):
        bar = found.bar
        sign = "<=" if bar.is_ceiling else ">="
        goal = f"{sign} {show(bar.bar, bar.unit)}" if bar.bar is not None else "aim"
        if bar.aim is not None:
            goal += f" (aim {show(bar.aim, bar.unit)})"
        best = f"  [best variant: {show(found.value_best, bar.unit)}]" if found.value_best else ""
        rows.append(
            f"{bar.text:78s} {show(found.value, bar.unit):>10s}  {goal:20s} {found.verdict()}{best}"
        )
    return rows
