"""The host's side of a cohort: segment after segment, which runs are in which lanes, who goes on, who leaves.

Owns the bookkeeping of runs in lanes; what a segment means for a run is judged by `judging`. Writes no files and prints nothing: `train` yields `Tick`s, and whoever called
it decides what to store, when to save a snapshot, and when to stop. Decisions depend on results only, never on
clocks, so a resumed cohort makes the same ones.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

from lanework.cohort import judging, streaming
from lanework.cohort import lanes as lane_tools
from lanework.cohort.compiled import Programs
from lanework.cohort.runs import (
    BatchOrder,
    Drawn,
    Event,
    Finished,
    Order,
    Plateau,
    Progress,
    Rules,
    Run,
    Tick,
    by_seed,
)
from lanework.cohort.step import Batches, Lane
from lanework.health import lost
from lanework.health.series import loss_shape
from lanework.store import Layers

PyTree: TypeAlias = Any


@dataclass
class _Cohort:
    """The state with a lifetime: lanes on the devices, and which run sits where."""

    programs: Programs
    rules: Rules
    order: Order
    runs: dict[int, Run]
    pending: list[int]
    slots: list[int | None]
    lanes: Lane | None
    width: int
    feeder: streaming.Feeder | None = None
    progress: dict[int, Progress] = field(default_factory=dict)
    waiting: list[tuple[int, PyTree]] = field(default_factory=list)

    def active(self) -> list[int]:
        """Slots in which a run is training."""
        return [slot for slot, run in enumerate(self.slots) if run is not None]


def train(
    programs: Programs,
    runs: Sequence[Run],
    *,
    rules: Rules,
    order: Order | BatchOrder,
    start: tuple[PyTree, Mapping[str, Any]] | None = None,
) -> Iterator[Tick]:
    """Train runs side by side until each has finished, diverged for good, or stopped early.

    Args:
        programs: The compiled programs of their bucket.
        runs: The runs; more than lanes are trained as lanes come free.
        rules: What the host decides by.
        order: Which samples runs see; a function of seed and steps where they depend on nothing else.
        start: What `Tick.snapshot` gave earlier, to go on from there.

    Yields:
        One tick per call of a compiled program.
    """
    drawing = order if isinstance(order, Order) else by_seed(order)
    cohort = (
        _begin(programs, runs, rules, drawing)
        if start is None
        else _restore(programs, runs, rules, drawing, start)
    )
    cohort.feeder = programs.feeder()
    try:
        while True:
            begun = time.perf_counter()
            _fill(cohort)
            if not cohort.active():
                break
            yield from _advance(cohort, begun)
    finally:
        if cohort.feeder is not None:
            cohort.feeder.close()
    if cohort.waiting:
        begun = time.perf_counter()
        finished = _score_waiting(cohort)
        yield Tick(
            [], [], [], finished, 0, 0, time.perf_counter() - begun, lambda: _snapshot(cohort)
        )


def _begin(programs: Programs, runs: Sequence[Run], rules: Rules, order: Order) -> _Cohort:
    width = programs.strategy.width
    return _Cohort(
        programs=programs,
        rules=rules,
        order=order,
        runs={run.run: run for run in runs},
        pending=[run.run for run in runs],
        slots=[None] * width,
        lanes=None,
        width=width,
    )


def _fill(cohort: _Cohort) -> None:
    """Put pending runs into free slots."""
    free = [slot for slot, run in enumerate(cohort.slots) if run is None]
    chosen = list(zip(free, cohort.pending, strict=False))
    if not chosen:
        return
    cohort.pending = cohort.pending[len(chosen) :]
    for slot, number in chosen:
        cohort.slots[slot] = number
        cohort.progress[number] = Progress(run=number)
    seeds = np.zeros((cohort.width,), np.uint32)
    for slot, number in chosen:
        seeds[slot] = cohort.runs[number].seed
    inits = {slot: cohort.runs[number].init for slot, number in chosen}
    kinds = sorted(set(inits.values()))
    if cohort.lanes is None and len(kinds) == 1:
        cohort.lanes = cohort.programs.init(kinds[0], cohort.width)(seeds)
        return
    merged = None if cohort.lanes is None else lane_tools.to_host(cohort.lanes)
    for kind in kinds:
        fresh = lane_tools.to_host(cohort.programs.init(kind, cohort.width)(seeds))
        mask = np.array([inits.get(slot) == kind for slot in range(cohort.width)])
        merged = fresh if merged is None else lane_tools.merge(mask, fresh, merged)
    cohort.lanes = lane_tools.to_devices(merged, cohort.programs.lane_sharding)


def _advance(cohort: _Cohort, begun: float) -> Iterator[Tick]:
    """One segment: train (in one call or several), read, decide, move."""
    called = _called(cohort)
    num_steps = _segment_length(cohort, called[0])
    drawn = _draw(cohort, called, num_steps)
    counts = np.zeros((cohort.width, num_steps), np.int64)
    for slot in called:
        counts[slot] = np.count_nonzero(drawn[_order_key(cohort, slot)][0] >= 0, axis=1)
    before, after = cohort.lanes, cohort.lanes
    hypers, pieces, mark = _hypers(cohort), [], begun
    cuts = streaming.cuts(num_steps, cohort.programs.shapes.max_steps)
    for cut, following in pairwise(cuts):
        batches, train = _feed(cohort, called, drawn, cut, following)
        program = cohort.programs.steps(cohort.width)
        after, series = program(after, hypers, batches, cut[1], train)
        pieces.append({name: row[:, : cut[1]] for name, row in series.items()})
        samples = len(called) * cut[1] * cohort.programs.shapes.batch_size
        seconds = time.perf_counter() - mark
        # The lanes stand where the segment began until it is judged: that is what a snapshot holds.
        yield Tick([], [], [], [], len(called), samples, seconds, lambda: _snapshot(cohort), False)
        mark = time.perf_counter()
    batches, train = _feed(cohort, called, drawn, cuts[-1], None)
    after, told = cohort.programs.segment(cohort.width)(after, hypers, batches, cuts[-1][1], train)
    told = _joined(pieces, told)
    after, seen = _deeper(cohort, called, after, (hypers, batches, train))
    # Of a segment that came in pieces, the rows of the earlier ones are gone.
    again = _again(cohort, before, (hypers, batches, train)) if len(cuts) == 1 else None
    trained = _Trained(before, after, told, counts, seen, again)
    tick = _end_segment(cohort, called, trained, begun=begun)
    samples = len(called) * cuts[-1][1] * cohort.programs.shapes.batch_size
    yield replace(tick, num_samples=samples, seconds=time.perf_counter() - mark)


class _Trained(NamedTuple):
    """A segment that was trained.

    Lanes before and after it, what they told (host arrays), the samples of each step, [lane, step], a close look, and how to go
    through its first steps again (see `lost.replayed`).
    """

    before: Any
    after: Any
    told: Any
    counts: np.ndarray
    seen: Mapping[str, np.ndarray]
    again: Callable[[int], Mapping[str, np.ndarray]] | None


def _again(
    cohort: _Cohort, before: Lane | None, fed: tuple[Any, Batches, PyTree]
) -> Callable[[int], Mapping[str, np.ndarray]]:
    """From a number of steps to what is told of layers after them; the lanes that come out are thrown away."""
    hypers, batches, train = fed
    program = cohort.programs.segment(cohort.width)

    def again(num_steps: int) -> Mapping[str, np.ndarray]:
        health: Mapping[str, np.ndarray] = program(before, hypers, batches, num_steps, train)[
            1
        ].health
        return health

    return again


def _origins(
    cohort: _Cohort, called: Sequence[int], trained: _Trained, first_bad: Sequence[int | None]
) -> dict[int, lost.Origin]:
    """Where runs that are lost for the first time stopped being finite, by slot; nothing where nobody watches."""
    told, layers_of = trained.told, cohort.programs.problem.layers_of
    found: dict[int, lost.Origin] = {}
    lost_at: dict[int, int] = {}
    fresh = [slot for slot in called if not cohort.progress[_number(cohort, slot)].retries]
    for slot in fresh if told.health else ():
        bad = first_bad[slot]
        if bad is not None:
            lost_at[slot] = bad
        elif "loss" in told.metrics and not math.isfinite(told.metrics["loss"][slot]):
            row = {name: column[slot] for name, column in told.health.items()}
            found[slot] = lost.origin(row, layers_of, num_steps=trained.counts.shape[1])
    if lost_at and trained.again is not None:
        found |= lost.replayed(trained.again, lost_at, layers_of)
    return found


def _is_due(cohort: _Cohort, slot: int, every: int, *, ahead: int = 0) -> bool:
    """Whether something that is done every so many evaluations, and at the last one, is due after so many more."""
    number, last = (
        cohort.progress[_number(cohort, slot)].segment + ahead,
        len(cohort.rules.boundaries),
    )
    return every > 0 and (number % every == 0 or number >= last)


def _deeper(
    cohort: _Cohort, called: Sequence[int], after: Lane, fed: tuple[Any, Batches, PyTree]
) -> tuple[Lane, dict[str, np.ndarray]]:
    """A close look at the lanes that are due for one, before they are judged; nothing where none is."""
    is_due = np.zeros((cohort.width,), np.bool_)
    is_due[[s for s in called if _is_due(cohort, s, cohort.rules.deep_every, ahead=1)]] = True
    if not is_due.any():
        return after, {}
    hypers, batches, train = fed
    after, seen = cohort.programs.deep(cohort.width)(after, hypers, batches, is_due, train)
    return after, seen


def _called(cohort: _Cohort) -> list[int]:
    """Slots that train in the next segment: all of equal length, and no more different samples than a buffer holds."""
    slots = cohort.active()
    if cohort.feeder is None:
        num_steps = _segment_length(cohort, slots[0])
        return [slot for slot in slots if _segment_length(cohort, slot) == num_steps]
    # Runs that were healed or came late stand elsewhere than others of their seed: they go first, to catch up.
    slots.sort(key=lambda slot: cohort.progress[_number(cohort, slot)].step)
    num_steps = _segment_length(cohort, slots[0])
    equal = [slot for slot in slots if _segment_length(cohort, slot) == num_steps]
    keys = list(dict.fromkeys(_order_key(cohort, slot) for slot in equal))
    chosen = keys[: cohort.programs.most_orders()]
    return sorted(slot for slot in equal if _order_key(cohort, slot) in chosen)


def _joined(pieces: Sequence[Mapping[str, np.ndarray]], told: Any) -> Any:
    """What a segment tells, with the steps of its earlier pieces in front; host arrays."""
    if not pieces:
        return told
    rows = {"loss": told.losses, **told.series}
    whole = {
        name: np.concatenate([*(piece[name] for piece in pieces), row], axis=1)
        for name, row in rows.items()
    }
    return told._replace(losses=whole.pop("loss"), series=whole)


def _end_segment(
    cohort: _Cohort, called: Sequence[int], trained: _Trained, *, begun: float
) -> Tick:
    """Judge each lane by what it told, and move those that are done."""
    before, after, told, counts, seen, _ = trained
    rules, slots, num_steps = cohort.rules, cohort.active(), counts.shape[1]
    first_bad = judging.first_bad(told.losses[:, :num_steps])
    # The short last batch of an epoch weighs less in the mean loss; that of a lane with a bad step is not looked at.
    with np.errstate(invalid="ignore", over="ignore"):
        sums = (told.losses[:, :num_steps].astype(np.float64) * counts).sum(axis=1)
    mean_loss = sums / np.maximum(1, counts.sum(axis=1))
    metrics: list[Any] = []
    going: list[int] = []
    events: list[Event] = []
    kept_back = [slot for slot in slots if slot not in called]
    origins = _origins(cohort, called, trained, first_bad)
    for slot in called:
        said = judging.Said(num_steps, first_bad[slot], float(mean_loss[slot]), origins.get(slot))
        number = _number(cohort, slot)
        run, where = cohort.runs[number], cohort.progress[number]
        verdict = judging.judge(rules, run, where, told, slot=slot, said=said)
        metrics += verdict.metrics
        events += verdict.events
        going += [slot] * verdict.is_going
        kept_back += [slot] * verdict.is_kept_back
    looked = told.health and told.health | loss_shape(told.losses[:, :num_steps])
    health = [
        *_layers(cohort, looked, [s for s in going if _is_due(cohort, s, rules.health_every)]),
        *_layers(cohort, seen, [s for s in going if _is_due(cohort, s, rules.deep_every)]),
    ]
    if kept_back:
        mask = np.ones((cohort.width,), bool)
        mask[kept_back] = False
        merged = lane_tools.merge(mask, lane_tools.to_host(after), lane_tools.to_host(before))
        after = lane_tools.to_devices(merged, cohort.programs.lane_sharding)
    cohort.lanes = after
    share = (time.perf_counter() - begun) / len(called)
    for slot in called:
        cohort.progress[_number(cohort, slot)].seconds += share
    finished = _dismiss(cohort, slots)
    _compact(cohort, rules)
    active = len(cohort.active())
    return Tick(metrics, health, events, finished, active, 0, 0.0, lambda: _snapshot(cohort))


def _number(cohort: _Cohort, slot: int) -> int:
    number = cohort.slots[slot]
    if number is None:
        raise ValueError(f"slot {slot} must hold a run, it is empty")
    return number


def _segment_length(cohort: _Cohort, slot: int) -> int:
    where = cohort.progress[_number(cohort, slot)]
    return cohort.rules.boundaries[where.segment] - where.step


def _order_key(cohort: _Cohort, slot: int) -> Hashable:
    """Slots with equal keys see the same samples in the segment that comes now."""
    number = _number(cohort, slot)
    return cohort.order.key(cohort.runs[number]), cohort.progress[number].step


def _draw(cohort: _Cohort, called: Sequence[int], num_steps: int) -> dict[Hashable, Drawn]:
    """What the lanes see in a segment, by order key."""
    losses = None
    if cohort.order.needs_losses and cohort.lanes is not None:
        losses = np.asarray(cohort.lanes.last_losses)
    drawn: dict[Hashable, Drawn] = {}
    for slot in called:
        key = _order_key(cohort, slot)
        if key not in drawn:
            number = _number(cohort, slot)
            known = None if losses is None else losses[slot]
            step = cohort.progress[number].step
            drawn[key] = cohort.order.draw(cohort.runs[number], step, num_steps, known)
    return drawn


def _feed(
    cohort: _Cohort,
    called: Sequence[int],
    drawn: Mapping[Hashable, Drawn],
    cut: tuple[int, int],
    following: tuple[int, int] | None,
) -> tuple[Batches, PyTree]:
    """The batches of a call, and the rows that come with it where the training part is streamed.

    Args:
        cohort: The cohort.
        called: Slots that train.
        drawn: What they see in this segment.
        cut: First step of the call in the segment, and its steps.
        following: The same of the next call; None at the end of the segment.
    """
    shapes = cohort.programs.shapes
    first, length = cut
    asked: dict[Hashable, np.ndarray] = {
        (key, *cut): index[first : first + length] for key, (index, _) in drawn.items()
    }
    rows_of: Mapping[Hashable, np.ndarray] = asked
    train = None
    if cohort.feeder is not None:
        fed = cohort.feeder.take(asked)
        rows_of, train = fed.rows, fed.train
        _look_ahead(cohort, cohort.feeder, called, drawn, following)
    size = (cohort.width, shapes.max_steps, shapes.batch_size)
    rows = np.zeros(size, np.int32)
    weights: Any = np.ones(size, np.float32) if shapes.has_weights else {}
    for slot in called:
        key = _order_key(cohort, slot)
        rows[slot, :length] = rows_of[(key, *cut)]
        weight = drawn[key][1]
        if weight is not None and shapes.has_weights:
            weights[slot, :length] = weight[first : first + length]
    return Batches(rows, weights), train


def _look_ahead(
    cohort: _Cohort,
    feeder: streaming.Feeder,
    called: Sequence[int],
    drawn: Mapping[Hashable, Drawn],
    following: tuple[int, int] | None,
) -> None:
    """Begin to fill the buffer of the call after this one; over the end of a segment it is a guess that is mostly right."""
    if following is not None:
        first, length = following
        asked: dict[Hashable, np.ndarray] = {
            (key, *following): index[first : first + length] for key, (index, _) in drawn.items()
        }
        feeder.ahead(frozenset(asked), lambda: asked)
        return
    if cohort.order.needs_losses:
        return
    draw, boundaries = cohort.order.draw, cohort.rules.boundaries
    longest = cohort.programs.shapes.max_steps
    jobs: dict[Hashable, tuple[Run, int, int]] = {}
    for slot in called:
        where = cohort.progress[_number(cohort, slot)]
        if where.segment + 1 < len(boundaries):
            step = boundaries[where.segment]
            length = min(longest, boundaries[where.segment + 1] - step)
            run = cohort.runs[where.run]
            jobs[((cohort.order.key(run), step), 0, length)] = (run, step, length)
    if jobs:
        feeder.ahead(
            frozenset(jobs), lambda: {key: draw(*job, None)[0] for key, job in jobs.items()}
        )


def _hypers(cohort: _Cohort) -> dict[str, np.ndarray]:
    table = {name: np.zeros((cohort.width,), np.float32) for name in cohort.programs.shapes.hypers}
    for slot in cohort.active():
        number = _number(cohort, slot)
        for name, column in table.items():
            column[slot] = cohort.runs[number].hypers[name]
        if "learning_rate" in table:
            where = cohort.progress[number]
            table["learning_rate"][slot] *= where.rate_scale * where.plateau.scale
    return table


def _layers(cohort: _Cohort, told: Mapping[str, np.ndarray], slots: Sequence[int]) -> list[Layers]:
    """What some lanes tell of their layers, as one table."""
    if not slots or not told:
        return []
    names = {name: cohort.programs.problem.layers_of(name) for name in told}
    columns = [column[slots].reshape(len(slots), -1) for column in told.values()]
    values = np.concatenate(columns, axis=1, dtype=np.float32)
    runs = [_number(cohort, slot) for slot in slots]
    return [Layers(names, runs, [cohort.progress[run].step for run in runs], values)]


def _dismiss(cohort: _Cohort, slots: Sequence[int]) -> list[Finished]:
    """Take runs that ended out of their lanes; they are scored as soon as a full call of them has come together."""
    leaving = [slot for slot in slots if cohort.progress[_number(cohort, slot)].status != "running"]
    if not leaving or cohort.lanes is None:
        return []
    numbers = [_number(cohort, slot) for slot in leaving]
    for slot in leaving:
        cohort.slots[slot] = None
    kept = cohort.programs.kept(cohort.lanes)
    if len(leaving) == len(slots) and cohort.width == cohort.programs.strategy.width:
        cohort.lanes = None
        return _score(cohort, kept, dict(zip(numbers, leaving, strict=True)))
    host = lane_tools.to_host(kept)
    cohort.waiting += [
        (number, lane_tools.one(host, slot)) for number, slot in zip(numbers, leaving, strict=True)
    ]
    if not cohort.active():
        cohort.lanes = None
    is_full = len(cohort.waiting) >= cohort.programs.strategy.width
    return _score_waiting(cohort) if is_full else []


def _score(cohort: _Cohort, weights: PyTree, where: Mapping[int, int]) -> list[Finished]:
    """Score the weights of runs that stand at the places `where` (run -> place) of a full call."""
    programs = cohort.programs
    hypers = {
        name: np.zeros((programs.strategy.width,), np.float32) for name in programs.shapes.hypers
    }
    for number, place in where.items():
        for name, column in hypers.items():
            column[place] = cohort.runs[number].hypers[name]
    scores, seconds = {}, {}
    for part in programs.parts:
        begun = time.perf_counter()
        scores[part] = lane_tools.to_host(programs.score(part)(weights, hypers))
        seconds[part] = (time.perf_counter() - begun) / max(1, len(where))
    host = lane_tools.to_host(weights)
    return [
        _finished(cohort, number, place, scores=scores, seconds=seconds, weights=host)
        for number, place in where.items()
    ]


def _finished(
    cohort: _Cohort,
    number: int,
    place: int,
    *,
    scores: Mapping[str, Mapping[str, np.ndarray]],
    seconds: Mapping[str, float],
    weights: PyTree,
) -> Finished:
    state = cohort.progress[number]
    return Finished(
        run=number,
        arm=cohort.runs[number].arm,
        status=state.status,
        step=state.step,
        best_step=state.best_step,
        seconds=state.seconds,
        test_seconds=seconds.get("test", 0.0),
        score_seconds=sum(seconds.values()),
        retries=state.retries,
        metrics={
            part: {name: float(column[place]) for name, column in table.items()}
            | (state.beside if part == "val" else {})
            for part, table in scores.items()
        },
        weights=lane_tools.one(weights, place),
    )


def _score_waiting(cohort: _Cohort) -> list[Finished]:
    """Score the runs that left one by one, a full call at a time."""
    finished: list[Finished] = []
    width = cohort.programs.strategy.width
    for first in range(0, len(cohort.waiting), width):
        group = cohort.waiting[first : first + width]
        trees = [tree for _, tree in group] + [group[0][1]] * (width - len(group))
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
        weights = lane_tools.to_devices(stacked, cohort.programs.lane_sharding)
        where = {number: place for place, (number, _) in enumerate(group)}
        finished += _score(cohort, weights, where)
    cohort.waiting = []
    return finished


def _compact(cohort: _Cohort, rules: Rules) -> None:
    """Move the remaining runs together into a narrower program once it is compiled and nobody waits for a lane."""
    active = cohort.active()
    if not (active and rules.is_compacted) or cohort.pending or cohort.lanes is None:
        return
    left = sum(len(rules.boundaries) - cohort.progress[_number(cohort, s)].segment for s in active)
    width = cohort.programs.narrower(cohort.width, len(active), segments_left=left / len(active))
    if width is None:
        return
    order = lane_tools.pad_slots(active, width)
    moved = lane_tools.take(lane_tools.to_host(cohort.lanes), order)
    cohort.lanes = lane_tools.to_devices(moved, cohort.programs.lane_sharding)
    cohort.slots = [cohort.slots[slot] for slot in active] + [None] * (width - len(active))
    cohort.width = width


def _snapshot(cohort: _Cohort) -> tuple[PyTree, dict[str, Any]]:
    """Everything needed to go on from here: host arrays, and JSON-able bookkeeping."""
    active = cohort.active()
    trees: dict[str, PyTree] = {}
    if cohort.lanes is not None and active:
        trees["lanes"] = lane_tools.take(lane_tools.to_host(cohort.lanes), active)
    if cohort.waiting:
        trees["waiting"] = jax.tree.map(
            lambda *leaves: np.stack(leaves), *[t for _, t in cohort.waiting]
        )
    info = {
        "pending": list(cohort.pending),
        "active": [cohort.slots[slot] for slot in active],
        "waiting": [number for number, _ in cohort.waiting],
        "width": cohort.width,
        "progress": {
            str(number): _coded(asdict(state)) for number, state in cohort.progress.items()
        },
    }
    return trees, info


def _coded(state: dict[str, Any]) -> dict[str, Any]:
    """Fit for JSON, which has no word for infinity."""
    return {
        k: _coded(v)
        if isinstance(v, dict)
        else (None if isinstance(v, float) and not math.isfinite(v) else v)
        for k, v in state.items()
    }


def _decoded(state: Mapping[str, Any]) -> dict[str, Any]:
    return dict(state) | ({"best_value": -math.inf} if state["best_value"] is None else {})


def _restore(
    programs: Programs,
    runs: Sequence[Run],
    rules: Rules,
    order: Order,
    start: tuple[PyTree, Mapping[str, Any]],
) -> _Cohort:
    trees, info = start
    cohort = replace(
        _begin(programs, runs, rules, order),
        pending=list(info["pending"]),
        width=int(info["width"]),
    )
    for key, state in info["progress"].items():
        values = _decoded(state)
        values["plateau"] = Plateau(**_decoded(values["plateau"]))
        values["beside"] = {
            name: math.nan if value is None else value for name, value in values["beside"].items()
        }
        cohort.progress[int(key)] = Progress(**values)
    active = [int(number) for number in info["active"]]
    cohort.slots = [*active, *[None] * (cohort.width - len(active))]
    if active:
        padded = lane_tools.take(
            trees["lanes"], lane_tools.pad_slots(range(len(active)), cohort.width)
        )
        cohort.lanes = lane_tools.to_devices(padded, programs.lane_sharding)
    if info["waiting"]:
        cohort.waiting = [
            (int(number), lane_tools.one(trees["waiting"], place))
            for place, number in enumerate(info["waiting"])
        ]
    return cohort
