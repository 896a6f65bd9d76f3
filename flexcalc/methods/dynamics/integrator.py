"""One step of dynamics: half a kick, half a drift, the bath, half a drift, half a kick."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator

from flexcalc.errors import InputError, NonFiniteError
from flexcalc.fields import Masses, NonNegative, Timestep
from flexcalc.methods.dynamics import noise
from flexcalc.methods.dynamics.momenta import rigid_freedom, scaled, without_rigid_motion
from flexcalc.methods.dynamics.state import (
    DynamicsState,
    conserved_energy,
    kinetic_energy,
    masses,
    temperature,
)
from flexcalc.potential import Potential
from flexcalc.units import FS

RigidMotion = Literal["free", "removed at start", "removed"]
"""Treatment of drift and rotation of the whole molecule."""


@dataclass(frozen=True, kw_only=True)
class Integrator:
    """The splitting that all methods share, with the thermostat in the middle of the step.

    With the thermostat in the middle, the sampled positions are orders of magnitude more accurate
    than those of splittings with the thermostat at the ends; for a harmonic oscillator they are
    exact. In return, momenta at whole steps are slightly cold: by the fraction
    (omega timestep / 2)^2 of the temperature of a vibration of angular frequency omega, which is
    0.6 % on average for a molecule with C-H bonds at 0.5 fs.

    Source: Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34-56, doi:10.1093/amrx/abs010
    (BAOAB); for other thermostats
    Zhang et al., J. Chem. Phys. 147, 034109 (2017), doi:10.1063/1.4991621.
    """

    timestep_fs: Timestep = 0.5
    """Timestep in femtoseconds."""
    temperature_K: NonNegative = 300.0
    """Temperature of the initial momenta, in kelvin."""
    rigid_motion: RigidMotion = "removed at start"
    """Drift and rotation of the whole molecule: `free`, `removed at start` from the initial
    momenta, or `removed` at every step."""

    masses: Masses = ()

    chain_length: ClassVar[int] = 0

    def fixed(self, numbers: np.ndarray) -> int:
        """Number of frozen degrees of freedom, for the temperature."""
        return 0 if self.rigid_motion == "free" else rigid_freedom(len(numbers))

    @property
    def energy_relaxation_fs(self) -> float | None:
        """Time in fs in which a thermostat lets the energy of a molecule forget its start, about;
        None without one."""
        return None

    def kinetic_energy(self, momenta: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Kinetic energies (batch,) in eV of momenta (batch, atoms, 3), with these masses."""
        return kinetic_energy(momenta, numbers, self.masses)

    def temperature(self, momenta: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Kinetic temperatures (batch,) in K of the degrees of freedom that move."""
        return temperature(momenta, numbers, self.fixed(numbers), self.masses)

    def conserved_energy(self, state: DynamicsState, numbers: np.ndarray) -> np.ndarray:
        """Conserved energies (batch,) in eV."""
        return conserved_energy(state, numbers, self.masses)

    def target_K(self, step: int, batch: int) -> np.ndarray:
        """Target temperatures (batch,) in K of the step after `step` steps."""
        return np.full(batch, self.temperature_K)

    def init(self, potential: Potential, positions: np.ndarray, rng: Generator) -> DynamicsState:
        """Start replicas with thermal momenta.

        Args:
            potential: surface of the molecule, in eV and angstrom.
            positions: (batch, atoms, 3) in angstrom.
            rng: gives each replica the key of its own stream of random numbers; the first
                replicas of a larger batch get the keys of a smaller one.

        Raises:
            InputError: no degree of freedom is left, as of a single atom without drift.
            ShapeError: the positions do not fit the molecule.
        """
        numbers, batch = potential.numbers, len(positions)
        if 3 * len(numbers) == self.fixed(numbers):
            raise InputError(
                f'rigid_motion: a single atom has no motion but its drift; set it to "free", not '
                f'"{self.rigid_motion}", or use langevin'
            )
        keys = noise.draw_keys(rng, batch)
        normal = noise.first_normal(keys, 3 * len(numbers)).reshape(np.shape(positions))
        momenta = scaled(normal, numbers, self.target_K(0, batch), self.masses)
        if self.rigid_motion != "free":
            momenta = without_rigid_motion(momenta, positions, numbers, self.masses)
        return DynamicsState(
            step=0,
            positions=positions,
            momenta=momenta,
            evaluation=potential(positions),
            heat=np.zeros(batch),
            keys=keys,
            chain=np.zeros((batch, 2, self.chain_length)),
        )

    def step(self, potential: Potential, state: DynamicsState, rng: Generator) -> DynamicsState:
        """Advance every replica by one timestep; one potential call for the batch.

        Args:
            potential: surface of the molecule, in eV and angstrom.
            state: positions, momenta and the evaluation there.
            rng: not used; noise comes from each replica's own stream.

        Raises:
            ShapeError: the positions do not fit the molecule.
            NonFiniteError: an energy, a force or a position is not finite.
        """
        h, numbers = self.timestep_fs * FS, potential.numbers
        drift = 0.5 * h / masses(numbers, self.masses)
        momenta = state.momenta + 0.5 * h * state.evaluation.forces
        positions = state.positions + drift * momenta
        momenta, heat, chain = self.apply_thermostat(state, momenta, numbers)
        if self.rigid_motion == "removed":
            kept = without_rigid_motion(momenta, positions, numbers, self.masses)
            heat = heat + self.kinetic_energy(kept, numbers) - self.kinetic_energy(momenta, numbers)
            momenta = kept
        positions = _finite(positions + drift * momenta, state)
        evaluation = potential(positions)
        return replace(
            state,
            step=state.step + 1,
            positions=positions,
            momenta=momenta + 0.5 * h * evaluation.forces,
            evaluation=evaluation,
            heat=state.heat + heat,
            chain=chain,
        )

    def apply_thermostat(
        self, state: DynamicsState, momenta: np.ndarray, numbers: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Apply the thermostat in the middle of a step; without one, the momenta are unchanged.

        Args:
            state: at the beginning of the step.
            momenta: (batch, atoms, 3) at its middle.
            numbers: (atoms,) atomic numbers.

        Returns:
            Momenta, the heat (batch,) in eV that the replicas received, and the Nose-Hoover chain.
        """
        return momenta, np.zeros(len(momenta)), state.chain


def _finite(positions: np.ndarray, state: DynamicsState) -> np.ndarray:
    """Check that positions are finite; the error has the last finite geometries.

    Raises:
        NonFiniteError: a replica has diverged.
    """
    if np.isfinite(positions).all():
        return positions
    rows = np.flatnonzero(~np.isfinite(positions).all(axis=(1, 2)))
    raise NonFiniteError(
        f"positions of batch row {rows[0]} are not finite",
        "not finite",
        rows,
        state.positions[rows],
    )


@dataclass(frozen=True, kw_only=True)
class NVE(Integrator):
    """Constant-energy dynamics (NVE), with thermal initial momenta.

    Source: Swope et al., J. Chem. Phys. 76, 637 (1982), doi:10.1063/1.442716.
    """

    kind: ClassVar[str] = "nve"
