"""Devices: what JAX must be told before it starts, and what machine this is.

Owns the choice of host devices (one per core on a CPU) and the mesh over which lanes are sharded.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

LANE_AXIS = "lane"
PACKAGES = ("lanework", "jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn")


def available_cores() -> int:
    """Cores this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def prepare() -> None:
    """Ask for one host device per core.

    Inside a process whose JAX has already started, the devices are taken as they are. Settings of the user
    (`JAX_NUM_CPU_DEVICES`, `XLA_FLAGS`) win.
    """
    if _is_started():
        return
    flags = os.environ.get("XLA_FLAGS", "")
    if (
        "xla_force_host_platform_device_count" not in flags
        and getattr(jax.config, "jax_num_cpu_devices", -1) < 1
    ):
        jax.config.update("jax_num_cpu_devices", available_cores())


def _is_started() -> bool:
    from jax._src import xla_bridge  # the only place that knows without starting the backend

    return bool(xla_bridge.backends_are_initialized())


def lane_mesh(num_devices: int | None = None) -> Mesh:
    """A one-axis mesh over the first `num_devices` devices (all by default)."""
    devices = jax.devices()[: num_devices or None]
    return jax.make_mesh(
        (len(devices),), (LANE_AXIS,), axis_types=(AxisType.Auto,), devices=devices
    )


def by_lane(mesh: Mesh) -> NamedSharding:
    """Sharding of arrays whose leading axis is the lane."""
    return NamedSharding(mesh, PartitionSpec(LANE_AXIS))


def everywhere(mesh: Mesh) -> NamedSharding:
    """Sharding of arrays that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def total_memory_bytes() -> int:
    """Memory of this machine that a process may use, bytes (the container's limit where there is one)."""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file():
        text = limit.read_text().strip()
        if text.isdigit():
            return min(pages, int(text))
    return pages


def lane_memory_bytes() -> int:
    """Memory in which lanes live, bytes: that of the accelerators, or the machine's on a CPU."""
    limits = [(device.memory_stats() or {}).get("bytes_limit", 0) for device in jax.devices()]
    if jax.default_backend() != "cpu" and all(limits):
        return int(sum(limits))
    return total_memory_bytes()


def machine() -> dict[str, Any]:
    """Cores, memory, accelerators and versions, for the records."""
    devices = jax.devices()
    return {
        "platform": platform.platform(),
        "processor": _processor_name(),
        "cores": available_cores(),
        "memory_bytes": total_memory_bytes(),
        "backend": jax.default_backend(),
        "devices": [device.device_kind for device in devices],
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
