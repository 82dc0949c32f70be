"""Catalogue rows of networks for sequences: tokens (text, codes) and series of numbers."""

from __future__ import annotations

from lanework.catalog.networks import WIDEST, dropout_hypers, output_hypers, starting_hypers
from lanework.catalog.types import Entry, Hyper

__all__ = ["SEQUENCE_NETS"]

_EMBEDDING = Hyper(
    "embedding",
    "int",
    64,
    "entries of the learned vector that stands for a token (series have none)",
    low=1,
    high=WIDEST,
)
_ENDS = output_hypers("outputs of the network (of each step, where steps have targets)")


def _recurrent(*own: Hyper, recurrent_init: str = "orthogonal") -> tuple[Hyper, ...]:
    return (
        Hyper("hidden", "ints", (128,), "units of each recurrent layer", low=1, high=WIDEST),
        *own,
        _EMBEDDING,
        Hyper(
            "bidirectional",
            "bool",
            False,
            "read each sequence backwards too, with weights of its own; not where each step has a target",
        ),
        Hyper(
            "pooling",
            "choice",
            "last",
            "what of a sequence goes to the output: its last state, the mean or the largest over its steps; no matter where "
            "each step has a target",
            choices=("last", "mean", "max"),
        ),
        Hyper("layer_norm", "bool", False, "layer normalisation inside of the cell, at every step"),
        Hyper(
            "recurrent_init",
            "choice",
            recurrent_init,
            "where the recurrent weights start: orthogonal (every direction keeps its length), identity, or as_input, drawn "
            "like the others",
            choices=("orthogonal", "identity", "as_input"),
        ),
        *starting_hypers(),
        *dropout_hypers(),
        *_ENDS,
    )


SEQUENCE_NETS: tuple[Entry, ...] = (
    Entry(
        "net",
        "rnn",
        "Vanilla recurrent network, for sequences whose labels depend on the last steps.",
        "h_t = act(W x_t + U h_{t-1} + b)",
        "Elman 1990, Finding structure in time",
        _recurrent(
            Hyper(
                "activation",
                "choice",
                "tanh",
                "of the hidden state; relu is usually started with recurrent_init: identity",
                choices=("tanh", "relu"),
            ),
        ),
        notes="Gradients fade or explode over long sequences: gru and lstm keep them, clip_norm keeps them from exploding.",
    ),
    Entry(
        "net",
        "gru",
        "Gated recurrent unit: as good as the LSTM on most tasks, with three quarters of its weights.",
        "r, z = sigmoid(W x_t + U h_{t-1} + b); n = tanh(W_n x_t + b_n + r (U_n h_{t-1} + b_u)); h_t = (1 - z) n + z h_{t-1}",
        "Cho et al. 2014, https://arxiv.org/abs/1406.1078",
        _recurrent(),
        notes="The reset gate stands after the product, as in cuDNN and PyTorch; the fourth block of the bias is b_u.",
    ),
    Entry(
        "net",
        "lstm",
        "Long short-term memory: a memory that gates write, keep and read, so that gradients reach far back.",
        "i, f, o = sigmoid(W x_t + U h_{t-1} + b); g = tanh(...); c_t = f c_{t-1} + i g; h_t = o tanh(c_t)",
        "Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000 (forget gate)",
        _recurrent(
            Hyper(
                "forget_bias",
                "float",
                1.0,
                "where the bias of the forget gate starts; at 1 and above the memory is kept at first (Jozefowicz et al. 2015)",
                low=-10.0,
                high=20.0,
            ),
        ),
    ),
    Entry(
        "net",
        "transformer",
        "Small transformer: attention between all steps, or between a step and those before where each step has a target.",
        "x + attention(norm(x)), then x + W_2 act(W_1 norm(x)), per layer; softmax(Q K^T / sqrt(d)) V in each head",
        "Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; norm first as in Xiong et al. 2020, "
        "https://arxiv.org/abs/2002.04745",
        (
            Hyper("layers", "int", 2, "blocks of attention and feed-forward", low=1, high=1000),
            Hyper(
                "width",
                "int",
                64,
                "features of each step; a multiple of heads",
                low=1,
                high=WIDEST,
            ),
            Hyper("heads", "int", 4, "attentions side by side", low=1, high=1024),
            Hyper(
                "expansion",
                "int",
                4,
                "units of the feed-forward part, as a multiple of the width",
                low=1,
                high=64,
            ),
            Hyper("activation", "choice", "gelu", "of the feed-forward part", of="activation"),
            Hyper(
                "positions",
                "choice",
                "learned",
                "how a step knows its place: learned or sinusoidal vectors that are added, rotary, which turns queries and keys "
                "so that only distances count, or none",
                choices=("learned", "sinusoidal", "rotary", "none"),
            ),
            Hyper(
                "norm_position",
                "choice",
                "before",
                "layer normalisation before each part, which needs no warm-up, or after its sum (Vaswani et al. 2017)",
                choices=("before", "after"),
            ),
            Hyper(
                "pooling",
                "choice",
                "mean",
                "what of a sequence goes to the output: the mean or largest over its steps, the last step, or a learned first "
                "step (cls); no matter where each step has a target",
                choices=("mean", "cls", "last", "max"),
            ),
            Hyper(
                "stochastic_depth",
                "float",
                0.0,
                "share of samples for which the last block is left out in training; growing up to there from the first",
                low=0.0,
                high=1.0,
                high_open=True,
                traced=True,
            ),
            *starting_hypers(),
            *dropout_hypers(),
            *_ENDS,
        ),
    ),
)
