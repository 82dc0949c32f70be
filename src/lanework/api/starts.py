"""What the networks of a study start from, and how signals pass through them: for the report, and as text.

Owns which networks differ in that, and the words. Imports JAX only where something is measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lanework.catalog import CATALOG
from lanework.catalog.networks import STARTING
from lanework.spec import Arm

if TYPE_CHECKING:
    from lanework.api.preparing import Prepared

MOST = 12
# Options of a network on which it depends how signals pass through it.
SHAPING = (*STARTING, "activation", "norm", "norm_position", "depth")
Start = dict[str, Any]


def starts(prepared: Prepared, *, is_measured: bool) -> list[Start]:
    """The networks of a study that differ in more than traced values, each with what its weights start from.

    Args:
        prepared: The study.
        is_measured: Measure the variance by layer too (the first `MOST` networks; a compilation each).

    Returns:
        Records with `label`, `arms` (names), `init`, `why` (a sentence) and, where measured, `signals` (see
        `lanework.cohort.signals.at_start`).
    """
    groups = _groups(prepared)
    found: list[Start] = []
    for place, arms in enumerate(groups):
        config = arms[0].config
        start: Start = {
            "label": _label(arms, prepared.arms, len(groups)),
            "arms": [arm.name for arm in arms],
            "init": _init_text(config.model.options),
            "why": _why(prepared, arms[0]),
        }
        if is_measured and place < MOST:
            from lanework.cohort import signals

            laid = next(item for item in prepared.laid if arms[0].index in item.bucket.arms)
            dataset = prepared.datasets[laid.bucket.data]
            seed = prepared.spec.seeds[0]
            start["signals"] = signals.at_start(config, dataset, seed=seed, module=prepared.module)
        found.append(start)
    return found


def worth_measuring(prepared: Prepared) -> bool:
    """Whether the study is about what signals do at the start: it compares such things (half a second for each network)."""
    seen = {
        json.dumps(
            [arm.config.model.net, [arm.config.model.options.get(name) for name in SHAPING]],
            default=str,
        )
        for arm in prepared.arms
    }
    return len(seen) > 1


def _groups(prepared: Prepared) -> list[list[Arm]]:
    """Arms with the same network, traced values aside, in the order of the study."""
    groups: dict[str, list[Arm]] = {}
    for arm in prepared.arms:
        model = arm.config.model
        row = CATALOG["net"].get(model.net)
        traced = {hyper.name for hyper in row.hypers if hyper.traced} if row else set()
        kept = {name: value for name, value in model.options.items() if name not in traced}
        kept |= {"weights": model.weights, "head": model.head}
        text = json.dumps([model.net, kept, arm.config.data.model_dump(mode="json")], default=str)
        groups.setdefault(text, []).append(arm)
    return list(groups.values())


def _label(arms: Sequence[Arm], every: Sequence[Arm], num_groups: int) -> str:
    """What a network's recipes have in common and others do not."""
    if num_groups == 1:
        return str(arms[0].config.model.net)
    words = []
    for key in arms[0].factors:
        own = {str(arm.factors.get(key)) for arm in arms}
        all_values = {str(arm.factors.get(key)) for arm in every}
        if len(own) == 1 and len(all_values) > 1:
            words.append(f"{key} {next(iter(own))}")
    return ", ".join(words) or str(arms[0].config.model.net)


def _init_text(options: Mapping[str, Any]) -> str:
    init = options.get("init")
    if not isinstance(init, Mapping):
        return str(init or "")
    inside = ", ".join(f"{key} {value}" for key, value in init.items() if key != "name")
    return f"{init['name']} ({inside})" if inside else str(init["name"])


def _why(prepared: Prepared, arm: Arm) -> str:
    """Where the initial weights come from, as a sentence or two."""
    loaded = prepared.loaded.get(arm.index)
    fresh = _why_fresh(prepared, arm)
    return (
        f"Weights start from {loaded} What is new: {fresh[0].lower()}{fresh[1:]}"
        if loaded
        else fresh
    )


def _why_fresh(prepared: Prepared, arm: Arm) -> str:
    """Where weights come from that are drawn."""
    model = arm.config.model
    if model.is_own or "init" not in model.options:
        return "Weights start as the network itself says."
    name = _init_text(model.options)
    activation = model.options.get("activation")
    plain = activation["name"] if isinstance(activation, Mapping) else activation
    row = CATALOG["activation"].get(str(plain))
    is_left = prepared.spec.model.options.get("init") == "auto" and "init" not in arm.factors
    is_default = is_left and row is not None and row.facts["init"] == name
    by_path = model.options.get("init_by_path") or {}
    others = "".join(
        f"; {pattern}: {_init_text({'init': item})}" for pattern, item in by_path.items()
    )
    if is_default:
        return f"Weights start as {name}, the default for {plain}{others}."
    return f"Weights start as {name}, as the study says{others}."


def text(found: Sequence[Start]) -> str:
    """The records as a table to print.

    Args:
        found: What `starts` gave, measured.

    Returns:
        Lines of text: for each network a line per layer with the three variances.
    """
    lines = []
    for start in found:
        lines += [f"{start['label']}", f"  {start['why']}"]
        signals = start.get("signals")
        if not signals or not signals["layers"]:
            lines.append("  This network does not show what its layers give.")
            continue
        width = max(5, *(len(name) for name in signals["layers"]))
        lines.append(f"  {'layer':{width}}  {'outputs':>10}  {'activation':>10}  {'gradient':>10}")
        rows = zip(*(signals[key] for key in ("layers", *KINDS)), strict=True)
        for name, *values in rows:
            shown = "  ".join(f"{'-' if v is None else format(v, '.3g'):>10}" for v in values)
            lines.append(f"  {name:{width}}  {shown}")
    return "\n".join(lines)


KINDS = ("output", "activation", "gradient")
"""Variances of a layer: of its outputs, of what its activation gives, of the loss gradient that comes back to it."""
