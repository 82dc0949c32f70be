"""Measure Lanework against its peers: `python benchmarks/run.py` (what `make bench` calls).

Every repetition runs all contenders of a case one after the other, starting with another one each
time, so that a slow minute of the machine hits everybody. The result is a JSON file with every
single figure, and a table of ratios against the bars on the terminal.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import statistics
import sys
import tempfile
from pathlib import Path

import measure
import page
from cases import CASES, EXTRA_CASES, LANEWORK, PEERS, WATCHED, Case
from checks import lines, watching_cost
from contenders import (
    HERE,
    ROOT,
    Workplace,
    has_warm_cache,
    lanework_command,
    lanework_env,
    run_once,
    why_skipped,
)


def main() -> int:
    options = parse()
    path = options.into or options.out or default_path(options)
    result = json.loads(path.read_text()) if options.into else new_result(options)
    warn_if_busy(result["load_average_before"])
    for name in options.only:
        print(
            f"\n== {name}: {CASES[name].title if name in CASES else EXTRA_CASES[name]}", flush=True
        )
        case = run_case(name, options)
        case |= {"measured_at": now(), "commit": measure.commit(ROOT)}
        if options.contenders:
            result["cases"][name] = put_into(result["cases"][name], case)
        else:
            result["cases"][name] = case
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n")  # after each case: nothing is lost
    print("\n" + "\n".join(lines(result)))
    print(f"\nResult: {os.path.relpath(path)}")
    if not options.tiny and set(result["cases"]) == {*CASES, *EXTRA_CASES}:
        page.write(path)
    has_failed = any(
        "failed" in one for case in result["cases"].values() for one in _contenders(case)
    )
    return 1 if has_failed else 0


def put_into(before: dict, case: dict) -> dict:
    """A case with some contenders measured anew; each says at which commit."""
    stamp = {"commit": case["commit"], "measured_at": case["measured_at"]}
    anew = {name: record | stamp for name, record in case["contenders"].items()}
    return before | {"contenders": before["contenders"] | anew}


def _contenders(case: dict) -> list[dict]:
    return list(case.get("contenders", {}).values())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = [*EXTRA_CASES, *CASES]
    parser.add_argument(
        "--only", type=_names(names), default=names, help=f"cases: {','.join(names)}"
    )
    parser.add_argument(
        "--peers",
        type=_names([*PEERS, "none"]),
        default=None,
        help=f"peers: {','.join(PEERS)}, or none",
    )
    parser.add_argument(
        "--contenders",
        type=_names([*LANEWORK, *PEERS]),
        default=None,
        help="measure only these anew, into the result file given with --into",
    )
    parser.add_argument("--reps", type=int, default=5, help="repetitions (median is reported)")
    parser.add_argument("--slow-s", type=float, default=30, help="a contender is slow above this")
    parser.add_argument("--slow-reps", type=int, default=3, help="repetitions of slow contenders")
    parser.add_argument("--out", type=Path, help="result file; default results/DATE-MACHINE.json")
    parser.add_argument("--into", type=Path, help="put the cases into this existing result file")
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="three epochs, few runs: do all scripts work? No figures.",
    )
    return parser.parse_args()


def _names(known: list[str]):
    def read(text: str) -> list[str]:
        given = [name.strip() for name in text.split(",") if name.strip()]
        wrong = [name for name in given if name not in known]
        if wrong:
            raise argparse.ArgumentTypeError(
                f"unknown: {', '.join(wrong)}; known: {', '.join(known)}"
            )
        return given

    return read


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def default_path(options: argparse.Namespace) -> Path:
    if options.tiny:
        return Path(tempfile.gettempdir()) / "lanework-bench-tiny.json"
    return HERE / "results" / f"{datetime.date.today().isoformat()}-{measure.machine_name()}.json"


def new_result(options: argparse.Namespace) -> dict:
    settings = {key: getattr(options, key) for key in ("reps", "slow_s", "slow_reps", "tiny")}
    return {
        "schema": 1,
        "date": now(),
        "machine": measure.machine(),
        "versions": measure.versions(),
        "commit": measure.commit(ROOT),
        "load_average_before": os.getloadavg(),
        "settings": settings,
        "cases": {},
    }


def warn_if_busy(load: list[float] | tuple[float, ...]) -> None:
    if load[0] > 0.3:
        print(f"Warning: the load average is {load[0]:.2f}; figures of a busy machine mislead.")


def run_case(name: str, options: argparse.Namespace) -> dict:
    with tempfile.TemporaryDirectory(prefix="lanework-bench-") as folder:
        if name == "peak":
            return run_peak(Path(folder))
        if name == "start":
            return run_start(Path(folder), options.reps)
        if name == "rules":
            return run_rules(Path(folder), is_tiny=options.tiny)
        if name == "watching":
            return run_watching(Path(folder), is_tiny=options.tiny)
        if name == "r7":
            return run_streaming(Path(folder), is_tiny=options.tiny)
        return run_contest(CASES[name], Path(folder), options)


def run_contest(case: Case, folder: Path, options: argparse.Namespace) -> dict:
    """All contenders of a case, interleaved."""
    study = place_study(case, folder, is_tiny=options.tiny)
    prepared = measure.run_process(
        [sys.executable, str(HERE / "prepare.py"), str(study), str(folder)],
        folder=folder,
        env=lanework_env(folder / "cache-lanework"),
    )
    if prepared.code != 0:
        print(f"   skipped, preparing failed: {prepared.tail}")
        return {"contenders": {}, "skipped": prepared.tail}
    peer_runs = 1 if options.tiny else case.peer_runs
    place = Workplace(folder, study, folder / "job.json", peer_runs)
    peers = case.peers if options.peers is None else [p for p in options.peers if p != "none"]
    peers = peers if case.peers else ()  # a case without peers (memory) stays without
    names = options.contenders or (*case.lanework, *peers)
    contenders: dict[str, dict] = {name: {"repetitions": []} for name in names}
    for name, record in contenders.items():
        if reason := why_skipped(name):
            record["skipped"] = reason
            print(f"   {name:22s} skipped, {reason}")
        elif has_warm_cache(name):
            fill_cache(name, record, place)
    for repetition in range(options.reps):
        repeat(contenders, place, repetition, options)
    return {
        "title": case.title,
        "work": json.loads((folder / "work.json").read_text()),
        "contenders": contenders,
    }


def fill_cache(name: str, record: dict, place: Workplace) -> None:
    """One unmeasured run; its time is stored as `priming_s`."""
    first = run_once(name, place)
    record["priming_s"] = first.get("wall_s")
    note_failure(name, record, first)


def repeat(
    contenders: dict[str, dict], place: Workplace, repetition: int, options: argparse.Namespace
) -> None:
    """One repetition of everybody who still takes part."""
    names = list(contenders)
    start = repetition * max(1, len(names) // max(1, options.reps)) % len(names)
    for name in names[start:] + names[:start]:
        record = contenders[name]
        if "skipped" in record or "failed" in record or is_done(record, options):
            continue
        load = os.getloadavg()[0]
        row = run_once(name, place)
        if note_failure(name, record, row):
            continue
        record["repetitions"].append({**row, "load_average": load})
        train = f"training {row['training_s']:7.2f} s" if row.get("training_s") else ""
        print(f"   {repetition + 1} {name:22s} {row['wall_s']:8.2f} s  {train}", flush=True)


def is_done(record: dict, options: argparse.Namespace) -> bool:
    """Slow contenders are repeated less often; the page says so."""
    walls = [row["wall_s"] for row in record["repetitions"]]
    return (
        bool(walls)
        and len(walls) >= options.slow_reps
        and statistics.median(walls) > options.slow_s
    )


def note_failure(name: str, record: dict, row: dict) -> bool:
    if "failed" not in row:
        return False
    record["failed"] = row["failed"]
    print(f"   {name:22s} FAILED: {row['failed'][-600:]}", flush=True)
    return True


# What `--tiny` makes of a study file, in this order.
TINY = (
    (r"^seeds: .*$", "seeds: 1"),
    (r"epochs: \d+", "epochs: 3"),
    (r", limit_rows: \d+", ""),
    (r"source: fashion-mnist", "source: fashion-mnist, limit_rows: 1000"),
)


def place_study(case: Case, folder: Path, *, is_tiny: bool) -> Path:
    """The study file, copied; shortened when only the scripts are tried."""
    text = (HERE / "studies" / case.study).read_text()
    for pattern, replacement in TINY if is_tiny else ():
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    target = folder / case.study
    target.write_text(text)
    return target


def run_peak(folder: Path) -> dict:
    done = measure.run_process([sys.executable, str(HERE / "peak.py"), "peak.json"], folder=folder)
    if done.code != 0:
        print(f"   FAILED: {done.tail}")
        return {"skipped": done.tail}
    peak = json.loads((folder / "peak.json").read_text())
    print(
        f"   {peak['gflops']['float32']:.0f} GFLOP/s float32, {peak['gflops']['bfloat16']:.0f} bfloat16"
    )
    return peak


def run_rules(folder: Path, *, is_tiny: bool) -> dict:
    """Seconds of a step by update rule, see rules.py."""
    command = [sys.executable, str(HERE / "rules.py"), "rules.json", "5" if is_tiny else "200"]
    done = measure.run_process(command, folder=folder, env=lanework_env(folder / "cache"))
    if done.code != 0:
        print(f"   FAILED: {done.tail}")
        return {"skipped": done.tail}
    return json.loads((folder / "rules.json").read_text())


def run_streaming(folder: Path, *, is_tiny: bool) -> dict:
    """Rates in memory and streamed, and peak memory on a large file, see streaming.py."""
    command = [sys.executable, str(HERE / "streaming.py"), "streaming.json"]
    command += ["tiny"] if is_tiny else []
    done = measure.run_process(command, folder=folder, env=lanework_env(folder / "cache"))
    if done.code != 0:
        print(f"   FAILED: {done.tail}")
        return {"skipped": done.tail}
    found = json.loads((folder / "streaming.json").read_text())
    rates = found["rate"]["samples_per_s"]
    print(f"   {rates['streamed']:.0f} samples/s streamed, {rates['in_memory']:.0f} in memory")
    return found


def run_watching(folder: Path, *, is_tiny: bool) -> dict:
    """Seconds of turns of runs that are watched more or less, see watching.py."""
    found = {}
    for name, num_runs in WATCHED.items():
        study = place_study(CASES[name], folder, is_tiny=is_tiny)
        out = folder / f"{name}.json"
        command = [sys.executable, str(HERE / "watching.py"), str(study), str(out)]
        command.append("1" if is_tiny else str(num_runs))
        env = lanework_env(folder / "cache-lanework")
        done = measure.run_process(command, folder=folder, env=env)
        if done.code != 0:
            print(f"   {name} FAILED: {done.tail}")
            continue
        found[name] = json.loads(out.read_text())
        told = {form: watching_cost(found[name], form) for form in ("off", "default", "deep")}
        cells = [f"{form} {100 * cost.share:+.1f} %" for form, cost in told.items() if cost]
        print(f"   {name}: {', '.join(cells)} of training without it", flush=True)
    return found


IMPORT = "import time; t = time.perf_counter(); import lanework; print(time.perf_counter() - t)"


def run_start(folder: Path, reps: int) -> dict:
    """Median seconds of `lanework --help` (process), `import lanework` (inside), bare Python."""
    env = lanework_env(folder / "cache")
    commands = {
        "help_s": lanework_command("--help"),
        "import_s": [sys.executable, "-c", IMPORT],
        "python_s": [sys.executable, "-c", "pass"],
    }
    figures: dict = {}
    for name, command in commands.items():
        values = []
        for _ in range(2 * reps + 1):
            done = measure.run_process(command, folder=folder, env=env)
            if done.code != 0:
                print(f"   {name} FAILED: {done.tail}")
                break
            values.append(float(done.tail) if name == "import_s" else done.wall_s)
        figures[name] = (
            statistics.median(values[1:]) if len(values) > 1 else None
        )  # first: file cache
        print(f"   {name:10s} {figures[name]}")
    return figures


if __name__ == "__main__":
    sys.exit(main())
