"""Catalogue rows of how batches are drawn."""

from __future__ import annotations

from lanework.catalog.types import Entry, Hyper

__all__ = ["SAMPLINGS"]

_HARD = (
    Hyper(
        "power", "float", 1.0,
        "how steeply the probability grows with the loss; 0: not at all",
        low=0.0, high=10.0, traced=True,
    ),
    Hyper(
        "cap", "float", 0.95,
        "quantile of the last known losses above which a larger loss makes a sample no likelier, against outliers",
        low=0.0, high=1.0, low_open=True, traced=True,
    ),
    Hyper(
        "floor", "float", 0.2,
        "share of the draws that is spread evenly over all samples",
        low=0.0, high=1.0, traced=True,
    ),
    Hyper(
        "correction", "float", 0.0,
        "exponent on 1 / (n p) that weights a drawn sample in the loss; 0: none, 1: the bias of the drawing is taken out",
        low=0.0, high=1.0, traced=True,
    ),
)  # fmt: skip

SAMPLINGS: tuple[Entry, ...] = (
    Entry(
        "sampling",
        "shuffled",
        "Every sample once per epoch, in an order drawn anew for each epoch: the usual one.",
        "one random permutation per epoch, cut into batches; the last one may be short and weighs by its size",
        "Robbins and Monro 1951, A stochastic approximation method; Bottou 2009, Curiously fast convergence of some "
        "stochastic gradient descent algorithms",
    ),
    Entry(
        "sampling",
        "in_order",
        "Every sample once per epoch, always in the order of the data: not shuffled, which shows a mistake.",
        "rows of the training part by their place in the source, cut into batches; the same in each epoch",
        "LeCun et al. 1998, Efficient backprop, section 4.2 (why samples are shuffled)",
        notes="Rows that are sorted by class make batches of one class, and the network forgets the others in turn.",
    ),
    Entry(
        "sampling",
        "balanced",
        "Each class equally often in each batch, whatever its share of the data: for rare classes that must count.",
        "sample = next of class c in its own shuffled stream, c from a random order of all classes drawn for each round",
        "He and Garcia 2009, Learning from imbalanced data (random over- and undersampling)",
        notes="Rows of small classes are repeated and those of large ones take several epochs to pass by; how often is told as a "
        "warning. An epoch has as many steps as a shuffled one, all batches full. Classification only. Shares of the training "
        "part no longer hold in the loss, so probabilities lean to rare classes.",
        facts={"task": "classification"},
    ),
    Entry(
        "sampling",
        "mixed",
        "Every sample once per epoch, each batch with every class in proportion: less noise between batches.",
        "sample r of n_c of class c (in random order) stands at (r + u) / n_c, u uniform in [0, 1); sorted and cut into batches",
        "Zhao and Zhang 2014, Accelerating minibatch stochastic gradient descent using stratified sampling",
        notes="Classification only. A batch smaller than the number of classes cannot hold each of them.",
        facts={"task": "classification"},
    ),
    Entry(
        "sampling",
        "hard",
        "Samples with a large last known loss more often, capped against outliers.",
        "p_i = floor / n + (1 - floor) min(l_i, q)^power / sum_j min(l_j, q)^power, q the quantile `cap` of the last known losses l",
        "Loshchilov and Hutter 2015, Online batch selection for faster training of neural networks; correction: Schaul et al. "
        "2015, Prioritized experience replay",
        _HARD,
        notes="Losses are those that training steps saw last, as of the evaluation before; the first epoch is shuffled, and a "
        "sample that no step has seen yet counts with the cap. Draws of an interval between evaluations differ from n p_i by "
        "less than one. Mislabelled rows are hard for ever: the cap keeps them from taking over, it does not remove them.",
    ),
)
