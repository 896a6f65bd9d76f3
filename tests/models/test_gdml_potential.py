"""The trained sGDML potential obeys the laws, and predicts what its formula says."""

import copy
import multiprocessing

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from flexcalc.errors import NonFiniteError, ShapeError
from flexcalc.models.gdml import GDMLPotential
from flexcalc.models.gdml.descriptor import InverseDistances
from flexcalc.models.gdml.potential import MAX_CHUNK, Expansion


def distorted(model, ethanol, rng, count):
    frames = ethanol.positions[rng.integers(len(ethanol), size=count)]
    return frames + rng.normal(scale=0.1, size=frames.shape)


def check_gradient(potential, positions, rng, tolerance=1e-6):
    """Forces against five-point differences of the energy along random directions.

    With the step 1e-3 A the truncation error is of the order of 1e-12 times the fifth derivative
    (hundreds of eV/A^5 at these geometries), rounding about 1e-12 eV / 1e-3 A.
    """
    step = 1e-3
    way = rng.normal(size=positions.shape)
    way /= np.linalg.norm(way, axis=(1, 2), keepdims=True)
    energy = [potential(positions + k * step * way).energies for k in (-2, -1, 1, 2)]
    slope = (energy[0] - 8 * energy[1] + 8 * energy[2] - energy[3]) / (12 * step)
    along = np.einsum("bax,bax->b", potential(positions).forces, way)
    assert np.abs(along + slope).max() < tolerance


@pytest.mark.physics
def test_forces_are_minus_the_gradient(model, ethanol, rng):
    """Rattled rotamers, three directions each."""
    positions = distorted(model, ethanol, rng, 20)
    for _ in range(3):
        check_gradient(model, positions, rng)


@pytest.mark.physics
@pytest.mark.long
def test_forces_are_minus_the_gradient_at_many_geometries(model, ethanol, rng):
    check_gradient(model, distorted(model, ethanol, rng, 2000), rng)


@pytest.mark.physics
def test_turned_and_shifted_molecules_have_turned_forces(model, ethanol, rng):
    positions = distorted(model, ethanol, rng, 10)
    turn = Rotation.random(rng=rng).as_matrix()
    before = model(positions)
    after = model(positions @ turn.T + rng.normal(scale=5.0, size=3))
    atoms = len(model.numbers)
    assert np.abs(after.energies - before.energies).max() < 1e-8 * atoms
    assert np.abs(after.forces - before.forces @ turn.T).max() < 1e-8


@pytest.mark.physics
def test_like_atoms_of_the_group_are_interchangeable(model, ethanol, rng):
    positions = distorted(model, ethanol, rng, 10)
    before = model(positions)
    assert len(model.permutations) == 6
    for permutation in model.permutations:
        after = model(positions[:, permutation])
        assert np.abs(after.energies - before.energies).max() < 1e-8
        assert np.abs(after.forces - before.forces[:, permutation]).max() < 1e-8


@pytest.mark.physics
def test_no_net_force_and_no_net_torque(model, ethanol, rng):
    positions = distorted(model, ethanol, rng, 10)
    forces = model(positions).forces
    assert np.abs(forces.sum(axis=1)).max() < 1e-8
    assert np.abs(np.cross(positions, forces).sum(axis=1)).max() < 1e-8


def test_prediction_is_the_sum_over_training_points(published, ethanol, rng):
    """Against the unexpanded formula, one geometry, training point and permutation at a time.

    Energies are sums of terms that reach `size`, so they agree to some 1e-13 of it.
    """
    model = published
    positions = distorted(model, ethanol, rng, 5)
    found = model(positions)
    sigma, scale = model.sigma, model.scale
    order = InverseDistances(9).relabelled(model.permutations)
    for frame, energy, force in zip(positions, found.energies, found.forces, strict=True):
        jacobian = InverseDistances(9).jacobian(frame[None])[0]
        x = InverseDistances(9).linearise(frame[None]).features[0]
        terms, slope = [], np.zeros_like(x)
        for point, coefficients in zip(model.features, model.coefficients, strict=True):
            for permuted in order:
                d, a = x - point[permuted], coefficients[permuted]
                n = np.sqrt(5) * np.linalg.norm(d)
                weight = 5 / (3 * sigma**3) * np.exp(-n / sigma)
                terms.append(scale * (d @ a) * weight * (n + sigma))
                slope += scale * weight * (5 / sigma * (d @ a) * d - (n + sigma) * a)
        size = np.abs(terms).sum()
        assert abs(energy - sum(terms) - model.constant) < 1e-13 * size
        expected = (jacobian.T @ slope).reshape(9, 3)
        assert np.abs(force - expected).max() < 1e-11 * size


def test_a_batch_gives_what_its_rows_give(model, ethanol, rng):
    positions = distorted(model, ethanol, rng, 150)
    batch = model(positions)
    rows = [model(frame[None]) for frame in positions]
    energies = np.concatenate([row.energies for row in rows])
    forces = np.concatenate([row.forces for row in rows])
    assert np.abs(batch.energies - energies).max() < 1e-9
    assert np.abs(batch.forces - forces).max() < 1e-9


def test_a_model_that_was_moved_predicts_the_same_and_leaves_the_original(model, ethanol):
    """To torch, here on the processor, and back; other products, other rounding."""
    pytest.importorskip("torch")
    before = model(ethanol.positions[:5])
    moved = model.on("torch")
    found, back = moved(ethanol.positions[:5]), moved.on("cpu")(ethanol.positions[:5])
    assert np.abs(found.energies - before.energies).max() < 1e-7
    assert np.abs(found.forces - before.forces).max() < 1e-7
    assert np.array_equal(back.forces, before.forces)
    assert np.array_equal(model(ethanol.positions[:5]).forces, before.forces)


def test_an_empty_batch_gives_nothing(model):
    found = model(np.empty((0, 9, 3)))
    assert found.energies.shape == (0,)
    assert found.forces.shape == (0, 9, 3)


def test_a_call_changes_nothing(model, ethanol):
    positions = ethanol.positions[:3].copy()
    kept = positions.copy()
    first, second = model(positions), model(positions)
    assert np.array_equal(positions, kept)
    assert np.array_equal(first.forces, second.forces)


def test_atoms_in_one_place_are_refused(model, ethanol):
    positions = ethanol.positions[:2].copy()
    positions[1, 3] = positions[1, 4]
    with pytest.raises(NonFiniteError, match="row 1"):
        model(positions)


def test_another_number_of_atoms_is_refused(model):
    with pytest.raises(ShapeError, match="9, 3"):
        model(np.zeros((1, 8, 3)))


def test_atoms_far_apart_stay_finite(model, ethanol):
    """Where nothing was learnt the model goes flat; it does not overflow."""
    found = model(ethanol.positions[:1] * 1e6)
    assert np.abs(found.forces).max() < 1e-6


def test_a_deep_copy_outlives_the_original(model, ethanol):
    expected = model(ethanol.positions[:2])
    twin = copy.deepcopy(model)
    other = copy.deepcopy(twin)
    del twin
    assert np.array_equal(other(ethanol.positions[:2]).forces, expected.forces)


def test_a_worker_process_predicts_the_same(model, ethanol):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(model, (ethanol.positions[:2],))
    assert np.array_equal(found.forces, model(ethanol.positions[:2]).forces)


def test_one_training_point_is_enough_for_a_model(rng):
    """The kernel of a point with itself has n = 0, where the expansion must not break."""
    features = rng.uniform(0.3, 1.0, size=(1, 3))
    potential = GDMLPotential(
        np.array([8, 1, 1]),
        Expansion(
            permutations=np.array([[0, 1, 2]]),
            features=features,
            coefficients=np.array([[1.0, -2.0, 0.5]]),
            sigma=2.0,
        ),
    )
    energies, slope = potential.contract(features)
    assert np.allclose(energies, 0.0, atol=1e-15)
    expected = -5 / (3 * 2.0**2) * np.array([[1.0, -2.0, 0.5]])
    assert np.allclose(slope, expected, rtol=1e-7)


@pytest.mark.parametrize("cores", [1, 2, 3, 4])
def test_cores_get_as_many_chunks_each(model, cores, monkeypatch):
    """Of 189 geometries two cores had three chunks and two."""
    monkeypatch.setattr("flexcalc.models.gdml.potential.cores", lambda: cores)
    for work in (1e3, 1e5, 1e7):
        monkeypatch.setattr(model, "_work", work)
        for count in (1, 7, 64, 65, 189, 600):
            rows = model._rows(count)
            chunks = -(-count // rows)
            assert rows < 2 * MAX_CHUNK
            assert chunks <= cores or chunks % cores == 0 or rows == 1
