"""From kernel and labels to dual coefficients: which solver, in how much memory.

The exact solver keeps half of the kernel matrix (`exact`); the iterative one some of its columns
(`iterative`). Energies that are fitted with the forces have an unknown mean, which is solved for
together with the coefficients, as in ordinary kriging: it is the constant of integration.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np

from flexcalc import memory
from flexcalc.errors import InputError
from flexcalc.models.facts import SolutionFacts
from flexcalc.models.gdml.engine import Engine
from flexcalc.models.gdml.exact import Halves, NotPositiveError, factorised, full_matrix
from flexcalc.models.gdml.iterations import GROWTH, Iterations
from flexcalc.models.gdml.iterative import Operator, System, conjugate_gradients
from flexcalc.models.gdml.kernel import BLOCK, Kernel
from flexcalc.progress import Progress, silent

Kind = Literal["auto", "exact", "iterative"]

SQUARES, SQUARES_ON_GPU = 2, 5
"""Matrices of half the points that the exact solver holds: on a GPU one more, see
`exact.HalvesOnGPU`, and two in the making."""
COLUMNS, MOST_COLUMNS = 0.1, 4000
"""Share of the matrix's columns in the first preconditioner, and their maximum number: the time to
make it grows with the square of that number, and the memory of 1500 points of azobenzene is 4
instead of 10 gigabytes."""
QUICK = 30_000
"""Rows of a matrix that a processor factorises within minutes; here the iterative solver takes a
third of the exact one's time for the same errors, and less of it with more rows."""
CHECKPOINT = "iterations.checkpoint"
"""File of the iterative solver's half-done work."""
REFACTORED, REFACTORED_STEPS = 1e-8, 100
"""Relative residual to which another regularization is solved with a factor at hand, about what
rounding leaves of a Cholesky solution, and steps that this may take, less than a new factor."""
OVERHEAD = 192 << 20
"""Bytes that Python, its libraries and blocks in the making take."""

SINGULAR = (
    "the kernel matrix is singular: look for frames that occur twice among the training points, "
    "or raise regularization"
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Settings of the linear solver.

    Args:
        kind: solver; "auto" is exact if that is fast and memory suffices.
        columns: of the preconditioner, or None for COLUMNS of the rows, at most MOST_COLUMNS.
        tolerance: relative residual at which the iterative solver stops.
        engine: device and array library.
        folder: for checkpoints, or None.
    """

    kind: Kind = "auto"
    columns: int | None = None
    tolerance: float = 1e-4
    engine: Engine
    folder: Path | None = None

    def chosen(self, points: int, unknowns: int, size: int) -> Literal["exact", "iterative"]:
        """The solver to use; see `exact_bytes` for the arguments.

        Raises:
            InputError: memory does not suffice; gives the required and available memory, and
                advice.
        """
        if self.kind != "iterative":
            squares = SQUARES if self.engine.device is None else SQUARES_ON_GPU
            available = available_bytes(self.engine)
            fits = available is None or exact_bytes(points, unknowns, size, squares) <= available
            quick = self.engine.device is not None or points * unknowns <= QUICK
            if fits and (quick or self.kind == "exact"):
                return "exact"
            if self.kind == "exact" and available is not None:
                _refuse(
                    points,
                    available,
                    lambda n: exact_bytes(n, unknowns, size, squares),
                    ', or set solver = "iterative"',
                )
        available = available_bytes(Engine())  # the columns are kept there
        if available is not None and self.iterative_bytes(points, unknowns, size) > available:
            _refuse(points, available, lambda n: self.iterative_bytes(n, unknowns, size))
        return "iterative"

    def drawn(self, rows: int) -> int:
        """Columns of the first preconditioner."""
        return min(rows, self.columns or max(1, min(int(COLUMNS * rows), MOST_COLUMNS)))

    def iterative_bytes(self, points: int, unknowns: int, size: int) -> int:
        """Memory that the iterative solver takes; see `exact_bytes`."""
        columns = self.drawn(points * unknowns)
        matrices = columns * points * unknowns + 3 * columns**2
        return 8 * (matrices + _fixed(points, unknowns, size)) + OVERHEAD


def exact_bytes(points: int, unknowns: int, size: int, squares: int = SQUARES) -> int:
    """Memory that the exact solver takes: half the matrix, and the Jacobians.

    Args:
        points: training points.
        unknowns: of each of them.
        size: features of the descriptor.
        squares: matrices of half the points.
    """
    side = (points + 1) // 2 * unknowns
    return 8 * (squares * side**2 + _fixed(points, unknowns, size)) + OVERHEAD


def _fixed(points: int, unknowns: int, size: int) -> int:
    jacobians = points * (size + unknowns + 6) * (unknowns + 6)
    return jacobians + 8 * (BLOCK + size * unknowns + 2 * unknowns**2)


def _refuse(
    points: int, available: int, needed: Callable[[int], int], remedy: str = ""
) -> NoReturn:
    """Raise an error with advice on what would fit into memory."""
    count = bisect_right(range(points), available, key=needed) - 1
    raise InputError(
        f"training on {points} points takes {needed(points) / 2**30:.1f} GiB of memory and "
        f"{available / 2**30:.1f} GiB are free; train on {max(count, 0)} points or fewer{remedy}"
    )


def available_bytes(engine: Engine) -> int | None:
    """Memory that may still be taken, in bytes; None where that cannot be known."""
    if engine.device == "cuda":
        return int(engine.xp.cuda.mem_get_info()[0])
    return memory.available_bytes()


@dataclass(frozen=True, eq=False)
class Solution:
    """Dual coefficients and metadata of a solution.

    Args:
        beta: (rows,).
        constant: mean of the energies, in the labels' unit; 0 where forces alone are fitted.
        facts: plain values for `model.json`.
        warning: one line about a problem, or None.
    """

    beta: np.ndarray
    constant: float
    facts: SolutionFacts = field(default_factory=SolutionFacts)
    warning: str | None = None


class Solver:
    """Solves the systems of one kernel, whose regularization may vary.

    Args:
        kernel: for one sigma.
        setting: of the solver.
        progress: called with the steps.
        ladder: regularisations that are solved one after another, ascending. Those before the
            first request are computed too, so that a resumed search has exactly the factors of an
            uninterrupted one.

    Raises:
        InputError: memory does not suffice.
    """

    def __init__(
        self,
        kernel: Kernel,
        setting: Setting,
        progress: Progress = silent,
        ladder: Sequence[float] = (),
    ):
        self.kernel, self.setting, self.progress = kernel, setting, progress
        self.ladder = sorted(ladder)
        # Chosen once: a factor that is kept takes memory, and must not change the choice.
        points = kernel.points
        self.kind = setting.chosen(len(points), points.unknowns, points.features.shape[1])
        self._factor: Halves | None = None
        self._last = -np.inf

    def solve(self, labels: np.ndarray, regularization: float, seed: int) -> Solution:
        """Fit labels (points, unknowns), energies last where they are fitted.

        Args:
            labels: from `TrainingPoints.labels`.
            regularization: lambda.
            seed: of the drawing of a preconditioner's columns.

        Raises:
            InputError: the matrix is singular.
        """
        points = self.kernel.points
        sets = [labels.ravel()]
        if points.energies:
            ones = np.zeros_like(labels)
            ones[:, -1] = 1.0
            sets.append(ones.ravel())
        if self.kind == "exact":
            columns, facts = self._exactly(np.column_stack(sets), regularization)
            warning = None
        else:
            columns, facts, warning = self._iteratively(sets, regularization, seed)
        if not np.isfinite(columns).all():
            raise InputError(SINGULAR)
        beta, constant = columns[:, 0], 0.0
        if points.energies:
            # The coefficients of the energies add up to zero: the mean is as free as can be.
            sums = columns.reshape(len(points), points.unknowns, 2)[:, -1].sum(axis=0)
            constant = float(sums[0] / sums[1])
            beta = beta - constant * columns[:, 1]
        return Solution(beta, constant, {"solver": self.kind, **facts}, warning)

    def _exactly(
        self, labels: np.ndarray, regularization: float
    ) -> tuple[np.ndarray, SolutionFacts]:
        for earlier in self.ladder:
            if self._last < earlier < regularization:
                self._with_factor(labels, earlier)
        columns = self._with_factor(labels, regularization)
        if columns is None:
            return self._by_pivots(labels, regularization), {"indefinite": True}
        return columns, {}

    def _with_factor(self, labels: np.ndarray, regularization: float) -> np.ndarray | None:
        """Solve with the factor at hand, else with a new one; None where there is none."""
        self._last = regularization
        if self._factor is not None and self._factor.regularization < regularization:
            columns = self._refactored(labels, regularization)
            if columns is not None:
                return columns
        if self._factor is None or self._factor.regularization != regularization:
            self._factor = None  # its memory is needed
            try:
                self._factor = factorised(self.kernel, regularization, self.progress)
            except NotPositiveError:
                return None
        return self._factor.solve(labels)

    def _refactored(self, labels: np.ndarray, regularization: float) -> np.ndarray | None:
        """Solve with the factor of a smaller regularization for a preconditioner."""
        product = Operator(self.kernel)
        factor, columns = self._factor, []
        noise = self.kernel.points.noise(regularization).ravel()
        for column in labels.T:
            state = conjugate_gradients(
                System(
                    lambda v: product(v) + noise * v,
                    lambda v: factor.solve(v[:, None])[:, 0],  # type: ignore[union-attr]
                    column,
                ),
                REFACTORED,
                most_steps=REFACTORED_STEPS,
            )
            if state.history[-1] > REFACTORED:
                return None
            columns.append(state.solution)
        return np.column_stack(columns)

    def _by_pivots(self, labels: np.ndarray, regularization: float) -> np.ndarray:
        """Solve the whole matrix by a pivoted factorisation, which may be indefinite."""
        from scipy.linalg import LinAlgError, solve

        needed, available = 16 * self.kernel.points.rows**2, available_bytes(Engine())
        if available is not None and needed > available:
            raise InputError(
                f"rounding has made the kernel matrix indefinite, and to solve it all the same "
                f"takes {needed / 2**30:.1f} GiB of memory where {available / 2**30:.1f} are "
                "free: raise regularization, or lower sigma"
            )
        matrix = full_matrix(self.kernel, self.progress)
        matrix[np.diag_indices_from(matrix)] += self.kernel.points.noise(regularization).ravel()
        try:
            return solve(matrix, labels, assume_a="symmetric", overwrite_a=True)
        except LinAlgError:
            raise InputError(SINGULAR) from None

    def _iteratively(
        self, sets: list[np.ndarray], regularization: float, seed: int
    ) -> tuple[np.ndarray, SolutionFacts, str | None]:
        task = Iterations(
            kernel=self.kernel,
            regularization=regularization,
            tolerance=self.setting.tolerance,
            columns=self.setting.drawn(self.kernel.points.rows),
            grown=self._grown,
            seed=seed,
            checkpoint=self.setting.folder and self.setting.folder / CHECKPOINT,
            progress=self.progress,
        )
        end = task.solve(sets)
        facts: SolutionFacts = {"columns": end.columns, "steps": end.steps, "residual": end.worst}
        warning = None
        if end.worst > self.setting.tolerance:
            warning = (
                f"the iterative solver stalled at a residual of {end.worst:.1e}, above the "
                f"tolerance {self.setting.tolerance:g}: give it more columns, or raise "
                "regularization"
            )
        return np.column_stack(end.done), facts, warning

    def _grown(self, drawn: int) -> int:
        """Columns of the next preconditioner, as many as there is memory for."""
        points = self.kernel.points
        available = available_bytes(Engine())
        more = min(points.rows, int(GROWTH * drawn))
        if available is not None:
            most = available // (8 * (points.rows + 3 * drawn)) + drawn
            more = min(more, max(drawn, most))
        return more
