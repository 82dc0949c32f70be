"""Whether the first remedies mend what is planted, beside as many random changes: both are trained, the twin is the bar.

Owns the random changes and the comparison. Remedies come from `lanework.api.heal`, which sees the study's folder only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lanework import spec as specs
from lanework.api.heal import heal
from lanework.api.study import Study
from lanework.errors import DataError, SpecError
from lanework.spec.compare import NoPartsError, apply_all, difference
from lanework.spec.sections import build_config, plain_config
from studies.faults.measure import score
from studies.faults.worlds import SEEDS, Random, generator
from studies.faults.zoo import UNMENDED, Case

__all__ = ["SOURCES", "WITHIN", "Mending", "mend", "patients"]

WITHIN: Final = 0.02
"""Validation accuracy or R2 that a mended study may be below its twin."""
TOP: Final = 3
SOURCES: Final = ("health/**/*.py", "api/heal*.py")
"""What remedies are made of: what came of others is not theirs."""


@dataclass(frozen=True)
class Mending:
    """What remedies and random changes did for one study.

    Attributes:
        case: Name of the study.
        twin: Validation accuracy or R2 of its healthy twin.
        sick: The same of the study itself.
        first: The same with the first recipe that was tried; NaN where there was none.
        best: The best of all that were tried, and what it was.
        tried: How many recipes were tried.
        random: The best of as many random changes, and what it was.
    """

    case: str
    twin: float
    sick: float
    first: float
    best: float
    remedy: str
    tried: int
    random: float
    change: str

    def row(self) -> dict[str, Any]:
        """As plain data, with what is mended said."""
        plain = {key: _plain(value) for key, value in vars(self).items()}
        bar = self.twin - WITHIN
        return plain | {
            "hurts": self.sick < bar,
            "first_mends": self.first >= bar,
            "best_mends": self.best >= bar,
            "random_mends": self.random >= bar,
        }


def _plain(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return round(value, 4) if math.isfinite(value) else None


def patients(cases: Sequence[Case], *, seed: int) -> list[Case]:
    """The faults on which remedies are tried: one of each row of the zoo's table that a setting can mend at all.

    Each draw takes the next world of a row, so that draws do not look at the same ones.
    """
    found: dict[tuple[str, ...], list[Case]] = {}
    for case in cases:
        if case.planted and case.planted not in UNMENDED:
            tag = case.name.removesuffix(case.twin.removeprefix("healthy"))
            found.setdefault((case.planted, tag), []).append(case)
    return [row[seed % len(row)] for row in found.values()]


def mend(case: Case, folder: Path, *, twin: Path, seed: int) -> Mending:
    """Heal one study and try random changes on it.

    Args:
        case: The study.
        folder: Where it was trained.
        twin: Where its healthy twin was.
        seed: Of the random changes.
    """
    healing = heal(folder, top=TOP, seeds=SEEDS)
    goal, sick = score(twin)[0], score(folder)[0]
    scores: dict[int, float] = {} if healing.trials is None else score(healing.trials)
    tried = {arm: value for arm, value in scores.items() if arm > 0}
    names, sizes = ([], []) if healing.trials is None else _tried(healing.trials)
    best = max(tried, key=lambda arm: tried[arm]) if tried else -1
    changes = _random_changes(folder, sizes, random=generator(seed, "random", case.name))
    other = _trained(folder, changes)
    lucky = max(other, key=lambda arm: other[arm]) if other else -1
    return Mending(
        case=case.name,
        twin=goal,
        sick=sick,
        first=tried.get(1, math.nan),
        best=tried.get(best, math.nan),
        remedy=names[best] if tried else "",
        tried=len(tried),
        random=other.get(lucky, math.nan),
        change=list(changes)[lucky] if other else "",
    )


def _tried(folder: Path) -> tuple[list[str], list[int]]:
    """Names of all recipes of a trial, and in how many settings each but the first differs from the sick one."""
    arms = specs.expand(specs.load_study(folder / "study.yaml"))
    sick = plain_config(arms[0].config)
    sizes = [_num_changed(sick, plain_config(arm.config)) for arm in arms[1:]]
    return [arm.name for arm in arms], sizes


def _num_changed(one: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    """In how many settings two configurations differ."""
    return sum(
        one[section].get(key) != other[section].get(key)
        for section in one
        for key in {*one[section], *other[section]}
    )


# ---- random changes ----------------------------------------------------------------------------

CHANGES: Final[Mapping[str, Sequence[Any]]] = {
    "data.prepare": ("standard", "none", "minmax", "robust"),
    "data.prepare_held_out": ("same",),
    "data.scale_target": (True, False),
    "model.activation": ("relu", "tanh", "sigmoid", "leaky_relu", "gelu", "identity"),
    "model.output_activation": ("none", "sigmoid", "softmax", "relu"),
    "model.num_outputs": (None,),
    "model.init": ("auto", "he_normal", "xavier_normal", "lecun_normal", "orthogonal"),
    "model.norm": ("none", "batch", "layer"),
    "model.hidden": ([16], [64], [64, 64], [256], [128, 128], [32, 32, 32]),
    "model.hidden_bias": (0.0, 0.01),
    "model.dropout": (0.0, 0.2, 0.5),
    "model.dropout_at_evaluation": (False,),
    "train.loss": ("cross_entropy", "mse", "hinge", "huber", "binary_cross_entropy"),
    "train.reduction": ("mean",),
    "train.learning_rate": (0.001, 0.01, 0.1, 10.0, 100.0, 1000.0),
    "train.optimizer": ("sgd", "momentum", "adam", "rmsprop", "adamw"),
    "train.schedule": ("constant", "cosine"),
    "train.sampling": ("shuffled", "balanced", "mixed"),
    "train.epochs": (0.5, 2.0, 3.0),
    "train.batch_size": (16, 32, 64, 128),
    "train.clip_norm": (None, 1.0, 10.0),
    "train.l2": (0.0, 1e-4, 1e-3, 1e-2),
    "train.l1": (0.0, 1e-4),
    "train.weight_decay": (0.0, 1e-2, 1e-1),
    "train.average": (None, "ema"),
    "train.early_stopping": (None, {"patience": 5}, {"patience": 20}),
}
"""Every setting that remedies touch, and what it may become; rates and epochs are factors."""


def _random_changes(
    folder: Path, sizes: Sequence[int], *, random: Random
) -> dict[str, dict[str, Any]]:
    """As many different admissible recipes as remedies were tried, each with as many settings changed as the remedy's.

    Any setting is as likely, and then any other value of it.
    """
    spec = specs.load_study(folder / "study.yaml")
    base = plain_config(specs.expand(spec)[0].config)
    found: dict[str, dict[str, Any]] = {}
    for size in sizes:
        for _ in range(200):
            changed = _drawn(base, size, random)
            settings = _applied(base, changed)
            name = "; ".join(f"{path}: {value}" for path, value in changed.items())
            if settings and name not in found and _is_possible(spec, settings):
                found[name] = settings
                break
    return found


def _drawn(base: Mapping[str, Any], size: int, random: Random) -> dict[str, Any]:
    """New values for some settings that the study has and that can matter to it."""
    known = [path for path in CHANGES if path.partition(".")[2] in base[path.partition(".")[0]]]
    if base["data"]["task"] != "regression":
        known.remove("data.scale_target")
    chosen: dict[str, Any] = {}
    for place in random.permutation(len(known))[:size]:
        path = known[place]
        section, _, key = path.partition(".")
        value, now = CHANGES[path][random.integers(len(CHANGES[path]))], base[section][key]
        if path == "train.learning_rate":
            value = float(f"{now * value:.3g}")
        elif path == "train.epochs":
            value = max(1, round(now * value))
        chosen[path] = value
    return chosen


def _applied(base: dict[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """What changes in the whole configuration; empty where one setting does not, or where it is refused."""
    try:
        config, _ = build_config(apply_all(base, list(changed.items())))
    except NoPartsError:
        return {}
    if config is None:
        return {}
    plain = plain_config(config)
    return difference(base, plain) if _num_changed(base, plain) >= len(changed) else {}


def _with_recipes(spec: specs.StudySpec, changes: Mapping[str, dict[str, Any]]) -> specs.StudySpec:
    recipes = tuple(specs.Recipe(name=name, settings=edits) for name, edits in changes.items())
    return specs.StudySpec(
        study=f"{spec.study}-random",
        data=spec.data,
        model=spec.model,
        train=spec.train,
        compare=specs.Compare(recipes=recipes),
        seeds=spec.seeds,
        report=spec.report,
    )


def _is_possible(spec: specs.StudySpec, settings: dict[str, Any]) -> bool:
    """Whether a recipe can be trained: some choices turn out to be impossible only when the data are known."""
    try:
        Study._of(_with_recipes(spec, {"tried": settings})).plan()
    except (SpecError, DataError):
        return False
    return True


def _trained(folder: Path, changes: Mapping[str, dict[str, Any]]) -> dict[int, float]:
    if not changes:
        return {}
    spec = _with_recipes(specs.load_study(folder / "study.yaml"), changes)
    place = folder / f"random-{specs.content_hash(spec)[:12]}"
    Study._of(spec).run(place, resume=place.exists())
    return score(place)
