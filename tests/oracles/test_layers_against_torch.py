"""Norms, activations, losses, initialisers and dropout that PyTorch has too, against PyTorch (float64 where it can).

Where PyTorch's formula differs from ours, the difference is stated in the test that shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import recipes
from lanework.models import dropout, inits, layers, norms, parts
from lanework.models.base import Call
from tests.contracts.probes import choice

torch = pytest.importorskip("torch")

TRAINING, EVALUATION = Call(jax.random.key(0), True, {}), Call(None, False, {})
RNG = np.random.default_rng(0)
PIXELS = RNG.normal(1.0, 2.0, size=(6, 4, 5, 8))  # [batch, height, width, channel]


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def channels_first(x: Any) -> Any:
    return torch.tensor(np.moveaxis(np.asarray(x), -1, 1).copy(), requires_grad=True)


def both(layer: Any, theirs: Any, x: np.ndarray, *, is_first: bool) -> None:
    """Outputs and gradients of the inputs, with the same scale and shift on both sides."""
    params, state = layer.init(jax.random.key(0))
    size = x.shape[-1]
    scale, bias = RNG.normal(1.0, 0.3, size), RNG.normal(0.0, 0.3, size)
    params = (
        {"scale": jnp.asarray(scale), "bias": jnp.asarray(bias)}
        if "bias" in params
        else {"scale": jnp.asarray(scale)}
    )
    theirs.double().train()
    with torch.no_grad():
        shape = theirs.weight.shape
        theirs.weight.copy_(torch.tensor(scale).reshape(shape))
        if getattr(theirs, "bias", None) is not None:
            theirs.bias.copy_(torch.tensor(bias).reshape(shape))
    given = channels_first(x) if is_first else torch.tensor(x, requires_grad=True)
    wanted = theirs(given)
    weight = RNG.normal(size=wanted.shape)
    (wanted * torch.tensor(weight)).sum().backward()
    back = (lambda a: np.moveaxis(a, 1, -1)) if is_first else (lambda a: a)
    outputs, pull = jax.vjp(lambda x: layer.apply(params, state, x, TRAINING)[0], jnp.asarray(x))
    np.testing.assert_allclose(outputs, back(wanted.detach().numpy()), rtol=1e-9, atol=1e-11)
    found = pull(jnp.asarray(back(weight)))[0]
    np.testing.assert_allclose(found, back(given.grad.numpy()), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "make", "is_first"),
    [
        ("batch", lambda: torch.nn.BatchNorm2d(8), True),
        ({"name": "group", "groups": 4}, lambda: torch.nn.GroupNorm(4, 8), True),
        ("instance", lambda: torch.nn.InstanceNorm2d(8, affine=True), True),
    ],
    ids=["batch", "group", "instance"],
)
def test_norm_of_feature_maps(name: Any, make: Callable[[], Any], is_first: bool):
    layer = norms.norm("n", 8, choice=name)
    both(layer, make(), PIXELS, is_first=is_first)


@pytest.mark.parametrize("shape", [(6, 8), (6, 3, 8)], ids=["features", "steps"])
def test_layer_and_rms_norm(shape: tuple[int, ...]):
    x = RNG.normal(1.0, 2.0, size=shape)
    both(norms.norm("n", 8, choice="layer"), torch.nn.LayerNorm(8), x, is_first=False)
    both(norms.norm("n", 8, choice="rms"), torch.nn.RMSNorm(8, eps=1e-5), x, is_first=False)


def test_layer_norm_of_feature_maps_is_that_over_channels_and_pixels():
    layer = norms.norm("n", 8, choice="layer")
    wanted = torch.nn.functional.layer_norm(channels_first(PIXELS), (8, 4, 5))
    params, state = layer.init(jax.random.key(0))
    outputs, _ = layer.apply(params, state, jnp.asarray(PIXELS), EVALUATION)
    np.testing.assert_allclose(outputs, np.moveaxis(wanted.detach().numpy(), 1, -1), rtol=1e-9)


def test_batch_norm_carries_the_statistics_of_torch_but_for_its_divisor():
    """PyTorch puts the unbiased variance (n - 1) into its moving average, we the one that was divided by (n)."""
    layer, theirs = norms.norm("n", 8, choice="batch"), torch.nn.BatchNorm2d(8).double()
    params, state = layer.init(jax.random.key(0))
    for k in range(3):
        x = PIXELS + k
        theirs(channels_first(x))
        _, state = layer.apply(params, state, jnp.asarray(x), TRAINING)
    np.testing.assert_allclose(state["mean"], theirs.running_mean.numpy(), rtol=1e-9)
    n = 6 * 4 * 5
    unbiased = 0.9**3 + (np.asarray(state["var"]) - 0.9**3) * n / (n - 1)
    np.testing.assert_allclose(unbiased, theirs.running_var.numpy(), rtol=1e-9)


def test_weight_norm_is_that_of_torch():
    plain = torch.nn.Linear(5, 3, bias=False).double()
    theirs = torch.nn.utils.parametrizations.weight_norm(plain, dim=0)
    form = norms.weight_form("weight")
    v = RNG.normal(size=(5, 3))
    gain = np.array([0.5, 2.0, -1.0])
    with torch.no_grad():
        theirs.parametrizations.weight.original1.copy_(torch.tensor(v.T))
        theirs.parametrizations.weight.original0.copy_(torch.tensor(gain[:, None]))
    ours = form.kernel({"kernel": jnp.asarray(v), "gain": jnp.asarray(gain)})
    np.testing.assert_allclose(ours, theirs.weight.detach().numpy().T, rtol=1e-9)


def test_weight_standardisation_is_that_of_the_paper_for_a_gain_of_the_root_of_the_fan():
    v = RNG.normal(size=(3, 3, 4, 6))
    weight = torch.tensor(np.transpose(v, (3, 2, 0, 1)).copy())
    flat = weight.reshape(6, -1)
    wanted = (flat - flat.mean(1, keepdim=True)) / flat.std(1, unbiased=False, keepdim=True)
    params = {"kernel": jnp.asarray(v), "gain": jnp.full((6,), 36**0.5)}
    ours = norms.weight_form("weight_standardisation").kernel(params)
    shaped = np.transpose(wanted.reshape(weight.shape).numpy(), (2, 3, 1, 0))
    np.testing.assert_allclose(ours, shaped, rtol=1e-9, atol=1e-12)


ACTIVATIONS = {
    "identity": torch.nn.Identity(),
    "sigmoid": torch.nn.Sigmoid(),
    "tanh": torch.nn.Tanh(),
    "relu": torch.nn.ReLU(),
    "leaky_relu": torch.nn.LeakyReLU(0.01),
    "prelu": torch.nn.PReLU(5, init=0.25),
    "elu": torch.nn.ELU(),
    "selu": torch.nn.SELU(),
    "gelu": torch.nn.GELU(approximate="tanh"),
    "silu": torch.nn.SiLU(),
    "softplus": torch.nn.Softplus(threshold=100.0),
    "softmax": torch.nn.Softmax(dim=-1),
}


@pytest.mark.parametrize("name", parts.ACTIVATIONS)
def test_activation_and_its_gradients(name: str):
    x = RNG.normal(0.0, 2.0, size=(7, 5))
    theirs, given = ACTIVATIONS[name].double(), torch.tensor(x, requires_grad=True)
    wanted = theirs(given)
    weight = RNG.normal(size=x.shape)
    (wanted * torch.tensor(weight)).sum().backward()
    layer = layers.activation("a", 5, choice=name)
    params = layer.init(jax.random.key(0))[0] if layer.init else {}
    outputs, pull = jax.vjp(
        lambda p, x: layer.apply(p, {}, x, EVALUATION)[0], params, jnp.asarray(x)
    )
    np.testing.assert_allclose(outputs, wanted.detach().numpy(), rtol=1e-9, atol=1e-12)
    grads, back = pull(jnp.asarray(weight))
    np.testing.assert_allclose(back, given.grad.numpy(), rtol=1e-9, atol=1e-12)
    if name == "prelu":
        np.testing.assert_allclose(grads["slope"], theirs.weight.grad.numpy(), rtol=1e-9)


OUTPUTS = RNG.normal(0.0, 2.0, size=(9, 4))
CLASSES = RNG.integers(0, 4, size=9)
NUMBERS = RNG.normal(0.0, 2.0, size=(9, 4))
WEIGHTS = np.array([0.5, 1.0, 2.0, 4.0])


def focal(f: Any, y: Any, gamma: float) -> Any:
    p = torch.softmax(f, -1)[torch.arange(len(y)), y]
    return -((1 - p) ** gamma) * torch.log(p)


F = torch.nn.functional
LOSSES: dict[str, tuple[str, dict[str, Any], dict[str, Any], bool, Callable[[Any, Any], Any]]] = {
    "cross_entropy": ("cross_entropy", {}, {}, True, lambda f, y: F.cross_entropy(f, y, reduction="none")),
    "smoothed": ("cross_entropy", {}, {"label_smoothing": 0.1}, True, lambda f, y: F.cross_entropy(f, y, reduction="none", label_smoothing=0.1)),
    "binary": ("binary_cross_entropy", {}, {}, True, lambda f, y: F.binary_cross_entropy_with_logits(f, F.one_hot(y, 4).double(), reduction="none").sum(-1)),
    "mse": ("mse", {}, {}, False, lambda f, y: F.mse_loss(f, y, reduction="none").mean(-1)),
    "mae": ("mae", {}, {}, False, lambda f, y: F.l1_loss(f, y, reduction="none").mean(-1)),
    "huber": ("huber", {"delta": 0.7}, {}, False, lambda f, y: F.huber_loss(f, y, reduction="none", delta=0.7).mean(-1)),
    "hinge": ("hinge", {}, {}, True, lambda f, y: 4 * F.multi_margin_loss(f, y, reduction="none")),
    "focal": ("focal", {"gamma": 1.5}, {}, True, lambda f, y: focal(f, y, 1.5)),
}  # fmt: skip


def ours_and_theirs(case: str, *, weights: np.ndarray | None = None) -> tuple[Any, ...]:
    name, options, hypers, is_class, theirs = LOSSES[case]
    loss = recipes.loss(choice("loss", name, **options), task="classification")
    loss = loss if weights is None else recipes.class_weighted(loss, weights)
    y = CLASSES if is_class else NUMBERS
    given = torch.tensor(OUTPUTS, requires_grad=True)
    values = theirs(given, torch.tensor(y))
    if weights is not None:
        values = values * torch.tensor(weights[CLASSES])
    values.sum().backward()
    found, pull = jax.vjp(lambda f: loss(f, jnp.asarray(y), hypers), jnp.asarray(OUTPUTS))
    return found, pull(jnp.ones(9))[0], values.detach().numpy(), given.grad.numpy()


@pytest.mark.parametrize("case", LOSSES)
def test_loss_and_its_gradient(case: str):
    found, slope, wanted, wanted_slope = ours_and_theirs(case)
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    np.testing.assert_allclose(slope, wanted_slope, rtol=1e-8, atol=1e-12)


def test_class_weights_of_torch_but_for_its_divisor():
    """PyTorch divides by the sum of the weights of a batch, we by its samples: each batch counts the same either way."""
    found, slope, wanted, wanted_slope = ours_and_theirs("cross_entropy", weights=WEIGHTS)
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    np.testing.assert_allclose(slope, wanted_slope, rtol=1e-8, atol=1e-12)
    theirs = F.cross_entropy(
        torch.tensor(OUTPUTS), torch.tensor(CLASSES), weight=torch.tensor(WEIGHTS)
    )
    np.testing.assert_allclose(np.sum(found) / WEIGHTS[CLASSES].sum(), theirs.item(), rtol=1e-9)


def test_binary_focal_with_one_output():
    f, y = OUTPUTS[:, :1], CLASSES % 2
    p = torch.sigmoid(torch.tensor(f[:, 0]))
    p = torch.where(torch.tensor(y) == 1, p, 1 - p)
    loss = recipes.loss(choice("loss", "focal"), task="classification")
    wanted = -((1 - p) ** 2) * torch.log(p)
    np.testing.assert_allclose(loss(jnp.asarray(f), jnp.asarray(y), {}), wanted.numpy(), rtol=1e-9)


INITS = {
    "xavier_normal": lambda w: torch.nn.init.xavier_normal_(w),
    "xavier_uniform": lambda w: torch.nn.init.xavier_uniform_(w),
    "he_normal": lambda w: torch.nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "he_uniform": lambda w: torch.nn.init.kaiming_uniform_(w, nonlinearity="relu"),
    "he_out": lambda w: torch.nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
    "he_leaky": lambda w: torch.nn.init.kaiming_normal_(w, a=0.5, nonlinearity="leaky_relu"),
    "orthogonal": lambda w: torch.nn.init.orthogonal_(w, gain=2**0.5),
    "small_normal": lambda w: torch.nn.init.normal_(w, std=0.01),
    "truncated_normal": lambda w: torch.nn.init.trunc_normal_(w, std=0.02, a=-0.04, b=0.04),
    "lecun_normal": lambda w: torch.nn.init.kaiming_normal_(w, nonlinearity="linear"),
    "zeros": lambda w: torch.nn.init.zeros_(w),
    "ones": lambda w: torch.nn.init.ones_(w),
    "constant": lambda w: torch.nn.init.constant_(w, 0.1),
}
OPTIONS: dict[str, tuple[Any, Any]] = {
    "he_out": ({"name": "he_normal", "fan": "out"}, "relu"),
    "he_leaky": ("he_normal", {"name": "leaky_relu", "slope": 0.5}),
}


@pytest.mark.parametrize("case", INITS)
def test_initialiser_has_the_moments_of_torch(case: str):
    value, activation = OPTIONS.get(case, (case, "relu"))
    shape = (3, 3, 40, 60)  # [height, width, in, out]
    ours = np.asarray(inits.initializer(value, activation=activation)(jax.random.key(0), shape))
    torch.manual_seed(0)
    theirs = INITS[case](torch.empty(60, 40, 3, 3).double()).numpy()
    for moment in (2, 4):
        wanted = np.mean(theirs**moment)
        np.testing.assert_allclose(
            np.mean(ours**moment), wanted, rtol=0.06 if moment == 4 else 0.03
        )
    np.testing.assert_allclose(np.abs(ours).max(), np.abs(theirs).max(), rtol=0.15)


def test_orthogonal_is_orthogonal_like_torch():
    for shape in ((20, 30), (30, 20), (3, 3, 4, 50)):
        rows, columns = int(np.prod(shape[:-1])), shape[-1]
        make = inits.initializer({"name": "orthogonal", "gain": 1.0}, activation="relu")
        matrix = np.asarray(make(jax.random.key(0), shape)).reshape(rows, columns)
        product = matrix.T @ matrix if rows >= columns else matrix @ matrix.T
        np.testing.assert_allclose(product, np.eye(min(rows, columns)), atol=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_dropout_has_the_statistics_of_torch(share: float):
    x = RNG.normal(1.0, 1.0, size=(400, 500))
    torch.manual_seed(0)
    theirs = F.dropout(torch.tensor(x), p=share).numpy()
    call = Call(jax.random.key(0), True, {"dropout": share})
    ours = np.asarray(dropout.dropout("d").apply({}, {}, jnp.asarray(x), call)[0])
    np.testing.assert_allclose(np.mean(ours == 0), np.mean(theirs == 0), atol=4e-3)
    np.testing.assert_allclose(np.mean(ours), np.mean(theirs), rtol=0.03)
    np.testing.assert_allclose(np.var(ours), np.var(theirs), rtol=0.04)
    kept = ours != 0
    np.testing.assert_allclose(ours[kept] / x[kept], 1 / (1 - share), rtol=1e-3)


def test_spatial_dropout_leaves_out_whole_channels_like_torch():
    x = np.ones((200, 3, 4, 16))
    theirs = F.dropout2d(channels_first(x), p=0.3).detach().numpy()
    call = Call(jax.random.key(0), True, {"spatial_dropout": 0.3})
    ours = np.asarray(dropout.spatial("d").apply({}, {}, jnp.asarray(x), call)[0])
    dropped = np.mean(ours == 0, axis=(1, 2))
    assert set(np.unique(dropped)) == {0.0, 1.0}
    np.testing.assert_allclose(np.mean(dropped), np.mean(theirs == 0), atol=0.03)
