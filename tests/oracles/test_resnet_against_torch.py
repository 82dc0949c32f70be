"""ResNets against PyTorch: networks written here under torchvision's names, the same random weights on both sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanework import models
from tests.contracts.probes import Input, model

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
nn = torch.nn
CLASSES = 7
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 20: (3, 3, 3), 8: (1, 1, 1)}


class Block(nn.Module):
    """torchvision's BasicBlock and Bottleneck (v1.5: the stride in the 3x3 convolution)."""

    def __init__(self, channels: int, inner: int, stride: int, *, is_bottleneck: bool) -> None:
        super().__init__()
        out = 4 * inner if is_bottleneck else inner
        steps = [(1, 1, inner), (3, stride, inner), (1, 1, out)]
        steps = steps if is_bottleneck else [(3, stride, inner), (3, 1, out)]
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )
        for place, (kernel, step, size) in enumerate(steps, start=1):
            conv = nn.Conv2d(channels, size, kernel, step, kernel // 2, bias=False)
            setattr(self, f"conv{place}", conv)
            setattr(self, f"bn{place}", nn.BatchNorm2d(size))
            channels = size
        self.count = len(steps)

    def forward(self, x: Any) -> Any:
        shortcut = x if self.downsample is None else self.downsample(x)
        for place in range(1, self.count + 1):
            x = getattr(self, f"bn{place}")(getattr(self, f"conv{place}")(x))
            x = torch.relu(x) if place < self.count else x
        return torch.relu(x + shortcut)


class ResNet(nn.Module):
    """torchvision's ResNet, and the CIFAR family under the same names."""

    def __init__(self, depth: int, *, has_big_stem: bool, width: int) -> None:
        super().__init__()
        kernel, stride = (7, 2) if has_big_stem else (3, 1)
        self.conv1 = nn.Conv2d(3, width, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if has_big_stem else nn.Identity()
        channels = width
        self.num_stages = len(BLOCKS[depth])
        for stage, count in enumerate(BLOCKS[depth]):
            inner, blocks = width * 2**stage, []
            for place in range(count):
                step = 2 if stage > 0 and place == 0 else 1
                blocks.append(Block(channels, inner, step, is_bottleneck=depth == 50))
                channels = inner * (4 if depth == 50 else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, CLASSES)

    def forward(self, x: Any) -> Any:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for stage in range(self.num_stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(x.mean((2, 3)))


def randomised(net: Any) -> Any:
    """Every number of the network random, batch statistics too."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        drawn = torch.randn(tensor.shape, generator=generator)
        if tensor.dim() > 1:
            drawn = drawn * (2.0 / tensor[0].numel()) ** 0.5
        elif name.endswith("running_var") or (".bn" in name and name.endswith("weight")):
            drawn = 0.5 + drawn.abs()
        else:
            drawn = 0.1 * drawn
        tensor.copy_(drawn)
    return net.eval()


def pair(tmp_path: Path, depth: int, *, width: int, side: int, stem: str, prefix: str = "") -> Any:
    """PyTorch's outputs and ours on the same images."""
    theirs = randomised(ResNet(depth, has_big_stem=stem == "imagenet", width=width))
    file = tmp_path / "theirs.safetensors"
    named = {f"{prefix}{key}": value.contiguous() for key, value in theirs.state_dict().items()}
    safetensors_torch.save_file(named, str(file))
    net = models.network(
        model("resnet", depth=depth, width=width, stem=stem),
        input=Input(shape=(side, side, 3)),
        num_outputs=CLASSES,
    )
    net, told = models.start_from(net, file, head="keep")
    assert not told.new
    assert not told.unfit
    assert not told.unused
    params, state = net.init(jax.random.key(0))
    images = np.random.default_rng(1).normal(size=(3, side, side, 3)).astype(np.float32)
    return theirs, net, params, state, images


@pytest.mark.parametrize(
    ("depth", "width", "side", "stem"),
    [
        (18, 16, 64, "imagenet"),
        (50, 8, 65, "imagenet"),
        (20, 16, 32, "cifar"),
        (34, 4, 33, "cifar"),
    ],
)
def test_outputs_are_those_of_pytorch(
    depth: int, width: int, side: int, stem: str, tmp_path: Path
) -> None:
    theirs, net, params, state, images = pair(tmp_path, depth, width=width, side=side, stem=stem)
    found, _ = jax.jit(lambda x: net.apply(params, state, x, is_training=False, hypers={}))(images)
    with torch.no_grad():
        wanted = theirs(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.slow
@pytest.mark.parametrize("depth", [18, 50])
def test_outputs_of_the_full_size_are_those_of_pytorch(depth: int, tmp_path: Path) -> None:
    theirs, net, params, state, images = pair(
        tmp_path, depth, width=64, side=96, stem="imagenet", prefix="module."
    )
    found, _ = jax.jit(lambda x: net.apply(params, state, x, is_training=False, hypers={}))(images)
    with torch.no_grad():
        wanted = theirs(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_gradients_are_those_of_pytorch(tmp_path: Path) -> None:
    """In training mode: batch statistics, strides, shortcuts and pooling, backwards."""
    theirs, net, params, state, images = pair(tmp_path, 18, width=8, side=32, stem="imagenet")
    weight = np.random.default_rng(2).normal(size=(3, CLASSES)).astype(np.float32)

    def loss(params: Any) -> jax.Array:
        outputs, _ = net.apply(params, state, images, is_training=True, hypers={})
        return jnp.sum(outputs * weight)

    found = jax.jit(jax.grad(loss))(params)
    theirs.train()
    (theirs(torch.tensor(images.transpose(0, 3, 1, 2))) * torch.tensor(weight)).sum().backward()
    wanted = dict(theirs.named_parameters())
    named = models.to_torchvision(found, state)
    assert set(wanted) <= set(named)
    for name, parameter in wanted.items():
        grad = parameter.grad.numpy()
        np.testing.assert_allclose(named[name], grad, atol=2e-3 * max(np.abs(grad).max(), 1e-2))


def test_what_is_written_loads_into_pytorch(tmp_path: Path) -> None:
    net = models.network(
        model("resnet", depth=18, width=8), input=Input(shape=(32, 32, 3)), num_outputs=CLASSES
    )
    params, state = net.init(jax.random.key(3))
    state = jax.tree.map(lambda leaf: leaf + 0.3, state)
    tensors = {
        name: torch.tensor(leaf) for name, leaf in models.to_torchvision(params, state).items()
    }
    theirs = ResNet(18, has_big_stem=True, width=8)
    theirs.load_state_dict(tensors)
    images = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype(np.float32)
    found, _ = net.apply(params, state, images, is_training=False, hypers={})
    with torch.no_grad():
        wanted = theirs.eval()(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
