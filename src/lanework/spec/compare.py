"""The `compare` part: factor keys, ranges, recipes, and how a value is put into a configuration.

Works on plain mappings in the form of the file; builds no arms.
"""

from __future__ import annotations

import copy
import math
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lanework.catalog import CATALOG
from lanework.errors import LaneworkError, Problem
from lanework.spec.check import check_choice, got, is_number, names_hint
from lanework.spec.sections import SECTIONS, locate, locate_net
from lanework.spec.types import (
    AUTO,
    OPTIONAL_CHOICES,
    Compare,
    DataSpec,
    Factor,
    Recipe,
    TrainSpec,
    check_net,
    is_own_net,
    wants_whole_batch,
)
from lanework.spec.types import CHOICES as KINDS_OF_TRAIN

__all__ = ["CHOICES", "NoPartsError", "apply", "apply_all", "difference", "parse_compare", "spread"]

CHOICES: Mapping[str, str] = {f"train.{kind}": kind for kind in KINDS_OF_TRAIN}
RATE = "train.learning_rate"
RULE = "train.optimizer"
_MAX_POINTS = 10_000
Plain = dict[str, Any]


class NoPartsError(LaneworkError):
    """A key path leads into a value that has no parts; carries the path of that value."""


def parse_compare(
    raw: Any, *, base: Plain, has_base_rate: bool, folder: Path
) -> tuple[Compare, list[Problem]]:
    """Read `compare`: ranges become lists, choices get every default.

    Args:
        raw: What stands under ``compare`` in the file.
        base: The base configuration in the form of the file, every default filled in.
        has_base_rate: The file gives ``train.learning_rate``; rules under comparison that give no
            rate then use that one and not their own default.
        folder: Where relative paths start.

    Returns:
        The comparison and the problems.
    """
    if raw is None:
        return Compare(), []
    if isinstance(raw, list | tuple):
        raw = {"recipes": raw}
    if not isinstance(raw, Mapping):
        text = f"must be a mapping of factors or a list of recipes, got {got(raw)}."
        return Compare(), [Problem("compare", f"{text} Use for example optimizer: [sgd, adam].")]
    scope = _Scope(base=base, has_base_rate=has_base_rate, has_rate=False, folder=folder)
    given = [
        (str(key), path, value)
        for key, value in raw.items()
        if key != "recipes" and (path := _path(scope, str(key), where=f"compare.{key}"))
    ]
    scope = replace(scope, has_rate=any(path == RATE for _, path, _ in given))
    recipes = _recipes(scope, raw.get("recipes", []))
    factors = [_factor(scope, key, path=path, raw=value) for key, path, value in given]
    kept = tuple(factor for factor in factors if factor is not None)
    _check_twice(scope, kept, recipes=recipes)
    return Compare(factors=kept, recipes=tuple(recipes)), scope.problems


def apply_all(base: Plain, settings: list[tuple[str, Any]]) -> Plain:
    """The base with settings put in: whole choices first, then their parts.

    Raises:
        NoPartsError: A setting names a part of something that has no parts.
    """
    plain = copy.deepcopy(base)
    for path, value in sorted(settings, key=lambda item: _order(item[0])):
        apply(plain, path, value)
    return plain


def apply(plain: Plain, path: str, value: Any) -> None:
    """Put one value into a plain configuration, in place.

    Args:
        plain: The configuration, in the form of the file.
        path: Full key path.
        value: The value; a mapping given for a section sets each of its keys.

    Raises:
        NoPartsError: The path leads into something that has no parts.
    """
    section, _, rest = path.partition(".")
    if not rest and isinstance(value, Mapping):
        _apply_section(plain, section, value)
    elif path == "model.net" and isinstance(value, Mapping):
        plain["model"] = dict(value)
    elif path == "train.optimizer":
        _apply_rule(plain, value)
    else:
        _set(plain, path.split("."), copy.deepcopy(value))


def difference(base: Plain, plain: Plain) -> Plain:
    """What turns one configuration into another, by full key path; networks and data as a whole."""
    found: Plain = {
        f"train.{key}": value
        for key, value in plain["train"].items()
        if key == "learning_rate" or value != base["train"][key]
    }
    return found | {key: plain[key] for key in ("data", "model") if plain[key] != base[key]}


def _order(path: str) -> tuple[int, int]:
    return (path.count("."), 0 if path in ("model.net", "train.optimizer") else 1)


def _apply_section(plain: Plain, section: str, value: Mapping[str, Any]) -> None:
    if section == "model" and "net" in value:
        plain["model"] = dict(value)
        return
    for key in sorted(value, key=lambda item: item != "optimizer"):
        apply(plain, f"{section}.{key}", value[key])


def _apply_rule(plain: Plain, value: Any) -> None:
    rule = dict(value) if isinstance(value, Mapping) else value
    if isinstance(rule, dict) and "learning_rate" in rule:
        plain["train"]["learning_rate"] = rule.pop("learning_rate")
    plain["train"]["optimizer"] = rule
    if wants_whole_batch(rule):
        plain["train"]["batch_size"] = "all"


def _set(plain: Plain, keys: list[str], value: Any) -> None:
    for depth, key in enumerate(keys[:-1]):
        inner = plain.get(key)
        if isinstance(inner, str) and depth > 0 and _is_choice(keys[: depth + 1]):
            inner = {"name": inner}
        elif inner is None:
            inner = {}
        if not isinstance(inner, dict):
            raise NoPartsError(".".join(keys[: depth + 1]))
        plain[key] = inner
        plain = inner
    plain[keys[-1]] = value


def _is_choice(keys: list[str]) -> bool:
    return ".".join(keys) in CHOICES or keys[0] == "model"


@dataclass(frozen=True)
class _Scope:
    """What the readers of `compare` know, and the list in which they leave problems.

    Attributes:
        base: The base configuration in the form of the file.
        has_base_rate: The file gives ``train.learning_rate``.
        has_rate: A rate of its own (a factor, or a key beside the rule) goes with every rule.
        folder: Where relative paths start.
        problems: Problems found so far.
    """

    base: Plain
    has_base_rate: bool
    has_rate: bool
    folder: Path
    problems: list[Problem] = field(default_factory=list)

    def add(self, where: str, message: str) -> None:
        """Note one more problem."""
        self.problems.append(Problem(where, message))


def _path(scope: _Scope, key: str, *, where: str) -> str | None:
    """The full path of a key, or ``None`` and a problem."""
    first = key.partition(".")[0]
    if first in SECTIONS:
        return key
    owners = [name for name in SECTIONS if first in _names(scope, name)]
    if len(owners) == 1:
        return f"{owners[0]}.{key}"
    if owners:
        full = " or ".join(f"{owner}.{key}" for owner in owners)
        text = f"must be one key, got {key!r}, which may be {full}. Write it in full."
        scope.add(where, text)
        return None
    options = [
        f"{kind}.{hyper.name}"
        for kind in CHOICES.values()
        for row in CATALOG[kind].values()
        for hyper in row.hypers
        if hyper.name == key
    ]
    names = sorted({name for section in SECTIONS for name in _names(scope, section)})
    close = " or ".join(dict.fromkeys(options))
    hint = f"Did you mean {close}?" if close else names_hint(key, names)
    scope.add(where, f"must be a key of data, model or train, got {key!r}. {hint}")
    return None


def _names(scope: _Scope, section: str) -> set[str]:
    """Keys that a section may have in a file."""
    if section == "train":
        return set(TrainSpec.model_fields)
    if section == "data":
        fields = DataSpec.model_fields.items()
        return {item.serialization_alias or name for name, item in fields}
    own = scope.base.get("model", {})
    own = own if isinstance(own, Mapping) else {}  # what else it is, is said where it is read
    rows = () if is_own_net(own.get("net")) else CATALOG["net"].values()
    names = {"net", "weights", "head", *own}
    return names | {hyper.name for row in rows for hyper in row.hypers}


def _factor(scope: _Scope, key: str, *, path: str, raw: Any) -> Factor | None:
    """One factor with its values."""
    where, before = f"compare.{key}", len(scope.problems)
    raw = _values(scope, raw, where=where)
    values = [
        _value(scope, path, raw=item, where=f"{where}[{index}]") for index, item in enumerate(raw)
    ]
    for index, value in enumerate(values):
        if any(_is_same(value, other) for other in values[:index]):
            text = f"must differ from the other values, got {got(raw[index])} again."
            scope.add(f"{where}[{index}]", f"{text} Remove one of them.")
    if len(scope.problems) > before:
        return None
    return Factor(key=key, path=path, values=tuple(values))


def _recipes(scope: _Scope, raw: Any) -> list[Recipe]:
    """All named recipes."""
    if not isinstance(raw, list | tuple):
        text = f"must be a list, got {got(raw)}. Start each recipe with - name:."
        scope.add("compare.recipes", text)
        return []
    found = [_recipe(scope, item, where=f"compare.recipes[{i}]") for i, item in enumerate(raw)]
    recipes = [recipe for recipe in found if recipe is not None]
    names = [recipe.name for recipe in recipes]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        text = f"must have different names, got {name!r} twice. Rename one."
        scope.add("compare.recipes", text)
    return recipes


def _recipe(scope: _Scope, raw: Any, *, where: str) -> Recipe | None:
    name = raw.get("name") if isinstance(raw, Mapping) else None
    if not isinstance(name, str) or not name.strip():
        text = f"must be a mapping with a name, got {got(raw)}. "
        scope.add(where, text + "Write for example {name: gentle, learning_rate: 0.001}.")
        return None
    before = len(scope.problems)
    given = {key: item for key, item in raw.items() if key != "name"}
    flat = list(_flatten(scope, given, where=where))
    rated = replace(scope, has_rate=scope.has_rate or any(path == RATE for path, _, _ in flat))
    settings = {path: _value(rated, path, raw=item, where=inner) for path, item, inner in flat}
    return Recipe(name=name, settings=settings) if len(scope.problems) == before else None


def _flatten(
    scope: _Scope, raw: Mapping[Any, Any], *, where: str
) -> Iterator[tuple[str, Any, str]]:
    """Settings of a recipe as full path, value and place."""
    for key, item in raw.items():
        path = _path(scope, str(key), where=f"{where}.{key}")
        is_net = path == "model" and isinstance(item, Mapping) and "net" in item
        if path in SECTIONS and isinstance(item, Mapping) and not is_net:
            for inner, value in item.items():
                yield f"{path}.{inner}", value, f"{where}.{key}.{inner}"
        elif path is not None:
            yield path, item, f"{where}.{key}"


def _value(scope: _Scope, path: str, *, raw: Any, where: str) -> Any:
    """One value in the form of the file, every default filled in."""
    if path in SECTIONS:
        return _section(scope, path, raw=raw, where=where)
    if path in CHOICES and not (raw is None and CHOICES[path] in OPTIONAL_CHOICES):
        return _choice(scope, path, raw=raw, where=where)
    if path == "train.augment":
        return _augment(scope, raw, where=where)
    if path == "model.net":
        return _net(scope, raw, where=where)
    if path in ("data.source", "data.test", "model.weights"):
        return locate(raw, scope.folder)
    if isinstance(raw, int) and is_number(raw) and _is_float(path):
        return float(raw)
    return list(raw) if isinstance(raw, tuple) else copy.deepcopy(raw)


def _is_float(path: str) -> bool:
    """Whether the value there is a number with a fraction, so that 1 means 1.0."""
    section, *keys = path.split(".")
    kind = keys[-2] if len(keys) > 1 else "net"
    if section == "model" or f"{section}.{kind}" in CHOICES:
        rows = CATALOG.get(kind, {}).values()
        return any(
            hyper.kind == "float" for row in rows for hyper in row.hypers if hyper.name == keys[-1]
        )
    fields = SECTIONS[section].model_fields
    for key in keys[:-1]:
        annotation = fields[key].annotation if key in fields else None
        inner = (annotation, *typing.get_args(annotation))
        fields = next((item.model_fields for item in inner if hasattr(item, "model_fields")), {})
    annotation = fields[keys[-1]].annotation if keys[-1] in fields else None
    return annotation is float or float in typing.get_args(annotation)


def _values(scope: _Scope, raw: Any, *, where: str) -> list[Any]:
    if isinstance(raw, Mapping):
        return _range(scope, raw, where=where)
    if not isinstance(raw, list | tuple) or not raw:
        text = f"must be a list of values or a range, got {got(raw)}. "
        text += "Use for example [0.01, 0.1] or {log: [1e-4, 1], points: 5}."
        scope.add(where, text)
        return []
    return list(raw)


def _range(scope: _Scope, raw: Mapping[str, Any], *, where: str) -> list[Any]:
    kinds = [kind for kind in ("log", "lin") if kind in raw]
    if len(kinds) != 1 or any(key not in ("log", "lin", "points") for key in raw):
        text = f"must be a list of values or a range, got {got(raw)}. "
        text += "A range is {log: [low, high], points: n} or {lin: [low, high], points: n}."
        scope.add(where, text)
        return []
    ends, points = raw[kinds[0]], raw.get("points")
    found = [*_end_problems(kinds[0], ends), *_points_problems(points)]
    for inner, message in found:
        scope.add(f"{where}.{inner}", message)
    return [] if found else spread(kinds[0], ends, points=int(points or 0))


def _choice(scope: _Scope, path: str, *, raw: Any, where: str) -> Any:
    is_searched = path == RULE and isinstance(raw, Mapping) and raw.get("learning_rate") == AUTO
    checked = {k: v for k, v in raw.items() if k != "learning_rate"} if is_searched else raw
    name, options, problems = check_choice(CHOICES[path], checked, where)
    scope.problems.extend(problems)
    if problems:
        return raw
    if path == RULE:
        is_given = isinstance(raw, Mapping) and "learning_rate" in raw
        if is_given and scope.has_rate:
            text = f"must be given once, got {got(raw['learning_rate'])} here and learning_rate "
            text += "as a factor or key of its own. Remove one of them."
            scope.add(f"{where}.learning_rate", text)
        base = scope.base["train"].get("learning_rate")
        if scope.has_rate or (scope.has_base_rate and not is_given and base == AUTO):
            del options["learning_rate"]
        elif is_searched:
            options["learning_rate"] = AUTO
        elif scope.has_base_rate and not is_given:
            options["learning_rate"] = base
    return {"name": name, **options} if options else name


def _augment(scope: _Scope, raw: Any, *, where: str) -> Any:
    """One list of augmentations with every option; a single name is a list of one."""
    given = [] if raw is None else list(raw) if isinstance(raw, list | tuple) else [raw]
    made = []
    for place, item in enumerate(given):
        at = f"{where}[{place}]" if isinstance(raw, list | tuple) else where
        name, options, problems = check_choice("augmentation", item, at)
        scope.problems.extend(problems)
        made.append({"name": name, **options})
    return made


def _net(scope: _Scope, raw: Any, *, where: str) -> Any:
    """A network with every option; those it shares with the base network are taken from there."""
    given = dict(raw) if isinstance(raw, Mapping) else {"net": raw}
    net = locate_net(given.pop("net", given.pop("name", None)), scope.folder)
    start = {key: given.pop(key) for key in ("weights", "head") if key in given}
    if "weights" in start:
        start["weights"] = locate(start["weights"], scope.folder)
    options, problems = check_net(net, given)
    for item in problems:
        scope.add(where if item.path == "net" else f"{where}.{item.path}", item.message)
    base = {} if is_own_net(net) else scope.base.get("model", {})
    options |= {key: base[key] for key in options if key in base and key not in given}
    plain = {key: list(item) if isinstance(item, tuple) else item for key, item in options.items()}
    return {"net": net, **plain, **start}


def _section(scope: _Scope, path: str, *, raw: Any, where: str) -> Any:
    if not isinstance(raw, Mapping):
        text = f"must be a mapping (key: value), got {got(raw)}. Write {{key: value}}."
        scope.add(where, text)
        return {}
    if path == "model" and "net" in raw:
        return _net(scope, raw, where=where)
    inner = replace(scope, has_rate=scope.has_rate or "learning_rate" in raw)
    return {
        str(key): _value(inner, f"{path}.{key}", raw=item, where=f"{where}.{key}")
        for key, item in raw.items()
    }


def _check_twice(scope: _Scope, factors: Sequence[Factor], *, recipes: Sequence[Recipe]) -> None:
    """Each path may be set by one factor, or by the recipes."""
    by_path: dict[str, str] = {}
    for factor in factors:
        if factor.path in by_path:
            text = f"must be compared once, got it as {by_path[factor.path]} too. Remove one."
            scope.add(f"compare.{factor.key}", text)
        by_path[factor.path] = factor.key
    for index, recipe in enumerate(recipes):
        for path in recipe.settings:
            if path in by_path:
                text = f"must be set by the recipe or by the factor {by_path[path]}, got both."
                scope.add(f"compare.recipes[{index}].{path}", f"{text} Remove one of them.")


def spread(kind: str, ends: Sequence[float], *, points: int) -> list[float | int]:
    """Points of a range, both ends included exactly.

    Inner points of a logarithmic range are rounded to 6 significant digits, of a linear one to 12,
    so that they read well; whole numbers stay whole numbers.

    Example:
        >>> spread("log", [1e-4, 1.0], points=5)
        [0.0001, 0.001, 0.01, 0.1, 1.0]
        >>> spread("lin", [16, 64], points=4)
        [16, 32, 48, 64]
    """
    low, high = ends
    shares = [index / (points - 1) for index in range(1, points - 1)]
    if kind == "log":
        log_low, log_high = math.log(low), math.log(high)
        inner = [math.exp(log_low + share * (log_high - log_low)) for share in shares]
        rounded = [float(f"{value:.6g}") for value in inner]
    else:
        inner = [low + share * (high - low) for share in shares]
        rounded = [float(f"{value:.12g}") for value in inner]
    values = [float(low), *rounded, float(high)]
    if len(set(values)) < len(values):
        values = [float(low), *inner, float(high)]
    is_whole = isinstance(low, int) and isinstance(high, int)
    return [int(item) if is_whole and item.is_integer() else item for item in values]


def _end_problems(kind: str, ends: Any) -> list[tuple[str, str]]:
    example = "[1e-4, 1]" if kind == "log" else "[0, 0.5]"
    is_pair = isinstance(ends, list | tuple) and len(ends) == 2
    if not is_pair or not all(is_number(end) for end in ends):
        return [(kind, f"must be two numbers, got {got(ends)}. Use for example {example}.")]
    found = []
    if kind == "log":
        for index, end in enumerate(ends):
            if end <= 0:
                text = f"must be > 0 on a log scale, got {got(end)}. Use for example 1e-5"
                found.append((f"log[{index}]", f"{text}, or a lin range."))
    if not found and ends[0] >= ends[1]:
        found.append((kind, f"must rise, got {got(ends)}. Write the smaller number first."))
    return found


def _points_problems(points: Any) -> list[tuple[str, str]]:
    is_whole = isinstance(points, int) and not isinstance(points, bool)
    if is_whole and 2 <= points <= _MAX_POINTS:
        return []
    text = f"must be a whole number >= 2 and <= {_MAX_POINTS}, got {got(points)}."
    return [("points", f"{text} Use for example 5.")]


def _is_same(first: Any, second: Any) -> bool:
    return isinstance(first, bool) == isinstance(second, bool) and bool(first == second)
