"""Internal coordinates, alignment and matching against ASE and finite differences."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from flexcalc import geometry
from flexcalc.errors import InputError, ShapeError
from flexcalc.geometry import Coordinate

CASES = [
    (geometry.distance, (0, 3)),
    (geometry.angle, (1, 0, 4)),
    (geometry.dihedral, (2, 0, 1, 4)),
]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def batch(rng):
    return rng.normal(size=(40, 5, 3))


def rotation(rng):
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return turn * np.sign(np.linalg.det(turn))


@pytest.mark.parametrize(("measure", "atoms"), CASES)
def test_gradients_are_those_of_central_differences(measure, atoms, batch):
    """Error of the difference: step^2 |f'''|/6, at most 1e-10 x 1e5 for the tightest shapes."""
    step = 1e-5
    _, gradients = measure(batch, *atoms)
    for atom in range(5):
        for axis in range(3):
            shift = np.zeros((5, 3))
            shift[atom, axis] = step
            change = measure(batch + shift, *atoms)[0] - measure(batch - shift, *atoms)[0]
            if measure is geometry.dihedral:
                change = (change + np.pi) % (2 * np.pi) - np.pi
            scale = 1 + np.abs(gradients[:, atom]).max(axis=1) ** 3
            assert np.all(np.abs(change / (2 * step) - gradients[:, atom, axis]) < 1e-8 * scale)


def test_values_are_those_of_ase(batch):
    for positions in batch:
        atoms = Atoms("H5", positions)
        one = positions[None]
        assert np.isclose(geometry.distance(one, 0, 3)[0][0], atoms.get_distance(0, 3))
        # ASE takes the arc cosine, which is good to about 1e-7 degrees near 0 and 180.
        found = Coordinate.parse("angle 1 0 4").values(one)[0]
        assert abs(found - atoms.get_angle(1, 0, 4)) < 1e-6
        found = Coordinate.parse("dihedral 2 0 1 4").values(one)[0]
        assert abs((found - atoms.get_dihedral(2, 0, 1, 4) + 180) % 360 - 180) < 1e-6
        assert -180 < found <= 180


@pytest.mark.parametrize("bend", [1e-3, 1e-6, 1e-9, 0.0])
def test_a_nearly_linear_angle_keeps_its_value_and_a_finite_gradient(bend):
    """The closed form: pi - bend, and a gradient as long as one over the bond's length."""
    arm = [2.0 * np.cos(np.pi - bend), 2.0 * np.sin(np.pi - bend), 0.0]
    if bend == 0.0:
        arm = [-2.0, 0.0, 0.0]
    positions = np.array([[[1.0, 0, 0], [0, 0, 0], arm]])
    values, gradients = geometry.angle(positions, 0, 1, 2)
    # sin(pi - bend) carries the rounding of pi, 1e-16.
    assert abs(values[0] - (np.pi - bend)) < 1e-15
    length = 1.0 if bend else 0.0
    assert np.allclose(np.linalg.norm(gradients[0, [0, 2]], axis=1), [length, length / 2])


def test_a_dihedral_on_a_linear_chain_is_finite():
    chain = np.array([[[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 1, 0.0]]])
    values, gradients = geometry.dihedral(chain, 0, 1, 2, 3)
    assert np.isfinite(values).all()
    assert np.isfinite(gradients).all()


@pytest.mark.parametrize(("measure", "atoms"), CASES)
def test_a_batch_equals_its_rows_and_is_not_changed(measure, atoms, batch):
    before = batch.copy()
    values, gradients = measure(batch, *atoms)
    for row, positions in enumerate(batch):
        value, gradient = measure(positions[None], *atoms)
        assert value[0] == values[row]
        assert np.array_equal(gradient[0], gradients[row])
    assert np.array_equal(before, batch)


@pytest.mark.parametrize(
    ("text", "label", "unit", "periodic"),
    [
        ("dihedral 4 6 7 12", "dihedral 4 6 7 12", "degrees", True),
        (" Angle 0,1,2 ", "angle 0 1 2", "degrees", False),
        ("distance 0\t1", "distance 0 1", "A", False),
        ("difference 0 1 1 2", "difference 0 1 1 2", "A", False),
        ("coordination 0,1 : 2 3 r0=1.5", "coordination 0 1 : 2 3 r0=1.5 n=6", "", False),
        ("Coordination 0: 2 r0 = .5 n=8", "coordination 0 : 2 r0=0.5 n=8", "", False),
    ],
)
def test_a_coordinate_is_read_from_text(text, label, unit, periodic):
    coordinate = Coordinate.parse(text)
    assert (coordinate.label, coordinate.unit, coordinate.periodic) == (label, unit, periodic)
    assert Coordinate.parse(coordinate.label) == coordinate


@pytest.mark.inputs
@pytest.mark.parametrize(
    "text",
    [
        *("", "dihedral", "dihedral 1 2 3", "angle 0 1 1", "torsion 0 1 2 3", "distance 0 x"),
        *("difference 0 1 2", "difference 0 0 1 2", "coordination 0 1", "coordination 0 : 0 r0=1"),
        *("coordination 0 : 1 r0=0", "coordination 0 : 1 r0=1 n=1", "coordination : 1 r0=1"),
        *("python:", "python:os:getcwd", "python:nothing"),
        *("distance -1 0", "distance 1.5 2", "angle 0 1 2 3", "distance 0 ²", "\n", "dihedral 0;"),
    ],
)
def test_a_bad_coordinate_is_refused_in_one_line(text):
    with pytest.raises(InputError) as caught:
        Coordinate.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.inputs
def test_a_coordinate_beyond_the_molecule_is_refused(batch):
    with pytest.raises(ShapeError, match="names atom 9, but the molecule has 5 atoms"):
        Coordinate.parse("distance 0 9").values(batch)


@pytest.mark.inputs
@pytest.mark.parametrize(
    "text", ["coordination 0 1 : 2 9 r0=1.5", "coordination 9 : 2 r0=1.5", "difference 0 1 2 9"]
)
def test_every_atom_that_a_coordinate_names_is_checked(text, batch):
    with pytest.raises(ShapeError, match="names atom 9, but the molecule has 5 atoms"):
        Coordinate.parse(text).check(5)
    with pytest.raises(ShapeError, match="names atom 9"):
        Coordinate.parse(text).measured(batch)
    Coordinate.parse(text).check(10)


def test_the_bend_of_a_dihedral_is_that_of_its_straighter_angle(batch):
    """Against the angles themselves, which are measured by another formula."""
    bends = Coordinate.parse("dihedral 0 1 2 3").bend(batch)
    angles = np.degrees([geometry.angle(batch, n, n + 1, n + 2)[0] for n in (0, 1)])
    assert bends == pytest.approx(np.minimum(angles, 180 - angles).min(axis=0), abs=1e-9)
    assert (Coordinate.parse("angle 0 1 2").bend(batch) == np.inf).all()


def test_bonds_of_ethanol_are_its_eight():
    atoms = molecule("CH3CH2OH")
    pairs = geometry.bonds(atoms.numbers, atoms.positions)
    assert len(pairs) == 8
    degree = np.bincount(pairs.ravel(), minlength=9)
    assert sorted(degree[atoms.numbers == 6]) == [4, 4]
    assert degree[atoms.numbers == 8] == [2]
    assert set(degree[atoms.numbers == 1]) == {1}


def test_alignment_undoes_translation_and_rotation(rng):
    target = molecule("CH3CH2OH").positions
    moved = np.array([target @ rotation(rng) + rng.normal(size=3) for _ in range(20)])
    assert np.allclose(geometry.align(moved, target), target, atol=1e-12)


def test_alignment_never_reflects(rng):
    target = rng.normal(size=(6, 3))
    mirrored = (target * [1, 1, -1])[None]
    aligned = geometry.align(mirrored, target)
    assert not np.allclose(aligned, target, atol=0.1)
    handed = np.linalg.det(aligned[0, 1:4] - aligned[0, 0])
    assert np.isclose(handed, np.linalg.det(mirrored[0, 1:4] - mirrored[0, 0]))


def test_neighbours_are_laid_on_each_other_as_each_alone(rng):
    images = molecule("CH3CH2OH").positions + 0.3 * rng.normal(size=(5, 9, 3))
    on_one, on_next = geometry.align_neighbours(images)
    assert np.allclose(on_one, geometry.align(images[1:], images[:-1]), atol=1e-12)
    assert np.allclose(on_next, geometry.align(images[:-1], images[1:]), atol=1e-12)


@pytest.mark.parametrize("flat", [False, True])
def test_alignment_is_the_best_rotation_of_scipy(flat, rng):
    """Against scipy's align_vectors, with weights, also for planar molecules."""
    from scipy.spatial.transform import Rotation

    positions, target = rng.normal(size=(2, 5, 3)) * ([1, 1, 0] if flat else 1)
    weights = rng.uniform(1, 16, size=5)
    share = weights / weights.sum()
    moved, fixed = positions - share @ positions, target - share @ target
    best, _ = Rotation.align_vectors(fixed, moved, weights=weights)
    expected = best.apply(moved) + share @ target
    found = geometry.align(positions[None], target, weights)[0]
    error = [(share[:, None] * (p - target) ** 2).sum() for p in (found, expected)]
    assert np.isclose(*error, rtol=1e-10)


def shuffled(numbers, rng):
    """A random order within each element."""
    order = np.arange(len(numbers))
    for number in set(numbers):
        same = np.flatnonzero(numbers == number)
        order[same] = rng.permutation(same)
    return order


@pytest.mark.parametrize("name", ["CH3CH2OH", "CH3COOH", "C3H8", "isobutane", "C6H6", "H2O", "H2"])
def test_matching_recovers_a_shuffled_and_turned_molecule(name, rng):
    atoms = molecule(name)
    order = shuffled(atoms.numbers, rng)
    noise = rng.normal(scale=0.03, size=atoms.positions.shape)
    scrambled = (atoms.positions + noise)[order] @ rotation(rng) + 5.0
    labelling = geometry.match_atoms(atoms.numbers, scrambled, atoms.positions)
    assert np.array_equal(np.sort(labelling), np.arange(len(atoms)))
    assert np.array_equal(atoms.numbers[labelling], atoms.numbers)
    aligned = geometry.align(scrambled[labelling][None], atoms.positions)[0]
    assert np.sqrt(((aligned - atoms.positions) ** 2).sum(axis=1).mean()) < 0.1


def misfit(labelling, target, positions):
    aligned = geometry.align(positions[labelling][None], target)[0]
    return np.sqrt(((aligned - target) ** 2).sum(axis=1).mean())


def test_matching_of_ethanol_is_the_best_of_all_twelve_labellings(rng):
    """Brute force over the 3! x 2! orders of the hydrogens on their own carbon atom."""
    from itertools import permutations

    atoms = molecule("CH3CH2OH")
    pairs = geometry.bonds(atoms.numbers, atoms.positions)
    carbons = np.flatnonzero(atoms.numbers == 6)
    first, second = ([h for c, h in pairs if c == k and atoms.numbers[h] == 1] for k in carbons)
    for _ in range(10):
        positions = atoms.positions + rng.normal(scale=0.2, size=(9, 3))
        best = np.inf
        for one in permutations(first):
            for two in permutations(second):
                order = np.arange(9)
                order[first], order[second] = one, two
                best = min(best, misfit(order, atoms.positions, positions))
        found = geometry.match_atoms(atoms.numbers, positions, atoms.positions)
        # The bonds of a shaken geometry may differ; then any like atoms may be swapped.
        assert misfit(found, atoms.positions, positions) <= best + 1e-12


def test_matching_of_many_methyl_groups_is_exact_without_trying_all(rng):
    """Tetramethylsilane has 4! x 6^4 = 31104 labellings, more than are tried one by one."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    places, numbers = [np.zeros(3)], [14]
    for corner in corners:
        places.append(1.87 * corner)
        numbers.append(6)
        side = np.linalg.svd(corner[None])[2][1:]
        for turn in np.arange(3) * 2 * np.pi / 3:
            outward = np.cos(turn) * side[0] + np.sin(turn) * side[1]
            places.append((1.87 + 0.37) * corner + 1.03 * outward)
            numbers.append(1)
    numbers, target = np.array(numbers), np.array(places)
    order = shuffled(numbers, rng)
    scrambled = target[order] @ rotation(rng)
    labelling = geometry.match_atoms(numbers, scrambled, target)
    aligned = geometry.align(scrambled[labelling][None], target)[0]
    assert np.allclose(aligned, target, atol=1e-6)


def test_matching_where_bonds_differ_changes_the_fewest_bonds(rng):
    """A proton moved from oxygen to nitrogen: no labelling maps all the bonds."""
    numbers = np.array([8, 7, 1, 1, 1])
    target = np.array([[0, 0, 0], [2.6, 0, 0], [-0.6, 0.7, 0], [1.0, 0, 0], [3.2, 0.7, 0.1]])
    positions = target.copy()
    positions[3] = [1.65, 0, 0]
    order = np.array([0, 1, 3, 4, 2])
    labelling = geometry.match_atoms(numbers, positions[order], target)
    # Which of oxygen's two hydrogens has moved cannot be known; nitrogen's own stays.
    assert order[labelling][4] == 4


def test_matching_of_a_large_reacting_molecule_assigns_by_distance(rng):
    """An eight-ring with one bond broken: 8! x 8! orders are too many to try."""
    numbers = np.array([6] * 8 + [1] * 8)
    ring = np.exp(2j * np.pi * np.arange(8) / 8)
    carbons = np.stack([1.9 * ring.real, 1.9 * ring.imag, 0.1 * np.arange(8) % 0.3], axis=1)
    target = np.concatenate([carbons, carbons * [1.57, 1.57, 3.0]])
    target[9] += [0.2, 0.1, 0.0]
    positions = target + rng.normal(scale=0.02, size=target.shape)
    positions[8] += [0.6, 0, 0]
    labelling = geometry.match_atoms(numbers, positions @ rotation(rng), target)
    assert np.array_equal(labelling, np.arange(16))
    order = shuffled(numbers, rng)
    labelling = geometry.match_atoms(numbers, (positions @ rotation(rng))[order], target)
    assert misfit(order[labelling], target, positions) < 0.3


def test_a_bond_is_one_that_most_frames_have():
    numbers, positions = np.array([8, 1, 1]), molecule("H2O").positions
    torn = positions + np.array([[0.0, 0, 0], [0, 3, 0], [0, 0, 0]])
    bonds = geometry.consensus_bonds(numbers, np.array([positions, torn, positions]))
    assert bonds.tolist() == geometry.bonds(numbers, positions).tolist() == [[0, 1], [0, 2]]
    assert geometry.consensus_bonds(numbers, np.array([positions, torn])).tolist() == [[0, 2]]
    assert geometry.consensus_bonds(numbers, np.zeros((0, 3, 3))).shape == (0, 2)


def test_angles_and_dihedrals_follow_the_bonds():
    """A branched chain, then a ring of three, which has angles but no dihedral."""
    bonds = np.array([[0, 1], [1, 2], [1, 3], [3, 4]])
    assert geometry.bonded_angles(bonds).tolist() == [[0, 1, 2], [0, 1, 3], [2, 1, 3], [1, 3, 4]]
    assert geometry.bonded_dihedrals(bonds).tolist() == [[0, 1, 3, 4], [2, 1, 3, 4]]
    ring = np.array([[0, 1], [0, 2], [1, 2]])
    assert len(geometry.bonded_angles(ring)) == 3
    assert geometry.bonded_dihedrals(ring).shape == (0, 4)
    assert geometry.bonded_angles(np.zeros((0, 2), dtype=int)).shape == (0, 3)


@pytest.mark.physics
@pytest.mark.parametrize(
    "text",
    [
        *("distance 0 1", "angle 0 1 2", "dihedral 0 1 2 3", "difference 0 1 1 3"),
        *("coordination 0 1 2 : 2 3 4 r0=1.5", "coordination 0 : 3 r0=0.8 n=4"),
    ],
)
def test_gradients_of_named_coordinates_are_differences_of_their_values(text, batch):
    coordinate, h = Coordinate.parse(text), 1e-6
    _, gradients = coordinate.measure(batch)
    for atom in range(batch.shape[1]):
        for axis in range(3):
            ahead, back = batch.copy(), batch.copy()
            ahead[:, atom, axis] += h
            back[:, atom, axis] -= h
            change = coordinate.values(ahead) - coordinate.values(back)
            if coordinate.periodic:
                change = (change + 180) % 360 - 180
            # Rounding of values of up to 180 over 2e-6, and h^2 of the third derivative.
            assert np.abs(change / (2 * h) - gradients[:, atom, axis]).max() < 1e-6 * (
                1 + np.abs(gradients).max()
            )


def test_a_pair_at_r0_counts_one_half_and_a_far_one_nothing():
    positions = np.array([[[0.0, 0, 0], [1.5, 0, 0], [1e60, 0, 0], [0, 0, 1e-9]]])
    assert Coordinate.parse("coordination 0 : 1 r0=1.5").values(positions)[0] == 0.5
    assert Coordinate.parse("coordination 0 : 2 r0=1.5").values(positions)[0] == 0
    values, gradients = Coordinate.parse("coordination 0 1 : 0 3 r0=1.5").measure(positions)
    assert np.isfinite(gradients).all()
    assert values[0] == pytest.approx(2.0)
