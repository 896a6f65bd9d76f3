"""Closed-form surfaces for methods; lets the tests of this folder share their helpers."""

import sys
from pathlib import Path

import numpy as np
import pytest

from flexcalc.potential import CheckedPotential, Evaluation

sys.path.insert(0, str(Path(__file__).parent))


class Pairs(CheckedPotential):
    """Springs E = sum k (r_ij - r0)^2 / 2 between all pairs, each kind with its own k and r0.

    Args:
        numbers: (atoms,).
        springs: (stiffness in eV/angstrom^2, rest length in angstrom) by pair of elements.
    """

    def __init__(self, numbers, springs):
        self.numbers = np.asarray(numbers)
        self.i, self.j = np.triu_indices(len(self.numbers), 1)
        kinds = [
            tuple(sorted((int(self.numbers[a]), int(self.numbers[b]))))
            for a, b in zip(self.i, self.j, strict=True)
        ]
        self.stiffness = np.array([springs[kind][0] for kind in kinds])
        self.rest = np.array([springs[kind][1] for kind in kinds])
        self.calls = 0

    def evaluate(self, positions):
        self.calls += 1
        apart = positions[:, self.i] - positions[:, self.j]
        distance = np.linalg.norm(apart, axis=-1)
        stretch = distance - self.rest
        pull = (-self.stiffness * stretch / distance)[..., None] * apart
        forces = np.zeros_like(positions)
        for pair, (a, b) in enumerate(zip(self.i, self.j, strict=True)):
            forces[:, a] += pull[:, pair]
            forces[:, b] -= pull[:, pair]
        return Evaluation(0.5 * (self.stiffness * stretch**2).sum(axis=1), forces)


class Wells(CheckedPotential):
    """E = k |x - x0|^2 / 2 for every atom on its own: exactly harmonic."""

    def __init__(self, stiffness=2.0):
        self.numbers = np.array([8, 1, 1])
        self.stiffness = stiffness
        self.reference = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])

    def evaluate(self, positions):
        stretch = positions - self.reference
        energies = 0.5 * self.stiffness * (stretch**2).sum(axis=(1, 2))
        return Evaluation(energies, -self.stiffness * stretch)


class MullerBrown(CheckedPotential):
    """The surface of Muller and Brown for one point in the plane, in units of 1 / SCALE.

    E = sum A exp(a (x - x0)^2 + b (x - x0) (y - y0) + c (y - y0)^2), Theor. Chim. Acta 53, 75
    (1979); `stiffness` holds z at 0.
    """

    numbers = np.array([1])
    SCALE = 0.01
    A = SCALE * np.array([-200.0, -100.0, -170.0, 15.0])
    a, b, c = np.array([[-1, -1, -6.5, 0.7], [0, 0, 11, 0.6], [-10, -10, -6.5, 0.7]])
    x0, y0 = np.array([[1, 0, -0.5, -1], [0, 0.5, 1.5, 1]])

    def evaluate(self, positions):
        x, y, z = positions[:, 0, :, None].transpose(1, 0, 2)
        u, v = x - self.x0, y - self.y0
        terms = self.A * np.exp(self.a * u**2 + self.b * u * v + self.c * v**2)
        along_x = (terms * (2 * self.a * u + self.b * v)).sum(axis=1)
        along_y = (terms * (self.b * u + 2 * self.c * v)).sum(axis=1)
        forces = -np.stack([along_x, along_y, z[:, 0]], axis=1)[:, None]
        return Evaluation(terms.sum(axis=1) + 0.5 * z[:, 0] ** 2, forces)


class Bow(CheckedPotential):
    """Two wells joined by half a circle: E = k (r - 1)^2 / 2 + h sin^2(phi), one point.

    On the circle the slope across it is zero, so that it is the minimum-energy path: barrier h,
    profile h sin^2(phi).
    """

    numbers = np.array([1])
    stiffness, height = 10.0, 0.5

    def evaluate(self, positions):
        x, y, z = positions[:, 0].T
        r, phi = np.hypot(x, y), np.arctan2(y, x)
        outward = -self.stiffness * (r - 1)
        around = -self.height * np.sin(2 * phi) / r
        forces = np.stack(
            [outward * x / r - around * y / r, outward * y / r + around * x / r, -z], axis=1
        )
        energies = 0.5 * self.stiffness * (r - 1) ** 2 + self.height * np.sin(phi) ** 2
        return Evaluation(energies + 0.5 * z**2, forces[:, None])


@pytest.fixture
def muller_brown():
    """The surface of Muller and Brown."""
    return MullerBrown()


@pytest.fixture
def bow():
    """A double well whose path is half a circle."""
    return Bow()


@pytest.fixture
def rng():
    """A fixed source of random numbers."""
    return np.random.default_rng(11)


@pytest.fixture(scope="session")
def pairs():
    """The class of springs between all pairs."""
    return Pairs


@pytest.fixture
def ammonia():
    """A pyramid of three H under N, with its inversion barrier in closed form."""
    return Pairs([7, 1, 1, 1], {(1, 7): (20.0, 1.0), (1, 1): (3.0, 1.6)})


@pytest.fixture
def wells():
    """Water-like, every atom in a well of its own."""
    return Wells()
