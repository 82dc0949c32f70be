"""From the training part of a configuration to an `Update`: schedules, penalties, noise, clipping, rule, decay, projections.

Owns the order in which these are applied. Everything static is decided here; everything traced arrives later as `hypers`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from lanework import recipes
from lanework.cohort.step import Told, Update
from lanework.recipes import curvature
from lanework.spec import TrainSpec

PyTree: TypeAlias = Any
Array: TypeAlias = jax.Array
Hypers: TypeAlias = Mapping[str, Array]

# By the key in `train`, in the order in which several are applied.
CLIPS: Mapping[str, Callable[[PyTree, PyTree, Array], PyTree]] = {
    "clip_value": lambda grads, params, limit: recipes.clip_by_value(grads, limit),
    "clip_layer_norm": lambda grads, params, limit: recipes.clip_by_layer(grads, limit),
    "clip_adaptive": lambda grads, params, limit: recipes.clip_adaptive(grads, params, limit),
    "clip_norm": lambda grads, params, limit: recipes.clip_by_global_norm(grads, limit)[0],
}


def own_key(key: Array, purpose: str) -> Array:
    """A key of its own for one kind of noise, whatever other noise there is."""
    return jax.random.fold_in(key, zlib.crc32(purpose.encode()))


def update(
    train: TrainSpec,
    *,
    total_steps: int,
    steps_per_epoch: int,
    used: frozenset[str],
    layer_names: Sequence[str] = (),
    params: PyTree = None,
) -> Update:
    """How weights change under this recipe.

    A step is: gradient of the loss, plus that of the penalties, plus noise, clipped; the rule; decoupled decay; the
    projections (proximal L1, max-norm).

    Args:
        train: The training part of the configuration.
        total_steps: Steps of a whole run.
        steps_per_epoch: Steps of an epoch.
        used: Traced strengths (see `lanework.spec.ZERO_IS_OFF`) that some run of the bucket sets above 0; the others
            cost nothing.
        layer_names: Layers in forward order; for gradual unfreezing and decay by layer.
        params: Shapes of the parameters; for gradual unfreezing.
    """
    groups = groups_of(train, layer_names=layer_names, params=params)
    base = recipes.rule(train.optimizer)
    rule = recipes.grouped(base, groups) if groups else base
    penalties = used & ({"l2"} if train.l1_proximal else {"l1", "l2"})
    clips = tuple(name for name in CLIPS if getattr(train, name) is not None)

    def apply(
        grads: PyTree,
        opt_state: PyTree,
        params: PyTree,
        *,
        hypers: Hypers,
        step: Array,
        key: Array,
        value: Array,
        objective: Callable[[PyTree], Array],
    ) -> Told:
        if penalties:
            strengths = {name: hypers[name] for name in penalties}
            grads = jax.tree.map(jnp.add, grads, recipes.penalty_gradient(params, strengths))
            plain = objective
            value = value + recipes.penalty(params, strengths)
            objective = lambda x: plain(x) + recipes.penalty(x, strengths)
        if "gradient_noise" in used:
            noise_key, scale = own_key(key, "gradient_noise"), hypers["gradient_noise"]
            grads = recipes.gradient_noise(grads, noise_key, step=step, scale=scale)
        if groups:
            grads = recipes.without_frozen(grads, groups, hypers)
        grads, series = _clipped(grads, params, clips=clips, hypers=hypers)
        updates, opt_state = rule.update(
            grads, opt_state, params, hypers, value=value, objective=objective
        )
        if "weight_decay" in used:
            updates = recipes.decay_update(updates, params, hypers)
        if train.layer_decay is not None:
            updates = recipes.scaled_by_depth(updates, layer_names, hypers["layer_decay"])
        updates = _projected(train, updates, params, hypers)
        # Decay and projections would move frozen weights too.
        updates = recipes.keep_frozen(updates, groups, hypers)
        return Told(updates, opt_state, grads, series)

    average = None
    if train.average is not None:
        average = recipes.average(
            train.average, total_steps=total_steps, steps_per_epoch=steps_per_epoch
        )
    whole = Update(
        init=rule.init,
        apply=apply,
        scheduled=_scheduled(train, total_steps=total_steps, steps_per_epoch=steps_per_epoch),
        series=("grad_norm", "clipped") if clips else (),
        evaluated=rule.evaluated,
        evaluations=curvature.evaluations,
        average=average,
    )
    return _accumulated(whole, train.accumulate) if train.accumulate > 1 else whole


def _scheduled(
    train: TrainSpec, *, total_steps: int, steps_per_epoch: int
) -> Callable[[Hypers, Array], Hypers]:
    """Hyperparameters at a step: each scheduled one times its factor, under whichever of its names it has."""
    chosen = {"learning_rate": ("schedule", train.schedule)}
    chosen |= {name: (f"schedules.{name}", choice) for name, choice in train.schedules.items()}
    factors = {
        name: recipes.schedule(
            choice,
            total_steps=total_steps,
            steps_per_epoch=steps_per_epoch,
            prefix=prefix,
            of=name,
        )
        for name, (prefix, choice) in chosen.items()
    }

    def scheduled(hypers: Hypers, step: Array) -> Hypers:
        now = dict(hypers)
        for name, factor in factors.items():
            for full in (name, f"optimizer.{name}"):
                if full in hypers:
                    now[full] = hypers[full] * factor(step, {**hypers, name: hypers[full]})
        if train.unfreeze is not None:
            epoch = step.astype(jnp.float32) / steps_per_epoch
            # A hair of room: whole epochs must not come a step late for a rounded quotient.
            now[recipes.THAWED] = jnp.floor(epoch / hypers["unfreeze.every"] + 1e-4)
        return now

    return scheduled


def _clipped(
    grads: PyTree, params: PyTree, *, clips: tuple[str, ...], hypers: Hypers
) -> tuple[PyTree, dict[str, Array]]:
    """Clipped gradients, their norm before, and whether anything was cut."""
    if not clips:
        return grads, {}
    before = recipes.global_norm(grads)
    for name in clips:
        grads = CLIPS[name](grads, params, hypers[name])
    # A hair of room: scaling by a factor of one may round.
    is_clipped = recipes.global_norm(grads) < before * (1 - 1e-6)
    return grads, {"grad_norm": before, "clipped": is_clipped.astype(jnp.float32)}


def _projected(train: TrainSpec, updates: PyTree, params: PyTree, hypers: Hypers) -> PyTree:
    """Updates that end where the constraints hold."""
    if not (train.l1_proximal or train.max_norm is not None):
        return updates
    after = jax.tree.map(jnp.add, params, updates)
    if train.l1_proximal:
        after = recipes.soft_threshold(after, hypers["learning_rate"] * hypers["l1"])
    if train.max_norm is not None:
        after = recipes.limit_norm(after, hypers["max_norm"])
    # x + (y - x) is y again but for rounding, and exactly 0 where y is 0.
    return jax.tree.map(jnp.subtract, after, params)


def groups_of(
    train: TrainSpec, *, layer_names: Sequence[str] = (), params: PyTree = None
) -> list[recipes.Group]:
    """Groups of parameters with a rule or a rate of their own, frozen ones first; arguments as in `update`."""
    own = [
        recipes.Group(
            match=group.match,
            rule=None if group.optimizer is None else recipes.rule(group.optimizer),
            rate=f"groups.{place}.rate",
            is_frozen=group.frozen,
            place=place,
        )
        for place, group in enumerate(train.groups)
    ]
    if train.unfreeze is not None:
        return [*recipes.thawing(params, layer_names, train.freeze, own), *own]
    if train.freeze:
        return [recipes.Group("*", is_frozen=True, within=train.freeze), *own]
    return own


def _accumulated(inner: Update, count: int) -> Update:
    """The same update on the mean gradient of `count` batches; nothing moves in between."""

    def init(params: PyTree) -> PyTree:
        return {"inner": inner.init(params), "sum": jax.tree.map(jnp.zeros_like, params)}

    def apply(
        grads: PyTree, opt_state: PyTree, params: PyTree, *, step: Array, **rest: Any
    ) -> Told:
        total = jax.tree.map(jnp.add, opt_state["sum"], grads)
        mean = jax.tree.map(lambda leaf: leaf / count, total)
        told = inner.apply(mean, opt_state["inner"], params, step=step, **rest)
        is_due = (step + 1) % count == 0

        def chosen(yes: PyTree, no: PyTree) -> PyTree:
            return jax.tree.map(lambda a, b: jnp.where(is_due, a, b), yes, no)

        empty = jax.tree.map(jnp.zeros_like, params)
        still = jax.tree.map(jnp.negative, empty)  # x + -0.0 is x, also where x is -0.0
        after = {"inner": chosen(told.opt_state, opt_state["inner"]), "sum": chosen(empty, total)}
        return told._replace(updates=chosen(told.updates, still), opt_state=after)

    def evaluated(opt_state: PyTree, params: PyTree, hypers: Hypers) -> PyTree:
        return inner.evaluated(opt_state["inner"], params, hypers) if inner.evaluated else params

    own = None if inner.evaluated is None else evaluated
    return inner._replace(init=init, apply=apply, evaluated=own)
