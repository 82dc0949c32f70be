"""Each modern update rule against a slow, obvious twin in NumPy, written from the papers, in float64."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import recipes
from lanework.catalog import CATALOG
from lanework.recipes import modern, steps
from tests.contracts.probes import choice

# Long paths against slow twins; the contracts over the catalogue look at every rule and row by default.
pytestmark = pytest.mark.slow

STEPS = 60
RANDOM = np.random.default_rng(7)
# A bias of 3 and a kernel [4 inputs, 3 units], side by side in one vector.
START = RANDOM.normal(size=15)
CURVATURE = 10.0 ** RANDOM.uniform(-1, 1, size=15)
NOISE = 3.0 * RANDOM.normal(size=(STEPS, 15))
IS_DECAYED = np.arange(15) >= 3
RATES = 0.02 * (1.0 + 0.5 * np.sin(np.arange(STEPS) / 10.0))


def split(x: Any) -> tuple[Any, Any]:
    return x[:3], x[3:].reshape(4, 3)


def join(parts: Any) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in parts])


def by_tensor(function: Any, *vectors: np.ndarray) -> np.ndarray:
    return join([function(*parts) for parts in zip(*map(split, vectors), strict=True)])


def loss(x: np.ndarray, k: int) -> float:
    """1/2 c x^2 + n x + 60 with new noise n in every step k = 1, 2, ..."""
    return float(0.5 * np.sum(CURVATURE * x**2) + NOISE[k - 1] @ x + 60.0)


def gradient(x: np.ndarray, k: int) -> np.ndarray:
    return CURVATURE * x + NOISE[k - 1]


def fair(moment: Any, b: float, k: int) -> Any:
    return moment / (1 - b**k)


def norm(x: np.ndarray) -> float:
    return float(np.sqrt(np.sum(x**2)))


def adam_direction(g, memory, k, h):
    m, v = memory or (0.0, 0.0)
    m = h["b1"] * m + (1 - h["b1"]) * g
    v = h["b2"] * v + (1 - h["b2"]) * g**2
    return fair(m, h["b1"], k) / (np.sqrt(fair(v, h["b2"], k)) + h["eps"]), (m, v)


# Twins: (x, g, memory, k, rate, h) -> (x, memory).


def adabelief(x, g, memory, k, a, h):
    m, v = memory or (0.0, 0.0)
    m = h["b1"] * m + (1 - h["b1"]) * g
    v = h["b2"] * v + (1 - h["b2"]) * (g - m) ** 2 + h["eps"]
    root = np.sqrt(fair(v, h["b2"], k)) + h["eps"]
    return x - a * fair(m, h["b1"], k) / root, (m, v)


def acprop(x, g, memory, k, a, h):
    m, s = memory or (0.0, 0.0)
    below = 1.0 if k == 1 else fair(s, h["b2"], k - 1)
    after = (
        h["b1"] * m + (1 - h["b1"]) * g,
        h["b2"] * s + (1 - h["b2"]) * (g - m) ** 2 + h["eps"],
    )
    return x - a * g / (np.sqrt(below) + h["eps"]), after


def yogi(x, g, memory, k, a, h):
    m, v = memory or (1e-6, 1e-6)
    m = h["b1"] * m + (1 - h["b1"]) * g
    v = v - (1 - h["b2"]) * np.sign(v - g**2) * g**2
    root = np.sqrt(fair(v, h["b2"], k)) + h["eps"]
    return x - a * fair(m, h["b1"], k) / root, (m, v)


def adopt(x, g, memory, k, a, h):
    if k == 1:
        return x, (0.0, g**2)
    m, v = memory
    u = g / np.maximum(np.sqrt(v), h["eps"])
    if h.get("clip", True):
        u = np.clip(u, -((k - 1) ** 0.25), (k - 1) ** 0.25)
    m = h["b1"] * m + (1 - h["b1"]) * u
    return x - a * m, (m, h["b2"] * v + (1 - h["b2"]) * g**2)


def adan(x, g, memory, k, a, h):
    m, v, n, old = memory or (0.0, 0.0, 0.0, g)
    d = g - old
    m = h["b1"] * m + (1 - h["b1"]) * g
    v = h["b2"] * v + (1 - h["b2"]) * d
    n = h["b3"] * n + (1 - h["b3"]) * (g + h["b2"] * d) ** 2
    top = fair(m, h["b1"], k) + h["b2"] * fair(v, h["b2"], k)
    return x - a * top / (np.sqrt(fair(n, h["b3"], k)) + h["eps"]), (m, v, n, g)


def ademamix(x, g, memory, k, a, h):
    adam, long = memory or (None, 0.0)
    u, adam = adam_direction(g, adam, k, h)
    long = h["b3"] * long + (1 - h["b3"]) * g
    root = np.sqrt(fair(adam[1], h["b2"], k)) + h["eps"]
    return x - a * (u + h["alpha"] * long / root), (adam, long)


def simplified_ademamix(x, g, memory, k, a, h):
    n, v = memory or (0.0, 0.0)
    n = h["b1"] * n + g
    v = h["b2"] * v + (1 - h["b2"]) * g**2
    root = np.sqrt(fair(v, h["b2"], k)) + h["eps"]
    return x - a * (n + h["alpha"] * g) / root, (n, v)


def optimistic_gd(x, g, old, k, a, h):
    old = g if old is None else old
    return x - a * (g + h["optimism"] * (g - old)), g


def optimistic_adam(x, g, memory, k, a, h):
    adam, old = memory or (None, None)
    u, adam = adam_direction(g, adam, k, h)
    old = u if old is None else old
    return x - a * (u + h["optimism"] * (u - old)), (adam, u)


def adafactor(x, g, v, k, a, h):
    c = 1 - k ** -h["decay"]
    square = g**2 + h["eps"]
    if (
        h["min_dim_size_to_factor"] <= 3
    ):  # the mean over units times that over inputs, over that of all
        bias, kernel = split(square)
        rows = kernel.mean(axis=1, keepdims=True)
        columns = kernel.mean(axis=0, keepdims=True)
        rows, columns, bias = (
            c * old + (1 - c) * new
            for old, new in zip(v or (0.0, 0.0, 0.0), (rows, columns, bias), strict=True)
        )
        v = (rows, columns, bias)
        divisor = join([bias, rows * columns / columns.mean()])
    else:
        v = c * (0.0 if v is None else v) + (1 - c) * square
        divisor = v

    def limited(u: np.ndarray, w: np.ndarray) -> np.ndarray:
        u = u / max(1.0, np.sqrt(np.mean(u**2)) / h["clip"])
        return u * max(np.sqrt(np.mean(w**2)), 1e-3) if h.get("scale_by_weights", True) else u

    return x - a * by_tensor(limited, g / np.sqrt(divisor), x), v


def lamb(x, g, memory, k, a, h):
    u, memory = adam_direction(g, memory, k, h)
    u = u + h["weight_decay"] * x * IS_DECAYED
    return x - a * by_tensor(lambda u, w: norm(w) / norm(u) * u, u, x), memory


def lars(x, g, v, k, a, h):
    u = g + h["weight_decay"] * x * IS_DECAYED
    bias, kernel = split(u)
    kernel = kernel * h["trust"] * norm(split(x)[1]) / norm(kernel)
    v = h["momentum"] * (0.0 if v is None else v) - a * join([bias, kernel])
    return x + v, v


def fromage(x, g, _, k, a, h):
    def stepped(w, g):
        return (w - a * max(norm(w), h["min_norm"]) / max(norm(g), h["min_norm"]) * g) / np.sqrt(
            1 + a**2
        )

    return by_tensor(stepped, x, g), None


def novograd(x, g, memory, k, a, h):
    m, v = memory or (0.0, None)
    now = by_tensor(lambda g: np.full(g.shape, norm(g) ** 2), g)
    v = now if v is None else h["b2"] * v + (1 - h["b2"]) * now
    u = g / (np.sqrt(v) + h["eps"]) + h["weight_decay"] * x * IS_DECAYED
    m = h["b1"] * m + u
    return x - a * m, (m, v)


def muon(x, g, memory, k, a, h):
    adam, v = memory or (None, 0.0)
    b = h["momentum"]
    v = b * v + (1 - b) * g
    u = (
        b * fair(v, b, k + 1) + (1 - b) * fair(g, b, k)
        if h.get("nesterov", True)
        else fair(v, b, k)
    )
    matrix = split(u)[1].T / (norm(split(u)[1]) + h["eps"])  # [3, 4]: wide
    for _ in range(5):
        square = matrix @ matrix.T
        matrix = 3.4445 * matrix + (-4.775 * square + 2.0315 * square @ square) @ matrix
    _, adam = adam_direction(g, adam, k, {"b1": 0.9, "b2": 0.999, "eps": h["eps"]})
    m, s = (part[:3] for part in adam)
    ahead = 0.9 * fair(m, 0.9, k + 1) + 0.1 * fair(g[:3], 0.9, k)
    top = ahead if h.get("nesterov", True) else fair(m, 0.9, k)
    bias = h["adam_share"] * top / (np.sqrt(fair(s, 0.999, k)) + h["eps"])
    return x - a * join([bias, matrix.T]), (adam, v)  # 3 units, 4 inputs: the factor is 1


def sign_sgd(x, g, _, k, a, h):
    return x - a * np.sign(g), None


def signum(x, g, v, k, a, h):
    v = h["momentum"] * (0.0 if v is None else v) + (1 - h["momentum"]) * g
    return x - a * np.sign(v), v


def sm3(x, g, memory, k, a, h):
    v, (bias, rows, columns) = memory or (0.0, (np.zeros(3), np.zeros((4, 1)), np.zeros((1, 3))))
    small, kernel = split(g)
    bias = bias + small**2
    square = np.minimum(rows, columns) + kernel**2
    tops = (bias, square.max(axis=1, keepdims=True), square.max(axis=0, keepdims=True))
    u = g / np.sqrt(join([bias, square]) + h["eps"])
    v = h["momentum"] * v + (1 - h["momentum"]) * u
    return x - a * v, (v, tops)


def madgrad(x, g, memory, k, a, h):
    x0, s, v = memory or (x, 0.0, 0.0)
    weight = (a + h["eps"]) * np.sqrt(k)
    s, v = s + weight * g, v + weight * g**2
    z = x0 - s / (np.cbrt(v) + h["eps"])
    return h["momentum"] * x + (1 - h["momentum"]) * z, (x0, s, v)


def schedule_free(y, g, memory, k, a, h):
    """With the largest rate so far in the weights of the average, as in the authors' code."""
    x, z, s, total, top = memory or (y, y, 0.0, 0.0, 0.0)
    u = g
    if h.get("base", "adamw") == "adamw":
        s = h["b2"] * s + (1 - h["b2"]) * g**2
        u = g / (np.sqrt(fair(s, h["b2"], k)) + h["eps"])
    z = z - a * (u + h["weight_decay"] * y * IS_DECAYED)
    top = max(top, a)
    total = total + top**2
    c = top**2 / total
    x = (1 - c) * x + c * z
    return h["b1"] * x + (1 - h["b1"]) * z, (x, z, s, total, top)


def sophia(x, g, memory, k, a, h):
    m, diagonal = memory or (0.0, 0.0)
    m = h["b1"] * m + (1 - h["b1"]) * g
    u = fair(m, h["b1"], k) / np.maximum(h["gamma"] * diagonal, h["eps"])
    if (k - 1) % h["update_interval"] == 0:
        diagonal = h["b2"] * diagonal + (1 - h["b2"]) * CURVATURE
    return x - a * np.clip(u, -h["clip"], h["clip"]), (m, diagonal)


def polyak_sgd(x, g, _, k, a, h):
    return x - min(max(loss(x, k) - h["lower_bound"], 0.0) / norm(g) ** 2, a) * g, None


def momo(x, g, memory, k, a, h):
    v, values, products, bound = memory or (0.0, 0.0, 0.0, h["lower_bound"])
    b = 0.0 if k == 1 else h["momentum"]
    v = b * v + (1 - b) * g
    values = b * values + (1 - b) * loss(x, k)
    products = b * products + (1 - b) * g @ x
    model = values - products + v @ x
    if h.get("adapt_lower_bound"):
        bound = max(model / 2, h["lower_bound"]) if model < bound else bound
    step = min(a, max(model - bound, 0.0) / norm(v) ** 2)
    if h.get("adapt_lower_bound"):
        bound = max(model - 0.5 * step * norm(v) ** 2, h["lower_bound"])
    return x - step * v, (v, values, products, bound)


def momo_adam(x, g, memory, k, a, h):
    adam, values, products = memory or (None, 0.0, 0.0)
    _, adam = adam_direction(g, adam, k, h)
    m, v = adam
    values = h["b1"] * values + (1 - h["b1"]) * loss(x, k)
    products = h["b1"] * products + (1 - h["b1"]) * g @ x
    d = h["eps"] + np.sqrt(fair(v, h["b2"], k))
    seen = 1 - h["b1"] ** k
    gap = max(values - products + m @ x - seen * h["lower_bound"], 0.0)
    return x - min(a / seen, gap / (m @ (m / d))) * m / d, (adam, values, products)


def dog(x, g, memory, k, a, h):
    x0, far, total = memory or (x, h["start"] * (1 + norm(x)), 0.0)
    far, total = max(far, norm(x - x0)), total + norm(g) ** 2
    return x - a * far / np.sqrt(total + h["eps"]) * g, (x0, far, total)


def dowg(x, g, memory, k, a, h):
    x0, far, total = memory or (x, h["eps"], 0.0)
    far = max(far, norm(x - x0) ** 2)
    total = total + far * norm(g) ** 2
    return x - a * far / (np.sqrt(total) + h["eps"]) * g, (x0, far, total)


def cocob(x, g, memory, k, a, h):
    x0, top, total, reward, coins = memory or (x, h["eps"], 0.0, 0.0, 0.0)
    top, total = np.maximum(top, np.abs(g)), total + np.abs(g)
    reward, coins = np.maximum(reward - g * (x - x0), 0.0), coins - g
    bet = coins / (top * np.maximum(total + top, h["alpha"] * top)) * (top + reward)
    return x + a * (x0 + bet - x), (x0, top, total, reward, coins)


def prodigy(x, g, memory, k, a, h):
    x0, d, m, v, s, r = memory or (x, h["start"], 0.0, 0.0, 0.0, 0.0)
    root = np.sqrt(h["b2"])
    b = a * d * np.sqrt(1 - h["b2"] ** k) / (1 - h["b1"] ** k)
    m = h["b1"] * m + (1 - h["b1"]) * d * g
    v = h["b2"] * v + (1 - h["b2"]) * (d * g) ** 2
    s = root * s + (d if h.get("safeguard_warmup") else b) * d * g / h["start"]
    r = root * r + d / h["start"] * b * (g @ (x0 - x))
    after = max(d, h["coefficient"] * r / np.sum(np.abs(s)))
    pull = h["weight_decay"] * b * x * IS_DECAYED
    return x - b * m / (np.sqrt(v) + after * h["eps"]) - pull, (x0, after, m, v, s, r)


def dadapt_adamw(x, g, memory, k, a, h):
    d, m, v, s, r = memory or (h["start"], 0.0, np.zeros(15), np.zeros(15), 0.0)
    c = np.sqrt(h["b2"])
    b = a * d * np.sqrt(1 - h["b2"] ** k) / (1 - h["b1"] ** k)
    r = c * r + (1 - c) * b * (g @ (s / (np.sqrt(v) + h["eps"])))
    m = h["b1"] * m + (1 - h["b1"]) * b * g
    v = h["b2"] * v + (1 - h["b2"]) * g**2
    s = c * s + (1 - c) * b * g
    pull = h["weight_decay"] * b * x * IS_DECAYED
    after = max(d, r / ((1 - c) * np.sum(np.abs(s))))
    return x - m / (np.sqrt(v) + h["eps"]) - pull, (after, m, v, s, r)


def mechanic(x, g, memory, k, a, h):
    """Around sgd, with a scale for each of six memories 1 - 0.1^i."""
    b = 1 - 0.1 ** np.arange(1, 7)
    zeros, start = np.zeros(6), h["s_init"] * np.ones(6)
    x0, s, m, v, r = memory or (x, start, zeros, zeros, zeros)
    walked = (x0 - x) / (np.sum(s) + h["eps"])
    pulled = g + h["weight_decay"] * np.sum(s) * norm(g) / (norm(x) + h["eps"]) * x
    gain = pulled @ walked
    r = b * r + np.clip(gain, -m, m) * s
    m = np.maximum(b * m, np.abs(gain) + h["eps"])
    v = b**2 * v + gain**2
    s = (h["s_init"] / 6 * m + np.maximum(r, 0.0)) / (np.sqrt(v) + h["eps"])
    return x0 - np.sum(s) * (walked + a * g), (x0, s, m, v, r)


def sam(x, g, v, k, a, h):
    v = 0.9 * (0.0 if v is None else v) + gradient(x + h["rho"] * g / norm(g), k)
    return x - a * v, v


def ranger(x, g, memory, k, a, h):
    """RAdam, with the threshold of 5 of the authors' code, on centralised gradients."""
    adam, slow = memory or (None, x)
    bias, kernel = split(g)
    g = join([bias, kernel - kernel.mean(axis=0)])
    u, adam = adam_direction(g, adam, k, h)
    longest = 2 / (1 - h["b2"]) - 1
    length = longest - 2 * k * h["b2"] ** k / (1 - h["b2"] ** k)
    up = (length - 4) * (length - 2) * longest
    factor = np.sqrt(max(up, 0.0) / ((longest - 4) * (longest - 2) * length))
    x = x - a * (fair(adam[0], h["b1"], k) if length < 5 else factor * u)
    if k % h["sync_steps"] == 0:
        x = slow = slow + h["alpha"] * (x - slow)
    return x, (adam, slow)


ADAM = {"b1": 0.9, "b2": 0.99, "eps": 1e-8}
FREE = {"b1": 0.9, "b2": 0.99, "eps": 1e-8, "weight_decay": 0.05}
TWINS = {
    "adabelief": (adabelief, {**ADAM, "eps": 1e-6}),
    "acprop": (acprop, {**ADAM, "eps": 1e-6}),
    "yogi": (yogi, {**ADAM, "eps": 1e-3}),
    "adopt": (adopt, {**ADAM, "eps": 1e-6}),
    "adopt without clipping": (adopt, {**ADAM, "clip": False}),
    "adan": (adan, {"b1": 0.98, "b2": 0.92, "b3": 0.99, "eps": 1e-8}),
    "ademamix": (ademamix, {**ADAM, "b3": 0.999, "alpha": 5.0}),
    "simplified_ademamix": (simplified_ademamix, {**ADAM, "alpha": 2.0}),
    "optimistic_gd": (optimistic_gd, {"optimism": 0.7}),
    "optimistic_adam": (optimistic_adam, {**ADAM, "optimism": 0.7}),
    "adafactor": (
        adafactor,
        {"decay": 0.8, "clip": 0.9, "eps": 1e-30, "min_dim_size_to_factor": 128},
    ),
    "adafactor by row and column": (
        adafactor,
        {"decay": 0.7, "clip": 1.0, "eps": 1e-3, "min_dim_size_to_factor": 3},
    ),
    "adafactor of plain size": (
        adafactor,
        {"decay": 0.8, "clip": 1.0, "eps": 1e-30, "min_dim_size_to_factor": 128}
        | {"scale_by_weights": False},
    ),
    "lamb": (lamb, {**ADAM, "weight_decay": 0.1}),
    "lars": (lars, {"momentum": 0.9, "trust": 0.5, "weight_decay": 0.1}),
    "fromage": (fromage, {"min_norm": 1e-6}),
    "novograd": (novograd, {"b1": 0.9, "b2": 0.25, "eps": 1e-6, "weight_decay": 0.1}),
    "muon": (muon, {"momentum": 0.95, "adam_share": 0.5, "eps": 1e-8}),
    "muon without nesterov": (
        muon,
        {"momentum": 0.9, "adam_share": 0.5, "eps": 1e-8, "nesterov": False},
    ),
    "sign_sgd": (sign_sgd, {}),
    "signum": (signum, {"momentum": 0.9}),
    "sm3": (sm3, {"momentum": 0.9, "eps": 1e-8}),
    "madgrad": (madgrad, {"momentum": 0.9, "eps": 1e-6}),
    "schedule_free": (schedule_free, FREE),
    "schedule_free around sgd": (schedule_free, {**FREE, "base": "sgd"}),
    "sophia": (
        sophia,
        {"b1": 0.9, "b2": 0.9, "eps": 1e-8, "gamma": 0.5, "clip": 1.0, "update_interval": 4},
    ),
    "polyak_sgd": (polyak_sgd, {"lower_bound": 1.0}),
    "momo": (momo, {"momentum": 0.9, "lower_bound": 58.0}),
    "momo with a bound of its own": (
        momo,
        {"momentum": 0.9, "lower_bound": 1.0, "adapt_lower_bound": True},
    ),
    "momo_adam": (momo_adam, {**ADAM, "lower_bound": 58.0}),
    "dog": (dog, {"start": 1e-2, "eps": 1e-8}),
    "dowg": (dowg, {"eps": 1e-3}),
    "cocob": (cocob, {"alpha": 100.0, "eps": 1e-8}),
    "prodigy": (prodigy, {**ADAM, "start": 1e-3, "coefficient": 2.0, "weight_decay": 0.1}),
    "prodigy with safe warm-up": (
        prodigy,
        {**ADAM, "start": 1e-3, "coefficient": 1.0, "weight_decay": 0.0, "safeguard_warmup": True},
    ),
    "dadapt_adamw": (dadapt_adamw, {**ADAM, "start": 1e-3, "weight_decay": 0.1}),
    "mechanic": (
        mechanic,
        {"inner": "sgd", "s_init": 1e-2, "weight_decay": 0.01, "eps": 1e-8},
    ),
    "sam": (sam, {"inner": "momentum", "rho": 0.3}),
    "ranger": (
        ranger,
        {**ADAM, "b1": 0.95, "sync_steps": 6, "alpha": 0.4, "centralize": True},
    ),
}
# Rules that find their rate get factors near 1.
SCALE = dict.fromkeys(
    ("polyak_sgd", "momo", "dog", "dowg", "cocob", "prodigy", "dadapt_adamw", "mechanic"), 50.0
)


def tree(vector: Any) -> Any:
    bias, kernel = split(jnp.asarray(vector))
    return {"dense_0": {"bias": bias, "kernel": kernel}}


def vector(params: Any) -> jax.Array:
    layer = params["dense_0"]
    return jnp.concatenate([layer["bias"], layer["kernel"].reshape(-1)])


def ours(name: str, options: dict[str, Any], scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The weights after each step, and those that are evaluated after the last one."""
    static = {
        h.name: options[h.name]
        for h in CATALOG["optimizer"][name].hypers
        if h.name in options and not h.traced
    }
    rule = recipes.rule(choice("optimizer", name, **static))
    # Through the run and not through the options: the first state must not depend on what varies by lane.
    traced = {f"optimizer.{key}": value for key, value in options.items() if key not in static}

    def step(carry: Any, given: Any) -> tuple[Any, jax.Array]:
        params, state = carry
        rate, noise = given

        def objective(params: Any) -> jax.Array:
            x = vector(params)
            return 0.5 * jnp.sum(jnp.asarray(CURVATURE) * x**2) + noise @ x + 60.0

        value, grads = jax.value_and_grad(objective)(params)
        hypers = {"learning_rate": rate, **traced}
        updates, state = rule.update(grads, state, params, hypers, value=value, objective=objective)
        params = jax.tree.map(jnp.add, params, updates)
        return (params, state), vector(params)

    start = tree(START)
    given = (jnp.asarray(scale * RATES), jnp.asarray(NOISE))
    (params, state), path = jax.jit(lambda c: jax.lax.scan(step, c, given))(
        (start, rule.init(start))
    )
    if rule.evaluated is not None:
        params = rule.evaluated(state, params, {})
    return np.asarray(path), np.asarray(vector(params))


@pytest.mark.parametrize("label", TWINS)
def test_rule_is_what_the_catalogue_says(label: str):
    name = label.split()[0]
    twin, options = TWINS[label]
    scale = SCALE.get(name, 1.0)
    x, memory, path = START, None, []
    for k, rate in enumerate(scale * RATES, start=1):
        x, memory = twin(x, gradient(x, k), memory, k, rate, options)
        path.append(x)
    with jax.enable_x64(True):
        found, evaluated = ours(name, options, scale)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, np.array(path), rtol=1e-8, atol=1e-11)
    if name == "schedule_free":
        np.testing.assert_allclose(evaluated, memory[0], rtol=1e-8)
    elif name == "ranger":
        np.testing.assert_allclose(evaluated, memory[1], rtol=1e-8)
    else:
        np.testing.assert_array_equal(evaluated, found[-1])


def test_every_modern_rule_has_a_twin():
    """Lion's is with the classic rules; the noise of noisy_sgd is measured below."""
    covered = {label.split()[0] for label in TWINS} | {"lion", "noisy_sgd"}
    assert set(modern.MODERN) <= covered


def noise_of(params: Any, *, steps: int = 3, **options: float) -> list[Any]:
    rule = recipes.rule(choice("optimizer", "noisy_sgd", **options))
    state, found = rule.init(params), []
    zeros = jax.tree.map(jnp.zeros_like, params)
    for _ in range(steps):
        updates, state = rule.update(zeros, state, params, {"learning_rate": 1.0})
        found.append(np.asarray(updates["w"]))
    return found


def test_noise_fades_and_differs_by_step_and_by_the_first_weights():
    params = {"w": jax.random.normal(jax.random.key(0), (20_000,))}
    first, second, third = noise_of(params, variance=0.04, decay=1.0)
    for k, noise in enumerate((first, second, third), start=1):
        assert abs(noise.mean()) < 0.01
        np.testing.assert_allclose(noise.var(), 0.04 / k, rtol=0.05)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05
    np.testing.assert_array_equal(first, noise_of(params, variance=0.04, decay=1.0)[0])
    others = {"w": jax.random.normal(jax.random.key(1), (20_000,))}
    apart = noise_of(others, variance=0.04, decay=1.0)[0]
    assert abs(np.corrcoef(first, apart)[0, 1]) < 0.05


def test_leaves_of_one_shape_get_different_noise():
    params = {"a": jnp.ones(100), "w": jnp.ones(100)}
    rule = recipes.rule(choice("optimizer", "noisy_sgd"))
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = rule.update(zeros, rule.init(params), params, {"learning_rate": 1.0})
    assert not np.any(np.isclose(updates["a"], updates["w"], rtol=1e-3, atol=0.0))


def test_sign_seed_tells_weights_apart_but_not_their_last_digits():
    weights = jax.random.normal(jax.random.key(0), (50,))
    seed = steps.sign_seed({"w": weights})
    assert seed == steps.sign_seed({"w": weights * (1 + 1e-6)})
    assert seed != steps.sign_seed({"w": weights.at[7].multiply(-1.0)})
    assert seed != steps.sign_seed({"w": weights[::-1]})
    assert seed.dtype == jnp.uint32


def test_estimate_of_the_curvature_is_unbiased():
    """u H u over many draws of signs, for a Hessian with entries off its diagonal."""
    hessian = jnp.array([[2.0, 0.5], [0.5, 1.0]])
    estimator = modern._hutchinson()
    params = {"w": jnp.ones(2)}

    def objective(params: Any) -> jax.Array:
        return 0.5 * params["w"] @ hessian @ params["w"]

    def step(state: Any, _: Any) -> tuple[Any, jax.Array]:
        estimate, state = estimator.update(params, state, params, value_fn=objective)
        return state, estimate["w"]

    _, estimates = jax.lax.scan(step, estimator.init(params), length=2000)
    np.testing.assert_allclose(estimates.mean(axis=0), [2.0, 1.0], atol=0.05)
    assert float(estimates.std(axis=0)[0]) > 0.4


@pytest.mark.parametrize("name", ["sam", "sophia"])
def test_rules_that_need_the_objective_say_so(name: str):
    params = {"w": jnp.ones(2)}
    rule = recipes.rule(choice("optimizer", name))
    with pytest.raises(TypeError, match=rf"{name} needs objective=, the function from parameters"):
        rule.update(params, rule.init(params), params, {"learning_rate": 0.1})


def test_rows_that_need_the_loss_say_so():
    marked = {row.name for row in CATALOG["optimizer"].values() if row.facts.get("needs")}
    assert {"sam", "sophia", "polyak_sgd", "momo", "momo_adam"} <= marked


@pytest.mark.parametrize("name", ["sm3", "muon", "adafactor", "lamb", "novograd"])
def test_rules_by_axis_take_scalars_and_convolutions(name: str):
    params = {"slope": jnp.ones(()), "conv_0": {"kernel": jnp.full((2, 2, 3, 4), 0.1)}}
    rule = recipes.rule(choice("optimizer", name))
    updates, _ = rule.update(params, rule.init(params), params, {"learning_rate": 0.1})
    assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, params)
    assert all(bool(jnp.all(leaf < 0)) for leaf in jax.tree.leaves(updates) if leaf.ndim == 0)


def test_muon_makes_a_convolution_orthogonal_over_its_units():
    kernel = jax.random.normal(jax.random.key(0), (2, 2, 3, 4))
    rule = recipes.rule(choice("optimizer", "muon"))
    params = {"conv_0": {"kernel": kernel}}
    updates, _ = rule.update(params, rule.init(params), params, {"learning_rate": 1.0})
    values = np.linalg.svd(np.asarray(updates["conv_0"]["kernel"]).reshape(12, 4))[1]
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_decay_leaves_biases_alone():
    for name in ("lamb", "lars", "novograd", "schedule_free", "prodigy", "dadapt_adamw"):
        kernel = jnp.array([[1.0, -2.0], [3.0, 0.5]])
        params = {"dense_0": {"kernel": kernel, "bias": jnp.ones(2)}}
        grads = jax.tree.map(lambda x: jnp.full_like(x, 0.1), params)
        moved = {}
        for strength in (0.0, 0.5):
            rule = recipes.rule(choice("optimizer", name, weight_decay=strength))
            updates, _ = rule.update(grads, rule.init(params), params, {"learning_rate": 1.0})
            moved[strength] = updates["dense_0"]
        np.testing.assert_array_equal(moved[0.0]["bias"], moved[0.5]["bias"], err_msg=name)
        assert np.all(moved[0.0]["kernel"] != moved[0.5]["kernel"]), name
