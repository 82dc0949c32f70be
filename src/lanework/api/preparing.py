"""A study up to the point where something would be trained: data loaded, grid expanded, lanes laid out.

Owns `Prepared`, from which both the plan that is printed and the training start. Trains nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lanework import data as data_package
from lanework import models, own_code, recipes
from lanework.catalog import CATALOG
from lanework.cohort import assemble, devices, history, ordering, plan, program
from lanework.cohort.program import Strategy
from lanework.errors import DataError, Problem, SpecError
from lanework.recipes import curvature
from lanework.spec import Arm, StudySpec, TrainSpec, content_hash, expand, resolve

MEMORY_SHARE = 0.6


@dataclass(frozen=True)
class Laid:
    """One bucket of a prepared study: its functions, cost and layout."""

    bucket: plan.Bucket
    functions: tuple[Any, Any, Any]
    estimate: plan.Estimate
    strategy: Strategy
    why: str
    is_measured: bool = False


@dataclass(frozen=True)
class Prepared:
    """A study up to the point where something would be trained.

    Attributes:
        spec: The study, with the task and the searched rates filled in.
        spec_hash: Hash of its meaning.
        arms: What is compared.
        datasets: The data, each configuration once.
        metric: What arms are ranked by.
        laid: The programs.
        memory_bytes: What lanes may use.
        module: `nnx.Module` class given from Python.
        warnings: Combinations that are allowed but rarely meant.
        asked: Hash of the study as it was given.
        rates: How each `learning_rate: auto` was found, see `rates.resolve_auto`.
        check: What the gate found before training, see `check.Check.record`; None where it was skipped.
        folds: By number of a data set that holds all folds of a cross-validation, those folds.
        loaded: By number of an arm that starts from a weights file, what became of it.
    """

    spec: StudySpec
    spec_hash: str
    arms: tuple[Arm, ...]
    datasets: tuple[data_package.Dataset, ...]
    metric: str
    laid: tuple[Laid, ...]
    memory_bytes: float
    module: Any = None
    warnings: tuple[str, ...] = ()
    asked: str = ""
    rates: tuple[Mapping[str, Any], ...] = ()
    folds: Mapping[int, tuple[data_package.Dataset, ...]] = field(default_factory=dict)
    loaded: Mapping[int, str] = field(default_factory=dict)
    check: Mapping[str, Any] | None = None

    def dataset_of(self, bucket: plan.Bucket, run: int) -> data_package.Dataset:
        """The data that one run of a bucket was trained and judged on."""
        if bucket.data not in self.folds:
            return self.datasets[bucket.data]
        fold = next(one.fold for one in bucket.runs if one.run == run)
        return self.folds[bucket.data][fold]


def prepare(
    spec: StudySpec,
    *,
    arrays: Any = None,
    module: Any = None,
    memory_bytes: float | None = None,
    strategies: Mapping[str, Any] | None = None,
) -> Prepared:
    """Load the data, expand the grid, sort runs into buckets and lay out lanes.

    Args:
        spec: The study.
        arrays: Data given from Python, see `lanework.data.load`.
        module: `nnx.Module` class given from Python.
        memory_bytes: What lanes may use; 60 % of the devices' memory by default.
        strategies: Layouts by bucket key from an earlier start of the same study, which are then kept.
    """
    import jax

    known_folds = data_package.load_folds(spec.data, arrays=arrays)
    first = known_folds[0]
    is_running_text = first.preparation.form == "characters"
    spec = resolve(spec, task=first.task, metric="val_loss" if is_running_text else None)
    arms = expand(spec)
    datasets, folds, data_of_arm = _load_data(
        arms, arrays, known={spec.data.model_dump_json(): known_folds}
    )
    metric = spec.report.metric or ""
    _check_metrics(spec, datasets)
    if any(not len(dataset.val) for dataset in datasets):
        raise DataError(
            f"{spec.data.source}: recipes are ranked by {metric}, so the validation part must have rows, got 0. Use more data, or a "
            "larger data.split.val."
        )
    memory = memory_bytes or MEMORY_SHARE * devices.lane_memory_bytes()
    laid = []
    for bucket in plan.buckets(spec, arms, datasets, data_of_arm, folds):
        dataset = datasets[bucket.data]
        bucket, left = ordering.streamed(
            bucket, dataset, num_devices=len(jax.devices()), memory_bytes=memory
        )
        functions = plan.functions(bucket, dataset, metric=metric, module=module)
        estimate = plan.estimate(bucket, dataset, functions)
        strategy, why = plan.choose(
            bucket,
            estimate,
            num_devices=len(jax.devices()),
            backend=jax.default_backend(),
            memory_bytes=left,
        )
        known, measured = (strategies or {}).get(bucket.key), _remembered(bucket)
        if known:
            strategy, why = Strategy(**known["strategy"]), known["why"]
        elif measured:
            strategy, why = plan.with_group(strategy, measured["group"]), measured["why"]
        streamed = ordering.told_streaming(bucket)
        if streamed not in why:
            why = f"{why} {streamed}"
        laid.append(Laid(bucket, functions, estimate, strategy, why, bool(measured)))
    told = _check_recipes(arms, datasets, laid)
    # Hashed with the task filled in, so that the study.yaml left in the folder is the same study.
    return Prepared(
        *(spec, content_hash(spec), arms, datasets, metric, tuple(laid), memory, module, told),
        folds=folds,
        loaded=_loaded(arms, datasets, data_of_arm, module=module),
    )


def _loaded(
    arms: Sequence[Arm],
    datasets: Sequence[data_package.Dataset],
    data_of_arm: Sequence[int],
    *,
    module: Any,
) -> dict[int, str]:
    """What became of the weights files that arms start from, each told once read."""
    told: dict[str, str] = {}
    found = {}
    for arm in arms:
        if arm.config.model.weights is not None:
            key = f"{data_of_arm[arm.index]} {arm.config.model.model_dump_json()}"
            if key not in told:
                dataset = datasets[data_of_arm[arm.index]]
                told[key] = assemble.told_start(arm.config, dataset, module=module)
            found[arm.index] = told[key]
    return found


def _check_metrics(spec: StudySpec, datasets: Sequence[data_package.Dataset]) -> None:
    """Refuse metrics of time steps where the data has no target by step.

    Raises:
        SpecError: Names the key and what to use.
    """
    if all(dataset.input.is_stepwise for dataset in datasets):
        return
    stopping = spec.train.early_stopping
    asked = {
        "report.metric": spec.report.metric,
        "train.early_stopping.metric": stopping.metric if stopping else None,
    }
    problems = []
    for path, metric in asked.items():
        part, _, name = (metric or "").partition("_")
        row = CATALOG["metric"].get(name)
        if row is not None and row.facts.get("targets") == "stepwise":
            text = f"must be measured on a target by time step (a running text), got {metric!r} for one target per sample. "
            problems.append(Problem(path, f"{text}Use {part}_loss."))
    if problems:
        raise SpecError(problems)


def _check_recipes(
    arms: Sequence[Arm], datasets: Sequence[data_package.Dataset], laid: Sequence[Laid]
) -> tuple[str, ...]:
    """What can be checked only when the sizes of data and network are known.

    Returns:
        Warnings about combinations that are allowed but rarely meant.

    Raises:
        SpecError: With everything that cannot work.
    """
    problems: list[Problem] = []
    warnings: list[str] = []
    for item in laid:
        shapes = program.lane_shapes(*item.functions).params
        dataset = datasets[item.bucket.data]
        problems += ordering.problems(item.bucket, dataset)
        warnings += ordering.notes(item.bucket, dataset)
        for arm in item.bucket.arms:
            problems += _recipe_problems(arms[arm].config.train, item, shapes)
            config = arms[arm].config
            warnings += curvature.warnings_for(
                config.train.optimizer.name,
                batch_is_all=config.train.batch_size == "all",
                dropout=float(config.model.options.get("dropout") or 0.0),
                augmented=bool(config.train.augment),
            )
    if problems:
        raise SpecError(list(dict.fromkeys(problems)))
    return tuple(dict.fromkeys(warnings))


def _recipe_problems(train: TrainSpec, laid: Laid, shapes: Any) -> list[Problem]:
    problems = []
    if text := curvature.check_size(
        train.optimizer.name, laid.estimate.num_params, laid.strategy.width
    ):
        problems.append(Problem("train.optimizer", text))
    for place, pattern in enumerate(train.freeze):
        bare = pattern.removeprefix("!")
        if not recipes.matches(shapes, bare):
            known = ", ".join(recipes.matches(shapes, "*")[:8])
            text = f"must fit the path of a parameter, got {pattern!r}. The network has {known}."
            problems.append(Problem(f"train.freeze[{place}]", text))
    paths = recipes.matches(shapes, "*")
    if train.unfreeze is None and all(recipes.selected(path, train.freeze) for path in paths):
        text = 'must leave something to train, got patterns that fit all parameters. Add "!output/*", or unfreeze.'
        problems.append(Problem("train.freeze", text))
    for place, group in enumerate(train.groups):
        if not recipes.matches(shapes, group.match):
            known = ", ".join(recipes.matches(shapes, "*")[:8])
            text = (
                f"must fit the path of a parameter, got {group.match!r}. The network has {known}."
            )
            problems.append(Problem(f"train.groups[{place}].match", text))
    return problems


def _remembered(bucket: plan.Bucket) -> Mapping[str, Any] | None:
    """The group size that was measured for this program on this machine, with the figures."""
    entry = history.recall().get(history.bucket_key(bucket.key), {})
    return entry if "group" in entry else None


def _load_data(
    arms: Sequence[Arm], arrays: Any, *, known: dict[str, tuple[data_package.Dataset, ...]]
) -> tuple[
    tuple[data_package.Dataset, ...],
    dict[int, tuple[data_package.Dataset, ...]],
    tuple[int, ...],
]:
    """Each distinct data configuration once, the folds of those that have some, and which one each arm uses."""
    loaded: dict[str, data_package.Dataset] = {}
    folds = {}
    which = []
    for arm in arms:
        key = arm.config.data.model_dump_json()
        if key not in loaded:
            own = known.get(key) or data_package.load_folds(arm.config.data, arrays=arrays)
            loaded[key], own = data_package.merged(own)
            if arm.config.data.split.folds is not None:
                folds[len(loaded) - 1] = own
        which.append(list(loaded).index(key))
    tasks = {dataset.task for dataset in loaded.values()}
    if len(tasks) > 1:
        raise DataError(
            "all arms of a study must have the same task, got classification and regression. Compare them in two studies."
        )
    return tuple(loaded.values()), folds, tuple(which)


def num_samples(bucket: plan.Bucket) -> float:
    """Training samples that all runs of a bucket see together, filling included."""
    return float(len(bucket.runs)) * bucket.total_steps * bucket.shapes.batch_size


def plan_record(prepared: Prepared) -> dict[str, Any]:
    """The plan as it is stored and shown: buckets with layout, reason and cost."""
    return {
        "runs": sum(len(laid.bucket.runs) for laid in prepared.laid),
        "memory_bytes": prepared.memory_bytes,
        "buckets": [
            {
                "index": laid.bucket.index,
                "key": laid.bucket.key,
                "arms": [prepared.arms[arm].name for arm in laid.bucket.arms],
                "runs": len(laid.bucket.runs),
                "steps": laid.bucket.total_steps,
                "segments": len(laid.bucket.boundaries),
                "batch_size": laid.bucket.shapes.batch_size,
                "parameters": laid.estimate.num_params,
                "flops": laid.estimate.flops,
                "lane_bytes": laid.estimate.lane_bytes,
                "strategy": asdict(laid.strategy),
                "layout": laid.strategy.describe(),
                "why": laid.why,
            }
            for laid in prepared.laid
        ],
    }


def loss_name(bucket: plan.Bucket) -> str:
    """Name of the loss of a bucket."""
    loss = bucket.config.train.loss
    return loss.name if loss else ""


def initialisers(prepared: Prepared, bucket: plan.Bucket) -> list[Any]:
    """What draws the weights of each start of a bucket, `key -> (params, state)`."""
    dataset = prepared.datasets[bucket.data]
    outputs = assemble.num_outputs(loss_name(bucket), dataset)
    return [
        assemble.network(
            spec, dataset, outputs=outputs, module=prepared.module, train=bucket.config.train
        ).init
        for spec in bucket.inits
    ]


def identity(prepared: Prepared, bucket: plan.Bucket) -> object:
    """Everything the functions of a bucket were built from; None for own modules, whose code may import anything."""
    if any(spec.is_own for spec in bucket.inits) or own_code.is_named_in(
        bucket.config.model_dump()
    ):
        return None
    return (
        bucket.key,
        [spec.model_dump_json() for spec in bucket.inits],
        sorted(plan.used_strengths(bucket)),
        bucket.boundaries,
        prepared.datasets[bucket.data].fingerprint,
        [models.weights_fingerprint(spec.weights) for spec in bucket.inits if spec.weights],
    )
