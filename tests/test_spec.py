"""Study files: what is understood, what is filled in, what is expanded, what is compiled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from lanework import spec as specs
from lanework.catalog import CATALOG
from lanework.errors import SpecError
from lanework.spec import (
    Choice,
    DataSpec,
    ModelSpec,
    RunConfig,
    StudySpec,
    TrainSpec,
    content_hash,
    dump_study,
    expand,
    load_study,
    parse_study,
    resolve,
    schema,
    static_key,
    traced_values,
)
from lanework.spec.compare import spread
from lanework.spec.yaml_io import from_yaml, to_yaml
from tests.helpers import ROOT

STUDIES = sorted((ROOT / "studies").glob("*.yaml"))


def make(**sections: Any) -> StudySpec:
    """A study on digits with some sections of its own."""
    return parse_study({"study": "probe", "data": {"source": "digits"}} | sections, base=ROOT)


def names(spec: StudySpec) -> list[str]:
    return [arm.name for arm in expand(spec)]


def reloaded(spec: StudySpec) -> StudySpec:
    return parse_study(from_yaml(dump_study(spec), where="dump"), base=Path("/nowhere"))


# --- defaults ------------------------------------------------------------------------------------


def test_every_default_is_filled_in() -> None:
    spec = make()
    assert spec.model.options == CATALOG["net"]["mlp"].defaults()
    assert spec.train.optimizer == Choice(
        name="adam", options={"b1": 0.9, "b2": 0.999, "eps": 1e-08, "bias_correction": True}
    )
    assert spec.train.learning_rate == 0.001
    assert spec.train.loss == Choice(name="cross_entropy")
    assert spec.train.keep == "last"
    assert spec.report.metric == "val_accuracy"
    assert spec.seeds == (0,)
    assert len(expand(spec)) == 1


@pytest.mark.parametrize("rule", CATALOG["optimizer"])
def test_the_rate_is_the_rules_own_unless_given(rule: str) -> None:
    default = CATALOG["optimizer"][rule].defaults()["learning_rate"]
    assert TrainSpec.model_validate({"optimizer": rule}).learning_rate == default
    given_with_rule = {"optimizer": {"name": rule, "learning_rate": 0.5}}
    train = TrainSpec.model_validate(given_with_rule)
    assert train.learning_rate == 0.5
    assert "learning_rate" not in train.optimizer.options
    assert TrainSpec.model_validate({"optimizer": rule, "learning_rate": 2}).learning_rate == 2.0


def test_models_work_without_a_file() -> None:
    config = RunConfig(
        data=DataSpec(source="iris"), model=ModelSpec(options={"hidden": [3]}), train=TrainSpec()
    )
    assert config.model.options["hidden"] == (3,)
    assert config.train.schedule.name == "constant"


def test_parts_of_a_split_that_are_not_given_take_the_rest() -> None:
    split = make(data={"source": "digits", "split": {"train": 0.5, "val": 0.2}}).data.split
    assert (split.train, split.val, split.test) == (0.5, 0.2, 0.3)
    split = make(data={"source": "digits", "split": {"train": 0.5}}).data.split
    assert (split.val, split.test) == (0.25, 0.25)


def test_early_stopping_may_be_just_the_patience() -> None:
    spec = make(train={"early_stopping": 3})
    assert spec.train.early_stopping is not None
    assert spec.train.early_stopping.patience == 3
    assert spec.train.keep == "best"
    assert make(train={"early_stopping": False}).train.early_stopping is None


@pytest.mark.parametrize(
    ("activation", "init"),
    [("relu", "he_normal"), ("tanh", "xavier_normal"), ("selu", "lecun_normal")],
)
def test_initial_weights_follow_the_activation(activation: str, init: str) -> None:
    spec = make(model={"activation": activation})
    assert expand(spec)[0].config.model.options["init"] == init


def test_a_part_of_the_network_may_have_options() -> None:
    spec = make(
        model={"activation": {"name": "leaky_relu", "slope": 0.2}, "norm": {"name": "batch"}}
    )
    assert spec.model.options["activation"] == {"name": "leaky_relu", "slope": 0.2}
    assert spec.model.options["norm"] == "batch"
    assert expand(spec)[0].config.model.options["init"] == "he_normal"


def test_mistakes_worth_showing_can_be_said() -> None:
    spec = make(
        model={"init": "zeros", "output_activation": "softmax", "num_outputs": 12, "hidden": []},
        train={"loss": "mse", "learning_rate": 1e6, "batch_size": 1},
        data={"source": "diabetes", "prepare": "none", "task": "classification"},
    )
    assert spec.model.options["num_outputs"] == 12
    assert make(data={"source": "diabetes"}, train={"loss": "hinge"}).train.loss is not None


def test_task_of_unknown_data_is_filled_in_later() -> None:
    spec = make(data={"source": "table.csv", "target": "price"})
    assert spec.train.loss is None
    assert spec.report.metric is None
    found = resolve(spec, task="regression")
    assert found.data.task == "regression"
    assert expand(found)[0].config.train.loss == Choice(name="mse")
    assert found.report.metric == "val_rmse"
    assert resolve(found, task="regression") == found


def test_compared_data_sets_keep_their_own_task() -> None:
    spec = resolve(make(compare={"source": ["digits", "diabetes"]}), task="classification")
    losses = [arm.config.train.loss for arm in expand(spec)]
    assert losses == [Choice(name="cross_entropy"), Choice(name="mse")]


def test_column_numbers_are_names() -> None:
    data = make(data={"source": "a.csv", "target": 5, "columns": {1: "ignore"}}).data
    assert data.target == "5"
    assert data.columns == {"1": "ignore"}


# --- paths ---------------------------------------------------------------------------------------


def test_paths_start_at_the_study_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANEWORK_DATA", raising=False)
    (tmp_path / "net.py").touch()
    (tmp_path / "bare").touch()
    file = tmp_path / "study.yaml"
    file.write_text(
        "study: a\ndata: {source: sub/../a.csv, test: b.csv, target: y}\n"
        "model: {net: 'net.py:Net', width: 3}\ncompare: {source: [a.csv, bare]}\n"
    )
    spec = load_study(file)
    assert spec.data.source == str(tmp_path / "a.csv")
    assert spec.data.test_source == str(tmp_path / "b.csv")
    assert spec.model.net == f"{tmp_path / 'net.py'}:Net"
    assert spec.model.options == {"width": 3}
    assert [arm.config.data.source for arm in expand(spec)] == [
        str(tmp_path / "a.csv"),
        str(tmp_path / "bare"),
    ]
    assert names(spec) == ["source=a.csv", "source=bare"]


def test_paths_fall_back_to_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "a.csv").touch()
    monkeypatch.setenv("LANEWORK_DATA", str(tmp_path / "shared"))
    raw = {"study": "a", "data": {"source": "a.csv"}}
    assert parse_study(raw, base=tmp_path).data.source == str(tmp_path / "shared" / "a.csv")
    (tmp_path / "a.csv").touch()
    assert parse_study(raw, base=tmp_path).data.source == str(tmp_path / "a.csv")


def test_python_objects_have_a_placeholder() -> None:
    spec = make(data={"source": "<object>"}, model={"net": "<object>", "width": [1, 2]})
    assert spec.model.is_own
    assert spec.model.options == {"width": (1, 2)}
    assert reloaded(spec) == spec


# --- expansion -----------------------------------------------------------------------------------


def test_factors_are_crossed_last_fastest() -> None:
    spec = make(compare={"optimizer": ["sgd", "adam"], "learning_rate": [0.1, 0.01]})
    arms = expand(spec)
    assert names(spec) == [
        "sgd, learning_rate=0.1",
        "sgd, learning_rate=0.01",
        "adam, learning_rate=0.1",
        "adam, learning_rate=0.01",
    ]
    assert [arm.index for arm in arms] == [0, 1, 2, 3]
    assert arms[3].factors == {"optimizer": "adam", "learning_rate": 0.01}
    assert arms[3].config.train.optimizer.name == "adam"
    assert arms[3].config.train.learning_rate == 0.01


def test_rules_keep_their_own_rates_when_the_file_gives_none() -> None:
    rules = ["sgd", {"name": "adam", "learning_rate": 0.5}, "lion"]
    rates = [arm.config.train.learning_rate for arm in expand(make(compare={"optimizer": rules}))]
    assert rates == [0.01, 0.5, 0.0001]
    spec = make(train={"learning_rate": 0.2}, compare={"optimizer": rules})
    assert [arm.config.train.learning_rate for arm in expand(spec)] == [0.2, 0.5, 0.2]


def test_ranges_become_values() -> None:
    spec = make(
        compare={
            "learning_rate": {"log": [1e-4, 1], "points": 5},
            "batch_size": {"lin": [16, 64], "points": 4},
        }
    )
    assert spec.compare.factors[0].values == (1e-4, 1e-3, 1e-2, 1e-1, 1)
    assert spec.compare.factors[1].values == (16, 32, 48, 64)
    assert len(expand(spec)) == 20


@given(
    kind=st.sampled_from(["log", "lin"]),
    ends=st.tuples(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9)).filter(
        lambda pair: pair[0] < pair[1] * (1 - 1e-9)
    ),
    points=st.integers(2, 50),
)
def test_ranges_rise_from_end_to_end(kind: str, ends: tuple[float, float], points: int) -> None:
    values = spread(kind, ends, points=points)
    assert len(values) == points
    assert (values[0], values[-1]) == ends
    assert values == sorted(set(values))


def test_whole_numbers_stay_whole_in_a_range() -> None:
    assert spread("log", [16, 256], points=5) == [16, 32, 64, 128, 256]
    assert all(isinstance(value, int) for value in spread("log", [16, 256], points=5))


def test_dotted_keys_reach_any_value() -> None:
    spec = make(
        compare={
            "train.optimizer.b1": [0.8, 0.9],
            "heal.retries": [0, 1],
            "data.split": [{"train": 0.5}, {"train": 0.7}],
            "activation.slope": [0.1, 0.2],
        },
        model={"activation": "leaky_relu"},
    )
    config = expand(spec)[0].config
    assert config.train.optimizer.options["b1"] == 0.8
    assert config.train.heal.retries == 0
    assert config.data.split.train == 0.5
    assert config.model.options["activation"] == {"name": "leaky_relu", "slope": 0.1}


def test_whole_networks_can_be_compared() -> None:
    spec = make(
        model={"net": "mlp", "dropout": 0.3},
        compare={"net": ["mlp", "cnn", {"net": "mlp", "hidden": [4]}]},
    )
    models = [arm.config.model for arm in expand(spec)]
    assert [model.net for model in models] == ["mlp", "cnn", "mlp"]
    assert [model.options["dropout"] for model in models] == [0.3, 0.3, 0.3]
    assert models[1].options["channels"] == (32, 64, 128)
    assert models[2].options["hidden"] == (4,)


def test_whole_sections_can_be_compared() -> None:
    spec = make(
        compare={
            "train": [
                {"optimizer": "sgd", "epochs": 3},
                {"optimizer": "lion"},
                {"learning_rate": 0.3, "optimizer": "momentum"},
            ]
        }
    )
    trains = [arm.config.train for arm in expand(spec)]
    assert [train.epochs for train in trains] == [3, 20, 20]
    assert [train.learning_rate for train in trains] == [0.01, 0.0001, 0.3]
    assert reloaded(spec) == spec


def test_recipes_alone_and_crossed() -> None:
    recipes = [
        {"name": "gentle", "optimizer": "sgd", "train": {"epochs": 3}},
        {"name": "wild", "optimizer": {"name": "adam", "b1": 0.5}, "model.hidden": [9]},
    ]
    spec = make(compare=recipes)
    assert names(spec) == ["gentle", "wild"]
    first, second = (arm.config for arm in expand(spec))
    assert (first.train.epochs, first.train.learning_rate) == (3, 0.01)
    assert (second.model.options["hidden"], second.train.learning_rate) == ((9,), 0.001)
    crossed = make(compare={"recipes": recipes, "learning_rate": [0.1, 0.2]})
    assert names(crossed)[:2] == ["gentle, learning_rate=0.1", "gentle, learning_rate=0.2"]
    assert expand(crossed)[0].factors == {"recipe": "gentle", "learning_rate": 0.1}
    assert reloaded(crossed) == crossed


def test_exclusion() -> None:
    compare = {"optimizer": ["sgd", "momentum", "adam"], "learning_rate": [0.1, 0.01]}
    spec = make(
        compare=compare,
        exclude=[
            {"optimizer": "adam", "learning_rate": 0.1},
            {"optimizer": ["sgd", "momentum"], "train.learning_rate": [0.01]},
        ],
    )
    assert names(spec) == [
        "sgd, learning_rate=0.1",
        "momentum, learning_rate=0.1",
        "adam, learning_rate=0.01",
    ]
    spec = make(
        compare={"optimizer": [{"name": "adam", "b1": 0.5}, "adam"], "hidden": [[3], [4]]},
        exclude=[{"optimizer": {"name": "adam", "b1": 0.5}, "hidden": [3]}],
    )
    assert len(expand(spec)) == 3


def test_an_exclusion_can_make_a_grid_possible() -> None:
    compare = {"optimizer": ["sgd", "momentum"], "optimizer.momentum": [0.5, 0.9]}
    spec = make(compare=compare, exclude=[{"optimizer": "sgd"}])
    assert [arm.config.train.optimizer.options["momentum"] for arm in expand(spec)] == [0.5, 0.9]


def test_names_say_what_differs_and_are_unique() -> None:
    spec = make(
        compare={
            "optimizer": ["momentum", {"name": "momentum", "momentum": 0.5}],
            "hidden": [[], [8, 8]],
            "early_stopping": [None, {"patience": 3}],
        }
    )
    found = names(spec)
    assert len(set(found)) == len(found) == 8
    assert found[0] == "momentum, hidden=none, early_stopping=none"
    assert found[-1].startswith("momentum(learning_rate=0.01, momentum=0.5), hidden=8-8") or found[
        -1
    ].startswith("momentum(momentum=0.5), hidden=8-8")


def test_close_values_get_enough_digits() -> None:
    spec = make(compare={"learning_rate": [0.1, 0.10001, 0.2]})
    assert names(spec) == ["learning_rate=0.1", "learning_rate=0.10001", "learning_rate=0.2"]


def test_one_arm_is_named_by_its_recipe() -> None:
    assert names(make(train={"optimizer": "lion"})) == ["lion, learning_rate=0.0001"]


@given(
    optimizers=st.lists(st.sampled_from(list(CATALOG["optimizer"])), min_size=1, unique=True),
    rates=st.lists(st.floats(1e-8, 10.0), min_size=1, max_size=6, unique=True),
    dropouts=st.lists(st.floats(0, 0.99), min_size=1, max_size=4, unique=True),
)
@settings(max_examples=25, deadline=None)
def test_every_grid_point_once(
    optimizers: list[str], rates: list[float], dropouts: list[float]
) -> None:
    spec = make(compare={"optimizer": optimizers, "learning_rate": rates, "dropout": dropouts})
    arms = expand(spec)
    points = {
        (
            arm.config.train.optimizer.name,
            arm.config.train.learning_rate,
            arm.config.model.options["dropout"],
        )
        for arm in arms
    }
    assert points == {(o, r, d) for o in optimizers for r in rates for d in dropouts}
    assert len(points) == len(arms) == len({arm.name for arm in arms})


# --- what is compiled ----------------------------------------------------------------------------


def test_traced_values_do_not_change_the_program() -> None:
    spec = make(
        compare={
            "learning_rate": [0.1, 0.2],
            "dropout": [0.0, 0.5],
            "init": ["zeros", "he_normal"],
            "optimizer.b1": [0.5, 0.9],
            "schedule.warmup_epochs": [0.0, 0.5],
            "clip_norm": [1.0, 2.0],
        }
    )
    arms = expand(spec)
    assert len({json.dumps(static_key(arm.config)) for arm in arms}) == 1
    assert len({tuple(traced_values(arm.config)) for arm in arms}) == 1
    assert len({tuple(traced_values(arm.config).values()) for arm in arms}) == 32


@pytest.mark.parametrize(
    "compare",
    [
        {"optimizer": ["sgd", "adam"]},
        {"hidden": [[3], [4]]},
        {"batch_size": [32, "all"]},
        {"loss": ["mse", "cross_entropy"]},
        {"clip_norm": [None, 1.0]},
        {"epochs": [1, 2]},
        {"optimizer": [{"name": "rmsprop", "centered": True}, "rmsprop"]},
        {"source": ["digits", "iris"]},
    ],
    ids=lambda compare: next(iter(compare)),
)
def test_static_values_make_programs_of_their_own(compare: dict[str, Any]) -> None:
    assert len({json.dumps(static_key(arm.config)) for arm in expand(make(compare=compare))}) == 2


def test_names_of_traced_values() -> None:
    spec = make(train={"optimizer": "momentum", "clip_norm": 2, "schedule": "step"})
    assert traced_values(expand(spec)[0].config) == {
        "learning_rate": 0.01,
        "l1": 0.0,
        "l2": 0.0,
        "weight_decay": 0.0,
        "label_smoothing": 0.0,
        "gradient_noise": 0.0,
        "weight_noise": 0.0,
        "input_noise": 0.0,
        "clip_norm": 2.0,
        "optimizer.momentum": 0.9,
        "schedule.every": 10.0,
        "schedule.factor": 0.5,
        "schedule.warmup_epochs": 0.0,
        "dropout": 0.0,
    }


@pytest.mark.parametrize("rule", CATALOG["optimizer"])
def test_every_hyperparameter_is_either_traced_or_static(rule: str) -> None:
    config = expand(make(train={"optimizer": rule}))[0].config
    traced = {name.partition(".")[2] for name in traced_values(config) if "optimizer." in name}
    static = set(static_key(config)["train"]["optimizer"]) - {"name"}
    assert not traced & static
    assert traced | static == set(config.train.optimizer.options)


# --- there and back ------------------------------------------------------------------------------


def test_dump_shows_every_default_and_loads_back() -> None:
    text = dump_study(make(compare={"optimizer": ["sgd", "adam"]}))
    assert "label_smoothing: 0.0" in text
    assert "    - name: adam\n      learning_rate: 0.001\n      b1: 0.9\n" in text
    assert "  schedule:\n    name: constant\n" in text


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_shipped_studies(path: Path) -> None:
    head = path.read_text(encoding="utf-8")
    assert all(f"# {word}:" in head for word in ("Question", "Expected", "Time", "Hardware"))
    spec = load_study(path)
    assert spec.study == path.stem
    assert reloaded(spec) == spec
    assert expand(reloaded(spec)) == expand(spec)
    raw = from_yaml(head, where=path.name)
    validator = jsonschema.Draft202012Validator(schema())
    assert [error.message for error in validator.iter_errors(raw)] == []
    full = from_yaml(dump_study(spec), where=path.name)
    assert [error.message for error in validator.iter_errors(full)] == []


ODD_TEXT = st.one_of(
    st.sampled_from(
        [
            *("", " ", "1e-3", "1_000", "0x1f", "012", "yes", "null", "~", "true", "=", "<<"),
            *("a: b", "#x", "- a", "1:30", "2001-01-01", ".inf", ".nan", "'", '"', "a\nb"),
            *("\t", "\r", "\u2028", "\x85", "é"),
        ]
    ),
    st.text(max_size=8),
)
ODD_SCALAR = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    ODD_TEXT,
    st.none(),
)
ODD_VALUE = st.one_of(ODD_SCALAR, st.lists(ODD_SCALAR, max_size=3))
KEYS = st.text(alphabet="abcxyz_", min_size=1, max_size=6).map(lambda key: f"arg_{key}")
CHOICES = [
    (kind, name, hyper)
    for kind in ("optimizer", "schedule")
    for name, row in CATALOG[kind].items()
    for hyper in row.hypers
    if hyper.kind == "float" and hyper.name not in ("b1", "b2")
    if (hyper.low is None or hyper.low <= 0.3) and (hyper.high is None or hyper.high > 0.6)
]


@st.composite
def own_studies(draw: st.DrawFn) -> dict[str, Any]:
    """Studies with an own module, whose arguments may be anything a file can say."""
    options = draw(st.dictionaries(KEYS, ODD_VALUE, max_size=4))
    compare: dict[str, Any] = {}
    for key in options:
        if draw(st.booleans()):
            values = draw(st.lists(ODD_VALUE, min_size=1, max_size=3, unique_by=repr))
            compare[key] = [item for i, item in enumerate(values) if item not in values[:i]]
    return {
        "study": draw(
            st.text(alphabet="abé -_.0", min_size=1, max_size=9).filter(lambda t: t.strip(". "))
        ),
        "data": {
            "source": "<object>",
            "target": draw(ODD_TEXT.filter(bool)),
            "columns": draw(st.dictionaries(ODD_TEXT, st.sampled_from(["numeric", "ignore"]))),
            "missing": draw(st.lists(ODD_TEXT, max_size=3)),
        },
        "model": {"net": "<object>", **options},
        "train": {"l2": draw(st.floats(0, 1e300)), "learning_rate": draw(st.floats(1e-320, 1e300))},
        "compare": compare,
        "seeds": draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3, unique=True)),
        "notes": draw(st.text(max_size=40)),
    }


@given(raw=own_studies())
@settings(max_examples=150, deadline=None)
def test_round_trip_with_odd_values(raw: dict[str, Any]) -> None:
    spec = parse_study(raw, base=ROOT)
    again = reloaded(spec)
    assert repr(again) == repr(spec)
    assert again == spec
    assert repr(expand(again)) == repr(expand(spec))
    assert content_hash(again) == content_hash(spec)


@given(data=st.data(), choice=st.sampled_from(CHOICES), bare=st.booleans(), rate=st.booleans())
@settings(max_examples=40, deadline=None)
def test_round_trip_keeps_the_arms(
    data: st.DataObject, choice: tuple[str, str, Any], bare: bool, rate: bool
) -> None:
    kind, name, hyper = choice
    value = data.draw(st.floats(0.3, 0.6))
    options = CATALOG[kind][name].defaults() | {hyper.name: value}
    # Some pairs must ascend (b1 < b3): a value beside the other one's default may not.
    assume(all(options[low] < options[high] for low, high in CATALOG[kind][name].ascending))
    train: dict[str, Any] = {"learning_rate": 0.25} if rate else {}
    others = [other for other in CATALOG[kind] if other not in (name, "step")]
    first: Any = name if bare else {"name": name, hyper.name: value}
    spec = make(train=train | {"epochs": 50}, compare={kind: [first, *others]})
    assert expand(reloaded(spec)) == expand(spec)
    assert reloaded(spec) == spec


@given(
    value=st.recursive(
        ODD_SCALAR,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXT, inner, max_size=3),
        max_leaves=8,
    )
)
@example(value={"a": "1e-3", "b": 1e-3, "c": -0.0, "d": 10**30, "e": "0o17", "f": "\x85"})
@settings(max_examples=200, deadline=None)
def test_yaml_says_what_was_meant(value: Any) -> None:
    again = from_yaml(to_yaml(value), where="text")
    assert repr(again) == repr(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.0e-4", 0.0001),
        (".5", 0.5),
        ("on", "on"),
        ("no", "no"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("0x10", 16),
        ("0o17", 15),
        ("012", 12),
        ("-7", -7),
        ("~", None),
        ("true", True),
        ("1e3x", "1e3x"),
    ],
)
def test_plain_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = from_yaml(f"a: {text}", where="text")["a"]
    assert found == value
    assert type(found) is type(value)


def test_anchors_and_merges_work() -> None:
    text = "base: &b {a: 1, c: 2}\nother: {<<: *b, c: 3}\n"
    assert from_yaml(text, where="text")["other"] == {"a": 1, "c": 3}


# --- fingerprint ---------------------------------------------------------------------------------


def test_hash_ignores_names_notes_and_folders(tmp_path: Path) -> None:
    def of(folder: str, **more: Any) -> str:
        raw = {"study": "a", "data": {"source": f"/{folder}/x.csv", "target": "y"}} | more
        return content_hash(parse_study(raw, base=tmp_path))

    assert of("a") == of("b", study="other", notes="long story")
    assert of("a") != of("a", seeds=2)
    assert of("a") != of("a", train={"l2": 0.1})
    assert len(of("a")) == 64


def test_hash_sees_through_ways_of_writing() -> None:
    first = make(compare={"learning_rate": {"log": [0.01, 1], "points": 3}, "optimizer": ["sgd"]})
    second = make(
        compare={"learning_rate": [0.01, 0.1, 1], "optimizer": [{"name": "sgd"}]}, seeds=[0]
    )
    assert content_hash(first) == content_hash(reloaded(first))
    assert content_hash(first) == content_hash(second)


def test_exported_names() -> None:
    assert specs.__all__ == sorted(
        specs.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name)
    )
    assert {"Arm", "StudySpec", "expand", "load_study", "schema"} <= set(specs.__all__)


def test_no_arm_without_problems_being_told() -> None:
    spec = make(compare={"dropout": [0.1]})
    broken = spec.model_copy(update={"exclude": ({"dropot": 0.1},)})
    with pytest.raises(SpecError, match=r"probe, exclude\[0\].dropot: must be a factor of compare"):
        expand(broken)
