"""Descriptors: derivatives, the closed forms, straight angles, relabelling, subsets, arrays."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
from ase.io import read

from flexcalc import geometry
from flexcalc.errors import FileFormatError, InputError
from flexcalc.geometry.graph import bonded_share, neighbours
from flexcalc.models.gdml.descriptor import (
    Angles,
    CompositeDescriptor,
    Dihedrals,
    InverseDistances,
    RootDistances,
    extended,
    from_arrays,
)
from flexcalc.models.gdml.descriptor.angular import WINDOW
from flexcalc.models.gdml.groups import close, parsed
from tests.systems import INPUTS

KINDS = ["distances", "some distances", "angles", "dihedrals", "joined", "some joined", "roots"]
CHAIN = np.array([[0, 1], [1, 2], [2, 3], [3, 4]])
"""Bonds of a chain of five atoms."""


def descriptor_of(kind, numbers, positions):
    """One of KINDS for a molecule."""
    joined = extended(numbers, positions, (1.0, 0.3, 0.2))
    pairs, angles, dihedrals = joined.parts
    mix = np.random.default_rng(1).normal(size=(pairs.size,) * 2)
    return {
        "distances": pairs,
        "some distances": pairs.subset(np.arange(1, pairs.size, 3)),
        "angles": angles,
        "dihedrals": dihedrals,
        "joined": joined,
        "some joined": joined.subset(np.arange(0, joined.size, 2)),
        "roots": RootDistances(pairs, np.eye(pairs.size) + 0.05 * (mix + mix.T)),
    }[kind]


@pytest.fixture(scope="module")
def frames(toy):
    """200 frames of ethanol, its rotors anywhere and its atoms rattled by a tenth of a bond."""
    return toy.ethanol_frames(200, np.random.default_rng(3), rattle=0.1)


@pytest.fixture(params=KINDS)
def descriptor(request, frames):
    return descriptor_of(request.param, *frames)


def differences(descriptor, positions, step):
    """The Jacobian (batch, size, 3 atoms) by five-point differences.

    The error is step^4/30 times the fifth derivative, and the rounding of features over step.
    """
    columns = []
    for shift in np.eye(positions[0].size).reshape(-1, *positions.shape[1:]) * step:
        near, far = (
            descriptor.linearise(positions + n * shift).features
            - descriptor.linearise(positions - n * shift).features
            for n in (1, 2)
        )
        columns.append((8 * near - far) / (12 * step))
    return np.stack(columns, axis=-1)


def test_the_jacobian_of_every_part_is_the_derivative_of_its_features(descriptor, frames):
    """Fifth derivatives reach some 1e4 per angstrom^5, which gives 1e-11."""
    _, positions = frames
    jacobian = descriptor.jacobian(positions)
    assert jacobian.shape == (200, descriptor.size, 27)
    error = np.abs(differences(descriptor, positions, 4e-4) - jacobian)
    assert error.max() < 1e-10


def test_pushing_and_pulling_are_the_jacobian_and_its_transpose(descriptor, frames, rng):
    """Far from the origin too, where positions have lost two digits."""
    positions = frames[1] + 100.0
    local, jacobian = descriptor.linearise(positions), descriptor.jacobian(positions)
    weights, motions = rng.normal(size=local.features.shape), rng.normal(size=positions.shape)
    pulled, pushed = local.pull(weights), local.push(motions)
    assert pulled.shape == positions.shape
    assert pushed.shape == weights.shape
    expected = np.einsum("bdx,bd->bx", jacobian, weights).reshape(positions.shape)
    assert np.abs(pulled - expected).max() < 1e-12
    expected = np.einsum("bdx,bx->bd", jacobian, motions.reshape(200, -1))
    assert np.abs(pushed - expected).max() < 1e-12
    adjoint = np.einsum("bax,bax->b", pulled, motions) - np.einsum("bd,bd->b", pushed, weights)
    assert np.abs(adjoint).max() < 1e-11


def test_a_row_has_the_same_bits_in_every_batch(descriptor, frames, rng):
    positions = frames[1][:16]
    weights = rng.normal(size=(16, descriptor.size))
    whole = descriptor.linearise(positions)
    forces = whole.pull(weights)
    for start in (0, 6, 14):
        pair = slice(start, start + 2)
        local = descriptor.linearise(positions[pair])
        assert np.array_equal(local.features, whole.features[pair])
        assert np.array_equal(local.pull(weights[pair]), forces[pair])


def test_arguments_stay_as_they_are(descriptor, frames, rng):
    positions = frames[1][:4].copy()
    weights = rng.normal(size=(4, descriptor.size))
    kept = positions.copy(), weights.copy()
    local = descriptor.linearise(positions)
    before = local.features.copy()
    assert np.array_equal(local.pull(weights), local.pull(weights))
    assert np.array_equal(local.push(positions), local.push(positions))
    assert np.array_equal(positions, kept[0])
    assert np.array_equal(weights, kept[1])
    assert np.array_equal(local.features, before)


def test_features_are_the_forms_of_the_paper(frames):
    """With angles and dihedrals of the geometry module, wherever no angle is nearly straight."""
    numbers, positions = frames
    pairs, angles, dihedrals = extended(numbers, positions).parts
    found = pairs.linearise(positions).features
    for (i, j), feature in zip(pairs.atoms_of, found.T, strict=True):
        assert np.abs(feature * geometry.distance(positions, i, j)[0] - 1).max() < 1e-15
    found = angles.linearise(positions).features
    for atoms, feature in zip(angles.atoms_of, found.T, strict=True):
        theta, _ = geometry.angle(positions, *atoms)
        assert theta.max() < np.pi - WINDOW
        assert np.abs(feature - ((1 - np.exp(-theta)) ** 2 - 1)).max() < 1e-14
    found = dihedrals.linearise(positions).features
    for atoms, feature in zip(dihedrals.atoms_of, found.T, strict=True):
        phi, _ = geometry.dihedral(positions, *atoms)
        assert np.abs(feature - (1 + np.cos(phi))).max() < 1e-13


def bent(degrees, off_axis=0.0):
    """Chains (batch, 5, 3) whose middle angle opens by degrees (batch,), beyond 180 too.

    Atom 3 moves in a plane; atom 1 stands off it, so that the chain misses a straight line.
    """
    angle = np.radians(np.asarray(degrees))
    chain = np.zeros((len(angle), 5, 3))
    chain[:, 0] = [-1.9, 1.1, 0.3]
    chain[:, 1] = [-1.3, 0.0, off_axis]
    chain[:, 3, 0], chain[:, 3, 1] = -1.2 * np.cos(angle), 1.2 * np.sin(angle)
    chain[:, 4] = chain[:, 3] + np.array([0.4, 0.9, -0.5])
    return chain


def chain_features(atoms=5):
    angles, dihedrals = geometry.bonded_angles(CHAIN), geometry.bonded_dihedrals(CHAIN)
    return CompositeDescriptor((Angles(atoms, angles), Dihedrals(atoms, dihedrals)))


EDGE = 180 - np.degrees(WINDOW)
BENDS = [90.0, EDGE - 0.01, EDGE, EDGE + 0.01, 172.0, 179.0, 180 - 1e-6, 180 - 1e-12, 180.0, 181.0]


@pytest.mark.parametrize("off_axis", [0.0, 1e-9, 1e-3, 0.1])
def test_the_jacobian_holds_at_straight_angles(off_axis):
    """The dihedral's fifth derivative is 1200/(w^4 sin(5 w/16)) per rad^5, 3e7 per angstrom^5:
    1e-10. At the window's edge the fourth one jumps: 5e-10. Slopes are about 20."""
    descriptor, positions = chain_features(), bent(BENDS, off_axis)
    jacobian = descriptor.jacobian(positions)
    assert np.isfinite(jacobian).all()
    error = np.abs(differences(descriptor, positions, 1e-4) - jacobian)
    assert error.max() < 2e-9


@pytest.mark.parametrize("off_axis", [0.0, 1e-9, 1e-3])
def test_features_and_slopes_change_steadily_through_a_straight_angle(off_axis):
    """Half the step, half the change: nothing jumps, nothing has a kink."""
    descriptor = chain_features()
    jumps = []
    for count in (801, 1601):
        positions = bent(np.linspace(150, 210, count), off_axis)
        features = descriptor.linearise(positions).features
        jacobian = descriptor.jacobian(positions)
        assert np.isfinite(features).all()
        assert np.isfinite(jacobian).all()
        jumps.append([np.abs(np.diff(x, axis=0)).max() for x in (features, jacobian)])
    assert np.all(np.array(jumps[1]) < 0.52 * np.array(jumps[0]))


@pytest.mark.physics
@pytest.mark.parametrize("off_axis", [0.0, 1e-9, 1e-3])
def test_the_work_done_through_a_straight_angle_is_the_change_of_the_features(off_axis, rng):
    """Simpson's rule over the pull; its error falls with the fourth power of 1/600."""
    descriptor, count = chain_features(), 1201
    angle = np.linspace(150, 210, count)
    positions = bent(angle, off_axis)
    weights = np.broadcast_to(rng.normal(size=descriptor.size), (count, descriptor.size))
    local = descriptor.linearise(positions)
    velocity = np.zeros_like(positions)
    turn = np.radians(angle)
    velocity[:, 3, 0] = velocity[:, 4, 0] = 1.2 * np.sin(turn)
    velocity[:, 3, 1] = velocity[:, 4, 1] = 1.2 * np.cos(turn)
    power = np.einsum("bax,bax->b", local.pull(weights), velocity)
    simpson = np.array([1, *[4, 2] * ((count - 3) // 2), 4, 1]) / 3 * np.diff(turn)[0]
    energy = (local.features * weights).sum(axis=1)
    assert simpson @ power == pytest.approx(energy[-1] - energy[0], abs=1e-8)


def test_an_angle_folded_onto_itself_is_smooth_too():
    """No molecule has one, but a bad start may."""
    descriptor, positions = chain_features(), bent([5.0, 1e-7, 0.0, -3.0])
    jacobian = descriptor.jacobian(positions)
    assert np.isfinite(jacobian).all()
    assert np.abs(differences(descriptor, positions, 1e-4) - jacobian).max() < 2e-9


def test_atoms_in_one_place_give_no_finite_features(frames):
    """So that `potential.check` can refuse them."""
    numbers, positions = frames
    descriptor = extended(numbers, positions)
    wrecked = positions[:1].copy()
    i, j, _ = descriptor.parts[1].atoms_of[0]
    wrecked[0, i] = wrecked[0, j]
    local = descriptor.linearise(wrecked)
    assert not np.isfinite(local.features).all()
    assert not np.isfinite(local.pull(np.ones_like(local.features))).all()


def methyl_turn(numbers, positions):
    """Permutations of ethanol: none, the methyl turned, one of its hydrogens on the oxygen."""
    graph = neighbours(len(numbers), geometry.consensus_bonds(numbers, positions))
    hydrogens = [[h for h in others if numbers[h] == 1] for others in graph]
    methyl = next(own for own in hydrogens if len(own) == 3)
    hydroxyl = next(own[0] for atom, own in enumerate(hydrogens) if own and numbers[atom] == 8)
    permutations = np.tile(np.arange(len(numbers)), (3, 1))
    permutations[1, methyl] = np.roll(methyl, 1)
    permutations[2, [methyl[0], hydroxyl]] = hydroxyl, methyl[0]
    return permutations


@pytest.mark.parametrize("kind", ["distances", "angles", "dihedrals", "joined"])
def test_relabelling_atoms_relabels_the_features(kind, frames):
    """Up to rounding, as a dihedral may be counted from its other end."""
    numbers, positions = frames
    descriptor = descriptor_of(kind, numbers, positions)
    permutations = methyl_turn(numbers, positions)[:2]
    assert descriptor.closed_under(permutations).all()
    features = descriptor.linearise(positions).features
    for permutation, row in zip(permutations, descriptor.relabelled(permutations), strict=True):
        expected = descriptor.linearise(positions[:, permutation]).features
        assert np.abs(features[:, row] - expected).max() < 1e-13
        assert sorted(row) == list(range(descriptor.size))


@pytest.mark.parametrize("kind", ["angles", "dihedrals", "joined"])
def test_a_permutation_that_breaks_bonds_is_refused(kind, frames):
    descriptor = descriptor_of(kind, *frames)
    permutations = methyl_turn(*frames)
    assert descriptor.closed_under(permutations).tolist() == [True, True, False]
    with pytest.raises(InputError, match="permutation 2: keep both, or leave") as caught:
        descriptor.relabelled(permutations)
    assert "\n" not in str(caught.value)


def test_a_subset_must_be_closed_under_the_permutations():
    pairs = InverseDistances(3).subset([0, 2])
    assert pairs.atoms_of == ((1, 0), (2, 1))
    swap = np.array([[0, 1, 2], [2, 1, 0], [0, 2, 1]])
    assert pairs.closed_under(swap).tolist() == [True, True, False]
    assert pairs.relabelled(swap[:2]).tolist() == [[0, 1], [1, 0]]
    metric = RootDistances(pairs, np.eye(2))
    assert metric.closed_under(swap).tolist() == [True, True, False]
    with pytest.raises(InputError, match=r"'distance 1 0' but not 'distance 2 0'"):
        metric.relabelled(swap)


@pytest.mark.parametrize("kind", ["distances", "angles", "dihedrals", "joined"])
def test_a_subset_has_the_features_kept(kind, frames, rng):
    numbers, positions = frames
    whole = descriptor_of(kind, numbers, positions)
    kept = np.sort(rng.permutation(whole.size)[: whole.size // 2])
    part = whole.subset(kept)
    assert type(part) is type(whole)
    assert part.names == tuple(whole.names[feature] for feature in kept)
    local = part.linearise(positions)
    assert np.array_equal(local.features, whole.linearise(positions).features[:, kept])
    weights = rng.normal(size=local.features.shape)
    spread = np.zeros((len(positions), whole.size))
    spread[:, kept] = weights
    expected = whole.linearise(positions).pull(spread)
    assert np.abs(local.pull(weights) - expected).max() < 1e-13
    assert np.array_equal(part.jacobian(positions), whole.jacobian(positions)[:, kept])


def test_a_part_without_features_is_left_out(frames):
    joined = extended(*frames, (1.0, 2.0, 3.0))
    distances, angles, _ = joined.parts
    last = joined.subset(np.arange(distances.size + angles.size, joined.size))
    assert [type(part) for part in last.parts] == [Dihedrals]
    assert last.weights == (3.0,)


@pytest.mark.inputs
@pytest.mark.parametrize("kept", [[], [0, 0], [2, 1], [-1, 0], [0, 99], [0.0], [True], [[0]]])
def test_what_no_subset_can_be_is_refused(kept):
    for descriptor in (InverseDistances(4), chain_features()):
        with pytest.raises(InputError, match="features to keep"):
            descriptor.subset(kept)


def test_features_are_named_by_their_atoms():
    descriptor = CompositeDescriptor((InverseDistances(3), Angles(3, [[0, 1, 2]])))
    assert descriptor.names == ("distance 1 0", "distance 2 0", "distance 2 1", "angle 0 1 2")
    assert descriptor.atoms_of[-1] == (0, 1, 2)
    assert [geometry.Coordinate.parse(name).label for name in descriptor.names] == list(
        descriptor.names
    )


def test_weights_multiply_the_features(frames):
    plain, weighted = (extended(*frames, weights) for weights in [(1, 1, 1), (1, 0.5, 0.25)])
    assert extended(*frames).weights == (1.0, 1.0, 1.0)
    scale = np.repeat([1, 0.5, 0.25], [part.size for part in plain.parts])
    found, expected = (d.linearise(frames[1]).features for d in (weighted, plain))
    assert np.array_equal(found, expected * scale)


@pytest.mark.parametrize("isomer", ["cis", "trans"])
def test_azobenzene_has_its_angles_and_dihedrals(isomer):
    """Three angles on each of 12 carbons and one on each nitrogen; four dihedrals about each of
    12 ring bonds, two about each C-N and one about N=N."""
    atoms = read(INPUTS / f"azobenzene-{isomer}.xyz")
    descriptor = extended(atoms.numbers, atoms.positions)
    assert [part.size for part in descriptor.parts] == [276, 12 * 3 + 2, 12 * 4 + 2 * 2 + 1]


def test_the_inversion_of_azobenzene_is_smooth():
    """One C-N=N opened through 180 degrees, as on the inversion path.

    A straight angle's dihedral changes by at most 1/sin(5 w/16) for a turn of one arm; the
    atom in the middle turns both, which are longer than 1.2 angstrom.
    """
    atoms = read(INPUTS / "azobenzene-trans.xyz")
    descriptor = extended(atoms.numbers, atoms.positions)
    first, second = map(int, np.flatnonzero(atoms.numbers == 7))
    graph = neighbours(len(atoms), geometry.bonds(atoms.numbers, atoms.positions))
    (carbon,) = graph[second] - {first}
    ring = {carbon}
    for _ in range(6):
        ring |= set().union(*(graph[atom] for atom in ring)) - {second}
    frames = []
    for angle in np.linspace(120, 240, 241):
        moved = atoms.copy()
        moved.set_angle(first, second, carbon, angle, indices=sorted(ring))
        frames.append(moved.positions)
    positions = np.array(frames)
    angle, _ = geometry.angle(positions, first, second, carbon)
    assert np.degrees(angle.max()) > 179.999
    slopes = descriptor.jacobian(positions)
    assert np.isfinite(slopes).all()
    assert np.abs(slopes).max() < 2 / (1.2 * np.sin(5 * WINDOW / 16))


def test_a_molecule_without_angles_is_described_by_its_distances():
    found = extended(np.array([7, 7]), np.array([[0.0, 0, 0], [1.1, 0, 0]]))
    assert isinstance(found, InverseDistances)
    assert found.size == 1


@pytest.mark.parametrize("gone", [0.6, 1.0])
def test_the_extended_features_are_closed_under_a_group(gone, toy, rng):
    """A hydrogen of the methyl group is far away in most frames: bonded as its likes are."""
    numbers, positions = toy.ethanol_frames(10, rng)
    group = np.array(close([parsed(text, numbers) for text in ("(3 4 5)", "(3 4)")], 10))
    expected = extended(numbers, positions)
    positions[: int(10 * gone), 3] += 8.0
    assert (bonded_share(numbers, positions)[3] <= 1 - gone).all()
    alone = extended(numbers, positions)
    assert not alone.closed_under(group).all()
    found = extended(numbers, positions, permutations=group)
    assert found.closed_under(group).all()
    assert found.names == expected.names
    moved = found.linearise(positions[:, group[1]]).features
    plain = found.linearise(positions).features
    assert np.abs(plain[:, found.relabelled(group)[1]] - moved).max() < 1e-12


def test_images_of_bonds_can_be_what_makes_an_angle():
    """One hydrogen of water far away: without the group there is no angle."""
    numbers, frame = np.array([8, 1, 1]), np.array([[0.0, 0, 0], [0.96, 0, 0], [0, 9.0, 0]])
    assert type(extended(numbers, frame)) is InverseDistances
    swap = np.array([[0, 1, 2], [0, 2, 1]])
    found = extended(numbers, frame, permutations=swap)
    assert found.names[3:] == ("angle 1 0 2",)
    assert found.closed_under(swap).all()


def test_water_is_extended_by_its_angle(toy, rng):
    descriptor = extended(*toy.water_frames(5, rng))
    assert [type(part) for part in descriptor.parts] == [InverseDistances, Angles]


def test_descriptors_come_back_from_their_arrays(descriptor, frames):
    arrays = {name: np.array(array) for name, array in descriptor.arrays().items()}
    assert {array.dtype for array in arrays.values()} <= {np.dtype("int64"), np.dtype("float64")}
    again = from_arrays(descriptor.atoms, arrays | {"features": np.zeros(3)})
    assert type(again) is type(descriptor)
    assert again.names == descriptor.names
    positions = frames[1][:4]
    expected = descriptor.linearise(positions).features
    for twin in (again, pickle.loads(pickle.dumps(descriptor)), deepcopy(descriptor)):
        assert np.array_equal(twin.linearise(positions).features, expected)


def test_older_models_have_all_pairs():
    assert InverseDistances(5).arrays() == {}
    assert from_arrays(5, {}).names == InverseDistances(5).names


ANGLES, WEIGHTS = np.array([[0, 1, 2]]), np.array([1.0])
HOSTILE = [
    {"pairs": np.array([[0, 4]])},
    {"pairs": np.array([[0, -1]])},
    {"pairs": np.array([[1, 1]])},
    {"pairs": np.array([[0, 1], [1, 0]])},
    {"pairs": np.array([[0.0, 1.0]])},
    {"pairs": np.array([0, 1])},
    {"pairs": np.array([[0, 1, 2]])},
    {"pairs": np.zeros((0, 2), dtype=int)},
    {"pairs": np.array([[2**63, 1]], dtype=np.uint64)},
    {"angles": np.array([[0, 1, 0]])},
    {"angles": np.array([[0, 1, 2], [2, 1, 0]])},
    {"dihedrals": np.array([[0, 1, 2, 4]])},
    {"dihedrals": np.array([[0, 1, 2, 0]])},
    {"angles": ANGLES, "pairs": np.array([[0, 1]])},
    {"weights": WEIGHTS},
    {"angles": ANGLES, "weights": np.array([1.0, 1.0])},
    {"angles": ANGLES, "weights": np.array([[1.0]])},
    {"angles": ANGLES, "weights": np.array([1])},
    {"angles": ANGLES, "weights": np.array([0.0])},
    {"angles": ANGLES, "weights": np.array([np.nan])},
    {"angles": ANGLES, "transform": np.eye(1)},
    {"angles": ANGLES, "weights": WEIGHTS, "transform": np.eye(1)},
    {"transform": np.eye(3)},
    {"transform": np.eye(6, dtype=int)},
    {"transform": np.triu(np.ones((6, 6)))},
    {"transform": np.full((6, 6), np.inf)},
    {"pairs": np.array([[0, 1]]), "transform": np.eye(6)},
]


@pytest.mark.security
@pytest.mark.parametrize("arrays", HOSTILE)
def test_arrays_of_no_descriptor_are_refused(arrays):
    with pytest.raises(FileFormatError, match=r"azo\.flex: ") as caught:
        from_arrays(4, arrays, "azo.flex")
    assert "\n" not in str(caught.value)


def test_parts_are_joined_in_one_order_only():
    angles, pairs = Angles(4, ANGLES), InverseDistances(4)
    for parts in [(angles, pairs), (pairs, pairs), ()]:
        with pytest.raises(InputError, match="in this order"):
            CompositeDescriptor(parts)
    with pytest.raises(InputError, match="different size"):
        CompositeDescriptor((InverseDistances(5), angles))
    with pytest.raises(InputError, match="2 positive numbers"):
        CompositeDescriptor((pairs, angles), (1.0, -1.0))
