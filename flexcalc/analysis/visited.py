"""What a model gets wrong where it has gone itself, and what energy its dynamics gains."""

from __future__ import annotations

import numpy as np


def evenly(count: int, most: int) -> np.ndarray:
    """Indices of at most `most` of `count` frames, evenly from the first to the last."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.round(np.linspace(0, count - 1, most)).astype(int))


def force_errors(predicted: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Root mean square over all components, and the largest length of an atom's error vector.

    Args:
        predicted, reference: forces (frames, atoms, 3) in any unit, at least one frame.

    Returns:
        Both in that unit.
    """
    error = predicted - reference
    return float(np.sqrt((error**2).mean())), float(np.linalg.norm(error, axis=2).max())


def slopes(times: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """Drift (runs,) of energies: the slope of the straight line of least squares.

    Args:
        times: (records,).
        energies: (records, runs).
    """
    centred = times - times.mean()
    return (centred @ (energies - energies.mean(axis=0))) / (centred**2).sum()
