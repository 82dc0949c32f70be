"""Clipping against NumPy and PyTorch over 200 steps; the threshold by lane; the advice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import recipes

STEPS = 200
SHAPES = {
    "dense_0": {"kernel": (4, 3), "bias": (3,)},
    "conv_0": {"kernel": (3, 3, 2, 4), "bias": (4,)},
    "output": {"kernel": (3, 2), "bias": (2,)},
}
Nested = dict[str, dict[str, np.ndarray]]


def drawn(seed: int, *, lead: tuple[int, ...] = (), tails: float = 2.0) -> Nested:
    """Heavy-tailed numbers, so that some steps are clipped and others are not."""
    rng = np.random.default_rng(seed)
    return {
        layer: {name: rng.standard_t(tails, (*lead, *shape)) for name, shape in leaves.items()}
        for layer, leaves in SHAPES.items()
    }


START, NOISE = drawn(0, tails=10.0), drawn(1, lead=(STEPS,))


def by_numpy(clip: Callable[[Nested, Nested], Nested]) -> tuple[Nested, int]:
    """Weights after 200 steps of x -= 0.05 clip(x + noise), and how many gradients were changed."""
    params, changed = START, 0
    for k in range(STEPS):
        grads = {
            layer: {name: leaf + NOISE[layer][name][k] for name, leaf in leaves.items()}
            for layer, leaves in params.items()
        }
        clipped = clip(grads, params)
        changed += any(
            not np.array_equal(clipped[a][b], grads[a][b]) for a in grads for b in grads[a]
        )
        params = {a: {b: params[a][b] - 0.05 * clipped[a][b] for b in params[a]} for a in params}
    return params, changed


def by_jax(clip: Callable[[Any, Any], Any]) -> Nested:
    def step(params: Any, noise: Any) -> tuple[Any, None]:
        clipped = clip(jax.tree.map(jnp.add, params, noise), params)
        return jax.tree.map(lambda x, g: x - 0.05 * g, params, clipped), None

    with jax.enable_x64(True):
        start, noise = jax.tree.map(jnp.asarray, (START, NOISE))
        found, _ = jax.jit(lambda: jax.lax.scan(step, start, noise))()
        return jax.tree.map(np.asarray, found)


def norm_of(leaves: list[np.ndarray]) -> float:
    return float(np.sqrt(sum(float(np.sum(leaf**2)) for leaf in leaves)))


def numpy_global(grads: Nested, c: float) -> Nested:
    norm = norm_of([leaf for leaves in grads.values() for leaf in leaves.values()])
    by = min(1.0, c / norm)
    return {a: {b: grads[a][b] * by for b in grads[a]} for a in grads}


def numpy_value(grads: Nested, c: float) -> Nested:
    return {a: {b: np.maximum(-c, np.minimum(c, grads[a][b])) for b in grads[a]} for a in grads}


def numpy_layer(grads: Nested, c: float) -> Nested:
    return {a: numpy_global({a: leaves}, c)[a] for a, leaves in grads.items()}


def numpy_adaptive(grads: Nested, params: Nested, c: float) -> Nested:
    """Unit by unit, as the paper has it."""
    out: Nested = {}
    for a in grads:
        out[a] = {}
        for b, leaf in grads[a].items():
            units = [...] if leaf.ndim == 1 else [(..., i) for i in range(leaf.shape[-1])]
            clipped = leaf.copy()
            for unit in units:
                most = c * max(norm_of([params[a][b][unit]]), 1e-3)
                norm = norm_of([leaf[unit]])
                if norm > most:
                    clipped[unit] = leaf[unit] * most / norm
            out[a][b] = clipped
    return out


TWINS = {
    "global_norm": (
        lambda g, x: numpy_global(g, 20.0),
        lambda g, x: recipes.clip_by_global_norm(g, 20.0)[0],
    ),
    "value": (lambda g, x: numpy_value(g, 8.0), lambda g, x: recipes.clip_by_value(g, 8.0)),
    "layer": (lambda g, x: numpy_layer(g, 12.0), lambda g, x: recipes.clip_by_layer(g, 12.0)),
    "adaptive": (
        lambda g, x: numpy_adaptive(g, x, 5.0),
        lambda g, x: recipes.clip_adaptive(g, x, 5.0),
    ),
}


@pytest.mark.parametrize("name", TWINS)
def test_clipping_is_its_formula_over_200_steps(name: str):
    twin, ours = TWINS[name]
    wanted, changed = by_numpy(twin)
    assert changed > 10, "the threshold has to matter"
    found = by_jax(ours)
    for a in SHAPES:
        for b in SHAPES[a]:
            assert found[a][b].dtype == np.float64
            np.testing.assert_allclose(found[a][b], wanted[a][b], rtol=1e-10, atol=1e-12)


def torch_grads(torch: Any, k: int) -> list[Any]:
    tensors = []
    for a in SHAPES:
        for b in SHAPES[a]:
            tensor = torch.nn.Parameter(torch.zeros(SHAPES[a][b], dtype=torch.float64))
            tensor.grad = torch.tensor(NOISE[a][b][k].copy())
            tensors.append(tensor)
    return tensors


def ours_on_noise(clip: Callable[[Any], Any], k: int) -> list[np.ndarray]:
    with jax.enable_x64(True):
        found = clip({a: {b: jnp.asarray(NOISE[a][b][k]) for b in NOISE[a]} for a in NOISE})
        return [np.asarray(found[a][b]) for a in SHAPES for b in SHAPES[a]]


@pytest.mark.parametrize("k", range(0, STEPS, 10))
def test_global_norm_is_that_of_pytorch_but_for_its_epsilon(k: int):
    """PyTorch divides by norm + 1e-6, so that what it has clipped is a hair smaller; that is the only difference."""
    torch = pytest.importorskip("torch")
    tensors = torch_grads(torch, k)
    norm = float(torch.nn.utils.clip_grad_norm_(tensors, 15.0))
    found = ours_on_noise(lambda g: recipes.clip_by_global_norm(g, 15.0)[0], k)
    by = (norm + 1e-6) / norm if norm > 15.0 else 1.0
    for ours, theirs in zip(found, tensors, strict=True):
        np.testing.assert_allclose(ours, theirs.grad.numpy() * by, rtol=1e-10)


@pytest.mark.parametrize("k", range(0, STEPS, 20))
def test_value_and_layer_are_those_of_pytorch(k: int):
    torch = pytest.importorskip("torch")
    tensors = torch_grads(torch, k)
    torch.nn.utils.clip_grad_value_(tensors, 2.0)
    found = ours_on_noise(lambda g: recipes.clip_by_value(g, 2.0), k)
    for ours, theirs in zip(found, tensors, strict=True):
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-10)
    tensors = torch_grads(torch, k)
    found = ours_on_noise(lambda g: recipes.clip_by_layer(g, 5.0), k)
    for first in range(0, len(tensors), 2):  # kernel and bias of a layer
        norm = float(torch.nn.utils.clip_grad_norm_(tensors[first : first + 2], 5.0))
        by = (norm + 1e-6) / norm if norm > 5.0 else 1.0
        for i in (first, first + 1):
            np.testing.assert_allclose(found[i], tensors[i].grad.numpy() * by, rtol=1e-10)


def test_clipping_by_the_global_norm():
    grads = {"a": jnp.array([3.0]), "b": {"c": jnp.array([[4.0]])}}
    clipped, norm = recipes.clip_by_global_norm(grads, 1.0)
    np.testing.assert_allclose(norm, 5.0)
    np.testing.assert_allclose(recipes.global_norm(grads), 5.0)
    np.testing.assert_allclose([clipped["a"][0], clipped["b"]["c"][0, 0]], [0.6, 0.8], rtol=1e-6)
    same, _ = recipes.clip_by_global_norm(grads, 5.0)
    np.testing.assert_array_equal(same["a"], grads["a"])
    zero, norm = recipes.clip_by_global_norm({"a": jnp.zeros(2)}, 1.0)
    np.testing.assert_array_equal(zero["a"], 0.0)
    assert norm == 0.0


def test_clipping_keeps_what_is_not_finite_visible():
    for bad in (jnp.nan, jnp.inf):
        clipped, norm = recipes.clip_by_global_norm({"a": jnp.array([bad, 1.0])}, 1.0)
        assert not np.isfinite(norm)
        assert not np.all(np.isfinite(clipped["a"]))
        grads, params = (
            {"a": {"kernel": jnp.array([[bad, 1.0]])}},
            {"a": {"kernel": jnp.ones((1, 2))}},
        )
        for found in (recipes.clip_by_layer(grads, 1.0), recipes.clip_adaptive(grads, params, 0.1)):
            assert not np.all(np.isfinite(found["a"]["kernel"]))
    cut = recipes.clip_by_value({"a": jnp.array([jnp.nan, jnp.inf, -jnp.inf])}, 2.0)["a"]
    np.testing.assert_array_equal(cut, [np.nan, 2.0, -2.0])


def test_a_bad_layer_leaves_the_others_alone():
    grads = {"a": jnp.array([jnp.nan, 1.0]), "b": jnp.array([3.0, 4.0])}
    found = recipes.clip_by_layer(grads, 1.0)
    np.testing.assert_allclose(found["b"], [0.6, 0.8], rtol=1e-6)


def test_threshold_varies_by_lane():
    grads = {"a": jnp.array([3.0, 4.0])}
    found = jax.vmap(lambda c: recipes.clip_by_global_norm(grads, c)[0]["a"])(
        jnp.array([1.0, 10.0])
    )
    np.testing.assert_allclose(found, [[0.6, 0.8], [3.0, 4.0]], rtol=1e-6)


def test_weights_that_start_at_zero_can_move_under_adaptive_clipping():
    grads, params = {"kernel": jnp.ones((2, 1))}, {"kernel": jnp.zeros((2, 1))}
    found = recipes.clip_adaptive(grads, params, 0.1, eps=1e-2)["kernel"]
    np.testing.assert_allclose(jnp.sqrt(jnp.sum(found**2)), 1e-3, rtol=1e-6)


def test_advice_where_nothing_was_clipped():
    norms = np.linspace(0.0, 10.0, 101)
    assert recipes.clip_advice(norms, None) == (
        "Nothing was clipped; 9 of 10 gradient norms were at most 9. "
        "clip_norm: 9 would clip the largest tenth of the steps."
    )
    assert recipes.clip_advice([0.0, 0.0], None).endswith("A threshold needs gradients above 0.")


def test_advice_by_the_share_of_clipped_steps():
    norms = np.linspace(0.0, 10.0, 1001)
    assert recipes.clip_advice(norms, 2.0) == (
        "clip_norm 2 clipped 800 of 1001 steps (80 %); 9 of 10 norms were at most 9. With over half the steps clipped, "
        "the threshold sets the size of the steps: lower the learning rate, or set clip_norm: 9."
    )
    assert recipes.clip_advice(norms, 8.0).endswith("(20 %); 9 of 10 norms were at most 9. "
        "The threshold catches the outliers; keep it.")  # fmt: skip
    assert recipes.clip_advice(norms, 9.999) == (
        "clip_norm 10 clipped 1 of 1001 steps (0.1 %); 9 of 10 norms were at most 9. "
        "The threshold hardly acts; clip_norm: 9 would clip a tenth of the steps."
    )
    assert "(100 %)" in recipes.clip_advice([3.0, 4.0], 1.0)
    assert recipes.clip_advice([0.0], 1.0).endswith("The threshold hardly acts.")


def test_advice_counts_what_is_not_finite():
    assert recipes.clip_advice([[1.0, np.nan], [np.inf, 3.0]], 2.0) == (
        "clip_norm 2 clipped 1 of 2 steps (50 %); 9 of 10 norms were at most 2.8. The threshold catches the outliers; "
        "keep it. 2 of 4 norms were not finite and are left out."
    )
    assert recipes.clip_advice([np.nan], 2.0) == (
        "No finite gradient norm was recorded, so no threshold can be suggested. "
        "1 of 1 norms were not finite and are left out."
    )
    assert recipes.clip_advice([], None) == (
        "No finite gradient norm was recorded, so no threshold can be suggested."
    )
