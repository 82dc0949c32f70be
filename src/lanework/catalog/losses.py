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
