"""Descriptors: what the kernel compares, and how a batch's derivatives pass through it.

A descriptor maps positions (batch, atoms, 3) in angstrom to features (batch, size). It also
gives the products with its Jacobian J that prediction and training need, and how its features
move when atoms are relabelled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

Pull = Callable[[np.ndarray], np.ndarray]
"""Takes weights w (batch, size) to J^T w, (batch, atoms, 3)."""


class Descriptor(Protocol):
    """What the kernel needs to know of a descriptor."""

    @property
    def size(self) -> int:
        """Number of features."""

    def linearise(self, positions: np.ndarray) -> tuple[np.ndarray, Pull]:
        """Features (batch, size) and the map w -> J^T w at these positions."""

    def jacobian(self, positions: np.ndarray) -> np.ndarray:
        """Derivatives of the features, (batch, size, 3 atoms)."""

    def relabelled(self, permutations: np.ndarray) -> np.ndarray:
        """Feature indices (group, size): relabelling atoms by permutation p turns x into x[p]."""


@dataclass(frozen=True)
class InverseDistances:
    """x_ij = 1/|r_i - r_j| over all pairs i > j, in the order of `np.tril_indices`.

    Source: Chmiela et al., Sci. Adv. 3, e1603015 (2017), eq. 11.

    Args:
        atoms: number of atoms, at least two.
    """

    atoms: int

    @property
    def size(self) -> int:
        """Number of pairs."""
        return self.atoms * (self.atoms - 1) // 2

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """The atoms i > j of each feature, (size,) each."""
        return np.tril_indices(self.atoms, -1)

    @cached_property
    def _feature_of(self) -> np.ndarray:
        """Feature of each ordered pair of atoms, (atoms, atoms); 0 on the diagonal."""
        table = np.zeros((self.atoms, self.atoms), dtype=np.intp)
        i, j = self.pairs
        table[i, j] = table[j, i] = np.arange(self.size)
        return table

    def linearise(self, positions: np.ndarray) -> tuple[np.ndarray, Pull]:
        """Features (batch, size) in 1/angstrom and the map w -> J^T w.

        Two atoms in one place make the features infinite and the forces NaN, which
        `potential.check` refuses.

        Args:
            positions: (batch, atoms, 3) in angstrom.
        """
        i, j = self.pairs
        apart = positions[:, i] - positions[:, j]
        with np.errstate(divide="ignore"):
            features = 1.0 / np.sqrt(np.einsum("bpx,bpx->bp", apart, apart))
        # Sums of differences of nearby numbers keep their digits only near the origin.
        centred = positions - positions.mean(axis=1, keepdims=True)

        def pull(weights: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore", over="ignore"):
                springs = (weights * features**3)[:, self._feature_of]
                springs[:, range(self.atoms), range(self.atoms)] = 0.0
                return springs @ centred - springs.sum(axis=2)[..., None] * centred

        return features, pull

    def jacobian(self, positions: np.ndarray) -> np.ndarray:
        """dx_ij/dr_i = -(r_i - r_j)/r^3 = -dx_ij/dr_j, as (batch, size, 3 atoms)."""
        i, j = self.pairs
        apart = positions[:, i] - positions[:, j]
        slope = apart / np.linalg.norm(apart, axis=2, keepdims=True) ** 3
        dense = np.zeros((len(positions), self.size, self.atoms, 3))
        feature = np.arange(self.size)
        dense[:, feature, i] = -slope
        dense[:, feature, j] = slope
        return dense.reshape(len(positions), self.size, 3 * self.atoms)

    def relabelled(self, permutations: np.ndarray) -> np.ndarray:
        """Feature indices (group, size) of atom permutations (group, atoms).

        The features of `positions[p]` are `features[relabelled([p])[0]]`.
        """
        i, j = self.pairs
        return self._feature_of[permutations[:, i], permutations[:, j]]


@dataclass(frozen=True, eq=False)
class RootDistances:
    """y = T sqrt(x): square roots of the inverse distances x, in a metric of their own.

    A kernel compares features by their distance. Plain inverse distances give short contacts
    the say; the metric T (see `metric.learn_metric`) weighs what the energy depends on.

    Args:
        base: the inverse distances.
        transform: T (size, size), symmetric; commutes with the relabellings of the group that
            the model is to have, so that these move y as they move x.
    """

    base: InverseDistances
    transform: np.ndarray

    @property
    def size(self) -> int:
        """Number of pairs."""
        return self.base.size

    def linearise(self, positions: np.ndarray) -> tuple[np.ndarray, Pull]:
        """Features (batch, size) in angstrom^(-1/2) and the map w -> J^T w."""
        inverse, pull = self.base.linearise(positions)
        root = np.sqrt(inverse)
        with np.errstate(invalid="ignore"):
            features = root @ self.transform

        def pull_root(weights: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore", over="ignore"):
                return pull(weights @ self.transform * (0.5 / root))

        return features, pull_root

    def jacobian(self, positions: np.ndarray) -> np.ndarray:
        """Derivatives of the features, (batch, size, 3 atoms)."""
        inverse, _ = self.base.linearise(positions)
        slope = 0.5 / np.sqrt(inverse)
        return self.transform @ (slope[:, :, None] * self.base.jacobian(positions))

    def relabelled(self, permutations: np.ndarray) -> np.ndarray:
        """Feature indices (group, size) of atom permutations, as those of the base."""
        return self.base.relabelled(permutations)
