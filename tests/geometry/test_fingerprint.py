"""Fingerprints: the same geometry is found again, and another one is not."""

import numpy as np
import pytest

from flexcalc.geometry.fingerprint import (
    count_repeated,
    fingerprints,
    first_repeated,
    known,
    tolerance,
)


def proper_rotation(rng):
    """A random rotation matrix (3, 3)."""
    matrix, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return matrix * np.sign(np.linalg.det(matrix))


@pytest.mark.data
@pytest.mark.parametrize("decimals", [4, 6, 12])
def test_geometries_are_found_moved_turned_reordered_and_rounded(ethanol, rng, decimals):
    numbers, positions = ethanol.numbers, ethanol.positions
    order = rng.permutation(len(positions))
    moved = positions[order] @ proper_rotation(rng).T + 3 * rng.standard_normal(3)
    hydrogens = np.flatnonzero(numbers == 1)
    atoms = np.arange(len(numbers))
    atoms[hydrogens] = rng.permutation(hydrogens)
    moved = np.round(moved[:, atoms], decimals)
    half = fingerprints(numbers, positions[:40])
    found = known(fingerprints(numbers, moved), half, tolerance(numbers))
    assert (found == (order < 40)).all()


@pytest.mark.data
def test_other_geometries_are_farther_than_the_tolerance(toy, rng):
    """Even those that differ as successive steps of dynamics do, by 0.01 angstrom."""
    numbers, positions = toy.ethanol_frames(300, rng)
    near = positions + 0.01 * rng.standard_normal(positions.shape)
    assert count_repeated(numbers, np.concatenate([positions, near])) == 0


def test_repeated_frames_are_those_with_an_earlier_twin(rng):
    numbers = np.array([6, 1, 1, 8, 7])
    geometries = 2 * rng.standard_normal((40, 5, 3))
    of = rng.integers(40, size=300)
    frames = geometries[of] + rng.uniform(-4e-6, 4e-6, (300, 5, 3))
    seen = {}
    expected = [seen.setdefault(number, index) for index, number in enumerate(of.tolist())]
    assert first_repeated(numbers, frames).tolist() == expected
    assert first_repeated(numbers, np.zeros((0, 5, 3))).tolist() == []
    assert first_repeated(numbers, np.zeros((1000, 5, 3))).max() == 0


@pytest.mark.parametrize("atoms", [2, 3])
def test_small_molecules_come_close_by_chance_alone(rng, atoms):
    """A thousand frames have neighbours within 1e-4 angstrom; only exact twins are repeated."""
    numbers = np.array([8, 1, 1])[:atoms]
    place = np.array([[0, 0, 0], [0, 0, 1.0], [0, 0.9, -0.3]])[:atoms]
    positions = place + 0.03 * rng.standard_normal((1000, atoms, 3))
    assert count_repeated(numbers, positions) == 0
    turned = positions[:7] @ proper_rotation(rng).T
    assert count_repeated(numbers, np.concatenate([positions, turned])) == 7
