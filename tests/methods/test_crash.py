"""The crash test: what fails, when, where; and that the others do not notice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flexcalc.errors import GuardError, LabelError, NonFiniteError
from flexcalc.methods.crash import (
    KINDS,
    Crash,
    CrashState,
    CrashTest,
    Replicas,
    atom_label,
    faults_of,
    select_replicas,
)
from flexcalc.methods.dynamics import Langevin
from flexcalc.methods.guard import DistanceGuard
from flexcalc.methods.iterate import Checkpoint, Recorder, Setup, iterate, pack, run
from flexcalc.potential import CheckedPotential, Evaluation
from flexcalc.storage import AppendLog, whole_lines
from flexcalc.store import FolderStore

WATER = np.array([8, 1, 1])
GEOMETRY = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
COLD = 1e-12
"""Kelvin: so cold that only the forces move an atom."""


class Still(CheckedPotential):
    """No forces, but those that `at` tells for replicas in lanes, 10 A apart along y.

    Args:
        at: lane -> function of that row's positions (atoms, 3) that returns forces (atoms, 3).
    """

    def __init__(self, at):
        self.numbers, self.at = WATER, at

    def evaluate(self, positions):
        forces, energies = np.zeros_like(positions), np.zeros(len(positions))
        for row, frame in enumerate(positions):
            lane = round(frame[0, 1] / 10)
            if lane in self.at:
                forces[row] = self.at[lane](frame)
        return Evaluation(energies, forces)


def lanes(count):
    """Water in lanes 10 A apart."""
    return GEOMETRY + np.arange(count)[:, None, None] * [0.0, 10.0, 0.0]


def cold(count, **options):
    """The method for `count` replicas that start at rest in lanes of their own."""
    options = {"friction_per_ps": 1e-9, "nve_ps": 0.0} | options
    test = CrashTest(temperatures_K=(COLD,), seeds=count, timestep_fs=0.5, **options)
    return Crash(test, WATER, test.replicas(lanes(count)))


def endured(method, potential, steps, observers=()):
    rng = np.random.default_rng(5)
    state = method.init(potential, method.replicas.positions, rng)
    return iterate(method, potential, state, steps=steps, rng=rng, observers=observers)


def pull(atom, direction, size=2.0):
    """A constant force on one atom."""
    forces = np.zeros((3, 3))
    forces[atom] = size * np.asarray(direction, dtype=float)
    return lambda frame: forces


def steps_until(distance, size, mass):
    """Steps of half a femtosecond after which an atom pulled from rest has moved beyond it.

    Velocity Verlet is exact under a constant force: x_n = a (n dt)^2 / 2.
    """
    from flexcalc.units import FS

    exact = np.sqrt(2 * distance * mass / size) / (0.5 * FS)
    assert abs(exact - round(exact)) > 1e-3
    return int(np.ceil(exact))


def moved(steps, size, atom):
    """How far an atom has moved under a constant force after so many steps, in angstrom."""
    from ase.data import atomic_masses

    from flexcalc.units import FS

    return 0.5 * size / atomic_masses[WATER[atom]] * (0.5 * FS * steps) ** 2


@pytest.mark.physics
def test_a_bond_pulled_by_a_constant_force_breaks_at_the_step_that_newton_says():
    from ase.data import atomic_masses, covalent_radii

    longest = 1.6 * (covalent_radii[8] + covalent_radii[1])
    method = cold(2)
    state = endured(method, Still({1: pull(1, [1, 0, 0])}), 400)
    assert state.failed_step[1] == steps_until(longest - 0.96, 2.0, atomic_masses[1])
    assert KINDS[state.kind[1]] == "bond broken"
    assert atom_label(WATER, state.atoms[1]) == "O0-H1"
    assert state.failed_step[0] == -1
    assert state.kind[0] == -1
    before = np.linalg.norm(state.before[1, 1] - state.before[1, 0])
    assert before == pytest.approx(0.96 + moved(state.failed_step[1] - 1, 2.0, 1), abs=1e-5)
    np.testing.assert_allclose(state.before[1, 0], [0.0, 10.0, 0.0], atol=1e-6)


@pytest.mark.physics
def test_atoms_that_are_pushed_together_are_a_contact_at_the_step_that_newton_says():
    from ase.data import atomic_masses, covalent_radii

    shortest = 0.6 * (covalent_radii[8] + covalent_radii[1])
    state = endured(cold(2), Still({1: pull(1, [-1, 0, 0])}), 400)
    assert state.failed_step[1] == steps_until(0.96 - shortest, 2.0, atomic_masses[1])
    assert KINDS[state.kind[1]] == "contact"
    assert atom_label(WATER, state.atoms[1]) == "O0-H1"


def test_a_bond_that_forms_is_told_by_its_atoms():
    close = GEOMETRY.copy()
    close[2] = [0.8, 0.6, 0.0]  # 0.62 A from the other hydrogen, a bond's length
    guard = DistanceGuard.around(WATER, GEOMETRY[None], 0.6, True)
    (fault,) = faults_of(guard, close[None])
    assert KINDS[fault.kind] == "bond formed"
    assert atom_label(WATER, np.array(fault[2:])) == "H1-H2"


@pytest.mark.guard
def test_the_pair_farthest_beyond_its_bounds_is_named():
    torn = GEOMETRY * [[1], [1.8], [2.0]]
    guard = DistanceGuard.around(WATER, np.repeat(GEOMETRY[None], 2, axis=0), 0.6, True)
    (fault,) = faults_of(guard, np.stack([GEOMETRY, torn]))
    assert (fault.row, atom_label(WATER, np.array(fault[2:]))) == (1, "O0-H2")


@pytest.mark.guard
@pytest.mark.parametrize("away", [10.0, 1e200])
@pytest.mark.parametrize("atom", [0, 2])
def test_an_atom_far_from_all_others_has_flown_off_even_where_bonds_may_break(away, atom):
    flown = GEOMETRY.copy()
    flown[atom, 2] = away
    guard = DistanceGuard.around(WATER, GEOMETRY[None], 0.0, False)
    (fault,) = faults_of(guard, flown[None])
    assert KINDS[fault.kind] == "flying atom"
    if away < 1e100:  # distances that overflow are those of all atoms
        assert atom_label(WATER, np.array(fault[2:])) == f"{'OHH'[atom]}{atom}"


@pytest.mark.guard
def test_a_force_that_is_not_finite_ends_its_replica_alone_at_that_step():
    count = 0

    def breaks(frame):
        nonlocal count
        count += 1
        return np.full((3, 3), np.nan if count == 6 else 0.0)

    state = endured(cold(3), Still({1: breaks}), 20)
    assert state.failed_step.tolist() == [-1, 5, -1]
    assert KINDS[state.kind[1]] == "non-finite"
    assert atom_label(WATER, state.atoms[1]) == ""
    assert state.alive.tolist() == [0, 2]
    assert state.step == 20


@pytest.mark.guard
def test_forces_so_large_that_positions_overflow_end_a_replica():
    state = endured(cold(2), Still({0: pull(1, [1, 0, 0], 1e308)}), 5)
    assert state.failed_step.tolist() == [1, -1]
    assert KINDS[state.kind[0]] in ("non-finite", "flying atom")


class Refusing(Still):
    """Refuses a batch as a whole, without a word on the row."""

    def __init__(self, error):
        super().__init__({})
        self.error = error

    def evaluate(self, positions):
        if (positions[:, 0, 1] > 15).any() and self.calls > 3:
            raise self.error
        self.calls += 1
        return super().evaluate(positions)

    calls = 0


@pytest.mark.guard
@pytest.mark.parametrize(
    ("error", "kind"),
    [(LabelError("no charges"), "not computed"), (NonFiniteError("somewhere"), "non-finite")],
)
def test_a_replica_that_a_potential_refuses_is_found_by_trying_each(error, kind):
    state = endured(cold(3), Refusing(error), 10)
    assert state.failed_step.tolist() == [-1, -1, 4]
    assert KINDS[state.kind[2]] == kind


@pytest.mark.guard
def test_a_batch_that_fails_though_no_row_does_is_not_passed_over():
    class Crowded(Still):
        def evaluate(self, positions):
            if len(positions) > 1 and self.calls:
                raise LabelError("too many")
            self.calls += 1
            return super().evaluate(positions)

        calls = 0

    with pytest.raises(LabelError, match="too many"):
        endured(cold(2), Crowded({}), 3)


@pytest.mark.guard
def test_a_start_that_is_not_finite_is_an_error():
    with pytest.raises(GuardError):
        endured(cold(1), Still({0: lambda frame: np.full((3, 3), np.nan)}), 3)


@pytest.mark.guard
def test_the_run_is_over_when_no_replica_is_left():
    state = endured(cold(2), Still({0: pull(1, [1, 0, 0]), 1: pull(2, [0, 0, 1])}), 10000)
    assert (state.failed_step > 0).all()
    assert not len(state.alive)
    assert state.step == state.failed_step.max()


class Weak(CheckedPotential):
    """Water on springs whose first O-H bond gives way beyond 1.2 A, so that warm replicas break."""

    numbers = WATER

    def evaluate(self, positions):
        energies, forces = np.zeros(len(positions)), np.zeros_like(positions)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            vectors = positions[:, i] - positions[:, j]
            lengths = np.sqrt((vectors**2).sum(axis=1))
            rest = np.linalg.norm(GEOMETRY[i] - GEOMETRY[j])
            gap = lengths - rest
            # Beyond the edge of a weak bond the energy falls again.
            stiff = np.where((i == 0) & (j == 1) & (gap > 0.2), -20.0, 20.0)
            pulls = (-stiff * gap / lengths)[:, None] * vectors
            energies += 0.5 * stiff * gap**2
            forces[:, i] += pulls
            forces[:, j] -= pulls
        return Evaluation(energies, forces)


def warm(seeds=6, **options):
    test = CrashTest(
        temperatures_K=(300.0, 3000.0), seeds=seeds, time_ps=0.15, nve_ps=0.02, **options
    )
    return Crash(test, WATER, test.replicas(np.stack([GEOMETRY, GEOMETRY * 1.02])))


@pytest.mark.physics
def test_survivors_move_to_the_byte_as_if_the_others_had_never_been():
    method = warm()
    rng = np.random.default_rng(5)
    first = method.init(Weak(), method.replicas.positions, rng)
    mixed = iterate(method, Weak(), first, steps=method.steps, rng=rng)
    assert 0 < len(mixed.alive) < len(first.alive)
    kept = mixed.alive
    alone = Crash(method.test, WATER, Replicas(*(column[kept] for column in method.replicas)))
    begun = replace(
        alone.init(Weak(), alone.replicas.positions, rng),
        moving=select_replicas(first.moving, kept),
    )
    found = iterate(alone, Weak(), begun, steps=method.steps, rng=rng)
    assert found.alive.tolist() == list(range(len(kept)))
    for part in ("positions", "momenta", "heat"):
        ours, theirs = getattr(mixed.moving, part), getattr(found.moving, part)
        assert ours.tobytes() == theirs.tobytes()


@pytest.mark.physics
def test_a_replica_moves_as_langevin_dynamics_does_until_the_thermostat_is_taken_off():
    method = warm(seeds=1)
    alone = Langevin(timestep_fs=0.5, friction_per_ps=5.0, replica_temperatures_K=(300.0, 3000.0))
    rng = np.random.default_rng(2)
    state = alone.init(Weak(), method.replicas.positions, rng)
    state = iterate(alone, Weak(), state, steps=30, rng=rng)
    rng = np.random.default_rng(2)
    ours = method.init(Weak(), method.replicas.positions, rng)
    ours = iterate(method, Weak(), ours, steps=30, rng=rng)
    assert ours.moving.positions.tobytes() == state.positions.tobytes()


@pytest.mark.physics
def test_without_the_thermostat_no_heat_is_taken_up():
    method = warm(seeds=2)
    heats = {}
    endured(method, Weak(), method.steps, [lambda s: heats.update({s.step: s.moving.heat.copy()})])
    last = method.test.steps
    assert (heats[last] != heats[last - 1]).all()
    assert (heats[last] == heats[last + 1]).all()


def test_the_first_seeds_are_the_same_when_there_are_more():
    few, many = warm(seeds=2), warm(seeds=5)
    one, other = (endured(method, Weak(), 10) for method in (few, many))
    assert one.moving.positions.tobytes() == other.moving.positions[:4].tobytes()
    assert few.replicas.temperature_K.tolist() == [300.0, 3000.0, 300.0, 3000.0]
    assert few.replicas.start.tolist() == [0, 0, 1, 1]


def go(folder, steps, method, seed=5):
    with AppendLog(folder / "log.txt", whole_lines) as log:
        recorder = Recorder(log, 3, lambda s: f"{s.step} {s.alive.tolist()}\n".encode())
        checkpoint = Checkpoint(
            FolderStore(folder),
            "run.checkpoint",
            np.random.default_rng(seed),
            [recorder],
            seconds=1e9,
        )
        start = method.replicas.positions
        return run(method, Setup(Weak(), start), CrashState, steps=steps, checkpoint=checkpoint)


@pytest.mark.data
def test_a_run_that_is_taken_up_between_deaths_changes_not_one_byte(tmp_path):
    method = warm()
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = go(tmp_path / "whole", method.steps, method)
    deaths = np.unique(whole.failed_step[whole.failed_step >= 0])
    assert len(deaths) >= 2
    stops = (deaths[0] - 1, deaths[0], deaths[1] - 1, method.steps)
    for steps, seed in zip(stops, (5, 97, 98, 99), strict=True):
        parts = go(tmp_path / "parts", int(steps), warm(), seed)
    for one, other in zip(pack(whole).arrays.items(), pack(parts).arrays.items(), strict=True):
        assert one[0] == other[0]
        assert one[1].tobytes() == other[1].tobytes()
    logs = [(tmp_path / part / "log.txt").read_bytes() for part in ("whole", "parts")]
    assert logs[0] == logs[1]


@pytest.mark.data
def test_a_run_in_which_all_died_is_taken_up_as_it_ended(tmp_path):
    method = warm(min_contact=3.0)  # every start is a contact
    ended = go(tmp_path, method.steps, method)
    assert ended.step == 1
    assert not len(ended.alive)
    again = go(tmp_path, method.steps, method)
    assert again.step == 1
    assert again.failed_step.tolist() == [1] * 12
