"""The one table of everything that can be chosen by name.

Validation, ``lanework list``, the JSON schema, the documentation and the contract tests are
generated from it. Adding something is one row in the module of its kind (and one function in the
package that builds it). Imports neither pydantic nor anything heavy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from lanework.catalog import (
    augmentations,
    curvature,
    losses,
    metrics,
    nets,
    networks,
    optimizers,
    preparation,
    sampling,
    schedules,
    sequence_nets,
    sources,
    stability,
    watching,
)
from lanework.catalog.types import Entry, Hyper, Value
from lanework.errors import Problem, UnknownNameError

__all__ = ["CATALOG", "KINDS", "Entry", "Hyper", "Value", "entry", "listing", "nearest"]

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "source": "data sets known by name (data.source)",
        "preparation": "what is done to numbers before they enter (data.prepare)",
        "encoding": "how categories enter (data.categories)",
        "date_part": "what of a date enters (data.dates)",
        "net": "networks (model.net)",
        "activation": "activations (model.activation)",
        "init": "initial weights (model.init)",
        "norm": "normalisation layers (model.norm)",
        "loss": "losses (train.loss)",
        "augmentation": "changes of training samples, drawn anew each epoch (train.augment)",
        "sampling": "how batches are drawn (train.sampling)",
        "optimizer": "update rules (train.optimizer)",
        "schedule": "schedules of the learning rate (train.schedule) and of other values (train.schedules)",
        "clip": "gradient clipping (train.clip_norm and its relatives)",
        "penalty": "penalties, constraints and noise (train.l2, max_norm, gradient_noise, ...)",
        "average": "averages of the weights, evaluated beside them (train.average)",
        "watch": "how closely layers are watched (train.watch)",
        "metric": "metrics (report.metric, with the split in front: val_accuracy)",
    }
)

_ROWS: tuple[Entry, ...] = (
    *sources.SOURCES,
    *preparation.PREPARATIONS,
    *preparation.ENCODINGS,
    *preparation.DATE_PARTS,
    *nets.NETS,
    *sequence_nets.SEQUENCE_NETS,
    *networks.ACTIVATIONS,
    *networks.INITS,
    *networks.NORMS,
    *losses.LOSSES,
    *optimizers.OPTIMIZERS,
    *curvature.CURVATURE,
    *curvature.LEARNED,
    *schedules.SCHEDULES,
    *stability.CLIPS,
    *stability.PENALTIES,
    *stability.AVERAGES,
    *augmentations.AUGMENTATIONS,
    *sampling.SAMPLINGS,
    *watching.WATCHES,
    *metrics.METRICS,
)

CATALOG: Mapping[str, Mapping[str, Entry]] = MappingProxyType(
    {kind: MappingProxyType({row.name: row for row in _ROWS if row.kind == kind}) for kind in KINDS}
)
"""Kind, then name, to the row."""


def nearest(name: str, names: Iterable[str], *, count: int = 3) -> tuple[str, ...]:
    """The names most like a misspelt one, best first.

    Args:
        name: What was given.
        names: What is allowed.
        count: At most that many.

    Returns:
        Up to ``count`` names; empty when nothing is similar.

    Example:
        >>> nearest("adm", ["sgd", "adam", "adamw"])
        ('adam', 'adamw')
    """
    known = {_squash(other): other for other in reversed(list(names))}
    found = difflib.get_close_matches(_squash(name), list(known), n=count, cutoff=0.5)
    return tuple(known[match] for match in found)


def entry(kind: str, name: str) -> Entry:
    """The row of that kind and name.

    Raises:
        UnknownNameError: There is no such kind or name; the text lists the nearest ones. It is
            both a ``SpecError`` and a ``LookupError``.
    """
    rows = _rows_of(kind)
    if name not in rows:
        article = "an" if kind[0] in "aeiou" else "a"
        text = f"must be the name of {article} {kind}, got {name!r}. {_hint(name, rows)}"
        raise UnknownNameError([Problem(kind, text)], where="catalogue")
    return rows[name]


def listing(kind: str | None = None, name: str | None = None) -> str:
    """What ``lanework list [kind] [name]`` prints, as plain text.

    Args:
        kind: One kind; all kinds when not given.
        name: One row of that kind, with everything known about it.

    Returns:
        Lines of text without a newline at the end.

    Raises:
        UnknownNameError: There is no such kind or name; the text lists the nearest ones.
    """
    if kind is None:
        lines = [f"{kind:12s} {len(CATALOG[kind]):4d}  {KINDS[kind]}" for kind in KINDS]
        return "\n".join([*lines, "", "`lanework list KIND` shows one kind, `... NAME` one row."])
    if name is not None:
        return _row_text(entry(kind, name))
    rows = _rows_of(kind)
    width = max(len(row) for row in rows)
    return "\n".join(f"{row.name:{width}s}  {row.summary}" for row in rows.values())


def _rows_of(kind: str) -> Mapping[str, Entry]:
    if kind not in CATALOG:
        text = f"must be a kind of the catalogue, got {kind!r}. {_hint(kind, CATALOG)}"
        raise UnknownNameError([Problem("", text)], where="catalogue")
    return CATALOG[kind]


def _row_text(row: Entry) -> str:
    lines = [f"{row.name}: {row.summary}", f"  kind     {row.kind}, {KINDS[row.kind]}"]
    lines.append(f"  formula  {row.formula}")
    lines += [f"  {key:8s} {value}" for key, value in row.facts.items()]
    if row.notes:
        lines.append(f"  note     {row.notes}")
    lines.append(f"  source   {row.source}")
    if row.hypers:
        lines += ["", "  options (traced ones vary by lane inside one program)"]
    return "\n".join([*lines, *(_hyper_text(hyper) for hyper in row.hypers)])


def _hyper_text(hyper: Hyper) -> str:
    role = "traced" if hyper.traced else "static"
    scale = ", log scale" if hyper.log else ""
    head = f"  {hyper.name} = {_shown(hyper.default)}"
    return f"{head}\n      {hyper.summary}\n      {hyper.range_text()}; {role}{scale}"


def _shown(value: Value) -> str:
    if value is None:
        return "not set"
    if isinstance(value, tuple):
        return str(list(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _squash(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")


def _hint(name: str, names: Iterable[str]) -> str:
    known = list(names)
    close = nearest(name, known)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"Use one of {', '.join(known)}."
