"""How the parts of a split are prepared: alike, or (to show that mistake) only the training part."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lanework.data.messages import bad
from lanework.data.prepare import Preparation

if TYPE_CHECKING:
    from lanework.spec import DataSpec

__all__ = ["refuse_unprepared", "told_unprepared", "ways_of_parts"]


def ways_of_parts(
    record: Preparation, spec: DataSpec
) -> tuple[Preparation, Preparation, Preparation]:
    """The record by which each part is prepared, for train, val and test.

    Raises:
        DataError: The held-out parts shall stay as they are, but preparation makes other columns than there were.
    """
    if spec.prepare_held_out == "same":
        return record, record, record
    if record.blocks:
        refuse_unprepared(spec, "steps that make columns anew")
    as_read = replace(
        record,
        numbers=tuple(replace(rule, shift=0.0, scale=1.0) for rule in record.numbers),
        channel_shift=(0.0,) * len(record.channel_shift),
        channel_scale=(1.0,) * len(record.channel_scale),
    )
    return record, as_read, as_read


def told_unprepared(spec: DataSpec) -> tuple[str, ...]:
    """A sentence where the held-out parts are left as they are."""
    if spec.prepare_held_out == "same":
        return ()
    return (
        "The numbers of the validation and test part are left as they are, those of the training part are prepared "
        "(prepare_held_out).",
    )


def refuse_unprepared(spec: DataSpec, what: str) -> None:
    """Raise where held-out parts cannot stay as they are.

    Raises:
        DataError: They shall.
    """
    if spec.prepare_held_out != "same":
        raise bad(
            "data.prepare_held_out",
            f"must be same with {what}",
            got=spec.prepare_held_out,
            do="Leave it out, or use data.prepare: standard on a table, images or numeric sequences.",
        )
