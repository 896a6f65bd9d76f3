"""Kinetics on a network of minima and saddles: rates, populations, first passages, the picture.

The minima are the states of a continuous-time Markov chain; each saddle is a way between two of
them, passed at a rate each way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def rate_matrix(states: int, ends: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Rates (states, states) in 1/s from each state (row) to each other one; zero diagonal.

    Args:
        states: number of minima.
        ends: (saddles, 2) of int, the minima of each saddle; one between a minimum and itself, as
            that of a degenerate rearrangement, does not count.
        rates: (saddles, 2) in 1/s, from the first to the second and back.
    """
    found = np.zeros((states, states))
    for (one, other), (there, back) in zip(ends, rates, strict=True):
        if one != other:
            found[one, other] += there
            found[other, one] += back
    return found


def components(states: int, ends: np.ndarray) -> np.ndarray:
    """Number of the connected part (states,) that each minimum belongs to, from 0."""
    part = np.arange(states)
    for one, other in ends:
        part[part == part[one]] = part[other]
    return np.unique(part, return_inverse=True)[1]


def relaxation_times_s(rates: np.ndarray, populations: np.ndarray) -> np.ndarray:
    """Times in s in which deviations from equilibrium decay, longest first; one per state less one
    for each connected part.

    The rate matrix is made symmetric by the square roots of the populations, which detailed balance
    allows; so its eigenvalues are real.

    Args:
        rates: (states, states) in 1/s, from `rate_matrix`.
        populations: (states,) at equilibrium, positive.
    """
    root = np.sqrt(populations)
    symmetric = rates * root[:, None] / root[None]
    symmetric = (symmetric + symmetric.T) / 2 - np.diag(rates.sum(axis=1))
    parts = len(np.unique(components(len(rates), np.argwhere(rates > 0))))
    decays = -np.sort(np.linalg.eigvalsh(symmetric))[::-1][parts:]
    return 1 / np.maximum(decays, np.finfo(float).tiny)


def mean_first_passage_s(rates: np.ndarray) -> np.ndarray:
    """Mean times (states, states) in s until each state (column) is first reached from each (row);
    infinite where it cannot be reached.

    The other states are taken out one after the other, with their waiting times and the ways
    through them added to what is left. No step subtracts, so that rates may differ by any number of
    powers of ten.

    Source: Wales, J. Chem. Phys. 130, 204111 (2009), doi:10.1063/1.3133782 (graph transformation);
    Grassmann, Taksar, Heyman, Oper. Res. 33, 1107 (1985), doi:10.1287/opre.33.5.1107.

    Args:
        rates: (states, states) in 1/s, from `rate_matrix`.
    """
    states = len(rates)
    found = np.full((states, states), np.inf)
    np.fill_diagonal(found, 0.0)
    part = components(states, np.argwhere(rates > 0))
    for number in np.unique(part):
        members = np.flatnonzero(part == number)
        inner = rates[np.ix_(members, members)]
        for end in range(len(members)):
            for start in np.delete(np.arange(len(members)), end):
                found[members[start], members[end]] = _first_passage_s(inner, start, end)
    return found


def _first_passage_s(rates: np.ndarray, start: int, end: int) -> float:
    """Mean time between two states of a connected part."""
    leaving = rates.sum(axis=1)
    jumps, waits = rates / leaving[:, None], 1 / leaving
    left = list(range(len(rates)))
    for state in [one for one in left if one not in (start, end)]:
        left.remove(state)
        through = jumps[:, state] / jumps[state, left].sum()
        waits += through * waits[state]
        jumps += np.outer(through, jumps[state])
        jumps[:, state] = 0.0
    # From the start there is only the way to itself and to the end.
    return float(waits[start] / jumps[start, end])


@dataclass(frozen=True)
class Branch:
    """A part of a disconnectivity tree.

    Args:
        energy: up to which the minima below are apart from the others, or that of a minimum.
        minima: numbers of the minima below.
        below: the parts that join here; none below a minimum.
    """

    energy: float
    minima: tuple[int, ...]
    below: tuple[Branch, ...] = ()


def disconnectivity(minima: np.ndarray, saddles: np.ndarray, ends: np.ndarray) -> Sequence[Branch]:
    """The trees of a disconnectivity graph, one for each connected part, lowest minimum first.

    Two minima join at the lowest energy at which a way leads from one to the other.

    Source: Becker and Karplus, J. Chem. Phys. 106, 1495 (1997), doi:10.1063/1.473299.

    Args:
        minima: (minima,) energies.
        saddles: (saddles,) energies in the same unit.
        ends: (saddles, 2) of int, the minima of each.
    """
    trees = {index: Branch(float(energy), (index,)) for index, energy in enumerate(minima)}
    for saddle in np.argsort(saddles, kind="stable"):
        one, other = (trees[int(end)] for end in ends[saddle])
        if one is other:
            continue
        below = sorted((one, other), key=lambda tree: min(minima[list(tree.minima)]))
        joined = Branch(float(saddles[saddle]), one.minima + other.minima, tuple(below))
        trees |= dict.fromkeys(joined.minima, joined)
    different = {id(tree): tree for tree in trees.values()}
    return sorted(different.values(), key=lambda tree: min(minima[list(tree.minima)]))
