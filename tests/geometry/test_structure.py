"""Numbered atoms, their bonds, and the dihedrals about bonds that turn."""

import numpy as np
import pytest
from ase.build import molecule
from ase.io import read

from flexcalc.files.shipped import shipped
from flexcalc.geometry import Structure


def structure(atoms):
    return Structure.of(atoms.numbers, atoms.positions[None])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("glycine-Ip.xyz", {"0 1 2 3", "5 0 1 2", "3 2 4 9"}),
        ("azobenzene-cis.xyz", {"0 5 6 7", "5 6 7 8", "6 7 8 9"}),
    ],
)
def test_rotatable_bonds_of_molecules_whose_own_are_known(name, expected):
    found = structure(read(shipped(name)))
    labels = {one.label.removeprefix("dihedral ") for one in found.rotatable_dihedrals}
    assert labels == expected


def test_rings_ends_and_linear_chains_do_not_turn():
    assert structure(molecule("C6H6")).rotatable_dihedrals == ()
    assert structure(molecule("H2O")).rotatable_dihedrals == ()
    assert structure(molecule("CH3CN")).rotatable_dihedrals == ()
    assert len(structure(molecule("C2H6")).rotatable_dihedrals) == 1


def test_bonds_are_those_of_most_frames():
    water = molecule("H2O")
    frames = np.tile(water.positions, (3, 1, 1))
    frames[0, 1] += 3.0
    assert Structure.of(water.numbers, frames).bonded_to == ((1, 2), (0,), (0,))
