"""Rotatable bonds of a molecule, and geometries that are turned about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flexcalc.geometry.graph import covalent_lengths, neighbours
from flexcalc.geometry.structure import Structure

MULTIPLE = 0.93
"""A bond shorter than this multiple of the sum of the covalent radii is a double or triple bond."""


@dataclass(frozen=True, eq=False)
class Torsion:
    """A rotatable bond.

    Args:
        atoms: (4,) of int, a dihedral about the bond; the two in the middle are bonded.
        moving: (moving,) of int, the atoms on the smaller side of the bond, which turn.
    """

    atoms: tuple[int, int, int, int]
    moving: np.ndarray

    def turned(self, positions: np.ndarray, angle: float) -> np.ndarray:
        """A geometry (atoms, 3) in angstrom, turned about the bond by an angle in radians."""
        _, j, k, _ = self.atoms
        axis = positions[k] - positions[j]
        axis = axis / np.linalg.norm(axis)
        arms = positions[self.moving] - positions[j]
        across, along = np.cross(axis, arms), (arms @ axis)[:, None] * axis
        # Rodrigues' formula
        found = positions.copy()
        found[self.moving] = (
            positions[j] + along + np.cos(angle) * (arms - along) + np.sin(angle) * across
        )
        return found


def torsions(numbers: np.ndarray, positions: np.ndarray) -> list[Torsion]:
    """The single bonds of a geometry that turn; see `Structure.rotatable_dihedrals`.

    Double bonds and those to groups of three hydrogens, which heat alone turns, are left out.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (atoms, 3) in angstrom.
    """
    structure = Structure.of(numbers, positions[None])
    graph = neighbours(len(numbers), structure.bonds)
    lengths = covalent_lengths(numbers)
    found = []
    for coordinate in structure.rotatable_dihedrals:
        first, j, k, last = coordinate.atoms
        apart = float(np.linalg.norm(positions[j] - positions[k]))
        symmetric = any(_is_symmetric(numbers, graph, *ends) for ends in ((j, k), (k, j)))
        if apart >= MULTIPLE * lengths[j, k] and not symmetric:
            side = min(_side(graph, j, k), _side(graph, k, j), key=len)
            found.append(Torsion((first, j, k, last), np.array(sorted(side))))
    return found


def _side(graph: list[set[int]], atom: int, other: int) -> set[int]:
    """Atoms on the side of an atom of its bond to another one, which is in no ring."""
    seen, front = {atom}, graph[atom] - {other}
    while front:
        seen |= front
        front = set().union(*(graph[near] for near in front)) - seen
    return seen


def _is_symmetric(numbers: np.ndarray, graph: list[set[int]], atom: int, other: int) -> bool:
    """Whether all further neighbours of an atom are three hydrogens."""
    ends = graph[atom] - {other}
    return len(ends) == 3 and all(numbers[end] == 1 for end in ends)
