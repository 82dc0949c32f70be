"""Catalogue rows of the parts of networks: activations, initialisation and normalisation."""

from __future__ import annotations

from lanework.catalog.types import Entry, Hyper

__all__ = [
    "ACTIVATIONS",
    "INITS",
    "NORMS",
    "STARTING",
    "WIDEST",
    "dropout_hypers",
    "monte_carlo_hyper",
    "output_hypers",
    "spatial_dropout_hyper",
    "starting_hypers",
]

WIDEST = 1_000_000
STARTING = ("init", "init_by_path", "hidden_bias", "output_bias")
"""Options of networks that only say where the weights start: runs that differ in them share a program."""


def starting_hypers() -> tuple[Hyper, ...]:
    """Options of networks for where the weights start, all of `STARTING`."""
    return (
        Hyper(
            "init",
            "choice",
            "auto",
            "initial weights; auto: He for the ReLU family, Xavier for tanh and sigmoid, "
            "LeCun for selu",
            choices=("auto",),
            of="init",
        ),
        Hyper(
            "init_by_path",
            "by_path",
            None,
            "initial weights of single layers, by pattern over their names; the first that fits counts",
            of="init",
        ),
        Hyper(
            "hidden_bias",
            "float",
            0.0,
            "where the biases of hidden layers start; 0.01 keeps ReLU units alive at first",
            low=-10.0,
            high=10.0,
        ),
        Hyper(
            "output_bias",
            "choice",
            "zero",
            "where the bias of the output layer starts; base_rate: where guessing the class shares or the mean target "
            "is, so that training need not learn them",
            choices=("zero", "base_rate"),
        ),
    )


def output_hypers(outputs: str = "outputs of the network") -> tuple[Hyper, ...]:
    """Options of networks for their output layer; `outputs`: what is counted."""
    return (
        Hyper(
            "output_activation",
            "choice",
            "none",
            "after the output layer; the losses expect none, anything else shows a mistake",
            choices=("none",),
            of="activation",
        ),
        Hyper(
            "num_outputs",
            "int",
            None,
            f"{outputs}; not set: as many as the data needs",
            low=1,
            high=WIDEST,
        ),
    )


def dropout_hypers(*, has_forms: bool = False) -> tuple[Hyper, ...]:
    """Options of networks whose hidden units may be dropped; `has_forms`: in other ways than the usual one too."""
    form = Hyper(
        "dropout_form",
        "choice",
        "inverted",
        "what makes up for dropped units: inverted, scaling by 1 / (1 - share) in training; vanilla, by 1 - share at "
        "evaluation; vanilla_unscaled, nothing, to show that mistake",
        choices=("inverted", "vanilla", "vanilla_unscaled"),
    )
    return (
        Hyper(
            "dropout",
            "float",
            0.0,
            "share of hidden units dropped in training",
            low=0.0,
            high=1.0,
            high_open=True,
            traced=True,
        ),
        *((form,) if has_forms else ()),
        monte_carlo_hyper(),
        Hyper(
            "dropout_at_evaluation",
            "bool",
            False,
            "leave dropout on when the network is evaluated and used, in one pass, which shows a mistake",
        ),
    )


def monte_carlo_hyper() -> Hyper:
    """The option to leave dropout on at evaluation."""
    return Hyper(
        "mc_passes",
        "int",
        0,
        "passes with dropout left on that an evaluation averages (Monte Carlo; the exported model gives their spread); "
        "0: dropout is off at evaluation",
        low=0,
        high=10_000,
    )


def spatial_dropout_hyper() -> Hyper:
    """The option to drop whole channels."""
    return Hyper(
        "spatial_dropout",
        "float",
        0.0,
        "share of whole channels dropped in training, after each convolution block",
        low=0.0,
        high=1.0,
        high_open=True,
        traced=True,
    )


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
        "prelu",
        "Leaky ReLU whose slope is learned, one per feature or channel.",
        formula="z if z > 0 else slope z, slope learned",
        source="He et al. 2015, https://arxiv.org/abs/1502.01852",
        init="he_normal",
        hypers=(Hyper("start", "float", 0.25, "where the slopes start", low=-1.0, high=1.0),),
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

_RIGHT_GAIN = "not set: 1 / sqrt(E[act(z)^2]) of the activation that follows, sqrt(2) for ReLU"


def _gain(default: float | None, summary: str) -> Hyper:
    return Hyper("gain", "float", default, summary, low=0.0, low_open=True, high=1000.0)


def _fan() -> Hyper:
    return Hyper(
        "fan",
        "choice",
        "in",
        "which count keeps its variance: in, forwards; out, backwards; mean, between them",
        choices=("in", "out", "mean"),
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
        "ones",
        "All weights one: hidden units stay copies of each other, and signals explode (kept as the pitfall it is).",
        "w = 1",
        "CS231n notes, Neural networks part 2, on breaking symmetry",
    ),
    Entry(
        "init",
        "constant",
        "All weights the same: hidden units stay copies of each other (kept as the pitfall it is).",
        "w = value",
        "Goodfellow, Bengio and Courville 2016, Deep learning, section 8.4 (breaking symmetry)",
        (Hyper("value", "float", 0.1, "every weight", low=-1000.0, high=1000.0),),
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
        "truncated_normal",
        "Small normal without its tails: drawn again beyond the cut.",
        "w ~ N(0, std^2), drawn again where |w| > cut std; the deviation is then 0.88 std for cut 2",
        "Abadi et al. 2016, TensorFlow, truncated_normal; used for transformers with std 0.02",
        (
            Hyper(
                "std",
                "float",
                0.02,
                "standard deviation before the cut",
                low=0.0,
                low_open=True,
                log=True,
            ),
            Hyper("cut", "float", 2.0, "largest draw, in deviations", low=0.1, high=10.0),
        ),
    ),
    Entry(
        "init",
        "xavier_normal",
        "Keeps variance forwards and backwards for tanh and sigmoid.",
        "w ~ N(0, gain^2 2 / (n_in + n_out))",
        "Glorot and Bengio 2010",
        (_gain(1.0, "factor on the deviation"),),
    ),
    Entry(
        "init",
        "xavier_uniform",
        "Keeps variance forwards and backwards for tanh and sigmoid; uniform.",
        "w ~ U(-b, b), b = gain sqrt(6 / (n_in + n_out))",
        "Glorot and Bengio 2010",
        (_gain(1.0, "factor on the deviation"),),
    ),
    Entry(
        "init",
        "he_normal",
        "Keeps variance through ReLU.",
        "w ~ N(0, 2 / ((1 + slope^2) n)), n = n_in, n_out or their mean; slope of leaky ReLU and PReLU, else 0",
        "He et al. 2015, https://arxiv.org/abs/1502.01852",
        (_fan(),),
    ),
    Entry(
        "init",
        "he_uniform",
        "Keeps variance through ReLU; uniform.",
        "w ~ U(-b, b), b = sqrt(6 / ((1 + slope^2) n)), n = n_in, n_out or their mean",
        "He et al. 2015, https://arxiv.org/abs/1502.01852",
        (_fan(),),
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
    Entry(
        "init",
        "orthogonal",
        "Rows or columns at right angles: every direction keeps its length, not only the average one.",
        "W = gain Q, Q^T Q = I (or Q Q^T = I where there are more outputs than inputs)",
        "Saxe, McClelland and Ganguli 2013, https://arxiv.org/abs/1312.6120",
        (_gain(None, f"factor on Q; {_RIGHT_GAIN}"),),
    ),
    Entry(
        "init",
        "random_walk",
        "Corrects the gain for finite width, so that the logarithm of the gradient's size walks without drift.",
        "w ~ N(0, g^2 / n), n = n_in; g = sqrt(2) exp(1.2 / (max(n, 6) - 2.4)) for ReLU, else gain exp(1 / (2 n))",
        "Sussillo and Abbott 2014, https://arxiv.org/abs/1412.6558; derived there for layers of one width n",
    ),
    Entry(
        "init",
        "lsuv",
        "Orthogonal, then each layer scaled so that its outputs on a batch of the data have variance 1.",
        "W = Q / std(Q x) over a batch, layer by layer",
        "Mishkin and Matas 2015, https://arxiv.org/abs/1511.06422",
        notes="One division is exact where the bias starts at 0, so nothing is iterated. Up to 256 training samples.",
    ),
    Entry(
        "init",
        "data_dependent",
        "Each unit scaled and shifted so that its outputs on a batch of the data have mean 0 and variance 1.",
        "w_j = v_j / std_j, b_j = -mean_j / std_j over a batch, v ~ N(0, 1 / n_in), layer by layer",
        "Kraehenbuehl, Doersch, Donahue and Darrell 2015, https://arxiv.org/abs/1511.06856",
        notes="Their first algorithm (within layers); their second one, which evens out rates of change between layers, "
        "is left out. Up to 256 training samples.",
    ),
)

_NORM_EPS = Hyper("eps", "float", 1e-5, "added to the variance", low=0.0, low_open=True, log=True)
_WEIGHT_EPS = Hyper(
    "eps", "float", 1e-12, "added to the squared length", low=0.0, low_open=True, log=True
)

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
        notes="Needs batches of at least 2 samples; for batch_size 1 use layer or group.",
    ),
    Entry(
        "norm",
        "layer",
        "Normalises over the features of each sample; the same in training and evaluation.",
        "scale (z - mean_features) / sqrt(var_features + eps) + shift",
        "Ba, Kiros and Hinton 2016, https://arxiv.org/abs/1607.06450",
        (_NORM_EPS,),
    ),
    Entry(
        "norm",
        "group",
        "Layer normalisation for each of some groups of channels alone; any batch size.",
        "scale (z - mean_group) / sqrt(var_group + eps) + shift",
        "Wu and He 2018, https://arxiv.org/abs/1803.08494",
        (
            Hyper(
                "groups",
                "int",
                8,
                "groups, at most: as many as divide the channels and leave at least two in each",
                low=1,
                high=4096,
            ),
            _NORM_EPS,
        ),
        notes="The paper takes 32 groups for networks with 64 channels and more; 8 suits smaller ones.",
    ),
    Entry(
        "norm",
        "instance",
        "Normalises each channel of each image over its pixels; needs feature maps.",
        "scale (z - mean_pixels) / sqrt(var_pixels + eps) + shift",
        "Ulyanov, Vedaldi and Lempitsky 2016, https://arxiv.org/abs/1607.08022",
        (_NORM_EPS,),
        notes="Dense layers after feature maps get none, since a single number has no spread.",
    ),
    Entry(
        "norm",
        "rms",
        "Divides by the root mean square of the features; no centring, no shift.",
        "scale z / sqrt(mean(z^2) + eps)",
        "Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467",
        (_NORM_EPS,),
    ),
    Entry(
        "norm",
        "weight",
        "Learns length and direction of each unit's weights apart; the outputs are not looked at.",
        "w = gain v / sqrt(|v|^2 + eps) for each unit; gain starts at |v|",
        "Salimans and Kingma 2016, https://arxiv.org/abs/1602.07868 (without their data-dependent start)",
        (_WEIGHT_EPS,),
        notes="The output layer keeps plain weights.",
    ),
    Entry(
        "norm",
        "weight_standardisation",
        "Centres and scales each unit's weights; the paper adds group normalisation of the outputs (option then).",
        "w = gain (v - mean(v)) / sqrt(|v - mean(v)|^2 + eps) for each unit; gain starts at |v - mean(v)|",
        "Qiao et al. 2019, https://arxiv.org/abs/1903.10520; the gain: Brock, De and Smith 2021, "
        "https://arxiv.org/abs/2101.08692",
        (
            Hyper(
                "then",
                "choice",
                "none",
                "normalisation of the outputs after it",
                choices=("none", "batch", "layer", "group", "instance", "rms"),
            ),
            _WEIGHT_EPS,
        ),
        notes="The output layer keeps plain weights.",
    ),
)
