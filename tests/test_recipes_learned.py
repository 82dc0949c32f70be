"""The learned rule: against a slow twin in NumPy, its symmetries, its lanes, its file, and what it is good for."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from importlib.resources import files
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy
from sklearn.datasets import load_digits

from lanework import recipes
from lanework.errors import DeviceError, LaneworkError
from lanework.recipes import learned
from tests.contracts.probes import choice
from tests.helpers import ROOT

STEPS = 200
SHAPES = {"kernel": (3, 4), "bias": (4,), "scale": ()}
RNG = np.random.default_rng(0)
START = {name: RNG.normal(size=shape) for name, shape in SHAPES.items()}
CURVATURE = {name: 10.0 ** RNG.uniform(-1, 1, size=shape) for name, shape in SHAPES.items()}
NOISE = {name: RNG.normal(size=(STEPS, *shape)) for name, shape in SHAPES.items()}


# ---- the slow twin: one parameter at a time, in float64


def squash(z: float) -> float:
    return z / (1 + abs(z))


def rms(values: list[float]) -> float:
    return float(np.sqrt(sum(v * v for v in values) / len(values)))


class TensorTwin:
    """The rule for one tensor, with Python loops over parameters and features."""

    def __init__(self, size: int, weights: dict[str, np.ndarray]):
        self.weights = {name: w.astype(np.float64) for name, w in weights.items()}
        self.k = 0
        self.m = {b: [0.0] * size for b in (0.5, 0.9, 0.99)}
        self.v = [0.0] * size

    def update(self, g: list[float], x: list[float], rate: float) -> list[float]:
        self.k += 1
        k, every = self.k, range(len(x))
        floor = np.sqrt(np.finfo(np.float64).tiny)
        before = list(self.m[0.9])
        self.v = [0.99 * self.v[i] + 0.01 * g[i] ** 2 for i in every]
        r = [np.sqrt(self.v[i] / (1 - 0.99**k)) + floor for i in every]
        u = [[g[i] / r[i]] for i in every]
        for b in self.m:
            self.m[b] = [b * self.m[b][i] + (1 - b) * g[i] for i in every]
            for i in every:
                u[i].append(self.m[b][i] / (1 - b**k) / r[i])
        past = [before[i] / r[i] for i in every]
        now = [u[i][0] for i in every]
        shared = [
            np.log10(rms(x) + 1e-4) / 2,
            np.log10(len(x)) / 4,
            sum(a * b for a, b in zip(now, past, strict=True))
            / len(x)
            / (rms(now) * rms(past) + floor),
            rms([u[i][3] for i in every]),
            *(k / (k + t) for t in (10, 100, 1000)),
        ]
        return [self.step(u[i], r[i] / rms(r), np.array(shared)) * -rate for i in every]

    def step(self, u: list[float], relative: float, shared: np.ndarray) -> float:
        w = self.weights
        local = [squash(abs(each)) for each in u]
        local += [squash(u[0] * u[2]), squash(u[1] * u[3]), np.log10(relative + 1e-4) / 2]
        into = w["hidden_0.local"] @ local + w["hidden_0.shared"] @ shared + w["hidden_0.bias"]
        hidden = np.maximum(into, 0.0)
        hidden = np.maximum(w["hidden_1.kernel"] @ hidden + w["hidden_1.bias"], 0.0)
        out = w["output.kernel"] @ hidden + w["output.bias"]
        return float(out[:4] @ u * np.exp(min(max(out[4], -12.0), 0.0)))


def gradient(x: Any, name: str, k: int) -> Any:
    return CURVATURE[name] * x + NOISE[name][k]


def slow(weights: dict[str, np.ndarray], rates: np.ndarray) -> dict[str, np.ndarray]:
    end = {}
    for name, start in START.items():
        x, twin = start.copy(), TensorTwin(start.size, weights)
        for k, rate in enumerate(rates):
            g = gradient(x, name, k)
            change = twin.update(list(np.ravel(g)), list(np.ravel(x)), rate)
            x = x + np.reshape(change, np.shape(x))
        end[name] = x
    return end


def fast(weights: Any, rates: np.ndarray, *, dtype: Any = jnp.float64) -> dict[str, jax.Array]:
    params = {name: jnp.asarray(x, dtype) for name, x in START.items()}
    state = learned.learned_rule(weights, 1.0).init(params)

    def step(carry: Any, given: Any) -> tuple[Any, None]:
        params, state = carry
        rate, k = given
        grads = {
            name: jnp.asarray(CURVATURE[name], dtype) * x + jnp.asarray(NOISE[name], dtype)[k]
            for name, x in params.items()
        }
        updates, state = learned.learned_rule(weights, rate).update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    given = (jnp.asarray(rates, dtype), jnp.arange(len(rates)))
    (params, _), _ = jax.lax.scan(step, (params, state), given)
    return params


def random_weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    weights = {n: rng.normal(size=s).astype(np.float32) / 3 for n, s in learned.SHAPES.items()}
    weights["output.bias"][-1] = -4.0
    return weights


@pytest.mark.parametrize("kind", ["shipped", "random"])
def test_equals_the_slow_twin_in_float64(kind: str):
    weights = dict(learned.shipped_weights()) if kind == "shipped" else random_weights()
    rates = 1.0 + 0.5 * np.sin(np.arange(STEPS) / 10.0)
    with jax.enable_x64(True):
        ours = {name: np.asarray(x) for name, x in fast(weights, rates).items()}
    for name, theirs in slow(weights, rates).items():
        assert ours[name].dtype == np.float64
        assert np.max(np.abs(theirs - START[name])) > 0.1
        np.testing.assert_allclose(ours[name], theirs, rtol=1e-10)


# ---- what the formula promises


@jax.jit
def one_step(scale: Any, sign: Any = 1.0) -> tuple[jax.Array, jax.Array]:
    """Two updates of a tensor under gradients times `scale`, of the problem mirrored where `sign` is -1."""
    rule = learned.learned_rule(learned.shipped_weights(), 1.0)
    x = sign * jnp.array([0.5, -1.0, 2.0])
    g = sign * scale * jnp.array([[1.0, -0.1, 0.0], [0.7, 0.3, 0.0]])
    first, state = rule.update(g[0], rule.init(x), x)
    second, _ = rule.update(g[1], state, x)
    return first, second


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**20])
def test_the_scale_of_the_loss_does_not_matter(scale: float):
    for scaled, plain in zip(one_step(scale), one_step(1.0), strict=True):
        np.testing.assert_allclose(scaled, plain, rtol=1e-5)
        assert np.any(plain != 0)


def test_a_mirrored_problem_gives_mirrored_steps():
    for mirrored, plain in zip(one_step(1.0, -1.0), one_step(1.0, 1.0), strict=True):
        np.testing.assert_array_equal(mirrored, -plain)


def test_a_parameter_without_gradient_stays():
    assert [float(update[2]) for update in one_step(1.0)] == [0.0, 0.0]


@pytest.mark.parametrize("size", [1e-30, 1e-22, 1e-15, 0.0])
def test_tiny_gradients_give_bounded_steps(size: float):
    first, second = one_step(size)
    assert np.all(np.abs(np.concatenate([first, second])) < 1.0)


def test_the_learning_rate_is_a_factor_of_the_step():
    rule = recipes.rule(choice("optimizer", "learned"))
    params, grads = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([0.3, -0.2])}
    state = rule.init(params)
    one, _ = rule.update(grads, state, params, {"learning_rate": 1.0})
    half, _ = rule.update(grads, state, params, {"learning_rate": 0.5})
    np.testing.assert_allclose(2 * half["w"], one["w"], rtol=1e-6)


@pytest.mark.slow
def test_state_has_the_type_of_the_parameters():
    rule = learned.learned_rule(learned.shipped_weights(), 1.0)
    with jax.enable_x64(True):
        for dtype in (jnp.float32, jnp.float64):
            params = {"w": jnp.ones((2, 2), dtype)}
            updates, state = rule.update(params, rule.init(params), params)
            memory = (*state.momenta, state.mean_of_squares, updates)
            assert {leaf.dtype for leaf in jax.tree.leaves(memory)} == {jnp.dtype(dtype)}
            assert state.num_steps.dtype == jnp.int32


def test_lanes_equal_runs_alone():
    weights, factors = learned.shipped_weights(), jnp.array([0.3, 1.0, 3.0])

    def lane(factor: jax.Array) -> Any:
        return fast(weights, factor * jnp.ones(STEPS), dtype=jnp.float32)

    together = jax.jit(jax.vmap(lane))(factors)
    solo = jax.jit(lane)
    for number, factor in enumerate(factors):
        for name, x in solo(factor).items():
            np.testing.assert_allclose(together[name][number], x, rtol=1e-4, atol=1e-6)


# ---- what it is good for


@pytest.mark.slow
def test_beats_the_default_of_sgd_on_digits():
    x, y = load_digits(return_X_y=True)
    x, y = jnp.asarray(x / 16.0, jnp.float32), jnp.asarray(y)
    keys = jax.random.split(jax.random.key(0), 3)
    start = {
        "dense_0": {"kernel": jax.random.normal(keys[0], (64, 32)) / 6, "bias": jnp.zeros(32)},
        "dense_1": {"kernel": jax.random.normal(keys[1], (32, 10)) / 4, "bias": jnp.zeros(10)},
    }

    batches = jax.random.randint(keys[2], (300, 32), 0, len(x))

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        first, second = params["dense_0"], params["dense_1"]
        hidden = jax.nn.relu(x @ first["kernel"] + first["bias"][None])
        logits = hidden @ second["kernel"] + second["bias"][None]
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y))

    def train(name: str, rate: float) -> float:
        rule = recipes.rule(choice("optimizer", name))

        def step(carry: Any, rows: jax.Array) -> tuple[Any, None]:
            params, state = carry
            grads = jax.grad(loss)(params, x[rows], y[rows])
            updates, state = rule.update(grads, state, params, {"learning_rate": rate})
            return (jax.tree.map(jnp.add, params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (start, rule.init(start)), batches)
        return float(loss(params, x, y))

    ours = train("learned", 1.0)
    assert ours < train("sgd", 0.01)
    assert ours < 0.1


# ---- the file


def test_the_file_is_shipped_small_and_the_one_named():
    file = files("lanework.recipes") / "weights" / learned.FILE
    content = file.read_bytes()
    assert len(content) < 200_000
    assert hashlib.sha256(content).hexdigest() == learned.SHA256
    weights = learned.shipped_weights()
    assert {name: w.shape for name, w in weights.items()} == learned.SHAPES
    assert all(w.dtype == np.float32 and np.all(np.isfinite(w)) for w in weights.values())
    assert learned.shipped_weights() is weights


def broken_files() -> dict[str, tuple[bytes | None, str]]:
    good = (files("lanework.recipes") / "weights" / learned.FILE).read_bytes()
    narrow = {name: np.zeros(shape, np.float32) for name, shape in learned.SHAPES.items()}
    narrow["output.bias"] = np.zeros(3, np.float32)
    return {
        "missing": (None, "but there is no such file"),
        "cut": (good[:-8], r"but its SHA-256 is [0-9a-f]{64} \(\d+ bytes\)"),
        "one bit": (good[:-1] + bytes([good[-1] ^ 1]), "but its SHA-256 is"),
        "no safetensors": (b"\x80\x04nonsense", "but it cannot be read"),
        "other arrays": (safetensors.numpy.save(narrow), r"but it holds .*'output.bias': \(\(3,\)"),
    }


@pytest.mark.parametrize("name", ["missing", "cut", "one bit", "no safetensors", "other arrays"])
def test_a_broken_file_is_named_with_what_to_do(name: str):
    content, text = broken_files()[name]
    right = name in ("no safetensors", "other arrays") and content is not None
    digest = hashlib.sha256(content or b"").hexdigest() if right else None
    with pytest.raises(DeviceError, match=text) as caught:
        learned.read_weights(content, sha256=digest)
    assert isinstance(caught.value, LaneworkError)
    assert str(caught.value).startswith(f"lanework/recipes/weights/{learned.FILE} must be the file")
    assert "Install Lanework again" in str(caught.value)


def test_importing_recipes_reads_no_weights():
    program = (
        "from lanework import recipes; from lanework.recipes import learned; "
        "print(learned.shipped_weights.cache_info().currsize, 'learned' in recipes.RULES)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["0", "True"]


# ---- meta-training


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("meta_train", ROOT / "tools" / "meta_train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["meta_train"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_meta_training_repeats_with_its_seed_and_moves_the_weights():
    meta_train = tool()
    families = {"bowl": meta_train.quadratic_family()}

    def made(seed: int) -> bytes:
        *_, (_, weights, scores) = meta_train.chunks(seed, num_steps=4, chunk=2, families=families)
        assert np.isfinite(scores["bowl"])
        return meta_train.to_bytes(weights)

    assert made(0) == made(0)
    assert made(0) != made(1)
    start = meta_train.first_weights(jax.random.split(jax.random.key(0))[0])
    moved = safetensors.numpy.load(made(0))
    assert all(np.any(moved[name] != np.asarray(start[name])) for name in moved)


def test_meta_training_starts_as_adam():
    weights = tool().first_weights(jax.random.key(0))
    adam = optax.adam(0.005, b1=0.9, b2=0.99, eps=0.0)
    rule = learned.learned_rule(weights, 1.0)
    x, g = jnp.array([0.5, -1.0]), jnp.array([[0.3, 2.0], [-0.1, 1.0]])
    ours, theirs = rule.init(x), adam.init(x)
    for each in g:
        step, ours = rule.update(each, ours, x)
        expected, theirs = adam.update(each, theirs, x)
        np.testing.assert_allclose(step, expected, rtol=1e-5)
