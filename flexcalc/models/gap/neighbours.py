"""Neighbour lists of a block of geometries, as dense arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Neighbours:
    """The neighbour list of some atoms, with each species in its own slice.

    Every centre has as many as the one that has most of that species, in any of the geometries:
    the rest are atoms beyond the cutoff, which count for nothing.

    Args:
        positions: (rows, atoms, 3) in angstrom.
        centres: (centres,) indices of atoms.
        species: indices of the atoms of each species.
        cutoff: in angstrom.
    """

    def __init__(
        self,
        positions: np.ndarray,
        centres: np.ndarray,
        species: Sequence[np.ndarray],
        cutoff: float,
    ):
        self._centres = centres
        places = np.ascontiguousarray(positions.transpose(2, 1, 0))  # (3, atoms, rows)
        squares = np.zeros((len(centres), *places.shape[1:]))
        for along in places:
            squares += (along - along[centres, None]) ** 2
        near = squares.min(axis=2) < cutoff**2
        near[np.arange(len(centres)), centres] = False
        self.slices, found = [], [np.empty((len(centres), 0), dtype=int)]
        start = 0
        for atoms in species:
            here = near[:, atoms]
            most = int(here.sum(axis=1).max(initial=0))
            # The nearest first, whatever the rest; a centre itself may be among the rest.
            found.append(atoms[np.argsort(~here, axis=1, kind="stable")[:, :most]])
            self.slices.append(slice(start, start + most))
            start += most
        self.atoms = np.concatenate(found, axis=1)
        """(centres, neighbours) indices of atoms."""
        apart = places[:, self.atoms] - places[:, centres][:, :, None]
        apart[0, self.atoms == centres[:, None]] = 2.0 * cutoff  # not seen by itself
        apart = np.ascontiguousarray(apart.transpose(0, 1, 3, 2)).reshape(3, -1)
        self.distances = np.sqrt(np.einsum("kp,kp->p", apart, apart))
        """(centres * rows * neighbours,) in angstrom."""
        self.directions = apart / self.distances
        """(3, centres * rows * neighbours) unit vectors from the centres."""

    def scatter(self, gradient: np.ndarray, out: np.ndarray) -> None:
        """Add to the forces.

        Args:
            gradient: (3, centres * rows * neighbours), derivatives by the vectors to neighbours.
            out: (rows, atoms, 3), forces.
        """
        count, most = self.atoms.shape
        parts = gradient.reshape(3, count, len(out), most).transpose(1, 3, 2, 0)
        pairs = np.zeros((count, out.shape[1], *parts.shape[2:]))
        pairs[np.arange(count)[:, None], self.atoms] = parts
        out[:, self._centres] += pairs.sum(axis=1).transpose(1, 0, 2)
        out -= pairs.sum(axis=0).transpose(1, 0, 2)
