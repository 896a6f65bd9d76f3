"""Dynamics against closed forms and against ASE."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import ase
import numpy as np
import pytest
from ase import units
from ase.md.verlet import VelocityVerlet as ASEVerlet
from scipy.stats import kstest

from flexcalc.adapters.ase import Calculator
from flexcalc.errors import ConfigError, InputError
from flexcalc.methods.dynamics import (
    NVE,
    Langevin,
    NoseHoover,
    Rescaling,
    conserved_energy,
    kinetic_energy,
    masses,
    noise,
    temperature,
    thermal_momenta,
    without_rigid_motion,
)
from flexcalc.methods.iterate import iterate, pack

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
    method = NVE(timestep_fs=0.5, temperature_K=300.0)
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
        method = NVE(timestep_fs=timestep, temperature_K=0.0)
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


BATHS = {
    "langevin": Langevin(friction_per_ps=10.0),
    "langevin without rigid motion": Langevin(friction_per_ps=10.0, rigid_motion="removed"),
    "rescaling": Rescaling(relaxation_fs=50.0),
    "nose-hoover": NoseHoover(relaxation_fs=20.0),
}


@pytest.mark.parametrize("name", BATHS)
def test_a_bath_books_the_heat_it_moves(name, ammonia, rng):
    """Total energy less heat is what plain Verlet would conserve, to second order."""
    method = replace(BATHS[name], timestep_fs=0.2)
    state = method.init(ammonia, np.stack([pyramid(1.0)] * 20), rng)
    before = conserved_energy(state, ammonia.numbers)
    state = iterate(method, ammonia, state, steps=500, rng=rng)
    after = conserved_energy(state, ammonia.numbers)
    moved = np.abs(state.heat).mean()
    assert moved > 0.03
    assert np.abs(after - before).max() < 0.02 * moved


@pytest.mark.parametrize("name", BATHS)
def test_a_bath_brings_replicas_to_its_temperature(name, ammonia, rng):
    """From the minimum, where half of the heat is missing, and with momenta of the wrong kind."""
    method = replace(BATHS[name], timestep_fs=0.4)
    start = method.init(ammonia, np.stack([pyramid(1.0)] * 60), rng)
    start = replace(start, momenta=0.3 * start.momenta)
    kelvin = []
    fixed = method.fixed(ammonia.numbers)
    watch = [lambda s: kelvin.append(temperature(s.momenta, ammonia.numbers, fixed).mean())]
    iterate(method, ammonia, start, steps=2500, rng=rng, observers=watch)
    # 60 replicas for 10 times the 50 fs or less in which they forget are 600 samples, each with a
    # deviation of 300 sqrt(2/6) K: an error of 7 K; the middle scheme is 1 % too cold.
    assert np.mean(kelvin[1250:]) == pytest.approx(300.0, abs=24.0)


@pytest.mark.parametrize("name", [*BATHS, "nve"])
def test_a_replica_does_not_know_how_many_there_are(name, ammonia):
    """To the last bit, noise and all; also under other seeds than its own."""
    method = {**BATHS, "nve": NVE()}[name]
    start = pyramid(1.0) + np.random.default_rng(1).normal(scale=0.02, size=(5, 4, 3))
    found = []
    for batch in (1, 2, 5):
        rng = np.random.default_rng(3)
        state = method.init(ammonia, start[:batch], rng)
        found.append(iterate(method, ammonia, state, steps=40, rng=rng))
    for state in found:
        arrays = pack(state).arrays
        for key, array in arrays.items():
            assert array[:1].tobytes() == pack(found[-1]).arrays[key][:1].tobytes(), key
    assert found[1].positions.tobytes() == found[2].positions[:2].tobytes()


def test_noise_is_a_function_of_key_and_step(rng):
    keys = noise.draw_keys(rng, 3)
    late = noise.normal(keys, 1000, 12).copy()
    for step in (0, 17, 999):
        assert not np.array_equal(noise.normal(keys, step, 12), late)
    noise.normal(noise.draw_keys(rng, 2), 1000, 12)
    assert np.array_equal(noise.normal(keys, 1000, 12), late)
    assert np.array_equal(noise.normal(keys[1:2], 1000, 12), late[1:2])


def test_streams_are_normal_and_do_not_correlate():
    """Between replicas, between steps and between the streams of one key."""
    keys = noise.draw_keys(np.random.default_rng(0), 40)
    steps = np.stack([noise.normal(keys, step, 50) for step in range(100)])
    assert kstest(steps.ravel(), "norm").pvalue > 0.01
    flat = steps.transpose(1, 0, 2).reshape(40, -1)
    shifted = np.corrcoef(steps[:-1].ravel(), steps[1:].ravel())[0, 1]
    bound = 5 / np.sqrt(flat.shape[1])
    assert np.abs(np.corrcoef(flat) - np.eye(40)).max() < bound
    assert abs(shifted) < 5 / np.sqrt(steps.size)
    first = noise.first_normal(keys, 50)
    assert abs(np.corrcoef(first.ravel(), steps[0].ravel())[0, 1]) < 5 / np.sqrt(first.size)
    draws = np.stack([noise.gamma(keys, step, 2.5) for step in range(100)])
    assert kstest(draws.ravel(), "gamma", (2.5,)).pvalue > 0.01


def test_rescaling_gives_the_kinetic_energy_its_distribution_in_one_step():
    """Eq. A7 for a relaxation much shorter than the step is a draw from the distribution."""
    method = Rescaling(timestep_fs=0.5, relaxation_fs=1e-3)
    numbers = np.array([7, 1, 1, 1])
    keys = noise.draw_keys(np.random.default_rng(2), 4000)
    momenta = np.ones((4000, 4, 3))
    state = SimpleNamespace(keys=keys, step=5, chain=None)
    momenta, heat, _ = method.apply_thermostat(state, momenta, numbers)
    kinetic = kinetic_energy(momenta, numbers)
    assert kstest(2 * kinetic / (units.kB * 300.0), "chi2", (6,)).pvalue > 0.01
    assert np.allclose(heat, kinetic - kinetic_energy(np.ones((1, 4, 3)), numbers))


def test_the_chain_of_thermostats_goes_back_where_it_came_from(ammonia, rng):
    """The splitting is time-reversible: turned round, it retraces its steps."""
    method = NoseHoover(relaxation_fs=20.0)
    start = method.init(ammonia, np.stack([pyramid(1.02)] * 3), rng)
    there = iterate(method, ammonia, start, steps=100, rng=rng)
    turned = replace(there, step=0, momenta=-there.momenta, chain=there.chain * [[[1.0], [-1.0]]])
    back = iterate(method, ammonia, turned, steps=100, rng=rng)
    assert np.abs(back.positions - start.positions).max() < 1e-9
    assert np.abs(back.momenta + start.momenta).max() < 1e-9
    assert np.abs(back.chain[:, 0] - start.chain[:, 0]).max() < 1e-9


def test_a_schedule_is_straight_between_its_stages():
    method = Langevin(
        timestep_fs=0.5, temperature_K=300.0, schedule=("1 ps 300K", "2ps 500 K", "2.5 ps 100 K")
    )
    steps = {0: 300, 2000: 300, 3000: 400, 4000: 500, 4500: 300, 5000: 100, 10**6: 100}
    for step, kelvin in steps.items():
        assert method.target_K(step, 2) == pytest.approx([kelvin] * 2)


def test_dynamics_follows_a_schedule(wells, rng):
    method = Langevin(
        timestep_fs=1.0,
        temperature_K=100.0,
        schedule=("0.1 ps 100 K", "0.3 ps 800 K"),
        friction_per_ps=50.0,
    )
    start = np.broadcast_to(wells.reference, (300, 3, 3))
    state = method.init(wells, start, rng)
    for steps, kelvin in ((100, 100.0), (500, 800.0)):
        state = iterate(method, wells, state, steps=steps, rng=rng)
        error = kelvin * np.sqrt(2 / state.momenta.size)
        found = temperature(state.momenta, wells.numbers).mean()
        assert abs(found - kelvin) < 4 * error + 0.01 * kelvin


def test_replicas_may_have_temperatures_of_their_own(ammonia, rng):
    method = Rescaling(replica_temperatures_K=(200.0, 600.0), relaxation_fs=20.0)
    start = np.stack([pyramid(1.0)] * 400)
    state = iterate(method, ammonia, method.init(ammonia, start, rng), steps=500, rng=rng)
    kelvin = temperature(state.momenta, ammonia.numbers, method.fixed(ammonia.numbers))
    for which, expected in enumerate((200.0, 600.0)):
        found = kelvin[which::2].mean()
        assert abs(found - expected) < 4 * expected * np.sqrt(2 / (6 * 200)) + 0.01 * expected


@pytest.mark.parametrize(
    "schedule",
    [
        *(("10 ps",), ("10 fs 300 K",), ("1 ps -5 K",), ("1e999 ps 300 K",), ("0 ps 300 K",)),
        *(("2 ps 300 K", "1 ps 400 K"), ("1..5 ps 300 K",), ("",), ("nan ps 300 K",)),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(schedule):
    with pytest.raises(ConfigError, match="schedule: expected"):
        Langevin(schedule=schedule)


def test_a_schedule_and_temperatures_by_replica_exclude_each_other():
    with pytest.raises(ConfigError, match="expected one of them"):
        Langevin(schedule=("1 ps 400 K",), replica_temperatures_K=(300.0,))


@pytest.mark.parametrize("name", ["langevin without rigid motion", "rescaling", "nose-hoover"])
def test_no_bath_that_takes_rigid_motion_out_brings_it_back(name, ammonia, rng):
    method = BATHS[name]
    state = method.init(ammonia, np.stack([pyramid(1.02)] * 5), rng)
    state = iterate(method, ammonia, state, steps=300, rng=rng)
    centre = (masses(ammonia.numbers) * state.positions).sum(axis=1) / masses(ammonia.numbers).sum()
    arms = state.positions - centre[:, None]
    assert np.abs(state.momenta.sum(axis=1)).max() < 1e-11
    assert np.abs(np.cross(arms, state.momenta).sum(axis=1)).max() < 1e-11


def test_degrees_of_freedom_are_those_that_move():
    ammonia, diatomic, atom = np.array([7, 1, 1, 1]), np.array([6, 8]), np.array([18])
    assert [Langevin().fixed(one) for one in (ammonia, diatomic, atom)] == [0, 0, 0]
    assert Langevin(rigid_motion="removed at start").fixed(ammonia) == 0
    for method in (NVE(), Rescaling(), Langevin(rigid_motion="removed")):
        assert [method.fixed(one) for one in (ammonia, diatomic, atom)] == [6, 5, 3]
    assert NVE(rigid_motion="free").fixed(ammonia) == 0


def test_a_diatomic_vibrates_with_its_one_degree_of_freedom(pairs, rng):
    pair = pairs([6, 8], {(6, 8): (30.0, 1.13)})
    method = Rescaling(timestep_fs=0.5, relaxation_fs=20.0)
    start = np.broadcast_to([[0.0, 0, 0], [0.0, 0, 1.13]], (2000, 2, 3))
    state = iterate(method, pair, method.init(pair, start, rng), steps=400, rng=rng)
    kelvin = temperature(state.momenta, pair.numbers, method.fixed(pair.numbers))
    assert abs(kelvin.mean() - 300.0) < 4 * 300.0 * np.sqrt(2 / 2000) + 3.0


def test_an_atom_alone_has_nothing_to_move_without_drift(pairs, rng):
    atom = pairs([18], {})
    with pytest.raises(InputError, match="single atom"):
        Rescaling().init(atom, np.zeros((1, 1, 3)), rng)


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
