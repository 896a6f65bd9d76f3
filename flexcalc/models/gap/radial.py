"""The radial part of SOAP: overlaps of neighbour Gaussians with equispaced radial Gaussians.

Source: Bartok, Kondor, Csanyi, Phys. Rev. B 87, 184115 (2013), doi:10.1103/PhysRevB.87.184115,
equations 25 to 28; the grid and the orthogonalisation are those of QUIP 0.10.3
(src/GAP/descriptors.F90, soap_initialise).
"""

from __future__ import annotations

from math import ceil, erf, log, pi, sqrt

import numpy as np

LOST = 30.0
"""Maximum growth of rounding errors in the upward recursion of Bessel functions."""
DIGITS = 40.0
"""Exponent of what is left out of a continued fraction, 1e-17."""


class Radial:
    """Overlaps of a neighbour's gaussian with the radial grid, and what makes them orthonormal.

    Args:
        cutoff: in angstrom.
        atom_sigma: width of the gaussians in angstrom.
        n_max: of grid points.
        l_max: highest degree.
        error_exponent: the gaussians of neighbours at the cutoff reach the end of the grid at
            10 to minus this.

    Raises:
        numpy.linalg.LinAlgError: the gaussians of the grid are not independent.
    """

    def __init__(
        self, cutoff: float, atom_sigma: float, n_max: int, l_max: int, error_exponent: float
    ):
        self.l_max, self.n_max = l_max, n_max
        self.alpha = 0.5 / atom_sigma**2
        end = cutoff + atom_sigma * sqrt(2.0 * error_exponent * log(10.0))
        self.grid = np.arange(n_max) * (end / n_max)
        factor = np.linalg.cholesky(self._overlaps())
        alike = np.exp(-self.alpha * (self.grid[:, None] - self.grid) ** 2)
        self.transform = np.linalg.solve(alike, factor)
        """(n_max, n_max), from grid points to orthonormal functions."""
        self.centre = factor[0]
        """(n_max,) of a gaussian at the origin, in orthonormal functions."""
        # k_l / k_0, by which rounding grows, is about exp(l (l + 1) / 2 x).
        self._small = (l_max + 1) * (l_max + 2) / (2.0 * log(LOST))

    def __call__(self, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """exp(-alpha (r^2 + r_n^2)) i_l(2 alpha r r_n) and its derivative by r.

        Args:
            distances: (points,) in angstrom, none of them zero.

        Returns:
            two arrays (l_max + 1, n_max, points), the second per angstrom.
        """
        shape = (self.l_max + 2, self.n_max, len(distances))
        values = np.empty(shape)
        np.exp(-self.alpha * distances**2, out=values[0, 0])
        values[1:, 0] = 0.0  # at the first point of the grid, the origin
        self._bessel(distances, values[:, 1:])
        slopes = np.empty((self.l_max + 1, *shape[1:]))
        steps = (2.0 * self.alpha * self.grid)[:, None]
        inverse, slope = 1.0 / distances, -2.0 * self.alpha * distances
        for degree in range(self.l_max + 1):
            np.multiply(values[degree + 1], steps, out=slopes[degree])
            slopes[degree] += values[degree] * (slope + degree * inverse)
        return values[:-1], slopes

    def _bessel(self, distances: np.ndarray, out: np.ndarray) -> None:
        """The values at the rest of the grid, by the upward recursion where that is stable."""
        points = self.grid[1:, None]
        arguments = (2.0 * self.alpha * points) * distances
        inverse = 1.0 / arguments
        out[0] = np.exp(-self.alpha * (points - distances) ** 2)
        out[0] *= 0.5 * inverse
        mirrored = np.exp(-2.0 * arguments)
        before = out[0] * (1.0 + mirrored)
        out[0] *= 1.0 - mirrored
        for degree in range(self.l_max + 1):
            below = before if degree == 0 else out[degree - 1]
            np.multiply(out[degree], inverse, out=out[degree + 1])
            out[degree + 1] *= -(2 * degree + 1)
            out[degree + 1] += below
        small = np.nonzero(arguments < self._small)
        if len(small[0]):
            out[:, small[0], small[1]] = self._fractions(points[small[0], 0], distances[small[1]])

    def _fractions(self, points: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """The same (l_max + 2, elements) of small arguments, by continued fractions."""
        x = 2.0 * self.alpha * points * distances
        deepest = ceil(sqrt((self.l_max + 2) ** 2 + DIGITS * self._small)) + 1
        found = np.empty((self.l_max + 2, len(x)))
        found[0] = np.exp(-self.alpha * (points - distances) ** 2) * -np.expm1(-2.0 * x) / (2.0 * x)
        ratio = np.zeros(len(x))
        for degree in range(deepest, 0, -1):
            ratio = x / (2 * degree + 1 + x * ratio)  # i_l / i_(l - 1)
            if degree < len(found):
                found[degree] = ratio
        return np.multiply.accumulate(found, axis=0)

    def _overlaps(self) -> np.ndarray:
        """Integrals (n_max, n_max) of products of the grid's gaussians, with r^2."""
        alpha = self.alpha
        total, apart = self.grid[:, None] + self.grid, self.grid[:, None] - self.grid
        squares = self.grid[:, None] ** 2 + self.grid**2
        reach = 1.0 + np.vectorize(erf, otypes=[float])(sqrt(alpha / 2.0) * total)
        far = np.exp(-alpha * squares) * sqrt(2.0) * alpha**1.5 * total
        near = alpha * np.exp(-0.5 * alpha * apart**2) * sqrt(pi) * (1.0 + alpha * total**2)
        return (far + near * reach) / sqrt(128.0 * alpha**5)


def cutoff_function(
    distances: np.ndarray, cutoff: float, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """The cosine cutoff function, and its derivative by the distance."""
    phase = (pi / width) * np.clip(distances - (cutoff - width), 0.0, width)
    slopes = (-0.5 * pi / width) * np.sin(phase) * (distances < cutoff)  # sin(pi) is 1e-16
    return 0.5 * (np.cos(phase) + 1.0), slopes
