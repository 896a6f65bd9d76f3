"""Integrators and thermostats judged by the physical_validation package.

A floppy ammonia of springs, whose energies are anharmonic by its geometry. A thermostat is judged
by what it makes of independent replicas that start from the canonical distribution, half of them at
300 K and half at 400 K. Berendsen's, which is known to be wrong and is not offered, must fail.

Source: Merz and Shirts, PLoS ONE 13, e0202764 (2018), doi:10.1371/journal.pone.0202764.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from flexcalc.methods.dynamics import (
    NVE,
    Bath,
    Langevin,
    NoseHoover,
    ReplicaExchange,
    Rescaling,
    conserved_energy,
    kinetic_energy,
    masses,
)
from flexcalc.methods.iterate import iterate
from flexcalc.units import KB, KJ_MOL

pv = pytest.importorskip("physical_validation")
pytestmark = pytest.mark.physics

REPLICAS, COLD, HOT = 1200, 300.0, 400.0


@dataclass(frozen=True, kw_only=True)
class Berendsen(Bath):
    """Weak coupling: scales momenta towards the temperature; its fluctuations are too small."""

    kind: ClassVar[str] = "berendsen"
    relaxation_fs: float = 20.0

    def apply_thermostat(self, state, momenta, numbers):
        """Source: Berendsen et al., J. Chem. Phys. 81, 3684 (1984), doi:10.1063/1.448118."""
        kinetic = kinetic_energy(momenta, numbers)
        wanted = 0.5 * (momenta[0].size - self.fixed(numbers)) * KB
        wanted = wanted * self.target_K(state.step, len(momenta))
        scale = np.sqrt(1 + self.timestep_fs / self.relaxation_fs * (wanted / kinetic - 1))
        heat = (scale**2 - 1) * kinetic
        return scale[:, None, None] * momenta, heat, state.chain


BOTH = {"timestep_fs": 0.5, "replica_temperatures_K": (COLD, HOT)}

BATHS = {
    "langevin": Langevin(friction_per_ps=30.0, **BOTH),
    "langevin without rigid motion": Langevin(friction_per_ps=30.0, rigid_motion="removed", **BOTH),
    "rescaling": Rescaling(relaxation_fs=20.0, **BOTH),
    "nose-hoover": NoseHoover(relaxation_fs=20.0, **BOTH),
    "exchange": ReplicaExchange(dynamics=Langevin(friction_per_ps=30.0, **BOTH), every=5),
    "exchange, nose-hoover": ReplicaExchange(
        dynamics=NoseHoover(relaxation_fs=20.0, **BOTH), every=5
    ),
    "berendsen": Berendsen(relaxation_fs=20.0, **BOTH),
}


@pytest.fixture(scope="module")
def floppy(pairs):
    """Ammonia whose fastest vibration takes 26 fs."""
    return pairs([7, 1, 1, 1], {(1, 7): (5.0, 1.0), (1, 1): (1.5, 1.6)})


START = np.array([[0.0, 0, 0.38], [0.924, 0, 0], [-0.462, 0.8, 0], [-0.462, -0.8, 0]])


@pytest.fixture(scope="module")
def canonical(floppy):
    """Positions of replicas at the two temperatures in turn, by Langevin dynamics."""
    method, rng = BATHS["langevin"], np.random.default_rng(1)
    start = np.broadcast_to(START, (2 * REPLICAS, 4, 3))
    state = iterate(method, floppy, method.init(floppy, start, rng), steps=400, rng=rng)
    return state.positions


@pytest.fixture(scope="module", params=BATHS)
def sampled(request, floppy, canonical):
    """The name of a bath, and what it made of the canonical distribution, cold and hot."""
    method, rng = BATHS[request.param], np.random.default_rng(7)
    state = iterate(method, floppy, method.init(floppy, canonical, rng), steps=300, rng=rng)
    fixed = getattr(method, "dynamics", method).fixed(floppy.numbers)
    data = [
        simulation(floppy.numbers, fixed, kelvin, state, slice(which, None, 2))
        for which, kelvin in enumerate((COLD, HOT))
    ]
    return request.param, data


def simulation(numbers, fixed, kelvin, state, rows):
    """What physical_validation asks of a simulation."""
    kinetic = kinetic_energy(state.momenta, numbers)[rows]
    potential = state.evaluation.energies[rows]
    return pv.data.SimulationData(
        units=units(),
        ensemble=pv.data.EnsembleData("NVT", natoms=4, volume=1.0, temperature=kelvin),
        system=pv.data.SystemData(
            natoms=4,
            nconstraints=0,
            ndof_reduction_tra=min(fixed, 3),
            ndof_reduction_rot=max(fixed - 3, 0),
            mass=masses(numbers)[:, 0],
        ),
        observables=pv.data.ObservableData(
            kinetic_energy=kinetic,
            potential_energy=potential,
            total_energy=kinetic + potential,
        ),
    )


def units():
    """flexcalc's units in those of physical_validation."""
    return pv.data.UnitData(
        kb=KB,
        energy_conversion=1 / KJ_MOL,
        length_conversion=0.1,
        volume_conversion=1e-3,
        temperature_conversion=1.0,
        pressure_conversion=1.0,
        time_conversion=1e-3,
        energy_str="eV",
        length_str="A",
        volume_str="A^3",
        temperature_str="K",
        pressure_str="bar",
        time_str="fs",
    )


def test_kinetic_energies_have_the_canonical_distribution_but_berendsens(sampled):
    name, data = sampled
    for one in data:
        share = pv.kinetic_energy.distribution(
            one, strict=True, verbosity=0, data_is_uncorrelated=True
        )
        assert share >= 0.01 if name != "berendsen" else share < 1e-6


@pytest.mark.parametrize("total", [False, True])
def test_two_temperatures_differ_as_the_ensemble_says_but_berendsens(sampled, total):
    """log p_hot(E) / p_cold(E) is a line whose slope is the difference of 1 / kT."""
    name, data = sampled
    (sigmas,) = pv.ensemble.check(
        *data, total_energy=total, data_is_uncorrelated=True, verbosity=0, bootstrap_seed=1
    )
    assert sigmas <= 3.0 if name != "berendsen" else sigmas > 3.0


@pytest.mark.parametrize(
    "make",
    [
        lambda h: NVE(timestep_fs=h),
        lambda h: NoseHoover(timestep_fs=h, relaxation_fs=50.0),
    ],
    ids=["nve", "nose-hoover"],
)
def test_the_conserved_energy_fluctuates_by_the_square_of_the_timestep(make, floppy):
    found = []
    for timestep in (1.0, 0.5, 0.25):
        method, kept = make(timestep), []
        rng = np.random.default_rng(5)
        state = method.init(floppy, START[None], rng)
        watch = [lambda s, kept=kept: kept.append(conserved_energy(s, floppy.numbers)[0])]
        iterate(method, floppy, state, steps=round(300 / timestep), rng=rng, observers=watch)
        found.append(
            pv.data.SimulationData(
                units=units(),
                dt=timestep,
                observables=pv.data.ObservableData(constant_of_motion=np.array(kept)),
            )
        )
    deviation = pv.integrator.convergence(found, verbose=False)
    assert deviation <= 0.10
