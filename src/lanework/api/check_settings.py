"""The gate's look at settings: what can be said of a configuration by its study file and its data alone.

Owns which rules of `lanework.health.rules` can be asked before the first step, and what their findings become. Writes no rule of
its own and imports no JAX.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from lanework.api import check_items, diagnose
from lanework.health.causes import CAUSES
from lanework.health.findings import Finding
from lanework.health.judge import Item
from lanework.health.records import DataFacts, NetFacts, RunRecord
from lanework.health.rules import data_and_loss
from lanework.spec.sections import plain_config

if TYPE_CHECKING:
    from lanework.api.preparing import Prepared

__all__ = ["items"]

Rule: TypeAlias = Callable[[RunRecord], Finding | None]

RULES: Final[tuple[Rule, ...]] = (
    data_and_loss.labels_wrong,
    data_and_loss.wrong_loss,
    data_and_loss.hidden_activation,
    data_and_loss.loss_summed,
    data_and_loss.parts_prepared_differently,
    data_and_loss.not_shuffled,
    data_and_loss.batch_too_small,
    data_and_loss.dropout_at_evaluation,
)
"""Rules that go by settings and facts of the data; what the gate measures of outputs and inputs itself is not asked again."""
SURE: Final = 0.75
"""Confidence from which a finding is told: before training, what is only likely is left to the records, which know the outcome."""
SOURCE: Final = (
    "Humbatova et al. 2020, Taxonomy of real faults in deep learning systems, arXiv:1910.11015"
)


def items(prepared: Prepared) -> list[Item]:
    """Settings that are mistakes, each with the configurations that have it; one pass for those that have none."""
    watched = diagnose.what_is_watched(prepared)
    data = [DataFacts(**facts) for facts in watched["data"]]
    buckets = {one["index"]: one for one in watched["buckets"]}
    found: list[tuple[Item, tuple[int, ...]]] = []
    for laid in prepared.laid:
        bucket = buckets[laid.bucket.index]
        for arm in laid.bucket.arms:
            record = RunRecord(
                settings=plain_config(prepared.arms[arm].config),
                data=data[bucket["data"]],
                net=NetFacts(**bucket["net"]),
                num_steps=bucket["num_steps"],
                steps_per_epoch=bucket["steps_per_epoch"],
                arm=arm,
            )
            found += [(item, (arm,)) for item in of_record(record)]
    return check_items.merged(prepared.arms, found)


def of_record(record: RunRecord) -> list[Item]:
    """What the rules say of a configuration of which nothing is recorded yet; a pass where they say nothing."""
    findings = [rule(record) for rule in RULES]
    told = [_item(one) for one in findings if one is not None and one.confidence >= SURE]
    said = f"None of {len(RULES)} mistakes that settings and data can show was found."
    return told or [Item("settings", "pass", {"looked_at": float(len(RULES))}, said, "", SOURCE)]


def _item(finding: Finding) -> Item:
    helps = "; ".join(diagnose.remedy_words(code) for code in finding.remedies)
    numbers: dict[str, Any] = {**finding.evidence, "confidence": finding.confidence}
    source = CAUSES[finding.code].source
    return Item(
        finding.code,
        finding.level,
        numbers,
        finding.sentence,
        f"{helps}.",
        source,
        strain=1.0 + finding.confidence,
    )
