"""Every row of clipping, penalties, noise and averages of the catalogue, through one body each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import recipes
from lanework.catalog import CATALOG, Hyper
from tests.contracts import probes

CLIPS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "global_norm": lambda grads, params, c: recipes.clip_by_global_norm(grads, c)[0],
    "value": lambda grads, params, c: recipes.clip_by_value(grads, c),
    "layer_norm": lambda grads, params, c: recipes.clip_by_layer(grads, c),
    "adaptive": recipes.clip_adaptive,
}


def at_step(step: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(3), step)


def with_penalty(name: str) -> Callable[[Any, Any], Any]:
    return lambda params, strength: jax.tree.map(
        lambda w, g: w - 0.1 * g, params, recipes.penalty_gradient(params, {name: strength})
    )


# What a row does to weights (to gradients or inputs of the same shape for noise), by strength.
EFFECTS: dict[str, Callable[[Any, Any], Any]] = {
    "l1": with_penalty("l1"),
    "l2": with_penalty("l2"),
    "proximal": recipes.soft_threshold,
    "weight_decay": lambda params, strength: recipes.decay_update(
        params, params, {"learning_rate": 0.1, "weight_decay": strength}
    ),
    "max_norm": recipes.limit_norm,
    "gradient_noise": lambda params, strength: recipes.gradient_noise(
        params, at_step(2), step=2, scale=strength
    ),
    "weight_noise": lambda params, strength: recipes.weight_noise(params, at_step(2), strength),
    "input_noise": lambda params, strength: jax.tree.map(
        lambda leaf: recipes.input_noise(leaf, at_step(leaf.ndim), strength), params
    ),
}
OF_THE_LOSS = {"label_smoothing"}
"""Rows of the loss, whose contract stands with the losses."""
EXEMPTING = set(EFFECTS) - {"gradient_noise", "input_noise"}
TOTAL, PER_EPOCH = 60, 5


def params_of(dtype: Any = jnp.float32) -> Any:
    kernel = jnp.linspace(-2.0, 3.0, 6, dtype=dtype).reshape(2, 3)
    return {
        "dense_0": {"kernel": kernel, "bias": jnp.linspace(0.5, 1.5, 3, dtype=dtype)},
        "norm_0": {"scale": jnp.ones((3,), dtype)},
        "output": {"kernel": kernel.T * 0.5, "bias": jnp.ones((2,), dtype)},
    }


def same(a: Any, b: Any) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


def check_shapes(found: Any, given: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(given)
    assert probes.leaves_like(found) == probes.leaves_like(given)


def strengths(hyper: Hyper) -> jax.Array:
    """Three values that matter for the probe, whatever the default."""
    if hyper.default is None or hyper.default == 0.0:
        return jnp.array([0.25, 0.5, 1.0])
    return jnp.array([0.5, 1.0, 2.0]) * float(hyper.default)  # type: ignore[arg-type]


def check_lanes(effect: Callable[[Any], Any], values: jax.Array) -> None:
    """Each lane gets what it would get alone, in one program, and the values matter."""
    count = 0

    def counted(value: jax.Array) -> Any:
        nonlocal count
        count += 1
        return effect(value)

    program = jax.jit(jax.vmap(counted))
    together = program(values)
    program(values * 1.125)
    assert count == 1, "a second cohort of equal shape compiled again"
    for index, value in enumerate(values):
        alone = jax.jit(effect)(value)
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[index], b, rtol=1e-5, atol=1e-7)
    first, last = (jax.tree.map(lambda leaf, i=i: leaf[i], together) for i in (0, 2))
    assert not same(first, last)


def test_tables_and_catalogue_hold_the_same_names():
    assert set(CLIPS) == set(CATALOG["clip"])
    assert set(EFFECTS) | OF_THE_LOSS == set(CATALOG["penalty"])
    assert set(recipes.AVERAGES) == set(CATALOG["average"])


@pytest.mark.parametrize("name", CATALOG["clip"])
def test_clip_never_lengthens_and_keeps_shape_and_type(name: str):
    clip = CLIPS[name]
    for dtype in (jnp.float32, jnp.bfloat16):
        params, grads = params_of(dtype), jax.tree.map(lambda leaf: 3 * leaf, params_of(dtype))
        check_shapes(clip(grads, params, jnp.float32(0.1)), grads)
        assert same(clip(grads, params, 1e6), grads)
    params, grads = params_of(), jax.tree.map(lambda leaf: 3 * leaf, params_of())
    for threshold in (1e-3, 0.1, 1.0, 10.0):
        found = clip(grads, params, threshold)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(grads), strict=True):
            assert np.all(np.abs(a) <= np.abs(b))
            assert np.all(a * b >= 0)


@pytest.mark.parametrize("name", CATALOG["clip"])
def test_clip_keeps_a_gradient_that_is_no_number_visible(name: str):
    grads = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), params_of())
    found = CLIPS[name](grads, params_of(), 1.0)
    assert all(np.all(np.isnan(leaf)) for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("name", CATALOG["clip"])
def test_clip_varies_by_lane(name: str):
    (hyper,) = CATALOG["clip"][name].hypers
    assert hyper.traced
    assert hyper.low == 0.0
    assert hyper.low_open
    grads = jax.tree.map(lambda leaf: 3 * leaf, params_of())
    check_lanes(lambda c: CLIPS[name](grads, params_of(), c), strengths(hyper))


@pytest.mark.parametrize("name", EFFECTS)
def test_penalty_varies_by_lane_and_keeps_shape_and_type(name: str):
    (hyper,) = CATALOG["penalty"][name].hypers
    # The proximal step is switched on by a flag; its strength is that of l1.
    strength = CATALOG["penalty"]["l1"].hyper("l1") if name == "proximal" else hyper
    assert strength.traced
    check_lanes(lambda value: EFFECTS[name](params_of(), value), strengths(strength))
    for dtype in (jnp.float32, jnp.bfloat16):
        check_shapes(EFFECTS[name](params_of(dtype), 0.5), params_of(dtype))


@pytest.mark.parametrize("name", EFFECTS)
def test_default_of_a_penalty_is_off(name: str):
    (hyper,) = CATALOG["penalty"][name].hypers
    off = {"max_norm": 1e6}.get(name, 0.0)
    assert hyper.default == (None if name == "max_norm" else False if name == "proximal" else 0.0)
    assert same(EFFECTS[name](params_of(), off), params_of())


@pytest.mark.parametrize("name", sorted(EXEMPTING))
def test_penalty_leaves_exempt_weights_alone_and_says_so(name: str):
    found, given = EFFECTS[name](params_of(), 0.5), params_of()
    for path, leaf in jax.tree_util.tree_leaves_with_path(given):
        got = found[path[0].key][path[1].key]
        assert np.array_equal(got, leaf) == recipes.exempt(path)
    assert "exempt" in CATALOG["penalty"][name].notes


def weights_at(step: jax.Array) -> Any:
    wave = jnp.sin(0.1 * step) + 0.05 * step
    return jax.tree.map(lambda leaf: leaf + wave.astype(leaf.dtype), params_of())


def averaged(name: str, hypers: Any) -> Any:
    """The average after 60 steps, inside a loop as the engine has it."""
    average = recipes.average(
        probes.choice("average", name), total_steps=TOTAL, steps_per_epoch=PER_EPOCH
    )

    def body(step: jax.Array, state: Any) -> Any:
        return average.update(state, weights_at(step), step=step, hypers=hypers)

    state = jax.lax.fori_loop(0, TOTAL, body, average.init(params_of()))
    return average.value(state, weights_at(jnp.int32(TOTAL - 1)))


@pytest.mark.parametrize("name", CATALOG["average"])
def test_average_lies_between_the_weights_it_has_seen(name: str):
    found = averaged(name, {})
    steps = [weights_at(jnp.int32(step)) for step in range(TOTAL)]
    for seen, leaf in zip(
        jax.tree.leaves(jax.tree.map(lambda *leaves: np.stack(leaves), *steps)),
        jax.tree.leaves(found),
        strict=True,
    ):
        leaf = np.asarray(leaf)  # NumPy broadcasts the members of an ensemble
        assert np.all(leaf >= seen.min(axis=0) - 1e-5)
        assert np.all(leaf <= seen.max(axis=0) + 1e-5)
        assert not np.array_equal(leaf if leaf.ndim == seen.ndim - 1 else leaf[0], seen[0])


@pytest.mark.parametrize("name", CATALOG["average"])
def test_average_is_stacked_only_where_it_says_so(name: str):
    average = recipes.average(
        probes.choice("average", name), total_steps=TOTAL, steps_per_epoch=PER_EPOCH
    )
    found, given = averaged(name, {}), params_of()
    if not average.is_stacked:
        check_shapes(found, given)
        return
    count = CATALOG["average"][name].hyper("count").default
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * int(count)), given)  # type: ignore[call-overload]
    check_shapes(found, stacked)


@pytest.mark.parametrize("name", CATALOG["average"])
def test_average_varies_by_lane_in_every_traced_hyperparameter(name: str):
    for hyper in CATALOG["average"][name].hypers:
        if hyper.traced:
            values = jnp.array([0.3, 0.5, 0.8])
            key = f"average.{hyper.name}"
            check_lanes(lambda value, key=key: averaged(name, {key: value}), values)


@pytest.mark.parametrize("name", CATALOG["average"])
def test_average_under_vmap_is_that_of_each_lane(name: str):
    """Lanes with weights and clocks of their own: a lane is not moved by its neighbour, even one without numbers."""
    average = recipes.average(
        probes.choice("average", name), total_steps=TOTAL, steps_per_epoch=PER_EPOCH
    )

    def lane(factor: jax.Array, offset: jax.Array) -> Any:
        def body(step: jax.Array, state: Any) -> Any:
            now = jax.tree.map(lambda leaf: factor * leaf, weights_at(step))
            return average.update(state, now, step=step + offset, hypers={})

        state = jax.lax.fori_loop(0, TOTAL - 7, body, average.init(params_of()))
        return average.value(state, params_of())

    factors, offsets = jnp.array([1.0, jnp.nan, 2.0]), jnp.array([0, 3, 7])
    together = jax.vmap(lane)(factors, offsets)
    for index in (0, 2):
        alone = lane(factors[index], offsets[index])
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[index], b, rtol=1e-6)
