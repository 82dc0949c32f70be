"""What is said about a wrong study file: every message, all of a file together, never a traceback."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lanework.catalog import CATALOG
from lanework.errors import SpecError
from lanework.spec import expand, load_study, parse_study, schema
from lanework.spec.expand import MAX_ARMS
from tests.helpers import ROOT

BASE: dict[str, Any] = {"study": "probe", "data": {"source": "digits"}}


def said(raw: Any) -> list[str]:
    """What is said about a study, one line per problem."""
    with pytest.raises(SpecError) as caught:
        parse_study(raw, base=ROOT, where="probe.yaml")
    return [str(problem) for problem in caught.value.problems]


CASES: list[tuple[str, dict[str, Any], str]] = [
    # the file as a whole
    ("unknown-key", {"trian": 1}, "trian: must be a known key, got 'trian'. Did you mean train?"),
    ("no-name", {"study": None}, "study: must be given, got nothing. Add study: and a short name."),
    (
        "bad-name",
        {"study": "a/b"},
        "study: must be a short name that can name a folder, got 'a/b'. Use letters, digits, - and _.",
    ),
    ("notes", {"notes": 3}, "notes: must be text, got 3. Put it in quotes."),
    (
        "section-is-no-mapping",
        {"train": "adam"},
        "train: must be a mapping (key: value), got 'adam'. Use for example {epochs: 20}.",
    ),
    # seeds
    (
        "no-seeds",
        {"seeds": 0},
        "seeds: must be a whole number >= 1 and <= 10000 or a list of seeds, got 0. "
        "Use for example 5.",
    ),
    (
        "negative-seed",
        {"seeds": [1, -1]},
        "seeds[1]: must be a whole number >= 0 and < 2^32, got -1. Use for example 0.",
    ),
    (
        "seed-twice",
        {"seeds": [1, 2, 1]},
        "seeds: must differ from each other, got 1 twice. A seed repeated adds nothing.",
    ),
    # data
    (
        "no-source",
        {"data": {}},
        "data.source: must be given, got nothing. Give a file or one of digits, breast_cancer, wine",
    ),
    (
        "unknown-source",
        {"data": {"source": "digts"}},
        "data.source: must be the name of a data set or the path of a file, got 'digts'. "
        "Did you mean digits, diabetes or adding? A file is looked for beside the study file.",
    ),
    (
        "split-sum",
        {"data": {"source": "digits", "split": {"train": 0.7, "val": 0.7}}},
        "data.split: must have train, val and test that add up to 1, got 1.55. Give two of them, "
        "the last one takes what is left; compare whole splits, for example split: "
        "[{train: 0.5, val: 0.25}, {train: 0.7, val: 0.15}].",
    ),
    (
        "unknown-split-key",
        {"data": {"source": "digits", "split": {"tain": 1}}},
        "data.split.tain: must be a known key, got 'tain'. Did you mean train, time or stratify?",
    ),
    (
        "kind-of-column",
        {"data": {"source": "a.csv", "columns": {"age": "number"}}},
        "data.columns.age: must be numeric, category, date, ignore, text or words, got 'number'. Did you mean numeric?",
    ),
    (
        "preparation",
        {"data": {"source": "digits", "prepare": "standrd"}},
        "data.prepare: must be the name of a preparation, got 'standrd'. Did you mean standard? "
        "`lanework list preparation` shows all.",
    ),
    (
        "header",
        {"data": {"source": "a.csv", "header": "yes"}},
        "data.header: must be true or false, got 'yes'. Use for example true, or leave it out.",
    ),
    (
        "delimiter",
        {"data": {"source": "a.csv", "delimiter": ";;"}},
        "data.delimiter: must be at most 1 character(s) long, got ';;'. Use for example ,, "
        "or leave it out.",
    ),
    (
        "empty-target",
        {"data": {"source": "a.csv", "target": ""}},
        "data.target: must be text that is not empty, got ''. Use for example price",
    ),
    (
        "missing-is-a-list",
        {"data": {"source": "a.csv", "missing": "?"}},
        "data.missing: must be a list, got '?'. Mend it, or leave it out to use the default.",
    ),
    # model
    (
        "unknown-option",
        {"model": {"hiden": [3]}},
        "model.hiden: must be an option of mlp, got 'hiden' = the list [3]. Did you mean hidden or hidden_bias?",
    ),
    (
        "option-of-another-net",
        {"model": {"channels": [3]}},
        "model.channels: must be an option of mlp, got 'channels' = the list [3]. cnn has it; "
        "mlp does not.",
    ),
    (
        "unknown-net",
        {"model": {"net": "mpl"}},
        "model.net: must be the name of a net, got 'mpl'. Did you mean mlp or plain? "
        "`lanework list net` shows all. An own module is written file.py:Class.",
    ),
    (
        "unknown-activation",
        {"model": {"activation": "rellu"}},
        "model.activation: must be the name of an activation, got 'rellu'. "
        "Did you mean relu, prelu or elu? `lanework list activation` shows all.",
    ),
    (
        "option-of-activation",
        {"model": {"activation": {"name": "leaky_relu", "slope": 2}}},
        "model.activation.slope: must be a number >= 0 and <= 1, got 2. Use for example 0.01.",
    ),
    (
        "hidden-width",
        {"model": {"hidden": [64, 0]}},
        "model.hidden[1]: must be a whole number >= 1 and <= 1000000, got 0. Use for example [64, 64].",
    ),
    (
        "hidden-number",
        {"model": {"hidden": 64}},
        "model.hidden: must be a list of whole numbers, each >= 1 and <= 1000000, got 64. "
        "Use for example [64, 64].",
    ),
    (
        "norm-position",
        {"model": {"norm_position": "befor"}},
        "model.norm_position: must be before or after, got 'befor'. Did you mean before?",
    ),
    (
        "own-module-missing",
        {"model": {"net": "nowhere.py:Net"}},
        f"model.net: must name a file that exists, got {ROOT / 'nowhere.py'}. "
        "The path is relative to the study file.",
    ),
    (
        "own-module-without-class",
        {"model": {"net": "nowhere.py:"}},
        f"model.net: must be file.py:Class, got '{ROOT / 'nowhere.py'}:'. "
        "Write the name of the class after the colon.",
    ),
    (
        "own-argument",
        {"model": {"net": "<object>", "width": {"a": 1}}},
        "model.width: must be a number, text, true, false or a list of those, got the mapping "
        "{'a': 1}. Build anything else inside the module.",
    ),
    (
        "own-argument-not-finite",
        {"model": {"net": "<object>", "width": float("inf")}},
        "model.width: must be finite, got inf. Use a finite number.",
    ),
    # train
    (
        "negative-rate",
        {"train": {"learning_rate": -1}},
        "train.learning_rate: must be a number > 0, got -1. Use for example 0.001, or auto.",
    ),
    (
        "rate-with-the-rule",
        {"train": {"optimizer": {"name": "sgd", "learning_rate": 0}}},
        "train.optimizer.learning_rate: must be a number > 0, got 0. Use for example 0.001, or auto.",
    ),
    (
        "rate-twice",
        {"train": {"learning_rate": 0.1, "optimizer": {"name": "sgd", "learning_rate": 0.2}}},
        "train.optimizer.learning_rate: must be given once, got 0.2 here and 0.1 as "
        "train.learning_rate. Remove one.",
    ),
    (
        "rate-not-finite",
        {"train": {"learning_rate": float("nan")}},
        "train.learning_rate: must be a number > 0, got nan. Use for example 0.001, or auto.",
    ),
    (
        "epochs-in-quotes",
        {"train": {"epochs": "3"}},
        "train.epochs: must be a whole number, got '3'. Remove the quotes.",
    ),
    (
        "half-an-epoch",
        {"train": {"epochs": 1.5}},
        "train.epochs: must be a whole number, got 1.5. Use for example 20.",
    ),
    (
        "batch-size",
        {"train": {"batch_size": 0}},
        "train.batch_size: must be a whole number >= 1 or all, got 0. Use for example 64.",
    ),
    (
        "clip-0",
        {"train": {"clip_norm": 0}},
        "train.clip_norm: must be > 0, got 0. Use for example 1.0, or leave it out.",
    ),
    (
        "momentum-1",
        {"train": {"optimizer": {"name": "momentum", "momentum": 1.0}}},
        "train.optimizer.momentum: must be a number >= 0 and < 1, got 1.0. Use for example 0.9.",
    ),
    (
        "betas",
        {"train": {"optimizer": {"name": "adam", "b1": 0.999, "b2": 0.9}}},
        "train.optimizer.b1: must be below b2, got b1 0.999 and b2 0.9. Swap them, or use the "
        "defaults b1 0.9 and b2 0.999.",
    ),
    (
        "option-in-quotes",
        {"train": {"optimizer": {"name": "adam", "b1": "0.9"}}},
        "train.optimizer.b1: must be a number >= 0 and < 1, got '0.9'. Remove the quotes.",
    ),
    (
        "choice-without-name",
        {"train": {"loss": {"margin": 1}}},
        "train.loss: must be a name, alone or with options, got the mapping {'margin': 1}. Add name: and one of "
        "cross_entropy, binary_cross_entropy, mse, mae, huber, focal, hinge.",
    ),
    (
        "choice-without-options",
        {"train": {"loss": {"name": "mse", "weigth": 1}}},
        "train.loss.weigth: must be an option of mse, got 'weigth' = 1. "
        "mse has no options; remove it.",
    ),
    (
        "warm-up-too-long",
        {"train": {"epochs": 3, "schedule": {"name": "cosine", "warmup_epochs": 3}}},
        "train.schedule.warmup_epochs: must be below epochs (3), got 3: the warm-up would never "
        "end. Use for example 0.3, a tenth of training.",
    ),
    (
        "step-too-long",
        {"train": {"epochs": 4, "schedule": "step"}},
        "train.schedule.every: must be below epochs (4), got 10: the rate would never drop. "
        "Use for example 1, or schedule: constant.",
    ),
    (
        "evaluation-too-rare",
        {"train": {"epochs": 4, "eval_every": 5}},
        "train.eval_every: must be <= epochs (4), got 5: nothing would be evaluated. "
        "Use for example 1.",
    ),
    (
        "decay-twice",
        {"train": {"optimizer": "adamw", "weight_decay": 0.1}},
        "train.weight_decay: must be given once, got 0.1 here and 0.01 in adamw. "
        "Use {name: adamw, weight_decay: 0} or leave this one out.",
    ),
    (
        "batch-norm-of-one",
        {"train": {"batch_size": 1}, "model": {"norm": "batch"}},
        "train.batch_size: must be >= 2 with batch normalisation, got 1: a batch of one has no "
        "variance. Use model.norm: layer or group, which look at each sample alone, or a larger batch.",
    ),
    (
        "keep",
        {"train": {"keep": "bst"}},
        "train.keep: must be best or last, got 'bst'. Did you mean best or last?",
    ),
    (
        "patience",
        {"train": {"early_stopping": 0}},
        "train.early_stopping.patience: must be >= 1, got 0. Use for example 5.",
    ),
    (
        "heal",
        {"train": {"heal": {"factor": 1}}},
        "train.heal.factor: must be < 1, got 1. Use for example 0.5.",
    ),
    (
        "heal-is-a-mapping",
        {"train": {"heal": 3}},
        "train.heal: must be a mapping (key: value), got 3. "
        "Mend it, or leave it out to use the default.",
    ),
    # report
    (
        "metric",
        {"report": {"metric": "val_acc"}},
        "report.metric: must be a metric of classification with its part, got 'val_acc'. "
        "Did you mean val_accuracy",
    ),
    (
        "metric-of-the-test-part",
        {"report": {"metric": "test_accuracy"}},
        "report.metric: must be measured on val or train, got 'test_accuracy'. The test part is "
        "used once, at the end; use val_accuracy.",
    ),
    (
        "metric-of-another-task",
        {"train": {"early_stopping": {"metric": "val_rmse"}}},
        "train.early_stopping.metric: must be a metric of classification with its part, "
        "got 'val_rmse'.",
    ),
    # compare
    (
        "compare-is-no-mapping",
        {"compare": 3},
        "compare: must be a mapping of factors or a list of recipes, got 3. "
        "Use for example optimizer: [sgd, adam].",
    ),
    (
        "unknown-factor",
        {"compare": {"optimzer": ["sgd"]}},
        "compare.optimzer: must be a key of data, model or train, got 'optimzer'. "
        "Did you mean optimizer or options?",
    ),
    (
        "factor-of-a-choice",
        {"compare": {"momentum": [0.9]}},
        "compare.momentum: must be a key of data, model or train, got 'momentum'. "
        "Did you mean optimizer.momentum?",
    ),
    (
        "ambiguous-factor",
        {"model": {"net": "<object>", "epochs": 3}, "compare": {"epochs": [1]}},
        "compare.epochs: must be one key, got 'epochs', which may be model.epochs or train.epochs. "
        "Write it in full.",
    ),
    (
        "factor-is-no-list",
        {"compare": {"learning_rate": 3}},
        "compare.learning_rate: must be a list of values or a range, got 3. "
        "Use for example [0.01, 0.1] or {log: [1e-4, 1], points: 5}.",
    ),
    (
        "range",
        {"compare": {"l2": {"log": [0, 1], "pionts": 3}}},
        "compare.l2: must be a list of values or a range, got the mapping "
        "{'log': [0, 1], 'pionts': 3}. "
        "A range is {log: [low, high], points: n} or {lin: [low, high], points: n}.",
    ),
    (
        "zero-on-a-log-scale",
        {"compare": {"learning_rate": {"log": [0, 1], "points": 3}}},
        "compare.learning_rate.log[0]: must be > 0 on a log scale, got 0. "
        "Use for example 1e-5, or a lin range.",
    ),
    (
        "falling-range",
        {"compare": {"l2": {"lin": [1, 0], "points": 3}}},
        "compare.l2.lin: must rise, got the list [1, 0]. Write the smaller number first.",
    ),
    (
        "range-of-text",
        {"compare": {"l2": {"lin": [1, "a"], "points": 3}}},
        "compare.l2.lin: must be two numbers, got the list [1, 'a']. Use for example [0, 0.5].",
    ),
    (
        "points",
        {"compare": {"l2": {"lin": [0, 1], "points": 1}}},
        "compare.l2.points: must be a whole number >= 2 and <= 10000, got 1. Use for example 5.",
    ),
    (
        "broken-batch-sizes",
        {"compare": {"batch_size": {"lin": [10, 20], "points": 3}, "l2": [-1, 0]}},
        "compare.l2[0]: must be >= 0, got -1.0. Use for example 0.0.",
    ),
    (
        "value-twice",
        {"compare": {"optimizer": ["adam", {"name": "adam"}]}},
        "compare.optimizer[1]: must differ from the other values, got the mapping "
        "{'name': 'adam'} again. Remove one of them.",
    ),
    (
        "factor-twice",
        {"compare": {"l2": [0, 1], "train.l2": [2]}},
        "compare.train.l2: must be compared once, got it as l2 too. Remove one.",
    ),
    (
        "value-of-a-factor",
        {"compare": {"optimizer": ["sdg"]}},
        "compare.optimizer[0]: must be the name of an optimizer, got 'sdg'. Did you mean sgd, dog or dowg?",
    ),
    (
        "rate-of-rule-and-factor",
        {"compare": {"optimizer": [{"name": "sgd", "learning_rate": 1}], "learning_rate": [2]}},
        "compare.optimizer[0].learning_rate: must be given once, got 1 here and learning_rate as "
        "a factor or key of its own. Remove one of them.",
    ),
    (
        "option-some-rules-lack",
        {"compare": {"optimizer": ["sgd", "momentum"], "optimizer.momentum": [0.5]}},
        "compare.optimizer.momentum[0]: must be an option of sgd, got 'momentum' = 0.5. "
        "momentum, nesterov, rmsprop and 6 more have it; sgd does not.",
    ),
    (
        "part-of-a-number",
        {"compare": {"epochs.x": [1]}},
        "compare.epochs.x[0]: must be a key that exists, got a part of train.epochs, "
        "which has no parts. Use train.epochs.",
    ),
    (
        "section-value",
        {"compare": {"train": [3]}},
        "compare.train[0]: must be a mapping (key: value), got 3. Write {key: value}.",
    ),
    (
        "only-in-combination",
        {"compare": {"norm": ["batch"], "batch_size": [1, 2]}},
        "compare.batch_size[0]: must be >= 2 with batch normalisation, got 1",
    ),
    (
        "only-in-combination-elsewhere",
        {"train": {"batch_size": 1}, "compare": {"epochs": [1, 2], "norm": ["batch"]}},
        "train.batch_size: must be >= 2 with batch normalisation, got 1: a batch of one has no "
        "variance. Use model.norm: layer or group, which look at each sample alone, or a larger batch. "
        "(Met in combination with compare.epochs[0].)",
    ),
    (
        "too-many",
        {"compare": {"l1": {"lin": [0, 1], "points": 1000}, "l2": {"lin": [0, 1], "points": 1000}}},
        f"compare: must make at most {MAX_ARMS} combinations, got 1000000. "
        "Use fewer values per factor.",
    ),
    # recipes
    (
        "recipes-are-a-list",
        {"compare": {"recipes": 3}},
        "compare.recipes: must be a list, got 3. Start each recipe with - name:.",
    ),
    (
        "recipe-without-name",
        {"compare": [{"optimizer": "sgd"}]},
        "compare.recipes[0]: must be a mapping with a name, got the mapping {'optimizer': 'sgd'}. "
        "Write for example {name: gentle, learning_rate: 0.001}.",
    ),
    (
        "recipe-name-twice",
        {"compare": [{"name": "a"}, {"name": "a", "l2": 1}]},
        "compare.recipes: must have different names, got 'a' twice. Rename one.",
    ),
    (
        "recipe-value",
        {"compare": [{"name": "a", "l2": -1}]},
        "compare.recipes.a.train.l2: must be >= 0, got -1.0. Use for example 0.0.",
    ),
    (
        "recipe-and-factor",
        {"compare": {"recipes": [{"name": "a", "l2": 1}], "l2": [2]}},
        "compare.recipes[0].train.l2: must be set by the recipe or by the factor l2, got both. "
        "Remove one of them.",
    ),
    # exclude
    (
        "exclude-is-a-list",
        {"exclude": {"l2": 1}},
        "exclude: must be a list of mappings, got the mapping {'l2': 1}. "
        "Use for example [{optimizer: sgd, learning_rate: 0.0001}].",
    ),
    (
        "exclude-holds-mappings",
        {"exclude": ["l2"]},
        "exclude[0]: must be a mapping, got 'l2'. Write {factor: value}.",
    ),
    (
        "exclude-nothing",
        {"exclude": [{}]},
        "exclude[0]: must name a factor, got nothing. Remove it.",
    ),
    (
        "exclude-unknown",
        {"compare": {"l2": [1, 2]}, "exclude": [{"l1": 1}]},
        "exclude[0].l1: must be a factor of compare, got 'l1'. Did you mean l2",
    ),
    (
        "exclude-no-match",
        {"compare": {"l2": [1, 2]}, "exclude": [{"l2": 3}]},
        "exclude[0]: must match a combination, got the mapping {'l2': 3}, which matches none. "
        "Write the values as `lanework plan` shows them, or remove it.",
    ),
    (
        "exclude-all",
        {"compare": {"l2": [1, 2]}, "exclude": [{"l2": [1, 2]}]},
        "exclude: must leave a combination, got rules that exclude all. Remove one.",
    ),
]


@pytest.mark.parametrize(("more", "text"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_message(more: dict[str, Any], text: str) -> None:
    found = said(BASE | more)
    assert any(line.startswith(text) for line in found), found


def test_all_problems_of_a_file_come_together() -> None:
    raw = {
        "study": "x/y",
        "data": {"source": "digts", "split": {"train": 2}},
        "model": {"hiden": [3], "activation": "rellu"},
        "train": {"optimizer": "adm", "learning_rate": -1, "epochs": 0},
        "compare": {"learning_rate": {"log": [0, 1], "points": 3}, "dropout": [0.5, 1.0]},
        "seeds": 0,
        "report": {"metric": "val_acc"},
        "extra": 1,
    }
    paths = [line.partition(":")[0] for line in said(raw)]
    assert sorted(paths) == sorted(
        [
            *("study", "extra", "seeds", "report.metric", "data.source", "data.split.train"),
            *("model.hiden", "model.activation", "train.optimizer", "train.learning_rate"),
            *("train.epochs", "compare.learning_rate.log[0]", "compare.dropout[1]"),
        ]
    )


def test_report_numbers_the_problems() -> None:
    with pytest.raises(
        SpecError, match=r"^probe.yaml: 2 problems\.\n  1\. train.l1: must"
    ) as caught:
        parse_study(BASE | {"train": {"l1": -1, "l2": -1}}, base=ROOT, where="probe.yaml")
    assert str(caught.value).endswith("2. train.l2: must be >= 0, got -1. Use for example 0.0.")


def test_not_a_mapping() -> None:
    assert said(["digits"]) == [
        "must be a mapping with study, data, model and train, got the list ['digits']. "
        "See studies/digits.yaml."
    ]


# --- files ---------------------------------------------------------------------------------------


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").touch()
    with pytest.raises(SpecError, match=r"there is none at this path. Did you mean digits.yaml\?"):
        load_study(tmp_path / "digit.yaml")
    with pytest.raises(SpecError, match=r"there is none at this path. Check the path."):
        load_study(tmp_path / "no" / "digit.yaml")


def test_folder_and_bytes_are_no_study(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"must be a readable text file in UTF-8, got .* Check"):
        load_study(tmp_path)
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(
        SpecError, match=r"must be a readable text file in UTF-8, got 'utf-8' codec"
    ):
        load_study(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"must be a mapping with study, data, model and train, got nothing \(null\)"),
        ("study: [", r"must be YAML, got .* at line 1, column \d+\. Check the indentation"),
        ("a: b: c", r"must be YAML, got mapping values are not allowed here at line 1, column 5"),
        ("study: \0", r"must be YAML, got .*Check the indentation"),
        (
            "study: !!python/name:os.system x",
            r"must be YAML, got could not determine a constructor",
        ),
        ("study: a\nstudy: b", r"each key may be given once, got 'study' on lines 1 and 2. Remove"),
        ("data: {a: 1, a: 2}", r"each key may be given once, got 'a' on lines 1 and 1"),
        ("? [a]\n: 1", r"must be YAML, got found unhashable key at line 1"),
        ("study: *x", r"must be YAML, got found undefined alias"),
        ("study: " + "9" * 301, r"numbers must have at most 300 digits, got 301 on line 1. Put it"),
        ("a: &a [*a]\n", r"must be"),
    ],
)
def test_broken_yaml(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(SpecError, match=message) as caught:
        load_study(file)
    assert str(caught.value).startswith(str(file))


# --- anything at all -----------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        *("study", "data", "model", "train", "compare", "exclude", "seeds", "report", "notes"),
        *("source", "split", "net", "hidden", "activation", "optimizer", "learning_rate", "loss"),
        *("schedule", "early_stopping", "heal", "metric", "recipes", "name", "log", "lin"),
        *("points", "columns", "missing", "target", "test", "batch_size", "dropout", "init"),
        *("optimizer.b1", "train.optimizer", "model.net", "data.split.train", "a.b.c", ".", ""),
    ]
)
VALUES = st.sampled_from(
    [
        *(None, True, False, 0, 1, -1, 3.5, float("nan"), float("inf"), 10**400, "", "x", "adam"),
        *("mlp", "digits", "<object>", "a:b", "a.csv", "val_accuracy", "constant", "\0", [], {}),
    ]
)
ANYTHING = st.recursive(
    VALUES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            WORDS | VALUES.filter(lambda v: not isinstance(v, list | dict)), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(raw=ANYTHING)
@example(raw={"model": True, "compare": {"study": None}})
@settings(max_examples=400, deadline=None)
def test_nothing_but_our_error_for_anything(raw: Any) -> None:
    with contextlib.suppress(SpecError):
        expand(parse_study(raw, base=ROOT))


@given(
    data=st.dictionaries(WORDS, ANYTHING, max_size=3),
    model=st.dictionaries(WORDS, ANYTHING, max_size=3),
    train=st.dictionaries(WORDS, ANYTHING, max_size=3),
    compare=st.dictionaries(WORDS, st.lists(ANYTHING, max_size=3), max_size=3) | ANYTHING,
    exclude=st.lists(st.dictionaries(WORDS, VALUES, max_size=2), max_size=2),
    report=ANYTHING,
)
@settings(max_examples=400, deadline=None)
def test_nothing_but_our_error_for_nearly_right_files(**sections: Any) -> None:
    raw = {"study": "probe"} | sections
    raw["data"] = {"source": "digits"} | raw["data"]
    with contextlib.suppress(SpecError):
        expand(parse_study(raw, base=ROOT))


# --- schema --------------------------------------------------------------------------------------

VALIDATOR = jsonschema.Draft202012Validator(schema())


def test_schema_is_valid_and_names_the_catalogue() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    optimizer = schema()["$defs"]["optimizer"]["anyOf"][0]
    assert optimizer["enum"] == list(CATALOG["optimizer"])
    assert optimizer["enumDescriptions"][0] == CATALOG["optimizer"]["sgd"].summary


@pytest.mark.parametrize(
    "more",
    [
        {"trian": {}},
        {"data": {"source": 3}},
        {"data": {"source": "digits", "prepare": "standrd"}},
        {"data": {"source": "digits", "split": {"tain": 1}}},
        {"model": {"hiden": [3]}},
        {"model": {"activation": "rellu"}},
        {"model": {"net": "cnn", "hidden": [3]}},
        {"train": {"optimizer": "adm"}},
        {"train": {"optimizer": {"name": "momentum", "momentum": 1.0}}},
        {"train": {"learning_rate": 0}},
        {"train": {"batch_size": 0}},
        {"train": {"early_stopping": {"patience": 0}}},
        {"compare": {"optimizer": ["adm"]}},
        {"compare": {"learning_rate": 3}},
        {"compare": {"learning_rate": {"log": [1], "points": 3}}},
        {"seeds": 0},
        {"report": {"metrc": "val_loss"}},
    ],
    ids=str,
)
def test_schema_refuses_what_the_loader_refuses(more: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(BASE | more)
    assert said(BASE | more)


@pytest.mark.parametrize(
    "more",
    [
        {"model": {"net": "<object>:Net", "anything": 3}},
        {"model": {"activation": {"name": "leaky_relu", "slope": 0.5}, "init": "auto"}},
        {"train": {"early_stopping": 3, "batch_size": "all", "loss": None}},
        {
            "compare": {
                "optimizer.b1": [0.5],
                "hidden": [[], [3]],
                "l2": {"log": [1e-4, 1], "points": 3},
            }
        },
        {"compare": [{"name": "a", "optimizer": "sgd"}]},
        {
            "compare": {
                "recipes": [{"name": "a"}],
                "optimizer": [{"name": "sgd", "learning_rate": 1}],
            }
        },
        {"seeds": [1, 2]},
    ],
    ids=str,
)
def test_schema_accepts_what_the_loader_accepts(more: dict[str, Any]) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(BASE | more)] == []
    parse_study(BASE | more, base=ROOT)
