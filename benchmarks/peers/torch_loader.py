"""PyTorch as most tutorials write it: a DataLoader over a TensorDataset, one run after the other."""

from common import Clock, Job, main  # first: starts the clock

# isort: split

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch_parts import facts, network, set_up, train_all


def work(job: Job, clock: Clock) -> dict[str, object]:
    device = set_up(job)

    def model_for(shape):
        model = network(job, shape).to(device)
        return model, model

    def epoch(model, rule, x, y, batch_size):
        # Made once an epoch from tensors that are there already: costs nothing that can be measured.
        loader = DataLoader(TensorDataset(x, y), batch_size=batch_size, shuffle=True)
        total = torch.zeros((), device=device)
        for inputs, targets in loader:
            rule.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), targets)
            loss.backward()
            rule.step()
            total += loss.detach()
        return total / len(loader), len(loader)

    train_all(job, clock, model_for=model_for, epoch=epoch)
    return facts(device)


if __name__ == "__main__":
    main(work)
