"""Correlation of ranks."""

from __future__ import annotations

import numpy as np


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Spearman's correlation of two series (points,); None where one does not vary.

    Equal values share their mean rank. (Importing `scipy.stats` takes longer than a short run.)
    """
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places.ravel()]
