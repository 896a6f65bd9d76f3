"""Surfaces whose free energy over a coordinate is known in closed form."""

import numpy as np

from flexcalc.geometry import Coordinate
from flexcalc.geometry.named import OwnCoordinate
from flexcalc.potential import CheckedPotential, Evaluation
from flexcalc.units import KB

KT = KB * 300.0


def along(axis):
    """A Cartesian component of the first atom as a coordinate."""

    def measure(positions):
        gradients = np.zeros_like(positions)
        gradients[:, 0, axis] = 1
        return positions[:, 0, axis], gradients

    return OwnCoordinate("python", (), f"test:{'xyz'[axis]}", measure)


class DoubleWell(CheckedPotential):
    """One atom: a tilted double well along x, a spring in y that leans with x, a spring in z."""

    height, tilt, spring, lean = 5 * KT, 0.8 * KT, 1.0, 0.3

    def __init__(self):
        self.numbers = np.array([1])
        self.calls = 0

    def surface(self, x, y=None):
        """Free energy over x, or over x and y, in eV: the potential itself."""
        energy = self.height * (x**2 - 1) ** 2 + self.tilt * x
        return energy if y is None else energy + self.spring / 2 * (y - self.lean * x) ** 2

    def evaluate(self, positions):
        self.calls += 1
        x, y, z = positions[:, 0].T
        off = y - self.lean * x
        energies = self.surface(x, y) + self.spring / 2 * z**2
        forces = np.zeros_like(positions)
        forces[:, 0, 0] = -(4 * self.height * x * (x**2 - 1) + self.tilt)
        forces[:, 0, 0] += self.spring * self.lean * off
        forces[:, 0, 1] = -self.spring * off
        forces[:, 0, 2] = -self.spring * z
        return Evaluation(energies, forces)


class Torsion(CheckedPotential):
    """A chain of four atoms: springs on bonds and 1-3 distances, and an energy of its dihedral.

    The springs depend on bonds and angles alone, and the volume element of internal coordinates
    on them too, so that the free energy over the dihedral is the torsional energy itself.
    """

    pairs = ((0, 1, 1.5), (1, 2, 1.5), (2, 3, 1.5), (0, 2, 2.5), (1, 3, 2.5))
    stiffness = 15.0

    def __init__(self):
        self.numbers = np.array([6, 6, 6, 6])
        self.dihedral = Coordinate.parse("dihedral 0 1 2 3")

    def surface(self, degrees):
        """Torsional energy in eV."""
        phi = np.radians(degrees)
        return 2.5 * KT * (1 + np.cos(3 * phi)) / 2 + 1.5 * KT * (1 - np.cos(phi - 0.5))

    def evaluate(self, positions):
        values, gradients = self.dihedral.measure(positions)
        energies = self.surface(values)
        h = 1e-4
        slope = (self.surface(values + h) - self.surface(values - h)) / (2 * h)
        forces = -slope[:, None, None] * gradients
        for i, j, rest in self.pairs:
            apart = positions[:, i] - positions[:, j]
            length = np.linalg.norm(apart, axis=1)
            energies = energies + self.stiffness / 2 * (length - rest) ** 2
            pull = (-self.stiffness * (length - rest) / length)[:, None] * apart
            forces[:, i] += pull
            forces[:, j] -= pull
        return Evaluation(energies, forces)


CHAIN = np.array([[0.4, 1.4, 0.2], [0, 0, 0], [1.5, 0, 0], [1.9, 1.4, 0.2]])
