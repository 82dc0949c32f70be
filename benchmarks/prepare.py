"""From a study file to what the peers get: the split and prepared arrays, and the list of runs.

Run as `python prepare.py STUDY FOLDER` in a process of its own. Lanework itself reads, splits and
prepares, and expands the grid, so that every peer does the same work by construction. It writes
`FOLDER/arrays.npz` and `FOLDER/job.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from lanework import data, spec

NO_TARGET = -100  # what PyTorch's losses leave out


def main() -> None:
    study, folder = spec.load_study(Path(sys.argv[1])), Path(sys.argv[2])
    arms = spec.expand(study)
    first = arms[0].config
    dataset = data.load(first.data)
    arrays = {}
    for name in ("train", "val", "test"):
        part = getattr(dataset, name)
        if dataset.input.kind == "tokens":  # padded steps: any token, and no target
            arrays[f"x_{name}"] = np.maximum(part.x, 0).astype(np.int64)
            arrays[f"y_{name}"] = np.where(part.y < 0, NO_TARGET, part.y).astype(np.int64)
            continue
        arrays[f"x_{name}"] = _as_seen(part.x, dataset.input_scale, dataset.input_shift)
        arrays[f"y_{name}"] = part.y.astype(np.int64)
    np.savez(folder / "arrays.npz", **arrays)
    options = first.model.options
    runs = [
        {
            "optimizer": arm.config.train.optimizer.name,
            "options": _numbers(arm.config.train.optimizer.options),
            "learning_rate": arm.config.train.learning_rate,
            "seed": seed,
        }
        for arm in arms
        for seed in study.seeds
    ]
    job = {
        "data": str(folder / "arrays.npz"),
        "net": first.model.net,
        "hidden": list(options.get("dense" if first.model.net == "cnn" else "hidden", ())),
        "channels": list(options.get("channels", ())) if first.model.net == "cnn" else [],
        "embedding": int(options.get("embedding", 0)),
        "vocabulary": dataset.input.vocabulary,
        "depth": int(options["depth"]) if first.model.net == "resnet" else 0,
        "num_classes": dataset.num_outputs,
        "epochs": first.train.epochs,
        "batch_size": first.train.batch_size,
        "threads": None,
        "runs": runs,
    }
    (folder / "job.json").write_text(json.dumps(job))
    sizes = {name: len(getattr(dataset, name).y) for name in ("train", "val", "test")}
    work = {
        key: job[key]
        for key in ("net", "hidden", "channels", "embedding", "depth", "epochs", "batch_size")
    }
    work |= {"num_runs": len(runs), "rows": sizes, "input_shape": list(dataset.input.shape)}
    work["num_classes"] = dataset.num_outputs
    work["segment_epochs"] = first.train.eval_every
    work["flops_per_sample"] = flops_per_sample(work)
    (folder / "work.json").write_text(json.dumps(work))


def _as_seen(x: np.ndarray, scale: np.ndarray | None, shift: np.ndarray | None) -> np.ndarray:
    """The float32 numbers that enter the network (Lanework scales uint8 inside the step)."""
    x = x.astype(np.float32)
    return x if scale is None else (x * scale + shift).astype(np.float32)


def _numbers(options: dict) -> dict[str, float]:
    return {name: value for name, value in options.items() if isinstance(value, int | float)}


def flops_per_sample(work: dict) -> float:
    """Matrix operations per training sample, validation included; a multiply-add counts 2.

    Forward and weight gradient of every layer, input gradient of every layer but the first, and
    the forward pass of the validation part, spread over the training samples.
    """
    if work["net"] == "gru":
        return gru_flops_per_sample(work)
    if work["net"] == "resnet":
        return resnet_flops_per_sample(work)
    products, shape = [], work["input_shape"]
    width = int(np.prod(shape))
    if work["net"] == "cnn":
        height, breadth, width = shape
        for channels in work["channels"]:
            products.append(height * breadth * 9 * width * channels)
            height, breadth, width = height // 2, breadth // 2, channels
        width *= height * breadth
    for hidden in [*work["hidden"], work["num_classes"]]:
        products.append(width * hidden)
        width = hidden
    forward = 2 * sum(products)
    return 3 * forward - 2 * products[0] + forward * work["rows"]["val"] / work["rows"]["train"]


def resnet_flops_per_sample(work: dict) -> float:
    """The same of the CIFAR family: stem, three stages of basic blocks, 1x1 shortcuts where the shape changes, output."""
    pixels, channels = work["input_shape"][0] * work["input_shape"][1], work["input_shape"][2]
    products, width = [pixels * 9 * channels * 16], 16
    for stage in range(3):
        inner = 16 * 2**stage
        if stage > 0:
            pixels //= 4
            products.append(pixels * width * inner)
        for _ in range(2 * (work["depth"] // 6)):
            products.append(pixels * 9 * width * inner)
            width = inner
    forward = 2 * (sum(products) + width * work["num_classes"])
    return 3 * forward - 2 * products[0] + forward * work["rows"]["val"] / work["rows"]["train"]


def gru_flops_per_sample(work: dict) -> float:
    """The same of a sequence: three gates of inputs and hidden states, and the output, at every step."""
    products, width = [], work["embedding"]
    for hidden in work["hidden"]:
        products += [width * 3 * hidden, hidden * 3 * hidden]
        width = hidden
    forward = 2 * work["input_shape"][0] * (sum(products) + width * work["num_classes"])
    return forward * (3 + work["rows"]["val"] / work["rows"]["train"])


if __name__ == "__main__":
    main()
