"""Blocks of the kernel matrix are derivatives of the kernel of energies."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from flexcalc.models.gdml.descriptor import InverseDistances, extended
from flexcalc.models.gdml.engine import engine
from flexcalc.models.gdml.exact import full_matrix
from flexcalc.models.gdml.groups import close, parsed
from flexcalc.models.gdml.kernel import Kernel, internal_motions, prepare

STEP = 5e-3
FIVE = np.array([1.0, -8.0, 8.0, -1.0]) / (12 * STEP)
SHIFTS = STEP * np.array([-2.0, -1.0, 1.0, 2.0])
GENERATORS = {"water": ["(1 2)"], "ethanol": ["(3 4 5)", "(3 4)"]}
SIGMA = {"water": 3.0, "ethanol": 6.0}


def literal_kernel(descriptor, permutations, sigma, one, other):
    """k summed over the relabellings of the second geometries; (frames, frames).

    Relabelling is done on the atoms, in Cartesian coordinates.
    """
    here = descriptor.linearise(one).features
    total = np.zeros((len(one), len(other)))
    for permutation in permutations:
        there = descriptor.linearise(other[:, permutation]).features
        n = np.sqrt(5.0) * cdist(here, there) / sigma
        total += (1 + n + n**2 / 3) * np.exp(-n)
    return total


def displaced(frame, motions):
    """A geometry moved along each of its motions, four times; then itself."""
    moved = frame + SHIFTS[:, None, None] * motions.T.reshape(-1, 1, *frame.shape)
    return np.concatenate([moved.reshape(-1, *frame.shape), frame[None]])


def differentiated(values, unknowns):
    """Minus the derivative along each motion, which a force is, then the value, over rows."""
    moved = values[:-1].reshape(unknowns, 4, -1)
    return np.concatenate([-np.einsum("k,ukx->ux", FIVE, moved), values[-1:]])


@pytest.fixture(params=["water", "ethanol"])
def molecule(request, toy, rng):
    """Numbers, six frames, a group and a length scale."""
    frames = {"water": toy.water_frames, "ethanol": toy.ethanol_frames}[request.param]
    numbers, positions = frames(6, rng)
    rows = [parsed(text, np.ones_like(numbers)) for text in GENERATORS[request.param]]
    return numbers, positions, np.array(close(rows, 100)), SIGMA[request.param]


def describe(kind, numbers, positions):
    return {
        "distances": lambda: InverseDistances(len(numbers)),
        "extended": lambda: extended(numbers, positions, (1.0, 0.4, 0.3)),
    }[kind]()


@pytest.mark.parametrize("kind", ["distances", "extended"])
def test_blocks_are_derivatives_of_the_kernel_of_energies(kind, molecule):
    """<F F>, <F E> and <E E>, by five-point differences in both geometries.

    Rounding is 1e-16 of the kernel times (1.5/h)^2, some 1e-10 here; what is cut off is
    h^4/30 = 2e-11 times sixth derivatives, which are below a thousand in these units.
    """
    numbers, positions, permutations, sigma = molecule
    descriptor = describe(kind, numbers, positions)
    points = prepare(descriptor, positions, permutations, energies=True)
    kernel = Kernel(points, sigma)
    unknowns = points.unknowns - 1
    for row, column in ((1, 0), (4, 2), (2, 5)):
        block = kernel.blocks(row, slice(column, column + 1))[0]
        one, other = (displaced(positions[k], points.motions[k]) for k in (row, column))
        values = literal_kernel(descriptor, permutations, sigma, one, other)
        expected = differentiated(differentiated(values, unknowns).T, unknowns).T
        assert np.abs(block - expected).max() < 2e-8
        assert block[-1, -1] == pytest.approx(values[-1, -1], rel=1e-13)


def test_blocks_of_forces_are_those_without_energies(molecule):
    numbers, positions, permutations, sigma = molecule
    descriptor = InverseDistances(len(numbers))
    both, forces = (
        Kernel(prepare(descriptor, positions, permutations, energies), sigma).blocks(3, slice(0, 6))
        for energies in (True, False)
    )
    assert np.array_equal(both[:, :-1, :-1], forces)


@pytest.mark.parametrize("energies", [False, True])
def test_the_matrix_is_symmetric_and_positive(energies, molecule):
    """Blocks above the diagonal, made on their own, are those below it transposed."""
    numbers, positions, permutations, sigma = molecule
    points = prepare(InverseDistances(len(numbers)), positions, permutations, energies)
    kernel = Kernel(points, sigma)
    whole = np.concatenate(
        [
            kernel.blocks(row, slice(0, 6)).transpose(1, 0, 2).reshape(-1, points.rows)
            for row in range(6)
        ]
    )
    scale = whole.diagonal().max()
    assert np.abs(whole - whole.T).max() < 1e-13 * scale
    assert np.abs(whole - full_matrix(kernel)).max() < 1e-13 * scale
    # A positive matrix in exact arithmetic, whose small eigenvalues rounding may take below zero.
    assert np.linalg.eigvalsh(whole).min() > -1e-14 * points.rows * scale


def test_chosen_rows_are_rows_of_the_whole_blocks(molecule):
    """Of the motions; the energy's comes along, as the last one."""
    numbers, positions, permutations, sigma = molecule
    kernel = Kernel(prepare(InverseDistances(len(numbers)), positions, permutations, True), sigma)
    whole = kernel.blocks(2, slice(1, 5))
    for chosen in ([0], [0, 2], []):
        found = kernel.blocks(2, slice(1, 5), np.array(chosen, dtype=int))
        # Products of other widths may be rounded otherwise.
        assert np.abs(found - whole[:, [*chosen, -1]]).max() < 1e-14 * np.abs(whole).max()


@pytest.mark.parametrize("energies", [False, True])
def test_torch_gives_the_same_blocks(energies, molecule):
    pytest.importorskip("torch")
    numbers, positions, permutations, sigma = molecule
    points = prepare(InverseDistances(len(numbers)), positions, permutations, energies)
    other = engine("torch")
    expected = Kernel(points, sigma).blocks(4, slice(0, 4))
    found = Kernel(points, sigma, other).blocks(4, slice(0, 4))
    assert np.abs(other.numpy(found) - expected).max() < 1e-13 * np.abs(expected).max()
    few = Kernel(points, sigma, other).blocks(4, slice(0, 4), np.array([1]))
    rows = [1, -1] if energies else [1]
    assert np.abs(other.numpy(few) - expected[:, rows]).max() < 1e-13 * np.abs(expected).max()


def test_internal_motions_leave_out_rigid_ones(molecule):
    """They are orthonormal, and the Jacobian loses nothing by the projection."""
    numbers, positions, _, _ = molecule
    motions = internal_motions(positions)
    internal = 3 * len(numbers) - 6
    assert motions.shape == (6, 3 * len(numbers), internal)
    gram = motions.transpose(0, 2, 1) @ motions
    assert np.abs(gram - np.eye(internal)).max() < 1e-13
    jacobian = InverseDistances(len(numbers)).jacobian(positions)
    kept = jacobian @ motions @ motions.transpose(0, 2, 1)
    assert np.abs(kept - jacobian).max() < 1e-13


def test_labels_are_the_parts_of_the_forces_along_the_motions(molecule, toy):
    """Internal forces lose nothing: the motions give them back."""
    numbers, positions, permutations, _ = molecule
    energies, forces = toy.labels(numbers, positions)
    points = prepare(InverseDistances(len(numbers)), positions, permutations, energies=True)
    labels = points.labels(energies, forces)
    assert np.array_equal(labels[:, -1], energies)
    back = np.einsum("pxu,pu->px", points.motions, labels[:, :-1]).reshape(forces.shape)
    assert np.abs(back - forces).max() < 1e-12 * np.abs(forces).max()
    slopes, weights = points.contracted(labels.ravel())
    assert np.array_equal(weights, energies)
    expected = np.einsum(
        "pdx,px->pd", InverseDistances(len(numbers)).jacobian(positions), forces.reshape(6, -1)
    )
    assert np.abs(slopes - expected).max() < 1e-12 * np.abs(expected).max()


def test_points_are_combined_in_chunks_without_a_trace(molecule, monkeypatch):
    """As many as fit into a cache; here one, two or all of them."""
    numbers, positions, permutations, sigma = molecule
    kernel = Kernel(prepare(InverseDistances(len(numbers)), positions, permutations, True), sigma)
    expected = full_matrix(kernel)
    for width in (1, 2, 6):
        kernel.width = width
        assert np.abs(full_matrix(kernel) - expected).max() < 1e-14 * expected.max()
