"""Exploration of a surface by many replicas, each of which ends where the model is unsure."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from flexcalc.methods.crash import KINDS, Crash, Fault
from flexcalc.methods.dynamics import DynamicsState
from flexcalc.methods.guard import rms_deviation
from flexcalc.potential import Evaluation

UNSURE = len(KINDS)
"""Kind of an end that is no failure: the model does not know the region."""


@dataclass(frozen=True, eq=False)
class Exploration(Crash):
    """Dynamics of replicas at several temperatures on a model that knows its uncertainty.

    A replica that breaks a bond, gets a close contact, or whose deviation exceeds a bound is
    removed, and the others continue.

    Args:
        max_deviation_eV_A: bound on the root mean square over the atoms of the deviation of the
            forces, in eV/angstrom.
    """

    max_deviation_eV_A: float = field(default=np.inf)

    def further_faults(self, moving: DynamicsState) -> list[Fault]:
        """Replicas whose deviation exceeds the bound."""
        found = deviation_of(moving.evaluation)
        return [Fault(int(row), UNSURE) for row in np.flatnonzero(found > self.max_deviation_eV_A)]


def deviation_of(evaluation: Evaluation) -> np.ndarray:
    """Root mean square (batch,) over the atoms of the deviation of a committee's forces, eV/A.

    Raises:
        ValueError: the potential is no committee.
    """
    if evaluation.deviation is None:
        raise ValueError("expected the evaluation of a committee")
    return rms_deviation(evaluation.deviation)
