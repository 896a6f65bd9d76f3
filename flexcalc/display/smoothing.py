"""A smooth curve through points, to guide the eye."""

from __future__ import annotations

import numpy as np

FINE = 200
"""Points of the curve."""


def smooth(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A curve through points that does not overshoot them; the points where x does not ascend.

    As `scipy.interpolate.PchipInterpolator`, whose import takes longer than a plot.

    Args:
        x, y: (points,).

    Source: Fritsch and Butland, SIAM J. Sci. Stat. Comput. 5, 300 (1984).
    """
    if len(x) < 3 or np.any(np.diff(x) <= 0):
        return x, y
    step, slope = np.diff(x), np.diff(y) / np.diff(x)
    at_points = _derivatives(step, slope)
    fine = np.linspace(x[0], x[-1], FINE)
    left = np.clip(np.searchsorted(x, fine, side="right") - 1, 0, len(x) - 2)
    h = step[left]
    t = (fine - x[left]) / h
    # The cubic with the values and derivatives of both ends.
    curve = (
        (1 + 2 * t) * (1 - t) ** 2 * y[left]
        + t**2 * (3 - 2 * t) * y[left + 1]
        + h * t * (1 - t) ** 2 * at_points[left]
        - h * t**2 * (1 - t) * at_points[left + 1]
    )
    return fine, curve


def _derivatives(step: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Derivatives at the points (points,): a weighted harmonic mean, and zero at extrema."""
    before, after = slope[:-1], slope[1:]
    monotone = before * after > 0
    first, second = 2 * step[1:] + step[:-1], step[1:] + 2 * step[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (first + second) / (first / before + second / after)
    inner = np.where(monotone, mean, 0.0)
    ends = _at_end(*step[:2], *slope[:2]), _at_end(*step[:-3:-1], *slope[:-3:-1])
    return np.concatenate([[ends[0]], inner, [ends[1]]])


def _at_end(step: float, next_step: float, slope: float, next_slope: float) -> float:
    """The derivative at an end, of three points, limited so that the curve stays monotone."""
    found = ((2 * step + next_step) * slope - step * next_slope) / (step + next_step)
    if np.sign(found) != np.sign(slope):
        return 0.0
    if np.sign(slope) != np.sign(next_slope) and abs(found) > 3 * abs(slope):
        return 3 * slope
    return float(found)
