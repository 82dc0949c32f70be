"""Programs: the functions of one run, mapped over lanes, sharded over devices and compiled.

Owns `Strategy` (how many lanes, how grouped) and the compiled programs of a bucket. Knows no runs, no files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from lanework.cohort import devices
from lanework.cohort.lanes import Packed, packed
from lanework.cohort.step import (
    Batches,
    Lane,
    Problem,
    Segment,
    Update,
    Watch,
    fresh_lane,
    look_deeper,
    train_segment,
    train_steps,
)

PyTree: TypeAlias = Any
Compiled: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class Strategy:
    """How lanes are laid out in one call.

    Attributes:
        num_devices: Devices over which lanes are sharded.
        width: Lanes of one call, all devices together; a multiple of `num_devices * group`.
        group: Lanes vectorised together by `vmap`; the groups of a device follow each other (`lax.map`). 1 means no
            vectorisation, `width / num_devices` means one group.
    """

    num_devices: int
    width: int
    group: int

    def describe(self) -> str:
        """In words, for the plan and the report."""
        per_device = self.width // self.num_devices
        inner = "one at a time" if self.group == 1 else f"vectorised {self.group} at a time"
        return f"{self.width} lanes over {self.num_devices} device(s), {per_device} each, {inner}"


@dataclass(frozen=True)
class Shapes:
    """Static sizes of a bucket's programs.

    Attributes:
        max_steps: Steps of the longest call: a segment, or a piece of one where the training part is streamed.
        batch_size: Samples per batch.
        chunk: Samples per evaluation chunk.
        score_chunk: Samples per chunk when finished runs are scored.
        hypers: Names of the traced hyperparameters, sorted.
        has_weights: Whether samples of a batch come with weights.
        buffer_rows: Rows of the training part that a call brings with it; 0 where the whole part is on the devices.
    """

    max_steps: int
    batch_size: int
    chunk: int
    score_chunk: int
    hypers: tuple[str, ...]
    has_weights: bool = False
    buffer_rows: int = 0


def over_lanes(function: Callable[..., Any], *, group: int) -> Callable[..., Any]:
    """Map a function of one run over the leading axis, `group` lanes vectorised at a time."""

    def mapped(*arguments: PyTree) -> PyTree:
        width = jax.tree.leaves(arguments)[0].shape[0]
        # A group of one stays a plain loop even where it is alone: vmap over one lane rounds differently.
        if group == 1:
            return lax.map(lambda xs: function(*xs), arguments)
        if group >= width:
            return jax.vmap(function)(*arguments)
        return lax.map(lambda xs: function(*xs), arguments, batch_size=group)

    return mapped


def _sharded(
    function: Callable[..., Any], mesh: Mesh, *, specs: Sequence[PartitionSpec]
) -> Callable[..., Any]:
    lane = PartitionSpec(devices.LANE_AXIS)
    return jax.shard_map(
        function, mesh=mesh, in_specs=tuple(specs), out_specs=lane, check_vma=False
    )


def segment_program(
    problem: Problem, update: Update, watch: Watch, *, strategy: Strategy, mesh: Mesh, chunk: int
) -> Callable[..., tuple[Lane, Packed]]:
    """`(lanes, hypers, batches, num_steps, data) -> (lanes, segments)` over all lanes of a call, not yet compiled."""

    def local(
        lanes: Lane, hypers: PyTree, batches: Batches, num_steps: jax.Array, data: PyTree
    ) -> tuple[Lane, Packed]:
        def one(lane: Lane, hypers: PyTree, batches: Batches) -> tuple[Lane, Segment]:
            return train_segment(
                problem,
                update,
                watch,
                lane,
                hypers=hypers,
                batches=batches,
                num_steps=num_steps,
                data=data,
                chunk=chunk,
            )

        after, told = over_lanes(one, group=strategy.group)(lanes, hypers, batches)
        return after, packed(told)

    lane, whole = PartitionSpec(devices.LANE_AXIS), PartitionSpec()
    return _sharded(local, mesh, specs=(lane, lane, lane, whole, whole))


def steps_program(
    problem: Problem, update: Update, watch: Watch, *, strategy: Strategy, mesh: Mesh
) -> Callable[..., tuple[Lane, Packed]]:
    """`(lanes, hypers, batches, num_steps, data) -> (lanes, series)`: a segment's first steps, without looking or evaluating."""
    plain = watch._replace(is_monitored=False)

    def local(
        lanes: Lane, hypers: PyTree, batches: Batches, num_steps: jax.Array, data: PyTree
    ) -> tuple[Lane, Packed]:
        def one(lane: Lane, hypers: PyTree, batches: Batches) -> tuple[Lane, dict[str, jax.Array]]:
            return train_steps(
                problem,
                update,
                plain,
                lane,
                hypers=hypers,
                batches=batches,
                num_steps=num_steps,
                data=data,
            )[:2]

        after, series = over_lanes(one, group=strategy.group)(lanes, hypers, batches)
        return after, packed(series)

    lane, whole = PartitionSpec(devices.LANE_AXIS), PartitionSpec()
    return _sharded(local, mesh, specs=(lane, lane, lane, whole, whole))


def deep_program(
    problem: Problem, *, strategy: Strategy, mesh: Mesh, batch_size: int
) -> Callable[..., tuple[Lane, Packed]]:
    """`(lanes, hypers, rows, is_due, data) -> (lanes, {statistic: [lane, layer]})`: a close look between two segments."""

    def local(
        lanes: Lane, hypers: PyTree, rows: jax.Array, is_due: jax.Array, data: PyTree
    ) -> tuple[Lane, Packed]:
        def one(
            lane: Lane, hypers: PyTree, rows: jax.Array, is_due: jax.Array
        ) -> tuple[Lane, dict[str, jax.Array]]:
            return look_deeper(
                problem,
                lane,
                hypers=hypers,
                rows=rows,
                is_due=is_due,
                data=data,
                batch_size=batch_size,
            )

        after, told = over_lanes(one, group=strategy.group)(lanes, hypers, rows, is_due)
        return after, packed(told)

    lane, whole = PartitionSpec(devices.LANE_AXIS), PartitionSpec()
    return _sharded(local, mesh, specs=(lane, lane, lane, lane, whole))


def init_program(
    problem: Problem, update: Update, watch: Watch, *, mesh: Mesh
) -> Callable[[jax.Array], Lane]:
    """`seeds uint32 [lane] -> lanes` before their first step, not yet compiled."""

    def one(seed: jax.Array) -> Lane:
        return fresh_lane(problem, update, watch, seed=seed)

    # One lane at a time: data-independent of the width, so that a run starts from the same bits in every cohort.
    lane = PartitionSpec(devices.LANE_AXIS)
    return _sharded(over_lanes(one, group=1), mesh, specs=(lane,))


def score_program(
    problem: Problem,
    *,
    strategy: Strategy,
    mesh: Mesh,
    is_stacked: bool = False,
    has_folds: bool = False,
) -> Callable[..., tuple[PyTree, dict[str, jax.Array]]]:
    """`(weights, hypers, sums, batch) -> (sums, {metric: [lane]})`; weights are `(params, state)`; not yet compiled.

    One chunk of samples is added to the sums, and the metrics of all chunks so far come back, so that one program scores parts
    of every size. With folds each lane is scored on samples of its own, [lane, sample, ...].
    """
    add, finish = problem.evaluate, problem.finish
    if add is None or finish is None:
        raise ValueError("a problem without `evaluate` cannot be scored")
    if is_stacked:
        add = partial(add, is_stacked=True)

    def local(
        weights: PyTree, hypers: PyTree, sums: PyTree, batch: PyTree
    ) -> tuple[PyTree, dict[str, jax.Array]]:
        def one(
            weights: PyTree, hypers: PyTree, sums: PyTree, own: PyTree = batch
        ) -> tuple[PyTree, dict[str, jax.Array]]:
            params, state = weights
            added = add(params, state, own, sums, hypers=hypers)
            return added, finish(added)

        given = (weights, hypers, sums, batch) if has_folds else (weights, hypers, sums)
        return over_lanes(one, group=strategy.group)(*given)

    lane = PartitionSpec(devices.LANE_AXIS)
    return _sharded(local, mesh, specs=(lane, lane, lane, lane if has_folds else PartitionSpec()))


def kept_weights(lane: Lane) -> tuple[PyTree, PyTree]:
    """Parameters and state that a finished run hands over: the best ones or an average where those are kept, else the last."""
    if jax.tree.leaves(lane.kept_params):
        return lane.kept_params, lane.kept_state
    return lane.params, lane.state


def lane_shapes(problem: Problem, update: Update, watch: Watch) -> Lane:
    """Shapes and types of ONE lane (no run axis)."""
    seed = jax.ShapeDtypeStruct((), jnp.uint32)
    return jax.eval_shape(lambda s: fresh_lane(problem, update, watch, seed=s), seed)


def stacked(tree: PyTree, width: int, sharding: Any) -> PyTree:
    """Shapes of `width` stacked lanes with their sharding."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((width, *leaf.shape), leaf.dtype, sharding=sharding), tree
    )


@dataclass(frozen=True)
class Arguments:
    """Shapes of everything a bucket's programs take, for compiling ahead of time."""

    seeds: PyTree
    lanes: PyTree
    hypers: PyTree
    batches: PyTree
    num_steps: PyTree
    data: Mapping[str, PyTree]


def arguments(
    problem: Problem,
    update: Update,
    watch: Watch,
    *,
    strategy: Strategy,
    mesh: Mesh,
    shapes: Shapes,
    data: Mapping[str, PyTree],
) -> Arguments:
    """Shapes of all arguments of the programs of a bucket at one width."""
    lane, whole = devices.by_lane(mesh), devices.everywhere(mesh)
    width = strategy.width
    scalar = jax.ShapeDtypeStruct((width,), jnp.float32, sharding=lane)
    table = (width, shapes.max_steps, shapes.batch_size)
    weight = jax.ShapeDtypeStruct(table, jnp.float32, sharding=lane)
    return Arguments(
        seeds=jax.ShapeDtypeStruct((width,), jnp.uint32, sharding=lane),
        lanes=stacked(lane_shapes(problem, update, watch), width, lane),
        hypers=dict.fromkeys(shapes.hypers, scalar),
        batches=Batches(
            jax.ShapeDtypeStruct(table, jnp.int32, sharding=lane),
            weight if shapes.has_weights else {},
        ),
        num_steps=jax.ShapeDtypeStruct((), jnp.int32, sharding=whole),
        data=jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), dict(data)
        ),
    )
