"""Health for anybody's own JAX training loop: the numbers that a study records, and the same rules over them.

Owns `Monitor`. `Monitor.observe` is pure and goes into the compiled step; everything else stays on the host. Must not import
`recipes`, `models`, `data` or anything above.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from flax import nnx

from lanework.health import activations, lost, probes
from lanework.health.diagnose import diagnose
from lanework.health.findings import Finding
from lanework.health.records import Curve, DataFacts, Happening, LayerTable, NetFacts, RunRecord
from lanework.health.rules.measures import name_of
from lanework.health.series import loss_shape

__all__ = ["Monitor"]

PyTree: TypeAlias = Any
Stats: TypeAlias = dict[str, dict[str, jax.Array]]
KINDS = ("diverged", "healed", "rate_lowered", "stopped_early")
"""What can happen to a run; rules know these."""


class Monitor:
    """Watches one training run; a class because records gather in it.

    Layers are the first level of the tree of weights: the keys of a mapping, the attributes of an `nnx.Module`
    (`nnx.state(model, nnx.Param)`).

    Example:
        >>> import jax.numpy as jnp
        >>> params = {"dense": {"kernel": jnp.ones((2, 3))}}
        >>> monitor = Monitor(params, num_steps=100)
        >>> updates = {"dense": {"kernel": jnp.full((2, 3), -0.001)}}
        >>> stats = monitor.observe(params, updates, updates)
        >>> float(stats["update_ratio"]["dense"])
        0.001
        >>> monitor.add(10, loss=0.5, stats=stats)
        >>> monitor.record().layer("update_ratio").names
        ('dense',)
    """

    def __init__(
        self,
        params: PyTree,
        *,
        settings: Mapping[str, Any] | None = None,
        data: DataFacts | None = None,
        module: nnx.Module | None = None,
        outputs: jax.Array | jax.ShapeDtypeStruct | None = None,
        layer_names: Sequence[str] | None = None,
        num_steps: int = 0,
        steps_per_epoch: int = 1,
        name: str = "",
    ) -> None:
        """Set up.

        Args:
            params: The weights, or their shapes.
            settings: What is known of the recipe, in the form of a study file: `{"train": {"learning_rate": 0.1, "optimizer": "sgd",
                "batch_size": 32, "loss": "cross_entropy"}, "model": {"activation": "relu"}}`. The more is said, the more can be told;
                `model.activation` says which values are saturated (so does `model.net`, where it is `gru` or `lstm`).
            data: What is known of the data; `lanework.api.array_facts.array_facts` tells it from arrays.
            module: The network, where it is an `nnx.Module`: says whether it normalises over the batch, and in which order its layers
                were made.
            outputs: What the network gives for some samples, [sample, ..., output], or the shape of it.
            layer_names: The layers in forward order; by default that of `module`, else that of `params`.
            num_steps: Steps that the run is to take.
            steps_per_epoch: Steps of one pass over the training part.
            name: A label for the run.

        Raises:
            ValueError: `layer_names` are not those of `params`.
        """
        self.layer_names = tuple(layer_names or _in_order(_by_layer(params), module))
        if set(self.layer_names) != set(_by_layer(params)):
            raise ValueError(
                f"layer_names must name the first level of params, {', '.join(_by_layer(params))}; got {', '.join(self.layer_names)}. "
                "List each once, in forward order."
            )
        start = RunRecord(
            settings=settings or {},
            data=data or DataFacts(),
            num_steps=num_steps,
            steps_per_epoch=steps_per_epoch,
            name=name,
        )
        self._start = replace(start, net=_net_facts(start, params, module, outputs))
        is_gated = name_of(start.setting("model.net")) in activations.GATED
        squashing = "tanh" if is_gated else name_of(start.setting("model.activation"))
        self._bounds = activations.BOUNDS.get(squashing)
        self._curves: dict[str, tuple[list[int], list[float]]] = {}
        self._layers: dict[str, list[tuple[int, dict[str, float]]]] = {}
        self._events: list[Happening] = []
        self._steps, self._status = 0, "running"

    def observe(
        self,
        params: PyTree,
        grads: PyTree,
        updates: PyTree,
        layer_outputs: Mapping[str, jax.Array] | None = None,
    ) -> Stats:
        """Numbers of one step, as a pure function: call it inside or outside of `jax.jit`, it changes nothing.

        Args:
            params: Weights before the step.
            grads: Their gradients, as the update rule sees them.
            updates: What is added to them.
            layer_outputs: What layers give after their activation on samples that are always the same, `{layer: [sample, ..., unit]}`;
                the first 64 samples are looked at. A network's output belongs to them too; only hidden layers can be dead or
                saturated.

        Returns:
            `{statistic: {layer: scalar}}`: `grad_norm`, `param_norm`, `update_ratio`, and of layers that show what they give also
            `lanework.health.activations.STATISTICS`.
        """
        before, change, slope = (_by_layer(tree) for tree in (params, updates, grads))
        names = self.layer_names
        norm = probes.layer_norms(names, before)
        columns = {
            "grad_norm": probes.layer_norms(names, slope),
            "param_norm": norm,
            "update_ratio": probes.layer_norms(names, change) / (norm + 1e-12),
        }
        told = {name: dict(zip(names, column, strict=True)) for name, column in columns.items()}
        return told | self._seen(layer_outputs or {})

    def _seen(self, layer_outputs: Mapping[str, jax.Array]) -> Stats:
        watched = [
            activations.Layer(name, name, values.shape[-1], self._bounds)
            for name, values in layer_outputs.items()
        ]
        if not watched:
            return {}
        count = next(iter(layer_outputs.values())).shape[0]
        sums = activations.add(
            watched, activations.zero(watched), layer_outputs, weight=jnp.ones((count,))
        )
        names = tuple(layer_outputs)
        told = activations.finish(watched, sums)
        return {key: dict(zip(names, column, strict=True)) for key, column in told.items()}

    def add(
        self,
        step: int,
        *,
        loss: float | Sequence[float] | npt.ArrayLike,
        stats: Mapping[str, Mapping[str, Any]] | None = None,
        val_loss: float | None = None,
        **metrics: float,
    ) -> None:
        """Take a record down, at any steps you like; twenty to forty a run tell most.

        A loss that is not finite makes the run a diverged one, with an event at its step that names the layer where it can be told.

        Args:
            step: Steps taken so far, more than at the record before.
            loss: Training loss; better those of all steps since the last record, from which noise and trend can be told.
            stats: What `observe` gave of the last step.
            val_loss: Loss on the validation part.
            metrics: Others by name: `val_accuracy`, `val_r2`, `clipped_share`, ...

        Raises:
            ValueError: The step is not above that of the record before.
        """
        if step <= self._steps:
            raise ValueError(
                f"step must be above that of the record before, {self._steps}, got {step}. Count all steps of the run."
            )
        losses = np.atleast_1d(np.asarray(loss, np.float64))
        numbers = {"train_loss": float(losses.mean()), **metrics}
        if len(losses) > 1:
            numbers |= {name: float(value) for name, value in loss_shape(losses).items()}
        if val_loss is not None:
            numbers["val_loss"] = val_loss
        for name, value in numbers.items():
            steps, values = self._curves.setdefault(name, ([], []))
            steps.append(step)
            values.append(float(value))
        for name, by_layer in (stats or {}).items():
            row = {layer: float(value) for layer, value in by_layer.items()}
            self._layers.setdefault(name, []).append((step, row))
        self._steps = step
        is_bad = ~np.isfinite(losses)
        if is_bad.any() or not math.isfinite(val_loss or 0.0):
            first = step - len(losses) + 1 + int(is_bad.argmax()) if is_bad.any() else step
            self._lose(first, stats or {})

    def _lose(self, step: int, stats: Mapping[str, Mapping[str, Any]]) -> None:
        """Note the first loss of a run."""
        if self._status == "diverged":
            return
        row = {
            name: np.array([float(by_layer.get(one, 0.0)) for one in self.layer_names])
            for name, by_layer in stats.items()
        }
        # Where all layers are lost, nothing is told of the first.
        row = {name: column for name, column in row.items() if np.isfinite(column).any()}
        found = lost.origin(row, lambda _: self.layer_names, num_steps=1)
        told = {"first_not_finite": found.what, "layer": found.layer} if found.layer else {}
        self._status = "diverged"
        self.happened(step, "diverged", **told)

    def happened(self, step: int, kind: str, **data: Any) -> None:
        """Say what your loop did to the run, so that rules can weigh it.

        Args:
            step: Steps taken by then.
            kind: `stopped_early`, `rate_lowered`, `healed` (it went back to an earlier state) or `diverged` (it was given up; `add`
                says so by itself).
            data: Details.

        Raises:
            ValueError: An unknown kind.
        """
        if kind not in KINDS:
            raise ValueError(
                f"kind must be one of {', '.join(KINDS)}, got {kind!r}. Leave out what is none of these."
            )
        self._events.append(Happening(step, kind, data))

    def finish(self) -> None:
        """Say that the run has ended, so that what can be told of whole runs only is told."""
        if self._status == "running":
            self._status = "ok"

    def record(self) -> RunRecord:
        """Everything that was taken down, as rules see it."""
        return replace(
            self._start,
            curves={name: Curve.of(*pair) for name, pair in self._curves.items()},
            layers={name: self._table(rows) for name, rows in self._layers.items()},
            events=tuple(sorted(self._events, key=lambda event: event.step)),
            status=self._status,
            num_steps=max(self._start.num_steps, self._steps),
            steps=self._steps,
        )

    def _table(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> LayerTable:
        """A statistic in forward order: what comes out of a compiled step has its keys sorted."""
        given = dict.fromkeys(name for _, row in rows for name in row)
        names = [name for name in self.layer_names if name in given]
        names += [name for name in given if name not in names]
        values = [[row.get(name, math.nan) for name in names] for _, row in rows]
        return LayerTable.of([step for step, _ in rows], names, values)

    def findings(self) -> tuple[Finding, ...]:
        """What is the matter with the run as it stands, worst first; nothing for a healthy one."""
        return diagnose(self.record())


def _by_layer(tree: PyTree) -> dict[str, PyTree]:
    """The first level of a tree, in its own order."""
    if not isinstance(tree, Mapping):
        raise TypeError(
            f"weights must be a mapping from layers to their weights, got {type(tree).__name__}. Give a dict, or nnx.state(model, "
            "nnx.Param)."
        )
    return {str(name): below for name, below in tree.items()}


def _in_order(layers: Mapping[str, PyTree], module: nnx.Module | None) -> list[str]:
    """First-level names as the module's attributes were set, most often the forward order."""
    made = [] if module is None else [name for name in vars(module) if name in layers]
    return [*made, *(name for name in layers if name not in made)]


def _net_facts(
    record: RunRecord,
    params: PyTree,
    module: nnx.Module | None,
    outputs: jax.Array | jax.ShapeDtypeStruct | None,
) -> NetFacts:
    loss, data = name_of(record.setting("train.loss")), record.data
    is_single = loss == "binary_cross_entropy" and data.num_classes == 2
    nodes = () if module is None else nnx.iter_graph(module)
    return NetFacts(
        num_parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
        num_outputs=0 if outputs is None else outputs.shape[-1] if len(outputs.shape) > 1 else 1,
        usual_outputs=1 if is_single else data.num_targets,
        loss=loss,
        has_batch_norm=any(isinstance(node, nnx.BatchNorm) for _, node in nodes),
    )
