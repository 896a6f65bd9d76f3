"""The dot-product kernel between environments and sparse points.

Source: Bartok, Kondor, Csanyi, Phys. Rev. B 87, 184115 (2013), doi:10.1103/PhysRevB.87.184115,
equation 36; QUIP 0.10.3, src/GAP/gp_predict.F90 (gpCoordinates_Predict).
"""

from __future__ import annotations

import numpy as np

from flexcalc.models.gap.soap import Environments


class DotProduct:
    """The energies of atoms, sum_s a_s (p . p_s)^zeta.

    Args:
        sparse: (points, components) sparse points, as QUIP has them.
        weights: (points,) in eV, with the factor delta^2.
        zeta: the power.
        environments: whose features meet the sparse points.
    """

    def __init__(
        self,
        sparse: np.ndarray,
        weights: np.ndarray,
        zeta: float,
        environments: Environments,
    ):
        soap = environments.soap
        self._sparse = sparse[:, environments.columns] * environments.weights
        self._shared = soap.covariance_sigma0 * sparse[:, -1]
        self._weights, self._zeta, self._normalise = weights, zeta, soap.normalise

    @property
    def points(self) -> int:
        """Number of sparse points."""
        return len(self._sparse)

    def __call__(
        self, features: np.ndarray, lengths: np.ndarray, slopes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Energies, and their derivatives.

        Args:
            features: (environments, features).
            lengths: (environments,) of their power spectra.
            slopes: (environments, features), where to put the derivatives of the energies by the
                features, except those by the lengths.

        Returns:
            energies (environments,) in eV, and what their derivatives by the logarithms of the
            lengths are (environments,).
        """
        products = product(features, self._sparse.T)
        if self._normalise:
            products /= lengths[:, None]
        overlaps = products + self._shared
        powers = power(overlaps, self._zeta - 1.0)
        powers *= self._weights
        energies = np.einsum("es,es->e", powers, overlaps)
        powers *= self._zeta
        if not self._normalise:
            product(powers, self._sparse, out=slopes)
            return energies, np.zeros(len(features))
        shrinking = -np.einsum("es,es->e", powers, products)
        powers /= lengths[:, None]
        product(powers, self._sparse, out=slopes)
        return energies, shrinking


def product(rows: np.ndarray, matrix: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """rows @ matrix, by the same routine for one row as for many.

    NumPy would multiply a single row as a vector, and the sum over sparse points, whose weights
    are thousands of eV and nearly cancel, shows in which order a product was added up.
    """
    if len(rows) != 1:
        return np.matmul(rows, matrix, out=out)
    twice = np.matmul(np.repeat(rows, 2, axis=0), matrix)[:1]
    if out is None:
        return twice
    out[:] = twice
    return out


def power(values: np.ndarray, exponent: float) -> np.ndarray:
    """A power of an array, by products if the exponent is an integer."""
    whole = round(exponent)
    if whole != exponent or not 0 <= whole <= 16:
        return values**exponent
    result = np.ones_like(values)
    for _ in range(whole):
        result *= values
    return result
