"""What energies are good for: fitted with the forces, or for the constant of integration."""

from dataclasses import replace

import numpy as np
import pytest

from flexcalc.dataset import Dataset
from flexcalc.models.family import TrainingWarning
from flexcalc.models.gdml import SGDML
from flexcalc.models.gdml.descriptor import InverseDistances

SWAP = ((0, 1, 2), (0, 2, 1))


@pytest.fixture(scope="module")
def fitted(ethanol):
    """Ethanol with 40 energies fitted."""
    return SGDML(sigma=8.0, energies="fitted").fit(
        ethanol[:40], ethanol[40:], np.random.default_rng(0)
    )


# ---------------------------------------------------------------- fitted


def test_fitted_energies_and_forces_are_reproduced(fitted, ethanol):
    """K beta = y - lambda beta: the rest is the regularization times the coefficients."""
    train = ethanol[:40]
    found = fitted(train.positions)
    rest = 1e-10 * fitted.scale * np.abs(fitted.energies).max()
    rounding = 1e-15 * fitted.scale * np.abs(fitted.energies).sum() * len(fitted.permutations)
    assert np.abs(found.energies - train.energies).max() < 2 * rest + 10 * rounding + 1e-10
    assert np.abs(found.forces - train.forces).max() < 1e-5 * np.abs(train.forces).max()


def test_the_coefficients_of_the_energies_add_up_to_zero(fitted):
    """The condition under which the constant is as free as can be (ordinary kriging)."""
    assert abs(fitted.energies.sum()) < 1e-9 * np.abs(fitted.energies).sum()


@pytest.mark.physics
def test_forces_are_minus_the_gradient_with_fitted_energies(fitted, ethanol, rng):
    """Five-point differences: 1e-12 of fifth derivatives, and energies' noise over the step."""
    frames = ethanol.positions[rng.integers(80, size=40)]
    frames = frames + rng.normal(scale=0.1, size=frames.shape)
    way = rng.normal(size=frames.shape)
    way /= np.linalg.norm(way, axis=(1, 2), keepdims=True)
    step = 2e-3
    energy = [fitted(frames + k * step * way).energies for k in (-2, -1, 1, 2)]
    slope = (energy[0] - 8 * energy[1] + 8 * energy[2] - energy[3]) / (12 * step)
    along = np.einsum("bax,bax->b", fitted(frames).forces, way)
    assert np.abs(along + slope).max() < 1e-6 * max(1.0, np.abs(along).max())


def test_a_shift_of_all_energies_shifts_the_constant_alone(ethanol):
    """By hundreds of hartrees, as DFT gives them."""
    family = SGDML(sigma=8.0, energies="fitted", regularization=1e-6)
    train, frames = ethanol[:20], ethanol[60:].positions
    shifted = replace(train, energies=train.energies - 4e3)
    one, other = (family.fit(data, None, np.random.default_rng(0)) for data in (train, shifted))
    # Labels of 4000 eV carry 5e-13 eV of rounding, which the regularization amplifies.
    assert other.constant + 4e3 == pytest.approx(one.constant, abs=1e-6)
    found, expected = other(frames), one(frames)
    assert np.abs(found.forces - expected.forces).max() < 1e-6
    assert np.abs(found.energies + 4e3 - expected.energies).max() < 1e-6


def gaussian_process(train, frames, sigma, ridge):
    """Energies and forces at `frames` by kriging in Cartesian coordinates, entry by entry.

    k = sum over relabellings of both hydrogens of (1 + n + n^2/3) exp(-n), its derivatives by
    the chain rule: k' = -(5/3 s^2) (1 + n) exp(-n) d, k'' = (5/3 s^2) exp(-n) [(1 + n) 1 -
    (5/s^2) d d^T] between the features, with a sign for each force, which is minus a derivative.
    The unknown constant is solved for with a Lagrange multiplier.
    """
    descriptor = InverseDistances(3)

    def block(one, other):
        total = np.zeros((10, 10))
        for relabelling in SWAP:
            moved = other[list(relabelling)]
            (x, y), (J, L) = (
                descriptor.linearise(np.array([one, moved])).features,
                descriptor.jacobian(np.array([one, moved])),
            )
            back = L.reshape(3, 3, 3)[:, np.argsort(relabelling)].reshape(3, 9)
            d = x - y
            n = np.sqrt(5.0) * np.linalg.norm(d) / sigma
            decay, factor = np.exp(-n), 5 / (3 * sigma**2)
            second = factor * decay * ((1 + n) * np.eye(3) - 5 / sigma**2 * np.outer(d, d))
            first = factor * decay * (1 + n) * d
            total[:9, :9] += J.T @ second @ back
            total[:9, 9] += J.T @ first
            total[9, :9] += -first @ back
            total[9, 9] += (1 + n + n**2 / 3) * decay
        return total

    def matrix(rows, columns):
        return np.block([[block(one, other) for other in columns] for one in rows])

    scale, count = train.forces.std(), len(train)
    labels = np.column_stack([train.forces.reshape(count, 9), train.energies]).ravel() / scale
    ones = np.tile([0.0] * 9 + [1.0], count)
    system = np.zeros((10 * count + 1,) * 2)
    system[:-1, :-1] = matrix(train.positions, train.positions) + ridge * np.eye(10 * count)
    system[:-1, -1] = system[-1, :-1] = ones
    *weights, constant = np.linalg.solve(system, [*labels, 0.0])
    found = scale * (matrix(frames, train.positions) @ weights).reshape(-1, 10)
    return found[:, 9] + scale * constant, found[:, :9].reshape(-1, 3, 3)


@pytest.mark.parametrize("solver", ["exact", "iterative"])
def test_it_is_the_gaussian_process_of_energies_and_forces(solver, water, rng):
    """Condition number 1e5 at this regularization, so that ten digits are left."""
    train, test = water[:8], water[8:14]
    family = SGDML(
        sigma=3.0,
        descriptor="distances",
        energies="fitted",
        regularization=1e-4,
        generators=("(1 2)",),
        solver=solver,
        tolerance=1e-11,
    )
    found = family.fit(train, None, rng)(test.positions)
    energies, forces = gaussian_process(train, test.positions, 3.0, 1e-4)
    assert np.abs(found.energies - energies).max() < 1e-8 * np.ptp(train.energies)
    assert np.abs(found.forces - forces).max() < 1e-8 * np.abs(train.forces).max()


def test_a_folder_keeps_fitted_energies_exactly(fitted, ethanol, tmp_path):
    fitted.save(tmp_path / "fitted.flex")
    loaded = SGDML.load(tmp_path / "fitted.flex")
    assert np.array_equal(loaded.energies, fitted.energies)
    before, after = (potential(ethanol.positions) for potential in (fitted, loaded))
    assert np.array_equal(before.energies, after.energies)
    assert np.array_equal(before.forces, after.forces)
    assert loaded.facts["hyperparameters"]["energies"] == "fitted"


def test_one_point_with_its_energy_can_be_fitted(water, rng):
    """Its coefficient is then zero, as they add up to that."""
    found = SGDML(sigma=3.0, energies="fitted").fit(water[:1], None, rng)
    assert abs(found.energies[0]) < 1e-12
    energy = found(water.positions[:1]).energies[0]
    assert energy == pytest.approx(water.energies[0], abs=1e-8)


# ---------------------------------------------------------------- for the constant alone


@pytest.mark.parametrize("energies", ["labelled", "training"])
def test_the_constant_is_the_mean_offset_of_the_frames_it_is_said_to_be(energies, ethanol, rng):
    train, validation = ethanol[:30], ethanol[30:]
    potential = SGDML(sigma=8.0, energies=energies).fit(train, validation, rng)
    assert potential.energies is None
    frames = ethanol if energies == "labelled" else train
    offsets = frames.energies - potential(frames.positions).energies
    assert abs(offsets.mean()) < 1e-9
    others = validation.energies - potential(validation.positions).energies
    assert abs(others.mean()) > 1e-6


def test_the_constant_leaves_the_forces_alone(ethanol, rng):
    one, other = (
        SGDML(sigma=8.0, energies=energies).fit(ethanol[:30], ethanol[30:], rng)
        for energies in ("labelled", "training")
    )
    assert np.array_equal(one.coefficients, other.coefficients)
    assert one.constant != other.constant


# ---------------------------------------------------------------- bad labels


@pytest.mark.parametrize("energies", ["fitted", "labelled", "training"])
def test_gradients_given_as_forces_are_noticed_whatever_energies_are_for(energies, ethanol, rng):
    wrong = replace(ethanol, forces=-ethanol.forces)
    with pytest.warns(TrainingWarning, match="gradients"):
        SGDML(sigma=10.0, energies=energies).fit(wrong[:40], None, rng)


@pytest.mark.parametrize("damage", ["unit", "order"])
def test_energies_that_do_not_belong_to_the_forces_are_noticed_when_fitted(damage, ethanol, rng):
    energies = {
        "unit": 27.2114 * ethanol.energies,
        "order": rng.permutation(ethanol.energies),
    }[damage]
    wrong: Dataset = replace(ethanol, energies=energies)
    with pytest.warns(TrainingWarning):
        SGDML(sigma=10.0, energies="fitted").fit(wrong[:40], None, rng)


@pytest.mark.filterwarnings("error::flexcalc.models.family.TrainingWarning")
def test_good_labels_earn_no_warning(ethanol, rng):
    SGDML(sigma=10.0, energies="fitted").fit(ethanol[:40], None, rng)


def test_a_loose_solution_still_has_the_right_mean_energy(ethanol, rng):
    """The mean is a small difference of large sums, which a residual does not see."""
    loose = SGDML(sigma=8.0, solver="iterative", tolerance=1e-2).fit(ethanol[:40], None, rng)
    train = ethanol[:40]
    offset = loose(train.positions).energies - train.energies
    assert abs(offset.mean()) < 1e-10 * np.abs(train.energies).max()
