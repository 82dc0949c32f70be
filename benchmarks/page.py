"""Write docs/benchmarks.md: `python benchmarks/page.py RESULT.json [PAGE.md]`.

Every number on the page comes from the result file; the reasons for missed bars from reasons.toml.
Exits 1, and writes nothing, when a bar is missed without a reason.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

from cases import CASES, COCKPIT, EXTRA_CASES, LANEWORK, PEERS
from checks import Check, checks, median, rate, show, watching_cost

HERE = Path(__file__).resolve().parent

PAGE = HERE.parent / "docs" / "benchmarks.md"
LIBRARIES = {"jax float32": "JAX", "torch float32": "PyTorch"}

HEAD = """# Benchmarks

Written by `python benchmarks/page.py` from `{source}`; do not edit. Repeat it with `make bench`
(all of it, about {minutes:.0f} minutes here) or `python benchmarks/run.py --only r1 --reps 3`, and compare two
result files with `python benchmarks/compare.py BEFORE.json AFTER.json`.

**Machine:** {machine}.
**Software:** {versions}.
**Measured:** {date}, commit `{commit}`, load average before {load}.
**Matrix peak:** {peak}.

## Bars

Ratios say how many times longer the other one takes. "Fastest variant" compares with the best of PyTorch's
default threads and one thread, and with Keras' compilation cache switched on by hand.

| what | measured | against the fastest variant | bar | aim | verdict |
|---|---|---|---|---|---|
"""

FAIRNESS = """
## What is compared

- **Same work.** `benchmarks/prepare.py` expands the study file and lets Lanework split and prepare the data; the peers
  get those arrays and that list of runs, so they train the same recipes and seeds on the same rows, with the same batch size,
  the same number of batches an epoch (the short last one included), validation after every epoch and the test part at the end. Each peer
  shuffles in its own way. All runs of a peer happen one after the other in one process (`torch.func.vmap`: side by side).
- **In favour of the peers.** They do not read, split or prepare data, and write neither records nor a report; Lanework's
  whole process does all of that, watches every layer, and includes starting Python and imports, as theirs does.
  PyTorch runs with its default threads and, as a variant of its own, with one thread. `torch.compile` compiles once for
  all runs and keeps its cache on disk between repetitions, unless the row says that the cache was empty.
- **Differences that remain.** scikit-learn starts from its own (Glorot) initialisation, all others from He normal. Keras
  compiles inside `fit`, so its training time includes compiling. Optimizer settings other than the learning rate and momentum are each
  library's defaults.
- **Cold** means an empty compilation cache in every repetition; **warm** means one unmeasured run before. The file cache of
  the operating system is warm for everybody.
- **Repetitions.** All contenders take turns in every repetition; the table shows the median and, in brackets, the
  smallest and largest, and how many repetitions there were: slow contenders are repeated less often.
- **Training alone** is, for everybody, training and the validation after each epoch; compiling (but see Keras), imports, reading,
  testing and reports are left out. For Lanework it is taken from Python, segment by segment (`benchmarks/segments.py`): the first
  segment, which may wait for the compiler, and those that score finished runs are left out, so it covers fewer samples than the study has; ratios
  compare samples per second, which count the samples of all lanes. Fractions of the matrix peak count two operations per multiply-add of
  the forward pass, the weight gradients and the input gradients (none for the first layer), and of the validation's forward pass; nothing else.
"""


def main() -> int:
    if len(sys.argv) not in (2, 3):
        print(__doc__)
        return 2
    return write(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else PAGE)


def write(source: Path, target: Path = PAGE) -> int:
    """The page from a result file; 1 when a missed bar has no reason yet."""
    result = json.loads(source.read_text())
    reasons = tomllib.loads((HERE / "reasons.toml").read_text())
    unexplained = [
        found.bar.id
        for found in checks(result)
        if found.is_met is False and found.bar.id not in reasons
    ]
    if unexplained:
        print(f"Missed without a reason in benchmarks/reasons.toml: {', '.join(unexplained)}")
        return 1
    target.write_text(page(result, reasons, f"benchmarks/results/{source.name}"))
    print(f"Wrote {target.name} from {source.name}")
    return 0


def page(result: dict, reasons: dict[str, str], source: str) -> str:
    """The whole page."""
    found = checks(result)
    parts = [head(result, source), *(bar_row(one) for one in found), missed(found, reasons)]
    parts += [contest(name, result["cases"][name]) for name in CASES if name in result["cases"]]
    parts.append(watching(result))
    parts.append(rules(result["cases"].get("rules")))
    parts.append(start(result["cases"].get("start")))
    parts.append(FAIRNESS)
    return "\n".join(part for part in parts if part).rstrip() + "\n"


def head(result: dict, source: str) -> str:
    machine = result["machine"]
    text = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_bytes'] / 1024**3:.0f} GiB"
    text += f", {machine['accelerator'] or 'no accelerator'}, {machine['system']}"
    versions = ", ".join(
        f"{name} {version}" for name, version in result["versions"].items() if version
    )
    peak_text = peak_line(result["cases"].get("peak", {}))
    return HEAD.format(
        source=source,
        minutes=total_minutes(result),
        machine=text,
        versions=versions,
        date=result["date"][:10],
        commit=result["commit"],
        load=f"{result['load_average_before'][0]:.2f}",
        peak=peak_text,
    ).rstrip()


def peak_line(case: dict) -> str:
    if "gflops" not in case:
        return "not measured"
    best, shares = case["gflops"], case.get("by_library", {})
    each = [
        f"{shares[key]:.0f} through {name}" for key, name in LIBRARIES.items() if shares.get(key)
    ]
    return (
        f"{best['float32']:.0f} GFLOP/s in float32 ({', '.join(each)}), {best['bfloat16']:.0f} in bfloat16; "
        "the larger float32 figure is what fractions refer to"
    )


def total_minutes(result: dict) -> float:
    contenders = [
        one for case in result["cases"].values() for one in case.get("contenders", {}).values()
    ]
    seconds = sum(one.get("priming_s") or 0.0 for one in contenders)
    seconds += sum(row["wall_s"] for one in contenders for row in one.get("repetitions", ()))
    return max(1.0, seconds / 60)


def bar_row(found: Check) -> str:
    bar = found.bar
    sign = "at most" if bar.is_ceiling else "at least"
    goal = f"{sign} {show(bar.bar, bar.unit)}" if bar.bar is not None else "none"
    verdict = found.verdict().replace("MISSED", "**missed**")
    cells = [bar.text, show(found.value, bar.unit), show(found.value_best, bar.unit), goal]
    return f"| {' | '.join(cells)} | {show(bar.aim, bar.unit)} | {verdict} |"


def is_aim_missed(found: Check) -> bool:
    if found.value is None or found.bar.aim is None or found.is_met is False:
        return False
    return found.value > found.bar.aim if found.bar.is_ceiling else found.value < found.bar.aim


def missed(found: list[Check], reasons: dict[str, str]) -> str:
    lines = ["\n## Missed, and why\n"]
    for one in found:
        why = reasons.get(one.bar.id, "")
        if one.is_met is False:
            lines.append(
                f"- **{one.bar.text}**: {show(one.value, one.bar.unit)}, {one.short_of()}. {why}"
            )
        elif is_aim_missed(one):
            goal = show(one.bar.aim, one.bar.unit)
            lines.append(
                f"- {one.bar.text}: {show(one.value, one.bar.unit)}, the aim was {goal}. {why}".rstrip()
            )
    if len(lines) == 1:
        lines.append("Every bar and every aim that was measured is reached.")
    return "\n".join(lines)


def contest(name: str, case: dict) -> str:
    """The table of one case."""
    lines = [f"\n## {name.upper() if name != 'memory' else 'Memory'}: {CASES[name].title}\n"]
    if "skipped" in case:
        return "\n".join([*lines, f"Not measured: {case['skipped'].strip().splitlines()[-1]}"])
    lines.append(
        "| | whole process, s | training alone, s | samples/s | peak memory | best validation accuracy | runs | repetitions |"
    )
    lines.append("|---|---|---|---|---|---|---|---|")
    lines += [
        contender_row(key, one) for key, one in case["contenders"].items() if one.get("repetitions")
    ]
    absent = [
        f"{label(key)}: {why_absent(one)}"
        for key, one in case["contenders"].items()
        if not one.get("repetitions")
    ]
    if absent:
        lines.append("\nNot measured: " + "; ".join(absent) + ".")
    lines += anew(case)
    return "\n".join(lines)


def anew(case: dict) -> list[str]:
    """Contenders that were measured at another commit than the rest of their case."""
    by_commit: dict[str, list[str]] = {}
    for key, one in case["contenders"].items():
        if one.get("commit", case.get("commit")) != case.get("commit"):
            by_commit.setdefault(one["commit"], []).append(label(key))
    return [
        f"\nMeasured later, at commit `{commit[:12]}`: {'; '.join(names)}."
        for commit, names in by_commit.items()
    ]


def why_absent(contender: dict) -> str:
    text = str(contender.get("skipped") or contender.get("failed") or "no repetition")
    return text.strip().splitlines()[-1].rstrip(".")


def label(name: str) -> str:
    return LANEWORK.get(name) or PEERS[name].label


def contender_row(name: str, contender: dict) -> str:
    rows = contender["repetitions"]
    walls = sorted(row["wall_s"] for row in rows)
    wall = f"{median(contender, 'wall_s'):.2f} ({walls[0]:.2f} to {walls[-1]:.2f})"
    speed = rate(contender)
    accuracy = median(contender, "best_val_accuracy")
    train = median(contender, "training_s")
    return (
        f"| {label(name)} | {wall} | {f'{train:.2f}' if train is not None else '-'} "
        f"| {f'{speed:,.0f}'.replace(',', ' ') if speed else '-'} "
        f"| {show(median(contender, 'peak_rss_bytes'), 'bytes')} "
        f"| {f'{accuracy:.3f}' if accuracy is not None else '-'} "
        f"| {rows[0].get('facts', {}).get('num_runs', '-')} | {len(rows)} |"
    )


WATCHING = """
## What watching costs

Time of training and validation over that of training where nothing is watched or stored, minus 1: with records of the runs' course
(`train.watch: off`), with layers recorded at evaluations too (`default`), and with signal-to-noise, agreement of gradients and
sharpness at every evaluation as well (`deep`). The four train in one process and take turns of a tenth of a second or a segment,
so that a slow moment hits all of them; the median over rounds, and its 95 % interval. Below 0 means that it cannot be told
from nothing. Deep records cost the same however long a segment is, so they weigh most where evaluations are a few small steps apart.

| case | steps between evaluations | off | default | default over off | deep | rounds |
|---|---|---|---|---|---|---|
"""

PUBLISHED = """
For comparison, published costs of [Cockpit](https://arxiv.org/abs/2102.06604) (PyTorch, one network): step time with tracking over step
time without, minus 1, computed from its authors' raw results (RTX 2080 Ti). Its `full` has the Hessian's largest eigenvalue, as our `deep`.

| problem | economy, every step | every 16th | business, every step | every 16th | full, every step | every 16th |
|---|---|---|---|---|---|---|
"""


def watching(result: dict) -> str:
    """What watching costs, beside published costs of another tool."""
    lines = []
    for name, case in result["cases"].get("watching", {}).items():
        if name not in CASES:
            continue
        costs = [watching_cost(case, form) for form in ("off", "default", "deep")]
        costs.insert(2, watching_cost(case, "default", beside="off"))
        cells = [
            f"{100 * one.share:+.1f} % ({100 * one.low:+.1f} to {100 * one.high:+.1f})"
            for one in costs
        ]
        work = result["cases"][name]["work"]
        steps = -(-work["rows"]["train"] // work["batch_size"])
        lines.append(f"| {name.upper()} | {steps} | {' | '.join(cells)} | {costs[0].rounds} |")
    theirs = [
        f"| {row.problem} | "
        + " | ".join(f"{100 * (x - 1):+,.0f} %" for x in (*row.economy, *row.business, *row.full))
        + " |"
        for row in COCKPIT
    ]
    return WATCHING + "\n".join([*lines, PUBLISHED.rstrip("\n"), *theirs]) + "\n" if lines else ""


RULES = """
## What a step costs under each update rule

Forward pass, backward pass and update of MLP 64-64-64-10 at batch 64, relative to plain gradient descent (`sgd`) of the same
library, each measured once, so differences of a tenth or two mean nothing: Lanework with 16 lanes in one program (the validation
of a segment included), PyTorch with one network on one thread, in each form that it has.

| rule | Lanework, microseconds per lane and step | Lanework, relative | PyTorch, for loop | PyTorch, foreach | PyTorch, fused |
|---|---|---|---|---|---|
"""


def rules(case: dict | None) -> str:
    """The table of update rules."""
    rows = (case or {}).get("rules", {})
    if "sgd" not in rows:
        return ""
    base, torch_base = rows["sgd"]["lanework_s"], rows["sgd"].get("torch_s", {})
    lines = []
    for name, row in rows.items():
        cells = [
            f"{row['torch_s'][form] / torch_base['for loop']:.2f}"
            if form in row.get("torch_s", {})
            else "-"
            for form in ("for loop", "foreach", "fused")
        ]
        own = row["lanework_s"]
        lines.append(f"| {name} | {own * 1e6:.1f} | {own / base:.2f} | {' | '.join(cells)} |")
    return RULES + "\n".join(lines)


def start(case: dict | None) -> str:
    if not case:
        return ""
    rows = {
        "help_s": "`lanework --help`, whole process",
        "import_s": "`import lanework`, inside the process",
        "python_s": "Python itself (`python -c pass`), for comparison",
    }
    lines = [f"\n## {EXTRA_CASES['start']}\n", "| | s |", "|---|---|"]
    lines += [
        f"| {text} | {case[key]:.3f} |" for key, text in rows.items() if case.get(key) is not None
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
