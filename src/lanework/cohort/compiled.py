"""Compiled programs of one bucket: built in background threads, one per width, once each.

Owns the compiling and the device copies of the data. A class because executables, threads and device buffers have a
lifetime.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import jax
import numpy as np

from lanework.cohort import devices, executables, lanes, program
from lanework.cohort.program import Shapes, Strategy
from lanework.cohort.step import FOLD, FOLD_ROWS, Batches, Lane, Problem, Update, Watch
from lanework.cohort.streaming import Feeder
from lanework.health import deep

PyTree: TypeAlias = Any
# Name of the sample of the training part on which finished runs are scored, where the part is large.
SAMPLE = "train_sample"
SMALL_NETWORK = 500_000


class Programs:
    """Everything a cohort calls, compiled ahead of time.

    Attributes:
        problem: What is trained.
        watch: What is looked at.
        strategy: Layout of the widest call.
        shapes: Static sizes.
        parts: Names of the parts scored at the end.
        lane_sharding: How lanes lie on the devices.
        compile_seconds: Seconds of tracing and compiling by program name, as they finish.
    """

    def __init__(
        self,
        problem: Problem,
        update: Update,
        watch: Watch,
        *,
        strategy: Strategy,
        shapes: Shapes,
        data: Placed,
        pool: Executor,
        inits: Sequence[Callable[..., Any]] = (),
        score_parts: Sequence[str] = ("train", "val", "test"),
        identity: object = None,
        has_pieces: bool = False,
    ) -> None:
        """Set up; nothing is compiled before `prepare`.

        Args:
            problem: What is trained.
            update: How weights change.
            watch: What is looked at.
            strategy: Layout of the widest call.
            shapes: Static sizes.
            data: The parts, see `place`.
            pool: Where compiling happens.
            inits: Initialisers `key -> (params, state)` by `Run.init`; the problem's own when empty.
            score_parts: Parts of `data` on which finished runs are scored.
            identity: Everything the functions were built from, with a faithful `repr`; then executables are kept on disk
                between processes. None where that cannot be known (functions from elsewhere).
            has_pieces: Whether segments are longer than a call and come in pieces.
        """
        self.problem, self.update, self.watch = problem, update, watch
        self.strategy, self.shapes = strategy, shapes
        self.mesh = devices.lane_mesh(strategy.num_devices)
        self.lane_sharding = devices.by_lane(self.mesh)
        self.parts = tuple(part for part in score_parts if part in data.host and problem.evaluate)
        self.compile_seconds: dict[str, float] = {}
        self.has_pieces = has_pieces
        self._inits = tuple(inits) or (problem.init,)
        self._data = data
        self._pool = pool
        self._identity = identity
        self._built: dict[tuple[Any, ...], Future[Any]] = {}
        self._segment_seconds = 0.0
        self._hypers: tuple[dict[str, np.ndarray], dict[str, jax.Array]] | None = None

    def prepare(self, *, init_kinds: Sequence[int] = (0,)) -> None:
        """Start compiling what a cohort is sure to call, in the order in which it will be needed."""
        width = self.strategy.width
        self._future(("segment", width))
        if self.has_pieces:
            self._future(("steps", width))
        if self.watch.deep_every:
            self._future(("deep", width))
        for kind in init_kinds:
            self._future(("init", kind, width))
        if self.parts:
            self._future(("score", width))

    def wait(self, *, is_stopped: Callable[[], bool] = lambda: False) -> float:
        """Wait until training can start; gives the seconds waited (scoring may go on compiling meanwhile).

        Args:
            is_stopped: Asked a few times a second.

        Raises:
            KeyboardInterrupt: `is_stopped` said so.
        """
        begun = time.perf_counter()
        needed = {future for what, future in self._built.items() if what[0] != "score"}
        while needed:
            done, needed = wait(needed, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            if is_stopped():
                raise KeyboardInterrupt
        return time.perf_counter() - begun

    def wait_for_all(self) -> None:
        """Wait until nothing is compiling for these programs any more, scoring included."""
        for future in self._built.values():
            future.result()

    def init(self, kind: int, width: int) -> Callable[[np.ndarray], Lane]:
        """The program from seeds [lane] to lanes before their first step."""
        compiled = self._future(("init", kind, width)).result()
        return lambda seeds: compiled(lanes.to_devices(seeds, self.lane_sharding))

    def segment(self, width: int) -> Callable[..., tuple[Lane, Any]]:
        """The program of one training segment at one width; takes and tells host arrays but for lanes and streamed rows."""
        return self._training(("segment", width))

    def steps(self, width: int) -> Callable[..., tuple[Lane, Any]]:
        """The program of the first steps of a segment that comes in pieces; gives the lanes and `{name: [lane, step]}`, host arrays."""
        return self._training(("steps", width))

    def _training(self, what: tuple[Any, ...]) -> Callable[..., tuple[Lane, Any]]:
        compiled = self._future(what).result()

        def call(
            carried: Lane,
            hypers: Mapping[str, np.ndarray],
            batches: Batches,
            num_steps: int,
            train: PyTree = None,
        ) -> tuple[Lane, Any]:
            begun = time.perf_counter()
            put = self._placed_hypers(hypers), lanes.to_devices(batches, self.lane_sharding)
            steps = jax.device_put(np.int32(num_steps), devices.everywhere(self.mesh))
            data = self._data.device if train is None else {**self._data.device, "train": train}
            after, packed = compiled(carried, *put, steps, data)
            told = lanes.unpacked(packed)
            self._segment_seconds = time.perf_counter() - begun
            return after, told

        return call

    def _placed_hypers(self, hypers: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Hyperparameters on the devices; most segments have those of the one before."""
        known = self._hypers
        if known is None or not all(
            np.array_equal(hypers[name], known[0][name]) for name in hypers
        ):
            copied = {name: np.array(column) for name, column in hypers.items()}
            self._hypers = known = copied, lanes.to_devices(copied, self.lane_sharding)
        return known[1]

    def deep(self, width: int) -> Callable[..., tuple[Lane, dict[str, np.ndarray]]]:
        """The program of a close look at all lanes, see `lanework.cohort.step.look_deeper`; takes host arrays but for lanes and rows."""
        compiled = self._future(("deep", width)).result()

        def call(
            carried: Lane,
            hypers: Mapping[str, np.ndarray],
            batches: Batches,
            is_due: np.ndarray,
            train: PyTree = None,
        ) -> tuple[Lane, dict[str, np.ndarray]]:
            rows = self._looked_at(batches)
            put = lanes.to_devices((rows, is_due), self.lane_sharding)
            data = self._data.device if train is None else {**self._data.device, "train": train}
            after, packed = compiled(carried, self._placed_hypers(hypers), *put, data)
            return after, lanes.unpacked(packed)

        return call

    def _num_looked_at(self) -> int:
        steps = self.shapes.max_steps * self.shapes.batch_size
        return deep.num_samples(min(self.num_samples("train"), steps))

    def _looked_at(self, batches: Batches) -> np.ndarray:
        """Rows of the training part for a close look, int32 [lane, sample].

        The same for all runs at all times, evenly spread; where the part is streamed or holds the rows of other folds, the first ones of
        the segment.
        """
        width, count = len(batches.rows), self._num_looked_at()
        if self.shapes.buffer_rows or self._data.folds:
            first = batches.rows.reshape(width, -1)[:, :count]
            return np.where(first < 0, ~first, first)
        rows = np.arange(count) * self.num_samples("train") // count
        return np.broadcast_to(rows.astype(np.int32), (width, count))

    def score(self, part: str) -> Callable[..., dict[str, jax.Array]]:
        """From weights `(params, state)` and hyperparameters [lane] to metrics on one part, `{metric: [lane]}`.

        Always as many lanes as the widest call has.
        """
        width = self.strategy.width
        compiled = self._future(("score", width)).result()

        def call(weights: PyTree, hypers: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
            put = lanes.to_devices(dict(hypers), self.lane_sharding)
            sums = lanes.to_devices(self._zero_sums(width), self.lane_sharding)
            metrics: dict[str, jax.Array] = {}
            for batch in self._score_batches(part, hypers):
                chunk = jax.device_put(batch, self._score_sharding())
                sums, metrics = compiled(weights, put, sums, chunk)
            return jax.block_until_ready(metrics)

        return call

    def feeder(self) -> Feeder | None:
        """What brings the rows of the training part, call by call; None where they all are on the devices."""
        if not self.shapes.buffer_rows:
            return None
        part, size = self._data.host["train"], self.shapes.buffer_rows
        return Feeder(part, num_rows=size, put=self._everywhere)

    def most_orders(self) -> int | None:
        """How many different orders of samples a streamed call can serve; None where the buffer takes all samples."""
        shapes = self.shapes
        if shapes.buffer_rows >= self.num_samples("train"):
            return None
        return shapes.buffer_rows // (shapes.max_steps * shapes.batch_size)

    def blank(self) -> PyTree:
        """A buffer of zeros for trials; None where the training part is on the devices."""
        if not self.shapes.buffer_rows:
            return None
        zeros = {
            name: np.zeros(leaf.shape, leaf.dtype)
            for name, leaf in self._data_shapes()["train"].items()
        }
        return self._everywhere(zeros)

    def _everywhere(self, tree: PyTree) -> PyTree:
        return jax.device_put(tree, devices.everywhere(self.mesh))

    def _data_shapes(self) -> Mapping[str, PyTree]:
        """Shapes of the parts as a training call takes them."""
        shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), self._data.device)
        rows = self.shapes.buffer_rows
        if not rows:
            return dict(shapes)
        buffer = {
            name: jax.ShapeDtypeStruct(
                (rows, *array.shape[1:]), jax.dtypes.canonicalize_dtype(array.dtype)
            )
            for name, array in self._data.host["train"].items()
        }
        return {**shapes, "train": buffer | {"number": jax.ShapeDtypeStruct((rows,), np.int32)}}

    def kept(self, carried: Lane) -> PyTree:
        """Weights `(params, state)` that finished runs hand over, stacked by lane."""
        return program.kept_weights(carried)

    def narrower(self, width: int, num_active: int, *, segments_left: float) -> int | None:
        """A width to shrink to, or None to stay.

        Shrinking never changes a number (groups keep their size, there are only fewer of them), so this may look at
        a clock: a narrower program is worth compiling when what it saves is more than about two compilations.
        """
        quantum = self.strategy.num_devices * self.strategy.group
        fitting = [w for w in lanes.widths(self.strategy.width, quantum) if num_active <= w < width]
        if not fitting:
            return None
        target = min(fitting)
        if ("segment", target) in self._built:
            return target if self._built[("segment", target)].done() else None
        compile_s = self.compile_seconds.get(f"segment {self.strategy.width}", 1.0)
        saved = segments_left * self._segment_seconds * (1.0 - target / width)
        if saved > 2.0 * compile_s:
            self._future(("segment", target))
        return None

    def num_samples(self, part: str) -> int:
        """Samples of one part of the data."""
        return len(next(iter(self._data.host[part].values())))

    def _score_batches(
        self, part: str, hypers: Mapping[str, np.ndarray]
    ) -> Iterator[dict[str, np.ndarray]]:
        """Chunks of a part; with folds one for each lane, stacked."""
        size = self.shapes.score_chunk
        if not self._data.folds:
            yield from _chunks(_scored(self._data.host, part), size)
            return
        of_lane = hypers[FOLD].astype(np.intp)
        parts = {fold: _scored(self._data.folds[fold], part) for fold in set(of_lane.tolist())}
        most = max(len(next(iter(arrays.values()))) for arrays in parts.values())
        chunks = {fold: _chunks(arrays, size, count=most) for fold, arrays in parts.items()}
        for _ in range(0, most, size):
            now = {fold: next(chunk) for fold, chunk in chunks.items()}
            yield jax.tree.map(lambda *leaves: np.stack(leaves), *[now[fold] for fold in of_lane])

    def _score_sharding(self) -> Any:
        return self.lane_sharding if self._data.folds else devices.everywhere(self.mesh)

    def _zero_sums(self, width: int) -> PyTree:
        make = self.problem.zero_sums
        one = jax.eval_shape(make) if make else {}
        return jax.tree.map(lambda leaf: np.zeros((width, *leaf.shape), leaf.dtype), one)

    def _future(self, what: tuple[Any, ...]) -> Future[Any]:
        if what not in self._built:
            self._built[what] = self._pool.submit(self._compile, what)
        return self._built[what]

    def _compile(self, what: tuple[Any, ...]) -> Any:
        begun = time.perf_counter()
        strategy = self._at_width(what[-1])
        local = self.mesh.devices.ravel().tolist()
        lowered, name, compiled = None, "", None
        if executables.is_on():
            identity = self._identity
            if identity is None:
                # Functions from elsewhere are known by what they were traced to, so tracing cannot be saved.
                lowered = self._lowered(what, strategy)
                # The same operations may belong to states of other types, so the trees count too.
                identity = (lowered.as_text(), str(lowered.in_tree), str(lowered.out_tree))
            name = executables.key(identity, strategy, self.watch, self.shapes, what)
            compiled = executables.load(name, local)
        is_new = compiled is None
        if compiled is None:
            compiled = (lowered or self._lowered(what, strategy)).compile(
                compiler_options=self._options(what)
            )
        self.compile_seconds[" ".join(map(str, what))] = time.perf_counter() - begun
        if name and is_new:
            executables.save(name, compiled)
        return compiled

    def _lowered(self, what: tuple[Any, ...], strategy: Strategy) -> jax.stages.Lowered:
        shapes = program.arguments(
            self.problem,
            self.update,
            self.watch,
            strategy=strategy,
            mesh=self.mesh,
            shapes=self.shapes,
            data=self._data_shapes(),
        )
        kind = what[0]
        function: Callable[..., Any]
        taken: tuple[Any, ...]
        if kind == "segment":
            function = program.segment_program(
                self.problem,
                self.update,
                self.watch,
                strategy=strategy,
                mesh=self.mesh,
                chunk=self.shapes.chunk,
            )
            taken = (shapes.lanes, shapes.hypers, shapes.batches, shapes.num_steps, shapes.data)
        elif kind == "steps":
            function = program.steps_program(
                self.problem, self.update, self.watch, strategy=strategy, mesh=self.mesh
            )
            taken = (shapes.lanes, shapes.hypers, shapes.batches, shapes.num_steps, shapes.data)
        elif kind == "deep":
            function = program.deep_program(
                self.problem, strategy=strategy, mesh=self.mesh, batch_size=self.shapes.batch_size
            )
            taken = (shapes.lanes, shapes.hypers, *self._look_shapes(what[1]), shapes.data)
        elif kind == "init":
            problem = self.problem._replace(init=self._inits[what[1]])
            function = program.init_program(problem, self.update, self.watch, mesh=self.mesh)
            taken = (shapes.seeds,)
        else:
            function = program.score_program(
                self.problem,
                strategy=strategy,
                mesh=self.mesh,
                is_stacked=self.update.is_stacked(),
                has_folds=bool(self._data.folds),
            )
            weights = program.kept_weights(shapes.lanes)
            taken = (weights, shapes.hypers, self._sum_shapes(what[1]), self._batch_shapes())
        return jax.jit(function).lower(*taken)

    def _look_shapes(self, width: int) -> tuple[PyTree, PyTree]:
        shape, sharding = (width, self._num_looked_at()), self.lane_sharding
        rows = jax.ShapeDtypeStruct(shape, np.int32, sharding=sharding)
        return rows, jax.ShapeDtypeStruct((width,), np.bool_, sharding=sharding)

    def _sum_shapes(self, width: int) -> PyTree:
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.lane_sharding),
            self._zero_sums(width),
        )

    def _batch_shapes(self) -> PyTree:
        sharding = self._score_sharding()
        batch = next(_chunks(_scored(self._data.host, self.parts[0]), self.shapes.score_chunk))
        lead = (self.strategy.width,) if self._data.folds else ()
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((*lead, *leaf.shape), leaf.dtype, sharding=sharding),
            batch,
        )

    def _options(self, what: tuple[Any, ...]) -> dict[str, str | bool]:
        """Settings of XLA on a CPU: one thread per device where lanes are sharded, no hard thinking for small initialisers."""
        if jax.default_backend() != "cpu":
            return {}
        # The devices are the cores already: threads inside an operation would only get into each other's way.
        options: dict[str, str | bool] = {}
        if self.strategy.num_devices > 1:
            options["xla_cpu_multi_thread_eigen"] = False
        if what[0] != "init":
            return options
        # Initial weights are drawn once, for a small network in less time than LLVM takes to speed that up.
        lane = program.lane_shapes(self.problem, self.update, self.watch)
        num_params = sum(leaf.size for leaf in jax.tree.leaves(lane.params))
        if num_params < SMALL_NETWORK:
            options["xla_backend_optimization_level"] = "0"
        return options

    def _at_width(self, width: int) -> Strategy:
        per_device = width // self.strategy.num_devices
        return replace(self.strategy, width=width, group=min(self.strategy.group, per_device))


def _scored(host: Mapping[str, Mapping[str, Any]], part: str) -> Mapping[str, Any]:
    """Where a part is scored: on a sample of the training part where there is one."""
    return host[SAMPLE if part == "train" and SAMPLE in host else part]


def _chunks(
    data: Mapping[str, Any], size: int, *, count: int = 0
) -> Iterator[dict[str, np.ndarray]]:
    """Equal chunks of a part with `weight` [size], 0 where there are no rows left (host arrays); at least `count` rows in all."""
    least, count = count, len(next(iter(data.values())))
    for first in range(0, max(count, least), size):
        position = np.arange(first, first + size)
        weight = (position < count).astype(np.float32)
        rows = np.minimum(position, count - 1)
        yield {name: array[rows] for name, array in data.items()} | {"weight": weight}


@dataclass(frozen=True)
class Placed:
    """The parts of a data set where they are needed.

    Attributes:
        device: `train` and `val` on every device, for the training segments.
        host: All parts as NumPy arrays or memory-mapped rows, for scoring chunk by chunk and for streaming.
        folds: The parts of each fold, for scoring; empty without cross-validation. Then `train` and `val` hold all folds.
    """

    device: Mapping[str, Mapping[str, jax.Array]]
    host: Mapping[str, Mapping[str, np.ndarray]]
    folds: tuple[Mapping[str, Mapping[str, np.ndarray]], ...] = ()


def place(
    data: Mapping[str, Mapping[str, Any]],
    *,
    num_devices: int,
    is_streamed: bool = False,
    folds: Sequence[Mapping[str, Mapping[str, Any]]] = (),
) -> Placed:
    """Put what every segment needs on every device, once.

    Args:
        data: Parts by name.
        num_devices: On how many devices.
        is_streamed: The training part stays where it is: its rows come with each call.
        folds: Parts of each fold; `data` then holds all folds, see `lanework.data.merged`.
    """
    whole = devices.everywhere(devices.lane_mesh(num_devices))
    device = {
        part: {name: jax.device_put(array[:], whole) for name, array in data[part].items()}
        for part in ("train", "val")
        if part in data and not (is_streamed and part == "train")
    }
    if folds:
        rows = np.array([len(next(iter(fold["val"].values()))) for fold in folds], np.int32)
        device["val"][FOLD_ROWS] = jax.device_put(rows, whole)
    return Placed(device, data, tuple(folds))
