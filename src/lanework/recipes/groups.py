"""Groups of parameters with their own update rule, rate, or none at all.

Owns the pattern by which a parameter is found, the rule made of several rules, and what holds layers still: for good, or
until it is their turn. Must not import `lanework.models`, `lanework.data` or anything above.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, NoReturn, TypeAlias

import jax
import jax.numpy as jnp

from lanework.recipes.choices import Hypers, refuse
from lanework.recipes.rules import Rule

PyTree: TypeAlias = Any
# Among the hyperparameters: how many groups of layers have joined the training so far.
THAWED = "thawed"
_OWNER = re.compile(r"stage\d+_block\d+|[a-zA-Z]+_\d+|.+?(?=_norm$|$)")


class Group(NamedTuple):
    """Parameters that are updated in their own way.

    Attributes:
        match: Pattern over paths `layer/leaf` (`output/*`, `*/bias`); `*` stands for anything, slashes too.
        rule: Their update rule; None: the one of all others. Its traced hyperparameters are read as
            `groups.<index>.optimizer.<name>`, never from those of the base rule.
        rate: What the learning rate is multiplied by: a number, or the name in the hyperparameters under which this
            lane's factor stands (`groups.0.rate`).
        is_frozen: They do not move at all.
        within: Patterns that must select a parameter too (see `selected`); empty: any.
        layers: Layers it must belong to; empty: any.
        thaws: They join the training when `hypers["thawed"]` reaches this, with a fresh memory of the rule; 0: from the
            start.
        place: Number under which the hyperparameters know the group; None: its place in the list.
    """

    match: str
    rule: Rule | None = None
    rate: float | str = 1.0
    is_frozen: bool = False
    within: tuple[str, ...] = ()
    layers: frozenset[str] = frozenset()
    thaws: int = 0
    place: int | None = None

    def fits(self, path: str) -> bool:
        """Whether the parameter of that path `layer/leaf` belongs to it."""
        return (
            fnmatchcase(path, self.match)
            and (not self.within or selected(path, self.within))
            and (not self.layers or path.rpartition("/")[0] in self.layers)
        )


class _Member(NamedTuple):
    """One rule of several: `hypers` turns those of the run into those it reads; no rule means frozen, see `Group.thaws`."""

    rule: Rule | None
    hypers: Callable[[Hypers], Hypers]
    thaws: int = 0


def matches(params: PyTree, pattern: str) -> list[str]:
    """The paths `layer/leaf` of the parameters that fit a pattern, in the order of the parameters.

    Example:
        >>> params = {"dense_0": {"kernel": 0.0, "bias": 0.0}, "output": {"kernel": 0.0}}
        >>> matches(params, "*/kernel"), matches(params, "head/*")
        (['dense_0/kernel', 'output/kernel'], [])
    """
    return [path for path in _paths(params) if fnmatchcase(path, pattern)]


def selected(path: str, patterns: Sequence[str]) -> bool:
    """Whether patterns select a path: the last one that fits decides, and `!` in front takes out.

    Example:
        >>> selected("stem/kernel", ["*", "!output/*"]), selected("output/bias", ["*", "!output/*"])
        (True, False)
    """
    is_in = False
    for pattern in patterns:
        if fnmatchcase(path, pattern.removeprefix("!")):
            is_in = not pattern.startswith("!")
    return is_in


def layer_groups(layer_names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Layers that belong together, the topmost first: a block of a residual network, a layer with its normalisation.

    Example:
        >>> layer_groups(
        ...     ["stem", "stem_norm", "stage1_block0_conv1", "stage1_block0_shortcut", "output"]
        ... )
        (('output',), ('stage1_block0_conv1', 'stage1_block0_shortcut'), ('stem', 'stem_norm'))
    """
    found: dict[str, list[str]] = {}
    for name in layer_names:
        match = _OWNER.match(name)
        found.setdefault(match.group() if match else name, []).append(name)
    return tuple(tuple(names) for names in reversed(found.values()))


def thawing(
    params: PyTree, layer_names: Sequence[str], patterns: Sequence[str], groups: Sequence[Group]
) -> list[Group]:
    """Groups that start frozen and join the training one after the other, the topmost first.

    Args:
        params: The parameters, or their shapes.
        layer_names: Layers in forward order.
        patterns: What starts frozen; empty: all but the topmost group of layers.
        groups: Groups with a rule or a rate of their own, which their parameters keep to.

    Returns:
        The groups, to be put before the others; the first joins when 1 group has thawed.
    """
    owned = layer_groups(layer_names)
    within = tuple(patterns) or ("*", *(f"!{name}/*" for name in owned[0]))
    paths = [path for path in _paths(params) if selected(path, within)]
    found: list[Group] = []
    thaws = 0
    for names in owned:
        layers = frozenset(names)
        if any(path.rpartition("/")[0] in layers for path in paths):
            thaws += 1
            for group in (*groups, Group("*")):
                found.append(group._replace(within=within, layers=layers, thaws=thaws))
    return found


def scaled_by_depth(updates: PyTree, layer_names: Sequence[str], decay: Any) -> PyTree:
    """Updates times decay^depth, where the topmost group of layers has depth 0: discriminative rates.

    Args:
        updates: What is to be added to the weights, by layer.
        layer_names: Layers in forward order.
        decay: Factor from one group of layers to the one below; may be traced.

    Source:
        Howard and Ruder 2018, Universal language model fine-tuning, https://arxiv.org/abs/1801.06146, section 3.2.
    """
    depth = {name: place for place, names in enumerate(layer_groups(layer_names)) for name in names}
    named, structure = jax.tree_util.tree_flatten_with_path(updates)
    scaled = []
    for path, leaf in named:
        owner = "/".join(_names(path)[:-1])
        scaled.append(leaf * jnp.asarray(decay, leaf.dtype) ** depth.get(owner, 0))
    return jax.tree.unflatten(structure, scaled)


def still_layers(
    params: PyTree, state: PyTree, groups: Sequence[Group], hypers: Hypers
) -> dict[str, Any]:
    """Layers with a state (batch statistics) whose parameters all are frozen, to `True` or a traced flag.

    A layer without parameters goes by the paths of its state.
    """
    found: dict[str, Any] = {}
    for layer, own in state.items():
        leaves = params.get(layer) or own
        if not isinstance(leaves, Mapping):
            continue
        flags = [_is_still(f"{layer}/{name}", groups, hypers) for name in leaves]
        flag: Any = True
        for one in flags:
            flag = one if flag is True else (flag if one is True else _both(flag, one))
        if flag is not False:
            found[layer] = flag
    return found


def _both(first: Any, second: Any) -> Any:
    return False if first is False or second is False else first & second


def _is_still(path: str, groups: Sequence[Group], hypers: Hypers) -> Any:
    """Whether a parameter does not move in this step: a bool, or a traced flag."""
    group = next((group for group in groups if group.fits(path)), None)
    if group is None:
        return False
    return True if group.is_frozen else _waits(group.thaws, hypers)


def _waits(thaws: int, hypers: Hypers) -> Any:
    return hypers.get(THAWED, 0) < thaws if thaws else False


def without_frozen(grads: PyTree, groups: Sequence[Group], hypers: Hypers) -> PyTree:
    """Gradients with zeros where nothing moves in this step, so that norms and limits are those of what trains."""
    return _where_still(grads, groups, hypers, jnp.zeros_like)


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
                before = state
                step, state = member.rule.update(
                    slope, state, part, member.hypers(hypers), value=value, objective=_no_objective
                )
                if member.thaws:
                    waits = _waits(member.thaws, hypers)
                    step = _chosen(waits, jax.tree.map(_still, slope), step)
                    state = _chosen(waits, before, state)
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


def keep_frozen(updates: PyTree, groups: Sequence[Group], hypers: Hypers | None = None) -> PyTree:
    """Updates with zeros for frozen groups: the last thing of a step in which decay or limits act on all weights.

    Args:
        updates: What is to be added to the weights.
        groups: The groups; the first that fits counts.
        hypers: Those of this step; needed where groups join later.

    Returns:
        The updates; those of frozen groups are -0, which leaves a weight as it is bit for bit (0 would turn -0 into 0).
    """
    return _where_still(updates, groups, hypers or {}, _still)


def _where_still(
    tree: PyTree, groups: Sequence[Group], hypers: Hypers, stilled: Callable[[Any], Any]
) -> PyTree:
    """The tree with `stilled` leaves where nothing moves in this step."""
    leaves, structure = jax.tree.flatten(tree)
    after = []
    for path, leaf in zip(_paths(tree), leaves, strict=True):
        is_still = _is_still(path, groups, hypers)
        if is_still is True:
            leaf = stilled(leaf)
        elif is_still is not False:
            leaf = jnp.where(is_still, stilled(leaf), leaf)
        after.append(leaf)
    return jax.tree.unflatten(structure, after)


def _chosen(flag: Any, yes: PyTree, no: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(flag, a, b), yes, no)


def _still(leaf: Any) -> Any:
    return jnp.full_like(leaf, -0.0)


def _member(base: Rule, group: Group, index: int) -> _Member:
    if group.is_frozen:
        return _Member(None, dict)
    prefix = f"groups.{index if group.place is None else group.place}."

    def rated(hypers: Hypers) -> dict[str, Any]:
        factor = hypers[group.rate] if isinstance(group.rate, str) else group.rate
        # What is not the base rule's own must not see its hyperparameters, nor those of the same bare name.
        own = dict(hypers) if group.rule is None else _under(hypers, prefix)
        return own | {"learning_rate": hypers["learning_rate"] * factor}

    return _Member(base if group.rule is None else group.rule, rated, group.thaws)


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
    fits = [[group.fits(path) for group in groups] for path in _paths(params)]
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
