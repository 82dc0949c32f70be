"""Update rules transcribed from their papers: plain NumPy in float64, slow and obvious.

Written from the formulas, never from the code they are compared with. A rule for one tensor is
`rule(x, g, s, k, a, h) -> x`: weights, gradient, memory (a dict that the rule writes to), number of the step from 1,
learning rate, other hyperparameters. A rule that looks at all tensors together, or at the loss, or that takes gradients
elsewhere, is `rule(params, f, s, k, a, h) -> params`, with `f` the `Objective` of the step. Weights to be judged, where
they are others than those trained, stand in `s["judged"]`.

Where a row of the catalogue documents a departure from the paper, the oracle has both and the test says which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray
Tree = dict[str, np.ndarray]
Memory = dict[str, Any]
Hypers = Mapping[str, Any]


class Objective(NamedTuple):
    """Functions of the parameters, on the batch of one step; the curvature is the diagonal of the Hessian."""

    gradient: Callable[[Tree], Tree]
    loss: Callable[[Tree], float]
    curvature: Callable[[Tree], Tree]


TensorRule = Callable[[Array, Array, Memory, int, float, Hypers], Array]
TreeRule = Callable[[Tree, Objective, Memory, int, float, Hypers], Tree]


def is_exempt(name: str) -> bool:
    """Biases are exempt from decay; the catalogue says so."""
    return name.endswith("/bias")


def per_tensor(rule: TensorRule) -> TreeRule:
    """The rule for each tensor on its own; decay is 0 where a tensor is exempt."""

    def apply(params: Tree, f: Objective, s: Memory, k: int, a: float, h: Hypers) -> Tree:
        grads = f.gradient(params)
        after = {}
        for name, x in params.items():
            mine = {**h, "weight_decay": 0.0} if is_exempt(name) else h
            after[name] = rule(x, grads[name], s.setdefault(name, {}), k, a, mine)
        return after

    return apply


# Gradient descent and momentum.


def sgd(x, g, s, k, a, h):
    """x -= a g"""
    return x - a * g


def momentum(x, g, s, k, a, h):
    """Polyak 1964; Qian 1999: v = m v + g; x -= a v"""
    s["v"] = h["momentum"] * s.get("v", 0.0) + g
    return x - a * s["v"]


def velocity(x, g, s, k, a, h):
    """v = m v - a g; x += v: the rate is inside the memory"""
    s["v"] = h["momentum"] * s.get("v", 0.0) - a * g
    return x + s["v"]


def nesterov_rewritten(x, g, s, k, a, h):
    """In y = x + m v, where the gradient is taken: v = m v_old - a g(y); y += -m v_old + (1 + m) v"""
    m, old = h["momentum"], s.get("v", 0.0)
    s["v"] = m * old - a * g
    return x - m * old + (1.0 + m) * s["v"]


def nesterov_lookahead(params, f, s, k, a, h):
    """Sutskever 2013: v = m v - a g(x + m v); x += v. What is trained is x + m v; x is judged."""
    m = h["momentum"]
    v = s.get("v", {name: np.zeros_like(x) for name, x in params.items()})
    x = s.get("judged", params)
    g = f.gradient({name: x[name] + m * v[name] for name in x})
    s["v"] = {name: m * v[name] - a * g[name] for name in x}
    s["judged"] = {name: x[name] + s["v"][name] for name in x}
    return {name: s["judged"][name] + m * s["v"][name] for name in x}


def optimistic_gd(x, g, s, k, a, h):
    """Mokhtari 2019: x -= a (g + p (g - g_old)); in the first step g_old is g"""
    old = s.get("g", g)
    s["g"] = g
    return x - a * (g + h["optimism"] * (g - old))


def rprop(x, g, s, k, a, h):
    """Igel 2000, iRprop-: d *= p or q as the sign stayed or changed; x -= d sign(g), no step where it changed

    After a change the next step counts as if nothing had been before it. d starts at the rate of the first step.
    """
    d, sign = s.get("d", np.full_like(x, a)), np.sign(g) * np.sign(s.get("g", np.zeros_like(x)))
    d = np.where(sign > 0, np.minimum(d * h["grow"], h["max_step"]), d)
    d = np.where(sign < 0, np.maximum(d * h["shrink"], h["min_step"]), d)
    s["d"], s["g"] = d, np.where(sign < 0, 0.0, g)
    return x - d * np.sign(s["g"])


# Rules that divide by the size of past gradients.


def adagrad(x, g, s, k, a, h):
    """Duchi 2011: s += g^2; x -= a g / (sqrt(s) + e)"""
    s["s"] = s.get("s", 0.0) + g**2
    return x - a * g / (np.sqrt(s["s"]) + h["eps"])


def adadelta(x, g, s, k, a, h):
    """Zeiler 2012: s = r s + (1-r) g^2; d = g sqrt(u + e) / sqrt(s + e); u = r u + (1-r) d^2; x -= a d"""
    r, e, u = h["rho"], h["eps"], s.get("u", 0.0)
    s["s"] = r * s.get("s", 0.0) + (1.0 - r) * g**2
    d = g * np.sqrt(u + e) / np.sqrt(s["s"] + e)
    s["u"] = r * u + (1.0 - r) * d**2
    return x - a * d


def rmsprop(x, g, s, k, a, h):
    """Hinton 2012: s = r s + (1-r) g^2; v = m v + g / (sqrt(s) + e); x -= a v

    Centred (Graves 2013): with c = r c + (1-r) g, the root is of s - c^2.
    """
    r = h["decay"]
    s["s"] = r * s.get("s", 0.0) + (1.0 - r) * g**2
    s["c"] = r * s.get("c", 0.0) + (1.0 - r) * g
    square = s["s"] - s["c"] ** 2 if h["centered"] else s["s"]
    s["v"] = h["momentum"] * s.get("v", 0.0) + g / (np.sqrt(square) + h["eps"])
    return x - a * s["v"]


def _moments(g, s, h):
    s["m"] = h["b1"] * s.get("m", 0.0) + (1.0 - h["b1"]) * g
    s["v"] = h["b2"] * s.get("v", 0.0) + (1.0 - h["b2"]) * g**2
    return s["m"], s["v"]


def adam(x, g, s, k, a, h):
    """Kingma 2014: m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; x -= a (m / (1-b1^k)) / (sqrt(v / (1-b2^k)) + e)

    Without bias correction: x -= a m / (sqrt(v) + e).
    """
    m, v = _moments(g, s, h)
    if h.get("bias_correction", True):
        m, v = m / (1.0 - h["b1"] ** k), v / (1.0 - h["b2"] ** k)
    return x - a * m / (np.sqrt(v) + h["eps"])


def adamw(x, g, s, k, a, h):
    """Loshchilov 2017: adam, and x -= a w x with the weights before the step"""
    return adam(x, g, s, k, a, h) - a * h["weight_decay"] * x


def nadam(x, g, s, k, a, h):
    """Dozat 2016, constant momentum: n = b1 m / (1-b1^(k+1)) + (1-b1) g / (1-b1^k); x -= a n / (sqrt(v^) + e)"""
    m, v = _moments(g, s, h)
    b1 = h["b1"]
    n = b1 * m / (1.0 - b1 ** (k + 1)) + (1.0 - b1) * g / (1.0 - b1**k)
    return x - a * n / (np.sqrt(v / (1.0 - h["b2"] ** k)) + h["eps"])


def adamax(x, g, s, k, a, h):
    """Kingma 2014, section 7.1: u = max(b2 u, |g|); x -= a m / ((1-b1^k) u)

    The paper has no epsilon, since u = 0 only where every gradient was 0. The catalogue has max(b2 u, |g| + e).
    """
    s["m"] = h["b1"] * s.get("m", 0.0) + (1.0 - h["b1"]) * g
    s["u"] = np.maximum(h["b2"] * s.get("u", 0.0), np.abs(g) + h["eps"])
    return x - a * s["m"] / ((1.0 - h["b1"] ** k) * s["u"])


def amsgrad(x, g, s, k, a, h):
    """Reddi 2018: the largest v so far takes the place of v

    The paper corrects no bias (`max_of: raw`). With correction there are two readings of "largest": of v, corrected
    afterwards (`max_of: raw, corrected later`, PyTorch), and of the corrected v (`max_of: corrected`, the catalogue).
    """
    m, v = _moments(g, s, h)
    if h["max_of"] != "corrected":
        s["top"] = np.maximum(s.get("top", 0.0), v)
        is_late = h["max_of"] == "raw, corrected later"
        one, two = (1.0 - h["b1"] ** k, 1.0 - h["b2"] ** k) if is_late else (1.0, 1.0)
        return x - a * m / one / (np.sqrt(s["top"] / two) + h["eps"])
    s["top"] = np.maximum(s.get("top", 0.0), v / (1.0 - h["b2"] ** k))
    return x - a * m / (1.0 - h["b1"] ** k) / (np.sqrt(s["top"]) + h["eps"])


def radam(x, g, s, k, a, h):
    """Liu 2019, algorithm 2: adam times r_k where the variance is tractable, else x -= a m^

    With the threshold of 5 that the authors' code has; the paper says 4.
    """
    m, v = _moments(g, s, h)
    b1, b2 = h["b1"], h["b2"]
    longest = 2.0 / (1.0 - b2) - 1.0
    length = longest - 2.0 * k * b2**k / (1.0 - b2**k)
    if length < 5.0:
        return x - a * m / (1.0 - b1**k)
    up = (length - 4.0) * (length - 2.0) * longest
    r = np.sqrt(up / ((longest - 4.0) * (longest - 2.0) * length))
    return x - a * r * m / (1.0 - b1**k) / (np.sqrt(v / (1.0 - b2**k)) + h["eps"])


def adabelief(x, g, s, k, a, h):
    """Zhuang 2020, algorithm 2: v = b2 v + (1-b2) (g - m)^2 + e; x -= a m^ / (sqrt(v^) + e)"""
    s["m"] = h["b1"] * s.get("m", 0.0) + (1.0 - h["b1"]) * g
    s["v"] = h["b2"] * s.get("v", 0.0) + (1.0 - h["b2"]) * (g - s["m"]) ** 2 + h["eps"]
    m, v = s["m"] / (1.0 - h["b1"] ** k), s["v"] / (1.0 - h["b2"] ** k)
    return x - a * m / (np.sqrt(v) + h["eps"])


def acprop(x, g, s, k, a, h):
    """Zhuang 2021: x -= a g / (sqrt(v_old^) + e); v = b2 v + (1-b2) (g - m)^2 + e; m a running mean of g

    The divisor is that of the step before; in the first step the root counts as 1. `centre: new` subtracts the m of
    this step (the paper), `old` that of the step before (the catalogue, after Optax).
    """
    b1, b2, old = h["b1"], h["b2"], s.get("m", 0.0)
    root = (1.0 if k == 1 else np.sqrt(s["v"] / (1.0 - b2 ** (k - 1)))) + h["eps"]
    s["m"] = b1 * old + (1.0 - b1) * g
    centre = s["m"] if h["centre"] == "new" else old
    s["v"] = b2 * s.get("v", 0.0) + (1.0 - b2) * (g - centre) ** 2 + h["eps"]
    return x - a * g / root


def yogi(x, g, s, k, a, h):
    """Zaheer 2018, algorithm 2: v -= (1-b2) sign(v - g^2) g^2; x -= a m / (sqrt(v) + e)

    The catalogue corrects the bias, as adam does, and starts m and v at 1e-6.
    """
    b1, b2 = h["b1"], h["b2"]
    m, v = s.get("m", 1e-6), s.get("v", 1e-6)
    s["m"] = b1 * m + (1.0 - b1) * g
    s["v"] = v - (1.0 - b2) * np.sign(v - g**2) * g**2
    return x - a * s["m"] / (1.0 - b1**k) / (np.sqrt(s["v"] / (1.0 - b2**k)) + h["eps"])


def adopt(x, g, s, k, a, h):
    """Taniguchi 2024, algorithm 2: m = b1 m + (1-b1) clip(g / max(sqrt(v), e), t^(1/4)); x -= a m; then v is updated

    The first gradient only sets v = g^2; t counts from 0 there, so that the first step has t = 1.
    """
    if k == 1:
        s["v"] = g**2
        return x
    divided = g / np.maximum(np.sqrt(s["v"]), h["eps"])
    if h["clip"]:
        divided = np.clip(divided, -((k - 1) ** 0.25), (k - 1) ** 0.25)
    s["m"] = h["b1"] * s.get("m", 0.0) + (1.0 - h["b1"]) * divided
    s["v"] = h["b2"] * s["v"] + (1.0 - h["b2"]) * g**2
    return x - a * s["m"]


def adan(x, g, s, k, a, h):
    """Xie 2022, algorithm 1, with b the share kept (1 - b in the paper) and the bias correction of the authors' code

    d = g - g_old; m = b1 m + (1-b1) g; v = b2 v + (1-b2) d; n = b3 n + (1-b3) (g + b2 d)^2;
    x -= a (m^ + b2 v^) / (sqrt(n^) + e)
    """
    b1, b2, b3 = h["b1"], h["b2"], h["b3"]
    d = g - s.get("g", g)
    s["g"] = g
    s["m"] = b1 * s.get("m", 0.0) + (1.0 - b1) * g
    s["v"] = b2 * s.get("v", 0.0) + (1.0 - b2) * d
    s["n"] = b3 * s.get("n", 0.0) + (1.0 - b3) * (g + b2 * d) ** 2
    m, v, n = s["m"] / (1.0 - b1**k), s["v"] / (1.0 - b2**k), s["n"] / (1.0 - b3**k)
    return x - a * (m + b2 * v) / (np.sqrt(n) + h["eps"])


def ademamix(x, g, s, k, a, h):
    """Pagliardini 2024: l = b3 l + (1-b3) g; x -= a (m^ + p l) / (sqrt(v^) + e); l is not corrected"""
    m, v = _moments(g, s, h)
    s["l"] = h["b3"] * s.get("l", 0.0) + (1.0 - h["b3"]) * g
    root = np.sqrt(v / (1.0 - h["b2"] ** k)) + h["eps"]
    return x - a * (m / (1.0 - h["b1"] ** k) + h["alpha"] * s["l"]) / root


def simplified_ademamix(x, g, s, k, a, h):
    """Morwani 2025: n = b1 n + g; x -= a (n + p g) / (sqrt(v^) + e)"""
    s["n"] = h["b1"] * s.get("n", 0.0) + g
    s["v"] = h["b2"] * s.get("v", 0.0) + (1.0 - h["b2"]) * g**2
    root = np.sqrt(s["v"] / (1.0 - h["b2"] ** k)) + h["eps"]
    return x - a * (s["n"] + h["alpha"] * g) / root


def optimistic_adam(x, g, s, k, a, h):
    """Daskalakis 2017: u the direction of adam; x -= a (u + p (u - u_old)); in the first step u_old is u"""
    u = -adam(np.zeros_like(x), g, s, k, 1.0, h)
    old = s.get("u", u)
    s["u"] = u
    return x - a * (u + h["optimism"] * (u - old))


def madgrad(x, g, s, k, a, h):
    """Defazio 2021, algorithm 1: l = a sqrt(k); s += l g; v += l g^2; z = x_0 - s / (v^(1/3) + e); x = m x + (1-m) z

    The catalogue has l = (a + e) sqrt(k), as the authors' code has.
    """
    start, scale = s.setdefault("start", x), (a + h["eps"]) * np.sqrt(k)
    s["s"] = s.get("s", 0.0) + scale * g
    s["v"] = s.get("v", 0.0) + scale * g**2
    z = start - s["s"] / (np.cbrt(s["v"]) + h["eps"])
    return h["momentum"] * x + (1.0 - h["momentum"]) * z


# Signs, layer-wise rates, matrices.


def lion(x, g, s, k, a, h):
    """Chen 2023: x -= a sign(b1 m + (1-b1) g); m = b2 m + (1-b2) g"""
    m = s.get("m", 0.0)
    s["m"] = h["b2"] * m + (1.0 - h["b2"]) * g
    return x - a * np.sign(h["b1"] * m + (1.0 - h["b1"]) * g)


def sign_sgd(x, g, s, k, a, h):
    """Bernstein 2018: x -= a sign(g)"""
    return x - a * np.sign(g)


def signum(x, g, s, k, a, h):
    """Bernstein 2018: v = m v + (1-m) g; x -= a sign(v)"""
    s["v"] = h["momentum"] * s.get("v", 0.0) + (1.0 - h["momentum"]) * g
    return x - a * np.sign(s["v"])


def sm3(x, g, s, k, a, h):
    """Anil 2019, SM3-II, covers of one row or one column

    s = min(row, column) + g^2; row and column are the largest s in them; v = m v + (1-m) g / sqrt(s + e); x -= a v.
    """
    if g.ndim == 2:
        row, column = s.get("row", np.zeros(g.shape[0])), s.get("column", np.zeros(g.shape[1]))
        total = np.minimum(row[:, None], column[None, :]) + g**2
        s["row"], s["column"] = total.max(axis=1), total.max(axis=0)
    else:
        total = s["s"] = s.get("s", 0.0) + g**2
    m = h["momentum"]
    s["v"] = m * s.get("v", 0.0) + (1.0 - m) * g / np.sqrt(total + h["eps"])
    return x - a * s["v"]


def _norm(x: Array) -> float:
    return float(np.sqrt(np.sum(x**2)))


def lamb(x, g, s, k, a, h):
    """You 2019, algorithm 2: u = m^ / (sqrt(v^) + e) + w x; x -= a (|x| / |u|) u; ratio 1 where a norm is 0"""
    m, v = _moments(g, s, h)
    u = m / (1.0 - h["b1"] ** k) / (np.sqrt(v / (1.0 - h["b2"] ** k)) + h["eps"])
    u = u + h["weight_decay"] * x
    ratio = _norm(x) / _norm(u) if _norm(x) > 0 and _norm(u) > 0 else 1.0
    return x - a * ratio * u


def lars(params, f, s, k, a, h):
    """You 2017, algorithm 1: l = c |x| / (|g| + w |x|); v = m v + a l (g + w x); x -= v

    The catalogue has |g + w x| below (`below: together`), and biases keep plain momentum.
    """
    grads, after = f.gradient(params), {}
    for name, x in params.items():
        g, w, t = grads[name], h["weight_decay"], s.setdefault(name, {})
        if is_exempt(name):
            step = a * g
        else:
            together = _norm(g + w * x)
            below = together if h["below"] == "together" else _norm(g) + w * _norm(x)
            step = a * h["trust"] * _norm(x) / below * (g + w * x)
        t["v"] = h["momentum"] * t.get("v", 0.0) + step
        after[name] = x - t["v"]
    return after


def fromage(x, g, s, k, a, h):
    """Bernstein 2020: x = (x - a |x| / |g| g) / sqrt(1 + a^2); norms count as at least `min_norm`"""
    ratio = max(_norm(x), h["min_norm"]) / max(_norm(g), h["min_norm"])
    return (x - a * ratio * g) / np.sqrt(1.0 + a**2)


def novograd(x, g, s, k, a, h):
    """Ginsburg 2019, algorithm 1: v = b2 v + (1-b2) |g|^2, |g|^2 at first; m = b1 m + g / (sqrt(v) + e) + w x; x -= a m"""
    square = _norm(g) ** 2
    s["v"] = square if k == 1 else h["b2"] * s["v"] + (1.0 - h["b2"]) * square
    step = g / (np.sqrt(s["v"]) + h["eps"]) + h["weight_decay"] * x
    s["m"] = h["b1"] * s.get("m", 0.0) + step
    return x - a * s["m"]


def adafactor(x, g, s, k, a, h):
    """Shazeer 2018, algorithms 4 and 5

    c = 1 - k^-r; for a factored matrix, rows r and columns q of V are running means of g^2 + e, and V = r q / mean(r);
    else V itself is. u = g / sqrt(V); u /= max(1, rms(u) / d); x -= a max(1e-3, rms(x)) u.
    """
    c = 1.0 - float(k) ** -h["decay"]
    square = g**2 + h["eps"]
    if x.ndim == 2 and min(x.shape) >= h["min_dim_size_to_factor"]:
        s["r"] = c * s.get("r", 0.0) + (1.0 - c) * square.mean(axis=1)
        s["q"] = c * s.get("q", 0.0) + (1.0 - c) * square.mean(axis=0)
        v = np.outer(s["r"], s["q"]) / s["r"].mean()
    else:
        v = s["v"] = c * s.get("v", 0.0) + (1.0 - c) * square
    u = g / np.sqrt(v)
    u = u / max(1.0, np.sqrt(np.mean(u**2)) / h["clip"])
    size = max(1e-3, np.sqrt(np.mean(x**2))) if h["scale_by_weights"] else 1.0
    return x - a * size * u


def newton_schulz(matrix, steps, eps):
    """Jordan 2024: X = M / (|M| + e); then X = 3.4445 X + (-4.7750 A + 2.0315 A A) X with A = X X^T, some times"""
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / (_norm(x) + eps)
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if is_tall else x


def muon(x, g, s, k, a, h):
    """Jordan 2024 for kernels [inputs, units]; anything else goes to Adam at a share of the rate

    v = m v + (1-m) g; u = m v + (1-m) g; x -= a sqrt(max(1, units / inputs)) newton_schulz(u). The catalogue corrects
    the bias of both terms of u as nadam does (`mixing: corrected`, else `plain`), and takes nadam for the rest.
    """
    if x.ndim != 2:
        rest = nadam if h["nesterov"] else adam
        return rest(x, g, s, k, a * h["adam_share"], {**h, "b1": 0.9, "b2": 0.999})
    m = h["momentum"]
    v = s["v"] = m * s.get("v", 0.0) + (1.0 - m) * g
    one, two = (1.0 - m**k, 1.0 - m ** (k + 1)) if h["mixing"] == "corrected" else (1.0, 1.0)
    u = m * v / two + (1.0 - m) * g / one if h["nesterov"] else v / one
    scale = np.sqrt(max(1.0, x.shape[1] / x.shape[0]))
    return x - a * scale * newton_schulz(u, h["ns_steps"], h["eps"])


# Rules around other rules.


def lookahead(inner: TreeRule) -> TreeRule:
    """Zhang 2019: after every k steps of the inner rule, slow += p (fast - slow); fast = slow. The slow are judged."""

    def apply(params, f, s, k, a, h):
        slow = s.setdefault("judged", dict(params))
        fast = inner(params, f, s.setdefault("inner", {}), k, a, h)
        if k % h["sync_steps"] != 0:
            return fast
        s["judged"] = {name: slow[name] + h["alpha"] * (fast[name] - slow[name]) for name in fast}
        return dict(s["judged"])

    return apply


def centralised(rule: TensorRule) -> TensorRule:
    """Yong 2020: take from the gradient of each unit (a column of [inputs, units]) its mean; vectors are left alone"""

    def apply(x, g, s, k, a, h):
        is_kernel = h["centralize"] and g.ndim > 1
        return rule(x, g - g.mean(axis=0, keepdims=True) if is_kernel else g, s, k, a, h)

    return apply


def sam(inner: TensorRule) -> TreeRule:
    """Foret 2020: the inner rule with the gradient at x + r g / |g|, |g| over all tensors"""
    each = per_tensor(inner)

    def apply(params, f, s, k, a, h):
        g = f.gradient(params)
        length = np.sqrt(sum(np.sum(x**2) for x in g.values()))
        worst = {name: params[name] + h["rho"] * g[name] / length for name in g}
        there = f.gradient(worst)
        return each(params, f._replace(gradient=lambda _: there), s, k, a, h)

    return apply


def mechanic(inner: TensorRule) -> TreeRule:
    """Cutkosky 2023, algorithm 1, with the choices of the authors' code

    D the sum of the inner rule's steps, x = x_0 + (sum s) D; for six memories b = 0.9, 0.99, ...:
    h = -D . (g + w (sum s) |g| x / |x|); m = max(b m, |h| + e); v = b^2 v + h^2; r = b r + h s; W = s_0 / 6 m + max(r, 0);
    s = W / (sqrt(v) + e). In the code s starts at s_0 each, and D is found again as (x - x_0) / (sum s + e). Later, not in
    the paper, the h in r was limited to the m of the step before (`limited`, Optax).
    """
    each = per_tensor(inner)
    b = 1.0 - 10.0 ** -np.arange(1.0, 7.0)

    def apply(params, f, s, k, a, h):
        g, e = f.gradient(params), h["eps"]
        moved = each(params, f, s.setdefault("inner", {}), k, a, {**h, **h["inner_options"]})
        start = s.setdefault("start", dict(params))
        factor = s.setdefault("s", np.full(6, h["s_init"]))
        total = factor.sum()
        d = {n: (x - start[n]) / (total + e) for n, x in params.items()}
        size = {
            what: np.sqrt(sum(np.sum(x**2) for x in tree.values()))
            for what, tree in (("g", g), ("x", params))
        }
        pull = h["weight_decay"] * total * size["g"] / (size["x"] + e)
        gain = -sum(np.sum(d[n] * (g[n] + pull * params[n])) for n in g)
        m = s.get("m", np.zeros(6))
        won = np.clip(gain, -m, m) if h["limited"] else gain
        s["m"] = np.maximum(b * m, abs(gain) + e)
        s["v"] = b**2 * s.get("v", 0.0) + gain**2
        s["r"] = b * s.get("r", 0.0) + won * factor
        wealth = h["s_init"] / 6.0 * s["m"] + np.maximum(s["r"], 0.0)
        s["s"] = wealth / (np.sqrt(s["v"]) + e)
        return {n: start[n] + s["s"].sum() * (d[n] + moved[n] - params[n]) for n in params}

    return apply


def schedule_free(params, f, s, k, a, h):
    """Defazio 2024, algorithm 1: z -= a (d(y) + w y); c = a^2 / sum a^2; x = (1-c) x + c z; y = b1 x + (1-b1) z

    d is g for base sgd, g / (sqrt(v^) + e) for adamw. y is trained, x is judged. The a in c is the largest so far, as
    in the authors' code.
    """
    x, z = s.setdefault("judged", dict(params)), s.setdefault("z", dict(params))
    s["top"] = max(s.get("top", 0.0), a)
    s["sum"] = s.get("sum", 0.0) + s["top"] ** 2
    c, b, grads, v = s["top"] ** 2 / s["sum"], h["b1"], f.gradient(params), s.setdefault("v", {})
    after = {}
    for name, y in params.items():
        d, w = grads[name], 0.0 if is_exempt(name) else h["weight_decay"]
        if h["base"] == "adamw":
            v[name] = h["b2"] * v.get(name, 0.0) + (1.0 - h["b2"]) * d**2
            d = d / (np.sqrt(v[name] / (1.0 - h["b2"] ** k)) + h["eps"])
        z[name] = z[name] - a * (d + w * y)
        x[name] = (1.0 - c) * x[name] + c * z[name]
        after[name] = (1.0 - b) * z[name] + b * x[name]
    return after


def sophia(params, f, s, k, a, h):
    """Liu 2023, algorithm 3: m = b1 m + (1-b1) g; every n-th step c = b2 c + (1-b2) diag H; x -= a clip(m / max(y c, e), p)

    The catalogue corrects the bias of m and takes the c of the steps before (`order: late`); the paper has this
    step's (`order: early`). Where H is diagonal, u H u with random signs u is diag H itself.
    """
    grads, after = f.gradient(params), {}
    fresh = f.curvature(params) if (k - 1) % h["update_interval"] == 0 else None
    for name, x in params.items():
        t = s.setdefault(name, {})
        m = t["m"] = h["b1"] * t.get("m", 0.0) + (1.0 - h["b1"]) * grads[name]
        old = t.get("c", np.zeros_like(x))
        if fresh is not None:
            t["c"] = h["b2"] * old + (1.0 - h["b2"]) * fresh[name]
        c = old
        if h["order"] == "late":
            m = m / (1.0 - h["b1"] ** k)
        else:
            c = t["c"]
        step = m / np.maximum(h["gamma"] * c, h["eps"])
        after[name] = x - a * np.clip(step, -h["clip"], h["clip"])
    return after


# Rules that find their rate themselves.


def _dot(one: Tree, two: Tree) -> float:
    return float(sum(np.sum(one[name] * two[name]) for name in one))


def polyak_sgd(params, f, s, k, a, h):
    """Loizou 2020: x -= min(max(f - f_min, 0) / |g|^2, a) g"""
    g = f.gradient(params)
    step = min(max(f.loss(params) - h["lower_bound"], 0.0) / _dot(g, g), a)
    return {name: x - step * g[name] for name, x in params.items()}


def momo(params, f, s, k, a, h):
    """Schaipp 2023, algorithm 1: running means d of g, f_ of f, y of g . x; t = min(a, (f_ + d . x - y - f_min)+ / |d|^2)

    x -= t d. All means start at their first values. With `adapt_lower_bound` (section 4): f_min is halved down where
    it is above what the model allows, and then set to f_ + d . x - y - t |d|^2 / 2, never below where it started.
    """
    m, g, first = h["momentum"], f.gradient(params), k == 1
    value, along = f.loss(params), _dot(g, params)
    s["d"] = {n: g[n] if first else m * s["d"][n] + (1.0 - m) * g[n] for n in g}
    s["f"] = value if first else m * s["f"] + (1.0 - m) * value
    s["y"] = along if first else m * s["y"] + (1.0 - m) * along
    model, square = s["f"] + _dot(s["d"], params) - s["y"], _dot(s["d"], s["d"])
    step = _momo_step(model, square, s, a, h, fair=1.0)
    return {n: x - step * s["d"][n] for n, x in params.items()}


def _momo_step(model, square, s, a, h, *, fair):
    """t = min(a / fair, (model - fair f_min)+ / square), and the new f_min where that adapts."""
    low = s.setdefault("low", h["lower_bound"])
    if h["adapt_lower_bound"] and model < fair * low:
        low = max(model / (2.0 * fair), h["lower_bound"])
    step = min(a / fair, max(model - fair * low, 0.0) / square)
    if h["adapt_lower_bound"]:
        low = max((model - 0.5 * step * square) / fair, h["lower_bound"])
    s["low"] = low
    return step


def momo_adam(params, f, s, k, a, h):
    """Schaipp 2023, algorithm 4: as momo in the norm of D = e + sqrt(v^), means from 0 corrected by 1-b1^k"""
    b1, b2, g = h["b1"], h["b2"], f.gradient(params)
    zeros = {n: np.zeros_like(x) for n, x in params.items()}
    m, v = s.get("m", zeros), s.get("v", zeros)
    s["m"] = {n: b1 * m[n] + (1.0 - b1) * g[n] for n in g}
    s["v"] = {n: b2 * v[n] + (1.0 - b2) * g[n] ** 2 for n in g}
    s["f"] = b1 * s.get("f", 0.0) + (1.0 - b1) * f.loss(params)
    s["y"] = b1 * s.get("y", 0.0) + (1.0 - b1) * _dot(g, params)
    u = {n: s["m"][n] / (h["eps"] + np.sqrt(s["v"][n] / (1.0 - b2**k))) for n in g}
    model, square = s["f"] + _dot(s["m"], params) - s["y"], _dot(s["m"], u)
    step = _momo_step(model, square, s, a, h, fair=1.0 - b1**k)
    return {n: x - step * u[n] for n, x in params.items()}


def dog(params, f, s, k, a, h):
    """Ivgi 2023: r = max(r, |x - x_0|), p (1 + |x_0|) at first; G += |g|^2; x -= a r / sqrt(G + e) g"""
    g, start = f.gradient(params), s.setdefault("start", dict(params))
    off = {n: x - start[n] for n, x in params.items()}
    s["r"] = max(
        s.get("r", h["start"] * (1.0 + np.sqrt(_dot(start, start)))), np.sqrt(_dot(off, off))
    )
    s["G"] = s.get("G", 0.0) + _dot(g, g)
    return {n: x - a * s["r"] / np.sqrt(s["G"] + h["eps"]) * g[n] for n, x in params.items()}


def dowg(params, f, s, k, a, h):
    """Khaled 2023, algorithm 1: q = max(q, |x - x_0|^2); v += q |g|^2; x -= a q / sqrt(v) g; q starts at e, added below"""
    g, start = f.gradient(params), s.setdefault("start", dict(params))
    off = {n: x - start[n] for n, x in params.items()}
    s["q"] = max(s.get("q", h["eps"]), _dot(off, off))
    s["v"] = s.get("v", 0.0) + s["q"] * _dot(g, g)
    return {n: x - a * s["q"] / (np.sqrt(s["v"]) + h["eps"]) * g[n] for n, x in params.items()}


def cocob(x, g, s, k, a, h):
    """Orabona 2017, algorithm 2, for every weight: L = max(L, |g|); G += |g|; R = max(R - g (x - x_0), 0); C -= g;

    x = x_0 + C / (L max(G + L, p L)) (L + R); a is the share of the way there.
    """
    start = s.setdefault("start", x)
    s["L"] = np.maximum(s.get("L", h["eps"]), np.abs(g))
    s["G"] = s.get("G", 0.0) + np.abs(g)
    s["R"] = np.maximum(s.get("R", 0.0) - g * (x - start), 0.0)
    s["C"] = s.get("C", 0.0) - g
    bet = s["C"] / (s["L"] * np.maximum(s["G"] + s["L"], h["alpha"] * s["L"])) * (s["L"] + s["R"])
    return x + a * (start + bet - x)


def prodigy(params, f, s, k, a, h):
    """Mishchenko 2023, algorithm 4, in the authors' code with decoupled decay and `bias_correction`

    b = a d sqrt(1-b2^k) / (1-b1^k); r = c r + d b (g . (x_0 - x)); s = c s + b d g, without a and the correction under
    `safeguard_warmup`; d' = max(d, q r / |s|_1); m = b1 m + (1-b1) d g; v = b2 v + (1-b2) d^2 g^2;
    x -= b m / d / (sqrt(v) / d + e) + w b x; c = sqrt(b2). Common factors of r and s are left out.

    The e is times d in the paper, times d' in the authors' code (`eps_with: new`).
    """
    b1, b2, c = h["b1"], h["b2"], np.sqrt(h["b2"])
    start, d, g = (
        s.setdefault("start", dict(params)),
        s.setdefault("d", h["start"]),
        f.gradient(params),
    )
    b = a * d * np.sqrt(1.0 - b2**k) / (1.0 - b1**k)
    away = {n: start[n] - x for n, x in params.items()}
    s["r"] = c * s.get("r", 0.0) + d * b * _dot(g, away)
    s["sum"] = {
        n: c * s.get("sum", {}).get(n, 0.0) + (d if h["safeguard_warmup"] else b) * d * g[n]
        for n in g
    }
    length = sum(np.sum(np.abs(x)) for x in s["sum"].values())
    s["d"] = max(d, h["coefficient"] * s["r"] / length)
    after = {}
    for name, x in params.items():
        t, w = s.setdefault(name, {}), 0.0 if is_exempt(name) else h["weight_decay"]
        t["m"] = b1 * t.get("m", 0.0) + (1.0 - b1) * d * g[name]
        t["v"] = b2 * t.get("v", 0.0) + (1.0 - b2) * d**2 * g[name] ** 2
        small = h["eps"] * (s["d"] if h["eps_with"] == "new" else d)
        after[name] = x - b * t["m"] / (np.sqrt(t["v"]) + small) - w * b * x
    return after


def dadapt_adamw(params, f, s, k, a, h):
    """Defazio 2023, algorithm 5, with bias correction and decoupled decay

    b = a d sqrt(1-b2^k) / (1-b1^k); r = c r + (1-c) b (g . s / (sqrt(v) + e)) with the v and s before; m = b1 m + (1-b1) b g;
    v = b2 v + (1-b2) g^2; s = c s + (1-c) b g; d = max(d, r / ((1-c) |s|_1)); x -= m / (sqrt(v) + e) + w b x; c = sqrt(b2)
    """
    b1, b2, c = h["b1"], h["b2"], np.sqrt(h["b2"])
    d, g, e = s.setdefault("d", h["start"]), f.gradient(params), h["eps"]
    b = a * d * np.sqrt(1.0 - b2**k) / (1.0 - b1**k)
    gain, length, after = 0.0, 0.0, {}
    for name, x in params.items():
        t, w = s.setdefault(name, {}), 0.0 if is_exempt(name) else h["weight_decay"]
        gain += b * np.sum(g[name] * t.get("s", 0.0) / (np.sqrt(t.get("v", 0.0)) + e))
        t["m"] = b1 * t.get("m", 0.0) + (1.0 - b1) * b * g[name]
        t["v"] = b2 * t.get("v", 0.0) + (1.0 - b2) * g[name] ** 2
        t["s"] = c * t.get("s", 0.0) + (1.0 - c) * b * g[name]
        length += np.sum(np.abs(t["s"]))
        after[name] = x - t["m"] / (np.sqrt(t["v"]) + e) - w * b * x
    s["r"] = c * s.get("r", 0.0) + (1.0 - c) * gain
    s["d"] = max(d, s["r"] / ((1.0 - c) * length))
    return after
