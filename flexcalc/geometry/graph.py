"""Which atoms are bonded, and the angles and dihedrals along the bonds."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from flexcalc.geometry.coordinates import distances

BOND_STRETCH = 1.3
"""A pair is bonded below this multiple of the sum of its covalent radii: it holds a bond that
is stretched by heat and stays well below the distance of second neighbours."""

FRAMES = 1000
"""Frames whose distances are held in memory at a time."""


def bonds(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Covalent bonds (bonds, 2), each i < j, sorted.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (atoms, 3) in angstrom.

    Radii: Cordero et al., Dalton Trans. 2832 (2008), as in `ase.data`.
    """
    return consensus_bonds(numbers, np.asarray(positions)[None])


def consensus_bonds(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Covalent bonds (bonds, 2) of more than half of the frames, each i < j, sorted.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (frames, atoms, 3) in angstrom.
    """
    return np.argwhere(np.triu(2 * bonded_share(numbers, positions) > 1, 1))


def bonded_share(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Share of the frames in which each pair is bonded, (atoms, atoms); zero on the diagonal.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (frames, atoms, 3) in angstrom.
    """
    longest = BOND_STRETCH * covalent_lengths(numbers)
    bonded = np.zeros(longest.shape, dtype=int)
    for start in range(0, len(positions), FRAMES):
        bonded += (distances(positions[start : start + FRAMES]) < longest).sum(axis=0)
    np.fill_diagonal(bonded, 0)
    return bonded / len(positions)


def bonded_pairs(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Which pairs of atoms i < j are bonded in each frame, (frames, pairs) of bool.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (frames, atoms, 3) in angstrom.
    """
    i, j = np.triu_indices(len(numbers), 1)
    longest = BOND_STRETCH * covalent_lengths(numbers)[i, j]
    blocks = np.split(positions, range(FRAMES, len(positions), FRAMES))
    return np.concatenate([pair_lengths(block, i, j) < longest for block in blocks])


def bond_graphs(numbers: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct bond graphs of frames (frames, atoms, 3) in angstrom.

    Returns:
        Graphs (kinds, pairs) of bool, see `bonded_pairs`, and the kind of each frame (frames,).
    """
    bonded = bonded_pairs(numbers, positions)
    kinds: dict[bytes, int] = {}  # much faster than numpy's own distinct rows
    which = np.array(
        [kinds.setdefault(row.tobytes(), len(kinds)) for row in np.packbits(bonded, axis=1)], int
    )
    first = np.searchsorted(np.maximum.accumulate(which), range(len(kinds)))
    return bonded[first], which


def pair_lengths(positions: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Distances (frames, pairs) of the atoms i and j (pairs,) of geometries (frames, atoms, 3)."""
    apart = positions[:, i] - positions[:, j]
    return np.sqrt(np.einsum("fpx,fpx->fp", apart, apart))


def covalent_lengths(numbers: np.ndarray) -> np.ndarray:
    """Sums of the covalent radii of all pairs, (atoms, atoms) in angstrom."""
    from ase.data import covalent_radii

    radii = covalent_radii[np.asarray(numbers, dtype=int)]
    return radii[:, None] + radii


def bonded_angles(bonds: np.ndarray) -> np.ndarray:
    """Every angle i-j-k of two bonds i-j and j-k with i < k, (angles, 3), sorted by j, i, k.

    Args:
        bonds: (bonds, 2), each pair once.
    """
    graph = neighbours(_atoms(bonds), bonds)
    rows = [(i, j, k) for j in range(len(graph)) for i, k in combinations(sorted(graph[j]), 2)]
    return np.array(rows, dtype=int).reshape(-1, 3)


def bonded_dihedrals(bonds: np.ndarray) -> np.ndarray:
    """Every dihedral i-j-k-l of three bonds with j < k, (dihedrals, 4), sorted by j, k, i, l.

    The four atoms are different ones: a ring of three has no dihedral of its own.

    Args:
        bonds: (bonds, 2), each pair once.
    """
    graph = neighbours(_atoms(bonds), bonds)
    rows = [
        (i, j, k, l)
        for j in range(len(graph))
        for k in sorted(graph[j])
        if j < k
        for i in sorted(graph[j] - {k})
        for l in sorted(graph[k] - {i, j})  # noqa: E741
    ]
    return np.array(rows, dtype=int).reshape(-1, 4)


def neighbours(count: int, bonds: np.ndarray) -> list[set[int]]:
    """The atoms that each of `count` atoms is bonded to."""
    graph: list[set[int]] = [set() for _ in range(count)]
    for i, j in bonds:
        graph[i].add(int(j))
        graph[j].add(int(i))
    return graph


def _atoms(bonds: np.ndarray) -> int:
    return int(np.max(bonds, initial=-1)) + 1
