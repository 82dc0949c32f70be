"""The search for a learning rate: range tests and log-narrowing rounds in throw-away lanes.

Owns the making of the studies that are trained for it and `lanework rate`; what follows from their numbers is said by
`rate_choice`. Everything is trained by the same functions as any study, into a folder that is deleted. Nothing depends on a clock, so the
same study finds the same rates.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from lanework import data as data_package
from lanework.api import preparing, training
from lanework.api.rate_choice import (
    Choice,
    Outcomes,
    choose,
    edge_warning,
    first_rates,
    next_rates,
    ramp_facts,
)
from lanework.api.session import Watcher
from lanework.cohort import devices
from lanework.errors import Problem, SpecError, StoreError
from lanework.report import rate_page, units
from lanework.report.facts import Metric, metric_named
from lanework.report.rate_page import RampFacts, RateFacts, SearchFacts, rate_text
from lanework.spec import (
    Arm,
    Compare,
    Factor,
    Recipe,
    ReportSpec,
    RunConfig,
    StudySpec,
    expand,
    load_study,
    may_have_auto,
    resolve,
)
from lanework.spec.compare import difference
from lanework.spec.expand import check_arms
from lanework.spec.sections import plain_config
from lanework.store import Store

__all__ = ["rate", "resolve_auto", "search", "stand_in", "summary"]

AUTO: Final = "auto"
RATE: Final = "train.learning_rate"
NUM_SEEDS: Final = 5
SEED_BASE: Final = 1_000_000  # seeds of the search, far from those that studies count from 0
MAX_RECIPES: Final = 24
MAX_TURNS: Final = 3
RAMP_RANGE: Final = (1e-6, 10.0)
RAMP_STEPS, RAMP_POINTS, MOST_RAMP_STEPS = 400, 100, 800
SEARCH_STEPS, MOST_SEARCH_STEPS = 500, 2000
SEARCH_EVALUATIONS: Final = 10
Plain = dict[str, Any]


@dataclass(frozen=True)
class _Target:
    """A recipe that needs a rate, and how long its runs are.

    Attributes:
        name: Its label.
        config: Everything about its runs; the rate in it does not matter.
        num_rows: Rows of its data.
        steps_per_epoch: Steps of an epoch on all of them.
        batch_size: Samples of a step.
        epochs: Epochs of a run of the search.
        rows: Rows that a run of the search uses, None for all.
    """

    name: str
    config: RunConfig
    num_rows: int
    steps_per_epoch: int
    batch_size: int
    epochs: int
    rows: int | None

    @property
    def is_whole(self) -> bool:
        """Whether a run of the search is a run of the study."""
        return self.epochs == self.config.train.epochs and self.rows is None


@dataclass(frozen=True)
class _Job:
    """One recipe at one rate, in the form of a study file."""

    label: str
    target: int
    rate: float
    plain: Plain


@dataclass(frozen=True)
class _Bench:
    """What all trainings of a search share."""

    study: str
    metric: Metric
    seeds: tuple[int, ...]
    arrays: Any
    module: Any
    memory_bytes: float | None
    watcher: Watcher | None


@dataclass(frozen=True)
class _Ended:
    """What one run of a job left: steps and training losses at them, the result, and how it ended."""

    losses: Mapping[int, float]
    value: float
    verdict: str


def rate(
    path: str | Path,
    *,
    epochs: int | None = None,
    num_seeds: int = NUM_SEEDS,
    folder: str | Path | None = None,
    memory: float | None = None,
    progress: Watcher | None = None,
) -> tuple[SearchFacts, Path]:
    """Search for the learning rates of a study file, and leave a page and a picture.

    Args:
        path: The study file.
        epochs: Epochs of a run of the search; by default as many as give some hundred steps, at most those of the study.
        num_seeds: Seeds of each rate, at least 1.
        folder: Where `rate.html` and `rate.svg` go; `runs/<name>-rate` by default.
        memory: Bytes that lanes may use; 60 % of the machine's by default.
        progress: Called after each segment.

    Returns:
        What was found, and the path of the page.

    Raises:
        SpecError: The study asks for something impossible, or has too many recipes.
        DataError: The data cannot be used.
        StoreError: The folder cannot be written.
    """
    spec = load_study(Path(path), look=data_package.peek)
    facts = search(spec, epochs=epochs, num_seeds=num_seeds, memory_bytes=memory, watcher=progress)
    target = Path(folder) if folder else Path("runs") / f"{spec.study}-rate"
    try:
        target.mkdir(parents=True, exist_ok=True)
        (target / "rate.svg").write_text(rate_page.rate_svg(facts), encoding="utf-8")
        (target / "rate.html").write_text(rate_page.rate_page(facts), encoding="utf-8")
    except OSError as problem:
        raise StoreError(
            f"{target}: the page needs a folder that can be written, writing failed ({problem}). Give another one with --out."
        ) from problem
    return facts, target / "rate.html"


def search(
    spec: StudySpec,
    *,
    arrays: Any = None,
    module: Any = None,
    epochs: int | None = None,
    num_seeds: int = NUM_SEEDS,
    memory_bytes: float | None = None,
    watcher: Watcher | None = None,
) -> SearchFacts:
    """Find a learning rate for each recipe of a study that differs from the others in more than its rate.

    Args:
        spec: The study; rates that it gives do not matter.
        arrays: Data given from Python, see `lanework.data.load`.
        module: `nnx.Module` class given from Python.
        epochs: Epochs of a run of the search; by default as many as give some hundred steps, at most those of the study.
        num_seeds: Seeds of each rate.
        memory_bytes: What lanes may use.
        watcher: Told of progress.

    Raises:
        SpecError: There are too many such recipes.
    """
    spec, known = _resolved(_without_rates(spec), arrays)
    targets = _targets(distinct(spec), arrays, epochs=epochs, where=spec.study, known=known)
    bench = _bench(spec, known, arrays, module, num_seeds, memory_bytes, watcher)
    return _search(targets, bench)


def resolve_auto(
    spec: StudySpec,
    *,
    arrays: Any = None,
    module: Any = None,
    memory_bytes: float | None = None,
    tell: Watcher | None = None,
) -> tuple[StudySpec, list[dict[str, Any]]]:
    """Replace `learning_rate: auto` by the rate found for each recipe.

    A study of one recipe gets the rate itself. Of several, each becomes a named recipe under its own label with everything in which
    it differs and with its own rate; rates that were given as numbers stay.

    Args:
        spec: The study.
        arrays: Data given from Python.
        module: `nnx.Module` class given from Python.
        memory_bytes: What lanes may use.
        tell: Told of progress.

    Returns:
        The study without any auto (the same one where there was none), and for each recipe that had it a record with `recipe`,
        `learning_rate`, `reason`, `warnings`, and what was tried.

    Raises:
        SpecError: No rate trains a recipe, or there are too many recipes.
    """
    if not may_have_auto(spec):
        return spec, []
    arms = expand(spec)
    waiting = [arm for arm in arms if arm.config.train.learning_rate == AUTO]
    if not waiting:
        return _with_base_rate(spec, arms[0].config.train.learning_rate), []
    full, known = _resolved(spec, arrays)
    configs = {arm.index: arm.config for arm in expand(full)}
    named = [(arm.name, configs[arm.index]) for arm in waiting]
    targets = _targets(named, arrays, epochs=None, where=spec.study, known=known)
    bench = _bench(full, known, arrays, module, NUM_SEEDS, memory_bytes, tell)
    found = _search(targets, bench).recipes
    problems = [
        Problem(RATE, f"auto must find a rate for {one.name}, got none. {one.reason}")
        for one in found
        if one.rate is None
    ]
    if problems:
        raise SpecError(problems, where=spec.study)
    rates = {arm.index: one.rate for arm, one in zip(waiting, found, strict=True) if one.rate}
    return _with_rates(spec, arms, rates), [_record(one, bench) for one in found]


def stand_in(spec: StudySpec) -> StudySpec:
    """The study with some rate wherever it says auto, for a plan that trains nothing."""
    if not may_have_auto(spec):
        return spec
    arms = expand(spec)
    waiting = [arm for arm in arms if arm.config.train.learning_rate == AUTO]
    if not waiting:
        return _with_base_rate(spec, arms[0].config.train.learning_rate)
    return _with_rates(spec, arms, {arm.index: RAMP_RANGE[0] for arm in waiting})


# ---- which recipes need a rate -------------------------------------------------------------


def _without_rates(spec: StudySpec) -> StudySpec:
    """The study without anything that sets or varies the rate."""
    factors = tuple(
        Factor(key=one.key, path=one.path, values=_rateless_values(one))
        for one in spec.compare.factors
        if one.path != RATE
    )
    recipes = tuple(
        Recipe(
            name=one.name,
            settings={
                path: _rateless(path, value) for path, value in one.settings.items() if path != RATE
            },
        )
        for one in spec.compare.recipes
    )
    train = spec.train.model_copy(update={"learning_rate": RAMP_RANGE[1]})
    compare = Compare(factors=factors, recipes=recipes)
    bare = spec.model_copy(update={"compare": compare, "train": train, "exclude": ()})
    # A rule about rates matches nothing any more, which a study may not have.
    rules = [
        rule
        for rule in spec.exclude
        if not check_arms(bare.model_copy(update={"exclude": (rule,)}))[1]
    ]
    return bare.model_copy(update={"exclude": tuple(rules)})


def _rateless_values(factor: Factor) -> tuple[Any, ...]:
    """Values of a factor, those that differed in the rate alone only once."""
    values: list[Any] = []
    for value in factor.values:
        bare = _rateless(factor.path, value)
        if bare not in values:
            values.append(bare)
    return tuple(values)


def _rateless(path: str, value: Any) -> Any:
    """A value without a rate in it, so that the base's holds."""
    if path not in ("train", "train.optimizer") or not isinstance(value, Mapping):
        return value
    return {
        key: _rateless("train.optimizer", item) if key == "optimizer" else item
        for key, item in value.items()
        if key != "learning_rate"
    }


def distinct(spec: StudySpec) -> list[tuple[str, RunConfig]]:
    """Recipes of a study that differ in more than the rate, with their labels."""
    bare = _without_rates(spec)
    seen: dict[str, tuple[str, RunConfig]] = {}
    for arm in expand(bare):
        rule = arm.config.train.optimizer.name
        name = rule if bare.compare == Compare() else arm.name
        seen.setdefault(_key(arm.config), (name, arm.config))
    return list(seen.values())


def _key(config: RunConfig) -> str:
    plain = plain_config(config)
    plain["train"].pop("learning_rate")
    return json.dumps(plain, sort_keys=True, default=str)


def _resolved(spec: StudySpec, arrays: Any) -> tuple[StudySpec, dict[str, data_package.Dataset]]:
    """The study with what follows from its task, and its data set by the key of its configuration."""
    first = data_package.load(spec.data, arrays=arrays)
    known = {spec.data.model_dump_json(): first}
    spec = resolve(spec, task=first.task)
    return spec, {**known, spec.data.model_dump_json(): first}


def _targets(
    named: Sequence[tuple[str, RunConfig]],
    arrays: Any,
    *,
    epochs: int | None,
    where: str,
    known: Mapping[str, data_package.Dataset],
) -> list[_Target]:
    """The recipes with the size of their runs; data sets are loaded to know it.

    Raises:
        SpecError: There are too many.
    """
    if len(named) > MAX_RECIPES:
        text = f"must leave at most {MAX_RECIPES} recipes that differ in more than the learning rate, got {len(named)}. Search for the "
        text += "rates of a smaller study: optimizers and networks change the best rate most, other settings little."
        raise SpecError([Problem("compare", text)], where=where)
    loaded = dict(known)
    targets = []
    for name, config in named:
        key = config.data.model_dump_json()
        if key not in loaded:
            loaded[key] = data_package.load(config.data, arrays=arrays)
        targets.append(_target(name, config, loaded[key], epochs))
    return targets


def _target(
    name: str, config: RunConfig, dataset: data_package.Dataset, epochs: int | None
) -> _Target:
    num_train = len(dataset.train)
    num_rows = num_train + len(dataset.val) + len(dataset.test)
    given = config.train.batch_size
    batch_size = num_train if given == "all" else min(int(given), num_train)
    steps = -(-num_train // batch_size)
    rows = _rows(num_rows, steps, MOST_SEARCH_STEPS)
    usual = min(config.train.epochs, -(-SEARCH_STEPS // min(steps, MOST_SEARCH_STEPS)))
    return _Target(name, config, num_rows, steps, batch_size, epochs or usual, rows)


def _rows(num_rows: int, steps_per_epoch: int, most_steps: int) -> int | None:
    """Rows that leave at most that many steps of an epoch; None when all of them do."""
    if steps_per_epoch <= most_steps:
        return None
    return math.ceil(num_rows * most_steps / steps_per_epoch)


def _bench(
    spec: StudySpec,
    known: Mapping[str, data_package.Dataset],
    arrays: Any,
    module: Any,
    num_seeds: int,
    memory_bytes: float | None,
    watcher: Watcher | None,
) -> _Bench:
    dataset = known[spec.data.model_dump_json()]
    unit = str(dataset.summary.get("target_unit") or "")
    metric = metric_named(spec.report.metric or "", unit=unit)
    parts = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    if metric.quantity == "accuracy" and metric.part:
        metric = replace(metric, resolution=1.0 / max(1, len(parts[metric.part])))
    seeds = tuple(SEED_BASE + number for number in range(num_seeds))
    return _Bench(spec.study, metric, seeds, arrays, module, memory_bytes, watcher)


# ---- training ------------------------------------------------------------------------------


def _search(targets: Sequence[_Target], bench: _Bench) -> SearchFacts:
    """Range tests of all recipes side by side, then rounds of rates."""
    devices.prepare()
    ramps = _range_tests(targets, bench)
    outcomes: list[dict[float, Outcomes]] = [{} for _ in targets]
    is_idle = [True] * len(targets)  # no run of it beat guessing
    found: list[Choice] = []
    waiting = [first_rates(ramp) for ramp in ramps]
    for turn in range(1, MAX_TURNS + 1):
        jobs = [
            _Job(
                f"{targets[place].name} at {rate_text(rate)}",
                place,
                rate,
                _plain(targets[place], rate),
            )
            for place, rates in enumerate(waiting)
            for rate in rates
        ]
        if not jobs:
            break
        told = f"searching, round {turn}"
        for job, runs in zip(jobs, _train(jobs, targets, bench, told)[0], strict=True):
            values = tuple(run.value for run in runs)
            outcomes[job.target][job.rate] = Outcomes(turn, values)
            is_idle[job.target] &= all(
                run.verdict in ("chance", "diverged", "failed") for run in runs
            )
        found = [choose(one, metric=bench.metric) for one in outcomes]
        waiting = [next_rates(one, last_turn=turn) for one in found]
    metric = _with_decimals(bench.metric, found)
    found = [choose(one, metric=metric) for one in outcomes]
    recipes = tuple(
        _facts(target, ramp, choice, bench, is_idle=idle)
        for target, ramp, choice, idle in zip(targets, ramps, found, is_idle, strict=True)
    )
    return SearchFacts(bench.study, metric, len(bench.seeds), recipes)


def _with_decimals(metric: Metric, found: Sequence[Choice]) -> Metric:
    """Digits that seed noise leaves meaningful."""
    spreads = [trial.interval.sd for choice in found for trial in choice.trials if trial.is_level]
    spreads = [sd * metric.factor for sd in spreads if math.isfinite(sd) and sd > 0]
    if not spreads:
        return metric
    extra = 0 if metric.is_fraction else 1
    decimals = extra - math.floor(math.log10(float(np.median(spreads))))
    return replace(metric, decimals=min(max(decimals, 1 if metric.is_fraction else 0), 6))


def _facts(
    target: _Target, ramp: RampFacts, choice: Choice, bench: _Bench, *, is_idle: bool
) -> RateFacts:
    warnings = [ramp.words]
    if choice.best is not None and is_idle:
        warnings.append(
            "No run of the search did better than guessing, so the rate is the best of results that mean little. Give a longer "
            "--budget, or look at the data and the network."
        )
    warnings += [edge_warning(choice)] if choice.edge else []
    if len(bench.seeds) == 1:
        warnings.append(
            "One seed cannot say what is seed noise: rates count as equal only where their results are."
        )
    warnings.append(_how_long(target, bench))
    return RateFacts(
        name=target.name,
        rate=choice.rate,
        best=choice.best,
        reason=choice.reason,
        warnings=tuple(warnings),
        ramp=ramp,
        trials=choice.trials,
        epochs=target.epochs,
        steps=_steps(target),
        rows=target.rows,
    )


def _steps(target: _Target) -> int:
    return min(target.steps_per_epoch, MOST_SEARCH_STEPS) * target.epochs


def _how_long(target: _Target, bench: _Bench) -> str:
    """How runs of the search differ from those of the study."""
    seeds = units.counted(len(bench.seeds), "seed")
    length = f"{units.counted(target.epochs, 'epoch')} ({units.count(_steps(target))} steps)"
    if target.is_whole:
        return f"Each rate was trained like the study itself: {length}, {seeds}."
    parts = [f"Each rate was trained for {length} with {seeds}"]
    if target.epochs != target.config.train.epochs:
        parts.append(f"the study has {units.counted(target.config.train.epochs, 'epoch')}")
        schedule = target.config.train.schedule.name
        if schedule != "constant":
            parts.append(
                f"at a constant rate, the study's schedule ({schedule}) was left out because it belongs to its length"
            )
    if target.rows is not None:
        parts.append(f"on {units.count(target.rows)} of {units.count(target.num_rows)} rows")
    return f"{'; '.join(parts)}."


def _range_tests(targets: Sequence[_Target], bench: _Bench) -> list[RampFacts]:
    low, high = RAMP_RANGE
    jobs = [
        _Job(target.name, place, high, _ramp_plain(target)) for place, target in enumerate(targets)
    ]
    told, boundaries = _train(jobs, targets, bench, "range test")
    found = []
    for runs, steps in zip(told, boundaries, strict=True):
        ends = np.array([0, *steps], dtype=np.float64)
        # The middle of the steps whose losses a point averages; step k of n gets low^(1 - k / (n - 1)) high^(k / (n - 1)).
        middle = np.clip((ends[:-1] + ends[1:] - 1) / 2 / max(1.0, ends[-1] - 1), 0.0, 1.0)
        rates = low * (high / low) ** middle
        losses = np.array([[run.losses.get(step, math.nan) for step in steps] for run in runs])
        about = f"{rate_text(low)} to {rate_text(high)} in {units.count(steps[-1])} steps, {units.counted(len(runs), 'seed')}"
        found.append(ramp_facts(rates, losses, about=about))
    return found


def _ramp_plain(target: _Target) -> Plain:
    """The recipe with its rate ramped over the whole range within one short run."""
    low, high = RAMP_RANGE
    steps = min(target.steps_per_epoch, MOST_RAMP_STEPS)
    epochs = -(-RAMP_STEPS // steps)
    plain = _short(target, epochs, _rows(target.num_rows, target.steps_per_epoch, MOST_RAMP_STEPS))
    schedule = {"name": "geometric_ramp", "start": low / high}
    plain["train"] |= {"schedule": schedule, "learning_rate": high, "keep": "last"}
    plain["train"] |= {"eval_every": epochs / RAMP_POINTS}
    return plain


def _plain(target: _Target, rate: float) -> Plain:
    """The recipe at one rate, as long as the search wants it."""
    if target.is_whole:
        plain = plain_config(target.config)
        plain["train"] |= {"early_stopping": None, "heal": {"retries": 0, "factor": 0.5}}
    else:
        plain = _short(target, target.epochs, target.rows)
        plain["train"] |= {"eval_every": max(1.0, target.epochs / SEARCH_EVALUATIONS)}
    plain["train"]["learning_rate"] = rate
    return plain


def _short(target: _Target, epochs: int, rows: int | None) -> Plain:
    """The recipe for a run of another length: without what belongs to the length of the study's."""
    plain = plain_config(target.config)
    heal = {"retries": 0, "factor": 0.5}  # a rate that diverges is to be seen as one
    changes: Plain = {"epochs": epochs, "early_stopping": None, "heal": heal, "watch": "off"}
    if epochs != target.config.train.epochs:
        changes |= {"schedule": "constant", "schedules": {}, "average": None}
    plain["train"] |= {key: value for key, value in changes.items() if key in plain["train"]}
    if rows is not None:
        plain["data"]["limit_rows"] = rows
    return plain


def _train(
    jobs: Sequence[_Job], targets: Sequence[_Target], bench: _Bench, told: str
) -> tuple[list[list[_Ended]], list[tuple[int, ...]]]:
    """Train all jobs as one study in a folder that is deleted: runs by job and seed, and the steps of evaluations by job."""
    spec = _study(jobs, targets, bench)
    prepared = preparing.prepare(
        spec,
        arrays=bench.arrays,
        module=bench.module,
        memory_bytes=bench.memory_bytes,
    )
    boundaries = [
        next(laid.bucket.boundaries for laid in prepared.laid if job in laid.bucket.arms)
        for job in range(len(jobs))
    ]
    with TemporaryDirectory(prefix="lanework-rate-") as folder:
        training.carry_out(
            prepared,
            folder=Path(folder),
            resume=False,
            watcher=_watcher(bench.watcher, told),
            clock={},
            begun=time.perf_counter(),
            snapshot_every_s=math.inf,
        )
        return _read(Path(folder), len(jobs), bench), boundaries


def _watcher(watcher: Watcher | None, told: str) -> Watcher | None:
    if watcher is None:
        return None
    return lambda progress: watcher(replace(progress, message=f"{told}: {progress.message}"))


def _study(jobs: Sequence[_Job], targets: Sequence[_Target], bench: _Bench) -> StudySpec:
    """All jobs as named recipes of one study, so that equal programs are shared."""
    first = targets[jobs[0].target].config
    base = plain_config(first)
    recipes = tuple(Recipe(name=job.label, settings=difference(base, job.plain)) for job in jobs)
    return StudySpec(
        study=bench.study,
        data=first.data,
        model=first.model,
        train=first.train.model_copy(update={"learning_rate": jobs[0].rate}),
        compare=Compare(recipes=recipes),
        seeds=bench.seeds,
        report=ReportSpec(metric=bench.metric.name),
    )


def _read(folder: Path, num_jobs: int, bench: _Bench) -> list[list[_Ended]]:
    """Runs of a finished study, by recipe and seed."""
    with Store(folder, create=False) as store:
        results = {result.run: result for result in store.results()}
        losses: dict[int, dict[int, float]] = {}
        for row in store.metrics():
            if row.name == "train_loss":
                losses.setdefault(row.run, {})[row.step] = row.value
        ended: list[list[_Ended]] = [[] for _ in range(num_jobs)]
        for run in sorted(store.runs(), key=lambda one: (one.arm, one.seed)):
            result = results[run.run]
            value = result.metrics.get(bench.metric.name, math.nan)
            is_good = result.status == "ok" and math.isfinite(value)
            ended[run.arm].append(
                _Ended(losses.get(run.run, {}), value if is_good else math.nan, result.verdict)
            )
    return ended


# ---- auto ----------------------------------------------------------------------------------


def _with_base_rate(spec: StudySpec, rate: Any) -> StudySpec:
    """The study with that rate as its base, where it was auto; what is compared has rates of its own."""
    if spec.train.learning_rate != AUTO:
        return spec
    train = spec.train.model_copy(update={"learning_rate": rate})
    return spec.model_copy(update={"train": train})


def _with_rates(spec: StudySpec, arms: Sequence[Arm], rates: Mapping[int, float]) -> StudySpec:
    """The study with the found rates put in."""
    used = [rates.get(arm.index, arm.config.train.learning_rate) for arm in arms]
    spec = _with_base_rate(spec, used[0])
    if spec.compare == Compare():
        return spec
    base = plain_config(RunConfig(data=spec.data, model=spec.model, train=spec.train))
    recipes = []
    for arm, found in zip(arms, used, strict=True):
        plain = plain_config(arm.config)
        plain["train"]["learning_rate"] = found
        recipes.append(Recipe(name=arm.name, settings=difference(base, plain)))
    compare = Compare(recipes=tuple(recipes))
    return spec.model_copy(update={"compare": compare, "exclude": ()})


def _record(found: RateFacts, bench: _Bench) -> dict[str, Any]:
    """What was found for one recipe, as it is stored with the study."""
    return {
        "recipe": found.name,
        "learning_rate": found.rate,
        "reason": found.reason,
        "warnings": [*found.warnings],
        "metric": bench.metric.name,
        "seeds": len(bench.seeds),
        "epochs": found.epochs,
        "steps": found.steps,
        "rows": found.rows,
        "as_good": [trial.rate for trial in found.trials if trial.is_level],
        "range_test": {
            "state": found.ramp.state,
            "steepest": found.ramp.steepest,
            "limit": found.ramp.limit,
        },
        "tried": [
            {
                "learning_rate": trial.rate,
                "round": trial.turn,
                "mean": _finite(trial.interval.mean),
                "low": _finite(trial.interval.low),
                "high": _finite(trial.interval.high),
                "diverged": trial.num_bad,
            }
            for trial in found.trials
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


# ---- words ---------------------------------------------------------------------------------


def summary(facts: SearchFacts) -> str:
    """What was found, for a terminal: for each recipe a line to paste and why."""
    blocks = []
    for one in facts.recipes:
        line = (
            "no learning rate found"
            if one.rate is None
            else f"learning_rate: {rate_text(one.rate)}"
        )
        words = [one.reason, *one.warnings]
        blocks.append("\n".join([f"{one.name}", f"  {line}", *(f"  {text}" for text in words)]))
    return "\n\n".join(blocks)
