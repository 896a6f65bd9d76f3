"""Counts of the geometries that a search evaluates, by phase."""

from __future__ import annotations

from flexcalc.potential import Counted, Potential
from flexcalc.results.evaluations import PHASES, Evaluations, added

REFERENCE = "reference"
"""Phase of the evaluations of the reference."""


class Tally:
    """Counts what potentials evaluate, in phases with the names of `Evaluations`."""

    def __init__(self) -> None:
        self._counted: dict[str, Counted] = {}
        self._before: list[Evaluations] = []

    def of(self, phase: str, potential: Potential) -> Counted:
        """The potential with its evaluations counted in a phase."""
        before = self._counted.get(phase)
        if before is None or before.inner is not potential:
            known = 0 if before is None else before.geometries
            self._counted[phase] = Counted(potential, known)
        return self._counted[phase]

    def include(self, evaluations: Evaluations | None) -> None:
        """Count what an earlier attempt has cost too."""
        if evaluations is not None:
            self._before.append(evaluations)

    def found(self) -> Evaluations:
        """What has been counted so far."""
        counts = {phase: one.geometries for phase, one in self._counted.items()}
        counted = Evaluations(total=sum(counts.get(phase, 0) for phase in PHASES), **counts)
        return added([counted, *self._before]) or counted
