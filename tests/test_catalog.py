"""The catalogue: every row is complete, and its declarations make good messages."""

from __future__ import annotations

import re

import pytest

from lanework import catalog
from lanework.catalog import CATALOG, KINDS, Entry, Hyper, entry, listing, nearest
from lanework.errors import SpecError
from lanework.spec.check import check_options, check_value

ROWS = [row for rows in CATALOG.values() for row in rows.values()]
HYPERS = [(row, hyper) for row in ROWS for hyper in row.hypers]


def _row_id(row: Entry) -> str:
    return f"{row.kind}-{row.name}"


def _hyper_id(value: object) -> str | None:
    if isinstance(value, Entry):
        return _row_id(value)
    return value.name if isinstance(value, Hyper) else None


def test_exported_names() -> None:
    assert catalog.__all__ == [
        "CATALOG",
        "KINDS",
        "Entry",
        "Hyper",
        "Value",
        "entry",
        "listing",
        "nearest",
    ]


def test_every_kind_has_rows_and_a_description() -> None:
    assert list(CATALOG) == list(KINDS)
    assert all(CATALOG[kind] for kind in KINDS)


def test_no_name_is_given_twice() -> None:
    names = [(row.kind, row.name) for row in catalog._ROWS]
    assert len(names) == len(set(names)) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=_row_id)
def test_row_is_complete(row: Entry) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_-]*", row.name)
    assert row.summary.endswith(".")
    assert row.formula
    assert row.source
    names = [hyper.name for hyper in row.hypers]
    assert len(names) == len(set(names))
    assert "name" not in names
    assert all(set(pair) <= set(names) for pair in row.ascending)


@pytest.mark.parametrize("row", CATALOG["optimizer"].values(), ids=_row_id)
def test_every_rule_has_a_traced_rate_on_a_log_scale(row: Entry) -> None:
    rate = row.hyper("learning_rate")
    assert rate.traced
    assert rate.log


def test_facts_that_others_look_up() -> None:
    for row in CATALOG["activation"].values():
        assert row.facts["init"] in CATALOG["init"]
    for row in CATALOG["source"].values():
        assert row.facts["task"] in ("classification", "regression")
    for row in CATALOG["metric"].values():
        assert row.facts["direction"] in ("min", "max")


def test_the_rows_of_the_first_cut() -> None:
    rules = [
        "sgd",
        "momentum",
        "nesterov",
        "adagrad",
        "adadelta",
        "rmsprop",
        "adam",
        "adamw",
        "radam",
        "lion",
    ]
    schedules = ["constant", "step", "exponential", "inverse", "cosine", "linear_warmup"]
    assert set(rules) <= set(CATALOG["optimizer"])
    assert set(schedules) <= set(CATALOG["schedule"])
    assert {"cross_entropy", "binary_cross_entropy", "mse", "hinge"} <= set(CATALOG["loss"])
    assert {"mlp", "cnn"} <= set(CATALOG["net"])
    assert {"zeros", "small_normal", "he_normal", "xavier_normal"} <= set(CATALOG["init"])


def test_published_defaults() -> None:
    assert entry("optimizer", "adam").defaults() == {
        "learning_rate": 1e-3,
        "b1": 0.9,
        "b2": 0.999,
        "eps": 1e-8,
        "bias_correction": True,
    }
    assert entry("optimizer", "adamw").defaults()["weight_decay"] == 1e-2
    assert entry("optimizer", "adadelta").defaults() == {
        "learning_rate": 1.0,
        "rho": 0.95,
        "eps": 1e-6,
    }


@pytest.mark.parametrize(("row", "hyper"), HYPERS, ids=_hyper_id)
def test_declaration_is_sound(row: Entry, hyper: Hyper) -> None:
    assert hyper.kind in ("float", "int", "bool", "choice", "ints", "by_path", "str")
    assert hyper.summary
    assert not hyper.of or hyper.of in CATALOG
    assert hyper.kind != "choice" or hyper.of or hyper.choices
    assert not hyper.traced or hyper.kind in ("float", "int")
    assert check_value(hyper, hyper.default, hyper.name) == (hyper.default, [])


@pytest.mark.parametrize(("row", "hyper"), HYPERS, ids=_hyper_id)
def test_bad_values_are_refused_with_what_must_hold(row: Entry, hyper: Hyper) -> None:
    for value in hyper.bad_values():
        _, problems = check_options(row, {hyper.name: value}, "here")
        assert len(problems) == 1, value
        assert problems[0].path.startswith(f"here.{hyper.name}")
        assert re.fullmatch(r"must .+, got .+\. .+[.`?a-z]", problems[0].message), problems


@pytest.mark.parametrize("row", [row for row in ROWS if row.ascending], ids=_row_id)
def test_order_of_betas(row: Entry) -> None:
    for first, second in row.ascending:
        _, problems = check_options(row, {first: 0.95, second: 0.5}, "here")
        assert [str(problem) for problem in problems] == [
            f"here.{first}: must be below {second}, got {first} 0.95 and {second} 0.5. Swap them, "
            f"or use the defaults {first} {row.hyper(first).default} and {second} "
            f"{row.hyper(second).default}."
        ]


def test_range_texts() -> None:
    momentum = entry("optimizer", "momentum")
    assert momentum.hyper("momentum").range_text() == "a number >= 0 and < 1"
    assert momentum.hyper("form").range_text() == "heavy_ball or velocity"
    mlp = entry("net", "mlp")
    assert mlp.hyper("hidden").range_text() == "a list of whole numbers, each >= 1 and <= 1000000"
    assert mlp.hyper("init").range_text() == "auto or the name of an init"
    assert mlp.hyper("num_outputs").range_text() == "a whole number >= 1 and <= 1000000"


def test_unknown_option_name_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="speed"):
        entry("optimizer", "sgd").hyper("speed")


def test_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(
        LookupError,
        match=r"^catalogue, optimizer: must be the name of an optimizer, got 'Adm'. "
        r"Did you mean adam",
    ) as caught:
        entry("optimizer", "Adm")
    assert isinstance(caught.value, SpecError)


def test_unknown_kind_lists_the_nearest_or_all() -> None:
    with pytest.raises(
        SpecError, match=r"a kind of the catalogue, got 'optimiser'. Did you mean opt"
    ):
        listing("optimiser")
    with pytest.raises(SpecError, match=r"got 'qqqq'. Use one of source, preparation"):
        entry("qqqq", "adam")


def test_nearest() -> None:
    assert nearest("He-Normal", CATALOG["init"])[0] == "he_normal"
    assert nearest("qqqq", CATALOG["init"]) == ()
    assert len(nearest("adam", ["adam", "adamw", "adamx", "adamy"], count=2)) == 2


def test_listing_of_kinds_names_each() -> None:
    text = listing()
    assert all(re.search(rf"^{kind} +{len(CATALOG[kind])}  ", text, re.M) for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_listing_of_a_kind_is_one_line_per_row(kind: str) -> None:
    lines = listing(kind).splitlines()
    assert [line.split()[0] for line in lines] == list(CATALOG[kind])


def test_listing_of_a_row_says_everything() -> None:
    assert listing("optimizer", "lion") == (
        "lion: Steps of the sign of an interpolated momentum; all parameters move equally far.\n"
        "  kind     optimizer, update rules (train.optimizer)\n"
        "  formula  x -= a sign(b1 m + (1-b1) g); m = b2 m + (1-b2) g\n"
        "  note     Wants 3 to 10 times smaller rates than adam.\n"
        "  source   Chen et al. 2023, https://arxiv.org/abs/2302.06675\n"
        "\n"
        "  options (traced ones vary by lane inside one program)\n"
        "  learning_rate = 0.0001\n"
        "      learning rate a\n"
        "      a number > 0; traced, log scale\n"
        "  b1 = 0.9\n"
        "      memory of the running mean of gradients\n"
        "      a number >= 0 and < 1; traced\n"
        "  b2 = 0.99\n"
        "      memory of the momentum\n"
        "      a number >= 0 and < 1; traced"
    )
    mlp = listing("net", "mlp")
    assert "hidden = [64, 64]" in mlp
    assert "num_outputs = not set" in mlp
    assert "centered = false" in listing("optimizer", "rmsprop")
    assert "note" in listing("optimizer", "adamw")
    assert "task     regression" in listing("source", "diabetes")
