"""The learned update rule: a small network that turns features of each parameter's gradient into its step.

Owns the rule and its weights, a file beside this module that `tools/meta_train.py` makes. Must not import `lanework.models`,
`lanework.data` or anything above.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
import safetensors.numpy
from safetensors import SafetensorError

from lanework.errors import DeviceError
from lanework.recipes.choices import Array, Read

PyTree: TypeAlias = Any
Weights: TypeAlias = Mapping[str, Any]

DECAYS = (0.5, 0.9, 0.99)
RMS_DECAY = 0.99
TIMES = (10.0, 100.0, 1000.0)
SMALLEST_RATIO = 1e-4
LOG_STEP_BOUNDS = (-12.0, 0.0)
NUM_MIXED = 1 + len(DECAYS)
NUM_LOCAL = NUM_MIXED + 3
NUM_SHARED = 4 + len(TIMES)
WIDTH = 8
SHAPES: Mapping[str, tuple[int, ...]] = {
    "hidden_0.local": (WIDTH, NUM_LOCAL),
    "hidden_0.shared": (WIDTH, NUM_SHARED),
    "hidden_0.bias": (WIDTH,),
    "hidden_1.kernel": (WIDTH, WIDTH),
    "hidden_1.bias": (WIDTH,),
    "output.kernel": (NUM_MIXED + 1, WIDTH),
    "output.bias": (NUM_MIXED + 1,),
}
FILE = "learned_rule.safetensors"
SHA256 = "4c702664b060a30cfa5c1fb47eb4521e5b7f434ae819868c0b097f853e220ea2"


class LearnedState(NamedTuple):
    """Memory of the learned rule.

    Attributes:
        num_steps: Steps taken so far, a whole number.
        momenta: Running means of the gradient, one tree for each of `DECAYS`.
        mean_of_squares: Running mean of the squared gradient.
    """

    num_steps: Array
    momenta: tuple[PyTree, ...]
    mean_of_squares: PyTree


class _Local(NamedTuple):
    """What one step knows about one tensor, before the network: `mixed` and `local` are [feature, parameter]."""

    mixed: Array
    local: Array
    shared: Array


def learned_rule(weights: Weights, learning_rate: Any) -> optax.GradientTransformation:
    """Each parameter's step is a mixture of its gradient and momenta; a network chooses mixture and length.

    With k the step counted from 1, and for each parameter

    - `m_b = b m_b + (1-b) g` for b in `DECAYS`; `v = d v + (1-d) g^2` with d = `RMS_DECAY`;
      `r = sqrt(v / (1-d^k))`;
    - the scale-free directions `u_0 = g / r` and `u_b = m_b / (1-b^k) / r`;
    - local features: `s(|u|)` of the four directions, `s(u_0 u_0.9)` and `s(u_0.5 u_0.99)` with `s(z) = z / (1+|z|)`,
      and `1/2 log10(r / R + 1e-4)`, where R is the root mean square of r over the tensor;
    - features shared by the tensor: `1/2 log10` of the root mean square of its weights (+ 1e-4), `1/4 log10` of its size,
      the cosine between `g / r` and `m_0.9 / r` before this step, the root mean square of `u_0.99`, and `k / (k + t)` for
      t in `TIMES`;

    two hidden layers of 8 rectified units give mixture weights c and a log length o, and

        x -= learning_rate * sum_i c_i u_i * exp(o),  o held within `LOG_STEP_BOUNDS`.

    No feature depends on the scale of the loss, and the step changes sign with the gradient, so a scaled or mirrored
    problem gives the same run.

    Args:
        weights: Arrays of `SHAPES`; they may be traced.
        learning_rate: Factor of the step; 1 is the rule as it was trained.

    Returns:
        The transformation. Its `update` needs the parameters.

    Example:
        >>> import jax.numpy as jnp
        >>> silent = {name: jnp.zeros(shape) for name, shape in SHAPES.items()}
        >>> rule = learned_rule(silent, 1.0)
        >>> updates, _ = rule.update(jnp.ones(2), rule.init(jnp.ones(2)), jnp.ones(2))
        >>> bool((updates == 0).all())
        True

    Source:
        Andrychowicz et al. 2016, https://arxiv.org/abs/1606.04474 (a network as the rule); Metz et al. 2022,
        https://arxiv.org/abs/2203.11860 (one small network for all parameters, such features, direction and log length).
        Ours mixes given directions where theirs puts out a free one.
    """

    def init(params: PyTree) -> LearnedState:
        def zeros() -> PyTree:
            return jax.tree.map(jnp.zeros_like, params)

        return LearnedState(jnp.zeros((), jnp.int32), tuple(zeros() for _ in DECAYS), zeros())

    def update(grads: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, Any]:
        num_steps = state.num_steps + 1
        momenta = tuple(
            jax.tree.map(lambda m, g, b=b: b * m + (1 - b) * g, tree, grads)
            for b, tree in zip(DECAYS, state.momenta, strict=True)
        )
        squares = jax.tree.map(
            lambda v, g: RMS_DECAY * v + (1 - RMS_DECAY) * g * g, state.mean_of_squares, grads
        )

        def step(g: Array, x: Array, before: Array, v: Array, *running: Array) -> Array:
            seen = _features(g, x, before, v, running, num_steps.astype(x.dtype))
            return (-learning_rate * _length(seen, weights)).reshape(x.shape).astype(x.dtype)

        before = state.momenta[DECAYS.index(0.9)]
        updates = jax.tree.map(step, grads, params, before, squares, *momenta)
        return updates, LearnedState(num_steps, momenta, squares)

    return optax.GradientTransformation(init, update)


def _features(
    g: Array, x: Array, before: Array, v: Array, running: tuple[Array, ...], k: Array
) -> _Local:
    """The features of one tensor; see `learned_rule`."""
    g, x, before, v = (each.reshape(-1) for each in (g, x, before, v))
    # Squares below the smallest number are 0; the root of that number keeps quotients bounded even then.
    floor = float(jnp.finfo(x.dtype).tiny) ** 0.5  # type: ignore[no-untyped-call]
    r = jnp.sqrt(v / (1 - RMS_DECAY**k)) + floor
    unit = g / r
    mixed = [unit]
    mixed += [m.reshape(-1) / (1 - b**k) / r for b, m in zip(DECAYS, running, strict=True)]
    local = [_squash(jnp.abs(u)) for u in mixed]
    local += [_squash(mixed[0] * mixed[2]), _squash(mixed[1] * mixed[3])]
    local.append(0.5 * jnp.log10(r / _rms(r) + SMALLEST_RATIO))
    shared = [0.5 * jnp.log10(_rms(x) + SMALLEST_RATIO)]
    shared.append(jnp.full((), 0.25 * np.log10(max(x.size, 1)), x.dtype))
    past = before / r
    shared.append(jnp.mean(unit * past) / (_rms(unit) * _rms(past) + floor))
    shared.append(_rms(mixed[-1]))
    shared += [k / (k + time) for time in TIMES]
    return _Local(jnp.stack(mixed), jnp.stack(local), jnp.stack(shared))


def _length(seen: _Local, weights: Weights) -> Array:
    """The network: from the features of one tensor to the (positive) step of each of its parameters."""
    dtype = seen.local.dtype

    def affine(name: str, x: Array, bias: Array) -> Array:
        kernel = jnp.asarray(weights[name], dtype)
        return jnp.matmul(kernel, x, precision=jax.lax.Precision.HIGHEST) + bias

    def bias(name: str) -> Array:
        return jnp.asarray(weights[name], dtype)

    offset = affine("hidden_0.shared", seen.shared, bias("hidden_0.bias"))  # once for a tensor
    hidden = jax.nn.relu(affine("hidden_0.local", seen.local, offset[:, None]))
    hidden = jax.nn.relu(affine("hidden_1.kernel", hidden, bias("hidden_1.bias")[:, None]))
    out = affine(
        "output.kernel", hidden, bias("output.bias")[:, None]
    )  # [mixture and o, parameter]
    return jnp.sum(out[:-1] * seen.mixed, axis=0) * jnp.exp(jnp.clip(out[-1], *LOG_STEP_BOUNDS))


def _squash(z: Array) -> Array:
    return z / (1 + jnp.abs(z))


def _rms(x: Array) -> Array:
    return jnp.sqrt(jnp.mean(jnp.square(x)))


@cache
def shipped_weights() -> Mapping[str, np.ndarray]:
    """The weights that come with Lanework, read and checked once.

    Raises:
        DeviceError: The file is missing or is not the one that was shipped.
    """
    return read_weights(_shipped_bytes())


def read_weights(content: bytes | None, *, sha256: str | None = None) -> Mapping[str, np.ndarray]:
    """Weights from the bytes of a safetensors file.

    Args:
        content: The file; None where there is none.
        sha256: Its digest as a hexadecimal number; `SHA256`, that of the shipped file, when not given.

    Returns:
        Arrays of `SHAPES` in float32.

    Raises:
        DeviceError: The bytes are not those, or do not hold these arrays.
    """
    if content is None:
        raise DeviceError(_broken("there is no such file"))
    digest = hashlib.sha256(content).hexdigest()
    if digest != (sha256 or SHA256):
        raise DeviceError(_broken(f"its SHA-256 is {digest} ({len(content)} bytes)"))
    try:
        weights = safetensors.numpy.load(content)
    except SafetensorError as error:
        raise DeviceError(_broken(f"it cannot be read ({error})")) from error
    found = {name: (array.shape, str(array.dtype)) for name, array in weights.items()}
    if found != {name: (shape, "float32") for name, shape in SHAPES.items()}:
        raise DeviceError(_broken(f"it holds {found}"))
    return weights


def _shipped_bytes() -> bytes | None:
    file = files("lanework.recipes") / "weights" / FILE
    return file.read_bytes() if file.is_file() else None


def _broken(what: str) -> str:
    return (
        f"lanework/recipes/weights/{FILE} must be the file that is shipped with Lanework (SHA-256 {SHA256[:12]}...), "
        f"but {what}. Install Lanework again, or make the file with tools/meta_train.py; other optimizers work without it."
    )


def _learned(read: Read) -> optax.GradientTransformation:
    return learned_rule(shipped_weights(), read("learning_rate"))


RULES: Mapping[str, Callable[[Read], optax.GradientTransformation]] = {"learned": _learned}
