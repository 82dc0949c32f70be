"""Causes: everything that can be the matter with a run, in one table.

Owns the words for each cause, how it is recognised, which remedies come first and which other causes it brings about.
Plain data; imports nothing of Lanework and no JAX.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = ["CAUSES", "Cause"]


class Cause(NamedTuple):
    """One thing that can be the matter.

    Attributes:
        title: A few words, as a heading.
        what: What it is, one or two sentences.
        sign: How it is recognised in the records.
        remedies: Codes of `lanework.health.remedies.REMEDIES`, best first.
        source: Where the rule comes from.
        brings: Codes of causes that are only its symptoms: where this one is found, those are not named beside it.
    """

    title: str
    what: str
    sign: str
    remedies: tuple[str, ...]
    source: str
    brings: tuple[str, ...] = ()


_CS231N = "CS231n notes, Neural Networks Part 3, https://cs231n.github.io/neural-networks-3/"
_CS231N_2 = "CS231n notes, Neural Networks Part 2, https://cs231n.github.io/neural-networks-2/"
_PLAYBOOK = "Godbole et al. 2023, Deep Learning Tuning Playbook, https://github.com/google-research/tuning_playbook"
_KARPATHY = "Karpathy 2019, A Recipe for Training Neural Networks, https://karpathy.github.io/2019/04/25/recipe/"
_TAXONOMY = (
    "Humbatova et al. 2020, Taxonomy of Real Faults in Deep Learning Systems, arXiv:1910.11015"
)
_LECUN = "LeCun et al. 1998, Efficient BackProp"
_GLOROT = "Glorot and Bengio 2010, Understanding the Difficulty of Training Deep Networks"

_STUCK = ("plateau", "underfitting", "class_collapse", "rate_too_low", "too_few_epochs")
_BLOWN = ("exploding_gradients", "divergence", "oscillation", "rate_too_high")

CAUSES: Final[Mapping[str, Cause]] = {
    "divergence": Cause(
        "The training diverged",
        "The loss grew without bound or stopped being a finite number.",
        "A loss that is not finite, returns to a snapshot, or a training loss that ends far above where it began.",
        ("lower_rate", "clip_gradients", "warm_up", "scale_inputs"),
        _PLAYBOOK,
        ("oscillation", "plateau", "underfitting", "exploding_gradients", "dead_units"),
    ),
    "rate_too_high": Cause(
        "Learning rate too high",
        "Steps are so large that they throw the weights about instead of lowering the loss.",
        "Updates far above a hundredth of the weights, with a loss that rises, jumps or stays above chance.",
        ("lower_rate", "find_rate", "warm_up", "clip_gradients"),
        _CS231N,
        (
            "divergence",
            "oscillation",
            "plateau",
            "underfitting",
            "exploding_gradients",
            "dead_units",
            "saturated_units",
            "class_collapse",
            "vanishing_gradients",
            "batch_too_small",
            "clipping_too_much",
            "overfitting",
            "too_many_epochs",
        ),
    ),
    "rate_too_low": Cause(
        "Learning rate too low",
        "Steps are so small that the weights hardly move in the time they are given.",
        "Updates far below a thousandth of the weights, while the loss hardly falls.",
        ("raise_rate", "find_rate", "adam", "more_epochs"),
        _CS231N,
        ("plateau", "underfitting", "too_few_epochs", "class_collapse"),
    ),
    "oscillation": Cause(
        "The loss swings",
        "The loss goes up and down from evaluation to evaluation without getting on.",
        "Most changes of the loss are undone by the next one, and they are large beside its progress.",
        ("lower_rate", "slower_schedule", "larger_batch", "average_weights"),
        "Zhang et al. 2021, AutoTrainer, ICSE; " + _PLAYBOOK,
    ),
    "plateau": Cause(
        "Stuck on a plateau",
        "The loss stopped falling early, close to what an answer without inputs would reach.",
        "Hardly any progress in training loss since the first records, far from a good fit.",
        ("find_rate", "raise_rate", "lower_rate", "adam", "default_initialisation"),
        _CS231N,
        ("underfitting", "class_collapse", "too_many_epochs"),
    ),
    "vanishing_gradients": Cause(
        "Gradients vanish on their way down",
        "The loss gradient shrinks from layer to layer, so the first layers hardly learn.",
        "The gradient norm falls by orders of magnitude from the last to the first layer, and the run learns badly.",
        ("use_relu", "he_initialisation", "add_normalisation", "use_residual"),
        _GLOROT,
        (*_STUCK, "too_many_epochs", "saturated_units", "dead_units"),
    ),
    "exploding_gradients": Cause(
        "Gradients explode",
        "The loss gradient grows from layer to layer or in time, so single steps destroy what was learned.",
        "Gradient norms orders of magnitude above the weights, or growing towards the first layers.",
        ("clip_gradients", "he_initialisation", "add_normalisation", "lower_rate"),
        "Pascanu et al. 2013, On the Difficulty of Training Recurrent Neural Networks",
        ("oscillation", "plateau", "underfitting", "divergence", "rate_too_high"),
    ),
    "dead_units": Cause(
        "Dead units",
        "Hidden units give zero for every sample, so no gradient reaches their weights any more.",
        "A large share of the units of a layer is exactly zero for all samples of the probe.",
        ("use_leaky_relu", "lower_rate", "he_initialisation", "add_normalisation"),
        "Lu et al. 2019, Dying ReLU and Initialization, arXiv:1903.06733",
        (*_STUCK, "vanishing_gradients", "too_many_epochs"),
    ),
    "saturated_units": Cause(
        "Saturated units",
        "Units of a bounded activation sit at its limits, where its slope is nearly zero.",
        "Most values of a layer lie within two per cent of a limit of its activation, and the run learns badly.",
        ("xavier_initialisation", "scale_inputs", "use_relu", "add_normalisation"),
        _GLOROT,
        (*_STUCK, "vanishing_gradients", "too_many_epochs"),
    ),
    "symmetric_weights": Cause(
        "Weights start all alike",
        "All units of a layer start from the same weights, get the same gradient and stay copies of each other.",
        "Initial weights that are constant, gradients of zero below the output, or units that all give the same.",
        ("default_initialisation", "he_initialisation", "xavier_initialisation"),
        _CS231N_2,
        (
            *_STUCK,
            "vanishing_gradients",
            "exploding_gradients",
            "dead_units",
            "too_many_epochs",
            "labels_wrong",
            "rate_too_high",
        ),
    ),
    "inputs_not_scaled": Cause(
        "Inputs are not scaled",
        "Features enter the network with means or spreads far from 0 and 1, or very unlike each other.",
        "Spread or location of the features as the network sees them.",
        ("scale_inputs", "add_normalisation", "find_rate"),
        _LECUN,
        (
            *_BLOWN,
            *_STUCK,
            "dead_units",
            "saturated_units",
            "vanishing_gradients",
            "too_many_epochs",
            "labels_wrong",
        ),
    ),
    "target_not_scaled": Cause(
        "The target is not scaled",
        "A regression target far from mean 0 and variance 1 makes the loss, and with it the gradients, huge or tiny.",
        "Mean and spread of the target as it is trained on.",
        ("scale_target", "find_rate", "more_epochs"),
        _TAXONOMY,
        (*_BLOWN, *_STUCK, "dead_units", "output_activation", "clipping_too_much"),
    ),
    "labels_wrong": Cause(
        "The labels cannot be told from the inputs",
        "The network learns its training samples by heart or nothing at all, but nothing that holds for new samples.",
        "Validation no better than chance although the training loss falls, or both at chance with healthy gradients.",
        ("fix_labels", "fix_data"),
        "Zhang et al. 2017, Understanding Deep Learning Requires Rethinking Generalization, arXiv:1611.03530",
        ("overfitting", "too_many_epochs", "underfitting", "plateau", "class_collapse"),
    ),
    "wrong_loss": Cause(
        "Loss and task do not fit",
        "The loss was made for another kind of target or another kind of output.",
        "The loss by name against the task and the output activation.",
        ("usual_loss",),
        _TAXONOMY,
        (*_STUCK, "output_activation", "vanishing_gradients", "saturated_units"),
    ),
    "output_activation": Cause(
        "Output activation does not fit",
        "The output cannot reach the target, or is squashed before a loss that squashes it again.",
        "The output activation by name against the loss and the range of the target.",
        ("linear_output", "usual_loss"),
        _TAXONOMY,
        (*_STUCK, "vanishing_gradients", "dead_units", "saturated_units", "wrong_loss"),
    ),
    "hidden_activation": Cause(
        "Hidden activation missing or unfit",
        "Without a non-linear activation the network is one linear map, however many layers it has.",
        "The hidden activation by name; the run fits no better than a linear model could.",
        ("hidden_activation", "use_relu"),
        _TAXONOMY,
        ("underfitting", "plateau", "vanishing_gradients", "saturated_units"),
    ),
    "wrong_number_of_outputs": Cause(
        "Wrong number of outputs",
        "The last layer has more or fewer units than the task needs.",
        "Number of outputs against the classes or target columns.",
        ("usual_outputs",),
        _TAXONOMY,
        (*_STUCK, "wrong_loss"),
    ),
    "loss_summed": Cause(
        "Loss summed over the batch",
        "The loss is the sum over the batch, so gradients, and with most rules the step, grow with the batch size.",
        "The reduction of the loss in the settings, with updates or losses too large.",
        ("mean_loss", "lower_rate", "clip_gradients"),
        _TAXONOMY,
        (*_BLOWN, "plateau", "dead_units", "clipping_too_much"),
    ),
    "over_regularised": Cause(
        "Too much regularisation",
        "Penalties, decay, dropout or noise are so strong that the network cannot even fit its training samples.",
        "Strong regularisation in the settings with a poor training loss, or weights that shrink towards zero.",
        ("less_regularisation", "less_dropout"),
        _CS231N_2,
        ("underfitting", "plateau", "vanishing_gradients", "class_collapse", "dead_units"),
    ),
    "no_regularisation_effect": Cause(
        "Regularisation without effect",
        "A penalty is set, but far too weak beside the loss to change anything, while the run overfits.",
        "The penalty pulls the weights by less than a hundredth of what the loss does, and the run overfits.",
        ("more_regularisation", "add_dropout"),
        _CS231N,
    ),
    "overfitting": Cause(
        "Overfitting",
        "The network goes on to learn its training samples by heart while it gets worse on others.",
        "Validation loss well above its earlier best while the training loss keeps falling.",
        ("stop_early", "more_regularisation", "add_dropout", "average_weights"),
        _PLAYBOOK,
        ("too_many_epochs",),
    ),
    "underfitting": Cause(
        "Underfitting",
        "The network is poor on training and validation alike and has stopped getting better.",
        "Training and validation close together, both far from a good fit, and flat.",
        ("larger_network", "less_regularisation", "find_rate", "more_epochs"),
        _CS231N,
    ),
    "data_leak": Cause(
        "The answer leaks into the inputs",
        "A feature tells the target, or samples stand in training and validation alike: the score is too good to be true.",
        "One column that alone tells the target, or rows that stand in training and validation alike.",
        ("drop_leaking_column", "fix_data"),
        "Kaufman et al. 2012, Leakage in Data Mining, TKDD 6(4)",
    ),
    "class_collapse": Cause(
        "Only some classes are ever predicted",
        "The network answers with the common classes and never names the rare ones.",
        "Classes that occur in validation and are hardly ever predicted, with unequal class shares.",
        ("class_weights", "balanced_batches", "more_epochs"),
        "Johnson and Khoshgoftaar 2019, Survey on Deep Learning with Class Imbalance",
    ),
    "batch_too_small": Cause(
        "Batch too small",
        "Statistics of a batch normalisation, or gradients, come from too few samples to mean anything.",
        "Few samples per batch with batch normalisation, and validation that jumps about or lags behind training.",
        ("larger_batch", "layer_norm", "lower_rate"),
        "Wu and He 2018, Group Normalization, arXiv:1803.08494",
        ("oscillation",),
    ),
    "too_few_epochs": Cause(
        "Too few epochs",
        "The training ended while the loss was still falling clearly.",
        "The best value at the very end, and a steady fall of training and validation loss up to it.",
        ("more_epochs", "raise_rate", "find_rate"),
        _PLAYBOOK,
        ("underfitting",),
    ),
    "too_many_epochs": Cause(
        "Far more epochs than needed",
        "The best state came early; everything after it was spent for nothing.",
        "The best evaluation lies in the first quarter of the training, and it got worse since.",
        ("fewer_epochs", "stop_early"),
        _PLAYBOOK,
    ),
    "early_stop_too_eager": Cause(
        "Early stopping was too eager",
        "The run was stopped by the noise of a few evaluations while it was still getting better.",
        "Stopped in the first part of the training, with a training loss in full fall and a patience below its noise.",
        ("more_patience", "no_early_stopping"),
        "Prechelt 1998, Early Stopping - But When?",
        ("too_few_epochs", "underfitting", "rate_too_low"),
    ),
    "schedule_decays_too_early": Cause(
        "The learning rate fell too early",
        "The schedule brought the rate close to zero long before the end, and the loss froze where it was.",
        "Nothing moves after the rate fell, the loss was in full fall before it, and most of the epochs come after.",
        ("slower_schedule", "raise_rate"),
        _PLAYBOOK,
        ("plateau", "underfitting", "rate_too_low", "too_few_epochs"),
    ),
    "clipping_too_much": Cause(
        "Nearly every gradient is clipped",
        "Clipping is meant for rare large gradients; here it rules every step and sets the step size.",
        "More than half of the steps are clipped, with learning that suffers from it.",
        ("looser_clipping", "find_rate"),
        _PLAYBOOK,
        ("rate_too_low", "plateau", "underfitting", "too_few_epochs"),
    ),
    "dropout_at_evaluation": Cause(
        "Dropout is on during evaluation",
        "Units are dropped while the network is judged, so its answers are random and worse than they need be.",
        "The switch in the settings, with a dropout above 0.",
        ("dropout_off_at_evaluation",),
        _TAXONOMY,
        ("underfitting", "oscillation", "overfitting"),
    ),
    "not_shuffled": Cause(
        "Samples are not shuffled",
        "Batches follow the order of the file, so neighbouring steps see alike samples and unlearn each other.",
        "Sampling in order, with training losses that follow the order of the samples.",
        ("shuffle",),
        _LECUN,
        (
            "oscillation",
            "plateau",
            "underfitting",
            "rate_too_high",
            "class_collapse",
            "overfitting",
            "labels_wrong",
            "too_many_epochs",
        ),
    ),
    "non_finite_data": Cause(
        "Data that is not finite",
        "NaN or infinity among the inputs or targets makes every loss it touches NaN.",
        "Counts of non-finite numbers in the data.",
        ("fix_data",),
        _KARPATHY,
        (*_BLOWN, "plateau", "inputs_not_scaled", "target_not_scaled"),
    ),
    "parts_prepared_differently": Cause(
        "Training and validation are prepared differently",
        "Held-out samples reach the network on another scale than the training samples it learned from.",
        "Location and spread of the features differ between the parts, and validation is far worse than training.",
        ("same_preparation",),
        _TAXONOMY,
        (
            "overfitting",
            "labels_wrong",
            "class_collapse",
            "batch_too_small",
            "oscillation",
            "too_many_epochs",
            "data_leak",
        ),
    ),
}
"""Cause by code."""
