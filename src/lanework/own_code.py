"""The user's own Python files: `file.py:name`, run once per version, with what is wrong said in place of a traceback.

Owns the loading of a name from a file. Imports neither JAX nor Flax; knows nothing of what the name is used for.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache, wraps
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from lanework.catalog import nearest
from lanework.errors import Problem, SpecError

__all__ = [
    "KINDS",
    "USER_ERRORS",
    "is_named_in",
    "is_own",
    "line_of",
    "load",
    "load_function",
    "said",
]

# What code of a user may raise; anything else (interrupts, memory) is not his mistake.
USER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


KINDS = ("activation", "init", "loss", "optimizer")
"""Kinds of the catalogue of which a study may name an own function; networks are own classes."""


def is_own(name: object) -> bool:
    """Whether a name is that of something in a file, `file.py:name`."""
    return isinstance(name, str) and re.fullmatch(r".+\.py:\w+", name) is not None


def is_named_in(plain: object) -> bool:
    """Whether plain values name own code anywhere."""
    if isinstance(plain, Mapping):
        return any(is_named_in(item) for item in plain.values())
    if isinstance(plain, list | tuple):
        return any(is_named_in(item) for item in plain)
    return is_own(plain)


def load(name: str, *, path: str, what: str, suits: Callable[[object], bool] = callable) -> Any:
    """Load `file.py:name`.

    The folder of the file can be imported from while the file is being run, so that it may have helpers beside it.

    Args:
        name: Path of a Python file and a name in it, joined by a colon.
        path: Key of the study file, for the messages.
        what: What it must be, `class` or `function`.
        suits: Whether something in the file can be meant, for what is proposed in place of a name that is not there.

    Returns:
        What has that name.

    Raises:
        SpecError: There is no such file, it does not run, or it holds nothing of that name.
    """
    text, _, wanted = name.rpartition(":")
    file = Path(text)
    if not file.is_file():
        _refuse(
            path,
            f"must name a file that exists, got {text}. Write file.py:{what.title() if what == 'class' else what}; "
            "the path is relative to the study file.",
        )
    try:
        known = vars(_run_file(file.resolve(), file.stat().st_mtime_ns))
    except _DoesNotRun as problem:
        _refuse(path, str(problem))
    if wanted not in known:
        fitting = [key for key, value in known.items() if suits(value) and not key.startswith("_")]
        close = nearest(wanted, fitting) or tuple(fitting)
        hint = f"Use {' or '.join(close)}." if close else f"Define it there as {_DEFINED[what]}."
        _refuse(path, f"must name a {what} in {file.name}, got {wanted!r}. {hint}")
    return known[wanted]


def load_function(name: str, *, path: str) -> Callable[..., Any]:
    """The same for a function. A `SpecError` when what has the name cannot be called, or fails when it is."""
    found = load(name, path=path, what="function", suits=_is_function)
    if not callable(found):
        wanted = name.rpartition(":")[2]
        _refuse(
            path,
            f"must name a function, got {wanted!r} ({type(found).__name__}). Write def {wanted}(...).",
        )

    @wraps(found)
    def function(*args: Any, **options: Any) -> Any:
        try:
            return found(*args, **options)
        except SpecError:
            raise
        except USER_ERRORS as error:
            file = Path(name.rpartition(":")[0]).resolve()
            _refuse(
                path,
                f"must be a function that runs, got {said(error)} at {line_of(error, file)}. Mend it.",
            )

    return function


_DEFINED = {"class": "class ...(nnx.Module)", "function": "def ..."}


def _is_function(value: object) -> bool:
    return inspect.isfunction(value)


def _refuse(path: str, message: str) -> NoReturn:
    raise SpecError((Problem(path, message),))


class _DoesNotRun(Exception):
    """What is wrong with a file, to be said at the key that names it."""


@lru_cache(maxsize=32)
def _run_file(path: Path, modified_ns: int) -> ModuleType:
    """Run a file once per version of it."""
    label = f"lanework_own_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    spec = importlib.util.spec_from_file_location(label, path)
    if spec is None or spec.loader is None:
        raise _DoesNotRun(f"must be a Python file (.py), got {path.name}. Rename it.")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[label] = loaded  # dataclasses and pickles of the file look themselves up here
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(loaded)
    except USER_ERRORS as error:
        del sys.modules[label]
        raise _DoesNotRun(
            f"must be a file that runs, got {said(error)} at {line_of(error, path)}. Mend the file."
        ) from error
    finally:
        sys.path.remove(str(path.parent))
    return loaded


def said(error: BaseException) -> str:
    """An error of the user's code in one line."""
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def line_of(error: BaseException, path: Path) -> str:
    """Last line of the user's file that the error came through."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f"{path.name} line {error.lineno}"
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{path.name} line {line}" if line else path.name
