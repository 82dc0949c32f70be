"""The networks of a study in a table: layers, shapes, parameters, multiply-adds, and the memory of a lane.

For `lanework describe` and `Study.describe`. Trains nothing.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp

from lanework.api.planning import count, size
from lanework.api.preparing import Laid, Prepared, loss_name
from lanework.cohort import assemble, program
from lanework.models.describe import LayerFacts, layer_facts

MOST_NAMES = 4


@dataclass(frozen=True)
class LaneMemory:
    """Memory of one run in training, bytes.

    Attributes:
        weights: Its parameters.
        optimizer: State of its update rule.
        other: What else it carries: batch statistics, averages, weights kept, last losses.
        activations: Estimate of what a step makes on the way, forward and backward, with gradients and new weights.
        total: What the planner reckons with: three copies of what is carried (now, before, and in the making), and a step.
    """

    weights: int
    optimizer: int
    other: int
    activations: int
    total: int


@dataclass(frozen=True)
class Network:
    """A network with the recipes that train it in one program.

    Attributes:
        net: Its name, or that of the user's own module.
        recipes: Names of the recipes.
        input: Shape of a sample.
        outputs: Numbers it gives (per time step where there is a target for each).
        layers: Its layers with parameters.
        num_params: All parameters.
        multiply_adds: Multiply-adds of a forward pass of one sample; training takes about three times that.
        batch_size: Samples per step.
        memory: Memory of a lane.
    """

    net: str
    recipes: tuple[str, ...]
    input: tuple[int, ...]
    outputs: int
    layers: tuple[LayerFacts, ...]
    num_params: int
    multiply_adds: int
    batch_size: int
    memory: LaneMemory


@dataclass(frozen=True)
class Description:
    """The networks of a study; print it."""

    study: str
    networks: tuple[Network, ...]

    def record(self) -> dict[str, Any]:
        """The same as plain values, fit for JSON."""
        record = asdict(self)
        for network in record["networks"]:
            for layer in network["layers"]:
                layer["weights"] = {key: list(shape) for key, shape in layer["weights"].items()}
        return record

    def text(self) -> str:
        """The same as tables."""
        groups: list[list[Network]] = []
        for network in self.networks:
            known = next((group for group in groups if _is_same(group[0], network)), None)
            if known is None:
                groups.append([network])
            else:
                known.append(network)
        head = f"{self.study}: {count(len(groups), 'network')} in {count(len(self.networks), 'program')}"
        return "\n\n".join([head, *(_block(group) for group in groups)])

    def __str__(self) -> str:
        return self.text()


def describe(prepared: Prepared) -> Description:
    """The networks of a prepared study, one for each of its programs."""
    return Description(
        prepared.spec.study, tuple(_network(prepared, laid) for laid in prepared.laid)
    )


def _network(prepared: Prepared, laid: Laid) -> Network:
    bucket = laid.bucket
    dataset = prepared.datasets[bucket.data]
    spec = bucket.inits[0]
    outputs = assemble.num_outputs(loss_name(bucket), dataset)
    net = assemble.network(spec, dataset, outputs=outputs, module=prepared.module)
    is_coded = dataset.input.kind == "tokens"
    dtype = dataset.train.x.dtype if is_coded else jnp.float32
    layers = layer_facts(net, dataset.input.shape, dtype)
    return Network(
        net=spec.net if prepared.module is None else prepared.module.__name__,
        recipes=tuple(prepared.arms[arm].name for arm in bucket.arms),
        input=tuple(dataset.input.shape),
        outputs=outputs,
        layers=layers,
        num_params=sum(layer.num_params for layer in layers),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        batch_size=bucket.shapes.batch_size,
        memory=_memory(laid),
    )


def _memory(laid: Laid) -> LaneMemory:
    lane = program.lane_shapes(*laid.functions)
    guess = laid.estimate
    weights, optimizer = _bytes(lane.params), _bytes(lane.opt_state)
    return LaneMemory(
        weights=weights,
        optimizer=optimizer,
        other=guess.lane_bytes - weights - optimizer,
        activations=guess.step_bytes,
        total=3 * guess.lane_bytes + guess.step_bytes,
    )


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _is_same(one: Network, other: Network) -> bool:
    return (one.net, one.input, one.layers) == (other.net, other.input, other.layers)


def _block(group: list[Network]) -> str:
    """One network as text, with the programs that train it."""
    network = group[0]
    rows: list[tuple[str, ...]] = [("layer", "weights", "output", "parameters", "multiply-adds")]
    rows += [_row(layer) for layer in network.layers]
    rows.append(("total", "", "", _number(network.num_params), _number(network.multiply_adds)))
    shape = f"input {_shape(network.input)}, {count(network.outputs, 'output')}"
    lines = [f"{network.net}: {shape}", *_table(rows)]
    lines.append(
        "  Multiply-adds: a forward pass of one sample. Training takes about three times that."
    )
    return "\n".join([*lines, *(line for one in group for line in _lane_lines(one))])


def _lane_lines(network: Network) -> list[str]:
    """What a lane of one program takes."""
    names = "; ".join(network.recipes[:MOST_NAMES])
    more = len(network.recipes) - MOST_NAMES
    names += f"; ... ({more} more)" if more > 0 else ""
    memory = network.memory
    return [
        f"  A lane of {names}:",
        f"    {size(memory.total)} with batches of {network.batch_size}: three times weights ({size(memory.weights)}), optimizer state "
        f"({size(memory.optimizer)}) and other state ({size(memory.other)}),",
        f"    and about {size(memory.activations)} for the values of a step",
    ]


def _row(layer: LayerFacts) -> tuple[str, ...]:
    shapes = [f"{key} {_shape(shape)}" for key, shape in layer.weights.items()]
    shown = ", ".join(shapes[:3]) + (f", ... ({len(shapes) - 3} more)" if len(shapes) > 3 else "")
    output = "" if layer.output is None else _shape(layer.output)
    return layer.name, shown, output, _number(layer.num_params), _number(layer.multiply_adds)


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        text = [cell.ljust(width) for cell, width in zip(row[:3], widths[:3], strict=True)]
        text += [cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True)]
        lines.append(f"  {'  '.join(text)}".rstrip())
    return lines


def _number(value: int) -> str:
    return f"{value:,}".replace(",", " ")


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) if math.prod(shape) and shape else "1"
