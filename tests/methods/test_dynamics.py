"""Dynamics against closed forms and against ASE."""

from __future__ import annotations

import ase
import numpy as np
import pytest
from ase import units
from ase.md.verlet import VelocityVerlet as ASEVerlet

from flexcalc.adapters.ase import Calculator
from flexcalc.methods.dynamics import (
    DynamicsState,
    Langevin,
    VelocityVerlet,
    conserved_energy,
    kinetic_energy,
    temperature,
    thermal_momenta,
    without_rigid_motion,
)
from flexcalc.methods.iterate import iterate

pytestmark = pytest.mark.physics


def test_langevin_samples_the_spring_it_should(wells, rng):
    """BAOAB is exact for harmonic positions: <k x^2> = kB T."""
    method = Langevin(timestep_fs=2.0, temperature_K=300.0, friction_per_ps=20.0)
    start = np.broadcast_to(wells.reference, (4000, 3, 3))
    state = iterate(method, wells, method.init(wells, start, rng), steps=300, rng=rng)
    stretch = state.positions - wells.reference
    expected = units.kB * 300.0 / wells.stiffness
    error = expected * np.sqrt(2 / stretch.size)
    assert abs(np.mean(stretch**2) - expected) < 4 * error


def test_momenta_are_those_of_the_temperature(rng):
    numbers = np.array([8, 1, 1])
    momenta = thermal_momenta(numbers, 500.0, 4000, rng)
    kelvin = temperature(momenta, numbers)
    assert abs(kelvin.mean() - 500.0) < 4 * 500.0 * np.sqrt(2 / momenta.size)


def test_velocity_verlet_is_ases(ammonia, rng):
    start = pyramid(1.02) + rng.normal(scale=0.02, size=(4, 3))
    method = VelocityVerlet(timestep_fs=0.5, temperature_K=300.0)
    state = method.init(ammonia, start[None], rng)
    atoms = ase.Atoms(ammonia.numbers, start, calculator=Calculator(ammonia))
    atoms.set_momenta(state.momenta[0])
    ASEVerlet(atoms, 0.5 * units.fs).run(200)
    state = iterate(method, ammonia, state, steps=200, rng=rng)
    # Both do the same sums in another order; 200 steps amplify rounding a little.
    assert np.abs(state.positions[0] - atoms.positions).max() < 1e-10
    assert np.abs(state.momenta[0] - atoms.get_momenta()).max() < 1e-10


def test_velocity_verlet_keeps_the_energy_to_second_order(ammonia, rng):
    """The error of the conserved energy falls as the square of the timestep."""
    start = np.stack([pyramid(1.05)])
    errors = []
    for timestep in (0.5, 0.25):
        method = VelocityVerlet(timestep_fs=timestep, temperature_K=0.0)
        state = method.init(ammonia, start, rng)
        energies = []
        steps = round(50 / timestep)
        iterate(
            method,
            ammonia,
            state,
            steps=steps,
            rng=rng,
            observers=[lambda s, e=energies: e.append(conserved_energy(s, ammonia.numbers)[0])],
        )
        errors.append(np.ptp(energies))
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)


def test_langevin_books_the_heat_it_moves(ammonia, rng):
    """Total energy less heat is what plain Verlet would conserve, to second order."""
    method = Langevin(timestep_fs=0.2, temperature_K=300.0, friction_per_ps=10.0)
    state = method.init(ammonia, np.stack([pyramid(1.0)] * 20), rng)
    before = conserved_energy(state, ammonia.numbers)
    state = iterate(method, ammonia, state, steps=500, rng=rng)
    after = conserved_energy(state, ammonia.numbers)
    moved = np.abs(state.heat).mean()
    assert moved > 0.05
    assert np.abs(after - before).max() < 0.02 * moved


def test_replicas_do_not_feel_each_other(ammonia, rng):
    method = VelocityVerlet(timestep_fs=0.5, temperature_K=300.0)
    start = pyramid(1.0) + rng.normal(scale=0.02, size=(3, 4, 3))
    state = method.init(ammonia, start, rng)
    whole = iterate(method, ammonia, state, steps=50, rng=rng)
    for row in range(3):
        alone = DynamicsState(
            0,
            start[row : row + 1],
            state.momenta[row : row + 1],
            ammonia(start[row : row + 1]),
            np.zeros(1),
        )
        alone = iterate(method, ammonia, alone, steps=50, rng=rng)
        assert np.abs(alone.positions[0] - whole.positions[row]).max() < 1e-12


def test_rigid_motion_is_taken_out(rng):
    numbers = np.array([8, 1, 1])
    positions = rng.normal(size=(5, 3, 3))
    momenta = without_rigid_motion(thermal_momenta(numbers, 300.0, 5, rng), positions, numbers)
    assert np.abs(momenta.sum(axis=1)).max() < 1e-12
    assert np.abs(np.cross(positions, momenta).sum(axis=1)).max() < 1e-12
    again = without_rigid_motion(momenta, positions, numbers)
    assert np.allclose(again, momenta, atol=1e-12)


def test_rigid_motion_of_a_linear_molecule_leaves_its_bending(rng):
    numbers = np.array([8, 6, 8])
    positions = np.array([[[-1.16, 0, 0], [0.0, 0, 0], [1.16, 0, 0]]])
    momenta = without_rigid_motion(thermal_momenta(numbers, 300.0, 1, rng), positions, numbers)
    assert np.isfinite(momenta).all()
    assert np.abs(np.cross(positions, momenta).sum(axis=1)).max() < 1e-12
    assert kinetic_energy(momenta, numbers)[0] > 0


def pyramid(bond):
    """N over three H at 1.6 angstrom from each other (4, 3)."""
    turn = np.deg2rad([0, 120, 240])
    radius = 1.6 / np.sqrt(3)
    height = np.sqrt(max(bond**2 - radius**2, 0.0))
    ring = np.stack([radius * np.cos(turn), radius * np.sin(turn), np.full(3, -height)], axis=1)
    return np.vstack([[0.0, 0.0, 0.0], ring])
