"""Catalogue rows of the recipe: update rules, schedules, losses, clipping and penalties."""

from __future__ import annotations

from lanework.catalog.types import Entry, Hyper

__all__ = ["CLIPS", "LOSSES", "OPTIMIZERS", "PENALTIES", "SCHEDULES"]


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
