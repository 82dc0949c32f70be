"""Rules that PyTorch has too, against PyTorch: four problems, 220 steps, float64.

Where PyTorch's formula differs from the catalogue's, the difference is stated, measured, and shown to be the only one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import recipes
from tests.contracts.probes import choice
from tests.oracles import numpy_rules as rules
from tests.oracles.numpy_rules import per_tensor
from tests.oracles.problems import PROBLEMS, STEPS, flat, nested, rates
from tests.oracles.trajectories import Path, distance, oracle, ours

torch = pytest.importorskip("torch")

AGREEMENT = 1e-10
EPS = 1e-3  # large enough to show where it stands
ADAM = {"b1": 0.9, "b2": 0.999, "eps": EPS}
BETAS = {"betas": (0.9, 0.999), "eps": EPS}
Groups = list[dict[str, Any]]
Make = Callable[[Groups], list[Any]]


def theirs(make: Make, problem: str, rate: np.ndarray) -> Path:
    """The weights after each step of PyTorch's optimizers, fed with the gradient written by hand."""
    given = PROBLEMS[problem]
    # PyTorch keeps a matrix as [out, in]; only muon and adafactor care.
    tensors = {
        name: torch.nn.Parameter(torch.tensor(value.T.copy()))
        for name, value in given.start.items()
    }
    groups: Groups = [{"params": [tensor], "name": name} for name, tensor in tensors.items()]
    optimizers = make(groups)
    path: dict[str, list[np.ndarray]] = {name: [] for name in tensors}
    for k, a in enumerate(rate):
        at = {name: tensor.detach().numpy().T for name, tensor in tensors.items()}
        for name, slope in given.gradient(at, k).items():
            tensors[name].grad = torch.tensor(slope.T.copy())
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = float(a) * group.get("share", 1.0)
            optimizer.step()
        for name, tensor in tensors.items():
            path[name].append(tensor.detach().numpy().T.copy())
    return {name: np.stack(values) for name, values in path.items()}


def one(name: str, **options: Any) -> Make:
    """One optimizer for all tensors."""

    def make(groups: Groups) -> list[Any]:
        plain = [{"params": group["params"]} for group in groups]
        return [getattr(torch.optim, name)(plain, lr=1.0, foreach=False, **options)]

    return make


def adamw(groups: Groups) -> list[Any]:
    """Biases are exempt from decay here; PyTorch has to be told."""
    decay = [
        {
            "params": group["params"],
            "weight_decay": 0.0 if group["name"].endswith("/bias") else 0.05,
        }
        for group in groups
    ]
    return [torch.optim.AdamW(decay, lr=1.0, foreach=False, **BETAS)]


def muon(groups: Groups) -> list[Any]:
    """Muon for matrices; the rest is left to Adam, at the share of the rate that our row has."""
    tensors = [group["params"][0] for group in groups]
    kernels = [tensor for tensor in tensors if tensor.ndim == 2]
    rest = [tensor for tensor in tensors if tensor.ndim != 2]
    made = []
    if kernels:
        made.append(
            torch.optim.Muon(kernels, lr=1.0, weight_decay=0.0, momentum=0.95, nesterov=False)
        )
    if rest:
        others = [{"params": rest, "share": 0.3}]
        made.append(torch.optim.Adam(others, lr=1.0, foreach=False, eps=1e-30))
    return made


class Case(NamedTuple):
    """Our rule and theirs; `rate`, `times` and `calm` as in the comparison with NumPy."""

    name: str
    options: dict[str, Any]
    make: Make
    rate: float | None = None
    times: float = 1.0
    is_constant: bool = False
    calm: float = 1.0

    def rates(self, problem: str) -> np.ndarray:
        base = self.times * PROBLEMS[problem].rate if self.rate is None else self.rate
        base = base * (self.calm if problem == "rosenbrock" else 1.0)
        return rates(base, is_constant=self.is_constant)

    def apart(self, problem: str) -> float:
        rate = self.rates(problem)
        return distance(
            ours(self.name, self.options, PROBLEMS[problem], rate), theirs(self.make, problem, rate)
        )


def rmsprop(**options: Any) -> Case:
    mine = {"decay": 0.9, "momentum": 0.0, "centered": False, "eps": EPS, **options}
    other = {key: value for key, value in mine.items() if key != "decay"}
    return Case("rmsprop", mine, one("RMSprop", alpha=0.9, **other), rate=0.005, calm=0.01)


SAME = {
    "sgd": Case("sgd", {}, one("SGD")),
    "momentum": Case("momentum", {"momentum": 0.9}, one("SGD", momentum=0.9), times=0.2),
    # PyTorch keeps the rate outside the memory, so the two agree while the rate stays.
    "nesterov at a constant rate": Case(
        "nesterov",
        {"momentum": 0.9},
        one("SGD", momentum=0.9, nesterov=True),
        times=0.2,
        is_constant=True,
    ),
    "adagrad": Case("adagrad", {"eps": EPS}, one("Adagrad", eps=EPS), rate=0.2),
    "adadelta": Case(
        "adadelta",
        {"rho": 0.95, "eps": EPS},
        one("Adadelta", rho=0.95, eps=EPS),
        rate=0.5,
        calm=0.02,
    ),
    "rmsprop": rmsprop(),
    "rmsprop, momentum": rmsprop(momentum=0.7),
    "rmsprop, centred": rmsprop(centered=True, eps=1e-2),
    "rprop": Case(
        "rprop",
        {"shrink": 0.5, "grow": 1.2, "min_step": 1e-4, "max_step": 0.02},
        one("Rprop", etas=(0.5, 1.2), step_sizes=(1e-4, 0.02)),
        rate=1e-3,
    ),
    "adam": Case("adam", ADAM, one("Adam", **BETAS), rate=0.02),
    "adam, usual eps": Case(
        "adam", {**ADAM, "eps": 1e-8}, one("Adam", betas=(0.9, 0.999), eps=1e-8), rate=0.02
    ),
    "adamw": Case("adamw", {**ADAM, "weight_decay": 0.05}, adamw, rate=0.02),
    "adamax": Case("adamax", ADAM, one("Adamax", **BETAS), rate=0.02),
    # PyTorch warms the momentum up; a decay this fast ends that before the first step.
    "nadam without warm-up": Case(
        "nadam", ADAM, one("NAdam", momentum_decay=1e4, **BETAS), rate=0.02
    ),
    # With an epsilon that vanishes: where it stands is the one difference (below).
    "radam without eps": Case(
        "radam", {**ADAM, "eps": 1e-30}, one("RAdam", betas=(0.9, 0.999), eps=1e-30), rate=2e-3
    ),
    # PyTorch keeps factored squares from below by epsilon where we add it to them: none is left of either.
    "adafactor without eps": Case(
        "adafactor",
        {"eps": 1e-30, "min_dim_size_to_factor": 1},
        one("Adafactor", eps=(1e-30, 1e-3)),
        rate=0.02,
        calm=0.05,
    ),
    # Without Nesterov's term, whose two parts we correct for bias, and without epsilon, which PyTorch takes the norm to be at
    # least.
    "muon without nesterov and eps": Case(
        "muon",
        {"momentum": 0.95, "nesterov": False, "eps": 1e-30, "adam_share": 0.3},
        muon,
        rate=0.01,
        calm=0.05,
    ),
}

# (case, the largest difference of all steps on the network is at least this)
DIFFERENT = {
    # PyTorch keeps the rate outside the memory.
    "nesterov under a changing rate": (
        Case("nesterov", {"momentum": 0.9}, one("SGD", momentum=0.9, nesterov=True), times=0.2),
        1e-4,
    ),
    # PyTorch adds epsilon before the second moment is corrected.
    "radam": (Case("radam", ADAM, one("RAdam", **BETAS), rate=2e-3), 1e-6),
    # PyTorch's momentum of NAdam grows from half of b1 (momentum_decay 4e-3).
    "nadam": (Case("nadam", ADAM, one("NAdam", **BETAS), rate=0.02), 1e-3),
    # PyTorch corrects the largest second moment, we take the largest corrected one.
    "amsgrad": (Case("amsgrad", ADAM, one("Adam", amsgrad=True, **BETAS), rate=0.02), 1e-4),
    # Defaults: 1e-10 there, 1e-7 here.
    "adagrad with PyTorch's own eps": (
        Case("adagrad", {}, one("Adagrad"), rate=0.2),
        1e-9,
    ),
}


@pytest.fixture(autouse=True)
def _in_float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """PyTorch keeps scalars of its own (products of momenta, averages) in the default type; muon goes to bfloat16."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    yield
    torch.set_default_dtype(before)


# Where PyTorch is installed this is the longest file of all: the network by default, the rest in the slow tests.
ON = [pytest.param(name, marks=() if name == "mlp" else pytest.mark.slow) for name in PROBLEMS]


@pytest.mark.parametrize("problem", ON)
@pytest.mark.parametrize("label", SAME)
def test_rule_walks_as_pytorch_does(label: str, problem: str) -> None:
    assert SAME[label].apart(problem) < AGREEMENT


@pytest.mark.parametrize("label", DIFFERENT)
def test_documented_difference_is_there(label: str) -> None:
    case, at_least = DIFFERENT[label]
    assert case.apart("mlp") > at_least


@pytest.mark.parametrize("problem", PROBLEMS)
def test_order_of_maximum_and_correction_is_all_that_differs_in_amsgrad(problem: str) -> None:
    rate = rates(0.02)
    hypers = {**ADAM, "max_of": "raw, corrected later"}
    walked = oracle(per_tensor(rules.amsgrad), hypers, PROBLEMS[problem], rate)
    make = one("Adam", amsgrad=True, **BETAS)
    assert distance(walked, theirs(make, problem, rate)) < AGREEMENT


@pytest.mark.parametrize(
    ("name", "options", "t0"), [("tail", {"share": 0.25}, 164), ("polyak", {}, -1)]
)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_average_is_that_of_pytorchs_asgd(
    problem: str, name: str, options: dict[str, Any], t0: int
) -> None:
    """PyTorch's mean at step t is that of steps t0 + 2 to t: the last 55 of 220, or all of them."""
    made: list[Any] = []

    def make(groups: Groups) -> list[Any]:
        made.extend(one("ASGD", lambd=0.0, t0=t0)(groups))
        return made

    rate = rates(PROBLEMS[problem].rate, is_constant=True)
    walked = ours("sgd", {}, PROBLEMS[problem], rate)
    assert distance(walked, theirs(make, problem, rate)) < AGREEMENT
    average = recipes.average(
        choice("average", name, **options), total_steps=STEPS, steps_per_epoch=10
    )
    with jax.enable_x64(True):
        path = nested(walked)
        state = average.init(jax.tree.map(lambda x: x[0], path))

        def step(state: Any, given: Any) -> Any:
            k, params = given
            return average.update(state, params, step=k, hypers={}), None

        state, _ = jax.lax.scan(step, state, (jnp.arange(STEPS), path))
        found = flat(average.value(state, jax.tree.map(lambda x: x[-1], path)))
    tensors = [group["params"][0] for group in made[0].param_groups]
    for tensor, key in zip(tensors, PROBLEMS[problem].start, strict=True):
        expected = made[0].state[tensor]["ax"].numpy().T
        assert found[key].dtype == np.float64
        np.testing.assert_allclose(found[key], expected, rtol=1e-10, atol=1e-12, err_msg=key)
