"""Rules of data, loss and output: what reaches the network, and what it is asked for."""

from __future__ import annotations

import math

from lanework.health.findings import Finding
from lanework.health.records import RunRecord
from lanework.health.rules import measures as m
from lanework.health.rules.measures import percent, shown

SOFTMAX_LOSSES = ("cross_entropy", "focal")
SCORE_LOSSES = (*SOFTMAX_LOSSES, "binary_cross_entropy", "hinge")
NUMERIC_LOSSES = ("mse", "mae", "huber")
RANGES = {
    "sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "relu": (0.0, math.inf),
}
TOO_WIDE, FAR_TOO_WIDE, TOO_SMALL = 10.0, 30.0, 0.1
UNLIKE = 100.0
SHIFTED, STRETCHED = 2.0, 3.0


def non_finite_data(record: RunRecord) -> Finding | None:
    """NaN or infinity among inputs or targets."""
    count = record.data.num_non_finite
    if not count:
        return None
    return Finding(
        "non_finite_data",
        "fail",
        0.98,
        f"{count} numbers of the training part are not finite; every batch that holds one loses its loss.",
        {"num_non_finite": float(count)},
    )


def inputs_not_scaled(record: RunRecord) -> Finding | None:
    """Features far from location 0 and spread 1, or very unlike each other."""
    facts = record.data
    rms, widest, narrowest = facts.feature_rms, facts.feature_std_max, facts.feature_std_min
    apart = widest / narrowest if narrowest > 0 else math.nan
    is_wide = rms > TOO_WIDE or (apart > UNLIKE and widest > 3.0)
    is_small = rms < TOO_SMALL
    # A mean far from zero in units of the spread: all samples look alike to the network.
    is_far = facts.feature_mean > 20.0 * max(1.0, widest) and rms > 3.0
    if not (is_wide or is_small or is_far):
        return None
    is_poor = m.suffers(record)
    is_gross = rms > FAR_TOO_WIDE or apart > 10 * UNLIKE or rms < 0.3 * TOO_SMALL or is_far
    if not is_poor and not (is_gross and not record.net.has_batch_norm):
        return None
    said = f"The inputs have a root mean square of {shown(rms)} (about 1 is usual)"
    if apart > UNLIKE:
        said += f" and the widest spreads {shown(apart)} times as far as the narrowest"
    evidence = {"rms": rms, "widest_over_narrowest": apart, "largest_mean": facts.feature_mean}
    return Finding(
        "inputs_not_scaled",
        "fail" if is_poor else "warn",
        0.94 if is_poor and is_gross else 0.8 if is_poor else 0.7,
        f"{said}.",
        {name: value for name, value in evidence.items() if value == value},
    )


def target_not_scaled(record: RunRecord) -> Finding | None:
    """A regression target far from mean 0 and variance 1."""
    facts = record.data
    if facts.task != "regression":
        return None
    mean, std = abs(facts.target_mean), facts.target_std
    if not (std > 5.0 or mean > 5.0 or std < 0.1):
        return None
    is_gross = std > 20.0 or mean > 20.0 or std < 0.03
    is_poor = m.suffers(record)
    return Finding(
        "target_not_scaled",
        "fail" if is_poor else "warn",
        0.93 if is_poor and is_gross else 0.85 if is_poor else 0.75,
        f"The target is trained on with mean {shown(facts.target_mean)} and standard deviation {shown(std)} (0 and 1 are usual).",
        {"mean": facts.target_mean, "std": std},
    )


def labels_wrong(record: RunRecord) -> Finding | None:
    """Validation at chance although the network can be trained, or training labels worse than those of validation."""
    return _at_chance(record) or _noisy(record)


def _at_chance(record: RunRecord) -> Finding | None:
    facts, best = record.data, m.best_skill(record)
    simple, error = m.simple_skill(record), m.skill_error(record)
    limit = max(0.1, 1.5 * error)
    # The best of many evaluations is a lucky one: what it came to at the end is the better witness.
    if (
        not (best < 2.0 * limit and m.late_skill(record) < limit)
        or simple > limit
        or facts.num_val < 20
        or len(m.skill(record)) < 2
    ):
        return None
    # Where one class is rare, accuracy stays at chance although the loss says that the inputs know something.
    val = record.curve("val_loss")
    is_class = facts.task == "classification"
    if is_class and len(val) and val.values.min() < 0.95 * m.chance_loss(record):
        return None
    has_fitted = m.fit(record) > 0.3
    knows = math.isfinite(simple)
    # Codes and long sequences may hold what only a network finds: there it must have learned by heart in vain.
    is_plain = facts.kind in ("table", "image") and knows
    if not (has_fitted or (is_plain and m.progress(record) >= 0.1)) or m.is_broken(record):
        return None
    said = f"Validation never gets above chance (skill {shown(best)})"
    if has_fitted:
        said += f", though the training loss fell by {percent(m.fit(record))}"
    if knows:
        said += f"; nor do simple models ({shown(facts.simple_score)} where chance is {shown(facts.simple_chance)})"
    evidence = {"best_skill": best, "fit": m.fit(record), "simple_skill": simple}
    return Finding(
        "labels_wrong",
        "fail",
        0.9 if has_fitted and knows else 0.75,
        f"{said}.",
        {name: value for name, value in evidence.items() if value == value},
    )


def _noisy(record: RunRecord) -> Finding | None:
    """Simple models do worse on training labels they did not see than on validation labels."""
    facts = record.data
    gap = facts.simple_score - facts.simple_train_score
    told = (
        (facts.simple_score, facts.num_val),
        (facts.simple_train_score, min(facts.num_train, 4000)),
    )
    error = math.sqrt(sum(max(0.02, p * (1.0 - p)) / max(1, count) for p, count in told))
    if facts.task != "classification" or not gap > 0.05 + 2.5 * error:
        return None
    return Finding(
        "labels_wrong",
        "fail" if gap > 0.2 else "warn",
        min(0.9, 0.7 + gap / 2),
        f"Simple models agree with {percent(facts.simple_score)} of the validation labels, but only with "
        f"{percent(facts.simple_train_score)} of training labels they did not see: many training labels are wrong.",
        {"on_validation": facts.simple_score, "on_training": facts.simple_train_score, "gap": gap},
    )


def wrong_loss(record: RunRecord) -> Finding | None:
    """A loss made for another kind of target, or for another kind of output."""
    loss, facts = m.loss_name(record), record.data
    output = m.name_of(record.setting("model.output_activation"))
    if facts.task == "classification" and loss in NUMERIC_LOSSES:
        said = f"The loss {loss} is for numbers, the target is one of {facts.num_classes} classes"
        if output in ("sigmoid", "softmax"):
            said += f"; behind {output} its gradient vanishes where answers are most wrong"
        is_poor = m.suffers(record)
        return Finding("wrong_loss", "fail" if is_poor else "warn", 0.93, f"{said}.", {})
    if loss == "hinge" and output in ("sigmoid", "softmax"):
        said = f"Hinge asks for a margin of 1 between scores, which {output} cannot give: its outputs lie between 0 and 1."
        return Finding("wrong_loss", "fail", 0.95, said, {})
    if facts.task == "regression" and loss in SCORE_LOSSES:
        return Finding(
            "wrong_loss",
            "fail",
            0.97,
            f"The loss {loss} is for classes, the target is a number.",
            {},
        )
    is_coded = facts.target_values == 2 or (0 < facts.target_values <= 10 and m.suffers(record))
    if facts.task == "regression" and is_coded and facts.num_train >= 20 * facts.target_values:
        said = f"The target has {facts.target_values} different values only: it may be a class that is learned as a number."
        return Finding(
            "wrong_loss", "warn", 0.6, said, {"target_values": float(facts.target_values)}
        )
    return None


def output_activation(record: RunRecord) -> Finding | None:
    """An output activation before a loss that takes scores, or one that cannot reach the target."""
    output, loss = m.name_of(record.setting("model.output_activation")), m.loss_name(record)
    if output in m.LINEAR:
        return None
    if output == "softmax" and record.net.num_outputs == 1:
        said = "Softmax over a single unit is always 1: the network cannot answer anything else."
        return Finding("output_activation", "fail", 0.99, said, {"num_outputs": 1.0})
    if loss in SCORE_LOSSES:
        if loss == "hinge" and output in ("sigmoid", "softmax"):
            return None  # told as a wrong loss
        own = "softmax" if loss in SOFTMAX_LOSSES else "sigmoid"
        twice = (
            f": {own} twice, which flattens its gradient"
            if output == own
            else ", which takes scores of any size"
        )
        return Finding(
            "output_activation",
            "fail",
            0.96,
            f"The output goes through {output} before the loss {loss}{twice}.",
            {},
        )
    return _out_of_reach(record, output)


def _out_of_reach(record: RunRecord, output: str) -> Finding | None:
    facts = record.data
    low, high = RANGES.get(output, (-math.inf, math.inf))
    if facts.task != "regression" or not (facts.target_min < low or facts.target_max > high):
        return None
    reach = f"above {shown(low)}" if high == math.inf else f"between {shown(low)} and {shown(high)}"
    return Finding(
        "output_activation",
        "fail",
        0.96,
        f"{output} gives only numbers {reach}, the target as trained on runs from {shown(facts.target_min)} to "
        f"{shown(facts.target_max)}.",
        {"target_min": facts.target_min, "target_max": facts.target_max},
        # A scaled target runs below and above zero: what ends at zero or one cannot reach it either.
        stands=True,
    )


def hidden_activation(record: RunRecord) -> Finding | None:
    """Hidden layers without a non-linear activation, or with softmax."""
    activation = m.name_of(record.setting("model.activation"))
    widths = record.setting("model.hidden")
    has_hidden = not isinstance(widths, list | tuple) or len(widths) > 0
    if record.setting("model.activation") is None or not has_hidden:
        return None
    is_poor = m.suffers(record)
    if activation == "softmax":
        said = "Softmax in hidden layers makes units compete for a sum of 1 and leaves hardly any signal."
        return Finding("hidden_activation", "fail", 0.9, said, {})
    if activation in m.LINEAR:
        said = "The hidden layers are linear, so the whole network is one linear map, however many layers it has."
        return Finding("hidden_activation", "fail" if is_poor else "warn", 0.9, said, {})
    return None


def wrong_number_of_outputs(record: RunRecord) -> Finding | None:
    """More or fewer output units than data and loss ask for."""
    found, usual = record.net.num_outputs, record.net.usual_outputs
    if not found or not usual or found == usual:
        return None
    return Finding(
        "wrong_number_of_outputs",
        "fail" if found < usual or m.suffers(record) else "warn",
        0.97,
        f"The network has {found} outputs, data and loss ask for {usual}.",
        {"outputs": float(found), "usual": float(usual)},
    )


def loss_summed(record: RunRecord) -> Finding | None:
    """The loss is summed over the batch."""
    size = m.batch_size(record)
    if record.setting("train.reduction") != "sum" or not size > 1:
        return None
    rule = m.name_of(record.setting("train.optimizer"))
    is_poor = m.suffers(record)
    effect = (
        "its gradients are that many times those of the mean"
        if rule in m.PLAIN
        else f"{rule} takes the size out again, but penalties and clipping weigh that much less"
    )
    return Finding(
        "loss_summed",
        "fail" if is_poor and rule in m.PLAIN else "warn",
        0.95 if is_poor and rule in m.PLAIN else 0.8,
        f"The loss is the sum over {shown(size)} samples; {effect}.",
        {"batch_size": size},
    )


def data_leak(record: RunRecord) -> Finding | None:
    """A column that alone tells the target, or validation samples that stand in training."""
    facts = record.data
    if facts.leak_column:
        said = (
            f"Column {facts.leak_column!r} alone tells the target ({shown(facts.leak_score)} of 1)."
        )
        return Finding("data_leak", "fail", 0.9, said, {"score": facts.leak_score})
    if facts.shared_rows >= 0.2:
        said = f"{percent(facts.shared_rows)} of the validation samples stand in training too."
        return Finding(
            "data_leak",
            "fail",
            0.85,
            said,
            {"shared_rows": facts.shared_rows},
            remedies=("fix_data", "drop_leaking_column"),
        )
    return None


def parts_prepared_differently(record: RunRecord) -> Finding | None:
    """Validation inputs on another scale than training inputs."""
    facts = record.data
    shift, scale = facts.val_shift, facts.val_scale
    is_said = record.setting("data.prepare_held_out", "same") not in (None, "same")
    is_apart = shift > SHIFTED or scale > STRETCHED or scale < 1.0 / STRETCHED
    if not is_apart and not (is_said and (shift > 0.3 or abs(math.log(max(scale, 1e-9))) > 0.3)):
        return None
    # Parts that are prepared alike may still differ: files from elsewhere, or a split by time whose inputs drift.
    is_same = record.setting("data.prepare_held_out") == "same"
    also = (
        " They are prepared alike here: look how the files were made, or whether inputs drift from part to part."
        if is_same
        else ""
    )
    return Finding(
        "parts_prepared_differently",
        "warn" if is_same and not m.suffers(record) else "fail",
        0.97 if is_said else 0.7 if is_same else 0.85,
        f"Validation inputs lie {shown(shift)} training standard deviations away from the training inputs and spread "
        f"{shown(scale)} times as far.{also}",
        {"shift": shift, "scale": scale},
    )


def not_shuffled(record: RunRecord) -> Finding | None:
    """Batches in the order of the file."""
    if m.name_of(record.setting("train.sampling")) != "in_order":
        return None
    if m.batch_size(record) >= record.data.num_train > 0:
        return None  # a batch that holds the whole training part is the same in any order
    sorted_by = record.data.order_signal
    is_poor = m.suffers(record)
    said = "Batches come in the order of the file"
    if sorted_by > 0.1:
        said += (
            f", in which the targets are sorted (its place tells {percent(sorted_by)} of a target)"
        )
    return Finding(
        "not_shuffled",
        "fail" if is_poor or sorted_by > 0.3 else "warn",
        0.93 if sorted_by > 0.3 else 0.8,
        f"{said}.",
        {"order_signal": sorted_by} if sorted_by == sorted_by else {},
    )


def batch_too_small(record: RunRecord) -> Finding | None:
    """Batch statistics of a handful of samples."""
    size = m.batch_size(record)
    has_norm = record.net.has_batch_norm or m.name_of(record.setting("model.norm")) == "batch"
    if has_norm and size <= 4:
        return Finding(
            "batch_too_small",
            "fail" if size <= 2 or m.suffers(record) else "warn",
            0.9,
            f"Batch normalisation takes its mean and spread from {shown(size)} samples.",
            {"batch_size": size},
            stands=size <= 2,
        )
    return None


def dropout_at_evaluation(record: RunRecord) -> Finding | None:
    """Dropout left on while the network is judged."""
    share = m.number(record, "model.dropout", 0.0)
    if not record.setting("model.dropout_at_evaluation") or not share > 0:
        return None
    return Finding(
        "dropout_at_evaluation",
        "fail",
        0.96,
        f"{percent(share)} of the hidden units are dropped while validation is measured too.",
        {"dropout": share},
    )
