"""Records of one run: everything that a rule may look at.

Owns `RunRecord`, the one argument of every rule of `lanework.health.diagnose`. It is made from a study folder
(`lanework.api.diagnose.records`) or by somebody's own training loop (`lanework.health.Monitor`). Plain Python and NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["NO_CURVE", "Curve", "DataFacts", "Happening", "LayerTable", "NetFacts", "RunRecord"]

Floats: TypeAlias = npt.NDArray[np.float64]
Steps: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Curve:
    """One number of a run over its training.

    Attributes:
        steps: Steps done at each record, increasing, int64 [record].
        values: The number, float64 [record]; may hold NaN and infinities.
    """

    steps: Steps
    values: Floats

    @classmethod
    def of(cls, steps: Sequence[int], values: Sequence[float]) -> Curve:
        """From plain sequences of equal length."""
        return cls(np.asarray(steps, np.int64), np.asarray(values, np.float64))

    def __len__(self) -> int:
        return len(self.values)

    def __bool__(self) -> bool:
        return len(self.values) > 0

    @property
    def first(self) -> float:
        """The first value; NaN where there is none."""
        return float(self.values[0]) if len(self.values) else math.nan

    @property
    def last(self) -> float:
        """The last value; NaN where there is none."""
        return float(self.values[-1]) if len(self.values) else math.nan

    def until(self, step: int) -> Curve:
        """What was recorded up to and with a step."""
        keep = self.steps <= step
        return Curve(self.steps[keep], self.values[keep])


NO_CURVE = Curve.of([], [])


@dataclass(frozen=True, eq=False)
class LayerTable:
    """One statistic of the layers of a run over its training.

    Attributes:
        steps: Steps done at each record, increasing, int64 [record].
        names: Layers in forward order.
        values: The statistic, float64 [record, layer]; may hold NaN and infinities.
    """

    steps: Steps
    names: tuple[str, ...]
    values: Floats

    @classmethod
    def of(
        cls, steps: Sequence[int], names: Sequence[str], values: Sequence[Sequence[float]]
    ) -> LayerTable:
        """From plain sequences; values are `[record][layer]`."""
        table = np.asarray(values, np.float64).reshape(len(steps), len(names))
        return cls(np.asarray(steps, np.int64), tuple(names), table)

    def __len__(self) -> int:
        return len(self.steps)

    def __bool__(self) -> bool:
        return self.values.size > 0

    def until(self, step: int) -> LayerTable:
        """What was recorded up to and with a step."""
        keep = self.steps <= step
        return LayerTable(self.steps[keep], self.names, self.values[keep])


@dataclass(frozen=True)
class Happening:
    """Something that happened to a run: `healed`, `diverged`, `stopped_early`, `rate_lowered`, with its numbers."""

    step: int
    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataFacts:
    """What is known of the data of a run before its first step, as the network sees it (after preparation).

    Numbers that are not known are NaN, so that no comparison with them holds.

    Attributes:
        task: `classification`, `regression` or empty where it is not known.
        num_train: Training samples.
        num_val: Validation samples.
        num_features: Numbers in one sample.
        kind: `table`, `image`, `sequence` or `codes` (inputs are numbers of an embedding table); empty where not known.
        num_classes: Classes of a classification; 0 for regression.
        num_targets: Numbers to predict: columns of a regression target, classes of a classification.
        class_shares: Share of each class in training, in [0, 1].
        val_class_shares: The same in validation.
        feature_mean: Largest |mean| of a feature of the training part, in absolute numbers.
        feature_std_min: Smallest standard deviation of a feature that varies.
        feature_std_max: Largest standard deviation of a feature.
        feature_rms: Root mean square over all inputs of the training part; about 1 after standardising.
        val_shift: Median over the features of the distance between validation and training mean, in training standard
            deviations.
        val_scale: Median over the features of validation spread / training spread; 1 where they are prepared alike.
        target_mean: Mean of the regression target as it is trained on.
        target_std: Its standard deviation.
        target_min: Its smallest value.
        target_max: Its largest value.
        target_values: How many different values the regression target has in training; 0 where not known.
        num_non_finite: Numbers among inputs and targets that are not finite.
        shared_rows: Share of the validation samples that also stand in training, with their inputs and target.
        leak_column: Name of the column that alone tells the target; empty where none does.
        leak_score: How well it does: AUC or R2 of that column alone.
        order_signal: How far targets are sorted in the order of the training part, in [0, 1]: correlation ratio of the target
            with its place (0 for a shuffled part).
        simple_score: Accuracy or R2 on validation of the better of two simple models, least squares and five nearest neighbours,
            each learned on one half of the training part: whether the inputs know anything of the target.
        simple_train_score: The same models judged on the half they were not learned on; lower than on validation where
            training labels are worse.
        simple_chance: What an answer without inputs reaches on that score.
    """

    task: str = ""
    num_train: int = 0
    num_val: int = 0
    num_features: int = 0
    kind: str = ""
    num_classes: int = 0
    num_targets: int = 0
    class_shares: tuple[float, ...] = ()
    val_class_shares: tuple[float, ...] = ()
    feature_mean: float = math.nan
    feature_std_min: float = math.nan
    feature_std_max: float = math.nan
    feature_rms: float = math.nan
    val_shift: float = math.nan
    val_scale: float = math.nan
    target_mean: float = math.nan
    target_std: float = math.nan
    target_min: float = math.nan
    target_max: float = math.nan
    target_values: int = 0
    num_non_finite: int = 0
    shared_rows: float = 0.0
    leak_column: str = ""
    leak_score: float = math.nan
    order_signal: float = math.nan
    simple_score: float = math.nan
    simple_train_score: float = math.nan
    simple_chance: float = math.nan

    @property
    def chance_accuracy(self) -> float:
        """Share of the commonest class in validation (in training where that is not known); NaN for regression."""
        shares = self.val_class_shares or self.class_shares
        return max(shares) if shares else math.nan

    @property
    def chance_loss(self) -> float:
        """Cross-entropy of the class shares, in nats; for regression the variance of the target as trained."""
        if self.task == "regression":
            return self.target_std**2
        shares = [share for share in self.class_shares if share > 0]
        return -sum(share * math.log(share) for share in shares) if shares else math.nan


@dataclass(frozen=True)
class NetFacts:
    """What is known of the network of a run.

    Attributes:
        num_parameters: Trained numbers; 0 where not known.
        num_outputs: Units of the last layer; 0 where not known.
        usual_outputs: Units that data and loss ask for; 0 where not known.
        loss: Name of the loss, as in the catalogue; empty for an own one.
        has_batch_norm: Whether it normalises over the batch.
    """

    num_parameters: int = 0
    num_outputs: int = 0
    usual_outputs: int = 0
    loss: str = ""
    has_batch_norm: bool = False


@dataclass(frozen=True)
class RunRecord:
    """Everything a rule may look at; equal for a study's run and for somebody's own loop.

    Attributes:
        settings: The run's own configuration as in the study file, every default filled in: `{"data": ..., "model": ...,
            "train": ...}`; empty parts where it is not known (own loops).
        curves: Numbers by name: `train_loss` (mean of the steps since the last record), `train_loss_std` (spread of the steps
            around their trend), `train_loss_begin` and `train_loss_end` (mean of the first and last tenth of them),
            `val_loss`, `val_accuracy`, `val_r2`, `predicted_share` (share of the classes that are ever answered in validation),
            `commonest_answer` (share of the validation samples that get the commonest answer), `clipped_share`, `grad_norm_p90`,
            and where it is watched deeply `sharpness` (largest eigenvalue of the Hessian of the loss).
        layers: Statistics by name: `grad_norm`, `param_norm`, `update_ratio`, `activation_mean`, `activation_std`, `dead_share`,
            `saturated_share`, `unit_spread` (spread across the units of a layer for one and the same sample, root mean square
            over the samples: 0 where all units are copies of each other).
        events: What happened, in order.
        data: Facts of the data.
        net: Facts of the network.
        num_steps: Steps the run was to take.
        steps_per_epoch: Steps of one pass over the training part.
        status: `running`, `ok` or `diverged`.
        steps: Steps taken so far.
        run: Number of the run in its study.
        arm: Number of its recipe.
        name: Label of its recipe.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    layers: Mapping[str, LayerTable] = field(default_factory=dict)
    events: tuple[Happening, ...] = ()
    data: DataFacts = field(default_factory=DataFacts)
    net: NetFacts = field(default_factory=NetFacts)
    num_steps: int = 0
    steps_per_epoch: int = 1
    status: str = "running"
    steps: int = 0
    run: int = 0
    arm: int = 0
    name: str = ""

    def curve(self, name: str) -> Curve:
        """A curve by name; an empty one where it was not recorded."""
        return self.curves.get(name, NO_CURVE)

    def layer(self, name: str) -> LayerTable:
        """A statistic of the layers by name; an empty table where it was not recorded."""
        return self.layers.get(name, LayerTable.of([], [], []))

    def setting(self, path: str, default: Any = None) -> Any:
        """A setting by its path in the study file, for example `train.learning_rate`."""
        found: Any = self.settings
        for key in path.split("."):
            if not isinstance(found, Mapping) or key not in found:
                return default
            found = found[key]
        return found

    @property
    def record_steps(self) -> tuple[int, ...]:
        """Steps at which anything was recorded, increasing."""
        found = {int(step) for curve in self.curves.values() for step in curve.steps}
        found |= {int(step) for table in self.layers.values() for step in table.steps}
        found |= {event.step for event in self.events}
        return tuple(sorted(found))

    @property
    def is_complete(self) -> bool:
        """Whether the run ended."""
        return self.status != "running"

    def before(self, share: float) -> RunRecord:
        """The record as it stood after the first share of training.

        Args:
            share: In [0, 1] of the steps that the run was to take.

        Returns:
            The record without anything later; a run that had not ended by then is `running`.
        """
        return self.until(math.floor(share * self.num_steps + 1e-9))

    def until(self, step: int) -> RunRecord:
        """The record as it stood after a step, see `before`."""
        is_later = step < self.steps
        return replace(
            self,
            curves={name: curve.until(step) for name, curve in self.curves.items()},
            layers={name: table.until(step) for name, table in self.layers.items()},
            events=tuple(event for event in self.events if event.step <= step),
            status="running" if is_later else self.status,
            steps=min(self.steps, step),
        )
