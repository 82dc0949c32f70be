"""What builders of update rules share: types, the rate, decay, hyperparameters that set the first state, keys.

Must not import `lanework.models`, `lanework.data` or anything above, nor any table of rules.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from lanework.recipes.choices import Read
from lanework.recipes.penalties import exempt

PyTree: TypeAlias = Any
Builder: TypeAlias = Callable[[Read], optax.GradientTransformation]
Evaluator: TypeAlias = Callable[[PyTree, PyTree], PyTree]


def after_rate(read: Read, *scaled: optax.GradientTransformation) -> optax.GradientTransformation:
    """The direction of a rule, times minus the learning rate."""
    return optax.chain(*scaled, optax.scale(-read("learning_rate")))


def is_decayed(tree: PyTree) -> PyTree:
    """True for the weights that decay and trust ratios apply to: all but those that are exempt."""
    return jax.tree_util.tree_map_with_path(lambda path, _: not exempt(path), tree)


def _decayed(path: tuple[Any, ...], update: Any, weight: Any, *, strength: Any) -> Any:
    return update if exempt(path) else update + strength * weight


def decayed(updates: PyTree, params: PyTree, strength: Any) -> PyTree:
    """Add `strength * w` to the updates of the weights that are not exempt."""
    return jax.tree_util.tree_map_with_path(partial(_decayed, strength=strength), updates, params)


def add_decay(strength: Any) -> optax.GradientTransformation:
    """Add `strength * w` for the weights that are not exempt, as a transformation."""

    def update(updates: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, Any]:
        return decayed(updates, params, strength), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


class Started(NamedTuple):
    """State of a rule whose first state depends on hyperparameters.

    Attributes:
        is_started: Whether a step was taken.
        inner: The state of the rule.
    """

    is_started: Any
    inner: Any


def from_first_step(rule: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Make the state of a rule anew in its first step, where the hyperparameters of the run are known.

    `Rule.init` sees defaults only, since a state must not depend on what varies by lane. Rules that start from a
    hyperparameter (a first step size, a first distance) or from the weights get both right this way. Afterwards the
    state keeps the types it had.
    """
    rule = optax.with_extra_args_support(rule)

    def init(params: PyTree) -> Started:
        return Started(jnp.zeros([], bool), rule.init(params))

    def update(
        grads: PyTree, state: Any, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        def chosen(old: Any, fresh: Any) -> Any:
            return jnp.where(state.is_started, old, jnp.asarray(fresh, old.dtype))

        inner = jax.tree.map(chosen, state.inner, rule.init(params))
        updates, after = rule.update(grads, inner, params, **extra)
        after = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), after, state.inner)
        return updates, Started(jnp.ones([], bool), after)

    return optax.GradientTransformationExtraArgs(init, update)


def sign_seed(params: PyTree) -> jax.Array:
    """A number made of the signs of the weights, by which runs of different seeds draw different noise.

    Rules get no random key. Signs are the same in one lane or in many, whatever the last digit does; recipes that
    start from the same weights draw the same noise. Weights that are all 0 give 0.
    """
    total = jnp.zeros([], jnp.uint32)
    for place, leaf in enumerate(jax.tree.leaves(params)):
        # Knuth's multiplicative hash of the place; sums wrap.
        mixed = (jnp.arange(leaf.size, dtype=jnp.uint32) + jnp.uint32(place + 1)) * jnp.uint32(
            2654435761
        )
        mixed = mixed ^ (mixed >> 15)
        positive = (leaf.reshape(-1) > 0).astype(jnp.uint32)
        total = total + jnp.sum(mixed * positive, dtype=jnp.uint32)
    return total


def step_keys(seed: Any, count: Any, tree: PyTree) -> PyTree:
    """One random key per leaf for this step, of the number of the run and the count of steps."""
    leaves, structure = jax.tree.flatten(tree)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), seed), count)
    return jax.tree.unflatten(structure, list(jax.random.split(key, len(leaves))))
