"""Replica exchange: its acceptance against a closed form, its pairs, its books."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import betainc

from flexcalc.analysis.exchange import attempts_of, round_trips
from flexcalc.errors import ConfigError
from flexcalc.methods.dynamics import NVE, Langevin, NoseHoover, ReplicaExchange
from flexcalc.methods.dynamics.exchange import Ladders
from flexcalc.methods.iterate import iterate
from flexcalc.potential import CheckedPotential, Evaluation

pytestmark = pytest.mark.physics

STIFFNESS = 2.0


class Tethers(CheckedPotential):
    """Atoms that are tied to the origin: 3 N harmonic oscillators."""

    def __init__(self, atoms):
        self.numbers = np.ones(atoms, dtype=int)

    def evaluate(self, positions):
        energies = 0.5 * STIFFNESS * (positions**2).sum(axis=(1, 2))
        return Evaluation(energies, -STIFFNESS * positions)


def walked(method, potential, batch, steps, seed=0):
    """The last state, and the walkers at the start and after each attempt."""
    rng, seen = np.random.default_rng(seed), [np.arange(batch)]
    state = method.init(potential, np.zeros((batch, len(potential.numbers), 3)), rng)

    def watch(state):
        if state.step % method.every == 0:
            seen.append(state.walkers)

    return iterate(method, potential, state, steps=steps, rng=rng, observers=[watch]), np.array(
        seen
    )


@pytest.mark.parametrize("kelvin", [(300.0, 360.0, 500.0), (500.0, 300.0, 360.0)])
def test_oscillators_exchange_as_often_as_the_closed_form_says(kelvin):
    """2 (1 - I_x(n/2, n/2)) of n oscillators, x = T_hot / (T_hot + T_cold): the chance that the
    colder one has the higher energy, twice."""
    ladders = Ladders(kelvin, 3 * 400)
    dynamics = Langevin(friction_per_ps=200.0, timestep_fs=0.5, replica_temperatures_K=kelvin)
    method = ReplicaExchange(dynamics=dynamics, every=20)
    _, walkers = walked(method, Tethers(2), ladders.batch, 800)
    found = attempts_of(walkers[10:], ladders)
    assert [(pair.cold_K, pair.hot_K) for pair in found] == [(300.0, 360.0), (360.0, 500.0)]
    for pair in found:
        share = pair.hot_K / (pair.hot_K + pair.cold_K)
        expected = 2 * (1 - betainc(3, 3, share))
        error = np.sqrt(expected * (1 - expected) / pair.attempts)
        assert abs(pair.accepted / pair.attempts - expected) < 5 * error


def test_an_exchange_moves_geometries_scales_momenta_and_keeps_the_conserved_energy():
    kelvin = (300.0, 400.0)
    method = ReplicaExchange(
        dynamics=NoseHoover(replica_temperatures_K=kelvin, timestep_fs=0.25), every=2
    )
    rng, potential = np.random.default_rng(3), Tethers(4)
    state = method.init(potential, rng.normal(scale=0.1, size=(40, 4, 3)), rng)
    first = method.dynamics.conserved_energy(state.dynamics, potential.numbers)
    alone = method.dynamics.step(potential, state.dynamics, rng)
    alone = method.dynamics.step(potential, alone, rng)
    state = iterate(method, potential, state, steps=2, rng=rng)
    # Attempt 1 of a ladder of two has no pair, so nothing has moved yet.
    assert state.walkers.tolist() == list(range(40))
    before = iterate(method, potential, state, steps=3, rng=rng)
    still = method.dynamics.step(potential, before.dynamics, rng)
    state = method.step(potential, before, rng)
    moved = state.walkers != np.arange(40)
    assert 2 <= moved.sum() < 40
    assert np.array_equal(np.sort(state.walkers), np.arange(40))
    assert np.array_equal(state.positions, still.positions[state.walkers])
    energies = still.evaluation.energies[state.walkers]
    assert np.array_equal(state.evaluation.energies, energies)
    ratio = np.sqrt(np.resize(kelvin, 40) / np.resize(kelvin, 40)[state.walkers])
    assert np.allclose(state.momenta, ratio[:, None, None] * still.momenta[state.walkers])
    last = method.dynamics.conserved_energy(state.dynamics, potential.numbers)
    assert np.abs(last - first).max() < 1e-4
    assert np.abs(state.dynamics.heat - still.heat)[moved].min() > 1e-6


def test_pairs_are_neighbours_in_temperature_within_each_ladder():
    ladders = Ladders((500.0, 300.0, 400.0), 8)
    assert ladders.pairs(0).tolist() == [[1, 2], [4, 5], [7, 6]]
    assert ladders.pairs(1).tolist() == [[2, 0], [5, 3]]
    assert Ladders((300.0, 400.0), 1).pairs(0).shape == (0, 2)


def test_round_trips_go_from_the_lowest_temperature_to_the_highest_and_back():
    ladders = Ladders((300.0, 400.0, 500.0), 3)
    path = [[0, 1, 2], [1, 0, 2], [1, 2, 0], [1, 0, 2], [0, 1, 2], [0, 2, 1], [2, 0, 1]]
    assert round_trips(np.array(path), ladders) == 1
    assert round_trips(np.array(path[:4]), ladders) == 0
    # Walker 2 went down only.
    assert round_trips(np.array([[0, 1, 2], [0, 2, 1], [2, 0, 1]]), ladders) == 0


@pytest.mark.parametrize(
    "dynamics", [NVE(), Langevin(), Langevin(replica_temperatures_K=(300.0, 300.0))]
)
def test_without_two_temperatures_there_is_nothing_to_exchange(dynamics):
    with pytest.raises(ConfigError, match="at least two temperatures"):
        ReplicaExchange(dynamics=dynamics, every=10)
