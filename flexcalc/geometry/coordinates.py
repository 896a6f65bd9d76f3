"""Internal coordinates with their gradients, in closed form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def distances(positions: np.ndarray) -> np.ndarray:
    """All distances (batch, atoms, atoms) in angstrom of positions (batch, atoms, 3)."""
    return np.linalg.norm(positions[:, :, None] - positions[:, None, :], axis=-1)


def distance(positions: np.ndarray, i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance of two atoms and its gradient.

    Args:
        positions: (batch, atoms, 3) in angstrom.

    Returns:
        Values (batch,) in angstrom and gradients (batch, atoms, 3), without unit; zero where
        the atoms coincide.
    """
    direction, values = _unit(positions[:, i] - positions[:, j])
    return values, _spread(positions, {i: direction, j: -direction})


def angle(positions: np.ndarray, i: int, j: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Angle i-j-k in [0, pi] and its gradient.

    The gradient's length, one over the bond's, stays finite towards a linear angle. At exactly
    0 and pi the angle has a kink, and the gradient is zero there.

    Args:
        positions: (batch, atoms, 3) in angstrom.

    Returns:
        Values (batch,) in radians and gradients (batch, atoms, 3) in radians/angstrom.
    """
    first, first_length = _unit(positions[:, i] - positions[:, j])
    second, second_length = _unit(positions[:, k] - positions[:, j])
    normal = _cross(first, second)
    axis, sine = _unit(normal)
    # atan2 keeps full precision where the arc cosine loses half of the digits.
    values = np.arctan2(sine, np.einsum("bx,bx->b", first, second))
    from_first = _cross(first, axis) * _inverse(first_length)
    from_second = _cross(axis, second) * _inverse(second_length)
    return values, _spread(positions, {i: from_first, j: -from_first - from_second, k: from_second})


def dihedral(
    positions: np.ndarray,
    i: int,
    j: int,
    k: int,
    l: int,  # noqa: E741
) -> tuple[np.ndarray, np.ndarray]:
    """Dihedral i-j-k-l in (-pi, pi] and its gradient; trans is pi, the sign is IUPAC's.

    The gradient grows as one over the sine of the angles i-j-k and j-k-l, as the coordinate
    itself does. Where one of them is exactly linear the dihedral has no value; it is given as
    0 with zero gradient.

    Args:
        positions: (batch, atoms, 3) in angstrom.

    Returns:
        Values (batch,) in radians and gradients (batch, atoms, 3) in radians/angstrom.

    Source: Blondel and Karplus, J. Comput. Chem. 17, 1132 (1996), eq. 27.
    """
    # The names are the paper's: F, G, H along the chain, A and B normal to the two planes.
    F = positions[:, i] - positions[:, j]
    G = positions[:, j] - positions[:, k]
    H = positions[:, l] - positions[:, k]
    A, B = _cross(F, G), _cross(H, G)
    G_unit, G_length = _unit(G)
    sine = np.einsum("bx,bx->b", _cross(B, A), G_unit)
    values = np.arctan2(sine, np.einsum("bx,bx->b", A, B))
    A_scaled = A * _inverse(np.einsum("bx,bx->b", A, A))
    B_scaled = B * _inverse(np.einsum("bx,bx->b", B, B))
    along_F = np.einsum("bx,bx->b", F, G_unit)[:, None]
    along_H = np.einsum("bx,bx->b", H, G_unit)[:, None]
    shift = along_F * A_scaled - along_H * B_scaled
    first, last = -G_length[:, None] * A_scaled, G_length[:, None] * B_scaled
    return values, _spread(positions, {i: first, j: -first + shift, k: -last - shift, l: last})


def difference(
    positions: np.ndarray,
    i: int,
    j: int,
    k: int,
    l: int,  # noqa: E741
) -> tuple[np.ndarray, np.ndarray]:
    """Distance i-j less distance k-l and its gradient, as of a bond that breaks and one that forms.

    Args:
        positions: (batch, atoms, 3) in angstrom.

    Returns:
        Values (batch,) in angstrom and gradients (batch, atoms, 3), without unit.
    """
    first, first_gradient = distance(positions, i, j)
    second, second_gradient = distance(positions, k, l)
    return first - second, first_gradient - second_gradient


def coordination(
    positions: np.ndarray, first: Sequence[int], second: Sequence[int], r0_A: float, power: int
) -> tuple[np.ndarray, np.ndarray]:
    """Number of atoms of one group around those of another, and its gradient.

    Each pair counts 1 / (1 + (r/r0)^n), PLUMED's rational switching function with m = 2n.

    Args:
        positions: (batch, atoms, 3) in angstrom.
        first, second: atoms of the two groups; an atom is no neighbour of itself.
        r0_A: distance that counts one half, in angstrom.
        power: n.

    Returns:
        Values (batch,) and gradients (batch, atoms, 3) in 1/angstrom.

    Source: Iannuzzi, Laio and Parrinello, Phys. Rev. Lett. 90, 238302 (2003),
    doi:10.1103/PhysRevLett.90.238302.
    """
    pairs = [(a, b) for a in first for b in second if a != b]
    i, j = np.array(pairs).T
    apart = positions[:, i] - positions[:, j]
    lengths = np.linalg.norm(apart, axis=-1)
    # Far beyond, the power overflows to infinity, and the pair counts zero as it should.
    with np.errstate(over="ignore"):
        counts = 1 / (1 + (lengths / r0_A) ** power)
    steepness = -power * counts * (1 - counts)
    inverse = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    pull = (steepness * inverse**2)[..., None] * apart
    ends = np.zeros((positions.shape[1], len(pairs)))
    ends[i, np.arange(len(pairs))] = 1
    ends[j, np.arange(len(pairs))] = -1
    return counts.sum(axis=1), np.einsum("ap,bpx->bax", ends, pull)


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cross products (batch, 3); those of NumPy take several times as long for small batches."""
    forth, back = [1, 2, 0], [2, 0, 1]
    # `take` keeps rows together in memory, so that a row alone has the digits that it has here.
    left = first.take(forth, axis=1) * second.take(back, axis=1)
    return left - first.take(back, axis=1) * second.take(forth, axis=1)


def _unit(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.linalg.norm(vectors, axis=-1)
    return vectors * _inverse(lengths), lengths


def _inverse(values: np.ndarray) -> np.ndarray:
    """One over values (batch,) as a column, and 0 where a value is 0."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)[:, None]


def _spread(positions: np.ndarray, rows: dict[int, np.ndarray]) -> np.ndarray:
    """Gradients (batch, atoms, 3) that are zero except for the rows of some atoms."""
    gradients = np.zeros_like(positions, dtype=float)
    for atom, row in rows.items():
        gradients[:, atom] = row
    return gradients
