"""Batches that are not plain shuffled epochs: class-balanced, class-mixed, and hard examples more often.

Pure functions of the seed, the step and (for hard examples) the last known losses, so all recipes of a seed that see the same
losses see the same batches. numpy only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanework.data.batches import (
    EpochOrder,
    batch_indices,
    check_batches,
    cut_steps,
    generator,
)
from lanework.data.messages import count, listed

__all__ = [
    "EPOCHS",
    "PLAIN_EPOCHS",
    "Drawn",
    "balanced_epochs",
    "class_notes",
    "hard_batches",
    "hard_shares",
    "indices",
    "mixed_epochs",
    "ordered_epochs",
    "shuffled_epochs",
]

# Streams of random numbers: shuffled epochs have the numbers below 2^32.
_ROUNDS, _CLASS, _MIXED, _HARD = 1 << 40, 1 << 41, 1 << 42, 1 << 43
# Shuffled copies of a class that are drawn at once, so that tiny classes cost no call each.
_BLOCK_ROWS = 4096
_EPOCHS_KEPT = 3
NOTED_FROM = 2.0
"""Times per epoch from which a repeated class is told."""


@dataclass(frozen=True)
class Drawn:
    """Batches and what their samples weigh.

    Attributes:
        index: Sample numbers, int32 [step, batch]; `~i` is sample i with weight 0.
        weight: Weight of each in the loss, float32 [step, batch]; None where all are 1.
    """

    index: NDArray[np.int32]
    weight: NDArray[np.float32] | None = None


def shuffled_epochs(num_samples: int, batch_size: int, *, seed: int) -> EpochOrder:
    """Epochs as of `batch_indices`; the last few are remembered."""
    check_batches(num_samples, batch_size, first_step=0, num_steps=0)
    steps = -(-num_samples // batch_size)

    @lru_cache(maxsize=_EPOCHS_KEPT)
    def order(epoch: int) -> NDArray[np.int32]:
        return batch_indices(
            num_samples, batch_size, seed=seed, first_step=epoch * steps, num_steps=steps
        )

    return order


def ordered_epochs(num_samples: int, batch_size: int, *, seed: int) -> EpochOrder:
    """Epochs in which samples keep the order of the data, all alike and for every seed.

    Args:
        num_samples: Samples in the training part.
        batch_size: Samples per batch, at most `num_samples`.
        seed: Not looked at: nothing is drawn.

    Returns:
        A function from the number of an epoch to int32 [ceil(n / batch_size), batch_size]; a short last batch is filled
        up with `~index` as in `batch_indices`.

    Example:
        >>> ordered_epochs(5, 2, seed=0)(0).tolist()  # ~0 = -1: sample 0 with weight 0
        [[0, 1], [2, 3], [4, -1]]
    """
    check_batches(num_samples, batch_size, first_step=0, num_steps=0)
    rows = np.arange(num_samples, dtype=np.int32)
    filled = np.concatenate([rows, ~rows[: -num_samples % batch_size]])
    batches = filled.reshape(-1, batch_size)
    return lambda epoch: batches


def balanced_epochs(labels: NDArray[np.int32], batch_size: int, *, seed: int) -> EpochOrder:
    """Epochs in which each class comes equally often, in each batch as evenly as whole samples allow.

    An epoch is a row of rounds; a round names every class once in random order, and each mention takes the next sample of the
    class's own stream of shuffled copies. A small class passes by several times in an epoch, a large one needs several epochs.

    Args:
        labels: Class codes of the training part, [n]; classes without a sample do not count.
        batch_size: Samples per batch, at most n.
        seed: The run's seed.

    Returns:
        A function from the number of an epoch to int32 [ceil(n / batch_size), batch_size]; all batches are full.

    Example:
        >>> labels = np.array([0] * 90 + [1] * 10, np.int32)
        >>> order = balanced_epochs(labels, 20, seed=0)
        >>> (labels[order(0)] == 1).mean(axis=1).tolist()
        [0.5, 0.5, 0.5, 0.5, 0.5]

    Source:
        He and Garcia 2009, "Learning from imbalanced data", IEEE TKDE 21(9).
    """
    check_batches(len(labels), batch_size, first_step=0, num_steps=0)
    members = _members(labels)
    num_slots = -(-len(labels) // batch_size) * batch_size
    num_rounds = -(-num_slots // len(members))

    @lru_cache(maxsize=_EPOCHS_KEPT)
    def order(epoch: int) -> NDArray[np.int32]:
        rng = generator(seed, stream=_ROUNDS + epoch)
        places = rng.random((num_rounds, len(members))).argsort(axis=1)
        # Round r of epoch e takes number e * num_rounds + r of the stream of each class.
        streams = [
            _class_stream(rows, epoch * num_rounds, num_rounds, seed=seed, place=place)
            for place, rows in enumerate(members)
        ]
        drawn = np.stack(streams, axis=1)[np.arange(num_rounds)[:, None], places]
        return drawn.astype(np.int32).ravel()[:num_slots].reshape(-1, batch_size)

    return order


def mixed_epochs(labels: NDArray[np.int32], batch_size: int, *, seed: int) -> EpochOrder:
    """Epochs of all samples, with every class spread evenly over the batches.

    Sample number r (in random order) of the n_c of a class is put at (r + u) / n_c with u uniform in [0, 1), and all samples
    are sorted by that: each batch has each class in its share of the data, give or take a sample or two.

    Args:
        labels: Class codes of the training part, [n].
        batch_size: Samples per batch, at most n.
        seed: The run's seed.

    Returns:
        A function from the number of an epoch to int32 [ceil(n / batch_size), batch_size]; a short last batch is filled
        up with `~index` as in `batch_indices`.

    Source:
        Zhao and Zhang 2014, "Accelerating minibatch stochastic gradient descent using stratified sampling".
    """
    check_batches(len(labels), batch_size, first_step=0, num_steps=0)
    members = _members(labels)
    num_missing = -len(labels) % batch_size

    @lru_cache(maxsize=_EPOCHS_KEPT)
    def order(epoch: int) -> NDArray[np.int32]:
        rng = generator(seed, stream=_MIXED + epoch)
        rows = np.concatenate([rng.permutation(group) for group in members])
        place = np.concatenate(
            [(np.arange(len(group)) + rng.random(len(group))) / len(group) for group in members]
        )
        spread = rows[np.argsort(place, kind="stable")]
        filled = np.concatenate([spread, ~spread[:num_missing]])
        return filled.astype(np.int32).reshape(-1, batch_size)

    return order


def indices(order: EpochOrder, *, first_step: int, num_steps: int) -> NDArray[np.int32]:
    """Consecutive batches of epochs, int32 [num_steps, batch_size]."""
    steps_per_epoch = len(order(first_step // max(1, len(order(0)))))
    return cut_steps(order, steps_per_epoch, first_step=first_step, num_steps=num_steps)


def hard_shares(
    losses: NDArray[np.floating[Any]], *, power: float, cap: float, floor: float
) -> NDArray[np.float64]:
    """Probability with which each sample is drawn.

    p_i = floor / n + (1 - floor) min(l_i, q)^power / sum_j min(l_j, q)^power with q the quantile `cap` of the known losses. A
    sample whose loss is not known (NaN) or not finite counts with q.

    Args:
        losses: Last known loss of each sample, [n].
        power: How steeply probability grows with the loss.
        cap: Quantile above which a larger loss makes no difference, in (0, 1].
        floor: Share of the draws that is spread evenly, in [0, 1].

    Returns:
        float64 [n], sums to 1.

    Example:
        >>> hard_shares(np.array([1.0, 3.0]), power=1.0, cap=1.0, floor=0.0)
        array([0.25, 0.75])

    Source:
        Loshchilov and Hutter 2015, "Online batch selection for faster training of neural networks" (they rank; here the
        loss itself counts, up to the cap).
    """
    values = np.asarray(losses, np.float64)
    known = values[np.isfinite(values)]
    even = np.full(len(values), 1.0 / len(values))
    if not len(known):
        return even
    # The quantile is a loss that occurs: between two far apart it would lie where no sample is.
    limit = float(np.quantile(known, cap, method="lower"))
    capped = np.where(np.isfinite(values), np.minimum(values, limit), limit)
    raised = (capped - min(0.0, float(capped.min()))) ** power
    total = raised.sum()
    if not total > 0:
        return even
    return floor * even + (1.0 - floor) * raised / total


def hard_batches(
    losses: NDArray[np.floating[Any]],
    batch_size: int,
    *,
    seed: int,
    first_step: int,
    num_steps: int,
    power: float = 1.0,
    cap: float = 0.95,
    floor: float = 0.2,
    correction: float = 0.0,
) -> Drawn:
    """Batches of an interval between two evaluations, drawn by the losses known at its start.

    The first epoch is shuffled, so that every loss is known once. After it, samples are drawn systematically: of m draws,
    sample i gets m p_i rounded down or up, and then all draws are shuffled.

    Args:
        losses: Last known loss of each sample, [n]; NaN where no step has seen it.
        batch_size: Samples per batch.
        seed: The run's seed.
        first_step: First step of the interval, counted from 0 over all epochs.
        num_steps: Steps of the interval.
        power: See `hard_shares`.
        cap: See `hard_shares`.
        floor: See `hard_shares`.
        correction: Exponent b of the weights (n p_i)^-b, which take the bias out of the loss (1: all of it).

    Returns:
        The batches, with weights where `correction` is above 0.

    Source:
        Loshchilov and Hutter 2015; weights: Schaul et al. 2015, "Prioritized experience replay"; systematic draws: Kitagawa
        1996, "Monte Carlo filter and smoother".
    """
    num_samples = len(losses)
    check_batches(num_samples, batch_size, first_step=first_step, num_steps=num_steps)
    num_plain = min(num_steps, max(0, -(-num_samples // batch_size) - first_step))
    index = batch_indices(
        num_samples, batch_size, seed=seed, first_step=first_step, num_steps=num_plain
    )
    shares = hard_shares(losses, power=power, cap=cap, floor=floor)
    rng = generator(seed, stream=_HARD + first_step)
    num_drawn = (num_steps - num_plain) * batch_size
    drawn = rng.permutation(_systematic(shares, num_drawn, start=float(rng.random())))
    index = np.concatenate([index, drawn.astype(np.int32).reshape(-1, batch_size)])
    if correction == 0.0:
        return Drawn(index)
    weight = np.ones(index.shape, np.float32)
    weight[num_plain:] = ((num_samples * shares) ** -correction)[index[num_plain:]]
    return Drawn(index, weight)


def class_notes(
    name: str, labels: NDArray[np.int32], batch_size: int, classes: Sequence[str]
) -> tuple[str, ...]:
    """What a way of sampling does to the classes, in sentences.

    Args:
        name: `balanced`, `mixed` or another.
        labels: Class codes of the training part, [n].
        batch_size: Samples per batch.
        classes: Names of the classes.

    Returns:
        Sentences; none where there is nothing to tell.
    """
    counts = np.bincount(labels, minlength=len(classes))
    present = np.flatnonzero(counts).tolist()
    notes = []
    if name in ("balanced", "mixed") and batch_size < len(present):
        notes.append(
            f"train.sampling {name}: batches of {batch_size} cannot hold all {count(len(present), 'class')}; each comes in turn."
        )
    if name != "balanced":
        return tuple(notes)
    slots = -(-len(labels) // batch_size) * batch_size / len(present)
    small = [code for code in present if slots / counts[code] >= NOTED_FROM]
    large = [code for code in present if slots / counts[code] <= 1.0 / NOTED_FROM]
    if small:
        most = slots / counts[small].min()
        notes.append(
            f"train.sampling balanced repeats the rows of {listed(classes[code] for code in small)}: each is seen up to "
            f"{most:.3g} times in an epoch."
        )
    if large:
        least = slots / counts[large].max()
        notes.append(
            f"train.sampling balanced shows a part of {listed(classes[code] for code in large)} in an epoch: down to "
            f"{100 * least:.2g} % of the rows of a class."
        )
    return tuple(notes)


def _members(labels: NDArray[np.int32]) -> list[NDArray[np.intp]]:
    """Sample numbers of each class that has any."""
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    return [group for group in np.split(order, np.cumsum(counts)[:-1]) if len(group)]


def _class_stream(
    rows: NDArray[np.intp], first: int, number: int, *, seed: int, place: int
) -> NDArray[np.intp]:
    """Entries `first` to `first + number` of the endless stream of shuffled copies of a class."""
    copies = max(1, _BLOCK_ROWS // len(rows))
    size = copies * len(rows)
    blocks = []
    for block in range(first // size, (first + number - 1) // size + 1):
        rng = generator(seed, stream=_CLASS + (place << 44) + block)
        blocks.append(rng.permuted(np.tile(rows, (copies, 1)), axis=1).ravel())
    start = first - (first // size) * size
    return np.concatenate(blocks)[start : start + number]


def _systematic(shares: NDArray[np.float64], number: int, *, start: float) -> NDArray[np.intp]:
    """Sample numbers, each `number * share` times rounded down or up; `start` in [0, 1) decides which."""
    edges = np.cumsum(shares)
    places = (np.arange(number) + start) / max(1, number) * edges[-1]
    return np.minimum(np.searchsorted(edges, places, side="right"), len(shares) - 1)


PLAIN_EPOCHS: Mapping[str, Callable[..., EpochOrder]] = MappingProxyType(
    {"shuffled": shuffled_epochs, "in_order": ordered_epochs}
)
"""Orders that look at no class: from number of samples, batch size and seed to epochs."""
EPOCHS: Mapping[str, Callable[..., EpochOrder]] = MappingProxyType(
    {"balanced": balanced_epochs, "mixed": mixed_epochs}
)
"""Orders by class: from labels, batch size and seed to epochs."""
