"""The public face: `Study`, `run`, `load`. The one place where steps are strung together."""

from lanework.api.session import Progress
from lanework.api.study import Plan, Results, Study, load, run

__all__ = ["Plan", "Progress", "Results", "Study", "load", "run"]
