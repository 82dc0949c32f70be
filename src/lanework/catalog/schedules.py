"""Catalogue rows of schedules."""

from __future__ import annotations

from lanework.catalog.types import Entry, Hyper

__all__ = ["SCHEDULES"]


def _warmup(default: float = 0.0, *, low_open: bool = False) -> Hyper:
    return Hyper(
        "warmup_epochs",
        "float",
        default,
        "epochs (may be a fraction) over which the rate first rises linearly from 0",
        low=0.0,
        low_open=low_open,
        traced=True,
    )


def _decay_rate(default: float) -> Hyper:
    summary = "k, decay per epoch"
    return Hyper("rate", "float", default, summary, low=0.0, low_open=True, traced=True, log=True)


SCHEDULES = (
    Entry(
        "schedule",
        "constant",
        "The same rate throughout.",
        "a(t) = a0",
        "the baseline",
        (_warmup(),),
    ),
    Entry(
        "schedule",
        "step",
        "Multiplies the rate by a factor every few epochs.",
        "a(t) = a0 factor^floor(t / every)",
        "He et al. 2015, https://arxiv.org/abs/1512.03385 (section 3.4)",
        (
            Hyper(
                "every",
                "float",
                10.0,
                "epochs between drops",
                low=0.0,
                low_open=True,
                traced=True,
            ),
            Hyper(
                "factor",
                "float",
                0.5,
                "the rate is multiplied by this at each drop",
                low=0.0,
                high=1.0,
                low_open=True,
                high_open=True,
                traced=True,
            ),
            _warmup(),
        ),
    ),
    Entry(
        "schedule",
        "exponential",
        "Falls by the same share each epoch, smoothly.",
        "a(t) = a0 e^(-k t)",
        "CS231n notes, Neural networks part 3, annealing the learning rate",
        (_decay_rate(0.1), _warmup()),
    ),
    Entry(
        "schedule",
        "inverse",
        "Falls like one over time.",
        "a(t) = a0 / (1 + k t)",
        "CS231n notes, Neural networks part 3, annealing the learning rate",
        (_decay_rate(0.1), _warmup()),
    ),
    Entry(
        "schedule",
        "cosine",
        "Half a cosine from the full rate to a final share of it at the end of training.",
        "a(t) = a0 (f + (1-f) (1 + cos(pi t / T)) / 2)",
        "Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983",
        (
            Hyper(
                "final",
                "float",
                0.0,
                "f, the share of the rate that is left at the end",
                low=0.0,
                high=1.0,
                traced=True,
            ),
            _warmup(),
        ),
    ),
    Entry(
        "schedule",
        "linear_warmup",
        "Rises linearly to the full rate, then stays there.",
        "a(t) = a0 min(1, t / warmup_epochs)",
        "Goyal et al. 2017, https://arxiv.org/abs/1706.02677",
        (_warmup(1.0, low_open=True),),
        notes="To join a warm-up to another schedule, give that one warmup_epochs.",
    ),
)
