"""Populations of conformers in a trajectory, and histograms of two coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flexcalc.errors import InputError
from flexcalc.geometry import Coordinate
from flexcalc.geometry.matching import labellings

MIRROR = np.array([1.0, 1.0, -1.0])
BLOCK = 4096
"""Number of frames per block, which bounds the memory for distances."""


@dataclass(frozen=True, eq=False)
class Conformers:
    """Minima of a molecule as points in the space of a few coordinates.

    A minimum has a point for every permutation of identical atoms that preserves its bonds (if they
    are not too many; else only its own), and for its mirror image.

    Args:
        names: of the minima.
        coordinates: that distinguish the minima.
        places: of each minimum, points (points, coordinates) in radians and angstrom.
    """

    names: tuple[str, ...]
    coordinates: tuple[Coordinate, ...]
    places: tuple[np.ndarray, ...]

    @classmethod
    def of(
        cls,
        numbers: np.ndarray,
        minima: Mapping[str, np.ndarray],
        coordinates: Sequence[Coordinate],
    ) -> Conformers:
        """The conformers of minima.

        Args:
            numbers: (atoms,) atomic numbers.
            minima: name -> positions (atoms, 3) in angstrom.
            coordinates: at least one.

        Raises:
            InputError: there is no minimum or no coordinate.
        """
        if not minima or not coordinates:
            raise InputError("conformers: expected at least one minimum and one coordinate")
        places = []
        for positions in minima.values():
            orders = labellings(numbers, positions, positions)
            images = positions[None] if orders is None else positions[orders]
            found = natural(coordinates, np.concatenate([images, images * MIRROR]))
            # Points of equivalent atoms agree to 0.01 in a relaxed geometry; keep one of them.
            _, first = np.unique(np.round(found, 2), axis=0, return_index=True)
            places.append(found[np.sort(first)])
        return cls(tuple(minima), tuple(coordinates), tuple(places))

    def nearest(self, positions: np.ndarray) -> np.ndarray:
        """Index (frames,) of the minimum with the point nearest to each geometry.

        A radian counts as much as an angstrom.

        Args:
            positions: (frames, atoms, 3) in angstrom.
        """
        found = np.empty(len(positions), dtype=int)
        for begin in range(0, len(positions), BLOCK):
            block = slice(begin, begin + BLOCK)
            values = natural(self.coordinates, positions[block])
            away = [self._squares(values, places).min(axis=1) for places in self.places]
            found[block] = np.argmin(away, axis=0)
        return found

    def _squares(self, values: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Squared distances (frames, places)."""
        gap = values[:, None] - places
        for column, one in enumerate(self.coordinates):
            if one.periodic:
                gap[..., column] = (gap[..., column] + np.pi) % (2 * np.pi) - np.pi
        return (gap**2).sum(axis=2)

    def shares(self, positions: np.ndarray) -> dict[str, float]:
        """Fraction of the geometries (frames, atoms, 3) in each conformer; empty without frames."""
        if not len(positions):
            return {}
        counts = np.bincount(self.nearest(positions), minlength=len(self.names))
        return {
            name: float(count / len(positions))
            for name, count in zip(self.names, counts, strict=True)
        }


def natural(coordinates: Sequence[Coordinate], positions: np.ndarray) -> np.ndarray:
    """Values (frames, coordinates) in radians and angstrom of positions (frames, atoms, 3)."""
    return np.stack([one.measured(positions)[0] for one in coordinates], axis=1)


def map_edges(coordinate: Coordinate, bins: int, *parts: np.ndarray) -> np.ndarray:
    """Bin edges (bins + 1,) of a map: the full range of an angle, else the range of the frames.

    Args:
        coordinate: of the axis.
        bins: number of bins.
        *parts: positions (frames, atoms, 3) in angstrom of all geometries in the map.
    """
    if coordinate.unit == "degrees":
        low, high = (-180.0, 180.0) if coordinate.periodic else (0.0, 180.0)
    else:
        values = np.concatenate([coordinate.values(part) for part in parts])
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
        high = max(high, low + 1e-6)
    return np.linspace(low, high, bins + 1)


def visit_counts(
    coordinates: tuple[Coordinate, Coordinate], edges: Sequence[np.ndarray], positions: np.ndarray
) -> np.ndarray:
    """Histogram of geometries (frames, atoms, 3) in two coordinates."""
    first, second = (one.values(positions) for one in coordinates)
    return np.histogram2d(first, second, bins=list(edges))[0].astype(int)
