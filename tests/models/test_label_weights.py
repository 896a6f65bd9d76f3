"""Weights of labels: a regularization per point, checked against dense matrices and repeats."""

from dataclasses import replace

import numpy as np
import pytest

from flexcalc.dataset import Dataset, concatenate
from flexcalc.models.gdml import SGDML, solver
from flexcalc.models.gdml.descriptor import InverseDistances
from flexcalc.models.gdml.engine import PROCESSOR, engine
from flexcalc.models.gdml.exact import full_matrix
from flexcalc.models.gdml.folds import Folds
from flexcalc.models.gdml.kernel import Kernel, prepare
from tests.systems import springs

SWAP = np.array([[0, 1, 2], [0, 2, 1]])
RIDGE = 1e-3
"""A regularization that leaves condition numbers of some 1e5, and so 1e-11 of a solution."""
POINTS = 9


def weighted_kernel(toy, rng, where=PROCESSOR):
    _, positions = toy.water_frames(POINTS, rng)
    weights = 10.0 ** rng.uniform(-1, 2, POINTS)
    return Kernel(prepare(InverseDistances(3), positions, SWAP, True, weights), 3.0, where)


def dense_solution(kernel, labels):
    """(K + lambda / w)^-1 of labels and of the unknown mean of the energies, as in kriging."""
    unknowns = kernel.points.unknowns
    noise = np.repeat(RIDGE / kernel.points.weights, unknowns)
    matrix = full_matrix(kernel) + np.diag(noise)
    border = np.tile(np.eye(unknowns)[-1], POINTS)
    whole = np.block([[matrix, border[:, None]], [border[None], np.zeros((1, 1))]])
    solution = np.linalg.solve(whole, np.append(labels.ravel(), 0.0))
    return solution[:-1], solution[-1]


@pytest.mark.parametrize("where", ["cpu", "torch"])
@pytest.mark.parametrize("kind", ["exact", "iterative"])
def test_solutions_are_those_of_the_dense_matrix(kind, where, toy, rng):
    if where == "torch":
        pytest.importorskip("torch")
    kernel = weighted_kernel(toy, rng, engine(where))
    setting = solver.Setting(kind=kind, tolerance=1e-11, engine=kernel.engine)
    labels = rng.normal(size=(POINTS, kernel.points.unknowns))
    found = solver.Solver(kernel, setting).solve(labels, RIDGE, 0)
    beta, constant = dense_solution(kernel, labels)
    assert np.abs(found.beta - beta).max() < 1e-6 * np.abs(beta).max()
    assert found.constant == pytest.approx(constant, abs=1e-6)


def test_a_larger_regularization_is_solved_with_the_factor_of_a_smaller_one(toy, rng):
    kernel = weighted_kernel(toy, rng)
    labels = rng.normal(size=(POINTS, kernel.points.unknowns))
    ladder = solver.Solver(kernel, solver.Setting(engine=PROCESSOR), ladder=(RIDGE / 10, RIDGE))
    found = ladder.solve(labels, RIDGE, 0)
    beta, _ = dense_solution(kernel, labels)
    assert np.abs(found.beta - beta).max() < 1e-5 * np.abs(beta).max()


def test_folds_leave_out_points_with_their_weights(toy, rng):
    kernel = weighted_kernel(toy, rng)
    unknowns = kernel.points.unknowns
    labels = rng.normal(size=(POINTS, unknowns, 1))
    parts = np.split(np.arange(POINTS), 3)
    found = Folds(kernel, parts).predict(labels, RIDGE)
    whole = full_matrix(kernel).reshape(POINTS, unknowns, POINTS, unknowns)
    for fold in parts:
        others = np.setdiff1d(np.arange(POINTS), fold)
        rows = len(others) * unknowns
        matrix = whole[others][:, :, others].reshape(rows, rows)
        matrix += np.diag(np.repeat(RIDGE / kernel.points.weights[others], unknowns))
        border = np.tile(np.eye(unknowns)[-1], len(others))
        bordered = np.block([[matrix, border[:, None]], [border[None], np.zeros((1, 1))]])
        solution = np.linalg.solve(bordered, np.append(labels[others].ravel(), 0.0))
        across = whole[fold][:, :, others].reshape(-1, rows)
        expected = across @ solution[:-1] + np.tile(np.eye(unknowns)[-1], len(fold)) * solution[-1]
        assert np.abs(found[fold].ravel() - expected).max() < 1e-7


def test_a_frame_of_weight_three_is_three_frames():
    """Squared residuals add up: the model is the same, for any labels."""
    data = springs(8)
    data = replace(data, forces=data.forces + np.random.default_rng(1).normal(size=(8, 3, 3)))
    family = SGDML(sigma=3.0, regularization=1e-2, symmetry=False, descriptor="distances")
    thrice = concatenate(data, data[[2]], data[[2]])
    weights = np.where(np.arange(8) == 2, 3.0, 1.0)
    one = family.fit(replace(data, weights=weights), None, np.random.default_rng(0))
    three = family.fit(thrice, None, np.random.default_rng(0))
    found, expected = one(data.positions), three(data.positions)
    assert np.abs(found.forces - expected.forces).max() < 1e-7
    assert np.abs(found.energies - expected.energies).max() < 1e-7


def test_equal_weights_divide_the_regularization():
    data = springs(8)
    family = SGDML(sigma=3.0, symmetry=False, descriptor="distances")
    weighted = replace(data, weights=np.full(8, 100.0))
    plain = replace(family, regularization=1e-6).fit(data, None, np.random.default_rng(0))
    found = replace(family, regularization=1e-4).fit(weighted, None, np.random.default_rng(0))
    off = found(data.positions).forces - plain(data.positions).forces
    assert np.abs(off).max() < 1e-9


def test_the_step_of_a_network_weighs_the_frames_of_a_batch():
    """A frame of weight two counts as one that is there twice; the mean is over all frames."""
    torch = pytest.importorskip("torch")
    from flexcalc.models.bpnn import BPNN
    from flexcalc.models.networks.step import Flat, plain_step

    data = springs(6)
    torch.manual_seed(0)
    flat = Flat(BPNN().build(data.numbers, data.positions).double())
    step = plain_step(flat, 0.3, 0.7)

    def batch(frames, weights):
        arrays = data.positions[frames], data.energies[frames], data.forces[frames], weights
        return [torch.tensor(array) for array in arrays]

    one = step(flat.vector(), *batch([0, 1, 2], np.array([0.75, 0.75, 1.5])))
    twice = step(flat.vector(), *batch([0, 1, 2, 2], np.ones(4)))
    for found, expected in zip(one, twice, strict=True):
        assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_a_network_is_trained_and_judged_by_the_weights_of_its_frames():
    """Frames of next to no weight, whose labels are wrong, leave the others alone."""
    pytest.importorskip("torch")
    from flexcalc.models.bpnn import BPNN

    data = springs(24)
    wrong = Dataset(
        data.numbers,
        data.positions,
        data.energies,
        np.where(np.arange(24)[:, None, None] < 12, data.forces, -data.forces),
    )
    family = BPNN(epochs=60, batch_size=6, compiled="no")

    def error(weights):
        given = replace(wrong, weights=weights)
        fit = family.fit(given, None, np.random.default_rng(0))
        return np.sqrt(np.mean((fit(data.positions[:12]).forces - data.forces[:12]) ** 2))

    assert error(np.where(np.arange(24) < 12, 1.0, 1e-6)) < 0.5 * error(np.ones(24))


def test_a_family_that_does_not_heed_weights_refuses_them():
    from flexcalc.errors import InputError
    from flexcalc.models.family import check_labels
    from flexcalc.models.gap import GAP

    data = replace(springs(4), weights=np.ones(4))
    check_labels(SGDML(), data)
    with pytest.raises(InputError, match="gap takes no weights of labels"):
        check_labels(GAP(), data)
