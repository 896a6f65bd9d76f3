"""Searches in turns: one batch of all, each as on its own, and errors where they belong."""

from __future__ import annotations

import threading
from functools import partial

import numpy as np
import pytest

from flexcalc.errors import InputError, NonFiniteError
from flexcalc.methods.relax import relax
from flexcalc.parallel.turns import do, in_one_batch
from flexcalc.potential import CheckedPotential, Counted, Evaluation


class Bowl(CheckedPotential):
    """E = |x|^2 / 2 of each atom; remembers the sizes of its batches."""

    def __init__(self):
        self.numbers = np.array([1, 1])
        self.batches = []

    def evaluate(self, positions):
        self.batches.append(len(positions))
        energies = 0.5 * (positions**2).sum(axis=(1, 2))
        # A geometry far away has no finite energy.
        energies = np.where(np.abs(positions).max(axis=(1, 2)) > 50, np.nan, energies)
        return Evaluation(energies, -positions)


def steps_of(count, seed):
    """A search of `count` evaluations, one more geometry in each; returns their energies."""

    def work(potential):
        rng = np.random.default_rng(seed)
        found = [potential(rng.normal(size=(k + 1, 2, 3))).energies for k in range(count)]
        return np.concatenate(found)

    return work


def test_each_search_gets_what_it_would_get_alone():
    works = [steps_of(count, count) for count in (3, 1, 5)]
    surface = Bowl()
    found = in_one_batch(surface, works)
    for work, one in zip(works, found, strict=True):
        assert np.array_equal(one, work(Bowl()))
    # A step of all is one call, and a search that has ended has left.
    assert surface.batches == [3, 4, 6, 4, 5]


def test_relaxations_in_turns_are_those_of_each_row(rng):
    places = rng.normal(size=(4, 2, 3))
    found = in_one_batch(
        Bowl(), [lambda potential, one=one: relax(potential, one[None]) for one in places]
    )
    for place, state in zip(places, found, strict=True):
        assert np.array_equal(state.positions, relax(Bowl(), place[None]).positions)


def test_an_error_of_one_search_is_its_own():
    def far(potential):
        return potential(np.full((1, 2, 3), 100.0))

    def refused(potential):
        potential(np.zeros((1, 2, 3)))
        raise InputError("no such thing")

    found = in_one_batch(Bowl(), [steps_of(4, 1), far, refused])
    assert np.array_equal(found[0], steps_of(4, 1)(Bowl()))
    assert isinstance(found[1], NonFiniteError)
    assert isinstance(found[2], InputError)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_any_other_error_ends_all_searches(error):
    before = threading.active_count()
    ended = []

    def endless(potential):
        try:
            while True:
                potential(np.zeros((1, 2, 3)))
        finally:
            ended.append(True)

    def wrong(potential):
        potential(np.zeros((1, 2, 3)))
        raise error

    with pytest.raises(error):
        in_one_batch(Bowl(), [endless, wrong, endless])
    assert ended == [True, True]
    assert threading.active_count() == before


def test_a_potential_that_is_interrupted_ends_all_searches():
    class Interrupted(Bowl):
        def evaluate(self, positions):
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        in_one_batch(Interrupted(), [steps_of(2, 0), steps_of(3, 1)])
    assert threading.active_count() == before


def test_one_search_moves_at_a_time():
    """What they do between two evaluations is never interleaved."""
    seen = []

    def work(number, potential):
        for _ in range(3):
            seen.append(number)
            seen.append(number)
            potential(np.zeros((1, 2, 3)))

    in_one_batch(Bowl(), [lambda p, n=n: work(n, p) for n in range(3)])
    assert seen == [n for _ in range(3) for n in (0, 0, 1, 1, 2, 2)]


def doubled(given):
    """A task: energies of the geometries that searches hand over, and how many searches did."""
    found = yield np.concatenate(given)
    rows = found.energies.reshape(len(given), -1)
    return [(row, len(given)) for row in rows]


def test_tasks_of_searches_are_done_together_and_counted_for_each():
    places = np.random.default_rng(0).normal(size=(3, 2, 2, 3))
    counted = [None] * 3

    def work(number, potential):
        counted[number] = Counted(potential)
        before = counted[number](places[number][:1]).energies
        return before, do(counted[number], doubled, places[number])

    surface = Bowl()
    found = in_one_batch(surface, [partial(work, number) for number in range(3)])
    assert surface.batches == [3, 6]
    for place, (before, (energies, searches)) in zip(places, found, strict=True):
        assert np.array_equal(energies, Bowl()(place).energies)
        assert np.array_equal(before, energies[:1])
        assert searches == 3
    assert [one.geometries for one in counted] == [3, 3, 3]
    alone = Counted(Bowl())
    assert do(alone, doubled, places[0])[1] == 1
    assert alone.geometries == 2


def test_a_task_that_fails_for_one_search_is_done_for_the_others():
    near, far = np.zeros((2, 2, 3)), np.full((2, 2, 3), 60.0)
    works = [lambda potential, one=one: do(potential, doubled, one) for one in (near, far, near)]
    found = in_one_batch(Bowl(), works)
    assert isinstance(found[1], NonFiniteError)
    assert [found[row][0].tolist() for row in (0, 2)] == [[0.0, 0.0]] * 2
