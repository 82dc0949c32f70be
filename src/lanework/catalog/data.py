"""Catalogue rows of the data: sources, preparation, encoding of categories, metrics."""

from __future__ import annotations

from lanework.catalog.types import Entry

__all__ = ["ENCODINGS", "METRICS", "PREPARATIONS", "SOURCES"]

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
)

PREPARATIONS = (
    Entry(
        "preparation",
        "standard",
        "Centre and scale to unit variance, per column (per channel for images).",
        "(x - mean_train) / std_train",
        "LeCun et al. 1998, Efficient backprop",
    ),
    Entry(
        "preparation",
        "minmax",
        "Scale to [0, 1], per column.",
        "(x - min_train) / (max_train - min_train)",
        "scikit-learn, MinMaxScaler",
    ),
    Entry(
        "preparation",
        "none",
        "Numbers enter as they are; missing ones are still filled in.",
        "x",
        "the baseline",
    ),
)

ENCODINGS = (
    Entry(
        "encoding",
        "onehot",
        "One input per level; unknown levels are all zeros.",
        "e_level",
        "scikit-learn, OneHotEncoder",
    ),
    Entry(
        "encoding",
        "embed",
        "A learned vector per level.",
        "E[level]",
        "Guo and Berkhahn 2016, https://arxiv.org/abs/1604.06737",
    ),
)

METRICS = (
    Entry(
        "metric",
        "loss",
        "Mean loss over the samples, without penalties.",
        "mean_i loss_i",
        "empirical risk",
        facts={"task": "any", "direction": "min"},
    ),
    Entry(
        "metric",
        "accuracy",
        "Share of samples whose largest output is the right class.",
        "mean_i [argmax f_i = y_i]",
        "the usual one",
        facts={"task": "classification", "direction": "max"},
    ),
    Entry(
        "metric",
        "rmse",
        "Root of the mean squared error, in the target's unit.",
        "sqrt(mean_i (f_i - y_i)^2)",
        "the usual one",
        facts={"task": "regression", "direction": "min"},
    ),
    Entry(
        "metric",
        "mae",
        "Mean absolute error, in the target's unit.",
        "mean_i |f_i - y_i|",
        "the usual one",
        facts={"task": "regression", "direction": "min"},
    ),
    Entry(
        "metric",
        "r2",
        "Share of the target's variance that is explained; 0 is the mean's, 1 is perfect.",
        "1 - sum (f_i - y_i)^2 / sum (y_i - mean y)^2",
        "Wright 1921",
        facts={"task": "regression", "direction": "max"},
    ),
)
