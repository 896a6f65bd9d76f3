"""Composite descriptors: the concatenated features of several parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flexcalc.errors import InputError
from flexcalc.geometry.graph import bonded_angles, bonded_dihedrals, consensus_bonds
from flexcalc.models.gdml.descriptor.angular import Angles, Dihedrals
from flexcalc.models.gdml.descriptor.distances import InverseDistances
from flexcalc.models.gdml.descriptor.interface import Linearised
from flexcalc.models.gdml.descriptor.internal import InternalCoordinates, checked_subset

KINDS: tuple[type[InverseDistances] | type[Angles] | type[Dihedrals], ...] = (
    InverseDistances,
    Angles,
    Dihedrals,
)
"""Kinds of parts, in the order in which they are concatenated."""


@dataclass(frozen=True, eq=False)
class CompositeDescriptor:
    """The concatenated features of several parts, each part multiplied by its weight.

    Inverse distances and angular features have different units but a common sigma; the weights
    balance them. In the paper all weights are one.

    Args:
        parts: of the same molecule; inverse distances, angles and dihedrals in this order, each
            at most once.
        weights: one positive number per part; all one by default.

    Raises:
        InputError: invalid parts or weights.
    """

    parts: tuple[InternalCoordinates, ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        kinds = [type(part) for part in self.parts]
        if not kinds or kinds != [kind for kind in KINDS if kind in kinds]:
            raise InputError(
                "expected inverse distances, angles and dihedrals in this order, each at most "
                f"once, got {[kind.__name__ for kind in kinds]}"
            )
        if len({part.atoms for part in self.parts}) > 1:
            raise InputError("the parts of a descriptor are of molecules of different size")
        weights = tuple(map(float, self.weights)) or (1.0,) * len(self.parts)
        if len(weights) != len(self.parts) or not all(0 < weight < np.inf for weight in weights):
            raise InputError(
                f"weights: expected {len(self.parts)} positive numbers, one per part, got {weights}"
            )
        object.__setattr__(self, "weights", weights)

    @property
    def atoms(self) -> int:
        """Number of atoms."""
        return self.parts[0].atoms

    @property
    def size(self) -> int:
        """Number of features."""
        return sum(part.size for part in self.parts)

    @property
    def names(self) -> tuple[str, ...]:
        """The coordinate behind each feature, such as "angle 0 1 2"."""
        return sum((part.names for part in self.parts), ())

    @property
    def atoms_of(self) -> tuple[tuple[int, ...], ...]:
        """The atoms behind each feature."""
        return sum((part.atoms_of for part in self.parts), ())

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        """First index of the features of each part, and the end of the last part."""
        return tuple(np.cumsum([0, *(part.size for part in self.parts)]).tolist())

    @cached_property
    def _scale(self) -> np.ndarray:
        """The weight of each feature, (size,)."""
        return np.repeat(self.weights, [part.size for part in self.parts])

    def _slices(self) -> Iterator[slice]:
        return map(slice, self._starts[:-1], self._starts[1:])

    def linearise(self, positions: np.ndarray) -> Linearised:
        """Features and the maps w -> J^T w and v -> J v at positions (batch, atoms, 3)."""
        parts = [part.linearise(positions) for part in self.parts]

        def pull(weights: np.ndarray) -> np.ndarray:
            scaled = weights * self._scale
            own = zip(parts, self._slices(), strict=True)
            return np.sum([part.pull(scaled[:, features]) for part, features in own], axis=0)

        def push(motions: np.ndarray) -> np.ndarray:
            return np.concatenate([part.push(motions) for part in parts], axis=1) * self._scale

        features = np.concatenate([part.features for part in parts], axis=1) * self._scale
        return Linearised(features, pull, push)

    def jacobian(self, positions: np.ndarray) -> np.ndarray:
        """Derivatives of the features, (batch, size, 3 atoms)."""
        dense = np.concatenate([part.jacobian(positions) for part in self.parts], axis=1)
        return dense * self._scale[:, None]

    def subset(self, kept: np.ndarray) -> CompositeDescriptor:
        """A subset of the features; parts without any of them are left out.

        Args:
            kept: indices of features, ascending.

        Raises:
            InputError: no index, or indices that are out of range or not ascending.
        """
        indices = checked_subset(kept, self.size)
        parts, weights = [], []
        for part, weight, own in zip(self.parts, self.weights, self._slices(), strict=True):
            inside = indices[(indices >= own.start) & (indices < own.stop)] - own.start
            if len(inside):
                parts.append(part.subset(inside))
                weights.append(weight)
        return CompositeDescriptor(tuple(parts), tuple(weights))

    def closed_under(self, permutations: np.ndarray) -> np.ndarray:
        """Whether each of the permutations (group, atoms) maps features to features, (group,) of
        bool."""
        return np.all([part.closed_under(permutations) for part in self.parts], axis=0)

    def relabelled(self, permutations: np.ndarray) -> np.ndarray:
        """Feature indices (group, size) of atom permutations (group, atoms).

        Raises:
            InputError: a permutation maps a feature to one that does not exist.
        """
        moved = [part.relabelled(permutations) for part in self.parts]
        starts = self._starts[:-1]
        return np.concatenate([own + at for own, at in zip(moved, starts, strict=True)], axis=1)

    def arrays(self) -> dict[str, np.ndarray]:
        """The members of each part, all pairs too, and `weights` (parts,)."""
        members = {part.key: part.members for part in self.parts}
        return members | {"weights": np.array(self.weights)}


def extended(
    numbers: np.ndarray,
    positions: np.ndarray,
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
    permutations: np.ndarray | None = None,
) -> CompositeDescriptor | InverseDistances:
    """The extended descriptor: all inverse distances, bonded angles and bonded dihedrals.

    Source: Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021), where all weights are one.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (frames, atoms, 3) or (atoms, 3) in angstrom; a pair counts as bonded
            if it is bonded in more than half of the frames.
        weights: of the distances, the angles and the dihedrals.
        permutations: (group, atoms) symmetries under which the features are closed: images of a
            bond are bonds.
    """
    atoms = len(numbers)
    frames = np.asarray(positions)
    bonds = consensus_bonds(numbers, frames if frames.ndim == 3 else frames[None])
    if permutations is not None:
        images = np.sort(permutations[:, bonds].reshape(-1, 2), axis=1)
        bonds = np.unique(images, axis=0)
    angles, dihedrals = bonded_angles(bonds), bonded_dihedrals(bonds)
    if not len(angles):
        return InverseDistances(atoms)
    parts: list[InternalCoordinates] = [InverseDistances(atoms), Angles(atoms, angles)]
    if len(dihedrals):
        parts.append(Dihedrals(atoms, dihedrals))
    return CompositeDescriptor(tuple(parts), tuple(weights[: len(parts)]))
