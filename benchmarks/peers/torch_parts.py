"""What the PyTorch peers share: the net, the optimizers by name, evaluation, and the loop over runs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from common import Clock, Job, Run, load_arrays
from torch import nn

OPTIMIZERS: dict[str, Callable] = {
    "sgd": torch.optim.SGD,
    "momentum": lambda p, lr, momentum=0.9: torch.optim.SGD(p, lr=lr, momentum=momentum),
    "nesterov": lambda p, lr, momentum=0.9: torch.optim.SGD(
        p, lr=lr, momentum=momentum, nesterov=True
    ),
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "radam": torch.optim.RAdam,
}


def set_up(job: Job) -> torch.device:
    """Threads as the job says (None: PyTorch's default); the accelerator where there is one."""
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def facts(device: torch.device) -> dict[str, object]:
    return {"threads": torch.get_num_threads(), "device": str(device)}


class CharacterGru(nn.Module):
    """Embedding, GRU layers of one width, and an output for each step; started as PyTorch does."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        width = job.hidden[0]
        self.embed = nn.Embedding(job.vocabulary, job.embedding)
        self.gru = nn.GRU(job.embedding, width, len(job.hidden), batch_first=True)
        self.output = nn.Linear(width, job.num_classes)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return self.output(self.gru(self.embed(codes))[0])


class Block(nn.Module):
    """Two 3x3 convolutions around which the input is added; a 1x1 convolution where the shape changes."""

    def __init__(self, width: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Identity()
        if stride > 1 or width != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(width, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(inner + self.shortcut(x))


def resnet(job: Job, width: int) -> nn.Module:
    """The CIFAR family of He et al. 2015: 6n + 2 layers in three stages of 16, 32 and 64 channels."""
    layers: list[nn.Module] = [nn.Conv2d(width, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)]
    layers.append(nn.ReLU())
    width = 16
    for stage, channels in enumerate((16, 32, 64)):
        for place in range(job.depth // 6):
            layers.append(Block(width, channels, 2 if stage and not place else 1))
            width = channels
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, job.num_classes)]
    net = nn.Sequential(*layers)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return net


def network(job: Job, shape: tuple[int, ...]) -> nn.Module:
    """The study's net: dense layers with ReLU, after 3x3 convolutions with pooling for a CNN; a ResNet; or a GRU."""
    if job.net == "gru":
        return CharacterGru(job)
    if job.net == "resnet":
        return resnet(job, shape[-1])
    layers: list[nn.Module] = []
    width = shape[-1]  # features of a flat row, or channels of a picture
    if job.net == "cnn":
        side = shape[0]
        for channels in job.channels:
            layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            width, side = channels, side // 2
        layers.append(nn.Flatten())
        width *= side * side
    for hidden in job.hidden:
        layers += [nn.Linear(width, hidden), nn.ReLU()]
        width = hidden
    return initialise(nn.Sequential(*layers, nn.Linear(width, job.num_classes)))


def initialise(model: nn.Sequential) -> nn.Sequential:
    """He normal weights, zero biases, in place."""
    for layer in model:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return model


def optimizer(run: Run, parameters) -> torch.optim.Optimizer:
    """The update rule by name; only momentum is passed on, everything else is PyTorch's default."""
    options = {"momentum": run.options["momentum"]} if "momentum" in run.options else {}
    if run.optimizer not in ("momentum", "nesterov"):
        options = {}
    return OPTIMIZERS[run.optimizer](parameters, lr=run.learning_rate, **options)


def tensors(job: Job, device: torch.device) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Arrays as tensors on the device; pictures as channel, height, width."""
    parts = []
    for x, y in load_arrays(job):
        x = torch.from_numpy(x).to(device)
        if x.ndim == 4:
            x = x.permute(0, 3, 1, 2).contiguous()
        parts.append((x, torch.from_numpy(y).to(device)))
    return parts


def sample_shape(job: Job, x: torch.Tensor) -> tuple[int, ...]:
    return (x.shape[2], x.shape[3], x.shape[1]) if x.ndim == 4 else tuple(x.shape[1:])


def cross_entropy(outputs: torch.Tensor, y: torch.Tensor, **options) -> torch.Tensor:
    """Of classes [n], or of classes by step [n, time]."""
    outputs = outputs.reshape(-1, outputs.shape[-1])
    return nn.functional.cross_entropy(outputs, y.reshape(-1), **options)


@torch.no_grad()
def evaluate(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Mean loss and accuracy of a part, in chunks of 2 048 rows (256 of sequences)."""
    model.eval()
    loss, correct = torch.zeros((), device=x.device), torch.zeros((), device=x.device)
    chunk = 2048 if y.ndim == 1 else 256
    for at in range(0, len(x), chunk):
        outputs, targets = model(x[at : at + chunk]), y[at : at + chunk]
        loss += cross_entropy(outputs, targets, reduction="sum")
        correct += (outputs.argmax(-1) == targets).sum()
    model.train()
    count = max(1, int((y >= 0).sum()))
    return float(loss) / count, float(correct) / count


def warm_up(model: nn.Module, x: torch.Tensor, y: torch.Tensor, batch_size: int) -> None:
    """One forward and backward pass per batch shape: what is built on first use is not training."""
    for size in {min(batch_size, len(x)), len(x) % batch_size} - {0}:
        cross_entropy(model(x[:size]), y[:size]).backward()
    model.zero_grad()


def train_all(job: Job, clock: Clock, *, model_for: Callable, epoch: Callable) -> None:
    """Every run of the job: epochs of training, each followed by validation; the test part at the end.

    Args:
        job: The work.
        clock: Receives seconds by phase.
        model_for: (shape) -> (module to train, module to evaluate).
        epoch: (module, optimizer, x, y, batch_size) -> (mean loss as tensor, number of steps).
    """
    (x, y), val, test = tensors(job, set_up(job))
    with clock.phase("compile"):
        warm_up(model_for(sample_shape(job, x))[0], x, y, job.batch_size)
    for run in job.runs:
        torch.manual_seed(run.seed)
        model, eager = model_for(sample_shape(job, x))
        rule = optimizer(run, eager.parameters())
        history = []
        for _ in range(job.epochs):
            with clock.phase("train"):
                loss, num_steps = epoch(model, rule, x, y, job.batch_size)
                float(loss)  # waits for an accelerator
            clock.num_steps += num_steps
            clock.num_samples += len(x)
            with clock.phase("evaluate"):
                history.append(evaluate(eager, *val)[1])
        with clock.phase("test"):
            _, accuracy = evaluate(eager, *test)
        clock.finish(run, history=history, val=history[-1], test=accuracy)
