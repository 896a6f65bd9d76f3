"""Rotatable bonds and geometries turned about them."""

import numpy as np
import pytest
from ase.build import molecule

from flexcalc.geometry import Coordinate
from flexcalc.geometry.torsions import torsions


@pytest.mark.parametrize(
    ("name", "middles"),
    [
        ("CH3CH2OH", [(0, 1)]),  # the hydroxyl; the methyl group is symmetric
        ("H2O", []),
        ("C6H6", []),
        ("trans-butane", [(0, 1)]),
        ("C2H4", []),  # a double bond
    ],
)
def test_single_bonds_turn_apart_from_methyl_groups_rings_and_double_bonds(name, middles):
    atoms = molecule(name)
    found = [one.atoms[1:3] for one in torsions(atoms.numbers, atoms.positions)]
    assert len(found) == len(middles)
    for pair in found:
        assert all(atoms.numbers[list(pair)] > 1)


@pytest.mark.parametrize("degrees", [30.0, -110.0, 180.0])
def test_a_turn_changes_the_dihedral_by_its_angle_and_no_bond(degrees):
    atoms = molecule("CH3CH2OH")
    [bond] = torsions(atoms.numbers, atoms.positions)
    turned = bond.turned(atoms.positions, np.radians(degrees))
    dihedral = Coordinate("dihedral", bond.atoms)
    before, after = dihedral.values(np.stack([atoms.positions, turned]))
    assert (abs(after - before) % 360) == pytest.approx(abs(degrees)) or (
        360 - abs(after - before) % 360
    ) == pytest.approx(abs(degrees))
    assert len(bond.moving) == 2  # the smaller side: O is on the axis, H turns
    rest = np.setdiff1d(np.arange(len(atoms)), bond.moving)
    np.testing.assert_array_equal(turned[rest], atoms.positions[rest])
    apart = np.linalg.norm(turned[bond.moving] - turned[bond.atoms[1]], axis=1)
    np.testing.assert_allclose(
        apart, np.linalg.norm(atoms.positions[bond.moving] - atoms.positions[bond.atoms[1]], axis=1)
    )
