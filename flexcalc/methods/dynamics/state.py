"""State of molecular dynamics, and its energies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flexcalc.masses import atomic_masses
from flexcalc.potential import Evaluation
from flexcalc.units import KB


@dataclass(frozen=True, eq=False)
class DynamicsState:
    """Positions and momenta of all replicas.

    Args:
        step: steps taken.
        positions: (batch, atoms, 3) in angstrom.
        momenta: (batch, atoms, 3) in amu angstrom per ASE time unit.
        evaluation: energies and forces at the positions.
        heat: (batch,) energy received from the thermostat so far, in eV.
        keys: (batch, 2) of uint64, each replica's stream of random numbers (`noise.py`).
        chain: (batch, 2, length), positions and velocities of a Nose-Hoover chain; of length
            zero without one.
    """

    step: int
    positions: np.ndarray
    momenta: np.ndarray
    evaluation: Evaluation
    heat: np.ndarray
    keys: np.ndarray
    chain: np.ndarray


@dataclass(frozen=True, eq=False)
class AroundDynamics:
    """A state of replicas with more than their dynamics.

    Args:
        dynamics: the replicas.
    """

    dynamics: DynamicsState

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


def masses(numbers: np.ndarray, own: Sequence[float] = ()) -> np.ndarray:
    """Atomic masses (atoms, 1) in amu: those of `own`, or standard ones if it is empty."""
    return atomic_masses(numbers, own)[:, None]


def kinetic_energy(
    momenta: np.ndarray, numbers: np.ndarray, own: Sequence[float] = ()
) -> np.ndarray:
    """Kinetic energies (batch,) in eV of momenta (batch, atoms, 3); `own` as in `masses`."""
    # One flat axis is summed in the same order for every batch, to the last bit.
    squares = (momenta**2 / masses(numbers, own)).reshape(len(momenta), -1)
    return 0.5 * np.add.reduce(squares, axis=1)


def temperature(
    momenta: np.ndarray, numbers: np.ndarray, fixed: int = 0, own: Sequence[float] = ()
) -> np.ndarray:
    """Kinetic temperatures (batch,) in K, with `fixed` frozen degrees of freedom.

    `Integrator.temperature` knows their number and the masses.
    """
    freedom = 3 * len(numbers) - fixed
    return 2 * kinetic_energy(momenta, numbers, own) / (freedom * KB)


def conserved_energy(
    state: DynamicsState, numbers: np.ndarray, own: Sequence[float] = ()
) -> np.ndarray:
    """Conserved energies (batch,) in eV: total energy minus the heat from the thermostat."""
    return state.evaluation.energies + kinetic_energy(state.momenta, numbers, own) - state.heat
