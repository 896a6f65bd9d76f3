"""Distances, angles and dihedrals with their gradients, in closed form."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from flexcalc.errors import InputError, ShapeError


def distances(positions: np.ndarray) -> np.ndarray:
    """All distances (batch, atoms, atoms) in angstrom of positions (batch, atoms, 3)."""
    return np.linalg.norm(positions[:, :, None] - positions[:, None, :], axis=-1)


def distance(positions: np.ndarray, i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance of two atoms and its gradient.

    Args:
        positions: (batch, atoms, 3) in angstrom.

    Returns:
        Values (batch,) in angstrom and gradients (batch, atoms, 3), without unit; zero where
        the atoms coincide.
    """
    direction, values = _unit(positions[:, i] - positions[:, j])
    return values, _spread(positions, {i: direction, j: -direction})


def angle(positions: np.ndarray, i: int, j: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Angle i-j-k in [0, pi] and its gradient.

    The gradient's length, one over the bond's, stays finite towards a linear angle. At exactly
    0 and pi the angle has a kink, and the gradient is zero there.

    Args:
        positions: (batch, atoms, 3) in angstrom.

    Returns:
        Values (batch,) in radians and gradients (batch, atoms, 3) in radians/angstrom.
    """
    first, first_length = _unit(positions[:, i] - positions[:, j])
    second, second_length = _unit(positions[:, k] - positions[:, j])
    normal = np.cross(first, second)
    axis, sine = _unit(normal)
    # atan2 keeps full precision where the arc cosine loses half of the digits.
    values = np.arctan2(sine, np.einsum("bx,bx->b", first, second))
    from_first = np.cross(first, axis) * _inverse(first_length)
    from_second = np.cross(axis, second) * _inverse(second_length)
    return values, _spread(positions, {i: from_first, j: -from_first - from_second, k: from_second})


def dihedral(
    positions: np.ndarray,
    i: int,
    j: int,
    k: int,
    l: int,  # noqa: E741
) -> tuple[np.ndarray, np.ndarray]:
    """Dihedral i-j-k-l in (-pi, pi] and its gradient; trans is pi, the sign is IUPAC's.

    The gradient grows as one over the sine of the angles i-j-k and j-k-l, as the coordinate
    itself does. Where one of them is exactly linear the dihedral has no value; it is given as
    0 with zero gradient.

    Args:
        positions: (batch, atoms, 3) in angstrom.

    Returns:
        Values (batch,) in radians and gradients (batch, atoms, 3) in radians/angstrom.

    Source: Blondel and Karplus, J. Comput. Chem. 17, 1132 (1996), eq. 27.
    """
    # The names are the paper's: F, G, H along the chain, A and B normal to the two planes.
    F = positions[:, i] - positions[:, j]
    G = positions[:, j] - positions[:, k]
    H = positions[:, l] - positions[:, k]
    A, B = np.cross(F, G), np.cross(H, G)
    G_unit, G_length = _unit(G)
    sine = np.einsum("bx,bx->b", np.cross(B, A), G_unit)
    values = np.arctan2(sine, np.einsum("bx,bx->b", A, B))
    A_scaled = A * _inverse(np.einsum("bx,bx->b", A, A))
    B_scaled = B * _inverse(np.einsum("bx,bx->b", B, B))
    along_F = np.einsum("bx,bx->b", F, G_unit)[:, None]
    along_H = np.einsum("bx,bx->b", H, G_unit)[:, None]
    shift = along_F * A_scaled - along_H * B_scaled
    first, last = -G_length[:, None] * A_scaled, G_length[:, None] * B_scaled
    return values, _spread(positions, {i: first, j: -first + shift, k: -last - shift, l: last})


@dataclass(frozen=True)
class Coordinate:
    """A distance, angle or dihedral that a user names, such as "dihedral 4 6 7 12".

    Args:
        kind: which of the three.
        atoms: two, three or four different indices, counting from 0 as ASE does.

    Raises:
        InputError: another number of atoms than the kind has, or one twice.
    """

    kind: Literal["distance", "angle", "dihedral"]
    atoms: tuple[int, ...]

    def __post_init__(self) -> None:
        count = _ATOMS.get(self.kind)
        if count is None:
            raise InputError(
                f"unknown coordinate {self.kind!r}; expected distance, angle or dihedral"
            )
        if len(self.atoms) != count or len(set(self.atoms)) != count or min(self.atoms) < 0:
            raise InputError(
                f"coordinate {self.label!r}: expected {count} different atom indices "
                f"that count from 0, such as {_EXAMPLES[self.kind]!r}"
            )

    @classmethod
    def parse(cls, text: str) -> Coordinate:
        """Read "distance 0 1", "angle 0 1 2" or "dihedral 0 1 2 3"; commas pass for blanks.

        Raises:
            InputError: the text is none of these.
        """
        kind, *atoms = re.split(r"[\s,]+", text.strip()) if text.strip() else [""]
        if kind.lower() not in _ATOMS or not all(re.fullmatch(r"[0-9]{1,9}", a) for a in atoms):
            raise InputError(
                f"cannot read the coordinate {text!r}; expected one such as "
                "'distance 0 1', 'angle 0 1 2' or 'dihedral 4 6 7 12'"
            )
        return cls(kind.lower(), tuple(int(atom) for atom in atoms))  # type: ignore[arg-type]

    def values(self, positions: np.ndarray) -> np.ndarray:
        """Values (batch,) in angstrom or degrees (dihedrals in (-180, 180]).

        Args:
            positions: (batch, atoms, 3) in angstrom.

        Raises:
            ShapeError: the molecule has fewer atoms than the coordinate names.
        """
        values, _ = self.measured(positions)
        return values if self.kind == "distance" else np.degrees(values)

    def measured(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (batch,) in angstrom or radians, and gradients (batch, atoms, 3).

        Args:
            positions: (batch, atoms, 3) in angstrom.

        Raises:
            ShapeError: the molecule has fewer atoms than the coordinate names.
        """
        self.check(positions.shape[1])
        return _MEASURES[self.kind](positions, *self.atoms)

    def check(self, count: int) -> None:
        """Refuse a molecule of `count` atoms that lacks some.

        Raises:
            ShapeError: it has fewer atoms than the coordinate names.
        """
        if max(self.atoms) >= count:
            raise ShapeError(
                f"coordinate {self.label!r} names atom {max(self.atoms)}, but the molecule "
                f"has {count} atoms, 0 to {count - 1}"
            )

    @property
    def label(self) -> str:
        """The text that `parse` reads."""
        return " ".join([self.kind, *map(str, self.atoms)])

    @property
    def unit(self) -> str:
        """The unit of `values`: "A" or "degrees"."""
        return "A" if self.kind == "distance" else "degrees"

    @property
    def periodic(self) -> bool:
        """Whether 180 and -180 are the same place."""
        return self.kind == "dihedral"


_ATOMS = {"distance": 2, "angle": 3, "dihedral": 4}
_MEASURES: dict[str, Callable] = {"distance": distance, "angle": angle, "dihedral": dihedral}
_EXAMPLES = {kind: " ".join([kind, *map(str, range(n))]) for kind, n in _ATOMS.items()}


def _unit(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.linalg.norm(vectors, axis=-1)
    return vectors * _inverse(lengths), lengths


def _inverse(values: np.ndarray) -> np.ndarray:
    """One over values (batch,) as a column, and 0 where a value is 0."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)[:, None]


def _spread(positions: np.ndarray, rows: dict[int, np.ndarray]) -> np.ndarray:
    """Gradients (batch, atoms, 3) that are zero but for the rows of some atoms."""
    gradients = np.zeros_like(positions, dtype=float)
    for atom, row in rows.items():
        gradients[:, atom] = row
    return gradients
