"""Made-up but lifelike study folders, so that reading results is tested without training.

Numbers follow a simple law: each optimizer has a best learning rate, results fall off on both
sides of it on a log scale, runs far above it diverge, curves approach their end exponentially,
and a part of the seed's luck is shared by all recipes (common random numbers).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lanework.store import RunResult, RunRow, Store

BEST_RATE = {"sgd": 0.5, "momentum": 0.1, "nesterov": 0.1, "adam": 3e-3, "adamw": 3e-3, "rmsprop": 1e-3, "lion": 5e-4, "adagrad": 3e-2}  # fmt: skip
PEAK = {"sgd": 0.966, "momentum": 0.977, "nesterov": 0.977, "adam": 0.979, "adamw": 0.9785, "rmsprop": 0.978, "lion": 0.972, "adagrad": 0.970}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """What a synthetic study looks like."""

    factors: Mapping[str, Sequence[Any]]
    seeds: int = 5
    epochs: int = 30
    task: str = "classification"
    diverges_at: float = 40.0  # times the best rate
    heals_at: float = 15.0
    is_hopeless: bool = False
    num_unfinished: int = 0
    name: str = "digits-optimizers"
    scale: float = 1.0  # of the target of a regression
    has_validation: bool = True
    stops_early: bool = False
    exclude: tuple[tuple[Any, ...], ...] = field(default=())


def rates(low: float, high: float, points: int) -> list[float]:
    return [float(f"{x:.4g}") for x in np.geomspace(low, high, points)]


STUDIES: dict[str, Recipe] = {
    "small": Recipe({"learning_rate": rates(1e-4, 1e-1, 5)}, name="digits-rates"),
    "demo": Recipe({"optimizer": ["sgd", "momentum", "adam"], "learning_rate": rates(1e-4, 1, 9)}),
    "wide": Recipe(
        {"optimizer": list(BEST_RATE), "learning_rate": rates(1e-4, 1, 5)},
        seeds=6,
        name="digits-eight-rules",
    ),
    "regression": Recipe(
        {"optimizer": ["sgd", "momentum", "adam"], "learning_rate": rates(1e-4, 1, 7)},
        task="regression",
        name="diabetes",
    ),
    "one_seed": Recipe({"optimizer": ["adam", "sgd"], "learning_rate": [0.01, 0.1]}, seeds=1),
    "one_arm": Recipe({}, name="just-one"),
    "hopeless": Recipe(
        {"optimizer": ["sgd", "adam"], "learning_rate": [10.0, 100.0]}, is_hopeless=True
    ),
    "no_rate": Recipe(
        {"init": ["he_normal", "xavier_normal", "small_normal", "zeros"]}, name="initialisation"
    ),
    "three": Recipe(
        {
            "optimizer": ["momentum", "adam", "rmsprop"],
            "learning_rate": rates(1e-4, 0.1, 4),
            "hidden": ["32", "64-64", "128-128"],
        },
        seeds=4,
        name="three-factors",
    ),
    "two_numbers": Recipe(
        {"learning_rate": rates(1e-4, 1e-1, 7), "l2": [0.0, 1e-5, 1e-4, 1e-3, 1e-2]},
        name="rate-and-penalty",
    ),
    "unfinished": Recipe({"optimizer": ["sgd", "adam"], "learning_rate": [0.01, 0.1]}, num_unfinished=7),
    "edge": Recipe({"optimizer": ["sgd", "adam"], "learning_rate": rates(1e-4, 1e-2, 5)}),
    "two_seeds": Recipe(
        {"optimizer": ["sgd", "momentum", "adam"], "data.scaling": ["standard", "none"]},
        seeds=2,
        task="regression",
        name="prices",
        scale=2500.0,
    ),
    "at_the_mean": Recipe({"init": ["he_normal", "zeros"]}, task="regression", name="no-signal"),
    "splits": Recipe({"optimizer": ["adam", "sgd"], "data.split.seed": [0, 1]}, stops_early=True),
    "no_validation": Recipe({"optimizer": ["sgd", "adam"]}, has_validation=False),
    "one_run": Recipe({}, seeds=1, name="one-run"),
    "huge": Recipe(
        {"learning_rate": rates(1e-5, 1, 40), "momentum": [round(0.1 * i, 1) for i in range(10)]},
        name="two-thousand-runs",
    ),
}  # fmt: skip


def write_study(folder: Path, kind: str) -> Path:
    """Writes the study folder called `kind` (a key of `STUDIES`) and returns it."""
    recipe = STUDIES[kind]
    rng = np.random.default_rng(7)
    arms = [
        dict(zip(recipe.factors, values, strict=True))
        for values in itertools.product(*recipe.factors.values())
    ]
    luck = rng.normal(0.0, 1.0, size=recipe.seeds)
    with Store(folder, create=True) as store:
        _write_meta(store, recipe, len(arms))
        store.add_runs(list(_plan(arms, recipe)))
        count = len(arms) * recipe.seeds
        for run in range(count):
            arm, seed = divmod(run, recipe.seeds)
            is_open = run >= count - recipe.num_unfinished
            _write_run(store, recipe, run, arms[arm], float(luck[seed]), rng, is_open)
    (folder / "study.yaml").write_text(_study_text(recipe), encoding="utf-8")
    return folder


def _plan(arms: Sequence[Mapping[str, Any]], recipe: Recipe) -> Iterator[RunRow]:
    for arm, factors in enumerate(arms):
        name = " ".join(_label(key, value) for key, value in factors.items()) or "the recipe"
        for seed in range(recipe.seeds):
            bucket = list(recipe.factors.get("optimizer", [0])).index(factors.get("optimizer", 0))
            yield RunRow(arm * recipe.seeds + seed, arm, name, seed, factors, bucket)


def _label(key: str, value: Any) -> str:
    return f"lr={value:g}" if key == "learning_rate" else f"{value}"


def _write_run(
    store: Store,
    recipe: Recipe,
    run: int,
    factors: Mapping[str, Any],
    luck: float,
    rng: np.random.Generator,
    is_open: bool,
) -> None:
    steps_per_epoch = 20
    rule = factors.get("optimizer", "adam")
    ratio = factors.get("learning_rate", BEST_RATE[rule]) / BEST_RATE[rule]
    distance = math.log10(ratio)
    is_diverged = recipe.is_hopeless or ratio * math.exp(0.3 * rng.normal()) > recipe.diverges_at
    is_healed = not is_diverged and ratio > recipe.heals_at
    end = PEAK[rule] - 0.02 * max(distance, 0.0) ** 2 + 0.004 * luck + 0.0025 * rng.normal()
    end -= {"small_normal": 0.012, "zeros": 0.87, "32": 0.02}.get(
        str(factors.get("init", factors.get("hidden", ""))), 0.0
    )
    end -= 1e-3 * abs(math.log10(factors.get("l2", 1e-4) + 1e-6) + 4)
    end = min(max(end, 0.1), 0.996)
    speed = 0.5 * 10 ** min(distance, 0.0) if distance < 0 else 0.5
    is_chance = factors.get("init") == "zeros"
    last = recipe.epochs if not is_open else max(1, int(recipe.epochs * rng.uniform(0, 0.8)))
    stop = int(rng.integers(2, 8)) if is_diverged else last
    rows, best = [], (-math.inf, 0)
    for epoch in range(1, stop + 1):
        step = epoch * steps_per_epoch
        progress = 1.0 - math.exp(-speed * epoch)
        accuracy = 0.1 + (end - 0.1) * progress + 0.003 * rng.normal()
        accuracy = round(min(max(accuracy, 0.05), 1.0) * 270) / 270
        loss = 2.303 * (1 - progress) + 0.08 + (1 - end) + 0.01 * abs(rng.normal())
        if is_diverged:
            accuracy, loss = 0.1, 2.3 * 3.0**epoch if epoch < stop else math.nan
        values = {
            "train_loss": loss * 0.8,
            "val_loss": loss,
            "train_accuracy": min(1.0, accuracy + 0.012),
            "val_accuracy": accuracy,
        }
        if recipe.task == "regression":
            rmse = 52.0 + 25.0 * (1 - progress) + 60 * (PEAK[rule] - end)
            rmse += 0.0 if is_diverged else rng.normal()
            values = _regression_values(loss, 77.0 if is_diverged else rmse, recipe.scale)
        values = {k: v for k, v in values.items() if recipe.has_validation or k[:4] != "val_"}
        main = values.get("val_accuracy", -values.get("val_rmse", 0.0))
        best = max(best, (main, step))
        rows += [(run, step, float(epoch), name, value) for name, value in values.items()]
    store.add_metrics(rows)
    if is_open:
        return
    _add_events(
        store, run, is_healed=is_healed, diverged_at=stop * steps_per_epoch if is_diverged else 0
    )
    final = {name: value for _, step, _, name, value in rows if step == stop * steps_per_epoch}
    if not is_diverged:
        final |= _test_values(final, rng)
    flags = {
        "diverged": is_diverged,
        "healed": is_healed,
        "chance": is_chance,
        "stopped_early": recipe.stops_early and run % 2 == 1,
    }
    verdict = next((name for name, is_so in flags.items() if is_so), "ok")
    store.finish_run(
        RunResult(
            run,
            "diverged" if is_diverged else "ok",
            verdict,
            stop * steps_per_epoch,
            best[1],
            0.024 * stop / recipe.epochs,
            0.0004,
            final,
        )
    )


def _add_events(store: Store, run: int, *, is_healed: bool, diverged_at: int) -> None:
    if is_healed or diverged_at:
        store.add_event(
            run,
            30,
            "healed",
            "The loss was not finite at step 31; back to step 30 with half the learning rate.",
            {"factor": 0.5},
        )
    if diverged_at:
        store.add_event(
            run,
            diverged_at,
            "diverged",
            f"The loss was not finite at step {diverged_at} after 2 retries.",
            {"step": diverged_at},
        )


def _test_values(final: Mapping[str, float], rng: np.random.Generator) -> dict[str, float]:
    shift = {name: 0.004 * (1 if "acc" in name else -1) for name in final}
    return {
        name.replace("val_", "test_"): value - shift[name] + 0.003 * rng.normal()
        for name, value in final.items()
        if name.startswith("val_")
    }


def _regression_values(loss: float, rmse: float, scale: float) -> dict[str, float]:
    return {
        "train_loss": loss,
        "val_loss": loss * 1.1,
        "train_rmse": (rmse - 2) * scale,
        "val_rmse": rmse * scale,
        "val_mae": rmse * 0.8 * scale,
        "val_r2": 1 - (rmse / 77) ** 2,
    }


def _write_meta(store: Store, recipe: Recipe, num_arms: int) -> None:
    is_classes = recipe.task == "classification"
    metric = "val_accuracy" if is_classes else "val_rmse"
    store.put_meta(
        "study",
        {
            "study": recipe.name,
            "notes": "",
            "seeds": list(range(recipe.seeds)),
            "report": {"metric": metric},
        },
    )
    store.put_meta("hash", "3f6c0d9a51b2e7f4")
    store.put_meta(
        "machine",
        {
            "cores": 2,
            "cpu": "Xeon, 2.6 GHz",
            "memory_bytes": 8_300_000_000,
            "accelerator": "cpu",
            "devices": 2,
            "matrix_peak_flop_per_s": 1.81e11,
            "system": "Linux 6.1",
            "versions": {
                "lanework": "0.1.0",
                "python": "3.11.7",
                "jax": "0.10.2",
                "flax": "0.12.8",
                "optax": "0.2.8",
                "numpy": "2.4.6",
            },
        },
    )
    store.put_meta(
        "timings",
        {
            "import_s": 0.92,
            "compile_s": 0.61,
            "train_s": 0.64,
            "evaluate_s": 0.05,
            "test_s": 0.01,
            "report_s": 0.12,
            "total_s": 2.31,
            "samples_per_s": 1_790_000.0,
        },
    )
    store.put_meta(
        "plan",
        {
            "memory_limit_bytes": 4_980_000_000,
            "buckets": [
                {
                    "bucket": 0,
                    "label": "adam",
                    "runs": num_arms * recipe.seeds,
                    "width": 16,
                    "strategy": "vmap",
                    "devices": 2,
                    "expected_s": 0.7,
                    "memory_bytes": 21_000_000,
                    "why": "16 lanes per device measured fastest: 1.79 M samples/s against 1.41 M with 8 and 1.52 M with 32.",
                }
            ],
        },
    )
    classes = [{"name": str(i), "train": 125 + i % 3, "val": 27, "test": 27} for i in range(10)]
    store.put_meta("data", {
        "source": "digits" if is_classes else "diabetes", "task": recipe.task,
        "rows": 1797 if is_classes else 442, "parts": {"train": 1257, "val": 270, "test": 270} if is_classes else {"train": 310, "val": 66, "test": 66},
        "target": "digit" if is_classes else "disease progression",
        "columns": [{"name": f"pixel_{i}", "kind": "numeric", "guessed": True, "missing": 0, "distinct": 17} for i in range(64)] if is_classes else [{"name": n, "kind": "numeric", "guessed": True, "missing": 0, "distinct": 60} for n in ("age", "sex", "bmi", "bp")],
        "classes": classes if is_classes else [],
        "decisions": ["The target has 10 distinct whole numbers: classification.", "Numeric columns are centred and scaled to unit variance, learned on the training part.", "Split 70 / 15 / 15, stratified by class, seed 0."],
    })  # fmt: skip
    store.add_event(None, 0, "planned", f"{num_arms * recipe.seeds} runs in one bucket.", {})


def _study_text(recipe: Recipe) -> str:
    lines = [
        f"study: {recipe.name}",
        "data:",
        "  source: digits",
        "  split: {train: 0.7, val: 0.15, test: 0.15}",
        "model:",
        "  net: mlp",
        "  hidden: [64, 64]",
        "train:",
        f"  epochs: {recipe.epochs}",
        "  batch_size: 64",
        "compare:",
    ]
    lines += [f"  {key}: {list(values)}" for key, values in recipe.factors.items()]
    return "\n".join([*lines, f"seeds: {recipe.seeds}", ""])
