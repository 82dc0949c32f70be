"""PyTorch lanes by hand: torch.func.vmap over stacked weights and an own Adam, eager.

Nobody's default, but the strongest form PyTorch offers for such a study, so it is measured too.
Only MLPs with Adam. All runs train side by side, each with its own batch order and rate.
"""

from common import Clock, Job, main  # first: starts the clock

# isort: split

import torch
from torch import nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch_parts import facts, network, sample_shape, set_up, tensors


class Lanes:
    """Stacked weights and Adam state of all runs; a class because the state lives through training."""

    def __init__(self, job: Job, shape: tuple[int, ...], device: torch.device) -> None:
        models = []
        for run in job.runs:
            torch.manual_seed(run.seed)
            models.append(network(job, shape).to(device))
        self.skeleton = models[0]
        stacked, _ = stack_module_state(models)
        self.params = {name: value.detach() for name, value in stacked.items()}
        self.first = {name: torch.zeros_like(value) for name, value in self.params.items()}
        self.second = {name: torch.zeros_like(value) for name, value in self.params.items()}
        self.rates = torch.tensor([run.learning_rate for run in job.runs], device=device)
        self.num_steps = 0
        self.gradient = vmap(grad_and_value(self._loss))
        self.outputs = vmap(self._outputs, in_dims=(0, None))

    def _outputs(self, params, x):
        return functional_call(self.skeleton, params, (x,))

    def _loss(self, params, x, y):
        return nn.functional.cross_entropy(self._outputs(params, x), y)

    @torch.no_grad()
    def step(self, x, y):
        """One Adam update of every lane; x [lane, batch, feature], y [lane, batch]."""
        gradients, loss = self.gradient(self.params, x, y)
        self.num_steps += 1
        correct1, correct2 = 1 - 0.9**self.num_steps, 1 - 0.999**self.num_steps
        for name, gradient in gradients.items():
            first = self.first[name].mul_(0.9).add_(gradient, alpha=0.1)
            second = self.second[name].mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            rate = self.rates.view(-1, *[1] * (gradient.ndim - 1)) / correct1
            self.params[name].sub_(rate * first / ((second / correct2).sqrt_().add_(1e-8)))
        return loss

    @torch.no_grad()
    def evaluate(self, x, y):
        """Loss and accuracy of every lane on one part."""
        outputs = self.outputs(self.params, x)
        loss = nn.functional.cross_entropy(outputs.transpose(1, 2), y.expand(len(outputs), -1))
        float(loss)
        return (outputs.argmax(2) == y).float().mean(1).tolist()


def work(job: Job, clock: Clock) -> dict[str, object]:
    if job.net != "mlp" or any(run.optimizer != "adam" for run in job.runs):
        raise SystemExit("torch_vmap is written for MLPs with Adam only")
    device = set_up(job)
    (x, y), val, test = tensors(job, device)
    lanes = Lanes(job, sample_shape(job, x), device)
    history = []
    for _ in range(job.epochs):
        with clock.phase("train"):
            order = torch.rand(len(job.runs), len(x), device=device).argsort(1)
            for rows in order.split(job.batch_size, dim=1):
                loss = lanes.step(x[rows], y[rows])
            float(loss.sum())
        clock.num_samples += len(x) * len(job.runs)
        with clock.phase("evaluate"):
            history.append(lanes.evaluate(*val))
    clock.num_steps = lanes.num_steps * len(job.runs)
    with clock.phase("test"):
        tested = lanes.evaluate(*test)
    for lane, run in enumerate(job.runs):
        curve = [values[lane] for values in history]
        clock.finish(run, history=curve, val=curve[-1], test=tested[lane])
    return facts(device)


if __name__ == "__main__":
    main(work)
