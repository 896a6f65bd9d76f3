"""Fingerprints of geometries: a few numbers by which the same geometry is found again.

They are sums over all pairs of atoms of smooth functions of the distance, weighted by the two
elements, and so do not change if a molecule is moved, turned or mirrored, or if identical atoms
are permuted. Rounding of coordinates in files changes them little, other geometries much.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from flexcalc.geometry.graph import pair_lengths

POWERS = 4
"""Powers of the wave of each distance; each gives two numbers."""

WAVE = 0.6
"""Wavenumber of the first power, in 1/angstrom."""

NUMBERS = 2 * POWERS
"""Numbers of a fingerprint."""

SAME = 5e-4
"""Difference of the fingerprints of one geometry. Coordinates with four decimals change them by
1e-4; thermal frames of molecules of nine atoms and more are 5e-3 apart, among a thousand."""

SAME_OF_FEW = {2: 1e-9, 3: 1e-5}
"""The same for molecules of two and three atoms, whose frames have one and three distances alone
and come close by chance."""

CHUNK, PAIRS = 1 << 22, 1 << 20
"""Distances, and pairs of fingerprints, that are computed at once."""


def fingerprints(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Fingerprints (frames, 8) of geometries, without unit.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (frames, atoms, 3) in angstrom.
    """
    first, second = np.triu_indices(len(numbers), 1)
    kinds = np.asarray(numbers)[first] * np.asarray(numbers)[second]
    powers = np.arange(1, POWERS + 1)
    weights = (1 + 0.5 * np.cos(powers[:, None] * kinds)) / math.sqrt(max(len(first), 1))
    found = np.zeros((len(positions), POWERS), dtype=complex)
    rows = max(1, CHUNK // max(len(first), 1))
    for begin in range(0, len(positions), rows):
        chunk = positions[begin : begin + rows]
        wave = np.exp(1j * WAVE * pair_lengths(chunk, first, second))
        power = np.ones_like(wave)
        for index in range(POWERS):
            power = power * wave
            found[begin : begin + rows, index] = power @ weights[index]
    return np.concatenate([found.real, found.imag], axis=1)


def tolerance(numbers: np.ndarray) -> float:
    """Largest difference of two fingerprints of one geometry of a molecule (atoms,)."""
    return SAME_OF_FEW.get(len(numbers), SAME)


def first_repeated(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The first frame (frames,) with the geometry of each one, itself where it is the first.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (frames, atoms, 3) in angstrom.
    """
    return first_alike(fingerprints(numbers, positions), tolerance(numbers))


def repeats(first: np.ndarray) -> int:
    """Number of frames that are not the first one (frames,) with their geometry."""
    return int((first != np.arange(len(first))).sum())


def count_repeated(numbers: np.ndarray, positions: np.ndarray) -> int:
    """Number of frames (frames, atoms, 3) in angstrom with the geometry of an earlier one."""
    return repeats(first_repeated(numbers, positions))


def known(prints: np.ndarray, others: np.ndarray, within: float) -> np.ndarray:
    """Whether each fingerprint (frames, 8) is that of one of the others (any, 8); (frames,)."""
    found = np.zeros(len(prints), dtype=bool)
    for rows, _ in _close(prints, others, within):
        found[rows] = True
    return found


def first_alike(prints: np.ndarray, within: float) -> np.ndarray:
    """The first frame (frames,) with the geometry of each one, itself where it is the first.

    Args:
        prints: (frames, 8) fingerprints.
        within: see `tolerance`.
    """
    # Many copies of one geometry are put together first, so that pairs remain few.
    rounded, which = np.unique(np.round(prints / within), axis=0, return_inverse=True)
    pairs = [np.stack(pair) for pair in _close(rounded, rounded, 1.5)] or [np.zeros((2, 0), int)]
    group = _groups(len(rounded), np.concatenate(pairs, axis=1))[which.ravel()]
    first = np.full(len(prints), len(prints))
    np.minimum.at(first, group, np.arange(len(prints)))
    return first[group]


def _close(
    prints: np.ndarray, others: np.ndarray, within: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of rows of two sets of fingerprints, all numbers of which differ by less than `within`.

    Candidates are close in the number that varies most. (Importing scipy's trees takes longer than
    a short run.)

    Returns:
        Rows of the first and of the second, (pairs,) each, some at a time.
    """
    if not len(prints) or not len(others):
        return
    column = int(np.ptp(others, axis=0).argmax())
    order = np.argsort(others[:, column], kind="stable")
    ordered = others[order, column]
    begin = np.searchsorted(ordered, prints[:, column] - within, "left")
    count = np.searchsorted(ordered, prints[:, column] + within, "right") - begin
    parts = np.searchsorted(np.cumsum(count), range(PAIRS, int(count.sum()), PAIRS))
    for chunk in np.split(np.arange(len(prints)), parts):
        counts = count[chunk]
        rows = np.repeat(chunk, counts)
        offsets = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        found = order[begin[rows] + offsets]
        near = (np.abs(prints[rows] - others[found]) < within).all(axis=1)
        yield rows[near], found[near]


def _groups(size: int, pairs: np.ndarray) -> np.ndarray:
    """The smallest of so many rows (size,) that each one is connected to by pairs (2, pairs)."""
    group = np.arange(size)
    while True:
        least = group.copy()
        np.minimum.at(least, pairs[0], group[pairs[1]])
        np.minimum.at(least, pairs[1], group[pairs[0]])
        least = least[least]
        if (least == group).all():
            return group
        group = least
