"""Selection of training points from a dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, cast

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.training.clusters import cluster, pair_distances, shares

Selection = Literal["stratified", "random", "farthest", "clusters"]
"""Names of the ways to choose."""


def choose(kind: str, data: Dataset, points: int, rng: Generator) -> np.ndarray:
    """Choose training points.

    Args:
        kind: a name in SELECTIONS.
        data: frames; energies are of use, but need not be there.
        points: how many to choose.
        rng: source of the draws; the same state gives the same frames.

    Returns:
        ascending indices (points,), without repeats.

    Raises:
        InputError: no selection of that name; more points than frames, or none.
    """
    if kind not in SELECTIONS:
        raise InputError(f"selection: expected one of {', '.join(SELECTIONS)}, got {kind!r}")
    if not 1 <= points <= len(data):
        raise InputError(
            f"expected between 1 and {len(data)} training points, the frames there are, "
            f"got {points}"
        )
    return np.sort(SELECTIONS[cast(Selection, kind)](data, points, rng))


def _stratified(data: Dataset, points: int, rng: Generator) -> np.ndarray:
    """Draw frames whose energies are distributed as in the complete set, including its extremes.

    Without energies they are drawn at random.

    The energies are sorted into bins of the Freedman-Diaconis width for the number asked for,
    at most one bin for every two points; each bin gives its share, at least one frame, and its
    frames are drawn at random.

    Source: Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021); Chmiela et al.,
    arXiv:1912.06401.
    """
    if data.energies is None:
        return _random(data, points, rng)
    bin_of = _bins(data.energies, points)
    _, bin_of, there = np.unique(bin_of, return_inverse=True, return_counts=True)
    return _drawn(bin_of, _quotas(there, points, rng), rng)


def _random(data: Dataset, points: int, rng: Generator) -> np.ndarray:
    """Draw frames uniformly."""
    return rng.choice(len(data), points, replace=False)


def _farthest(data: Dataset, points: int, rng: Generator) -> np.ndarray:
    """Begin with a frame drawn at random; then always take the one farthest from those taken.

    Frames are as far apart as their rows of pair distances are. Only the distance of each
    frame to the nearest one taken is kept, so memory does not grow with the points.

    Source: Eldar et al., IEEE Trans. Image Process. 6, 1305 (1997), doi:10.1109/83.623193.
    """
    features = pair_distances(data.positions)
    taken = [int(rng.integers(len(data)))]
    nearest = np.full(len(data), np.inf)
    while len(taken) < points:
        np.minimum(nearest, _squares(features, taken[-1]), out=nearest)
        nearest[taken[-1]] = -1.0  # not even a copy of it is farther than itself
        taken.append(int(nearest.argmax()))
    return np.array(taken)


def _squares(features: np.ndarray, frame: int) -> np.ndarray:
    """Squared distances of all rows (frames, features) from one of them."""
    apart = features - features[frame]
    return np.einsum("fd,fd->f", apart, apart)


def _clusters(data: Dataset, points: int, rng: Generator) -> np.ndarray:
    """Draw frames from clusters of geometry and energy, each giving its share, at least one.

    Where there are more clusters than points, the largest give one each.

    Source: see `flexcalc.training.clusters.cluster`.
    """
    cluster_of = cluster(data, rng)
    there = np.bincount(cluster_of)
    least = 1 if points >= len(there) else 0
    return _drawn(cluster_of, shares(points, there, least, there), rng)


SELECTIONS: Mapping[Selection, Callable[[Dataset, int, Generator], np.ndarray]] = {
    "stratified": _stratified,
    "random": _random,
    "farthest": _farthest,
    "clusters": _clusters,
}
"""Ways to choose, by their names."""


def _drawn(group_of: np.ndarray, quotas: np.ndarray, rng: Generator) -> np.ndarray:
    """Indices of frames drawn at random, a given number from each group."""
    drawn = [
        rng.choice(np.flatnonzero(group_of == index), quota, replace=False)
        for index, quota in enumerate(quotas)
    ]
    return np.concatenate(drawn)


def _bins(energies: np.ndarray, points: int) -> np.ndarray:
    """Bin of each energy; Freedman and Diaconis, Probab. Theory Relat. Fields 57, 453 (1981)."""
    lower, upper = np.percentile(energies, [25, 75])
    span = float(np.ptp(energies))
    width = 2.0 * (upper - lower) / np.cbrt(points)
    wanted = np.ceil(span / width) if width > 0 else 1
    bins = int(max(1, min(wanted, points // 2)))
    edges = np.linspace(energies.min(), energies.max(), bins, endpoint=False)
    return np.digitize(energies, edges)


def _quotas(there: np.ndarray, points: int, rng: Generator) -> np.ndarray:
    """How many to draw from each bin of `there` frames, `points` in all.

    Rounding up gives too many, or too few where bins run out; the difference is settled one
    by one at random, weighted by what a bin has beyond its last frame, so none is emptied.
    """
    quotas = np.minimum(np.ceil(there / there.sum() * points).astype(int), there)
    while quotas.sum() != points:
        surplus = quotas.sum() > points
        weights = np.maximum(quotas - 1, 0) if surplus else (there - quotas) * np.maximum(quotas, 1)
        chosen = rng.choice(len(quotas), p=weights / weights.sum())
        quotas[chosen] += -1 if surplus else 1
    return quotas
