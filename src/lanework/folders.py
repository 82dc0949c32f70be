"""Where Lanework keeps what outlives a study: one cache folder per user. Imports nothing of Lanework."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder for compiled programs, measured plans and downloads.

    `LANEWORK_CACHE` wins, then `XDG_CACHE_HOME/lanework`, then `~/.cache/lanework`. It may be deleted at any time: the next
    study is slower once, and says nothing else.
    """
    own = os.environ.get("LANEWORK_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lanework"
