"""The engine on its own: any pure `init` and `loss`, or any NNX module, trained over stacked hyperparameters.

For people who have their own JAX program and want the lanes only. Owns no machinery: everything is done by the modules that a
study uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import jax
import numpy as np
import optax

from lanework.cohort import compiled, devices, loop
from lanework.cohort.program import Shapes, Strategy
from lanework.cohort.runs import BatchOrder, Rules, Run, Tick
from lanework.cohort.step import Problem, Told, Update, Watch
from lanework.data import batch_indices
from lanework.errors import Problem as Complaint
from lanework.errors import SpecError

PyTree: TypeAlias = Any
Init: TypeAlias = Callable[[jax.Array], Any]
Loss: TypeAlias = Callable[..., Any]
Optimizer: TypeAlias = Callable[[Mapping[str, Any]], optax.GradientTransformation]


@dataclass(frozen=True)
class Trained:
    """Runs trained side by side.

    Attributes:
        params: Weights with a leading run axis, host arrays; of runs that diverged as they were then.
        state: What the loss carried beside the weights, with a leading run axis.
        losses: Mean training loss of each segment, [run, segment]; NaN after a run has diverged.
        steps: Step at the end of each segment, [segment].
        diverged: Runs whose loss stopped being finite, [run].
    """

    params: PyTree
    state: PyTree
    losses: np.ndarray
    steps: np.ndarray
    diverged: np.ndarray


def train_lanes(
    init: Init,
    loss: Loss,
    data: Mapping[str, np.ndarray],
    *,
    optimizer: Optimizer,
    hypers: Mapping[str, Sequence[float]],
    seeds: Sequence[int] | None = None,
    num_steps: int,
    batch_size: int,
    report_every: int = 100,
    group: int | None = None,
) -> Trained:
    """Train many runs of one program, each with its own hyperparameters and seed.

    Args:
        init: `key -> params`, or `key -> (params, state)` with a dict as state when the loss carries one (see
            `nnx_pair`).
        loss: `(params, batch, key) -> scalar`; with a state `(params, state, batch, key) -> (scalar, state)`. `batch` holds
            the arrays of `data` for one batch and `weight` [batch], 0 for samples that only fill up a short batch.
        data: Arrays with a leading sample axis.
        optimizer: From the hyperparameters of one run (traced scalars) to an Optax transformation whose state does
            not depend on them.
        hypers: Values by name, one per run.
        seeds: Seed of each run (weights, batch order, noise); the run's number by default.
        num_steps: Steps of each run.
        batch_size: Samples per batch.
        report_every: Steps per compiled call.
        group: Lanes vectorised together on each device; all by default.

    Returns:
        The trained runs, in the order given.

    Raises:
        SpecError: The hyperparameters or seeds are not one per run, or a number is out of range.

    Example:
        Eight learning rates for a linear regression at once:

        >>> import jax.numpy as jnp, numpy as np, optax
        >>> x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
        >>> trained = train_lanes(
        ...     lambda key: {"w": jnp.zeros(1), "b": jnp.zeros(())},
        ...     lambda p, batch, key: jnp.mean((batch["x"] @ p["w"] + p["b"] - batch["y"]) ** 2),
        ...     {"x": x, "y": 3.0 * x[:, 0] + 1.0},
        ...     optimizer=lambda h: optax.sgd(h["learning_rate"]),
        ...     hypers={"learning_rate": np.geomspace(1e-3, 0.5, 8)},
        ...     num_steps=200,
        ...     batch_size=16,
        ... )
        >>> trained.losses.shape
        (8, 2)
        >>> bool(trained.losses[-1, -1] < 1e-6)
        True
    """
    devices.prepare()
    runs = _runs(hypers, seeds)
    _check(data, num_steps=num_steps, batch_size=batch_size, report_every=report_every)
    problem = _problem(init, loss)
    num_samples = len(next(iter(data.values())))
    strategy = _strategy(len(runs), group)
    size = min(batch_size, num_samples)
    boundaries = (*range(report_every, num_steps, report_every), num_steps)
    with ThreadPoolExecutor(2) as pool:
        programs = compiled.Programs(
            problem,
            _update(optimizer),
            Watch(is_monitored=False),
            strategy=strategy,
            shapes=Shapes(
                min(report_every, num_steps), size, num_samples, num_samples, tuple(sorted(hypers))
            ),
            data=compiled.place({"train": data}, num_devices=strategy.num_devices),
            pool=pool,
        )
        programs.prepare()
        rules = Rules(boundaries, -(-num_samples // size), retries=0)
        ticks = loop.train(programs, runs, rules=rules, order=_order(num_samples, size))
        return _collected(list(ticks), len(runs), boundaries)


def nnx_pair(
    make: Callable[[Any], Any], loss: Callable[[Any, Mapping[str, Any]], Any]
) -> tuple[Init, Loss]:
    """Turn a Flax NNX module and a loss on it into the pure pair that `train_lanes` takes.

    Args:
        make: `nnx.Rngs -> module`, for example the class itself.
        loss: `(module, batch) -> scalar`, in training mode; batch statistics and dropout work as usual.

    Returns:
        `init` and `loss` with state.
    """
    from flax import nnx

    module = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    split: Callable[[Any], Any] = lambda net: nnx.split(net, nnx.Param, nnx.RngState, ...)
    graph = split(module)[0]

    def pure_init(key: jax.Array) -> tuple[PyTree, PyTree]:
        _, params, _, rest = split(make(nnx.Rngs(key)))
        return nnx.to_pure_dict(params), nnx.to_pure_dict(rest)

    def pure_loss(
        params: PyTree, state: PyTree, batch: Mapping[str, Any], key: jax.Array
    ) -> tuple[Any, PyTree]:
        _, shapes, _, rest = split(module)
        fresh = nnx.state(make(nnx.Rngs(key)), nnx.RngState)
        nnx.replace_by_pure_dict(shapes, params)
        nnx.replace_by_pure_dict(rest, state)
        whole = nnx.merge(graph, shapes, fresh, rest, copy=True)
        whole.train()
        value = loss(whole, batch)
        return value, nnx.to_pure_dict(split(whole)[-1])

    return pure_init, pure_loss


def _runs(hypers: Mapping[str, Sequence[float]], seeds: Sequence[int] | None) -> list[Run]:
    counts = {name: len(values) for name, values in hypers.items()}
    if seeds is not None:
        counts["seeds"] = len(seeds)
    if len(set(counts.values())) != 1 or not all(counts.values()):
        _refuse(
            "hypers", f"must hold one value per run each, got {counts}. Give lists of equal length."
        )
    count = next(iter(counts.values()))
    numbers = range(count) if seeds is None else seeds
    if any(not 0 <= seed < 2**32 for seed in numbers):
        _refuse(
            "seeds",
            f"must lie between 0 and 2^32 - 1, got {list(numbers)}. Use for example 0, 1, 2.",
        )
    return [
        Run(i, i, int(seed), {name: float(values[i]) for name, values in hypers.items()})
        for i, seed in enumerate(numbers)
    ]


def _check(
    data: Mapping[str, np.ndarray], *, num_steps: int, batch_size: int, report_every: int
) -> None:
    for name, value in (
        ("num_steps", num_steps),
        ("batch_size", batch_size),
        ("report_every", report_every),
    ):
        if value < 1:
            _refuse(name, f"must be at least 1, got {value}. Use a positive whole number.")
    if "weight" in data:
        _refuse(
            "data",
            "must not hold an array named weight, which is filled in for short batches. Rename it.",
        )
    if not data or len({len(array) for array in data.values()}) != 1:
        lengths = {name: len(array) for name, array in data.items()}
        _refuse(
            "data",
            f"must hold arrays with one sample axis of equal length, got {lengths}. Mend the arrays.",
        )


def _refuse(path: str, message: str) -> NoReturn:
    raise SpecError([Complaint(path, message)], where="train_lanes")


def _problem(init: Init, loss: Loss) -> Problem:
    example = jax.eval_shape(init, jax.eval_shape(lambda: jax.random.key(0)))
    has_state = isinstance(example, tuple) and len(example) == 2 and isinstance(example[1], dict)

    def both(key: jax.Array) -> tuple[PyTree, PyTree]:
        made = init(key)
        return made if has_state else (made, {})

    def training(
        params: PyTree, state: PyTree, batch: PyTree, *, key: jax.Array, hypers: Mapping[str, Any]
    ) -> tuple[Any, PyTree]:
        if has_state:
            value, after = loss(params, state, batch, key)
            return value, after
        return loss(params, batch, key), state

    return Problem(both, training)


def _update(optimizer: Optimizer) -> Update:
    def init(params: PyTree) -> PyTree:
        return optimizer(_Zeros()).init(params)

    def apply(
        grads: PyTree,
        opt_state: PyTree,
        params: PyTree,
        *,
        hypers: Mapping[str, Any],
        value: Any,
        objective: Callable[[PyTree], Any],
        **_: Any,
    ) -> Told:
        rule = optax.with_extra_args_support(optimizer(hypers))
        updates, opt_state = rule.update(
            grads, opt_state, params, value=value, grad=grads, value_fn=objective
        )
        return Told(updates, opt_state, grads, {})

    return Update(init, apply)


class _Zeros(dict[str, float]):
    """Hyperparameters while only the shape of the state is asked for."""

    def __missing__(self, key: str) -> float:
        return 0.0


def _strategy(num_runs: int, group: int | None) -> Strategy:
    num_devices = min(len(jax.devices()), num_runs)
    per_device = -(-num_runs // num_devices)
    size = min(group or per_device, per_device)
    rounds = -(-per_device // size)
    return Strategy(num_devices, num_devices * rounds * size, size)


def _order(num_samples: int, batch_size: int) -> BatchOrder:
    def order(seed: int, first_step: int, num_steps: int) -> np.ndarray:
        return batch_indices(
            num_samples, batch_size, seed=seed, first_step=first_step, num_steps=num_steps
        )

    return order


def _collected(ticks: Sequence[Tick], num_runs: int, boundaries: Sequence[int]) -> Trained:
    place = {step: column for column, step in enumerate(boundaries)}
    losses = np.full((num_runs, len(boundaries)), np.nan)
    for tick in ticks:
        for run, step, _, name, value in tick.metrics:
            if name == "train_loss":
                losses[run, place[step]] = value
    ended = sorted((item for tick in ticks for item in tick.finished), key=lambda item: item.run)
    params, state = jax.tree.map(
        lambda *leaves: np.stack(leaves), *[item.weights for item in ended]
    )
    diverged = np.array([item.status == "diverged" for item in ended])
    return Trained(params, state, losses, np.array(boundaries), diverged)
