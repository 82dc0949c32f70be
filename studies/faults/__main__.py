"""`python -m studies.faults`: train the fault zoo, diagnose it, mend it, and write what came of it.

One process, one study after another, so that JAX starts once; what is trained already is not trained again. JAX's own cache of
programs is switched on, since it knows equal programs on other data for equal: a fault and its twin, one draw and the next.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studies.faults.measure import Reading
    from studies.faults.zoo import Case

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "faults.md"
PARTS = ("faults", "healthy", "remedies")
GATED = ("all", "healthy", "none")


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m studies.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="which draw")
    parser.add_argument(
        "--only", default="", metavar="CAUSE", help="faults of one cause, and their twins"
    )
    parser.add_argument(
        "--part", choices=PARTS, default="", help="faults, healthy or remedies alone"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=float("inf"),
        help="train no more after that long; a later call goes on",
    )
    parser.add_argument("--no-remedies", action="store_true", help="try no remedies")
    parser.add_argument(
        "--gate",
        choices=GATED,
        default="all",
        help="what lanework check looks at: all studies, healthy ones only, or none",
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "runs" / "faults", help="where studies are trained"
    )
    parser.add_argument(
        "--role", default="", help="a word about this draw for the page, such as: not tuned on"
    )
    parser.add_argument("--write", action="store_true", help="write the results and the page")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run the zoo; the exit code is 0 whatever was found, since misses are results."""
    asked = arguments(words)
    _share_programs(asked.out / "programs")
    from studies.faults import gate, measure
    from studies.faults.zoo import draw

    folder = asked.out / f"seed-{asked.seed}"
    cases = draw(asked.seed, only=asked.only, part=asked.part)
    until = time.perf_counter() + asked.seconds
    readings = [one for case in cases for one in _looked_at(case, folder, asked.seed, until)]
    known = {one.case for one in readings}
    if len(known) < len(cases):
        print(f"{len(cases) - len(known)} studies are left for the next call.")
    cases = [case for case in cases if case.name in known]
    is_asked = not asked.no_remedies and asked.part not in ("faults", "healthy")
    mendings = _mended(cases, folder, asked.seed, until) if is_asked else []
    told = _gated(asked, cases, folder, until)
    counts = measure.counted(cases, readings) | _mended_shares(mendings) | gate.counted(cases, told)
    print(json.dumps(counts, indent=1))
    if asked.write:
        more = {"readings": measure.as_rows(readings), "mendings": mendings, "gate": told}
        _written(asked, cases, {"counts": counts, **more})
    return 0


def _share_programs(folder: Path) -> None:
    """How programs are compiled and kept, unless somebody has said how; before JAX is imported.

    Such small networks train for tenths of a second and compile for seconds, half of which goes into optimising.
    """
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder.resolve()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")


def _looked_at(case: Case, folder: Path, seed: int, until: float) -> list[Reading]:
    """What is said of each run of a study; nothing where it is not trained and the time is over."""
    from studies.faults import measure

    if time.perf_counter() > until and not measure.is_trained(case, folder, seed=seed):
        return []
    begun = time.perf_counter()
    place = measure.trained(case, folder, seed=seed)
    found = measure.read(case, place)
    score = measure.score(place).get(0, float("nan"))
    for one in found:
        mark = "   " if one.named else "NO "
        early = "" if one.early != one.early else f" at {one.early:.2f}"
        told = measure.worst(one.found)
        seconds = time.perf_counter() - begun
        print(f"{mark}{case.name:52s} {score:6.3f} {seconds:5.1f} s  {told}{early}", flush=True)
    return found


def _mended(cases: Sequence[Case], folder: Path, seed: int, until: float) -> list[dict[str, Any]]:
    """What remedies and random changes did, as far as the time goes; what was tried already is read."""
    from studies.faults import healing, measure

    rows, runs = [], folder / "runs"
    fingerprint = measure.code(*healing.SOURCES)
    for case in healing.patients(cases, seed=seed):
        known = runs / case.name / "mending.json"
        kept = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else {}
        if kept.get("code") == fingerprint:
            row = kept["row"]
        elif time.perf_counter() > until:
            continue
        else:
            row = healing.mend(case, runs / case.name, twin=runs / case.twin, seed=seed).row()
            known.write_text(json.dumps({"code": fingerprint, "row": row}), encoding="utf-8")
        print(("   " if row["best_mends"] else "NO ") + json.dumps(row), flush=True)
        rows.append(row)
    return rows


def _gated(
    asked: argparse.Namespace, cases: Sequence[Case], folder: Path, until: float
) -> dict[str, Mapping[str, str]]:
    """What the check before training says, as far as the time goes; what it said already is read."""
    from studies.faults import gate

    chosen = [case for case in cases if asked.gate == "all" or not case.planted]
    told: dict[str, Mapping[str, str]] = {}
    for case in chosen if asked.gate != "none" else []:
        if time.perf_counter() > until and not gate.is_known(case, folder):
            continue
        told[case.name] = gate.looked(case, folder, seed=asked.seed)
        print(f"   gate {case.name:52s} {json.dumps(told[case.name])}", flush=True)
    return told


def _mended_shares(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    sick = [row for row in rows if row["hurts"]]
    found: dict[str, Any] = {"mended": len(rows), "mended_that_hurt": len(sick)}
    for name in ("first_mends", "best_mends", "random_mends"):
        found[f"{name}_share"] = sum(row[name] for row in sick) / len(sick) if sick else None
    return found


def _written(asked: argparse.Namespace, cases: Sequence[Case], found: Mapping[str, Any]) -> None:
    """The results of this draw, and the page from those of all draws that are there."""
    from studies.faults.page import page

    told = {
        "seed": asked.seed,
        "role": asked.role,
        "cases": [
            {
                "name": case.name,
                "planted": case.planted,
                "accepted": list(case.accepted),
                "second": case.second,
                "twin": case.twin,
                "edits": dict(case.edits),
            }
            for case in cases
        ],
        **found,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(told, indent=1, allow_nan=False)
    (RESULTS / f"faults-seed-{asked.seed}.json").write_text(text + "\n", encoding="utf-8")
    draws = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(RESULTS.glob("faults-seed-*.json"))
    ]
    PAGE.write_text(page(draws), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
