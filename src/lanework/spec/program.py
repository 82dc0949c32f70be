"""What is compiled in and what varies by lane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lanework.catalog import CATALOG, Hyper
from lanework.spec.sections import plain_config
from lanework.spec.types import RunConfig

__all__ = ["TRACED", "ZERO_IS_OFF", "static_key", "traced_values"]

TRACED = ("learning_rate", "l1", "l2", "weight_decay", "label_smoothing")
"""Traced keys of ``train``; ``clip_norm`` too, when it is given."""
ZERO_IS_OFF = ("l1", "l2", "weight_decay", "label_smoothing", "dropout")
"""Traced values that do nothing when zero: a program whose lanes all have zero may leave them out."""
CHOICES = ("optimizer", "schedule", "loss")


def static_key(config: RunConfig) -> dict[str, Any]:
    """Everything of a configuration that its program is compiled for.

    Args:
        config: The configuration of an arm.

    Returns:
        Plain values (fit for JSON, always in the same order): the configuration without traced
        hyperparameters and without the initial weights. Equal keys share one program. Where
        ``clip_norm`` is given, the key says so without the value.
    """
    plain = plain_config(config)
    train, model = plain["train"], plain["model"]
    for name in TRACED:
        del train[name]
    train["clip_norm"] = config.train.clip_norm is not None
    for kind in CHOICES:
        choice = getattr(config.train, kind)
        if choice is not None:
            fixed = {hyper.name for hyper in _hypers(kind, choice.name) if not hyper.traced}
            options = {key: item for key, item in choice.options.items() if key in fixed}
            train[kind] = {"name": choice.name, **options}
    if not config.model.is_own:
        model.pop("init", None)
        for hyper in _hypers("net", config.model.net):
            if hyper.traced:
                model.pop(hyper.name, None)
    return plain


def traced_values(config: RunConfig) -> dict[str, float]:
    """The values that vary by lane, under flat names (``learning_rate``, ``optimizer.b1``).

    Configurations with equal static keys have the same names, in the same order.
    """
    train = config.train
    values = {name: float(getattr(train, name)) for name in TRACED}
    if train.clip_norm is not None:
        values["clip_norm"] = float(train.clip_norm)
    for kind in CHOICES:
        choice = getattr(train, kind)
        if choice is not None:
            traced = _traced(_hypers(kind, choice.name), choice.options)
            values |= {f"{kind}.{name}": value for name, value in traced.items()}
    if not config.model.is_own:
        values |= _traced(_hypers("net", config.model.net), config.model.options)
    return values


def _hypers(kind: str, name: str) -> tuple[Hyper, ...]:
    return CATALOG[kind][name].hypers


def _traced(hypers: tuple[Hyper, ...], options: Mapping[str, Any]) -> dict[str, float]:
    return {
        hyper.name: float(options[hyper.name])
        for hyper in hypers
        if hyper.traced and hyper.name in options
    }
