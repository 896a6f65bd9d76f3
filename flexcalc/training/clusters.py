"""Clusters of similar frames, by geometry and then by energy."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from flexcalc.dataset import Dataset
from flexcalc.geometry.graph import pair_lengths

GEOMETRIES, ENERGIES = 10, 5
"""Clusters by geometry, and of each by energy."""

MAX_LINKED = 4000
"""Frames that are linked with each other; their pairs take 64 MB, which grow as the square."""

MAX_SWEEPS = 1000
"""Bound on the sweeps of k-means, which in practice settle in tens."""


def cluster(data: Dataset, rng: Generator) -> np.ndarray:
    """Group frames by Ward's method on their pair distances, then each group by energy.

    Source: the agglomerative clustering and k-means of Fonseca, Poltavsky,
    Vassilev-Galindo and Tkatchenko, J. Chem. Phys. 154, 124102 (2021), arXiv:2103.01674.

    Args:
        data: frames; without energies, the groups by geometry are all.
        rng: draws the frames that are linked where there are more than MAX_LINKED.

    Returns:
        cluster of each frame (frames,), numbered from 0 without gaps.

    """
    by_geometry = ward(pair_distances(data.positions), GEOMETRIES, rng)
    if data.energies is None:
        return by_geometry
    by_energy = np.zeros_like(by_geometry)
    for group in np.unique(by_geometry):
        inside = by_geometry == group
        by_energy[inside] = nearest_means(data.energies[inside], ENERGIES)
    return _numbered(by_geometry * ENERGIES + by_energy)


def pair_distances(positions: np.ndarray) -> np.ndarray:
    """Distances (frames, pairs) in angstrom of positions (frames, atoms, 3), each pair once."""
    i, j = np.triu_indices(positions.shape[1], 1)
    return pair_lengths(positions, i, j)


def ward(features: np.ndarray, count: int, rng: Generator) -> np.ndarray:
    """Agglomerative clustering that adds the least variance with every union.

    Linking takes memory for every pair of frames. Of more than MAX_LINKED frames, a random
    subset of that size is linked and the others join the cluster with the nearest mean.

    Source: Ward, J. Am. Stat. Assoc. 58, 236 (1963), doi:10.1080/01621459.1963.10500845.

    Args:
        features: (frames, features), compared by their Euclidean distance.
        count: clusters wanted; like frames may leave fewer.
        rng: draws the subset.

    Returns:
        cluster of each frame (frames,), numbered from 0 without gaps.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import cdist

    frames = len(features)
    if frames <= count:
        return np.arange(frames)
    if frames <= MAX_LINKED:
        return _numbered(fcluster(linkage(features, "ward"), count, "maxclust"))
    linked = np.sort(rng.choice(frames, MAX_LINKED, replace=False))
    found = ward(features[linked], count, rng)
    means = np.array([features[linked][found == index].mean(axis=0) for index in np.unique(found)])
    clusters = cdist(features, means).argmin(axis=1)
    clusters[linked] = found
    return clusters


def nearest_means(values: np.ndarray, count: int) -> np.ndarray:
    """k-means of numbers, started at evenly spaced quantiles, so deterministic.

    Source: Lloyd, IEEE Trans. Inf. Theory 28, 129 (1982), doi:10.1109/TIT.1982.1056489.

    Args:
        values: (frames,).
        count: clusters wanted; there may be fewer where values are alike.

    Returns:
        cluster of each value (frames,), numbered from 0 without gaps, in ascending order.
    """
    means = np.unique(np.quantile(values, (np.arange(count) + 0.5) / count))
    clusters = np.full(len(values), -1)
    for _ in range(MAX_SWEEPS):
        before = clusters
        clusters = _numbered(np.searchsorted((means[1:] + means[:-1]) / 2, values))
        if np.array_equal(clusters, before):
            break
        means = np.array([values[clusters == index].mean() for index in range(clusters.max() + 1)])
    return clusters


def shares(total: int, weights: ArrayLike, least: ArrayLike, most: ArrayLike) -> np.ndarray:
    """Distribute integers by weight, within bounds, by the largest-remainder method.

    Args:
        total: how many there are, between the sums of `least` and of `most`.
        weights: (clusters,), not negative.
        least, most: bounds of each share, (clusters,) or one for all.

    Returns:
        (clusters,) whole numbers that sum to the total.
    """
    weights = np.asarray(weights, dtype=float)
    least, most = (np.broadcast_to(bound, weights.shape) for bound in (least, most))
    # A weight of nothing still has to take what the others have no room for.
    weights = np.maximum(weights / weights.max(), 1e-12) if weights.max() > 0 else most + 1.0

    def at(scale: float) -> np.ndarray:
        return np.clip(scale * weights, least, most)

    # The sum of bounded shares is piecewise linear in the scale, with kinks at the bounds.
    kinks = np.unique(np.concatenate([[0.0], least / weights, most / weights]))
    exact = at(float(np.interp(total, [at(kink).sum() for kink in kinks], kinks))).round(9)
    whole = np.floor(exact).astype(int)
    remainders = np.where(whole < most, exact - whole, -1.0)
    whole[np.argsort(-remainders, kind="stable")[: total - whole.sum()]] += 1
    return whole


def _numbered(clusters: np.ndarray) -> np.ndarray:
    return np.unique(clusters, return_inverse=True)[1]
