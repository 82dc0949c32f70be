"""The two record types of the catalogue. Imports nothing of ours and nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Entry", "Hyper", "Value"]

Value = float | int | bool | str | tuple[int, ...] | None


@dataclass(frozen=True)
class Hyper:
    """One hyperparameter of a catalogue entry, declared as a range.

    Checks, messages, bad values for tests, the JSON schema and the documentation are all made
    from this declaration.

    Attributes:
        name: The key in a study file.
        kind: ``float``, ``int``, ``bool``, ``choice``, ``ints`` (a list of whole numbers; the bounds
            hold for each of them), ``by_path`` (a mapping from patterns to choices) or ``str``.
        default: The value when the study does not say; ``None`` means "not set", and is then a
            value that a study may give as well.
        summary: One line, with the unit where it is not obvious.
        low: Lower bound, if any.
        high: Upper bound, if any.
        low_open: The lower bound itself is not allowed.
        high_open: The upper bound itself is not allowed.
        choices: Allowed words of a ``choice`` (besides those of ``of``).
        of: The catalogue kind whose names are allowed for a ``choice``.
        traced: Varies by lane inside one compiled program.
        log: Search this one on a log scale.
    """

    name: str
    kind: str
    default: Value
    summary: str
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False
    choices: tuple[str, ...] = ()
    of: str = ""
    traced: bool = False
    log: bool = False

    def range_text(self) -> str:
        """The allowed values as a phrase after "must be": ``a number > 0 and < 1``."""
        if self.kind == "choice":
            of = (f"the name of {_article(self.of)} {self.of}",) if self.of else ()
            return " or ".join((*self.choices, *of))
        if self.kind == "by_path":
            return f"a mapping from patterns of paths to {_article(self.of)} {self.of} each"
        limits = self._limits()
        if self.kind == "ints":
            return f"a list of whole numbers{', each ' if limits else ''}{limits}"
        nouns = {"float": "a number", "int": "a whole number", "bool": "true or false"}
        return f"{nouns.get(self.kind, 'text')} {limits}".strip()

    def bad_values(self) -> tuple[object, ...]:
        """Values outside the declaration, at each edge of it, for tests of messages."""
        wrong_kind: tuple[object, ...] = ("no such thing", {"a": 1}, float("nan"))
        if self.kind == "str":
            return (1, True)
        if self.kind == "bool":
            return (1, "true", *wrong_kind)
        if self.kind in ("choice", "by_path"):
            return (1, True, *wrong_kind)
        outside = tuple(self._outside())
        if self.kind == "ints":
            return (3, (1.5,), (True,), *((value,) for value in outside), *wrong_kind)
        halves = (1.5,) if self.kind == "int" else ()
        return (*outside, *halves, True, "1", *wrong_kind)

    def _outside(self) -> list[float]:
        """Just below the lower and just above the upper bound."""
        step = 1.0 if self.kind in ("int", "ints") else 1e-6
        number = int if self.kind in ("int", "ints") else float
        values = []
        if self.low is not None:
            values.append(number(self.low if self.low_open else self.low - step))
        if self.high is not None:
            values.append(number(self.high if self.high_open else self.high + step))
        return values

    def _limits(self) -> str:
        bounds = []
        if self.low is not None:
            bounds.append(f"{'>' if self.low_open else '>='} {_shown(self.low)}")
        if self.high is not None:
            bounds.append(f"{'<' if self.high_open else '<='} {_shown(self.high)}")
        return " and ".join(bounds)


@dataclass(frozen=True)
class Entry:
    """One row of the catalogue: something that can be chosen by name.

    Attributes:
        kind: The kind of thing (``optimizer``, ``schedule``, ...).
        name: The name in a study file.
        summary: One line: what it is and when it is used.
        formula: The rule itself; g is the gradient, x a parameter, a the learning rate, t the
            time in epochs, n_in and n_out the fans of a layer.
        source: Author and year, with a link where there is one.
        hypers: The hyperparameters.
        notes: What else one must know, a known pitfall for instance.
        ascending: Pairs of hyperparameters of which the first must be below the second.
        facts: What other parts look up about the row: the ``task`` of a source, the ``direction``
            of a metric, the ``init`` that suits an activation.
    """

    kind: str
    name: str
    summary: str
    formula: str
    source: str
    hypers: tuple[Hyper, ...] = ()
    notes: str = ""
    ascending: tuple[tuple[str, str], ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    def defaults(self) -> dict[str, Value]:
        """Every hyperparameter's default, by name."""
        return {hyper.name: hyper.default for hyper in self.hypers}

    def hyper(self, name: str) -> Hyper:
        """The hyperparameter of that name.

        Raises:
            KeyError: The entry has no hyperparameter of that name.
        """
        for hyper in self.hypers:
            if hyper.name == name:
                return hyper
        raise KeyError(name)


def _shown(bound: float) -> str:
    return str(int(bound)) if float(bound).is_integer() else f"{bound:g}"


def _article(noun: str) -> str:
    return "an" if noun[:1] in "aeiou" else "a"
