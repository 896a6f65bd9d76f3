"""Rotatable bonds of a molecule, and geometries that are turned about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flexcalc.geometry.graph import bonds, covalent_lengths, neighbours

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
    """The rotatable bonds of a geometry, sorted by their atoms.

    These are single bonds outside of rings whose ends both have further neighbours. Rotors whose
    ends are all hydrogen with three-fold symmetry, such as methyl groups, are left out, because
    heat alone turns them.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (atoms, 3) in angstrom.
    """
    pairs = bonds(numbers, positions)
    graph = neighbours(len(numbers), pairs)
    lengths = covalent_lengths(numbers)
    found = []
    for j, k in pairs.tolist():
        apart = float(np.linalg.norm(positions[j] - positions[k]))
        if len(graph[j]) < 2 or len(graph[k]) < 2 or apart < MULTIPLE * lengths[j, k]:
            continue
        sides = _side(graph, j, k), _side(graph, k, j)
        if sides[0] & sides[1] or any(
            _is_symmetric(numbers, graph, *ends) for ends in ((j, k), (k, j))
        ):
            continue
        moving = min(sides, key=len)
        first, last = min(graph[j] - {k}), min(graph[k] - {j})
        found.append(Torsion((first, j, k, last), np.array(sorted(moving))))
    return found


def _side(graph: list[set[int]], atom: int, other: int) -> set[int]:
    """Atoms that are reached from an atom without its bond to another one."""
    seen, stack = {atom}, [atom]
    while stack:
        at = stack.pop()
        for near in graph[at]:
            if near not in seen and (at, near) != (atom, other):
                seen.add(near)
                stack.append(near)
    return seen


def _is_symmetric(numbers: np.ndarray, graph: list[set[int]], atom: int, other: int) -> bool:
    """Whether all further neighbours of an atom are three hydrogens."""
    ends = graph[atom] - {other}
    return len(ends) == 3 and all(numbers[end] == 1 for end in ends)
