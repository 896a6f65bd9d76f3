"""How far the deviation of a committee tells the errors of its forces."""

from __future__ import annotations

import numpy as np

LATEST_ROUNDS = 3
"""Rounds whose frames give the scale: the ratio changes as the training set grows."""
LARGE = 2.0
"""Multiple of the force target beyond which an error is large."""
FACTOR = 2.0
"""Factor within which an error counts as predicted."""
SMALLEST = 1e-12
"""Deviation by which an error is divided at least."""


def deviation_scale(rounds: np.ndarray, deviations: np.ndarray, errors: np.ndarray) -> float:
    """Factor from a deviation to the error that it lets expect: the median of their ratios.

    A median, because a few frames with large errors would dominate a root mean square.

    Args:
        rounds: (frames,) of the learning; only the latest ones count.
        deviations, errors: (frames,) in one unit.

    Returns:
        The factor; 1 without frames.
    """
    if not len(rounds):
        return 1.0
    latest = np.isin(rounds, np.unique(rounds)[-LATEST_ROUNDS:])
    return float(np.median(errors[latest] / np.maximum(deviations[latest], SMALLEST)))


def confident_half_large_errors(
    predicted: np.ndarray, errors: np.ndarray, target: float
) -> float | None:
    """Share of large errors in the half of the frames with the lowest predicted errors.

    Args:
        predicted, errors: (frames,) in one unit.
        target: in that unit; an error beyond `LARGE` times it is large.

    Returns:
        The share; None of fewer than two frames.
    """
    lowest = np.argsort(predicted, kind="stable")[: len(predicted) // 2]
    return float((errors[lowest] > LARGE * target).mean()) if len(lowest) else None


def share_within_factor(predicted: np.ndarray, errors: np.ndarray) -> float:
    """Share of errors (frames,) that differ from the predicted ones by at most `FACTOR`."""
    within = (errors <= FACTOR * predicted) & (predicted <= FACTOR * errors)
    return float(within.mean())
