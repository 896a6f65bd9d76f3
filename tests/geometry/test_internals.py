"""Redundant internal coordinates against finite differences and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import molecule
from ase.io import read

from flexcalc.geometry import angle, dihedral, distance
from flexcalc.geometry.internals import BEND, STRETCH, Internals
from flexcalc.units import BOHR, HARTREE
from tests.systems import INPUTS


def rattled(atoms, rng, size=0.05):
    """Positions of a molecule, moved at random."""
    return atoms.positions + size * rng.normal(size=atoms.positions.shape)


FLAT_AMMONIA = molecule("NH3")
FLAT_AMMONIA.positions[:, 2] = 0.0
APART = molecule("CH3OH") + molecule("H2O")
APART.positions[6:] += [0.7, 2.6, 1.3]
MOLECULES = {
    "ethanol": read(INPUTS / "ethanol.xyz"),
    "planar": read(INPUTS / "azobenzene-trans.xyz"),
    "nearly linear": read(INPUTS / "azobenzene-inversion.xyz"),
    "flat centre": FLAT_AMMONIA,
    "two molecules": APART,
    "alkyne": molecule("C3H4_C3v"),
}


@pytest.mark.physics
@pytest.mark.parametrize("name", MOLECULES)
def test_the_jacobian_is_the_finite_difference_of_the_values(name, rng):
    atoms = MOLECULES[name]
    place = rattled(atoms, rng)
    coordinates = Internals.of(atoms.numbers, place)
    moves = 1e-5 * np.eye(place.size).reshape(-1, *place.shape)
    ahead, behind = (coordinates.values(place + sign * moves) for sign in (1, -1))
    found = coordinates.change(ahead, behind).T / 2e-5
    assert coordinates.jacobian(place) == pytest.approx(found, abs=1e-6)


@pytest.mark.physics
@pytest.mark.parametrize("name", MOLECULES)
def test_the_coordinates_span_all_but_translation_and_rotation(name):
    atoms = MOLECULES[name]
    coordinates = Internals.of(atoms.numbers, atoms.positions)
    place = coordinates.at(atoms.positions)
    modes, moves = place.modes, place.moves
    assert modes.shape[1] == 3 * len(atoms) - 6
    # Moves along the modes change the values by the modes.
    assert coordinates.jacobian(atoms.positions) @ moves == pytest.approx(modes, abs=1e-9)


@pytest.mark.physics
def test_a_torsion_turns_far_without_bending_a_bond(rng):
    atoms = MOLECULES["ethanol"]
    coordinates = Internals.of(atoms.numbers, atoms.positions)
    before = coordinates.values(atoms.positions[None])[0]
    turn = next(
        k for k, four in enumerate(coordinates.torsions) if set(atoms.numbers[four]) == {1, 6, 8}
    )
    start = len(coordinates.stretches) + len(coordinates.bends)
    about = [
        k for k, four in enumerate(coordinates.torsions[: -coordinates.planes])
        if set(four[1:3]) == set(coordinates.torsions[turn][1:3])
    ]  # fmt: skip
    step = np.zeros(len(before))
    step[start + np.array(about)] = np.radians(40.0)
    moved = coordinates.moved(atoms.positions, step)
    after = coordinates.change(coordinates.values(moved[None])[0], before)
    assert np.linalg.norm(moved - atoms.positions, axis=1).max() > 0.4
    assert after == pytest.approx(step, abs=2e-2)
    assert np.abs(after[: len(coordinates.stretches)]).max() < 1e-3


@pytest.mark.physics
def test_force_constants_are_lindhs():
    """Water: k = 0.45 rho hartree/bohr^2 with rho = exp(0.3949 (2.1^2 - r^2)), r in bohr."""
    water = molecule("H2O")
    coordinates = Internals.of(water.numbers, water.positions)
    r = water.get_distance(0, 1) / BOHR
    near = np.exp(0.3949 * (2.1**2 - r**2))
    assert pytest.approx(0.45 * HARTREE / BOHR**2) == STRETCH
    assert coordinates.constants[:2] == pytest.approx(STRETCH * near)
    assert coordinates.constants[2] == pytest.approx(BEND * near**2)


def test_values_are_those_of_each_coordinate():
    atoms = MOLECULES["ethanol"]
    coordinates, place = Internals.of(atoms.numbers, atoms.positions), atoms.positions[None]
    expected = [
        *(distance(place, *pair)[0][0] for pair in coordinates.stretches),
        *(angle(place, *three)[0][0] for three in coordinates.bends),
        *(dihedral(place, *four)[0][0] for four in coordinates.torsions),
    ]
    assert coordinates.values(place)[0] == pytest.approx(expected, abs=1e-12)


def test_a_linear_bend_is_replaced_by_the_distance_across_it():
    alkyne = MOLECULES["alkyne"]
    coordinates = Internals.of(alkyne.numbers, alkyne.positions)
    assert not coordinates.are_straight(alkyne.positions)
    bent = alkyne.positions[coordinates.bends]
    assert np.degrees(angle(bent, 0, 1, 2)[0]).max() < 165.0
    assert len(coordinates.stretches) > len(alkyne) - 1
