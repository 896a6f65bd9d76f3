"""Training: what is learned, the constant, the diagnosis of labels."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from flexcalc.dataset import Dataset
from flexcalc.errors import ConfigError, FileFormatError, InputError, MoleculeError
from flexcalc.models.family import TrainingWarning
from flexcalc.models.gdml import SGDML
from flexcalc.models.gdml.descriptor import InverseDistances
from flexcalc.models.gdml.diagnosis import diagnosis, median_line


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


def test_a_poor_model_of_sound_labels_is_not_taken_for_a_unit(rng):
    """Models of few points reach slopes of 0.89 on labels by GFN2-xTB; hartree is 27 off."""
    energies = rng.normal(size=40)
    assert diagnosis(0.89 * energies, energies) is None
    assert "check that" in diagnosis(0.5 * energies, energies)
    assert diagnosis(0.5 * energies, energies, lambda: True) is None


def test_labels_that_belong_together_leave_the_blame_to_the_points(rng):
    energies = rng.normal(size=40)
    predicted = energies + 0.6 * rng.normal(size=40)
    assert "or labels that do not belong together" in diagnosis(energies, predicted)
    said = diagnosis(energies, predicted, lambda: True)
    assert said.endswith("gives: too few training points")


def test_energies_without_any_relation_are_not_called_gradients(rng):
    """By chance half of all slopes are negative; 1 of 1000 may be called so."""
    notes = [diagnosis(*rng.normal(size=(2, 30))) or "" for _ in range(1000)]
    assert sum("gradients" in note for note in notes) <= 4
    assert all("correlate by only" in note or "gradients" in note for note in notes)


def test_the_interval_of_a_slope_holds_it_as_often_as_it_says(rng):
    """But for 1 of 1000; 20 frames with noise as large as the energies are."""
    held = 0
    for _ in range(1000):
        predicted = rng.normal(size=20)
        line = median_line(0.7 * predicted + rng.normal(size=20), predicted)
        held += line.low <= 0.7 <= line.high
    assert held >= 995


def test_one_energy_given_many_times_is_no_evidence(rng):
    """Rounding in a file, and two geometries that were copied, however often."""
    rounding = 1e-8 * rng.normal(size=(2, 50))
    assert diagnosis(-4321.0 + rounding[0], 3.0 + rounding[1]) is None
    copies = np.tile([0.0, 1.0], 25)
    assert diagnosis(copies, -copies) is None


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (1.0, "the energies of 5 training points, such as number"),
        (-1.0, "gradients seem to have been given as forces"),
        (27.2114, "as much as the forces say: check that"),
        (0.529177, "as much as the forces say: check that"),
    ],
)
def test_a_tenth_of_unphysical_frames_hides_and_makes_no_alarm(factor, message, rng):
    """What the forces say of them is anything, and far larger than all the others."""
    predicted = rng.normal(size=50)
    energies = factor * predicted + 0.02 * abs(factor) * rng.normal(size=50)
    predicted[::10] += np.array([60.0, 80.0, -70.0, 90.0, 100.0]) * -np.sign(predicted[::10])
    assert message in diagnosis(energies, predicted)


def test_right_labels_of_one_geometry_or_with_unphysical_ones_are_not_called_gradients(
    ethanol, rng
):
    """A hydrogen far off in every tenth frame, whose labels stayed as they were."""
    same = ethanol[np.zeros(50, dtype=int)]
    moved = np.array(ethanol.positions[:50])
    moved[::10, 8] += 5.0
    for data in (same, replace(ethanol[:50], positions=moved)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            SGDML(sigma=20.0).fit(data[:30], None, rng)
        assert not [str(one.message) for one in caught if "gradients" in str(one.message)]


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
