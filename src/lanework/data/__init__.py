"""From files and arrays to what a cohort trains on: sources, splits, preparation, batch order.

Owns reading, guessing, splitting, preparing, describing and ordering data. Imports nothing from
``models``, ``recipes``, ``health`` or ``cohort``, and never JAX; pandas, pyarrow and scikit-learn
are imported inside functions, so that a built-in numeric set loads in milliseconds.
"""

from __future__ import annotations

from lanework.data.batches import batch_indices
from lanework.data.folds import even_epochs, merged
from lanework.data.load import load, load_folds, peek
from lanework.data.prepare import Preparation
from lanework.data.types import Dataset, InputInfo, Part

__all__ = [
    "Dataset",
    "InputInfo",
    "Part",
    "Preparation",
    "batch_indices",
    "even_epochs",
    "load",
    "load_folds",
    "merged",
    "peek",
]
