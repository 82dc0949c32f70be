"""Healing: what is the matter with the recipes of a study, and what helps, measured beside them.

Strings diagnosis, trials, training, statistics and the mended study file together. Everything is trained by the same functions
as any study, all sick recipes and all their remedies in one study, so that they share programs, seeds, splits and batches.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lanework import report
from lanework import spec as specs
from lanework.api.diagnose import records
from lanework.api.heal_effects import best_of, document, effects
from lanework.api.heal_trials import Complaint, Patient, Trial, trials
from lanework.api.study import Results, Study
from lanework.errors import DataError, SpecError, StoreError
from lanework.health.diagnose import diagnose
from lanework.health.findings import LEVELS, Finding, ordered
from lanework.health.records import RunRecord
from lanework.health.remedies import evidence_of
from lanework.report import units
from lanework.report.facts import Facts, Metric, read_facts
from lanework.report.remedies import change_text, effect_text, remedies_text
from lanework.spec.brief import brief_study
from lanework.spec.compare import difference
from lanework.spec.expand import METRIC_BY_TASK
from lanework.spec.sections import plain_config
from lanework.spec.types import OBJECT
from lanework.spec.yaml_io import to_yaml
from lanework.store import FILE_NAME, Store

if TYPE_CHECKING:
    from lanework.api.session import Watcher

__all__ = ["Healing", "heal"]

TOP: Final = 3
NUM_SEEDS: Final = 5
MAX_PATIENTS: Final = 8
"""Sick recipes that are treated at once; with more, the worst."""
MAX_NAMES: Final = 1000
REMEDIES_FOLDER: Final = "remedies"
HEALED: Final = "healed"
CHANGES_LOSS: Final = (
    *("train.loss", "train.reduction", "train.label_smoothing", "model.output_activation"),
    *("data.scale_target", "data.log_target", "model.num_outputs", "model.outputs"),
)
"""Settings after which a loss is not the loss it was, so that it cannot judge what they did."""


@dataclass(frozen=True)
class Healing:
    """What was found and what helped.

    Attributes:
        folder: The study's folder; its records and report now hold the effects.
        record: The effects as plain values, see `docs/reference/results.md`.
        trials: Folder of the study in which the remedies were trained; None where nothing was.
        file: The mended study, ready to run; None where nothing certainly helped.
    """

    folder: Path
    record: Mapping[str, Any]
    trials: Path | None
    file: Path | None

    def text(self) -> str:
        """What was found and what helped, for a terminal."""
        return remedies_text(self.record)

    def __str__(self) -> str:
        return self.text()


def heal(
    folder: str | Path,
    *,
    top: int = TOP,
    seeds: int = NUM_SEEDS,
    out: str | Path | None = None,
    arrays: Any = None,
    module: Any = None,
    memory: float | None = None,
    progress: Watcher | None = None,
) -> Healing:
    """Diagnose every recipe of a finished study and train the sick ones again beside their remedies.

    Recipes that differ in the learning rate only are judged by the best of them, as in the report. Effects, the mended study file
    and the report are left in the study's folder.

    Args:
        folder: A study's folder.
        top: Remedies to try for each cause.
        seeds: Seeds of each recipe; those of the study come first.
        out: Where the remedies are trained; `remedies` inside of the folder by default, or the next free name like it.
        arrays: Data given from Python, see `lanework.data.load`.
        module: `nnx.Module` class given from Python.
        memory: Bytes that lanes may use; 60 % of the machine's by default.
        progress: Called after each segment.

    Raises:
        StoreError: There is no study in the folder, or it cannot be written.
    """
    folder = Path(folder)
    spec = _finished(folder)
    patients = _patients(folder, spec)
    ward = [(patient, trials(patient, top=top)) for patient in patients[:MAX_PATIENTS]]
    place = Path(out) if out else folder / REMEDIES_FOLDER
    given = {"arrays": arrays, "module": module}

    def train() -> Results | None:
        if not _beds(ward):
            return None
        study = Study._of(_trial_study(spec, ward, seeds), **given)
        return _train(study, place, memory=memory, progress=progress)

    try:
        trained = train()
    except (SpecError, DataError):
        # Some choices turn out to be impossible only when data and network are known.
        ward = [(patient, _possible(spec, patient, plan, given)) for patient, plan in ward]
        trained = train()
    untreated = [patient.name for patient in patients[MAX_PATIENTS:]]
    return _leave(folder, spec, ward, trained=trained, untreated=untreated)


def _finished(folder: Path) -> specs.StudySpec:
    """The study of a folder, as it was run.

    Raises:
        StoreError: It has not been trained to its end.
    """
    with Store(folder, create=False) as store:
        is_complete = bool(store.meta("complete"))
    if not is_complete:
        raise StoreError(
            f"{folder}: healing needs a study that was trained to its end, this one was interrupted. Continue it with "
            "lanework run STUDY --resume first."
        )
    return specs.load_study(folder / "study.yaml")


# ---- who is sick -------------------------------------------------------------------------------


def _patients(folder: Path, spec: specs.StudySpec) -> tuple[Patient, ...]:
    """The recipes in which something was found, the sickest first; of those that differ in their rate alone, the best."""
    found = _complaints(folder)
    judged = {level.best for level in read_facts(folder).levels}
    arms = {arm.index: arm for arm in specs.expand(spec)}
    sick = [
        Patient(number, arms[number].name, arms[number].config, tuple(complaints), num_runs)
        for number, (complaints, num_runs) in found.items()
        if complaints and number in judged
    ]
    return tuple(sorted(sick, key=lambda one: LEVELS.index(one.complaints[0].finding.level)))


def _complaints(folder: Path) -> dict[int, tuple[list[Complaint], int]]:
    """By recipe: what was found, worst first, and how many runs it has."""
    by_arm: dict[int, list[tuple[RunRecord, tuple[Finding, ...]]]] = defaultdict(list)
    for record, findings in _looked_at(folder):
        by_arm[record.arm].append((record, findings))
    return {arm: (_shared(runs), len(runs)) for arm, runs in by_arm.items()}


def _looked_at(folder: Path) -> Iterator[tuple[RunRecord, tuple[Finding, ...]]]:
    for record in records(folder):
        yield record, diagnose(record)


def _shared(runs: Sequence[tuple[RunRecord, tuple[Finding, ...]]]) -> list[Complaint]:
    """Failures of any run and warnings of at least half of them, each as the run has it in which it is clearest."""
    same: dict[str, list[Complaint]] = defaultdict(list)
    for record, findings in runs:
        for one in findings:
            same[one.code].append(Complaint(one, evidence_of(record, one)))
    worst = {
        code: min(found, key=lambda one: (LEVELS.index(one.finding.level), -one.finding.confidence))
        for code, found in same.items()
    }
    chosen = [
        replace(worst[one.code], num_runs=len(same[one.code]))
        for one in ordered(one.finding for one in worst.values())
        if one.level == "fail" or 2 * len(same[one.code]) >= len(runs)
    ]
    # What most runs have comes before what happened to a few.
    return sorted(
        chosen,
        key=lambda one: (LEVELS.index(one.finding.level), 2 * one.num_runs < len(runs)),
    )


# ---- training the remedies ---------------------------------------------------------------------

Ward = Sequence[tuple[Patient, tuple[Trial, ...]]]


def _beds(ward: Ward) -> list[tuple[str, Trial]]:
    """All recipes to train with a name of their own, in the order of their arms."""
    beds: list[tuple[str, Trial]] = []
    for patient, plan in ward:
        if len(plan) > 1:
            start = f"{patient.name}: " if len(ward) > 1 else ""
            beds += [(f"{start}{trial.label}", trial) for trial in plan]
    return beds


def _trial_study(spec: specs.StudySpec, ward: Ward, num_seeds: int) -> specs.StudySpec:
    """The sick recipes and their remedies as named recipes of one study."""
    beds = _beds(ward)
    first = beds[0][1].config
    base = plain_config(first)
    recipes = tuple(
        specs.Recipe(name=name, settings=difference(base, plain_config(trial.config)))
        for name, trial in beds
    )
    return specs.StudySpec(
        study=f"{spec.study}-remedies",
        data=first.data,
        model=first.model,
        train=first.train,
        compare=specs.Compare(recipes=recipes),
        seeds=_seeds(spec.seeds, num_seeds),
        report=specs.ReportSpec(metric=_metric(spec, [trial for _, trial in beds])),
        notes=f"Remedies for what was found in the study {spec.study}, each beside the recipe as it was.",
    )


def _seeds(own: Sequence[int], count: int) -> tuple[int, ...]:
    """The study's seeds first, so that its runs come again; then the lowest others."""
    more = (seed for seed in range(count + len(own)) if seed not in own)
    return (*own, *more)[:count]


def _metric(spec: specs.StudySpec, beds: Sequence[Trial]) -> str | None:
    """What the study is ranked by; where that is a loss and some remedy changes what it means, the usual metric."""
    metric = spec.report.metric
    is_loss = metric is not None and metric.endswith("_loss")
    if is_loss and any(path in CHANGES_LOSS for trial in beds for path in trial.edits):
        return METRIC_BY_TASK.get(spec.data.task, metric)
    return metric


def _possible(
    spec: specs.StudySpec, patient: Patient, plan: tuple[Trial, ...], given: Mapping[str, Any]
) -> tuple[Trial, ...]:
    """The trials that can be trained at all, each planned alone."""
    kept = []
    for trial in plan:
        try:
            Study._of(_trial_study(spec, [(patient, (plan[0], trial))], 1), **given).plan()
        except (SpecError, DataError):
            continue
        kept.append(trial)
    return tuple(kept)


def _train(study: Study, place: Path, *, memory: float | None, progress: Watcher | None) -> Results:
    """Train the trials where they belong: a folder that holds the same ones is gone on with, one with others is left alone."""
    asked = specs.content_hash(study.spec)
    for number in range(1, MAX_NAMES):
        folder = place if number == 1 else place.with_name(f"{place.name}-{number}")
        if not folder.exists() or not any(folder.iterdir()):
            return study.run(folder, memory=memory, progress=progress)
        if _asked(folder) == asked:
            return study.run(folder, memory=memory, progress=progress, resume=True)
    raise StoreError(
        f"{place}: remedies need a folder of their own, {MAX_NAMES} names like this are taken. Give another one with --out."
    )


def _asked(folder: Path) -> str | None:
    """Hash of the study in a folder; None where there is none."""
    if not (folder / FILE_NAME).is_file():
        return None
    with Store(folder, create=False) as store:
        return store.meta("asked")


# ---- what is left behind -----------------------------------------------------------------------


def _leave(
    folder: Path,
    spec: specs.StudySpec,
    ward: Ward,
    *,
    trained: Results | None,
    untreated: Sequence[str],
) -> Healing:
    """Judge the trials, write the mended study, and keep both with the study."""
    record: dict[str, Any] = {
        "untreated": list(untreated),
        "arms": [],
        "metric": None,
        "seeds": [],
        "is_folded": False,
        "folder": None,
        "file": None,
    }
    mended: list[tuple[Patient, Trial]] = []
    if trained is None:
        metric = read_facts(folder).metric
        record["arms"] = [document(patient, (), metric=metric, left=()) for patient, _ in ward]
    else:
        facts = read_facts(trained.folder)
        record |= {
            "metric": _plain_metric(facts.metric),
            "seeds": list(facts.seeds),
            "is_folded": facts.folds is not None,
            "folder": os.path.relpath(trained.folder, folder),
        }
        record["arms"], mended = _outcomes(trained.folder, facts, ward)
    file = _write_mended(folder, spec, mended, record) if mended else None
    record["file"] = None if file is None else file.name
    with Store(folder, create=False) as store:
        store.put_meta("remedies", record)
    report.write(folder)
    return Healing(folder, record, None if trained is None else trained.folder, file)


def _outcomes(
    folder: Path, facts: Facts, ward: Ward
) -> tuple[list[dict[str, Any]], list[tuple[Patient, Trial]]]:
    """Each sick recipe with what was tried, and the best trial of those that certainly helped."""
    left = {arm: [one.finding.code for one in found] for arm, (found, _) in _complaints(folder).items()}  # fmt: skip
    rows, mended, first = [], [], 0
    for patient, plan in ward:
        arms = range(first, first + len(plan)) if len(plan) > 1 else range(0)
        found = effects(plan, arms, facts) if arms else ()
        own = [left.get(arm, []) for arm in arms]
        rows.append(document(patient, found, metric=facts.metric, left=own))
        best = best_of(found, facts.metric)
        mended += [] if best is None else [(patient, best.trial)]
        first += len(arms)
    return rows, mended


def _plain_metric(metric: Metric) -> dict[str, Any]:
    names = ("name", "unit", "decimals", "direction")
    return {name: getattr(metric, name) for name in names}


def _write_mended(
    folder: Path,
    spec: specs.StudySpec,
    mended: Sequence[tuple[Patient, Trial]],
    record: Mapping[str, Any],
) -> Path | None:
    """The study with the best remedies in it, beside the records; None where it was given from Python."""
    if spec.data.source == OBJECT or spec.model.net == OBJECT:
        return None
    first = mended[0][1].config
    recipes: tuple[specs.Recipe, ...] = ()
    if len(mended) > 1:
        base = plain_config(first)
        recipes = tuple(
            specs.Recipe(name=patient.name, settings=difference(base, plain_config(trial.config)))
            for patient, trial in mended
        )
    healed = specs.StudySpec(
        study=f"{spec.study}-{HEALED}",
        data=first.data,
        model=first.model,
        train=first.train,
        compare=specs.Compare(recipes=recipes),
        seeds=tuple(record["seeds"]),
        report=spec.report,
        notes=spec.notes,
    )
    head = "".join(f"# {line}\n" for line in _head(spec, record))
    target = _free_name(folder)
    target.write_text(head + to_yaml(brief_study(healed)), encoding="utf-8")
    return target


def _free_name(folder: Path) -> Path:
    names = (f"{HEALED}{'' if n == 1 else f'-{n}'}.yaml" for n in range(1, MAX_NAMES))
    return next(folder / name for name in names if not (folder / name).exists())


def _head(spec: specs.StudySpec, record: Mapping[str, Any]) -> list[str]:
    """What was wrong, what was changed and what it did, for whoever opens the file."""
    seeds = units.counted(len(record["seeds"]), "seed")
    lines = [f"The study {spec.study}, mended by lanework heal; what it measured with {seeds}:"]
    for arm in record["arms"]:
        if arm["best"] is not None:
            best = arm["tried"][arm["best"]]
            start = f"{arm['name']}: " if len(record["arms"]) > 1 else ""
            lines += [f"{start}wrong: {one['title']}. {one['sentence']}" for one in arm["causes"]]
            lines += [f"{start}changed: {change_text(one)}" for one in best["changes"]]
            lines.append(f"{start}measured: {effect_text(arm, best, record)}")
    return lines
