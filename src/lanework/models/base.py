"""What a network is, what it is built from, and how layers are joined to one.

Must not import anything of Lanework but `catalog` and `errors`; imports no Flax.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, Protocol, TypeAlias

import jax
import jax.numpy as jnp

from lanework.catalog import CATALOG
from lanework.errors import Problem, SpecError

Array: TypeAlias = jax.Array
Params: TypeAlias = dict[str, Any]
State: TypeAlias = dict[str, Any]
Hypers: TypeAlias = Mapping[str, Any]


class Input(Protocol):
    """What a network must know of its input (`lanework.data.InputInfo` is one)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample, without the batch axis."""

    @property
    def num_numeric(self) -> int:
        """Number of leading numeric entries of a flat input."""

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of codes of each category after those; empty when there is none."""

    @property
    def grid(self) -> tuple[int, ...]:
        """Shape under which a flat input is an image (height, width, channels); empty when there is none."""

    @property
    def kind(self) -> str:
        """`table`, `image`, `tokens` (codes, -1 where padded) or `series` (NaN where padded)."""

    @property
    def vocabulary(self) -> int:
        """Number of token codes; 0 where the input is no tokens."""

    @property
    def is_stepwise(self) -> bool:
        """Whether there is a target for each time step: outputs are then [batch, time, num_outputs]."""


class ModelSpec(Protocol):
    """Name and options of a network (`lanework.spec.ModelSpec` is one)."""

    @property
    def net(self) -> str:
        """Name of the catalogue, or `file.py:Class`."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Every option of the network."""


class Network(NamedTuple):
    """A network of one run as pure functions; `jax.vmap` makes lanes of it.

    Attributes:
        init: `key -> (params, state)`: dicts of dicts of arrays. First-level names are layers. The state holds batch
            statistics and is `{}` when the network has none.
        apply: `(params, state, x, *, key, is_training, hypers, taps=None) -> (outputs, state)` with x [batch, *shape] and
            outputs [batch, num_outputs] (or [batch, time, num_outputs]), both float32. `key` is that of the step (None is
            allowed when nothing is random). `hypers["dropout"]` is the share dropped in training; without it there is no
            dropout at all. `hypers["still"]` maps names of layers to flags (true, or a traced one): such a layer works as at
            evaluation and its state stays as it is. Into `taps`, an empty dict, each layer writes what it gives under its name.
        layer_names: First-level names of the parameters, in forward order.
    """

    init: Callable[[Array], tuple[Params, State]]
    apply: Callable[..., tuple[Array, State]]
    layer_names: tuple[str, ...]


class Taps(dict[str, Array]):
    """Taps that may also change what passes: `change(name, x) -> x` is asked for each layer (see `tapped`).

    So a perturbation of zeros gets the gradient of what a layer gives, and weights are scaled to their data in one pass.
    """

    def __init__(self, change: Callable[[str, Array], Array]) -> None:
        super().__init__()
        self.change = change


def tapped(taps: dict[str, Array] | None, name: str, x: Array) -> Array:
    """Write down what a layer gives under its name, where somebody asks for it; what goes on is what comes back.

    Every weighted layer calls this with its output before the activation, every activation as `<layer>_activation`; `chain`
    does it for its layers. A layer made of others calls it for each of them: `x = tapped(call.taps, name, x)`.
    """
    if taps is None:
        return x
    x = taps.change(name, x) if isinstance(taps, Taps) else x
    taps[name] = x
    return x


class Call(NamedTuple):
    """What a layer knows of the call besides its input; `taps` takes what layers give (see `tapped`)."""

    key: Array | None
    is_training: bool
    hypers: Hypers
    taps: dict[str, Array] | None = None


class Layer(NamedTuple):
    """One layer.

    Attributes:
        name: Name among the parameters, unique in a network.
        init: `key -> (params, state)` of this layer; None when it has neither.
        apply: `(params, state, x, call) -> (x, state)`.
    """

    name: str
    init: Callable[[Array], tuple[Params, State]] | None
    apply: Callable[[Params, State, Array, Call], tuple[Array, State]]


def plain(name: str, function: Callable[[Array], Array]) -> Layer:
    """A layer without parameters, state or randomness."""
    return Layer(name, None, lambda params, state, x, call: (function(x), state))


def drawn(
    draw: Callable[[Array, tuple[int, ...]], Array], key: Array, shape: tuple[int, ...]
) -> Array:
    """Random numbers of a shape: the same as `draw(key, shape)`, drawn in a row and then shaped.

    XLA takes seconds to compile a draw of four axes on CPUs and a quarter of a second for one of one axis.
    """
    return draw(key, (math.prod(shape),)).reshape(shape)


def layer_key(key: Array, name: str) -> Array:
    """Key of a layer: depends on its name only, so that layers added elsewhere do not change it."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def with_weights(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Names of the layers that have parameters or state, in order."""
    return tuple(layer.name for layer in layers if layer.init is not None)


def initialiser(layers: Sequence[Layer]) -> Callable[[Array], tuple[Params, State]]:
    """`key -> (params, state)` of layers; each has a key of its own, by its name."""

    def init(key: Array) -> tuple[Params, State]:
        params, state = {}, {}
        for layer in layers:
            if layer.init is not None:
                own, carried = layer.init(layer_key(key, layer.name))
                params[layer.name] = own
                if carried:
                    state[layer.name] = carried
        return params, state

    return init


def through(
    layers: Sequence[Layer], x: Array, call: Call, *, params: Params, state: State, after: State
) -> Array:
    """Send inputs through layers, each feeding the next.

    Args:
        layers: The layers.
        x: Inputs of the first.
        call: What they know of the call.
        params: Parameters by layer.
        state: State by layer, before.
        after: Takes the state afterwards; written to, as are the taps of the call.
    """
    for layer in layers:
        own = (params.get(layer.name, {}), state.get(layer.name, {}))
        x, carried = _applied(layer, *own, x, call)
        if carried:
            after[layer.name] = carried
        x = tapped(call.taps, layer.name, x)
    return x


def _applied(
    layer: Layer, params: Params, state: State, x: Array, call: Call
) -> tuple[Array, State]:
    """The layer as in this call, or as at evaluation where it has a state that is to stay still."""
    is_still = call.hypers.get("still", {}).get(layer.name, False)
    if not (call.is_training and state) or is_still is False:
        return layer.apply(params, state, x, call)
    quiet = layer.apply(params, state, x, call._replace(is_training=False))
    if is_still is True:
        return quiet
    moving = layer.apply(params, state, x, call)
    return jax.tree.map(lambda a, b: jnp.where(is_still, a, b), quiet, moving)


def chain(layers: Sequence[Layer]) -> Network:
    """Join layers, each feeding the next, to a network."""

    def apply(
        params: Params,
        state: State,
        x: Array,
        *,
        key: Array | None = None,
        is_training: bool,
        hypers: Hypers,
        taps: dict[str, Array] | None = None,
    ) -> tuple[Array, State]:
        call = Call(key, is_training, hypers, taps)
        after = dict(state)
        x = through(layers, x, call, params=params, state=state, after=after)
        return x, after

    return Network(initialiser(layers), apply, with_weights(layers))


def option(spec: ModelSpec, name: str) -> Any:
    """An option of a catalogue network: as given, else the default of the catalogue."""
    if name in spec.options:
        return spec.options[name]
    return CATALOG["net"][spec.net].hyper(name).default


def pick(kind: str, value: Any) -> tuple[str, dict[str, Any]]:
    """Name and options of a choice within a network, with the catalogue's defaults filled in.

    Args:
        kind: Kind of the catalogue (`activation`, `init`, `norm`).
        value: A name, or a mapping with `name` and options.

    Returns:
        The name and every option.
    """
    given = dict(value) if isinstance(value, Mapping) else {"name": value}
    name = str(given.pop("name"))
    defaults = CATALOG[kind][name].defaults() if name in CATALOG[kind] else {}
    return name, {**defaults, **given}


def refuse(path: str, message: str) -> NoReturn:
    """Raise a `SpecError` with one problem."""
    raise SpecError((Problem(path, message),))
