"""Rotatable dihedrals of labelled and of explored geometries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from flexcalc.geometry.named import Coordinate
from flexcalc.geometry.torsions import torsions

CELL_DEGREES = 30
"""Width of the cells by which the reached share is counted."""
AXES = 2
"""Dihedrals of a map."""


@dataclass(frozen=True, eq=False)
class DihedralMap:
    """One or two dihedrals of geometries, in degrees.

    Args:
        rotatable: all rotatable dihedrals, those without hydrogen first.
        drawn: the one or two of the map.
        labelled: (labels, drawn).
        explored: (frames, drawn).
    """

    rotatable: tuple[Coordinate, ...]
    drawn: tuple[Coordinate, ...]
    labelled: np.ndarray
    explored: np.ndarray

    @classmethod
    def of(
        cls, numbers: np.ndarray, labelled: np.ndarray, explored: Iterable[np.ndarray]
    ) -> Self | None:
        """The map of a molecule; None without rotatable dihedrals.

        Of more than two dihedrals those two are drawn whose labelled values spread most.

        Args:
            numbers: (atoms,) atomic numbers.
            labelled: (labels, atoms, 3) in angstrom, at least one.
            explored: parts (frames, atoms, 3), which are read one after the other.
        """
        rotatable = rotatable_dihedrals(numbers, labelled[0])
        if not rotatable:
            return None
        spread = [circular_variance(one.values(labelled)) for one in rotatable]
        widest = sorted(np.argsort(-np.array(spread), kind="stable")[:AXES].tolist())
        drawn = tuple(rotatable[index] for index in widest)
        parts = [np.zeros((0, len(drawn))), *(_values(drawn, part) for part in explored)]
        return cls(rotatable, drawn, _values(drawn, labelled), np.concatenate(parts))

    @property
    def reached_share(self) -> float:
        """Share of the cells of the drawn dihedrals that have explored frames."""
        count = 360 // CELL_DEGREES
        cells = np.floor((self.explored + 180) / CELL_DEGREES).astype(int) % count
        return len(np.unique(cells, axis=0)) / count ** len(self.drawn)


def rotatable_dihedrals(numbers: np.ndarray, positions: np.ndarray) -> tuple[Coordinate, ...]:
    """The rotatable dihedrals of a geometry (atoms, 3), those without hydrogen first."""
    found = sorted(
        (torsion.atoms for torsion in torsions(numbers, positions)),
        key=lambda atoms: bool((numbers[list(atoms)] == 1).any()),
    )
    return tuple(Coordinate("dihedral", atoms) for atoms in found)


def circular_variance(degrees: np.ndarray) -> float:
    """Spread of angles (values,): 0 for equal ones, 1 for a uniform distribution.

    Source: Mardia and Jupp, Directional Statistics (Wiley, 2000), eq. 2.3.4.
    """
    return float(1 - np.abs(np.exp(1j * np.radians(degrees)).mean()))


def _values(dihedrals: tuple[Coordinate, ...], positions: np.ndarray) -> np.ndarray:
    """Values (frames, dihedrals) in degrees."""
    return np.stack([one.values(positions) for one in dihedrals], axis=1)
