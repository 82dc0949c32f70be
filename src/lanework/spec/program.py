"""What is compiled in and what varies by lane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lanework.catalog import CATALOG, Hyper
from lanework.catalog.networks import STARTING
from lanework.spec.sections import plain_config
from lanework.spec.types import CHOICES, Choice, RunConfig

__all__ = ["OF_NET", "TRACED", "ZERO_IS_OFF", "static_key", "traced_values"]

OF_NET = ("dropout", "spatial_dropout", "stochastic_depth")
"""Traced options of the network that do nothing when zero."""
ZERO_IS_OFF = (
    "l1",
    "l2",
    "weight_decay",
    "label_smoothing",
    *OF_NET,
    "gradient_noise",
    "weight_noise",
    "input_noise",
)
"""Traced values that do nothing when zero: a program whose lanes all have zero leaves them out."""
TRACED = ("learning_rate", *(name for name in ZERO_IS_OFF if name not in OF_NET))
"""Traced keys of ``train``."""
OPTIONAL = (
    *("clip_norm", "clip_value", "clip_layer_norm", "clip_adaptive", "max_norm"),
    "layer_decay",
)
"""Keys of ``train`` that are traced where they are given; whether they are is compiled in."""


def static_key(config: RunConfig) -> dict[str, Any]:
    """Everything of a configuration that its program is compiled for.

    Args:
        config: The configuration of an arm.

    Returns:
        Plain values (fit for JSON, always in the same order): the configuration without traced
        hyperparameters and without the initial weights. Equal keys share one program. Where an
        optional threshold such as ``clip_norm`` is given, the key says so without the value.
    """
    plain = plain_config(config)
    train, model = plain["train"], plain["model"]
    for name in TRACED:
        del train[name]
    for name in OPTIONAL:
        train[name] = getattr(config.train, name) is not None
    for group in train["groups"]:
        del group["rate"]
    train["unfreeze"] = config.train.unfreeze is not None
    chosen = {kind: getattr(config.train, kind) for kind in CHOICES}
    train |= {kind: _fixed(kind, choice) for kind, choice in chosen.items() if choice is not None}
    train["augment"] = [_fixed("augmentation", choice) for choice in config.train.augment]
    train["schedules"] = {
        name: _fixed("schedule", choice) for name, choice in config.train.schedules.items()
    }
    apart = ["weights", "head"]
    if not config.model.is_own:
        traced = (hyper.name for hyper in _hypers("net", config.model.net) if hyper.traced)
        apart += [*STARTING, *traced]
    plain["model"] = {key: item for key, item in model.items() if key not in apart}
    return plain


def traced_values(config: RunConfig) -> dict[str, float]:
    """The values that vary by lane, under flat names (``learning_rate``, ``optimizer.b1``).

    Configurations with equal static keys have the same names, in the same order.
    """
    train = config.train
    values = {name: float(getattr(train, name)) for name in TRACED}
    given = {name: getattr(train, name) for name in OPTIONAL}
    values |= {name: float(value) for name, value in given.items() if value is not None}
    values |= {f"groups.{place}.rate": group.rate for place, group in enumerate(train.groups)}
    if train.unfreeze is not None:
        values["unfreeze.every"] = float(train.unfreeze.every)
    chosen = {kind: (kind, getattr(train, kind)) for kind in CHOICES}
    chosen |= {f"schedules.{name}": ("schedule", item) for name, item in train.schedules.items()}
    chosen |= {f"augment.{item.name}": ("augmentation", item) for item in train.augment}
    for prefix, (kind, choice) in chosen.items():
        if choice is not None:
            traced = _traced(_hypers(kind, choice.name), choice.options)
            values |= {f"{prefix}.{name}": value for name, value in traced.items()}
    if not config.model.is_own:
        values |= _traced(_hypers("net", config.model.net), config.model.options)
    return values


def _fixed(kind: str, choice: Choice) -> dict[str, Any]:
    """What of a choice is compiled in."""
    traced = {hyper.name for hyper in _hypers(kind, choice.name) if hyper.traced}
    options = {key: item for key, item in choice.options.items() if key not in traced}
    return {"name": choice.name, **options}


def _hypers(kind: str, name: str) -> tuple[Hyper, ...]:
    row = CATALOG[kind].get(name)  # None for an own function, whose options are compiled in
    return row.hypers if row else ()


def _traced(hypers: tuple[Hyper, ...], options: Mapping[str, Any]) -> dict[str, float]:
    return {
        hyper.name: float(options[hyper.name])
        for hyper in hypers
        if hyper.traced and hyper.name in options
    }
