"""Catalogue rows of first-order update rules."""

from __future__ import annotations

from lanework.catalog.types import Entry, Hyper

__all__ = ["OPTIMIZERS"]


def _rate(default: float, note: str = "") -> Hyper:
    return _positive("learning_rate", default, "learning rate a" + (f"; {note}" if note else ""))


def _positive(name: str, default: float, summary: str) -> Hyper:
    return Hyper(name, "float", default, summary, low=0.0, low_open=True, traced=True, log=True)


def _at_least_0(name: str, default: float, summary: str) -> Hyper:
    return Hyper(name, "float", default, summary, low=0.0, traced=True)


def _fraction(name: str, default: float, summary: str) -> Hyper:
    return Hyper(name, "float", default, summary, low=0.0, high=1.0, high_open=True, traced=True)


def _count(name: str, default: int, summary: str, *, high: int = 1_000_000) -> Hyper:
    return Hyper(name, "int", default, summary, low=1, high=high)


def _eps(default: float, summary: str = "e, added to the denominator") -> Hyper:
    return _positive("eps", default, summary)


def _decay(
    default: float, summary: str = "w, the share of the weight that a step removes"
) -> Hyper:
    name = "weight_decay"
    return Hyper(
        name, "float", default, f"{summary}, times the rate", low=0.0, traced=True, log=True
    )


def _b1(default: float) -> Hyper:
    return _fraction("b1", default, "memory of the running mean of gradients")


def _b2(default: float) -> Hyper:
    return _fraction("b2", default, "memory of the running mean of squared gradients")


def _betas(eps: float = 1e-8, *, b1: float = 0.9, b2: float = 0.999) -> tuple[Hyper, ...]:
    return (_b1(b1), _b2(b2), _eps(eps))


def _rule(
    name: str,
    summary: str,
    *,
    formula: str,
    source: str,
    hypers: tuple[Hyper, ...],
    notes: str = "",
    ascending: tuple[tuple[str, str], ...] = (),
    facts: dict[str, str] | None = None,
) -> Entry:
    return Entry("optimizer", name, summary, formula, source, hypers, notes, ascending, facts or {})


_ORDER = (("b1", "b2"),)
_NEEDS_LOSS = {"needs": "objective"}
_MOMENTUM = _fraction("momentum", 0.9, "m, the share of the last step that is kept")
_BOUND = Hyper("lower_bound", "float", 0.0, "f_min, a loss that cannot be beaten", traced=True)
_ADAPT = Hyper("adapt_lower_bound", "bool", False, "raise f_min from lower_bound by what is seen")
_MOMENTS = "m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2"
_ADAM_TOP = "m / (1-b1^k)"
_ADAM_ROOT = "(sqrt(v / (1-b2^k)) + e)"
_INNER = (
    "the rule inside: a name, or a mapping with its options, which are compiled in; the rate is "
    "that of this rule"
)
_ONE = "1 is the published rule, and only a schedule should change it"

CLASSIC = (
    _rule(
        "sgd",
        "Gradient descent: full batch, mini-batch or single sample by batch_size (all, B or 1).",
        formula="x -= a g",
        source="Robbins and Monro 1951, A stochastic approximation method, "
        "https://doi.org/10.1214/aoms/1177729586",
        hypers=(_rate(0.01),),
    ),
    _rule(
        "gd",
        "Gradient descent on the whole training part at once: one step an epoch.",
        formula="x -= a g, g the gradient of the mean loss over the training part",
        source="Cauchy 1847, Comptes rendus 25, 536-538",
        hypers=(_rate(0.1),),
        notes="The function is that of sgd; batch_size is all.",
        facts={"batch": "all"},
    ),
    _rule(
        "momentum",
        "Gradient descent with a running sum of past gradients (heavy ball).",
        formula="v = m v + g; x -= a v",
        source="Polyak 1964, https://doi.org/10.1016/0041-5553(64)90137-5; Qian 1999",
        hypers=(
            _rate(0.01),
            _MOMENTUM,
            Hyper(
                "form",
                "choice",
                "heavy_ball",
                "velocity: v = m v - a g; x += v, which differs when the rate changes",
                choices=("heavy_ball", "velocity"),
            ),
        ),
        notes="The step grows by up to 1 / (1 - m): at m = 0.9 use about a tenth of sgd's rate.",
    ),
    _rule(
        "nesterov",
        "Momentum with the gradient taken where the momentum will lead to.",
        formula="v = m v - a g(x + m v); x += v",
        source="Nesterov 1983; Sutskever et al. 2013, On the importance of initialization and "
        "momentum, https://proceedings.mlr.press/v28/sutskever13.html",
        hypers=(
            _rate(0.01),
            _MOMENTUM,
            Hyper(
                "form",
                "choice",
                "rewritten",
                "rewritten in y = x + m v: y += -m v_old + (1+m) v; lookahead: the two steps of the formula",
                choices=("rewritten", "lookahead"),
            ),
        ),
        notes="Both forms train y = x + m v, where the gradient is taken, and walk the same path. "
        "rewritten evaluates y, as most libraries do; lookahead evaluates x.",
    ),
    _rule(
        "adagrad",
        "Divides by the root of the sum of all squared gradients; its steps fade with time.",
        formula="s += g^2; x -= a g / (sqrt(s) + e)",
        source="Duchi, Hazan and Singer 2011, https://jmlr.org/papers/v12/duchi11a.html",
        hypers=(_rate(0.01), _eps(1e-7)),
    ),
    _rule(
        "adadelta",
        "Two running averages set the step; no global rate is needed.",
        formula="s = r s + (1-r) g^2; d = g sqrt(u + e) / sqrt(s + e); u = r u + (1-r) d^2; x -= a d",
        source="Zeiler 2012, https://arxiv.org/abs/1212.5701",
        hypers=(
            _rate(1.0, "1 is the published rule"),
            _fraction("rho", 0.95, "r, memory of both running averages"),
            _eps(1e-6),
        ),
    ),
    _rule(
        "rmsprop",
        "Divides by the root of a running mean of squared gradients; centred or with momentum too.",
        formula="s = r s + (1-r) g^2; x -= a g / (sqrt(s) + e)",
        source="Hinton 2012, Neural networks for machine learning, lecture 6e, "
        "https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf",
        hypers=(
            _rate(0.001),
            _fraction("decay", 0.9, "r, memory of the running mean of squared gradients"),
            _eps(1e-8),
            _fraction("momentum", 0.0, "m, the share of the last step that is kept; 0 is none"),
            Hyper(
                "centered",
                "bool",
                False,
                "subtract the squared running mean of the gradient",
            ),
        ),
    ),
    _rule(
        "rprop",
        "A step size for every weight, which grows while its gradient keeps its sign.",
        formula="d *= p if g g_old > 0, q if g g_old < 0 (then no step); x -= d sign(g); d starts at a",
        source="Riedmiller and Braun 1993, https://doi.org/10.1109/ICNN.1993.298623; "
        "Igel and Huesken 2000 (the variant iRprop-)",
        hypers=(
            _rate(0.001, "the first step size of every weight"),
            Hyper(
                "shrink",
                "float",
                0.5,
                "q, factor where the sign changed",
                low=0.0,
                low_open=True,
                high=1.0,
                high_open=True,
                traced=True,
            ),
            Hyper(
                "grow",
                "float",
                1.2,
                "p, factor where the sign stayed",
                low=1.0,
                low_open=True,
                traced=True,
            ),
            _positive("min_step", 1e-6, "smallest step size"),
            _positive("max_step", 50.0, "largest step size"),
        ),
        notes="For batch_size: all; the noise of small batches changes signs at random. A schedule "
        "of the rate does nothing after the first step.",
        ascending=(("min_step", "max_step"),),
    ),
    _rule(
        "adam",
        "Running mean of gradients over the root of that of their squares, both bias-corrected.",
        formula=f"{_MOMENTS}; x -= a ({_ADAM_TOP}) / {_ADAM_ROOT}",
        source="Kingma and Ba 2014, https://arxiv.org/abs/1412.6980",
        hypers=(
            _rate(0.001),
            *_betas(),
            Hyper(
                "bias_correction",
                "bool",
                True,
                "divide by 1-b1^k and 1-b2^k; without it the first step is (1-b1) / sqrt(1-b2) of the rate",
            ),
        ),
        ascending=_ORDER,
    ),
    _rule(
        "nadam",
        "Adam with Nesterov's momentum.",
        formula=f"{_MOMENTS}; x -= a (b1 m / (1-b1^(k+1)) + (1-b1) g / (1-b1^k)) / {_ADAM_ROOT}",
        source="Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ",
        hypers=(_rate(0.001), *_betas()),
        notes="With train.weight_decay it is NAdamW.",
        ascending=_ORDER,
    ),
    _rule(
        "adamax",
        "Adam with the largest recent gradient in the place of the root mean square.",
        formula=f"m = b1 m + (1-b1) g; u = max(b2 u, |g| + e); x -= a ({_ADAM_TOP}) / u",
        source="Kingma and Ba 2014, https://arxiv.org/abs/1412.6980, section 7.1",
        hypers=(
            _rate(0.002),
            _b1(0.9),
            _fraction("b2", 0.999, "memory of the largest gradient"),
            _eps(1e-8, "e, added to |g|"),
        ),
        ascending=_ORDER,
    ),
    _rule(
        "amsgrad",
        "Adam whose divisor never falls.",
        formula=f"{_MOMENTS}; u = max(u, v / (1-b2^k)); x -= a ({_ADAM_TOP}) / (sqrt(u) + e)",
        source="Reddi, Kale and Kumar 2018, https://arxiv.org/abs/1904.09237",
        hypers=(_rate(0.001), *_betas()),
        notes="The largest bias-corrected mean counts; the paper has no bias correction.",
        ascending=_ORDER,
    ),
    _rule(
        "adamw",
        "Adam with decoupled weight decay.",
        formula="as adam, and x -= a w x",
        source="Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101",
        hypers=(_rate(0.001), *_betas(), _decay(0.01)),
        notes="Adam with l2 is another rule: there the penalty's gradient is rescaled too.",
        ascending=_ORDER,
    ),
    _rule(
        "radam",
        "Adam whose adaptive part waits until its variance is known (rectified).",
        formula="as adam, times r_k when the variance is tractable, else x -= a m / (1-b1^k)",
        source="Liu et al. 2019, https://arxiv.org/abs/1908.03265",
        hypers=(_rate(0.001), *_betas()),
        ascending=_ORDER,
    ),
)

WRAPPERS = (
    _rule(
        "lookahead",
        "Wraps a rule: slow weights go a part of the way after every k steps of it.",
        formula="k steps of the inner rule on x; then s += p (x - s); x = s",
        source="Zhang, Lucas, Hinton and Ba 2019, https://arxiv.org/abs/1907.08610",
        hypers=(
            _rate(0.001, "that of the inner rule"),
            Hyper("inner", "choice", "adam", _INNER, of="optimizer"),
            _count("sync_steps", 5, "k, steps of the inner rule between two of the slow weights"),
            Hyper(
                "alpha",
                "float",
                0.5,
                "p, the share of the way that the slow weights go",
                low=0.0,
                low_open=True,
                high=1.0,
                traced=True,
            ),
        ),
        notes="The slow weights s are evaluated and kept. The memory of the inner rule goes on.",
    ),
    _rule(
        "ranger",
        "RAdam inside Lookahead, with centralised gradients if wanted.",
        formula="as lookahead around radam; centralize: g -= mean of g over the inputs of each unit",
        source="Wright 2019, https://github.com/lessw2020/Ranger-Deep-Learning-Optimizer; "
        "Yong et al. 2020, https://arxiv.org/abs/2004.01461",
        hypers=(
            _rate(0.001),
            *_betas(1e-5, b1=0.95),
            _count("sync_steps", 6, "k, steps of radam between two of the slow weights"),
            Hyper(
                "alpha",
                "float",
                0.5,
                "p, the share of the way that the slow weights go",
                low=0.0,
                low_open=True,
                high=1.0,
                traced=True,
            ),
            Hyper("centralize", "bool", False, "centralise the gradients of kernels"),
        ),
        notes="The slow weights are evaluated and kept. Biases and vectors are not centralised.",
        ascending=_ORDER,
    ),
    _rule(
        "mechanic",
        "Wraps a rule and learns the factor of its steps.",
        formula="D += step of the inner rule; x = x_0 + s D, s the wealth of a coin-betting scheme over h = g . D",
        source="Cutkosky, Defazio and Mehta 2023, https://arxiv.org/abs/2306.00144",
        hypers=(
            _rate(1.0, "that of the inner rule, to be scaled by s"),
            Hyper("inner", "choice", "adam", _INNER, of="optimizer"),
            _at_least_0("weight_decay", 0.01, "pull to 0, relative to the gradient's norm and s"),
            _positive("s_init", 1e-6, "where s starts"),
            _eps(1e-8),
        ),
        notes="Not for inner rules that normalise by layer (lamb, lars). As in Optax, h is limited by the wealth's last m "
        "before r is updated, and D is found again as (x - x_0) / (s + e); the paper does neither.",
    ),
    _rule(
        "sam",
        "Wraps a rule and gives it the gradient at the worst point nearby; two gradients a step.",
        formula="x -= step of the inner rule for g(x + r g / |g|)",
        source="Foret et al. 2020, https://arxiv.org/abs/2010.01412",
        hypers=(
            _rate(0.01, "that of the inner rule"),
            Hyper("inner", "choice", "momentum", _INNER, of="optimizer"),
            _positive("rho", 0.05, "r, how far away the worst point is"),
        ),
        notes="Clipping acts on the first gradient only, whose length does not count.",
        facts=_NEEDS_LOSS,
    ),
)

ADAPTIVE = (
    _rule(
        "lion",
        "Steps of the sign of an interpolated momentum; all parameters move equally far.",
        formula="x -= a sign(b1 m + (1-b1) g); m = b2 m + (1-b2) g",
        source="Chen et al. 2023, https://arxiv.org/abs/2302.06675",
        hypers=(_rate(1e-4), _b1(0.9), _fraction("b2", 0.99, "memory of the momentum")),
        notes="Wants 3 to 10 times smaller rates than adam.",
        ascending=_ORDER,
    ),
    _rule(
        "adabelief",
        "Adam that divides by how far gradients are from what was expected.",
        formula=f"m = b1 m + (1-b1) g; v = b2 v + (1-b2) (g-m)^2 + e; x -= a ({_ADAM_TOP}) / {_ADAM_ROOT}",
        source="Zhuang et al. 2020, https://arxiv.org/abs/2010.07468",
        hypers=(_rate(0.001), *_betas(1e-16)),
        ascending=_ORDER,
    ),
    _rule(
        "acprop",
        "AdaBelief whose divisor is that of the step before; the gradient itself is on top.",
        formula="m = b1 m + (1-b1) g; x -= a g / (sqrt(s / (1-b2^(k-1))) + e), 1 + e below in the first "
        "step; s = b2 s + (1-b2) (g-m_old)^2 + e",
        source="Zhuang et al. 2021, https://arxiv.org/abs/2110.05454",
        hypers=(_rate(0.001), *_betas(1e-16)),
        notes="As in Optax, s takes the mean before the step.",
        ascending=_ORDER,
    ),
    _rule(
        "yogi",
        "Adam whose divisor grows and falls by limited amounts.",
        formula="m = b1 m + (1-b1) g; v -= (1-b2) sign(v - g^2) g^2; "
        f"x -= a ({_ADAM_TOP}) / {_ADAM_ROOT}; m and v start at 1e-6",
        source="Zaheer et al. 2018, https://papers.nips.cc/paper/8186",
        hypers=(_rate(0.01), *_betas(1e-3)),
        ascending=_ORDER,
    ),
    _rule(
        "adopt",
        "Adam that converges for every b2: the gradient is divided before it enters the mean.",
        formula="m = b1 m + (1-b1) clip(g / max(sqrt(v), e), k^(1/4)); x -= a m; v = b2 v + (1-b2) g^2; "
        "the first step only sets v = g^2",
        source="Taniguchi et al. 2024, https://arxiv.org/abs/2411.02853",
        hypers=(
            _rate(0.001),
            *_betas(1e-6, b2=0.9999),
            Hyper(
                "clip", "bool", True, "limit the divided gradient to k^(1/4) in step k = 0, 1, ..."
            ),
        ),
        ascending=_ORDER,
    ),
    _rule(
        "adan",
        "Adam with Nesterov momentum by differences of gradients.",
        formula="d = g - g_old; m = b1 m + (1-b1) g; v = b2 v + (1-b2) d; n = b3 n + (1-b3) (g + b2 d)^2; "
        "x -= a (m^ + b2 v^) / (sqrt(n^) + e), ^ bias-corrected",
        source="Xie et al. 2022, https://arxiv.org/abs/2208.06677",
        hypers=(
            _rate(0.001),
            _b1(0.98),
            _fraction("b2", 0.92, "memory of the differences of gradients, and their weight"),
            _fraction("b3", 0.99, "memory of the running mean of squares"),
            _eps(1e-8),
        ),
        notes="Our betas are the paper's, taken from 1. Wants up to 10 times larger rates than adam.",
    ),
    _rule(
        "ademamix",
        "Adam with a second, much longer momentum.",
        formula=f"m, v as in adam; l = b3 l + (1-b3) g; x -= a ({_ADAM_TOP} + p l) / {_ADAM_ROOT}",
        source="Pagliardini, Ablin and Grangier 2024, https://arxiv.org/abs/2409.03137",
        hypers=(
            _rate(0.001),
            *_betas(),
            _fraction("b3", 0.9999, "memory of the long momentum; 0.999 for short trainings"),
            _at_least_0("alpha", 5.0, "p, weight of the long momentum"),
        ),
        notes="The paper warms p and b3 up; here train.schedules can.",
        ascending=(("b1", "b3"),),
    ),
    _rule(
        "simplified_ademamix",
        "AdEMAMix with one momentum, a sum instead of a mean.",
        formula=f"n = b1 n + g; v = b2 v + (1-b2) g^2; x -= a (n + p g) / {_ADAM_ROOT}",
        source="Morwani et al. 2025, https://arxiv.org/abs/2502.02431",
        hypers=(
            _rate(1e-4),
            _fraction("b1", 0.99, "memory of the sum of gradients"),
            _b2(0.95),
            _at_least_0("alpha", 0.0, "p, weight of the gradient itself"),
            _eps(1e-8),
        ),
        notes="The step is up to 1 / (1 - b1) times that of adam: use a hundredth of its rate.",
    ),
    _rule(
        "optimistic_gd",
        "Gradient descent that expects the gradient to go on changing as it did.",
        formula="x -= a (g + p (g - g_old))",
        source="Mokhtari, Ozdaglar and Pattathil 2019, https://arxiv.org/abs/1901.08511",
        hypers=(_rate(0.01), _at_least_0("optimism", 1.0, "p, weight of the change")),
        notes="Made for games (two players), where plain descent circles.",
    ),
    _rule(
        "optimistic_adam",
        "Adam that expects its direction to go on changing as it did.",
        formula="u the direction of adam; x -= a (u + p (u - u_old))",
        source="Daskalakis et al. 2017, https://arxiv.org/abs/1711.00141",
        hypers=(_rate(0.001), *_betas(), _at_least_0("optimism", 1.0, "p, weight of the change")),
        ascending=_ORDER,
    ),
    _rule(
        "adafactor",
        "Squares of gradients kept by row and column only; steps relative to the size of a tensor.",
        formula="v = c_k v + (1-c_k) (g^2 + e), c_k = 1 - k^-r, for kernels as row mean times column mean over "
        "mean; u = g / sqrt(v); u /= max(1, rms(u) / d); x -= a max(rms(x), 1e-3) u",
        source="Shazeer and Stern 2018, https://arxiv.org/abs/1804.04235",
        hypers=(
            _rate(0.01, "relative to the size of a tensor"),
            _positive("decay", 0.8, "r, how fast the memory of squares grows"),
            _positive("clip", 1.0, "d, limit on the root mean square of u"),
            _eps(1e-30, "e, added to g^2"),
            _count("min_dim_size_to_factor", 128, "kernels with two axes this long are factored"),
            Hyper("scale_by_weights", "bool", True, "multiply by the size of the tensor"),
        ),
        notes="Tensors of zeros start slowly: their size counts as 1e-3.",
    ),
    _rule(
        "sophia",
        "Momentum divided by an estimate of the curvature, and clipped (Sophia-H).",
        formula="m as in adam; x -= a clip(m / (1-b1^k) / max(q h, e), c); every s steps "
        "h = b2 h + (1-b2) u H u, u random signs",
        source="Liu et al. 2023, https://arxiv.org/abs/2305.14342",
        hypers=(
            _rate(1e-3),
            _b1(0.965),
            _fraction("b2", 0.99, "memory of the curvature"),
            _eps(1e-8, "e, smallest divisor"),
            _positive("gamma", 0.01, "q, factor of the curvature: smaller clips more"),
            _positive("clip", 1.0, "c, largest step of a weight, in units of the rate"),
            _count("update_interval", 10, "s, steps between two estimates of the curvature"),
        ),
        notes="By Hutchinson's estimate, since the rule sees the loss and not the outputs that the "
        "Gauss-Newton estimate wants. In lanes it is computed in every step, thrice the work of sgd. The "
        "bias correction of m is Optax's; algorithm 3 has none.",
        facts=_NEEDS_LOSS,
    ),
    _rule(
        "madgrad",
        "Dual averaging: weights are made of the start and of the sums of gradients.",
        formula="l = (a + e) sqrt(k); s += l g; v += l g^2; x = m x + (1-m) (x_0 - s / (v^(1/3) + e))",
        source="Defazio and Jelassi 2021, https://arxiv.org/abs/2101.11075",
        hypers=(
            _rate(0.01),
            _fraction("momentum", 0.9, "m, the share of the last weights that is kept"),
            _eps(1e-6),
        ),
        notes="Decoupled weight decay pulls in vain against x_0; use l2.",
    ),
    _rule(
        "schedule_free",
        "No schedule needed: the gradient is taken between the steps z and their average x.",
        formula="z -= a d(y), d the direction of the base, with w y added; x = (1-c) x + c z, c = a^2 / sum of a^2; y = "
        "b1 x + (1-b1) z",
        source="Defazio et al. 2024, https://arxiv.org/abs/2405.15682",
        hypers=(
            _rate(0.0025, "with base sgd about 1"),
            Hyper(
                "base",
                "choice",
                "adamw",
                "adamw: g over its root mean square (b2, eps); sgd: g itself, b2 and eps do nothing",
                choices=("adamw", "sgd"),
            ),
            Hyper(
                "b1",
                "float",
                0.9,
                "how near to the average the gradient is taken",
                low=0.0,
                low_open=True,
                high=1.0,
                high_open=True,
                traced=True,
            ),
            _b2(0.999),
            _eps(1e-8),
            _decay(0.0),
        ),
        notes="Trains y; the average x is evaluated and kept. Use a constant rate, warmed up at most.",
    ),
)

BY_LAYER = (
    _rule(
        "lamb",
        "Adam whose step in each tensor is as long as a share of the tensor; for large batches.",
        formula="u the direction of adam + w x; x -= a |x| / |u| u for each tensor",
        source="You et al. 2019, https://arxiv.org/abs/1904.00962",
        hypers=(_rate(0.001), *_betas(1e-6), _decay(0.0)),
        notes="Where |x| or |u| is 0 the ratio is 1.",
        ascending=_ORDER,
    ),
    _rule(
        "lars",
        "Momentum whose step in each tensor is as long as a share of the tensor; for large batches.",
        formula="u = g + w x; v = m v - a c |x| / |u| u for each tensor (the paper divides by |g| + w |x|); x += v; biases and norms: v = m v - a g",
        source="You, Gitman and Ginsburg 2017, https://arxiv.org/abs/1708.03888",
        hypers=(
            _rate(1.0, "relative to the size of a tensor, times the trust"),
            _MOMENTUM,
            _positive("trust", 0.001, "c, the share of its size that a tensor moves at rate 1"),
            Hyper(
                "weight_decay",
                "float",
                0.0,
                "w, pull to 0 before the step is sized",
                low=0.0,
                traced=True,
                log=True,
            ),
        ),
        notes="Wants rates of 1 and more; biases then get that rate as it is.",
    ),
    _rule(
        "fromage",
        "Steps of a share of each tensor's size, and back onto its sphere; one rate for all nets.",
        formula="x = (x - a |x| / |g| g) / sqrt(1 + a^2) for each tensor",
        source="Bernstein et al. 2020, https://arxiv.org/abs/2002.03432",
        hypers=(_rate(0.01), _positive("min_norm", 1e-6, "norms count as at least this")),
        notes="Tensors of zeros, biases for instance, start slowly: their size counts as min_norm.",
    ),
    _rule(
        "novograd",
        "Gradients normalised by tensor, then momentum; needs half the memory of adam.",
        formula="v = b2 v + (1-b2) |g|^2 for each tensor, |g|^2 at first; m = b1 m + g / (sqrt(v) + e) + w x; "
        "x -= a m",
        source="Ginsburg et al. 2019, https://arxiv.org/abs/1905.11286",
        hypers=(
            _rate(0.01),
            _b1(0.9),
            _fraction("b2", 0.25, "memory of the squared norms"),
            _eps(1e-6),
            _decay(0.0),
        ),
    ),
    _rule(
        "muon",
        "Momentum of each kernel made orthogonal; the other weights step by Nesterov-Adam.",
        formula="v = m v + (1-m) g; u = m v^ + (1-m) g^, ^ bias-corrected; x -= a sqrt(max(1, units / inputs)) "
        "orth(u); orth by Newton-Schulz",
        source="Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/",
        hypers=(
            _rate(0.02),
            _fraction("momentum", 0.95, "m, memory of the running mean of gradients"),
            _positive("adam_share", 0.015, "rate of the other weights, as a share of a"),
            _eps(1e-8),
            _count("ns_steps", 5, "steps of Newton-Schulz", high=100),
            Hyper("nesterov", "bool", True, "u as in the formula, else v^"),
        ),
        notes="Kernels of more than two axes count as [inputs, units]. The authors use Adam for the "
        "first and last layer too. The singular values of orth(u) lie between about 0.7 and 1.2. The bias correction and "
        "Nesterov-Adam for the rest are Optax's; Jordan has neither.",
    ),
)

SIGNS = (
    _rule(
        "sign_sgd",
        "Steps of the sign of the gradient: all parameters move equally far.",
        formula="x -= a sign(g)",
        source="Bernstein et al. 2018, https://arxiv.org/abs/1802.04434",
        hypers=(_rate(0.001),),
        notes="Ends in steps to and fro as long as the rate: let the rate decay.",
    ),
    _rule(
        "signum",
        "Steps of the sign of the momentum.",
        formula="v = m v + (1-m) g; x -= a sign(v)",
        source="Bernstein et al. 2018, https://arxiv.org/abs/1802.04434",
        hypers=(
            _rate(0.001),
            _fraction("momentum", 0.9, "m, memory of the running mean of gradients"),
        ),
    ),
    _rule(
        "sm3",
        "Adagrad with the memory of a row and a column: the least of their largest squares.",
        formula="s = min over the axes of s_i, + g^2; s_i = max of s over the other axes; v = m v + (1-m) g / "
        "sqrt(s + e); x -= a v",
        source="Anil et al. 2019, https://arxiv.org/abs/1901.11150",
        hypers=(
            _rate(0.1),
            _fraction("momentum", 0.9, "m, memory of the running mean of directions"),
            _eps(1e-8, "e, added under the root"),
        ),
    ),
    _rule(
        "noisy_sgd",
        "Gradient descent with noise on the gradient that fades.",
        formula="x -= a (g + n), n normal with variance h / k^r in step k",
        source="Neelakantan et al. 2015, https://arxiv.org/abs/1511.06807",
        hypers=(
            _rate(0.01),
            _at_least_0("variance", 0.01, "h, variance of the noise in the first step"),
            _at_least_0("decay", 0.55, "r, how fast the noise fades"),
        ),
        notes="Runs of one seed get the same noise, whatever the recipe: it is made of the first weights' signs.",
    ),
)

RATE_FREE = (
    _rule(
        "polyak_sgd",
        "Gradient descent with the step that would reach the lowest loss of a linear model.",
        formula="x -= min(max(f - f_min, 0) / |g|^2, a) g, f the loss",
        source="Polyak 1987; Loizou et al. 2020, https://arxiv.org/abs/2002.10542",
        hypers=(_rate(1.0, "the largest step"), _BOUND),
        notes="f_min 0 suits losses that a model can bring to 0; it is too low with label smoothing.",
        facts=_NEEDS_LOSS,
    ),
    _rule(
        "momo",
        "Momentum with Polyak's step for the averaged model.",
        formula="v = m v + (1-m) g; f_ the same mean of f + g . (x_now - x); x -= min(a, max(f_ - f_min, 0) / |v|^2) v",
        source="Schaipp et al. 2023, https://arxiv.org/abs/2305.07583",
        hypers=(
            _rate(1.0, "the largest step"),
            _fraction("momentum", 0.9, "m, memory of all means"),
            _BOUND,
            _ADAPT,
        ),
        facts=_NEEDS_LOSS,
    ),
    _rule(
        "momo_adam",
        "Adam with Polyak's step for the averaged model.",
        formula="as momo with |v| in Adam's metric: d = e + sqrt(v / (1-b2^k)); x -= min(a / (1-b1^k), max(f_ - "
        "(1-b1^k) f_min, 0) / (m . m / d)) m / d",
        source="Schaipp et al. 2023, https://arxiv.org/abs/2305.07583",
        hypers=(_rate(0.01, "the largest step"), *_betas(), _BOUND, _ADAPT),
        facts=_NEEDS_LOSS,
        ascending=_ORDER,
    ),
    _rule(
        "dog",
        "The rate is the largest distance from the start over the root of summed squared gradients.",
        formula="r = max(r, |x - x_0|); G += |g|^2; x -= a r / sqrt(G + e) g; r starts at p (1 + |x_0|)",
        source="Ivgi, Hinder and Carmon 2023, https://arxiv.org/abs/2302.12022",
        hypers=(
            _rate(1.0, _ONE),
            _positive("start", 1e-6, "p, the first distance, relative to the weights"),
            _eps(1e-8, "e, added under the root"),
        ),
        notes="Evaluate an average of the weights (train.average). With batch norm use start: 1e-4.",
    ),
    _rule(
        "dowg",
        "DoG with gradients weighted by the distance; faster where the start is bad.",
        formula="r2 = max(r2, |x - x_0|^2); v += r2 |g|^2; x -= a r2 / (sqrt(v) + e) g; r2 starts at e",
        source="Khaled, Mishchenko and Jin 2023, https://arxiv.org/abs/2305.16284",
        hypers=(_rate(1.0, _ONE), _eps(1e-4, "e, the first squared distance, and added below")),
    ),
    _rule(
        "cocob",
        "Bets on the coin of each weight's gradient; no rate at all.",
        formula="L = max(L, |g|); G += |g|; R = max(R - g (x - x_0), 0); C -= g; x += a (x_0 + C / (L max(G + L, p L)) "
        "(L + R) - x)",
        source="Orabona and Tommasi 2017, https://arxiv.org/abs/1705.07795",
        hypers=(
            _rate(1.0, _ONE),
            _positive("alpha", 100.0, "p, caution of the first bets"),
            _eps(1e-8, "where L starts"),
        ),
    ),
    _rule(
        "prodigy",
        "Adam that estimates the distance to the solution and takes it for its rate.",
        formula="m, v as in adam of d g; r = sqrt(b2) r + d / d_0 b (g . (x_0 - x)); s = sqrt(b2) s + b d g / d_0; x "
        "-= b m / (sqrt(v) + d' e) + w b x; d' = max(d, q r / |s|_1), which is d from then on; b = a d sqrt(1-b2^k) / (1-b1^k)",
        source="Mishchenko and Defazio 2023, https://arxiv.org/abs/2306.06101",
        hypers=(
            _rate(1.0, _ONE),
            *_betas(),
            _positive("start", 1e-6, "d_0, the first estimate"),
            _positive("coefficient", 1.0, "q, factor of the estimate"),
            _at_least_0(
                "weight_decay", 0.0, "w, the share of the weight that a step removes, times b"
            ),
            Hyper(
                "safeguard_warmup", "bool", False, "leave the rate out of s, for a warmed-up rate"
            ),
        ),
        ascending=_ORDER,
    ),
    _rule(
        "dadapt_adamw",
        "AdamW that estimates the distance to the solution and takes it for its rate.",
        formula="b = a d sqrt(1-b2^k) / (1-b1^k); r = c r + (1-c) b (g . s / (sqrt(v) + e)); m = b1 m + (1-b1) b g; "
        "v as in adam; s = c s + (1-c) b g; d = max(d, r / ((1-c) |s|_1)); x -= m / (sqrt(v) + e) + w b x; c = sqrt(b2)",
        source="Defazio and Mishchenko 2023, https://arxiv.org/abs/2301.07733",
        hypers=(
            _rate(1.0, _ONE),
            *_betas(),
            _positive("start", 1e-6, "where d starts"),
            _at_least_0(
                "weight_decay", 0.0, "w, the share of the weight that a step removes, times b"
            ),
        ),
        ascending=_ORDER,
    ),
)

OPTIMIZERS = (*CLASSIC, *WRAPPERS, *ADAPTIVE, *BY_LAYER, *SIGNS, *RATE_FREE)
