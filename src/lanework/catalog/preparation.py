"""Catalogue rows of what is done to numbers, categories and dates before they enter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lanework.catalog.types import Entry, Hyper

__all__ = [
    "DATE_PARTS",
    "ENCODINGS",
    "PREPARATIONS",
    "Chosen",
    "chosen_steps",
    "order_problem",
]

Chosen = tuple[str, Mapping[str, Any]]
"""Name and options of a step of preparation."""

_SKLEARN = "scikit-learn"

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
        "centre",
        "Subtract the mean, per column (per channel for images); the unit stays.",
        "x - mean_train",
        "LeCun et al. 1998, Efficient backprop",
    ),
    Entry(
        "preparation",
        "minmax",
        "Scale to [0, 1], per column.",
        "(x - min_train) / (max_train - min_train)",
        f"{_SKLEARN}, MinMaxScaler",
    ),
    Entry(
        "preparation",
        "robust",
        "Centre on the median and scale by a range of quantiles, so that a few outliers count little.",
        "(x - median_train) / (q_high - q_low)",
        f"{_SKLEARN}, RobustScaler",
        (
            Hyper("low", "float", 0.25, "lower quantile of the range", low=0.0, high=1.0),
            Hyper("high", "float", 0.75, "upper quantile of the range", low=0.0, high=1.0),
        ),
        ascending=(("low", "high"),),
    ),
    Entry(
        "preparation",
        "quantile",
        "Map each column to a fixed distribution by its ranks: keeps the order, forgets the distances.",
        "F^-1(rank_train(x)), F uniform or normal",
        f"{_SKLEARN}, QuantileTransformer",
        (
            Hyper("output", "choice", "normal", "the distribution", choices=("normal", "uniform")),
            Hyper("quantiles", "int", 1000, "most landmarks that are learned", low=2, high=100_000),
        ),
        notes="The normal distribution is cut at +-5.2.",
    ),
    Entry(
        "preparation",
        "log1p",
        "Take the logarithm of columns with a long tail to the right; the others stay.",
        "log(1 + x) where no training value is negative and the skewness is above min_skew",
        "Tukey 1977, Exploratory Data Analysis",
        (Hyper("min_skew", "float", 1.0, "least skewness (third standardised moment)", low=0.0),),
        notes="Values below 0 that come later are mirrored: -log(1 - x).",
    ),
    Entry(
        "preparation",
        "clip",
        "Pull outliers in to quantiles of the training part.",
        "min(max(x, q_low), q_high)",
        "Tukey 1962, The future of data analysis (winsorising)",
        (
            Hyper("low", "float", 0.01, "lower quantile", low=0.0, high=1.0),
            Hyper("high", "float", 0.99, "upper quantile", low=0.0, high=1.0),
        ),
        ascending=(("low", "high"),),
    ),
    Entry(
        "preparation",
        "impute",
        "Fill in missing numbers; where no step does, they get the median first of all.",
        "x, or the mean, median or a constant where it is missing",
        f"{_SKLEARN}, SimpleImputer and MissingIndicator",
        (
            Hyper(
                *("strategy", "choice", "median", "what is filled in"),
                choices=("mean", "median", "constant"),
            ),
            Hyper("value", "float", 0.0, "the constant"),
            Hyper(
                *("indicator", "bool", False),
                "add a column of 0 and 1 for each column with gaps in the training part",
            ),
        ),
    ),
    Entry(
        "preparation",
        "pca",
        "Turn the axes to the directions of largest variance, keep the first ones, and (whiten) give each unit variance.",
        "(x - mean) V diag(1 / sqrt(l)), l and V from the covariance of the training part",
        f"Hotelling 1933; {_SKLEARN}, PCA",
        (
            Hyper("components", "int", None, "directions to keep; not set: by share", low=1),
            Hyper(
                *("share", "float", None, "least share of the variance to keep; not set: all"),
                low=0.0,
                high=1.0,
                low_open=True,
                high_open=True,
            ),
            Hyper("whiten", "bool", True, "scale each direction to unit variance"),
        ),
        notes="Directions without variance are left out.",
    ),
    Entry(
        "preparation",
        "zca",
        "Whiten, then turn back: uncorrelated columns that stay as near as possible to the old ones.",
        "(x - mean) V diag(1 / sqrt(l + eps)) V^T",
        "Bell and Sejnowski 1997; Krizhevsky 2009",
        (
            Hyper(
                *(
                    "eps",
                    "float",
                    1e-5,
                    "added to the variances, in the unit of the columns squared",
                ),
                low=0.0,
                low_open=True,
            ),
        ),
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
        f"{_SKLEARN}, OneHotEncoder",
    ),
    Entry(
        "encoding",
        "ordinal",
        "The place of the level in sorted order as one number, prepared like any number.",
        "0, 1, 2, ...; missing and unknown levels are filled in like missing numbers",
        f"{_SKLEARN}, OrdinalEncoder",
        notes="Suits levels with an order, such as '1 small', '2 medium', '3 large'.",
    ),
    Entry(
        "encoding",
        "embed",
        "A learned vector per level.",
        "E[level]",
        "Guo and Berkhahn 2016, https://arxiv.org/abs/1604.06737",
    ),
)

_CALENDAR = "proleptic Gregorian calendar, times as written (no time zone)"

DATE_PARTS = (
    Entry("date_part", "days", "Days since 1970-01-01, with a fraction.", "t", _CALENDAR),
    Entry("date_part", "year", "The year as a number.", "2024", _CALENDAR),
    Entry(
        "date_part",
        "month",
        "Place in the year by month, as a point on a circle.",
        "sin(2 pi m / 12), cos(2 pi m / 12), m = 0 in January",
        _CALENDAR,
    ),
    Entry("date_part", "day", "Day of the month as a number.", "1 to 31", _CALENDAR),
    Entry(
        "date_part",
        "weekday",
        "Place in the week, as a point on a circle.",
        "sin(2 pi d / 7), cos(2 pi d / 7), d = 0 on Monday",
        _CALENDAR,
    ),
    Entry(
        "date_part",
        "hour",
        "Place in the day, minutes included, as a point on a circle.",
        "sin(2 pi h / 24), cos(2 pi h / 24)",
        _CALENDAR,
    ),
)


def chosen_steps(prepare: Any) -> tuple[Chosen, ...]:
    """The steps that ``data.prepare`` asks for: names with every option, gaps filled first of all.

    Args:
        prepare: A name, a mapping with ``name`` and options, or a list of those; checked before.

    Example:
        >>> [name for name, _ in chosen_steps(["log1p", "standard"])]
        ['impute', 'log1p', 'standard']
    """
    rows = {row.name: row for row in PREPARATIONS}
    found: list[Chosen] = []
    for item in prepare if isinstance(prepare, list | tuple) else [prepare]:
        given = {"name": item} if isinstance(item, str) else dict(item)
        row = rows[given.pop("name")]
        found.append((row.name, row.defaults() | given))
    if not any(name == "impute" for name, _ in found):
        found.insert(0, ("impute", rows["impute"].defaults()))
    return tuple(found)


def order_problem(steps: Sequence[Chosen]) -> str:
    """Why these steps cannot follow each other, as "must ..., got ...; what to do"; empty when they can."""
    names = [name for name, _ in steps]
    for turn in ("pca", "zca"):
        if turn in names and "impute" in names and names.index(turn) < names.index("impute"):
            text = f"must have impute before {turn}, which needs every number, got it after. "
            return f"{text}Put impute first."
    if "none" in names and set(names) - {"none", "impute"}:
        others = [name for name in names if name not in ("none", "impute")]
        return f"must have none alone, got {', '.join(others)} beside it. Leave none out."
    both = [dict(options) for name, options in steps if name == "pca"]
    if any(one["components"] is not None and one["share"] is not None for one in both):
        return "must say how much pca keeps once, got components and share. Remove one."
    return ""
