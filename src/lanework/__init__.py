"""Lanework: a training laboratory for neural networks.

Whole studies (data, network, recipes, seeds) train side by side as lanes of a few compiled programs. Start with
`lanework.run("study.yaml")` or `lanework.Study(...)`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lanework.api import Plan, Progress, Results, Study, load, run

__version__ = "0.1.0"
__all__ = ["Plan", "Progress", "Results", "Study", "__version__", "load", "run"]

_API = frozenset({"Plan", "Progress", "Results", "Study", "load", "run"})


def __getattr__(name: str) -> Any:
    # JAX takes most of a second to import, so the API is loaded when it is first asked for.
    if name in _API:
        return getattr(importlib.import_module("lanework.api"), name)
    raise AttributeError(f"module 'lanework' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
