"""Start one contender once and say what it took: Lanework on a study file, or a peer on a job file.

Imports the standard library and the tables only: this runs in the small parent process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cases import LANEWORK, PEERS
from measure import Outcome, run_process

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Workplace:
    """Folders of one case: the study and job everybody gets, caches, and room for outputs.

    Attributes:
        folder: Temporary folder, removed at the end.
        study: Study file for Lanework.
        job: Job file for the peers.
        peer_runs: How many of its runs a peer trains that works through them one by one.
    """

    folder: Path
    study: Path
    job: Path
    peer_runs: int | None

    def cache(self, contender: str, *, is_cold: bool) -> Path:
        """The contender's compilation cache; a new, empty folder when it must be cold."""
        if is_cold:
            return Path(tempfile.mkdtemp(prefix="cold-", dir=self.folder))
        path = self.folder / f"cache-{contender}"
        path.mkdir(exist_ok=True)
        return path


def why_skipped(name: str) -> str:
    """Why a contender cannot run here; empty when it can."""
    if name in LANEWORK:
        return ""
    missing = [
        package for package in PEERS[name].needs if importlib.util.find_spec(package) is None
    ]
    return f"not installed here: {', '.join(missing)}" if missing else ""


def has_warm_cache(name: str) -> bool:
    """Whether a first, unmeasured run must fill a cache."""
    if name in LANEWORK:
        return name != "lanework_cold"
    return PEERS[name].cache is not None and not PEERS[name].is_cold


def run_once(name: str, place: Workplace) -> dict[str, object]:
    """One measured run of a contender.

    Returns:
        `wall_s`, `peak_rss_bytes`, `stages` (seconds as the contender counts them), `training_s`
        (training with the validation after each epoch, and nothing else), `training_samples` seen
        in that time, `best_val_accuracy` (mean over seeds of the best recipe) and `facts`; or
        `failed` with the end of the output.
    """
    out = Path(tempfile.mkdtemp(prefix="out-", dir=place.folder))
    try:
        return _lanework(name, place, out) if name in LANEWORK else _peer(name, place, out)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def lanework_command(*arguments: str) -> list[str]:
    """The `lanework` command of this environment."""
    script = Path(sys.executable).parent / "lanework"
    if script.is_file():
        return [sys.executable, str(script), *arguments]
    return [
        sys.executable,
        "-c",
        "import sys; from lanework.cli import main; sys.exit(main())",
        *arguments,
    ]


def lanework_env(cache: Path) -> dict[str, str]:
    """Environment of a Lanework process: its cache, the data folder, the package."""
    env = {"LANEWORK_CACHE": str(cache), "PYTHONPATH": str(ROOT / "src")}
    folder = data_folder()
    return env | ({"LANEWORK_DATA": str(folder)} if folder else {})


def data_folder() -> Path | None:
    """Where the real data sets lie: LANEWORK_DATA, or `shared/data` beside or in the repository."""
    given = os.environ.get("LANEWORK_DATA")
    places = [Path(given)] if given else [ROOT.parent / "shared/data", ROOT / "shared/data"]
    return next((place.resolve() for place in places if place.is_dir()), None)


def _lanework(name: str, place: Workplace, out: Path) -> dict[str, object]:
    cache = place.cache("lanework", is_cold=name == "lanework_cold")
    study, segments = out / "study-out", out / "segments.json"
    if name == "lanework_watched":
        script = str(HERE / "segments.py")
        command = [sys.executable, script, str(place.study), str(study), str(segments)]
    else:
        command = lanework_command("run", str(place.study), "--out", str(study), "--quiet")
    outcome = run_process(command, folder=out, env=lanework_env(cache), timeout_s=TIMEOUT_S)
    if name == "lanework_cold":
        shutil.rmtree(cache, ignore_errors=True)
    results = study / "results.json"
    if outcome.code != 0 or not results.is_file():
        return {"failed": f"exit code {outcome.code}: {outcome.tail}"}
    row = _measured(outcome) | read_results(json.loads(results.read_text()))
    if segments.is_file():
        row |= read_segments(json.loads(segments.read_text()), place)
    return row


def _measured(outcome: Outcome) -> dict[str, object]:
    return {"wall_s": outcome.wall_s, "peak_rss_bytes": outcome.peak_rss_bytes}


def read_segments(segments: list[dict[str, float]], place: Workplace) -> dict[str, object]:
    """Time of training with its validation, and the samples trained on in that time."""
    work = json.loads((place.folder / "work.json").read_text())
    samples = work["rows"]["train"] * work["segment_epochs"]
    return {
        "training_s": sum(segment["seconds"] for segment in segments) or None,
        "training_samples": sum(segment["lanes"] * samples for segment in segments),
    }


def read_results(results: dict) -> dict[str, object]:
    """Stages, accuracy and plan from a study's results.json; stages are what Lanework says of itself."""
    stages = {
        key: value for key, value in results["timings"].items() if isinstance(value, int | float)
    }
    scores: dict[object, list[float]] = {}
    for run in results["runs"]:
        value = _metric(run.get("metrics", {}), "val", "accuracy")
        scores.setdefault(run.get("arm"), []).append(value if value is not None else 0.0)
    return {
        "stages": stages,
        "best_val_accuracy": max(sum(values) / len(values) for values in scores.values()),
        "facts": {"num_runs": len(results["runs"]), "plan": results.get("plan")},
    }


def _metric(metrics: dict, part: str, name: str) -> float | None:
    """`{"val_accuracy": v}` or `{"val": {"accuracy": v}}`."""
    nested = metrics.get(part)
    return nested.get(name) if isinstance(nested, dict) else metrics.get(f"{part}_{name}")


def _peer(name: str, place: Workplace, out: Path) -> dict[str, object]:
    peer = PEERS[name]
    job = json.loads(place.job.read_text()) | {"threads": peer.threads}
    job["runs"] = choose_runs(job["runs"], None if peer.is_side_by_side else place.peer_runs)
    (out / "job.json").write_text(json.dumps(job))
    env = {}
    if peer.cache:
        cache = place.cache(peer.script, is_cold=peer.is_cold)
        env = {peer.cache: str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [sys.executable, str(HERE / "peers" / f"{peer.script}.py"), "job.json", "result.json"]
    outcome = run_process(command, folder=out, env=env, timeout_s=TIMEOUT_S)
    result = out / "result.json"
    if outcome.code != 0 or not result.is_file():
        return {"failed": f"exit code {outcome.code}: {outcome.tail}"}
    return _measured(outcome) | _read_peer(json.loads(result.read_text()))


def _read_peer(result: dict) -> dict[str, object]:
    scores: dict[tuple, list[float]] = {}
    for run in result["runs"]:
        scores.setdefault((run["optimizer"], run["learning_rate"]), []).append(run["val_accuracy"])
    stages = result["seconds"]
    return {
        "stages": stages,
        "training_s": stages["train"] + stages.get("evaluate", 0.0),
        "training_samples": result["num_samples"],
        "best_val_accuracy": max(sum(values) / len(values) for values in scores.values()),
        "facts": result["facts"] | {"num_runs": len(result["runs"])},
    }


def choose_runs(runs: Sequence[dict], count: int | None) -> list[dict]:
    """`count` runs spread evenly over the list; all of them for None."""
    if count is None or count >= len(runs):
        return list(runs)
    return [runs[(2 * at + 1) * len(runs) // (2 * count)] for at in range(count)]
