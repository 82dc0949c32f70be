"""YAML as a study file means it: YAML 1.2's plain scalars, no duplicate keys. Imports errors only.

PyYAML follows YAML 1.1, where ``1e-3`` is text, ``on`` is true and ``1:30`` is ninety. Here ``1e-3``
is a number and only ``true`` and ``false`` are truth values.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from lanework.errors import Problem, SpecError

__all__ = ["from_yaml", "to_yaml"]

_RESOLVERS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
)
_BREAKS = "\x85\u2028\u2029\r"  # line breaks that survive only when escaped
_MAX_DIGITS = 300


class _Loader(yaml.SafeLoader):
    """Reads; its resolvers are those of the table above only."""


class _Dumper(yaml.SafeDumper):
    """Writes; quotes whatever the reader would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Lists under a key are indented, as people write them."""
        super().increase_indent(flow, False)


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    if len(text) > _MAX_DIGITS:
        line = node.start_mark.line + 1
        what = f"numbers must have at most {_MAX_DIGITS} digits, got {len(text)} on line {line}. "
        raise SpecError([Problem("", what + "Put it in quotes if it is text.")])
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in seen and name != "<<":
            text = f"each key may be given once, got {name!r} on lines {seen[name]} and {line}. "
            raise SpecError([Problem("", text + "Remove one of them.")])
        seen[name] = line
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


def _represent_str(dumper: _Dumper, value: str) -> yaml.Node:
    style = '"' if any(letter in value for letter in _BREAKS) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _represent_list(dumper: _Dumper, value: Any) -> yaml.Node:
    is_short = all(not isinstance(item, dict | list | tuple) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", list(value), flow_style=is_short)


_Loader.yaml_implicit_resolvers = {}
_Dumper.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _RESOLVERS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first)
        )
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
_Dumper.add_representer(str, _represent_str)
_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(tuple, _represent_list)


def from_yaml(text: str, *, where: str) -> Any:
    """Read YAML text.

    Args:
        text: The text.
        where: Name of the file, for the messages.

    Raises:
        SpecError: The text is not YAML, or gives a key twice.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except SpecError as error:
        raise SpecError(error.problems, where=where) from None
    except yaml.YAMLError as error:
        raise SpecError([Problem("", _yaml_text(error))], where=where) from None


def to_yaml(value: Any) -> str:
    """Write plain values as YAML that `from_yaml` reads back unchanged."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))


def _yaml_text(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
    where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return (
        f"must be YAML, got {problem}{where}. "
        "Check the indentation, the colons (a space after each) and the brackets there."
    )
