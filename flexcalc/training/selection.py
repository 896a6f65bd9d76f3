"""Which frames of a dataset to train on."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from flexcalc.errors import InputError, ShapeError


def stratified(energies: ArrayLike, points: int, rng: Generator) -> np.ndarray:
    """Draw frames whose energies are distributed as in the whole set, its ends included.

    The energies are sorted into bins of the Freedman-Diaconis width for the number asked for,
    at most one bin for every two points; each bin gives its share, at least one frame, and its
    frames are drawn at random.

    Source: Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021); Chmiela et al.,
    arXiv:1912.06401.

    Args:
        energies: (frames,) in any unit.
        points: how many to draw.
        rng: source of the draws; the same state gives the same frames.

    Returns:
        ascending indices (points,), without repeats.

    Raises:
        InputError: more points than frames, or none.
        ShapeError: energies are not a row of finite numbers.
    """
    energies = np.asarray(energies, dtype=float)
    if energies.ndim != 1 or not np.isfinite(energies).all():
        raise ShapeError(f"expected finite energies of shape (frames,), got {energies.shape}")
    _check_points(len(energies), points)
    bin_of = _bins(energies, points)
    _, bin_of, there = np.unique(bin_of, return_inverse=True, return_counts=True)
    quotas = _quotas(there, points, rng)
    drawn = [
        rng.choice(np.flatnonzero(bin_of == index), quota, replace=False)
        for index, quota in enumerate(quotas)
    ]
    return np.sort(np.concatenate(drawn))


def random(energies: ArrayLike, points: int, rng: Generator) -> np.ndarray:
    """Draw frames at random, all alike; for the arguments see `stratified`."""
    frames = len(np.asarray(energies))
    _check_points(frames, points)
    return np.sort(rng.choice(frames, points, replace=False))


def _check_points(frames: int, points: int) -> None:
    if not 1 <= points <= frames:
        raise InputError(
            f"expected between 1 and {frames} training points, the frames there are, got {points}"
        )


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
