"""Remedies: what may help against a cause, each as a change of the study file that a user could make.

Owns one table. Whether a remedy helps is not said here but measured, by training it beside the sick run
(`lanework.api.heal`). Plain Python; must not import JAX.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lanework.health import edits
from lanework.health.edits import RELATIVE, Rule, setting
from lanework.health.findings import Finding
from lanework.health.records import RunRecord

__all__ = ["REMEDIES", "Remedy", "evidence_of"]


@dataclass(frozen=True)
class Remedy:
    """One thing to try.

    Attributes:
        title: What to do, short and imperative.
        summary: Why it may help, in one sentence.
        edits: Settings and evidence to edits by study-file path; None where it does not apply, for instance because
            the setting is already so.
        source: Where the advice comes from.
        further: The same remedy at other strengths, tried beside the first where lanes make that cheap.
        kind: `trial`; `honest` where it changes what validation means, so that a worse score is no argument against
            it; `words` where only people can do it.
    """

    title: str
    summary: str
    edits: Rule
    source: str
    further: tuple[Rule, ...] = ()
    kind: str = "trial"


def evidence_of(record: RunRecord, finding: Finding) -> dict[str, Any]:
    """What is known of a sick run, as remedies want it: its own values, facts of its data, numbers of the finding."""
    known = {path: setting(record.settings, path) for path in RELATIVE}
    facts: dict[str, Any] = {"num_train": record.data.num_train}
    if record.data.leak_column:
        facts["leak_column"] = record.data.leak_column
    norms = record.curve("grad_norm_p90")
    if norms:
        facts["grad_norm_p90"] = norms.last
    losses = record.curve("val_loss")
    if losses and any(map(math.isfinite, losses.values)):
        best = min(zip(losses.values, losses.steps, strict=True), key=_finite_first)
        facts["best_epoch"] = float(best[1]) / record.steps_per_epoch
    return {
        **{path: value for path, value in known.items() if value is not None},
        **facts,
        **finding.evidence,
    }


def _finite_first(point: tuple[float, int]) -> float:
    return float(point[0]) if math.isfinite(point[0]) else math.inf


_CS231N: Final = "CS231n notes, Neural Networks Part 3, https://cs231n.github.io/neural-networks-3/"
_CS231N_2: Final = (
    "CS231n notes, Neural Networks Part 2, https://cs231n.github.io/neural-networks-2/"
)
_PLAYBOOK: Final = "Godbole et al. 2023, Deep Learning Tuning Playbook, https://github.com/google-research/tuning_playbook"
_KARPATHY: Final = "Karpathy 2019, A Recipe for Training Neural Networks, https://karpathy.github.io/2019/04/25/recipe/"
_LECUN: Final = "LeCun et al. 1998, Efficient BackProp"
_GLOROT: Final = (
    "Glorot and Bengio 2010, Understanding the Difficulty of Training Deep Feedforward Networks"
)
_IMBALANCE: Final = "He and Garcia 2009, Learning from Imbalanced Data"
_RATE: Final = "train.learning_rate"

REMEDIES: Final[Mapping[str, Remedy]] = {
    "scale_inputs": Remedy(
        "Standardise the inputs",
        "With mean 0 and variance 1 for every feature one learning rate suits all weights.",
        edits.scale_inputs,
        _LECUN,
    ),
    "scale_target": Remedy(
        "Standardise the target",
        "A target of mean 0 and variance 1 keeps loss and gradients at a usual size; metrics stay in its unit.",
        edits.to("data.scale_target", True),
        _LECUN,
    ),
    "lower_rate": Remedy(
        "Lower the learning rate",
        "Steps that are too long jump over what they look for.",
        edits.times(_RATE, 0.1),
        _CS231N,
        (edits.times(_RATE, 0.01), edits.times(_RATE, 0.001), edits.times(_RATE, 1 / 3)),
    ),
    "raise_rate": Remedy(
        "Raise the learning rate",
        "Steps that are too short do not arrive within the epochs that are given.",
        edits.times(_RATE, 10.0),
        _CS231N,
        (edits.times(_RATE, 100.0), edits.times(_RATE, 1000.0), edits.times(_RATE, 3.0)),
    ),
    "find_rate": Remedy(
        "Search for the learning rate",
        "The best rate depends on data, network and rule; a few rates around the rule's usual one tell where it lies.",
        edits.usual_rate(1.0),
        _PLAYBOOK,
        tuple(edits.usual_rate(factor) for factor in (0.01, 0.1, 10.0, 100.0)),
    ),
    "warm_up": Remedy(
        "Warm the learning rate up",
        "Small first steps let the statistics of the rule and the weights settle before the full rate comes.",
        edits.warm_up,
        "Goyal et al. 2017, Accurate, Large Minibatch SGD, https://arxiv.org/abs/1706.02677",
    ),
    "clip_gradients": Remedy(
        "Clip the gradient to norm 1",
        "A rare huge gradient then costs one step and not the run.",
        edits.clip_gradients,
        "Pascanu, Mikolov and Bengio 2013, https://arxiv.org/abs/1211.5063",
    ),
    "he_initialisation": Remedy(
        "Use He initialisation",
        "Random weights of variance 2 / n keep the size of signals through ReLU layers and make units differ.",
        edits.init("he_normal", "he_uniform"),
        "He et al. 2015, https://arxiv.org/abs/1502.01852",
    ),
    "xavier_initialisation": Remedy(
        "Use Xavier initialisation",
        "Weights of variance 2 / (n_in + n_out) keep tanh and sigmoid units away from their limits.",
        edits.init("xavier_normal", "xavier_uniform"),
        _GLOROT,
    ),
    "default_initialisation": Remedy(
        "Use the usual initialisation",
        "Random weights at the scale that suits the activation make units differ and keep the size of signals.",
        edits.init("auto"),
        _GLOROT,
    ),
    "use_relu": Remedy(
        "Use ReLU as hidden activation",
        "Its slope is 1 wherever it is on, so that gradients pass.",
        edits.activation("relu"),
        "Glorot, Bordes and Bengio 2011, Deep Sparse Rectifier Neural Networks",
    ),
    "use_leaky_relu": Remedy(
        "Use leaky ReLU as hidden activation",
        "A small slope for negative values leaves every unit a gradient to come back by.",
        edits.activation("leaky_relu"),
        "Maas, Hannun and Ng 2013, Rectifier Nonlinearities Improve Neural Network Acoustic Models",
    ),
    "hidden_activation": Remedy(
        "Use a non-linear hidden activation",
        "Without one all layers together are a single linear map.",
        edits.activation("relu", unless=edits.RELU_FAMILY),
        "Cybenko 1989, Approximation by Superpositions of a Sigmoidal Function",
    ),
    "add_normalisation": Remedy(
        "Add normalisation layers",
        "Outputs of every layer are kept at mean 0 and variance 1, whatever weights and inputs do.",
        edits.add_normalisation,
        "Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167",
    ),
    "use_residual": Remedy(
        "Use residual connections",
        "Shortcuts around the layers give gradients a way past them.",
        edits.to("model.net", "resnet", of=("plain",)),
        "He et al. 2015, https://arxiv.org/abs/1512.03385",
    ),
    "linear_output": Remedy(
        "Take the output activation away",
        "The losses take scores: they have their own softmax or sigmoid, and a regression needs the whole range.",
        edits.to("model.output_activation", "none"),
        _KARPATHY,
    ),
    "usual_loss": Remedy(
        "Use the usual loss of the task",
        "Cross-entropy for classes, squared errors for numbers: their gradients fit what the output means.",
        edits.usual_loss,
        "Goodfellow, Bengio and Courville 2016, Deep Learning, section 6.2",
    ),
    "mean_loss": Remedy(
        "Average the loss over the batch",
        "The size of a step then does not grow with the batch.",
        edits.to("train.reduction", "mean", of=("sum",)),
        "Goodfellow, Bengio and Courville 2016, Deep Learning, section 8.1.3",
    ),
    "usual_outputs": Remedy(
        "Use as many outputs as the target needs",
        "One output per class, or per number that is predicted.",
        edits.usual_outputs,
        "Goodfellow, Bengio and Courville 2016, Deep Learning, section 6.2.2",
    ),
    "less_regularisation": Remedy(
        "Take the regularisation away",
        "Penalties, noise and dropout keep the network from fitting even its training samples.",
        edits.less_regularisation(0.0),
        _CS231N_2,
        (edits.less_regularisation(0.1),),
    ),
    "more_regularisation": Remedy(
        "Regularise more",
        "A penalty on the weights makes learning by heart dearer than learning the rule.",
        edits.more_regularisation(10.0),
        _CS231N_2,
        (edits.more_regularisation(100.0),),
    ),
    "add_dropout": Remedy(
        "Add dropout",
        "Units that cannot rely on each other learn features that hold for new samples.",
        edits.dropout(0.3),
        "Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html",
        (edits.dropout(0.5),),
    ),
    "less_dropout": Remedy(
        "Drop fewer units",
        "So much noise leaves too little of the signal.",
        edits.dropout(None, factor=0.5),
        "Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html",
        (edits.dropout(None, factor=0.0),),
    ),
    "stop_early": Remedy(
        "Stop early and keep the best weights",
        "What comes after the best validation score is learned by heart.",
        edits.stop_early,
        "Prechelt 1998, Early Stopping - But When?",
    ),
    "more_epochs": Remedy(
        "Train longer",
        "The loss was still falling.",
        edits.whole("train.epochs", 3),
        _PLAYBOOK,
        (edits.whole("train.epochs", 10, most=edits.FEW_EPOCHS),),
    ),
    "fewer_epochs": Remedy(
        "Train for fewer epochs",
        "The best state came early; the rest of the time is saved.",
        edits.fewer_epochs,
        _PLAYBOOK,
    ),
    "more_patience": Remedy(
        "Give early stopping four times the patience",
        "A pause of a few evaluations is noise.",
        edits.whole("train.early_stopping.patience", 4),
        "Prechelt 1998, Early Stopping - But When?",
    ),
    "no_early_stopping": Remedy(
        "Train to the end and keep the best weights",
        "Keeping the best weights gives the same protection without stopping.",
        edits.no_early_stopping,
        "Prechelt 1998, Early Stopping - But When?",
    ),
    "slower_schedule": Remedy(
        "Let the rate fall over the whole training",
        "A cosine keeps the rate up while there is something to learn and is low at the end.",
        edits.slower_schedule,
        "Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983",
    ),
    "larger_batch": Remedy(
        "Use larger batches",
        "Gradients and batch statistics are means over more samples, hence less noise.",
        edits.larger_batch,
        "Wu and He 2018, https://arxiv.org/abs/1803.08494",
    ),
    "layer_norm": Remedy(
        "Normalise by layer instead of by batch",
        "It looks at one sample at a time, so the batch may be small.",
        edits.to("model.norm", "layer", of=("batch",)),
        "Ba, Kiros and Hinton 2016, https://arxiv.org/abs/1607.06450",
    ),
    "class_weights": Remedy(
        "Weigh classes by their rarity",
        "Each class then counts alike in the loss.",
        edits.of_classes(edits.to("train.class_weights", "balanced", of=(None,))),
        _IMBALANCE,
    ),
    "balanced_batches": Remedy(
        "Draw each class equally often",
        "Each batch then shows the rare classes as often as the common ones.",
        edits.of_classes(edits.to("train.sampling", "balanced")),
        _IMBALANCE,
    ),
    "larger_network": Remedy(
        "Use a larger network",
        "It fits training and validation equally badly, so it lacks capacity.",
        edits.larger_network,
        _CS231N,
    ),
    "shuffle": Remedy(
        "Shuffle the samples anew for each epoch",
        "Neighbours in a file are alike; batches of them pull in one direction.",
        edits.to("train.sampling", "shuffled", of=("in_order",)),
        _LECUN,
    ),
    "same_preparation": Remedy(
        "Prepare held-out samples like training samples",
        "With the numbers learned from the training part they mean the same to the network.",
        edits.to("data.prepare_held_out", "same"),
        "Kaufman et al. 2012, Leakage in Data Mining",
    ),
    "dropout_off_at_evaluation": Remedy(
        "Switch dropout off at evaluation",
        "The answers of the whole network are better and always the same.",
        edits.to("model.dropout_at_evaluation", False),
        "Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html",
    ),
    "looser_clipping": Remedy(
        "Clip only the largest gradients",
        "Clipping at nearly every step sets the length of the steps.",
        edits.looser_clipping,
        _PLAYBOOK,
    ),
    "drop_leaking_column": Remedy(
        "Leave the leaking column out",
        "It will not be known when the network is used, so the score with it promises what cannot be kept.",
        edits.drop_leaking_column,
        "Kaufman et al. 2012, Leakage in Data Mining",
        kind="honest",
    ),
    "adam": Remedy(
        "Use Adam at its usual rate",
        "It scales the step of each weight, so it depends far less on the scale of the gradients.",
        edits.adam,
        "Kingma and Ba 2014, https://arxiv.org/abs/1412.6980",
    ),
    "average_weights": Remedy(
        "Average the weights of the last quarter",
        "The mean of weights that swing around a minimum lies nearer to it.",
        edits.to("train.average", "tail", of=(None,)),
        "Izmailov et al. 2018, https://arxiv.org/abs/1803.05407",
    ),
    "fix_labels": Remedy(
        "Look at the labels",
        "Compare some samples with their labels by eye, and check how files and labels were joined.",
        edits.words,
        _KARPATHY,
        kind="words",
    ),
    "fix_data": Remedy(
        "Mend the data",
        "Find out where such values come from, and mend or leave out the rows.",
        edits.words,
        _KARPATHY,
        kind="words",
    ),
}
"""Remedy by code."""
