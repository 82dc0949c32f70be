"""`lanework look`: what is shown is what enters, for images, tables, text and series; the page and the picture."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from lanework.api.look import gather, look
from lanework.cohort import assemble
from lanework.cohort.step import fresh_lane, sample_keys
from lanework.data import load
from lanework.errors import SpecError
from lanework.report.look_page import Cell, Group, Sheet, page, picture
from lanework.spec import expand, load_study, resolve
from tests.helpers import lanework

DIGITS = """
study: seen
data: {source: digits, limit_rows: 120}
model: {net: mlp, hidden: [8]}
train: {epochs: 3, batch_size: 16}
compare:
  augment: [[], [shift, {name: mixup, alpha: 1.0}]]
  learning_rate: [0.1, 0.01]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> Sheet:
    spec = load_study(written(tmp_path_factory.mktemp("look"), DIGITS))
    return gather(spec, epochs=(1, 2), count=5)


def test_recipes_with_the_same_inputs_are_shown_once(sheet):
    assert [len(group.arms) for group in sheet.groups] == [2, 2]
    plain, changed = sheet.groups
    assert plain.columns == ("as it is",)
    assert changed.columns == ("as it is", "epoch 1", "epoch 2")
    assert plain.rows == changed.rows
    assert "Nothing is changed at random" in plain.about()
    assert "scaling is undone" in plain.about()
    assert "shift (by 0.1); mixup (alpha 1.0)" in changed.about()


def test_before_is_the_sample_as_it_was_read(sheet):
    from sklearn.datasets import load_digits

    raw = {tuple(image.ravel().astype(int)) for image in load_digits().images}
    for cells in sheet.groups[0].cells:
        pixels = np.round(np.asarray(cells[0].pixels, float) / 255 * 16).astype(int)
        assert tuple(pixels.ravel()) in raw


def test_what_is_shown_is_what_the_loss_is_given(tmp_path, monkeypatch):
    """The samples of the sheet are those that the network is given in the training step itself."""
    text = DIGITS.replace("[[], [shift, {name: mixup, alpha: 1.0}]]", "[[shift, noise]]")
    text = text.replace("  learning_rate: [0.1, 0.01]\n", "").replace("hidden: [8]", "hidden: []")
    spec = load_study(written(tmp_path, text))
    (group,) = gather(spec, epochs=(1,), count=16).groups
    dataset = load(spec.data)
    config = expand(resolve(spec, task=dataset.task))[0].config
    problem = assemble.problem(config, dataset, used=frozenset())
    params, state = problem.init(jax.random.key(0))
    # A linear network with one weight per input: its gradient tells the sums of the inputs that came in.
    zero = jax.tree.map(jnp.zeros_like, params)
    root = jax.random.fold_in(jax.random.key(np.uint32(0)), 1)
    lane = SimpleNamespace(key=jax.random.key_data(root), step=np.int32(0))

    rows = np.array(group.rows)
    keys = sample_keys(lane, rows, steps_per_epoch=problem.steps_per_epoch)
    hypers = {"augment.shift.by": 0.1, "augment.noise.std": 0.1}

    def loss(weights: Any, batch: Any) -> Any:
        return problem.loss(weights, state, batch, key=jax.random.key(0), hypers=hypers)[0]

    gradient = jax.jit(jax.grad(loss))
    for place, row in enumerate(rows[:3]):
        batch = {
            "x": dataset.train.x[row : row + 1],
            "y": dataset.train.y[row : row + 1],
            "weight": np.ones(1, np.float32),
            "key": keys[place : place + 1],
        }
        grads = jax.tree.leaves(gradient(zero, batch))
        kernel = next(g for g in grads if g.ndim == 2)
        label = int(dataset.train.y[row])
        entered = np.asarray(kernel[:, label]) / (0.1 - 1.0)
        shown = group.cells[place][1].moments
        assert shown is not None
        np.testing.assert_allclose(
            [entered.mean(), entered.std(), entered.min(), entered.max()],
            shown,
            rtol=1e-3,
            atol=1e-4,
        )


def test_the_keys_are_those_of_a_fresh_lane():
    problem = SimpleNamespace(init=lambda key: ({}, {}), tracked=None, num_tracked=0)
    update = SimpleNamespace(init=lambda p: {}, average=None, has_own_view=lambda: False)
    made = fresh_lane(
        problem, update, SimpleNamespace(keep_best=False, deep_every=0), seed=jnp.uint32(7)
    )
    ours = jax.random.key_data(jax.random.fold_in(jax.random.key(np.uint32(7)), 1))
    np.testing.assert_array_equal(made.key, ours)


def test_mixtures_are_labelled_with_shares(sheet):
    labels = [cell.label for cells in sheet.groups[1].cells for cell in cells[1:]]
    mixed = [re.fullmatch(r"(0\.\d\d) (\d) \+ (0\.\d\d) (\d)", label) for label in labels]
    found = [m for m in mixed if m]
    assert found
    assert all(float(m[1]) + float(m[3]) == pytest.approx(1.0, abs=0.011) for m in found)
    assert all(m or re.fullmatch(r"\d", label) for m, label in zip(mixed, labels, strict=True))


def test_a_table_has_names_and_its_noise(tmp_path):
    text = "study: t\ndata: {source: iris}\ntrain: {epochs: 2, augment: [noise]}\n"
    (group,) = gather(load_study(written(tmp_path, text)), epochs=(2,), count=3).groups
    assert group.kind == "table"
    assert len(group.names) == 4
    first, second = group.cells[0]
    assert 0 < np.abs(first.values - second.values).max() < 0.6
    assert first.label in ("setosa", "versicolor", "virginica")
    html = page(Sheet("t", 0, (group,)))
    assert all(name in html for name in group.names)


def test_text_and_series_are_shown(tmp_path):
    (tmp_path / "words.csv").write_text(
        "name,kind\n" + "".join(f"{'ab' * (n % 4 + 1)}{n},{'xy'[n % 2]}\n" for n in range(40))
    )
    text = "study: w\ndata: {source: words.csv, target: kind, columns: {name: text}}\nmodel: {net: gru}\n"
    (group,) = gather(load_study(written(tmp_path, text)), count=3).groups
    assert group.kind == "tokens"
    assert all(re.fullmatch(r"(ab)+\d+", cells[0].text) for cells in group.cells)
    series = np.concatenate([np.sin(np.arange(30))[:, None], np.full((5, 1), np.nan)])
    made = Group(("a",), "series", (1,), ("as it is",), ((Cell("up", values=series),),))
    html = page(Sheet("s", 0, (made,)))
    assert "<polyline" in html
    assert "30 steps from" in html
    assert picture(Sheet("s", 0, (made,)))[:4] == b"\x89PNG"


def test_page_and_picture_are_whole_and_need_nothing_from_outside(sheet):
    html = page(sheet)
    assert html.count("<img src=") == sum(len(c) for g in sheet.groups for c in g.cells)
    assert not re.search(r"(src|href)=\"https?:", html)
    assert "prefers-color-scheme:dark" in html
    image = Image.open(io.BytesIO(picture(sheet)))
    assert image.format == "PNG"
    assert image.width > 300
    assert image.height > 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arms": ["augment=nothing"]}, r"--arm: must be the name of a recipe of the study"),
        ({"epochs": (0,)}, r"--epochs: must be 1 to 12 whole numbers >= 1, got \[0\]"),
        ({"epochs": (9,)}, r"--epochs: must lie within the training of 3 epochs, got \[9\]"),
    ],
)
def test_wrong_wishes_are_refused(tmp_path, arguments, message):
    with pytest.raises(SpecError, match=message):
        look(written(tmp_path, DIGITS), folder=tmp_path / "out", **arguments)


def test_the_command_writes_both_files(tmp_path):
    written(tmp_path, "study: c\ndata: {source: iris}\ntrain: {epochs: 1}\n")
    done = lanework("look", "study.yaml", "--count", "2", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "What enters the network in c, seed 0:" in done.stdout
    for name in ("look.html", "look.png"):
        assert (tmp_path / "runs" / "c-look" / name).is_file()
    wrong = lanework("look", "study.yaml", "--epochs", "one", folder=tmp_path)
    assert wrong.returncode == 2
