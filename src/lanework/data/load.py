"""From the data section of a study to a ``Dataset``, and cheap checks before that.

Owns the order of the steps: read, leave out, split, learn, apply, describe. Each step lives in
its own module.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lanework.data import images, leaks, summary
from lanework.data.files import must_exist
from lanework.data.folds import aligned
from lanework.data.held_out import refuse_unprepared, told_unprepared, ways_of_parts
from lanework.data.images import own_parts
from lanework.data.label_noise import noisy_targets, told_noise
from lanework.data.memory_map import is_mapped, load_mapped, mapped_problems
from lanework.data.messages import bad, count, listed, share
from lanework.data.order import order_hints
from lanework.data.padded import describe_lengths, prepare_sequences, without_empty
from lanework.data.parting import Keys, split_keys, split_parts
from lanework.data.prepare import Preparation, learn_images
from lanework.data.series import load_series, resolve_order
from lanework.data.sources import SOURCES, column_names, read_source, read_test, resolve_target
from lanework.data.split import PARTS, Parts, limited_rows
from lanework.data.tabular import PLAIN_STEPS, prepare_matrix, prepare_table
from lanework.data.target import (
    Classes,
    class_kind,
    decide_task,
    encode_classes,
    find_classes,
    log_targets,
    numeric_target,
    scaled_targets,
)
from lanework.data.text import is_text, load_text
from lanework.data.types import (
    Array,
    Column,
    Dataset,
    InputInfo,
    Loaded,
    Part,
    Prepared,
    Rows,
    Sequences,
    Steps,
    Table,
)
from lanework.data.weights import normalised, take_weights
from lanework.errors import DataError, Problem

if TYPE_CHECKING:
    from lanework.spec import DataSpec

__all__ = ["load", "load_folds", "peek"]


class _Coded(NamedTuple):
    """The target of all rows, in numbers."""

    task: str
    classes: Classes
    y: Array  # int32 [n] or [n, time], or float64 [n, k] in the target's unit


class _Fold(NamedTuple):
    """One fold before its targets are prepared; without cross-validation there is one."""

    loaded: Loaded
    coded: _Coded
    held: tuple[Loaded, Array] | None  # the source's own test part, with its target
    keys: Keys
    parts: Parts
    inputs: Prepared
    weights: Array | None  # of the training rows


def load(spec: DataSpec, *, arrays: Any = None) -> Dataset:
    """Read, split and prepare the data of a study.

    Everything that is learned (fills, means, scales, levels, target scale) is learned on the
    training part only. Everything that was guessed or decided is told in ``summary['decisions']``.

    Args:
        spec: The data section of a study.
        arrays: Python objects instead of ``spec.source``: a DataFrame (with ``spec.target``),
            ``(x, y)`` or ``(x, y, x_test, y_test)``.

    Returns:
        The finished data set.

    Raises:
        DataError: The data cannot be used; the text says what, where and what to do.

    Example:
        >>> from lanework.spec import DataSpec
        >>> iris = load(DataSpec(source="iris"))
        >>> iris.train.x.shape, iris.classes
        ((105, 4), ('setosa', 'versicolor', 'virginica'))
    """
    return load_folds(spec, arrays=arrays, is_first_only=True)[0]


def load_folds(
    spec: DataSpec, *, arrays: Any = None, is_first_only: bool = False
) -> tuple[Dataset, ...]:
    """The data set of each fold of a cross-validation, of equal shapes; one data set without folds.

    Args:
        spec: The data section of a study.
        arrays: As in `load`.
        is_first_only: Prepare the first fold alone.

    Returns:
        Repeat by repeat, fold by fold. Each has learned its own preparation.

    Raises:
        DataError: The data cannot be used.
    """
    if is_mapped(spec, arrays=arrays):
        return (load_mapped(spec, arrays=arrays),)
    if arrays is None and is_text(spec):
        _check_following(spec, "a running text")
        refuse_unprepared(spec, "a running text, which has no numbers")
        return (load_text(spec),)
    if spec.window is not None:
        _check_following(spec, "a time series")
        _check_steps(spec, "a time series")
        return (load_series(spec, arrays=arrays),)
    loaded, decisions = _with_target(without_empty(read_source(spec, arrays=arrays)))
    loaded, more = _limited(loaded, spec)
    decisions += more
    loaded, keys = split_keys(loaded, spec)
    loaded, weights = take_weights(loaded, spec.sample_weights)
    if spec.test_source is not None and arrays is None:
        loaded = replace(loaded, test=read_test(spec, loaded, path=spec.test_source))
    if loaded.test is not None:
        loaded = replace(loaded, test=without_empty(loaded.test))
    coded, sentence = _code(loaded, spec)
    decisions += (sentence,) if sentence else ()
    folds, more = _split(
        coded, keys, spec, has_own_test=loaded.test is not None, own_val=loaded.own_val
    )
    decisions += more
    held, more = _own_test(loaded, coded)
    decisions += more
    known = folds[0].train if len(folds) == 1 else np.union1d(folds[0].train, folds[0].val)
    loaded, held, more = _drop_empty(loaded, held, known)
    decisions += more
    made: list[Dataset] = []
    for parts in folds[:1] if is_first_only else folds:
        inputs = _prepare(loaded, parts, spec, held=held)
        own = normalised(weights, parts.train)
        fold = _Fold(loaded, coded, held, keys, parts, inputs, own)
        told = tuple(dict.fromkeys((*decisions, *inputs.told)))
        made.append(_assemble(spec, fold, told=told, first=made[0] if made else None))
    return aligned(made)


def _check_following(spec: DataSpec, what: str) -> None:
    """Text and series are cut into parts that follow each other anyway.

    Raises:
        DataError: Another split is asked for.
    """
    split = spec.split
    no_samples = {
        "data.sample_weights": spec.sample_weights,
        "data.label_noise": spec.label_noise or None,
    }
    for key, value in no_samples.items():
        if value is not None:
            raise bad(
                key,
                f"must be left out for {what}, whose rows are no samples",
                got=repr(value),
                do="Remove it.",
            )
    given = {"folds": split.folds, "group": split.group, "time": split.time or None}
    for key, value in given.items():
        if value is not None:
            raise bad(
                f"data.split.{key}",
                f"must be left out for {what}, whose parts follow each other in time",
                got=repr(value),
                do="Remove it.",
            )


def _check_steps(spec: DataSpec, what: str) -> None:
    """Where numbers have no columns of a table, one shift and scale is what can be learned.

    Raises:
        DataError: Other steps are asked for.
    """
    if spec.prepare not in PLAIN_STEPS:
        raise bad(
            "data.prepare",
            f"must be one of {', '.join(PLAIN_STEPS)} for {what}",
            got=str(spec.prepare),
            do="The other steps are for tables.",
        )


def peek(spec: DataSpec) -> list[Problem]:
    """Cheap checks of the data section: files exist, target and columns are there.

    Args:
        spec: The data section of a study.

    Returns:
        Problems with their key paths; empty when nothing is wrong so far.
    """
    if spec.source in SOURCES or spec.source.startswith("<"):
        return []
    problems: list[Problem] = []
    for key, name in (("data.source", spec.source), ("data.test", spec.test_source)):
        if name is None:
            continue
        try:
            path = Path(name)
            if images.holds_images(path):
                continue
            must_exist(path, where=key)
            if is_mapped(spec):
                found = mapped_problems(spec) if key == "data.source" else ""
                problems += [_problem(key, DataError(found))] if found else []
                continue
            if is_text(spec):
                continue
            names = None if path.is_dir() else column_names(path, spec)
            if names is None:
                continue
            resolve_target(spec.target, names, name=path.name)
            resolve_order(spec.order, names, name=path.name)
            problems += _unknown_columns(spec, names, path.name) if key == "data.source" else []
        except DataError as error:
            problems.append(_problem(key, error))
    return problems


def _problem(key: str, error: DataError) -> Problem:
    """The error as a problem at the key it is about."""
    text = str(error)
    for path in ("data.target", "data.source", "data.test", "data.delimiter", "data.order"):
        if text.startswith(f"{path}: "):
            return Problem(path, text.removeprefix(f"{path}: "))
    return Problem(key, text)


def _unknown_columns(spec: DataSpec, names: tuple[str, ...], file: str) -> list[Problem]:
    return [
        Problem(
            f"data.columns.{column}",
            f"must be a column of {file}, got {column!r}. Its columns are {listed(names, limit=12)}.",
        )
        for column in spec.columns
        if column not in names
    ]


def _with_target(loaded: Loaded) -> tuple[Loaded, tuple[str, ...]]:
    """Without the rows that have no target.

    Raises:
        DataError: No row is left, or a numeric target is infinite.
    """
    decisions = loaded.decisions
    target = loaded.target
    if not isinstance(target, Column):
        return loaded, decisions
    if target.kind != "category" and np.isinf(target.values).any():
        raise bad(
            f"{loaded.label}, column '{target.name}'",
            "must have finite targets",
            got=f"{count(int(np.isinf(target.values).sum()), 'infinite value')}",
            do="Correct or remove these rows.",
        )
    missing = target.missing()
    num_missing = int(missing.sum())
    if num_missing == 0:
        return loaded, decisions
    if num_missing == len(missing):
        raise bad(
            f"{loaded.label}, column '{target.name}'",
            "must have values (it is the target)",
            got="missing in every row",
            do="Check data.target and data.missing.",
        )
    rows = np.flatnonzero(~missing)
    told = (
        f"{loaded.label}: {count(num_missing, 'row')} without a value in the target "
        f"'{target.name}' left out ({share(num_missing, len(missing))})."
    )
    return _take(loaded, rows), (*decisions, told)


def _take(loaded: Loaded, rows: Rows) -> Loaded:
    target = loaded.target
    return replace(
        loaded,
        features=_rows(loaded.features, rows),
        target=target.take(rows) if isinstance(target, Column) else target[rows],
        own_val=None if loaded.own_val is None else loaded.own_val[rows],
    )


def _rows(features: Any, rows: Rows) -> Any:
    return features.take(rows) if isinstance(features, Table) else features[rows]


def _limited(loaded: Loaded, spec: DataSpec) -> tuple[Loaded, tuple[str, ...]]:
    """At most ``limit_rows`` rows."""
    rows, told = limited_rows(loaded.num_rows, spec.limit_rows, seed=spec.split.seed)
    return (_take(loaded, rows) if told else loaded), told


def _code(loaded: Loaded, spec: DataSpec) -> tuple[_Coded, str]:
    if isinstance(loaded.target, Steps):
        names = loaded.target.classes
        return _Coded("classification", Classes(names, names), loaded.target.values), ""
    task, sentence = decide_task(loaded, given=spec.task)
    if task == "regression":
        y = numeric_target(loaded.target, where=loaded.label)
        return _Coded(task, Classes((), ()), y), sentence
    classes = find_classes(loaded)
    if not isinstance(loaded.target, Column):
        raise TypeError("find_classes lets only columns pass")
    codes = encode_classes(loaded.target, classes, where=loaded.label)
    return _Coded(task, classes, codes), sentence


def _split(
    coded: _Coded,
    keys: Keys,
    spec: DataSpec,
    *,
    has_own_test: bool,
    own_val: Array | None = None,
) -> tuple[tuple[Parts, ...], tuple[str, ...]]:
    split = spec.split
    if own_val is not None and split.folds is None:
        return own_parts(coded.y, own_val, spec, has_own_test=has_own_test)
    is_classes = coded.task == "classification" and coded.y.ndim == 1
    is_stratified = split.stratify and is_classes and keys.order is None
    folds, told = split_parts(
        spec,
        keys,
        labels=coded.y if is_stratified else None,
        num_rows=len(coded.y),
        classes=coded.classes.names,
        has_own_test=has_own_test,
    )
    if is_classes and len(folds) == 1:
        lacking = np.setdiff1d(np.arange(len(coded.classes.names)), coded.y[folds[0].train])
        if len(lacking):
            names = listed(coded.classes.names[code] for code in lacking)
            do = "use another split" if split.stratify else "set data.split.stratify to true"
            told += (f"No training row for class {names}: {do}.",)
    return folds, told


def _own_test(loaded: Loaded, coded: _Coded) -> tuple[tuple[Loaded, Array] | None, tuple[str, ...]]:
    """The source's own test part with its coded target."""
    if loaded.test is None:
        return None, ()
    test, decisions = _with_target(loaded.test)
    if isinstance(test.target, Steps):
        return (test, test.target.values), decisions
    if coded.task == "regression":
        y = numeric_target(test.target, where=test.label)
        if y.shape[1:] != coded.y.shape[1:]:
            raise bad(
                test.label,
                f"must have {count(coded.y.shape[1], 'target')} as in training",
                got=str(y.shape[1]),
                do="Give the test part in the same form.",
            )
        return (test, y), decisions
    if not isinstance(test.target, Column):
        raise bad(test.label, "must have one class for each row", got="several", do="Check y_test.")
    return (test, encode_classes(test.target, coded.classes, where=test.label)), decisions


def _drop_empty(
    loaded: Loaded, held: tuple[Loaded, Array] | None, train: Rows
) -> tuple[Loaded, tuple[Loaded, Array] | None, tuple[str, ...]]:
    """Tables without columns that are empty or constant in the training part.

    Raises:
        DataError: No column is left.
    """
    if not isinstance(loaded.features, Table):
        return loaded, held, _told_dropped(loaded)
    reasons = [(column.name, _nothing_in(column, train)) for column in loaded.features.columns]
    empty = [(name, reason) for name, reason in reasons if reason]
    names = [name for name, _ in empty]
    features = loaded.features.without(names)
    loaded = replace(loaded, features=features, dropped=(*loaded.dropped, *empty))
    if not features.columns:
        raise bad(
            loaded.label,
            "must have a column that varies",
            got="; ".join(f"'{name}': {reason}" for name, reason in loaded.dropped),
            do="Check the file and data.columns.",
        )
    if held is not None and isinstance(held[0].features, Table):
        held = replace(held[0], features=held[0].features.without(names)), held[1]
    return loaded, held, _told_dropped(loaded)


def _told_dropped(loaded: Loaded) -> tuple[str, ...]:
    return tuple(f"Column '{name}' is not used: {reason}." for name, reason in loaded.dropped)


def _nothing_in(column: Column, train: Rows) -> str:
    """Why a column carries nothing for training, or an empty string."""
    missing = column.missing()[train]
    if missing.all():
        return "every cell is missing in the training part"
    present = column.values[train][~missing]
    if not missing.any() and np.all(present == present[0]):
        return "the same value in every training row"
    return ""


def _prepare(
    loaded: Loaded, parts: Parts, spec: DataSpec, *, held: tuple[Loaded, Array] | None
) -> Prepared:
    features, raw = loaded.features, _in_parts(loaded, parts, held)
    if isinstance(features, Table):
        return prepare_table(raw, spec)
    if isinstance(features, Sequences):
        _check_steps(spec, "sequences")
        return prepare_sequences(raw, spec, is_stepwise=isinstance(loaded.target, Steps))
    if features.ndim == 2:
        return prepare_matrix(raw, loaded.names, spec, grid=loaded.grid)
    _check_steps(spec, "images")
    return _prepare_images(raw, spec)


def _in_parts(
    loaded: Loaded, parts: Parts, held: tuple[Loaded, Array] | None
) -> tuple[Any, Any, Any]:
    """Features of train, val and test as read."""
    features = loaded.features
    test = _rows(features, parts.test) if held is None else held[0].features
    return _rows(features, parts.train), _rows(features, parts.val), test


def _prepare_images(raw: tuple[Array, Array, Array], spec: DataSpec) -> Prepared:
    shift, scale = learn_images(raw[0], prepare=spec.prepare)
    is_bytes = raw[0].dtype == np.uint8
    if is_bytes and raw[2].dtype != np.uint8:
        raise bad(
            "test images", "must be bytes as in training", got=str(raw[2].dtype), do="Convert."
        )
    # Folds scale bytes each in its own way, while a program has one way for all: they come scaled.
    # So do parts that are prepared each in a way of its own.
    stays_bytes = is_bytes and spec.split.folds is None and spec.prepare_held_out == "same"
    record = Preparation(
        "bytes" if stays_bytes else "images",
        raw[0].shape[1:],
        channel_shift=tuple(shift.tolist()),
        channel_scale=tuple(scale.tolist()),
    )
    info = InputInfo(record.shape, 0, (), kind="image")
    if stays_bytes:
        factor = (1.0 / scale).astype(np.float32)
        return Prepared(record, raw, info, (), factor, (-shift / scale).astype(np.float32))
    ways = ways_of_parts(record, spec)
    x = tuple(way.transform(rows) for way, rows in zip(ways, raw, strict=True))
    return Prepared(record, (x[0], x[1], x[2]), info, told_unprepared(spec))


def _assemble(
    spec: DataSpec, fold: _Fold, *, told: tuple[str, ...], first: Dataset | None
) -> Dataset:
    """Targets, summary and fingerprint; what was told of the first fold holds for the others."""
    coded, inputs, weights = fold.coded, fold.inputs, fold.weights
    target, classes = fold.loaded.target, fold.coded.classes.names
    name = target.name if isinstance(target, Column | Steps) else (spec.target or "y")
    raw_y, more = _targets(spec, fold)
    is_log = spec.log_target and coded.task == "regression"
    used = log_targets(raw_y, name=name) if is_log else raw_y
    y, scale, shift = scaled_targets(used, task=coded.task, name=name, is_scaled=spec.scale_target)
    y = _same_steps(y, inputs.input)
    made = [Part(x, labels) for x, labels in zip(inputs.parts, y, strict=True)]
    made[0] = replace(made[0], weight=weights)
    record = replace(
        inputs.record,
        target_names=(name,),
        classes=classes,
        target_scale=tuple(scale.tolist()),
        target_shift=tuple(shift.tolist()),
        class_kind=class_kind(fold.loaded) if classes else "text",
        target_log=is_log,
    )
    fingerprint = summary.fingerprint_of(
        made,
        extra=(inputs.scale, inputs.shift, scale, shift, *(() if weights is None else (weights,))),
        classes=classes,
    )
    described = _describe(spec, fold, name=name, y=raw_y, first=first)
    return Dataset(
        task=coded.task,
        train=made[0],
        val=made[1],
        test=made[2],
        input=inputs.input,
        num_outputs=len(classes) or coded.y.shape[1],
        classes=classes,
        preparation=record,
        target_scale=record.target_scale,
        target_shift=record.target_shift,
        input_scale=inputs.scale,
        input_shift=inputs.shift,
        summary={**described, "decisions": [*told, *more], "fingerprint": fingerprint},
        fingerprint=fingerprint,
    )


def _targets(spec: DataSpec, fold: _Fold) -> tuple[tuple[Array, Array, Array], tuple[str, ...]]:
    """Targets of the parts in their unit, those of training with the noise that is asked for."""
    y, parts = fold.coded.y, fold.parts
    test = y[parts.test] if fold.held is None else fold.held[1]
    learned = y[parts.train]
    if not spec.label_noise:
        return (learned, y[parts.val], test), ()
    noise, num_classes = spec.label_noise, len(fold.coded.classes.names)
    noisy = noisy_targets(
        learned,
        rows=parts.train,
        num_rows=len(y),
        share=noise,
        seed=spec.split.seed,
        num_classes=num_classes,
    )
    told = told_noise(len(learned), share=noise, num_classes=num_classes)
    return (noisy, y[parts.val], test), told


def _same_steps(y: tuple[Array, ...], info: InputInfo) -> tuple[Array, ...]:
    """Targets by time step cut or padded to the steps of the input."""
    if not info.is_stepwise:
        return y
    time = info.shape[0]
    widen = [np.pad(v, ((0, 0), (0, max(0, time - v.shape[1]))), constant_values=-1) for v in y]
    return tuple(values[:, :time] for values in widen)


def _compared(fold: _Fold) -> tuple[Array, Array, Array]:
    """What tells equal rows: a table's cells as read (rare levels not joined), else the inputs."""
    table = fold.loaded.features
    if not isinstance(table, Table):
        return fold.inputs.parts
    train, val, test = _in_parts(fold.loaded, fold.parts, fold.held)
    return (
        leaks.raw_rows(train, like=table),
        leaks.raw_rows(val, like=table),
        leaks.raw_rows(test, like=table),
    )


def _hints(fold: _Fold, *, name: str, y: tuple[Array, ...]) -> tuple[str, ...]:
    """Signs of leakage and other trouble, as sentences."""
    loaded, coded, keys, parts = fold.loaded, fold.coded, fold.keys, fold.parts
    features = loaded.features
    is_classes = coded.task == "classification"
    is_image = isinstance(features, np.ndarray) and features.ndim > 2
    train, val, test = _compared(fold)
    hints = leaks.duplicate_hints(train, val=val, test=test, is_image=is_image)
    if isinstance(features, Table | np.ndarray):
        groups: dict[str, str] = {}
        if keys.groups is None and keys.order is None:
            groups = leaks.group_hints(features, loaded.names, train=parts.train, val=parts.val)
        hints += tuple(groups.values())
        hints += leaks.id_hints(features, loaded.names, known=groups)
    target = coded.y if is_classes else coded.y[:, 0] if coded.y.shape[1] == 1 else None
    num_classes = len(coded.classes.names)
    if isinstance(features, Table | np.ndarray) and target is not None:
        hints += leaks.giveaway_hints(
            features,
            loaded.names,
            y=target,
            num_classes=num_classes,
            rows=np.concatenate([parts.train, parts.val]),
        )
    if target is not None and target.ndim == 1:
        is_by_order = keys.order is not None and bool(np.all(np.diff(keys.order) >= 0))
        is_kept = keys.groups is not None or keys.order is not None
        hints += order_hints(
            target, num_classes=num_classes, is_by_order=is_by_order, is_grouped=is_kept
        )
    if not is_classes:
        hints += leaks.capped_hint(y[0][:, 0], name)
    return hints


def _describe(
    spec: DataSpec, fold: _Fold, *, name: str, y: tuple[Array, ...], first: Dataset | None
) -> dict[str, Any]:
    of_folds: dict[str, Any] = {}
    if spec.split.folds is not None:
        of_folds = {"folds": {"folds": spec.split.folds, "repeats": spec.split.repeats}}
    if first is not None:
        sizes = {part: len(values) for part, values in zip(PARTS, y, strict=True)}
        return {**first.summary, "parts": sizes, **of_folds}
    features, inputs = fold.loaded.features, fold.inputs
    columns, num_columns = summary.describe_columns(fold.loaded, fold.parts.train)
    of_sequences = {}
    if isinstance(features, Sequences):
        of_sequences = describe_lengths(features, num_tokens=len(inputs.record.alphabet))
    described = summary.describe(
        fold.coded.task,
        source=fold.loaded.label,
        name=name,
        classes=fold.coded.classes.names,
        y=y,
        form=inputs.record.form,
        info=inputs.input,
        columns=columns,
        num_columns=num_columns,
        hints=_hints(fold, name=name, y=y),
    )
    return {**described, **of_sequences, **of_folds}
