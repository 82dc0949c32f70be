"""Catalogue rows of losses."""

from __future__ import annotations

from lanework.catalog.types import Entry, Hyper

__all__ = ["LOSSES"]


LOSSES = (
    Entry(
        "loss",
        "cross_entropy",
        "Softmax cross-entropy over the classes, in nats; the default for classification.",
        "-log(softmax(f)_y), with label smoothing s: targets (1-s) onehot(y) + s/C",
        "Szegedy et al. 2015, https://arxiv.org/abs/1512.00567 (label smoothing, section 7)",
        facts={"task": "classification"},
    ),
    Entry(
        "loss",
        "binary_cross_entropy",
        "Sigmoid cross-entropy for each output apart, in nats, summed over the outputs.",
        "-sum_j (y_j log s(f_j) + (1-y_j) log(1 - s(f_j)))",
        "Goodfellow, Bengio and Courville 2016, Deep learning, section 6.2.2.2",
        facts={"task": "classification"},
    ),
    Entry(
        "loss",
        "mse",
        "Mean squared error over the outputs; the default for regression.",
        "mean_j (f_j - y_j)^2",
        "Legendre 1805; Gauss 1809",
        facts={"task": "regression"},
    ),
    Entry(
        "loss",
        "mae",
        "Mean absolute error over the outputs: fits the median, and outliers pull no harder than others.",
        "mean_j |f_j - y_j|",
        "Laplace 1774; Boscovich 1757",
        facts={"task": "regression"},
    ),
    Entry(
        "loss",
        "huber",
        "Squared near the target, absolute beyond delta: smooth, and outliers pull with a bounded force.",
        "mean_j e^2 / 2 if |e| <= delta else delta (|e| - delta / 2), e = f_j - y_j",
        "Huber 1964, Robust estimation of a location parameter",
        (
            Hyper(
                "delta",
                "float",
                1.0,
                "error from which on it grows linearly, in units of the (scaled) target",
                low=0.0,
                low_open=True,
                traced=True,
                log=True,
            ),
        ),
        facts={"task": "regression"},
    ),
    Entry(
        "loss",
        "focal",
        "Cross-entropy that turns down samples which are right already; for many easy and few hard ones.",
        "-(1 - p_y)^gamma log p_y, p = softmax(f); with one output p = s(f)",
        "Lin et al. 2017, https://arxiv.org/abs/1708.02002; their alpha is train.class_weights here",
        (
            Hyper(
                "gamma",
                "float",
                2.0,
                "how much easy samples are turned down; 0 is cross-entropy",
                low=0.0,
                high=10.0,
                traced=True,
            ),
        ),
        facts={"task": "classification"},
    ),
    Entry(
        "loss",
        "hinge",
        "Multiclass hinge: every wrong class must stay a margin below the right one.",
        "sum_{j != y} max(0, f_j - f_y + margin)",
        "Weston and Watkins 1999; CS231n notes, Linear classification",
        (
            Hyper(
                "margin",
                "float",
                1.0,
                "how far below the right class a wrong one must stay",
                low=0.0,
                low_open=True,
                traced=True,
            ),
        ),
        facts={"task": "classification"},
    ),
)
