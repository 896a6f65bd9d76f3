"""Predictions for training points by models that are trained without them.

The kernel matrix of some points is a part of that of all points. So it is made once, and for each
fold the rows and columns of the other points are solved: the models are exactly those that a
training without the fold gives, except that symmetry and descriptor come from all geometries.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flexcalc.errors import InputError
from flexcalc.models.gdml.engine import Engine
from flexcalc.models.gdml.exact import full_matrix
from flexcalc.models.gdml.kernel import Kernel
from flexcalc.models.gdml.solver import SINGULAR, available_bytes
from flexcalc.progress import Progress, silent

SQUARES = 3
"""Matrices of all points that are held at most: the whole one, a part of it, and its factor."""


def fits_into_memory(rows: int) -> bool:
    """Whether the kernel matrix of so many rows, and its parts, can be held."""
    available = available_bytes(Engine())
    return available is None or 8 * SQUARES * rows**2 <= available


class Folds:
    """Leaves out one fold of the training points after the other.

    Args:
        kernel: of all training points, for one sigma.
        folds: indices of the points of each fold; together all points, each once.
        progress: told the training points done.
    """

    def __init__(self, kernel: Kernel, folds: Sequence[np.ndarray], progress: Progress = silent):
        self.kernel, self.points, self.folds = kernel, kernel.points, folds
        side = (len(self.points), self.points.unknowns)
        self.matrix = full_matrix(kernel, progress).reshape(*side, *side)

    def predict(self, labels: np.ndarray, regularization: float) -> np.ndarray:
        """Predict every point from the points of the other folds.

        Args:
            labels: (points, unknowns, sets) from `TrainingPoints.labels`, several sets at once.
            regularization: lambda, added to the diagonal.

        Returns:
            predictions (points, unknowns, sets).

        Raises:
            InputError: the matrix is singular.
        """
        found = np.empty_like(labels)
        for fold in self.folds:
            others = np.setdiff1d(np.arange(len(labels)), fold)
            found[fold] = self._predict(fold, others, labels[others], regularization)
        return found

    def _predict(
        self, fold: np.ndarray, others: np.ndarray, labels: np.ndarray, regularization: float
    ) -> np.ndarray:
        unknowns, sets = labels.shape[1:]
        rows = len(others) * unknowns
        part = self.matrix[others][:, :, others].reshape(rows, rows)
        part[np.diag_indices(rows)] += self.points.noise(regularization)[others].ravel()
        ones = np.zeros((len(others), unknowns, 1))
        ones[:, -1] = self.points.energies
        wanted = np.concatenate([labels, ones], axis=2).reshape(rows, -1)
        solution = _solve(part, wanted)
        constants = np.zeros(sets)
        if self.points.energies:
            # As in `solver`: the coefficients of the energies add up to zero.
            sums = solution.reshape(len(others), unknowns, -1)[:, -1].sum(axis=0)
            constants = sums[:-1] / sums[-1]
        beta = solution[:, :-1] - constants * solution[:, -1:]
        across = self.matrix[fold][:, :, others].reshape(len(fold) * unknowns, rows)
        found = (across @ beta).reshape(len(fold), unknowns, sets)
        if self.points.energies:
            found[:, -1] += constants
        return found


def _solve(matrix: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Solve by Cholesky; by a pivoted factorisation where rounding made the matrix indefinite."""
    from scipy.linalg import LinAlgError, solve

    try:
        return solve(matrix, wanted, assume_a="pos")
    except LinAlgError:
        pass
    try:
        found = solve(matrix, wanted, assume_a="symmetric")
    except LinAlgError:
        raise InputError(SINGULAR) from None
    if not np.isfinite(found).all():
        raise InputError(SINGULAR)
    return found
