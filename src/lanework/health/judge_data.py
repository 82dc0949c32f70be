"""Judging data before training: from counts and moments to items of the gate.

Must not import `recipes`, `models`, `data` or anything above.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lanework.health.judge import GOODFELLOW, KARPATHY, Item, said_of

__all__ = ["constants", "duplicates", "finite", "input_scale", "labels", "leakage", "target_scale"]

LECUN: Final = "LeCun et al. 1998, Efficient BackProp, section 4.3"


def finite(*, bad_inputs: int, bad_targets: int) -> Item:
    """Whether all numbers are finite; padding is none of them."""
    numbers = {"inputs": float(bad_inputs), "targets": float(bad_targets)}
    if not (bad_inputs or bad_targets):
        return Item(
            "data_finite", "pass", numbers, "All inputs and targets are finite.", "", GOODFELLOW
        )
    said = f"{bad_inputs} inputs and {bad_targets} targets are not finite: the first step would be lost."
    advice = "Fill gaps (data.prepare: auto) and mend or drop rows without a target."
    return Item("data_finite", "fail", numbers, said, advice, GOODFELLOW)


SEEN: Final = 0.2
"""Share of rows: chance repeats hardly a row that has room to differ, so a fifth is no accident; single copies are none of ours."""


def duplicates(*, seen: float, repeated: float, conflicting: float, has_room: bool = True) -> Item:
    """Rows that occur more than once.

    Args:
        seen: Share of validation rows whose inputs are among the training ones.
        repeated: Share of training rows that repeat another.
        conflicting: Share of training rows whose inputs occur with another label too.
        has_room: Whether rows differ by nature; a few columns of few values repeat without anything being wrong.
    """
    numbers = {"val_seen": seen, "repeated": repeated, "conflicting": conflicting}
    said = (
        f"{100 * repeated:.2g} % of the training rows repeat another, {100 * conflicting:.2g} % with another label; "
        f"{100 * seen:.2g} % of the validation rows are among the training ones."
    )
    advice = []
    if not has_room:
        said += " Inputs take so few values that this says nothing."
    elif conflicting > SEEN:
        advice += [
            "The same inputs have different labels: look whether rows and labels still belong together."
        ]
    if has_room and seen > SEEN:
        advice += [
            "Split so that copies stay together, or drop them: results on seen rows flatter."
        ]
    level = "warn" if advice else "pass"
    return Item("duplicates", level, numbers, said, " ".join(advice), KARPATHY)


RARE: Final = 0.05


def labels(counts: Sequence[int], names: Sequence[str]) -> Item:
    """Balance of the classes in the training part.

    Args:
        counts: Training samples of each class.
        names: Names of the classes.
    """
    order = sorted(range(len(counts)), key=lambda one: counts[one])
    least, most = order[0], order[-1]
    total = max(1, sum(counts))
    numbers = {
        "least": float(counts[least]),
        "most": float(counts[most]),
        "share": counts[most] / total,
    }
    said = (
        f"{len(counts)} classes: {names[most]} has {100 * counts[most] / total:.3g} % of the training samples, "
        f"{names[least]} {100 * counts[least] / total:.2g} %."
    )
    if counts[most] == total and len(counts) > 0:
        advice = "There is nothing to tell apart: look at the target."
        return Item("labels", "fail", numbers, said, advice, KARPATHY)
    if not counts[least]:
        advice = "Stratify the split (data.split.stratify: true), or leave that class out."
        return Item("labels", "warn", numbers, said, advice, KARPATHY)
    if counts[least] < RARE * counts[most] and len(counts) <= 100:
        advice = "Rank by a metric that counts classes alike, and start the output at the base rate (model.output_bias: base_rate)."
        return Item("labels", "warn", numbers, said, advice, KARPATHY)
    return Item("labels", "pass", numbers, said, "", KARPATHY)


def constants(*, num_constant: int, num_columns: int, is_grid: bool) -> Item:
    """Inputs that never vary in the training part; borders of images do not count."""
    numbers = {"constant": float(num_constant), "columns": float(num_columns)}
    said = f"{num_constant} of {num_columns} inputs never vary."
    if num_constant == num_columns:
        advice = "Inputs are all the same: look at the file and at data.columns."
        return Item("constant_inputs", "fail", numbers, said, advice, GOODFELLOW)
    if 2 * num_constant > num_columns and not is_grid:
        return Item(
            "constant_inputs",
            "warn",
            numbers,
            said,
            "Leave them out with data.columns.",
            GOODFELLOW,
        )
    return Item("constant_inputs", "pass", numbers, said, "", GOODFELLOW)


SIZE_WARN, SIZE_FAIL = 10.0, 100.0
TINY_WARN, TINY_FAIL = 1e-2, 1e-4
APART: Final = 100.0


def input_scale(*, size: float, apart: float) -> Item:
    """Whether inputs have the size that initial weights and rates are made for: about 1.

    Args:
        size: Root mean square of all inputs.
        apart: Largest spread of an input over the smallest one, constant ones left out.
    """
    numbers = {"size": size, "apart": apart}
    said = f"Inputs have a root mean square of {said_of(size)}; the widest spreads {said_of(apart)} times as far as the narrowest."
    advice = "Standardise the inputs: data.prepare: auto."
    if not TINY_FAIL <= size <= SIZE_FAIL:
        return Item("input_scale", "fail", numbers, f"Inputs are not scaled. {said}", advice, LECUN)
    if not TINY_WARN <= size <= SIZE_WARN or (apart > APART and size > 3.0):
        return Item(
            "input_scale", "warn", numbers, f"Inputs are hardly scaled. {said}", advice, LECUN
        )
    return Item("input_scale", "pass", numbers, said, "", LECUN)


def target_scale(*, mean: float, std: float) -> Item:
    """Whether a numeric target varies, and is of a size that the loss and the output are made for."""
    numbers = {"mean": mean, "std": std}
    said = f"The target as trained has mean {said_of(mean)} and standard deviation {said_of(std)}."
    if not std > 0:
        return Item(
            "target_scale", "fail", numbers, said, "The target never varies: look at it.", LECUN
        )
    if not 1e-2 <= std <= 10.0 or abs(mean) > 10.0:
        advice = "Scale the target: data.scale_target: true; results stay in its unit."
        return Item(
            "target_scale", "warn", numbers, f"The target is not scaled. {said}", advice, LECUN
        )
    return Item("target_scale", "pass", numbers, said, "", LECUN)


def leakage(hints: Sequence[str]) -> Item:
    """Columns that tell the target, or look like ids, as found while loading."""
    numbers = {"hints": float(len(hints))}
    if not hints:
        said = "No column gives the target away, none looks like an id."
        return Item("leakage", "pass", numbers, said, "", KARPATHY)
    advice = "Leave out what is not known when a prediction is made: data.columns: {NAME: ignore}."
    return Item("leakage", "warn", numbers, " ".join(hints), advice, KARPATHY)
