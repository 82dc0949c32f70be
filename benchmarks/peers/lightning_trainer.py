"""Lightning: a LightningModule and a Trainer per run, with bar, logger and checkpoints switched off.

Its training time includes validation, which `fit` does not tell apart.
"""

from common import Clock, Job, Run, main  # first: starts the clock

# isort: split

import logging
import warnings

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch_parts import facts, network, optimizer, sample_shape, set_up, tensors

warnings.filterwarnings("ignore")  # advice about num_workers and log steps, once a run
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Classifier(lightning.LightningModule):
    def __init__(self, job: Job, run: Run, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.run, self.net, self.history = run, network(job, shape), []

    def training_step(self, batch, _):
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, _):
        self._score(batch, "val")

    def test_step(self, batch, index):
        self._score(batch, "test")

    def _score(self, batch, part: str) -> None:
        outputs = self.net(batch[0])
        self.log(
            f"{part}_loss", nn.functional.cross_entropy(outputs, batch[1]), batch_size=len(batch[1])
        )
        correct = (outputs.argmax(1) == batch[1]).float().mean()
        self.log(f"{part}_accuracy", correct, batch_size=len(batch[1]))

    def on_validation_epoch_end(self) -> None:
        self.history.append(float(self.trainer.callback_metrics["val_accuracy"]))

    def configure_optimizers(self):
        return optimizer(self.run, self.parameters())


def train(job: Job, clock: Clock, run: Run, parts: list) -> None:
    torch.manual_seed(run.seed)
    (x, y), *others = parts
    loader = DataLoader(TensorDataset(x, y), batch_size=job.batch_size, shuffle=True)
    val, test = (DataLoader(TensorDataset(*part), batch_size=2048) for part in others)
    model = Classifier(job, run, sample_shape(job, x))
    trainer = lightning.Trainer(
        max_epochs=job.epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    with clock.phase("train"):
        trainer.fit(model, loader, val)
    clock.num_steps += trainer.global_step
    clock.num_samples += job.epochs * len(x)
    with clock.phase("test"):
        tested = trainer.test(model, test, verbose=False)[0]
    clock.finish(run, history=model.history, val=model.history[-1], test=tested["test_accuracy"])


def work(job: Job, clock: Clock) -> dict[str, object]:
    parts = tensors(job, torch.device("cpu"))  # the Trainer moves batches to an accelerator itself
    device = set_up(job)
    for run in job.runs:
        train(job, clock, run, parts)
    return facts(device) | {"train_includes": "validation"}


if __name__ == "__main__":
    main(work)
