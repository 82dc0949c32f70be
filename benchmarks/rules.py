"""What a step costs under each update rule, as `python rules.py RESULT.json [STEPS]`.

Lanework: 16 lanes of R1's net on digits, one program per rule, steps per second of all lanes together with the validation
that belongs to a segment. PyTorch, where installed and where it has the rule: forward, backward and `step()` of one network of
the same shape on one thread, with its `foreach` and `fused` forms where they exist. Each library's figures are relative to its
own plain gradient descent: the price of the rule, not of the library.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

TRIALS = 3
TRIAL_SECONDS = 0.3
BATCH = 64
WIDTHS = (64, 64, 64, 10)
STUDY = {
    "study": "rules",
    "data": {"source": "digits"},
    "model": {"net": "mlp", "hidden": list(WIDTHS[1:-1]), "activation": "relu"},
    "seeds": 16,
}
# Rule of the catalogue to the optimizer of PyTorch and its arguments.
TORCH: Mapping[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "adagrad": ("Adagrad", {}),
    "adadelta": ("Adadelta", {}),
    "rmsprop": ("RMSprop", {}),
    "adam": ("Adam", {}),
    "amsgrad": ("Adam", {"amsgrad": True}),
    "adamw": ("AdamW", {}),
    "nadam": ("NAdam", {}),
    "radam": ("RAdam", {}),
    "adamax": ("Adamax", {}),
    "rprop": ("Rprop", {}),
    "adafactor": ("Adafactor", {}),
}
FORMS: Mapping[str, dict[str, bool]] = {
    "for loop": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}


def lanework_seconds(name: str) -> float:
    """Seconds per lane and step under a rule, the best of some trials."""
    from lanework.api.preparing import prepare
    from lanework.cohort import assemble, compiled, measure
    from lanework.spec import parse_study

    measure.TRIAL_SECONDS = TRIAL_SECONDS
    study = STUDY | {"train": {"optimizer": name, "epochs": 3}}
    prepared = prepare(parse_study(study, base=Path.cwd()))
    laid = prepared.laid[0]
    parts = assemble.parts(prepared.datasets[0])
    with ThreadPoolExecutor(2) as pool:
        programs = compiled.Programs(
            *laid.functions,
            strategy=laid.strategy,
            shapes=laid.bucket.shapes,
            data=compiled.place(parts, num_devices=laid.strategy.num_devices),
            pool=pool,
        )
        programs.prepare()
        programs.wait_for_all()
        return 1.0 / max(measure.lane_steps_per_s(programs) for _ in range(TRIALS))


def torch_seconds(name: str, num_steps: int) -> dict[str, float]:
    """Seconds per step under PyTorch's rule by form; forms that it does not have are left out."""
    import torch

    torch.set_num_threads(1)
    kind, options = TORCH[name]
    if not hasattr(torch.optim, kind):
        return {}
    x = torch.rand(BATCH, WIDTHS[0])
    y = torch.randint(0, WIDTHS[-1], (BATCH,))
    found: dict[str, float] = {}
    for form, flags in FORMS.items():
        layers: list[torch.nn.Module] = []
        for size, width in itertools.pairwise(WIDTHS):
            layers += [torch.nn.Linear(size, width), torch.nn.ReLU()]
        net = torch.nn.Sequential(*layers[:-1])
        with contextlib.suppress(TypeError, RuntimeError):  # a form that this optimizer has not
            optimizer = getattr(torch.optim, kind)(net.parameters(), lr=1e-3, **options, **flags)
            found[form] = timed(lambda o=optimizer, n=net: torch_step(n, o, x, y), num_steps)
    return found


def torch_step(net: Any, optimizer: Any, x: Any, y: Any) -> None:
    import torch

    optimizer.zero_grad(set_to_none=True)
    torch.nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()


def timed(step: Callable[[], None], num_steps: int) -> float:
    """Seconds of one step: the median trial."""
    step()
    seconds = []
    for _ in range(TRIALS):
        begun = time.perf_counter()
        for _ in range(num_steps):
            step()
        seconds.append((time.perf_counter() - begun) / num_steps)
    return statistics.median(seconds)


def main() -> None:
    from lanework.catalog import CATALOG

    result, num_steps = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200
    rows: dict[str, dict[str, Any]] = {}
    for name, row in CATALOG["optimizer"].items():
        if row.facts.get("batch") == "all":  # a step of another size, not to be compared
            continue
        rows[name] = {"lanework_s": lanework_seconds(name)}
        with contextlib.suppress(ImportError):
            if name in TORCH:
                rows[name]["torch_s"] = torch_seconds(name, num_steps)
        print(name, json.dumps(rows[name]), flush=True)
        result.write_text(json.dumps({"rules": rows}, indent=1))


if __name__ == "__main__":
    main()
