"""Weights of classes and samples, base rates, norms with small batches, dropout forms: as a study file asks for them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lanework
from lanework import data
from lanework.cohort import assemble, beginning
from lanework.errors import DataError, SpecError
from lanework.export import read
from lanework.report.start import verdict
from lanework.spec import DataSpec, expand, parse_study, static_key

RNG = np.random.default_rng(0)
NUM_ROWS = 200


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two classes, one in five rows positive, with a weight for each row."""
    x = RNG.normal(size=(NUM_ROWS, 3))
    y = np.where(np.arange(NUM_ROWS) % 5 == 0, "yes", "no")
    weight = np.where(y == "yes", 3, 1) * (1 + np.arange(NUM_ROWS) % 2)
    lines = ["a,b,c,weight,y"]
    lines += [
        f"{p:.4f},{q:.4f},{r:.4f},{w},{t}" for (p, q, r), w, t in zip(x, weight, y, strict=True)
    ]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(lines))
    return path


def config_of(path: Path, **sections: Any) -> Any:
    study = {
        "study": "s",
        "data": {
            "source": str(path),
            "target": "y",
            "task": "classification",
            **sections.get("data", {}),
        },
        "model": {"net": "mlp", "hidden": [8], **sections.get("model", {})},
        "train": {"loss": "cross_entropy", "batch_size": 32, **sections.get("train", {})},
    }
    return expand(parse_study(study, base=path.parent))[0].config


def problem_of(path: Path, **sections: Any) -> tuple[Any, Any, Any]:
    config = config_of(path, **sections)
    dataset = data.load(config.data)
    return assemble.problem(config, dataset, used=frozenset()), dataset, config


def batch_of(dataset: Any, count: int = 64) -> dict[str, jax.Array]:
    part = assemble.parts(dataset)["train"]
    batch = {name: jnp.asarray(array[:count]) for name, array in part.items()}
    return batch | {"weight": jnp.ones(count)}


def loss_of(problem: Any, batch: Any, seed: int = 0) -> float:
    params, state = problem.init(jax.random.key(seed))
    key = jax.random.key(1)
    return float(problem.loss(params, state, batch, key=key, hypers={})[0])


# ---- weights of classes ---------------------------------------------------------------------


def test_balanced_classes_weigh_the_same_and_samples_one_on_average(table: Path):
    _, dataset, _ = problem_of(table)
    counts = beginning.class_counts(dataset)
    weights = beginning.class_weights("balanced", dataset)
    np.testing.assert_allclose(weights * counts, counts.sum() / 2)
    given = beginning.class_weights({"yes": 4.0}, dataset)
    assert dataset.classes == ("no", "yes")
    np.testing.assert_allclose(given[1] / given[0], 4.0)
    np.testing.assert_allclose(np.sum(given * counts) / counts.sum(), 1.0)


@pytest.mark.slow
def test_class_weights_of_a_study_are_in_the_training_loss_and_not_in_the_metrics(table: Path):
    plain, dataset, _ = problem_of(table)
    weighted, _, config = problem_of(table, train={"class_weights": {"yes": 4}})
    assert config.train.class_weights == {"yes": 4.0}
    weights = beginning.class_weights({"yes": 4.0}, dataset)
    batch = batch_of(dataset)
    each = [loss_of(plain, {name: a[k : k + 1] for name, a in batch.items()}) for k in range(64)]
    wanted = np.mean(np.asarray(each) * weights[np.asarray(batch["y"])])
    np.testing.assert_allclose(loss_of(weighted, batch), wanted, rtol=1e-5)
    params, state = plain.init(jax.random.key(0))
    sums = [
        one.finish(one.evaluate(params, state, batch, one.zero_sums(), hypers={}))
        for one in (plain, weighted)
    ]
    jax.tree.map(np.testing.assert_array_equal, *sums)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("equal", r"train\.class_weights.*must be balanced or a mapping from classes to weights, got 'equal'"),
        ({"yes": 0}, r"class_weights\.yes.*must be a number > 0, got 0"),
        ({"yes": "5"}, r"class_weights\.yes.*must be a number > 0, got '5'"),
        ([1, 2], r"must be balanced or a mapping"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_class_weights_are_refused(table: Path, value: Any, wanted: str):
    with pytest.raises(SpecError, match=wanted):
        config_of(table, train={"class_weights": value})


def test_class_weights_of_an_unknown_class_and_of_numbers_are_refused(table: Path):
    with pytest.raises(
        SpecError, match=r"class_weights\.yess.*must be a class, got 'yess'\. Did you mean yes\?"
    ):
        problem_of(table, train={"class_weights": {"yess": 2}})
    numbers = data.load(DataSpec(source="diabetes"))
    with pytest.raises(SpecError, match=r"must be left out for a regression"):
        beginning.class_weights("balanced", numbers)


# ---- weights of samples ---------------------------------------------------------------------


@pytest.mark.slow
def test_sample_weights_come_from_a_column_that_is_no_input(table: Path):
    problem, dataset, _ = problem_of(table, data={"sample_weights": "weight"})
    plain, without, _ = problem_of(table, data={"columns": {"weight": "ignore"}})
    assert dataset.input.shape == without.input.shape == (3,)
    assert dataset.fingerprint != without.fingerprint
    np.testing.assert_allclose(dataset.train.weight.mean(), 1.0, rtol=1e-5)
    assert dataset.train.weight.shape == dataset.train.y.shape
    batch = batch_of(dataset)
    each = [
        loss_of(plain, {n: a[k : k + 1] for n, a in batch.items() if n != "importance"})
        for k in range(64)
    ]
    wanted = np.mean(np.asarray(each) * dataset.train.weight[:64])
    np.testing.assert_allclose(loss_of(problem, batch), wanted, rtol=1e-5)
    told = " ".join(dataset.summary["decisions"])
    assert "'weight' is not used: it says how much each row weighs" in told


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        ("wieght", r"data\.sample_weights: must be a column of .*, got 'wieght'.*Did you mean 'weight'"),
        ("a", r"data\.sample_weights: must hold a number >= 0 for every row"),
    ],
)  # fmt: skip
def test_wrong_sample_weights_are_refused(table: Path, column: str, wanted: str):
    with pytest.raises(DataError, match=wanted):
        problem_of(table, data={"sample_weights": column})


# ---- base rates -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "outputs", "wanted"),
    [
        ("cross_entropy", 2, [np.log(0.8), np.log(0.2)]),
        ("focal", 2, [np.log(0.8), np.log(0.2)]),
        ("binary_cross_entropy", 1, [np.log(0.25)]),
        ("mse", 2, [0.8, 0.2]),
        ("mae", 2, [1.0, 0.0]),
    ],
)
def test_base_rate_of_classes(loss: str, outputs: int, wanted: list[float]):
    dataset: Any = SimpleNamespace(
        task="classification",
        classes=("no", "yes"),
        train=SimpleNamespace(y=np.arange(100) % 5 // 4),
    )
    train: Any = SimpleNamespace(loss=SimpleNamespace(name=loss), class_weights=None)
    spec: Any = SimpleNamespace(options={})
    found = beginning.base_rate(spec, train, dataset, num_outputs=outputs)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_base_rate_starts_at_the_loss_of_guessing(table: Path):
    options = {"init_by_path": {"output": "zeros"}, "output_bias": "base_rate"}
    problem, dataset, _ = problem_of(table, model=options)
    counts = beginning.class_counts(dataset)
    shares = counts / counts.sum()
    whole = batch_of(dataset, len(dataset.train))
    np.testing.assert_allclose(loss_of(problem, whole), -np.sum(shares * np.log(shares)), rtol=1e-5)


def test_base_rate_of_a_loss_without_one_is_refused(table: Path):
    with pytest.raises(SpecError, match=r"model\.output_bias.*must be zero with the loss hinge"):
        problem_of(table, model={"output_bias": "base_rate"}, train={"loss": "hinge"})


# ---- what shares a program, what is refused -------------------------------------------------


def test_runs_that_differ_in_where_weights_start_share_a_program(table: Path):
    first = config_of(table)
    other = config_of(
        table,
        model={"init": "lsuv", "hidden_bias": 0.01, "output_bias": "base_rate", "init_by_path": {"output": "zeros"}},
    )  # fmt: skip
    assert static_key(first) == static_key(other)
    assert static_key(first) != static_key(config_of(table, model={"norm": "group"}))
    traced = config_of(table, model={"net": "cnn", "hidden": None} and {"dropout": 0.5})
    assert static_key(first) == static_key(traced)


@pytest.mark.parametrize(
    "norm", ["batch", {"name": "weight_standardisation", "then": "batch"}], ids=str
)
def test_batch_norm_with_one_sample_a_step_is_refused_with_what_to_use(table: Path, norm: Any):
    wanted = r"train\.batch_size.*must be >= 2 with batch normalisation, got 1.*Use model\.norm: layer or group"
    with pytest.raises(SpecError, match=wanted):
        config_of(table, model={"norm": norm}, train={"batch_size": 1})
    assert config_of(table, model={"norm": "layer"}, train={"batch_size": 1})


def test_batch_norm_with_a_single_training_row_is_refused_before_training(table: Path):
    problem, dataset, _ = problem_of(table, model={"norm": "batch"}, train={"batch_size": "all"})
    params, state = problem.init(jax.random.key(0))
    one = {name: array[:1] for name, array in batch_of(dataset).items()}
    with pytest.raises(SpecError, match=r"a batch of one has no variance.*layer or group"):
        problem.loss(params, state, one, key=jax.random.key(0), hypers={})


def test_a_last_batch_in_which_one_sample_counts_has_statistics_of_a_whole_batch(table: Path):
    problem, dataset, _ = problem_of(table, model={"norm": "batch"})
    params, state = problem.init(jax.random.key(0))
    batch = batch_of(dataset, 32)
    last = batch | {"weight": jnp.zeros(32).at[0].set(1.0)}
    value, after = problem.loss(params, state, last, key=jax.random.key(0), hypers={})
    assert np.isfinite(value)
    _, whole = problem.loss(params, state, batch, key=jax.random.key(0), hypers={})
    jax.tree.map(np.testing.assert_array_equal, after, whole)


def test_instance_norm_without_pixels_and_a_schedule_of_vanilla_dropout_are_refused(table: Path):
    with pytest.raises(SpecError, match=r"instance must be over the pixels.*Use layer or group"):
        problem_of(table, model={"norm": "instance"})
    schedules = {"dropout": {"name": "ramp", "from_value": 0.0, "epochs": 2}}
    with pytest.raises(
        SpecError, match=r"schedules\.dropout.*must be left out with dropout_form vanilla"
    ):
        config_of(
            table, model={"dropout": 0.5, "dropout_form": "vanilla"}, train={"schedules": schedules}
        )


def test_init_by_path_is_checked_like_every_choice(table: Path):
    with pytest.raises(
        SpecError,
        match=r"init_by_path\.output.*must be the name of an init, got 'zeroes'\. Did you mean zeros",
    ):
        config_of(table, model={"init_by_path": {"output": "zeroes"}})
    with pytest.raises(SpecError, match=r"init_by_path.*must be a mapping from patterns of paths"):
        config_of(table, model={"init_by_path": "zeros"})


# ---- end to end -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_study_of_initial_weights_tells_why_zeros_do_not_learn(tmp_path: Path):
    study = lanework.Study(
        study="starts",
        data="iris",
        model={"hidden": [8, 8], "dropout": 0.2, "mc_passes": 4},
        train={"epochs": 2, "batch_size": 32},
        compare={"init": ["zeros", "lsuv"]},
    )
    study.run(tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Variance by layer at the start, init zeros" in page
    assert "No gradient reaches the hidden layers: they cannot learn." in page
    printed = study.signals().splitlines()
    assert printed[0] == "init zeros"
    zeros, lsuv = (line.split()[1:] for line in printed if line.startswith("  dense_0"))
    assert zeros == ["0", "0", "0"]
    assert lsuv[0] == "1"
    model = read(tmp_path / "out" / "best")
    rows = np.array([[5.1, 3.5, 1.4, 0.2], [6.0, 3.0, 4.5, 1.5]])
    spread = model.spread(rows)
    assert spread.shape == (2, 3)
    assert np.all(spread > 0)
    np.testing.assert_allclose(model.predict_proba(rows).sum(axis=1), 1.0, rtol=1e-6)


def test_words_for_signals_that_die_explode_or_overflow():
    level = {
        "layers": ["a", "b", "c"],
        "output": [1.0] * 3,
        "activation": [1.0] * 3,
        "gradient": [1.0] * 3,
    }
    assert verdict(level) == "Signals and gradients keep their size over the depth."
    assert verdict(level | {"activation": [1.0, 1e-3, 1.0]}) == (
        "Signals die out: their variance at the last hidden layer is 0.001 of what it was."
    )
    assert verdict(level | {"gradient": [1e4, 1.0, 1.0]}) == (
        "Gradients explode: their variance at the first layer is 1e+04 times what it was."
    )
    assert verdict(level | {"activation": [1.0, None, None]}).startswith(
        "Some variances are not finite"
    )
