"""Choice of the geometries to label next: uncertain, and different from each other."""

from __future__ import annotations

import numpy as np

POOL = 5
"""Candidates for each geometry that is chosen: the most uncertain ones."""


def choose_batch(
    features: np.ndarray, uncertainties: np.ndarray, known: np.ndarray, count: int
) -> np.ndarray:
    """Choose candidates that are uncertain and far from each other and from known points.

    The most uncertain candidates make a pool, from which the one farthest from all known and
    chosen points is taken repeatedly (maximum-distance selection).

    Source: Holzmueller, Zaverkin, Kaestner and Steinwart, J. Mach. Learn. Res. 24, 164 (2023),
    arXiv:2203.09410.

    Args:
        features: (candidates, size).
        uncertainties: (candidates,), larger where a label is of more use.
        known: (known, size), features of what is labelled already.
        count: how many to choose; fewer where there are fewer candidates.

    Returns:
        Indices (chosen,) in the order in which they were chosen.
    """
    order = np.argsort(-uncertainties, kind="stable")
    pool = order[: POOL * count]
    nearest = np.full(len(pool), np.inf)
    for point in known:
        nearest = np.minimum(nearest, _squares(features[pool], point))
    taken: list[int] = []
    while len(taken) < min(count, len(pool)):
        # With nothing known the most uncertain candidate comes first.
        best = int(np.argmax(nearest))
        taken.append(best)
        nearest = np.minimum(nearest, _squares(features[pool], features[pool[best]]))
        nearest[taken] = -1.0
    return pool[taken]


def _squares(features: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Squared distances (rows,) of features (rows, size) from a point (size,)."""
    apart = features - point
    return np.einsum("rs,rs->r", apart, apart)
