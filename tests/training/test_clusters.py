"""Clusters of frames: Ward's method, k-means of numbers, and whole shares."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flexcalc.training import clusters
from flexcalc.training.clusters import cluster, nearest_means, pair_distances, shares, ward


def variance_within(features, labels):
    return sum(
        ((features[labels == index] - features[labels == index].mean(axis=0)) ** 2).sum()
        for index in np.unique(labels)
    )


def ward_by_hand(features, count):
    """Unite, again and again, the two clusters whose union adds the least variance."""
    labels = np.arange(len(features))
    while len(np.unique(labels)) > count:
        pairs = itertools.combinations(np.unique(labels), 2)
        united = [np.where(labels == j, i, labels) for i, j in pairs]
        labels = min(united, key=lambda one: variance_within(features, one))
    return labels


def same_partition(one, other):
    return len(set(zip(one, other, strict=True))) == len(set(one)) == len(set(other))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_ward_unites_what_adds_the_least_variance(count, rng):
    features = rng.normal(size=(14, 3))
    assert same_partition(ward(features, count, rng), ward_by_hand(features, count))


def test_too_many_frames_to_link_join_the_nearest_cluster(monkeypatch, rng):
    """Three heaps far apart are found whichever frames are linked."""
    heap = np.arange(300) % 3
    features = 100.0 * heap[:, None] + rng.normal(size=(300, 2))
    monkeypatch.setattr(clusters, "MAX_LINKED", 40)
    assert same_partition(ward(features, 3, rng), heap)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_fewer_frames_than_clusters_are_one_each(frames, rng):
    assert sorted(ward(np.zeros((frames, 2)), 5, rng)) == list(range(frames))


def test_k_means_of_numbers_is_a_fixed_point_of_lloyd(rng):
    """Each value lies in the cluster whose mean is the nearest, in ascending order."""
    values = np.concatenate([rng.normal(size=200), rng.normal(10.0, 0.1, size=20)])
    labels = nearest_means(values, 5)
    means = np.array([values[labels == index].mean() for index in range(5)])
    assert (np.diff(means) > 0).all()
    assert np.array_equal(np.abs(values[:, None] - means).argmin(axis=1), labels)


def test_k_means_finds_heaps_and_leaves_like_values_together():
    values = np.array([0.0, 0.1, 5.0, 5.1, 9.0, 9.1])
    assert nearest_means(values, 3).tolist() == [0, 0, 1, 1, 2, 2]
    assert nearest_means(np.full(7, 3.0), 5).tolist() == [0] * 7


def test_frames_are_told_apart_by_geometry_and_then_by_energy(toy, rng):
    """Within a cluster of geometries, energies do not overlap between its parts."""
    data = toy.labelled(*toy.ethanol_frames(120, rng))
    labels = cluster(data, rng)
    by_geometry = ward(pair_distances(data.positions), clusters.GEOMETRIES, rng)
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    for group in np.unique(by_geometry):
        inside = by_geometry == group
        parts = np.unique(labels[inside])
        assert not set(parts) & set(labels[~inside])
        spans = sorted(
            (data.energies[labels == n].min(), data.energies[labels == n].max()) for n in parts
        )
        assert all(low[1] < high[0] for low, high in itertools.pairwise(spans))


def test_shares_by_hand():
    """7 by 5:3:2 are 3.5, 2.1 and 1.4; the half is rounded up."""
    assert shares(7, [5, 3, 2], 0, 9).tolist() == [4, 2, 1]
    assert shares(7, [5, 3, 2], 0, [2, 9, 9]).tolist() == [2, 3, 2]
    assert shares(7, [98, 1, 1], 1, 9).tolist() == [5, 1, 1]
    assert shares(5, [0, 0, 1], 0, 3).tolist() == [1, 1, 3]
    assert shares(4, [0, 0], 0, [1, 3]).tolist() == [1, 3]


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 3), st.integers(0, 9)), min_size=1),
    st.data(),
)
def test_shares_keep_their_sum_and_their_bounds(rows, data):
    weights, least, room = map(np.array, zip(*rows, strict=True))
    most = least + room
    total = data.draw(st.integers(int(least.sum()), int(most.sum())))
    found = shares(total, weights, least, most)
    assert found.sum() == total
    assert ((least <= found) & (found <= most)).all()
