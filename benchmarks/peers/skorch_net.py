"""skorch: a NeuralNetClassifier per run with its default callbacks, printing switched off.

Its training time includes validation, which `fit` does not tell apart.
"""

from common import Clock, Job, Run, main  # first: starts the clock

# isort: split

import torch
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch import nn
from torch_parts import facts, network, sample_shape, set_up, tensors

RULES = {
    "sgd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"optimizer__momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"optimizer__momentum": 0.9, "optimizer__nesterov": True}),
    "adagrad": (torch.optim.Adagrad, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "radam": (torch.optim.RAdam, {}),
}


def train(job: Job, clock: Clock, run: Run, parts: list) -> None:
    (x, y), val, (x_test, y_test) = parts
    torch.manual_seed(run.seed)
    rule, options = RULES[run.optimizer]
    model = NeuralNetClassifier(
        network(job, sample_shape(job, x)),
        criterion=nn.CrossEntropyLoss,
        optimizer=rule,
        lr=run.learning_rate,
        batch_size=job.batch_size,
        max_epochs=job.epochs,
        iterator_train__shuffle=True,
        iterator_valid__batch_size=2048,
        train_split=predefined_split(Dataset(*val)),
        verbose=0,
        device="cuda" if torch.cuda.is_available() else "cpu",
        **options,
    )
    with clock.phase("train"):
        model.fit(x, y)
    clock.num_steps += job.epochs * -(-len(x) // job.batch_size)
    clock.num_samples += job.epochs * len(x)
    with clock.phase("test"):
        accuracy = float((model.predict(x_test) == y_test.numpy()).mean())
    history = [float(value) for value in model.history[:, "valid_acc"]]
    clock.finish(run, history=history, val=history[-1], test=accuracy)


def work(job: Job, clock: Clock) -> dict[str, object]:
    device = set_up(job)
    parts = tensors(job, torch.device("cpu"))  # skorch moves batches to an accelerator itself
    for run in job.runs:
        train(job, clock, run, parts)
    return facts(device) | {"train_includes": "validation"}


if __name__ == "__main__":
    main(work)
