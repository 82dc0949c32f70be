"""From a model spec to a network: the table of networks, and the door to the user's own modules.

Must not import `lanework.recipes`, `lanework.data` or anything above. Flax is imported only when an own module is asked
for: it takes a third of a second, and the built-in networks do not need it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lanework.catalog import CATALOG, nearest
from lanework.models.base import Input, ModelSpec, Network, refuse
from lanework.models.cnn import cnn
from lanework.models.mlp import mlp
from lanework.models.recurrent import gru, lstm, rnn
from lanework.models.resnet import plain, resnet
from lanework.models.starting import started
from lanework.models.transformer import transformer

NETS: Mapping[str, Callable[..., Network]] = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet": resnet,
    "plain": plain,
    "rnn": rnn,
    "gru": gru,
    "lstm": lstm,
    "transformer": transformer,
}


def network(
    spec: ModelSpec,
    *,
    input: Input,
    num_outputs: int,
    example: np.ndarray | None = None,
    module: Any = None,
    output_bias: np.ndarray | None = None,
) -> Network:
    """Build the pure functions of a network.

    Args:
        spec: Name and options. `net` is a name of the catalogue, or `file.py:Class` for an own `nnx.Module`.
        input: Shape of a sample, and which of its entries are category codes.
        num_outputs: Number of outputs that the data needs.
        example: A few prepared samples [n, *shape], tried on an own module (only shape and type are looked at), and what
            initialisers that look at data start from (see `needs_data`).
        module: An own `nnx.Module` class given from Python; `spec.net` is then only a label.
        output_bias: Where the bias of the output layer starts, [num_outputs]; not given: 0.

    Returns:
        Pure functions of one run.

    Raises:
        SpecError: The network cannot be built for this input, or the own module does not load, build or fit.
    """
    if module is None and spec.net in NETS:
        net = NETS[spec.net](spec, input=input, num_outputs=num_outputs)
        return started(net, spec, example=example, output_bias=output_bias)
    if module is None and ":" not in spec.net:
        close = " or ".join(nearest(spec.net, CATALOG["net"])) or ", ".join(NETS)
        refuse(
            "model.net",
            f"must be the name of a network or file.py:Class, got {spec.net!r}. Use {close}.",
        )
    from lanework.models import own

    cls = own.load_class(spec.net) if module is None else module
    return own.own_network(
        cls, arguments=spec.options, input=input, num_outputs=num_outputs, example=example
    )
