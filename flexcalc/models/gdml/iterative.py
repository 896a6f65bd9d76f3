"""The iterative solver: conjugate gradients on a kernel matrix that is never stored.

The product with the matrix is a prediction at the training points. The preconditioner is the
Nystroem approximation from some of the columns,

    K ~ B B^T,  B = K_nm L_mm^-T,   P^-1 v = (v - B (B^T B + mu)^-1 B^T v) / mu,

with mu the mean of what B B^T leaves of the diagonal (or lambda, if that is more), which takes a
tenth fewer steps than lambda itself. Columns drawn at random do as well as by leverage scores or
by pivoting here (azobenzene, 100 points, a tenth of the columns: 215, 214 and 218 steps), and
those of whole points worse (860).

Sources: Chmiela et al., Sci. Adv. 9, eadf0873 (2023); Frangella, Tropp, Udell, SIAM J. Matrix
Anal. Appl. 44, 718 (2023), for the role of mu.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from flexcalc.models.gdml.bonds import contraction_of
from flexcalc.models.gdml.kernel import Kernel
from flexcalc.progress import Progress, silent

PRODUCT_CHUNK = 32
"""Training points whose rows of a product are made at a time."""
JITTER = 1e-13
"""Share of the mean diagonal, times the columns, that keeps the factor of K_mm positive."""
LOOK_BACK, LEAST_GAIN = 200, 0.5
"""A solution has stalled if this number of steps does not reduce the residual by this factor."""

Map = Callable[[np.ndarray], np.ndarray]


class Operator:
    """The product with the kernel matrix, v (rows,) -> K v (rows,)."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        points = kernel.points
        self.contraction = contraction_of(
            points.features, points.order, kernel.sigma, points.terms, kernel.engine
        )

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        """K times a vector."""
        points = self.kernel.points
        slopes, energies = points.contracted(vector)
        self.contraction.set_coefficients(slopes * -self.kernel.slope_factor, energies)
        product = np.empty((len(points), points.unknowns))
        motions = points.jacobians.shape[2]

        def work(chunk: slice) -> None:
            found, slope = self.contraction(points.features[chunk])
            product[chunk, :motions] = (slope[:, None] @ points.jacobians[chunk])[:, 0]
            if points.energies:
                product[chunk, motions] = found

        starts = range(0, len(points), PRODUCT_CHUNK)
        self.kernel.engine.each(work, [slice(at, at + PRODUCT_CHUNK) for at in starts])
        return product.ravel()


class Nystroem:
    """The preconditioner, v -> P^-1 v.

    Args:
        kernel: gives the columns.
        columns: number of columns to draw.
        regularization: lambda.
        rng: draws them.
        progress: told the training points done.

    Raises:
        LinAlgError: the columns are linearly dependent beyond rounding.
    """

    def __init__(
        self,
        kernel: Kernel,
        columns: int,
        regularization: float,
        rng: Generator,
        progress: Progress = silent,
    ):
        from scipy.linalg import blas

        rows = kernel.points.rows
        chosen = np.sort(rng.choice(rows, min(columns, rows), replace=False))
        self._columns = matrix_columns(kernel, chosen, progress)
        square = self._columns[:, chosen].copy()
        square[np.diag_indices_from(square)] += JITTER * len(chosen) * square.diagonal().mean()
        factor = _cholesky(square.T)
        # B^T takes the place of the columns, in the same rows.
        blas.dtrsm(1.0, factor, self._columns.T, side=1, lower=0, overwrite_b=1)
        left = trace(kernel) - float(np.einsum("mn,mn->", self._columns, self._columns))
        self.mu = max(left / rows, regularization)
        inner = blas.dsyrk(1.0, self._columns.T, trans=1, lower=0)
        inner[np.diag_indices_from(inner)] += self.mu
        self._factor = _cholesky(inner)

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        """The preconditioner times a vector (rows,)."""
        from scipy.linalg import lapack

        inner, _ = lapack.dpotrs(self._factor, self._columns @ vector, lower=0)
        return (vector - inner.ravel() @ self._columns) / self.mu


def _cholesky(matrix: np.ndarray) -> np.ndarray:
    """The upper Cholesky factor, in place."""
    from scipy.linalg import lapack

    factor, failed = lapack.dpotrf(matrix, lower=0, overwrite_a=1)
    if failed:
        raise np.linalg.LinAlgError("the Nystroem preconditioner is not positive")
    return factor


def matrix_columns(kernel: Kernel, chosen: np.ndarray, progress: Progress = silent) -> np.ndarray:
    """Columns of the kernel matrix, as rows (chosen, rows).

    Args:
        kernel: gives the blocks.
        chosen: indices of the columns, ascending.
        progress: told the training points done.
    """
    points, unknowns = kernel.points, kernel.points.unknowns
    motions = points.jacobians.shape[2]
    columns = np.empty((len(chosen), len(points), unknowns))
    owners, inner = np.divmod(chosen, unknowns)
    met = np.unique(owners)
    done = iter(range(1, len(met) + 1))

    def work(point: int) -> None:
        mine = np.flatnonzero(owners == point)
        moved = inner[mine][inner[mine] < motions]
        # The row of the energy, where there is one, is the last.
        rows = [*range(len(moved)), *[-1] * (len(mine) - len(moved))]
        for start in range(0, len(points), kernel.width):
            others = slice(start, min(start + kernel.width, len(points)))
            blocks = kernel.engine.numpy(kernel.blocks(point, others, moved))
            columns[mine, others] = blocks[:, rows].swapaxes(0, 1)
        progress(next(done), len(met), "preconditioner")

    kernel.engine.each(work, met.tolist())
    return columns.reshape(len(chosen), points.rows)


def trace(kernel: Kernel) -> float:
    """The sum of the diagonal of the kernel matrix."""
    points = range(len(kernel.points))
    blocks = (kernel.engine.numpy(kernel.blocks(k, slice(k, k + 1)))[0] for k in points)
    return float(sum(np.trace(block) for block in blocks))


@dataclass(frozen=True)
class Conjugate:
    """The state of conjugate gradients: all that going on exactly needs.

    Args:
        solution: (rows,).
        residual: (rows,), labels - K solution.
        direction: (rows,), of the next step.
        product: residual . P^-1 residual.
        history: norms of the residual over that of the labels, one a step.
    """

    solution: np.ndarray
    residual: np.ndarray
    direction: np.ndarray
    product: float
    history: tuple[float, ...] = ()

    @classmethod
    def begin(cls, labels: np.ndarray, inverse: Map) -> Conjugate:
        """At zero."""
        direction = inverse(labels)
        return cls(np.zeros_like(labels), labels, direction, float(labels @ direction))

    def advanced(self, matrix: Map, inverse: Map, norm: float) -> Conjugate:
        """One step further."""
        image = matrix(self.direction)
        length = self.product / float(self.direction @ image)
        residual = self.residual - length * image
        sloped = inverse(residual)
        product = float(residual @ sloped)
        return Conjugate(
            solution=self.solution + length * self.direction,
            residual=residual,
            direction=sloped + (product / self.product) * self.direction,
            product=product,
            history=(*self.history, float(np.linalg.norm(residual)) / norm),
        )

    @property
    def stalled(self) -> bool:
        """Whether the last steps have brought next to nothing."""
        recent = self.history[-LOOK_BACK:]
        return len(recent) == LOOK_BACK and min(recent) > LEAST_GAIN * recent[0]


class System(NamedTuple):
    """A system of linear equations, K x = labels.

    Args:
        matrix: the positive matrix's product with a vector (rows,).
        inverse: the preconditioner's.
        labels: (rows,).
    """

    matrix: Map
    inverse: Map
    labels: np.ndarray


def conjugate_gradients(
    system: System,
    tolerance: float,
    *,
    state: Conjugate | None = None,
    most_steps: int = 10000,
    keep: Callable[[Conjugate], None] = lambda state: None,
    progress: Progress = silent,
) -> Conjugate:
    """Solve K x = labels until the residual is below `tolerance` times the labels' norm.

    Args:
        system: the equations.
        tolerance: of the relative residual.
        state: where to go on; by default it begins at zero.
        most_steps: to do at most.
        keep: given every state, for a checkpoint.
        progress: told how much of the way to the tolerance is done, on a logarithmic scale, and
            the residual.

    Returns:
        The last state; the end of its history says how good it is.
    """
    matrix, inverse, labels = system
    norm = float(np.linalg.norm(labels))
    state = state or Conjugate.begin(labels, inverse)
    wanted = int(-100 * np.log10(tolerance))
    while len(state.history) < most_steps and not state.stalled:
        if state.history and state.history[-1] <= tolerance:
            break
        state = state.advanced(matrix, inverse, norm)
        keep(state)
        reached = int(-100 * np.log10(max(state.history[-1], tolerance)))
        note = f"residual {state.history[-1]:.1e} after {len(state.history)} steps"
        progress(max(0, min(reached, wanted)), wanted, note)
    return state
