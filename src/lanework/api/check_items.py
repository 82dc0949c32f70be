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

from lanework import recipes
from lanework.api import check_networks
from lanework.api.check_networks import Group, Subject
from lanework.api.preparing import Prepared
from lanework.health import judge, judge_training
from lanework.health.judge import Item
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
    names = told.look.pop("names")
    for lane, subject in enumerate(group.subjects):
        look, trained, params = jax.tree.map(
            lambda leaf, lane=lane: leaf[lane], (told.look, told.trained, group.start.params)
        )
        items = _network_items(group, look, trained, names, paths, params)
        found += [(item, subject.arms) for item in items]
        if told.slopes is not None:
            found += _penalty_items(prepared, subject, told.slopes, params, float(look["loss"]))
    return merged(prepared.arms, found)


def _penalty_items(
    prepared: Prepared, subject: Subject, slopes: PyTree, params: PyTree, loss: float
) -> list[tuple[Item, tuple[int, ...]]]:
    error = float(np.max(slopes.get("penalty", 0.0), initial=0.0))
    found: list[tuple[Item, tuple[int, ...]]] = []
    for arm, l1, l2 in check_networks.strengths(prepared, subject):
        value = _penalty(params, l1=l1, l2=l2)
        found.append((judge_training.penalty(value=value, loss=loss, error=error), (arm,)))
    return found


def merged(arms: Sequence[Arm], found: Sequence[tuple[Item, tuple[int, ...]]]) -> list[Item]:
    """Passes of the same name as one item, the least comfortable; everything else by configuration."""
    passed: dict[str, tuple[Item, list[int]]] = {}
    told = []
    for item, own in found:
        if item.level != "pass":
            told.append(replace(item, arm=label(arms, own)))
        elif item.name in passed:
            passed[item.name][1].extend(own)
        else:
            passed[item.name] = (item, list(own))
    return told + [replace(item, arm=label(arms, own)) for item, own in passed.values()]


def _paths(params: PyTree) -> list[str]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]


def _penalty(params: PyTree, *, l1: float, l2: float) -> float:
    total = 0.0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not recipes.exempt(path):
            wide = np.asarray(leaf, np.float64)
            total += l2 / 2 * float(np.square(wide).sum()) + l1 * float(np.abs(wide).sum())
    return total


def _gradient_item(slopes: PyTree, paths: Sequence[str]) -> Item:
    error, is_kink = slopes["error"], slopes["is_kink"]
    # A kink is skipped unless the gradient is right there too.
    right = judge_training.GRADIENT_WARN if slopes["bits"] >= 64 else judge_training.COARSE_WARN
    is_told = ~is_kink | (error <= right)
    # Inputs come first in the tree: names are sorted.
    names = (["inputs"] if slopes["has_inputs"] else []) + list(paths)
    worst = {
        name: float(np.max(row[told], initial=0.0))
        for name, row, told in zip(names, error, is_told, strict=True)
    }
    num_kinks = int((~is_told).sum())
    return judge_training.gradient(
        worst, num_kinks=num_kinks, num_entries=int(error.size) - num_kinks, bits=slopes["bits"]
    )


def _network_items(
    group: Group,
    look: PyTree,
    trained: PyTree | None,
    names: Sequence[str],
    paths: Sequence[str],
    params: PyTree,
) -> list[Item]:
    dataset = group.dataset
    on_all, on_handful = look["constants"]
    neutral, prior = float(on_all[0]), float(np.nanmin(on_all))
    loss = float(look["loss"])
    kind = group.pieces.loss
    is_regression = dataset.task != "classification"
    carries = bool(jax.tree.leaves(group.start.state))
    back = look["gradients"] if (look["gradients"] > 0).any() else look["weight_gradients"]
    back = back[: len(names)] if len(back) >= len(names) else look["gradients"]
    items = [
        judge.initial_loss(loss=loss, neutral=neutral, prior=prior, is_entropy="cross" in kind),
        judge.output_bias(loss=loss, neutral=neutral, prior=prior, is_regression=is_regression),
        judge.outputs(
            _reach(group, look["reach"]),
            takes_scores=not is_regression
            and kind in ("cross_entropy", "binary_cross_entropy", "hinge"),
        ),
        _symmetry(look["steps"] if trained is None else trained, paths, params),
        judge_training.batch_mixing(
            training=float(look["mixing"]["training"]),
            evaluation=float(look["mixing"]["evaluation"]),
            has_statistics=carries,
        ),
        _modes(group, look, trained, prior, carries),
    ]
    if trained is not None:
        items += [
            _overfit(group, trained, float(np.nanmin(on_handful))),
            _inputs_matter(group, look, trained),
        ]
    if names:
        activations = [float(value) for value in look["activations"]]
        items.append(
            judge.layer_variance(
                names, activations=activations, gradients=[float(value) for value in back]
            )
        )
    return items


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
    count = len(check_networks.OVERFIT_RATES)
    losses = trained["losses"][:count]
    tail = max(1, losses.shape[1] // 10)
    ends = np.stack(
        [trained["training"][:count], trained["evaluation"][:count], losses[:, -tail:].mean(axis=1)]
    )
    ends = np.where(np.isfinite(ends), ends, np.inf).min(axis=0)
    best = int(np.argmin(ends))
    middle = losses[best, -4 * tail : -3 * tail].mean() if losses.shape[1] > 4 * tail else np.inf
    num_samples = group.material.handful
    return judge_training.overfit(
        start=chance,
        end=float(ends[best]),
        is_falling=bool(losses[best, -tail:].mean() < 0.95 * middle),
        num_samples=num_samples,
        num_steps=group.num_steps,
    )


def _modes(
    group: Group, look: PyTree, trained: PyTree | None, chance: float, carries: bool
) -> Item:
    training, evaluation = None, None
    if trained is not None:
        first, count = len(check_networks.OVERFIT_RATES), len(check_networks.REAL_RATES)
        real = trained["evaluation"][first : first + count]
        best = first + int(np.argmin(np.where(np.isfinite(real), real, np.inf)))
        training, evaluation = float(trained["training"][best]), float(trained["evaluation"][best])
    return judge_training.modes(
        judge_training.Modes(
            noise=0.0 if group.pieces.is_noisy else float(look["noise"]),
            loudness=float(look["loudness"]),
            training=training,
            evaluation=evaluation,
            chance=chance,
            has_statistics=carries,
        )
    )
