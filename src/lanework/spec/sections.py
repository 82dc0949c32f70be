"""From plain mappings to checked sections: `data`, `model`, `train`. Knows nothing of `compare`.

Owns the translation of pydantic's findings into our messages, the paths relative to the study
file, and the checks that need more than one key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lanework import own_code
from lanework.catalog import CATALOG
from lanework.catalog.schedules import problems as schedule_problems
from lanework.errors import Problem
from lanework.spec.check import got, join, names_hint
from lanework.spec.types import (
    Choice,
    DataSpec,
    ModelSpec,
    RunConfig,
    TrainSpec,
    is_own_net,
    known_task,
    wants_whole_batch,
)

__all__ = [
    "SECTIONS",
    "build_config",
    "build_section",
    "check_metric",
    "locate",
    "locate_code",
    "locate_net",
    "plain_config",
    "plain_section",
]

SECTIONS: Mapping[str, type[BaseModel]] = {
    "data": DataSpec,
    "model": ModelSpec,
    "train": TrainSpec,
}
CHANGES_GRADIENT = (
    *("clip_norm", "clip_value", "clip_layer_norm", "clip_adaptive"),
    "gradient_noise",
)
"""Keys of ``train`` after which the gradient is no longer that of the loss."""
DATA_FOLDER = "LANEWORK_DATA"
Model = TypeVar("Model", bound=BaseModel)
Plain = dict[str, Any]

_LIMITS = {
    "greater_than": (">", "gt"),
    "greater_than_equal": (">=", "ge"),
    "less_than": ("<", "lt"),
    "less_than_equal": ("<=", "le"),
}
_NOUNS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "tuple_type": "a list",
}


def build_section(model: type[Model], value: Any, path: str) -> tuple[Model | None, list[Problem]]:
    """Check one mapping against a model.

    Args:
        model: The model.
        value: What was given.
        path: Where, for the messages.

    Returns:
        The model, or ``None`` when there are problems, and the problems.
    """
    if model is ModelSpec and isinstance(value, Mapping):
        start = {key: value[key] for key in ("weights", "head") if key in value}
        options = {key: item for key, item in value.items() if key not in ("net", *start)}
        value = {"net": value.get("net", "mlp"), "options": options, **start}
    if not isinstance(value, Mapping):
        text = f"must be a mapping (key: value), got {got(value)}."
        return None, [Problem(path, f"{text} Use for example {_example(path)}.")]
    try:
        return model.model_validate(dict(value)), []
    except ValidationError as error:
        found: list[Problem] = []
        for finding in error.errors(include_url=False):
            found += _problems(finding, model=model, path=path)
        return None, found


def build_config(
    plain: Mapping[str, Any], *, memo: dict[str, Any] | None = None
) -> tuple[RunConfig | None, list[Problem]]:
    """Check a whole configuration; paths of the problems start at ``data``, ``model``, ``train``.

    Args:
        plain: The configuration in the form of the file.
        memo: Sections already checked, by their text; filled as a side effect. Combinations of a
            study differ in a section or two, so this saves most of the work.
    """
    memo = {} if memo is None else memo
    parts: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, model in SECTIONS.items():
        text = f"{name} {plain.get(name)!r}"
        if text not in memo:
            memo[text] = build_section(model, plain.get(name, {}), name)
        parts[name], found = memo[text]
        problems += found
    problems = _at_rule(problems, plain.get("train", {}))
    if problems:
        return None, problems
    config = RunConfig(**parts)
    problems = _cross_checks(config)
    return (None if problems else config), problems


def plain_config(config: RunConfig) -> Plain:
    """A configuration in the form of the file, every default filled in."""
    return {name: plain_section(getattr(config, name)) for name in SECTIONS}


def plain_section(section: BaseModel) -> Plain:
    """One section in the form of the file: choices by name, options of the network beside it."""
    if isinstance(section, ModelSpec):
        return {
            "net": section.net,
            **{key: _plain(item) for key, item in section.options.items()},
            **_plain_start(section),
        }
    plain: Plain = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        key = field.serialization_alias or name
        plain[key] = _plain(value)
    return plain


def _plain_start(model: ModelSpec) -> Plain:
    """What a network starts from, where that is not the usual fresh weights."""
    is_usual = model.weights is None and model.head == "new"
    return {} if is_usual else {"weights": model.weights, "head": model.head}


def locate(source: Any, base: Path) -> Any:
    """A path of the file made absolute; names and anything that is no path stay as they are.

    A relative path starts at ``base``; what is not there is looked for in the data folder that
    the environment variable LANEWORK_DATA names.
    """
    if not isinstance(source, str) or not source or source.startswith("<") or "\0" in source:
        return source
    if source in CATALOG["source"]:
        return source
    path = (base / Path(source).expanduser()).resolve()
    shared = os.environ.get(DATA_FOLDER)
    if shared and not path.exists() and (Path(shared) / source).exists():
        return str((Path(shared) / source).resolve())
    is_path = "/" in source or "\\" in source or "." in source
    return str(path) if is_path or path.exists() else source


def locate_code(value: Any, base: Path) -> Any:
    """Plain values with the file of every ``file.py:name`` in them made absolute."""
    if isinstance(value, Mapping):
        return {key: locate_code(item, base) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [locate_code(item, base) for item in value]
    return locate_net(value, base) if own_code.is_own(value) else value


def locate_net(net: Any, base: Path) -> Any:
    """``file.py:Class`` with the file made absolute."""
    if not is_own_net(net) or net.startswith("<"):
        return net
    file, _, name = net.rpartition(":")
    return f"{(base / Path(file).expanduser()).resolve()}:{name}"


def check_metric(metric: Any, path: str, *, task: str | None) -> list[Problem]:
    """Check the name of a metric with its split in front (``val_accuracy``)."""
    if metric is None:
        return []
    known = [
        f"{split}_{row.name}"
        for split in ("val", "train")
        for row in CATALOG["metric"].values()
        if task is None or row.facts["task"] in ("any", task)
    ]
    if metric in known:
        return []
    if isinstance(metric, str) and metric.startswith("test_"):
        text = f"must be measured on val or train, got {metric!r}. The test part is used once, "
        text += f"at the end; use {metric.replace('test_', 'val_', 1)}."
        return [Problem(path, text)]
    of = f" of {task}" if task else ""
    text = f"must be a metric{of} with its part, got {got(metric)}. {names_hint(metric, known)}"
    return [Problem(path, text)]


def _plain(value: Any) -> Any:
    if isinstance(value, Choice):
        return {"name": value.name, **value.options} if value.options else value.name
    if isinstance(value, BaseModel):
        return plain_section(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _problems(finding: Mapping[str, Any], *, model: type[BaseModel], path: str) -> list[Problem]:
    where = _where(finding["loc"], path)
    context = finding.get("ctx", {})
    if finding["type"] == "lanework":
        nested: list[Problem] = context["problems"]
        return [Problem(_nested(where, problem.path), problem.message) for problem in nested]
    if finding["type"] == "extra_forbidden":
        keys = _keys(_owner(model, finding["loc"][:-1]))
        return [
            Problem(
                where,
                f"must be a known key, got {finding['loc'][-1]!r}. {names_hint(finding['loc'][-1], keys)}",
            )
        ]
    if finding["type"] == "invalid_key":
        return [
            Problem(path, f"must have text as keys, got {got(finding['input'])}. Mend the key.")
        ]
    if finding["type"] == "missing":
        return [Problem(where, f"must be given, got nothing. {_missing_hint(where)}")]
    text = f"must be {_expected(finding)}, got {got(finding['input'])}."
    return [Problem(where, f"{text} {_hint(model, finding)}")]


def _expected(finding: Mapping[str, Any]) -> str:
    kind, context = finding["type"], finding.get("ctx", {})
    if kind in _LIMITS:
        sign, key = _LIMITS[kind]
        return f"{sign} {context[key]:.12g}"
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "")
    if kind == "string_too_short":
        return "text that is not empty"
    if kind == "string_too_long":
        return f"at most {context['max_length']} character(s) long"
    return str(_NOUNS.get(kind, finding["msg"]))


def _hint(model: type[BaseModel], finding: Mapping[str, Any]) -> str:
    value = finding["input"]
    if finding["type"] in ("int_type", "float_type", "bool_type") and _is_quoted(value):
        return "Remove the quotes."
    if finding["type"] == "literal_error":
        options = re.findall(r"'([^']*)'", str(finding["ctx"]["expected"]))
        return names_hint(value, options)
    owner = _owner(model, finding["loc"][:-1])
    field = owner.model_fields.get(str(finding["loc"][-1])) if owner else None
    if field is None:
        return "Mend or remove it."
    if field.examples:
        return f"Use for example {_shown(field.examples[0])}, or leave it out."
    default = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, bool | int | float | str) and default != "":
        return f"Use for example {_shown(default)}."
    return "Mend it, or leave it out to use the default."


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_quoted(value: object) -> bool:
    pattern = r"[-+]?[0-9.]+(e[-+]?[0-9]+)?|true|false"
    return isinstance(value, str) and re.fullmatch(pattern, value.strip().lower()) is not None


def _owner(model: type[BaseModel], loc: tuple[Any, ...]) -> type[BaseModel] | None:
    """The model that holds the key at the end of ``loc``."""
    for part in loc:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        inner = [
            item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)
        ]
        if not inner:
            return None
        model = inner[0]
    return model


def _keys(model: type[BaseModel] | None) -> list[str]:
    if model is None:
        return []
    return [field.serialization_alias or name for name, field in model.model_fields.items()]


def _where(loc: tuple[Any, ...], path: str) -> str:
    for part in loc:
        path = f"{path}[{part}]" if isinstance(part, int) else join(path, str(part))
    return path


def _nested(path: str, inner: str) -> str:
    if not inner:
        return path
    return path + inner if inner.startswith("[") else join(path, inner)


def _missing_hint(where: str) -> str:
    if where.endswith("source"):
        return f"Give a file or one of {', '.join(CATALOG['source'])}."
    return "Add it."


def _example(path: str) -> str:
    examples = {
        "data": "{source: digits}",
        "model": "{net: mlp}",
        "train": "{epochs: 20}",
    }
    return examples.get(path, "{}")


def _at_rule(problems: list[Problem], train: Any) -> list[Problem]:
    """Problems of a rate that was given with the rule: moved there, or that it is given twice."""
    rule = train.get("optimizer") if isinstance(train, Mapping) else None
    if not isinstance(rule, Mapping) or "learning_rate" not in rule:
        return problems
    where, here = "train.optimizer.learning_rate", "train.learning_rate"
    if "learning_rate" not in train:
        return [
            Problem(where if item.path == here else item.path, item.message) for item in problems
        ]
    first, second = train["learning_rate"], rule["learning_rate"]
    if first == second:
        return problems
    text = f"must be given once, got {got(second)} here and {got(first)} as {here}. Remove one."
    return [*problems, Problem(where, text)]


def _cross_checks(config: RunConfig) -> list[Problem]:
    train, model, data = config.train, config.model, config.data
    problems = [*_check_times(train), *_check_files(config)]
    problems += [] if model.is_own else _check_parts(train, model)
    own_decay = train.optimizer.options.get("weight_decay", 0.0)
    if train.weight_decay > 0 and own_decay > 0:
        rule = train.optimizer.name
        text = f"must be given once, got {train.weight_decay:g} here and {own_decay:g} in {rule}. "
        text += f"Use {{name: {rule}, weight_decay: 0}} or leave this one out."
        problems.append(Problem("train.weight_decay", text))
    problems += _check_rule(train, dropout="dropout" in model.options)
    if train.early_stopping is not None:
        where = "train.early_stopping.metric"
        problems += check_metric(train.early_stopping.metric, where, task=known_task(data))
    return problems


def _needs_objective(rule: Choice) -> bool:
    row = CATALOG["optimizer"].get(rule.name)
    return row is not None and row.facts.get("needs") == "objective"


def _check_parts(train: TrainSpec, model: ModelSpec) -> list[Problem]:
    """Problems of norms and dropout with how the network is trained."""
    problems = []
    norm = model.options.get("norm")
    options = norm if isinstance(norm, Mapping) else {"name": norm}
    if train.batch_size == 1 and "batch" in (options["name"], options.get("then")):
        text = "must be >= 2 with batch normalisation, got 1: a batch of one has no variance. "
        text += (
            "Use model.norm: layer or group, which look at each sample alone, or a larger batch."
        )
        problems.append(Problem("train.batch_size", text))
    passes = model.options.get("mc_passes")
    if passes and model.options.get("dropout_at_evaluation"):
        text = f"must be left out with mc_passes, got true with {passes}: dropout is on at evaluation either way. Remove one."
        problems.append(Problem("model.dropout_at_evaluation", text))
    form = model.options.get("dropout_form", "inverted")
    if form != "inverted" and "dropout" in train.schedules:
        text = f"must be left out with dropout_form {form}, got a schedule: what scales at evaluation is one share. "
        problems.append(Problem("train.schedules.dropout", text + "Use dropout_form: inverted."))
    return problems


def _check_rule(train: TrainSpec, *, dropout: bool) -> list[Problem]:
    """Problems of an update rule with what stands around it."""
    rule, problems = train.optimizer, []
    needs_objective = _needs_objective(rule)
    if wants_whole_batch(rule) and train.batch_size != "all":
        text = f"must be all with {rule.name}, got {got(train.batch_size)}: the rule is defined for the whole training "
        text += "part at once. Use batch_size: all, or another rule (sgd, lbfgs)."
        problems.append(Problem("train.batch_size", text))
    if needs_objective and train.accumulate > 1:
        text = f"must be 1 with {rule.name}, got {train.accumulate}: the rule asks for the loss of one batch again. "
        problems.append(Problem("train.accumulate", text + "Use a larger batch_size."))
    problems += _check_apart(train, is_whole=needs_objective)
    problems += _check_varied(train, dropout=dropout)
    changed = [name for name in CHANGES_GRADIENT if getattr(train, name)]
    if needs_objective and changed:
        text = f"must be left out with {rule.name}, got {getattr(train, changed[0]):g}: the rule compares gradients with "
        text += "the loss they belong to, which this changes. Remove it, or use another rule."
        problems.append(Problem(f"train.{changed[0]}", text))
    if train.l1_proximal and train.l1 == 0:
        text = "must come with l1 > 0, got true with l1 0: there is nothing to shrink by. Set train.l1."
        problems.append(Problem("train.l1_proximal", text))
    return problems


def _check_varied(train: TrainSpec, *, dropout: bool) -> list[Problem]:
    """Problems of schedules of something that the recipe does not have."""
    rule, problems = train.optimizer, []
    known = [*rule.options, *(("dropout",) if dropout else ())]
    for name in train.schedules:
        if name not in known and not hasattr(train, name):
            text = f"must vary something that this recipe has, got {name!r}: {rule.name} has no such option. "
            problems.append(Problem(f"train.schedules.{name}", text + names_hint(name, known)))
    return problems


def _check_apart(train: TrainSpec, *, is_whole: bool) -> list[Problem]:
    """Problems of parameters that are trained apart from others, under a rule that may look at all of them at once."""
    rule, problems = train.optimizer.name, []
    for key in ("freeze", "unfreeze", "layer_decay"):
        if is_whole and getattr(train, key):
            text = f"must be left out with {rule}, got {got(plain_section(train)[key])}: the rule looks at the loss of "
            text += "all parameters together. Use another rule."
            problems.append(Problem(f"train.{key}", text))
    for place, group in enumerate(train.groups):
        if is_whole:
            text = f"must be left out with {rule}, got {group.match!r}: the rule looks at the loss of all parameters "
            problems.append(Problem(f"train.groups[{place}]", text + "together. Use another rule."))
        own = group.optimizer
        if own is not None and _needs_objective(own):
            text = f"must be a first-order rule in a group, got {own.name!r}. Use for example sgd."
            problems.append(Problem(f"train.groups[{place}].optimizer", text))
    return problems


def _check_times(train: TrainSpec) -> list[Problem]:
    problems = []
    if train.eval_every > train.epochs:
        text = f"must be <= epochs ({train.epochs}), got {train.eval_every:g}: nothing would be "
        problems.append(Problem("train.eval_every", text + "evaluated. Use for example 1."))
    for path, choice in {
        "train.schedule": train.schedule,
        **{f"train.schedules.{name}": choice for name, choice in train.schedules.items()},
    }.items():
        problems += schedule_problems(
            choice, total_steps=train.epochs, steps_per_epoch=1, path=path
        )
    return problems


def _check_files(config: RunConfig) -> list[Problem]:
    net = config.model.net
    if not config.model.is_own or net.startswith("<"):
        return []
    file, _, name = net.rpartition(":")
    if not name.isidentifier():
        text = (
            f"must be file.py:Class, got {got(net)}. Write the name of the class after the colon."
        )
        return [Problem("model.net", text)]
    if not Path(file).is_file():
        text = f"must name a file that exists, got {file}. The path is relative to the study file."
        return [Problem("model.net", text)]
    return []
