"""Harmonics of a permutation group: coordinates in which many permutations cost little.

The kernel compares a geometry with every training point under every permutation P_g of the
group, which takes |G| products of length D = size where the plain kernel takes one. In
coordinates adapted to the group every P_g is block-diagonal, the same small block rho(g) (d x d)
standing m times for each irreducible representation rho. With u_i, v_j the m coordinates in
row i of rho, one product of that length per entry of the block serves the whole group:

    x . P_g y = sum over rho, i, j of rho(g)_ij (u_i . v_j).

For azobenzene's eight permutations these are 276 multiplications and a table of 8 x 8 instead
of 8 x 276.

Source: the Fourier transform of a finite group, as in Serre, Linear Representations of Finite
Groups (1977), chapter 2; over the real numbers, where an irreducible block may also be of
complex or quaternionic type, which the sum above does not mind.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csc_array

SAME = 1e-8
"""Eigenvalues and characters closer than this are equal; both are of order one or more apart
by chance, rounding is near 1e-14."""


@dataclass(frozen=True, eq=False)
class Harmonics:
    """Coordinates of features adapted to a permutation group.

    Args:
        basis: (size, size) sparse orthogonal matrix; `features @ basis` are the coordinates.
        rows: where each row of each block lies in the coordinates, `rows[k]` one slice for
            each row of block k; all rows of a block have one length.
        table: (terms, group), the entries rho(g)_ij, in the order of `terms`.
    """

    basis: Any
    rows: tuple[tuple[slice, ...], ...]
    table: np.ndarray

    @cached_property
    def terms(self) -> tuple[tuple[slice, slice], ...]:
        """The pairs of coordinate slices (i, j) whose products the table combines."""
        return tuple((i, j) for block in self.rows for i in block for j in block)

    def forward(self, features: np.ndarray) -> np.ndarray:
        """Coordinates (batch, size) of features (batch, size)."""
        if self._trivial:
            return features
        return np.ascontiguousarray((self._transposed @ features.T).T)

    def backward(self, coordinates: np.ndarray) -> np.ndarray:
        """Features (batch, size) of coordinates (batch, size)."""
        if self._trivial:
            return coordinates
        return np.ascontiguousarray((self.basis @ coordinates.T).T)

    @property
    def _trivial(self) -> bool:
        """Whether the group is the identity alone, whose coordinates are the features."""
        return self.table.shape[1] == 1

    @cached_property
    def _transposed(self) -> Any:
        return self.basis.T.tocsr()


def harmonics(order: np.ndarray) -> Harmonics:
    """Find the harmonics of a group that permutes features.

    The features fall into orbits; the averages over the group of a random symmetric matrix on
    an orbit have the irreducible subspaces for eigenspaces.

    Args:
        order: (group, size) feature indices, (P_g x) = x[order[g]]; a closed group.
    """
    kinds: list[_Kind] = []
    known: dict[bytes, list[tuple[int, np.ndarray]]] = {}
    for orbit in _orbits(order):
        # How the group acts on the orbit, by place within it; often as on one before.
        action = np.searchsorted(orbit, order[:, orbit])
        key = action.tobytes()
        if key not in known:
            known[key] = _irreducible(action, kinds)
        for index, vectors in known[key]:
            kinds[index].copies.append((orbit, vectors))
    return _laid_out(kinds, order.shape[1])


def _laid_out(kinds: list[_Kind], size: int) -> Harmonics:
    """Coordinates in the order of kind, row of the block, copy."""
    places, values, rows = [], [], []
    begin = 0
    for kind in kinds:
        count = len(kind.copies)
        for row in range(kind.matrices.shape[1]):
            for orbit, vectors in kind.copies:
                places.append(orbit)
                values.append(vectors[:, row])
        stops = [begin + count * (row + 1) for row in range(kind.matrices.shape[1])]
        rows.append(tuple(slice(stop - count, stop) for stop in stops))
        begin = stops[-1]
    # Compressed columns: each coordinate has the places and values of one vector.
    pointers = np.cumsum([0, *map(len, places)])
    basis = csc_array((np.concatenate(values), np.concatenate(places), pointers), (size, size))
    table = np.concatenate(
        [kind.matrices.reshape(len(kind.matrices), -1) for kind in kinds], axis=1
    )
    return Harmonics(basis.tocsr(), tuple(rows), np.ascontiguousarray(table.T))


class _Kind:
    """An irreducible representation: its matrices (group, d, d) and its copies in the features."""

    def __init__(self, matrices: np.ndarray):
        self.matrices = matrices
        self.character = np.trace(matrices, axis1=1, axis2=2)
        self.copies: list[tuple[np.ndarray, np.ndarray]] = []


def _orbits(order: np.ndarray) -> list[np.ndarray]:
    """Features that the group moves into each other, (members,) each."""
    least = order.min(axis=0)
    return [np.flatnonzero(least == first) for first in np.unique(least)]


def _irreducible(action: np.ndarray, kinds: list[_Kind]) -> list[tuple[int, np.ndarray]]:
    """The irreducible subspaces of an action (group, members) on an orbit.

    Kinds not met before are added. Each subspace comes with its kind and with a basis (members,
    d) in which the group acts by that kind's very matrices.
    """
    members = action.shape[1]
    rng = np.random.default_rng(members)
    while True:
        random = rng.standard_normal((members, members))
        random += random.T
        average = np.mean([random[np.ix_(row, row)] for row in action], axis=0)
        values, vectors = np.linalg.eigh(average)
        borders = np.flatnonzero(np.diff(values) > SAME) + 1
        spaces = np.split(vectors, borders, axis=1)
        if all(_is_irreducible(space, action) for space in spaces):
            break
    return [_aligned(space, action, kinds) for space in spaces]


def _matrices(space: np.ndarray, action: np.ndarray) -> np.ndarray:
    """How the group acts (group, d, d) on a subspace (members, d): (P_g v)[k] = v[action[g, k]]."""
    return np.einsum("kc,gkd->gcd", space, space[action])


def _is_irreducible(space: np.ndarray, action: np.ndarray) -> bool:
    """Whether only multiples of the identity are symmetric and commute with the group.

    A chance coincidence of eigenvalues would put two irreducible subspaces into one; another
    random matrix settles it.
    """
    matrices = _matrices(space, action)
    dimension = space.shape[1]
    random = np.random.default_rng(dimension).standard_normal((dimension, dimension))
    average = np.mean(matrices @ (random + random.T) @ matrices.transpose(0, 2, 1), axis=0)
    return bool(np.ptp(np.linalg.eigvalsh(average)) < SAME)


def _aligned(space: np.ndarray, action: np.ndarray, kinds: list[_Kind]) -> tuple[int, np.ndarray]:
    """The kind of a subspace, and its basis turned so that the group acts by that kind's matrices.

    The average of rho(g) Q rho'(g)^T over the group intertwines two equivalent representations,
    and is a multiple of an orthogonal matrix as both are irreducible.
    """
    matrices = _matrices(space, action)
    character = np.trace(matrices, axis1=1, axis2=2)
    for index, kind in enumerate(kinds):
        if (
            len(kind.matrices[0]) != space.shape[1]
            or np.abs(character - kind.character).max() > SAME
        ):
            continue
        rng = np.random.default_rng(len(kinds))
        turn = np.zeros((space.shape[1],) * 2)
        while np.linalg.norm(turn) < 0.1:
            random = rng.standard_normal(turn.shape)
            turn = np.mean(matrices @ random @ kind.matrices.transpose(0, 2, 1), axis=0)
        return index, space @ (turn * np.sqrt(len(turn)) / np.linalg.norm(turn))
    kinds.append(_Kind(matrices))
    return len(kinds) - 1, space
