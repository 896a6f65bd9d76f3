"""Selection of training points keeps the distribution, and is decided by its generator."""

from dataclasses import replace

import numpy as np
import pytest

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.training.clusters import cluster, pair_distances
from flexcalc.training.selection import SELECTIONS, choose


def frames(energies, positions=None):
    """A dataset of diatomics, stretched at random where no positions are given."""
    energies = np.asarray(energies, dtype=float)
    if positions is None:
        positions = np.zeros((len(energies), 2, 3))
        positions[:, 1, 0] = np.random.default_rng(0).uniform(1, 2, len(energies))
    numbers = np.ones(positions.shape[1], dtype=int)
    return Dataset(numbers, positions, energies, np.zeros_like(positions))


def stratified(energies, points, rng):
    return choose("stratified", frames(energies), points, rng)


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


@pytest.mark.parametrize("kind", SELECTIONS)
@pytest.mark.parametrize("points", [1, 2, 3, 10, 199, 200])
def test_as_many_as_asked_for_ascending_and_different(kind, points, rng):
    energies = rng.normal(size=200)
    chosen = choose(kind, frames(energies), points, rng)
    assert len(chosen) == points
    assert (np.diff(chosen) > 0).all()
    assert chosen[0] >= 0
    assert chosen[-1] < 200


@pytest.mark.parametrize("kind", SELECTIONS)
def test_the_generator_decides(kind):
    energies = np.random.default_rng(1).normal(size=500)
    one, same, other = (
        choose(kind, frames(energies), 50, np.random.default_rng(seed)) for seed in (2, 2, 3)
    )
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
@pytest.mark.parametrize("kind", SELECTIONS)
@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("points", [1, 5, 50, 99, 100])
def test_degenerate_energies_and_geometries_are_no_trouble(energies, kind, alike, points, rng):
    data = frames(energies, np.zeros((100, 2, 3)) if alike else None)
    chosen = choose(kind, data, points, rng)
    assert len(np.unique(chosen)) == points


@pytest.mark.parametrize("kind", SELECTIONS)
@pytest.mark.parametrize("points", [0, -1, 11])
def test_more_points_than_frames_are_refused(kind, points, rng):
    with pytest.raises(InputError, match="between 1 and 10"):
        choose(kind, frames(np.arange(10.0)), points, rng)


@pytest.mark.parametrize("kind", ["stratified", "clusters"])
def test_frames_without_energies_are_chosen_by_what_they_have(kind, ethanol):
    bare = replace(ethanol, energies=None)
    chosen = choose(kind, bare, 20, np.random.default_rng(2))
    assert len(np.unique(chosen)) == 20
    if kind == "stratified":  # by nothing
        same = choose("random", bare, 20, np.random.default_rng(2))
        np.testing.assert_array_equal(chosen, same)


def test_a_selection_nobody_knows_is_refused(rng):
    with pytest.raises(InputError, match="one of stratified, random, farthest, clusters, got 'be"):
        choose("best", frames([1.0]), 1, rng)


def test_a_dataset_is_left_as_it_was(ethanol, rng):
    before = ethanol.sha256()
    for kind in SELECTIONS:
        choose(kind, ethanol, 20, rng)
    assert ethanol.sha256() == before


# ---------------------------------------------------------------- farthest


def test_the_next_frame_is_the_farthest_from_those_taken(ethanol):
    """By hand, from all distances: the first is drawn, each other has the farthest nearest."""
    features = pair_distances(ethanol.positions)
    apart = np.linalg.norm(features[:, None] - features, axis=-1)
    taken = [int(np.random.default_rng(4).integers(len(ethanol)))]
    for _ in range(9):
        taken.append(int(apart[taken].min(axis=0).argmax()))
    chosen = choose("farthest", ethanol, 10, np.random.default_rng(4))
    assert chosen.tolist() == sorted(taken)


def test_every_frame_left_is_nearer_than_those_taken_are_to_each_other(ethanol, rng):
    """The property that defines the choice: covering radius <= least separation."""
    chosen = choose("farthest", ethanol, 20, rng)
    features = pair_distances(ethanol.positions)
    apart = np.linalg.norm(features[:, None] - features[None, chosen], axis=-1)
    separation = (apart[chosen] + 1e9 * np.eye(20)).min()
    assert apart.min(axis=1).max() <= separation


def test_copies_of_a_frame_are_taken_last(ethanol, rng):
    copies = ethanol[np.repeat(np.arange(10), 5)]
    assert len(set(choose("farthest", copies, 10, rng) // 5)) == 10


# ---------------------------------------------------------------- clusters


def test_every_cluster_gives_its_share(toy, rng):
    """Within one of the exact share, and at least one frame."""
    data = toy.labelled(*toy.ethanol_frames(300, rng))
    labels = cluster(data, np.random.default_rng(0))
    chosen = choose("clusters", data, 100, np.random.default_rng(0))
    given = np.bincount(labels[chosen], minlength=labels.max() + 1)
    there = np.bincount(labels)
    assert given.min() >= 1
    large = there >= 6
    assert (given[large] <= np.ceil(there[large] / 3)).all()
    assert np.abs(given - there / 3).max() < 2
