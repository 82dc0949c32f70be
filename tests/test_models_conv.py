"""The fast convolution against JAX's own, and against finite differences."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from lanework.models import conv

NUMBERS = ("NHWC", "HWIO", "NHWC")
# batch, height, width, channels, features, window, strides, padding, dilation, groups
CASES = {
    "3x3, several chunks": (24, 14, 14, 16, 32, (3, 3), (1, 1), "SAME", (1, 1), 1),
    "few features pad first": (12, 9, 7, 3, 5, (3, 3), (1, 1), "SAME", (1, 1), 1),
    "strides": (6, 9, 8, 4, 32, (3, 3), (2, 2), "SAME", (1, 1), 1),
    "one pixel, strides": (6, 8, 8, 4, 8, (1, 1), (2, 2), "VALID", (1, 1), 1),
    "oblong, dilated": (5, 10, 9, 4, 20, (5, 3), (2, 1), "VALID", (1, 2), 1),
    "groups": (4, 8, 8, 8, 32, (3, 3), (1, 1), "SAME", (1, 1), 4),
    "depthwise, strides": (4, 9, 9, 6, 6, (3, 3), (2, 2), "SAME", (1, 1), 6),
    "stem of a ResNet": (4, 12, 12, 3, 24, (7, 7), (2, 2), ((3, 3), (3, 3)), (1, 1), 1),
    "window smaller than stride": (4, 11, 11, 2, 24, (2, 2), (3, 3), ((0, 1), (1, 0)), (1, 1), 1),
    "prime batch, wide padding": (7, 6, 6, 3, 4, (3, 3), (1, 1), ((2, 2), (2, 2)), (2, 2), 1),
    "padding beyond the window": (3, 6, 6, 3, 4, (2, 2), (1, 1), ((3, 3), (3, 3)), (1, 1), 1),
}


def setting(label: str) -> tuple[jax.Array, jax.Array, Any]:
    batch, height, width, channels, features, window, strides, padding, dilation, groups = CASES[
        label
    ]
    draw = np.random.default_rng(0).standard_normal
    x = jnp.asarray(draw((batch, height, width, channels)), jnp.float32)
    kernel = jnp.asarray(draw((*window, channels // groups, features)), jnp.float32)

    def apply(function: Any) -> Any:
        return lambda x, kernel: function(
            x,
            kernel,
            strides,
            padding,
            rhs_dilation=dilation,
            dimension_numbers=NUMBERS,
            feature_group_count=groups,
        )

    return x, kernel, apply


def close(found: Any, wanted: Any) -> None:
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.max(jnp.abs(b))))


@pytest.mark.parametrize("label", CASES)
def test_result_and_gradients_are_the_native_ones(label: str):
    x, kernel, apply = setting(label)
    shape = jax.eval_shape(apply(lax.conv_general_dilated), x, kernel).shape
    cotangent = jax.random.normal(jax.random.key(1), shape)

    def both(function: Any) -> Any:
        outputs, pull = jax.vjp(apply(function), x, kernel)
        return outputs, pull(cotangent)

    close(
        jax.jit(both, static_argnums=0)(conv.conv_general_dilated), both(lax.conv_general_dilated)
    )


def gradients(function: Any, x: jax.Array, kernel: jax.Array) -> Any:
    def loss(kernel: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(function(x, kernel)))

    return jax.grad(loss, argnums=(0, 1))(kernel, x)


@pytest.mark.slow
@pytest.mark.parametrize("label", CASES)
def test_gradients_of_gradients_are_the_native_ones(label: str):
    x, kernel, apply = setting(label)
    draw = np.random.default_rng(1).standard_normal
    along = (jnp.asarray(draw(x.shape), jnp.float32), jnp.asarray(draw(kernel.shape), jnp.float32))

    def product(function: Any) -> Any:
        """Of the Hessian of a loss that is not quadratic, with a direction."""
        loss = lambda x, kernel: jnp.mean(jnp.square(jnp.tanh(0.3 * apply(function)(x, kernel))))
        slope = jax.grad(loss, argnums=(0, 1))

        def dotted(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return sum(map(jnp.vdot, slope(x, kernel), along))

        return jax.jit(jax.grad(dotted, argnums=(0, 1)))(x, kernel)

    close(product(conv.conv_general_dilated), product(lax.conv_general_dilated))


def test_a_gradient_of_a_gradient_is_made_of_convolutions_that_are_fast():
    x, kernel, apply = setting("3x3, several chunks")
    loss = lambda kernel: jnp.sum(jnp.square(apply(conv.conv_general_dilated)(x, kernel)))
    slope = lambda kernel: jnp.vdot(jax.grad(loss)(kernel), kernel)
    text = str(jax.make_jaxpr(jax.grad(slope))(kernel))
    found = re.findall(r"lhs_spec=\((.*?)\), rhs_spec=\((.*?)\), out_spec=\((.*?)\)", text)
    # Channels last for image and result, window first for the kernel: the one layout of Eigen's.
    assert len(found) >= 3
    assert set(found) == {("0, 3, 1, 2", "3, 2, 0, 1", "0, 3, 1, 2")}


@pytest.mark.parametrize("label", ["3x3, several chunks", "strides", "groups"])
def test_gradients_are_the_same_over_lanes(label: str):
    x, kernel, apply = setting(label)
    xs = jnp.stack([x, 2 * x, -x])
    kernels = jnp.stack([kernel, -kernel, 0.5 * kernel])
    native, ours = apply(lax.conv_general_dilated), apply(conv.conv_general_dilated)
    wanted = [gradients(native, *lane) for lane in zip(xs, kernels, strict=True)]
    wanted = jax.tree.map(lambda *lanes: jnp.stack(lanes), *wanted)
    close(jax.vmap(lambda x, k: gradients(ours, x, k))(xs, kernels), wanted)
    close(lax.map(lambda lane: gradients(ours, *lane), (xs, kernels)), wanted)
    _, scanned = lax.scan(lambda c, lane: (c, gradients(ours, *lane)), 0, (xs, kernels))
    close(scanned, wanted)


def test_gradients_are_the_same_over_devices():
    x, kernel, apply = setting("3x3, several chunks")
    devices = jax.devices()[:2]
    mesh = jax.make_mesh(
        (len(devices),), ("run",), axis_types=(jax.sharding.AxisType.Auto,), devices=devices
    )
    lanes = jax.sharding.PartitionSpec("run")
    xs, kernels = jnp.stack([x, 2 * x]), jnp.stack([kernel, -kernel])
    ours = apply(conv.conv_general_dilated)

    def program(xs: jax.Array, kernels: jax.Array) -> Any:
        return lax.map(lambda lane: gradients(ours, *lane), (xs, kernels))

    sharded = jax.shard_map(program, mesh=mesh, in_specs=(lanes, lanes), out_specs=lanes)
    close(jax.jit(sharded)(xs, kernels), program(xs, kernels))


@pytest.mark.parametrize("label", ["few features pad first", "strides", "groups"])
def test_gradients_against_finite_differences(label: str):
    x, kernel, apply = setting(label)
    with jax.enable_x64(True):
        x, kernel = (jnp.asarray(np.asarray(a), jnp.float64) for a in (x, kernel))
        ours = apply(conv.conv_general_dilated)

        def loss(kernel: jax.Array, x: jax.Array) -> jax.Array:
            return jnp.sum(jnp.sin(ours(x, kernel)))

        found = jax.grad(loss, argnums=(0, 1))(kernel, x)
        rng = np.random.default_rng(0)
        for argument, grad in enumerate(found):
            step = rng.normal(size=grad.shape)
            step /= np.linalg.norm(step)
            ends = []
            for sign in (1e-5, -1e-5):
                moved = [kernel, x]
                moved[argument] = moved[argument] + sign * step
                ends.append(float(loss(*moved)))
            slope = (ends[0] - ends[1]) / 2e-5
            np.testing.assert_allclose(float(jnp.sum(grad * step)), slope, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "numbers"), [(1, ("NWC", "WIO", "NWC")), (3, ("NDHWC", "DHWIO", "NDHWC"))]
)
def test_one_and_three_axes(rank: int, numbers: Any):
    x = jax.random.normal(jax.random.key(0), (4, *(6,) * rank, 3))
    kernel = jax.random.normal(jax.random.key(1), (*(3,) * rank, 3, 20))

    def apply(function: Any) -> Any:
        return lambda x, k: function(x, k, (1,) * rank, "SAME", dimension_numbers=numbers)

    wanted = gradients(apply(lax.conv_general_dilated), x, kernel)
    close(gradients(apply(conv.conv_general_dilated), x, kernel), wanted)


def is_replaced(*args: Any, **settings: Any) -> bool:
    return "custom_vjp" in str(
        jax.make_jaxpr(lambda x, k: conv.conv_general_dilated(x, k, *args, **settings))(
            jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 4, 4))
        )
    )


def test_what_is_not_served_goes_to_jax():
    assert is_replaced((1, 1), "SAME", dimension_numbers=NUMBERS)
    assert not is_replaced((1, 1), ((1, 1), (1, 1)), lhs_dilation=(2, 2), dimension_numbers=NUMBERS)
    assert not is_replaced(
        (1, 1), "SAME", dimension_numbers=NUMBERS, preferred_element_type=jnp.float32
    )
    x, kernel = jnp.ones((2, 4, 8, 8)), jnp.ones((5, 4, 3, 3))
    channels_first = conv.conv_general_dilated(x, kernel, (1, 1), "VALID")
    assert channels_first.shape == (2, 5, 6, 6)


def test_another_device_gets_the_native_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not is_replaced((1, 1), "SAME", dimension_numbers=NUMBERS)


@pytest.mark.parametrize(
    ("batch", "side", "channels", "wanted"),
    [
        (64, 28, 33, 4),
        (64, 7, 192, 8),
        (32, 32, 128, 1),
        (7, 4, 8, 7),
        (50, 14, 96, 5),
        (1, 9, 9, 1),
    ],
)
def test_images_per_chunk_fit_the_cache_and_divide_the_batch(
    batch: int, side: int, channels: int, wanted: int
):
    x, grad = jnp.zeros((batch, side, side, channels - 1)), jnp.zeros((batch, side, side, 1))
    assert conv._chunk_size(x, grad) == wanted
