"""The user's own `nnx.Module` as a network of pure functions.

Owns loading a class from a file, filling in its constructor's arguments, and carrying its state. The only module here
that imports Flax. Must not import `lanework.recipes`, `lanework.data` or anything above.
"""

from __future__ import annotations

import inspect
import math
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.nnx.tracers import TraceState
from jax import lax

from lanework import own_code
from lanework.catalog import nearest
from lanework.models.base import Array, Hypers, Input, Network, Params, State, refuse
from lanework.models.conv import conv_general_dilated

KeyPath: TypeAlias = tuple[Any, ...]  # names of attributes, places in lists
Build: TypeAlias = Callable[[Array], nnx.Module]


def load_class(net: str) -> type[nnx.Module]:
    """Load `file.py:Class`.

    The folder of the file can be imported from while the file is being run, so that it may have helpers beside it.

    Args:
        net: Path of a Python file and name of a class in it, joined by a colon.

    Returns:
        The class.

    Raises:
        SpecError: There is no such file, it does not run, or it holds no such `nnx.Module`.
    """
    cls = own_code.load(net, path="model.net", what="class", suits=_is_module_class)
    if not _is_module_class(cls):
        file, _, name = net.rpartition(":")
        refuse(
            "model.net",
            f"must name a class derived from flax.nnx.Module, got {name!r} ({type(cls).__name__}) in {Path(file).name}. "
            f"Write class {name}(nnx.Module).",
        )
    found: type[nnx.Module] = cls
    return found


def _is_module_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, nnx.Module) and value is not nnx.Module


def own_network(
    cls: Any,
    *,
    arguments: Mapping[str, Any],
    input: Input,
    num_outputs: int,
    example: np.ndarray | None = None,
) -> Network:
    """Pure functions of an `nnx.Module` class.

    The constructor gets the arguments of the study, `rngs`, and by name, where it asks for them and the study does not
    give them: `in_features` (entries of a sample), `in_channels` (its last axis), `input_shape`, and `out_features`,
    `num_outputs` or `num_classes`. Every `nnx.Conv` is served by the fast convolution. Modules are split and merged
    while tracing only.

    Args:
        cls: The class.
        arguments: Constructor arguments from the study.
        input: Shape of a sample.
        num_outputs: Outputs that the data needs.
        example: A few samples, for their type.

    Returns:
        The pure functions. The parameters are grouped by submodule: `blocks/0` holds what `self.blocks[0]` owns, and
        `own` what the module itself does. Random streams (dropout) are drawn anew from the key of each step.

    Raises:
        SpecError: The constructor refuses its arguments, the call fails, or the outputs have another shape than
            [batch, num_outputs].
    """
    if not _is_module_class(cls):
        refuse(
            "model",
            f"must be a class derived from flax.nnx.Module, got {cls!r}. Give the class itself, not an object of it.",
        )
    build = _builder(cls, _arguments(cls, arguments, input=input, num_outputs=num_outputs))
    shape = _shape(cls, build)
    net = Network(shape.init(build), shape.apply, shape.layer_names())
    _try_call(cls, net, input=input, num_outputs=num_outputs, example=example)
    return net


def _arguments(
    cls: type, given: Mapping[str, Any], *, input: Input, num_outputs: int
) -> dict[str, Any]:
    """Arguments of the constructor, those of the data filled in; a SpecError when they do not fit."""
    signature = _signature(cls)
    offered = {
        "in_features": math.prod(input.shape),
        "in_channels": input.shape[-1],
        "input_shape": tuple(input.shape),
        "out_features": num_outputs,
        "num_outputs": num_outputs,
        "num_classes": num_outputs,
    }
    filled = {name: value for name, value in offered.items() if name in signature.parameters}
    accepted = [name for name in signature.parameters if name != "rngs"]
    try:
        signature.bind(**(filled | dict(given) | _rngs(cls, None)))
    except TypeError as error:
        unknown = [name for name in given if name not in accepted]
        close = nearest(unknown[0], accepted) if unknown else ()
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        names = ", ".join(accepted) or "nothing"
        refuse(
            "model",
            f"must fit the constructor of {cls.__name__}, which takes {names}; got "
            f"{str(error).removeprefix('got ')}.{hint} Set its arguments beside net.",
        )
    return filled | dict(given)


def _signature(cls: type) -> inspect.Signature:
    """Arguments of the constructor without `self` (the class itself shows only those of Flax's metaclass)."""
    constructor: Any = inspect.getattr_static(cls, "__init__")
    signature = inspect.signature(constructor)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def _rngs(cls: type, rngs: Any) -> dict[str, Any]:
    parameters = _signature(cls).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return {"rngs": rngs} if "rngs" in parameters or takes_all else {}


def _builder(cls: Any, arguments: Mapping[str, Any]) -> Build:
    def build(key: Array) -> nnx.Module:
        module: nnx.Module = cls(**arguments, **_rngs(cls, nnx.Rngs(key)))
        for _, node in nnx.iter_graph(module):
            if isinstance(node, nnx.Conv) and node.conv_general_dilated is lax.conv_general_dilated:
                node.conv_general_dilated = conv_general_dilated
        return module

    return build


def _shape(cls: type, build: Build) -> _Shape:
    """Build the module with shapes instead of numbers and take it apart."""
    order: list[KeyPath] = []

    def traced() -> nnx.Module:
        module = build(jax.random.key(0))
        order.extend(_order_of_construction(module))
        return module

    try:
        graph, *states = nnx.split(nnx.eval_shape(traced), nnx.Param, nnx.RngState, ...)
    except own_code.USER_ERRORS as error:
        refuse(
            "model",
            f"must be arguments with which {cls.__name__} can be made, got {own_code.said(error)}{_line_of(cls, error)}. "
            "Mend the arguments or the class.",
        )
    params, random, rest = (dict(nnx.to_flat_state(state)) for state in states)
    return _Shape(graph, {path: params[path] for path in order}, random, rest)


def _line_of(cls: type, error: BaseException) -> str:
    source = sys.modules[cls.__module__].__file__ if cls.__module__ in sys.modules else None
    return f" at {own_code.line_of(error, Path(source))}" if source else ""


class _Shape(NamedTuple):
    """The static side of a module: its graph and where each array lives."""

    graph: Any
    params: Mapping[KeyPath, Any]
    random: Mapping[KeyPath, Any]
    rest: Mapping[KeyPath, Any]

    def layer_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_address(path)[0] for path in self.params))

    def init(self, build: Build) -> Callable[[Array], tuple[Params, State]]:
        def init(key: Array) -> tuple[Params, State]:
            _, *states = nnx.split(build(key), nnx.Param, nnx.RngState, ...)
            params, _, rest = (dict(nnx.to_flat_state(part)) for part in states)
            return _nest(params), _nest(rest)

        return init

    def apply(
        self,
        params: Params,
        state: State,
        x: Array,
        *,
        key: Array | None = None,
        is_training: bool,
        hypers: Hypers,
        taps: dict[str, Array] | None = None,
    ) -> tuple[Array, State]:
        del hypers  # an own module has no traced hyperparameters
        random = {path: _fresh(path, stream, key) for path, stream in self.random.items()}
        values = {path: (variable, _find(params, path)) for path, variable in self.params.items()}
        values |= {path: (variable, _find(state, path)) for path, variable in self.rest.items()}
        filled = {path: variable.replace(value) for path, (variable, value) in values.items()}
        flat = [(path, variable) for path, variable in (filled | random).items()]
        # copy: batch statistics change under grad, and must not be shared with the traced inputs.
        module: Any = nnx.merge(self.graph, nnx.from_flat_state(flat), copy=True)
        if is_training:
            module.train()
        else:
            module.eval()
        if taps is None:
            outputs = module(x)
        else:
            with _tapped(module, taps):
                outputs = module(x)
        after = dict(nnx.to_flat_state(nnx.state(module)))
        return outputs, _nest({path: after[path] for path in self.rest})


@contextmanager
def _tapped(module: nnx.Module, taps: dict[str, Array]) -> Iterator[None]:
    """While it lasts, calls of submodules write what they give into `taps`; nothing of the user's code changes.

    What a layer gives is under its name. What the next layer with weights is called with is what became of it, most often
    its activation, and is under `<name>_activation`; after the last layer there is none. What is called inside of a scan or a
    checkpoint is left out: its values live in there only.
    """
    outside = TraceState()
    owners = {_address(path)[0] for path, _ in nnx.to_flat_state(nnx.state(module, nnx.Param))}
    inner = {
        "/".join(map(str, path)): node
        for path, node in nnx.iter_graph(module)
        if path and isinstance(node, nnx.Module)
    }
    watched = {name: (node, type(node)) for name, node in inner.items() if name in owners}
    last: list[str] = []
    # A call is looked up on the class: each watched object gets a class of its own for the time being.
    for name, (node, cls) in watched.items():
        call = _recording(cls, name, taps=taps, last=last, outside=outside)
        object.__setattr__(node, "__class__", type(cls.__name__, (cls,), {"__call__": call}))
    try:
        yield
    finally:
        for node, cls in watched.values():
            object.__setattr__(node, "__class__", cls)


def _recording(
    cls: Any, name: str, *, taps: dict[str, Array], last: list[str], outside: TraceState
) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **options: Any) -> Any:
        if not outside.is_valid():
            return cls.__call__(self, *args, **options)
        given = args[0] if args else None
        before = taps.get(last[-1]) if last else None
        if _is_like(given, before):
            taps[f"{last[-1]}_activation"] = given
        outputs = cls.__call__(self, *args, **options)
        if isinstance(outputs, jax.Array) and outputs.ndim >= 2:
            taps[name] = outputs
            last.append(name)
        return outputs

    return call


def _is_like(given: Any, before: Array | None) -> TypeGuard[Array]:
    """Whether an input has the units of what a layer gave: not where it was flattened or joined with others."""
    if before is None or not isinstance(given, jax.Array) or given.ndim < 2:
        return False
    return given.shape[0] == before.shape[0] and given.shape[-1] == before.shape[-1]


def _address(path: KeyPath) -> tuple[str, str]:
    """Names in the two-level dicts: the submodule, and the array in it."""
    owner = "/".join(str(part) for part in path[:-1])
    return owner or "own", str(path[-1])


def _nest(flat: Mapping[KeyPath, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, variable in flat.items():
        owner, name = _address(path)
        nested.setdefault(owner, {})[name] = variable.get_value()
    return nested


def _find(nested: Mapping[str, Any], path: KeyPath) -> Any:
    owner, name = _address(path)
    return nested[owner][name]


def _fresh(path: KeyPath, stream: Any, key: Array | None) -> Any:
    """A random stream as it starts in this step: its key comes from the step's key and its own path."""
    if isinstance(stream, nnx.RngKey):
        root = jax.random.key(0) if key is None else key
        return stream.replace(jax.random.fold_in(root, zlib.crc32(str(path).encode())))
    return stream.replace(jnp.zeros(stream.get_value().shape, stream.get_value().dtype))


def _order_of_construction(module: Any) -> list[KeyPath]:
    """Paths of the parameters in the order in which attributes were set, most often the forward order."""

    def rank(path: KeyPath) -> tuple[int, ...]:
        node, ranks = module, []
        for part in path:
            names = list(vars(node)) if isinstance(node, nnx.Module) else []
            if isinstance(part, int):
                ranks.append(part)
                node = node[part]
            elif part in names:
                ranks.append(names.index(part))
                node = getattr(node, part)
            else:
                break  # a kind of container whose order is not known
        return tuple(ranks)

    return sorted((path for path, _ in nnx.to_flat_state(nnx.state(module, nnx.Param))), key=rank)


def _try_call(
    cls: type, net: Network, *, input: Input, num_outputs: int, example: np.ndarray | None
) -> None:
    """Call the module on shapes; a SpecError when that fails or gives outputs of another shape."""
    x = jnp.zeros((2, *input.shape), jnp.float32)
    try:
        params, state = jax.eval_shape(net.init, jax.random.key(0))
        outputs, _ = jax.eval_shape(
            lambda p, s, v: net.apply(p, s, v, key=jax.random.key(0), is_training=True, hypers={}),
            params,
            state,
            x,
        )
    except own_code.USER_ERRORS as error:
        refuse(
            "model",
            f"must be a module that takes inputs of shape [batch, {', '.join(map(str, input.shape))}], got "
            f"{own_code.said(error)}{_line_of(cls, error)} when calling {cls.__name__}. Mend its __call__.",
        )
    shape = getattr(outputs, "shape", None)
    if shape != (2, num_outputs):
        told = type(outputs).__name__ if shape is None else f"shape {shape} for 2 samples"
        if shape and shape[0] == 2:
            told = f"shape [{', '.join(['batch', *map(str, shape[1:])])}]"
        refuse(
            "model",
            f"must give outputs of shape [batch, {num_outputs}], got {told} from {cls.__name__}. "
            f"End it with a layer of {num_outputs} outputs (the constructor may ask for num_outputs).",
        )
