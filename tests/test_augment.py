"""Augmentation against slow obvious twins and known distributions; its keys; its wiring into a study."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

import lanework
from lanework import recipes
from lanework.catalog import CATALOG
from lanework.cohort import assemble, entering
from lanework.cohort.step import sample_keys
from lanework.data import load
from lanework.errors import SpecError
from lanework.recipes import augment, pixels
from lanework.spec import DataSpec, expand, load_study, static_key, traced_values

# Compiled whole: operation by operation, JAX would compile hundreds of small programs.
flip = jax.jit(pixels.flip)
crop = jax.jit(pixels.crop, static_argnums=2, static_argnames="fill")
affine = jax.jit(pixels.affine)
resample = jax.jit(pixels.resample)
affine_matrix = jax.jit(pixels.affine_matrix)
color_jitter = jax.jit(pixels.color_jitter, static_argnames="limits")
noise = jax.jit(augment.noise, static_argnames="num_numeric")
cutout = jax.jit(augment.cutout)
mixup = jax.jit(augment.mixup, static_argnames="num_numeric")
cutmix = jax.jit(augment.cutmix)
betas = jax.jit(jax.vmap(augment.symmetric_beta, in_axes=(0, None)))


def keys_of(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


def raw(count: int, seed: int = 0) -> jax.Array:
    return jax.random.key_data(keys_of(count, seed))


def some_images(count: int = 3, height: int = 6, width: int = 8, channels: int = 3) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 256, (count, height, width, channels))
    return values.astype(np.uint8)


def choice(name: str, **options: Any) -> SimpleNamespace:
    return SimpleNamespace(name=name, options=CATALOG["augmentation"][name].defaults() | options)


def plain(shape: tuple[int, int, int] = (6, 8, 3)) -> augment.Images:
    return augment.Images(shape, lambda x: x, lambda x: x.astype(jnp.float32) / 255, 0.0, 255.0)


def made(*choices: SimpleNamespace, images: augment.Images | None = None) -> Any:
    return jax.jit(
        recipes.augmentation(
            choices, prepare=lambda x: x.astype(jnp.float32) / 255, images=images or plain()
        )
    )


# Pixels


def test_flip_twice_is_the_image_and_chance_one_is_numpy():
    images = jnp.asarray(some_images())
    once = flip(images, keys_of(3), 1.0, 0.0)
    np.testing.assert_array_equal(once, np.asarray(images)[:, :, ::-1])
    np.testing.assert_array_equal(flip(once, keys_of(3), 1.0, 0.0), images)
    upside = flip(images, keys_of(3), 0.0, 1.0)
    np.testing.assert_array_equal(upside, np.asarray(images)[:, ::-1])
    np.testing.assert_array_equal(flip(images, keys_of(3), 0.0, 0.0), images)
    assert once.dtype == jnp.uint8


def test_half_of_the_images_are_flipped():
    images = jnp.tile(jnp.arange(4, dtype=jnp.float32).reshape(1, 1, 4, 1), (4000, 2, 1, 1))
    flipped = flip(images, keys_of(4000), 0.5, 0.0)[:, 0, 0, 0] == 3
    assert scipy.stats.binomtest(int(flipped.sum()), 4000).pvalue > 1e-3


@pytest.mark.parametrize("fill", [None, 7.0])
def test_crop_is_a_window_of_the_padded_image(fill):
    images = some_images(40)
    cropped = np.asarray(crop(jnp.asarray(images), keys_of(40), 2, fill=fill))
    offsets = []
    for image, window in zip(images, cropped, strict=True):
        pad = ((2, 2), (2, 2), (0, 0))
        padded = (
            np.pad(image, pad, mode="reflect")
            if fill is None
            else np.pad(image, pad, constant_values=int(fill))
        )
        fits = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if np.array_equal(padded[i : i + 6, j : j + 8], window)
        ]
        assert len(fits) == 1
        offsets += fits
    assert len(set(offsets)) > 12  # 40 draws out of 25


def test_crop_offsets_are_uniform():
    # Each pixel says where it is, so the first one tells the offset.
    place = jnp.arange(5 * 5, dtype=jnp.float32).reshape(1, 5, 5, 1) + 100
    cropped = crop(jnp.tile(place, (9000, 1, 1, 1)), keys_of(9000), 1, fill=0.0)
    seen = np.asarray(cropped[:, 2, 2, 0]).astype(int) - 100
    counts = np.bincount(seen, minlength=25).reshape(5, 5)[1:4, 1:4]
    assert counts.sum() == 9000
    assert scipy.stats.chisquare(counts.ravel()).pvalue > 1e-3


@pytest.mark.parametrize(("turns", "shape"), [(1, (6, 6, 2)), (2, (5, 7, 1)), (3, (7, 7, 1))])
def test_rotation_by_right_angles_is_numpy(turns, shape):
    image = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    matrix = affine_matrix(angle=turns * np.pi / 2, factor=1.0, slant=0.0)
    turned = resample(jnp.asarray(image), matrix, jnp.zeros(2))
    np.testing.assert_allclose(turned, np.rot90(image, turns), atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_resampling_is_that_of_scipy(seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(9, 12)).astype(np.float32)
    angle, factor, slant = rng.uniform(-1, 1), rng.uniform(0.6, 1.6), rng.uniform(-0.5, 0.5)
    shift = rng.uniform(-3, 3, 2).astype(np.float32)
    matrix = affine_matrix(angle=angle, factor=factor, slant=slant)
    ours = resample(jnp.asarray(image)[..., None], matrix, jnp.asarray(shift))[..., 0]
    centre = (np.array(image.shape) - 1) / 2
    offset = centre - np.asarray(matrix) @ (centre + shift)
    theirs = scipy.ndimage.affine_transform(
        image, np.asarray(matrix), offset=offset, order=1, mode="mirror"
    )
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_no_strength_is_exactly_the_image_and_shifts_stay_in_bounds():
    images = jnp.asarray(some_images(4).astype(np.float32))
    still = affine(images, keys_of(4), shift=0.0, rotate=0.0, zoom=0.0, shear=0.0)
    np.testing.assert_array_equal(still, images)
    # The mean place of a single bright pixel moves by at most the strength.
    one = jnp.zeros((200, 21, 21, 1)).at[:, 10, 10].set(1.0)
    moved = np.asarray(affine(one, keys_of(200), shift=0.2))[..., 0]
    rows = (moved.sum(2) * np.arange(21)).sum(1) / moved.sum((1, 2)) - 10
    assert np.abs(rows).max() <= 0.2 * 21 + 1e-3
    assert rows.std() == pytest.approx(0.2 * 21 / np.sqrt(3), rel=0.15)


def test_other_strengths_do_not_change_the_angle_of_an_image():
    images = jnp.asarray(some_images(2))
    alone = affine(images, keys_of(2), rotate=30.0)
    beside = affine(images, keys_of(2), rotate=30.0, shift=0.0, zoom=0.0, shear=0.0)
    np.testing.assert_allclose(alone, beside, atol=1e-3)


def test_groups_of_images_change_nothing(monkeypatch):
    images = jnp.asarray(some_images(11))
    whole = affine(images, keys_of(11), rotate=20.0, zoom=0.2)
    monkeypatch.setattr(pixels, "GROUP", 64)
    at_once = jax.jit(lambda x, k: pixels.affine(x, k, rotate=20.0, zoom=0.2))(images, keys_of(11))
    np.testing.assert_allclose(whole, at_once, atol=1e-3)


def jitter_twin(image: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Brightness, contrast and saturation one after the other, as written in the catalogue."""
    grey = lambda x: (x @ np.array([0.299, 0.587, 0.114]))[..., None]
    b, c, s = 1 + change
    image = np.clip(b * image, 0, 255)
    mean = grey(image).mean()
    image = np.clip(mean + c * (image - mean), 0, 255)
    own = grey(image)
    return np.clip(own + s * (image - own), 0, 255)


def test_color_jitter_is_its_formula_and_nothing_at_zero():
    images = some_images(5)
    off = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
    same = color_jitter(jnp.asarray(images), keys_of(5), **off, limits=(0.0, 255.0))
    np.testing.assert_array_equal(same, images.astype(np.float32))
    on = {"brightness": 0.4, "contrast": 0.3, "saturation": 0.9}
    ours = color_jitter(jnp.asarray(images), keys_of(5), **on, limits=(0.0, 255.0))
    for image, key, result in zip(images, keys_of(5), np.asarray(ours), strict=True):
        draws = np.asarray(jax.random.uniform(key, (3,), minval=-1.0, maxval=1.0))
        twin = jitter_twin(image.astype(float), draws * np.array([0.4, 0.3, 0.9]))
        np.testing.assert_allclose(result, twin, atol=0.01)
    grey = color_jitter(jnp.asarray(images[..., :1]), keys_of(5), **on, limits=(0.0, 255.0))
    assert grey.shape == (5, 6, 8, 1)


# Numbers and mixtures


def test_noise_has_its_spread_and_leaves_codes_alone():
    x = jnp.zeros((400, 50))
    noisy = noise(x, keys_of(400), 0.3, num_numeric=30)
    np.testing.assert_array_equal(noisy[:, 30:], 0)
    assert float(noisy[:, :30].std()) == pytest.approx(0.3, rel=0.03)
    assert float(noisy[:, :30].mean()) == pytest.approx(0.0, abs=0.01)
    np.testing.assert_array_equal(noise(x, keys_of(400), 0.0), x)


def test_cutout_blanks_a_square_whose_centre_is_uniform():
    x = jnp.ones((3000, 12, 12, 2))
    cut = np.asarray(cutout(x, keys_of(3000), 0.5))
    assert set(np.unique(cut)) == {0.0, 1.0}
    blank = cut[..., 0] == 0
    sides = (blank.any(2).sum(1), blank.any(1).sum(1))
    assert max(side.max() for side in sides) in (6, 7)
    np.testing.assert_array_equal(blank.sum((1, 2)), sides[0] * sides[1])  # a rectangle
    # A centre uniform over the image: a middle pixel is hit with chance (6/12)^2.
    assert blank[:, 6, 6].mean() == pytest.approx(0.25, abs=0.03)
    np.testing.assert_array_equal(cutout(x[:9], keys_of(9), 0.0), x[:9])


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.5, 0.51, 1.0, 4.0])
def test_symmetric_beta_is_that_of_scipy(alpha):
    draws = np.asarray(betas(keys_of(20_000), jnp.float32(alpha)))
    assert np.all((draws >= 0) & (draws <= 1))
    assert draws.mean() == pytest.approx(0.5, abs=0.012)
    assert draws.var() == pytest.approx(0.25 / (2 * alpha + 1), rel=0.04)
    # Float32 cannot tell draws near 1 from 1, so the distributions are compared away from the ends.
    at = np.linspace(0.01, 0.99, 50)
    shares = (draws[None, :] <= at[:, None]).mean(axis=1)
    np.testing.assert_allclose(shares, scipy.stats.beta(alpha, alpha).cdf(at), atol=0.012)


def test_mixup_is_the_mixture_and_its_expectation_the_mean():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32))
    partner = jnp.roll(jnp.arange(64), 1)
    mixed, share = mixup(x, keys_of(64), 0.4, partner=partner)
    s = np.asarray(share)[:, None]
    np.testing.assert_allclose(mixed, s * x + (1 - s) * x[partner], atol=1e-5)
    many = [mixup(x, keys_of(64, seed), 0.4, partner=partner)[0] for seed in range(1, 200)]
    np.testing.assert_allclose(np.mean(many, axis=0), (x + x[partner]) / 2, atol=0.6)
    same, whole = mixup(x, keys_of(64), 0.0, partner=partner)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(whole, 1.0)


def test_mixup_mixes_only_numbers_where_codes_follow():
    x = jnp.asarray([[1.0, 2.0, 7.0], [3.0, 4.0, 9.0]])
    mixed, _ = mixup(x, keys_of(2), 1.0, partner=jnp.array([1, 0]), num_numeric=2)
    np.testing.assert_array_equal(mixed[:, 2], x[:, 2])
    assert np.all((np.asarray(mixed[:, :2]) >= 1) & (np.asarray(mixed[:, :2]) <= 4))


def test_cutmix_pastes_the_share_that_the_label_loses():
    x = jnp.arange(40, dtype=jnp.float32)[:, None, None, None] * jnp.ones((1, 10, 14, 3))
    partner = jnp.roll(jnp.arange(40), 3)
    mixed, share = cutmix(x, keys_of(40), 1.0, partner=partner)
    own = np.asarray(mixed) == np.asarray(x)
    np.testing.assert_allclose(own.mean((1, 2, 3)), share, atol=1e-6)
    pasted = np.where(own, np.asarray(x)[partner], np.asarray(mixed))
    np.testing.assert_array_equal(pasted, np.asarray(x)[partner])
    same, whole = cutmix(x, keys_of(40), 0.0, partner=partner)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(whole, 1.0)


def test_classes_get_two_labels_and_numbers_one_in_between():
    x, keys = jnp.asarray(some_images(8)), raw(8)
    classes = jnp.arange(8)
    samples = made(choice("mixup", alpha=1.0))(x, classes, keys, {})
    assert sorted(samples.other.tolist()) == list(range(8))
    share = np.asarray(samples.share)
    other = np.asarray(samples.other)
    pixels_ = np.asarray(x, np.float32) / 255
    np.testing.assert_allclose(
        samples.x,
        share[:, None, None, None] * pixels_ + (1 - share)[:, None, None, None] * pixels_[other],
        atol=1e-5,
    )
    numbers = jnp.arange(8, dtype=jnp.float32)[:, None]
    mixed = made(choice("mixup", alpha=1.0))(x, numbers, keys, {})
    assert mixed.other is None
    np.testing.assert_allclose(mixed.y[:, 0], share * np.arange(8) + (1 - share) * other, atol=1e-5)


@pytest.mark.slow
def test_with_both_each_sample_gets_mixup_or_cutmix():
    x, keys = jnp.asarray(some_images(60)), raw(60)
    both = made(choice("mixup", alpha=1.0), choice("cutmix"))(x, jnp.arange(60), keys, {})
    alone = [
        made(c)(x, jnp.arange(60), keys, {}) for c in (choice("mixup", alpha=1.0), choice("cutmix"))
    ]
    equal = [np.isclose(both.x, one.x, atol=1e-6).all((1, 2, 3)) for one in alone]
    assert np.all(equal[0] | equal[1])
    assert 15 < equal[0].sum() < 45


# Keys


ALL = [choice(name) for name in recipes.AUGMENTATIONS]


@pytest.mark.slow
def test_all_at_once_runs_under_jit_keeps_shape_and_type():
    x, y = jnp.asarray(some_images(8)), jnp.arange(8)
    samples = made(*ALL)(x, y, raw(8), {})
    assert samples.x.shape == (8, 6, 8, 3)
    assert samples.x.dtype == jnp.float32
    assert np.isfinite(samples.x).all()


@pytest.mark.slow
def test_order_of_the_list_changes_nothing():
    x, y = jnp.asarray(some_images(8)), jnp.arange(8)
    there, back = made(*ALL)(x, y, raw(8), {}), made(*ALL[::-1])(x, y, raw(8), {})
    np.testing.assert_array_equal(there.x, back.x)


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("crop", "rotate", "noise") else pytest.param(name, marks=pytest.mark.slow)
        for name in recipes.AUGMENTATIONS
        if name not in augment.MIXES
    ],
)
def test_what_happens_to_a_sample_depends_on_its_key_alone(name):
    x, keys = jnp.asarray(np.repeat(some_images(1), 8, axis=0)), raw(8)
    options = {"vertical": 0.5} if name == "flip" else {}
    change = made(choice(name, **options))
    y = jnp.zeros(8, jnp.int32)
    whole = np.asarray(change(x, y, keys, {}).x)
    assert len({image.tobytes() for image in whole}) > 2  # another for each sample
    turned = np.asarray(change(x, y, keys[::-1], {}).x)
    np.testing.assert_allclose(turned, whole[::-1], atol=1e-6)


def test_keys_of_samples_are_new_each_epoch_and_for_each_seed_and_nothing_else():
    lane = lambda seed, step: SimpleNamespace(
        key=jax.random.key_data(jax.random.key(seed)), step=jnp.int32(step)
    )
    number = jnp.array([4, ~2, 7])
    first = np.asarray(sample_keys(lane(0, 0), number, steps_per_epoch=10))
    np.testing.assert_array_equal(first, sample_keys(lane(0, 9), number, steps_per_epoch=10))
    for other in (lane(0, 10), lane(1, 0)):
        assert not np.array_equal(first, sample_keys(other, number, steps_per_epoch=10))
    np.testing.assert_array_equal(
        first[1], sample_keys(lane(0, 3), jnp.array([2]), steps_per_epoch=10)[0]
    )
    assert len({key.tobytes() for key in first}) == 3


# In a study


STUDY = """
study: augmented
data: {source: digits, limit_rows: 300}
model: {net: mlp, hidden: [16]}
train: {epochs: 3, batch_size: 32, eval_every: 0.5}
compare:
  augment: [[], [{name: mixup, alpha: 0.1}], [{name: mixup, alpha: 0.8}], [shift, {name: rotate, degrees: 10}, noise]]
seeds: 2
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def test_lists_of_augmentations_are_a_factor_that_reads_well(tmp_path):
    spec = load_study(written(tmp_path, STUDY))
    arms = expand(spec)
    assert [arm.name for arm in arms] == [
        "augment=none",
        "augment=mixup(alpha=0.1)",
        "augment=mixup(alpha=0.8)",
        "augment=shift+rotate(degrees=10)+noise",
    ]
    first, second = static_key(arms[1].config), static_key(arms[2].config)
    assert first == second  # alpha varies by lane
    assert traced_values(arms[2].config)["augment.mixup.alpha"] == 0.8
    assert "augment.mixup.alpha" not in traced_values(arms[0].config)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[mirror]", r"train.augment\[0\]: must be the name of an augmentation, got 'mirror'"),
        ("[{name: crop, padding: 0}]", r"train.augment\[0\].padding: must be a whole number >= 1"),
        ("[noise, noise]", r"train.augment\[1\]: must be listed once, got 'noise' again"),
        ("[{name: mixup, beta: 1}]", r"augment\[0\].beta: must be an option of mixup"),
    ],
)
def test_wrong_lists_are_refused(tmp_path, value, message):
    text = STUDY.split("compare:")[0].replace("epochs: 3", f"epochs: 3, augment: {value}")
    with pytest.raises(SpecError, match=message):
        load_study(written(tmp_path, text))


def problem_of(text: str, folder: Path, arm: int = 0) -> tuple[Any, Any]:
    spec = load_study(written(folder, text))
    dataset = load(spec.data)
    config = expand(lanework.spec.resolve(spec, task=dataset.task))[arm].config
    return config, dataset


@pytest.mark.parametrize(
    ("source", "augmented", "message"),
    [
        (
            "iris",
            "flip",
            r"train.augment\[0\]: must suit the data, got flip, which is for images, with a table",
        ),
        ("iris", "cutmix", r"Use noise or mixup"),
        ("digits", "{name: crop, padding: 8}", r"must be below the shorter side of the images \(8"),
    ],
)
def test_what_does_not_suit_the_data_is_refused(tmp_path, source, augmented, message):
    text = f"study: a\ndata: {{source: {source}}}\ntrain: {{augment: [{augmented}]}}\n"
    config, dataset = problem_of(text, tmp_path)
    with pytest.raises(SpecError, match=message):
        assemble.problem(config, dataset, used=frozenset())


def test_pixels_of_prepared_images_are_those_that_were_read(tmp_path):
    bytes_ = load(DataSpec(source="digits"))
    shown = entering.as_pixels(bytes_, bytes_.train.x[:5])
    assert shown is not None
    images, low, high = shown
    assert images.shape == (5, 8, 8, 1)
    assert (low, high) == pytest.approx((0.0, 16.0), abs=1e-4)
    np.testing.assert_allclose(images, np.round(images), atol=1e-4)  # digits are whole numbers


def test_augmentation_is_off_at_evaluation_and_acts_in_the_loss(tmp_path):
    losses = {}
    for arm in (0, 3):
        config, dataset = problem_of(STUDY, tmp_path, arm)
        problem = assemble.problem(config, dataset, used=frozenset())
        params, state = problem.init(jax.random.key(0))
        x, y = dataset.train.x[:32], dataset.train.y[:32]
        batch = {"x": jnp.asarray(x), "y": jnp.asarray(y), "weight": jnp.ones(32), "key": raw(32)}
        hypers = {k: jnp.float32(v) for k, v in traced_values(config).items()}
        value, _ = jax.jit(problem.loss)(params, state, batch, key=jax.random.key(1), hypers=hypers)
        sums = jax.jit(problem.evaluate)(params, state, batch, problem.zero_sums(), hypers=hypers)
        losses[arm] = (float(value), float(problem.finish(sums)["loss"]))
    assert losses[0][1] == losses[3][1]  # evaluated on the samples as they are
    assert losses[0][0] == pytest.approx(losses[0][1], rel=1e-5)
    assert losses[3][0] != pytest.approx(losses[3][1], rel=1e-3)


@pytest.mark.slow
def test_mixed_labels_are_soft_labels_for_cross_entropy(tmp_path):
    config, dataset = problem_of(STUDY, tmp_path, arm=2)
    problem = assemble.problem(config, dataset, used=frozenset())
    params, state = problem.init(jax.random.key(0))
    x, y = jnp.asarray(dataset.train.x[:32]), jnp.asarray(dataset.train.y[:32])
    batch = {"x": x, "y": y, "weight": jnp.ones(32), "key": raw(32)}
    value, _ = jax.jit(problem.loss)(params, state, batch, key=jax.random.key(1), hypers={})
    samples = jax.jit(recipes.augmentation(config.train.augment, prepare=lambda x: x, images=None))(
        x, y, batch["key"], {}
    )
    net = assemble.network(config.model, dataset, outputs=10)
    logits, _ = net.apply(params, state, samples.x, key=None, is_training=True, hypers={})
    share = samples.share[:, None]
    soft = share * jax.nn.one_hot(y, 10) + (1 - share) * jax.nn.one_hot(samples.other, 10)
    expected = -jnp.mean(jnp.sum(soft * jax.nn.log_softmax(logits), axis=1))
    assert float(value) == pytest.approx(float(expected), rel=1e-5)


def losses_of(results: Any, arm: str) -> dict[int, list[tuple[int, float]]]:
    from lanework.store import Store

    with Store(results.folder, create=False) as store:
        runs = {run.run: run.seed for run in store.runs() if run.arm_name == arm}
        rows = sorted(row for row in store.metrics() if row[0] in runs and row[3] == "train_loss")
    found: dict[int, list[tuple[int, float]]] = {}
    for run, step, _, _, value in rows:
        found.setdefault(runs[run], []).append((step, value))
    return found


@pytest.mark.slow
def test_a_lane_is_the_same_alone_and_beside_others(tmp_path):
    both = "[[{name: mixup, alpha: 0.1}, shift], [{name: mixup, alpha: 0.8}, shift]]"
    text = STUDY[: STUDY.index("compare:")] + f"compare: {{augment: {both}}}\nseeds: 2\n"
    together = lanework.run(written(tmp_path, text), folder=tmp_path / "together")
    alone = text.replace("[{name: mixup, alpha: 0.1}, shift], ", "")
    solo = lanework.run(written(tmp_path, alone), folder=tmp_path / "alone")
    name = "augment=mixup(alpha=0.8)+shift"
    here, there = losses_of(together, name), losses_of(solo, name)
    assert set(here) == {0, 1}
    for seed, rows in here.items():
        np.testing.assert_allclose(rows, there[seed], rtol=1e-4)
    assert not np.allclose(here[0], here[1], rtol=1e-3)


@pytest.mark.slow
def test_a_killed_augmented_study_resumes_to_the_same_numbers(tmp_path):
    from tests.test_resume import numbers, start

    written(tmp_path, STUDY)
    assert start(tmp_path, "whole", kill_after=0, how="new") == 0
    assert start(tmp_path, "killed", kill_after=4, how="new") == -9
    assert start(tmp_path, "killed", kill_after=0, how="resume") == 0
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "whole")


def test_lbfgs_is_warned_of_augmentation(tmp_path):
    text = STUDY.split("compare:")[0].replace(
        "epochs: 3, batch_size: 32, eval_every: 0.5",
        "epochs: 1, batch_size: all, optimizer: lbfgs, augment: [noise]",
    )
    plan = lanework.Study.from_file(written(tmp_path, text)).plan()
    assert any("augmentation gives another loss" in text for text in plan.prepared.warnings)


@pytest.mark.slow
def test_recipes_of_a_seed_see_the_same_samples(tmp_path):
    # With a rate of nearly 0 nothing is learned, so equal losses mean equal inputs.
    text = STUDY.split("compare:")[0] + (
        "compare: {optimizer: [{name: sgd, learning_rate: 1.0e-12}, {name: momentum, learning_rate: 1.0e-12}]}\n"
        "seeds: 1\n"
    )
    text = text.replace("epochs: 3", "epochs: 2, augment: [noise, shift]")
    results = lanework.run(written(tmp_path, text), folder=tmp_path / "out")
    names = results.frame()["arm"].tolist()
    first, second = (losses_of(results, name)[0] for name in names)
    np.testing.assert_allclose(first, second, rtol=1e-5)
    values = [value for _, value in first]
    assert len(set(values)) == len(values)  # new draws in each part of each epoch
