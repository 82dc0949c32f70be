"""Catalogue rows of what keeps training in bounds: clipping, penalties, noise, averages of weights."""

from __future__ import annotations

from lanework.catalog.types import Entry, Hyper

__all__ = ["AVERAGES", "CLIPS", "PENALTIES"]


def _threshold(name: str, default: float | None, summary: str) -> tuple[Hyper, ...]:
    return (Hyper(name, "float", default, summary, low=0.0, low_open=True, traced=True, log=True),)


CLIPS = (
    Entry(
        "clip",
        "global_norm",
        "Scales the whole gradient down to a threshold when its norm is above it.",
        "g = g min(1, c / ||g||_2)",
        "Pascanu, Mikolov and Bengio 2013, https://arxiv.org/abs/1211.5063",
        _threshold("clip_norm", 1.0, "c, the threshold"),
        notes="In a study file: train: {clip_norm: 1.0}; leave it out for no clipping.",
    ),
    Entry(
        "clip",
        "value",
        "Cuts each entry of the gradient at a limit.",
        "g = max(-c, min(c, g))",
        "Mikolov 2012, Statistical language models based on neural networks (thesis)",
        _threshold("clip_value", 0.5, "c, the limit of each entry"),
        notes="In a study file: train: {clip_value: 0.5}. It changes the direction of the gradient; "
        "clip_norm does not.",
    ),
    Entry(
        "clip",
        "layer_norm",
        "Scales the gradient of each layer down to a threshold when its norm is above it.",
        "g_l = g_l min(1, c / ||g_l||_2) for each layer l",
        "Pascanu, Mikolov and Bengio 2013, https://arxiv.org/abs/1211.5063, one layer at a time",
        _threshold("clip_layer_norm", 1.0, "c, the threshold of each layer"),
        notes="In a study file: train: {clip_layer_norm: 1.0}. Not to be confused with layer "
        "normalisation.",
    ),
    Entry(
        "clip",
        "adaptive",
        "Adaptive gradient clipping (AGC): no unit's gradient is larger than a share of its weights.",
        "g_i = g_i min(1, c max(||w_i||_2, 1e-3) / ||g_i||_2) for each unit i",
        "Brock et al. 2021, https://arxiv.org/abs/2102.06171",
        _threshold("clip_adaptive", 0.01, "c, the share"),
        notes="In a study file: train: {clip_adaptive: 0.01}. Biases are clipped too, each vector as "
        "one unit; the last layer is clipped as well, which the paper leaves out. Smaller "
        "batches bear a larger share.",
    ),
)


def _strength(name: str, summary: str) -> tuple[Hyper, ...]:
    return (Hyper(name, "float", 0.0, summary, low=0.0, traced=True, log=True),)


_EXEMPT = "Biases, the parameters of normalisation layers and learned slopes are exempt."
_ELASTIC = (
    " Elastic net b sum w^2 + c sum |w| (Zou and Hastie 2005) is both at once: l2: 2b and l1: c."
)

PENALTIES = (
    Entry(
        "penalty",
        "l2",
        "Squared weights in the loss.",
        "loss += l2 / 2 sum w^2",
        "Hoerl and Kennard 1970; Krogh and Hertz 1992",
        _strength("l2", "strength"),
        notes=_EXEMPT + _ELASTIC,
    ),
    Entry(
        "penalty",
        "l1",
        "Absolute weights in the loss; drives weights towards zero.",
        "loss += l1 sum |w|",
        "Tibshirani 1996",
        _strength("l1", "strength"),
        notes=_EXEMPT + " Weights come near zero, and exactly to zero with l1_proximal." + _ELASTIC,
    ),
    Entry(
        "penalty",
        "proximal",
        "L1 as a step of its own after each update, which sets weights to exactly zero.",
        "w = sign(w) max(|w| - a l1, 0) after each step, instead of l1 sum |w| in the loss",
        "Daubechies, Defrise and De Mol 2004, https://arxiv.org/abs/math/0307152; Duchi and Singer 2009",
        (
            Hyper(
                "l1_proximal",
                "bool",
                False,
                "take the l1 of the recipe as a proximal step",
            ),
        ),
        notes=_EXEMPT
        + " Needs l1 above 0. After rules that scale each weight's step (Adam and its "
        "like) the zeros are exact, but the strength is not that of the penalty.",
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
        "max_norm",
        "Keeps the norm of each unit's incoming weights below a limit.",
        "w_i = w_i min(1, c / ||w_i||_2) after each step, for each unit i",
        "Srebro et al. 2005; Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html",
        _threshold("max_norm", None, "c, the limit; 3 to 4 is usual; not given: off"),
        notes=_EXEMPT + " Made for dropout with a high rate and momentum.",
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
    Entry(
        "penalty",
        "gradient_noise",
        "Gaussian noise on the gradient that fades over training.",
        "g += s (1 + t)^(-0.55 / 2) n, n standard normal, t the step from 0",
        "Neelakantan et al. 2015, https://arxiv.org/abs/1511.06807",
        _strength("gradient_noise", "s, standard deviation at the first step"),
        notes="The paper's eta (0.01, 0.3 or 1) is s^2.",
    ),
    Entry(
        "penalty",
        "weight_noise",
        "Gaussian noise on the weights while the gradient is taken.",
        "g = g(x + s n), n standard normal",
        "Jim, Giles and Horne 1996; Graves 2011, Practical variational inference for neural networks",
        _strength("weight_noise", "s, standard deviation"),
        notes=_EXEMPT + " The step is made from the weights without noise; none at evaluation.",
    ),
    Entry(
        "penalty",
        "input_noise",
        "Gaussian noise on the numbers of the input, in training only.",
        "input += s n, n standard normal",
        "Sietsma and Dow 1991; Bishop 1995, Training with noise is equivalent to Tikhonov regularization",
        _strength("input_noise", "s, standard deviation, in units of the prepared input"),
        notes="Codes of categories and tokens get none.",
    ),
)


_BATCH_NORM = (
    " Moving averages of batch norm are averaged like the weights; they are not measured anew."
)

AVERAGES = (
    Entry(
        "average",
        "ema",
        "Exponential running average of the weights.",
        "m = d m + (1-d) x; debiased m / (1 - d^k) after k steps, m from 0",
        "Kingma and Ba 2014, https://arxiv.org/abs/1412.6980 (section 7.2); Tarvainen and Valpola 2017, "
        "https://arxiv.org/abs/1703.01780",
        (
            Hyper(
                "decay",
                "float",
                0.995,
                "d, the share that is kept at each step; the memory is about 1 / (1-d) steps",
                low=0.0,
                high=1.0,
                high_open=True,
                traced=True,
            ),
            Hyper(
                "debias",
                "bool",
                True,
                "false: m starts at the initial weights, and the first steps are pulled to them",
            ),
        ),
        notes="Choose a memory well below the length of training." + _BATCH_NORM,
    ),
    Entry(
        "average",
        "tail",
        "Mean of the weights over the last part of training.",
        "m = mean of x_k over the last share of the steps",
        "Jain et al. 2018, Parallelizing stochastic gradient descent for least squares regression, "
        "https://jmlr.org/papers/v18/16-595.html",
        (
            Hyper(
                "share",
                "float",
                0.25,
                "share of training that is averaged, at least one step",
                low=0.0,
                high=1.0,
                low_open=True,
                traced=True,
            ),
        ),
        notes="The raw weights until it begins." + _BATCH_NORM,
    ),
    Entry(
        "average",
        "polyak",
        "Mean of the weights over all steps.",
        "m = 1/k sum_i x_i, i = 1 to k",
        "Polyak and Juditsky 1992; Ruppert 1988",
        notes="The first steps never leave it: better for convex problems than for deep nets, where "
        "tail is meant." + _BATCH_NORM,
    ),
    Entry(
        "average",
        "swa",
        "Stochastic weight averaging: mean of the weights at the ends of epochs, late in training.",
        "m = mean of x_k at k = b, b + p, b + 2p, ...; b = start of the phase, p = every, in steps",
        "Izmailov et al. 2018, https://arxiv.org/abs/1803.05407",
        (
            Hyper(
                "start",
                "float",
                0.75,
                "share of training after which the phase begins",
                low=0.0,
                high=1.0,
                high_open=True,
                traced=True,
            ),
            Hyper(
                "every",
                "float",
                1.0,
                "epochs between the weights that are averaged",
                low=0.0,
                low_open=True,
                traced=True,
            ),
        ),
        notes="Wants a learning rate that stays high in the phase, constant or cyclic with a cycle of "
        "`every` epochs; with a rate that falls to zero there is little to average. The raw weights "
        "until it begins." + _BATCH_NORM,
    ),
    Entry(
        "average",
        "checkpoints",
        "Ensemble of the weights at the ends of the last epochs: their predictions are averaged.",
        "p = 1/count sum_i p(x_i), x_i the weights at the end of the last epochs",
        "Huang et al. 2017, Snapshot ensembles, https://arxiv.org/abs/1704.00109; Chen et al. 2017, "
        "Checkpoint ensembles, https://arxiv.org/abs/1710.03282",
        (
            Hyper(
                "count",
                "int",
                5,
                "how many weights; prediction takes that much longer",
                low=1,
                high=100,
            ),
        ),
        notes="Keeps `count` copies of the weights in memory. Before as many epochs have ended, the "
        "latest one fills the empty places. Wants a cyclic rate for members that differ.",
    ),
)
