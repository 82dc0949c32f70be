"""What is asked for on the command line, checked against the catalogue: rules with options, points, numbers.

Every problem of a request is collected and told at once. Must not import JAX.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lanework.errors import Problem, SpecError
from lanework.spec import Choice
from lanework.spec.check import check_choice, is_number
from lanework.surfaces.functions import WHERE, Point, Surface

__all__ = ["DEFAULT_RULES", "Entrant", "Request", "request"]

DEFAULT_RULES: Final = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "lion")
LOWEST_RATE, HIGHEST_RATE = 1e-5, 1e2
MOST_STEPS: Final = 10_000
MOST_RATES: Final = 200
RATE: Final = "learning_rate"


@dataclass(frozen=True)
class Entrant:
    """One rule that takes part.

    Attributes:
        label: What it is called in tables and legends; unique.
        choice: The rule with every option but its rate.
        rate: Its fixed learning rate; None when the best of several is to be found.
    """

    label: str
    choice: Choice
    rate: float | None


@dataclass(frozen=True)
class Request:
    """Everything that decides the trajectories.

    Attributes:
        surface: Where the rules move.
        entrants: The rules.
        steps: How many steps each makes.
        start: Where all of them start.
        noise: Standard deviation of the Gaussian noise on each part of the gradient.
        seed: Seed of the noise; the same noise for every rule and rate.
        rates: The learning rates that are tried for each rule without a fixed one.
    """

    surface: Surface
    entrants: tuple[Entrant, ...]
    steps: int
    start: Point
    noise: float
    seed: int
    rates: tuple[float, ...]


def request(
    surface: Surface,
    rules: Sequence[str] = (),
    *,
    rate: float | None = None,
    budget: int = 40,
    rates: str | None = None,
    steps: int | None = None,
    start: str | None = None,
    noise: float = 0.0,
    seed: int = 0,
) -> Request:
    """Check a request and fill in what it leaves open.

    Args:
        surface: Where the rules move.
        rules: Names with options, `momentum:momentum=0.95,form=velocity`; the usual seven when empty.
        rate: One learning rate for all rules that give none; not given: each rule's best of `budget` rates.
        budget: How many log-spaced rates are tried for each rule.
        rates: Lowest and highest of them, `1e-5,100`.
        steps: How many steps; not given: the surface's.
        start: Another start, `x,y`.
        noise: Standard deviation of the noise on the gradient.
        seed: Seed of the noise.

    Raises:
        SpecError: Something of it is impossible; the text names everything that is.

    Example:
        >>> from lanework.surfaces.functions import find
        >>> asked = request(find("bowl"), ["momentum:momentum=0.5", "sgd:learning_rate=1"])
        >>> [(one.label, one.rate) for one in asked.entrants]
        [('momentum, momentum 0.5', None), ('sgd', 1.0)]
    """
    problems: list[Problem] = []
    entrants = _entrants(rules or DEFAULT_RULES, rate=rate, problems=problems)
    steps = surface.steps if steps is None else steps
    checks = (
        ("--steps", 1 <= steps <= MOST_STEPS, f"from 1 to {MOST_STEPS}", steps, surface.steps),
        ("--budget", 1 <= budget <= MOST_RATES, f"from 1 to {MOST_RATES}", budget, 40),
        ("--rate", rate is None or _is_positive(rate), "finite and > 0", rate, 0.01),
        ("--noise", is_number(noise) and noise >= 0, "finite and >= 0", noise, 0.1),
        ("--seed", 0 <= seed < 2**32, "from 0 to 4294967295", seed, 0),
    )
    problems += [
        Problem(option, f"must be {limits}, got {value}. Use for example {example}.")
        for option, is_right, limits, value, example in checks
        if not is_right
    ]
    low, high = _range(rates, problems)
    begin = _start(surface, start, problems)
    if problems:
        raise SpecError(problems, where=WHERE)
    spread = _spread(low, high, budget=budget)
    return Request(surface, entrants, steps, begin, float(noise), seed, spread)


def _is_positive(value: float) -> bool:
    return is_number(value) and value > 0


def _spread(low: float, high: float, *, budget: int) -> tuple[float, ...]:
    """Rates at equal distances on a log scale; one alone is the middle."""
    first, last = math.log10(low), math.log10(high)
    if budget == 1:
        return (10 ** ((first + last) / 2),)
    return tuple(10 ** (first + (last - first) * i / (budget - 1)) for i in range(budget))


def _entrants(
    texts: Iterable[str], *, rate: float | None, problems: list[Problem]
) -> tuple[Entrant, ...]:
    found: list[Entrant] = []
    for text in texts:
        where = f"--optimizer {text}"
        name, given, wrong = _parts(text)
        if wrong:
            problems.append(Problem(where, wrong))
            continue
        known, options, issues = check_choice("optimizer", {"name": name, **given}, "")
        problems += [Problem(where, _worded(issue)) for issue in issues]
        if issues:
            continue
        own = options.pop(RATE, None)
        fixed = own if RATE in given else rate
        entrant = Entrant(_label(known, given), Choice(name=known, options=options), fixed)
        if any(other.choice == entrant.choice and other.rate == entrant.rate for other in found):
            problems.append(Problem(where, "must be given once, got it twice. Remove one."))
        elif any(other.label == entrant.label for other in found):
            label = f"{entrant.label}, rate {entrant.rate:g}" if entrant.rate else entrant.label
            found.append(Entrant(label, entrant.choice, entrant.rate))
        else:
            found.append(entrant)
    return tuple(found)


def _worded(issue: Problem) -> str:
    """The message of a check, after the option it is about."""
    return issue.message if issue.path in ("", "name") else f"{issue.path} {issue.message}"


def _label(name: str, given: Mapping[str, Any]) -> str:
    known = [f"{key.replace('_', ' ')} {_said(value)}" for key, value in given.items()]
    shown = [text for text, key in zip(known, given, strict=True) if key != RATE]
    return ", ".join([name, *shown])


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parts(text: str) -> tuple[str, dict[str, Any], str]:
    """Name and options of `name:key=value,key=value`, and what is wrong with the form of it."""
    name, _, rest = text.partition(":")
    given: dict[str, Any] = {}
    for part in filter(None, (piece.strip() for piece in rest.split(","))):
        key, sign, value = (piece.strip() for piece in part.partition("="))
        if not (key and sign and value):
            wrong = f"must have options as name=value, got {part!r}. "
            return name.strip(), {}, wrong + "Use for example momentum:momentum=0.95."
        if key in given:
            return name.strip(), {}, f"must give {key} once, got it twice. Remove one."
        given[key] = _scalar(value)
    return name.strip(), given, ""


def _scalar(text: str) -> Any:
    """A number, a truth value, or the text itself."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _pair(text: str) -> tuple[float, float] | None:
    numbers = [_scalar(part.strip()) for part in text.split(",")]
    if len(numbers) != 2 or not all(is_number(number) for number in numbers):
        return None
    return float(numbers[0]), float(numbers[1])


def _range(text: str | None, problems: list[Problem]) -> tuple[float, float]:
    pair = (LOWEST_RATE, HIGHEST_RATE) if text is None else _pair(text)
    if pair is None or not 0 < pair[0] < pair[1]:
        wrong = f"must be the lowest and the highest rate, both > 0, got {text!r}. "
        problems.append(Problem("--rates", wrong + "Use for example 1e-5,100."))
        return LOWEST_RATE, HIGHEST_RATE
    return pair


def _start(surface: Surface, text: str | None, problems: list[Problem]) -> Point:
    point = surface.start if text is None else _pair(text)
    limits = f"x from {surface.x[0]:g} to {surface.x[1]:g} and y from {surface.y[0]:g} to {surface.y[1]:g}"
    example = f"Use for example {surface.start[0]:g},{surface.start[1]:g}."
    if point is None:
        problems.append(Problem("--start", f"must be two numbers x,y, got {text!r}. {example}"))
        return surface.start
    is_inside = (
        surface.x[0] <= point[0] <= surface.x[1] and surface.y[0] <= point[1] <= surface.y[1]
    )
    if not is_inside:
        text = f"must lie in the picture of {surface.name}, {limits}, got {text!r}. {example}"
        problems.append(Problem("--start", text))
    return point
