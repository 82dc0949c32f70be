"""The exception tree of Lanework. It owns what a bad request looks like and imports nothing of ours.

::

    LaneworkError
    ├── SpecError     the study file (or the call) asks for something impossible: its author can fix it
    │   └── UnknownNameError    a name that the catalogue does not have
    ├── DataError     the data is not usable as it is: whoever has the data can fix it
    ├── StoreError    a study's folder cannot be read or written
    └── DeviceError   the machine lacks something: memory, a device, a library

A bad run is a result and never raises; a bad request does. ``str(error)`` is what the command line
prints. Each message has four parts: what must hold, what we got, where, what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = [
    "DataError",
    "DeviceError",
    "LaneworkError",
    "Problem",
    "SpecError",
    "StoreError",
    "UnknownNameError",
]


class LaneworkError(Exception):
    """Root of all errors that a user of Lanework can meet and mend."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong with a request.

    Attributes:
        path: Where, as a dotted key path (``train.learning_rate``, ``compare.optimizer[1].b1``);
            empty when the whole file is meant.
        message: What must hold, what we got and what to do, as one or two sentences.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class SpecError(LaneworkError):
    """A study that cannot be run as written, with every problem found.

    Args:
        problems: All problems, in the order of the file.
        where: The study file, or another name of the place they were found in.

    Attributes:
        problems: The same, as a tuple.
        where: The same.
    """

    def __init__(self, problems: Iterable[Problem], *, where: str = "study") -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.where = where
        super().__init__(_report(self.problems, where=where))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.problems, self.where))


class UnknownNameError(SpecError, LookupError):
    """A name that the catalogue does not have."""


class DataError(LaneworkError):
    """Data that cannot be used as it is."""


class StoreError(LaneworkError):
    """A study folder that cannot be read or written."""


class DeviceError(LaneworkError):
    """The machine lacks what the request needs."""


def _report(problems: tuple[Problem, ...], *, where: str) -> str:
    if len(problems) == 1:
        problem = problems[0]
        separator = ", " if problem.path else ": "
        return f"{where}{separator}{problem}"
    lines = [f"{where}: {len(problems)} problems."]
    lines += [f"  {number}. {problem}" for number, problem in enumerate(problems, start=1)]
    return "\n".join(lines)


def _rebuild(kind: type[SpecError], problems: tuple[Problem, ...], where: str) -> SpecError:
    return kind(problems, where=where)
