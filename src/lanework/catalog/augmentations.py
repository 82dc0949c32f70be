"""Catalogue rows of augmentations."""

from __future__ import annotations

from lanework.catalog.types import Entry

__all__ = ["AUGMENTATIONS"]

AUGMENTATIONS: tuple[Entry, ...] = ()
