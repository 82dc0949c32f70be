"""Worlds of the fault zoo: data sets and networks with a recipe that trains well, drawn by seed.

Owns the generated data (tables, images, sequences, a series) and the healthy recipes, each with variants that are just as
healthy. Must not know of faults, rules or remedies.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["DATA", "VARIANTS", "WORLDS", "edited", "generator", "world", "write_data"]

Study: TypeAlias = dict[str, Any]
Edits: TypeAlias = Mapping[str, Any]
Floats: TypeAlias = NDArray[np.float64]
Random: TypeAlias = np.random.Generator

SEEDS: Final = 2
"""Runs of each study, side by side as lanes."""


def generator(seed: int, *words: str) -> Random:
    """Random numbers that depend on a seed and some words only, so that what is added to the zoo moves nothing else."""
    return np.random.default_rng([seed, *(zlib.crc32(word.encode()) for word in words)])


def edited(study: Study, edits: Edits) -> Study:
    """A study with settings changed by path (`train.learning_rate`); nothing of the old one is shared."""
    made: Study = {
        key: dict(item) if isinstance(item, dict) else item for key, item in study.items()
    }
    for path, value in edits.items():
        section, _, key = path.partition(".")
        made[section][key] = value
    return made


# ---- data --------------------------------------------------------------------------------------


def _write_table(path: Path, columns: Mapping[str, Any]) -> None:
    names = list(columns)
    rows = zip(*(columns[name] for name in names), strict=True)
    text = [",".join(names)]
    text += [",".join(v if isinstance(v, str) else f"{v:.7g}" for v in row) for row in rows]
    path.write_text("\n".join(text) + "\n", encoding="utf-8")


def _in_units(x: Floats, random: Random, *, low: float, high: float) -> Floats:
    """Columns in units and with offsets of their own, as in real tables: millimetres beside kilometres."""
    scale = 10.0 ** random.uniform(low, high, x.shape[1])
    return (x + random.uniform(-3.0, 3.0, x.shape[1])) * scale


def clouds(path: Path, random: Random, *, rows: int = 900) -> None:
    """Four classes of two Gaussian clouds each in eight dimensions, columns in units of their own: a linear map is not enough."""
    labels = random.integers(0, 4, rows)
    centres = random.normal(0.0, 1.7, (4, 2, 8))
    x = centres[labels, random.integers(0, 2, rows)] + random.normal(0.0, 1.0, (rows, 8))
    x = _in_units(x, random, low=-1.0, high=2.5)
    columns = {f"x{place}": x[:, place] for place in range(8)}
    _write_table(path, {**columns, "kind": [f"k{label}" for label in labels]})


def sorted_clouds(path: Path, random: Random) -> None:
    """The same, with the rows sorted by class, as many files are."""
    clouds(path, random)
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    ordered = sorted(rows, key=lambda row: row.rpartition(",")[2])
    path.write_text("\n".join([head, *ordered]) + "\n", encoding="utf-8")


def leaky_clouds(path: Path, random: Random) -> None:
    """The same, with a column that was filled in after the class was known."""
    clouds(path, random)
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    code = [float(row.rpartition(",")[2][1:]) for row in rows]
    told = np.asarray(code) * 10.0 + random.normal(0.0, 0.2, len(code))
    lines = [f"{value:.4g},{row}" for value, row in zip(told, rows, strict=True)]
    path.write_text("\n".join([f"charge,{head}", *lines]) + "\n", encoding="utf-8")


def twin_clouds(path: Path, random: Random) -> None:
    """The same, most rows two to five times over, as after a careless join: copies stand in training and validation."""
    clouds(path, random, rows=400)
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    copied = [row for row in rows for _ in range(int(random.integers(2, 6)))]
    order = random.permutation(len(copied))
    path.write_text("\n".join([head, *(copied[n] for n in order)]) + "\n", encoding="utf-8")


def noisy(path: Path, random: Random) -> None:
    """Two classes that overlap much, 25 columns of which four matter, few rows: easily learned by heart."""
    rows = 260
    x = random.normal(0.0, 1.0, (rows, 25))
    score = x[:, :4] @ random.uniform(0.6, 1.2, 4) + random.normal(0.0, 1.3, rows)
    columns = {f"x{place}": x[:, place] for place in range(25)}
    _write_table(path, {**columns, "kind": np.where(score > 0, "yes", "no").tolist()})


def _rare(path: Path, random: Random, *, share: float, apart: float) -> None:
    rows = 1400
    is_rare = random.random(rows) < share
    x = random.normal(0.0, 1.0, (rows, 6)) + is_rare[:, None] * apart * random.uniform(0.5, 1.0, 6)
    columns = {f"x{place}": x[:, place] for place in range(6)}
    _write_table(path, {**columns, "kind": np.where(is_rare, "fraud", "usual").tolist()})


def uneven(path: Path, random: Random) -> None:
    """Two classes, one in eight rare, well apart: imbalance that does no harm."""
    _rare(path, random, share=0.12, apart=2.2)


def rare(path: Path, random: Random) -> None:
    """Two classes, one in thirty rare, hardly apart: the rare one is easily never answered."""
    _rare(path, random, share=0.035, apart=0.75)


def surface(path: Path, random: Random, *, rows: int = 900) -> None:
    """A smooth curved function of six numbers in units of their own, plus noise; the target in units far from 1."""
    x = random.uniform(-1.5, 1.5, (rows, 6))
    y = np.sin(2.0 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.6 * x[:, 3] - 0.4 * np.abs(x[:, 4])
    y = y + random.normal(0.0, 0.25, rows)
    price = random.uniform(200.0, 600.0) + random.uniform(40.0, 120.0) * y
    table = _in_units(x, random, low=-1.0, high=2.5)
    columns = {f"x{place}": table[:, place] for place in range(6)}
    _write_table(path, {**columns, "price": price})


def leaky_surface(path: Path, random: Random) -> None:
    """The same, with a column that is the target with tax."""
    surface(path, random)
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    price = np.asarray([float(row.rpartition(",")[2]) for row in rows])
    tax = price * 1.19 + random.normal(0.0, 0.01 * price.std(), len(price))
    lines = [f"{value:.6g},{row}" for value, row in zip(tax, rows, strict=True)]
    path.write_text("\n".join([f"with_tax,{head}", *lines]) + "\n", encoding="utf-8")


def shapes(path: Path, random: Random, *, is_sorted: bool = False) -> None:
    """Grey images of 12 x 12 bytes: a cross, a frame, two bars or a diagonal, anywhere, in noise."""
    rows, size = 640, 12
    labels = random.integers(0, 4, rows)
    labels = np.sort(labels) if is_sorted else labels
    images = np.zeros((rows, size, size))
    for image, label in zip(images, labels, strict=True):
        top, left = random.integers(0, size - 6, 2)
        patch = image[top : top + 7, left : left + 7]
        patch += random.uniform(0.6, 1.0) * _stamp(int(label))
    images += random.normal(0.0, 0.16, images.shape)
    grey = np.clip(40.0 + 170.0 * images, 0.0, 255.0).astype(np.uint8)
    np.savez(path, x=grey[..., None], y=labels)


def sorted_shapes(path: Path, random: Random) -> None:
    """The same, sorted by class."""
    shapes(path, random, is_sorted=True)


def _stamp(label: int) -> Floats:
    stamp = np.zeros((7, 7))
    if label == 0:
        stamp[3, :] = stamp[:, 3] = 1.0
    elif label == 1:
        stamp[[0, -1], :] = stamp[:, [0, -1]] = 1.0
    elif label == 2:
        stamp[[1, 5], :] = 1.0
    else:
        stamp = np.eye(7)
    return stamp


def waves(path: Path, random: Random) -> None:
    """Sequences of 24 numbers: a sine, a square wave or a saw of any phase and speed, in noise."""
    rows, length = 600, 24
    labels = random.integers(0, 3, rows)
    phase = random.random((rows, 1)) + random.uniform(1.2, 2.4, (rows, 1)) * np.linspace(
        0, 1, length
    )
    angle = 2.0 * np.pi * phase
    forms = np.stack([np.sin(angle), np.sign(np.sin(angle)), 2.0 * (phase % 1.0) - 1.0])
    x = forms[labels, np.arange(rows)] + random.normal(0.0, 0.12, (rows, length))
    np.savez(path, x=50.0 + 20.0 * x[..., None], y=labels)


def series(path: Path, random: Random) -> None:
    """A time series of 800 hours: a daily cycle, a slow swing and noise that hangs together."""
    hours = np.arange(800)
    noise = np.zeros(800)
    for hour in range(1, 800):
        noise[hour] = 0.7 * noise[hour - 1] + random.normal(0.0, 0.25)
    load = 40.0 + 12.0 * (
        np.sin(2 * np.pi * hours / 24) + 0.4 * np.sin(2 * np.pi * hours / 168) + noise
    )
    _write_table(path, {"load": load})


DATA: Final[Mapping[str, Callable[[Path, Random], None]]] = {
    "clouds.csv": clouds,
    "sorted-clouds.csv": sorted_clouds,
    "leaky-clouds.csv": leaky_clouds,
    "twin-clouds.csv": twin_clouds,
    "noisy.csv": noisy,
    "uneven.csv": uneven,
    "rare.csv": rare,
    "surface.csv": surface,
    "leaky-surface.csv": leaky_surface,
    "shapes.npz": shapes,
    "sorted-shapes.npz": sorted_shapes,
    "waves.npz": waves,
    "series.csv": series,
}
"""Files that a study may name as its source, and what writes them."""
SAME_DRAW: Final = {
    "sorted-clouds.csv": "clouds.csv",
    "leaky-clouds.csv": "clouds.csv",
    "leaky-surface.csv": "surface.csv",
}
"""Files that hold the rows of another one, so that a study on it is a twin."""


def write_data(name: str, folder: Path, *, seed: int) -> None:
    """Write a generated file, where it is not there yet."""
    path = folder / name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        DATA[name](path, generator(seed, "data", SAME_DRAW.get(name, name)))


# ---- recipes that train well -------------------------------------------------------------------

_HALF: Final = {"train": 0.6, "val": 0.4, "test": 0.0}


def _near(random: Random, value: float) -> float:
    """A rate near a good one: within a factor of 1.4 on either side."""
    return float(f"{value * 1.4 ** random.uniform(-1, 1):.2g}")


def _study(source: str, data: Edits, model: Edits, train: Edits) -> Study:
    return {
        "data": {"source": source, "split": _HALF, **data},
        "model": dict(model),
        "train": dict(train),
    }


def _train(random: Random, *, epochs: int, batch_size: int, rate: float) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": "adam",
        "learning_rate": _near(random, rate),
    }


def _table(
    source: str, widths: tuple[int, ...], epochs: int, batch: int, rate: float, **data: Any
) -> Callable[[Random], Study]:
    """A data set with a multi-layer perceptron."""

    def draw(random: Random) -> Study:
        train = _train(random, epochs=epochs, batch_size=batch, rate=rate)

        return _study(source, data, {"net": "mlp", "hidden": list(widths)}, train)

    return draw


def _shapes_cnn(random: Random) -> Study:
    model = {"net": "cnn", "channels": [8, 16], "dense": [32]}
    return _study("shapes.npz", {}, model, _train(random, epochs=12, batch_size=32, rate=3e-3))


def _shapes_resnet(random: Random) -> Study:
    model = {"net": "resnet", "depth": 8, "width": 8}
    train = {
        "epochs": 12,
        "batch_size": 32,
        "optimizer": "momentum",
        "learning_rate": _near(random, 0.05),
    }
    return _study("shapes.npz", {}, model, train | {"schedule": "cosine"})


def _waves_gru(random: Random) -> Study:
    data, model = {"sequences": "numbers"}, {"net": "gru", "hidden": [24]}
    return _study("waves.npz", data, model, _train(random, epochs=20, batch_size=32, rate=8e-3))


def _series_gru(random: Random) -> Study:
    made = _study(
        "series.csv", {"target": "load", "window": 12}, {"net": "gru", "hidden": [16]}, {}
    )
    made["data"].pop("split")
    return made | {"train": _train(random, epochs=15, batch_size=32, rate=6e-3)}


WORLDS: Final[Mapping[str, Callable[[Random], Study]]] = {
    "digits": _table("digits", (48, 48), 15, 64, 3e-3),
    "cancer": _table("breast_cancer", (24,), 15, 32, 4e-3),
    "iris": _table("iris", (16,), 30, 16, 1e-2),
    "wine": _table("wine", (16,), 20, 16, 5e-3),
    "diabetes": _table("diabetes", (12,), 20, 32, 4e-3),
    "clouds": _table("clouds.csv", (48, 48), 20, 32, 3e-3, target="kind"),
    "surface": _table("surface.csv", (48, 48), 30, 32, 4e-3, target="price"),
    "noisy": _table("noisy.csv", (8,), 15, 16, 3e-3, target="kind"),
    "uneven": _table("uneven.csv", (16,), 15, 32, 4e-3, target="kind"),
    "rare": _table("rare.csv", (16,), 15, 32, 4e-3, target="kind"),
    "circles": _table("circles", (24, 24), 20, 32, 8e-3),
    "spirals": _table("spirals", (32, 32), 30, 32, 1e-2),
    "moons": _table("moons", (24, 24), 20, 32, 8e-3),
    "blobs": _table("blobs", (16,), 15, 32, 8e-3),
    "shapes": _shapes_cnn,
    "resnet": _shapes_resnet,
    "waves": _waves_gru,
    "series": _series_gru,
}  # fmt: skip
"""Name to a draw of data, network and recipe."""

_SGD: Final = {"train.optimizer": "sgd"}
_DEEP: Final = {"model.hidden": [40] * 7, "train.learning_rate": 1e-3}
VARIANTS: Final[Mapping[tuple[str, str], Edits]] = {
    ("digits", "sgd"): _SGD | {"train.learning_rate": 0.1, "train.epochs": 20},
    ("digits", "momentum"): {"train.optimizer": "momentum", "train.learning_rate": 0.03},
    ("digits", "tanh"): {"model.activation": "tanh"},
    ("digits", "dropout"): {"model.hidden": [96], "model.dropout": 0.3, "train.epochs": 20},
    ("digits", "norm"): {"model.norm": "batch", "train.epochs": 8},
    ("digits", "deep"): _DEEP | {"train.epochs": 25},
    ("digits", "short"): {"train.epochs": 6, "train.learning_rate": 6e-3},
    ("digits", "wrong-labels"): {"data.label_noise": 0.06, "train.epochs": 10},
    ("digits", "few"): {"data.limit_rows": 500, "train.batch_size": 16},
    ("digits", "decay"): {"train.weight_decay": 0.02},
    ("digits", "cosine"): {"train.schedule": "cosine", "train.learning_rate": 5e-3},
    ("digits", "patience"): {"train.early_stopping": {"patience": 8}, "train.epochs": 30},
    ("digits", "smooth"): {"train.label_smoothing": 0.1},
    ("digits", "bytes"): {"data.prepare": "minmax"},
    ("cancer", "linear"): {"model.hidden": [], "train.learning_rate": 0.02},
    ("cancer", "sgd"): _SGD | {"train.learning_rate": 0.1},
    ("cancer", "one-output"): {"train.loss": "binary_cross_entropy"},
    ("cancer", "l2"): {"train.l2": 0.02},
    ("iris", "tanh"): {"model.activation": "tanh"},
    ("wine", "robust"): {"data.prepare": "robust"},
    ("wine", "sgd"): _SGD | {"train.learning_rate": 0.1},
    ("diabetes", "linear"): {"model.hidden": [], "train.learning_rate": 0.02},
    ("diabetes", "mae"): {"train.loss": "mae"},
    ("diabetes", "sgd"): _SGD | {"train.learning_rate": 0.02},
    ("clouds", "sgd"): _SGD | {"train.learning_rate": 0.1, "train.epochs": 25},
    ("clouds", "deep"): _DEEP | {"train.epochs": 25},
    ("clouds", "norm"): {"model.norm": "batch"},
    ("clouds", "dropout"): {"model.hidden": [96], "model.dropout": 0.25},
    ("clouds", "clip"): {"train.clip_norm": 5.0},
    ("clouds", "quantile"): {"data.prepare": "quantile"},
    ("surface", "sgd"): _SGD | {"train.learning_rate": 0.05, "train.epochs": 40},
    ("surface", "tanh"): {"model.activation": "tanh"},
    ("noisy", "stopped"): {"model.hidden": [64], "train.early_stopping": {"patience": 6}, "train.epochs": 40},
    ("uneven", "weighted"): {"train.class_weights": "balanced"},
    ("shapes", "momentum"): {"train.optimizer": "momentum", "train.learning_rate": 0.02},
    ("waves", "lstm"): {"model.net": "lstm"},
    ("series", "short"): {"train.epochs": 8, "train.learning_rate": 0.012},
}  # fmt: skip
"""Other recipes for a world that are as healthy as its own."""


def world(name: str, *, seed: int, variant: str = "") -> Study:
    """The healthy study of a world, or of a variant of it."""
    study = WORLDS[name](generator(seed, "world", name))
    split = {"seed": seed} | study["data"].get("split", {})
    study["data"]["split"] = split
    study["seeds"] = SEEDS
    return edited(study, VARIANTS[name, variant]) if variant else study
