"""What dynamics under a bias has in common, whatever the bias is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from flexcalc.methods.dynamics import DynamicsState
from flexcalc.potential import Evaluation, Potential


class Thermostatted(Protocol):
    """Dynamics at a temperature: what biased dynamics is made on top of."""

    @property
    def temperature_K(self) -> float: ...

    def init(
        self, potential: Potential, positions: np.ndarray, rng: Generator
    ) -> DynamicsState: ...

    def step(self, potential: Potential, state: DynamicsState, rng: Generator) -> DynamicsState: ...


@dataclass(frozen=True, eq=False)
class BiasedState:
    """Replicas in motion under a bias.

    Args:
        dynamics: the replicas, with energies and forces of model and bias together.
        evaluation: the model's own energies and forces at their positions.
        bias: (batch,) in eV, what the bias was at the positions when they were reached.
    """

    dynamics: DynamicsState
    evaluation: Evaluation
    bias: np.ndarray

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.dynamics.step

    @property
    def positions(self) -> np.ndarray:
        """Positions (batch, atoms, 3) in angstrom."""
        return self.dynamics.positions

    @property
    def momenta(self) -> np.ndarray:
        """Momenta (batch, atoms, 3) in amu angstrom per ASE time unit."""
        return self.dynamics.momenta


class Kept:
    """A potential that remembers its last evaluation, which the dynamics keeps only in a sum."""

    def __init__(self, potential: Potential):
        self.potential, self.numbers = potential, potential.numbers
        self.last: Evaluation

    def __call__(self, positions: ArrayLike) -> Evaluation:
        self.last = self.potential(positions)
        return self.last


def rebiased(dynamics: DynamicsState, before: Evaluation, after: Evaluation) -> DynamicsState:
    """Replicas whose bias has changed where they stand.

    The evaluation that the next step starts from gets the difference, or its first half-kick
    would be stale. The energy is booked as heat, so that what dynamics conserves still is.

    Args:
        dynamics: with the old bias in its evaluation.
        before, after: the old and the new bias at its positions.
    """
    gained = after.energies - before.energies
    evaluation = replace(
        dynamics.evaluation,
        energies=dynamics.evaluation.energies + gained,
        forces=dynamics.evaluation.forces + (after.forces - before.forces),
    )
    return replace(dynamics, evaluation=evaluation, heat=dynamics.heat + gained)
