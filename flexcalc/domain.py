"""How far from its training set the errors of a model are known.

A geometry can be close to training points and yet hotter than all of them: every bond a little too
long. Its energy tells, which distances between geometries do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

TOLERATED_SHARE = 0.02
"""Share of frames that may be outside: the limit is that of almost all frames of the kind that a
model was trained on, not of every one."""


@dataclass(frozen=True)
class Domain:
    """Error of a model's forces against the distance to its training set.

    Distances are those of `potential.CheckedPotential.distance`: to the nearest training point, in
    multiples of the largest nearest-neighbour distance within the training set.

    Args:
        limit: distance up to which geometries belong to the domain.
        distances: (knots,) increasing; empty for a model that was not calibrated.
        errors_eV_A: (knots,) expected root-mean-square error of the force components at the
            distances, in eV/angstrom; never decreasing.
        energies_eV: the lowest training energy, and the energy up to which geometries belong to the
            domain, in eV; None for a model that does not know them.
    """

    limit: float = 1.0
    distances: tuple[float, ...] = ()
    errors_eV_A: tuple[float, ...] = ()
    energies_eV: tuple[float, float] | None = None

    def contains(self, distances: np.ndarray) -> np.ndarray:
        """Whether geometries (batch,) at these distances belong to the domain."""
        return distances <= self.limit

    def with_energies(self, distances: np.ndarray, energies_eV: np.ndarray) -> np.ndarray:
        """Distances (batch,) that are beyond the limit for energies above those of the domain.

        In a harmonic well the distance from the minimum grows with the square root of the energy.
        So does the distance that an energy stands for: it is the limit where the domain ends.

        Args:
            distances: (batch,) between geometries.
            energies_eV: (batch,) of the model, in eV.
        """
        if self.energies_eV is None:
            return distances
        lowest, end = self.energies_eV
        reach = np.sqrt(np.maximum((energies_eV - lowest) / (end - lowest), 0))
        return np.where(reach > 1, np.maximum(distances, self.limit * reach), distances)

    def expected_errors(self, distances: np.ndarray) -> np.ndarray | None:
        """Expected errors (batch,) in eV/angstrom; beyond the last knot they are lower bounds.

        None for a model that was not calibrated.
        """
        if not self.distances:
            return None
        return np.interp(distances, self.distances, self.errors_eV_A)


def domain_of(potential: Any) -> Domain | None:
    """The domain of a potential; None for one that has none, such as a reference method."""
    return getattr(potential, "domain", None)
