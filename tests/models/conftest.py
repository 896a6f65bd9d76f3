"""Small labelled molecules, made on the spot from a closed-form surface."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from flexcalc.dataset import Dataset
from tests.systems import molecule

STRETCH = 0.6
"""1/angstrom; stiffness of the toy bonds."""


def toy_labels(numbers, positions):
    """Energies and forces of Morse springs between all pairs; only the elements matter.

    E = sum_{i<j} (1 - exp(-k (r_ij - r0)))^2 with r0 = 2 angstrom + 0.05 (Z_i + Z_j): smooth,
    without symmetry but that of the elements.
    """
    i, j = np.triu_indices(len(numbers), 1)
    apart = positions[:, i] - positions[:, j]
    distance = np.linalg.norm(apart, axis=-1)
    rest = 2.0 + 0.05 * (numbers[i] + numbers[j])
    decay = np.exp(-STRETCH * (distance - rest))
    energies = ((1 - decay) ** 2).sum(axis=1)
    pull = -2 * STRETCH * (1 - decay) * decay / distance
    along = np.zeros((*positions.shape[:2], *positions.shape[1:]))
    along[:, i, j] = pull[..., None] * apart
    return energies, along.sum(axis=2) - along.sum(axis=1)


def labelled(numbers, positions):
    """A Dataset on the toy surface."""
    energies, forces = toy_labels(numbers, positions)
    return Dataset(numbers, positions, energies, forces)


def turned(positions, axis, atoms, degrees):
    """Positions (atoms, 3) with some atoms turned about the bond from axis[0] to axis[1]."""
    from scipy.spatial.transform import Rotation

    origin = positions[axis[0]]
    direction = positions[axis[1]] - origin
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * direction / np.linalg.norm(direction))
    moved = positions.copy()
    moved[atoms] = turn.apply(positions[atoms] - origin) + origin
    return moved


def ethanol_frames(count, rng, rattle=0.05):
    """Ethanol with its methyl and hydroxyl rotors anywhere, and every atom rattled."""
    start = molecule("ethanol")
    symbols = np.array(start.symbols)
    apart = start.get_all_distances()
    oxygen = int(np.flatnonzero(symbols == "O")[0])
    carbons = np.flatnonzero(symbols == "C")
    inner, outer = carbons[np.argsort(apart[oxygen, carbons])]
    hydrogens = np.flatnonzero(symbols == "H")
    methyl = hydrogens[apart[outer, hydrogens] < 1.25]
    hydroxyl = hydrogens[apart[oxygen, hydrogens] < 1.25]
    frames = []
    for _ in range(count):
        frame = turned(start.positions, (inner, outer), methyl, rng.uniform(0, 360))
        frame = turned(frame, (inner, oxygen), hydroxyl, rng.uniform(0, 360))
        frames.append(frame + rng.normal(scale=rattle, size=frame.shape))
    return start.numbers, np.array(frames)


WATER = np.array([8, 1, 1]), np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])


def water_frames(count, rng, rattle=0.1):
    """Rattled water."""
    numbers, positions = WATER
    return numbers, positions + rng.normal(scale=rattle, size=(count, 3, 3))


@pytest.fixture
def rng():
    return np.random.default_rng(20261121)


@pytest.fixture(scope="session")
def toy():
    """The functions of this file, for tests that make their own molecules."""
    return SimpleNamespace(
        labels=toy_labels,
        labelled=labelled,
        ethanol_frames=ethanol_frames,
        water_frames=water_frames,
        turned=turned,
    )


@pytest.fixture
def water(rng):
    """Sixty labelled frames of water."""
    return labelled(*water_frames(60, rng))


@pytest.fixture(scope="session")
def ethanol():
    """Eighty labelled frames of ethanol."""
    return labelled(*ethanol_frames(80, np.random.default_rng(7)))


@pytest.fixture(scope="session")
def model(ethanol):
    """An sGDML model of ethanol on the toy surface, of the form of the sgdml package."""
    from flexcalc.models.gdml import SGDML

    rng = np.random.default_rng(0)
    plain = SGDML(sigma=10.0, descriptor="distances", energies="labelled")
    return plain.fit(ethanol[:50], ethanol[50:], rng)


@pytest.fixture(scope="session")
def published(ethanol):
    """The same as in the sgdml package: of inverse distances and forces alone."""
    from flexcalc.models.gdml import SGDML

    family = SGDML(sigma=10.0, descriptor="distances", energies="training")
    return family.fit(ethanol[:50], ethanol[50:], np.random.default_rng(0))
