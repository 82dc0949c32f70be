"""From what the gate measured of networks to its items, told once for all configurations that share them.

Owns which number goes to which rule of `lanework.health.judge` and `judge_training`, and the merging of equal items. Measures nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

from lanework.api import check_networks
from lanework.api.check_networks import Group
from lanework.api.preparing import Prepared
from lanework.health import judge, judge_training
from lanework.health.judge import Item
from lanework.health.rules.data_and_loss import SCORE_LOSSES
from lanework.spec import Arm

PyTree: TypeAlias = Any


class Told(NamedTuple):
    """What the programs of a group gave, host arrays; None for those that were left out."""

    look: PyTree
    trained: PyTree | None
    slopes: PyTree | None


def label(arms: Sequence[Arm], chosen: Sequence[int]) -> str:
    """What tells some arms from the others: the factors that are the same for them and not for all; empty for all arms."""
    if len(chosen) == len(arms):
        return ""
    if len(chosen) == 1:
        return arms[chosen[0]].name
    inside = [arms[place].factors for place in chosen]
    shared = {
        key: value
        for key, value in inside[0].items()
        if all(one.get(key) == value for one in inside)
    }
    telling = [
        f"{key} {value}"
        for key, value in shared.items()
        if any(a.factors.get(key) != value for a in arms)
    ]
    return ", ".join(telling) or f"{inside and arms[chosen[0]].name} and {len(chosen) - 1} more"


def judged(prepared: Prepared, group: Group, told: Told) -> list[Item]:
    """Items of all subjects of a group; equal ones told once."""
    found: list[tuple[Item, tuple[int, ...]]] = []
    all_arms = tuple(arm for one in group.subjects for arm in one.arms)
    paths = _paths(group.start.params)
    if told.slopes is not None:
        found.append((_gradient_item(told.slopes, paths), all_arms))
        found += _penalty_items(told.slopes)
    names = told.look.pop("names")
    for lane, subject in enumerate(group.subjects):
        look, trained, params = jax.tree.map(
            lambda leaf, lane=lane: leaf[lane], (told.look, told.trained, group.start.params)
        )
        items = _network_items(group, look, trained, names, paths, params)
        found += [(item, subject.arms) for item in items]
    return merged(prepared.arms, found)


def _penalty_items(slopes: PyTree) -> list[tuple[Item, tuple[int, ...]]]:
    error = float(np.max(slopes.get("penalty", 0.0), initial=0.0))
    return [
        (judge_training.penalty(off=float(off), on=float(on), error=error), (arm,))
        for arm, (off, on) in slopes.get("objectives", {}).items()
    ]


def merged(arms: Sequence[Arm], found: Sequence[tuple[Item, tuple[int, ...]]]) -> list[Item]:
    """Items of the same name, level and advice as one: the most strained speaks, for all configurations, with the numbers of all.

    Numbers that differ keep their least and largest value as `NAME.least` and `NAME.most`.
    """
    alike: dict[tuple[str, str, str], list[tuple[Item, tuple[int, ...]]]] = {}
    for item, own in found:
        alike.setdefault((item.name, item.level, item.advice), []).append((item, own))
    told = [_as_one(arms, some) for some in alike.values()]
    return sorted(told, key=lambda item: item.level == "pass")


def _as_one(arms: Sequence[Arm], some: Sequence[tuple[Item, tuple[int, ...]]]) -> Item:
    worst, its_own = max(some, key=lambda pair: pair[0].strain)
    own = list(dict.fromkeys(arm for _, their_own in some for arm in their_own))
    said = worst.sentence
    if len({item.sentence for item, _ in some}) > 1:
        which = "the least comfortable" if worst.level == "pass" else "the worst"
        said += f" (This is {which} of {len(some)}: {label(arms, its_own) or 'all'}.)"
    numbers = dict(worst.numbers)
    for name in dict.fromkeys(name for item, _ in some for name in item.numbers):
        values = [item.numbers[name] for item, _ in some if name in item.numbers]
        numbers.setdefault(name, values[0])
        if len(set(values)) > 1:
            numbers |= {f"{name}.least": min(values), f"{name}.most": max(values)}
    return replace(worst, sentence=said, numbers=numbers, arm=label(arms, own))


def _paths(params: PyTree) -> list[str]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]


def _gradient_item(slopes: PyTree, paths: Sequence[str]) -> Item:
    error, is_kink = slopes["error"], slopes["is_kink"]
    # A kink is skipped unless the gradient is right there too.
    right = judge_training.GRADIENT_WARN if slopes["bits"] >= 64 else judge_training.COARSE_WARN
    is_told = ~is_kink | (error <= right)
    # Inputs come first in the tree: names are sorted.
    names = (["inputs"] if slopes["has_inputs"] else []) + list(paths)
    rows = {name: row[told] for name, row, told in zip(names, error, is_told, strict=True)}
    num_kinks = int((~is_told).sum())
    return judge_training.gradient(
        {name: float(np.max(row)) for name, row in rows.items() if len(row)},
        num_kinks=num_kinks,
        num_entries=int(error.size) - num_kinks,
        bits=slopes["bits"],
        unknown=[name for name, row in rows.items() if not len(row)],
    )


def _network_items(
    group: Group,
    look: PyTree,
    trained: PyTree | None,
    names: Sequence[str],
    paths: Sequence[str],
    params: PyTree,
) -> list[Item]:
    on_all, on_handful = look["constants"]
    prior = float(np.nanmin(on_all))
    carries = bool(jax.tree.leaves(group.start.state))
    items = [
        *_start_items(group, look, neutral=float(on_all[0]), prior=prior),
        _symmetry(look["steps"] if trained is None else trained, paths, params),
        judge_training.batch_mixing(
            training=float(look["mixing"]["training"]),
            evaluation=float(look["mixing"]["evaluation"]),
            has_statistics=carries,
        ),
        _modes(look, trained, prior, carries),
    ]
    if trained is not None:
        items += [
            _overfit(group, trained, float(np.nanmin(on_handful))),
            _inputs_matter(group, look, trained),
        ]
    return items + ([_layer_variance(group, look, names)] if names else [])


def _start_items(group: Group, look: PyTree, *, neutral: float, prior: float) -> list[Item]:
    """Loss and outputs before the first step."""
    loss, kind = float(look["loss"]), group.pieces.loss
    is_regression = group.dataset.task != "classification"
    takes_scores = not is_regression and kind in SCORE_LOSSES
    return [
        judge.initial_loss(loss=loss, neutral=neutral, prior=prior, is_entropy="cross" in kind),
        judge.output_bias(loss=loss, neutral=neutral, prior=prior, is_regression=is_regression),
        judge.outputs(_reach(group, look["reach"]), takes_scores=takes_scores),
    ]


def _layer_variance(group: Group, look: PyTree, names: Sequence[str]) -> Item:
    back = look["gradients"]
    if not (back > 0).any():  # layers that cannot be changed from outside
        place = {name: at for at, name in enumerate(group.pieces.model.layer_names)}
        back = look["weight_gradients"][[place[name] for name in names]]
    return judge.layer_variance(
        names,
        activations=[float(value) for value in look["activations"]],
        gradients=[float(value) for value in back],
        spread=float(look["spread"]),
    )


def _inputs_matter(group: Group, look: PyTree, trained: PyTree) -> Item:
    first, count = len(check_networks.OVERFIT_RATES), len(check_networks.REAL_RATES)
    real, zeroed = trained["training"][first : first + count], trained["training"][first + count :]
    return judge_training.inputs_matter(
        real=_least(real),
        zeroed=_least(zeroed),
        spread=float(look["spread"]),
        num_steps=group.num_steps,
    )


def _least(values: np.ndarray) -> float:
    """The least of some losses; NaN only where all are."""
    good = values[np.isfinite(values)]
    return float(good.min()) if len(good) else math.nan


def _reach(group: Group, reach: PyTree) -> judge.Reach:
    low, high = float(reach["low"]), float(reach["high"])
    y = group.dataset.train.y
    outside = 0.0
    if group.dataset.task != "classification":
        values = y[np.isfinite(y)]
        outside = float(np.mean((values < low) | (values > high)))
    return judge.Reach(
        low,
        high,
        float(reach["row_sum_error"]),
        outside,
        group.pieces.num_outputs,
        group.pieces.num_wanted,
    )


def _symmetry(trained: PyTree, paths: Sequence[str], params: PyTree) -> Item:
    """From a short training, or from the few first steps of the look: `moved` and `twins` of each course."""
    is_kernel = np.array([np.ndim(leaf) >= 2 for leaf in jax.tree.leaves(params)])
    own = slice(len(check_networks.OVERFIT_RATES), None) if len(trained["twins"]) > 1 else slice(1)
    is_twin = (trained["twins"][own] > 0).all(axis=0)
    is_idle = (trained["moved"] == 0).all(axis=0) & is_kernel
    return judge.symmetry(
        twins=[path for path, flag in zip(paths, is_twin, strict=True) if flag],
        idle=[path for path, flag in zip(paths, is_idle, strict=True) if flag],
        num_kernels=int(is_kernel.sum()),
    )


def _overfit(group: Group, trained: PyTree, chance: float) -> Item:
    """From the best of all rates, and of a longer training where one was needed."""
    told = trained.get("longer", trained)
    ends = check_networks.ends_by_heart(told)
    best = int(np.argmin(ends))
    tenths = told["losses"][best]
    return judge_training.overfit(
        start=chance,
        end=min(float(ends[best]), float(check_networks.ends_by_heart(trained).min())),
        is_falling=bool(tenths[-1] < 0.95 * tenths[-4]),
        num_samples=group.material.handful,
        num_steps=int(told["steps"][best]),
    )


def _modes(look: PyTree, trained: PyTree | None, chance: float, carries: bool) -> Item:
    training, evaluation = None, None
    if trained is not None:
        first, count = len(check_networks.OVERFIT_RATES), len(check_networks.REAL_RATES)
        real = trained["evaluation"][first : first + count]
        best = first + int(np.argmin(np.where(np.isfinite(real), real, np.inf)))
        training, evaluation = float(trained["training"][best]), float(trained["evaluation"][best])
    return judge_training.modes(
        judge_training.Modes(
            noise=float(look["noise"]),
            loudness=float(look["loudness"]),
            training=training,
            evaluation=evaluation,
            chance=chance,
            has_statistics=carries,
        )
    )
