"""Catalogue rows of what keeps training in bounds: clipping, penalties, noise, averages of weights."""

from __future__ import annotations

from lanework.catalog.types import Entry, Hyper

__all__ = ["AVERAGES", "CLIPS", "PENALTIES"]


CLIPS = (
    Entry(
        "clip",
        "global_norm",
        "Scales the whole gradient down to a threshold when its norm is above it.",
        "g = g min(1, c / ||g||_2)",
        "Pascanu, Mikolov and Bengio 2013, https://arxiv.org/abs/1211.5063",
        (
            Hyper(
                "clip_norm",
                "float",
                1.0,
                "c, the threshold",
                low=0.0,
                low_open=True,
                traced=True,
                log=True,
            ),
        ),
        notes="In a study file: train: {clip_norm: 1.0}; leave it out for no clipping.",
    ),
)


def _strength(name: str, summary: str) -> tuple[Hyper, ...]:
    return (Hyper(name, "float", 0.0, summary, low=0.0, traced=True, log=True),)


_EXEMPT = "Biases and the parameters of normalisation layers are exempt."

PENALTIES = (
    Entry(
        "penalty",
        "l2",
        "Squared weights in the loss.",
        "loss += l2 / 2 sum w^2",
        "Hoerl and Kennard 1970; Krogh and Hertz 1992",
        _strength("l2", "strength"),
        notes=_EXEMPT,
    ),
    Entry(
        "penalty",
        "l1",
        "Absolute weights in the loss; drives weights towards zero.",
        "loss += l1 sum |w|",
        "Tibshirani 1996",
        _strength("l1", "strength"),
        notes=_EXEMPT,
    ),
    Entry(
        "penalty",
        "weight_decay",
        "Each step shrinks the weights, whatever the update rule.",
        "x -= a w x",
        "Hanson and Pratt 1988; Loshchilov and Hutter 2017",
        _strength("weight_decay", "w, times the learning rate"),
        notes=_EXEMPT + " The rule adamw has a weight_decay of its own; give one of the two.",
    ),
    Entry(
        "penalty",
        "label_smoothing",
        "Moves a share of each label to all classes evenly.",
        "y = (1-s) onehot(y) + s / C",
        "Szegedy et al. 2015, https://arxiv.org/abs/1512.00567",
        (
            Hyper(
                "label_smoothing",
                "float",
                0.0,
                "s, the share of the label that is spread evenly",
                low=0.0,
                high=1.0,
                high_open=True,
                traced=True,
            ),
        ),
    ),
)

AVERAGES: tuple[Entry, ...] = ()
