"""Maps of rotatable dihedrals."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule as ase_molecule

from flexcalc.analysis.dihedrals import DihedralMap, circular_variance, rotatable_dihedrals
from flexcalc.geometry.torsions import torsions
from tests.systems import GEOMETRY, WATER, molecule


def turned(atoms, angles):
    """Geometries of a molecule: for each row, every rotatable bond turned by its degrees."""
    bonds = torsions(atoms.numbers, atoms.positions)
    frames = []
    for row in np.radians(angles):
        found = atoms.positions
        for bond, angle in zip(bonds, row, strict=True):
            found = bond.turned(found, angle)
        frames.append(found)
    return np.array(frames)


@pytest.fixture(scope="module")
def glycine():
    return molecule("glycine-Ip")


def by_ase(atoms, frames, dihedral):
    """Values in -180 to 180 degrees."""
    values = [Atoms(atoms.numbers, one).get_dihedral(*dihedral.atoms) for one in frames]
    return (np.array(values) + 180) % 360 - 180


def test_dihedrals_without_hydrogen_come_first(glycine):
    found = rotatable_dihedrals(glycine.numbers, glycine.positions)
    with_hydrogen = [bool((glycine.numbers[list(one.atoms)] == 1).any()) for one in found]
    assert with_hydrogen == [False, True, True]


@pytest.mark.parametrize("still", [0, 1, 2])
def test_the_two_dihedrals_that_spread_most_are_drawn(glycine, still):
    angles = np.stack([np.arange(0, 360, 40)] * 3, axis=1) * [1, 2, 4]
    angles[:, still] = 0
    frames = turned(glycine, angles)
    quiet = torsions(glycine.numbers, glycine.positions)[still].atoms
    found = DihedralMap.of(glycine.numbers, frames, [frames[:4], frames[4:]])
    assert len(found.rotatable) == 3
    assert [one for one in found.rotatable if one.atoms != quiet] == list(found.drawn)
    for column, dihedral in enumerate(found.drawn):
        expected = by_ase(glycine, frames, dihedral)
        for values in (found.labelled[:, column], found.explored[:, column]):
            np.testing.assert_allclose((values - expected + 180) % 360, 180, atol=1e-6)


def test_the_reached_share_counts_cells_once(glycine):
    dihedrals = rotatable_dihedrals(glycine.numbers, glycine.positions)
    explored = np.array([[-180.0, 1.0], [180.0, 29.0], [-151.0, 2.0], [10.0, 10.0], [10.0, 31.0]])
    found = DihedralMap(dihedrals, dihedrals[:2], explored[:1], explored)
    assert found.reached_share == pytest.approx(3 / 144)
    alone = DihedralMap(dihedrals, dihedrals[:1], explored[:1, :1], explored[:, :1])
    assert alone.reached_share == pytest.approx(2 / 12)


def test_the_circular_variance_does_not_depend_on_the_origin():
    # Of two angles that are 2 a apart it is 1 - cos(a).
    expected = 1 - np.cos(np.radians(20))
    assert circular_variance(np.array([160.0, -160.0])) == pytest.approx(expected)
    assert circular_variance(np.array([-20.0, 20.0])) == pytest.approx(expected)
    assert circular_variance(np.arange(0.0, 360.0, 30.0)) == pytest.approx(1.0)


def test_one_dihedral_is_drawn_alone_and_rigid_molecules_have_no_map():
    ethanol = ase_molecule("CH3CH2OH")
    found = DihedralMap.of(ethanol.numbers, ethanol.positions[None], [])
    assert (len(found.drawn), found.explored.shape, found.reached_share) == (1, (0, 1), 0)
    assert DihedralMap.of(WATER, GEOMETRY[None], [GEOMETRY[None]]) is None
