"""Real spherical harmonics of many directions at once, and what their gradient takes back.

Sources: the recursions and the gradients of the regular solid harmonics
R_lm = r^l P_lm(cos theta) exp(i m phi) / (l + m)! are those of Hobson, Spherical and Ellipsoidal
Harmonics (1931), chapter 3, in the form of Tough and Stone, J. Phys. A 10, 1261 (1977),
doi:10.1088/0305-4470/10/8/004. They are polynomials in x, y, z: no axis is special.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import factorial, pi, sqrt

import numpy as np


class Harmonics:
    """Spherical harmonics up to a degree, each degree times a factor.

    Row l^2 + l + m holds Y_lm: of cos(m phi) for m >= 0 and of sin(|m| phi) below.

    Args:
        factors: (l_max + 1,) of each degree.
    """

    def __init__(self, factors: np.ndarray):
        self.l_max = len(factors) - 1
        self._norms = np.zeros((self.l_max + 1) ** 2)
        for degree in range(self.l_max + 1):
            for order in range(degree + 1):
                both = factorial(degree - order) * factorial(degree + order)
                norm = factors[degree] * sqrt((2 * degree + 1) / (4 * pi) * both)
                twice = sqrt(2) if order else 1.0
                self._norms[[_row(degree, order), _row(degree, -order)]] = twice * norm
        self._slopes = self._gradients()

    def __call__(self, directions: np.ndarray) -> np.ndarray:
        """Values ((l_max + 1)^2, points) at unit vectors (3, points)."""
        x, y, z = directions
        values = np.empty(((self.l_max + 1) ** 2, len(x)))
        values[0] = 1.0
        for order in range(1, self.l_max + 1):
            cosine, sine = values[_row(order, order)], values[_row(order, -order)]
            before, other = values[_row(order - 1, order - 1)], values[_row(order - 1, 1 - order)]
            np.multiply(x, before, out=cosine)
            np.multiply(y, before, out=sine)
            if order > 1:
                cosine -= y * other
                sine += x * other
            cosine *= -0.5 / order
            sine *= -0.5 / order
        for order in range(-self.l_max, self.l_max + 1):
            for degree in range(abs(order), self.l_max):
                above = values[_row(degree + 1, order)]
                np.multiply(z, values[_row(degree, order)], out=above)
                above *= 2 * degree + 1
                if degree > abs(order):
                    above -= values[_row(degree - 1, order)]
                above /= (degree + 1) ** 2 - order**2
        values *= self._norms[:, None]
        return values

    def pull(self, values: np.ndarray, slopes: np.ndarray) -> np.ndarray:
        """Gradient (3, points) of a function of the values, across the directions.

        Args:
            values: ((l_max + 1)^2, points), as they were returned.
            slopes: ((l_max + 1)^2, points), derivatives of the function by the values.

        Returns:
            the derivatives by the solid harmonics' arguments; their part along the directions is
            not that of the spherical harmonics, which is none.
        """
        low = values[: self.l_max**2]
        if not len(low):
            return np.zeros((3, values.shape[1]))
        parts = (self._slopes @ slopes).reshape(3, *low.shape)
        parts *= low
        return parts.sum(axis=1)

    def _gradients(self) -> np.ndarray:
        """(3 l_max^2, (l_max + 1)^2): which lower harmonics a gradient consists of."""
        size = self.l_max**2
        found = np.zeros((3, size, (self.l_max + 1) ** 2))
        for degree in range(1, self.l_max + 1):
            for order in range(-degree, degree + 1):
                row = _row(degree, order)
                for axis, other, factor in _terms(order):
                    if abs(other) < degree:
                        lower = _row(degree - 1, other)
                        found[axis, lower, row] += factor * self._norms[row] / self._norms[lower]
        return found.reshape(3 * size, (self.l_max + 1) ** 2)


def _row(degree: int, order: int) -> int:
    return degree * degree + degree + order


def _terms(order: int) -> Iterator[tuple[int, int, float]]:
    """Axis, order and factor of the solid harmonics of the degree below in a gradient."""
    yield 2, order, 1.0
    if order == 0:
        yield 0, 1, 1.0
        yield 1, -1, 1.0
        return
    sign = 1 if order > 0 else -1
    for step, along in ((1, 0.5), (-1, -0.5)):
        other = order + sign * step
        if other or sign > 0:  # there is no sine of order 0
            yield 0, other, along
        if other or sign < 0:
            yield 1, -other, 0.5 * sign
