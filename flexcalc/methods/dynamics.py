"""Molecular dynamics of many replicas in one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from flexcalc.fields import NonNegative, Positive
from flexcalc.potential import Evaluation, Potential
from flexcalc.units import FS, KB


@dataclass(frozen=True, eq=False)
class DynamicsState:
    """Replicas in motion.

    Args:
        step: steps taken.
        positions: (batch, atoms, 3) in angstrom.
        momenta: (batch, atoms, 3) in amu angstrom per ASE time unit.
        evaluation: energies and forces at the positions.
        heat: (batch,) energy taken up from the thermostat so far, in eV.
    """

    step: int
    positions: np.ndarray
    momenta: np.ndarray
    evaluation: Evaluation
    heat: np.ndarray


def masses(numbers: np.ndarray) -> np.ndarray:
    """Standard atomic masses (atoms, 1) in amu."""
    from ase.data import atomic_masses

    return atomic_masses[np.asarray(numbers)][:, None]


def kinetic_energy(momenta: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Kinetic energies (batch,) in eV of momenta (batch, atoms, 3)."""
    return 0.5 * (momenta**2 / masses(numbers)).sum(axis=(1, 2))


def temperature(momenta: np.ndarray, numbers: np.ndarray, fixed: int = 0) -> np.ndarray:
    """Kinetic temperatures (batch,) in K, with `fixed` degrees of freedom without motion."""
    freedom = 3 * len(numbers) - fixed
    return 2 * kinetic_energy(momenta, numbers) / (freedom * KB)


def thermal_momenta(
    numbers: np.ndarray, temperature_K: float, batch: int, rng: Generator
) -> np.ndarray:
    """Momenta (batch, atoms, 3) from the Maxwell-Boltzmann distribution."""
    noise = rng.standard_normal((batch, len(numbers), 3))
    return noise * np.sqrt(masses(numbers) * KB * temperature_K)


def without_rigid_motion(
    momenta: np.ndarray, positions: np.ndarray, numbers: np.ndarray
) -> np.ndarray:
    """Momenta (batch, atoms, 3) less each molecule's drift and rotation."""
    weight = masses(numbers)
    momenta = momenta - weight * (momenta.sum(axis=1, keepdims=True) / weight.sum())
    arm = positions - (weight * positions).sum(axis=1, keepdims=True) / weight.sum()
    spin = np.cross(arm, momenta).sum(axis=1)
    square = (weight * (arm**2).sum(axis=2, keepdims=True)).sum(axis=1)[:, :, None] * np.eye(3)
    inertia = square - np.einsum("ac,bai,baj->bij", weight, arm, arm)
    # The pseudo-inverse leaves the axis of a linear molecule alone.
    rate = np.einsum("bij,bj->bi", np.linalg.pinv(inertia, rcond=1e-10, hermitian=True), spin)
    return momenta - weight * np.cross(rate[:, None, :], arm)


@dataclass(frozen=True, kw_only=True)
class VelocityVerlet:
    """Constant-energy dynamics; momenta start at a temperature, without drift or rotation.

    Source: Swope et al., J. Chem. Phys. 76, 637 (1982), doi:10.1063/1.442716.
    """

    kind: ClassVar[str] = "nve"
    fixed: ClassVar[int] = 6
    """Degrees of freedom without motion: drift and rotation."""

    timestep_fs: Positive = 0.5
    """Timestep in femtoseconds."""
    temperature_K: NonNegative = 300.0
    """Temperature of the first momenta, in kelvin."""

    def init(self, potential: Potential, positions: np.ndarray, rng: Generator) -> DynamicsState:
        """Start replicas from positions (batch, atoms, 3) in angstrom."""
        numbers = potential.numbers
        momenta = thermal_momenta(numbers, self.temperature_K, len(positions), rng)
        momenta = without_rigid_motion(momenta, positions, numbers)
        return DynamicsState(0, positions, momenta, potential(positions), np.zeros(len(positions)))

    def step(self, potential: Potential, state: DynamicsState, rng: Generator) -> DynamicsState:
        """Advance every replica by one timestep; one potential call for the batch."""
        h = self.timestep_fs * FS
        momenta = state.momenta + 0.5 * h * state.evaluation.forces
        positions = state.positions + h * momenta / masses(potential.numbers)
        evaluation = potential(positions)
        momenta = momenta + 0.5 * h * evaluation.forces
        return replace(
            state,
            step=state.step + 1,
            positions=positions,
            momenta=momenta,
            evaluation=evaluation,
        )


@dataclass(frozen=True, kw_only=True)
class Langevin:
    """Constant-temperature dynamics with the BAOAB splitting.

    Source: Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34-56,
    doi:10.1093/amrx/abs010.
    """

    kind: ClassVar[str] = "langevin"
    fixed: ClassVar[int] = 0
    """Degrees of freedom without motion: none, the bath moves the molecule as a whole too."""

    timestep_fs: Positive = 0.5
    """Timestep in femtoseconds."""
    temperature_K: Positive = 300.0
    """Temperature of the bath, in kelvin."""
    friction_per_ps: Positive = 1.0
    """Rate at which momenta forget, in 1/ps."""

    def init(self, potential: Potential, positions: np.ndarray, rng: Generator) -> DynamicsState:
        """Start replicas from positions (batch, atoms, 3) in angstrom, with thermal momenta."""
        momenta = thermal_momenta(potential.numbers, self.temperature_K, len(positions), rng)
        return DynamicsState(0, positions, momenta, potential(positions), np.zeros(len(positions)))

    def step(self, potential: Potential, state: DynamicsState, rng: Generator) -> DynamicsState:
        """Advance every replica by one timestep; one potential call for the batch.

        Args:
            potential: surface of the molecule, in eV and angstrom.
            state: positions, momenta and the evaluation there.
            rng: source of the thermal noise.

        Raises:
            ShapeError: the positions do not fit the molecule.
        """
        h = self.timestep_fs * FS
        numbers = potential.numbers
        mass = masses(numbers)
        momenta = state.momenta + 0.5 * h * state.evaluation.forces
        positions = state.positions + 0.5 * h * momenta / mass
        keep = np.exp(-self.friction_per_ps * 1e-3 * self.timestep_fs)
        noise = thermal_momenta(numbers, self.temperature_K, len(positions), rng)
        stirred = keep * momenta + np.sqrt(1 - keep**2) * noise
        heat = kinetic_energy(stirred, numbers) - kinetic_energy(momenta, numbers)
        positions = positions + 0.5 * h * stirred / mass
        evaluation = potential(positions)
        return DynamicsState(
            step=state.step + 1,
            positions=positions,
            momenta=stirred + 0.5 * h * evaluation.forces,
            evaluation=evaluation,
            heat=state.heat + heat,
        )


Dynamics = VelocityVerlet | Langevin


def conserved_energy(state: DynamicsState, numbers: np.ndarray) -> np.ndarray:
    """Energies (batch,) in eV that exact dynamics keeps: total less the thermostat's heat."""
    return state.evaluation.energies + kinetic_energy(state.momenta, numbers) - state.heat
