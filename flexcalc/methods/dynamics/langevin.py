"""Langevin dynamics: a thermostat of friction and noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flexcalc.fields import Positive
from flexcalc.methods.dynamics import noise
from flexcalc.methods.dynamics.bath import Bath
from flexcalc.methods.dynamics.integrator import RigidMotion
from flexcalc.methods.dynamics.momenta import rigid_freedom, scaled
from flexcalc.methods.dynamics.state import DynamicsState


@dataclass(frozen=True, kw_only=True)
class Langevin(Bath):
    """Constant-temperature dynamics with the BAOAB splitting.

    The thermostat acts on drift and rotation too, so all 3N degrees of freedom are thermal, unless
    `rigid_motion` is `removed`. Then the noise is projected, 3N - 6 degrees of freedom are thermal,
    and positions are those of a molecule that does not rotate.

    Source: Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34-56,
    doi:10.1093/amrx/abs010.
    """

    kind: ClassVar[str] = "langevin"

    rigid_motion: RigidMotion = "free"
    """Drift and rotation of the whole molecule: `free`, `removed at start` from the initial
    momenta (the thermostat restores them), or `removed` at every step."""
    friction_per_ps: Positive = 1.0
    """Friction coefficient, in 1/ps."""

    def fixed(self, numbers: np.ndarray) -> int:
        """Number of frozen degrees of freedom, for the temperature."""
        return rigid_freedom(len(numbers)) if self.rigid_motion == "removed" else 0

    @property
    def energy_relaxation_fs(self) -> float:
        """See `Integrator`: the kinetic energy, half of all, is damped at twice the friction."""
        return 1e3 / self.friction_per_ps

    def apply_thermostat(
        self, state: DynamicsState, momenta: np.ndarray, numbers: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Damp the momenta by friction, and add thermal noise."""
        keep = np.exp(-self.friction_per_ps * 1e-3 * self.timestep_fs)
        normal = noise.normal(state.keys, state.step, momenta[0].size).reshape(momenta.shape)
        thermal = scaled(normal, numbers, self.target_K(state.step, len(momenta)), self.masses)
        thermalised = keep * momenta + np.sqrt(1 - keep**2) * thermal
        heat = self.kinetic_energy(thermalised, numbers) - self.kinetic_energy(momenta, numbers)
        return thermalised, heat, state.chain
