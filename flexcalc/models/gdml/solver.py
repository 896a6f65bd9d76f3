"""The exact solver: the kernel matrix of the forces and its Cholesky factor, in place.

The kernel matrix has one block K_ij for every two training points,

    K_ij = sum_P J_i^T 5/(3 s^4) exp(-n/s) [s(s + n) 1 - 5 d d^T] P J_j,   d = x_i - P x_j,
    n = sqrt(5) |d|,

summed over the symmetry group. The Jacobians J do not see rigid motions, so the blocks are made
in coordinates that leave these out: the same model, for that part of the dual coefficients
alpha drops out of J alpha, from fewer unknowns (half the operations for glycine).

Source: Chmiela et al., Nat. Commun. 9, 3887 (2018), eq. 5; arXiv:1912.06401.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flexcalc.errors import InputError
from flexcalc.models.gdml.descriptor import Descriptor
from flexcalc.progress import Progress, silent

BLOCK = 1 << 16
"""Numbers in the Jacobians that are combined at a time: half a megabyte, near the cache's size."""

LINEAR = 1e-3
"""Ratio of moments of rotation below which a geometry counts as linear."""


@dataclass(frozen=True)
class TrainingPoints:
    """What the kernel matrix is made of, whatever sigma.

    Args:
        features: (points, size), descriptors.
        jacobians: (points, size, unknowns), their derivatives along the internal motions.
        motions: (points, 3 atoms, unknowns), orthonormal motions that change the shape.
        order: (group, size), how the features move under each permutation of the group.
    """

    features: np.ndarray
    jacobians: np.ndarray
    motions: np.ndarray
    order: np.ndarray

    @property
    def rows(self) -> int:
        """Rows of the kernel matrix."""
        return self.jacobians.shape[0] * self.jacobians.shape[2]


def prepare(
    descriptor: Descriptor, positions: np.ndarray, permutations: np.ndarray
) -> TrainingPoints:
    """Compute what does not depend on sigma.

    Args:
        descriptor: of the molecule.
        positions: (points, atoms, 3) in angstrom.
        permutations: (group, atoms), a closed group.
    """
    motions = internal_motions(positions)
    features = descriptor.linearise(positions).features
    return TrainingPoints(
        features=features,
        jacobians=descriptor.jacobian(positions) @ motions,
        motions=motions,
        order=descriptor.relabelled(permutations),
    )


def internal_motions(positions: np.ndarray) -> np.ndarray:
    """Orthonormal motions (points, 3 atoms, unknowns) without translations and rotations.

    Where a geometry is linear, and rotation about its axis no motion, the rotations stay in.
    """
    points, atoms, _ = positions.shape
    vectors = np.zeros((points, atoms, 3, 6))
    vectors[..., :3] = np.eye(3)
    centred = positions - positions.mean(axis=1, keepdims=True)
    # Column k of the rotations is the motion of every atom about axis k.
    vectors[..., 3:] = np.cross(np.eye(3), centred[:, :, None]).swapaxes(2, 3)
    rigid = vectors.reshape(points, 3 * atoms, 6)
    moments = np.linalg.svd(rigid[..., 3:], compute_uv=False)
    if (moments[:, -1] < LINEAR * moments[:, 0]).any():
        rigid = rigid[..., :3]
    basis = np.linalg.qr(rigid, mode="complete")[0]
    return np.ascontiguousarray(basis[..., rigid.shape[2] :])


def bytes_needed(count: int, atoms: int, size: int) -> int:
    """Memory that training takes: the kernel matrix, and Jacobians before and after projection.

    Args:
        count: training points.
        atoms: of the molecule.
        size: features of the descriptor.
    """
    unknowns = max(3 * atoms - 6, 3)
    jacobians = count * (size + 3 * atoms) * (3 * atoms + unknowns)
    block = BLOCK + 8 * unknowns * (size + 2 * unknowns)
    return 8 * ((count * unknowns) ** 2 + jacobians + 4 * block)


def check_memory(count: int, atoms: int, size: int) -> None:
    """Refuse a training that does not fit into memory; for the arguments see `bytes_needed`.

    Raises:
        InputError: says how much is needed, how much there is and what to do.
    """
    needed, available = bytes_needed(count, atoms, size), available_bytes()
    if available is None or needed <= available:
        return
    fitting = bisect_right(range(count), available, key=lambda n: bytes_needed(n, atoms, size)) - 1
    raise InputError(
        f"training on {count} points takes {needed / 2**30:.1f} GiB of memory and "
        f"{available / 2**30:.1f} GiB are free; train on {max(fitting, 0)} points or fewer"
    )


def available_bytes() -> int | None:
    """Memory that this process may still take, in bytes; None where that cannot be known."""
    limits = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                limits.append(1024 * int(line.split()[1]))
        most = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        if most != "max":
            limits.append(max(int(most) - used, 0))
    except (OSError, ValueError):
        pass  # not Linux, or no control group: the limits found so far count
    return min(limits, default=None)


def assemble(points: TrainingPoints, sigma: float, progress: Progress = silent) -> np.ndarray:
    """The kernel matrix (rows, rows), both triangles.

    Args:
        points: from `prepare`.
        sigma: length scale in the unit of the features.
        progress: told the training points done.
    """
    count, _, unknowns = points.jacobians.shape
    width = _width(points)
    kernel = np.empty((count, unknowns, count, unknowns))
    for row in range(count):
        for start in range(0, row + 1, width):
            columns = slice(start, min(start + width, row + 1))
            blocks = _blocks(points, sigma, row, columns)
            kernel[row, :, columns] = blocks.transpose(1, 0, 2)
            kernel[columns, :, row] = blocks.transpose(0, 2, 1)
        progress(row + 1, count, "kernel matrix")
    return kernel.reshape(points.rows, points.rows)


def _width(points: TrainingPoints) -> int:
    """How many training points are combined with one at a time."""
    return max(8, BLOCK // points.jacobians[0].size)


def _blocks(points: TrainingPoints, sigma: float, row: int, columns: slice) -> np.ndarray:
    """The blocks K_ij of one point i with points j, (columns, unknowns, unknowns).

    As the group has with every P its inverse, P may act on point i instead, where it is done
    once for all j.
    """
    size, unknowns = points.jacobians.shape[1:]
    here = points.features[row][points.order]
    slopes = points.jacobians[row][points.order]
    there = points.jacobians[columns]
    apart = here - points.features[columns, None]
    distance = np.sqrt(5.0 * np.einsum("jgd,jgd->jg", apart, apart))
    decay = np.exp(-distance / sigma) * (5.0 / (3.0 * sigma**4))
    mixed = decay * (sigma * (sigma + distance)) @ slopes.reshape(len(slopes), -1)
    mixed = mixed.reshape(-1, size, unknowns)
    blocks = mixed.transpose(0, 2, 1) @ there
    along_here = apart.transpose(1, 0, 2) @ slopes
    along_there = apart @ there
    along_here = along_here.transpose(1, 2, 0) * (5.0 * decay)[:, None]
    blocks -= along_here @ along_there
    return blocks


def solve(kernel: np.ndarray, labels: np.ndarray, regularization: float) -> np.ndarray:
    """Solve (K + lambda 1) beta = labels; the matrix is destroyed.

    Cholesky in one triangle, in place. Where rounding has made the matrix indefinite, the other
    triangle restores it for an LU factorisation.

    Args:
        kernel: (rows, rows), symmetric; overwritten.
        labels: (rows,).
        regularization: lambda, added to the diagonal.

    Returns:
        beta, (rows,).

    Raises:
        InputError: the matrix is singular.
    """
    from scipy.linalg import lapack

    kernel[np.diag_indices_from(kernel)] += regularization
    diagonal = kernel.diagonal().copy()
    # LAPACK counts columns first: its upper triangle of the transpose is our lower one.
    _, failed = lapack.dpotrf(kernel.T, lower=0, overwrite_a=1, clean=0)
    if not failed:
        solution, failed = lapack.dpotrs(kernel.T, labels, lower=0)
    else:
        for row in range(len(kernel)):
            kernel[row, :row] = kernel[:row, row]
        kernel[np.diag_indices_from(kernel)] = diagonal
        *_, solution, failed = lapack.dgesv(kernel.T, labels, overwrite_a=1)
    if failed or not np.isfinite(solution).all():
        raise InputError(
            "the kernel matrix is singular: look for frames that occur twice among the "
            "training points, or raise regularization"
        )
    return solution.reshape(len(labels))
