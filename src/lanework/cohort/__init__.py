"""The engine: many runs trained side by side as lanes of a few compiled programs.

Usable on its own: `train_lanes` takes any pure `init` and `loss`, `nnx_pair` makes them from an NNX module. Nothing in here
reads or writes study files. Must not import `lanework.api`, `lanework.estimator`, `lanework.export` or `lanework.cli`.
"""

from lanework.cohort.standalone import Trained, nnx_pair, train_lanes

__all__ = ["Trained", "nnx_pair", "train_lanes"]
