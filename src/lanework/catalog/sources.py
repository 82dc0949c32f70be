"""Catalogue rows of data sets known by name."""

from __future__ import annotations

from lanework.catalog.types import Entry, Hyper

__all__ = ["SOURCES"]

_NAMED = (
    Entry(
        "source",
        "digits",
        "1 797 images of handwritten digits, 8x8 grey levels, 10 classes.",
        "x: 64 numbers, y: 10 classes",
        "Alpaydin and Kaynak 1998; bundled with scikit-learn",
        facts={"task": "classification"},
    ),
    Entry(
        "source",
        "breast_cancer",
        "569 tumours, 30 measurements, malignant or benign.",
        "x: 30 numbers, y: 2 classes",
        "Wolberg, Street and Mangasarian 1995; bundled with scikit-learn",
        facts={"task": "classification"},
    ),
    Entry(
        "source",
        "wine",
        "178 wines, 13 chemical measurements, 3 growers.",
        "x: 13 numbers, y: 3 classes",
        "Aeberhard and Forina 1991; bundled with scikit-learn",
        facts={"task": "classification"},
    ),
    Entry(
        "source",
        "iris",
        "150 flowers, 4 lengths, 3 species.",
        "x: 4 numbers, y: 3 classes",
        "Fisher 1936; bundled with scikit-learn",
        facts={"task": "classification"},
    ),
    Entry(
        "source",
        "diabetes",
        "442 patients, 10 measurements, progress of the disease after one year.",
        "x: 10 numbers, y: one number",
        "Efron, Hastie, Johnstone and Tibshirani 2004; bundled with scikit-learn",
        facts={"task": "regression"},
    ),
    Entry(
        "source",
        "fashion-mnist",
        "70 000 images of clothes, 28x28 grey levels, 10 classes; own test file.",
        "x: 28 x 28 x 1 bytes, y: 10 classes",
        "Xiao, Rasul and Vollgraf 2017, https://arxiv.org/abs/1708.07747",
        notes="Looked for in the data folder first, then downloaded with a checksum.",
        facts={"task": "classification"},
    ),
)


def _points(name: str, summary: str, *, formula: str) -> Entry:
    source = "the usual ones to look at; drawn by Lanework with a fixed seed"
    return Entry("source", name, summary, formula, source, facts={"task": "classification"})


def _samples() -> Hyper:
    return Hyper("samples", "int", 2000, "sequences that are drawn", low=10, high=1_000_000)


SOURCES = (
    *_NAMED,
    _points(
        "xor",
        "1 000 points in the plane, 2 classes by the sign of x1 times x2: no line parts them.",
        formula="y = [x1 > 0] != [x2 > 0]",
    ),
    _points(
        "moons",
        "1 000 points in the plane, 2 interleaved half circles.",
        formula="(cos t, sin t) and (1 - cos t, 1/2 - sin t), plus noise",
    ),
    _points(
        "circles",
        "1 000 points in the plane, 2 classes, one circle inside the other.",
        formula="r (cos t, sin t) with r = 1 and 1/2, plus noise",
    ),
    _points(
        "spirals",
        "1 000 points in the plane, 3 intertwined spiral arms.",
        formula="r (cos t, sin t) with t = 4.5 r + 2 pi y / 3, plus noise",
    ),
    _points(
        "blobs",
        "1 000 points in the plane, 4 round clouds that overlap a little.",
        formula="N((+-1, +-1), 0.35^2)",
    ),
    Entry(
        "source",
        "copy",
        "Symbols to be told again after a long wait: what a recurrent network remembers.",
        "x: span symbols, length - 1 blanks, a mark, span blanks; y: the symbols, at the last span steps",
        "Hochreiter and Schmidhuber 1997; Arjovsky, Shah and Bengio 2016, "
        "https://arxiv.org/abs/1511.06464, section 5.1",
        (
            Hyper(
                "length", "int", 50, "steps from the last symbol to the mark", low=1, high=10_000
            ),
            Hyper("span", "int", 5, "symbols to remember", low=1, high=1000),
            Hyper("symbols", "int", 8, "different symbols", low=2, high=1000),
            _samples(),
        ),
        notes="The blanks have no target here: only what must be remembered counts, so guessing "
        "reaches 1 / symbols. Options stand under data.options.",
        facts={"task": "classification", "targets": "stepwise"},
    ),
    Entry(
        "source",
        "adding",
        "Add the two marked numbers of a long sequence.",
        "x: (uniform number, mark) by step; y: sum of the two marked numbers",
        "Hochreiter and Schmidhuber 1997; Arjovsky, Shah and Bengio 2016, "
        "https://arxiv.org/abs/1511.06464, section 5.2",
        (
            Hyper("length", "int", 50, "steps of a sequence", low=2, high=10_000),
            _samples(),
        ),
        notes="Always saying 1 has a mean squared error of 1/6 (rmse 0.408). Options stand under "
        "data.options.",
        facts={"task": "regression"},
    ),
)
