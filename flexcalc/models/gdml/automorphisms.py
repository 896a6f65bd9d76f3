"""Automorphisms of the bond graph: permutations of identical atoms that map bonds onto bonds."""

from __future__ import annotations

import numpy as np

from flexcalc.geometry import distances
from flexcalc.geometry.graph import covalent_lengths

SAME_BOND = 0.5
"""A pair may take the place of another if the shares of frames in which they are bonded differ
by less. For bonds that hold this is the automorphism of the graph; a proton that changes sides
keeps the symmetry between them."""

SINGLE_BOND = 0.94
"""A bond at least this multiple of the sum of its covalent radii is single, and turns: 1.01 in
ethane, 0.97 in azobenzene (C-N), 0.92 in an amide (C-N), 0.88 in ethylene."""


def keeps_bonds(bonded: np.ndarray, permutations: np.ndarray) -> np.ndarray:
    """Which permutations map the bonds on bonds, as (rows,) booleans.

    Args:
        bonded: (atoms, atoms) shares of frames in which pairs are bonded.
        permutations: (rows, atoms).
    """
    relabelled = bonded[permutations[:, :, None], permutations[:, None, :]]
    return (np.abs(relabelled - bonded) < SAME_BOND).all(axis=(1, 2))


def automorphisms(
    numbers: np.ndarray, bonded: np.ndarray, most: int, fixed: np.ndarray | None = None
) -> np.ndarray | None:
    """All permutations of like atoms that map bonds on bonds, the identity first.

    Atom after atom, every partial map is extended by every image that fits.

    Args:
        numbers: (atoms,) atomic numbers.
        bonded: (atoms, atoms) shares of frames in which pairs are bonded.
        most: the most maps to follow.
        fixed: (atoms,) booleans, atoms that are to stay in place; none by default.

    Returns:
        The permutations (rows, atoms), or None where there are more than `most`, complete or
        partial.
    """
    order = _walk(bonded)
    stays = np.zeros(len(numbers), dtype=bool) if fixed is None else fixed
    index = np.arange(len(numbers))
    maps = np.empty((1, 0), dtype=int)
    for depth, atom in enumerate(order):
        gap = np.abs(bonded[:, maps] - bonded[atom, order[:depth]])
        like = index == atom if stays[atom] else ~stays & (numbers == numbers[atom])
        fits = (gap < SAME_BOND).all(axis=2) & like[:, None]
        fits &= (maps[None] != index[:, None, None]).all(axis=2)
        images, rows = np.nonzero(fits)
        if len(rows) > most:
            return None
        maps = np.column_stack([maps[rows], images])
    permutations = np.empty_like(maps)
    permutations[:, order] = maps
    return permutations[np.lexsort(permutations.T[::-1])]


def _walk(bonded: np.ndarray) -> list[int]:
    """Atoms, each as well bonded to those before it as can be: wrong maps end early."""
    order = [int(np.argmax(bonded.sum(axis=1)))]
    while len(order) < len(bonded):
        ties = bonded[:, order].sum(axis=1) + 1e-3 * bonded.sum(axis=1)
        ties[order] = -1.0
        order.append(int(np.argmax(ties)))
    return order


def turns(
    numbers: np.ndarray, positions: np.ndarray, bonded: np.ndarray, most: int
) -> list[tuple[int, ...]]:
    """Permutations that turning one end of the molecule about a single bond brings about.

    A methyl group turns by a third, a phenyl ring by a half. Such a turn fixes the atoms of the
    bond and all that lies before it, moves the next neighbours, and keeps the handedness of
    every tetrahedral centre. Of those, the one counts that changes the distances within the
    turned end least: what lies further out moves along.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (frames, atoms, 3) in angstrom.
        bonded: (atoms, atoms) shares of frames in which pairs are bonded.
        most: the most automorphisms of one end to try; an end that has more is left alone.

    Returns:
        At most one for either end of each bond; its powers are turns too.
    """
    graph = bonded > SAME_BOND
    apart = distances(positions).mean(axis=0)
    single = graph & (apart >= SINGLE_BOND * covalent_lengths(numbers))
    found = []
    for axis, hub in np.argwhere(single):
        end = _end(graph, axis, hub)
        # Turning all of the molecule but an atom is turning that atom, which moves nothing.
        if end is None or graph[axis].sum() < 2:
            continue
        moving = end & (np.arange(len(numbers)) != hub)
        rows = automorphisms(numbers, bonded, most, fixed=~moving)
        if not moving.any() or rows is None:
            continue
        moved = rows[:, graph[hub] & moving] != np.flatnonzero(graph[hub] & moving)
        rows = rows[moved.all(axis=1) & _handedness(positions[0], bonded, rows)[0]]
        if len(rows):
            own = np.append(np.flatnonzero(end), axis)
            images = rows[:, own]
            change = apart[images[:, :, None], images[:, None, :]] - apart[np.ix_(own, own)]
            found.append(tuple(rows[np.argmin((change**2).sum(axis=(1, 2)))].tolist()))
    return list(dict.fromkeys(found))


def _end(graph: np.ndarray, axis: int, hub: int) -> np.ndarray | None:
    """Atoms (atoms,) beyond the bond from axis to hub, the hub included; None in a ring."""
    from scipy.sparse.csgraph import connected_components

    cut = graph.copy()
    cut[axis, hub] = cut[hub, axis] = False
    part = connected_components(cut, directed=False)[1]
    return None if part[axis] == part[hub] else part == part[hub]


def feasible(geometry: np.ndarray, bonded: np.ndarray, permutations: np.ndarray) -> np.ndarray:
    """Which permutations a molecule can reach without breaking a bond, as (rows,) booleans.

    They map bonds on bonds, and leave every centre of four bonds as it is or mirror every one:
    no centre alone is turned inside out, while a mirror image of the whole molecule has the
    same distances. So two hydrogens of the methyl group of ethanol change places only along
    with the two of the methylene group.

    Args:
        geometry: (atoms, 3) in angstrom; one says it for all.
        bonded: (atoms, atoms) shares of frames in which pairs are bonded.
        permutations: (rows, atoms).

    Source: Longuet-Higgins, Mol. Phys. 6, 445 (1963), feasible permutation-inversions.
    """
    kept, mirrored = _handedness(geometry, bonded, permutations)
    return keeps_bonds(bonded, permutations) & (kept | mirrored)


def _handedness(
    geometry: np.ndarray, bonded: np.ndarray, permutations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which permutations keep every centre of four bonds, and which mirror every one, (rows,)."""
    graph = bonded > SAME_BOND
    kept = np.ones(len(permutations), dtype=bool)
    mirrored = kept.copy()
    for centre in np.flatnonzero(graph.sum(axis=1) == 4):
        corners = np.flatnonzero(graph[centre])
        images, own = (
            np.linalg.det(geometry[rows[:, :3]] - geometry[rows[:, 3:]]) > 0
            for rows in (permutations[:, corners], corners[None])
        )
        kept &= images == own
        mirrored &= images != own
    return kept, mirrored
