"""Nose-Hoover chain thermostats."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator

from flexcalc.fields import Femtoseconds
from flexcalc.methods.dynamics import noise
from flexcalc.methods.dynamics.bath import Bath
from flexcalc.methods.dynamics.state import DynamicsState
from flexcalc.potential import Potential
from flexcalc.units import FS, KB

SUZUKI_YOSHIDA = np.array([1.0, -(2 ** (1 / 3)), 1.0]) / (2 - 2 ** (1 / 3))
"""Weights of the three substeps that make the integration of the chain fourth-order."""


@dataclass(frozen=True, kw_only=True)
class NoseHoover(Bath):
    """Constant-temperature dynamics without noise, by a chain of thermostats in each replica.

    The first thermostat, of mass Q_1 = n kT relaxation^2 for n degrees of freedom, scales the
    momenta; each further one, of mass kT relaxation^2, scales the one before. The conserved
    quantity is

        E + sum_j Q_j v_j^2 / 2 + n kT x_1 + sum_(j > 1) kT x_j

    for the positions x_j and velocities v_j of the thermostats. Drift and rotation cannot be
    thermalised by it and are always removed. For a small or stiff molecule prefer `rescaling` or
    `langevin`: without noise the dynamics may not be ergodic.

    Source: Martyna, Klein, Tuckerman, J. Chem. Phys. 97, 2635 (1992), doi:10.1063/1.463940;
    Martyna, Tuckerman, Tobias, Klein, Mol. Phys. 87, 1117 (1996), doi:10.1080/00268979600100761,
    eqs. 28-31; here in the middle of the step (see `Integrator`).
    """

    kind: ClassVar[str] = "nose-hoover"
    chain_length: ClassVar[int] = 3

    rigid_motion: Literal["removed at start", "removed"] = "removed at start"
    """Drift and rotation of the whole molecule, which the chain conserves:
    `removed at start`, or `removed` at every step."""
    relaxation_fs: Femtoseconds = 50.0
    """Relaxation time of the thermostat chain, in femtoseconds."""

    @property
    def energy_relaxation_fs(self) -> float:
        """See `Integrator`: without noise, it takes several oscillations of the chain."""
        return 10 * self.relaxation_fs

    def init(self, potential: Potential, positions: np.ndarray, rng: Generator) -> DynamicsState:
        """Start replicas, and their chains, with thermal momenta; see `Integrator.init`."""
        state = super().init(potential, positions, rng)
        kT = KB * self.target_K(0, len(state.heat))
        chain = self._chain(state.chain, kT, potential.numbers)
        thermal = noise.first_normal(state.keys, self.chain_length, noise.CHAIN).T
        speed = thermal * np.sqrt(kT / chain.inertia)
        return replace(state, chain=_packed(chain.place, speed))

    def _chain(self, chain: np.ndarray, kT: np.ndarray, numbers: np.ndarray) -> _Chain:
        freedom = 3 * len(numbers) - self.fixed(numbers)
        place, speed = chain.transpose(1, 2, 0).copy()
        return _Chain(place, speed, kT, freedom, self.relaxation_fs * FS)

    def apply_thermostat(
        self, state: DynamicsState, momenta: np.ndarray, numbers: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Advance the chain by a timestep, and scale the momenta accordingly."""
        chain = self._chain(state.chain, KB * self.target_K(state.step, len(momenta)), numbers)
        kinetic, before = self.kinetic_energy(momenta, numbers), chain.energy()
        scale = np.ones(len(momenta))
        for weight in SUZUKI_YOSHIDA:
            h = weight * self.timestep_fs * FS
            for which in reversed(range(self.chain_length)):
                chain.kick(which, kinetic * scale**2, 0.5 * h)
            scale = scale * np.exp(-h * chain.speed[0])
            chain.place += h * chain.speed
            for which in range(self.chain_length):
                chain.kick(which, kinetic * scale**2, 0.5 * h)
        heat = before - chain.energy()
        return scale[:, None, None] * momenta, heat, _packed(chain.place, chain.speed)


def _packed(place: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """Chains (batch, 2, length) of positions and velocities (length, batch)."""
    return np.ascontiguousarray(np.stack([place, speed]).transpose(2, 0, 1))


class _Chain:
    """The thermostat chains of all replicas during a step.

    Args:
        place, speed: (length, batch), changed in place.
        kT: (batch,) in eV.
        freedom: degrees of freedom of the molecule.
        relaxation: in ASE's unit of time.
    """

    def __init__(
        self, place: np.ndarray, speed: np.ndarray, kT: np.ndarray, freedom: int, relaxation: float
    ):
        self.place, self.speed, self.kT = place, speed, kT
        self.share = np.array([freedom] + [1] * (len(place) - 1))[:, None]
        self.inertia = self.share * kT * relaxation**2

    def energy(self) -> np.ndarray:
        """Energies (batch,) in eV."""
        return (0.5 * self.inertia * self.speed**2 + self.share * self.kT * self.place).sum(axis=0)

    def kick(self, which: int, kinetic: np.ndarray, h: float) -> None:
        """Move one thermostat's velocity by a time, given the kinetic energies (batch,).

        It is driven by what it thermostats, the molecule or the thermostat before it, and damped
        by the next one in the chain.
        """
        speed, inertia = self.speed, self.inertia
        hot = 2 * kinetic if which == 0 else inertia[which - 1] * speed[which - 1] ** 2
        push = h * (hot - self.share[which] * self.kT) / inertia[which]
        drag = np.exp(-0.5 * h * speed[which + 1]) if which + 1 < len(speed) else 1.0
        speed[which] = (speed[which] * drag + push) * drag
