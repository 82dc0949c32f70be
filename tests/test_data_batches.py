"""Batch order: a pure function, every sample once per epoch, short batches padded with ~index."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanework.data import batch_indices
from lanework.errors import DataError


@given(
    num_samples=st.integers(1, 60),
    size=st.integers(1, 60),
    seed=st.integers(-5, 2**40),
    epoch=st.integers(0, 4),
)
def test_each_epoch_counts_every_sample_exactly_once(num_samples, size, seed, epoch):
    size = min(size, num_samples)
    steps = -(-num_samples // size)
    batches = batch_indices(num_samples, size, seed=seed, first_step=epoch * steps, num_steps=steps)
    assert batches.dtype == np.int32
    assert batches.shape == (steps, size)
    counted = batches[batches >= 0]
    assert sorted(counted.tolist()) == list(range(num_samples))
    padding = ~batches[batches < 0]
    assert padding.tolist() == batches.ravel()[: len(padding)].tolist()
    assert np.all(batches[:-1] >= 0)


@given(cuts=st.lists(st.integers(0, 40), min_size=1, max_size=4))
def test_any_cut_of_the_stream_gives_the_same_batches(cuts):
    whole = batch_indices(13, 4, seed=3, first_step=0, num_steps=40)
    marks = [0, *sorted(cuts), 40]
    pieces = [
        batch_indices(13, 4, seed=3, first_step=a, num_steps=b - a)
        for a, b in itertools.pairwise(marks)
    ]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_seeds_and_epochs_differ_and_repeat():
    first = batch_indices(100, 10, seed=1, first_step=0, num_steps=20)
    again = batch_indices(100, 10, seed=1, first_step=0, num_steps=20)
    other = batch_indices(100, 10, seed=2, first_step=0, num_steps=20)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first[:10] != first[10:]).any()


@pytest.mark.parametrize("size", [0, 11])
def test_batch_size_out_of_range_is_said(size):
    with pytest.raises(
        DataError, match=r"batch_size: must lie between 1 and .* got .* for 10 samp"
    ):
        batch_indices(10, size, seed=0, first_step=0, num_steps=1)


def test_negative_steps_are_refused():
    with pytest.raises(DataError, match=r"must not be negative, got -1 and 1"):
        batch_indices(10, 2, seed=0, first_step=-1, num_steps=1)
