"""Choice of the geometries to label next: uncertain, different from each other, and typical."""

from __future__ import annotations

import numpy as np


def choose_batch(
    features: np.ndarray, uncertainties: np.ndarray, known: np.ndarray, count: int
) -> np.ndarray:
    """Choose candidates that stand for many others that are uncertain and far from known points.

    Candidates form clusters around the nearest known or chosen point. From the cluster with the
    largest sum of squared distances, each times the uncertainty, the candidate with the
    largest term is taken, repeatedly (largest-cluster maximum-distance selection). So a region that
    dynamics visits often is chosen from more often than one that it visits once.

    Source: Holzmueller, Zaverkin, Kaestner and Steinwart, J. Mach. Learn. Res. 24, 164 (2023),
    arXiv:2203.09410; there without uncertainties.

    Args:
        features: (candidates, size).
        uncertainties: (candidates,), larger where a label is of more use.
        known: (known, size), features of what is labelled already.
        count: how many to choose; fewer where there are fewer candidates.

    Returns:
        Indices (chosen,) in the order in which they were chosen.
    """
    nearest = np.full(len(features), np.inf)
    owner = np.zeros(len(features), dtype=int)

    def divide(number: int, point: np.ndarray) -> None:
        """Give candidates that a point is nearest to its cluster."""
        apart = features - point
        squares = np.einsum("rs,rs->r", apart, apart)
        owner[squares < nearest] = number
        np.minimum(nearest, squares, out=nearest)

    for number, point in enumerate(known):
        divide(number, point)
    free = np.ones(len(features), dtype=bool)
    taken: list[int] = []
    while len(taken) < min(count, len(features)):
        # With nothing known the most uncertain candidate comes first.
        terms = uncertainties * np.where(np.isfinite(nearest), nearest, 1.0)
        sizes = np.bincount(owner, terms * free)
        members = free & (owner == sizes.argmax())
        best = int(np.argmax(np.where(members if members.any() else free, terms, -1.0)))
        taken.append(best)
        free[best] = False
        divide(len(known) + len(taken), features[best])
    return np.array(taken, dtype=int)
