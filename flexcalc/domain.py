"""How far from its training set the errors of a model are known."""

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
    """

    limit: float = 1.0
    distances: tuple[float, ...] = ()
    errors_eV_A: tuple[float, ...] = ()

    def contains(self, distances: np.ndarray) -> np.ndarray:
        """Whether geometries (batch,) at these distances belong to the domain."""
        return distances <= self.limit

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
