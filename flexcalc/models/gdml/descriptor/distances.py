"""Inverse distances, plain and in a learned metric."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flexcalc.models.gdml.descriptor.interface import Linearised
from flexcalc.models.gdml.descriptor.internal import InternalCoordinates


class InverseDistances(InternalCoordinates):
    """x_ij = 1/|r_i - r_j| in 1/angstrom, over all pairs of atoms or some.

    Source: Chmiela et al., Sci. Adv. 3, e1603015 (2017), eq. 11; fewer pairs: Kabylda et al.,
    Nat. Commun. 14, 3562 (2023).

    Args:
        atoms: number of atoms, at least two.
        pairs: (size, 2); None for all with i > j, in the order of `np.tril_indices`.

    Raises:
        InputError: a pair twice, none, or atoms that are not different atoms of the molecule.
    """

    kind, key, width = "distance", "pairs", 2

    def __init__(self, atoms: int, pairs: np.ndarray | None = None):
        super().__init__(atoms, _all_pairs(atoms) if pairs is None else pairs)

    @cached_property
    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The two atoms of each feature, (size,) each."""
        return self.members[:, 0].copy(), self.members[:, 1].copy()

    @cached_property
    def _feature_of(self) -> np.ndarray:
        """Feature of each ordered pair of atoms, (atoms, atoms); 0 where there is none."""
        table = np.zeros((self.atoms, self.atoms), dtype=np.intp)
        i, j = self._ends
        table[i, j] = table[j, i] = np.arange(self.size)
        return table

    @cached_property
    def _without(self) -> tuple[np.ndarray, np.ndarray]:
        """Ordered pairs of atoms that have no feature, the diagonal among them."""
        i, j = self._ends
        absent = np.ones((self.atoms, self.atoms), dtype=bool)
        absent[i, j] = absent[j, i] = False
        rows, columns = np.nonzero(absent)
        return rows, columns

    def linearise(self, positions: np.ndarray) -> Linearised:
        """Features in 1/angstrom and the maps w -> J^T w and v -> J v.

        Two atoms in one place make the features infinite and the forces NaN, which
        `potential.check` refuses.

        Args:
            positions: (batch, atoms, 3) in angstrom.
        """
        apart = self._apart(positions)
        with np.errstate(divide="ignore"):
            features = 1.0 / np.sqrt((apart * apart).sum(axis=0))
        # Sums of differences of nearby numbers keep their digits only near the origin.
        centred = positions - positions.mean(axis=1, keepdims=True)
        rows, columns = self._without

        def pull(weights: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore", over="ignore"):
                springs = (weights * (features * features * features))[:, self._feature_of]
                springs[:, rows, columns] = 0.0
                return springs @ centred - springs.sum(axis=2)[..., None] * centred

        def push(motions: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore", over="ignore"):
                along = (apart * self._apart(motions)).sum(axis=0)
                return -(features * features * features) * along

        return Linearised(features, pull, push)

    def jacobian(self, positions: np.ndarray) -> np.ndarray:
        """dx_ij/dr_i = -(r_i - r_j)/r^3 = -dx_ij/dr_j, as (batch, size, 3 atoms)."""
        i, j = self._ends
        apart = positions[:, i] - positions[:, j]
        slope = apart / np.linalg.norm(apart, axis=2, keepdims=True) ** 3
        dense = np.zeros((len(positions), self.size, self.atoms, 3))
        feature = np.arange(self.size)
        dense[:, feature, i] = -slope
        dense[:, feature, j] = slope
        return dense.reshape(len(positions), self.size, 3 * self.atoms)

    def arrays(self) -> dict[str, np.ndarray]:
        """The pairs; nothing where all are there in their usual order, as in older models."""
        if np.array_equal(self.members, _all_pairs(self.atoms)):
            return {}
        return super().arrays()


@dataclass(frozen=True, eq=False)
class RootDistances:
    """y = T sqrt(x): square roots of the inverse distances x, in a learned metric.

    A kernel compares features by their distance. With plain inverse distances, short contacts
    dominate; the metric T (see `metric.learn_metric`) weights features by how much the energy
    depends on them.

    Args:
        base: the inverse distances, all or some.
        transform: T (size, size), symmetric; commutes with the permutations of the symmetry
            group, so that they act on y as on x.
    """

    base: InverseDistances
    transform: np.ndarray

    @property
    def atoms(self) -> int:
        """Number of atoms."""
        return self.base.atoms

    @property
    def size(self) -> int:
        """Number of pairs."""
        return self.base.size

    @property
    def names(self) -> tuple[str, ...]:
        """The distance that each feature stands for, others being mixed in."""
        return self.base.names

    @property
    def atoms_of(self) -> tuple[tuple[int, ...], ...]:
        """The atoms of these distances."""
        return self.base.atoms_of

    def linearise(self, positions: np.ndarray) -> Linearised:
        """Features in angstrom^(-1/2) and the maps w -> J^T w and v -> J v."""
        inverse = self.base.linearise(positions)
        root = np.sqrt(inverse.features)
        with np.errstate(invalid="ignore"):
            features = root @ self.transform

        def pull(weights: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore", over="ignore"):
                return inverse.pull(weights @ self.transform * (0.5 / root))

        def push(motions: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore", over="ignore"):
                return (inverse.push(motions) * (0.5 / root)) @ self.transform

        return Linearised(features, pull, push)

    def jacobian(self, positions: np.ndarray) -> np.ndarray:
        """Derivatives of the features, (batch, size, 3 atoms)."""
        slope = 0.5 / np.sqrt(self.base.linearise(positions).features)
        return self.transform @ (slope[:, :, None] * self.base.jacobian(positions))

    def closed_under(self, permutations: np.ndarray) -> np.ndarray:
        """Which permutations only exchange the features, as for the base."""
        return self.base.closed_under(permutations)

    def relabelled(self, permutations: np.ndarray) -> np.ndarray:
        """Feature indices (group, size) of atom permutations, as those of the base."""
        return self.base.relabelled(permutations)

    def arrays(self) -> dict[str, np.ndarray]:
        """Those of the base, and `transform`."""
        return self.base.arrays() | {"transform": self.transform}


def _all_pairs(atoms: int) -> np.ndarray:
    return np.column_stack(np.tril_indices(atoms, -1))
