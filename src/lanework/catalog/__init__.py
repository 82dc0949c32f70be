"""The one table of everything that can be chosen by name.

Validation, ``lanework list``, the JSON schema, the documentation and the contract tests are
generated from it. Adding something is one row in the module of its kind (and one function in the
package that builds it). Imports neither pydantic nor anything heavy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from lanework.catalog import data, networks, recipes
from lanework.catalog.types import Entry, Hyper, Value

__all__ = ["CATALOG", "KINDS", "Entry", "Hyper", "Value", "entry", "listing", "nearest"]

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "source": "data sets known by name (data.source)",
        "preparation": "what is done to numbers before they enter (data.prepare)",
        "encoding": "how categories enter (data.categories)",
        "net": "networks (model.net)",
        "activation": "activations (model.activation)",
        "init": "initial weights (model.init)",
        "norm": "normalisation layers (model.norm)",
        "loss": "losses (train.loss)",
        "optimizer": "update rules (train.optimizer)",
        "schedule": "learning-rate schedules (train.schedule)",
        "clip": "gradient clipping (train.clip_norm)",
        "penalty": "penalties and smoothing (train.l1, l2, weight_decay, label_smoothing)",
        "metric": "metrics (report.metric, with the split in front: val_accuracy)",
    }
)

_ROWS: tuple[Entry, ...] = (
    *data.SOURCES,
    *data.PREPARATIONS,
    *data.ENCODINGS,
    *networks.NETS,
    *networks.ACTIVATIONS,
    *networks.INITS,
    *networks.NORMS,
    *recipes.LOSSES,
    *recipes.OPTIMIZERS,
    *recipes.SCHEDULES,
    *recipes.CLIPS,
    *recipes.PENALTIES,
    *data.METRICS,
)

CATALOG: Mapping[str, Mapping[str, Entry]] = MappingProxyType(
    {
        kind: MappingProxyType({row.name: row for row in _ROWS if row.kind == kind})
        for kind in KINDS
    }
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
    import difflib

    known = {_squash(other): other for other in reversed(list(names))}
    found = difflib.get_close_matches(_squash(name), list(known), n=count, cutoff=0.5)
    return tuple(known[match] for match in found)


def entry(kind: str, name: str) -> Entry:
    """The row of that kind and name.

    Raises:
        LookupError: There is no such kind or name; the text lists the nearest ones.
    """
    if kind not in CATALOG:
        raise LookupError(
            f"must be a kind of the catalogue, got {kind!r}. {_try(kind, CATALOG)}"
        )
    if name not in CATALOG[kind]:
        rows = CATALOG[kind]
        raise LookupError(
            f"must be the name of {_article(kind)}, got {name!r}. {_try(name, rows)}"
        )
    return CATALOG[kind][name]


def listing(kind: str | None = None, name: str | None = None) -> str:
    """What ``lanework list [kind] [name]`` prints, as plain text.

    Args:
        kind: One kind; all kinds when not given.
        name: One row of that kind, with everything known about it.

    Returns:
        Lines of text without a trailing newline.

    Raises:
        LookupError: There is no such kind or name; the text lists the nearest ones.
    """
    if kind is None:
        return "\n".join(
            f"{kind:12s} {len(CATALOG[kind]):3d}  {KINDS[kind]}" for kind in KINDS
        )
    if name is not None:
        return _row_text(entry(kind, name))
    if kind not in CATALOG:
        entry(kind, "")
    width = max(len(row) for row in CATALOG[kind])
    return "\n".join(
        f"{row.name:{width}s}  {row.summary}" for row in CATALOG[kind].values()
    )


def _row_text(row: Entry) -> str:
    lines = [f"{row.name} ({row.kind})", row.summary, f"Formula: {row.formula}"]
    for hyper in row.hypers:
        lines.append(
            f"  {hyper.name} = {hyper.default}: {hyper.summary}; {hyper.range_text()}"
        )
    if row.notes:
        lines.append(f"Note: {row.notes}")
    return "\n".join([*lines, f"Source: {row.source}"])


def _squash(name: str) -> str:
    return str(name).lower().replace("-", "").replace("_", "").replace(" ", "")


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _try(name: str, names: Iterable[str]) -> str:
    known = list(names)
    close = nearest(name, known)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"Use one of {', '.join(known)}."
