"""Training: what is learned, the constant, the diagnosis of labels."""

from dataclasses import replace

import numpy as np
import pytest

from flexcalc.dataset import Dataset
from flexcalc.errors import ConfigError, FileFormatError, InputError, MoleculeError
from flexcalc.models.family import TrainingWarning
from flexcalc.models.gdml import SGDML
from flexcalc.models.gdml.descriptor import InverseDistances
from flexcalc.models.gdml.diagnosis import diagnosis


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
    with pytest.raises(FileFormatError, match="no forces"):
        SGDML(sigma=10.0).fit(bare, None, rng)
    with pytest.raises(FileFormatError, match="no forces"):
        SGDML(sigma=10.0).fit(water, bare, rng)
    alone = replace(water, energies=None)
    with pytest.raises(FileFormatError, match="validation frames have no energies and the others"):
        SGDML(sigma=10.0).fit(water, alone, rng)
    with pytest.raises(FileFormatError, match="training points have no energies and the others"):
        SGDML(sigma=10.0).fit(alone, water, rng)


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
        SGDML(sigma=10.0, metric="learned", descriptor="distances").fit(data, None, rng)
