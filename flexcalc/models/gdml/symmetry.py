"""The permutation symmetry group of a molecule: recovered from dynamics, checked, or given.

Geometries are matched with each other by permuting identical atoms (multi-partite matching). A
permutation that dynamics can reach without breaking a bond maps the bond graph onto itself and
inverts no tetrahedral centre. Others are spurious: they match different isomers. So only feasible
permutations are considered. Usually they are few, and all of them are tried on every pair of
geometries, which is exact, and faster than the assignment of atoms by eigenvectors of distance
matrices, which is used if they are many.

Source: Chmiela, Sauceda, Mueller, Tkatchenko, Nat. Commun. 9, 3887 (2018); the
arXiv:1912.06401 chapter, section 3. The check of bonds is new here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from flexcalc.errors import ConfigError
from flexcalc.geometry import distances
from flexcalc.geometry.graph import bonded_share
from flexcalc.models.gdml.automorphisms import (
    automorphisms,
    feasible,
    keeps_bonds,
    turns,
)
from flexcalc.models.gdml.groups import close, cycles, generators_of, parsed

MAX_GEOMETRIES = 300
"""Maximum number of geometries that are matched pairwise, a random subset. Fifty give the
known groups of ethanol, malonaldehyde, benzene, toluene, azobenzene, aspirin and glycine at
500 K (benchmarks/symmetry.py)."""

MAX_AUTOMORPHISMS = 300
"""Maximum number of automorphisms that are tried exhaustively; else atoms are assigned by modes."""

ROUNDING = 1e-10
"""Tolerated relative error of squared distances between geometries."""


class Symmetry(NamedTuple):
    """A group of permutations of identical atoms.

    Args:
        permutations: (group, atoms), the identity first; `positions[p]` is the permuted
            molecule.
        warning: one line about permutations that were left out or are suspicious, or None.
        notes: lines about the origin of the group, for people to read.
    """

    permutations: np.ndarray
    warning: str | None = None
    notes: tuple[str, ...] = ()

    def generators(self) -> list[str]:
        """A few members that generate the group, in cycle notation."""
        return generators_of(self.permutations)


class _Matching(NamedTuple):
    """Pairwise matching of geometries.

    Args:
        scores: (frames, frames) residual distances in angstrom, in the upper triangle.
        which: (frames, frames) index of the permutation of each pair.
        permutations: the identity, and the others that occur.
        left_out: number of permutations that match geometries but not their bonds.
    """

    scores: np.ndarray
    which: np.ndarray
    permutations: list[tuple[int, ...]]
    left_out: int = 0


def find(
    numbers: np.ndarray,
    positions: np.ndarray,
    rng: Generator,
    *,
    symmetry: bool = True,
    generators: Sequence[str] = (),
    largest: int = 100,
) -> Symmetry:
    """The symmetry group of a model: trivial, given, or recovered.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (frames, atoms, 3) training geometries, in angstrom.
        rng: selects the geometries if there are more than MAX_GEOMETRIES.
        symmetry: whether to use symmetry at all.
        generators: permutations in cycle notation, atoms counted from 0, which generate the
            group to use instead of recovering one.
        largest: maximum size of the group.

    Raises:
        ConfigError: generators without symmetry, that cannot be read, that exchange unlike
            atoms, or whose group has more than `largest` members.
    """
    check(numbers, symmetry=symmetry, generators=generators, largest=largest)
    if generators:
        return given(generators, numbers, positions, largest)
    if not symmetry:
        return identity(len(numbers))
    return recover(numbers, positions, rng, largest)


def check(
    numbers: np.ndarray,
    *,
    symmetry: bool = True,
    generators: Sequence[str] = (),
    largest: int = 100,
) -> None:
    """Refuse what `find` would, before there are geometries; see there."""
    if generators and not symmetry:
        raise ConfigError(
            "generators: contradict symmetry = false (--no-symmetry): give one or the other"
        )
    if generators:
        _generated(generators, numbers, largest)


def identity(atoms: int) -> Symmetry:
    """The group of a molecule taken to have no symmetry."""
    return Symmetry(np.arange(atoms)[None])


def given(
    generators: Sequence[str], numbers: np.ndarray, positions: np.ndarray, largest: int = 100
) -> Symmetry:
    """The group that permutations in cycle notation generate.

    It is used as it stands; one that does not map bonds on bonds draws a warning, since atoms
    counted from 1 look like that.

    Args:
        generators: at least one, such as "(3 4 5)" or "(1 2)(7 8)", atoms counted from 0.
        numbers: (atoms,) atomic numbers.
        positions: (frames, atoms, 3) in angstrom; they tell the bonds.
        largest: maximum size of the group.

    Raises:
        ConfigError: one cannot be read or exchanges unlike atoms, or the group is too large.
    """
    permutations, group = _generated(generators, numbers, largest)
    keeps = keeps_bonds(bonded_share(numbers, positions), np.array(permutations))
    odd = [cycles(p) for p, kept in zip(permutations, keeps, strict=True) if not kept]
    warning = (
        f"the generators {', '.join(odd)} do not map bonds on bonds; they are used as given: "
        "are the atoms counted from 0?"
        if odd
        else None
    )
    return Symmetry(np.array(group), warning, ("the group was given by its generators",))


def _generated(
    generators: Sequence[str], numbers: np.ndarray, largest: int
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """The permutations that generators stand for, and the group they generate."""
    permutations = [parsed(text, np.asarray(numbers)) for text in generators]
    group = close(permutations, largest)
    if group is None:
        raise ConfigError(
            f"generators: the group they generate has more than max_permutations = {largest} "
            "members: raise max_permutations or give fewer generators"
        )
    return permutations, group


def recover(
    numbers: np.ndarray, positions: np.ndarray, rng: Generator, largest: int = 100
) -> Symmetry:
    """The group of permutations that match training geometries with each other.

    Every two geometries are matched by the relabelling that brings their distance matrices
    closest, of those that are feasible without breaking bonds. The matchings along the minimum
    spanning tree, each geometry with its nearest, are trusted and closed to a group. When the
    group would outgrow `largest`, the rarest matchings are left out and that is noted.

    Turns of methyl groups, phenyl rings and the like about single bonds are added even where
    the geometries are too few to show them: a short run of cis-azobenzene shows no ring turn,
    and a model that knows of it has force errors a fifth smaller. Other permutations that the
    bonds allow but no geometry shows are not added.

    Args:
        numbers: (atoms,) atomic numbers; only like atoms are exchanged.
        positions: (frames, atoms, 3) in angstrom.
        rng: selects the geometries if there are more than MAX_GEOMETRIES.
        largest: maximum size of the group.
    """
    numbers = np.asarray(numbers)
    bonded = bonded_share(numbers, positions)
    if len(positions) > MAX_GEOMETRIES:
        chosen = np.sort(rng.choice(len(positions), MAX_GEOMETRIES, replace=False))
        positions = positions[chosen]
    apart = distances(positions)
    allows = partial(feasible, positions[0], bonded)
    allowed = automorphisms(numbers, bonded, MAX_AUTOMORPHISMS)
    if allowed is None:
        matching = _by_modes(numbers, apart, allows)
    else:
        allowed = allowed[allows(allowed)]
        matching = _by_trial(allowed, apart)
    found = _on_spanning_tree(matching)
    by_rank = [p for p, _ in sorted(found.items(), key=lambda item: (-item[1], item[0]))]
    shown, refused = _grown([tuple(range(len(numbers)))], by_rank, largest)
    unseen = turns(numbers, positions, bonded, MAX_AUTOMORPHISMS)
    group, refused_turns = _grown(shown, unseen, largest)
    refused += refused_turns
    warning = (
        f"{refused} permutations were left out, since with them the symmetry group has more than "
        f"{largest} members: raise max_permutations, or give the generators that matter"
        if refused
        else None
    )
    notes = _notes(len(shown), len(group), allowed, matching.left_out)
    return Symmetry(np.array(group), warning, notes)


def _notes(shown: int, order: int, allowed: np.ndarray | None, left_out: int) -> tuple[str, ...]:
    extent = f"more than {MAX_AUTOMORPHISMS}" if allowed is None else str(len(allowed))
    notes = [f"the bonds allow {extent} permutations; the geometries show a group of {shown}"]
    if order > shown:
        notes.append(f"turns about single bonds that the geometries do not show make it {order}")
    if left_out:
        notes.append(
            f"{left_out} permutations that match geometries but not their bonds were left out"
        )
    return tuple(notes)


def _grown(
    group: list[tuple[int, ...]], permutations: Sequence[tuple[int, ...]], largest: int
) -> tuple[list[tuple[int, ...]], int]:
    """The group with permutations added in turn, and how many would make it too large."""
    generators = list(group)
    refused = 0
    for permutation in permutations:
        if permutation in group:
            continue
        larger = close([*generators, permutation], largest)
        if larger is None:
            refused += 1
        else:
            generators.append(permutation)
            group = larger
    return group, refused


def _by_trial(allowed: np.ndarray, apart: np.ndarray) -> _Matching:
    """Match every two geometries by the best of the allowed permutations.

    Args:
        allowed: (permutations, atoms), the identity first; it wins where others are no better.
        apart: (frames, atoms, atoms) distances, in angstrom.
    """
    i, j = np.triu_indices(apart.shape[1], 1)
    fixed = apart[:, i, j]
    squares = (fixed**2).sum(axis=1)
    margin = ROUNDING * squares.mean()
    best = np.full((len(apart), len(apart)), np.inf)
    which = np.zeros(best.shape, dtype=int)
    for index, p in enumerate(allowed):
        # |x P - y|^2 by products of matrices; a permutation does not change |x|.
        left = squares[:, None] + squares - 2 * apart[:, p[i], p[j]] @ fixed.T
        better = left < best - margin
        best[better] = left[better]
        which[better] = index
    scores = np.sqrt(np.maximum(2 * best, 0.0))
    return _Matching(scores, which, [tuple(row) for row in allowed.tolist()])


def _by_modes(
    numbers: np.ndarray, apart: np.ndarray, allows: Callable[[np.ndarray], np.ndarray]
) -> _Matching:
    """Match every two geometries by the eigenvectors of their distance matrices.

    Args:
        numbers: (atoms,) atomic numbers.
        apart: (frames, atoms, atoms) distances, in angstrom.
        allows: tells of permutations (rows, atoms) which may be, as (rows,) booleans.
    """
    frames = len(apart)
    modes = np.abs(np.linalg.eigh(apart)[1][:, :, ::-1])
    # No assignment of like atoms costs as much as one exchange of unlike ones.
    unlike = (numbers[:, None] != numbers) * (2.0 * len(numbers))
    scores = np.zeros((frames, frames))
    which = np.zeros((frames, frames), dtype=int)
    index = {tuple(range(len(numbers))): 0}
    spurious: set[tuple[int, ...]] = set()
    for first in range(frames - 1):
        # Row: an atom of the later frame; column: the atom of the first that it matches.
        orders = _assign(unlike - modes[first + 1 :] @ modes[first].T)
        relabelled = apart[first][orders[:, :, None], orders[:, None, :]]
        before = np.linalg.norm(apart[first] - apart[first + 1 :], axis=(1, 2))
        after = np.linalg.norm(relabelled - apart[first + 1 :], axis=(1, 2))
        better = np.flatnonzero((after < before) & ~np.isclose(after, before))
        scores[first, first + 1 :] = before
        for k, kept in zip(better, allows(orders[better]), strict=True):
            order = tuple(orders[k].tolist())
            if kept:
                scores[first, first + 1 + k] = after[k]
                which[first, first + 1 + k] = index.setdefault(order, len(index))
            else:
                spurious.add(order)
    return _Matching(scores, which, list(index), len(spurious))


def _assign(costs: np.ndarray) -> np.ndarray:
    """The cheapest assignment of each cost matrix (pairs, atoms, atoms), as (pairs, atoms)."""
    from scipy.optimize import linear_sum_assignment

    return np.array([linear_sum_assignment(cost)[1] for cost in costs])


def _on_spanning_tree(matching: _Matching) -> Counter[tuple[int, ...]]:
    """How often each permutation but the identity stands on an edge of the spanning tree."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import minimum_spanning_tree

    # The sparse matrix takes an exact zero, two equal frames, for no edge at all.
    edges = csr_matrix(np.triu(matching.scores + np.finfo(float).tiny, 1))
    tree = matching.which[minimum_spanning_tree(edges).nonzero()]
    counts = Counter(tree[tree > 0].tolist())
    return Counter({matching.permutations[k]: count for k, count in counts.items()})
