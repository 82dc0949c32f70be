"""From a study folder to plain facts: everything that the report and results.json say.

Owns what the records mean: which arm is best, which cannot be told from it, what went wrong
where. Draws nothing and words nothing but the labels of things. Imports `store` and `stats`;
must not import JAX, pandas, SciPy or Altair.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from lanework.report import health_facts, units
from lanework.report.health_facts import Found, RunHealth
from lanework.stats import (
    Direction,
    Floats,
    Interval,
    Place,
    Resampling,
    arm_interval,
    by_fold,
    mean_interval,
    rank_arms,
)
from lanework.store import Event, FindingRow, RunResult, RunRow, Store

MAX_CURVE_ARMS: Final = 60
MIN_TESTED_SEEDS: Final = 3  # with fewer, nothing is said about the size of the noise
BAD_STATUSES: Final = ("diverged", "failed")


class Verdict(NamedTuple):
    """What a verdict code means."""

    label: str
    sentence: str
    is_trouble: bool


VERDICTS: Final[Mapping[str, Verdict]] = {
    "ok": Verdict("fine", "Trained to its end; nothing was found to be wrong.", False),
    "stopped_early": Verdict(
        "stopped early", "Stopped before its last epoch because it no longer got better.", False
    ),
    "healed": Verdict(
        "healed",
        "The loss stopped being finite; the run went back to its last good snapshot with a "
        "lower learning rate and trained to its end.",
        True,
    ),
    "diverged": Verdict(
        "diverged",
        "The loss stopped being finite, also after going back with a lower learning rate; the "
        "run was retired and has no result.",
        True,
    ),
    "chance": Verdict(
        "at chance",
        "The run never did better than guessing: it trained, but it learned nothing.",
        True,
    ),
    "failed": Verdict("failed", "The run could not be carried out and has no result.", True),
    "incomplete": Verdict("not finished", "The study ended before this run did.", True),
}
NO_BETTER_THAN_MEAN: Final = Verdict(
    "no better than the mean",
    "On validation the run did no better than predicting the mean of the target.",
    True,
)


@dataclass(frozen=True)
class Metric:
    """What the study is judged by.

    Attributes:
        name: As recorded, for example ``val_accuracy``.
        part: ``train``, ``val``, ``test`` or empty.
        quantity: Name without the part.
        label: In words, for example ``validation accuracy``.
        direction: What is better, ``max`` or ``min``.
        is_fraction: Lies in [0, 1] and is shown in per cent.
        unit: Shown after a value; empty when there is none.
        decimals: Digits after the point that seed noise leaves meaningful.
        chance: Value that guessing reaches, or None when not known.
        resolution: Smallest possible step of the metric (0 when continuous).
    """

    name: str
    part: str
    quantity: str
    label: str
    direction: Direction
    is_fraction: bool
    unit: str
    decimals: int = 1
    chance: float | None = None
    resolution: float = 0.0

    @property
    def factor(self) -> float:
        """Times which a stored value is shown."""
        return 100.0 if self.is_fraction else 1.0

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest value there can be."""
        if self.is_fraction:
            return (0.0, 1.0)
        if self.quantity == "r2":
            return (-math.inf, 1.0)
        return (0.0 if self.quantity in _ERRORS else -math.inf, math.inf)

    def text(self, value: float | None, *, has_unit: bool = True) -> str:
        """A value with its unit."""
        shown = None if value is None else value * self.factor
        text = units.fixed(shown, self.decimals)
        is_known = value is not None and not math.isnan(value)
        return f"{text}{units.THIN}{self.unit}" if has_unit and self.unit and is_known else text

    def range_text(self, interval: Interval) -> str:
        """The bounds of an interval in square brackets, or nothing when there are none."""
        if math.isnan(interval.low):
            return ""
        low, high = interval.low, interval.high
        return f"[{self.text(low, has_unit=False)}, {self.text(high, has_unit=False)}]"

    def difference_range_text(self, low: float, high: float) -> str:
        """From the smaller to the larger of two differences; one of them where they look the same."""
        small = units.fixed(low * self.factor, self.decimals)
        large = units.fixed(high * self.factor, self.decimals)
        shown = self.difference_text(high)
        return shown if small == large else f"{small} to {shown}"

    def difference_text(self, value: float, *, is_signed: bool = False) -> str:
        """A difference; those between shares are in percentage points."""
        text = units.fixed(value * self.factor, self.decimals, is_signed=is_signed)
        if self.is_fraction:
            return (
                f"{text} {'point' if text.strip('+' + units.MINUS) in ('1', '1.0') else 'points'}"
            )
        return f"{text}{units.THIN}{self.unit}" if self.unit else text


@dataclass(frozen=True)
class FactorFacts:
    """One thing that the study varies.

    Attributes:
        key: As in the study file.
        label: In words.
        values: Its values, numbers in rising order.
        kind: ``rate`` (the learning rate), ``number`` or ``choice``.
        is_log: A number that is spread over a logarithmic scale.
    """

    key: str
    label: str
    values: tuple[Any, ...]
    kind: str
    is_log: bool


@dataclass(frozen=True)
class RunFacts:
    """One run: a recipe with one seed. `value` is the study's metric, None without a result."""

    run: int
    arm: int
    arm_label: str
    seed: int
    bucket: int
    status: str
    verdict: str
    num_healed: int
    steps: int
    best_step: int
    seconds: float
    test_seconds: float
    value: float | None
    metrics: Mapping[str, float]
    fold: int | None = None

    @property
    def is_bad(self) -> bool:
        """Whether the run ended without a usable result."""
        return self.status in BAD_STATUSES


@dataclass(frozen=True)
class ArmFacts:
    """One recipe over all its seeds. `level` groups arms that differ in learning rate only."""

    arm: int
    name: str
    label: str
    factors: Mapping[str, Any]
    level: int
    rank: int
    place: Place
    test: Interval
    runs: tuple[int, ...]
    num_diverged: int
    num_healed: int
    num_chance: int
    num_open: int
    seconds: float


@dataclass(frozen=True)
class LevelFacts:
    """Arms that differ in learning rate only, judged by the best of them.

    Attributes:
        level: Number, 0 for the best; also decides the colour everywhere in the report.
        label: The values of the other factors, for example ``adam``.
        rate: Learning rate of the best arm, None when it is not varied.
        arms: Arm numbers.
        best: Arm number of the best.
        place: Where the best arm stands among the best arms of all levels.
    """

    level: int
    label: str
    rate: float | None
    arms: tuple[int, ...]
    best: int
    place: Place


class Edge(NamedTuple):
    """A best value that lies at the edge of what was tried."""

    level: int
    factor: str
    value: float
    side: str  # "largest" or "smallest"


class Folds(NamedTuple):
    """Cross-validation: how many folds, and how often they were dealt."""

    number: int
    repeats: int

    @property
    def overlap(self) -> float:
        """Validation rows of a fold over its training rows."""
        return 1.0 / (self.number - 1)


class Curve(NamedTuple):
    """One metric of one arm over training; `values` has shape [seed, point], or [fold, point] with its `overlap`."""

    epochs: Floats
    values: Floats
    seeds: tuple[int, ...]
    overlap: float = 0.0


@dataclass(frozen=True)
class Facts:
    """Everything there is to say about a study, in plain records.

    Attributes:
        study: Name of the study.
        notes: Free text of its author.
        text: The study file as understood.
        content_hash: Hash of the study file's meaning.
        task: ``classification``, ``regression`` or empty.
        metric: What the study is judged by.
        factors: What it varies.
        seeds: The seeds.
        arms: The recipes, best first.
        levels: Groups of arms that differ in learning rate only, best first.
        runs: All planned runs.
        curves: Curves by (arm, metric name), of up to `MAX_CURVE_ARMS` arms.
        edges: Best values at the edge of what was tried.
        events: What happened, in order.
        datasets: Summary of each data set, as recorded; the first is that of the first arm.
        machine: Description of the machine, as recorded.
        plan: What the planner chose and why, as recorded.
        timings: Where the time went, as recorded.
        folds: Cross-validation, None for none; then values are compared over folds.
        starts: What the weights of each network start from, as recorded.
        findings: What is the matter with which run, by run, worst first.
        causes: Words for the causes that were found, as recorded; None where nothing was judged yet.
        sick: What is the matter by recipe, the worst recipe first, each cause once.
        watched: What was recorded of the layers of a few runs, sick ones first.
        check: What was looked at before training, as recorded; empty where nothing was.
        remedies: What was tried against what was found sick, as recorded; empty where nothing was.
    """

    study: str
    notes: str
    text: str
    content_hash: str
    task: str
    metric: Metric
    factors: tuple[FactorFacts, ...]
    seeds: tuple[int, ...]
    arms: tuple[ArmFacts, ...]
    levels: tuple[LevelFacts, ...]
    runs: tuple[RunFacts, ...]
    curves: Mapping[tuple[int, str], Curve]
    edges: tuple[Edge, ...]
    events: tuple[Event, ...]
    datasets: tuple[Mapping[str, Any], ...]
    machine: Mapping[str, Any]
    plan: Mapping[str, Any]
    timings: Mapping[str, Any]
    folds: Folds | None = None
    starts: tuple[Mapping[str, Any], ...] = ()
    findings: tuple[FindingRow, ...] = ()
    causes: Mapping[str, Any] | None = None
    sick: Mapping[int, tuple[Found, ...]] = field(default_factory=dict)
    watched: tuple[RunHealth, ...] = ()
    check: Mapping[str, Any] = field(default_factory=dict)
    remedies: Mapping[str, Any] = field(default_factory=dict)

    @property
    def noun(self) -> str:
        """What results are compared over: seeds, or folds (over whose seeds is averaged)."""
        return "fold" if self.folds else "seed"

    @property
    def num_columns(self) -> int:
        """Runs of a recipe: seeds times folds."""
        return len({(run.seed, run.fold) for run in self.runs})

    @property
    def data(self) -> Mapping[str, Any]:
        """Summary of the (first) data set."""
        return self.datasets[0] if self.datasets else {}

    def arm(self, number: int) -> ArmFacts:
        """The arm with that number."""
        return next(arm for arm in self.arms if arm.arm == number)

    def verdict(self, code: str) -> Verdict:
        """What a verdict code means in this study; an unknown one stands for itself."""
        if code == "chance" and self.task == "regression":
            return NO_BETTER_THAN_MEAN
        return VERDICTS.get(code) or Verdict(code, "", False)

    @property
    def row_factors(self) -> tuple[FactorFacts, ...]:
        """Varied factors that decide which rows a recipe is trained and measured on."""
        return tuple(f for f in self.factors if len(f.values) > 1 and _changes_rows(f.key))

    def factor(self, kind: str) -> FactorFacts | None:
        """The first factor of that kind, if the study varies one."""
        return next((factor for factor in self.factors if factor.kind == kind), None)

    @property
    def num_open(self) -> int:
        """Runs that have not ended."""
        return sum(run.verdict == "incomplete" for run in self.runs)


def read_facts(folder: Path) -> Facts:
    """Reads a study folder.

    Args:
        folder: Folder that a study wrote; it may be unfinished.

    Returns:
        The facts.

    Raises:
        StoreError: The folder holds no readable records.
    """
    with Store(Path(folder), create=False) as store:
        study = _mapping(store.meta("study"))
        summaries = store.meta("data")
        datasets = tuple(map(_mapping, summaries if isinstance(summaries, list) else [summaries]))
        data = datasets[0] if datasets else {}
        planned, events = store.runs(), store.events()
        results = {result.run: result for result in store.results()}
        task = str(data.get("task") or store.meta("task") or "")
        given = _mapping(study.get("report")).get("metric") or store.meta("metric")
        name = str(given) if given else _usual_metric(results.values(), task)
        runs = _run_facts(planned, results, events, metric=name)
        metric = _metric(name, data, runs)
        factors = _factors([row.factors for row in planned])
        folds = _folds(data) if any(row.fold is not None for row in planned) else None
        arms, levels = _compare(planned, runs, metric, factors, folds)
        curves = _curves(store, arms, levels, runs, folds)
        findings, causes = store.findings(), store.meta("causes")
        sick, watched = _health(store, findings, _mapping(causes), arms, runs, metric)
        return Facts(
            study=str(study.get("study") or Path(folder).resolve().name),
            notes=str(study.get("notes") or ""),
            text=_study_text(Path(folder), study),
            content_hash=str(store.meta("hash") or ""),
            task=task,
            metric=metric,
            factors=factors,
            seeds=tuple(sorted({row.seed for row in planned})),
            arms=arms,
            levels=levels,
            runs=runs,
            curves=curves,
            edges=_edges(levels, arms, factors),
            events=events,
            datasets=datasets,
            machine=_mapping(store.meta("machine")),
            plan=_mapping(store.meta("plan")),
            starts=tuple(map(_mapping, _items(store.meta("starts")))),
            check=_mapping(store.meta("check")),
            timings=_mapping(store.meta("timings")),
            folds=folds,
            findings=findings,
            causes=causes,
            sick=sick,
            watched=watched,
            remedies=_mapping(store.meta("remedies")),
        )


def _health(
    store: Store,
    findings: Sequence[FindingRow],
    causes: Mapping[str, Any],
    arms: Sequence[ArmFacts],
    runs: Sequence[RunFacts],
    metric: Metric,
) -> tuple[dict[int, tuple[Found, ...]], tuple[RunHealth, ...]]:
    """What is the matter by recipe, worst first, and the layers of a few runs."""
    by_arm = health_facts.grouped(findings, {run.run: run.arm for run in runs}, causes)
    order = sorted(by_arm, key=lambda arm: health_facts.badness(by_arm[arm][0].row))
    sign = 1.0 if metric.direction == "max" else -1.0
    ended = sorted(
        (run for run in runs if run.value is not None), key=lambda r: sign * (r.value or 0.0)
    )
    best = {run.arm: run.run for run in ended}
    shown = health_facts.shown_runs(by_arm, [arm.arm for arm in arms], best)
    watched = [health_facts.run_health(store, run) for run in shown]
    return {arm: by_arm[arm] for arm in order}, tuple(one for one in watched if one.layers)


# ---- the metric ----------------------------------------------------------------------------

_PARTS: Final = {"train": "training", "val": "validation", "test": "test"}
_MAXIMISED: Final = ("accuracy", "r2", "f1", "auc", "precision", "recall", "balanced_accuracy")
_FRACTIONS: Final = (
    *("accuracy", "balanced_accuracy", "f1", "auc", "precision", "recall"),
    "clipped_share",
)
_ERRORS: Final = ("loss", "rmse", "mae", "mse", "grad_norm_p90")  # never below zero
_QUANTITIES: Final = {
    "clipped_share": "share of clipped steps",
    "grad_norm_p90": "90th percentile of gradient norms",
}
RAW: Final = "raw_"


def metric_named(name: str, *, unit: str = "") -> Metric:
    """What a recorded metric is, by its name alone.

    Args:
        name: As recorded, for example ``val_accuracy``.
        unit: Unit of the target, for errors of a regression.
    """
    part, _, quantity = name.partition("_")
    if part not in _PARTS or not quantity:
        part, quantity = "", name
    label = f"{_PARTS.get(part, '')} {_QUANTITIES.get(quantity) or units.words(quantity)}".strip()
    # What is recorded beside an average: the same quantity, of the weights themselves.
    if quantity.startswith(RAW):
        quantity = quantity.removeprefix(RAW)
        label = f"{_PARTS.get(part, '')} {units.words(quantity)} of the weights themselves"
    is_fraction = quantity in _FRACTIONS
    shown = "%" if is_fraction else unit if quantity in ("rmse", "mae") else ""
    direction: Direction = "max" if quantity in _MAXIMISED else "min"
    decimals = 1 if is_fraction else 3
    return Metric(name, part, quantity, label, direction, is_fraction, shown, decimals)


def _usual_metric(results: Iterable[RunResult], task: str) -> str:
    names = {name for result in results for name in result.metrics}
    wanted = ("val_rmse", "val_loss") if task == "regression" else ("val_accuracy", "val_loss")
    return next((name for name in wanted if name in names), wanted[0])


def _metric(name: str, data: Mapping[str, Any], runs: Sequence[RunFacts]) -> Metric:
    base = metric_named(name, unit=str(data.get("target_unit") or ""))
    by_arm: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        if run.value is not None and not run.is_bad:
            by_arm[run.arm].append(run.value)
    spreads = [mean_interval(values).sd * base.factor for values in by_arm.values()]
    spreads = [sd for sd in spreads if math.isfinite(sd) and sd > 0]
    extra = 0 if base.is_fraction else 1
    decimals = base.decimals
    if spreads:
        decimals = extra - math.floor(math.log10(float(np.median(spreads))))
    decimals = min(max(decimals, 1 if base.is_fraction else 0), 6)
    chance, resolution = _chance_and_resolution(base, data)
    return Metric(
        *(base.name, base.part, base.quantity, base.label, base.direction, base.is_fraction),
        *(base.unit, decimals, chance, resolution),
    )


def _chance_and_resolution(metric: Metric, data: Mapping[str, Any]) -> tuple[float | None, float]:
    """What guessing reaches, as recorded or from the class counts; one over the samples."""
    part = metric.part or "val"
    known = _mapping(_mapping(data.get("baseline")).get(part)).get(metric.quantity)
    chance = float(known) if isinstance(known, int | float) else None
    if metric.quantity != "accuracy":
        return chance, 0.0
    counts = [_number(_mapping(row).get(part)) for row in data.get("classes") or ()]
    total = sum(counts)
    if chance is None and total > 0:
        chance = max(counts) / total
    total = total or _number(_mapping(data.get("parts")).get(part))
    return chance, 1.0 / total if total else 0.0


# ---- runs, arms, levels --------------------------------------------------------------------


def _run_facts(
    planned: Sequence[RunRow],
    results: Mapping[int, RunResult],
    events: Sequence[Event],
    *,
    metric: str,
) -> tuple[RunFacts, ...]:
    healed = Counter(event.run for event in events if event.kind == "healed")
    labels = _arm_labels(planned)
    waiting = RunResult(-1, "incomplete", "incomplete", 0, 0, 0.0, 0.0, {})
    return tuple(
        RunFacts(
            run=row.run,
            arm=row.arm,
            arm_label=labels[row.arm],
            seed=row.seed,
            bucket=row.bucket,
            status=result.status,
            verdict=result.verdict,
            num_healed=healed[row.run],
            steps=result.steps,
            best_step=result.best_step,
            seconds=result.seconds,
            test_seconds=result.test_seconds,
            value=_value(result, metric),
            metrics=result.metrics,
            fold=row.fold,
        )
        for row in planned
        for result in (results.get(row.run, waiting),)
    )


def _value(result: RunResult, metric: str) -> float | None:
    value = result.metrics.get(metric)
    is_usable = result.status not in BAD_STATUSES and value is not None and math.isfinite(value)
    return value if is_usable else None


def _arm_labels(planned: Sequence[RunRow]) -> dict[int, str]:
    """Labels made of the factors, or the arms' own names where those would not be unique."""
    rows = {row.arm: row for row in planned}
    shown = {arm: factors_label(row.factors) or row.arm_name for arm, row in rows.items()}
    if len(set(shown.values())) < len(shown):
        return {arm: row.arm_name for arm, row in rows.items()}
    return shown


def factors_label(factors: Mapping[str, Any]) -> str:
    """The values of some factors in one line; values that say little alone carry their factor's name."""
    return " \u00b7 ".join(
        scalar if _speaks(key, value) else f"{_key_words(key)} {scalar}"
        for key, value in factors.items()
        for scalar in (units.scalar(value),)
    )


_SPEAKING: Final = ("optimizer", "schedule", "loss", "net", "recipe")


def _speaks(key: str, value: Any) -> bool:
    """Whether a value says by itself what it is a value of: adam does; all, standard and 64-64 do not."""
    is_name = isinstance(value, str) and value != "none" and any(c.isalpha() for c in value)
    return is_name and key.removesuffix(".name").rpartition(".")[2] in _SPEAKING


def _key_words(key: str) -> str:
    """The name of a factor in words; the seed of something is named with it."""
    parts = key.split(".")
    return units.words(".".join(parts[-2:] if parts[-1] in ("seed", "name") else parts[-1:]))


def _changes_rows(key: str) -> bool:
    first = key.removeprefix("data.").partition(".")[0]
    return first in ("split", "source", "limit_rows")


def _factors(rows: Sequence[Mapping[str, Any]]) -> tuple[FactorFacts, ...]:
    values: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in rows:
        for key, value in row.items():
            values[key].setdefault(repr(value), value)
    return tuple(_factor(key, list(seen.values())) for key, seen in values.items())


def _factor(key: str, values: list[Any]) -> FactorFacts:
    is_number = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    kind = "choice"
    if is_number:
        kind = "rate" if is_rate(key) else "number"
        values = sorted(values)
    positive = [float(v) for v in values if v > 0] if is_number else []
    is_log = len(positive) > 1 and max(positive) / min(positive) >= 20
    return FactorFacts(key, _key_words(key), tuple(values), kind, is_log)


def is_rate(key: str) -> bool:
    """Whether a factor is the learning rate, which every recipe has to be tuned for."""
    return key == "learning_rate" or key.endswith(".learning_rate")


def _compare(
    planned: Sequence[RunRow],
    runs: Sequence[RunFacts],
    metric: Metric,
    factors: Sequence[FactorFacts],
    folds: Folds | None,
) -> tuple[tuple[ArmFacts, ...], tuple[LevelFacts, ...]]:
    by_arm: dict[int, list[RunFacts]] = defaultdict(list)
    for run in runs:
        by_arm[run.arm].append(run)
    rows = {row.arm: row for row in planned}
    keys = _level_keys(rows, factors)
    level_of = {key: number for number, key in enumerate(dict.fromkeys(keys.values()))}
    places = _rank(list(by_arm), by_arm, metric, folds)
    arms = tuple(
        _arm_facts(
            rows[arm],
            by_arm[arm],
            place,
            rank=rank,
            level=level_of[keys[arm]],
            metric=metric,
            folds=folds,
        )
        for rank, (arm, place) in enumerate(places, start=1)
    )
    best: dict[int, ArmFacts] = {}
    for one in arms:
        best.setdefault(one.level, one)
    order = _rank([one.arm for one in best.values()], by_arm, metric, folds)
    by_number = {one.arm: one for one in arms}
    new = {by_number[arm].level: number for number, (arm, _) in enumerate(order)}
    arms = tuple(replace(one, level=new[one.level]) for one in arms)
    by_number = {one.arm: one for one in arms}
    levels = tuple(
        _level_facts(by_number[arm], place, arms=arms, factors=factors) for arm, place in order
    )
    return arms, levels


def _level_keys(
    rows: Mapping[int, RunRow], factors: Sequence[FactorFacts]
) -> dict[int, tuple[str, ...]]:
    """What an arm is compared by: everything but the learning rate, if there is anything."""
    others = [factor.key for factor in factors if factor.kind != "rate" and len(factor.values) > 1]
    if not others:
        return {arm: (str(arm),) for arm in rows}
    return {arm: tuple(repr(row.factors.get(key)) for key in others) for arm, row in rows.items()}


def _rank(
    numbers: Sequence[int],
    by_arm: Mapping[int, Sequence[RunFacts]],
    metric: Metric,
    folds: Folds | None,
) -> list[tuple[int, Place]]:
    pairs = sorted({_pair(run) for runs in by_arm.values() for run in runs})
    column = {pair: index for index, pair in enumerate(pairs)}
    values = np.full((len(numbers), len(pairs)), np.nan)
    is_bad = np.zeros(values.shape, dtype=bool)
    for row, arm in enumerate(numbers):
        for run in by_arm[arm]:
            values[row, column[_pair(run)]] = np.nan if run.value is None else run.value
            is_bad[row, column[_pair(run)]] = run.is_bad
    places = rank_arms(
        values,
        direction=metric.direction,
        is_bad=is_bad,
        worst=metric.chance,
        resolution=metric.resolution,
        limits=metric.limits,
        resampling=_resampling([fold for _, fold in pairs], folds),
    )
    return [(numbers[place.arm], place) for place in places]


def _pair(run: RunFacts) -> tuple[int, int]:
    """Seed and fold: runs of different recipes with equal ones saw the same rows and weights."""
    return run.seed, -1 if run.fold is None else run.fold


def _resampling(columns: Sequence[int], folds: Folds | None) -> Resampling | None:
    return None if folds is None else Resampling(tuple(columns), folds.overlap)


def _folds(data: Mapping[str, Any]) -> Folds | None:
    known = _mapping(data.get("folds"))
    number = int(_number(known.get("folds")))
    return Folds(number, int(_number(known.get("repeats"))) or 1) if number > 1 else None


def _arm_facts(
    row: RunRow,
    runs: Sequence[RunFacts],
    place: Place,
    *,
    rank: int,
    level: int,
    metric: Metric,
    folds: Folds | None,
) -> ArmFacts:
    verdicts = Counter(run.verdict for run in runs)
    ended = [run for run in runs if not run.is_bad]
    test = np.array([run.metrics.get(f"test_{metric.quantity}", math.nan) for run in ended])
    test[~np.isfinite(test)] = np.nan
    resampling = _resampling([_pair(run)[1] for run in ended], folds) if ended else None
    return ArmFacts(
        arm=row.arm,
        name=row.arm_name,
        label=runs[0].arm_label,
        factors=row.factors,
        level=level,
        rank=rank,
        place=place,
        test=arm_interval(test, limits=metric.limits, resampling=resampling),
        runs=tuple(run.run for run in runs),
        num_diverged=sum(run.is_bad for run in runs),
        num_healed=sum(run.num_healed > 0 and not run.is_bad for run in runs),
        num_chance=verdicts["chance"],
        num_open=verdicts["incomplete"],
        seconds=sum(run.seconds + run.test_seconds for run in runs),
    )


def _level_facts(
    best: ArmFacts, place: Place, *, arms: Sequence[ArmFacts], factors: Sequence[FactorFacts]
) -> LevelFacts:
    rate = next((f.key for f in factors if f.kind == "rate" and len(f.values) > 1), None)
    others = {key: v for key, v in best.factors.items() if key != rate and _varies(key, factors)}
    own_rate = best.factors.get(rate) if rate else None
    return LevelFacts(
        level=best.level,
        label=factors_label(others) or best.label,
        rate=own_rate if others else None,
        arms=tuple(arm.arm for arm in arms if arm.level == best.level),
        best=best.arm,
        place=place,
    )


def _varies(key: str, factors: Sequence[FactorFacts]) -> bool:
    return any(factor.key == key and len(factor.values) > 1 for factor in factors)


def _edges(
    levels: Sequence[LevelFacts], arms: Sequence[ArmFacts], factors: Sequence[FactorFacts]
) -> tuple[Edge, ...]:
    """Best learning rates of every level, and other best numbers of the winner, at an edge."""
    best = {arm.arm: arm for arm in arms}
    edges = []
    is_grouped = any(level.rate is not None for level in levels)
    for position, level in enumerate(levels):
        if level.place.standing == "failed" or not level.place.interval.num_values:
            continue
        for factor in factors:
            is_looked_at = position == 0 or (factor.kind == "rate" and is_grouped)
            if factor.kind == "choice" or len(factor.values) < 3 or not is_looked_at:
                continue
            value = best[level.best].factors.get(factor.key)
            if value == factor.values[-1]:
                edges.append(Edge(level.level, factor.key, float(value), "largest"))
            elif value == factor.values[0] and value != 0:
                edges.append(Edge(level.level, factor.key, float(value), "smallest"))
    return tuple(edges)


# ---- curves --------------------------------------------------------------------------------


def _curves(
    store: Store,
    arms: Sequence[ArmFacts],
    levels: Sequence[LevelFacts],
    runs: Sequence[RunFacts],
    folds: Folds | None,
) -> dict[tuple[int, str], Curve]:
    chosen = [level.best for level in levels] + [arm.arm for arm in arms]
    shown = set(list(dict.fromkeys(chosen))[:MAX_CURVE_ARMS])
    found: dict[tuple[int, str], dict[tuple[int, int], dict[float, float]]] = defaultdict(dict)
    for run in runs:
        if run.arm in shown:
            for row in store.metrics(run.run):
                found[run.arm, row.name].setdefault(_pair(run), {})[row.epoch] = row.value
    return {key: _curve(by_run, folds) for key, by_run in found.items()}


def _curve(by_run: Mapping[tuple[int, int], Mapping[float, float]], folds: Folds | None) -> Curve:
    epochs = sorted({epoch for points in by_run.values() for epoch in points})
    rows = [[points.get(epoch, math.nan) for epoch in epochs] for points in by_run.values()]
    values = np.array(rows, dtype=np.float64)
    if folds is None:
        return Curve(np.array(epochs), values, tuple(seed for seed, _ in by_run))
    known = [fold for _, fold in by_run]
    how = Resampling(tuple(known), folds.overlap)
    means = np.stack([by_fold(column, how) for column in values.T], axis=1)
    return Curve(np.array(epochs), means, tuple(sorted(set(known))), folds.overlap)


# ---- small things --------------------------------------------------------------------------


def _study_text(folder: Path, study: Mapping[str, Any]) -> str:
    path = folder / "study.yaml"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    return str(study.get("text") or "")


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
