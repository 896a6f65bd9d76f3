"""A potential's distance to its training data, asked now and then while it is called."""

from __future__ import annotations

from typing import Any

import numpy as np

from flexcalc.domain import Domain, domain_of
from flexcalc.potential import distances_of

JUMP_A = 0.3
"""Move of an atom in angstrom after which a distance is measured in any case."""


class DomainWarning(UserWarning):
    """A geometry is outside the training data of the model."""


class DomainWatch:
    """Measures the distance of some of the geometries that a potential is called with.

    With sGDML a distance costs about a quarter of an evaluation, so that it is measured at every
    `every`-th call only.

    Args:
        potential: that is called.
        every: calls between two measurements.
        jumps: also measure where an atom has moved far since the last measurement; not for beads
            and replicas, which come in turn.
    """

    def __init__(self, potential: Any, every: int, *, jumps: bool = False):
        self.potential, self.every, self.jumps = potential, every, jumps
        self.domain: Domain | None = domain_of(potential)
        self.calls = self.measured = self.outside = 0
        self.largest = 0.0
        self._last: np.ndarray | None = None

    def __call__(self, positions: np.ndarray, energies_eV: np.ndarray) -> np.ndarray | None:
        """Distances (batch,) of a batch (batch, atoms, 3) in angstrom, or None: not measured."""
        due = self.calls % self.every == 0 or self._has_jumped(positions)
        self.calls += 1
        return self.measure(positions, energies_eV) if due else None

    def measure(self, positions: np.ndarray, energies_eV: np.ndarray) -> np.ndarray | None:
        """Distances (batch,) of a batch with energies (batch,) in eV; None where the potential has
        no domain."""
        found = distances_of(self.potential, positions, energies_eV)
        if self.domain is None or found is None:
            return None
        self._last = positions.copy() if self.jumps else None
        self.measured += len(found)
        self.outside += int((~self.domain.contains(found)).sum())
        self.largest = max(self.largest, float(found.max()))
        return found

    def _has_jumped(self, positions: np.ndarray) -> bool:
        if not self.jumps or self._last is None:
            return False
        return float(np.abs(positions - self._last).max()) > JUMP_A
