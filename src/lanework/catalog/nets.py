"""Catalogue rows of networks for tables and images."""

from __future__ import annotations

from lanework.catalog.types import Entry, Hyper

__all__ = ["NETS", "WIDEST", "body"]

WIDEST = 1_000_000


def body() -> tuple[Hyper, ...]:
    """Options that all networks for tables and images share."""
    return (
        Hyper("activation", "choice", "relu", "after each hidden layer", of="activation"),
        Hyper(
            "init",
            "choice",
            "auto",
            "initial weights; auto: He for the ReLU family, Xavier for tanh and sigmoid, "
            "LeCun for selu",
            choices=("auto",),
            of="init",
        ),
        Hyper("norm", "choice", "none", "normalisation of each hidden layer", of="norm"),
        Hyper(
            "norm_position",
            "choice",
            "before",
            "normalise before or after the activation",
            choices=("before", "after"),
        ),
        Hyper(
            "dropout",
            "float",
            0.0,
            "share of hidden units dropped in training (inverted dropout)",
            low=0.0,
            high=1.0,
            high_open=True,
            traced=True,
        ),
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
            "outputs of the network; not set: as many as the data needs",
            low=1,
            high=WIDEST,
        ),
    )


NETS = (
    Entry(
        "net",
        "mlp",
        "Fully connected layers; an empty list of hidden layers is a linear model.",
        "f = W_L act(... act(W_1 x + b_1) ...) + b_L",
        "Rumelhart, Hinton and Williams 1986",
        (
            Hyper("hidden", "ints", (64, 64), "width of each hidden layer", low=1, high=WIDEST),
            *body(),
        ),
    ),
    Entry(
        "net",
        "cnn",
        "Small convolutional network: convolution, activation and 2x2 max pooling, then dense.",
        "conv k x k -> act -> max pool 2 x 2, per entry of channels; dense layers; output layer",
        "LeCun et al. 1998, Gradient-based learning applied to document recognition",
        (
            Hyper(
                "channels",
                "ints",
                (32, 64, 128),
                "channels of each convolution",
                low=1,
                high=WIDEST,
            ),
            Hyper("kernel", "int", 3, "side of the convolution window, in pixels", low=1, high=99),
            Hyper(
                "dense", "ints", (128,), "width of each dense layer after them", low=1, high=WIDEST
            ),
            *body(),
        ),
    ),
)
