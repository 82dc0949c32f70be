"""Checks values against the catalogue, and words what is wrong. Imports the catalogue and errors only.

Everything here returns what was understood together with the problems found, so that a caller can
collect all problems of a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from lanework import own_code
from lanework.catalog import CATALOG, Entry, Hyper, nearest
from lanework.errors import Problem

__all__ = [
    "check_arguments",
    "check_choice",
    "check_options",
    "check_value",
    "got",
    "join",
    "names_hint",
    "simplify",
]

LONGEST_BITS = 1000
"""Whole numbers longer than this do not fit a float."""
MOST_NAMED = 3
"""Names that a message lists before it counts the rest."""
Checked = tuple[Any, list[Problem]]


def join(path: str, key: str) -> str:
    """A key path one level down."""
    return f"{path}.{key}" if path else key


def got(value: object) -> str:
    """A given value as it appears in a message: short, and told apart from look-alikes."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return repr(_short(value))
    if isinstance(value, Mapping):
        return f"the mapping {_short(str(dict(value)))}"
    if isinstance(value, list | tuple):
        return f"the list {_short(str(list(value)))}"
    if isinstance(value, int) and value.bit_length() > LONGEST_BITS:
        return f"a whole number of {value.bit_length()} bits"
    return _short(str(value))


def is_number(value: object) -> bool:
    """Whether a value is a finite number (truth values are none) that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    is_small = isinstance(value, float) or value.bit_length() <= LONGEST_BITS
    return is_small and math.isfinite(value)


def names_hint(name: object, names: Iterable[str]) -> str:
    """What to do about an unknown name: the nearest ones, or all of them."""
    known = list(names)
    close = nearest(str(name), known)
    if close:
        return f"Did you mean {_or(close)}?"
    if not known:
        return "There is nothing to choose from; remove it."
    return f"Use one of {', '.join(known)}."


def check_value(hyper: Hyper, value: Any, path: str) -> Checked:
    """Check one value against its declaration.

    Args:
        hyper: The declaration.
        value: What was given.
        path: Where, for the messages.

    Returns:
        The value as understood (the default when it is wrong), and the problems.
    """
    if value is None and hyper.default is None:
        return None, []
    if hyper.kind == "choice":
        return _check_name(hyper, value, path)
    if hyper.kind == "ints":
        return _check_ints(hyper, value, path)
    if hyper.kind == "by_path":
        return _check_by_path(hyper, value, path)
    if not _has_kind(hyper.kind, value):
        return hyper.default, [Problem(path, _wrong(hyper, value))]
    if hyper.kind in ("float", "int") and not _in_range(hyper, value):
        return hyper.default, [Problem(path, _wrong(hyper, value))]
    return (float(value) if hyper.kind == "float" else value), []


def check_options(
    row: Entry, given: Mapping[Any, Any], path: str
) -> tuple[dict[str, Any], list[Problem]]:
    """Check the options of a catalogue row and fill in every default.

    Args:
        row: The catalogue row.
        given: The options that were given.
        path: Where, for the messages.

    Returns:
        Every option with its value, and the problems.
    """
    problems: list[Problem] = []
    known = [hyper.name for hyper in row.hypers]
    for key, value in given.items():
        if key not in known:
            text = f"must be an option of {row.name}, got {key!r} = {got(value)}. "
            problems.append(Problem(join(path, str(key)), text + _option_hint(row, str(key))))
    options: dict[str, Any] = {}
    for hyper in row.hypers:
        where = join(path, hyper.name)
        value = given.get(hyper.name, hyper.default)
        options[hyper.name], found = check_value(hyper, value, where)
        problems += found
    if not problems:
        problems += _check_order(row, options, path)
    return options, problems


def check_choice(kind: str, value: Any, path: str) -> tuple[str, dict[str, Any], list[Problem]]:
    """Check a choice, given as a name or as a mapping with ``name`` and options.

    Args:
        kind: The catalogue kind.
        value: What was given.
        path: Where, for the messages.

    Returns:
        The name (empty when it is not known), every option with its value, and the problems.
    """
    rows = CATALOG[kind]
    name, given = value, {}
    if isinstance(value, Mapping):
        given = {key: item for key, item in value.items() if key != "name"}
        name = value.get("name")
        if "name" not in value:
            text = f"must be a name, alone or with options, got {got(value)}. Add name: and one of {', '.join(rows)}."
            return "", {}, [Problem(path, text)]
    if kind in own_code.KINDS and own_code.is_own(name):
        return name, *_check_own(kind, given, path)
    if not isinstance(name, str) or name not in rows:
        where = join(path, "name") if isinstance(value, Mapping) else path
        return "", {}, [Problem(where, _unknown_name(kind, name))]
    options, problems = check_options(rows[name], given, path)
    return name, options, problems


def _check_own(
    kind: str, given: Mapping[str, Any], path: str
) -> tuple[dict[str, Any], list[Problem]]:
    """Options of an own function; an update rule has a learning rate as those of the catalogue do."""
    options, problems = check_arguments(given, path)
    if kind == "optimizer":
        usual = CATALOG[kind]["adam"].hyper("learning_rate")
        rate = given.get(usual.name, usual.default)
        options[usual.name], found = check_value(usual, rate, join(path, usual.name))
        problems += found
    return options, problems


def check_arguments(given: Mapping[str, Any], path: str) -> tuple[dict[str, Any], list[Problem]]:
    """Arguments of own code: numbers, texts, truth values, and lists of them."""
    options, problems = {}, []
    for key, value in given.items():
        options[key] = tuple(value) if isinstance(value, list) else value
        items = options[key] if isinstance(options[key], tuple) else (options[key],)
        where = join(path, key)
        if not all(item is None or isinstance(item, bool | int | float | str) for item in items):
            text = f"must be a number, text, true, false or a list of those, got {got(value)}. "
            problems.append(Problem(where, text + "Build anything else inside the module."))
        elif any(isinstance(item, float) and item - item != 0 for item in items):
            problems.append(
                Problem(where, f"must be finite, got {got(value)}. Use a finite number.")
            )
    return options, problems


def simplify(kind: str, name: str, options: Mapping[str, Any]) -> Any:
    """A choice as short as it can be said: the name alone when every option has its default."""
    row = CATALOG[kind].get(name)
    if dict(options) == (row.defaults() if row else {}):
        return name
    return {"name": name, **options}


def _option_hint(row: Entry, key: str) -> str:
    """What to do about an option that a row does not have."""
    others = [other.name for other in CATALOG[row.kind].values() if _has_option(other, key)]
    if others:
        is_one = len(others) == 1
        if len(others) > MOST_NAMED + 1:
            others = [*others[:MOST_NAMED], f"{len(others) - MOST_NAMED} more"]
        return f"{_and(others)} {'has' if is_one else 'have'} it; {row.name} does not."
    known = [hyper.name for hyper in row.hypers]
    return names_hint(key, known) if known else f"{row.name} has no options; remove it."


def _has_option(row: Entry, key: str) -> bool:
    return any(hyper.name == key for hyper in row.hypers)


def _check_name(hyper: Hyper, value: Any, path: str) -> Checked:
    if isinstance(value, str) and value in hyper.choices:
        return value, []
    if not hyper.of:
        text = f"must be {_or(hyper.choices)}, got {got(value)}. {names_hint(value, hyper.choices)}"
        return hyper.default, [Problem(path, text)]
    names = [*hyper.choices, *CATALOG[hyper.of]]
    is_own = hyper.of in own_code.KINDS and own_code.is_own(value)
    if not isinstance(value, Mapping) and value not in names and not is_own:
        return hyper.default, [Problem(path, _unknown_name(hyper.of, value, names=names))]
    name, options, problems = check_choice(hyper.of, value, path)
    return (hyper.default if problems else simplify(hyper.of, name, options)), problems


def _check_ints(hyper: Hyper, value: Any, path: str) -> Checked:
    if not isinstance(value, list | tuple):
        return hyper.default, [Problem(path, _wrong(hyper, value))]
    problems = [
        Problem(f"{path}[{index}]", _wrong(hyper, item, noun="a whole number"))
        for index, item in enumerate(value)
        if not _has_kind("int", item) or not _in_range(hyper, item)
    ]
    return (hyper.default if problems else tuple(value)), problems


def _check_by_path(hyper: Hyper, value: Any, path: str) -> Checked:
    """A mapping from patterns to choices, each as short as it can be said."""
    if not isinstance(value, Mapping) or not value:
        text = f"must be {hyper.range_text()}, got {got(value)}. "
        return hyper.default, [
            Problem(path, text + f"Write for example {{output: {_first(hyper.of)}}}.")
        ]
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    for pattern, item in value.items():
        if not isinstance(pattern, str) or not pattern:
            text = f"must be a pattern of paths, got {got(pattern)}. Write for example output."
            problems.append(Problem(path, text))
            continue
        name, options, wrong = check_choice(hyper.of, item, join(path, pattern))
        problems += wrong
        found[pattern] = simplify(hyper.of, name, options) if not wrong else item
    return (hyper.default if problems else found), problems


def _first(kind: str) -> str:
    return next(iter(CATALOG[kind]))


def _check_order(row: Entry, options: Mapping[str, Any], path: str) -> list[Problem]:
    problems = []
    for first, second in row.ascending:
        if options[first] >= options[second]:
            text = f"must be below {second}, got {first} {options[first]:g} and {second} "
            text += f"{options[second]:g}. Swap them, or use the defaults {first} "
            text += f"{row.hyper(first).default} and {second} {row.hyper(second).default}."
            problems.append(Problem(join(path, first), text))
    return problems


def _has_kind(kind: str, value: Any) -> bool:
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "str":
        return isinstance(value, str)
    return is_number(value) and (kind == "float" or isinstance(value, int))


def _in_range(hyper: Hyper, value: float) -> bool:
    low = hyper.low is None or (value > hyper.low if hyper.low_open else value >= hyper.low)
    high = hyper.high is None or (value < hyper.high if hyper.high_open else value <= hyper.high)
    return low and high


def _wrong(hyper: Hyper, value: object, *, noun: str = "") -> str:
    limits = hyper.range_text()
    if noun:
        limits = f"{noun} {limits.partition(', each ')[2]}".strip()
    return f"must be {limits}, got {got(value)}. {_remedy(hyper, value)}"


def _remedy(hyper: Hyper, value: object) -> str:
    if isinstance(value, str) and hyper.kind in ("float", "int", "bool") and _is_number(value):
        return "Remove the quotes."
    example = list(hyper.default) if isinstance(hyper.default, tuple) else hyper.default
    if example is None:
        return "Leave it out to use the default."
    return f"Use for example {str(example).lower() if isinstance(example, bool) else example}."


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return text.lower() in ("true", "false")


def _unknown_name(kind: str, name: object, *, names: Iterable[str] = ()) -> str:
    known = list(names) or list(CATALOG[kind])
    article = "an" if kind[0] in "aeiou" else "a"
    text = f"must be the name of {article} {kind}, got {got(name)}. {names_hint(name, known)}"
    return f"{text} `lanework list {kind}` shows all."


def _or(names: Iterable[str], *, word: str = "or") -> str:
    words = list(names)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {word} {words[-1]}"


def _and(names: Iterable[str]) -> str:
    return _or(names, word="and")


def _short(text: str, *, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
