"""The public face: `Study`, `run`, `load`. The one place where steps are strung together."""

from lanework.api.study import Plan, Results, Study, load, run
from lanework.api.training import Progress

__all__ = ["Plan", "Progress", "Results", "Study", "load", "run"]
