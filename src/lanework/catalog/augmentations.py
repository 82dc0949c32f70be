"""Catalogue rows of augmentations: what is done to samples at random while training.

``facts["fits"]`` names the kinds of input (``InputInfo.kind``) that a row is for.
"""

from __future__ import annotations

from lanework.catalog.types import Entry, Hyper

__all__ = ["AUGMENTATIONS"]


def _chance(name: str, default: float, summary: str) -> Hyper:
    return Hyper(name, "float", default, summary, low=0.0, high=1.0, traced=True)


def _strength(name: str, default: float, summary: str, *, high: float | None = None) -> Hyper:
    return Hyper(name, "float", default, summary, low=0.0, high=high, traced=True)


_RESAMPLED = (
    "Pixels in between are found by linear interpolation; beyond the edge the image is mirrored. "
    "shift, rotate, zoom and shear share one resampling."
)
_IMAGE = {"fits": "image"}

AUGMENTATIONS: tuple[Entry, ...] = (
    Entry(
        "augmentation",
        "flip",
        "Mirrors an image, left to right or upside down.",
        "x[i, j] = x[i, w-1-j] with chance `horizontal`, x[h-1-i, j] with chance `vertical`",
        "Krizhevsky, Sutskever and Hinton 2012, ImageNet classification with deep convolutional neural networks",
        (
            _chance("horizontal", 0.5, "chance of mirroring left to right"),
            _chance("vertical", 0.0, "chance of turning upside down"),
        ),
        notes="Not for digits and letters, which mirrored are something else.",
        facts=_IMAGE,
    ),
    Entry(
        "augmentation",
        "crop",
        "Pads an image on all sides and cuts a window of the old size out of it, anywhere.",
        "x[i, j] = padded x[i + a, j + b], a and b whole numbers, uniform in 0 to 2 padding",
        "He et al. 2015, Deep residual learning, https://arxiv.org/abs/1512.03385 (section 4.2)",
        (
            Hyper("padding", "int", 4, "pixels on each side", low=1, high=1024),
            Hyper(
                "fill",
                "choice",
                "reflect",
                "what the padding holds: the image mirrored, or black",
                choices=("reflect", "zero"),
            ),
        ),
        notes="A quarter of the side at most is sensible; 4 of 32 pixels is usual.",
        facts=_IMAGE,
    ),
    Entry(
        "augmentation",
        "shift",
        "Moves an image by a part of its size, in fractions of a pixel.",
        "a shift of u h down and v w to the right, u and v uniform in [-by, by]",
        "Simard, Steinkraus and Platt 2003, Best practices for convolutional neural networks",
        (_strength("by", 0.1, "largest shift, as a share of height and width", high=1.0),),
        notes=_RESAMPLED,
        facts=_IMAGE,
    ),
    Entry(
        "augmentation",
        "rotate",
        "Turns an image about its centre.",
        "an angle uniform in [-degrees, degrees]",
        "Simard, Steinkraus and Platt 2003, Best practices for convolutional neural networks",
        (_strength("degrees", 15.0, "largest angle, in degrees", high=180.0),),
        notes=_RESAMPLED,
        facts=_IMAGE,
    ),
    Entry(
        "augmentation",
        "zoom",
        "Enlarges or shrinks an image about its centre.",
        "a factor e^u, u uniform in [-ln(1+by), ln(1+by)]",
        "Krizhevsky, Sutskever and Hinton 2012, ImageNet classification with deep convolutional neural networks",
        (_strength("by", 0.1, "largest enlargement, as a share: 0.1 is 1.1 times", high=9.0),),
        notes=_RESAMPLED,
        facts=_IMAGE,
    ),
    Entry(
        "augmentation",
        "shear",
        "Slants an image: rows move sideways, the more the further from the centre.",
        "x moves by tan(u) y, u uniform in [-degrees, degrees]",
        "Simard, Steinkraus and Platt 2003, Best practices for convolutional neural networks",
        (_strength("degrees", 10.0, "largest slant, in degrees", high=75.0),),
        notes=_RESAMPLED,
        facts=_IMAGE,
    ),
    Entry(
        "augmentation",
        "color_jitter",
        "Changes brightness, contrast and saturation of an image.",
        "x = b x; x = m + c (x - m), m the mean grey; x = g + s (x - g), g the grey of the pixel; cut to the range of pixels; "
        "b, c, s uniform in [1-strength, 1+strength]",
        "Krizhevsky, Sutskever and Hinton 2012; Howard 2013, https://arxiv.org/abs/1312.5402",
        (
            _strength("brightness", 0.2, "largest change of brightness, as a share", high=1.0),
            _strength("contrast", 0.2, "largest change of contrast, as a share", high=1.0),
            _strength("saturation", 0.2, "largest change of saturation, as a share", high=1.0),
        ),
        notes="Grey is 0.299 red + 0.587 green + 0.114 blue; saturation does nothing to images with one channel.",
        facts=_IMAGE,
    ),
    Entry(
        "augmentation",
        "noise",
        "Gaussian noise on the prepared numbers, a draw of its own for each sample.",
        "x += std n, n standard normal",
        "Sietsma and Dow 1991; Bishop 1995, Training with noise is equivalent to Tikhonov regularization",
        (_strength("std", 0.1, "standard deviation, in units of the prepared input"),),
        notes="Codes of categories get none. train.input_noise is the same with draws by step instead of by sample and epoch.",
        facts={"fits": "image table series"},
    ),
    Entry(
        "augmentation",
        "cutout",
        "Blanks a square of an image, anywhere, with the mean colour.",
        "x = 0 (prepared) in a square of side `size`, its centre uniform over the image; it may stick out",
        "DeVries and Taylor 2017, https://arxiv.org/abs/1708.04552",
        (
            _strength(
                "size", 0.25, "side of the square, as a share of the image's shorter side", high=1.0
            ),
        ),
        notes="The paper's 16 pixels for CIFAR-10 are a size of 0.5, for long training.",
        facts=_IMAGE,
    ),
    Entry(
        "augmentation",
        "mixup",
        "Mixes each sample, and its label, with another one of the batch.",
        "x = s x_i + (1-s) x_j, loss s L(y_i) + (1-s) L(y_j), s from Beta(alpha, alpha); numbers as target: y = s y_i + (1-s) y_j",
        "Zhang et al. 2018, mixup: beyond empirical risk minimization, https://arxiv.org/abs/1710.09412",
        (_strength("alpha", 0.2, "of the Beta distribution: 1 is uniform, 0 mixes nothing"),),
        notes="j is a random permutation of the batch, s a draw for each sample (the paper draws one for each batch). Where codes of "
        "categories follow the numbers of a table, only the numbers are mixed. With cutmix beside it, each sample gets one "
        "of the two. The training loss is that of mixed labels, which is higher.",
        facts={"fits": "image table"},
    ),
    Entry(
        "augmentation",
        "cutmix",
        "Pastes a rectangle of another image of the batch, and a share of its label.",
        "a rectangle of sides sqrt(1-s) h and w, s from Beta(alpha, alpha), its centre uniform; loss s' L(y_i) + (1-s') L(y_j), "
        "s' the share of pixels left",
        "Yun et al. 2019, https://arxiv.org/abs/1905.04899",
        (_strength("alpha", 1.0, "of the Beta distribution: 1 is uniform, 0 pastes nothing"),),
        notes="Drawn for each sample, as mixup is.",
        facts=_IMAGE,
    ),
)
