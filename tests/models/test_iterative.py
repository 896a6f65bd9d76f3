"""The iterative solver: the product with a matrix never made, its preconditioner, and its path."""

from dataclasses import replace

import numpy as np
import pytest

from flexcalc.models.family import TrainingWarning
from flexcalc.models.gdml import SGDML, iterations, iterative, solver
from flexcalc.models.gdml.descriptor import InverseDistances, extended
from flexcalc.models.gdml.engine import PROCESSOR, engine
from flexcalc.models.gdml.exact import full_matrix
from flexcalc.models.gdml.groups import close, parsed
from flexcalc.models.gdml.iterative import (
    Nystroem,
    Operator,
    System,
    conjugate_gradients,
    matrix_columns,
    trace,
)
from flexcalc.models.gdml.kernel import Kernel, prepare

RIDGE = 1e-6


def ethanol_kernel(toy, rng, points=10, kind="distances", energies=True, where=PROCESSOR):
    numbers, positions = toy.ethanol_frames(points, rng)
    rows = [parsed(text, np.ones(9, dtype=int)) for text in ("(3 4 5)", "(3 4)")]
    descriptor = InverseDistances(9) if kind == "distances" else extended(numbers, positions)
    return Kernel(prepare(descriptor, positions, np.array(close(rows, 10)), energies), 6.0, where)


@pytest.fixture
def kernel(toy, rng):
    """Ten points of ethanol, with energies and six permutations: 220 rows."""
    return ethanol_kernel(toy, rng)


def times(kernel, regularization=RIDGE):
    """The product with K + lambda."""
    product = Operator(kernel)
    return lambda vector: product(vector) + regularization * vector


# ---------------------------------------------------------------- the matrix


@pytest.mark.parametrize("energies", [False, True])
@pytest.mark.parametrize("kind", ["distances", "extended"])
@pytest.mark.parametrize("where", ["cpu", "torch"])
def test_the_operator_is_the_product_with_the_matrix(where, kind, energies, toy, rng, monkeypatch):
    """More points than are done at a time; sums of `rows` terms, each with its own rounding."""
    if where == "torch":
        pytest.importorskip("torch")
    monkeypatch.setattr(iterative, "PRODUCT_CHUNK", 4)
    kernel = ethanol_kernel(toy, rng, kind=kind, energies=energies, where=engine(where))
    matrix, product = full_matrix(kernel), Operator(kernel)
    for _ in range(2):
        vector = rng.normal(size=len(matrix))
        bound = 1e-12 * np.abs(matrix).max() * np.abs(vector).sum()
        assert np.abs(product(vector) - matrix @ vector).max() < bound


@pytest.mark.parametrize("energies", [False, True])
def test_columns_are_those_of_the_matrix(energies, toy, rng):
    """Single motions, energies, and points of which nothing is chosen."""
    kernel = ethanol_kernel(toy, rng, energies=energies)
    kernel.width = 3
    matrix = full_matrix(kernel)
    for count in (1, 30, len(matrix)):
        chosen = np.sort(rng.choice(len(matrix), count, replace=False))
        seen = []
        found = matrix_columns(kernel, chosen, lambda *told, seen=seen: seen.append(told[:2]))
        assert np.abs(found - matrix[:, chosen].T).max() < 1e-13 * np.abs(matrix).max()
        met = len(np.unique(chosen // kernel.points.unknowns))
        assert seen == [(k + 1, met) for k in range(met)]
    assert trace(kernel) == pytest.approx(np.trace(matrix), rel=1e-12)


def test_the_preconditioner_is_its_formula(kernel, rng):
    """P^-1 = (B B^T + mu)^-1 with B B^T the Nystroem approximation, by dense algebra."""
    matrix, rows = full_matrix(kernel), kernel.points.rows
    columns = 40
    inverse = Nystroem(kernel, columns, RIDGE, np.random.default_rng(5))
    chosen = np.sort(np.random.default_rng(5).choice(rows, columns, replace=False))
    inner = matrix[np.ix_(chosen, chosen)]
    jitter = iterative.JITTER * columns * inner.diagonal().mean()
    approximation = matrix[:, chosen] @ np.linalg.solve(
        inner + jitter * np.eye(columns), matrix[chosen]
    )
    left = np.trace(matrix) - np.trace(approximation)
    assert inverse.mu == pytest.approx(max(left / rows, RIDGE), rel=1e-9)
    vector = rng.normal(size=rows)
    back = (approximation + inverse.mu * np.eye(rows)) @ inverse(vector)
    # Rounding of a solution whose condition is the largest eigenvalue over mu.
    condition = np.linalg.norm(matrix, 2) / inverse.mu
    assert np.abs(back - vector).max() < 1e-13 * condition * np.abs(vector).max()


def test_all_columns_make_the_preconditioner_the_inverse(kernel, rng):
    """Then one step is next to all; mu is the regularization."""
    inverse = Nystroem(kernel, 10**6, 1e-3, rng)
    assert inverse.mu == 1e-3
    labels = rng.normal(size=kernel.points.rows)
    state = conjugate_gradients(System(times(kernel, 1e-3), inverse, labels), 1e-8)
    assert len(state.history) <= 3


# ---------------------------------------------------------------- conjugate gradients


def test_conjugate_gradients_solve_the_system(kernel, rng):
    """The error is at most the residual over the smallest eigenvalue, lambda at least."""
    labels = rng.normal(size=kernel.points.rows)
    matrix = full_matrix(kernel) + 1e-3 * np.eye(len(labels))
    inverse = Nystroem(kernel, 60, 1e-3, rng)
    state = conjugate_gradients(System(times(kernel, 1e-3), inverse, labels), 1e-10)
    residual = np.linalg.norm(labels - matrix @ state.solution)
    assert residual < 2e-10 * np.linalg.norm(labels)
    assert state.history[-1] <= 1e-10 < min(state.history[:-1])
    error = np.linalg.norm(state.solution - np.linalg.solve(matrix, labels))
    assert error < 2e-10 * np.linalg.norm(labels) / 1e-3


@pytest.mark.data
def test_a_state_that_was_kept_goes_on_bit_for_bit(kernel, rng):
    labels = rng.normal(size=kernel.points.rows)
    inverse, matrix = Nystroem(kernel, 40, RIDGE, rng), times(kernel)
    kept = []
    last = conjugate_gradients(System(matrix, inverse, labels), 1e-6, keep=kept.append)
    assert kept[-1] is last
    assert len(kept) > 10
    for begin in (0, len(kept) // 2, len(kept) - 1):
        again = []
        conjugate_gradients(
            System(matrix, inverse, labels), 1e-6, state=kept[begin], keep=again.append
        )
        assert len(again) == len(kept) - begin - 1
        for one, other in zip(kept[begin + 1 :], again, strict=True):
            for name in ("solution", "residual", "direction"):
                assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
            assert (one.product, one.history) == (other.product, other.history)


def test_it_tells_how_far_it_has_come(kernel, rng):
    """On a logarithmic scale, never backwards beyond its ends, and whole at the end."""
    told = []
    labels = rng.normal(size=kernel.points.rows)
    inverse = Nystroem(kernel, 40, RIDGE, rng)
    conjugate_gradients(
        System(times(kernel), inverse, labels), 1e-5, progress=lambda *x: told.append(x)
    )
    assert {total for _, total, _ in told} == {500}
    assert all(0 <= done <= 500 for done, _, _ in told)
    assert told[-1][0] == 500
    assert f"after {len(told)} steps" in told[-1][2]


def test_a_stalled_solution_is_left(kernel, rng, monkeypatch):
    """Not half the residual less in LOOK_BACK steps."""
    monkeypatch.setattr(iterative, "LOOK_BACK", 12)
    labels = rng.normal(size=kernel.points.rows)
    state = conjugate_gradients(
        System(times(kernel), Nystroem(kernel, 5, RIDGE, rng), labels), 1e-30
    )
    assert state.stalled
    recent = state.history[-12:]
    assert min(recent) > 0.5 * recent[0]


# ---------------------------------------------------------------- restarts


@pytest.fixture
def drawn(monkeypatch):
    """The numbers of columns that preconditioners were made of."""
    numbers = []

    class Counted(Nystroem):
        def __init__(self, kernel, columns, *rest):
            numbers.append(columns)
            super().__init__(kernel, columns, *rest)

    monkeypatch.setattr(iterations, "Nystroem", Counted)
    return numbers


def front(kernel, **changes):
    return solver.Solver(kernel, solver.Setting(kind="iterative", engine=PROCESSOR, **changes))


def test_the_first_preconditioner_has_a_tenth_of_the_columns_and_not_too_many():
    setting = solver.Setting(engine=PROCESSOR)
    assert [setting.drawn(rows) for rows in (5, 300, 100_000)] == [1, 30, solver.MOST_COLUMNS]
    assert replace(setting, columns=7000).drawn(100_000) == 7000
    assert replace(setting, columns=7000).drawn(300) == 300
    # Half a matrix of 100,000 rows is 40 gigabytes.
    assert setting.iterative_bytes(1490, 67, 480) < 6e9


def test_a_stall_restarts_with_more_columns(toy, rng, drawn, monkeypatch):
    """And from where it is; the solution meets the tolerance in the end."""
    monkeypatch.setattr(iterative, "LOOK_BACK", 8)
    kernel = ethanol_kernel(toy, rng, energies=False)
    labels = rng.normal(size=(10, 21))
    found = front(kernel, columns=15, tolerance=1e-5).solve(labels, 1e-5, 0)
    assert drawn[:2] == [15, 24]
    assert found.facts["columns"] == drawn[-1]
    assert found.facts["residual"] <= 1e-5
    assert found.warning is None
    matrix = full_matrix(kernel) + 1e-5 * np.eye(kernel.points.rows)
    residual = np.linalg.norm(labels.ravel() - matrix @ found.beta)
    assert residual < 2e-5 * np.linalg.norm(labels)


def test_a_solution_that_never_gets_there_is_warned_of(kernel, rng, drawn, monkeypatch):
    """After MAX_RESTARTS, with what has been reached."""
    monkeypatch.setattr(iterative, "LOOK_BACK", 4)
    labels = rng.normal(size=(10, 22))
    found = front(kernel, columns=3, tolerance=1e-13).solve(labels, 1e-12, 0)
    assert len(drawn) >= iterations.MAX_RESTARTS + 1
    assert drawn == sorted(drawn)
    assert f"residual of {found.facts['residual']:.1e}" in found.warning
    assert "more columns" in found.warning
    assert np.isfinite(found.beta).all()


def test_memory_limits_the_columns_of_a_restart(kernel, rng, monkeypatch):
    """As many as there is room for beside those at hand, and never fewer."""
    rows = kernel.points.rows
    made = front(kernel)
    for free, columns in ((0, 20), (8 * (rows + 60) * 5, 25), (1 << 40, 32), (None, 32)):
        monkeypatch.setattr(solver, "available_bytes", lambda where, free=free: free)
        assert made._grown(20) == columns
    assert made._grown(rows) == rows


def test_the_residual_told_is_the_worst_of_all_labels(kernel, rng, monkeypatch):
    """The energies' constant has a system of its own, which may converge where forces do not."""
    ends = iter([0.5, 1e-9])

    def scripted(system, tolerance, **rest):
        state = iterative.Conjugate.begin(system.labels, system.inverse)
        return replace(state, solution=system.labels, history=(next(ends),))

    monkeypatch.setattr(iterations, "conjugate_gradients", scripted)
    monkeypatch.setattr(iterations, "MAX_RESTARTS", 0)
    found = front(kernel).solve(rng.normal(size=(10, 22)), RIDGE, 0)
    assert found.facts["residual"] == 0.5
    assert "5.0e-01" in found.warning


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("energies", ["labelled", "fitted"])
def test_training_gives_nearly_the_exact_model(energies, ethanol, rng):
    """Training forces differ by the residual at most, as K alpha does; what lies between
    training points, by a few times that.

    With energies, the labels are these as well, less their mean, and what multiplies the
    constant has a residual of its own.
    """
    train, test = ethanol[:20], ethanol[60:]
    given = {"sigma": 6.0, "regularization": 1e-6, "energies": energies}
    direct = SGDML(solver="exact", **given).fit(train, test, rng)
    labels = np.linalg.norm(train.forces)
    if energies == "fitted":
        mean = train.energies.mean()
        labels = np.hypot(labels, np.linalg.norm(train.energies - mean))
        labels += np.sqrt(len(train)) * abs(direct.constant - mean)
    for tolerance in (1e-3, 1e-5):
        found = SGDML(solver="iterative", tolerance=tolerance, **given).fit(train, test, rng)
        assert found.facts["solution"]["solver"] == "iterative"
        assert found.facts["solution"]["residual"] <= tolerance
        gap = found(train.positions).forces - direct(train.positions).forces
        assert np.linalg.norm(gap) < 2 * tolerance * labels
        gap = found(test.positions).forces - direct(test.positions).forces
        assert np.linalg.norm(gap) < 10 * tolerance * labels


def test_training_is_repeatable(water, rng):
    """The columns are drawn from a seed of the generator that is handed in."""
    family = SGDML(sigma=3.0, solver="iterative", energies="fitted", regularization=1e-6)
    one, other = (family.fit(water, None, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(one.coefficients, other.coefficients)
    assert np.array_equal(one.energies, other.energies)


def test_a_model_that_did_not_converge_warns(water, rng, monkeypatch):
    monkeypatch.setattr(iterative, "LOOK_BACK", 2)
    family = SGDML(sigma=10.0, solver="iterative", columns=2, tolerance=1e-12)
    with pytest.warns(TrainingWarning, match="iterative solver stalled"):
        found = family.fit(water, None, rng)
    assert any("stalled" in warning for warning in found.facts["warnings"])
