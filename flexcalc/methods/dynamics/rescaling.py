"""Stochastic velocity rescaling, the thermostat of Bussi, Donadio and Parrinello."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from flexcalc.fields import Femtoseconds
from flexcalc.methods.dynamics import noise
from flexcalc.methods.dynamics.bath import Bath
from flexcalc.methods.dynamics.state import DynamicsState
from flexcalc.units import KB


@dataclass(frozen=True, kw_only=True)
class Rescaling(Bath):
    """Constant-temperature dynamics: all momenta of a replica are scaled by one random factor.

    The kinetic energy K of n degrees of freedom follows its canonical distribution exactly, for any
    timestep: with c = exp(-timestep / relaxation) and normal R_1 ... R_n

        K' = c K + (1 - c) kT/2 (R_1^2 + sum_2^n R_i^2) + 2 R_1 sqrt(c (1 - c) K kT/2),

    where the sum is twice a gamma number of shape (n - 1)/2. Scaling disturbs the dynamics less
    than friction does. It can neither create nor thermalise drift and rotation, so they are always
    removed.

    Source: Bussi, Donadio, Parrinello, J. Chem. Phys. 126, 014101 (2007), doi:10.1063/1.2408420,
    eq. A7; the sign of the scale by eq. A8 of Bussi and Parrinello, Comput. Phys. Commun. 179, 26
    (2008), doi:10.1016/j.cpc.2008.01.006.
    """

    kind: ClassVar[str] = "rescaling"

    rigid_motion: Literal["removed at start", "removed"] = "removed at start"
    """Drift and rotation of the whole molecule, which the scaling conserves:
    `removed at start`, or `removed` at every step."""
    relaxation_fs: Femtoseconds = 100.0
    """Relaxation time of the kinetic energy, in femtoseconds."""

    @property
    def energy_relaxation_fs(self) -> float:
        """See `Integrator`: the kinetic energy is half of the energy."""
        return 2 * self.relaxation_fs

    def apply_thermostat(
        self, state: DynamicsState, momenta: np.ndarray, numbers: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scale the momenta to kinetic energies that are partly redrawn at random."""
        freedom = momenta[0].size - self.fixed(numbers)
        keep = np.exp(-self.timestep_fs / self.relaxation_fs)
        before = self.kinetic_energy(momenta, numbers)
        unit = 0.5 * KB * self.target_K(state.step, len(momenta)) * (1 - keep)
        first = noise.normal(state.keys, state.step, 1)[:, 0]
        rest = 2 * noise.gamma(state.keys, state.step, 0.5 * (freedom - 1)) if freedom > 1 else 0.0
        after = (np.sqrt(keep * before) + first * np.sqrt(unit)) ** 2 + unit * rest
        sign = np.where(np.sqrt(keep * before) + first * np.sqrt(unit) < 0, -1.0, 1.0)
        scale = sign * np.sqrt(after / before)
        return scale[:, None, None] * momenta, after - before, state.chain
