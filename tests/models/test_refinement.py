"""Refinement: further points where the model is worst."""

import numpy as np
import pytest

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.gdml import SGDML
from flexcalc.training.checkpoints import Checkpoints
from flexcalc.training.clusters import cluster
from flexcalc.training.refinement import Rounds, draw_by_error, refine, worst_frames
from flexcalc.training.tuning import ENERGY, FORCE, Sets
from flexcalc.units import KCAL_MOL

FAMILY = SGDML(sigma=10.0, symmetry=False)


def bonds(lengths):
    """A pool of diatomics without labels."""
    positions = np.zeros((len(lengths), 2, 3))
    positions[:, 1, 0] = lengths
    return Dataset(np.array([1, 1]), positions)


def refined(data, rng, **options):
    options = {"points": 30, "count": 2, "validation": None} | options
    sets = Sets(data, options.pop("validation"))
    named = {name: options.pop(name) for name in ("points", "count", "by") if name in options}
    return refine(FAMILY, sets, Rounds(np.arange(10), **named), rng, **options)


# ---------------------------------------------------------------- which frames


def test_only_clusters_above_the_bound_give_points_and_the_worst_of_them(rng):
    """Errors 1, 1.2 and 1.3 have the mean 1.167 and the bound 1.283: the last alone is poor."""
    cluster_of = np.repeat([0, 1, 2], 10)
    squares = np.repeat([1.0, 1.2, 1.3], 10) ** 2
    pool = bonds(np.repeat([1.0, 2.0, 3.0], 10))
    chosen = worst_frames(squares, cluster_of, pool, np.zeros(30, dtype=bool), 4, rng)
    assert (chosen >= 20).all()
    # Like frames are one fine cluster, in which the worst come first.
    squares[25:29] += 1e-3
    chosen = worst_frames(squares, cluster_of, pool, np.zeros(30, dtype=bool), 4, rng)
    assert chosen.tolist() == [25, 26, 27, 28]


def test_finer_clusters_share_by_error_times_population(monkeypatch, rng):
    """(MSE / sum)(population / sum) of 4 * 6, 1 * 6 and 2 * 9 are as 24:6:18; of eight, 4:1:3."""
    monkeypatch.setattr("flexcalc.training.refinement.FINE", 3)
    pool = bonds(np.repeat([1.0, 2.0, 3.0], [6, 6, 9]) + 0.01 * rng.random(21))
    squares = np.repeat([4.0, 1.0, 2.0], [6, 6, 9])
    chosen = worst_frames(squares, np.zeros(21, dtype=int), pool, np.zeros(21, dtype=bool), 8, rng)
    assert np.bincount(np.repeat([0, 1, 2], [6, 6, 9])[chosen]).tolist() == [4, 1, 3]


def test_where_the_poor_clusters_run_out_the_next_worst_one_helps(rng):
    cluster_of = np.repeat([0, 1, 2], [3, 10, 10])
    squares = np.repeat([100.0, 4.0, 1.0], [3, 10, 10])
    pool = bonds(np.arange(1.0, 24.0))
    chosen = worst_frames(squares, cluster_of, pool, np.zeros(23, dtype=bool), 5, rng)
    assert np.bincount(cluster_of[chosen], minlength=3).tolist() == [3, 2, 0]


def test_training_points_are_not_chosen_again_and_have_no_say(rng):
    squares = np.ones(40)
    squares[:5] = 100.0
    taken = np.arange(40) < 5
    pool = bonds(rng.uniform(1, 2, 40))
    for count in (1, 10, 35):
        chosen = worst_frames(squares, np.arange(40) // 20, pool, taken, count, rng)
        assert len(np.unique(chosen)) == count
        assert not taken[chosen].any()


def test_frames_are_drawn_in_proportion_to_their_errors(rng):
    """One of ten frames is drawn; errors 3 and 1 in two halves: three of four from the first."""
    squares, taken = np.repeat([9.0, 1.0], [6, 6]), np.zeros(12, dtype=bool)
    taken[[0, 6]] = True
    found = np.array([draw_by_error(squares, taken, 1, rng)[0] for _ in range(2000)])
    assert not np.isin(found, [0, 6]).any()
    share = (found < 6).mean()
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 2000)


def test_frames_without_error_make_up_the_number(rng):
    squares, taken = np.array([1.0, 0.0, 0.0, 4.0]), np.zeros(4, dtype=bool)
    assert draw_by_error(squares, taken, 4, rng).tolist() == [0, 1, 2, 3]
    assert draw_by_error(0 * squares, taken, 3, rng).size == 3


# ---------------------------------------------------------------- the loop


def test_the_points_come_in_equal_parts_and_the_first_ones_stay(ethanol, rng):
    found = refined(ethanol, rng)
    assert [row["points"] for row in found.rounds] == [10, 20, 30]
    assert len(found.train) == 30
    assert set(range(10)) <= set(found.train)
    assert found.choice.potential.facts["training_points"] == 30
    assert sum(found.frames) == len(ethanol)


def test_errors_are_those_on_frames_that_no_training_used(ethanol):
    """The last row, and its clusters, against the errors computed from the potential."""
    found = refined(ethanol, np.random.default_rng(3))
    unseen = np.setdiff1d(np.arange(len(ethanol)), found.train)
    evaluation = found.choice.potential(ethanol.positions)
    force = (evaluation.forces - ethanol.forces) / KCAL_MOL
    energy = (evaluation.energies - ethanol.energies) / KCAL_MOL
    last = found.rounds[-1]
    assert last[FORCE] == pytest.approx(np.sqrt(np.mean(force[unseen] ** 2)))
    assert last[ENERGY] == pytest.approx(np.sqrt(np.mean(energy[unseen] ** 2)))
    seed = int(np.random.default_rng(3).integers(2**62))
    labels = cluster(ethanol, np.random.default_rng(seed))
    for index, error in enumerate(last["force_rmse_by_cluster_kcal_mol_A"]):
        inside = unseen[labels[unseen] == index]
        if error is None:
            assert not len(inside)
        else:
            assert error == pytest.approx(np.sqrt(np.mean(force[inside] ** 2)))


def test_points_go_where_the_model_is_worst(toy, rng):
    """A rare conformer that the first points lack is over-represented among the new ones."""
    numbers, positions = toy.ethanol_frames(1, rng, rattle=0.0)
    heap = np.repeat([0, 1], [90, 10])
    moved = np.where(heap[:, None, None] == 0, positions, 1.15 * positions)
    data = toy.labelled(numbers, moved + rng.normal(scale=0.03, size=moved.shape))
    found = refined(data, rng, points=20, count=1)
    assert np.count_nonzero(heap[found.train[found.train >= 10]]) >= 5


def test_validation_frames_choose_and_never_enter(ethanol, rng):
    """The pool is all that is drawn from; the grid is searched at the first and the last."""
    family = SGDML(sigmas=(5.0, 20.0), symmetry=False)
    found = refine(family, Sets(ethanol[:60], ethanol[60:]), Rounds(np.arange(10), 20, 2), rng)
    assert found.train.max() < 60
    assert [row["sigma"] for row in found.choice.table] == [5.0, 20.0]


def test_all_frames_may_be_taken(ethanol, rng):
    found = refined(ethanol[:30], rng)
    assert found.train.tolist() == list(range(30))
    assert found.rounds[-1] == {"points": 30}


@pytest.mark.parametrize(("points", "rounds"), [(81, 2), (11, 2), (9, 0)])
def test_points_that_cannot_be_reached_are_refused(points, rounds, ethanol, rng):
    with pytest.raises(InputError, match="refine_rounds: expected 10 first points"):
        refined(ethanol, rng, points=points, count=rounds)


def test_points_drawn_by_error_come_in_equal_parts_too(ethanol, rng):
    found = refined(ethanol, rng, by="error")
    assert [row["points"] for row in found.rounds] == [10, 20, 30]
    assert not np.array_equal(found.train, refined(ethanol, rng, by="worst").train)


@pytest.mark.data
def test_finished_rounds_are_not_done_again(ethanol, tmp_path, monkeypatch):
    options = {"validation": ethanol[60:]}
    whole = refined(ethanol[:60], np.random.default_rng(1), **options)
    memory = Checkpoints(tmp_path / "notes")
    first = refined(ethanol[:60], np.random.default_rng(1), checkpoints=memory, **options)
    monkeypatch.setattr(SGDML, "session", None)
    again = refined(ethanol[:60], np.random.default_rng(1), checkpoints=memory, **options)
    for found in (first, again):
        assert np.array_equal(found.train, whole.train)
        assert found.rounds == whole.rounds
