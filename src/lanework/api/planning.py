"""The plan in words, for `lanework plan` and for people who want to know before they pay."""

from __future__ import annotations

from lanework.api.preparing import Laid, Prepared
from lanework.cohort import plan


def text(prepared: Prepared) -> str:
    """Runs, programs, expected time and memory of a prepared study."""
    num_runs = sum(len(laid.bucket.runs) for laid in prepared.laid)
    seeds = len(prepared.spec.seeds)
    lines = [
        f"{prepared.spec.study}: {count(len(prepared.arms), 'recipe')} x {count(seeds, 'seed')}{_folds(prepared)} = "
        f"{count(num_runs, 'run')} in "
        f"{count(len(prepared.laid), 'program')}, ranked by {prepared.metric}.",
    ]
    total = 0.0
    for laid in prepared.laid:
        seconds, _ = plan.expected_seconds(laid.estimate, laid.bucket.key)
        total += seconds
        lines += ["", *_bucket_lines(prepared, laid, seconds)]
    loaded = dict.fromkeys(prepared.loaded.values())
    lines += ["", *(f"Starts from {text}" for text in loaded)] if loaded else []
    lines += ["", *(f"Warning: {text}" for text in prepared.warnings)] if prepared.warnings else []
    lines += [
        "",
        f"Expected: about {duration(total)} of training, and a few seconds per program for compiling the first time.",
        f"Lanes may use {size(prepared.memory_bytes)}.",
    ]
    return "\n".join(lines)


def _folds(prepared: Prepared) -> str:
    numbers = {len(folds) for folds in prepared.folds.values()}
    return f" x {count(numbers.pop(), 'fold')}" if len(numbers) == 1 else ""


def _bucket_lines(prepared: Prepared, laid: Laid, seconds: float) -> list[str]:
    bucket, guess = laid.bucket, laid.estimate
    names = [prepared.arms[arm].name for arm in bucket.arms]
    shown = ", ".join(names[:4]) + (f", ... ({len(names)} in all)" if len(names) > 4 else "")
    memory = laid.strategy.width * (3 * guess.lane_bytes + guess.step_bytes)
    _, is_known = plan.expected_seconds(guess, bucket.key)
    basis = "measured here before" if is_known else "estimated from its operations"
    return [
        f"Program {bucket.index + 1}: {count(len(bucket.runs), 'run')} ({shown})",
        f"  {bucket.total_steps} steps of {bucket.shapes.batch_size} samples, {len(bucket.boundaries)} evaluations; "
        f"{guess.num_params:,} parameters",
        f"  {laid.strategy.describe()}. {laid.why}",
        f"  about {duration(seconds)} ({basis}), {size(memory)} for lanes",
    ]


def count(number: int, what: str) -> str:
    """A number of things."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def duration(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 1.0:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120.0:
        return f"{seconds:.1f} s"
    if seconds < 7200.0:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def size(num_bytes: float) -> str:
    """A number of bytes as people say it."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes:.0f} B"
