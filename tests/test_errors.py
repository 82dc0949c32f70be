"""The exception tree and how several problems read."""

from __future__ import annotations

import pickle

import pytest

from lanework import errors
from lanework.errors import LaneworkError, Problem, SpecError, UnknownNameError


def test_every_error_has_one_root() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    assert len(kinds) == 6
    assert all(issubclass(kind, LaneworkError) for kind in kinds)


def test_exported_names() -> None:
    assert errors.__all__ == [
        "DataError",
        "DeviceError",
        "LaneworkError",
        "Problem",
        "SpecError",
        "StoreError",
        "UnknownNameError",
    ]


def test_one_problem_is_one_line() -> None:
    error = SpecError([Problem("train.epochs", "must be >= 1, got 0.")], where="a.yaml")
    assert str(error) == "a.yaml, train.epochs: must be >= 1, got 0."


def test_a_problem_of_the_whole_file_names_no_key() -> None:
    assert str(SpecError([Problem("", "must be YAML.")], where="a.yaml")) == "a.yaml: must be YAML."


def test_several_problems_are_numbered_and_kept() -> None:
    problems = (Problem("a", "must be 1."), Problem("b.c[0]", "must be 2."))
    error = SpecError(problems, where="a.yaml")
    assert error.problems == problems
    assert str(error) == "a.yaml: 2 problems.\n  1. a: must be 1.\n  2. b.c[0]: must be 2."


@pytest.mark.parametrize("kind", [SpecError, UnknownNameError])
def test_survives_pickling_between_processes(kind: type[SpecError]) -> None:
    error = kind([Problem("a", "must be 1.")], where="a.yaml")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.problems, again.where) == (str(error), error.problems, "a.yaml")


def test_an_unknown_name_is_a_lookup_error_too() -> None:
    assert issubclass(UnknownNameError, LookupError)
