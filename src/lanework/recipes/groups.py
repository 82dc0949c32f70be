"""Groups of parameters with their own update rule, rate, or none at all.

Owns the pattern by which a parameter is found and the rule made of several rules. Must not import `lanework.models`,
`lanework.data` or anything above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, NoReturn, TypeAlias

import jax
import jax.numpy as jnp

from lanework.recipes.choices import Hypers, refuse
from lanework.recipes.rules import Rule

PyTree: TypeAlias = Any


class Group(NamedTuple):
    """Parameters that are updated in their own way.

    Attributes:
        match: Pattern over paths `layer/leaf` (`output/*`, `*/bias`); `*` stands for anything, slashes too.
        rule: Their update rule; None: the one of all others. Its traced hyperparameters are read as
            `groups.<index>.optimizer.<name>`, never from those of the base rule.
        rate: What the learning rate is multiplied by: a number, or the name in the hyperparameters under which this
            lane's factor stands (`groups.0.rate`).
        is_frozen: They do not move at all.
    """

    match: str
    rule: Rule | None = None
    rate: float | str = 1.0
    is_frozen: bool = False


class _Member(NamedTuple):
    """One rule of several: `hypers` turns those of the run into those it reads; no rule means frozen."""

    rule: Rule | None
    hypers: Callable[[Hypers], Hypers]


def matches(params: PyTree, pattern: str) -> list[str]:
    """The paths `layer/leaf` of the parameters that fit a pattern, in the order of the parameters.

    Example:
        >>> params = {"dense_0": {"kernel": 0.0, "bias": 0.0}, "output": {"kernel": 0.0}}
        >>> matches(params, "*/kernel"), matches(params, "head/*")
        (['dense_0/kernel', 'output/kernel'], [])
    """
    return [path for path in _paths(params) if fnmatchcase(path, pattern)]


def grouped(base: Rule, groups: Sequence[Group]) -> Rule:
    """One rule made of several: each parameter follows the first group that it fits, else the base rule.

    A group without a rule of its own follows the base rule with its own rate and its own memory; a rule that looks at
    all weights at once (their common norm, for example) then looks at those of the group only.

    Args:
        base: Rule of the parameters that fit no group.
        groups: The groups; the first that fits counts.

    Returns:
        The rule. Its state is a tuple, one entry per group and the base's last; the structure depends on the
        parameters' names only. Frozen parameters get updates of zero, whatever their gradients are. What else changes
        weights (decay, max-norm, the proximal step) has to leave them alone as well: see `keep_frozen`.

    Raises:
        SpecError: At the first update, for a rule that evaluates the loss while it steps: it would move its own
            parameters with those of the others held still.

    Example:
        >>> import jax.numpy as jnp
        >>> from types import SimpleNamespace
        >>> from lanework.recipes.rules import rule
        >>> sgd = rule(SimpleNamespace(name="sgd", options={}))
        >>> own = grouped(sgd, [Group("*/bias", None, 10.0), Group("embed/*", is_frozen=True)])
        >>> params = {"dense_0": {"kernel": jnp.ones(1), "bias": jnp.ones(1)}}
        >>> updates, _ = own.update(params, own.init(params), params, {"learning_rate": 0.1})
        >>> updates["dense_0"]["kernel"], updates["dense_0"]["bias"]
        (Array([-0.1], dtype=float32), Array([-1.], dtype=float32))
    """
    members = (*(_member(base, group, i) for i, group in enumerate(groups)), _Member(base, dict))

    def init(params: PyTree) -> PyTree:
        parts = _split(params, _labels(params, groups), count=len(members))
        return tuple(
            member.rule.init(part) if member.rule and part else ()
            for member, part in zip(members, parts, strict=True)
        )

    def update(
        grads: PyTree,
        opt_state: PyTree,
        params: PyTree,
        hypers: Hypers,
        *,
        value: Any = None,
        objective: Callable[[PyTree], Any] | None = None,
    ) -> tuple[PyTree, PyTree]:
        labels = _labels(params, groups)
        parts = _split(params, labels, count=len(members))
        slopes = _split(grads, labels, count=len(members))
        updates, after = [], []
        for member, part, slope, state in zip(members, parts, slopes, opt_state, strict=True):
            if member.rule and part:
                step, state = member.rule.update(
                    slope, state, part, member.hypers(hypers), value=value, objective=_no_objective
                )
            else:
                step = jax.tree.map(_still, slope)
            updates.append(step)
            after.append(state)
        return _join(updates, labels, like=grads), tuple(after)

    def evaluated(opt_state: PyTree, params: PyTree, hypers: Hypers) -> PyTree:
        labels = _labels(params, groups)
        parts = _split(params, labels, count=len(members))
        wanted = [
            member.rule.evaluated(state, part, member.hypers(hypers))
            if member.rule and member.rule.evaluated and part
            else part
            for member, part, state in zip(members, parts, opt_state, strict=True)
        ]
        return _join(wanted, labels, like=params)

    has_own = any(member.rule and member.rule.evaluated for member in members)
    return Rule(init, update, evaluated if has_own else None)


def keep_frozen(updates: PyTree, groups: Sequence[Group]) -> PyTree:
    """Updates with zeros for frozen groups: the last thing of a step in which decay or limits act on all weights.

    Args:
        updates: What is to be added to the weights.
        groups: The groups; the first that fits counts.

    Returns:
        The updates; those of frozen groups are -0, which leaves a weight as it is bit for bit (0 would turn -0 into 0).
    """
    labels = _labels(updates, groups)
    frozen = [label < len(groups) and groups[label].is_frozen for label in labels]
    leaves, structure = jax.tree.flatten(updates)
    return jax.tree.unflatten(
        structure,
        [_still(leaf) if fixed else leaf for fixed, leaf in zip(frozen, leaves, strict=True)],
    )


def _still(leaf: Any) -> Any:
    return jnp.full_like(leaf, -0.0)


def _member(base: Rule, group: Group, index: int) -> _Member:
    if group.is_frozen:
        return _Member(None, dict)
    prefix = f"groups.{index}."

    def rated(hypers: Hypers) -> dict[str, Any]:
        factor = hypers[group.rate] if isinstance(group.rate, str) else group.rate
        # What is not the base rule's own must not see its hyperparameters, nor those of the same bare name.
        own = dict(hypers) if group.rule is None else _under(hypers, prefix)
        return own | {"learning_rate": hypers["learning_rate"] * factor}

    return _Member(base if group.rule is None else group.rule, rated)


def _under(hypers: Hypers, prefix: str) -> dict[str, Any]:
    """The hyperparameters whose names start with a prefix, without it."""
    return {name[len(prefix) :]: value for name, value in hypers.items() if name.startswith(prefix)}


def _no_objective(params: PyTree) -> NoReturn:
    refuse(
        "train.groups",
        "must go with update rules that look at gradients only, got a rule that evaluates the loss while it steps. "
        "Take a first-order rule such as adam, or leave the groups out.",
    )


def _names(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(
        str(entry.key) if isinstance(entry, jax.tree_util.DictKey) else str(entry).strip(".[]'")
        for entry in path
    )


def _paths(params: PyTree) -> list[str]:
    return ["/".join(_names(path)) for path, _ in jax.tree_util.tree_leaves_with_path(params)]


def _labels(params: PyTree, groups: Sequence[Group]) -> list[int]:
    """For each leaf the index of its group; one more than the last where it fits none."""
    fits = [[fnmatchcase(path, group.match) for group in groups] for path in _paths(params)]
    return [row.index(True) if any(row) else len(groups) for row in fits]


def _split(tree: PyTree, labels: Sequence[int], *, count: int) -> list[dict[str, Any]]:
    """The leaves of each label as nested dicts under their own names, which rules look at for exemptions."""
    parts: list[dict[str, Any]] = [{} for _ in range(count)]
    named = jax.tree_util.tree_leaves_with_path(tree)
    for label, (path, leaf) in zip(labels, named, strict=True):
        *owners, last = _names(path)
        place = parts[label]
        for owner in owners:
            place = place.setdefault(owner, {})
        place[last] = leaf
    return parts


def _join(parts: Sequence[Mapping[str, Any]], labels: Sequence[int], *, like: PyTree) -> PyTree:
    """Undo `_split`."""
    named, structure = jax.tree_util.tree_flatten_with_path(like)
    leaves = []
    for label, (path, _) in zip(labels, named, strict=True):
        place: Any = parts[label]
        for name in _names(path):
            place = place[name]
        leaves.append(place)
    return jax.tree.unflatten(structure, leaves)
