"""The `compare` part: factor keys, ranges, recipes, and how a value is put into a configuration.

Works on plain mappings in the form of the file; builds no arms.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lanework.catalog import CATALOG
from lanework.errors import Problem
from lanework.spec.check import check_choice, got, names_hint
from lanework.spec.sections import SECTIONS, locate, locate_net
from lanework.spec.types import (
    Compare,
    DataSpec,
    Factor,
    Recipe,
    TrainSpec,
    check_net,
    is_own_net,
)

__all__ = ["apply", "apply_all", "parse_compare"]

CHOICES: Mapping[str, str] = {
    "train.optimizer": "optimizer",
    "train.schedule": "schedule",
    "train.loss": "loss",
}
RATE = "train.learning_rate"
_MAX_POINTS = 10_000
Plain = dict[str, Any]


def parse_compare(
    raw: Any, *, base: Plain, has_rate: bool, folder: Path
) -> tuple[Compare, list[Problem]]:
    """Read `compare`: ranges become lists, choices get every default.

    Args:
        raw: What stands under ``compare`` in the file.
        base: The base configuration in the form of the file, every default filled in.
        has_rate: The file gives ``train.learning_rate``; rules under comparison then use that one.
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
        return Compare(), [
            Problem("compare", f"{text} Use for example optimizer: [sgd, adam].")
        ]
    reader = _Reader(base=base, has_rate=has_rate, folder=folder)
    given: list[tuple[str, str, Any]] = []
    for key, value in raw.items():
        if key != "recipes":
            path = reader.path(str(key), f"compare.{key}")
            if path is not None:
                given.append((str(key), path, value))
    reader.has_rate_factor = any(path == RATE for _, path, _ in given)
    recipes = reader.recipes(raw.get("recipes", []))
    factors = [factor for item in given if (factor := reader.factor(*item)) is not None]
    reader.check_twice(factors, recipes)
    return Compare(factors=tuple(factors), recipes=tuple(recipes)), reader.problems


def apply_all(base: Plain, settings: list[tuple[str, Any]]) -> Plain:
    """The base with settings put in: whole choices first, then their parts.

    Raises:
        ValueError: A setting names a part of something that has no parts.
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
        ValueError: The path leads into something that has no parts.
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


def _set(plain: Plain, keys: list[str], value: Any) -> None:
    for depth, key in enumerate(keys[:-1]):
        inner = plain.get(key)
        if isinstance(inner, str) and depth > 0 and _is_choice(keys[: depth + 1]):
            inner = {"name": inner}
        elif inner is None:
            inner = {}
        if not isinstance(inner, dict):
            raise ValueError(".".join(keys[: depth + 1]))
        plain[key] = inner
        plain = inner
    plain[keys[-1]] = value


def _is_choice(keys: list[str]) -> bool:
    return ".".join(keys) in CHOICES or keys[0] == "model"


class _Reader:
    """Collects problems while the parts of `compare` are read."""

    def __init__(self, *, base: Plain, has_rate: bool, folder: Path) -> None:
        self.base = base
        self.has_rate = has_rate
        self.has_rate_factor = False
        self.folder = folder
        self.problems: list[Problem] = []

    def add(self, where: str, message: str) -> None:
        self.problems.append(Problem(where, message))

    def path(self, key: str, where: str) -> str | None:
        """The full path of a key, or ``None`` and a problem."""
        first = key.partition(".")[0]
        if first in SECTIONS:
            return key
        owners = [name for name in SECTIONS if first in self._names(name)]
        if len(owners) == 1:
            return f"{owners[0]}.{key}"
        if owners:
            full = " or ".join(f"{owner}.{key}" for owner in owners)
            self.add(
                where,
                f"must be one key, got {key!r}, which may be {full}. Write it in full.",
            )
        else:
            names = sorted(
                {name for section in SECTIONS for name in self._names(section)}
            )
            parts = [
                f"{kind}.{hyper.name}"
                for kind in ("optimizer", "schedule", "loss")
                for row in CATALOG[kind].values()
                for hyper in row.hypers
            ]
            parts = [name for name in dict.fromkeys(parts) if name.endswith(f".{key}")]
            hint = (
                f"Did you mean {' or '.join(parts)}?"
                if parts
                else names_hint(key, names)
            )
            text = f"must be a key of data, model or train, got {key!r}."
            self.add(where, f"{text} {hint}")
        return None

    def factor(self, key: str, path: str, raw: Any) -> Factor | None:
        """One factor with its values."""
        where = f"compare.{key}"
        before = len(self.problems)
        raw = self._values(raw, where)
        values = [
            self.value(path, item, f"{where}[{index}]", has_rate=self.has_rate_factor)
            for index, item in enumerate(raw)
        ]
        for index, value in enumerate(values):
            if any(_same(value, other) for other in values[:index]):
                text = (
                    f"must differ from the other values, got {got(raw[index])} again."
                )
                self.add(f"{where}[{index}]", f"{text} Remove one of them.")
        return (
            Factor(key=key, path=path, values=tuple(values))
            if len(self.problems) == before
            else None
        )

    def recipes(self, raw: Any) -> list[Recipe]:
        """All named recipes."""
        if not isinstance(raw, list | tuple):
            self.add(
                "compare.recipes",
                f"must be a list, got {got(raw)}. Start each with - name:.",
            )
            return []
        found = [
            self._recipe(item, f"compare.recipes[{index}]")
            for index, item in enumerate(raw)
        ]
        recipes = [recipe for recipe in found if recipe is not None]
        names = [recipe.name for recipe in recipes]
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            self.add(
                "compare.recipes",
                f"must have different names, got {name!r} twice. Rename one.",
            )
        return recipes

    def value(self, path: str, raw: Any, where: str, *, has_rate: bool) -> Any:
        """One value in the form of the file, every default filled in."""
        if path in SECTIONS:
            return self._section(path, raw, where, has_rate=has_rate)
        if path in CHOICES and not (path == "train.loss" and raw is None):
            return self._choice(path, raw, where, has_rate=has_rate)
        if path == "model.net":
            return self._net(raw, where)
        if path in ("data.source", "data.test"):
            return locate(raw, self.folder)
        return list(raw) if isinstance(raw, tuple) else copy.deepcopy(raw)

    def check_twice(self, factors: list[Factor], recipes: list[Recipe]) -> None:
        """Each path may be set by one factor, or by the recipes."""
        by_path: dict[str, str] = {}
        for factor in factors:
            if factor.path in by_path:
                text = f"must be compared once, got it as {by_path[factor.path]} too. Remove one."
                self.add(f"compare.{factor.key}", text)
            by_path[factor.path] = factor.key
        for index, recipe in enumerate(recipes):
            for path in recipe.settings:
                if path in by_path:
                    text = f"must be set by the recipe or by the factor {by_path[path]}, got both."
                    self.add(
                        f"compare.recipes[{index}].{path}",
                        f"{text} Remove one of them.",
                    )

    def _names(self, section: str) -> set[str]:
        if section == "train":
            return set(TrainSpec.model_fields)
        if section == "data":
            return {
                item.serialization_alias or name
                for name, item in DataSpec.model_fields.items()
            }
        rows = CATALOG["net"].values()
        names = {hyper.name for row in rows for hyper in row.hypers}
        own = self.base.get("model", {})
        return {"net", *own} if is_own_net(own.get("net")) else {"net", *names, *own}

    def _values(self, raw: Any, where: str) -> list[Any]:
        if isinstance(raw, Mapping):
            return self._range(raw, where)
        if not isinstance(raw, list | tuple) or not raw:
            text = f"must be a list of values or a range, got {got(raw)}. "
            text += "Use for example [0.01, 0.1] or {log: [1e-4, 1], points: 5}."
            self.add(where, text)
            return []
        return list(raw)

    def _range(self, raw: Mapping[str, Any], where: str) -> list[Any]:
        kinds = [kind for kind in ("log", "lin") if kind in raw]
        extra = sorted(str(key) for key in raw if key not in ("log", "lin", "points"))
        if len(kinds) != 1 or extra:
            text = f"must be a list of values or a range, got {got(raw)}. "
            text += "A range is {log: [low, high], points: n} or {lin: [low, high], points: n}."
            self.add(where, text)
            return []
        ends, points = raw[kinds[0]], raw.get("points")
        found = [*_end_problems(kinds[0], ends), *_points_problems(points)]
        for inner, message in found:
            self.add(f"{where}.{inner}", message)
        return (
            []
            if found or points is None
            else spread(kinds[0], ends[0], ends[1], points=points)
        )

    def _choice(self, path: str, raw: Any, where: str, *, has_rate: bool) -> Any:
        name, options, problems = check_choice(CHOICES[path], raw, where)
        self.problems += problems
        if problems:
            return raw
        if path == "train.optimizer":
            given = isinstance(raw, Mapping) and "learning_rate" in raw
            if given and has_rate:
                text = f"must be given once, got {got(raw['learning_rate'])} here and learning_rate "
                text += "as a factor or key of its own. Remove one of them."
                self.add(f"{where}.learning_rate", text)
            if has_rate:
                del options["learning_rate"]
            elif self.has_rate and not given:
                options["learning_rate"] = self.base["train"]["learning_rate"]
        return {"name": name, **options} if options else name

    def _net(self, raw: Any, where: str) -> Any:
        given = dict(raw) if isinstance(raw, Mapping) else {"net": raw}
        if isinstance(raw, Mapping) and "net" not in raw:
            given["net"] = given.pop("name", None)
        net = locate_net(given.pop("net"), self.folder)
        options, problems = check_net(net, given)
        self.problems += [
            Problem(
                where if item.path == "net" else f"{where}.{item.path}", item.message
            )
            for item in problems
        ]
        kept = self.base.get("model", {}) if not is_own_net(net) else {}
        for key in options:
            if key in kept and key not in given:
                options[key] = kept[key]
        plain = {
            key: list(item) if isinstance(item, tuple) else item
            for key, item in options.items()
        }
        return {"net": net, **plain}

    def _section(self, path: str, raw: Any, where: str, *, has_rate: bool) -> Any:
        if not isinstance(raw, Mapping):
            self.add(
                where,
                f"must be a mapping (key: value), got {got(raw)}. Write {{key: value}}.",
            )
            return {}
        if path == "model" and "net" in raw:
            return self._net(raw, where)
        rate = has_rate or "learning_rate" in raw
        return {
            key: self.value(f"{path}.{key}", item, f"{where}.{key}", has_rate=rate)
            for key, item in raw.items()
        }

    def _recipe(self, raw: Any, where: str) -> Recipe | None:
        if (
            not isinstance(raw, Mapping)
            or not isinstance(raw.get("name"), str)
            or not raw["name"]
        ):
            text = f"must be a mapping with a name, got {got(raw)}. "
            self.add(
                where, text + "Write for example {name: gentle, learning_rate: 0.001}."
            )
            return None
        before = len(self.problems)
        flat = list(
            self._flatten(
                {key: item for key, item in raw.items() if key != "name"}, where
            )
        )
        has_rate = self.has_rate_factor or any(path == RATE for path, _, _ in flat)
        settings = {
            path: self.value(path, item, inner, has_rate=has_rate)
            for path, item, inner in flat
        }
        return (
            Recipe(name=raw["name"], settings=settings)
            if len(self.problems) == before
            else None
        )

    def _flatten(
        self, raw: Mapping[Any, Any], where: str
    ) -> Iterator[tuple[str, Any, str]]:
        for key, item in raw.items():
            path = self.path(str(key), f"{where}.{key}")
            if path is None:
                continue
            whole_net = path == "model" and isinstance(item, Mapping) and "net" in item
            if path in SECTIONS and isinstance(item, Mapping) and not whole_net:
                for inner, value in item.items():
                    yield f"{path}.{inner}", value, f"{where}.{key}.{inner}"
            else:
                yield path, item, f"{where}.{key}"


def spread(kind: str, low: float, high: float, *, points: int) -> list[float | int]:
    """Points of a range, both ends included exactly.

    Inner points of a logarithmic range are rounded to 6 significant digits, of a linear one to 12,
    so that they read well; whole numbers stay whole numbers.

    Example:
        >>> spread("log", 1e-4, 1.0, points=5)
        [0.0001, 0.001, 0.01, 0.1, 1.0]
        >>> spread("lin", 16, 64, points=4)
        [16, 32, 48, 64]
    """
    if points == 1:
        return [low]
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
    if not is_pair or not all(_is_finite(end) for end in ends):
        return [
            (kind, f"must be two numbers, got {got(ends)}. Use for example {example}.")
        ]
    found = []
    if kind == "log":
        for index, end in enumerate(ends):
            if end <= 0:
                text = (
                    f"must be > 0 on a log scale, got {got(end)}. Use for example 1e-5"
                )
                found.append((f"log[{index}]", f"{text}, or a lin range."))
    if not found and ends[0] >= ends[1]:
        found.append(
            (kind, f"must rise, got {got(ends)}. Write the smaller number first.")
        )
    return found


def _points_problems(points: Any) -> list[tuple[str, str]]:
    is_whole = isinstance(points, int) and not isinstance(points, bool)
    if is_whole and 2 <= points <= _MAX_POINTS:
        return []
    text = f"must be a whole number >= 2 and <= {_MAX_POINTS}, got {got(points)}."
    return [("points", f"{text} Use for example 5.")]


def _is_finite(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def _same(first: Any, second: Any) -> bool:
    return type(first) is type(second) and bool(first == second)
