"""What diagnosis makes of the zoo: every study trained, the rules called on what it stored, and the shares counted.

Owns training with a cache, reading of runs and the counts. The rules are given records and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import lanework
from lanework.api.diagnose import records
from lanework.health.findings import Finding, without_symptoms
from lanework.health.records import RunRecord
from lanework.health.rules import RULES
from lanework.store import Store
from studies.faults.worlds import DATA
from studies.faults.zoo import Case, write

__all__ = ["Reading", "code", "counted", "is_trained", "read", "score", "trained", "worst"]

EARLY: Final = 0.2
FIRST: Final = 2
STAMP: Final = "zoo.json"
METRICS: Final = ("val_accuracy", "val_r2")


@dataclass(frozen=True)
class Reading:
    """What was told of one run.

    Attributes:
        case: Name of the study.
        run: Number of the run.
        found: Code, level and confidence of each finding, worst first.
        named: A right answer is among the first two; for healthy runs, nothing was found.
        both: For two planted causes: both are among the findings.
        early: Share of training after which a right answer first was among the first two, as far as that is within the first
            fifth; NaN where it is later or never.
    """

    case: str
    run: int
    found: tuple[tuple[str, str, float], ...]
    named: bool
    both: bool
    early: float


@cache
def code(*patterns: str) -> str:
    """A fingerprint of some files of the package: what another version of them said is not their word.

    Args:
        patterns: The files, as patterns from the package's folder.
    """
    folder = Path(lanework.__file__).parent
    files = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def trained(case: Case, folder: Path, *, seed: int) -> Path:
    """Train a study, unless the same one is there already; its folder."""
    place = folder / "runs" / case.name
    if not is_trained(case, folder, seed=seed):
        path = write(case, folder, seed=seed)
        lanework.Study.from_file(path).run(place, overwrite=True)
        (place / STAMP).write_text(json.dumps(_mark(case, path)), encoding="utf-8")
    return place


def is_trained(case: Case, folder: Path, *, seed: int) -> bool:
    """Whether a study is there already, trained from the same file on the same data."""
    stamp = folder / "runs" / case.name / STAMP
    if not stamp.is_file():
        return False
    mark = _mark(case, write(case, folder, seed=seed))
    return bool(json.loads(stamp.read_text(encoding="utf-8")) == mark)


def _mark(case: Case, path: Path) -> dict[str, str]:
    """What a study depends on: its file, its data and the engine's version."""
    source = case.study["data"]["source"]
    parts = [path.read_bytes()]
    if source in DATA:
        parts.append((path.parent / "data" / source).read_bytes())
    digest = hashlib.sha256(b"".join(parts)).hexdigest()
    return {"study": digest, "lanework": lanework.__version__}


def judged(record: RunRecord) -> tuple[Finding, ...]:
    """Findings of a record, worst first; `diagnose` without the search for the step at which each could first be told."""
    found = (rule.function(record) for rule in RULES)
    return without_symptoms(one for one in found if one is not None)


def read(case: Case, folder: Path) -> list[Reading]:
    """What the rules say of each run of a study."""
    readings = []
    for record in records(folder):
        found = judged(record)
        codes = [one.code for one in found]
        readings.append(
            Reading(
                case=case.name,
                run=record.run,
                found=tuple((one.code, one.level, round(one.confidence, 3)) for one in found),
                named=_is_named(case, codes) if case.planted else not codes,
                both=bool(case.second) and {case.planted, case.second} <= set(codes),
                early=_first_share(case, record) if case.planted else math.nan,
            )
        )
    return readings


def _is_named(case: Case, codes: Sequence[str]) -> bool:
    return any(code in case.accepted for code in codes[:FIRST])


def _first_share(case: Case, record: RunRecord) -> float:
    last = math.floor(EARLY * record.num_steps)
    for step in (0, *(step for step in record.record_steps if 0 < step <= last)):
        if _is_named(case, [one.code for one in judged(record.until(step))]):
            return step / record.num_steps
    return math.nan


def score(folder: Path) -> dict[int, float]:
    """Validation accuracy or R2 of each arm with the weights it keeps, mean over its runs; -inf where one diverged."""
    with Store(folder, create=False) as store:
        rows, runs, ended = store.metrics(), store.runs(), store.results()
    lost = {result.run for result in ended if result.status == "diverged"}
    arm_of = {row.run: row.arm for row in runs}
    keeps_best = _keeps_best(folder)
    # A run that diverged before its first evaluation has no curve at all.
    values: dict[int, dict[int, list[float]]] = {}
    for run, arm in arm_of.items():
        values.setdefault(arm, {})[run] = []
    for row in rows:
        if row.name in METRICS:
            values[arm_of[row.run]][row.run].append(row.value)
    found = {}
    for arm, by_run in values.items():
        kept = [
            -math.inf if run in lost or not curve or not math.isfinite(curve[-1])
            else max(curve) if keeps_best[arm] else curve[-1]
            for run, curve in by_run.items()
        ]  # fmt: skip
        found[arm] = sum(kept) / len(kept)
    return found


def _keeps_best(folder: Path) -> dict[int, bool]:
    from lanework.spec import expand, load_study

    spec = load_study(folder / "study.yaml")
    return {arm.index: arm.config.train.keep == "best" for arm in expand(spec)}


def worst(found: Sequence[tuple[str, str, float]]) -> str:
    """Findings in a few words, for a table."""
    return (
        ", ".join(f"{code} ({level} {confidence:.2f})" for code, level, confidence in found)
        or "nothing"
    )


def counted(cases: Sequence[Case], readings: Sequence[Reading]) -> dict[str, Any]:
    """The shares that the bars are about, over runs."""
    known = {case.name: case for case in cases}
    sick = [one for one in readings if known[one.case].planted]
    well = [one for one in readings if not known[one.case].planted]
    double = [one for one in sick if known[one.case].second]

    def share(part: Sequence[bool]) -> float | None:
        return sum(part) / len(part) if part else None

    return {
        "faults": len({one.case for one in sick}),
        "fault_runs": len(sick),
        "healthy": len({one.case for one in well}),
        "healthy_runs": len(well),
        "named_share": share([one.named for one in sick]),
        "found_share": share([bool(one.found) for one in sick]),
        "early_share": share([not math.isnan(one.early) for one in sick]),
        "at_start_share": share([one.early == 0.0 for one in sick]),
        "both_share": share([one.both for one in double]),
        "healthy_fail_share": share([_has(one, "fail") for one in well]),
        "healthy_warn_share": share([_has(one, "warn") for one in well]),
    }


def _has(reading: Reading, level: str) -> bool:
    return any(found == level for _, found, _ in reading.found)


def as_rows(readings: Sequence[Reading]) -> list[Mapping[str, Any]]:
    """Readings as plain data; what is not known is null."""
    rows = []
    for one in readings:
        row = asdict(one)
        row["early"] = None if math.isnan(one.early) else round(one.early, 4)
        rows.append(row)
    return rows
