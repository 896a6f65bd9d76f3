"""Internal coordinates as features: their names, subsets and permutations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from flexcalc.errors import InputError
from flexcalc.models.gdml.descriptor.interface import Linearised


@dataclass(frozen=True, eq=False)
class InternalCoordinates(ABC):
    """Features that each depend on a few atoms, in whichever direction these are counted.

    Args:
        atoms: number of atoms, at least two.
        members: (size, width) the atoms of each feature; copied and made read-only.

    Raises:
        InputError: no feature, one that occurs twice, or atoms that are not different atoms of
            the molecule.
    """

    kind: ClassVar[str]
    """Name of a coordinate, as in `geometry.Coordinate`."""
    key: ClassVar[str]
    """Key of the array in a model folder."""
    width: ClassVar[int]
    """Number of atoms per feature."""

    atoms: int
    members: np.ndarray

    def __post_init__(self) -> None:
        given = np.asarray(self.members)
        self._check(given)
        members = np.array(given, dtype=np.int64, order="C")
        members.setflags(write=False)
        object.__setattr__(self, "members", members)
        codes = self._sorted[0]
        if (codes[1:] == codes[:-1]).any():
            raise InputError(f"{self.key}: the same {self.kind} occurs twice")

    @property
    @abstractmethod
    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The atoms that each difference leads to and from, arrays of one shape."""

    def _apart(self, vectors: np.ndarray) -> np.ndarray:
        """Differences (3, batch, ...) of vectors (batch, atoms, 3) from end to end.

        Components come first, so that arithmetic runs along the features and not along x, y, z.
        """
        to, start = self._ends
        components = vectors.transpose(2, 0, 1)
        return components.take(to, axis=2) - components.take(start, axis=2)

    def _check(self, given: np.ndarray) -> None:
        if self.atoms < 2:
            raise InputError(f"{self.key}: expected at least two atoms, got {self.atoms}")
        if given.dtype.kind not in "iu" or given.ndim != 2 or given.shape[1] != self.width:
            raise InputError(
                f"{self.key}: expected integers of shape (any, {self.width}), "
                f"found {given.shape} of {given.dtype}"
            )
        if not len(given):
            raise InputError(f"{self.key}: expected at least one {self.kind}, found none")
        if given.min() < 0 or given.max() >= self.atoms:
            raise InputError(
                f"{self.key}: expected atoms from 0 to {self.atoms - 1}, "
                f"found {given.min()} to {given.max()}"
            )
        ordered = np.sort(given, axis=1)
        if (ordered[:, 1:] == ordered[:, :-1]).any():
            raise InputError(f"{self.key}: a {self.kind} has the same atom twice")

    @property
    def size(self) -> int:
        """Number of features."""
        return len(self.members)

    @property
    def names(self) -> tuple[str, ...]:
        """The coordinate behind each feature, such as "angle 0 1 2"."""
        return tuple(" ".join([self.kind, *map(str, row)]) for row in self.atoms_of)

    @property
    def atoms_of(self) -> tuple[tuple[int, ...], ...]:
        """The atoms behind each feature."""
        return tuple(map(tuple, self.members.tolist()))

    @abstractmethod
    def linearise(self, positions: np.ndarray) -> Linearised:
        """Features and the maps w -> J^T w and v -> J v at positions (batch, atoms, 3)."""

    @abstractmethod
    def jacobian(self, positions: np.ndarray) -> np.ndarray:
        """Derivatives of the features, (batch, size, 3 atoms)."""

    def subset(self, kept: np.ndarray) -> Self:
        """The same features without those not kept.

        Args:
            kept: indices of features, ascending.

        Raises:
            InputError: none is kept, or the indices are not ascending ones of features.
        """
        return type(self)(self.atoms, self.members[checked_subset(kept, self.size)])

    def closed_under(self, permutations: np.ndarray) -> np.ndarray:
        """Which permutations (group, atoms) only exchange the features, (group,) of bool."""
        return np.logical_and.reduce(self._moved(permutations)[1], axis=1)

    def relabelled(self, permutations: np.ndarray) -> np.ndarray:
        """Feature indices (group, size) of atom permutations (group, atoms).

        The features of `positions[p]` are `features[relabelled([p])[0]]`.

        Raises:
            InputError: a permutation maps a feature to one that does not exist.
        """
        features, found = self._moved(permutations)
        if not found.all():
            permutation, feature = np.argwhere(~found)[0]
            atoms = permutations[permutation][self.members[feature]]
            raise InputError(
                f"the descriptor has {self.names[feature]!r} but not "
                f"{' '.join([self.kind, *map(str, atoms)])!r}, which takes its place under "
                f"permutation {permutation}: keep both, or leave the permutation out"
            )
        return features

    def arrays(self) -> dict[str, np.ndarray]:
        """The members, under `key`."""
        return {self.key: self.members}

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Codes of the features, ascending, and the feature of each."""
        codes = self._codes(self.members)
        order = np.argsort(codes)
        return codes[order], order

    def _codes(self, members: np.ndarray) -> np.ndarray:
        """One integer for the members (..., width) in either direction, (...,)."""
        digits = self.atoms ** np.arange(self.width)
        return np.minimum(members @ digits, members[..., ::-1] @ digits)

    def _moved(self, permutations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features (group, size) that take each one's place, and whether there is such a one."""
        known, feature = self._sorted
        codes = self._codes(np.asarray(permutations)[:, self.members])
        place = np.minimum(np.searchsorted(known, codes), self.size - 1)
        return feature[place], known[place] == codes


def checked_subset(kept: np.ndarray, size: int) -> np.ndarray:
    """Indices of features to keep, (kept,), as integers.

    Raises:
        InputError: not ascending indices from 0 to size - 1, or none.
    """
    indices = np.asarray(kept)
    fits = indices.dtype.kind in "iu" and indices.ndim == 1 and len(indices) > 0
    if not fits or (np.diff(indices.astype(np.int64), prepend=-1) <= 0).any():
        raise InputError("features to keep: expected at least one index, in ascending order")
    if indices[-1] >= size:
        raise InputError(f"features to keep: expected indices below {size}, got {indices[-1]}")
    return indices
