"""A metric for the descriptor, learned from how the energy of a first model depends on it.

A kernel on inverse distances treats all pairs of atoms alike. The average outer product of the
energy's gradients with respect to the features, M = <g g^T>, says along which combinations of
features the energy changes; the covariance C of the features says along which the molecule
moves. Distances are measured with the sum of M^(1/4) and C^(-1/4), each of unit norm.

Sources: Radhakrishnan et al., Science 383, 1461 (2024), doi:10.1126/science.adi5639 (average
gradient outer product). The square root of the inverse distance, the powers and the sum were
chosen here among some 40 forms, by errors on glycine (GFN2-xTB, 500 K, 200 to 300 points). On
three further sets of glycine, not used for that, the force RMSE falls by 23 to 25 %; no other
molecule has been measured.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flexcalc.errors import InputError
from flexcalc.models.gdml.descriptor import InverseDistances, RootDistances

POWER = 0.25
"""Power of M and of the inverse of C."""
RIDGE = 1e-3
"""Share of the mean eigenvalue that is added to all of them, so that no feature is lost."""

FirstModel = Callable[[np.ndarray], Callable[[np.ndarray], np.ndarray]]
"""Takes a transform to a trained model's map from features (batch, size) to -dE/dy."""


def learn_metric(
    base: InverseDistances, positions: np.ndarray, permutations: np.ndarray, fit: FirstModel
) -> np.ndarray:
    """The transform T (size, size) for `RootDistances`.

    Args:
        base: the inverse distances.
        positions: (frames, atoms, 3) in angstrom, over which the gradients are averaged.
        permutations: (group, atoms) symmetries of the model, which T will commute with.
        fit: trains a first model in the metric it is given.

    Raises:
        InputError: the geometries do not differ, so there is nothing to learn from.
    """
    if len(positions) < 2 or np.ptp(base.linearise(positions).features, axis=0).max() == 0.0:
        raise InputError(
            f"a learned metric needs training points that differ, got {len(positions)} alike; "
            'add points or set metric = "plain"'
        )
    order = base.relabelled(permutations)
    roots = np.sqrt(base.linearise(positions).features)
    spread = _symmetrised(np.cov(roots.T), order)
    # To begin with, each feature counts by the root of its spread.
    least = RIDGE * np.diag(spread).mean()
    first = _scaled(np.diag(np.maximum(np.diag(spread), least) ** -0.25), base, roots)
    slopes = fit(first)(RootDistances(base, first).linearise(positions).features) @ first
    outer = _symmetrised(slopes.T @ slopes / len(slopes), order)
    return _scaled(_power(outer, POWER) + _power(spread, -POWER), base, roots)


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """Power of a positive matrix (size, size), ridge included, of unit norm."""
    values, vectors = np.linalg.eigh(matrix)
    values = np.maximum(values, 0.0) + RIDGE * values.mean()
    power = (vectors * values**exponent) @ vectors.T
    return power / np.linalg.norm(power)


def _symmetrised(matrix: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Average of a matrix (size, size) over relabellings of the features (group, size)."""
    return np.mean([matrix[np.ix_(row, row)] for row in order], axis=0)


def _scaled(transform: np.ndarray, base: InverseDistances, roots: np.ndarray) -> np.ndarray:
    """The transform times the number that gives y the spread of x; sigma keeps its meaning."""
    plain = np.var(roots**2, axis=0).sum()
    return transform * np.sqrt(plain / np.var(roots @ transform, axis=0).sum())
