"""The neighbour list of compiled SchNet and PaiNN: pairs within the cutoff, and their tables."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from flexcalc.models.networks.compiled import compiled


class Pairs(NamedTuple):
    """All pairs of atoms of the molecule.

    Args:
        first, second: (pairs,) their atoms.
        cutoff: cutoff radius in angstrom.
        intervals: number of intervals of a table from zero to the cutoff.
    """

    first: np.ndarray
    second: np.ndarray
    cutoff: float
    intervals: int


class Near(NamedTuple):
    """The neighbour list: pairs within the cutoff. Only the first rows of each array are filled.

    Args:
        ends: (pairs, 2) the atoms.
        left: (pairs,) interval of the table that contains the distance.
        place: (pairs,) position in the interval, from 0 to 1.
        unit: (pairs, 3) from the first atom to the second.
        distance: (pairs,) in angstrom.
    """

    ends: np.ndarray
    left: np.ndarray
    place: np.ndarray
    unit: np.ndarray
    distance: np.ndarray

    @classmethod
    def of(cls, count: int, dtype: Any) -> Near:
        """Empty arrays for this number of pairs."""
        ends, left = np.empty((count, 2), int), np.empty(count, int)
        place, unit, distance = (np.empty(shape, dtype) for shape in (count, (count, 3), count))
        return cls(ends, left, place, unit, distance)


@compiled
def find(positions: np.ndarray, pairs: Pairs, near: Near) -> int:
    """Fill the neighbour list for positions (atoms, 3); returns the number of pairs.

    Positions are in double precision, so that only differences are rounded to single precision.
    """
    scale = pairs.intervals / pairs.cutoff
    count = 0
    for pair in range(len(pairs.first)):
        first, second = pairs.first[pair], pairs.second[pair]
        x = positions[second, 0] - positions[first, 0]
        y = positions[second, 1] - positions[first, 1]
        z = positions[second, 2] - positions[first, 2]
        distance = math.sqrt(x * x + y * y + z * z)
        if distance >= pairs.cutoff:
            continue
        place = scale * distance
        left = min(int(place), pairs.intervals - 1)
        near.ends[count, 0], near.ends[count, 1] = first, second
        near.unit[count, 0], near.unit[count, 1] = x / distance, y / distance
        near.unit[count, 2], near.distance[count] = z / distance, distance
        near.left[count], near.place[count] = left, place - left
        count += 1
    return count


@compiled
def value_at(c: np.ndarray, t: np.floating, f: int) -> np.floating:
    """Value of function f at t, from coefficients (6, functions)."""
    upper = c[3, f] + t * (c[4, f] + t * c[5, f])
    return c[0, f] + t * (c[1, f] + t * (c[2, f] + t * upper))


@compiled
def slope_at(c: np.ndarray, t: np.floating, f: int) -> np.floating:
    """Derivative of function f at t."""
    kind = c.dtype.type
    upper = kind(3) * c[3, f] + t * (kind(4) * c[4, f] + t * (kind(5) * c[5, f]))
    return c[1, f] + t * (kind(2) * c[2, f] + t * upper)
