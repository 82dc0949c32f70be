"""Health of a run: probes inside the compiled segment, verdicts from what they record.

Must not import `lanework.recipes`, `lanework.models`, `lanework.data` or anything above them. Rules (`diagnose`, `findings`,
`records`, `causes`) need no JAX, so `Monitor`, which does, is loaded when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lanework.health.monitor import Monitor

__all__ = ["Monitor"]


def __getattr__(name: str) -> Any:
    if name == "Monitor":
        return importlib.import_module("lanework.health.monitor").Monitor
    raise AttributeError(f"module 'lanework.health' has no attribute {name!r}")
