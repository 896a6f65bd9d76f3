"""Geometries as values along a tree and back, and held coordinates."""

import numpy as np
import pytest
from ase.build import molecule
from ase.io import read

from flexcalc import geometry
from flexcalc.errors import InputError
from flexcalc.geometry import Coordinate, zmatrix
from flexcalc.geometry.constraints import free_part, held
from tests.systems import INPUTS


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def shaken(name, rng, frames=3):
    atoms = read(INPUTS / f"{name}.xyz") if "-" in name else molecule(name)
    positions = atoms.positions + rng.normal(scale=0.05, size=(frames, *atoms.positions.shape))
    return atoms.numbers, positions


NAMES = ["N2", "H2O", "CO2", "CH4", "C6H6", "isobutane", "azobenzene-cis"]


@pytest.mark.parametrize("name", NAMES)
def test_values_give_the_positions_back(name, rng):
    """The first frame fixes where in space; the others come back but for turn and shift."""
    numbers, positions = shaken(name, rng)
    tree = zmatrix(numbers, positions[0])
    again = tree.positions(tree.values(positions))
    assert np.abs(again[0] - positions[0]).max() < 1e-12
    assert np.abs(geometry.align(again, positions) - positions).max() < 1e-12


def test_a_linear_molecule_comes_back_too():
    numbers, positions = np.array([1, 6, 6, 1]), np.zeros((1, 4, 3))
    positions[0, :, 0] = [0, 1.06, 2.26, 3.32]
    tree = zmatrix(numbers, positions[0])
    assert np.allclose(tree.positions(tree.values(positions)), positions, atol=1e-12)


def test_parts_without_a_bond_between_them_are_joined():
    """Two waters, four angstrom apart."""
    water = molecule("H2O")
    positions = np.concatenate([water.positions, water.positions + np.array([0, 4, 0])])[None]
    tree = zmatrix(np.tile(water.numbers, 2), positions[0])
    assert np.allclose(tree.positions(tree.values(positions)), positions, atol=1e-12)


@pytest.mark.parametrize("name", ["C6H6", "isobutane", "azobenzene-cis"])
def test_the_motion_of_each_value_is_that_of_central_differences(name, rng):
    """Error: step^2 / 6 times the third derivative, at most ten angstrom."""
    numbers, positions = shaken(name, rng)
    tree, step = zmatrix(numbers, positions[0]), 1e-5
    values = tree.values(positions)
    free = [
        (int(row[0]), column)
        for row in tree.references
        for column in range(3)
        if row[1 + column] >= 0
    ]
    assert len(free) == 3 * len(numbers) - 6
    slopes = tree.gradients(values, free)
    for index, (atom, column) in enumerate(free):
        shift = np.zeros_like(values)
        shift[:, atom, column] = step
        change = tree.positions(values + shift) - tree.positions(values - shift)
        assert np.abs(change / (2 * step) - slopes[:, index]).max() < 1e-8


@pytest.mark.parametrize("name", ["CH4", "isobutane", "azobenzene-cis"])
def test_an_angle_beyond_180_degrees_is_the_same_place(name, rng):
    numbers, positions = shaken(name, rng)
    tree = zmatrix(numbers, positions[0])
    values = tree.values(positions)
    here = tree.positions(values)
    for atom in tree.references[2:, 0]:
        there = geometry.align(tree.positions(tree.flipped(values, int(atom))), here)
        assert np.abs(there - here).max() < 1e-12


def test_wanted_coordinates_are_values_of_the_tree(rng):
    numbers, positions = shaken("azobenzene-cis", rng)
    texts = ["dihedral 5 6 7 8", "angle 5 6 7", "angle 8 7 6", "distance 6 7", "dihedral 4 5 6 7"]
    wanted = [Coordinate.parse(text) for text in texts]
    tree = zmatrix(numbers, positions[0], wanted)
    values = tree.values(positions)
    for coordinate in wanted:
        atom, column = tree.locate(coordinate)
        assert values[:, atom, column] == pytest.approx(coordinate.measured(positions)[0])
    assert tree.locate(Coordinate.parse("distance 0 12")) is None


HELD = [["distance 0 12"], ["dihedral 5 6 7 8", "angle 5 6 7"], ["angle 5 6 7", "distance 6 7"]]


@pytest.mark.parametrize("texts", HELD)
def test_coordinates_are_held_exactly_and_moved_by_the_least(texts, rng):
    _, positions = shaken("azobenzene-cis", rng)
    coordinates = [Coordinate.parse(text) for text in texts]
    here = np.stack([c.measured(positions)[0] for c in coordinates], axis=1)
    found = held(positions, coordinates, here + 0.01)
    now = np.stack([c.measured(found)[0] for c in coordinates], axis=1)
    assert np.abs(now - here - 0.01).max() < 1e-9
    # The shortest way has no part that leaves the coordinates as they are, to second order.
    move = found - positions
    left = free_part(move, positions, coordinates, here)
    assert np.linalg.norm(left) < 0.05 * np.linalg.norm(move)


def test_a_linear_angle_is_held_in_both_directions(rng):
    """180 degrees, where the angle's own gradient vanishes."""
    _, positions = shaken("azobenzene-cis", rng)
    angle = [Coordinate.parse("angle 5 6 7")]
    targets = np.full((3, 1), np.pi)
    straight = held(positions, angle, targets)
    assert angle[0].values(straight) == pytest.approx(np.full(3, 180.0), abs=1e-6)
    free = free_part(rng.normal(size=straight.shape), straight, angle, targets)
    assert angle[0].values(straight + 1e-4 * free) == pytest.approx(np.full(3, 180.0), abs=1e-4)


@pytest.mark.inputs
def test_values_that_cannot_be_are_refused():
    """A triangle with sides 1, 1 and 3."""
    positions = np.array([[[0, 0, 0], [1, 0, 0], [0.5, 0.8, 0.0]]])
    sides = [Coordinate.parse(f"distance {i} {j}") for i, j in ((0, 1), (0, 2), (1, 2))]
    with pytest.raises(InputError, match="cannot be reached together"):
        held(positions, sides, np.array([[1.0, 1.0, 3.0]]))


def test_equivalents_of_a_path_are_the_different_ones():
    """Water's hydrogens: a bend is its own mirror image, a stretch of one bond is not."""
    place = molecule("H2O").positions
    numbers = molecule("H2O").numbers
    group = geometry.labellings(numbers, place, place)
    assert sorted(map(tuple, group)) == [(0, 1, 2), (0, 2, 1)]
    stretched = np.stack([place, place + np.array([[0, 0, 0], [0, 0.3, 0], [0, 0, 0]])])
    paths, orders = geometry.equivalents(stretched, group)
    assert orders.tolist() == [[0, 1, 2], [0, 2, 1]]
    assert np.array_equal(paths[1], stretched[:, [0, 2, 1]])
    bent = np.stack([place, place * [1, 0.9, 1.2]])
    assert len(geometry.equivalents(bent, group)[0]) == 1
