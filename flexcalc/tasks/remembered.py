"""Evaluations of a reference that a run keeps until it is complete.

Between its checkpoints, a search repeats the work of an interrupted run: the relaxation of ends,
steps to the saddle, a Hessian. With this it comes by the same way to the same geometries, and a
reference that takes minutes for each of them is not asked twice.
"""

from __future__ import annotations

import base64
import binascii

import numpy as np

from flexcalc.errors import FileFormatError
from flexcalc.potential import CheckedPotential, Evaluation, Potential
from flexcalc.store import UNFINISHED, Store

RELABELLED_LOG = "relabelled.log"
"""Of the evaluations of the reference that a run is checked with."""


class Remembered(CheckedPotential):
    """A reference with the evaluations of an interrupted run.

    Args:
        reference: to evaluate new geometries.
        store: of the run, in a folder.
        name: of the log, a line for each geometry: positions, energy and forces as the base64 of
            their doubles.

    Raises:
        FileFormatError: the log is damaged.
    """

    def __init__(self, reference: Potential, store: Store, name: str):
        self.numbers, self.reference = reference.numbers, reference
        self._part, self._name = store.within(UNFINISHED), name
        self._known: dict[bytes, np.ndarray] = {}
        size = 3 * len(self.numbers)
        for line in self._lines():
            try:
                row = np.frombuffer(base64.b64decode(line, validate=True))
            except (binascii.Error, ValueError):
                row = np.zeros(0)
            if len(row) != 2 * size + 1:
                raise FileFormatError(
                    f"{self._part.where(name)}: damaged; without it its geometries are evaluated "
                    "again"
                )
            self._known[row[:size].tobytes()] = row[size:]

    def _lines(self) -> list[bytes]:
        """Those of the log; none is made as long as nothing has been evaluated."""
        if self._part.get(self._name) is None:
            return []
        self._part.lines(self._name)  # removes a line that was cut off
        return bytes(self._part.get(self._name)).splitlines()

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of positions (batch, atoms, 3); new ones are kept on disk."""
        for place in positions:
            if place.tobytes() not in self._known:
                self._keep(place)
        rows = np.array([self._known[place.tobytes()] for place in positions])
        rows = rows.reshape(len(positions), 1 + 3 * len(self.numbers))
        return Evaluation(rows[:, 0].copy(), rows[:, 1:].reshape(positions.shape))

    def _keep(self, place: np.ndarray) -> None:
        """Evaluate a geometry (atoms, 3): each on its own, or a batch would be lost half-way."""
        found = self.reference(place[None])
        row = np.concatenate([place.ravel(), found.energies, found.forces.ravel()])
        self._known[place.tobytes()] = row[place.size :]
        self._part.lines(self._name).extend([base64.b64encode(row.tobytes()) + b"\n"])


def remembered[P: Potential | None](
    potential: P, store: Store, name: str = "evaluations.log"
) -> P | Remembered:
    """A potential whose evaluations are kept until the run is complete, if they are expensive.

    Nothing is kept where the store is in memory.
    """
    if potential is None or not getattr(potential, "expensive", False):
        return potential
    if store.unfinished(name) is None:
        return potential
    return Remembered(potential, store, name)
