"""Closed-form surfaces of two coordinates, as the sides of a triangle of three atoms."""

import numpy as np

from flexcalc.geometry import angle, distance
from flexcalc.potential import CheckedPotential, Evaluation

MULLER_A = np.array([-200.0, -100.0, -170.0, 15.0])
MULLER_a = np.array([-1.0, -1.0, -6.5, 0.7])
MULLER_b = np.array([0.0, 0.0, 11.0, 0.6])
MULLER_c = np.array([-10.0, -10.0, -6.5, 0.7])
MULLER_x = np.array([1.0, 0.0, -0.5, -1.0])
MULLER_y = np.array([0.0, 0.5, 1.5, 1.0])


class Triangle(CheckedPotential):
    """E(r01 - 3, r02 - 3) of a plane surface, and a spring that holds the angle 1-0-2 at 90.

    Stationary points are those of the plane surface, whatever the spring.

    Args:
        surface: (x, y) -> value, slope in x, slope in y; in eV and eV/angstrom.
        stiffness: of the spring on the angle's cosine, in eV.
    """

    def __init__(self, surface, stiffness=3.0, numbers=(6, 7, 8)):
        self.numbers = np.array(numbers)
        self.surface, self.stiffness, self.calls = surface, stiffness, 0

    def evaluate(self, positions):
        self.calls += 1
        (r1, g1), (r2, g2) = distance(positions, 0, 1), distance(positions, 0, 2)
        theta, bend = angle(positions, 1, 0, 2)
        value, along_x, along_y = self.surface(r1 - 3, r2 - 3)
        energies = value + 0.5 * self.stiffness * np.cos(theta) ** 2
        pull = -self.stiffness * np.cos(theta) * np.sin(theta)
        slopes = ((along_x, g1), (along_y, g2), (pull, bend))
        return Evaluation(energies, -sum(s[:, None, None] * g for s, g in slopes))


def muller_brown(x, y, unit=0.01):
    """The surface of Muller and Brown, Theor. Chim. Acta 53, 75 (1979), in units of 10 meV."""
    dx, dy = x[:, None] - MULLER_x, y[:, None] - MULLER_y
    terms = MULLER_A * np.exp(MULLER_a * dx**2 + MULLER_b * dx * dy + MULLER_c * dy**2)
    along_x = terms * (2 * MULLER_a * dx + MULLER_b * dy)
    along_y = terms * (MULLER_b * dx + 2 * MULLER_c * dy)
    return unit * terms.sum(axis=1), unit * along_x.sum(axis=1), unit * along_y.sum(axis=1)


def curved_wells(x, y, height=0.8, valley=6.0, bow=0.7):
    """E = h (x^2 - 1)^2 + k (y - c x^2)^2 / 2: minima (+-1, c), saddle (0, 0) of height h."""
    off = y - bow * x**2
    value = height * (x**2 - 1) ** 2 + 0.5 * valley * off**2
    along_x = 4 * height * x * (x**2 - 1) - 2 * valley * off * bow * x
    return value, along_x, valley * off


def ring(x, y, stiffness=30.0, height=0.01):
    """E = k (r - 1)^2 / 2 + h cos(phi): a soft torsion of a stiff bond, saddle (1, 0)."""
    r, phi = np.hypot(x, y), np.arctan2(y, x)
    value = 0.5 * stiffness * (r - 1) ** 2 + height * np.cos(phi)
    along_r, along_phi = stiffness * (r - 1), -height * np.sin(phi) / r
    return value, (along_r * x - along_phi * y) / r, (along_r * y + along_phi * x) / r


def triangles(places):
    """Geometries (places, 3, 3) with the given (x, y) and a right angle."""
    x, y = np.array(places, dtype=float).T
    geometry = np.zeros((len(x), 3, 3))
    geometry[:, 1, 0], geometry[:, 2, 1] = 3 + x, 3 + y
    return geometry


def sides(positions):
    """The (x, y) of geometries (batch, 3, 3)."""
    lengths = [distance(positions, 0, k)[0] - 3 for k in (1, 2)]
    return np.stack(lengths, axis=-1)
