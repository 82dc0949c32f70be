"""Catalogue rows of networks for tables and images."""

from __future__ import annotations

from lanework.catalog.networks import (
    WIDEST,
    dropout_hypers,
    output_hypers,
    spatial_dropout_hyper,
    starting_hypers,
)
from lanework.catalog.types import Entry, Hyper

__all__ = ["NETS", "body"]


def body(*, norm: str = "none", has_forms: bool = False) -> tuple[Hyper, ...]:
    """Options that all networks for tables and images share.

    Args:
        norm: The default normalisation.
        has_forms: Whether dropout may take other forms than the usual one.
    """
    return (
        Hyper("activation", "choice", "relu", "after each hidden layer", of="activation"),
        *starting_hypers(),
        Hyper("norm", "choice", norm, "normalisation of each hidden layer", of="norm"),
        Hyper(
            "norm_position",
            "choice",
            "before",
            "normalise before or after the activation",
            choices=("before", "after"),
        ),
        *dropout_hypers(has_forms=has_forms),
        *output_hypers(),
    )


def _deep() -> tuple[Hyper, ...]:
    """Options that residual networks share with those whose shortcuts were taken out."""
    return (
        Hyper(
            "depth",
            "int",
            20,
            "layers with weights: 6n + 2 (20, 32, 56, ...) is the CIFAR family with 3 stages of n blocks; 18, 34 and 50 "
            "(bottlenecks) are the ImageNet family",
            low=8,
            high=2000,
        ),
        Hyper(
            "stem",
            "choice",
            "auto",
            "first layer: cifar, a 3 x 3 convolution; imagenet, 7 x 7 with stride 2 and max pooling; auto, that of the family",
            choices=("auto", "cifar", "imagenet"),
        ),
        Hyper(
            "width",
            "int",
            None,
            "channels of the first stage; not set: 16 in the CIFAR family, 64 in the ImageNet family",
            low=1,
            high=4096,
        ),
    )


_HE = "He, Zhang, Ren and Sun 2015, https://arxiv.org/abs/1512.03385"

NETS = (
    Entry(
        "net",
        "mlp",
        "Fully connected layers; an empty list of hidden layers is a linear model.",
        "f = W_L act(... act(W_1 x + b_1) ...) + b_L",
        "Rumelhart, Hinton and Williams 1986",
        (
            Hyper("hidden", "ints", (64, 64), "width of each hidden layer", low=1, high=WIDEST),
            *body(has_forms=True),
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
            *body(has_forms=True),
            spatial_dropout_hyper(),
        ),
    ),
    Entry(
        "net",
        "resnet",
        "Residual network: shortcuts around pairs of convolutions keep deep networks trainable.",
        "H(x) = F(x) + x per block, F = norm(conv3(act(norm(conv3(x))))); a bottleneck has 1 x 1, 3 x 3, 1 x 1",
        _HE,
        (
            *_deep(),
            Hyper(
                "shortcut",
                "choice",
                "projection",
                "where the shape changes: projection, a 1 x 1 convolution (option B of the paper); padding, zero channels "
                "and every second pixel, without weights (option A)",
                choices=("projection", "padding"),
            ),
            Hyper(
                "zero_init",
                "bool",
                False,
                "scale of the last normalisation of each block starts at 0, so that a block starts as its shortcut",
            ),
            Hyper(
                "stochastic_depth",
                "float",
                0.0,
                "share of samples for which the last block is left out in training; rises linearly from the first block",
                low=0.0,
                high=1.0,
                high_open=True,
                traced=True,
            ),
            *body(norm="batch"),
        ),
        notes="Depth 50 is the bottleneck network of the ImageNet family, though 50 = 6 * 8 + 2.",
    ),
    Entry(
        "net",
        "plain",
        "The residual network without its shortcuts: shows what depth costs without them.",
        "H(x) = F(x) per block",
        f"{_HE}, section 4",
        (*_deep(), *body(norm="batch")),
    ),
)
