"""PyTorch without DataLoader: a shuffled index, batches by slicing it. The faster eager loop."""

from common import Clock, Job, main  # first: starts the clock

# isort: split

import torch
from torch_parts import cross_entropy, facts, network, set_up, train_all


def index_epoch(model, rule, x, y, batch_size):
    order = torch.randperm(len(x), device=x.device).split(batch_size)
    total = torch.zeros((), device=x.device)
    for rows in order:
        rule.zero_grad()
        loss = cross_entropy(model(x[rows]), y[rows])
        loss.backward()
        rule.step()
        total += loss.detach()
    return total / len(order), len(order)


def work(job: Job, clock: Clock) -> dict[str, object]:
    device = set_up(job)

    def model_for(shape):
        model = network(job, shape).to(device)
        return model, model

    train_all(job, clock, model_for=model_for, epoch=index_epoch)
    return facts(device)


if __name__ == "__main__":
    main(work)
