"""Recovery of the permutation group that a molecule's dynamics visits.

Source: Chmiela, Sauceda, Mueller, Tkatchenko, Nat. Commun. 9, 3887 (2018): multi-partite
matching; the arXiv:1912.06401 chapter, section 3.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

MOST_GEOMETRIES = 1000
"""Geometries that are matched pair by pair; more are thinned out at random."""


class Symmetry(NamedTuple):
    """A closed group of relabellings of like atoms.

    Args:
        permutations: (group, atoms), the identity first; `positions[p]` is the relabelled
            molecule.
        warning: what had to be left out, as one line, or None.
    """

    permutations: np.ndarray
    warning: str | None = None


def identity(atoms: int) -> Symmetry:
    """The group of a molecule taken to have no symmetry."""
    return Symmetry(np.arange(atoms)[None])


def recover(
    numbers: np.ndarray, positions: np.ndarray, rng: Generator, largest: int = 100
) -> Symmetry:
    """The group of permutations that match training geometries with each other.

    Every two geometries are matched by the eigenvectors of their distance matrices; of the
    matchings those along the minimum spanning tree are trusted, and closed to a group. When
    the group would outgrow `largest`, the rarest matchings are left out and that is noted.

    Args:
        numbers: (atoms,) atomic numbers; only like atoms are exchanged.
        positions: (frames, atoms, 3) in angstrom.
        rng: chooses the geometries where there are more than MOST_GEOMETRIES.
        largest: the largest group to accept.
    """
    if len(positions) > MOST_GEOMETRIES:
        chosen = np.sort(rng.choice(len(positions), MOST_GEOMETRIES, replace=False))
        positions = positions[chosen]
    found = _matchings(numbers, positions)
    group = [tuple(range(len(numbers)))]
    left_out = 0
    for permutation, _ in sorted(found.items(), key=lambda item: (-item[1], item[0])):
        if permutation in group:
            continue
        larger = close([*group, permutation], largest)
        if larger is None:
            left_out += 1
        else:
            group = larger
    warning = (
        f"{left_out} of {len(found)} recovered permutations were left out, since with them the "
        f"symmetry group has more than {largest} members; on sets that span several isomers "
        "such groups are spurious: consider symmetry = false"
        if left_out
        else None
    )
    return Symmetry(np.array(sorted(group)), warning)


def close(generators: list[tuple[int, ...]], largest: int) -> list[tuple[int, ...]] | None:
    """The group that permutations generate, or None if it has more than `largest` members."""
    members = {tuple(range(len(generators[0])))}
    fresh = list(members)
    while fresh:
        products = {tuple(one[k] for k in other) for one in fresh for other in generators}
        fresh = sorted(products - members)
        members.update(fresh)
        if len(members) > largest:
            return None
    return sorted(members)


def _matchings(numbers: np.ndarray, positions: np.ndarray) -> Counter[tuple[int, ...]]:
    """How often each permutation but the identity stands on an edge of the spanning tree."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import minimum_spanning_tree

    frames = len(positions)
    apart = np.linalg.norm(positions[:, :, None] - positions[:, None], axis=-1)
    modes = np.abs(np.linalg.eigh(apart)[1][:, :, ::-1])
    # No assignment of like atoms costs as much as one exchange of unlike ones.
    unlike = (numbers[:, None] != numbers) * (2.0 * len(numbers))
    scores = np.zeros((frames, frames))
    kept: dict[tuple[int, int], tuple[int, ...]] = {}
    for first in range(frames - 1):
        later = slice(first + 1, frames)
        # Row: an atom of the later frame; column: the atom of the first that it matches.
        orders = _assign(unlike - modes[later] @ modes[first].T)
        relabelled = apart[first][orders[:, :, None], orders[:, None, :]]
        before = np.linalg.norm(apart[first] - apart[later], axis=(1, 2))
        after = np.linalg.norm(relabelled - apart[later], axis=(1, 2))
        scores[first, later] = np.minimum(before, after)
        better = (after < before) & ~np.isclose(after, before)
        for index in np.flatnonzero(better):
            kept[first, first + 1 + int(index)] = tuple(orders[index].tolist())
    # The sparse matrix takes an exact zero, two equal frames, for no edge at all.
    edges = csr_matrix(np.triu(scores + np.finfo(float).tiny, 1))
    rows, columns = minimum_spanning_tree(edges).nonzero()
    tree = zip(rows.tolist(), columns.tolist(), strict=True)
    return Counter(kept[edge] for edge in tree if edge in kept)


def _assign(costs: np.ndarray) -> np.ndarray:
    """The cheapest assignment of each cost matrix (pairs, atoms, atoms), as (pairs, atoms)."""
    from scipy.optimize import linear_sum_assignment

    return np.array([linear_sum_assignment(cost)[1] for cost in costs])
