"""Catalogue rows of first-order update rules."""

from __future__ import annotations

from lanework.catalog.types import Entry, Hyper

__all__ = ["OPTIMIZERS"]


def _rate(default: float, note: str = "") -> Hyper:
    summary = "learning rate a" + (f"; {note}" if note else "")
    return Hyper(
        "learning_rate",
        "float",
        default,
        summary,
        low=0.0,
        low_open=True,
        traced=True,
        log=True,
    )


def _fraction(name: str, default: float, summary: str) -> Hyper:
    return Hyper(name, "float", default, summary, low=0.0, high=1.0, high_open=True, traced=True)


def _eps(default: float) -> Hyper:
    summary = "e, added to the denominator"
    return Hyper("eps", "float", default, summary, low=0.0, low_open=True, traced=True, log=True)


_MOMENTUM = _fraction("momentum", 0.9, "m, the share of the last step that is kept")
_B1 = _fraction("b1", 0.9, "memory of the running mean of gradients")
_B2 = _fraction("b2", 0.999, "memory of the running mean of squared gradients")

OPTIMIZERS = (
    Entry(
        "optimizer",
        "sgd",
        "Gradient descent: full batch, mini-batch or single sample by batch_size (all, B or 1).",
        "x -= a g",
        "Robbins and Monro 1951, A stochastic approximation method",
        (_rate(0.01),),
    ),
    Entry(
        "optimizer",
        "momentum",
        "Gradient descent with a running sum of past gradients (heavy ball).",
        "v = m v + g; x -= a v",
        "Polyak 1964; Qian 1999",
        (
            _rate(0.01),
            _MOMENTUM,
            Hyper(
                "form",
                "choice",
                "heavy_ball",
                "velocity: v = m v - a g; x += v, which differs when the rate changes",
                choices=("heavy_ball", "velocity"),
            ),
        ),
        notes="The step grows by up to 1 / (1 - m): at m = 0.9 use about a tenth of sgd's rate.",
    ),
    Entry(
        "optimizer",
        "nesterov",
        "Momentum with the gradient taken where the momentum will lead to.",
        "v = m v - a g(x + m v); x += v",
        "Nesterov 1983; Sutskever et al. 2013, On the importance of initialization and momentum",
        (_rate(0.01), _MOMENTUM),
    ),
    Entry(
        "optimizer",
        "adagrad",
        "Divides by the root of the sum of all squared gradients; its steps fade with time.",
        "s += g^2; x -= a g / (sqrt(s) + e)",
        "Duchi, Hazan and Singer 2011",
        (_rate(0.01), _eps(1e-7)),
    ),
    Entry(
        "optimizer",
        "adadelta",
        "Two running averages set the step; no global rate is needed.",
        "s = r s + (1-r) g^2; d = g sqrt(u + e) / sqrt(s + e); u = r u + (1-r) d^2; x -= a d",
        "Zeiler 2012, https://arxiv.org/abs/1212.5701",
        (
            _rate(1.0, "1 is the published rule"),
            _fraction("rho", 0.95, "r, memory of both running averages"),
            _eps(1e-6),
        ),
    ),
    Entry(
        "optimizer",
        "rmsprop",
        "Divides by the root of a running mean of squared gradients; centred or with momentum too.",
        "s = r s + (1-r) g^2; x -= a g / (sqrt(s) + e)",
        "Hinton 2012, Neural networks for machine learning, lecture 6e",
        (
            _rate(0.001),
            _fraction("decay", 0.9, "r, memory of the running mean of squared gradients"),
            _eps(1e-8),
            _fraction("momentum", 0.0, "m, the share of the last step that is kept; 0 is none"),
            Hyper(
                "centered",
                "bool",
                False,
                "subtract the squared running mean of the gradient",
            ),
        ),
    ),
    Entry(
        "optimizer",
        "adam",
        "Running mean of gradients over the root of that of their squares, both bias-corrected.",
        "m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; "
        "x -= a (m / (1-b1^k)) / (sqrt(v / (1-b2^k)) + e)",
        "Kingma and Ba 2014, https://arxiv.org/abs/1412.6980",
        (_rate(0.001), _B1, _B2, _eps(1e-8)),
        ascending=(("b1", "b2"),),
    ),
    Entry(
        "optimizer",
        "adamw",
        "Adam with decoupled weight decay.",
        "as adam, and x -= a w x",
        "Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101",
        (
            _rate(0.001),
            _B1,
            _B2,
            _eps(1e-8),
            Hyper(
                "weight_decay",
                "float",
                0.01,
                "w, the share of the weight that a step removes, times the rate",
                low=0.0,
                traced=True,
                log=True,
            ),
        ),
        notes="Adam with l2 is another rule: there the penalty's gradient is rescaled too.",
        ascending=(("b1", "b2"),),
    ),
    Entry(
        "optimizer",
        "radam",
        "Adam whose adaptive part waits until its variance is known (rectified).",
        "as adam, times r_k when the variance is tractable, else x -= a m / (1-b1^k)",
        "Liu et al. 2019, https://arxiv.org/abs/1908.03265",
        (_rate(0.001), _B1, _B2, _eps(1e-8)),
        ascending=(("b1", "b2"),),
    ),
    Entry(
        "optimizer",
        "lion",
        "Steps of the sign of an interpolated momentum; all parameters move equally far.",
        "x -= a sign(b1 m + (1-b1) g); m = b2 m + (1-b2) g",
        "Chen et al. 2023, https://arxiv.org/abs/2302.06675",
        (_rate(1e-4), _B1, _fraction("b2", 0.99, "memory of the momentum")),
        notes="Wants 3 to 10 times smaller rates than adam.",
        ascending=(("b1", "b2"),),
    ),
)
