"""Every first-order rule against its transcription in NumPy: four problems, 220 steps, float64, a changing rate."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import recipes
from lanework.recipes import curvature, learned
from tests.contracts.probes import choice
from tests.oracles import numpy_rules as rules
from tests.oracles.numpy_rules import TensorRule, TreeRule, per_tensor
from tests.oracles.problems import PROBLEMS, SEPARABLE, Problem, nested, rates
from tests.oracles.trajectories import Path, distance, oracle, ours

AGREEMENT = 1e-10
# A large epsilon shows where it stands; with the usual 1e-8 its place would hide among the last digits.
EPS = 1e-3
ADAM = {"b1": 0.9, "b2": 0.999, "eps": EPS}
HEAVY = {"name": "momentum", "momentum": 0.8}


class Case(NamedTuple):
    """A rule of the catalogue, its oracle, and options that both read.

    `rate` is either the rate itself, for rules whose steps do not grow with the gradient, or, with `times`, a multiple of
    the rate that suits gradient descent on the problem. `own` are options that only the oracle has: which of two readings
    the row of the catalogue documents. `unseen` are options that do nothing visible in 220 steps on the network. `calm` multiplies the rate in Rosenbrock's valley: a rule
    that bounces between its walls there doubles the last digit with every bounce, and agreement would mean nothing.
    """

    name: str
    oracle: TreeRule
    options: dict[str, Any]
    rate: float | None = None
    times: float = 1.0
    own: Mapping[str, Any] = MappingProxyType({})
    unseen: tuple[str, ...] = ()
    calm: float = 1.0
    problems: Mapping[str, Problem] = MappingProxyType(PROBLEMS)

    def rates(self, problem: str) -> np.ndarray:
        base = self.times * self.problems[problem].rate if self.rate is None else self.rate
        return rates(base * (self.calm if problem == "rosenbrock" else 1.0))

    def expected(self, problem: str, **changed: Any) -> Path:
        hypers = {**self.options, **self.own, **changed}
        return oracle(self.oracle, hypers, self.problems[problem], self.rates(problem))

    def found(self, problem: str) -> Path:
        return ours(self.name, self.options, self.problems[problem], self.rates(problem))


def of_tensor(name: str, options: dict[str, Any], **more: Any) -> Case:
    """A rule that treats each tensor on its own, under its own name."""
    return Case(name, per_tensor(getattr(rules, name)), options, **more)


def of_all(name: str, options: dict[str, Any], **more: Any) -> Case:
    """A rule that looks at all tensors together, under its own name."""
    return Case(name, getattr(rules, name), options, **more)


def rmsprop(**changed: Any) -> Case:
    options = {"decay": 0.9, "eps": EPS, "momentum": 0.0, "centered": False, **changed}
    return of_tensor("rmsprop", options, rate=0.005, calm=0.01)


def lookahead(inner: dict[str, Any], twin: TensorRule, **more: Any) -> Case:
    options = {"inner": inner, "sync_steps": 5, "alpha": 0.4}
    own = {key: value for key, value in inner.items() if key != "name"}
    return Case("lookahead", rules.lookahead(per_tensor(twin)), options, own=own, **more)


def ranger(*, centralize: bool) -> Case:
    options = {**ADAM, "b1": 0.95, "sync_steps": 6, "alpha": 0.5, "centralize": centralize}
    twin = rules.lookahead(per_tensor(rules.centralised(rules.radam)))
    return Case("ranger", twin, options, rate=2e-3)


def momo(name: str, options: dict[str, Any], rate: float, *, adapt: bool) -> Case:
    low = 0.9 if adapt else 0.3
    return of_all(
        name, {**options, "lower_bound": low, "adapt_lower_bound": adapt}, rate=rate, calm=5e-3
    )


CASES = {
    "sgd": of_tensor("sgd", {}),
    "gd": Case("gd", per_tensor(rules.sgd), {}),
    "momentum": of_tensor("momentum", {"momentum": 0.9, "form": "heavy_ball"}, times=0.2),
    "momentum, velocity": Case(
        "momentum", per_tensor(rules.velocity), {"momentum": 0.9, "form": "velocity"}, times=0.2
    ),
    "nesterov": Case(
        "nesterov",
        per_tensor(rules.nesterov_rewritten),
        {"momentum": 0.9, "form": "rewritten"},
        times=0.2,
    ),
    "nesterov, lookahead": Case(
        "nesterov", rules.nesterov_lookahead, {"momentum": 0.9, "form": "lookahead"}, times=0.2
    ),
    "adagrad": of_tensor("adagrad", {"eps": EPS}, rate=0.2),
    "adadelta": of_tensor("adadelta", {"rho": 0.95, "eps": EPS}, rate=0.5, calm=0.02),
    "rmsprop": rmsprop(),
    "rmsprop, momentum": rmsprop(momentum=0.7),
    "rmsprop, centred": rmsprop(centered=True, eps=1e-2),
    "rprop": of_tensor(
        "rprop",
        {"shrink": 0.5, "grow": 1.2, "min_step": 1e-4, "max_step": 0.02},
        rate=1e-3,
    ),
    "adam": of_tensor("adam", {**ADAM, "bias_correction": True}, rate=0.02),
    "adam, usual eps": of_tensor(
        "adam", {**ADAM, "eps": 1e-8, "bias_correction": True}, rate=0.02, unseen=("eps",)
    ),
    "adam, uncorrected": of_tensor("adam", {**ADAM, "bias_correction": False}, rate=0.01),
    "nadam": of_tensor("nadam", ADAM, rate=0.02),
    "adamax": of_tensor("adamax", ADAM, rate=0.02),
    "amsgrad": of_tensor("amsgrad", ADAM, rate=0.02, own={"max_of": "corrected"}),
    "adamw": of_tensor("adamw", {**ADAM, "weight_decay": 0.05}, rate=0.02),
    "radam": of_tensor("radam", ADAM, rate=2e-3),
    "lookahead, momentum": lookahead(HEAVY, rules.momentum, times=0.2),
    "lookahead, adam": lookahead({"name": "adam", **ADAM}, rules.adam, rate=0.02),
    "ranger": ranger(centralize=False),
    "ranger, centralised": ranger(centralize=True),
    "mechanic": Case(
        "mechanic",
        rules.mechanic(rules.adam),
        {"inner": {"name": "adam", **ADAM}, "weight_decay": 0.01, "s_init": 1e-3, "eps": 1e-8},
        rate=1.0,
        own={"inner_options": ADAM, "limited": True},
        unseen=("eps",),
    ),
    "sam": Case(
        "sam",
        rules.sam(rules.momentum),
        {"inner": HEAVY, "rho": 0.05},
        times=0.2,
        own={"momentum": 0.8},
    ),
    "lion": of_tensor("lion", {"b1": 0.9, "b2": 0.99}, rate=0.005),
    "adabelief": of_tensor("adabelief", ADAM, rate=0.02),
    "acprop": of_tensor("acprop", ADAM, rate=0.005, own={"centre": "old"}),
    "yogi": of_tensor("yogi", ADAM, rate=0.02),
    "adopt": of_tensor("adopt", {**ADAM, "eps": 0.02, "clip": True}, rate=0.02),
    "adopt, unclipped": of_tensor("adopt", {**ADAM, "eps": 0.02, "clip": False}, rate=0.01),
    "adan": of_tensor("adan", {"b1": 0.98, "b2": 0.92, "b3": 0.99, "eps": EPS}, rate=0.02),
    "ademamix": of_tensor("ademamix", {**ADAM, "b3": 0.999, "alpha": 5.0}, rate=0.01),
    "simplified_ademamix": of_tensor(
        "simplified_ademamix",
        {"b1": 0.95, "b2": 0.95, "eps": EPS, "alpha": 2.0},
        rate=1e-3,
        calm=0.05,
    ),
    "optimistic_gd": of_tensor("optimistic_gd", {"optimism": 0.8}, times=0.5),
    "optimistic_adam": of_tensor("optimistic_adam", {**ADAM, "optimism": 0.8}, rate=0.01),
    "adafactor": of_tensor(
        "adafactor",
        {"decay": 0.8, "clip": 1.0, "eps": EPS, "min_dim_size_to_factor": 128}
        | {"scale_by_weights": True},
        rate=0.02,
        calm=0.05,
    ),
    "adafactor, factored": of_tensor(
        "adafactor",
        {"decay": 0.8, "clip": 1.0, "eps": EPS, "min_dim_size_to_factor": 2}
        | {"scale_by_weights": False},
        rate=0.02,
        calm=0.05,
    ),
    "sophia": of_all(
        "sophia",
        {"b1": 0.965, "b2": 0.9, "eps": 0.3, "gamma": 0.5, "clip": 1.0, "update_interval": 7},
        rate=0.01,
        own={"order": "late"},
        problems=SEPARABLE,
    ),
    "madgrad": of_tensor("madgrad", {"momentum": 0.9, "eps": EPS}, rate=0.01),
    "schedule_free, sgd": of_all(
        "schedule_free",
        {"base": "sgd", "b1": 0.9, "b2": 0.999, "eps": EPS, "weight_decay": 0.05},
        unseen=("b2", "eps"),
    ),
    "schedule_free, adamw": of_all(
        "schedule_free",
        {"base": "adamw", "b1": 0.9, "b2": 0.999, "eps": EPS, "weight_decay": 0.05},
        rate=0.02,
    ),
    "lamb": of_tensor("lamb", {**ADAM, "weight_decay": 0.05}, rate=0.01),
    "lars": of_all(
        "lars",
        {"momentum": 0.9, "trust": 0.002, "weight_decay": 0.05},
        rate=0.1,
        own={"below": "together"},
    ),
    "fromage": of_tensor("fromage", {"min_norm": 1e-6}, rate=0.01, unseen=("min_norm",)),
    "novograd": of_tensor(
        "novograd", {"b1": 0.9, "b2": 0.25, "eps": EPS, "weight_decay": 0.05}, rate=2e-3
    ),
    "muon": of_tensor(
        "muon",
        {"momentum": 0.95, "adam_share": 0.3, "eps": EPS, "ns_steps": 5, "nesterov": True},
        rate=0.01,
        calm=0.05,
        own={"mixing": "corrected"},
    ),
    "muon, plain momentum": of_tensor(
        "muon",
        {"momentum": 0.95, "adam_share": 0.3, "eps": EPS, "ns_steps": 3, "nesterov": False},
        rate=0.01,
        calm=0.05,
        own={"mixing": "corrected"},
    ),
    "sign_sgd": of_tensor("sign_sgd", {}, rate=0.005),
    "signum": of_tensor("signum", {"momentum": 0.9}, rate=0.005),
    "sm3": of_tensor("sm3", {"momentum": 0.9, "eps": EPS}, rate=0.1),
    "noisy_sgd without noise": Case(
        "noisy_sgd", per_tensor(rules.sgd), {"variance": 0.0, "decay": 0.55}, unseen=("decay",)
    ),
    "polyak_sgd": of_all("polyak_sgd", {"lower_bound": 0.3}, rate=0.2, calm=2e-3),
    "momo": momo("momo", {"momentum": 0.9}, 0.2, adapt=False),
    "momo, adapting": momo("momo", {"momentum": 0.9}, 0.2, adapt=True),
    "momo_adam": momo("momo_adam", ADAM, 0.02, adapt=False),
    "momo_adam, adapting": momo("momo_adam", ADAM, 0.02, adapt=True),
    "dog": of_all("dog", {"start": 1e-3, "eps": EPS}, rate=0.5),
    "dowg": of_all("dowg", {"eps": EPS}, rate=0.5),
    "cocob": of_tensor("cocob", {"alpha": 100.0, "eps": 1e-8}, rate=1.0, unseen=("eps",)),
    "prodigy": of_all(
        "prodigy",
        {**ADAM, "start": 1e-3, "coefficient": 1.0, "weight_decay": 0.05}
        | {"safeguard_warmup": False},
        rate=0.2,
        own={"eps_with": "new"},
    ),
    "prodigy, safeguarded": of_all(
        "prodigy",
        {**ADAM, "start": 1e-3, "coefficient": 1.0, "weight_decay": 0.0}
        | {"safeguard_warmup": True},
        rate=0.2,
        own={"eps_with": "new"},
    ),
    "dadapt_adamw": of_all("dadapt_adamw", {**ADAM, "start": 1e-3, "weight_decay": 0.05}, rate=0.5),
}
WALKS = [
    # A network by default; every other problem in the slow tests.
    pytest.param(label, problem, marks=() if problem in ("mlp", "wells") else pytest.mark.slow)
    for label, case in CASES.items()
    for problem in case.problems
]


def test_every_first_order_rule_has_an_oracle() -> None:
    have_their_own = set(curvature.RULES) | set(learned.RULES)
    assert {case.name for case in CASES.values()} == set(recipes.RULES) - have_their_own


@pytest.mark.parametrize(("label", "problem"), WALKS)
def test_rule_walks_as_its_paper_says(label: str, problem: str) -> None:
    case = CASES[label]
    expected = case.expected(problem)
    assert distance(case.found(problem), expected) < AGREEMENT


@pytest.mark.slow
@pytest.mark.parametrize("label", CASES)
def test_agreement_means_something(label: str) -> None:
    """The weights move, and an option off by a thousandth would be seen."""
    case = CASES[label]
    problem = "mlp" if "mlp" in case.problems else "wells"
    expected, start = case.expected(problem), case.problems[problem].start
    for key, values in expected.items():
        moved = np.max(np.abs(values[-1] - start[key.removeprefix("evaluated:")]))
        assert 1e-3 < moved < 50.0, key
    for name, value in {**case.options, **case.own}.items():
        if isinstance(value, float) and value != 0.0 and name not in case.unseen:
            wrong = case.expected(problem, **{name: 0.999 * value})
            assert distance(wrong, expected) > 10 * AGREEMENT, name


# Where a row documents a departure from the paper, the two readings are shown to be different rules.
DEPARTURES = {
    "amsgrad": {"max_of": "raw"},
    "acprop": {"centre": "new"},
    "sophia": {"order": "early"},
    "lars": {"below": "apart"},
    "muon": {"mixing": "plain"},
    "mechanic": {"limited": False},
    "prodigy": {"eps_with": "old"},
}


@pytest.mark.parametrize("label", DEPARTURES)
def test_documented_departure_from_the_paper_is_one(label: str) -> None:
    case = CASES[label]
    for problem in case.problems:
        if label == "muon" and problem == "quadratic":  # a vector, which muon leaves to nadam
            continue
        paper = case.expected(problem, **DEPARTURES[label])
        assert distance(paper, case.expected(problem)) > 1e-6


@pytest.mark.parametrize("problem", [*PROBLEMS.values(), *SEPARABLE.values()])
def test_problem_is_written_right(problem: Problem) -> None:
    """The loss by hand is the objective; gradient and curvature by hand are its central differences."""
    with jax.enable_x64(True):
        assert problem.loss(problem.start, 3) == pytest.approx(
            float(problem.objective(nested(problem.start), 3)), rel=1e-12
        )
    gradient = problem.gradient(problem.start, 3)
    for name, x in problem.start.items():
        for i in np.ndindex(x.shape):
            off = np.zeros_like(x)
            off[i] = 1e-5
            ahead, behind = ({**problem.start, name: x + side} for side in (off, -off))
            slope = (problem.loss(ahead, 3) - problem.loss(behind, 3)) / 2e-5
            assert slope == pytest.approx(gradient[name][i], rel=1e-6, abs=1e-6)
            if problem.curvature is not None:
                ends = problem.gradient(ahead, 3)[name][i] - problem.gradient(behind, 3)[name][i]
                bend = problem.curvature(problem.start, 3)[name][i]
                assert ends / 2e-5 == pytest.approx(bend, rel=1e-6, abs=1e-6)


def walk(rule: TreeRule, hypers: dict[str, Any], problem: str, rate: np.ndarray) -> dict:
    return oracle(rule, hypers, PROBLEMS[problem], rate)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_both_forms_of_nesterov_walk_the_same_path(problem: str) -> None:
    """The rule's own two forms train the same weights, under a changing rate too; one of them judges others."""
    rate = rates(0.2 * PROBLEMS[problem].rate)
    paths = {
        form: ours("nesterov", {"momentum": 0.9, "form": form}, PROBLEMS[problem], rate)
        for form in ("rewritten", "lookahead")
    }
    judged = {key for key in paths["lookahead"] if key.startswith("evaluated:")}
    trained = {key: x for key, x in paths["lookahead"].items() if key not in judged}
    assert distance(trained, paths["rewritten"]) < AGREEMENT
    assert judged
    published = {key: paths["lookahead"][f"evaluated:{key}"] for key in trained}
    assert distance(published, trained) > 1e-4


@pytest.mark.parametrize("problem", PROBLEMS)
def test_forms_of_momentum_part_only_where_the_rate_changes(problem: str) -> None:
    base = 0.2 * PROBLEMS[problem].rate
    paths = {
        (form, is_constant): ours(
            "momentum",
            {"momentum": 0.9, "form": form},
            PROBLEMS[problem],
            rates(base, is_constant=is_constant),
        )
        for form in ("heavy_ball", "velocity")
        for is_constant in (True, False)
    }
    assert distance(paths["heavy_ball", True], paths["velocity", True]) < AGREEMENT
    assert distance(paths["heavy_ball", False], paths["velocity", False]) > 1e-4


def test_uncorrected_adam_is_biased_at_the_start() -> None:
    """Under a constant gradient the corrected step is the rate from the first step on.

    Without correction step k is (1 - b1^k) / sqrt(1 - b2^k) of it: 3.2 at first, 6.5 after ten steps, and 1 in the end.
    """
    params, grads = {"w": jnp.array([1.0])}, {"w": jnp.array([0.3])}
    sizes = {}
    for is_corrected in (True, False):
        rule = recipes.rule(choice("optimizer", "adam", bias_correction=is_corrected))
        hypers = {"learning_rate": 1.0}

        def step(state: Any, _: Any, rule: Any = rule, hypers: Any = hypers) -> Any:
            updates, state = rule.update(grads, state, params, hypers)
            return state, -updates["w"][0]

        _, sizes[is_corrected] = jax.lax.scan(step, rule.init(params), length=5000)
    k = np.arange(1, 5001)
    np.testing.assert_allclose(sizes[True], 1.0, rtol=1e-3)
    np.testing.assert_allclose(sizes[False], (1 - 0.9**k) / np.sqrt(1 - 0.999**k), rtol=1e-3)
    assert sizes[False][0] == pytest.approx(3.162, abs=0.01)
    assert sizes[False][9] == pytest.approx(6.5, abs=0.1)
    assert sizes[False][-1] == pytest.approx(1.0, abs=0.01)


def test_noise_of_noisy_sgd_fades_as_stated() -> None:
    """Its size by step, over 20000 weights with a gradient of zero: variance h / k^r."""
    rule = recipes.rule(choice("optimizer", "noisy_sgd", variance=0.5, decay=0.6))
    params = {"w": jax.random.normal(jax.random.key(0), (20000,))}
    zeros = jax.tree.map(jnp.zeros_like, params)
    state, seen = rule.init(params), []
    for _ in range(8):
        updates, state = rule.update(zeros, state, params, {"learning_rate": 2.0})
        seen.append(np.asarray(updates["w"], np.float64) / 2.0)
    for k, noise in enumerate(seen, start=1):
        assert np.mean(noise) == pytest.approx(0.0, abs=0.02)
        assert np.var(noise) == pytest.approx(0.5 / k**0.6, rel=0.05)
    assert abs(np.corrcoef(seen[0], seen[1])[0, 1]) < 0.03


def test_adam_with_l2_is_not_adamw() -> None:
    """On the same problem and rate, with the same strength: by per cents of the weights, not by rounding."""
    strength, rate = 0.05, rates(0.02)
    decoupled = walk(per_tensor(rules.adamw), {**ADAM, "weight_decay": strength}, "logistic", rate)
    coupled = walk(with_l2(rules.adam, strength), ADAM, "logistic", rate)
    plain = walk(per_tensor(rules.adam), ADAM, "logistic", rate)
    assert distance(coupled, decoupled) > 0.01
    assert distance(coupled, plain) > 0.01
    assert distance(decoupled, plain) > 0.01
    # With gradient descent the two are one: there only adaptive steps tell them apart.
    descent = walk(with_l2(rules.sgd, strength), {}, "logistic", rate)
    shrunk = walk(per_tensor(sgd_with_decay), {"weight_decay": strength}, "logistic", rate)
    assert distance(descent, shrunk) < AGREEMENT


def sgd_with_decay(x, g, s, k, a, h):
    return rules.sgd(x, g, s, k, a, h) - a * h["weight_decay"] * x


def with_l2(rule: rules.TensorRule, strength: float) -> TreeRule:
    """The rule fed with g + l2 x, except for biases."""

    def apply(x, g, s, k, a, h):
        return rule(x, g + h["weight_decay"] * x, s, k, a, h)

    wrapped = per_tensor(apply)
    return lambda params, gradient, s, k, a, h: wrapped(
        params, gradient, s, k, a, {**h, "weight_decay": strength}
    )
