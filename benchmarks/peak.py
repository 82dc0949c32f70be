"""Best float32 (and bfloat16) matrix rate of this machine, as `python peak.py RESULT.json`.

Square products of several sizes through JAX and, where installed, PyTorch; the best of all counts.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

SIZES = (1024, 2048, 4096)
TRIALS = 7


def best_rate(product: Callable[[], object], size: int) -> float:
    """GFLOP/s of the fastest of some trials; `product` must wait for its result."""
    product()
    times = []
    for _ in range(TRIALS):
        started = time.perf_counter()
        product()
        times.append(time.perf_counter() - started)
    return 2 * size**3 / min(times) / 1e9


def with_jax(sizes: tuple[int, ...]) -> dict[str, float]:
    import jax
    import jax.numpy as jnp

    rates = {}
    for dtype in ("float32", "bfloat16"):
        for size in sizes:
            a = jnp.ones((size, size), dtype) * 0.5
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
            a = torch.full((size, size), 0.5, dtype=dtype, device=device)
            name = f"torch {str(dtype).removeprefix('torch.')} {size}"
            rates[name] = best_rate(lambda a=a: (a @ a)[0, 0].item(), size)
    return rates


def main() -> None:
    import jax

    sizes = SIZES if jax.default_backend() == "cpu" else (4096, 8192, 16384)
    rates = with_jax(sizes)
    try:
        rates |= with_torch(sizes)
    except ImportError:
        rates["torch"] = 0.0
    best = {
        dtype: max(rate for name, rate in rates.items() if dtype in name)
        for dtype in ("float32", "bfloat16")
    }
    Path(sys.argv[1]).write_text(json.dumps({"gflops": best, "all": rates}, indent=1))


if __name__ == "__main__":
    main()
