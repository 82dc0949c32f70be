"""Compiled programs on disk: the persistent compilation cache.

JAX's own cache saves XLA's work but not the tracing and lowering before it, which take most of a second for a small
study, so programs are kept here by what they were built from. Owns the files and, above all, the key. A file that cannot be
used is compiled anew; nothing else depends on it. Where the user has switched JAX's cache on, that one is used alone: an
executable that came out of it cannot be written again (XLA on CPU leaves its functions out).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import threading
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable

from lanework.folders import cache_folder, is_cache_on

# What loading a stale or damaged file can raise; each means "compile it".
_UNUSABLE = (
    OSError,
    EOFError,
    pickle.UnpicklingError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    jax.errors.JaxRuntimeError,
)
_CONFIG = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_debug_nans",
    "jax_debug_infs",
    "jax_disable_jit",
    "jax_disable_most_optimizations",
    "jax_numpy_rank_promotion",
    "jax_numpy_dtype_promotion",
    "jax_debug_key_reuse",
)
MAX_FILES = 400


def key(*parts: object) -> str:
    """Key of a program: what it was built from, the code that built it, and the machine it runs on.

    Args:
        parts: Everything static about the program, with a faithful `repr` (configuration, shapes, data fingerprint, layout).
    """
    text = "\n".join([_environment(), *map(repr, parts)])
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _environment() -> str:
    packages = []
    for name in ("jax", "jaxlib", "flax", "optax", "numpy"):
        try:
            packages.append(f"{name}={version(name)}")
        except PackageNotFoundError:
            packages.append(f"{name}=none")
    config = [f"{name}={getattr(jax.config, name, None)}" for name in _CONFIG]
    kinds = [f"{device.platform}:{device.device_kind}" for device in jax.devices()]
    flags = [os.environ.get(name, "") for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")]
    return "\n".join([*packages, *config, *kinds, *flags, _processor(), _code()])


def _processor() -> str:
    """Instruction sets of the processor: machine code of one must not run on another."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return ""
    lines = path.read_text().splitlines()
    return "\n".join(
        sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    )


def _code() -> str:
    """Hash of Lanework's own source: a change to any of it makes new programs."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for package in ("cohort", "models", "recipes", "health", "catalog"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def is_on() -> bool:
    """Whether programs are kept here; off where JAX's own cache is on, and with `LANEWORK_CACHE=off`."""
    return is_cache_on() and not getattr(jax.config, "jax_compilation_cache_dir", None)


def load(name: str, devices: Sequence[Any]) -> Any | None:
    """The executable of that key, or None when there is none that can be used here."""
    path = _folder() / name
    try:
        needs_lapack, payload, in_tree, out_tree = pickle.loads(path.read_bytes())
        if needs_lapack:
            _wake_lapack()
        loaded = serialize_executable.deserialize_and_load(
            payload, in_tree, out_tree, execution_devices=list(devices)
        )
        os.utime(path)
    except _UNUSABLE:
        return None
    return loaded


def save(name: str, compiled: Any) -> bool:
    """Keep an executable; False where this backend cannot give it away, or the folder cannot be written."""
    try:
        needs_lapack = 'custom_call_target="lapack_' in compiled.as_text()
        content = pickle.dumps((needs_lapack, *serialize_executable.serialize(compiled)))
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = folder / f"{name}.{os.getpid()}.{threading.get_ident()}.part"
        temporary.write_bytes(content)
        temporary.replace(folder / name)
        _forget_oldest(folder)
    except (*_UNUSABLE, NotImplementedError, pickle.PicklingError):
        return False
    return True


@cache
def _wake_lapack() -> None:
    """Have JAX look up LAPACK's functions, which it does when it lowers a call of one.

    An executable that is loaded was not lowered in this process: without that, its first call of LAPACK (orthogonal weights
    take a QR decomposition) jumps to address 0 and ends the process.
    """
    jax.jit(jax.numpy.linalg.qr).lower(jax.ShapeDtypeStruct((2, 2), jax.numpy.float32))


def _forget_oldest(folder: Path) -> None:
    ages = []
    for path in folder.iterdir():
        # Other threads and processes write and forget here too: what is gone needs no forgetting.
        with contextlib.suppress(FileNotFoundError):
            ages.append((path.stat().st_mtime, path))
    for _, path in sorted(ages)[: max(0, len(ages) - MAX_FILES)]:
        path.unlink(missing_ok=True)


def _folder() -> Path:
    return cache_folder() / "programs"
