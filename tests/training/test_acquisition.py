"""The choice of the geometries to label next."""

import numpy as np

from flexcalc.training.acquisition import choose_batch


def test_candidates_far_from_each_other_and_from_known_points_are_chosen(rng):
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    features = np.repeat(centres, 20, axis=0) + 0.1 * rng.normal(size=(60, 2))
    uncertain = rng.uniform(1, 1.1, 60)
    chosen = choose_batch(features, uncertain, centres[:1], 2)
    assert sorted(chosen // 20) == [1, 2]


def test_of_equally_distant_regions_the_uncertain_one_comes_first(rng):
    features = np.repeat([[10.0, 0.0], [0.0, 10.0]], 20, axis=0) + 0.1 * rng.normal(size=(40, 2))
    uncertain = np.repeat([1.0, 2.0], 20)
    chosen = choose_batch(features, uncertain, np.array([[0.0, 0.0], [9.9, 0.0]]), 1)
    assert chosen[0] >= 20


def test_a_region_that_is_visited_often_comes_before_one_strange_geometry(rng):
    often = np.array([5.0, 0.0]) + 0.5 * rng.normal(size=(99, 2))
    features = np.concatenate([often, [[0.0, 9.0]]])
    known = np.array([[0.0, 0.0], [5.0, 0.0]])
    chosen = choose_batch(features, np.ones(100), np.concatenate([known, [[0.0, 6.0]]]), 3)
    assert 99 not in chosen[:1]
    assert len(set(chosen.tolist())) == 3


def test_with_nothing_known_the_most_uncertain_comes_first(rng):
    chosen = choose_batch(rng.normal(size=(100, 3)), np.arange(100.0), np.zeros((0, 3)), 4)
    assert chosen[0] == 99
    assert len(set(chosen.tolist())) == 4


def test_fewer_candidates_than_asked_for_are_all_chosen_once():
    chosen = choose_batch(np.array([[0.0], [1.0], [1.0]]), np.ones(3), np.array([[0.0]]), 5)
    assert sorted(chosen.tolist()) == [0, 1, 2]
