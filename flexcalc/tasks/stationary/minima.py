"""Minima of a model: relaxed in batches, compared with each other, and joined by short searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator

from flexcalc.errors import FlexcalcError, InputError, LabelError, NonFiniteError
from flexcalc.geometry.matching import (
    SAME_MINIMUM_A,
    is_isomorphic,
    largest_move,
    match_atoms,
)
from flexcalc.geometry.torsions import Torsion
from flexcalc.methods.guard import DistanceGuard
from flexcalc.methods.iterate import iterate
from flexcalc.methods.relax import relax
from flexcalc.parallel.turns import in_one_batch
from flexcalc.potential import Potential
from flexcalc.progress import Progress

TOGETHER, FURTHER = 100, 400
"""Steps of a relaxation of all geometries of a batch, and of those that are not converged then."""
SAME_ENERGY_EV = 0.02
"""Two relaxed geometries that differ more in energy are not compared: they are two minima."""
FAILURES = (InputError, LabelError, NonFiniteError)
"""How a search on a model fails far from its training set, or where its baseline does."""
ATTEMPTS = 50
"""Attempts to turn rotatable bonds without a close contact."""
MIN_CONTACT = 0.6
"""Distance of two atoms in sums of their covalent radii below which they meet."""


def distinct_minima(numbers: np.ndarray, model: Potential, positions: np.ndarray) -> np.ndarray:
    """The minima (minima, atoms, 3) that geometries (frames, atoms, 3) relax to, lowest first.

    Those in which atoms meet, and repeated ones, also with identical atoms permuted, are left out,
    and so are geometries on whose way the model fails. Mirror images are different minima.
    """
    found = surviving(partial(relax_rows, model), positions)
    places, energies = found or (positions[:0], np.zeros(0))
    return places[distinct(numbers, places, energies)]


def distinct(
    numbers: np.ndarray, positions: np.ndarray, energies: np.ndarray, *, mirror: bool = False
) -> list[int]:
    """Rows of different geometries (frames, atoms, 3) in which no atoms meet, lowest first.

    Args:
        numbers: (atoms,) atomic numbers; identical atoms may be permuted.
        positions: in angstrom.
        energies: (frames,) in eV.
        mirror: whether mirror images are the same.
    """
    usable = whole(numbers, positions)
    kept: list[int] = []
    for row in np.argsort(energies, kind="stable"):
        near = [old for old in kept if energies[row] - energies[old] < SAME_ENERGY_EV]
        if usable[row] and not any(
            is_same(numbers, positions[row], positions[old], mirror=mirror) for old in near
        ):
            kept.append(int(row))
    return kept


def is_same(
    numbers: np.ndarray, place: np.ndarray, other: np.ndarray, *, mirror: bool = False
) -> bool:
    """Whether two geometries (atoms, 3) are one minimum; with `mirror`, or its mirror image."""
    signs = (1.0, -1.0) if mirror else (1.0,)
    return any(separation(numbers, sign * place, other) < SAME_MINIMUM_A for sign in signs)


def separation(numbers: np.ndarray, place: np.ndarray, other: np.ndarray) -> float:
    """Largest move of an atom, in angstrom, between geometries (atoms, 3) that are matched."""
    return largest_move(place[match_atoms(numbers, place, other)], other)


def have_bonds_of(numbers: np.ndarray, positions: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Whether geometries (frames, atoms, 3) have the bonds of one of the starts
    (starts, atoms, 3); (frames,)."""
    intact = [any(is_isomorphic(numbers, place, start) for start in starts) for place in positions]
    return np.array(intact, dtype=bool)


def surviving(
    work: Callable[..., tuple[np.ndarray, ...]], *rows: np.ndarray
) -> tuple[np.ndarray, ...] | None:
    """Do the work on a batch; where it fails, on its halves, so that few rows are left out.

    Args:
        work: takes arrays with a row per geometry, and returns such arrays.
        rows: the arrays.

    Returns:
        The arrays of the rows that did not fail; None where all did, or where there were none.
    """
    count = len(rows[0])
    if not count:
        return None
    try:
        return work(*rows)
    except FAILURES:
        if count == 1:
            return None
    parts = [surviving(work, *(one[part] for one in rows)) for part in _halves(count)]
    found = [part for part in parts if part is not None]
    return tuple(np.concatenate(one) for one in zip(*found, strict=True)) if found else None


def _halves(count: int) -> tuple[slice, slice]:
    return slice(count // 2), slice(count // 2, count)


def relax_rows(
    model: Potential, positions: np.ndarray, force_tolerance_eV_A: float = 0.01
) -> tuple[np.ndarray, np.ndarray]:
    """Relaxed positions (batch, atoms, 3) in angstrom, and their energies (batch,) in eV.

    Geometries that converge early do not wait for the slowest one.
    """
    state = relax(model, positions, force_tolerance_eV_A=force_tolerance_eV_A, steps=TOGETHER)
    places, energies = state.positions.copy(), state.evaluation.energies.copy()
    norms = np.sqrt((state.evaluation.forces**2).sum(axis=2)).max(axis=1)
    slow = norms >= force_tolerance_eV_A
    if slow.any():
        rest = relax(model, places[slow], force_tolerance_eV_A=force_tolerance_eV_A, steps=FURTHER)
        places[slow], energies[slow] = rest.positions, rest.evaluation.energies
    return places, energies


def search_path(
    method: Any, model: Potential, start: np.ndarray, end: np.ndarray | None, steps: int
) -> Any:
    """The state of a path method after at most so many steps; None where it fails.

    Args:
        method: such as `NEB`.
        model: to search on.
        start, end: (atoms, 3) in angstrom; no end for a scan that has one of its own.
        steps: that it may take.
    """
    rng = np.random.default_rng(0)  # which a path does not use
    try:
        first = method.first(model.numbers, start[None], end)
        return iterate(method, model, method.init(model, first, rng), steps=steps, rng=rng)
    except FAILURES:  # one minimum after all, or a path of no molecule
        return None


def turn(
    numbers: np.ndarray, positions: np.ndarray, bonds: list[Torsion], rng: Generator
) -> np.ndarray:
    """One of the geometries (frames, atoms, 3), its rotatable bonds turned by random angles.

    Geometries with a close contact or another bonding are rejected; if all attempts fail, the
    geometry is returned as it is.
    """
    origin = positions[rng.integers(len(positions))]
    guard = DistanceGuard.around(numbers, origin[None], MIN_CONTACT, keep_bonds=True)
    for _ in range(ATTEMPTS):
        found = origin
        for bond in bonds:
            found = bond.turned(found, rng.uniform(-np.pi, np.pi))
        if not guard.outside(found[None])[0].any():
            return found
    return origin


def in_turns[T](
    model: Potential, works: Sequence[Callable[[Potential], T]], progress: Progress
) -> list[T]:
    """The results of searches whose evaluations are one batch; an error of one is raised."""
    found: list[T] = []
    for one in in_one_batch(model, works, progress):
        if isinstance(one, FlexcalcError):
            raise one
        found.append(one)
    return found


def whole(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Whether no atoms meet in geometries (frames, atoms, 3), and none is lost; (frames,)."""
    if not len(positions):
        return np.zeros(0, dtype=bool)
    guard = DistanceGuard.around(numbers, positions[:1], MIN_CONTACT, keep_bonds=False)
    return np.logical_not(guard.outside(positions)[0].any(axis=(1, 2)))
