"""One running text as samples for a character language model: alphabet, parts by place, windows.

Owns what is learned from the training part of a text (its alphabet, and how well counts of its
characters foretell the rest, as a bar). numpy only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lanework.data import sequences
from lanework.data.files import decode_text, must_exist, read_bytes
from lanework.data.messages import bad, count, share
from lanework.data.ordered import Ordered, borders, finish
from lanework.data.padded import told_unknown
from lanework.data.prepare import Preparation
from lanework.data.types import Array, Dataset, InputInfo

if TYPE_CHECKING:
    from lanework.spec import DataSpec

__all__ = ["is_text", "load_text", "ngram_losses"]

DEFAULT_CONTEXT = 128
_SUFFIXES = (".txt", ".text", ".md")
_PIECE = 40
_ORDER = 3
_MOST_BYTES = 4 * 2**30
PARTS = ("training", "validation", "test")


def is_text(spec: DataSpec) -> bool:
    """Whether the data section asks for a running text.

    It does when it gives a context, or names a file such as input.txt (or .txt.gz) and no target.
    """
    if spec.context is not None:
        return True
    if spec.target is not None or spec.window is not None:
        return False
    return spec.source.lower().removesuffix(".gz").endswith(_SUFFIXES)


def load_text(spec: DataSpec) -> Dataset:
    """Read a text, cut it into parts by place, and each part into windows.

    The targets of a window are its characters shifted by one. Each character of a part but the
    first is a target once (in training more often, where ``stride`` is less than ``context``); the
    last window is padded. Nothing overlaps between the parts.

    Args:
        spec: The data section of a study.

    Returns:
        The data set; ``summary['n_gram_loss']`` says what counts of characters reach.

    Raises:
        DataError: No text, or one too short for its parts.
    """
    text, told = _read(spec.source, where="data.source")
    own, more = ("", ()) if spec.test_source is None else _read(spec.test_source, where="data.test")
    context = spec.context or DEFAULT_CONTEXT
    if spec.limit_rows is not None and spec.limit_rows * context < len(text):
        text = text[: spec.limit_rows * context]
        more += (f"Only the first {count(len(text), 'character')} are used (limit_rows).",)
    first, second = borders(len(text), spec, has_own_test=bool(own))
    texts = (text[:first], text[first:second], own or text[second:])
    _check_sizes(texts, spec, context=context)
    alphabet = sequences.learn_alphabet(sequences.object_array([texts[0]]), "text")
    codes = [_coded(part, alphabet) for part in texts]
    stride = spec.stride or context
    _check_memory(len(texts[0]), context=context, stride=stride)
    x, y = zip(
        *(
            windows(
                part, context=context, stride=stride if place == 0 else context, known=len(alphabet)
            )
            for place, part in enumerate(codes)
        ),
        strict=True,
    )
    decisions = (
        *told,
        *more,
        _told_split(has_own_test=bool(own), has_test=bool(texts[2])),
        _told_windows(context, stride),
        *_told_unknown(texts, codes, alphabet),
    )
    losses = ngram_losses(codes[0], codes[1:], num_codes=len(alphabet) + 1)
    return finish(
        Ordered(
            task="classification",
            x=(x[0], x[1], x[2]),
            y=(y[0], y[1], y[2]),
            record=Preparation("characters", (context,), alphabet=alphabet),
            input=InputInfo(
                (context,), 0, (), kind="tokens", vocabulary=len(alphabet) + 1, is_stepwise=True
            ),
            name="next character",
            classes=alphabet,
            source=Path(spec.source).name,
            decisions=decisions,
            extra=_described(texts, alphabet, losses=losses),
        ),
        spec,
    )


def windows(codes: Array, *, context: int, stride: int, known: int) -> tuple[Array, Array]:
    """Cut coded text into inputs and targets, int32 [windows, context] each.

    Args:
        codes: The text, int32 [characters].
        context: Characters in a window.
        stride: Characters between the starts of windows.
        known: Codes from there on are unknown: they enter, but are no targets.

    Returns:
        x, padded at the end with -1, and y, -1 where there is no target.

    Example:
        >>> x, y = windows(np.arange(6), context=3, stride=3, known=9)
        >>> x.tolist(), y.tolist()
        ([[0, 1, 2], [3, 4, -1]], [[1, 2, 3], [4, 5, -1]])
    """
    num_targets = max(len(codes) - 1, 0)
    starts = np.arange(0, num_targets, stride)
    # A window is left out when the one before it already reaches the last target.
    starts = starts[(starts == 0) | (starts - stride + context < num_targets)]
    padded = np.pad(codes.astype(np.int32), (0, context + 1), constant_values=sequences.PADDING)
    view = np.lib.stride_tricks.sliding_window_view(padded, context + 1)[starts]
    y = np.where(view[:, 1:] < known, view[:, 1:], sequences.PADDING).astype(np.int32)
    x = np.where(view[:, 1:] >= 0, view[:, :-1], sequences.PADDING).astype(np.int32)
    return x, y


def ngram_losses(
    train: Array, others: list[Array], *, num_codes: int, order: int = _ORDER
) -> list[float]:
    """Mean loss in nats per character of a model that counts runs of characters in training.

    A run of k characters foretells the next one; what was never seen after it is shared out by the
    model of k - 1 characters: p_k(w | h) = (c(h w) + T(h) p_{k-1}(w | h')) / (c(h) + T(h)), with
    T(h) the number of different characters seen after h.

    Args:
        train: Coded training text.
        others: Coded texts to judge.
        num_codes: How many codes there are.
        order: Characters in a run, the one to foretell included.

    Returns:
        One loss for each text; NaN for one without targets.

    Source:
        Witten and Bell 1991, "The zero-frequency problem"; the bars in the note on tiny Shakespeare.
    """
    chance = [np.full(len(text), 1.0 / num_codes) for text in others]
    for length in range(1, order + 1):
        runs, counts = np.unique(_runs(train, length, num_codes), return_counts=True)
        heads, first, kinds = np.unique(runs // num_codes, return_index=True, return_counts=True)
        totals = np.add.reduceat(counts, first)
        for place, text in enumerate(others):
            keys = _runs(text, length, num_codes)
            seen = _counted(keys, runs, counts)
            total = _counted(keys // num_codes, heads, totals)
            different = _counted(keys // num_codes, heads, kinds)
            lower = chance[place][length - 1 :]
            mixed = (seen + different * lower) / np.maximum(total + different, 1)
            chance[place][length - 1 :] = np.where(total > 0, mixed, lower)
    return [float(-np.log(p[1:]).mean()) if len(p) > 1 else float("nan") for p in chance]


def _runs(codes: Array, length: int, num_codes: int) -> Array:
    """Each run of that many codes as one number, in order."""
    keys = np.zeros(max(len(codes) - length + 1, 0), np.int64)
    for place in range(length):
        keys = keys * num_codes + codes[place : place + len(keys)]
    return keys


def _counted(keys: Array, known: Array, counts: Array) -> Array:
    """How often each key was counted; 0 for unknown ones."""
    place = np.searchsorted(known, keys).clip(0, len(known) - 1)
    found: Array = np.where(known[place] == keys, counts[place], 0)
    return found


def _read(source: str, *, where: str) -> tuple[str, tuple[str, ...]]:
    """A text file, UTF-8 or what else it is, gzip or not, with line feeds."""
    path = Path(source)
    must_exist(path, where=where)
    if path.is_dir():
        raise bad(where, "must be a text file", got=f"the folder {path}", do="Name a file in it.")
    data, decisions = decode_text(read_bytes(path), path.name)
    text = data.decode("utf-8")
    if "\r\n" in text:
        text = text.replace("\r\n", "\n")
        decisions += (f"{path.name}: line ends of Windows are read as line feeds.",)
    told = f"{path.name} is read as one running text: the task is to foretell the next character"
    return text, (*decisions, f"{told} ({count(len(text), 'character')}).")


def _check_sizes(texts: tuple[str, str, str], spec: DataSpec, *, context: int) -> None:
    """Raise when a part that is asked for holds no window.

    Raises:
        DataError: Says which and how long the text must be.
    """
    if len(texts[0]) <= context:
        raise bad(
            f"data.source, {Path(spec.source).name}",
            f"must have more than {context} characters in its training part (data.context)",
            got=f"{len(texts[0])} of {count(sum(map(len, texts)), 'character')}",
            do="Give more text, or a smaller data.context.",
        )
    for name, text in zip(PARTS[1:], texts[1:], strict=True):
        is_asked = name == "validation" or spec.test_source is not None or spec.split.test > 0
        if is_asked and len(text) < 2:
            raise bad(
                f"data.source, {Path(spec.source).name}",
                f"must have at least 2 characters in its {name} part",
                got=str(len(text)),
                do="Give more text, or a larger share in data.split.",
            )


def _check_memory(length: int, *, context: int, stride: int) -> None:
    """Raise when overlapping windows would not fit the memory.

    Raises:
        DataError: Says which stride would do.
    """
    num_bytes = length // stride * context * 8
    if num_bytes > _MOST_BYTES:
        least = -(-length * context * 8 // _MOST_BYTES)
        raise bad(
            "data.stride",
            f"must leave windows of at most {_MOST_BYTES / 2**30:.0f} GiB together",
            got=f"{num_bytes / 2**30:.1f} GiB with stride {stride} and context {context}",
            do=f"Use a stride of {least} or more.",
        )


def _coded(text: str, alphabet: tuple[str, ...]) -> Array:
    return sequences.to_codes(sequences.object_array([text]), "text", alphabet=alphabet)[0]


def _told_split(*, has_own_test: bool, has_test: bool) -> str:
    last = "; the test part is a file of its own" if has_own_test else ", then test"
    return (
        "Text is split by place: its start is for training, then comes validation"
        f"{last if has_test else ''}."
    )


def _told_windows(context: int, stride: int) -> str:
    if stride == context:
        return f"Samples are windows of {context} characters, one after the other."
    gap = ", so that some of the text is left out" if stride > context else ""
    return (
        f"Training samples are windows of {context} characters that start every {stride}{gap}; in "
        "validation and test they follow one another."
    )


def _told_unknown(
    texts: tuple[str, str, str], codes: list[Array], alphabet: tuple[str, ...]
) -> tuple[str, ...]:
    told: tuple[str, ...] = ()
    for name, text, coded in zip(PARTS[1:], texts[1:], codes[1:], strict=True):
        items = sequences.object_array([text])
        found = told_unknown(items, "text", codes=coded, alphabet=alphabet, part=name)
        told += tuple(f"{sentence[:-1]} and do not count as targets." for sentence in found)
    return told


def _described(
    texts: tuple[str, str, str], alphabet: tuple[str, ...], *, losses: list[float]
) -> dict[str, Any]:
    """What the report says of a text besides the usual."""
    shown = [
        (name, loss) for name, loss in zip(("val", "test"), losses, strict=True) if loss == loss
    ]
    return {
        "characters": ", ".join(
            f"{count(len(text), 'character')} {name}"
            for name, text in zip(("train", "val", "test"), texts, strict=True)
            if text
        ),
        "alphabet": len(alphabet),
        "n_gram_loss": ", ".join(f"{loss:.3f} nats per character on {name}" for name, loss in shown)
        + f" (counts of {_ORDER} characters)",
        "hints": list(_repeated(texts)),
    }


def _repeated(texts: tuple[str, str, str]) -> tuple[str, ...]:
    """Sentences about pieces of val and test that stand in the training text word for word."""
    known = np.sort(_hashes(texts[0]))  # np.unique takes seconds here: it makes a table of hashes
    hints = []
    for name, text in zip(PARTS[1:], texts[1:], strict=True):
        pieces = _hashes(text)[::_PIECE]
        place = np.searchsorted(known, pieces).clip(0, max(len(known) - 1, 0))
        num_seen = int((known[place] == pieces).sum()) if len(known) else 0
        if num_seen > 0.01 * len(pieces):
            hints.append(
                f"{num_seen} of {count(len(pieces), 'piece')} of {_PIECE} characters of the {name} "
                f"part ({share(num_seen, len(pieces))}) stand in the training text as well: results "
                "there may flatter."
            )
    return tuple(hints)


def _hashes(text: str) -> Array:
    """A hash of each piece of ``_PIECE`` characters, at every place, uint64."""
    points = sequences.as_characters(text).astype(np.uint64)
    hashes = np.zeros(max(len(points) - _PIECE + 1, 0), np.uint64)
    for place in range(_PIECE):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + points[place : place + len(hashes)]
    return hashes
