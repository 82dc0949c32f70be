"""Catalogue rows of networks for sequences."""

from __future__ import annotations

from lanework.catalog.types import Entry

__all__ = ["SEQUENCE_NETS"]

SEQUENCE_NETS: tuple[Entry, ...] = ()
