"""What enters the network, to look at: `lanework look STUDY`.

Owns the drawing of real batches of a study and their samples before and after augmentation. Takes order, keys and augmentation
from the same functions as training; writes the page and the picture of `lanework.report.look_page`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from lanework import data as data_package
from lanework import spec as specs
from lanework.catalog import nearest
from lanework.data import Dataset, sampling
from lanework.errors import Problem, SpecError, StoreError
from lanework.report.look_page import Cell, Group, Sheet, page, picture
from lanework.spec import Arm, RunConfig, StudySpec

__all__ = ["Looked", "gather", "look"]

MAX_EPOCHS = 12


class Looked(NamedTuple):
    """What was written: a few lines for a terminal, a page and a picture."""

    summary: str
    page: Path
    picture: Path


class _Drawn(NamedTuple):
    """One sample as it enters: input, classes with shares or target numbers."""

    x: np.ndarray
    label: str


def look(
    study: str | Path,
    *,
    arms: Sequence[str] = (),
    epochs: Sequence[int] = (1, 2, 3),
    count: int = 8,
    seed: int | None = None,
    folder: str | Path | None = None,
) -> Looked:
    """Write a contact sheet of exactly the tensors that enter the network.

    Args:
        study: The study file.
        arms: Names of recipes; all when empty. Recipes to which the same samples enter are shown together.
        epochs: Epochs to look at, counted from 1.
        count: How many samples.
        seed: Seed of the runs; the first of the study when not given.
        folder: Where; `runs/NAME-look` by default.

    Returns:
        What was written.

    Raises:
        SpecError: The study is wrong, or has no such recipe or epoch.
        DataError: The data cannot be used.
        StoreError: The folder cannot be written.
    """
    from lanework.api.study import Study

    spec = Study.from_file(study).spec
    sheet = gather(spec, arms=arms, epochs=epochs, count=count, seed=seed)
    target = Path(folder) if folder else Path("runs") / f"{spec.study}-look"
    paths = (target / "look.html", target / "look.png")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for path, content in zip(paths, (page(sheet).encode(), picture(sheet)), strict=True):
            beside = path.with_name(f".{path.name}.tmp")
            beside.write_bytes(content)
            os.replace(beside, path)
    except OSError as error:
        text = f"{target}: must be a folder that can be written, got: {error.strerror}. Give another with --out."
        raise StoreError(text) from None
    return Looked(sheet.summary(), *paths)


def gather(
    spec: StudySpec,
    *,
    arms: Sequence[str] = (),
    epochs: Sequence[int] = (1, 2, 3),
    count: int = 8,
    seed: int | None = None,
) -> Sheet:
    """What `look` shows, as plain values; see there for arguments and errors."""
    if specs.may_have_auto(spec):
        from lanework.api import rates

        spec = rates.stand_in(spec)
    first = data_package.load(spec.data)
    spec = specs.resolve(spec, task=first.task)
    chosen = _chosen(specs.expand(spec), arms)
    _check_epochs(epochs, chosen)
    datasets = {spec.data.model_dump_json(): first}
    seen: dict[str, tuple[Arm, list[str]]] = {}
    for arm in chosen:
        seen.setdefault(_entering(arm.config), (arm, []))[1].append(arm.name)
    groups = []
    number = spec.seeds[0] if seed is None else seed
    for arm, names in seen.values():
        key = arm.config.data.model_dump_json()
        if key not in datasets:
            datasets[key] = data_package.load(arm.config.data)
        groups.append(
            _group(arm.config, datasets[key], names, epochs=epochs, count=count, seed=number)
        )
    return Sheet(study=spec.study, seed=number, groups=tuple(groups))


def _entering(config: RunConfig) -> str:
    """Everything that what enters depends on."""
    train = config.train
    parts = (train.augment, train.input_noise, train.batch_size, train.sampling)
    return f"{config.data.model_dump_json()} {parts!r}"


def _chosen(arms: Sequence[Arm], names: Sequence[str]) -> list[Arm]:
    known = {arm.name: arm for arm in arms}
    lacking = [name for name in names if name not in known]
    if lacking:
        close = nearest(lacking[0], known) or tuple(known)[:5]
        text = f"must be the name of a recipe of the study, got {lacking[0]!r}. Use for example {' or '.join(map(repr, close))}."
        raise SpecError([Problem("--arm", text)])
    return [known[name] for name in names] if names else list(arms)


def _check_epochs(epochs: Sequence[int], arms: Sequence[Arm]) -> None:
    most = min(arm.config.train.epochs for arm in arms)
    wrong = [epoch for epoch in epochs if epoch < 1]
    if wrong or not epochs or len(epochs) > MAX_EPOCHS:
        text = f"must be 1 to {MAX_EPOCHS} whole numbers >= 1, got {list(epochs)}. Use for example 1,2,3."
        raise SpecError([Problem("--epochs", text)])
    if min(epochs) > most:
        text = (
            f"must lie within the training of {most} epochs, got {list(epochs)}. Use 1 to {most}."
        )
        raise SpecError([Problem("--epochs", text)])


def _group(
    config: RunConfig,
    dataset: Dataset,
    names: list[str],
    *,
    epochs: Sequence[int],
    count: int,
    seed: int,
) -> Group:
    """The first samples of the first batch, followed through the epochs."""
    from lanework.cohort import assemble

    train = config.train
    epochs = [epoch for epoch in epochs if epoch <= train.epochs]
    num = len(dataset.train)
    size = num if train.batch_size == "all" else min(int(train.batch_size), num)
    steps = assemble.steps_per_epoch(train, num)
    order = {
        epoch: _order(config, dataset, size, steps, epoch=epoch, seed=seed) for epoch in epochs
    }
    first = order[epochs[0]][0]
    rows = [int(row) for row in dict.fromkeys(np.where(first < 0, ~first, first).tolist())][:count]
    draw = _Drawer(config, dataset, steps, seed=seed)
    before = draw.plain(np.array(rows))
    columns: list[tuple[str, list[_Drawn | None]]] = [
        ("as it is", [_Drawn(x, _label(dataset, y)) for x, y in zip(*before, strict=True)])
    ]
    is_changed = bool(train.augment) or train.input_noise > 0
    for epoch in epochs if is_changed else ():
        entered = draw.epoch(rows, order[epoch], epoch)
        columns.append((f"epoch {epoch}", [entered.get(row) for row in rows]))
    return _shown(config, dataset, names, rows, columns)


def _order(
    config: RunConfig, dataset: Dataset, size: int, steps: int, *, epoch: int, seed: int
) -> np.ndarray:
    """Sample numbers of the batches of one epoch, int32 [step, batch], as in training."""
    name, num = config.train.sampling.name, len(dataset.train)
    first = (epoch - 1) * steps
    if name in sampling.EPOCHS:
        order = sampling.EPOCHS[name](dataset.train.y, size, seed=seed)
        return np.asarray(sampling.indices(order, first_step=first, num_steps=steps))
    if name == "hard":
        # What is hard is known after the first epoch only; until then all samples are alike.
        drawn = sampling.hard_batches(
            np.full(num, np.nan), size, seed=seed, first_step=first, num_steps=steps
        )
        return np.asarray(drawn.index)
    order = sampling.PLAIN_EPOCHS[name](num, size, seed=seed)
    return np.asarray(sampling.indices(order, first_step=first, num_steps=steps))


class _Drawer:
    """Samples of a study as they enter the network; compiles what the loss compiles, once."""

    def __init__(self, config: RunConfig, dataset: Dataset, steps: int, *, seed: int) -> None:
        import jax

        from lanework.cohort import assemble, entering

        self._prepare = assemble.input_scaling(dataset)
        enter = entering.entering(config.train, dataset, prepare=self._prepare)
        # The keys of `fresh_lane`: those of the steps are the second kind.
        self._lane_key = jax.random.key_data(jax.random.fold_in(jax.random.key(np.uint32(seed)), 1))
        self._hypers: dict[str, Any] = {
            name: np.float32(value)
            for name, value in specs.traced_values(config).items()
            if value > 0 or name not in specs.ZERO_IS_OFF
        }
        self._enter = jax.jit(lambda batch, key: enter(batch, key, self._hypers))
        self._dataset, self._steps = dataset, steps

    def plain(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets without augmentation."""
        part = self._dataset.train
        return np.asarray(self._prepare(np.asarray(part.x[rows]))), np.asarray(part.y[rows])

    def epoch(self, rows: Sequence[int], order: np.ndarray, epoch: int) -> dict[int, _Drawn]:
        """Each of the rows as it enters in an epoch, from the batch in which it stands."""
        import jax

        from lanework.cohort.step import sample_keys

        found: dict[int, _Drawn] = {}
        for place, index in enumerate(order):
            numbers = np.where(index < 0, ~index, index)
            here = [row for row in rows if row not in found and row in index]
            if not here:
                continue
            step = (epoch - 1) * self._steps + place
            lane = SimpleNamespace(key=self._lane_key, step=np.int32(step))
            keys = sample_keys(lane, numbers, steps_per_epoch=self._steps)  # type: ignore[arg-type]
            part = self._dataset.train
            batch = {"x": part.x[numbers], "y": part.y[numbers], "key": keys}
            key = jax.random.fold_in(jax.random.wrap_key_data(self._lane_key), step)
            samples = jax.tree.map(np.asarray, self._enter(batch, key))
            for row in here:
                at = int(np.flatnonzero(index == row)[0])
                found[row] = _Drawn(samples.x[at], self._label(samples, at))
        return found

    def _label(self, samples: Any, at: int) -> str:
        own = _label(self._dataset, samples.y[at])
        if samples.other is None or samples.share[at] > 0.995:
            return own
        other, share = _label(self._dataset, samples.other[at]), float(samples.share[at])
        return own if own == other else f"{share:.2f} {own} + {1 - share:.2f} {other}"


def _label(dataset: Dataset, y: np.ndarray) -> str:
    """The target of a sample in words."""
    if dataset.task == "classification":
        if np.ndim(y):
            return ""  # a class for each step: the steps are the text itself
        return dataset.classes[int(y)]
    values = np.ravel(dataset.preparation.unscale(np.asarray(y, float)))
    return ", ".join(f"{value:.4g}" for value in values[:3])


def _shown(
    config: RunConfig,
    dataset: Dataset,
    names: list[str],
    rows: list[int],
    columns: list[tuple[str, list[_Drawn | None]]],
) -> Group:
    """Inputs as something to look at."""
    from lanework.cohort import entering

    kind = dataset.input.kind
    is_image = kind == "image" or bool(dataset.input.grid)
    probe = (
        entering.as_pixels(dataset, np.asarray(dataset.train.x[:1], np.float32))
        if is_image
        else None
    )
    undone = "image" if probe is not None else kind

    def cell(drawn: _Drawn | None) -> Cell:
        if drawn is None:
            return Cell(label="not drawn in this epoch")
        pixels = entering.as_pixels(dataset, drawn.x[None]) if probe is not None else None
        if pixels is not None:
            images, low, high = pixels
            shares = (images[0] - low) / max(high - low, 1e-12)
            shown = np.clip(np.round(255 * shares), 0, 255).astype(np.uint8)
            return Cell(label=drawn.label, pixels=shown, moments=_moments(drawn.x))
        if kind == "tokens":
            return Cell(label=drawn.label, text=_text(dataset, drawn.x))
        return Cell(label=drawn.label, values=np.asarray(drawn.x, float), moments=_moments(drawn.x))

    augmented = [specs.Choice.model_dump(choice) for choice in config.train.augment]
    return Group(
        arms=tuple(names),
        kind=undone,
        rows=tuple(rows),
        columns=tuple(title for title, _ in columns),
        cells=tuple(
            tuple(cell(drawn[place]) for _, drawn in columns) for place in range(len(rows))
        ),
        names=_names(dataset),
        augmented=tuple(_said(choice) for choice in augmented),
        shape=tuple(int(size) for size in dataset.input.shape),
        source=str(dataset.summary.get("source", "")),
        input_noise=float(config.train.input_noise),
    )


def _said(choice: Mapping[str, Any]) -> str:
    options = ", ".join(f"{key} {value}" for key, value in choice["options"].items())
    return f"{choice['name']} ({options})" if options else str(choice["name"])


def _moments(x: np.ndarray) -> tuple[float, float, float, float]:
    """Mean, standard deviation, least and largest value, gaps left out."""
    known = np.asarray(x, float)
    known = known[np.isfinite(known)]
    if not len(known):
        return (np.nan,) * 4
    return float(known.mean()), float(known.std()), float(known.min()), float(known.max())


def _text(dataset: Dataset, codes: np.ndarray) -> str:
    """Tokens as text."""
    alphabet = dataset.preparation.alphabet
    known = [int(code) for code in codes if code >= 0]
    parts = [
        alphabet[code] if code < len(alphabet) else "\N{REPLACEMENT CHARACTER}" for code in known
    ]
    sign = " " if dataset.preparation.form in ("words", "codes") else ""
    return sign.join(parts)


def _names(dataset: Dataset) -> tuple[str, ...]:
    """Names of the entries of a flat input, as far as the preparation tells them."""
    record = dataset.preparation
    if len(dataset.input.shape) != 1:
        return ()
    width = int(dataset.input.shape[0])
    named = [rule.name for rule in record.numbers] if not record.blocks else []
    for rule in record.levels:
        if record.encoding == "embed":
            named.append(f"{rule.name} (code)")
            continue
        own = [f"{rule.name} = other"] * rule.width
        for level, place in zip(rule.levels, rule.outputs, strict=True):
            shared = rule.outputs.count(place) > 1
            if 0 <= place < rule.width and not shared:
                own[place] = f"{rule.name} = {level}"
        named += own
    return tuple(named) if len(named) == width else tuple(f"input {i + 1}" for i in range(width))
