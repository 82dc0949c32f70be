"""Edits: how settings of a run become other settings, one small function for each thing that is changed.

Owns the rules behind the table of remedies. Each takes the settings of a run in the form of the study file, `{"data": ...,
"model": ..., "train": ...}`, and evidence of the sick run, and gives new values by study-file path, or None where nothing would
change. Evidence carries the sick run's own values under their paths (`RELATIVE`), so that "a tenth of the rate" means a tenth of
the sick run's, and the same edit changes nothing when applied to its own result. Imports the catalogue only; must not import JAX.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from lanework.catalog import CATALOG

Settings: TypeAlias = Mapping[str, Any]
Evidence: TypeAlias = Mapping[str, Any]
Edits: TypeAlias = Mapping[str, Any]
Rule: TypeAlias = Callable[[Settings, Evidence], Edits | None]

RELATIVE: Final = (
    *("train.learning_rate", "train.epochs", "train.batch_size", "train.early_stopping.patience"),
    *("train.l1", "train.l2", "train.weight_decay", "train.optimizer.weight_decay"),
    *("train.clip_norm", "train.clip_value", "train.clip_layer_norm", "train.clip_adaptive"),
    *("train.gradient_noise", "train.weight_noise", "train.input_noise"),
    *("model.dropout", "model.spatial_dropout", "model.stochastic_depth"),
    *("model.hidden", "model.channels", "model.dense", "model.width"),
)
"""Settings that some remedy multiplies: evidence carries their values in the sick run."""
RELU_FAMILY: Final = ("relu", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "softplus")
SCALING: Final = ("standard", "minmax", "robust", "quantile", "pca", "zca")
SMALL_BATCH: Final = 16
STAYS_HIGH: Final = ("constant", "linear_warmup", "cosine", "linear", "polynomial", "wsd")
"""Schedules that do not bring the rate near zero before the end of training."""
FEW_EPOCHS: Final = 5
"""So few passes that ten times as many are affordable, and may be what is wanting."""
LOSSES: Final = {"classification": "cross_entropy", "regression": "mse"}


def setting(settings: Settings, path: str, default: Any = None) -> Any:
    """A setting by its path in the study file; a name with options has its options below it."""
    found: Any = settings
    for key in path.split("."):
        if not isinstance(found, Mapping) or key not in found:
            return default
        found = found[key]
    return found


# ---- making edits ------------------------------------------------------------------------------


def _name(settings: Settings, path: str) -> Any:
    """The name chosen at a path, without its options."""
    value = setting(settings, path)
    return value.get("name") if isinstance(value, Mapping) else value


def _sick(settings: Settings, evidence: Evidence, path: str) -> Any:
    """A value as it was in the sick run."""
    return evidence.get(path, setting(settings, path))


def _different(settings: Settings, edits: Edits) -> Edits | None:
    """Those edits that change something; None where none does."""
    found = {path: value for path, value in edits.items() if not _is_so(settings, path, value)}
    return found or None


def _is_so(settings: Settings, path: str, value: Any) -> bool:
    now = setting(settings, path)
    if isinstance(now, Mapping) and "name" in now and not isinstance(value, Mapping):
        return bool(now["name"] == value)
    if isinstance(now, float) and isinstance(value, float):
        return math.isclose(now, value, rel_tol=1e-6)
    return bool(now == value)


def to(path: str, value: Any, *, of: tuple[Any, ...] | None = None) -> Rule:
    """Set a path that exists; `of`: only where it has one of these names now."""

    def rule(settings: Settings, evidence: Evidence) -> Edits | None:
        section, _, rest = path.partition(".")
        if rest.partition(".")[0] not in settings.get(section, {}):
            return None
        if of is not None and _name(settings, path) not in of:
            return None
        return _different(settings, {path: value})

    return rule


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def times(path: str, factor: float) -> Rule:
    """Multiply a number above 0 of the sick run."""

    def rule(settings: Settings, evidence: Evidence) -> Edits | None:
        value = _sick(settings, evidence, path)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
        return _different(settings, {path: _rounded(value * factor)}) if is_number else None

    return rule


def whole(path: str, factor: float, *, least: int = 1, most: int | None = None) -> Rule:
    """The same for a whole number; `most`: only where the sick run has no more than that."""

    def rule(settings: Settings, evidence: Evidence) -> Edits | None:
        value = _sick(settings, evidence, path)
        if not isinstance(value, int) or (most is not None and value > most):
            return None
        return _different(settings, {path: max(least, round(value * factor))})

    return rule


def words(settings: Settings, evidence: Evidence) -> Edits | None:
    """Nothing that a setting could do."""
    return None


# ---- data --------------------------------------------------------------------------------------


def scale_inputs(settings: Settings, evidence: Evidence) -> Edits | None:
    """A scaling step where there is none, for all columns."""
    given = setting(settings, "data.prepare", "standard")
    steps = [*given] if isinstance(given, list | tuple) else [given]
    names = [step.get("name") if isinstance(step, Mapping) else step for step in steps]
    edits: dict[str, Any] = {}
    if not set(names) & set(SCALING):
        kept = [s for s, name in zip(steps, names, strict=True) if name not in ("none", "centre")]
        edits["data.prepare"] = [*kept, "standard"] if kept else "standard"
    columns = setting(settings, "data.columns") or {}
    plain = {name: _prepared_as_all(item) for name, item in columns.items()}
    if plain != columns:
        edits["data.columns"] = {name: item for name, item in plain.items() if item}
    return edits or None


def _prepared_as_all(column: Any) -> Any:
    """What is said of a column without a preparation of its own that leaves numbers as they are."""
    if not isinstance(column, Mapping) or column.get("prepare") not in ("none", "centre"):
        return column
    return {key: item for key, item in column.items() if key != "prepare"}


def drop_leaking_column(settings: Settings, evidence: Evidence) -> Edits | None:
    """The column that tells the target is no input any more."""
    name = evidence.get("leak_column")
    columns = dict(setting(settings, "data.columns") or {})
    if not name or columns.get(name) == "ignore":
        return None
    return {"data.columns": {**columns, str(name): "ignore"}}


# ---- network -----------------------------------------------------------------------------------


def init(name: str, *good: str) -> Rule:
    """Other initial weights, those of single layers included; not where they start from a file."""

    def rule(settings: Settings, evidence: Evidence) -> Edits | None:
        model = settings.get("model", {})
        if "init" not in model or model.get("weights") is not None:
            return None
        # A mapping holds an option that is not the usual one: a gain, a deviation.
        now, usual = setting(settings, "model.init"), _usual_init(settings)
        is_good = (usual if now == "auto" else now) in (name, *good)
        edits: dict[str, Any] = {}
        if not is_good and not (name == "auto" and now in ("auto", usual)):
            edits["model.init"] = name
        if model.get("init_by_path"):
            edits["model.init_by_path"] = None
        return edits or None

    return rule


def _usual_init(settings: Settings) -> str | None:
    """The initial weights that `auto` stands for with this activation (gated cells squash by tanh)."""
    row = CATALOG["activation"].get(_name(settings, "model.activation") or "tanh")
    return row.facts["init"] if row else None


def activation(name: str, *, unless: tuple[str, ...] = ()) -> Rule:
    """Another hidden activation, and the initial weights that suit it where they were the usual ones."""

    def rule(settings: Settings, evidence: Evidence) -> Edits | None:
        now = _name(settings, "model.activation")
        row = CATALOG["net"].get(str(setting(settings, "model.net")))
        if now is None or row is None or now in (name, *unless):
            return None
        allowed = row.hyper("activation")
        if name not in allowed.choices and allowed.of != "activation":
            return None
        edits = {"model.activation": name}
        was = CATALOG["activation"].get(now)
        if was is not None and _name(settings, "model.init") == was.facts["init"]:
            edits["model.init"] = "auto"
        return edits

    return rule


def add_normalisation(settings: Settings, evidence: Evidence) -> Edits | None:
    """Batch normalisation; by layer for small batches, inside of the cell for recurrent networks."""
    model = settings.get("model", {})
    if model.get("layer_norm") is False:
        return {"model.layer_norm": True}
    if "norm" not in model or _name(settings, "model.norm") != "none":
        return None
    size = setting(settings, "train.batch_size", 64)
    is_small = isinstance(size, int) and size < SMALL_BATCH
    return {"model.norm": "layer" if is_small else "batch"}


def usual_outputs(settings: Settings, evidence: Evidence) -> Edits | None:
    """As many outputs as the data needs."""
    names = [name for name in ("outputs", "num_outputs") if name in settings.get("model", {})]
    return _different(settings, {f"model.{name}": None for name in names})


def larger_network(settings: Settings, evidence: Evidence) -> Edits | None:
    """Four times the units of the sick run in each layer, or twice the width; two layers where it has none."""
    grown: dict[str, Any] = {}
    for path in ("model.hidden", "model.channels", "model.dense"):
        widths = _sick(settings, evidence, path)
        if isinstance(widths, list | tuple):
            grown[path] = [max(64, min(4 * width, 1024)) for width in widths]
    if grown.get("model.hidden") == []:
        grown["model.hidden"] = [64, 64]
    width = _sick(settings, evidence, "model.width")
    if isinstance(width, int) and not grown:
        grown["model.width"] = 2 * width
    now = {path: setting(settings, path) for path in grown}
    is_larger = any(list(now[p] or ()) != v if isinstance(v, list) else now[p] != v for p, v in grown.items())  # fmt: skip
    return grown if is_larger else None


# ---- loss, rate, length ------------------------------------------------------------------------


def usual_loss(settings: Settings, evidence: Evidence) -> Edits | None:
    """The loss that the task has by default, with the outputs that it needs: as many as usual, and nothing behind them."""
    usual = LOSSES.get(setting(settings, "data.task", ""))
    if usual is None and _name(settings, "train.loss") in LOSSES.values():
        return None
    found = _different(settings, {"train.loss": usual})
    if found is None:
        return None
    bare = to("model.output_activation", "none")(settings, evidence) or {}
    return {**found, **(usual_outputs(settings, evidence) or {}), **bare}


def usual_rate(factor: float) -> Rule:
    """The default rate of the update rule, times a factor."""

    def rule(settings: Settings, evidence: Evidence) -> Edits | None:
        row = CATALOG["optimizer"].get(str(_name(settings, "train.optimizer")))
        if row is None:
            return None
        rate = row.hyper("learning_rate").default
        return _different(settings, {"train.learning_rate": _rounded(float(str(rate)) * factor)})

    return rule


def adam(settings: Settings, evidence: Evidence) -> Edits | None:
    """Adam at its default rate, where the rule is of another family."""
    name = str(_name(settings, "train.optimizer"))
    row = CATALOG["optimizer"].get(name)
    if "adam" in name or row is None:
        return None
    return {"train.optimizer": "adam", "train.learning_rate": 0.001}


def warm_up(settings: Settings, evidence: Evidence) -> Edits | None:
    """The first tenth of training; a schedule keeps its form."""
    given = setting(settings, "train.schedule", "constant")
    name = given.get("name") if isinstance(given, Mapping) else given
    options = dict(given) if isinstance(given, Mapping) else {"name": name}
    row = CATALOG["schedule"].get(str(name))
    has_warmup = row is not None and "warmup_epochs" in row.defaults()
    if not has_warmup or options.get("warmup_epochs"):
        return None
    length = _rounded(0.1 * float(setting(settings, "train.epochs", 1)))
    return {"train.schedule": {**options, "warmup_epochs": length}}


def slower_schedule(settings: Settings, evidence: Evidence) -> Edits | None:
    """A cosine over the whole training, where the schedule falls before its end; a warm-up stays."""
    given = setting(settings, "train.schedule", "constant")
    options = given if isinstance(given, Mapping) else {"name": given}
    if options.get("name") in STAYS_HIGH:
        return None
    kept = {key: options[key] for key in ("warmup_epochs",) if options.get(key)}
    return {"train.schedule": {"name": "cosine", **kept}}


def clip_gradients(settings: Settings, evidence: Evidence) -> Edits | None:
    """A threshold on the norm of the gradient, where nothing is clipped yet and the rule allows it."""
    row = CATALOG["optimizer"].get(str(_name(settings, "train.optimizer")))
    clips = [f"train.{name}" for name in ("clip_norm", "clip_value", "clip_layer_norm", "clip_adaptive")]  # fmt: skip
    is_clipped = any(setting(settings, path) is not None for path in clips)
    if is_clipped or (row is not None and row.facts.get("needs") == "objective"):
        return None
    return {"train.clip_norm": 1.0}


def looser_clipping(settings: Settings, evidence: Evidence) -> Edits | None:
    """To the 90th percentile of the gradient norms, so that one step in ten is clipped; ten times where it is not known."""
    edits: dict[str, Any] = {}
    for path in RELATIVE:
        value = _sick(settings, evidence, path) if path.startswith("train.clip_") else None
        if value is not None:
            edits[path] = _rounded(10.0 * value)
    norm = evidence.get("grad_norm_p90", math.nan)
    if "train.clip_norm" in edits and norm > evidence.get("train.clip_norm", math.inf):
        edits["train.clip_norm"] = _rounded(norm)
    return _different(settings, edits)


def fewer_epochs(settings: Settings, evidence: Evidence) -> Edits | None:
    """Half as many again as the best state needed; half of them where that is not known."""
    epochs = _sick(settings, evidence, "train.epochs")
    if not isinstance(epochs, int):
        return None
    least = max(1, math.ceil(setting(settings, "train.eval_every", 1.0)))
    wanted = math.ceil(1.5 * evidence["best_epoch"]) if "best_epoch" in evidence else epochs // 2
    now = setting(settings, "train.epochs", epochs)
    return {"train.epochs": max(least, wanted)} if max(least, wanted) < now else None


def stop_early(settings: Settings, evidence: Evidence) -> Edits | None:
    """Stop after five evaluations without progress."""
    if setting(settings, "train.early_stopping") is not None:
        return None
    return {"train.early_stopping": {"patience": 5}, "train.keep": "best"}


def no_early_stopping(settings: Settings, evidence: Evidence) -> Edits | None:
    """Train to the end."""
    if setting(settings, "train.early_stopping") is None:
        return None
    return {"train.early_stopping": None, "train.keep": "best"}


def larger_batch(settings: Settings, evidence: Evidence) -> Edits | None:
    """Four times the batch of the sick run, at least 32, at most the training part."""
    size = _sick(settings, evidence, "train.batch_size")
    if not isinstance(size, int):
        return None
    most = int(evidence.get("num_train") or 1_000_000)
    return _different(settings, {"train.batch_size": max(size, min(max(32, 4 * size), most))})


# ---- regularisation ----------------------------------------------------------------------------

_PENALTIES: Final = ("train.l1", "train.l2", "train.weight_decay", "train.optimizer.weight_decay")
_NOISES: Final = ("train.gradient_noise", "train.weight_noise", "train.input_noise")
_DROPS: Final = ("model.dropout", "model.spatial_dropout", "model.stochastic_depth")


def less_regularisation(factor: float) -> Rule:
    """Penalties, noise and dropout of the sick run times a factor below 1; no limit on norms."""

    def rule(settings: Settings, evidence: Evidence) -> Edits | None:
        edits: dict[str, Any] = {}
        for path in (*_PENALTIES, *_NOISES, *_DROPS):
            now = setting(settings, path)
            was = _sick(settings, evidence, path)
            if isinstance(now, float) and now > 0 and was is not None:
                edits[path] = _rounded(was * factor)
        if setting(settings, "train.max_norm") is not None:
            edits["train.max_norm"] = None
        return _different(settings, edits)

    return rule


def more_regularisation(factor: float) -> Rule:
    """Penalties of the sick run times a factor; l2 at 1e-4 times it where there are none."""

    def rule(settings: Settings, evidence: Evidence) -> Edits | None:
        known = {path: _sick(settings, evidence, path) for path in _PENALTIES}
        given = {path: value for path, value in known.items() if value}
        edits = {path: _rounded(value * factor) for path, value in given.items()}
        return _different(settings, edits or {"train.l2": _rounded(1e-4 * factor)})

    return rule


def dropout(share: float | None, *, factor: float = 0.0) -> Rule:
    """Dropout at a share where there was none, or at a part of what it was."""

    def rule(settings: Settings, evidence: Evidence) -> Edits | None:
        was = _sick(settings, evidence, "model.dropout")
        if not isinstance(was, float) or (was > 0) == (share is not None):
            return None
        return _different(settings, {"model.dropout": _rounded(was * factor) if share is None else share})  # fmt: skip

    return rule


def of_classes(rule: Rule) -> Rule:
    """A rule that only makes sense for classes."""
    return lambda s, e: rule(s, e) if setting(s, "data.task") != "regression" else None
