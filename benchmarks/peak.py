"""Best float32 (and bfloat16) matrix rate of this machine, as `python peak.py RESULT.json`.

Square products of several sizes through JAX and, where installed, PyTorch. The rate of a size is that of its
median trial (single trials of a virtual machine can be wildly off); the best size and library counts.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

SIZES = (1024, 2048, 4096)
TRIALS = 7


def best_rate(product: Callable[[], object], size: int) -> float:
    """GFLOP/s of the median of some trials; `product` must wait for its result."""
    product()
    times = []
    for _ in range(TRIALS):
        started = time.perf_counter()
        product()
        times.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(times) / 1e9


def with_jax(sizes: tuple[int, ...]) -> dict[str, float]:
    import jax
    import jax.numpy as jnp

    rates = {}
    for dtype in ("float32", "bfloat16"):
        for size in sizes:
            a = jax.random.uniform(jax.random.key(size), (size, size), dtype)
            product = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))
            rates[f"jax {dtype} {size}"] = best_rate(
                lambda f=product, a=a: f(a).block_until_ready(), size
            )
    return rates


def with_torch(sizes: tuple[int, ...]) -> dict[str, float]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    rates = {}
    for dtype in (torch.float32, torch.bfloat16):
        for size in sizes:
            a = torch.rand((size, size), dtype=dtype, device=device)
            name = f"torch {str(dtype).removeprefix('torch.')} {size}"
            rates[name] = best_rate(lambda a=a: (a @ a)[0, 0].item(), size)
    return rates


def main() -> None:
    import jax

    sizes = SIZES if jax.default_backend() == "cpu" else (4096, 8192, 16384)
    rates = with_jax(sizes)
    with contextlib.suppress(ImportError):  # JAX alone then; by_library says so
        rates |= with_torch(sizes)
    best = {
        dtype: max(rate for name, rate in rates.items() if dtype in name)
        for dtype in ("float32", "bfloat16")
    }
    by_library = {
        f"{library} {dtype}": max(
            (rate for name, rate in rates.items() if library in name and dtype in name),
            default=None,
        )
        for library in ("jax", "torch")
        for dtype in best
    }
    Path(sys.argv[1]).write_text(
        json.dumps({"gflops": best, "by_library": by_library, "all": rates}, indent=1)
    )


if __name__ == "__main__":
    main()
