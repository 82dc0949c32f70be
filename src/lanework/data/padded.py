"""Sequences of different length on their way to padded inputs: alphabet or scale learned, cut, padded, told.

Owns what is learned from the training part of sequences, and the sentences about it. numpy only.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lanework.data import sequences
from lanework.data.held_out import refuse_unprepared, told_unprepared, ways_of_parts
from lanework.data.messages import bad, count, listed, share
from lanework.data.prepare import Preparation, learn_numbers
from lanework.data.types import Array, Column, InputInfo, Loaded, Prepared, Rows, Sequences

if TYPE_CHECKING:
    from lanework.spec import DataSpec

__all__ = [
    "MAX_STEPS",
    "describe_lengths",
    "prepare_sequences",
    "told_unknown",
    "without_empty",
]

MAX_STEPS = 1000
"""Steps that are kept of a sequence when the study does not say."""

_NOUN = {"text": "character", "words": "word", "codes": "code", "numbers": "step"}
PARTS = ("training", "validation", "test")


def without_empty(loaded: Loaded) -> Loaded:
    """Without the sequences of length 0, of which the first are named and all are counted.

    Raises:
        DataError: Every sequence is empty.
    """
    features = loaded.features
    if not isinstance(features, Sequences):
        return loaded
    lengths = sequences.length_of(features)
    empty = np.flatnonzero(lengths == 0)
    if not len(empty):
        return loaded
    if len(empty) == len(lengths):
        raise bad(
            f"{loaded.label}, '{features.name}'",
            "must hold sequences",
            got=f"length 0 in all {count(len(lengths), 'row')}",
            do="Check the column, or how the sequences were written.",
        )
    what = "sequence has" if len(empty) == 1 else "sequences have"
    told = (
        f"{loaded.label}: {len(empty)} of {count(len(lengths), 'row')} left out, as their "
        f"{what} length 0 (rows {listed((empty + 1).tolist())}, counted from 1)."
    )
    kept: Rows = np.flatnonzero(lengths > 0)
    target = loaded.target
    return replace(
        loaded,
        features=features[kept],
        target=target.take(kept) if isinstance(target, Column) else target[kept],
        decisions=(*loaded.decisions, told),
    )


def prepare_sequences(
    raw: tuple[Sequences, Sequences, Sequences], spec: DataSpec, *, is_stepwise: bool
) -> Prepared:
    """Learn the alphabet (or shift and scale) on the training part and pad all parts.

    Args:
        raw: Sequences of train, val and test, none of length 0.
        spec: The data section of a study.
        is_stepwise: There is a target for each step.

    Returns:
        The record, the inputs, and what was decided.
    """
    time, told = _time(raw, spec)
    kind = raw[0].kind
    if kind == "numbers":
        return _prepare_numbers(raw, spec, time=time, is_stepwise=is_stepwise, told=told)
    refuse_unprepared(spec, "sequences of tokens, which have no numbers")
    alphabet = sequences.learn_alphabet(raw[0].items, kind)
    record = Preparation(kind, (time,), column=raw[0].name, alphabet=alphabet)
    parts, shares = [], []
    for part, name in zip(raw, PARTS, strict=True):
        codes, lengths = sequences.to_codes(part.items, kind, alphabet=alphabet)
        parts.append(sequences.pad_codes(codes, lengths, time=time))
        told += told_unknown(part.items, kind, codes=codes, alphabet=alphabet, part=name)
        shares.append(float(np.mean(parts[-1] == sequences.PADDING)) if len(part) else 0.0)
    told = (_told_padding(time, shares[0], kind), *told)
    info = InputInfo(
        (time,),
        0,
        (),
        kind="tokens",
        vocabulary=len(alphabet) + 1,
        is_stepwise=is_stepwise,
    )
    return Prepared(record, (parts[0], parts[1], parts[2]), info, told)


def told_unknown(
    items: Array, kind: str, *, codes: Array, alphabet: tuple[str, ...], part: str
) -> tuple[str, ...]:
    """A sentence about tokens of a part that training has no code for."""
    num_unknown = int(np.count_nonzero(codes == len(alphabet)))
    if not num_unknown:
        return ()
    known = set(alphabet)
    counts = Counter(
        token for item in items for token in sequences.tokens_of(item, kind) if token not in known
    )
    common = [token for token, _ in counts.most_common(8)]
    names = f"{listed(common, limit=8)}{' and others' if len(counts) > len(common) else ''}"
    noun = _NOUN[kind]
    if part == "training":  # words that are too rare for a code of their own
        return (
            f"{count(len(counts), noun)} that occur only once in training (or are not among the "
            f"{sequences.MAX_WORDS} commonest) share one code: "
            f"{share(num_unknown, len(codes))} of the text.",
        )
    return (
        f"The {part} part has {count(num_unknown, noun)} ({share(num_unknown, len(codes))}) that "
        f"training never saw or has no code for, such as {names}: they enter as one code, 'unknown'.",
    )


def describe_lengths(features: Sequences, *, num_tokens: int) -> dict[str, Any]:
    """What the report says of the sequences besides their number."""
    lengths = sequences.length_of(features)
    noun = _NOUN[features.kind]
    low, middle, high = (int(np.quantile(lengths, at)) for at in (0.0, 0.5, 1.0))
    found = {"lengths": f"{low} to {count(high, noun)}, median {middle}"}
    return {**found, "alphabet": num_tokens} if num_tokens else found


def _time(raw: tuple[Sequences, ...], spec: DataSpec) -> tuple[int, tuple[str, ...]]:
    """Steps of the padded inputs, and sentences about what is cut."""
    lengths = [sequences.length_of(part) for part in raw]
    longest = int(lengths[0].max())
    most = spec.max_length or MAX_STEPS
    time = min(longest, most)
    why = "data.max_length" if spec.max_length else "set data.max_length to change"
    told = []
    for name, found in zip(PARTS, lengths, strict=True):
        cut = found[found > time]
        if not len(cut):
            continue
        reason = why if longest > most else "the longest in training"
        noun = "sequence" if len(cut) == 1 else "sequences"
        told.append(
            f"{len(cut)} of {count(len(found), f'{name} sequence')} longer than {time} ({reason}): "
            f"the end of {'this' if len(cut) == 1 else 'these'} {noun} is cut off, "
            f"{share(int((cut - time).sum()), int(found.sum()))} of all steps."
        )
    return time, tuple(told)


def _told_padding(time: int, padded: float, kind: str) -> str:
    noun = _NOUN[kind]
    if padded == 0.0:
        return f"Each sequence has {count(time, noun)}."
    return (
        f"Sequences are padded at the end to {count(time, noun)}, and the padding is masked "
        f"({share(round(1e6 * padded), 10**6)} of the training input)."
    )


def _prepare_numbers(
    raw: tuple[Sequences, Sequences, Sequences],
    spec: DataSpec,
    *,
    time: int,
    is_stepwise: bool,
    told: tuple[str, ...],
) -> Prepared:
    """Numeric sequences: shift and scale by channel, gaps filled with the training median."""
    matrix = np.concatenate([item[:time] for item in raw[0].items])
    channels = matrix.shape[1]
    names = tuple(f"channel {index + 1}" for index in range(channels))
    numbers = learn_numbers(matrix, names, kinds=("numeric",) * channels, prepare=spec.prepare)
    record = Preparation("sequences", (time, channels), numbers=numbers, column=raw[0].name)
    gaps = sum(int((~np.isfinite(item)).sum()) for part in raw for item in part.items)
    if gaps:
        told += (f"{count(gaps, 'missing value')} in sequences filled with the training median.",)
    ways = ways_of_parts(record, spec)
    x = tuple(way.transform(list(part.items)) for way, part in zip(ways, raw, strict=True))
    told += told_unprepared(spec)
    share_padded = float(np.isnan(x[0][..., 0]).mean())
    info = InputInfo((time, channels), channels, (), kind="series", is_stepwise=is_stepwise)
    told = (_told_padding(time, share_padded, "numbers"), *told)
    return Prepared(record, (x[0], x[1], x[2]), info, told)
