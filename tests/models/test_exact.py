"""The exact solver: half of a symmetric matrix, its factor, and what happens without one."""

import tracemalloc

import numpy as np
import pytest

from flexcalc.errors import InputError
from flexcalc.models.gdml import SGDML, exact, solver
from flexcalc.models.gdml.descriptor import InverseDistances
from flexcalc.models.gdml.engine import PROCESSOR, engine
from flexcalc.models.gdml.exact import NotPositiveError, factorised, full_matrix
from flexcalc.models.gdml.kernel import Kernel, prepare

SWAP = np.array([[0, 1, 2], [0, 2, 1]])
RIDGE = 1e-3
"""A regularization that leaves condition numbers of some 1e5, and so 1e-11 of a solution."""


def kernel_of(toy, rng, points, energies=True, where=PROCESSOR):
    _, positions = toy.water_frames(points, rng)
    return Kernel(prepare(InverseDistances(3), positions, SWAP, energies), 3.0, where)


def setting(**changes):
    return solver.Setting(engine=PROCESSOR, **changes)


@pytest.mark.parametrize("energies", [False, True])
@pytest.mark.parametrize("points", [1, 2, 3, 12, 13])
@pytest.mark.parametrize("kind", ["cpu", "torch"])
def test_solving_agrees_with_numpy(kind, points, energies, toy, rng):
    """For odd and even numbers of points, one among them, and several labels at once."""
    if kind == "torch":
        pytest.importorskip("torch")
    kernel = kernel_of(toy, rng, points, energies, engine(kind))
    matrix = full_matrix(kernel) + RIDGE * np.eye(kernel.points.rows)
    labels = rng.normal(size=(len(matrix), 3))
    factor = factorised(kernel, RIDGE)
    expected = np.linalg.solve(matrix, labels)
    bound = 1e-15 * len(matrix) * np.linalg.cond(matrix) * np.abs(expected).max()
    for given in (labels, labels[:, :1], labels):  # the factor outlives its use
        before = given.copy()
        found = factor.solve(given)
        assert np.abs(found - expected[:, : found.shape[1]]).max() < bound
        assert np.array_equal(given, before)


@pytest.mark.parametrize("width", [1, 5])
def test_points_are_combined_in_chunks_that_respect_the_halves(width, toy, rng):
    kernel = kernel_of(toy, rng, 13)
    labels = rng.normal(size=(kernel.points.rows, 1))
    expected = factorised(kernel, RIDGE).solve(labels)
    kernel.width = width
    found = factorised(kernel, RIDGE).solve(labels)
    assert np.abs(found - expected).max() < 1e-9 * np.abs(expected).max()


def test_no_whole_matrix_is_ever_made(toy, rng):
    """Half of it, and blocks in the making: 1260 rows are 12.1 MiB."""
    _, positions = toy.ethanol_frames(60, rng)
    points = prepare(InverseDistances(9), positions, np.arange(9)[None])
    kernel = Kernel(points, 10.0)
    labels = rng.normal(size=(points.rows, 2))
    tracemalloc.start()
    factorised(kernel, 1e-6).solve(labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.5 < peak / (8 * points.rows**2) < 0.65


def test_the_assembly_tells_its_progress(toy, rng):
    seen = []
    factorised(kernel_of(toy, rng, 9), RIDGE, lambda *told: seen.append(told))
    assert seen == [(k + 1, 9, "kernel matrix") for k in range(9)]


# ---------------------------------------------------------------- matrices without a factor


@pytest.mark.parametrize("kind", ["cpu", "torch"])
@pytest.mark.parametrize("points", [8, 9])
def test_an_indefinite_matrix_has_no_factor(kind, points, toy, rng):
    if kind == "torch":
        pytest.importorskip("torch")
    kernel = kernel_of(toy, rng, points, where=engine(kind))
    values = np.linalg.eigvalsh(full_matrix(kernel))
    for between in (values[[0, 1]].mean(), values[[-2, -1]].mean()):
        with pytest.raises(NotPositiveError):
            factorised(kernel, -between)


def test_an_indefinite_matrix_is_solved_all_the_same(toy, rng):
    """Rounding can make a kernel matrix indefinite; pivots take over, and it is told."""
    kernel = kernel_of(toy, rng, 9, energies=False)
    values = np.linalg.eigvalsh(full_matrix(kernel))
    shift = -float(values[[10, 11]].mean())
    labels = rng.normal(size=(9, 3))
    found = solver.Solver(kernel, setting(kind="exact")).solve(labels, shift, 0)
    matrix = full_matrix(kernel) + shift * np.eye(27)
    expected = np.linalg.solve(matrix, labels.ravel())
    assert np.abs(found.beta - expected).max() < 1e-9 * np.abs(expected).max()
    assert found.facts == {"solver": "exact", "indefinite": True}


def test_pivots_that_do_not_fit_into_memory_are_refused(toy, rng, monkeypatch):
    kernel = kernel_of(toy, rng, 9, energies=False)
    free = iter([1 << 40, 1 << 10])
    monkeypatch.setattr(solver, "available_bytes", lambda where: next(free))
    with pytest.raises(InputError, match="raise regularization"):
        solver.Solver(kernel, setting(kind="exact")).solve(np.ones((9, 3)), -1.0, 0)


def test_a_singular_matrix_is_refused(toy, rng):
    """Here one of zeros, which no pivot helps."""
    kernel = kernel_of(toy, rng, 4, energies=False)
    kernel.blocks = lambda row, columns: np.zeros((columns.stop - columns.start, 3, 3))
    with pytest.raises(InputError, match="occur twice"):
        solver.Solver(kernel, setting(kind="exact")).solve(np.ones((4, 3)), 0.0, 0)


# ---------------------------------------------------------------- several regularizations


def test_one_factor_serves_all_regularizations(toy, rng, monkeypatch):
    """The others are solved with it, and only one matrix is made."""
    kernel = kernel_of(toy, rng, 12)
    made = []

    def counted(*arguments):
        made.append(arguments[1])
        return exact.factorised(*arguments)

    monkeypatch.setattr(solver, "factorised", counted)
    front = solver.Solver(kernel, setting(kind="exact"))
    labels = rng.normal(size=(12, 4))
    for regularization in (1e-6, 2e-6, 1e-5):
        found = front.solve(labels, regularization, 0)
        alone = solver.Solver(kernel, setting(kind="exact")).solve(labels, regularization, 0)
        matrix = full_matrix(kernel) + regularization * np.eye(48)
        ones = np.tile([0.0, 0, 0, 1], 12)
        residual = labels.ravel() - found.constant * ones - matrix @ found.beta
        # The constant has a system, and so a residual, of its own.
        size = np.linalg.norm(labels) + abs(found.constant) * np.linalg.norm(ones)
        assert np.linalg.norm(residual) < 2 * solver.REFACTORED * size
        gap = np.linalg.norm(found.beta - alone.beta)
        assert gap < 2 * solver.REFACTORED * size / regularization
    # The first one, and those of the comparison.
    assert made == [1e-6, 1e-6, 2e-6, 1e-5]


def test_a_regularization_too_far_off_gets_a_factor_of_its_own(toy, rng, monkeypatch):
    """As if the other had never been."""
    kernel = kernel_of(toy, rng, 12)
    monkeypatch.setattr(solver, "REFACTORED", 1e-300)
    front = solver.Solver(kernel, setting(kind="exact"))
    labels = rng.normal(size=(12, 4))
    for regularization in (1e-6, 1e-2, 1e-9):
        found = front.solve(labels, regularization, 0)
        alone = solver.Solver(kernel, setting(kind="exact")).solve(labels, regularization, 0)
        assert np.array_equal(found.beta, alone.beta)


# ---------------------------------------------------------------- memory


def test_half_the_kernel_matrix_is_what_takes_the_memory():
    """Azobenzene with 1000 points: 66,000 rows without rigid motions, half of 32.5 GiB."""
    needed = solver.exact_bytes(1000, 66, 276)
    assert 66_000**2 * 4 < needed < 1.05 * 66_000**2 * 4


def test_the_memory_at_hand_is_known():
    available = solver.available_bytes(PROCESSOR)
    assert available is None or 1 << 20 < available < 1 << 50


def test_more_points_than_fit_into_memory_are_refused(water, rng, monkeypatch):
    """Before anything is made, with a number that would fit and with the other solver."""
    family = SGDML(sigma=10.0, solver="exact", descriptor="distances", energies="labelled")
    available = solver.exact_bytes(30, 3, 3)
    monkeypatch.setattr(solver, "available_bytes", lambda where: available)
    with pytest.raises(InputError, match='train on 30 points or fewer, or set solver = "iter'):
        family.fit(water, None, rng)
    family.fit(water[:30], None, rng)


def test_auto_takes_the_exact_solver_where_its_memory_is_there(water, rng, monkeypatch):
    family = SGDML(sigma=3.0, regularization=1e-6, descriptor="distances", energies="labelled")
    monkeypatch.setattr(solver, "available_bytes", lambda where: solver.exact_bytes(40, 3, 3))
    for count, kind in ((40, "exact"), (60, "iterative")):
        made = family.fit(water[:count], None, rng)
        assert made.facts["solution"]["solver"] == kind


def test_auto_leaves_large_matrices_to_the_iterative_solver(monkeypatch):
    """On a processor; a GPU factorises what fits into its memory."""
    monkeypatch.setattr(solver, "available_bytes", lambda where: None)
    quick = solver.QUICK // 60
    for made, points, kind in (
        (setting(), quick, "exact"),
        (setting(), quick + 1, "iterative"),
        (setting(kind="exact"), quick + 1, "exact"),
        (solver.Setting(engine=engine("torch")), quick + 1, "exact"),
    ):
        assert made.chosen(points, 60, 100) == kind


def test_what_fits_no_solver_is_refused(water, rng, monkeypatch):
    monkeypatch.setattr(solver, "available_bytes", lambda where: 1 << 20)
    with pytest.raises(InputError, match="train on 0 points or fewer"):
        SGDML(sigma=10.0).fit(water, None, rng)
