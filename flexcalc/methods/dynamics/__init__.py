"""Molecular dynamics of many replicas in one batch.

`integrator` has the time step, in the middle of which the thermostat acts: `langevin`, `rescaling`
or `nosehoover`. `state` holds positions and momenta, `momenta` draws initial momenta and removes
rigid motion, `noise` has the streams of random numbers, `bath` the thermostat temperature over
time, and `exchange` lets replicas of different temperatures exchange their geometries.
"""

from flexcalc.methods.dynamics.bath import Bath
from flexcalc.methods.dynamics.exchange import ExchangeState, ReplicaExchange
from flexcalc.methods.dynamics.integrator import NVE, Integrator
from flexcalc.methods.dynamics.langevin import Langevin
from flexcalc.methods.dynamics.momenta import rigid_freedom, thermal_momenta, without_rigid_motion
from flexcalc.methods.dynamics.nosehoover import NoseHoover
from flexcalc.methods.dynamics.rescaling import Rescaling
from flexcalc.methods.dynamics.state import (
    DynamicsState,
    conserved_energy,
    kinetic_energy,
    masses,
    temperature,
)

__all__ = [
    "Bath",
    "Dynamics",
    "DynamicsState",
    "ExchangeState",
    "Integrator",
    "Langevin",
    "NoseHoover",
    "ReplicaExchange",
    "Rescaling",
    "NVE",
    "conserved_energy",
    "kinetic_energy",
    "masses",
    "rigid_freedom",
    "temperature",
    "thermal_momenta",
    "without_rigid_motion",
]

Dynamics = NVE | Langevin | Rescaling | NoseHoover
