"""What is the matter with the runs of a study: records from its folder, rules over them, findings into the store.

Owns the way from a folder to `RunRecord`s. Imports no JAX where it only reads, so that `lanework diagnose` starts fast.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lanework.api.diagnose_words import check_text, layers_text, lost_lines, tried_text
from lanework.errors import SpecError
from lanework.health.causes import CAUSES
from lanework.health.diagnose import diagnose as judge
from lanework.health.findings import LEVELS, Finding, as_row
from lanework.health.records import Curve, DataFacts, Happening, LayerTable, NetFacts, RunRecord
from lanework.health.remedies import REMEDIES
from lanework.spec import expand, load_study
from lanework.spec.sections import plain_config
from lanework.store import Event, FindingRow, HealthRow, Layers, MetricRow, RunResult, Store

if TYPE_CHECKING:
    from lanework.api.preparing import Prepared

__all__ = [
    "ArmDiagnosis",
    "Diagnosis",
    "diagnose",
    "findings",
    "keep",
    "records",
    "what_is_watched",
]

Number: TypeAlias = tuple[int, float]


def what_is_watched(prepared: Prepared) -> dict[str, Any]:
    """Facts of data and networks that rules want, as they are stored with a study before it trains."""
    from lanework.api.data_facts import data_facts
    from lanework.cohort import assemble

    facts = []
    for number, dataset in enumerate(prepared.datasets):
        # With folds the whole holds rows in training and validation alike; each fold does not.
        folds = prepared.folds.get(number)
        facts.append(asdict(data_facts(folds[0] if folds else dataset)))
    buckets = []
    for laid in prepared.laid:
        bucket = laid.bucket
        model, loss = bucket.config.model, bucket.config.train.loss
        name = loss.name if loss else ""
        usual = assemble.num_outputs(name, prepared.datasets[bucket.data])
        # How many an own network has is its own business.
        outputs = 0 if model.is_own else int(model.options.get("num_outputs") or usual)
        buckets.append(
            {
                "index": bucket.index,
                "data": bucket.data,
                "num_steps": bucket.total_steps,
                "steps_per_epoch": bucket.steps_per_epoch,
                "net": asdict(
                    NetFacts(
                        num_parameters=laid.estimate.num_params,
                        num_outputs=outputs,
                        usual_outputs=usual,
                        loss=name,
                        has_batch_norm=model.options.get("norm") == "batch",
                    )
                ),
            }
        )
    return {"data": facts, "buckets": buckets}


def records(folder: str | Path) -> list[RunRecord]:
    """Everything that was recorded of each run of a study, in the order of their numbers.

    Args:
        folder: A study's folder; the study may still be running, or have been written by an earlier version (then less is known).

    Raises:
        StoreError: The folder holds no readable records.
    """
    with Store(Path(folder), create=False) as store:
        return _records(store, Path(folder))


def findings(folder: str | Path) -> dict[int, tuple[Finding, ...]]:
    """What is the matter with each run of a study as its records stand now, worst first, by number of the run.

    Raises:
        StoreError: The folder holds no readable records.
    """
    return {record.run: judge(record) for record in records(folder)}


def keep(store: Store, folder: Path) -> None:
    """Store what is the matter with each run, and the words for it."""
    codes: dict[str, dict[str, Any]] = {}
    for record in _records(store, folder):
        found = judge(record)
        store.put_findings(record.run, [FindingRow(record.run, **as_row(one)) for one in found])
        for one in found:
            cause = CAUSES[one.code]
            told = codes.setdefault(
                one.code, {"title": cause.title, "what": cause.what, "remedies": {}}
            )
            told["remedies"] |= {code: remedy_words(code) for code in one.remedies}
    store.put_meta("causes", codes)


def remedy_words(code: str) -> str:
    """A remedy in words."""
    row = REMEDIES.get(code)
    return row.title if row is not None else code.replace("_", " ")


# ---- for the terminal ------------------------------------------------------------------------


@dataclass(frozen=True)
class ArmDiagnosis:
    """What is the matter with one recipe.

    Attributes:
        name: Its label.
        num_runs: Its runs.
        findings: Each cause once, worst first: the worst finding, and how many runs have it.
        lost: What first was not finite in its runs, in sentences.
        worst: The run of the worst finding; None for a healthy recipe.
    """

    name: str
    num_runs: int
    findings: tuple[tuple[Finding, int], ...]
    lost: tuple[str, ...] = ()
    worst: RunRecord | None = None


@dataclass(frozen=True)
class Diagnosis:
    """What is the matter with a study; print `text()`.

    Attributes:
        study: Its name.
        arms: Its recipes.
        check: What was looked at before training, as recorded; empty where nothing was.
        remedies: What was tried against what was found, as recorded; empty where nothing was.
    """

    study: str
    arms: tuple[ArmDiagnosis, ...]
    check: Mapping[str, Any] = field(default_factory=dict)
    remedies: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sick(self) -> tuple[ArmDiagnosis, ...]:
        """Recipes of which something was found, worst first."""
        found = [arm for arm in self.arms if arm.findings]
        return tuple(sorted(found, key=lambda arm: _badness(arm.findings[0][0])))

    def text(self, *, layers: bool = False) -> str:
        """By recipe: findings worst first, each with evidence, cause, and what helps; then what is known besides.

        Args:
            layers: Also the layers of the worst run of each sick recipe, as tables.
        """
        tables = layers_text(arm.worst for arm in self.sick if arm.worst) if layers else ""
        more = (check_text(self.check), tried_text(self.remedies), tables)
        return "\n\n".join(filter(None, (self.found(), *more)))

    def found(self) -> str:
        """The findings alone."""
        sick = self.sick
        blocks = ["\n".join(_arm_lines(arm)) for arm in sick]
        well = [arm.name for arm in self.arms if not arm.findings]
        if well:
            shown = ", ".join(well[:MOST_NAMES]) + (
                f" and {len(well) - MOST_NAMES} more" if len(well) > MOST_NAMES else ""
            )
            blocks.append(f"Nothing found: {shown}.")
        blocks.append(self.summary())
        return "\n\n".join(blocks)

    def summary(self) -> str:
        """How many recipes and runs are sick, in one line."""
        sick = self.sick
        runs = sum(arm.num_runs for arm in self.arms)
        if not sick:
            return f"{self.study}: nothing found in {runs} runs of {len(self.arms)} recipes."
        failed = sum(arm.findings[0][0].level == "fail" for arm in sick)
        return (
            f"{self.study}: {failed} of {len(self.arms)} recipes are sick, {len(sick) - failed} more have a warning "
            f"({runs} runs)."
        )


MOST_NAMES = 8


def diagnose(folder: str | Path) -> Diagnosis:
    """What is the matter with a study as its records stand now; it may be running or of an earlier version.

    Raises:
        StoreError: The folder holds no readable records.
    """
    by_arm: dict[int, list[tuple[RunRecord, tuple[Finding, ...]]]] = defaultdict(list)
    for record in records(folder):
        by_arm[record.arm].append((record, judge(record)))
    arms = []
    for own in by_arm.values():
        by_code: dict[str, list[Finding]] = defaultdict(list)
        for _, found in own:
            for one in found:
                by_code[one.code].append(one)
        worst = [(min(same, key=_badness), len(same)) for same in by_code.values()]
        worst.sort(key=lambda pair: _badness(pair[0]))
        lost = tuple(lost_lines([record for record, _ in own]))
        sick = [(record, found[0]) for record, found in own if found]
        run = min(sick, key=lambda pair: _badness(pair[1]))[0] if sick else None
        arms.append(ArmDiagnosis(own[0][0].name, len(own), tuple(worst), lost, run))
    with Store(Path(folder), create=False) as store:
        study = str((store.meta("study") or {}).get("study") or Path(folder).resolve().name)
        return Diagnosis(
            study, tuple(arms), store.meta("check") or {}, store.meta("remedies") or {}
        )


def _badness(finding: Finding) -> tuple[int, float]:
    return LEVELS.index(finding.level), -finding.confidence


def _arm_lines(arm: ArmDiagnosis) -> list[str]:
    lines = [arm.name]
    for finding, count in arm.findings:
        cause = CAUSES[finding.code]
        runs = f"{count} of {arm.num_runs} runs" if arm.num_runs > 1 else "the run"
        head = f"{finding.level:<5} {cause.title} [{finding.code}], {100 * finding.confidence:.0f} % sure, {runs}, from step {finding.step}"
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in finding.evidence.items())
        helps = "; ".join(remedy_words(code) for code in finding.remedies)
        lines += [head, f"      {finding.sentence}", f"      Cause: {cause.what}"]
        lines += [f"      Evidence: {numbers}"] if numbers else []
        lines += [f"      What helps, best first: {helps}."]
    return [*lines, *(f"      {one}" for one in arm.lost)]


# ---- from rows to records --------------------------------------------------------------------


def _records(store: Store, folder: Path) -> list[RunRecord]:
    rows = store.metrics()
    curves, recorded = _curves(rows), _recorded(store.layers())
    # Records of version 2 and before hold a row for each number.
    points = {} if recorded else _points(store.health())
    epochs = {row.run: round(row.step / row.epoch) for row in rows if row.epoch > 0}
    events = _events(store.events())
    results = {result.run: result for result in store.results()}
    settings = _settings(folder)
    watched = store.meta("watched") or {}
    buckets = {one["index"]: one for one in watched.get("buckets", ())}
    planned = dict(enumerate((store.meta("plan") or {}).get("buckets", ())))
    facts = [_of_class(DataFacts, one) for one in watched.get("data", ())]
    found = []
    for row in store.runs():
        result, bucket = results.get(row.run), buckets.get(row.bucket, {})
        layers, whole = recorded.get(row.run) or _split(points.get(row.run, {}))
        own = curves.get(row.run, {}) | whole
        length = bucket.get("num_steps") or planned.get(row.bucket, {}).get("steps") or 0
        found.append(
            RunRecord(
                settings=settings.get(row.arm, {}),
                curves=own,
                layers=layers,
                events=tuple(events.get(row.run, ())),
                data=facts[bucket["data"]] if facts and bucket else _facts_of_summary(store),
                net=_of_class(NetFacts, bucket.get("net", {})),
                num_steps=int(length),
                steps_per_epoch=int(bucket.get("steps_per_epoch") or epochs.get(row.run, 1)),
                status="running" if result is None else result.status,
                steps=_steps(own, result),
                run=row.run,
                arm=row.arm,
                name=row.arm_name,
            )
        )
    return found


def _steps(curves: Mapping[str, Curve], result: RunResult | None) -> int:
    """Steps taken: as the result says, else the last that was recorded."""
    if result is not None:
        return result.steps
    return max((int(curve.steps[-1]) for curve in curves.values() if curve), default=0)


def _events(rows: Iterable[Event]) -> dict[int, list[Happening]]:
    found: dict[int, list[Happening]] = defaultdict(list)
    for row in rows:
        if row.run is not None:
            found[row.run].append(Happening(row.step, row.kind, row.data))
    return found


def _facts_of_summary(store: Store) -> DataFacts:
    """What the summary of the data tells, for folders that an earlier version wrote."""
    stored = store.meta("data") or {}
    data = (stored[0] if stored else {}) if isinstance(stored, list) else stored
    task = str(data.get("task") or store.meta("task") or "")
    parts, target = data.get("parts") or {}, data.get("target")
    is_number = isinstance(target, Mapping) and "std" in target
    counts = {
        part: np.array([row.get(part, 0) for row in data.get("classes") or ()], np.float64)
        for part in ("train", "val")
    }
    shares = {
        part: tuple((count / max(1.0, count.sum())).tolist()) for part, count in counts.items()
    }
    return DataFacts(
        task=task,
        num_train=int(parts.get("train", 0)),
        num_val=int(parts.get("val", 0)),
        num_classes=len(shares["train"]),
        num_targets=len(shares["train"]) if task == "classification" else 0,
        class_shares=shares["train"],
        val_class_shares=shares["val"],
        target_std=1.0 if is_number and _is_scaled(store) else math.nan,
    )


def _is_scaled(store: Store) -> bool:
    data = (store.meta("study") or {}).get("data") or {}
    return bool(data.get("scale_target", True)) and not data.get("log_target", False)


def _of_class(kind: Any, values: Mapping[str, Any]) -> Any:
    """A record of facts from what was stored of it; what an earlier version did not know stays unknown."""
    known = {field.name for field in fields(kind)}
    kept = {name: value for name, value in values.items() if name in known}
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()})


def _settings(folder: Path) -> dict[int, Any]:
    """The configuration of each arm in the form of the study file; nothing where this version no longer understands it."""
    path = folder / "study.yaml"
    if not path.is_file():
        return {}
    try:
        return {arm.index: plain_config(arm.config) for arm in expand(load_study(path))}
    except SpecError:
        # Written by a version with other keys: rules then go by the curves alone.
        return {}


def _curves(rows: Iterable[MetricRow]) -> dict[int, dict[str, Curve]]:
    points: dict[int, dict[str, list[Number]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:  # by run, name and step
        points[row.run][row.name].append((row.step, row.value))
    return {
        run: {name: _curve(found) for name, found in by_name.items()}
        for run, by_name in points.items()
    }


def _curve(points: Sequence[Number]) -> Curve:
    return Curve.of([step for step, _ in points], [value for _, value in points])


def _recorded(found: Iterable[Layers]) -> dict[int, tuple[dict[str, LayerTable], dict[str, Curve]]]:
    """By run: statistics of layers, and those of the whole network (a layer without a name) as curves."""
    by_run: dict[int, tuple[dict[str, LayerTable], dict[str, Curve]]] = {}
    for records in found:
        runs, steps = np.asarray(records.runs), np.asarray(records.steps, np.int64)
        for run in np.unique(runs).tolist():
            rows = np.flatnonzero(runs == run)
            rows = rows[np.argsort(steps[rows], kind="stable")]
            layers, whole = by_run.setdefault(run, ({}, {}))
            first = 0
            for name, own in records.names.items():
                values = records.values[rows, first : first + len(own)].astype(np.float64)
                first += len(own)
                if own == ("",):
                    whole[name] = Curve(steps[rows], values[:, 0])
                else:
                    layers[name] = LayerTable(steps[rows], own, values)
    return by_run


def _points(rows: Iterable[HealthRow]) -> dict[int, dict[str, dict[str, list[Number]]]]:
    """Numbers by run, statistic and layer."""
    found: dict[int, dict[str, dict[str, list[Number]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for row in rows:
        found[row.run][row.name][row.layer].append((row.step, row.value))
    return found


def _split(
    points: Mapping[str, Mapping[str, list[Number]]],
) -> tuple[dict[str, LayerTable], dict[str, Curve]]:
    return {name: _table(by_layer) for name, by_layer in points.items()}, {}


def _table(by_layer: Mapping[str, list[Number]]) -> LayerTable:
    names = sorted(by_layer, key=_place)
    steps = sorted({step for points in by_layer.values() for step, _ in points})
    place = {step: index for index, step in enumerate(steps)}
    values = np.full((len(steps), len(names)), np.nan)
    for column, name in enumerate(names):
        for step, value in by_layer[name]:
            values[place[step], column] = value
    return LayerTable(np.asarray(steps, np.int64), tuple(names), values)


def _place(name: str) -> tuple[Any, ...]:
    """Where a layer stands, by the numbers in its name; heads and outputs last."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", name))
    return name in ("output", "head"), numbers, name
