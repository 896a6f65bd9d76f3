"""What compiled SchNet and PaiNN share: the pairs within the cutoff, and their tables."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from flexcalc.models.networks.compiled import compiled


class Pairs(NamedTuple):
    """The pairs of atoms.

    Args:
        first, second: (pairs,) their atoms.
        cutoff: in angstrom.
        intervals: of a table between zero and the cutoff.
    """

    first: np.ndarray
    second: np.ndarray
    cutoff: float
    intervals: int


class Near(NamedTuple):
    """The pairs within the cutoff; of each array only so many rows are filled.

    Args:
        ends: (pairs, 2) the atoms.
        left: (pairs,) the interval of the table that the distance is in.
        place: (pairs,) the place in it, from 0 to 1.
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
        """Room for so many pairs."""
        ends, left = np.empty((count, 2), int), np.empty(count, int)
        place, unit, distance = (np.empty(shape, dtype) for shape in (count, (count, 3), count))
        return cls(ends, left, place, unit, distance)


@compiled
def find(positions: np.ndarray, pairs: Pairs, near: Near) -> int:
    """Describe the pairs of positions (atoms, 3) that are near; returns how many there are.

    Positions are in double precision, so that in single precision it is differences that round.
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
    """Its slope there."""
    kind = c.dtype.type
    upper = kind(3) * c[3, f] + t * (kind(4) * c[4, f] + t * (kind(5) * c[5, f]))
    return c[1, f] + t * (kind(2) * c[2, f] + t * upper)
