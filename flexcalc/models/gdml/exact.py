"""The exact solver: half of the symmetric kernel matrix, and its Cholesky factor in place.

The training points are split into two halves, and the matrix into [[A, B^T], [B, C]] (a point
without labels fills up an odd number). Only B and one square for both triangles A and C are kept:
A in the lower triangle of the square, C^T in the upper one, with a second diagonal next to it. So
the matrix takes half the memory of a full one, at LAPACK's full speed:

    A = L_A L_A^T,   B <- B L_A^-T,   C <- C - B B^T = L_C L_C^T.

The layout is that of LAPACK's rectangular full packed format, see Gustavson et al., ACM Trans.
Math. Softw. 37, 18 (2010), cut in two so that the parts are ordinary matrices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from flexcalc.models.gdml.kernel import Kernel
from flexcalc.progress import Progress, silent


class NotPositiveError(ArithmeticError):
    """Rounding has made the kernel matrix indefinite."""


class Halves:
    """The matrix K + lambda 1 while it is assembled, and its Cholesky factor afterwards.

    Args:
        kernel: gives the blocks.
        regularization: lambda.
    """

    def __init__(self, kernel: Kernel, regularization: float):
        self.kernel, self.regularization = kernel, regularization
        self.half = (len(kernel.points) + 1) // 2
        self.unknowns = kernel.points.unknowns
        self.side = self.half * self.unknowns
        self.below = kernel.engine.zeros(self.side, self.side)
        self.square = kernel.engine.zeros(self.side, self.side)
        self.diagonal = np.ones(self.side)
        """Of C; once the matrix is factorised, that of L_A, whose place L_C's takes."""

    def assemble(self, progress: Progress = silent) -> Self:
        """Fill in all blocks.

        Args:
            progress: told the training points done.
        """
        count, done = len(self.kernel.points), iter(range(1, len(self.kernel.points) + 1))
        noise = self.kernel.engine.array(self.kernel.points.noise(self.regularization))

        def work(row: int) -> None:
            for columns in self._strips(row):
                self._put_blocks(row, columns, self.kernel.blocks(row, columns))
            block = self.kernel.blocks(row, slice(row, row + 1))[0]
            block[range(self.unknowns), range(self.unknowns)] += noise[row]
            self._put_diagonal(row, block)
            progress(next(done), count, "kernel matrix")

        # The long rows first, so that the cores finish together.
        self.kernel.engine.each(work, range(count - 1, -1, -1))
        return self

    def _strips(self, row: int) -> Iterator[slice]:
        """Chunks of the points before a point, none across the border between the halves."""
        for begin, end in ((0, min(row, self.half)), (self.half, row)):
            for start in range(begin, end, self.kernel.width):
                yield slice(start, min(start + self.kernel.width, end))

    def _put_blocks(self, row: int, columns: slice, blocks: Any) -> None:
        if row < self.half:
            self._view(self.square)[row, :, columns] = blocks.swapaxes(0, 1)
        elif columns.start < self.half:
            self._view(self.below)[row - self.half, :, columns] = blocks.swapaxes(0, 1)
        else:
            columns = slice(columns.start - self.half, columns.stop - self.half)
            self._put_second(row - self.half, columns, blocks)

    def _put_second(self, row: int, columns: slice, blocks: Any) -> None:
        """Blocks of C, as blocks of its transpose."""
        self._view(self.square)[columns, :, row] = blocks.swapaxes(1, 2)

    def _put_diagonal(self, row: int, block: Any) -> None:
        """A block of A or C on the diagonal, which the two share."""
        view, n = self._view(self.square), self.unknowns
        if row < self.half:
            i, j = np.tril_indices(n)
            view[row, i, row, j] = block[i, j]
        else:
            row -= self.half
            i, j = np.tril_indices(n, -1)
            view[row, j, row, i] = block[i, j]
            self.diagonal[row * n : (row + 1) * n] = block.diagonal()

    def _view(self, matrix: Any) -> Any:
        """A matrix by point and unknown, of the row and of the column."""
        return matrix.reshape(self.half, self.unknowns, self.half, self.unknowns)

    def factorise(self) -> Self:
        """Turn the matrix into its factor, in place.

        Raises:
            NotPositiveError: rounding has made it indefinite; what is here is of no use then.
        """
        from scipy.linalg import blas, lapack

        # LAPACK counts columns first: for it the square holds L_A^T above and C below.
        square, below = self.square.T, self.below.T
        self._check(lapack.dpotrf(square, lower=0, overwrite_a=1, clean=0)[1])
        blas.dtrsm(1.0, square, below, lower=0, trans_a=1, overwrite_b=1)
        self._swap()
        blas.dsyrk(-1.0, below, beta=1.0, c=square, trans=1, lower=1, overwrite_c=1)
        self._check(lapack.dpotrf(square, lower=1, overwrite_a=1, clean=0)[1])
        return self

    @staticmethod
    def _check(failed: int) -> None:
        if failed:
            raise NotPositiveError

    def _swap(self) -> None:
        """Exchange the diagonal in the square with the one next to it."""
        entries = np.einsum("kk->k", self.square)
        kept = entries.copy()
        entries[:] = self.diagonal
        self.diagonal = kept

    def solve(self, labels: np.ndarray) -> np.ndarray:
        """Solve (K + lambda 1) beta = labels with the factor.

        Args:
            labels: (rows, sets).

        Returns:
            beta, (rows, sets).
        """
        from scipy.linalg import blas

        rows = len(labels)
        padded = np.zeros((2 * self.side, labels.shape[1]), order="F")
        padded[:rows] = labels
        first, second = (np.asfortranarray(part) for part in np.split(padded, 2))
        square, below = self.square.T, self.below.T
        self._swap()
        first = blas.dtrsm(1.0, square, first, lower=0, trans_a=1)
        self._swap()
        second = blas.dtrsm(1.0, square, second - below.T @ first, lower=1)
        second = blas.dtrsm(1.0, square, second, lower=1, trans_a=1)
        self._swap()
        first = blas.dtrsm(1.0, square, first - below @ second, lower=0)
        self._swap()
        return np.concatenate([first, second])[:rows]


class HalvesOnGPU(Halves):
    """The same on a GPU, where there is room for C in a square of its own.

    Only lower triangles are read, so whole blocks are stored.
    """

    def __init__(self, kernel: Kernel, regularization: float):
        super().__init__(kernel, regularization)
        self.other = kernel.engine.zeros(self.side, self.side)
        # The point that fills up an odd number.
        self.other.diagonal()[-self.unknowns :] = 1.0

    def _put_second(self, row: int, columns: slice, blocks: Any) -> None:
        self._view(self.other)[row, :, columns] = blocks.swapaxes(0, 1)

    def _put_diagonal(self, row: int, block: Any) -> None:
        matrix = self.square if row < self.half else self.other
        self._view(matrix)[row % self.half, :, row % self.half] = block

    def factorise(self) -> Self:
        """See `Halves.factorise`."""
        linalg = self.kernel.engine.xp.linalg
        self.square, failed = linalg.cholesky_ex(self.square)
        self._check(int(failed))
        self.below = linalg.solve_triangular(self.square.mT, self.below, upper=True, left=False)
        self.other -= self.below @ self.below.mT
        self.other, failed = linalg.cholesky_ex(self.other)
        self._check(int(failed))
        return self

    def solve(self, labels: np.ndarray) -> np.ndarray:
        """See `Halves.solve`."""
        engine, triangular = self.kernel.engine, self.kernel.engine.xp.linalg.solve_triangular
        padded = np.zeros((2 * self.side, labels.shape[1]))
        padded[: len(labels)] = labels
        first, second = (engine.array(part) for part in np.split(padded, 2))
        first = triangular(self.square, first, upper=False)
        second = triangular(self.other, second - self.below @ first, upper=False)
        second = triangular(self.other.mT, second, upper=True)
        first = triangular(self.square.mT, first - self.below.mT @ second, upper=True)
        return np.concatenate([engine.numpy(first), engine.numpy(second)])[: len(labels)]


def factorised(kernel: Kernel, regularization: float, progress: Progress = silent) -> Halves:
    """The factor of K + lambda 1.

    Args:
        kernel: gives the blocks.
        regularization: lambda.
        progress: told the training points done.

    Raises:
        NotPositiveError: rounding has made the matrix indefinite.
    """
    kind = Halves if kernel.engine.device is None else HalvesOnGPU
    return kind(kernel, regularization).assemble(progress).factorise()


def full_matrix(kernel: Kernel, progress: Progress = silent) -> np.ndarray:
    """The kernel matrix K (rows, rows), both triangles.

    Args:
        kernel: gives the blocks.
        progress: told the training points done.
    """
    count, unknowns = len(kernel.points), kernel.points.unknowns
    matrix = np.empty((count, unknowns, count, unknowns))

    def work(row: int) -> None:
        for start in range(0, row + 1, kernel.width):
            columns = slice(start, min(start + kernel.width, row + 1))
            blocks = kernel.engine.numpy(kernel.blocks(row, columns))
            matrix[row, :, columns] = blocks.swapaxes(0, 1)
            matrix[columns, :, row] = blocks.swapaxes(1, 2)

    kernel.engine.each(work, range(count))
    return matrix.reshape(kernel.points.rows, kernel.points.rows)
