"""Where Lanework keeps what outlives a study: one cache folder per user. Imports nothing of Lanework."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def is_cache_on() -> bool:
    """Whether anything may be kept between studies; `LANEWORK_CACHE=off` says no."""
    return os.environ.get("LANEWORK_CACHE") != "off"


def cache_folder() -> Path:
    """The folder for compiled programs, measured plans and downloads.

    `LANEWORK_CACHE` wins, then `XDG_CACHE_HOME/lanework`, then `~/.cache/lanework`. It may be deleted at any time: the next
    study is slower once, and says nothing else.
    """
    own = os.environ.get("LANEWORK_CACHE")
    if own:
        return Path(own) if is_cache_on() else Path(tempfile.gettempdir()) / "lanework"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lanework"
