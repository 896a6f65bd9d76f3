"""Force errors of a model along its own trajectories, and energy drift of its dynamics."""

from __future__ import annotations

import numpy as np


def evenly(count: int, most: int) -> np.ndarray:
    """Evenly spaced indices of at most `most` of `count` frames, including first and last."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.round(np.linspace(0, count - 1, most)).astype(int))


def force_errors(predicted: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Root mean square over all components, and maximum norm of an atom's error vector.

    Args:
        predicted, reference: forces (frames, atoms, 3) in any unit, at least one frame.

    Returns:
        Both in that unit.
    """
    error = predicted - reference
    return float(np.sqrt((error**2).mean())), float(np.linalg.norm(error, axis=2).max())


def slopes(times: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """Drift (runs,) of energies: the slope of a linear least-squares fit.

    Args:
        times: (records,).
        energies: (records, runs).
    """
    centred = times - times.mean()
    return (centred @ (energies - energies.mean(axis=0))) / (centred**2).sum()
