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


@pytest.fixture
def rng():
    """A fixed source of random numbers."""
    return np.random.default_rng(11)


@pytest.fixture
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
