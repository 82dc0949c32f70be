"""Augmentation: training samples changed at random, keyed by seed, epoch and number of the sample.

Pure functions of samples and their keys. What is listed in a study is done in a fixed order, whatever the order of the list:
flip, crop, one resampling for shift, rotate, zoom and shear, color_jitter, (the images are prepared here,) noise, cutout,
mixup or cutmix. Left out at evaluation by whoever calls. Must not import `lanework.models`, `lanework.data` or anything above.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from lanework.recipes import pixels
from lanework.recipes.choices import Array, Choice, Hypers, Read, reader, refuse

__all__ = [
    "AUGMENTATIONS",
    "Augment",
    "Images",
    "Samples",
    "augmentation",
    "cutmix",
    "cutout",
    "mixup",
    "noise",
    "symmetric_beta",
]

# Terms of the series in `symmetric_beta`: what is left out is below 2^-24 on average, the precision of a float32.
TERMS = 24
AFFINE = ("shift", "rotate", "zoom", "shear")
MIXES = ("mixup", "cutmix")
AUGMENTATIONS = ("flip", "crop", *AFFINE, "color_jitter", "noise", "cutout", *MIXES)
"""All names, in the order in which they are done."""


class Images(NamedTuple):
    """How stored samples are images, and how images become what enters the network.

    Attributes:
        shape: Height, width, channels.
        stored: Stored samples [batch, ...] to pixels [batch, height, width, channels], floating or bytes.
        prepared: Pixels to what enters the network, [batch, *shape of the input].
        low: Black, in pixels.
        high: White, in pixels.
    """

    shape: tuple[int, int, int]
    stored: Callable[[Array], Array]
    prepared: Callable[[Array], Array]
    low: float
    high: float


class Samples(NamedTuple):
    """A batch as the loss takes it.

    Attributes:
        x: What enters the network, [batch, ...].
        y: Targets.
        other: Targets of the samples mixed in; None where labels are not mixed.
        share: Share of `y` in the loss of each sample, [batch]; `other` has the rest. None where labels are not mixed.
    """

    x: Array
    y: Array
    other: Array | None = None
    share: Array | None = None


# (stored x, targets, raw keys [batch, 2], hypers) -> samples
Augment: TypeAlias = Callable[[Array, Array, Array, Hypers], Samples]
# (pixels [batch, h, w, c], keys [batch], read, images) -> pixels
_Pixelwise: TypeAlias = Callable[[Array, Array, Read, Images], Array]


def augmentation(
    choices: Sequence[Choice],
    *,
    prepare: Callable[[Array], Array],
    images: Images | None,
    num_numeric: int | None = None,
) -> Augment:
    """Turn the list of a study into one function of a batch.

    Args:
        choices: Catalogue choices of kind `augmentation`, each at most once.
        prepare: Stored samples to what enters the network, without augmentation.
        images: How samples are images; None where they are none.
        num_numeric: How many leading entries of a flat input are numbers; codes of categories behind them stay as they
            are. None: all are.

    Returns:
        The function. Options that are traced are read from its `hypers` under `augment.NAME.OPTION`.

    Raises:
        SpecError: There is no augmentation of that name, it needs images, or its options do not fit their size.
    """
    chosen = {choice.name: choice for choice in choices}
    _check(choices, images)

    def read(name: str, hypers: Hypers) -> Read:
        return reader(chosen[name], hypers, prefix=f"augment.{name}")

    def augment(x: Array, y: Array, keys: Array, hypers: Hypers) -> Samples:
        key = jax.vmap(jax.random.wrap_key_data)(keys)
        reads = {name: read(name, hypers) for name in chosen}
        x = _moved(x, key, reads, images) if images and _has_pixels(chosen) else prepare(x)
        if "noise" in reads:
            x = noise(x, own_keys(key, "noise"), reads["noise"]("std"), num_numeric=num_numeric)
        if "cutout" in reads and images:
            shown = x.reshape(-1, *images.shape)
            shown = cutout(shown, own_keys(key, "cutout"), reads["cutout"]("size"))
            x = shown.reshape(x.shape)
        return _mixed(x, y, key, reads, images, num_numeric)

    return augment


def own_keys(keys: Array, purpose: str) -> Array:
    """Keys of their own for one augmentation, [batch]: others in the list do not change its draws."""
    number = zlib.crc32(purpose.encode())
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)


def noise(x: Array, keys: Array, std: Any, *, num_numeric: int | None = None) -> Array:
    """Add `std` times a standard normal draw to each number of each sample.

    Args:
        x: Prepared inputs [batch, ...].
        keys: One for each sample, [batch].
        std: Standard deviation; may be traced.
        num_numeric: How many leading entries of the last axis are numbers; None: all.
    """
    numbers = x if num_numeric is None else x[..., :num_numeric]
    # In a row, then shaped: the same numbers, and XLA compiles it in a fraction of the time.
    count = numbers.size // numbers.shape[0]
    drawn = jax.vmap(lambda key: jax.random.normal(key, (count,), x.dtype))(keys)
    drawn = drawn.reshape(numbers.shape)
    noisy = numbers + jnp.asarray(std, x.dtype) * drawn
    return noisy if num_numeric is None else jnp.concatenate([noisy, x[..., num_numeric:]], axis=-1)


def cutout(x: Array, keys: Array, size: Any) -> Array:
    """Set a square to 0, its centre uniform over the image, so that it may stick out.

    Args:
        x: Prepared images [batch, height, width, channels].
        keys: One for each sample, [batch].
        size: Side of the square as a share of the shorter side; may be traced.

    Source:
        DeVries and Taylor 2017, Improved regularization of convolutional neural networks with cutout,
        https://arxiv.org/abs/1708.04552
    """
    height, width = x.shape[1:3]
    side = jnp.broadcast_to(jnp.asarray(size * min(height, width), x.dtype), (len(x),))
    inside = jax.vmap(lambda key, s: _box(key, (s, s), (height, width)))(keys, side)
    return jnp.where(inside[..., None], jnp.zeros((), x.dtype), x)


def mixup(
    x: Array, keys: Array, alpha: Any, *, partner: Array, num_numeric: int | None = None
) -> tuple[Array, Array]:
    """Mix each sample with another one of the batch: `s x_i + (1 - s) x_j`, s from Beta(alpha, alpha).

    Args:
        x: Prepared inputs [batch, ...].
        keys: One for each sample, [batch].
        alpha: Of the Beta distribution; 0 mixes nothing; may be traced.
        partner: Number j of the other sample, int [batch].
        num_numeric: How many leading entries of the last axis are numbers to be mixed; None: all.

    Returns:
        The mixed inputs, and s [batch], the share of each sample in its own mixture.

    Source:
        Zhang, Cisse, Dauphin and Lopez-Paz 2018, mixup: beyond empirical risk minimization,
        https://arxiv.org/abs/1710.09412
    """
    share = _shares(keys, alpha, x.dtype)
    numbers = x if num_numeric is None else x[..., :num_numeric]
    mixed = pixels.by_group(
        lambda each: each[0] + (1 - each[2]) * (numbers[each[1]] - each[0]),
        (numbers, partner, share),
    )
    if num_numeric is not None:
        mixed = jnp.concatenate([mixed, x[..., num_numeric:]], axis=-1)
    return mixed, share


def cutmix(x: Array, keys: Array, alpha: Any, *, partner: Array) -> tuple[Array, Array]:
    """Paste a rectangle of another image of the batch, of area 1 - s before it is cut at the edge, s from Beta(alpha, alpha).

    Args:
        x: Prepared images [batch, height, width, channels].
        keys: One for each sample, [batch].
        alpha: Of the Beta distribution; 0 pastes nothing; may be traced.
        partner: Number of the other image, int [batch].

    Returns:
        The images, and the share of pixels [batch] that each has kept.

    Source:
        Yun et al. 2019, CutMix: regularization strategy to train strong classifiers with localizable features,
        https://arxiv.org/abs/1905.04899
    """
    height, width = x.shape[1:3]
    side = jnp.sqrt(1 - _shares(keys, alpha, x.dtype))
    places = own_keys(keys, "place")
    inside = jax.vmap(lambda key, s: _box(key, (s * height, s * width), (height, width)))(
        places, side
    )
    kept = 1 - jnp.mean(inside.astype(x.dtype), axis=(1, 2))
    return jnp.where(inside[..., None], x[partner], x), kept


def symmetric_beta(key: Array, alpha: Any, dtype: Any = jnp.float32) -> Array:
    """A draw from Beta(alpha, alpha) without rejection, so that lanes of any alpha take the same steps.

    Above 1/2, with U and V uniform: (1 + sqrt(1 - U^(2 / (2 alpha - 1))) cos(2 pi V)) / 2. Up to 1/2, the stick-breaking
    series of a Dirichlet process with two atoms: sum_k B_k V_k prod_{i<k} (1 - V_i), B_k a fair coin, V_k from
    Beta(1, 2 alpha), of which `TERMS` terms are taken.

    Args:
        key: One key.
        alpha: Above 0; may be traced. At 0 the draw is 0 or 1.
        dtype: Floating type of the draw.

    Returns:
        A scalar between 0 and 1.

    Source:
        Ulrich 1984, Computer generation of distributions on the m-sphere, Applied Statistics 33 (the first form);
        Sethuraman 1994, A constructive definition of Dirichlet priors, Statistica Sinica 4 (the second).
    """
    alpha = jnp.asarray(alpha, dtype)
    first, second = jax.random.uniform(key, (2, TERMS), dtype, minval=1e-37)
    power = 2 / jnp.maximum(2 * alpha - 1, 1e-6)
    wide = (1 + jnp.sqrt(1 - first[0] ** power) * jnp.cos(2 * jnp.pi * second[0])) / 2
    left = first ** (1 / jnp.maximum(2 * alpha, 1e-6))  # 1 - V_k
    before = jnp.concatenate([jnp.ones(1, dtype), jnp.cumprod(left)[:-1]])
    narrow = jnp.sum(jnp.where(second < 0.5, before * (1 - left), 0))
    return jnp.clip(jnp.where(alpha > 0.5, wide, narrow), 0, 1)


def _shares(keys: Array, alpha: Any, dtype: Any) -> Array:
    """Each sample's share in its own mixture, [batch]; 1 where alpha is 0."""
    drawn = jax.vmap(lambda key: symmetric_beta(key, alpha, dtype))(keys)
    return jnp.where(jnp.asarray(alpha) > 0, drawn, jnp.ones((), dtype))


def _box(key: Array, sides: tuple[Any, Any], shape: tuple[int, int]) -> Array:
    """Which pixels lie in a rectangle whose centre is uniform over the image, bool [height, width]."""
    at = jax.random.uniform(key, (2,), jnp.result_type(sides[0]))
    inside = []
    for axis, (side, size) in enumerate(zip(sides, shape, strict=True)):
        middle = jnp.arange(size, dtype=at.dtype) + 0.5
        inside.append(2 * jnp.abs(middle - at[axis] * size) < side)
    return inside[0][:, None] & inside[1][None, :]


def _has_pixels(chosen: Mapping[str, Choice]) -> bool:
    return any(name in chosen for name in ("flip", "crop", *AFFINE, "color_jitter"))


def _moved(x: Array, keys: Array, reads: Mapping[str, Read], images: Images) -> Array:
    """What is done to pixels, before they are prepared."""
    shown = images.stored(x)
    if not jnp.issubdtype(shown.dtype, jnp.floating):
        shown = shown.astype(jnp.float32)  # measured: bytes are mirrored four times slower on a CPU
    if read := reads.get("flip"):
        chances = (read("horizontal"), read("vertical"))
        shown = pixels.flip(shown, own_keys(keys, "flip"), *chances)
    if read := reads.get("crop"):
        padding = int(read("padding"))
        fill = None if read("fill") == "reflect" else images.low
        shown = pixels.crop(shown, own_keys(keys, "crop"), padding, fill=fill)
    if strengths := _strengths(reads):
        shown = pixels.affine(shown, own_keys(keys, "affine"), **strengths)
    if read := reads.get("color_jitter"):
        shown = pixels.color_jitter(
            shown,
            own_keys(keys, "color_jitter"),
            brightness=read("brightness"),
            contrast=read("contrast"),
            saturation=read("saturation"),
            limits=(images.low, images.high),
        )
    return images.prepared(shown)


def _strengths(reads: Mapping[str, Read]) -> dict[str, Any]:
    options = {"shift": "by", "rotate": "degrees", "zoom": "by", "shear": "degrees"}
    return {name: reads[name](option) for name, option in options.items() if name in reads}


def _mixed(
    x: Array,
    y: Array,
    keys: Array,
    reads: Mapping[str, Read],
    images: Images | None,
    num_numeric: int | None,
) -> Samples:
    """Mixup or cutmix, or, where both are listed, one of them for each sample."""
    mixes = [name for name in MIXES if name in reads]
    if not mixes:
        return Samples(x, y)
    # The order of random words of the samples: a permutation that depends on who is in the batch, not on the step.
    words = jax.vmap(jax.random.bits)(own_keys(keys, "partner"))
    partner = jnp.argsort(words)
    results = []
    for name in mixes:
        alpha, own = reads[name]("alpha"), own_keys(keys, name)
        if name == "mixup":
            results.append(mixup(x, own, alpha, partner=partner, num_numeric=num_numeric))
        elif images is not None:
            shown, share = cutmix(x.reshape(-1, *images.shape), own, alpha, partner=partner)
            results.append((shown.reshape(x.shape), share))
    mixed, share = results[0]
    if len(results) == 2:
        is_first = jax.vmap(jax.random.bernoulli)(own_keys(keys, "which"))
        share = jnp.where(is_first, share, results[1][1])
        column = is_first.reshape(-1, *(1,) * (x.ndim - 1))
        mixed = jnp.where(column, mixed, results[1][0])
    if not jnp.issubdtype(y.dtype, jnp.floating):
        return Samples(mixed, y, y[partner], share)
    column = share.astype(y.dtype).reshape(-1, *(1,) * (y.ndim - 1))
    return Samples(mixed, y + (1 - column) * (y[partner] - y))


def _check(choices: Sequence[Choice], images: Images | None) -> None:
    for place, choice in enumerate(choices):
        where = f"train.augment[{place}]"
        if choice.name not in AUGMENTATIONS:
            known = ", ".join(AUGMENTATIONS)
            refuse(where, f"must be the name of an augmentation, got {choice.name!r}. Use {known}.")
        needs_images = choice.name not in ("noise", "mixup")
        if needs_images and images is None:
            refuse(where, f"must suit the data, got {choice.name}, which needs images. Use noise.")
        if choice.name == "crop" and images is not None:
            _check_crop(choice, images, where)


def _check_crop(choice: Choice, images: Images, where: str) -> None:
    smaller = min(images.shape[:2])
    padding = choice.options["padding"]
    if padding >= smaller:
        refuse(
            f"{where}.padding",
            f"must be below the shorter side of the images ({smaller} pixels), got {padding}. Use for example "
            f"{max(1, smaller // 8)}.",
        )
