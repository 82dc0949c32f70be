"""Initial weights by catalogue name, and the gain that an activation asks for.

Must not import `lanework.recipes`, `lanework.data` or anything above; imports no Flax.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from lanework import own_code
from lanework.catalog import CATALOG
from lanework.models.base import Array, drawn, pick

# (key, shape) -> weights; the last two axes are inputs and outputs, those before are the window.
Init: TypeAlias = Callable[[Array, tuple[int, ...]], Array]
# (key, shape, variance) -> weights
Draw: TypeAlias = Callable[[Array, tuple[int, ...], Array], Array]

OUTPUT_INIT = "xavier_normal"
OWN_ACTIVATION_INIT = "he_normal"  # before an own activation, of which nothing is known
FROM_DATA = ("lsuv", "data_dependent")  # drawn as in INITS, then scaled on a batch (`data_inits`)
# 1 / sqrt(E[act(z)^2]) for z ~ N(0, 1): with weights of variance gain^2 / n_in, the mean square of what enters the next
# layer stays what it was. `softmax` depends on the width and is taken as it is.
GAINS: Mapping[str, float] = {
    "none": 1.0,
    "identity": 1.0,
    "sigmoid": 1.8462,
    "tanh": 1.5925,
    "relu": math.sqrt(2.0),
    "elu": 1.2451,
    "selu": 1.0,
    "gelu": 1.5335,
    "silu": 1.6765,
    "softplus": 1.0425,
    "softmax": 1.0,
}
_RELU_FAMILY = ("relu", "leaky_relu", "prelu")


def gain(activation: Any) -> float:
    """What weights are scaled by so that the mean square of a signal survives the activation after them.

    Computes 1 / sqrt(E[act(z)^2]) for z ~ N(0, 1): sqrt(2) for ReLU, sqrt(2 / (1 + slope^2)) for leaky ReLU and PReLU.

    Args:
        activation: Name or mapping of the catalogue.

    Example:
        >>> round(gain("relu"), 4), round(gain({"name": "leaky_relu", "slope": 1.0}), 4)
        (1.4142, 1.0)

    Source:
        He et al. 2015, https://arxiv.org/abs/1502.01852, equations 10 and 14, for any activation.
    """
    slope = _slope(activation)
    if slope is not None:
        return math.sqrt(2.0 / (1.0 + slope**2))
    name, options = pick("activation", activation)
    if name in GAINS:
        return GAINS[name]
    own = own_code.load_function(name, path="model.activation")
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    given = np.asarray(own(jnp.asarray(nodes), **options), np.float64)
    return float(np.sqrt(weights.sum() / np.sum(weights * np.square(given))))


def _slope(activation: Any) -> float | None:
    """Slope of a ReLU-like activation for negative values at the start; None for any other."""
    name, options = pick("activation", activation)
    if name not in _RELU_FAMILY:
        return None
    return float(options.get("slope", options.get("start", 0.0)))


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs and outputs of a weight: the last two axes times the window before them."""
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def _normal_of(key: Array, shape: tuple[int, ...], variance: Array) -> Array:
    return drawn(jax.random.normal, key, shape) * jnp.sqrt(variance)


def _uniform_of(key: Array, shape: tuple[int, ...], variance: Array) -> Array:
    draw = partial(jax.random.uniform, minval=-1.0)
    return drawn(draw, key, shape) * jnp.sqrt(3.0 * variance)


def _with_variance(draw: Draw, variance: Callable[[int, int], float]) -> Init:
    """Draws with a variance that depends on the fans."""
    return lambda key, shape: draw(key, shape, jnp.asarray(variance(*fans(shape))))


def _constant(*, activation: Any, value: float) -> Init:
    return lambda key, shape: jnp.full(shape, value)


def _small_normal(*, activation: Any, std: float) -> Init:
    return lambda key, shape: std * drawn(jax.random.normal, key, shape)


def _truncated_normal(*, activation: Any, std: float, cut: float) -> Init:
    def draw(key: Array, shape: tuple[int, ...]) -> Array:
        return jax.random.truncated_normal(key, -cut, cut, shape)

    return lambda key, shape: std * drawn(draw, key, shape)


def _xavier(draw: Draw) -> Callable[..., Init]:
    def build(*, activation: Any, gain: float) -> Init:
        return _with_variance(draw, lambda n_in, n_out: gain**2 * 2.0 / (n_in + n_out))

    return build


def _lecun(draw: Draw) -> Callable[..., Init]:
    return lambda *, activation: _with_variance(draw, lambda n_in, n_out: 1.0 / n_in)


def _he(draw: Draw) -> Callable[..., Init]:
    def build(*, activation: Any, fan: str) -> Init:
        slope = _slope(activation) or 0.0  # for what is no ReLU, the 2 / n of the paper

        def variance(n_in: int, n_out: int) -> float:
            count = {"in": n_in, "out": n_out, "mean": (n_in + n_out) / 2.0}[fan]
            return 2.0 / ((1.0 + slope**2) * count)

        return _with_variance(draw, variance)

    return build


def _orthogonal(*, activation: Any, gain: float | None) -> Init:
    factor = gain_of(activation, gain)

    def make(key: Array, shape: tuple[int, ...]) -> Array:
        rows, columns = math.prod(shape[:-1]), shape[-1]
        matrix = drawn(jax.random.normal, key, (max(rows, columns), min(rows, columns)))
        q, r = jnp.linalg.qr(matrix)
        # QR leaves signs open; fixed by r, the matrix is uniform among the orthogonal ones.
        signs = jnp.where(jnp.diagonal(r) < 0, -1.0, 1.0)
        q = q * signs[None, :].astype(q.dtype)
        return factor * (q if rows >= columns else q.T).reshape(shape)

    return make


def gain_of(activation: Any, given: float | None) -> float:
    """The gain that was asked for, else that of the activation."""
    return gain(activation) if given is None else given


def _random_walk(*, activation: Any) -> Init:
    is_relu = pick("activation", activation)[0] in _RELU_FAMILY

    def variance(n_in: int, n_out: int) -> float:
        grown = 1.2 / (max(n_in, 6) - 2.4) if is_relu else 1.0 / (2.0 * n_in)
        return (gain(activation) * math.exp(grown)) ** 2 / n_in

    return _with_variance(_normal_of, variance)


# He, Xavier and LeCun "normal" are the plain normal distribution of the papers, not Flax's truncated one.
INITS: Mapping[str, Callable[..., Init]] = {
    "zeros": lambda *, activation: lambda key, shape: jnp.zeros(shape),
    "ones": lambda *, activation: lambda key, shape: jnp.ones(shape),
    "constant": _constant,
    "small_normal": _small_normal,
    "truncated_normal": _truncated_normal,
    "xavier_normal": _xavier(_normal_of),
    "xavier_uniform": _xavier(_uniform_of),
    "he_normal": _he(_normal_of),
    "he_uniform": _he(_uniform_of),
    "lecun_normal": _lecun(_normal_of),
    "lecun_uniform": _lecun(_uniform_of),
    "orthogonal": _orthogonal,
    "random_walk": _random_walk,
    "lsuv": lambda *, activation: _orthogonal(activation=activation, gain=1.0),
    "data_dependent": lambda *, activation: _with_variance(
        _normal_of, lambda n_in, n_out: 1.0 / n_in
    ),
}


def resolve(value: Any, *, activation: Any, is_output: bool = False) -> str:
    """Name of the initialiser that a choice stands for.

    `auto` suits the activation (He for the ReLU family, Xavier for tanh and sigmoid, LeCun for SELU), and is Xavier for the
    output layer, which has no activation.

    Example:
        >>> (
        ...     resolve("auto", activation="relu"),
        ...     resolve("auto", activation="tanh"),
        ...     resolve("zeros", activation="relu"),
        ... )
        ('he_normal', 'xavier_normal', 'zeros')
    """
    name, _ = pick("init", value)
    if name != "auto":
        return name
    if is_output:
        return OUTPUT_INIT
    row = CATALOG["activation"].get(pick("activation", activation)[0])
    return row.facts["init"] if row else OWN_ACTIVATION_INIT


def initializer(value: Any, *, activation: Any, is_output: bool = False) -> Init:
    """The initialiser of that name or mapping.

    Args:
        value: Name or mapping; `auto` suits the activation (see `resolve`).
        activation: The activation that follows the layer; where a gain belongs to it, it is that one's.
        is_output: Whether it is the output layer, which no activation follows.

    Returns:
        A function from key and shape to weights, in the default float type. Fans are counted over the window: n_in is the
        product of all axes but the last.
    """
    name = resolve(value, activation=activation, is_output=is_output)
    given = value if pick("init", value)[0] == name else name
    options = pick("init", given)[1]
    if own_code.is_own(name):
        own: Init = partial(own_code.load_function(name, path="model.init"), **options)
        return own
    return INITS[name](activation="identity" if is_output else activation, **options)
