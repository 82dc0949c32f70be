"""Weights from files: our own models, and ResNets under the names of torchvision and timm; and out again.

Owns the reading of safetensors, the translation of names and layouts, and what becomes of weights that do not fit. Never
unpickles anything. Must not import `lanework.recipes`, `lanework.data` or anything above.

PyTorch keeps a convolution as [out, in, height, width] and a matrix as [out, in]; ours are [height, width, in, out] and
[in, out]. Batch normalisation's weight, bias, running_mean and running_var are our scale, bias, mean and var.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from lanework.models.base import Array, Network, Params, State, refuse

Tensors: TypeAlias = Mapping[str, NDArray[Any]]
Tree: TypeAlias = dict[str, dict[str, Any]]

PATH = "model.weights"
HEAD = "output"
WEIGHTS = "weights.safetensors"
PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
CONVERSION = (
    'import torch; from safetensors.torch import save_file; tensors = torch.load("{file}", weights_only=True); '
    'save_file({{k: v.contiguous() for k, v in tensors.items()}}, "{stem}.safetensors")'
)
ENOUGH = 0.5  # share of the weights below the head that a file of this architecture must fill
SHOWN = 4
_LEAVES = {
    ("norm", "weight"): (0, "scale"),
    ("norm", "bias"): (0, "bias"),
    ("norm", "running_mean"): (1, "mean"),
    ("norm", "running_var"): (1, "var"),
    ("weights", "weight"): (0, "kernel"),
    ("weights", "bias"): (0, "bias"),
}
_COUNTERS = ("num_batches_tracked",)


class Told(NamedTuple):
    """What became of a weights file; paths are `layer/leaf`.

    Attributes:
        source: The file.
        loaded: Tensors of the network that were filled.
        new: Those that were drawn afresh, because the file has none or the head is new.
        unfit: Those whose shape is another one in the file, with both shapes.
        unused: Tensors of the file that the network has no place for.
        num_loaded: Numbers that were filled.
        num_all: Numbers of the network, batch statistics included.
    """

    source: str
    loaded: tuple[str, ...]
    new: tuple[str, ...]
    unfit: tuple[str, ...]
    unused: tuple[str, ...]
    num_loaded: int
    num_all: int

    def text(self) -> str:
        """In one sentence or two, for plan, events and report."""
        count = len(self.loaded) + len(self.new) + len(self.unfit)
        parts = [
            f"{self.source}: {len(self.loaded)} of {count} tensors loaded "
            f"({self.num_loaded:,} of {self.num_all:,} numbers)"
        ]
        for label, names in (
            ("new", self.new),
            ("did not fit", self.unfit),
            ("left out", self.unused),
        ):
            if names:
                parts.append(f"{label}: {_few(names)}")
        return "; ".join(parts) + "."


class Fitted(NamedTuple):
    """Weights that fit a network, as nested dicts of the leaves that were found, and what became of the rest."""

    params: Tree
    state: Tree
    told: Told


def start_from(net: Network, path: str | Path, *, head: str = "new") -> tuple[Network, Told]:
    """The network, started from the weights of a file.

    Args:
        net: The network; only its `init` changes: fresh weights with those of the file laid over them.
        path: A safetensors file, a `best/` folder, or the folder of a study.
        head: `new`: the output layer is drawn afresh; `keep`: it is taken from the file, too.

    Returns:
        The network, and what was loaded, what is new and what did not fit.

    Raises:
        SpecError: The file is missing, pickled, cut short, or of another architecture.
    """
    params, state = jax.eval_shape(net.init, jax.random.key(0))
    found = fitted(
        read(path),
        params,
        state,
        source=Path(path).name,
        head=head,
        head_layer=net.layer_names[-1],
    )

    def init(key: Array) -> tuple[Params, State]:
        fresh_params, fresh_state = net.init(key)
        return laid_over(fresh_params, found.params), laid_over(fresh_state, found.state)

    return net._replace(init=init), found.told


def laid_over(fresh: Tree, loaded: Tree) -> Tree:
    """Fresh values with loaded ones in their place, in the type of the fresh ones."""

    def placed(layer: str, name: str, leaf: Any) -> Any:
        given = loaded.get(layer, {}).get(name)
        return leaf if given is None else jnp.asarray(given, leaf.dtype)

    return {
        layer: {name: placed(layer, name, leaf) for name, leaf in own.items()}
        if isinstance(own, Mapping)
        else placed("", layer, own)
        for layer, own in fresh.items()
    }


def locate(path: str | Path) -> Path:
    """The safetensors file that is meant by a file, a `best/` folder or a study's folder.

    Raises:
        SpecError: There is none, or it is of a kind that runs code when it is opened.
    """
    path = Path(path)
    if path.suffix.lower() in PICKLED:
        code = CONVERSION.format(file=path.name, stem=path.stem)
        refuse(
            PATH,
            f"must be a safetensors file, got {path.name}: opening a pickled file runs the code in it, so Lanework never "
            f"does. Convert it once where you trust it: {code}",
        )
    places = [path] if not path.is_dir() else [folder / WEIGHTS for folder in (path, path / "best")]
    for place in places:
        if place.is_file():
            return place
    if path.is_dir():
        refuse(
            PATH, f"must be a folder with {WEIGHTS} or best/{WEIGHTS}, got {path}. Name another."
        )
    refuse(
        PATH, f"must name a file that exists, got {path}. The path is relative to the study file."
    )


def read(path: str | Path) -> Tensors:
    """All tensors of a safetensors file by name; the file is mapped, not run.

    Raises:
        SpecError: It is missing, pickled, cut short or no such file, or holds an ensemble.
    """
    file = locate(path)
    description = file.parent / "model.json"
    if file.name == WEIGHTS and description.is_file():
        members = json.loads(description.read_text(encoding="utf-8")).get("members", 0)
        if members:
            refuse(
                PATH,
                f"must be one network, got an ensemble of {members} in {file.parent}. Take the best of a study without average: ensemble.",
            )
    stat = file.stat()
    return _read(str(file), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=2)
def _read(file: str, changed_ns: int, size: int) -> Tensors:
    """`read` of a file in one state of it; arms of a study share it."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as problem:
        refuse(
            PATH,
            f"must be a whole safetensors file of {size} bytes as it was written, reading {file} failed ({problem}). "
            "Fetch or write it again.",
        )


def fingerprint(path: str | Path) -> str:
    """Tells one content of a weights file from another, without reading all of it."""
    stat = locate(path).stat()
    return f"{locate(path)} {stat.st_size} {stat.st_mtime_ns}"


def fitted(
    tensors: Tensors,
    params: Tree,
    state: Tree,
    *,
    source: str = "",
    head: str = "new",
    head_layer: str = HEAD,
) -> Fitted:
    """Sort tensors of a file into a network.

    Args:
        tensors: The tensors, under our names (`0/dense_0/kernel`) or those of torchvision and timm.
        params: Shapes of the parameters.
        state: Shapes of the state.
        source: Name for the messages.
        head: `new` or `keep`, see `start_from`.
        head_layer: Name of the output layer.

    Raises:
        SpecError: The tensors are those of another architecture, or the head should be kept and does not fit.
    """
    is_ours = all(re.match(r"[01]/", name) for name in tensors)
    places = _places((params, state))
    named = dict(tensors) if is_ours else _translated(tensors, places, source)
    found: tuple[Tree, Tree] = ({}, {})
    loaded, new, unfit = [], [], []
    num_loaded = 0
    for path, shape in places.items():
        tree, layer, leaf = _parts(path)
        given = named.pop(path, None)
        shown = f"{layer}/{leaf}"
        is_skipped = layer == head_layer and head == "new"
        if given is None or is_skipped:
            new.append(shown)
        elif given.shape != shape:
            unfit.append(f"{shown} (file {_shape(given.shape)}, network {_shape(shape)})")
        else:
            found[tree].setdefault(layer, {})[leaf] = given
            loaded.append(shown)
            num_loaded += given.size
    num_all = sum(int(np.prod(shape)) for shape in places.values())
    told = Told(
        source, tuple(loaded), tuple(new), tuple(unfit), tuple(sorted(named)), num_loaded, num_all
    )
    _check(told, places, found, head=(head_layer, head), is_ours=is_ours)
    return Fitted(*found, told)


def to_torchvision(params: Tree, state: Tree) -> dict[str, NDArray[Any]]:
    """A ResNet's weights under torchvision's names and in PyTorch's layout.

    Args:
        params: Parameters of a `resnet` with batch normalisation before the activation.
        state: Its batch statistics.

    Returns:
        The tensors by name, fit for `safetensors.numpy.save_file`; `num_batches_tracked` is 0 throughout.

    Raises:
        SpecError: The network has parts that torchvision's ResNets do not have.
    """
    tensors: dict[str, NDArray[Any]] = {}
    for path, leaf in _places((params, state), leaves=True).items():
        name = torchvision_name(path)
        layer = _parts(path)[1]
        if name is None or (layer.endswith("_norm") and layer not in state):
            refuse(
                "model",
                f"must be a resnet with norm: batch before the activation to be written under torchvision's names, got the weights {path[2:]}. "
                "Write it under our own names instead.",
            )
        tensors[name] = np.ascontiguousarray(_to_torch(np.asarray(leaf)))
        if name.endswith(".running_mean"):
            counter = name.replace("running_mean", "num_batches_tracked")
            tensors[counter] = np.zeros((), np.int64)
    return tensors


def torchvision_name(path: str) -> str | None:
    """The name in torchvision of one of our tensors; None where it has none.

    Example:
        >>> torchvision_name("0/stage2_block0_conv1/kernel"), torchvision_name("1/stem_norm/mean")
        ('layer2.0.conv1.weight', 'bn1.running_mean')
    """
    tree, layer, leaf = _parts(path)
    owner = _torch_layer(layer)
    kind = "norm" if layer.endswith("_norm") else "weights"
    if leaf == "bias" and kind == "weights" and layer != HEAD:
        return None  # normalisation takes it off again
    for (of, theirs), (place, ours) in _LEAVES.items():
        if owner and (of, place, ours) == (kind, tree, leaf):
            return f"{owner}.{theirs}"
    return None


def _torch_layer(layer: str) -> str | None:
    simple = {"stem": "conv1", "stem_norm": "bn1", HEAD: "fc"}
    if layer in simple:
        return simple[layer]
    match = re.fullmatch(r"stage(\d+)_block(\d+)_(?:conv(\d+)|shortcut)(_norm)?", layer)
    if match is None:
        return None
    stage, block, conv, norm = match.groups()
    inner = f"{'bn' if norm else 'conv'}{conv}" if conv else f"downsample.{1 if norm else 0}"
    return f"layer{stage}.{block}.{inner}"


def _translated(
    tensors: Tensors, places: Mapping[str, tuple[int, ...]], source: str
) -> dict[str, Any]:
    """Tensors of a PyTorch ResNet under our names; what has no place keeps its own."""
    prefix = _prefix(tensors, source)
    ours = {torchvision_name(path): path for path in places}
    named: dict[str, Any] = {}
    for name, tensor in tensors.items():
        bare = name.removeprefix(prefix)
        if bare.endswith(_COUNTERS):
            continue
        bare = bare.replace(
            "head.fc.", "fc."
        )  # timm's classifier heads with a pooling of their own
        path = ours.get(bare)
        named[path or name] = tensor if path is None else _from_torch(tensor)
    return named


def _prefix(tensors: Tensors, source: str) -> str:
    """What stands before all names (`module.`, `backbone.`), found by the first convolution."""
    ends = [name for name in tensors if re.search(r"(^|\.)conv1\.weight$", name)]
    tops = [
        name.removesuffix("conv1.weight")
        for name in ends
        if not re.search(r"(^|\.)layer\d+\.", name)
    ]
    if len(tops) == 1:
        return tops[0]
    if any(re.search(r"(^|\.)conv1\.0\.weight$", name) for name in tensors):
        refuse(
            PATH,
            f"must have one convolution as its stem, got a deep stem of several in {source} (timm's ResNet-C, -D or -T). "
            "Take the plain variant, for example timm's resnet50.",
        )
    refuse(
        PATH,
        f"must hold names of our own models or of torchvision's and timm's ResNets, got {_few(tuple(tensors))} in {source}. "
        "Rename the tensors (conv1.weight, layer1.0.conv1.weight, ...), or train the start here.",
    )


def _check(
    told: Told,
    places: Mapping[str, tuple[int, ...]],
    found: tuple[Tree, Tree],
    *,
    head: tuple[str, str],
    is_ours: bool,
) -> None:
    """Refuse what is no start for this network; `head` is the output layer and what is to become of it."""
    body = {
        path: int(np.prod(shape)) for path, shape in places.items() if _parts(path)[1] != head[0]
    }
    filled = sum(
        size
        for path, size in body.items()
        if _parts(path)[2] in found[_parts(path)[0]].get(_parts(path)[1], {})
    )
    total = sum(body.values())
    if filled < ENOUGH * total or not told.loaded:
        why = [
            f"{label} {_few(names)}"
            for label, names in (
                ("did not fit:", told.unfit),
                (
                    "missing in the file:",
                    tuple(name for name in told.new if not name.startswith(f"{head[0]}/")),
                ),
                ("without a place:", told.unused),
            )
            if names
        ]
        refuse(
            PATH,
            f"must be weights of this architecture, got {told.source}, which fills {filled:,} of the {total:,} numbers "
            f"below the head; {'; '.join(why)}. Use the net, depth, width and norm that the file was trained with.",
        )
    unused = [name for name in told.unused if not re.search(r"(^|\.)(fc|head)\.", name)]
    if unused and not is_ours:
        refuse(
            PATH,
            f"must be weights of this architecture, got {told.source} with {len(unused)} tensors that the network has no place "
            f"for: {_few(unused)}. Use the depth and norm that the file was trained with.",
        )
    kept = [name for name in (*told.new, *told.unfit) if name.startswith(f"{head[0]}/")]
    if head[1] == "keep" and kept:
        refuse(
            "model.head",
            f"must be new where the file's head does not fit, got keep with {_few(kept)}. Use head: new.",
        )


def _places(trees: tuple[Tree, Tree], *, leaves: bool = False) -> dict[str, Any]:
    """`0/layer/leaf` for parameters and `1/layer/leaf` for state, to the shape (or the leaf itself)."""
    return {
        f"{place}/{layer}/{name}" if layer else f"{place}/{name}": (
            leaf if leaves else tuple(leaf.shape)
        )
        for place, tree in enumerate(trees)
        for top, own in tree.items()
        for layer, name, leaf in (
            [(top, name, leaf) for name, leaf in own.items()]
            if isinstance(own, Mapping)
            else [("", top, own)]
        )
    }


def _parts(path: str) -> tuple[int, str, str]:
    """Tree, layer and leaf; a layer may have slashes of its own."""
    tree, rest = path.split("/", 1)
    layer, _, leaf = rest.rpartition("/")
    return int(tree), layer, leaf


def _from_torch(tensor: NDArray[Any]) -> NDArray[Any]:
    if tensor.ndim == 4:
        return tensor.transpose(2, 3, 1, 0)
    return tensor.T if tensor.ndim == 2 else tensor


def _to_torch(tensor: NDArray[Any]) -> NDArray[Any]:
    if tensor.ndim == 4:
        return tensor.transpose(3, 2, 0, 1)
    return tensor.T if tensor.ndim == 2 else tensor


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one number"


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
