"""What a recipe function reads: a catalogue choice, and hyperparameters traced or static.

Owns the one rule by which a hyperparameter is looked up. Must not import anything of Lanework but `catalog` and `errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol, TypeAlias, TypeVar

import jax

from lanework.catalog import nearest
from lanework.errors import Problem, SpecError

T = TypeVar("T")
Array: TypeAlias = jax.Array
Hypers: TypeAlias = Mapping[str, Any]
Read: TypeAlias = Callable[[str], Any]


class Choice(Protocol):
    """A name of the catalogue with every option filled in (`lanework.spec.Choice` is one)."""

    @property
    def name(self) -> str:
        """Name of the catalogue entry."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Value of every option of that entry."""


def reader(choice: Choice, hypers: Hypers, *, prefix: str) -> Read:
    """Look hyperparameters up: traced under its full name, traced under its bare name, else the static option.

    Args:
        choice: The catalogue choice whose options are read.
        hypers: Traced scalars of this run, by full name (`optimizer.momentum`) or bare name (`momentum`).
        prefix: First part of the full names, for example `optimizer`.

    Returns:
        A function from the bare name of a hyperparameter to its value (traced scalar or Python number).
    """

    def read(name: str) -> Any:
        for key in (f"{prefix}.{name}", name):
            if key in hypers:
                return hypers[key]
        return choice.options[name]

    return read


def look_up(table: Mapping[str, T], name: str, *, path: str) -> T:
    """The function of that name.

    Raises:
        SpecError: There is none; the text lists the nearest names.
    """
    if name not in table:
        names = " or ".join(nearest(name, table)) or ", ".join(table)
        refuse(path, f"must be one of the names of the catalogue, got {name!r}. Use {names}.")
    return table[name]


def refuse(path: str, message: str) -> NoReturn:
    """Raise a `SpecError` with one problem."""
    raise SpecError((Problem(path, message),))
