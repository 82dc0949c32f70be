"""PyTorch with torch.compile over the index loop.

Compiled once for both batch shapes (the full one and the short last one) by the warm-up before any run,
timed as `compile`; every run then re-initialises the same module, so the peer never compiles twice.
"""

from common import Clock, Job, main  # first: starts the clock

# isort: split

import torch
from torch_index import index_epoch
from torch_parts import facts, initialise, network, set_up, train_all


def work(job: Job, clock: Clock) -> dict[str, object]:
    device = set_up(job)
    made: list = []  # the module and its compiled form, once

    def model_for(shape):
        if not made:
            model = network(job, shape).to(device)
            made.extend([torch.compile(model, dynamic=False), model])
        initialise(made[1])
        return made  # evaluation stays eager: one call, and no third shape to compile

    train_all(job, clock, model_for=model_for, epoch=index_epoch)
    return facts(device)


if __name__ == "__main__":
    main(work)
