"""How samples are drawn: shares of classes, hard examples, and what they do to a study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lanework
from lanework.catalog import CATALOG
from lanework.data import batch_indices, sampling
from lanework.errors import DataError, LaneworkError
from lanework.store import Store

LABELS = np.repeat(np.arange(3, dtype=np.int32), (700, 200, 100))
ORDERS = {"balanced": sampling.balanced_epochs, "mixed": sampling.mixed_epochs}


def drawn(name: str, labels: np.ndarray = LABELS, *, batch: int, seed: int = 0, epochs: int = 1):
    order = ORDERS[name](labels, batch, seed=seed)
    return np.concatenate([order(epoch) for epoch in range(epochs)])


# Balanced --------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    batch=st.integers(1, 20),
    seed=st.integers(0, 2**32 - 1),
)
def test_balanced_batches_hold_every_class_equally_often(sizes, batch, seed) -> None:
    labels = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    batch = min(batch, len(labels))
    index = drawn("balanced", labels, batch=batch, seed=seed, epochs=2)
    assert index.shape == (2 * -(-len(labels) // batch), batch)
    assert index.min() >= 0
    for row in labels[index]:
        counts = np.bincount(row, minlength=len(sizes))
        # Two rounds are cut by the edges of a batch: a class is at most two away from any other.
        assert counts.max() - counts.min() <= 2


def test_balanced_batches_show_each_class_the_same_share_on_average() -> None:
    index = drawn("balanced", batch=7, epochs=20)
    shares = np.bincount(LABELS[index].ravel()) / index.size
    assert np.allclose(shares, 1 / 3, atol=2e-3)
    # Smaller batches than classes: all of them come in turn, none always with another.
    few = LABELS[drawn("balanced", batch=2, epochs=20)]
    pairs = np.unique(np.sort(few, axis=1), axis=0, return_counts=True)[1]
    assert len(pairs) >= 3
    assert np.bincount(few.ravel()).std() / few.size < 1e-3


def test_balanced_classes_are_gone_through_whole_before_a_row_comes_again() -> None:
    index = drawn("balanced", batch=50, epochs=12).ravel()
    for code, size in enumerate((700, 200, 100)):
        members = index[LABELS[index] == code]
        counts = np.bincount(members, minlength=len(LABELS))[code == LABELS]
        # The round that is cut at the end of an epoch skips a row of each class at most: of 12 epochs, 12 rows.
        assert counts.max() * size - counts.sum() <= size + 12
        assert counts.max() - np.median(counts) <= 1
        assert len(np.unique(members[:size])) >= size - 12


def test_balanced_leaves_out_classes_without_a_row() -> None:
    labels = np.array([0, 0, 0, 3], np.int32)
    assert set(labels[drawn("balanced", labels, batch=2)].ravel()) == {0, 3}
    assert np.bincount(labels[drawn("balanced", labels, batch=2)].ravel()).tolist() == [2, 0, 0, 2]


# Mixed -----------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    batch=st.integers(1, 30),
    seed=st.integers(0, 2**32 - 1),
)
def test_mixed_epochs_are_all_samples_once(sizes, batch, seed) -> None:
    labels = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    batch = min(batch, len(labels))
    index = drawn("mixed", labels, batch=batch, seed=seed)
    assert sorted(index[index >= 0]) == list(range(len(labels)))
    assert (index[:-1] >= 0).all()
    missing = -len(labels) % batch
    assert (index[-1] < 0).sum() == missing


def test_mixed_batches_hold_classes_in_proportion_and_shuffled_ones_do_not() -> None:
    def spread(index: np.ndarray) -> float:
        counts = [np.bincount(LABELS[row], minlength=3) for row in index[:-1]]
        return float(np.abs(np.array(counts) - 50 * np.array([0.7, 0.2, 0.1])).max())

    mixed = [spread(drawn("mixed", batch=50, seed=seed)) for seed in range(20)]
    plain = [
        spread(batch_indices(1000, 50, seed=seed, first_step=0, num_steps=20)) for seed in range(20)
    ]
    assert max(mixed) <= 3.0  # an edge at each end of a batch, for each of two classes
    assert min(plain) > 3.0


# Hard examples ---------------------------------------------------------------------------------


def test_hard_shares_grow_with_the_loss_up_to_the_cap() -> None:
    losses = np.array([0.0, 1.0, 2.0, 3.0, 1e9])
    shares = sampling.hard_shares(losses, power=1.0, cap=0.75, floor=0.0)
    assert np.allclose(shares, np.array([0, 1, 2, 3, 3]) / 9)
    assert np.allclose(sampling.hard_shares(losses, power=0.0, cap=1.0, floor=0.0), 0.2)
    floored = sampling.hard_shares(losses, power=1.0, cap=0.75, floor=0.5)
    assert np.allclose(floored, 0.1 + 0.5 * shares)
    squared = sampling.hard_shares(losses[:4], power=2.0, cap=1.0, floor=0.0)
    assert np.allclose(squared, np.array([0, 1, 4, 9]) / 14)


def test_a_loss_that_is_not_known_or_not_finite_counts_with_the_cap() -> None:
    losses = np.array([1.0, 3.0, np.nan, np.inf])
    shares = sampling.hard_shares(losses, power=1.0, cap=1.0, floor=0.0)
    assert np.allclose(shares, np.array([1, 3, 3, 3]) / 10)
    for odd in ([np.nan, np.nan], [0.0, 0.0]):
        even = sampling.hard_shares(np.array(odd), power=1.0, cap=0.9, floor=0.0)
        assert even.tolist() == [0.5, 0.5]
    below = sampling.hard_shares(np.array([-2.0, 0.0, 2.0]), power=1.0, cap=1.0, floor=0.0)
    assert np.allclose(below, [0, 1 / 3, 2 / 3])


def hard(losses: np.ndarray, *, seed: int = 0, first: int = 20, steps: int = 40, **options: float):
    return sampling.hard_batches(
        losses, 50, seed=seed, first_step=first, num_steps=steps, **options
    )


def test_hard_draws_are_as_many_as_expected() -> None:
    losses = np.random.default_rng(0).exponential(size=1000)
    losses[7] = 1e6
    shares = sampling.hard_shares(losses, power=1.0, cap=0.95, floor=0.2)
    counts = np.bincount(hard(losses).index.ravel(), minlength=1000)
    assert np.abs(counts - shares * 2000).max() < 1.0
    # The outlier comes as often as any other of the hardest twentieth.
    assert counts[7] <= np.ceil(2000 * shares.max())
    mean = np.mean(
        [np.bincount(hard(losses, seed=s).index.ravel(), minlength=1000) for s in range(60)], 0
    )
    assert np.abs(mean - shares * 2000).max() < 0.3


def test_hard_weights_take_the_bias_out() -> None:
    losses = np.random.default_rng(1).exponential(size=1000)
    values = np.random.default_rng(2).normal(size=1000) + losses
    full = hard(losses, correction=1.0)
    assert full.weight is not None
    estimate = np.average(values[full.index], weights=full.weight)
    assert abs(estimate - values.mean()) < 0.05
    assert values[hard(losses).index].mean() > values.mean() + 0.3
    assert full.weight.mean() == pytest.approx(1.0, abs=0.02)
    half = hard(losses, correction=0.5)
    assert half.weight is not None
    assert np.allclose(half.weight**2, full.weight, rtol=1e-5)


def test_the_first_epoch_of_hard_is_shuffled() -> None:
    unknown = np.full(1000, np.nan)
    first = hard(unknown, first=0, steps=20)
    plain = batch_indices(1000, 50, seed=0, first_step=0, num_steps=20)
    assert np.array_equal(first.index, plain)
    across = hard(unknown, first=15, steps=10, correction=1.0)
    assert np.array_equal(across.index[:5], plain[15:])
    assert across.weight is not None
    assert (across.weight[:5] == 1.0).all()


def test_draws_depend_on_seed_step_and_losses_alone() -> None:
    losses = np.linspace(0, 1, 1000)
    assert np.array_equal(hard(losses).index, hard(losses).index)
    assert not np.array_equal(hard(losses).index, hard(losses, seed=1).index)
    assert not np.array_equal(hard(losses).index, hard(losses, first=60).index)
    for name in ORDERS:
        assert np.array_equal(drawn(name, batch=32, epochs=3), drawn(name, batch=32, epochs=3))
        order = ORDERS[name](LABELS, 32, seed=5)
        whole = sampling.indices(order, first_step=0, num_steps=70)
        again = ORDERS[name](LABELS, 32, seed=5)
        late = sampling.indices(again, first_step=40, num_steps=30)
        assert np.array_equal(whole[40:], late)
        assert not np.array_equal(order(0), order(1))


def test_batches_must_fit() -> None:
    for make in (*ORDERS.values(),):
        with pytest.raises(
            DataError, match="must lie between 1 and the number of training samples"
        ):
            make(LABELS, 1001, seed=0)


def test_what_sampling_does_to_classes_is_told() -> None:
    told = sampling.class_notes("balanced", LABELS, 50, ("a", "b", "c"))
    assert told == (
        "train.sampling balanced repeats the rows of 'c': each is seen up to 3.33 times in an epoch.",
        "train.sampling balanced shows a part of 'a' in an epoch: down to 48 % of the rows of a class.",
    )
    few = sampling.class_notes("mixed", LABELS, 2, ("a", "b", "c"))
    assert few == (
        "train.sampling mixed: batches of 2 cannot hold all 3 classes; each comes in turn.",
    )
    assert sampling.class_notes("shuffled", LABELS, 50, ("a", "b", "c")) == ()
    even = np.repeat(np.arange(3, dtype=np.int32), 50)
    assert sampling.class_notes("balanced", even, 50, ("a", "b", "c")) == ()


# In studies ------------------------------------------------------------------------------------


def unbalanced(num_rows: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping blobs, one of them with a twentieth of the rows."""
    rng = np.random.default_rng(3)
    y = (rng.random(num_rows) < 0.05).astype(np.int64)
    x = rng.normal(size=(num_rows, 4)) + 1.1 * y[:, None]
    return x.astype(np.float32), y


def study(**changes: object) -> lanework.Study:
    settings = {
        "data": unbalanced(),
        "model": {"net": "mlp", "hidden": [8]},
        "train": {"epochs": 4, "batch_size": 50, "learning_rate": 0.01},
        "seeds": 3,
    }
    return lanework.Study(**{**settings, **changes})


@pytest.mark.slow
def test_balanced_batches_raise_the_recall_of_a_rare_class(tmp_path: Path) -> None:
    (x, y), recalls, plain = unbalanced(), {}, {}
    train = {"epochs": 4, "batch_size": 50, "learning_rate": 0.01}
    for name in ("shuffled", "balanced"):
        model = study(train={**train, "sampling": name}, seeds=1).run(tmp_path / name).best()
        is_right = model.predict(x) == y
        recalls[name] = np.mean([is_right[y == code].mean() for code in (0, 1)])
        plain[name] = is_right.mean()
    # Plain accuracy hides it: always saying the common class is right in 95 % of the rows.
    assert plain["shuffled"] > 0.93
    assert recalls["balanced"] > recalls["shuffled"] + 0.1
    with Store(tmp_path / "balanced", create=False) as store:
        told = [event.text for event in store.events() if event.kind == "warning"]
    assert any("balanced repeats the rows of '1'" in text for text in told)


@pytest.mark.slow
def test_every_sampling_trains_and_can_be_compared(tmp_path: Path) -> None:
    names = list(CATALOG["sampling"])
    results = study(compare={"sampling": names}).run(tmp_path / "out")
    frame = results.frame()
    assert (frame.status == "ok").all()
    by_name = frame.groupby("sampling")["val_accuracy"].mean()
    assert set(by_name.index) == set(names)
    assert by_name.drop("balanced").min() > 0.93


@pytest.mark.parametrize(
    ("data", "train", "message"),
    [
        (
            "diabetes",
            {"sampling": "balanced"},
            "must be shuffled or hard for regression, got 'balanced'",
        ),
        ("iris", {"sampling": "even"}, "must be the name of a sampling, got 'even'"),
        (
            "iris",
            {"sampling": {"name": "hard", "floor": 2}},
            "must be a number >= 0 and <= 1, got 2",
        ),
        ("iris", {"batch_size": 0}, "must be a whole number >= 1 or all, got 0"),
        ("iris", {"batch_size": 12.5}, "must be a whole number >= 1 or all, got 12.5"),
        ("iris", {"batch_size": "lots"}, "must be a whole number >= 1 or all, got 'lots'"),
    ],
)
def test_messages(tmp_path: Path, data: str, train: dict, message: str) -> None:
    with pytest.raises(LaneworkError, match=message):
        lanework.Study(data=data, train=train).plan()


def test_a_batch_larger_than_the_training_part_is_told() -> None:
    plan = lanework.Study(data="iris", train={"batch_size": 500}).plan()
    assert "Warning: train.batch_size 500 is more than the 105 training samples" in plan.text()
