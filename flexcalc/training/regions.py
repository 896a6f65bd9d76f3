"""Regions of configuration space for the local models of a mixture."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from flexcalc.training.clusters import ward

LEAST_WEIGHT = 1e-3
"""Weight beyond which a frame is of use to a region's model. Others cost it more than they are
worth: with three frames of cis, of a share just above the least, the force MAE of 100 points of
trans-azobenzene was 1.32 instead of 1.25 kcal/mol/A."""


def regions_of(features: np.ndarray, count: int, least: int, rng: Generator) -> np.ndarray:
    """Group frames into regions, none with too few frames for a model.

    Clusters of Ward's method; while the smallest one has too few frames, it joins the one whose
    union with it adds the least variance (`merged`).

    Args:
        features: (frames, features), compared by their Euclidean distance.
        count: most regions.
        least: fewest frames of one, where there are as many at all.
        rng: see `flexcalc.training.clusters.ward`.

    Returns:
        region of each frame (frames,), numbered from 0 without gaps.
    """
    return merged(ward(features, count, rng), features, least)


def merged(found: np.ndarray, features: np.ndarray, least: int) -> np.ndarray:
    """Regions (frames,) such that none has too few frames; arguments as for `regions_of`."""
    while True:
        populations = np.bincount(found)
        if len(populations) == 1 or populations.min() >= least:
            return found
        small = int(populations.argmin())
        means = np.stack(
            [features[found == index].mean(axis=0) for index in range(len(populations))]
        )
        # Ward's rise of the variance when two clusters become one.
        rise = np.square(means - means[small]).sum(axis=1) * populations * populations[small]
        rise /= populations + populations[small]
        rise[small] = np.inf
        found = np.where(found == small, int(rise.argmin()), found)
        found = np.unique(found, return_inverse=True)[1]


def with_neighbours(weights: np.ndarray, shares: np.ndarray, overlap: float) -> list[np.ndarray]:
    """The frames that each region's model is trained on; a frame may serve several.

    Args:
        weights: (frames, regions), zero where a region has no say.
        shares: (frames, regions), by which frames of little weight are ranked.
        overlap: frames of weights below LEAST_WEIGHT that are added, as a multiple of the others.

    Returns:
        ascending indices for each region.
    """
    chosen = []
    for weight, share in zip(weights.T, shares.T, strict=True):
        counts = weight > LEAST_WEIGHT
        inside, outside = np.flatnonzero(counts), np.flatnonzero(~counts)
        more = outside[np.argsort(-share[outside], kind="stable")][: round(overlap * len(inside))]
        chosen.append(np.sort(np.concatenate([inside, more])))
    return chosen
