"""Data sets that need no file of the user: scikit-learn's, and generated ones in the plane.

scikit-learn's sets are read from the files inside the installed package without importing it
(that would take a second); numpy only.
"""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from lanework.data.messages import bad
from lanework.data.types import Array, Column, Loaded

__all__ = ["BUNDLED", "GENERATED"]

_FLOWERS = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")
_WINES = (
    *("alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols"),
    *("flavanoids", "nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue"),
    *("od280/od315_of_diluted_wines", "proline"),
)
_PATIENTS = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
_NUCLEUS = (
    *("radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity"),
    *("concave points", "symmetry", "fractal dimension"),
)
_TUMOURS = (
    *(f"mean {name}" for name in _NUCLEUS),
    *(f"{name} error" for name in _NUCLEUS),
    *(f"worst {name}" for name in _NUCLEUS),
)
_NUM_POINTS = 1000


def _digits() -> Loaded:
    table = _numbers("digits.csv.gz")
    return Loaded(
        features=table[:, :-1],
        target=Column("digit", "numeric", table[:, -1], cell_kind="int"),
        label="digits (scikit-learn)",
        task="classification",
        names=tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8)),
        grid=(8, 8, 1),
    )


def _classified(file: str, label: str, target: str, *, names: tuple[str, ...]) -> Loaded:
    """A set whose first line holds its size and the names of its classes."""
    table = _numbers(file, skip_lines=1)
    with _bundled_file(file).open(encoding="utf-8") as stream:
        class_names = tuple(stream.readline().strip().split(",")[2:])
    return Loaded(
        features=table[:, :-1],
        target=Column(target, "numeric", table[:, -1]),
        label=f"{label} (scikit-learn)",
        task="classification",
        names=names,
        class_names=class_names,
    )


def _breast_cancer() -> Loaded:
    return _classified("breast_cancer.csv", "breast_cancer", "diagnosis", names=_TUMOURS)


def _wine() -> Loaded:
    return _classified("wine_data.csv", "wine", "cultivar", names=_WINES)


def _iris() -> Loaded:
    return _classified("iris.csv", "iris", "species", names=_FLOWERS)


def _diabetes() -> Loaded:
    target = _numbers("diabetes_target.csv.gz", delimiter=None)[:, 0]
    return Loaded(
        features=_numbers("diabetes_data_raw.csv.gz", delimiter=None),
        target=Column("disease progression", "numeric", target),
        label="diabetes (scikit-learn)",
        task="regression",
        names=_PATIENTS,
    )


BUNDLED: Mapping[str, Callable[[], Loaded]] = MappingProxyType(
    {
        "digits": _digits,
        "breast_cancer": _breast_cancer,
        "wine": _wine,
        "iris": _iris,
        "diabetes": _diabetes,
    }
)
"""scikit-learn's bundled sets by name."""


def _xor(generator: np.random.Generator) -> tuple[Array, Array]:
    points = generator.uniform(-1.0, 1.0, (_NUM_POINTS, 2))
    labels = (points[:, 0] > 0) != (points[:, 1] > 0)
    return points + generator.normal(0.0, 0.05, points.shape), labels


def _moons(generator: np.random.Generator) -> tuple[Array, Array]:
    labels = np.arange(_NUM_POINTS) % 2
    angle = generator.uniform(0.0, np.pi, _NUM_POINTS)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1.0 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    points = np.where(labels[:, None] == 0, upper, lower)
    return points + generator.normal(0.0, 0.15, points.shape), labels


def _circles(generator: np.random.Generator) -> tuple[Array, Array]:
    labels = np.arange(_NUM_POINTS) % 2
    angle = generator.uniform(0.0, 2.0 * np.pi, _NUM_POINTS)
    radius = np.where(labels == 0, 1.0, 0.5)[:, None]
    points = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return points + generator.normal(0.0, 0.08, points.shape), labels


def _spirals(generator: np.random.Generator) -> tuple[Array, Array]:
    labels = np.arange(_NUM_POINTS) % 3
    radius = np.sqrt(generator.uniform(0.01, 1.0, _NUM_POINTS))
    angle = 4.5 * radius + labels * (2.0 * np.pi / 3.0)
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return points + generator.normal(0.0, 0.03, points.shape), labels


def _blobs(generator: np.random.Generator) -> tuple[Array, Array]:
    labels = np.arange(_NUM_POINTS) % 4
    centres = np.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    return centres[labels] + generator.normal(0.0, 0.35, (_NUM_POINTS, 2)), labels


_DRAW: Mapping[str, Callable[[np.random.Generator], tuple[Array, Array]]] = MappingProxyType(
    {"xor": _xor, "moons": _moons, "circles": _circles, "spirals": _spirals, "blobs": _blobs}
)


def _generated(name: str) -> Callable[[], Loaded]:
    def make() -> Loaded:
        points, labels = _DRAW[name](np.random.Generator(np.random.PCG64(20)))
        return Loaded(
            features=points,
            target=Column("class", "numeric", labels.astype(float), cell_kind="int"),
            label=f"{name} (generated)",
            task="classification",
            names=("x1", "x2"),
            decisions=(f"{_NUM_POINTS} points drawn with a fixed seed.",),
        )

    return make


GENERATED: Mapping[str, Callable[[], Loaded]] = MappingProxyType(
    {name: _generated(name) for name in _DRAW}
)
"""Two-dimensional sets to look at, by name; the same points every time."""


def _numbers(file: str, *, skip_lines: int = 0, delimiter: str | None = ",") -> Array:
    """A numeric table out of the installed scikit-learn, float64 [n, columns]."""
    path = _bundled_file(file)
    data = path.read_bytes()
    lines = (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines()
    return np.loadtxt(lines[skip_lines:], delimiter=delimiter, ndmin=2)


def _bundled_file(file: str) -> Path:
    found = importlib.util.find_spec("sklearn")
    folders = list(found.submodule_search_locations or []) if found else []
    for folder in folders:
        path = Path(folder) / "datasets" / "data" / file
        if path.is_file():
            return path
    raise bad(
        "data.source",
        "needs scikit-learn, which brings this data set",
        got=f"no {file} in an installed scikit-learn",
        do="Install scikit-learn again: pip install --force-reinstall scikit-learn.",
    )
