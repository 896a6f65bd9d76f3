"""What a molecule looks like to its user: numbered atoms, bonds, and dihedrals that turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from flexcalc.geometry.coordinates import angle
from flexcalc.geometry.graph import consensus_bonds, neighbours
from flexcalc.geometry.named import Coordinate

STRAIGHT_DEGREES = 165.0
"""Angle beyond which three atoms count as linear, so that nothing turns about them."""


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms of a molecule, counted from 0 as coordinates count them, and their bonds.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (atoms, 3) in angstrom.
        bonds: (bonds, 2), each i < j.
    """

    numbers: np.ndarray
    positions: np.ndarray
    bonds: np.ndarray

    @classmethod
    def of(cls, numbers: np.ndarray, frames: np.ndarray) -> Self:
        """The first of some geometries, with the bonds of more than half of them.

        Args:
            numbers: (atoms,) atomic numbers.
            frames: (frames, atoms, 3) in angstrom.
        """
        return cls(numbers, frames[0], consensus_bonds(numbers, frames))

    @property
    def symbols(self) -> tuple[str, ...]:
        """Chemical symbol of each atom."""
        from ase.data import chemical_symbols

        return tuple(chemical_symbols[number] for number in self.numbers)

    @property
    def bonded_to(self) -> tuple[tuple[int, ...], ...]:
        """The atoms that each atom is bonded to, ascending."""
        return tuple(tuple(sorted(near)) for near in neighbours(len(self.numbers), self.bonds))

    @property
    def rotatable_dihedrals(self) -> tuple[Coordinate, ...]:
        """A dihedral about each bond that is in no ring and not at the end of a chain.

        Its outer atoms are the heaviest neighbours, of equal ones the first. Double bonds are
        among them: some turn, as that of azobenzene does.
        """
        graph = neighbours(len(self.numbers), self.bonds)
        found = []
        for j, k in self.bonds.tolist():
            first, last = self._heaviest(graph[j] - {k}), self._heaviest(graph[k] - {j})
            if first is None or last is None or _in_ring(graph, j, k):
                continue
            if not any(self._straight(*atoms) for atoms in ((first, j, k), (j, k, last))):
                found.append(Coordinate("dihedral", (first, j, k, last)))
        return tuple(found)

    def chain(self, coordinate: Coordinate) -> str:
        """Symbols of the atoms of a coordinate, such as N-C-C-O."""
        return "-".join(self.symbols[atom] for atom in coordinate.atoms)

    def _heaviest(self, atoms: set[int]) -> int | None:
        return min(atoms, key=lambda atom: (-self.numbers[atom], atom), default=None)

    def _straight(self, i: int, j: int, k: int) -> bool:
        value, _ = angle(self.positions[None], i, j, k)
        return bool(np.degrees(value[0]) > STRAIGHT_DEGREES)


def _in_ring(graph: list[set[int]], j: int, k: int) -> bool:
    """Whether a bond j-k is part of a ring: its atoms are connected without it."""
    seen, front = {j}, graph[j] - {k}
    while front:
        seen |= front
        front = set().union(*(graph[atom] for atom in front)) - seen
    return k in seen
