"""Catalogue rows of the parts of networks: activations, initialisation and normalisation."""

from __future__ import annotations

from lanework.catalog.types import Entry, Hyper

__all__ = ["ACTIVATIONS", "INITS", "NORMS"]


def _activation(
    name: str,
    summary: str,
    *,
    formula: str,
    source: str,
    init: str = "xavier_normal",
    hypers: tuple[Hyper, ...] = (),
) -> Entry:
    return Entry("activation", name, summary, formula, source, hypers, facts={"init": init})


ACTIVATIONS = (
    _activation(
        "identity",
        "Nothing: the layer stays linear.",
        formula="z",
        source="the baseline",
    ),
    _activation(
        "sigmoid",
        "Squashes to (0, 1); saturates on both sides.",
        formula="1 / (1 + e^-z)",
        source="Rumelhart, Hinton and Williams 1986",
    ),
    _activation(
        "tanh",
        "Squashes to (-1, 1) around zero; saturates on both sides.",
        formula="tanh(z)",
        source="LeCun et al. 1998, Efficient backprop",
    ),
    _activation(
        "relu",
        "Cuts negative values off; units can die.",
        formula="max(0, z)",
        source="Nair and Hinton 2010",
        init="he_normal",
    ),
    _activation(
        "leaky_relu",
        "ReLU with a small slope for negative values, so that units cannot die.",
        formula="z if z > 0 else slope z",
        source="Maas, Hannun and Ng 2013",
        init="he_normal",
        hypers=(Hyper("slope", "float", 0.01, "slope for negative values", low=0.0, high=1.0),),
    ),
    _activation(
        "elu",
        "Smooth for negative values, levels off at -1.",
        formula="z if z > 0 else e^z - 1",
        source="Clevert, Unterthiner and Hochreiter 2015, https://arxiv.org/abs/1511.07289",
        init="he_normal",
    ),
    _activation(
        "selu",
        "Scaled ELU that keeps mean 0 and variance 1 over depth, with LeCun initialisation.",
        formula="1.0507 (z if z > 0 else 1.6733 (e^z - 1))",
        source="Klambauer et al. 2017, https://arxiv.org/abs/1706.02515",
        init="lecun_normal",
    ),
    _activation(
        "gelu",
        "The value times the Gaussian probability of being below it.",
        formula="z Phi(z), by the tanh approximation",
        source="Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415",
        init="he_normal",
    ),
    _activation(
        "silu",
        "The value times its sigmoid (swish).",
        formula="z / (1 + e^-z)",
        source="Elfwing, Uchibe and Doya 2017, https://arxiv.org/abs/1702.03118",
        init="he_normal",
    ),
    _activation(
        "softplus",
        "Smooth ReLU, always positive.",
        formula="log(1 + e^z)",
        source="Dugas et al. 2001",
        init="he_normal",
    ),
    _activation(
        "softmax",
        "Turns the outputs of a layer into shares that add up to 1.",
        formula="e^z_j / sum_k e^z_k",
        source="Bridle 1990",
    ),
)

INITS = (
    Entry(
        "init",
        "zeros",
        "All weights zero: hidden units stay copies of each other (kept as the pitfall it is).",
        "w = 0",
        "CS231n notes, Neural networks part 2, pitfall: all zero initialization",
    ),
    Entry(
        "init",
        "small_normal",
        "Normal with a small, fixed deviation; signals shrink over depth.",
        "w ~ N(0, std^2)",
        "CS231n notes, Neural networks part 2, small random numbers",
        (
            Hyper(
                "std",
                "float",
                0.01,
                "standard deviation",
                low=0.0,
                low_open=True,
                log=True,
            ),
        ),
    ),
    Entry(
        "init",
        "xavier_normal",
        "Keeps variance forwards and backwards for tanh and sigmoid.",
        "w ~ N(0, 2 / (n_in + n_out))",
        "Glorot and Bengio 2010",
    ),
    Entry(
        "init",
        "xavier_uniform",
        "Keeps variance forwards and backwards for tanh and sigmoid; uniform.",
        "w ~ U(-b, b), b = sqrt(6 / (n_in + n_out))",
        "Glorot and Bengio 2010",
    ),
    Entry(
        "init",
        "he_normal",
        "Keeps variance through ReLU.",
        "w ~ N(0, 2 / n_in)",
        "He et al. 2015, https://arxiv.org/abs/1502.01852",
    ),
    Entry(
        "init",
        "he_uniform",
        "Keeps variance through ReLU; uniform.",
        "w ~ U(-b, b), b = sqrt(6 / n_in)",
        "He et al. 2015, https://arxiv.org/abs/1502.01852",
    ),
    Entry(
        "init",
        "lecun_normal",
        "Keeps variance through linear layers; what SELU needs.",
        "w ~ N(0, 1 / n_in)",
        "LeCun et al. 1998, Efficient backprop",
    ),
    Entry(
        "init",
        "lecun_uniform",
        "Keeps variance through linear layers; uniform.",
        "w ~ U(-b, b), b = sqrt(3 / n_in)",
        "LeCun et al. 1998, Efficient backprop",
    ),
)

_NORM_EPS = Hyper("eps", "float", 1e-5, "added to the variance", low=0.0, low_open=True, log=True)

NORMS = (
    Entry("norm", "none", "No normalisation layers.", "z", "the baseline"),
    Entry(
        "norm",
        "batch",
        "Batch statistics in training, moving averages at evaluation, learned scale and shift.",
        "scale (z - mean_batch) / sqrt(var_batch + eps) + shift",
        "Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167",
        (
            Hyper(
                "momentum",
                "float",
                0.9,
                "memory of the moving averages, per step",
                low=0.0,
                high=1.0,
                high_open=True,
            ),
            _NORM_EPS,
        ),
        notes="Needs batches of at least 2 samples; for batch_size 1 use layer.",
    ),
    Entry(
        "norm",
        "layer",
        "Normalises over the features of each sample; the same in training and evaluation.",
        "scale (z - mean_features) / sqrt(var_features + eps) + shift",
        "Ba, Kiros and Hinton 2016, https://arxiv.org/abs/1607.06450",
        (_NORM_EPS,),
    ),
)
