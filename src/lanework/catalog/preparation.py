"""Catalogue rows of what is done to numbers and categories before they enter."""

from __future__ import annotations

from lanework.catalog.types import Entry

__all__ = ["ENCODINGS", "PREPARATIONS"]

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
