"""Catalogue rows of second-order update rules, and of the learned one."""

from __future__ import annotations

from lanework.catalog.types import Entry

__all__ = ["CURVATURE", "LEARNED"]

CURVATURE: tuple[Entry, ...] = ()
LEARNED: tuple[Entry, ...] = ()
