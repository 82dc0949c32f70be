"""Every remedy, on a study in which it applies: its edits are a valid study, they change it, and applying them twice does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from lanework.catalog import CATALOG
from lanework.health import edits as rules
from lanework.health.causes import CAUSES
from lanework.health.remedies import REMEDIES
from lanework.spec import RunConfig, parse_study
from lanework.spec.compare import apply_all
from lanework.spec.expand import expand
from lanework.spec.sections import build_config, plain_config
from tests.helpers import ROOT

SICK: Mapping[str, dict[str, Any]] = {
    "scale_inputs": {"data.prepare": "none"},
    "scale_target": {"data.source": "diabetes", "data.scale_target": False},
    "lower_rate": {"train.learning_rate": 1.0},
    "raise_rate": {"train.learning_rate": 1e-6},
    "find_rate": {"train.learning_rate": 0.5},
    "warm_up": {"train.schedule": "cosine"},
    "clip_gradients": {},
    "he_initialisation": {"model.init": "zeros"},
    "xavier_initialisation": {"model.init": {"name": "small_normal", "std": 3.0}},
    "default_initialisation": {"model.init": "ones"},
    "use_relu": {"model.activation": "sigmoid"},
    "use_leaky_relu": {"model.activation": "relu"},
    "hidden_activation": {"model.activation": "identity"},
    "add_normalisation": {},
    "use_residual": {"model.net": "plain", "data.source": "digits"},
    "linear_output": {"model.output_activation": "softmax"},
    "usual_loss": {"train.loss": "hinge"},
    "mean_loss": {"train.reduction": "sum"},
    "usual_outputs": {"model.num_outputs": 7},
    "less_regularisation": {"train.l2": 1.0, "model.dropout": 0.9, "train.input_noise": 2.0},
    "more_regularisation": {"train.l2": 1e-9},
    "add_dropout": {},
    "less_dropout": {"model.dropout": 0.9},
    "stop_early": {},
    "more_epochs": {"train.epochs": 2},
    "fewer_epochs": {"train.epochs": 200},
    "more_patience": {"train.early_stopping": {"patience": 1}},
    "no_early_stopping": {"train.early_stopping": {"patience": 1}},
    "slower_schedule": {"train.schedule": {"name": "step", "every": 1.0, "factor": 0.1}},
    "larger_batch": {"train.batch_size": 2},
    "layer_norm": {"model.norm": "batch", "train.batch_size": 2},
    "class_weights": {},
    "balanced_batches": {},
    "larger_network": {"model.hidden": [2]},
    "shuffle": {"train.sampling": "in_order"},
    "same_preparation": {"data.prepare_held_out": "none"},
    "dropout_off_at_evaluation": {"model.dropout": 0.5, "model.dropout_at_evaluation": True},
    "looser_clipping": {"train.clip_norm": 1e-4},
    "drop_leaking_column": {},
    "adam": {"train.optimizer": "sgd"},
    "average_weights": {},
}
FACTS = {"num_train": 100, "leak_column": "alcohol", "best_epoch": 3.0, "grad_norm_p90": 2.0}
TRIED = [code for code, row in REMEDIES.items() if row.kind != "words"]


def config_of(given: Mapping[str, Any], **sections: Any) -> RunConfig:
    """The only recipe of a small study with some settings put in, every default filled in."""
    base: dict[str, Any] = {"study": "sick", "data": {"source": "wine"}, "model": {}, "train": {}}
    base |= sections
    spec = parse_study(apply_all(base, list(given.items())), base=ROOT)
    return expand(spec)[0].config


def evidence(settings: Mapping[str, Any]) -> dict[str, Any]:
    own = {path: rules.setting(settings, path) for path in rules.RELATIVE}
    return FACTS | {path: value for path, value in own.items() if value is not None}


def test_every_cause_has_remedies_that_exist_and_every_remedy_a_cause() -> None:
    named = {code for cause in CAUSES.values() for code in cause.remedies}
    assert named == set(REMEDIES)
    assert set(SICK) == set(TRIED)


@pytest.mark.parametrize("code", TRIED)
def test_a_remedy_gives_a_valid_study_and_changes_it_once(code: str) -> None:
    remedy = REMEDIES[code]
    settings = plain_config(config_of(SICK[code]))
    known = evidence(settings)
    seen = [settings]
    for rule in (remedy.edits, *remedy.further):
        found = rule(settings, known)
        assert found, f"{code} should apply to {SICK[code]}"
        plain = apply_all(settings, list(found.items()))
        config, problems = build_config(plain)
        assert config is not None, problems
        mended = plain_config(config)
        assert mended not in seen
        seen.append(mended)
        assert rule(mended, known) is None


@pytest.mark.parametrize("net", CATALOG["net"])
def test_remedies_fit_every_network_or_do_not_apply(net: str) -> None:
    settings = plain_config(config_of({}, model={"net": net}))
    num_applied = 0
    for code in TRIED:
        for rule in (REMEDIES[code].edits, *REMEDIES[code].further):
            found = rule(settings, evidence(settings))
            if found is not None:
                config, problems = build_config(apply_all(settings, list(found.items())))
                assert config is not None, (code, found, problems)
                num_applied += 1
    assert num_applied > 10


def test_what_is_so_already_is_no_remedy() -> None:
    healthy = plain_config(config_of({}))
    absolute = [
        *("scale_inputs", "he_initialisation", "default_initialisation", "use_relu"),
        *("hidden_activation", "linear_output", "usual_loss", "usual_outputs", "less_dropout"),
        *("less_regularisation", "no_early_stopping", "more_patience", "slower_schedule"),
        *("layer_norm", "looser_clipping", "adam", "use_residual", "fix_labels", "fix_data"),
    ]
    applied = [code for code in absolute if REMEDIES[code].edits(healthy, evidence(healthy))]
    assert applied == []


def test_the_right_initialiser_at_a_wrong_scale_is_mended() -> None:
    settings = plain_config(config_of({"model.init": {"name": "xavier_normal", "gain": 90.0}}))
    assert REMEDIES["xavier_initialisation"].edits(settings, {}) == {"model.init": "xavier_normal"}
    assert REMEDIES["default_initialisation"].edits(settings, {}) == {"model.init": "auto"}


def test_weights_from_a_file_are_not_drawn_anew() -> None:
    settings = plain_config(config_of({"model.init": "zeros"}))
    settings["model"]["weights"] = "trained.safetensors"
    assert REMEDIES["he_initialisation"].edits(settings, {}) is None


def test_a_new_activation_takes_the_initial_weights_that_suit_it() -> None:
    settings = plain_config(config_of({"model.activation": "sigmoid"}))
    assert settings["model"]["init"] == "xavier_normal"
    assert REMEDIES["use_relu"].edits(settings, {}) == {"model.activation": "relu", "model.init": "auto"}  # fmt: skip
    settings["model"]["init"] = "orthogonal"
    assert REMEDIES["use_relu"].edits(settings, {}) == {"model.activation": "relu"}


def test_scaling_keeps_the_other_steps_and_takes_columns_along() -> None:
    columns = {"a": {"prepare": "none", "rare": 3}, "b": {"prepare": "none"}, "c": "category"}
    settings = {"data": {"prepare": ["log1p", "clip"], "columns": columns}}
    assert REMEDIES["scale_inputs"].edits(settings, {}) == {
        "data.prepare": ["log1p", "clip", "standard"],
        "data.columns": {"a": {"rare": 3}, "c": "category"},
    }


def test_clipping_loosens_to_where_one_step_in_ten_is_clipped() -> None:
    settings = {"train": {"clip_norm": 0.01}}
    rule = REMEDIES["looser_clipping"].edits
    assert rule(settings, {"train.clip_norm": 0.01, "grad_norm_p90": 3.14159}) == {"train.clip_norm": 3.14}  # fmt: skip
    assert rule(settings, {"train.clip_norm": 0.01}) == {"train.clip_norm": 0.1}
