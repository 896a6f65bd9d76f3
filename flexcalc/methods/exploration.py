"""Exploration of a surface by many replicas, each of which ends where the model is unsure."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from flexcalc.methods.crash import KINDS, Crash, CrashState, Fault, Moves
from flexcalc.methods.dynamics import DynamicsState
from flexcalc.methods.guard import rms_deviation
from flexcalc.methods.umbrella import Line, Springs
from flexcalc.potential import Evaluation, Potential, Sum

UNSURE = len(KINDS)
"""Kind of an end that is no failure: the model does not know the region."""


@dataclass(frozen=True, eq=False)
class Drive:
    """Restraints that pull replicas along coordinates in the first half of a run and then hold.

    Args:
        lines: the d coordinates with their force constants.
        begun: (replicas, d) values at the start, in the coordinates' units.
        targets: (replicas, d) values that are reached and held; not-a-number where a replica is
            free along a coordinate.
    """

    lines: tuple[Line, ...]
    begun: np.ndarray
    targets: np.ndarray

    def springs(self, numbers: np.ndarray, who: np.ndarray, share: float) -> Springs:
        """The restraints of replicas (rows,) after a share of the run."""
        left = max(0.0, 1 - 2 * share)
        targets, begun = self.targets[who], self.begun[who]
        away = [line.gaps(begun[:, n], targets[:, n]) for n, line in enumerate(self.lines)]
        return Springs(numbers, self.lines, targets + left * np.stack(away, axis=1))


@dataclass(frozen=True)
class Driven:
    """Dynamics with restraints added.

    Args:
        dynamics: of the replicas.
        springs: a restraint for each.
    """

    dynamics: Moves
    springs: Springs

    def init(self, potential: Potential, positions: np.ndarray, rng: Generator) -> DynamicsState:
        """See `Integrator.init`; energies and forces are those of the sum."""
        return self.dynamics.init(Sum(potential, self.springs), positions, rng)

    def step(self, potential: Potential, state: DynamicsState, rng: Generator) -> DynamicsState:
        """See `Integrator.step`; energies and forces are those of the sum."""
        return self.dynamics.step(Sum(potential, self.springs), state, rng)


@dataclass(frozen=True, eq=False)
class Exploration(Crash):
    """Dynamics of replicas at several temperatures on a model that knows its uncertainty.

    A replica that breaks a bond, gets a close contact, or whose deviation exceeds a bound is
    removed, and the others continue.

    Args:
        max_deviation_eV_A: bound on the root mean square over the atoms of the deviation of the
            forces, in eV/angstrom; infinite for a potential that is no committee.
        drive: pulls some of the replicas along coordinates.
    """

    max_deviation_eV_A: float = field(default=np.inf)
    drive: Drive | None = field(default=None)

    def _dynamics(self, who: np.ndarray, step: int) -> Moves:
        dynamics = super()._dynamics(who, step)
        if self.drive is None:
            return dynamics
        return Driven(dynamics, self.drive.springs(self.numbers, who, step / self.steps))

    def energies(self, state: CrashState) -> np.ndarray:
        """Energies (intact,) of the intact replicas without restraints, in eV."""
        found = state.moving.evaluation.energies
        if self.drive is None:
            return found
        springs = self.drive.springs(self.numbers, state.alive, state.step / self.steps)
        return found - springs(state.moving.positions).energies

    def further_faults(self, moving: DynamicsState) -> list[Fault]:
        """Replicas whose deviation exceeds the bound; without a bound the potential has none."""
        if np.isinf(self.max_deviation_eV_A):
            return []
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
