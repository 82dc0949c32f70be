"""Study files as frozen, fully filled-in models; expansion into arms; content hash; JSON schema.

Imports the catalogue and errors only: no JAX, nothing heavy but pydantic and PyYAML.
"""

from lanework.errors import Problem, SpecError
from lanework.spec.expand import expand, may_have_auto, resolve
from lanework.spec.program import OF_NET, TRACED, ZERO_IS_OFF, static_key, traced_values
from lanework.spec.schema import schema
from lanework.spec.study import (
    content_hash,
    dump_study,
    load_study,
    parse_study,
    plain_study,
)
from lanework.spec.types import (
    Arm,
    Choice,
    Compare,
    DataSpec,
    EarlyStopping,
    Factor,
    Heal,
    ModelSpec,
    Recipe,
    ReportSpec,
    RunConfig,
    SplitSpec,
    StudySpec,
    TrainSpec,
    known_task,
)

__all__ = [
    "OF_NET",
    "TRACED",
    "ZERO_IS_OFF",
    "Arm",
    "Choice",
    "Compare",
    "DataSpec",
    "EarlyStopping",
    "Factor",
    "Heal",
    "ModelSpec",
    "Problem",
    "Recipe",
    "ReportSpec",
    "RunConfig",
    "SpecError",
    "SplitSpec",
    "StudySpec",
    "TrainSpec",
    "content_hash",
    "dump_study",
    "expand",
    "known_task",
    "load_study",
    "may_have_auto",
    "parse_study",
    "plain_study",
    "resolve",
    "schema",
    "static_key",
    "traced_values",
]
