"""What the check before training says of the zoo: of healthy studies it should say nothing, of planted faults as much as it can know."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import lanework
from studies.faults.measure import code
from studies.faults.zoo import Case, write

__all__ = ["Told", "counted", "is_known", "looked"]

Told: TypeAlias = Mapping[str, str]
"""Level of each item that is not as it should be, by name."""
FILE: Final = "gate.json"
SOURCES: Final = ("health/**/*.py", "api/check*.py")
"""What the gate is made of: what another one said is not its word."""


def _kept(case: Case, folder: Path) -> dict[str, Any]:
    path = folder / "runs" / case.name / FILE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def is_known(case: Case, folder: Path) -> bool:
    """Whether this gate has looked at the study already."""
    return _kept(case, folder).get("code") == code(*SOURCES)


def looked(case: Case, folder: Path, *, seed: int) -> Told:
    """What `lanework check` has to say of a study; kept beside its runs."""
    if is_known(case, folder):
        return dict(_kept(case, folder)["told"])
    found = lanework.Study.from_file(write(case, folder, seed=seed)).check()
    # One item may speak of several configurations: the worst comes first.
    told: dict[str, str] = {}
    for item in found.items:
        if item.level != "pass":
            told.setdefault(item.name, item.level)
    path = folder / "runs" / case.name / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"code": code(*SOURCES), "told": told}), encoding="utf-8")
    return told


def counted(cases: Sequence[Case], told: Mapping[str, Told]) -> dict[str, Any]:
    """Shares of the studies that were looked at; None where none was."""
    well = [told[case.name] for case in cases if case.name in told and not case.planted]
    sick = [told[case.name] for case in cases if case.name in told and case.planted]

    def share(part: Sequence[bool]) -> float | None:
        return sum(part) / len(part) if part else None

    return {
        "gate_healthy": len(well),
        "gate_faults": len(sick),
        "gate_healthy_fail_share": share(["fail" in one.values() for one in well]),
        "gate_healthy_warn_share": share(["warn" in one.values() for one in well]),
        "gate_told_share": share([bool(one) for one in sick]),
        "gate_fail_share": share(["fail" in one.values() for one in sick]),
    }
