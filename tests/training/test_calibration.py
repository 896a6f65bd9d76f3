"""The domain of trained models: training points that are kept, limits, and expected errors."""

from dataclasses import replace

import numpy as np
import pytest

import flexcalc
from flexcalc.domain import Domain
from flexcalc.errors import FileFormatError
from flexcalc.models.committee import Committee
from flexcalc.models.delta import DeltaModel
from flexcalc.models.facts import domain_in
from flexcalc.models.gdml.descriptor import InverseDistances
from flexcalc.models.training_set import TrainingSet, farthest
from flexcalc.potential import Evaluation, Sum, distances_of
from flexcalc.training.calibration import calibrated, with_domain
from tests.contract.toy_family import Toy
from tests.systems import Springs, springs


@pytest.fixture
def toy():
    """A model that is no kernel model, with its training points and frames to calibrate on."""
    train, others = springs(40), springs(200, seed=1)
    model = Toy().fit(train, None, np.random.default_rng(0))
    return with_domain(model, train, others, np.random.default_rng(0)), train, others


def test_any_model_knows_how_far_geometries_are_from_its_training_points(toy):
    model, train, others = toy
    assert model.distance(train.positions).max() < 1e-2
    assert not model.domain.contains(model.distance(1.5 * train.positions)).any()
    assert model.domain.contains(model.distance(springs(200, seed=2).positions)).mean() > 0.95
    found = model.domain.expected_errors(model.distance(others.positions))
    off = model(others.positions).forces - others.forces
    assert np.sqrt(np.mean(found**2)) == pytest.approx(np.sqrt(np.mean(off**2)), rel=0.1)


def test_the_domain_is_kept_in_the_model_folder(toy, tmp_path):
    model, _, others = toy
    model.save(tmp_path / "toy.flex")
    again = Toy.load(tmp_path / "toy.flex")
    assert again.domain == model.domain
    expected = model.distance(others.positions)
    assert np.allclose(again.distance(others.positions), expected, rtol=1e-6, atol=1e-6)


def test_a_model_that_kept_no_training_points_has_no_domain(toy, tmp_path):
    model, train, _ = toy
    model.training_set = None
    model.save(tmp_path / "old.flex")
    old = Toy.load(tmp_path / "old.flex")
    assert old.domain is None
    assert old.distance(train.positions) is None


def test_distances_are_the_least_over_points_and_permutations():
    rng = np.random.default_rng(3)
    points, positions = springs(30).positions, springs(9, seed=5).positions
    descriptor, group = InverseDistances(3), np.array([[0, 1, 2], [0, 2, 1]])
    order = descriptor.relabelled(group)

    def features(some):
        return descriptor.linearise(some).features

    images = features(points)[:, order].transpose(1, 0, 2).reshape(-1, 3)
    apart = np.linalg.norm(features(positions)[:, None] - images, axis=-1).min(axis=1)
    own = np.linalg.norm(features(points)[:, None] - images, axis=-1)
    rows = np.arange(len(points))
    own[rows, rows] = own[rows, rows + len(points)] = np.inf
    found = TrainingSet(descriptor, features(points), group)
    assert found.unit == pytest.approx(own.min(axis=1).max(), rel=1e-4)
    assert np.allclose(found.distances(positions), apart / found.unit, rtol=1e-4, atol=1e-4)
    turned = positions @ np.linalg.qr(rng.standard_normal((3, 3)))[0]
    assert np.allclose(found.distances(turned[:, [0, 2, 1]]), found.distances(positions))


def test_only_permutations_that_leave_the_energy_as_it_is_count():
    """A toy with a different weight for each of the two hydrogens is not symmetric."""
    train = springs(40)
    model = Toy().fit(train, None, np.random.default_rng(0))
    model.weights = np.array([1.0, 2.0, 3.0])
    model = with_domain(model, train, None, np.random.default_rng(0))
    assert len(model.training_set.permutations) == 1
    assert model.distance(train.positions[:, [0, 2, 1]]).max() > 0.1


def test_of_many_training_points_those_far_from_each_other_are_kept():
    points = np.concatenate([np.zeros((50, 2)), [[1.0, 0.0], [0.0, 2.0]]])
    assert farthest(points, 3).tolist() == [0, 50, 51]
    assert farthest(points, 60).tolist() == list(range(52))


def test_training_points_that_are_all_the_same_tell_no_distance():
    train = springs(1)[np.zeros(5, dtype=int)]
    model = Toy().fit(train, None, np.random.default_rng(0))
    assert with_domain(model, train, springs(30), np.random.default_rng(0)).domain is None


def test_a_model_without_further_frames_is_not_calibrated(toy):
    _, train, others = toy
    model = Toy().fit(train, None, np.random.default_rng(0))
    repeated = train[np.zeros(50, dtype=int)]
    for few in (None, others[:0], others[:3], repeated):
        assert with_domain(model, train, few, np.random.default_rng(0)).domain == Domain()


def test_expected_errors_never_fall_with_the_distance():
    rng = np.random.default_rng(8)
    distances = rng.uniform(0.5, 1.0, 400)
    errors = 0.1 * distances**2 * rng.uniform(0.5, 1.5, 400)
    domain = calibrated(distances, errors)
    assert (np.diff(domain.errors_eV_A) >= 0).all()
    assert domain.expected_errors(np.array([0.9]))[0] == pytest.approx(0.1 * 0.81, rel=0.15)
    assert domain.expected_errors(np.array([9.0]))[0] == domain.errors_eV_A[-1]


def test_one_frame_far_away_does_not_widen_the_domain():
    distances = np.random.default_rng(8).normal(0.8, 0.05, 200)
    errors = np.full(200, 0.1)
    limit = calibrated(distances, errors).limit
    assert 0.9 < limit < 1.1
    distances[0] = 30.0
    assert calibrated(distances, errors).limit == pytest.approx(limit, rel=0.02)


def test_a_committee_of_models_with_different_limits_has_a_geometry_where_all_have_it(toy):
    model, train, others = toy
    other = Toy().fit(others, None, np.random.default_rng(0))
    other = with_domain(other, others, train, np.random.default_rng(0))
    assert other.domain.limit != model.domain.limit
    both, positions = Committee([model, other]), 1.2 * springs(60, seed=7).positions
    inside = both.domain.contains(both.distance(positions))
    each = [one.domain.contains(one.distance(positions)) for one in (model, other)]
    assert np.array_equal(inside, each[0] & each[1])
    assert 0 < inside.sum() < 60


def test_a_model_on_a_baseline_has_the_domain_of_the_model(toy):
    model, _, others = toy
    delta = DeltaModel(Springs(), model)
    assert delta.domain == model.domain
    assert np.array_equal(delta.distance(others.positions), model.distance(others.positions))


def test_training_calibrates_the_model_on_its_validation_frames(tmp_path):
    run = flexcalc.train(springs(80), points=30, sigma=5.0, symmetry=False)
    model, frames = run.model, springs(80)[run.split.validation]
    off = model(frames.positions).forces - frames.forces
    errors = np.sqrt(np.mean(off**2, axis=(1, 2)))
    assert model.facts["domain"]["frames"] == 50
    found = calibrated(model.distance(frames.positions), errors)
    assert replace(model.domain, energies_eV=None) == found
    energies = springs(80)[run.split.train].energies
    end = max(energies.max(), energies.mean() + 3 * energies.std())
    assert model.domain.energies_eV == pytest.approx((energies.min(), end))
    model.save(tmp_path / "one.flex")
    again = flexcalc.load(tmp_path / "one.flex")
    assert again.domain == model.domain
    assert np.allclose(again.distance(frames.positions), model.distance(frames.positions))


@pytest.mark.parametrize(
    "entry",
    [
        "far",
        {},
        {"limit": -1.0, "distances": [], "errors_eV_A": []},
        {"limit": 1.0, "distances": [1.0, 0.5], "errors_eV_A": [0.1, 0.2]},
        {"limit": 1.0, "distances": [0.5], "errors_eV_A": [0.1, 0.2]},
        {"limit": 1.0, "distances": [[0.5]], "errors_eV_A": [[0.1]]},
    ],
)
def test_a_domain_that_makes_no_sense_is_refused(entry):
    with pytest.raises(FileFormatError, match="domain of the model: expected a positive limit"):
        domain_in({"domain": entry})


def test_energies_above_those_of_the_domain_are_as_far_as_in_a_harmonic_well():
    domain = Domain(limit=0.8, energies_eV=(-1.0, 1.0))
    distances = np.array([0.5, 0.5, 0.5, 2.0, 0.5])
    found = domain.with_energies(distances, np.array([-3.0, 1.0, 7.0, 7.0, 1.0 + 1e-9]))
    # Eight times the energy of the limit above the lowest is twice as far.
    assert found == pytest.approx([0.5, 0.5, 1.6, 2.0, 0.8])
    assert domain.contains(found).tolist() == [True, True, False, False, False]
    assert Domain(limit=0.8).with_energies(distances, np.full(5, 1e6)) is distances


def test_frames_that_are_close_but_hotter_than_all_training_points_are_outside():
    model = flexcalc.train(springs(200), points=60, sigma=5.0, symmetry=False).model
    data = springs(400, seed=7)
    energies = model(data.positions).energies
    inside = model.domain.contains(distances_of(model, data.positions, energies))
    assert inside.mean() > 0.98
    hot = energies > model.domain.energies_eV[1]
    assert not inside[hot].any()


def test_the_energies_of_a_domain_are_those_of_the_sum_with_a_baseline():
    class Lifted(Springs):
        """Half of the labels, and five eV above them."""

        def evaluate(self, positions):
            found = super().evaluate(positions)
            return Evaluation(found.energies / 2 + 5.0, found.forces / 2)

    data = springs(80)
    model = flexcalc.train(data, points=40, sigma=5.0, symmetry=False, baseline=Lifted()).model
    assert isinstance(model, DeltaModel)
    lowest, end = model.domain.energies_eV
    assert data.energies.min() <= lowest < end < data.energies.max() + 1.0
    # A sum that is no model knows the energies of none.
    assert model.model.domain.limit == model.domain.limit
    assert Sum(model, Springs()).domain.energies_eV is None
