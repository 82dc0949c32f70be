"""The public face: `Study`, `run`, `load`. The one place where steps are strung together."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lanework.api.session import Progress
    from lanework.api.study import Plan, Results, Study, load, run

__all__ = ["Plan", "Progress", "Results", "Study", "load", "run"]

_HOMES = {
    "Progress": "session",
    **dict.fromkeys(("Plan", "Results", "Study", "load", "run"), "study"),
}


def __getattr__(name: str) -> Any:
    # `lanework diagnose` reads a folder without JAX, which the rest of this package imports.
    if name in _HOMES:
        return getattr(importlib.import_module(f"lanework.api.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'lanework.api' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
