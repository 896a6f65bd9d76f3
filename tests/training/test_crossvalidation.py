"""Cross-validation: folds, what is trained and tested where, and what is chosen."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.family import TrainedPotential, TrainingWarning
from flexcalc.models.gdml import SGDML
from flexcalc.potential import Evaluation
from flexcalc.training.checkpoints import Checkpoints
from flexcalc.training.crossvalidation import cross_validate, fit_by_folds, folds, order_of
from flexcalc.training.tuning import ENERGY, FORCE
from flexcalc.units import KCAL_MOL

FRAMES = 20
DATA = Dataset(
    np.array([1, 1]),
    np.zeros((FRAMES, 2, 3)),
    np.arange(FRAMES) / 1000,
    np.zeros((FRAMES, 2, 3)),
)


class Constant(TrainedPotential):
    """Forces that are wrong by so many kcal/mol/A, and energies that are zero."""

    def __init__(self, force):
        self.numbers, self.facts, self.force = DATA.numbers, {}, force

    def evaluate(self, positions):
        return Evaluation(np.zeros(len(positions)), np.full(positions.shape, self.force * KCAL_MOL))

    def content(self):
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Scripted:
    """A family whose candidates have an error for each fold; notes what it is trained on."""

    name: ClassVar[str] = "scripted"
    seen: ClassVar[list] = []
    order: ClassVar[dict] = {}
    script: tuple[tuple[float, ...], ...]
    width: int = -1

    def candidates(self):
        return [replace(self, width=width) for width in range(len(self.script))]

    def fit(self, train, validation, rng, progress=None):
        errors = self.script[self.width]
        trained_on = train.energies.tobytes()
        fold = self.order.setdefault(trained_on, len(self.order))
        self.seen.append((self.width, train.energies * 1000, validation))
        return Constant(errors[fold % len(errors)])


def validated(script, count=4, train_folds=3):
    Scripted.seen.clear()
    Scripted.order.clear()
    rng = np.random.default_rng(0)
    return cross_validate(Scripted(script=script), DATA, (count, train_folds), rng)


# ---------------------------------------------------------------- folds


@pytest.mark.parametrize("count", [2, 3, 5, 7])
def test_folds_are_disjoint_alike_in_size_and_all_there_is(count, rng):
    parts = folds(rng.normal(size=101), count, rng)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(101))
    assert {len(part) for part in parts} <= {101 // count, 101 // count + 1}


def test_every_fold_keeps_the_distribution_of_energies(rng):
    """Below any energy, two folds' numbers differ by one at most, and so does any quantile."""
    energies = rng.normal(size=200)
    parts = folds(energies, 5, rng)
    for level in np.quantile(energies, np.linspace(0, 1, 50)):
        below = [np.count_nonzero(energies[part] <= level) for part in parts]
        assert max(below) - min(below) <= 1


def test_the_generator_decides_the_folds(rng):
    energies = rng.normal(size=60)
    one, same, other = (folds(energies, 3, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(map(np.array_equal, one, same))
    assert not all(map(np.array_equal, one, other))


@pytest.mark.parametrize("count", [0, 1, 21])
def test_numbers_of_folds_that_make_no_sense_are_refused(count, rng):
    with pytest.raises(InputError, match="folds: expected from 2 to 20"):
        folds(DATA.energies, count, rng)


@pytest.mark.parametrize("train_folds", [0, 4])
def test_something_must_be_left_to_train_and_to_test(train_folds):
    with pytest.raises(InputError, match="train_folds: expected from 1 to 3"):
        validated(((1.0,),), train_folds=train_folds)


# ---------------------------------------------------------------- training and testing


@pytest.mark.parametrize("train_folds", [1, 3])
def test_every_fold_is_trained_on_equally_often(train_folds):
    validated(((1.0,),), train_folds=train_folds)
    times = np.bincount(np.concatenate([frames for _, frames, _ in Scripted.seen]).astype(int))
    assert times.tolist() == [train_folds] * FRAMES


def test_test_frames_take_no_part_in_the_training():
    """No validation frames are handed over: a constant fitted on them would flatter."""
    found = validated(((1.0,), (2.0,)))
    assert all(validation is None for _, _, validation in Scripted.seen)
    assert not set(found.train) & set(found.test)
    assert len(found.train) + len(found.test) == FRAMES


def test_means_and_spreads_by_hand():
    """1, 2, 3, 4 have the mean 2.5 and the sample deviation (5/3)**0.5."""
    found = validated(((1.0, 2.0, 3.0, 4.0),))
    assert [row[FORCE] for row in found.folds] == pytest.approx([1, 2, 3, 4])
    assert found.table[0][FORCE] == pytest.approx(2.5)
    assert found.table[0]["force_rmse_spread_kcal_mol_A"] == pytest.approx((5 / 3) ** 0.5)
    assert found.best == 0
    assert found.potential.force == 1.0


def test_errors_are_measured_on_the_other_folds():
    """Energies of zero are wrong by the energies themselves."""
    found = validated(((1.0,),))
    expected = np.sqrt(np.mean(DATA.energies[found.test] ** 2)) / KCAL_MOL
    assert found.folds[found.best][ENERGY] == pytest.approx(expected)


def test_the_candidate_with_the_best_mean_is_chosen_though_another_has_the_best_fold():
    found = validated(((0.1, 9.0, 9.0, 9.0), (2.0, 2.0, 1.5, 2.0)))
    assert found.index == found.family.width == 1
    assert found.best == 2
    assert [row["width"] for row in found.table] == [0, 1]


def test_what_every_fold_finds_hopeless_is_not_tried():
    """Two worse ones in a row end the search of a fold."""
    with pytest.warns(TrainingWarning, match="at the edge"):
        found = validated(((1.0,), (2.0,), (3.0,), (0.5,)))
    assert [row["width"] for row in found.table] == [0, 1, 2]


def test_what_one_fold_left_out_and_others_tried_may_win_on_average():
    """The first fold stops after the third candidate; the last one is the best of the rest."""
    found = validated(((1.0, 3, 3, 3), (2.0, 2, 2, 2), (3.0, 3, 3, 3), (2.5, 0.5, 0.5, 0.5)))
    assert [row["width"] for row in found.table] == [0, 1, 2, 3]
    assert [row[FORCE] for row in found.table] == pytest.approx([2.5, 2, 3, 1])
    assert found.family.width == 3
    assert [row[FORCE] for row in found.folds] == pytest.approx([2.5, 0.5, 0.5, 0.5])


def test_the_edge_of_the_grid_is_warned_of_once():
    with pytest.warns(TrainingWarning, match="width = 0, is at the edge") as caught:
        validated(((1.0,), (2.0,), (3.0,)))
    assert len(caught) == 1


def test_progress_counts_all_folds(ethanol, rng):
    told = []
    cross_validate(
        SGDML(sigma=10.0),
        ethanol[:30],
        (3, 1),
        rng,
        lambda done, total, _: told.append((done, total)),
    )
    assert told[-1] == (30, 30)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.data
def test_finished_folds_are_not_done_again(ethanol, tmp_path, monkeypatch):
    family = SGDML(sigmas=(5.0, 20.0))

    def run(memory):
        return cross_validate(family, ethanol, (3, 2), np.random.default_rng(5), checkpoints=memory)

    first = run(Checkpoints(tmp_path))
    monkeypatch.setattr(SGDML, "session", None)
    again = run(Checkpoints(tmp_path))
    assert again.folds == first.folds
    assert again.table == first.table
    frames = ethanol.positions
    assert np.array_equal(first.potential(frames).forces, again.potential(frames).forces)


def test_folds_choose_and_all_frames_are_trained_on():
    """Without a quick way, each candidate is trained in each fold."""
    Scripted.seen.clear()
    Scripted.order.clear()
    choice = fit_by_folds(Scripted(script=((3.0,), (1.0,), (2.0,))), DATA, np.random.default_rng(0))
    assert choice.family.width == 1
    assert choice.errors[FORCE] == pytest.approx(1.0)
    assert choice.count == 5
    width, frames, validation = Scripted.seen[-1]
    assert (width, len(frames), validation) == (1, FRAMES, None)


@pytest.mark.parametrize("alone", [False, True], ids=["energies", "forces alone"])
def test_folds_of_a_kernel_are_those_of_retrained_models(alone, ethanol, rng):
    """Frames left out are predicted as by a training without them, of the same symmetry group."""
    data = replace(ethanol[:24], energies=None) if alone else ethanol[:24]
    parts = folds(order_of(data), 4, rng)
    group = SGDML(sigma=20.0).fit(data, None, rng).facts["symmetry"]["generators"]
    family = SGDML(sigma=20.0, generators=tuple(group), symmetry=bool(group))
    other = Evaluation(ethanol.energies[24:48], ethanol.forces[24:48])
    found, second = family.session(data, None, rng).left_out(family, parts, [other])
    for fold in parts:
        rest = np.setdiff1d(np.arange(24), fold)
        for said, labels in ((found, data), (second, replace(data, forces=other.forces))):
            if labels is not data and not alone:
                labels = replace(labels, energies=other.energies)
            model = family.fit(labels[rest], None, rng)(data.positions[fold])
            # The regularisation of 1e-10 leaves about six digits, and fewer of labels that belong
            # to other frames: how many depends on the processor's linear algebra.
            bound = 1e-4 if labels is data else 1e-3
            scale = np.abs(labels.forces).max()
            assert np.abs(model.forces - said.forces[fold]).max() < bound * scale
            if not alone:
                assert np.abs(model.energies - said.energies[fold]).max() < bound


def test_a_choice_by_folds_resumes(ethanol, tmp_path):
    family, data = SGDML(sigmas=(10.0, 20.0, 40.0)), ethanol[:20]
    first = fit_by_folds(family, data, np.random.default_rng(0), checkpoints=Checkpoints(tmp_path))
    again = fit_by_folds(family, data, np.random.default_rng(0), checkpoints=Checkpoints(tmp_path))
    assert first.table == again.table
    assert first.potential.sha256() == again.potential.sha256()


def test_the_domain_of_a_model_without_validation_frames_comes_from_folds(ethanol, rng):
    choice = fit_by_folds(SGDML(sigma=20.0), ethanol[:40], rng)
    domain = choice.potential.domain
    assert domain.expected_errors(np.array([0.0, 10.0])).shape == (2,)
    assert (choice.potential.distance(ethanol.positions[40:60]) < 3 * domain.limit).all()
