"""Redundant internal coordinates of a molecule: stretches, bends, torsions and moves out of plane.

A step along them bends no bond that it should not, so that a torsion can turn far in one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from flexcalc.geometry.coordinates import angle, dihedral, distance, distances
from flexcalc.geometry.graph import (
    bonded_angles,
    bonded_dihedrals,
    bonds,
    covalent_lengths,
    neighbours,
)
from flexcalc.units import BOHR, HARTREE

STRAIGHT = np.radians(165.0)
"""Bend beyond which three atoms count as linear: the outer two are then taken to be bonded."""

STRETCH, BEND, TORSION = 0.45 * HARTREE / BOHR**2, 0.15 * HARTREE, 0.005 * HARTREE
"""Force constants of the model Hessian, in eV/angstrom^2 and eV/rad^2."""

OUT_OF_PLANE = 0.045 * HARTREE
"""That of a move out of plane, in eV/rad^2; Schlegel, Theor. Chim. Acta 66, 333 (1984)."""

DECAY = np.array([[1.0, 0.3949, 0.3949], [0.3949, 0.28, 0.28], [0.3949, 0.28, 0.28]]) / BOHR**2
LENGTH = np.array([[1.35, 2.10, 2.53], [2.10, 2.87, 3.40], [2.53, 3.40, 3.40]]) * BOHR
"""Decay of a force constant with the squared distance in 1/angstrom^2, and the distance where it
is 1, in angstrom, by the rows of the periodic table of both atoms; later rows are as the third."""

SMALLEST = 1e-6
"""Eigenvalue of the metric, relative to the largest, below which a combination of coordinates is
redundant."""

BACK_STEPS, BACK_A = 25, 1e-6
"""Iterations of the way back to positions, and the move in angstrom that ends them."""


@dataclass(frozen=True, eq=False)
class Place:
    """Internal coordinates at a geometry.

    Args:
        values: (coordinates,) in angstrom and radians.
        modes: (coordinates, modes), their combinations that are not redundant.
        moves: (3 atoms, modes) moves of the atoms along each, the inverse of their derivatives.
    """

    values: np.ndarray
    modes: np.ndarray
    moves: np.ndarray


@dataclass(frozen=True, eq=False)
class Internals:
    """A set of internal coordinates; angles are in radians.

    Args:
        stretches: (n, 2) atoms.
        bends: (n, 3) atoms, the middle one second.
        torsions: (n, 4) atoms, along the chain; the last ones are moves out of a plane.
        planes: number of these.
        constants: (coordinates,) force constants of the model Hessian, in eV per unit squared.

    Source of the constants: Lindh, Bernhardsson, Karlstrom and Malmqvist, Chem. Phys. Lett. 241,
    423 (1995), doi:10.1016/0009-2614(95)00646-L, equations 1 to 4 and table 1; for the way back
    Peng, Ayala, Schlegel and Frisch, J. Comput. Chem. 17, 49 (1996).
    """

    stretches: np.ndarray
    bends: np.ndarray
    torsions: np.ndarray
    planes: int
    constants: np.ndarray

    @classmethod
    def of(cls, numbers: np.ndarray, positions: np.ndarray) -> Self:
        """The coordinates of a molecule, from its bonds; its parts are joined by their contacts.

        Args:
            numbers: (atoms,) atomic numbers.
            positions: (atoms, 3) in angstrom.
        """
        joined = pairs = _joined(numbers, positions)
        while True:
            bends = bonded_angles(pairs)
            straight = angle(positions[bends], 0, 1, 2)[0] > STRAIGHT
            across = np.sort(bends[straight][:, [0, 2]], axis=1)
            more = np.unique(np.concatenate([pairs, across]), axis=0)
            if len(more) == len(pairs):
                break
            pairs = more
        bends = bends[_are_bent(positions, bends)]
        torsions = bonded_dihedrals(pairs)
        torsions = torsions[
            _are_bent(positions, torsions[:, :3]) & _are_bent(positions, torsions[:, 1:])
        ]
        graph = neighbours(len(numbers), joined)
        planes = np.array(
            [(j, *sorted(near)[:3]) for j, near in enumerate(graph) if len(near) > 2], dtype=int
        ).reshape(-1, 4)
        near = _nearness(numbers, positions)
        constants = np.concatenate(
            [
                STRETCH * near[*pairs.T],
                BEND * near[*bends[:, :2].T] * near[*bends[:, 1:].T],
                TORSION * np.prod([near[*torsions[:, k : k + 2].T] for k in range(3)], axis=0),
                OUT_OF_PLANE
                * np.prod([near[planes[:, 0], planes[:, k]] for k in (1, 2, 3)], axis=0),
            ]
        )
        return cls(pairs, bends, np.concatenate([torsions, planes]), len(planes), constants)

    def values(self, positions: np.ndarray) -> np.ndarray:
        """Values (batch, coordinates) at positions (batch, atoms, 3), in angstrom and radians."""
        return np.stack([self._terms(one)[0] for one in positions])

    def jacobian(self, positions: np.ndarray) -> np.ndarray:
        """Derivatives (coordinates, 3 atoms) of the values at positions (atoms, 3)."""
        return self._linearised(positions)[1]

    def at(self, positions: np.ndarray) -> Place:
        """The coordinates at positions (atoms, 3)."""
        values, jacobian = self._linearised(positions)
        left, sizes, right = np.linalg.svd(jacobian, full_matrices=False)
        kept = sizes**2 > SMALLEST * sizes[0] ** 2
        return Place(values, left[:, kept], right[kept].T / sizes[kept])

    def change(self, after: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Differences of values, torsions by the shorter way round."""
        found = after - before
        turn = slice(len(self.stretches) + len(self.bends), None)
        found[..., turn] = (found[..., turn] + np.pi) % (2 * np.pi) - np.pi
        return found

    def are_straight(self, positions: np.ndarray) -> bool:
        """Whether a bend of the coordinates has become linear at positions (atoms, 3)."""
        return not _are_bent(positions, self.bends).all()

    def moved(self, positions: np.ndarray, step: np.ndarray) -> np.ndarray | None:
        """Positions (atoms, 3) after a step (coordinates,) of the coordinates.

        None where the way back to positions does not converge.
        """
        aim = self.values(positions[None])[0] + step
        place, size = positions, np.inf
        for _ in range(BACK_STEPS):
            here = self.at(place)
            left = here.modes.T @ self.change(aim, here.values)
            move = (here.moves @ left).reshape(place.shape)
            place, before, size = place + move, size, float(np.abs(move).max())
            if size < BACK_A:
                return place
            if size > 2 * before:
                return None
        return place if size < 1e-3 else None

    def _linearised(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (coordinates,) at positions (atoms, 3), and their derivatives."""
        values, terms = self._terms(positions)
        spread = np.zeros((len(values), *positions.shape))
        start = 0
        for atoms, gradients in terms:
            rows = np.arange(start, start + len(atoms))
            spread[rows[:, None], atoms] = gradients  # the atoms of a term differ
            start += len(atoms)
        return values, spread.reshape(len(spread), -1)

    def _terms(self, positions: np.ndarray) -> tuple[np.ndarray, list]:
        """Values (coordinates,), and of each kind its atoms and gradients."""
        kinds = ((distance, self.stretches), (angle, self.bends), (dihedral, self.torsions))
        values, terms = [], []
        for function, atoms in kinds:
            value, gradient = function(positions[atoms], *range(atoms.shape[1]))
            values.append(value)
            terms.append((atoms, gradient))
        return np.concatenate(values), terms


def _are_bent(positions: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Whether three atoms (n, 3) are far from a line."""
    values = angle(positions[atoms], 0, 1, 2)[0]
    return (values < STRAIGHT) & (values > np.pi - STRAIGHT)


def _joined(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Bonds (bonds, 2), and the shortest contacts that join molecules."""
    pairs = bonds(numbers, positions)
    relative = distances(positions[None])[0] / covalent_lengths(numbers)
    while True:
        parts = _parts(len(numbers), pairs)
        apart = np.where(parts[:, None] != parts, relative, np.inf)
        if not np.isfinite(apart).any():
            return pairs
        nearest = sorted(np.unravel_index(np.argmin(apart), apart.shape))
        pairs = np.concatenate([pairs, np.array([nearest], dtype=int)])


def _parts(count: int, pairs: np.ndarray) -> np.ndarray:
    """The lowest atom (atoms,) of the part that each atom belongs to."""
    parts = np.arange(count)
    for _ in range(count):
        for i, j in pairs:
            parts[[i, j]] = parts[[i, j]].min()
    return parts


def _nearness(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The factors (atoms, atoms) of the force constants of Lindh's model."""
    row = np.searchsorted([2, 10], numbers)
    kinds = row[:, None], row
    return np.exp(DECAY[kinds] * (LENGTH[kinds] ** 2 - distances(positions[None])[0] ** 2))
