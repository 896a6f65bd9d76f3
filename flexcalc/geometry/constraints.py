"""Constraints: geometries with fixed internal coordinates, and motions that preserve them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flexcalc.errors import InputError
from flexcalc.geometry.coordinates import angle
from flexcalc.geometry.named import Coordinate

LINEAR_RADIANS = 1e-4
"""Distance from 180 degrees below which an angle is constrained in both bending directions."""

LONGEST_A = 0.2
"""Maximum move of an atom in one correction, in angstrom."""


def held(
    positions: np.ndarray,
    coordinates: Sequence[Coordinate],
    targets: np.ndarray,
    tolerance: float = 1e-10,
    steps: int = 100,
) -> np.ndarray:
    """The nearest positions (batch, atoms, 3) whose coordinates have their target values.

    Args:
        positions: (batch, atoms, 3) in angstrom.
        coordinates: the constrained coordinates.
        targets: (batch, coordinates) in angstrom or radians.
        tolerance: maximum residual, in angstrom or radians.
        steps: maximum number of corrections, each the shortest first-order move to the targets.

    Raises:
        InputError: the values cannot be reached together.

    Source: Ryckaert, Ciccotti and Berendsen, J. Comput. Phys. 23, 327 (1977), with all
    constraints solved at once.
    """
    for _ in range(steps):
        gaps, gradients = _gaps(positions, coordinates, targets)
        if np.abs(gaps).max(initial=0.0) < tolerance:
            return positions
        move = np.einsum("bmax,bm->bax", gradients, _solved(gradients, gaps))
        farthest = np.sqrt((move**2).sum(axis=2)).max(axis=1)
        scale = np.minimum(1.0, LONGEST_A / np.maximum(farthest, 1e-300))
        positions = positions - scale[:, None, None] * move
    row = int(np.abs(gaps).max(axis=1).argmax())
    names = ", ".join(coordinate.label for coordinate in coordinates)
    raise InputError(
        f"geometry {row}: the values of {names} cannot be reached together, "
        f"{np.abs(gaps).max():.1e} A or radians are left; drive fewer coordinates"
    )


def free_part(
    vectors: np.ndarray,
    positions: np.ndarray,
    coordinates: Sequence[Coordinate],
    targets: np.ndarray,
) -> np.ndarray:
    """Project vectors (batch, atoms, 3) onto motions that preserve the constraints, to first
    order."""
    _, gradients = _gaps(positions, coordinates, targets)
    along = np.einsum("bmax,bax->bm", gradients, vectors)
    return vectors - np.einsum("bmax,bm->bax", gradients, _solved(gradients, along))


def _solved(gradients: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """(G G^T)^-1 of gaps (batch, m), without rows of zeros and redundant constraints."""
    metric = np.einsum("bmax,bnax->bmn", gradients, gradients)
    return np.einsum("bmn,bn->bm", np.linalg.pinv(metric, rcond=1e-12, hermitian=True), gaps)


def _gaps(
    positions: np.ndarray, coordinates: Sequence[Coordinate], targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Differences (batch, 3 coordinates) between positions and targets, and their gradients.

    Each coordinate has three rows. A linear angle needs them all, as it can bend two ways and
    its own gradient vanishes; the others leave two of them zero.
    """
    batch, count = targets.shape
    gaps, gradients = np.zeros((batch, count, 3)), np.zeros((batch, count, 3, *positions.shape[1:]))
    for index, coordinate in enumerate(coordinates):
        values, slopes = coordinate.measured(positions)
        gap = values - targets[:, index]
        if coordinate.kind == "dihedral":
            gap -= 2 * np.pi * np.round(gap / (2 * np.pi))
            # Next to a linear angle the dihedral is undefined.
            defined = ~_has_straight_angle(positions, coordinate.atoms)
            gap, slopes = gap * defined, slopes * defined[:, None, None]
        if coordinate.kind == "angle":
            goal = np.arccos(np.cos(targets[:, index]))
            gap = values - goal
            straight = goal > np.pi - LINEAR_RADIANS
            bends, bend_slopes = _bend(positions[straight], *coordinate.atoms)
            gaps[straight, index], gradients[straight, index] = bends, bend_slopes
            gap, slopes = gap[~straight], slopes[~straight]
            gaps[~straight, index, 0], gradients[~straight, index, 0] = gap, slopes
        else:
            gaps[:, index, 0], gradients[:, index, 0] = gap, slopes
    return gaps.reshape(batch, -1), gradients.reshape(batch, 3 * count, *positions.shape[1:])


def _has_straight_angle(positions: np.ndarray, atoms: tuple[int, ...]) -> np.ndarray:
    """Whether an angle within a dihedral is linear, (batch,)."""
    angles = [angle(positions, *atoms[n : n + 3])[0] for n in (0, 1)]
    return np.maximum(*angles) > np.pi - 10 * LINEAR_RADIANS


def _bend(positions: np.ndarray, i: int, j: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the unit vectors from j to i and to k (batch, 3), zero when linear; its gradients."""
    total = np.zeros((len(positions), 3))
    slopes = np.zeros((len(positions), 3, *positions.shape[1:]))
    for atom in (i, k):
        vector = positions[:, atom] - positions[:, j]
        length = np.linalg.norm(vector, axis=1)[:, None]
        unit = vector / length
        across = (np.eye(3) - unit[:, :, None] * unit[:, None, :]) / length[..., None]
        total += unit
        slopes[:, :, atom] += across
        slopes[:, :, j] -= across
    return total, slopes
