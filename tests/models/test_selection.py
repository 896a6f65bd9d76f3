"""Selection of training points keeps the distribution, and is decided by its generator."""

import numpy as np
import pytest

from flexcalc.errors import InputError, ShapeError
from flexcalc.training.selection import random, stratified


def test_a_stratified_choice_has_the_distribution_of_the_whole(rng):
    """Each bin gives its share, rounded up, less its part of the surplus.

    200 of evenly spread energies make six bins (width 2 * 0.5 / 200**(1/3) of the range) that
    owe 33.3 points each; a plain random choice would scatter by 5.3 around that.
    """
    energies = rng.uniform(size=20_000)
    for _ in range(5):
        counts, _ = np.histogram(energies[stratified(energies, 200, rng)], bins=6, range=(0, 1))
        assert np.abs(counts - 200 / 6).max() < 4


def test_the_ends_are_always_included(rng):
    """A single outlier is a bin of its own."""
    energies = np.concatenate([rng.normal(size=5000), [7.0]])
    for _ in range(10):
        assert 5000 in stratified(energies, 50, rng)


@pytest.mark.parametrize("select", [stratified, random])
@pytest.mark.parametrize("points", [1, 2, 3, 10, 199, 200])
def test_as_many_as_asked_for_ascending_and_different(select, points, rng):
    energies = rng.normal(size=200)
    chosen = select(energies, points, rng)
    assert len(chosen) == points
    assert (np.diff(chosen) > 0).all()
    assert chosen[0] >= 0
    assert chosen[-1] < 200


@pytest.mark.parametrize("select", [stratified, random])
def test_the_generator_decides(select):
    energies = np.random.default_rng(1).normal(size=500)
    one, same, other = (select(energies, 50, np.random.default_rng(seed)) for seed in (2, 2, 3))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    "energies",
    [
        np.zeros(100),
        np.repeat([0.0, 1.0], 50),
        np.concatenate([np.zeros(99), [1e6]]),
        np.concatenate([np.zeros(60), np.arange(40.0)]),
    ],
)
@pytest.mark.parametrize("points", [1, 5, 50, 99, 100])
def test_degenerate_energies_are_no_trouble(energies, points, rng):
    chosen = stratified(energies, points, rng)
    assert len(np.unique(chosen)) == points


@pytest.mark.parametrize("select", [stratified, random])
@pytest.mark.parametrize("points", [0, -1, 11])
def test_more_points_than_frames_are_refused(select, points, rng):
    with pytest.raises(InputError, match="between 1 and 10"):
        select(np.arange(10.0), points, rng)


def test_energies_that_are_not_finite_are_refused(rng):
    with pytest.raises(ShapeError, match="finite"):
        stratified([0.0, np.nan], 1, rng)
