"""Training: the kernel matrix, its solution, the constant, the diagnosis of labels."""

from dataclasses import replace

import numpy as np
import pytest

from flexcalc.dataset import Dataset
from flexcalc.errors import ConfigError, FileFormatError, InputError, MoleculeError
from flexcalc.models.family import TrainingWarning
from flexcalc.models.gdml import SGDML, solver
from flexcalc.models.gdml.descriptor import InverseDistances
from flexcalc.models.gdml.family import diagnosis

SWAP = np.array([[0, 1, 2], [0, 2, 1]])


def kernel(x, y, sigma):
    """Matern 5/2 in the features."""
    n = np.sqrt(5 * np.sum((x - y) ** 2)) / sigma
    return (1 + n + n**2 / 3) * np.exp(-n)


def literal_block(one, other, permutations, sigma):
    """K_ij of two geometries (atoms, 3) from the formula, in Cartesian coordinates."""
    descriptor = InverseDistances(len(one))
    order = descriptor.relabelled(permutations)
    (x, y), (J, L) = (
        descriptor.linearise(np.array([one, other])).features,
        descriptor.jacobian(np.array([one, other])),
    )
    block = np.zeros((J.shape[1],) * 2)
    for permuted in order:
        d = x - y[permuted]
        n = np.sqrt(5) * np.linalg.norm(d)
        hessian = sigma * (sigma + n) * np.eye(len(d)) - 5 * np.outer(d, d)
        block += 5 / (3 * sigma**4) * np.exp(-n / sigma) * J.T @ hessian @ L[permuted]
    return block


def test_the_jacobian_is_the_derivative_of_the_features(rng):
    descriptor = InverseDistances(4)
    positions = rng.normal(scale=2.0, size=(3, 4, 3))
    jacobian = descriptor.jacobian(positions)
    for column in range(12):
        step = np.zeros((4, 3))
        step.flat[column] = 1e-5
        ahead = descriptor.linearise(positions + step).features
        behind = descriptor.linearise(positions - step).features
        assert np.abs((ahead - behind) / 2e-5 - jacobian[..., column]).max() < 1e-7


def test_pulling_back_is_the_transposed_jacobian(rng):
    descriptor = InverseDistances(5)
    positions = rng.normal(scale=2.0, size=(3, 5, 3)) + 100.0
    weights = rng.normal(size=(3, 10))
    pull = descriptor.linearise(positions).pull
    expected = np.einsum("bdx,bd->bx", descriptor.jacobian(positions), weights)
    assert np.abs(pull(weights).reshape(3, 15) - expected).max() < 1e-12


def test_relabelling_atoms_relabels_features(rng):
    descriptor = InverseDistances(5)
    positions = rng.normal(size=(2, 5, 3))
    permutation = rng.permutation(5)
    expected = descriptor.linearise(positions[:, permutation]).features
    found = descriptor.linearise(positions).features[:, descriptor.relabelled(permutation[None])[0]]
    assert np.array_equal(found, expected)


def test_the_kernel_matrix_is_the_second_derivative_of_the_kernel(rng, toy):
    """The literal block against differences of the kernel itself, which fixes sign and factor."""
    _, (one, other) = toy.water_frames(2, rng)
    descriptor, step, sigma = InverseDistances(3), 1e-3, 3.0
    block = literal_block(one, other, SWAP[:1], sigma)

    def value(a, b):
        features = descriptor.linearise(np.array([a, b])).features
        return kernel(*features, sigma)

    for row, column in [(0, 0), (1, 5), (4, 2), (8, 8)]:
        a, b = np.zeros((2, 3, 3))
        a.flat[row] = b.flat[column] = step
        mixed = value(one + a, other + b) - value(one + a, other - b)
        mixed += value(one - a, other - b) - value(one - a, other + b)
        assert mixed / (4 * step**2) == pytest.approx(block[row, column], abs=1e-5)


def test_assembly_gives_the_blocks_of_the_formula(rng, toy, monkeypatch):
    """More points than are combined at a time, in the coordinates without rigid motions."""
    monkeypatch.setattr(solver, "BLOCK", 1)
    _, positions = toy.water_frames(27, rng)
    points = solver.prepare(InverseDistances(3), positions, SWAP)
    matrix = solver.assemble(points, sigma=5.0)
    count, unknowns = len(positions), 3
    assert matrix.shape == (3 * count, 3 * count)
    blocks = matrix.reshape(count, unknowns, count, unknowns)
    for i, j in [(0, 0), (3, 1), (1, 3), (count - 1, 2), (20, count - 1)]:
        literal = literal_block(positions[i], positions[j], SWAP, 5.0)
        expected = points.motions[i].T @ literal @ points.motions[j]
        assert np.abs(blocks[i, :, j] - expected).max() < 1e-13
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_internal_motions_leave_out_rigid_ones(rng, toy):
    """They are orthonormal, and the Jacobian loses nothing by the projection."""
    _, positions = toy.water_frames(4, rng)
    motions = solver.internal_motions(positions)
    assert motions.shape == (4, 9, 3)
    gram = motions.transpose(0, 2, 1) @ motions
    assert np.abs(gram - np.eye(3)).max() < 1e-14
    jacobian = InverseDistances(3).jacobian(positions)
    kept = jacobian @ motions @ motions.transpose(0, 2, 1)
    assert np.abs(kept - jacobian).max() < 1e-14


@pytest.mark.parametrize("shape", ["linear", "diatomic"])
def test_linear_molecules_can_be_trained(shape, rng, toy):
    """They have one rotation less; nothing of the Jacobian may get lost."""
    atoms = {"linear": 3, "diatomic": 2}[shape]
    positions = np.zeros((20, atoms, 3))
    positions[:, :, 2] = np.arange(atoms) * 1.5 + rng.uniform(-0.2, 0.2, (20, atoms))
    data = toy.labelled(np.array([8, 6, 8])[:atoms], positions)
    potential = SGDML(sigma=5.0).fit(data[:15], data[15:], rng)
    error = potential(data.positions[15:]).forces - data.forces[15:]
    assert np.sqrt(np.mean(error**2)) < 0.01 * data.forces.std()


def test_solving_agrees_with_numpy(rng):
    root = rng.normal(size=(40, 40))
    matrix, labels = root @ root.T, rng.normal(size=40)
    expected = np.linalg.solve(matrix + 0.1 * np.eye(40), labels)
    assert np.allclose(solver.solve(matrix.copy(), labels, 0.1), expected, rtol=1e-9)


def test_an_indefinite_matrix_is_solved_all_the_same(rng):
    """Rounding can make a kernel matrix indefinite: Cholesky fails half-way, LU takes over."""
    matrix = rng.normal(size=(40, 40))
    matrix, labels = matrix + matrix.T, rng.normal(size=40)
    expected = np.linalg.solve(matrix + 0.1 * np.eye(40), labels)
    assert np.allclose(solver.solve(matrix.copy(), labels, 0.1), expected, rtol=1e-9)


def test_a_singular_matrix_is_refused():
    with pytest.raises(InputError, match="occur twice"):
        solver.solve(np.zeros((4, 4)), np.ones(4), 0.0)


def test_more_points_than_fit_into_memory_are_refused(water, rng, monkeypatch):
    """Before anything is made, and with a number that would fit."""
    available = solver.bytes_needed(30, 3, 3)
    monkeypatch.setattr(solver, "available_bytes", lambda: available)
    with pytest.raises(InputError, match="points or fewer") as caught:
        SGDML(sigma=10.0).fit(water, None, rng)
    fitting = int(str(caught.value).split()[-4])
    assert fitting == 30
    SGDML(sigma=10.0).fit(water[:fitting], None, rng)


def test_the_kernel_matrix_is_what_takes_the_memory():
    """Azobenzene with 1000 points: 66,000 rows without rigid motions, 32.5 GiB."""
    needed = solver.bytes_needed(1000, 24, 276)
    assert 66_000**2 * 8 < needed < 1.05 * 66_000**2 * 8


def test_the_memory_at_hand_is_known():
    available = solver.available_bytes()
    assert available is None or 1 << 20 < available < 1 << 50


def test_training_forces_are_reproduced(water, rng):
    """With the regularization at zero's edge the model interpolates."""
    potential = SGDML(sigma=5.0, regularization=1e-12).fit(water, None, rng)
    scale = np.abs(water.forces).max()
    assert np.abs(potential(water.positions).forces - water.forces).max() < 1e-5 * scale


def test_training_learns_the_surface(model, ethanol):
    """A tenth of a kcal/mol/A where forces vary by forty, from fifty frames."""
    assert model.facts["errors"]["validation"]["force_rmse_kcal_mol_A"] < 0.5
    assert model.facts["errors"]["validation"]["energy_rmse_kcal_mol"] < 0.1
    assert model.facts["training_points"] == 50
    assert model.facts["training_sha256"] == ethanol[:50].sha256()
    assert model.facts["warnings"] == []


def test_symmetry_saves_training_points(ethanol, model, rng):
    plain = SGDML(sigma=10.0, symmetry=False).fit(ethanol[:50], ethanol[50:], rng)
    assert plain.facts["permutations"] == 1
    error, without = (
        potential.facts["errors"]["validation"]["force_rmse_kcal_mol_A"]
        for potential in (model, plain)
    )
    assert error < 0.7 * without


def test_the_constant_is_fitted_on_all_labelled_frames(model, ethanol):
    offsets = ethanol.energies - model(ethanol.positions).energies
    assert abs(offsets.mean()) < 1e-9


def test_the_order_of_the_frames_is_all_the_same(water, rng):
    """The same model from shuffled training points, up to rounding amplified by the solution."""
    shuffled = water[rng.permutation(len(water))]
    frames = water.positions[:10] + 0.05
    one, other = (SGDML(sigma=10.0).fit(data, None, rng)(frames) for data in (water, shuffled))
    assert np.abs(one.forces - other.forces).max() < 1e-6 * np.abs(one.forces).max()


def test_training_changes_nothing(water, rng):
    before = water.sha256()
    SGDML(sigma=10.0).fit(water, None, rng)
    assert water.sha256() == before


def test_gradients_given_as_forces_are_noticed(ethanol, rng):
    wrong = replace(ethanol, forces=-ethanol.forces)
    with pytest.warns(TrainingWarning, match="gradients"):
        potential = SGDML(sigma=10.0).fit(wrong[:50], None, rng)
    assert "gradients" in potential.facts["warnings"][0]


@pytest.mark.parametrize("factor", [27.2114, 0.0433641, 0.529177])
def test_energies_in_another_unit_are_noticed(ethanol, rng, factor):
    wrong = replace(ethanol, energies=factor * ethanol.energies)
    with pytest.warns(TrainingWarning, match="check that energies and forces"):
        SGDML(sigma=10.0).fit(wrong[:50], None, rng)


def test_shuffled_energies_are_noticed(ethanol, rng):
    wrong = replace(ethanol, energies=rng.permutation(ethanol.energies))
    with pytest.warns(TrainingWarning):
        SGDML(sigma=10.0).fit(wrong[:50], None, rng)


def test_diagnosis_keeps_silent_on_good_labels(rng):
    energies = rng.normal(size=100)
    assert diagnosis(energies, energies + 0.1 * rng.normal(size=100) + 7.0) is None
    assert diagnosis(energies[:3], -energies[:3]) is None
    assert diagnosis(np.ones(20), energies[:20]) is None


def test_sigma_must_be_set_for_a_single_fit(water, rng):
    with pytest.raises(ConfigError, match="fit_best"):
        SGDML().fit(water, None, rng)


def test_unlabelled_frames_are_refused(water, rng):
    bare = Dataset(water.numbers, water.positions)
    with pytest.raises(FileFormatError, match="no energies"):
        SGDML(sigma=10.0).fit(bare, None, rng)
    with pytest.raises(FileFormatError, match="no energies"):
        SGDML(sigma=10.0).fit(water, bare, rng)


def test_validation_frames_of_another_molecule_are_refused(water, ethanol, rng):
    with pytest.raises(MoleculeError, match="H2O"):
        SGDML(sigma=10.0).fit(water, ethanol, rng)


def test_the_kernel_matrix_shows_its_progress(water, rng):
    seen = []
    SGDML(sigma=10.0).fit(water, None, rng, lambda done, total, note: seen.append((done, total)))
    assert seen == [(k + 1, 60) for k in range(60)]


def test_forces_that_never_change_teach_nothing(rng):
    positions = rng.normal(size=(5, 3, 3))
    data = Dataset(np.array([8, 1, 1]), positions, np.zeros(5), np.zeros((5, 3, 3)))
    with pytest.raises(InputError, match="nothing to learn"):
        SGDML(sigma=10.0).fit(data, None, rng)


@pytest.mark.inputs
@pytest.mark.parametrize("alike", [1, 3])
def test_a_metric_cannot_be_learned_from_geometries_that_are_alike(alike, rng):
    """One point, or several times the same one, has no spread to measure with."""
    frame = np.array([[0.0, 0, 0], [1.1, 0, 0], [-0.24, 0.93, 0]])
    forces = np.array([[1.0, 1, 0], [-1, 0, 0], [0, -1, 0]])
    numbers = np.array([8, 1, 1])
    data = Dataset(numbers, [frame] * alike, np.zeros(alike), [forces] * alike)
    with pytest.raises(InputError, match='set metric = "plain"'):
        SGDML(sigma=10.0, metric="learned").fit(data, None, rng)
