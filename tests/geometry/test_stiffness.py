"""Force constants of bonds, and the work of forces between similar frames."""

from __future__ import annotations

import numpy as np
import pytest

from flexcalc.geometry.stiffness import (
    MDYN_PER_ANGSTROM,
    Stretching,
    neighbour_work,
    stretching,
    usual_constants,
)


@pytest.mark.parametrize(
    ("elements", "length", "constant"),
    [
        ((1, 1), 0.741, 5.75),
        ((1, 9), 0.917, 9.66),
        ((1, 17), 1.275, 5.16),
        ((1, 53), 1.609, 3.14),
        ((7, 7), 1.098, 22.95),
        ((6, 8), 1.128, 19.02),
        ((9, 9), 1.412, 4.70),
        ((17, 17), 1.988, 3.23),
        ((9, 17), 1.628, 4.48),
        ((17, 35), 2.136, 2.82),
        ((35, 35), 2.281, 2.46),
        ((53, 53), 2.666, 1.72),
    ],
)
def test_the_rule_gives_the_force_constants_of_diatomic_molecules(elements, length, constant):
    """Measured, in mdyn/angstrom (Huber and Herzberg, 1979); the rule is good to 25 %."""
    one = Stretching(np.array([[0, 1]]), np.array([length]), *np.ones((3, 1)))
    found = usual_constants(np.array(elements), one)[0] / MDYN_PER_ANGSTROM
    assert found == pytest.approx(constant, rel=0.25)


def test_the_force_constant_of_a_spring_is_found_whatever_pulls_at_the_heavier_atom(rng):
    """Iodine is 127 times as heavy as hydrogen, and what else pulls at it counts as little."""
    numbers, lengths = np.array([53, 1]), 1.6 + 0.05 * rng.normal(size=200)
    positions = np.zeros((200, 2, 3))
    positions[:, 1, 2] = lengths
    forces = np.zeros((200, 2, 3))
    forces[:, 1, 2] = -20.0 * (lengths - 1.6)
    forces[:, 0, 2] = -forces[:, 1, 2] + rng.normal(size=200)
    found = stretching(numbers, positions, forces)
    assert found.bonds.tolist() == [[0, 1]]
    assert found.constants[0] == pytest.approx(20.0, rel=0.02)
    assert found.correlations[0] > 0.99
    assert stretching(numbers, positions, -forces).constants[0] == pytest.approx(-20.0, rel=0.02)


def test_bonds_of_metals_and_noble_gases_do_not_count():
    positions = np.array([[[0.0, 0, 0], [0, 0, 1.6]]])
    assert len(stretching(np.array([3, 1]), positions, 0 * positions).bonds) == 0
    assert len(stretching(np.array([18, 18]), positions, 0 * positions).bonds) == 0


def test_the_work_is_exact_on_a_surface_that_is_quadratic_in_inverse_distances(rng):
    rest = np.array([[0.0, 0, 0], [1.0, 0, 0], [-0.3, 0.9, 0]])
    positions = rest + 0.1 * rng.normal(size=(20, 3, 3))
    i, j = np.triu_indices(3, 1)
    apart = positions[:, i] - positions[:, j]
    inverse = 1 / np.linalg.norm(apart, axis=-1)
    excess = inverse - np.array([1.1, 0.9, 0.5])
    stiff = np.array([[30.0, 4.0, 1.0], [4.0, 20.0, 2.0], [1.0, 2.0, 5.0]])
    energies = np.einsum("fp,pq,fq->f", excess, stiff, excess) / 2
    pulls = -(excess @ stiff)[..., None] * (-apart * inverse[..., None] ** 3)
    forces = np.zeros_like(positions)
    np.add.at(forces, (slice(None), i), pulls)
    np.add.at(forces, (slice(None), j), -pulls)
    nearest, work = neighbour_work(positions, forces)
    assert (nearest != np.arange(20)).all()
    np.testing.assert_allclose(work, energies[nearest] - energies, atol=1e-9)


def test_the_work_of_linear_and_diatomic_molecules_is_known_too(rng):
    """They have a rotation less, and its singular value must not be divided by."""
    for atoms in (2, 3):
        positions = np.zeros((30, atoms, 3))
        positions[..., 2] = 1.1 * np.arange(atoms) + 0.01 * rng.normal(size=(30, atoms))
        gaps = np.diff(positions[..., 2], axis=1)
        energies = 50.0 * np.sum((gaps - 1.1) ** 2, axis=1)
        forces = np.zeros_like(positions)
        forces[:, :-1, 2] += 100.0 * (gaps - 1.1)
        forces[:, 1:, 2] -= 100.0 * (gaps - 1.1)
        nearest, work = neighbour_work(positions, forces)
        np.testing.assert_allclose(work, energies[nearest] - energies, atol=2e-3)
