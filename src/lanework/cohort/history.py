"""What earlier studies on this machine measured: rates and layouts by bucket, kept in the user's cache folder.

Owns one small JSON file, replaced whole. Losing it costs a measurement, nothing else, so a file that cannot be read counts as
empty.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from lanework.folders import cache_folder, is_cache_on

FILE = "measured.json"
MAX_ENTRIES = 500


def recall() -> dict[str, Any]:
    """Everything remembered: `{key: {...}}`."""
    path = cache_folder() / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Add or replace entries; the newest ones stay when there are too many. A folder that cannot be written is no error."""
    if not entries or not is_cache_on():
        return
    known = recall()
    for key, entry in entries.items():
        known.pop(key, None)
        known[key] = dict(entry)
    kept = dict(list(known.items())[-MAX_ENTRIES:])
    folder = cache_folder()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{FILE}.{os.getpid()}.part"
        temporary.write_text(json.dumps(kept), encoding="utf-8")
        temporary.replace(folder / FILE)


def machine_key() -> str:
    """What a measurement depends on besides the program: processor, devices, JAX."""
    kinds = ",".join(device.device_kind for device in jax.devices())
    return f"{platform.machine()}|{kinds}|jax {jax.__version__}"


def bucket_key(key: str) -> str:
    """Key of the measurement of one bucket on this machine."""
    return f"bucket|{machine_key()}|{key}"


def matrix_rate() -> float:
    """Floating-point operations per second of a matrix product on this machine; measured once (0.05 s), then remembered."""
    key = f"matrix|{machine_key()}"
    entry = recall().get(key)
    if entry is None:
        entry = {"flops_per_s": _matrix_rate()}
        remember({key: entry})
    return float(entry["flops_per_s"])


def _matrix_rate(size: int = 512, seconds: float = 0.05) -> float:
    matrix = np.ones((size, size), np.float32)
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        matrix @ matrix
        count += 1
    return count * 2.0 * size**3 / (time.perf_counter() - begun)
