"""Kinetics on a network of minima, against closed forms, linear algebra and Gillespie's runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

from flexcalc.analysis.network import (
    components,
    disconnectivity,
    mean_first_passage_s,
    rate_matrix,
    relaxation_times_s,
)


def network(rng, states=6, ends=None):
    """Rates between minima of random free energies, which keep detailed balance."""
    free = rng.uniform(0, 3, states)
    ends = (
        np.array([(i, i + 1) for i in range(states - 1)] + [(0, 3), (1, 4)])
        if ends is None
        else ends
    )
    barriers = free[ends].max(axis=1) + rng.uniform(1, 4, len(ends))
    rates = np.exp(-(barriers[:, None] - free[ends]))
    populations = np.exp(-free) / np.exp(-free).sum()
    return rate_matrix(states, ends, rates), populations


def test_two_states_have_the_closed_form():
    rates = rate_matrix(2, np.array([[0, 1]]), np.array([[3.0, 5.0]]))
    assert relaxation_times_s(rates, np.array([5.0, 3.0]) / 8) == pytest.approx([1 / 8])
    assert mean_first_passage_s(rates) == pytest.approx(np.array([[0, 1 / 3], [1 / 5, 0]]))


def test_a_chain_of_three_has_the_closed_form():
    """From the first to the last over the middle: 1/a + 1/b + b'/(a b)."""
    a, back, b, end = 2.0, 7.0, 3.0, 11.0
    rates = rate_matrix(3, np.array([[0, 1], [1, 2]]), np.array([[a, back], [b, end]]))
    found = mean_first_passage_s(rates)
    assert found[0, 2] == pytest.approx(1 / a + 1 / b + back / (a * b))
    assert found[1, 2] == pytest.approx(1 / b + (back / b) / a)
    assert found[2, 1] == pytest.approx(1 / end)


def test_first_passages_are_those_of_linear_algebra(rng):
    rates, _ = network(rng)
    generator = rates - np.diag(rates.sum(axis=1))
    found = mean_first_passage_s(rates)
    for end in range(len(rates)):
        others = np.delete(np.arange(len(rates)), end)
        expected = np.linalg.solve(-generator[np.ix_(others, others)], np.ones(len(others)))
        np.testing.assert_allclose(found[others, end], expected, rtol=1e-10)


def test_rates_that_differ_by_sixty_powers_of_ten_lose_no_digit():
    """Linear algebra in double precision cannot do this; the closed form can."""
    rates = rate_matrix(3, np.array([[0, 1], [1, 2]]), np.array([[1e-30, 1e12], [1e-18, 1e13]]))
    expected = 1e30 + 1e18 + 1e12 / 1e-48
    assert mean_first_passage_s(rates)[0, 2] == pytest.approx(expected, rel=1e-12)


def test_gillespies_runs_agree(rng):
    rates, populations = network(rng, states=4, ends=np.array([[0, 1], [1, 2], [2, 3], [0, 2]]))
    times, found = [], mean_first_passage_s(rates)
    spent = np.zeros(4)
    leaving = rates.sum(axis=1)
    for _ in range(3000):
        state, time = 0, 0.0
        while state != 3:
            wait = rng.exponential(1 / leaving[state])
            time, spent[state] = time + wait, spent[state] + wait
            state = int(rng.choice(4, p=rates[state] / leaving[state]))
        times.append(time)
    error = np.std(times) / np.sqrt(len(times))
    assert abs(np.mean(times) - found[0, 3]) < 4 * error
    steady, state = np.zeros(4), 0
    for _ in range(20000):
        steady[state] += rng.exponential(1 / leaving[state])
        state = int(rng.choice(4, p=rates[state] / leaving[state]))
    np.testing.assert_allclose(steady / steady.sum(), populations, atol=0.03)


def test_relaxation_times_are_those_of_the_master_equation(rng):
    rates, populations = network(rng)
    generator = rates - np.diag(rates.sum(axis=1))
    times = relaxation_times_s(rates, populations)
    assert len(times) == 5
    assert (np.diff(times) <= 0).all()
    late = 8 * times[0]
    one, two = (np.eye(6)[0] @ expm(generator * t) - populations for t in (late, late + times[0]))
    np.testing.assert_allclose(two, one / np.e, atol=1e-3 * np.abs(one).max())


def test_parts_that_nothing_joins_are_told_apart():
    ends = np.array([[0, 1], [3, 2], [4, 4]])
    assert components(5, ends).tolist() in ([0, 0, 1, 1, 2], [1, 1, 2, 2, 4])
    rates = rate_matrix(5, ends, np.ones((3, 2)))
    assert np.isinf(mean_first_passage_s(rates)[0, 2])
    assert not np.diag(rates).any()
    assert len(relaxation_times_s(rates, np.full(5, 0.2))) == 2


def test_minima_join_at_the_lowest_way_between_them():
    minima = np.array([0.0, 1.0, 0.5, 2.0])
    ends = np.array([[0, 1], [1, 2], [0, 2], [3, 3]])
    tree, alone = disconnectivity(minima, np.array([5.0, 3.0, 4.0, 9.0]), ends)
    assert (tree.energy, set(tree.minima)) == (4.0, {0, 1, 2})
    first, second = tree.below
    assert (first.minima, second.energy, set(second.minima)) == ((0,), 3.0, {1, 2})
    assert (alone.energy, alone.minima) == (2.0, (3,))
