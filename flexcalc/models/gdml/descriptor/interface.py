"""The interface of descriptors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Linearised:
    """A descriptor at some positions, to first order; its Jacobian J is never made.

    Args:
        features: (batch, size).
        pull: takes weights w (batch, size) to J^T w, (batch, atoms, 3): forces from slopes.
        push: takes motions v (batch, atoms, 3) to J v, (batch, size): how the features change.
    """

    features: np.ndarray
    pull: Callable[[np.ndarray], np.ndarray]
    push: Callable[[np.ndarray], np.ndarray]


class Descriptor(Protocol):
    """Features of a molecule's positions."""

    @property
    def atoms(self) -> int:
        """Number of atoms."""

    @property
    def size(self) -> int:
        """Number of features."""

    @property
    def names(self) -> tuple[str, ...]:
        """The coordinate behind each feature, such as "angle 0 1 2"."""

    @property
    def atoms_of(self) -> tuple[tuple[int, ...], ...]:
        """The atoms behind each feature."""

    def linearise(self, positions: np.ndarray) -> Linearised:
        """Features and the maps w -> J^T w and v -> J v at positions (batch, atoms, 3)."""

    def jacobian(self, positions: np.ndarray) -> np.ndarray:
        """Derivatives of the features, (batch, size, 3 atoms)."""

    def closed_under(self, permutations: np.ndarray) -> np.ndarray:
        """Which permutations (group, atoms) only exchange the features, (group,) of bool."""

    def relabelled(self, permutations: np.ndarray) -> np.ndarray:
        """Feature indices (group, size) of atom permutations (group, atoms).

        The features of `positions[p]` are `features[relabelled([p])[0]]`.

        Raises:
            InputError: a permutation maps a feature to one that does not exist.
        """

    def arrays(self) -> dict[str, np.ndarray]:
        """All that `from_arrays` needs to make the descriptor again, as int64 and float64."""
