"""The choice of the geometries to label next."""

import numpy as np

from flexcalc.training.acquisition import POOL, choose_batch


def test_of_uncertain_candidates_those_far_from_each_other_and_from_known_points_are_chosen(rng):
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    features = np.repeat(centres, 20, axis=0) + 0.1 * rng.normal(size=(60, 2))
    uncertain = rng.uniform(1, 1.1, 60)
    chosen = choose_batch(features, uncertain, centres[:1], 2)
    assert sorted(chosen // 20) == [1, 2]


def test_certain_candidates_are_not_in_the_pool(rng):
    features, uncertain = rng.normal(size=(100, 3)), np.arange(100.0)
    chosen = choose_batch(features, uncertain, np.zeros((0, 3)), 4)
    assert chosen[0] == 99  # nothing is known: the most uncertain
    assert len(set(chosen.tolist())) == 4
    assert chosen.min() >= 100 - 4 * POOL


def test_fewer_candidates_than_asked_for_are_all_chosen_once():
    chosen = choose_batch(np.array([[0.0], [1.0], [1.0]]), np.ones(3), np.array([[0.0]]), 5)
    assert sorted(chosen.tolist()) == [0, 1, 2]
