"""Permutation groups recovered from geometries, against the known groups of molecules."""

import numpy as np
import pytest
from ase.build import molecule

from flexcalc.models.gdml import SGDML
from flexcalc.models.gdml.symmetry import close, identity, recover


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("H2O", 2),
        ("NH3", 6),
        ("CH4", 24),
        ("C2H4", 4),
        ("C6H6", 12),
        ("HCN", 1),
    ],
)
def test_rattled_molecules_have_the_order_of_their_point_group(name, order, rng):
    """Of the point groups C2v, C3v, Td, D2h and D6h the operations that move atoms."""
    atoms = molecule(name)
    positions = atoms.positions + rng.normal(scale=0.08, size=(60, len(atoms), 3))
    found = recover(atoms.numbers, positions, rng)
    assert len(found.permutations) == order
    assert found.warning is None


@pytest.mark.parametrize("frames", [30, 100])
def test_ethanol_with_free_rotors_has_six(toy, rng, frames):
    """Three turns of the methyl group, and the mirror image that swaps the CH2 hydrogens."""
    found = recover(*toy.ethanol_frames(frames, rng), rng)
    assert len(found.permutations) == 6


def test_turned_and_shuffled_frames_have_the_same_group(toy, rng):
    """Neither orientation nor the order of the frames matters."""
    from scipy.spatial.transform import Rotation

    numbers, positions = toy.ethanol_frames(60, rng)
    turns = Rotation.random(60, rng=rng).as_matrix()
    moved = (positions @ turns)[rng.permutation(60)]
    expected = recover(numbers, positions, rng).permutations
    assert np.array_equal(recover(numbers, moved, rng).permutations, expected)


def test_the_group_is_closed_and_keeps_the_elements(toy, rng):
    numbers, positions = toy.ethanol_frames(60, rng)
    group = recover(numbers, positions, rng).permutations
    members = {tuple(row) for row in group.tolist()}
    assert tuple(range(9)) in members
    assert all((numbers[row] == numbers).all() for row in group)
    for one in group:
        assert tuple(np.argsort(one).tolist()) in members
        assert all(tuple(one[other].tolist()) in members for other in group)


def test_one_frame_or_two_equal_ones_have_no_symmetry(toy, rng):
    numbers, positions = toy.ethanol_frames(1, rng)
    assert np.array_equal(recover(numbers, positions, rng).permutations, [np.arange(9)])
    twice = np.concatenate([positions, positions])
    assert np.array_equal(recover(numbers, twice, rng).permutations, [np.arange(9)])


def test_many_frames_are_thinned_out(toy, rng, monkeypatch):
    monkeypatch.setattr("flexcalc.models.gdml.symmetry.MOST_GEOMETRIES", 30)
    found = recover(*toy.ethanol_frames(300, rng), rng)
    assert len(found.permutations) == 6


def test_closing_two_exchanges_gives_all_permutations_of_three():
    assert len(close([(1, 0, 2), (0, 2, 1)], 100)) == 6
    assert len(close([(1, 2, 3, 4, 0)], 100)) == 5
    assert close([(1, 0, 2), (0, 2, 1)], 5) is None


def test_a_group_beyond_the_limit_loses_its_rarest_members_and_says_so(rng):
    atoms = molecule("CH4")
    positions = atoms.positions + rng.normal(scale=0.08, size=(60, 5, 3))
    found = recover(atoms.numbers, positions, rng, largest=8)
    assert 1 < len(found.permutations) <= 8
    assert "left out" in found.warning
    assert "more than 8 members" in found.warning
    assert np.array_equal(recover(atoms.numbers, positions, rng, 1).permutations, [np.arange(5)])


def test_what_was_left_out_stands_in_the_facts(toy, water, rng):
    with pytest.warns(UserWarning, match="left out"):
        potential = SGDML(sigma=10.0, max_permutations=1).fit(water, None, rng)
    assert potential.facts["permutations"] == 1
    assert "left out" in potential.facts["warnings"][0]


def test_no_symmetry_is_the_identity():
    assert np.array_equal(identity(3).permutations, [[0, 1, 2]])
