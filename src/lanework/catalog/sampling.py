"""Catalogue rows of how batches are drawn."""

from __future__ import annotations

from lanework.catalog.types import Entry

__all__ = ["SAMPLINGS"]

SAMPLINGS: tuple[Entry, ...] = ()
