"""Rules: each a small pure function from the record of a run to what is the matter with it, or None.

They look at nothing but the record, and all stand in one table. To add one: write the function into the module of its theme, add its
cause to `lanework.health.causes`, and its row here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from lanework.health.causes import CAUSES
from lanework.health.findings import Finding
from lanework.health.records import RunRecord
from lanework.health.rules import data_and_loss, depth, generalisation, optimisation, stopping

__all__ = ["RULES", "Rule"]


class Rule(NamedTuple):
    """One rule.

    Attributes:
        name: Code of the cause it finds.
        function: `record -> Finding | None`.
        source: Where it comes from.
    """

    name: str
    function: Callable[[RunRecord], Finding | None]
    source: str


_FUNCTIONS: Final = (
    data_and_loss.non_finite_data,
    data_and_loss.inputs_not_scaled,
    data_and_loss.target_not_scaled,
    data_and_loss.labels_wrong,
    data_and_loss.wrong_loss,
    data_and_loss.output_activation,
    data_and_loss.hidden_activation,
    data_and_loss.wrong_number_of_outputs,
    data_and_loss.loss_summed,
    data_and_loss.data_leak,
    data_and_loss.parts_prepared_differently,
    data_and_loss.not_shuffled,
    data_and_loss.batch_too_small,
    data_and_loss.dropout_at_evaluation,
    depth.symmetric_weights,
    depth.vanishing_gradients,
    depth.exploding_gradients,
    depth.dead_units,
    depth.saturated_units,
    optimisation.divergence,
    optimisation.rate_too_high,
    optimisation.rate_too_low,
    optimisation.oscillation,
    optimisation.plateau,
    generalisation.over_regularised,
    generalisation.no_regularisation_effect,
    generalisation.overfitting,
    generalisation.underfitting,
    generalisation.class_collapse,
    stopping.too_few_epochs,
    stopping.too_many_epochs,
    stopping.early_stop_too_eager,
    stopping.schedule_decays_too_early,
    stopping.clipping_too_much,
)

RULES: Final[tuple[Rule, ...]] = tuple(
    Rule(function.__name__, function, CAUSES[function.__name__].source) for function in _FUNCTIONS
)
"""Every rule, one for each cause."""
