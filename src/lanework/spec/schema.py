"""The JSON schema of a study file, made from the catalogue and the models, for editors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lanework import own_code
from lanework.catalog import CATALOG, Entry, Hyper
from lanework.spec.types import (
    CHOICES,
    COLUMN_KINDS,
    OPTIONAL_CHOICES,
    SCHEDULABLE,
    DataSpec,
    ModelSpec,
    ReportSpec,
    TrainSpec,
)

__all__ = ["schema"]

Schema = dict[str, Any]
_PAIR: Schema = {
    "type": "array",
    "items": {"type": "number"},
    "minItems": 2,
    "maxItems": 2,
    "description": "[low, high], both included",
}


def schema() -> Schema:
    """The JSON schema (draft 2020-12) of a study file.

    Names complete from the catalogue, and each key shows its summary. The schema is a help for
    editors; what `load_study` says goes further (sums, orders, combinations).
    """
    definitions: Schema = {
        kind: _choice_schema(kind)
        for kind in (*CHOICES, "activation", "init", "norm", "augmentation")
    }
    sections = {"data": _data(definitions), "model": _model(), "train": _train(definitions)}
    definitions |= sections
    definitions["range"] = _range()
    reference = {name: {"$ref": f"#/$defs/{name}"} for name in sections}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lanework study",
        "description": "Which data, which network, and which recipes to compare.",
        "type": "object",
        "additionalProperties": False,
        "required": ["study"],
        "properties": {
            "study": {"type": "string", "description": "short name, also of the folder"},
            **reference,
            "compare": _compare(sections),
            "exclude": {
                "type": "array",
                "items": {"type": "object"},
                "description": "combinations to leave out: factor to value, or list of values",
            },
            "seeds": _seeds(),
            "report": _inlined(ReportSpec, {}),
            "notes": {"type": "string", "description": "free text for the report"},
            "remedies": {
                "enum": ["try", "off"],
                "default": "off",
                "description": "try: recipes that are found sick are trained again with their remedies at the end",
            },
        },
        "$defs": definitions,
    }


def _choice_schema(kind: str) -> Schema:
    """A name, or a mapping with the name and its options."""
    rows = CATALOG[kind].values()
    own = [_OWN, _OWN_WITH_OPTIONS] if kind in own_code.KINDS else []
    return {"anyOf": [_names(rows), *(_row(row) for row in rows if row.hypers), *own]}


_OWN: Schema = {
    "type": "string",
    "pattern": r"\.py:\w+$",
    "description": "an own function, file.py:name",
}
_OWN_WITH_OPTIONS: Schema = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": _OWN},
    "description": "an own function with its arguments beside the name",
}


def _names(rows: Iterable[Entry], extra: Mapping[str, str] | None = None) -> Schema:
    texts = {**(extra or {}), **{row.name: row.summary for row in rows}}
    return {"enum": list(texts), "enumDescriptions": list(texts.values())}


def _row(row: Entry) -> Schema:
    properties = {hyper.name: _hyper(hyper) for hyper in row.hypers}
    return {
        "type": "object",
        "description": f"{row.summary} {row.formula}",
        "additionalProperties": False,
        "required": ["name"],
        "properties": {"name": {"const": row.name, "description": row.summary}, **properties},
    }


def _hyper(hyper: Hyper) -> Schema:
    default = list(hyper.default) if isinstance(hyper.default, tuple) else hyper.default
    text: Schema = {"description": f"{hyper.summary} ({hyper.range_text()})", "default": default}
    if hyper.kind == "choice":
        return _named_hyper(hyper) | text
    if hyper.kind == "by_path":
        inner = {"type": "object", "additionalProperties": {"$ref": f"#/$defs/{hyper.of}"}}
        return {"anyOf": [inner, {"type": "null"}]} | text
    kinds = {"float": "number", "int": "integer", "ints": "integer", "bool": "boolean"}
    value: Schema = {"type": kinds.get(hyper.kind, "string"), **_limits(hyper)}
    if hyper.kind == "ints":
        value = {"type": "array", "items": value}
    elif hyper.default is None:
        value["type"] = [value["type"], "null"]
    return value | text


def _named_hyper(hyper: Hyper) -> Schema:
    if not hyper.of:
        return {"enum": list(hyper.choices)}
    inner = {"$ref": f"#/$defs/{hyper.of}"}
    return (
        {"anyOf": [{"enum": list(hyper.choices)}, inner]} if hyper.choices else {"anyOf": [inner]}
    )


def _limits(hyper: Hyper) -> Schema:
    limits: Schema = {}
    if hyper.low is not None:
        limits["exclusiveMinimum" if hyper.low_open else "minimum"] = hyper.low
    if hyper.high is not None:
        limits["exclusiveMaximum" if hyper.high_open else "maximum"] = hyper.high
    return limits


def _inlined(model: Any, definitions: Schema) -> Schema:
    """A model's own schema; the models inside it go to the definitions."""
    made: Schema = model.model_json_schema(by_alias=True, mode="serialization")
    definitions |= made.pop("$defs", {})
    for name in ("required", "title"):
        made.pop(name, None)
    cleaned: Schema = _untitled(made)
    return cleaned


def _untitled(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = {key: _untitled(item) for key, item in value.items()}
        if isinstance(kept.get("title"), str):
            del kept["title"]
        return kept
    return [_untitled(item) for item in value] if isinstance(value, list) else value


def _data(definitions: Schema) -> Schema:
    section = _inlined(DataSpec, definitions)
    properties = section["properties"]
    properties["source"]["anyOf"] = [_names(CATALOG["source"].values()), {"type": "string"}]
    properties["source"].pop("type", None)
    step = _choice_schema("preparation")
    prepare: Schema = {"anyOf": [*step["anyOf"], {"type": "array", "items": step, "minItems": 1}]}
    parts = _names(CATALOG["date_part"].values())
    part: Schema = {"anyOf": [parts, {"type": "array", "items": parts, "minItems": 1}]}
    rare: Schema = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]}
    encoding = _names(CATALOG["encoding"].values())
    own = {"prepare": prepare, "categories": encoding, "rare": rare, "dates": part}
    for key, shape in own.items():
        kept = {
            name: properties[key][name]
            for name in ("default", "description", "examples")
            if name in properties[key]
        }
        properties[key] = shape | kept
    kinds: Schema = {"enum": list(COLUMN_KINDS)}
    column: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"kind": kinds, **own},
    }
    properties["columns"]["additionalProperties"] = {"anyOf": [kinds, column]}
    properties["target"]["anyOf"].append({"type": "integer"})
    return section


def _train(definitions: Schema) -> Schema:
    section = _inlined(TrainSpec, definitions)
    properties = section["properties"]
    for kind in CHOICES:
        text = properties[kind].get("description", "")
        inner: list[Schema] = [{"$ref": f"#/$defs/{kind}"}]
        if kind in OPTIONAL_CHOICES:
            inner.append({"type": "null"})
        properties[kind] = {"anyOf": inner, "description": text}
    properties["augment"]["items"] = {"$ref": "#/$defs/augmentation"}
    schedule = {"$ref": "#/$defs/schedule"}
    properties["schedules"] |= {
        "additionalProperties": False,
        "properties": dict.fromkeys(SCHEDULABLE, schedule),
    }
    group = definitions["GroupSpec"]["properties"]
    group["optimizer"] = {"anyOf": [{"$ref": "#/$defs/optimizer"}, {"type": "null"}]}
    properties["learning_rate"] = {
        "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"const": "auto"}],
        "description": properties["learning_rate"].get("description", ""),
    }
    properties["batch_size"] = {
        "anyOf": [{"type": "integer", "minimum": 1}, {"const": "all"}],
        "description": properties["batch_size"].get("description", ""),
        "default": 64,
    }
    properties["early_stopping"]["anyOf"] += [{"type": "integer", "minimum": 1}, {"const": False}]
    definitions.pop("Choice", None)
    return section


def _model() -> Schema:
    nets: list[Schema] = []
    start = {key: _inlined(ModelSpec, {})["properties"][key] for key in ("weights", "head")}
    for row in CATALOG["net"].values():
        properties = {hyper.name: _hyper(hyper) for hyper in row.hypers} | start
        net = {"const": row.name, "description": row.summary}
        nets.append(
            {
                "type": "object",
                "description": row.summary,
                "additionalProperties": False,
                "required": [] if row.name == "mlp" else ["net"],
                "properties": {"net": net, **properties},
            }
        )
    own: Schema = {
        "type": "object",
        "description": "an own flax.nnx module; the other keys are arguments of its constructor",
        "required": ["net"],
        "properties": {"net": {"type": "string", "pattern": ":[A-Za-z_]"}, **start},
    }
    return {"anyOf": [*nets, own]}


def _compare(sections: Schema) -> Schema:
    fields: Schema = {}
    for net in reversed(sections["model"]["anyOf"]):
        fields |= net["properties"]
    fields["net"] = {"anyOf": [_names(CATALOG["net"].values()), {"type": ["string", "object"]}]}
    for name in ("data", "train"):
        fields |= sections[name]["properties"]
    factors = {key: _factor(value) for key, value in fields.items()}
    recipes: Schema = {
        "type": "array",
        "description": "whole named recipes: a name, and any keys of data, model and train",
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}},
        },
    }
    mapping: Schema = {
        "type": "object",
        "properties": {**factors, "recipes": recipes},
        "additionalProperties": _factor({}),
    }
    return {"anyOf": [mapping, recipes], "description": "factors (crossed), or whole recipes"}


def _factor(value: Schema) -> Schema:
    items = {"type": "array", "items": value, "minItems": 1}
    shown = {"description": value["description"]} if "description" in value else {}
    return {"anyOf": [items, {"$ref": "#/$defs/range"}], **shown}


def _range() -> Schema:
    points = {"type": "integer", "minimum": 2, "maximum": 10_000, "description": "how many values"}
    kinds = [
        {
            "type": "object",
            "additionalProperties": False,
            "required": [kind, "points"],
            "properties": {kind: _PAIR, "points": points},
        }
        for kind in ("log", "lin")
    ]
    return {"anyOf": kinds, "description": "evenly spread values, on a log or a linear scale"}


def _seeds() -> Schema:
    seed = {"type": "integer", "minimum": 0, "exclusiveMaximum": 2**32}
    return {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 10_000},
            {"type": "array", "items": seed, "minItems": 1, "uniqueItems": True},
        ],
        "description": "how many runs per combination, or the list of their seeds",
    }
