"""Dynamics under a bias potential: the state and the updates common to all biases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from flexcalc.methods.dynamics import DynamicsState
from flexcalc.methods.dynamics.state import AroundDynamics
from flexcalc.potential import Evaluation, Potential


class Thermostatted(Protocol):
    """Dynamics with a thermostat, to which a bias is added."""

    @property
    def temperature_K(self) -> float: ...

    def init(
        self, potential: Potential, positions: np.ndarray, rng: Generator
    ) -> DynamicsState: ...

    def step(self, potential: Potential, state: DynamicsState, rng: Generator) -> DynamicsState: ...


@dataclass(frozen=True, eq=False)
class BiasedState(AroundDynamics):
    """Replicas under a bias; their dynamics has energies and forces of the sum of model and bias.

    Args:
        evaluation: energies and forces of the model alone.
        bias: (batch,) energies of the bias at these positions when they were reached, in eV.
    """

    evaluation: Evaluation
    bias: np.ndarray


class LastEvaluation:
    """A potential that stores its last evaluation, as dynamics stores only that of the sum."""

    def __init__(self, potential: Potential):
        self.potential, self.numbers = potential, potential.numbers
        self.last: Evaluation

    def __call__(self, positions: ArrayLike) -> Evaluation:
        self.last = self.potential(positions)
        return self.last


def update_bias(dynamics: DynamicsState, before: Evaluation, after: Evaluation) -> DynamicsState:
    """Update the evaluation of replicas after their bias has changed.

    The difference is added to the evaluation from which the next step starts, because its first
    half-kick would use old forces otherwise. The change of energy is counted as heat, so that the
    conserved energy stays conserved.

    Args:
        dynamics: with the old bias in its evaluation.
        before, after: the old and the new bias at these positions.
    """
    gained = after.energies - before.energies
    evaluation = replace(
        dynamics.evaluation,
        energies=dynamics.evaluation.energies + gained,
        forces=dynamics.evaluation.forces + (after.forces - before.forces),
    )
    return replace(dynamics, evaluation=evaluation, heat=dynamics.heat + gained)
