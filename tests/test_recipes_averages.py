"""Averages of weights against NumPy and PyTorch over 200 steps; what they give before they begin."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import recipes
from lanework.errors import SpecError
from tests.contracts.probes import choice, leaves_like

# Long paths against slow twins; the contracts over the catalogue look at every rule and row by default.
pytestmark = pytest.mark.slow

TOTAL, PER_EPOCH = 200, 10
RNG = np.random.default_rng(11)
START = {"kernel": RNG.normal(size=(3, 2)), "bias": RNG.normal(size=2)}
WALK = {
    name: leaf + np.cumsum(0.1 * RNG.normal(size=(TOTAL, *leaf.shape)), axis=0)
    for name, leaf in START.items()
}


def made(name: str, *, total: int = TOTAL, per_epoch: int = PER_EPOCH, **options: Any) -> Any:
    return recipes.average(
        choice("average", name, **options), total_steps=total, steps_per_epoch=per_epoch
    )


def ours(name: str, hypers: Any = None, **options: Any) -> dict[str, np.ndarray]:
    """The average after each of 200 steps along the walk, in float64."""
    average = made(name, **options)

    def step(carry: Any, given: Any) -> tuple[Any, Any]:
        state, k = carry
        state = average.update(state, given, step=k, hypers=hypers or {})
        return (state, k + 1), average.value(state, given)

    with jax.enable_x64(True):
        start, walk = jax.tree.map(jnp.asarray, (START, WALK))
        carry = (average.init(start), jnp.int32(0))
        found = jax.jit(lambda: jax.lax.scan(step, carry, walk)[1])()
        return {key: np.asarray(leaf) for key, leaf in found.items()}


def numpy_ema(leaf: str, decay: float, *, debias: bool) -> np.ndarray:
    mean = np.zeros_like(START[leaf]) if debias else START[leaf]
    rows = []
    for k, x in enumerate(WALK[leaf], start=1):
        mean = decay * mean + (1 - decay) * x
        rows.append(mean / (1 - decay**k) if debias else mean)
    return np.stack(rows)


def numpy_mean(leaf: str, taken: Callable[[int], bool]) -> np.ndarray:
    rows, members = [], []
    for k, x in enumerate(WALK[leaf], start=1):
        if taken(k):
            members.append(x)
        rows.append(np.mean(members, axis=0) if members else x)
    return np.stack(rows)


def numpy_checkpoints(leaf: str, count: int) -> np.ndarray:
    rows, ends = [], []
    for k, x in enumerate(WALK[leaf], start=1):
        if k % PER_EPOCH == 0:
            ends.append(x)
        last = ends[-count:]
        filler = [ends[-1] if ends else x] * (count - len(last))
        rows.append(np.stack([*last, *filler]))
    return np.stack(rows)


MEANS = {
    "ema": ("ema", {}, lambda leaf: numpy_ema(leaf, 0.995, debias=True)),
    "ema-fast": ("ema", {"decay": 0.6}, lambda leaf: numpy_ema(leaf, 0.6, debias=True)),
    "ema-none": ("ema", {"decay": 0.0}, lambda leaf: WALK[leaf]),
    "ema-biased": ("ema", {"debias": False}, lambda leaf: numpy_ema(leaf, 0.995, debias=False)),
    "polyak": ("polyak", {}, lambda leaf: numpy_mean(leaf, lambda k: True)),
    "tail": ("tail", {}, lambda leaf: numpy_mean(leaf, lambda k: k > 150)),
    "tail-all": ("tail", {"share": 1.0}, lambda leaf: numpy_mean(leaf, lambda k: True)),
    "tail-one": ("tail", {"share": 1e-6}, lambda leaf: WALK[leaf]),
    "tail-tenth": ("tail", {"share": 0.1}, lambda leaf: numpy_mean(leaf, lambda k: k > 180)),
    "swa": ("swa", {}, lambda leaf: numpy_mean(leaf, lambda k: k >= 150 and k % 10 == 0)),
    "swa-half-epochs": (
        "swa",
        {"start": 0.5, "every": 0.5},
        lambda leaf: numpy_mean(leaf, lambda k: k >= 100 and k % 5 == 0),
    ),
    "swa-own-clock": (
        "swa",
        {"start": 0.37, "every": 3.0},
        lambda leaf: numpy_mean(leaf, lambda k: k >= 74 and (k - 74) % 30 == 0),
    ),
    "swa-every-step": (
        "swa",
        {"start": 0.0, "every": 1e-9},
        lambda leaf: numpy_mean(leaf, lambda k: True),
    ),
}


@pytest.mark.parametrize("label", MEANS)
def test_average_is_its_formula_over_200_steps(label: str):
    name, options, twin = MEANS[label]
    found = ours(name, **options)
    for leaf in START:
        assert found[leaf].dtype == np.float64
        np.testing.assert_allclose(found[leaf], twin(leaf), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("count", [1, 3, 5, 30])
def test_checkpoints_are_the_last_ends_of_epochs(count: int):
    """The order of the members does not matter to an ensemble, so they are compared in sorted order."""
    found = ours("checkpoints", count=count)
    assert made("checkpoints").is_stacked
    for leaf, shape in (("kernel", (3, 2)), ("bias", (2,))):
        assert found[leaf].shape == (TOTAL, count, *shape)
        wanted = numpy_checkpoints(leaf, count)
        np.testing.assert_array_equal(np.sort(found[leaf], axis=1), np.sort(wanted, axis=1))


def members(found: dict[str, np.ndarray], k: int) -> set[tuple[float, ...]]:
    """The members after step k, kernel and bias of each together."""
    kernel, bias = found["kernel"][k], found["bias"][k]
    return {(*a.ravel(), *b.ravel()) for a, b in zip(kernel, bias, strict=True)}


def test_a_member_keeps_its_layers_together():
    found = ours("checkpoints", count=3)
    for k in (9, 25, 57, 199):
        ends = list(range(9, k + 1, PER_EPOCH))[-3:]
        wanted = {(*WALK["kernel"][end].ravel(), *WALK["bias"][end].ravel()) for end in ends}
        assert members(found, k) == wanted


def test_before_an_average_begins_the_raw_weights_come_out():
    start = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), START)
    later = jax.tree.map(lambda leaf: leaf + 1, start)
    for name in ("ema", "tail", "polyak", "swa"):
        average = made(name)
        for leaf, wanted in zip(*map(jax.tree.leaves, (average.value(average.init(start), later), later)), strict=True):  # fmt: skip
            np.testing.assert_array_equal(leaf, wanted)
    for name in ("tail", "swa"):
        found = ours(name)
        np.testing.assert_array_equal(found["kernel"][:149], WALK["kernel"][:149])
    ensemble = made("checkpoints", count=4)
    stacked = ensemble.value(ensemble.init(start), later)
    np.testing.assert_array_equal(stacked["kernel"], np.repeat(later["kernel"][None], 4, axis=0))


def test_the_first_debiased_average_is_the_weights_themselves():
    """Not pulled to the initial weights, which may be anything."""
    average = made("ema")
    for start in (0.0, 1e6):
        state = average.init({"w": jnp.full((2,), start)})
        state = average.update(state, {"w": jnp.array([1.0, 2.0])}, step=0, hypers={})
        np.testing.assert_array_equal(average.value(state, {"w": jnp.zeros(2)})["w"], [1.0, 2.0])


def test_weights_that_are_not_taken_in_may_be_anything():
    average = made("tail", total=4, per_epoch=1, share=0.5)
    state = average.init({"w": jnp.zeros(1)})
    for step, weight in enumerate([jnp.nan, jnp.inf, 1.0, 3.0]):
        state = average.update(state, {"w": jnp.array([weight])}, step=step, hypers={})
    np.testing.assert_array_equal(average.value(state, {"w": jnp.zeros(1)})["w"], [2.0])


@pytest.mark.parametrize("total", [1, 2, 3, 7, 999, 1000, 46_900])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.3, 0.7, 0.9, 1.0])
def test_the_tail_begins_at_the_very_step(total: int, share: float):
    """Rounding in float32 must not move its beginning."""
    average = made("tail", total=total, share=0.5)
    wanted = max(1, round(Fraction(str(share)) * total))
    state = average.init({"w": jnp.zeros(1)})
    for step, is_in in ((total - wanted - 1, False), (total - wanted, True), (total - 1, True)):
        hypers = {"average.share": jnp.float32(share)}
        after = average.update(state, {"w": jnp.ones(1)}, step=jnp.int32(step), hypers=hypers)
        assert bool(after.weight > 0) == is_in


def torch_average(torch: Any, every: Callable[[int], bool], **options: Any) -> list[np.ndarray]:
    """What PyTorch's AveragedModel holds after each step along the walk; the initial weights come first if step 0 counts."""

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.kernel = torch.nn.Parameter(torch.tensor(START["kernel"]))

    net = Net()
    averaged = torch.optim.swa_utils.AveragedModel(net, **options)
    if every(0):
        averaged.update_parameters(net)
    rows = []
    for k, x in enumerate(WALK["kernel"], start=1):
        net.kernel.data = torch.tensor(x.copy())
        if every(k):
            averaged.update_parameters(net)
        rows.append(averaged.module.kernel.detach().numpy().copy())
    return rows


def test_averages_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    utils = pytest.importorskip("torch.optim.swa_utils")
    swa = torch_average(torch, lambda k: k >= 150 and k % 10 == 0)
    np.testing.assert_allclose(ours("swa")["kernel"][149:], swa[149:], rtol=1e-10, atol=1e-12)
    polyak = torch_average(torch, lambda k: k >= 1)
    np.testing.assert_allclose(ours("polyak")["kernel"], polyak, rtol=1e-10, atol=1e-12)
    # PyTorch's running average starts at the weights it first sees; it has no debiasing.
    ema = torch_average(torch, lambda k: True, multi_avg_fn=utils.get_ema_multi_avg_fn(0.9))
    found = ours("ema", decay=0.9, debias=False)["kernel"]
    np.testing.assert_allclose(found, ema, rtol=1e-10, atol=1e-12)


LANES = [("ema", "decay"), ("tail", "share"), ("swa", "start"), ("swa", "every")]


@pytest.mark.parametrize(("name", "hyper"), LANES)
def test_strength_varies_by_lane(name: str, hyper: str):
    average = made(name)
    walk = {key: jnp.asarray(leaf, jnp.float32) for key, leaf in WALK.items()}

    def lane(value: jax.Array) -> Any:
        def body(k: jax.Array, state: Any) -> Any:
            now = jax.tree.map(lambda leaf: leaf[k], walk)
            return average.update(state, now, step=k, hypers={f"average.{hyper}": value})

        start = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), START)
        state = jax.lax.fori_loop(0, TOTAL, body, average.init(start))
        return average.value(state, jax.tree.map(lambda leaf: leaf[-1], walk))

    values = jnp.array([0.1, 0.5, 0.9])
    together = jax.jit(jax.vmap(lane))(values)
    solo = jax.jit(lane)
    for index in range(3):
        alone = solo(values[index])
        for key in alone:
            np.testing.assert_allclose(together[key][index], alone[key], rtol=1e-5, atol=1e-6)
    assert not np.allclose(together["kernel"][0], together["kernel"][2])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", ["ema", "tail", "polyak", "swa", "checkpoints"])
def test_state_keeps_structure_shape_and_type(name: str, dtype: Any):
    average = made(name, total=2, per_epoch=1)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), START)
    state = average.init(params)
    after = average.update(state, params, step=jnp.int32(1), hypers={})
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert leaves_like(after) == leaves_like(state)
    value = average.value(after, params)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(value))
    if name != "checkpoints":
        for a, b in zip(jax.tree.leaves(value), jax.tree.leaves(params), strict=True):
            np.testing.assert_array_equal(a, b)


def test_unknown_average_lists_the_nearest():
    with pytest.raises(
        SpecError, match=r"train\.average: must be one of the names .* got 'emma'. Use ema"
    ):
        recipes.average(
            type("C", (), {"name": "emma", "options": {}})(), total_steps=1, steps_per_epoch=1
        )
