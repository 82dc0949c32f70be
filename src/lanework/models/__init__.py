"""Models: from a model spec to pure functions `init` and `apply`.

Owns networks, layers, initialisers, activations and the adapter for the user's own `nnx.Module`. Must not import
`lanework.recipes`, `lanework.data`, `lanework.health` or anything above them. Flax is loaded only when a network is an
own `nnx.Module`: its import costs a third of a second and the built-in networks do not need it.
"""

from lanework.models.base import Input, ModelSpec, Network
from lanework.models.conv import conv_general_dilated
from lanework.models.dropout import monte_carlo, passes_at_evaluation, sample_outputs
from lanework.models.ensemble import ensemble, mean_prediction
from lanework.models.network import NETS, network
from lanework.models.signals import signal_layers, signals
from lanework.models.starting import needs_data
from lanework.models.transfer import fingerprint as weights_fingerprint
from lanework.models.transfer import start_from, to_torchvision

__all__ = [
    "NETS",
    "Input",
    "ModelSpec",
    "Network",
    "conv_general_dilated",
    "ensemble",
    "mean_prediction",
    "monte_carlo",
    "needs_data",
    "network",
    "passes_at_evaluation",
    "sample_outputs",
    "signal_layers",
    "signals",
    "start_from",
    "to_torchvision",
    "weights_fingerprint",
]
